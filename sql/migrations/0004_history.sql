-- History that can be trusted: brackets, absences, reasons and lineage; photos that had to go; surveys; areas that follow the arms;
-- views, functions and roles for analysts.

DROP VIEW kryss.intersection_now;
DROP VIEW kryss.object_now;
DROP FUNCTION kryss.objects_as_of(timestamptz, timestamptz);

-- An object has one row at any instant of system time, and its valid time is all the times at which it stood: so beliefs that
-- do not overlap in system time overlap in no clock.
CREATE FUNCTION kryss.valid_time(
    first_seen_at timestamptz, ended_at timestamptz, gone_by timestamptz[], back_by timestamptz[]
) RETURNS tstzmultirange
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT tstzmultirange(tstzrange(first_seen_at, ended_at, '[)')) - coalesce(range_agg(tstzrange(a.gone_by, a.back_by, '[)')), '{}')
    FROM unnest(gone_by, back_by) AS a (gone_by, back_by);
END;
COMMENT ON FUNCTION kryss.valid_time(timestamptz, timestamptz, timestamptz[], timestamptz[]) IS
    'Valid time of an object: [first_seen_at, ended_at) without the absences [gone_by, back_by).';

ALTER TABLE kryss.object_version
    DROP COLUMN valid,
    ADD COLUMN began_after timestamptz,
    ADD COLUMN gone_after timestamptz[],
    ADD COLUMN gone_by timestamptz[],
    ADD COLUMN back_after timestamptz[],
    ADD COLUMN back_by timestamptz[],
    ADD COLUMN replaced_by uuid,
    ADD COLUMN reason text NOT NULL DEFAULT 'evidence' CHECK (reason IN ('street', 'evidence', 'model'));
-- Few objects were ever absent: the function is not called for the others.
ALTER TABLE kryss.object_version
    ALTER COLUMN reason DROP DEFAULT,
    ADD COLUMN valid tstzmultirange NOT NULL GENERATED ALWAYS AS (
        CASE WHEN gone_by IS NULL THEN tstzmultirange(tstzrange(first_seen_at, ended_at, '[)'))
        ELSE kryss.valid_time(first_seen_at, ended_at, gone_by, back_by) END
    ) STORED,
    ADD CHECK (began_after <= first_seen_at),
    ADD CHECK (
        cardinality(gone_by) > 0 AND cardinality(gone_after) = cardinality(gone_by)
        AND cardinality(back_after) = cardinality(gone_by) AND cardinality(back_by) = cardinality(gone_by)
    ),
    ADD CHECK (num_nulls(gone_after, gone_by, back_after, back_by) IN (0, 4)),
    ADD CHECK (gone_after[1] >= first_seen_at AND back_by[cardinality(back_by)] <= last_seen_at),
    ADD CHECK (replaced_by IS NULL OR status = 'ended');

-- The versions of an object are a chain: each but the first starts where, or after, the one that it follows has ended. No two are
-- first, no two follow the same one, and system time grows along the chain, so no two overlap and only the last can be open. B-trees
-- check this at a fifth of the cost of an exclusion by GiST (docs/loading.md).
ALTER TABLE kryss.object_version
    ADD COLUMN follows timestamptz,
    ADD COLUMN known_to timestamptz GENERATED ALWAYS AS (upper(system)) STORED;
UPDATE kryss.object_version v SET follows = p.follows
FROM (
    SELECT version, lag(upper(system)) OVER (PARTITION BY code, object_id ORDER BY lower(system)) AS follows FROM kryss.object_version
) p
WHERE v.version = p.version AND p.follows IS NOT NULL;
DROP INDEX kryss.object_version_current_idx;
ALTER TABLE kryss.object_version
    DROP CONSTRAINT object_version_system_check,
    ADD CHECK (lower_inc(system) AND NOT upper_inc(system)),
    ADD CHECK (follows <= lower(system)),
    ADD UNIQUE (known_to, code, object_id),
    ADD FOREIGN KEY (code, follows, object_id) REFERENCES kryss.object_version (code, known_to, object_id);
CREATE UNIQUE INDEX object_version_follows_idx ON kryss.object_version (object_id, code, coalesce(follows, '-infinity'));
-- Today's beliefs have an index of their own: a box reads no row of the past, however long that is.
DROP INDEX kryss.object_version_geom_idx;
CREATE INDEX object_version_geom_idx ON kryss.object_version USING gist (geom) WHERE known_to IS NULL;
-- In other words than known_to, or the foreign key on it, planned while the past is empty, would search there.
CREATE INDEX object_version_past_geom_idx ON kryss.object_version USING gist (geom, system) WHERE NOT upper_inf(system);
COMMENT ON COLUMN kryss.object_version.follows IS
    'End of the system time of the version before, of the same object; null for its first version.';
COMMENT ON COLUMN kryss.object_version.known_to IS 'End of system, as an instant; null while it is believed.';
COMMENT ON COLUMN kryss.object_version.status IS
    'standing; unconfirmed: fewer than three images show it as its class, or its place is not known to 10 m; ended: negative evidence says it has gone.';
-- Where each number comes from.
COMMENT ON COLUMN kryss.object_version.class_name IS 'Class, in Mapillary''s names, by all its sightings.';
COMMENT ON COLUMN kryss.object_version.geom IS
    'Position, WGS84 degrees, 8 decimals: from all its sightings, adjusted together with the cameras and the objects around.';
