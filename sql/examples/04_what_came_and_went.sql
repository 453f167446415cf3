-- What came and went in the street in the last two years of photos, and between which two photos did it happen?
-- "first seen" is left out: nobody had looked there before, so nothing says that it is new.
WITH asked AS (
    SELECT code, max(captured_at) - interval '2 years' AS since, max(captured_at) AS until FROM kryss.photo_look GROUP BY code
)
SELECT e.event, e.class_name, e.not_before, e.not_after, e.not_after - e.not_before AS uncertainty, e.replaced_by, e.geom
FROM asked
CROSS JOIN LATERAL kryss.street_changes_between(asked.since, asked.until) e
WHERE e.code = asked.code AND e.event <> 'first seen'
ORDER BY e.not_after, e.class_name, e.object_id;
