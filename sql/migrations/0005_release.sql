-- What a release is made from is kept with it, the photo that shows an object best with the object, and what people who looked
-- say of objects.

-- Its rows have the columns that the table had when it was made.
DROP FUNCTION kryss.objects_as_of(timestamptz, timestamptz);

ALTER TABLE kryss.object_version ADD COLUMN image_id text;
COMMENT ON COLUMN kryss.object_version.image_id IS
    'The photo that shows it best: of its evidence, taken from nearest by, among those in which the detector reads its class. Null: it has none, the photo had to go, or it was not decided yet.';
-- Of what is believed now, as history decides: else the next night would believe every object anew. Of a photo that several of the
-- object's models looked at, the one adopted last is meant.
UPDATE kryss.object_version v SET image_id = (
    SELECT n.image_id FROM (
        SELECT DISTINCT ON (e.image_id, e.ordinal) s.image_id, s.class_name, s.camera_lon, s.camera_lat
        FROM unnest(v.evidence_image_ids, v.evidence_ordinals) AS e (image_id, ordinal)
        JOIN kryss.sighting s ON s.code = v.code AND s.image_id = e.image_id AND s.ordinal = e.ordinal
            AND s.model_key = ANY (string_to_array(v.model_key, ','))
        LEFT JOIN kryss.model m ON m.code = s.code AND m.model_key = s.model_key
        ORDER BY e.image_id, e.ordinal, m.adopted_at DESC NULLS LAST, s.model_key DESC
    ) n
    ORDER BY n.class_name <> v.class_name,
             ((n.camera_lon - ST_X(v.geom)) * cos(radians(ST_Y(v.geom)))) ^ 2 + (n.camera_lat - ST_Y(v.geom)) ^ 2,
             n.image_id COLLATE "C"
    LIMIT 1
)
WHERE v.known_to IS NULL;

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

ALTER TABLE kryss.release ADD COLUMN previous text, ADD COLUMN inputs jsonb NOT NULL DEFAULT '{}';
COMMENT ON TABLE kryss.release IS 'Published, immutable, dated versions of the layer. A row may be there before its folder is: it is written first.';
COMMENT ON COLUMN kryss.release.previous IS 'Release before it, against which its changes are told; null for the first, and where nobody kept it.';
COMMENT ON COLUMN kryss.release.inputs IS 'All that it was made from besides the beliefs of system_at: sources, parameters, versions. Empty for releases of before this was kept.';

CREATE TABLE kryss.verdict (
    code text NOT NULL,
    object_id uuid NOT NULL,
    release text NOT NULL,
    class_name text NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('right', 'wrong', 'unsure')),
    note text,
    judged_by text NOT NULL,
    judged_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (code, object_id, release, judged_by),
    FOREIGN KEY (code, object_id) REFERENCES kryss.object (code, id)
);
COMMENT ON TABLE kryss.verdict IS 'What people who looked at the photos say of objects of a release: a sample by which its precision is known.';
COMMENT ON COLUMN kryss.verdict.code IS 'Municipality.';
COMMENT ON COLUMN kryss.verdict.object_id IS 'Object.';
COMMENT ON COLUMN kryss.verdict.release IS 'Release that was looked at, YYYY-MM-DD.N.';
COMMENT ON COLUMN kryss.verdict.class_name IS 'Class that the object has in that release, in Mapillary''s names.';
COMMENT ON COLUMN kryss.verdict.verdict IS 'right: it stands there and is of its class; wrong: it does not or is not; unsure: the photos do not tell.';
COMMENT ON COLUMN kryss.verdict.note IS 'What they added in words; null: nothing.';
COMMENT ON COLUMN kryss.verdict.judged_by IS 'User name of who looked.';
COMMENT ON COLUMN kryss.verdict.judged_at IS 'When they said so, by the server clock.';

-- An exporter also puts a release right whose folder was never written.
CREATE OR REPLACE FUNCTION kryss.grant_roles() RETURNS SETOF text
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
            EXECUTE format('GRANT UPDATE ON kryss.release TO %I', role);
            EXECUTE format('GRANT UPDATE (system_at) ON kryss.municipality TO %I', role);
        END IF;
    END LOOP;
END $$;
DO $$ BEGIN PERFORM kryss.grant_roles(); END $$;
