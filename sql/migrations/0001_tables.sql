-- The tables of Kryss. Conventions: WGS84 degrees (SRID 4326), metres, seconds, UTC instants; every key starts with the
-- municipality, so that municipalities never wait for each other's rows, even where their boundaries overlap.
-- Two clocks: `valid` is when a thing was so in the street (capture dates), `system` is when this database believed it (loads).

CREATE EXTENSION IF NOT EXISTS postgis SCHEMA public;
CREATE EXTENSION IF NOT EXISTS btree_gist SCHEMA public;

CREATE TABLE kryss.municipality (
    code text PRIMARY KEY,
    name text NOT NULL,
    country text NOT NULL,
    boundary geometry(MultiPolygon, 4326) NOT NULL,
    system_at timestamptz
);
COMMENT ON TABLE kryss.municipality IS 'The unit of a refresh: one boundary, one pair of DAGs.';
COMMENT ON COLUMN kryss.municipality.code IS 'Short code, as in municipalities.yaml (for Norway the official number).';
COMMENT ON COLUMN kryss.municipality.name IS 'Name in the local language.';
COMMENT ON COLUMN kryss.municipality.country IS 'ISO 3166-1 alpha-2 country code.';
COMMENT ON COLUMN kryss.municipality.boundary IS 'Area whose images are read, WGS84 degrees.';
COMMENT ON COLUMN kryss.municipality.system_at IS 'Latest instant of system time given to a change of this municipality; the next one is later, whatever the server clock says. Null before the first.';

CREATE TABLE kryss.image (
    code text NOT NULL REFERENCES kryss.municipality (code),
    id text NOT NULL,
    sequence_id text NOT NULL,
    captured_at timestamptz NOT NULL,
    width integer NOT NULL CHECK (width > 0),
    height integer NOT NULL CHECK (height > 0),
    camera_type text NOT NULL,
    camera_parameters double precision[],
    exif_orientation smallint NOT NULL CHECK (exif_orientation BETWEEN 1 AND 8),
    is_pano boolean NOT NULL,
    make text,
    model text,
    creator text,
    gps jsonb,
    sfm jsonb,
    geom geometry(Point, 4326),
    PRIMARY KEY (code, id)
);
CREATE INDEX image_geom_idx ON kryss.image USING gist (geom);
COMMENT ON TABLE kryss.image IS 'Metadata of the Mapillary photos of a municipality.';
COMMENT ON COLUMN kryss.image.code IS 'Municipality.';
COMMENT ON COLUMN kryss.image.id IS 'Mapillary image id.';
COMMENT ON COLUMN kryss.image.sequence_id IS 'Mapillary sequence id.';
COMMENT ON COLUMN kryss.image.captured_at IS 'When the photo was taken (UTC, by the camera).';
COMMENT ON COLUMN kryss.image.width IS 'Width of the original as stored, before EXIF orientation, pixels.';
COMMENT ON COLUMN kryss.image.height IS 'Height of the original as stored, before EXIF orientation, pixels.';
COMMENT ON COLUMN kryss.image.camera_type IS 'perspective, fisheye, spherical, ... as the service has it.';
COMMENT ON COLUMN kryss.image.camera_parameters IS 'Focal length over max(width, height), k1, k2 (no unit); null where the service has none.';
COMMENT ON COLUMN kryss.image.exif_orientation IS 'EXIF orientation, 1 to 8.';
COMMENT ON COLUMN kryss.image.is_pano IS 'Whether the photo is a 360 degree panorama.';
COMMENT ON COLUMN kryss.image.make IS 'Camera maker.';
COMMENT ON COLUMN kryss.image.model IS 'Camera model.';
COMMENT ON COLUMN kryss.image.creator IS 'Mapillary user name, for attribution.';
COMMENT ON COLUMN kryss.image.gps IS 'Raw pose: lon, lat (degrees), altitude_m, heading_deg (clockwise from true north), rotation (angle-axis, radians).';
COMMENT ON COLUMN kryss.image.sfm IS 'Pose computed by structure from motion, same keys as gps.';
COMMENT ON COLUMN kryss.image.geom IS 'Position of the camera: sfm where there is one, else gps, WGS84 degrees.';