COMMENT ON COLUMN kryss.object_version.error_radius_m IS
    'Radius that holds the true position with 95 % probability, metres: from the covariance of that adjustment.';
COMMENT ON COLUMN kryss.object_version.standing_probability IS
    'Probability that it still stands, 0 to 1: from the photos that should have shown it since it was last seen, each weighed with how often its model sees such a class at that range.';
COMMENT ON COLUMN kryss.object_version.model_key IS
    'Detector of its sightings, name@version of the weights registry; several, sorted, with commas between.';
COMMENT ON COLUMN kryss.object_version.method IS
    'How the position was found: range method and pose (sfm, gps) of its sightings, as range/pose, sorted, with commas between.';
COMMENT ON COLUMN kryss.object_version.facing_deg IS
    'Direction the front looks to, degrees clockwise from true north: from where the cameras stood that saw it; null where unknown or contradictory.';
COMMENT ON COLUMN kryss.object_version.height_m IS
    'Middle of the object above the road, metres: from the heights of its sightings; null where unknown.';
COMMENT ON COLUMN kryss.object_version.ended_at IS
    'Capture time of the first look by which it is known to have gone (UTC): it went between last_seen_at and this. Null while it stands.';
COMMENT ON COLUMN kryss.object_version.began_after IS
    'Capture time of the last look before first_seen_at by which it is known that it did not stand yet: it came between the two. Null: no look says so.';
COMMENT ON COLUMN kryss.object_version.gone_after IS
    'Absences, in time order: the last image that showed it before. Null where it was never absent; one element an absence, here and in the next three.';
COMMENT ON COLUMN kryss.object_version.gone_by IS 'Absences: the first look by which it is known to have gone.';
COMMENT ON COLUMN kryss.object_version.back_after IS 'Absences: the last look by which it is known that it was still away.';
COMMENT ON COLUMN kryss.object_version.back_by IS 'Absences: the first image that shows it again.';
COMMENT ON COLUMN kryss.object_version.replaced_by IS 'Object that stands where this one ended; null where none does.';
COMMENT ON COLUMN kryss.object_version.reason IS
    'Why this belief was written. street: the street changed; evidence: photos came, were placed anew or were removed; model: another model looked at the same photos.';
COMMENT ON COLUMN kryss.object_version.valid IS
    'Valid time: [first_seen_at, ended_at) without the absences [gone_by, back_by); without end while it stands.';

CREATE TABLE kryss.lineage (
    event bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL,
    object_id uuid NOT NULL,
    relation text NOT NULL CHECK (relation IN ('merged_into', 'split_from', 'lost_evidence', 'unsupported')),
    other_id uuid,
    reason text NOT NULL CHECK (reason IN ('street', 'evidence', 'model')),
    system_at timestamptz NOT NULL,
    FOREIGN KEY (code, object_id) REFERENCES kryss.object (code, id),
    FOREIGN KEY (code, other_id) REFERENCES kryss.object (code, id),
    CHECK ((relation IN ('merged_into', 'split_from')) = (other_id IS NOT NULL))
);
CREATE INDEX lineage_object_idx ON kryss.lineage (code, object_id);
COMMENT ON TABLE kryss.lineage IS 'What became of ids: events in the life of an identity, not of a thing in the street.';
COMMENT ON COLUMN kryss.lineage.event IS 'Key of the row; no meaning.';
COMMENT ON COLUMN kryss.lineage.code IS 'Municipality.';
COMMENT ON COLUMN kryss.lineage.object_id IS 'Object.';
COMMENT ON COLUMN kryss.lineage.relation IS
    'merged_into: its evidence is another object''s now; split_from: it was made of a part of another''s evidence; lost_evidence: its photos were removed; unsupported: its evidence, weighed anew, shows nothing that stands.';
COMMENT ON COLUMN kryss.lineage.other_id IS 'The object merged into or split from; else null.';
COMMENT ON COLUMN kryss.lineage.reason IS 'What made it so: evidence, or another model.';
COMMENT ON COLUMN kryss.lineage.system_at IS 'When it came to be believed (system time).';

CREATE TABLE kryss.model (
    code text NOT NULL REFERENCES kryss.municipality (code),
    model_key text NOT NULL,
    adopted_at timestamptz NOT NULL,
    PRIMARY KEY (code, model_key)
);
COMMENT ON TABLE kryss.model IS
    'Detectors that have looked at photos of a municipality. Of a photo that several looked at, the one adopted last is believed.';
COMMENT ON COLUMN kryss.model.code IS 'Municipality.';
COMMENT ON COLUMN kryss.model.model_key IS 'Detector, name@version of the weights registry.';
COMMENT ON COLUMN kryss.model.adopted_at IS 'When it was last adopted: its looks were stored and the looks of another had been adopted before (system time).';
-- Of before, the first belief that a model made says when it was adopted; 1970 for one that never made any.
INSERT INTO kryss.model (code, model_key, adopted_at)
SELECT r.code, r.model_key, coalesce(v.adopted_at, 'epoch')
FROM (SELECT DISTINCT code, model_key FROM kryss.photo_result WHERE outcome = 'ok') r
LEFT JOIN (
    SELECT code, model_key, min(lower(system)) AS adopted_at FROM kryss.object_version GROUP BY code, model_key
) v USING (code, model_key);

