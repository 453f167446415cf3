-- Absences, lineage, surveys, what was removed and when models were adopted are lost.
-- The roles stay: they belong to the server, and its other databases may use them.
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['kryss_loader', 'kryss_analyst', 'kryss_exporter'] LOOP
        IF to_regrole(role) IS NOT NULL THEN
            EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA kryss REVOKE ALL ON TABLES FROM %I', role);
            EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA kryss FROM %I', role);
            EXECUTE format('REVOKE ALL ON SCHEMA kryss FROM %I', role);
        END IF;
    END LOOP;
END $$;
DROP FUNCTION kryss.grant_roles();
DROP FUNCTION kryss.evidence_of(uuid);
DROP FUNCTION kryss.street_changes_between(timestamptz, timestamptz);
DROP FUNCTION kryss.changes_between(timestamptz, timestamptz);
DROP FUNCTION kryss.intersections_as_of(timestamptz);
DROP FUNCTION kryss.objects_as_of(timestamptz, timestamptz);
DROP VIEW kryss.coverage_cell;
DROP FUNCTION kryss.coverage(timestamptz, geometry);
DROP VIEW kryss.intersection_coverage;
DROP VIEW kryss.intersection_approach_now;
DROP VIEW kryss.intersection_reach_now;
DROP VIEW kryss.intersection_center_now;
DROP VIEW kryss.intersection_now;
DROP VIEW kryss.photo_look;
DROP VIEW kryss.object_miss;
DROP VIEW kryss.object_evidence;
DROP VIEW kryss.object_event;
DROP VIEW kryss.object_absence;
DROP VIEW kryss.object_history;
DROP VIEW kryss.object_now;
DROP FUNCTION kryss.photo_url(text);
DROP TABLE kryss.surveyed;
DROP TABLE kryss.survey;
DROP TABLE kryss.load;
DROP TABLE kryss.removed_photo;
DROP TABLE kryss.model;
DROP TABLE kryss.lineage;
DROP INDEX kryss.assignment_intersection_idx;
DROP INDEX kryss.image_captured_at_idx;
DROP INDEX kryss.object_version_opened_idx;
DROP INDEX kryss.object_version_past_geom_idx;
DROP INDEX kryss.object_version_geom_idx;

ALTER TABLE kryss.intersection_version
    DROP COLUMN area_method,
    DROP COLUMN approaches,
    DROP COLUMN reach;
COMMENT ON COLUMN kryss.intersection_version.area IS 'Area whose objects belong to the junction, WGS84 degrees, 8 decimals.';

ALTER TABLE kryss.object_version
    DROP CONSTRAINT object_version_code_follows_object_id_fkey,
    DROP CONSTRAINT object_version_system_check,
    DROP COLUMN known_to,
    DROP COLUMN follows,
    ADD CHECK (NOT isempty(system)),
    DROP COLUMN valid,
    DROP COLUMN reason,
    DROP COLUMN replaced_by,
    DROP COLUMN back_by,
    DROP COLUMN back_after,
    DROP COLUMN gone_by,
    DROP COLUMN gone_after,
    DROP COLUMN began_after;
ALTER TABLE kryss.object_version
    ADD COLUMN valid tstzrange NOT NULL GENERATED ALWAYS AS (tstzrange(first_seen_at, ended_at, '[)')) STORED,
    ADD EXCLUDE USING gist (code WITH =, object_id WITH =, valid WITH &&, system WITH &&);
CREATE INDEX object_version_current_idx ON kryss.object_version (code, object_id) WHERE upper_inf(system);
CREATE INDEX object_version_geom_idx ON kryss.object_version USING gist (geom);
COMMENT ON COLUMN kryss.object_version.class_name IS 'Class, in Mapillary''s names.';
COMMENT ON COLUMN kryss.object_version.geom IS 'Position, WGS84 degrees, 8 decimals.';
COMMENT ON COLUMN kryss.object_version.error_radius_m IS 'Radius that holds the true position with 95 % probability, metres.';
COMMENT ON COLUMN kryss.object_version.standing_probability IS 'Probability that it still stands, 0 to 1.';
COMMENT ON COLUMN kryss.object_version.model_key IS 'Detector, name@version of the weights registry.';
COMMENT ON COLUMN kryss.object_version.method IS 'How the position was found.';
COMMENT ON COLUMN kryss.object_version.facing_deg IS 'Direction the front looks to, degrees clockwise from true north; null where unknown.';
COMMENT ON COLUMN kryss.object_version.height_m IS 'Middle of the object above the road, metres; null where unknown.';
COMMENT ON COLUMN kryss.object_version.ended_at IS 'Capture time of the first look that missed it (UTC): it went between last_seen_at and this. Null while it stands.';
COMMENT ON COLUMN kryss.object_version.status IS 'standing; unconfirmed: seen in one image only; ended: negative evidence says it has gone.';
COMMENT ON COLUMN kryss.object_version.valid IS 'Valid time: [first_seen_at, ended_at), without end while it stands.';
DROP FUNCTION kryss.valid_time(timestamptz, timestamptz, timestamptz[], timestamptz[]);

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

CREATE FUNCTION kryss.objects_as_of(valid_at timestamptz, known_at timestamptz)
RETURNS SETOF kryss.object_version
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT v.* FROM kryss.object_version v WHERE v.system @> known_at AND v.valid @> valid_at
$$;
COMMENT ON FUNCTION kryss.objects_as_of(timestamptz, timestamptz) IS
    'Objects that stood at valid_at (capture time), by what this database believed at known_at (system time).';

CREATE OR REPLACE VIEW kryss.object_now AS
SELECT v.code, v.object_id, v.class_name, v.status, v.standing_probability, v.error_radius_m, v.facing_deg,
       v.first_seen_at, v.last_seen_at, cardinality(v.evidence_image_ids) AS sightings, a.intersection_id,
       v.model_key, v.method, lower(v.system) AS known_since, v.geom, v.height_m, v.height_sigma_m
FROM kryss.object_version v
LEFT JOIN kryss.assignment a ON a.code = v.code AND a.object_id = v.object_id AND upper_inf(a.system)
WHERE upper_inf(v.system) AND upper_inf(v.valid);
COMMENT ON COLUMN kryss.object_now.height_m IS 'Middle of the object above the road, metres; null where unknown.';
COMMENT ON COLUMN kryss.object_now.height_sigma_m IS 'Standard deviation of height_m, metres.';
