"""The indexes that the documented queries use, by EXPLAIN on tables of some size. Sequential scans may compete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest

BOX = "ST_MakeEnvelope(10.4, 63.4, 10.402, 63.402, 4326)"
NIGHTS, OBJECTS = 20, 2_000
FILL = f"""
INSERT INTO kryss.municipality (code, name, country, boundary)
VALUES ('town', 'Town', 'NO', ST_Multi(ST_MakeEnvelope(10, 63, 11, 64, 4326)));
INSERT INTO kryss.object (code, id, class_name, first_system)
SELECT 'town', md5(n::text)::uuid, 'stop', '2026-01-01Z' FROM generate_series(1, {OBJECTS}) n;
-- Every night a tenth of the objects is believed anew, in the order in which nights write.
INSERT INTO kryss.object_version (code, object_id, class_name, geom, covariance_ee_m2, covariance_en_m2, covariance_nn_m2,
    error_radius_m, first_seen_at, last_seen_at, status, standing_probability, evidence_image_ids, evidence_ordinals, misses,
    model_key, method, reason, system, follows)
SELECT 'town', md5(n::text)::uuid, 'stop', ST_SetSRID(ST_MakePoint(10.3 + n % 50 * 0.004, 63.3 + n / 50 * 0.005), 4326),
    1, 0, 1, 2, '2025-05-01Z', '2025-06-01Z', 'standing', 0.9, ARRAY[n::text], ARRAY[0], '{{}}', 'signs@1',
    'known-size', 'evidence', tstzrange(timestamptz '2026-01-01Z' + night * interval '1 day',
              CASE WHEN night < {NIGHTS} THEN timestamptz '2026-01-01Z' + (night + 1) * interval '1 day' END, '[)'),
    CASE WHEN night > 1 THEN timestamptz '2026-01-01Z' + night * interval '1 day' END
FROM generate_series(1, {NIGHTS}) night, generate_series(1, {OBJECTS}) n ORDER BY night, n;
-- A small neighbour.
INSERT INTO kryss.municipality (code, name, country, boundary)
SELECT 'village', 'Village', country, boundary FROM kryss.municipality;
INSERT INTO kryss.object (code, id, class_name, first_system)
SELECT 'village', md5('v' || n)::uuid, 'stop', '2026-01-01Z' FROM generate_series(1, 50) n;
INSERT INTO kryss.object_version (code, object_id, class_name, geom, covariance_ee_m2, covariance_en_m2, covariance_nn_m2,
    error_radius_m, first_seen_at, last_seen_at, status, standing_probability, evidence_image_ids, evidence_ordinals, misses,
    model_key, method, reason, system)
SELECT 'village', md5('v' || n)::uuid, 'stop', ST_SetSRID(ST_MakePoint(11 + n * 0.004, 63.3), 4326),
    1, 0, 1, 2, '2025-05-01Z', '2025-06-01Z', 'standing', 0.9, ARRAY[n::text], ARRAY[0], '{{}}', 'signs@1',
    'known-size', 'evidence', tstzrange('2026-01-02Z', NULL)
FROM generate_series(1, 50) n;
INSERT INTO kryss.image (code, id, sequence_id, captured_at, width, height, camera_type, exif_orientation, is_pano, geom)
SELECT 'town', n::text, 's' || n / 100, timestamptz '2025-01-01Z' + n * interval '10 minutes', 1, 1, 'perspective', 1, false,
    ST_SetSRID(ST_MakePoint(10.3 + n % 200 * 0.001, 63.3 + n / 200 * 0.001), 4326)
FROM generate_series(1, 40000) n;
INSERT INTO kryss.photo_result (code, image_id, model_key, outcome, attempts, detections)
SELECT 'town', n::text, 'signs@1', 'ok', 1, 1 FROM generate_series(1, 40000) n;
INSERT INTO kryss.detection (code, image_id, model_key, ordinal, class_name, score, box)
SELECT 'town', n::text, 'signs@1', 0, 'stop', 1, '{{0,0,1,1}}' FROM generate_series(1, 20000) n;
INSERT INTO kryss.sighting (code, image_id, model_key, ordinal, sequence_id, captured_at, class_name, score,
    camera_lon, camera_lat, camera_sigma_m, pose_origin, bearing_deg, bearing_sigma_deg, range_m, range_sigma_m,
    range_shared_sigma_m, range_sequence_sigma_m, method, geom, covariance_ee_m2, covariance_en_m2, covariance_nn_m2)
SELECT 'town', i.id, 'signs@1', 0, i.sequence_id, i.captured_at, 'stop', 1, ST_X(i.geom), ST_Y(i.geom), 1, 'gps', 0, 1, 10, 1,
    0, 0, 'known-size', i.geom, 1, 0, 1
FROM kryss.image i WHERE i.id::integer <= 20000;
INSERT INTO kryss.intersection (code, id, source, first_system)
SELECT 'town', 'osm:' || n, 'osm', '2026-01-01Z' FROM generate_series(1, 5000) n;
INSERT INTO kryss.intersection_version (code, intersection_id, source, center, area, speed_limit_kmh, members, area_method)
SELECT 'town', 'osm:' || n, 'osm', p.geom, ST_Expand(p.geom, 0.0005), 50, '{{}}', 'square'
FROM generate_series(1, 5000) n,
    LATERAL (SELECT ST_SetSRID(ST_MakePoint(10.3 + n % 70 * 0.003, 63.3 + n / 70 * 0.003), 4326) AS geom) p;
