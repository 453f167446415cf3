"""The layer is RFC 7946 GeoJSON in the thesis's structure, and the same nouns give the same bytes."""

from __future__ import annotations

import json
import math
import random
import warnings
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from importlib import resources

import geopandas
import pytest
import shapely
from geojson_pydantic import FeatureCollection
from hypothesis import given, settings
from hypothesis import strategies as st

from kryss.layer.geojson import LayerError, area_ring, build, dump_layer, instant, object_type, valid_time_states
from kryss.layer.validate import layer_problems, schema_problems
from kryss.model import Absence

# RFC 7946 section 3.1.8 advises against collections of one geometry; an intersection without objects keeps the layer's structure.
pytestmark = pytest.mark.filterwarnings("ignore:GeometryCollection should not be used")

SCHEMA = json.loads(resources.files("kryss.layer").joinpath("schema.json").read_text(encoding="utf-8"))


def problems(collection: dict) -> list[str]:
    return [*schema_problems("layer", collection, SCHEMA, "intersections"), *layer_problems(collection)]


def layer(town, objects, **changes) -> dict:
    return build([town.junction()], objects, {item.id: "nvdb:1" for item in objects}, **changes)


def test_objects_describe_the_points_after_the_area(town):
    feature = layer(town, town.in_2026())["features"][0]
    area, *points = feature["geometry"]["geometries"]
    assert area["type"] == "Polygon"
    assert len(points) == len(feature["properties"]["objects"]) == 11
    place = dict(zip((item["id"] for item in feature["properties"]["objects"]), points, strict=True))
    for item in town.in_2026():
        assert place[item.id] == {"type": "Point", "coordinates": [round(item.lon, 7), round(item.lat, 7)]}
    assert [item["id"] for item in feature["properties"]["objects"]] == sorted(item.id for item in town.in_2026())


def test_an_intersection_without_objects_is_in_the_layer(town):
    collection = build([town.junction("nvdb:2", east_m=300), town.junction()], [], {})
    assert [feature["id"] for feature in collection["features"]] == ["nvdb:1", "nvdb:2"]
    assert collection["features"][1]["properties"]["objects"] == []
    assert problems(collection) == []


def test_a_municipality_without_intersections_is_an_empty_collection(town):
    collection = build([], town.in_2025(), {})
    assert json.loads(dump_layer(collection)) == {"type": "FeatureCollection", "features": []}
    assert problems(collection) == []


def test_an_ended_object_stays_with_its_history(town):
    stood = town.sign("g1", "regulatory--stop--g1", -22, -6)
    once = replace(stood, status="unconfirmed", evidence=(("101", 0),))
    again = replace(stood, last_seen_at=town.first + timedelta(days=30))
    gone = replace(again, status="ended", ended_at=town.second)
    collection = layer(town, [gone], history={"g1": town.versions(once, stood, again, gone)})
    entry = collection["features"][0]["properties"]["objects"][0]
    assert entry["status"] == "ended"
    assert entry["ended_at"] == "2026-05-20T09:30:00Z"
    assert [(state["status"], state["last_seen_at"], state["ended_at"]) for state in entry["history"]] == [
        ("unconfirmed", "2025-06-10T09:30:00Z", None),
        ("standing", "2025-07-10T09:30:00Z", None),
        ("ended", "2025-07-10T09:30:00Z", "2026-05-20T09:30:00Z"),
    ]


def test_history_holds_no_system_time(town):
    stood = town.sign("g1", "regulatory--stop--g1", -22, -6)
    seen = replace(stood, last_seen_at=town.second)
    early, late = (valid_time_states(seen, town.versions(stood, seen, loaded=loaded)) for loaded in (town.first, town.second))
    assert early == late


def test_a_state_keeps_the_reason_for_which_it_was_first_believed(town):
    once = town.sign("g1", "regulatory--stop--g1", -22, -6, status="unconfirmed")
    stood = replace(once, status="standing")
    again = replace(stood, model_key="other@2")
    gone = replace(again, status="ended", ended_at=town.second)
    versions = town.versions(once, stood, again, gone, reasons=("street", "evidence", "model", "street"))
    entry = layer(town, [gone], history={"g1": versions})["features"][0]["properties"]["objects"][0]
    assert [state["reason"] for state in entry["history"]] == ["street", "evidence", "street"]
    assert valid_time_states(gone)[0]["reason"] is None


