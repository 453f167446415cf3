-- Which photos are behind the object that is known best, where did the camera stand, and how far away was the object?
WITH asked AS (
    SELECT object_id FROM kryss.object_now ORDER BY sightings DESC, object_id LIMIT 1
)
SELECT e.captured_at, e.class_name, e.read_as, round(e.score::numeric, 2) AS score, round(e.range_m::numeric, 1) AS range_m,
       round(e.bearing_deg::numeric, 1) AS bearing_deg, e.method, e.model_key, e.link, e.geom
FROM asked
CROSS JOIN LATERAL kryss.evidence_of(asked.object_id) e
ORDER BY e.captured_at, e.image_id;