CREATE TABLE kryss.rejected_entity (
    code text NOT NULL REFERENCES kryss.municipality (code),
    image_id text NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (code, image_id)
);
COMMENT ON TABLE kryss.rejected_entity IS 'Image metadata that could not be understood, so that there is no row in image.';
COMMENT ON COLUMN kryss.rejected_entity.code IS 'Municipality.';
COMMENT ON COLUMN kryss.rejected_entity.image_id IS 'Mapillary image id.';
COMMENT ON COLUMN kryss.rejected_entity.reason IS 'What was wrong with it.';

CREATE TABLE kryss.photo_result (
    code text NOT NULL,
    image_id text NOT NULL,
    model_key text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('ok', 'failed', 'gone')),
    reason text,
    attempts integer NOT NULL CHECK (attempts > 0),
    detections integer NOT NULL CHECK (detections >= 0),
    PRIMARY KEY (code, image_id, model_key),
    FOREIGN KEY (code, image_id) REFERENCES kryss.image (code, id) ON DELETE CASCADE
);
COMMENT ON TABLE kryss.photo_result IS 'What became of a photo with a model: the evidence that somebody looked, also where nothing was seen.';
COMMENT ON COLUMN kryss.photo_result.code IS 'Municipality.';
COMMENT ON COLUMN kryss.photo_result.image_id IS 'Mapillary image id.';
COMMENT ON COLUMN kryss.photo_result.model_key IS 'Detector, name@version of the weights registry.';
COMMENT ON COLUMN kryss.photo_result.outcome IS 'ok: looked at; failed: tried again by the next run; gone: no longer at Mapillary, not tried again.';
COMMENT ON COLUMN kryss.photo_result.reason IS 'Why it failed or is gone.';
COMMENT ON COLUMN kryss.photo_result.attempts IS 'Runs that tried this photo with this model.';
COMMENT ON COLUMN kryss.photo_result.detections IS 'Boxes found.';

CREATE TABLE kryss.rejected_pose (
    code text NOT NULL,
    image_id text NOT NULL,
    origin text NOT NULL CHECK (origin IN ('sfm', 'gps')),
    reason text NOT NULL,
    PRIMARY KEY (code, image_id, origin),
    FOREIGN KEY (code, image_id) REFERENCES kryss.image (code, id) ON DELETE CASCADE
);
COMMENT ON TABLE kryss.rejected_pose IS 'Poses that were not believed.';
COMMENT ON COLUMN kryss.rejected_pose.code IS 'Municipality.';
COMMENT ON COLUMN kryss.rejected_pose.image_id IS 'Mapillary image id.';
COMMENT ON COLUMN kryss.rejected_pose.origin IS 'Which pose: sfm or gps.';
COMMENT ON COLUMN kryss.rejected_pose.reason IS 'Why it was not believed.';

CREATE TABLE kryss.detection (
    code text NOT NULL,
    image_id text NOT NULL,
    model_key text NOT NULL,
    ordinal integer NOT NULL CHECK (ordinal >= 0),
    class_name text NOT NULL,
    score double precision NOT NULL,
    box double precision[] NOT NULL CHECK (cardinality(box) = 4),
    depth double precision,
    PRIMARY KEY (code, image_id, model_key, ordinal),
    FOREIGN KEY (code, image_id) REFERENCES kryss.image (code, id) ON DELETE CASCADE
);
COMMENT ON TABLE kryss.detection IS 'Boxes of a class in an image, made by one model version.';
COMMENT ON COLUMN kryss.detection.code IS 'Municipality.';
COMMENT ON COLUMN kryss.detection.image_id IS 'Mapillary image id.';
COMMENT ON COLUMN kryss.detection.model_key IS 'Detector, name@version of the weights registry.';
COMMENT ON COLUMN kryss.detection.ordinal IS '0, 1, ... by falling score inside (image, model).';
COMMENT ON COLUMN kryss.detection.class_name IS 'Class, in Mapillary''s names.';
COMMENT ON COLUMN kryss.detection.score IS 'Confidence, 0 to 1.';
COMMENT ON COLUMN kryss.detection.box IS 'left, top, right, bottom in pixels of the upright original.';
COMMENT ON COLUMN kryss.detection.depth IS 'Median monocular depth inside the box; metres only where the depth model claims them.';

