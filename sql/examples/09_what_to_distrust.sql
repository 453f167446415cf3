-- Which objects should I not build on: seen too rarely, placed too vaguely, or perhaps gone?
SELECT o.class_name, o.status, o.error_radius_m, o.standing_probability, o.sightings, o.last_seen_at, o.method, o.model_key, o.geom
FROM kryss.object_now o
WHERE o.status = 'unconfirmed' OR o.error_radius_m > 5 OR o.standing_probability < 0.9
ORDER BY o.error_radius_m DESC, o.object_id;
