-- Where must somebody drive? Cells of 100 m with objects in them, those that nobody looked at in the last half year of photos first.
WITH asked AS (
    SELECT code, max(captured_at) - interval '6 months' AS since FROM kryss.photo_look GROUP BY code
)
SELECT c.code, c.key, c.objects, c.looks, c.drives, c.last_look_at, c.days_since_look, c.geom
FROM asked
CROSS JOIN LATERAL kryss.coverage(asked.since) c
WHERE c.code = asked.code AND c.objects > 0
ORDER BY c.looks > 0, c.last_look_at NULLS FIRST, c.key;
