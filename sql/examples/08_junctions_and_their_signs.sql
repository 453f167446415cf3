-- What stands at each junction, by class, and when did somebody last look?
SELECT i.code, i.intersection_id, i.name, i.speed_limit_kmh, o.class_name, count(*) AS objects,
       min(o.first_seen_at) AS first_seen_at, c.last_look_at, c.looks
FROM kryss.intersection_now i
JOIN kryss.object_now o ON o.code = i.code AND o.intersection_id = i.intersection_id
JOIN kryss.intersection_coverage c ON c.key = i.key
GROUP BY i.code, i.intersection_id, i.name, i.speed_limit_kmh, o.class_name, c.last_look_at, c.looks
ORDER BY i.code, i.intersection_id, objects DESC, o.class_name;
