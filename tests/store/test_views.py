"""What analysts see: what each view and function tells of a small street; GDAL, so QGIS, and geopandas open all of it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta

import geopandas
import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.pool import NullPool

from kryss.model import Lineage, PhotoResult, Survey, SurveyedThing

LAYERS = {
    "coverage_cell": "Polygon",
    "intersection_approach_now": "MultiLineString",
    "intersection_center_now": "Point",
    "intersection_coverage": "Polygon",
    "intersection_now": "Polygon",
    "intersection_reach_now": "Polygon",
    "object_absence": "Point",
    "object_event": "Point",
    "object_evidence": "Point",
    "object_history": "Point",
    "object_miss": "Point",
    "object_now": "Point",
    "photo_look": "Point",
}


@pytest.fixture
def night(town):
    """Writes what is believed; returns the instant of system time."""

    def write(*objects, **changes):
        with town.transaction("town") as tx:
            tx.write_objects("town", objects, **changes)
            return tx.system_at()

    return write


@pytest.fixture
def lived(town, street, night, make):
    """A street that a model has looked at twice, with junctions, an absence and an end."""
    first = night(make.object(2), make.object(3))
    with town.transaction("town", run="second night") as tx:
        tx.load(**street.stated())
        tx.load(model_key=make.MODEL, results=[PhotoResult("102", "ok", None, 0)])
        tx.write_objects("town", [make.came_back(1), replace(make.ended(2), replaced_by=make.object_id(1)), make.object(3)])
        tx.write_intersections("town", make.intersections())
        tx.write_assignments("town", {make.object_id(1): "osm:1", make.object_id(2): "osm:1"})
    return first


def rows(found):
    return [tuple(row) for row in found]


def test_events_of_the_street_are_told_with_their_brackets(lived, make, sql):
    days = {
        name: make.NOON + timedelta(days=number) for name, number in {"0": 0, "5": 5, "8": 8, "9": 9, "11": 11, "31": 31}.items()
    }
    told = rows(sql("SELECT object_id::text, event, not_before, not_after, replaced_by::text FROM kryss.object_event"))
    assert sorted(told, key=str) == sorted(
        [
            (make.object_id(1), "came", make.NOON - timedelta(days=2), days["0"], None),
            (make.object_id(1), "away", days["5"], days["8"], None),
            (make.object_id(1), "back", days["9"], days["11"], None),
            (make.object_id(2), "first seen", None, days["0"], None),
            (make.object_id(2), "went", days["0"], days["31"], make.object_id(1)),
            (make.object_id(3), "first seen", None, days["0"], None),
        ],
        key=str,
    )


def test_street_changes_are_those_whose_bracket_overlaps(lived, make, sql):
    expected = {
        (-3, -2): set(),
        (-3, -1): {"came"},
        (-3, 0): {"came", "first seen"},
        (1, 6): {"went", "away"},
        (8, 9): {"went"},
        (8, 10): {"went", "back"},
        (31, 99): set(),
    }
    for days, events in expected.items():
        between = {f"valid_{n}": make.NOON + timedelta(days=day) for n, day in enumerate(days, 1)}
        told = sql("SELECT event FROM kryss.street_changes_between(:valid_1, :valid_2)", **between)
        assert {event for (event,) in told} == events, days


def test_absences_are_rows(lived, make, sql):
    ((object_id, *brackets),) = sql("SELECT object_id::text, gone_after, gone_by, back_after, back_by FROM kryss.object_absence")
    assert object_id == make.object_id(1)
    assert brackets == [make.NOON + timedelta(days=day) for day in (5, 8, 9, 11)]


def test_history_has_its_two_clocks_as_plain_instants(lived, make, sql):
    told = rows(
        sql(
            "SELECT status, valid_from, valid_to, known_from = :first, known_to IS NULL, absences, misses "
            "FROM kryss.object_history WHERE object_id = CAST(:id AS uuid) ORDER BY known_from",
            id=make.object_id(2),
            first=lived,
        )
    )
    assert told == [
        ("standing", make.NOON, None, True, False, 0, 0),
        ("ended", make.NOON, make.NOON + timedelta(days=31), False, True, 0, 2),
    ]


def test_evidence_of_an_object_is_its_sightings_with_links_and_boxes(lived, make, street, sql):
    told = sql("SELECT * FROM kryss.evidence_of(CAST(:id AS uuid)) ORDER BY captured_at", id=make.object_id(1))
    assert [(row.image_id, row.ordinal, row.model_key, row.link) for row in told] == [
        (image_id, 0, make.MODEL, f"https://www.mapillary.com/app/?pKey={image_id}") for image_id in ("100", "99")
    ]
    assert (told[0].box_left, told[0].box_bottom, told[0].score) == (1.5, 400.0, 0.1 + 0.2)
    assert (told[0].range_m, told[0].bearing_deg, told[0].method, told[0].creator) == (20.1, 123.456, "known-size", "ål\n")


def test_of_two_models_of_an_object_the_box_is_of_the_one_adopted_last(lived, town, street, make, sql):
    other = [replace(found, model_key="signs@2", score=0.75) for found in street.detections[:1]]
    with town.transaction("town") as tx:
        tx.load(model_key="signs@2", results=[PhotoResult("100", "ok", None, 1)], detections=other)
        tx.write_objects("town", [make.object(1, model_key="signs@1,signs@2")])
    told = sql("SELECT image_id, model_key, score FROM kryss.evidence_of(CAST(:id AS uuid)) ORDER BY 1", id=make.object_id(1))
    assert rows(told) == [("100", "signs@2", 0.75), ("99", "signs@1", 0.9)]


def test_photos_that_missed_an_object_are_evidence_of_looking(lived, make, sql):
    told = rows(sql("SELECT object_id::text, image_id, link, captured_at FROM kryss.object_miss ORDER BY captured_at"))
    assert told == [
        (make.object_id(2), image_id, f"https://www.mapillary.com/app/?pKey={image_id}", make.NOON + timedelta(days=day))
        for image_id, day in (("99", 30), ("102", 31))
    ]
    assert rows(sql("SELECT image_id, detections FROM kryss.photo_look ORDER BY 1")) == [("100", 2), ("102", 0), ("99", 1)]


def test_what_a_survey_lists_is_evidence_too(town, night, make, sql):
    survey = Survey("survey:2026-05-01:lights", "lights", make.NOON, 0.5, True, (SurveyedThing(7, "stop", 10.4, 63.4),))
    with town.transaction("town") as tx:
        tx.load_survey(survey)
    night(make.object(1, evidence=((survey.id, 7),)), make.ended(2), replace(make.ended(3), misses=(survey.id,)))
    told = sql("SELECT * FROM kryss.evidence_of(CAST(:id AS uuid))", id=make.object_id(1))
    assert [(row.image_id, row.ordinal, row.method, row.read_as, row.captured_at, row.creator, row.link) for row in told] == [
        (survey.id, 7, "survey", "stop", make.NOON, "lights", None)
    ]
    missed = sql(
        "SELECT captured_at, creator, link FROM kryss.object_miss WHERE object_id = CAST(:id AS uuid)", id=make.object_id(3)
    )
    assert rows(missed) == [(make.NOON, "lights", None)]


def test_coverage_tells_where_nobody_looked(lived, town, street, make, sql):
    near = replace(street.images[1], id="near", sequence_id="s9", captured_at=make.NOON + timedelta(days=3))
    with town.transaction("town") as tx:
        tx.load(model_key=make.MODEL, images=[near], results=[PhotoResult("near", "ok", None, 0)])
    told = "SELECT intersection_id, looks, drives, last_look_at FROM kryss.intersection_coverage ORDER BY 1"
    assert rows(sql(told)) == [("nvdb:7", 0, 0, None), ("osm:1", 1, 1, near.captured_at)]
    cells = (
        "SELECT looks, drives, last_look_at, objects FROM kryss.coverage(:since) WHERE ST_Intersects(geom, CAST(:at AS geometry))"
    )
    camera, sign = "SRID=4326;POINT(10.4000001 63.4)", "SRID=4326;POINT(10.4003 63.4001)"
    assert rows(sql(cells, since=make.NOON, at=camera)) == [(1, 1, near.captured_at, 2)]
    assert rows(sql(cells, since=make.NOON + timedelta(days=4), at=camera)) == [(0, 0, near.captured_at, 2)]
    assert rows(sql(cells, since=make.NOON, at=sign)) == [(1, 1, near.captured_at, 2)]
    sizes = sql(
        "SELECT ST_Area(geom::geography) FROM kryss.coverage_cell UNION ALL "
        "SELECT ST_Area(geom::geography) FROM kryss.coverage('-infinity', ST_MakeEnvelope(10, 63, 11, 64, 4326))"
    )
    assert all(area == pytest.approx(100 * 100, rel=0.02) for (area,) in sizes)
    assert sql("SELECT count(*) FROM kryss.coverage('-infinity', ST_MakeEnvelope(20, 63, 21, 64, 4326))")[0][0] == 0


CHANGES = {
    "added": (None, {}),
    "removed": ({}, None),
    "ended": ({}, "ended"),
    "returned": ("ended", {}),
    "changed": ({}, {"class_name": "regulatory--yield--g1"}),
    "moved": ({}, {"lon": 10.40032}),
    "reworked": ({}, {"model_key": "signs@2"}),
    "refined": ({}, {"standing_probability": 0.5}),
    None: ({}, {}),
}


def test_what_the_database_learned_is_told_by_object(night, make, sql):
    def believed(which):
        for number, states in enumerate(CHANGES.values(), 1):
            if states[which] is not None:
                yield make.ended(number) if states[which] == "ended" else make.object(number, **states[which])

    numbers = {make.object_id(number): change for number, change in enumerate(CHANGES, 1)}
    known_1, known_2 = night(*believed(0)), night(*believed(1), reasons=dict.fromkeys(numbers, "model"))
    asked = "SELECT object_id::text, change, reason, class_before IS NULL AS is_new, class_after IS NULL AS is_gone "
    asked += "FROM kryss.changes_between(:known_1, :known_2)"
    told = {row.object_id: row for row in sql(asked, known_1=known_1, known_2=known_2)}
    assert {key: row.change for key, row in told.items()} == {key: change for key, change in numbers.items() if change}
    for row in told.values():
        assert row.reason == (None if row.change == "removed" else "model")
        assert (row.is_new, row.is_gone) == (row.change == "added", row.change == "removed")
    assert sql(asked, known_1=known_2, known_2=known_2) == []


def test_a_change_and_its_undoing_between_two_instants_are_told_as_they_differ(night, make, sql):
    first = night(make.object(1), make.object(2))
    night(make.ended(1), make.object(2, lon=10.5))
    last = night(make.object(1, lon=10.41), make.object(2, lon=10.5), make.object(3))
    told = sql("SELECT object_id::text, change FROM kryss.changes_between(:first, :last)", first=first, last=last)
    assert sorted(rows(told)) == sorted(
        [(make.object_id(1), "moved"), (make.object_id(2), "moved"), (make.object_id(3), "added")]
    )


def test_changes_of_identity_name_the_other_object(night, make, sql):
    first = night(make.object(1), make.object(2))
    events = [
        Lineage(make.object_id(2), "merged_into", make.object_id(1)),
        Lineage(make.object_id(3), "split_from", make.object_id(1)),
    ]
    last = night(make.object(1), make.object(3), lineage=events)
    told = sql("SELECT object_id::text, change, other_id::text FROM kryss.changes_between(:first, :last)", first=first, last=last)
    assert sorted(rows(told)) == sorted(
        [(make.object_id(2), "merged", make.object_id(1)), (make.object_id(3), "split", make.object_id(1))]
    )


def test_every_belief_says_which_program_wrote_it_in_which_run(lived, town, sql):
    from kryss import __version__

    assert {version for (version,) in sql("SELECT code_version FROM kryss.object_now")} == {__version__}
    runs = (
        "SELECT l.run, count(*) FROM kryss.object_history h JOIN kryss.load l ON l.code = h.code AND l.system_at = h.known_from "
    )
    assert dict(rows(sql(runs + "GROUP BY 1"))) == {None: 2, "second night": 2}


def test_what_a_model_or_an_estimate_says_names_its_source(sql):
    """Every table and view with a number of a photo or of an object says which model it is of, and how the number was found."""
    columns = {}
    for name, column in sql("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'kryss'"):
        columns.setdefault(name, set()).add(column)
    seen = {"score", "detections", "misses", "sightings", "standing_probability"}
    placed = {"range_m", "error_radius_m", "covariance_ee_m2"}
    assert all("model_key" in found for found in columns.values() if found & (seen | placed))
    assert all("method" in found for found in columns.values() if found & placed)
    beliefs = {"object_now", "object_history", "intersection_now"}
    assert all({"code_version"} <= columns[name] for name in beliefs)
    assert all("source" in columns[name] for name in columns if name.startswith("intersection") and "coverage" not in name)


def test_the_layers_of_the_schema_are_those_that_are_tested_here(sql):
    described = "SELECT f_table_name, lower(type), srid FROM geometry_columns g JOIN pg_views v ON v.viewname = g.f_table_name "
    found = sql(described + "WHERE f_table_schema = 'kryss' AND schemaname = 'kryss'")
    assert sorted(rows(found)) == [(name, kind.lower(), 4326) for name, kind in LAYERS.items()]
    assert len(sql("SELECT FROM pg_views WHERE schemaname = 'kryss'")) == len(LAYERS)
    tables = "SELECT count(*) FROM geometry_columns WHERE f_table_schema = 'kryss' AND (srid <> 4326 OR type = 'GEOMETRY')"
    assert sql(tables)[0][0] == 0


@pytest.fixture
def analyst_url(database_url):
    return make_url(database_url).update_query_dict({"options": "-crole=kryss_analyst"})


def test_geopandas_opens_every_view(lived, analyst_url):
    engine = create_engine(analyst_url.set(drivername="postgresql+psycopg2"), poolclass=NullPool)
    with engine.connect() as connection:
        for layer, kind in LAYERS.items():
            frame = geopandas.read_postgis(f"SELECT * FROM kryss.{layer}", connection, geom_col="geom", index_col="key")
            assert len(frame) > 0, layer
            assert frame.index.is_unique and not frame.index.hasnans, layer
            assert frame.crs.to_epsg() == 4326, layer
            assert set(frame.geom_type.dropna()) <= {kind}, layer


needs_gdal = pytest.mark.skipif(not shutil.which("ogr2ogr"), reason="no ogr2ogr here: apt-get install gdal-bin")


def gdal_source(url) -> str:
    """GDAL's connection string, as QGIS makes one."""
    parts = {"host": url.host, "port": url.port, "dbname": url.database, "user": url.username, "password": url.password}
    return "PG:" + " ".join(f"{key}='{value}'" for key, value in parts.items()) + " options='-crole=kryss_analyst'"


