-- Why do we say that these objects have gone? The photos that should have shown them and did not, to look at.
SELECT h.class_name, h.last_seen_at, h.valid_to AS missed_first_at, h.standing_probability, h.misses,
       m.captured_at, round(m.distance_m::numeric, 1) AS distance_m, m.link
FROM kryss.object_history h
JOIN kryss.object_miss m ON m.code = h.code AND m.object_id = h.object_id
WHERE h.status = 'ended' AND h.known_to IS NULL
ORDER BY h.class_name, h.object_id, m.captured_at, m.image_id;