CREATE TABLE kryss.sighting (
    code text NOT NULL,
    image_id text NOT NULL,
    model_key text NOT NULL,
    ordinal integer NOT NULL,
    sequence_id text NOT NULL,
    captured_at timestamptz NOT NULL,
    class_name text NOT NULL,
    score double precision NOT NULL,
    camera_lon double precision NOT NULL,
    camera_lat double precision NOT NULL,
    camera_sigma_m double precision NOT NULL,
    pose_origin text NOT NULL CHECK (pose_origin IN ('sfm', 'gps')),
    bearing_deg double precision NOT NULL,
    bearing_sigma_deg double precision NOT NULL,
    range_m double precision NOT NULL,
    range_sigma_m double precision NOT NULL,
    range_shared_sigma_m double precision NOT NULL,
    method text NOT NULL,
    geom geometry(Point, 4326) NOT NULL,
    covariance_ee_m2 double precision NOT NULL,
    covariance_en_m2 double precision NOT NULL,
    covariance_nn_m2 double precision NOT NULL,
    PRIMARY KEY (code, image_id, model_key, ordinal),
    FOREIGN KEY (code, image_id, model_key, ordinal)
        REFERENCES kryss.detection (code, image_id, model_key, ordinal) ON DELETE CASCADE
);
CREATE INDEX sighting_geom_idx ON kryss.sighting USING gist (geom);
COMMENT ON TABLE kryss.sighting IS 'Detections placed on the ground.';
COMMENT ON COLUMN kryss.sighting.code IS 'Municipality.';
COMMENT ON COLUMN kryss.sighting.image_id IS 'Mapillary image id.';
COMMENT ON COLUMN kryss.sighting.model_key IS 'Detector, name@version of the weights registry.';
COMMENT ON COLUMN kryss.sighting.ordinal IS 'Which detection of (image, model).';
COMMENT ON COLUMN kryss.sighting.sequence_id IS 'Mapillary sequence id.';
COMMENT ON COLUMN kryss.sighting.captured_at IS 'When the photo was taken (UTC).';
COMMENT ON COLUMN kryss.sighting.class_name IS 'Class, in Mapillary''s names.';
COMMENT ON COLUMN kryss.sighting.score IS 'Confidence of the detection, 0 to 1.';
COMMENT ON COLUMN kryss.sighting.camera_lon IS 'Longitude of the camera that was used, degrees.';
COMMENT ON COLUMN kryss.sighting.camera_lat IS 'Latitude of the camera that was used, degrees.';
COMMENT ON COLUMN kryss.sighting.camera_sigma_m IS 'Standard deviation of the camera position on one axis, metres.';
COMMENT ON COLUMN kryss.sighting.pose_origin IS 'Pose that was used: sfm or gps.';
COMMENT ON COLUMN kryss.sighting.bearing_deg IS 'From camera to object, degrees clockwise from true north.';
COMMENT ON COLUMN kryss.sighting.bearing_sigma_deg IS 'Standard deviation of the bearing, degrees.';
COMMENT ON COLUMN kryss.sighting.range_m IS 'Distance on the ground from camera to object, metres.';
COMMENT ON COLUMN kryss.sighting.range_sigma_m IS 'Standard deviation of the range, metres.';
COMMENT ON COLUMN kryss.sighting.range_shared_sigma_m IS
    'Part of range_sigma_m that all sightings of one object share (its size, the focal length), metres.';
