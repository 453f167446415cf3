"""Anybody's table of bearings becomes a map: what is missing is assumed, what is bad is counted, and order means nothing."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geojson_pydantic import FeatureCollection
from pyproj import Geod

from kryss.layer.geojson import dump_layer
from kryss.positioning.frame import Frame
from kryss.positioning.locate import (
    DEPTH_SIGMA,
    PRIOR_LOG_SIGMA,
    PRIOR_RANGE_M,
    Defaults,
    Detections,
    DetectionsError,
    locate,
    read_detections,
    sightings_of,
)

LAMP = "object--street-light"
HERE = Frame(10.4, 63.4)


def row_towards(
    x: float, y: float, thing: tuple[float, float], frame: Frame = HERE, decimals: int = 9, **more: object
) -> dict[str, object]:
    """What a camera at metres x, y says of a thing: its own position and the true bearing."""
    (lon, lat), (to_lon, to_lat) = frame.to_lonlat((x, y))[0], frame.to_lonlat(thing)[0]
    bearing = Geod(ellps="WGS84").inv(lon, lat, to_lon, to_lat)[0] % 360
    return {"lat": round(lat, decimals), "lon": round(lon, decimals), "bearing_deg": round(bearing, 6), **more}


def text_of(rows: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Reads a table that is given as text or as rows."""

    def read_one(table: str | Sequence[dict[str, Any]]) -> Detections:
        path = tmp_path / "detections.csv"
        path.write_text(table if isinstance(table, str) else text_of(table), encoding="utf-8")
        return read_detections(path)

    return read_one


def located(found: dict[str, Any], frame: Frame = HERE) -> list[tuple[float, float]]:
    """Metres of the objects."""
    points = [one["geometry"]["coordinates"] for one in found["features"]]
    return [tuple(frame.to_xy(lon, lat)[0]) for lon, lat in points]


AROUND = [(-12.0, -8.0), (0.0, -10.0), (10.0, -6.0), (12.0, 5.0)]


def test_bearings_alone_are_crossed(read: Any) -> None:
    found = locate(read([row_towards(x, y, (0.0, 3.0), **{"class": LAMP}) for x, y in AROUND]))
    (one,) = found["features"]
    assert np.hypot(*np.subtract(located(found)[0], (0.0, 3.0))) < 1.0 < one["properties"]["error_radius_m"] < 6.0
    assert one["properties"]["class"] == LAMP
    assert (one["properties"]["views"], one["properties"]["confirmed"], one["properties"]["method"]) == (4, True, "prior")
    assert one["properties"]["rows"] == [2, 3, 4, 5]
    assert 0 < one["properties"]["error_radius_68_m"] < one["properties"]["error_radius_m"]


def test_ranges_are_taken_as_they_are_and_depths_up_to_their_scale(read: Any) -> None:
    rows = [
        row_towards(0, 0, (0.0, 20.0), range_m=20, depth=7, range_sigma_m=1.5),
        row_towards(0, 0, (20.0, 0.0), range_m=20),
        row_towards(0, 0, (0.0, -20.0), depth=20),
        row_towards(0, 0, (-20.0, 0.0)),
    ]
    sightings, _, (scale,) = sightings_of(read(rows), Defaults())
    assert sorted((one.method, round(one.range_sigma_m, 6)) for one in sightings) == [
        ("depth", round(20 * float(np.hypot(DEPTH_SIGMA, 0.5)), 6)),
        ("prior", PRIOR_RANGE_M * PRIOR_LOG_SIGMA),
        ("range", 1.5),
        ("range", 0.15 * 20),
    ]
    assert scale == {"sequence_id": None, "metres_per_unit": 1.0, "log_sigma": 0.5, "estimated": False, "rows": 1}
    assert {one.range_shared_sigma_m for one in sightings} == {0.0, 10.0}
    assert {one.image_id for one in sightings} == {sightings[0].image_id}


def test_depths_of_the_sky_and_of_the_lens_are_none(read: Any) -> None:
    rows = [row_towards(x, y, (0.0, 3.0), depth=depth) for (x, y), depth in zip(AROUND, (9, 10, 1e9, 1e-6), strict=True)]
    sightings, _, _ = sightings_of(read(rows), Defaults())
    assert sorted(one.method for one in sightings) == ["depth", "depth", "prior", "prior"]


def test_no_error_is_taken_to_be_better_than_a_survey(read: Any) -> None:
    row = {"position_sigma_m": 1e-9, "bearing_sigma_deg": 1e-9, "range_sigma_m": 1e-9, "range_m": 20}
    ((one,), _, _) = sightings_of(read([row_towards(0, 0, (0.0, 20.0), **row)]), Defaults())
    assert (one.camera_sigma_m, one.bearing_sigma_deg, one.range_sigma_m) == (0.02, 0.05, pytest.approx(0.2))


