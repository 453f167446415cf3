-- What stands in this part of town now, and how well is it known?
-- Change the box; error_radius_m is the radius that holds the true position with 95 % probability.
WITH asked AS (
    SELECT ST_Expand(geom, 0.001) AS box FROM kryss.intersection_center_now ORDER BY code, intersection_id LIMIT 1
)
SELECT o.class_name, o.status, o.error_radius_m, o.standing_probability, o.first_seen_at, o.last_seen_at, o.sightings,
       o.intersection_id, o.geom
FROM kryss.object_now o
JOIN asked ON o.geom && asked.box
ORDER BY o.class_name, o.object_id;
