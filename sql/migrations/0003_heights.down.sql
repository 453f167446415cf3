-- A view loses columns only by being made again, with the one that reads it.
DROP VIEW kryss.intersection_now;
DROP VIEW kryss.object_now;
ALTER TABLE kryss.object_version DROP COLUMN height_sigma_m;
ALTER TABLE kryss.object_version DROP COLUMN height_m;
ALTER TABLE kryss.sighting DROP COLUMN height_sigma_m;
ALTER TABLE kryss.sighting DROP COLUMN height_m;
ALTER TABLE kryss.sighting DROP COLUMN range_sequence_sigma_m;

CREATE VIEW kryss.object_now AS
SELECT v.code, v.object_id, v.class_name, v.status, v.standing_probability, v.error_radius_m, v.facing_deg,
       v.first_seen_at, v.last_seen_at, cardinality(v.evidence_image_ids) AS sightings, a.intersection_id,
       v.model_key, v.method, lower(v.system) AS known_since, v.geom
FROM kryss.object_version v
LEFT JOIN kryss.assignment a ON a.code = v.code AND a.object_id = v.object_id AND upper_inf(a.system)
WHERE upper_inf(v.system) AND upper_inf(v.valid);
COMMENT ON VIEW kryss.object_now IS 'Objects believed to stand now, with their junction. Key: code, object_id.';
COMMENT ON COLUMN kryss.object_now.code IS 'Municipality.';
COMMENT ON COLUMN kryss.object_now.object_id IS 'Object.';
COMMENT ON COLUMN kryss.object_now.class_name IS 'Class, in Mapillary''s names.';
COMMENT ON COLUMN kryss.object_now.status IS 'standing; unconfirmed: seen in one image only.';
COMMENT ON COLUMN kryss.object_now.standing_probability IS 'Probability that it still stands, 0 to 1.';
COMMENT ON COLUMN kryss.object_now.error_radius_m IS 'Radius that holds the true position with 95 % probability, metres.';
COMMENT ON COLUMN kryss.object_now.facing_deg IS 'Direction the front looks to, degrees clockwise from true north; null where unknown.';
COMMENT ON COLUMN kryss.object_now.first_seen_at IS 'Capture time of the first image that shows it (UTC).';
COMMENT ON COLUMN kryss.object_now.last_seen_at IS 'Capture time of the last image that shows it (UTC).';
COMMENT ON COLUMN kryss.object_now.sightings IS 'Number of sightings it was made from.';
COMMENT ON COLUMN kryss.object_now.intersection_id IS 'Junction it belongs to; null where none.';
COMMENT ON COLUMN kryss.object_now.model_key IS 'Detector, name@version of the weights registry.';
COMMENT ON COLUMN kryss.object_now.method IS 'How the position was found.';
COMMENT ON COLUMN kryss.object_now.known_since IS 'System time since which exactly this is believed.';
COMMENT ON COLUMN kryss.object_now.geom IS 'Position, WGS84 degrees.';

CREATE VIEW kryss.intersection_now AS
SELECT v.code, v.intersection_id, v.source, v.name, v.kind, v.arms, v.speed_limit_kmh, v.members,
       (SELECT count(*) FROM kryss.object_now o
        WHERE o.code = v.code AND o.intersection_id = v.intersection_id) AS objects,
       lower(v.system) AS known_since, v.center, v.area
FROM kryss.intersection_version v
WHERE upper_inf(v.system);
COMMENT ON VIEW kryss.intersection_now IS 'Junctions as believed now. Key: code, intersection_id.';
COMMENT ON COLUMN kryss.intersection_now.code IS 'Municipality.';
COMMENT ON COLUMN kryss.intersection_now.intersection_id IS 'Junction.';
COMMENT ON COLUMN kryss.intersection_now.source IS 'Where it was read from.';
COMMENT ON COLUMN kryss.intersection_now.name IS 'Name, where the source has one.';
COMMENT ON COLUMN kryss.intersection_now.kind IS 'Kind of junction, as the source has it.';
COMMENT ON COLUMN kryss.intersection_now.arms IS 'Number of road ends that meet.';
COMMENT ON COLUMN kryss.intersection_now.speed_limit_kmh IS 'Speed limit that shaped the area, km/h.';
COMMENT ON COLUMN kryss.intersection_now.members IS 'Source ids of the nodes that were consolidated.';
COMMENT ON COLUMN kryss.intersection_now.objects IS 'Number of objects believed to stand there now.';
COMMENT ON COLUMN kryss.intersection_now.known_since IS 'System time since which exactly this is believed.';
COMMENT ON COLUMN kryss.intersection_now.center IS 'Centre, WGS84 degrees.';
COMMENT ON COLUMN kryss.intersection_now.area IS 'Area whose objects belong to the junction, WGS84 degrees.';