COMMENT ON COLUMN kryss.sighting.method IS 'How the range was found, e.g. known-size.';
COMMENT ON COLUMN kryss.sighting.geom IS 'Position of the object by this sighting alone, WGS84 degrees.';
COMMENT ON COLUMN kryss.sighting.covariance_ee_m2 IS 'Variance of the position to the east, square metres.';
COMMENT ON COLUMN kryss.sighting.covariance_en_m2 IS 'Covariance of east and north, square metres.';
COMMENT ON COLUMN kryss.sighting.covariance_nn_m2 IS 'Variance of the position to the north, square metres.';

CREATE TABLE kryss.object (
    code text NOT NULL REFERENCES kryss.municipality (code),
    id uuid NOT NULL,
    class_name text NOT NULL,
    first_system timestamptz NOT NULL,
    PRIMARY KEY (code, id)
);
COMMENT ON TABLE kryss.object IS 'Registry of every id ever given to a sign or light. Rows are never deleted and ids never reused.';
COMMENT ON COLUMN kryss.object.code IS 'Municipality.';
COMMENT ON COLUMN kryss.object.id IS 'Id of the object; never changes.';
COMMENT ON COLUMN kryss.object.class_name IS 'Class it was first registered with.';
COMMENT ON COLUMN kryss.object.first_system IS 'When the id was registered (system time).';

CREATE TABLE kryss.object_version (
    version bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL,
    object_id uuid NOT NULL,
    class_name text NOT NULL,
    geom geometry(Point, 4326) NOT NULL,
    covariance_ee_m2 double precision NOT NULL,
    covariance_en_m2 double precision NOT NULL,
    covariance_nn_m2 double precision NOT NULL,
    error_radius_m double precision NOT NULL CHECK (error_radius_m >= 0),
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    ended_at timestamptz,
    status text NOT NULL CHECK (status IN ('standing', 'unconfirmed', 'ended')),
    standing_probability double precision NOT NULL CHECK (standing_probability BETWEEN 0 AND 1),
    evidence_image_ids text[] NOT NULL,
    evidence_ordinals integer[] NOT NULL,
    misses text[] NOT NULL,
    facing_deg double precision,
    model_key text NOT NULL,
    method text NOT NULL,
    valid tstzrange NOT NULL GENERATED ALWAYS AS (tstzrange(first_seen_at, ended_at, '[)')) STORED,
    system tstzrange NOT NULL DEFAULT tstzrange(now(), NULL, '[)'),
    FOREIGN KEY (code, object_id) REFERENCES kryss.object (code, id),
    CHECK (last_seen_at >= first_seen_at),
    CHECK (ended_at > first_seen_at AND ended_at >= last_seen_at),
    CHECK ((status = 'ended') = (ended_at IS NOT NULL)),
    CHECK (cardinality(evidence_image_ids) = cardinality(evidence_ordinals)),
    CHECK (NOT isempty(system)),
    EXCLUDE USING gist (code WITH =, object_id WITH =, valid WITH &&, system WITH &&)
);
CREATE INDEX object_version_current_idx ON kryss.object_version (code, object_id) WHERE upper_inf(system);
CREATE INDEX object_version_geom_idx ON kryss.object_version USING gist (geom);
COMMENT ON TABLE kryss.object_version IS 'What was believed of each object, in both clocks. Rows change only by the end of their system time.';
COMMENT ON COLUMN kryss.object_version.version IS 'Key of the row; no meaning.';
COMMENT ON COLUMN kryss.object_version.code IS 'Municipality.';
COMMENT ON COLUMN kryss.object_version.object_id IS 'Object.';
COMMENT ON COLUMN kryss.object_version.class_name IS 'Class, in Mapillary''s names.';
COMMENT ON COLUMN kryss.object_version.geom IS 'Position, WGS84 degrees, 8 decimals.';
COMMENT ON COLUMN kryss.object_version.covariance_ee_m2 IS 'Variance of the position to the east, square metres.';
COMMENT ON COLUMN kryss.object_version.covariance_en_m2 IS 'Covariance of east and north, square metres.';
COMMENT ON COLUMN kryss.object_version.covariance_nn_m2 IS 'Variance of the position to the north, square metres.';
COMMENT ON COLUMN kryss.object_version.error_radius_m IS 'Radius that holds the true position with 95 % probability, metres.';
COMMENT ON COLUMN kryss.object_version.first_seen_at IS 'Capture time of the first image that shows it (UTC).';
COMMENT ON COLUMN kryss.object_version.last_seen_at IS 'Capture time of the last image that shows it (UTC).';
COMMENT ON COLUMN kryss.object_version.ended_at IS 'Capture time of the first look that missed it (UTC): it went between last_seen_at and this. Null while it stands.';
COMMENT ON COLUMN kryss.object_version.status IS 'standing; unconfirmed: seen in one image only; ended: negative evidence says it has gone.';
COMMENT ON COLUMN kryss.object_version.standing_probability IS 'Probability that it still stands, 0 to 1.';
COMMENT ON COLUMN kryss.object_version.evidence_image_ids IS 'Images of the sightings it was made from; the same index of evidence_ordinals says which detection.';
COMMENT ON COLUMN kryss.object_version.evidence_ordinals IS 'Ordinals of the detections it was made from.';
COMMENT ON COLUMN kryss.object_version.misses IS 'Images that should have shown it after last_seen_at and did not, by capture time.';
COMMENT ON COLUMN kryss.object_version.facing_deg IS 'Direction the front looks to, degrees clockwise from true north; null where unknown.';
COMMENT ON COLUMN kryss.object_version.model_key IS 'Detector, name@version of the weights registry.';
COMMENT ON COLUMN kryss.object_version.method IS 'How the position was found.';
COMMENT ON COLUMN kryss.object_version.valid IS 'Valid time: [first_seen_at, ended_at), without end while it stands.';
COMMENT ON COLUMN kryss.object_version.system IS 'System time: when this database believed the row, without end while it does.';