@needs_gdal
def test_gdal_lists_every_view_with_its_geometry(lived, analyst_url, tmp_path):
    source = gdal_source(analyst_url)
    listed = subprocess.run(["ogrinfo", "-ro", "-so", "-al", source], capture_output=True, text=True, check=True).stdout
    told = {part.split("\n")[0]: part for part in listed.split("\nLayer name: ")[1:]}
    kinds = {"Point": "Point", "Polygon": "Polygon", "MultiLineString": "Multi Line String"}
    for layer, kind in LAYERS.items():
        part = told[f"kryss.{layer}"]
        assert f"\nGeometry: {kinds[kind]}\n" in part
        assert 'ID["EPSG",4326]' in part
        assert "\nkey: " in part


@needs_gdal
def test_gdal_exports_every_view(lived, analyst_url, tmp_path):
    target = tmp_path / "town.gpkg"
    layers = [f"kryss.{layer}" for layer in LAYERS]
    command = ["ogr2ogr", "-f", "GPKG", str(target), gdal_source(analyst_url), *layers]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == ""
    for layer, kind in LAYERS.items():
        frame = geopandas.read_file(target, layer=f"kryss.{layer}")
        assert len(frame) > 0 and frame["key"].is_unique, layer
        assert frame.crs.to_epsg() == 4326, layer
        assert set(frame.geom_type.dropna()) <= {kind}, layer