def test_when_it_came_when_it_was_away_and_what_stands_there_now_are_told(town):
    hours = [town.first + timedelta(hours=hour) for hour in range(1, 5)]
    item = town.sign("g1", "regulatory--stop--g1", -22, -6, last_seen_at=town.second, began_after=town.first - timedelta(days=3))
    item = replace(item, absences=(Absence(*hours),), status="ended", ended_at=town.second, replaced_by="n1")
    collection = layer(town, [item])
    entry = collection["features"][0]["properties"]["objects"][0]
    assert entry["began_after"] == "2025-06-07T09:30:00Z"
    assert entry["absences"] == [
        {
            "gone_after": "2025-06-10T10:30:00Z",
            "gone_by": "2025-06-10T11:30:00Z",
            "back_after": "2025-06-10T12:30:00Z",
            "back_by": "2025-06-10T13:30:00Z",
        }
    ]
    assert entry["replaced_by"] == "n1"
    assert problems(collection) == []
    plain = layer(town, [town.sign("g1", "regulatory--stop--g1", -22, -6)])["features"][0]["properties"]["objects"][0]
    assert (plain["began_after"], plain["absences"], plain["replaced_by"]) == (None, [], None)


def test_unknown_is_null_and_never_zero(town):
    entry = layer(town, [town.sign("x", "regulatory--stop--g1", 0, 0, evidence=(), method="", model_key="")])
    entry = entry["features"][0]["properties"]["objects"][0]
    for name in ("assumed_size_m", "facing_deg", "height_m", "ended_at", "image_key", "image_url", "method", "model"):
        assert entry[name] is None, name


def test_the_image_is_the_best_one_and_links_to_mapillary(town):
    item = town.sign("x", "regulatory--stop--g1", 0, 0)
    best = layer(town, [item], best_images={"x": "101"})["features"][0]["properties"]["objects"][0]
    assert (best["image_key"], best["image_url"]) == ("101", "https://www.mapillary.com/app/?pKey=101")
    assert (best["image_count"], best["evidence"]) == (2, ["101", "102"])
    private = layer(town, [item], image_url=None)["features"][0]["properties"]["objects"][0]
    assert (private["image_key"], private["image_url"]) == ("102", None)


def test_facing_is_below_360_after_rounding(town):
    entry = layer(town, [town.sign("x", "regulatory--stop--g1", 0, 0, facing_deg=359.97)])
    assert entry["features"][0]["properties"]["objects"][0]["facing_deg"] == 0.0


def test_the_height_above_the_road_is_told_in_centimetres(town):
    entry = layer(town, [town.sign("x", "regulatory--stop--g1", 0, 0, height_m=2.4049)])
    assert entry["features"][0]["properties"]["objects"][0]["height_m"] == 2.4


@pytest.mark.parametrize(
    ("class_name", "kind"),
    [
        ("object--traffic-light--general-upright", "traffic light"),
        ("regulatory--stop--g1", "traffic sign"),
        ("warning--traffic-signals--g1", "traffic sign"),
    ],
)
def test_object_type_follows_the_class(class_name, kind):
    assert object_type(class_name) == kind


def test_instants_are_utc_whole_seconds_of_one_width():
    oslo = timezone(timedelta(hours=2))
    assert instant(datetime(2025, 6, 10, 1, 0, 0, 999_000, tzinfo=oslo)) == "2025-06-09T23:00:00Z"
    with pytest.raises(LayerError, match="no time zone"):
        instant(datetime(2025, 6, 10))


def test_what_cannot_be_written_is_named(town):
    item = town.sign("x", "regulatory--stop--g1", 0, 0)
    with pytest.raises(LayerError, match="object 'x' is assigned to intersection 'nvdb:7'"):
        build([town.junction()], [item], {"x": "nvdb:7"})
    with pytest.raises(LayerError, match="object id 'x' appears twice"):
        build([town.junction()], [item, item], {})
    with pytest.raises(LayerError, match="error radius of object 'x' is nan"):
        layer(town, [replace(item, error_radius_m=math.nan)])
    with pytest.raises(LayerError, match=r"object 'x' is at lon 190"):
        layer(town, [replace(item, lon=190.0)])
    bow_tie = replace(town.junction(), area=((0, 0), (1, 1), (1, 0), (0, 1), (0, 0)))
    with pytest.raises(LayerError, match="area of intersection 'nvdb:1' is not a valid polygon"):
        build([bow_tie], [], {})