CREATE TABLE kryss.intersection (
    code text NOT NULL REFERENCES kryss.municipality (code),
    id text NOT NULL,
    source text NOT NULL,
    first_system timestamptz NOT NULL,
    PRIMARY KEY (code, id)
);
COMMENT ON TABLE kryss.intersection IS 'Registry of every junction ever known. Rows are never deleted.';
COMMENT ON COLUMN kryss.intersection.code IS 'Municipality.';
COMMENT ON COLUMN kryss.intersection.id IS 'From its source: nvdb:<node id>, osm:<smallest node id>, area:<feature id>.';
COMMENT ON COLUMN kryss.intersection.source IS 'Where it was first read from.';
COMMENT ON COLUMN kryss.intersection.first_system IS 'When the id was registered (system time).';

CREATE TABLE kryss.intersection_version (
    version bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL,
    intersection_id text NOT NULL,
    source text NOT NULL,
    center geometry(Point, 4326) NOT NULL,
    area geometry(Polygon, 4326) NOT NULL CHECK (ST_IsValid(area)),
    speed_limit_kmh double precision NOT NULL CHECK (speed_limit_kmh > 0),
    name text,
    kind text,
    arms integer,
    members text[] NOT NULL,
    valid tstzrange NOT NULL DEFAULT tstzrange(NULL, NULL),
    system tstzrange NOT NULL DEFAULT tstzrange(now(), NULL, '[)'),
    FOREIGN KEY (code, intersection_id) REFERENCES kryss.intersection (code, id),
    CHECK (NOT isempty(valid)),
    CHECK (NOT isempty(system)),
    EXCLUDE USING gist (code WITH =, intersection_id WITH =, valid WITH &&, system WITH &&)
);
CREATE INDEX intersection_version_current_idx ON kryss.intersection_version (code, intersection_id) WHERE upper_inf(system);
CREATE INDEX intersection_version_area_idx ON kryss.intersection_version USING gist (area);
COMMENT ON TABLE kryss.intersection_version IS 'What was believed of each junction, in both clocks.';
COMMENT ON COLUMN kryss.intersection_version.version IS 'Key of the row; no meaning.';
COMMENT ON COLUMN kryss.intersection_version.code IS 'Municipality.';
COMMENT ON COLUMN kryss.intersection_version.intersection_id IS 'Junction.';
COMMENT ON COLUMN kryss.intersection_version.source IS 'Where it was read from.';
COMMENT ON COLUMN kryss.intersection_version.center IS 'Centre, WGS84 degrees, 8 decimals.';
COMMENT ON COLUMN kryss.intersection_version.area IS 'Area whose objects belong to the junction, WGS84 degrees, 8 decimals.';
COMMENT ON COLUMN kryss.intersection_version.speed_limit_kmh IS 'Speed limit that shaped the area, km/h.';
COMMENT ON COLUMN kryss.intersection_version.name IS 'Name, where the source has one.';
COMMENT ON COLUMN kryss.intersection_version.kind IS 'Kind of junction, as the source has it.';
COMMENT ON COLUMN kryss.intersection_version.arms IS 'Number of road ends that meet.';
COMMENT ON COLUMN kryss.intersection_version.members IS 'Source ids of the nodes that were consolidated, sorted.';
COMMENT ON COLUMN kryss.intersection_version.valid IS 'Valid time; unbounded where the source gives no dates.';
COMMENT ON COLUMN kryss.intersection_version.system IS 'System time: when this database believed the row, without end while it does.';

