-- How were positions found, by which model, and how good are they? Sightings and what became of them, a row a method.
WITH believed AS (
    SELECT code, model_key, image_id, ordinal FROM kryss.object_evidence
)
SELECT s.code, s.model_key, s.method, s.pose_origin, count(*) AS sightings, count(b.image_id) AS in_objects,
       count(DISTINCT s.image_id) AS photos, round(percentile_cont(0.5) WITHIN GROUP (ORDER BY s.range_m)::numeric, 1) AS median_range_m,
       round(percentile_cont(0.5) WITHIN GROUP (ORDER BY s.range_sigma_m / s.range_m)::numeric, 3) AS median_relative_sigma
FROM kryss.sighting s
LEFT JOIN believed b ON b.code = s.code AND b.image_id = s.image_id AND b.model_key = s.model_key AND b.ordinal = s.ordinal
GROUP BY s.code, s.model_key, s.method, s.pose_origin
ORDER BY s.code, s.model_key, s.method, s.pose_origin;