def test_an_independent_model_of_geojson_accepts_it(town):
    read = FeatureCollection.model_validate_json(dump_layer(layer(town, town.in_2026())))
    assert read.features[0].geometry.geometries[1].type == "Point"
    assert read.features[0].id == "nvdb:1"


def test_gdal_reads_it_without_a_warning(town, tmp_path):
    path = tmp_path / "intersections.geojson"
    path.write_bytes(dump_layer(layer(town, town.in_2026())))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = geopandas.read_file(path)
    assert frame.crs.to_epsg() == 4326
    assert [geometry.geom_type for geometry in frame.geometry[0].geoms] == ["Polygon", *["Point"] * 11]
    assert frame["objects"][0][0]["id"] == "a1"


# Properties

offsets = st.floats(-500, 500, allow_nan=False)
words = st.text(min_size=1, max_size=30)


@st.composite
def convex_areas(draw):
    """The hull of some points, wound either way, closed or not."""
    points = draw(st.lists(st.tuples(offsets, offsets), min_size=3, max_size=12))
    hull = shapely.MultiPoint([(10 + x * 1e-5, 60 + y * 1e-5) for x, y in points]).convex_hull
    ring = list(hull.exterior.coords) if hull.geom_type == "Polygon" and hull.area > 1e-9 else []
    ring = ring[:: draw(st.sampled_from([1, -1]))]
    return tuple(ring[: -1 if draw(st.booleans()) else None])


@given(area=convex_areas())
def test_every_area_comes_out_closed_counter_clockwise_and_valid(town, area):
    if not area:
        return
    ring = area_ring(replace(town.junction(), area=area))
    assert ring[0] == ring[-1]
    assert shapely.LinearRing(ring).is_ccw
    assert shapely.Polygon(ring).is_valid
    assert all(value == round(value, 7) for point in ring for value in point)
    moved_at_most = 1e-7 * shapely.Polygon(area).length
    assert shapely.Polygon(ring).symmetric_difference(shapely.Polygon(area)).area <= moved_at_most


@st.composite
def street_objects(draw, town, key):
    ended = draw(st.booleans())
    return town.sign(
        key,
        draw(words),
        draw(offsets),
        draw(offsets),
        facing_deg=draw(st.none() | st.floats(0, 360, exclude_max=True)),
        height_m=draw(st.none() | st.floats(-10, 30)),
        error_radius_m=draw(st.floats(0, 1e4)),
        standing_probability=draw(st.floats(0, 1)),
        status="ended" if ended else draw(st.sampled_from(["standing", "unconfirmed"])),
        ended_at=town.second if ended else None,
        evidence=tuple(sorted(draw(st.sets(st.tuples(words, st.integers(0, 9)), max_size=5)))),
        model_key=draw(words),
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_objects_make_a_valid_layer_whose_bytes_do_not_depend_on_their_order(town, data):
    keys = data.draw(st.lists(words, unique=True, max_size=8))
    objects = [data.draw(street_objects(town, key)) for key in keys]
    junctions = [town.junction(), town.junction("nvdb:2", east_m=150)]
    assigned = {item.id: data.draw(st.sampled_from(["nvdb:1", "nvdb:2"])) for item in objects if data.draw(st.booleans())}
    written = dump_layer(build(junctions, objects, assigned))
    shuffled = random.Random(1).sample(objects, len(objects))
    assert dump_layer(build(junctions[::-1], shuffled, dict(reversed(assigned.items())))) == written
    read = json.loads(written)
    assert problems(read) == []
    assert dump_layer(read) == written
    assert b"-0.0," not in written
    assert sum(len(feature["properties"]["objects"]) for feature in read["features"]) == len(assigned)
    FeatureCollection.model_validate(read)