INSERT INTO kryss.assignment (code, object_id, intersection_id)
SELECT 'town', md5(n::text)::uuid, 'osm:' || n FROM generate_series(1, {OBJECTS}) n;
INSERT INTO kryss.lineage (code, object_id, relation, reason, system_at)
SELECT code, id, 'unsupported', 'evidence', '2026-01-02Z' FROM kryss.object;
"""

PATHS = {
    "objects of a municipality now": (
        "SELECT * FROM kryss.object_now WHERE code = 'village'",
        "object_version_known_to_code_object_id_key",
    ),
    "objects in a box now": (f"SELECT * FROM kryss.object_now WHERE geom && {BOX}", "object_version_geom_idx"),
    "objects within 50 m": (
        "SELECT * FROM kryss.object_now WHERE ST_Intersects(geom, "
        "ST_Buffer('SRID=4326;POINT(10.4 63.4)'::geography, 50)::geometry)",
        "object_version_geom_idx",
    ),
    "objects in a box, as of two instants": (
        f"SELECT * FROM kryss.objects_as_of('2025-05-20Z', '2026-01-05Z') WHERE geom && {BOX}",
        "object_version_geom_idx",
    ),
    "objects of the past in a box, as of two instants": (
        f"SELECT * FROM kryss.objects_as_of('2025-05-20Z', '2026-01-05Z') WHERE geom && {BOX}",
        "object_version_past_geom_idx",
    ),
    "history of a box": (f"SELECT * FROM kryss.object_history WHERE geom && {BOX}", "object_version_past_geom_idx"),
    "history of an object": (
        "SELECT * FROM kryss.object_history WHERE code = 'town' AND object_id = md5('7')::uuid",
        "object_version_follows_idx",
    ),
    "evidence of an object": ("SELECT * FROM kryss.evidence_of(md5('7')::uuid)", "object_version_follows_idx"),
    "the boxes of that evidence": ("SELECT * FROM kryss.evidence_of(md5('7')::uuid)", "sighting_pkey"),
    "photos that missed objects in a box": (f"SELECT * FROM kryss.object_miss WHERE geom && {BOX}", "image_geom_idx"),
    "what came and went in a box": (
        f"SELECT * FROM kryss.street_changes_between('2025-01-01Z', '2026-01-01Z') WHERE geom && {BOX}",
        "object_version_geom_idx",
    ),
    "photos captured since": ("SELECT * FROM kryss.photo_look WHERE captured_at >= '2025-10-01Z'", "image_captured_at_idx"),
    "photos in a box": (f"SELECT * FROM kryss.photo_look WHERE geom && {BOX}", "image_geom_idx"),
    "sightings in a box, believed or not": (f"SELECT * FROM kryss.sighting WHERE geom && {BOX}", "sighting_geom_idx"),
    "changes between two instants: beliefs that were opened": (
        "SELECT * FROM kryss.changes_between('2026-01-19Z', '2026-01-20Z')",
        "object_version_opened_idx",
    ),
    "changes between two instants: beliefs that were closed": (
        "SELECT * FROM kryss.changes_between('2026-01-19Z', '2026-01-20Z')",
        "object_version_known_to_code_object_id_key",
    ),
    "coverage of a box": (f"SELECT * FROM kryss.coverage('2025-06-01Z', {BOX})", "image_geom_idx"),
    "objects of the coverage of a box": (f"SELECT * FROM kryss.coverage('2025-06-01Z', {BOX})", "object_version_geom_idx"),
    "coverage of the junctions of a box": (f"SELECT * FROM kryss.intersection_coverage WHERE geom && {BOX}", "image_geom_idx"),
    "junctions in a box": (f"SELECT * FROM kryss.intersection_now WHERE geom && {BOX}", "intersection_version_area_idx"),
    "objects of the junctions in a box": (
        f"SELECT * FROM kryss.intersection_now WHERE geom && {BOX}",
        "assignment_intersection_idx",
    ),
    "junctions in a box as they were": (
        f"SELECT * FROM kryss.intersections_as_of(now()) WHERE area && {BOX}",
        "intersection_version_area_idx",
    ),
    "what became of an object": (
        "SELECT * FROM kryss.lineage WHERE code = 'town' AND object_id = md5('7')::uuid",
        "lineage_object_idx",
    ),
}


@pytest.fixture(scope="module")
def explain(postgis_server: Any, migrated_template: str) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """The nodes of a query's plan on a database with some tens of thousands of rows a table."""
    url = postgis_server.create_database(migrated_template)
    connection = psycopg2.connect(url)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(FILL)
    cursor.execute("VACUUM ANALYZE")

    def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield plan
        for child in plan.get("Plans", []):
            yield from nodes(child)

    def run(query: str) -> list[dict[str, Any]]:
        cursor.execute("EXPLAIN (FORMAT JSON) " + query)
        ((found,),) = cursor.fetchall()
        return list(nodes(found[0]["Plan"]))

    yield run
    connection.close()
    postgis_server.drop_database(url)


@pytest.mark.parametrize("path", PATHS)
def test_a_documented_query_uses_its_index(explain, path):
    query, index = PATHS[path]
    used = {node["Index Name"] for node in explain(query) if "Index Name" in node}
    assert index in used


def test_functions_are_opened_by_the_planner(explain):
    for query, _ in PATHS.values():
        calls = {node.get("Function Name") for node in explain(query)} & {
            "objects_as_of", "intersections_as_of", "changes_between", "street_changes_between", "coverage", "evidence_of"
        }  # fmt: skip
        assert calls == set(), query


def test_every_index_on_a_place_or_a_time_is_used_by_a_documented_query(explain, sql):
    made = sql("SELECT indexname FROM pg_indexes WHERE schemaname = 'kryss' AND indexdef ~ 'USING (gist|brin)'")
    constraints = {row[0] for row in sql("SELECT conname FROM pg_constraint WHERE contype = 'x'")}
    used = {node.get("Index Name") for query, _ in PATHS.values() for node in explain(query)}
    assert {row[0] for row in made} - constraints <= used