CREATE TABLE kryss.removed_photo (
    code text NOT NULL REFERENCES kryss.municipality (code),
    image_id text NOT NULL,
    reason text NOT NULL CHECK (reason IN ('deleted', 'takedown')),
    removed_at timestamptz NOT NULL,
    PRIMARY KEY (code, image_id)
);
COMMENT ON TABLE kryss.removed_photo IS
    'Photos that had to go: their rows and their evidence are gone from every table, past beliefs too, and they are never loaded again.';
COMMENT ON COLUMN kryss.removed_photo.code IS 'Municipality.';
COMMENT ON COLUMN kryss.removed_photo.image_id IS 'Mapillary image id.';
COMMENT ON COLUMN kryss.removed_photo.reason IS 'deleted: no longer at Mapillary; takedown: somebody asked for it.';
COMMENT ON COLUMN kryss.removed_photo.removed_at IS 'When it was removed (system time).';

ALTER TABLE kryss.intersection_version
    ADD COLUMN reach geometry(Polygon, 4326) CHECK (ST_IsValid(reach)),
    ADD COLUMN approaches geometry(MultiLineString, 4326),
    ADD COLUMN area_method text NOT NULL DEFAULT 'square' CHECK (area_method IN ('square', 'arms'));
ALTER TABLE kryss.intersection_version ALTER COLUMN area_method DROP DEFAULT;
COMMENT ON COLUMN kryss.intersection_version.area IS
    'Area whose objects belong to the junction, clipped where it meets its neighbours'', WGS84 degrees, 8 decimals.';
COMMENT ON COLUMN kryss.intersection_version.reach IS 'The area before it was clipped; null where that is the same.';
COMMENT ON COLUMN kryss.intersection_version.approaches IS
    'Roads that lead to it, a line an arm, from the junction outwards, as far as its reach or the next junction; null where the source has no roads.';
COMMENT ON COLUMN kryss.intersection_version.area_method IS 'square: speed limit x 7 s each way; arms: that far along the roads.';

CREATE TABLE kryss.load (
    code text NOT NULL REFERENCES kryss.municipality (code),
    system_at timestamptz NOT NULL,
    code_version text NOT NULL,
    run text,
    PRIMARY KEY (code, system_at)
);
COMMENT ON TABLE kryss.load IS
    'Transactions that changed something believed, by the instant of system time that they gave to it: which program wrote it, in which run. Instants of before this table was made have no row.';
COMMENT ON COLUMN kryss.load.code IS 'Municipality.';
COMMENT ON COLUMN kryss.load.system_at IS 'Instant of system time of all that it changed: lower(system) of what it wrote, upper(system) of what it closed.';
COMMENT ON COLUMN kryss.load.code_version IS 'Version of Kryss that wrote it.';
COMMENT ON COLUMN kryss.load.run IS 'Run id; null where none was given.';

-- Surveys: lists of signs and lights with their places, each of one day. They are evidence, as photos are.

CREATE TABLE kryss.survey (
    code text NOT NULL REFERENCES kryss.municipality (code),
    id text NOT NULL,
    source text NOT NULL,
    surveyed_at timestamptz NOT NULL,
    accuracy_m double precision NOT NULL CHECK (accuracy_m > 0),
    complete boolean NOT NULL,
    rejected jsonb NOT NULL,
    PRIMARY KEY (code, id)
);
COMMENT ON TABLE kryss.survey IS 'Surveys that were loaded. The evidence of an object known from a survey names the survey instead of an image.';
COMMENT ON COLUMN kryss.survey.code IS 'Municipality.';
COMMENT ON COLUMN kryss.survey.id IS 'survey:, day and source.';
COMMENT ON COLUMN kryss.survey.source IS 'Who or what made it: the name of its file, if nothing else was said.';
COMMENT ON COLUMN kryss.survey.surveyed_at IS 'Midnight (UTC) of the day on which it was true.';
COMMENT ON COLUMN kryss.survey.accuracy_m IS 'Stated standard deviation of a position along one axis, metres.';
COMMENT ON COLUMN kryss.survey.complete IS 'Whether it lists everything of its classes in the municipality, so that what it does not list was not there.';
COMMENT ON COLUMN kryss.survey.rejected IS 'Reason by line of the file, of each row that was not used.';

CREATE TABLE kryss.surveyed (
    code text NOT NULL,
    survey_id text NOT NULL,
    line integer NOT NULL CHECK (line > 0),
    class_name text NOT NULL,
    facing_deg double precision CHECK (facing_deg >= 0 AND facing_deg < 360),
    name text,
    geom geometry(Point, 4326) NOT NULL,
    PRIMARY KEY (code, survey_id, line),
    FOREIGN KEY (code, survey_id) REFERENCES kryss.survey (code, id) ON DELETE CASCADE
);
COMMENT ON TABLE kryss.surveyed IS 'Signs and lights as the surveys list them.';
COMMENT ON COLUMN kryss.surveyed.code IS 'Municipality.';
COMMENT ON COLUMN kryss.surveyed.survey_id IS 'Survey.';
COMMENT ON COLUMN kryss.surveyed.line IS 'Line of the file; the ordinal in the evidence of the object.';
COMMENT ON COLUMN kryss.surveyed.class_name IS 'Class, in Mapillary''s names.';
COMMENT ON COLUMN kryss.surveyed.facing_deg IS 'Direction the front looks to, degrees clockwise from true north; null where the survey does not say.';
COMMENT ON COLUMN kryss.surveyed.name IS 'What the source calls it; null where it has no name.';
COMMENT ON COLUMN kryss.surveyed.geom IS 'Position as surveyed, WGS84 degrees.';

