-- What did we believe about a day when the first release was published, and what do we believe about that same day now?
-- Two clocks: the day in the street (valid_at) is the same in both counts, what was known about it (known_at) is not.
WITH asked AS (
    SELECT r.code, r.name AS release, r.system_at AS known_at,
           (SELECT max(h.last_seen_at) FROM kryss.object_history h
            WHERE h.code = r.code AND h.known_from <= r.system_at) AS valid_at
    FROM kryss.release r ORDER BY r.system_at LIMIT 1
), believed AS (
    SELECT 'then' AS clock, v.class_name FROM asked, kryss.objects_as_of(asked.valid_at, asked.known_at) v WHERE v.code = asked.code
    UNION ALL
    SELECT 'now', v.class_name FROM asked, kryss.objects_as_of(asked.valid_at, now()) v WHERE v.code = asked.code
)
SELECT asked.release, asked.valid_at, b.class_name,
       count(*) FILTER (WHERE b.clock = 'then') AS believed_then, count(*) FILTER (WHERE b.clock = 'now') AS believed_now
FROM asked, believed b
GROUP BY asked.release, asked.valid_at, b.class_name
ORDER BY b.class_name;