CREATE TABLE kryss.assignment (
    assignment bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL,
    object_id uuid NOT NULL,
    intersection_id text NOT NULL,
    system tstzrange NOT NULL DEFAULT tstzrange(now(), NULL, '[)'),
    FOREIGN KEY (code, object_id) REFERENCES kryss.object (code, id),
    FOREIGN KEY (code, intersection_id) REFERENCES kryss.intersection (code, id),
    CHECK (NOT isempty(system)),
    EXCLUDE USING gist (code WITH =, object_id WITH =, system WITH &&)
);
CREATE INDEX assignment_current_idx ON kryss.assignment (code, object_id) WHERE upper_inf(system);
COMMENT ON TABLE kryss.assignment IS 'Which junction an object belongs to; an object of no junction has no row.';
COMMENT ON COLUMN kryss.assignment.assignment IS 'Key of the row; no meaning.';
COMMENT ON COLUMN kryss.assignment.code IS 'Municipality.';
COMMENT ON COLUMN kryss.assignment.object_id IS 'Object.';
COMMENT ON COLUMN kryss.assignment.intersection_id IS 'Junction.';
COMMENT ON COLUMN kryss.assignment.system IS 'System time: when this database believed the row, without end while it does.';

CREATE TABLE kryss.release (
    code text NOT NULL REFERENCES kryss.municipality (code),
    name text NOT NULL,
    url text NOT NULL,
    sha256 text NOT NULL,
    intersections integer NOT NULL CHECK (intersections >= 0),
    objects integer NOT NULL CHECK (objects >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    system_at timestamptz NOT NULL,
    PRIMARY KEY (code, name)
);
COMMENT ON TABLE kryss.release IS 'Published, immutable, dated versions of the layer.';
COMMENT ON COLUMN kryss.release.code IS 'Municipality.';
COMMENT ON COLUMN kryss.release.name IS 'YYYY-MM-DD.N';
COMMENT ON COLUMN kryss.release.url IS 'Folder of the release.';
COMMENT ON COLUMN kryss.release.sha256 IS 'SHA-256 of its manifest.json.';
COMMENT ON COLUMN kryss.release.intersections IS 'Number of junctions in it.';
COMMENT ON COLUMN kryss.release.objects IS 'Number of objects in it.';
COMMENT ON COLUMN kryss.release.created_at IS 'When it was recorded, by the server clock.';
COMMENT ON COLUMN kryss.release.system_at IS 'Instant of system time whose beliefs it holds: the release can be rebuilt from it.';
