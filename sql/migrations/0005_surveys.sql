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
CREATE INDEX surveyed_geom_idx ON kryss.surveyed USING gist (geom);
COMMENT ON TABLE kryss.surveyed IS 'Signs and lights as the surveys list them.';
COMMENT ON COLUMN kryss.surveyed.code IS 'Municipality.';
COMMENT ON COLUMN kryss.surveyed.survey_id IS 'Survey.';
COMMENT ON COLUMN kryss.surveyed.line IS 'Line of the file; the ordinal in the evidence of the object.';
COMMENT ON COLUMN kryss.surveyed.class_name IS 'Class, in Mapillary''s names.';
COMMENT ON COLUMN kryss.surveyed.facing_deg IS 'Direction the front looks to, degrees clockwise from true north; null where the survey does not say.';
COMMENT ON COLUMN kryss.surveyed.name IS 'What the source calls it; null where it has no name.';
COMMENT ON COLUMN kryss.surveyed.geom IS 'Position as surveyed, WGS84 degrees.';