CREATE INDEX object_version_opened_idx ON kryss.object_version (lower(system));
-- Photos are stored night by night, in the order of their capture times.
CREATE INDEX image_captured_at_idx ON kryss.image
    USING brin (captured_at timestamptz_minmax_multi_ops) WITH (pages_per_range = 16);
CREATE INDEX assignment_intersection_idx ON kryss.assignment (code, intersection_id) WHERE upper_inf(system);

-- For analysts. The first column of every view is its key, and a view has one geometry at most: what QGIS and GDAL ask for.
-- Functions are plain SQL that the planner opens: a condition on their result is a condition on the tables.

CREATE FUNCTION kryss.photo_url(image_id text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 'https://www.mapillary.com/app/?pKey=' || image_id;
COMMENT ON FUNCTION kryss.photo_url(text) IS 'The page of a photo at Mapillary.';

CREATE VIEW kryss.object_now AS
SELECT v.version AS key, v.code, v.object_id, v.class_name, v.status, v.standing_probability, v.error_radius_m, v.facing_deg,
       v.height_m, v.height_sigma_m, v.began_after, v.first_seen_at, v.last_seen_at,
       cardinality(v.evidence_image_ids) AS sightings, a.intersection_id, v.model_key, v.method, v.reason,
       lower(v.system) AS known_since, l.code_version, v.geom
FROM kryss.object_version v
LEFT JOIN kryss.assignment a ON a.code = v.code AND a.object_id = v.object_id AND upper_inf(a.system)
LEFT JOIN kryss.load l ON l.code = v.code AND l.system_at = lower(v.system)
WHERE v.known_to IS NULL AND v.ended_at IS NULL;
COMMENT ON VIEW kryss.object_now IS 'Objects believed to stand now, with their junction.';

CREATE VIEW kryss.object_history AS
SELECT v.version AS key, v.code, v.object_id, v.class_name, v.status,
       v.first_seen_at AS valid_from, v.ended_at AS valid_to, lower(v.system) AS known_from, v.known_to,
       v.reason, v.began_after, v.last_seen_at, coalesce(cardinality(v.gone_by), 0) AS absences, v.replaced_by,
       v.standing_probability, v.error_radius_m, v.facing_deg, v.height_m, v.height_sigma_m,
       cardinality(v.evidence_image_ids) AS sightings, cardinality(v.misses) AS misses,
       v.model_key, v.method, l.code_version, v.geom
FROM (
    SELECT o.* FROM kryss.object_version o WHERE o.known_to IS NULL
    UNION ALL
    SELECT p.* FROM kryss.object_version p WHERE NOT upper_inf(p.system)
) v
LEFT JOIN kryss.load l ON l.code = v.code AND l.system_at = lower(v.system);
COMMENT ON VIEW kryss.object_history IS
    'Every belief about every object, with its two clocks as plain instants, for programs that do not know ranges.';

CREATE VIEW kryss.object_absence AS
SELECT v.version || '/' || a.n AS key, v.code, v.object_id, v.class_name, a.gone_after, a.gone_by, a.back_after, a.back_by, v.geom
FROM kryss.object_version v
CROSS JOIN LATERAL unnest(v.gone_after, v.gone_by, v.back_after, v.back_by) WITH ORDINALITY
    AS a (gone_after, gone_by, back_after, back_by, n)
WHERE v.known_to IS NULL;
COMMENT ON VIEW kryss.object_absence IS 'Times in which an object did not stand between two sightings, by what is believed now: one row an absence.';

CREATE VIEW kryss.object_event AS
SELECT v.version || '/' || e.event || coalesce('/' || e.n, '') AS key, v.code, v.object_id, v.class_name, e.event, e.not_before,
       e.not_after, e.replaced_by, v.status, v.standing_probability, v.model_key, v.method, v.geom
FROM kryss.object_version v
CROSS JOIN LATERAL (
    SELECT CASE WHEN v.began_after IS NULL THEN 'first seen' ELSE 'came' END, v.began_after, v.first_seen_at, NULL::uuid, NULL::bigint
    UNION ALL
    SELECT 'went', v.last_seen_at, v.ended_at, v.replaced_by, NULL WHERE v.ended_at IS NOT NULL
    UNION ALL
    SELECT 'away', a.gone_after, a.gone_by, NULL, a.n FROM unnest(v.gone_after, v.gone_by) WITH ORDINALITY AS a (gone_after, gone_by, n)
    UNION ALL
    SELECT 'back', b.back_after, b.back_by, NULL, b.n FROM unnest(v.back_after, v.back_by) WITH ORDINALITY AS b (back_after, back_by, n)
) AS e (event, not_before, not_after, replaced_by, n)
WHERE v.known_to IS NULL;
COMMENT ON VIEW kryss.object_event IS 'What happened in the street, by what is believed now: one row an event, with the two photos that bracket it.';

CREATE VIEW kryss.object_evidence AS
SELECT v.version || '/' || e.n AS key, v.code, v.object_id, v.class_name, e.image_id, d.model_key, e.ordinal,
       coalesce(d.class_name, y.class_name) AS read_as, d.score, d.box[1] AS box_left, d.box[2] AS box_top, d.box[3] AS box_right, d.box[4] AS box_bottom,
       s.bearing_deg, s.bearing_sigma_deg, s.range_m, s.range_sigma_m,
       coalesce(s.method, CASE WHEN y.line IS NOT NULL THEN 'survey' END) AS method, s.pose_origin,
       coalesce(i.captured_at, u.surveyed_at) AS captured_at, i.sequence_id, coalesce(i.creator, u.source) AS creator,
       kryss.photo_url(i.id) AS link,
       coalesce(ST_SetSRID(ST_MakePoint(s.camera_lon, s.camera_lat), 4326), i.geom, y.geom)::geometry(Point, 4326) AS geom
FROM kryss.object_version v
CROSS JOIN LATERAL unnest(v.evidence_image_ids, v.evidence_ordinals) WITH ORDINALITY AS e (image_id, ordinal, n)
LEFT JOIN kryss.image i ON i.code = v.code AND i.id = e.image_id
LEFT JOIN LATERAL (
    SELECT d.model_key, d.class_name, d.score, d.box FROM kryss.detection d
    LEFT JOIN kryss.model m ON m.code = d.code AND m.model_key = d.model_key
    WHERE d.code = v.code AND d.image_id = e.image_id AND d.ordinal = e.ordinal AND d.model_key = ANY (string_to_array(v.model_key, ','))
    ORDER BY m.adopted_at DESC NULLS LAST, d.model_key DESC LIMIT 1
) d ON true
LEFT JOIN kryss.sighting s
    ON s.code = v.code AND s.image_id = e.image_id AND s.model_key = d.model_key AND s.ordinal = e.ordinal
LEFT JOIN kryss.survey u ON u.code = v.code AND u.id = e.image_id
LEFT JOIN kryss.surveyed y ON y.code = u.code AND y.survey_id = u.id AND y.line = e.ordinal
WHERE v.known_to IS NULL;
COMMENT ON VIEW kryss.object_evidence IS
    'What each object is made from, by what is believed now: a row a sighting, with the photo, the box and how far away it was; or a row a line of a survey.';

CREATE VIEW kryss.object_miss AS
SELECT v.version || '/' || m.n AS key, v.code, v.object_id, v.class_name, v.status, m.image_id, v.model_key,
       coalesce(i.captured_at, u.surveyed_at) AS captured_at, i.sequence_id, coalesce(i.creator, u.source) AS creator,
       kryss.photo_url(i.id) AS link,
       ST_Distance(i.geom::geography, v.geom::geography) AS distance_m, i.geom
FROM kryss.object_version v
CROSS JOIN LATERAL unnest(v.misses) WITH ORDINALITY AS m (image_id, n)
LEFT JOIN kryss.image i ON i.code = v.code AND i.id = m.image_id
LEFT JOIN kryss.survey u ON u.code = v.code AND u.id = m.image_id
WHERE v.known_to IS NULL;
COMMENT ON VIEW kryss.object_miss IS
    'Photos (or surveys) that should have shown an object after its last sighting and did not, by what is believed now: the evidence for an end.';

CREATE VIEW kryss.photo_look AS
SELECT r.code || '/' || r.image_id || '/' || r.model_key AS key, r.code, r.image_id, r.model_key, r.detections, r.attempts,
       i.captured_at, i.sequence_id, i.creator, kryss.photo_url(i.id) AS link, i.geom
FROM kryss.photo_result r
JOIN kryss.image i ON i.code = r.code AND i.id = r.image_id
WHERE r.outcome = 'ok';
COMMENT ON VIEW kryss.photo_look IS 'Photos that a model has looked at, whether it saw something or not: the evidence of looking.';

CREATE VIEW kryss.intersection_now AS
SELECT v.version AS key, v.code, v.intersection_id, v.source, v.name, v.kind, v.arms, v.speed_limit_kmh, v.area_method,
       array_to_string(v.members, ',') AS members,
       (SELECT count(*) FROM kryss.assignment a
        JOIN kryss.object_version o ON o.code = a.code AND o.object_id = a.object_id AND o.known_to IS NULL AND o.ended_at IS NULL
        WHERE a.code = v.code AND a.intersection_id = v.intersection_id AND upper_inf(a.system)) AS objects,
       lower(v.system) AS known_since, l.code_version, v.area AS geom
FROM kryss.intersection_version v
LEFT JOIN kryss.load l ON l.code = v.code AND l.system_at = lower(v.system)
WHERE upper_inf(v.system);
COMMENT ON VIEW kryss.intersection_now IS 'Junctions as believed now, with the area whose objects belong to them.';

CREATE VIEW kryss.intersection_center_now AS
SELECT v.version AS key, v.code, v.intersection_id, v.source, v.name, v.kind, v.arms, v.speed_limit_kmh, v.center AS geom
FROM kryss.intersection_version v
WHERE upper_inf(v.system);
COMMENT ON VIEW kryss.intersection_center_now IS 'Centres of the junctions as believed now.';

CREATE VIEW kryss.intersection_reach_now AS
SELECT v.version AS key, v.code, v.intersection_id, v.source, v.name, v.kind, v.speed_limit_kmh, v.area_method,
       coalesce(v.reach, v.area)::geometry(Polygon, 4326) AS geom
FROM kryss.intersection_version v
WHERE upper_inf(v.system);
COMMENT ON VIEW kryss.intersection_reach_now IS 'Areas of the junctions as believed now, before they were clipped against their neighbours: they may overlap.';

CREATE VIEW kryss.intersection_approach_now AS
SELECT v.version AS key, v.code, v.intersection_id, v.source, v.name, v.kind, v.arms, v.speed_limit_kmh, v.approaches AS geom
FROM kryss.intersection_version v
WHERE upper_inf(v.system) AND v.approaches IS NOT NULL;
COMMENT ON VIEW kryss.intersection_approach_now IS 'Roads that lead to the junctions as believed now.';

CREATE VIEW kryss.intersection_coverage AS
SELECT v.version AS key, v.code, v.intersection_id, v.name, v.speed_limit_kmh, c.looks, c.drives, c.first_look_at, c.last_look_at,
       extract(day FROM now() - c.last_look_at)::integer AS days_since_look, v.area AS geom
FROM kryss.intersection_version v
CROSS JOIN LATERAL (
    SELECT count(*) AS looks, count(DISTINCT i.sequence_id) AS drives,
           min(i.captured_at) AS first_look_at, max(i.captured_at) AS last_look_at
    FROM kryss.image i
    WHERE i.code = v.code AND ST_Intersects(i.geom, coalesce(v.reach, v.area))
    AND EXISTS (SELECT FROM kryss.photo_result r WHERE r.code = i.code AND r.image_id = i.id AND r.outcome = 'ok')
) c
WHERE upper_inf(v.system);
COMMENT ON VIEW kryss.intersection_coverage IS
    'When somebody last looked at each junction: photos taken inside its reach that were looked at, by any model.';

-- Cells of 0.0009 degrees (100 m) of latitude, and as many of longitude as make 100 m in the middle of their row.
CREATE FUNCTION kryss.coverage(since timestamptz, within geometry DEFAULT NULL)
RETURNS TABLE (
    key text, code text, looks bigint, drives bigint, last_look_at timestamptz, days_since_look integer, objects bigint, geom geometry
)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT c.code || '/' || c.row_number || '/' || c.column_number, c.code,
           count(c.captured_at) FILTER (WHERE c.captured_at >= since),
           count(DISTINCT c.sequence_id) FILTER (WHERE c.captured_at >= since),
           max(c.captured_at), extract(day FROM now() - max(c.captured_at))::integer, sum(c.objects),
           ST_SetSRID(ST_MakeBox2D(
               ST_MakePoint(c.column_number * c.width, c.row_number * 0.0009),
               ST_MakePoint((c.column_number + 1) * c.width, (c.row_number + 1) * 0.0009)
           )::geometry, 4326)
    FROM (
        SELECT p.code, r.row_number, w.width, floor(ST_X(p.geom) / w.width) AS column_number, p.captured_at, p.sequence_id, p.objects
        FROM (
            SELECT i.code, i.geom, i.captured_at, i.sequence_id, 0 AS objects
            FROM kryss.image i
            WHERE (within IS NULL OR i.geom && within) AND i.geom IS NOT NULL
            AND EXISTS (SELECT FROM kryss.photo_result r WHERE r.code = i.code AND r.image_id = i.id AND r.outcome = 'ok')
            UNION ALL
            SELECT v.code, v.geom, NULL, NULL, 1
            FROM kryss.object_version v
            WHERE (within IS NULL OR v.geom && within) AND v.known_to IS NULL AND v.ended_at IS NULL
        ) p
        CROSS JOIN LATERAL (SELECT floor(ST_Y(p.geom) / 0.0009) AS row_number) r
        CROSS JOIN LATERAL (SELECT 0.0009 / cos(radians((r.row_number + 0.5) * 0.0009)) AS width) w
    ) c
    GROUP BY c.code, c.row_number, c.column_number, c.width;
END;
COMMENT ON FUNCTION kryss.coverage(timestamptz, geometry) IS
    'Where somebody looked since an instant of capture time and where nobody did: cells of about 100 m in which photos were looked at or objects stand (within: only those that this geometry''s box touches). looks and drives count photos and sequences since then; last_look_at is the last ever.';

CREATE VIEW kryss.coverage_cell AS
SELECT c.key, c.code, c.looks, c.drives, c.last_look_at, c.days_since_look, c.objects, c.geom::geometry(Polygon, 4326) AS geom
FROM kryss.coverage('-infinity') c;
COMMENT ON VIEW kryss.coverage_cell IS
    'When somebody last looked, by cells of about 100 m: those in which photos were looked at (by where the camera stood) or objects stand.';

CREATE FUNCTION kryss.objects_as_of(valid_at timestamptz, known_at timestamptz)
RETURNS SETOF kryss.object_version
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT v.* FROM kryss.object_version v WHERE v.known_to IS NULL AND v.system @> known_at AND v.valid @> valid_at
    UNION ALL
    SELECT v.* FROM kryss.object_version v WHERE NOT upper_inf(v.system) AND v.system @> known_at AND v.valid @> valid_at;
END;
COMMENT ON FUNCTION kryss.objects_as_of(timestamptz, timestamptz) IS
    'Objects that stood at valid_at (capture time), by what this database believed at known_at (system time).';

CREATE FUNCTION kryss.intersections_as_of(known_at timestamptz)
RETURNS SETOF kryss.intersection_version
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT v.* FROM kryss.intersection_version v WHERE v.system @> known_at;
END;
COMMENT ON FUNCTION kryss.intersections_as_of(timestamptz) IS 'Junctions as this database believed them at known_at (system time).';

CREATE FUNCTION kryss.changes_between(known_1 timestamptz, known_2 timestamptz)
RETURNS TABLE (
    code text, object_id uuid, change text, reason text, relation text, other_id uuid, class_before text, class_after text,
    status_before text, status_after text, moved_m double precision, key_before bigint, key_after bigint, geom geometry
)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT coalesce(a.code, b.code), coalesce(a.object_id, b.object_id),
           CASE
               WHEN b.version IS NULL THEN CASE WHEN l.relation = 'split_from' THEN 'split' ELSE 'added' END
               WHEN a.version IS NULL THEN CASE WHEN l.relation = 'merged_into' THEN 'merged' ELSE 'removed' END
               WHEN a.status = 'ended' AND b.status <> 'ended' THEN 'ended'
               WHEN a.status <> 'ended' AND b.status = 'ended' THEN 'returned'
               WHEN coalesce(cardinality(a.gone_by), 0) > coalesce(cardinality(b.gone_by), 0) THEN 'returned'
               WHEN a.class_name <> b.class_name OR a.status <> b.status THEN 'changed'
               WHEN ST_Distance(a.geom::geography, b.geom::geography) >= 0.5 THEN 'moved'
               WHEN a.model_key <> b.model_key THEN 'reworked'
               ELSE 'refined'
           END,
           coalesce(a.reason, l.reason), l.relation, l.other_id, b.class_name, a.class_name, b.status, a.status,
           ST_Distance(a.geom::geography, b.geom::geography), b.version, a.version, coalesce(a.geom, b.geom)
    FROM (
        SELECT v.* FROM kryss.object_version v
        WHERE v.known_to > known_1 AND v.known_to <= known_2 AND lower(v.system) <= known_1
    ) b
    FULL JOIN (
        SELECT v.* FROM kryss.object_version v
        WHERE lower(v.system) > known_1 AND lower(v.system) <= known_2 AND v.system @> known_2
    ) a ON a.code = b.code AND a.object_id = b.object_id
    LEFT JOIN LATERAL (
        SELECT l.relation, l.other_id, l.reason FROM kryss.lineage l
        WHERE l.code = coalesce(a.code, b.code) AND l.object_id = coalesce(a.object_id, b.object_id)
        AND l.system_at > known_1 AND l.system_at <= known_2
        ORDER BY l.event DESC LIMIT 1
    ) l ON true;
END;
COMMENT ON FUNCTION kryss.changes_between(timestamptz, timestamptz) IS
    'What this database learned between two instants of system time, one row an object: added, split, removed, merged, ended, returned, changed (class or status), moved (0.5 m or more), reworked (another model looked, nothing else is told of it) or refined. reason: street, evidence or model. known_1 is the earlier.';

CREATE FUNCTION kryss.street_changes_between(valid_1 timestamptz, valid_2 timestamptz)
RETURNS SETOF kryss.object_event
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT e.* FROM kryss.object_event e
    WHERE e.not_after > valid_1 AND (e.not_before < valid_2 OR e.not_before IS NULL AND e.not_after <= valid_2);
END;
COMMENT ON FUNCTION kryss.street_changes_between(timestamptz, timestamptz) IS
    'What came and went in the street between two instants of capture time, by what is believed now: the events whose bracket overlaps them. It is certain that one fell between them where not_before >= valid_1 and not_after <= valid_2.';

CREATE FUNCTION kryss.evidence_of(object_id uuid)
RETURNS SETOF kryss.object_evidence
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT e.* FROM kryss.object_evidence e WHERE e.object_id = evidence_of.object_id;
END;
COMMENT ON FUNCTION kryss.evidence_of(uuid) IS 'The sightings an object is made from, by what is believed now, with links to their photos.';

-- Columns of views. A column that a table has under the same name means the same.
DO $$
DECLARE
    described record;
    own constant jsonb := '{
        "key": "Key of the row, for programs that ask for one column. It changes when the belief does; object_id and intersection_id stay.",
        "coverage_cell.key": "Key of the row: municipality, row and column of the cell.",
        "photo_look.key": "Key of the row: municipality, image and model.",
        "geom": "WGS84 degrees (EPSG:4326).",
        "object_event.geom": "Position of the object, WGS84 degrees.",
        "object_evidence.geom": "Where the camera stood that took the photo, as it was used, WGS84 degrees; of a survey, where it says the object is.",
        "object_miss.geom": "Where the camera stood that took the photo, WGS84 degrees; null where nobody knows, and of a survey.",
        "object_evidence.image_id": "Mapillary image id, or the id of a survey.",
        "object_miss.image_id": "Mapillary image id, or the id of a survey.",
        "object_evidence.captured_at": "When the photo was taken (UTC, by the camera); of a survey, its day.",
        "object_miss.captured_at": "When the photo was taken (UTC, by the camera); of a survey, its day.",
        "object_evidence.creator": "Mapillary user name, for attribution; of a survey, its source.",
        "object_miss.creator": "Mapillary user name, for attribution; of a survey, its source.",
        "object_evidence.method": "How the range was found, e.g. known-size; survey where a survey lists it.",
        "intersection_now.geom": "Area whose objects belong to the junction, WGS84 degrees.",
        "intersection_center_now.geom": "Centre, WGS84 degrees.",
        "intersection_reach_now.geom": "Area before it was clipped against its neighbours, WGS84 degrees.",
        "intersection_approach_now.geom": "A line an arm, from the junction outwards, as far as its reach or the next junction, WGS84 degrees.",
        "intersection_coverage.geom": "Area of the junction, WGS84 degrees.",
        "coverage_cell.geom": "The cell, WGS84 degrees.",
        "sightings": "Number of sightings it was made from.",
        "misses": "Number of photos that should have shown it after its last sighting and did not.",
        "absences": "Number of times it did not stand between two sightings.",
        "known_since": "System time since which exactly this is believed.",
        "known_from": "System time since which exactly this was believed.",
        "known_to": "System time until which it was believed; null while it is.",
        "valid_from": "Capture time of the first image that shows it: valid time starts. It came between began_after and this.",
        "valid_to": "Capture time of the first look by which it is known to have gone: valid time ends. It went between last_seen_at and this. Null while it stands.",
        "event": "came: it was not there before; first seen: nobody had looked before; went: it has ended; away: it was gone for a while; back: it stood again.",
        "not_before": "It happened after this: capture time of the last photo that shows the state before. Null: nobody had looked.",
        "not_after": "It had happened by this: capture time of the first photo that shows the state after.",
        "read_as": "Class that the detector read in this box, or that the survey lists.",
        "box_left": "Left edge of the box, pixels of the upright original.",
        "box_top": "Upper edge of the box, pixels of the upright original.",
        "box_right": "Right edge of the box, pixels of the upright original.",
        "box_bottom": "Lower edge of the box, pixels of the upright original.",
        "object_evidence.class_name": "Class of the object, in Mapillary''s names.",
        "object_evidence.model_key": "Detector of the box. Where several of the object''s models looked at the photo: the one adopted last.",
        "link": "Page of the photo at Mapillary.",
        "distance_m": "From where the camera stood to the object, metres.",
        "looks": "Number of photos that were looked at.",
        "drives": "Number of sequences they are of.",
        "first_look_at": "Capture time of the first of them; null: nobody ever looked.",
        "last_look_at": "Capture time of the last of them; null: nobody ever looked.",
        "days_since_look": "Whole days since then; null: nobody ever looked.",
        "objects": "Number of objects believed to stand there now.",
        "members": "Source ids of the nodes that were consolidated, sorted, with commas between.",
        "code_version": "Version of Kryss that wrote this belief; null for beliefs of before that was kept."
    }';
