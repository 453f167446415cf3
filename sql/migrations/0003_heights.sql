-- How high things hang, and what the ranges of one sequence share.

-- What was stored before was placed by known size alone, of which a sequence shares nothing: 0.
ALTER TABLE kryss.sighting ADD COLUMN range_sequence_sigma_m double precision NOT NULL DEFAULT 0;
ALTER TABLE kryss.sighting ALTER COLUMN range_sequence_sigma_m DROP DEFAULT;
ALTER TABLE kryss.sighting ADD COLUMN height_m double precision;
ALTER TABLE kryss.sighting ADD COLUMN height_sigma_m double precision;
COMMENT ON COLUMN kryss.sighting.range_sequence_sigma_m IS
    'Part of range_sigma_m that all sightings of one sequence share (camera height, depth scale), metres.';
COMMENT ON COLUMN kryss.sighting.height_m IS 'Middle of the object above the road by this sighting alone, metres; null where unknown.';
COMMENT ON COLUMN kryss.sighting.height_sigma_m IS 'Standard deviation of height_m, metres.';

ALTER TABLE kryss.object_version ADD COLUMN height_m double precision;
ALTER TABLE kryss.object_version ADD COLUMN height_sigma_m double precision;
COMMENT ON COLUMN kryss.object_version.height_m IS 'Middle of the object above the road, metres; null where unknown.';
COMMENT ON COLUMN kryss.object_version.height_sigma_m IS 'Standard deviation of height_m, metres.';

CREATE OR REPLACE VIEW kryss.object_now AS
SELECT v.code, v.object_id, v.class_name, v.status, v.standing_probability, v.error_radius_m, v.facing_deg,
       v.first_seen_at, v.last_seen_at, cardinality(v.evidence_image_ids) AS sightings, a.intersection_id,
       v.model_key, v.method, lower(v.system) AS known_since, v.geom, v.height_m, v.height_sigma_m
FROM kryss.object_version v
LEFT JOIN kryss.assignment a ON a.code = v.code AND a.object_id = v.object_id AND upper_inf(a.system)
WHERE upper_inf(v.system) AND upper_inf(v.valid);
COMMENT ON COLUMN kryss.object_now.height_m IS 'Middle of the object above the road, metres; null where unknown.';
COMMENT ON COLUMN kryss.object_now.height_sigma_m IS 'Standard deviation of height_m, metres.';
