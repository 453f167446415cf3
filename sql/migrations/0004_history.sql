-- History that can be trusted: brackets, absences, reasons and lineage; photos that had to go; areas that follow the arms.

DROP VIEW kryss.intersection_now;
DROP VIEW kryss.object_now;
DROP FUNCTION kryss.objects_as_of(timestamptz, timestamptz);

-- An object has one row at any instant of system time, and its valid time is all the times at which it stood: so the one
-- constraint on system time keeps beliefs from overlapping in either clock.
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
    ADD CHECK (replaced_by IS NULL OR status = 'ended'),
    ADD EXCLUDE USING gist (code WITH =, object_id WITH =, system WITH &&);
COMMENT ON COLUMN kryss.object_version.status IS
    'standing; unconfirmed: fewer than three images show it as its class, or its place is not known to 10 m; ended: negative evidence says it has gone.';
COMMENT ON COLUMN kryss.object_version.began_after IS
    'Capture time of the last look before first_seen_at that missed it: it came between the two. Null: nobody had looked.';
COMMENT ON COLUMN kryss.object_version.gone_after IS
    'Absences, in time order: the last image that showed it before. Null where it was never absent; one element an absence, here and in the next three.';
COMMENT ON COLUMN kryss.object_version.gone_by IS 'Absences: the first look that missed it.';
COMMENT ON COLUMN kryss.object_version.back_after IS 'Absences: the last look that missed it.';
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

CREATE VIEW kryss.object_now AS
SELECT v.code, v.object_id, v.class_name, v.status, v.standing_probability, v.error_radius_m, v.facing_deg,
       v.first_seen_at, v.last_seen_at, cardinality(v.evidence_image_ids) AS sightings, a.intersection_id,
       v.model_key, v.method, lower(v.system) AS known_since, v.geom, v.height_m, v.height_sigma_m
FROM kryss.object_version v
LEFT JOIN kryss.assignment a ON a.code = v.code AND a.object_id = v.object_id AND upper_inf(a.system)
WHERE upper_inf(v.system) AND upper_inf(v.valid);
COMMENT ON VIEW kryss.object_now IS 'Objects believed to stand now, with their junction. Key: code, object_id.';
COMMENT ON COLUMN kryss.object_now.code IS 'Municipality.';
COMMENT ON COLUMN kryss.object_now.object_id IS 'Object.';
COMMENT ON COLUMN kryss.object_now.class_name IS 'Class, in Mapillary''s names.';
COMMENT ON COLUMN kryss.object_now.status IS
    'standing; unconfirmed: fewer than three images show it as its class, or its place is not known to 10 m.';
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
COMMENT ON COLUMN kryss.object_now.height_m IS 'Middle of the object above the road, metres; null where unknown.';
COMMENT ON COLUMN kryss.object_now.height_sigma_m IS 'Standard deviation of height_m, metres.';

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