BEGIN
    FOR described IN
        SELECT c.relname AS view_name, a.attname AS column_name,
               coalesce(
                   own ->> (c.relname || '.' || a.attname), own ->> a.attname::text,
                   (SELECT col_description(t.attrelid, t.attnum) FROM pg_attribute t
                    JOIN unnest(ARRAY['object_version', 'intersection_version', 'sighting', 'detection', 'image', 'photo_result',
                                      'assignment']) WITH ORDINALITY AS s (name, n)
                        ON t.attrelid = to_regclass('kryss.' || s.name)
                    WHERE t.attname = a.attname AND NOT t.attisdropped ORDER BY s.n LIMIT 1)
               ) AS said
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        WHERE c.relnamespace = 'kryss'::regnamespace AND c.relkind = 'v'
    LOOP
        EXECUTE format('COMMENT ON COLUMN kryss.%I.%I IS %L', described.view_name, described.column_name, described.said);
    END LOOP;
END $$;

-- Roles belong to the server, not to the database: whoever may make roles makes them, else an administrator does and asks again.
CREATE FUNCTION kryss.grant_roles() RETURNS SETOF text
LANGUAGE plpgsql
AS $$
DECLARE
    role text;
    tables text;
BEGIN
    SELECT string_agg(c.oid::regclass::text, ', ') INTO tables FROM pg_class c
    WHERE c.relnamespace = 'kryss'::regnamespace AND c.relkind = 'r' AND c.relname <> 'migration';
    FOREACH role IN ARRAY ARRAY['kryss_loader', 'kryss_analyst', 'kryss_exporter'] LOOP
        IF to_regrole(role) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            EXCEPTION
                WHEN insufficient_privilege THEN
                    RAISE NOTICE 'role % is missing and % may not make roles: CREATE ROLE % NOLOGIN; SELECT kryss.grant_roles()',
                        role, current_user, role;
                    RETURN NEXT role;
                    CONTINUE;
                WHEN duplicate_object OR unique_violation THEN
                    NULL;  -- another database of this server was migrated at the same time
            END;
        END IF;
        EXECUTE format('GRANT USAGE ON SCHEMA kryss TO %I', role);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA kryss TO %I', role);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA kryss GRANT SELECT ON TABLES TO %I', role);
        IF role = 'kryss_loader' THEN
            EXECUTE format('GRANT INSERT, UPDATE, DELETE ON %s TO %I', tables, role);
            EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA kryss GRANT INSERT, UPDATE, DELETE ON TABLES TO %I', role);
        ELSIF role = 'kryss_exporter' THEN
            EXECUTE format('GRANT INSERT ON kryss.release, kryss.load TO %I', role);
            EXECUTE format('GRANT UPDATE (system_at) ON kryss.municipality TO %I', role);
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION kryss.grant_roles() IS
    'Makes the roles kryss_analyst (reads), kryss_loader (reads and writes rows) and kryss_exporter (reads, records releases) where they are missing and grants what each may do here. Returns the roles that are missing still. For the owner of the schema; may be called at any time.';
DO $$ BEGIN PERFORM kryss.grant_roles(); END $$;
