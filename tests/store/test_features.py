"""The layer's features, built by the database: the bytes that an independent rendering of the same nouns gives, always in the
same order, at any instant those of then, whatever the server is set to and whatever the texts and numbers are."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import shapely
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url

from kryss.model import Intersection, Lineage, ObjectVersion, StreetObject
from kryss.store import open_store, stored_intersection

URL = 'https://photos.example/"ø"?key={key}&again={key}'
FILES = ("objects", "intersections", "areas", "roads")
HEIGHT_M = 0.6004


# -- an independent rendering ------------------------------------------------------------------------------------------------


def num(value: float, decimals: int) -> float:
    return float(round(float(value) * 10**decimals)) / 10**decimals + 0.0


def when(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def ellipse(covariance: tuple[float, float, float]) -> tuple[float, float, float | None]:
    east, both, north = covariance
    middle, spread = (east + north) / 2, math.hypot((east - north) / 2, both)
    scale = math.sqrt(-2 * math.log(0.05))
    azimuth = None
    if not (east == north and both == 0):
        azimuth = round((90 - math.degrees(math.atan2(2 * both, east - north)) / 2) * 10) % 1800 / 10
    return num(scale * math.sqrt(middle + spread), 2), num(scale * math.sqrt(max(middle - spread, 0)), 2), azimuth


def stood(one: StreetObject) -> str:
    starts = [one.first_seen_at, *(away.back_by for away in one.absences)]
    ends = [*(away.gone_by for away in one.absences), one.ended_at]
    return "{" + ",".join(f"[{when(a)},{when(b) or ''})" for a, b in zip(starts, ends, strict=True)) + "}"


def states(versions: list[ObjectVersion]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for version in sorted(versions, key=lambda version: version.known_from):
        one, reason = version.object, version.reason
        if found and (found[-1]["class"], found[-1]["status"]) == (one.class_name, one.status):
            reason = found.pop()["reason"]
        seen = {name: when(getattr(one, name)) for name in ("first_seen_at", "last_seen_at", "ended_at")}
        found.append({"class": one.class_name, "status": one.status, **seen, "reason": reason})
    return found


def described(one: StreetObject, home: str, url: str | None, versions: list[ObjectVersion]) -> dict[str, Any]:
    """All that is told of an object, flat and nested, in order."""
    images = sorted({image for image, _ in one.evidence}, key=lambda image: image.encode())
    last = one.evidence[-1][0] if one.evidence else None
    key = one.image_id or (None if last is None or last.startswith("survey:") else last)
    major, minor, azimuth = ellipse(one.covariance)
    lamp = one.class_name.startswith("object--traffic-light")
    return {
        "id": one.id,
        "class": one.class_name,
        "object_type": "traffic light" if lamp else "traffic sign",
        "intersection_id": home,
        "status": one.status,
        "standing_probability": num(one.standing_probability, 4),
        "first_seen_at": when(one.first_seen_at),
        "last_seen_at": when(one.last_seen_at),
        "ended_at": when(one.ended_at),
        "began_after": when(one.began_after),
        "valid_time": stood(one),
        "replaced_by": one.replaced_by,
        "error_radius_m": num(one.error_radius_m, 2),
        "error_major_m": major,
        "error_minor_m": minor,
        "error_azimuth_deg": azimuth,
        "facing_deg": None if one.facing_deg is None else round(one.facing_deg * 10) % 3600 / 10,
        "height_m": None if one.height_m is None else num(one.height_m, 2),
        "assumed_size_m": 0.6,
        "image_key": key,
        "image_url": None if url is None or key is None else url.replace("{key}", key),
        "image_count": len(images),
        "miss_count": len(one.misses),
        "absence_count": len(one.absences),
        "method": one.method or None,
        "model": one.model_key or None,
        "absences": [
            {name: when(getattr(away, name)) for name in ("gone_after", "gone_by", "back_after", "back_by")}
            for away in one.absences
        ],
        "evidence": images,
        "missed_in": list(one.misses),
        "history": states(versions),
    }


def point(one: StreetObject) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [num(one.lon, 7), num(one.lat, 7)]}


def text(value: Any) -> str:
    """Compact JSON; whole numbers without a fraction, as PostgreSQL writes them."""

    def plain(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: plain(inner) for key, inner in item.items()}
        if isinstance(item, (list, tuple)):
            return [plain(inner) for inner in item]
        return int(item) if isinstance(item, float) and item.is_integer() else item

    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))


NESTED_ONLY = ("absences", "evidence", "missed_in", "history")
FLAT_ONLY = ("intersection_id", "miss_count", "absence_count")


def rendered(reader: Any, url: str | None = URL) -> dict[str, list[str]]:
    """The lines of ``objects`` and ``intersections`` from the nouns. Areas are those of the test: closed, counter-clockwise."""
    homes, history = reader.assignments("town"), reader.object_history("town")
    held = [one for one in sorted(reader.objects("town"), key=lambda one: UUID(one.id).bytes) if one.id in homes]
    told = {one.id: described(one, homes[one.id], url, history[one.id]) for one in held}
    lines: dict[str, list[str]] = {"objects": [], "intersections": []}
    for one in held:
        flat = {key: value for key, value in told[one.id].items() if key not in NESTED_ONLY}
        lines["objects"].append(text({"type": "Feature", "id": one.id, "geometry": point(one), "properties": flat}))
    for junction in sorted(reader.intersections("town"), key=lambda junction: junction.id.encode()):
        inside = [one for one in held if homes[one.id] == junction.id]
        ring = [[num(lon, 7), num(lat, 7)] for lon, lat in junction.area]
        places = [point(one) for one in inside]
        corners = [*ring, *(place["coordinates"] for place in places)]
        west, south = (min(corner[axis] for corner in corners) for axis in (0, 1))
        east, north = (max(corner[axis] for corner in corners) for axis in (0, 1))
        geometries = [{"type": "Polygon", "coordinates": [ring]}, *places]
        lines["intersections"].append(
            text(
                {
                    "type": "Feature",
                    "id": junction.id,
                    "bbox": [west, south, east, north],
                    "geometry": {"type": "GeometryCollection", "geometries": geometries},
                    "properties": {
                        **{name: getattr(junction, name) or None for name in ("id", "name", "kind", "arms", "source")},
                        "speed_limit_kmh": num(junction.speed_limit_kmh, 1),
                        "centre": [num(junction.lon, 7), num(junction.lat, 7)],
                        "object_count": sum(one.status == "standing" for one in inside),
                        "objects": [
                            {key: value for key, value in told[one.id].items() if key not in FLAT_ONLY} for one in inside
                        ],
                    },
                }
            )
        )
    return lines


def rows_of(reader: Any, known: datetime | None = None, url: str | None = URL) -> Any:
    return reader.layer("town", known, sizes=lambda _: HEIGHT_M, image_url=url)


def written(rows: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in FILES:
        lines: list[bytes] = []
        assert getattr(rows, name)(lines.append) == len(lines)
        found[name] = [line.decode("utf-8") for line in lines]
    return found


@pytest.fixture
def street_of(town, make):
    """Makes these the beliefs: all at the first of the junctions, but for those named."""

    def believe(objects, junctions=None, homes=None, reasons=None, lineage=()):
        places = make.intersections() if junctions is None else junctions
        with town.transaction("town") as tx:
            tx.write_intersections("town", places)
            tx.write_objects("town", objects, reasons=reasons or {}, lineage=lineage)
            tx.write_assignments("town", {one.id: places[0].id for one in objects} if homes is None else homes)
            return tx.system_at()

    return believe


# -- bytes -------------------------------------------------------------------------------------------------------------------


def test_features_are_those_of_an_independent_rendering(town, street_of, make):
    street_of([make.object(1), make.came_back(2), make.ended(3), replace(make.object(4), covariance=(2.0, 0.0, 2.0))])
    street_of(
        [
            make.object(1, status="unconfirmed", began_after=make.NOON - timedelta(days=1)),
            make.came_back(2),
            replace(make.ended(3), replaced_by=make.object_id(4)),
            replace(make.object(4), image_id="99", evidence=(("100", 0), ("100", 1), ("99", 2))),
        ],
        reasons={make.object_id(1): "model"},
    )
    street_of([make.object(1), make.came_back(2), make.ended(3), make.object(4, class_name="object--traffic-light--x")])
    with town.snapshot() as reader:
        for url in (URL, None):
            found, expected = written(rows_of(reader, url=url)), rendered(reader, url)
            assert {name: found[name] for name in expected} == expected
        first = json.loads(found["intersections"][1])["properties"]["objects"]
        assert [len(one["history"]) for one in sorted(first, key=lambda one: one["id"])] == [
            {make.object_id(1): 3, make.object_id(4): 2}.get(one, 1) for one in sorted(one["id"] for one in first)
        ]


HOSTILE = [
    "", '"', "\\", "</script><script>alert(1)</script>", "\u2028", "a\tb\nc\r\x01\x02\x1f\x7f", "Ærøskøbing", "𝄞", "\\.",
    "x" * 10_000, "%s %(a)s",
]  # fmt: skip
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.sampled_from(HOSTILE)
degrees = st.floats(-180, 180) | st.sampled_from([0.0, -0.0, 1e-9, 180.0, -180.0, 10.00000005, 10.00000015])
metres = st.floats(0, 1e6) | st.sampled_from([0.0, 0.005, 0.015, 4.999999])
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))


@st.composite
def odd_objects(draw: Any) -> StreetObject:
    first, last, end = sorted(draw(st.lists(moments, min_size=3, max_size=3, unique=True)))
    ended = draw(st.booleans())
    return StreetObject(
        id=str(draw(st.uuids())),
        class_name=draw(words | st.just("object--traffic-light--general-upright")),
        lon=draw(degrees),
        lat=draw(degrees) / 2,
        covariance=(draw(metres), draw(st.floats(-1e3, 1e3)), draw(metres)),
        error_radius_m=draw(metres),
        first_seen_at=first,
        last_seen_at=last,
        status="ended" if ended else draw(st.sampled_from(["standing", "unconfirmed"])),
        standing_probability=draw(st.floats(0, 1)),
        ended_at=end if ended else None,
        evidence=tuple(sorted(draw(st.sets(st.tuples(words, st.integers(0, 3)), max_size=4)))),
        misses=tuple(draw(st.lists(words, max_size=3))),
        facing_deg=draw(st.none() | st.floats(0, 360) | st.just(359.96)),
        model_key=draw(words),
        method=draw(words),
        height_m=draw(st.none() | st.floats(-10, 1e4)),
        began_after=first if draw(st.booleans()) else None,
        image_id=draw(st.none() | words.filter(bool)),
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(objects=st.lists(odd_objects(), min_size=1, max_size=4, unique_by=lambda one: one.id), name=words, url=st.none() | words)
@example(objects=[], name="", url="{key}")
def test_hostile_texts_and_odd_numbers_are_told_as_they_are(town, street_of, make, objects, name, url):
    plain = make.intersections()
    street_of(objects, [replace(plain[0], name=name or None, kind=name or None), plain[1]])
    with town.snapshot() as reader:
        found, expected = written(rows_of(reader, url=url)), rendered(reader, url)
    for file in expected:
        assert found[file] == expected[file]
        for line in found[file]:
            json.loads(line)
            assert "\n" not in line and "\r" not in line


def test_numbers_that_json_cannot_hold_are_null_or_leave_their_object_out(town, street_of, make, sql):
    street_of([make.object(number) for number in range(1, 8)])
    spoilt = {
        1: "height_m = 'NaN'",
        2: "facing_deg = 'Infinity'",
        3: "covariance_en_m2 = 'NaN'",
        4: "error_radius_m = 'Infinity'",
        5: "geom = ST_SetSRID(ST_MakePoint('NaN', 63), 4326)",
        6: "first_seen_at = '-infinity'",
        7: "geom = ST_SetSRID(ST_MakePoint(181, 63), 4326)",
    }
    for number, what in spoilt.items():
        sql(f"UPDATE kryss.object_version SET {what} WHERE object_id = '{make.object_id(number)}'")
    with town.snapshot() as reader:
        rows = rows_of(reader)
        found, summary = written(rows), rows.summary()
    told = {(one := json.loads(line))["id"]: one["properties"] for line in found["objects"]}
    assert told.keys() == {make.object_id(number) for number in (1, 2, 3)}
    assert told[make.object_id(1)]["height_m"] is None
    assert told[make.object_id(2)]["facing_deg"] is None
    assert told[make.object_id(3)]["error_major_m"] is None
    left_out = {make.object_id(number) for number in (4, 5, 6, 7)}
    assert {line.split()[1].rstrip(":") for line in summary.left_out} == left_out
    assert (summary.objects, summary.unassigned) == (3, 4)
    inside = json.loads(found["intersections"][1])["properties"]["objects"]
    assert [one["id"] for one in inside] == sorted(told)
    lon = num(make.object(1).lon, 7)
    assert summary.bboxes["objects"] == (lon, num(make.object(1).lat, 7), lon, num(make.object(1).lat, 7))


def test_an_intersection_that_cannot_be_drawn_is_left_out_with_its_objects(town, street_of, make, sql):
    street_of([make.object(1), make.object(2)], homes={make.object_id(1): "osm:1", make.object_id(2): "nvdb:7"})
    sql("UPDATE kryss.intersection_version SET center = ST_SetSRID(ST_MakePoint(10, 91), 4326) WHERE intersection_id = 'osm:1'")
    with town.snapshot() as reader:
        rows = rows_of(reader)
        found, summary = written(rows), rows.summary()
    assert [json.loads(line)["id"] for name in ("areas", "intersections") for line in found[name]] == ["nvdb:7", "nvdb:7"]
    assert [json.loads(line)["id"] for line in found["objects"]] == [make.object_id(2)]
    assert (summary.intersections, summary.objects, summary.unassigned) == (1, 1, 1)
    assert summary.left_out[0].startswith("intersection osm:1: ")


def test_an_object_at_an_intersection_that_is_not_believed_is_at_none(town, street_of, make):
    street_of([make.object(1)])
    with town.transaction("town") as tx:
        tx.write_intersections("town", [make.intersections()[1]])
        rows = rows_of(tx)
        assert written(rows)["objects"] == []
        assert rows.summary().left_out == ("intersection osm:1: objects are assigned to it, but it is not believed",)


# -- areas and roads ---------------------------------------------------------------------------------------------------------


def area(*corners: tuple[float, float]) -> Intersection:
    ring = tuple((10.4 + x * 1e-7, 63.4 + y * 1e-7) for x, y in (*corners, corners[0]))
    return Intersection("osm:1", "osm", 10.4, 63.4, 50.0, ring)


def ring_of(store: Any) -> list[list[float]]:
    with store.snapshot() as reader:
        (line,) = written(rows_of(reader))["areas"]
    geometry = json.loads(line)["geometry"]
    assert geometry["type"] == "Polygon" and len(geometry["coordinates"]) == 1
    return geometry["coordinates"][0]


corner = st.tuples(st.floats(-40, 40), st.floats(-40, 40))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(corners=st.lists(corner, min_size=3, max_size=9))
@example(corners=[(0, 0), (10, 0.1), (10, 0.2), (0.2, 0.2), (0.2, 10), (0.1, 10)])
@example(corners=[(0, 0), (10, 0.3), (20, 0), (20, 9), (10, 0.4), (0, 9)])
@example(corners=[(0.1, 0.1), (0.2, 0.1), (0.2, 0.2)])
@example(corners=[(0, 0), (0, 9), (9, 9), (9, 0)])
def test_a_rounded_area_is_a_closed_counter_clockwise_valid_ring(town, street_of, corners):
    junction = stored_intersection(area(*corners))
    if len(junction.area) < 4 or not shapely.Polygon(junction.area).is_valid or shapely.Polygon(junction.area).area == 0:
        return
    street_of([], [junction], {})
    ring = ring_of(town)
    assert ring[0] == ring[-1]
    assert all(a != b for a, b in pairwise(ring))
    assert shapely.Polygon(ring).is_valid
    assert shapely.LinearRing(ring).is_ccw
    assert all(value == round(value, 7) for position in ring for value in position)
    assert shapely.hausdorff_distance(shapely.Polygon(ring), shapely.Polygon(junction.area)) < 45e-7


def test_an_area_smaller_than_the_grid_stays_a_polygon(town, street_of):
    street_of([], [area((0.1, 0.1), (0.3, 0.1), (0.3, 0.3), (0.1, 0.3))], {})
    assert shapely.Polygon(ring_of(town)).area > 0


def test_roads_are_told_where_there_are_any_and_without_repeated_positions(town, street_of, make):
    short = ((10.4, 63.4), (10.4 + 1e-9, 63.4))
    bent = ((10.4, 63.4), (10.4 + 1e-9, 63.4), (10.401, 63.4))
    plain = make.intersections()[0]
    both = replace(plain, approaches=(short, bent))
    street_of([], [both, replace(plain, id="osm:2", approaches=(short,)), replace(plain, id="osm:3")], {})
    with town.snapshot() as reader:
        rows = rows_of(reader)
        (line,) = written(rows)["roads"]
        assert rows.summary().bboxes["roads"] == (10.4, 63.4, 10.401, 63.4)
    assert json.loads(line)["id"] == "osm:1"
    assert json.loads(line)["geometry"] == {"type": "MultiLineString", "coordinates": [[[10.4, 63.4], [10.401, 63.4]]]}


# -- order, summary ----------------------------------------------------------------------------------------------------------


def test_features_come_in_the_order_of_the_bytes_of_their_ids(town, street_of, make, monkeypatch):
    monkeypatch.setattr("kryss.store.features.PART", 3)
    plain = make.intersections()[0]
    ids = ["a:1", "B:1", "Æ:1", "a:10", "a:2", "ø:1", "Z", "aa:1", "𝄞", "\uffff"]
    places = [replace(plain, id=one) for one in ids]
    objects = [make.object(number) for number in range(40)]
    ends = [replace(make.object(1), id=str(UUID(int=number))) for number in (0, 2**128 - 1, 2**127, 2**127 - 1)]
    street_of([*objects, *ends], places)
    with town.snapshot() as reader:
        found = written(rows_of(reader))
    assert [json.loads(line)["id"] for line in found["areas"]] == sorted(ids, key=lambda one: one.encode())
    assert [json.loads(line)["id"] for line in found["intersections"]] == sorted(ids, key=lambda one: one.encode())
    assert [json.loads(line)["id"] for line in found["objects"]] == sorted(one.id for one in (*objects, *ends))
    assert all(line.startswith('{"type":"Feature","id":"' + json.loads(line)["id"] + '"') for line in found["objects"])


def test_the_summary_counts_what_the_files_hold(town, street_of, make):
    far = make.object(4, lon=10.45, lat=63.45, class_name="warning--x--g1")
    street_of([make.object(1), make.ended(2), make.object(3), far], homes={make.object_id(n): "osm:1" for n in (1, 2, 4)})
    with town.snapshot() as reader:
        rows = rows_of(reader)
        summary, found = rows.summary(), written(rows)
    assert (summary.intersections, summary.objects, summary.unassigned) == (2, 3, 1)
    assert summary.by_class == {
        "regulatory--stop--g1": {"standing": 1, "unconfirmed": 0, "ended": 1},
        "warning--x--g1": {"standing": 1, "unconfirmed": 0, "ended": 0},
    }
    for name in FILES:
        boxes = [shapely.from_geojson(json.dumps(json.loads(line)["geometry"])).bounds for line in found[name]]
        assert summary.bboxes[name] == tuple(
            outermost(corner) for outermost, corner in zip((min, min, max, max), zip(*boxes, strict=True), strict=True)
        )
    assert summary.bbox == summary.bboxes["intersections"]


def test_a_municipality_of_which_nothing_is_known_has_no_features(town):
    with town.snapshot() as reader:
        rows = rows_of(reader)
        assert written(rows) == {name: [] for name in FILES}
        assert rows.summary().bbox is None
        assert (rows.known, rows.summary().objects, rows.summary().left_out) == (None, 0, ())
        assert (rows.versions([]), rows.lineage([])) == ({}, [])


def test_another_municipality_with_the_same_ids_is_not_read(town, street_of, make):
    street_of([make.object(1)])
    with town.transaction("other") as tx:
        tx.upsert_municipality(make.municipality("other"))
        tx.write_intersections("other", make.intersections())
        tx.write_objects("other", [make.object(1, lon=10.0), make.object(2)])
        tx.write_assignments("other", {make.object_id(1): "osm:1", make.object_id(2): "osm:1"})
    with town.snapshot() as reader:
        assert [json.loads(line)["id"] for line in written(rows_of(reader))["objects"]] == [make.object_id(1)]


# -- two clocks --------------------------------------------------------------------------------------------------------------


def test_an_instant_gives_the_bytes_of_then_whatever_came_later(town, street_of, make):
    """Nights that add, change, end and withdraw; a reprocess; new junctions, areas and assignments."""
    plain = make.intersections()
    moved = replace(plain[0], name="Nytt torg", area=tuple((lon + 1e-4, lat) for lon, lat in plain[0].area))
    one, two, three, four = ids = [make.object_id(number) for number in range(1, 5)]
    other = make.object(2, model_key="other@2", class_name="a")
    nights = [
        ([make.object(1), make.object(2, status="unconfirmed")], plain, {one: "osm:1"}),
        ([make.object(1), make.object(2), make.object(3)], plain, {one: "nvdb:7", two: "nvdb:7"}),
        ([make.ended(1), other, make.came_back(3)], [moved], dict.fromkeys((one, two, three), "osm:1")),
        ([make.object(3, evidence=()), make.object(4)], [plain[1]], {three: "nvdb:7"}),
        ([make.object(2), make.object(4, lon=10.41)], plain, {two: "osm:1", four: "nvdb:7"}),
    ]
    then: list[tuple[datetime, Any, Any, Any]] = []
    for objects, places, homes in nights:
        events = [Lineage(one, "unsupported")] if len(then) == 3 else []
        street_of(objects, places, homes, lineage=events)
        with town.snapshot() as reader:
            rows = rows_of(reader)
            then.append((rows.known, written(rows), rows.summary(), (rows.versions(ids), rows.lineage(ids))))
            assert then[-1][1]["objects"] == rendered(reader)["objects"]
    with town.snapshot() as reader:
        for known, files, summary, story in then:
            rows = rows_of(reader, known)
            assert written(rows) == files
            assert rows.summary() == summary
            assert (rows.versions(ids), rows.lineage(ids)) == story
        assert written(rows_of(reader, then[-1][0] + timedelta(days=1))) == then[-1][1]
        before = rows_of(reader, then[0][0] - timedelta(microseconds=1))
        assert written(before) == {name: [] for name in FILES}


def test_a_photo_that_had_to_go_is_nobodys_photo_any_more(town, street_of, make, sql):
    known = street_of([make.object(1, image_id="99")])
    street_of([make.object(1, image_id="100")])
    with town.transaction("town") as tx:
        tx.remove_images(["99"], "takedown")
        assert tx.removed_since("town", known) == 1
        for instant, photo in ((known, None), (None, "100")):
            (found,) = tx.objects("town", known=instant)
            assert found.image_id == photo
            (line,) = written(rows_of(tx, instant))["objects"]
            assert json.loads(line)["properties"]["image_key"] == "100"
            assert '"99"' not in line
        assert tx.removed_since("town", tx.newest("town")) == 0


# -- machines ----------------------------------------------------------------------------------------------------------------


def test_the_settings_of_server_and_session_do_not_matter(town, street_of, make, database_url, sql):
    street_of([make.came_back(1), make.ended(2), make.object(3, lon=1 / 3, facing_deg=0.1)])
    with town.snapshot() as reader:
        expected = written(rows_of(reader))
    name = make_url(database_url).database
    for setting in (
        "timezone = 'Asia/Kolkata'",
        "datestyle = 'German, DMY'",
        "intervalstyle = 'iso_8601'",
        "extra_float_digits = -15",
        "standard_conforming_strings = off",
        "bytea_output = 'escape'",
        "jit = on",
        "client_encoding = 'LATIN1'",
        "lc_numeric = 'C.UTF-8'",
        "lc_time = 'C.UTF-8'",
        "work_mem = '64kB'",
        "max_parallel_workers_per_gather = 0",
        "parallel_setup_cost = 0",
        "parallel_tuple_cost = 0",
        "min_parallel_table_scan_size = 0",
        "enable_hashjoin = off",
        "enable_sort = off",
    ):
        sql(f'ALTER DATABASE "{name}" SET {setting}')
        with open_store(database_url).snapshot() as reader:
            assert written(rows_of(reader)) == expected, setting


def test_a_database_of_another_collation_gives_the_same_bytes(postgis_server, make):
    """A collation that ignores case and punctuation; ICU's, which every server has."""
    name = "kryss_test_collation"
    postgis_server._run(f'DROP DATABASE IF EXISTS "{name}"')
    collation = "LOCALE_PROVIDER icu ICU_LOCALE 'nb-u-ka-shifted' LOCALE 'C.UTF-8'"
    postgis_server._run(f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8' {collation}")
    url = postgis_server.url.set(database=name).render_as_string(hide_password=False)
    try:
        store = open_store(url)
        store.migrate()
        plain = make.intersections()[0]
        ids = ["a:1", "B:1", "a-2", "Æ", "å", "Z"]
        with store.transaction("town") as tx:
            tx.upsert_municipality(make.municipality())
            tx.write_intersections("town", [replace(plain, id=one) for one in ids])
            tx.write_objects("town", [make.object(1, evidence=(("B", 0), ("a", 0), ("a-", 1), ("a-", 2)))])
            tx.write_assignments("town", {make.object_id(1): "a:1"})
            found = written(rows_of(tx))
            assert found["intersections"] == rendered(tx)["intersections"]
            assert [json.loads(line)["id"] for line in found["roads"] + found["areas"]] == sorted(ids, key=str.encode)
    finally:
        postgis_server._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def test_what_fails_while_writing_fails_as_itself_and_the_store_goes_on(town, street_of, make):
    street_of([make.object(number) for number in range(50)])

    class FullError(OSError):
        pass

    def full(line: bytes) -> None:
        raise FullError("no space left")

    with pytest.raises(FullError), town.snapshot() as reader:
        rows_of(reader).objects(full)
    with town.snapshot() as reader:
        assert len(written(rows_of(reader))["objects"]) == 50


FLAT = """
import resource, sys
sys.path.insert(0, {include!r})
from kryss.store import open_store
with open_store(sys.stdin.readline().strip()).snapshot() as reader:
    rows = reader.layer("town", sizes=lambda _: None, image_url=None)
    read = 0
    def write(line):
        global read
        read += len(line)
    for name in ("objects", "intersections", "areas", "roads"):
        getattr(rows, name)(write)
status = open("/proc/self/status").read()
print(read, next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_memory_does_not_grow_with_the_number_of_objects(town, make, database_url):
    peaks: list[int] = []
    plain = make.intersections()[0]
    for count in (500, 30_000):
        objects = [make.object(number) for number in range(count)]
        places = [replace(plain, id=f"osm:{number}") for number in range(count // 10)]
        with town.transaction("town") as tx:
            tx.write_intersections("town", places)
            tx.write_objects("town", objects)
            tx.write_assignments("town", {one.id: places[n % len(places)].id for n, one in enumerate(objects)})
        program = FLAT.format(include=str(Path(__file__).resolve().parents[2] / "include"))
        done = subprocess.run([sys.executable, "-c", program], input=database_url, capture_output=True, text=True, check=True)
        read, peak = map(int, done.stdout.split())
        assert read > 1500 * count
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 8_000, f"{peaks} kB"
