-- How did what we believe of one object develop? Every belief with its two clocks, and what wrote it.
WITH asked AS (
    SELECT code, object_id FROM kryss.object_history
    GROUP BY code, object_id ORDER BY count(*) DESC, bool_or(status = 'ended') DESC, object_id LIMIT 1
)
SELECT h.known_from, h.known_to, h.reason, h.class_name, h.status, h.valid_from, h.valid_to, h.last_seen_at, h.sightings, h.misses,
       h.standing_probability, h.error_radius_m, h.model_key, l.code_version, l.run
FROM asked
JOIN kryss.object_history h ON h.code = asked.code AND h.object_id = asked.object_id
LEFT JOIN kryss.load l ON l.code = h.code AND l.system_at = h.known_from
ORDER BY h.known_from;
