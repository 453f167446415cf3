-- What stood at this place before? Objects that ended, with what stands within two metres of them now.
SELECT gone.class_name AS was, gone.last_seen_at, gone.valid_to AS gone_by, is_now.class_name AS stands_now, is_now.first_seen_at,
       round(ST_Distance(gone.geom::geography, is_now.geom::geography)::numeric, 2) AS apart_m,
       gone.replaced_by IS NOT DISTINCT FROM is_now.object_id AS is_its_replacement, is_now.geom
FROM kryss.object_history gone
JOIN kryss.object_now is_now
    ON is_now.code = gone.code AND is_now.geom && ST_Expand(gone.geom, 0.0001)
    AND ST_DWithin(is_now.geom::geography, gone.geom::geography, 2) AND is_now.last_seen_at >= gone.valid_to
WHERE gone.status = 'ended' AND gone.known_to IS NULL
ORDER BY gone.class_name, gone.object_id, apart_m;