def test_rows_of_one_place_and_time_are_one_photo_unless_ids_say_otherwise(read: Any) -> None:
    here = {"lat": 51.5, "lon": -0.1, "bearing_deg": 10.0}
    rows = [
        here,
        {**here, "bearing_deg": 50.0},
        {**here, "captured_at": "2024-05-01T10:00:00Z"},
        {**here, "captured_at": "1714557600000"},
        {**here, "captured_at": "2024-05-01T10:00:00+02:00"},
        {**here, "image_id": "a", "sequence_id": "drive"},
        {**here, "image_id": "b", "sequence_id": "drive"},
    ]
    sightings, _, _ = sightings_of(read(rows), Defaults())
    by_photo = {one.image_id for one in sightings}
    assert len(by_photo) == 5
    assert {one.sequence_id for one in sightings if one.image_id in "ab"} == {"drive"}
    assert all(one.sequence_id == one.image_id for one in sightings if one.image_id not in "ab")
    assert sorted(one.ordinal for one in sightings) == [0, 0, 0, 0, 0, 1, 1]


def test_stated_errors_and_classes_win_over_the_defaults(read: Any) -> None:
    rows = [
        {
            "lat": 51.5,
            "lon": -0.1,
            "bearing_deg": 10,
            "position_sigma_m": 4,
            "bearing_sigma_deg": 9,
            "class": "regulatory--stop--g1",
        },
        {"lat": 51.6, "lon": -0.1, "bearing_deg": -10},
    ]
    stated, assumed = sorted(sightings_of(read(rows), Defaults("lamp", 0.7, 3.0))[0], key=lambda one: one.camera_lat)
    assert (stated.camera_sigma_m, stated.bearing_sigma_deg, stated.class_name) == (4, 9, "regulatory--stop--g1")
    assert (assumed.camera_sigma_m, assumed.bearing_sigma_deg, assumed.class_name) == (0.7, 3.0, "lamp")
    assert (stated.pose_origin, assumed.pose_origin, assumed.bearing_deg) == ("gps", "sfm", 350.0)


BAD_ROWS = {
    "nan,0.1,10,,": "lat is not a finite number",
    "51.5,east,10,,": "lon is not a finite number",
    "51.5,0.1,inf,,": "bearing_deg is not a finite number",
    "51.5,0.1,,,": "bearing_deg is missing",
    "90,0.1,10,,": "lat is beyond 89.9 degrees",
    "51.5,180.5,10,,": "lon is beyond 180 degrees",
    "0,0,10,,": "no position: lat 0, lon 0",
    "51.5,0.1,10,-3,": "range_m is not positive",
    "51.5,0.1,10,1e6,": "range_m is not within 0.5 and 250 m",
    "51.5,0.1,10,0.1,": "range_m is not within 0.5 and 250 m",
    "51.5,0.1,10,,yesterday": "captured_at is no instant",
    "51.5,0.1,10": "more or fewer cells than the header",
    "51.5,0.1,10,,,7": "more or fewer cells than the header",
}


def test_bad_rows_are_counted_with_reason_and_line_and_stop_nothing(read: Any) -> None:
    good = "51.5,0.1,10,20,2024-05-01"
    found = read("\n".join(["lat,lon,bearing_deg,range_m,captured_at", good, *BAD_ROWS, "", good]) + "\n")
    told: dict[str, list[int]] = {}
    for line, reason in enumerate(BAD_ROWS.values(), 3):
        told.setdefault(reason, []).append(line)
    assert found.refused == told
    assert (len(found), found.rows_read) == (2, 15)
    assert found.line.tolist() == [2, 17]
    member = locate(found)["kryss"]
    assert member["rows"] == 15
    assert {reason: one["lines"] for reason, one in member["refused"].items()} == told


def test_a_table_without_a_needed_column_is_refused_as_a_whole(read: Any, tmp_path: Path) -> None:
    with pytest.raises(DetectionsError, match=r"no column lat, bearing_deg; the header has latitude, lon"):
        read("latitude,lon\n51.5,0.1\n")
    with pytest.raises(DetectionsError, match="column lat appears twice"):
        read("lat,lat,lon,bearing_deg\n")
    with pytest.raises(DetectionsError, match="cannot be read: No such file"):
        read_detections(tmp_path / "nothing.csv")


@pytest.mark.parametrize("text", ["", "lat,lon,bearing_deg\n", "\ufeffLat, LON ,bearing_deg,colour\n\n"])
def test_a_table_without_rows_is_an_empty_map(read: Any, text: str) -> None:
    found = locate(read(text))
    assert (found["type"], found["features"], found["kryss"]["objects"]) == ("FeatureCollection", [], 0)
    FeatureCollection.model_validate(found)


