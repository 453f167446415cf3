-- Verdicts, inputs of releases and best photos are lost.
DROP TABLE kryss.verdict;
ALTER TABLE kryss.release DROP COLUMN inputs, DROP COLUMN previous;
COMMENT ON TABLE kryss.release IS 'Published, immutable, dated versions of the layer.';

DROP FUNCTION kryss.objects_as_of(timestamptz, timestamptz);
ALTER TABLE kryss.object_version DROP COLUMN image_id;
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

DO $$ BEGIN
    IF to_regrole('kryss_exporter') IS NOT NULL THEN
        REVOKE UPDATE ON kryss.release FROM kryss_exporter;
    END IF;
END $$;
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
            EXECUTE format('GRANT UPDATE (system_at) ON kryss.municipality TO %I', role);
        END IF;
    END LOOP;
END $$;
