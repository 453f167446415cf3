-- What did we learn between the last two releases, and why: did the street change, did photos come, or did another model look?
WITH releases AS (
    SELECT code, name, system_at, lag(system_at) OVER by_code AS before, row_number() OVER newest AS age
    FROM kryss.release
    WINDOW by_code AS (PARTITION BY code ORDER BY system_at), newest AS (PARTITION BY code ORDER BY system_at DESC)
)
SELECT r.code, r.name AS release, c.change, c.reason, count(*) AS objects, round(avg(c.moved_m)::numeric, 2) AS mean_move_m
FROM releases r
CROSS JOIN LATERAL kryss.changes_between(r.before, r.system_at) c
WHERE r.age = 1 AND c.code = r.code
GROUP BY r.code, r.name, c.change, c.reason
ORDER BY r.code, c.change, c.reason;