def test_the_order_of_the_rows_does_not_matter(read: Any) -> None:
    rng = random.Random(5)
    things = [(0.0, 3.0), (14.0, 6.0), (-15.0, 9.0)]
    rows = [
        row_towards(x + rng.gauss(0, 1), y + rng.gauss(0, 1), thing, **{"depth": 5 + k, "class": LAMP})
        for k, thing in enumerate(things)
        for x, y in AROUND
    ]
    shuffled = rng.sample(rows, len(rows))

    def told(some: list[dict[str, object]]) -> list[dict[str, Any]]:
        found = locate(read(some))
        for one in found["features"]:
            one["rows"] = sorted(rows.index(some[line - 2]) for line in one["properties"].pop("rows"))
        return sorted(found["features"], key=str)

    assert told(shuffled) == told(rows)


def test_the_map_is_valid_geojson_of_the_same_bytes_every_time(read: Any) -> None:
    rows = [row_towards(x, y, thing) for thing in ((0.0, 3.0), (30.0, 6.0)) for x, y in AROUND]
    written = [dump_layer(locate(read(rows))) for _ in range(2)]
    assert written[0] == written[1]
    found = json.loads(written[0])
    FeatureCollection.model_validate(found)
    assert all(round(value, 7) == value for one in found["features"] for value in one["geometry"]["coordinates"])
    assert all("." in text for text in map(repr, found["bbox"]))


def test_a_file_may_hold_cities_of_two_continents_and_the_antimeridian(read: Any) -> None:
    fiji, oslo = Frame(180.0, -17.0), Frame(10.7, 59.9)
    rows = [row_towards(x, y, (0.0, 3.0), frame, **{"class": LAMP}) for frame in (fiji, oslo) for x, y in AROUND]
    found = locate(read(rows))
    assert len(found["features"]) == 2
    for frame in (fiji, oslo):
        assert min(np.hypot(x, y - 3.0) for x, y in located(found, frame)) < 1.0
    sightings, _, (scale,) = sightings_of(read([{**row, "depth": 12.0} for row in rows]), Defaults())
    assert len(sightings) == 8
    assert 0.5 < scale["metres_per_unit"] < 2.0
    across = locate(read(rows[:4] + [row_towards(x - 60, y, (-60.0, 3.0), fiji) for x, y in AROUND]))
    west, _, east, _ = across["bbox"]
    assert 179.9 < west <= 180.0
    assert abs(abs(east) - 180.0) < 0.01


def test_a_drive_with_a_depth_unit_of_its_own_gets_its_own_scale(read: Any) -> None:
    def scales_of(**units: float) -> dict[str | None, float]:
        _, _, scales = sightings_of(read(drives(units)), Defaults(position_sigma_m=0.5))
        return {one["sequence_id"]: one["metres_per_unit"] for one in scales}

    both = scales_of(metres=1.0, feet=0.3048)
    assert both.get("metres", both[None]) == pytest.approx(1.0, rel=0.2)
    assert both.get("feet", both[None]) == pytest.approx(0.3048, rel=0.2)
    assert len(both) > 1
    assert set(scales_of(metres=1.0, also_metres=1.0)) == {None}


def drives(units: dict[str, float]) -> list[dict[str, Any]]:
    """Two streets 900 m apart, lamps on both sides, one drive each, with depths in a unit of its own."""
    rows = []
    for start, (name, unit) in zip((0.0, 900.0), units.items(), strict=True):
        rng = np.random.default_rng(6)
        lamps = [(float(side), float(along)) for along in range(0, 300, 15) for side in (-7, 7)]
        for photo in range(34):
            x, y = 0.3 * rng.normal(), 9.0 * photo
            for lamp in lamps:
                distance = float(np.hypot(lamp[0] - x, lamp[1] - y))
                if distance < 22:
                    seen = {"depth": distance / unit * float(np.exp(rng.normal(0, 0.2))), "sequence_id": name, "class": LAMP}
                    rows.append(row_towards(x + start, y, (lamp[0] + start, lamp[1]), image_id=f"{name}{photo}", **seen))
    return rows


def test_classes_nobody_has_heard_of_are_located_too(read: Any) -> None:
    found = locate(read([row_towards(x, y, (0.0, 3.0), **{"class": "Verkehrszeichen № 7", "depth": 11}) for x, y in AROUND[:3]]))
    assert {one["properties"]["class"] for one in found["features"]} == {"Verkehrszeichen № 7"}


@pytest.mark.real
def test_every_row_of_london_is_accounted_for_and_its_depths_are_somewhat_short_of_metres(shared_data: Path) -> None:
    found = locate(read_detections(shared_data / "krylov-london-south" / "detections.csv"))
    told = found["kryss"]
    assert (told["rows"], told["refused"]) == (47, {})
    (scale,) = told["depth_scales"]
    assert scale["estimated"] and 1.0 < scale["metres_per_unit"] < 1.6
    lines = [line for one in found["features"] for line in one["properties"]["rows"]]
    assert len(lines) == len(set(lines)) == 47 - sum(told["left_out"].values())
