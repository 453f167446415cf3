"""Whatever the database holds, its release is valid, and does not depend on the order in which it was told."""

from __future__ import annotations

import json
import random
import warnings
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import geopandas
import pytest
import shapely
from geojson_pydantic import FeatureCollection
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kryss.layer.geojson import LayerError, dump, dump_layer, instant
from kryss.layer.rebuild import rebuild
from kryss.layer.release import DATA
from kryss.layer.validate import validate
from kryss.model import Municipality
from kryss.store import open_store

SPRING = date(2025, 6, 11)

# RFC 7946 section 3.1.8 advises against collections of one geometry; an intersection without objects keeps the layer's structure.
pytestmark = pytest.mark.filterwarnings("ignore:GeometryCollection should not be used")


def test_instants_are_utc_whole_seconds_of_one_width():
    oslo = timezone(timedelta(hours=2))
    assert instant(datetime(2025, 6, 10, 1, 0, 0, 999_000, tzinfo=oslo)) == "2025-06-09T23:00:00Z"
    with pytest.raises(LayerError, match="no time zone"):
        instant(datetime(2025, 6, 10))


def test_documents_have_one_form_and_never_hold_what_json_cannot():
    assert dump({"b": [1.5, None], "a": "å"}) == '{\n "a": "å",\n "b": [\n  1.5,\n  null\n ]\n}\n'.encode()
    assert dump_layer({"type": "FeatureCollection", "features": []}) == b'{"type":"FeatureCollection",\n"features":[\n\n]}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump({"a": float("nan")})


@pytest.mark.parametrize("name", DATA)
def test_an_independent_model_of_geojson_accepts_every_file(published, name):
    read = FeatureCollection.model_validate_json((published.second / name).read_bytes())
    assert len(read.features) == (11 if name == "objects.geojson" else 1)


@pytest.mark.parametrize("name", [*DATA, "changes.geojson"])
def test_gdal_reads_every_file_without_a_warning(published, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = geopandas.read_file(published.second / name)
    assert frame.crs.to_epsg() == 4326
    assert frame["id"].is_unique


offsets = st.floats(-90, 90, allow_nan=False)
words = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=30) | st.sampled_from(
    [
        "</script><script>alert(1)</script>",
        "x" * 10_000,
        "\u2028\u2029\ufeff",
        'a"b\\c\t\n\r\x01',
        "Trøndheim 交差点 🚦",
        "'; DROP TABLE",
    ]
)


@st.composite
def convex_areas(draw: Any) -> tuple[tuple[float, float], ...]:
    """The hull of some points, wound either way; tiny ones too."""
    scale = draw(st.sampled_from([1e-5, 1e-8]))
    points = draw(st.lists(st.tuples(offsets, offsets), min_size=3, max_size=12))
    hull = shapely.MultiPoint([(10 + x * scale, 60 + y * scale) for x, y in points]).convex_hull
    if hull.geom_type != "Polygon" or shapely.minimum_clearance(hull) < 1e-10:  # the database refuses what is no polygon
        hull = shapely.box(10, 60, 10.001, 60.001)
    return tuple(list(hull.exterior.coords)[:: draw(st.sampled_from([1, -1]))])


@st.composite
def street_objects(draw: Any, town: Any, key: str) -> Any:
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


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(data=st.data())
def test_any_town_makes_a_valid_release_that_comes_again(town, database_url, tmp_path_factory, data):
    """Hostile names, texts of 10 kB, slivers of areas; the same beliefs told in another order change nothing."""
    store, root = open_store(database_url), tmp_path_factory.mktemp("any")
    code = data.draw(st.uuids()).hex
    place = Municipality(code, data.draw(words), "NO", town.municipality.boundary)
    keys = data.draw(st.lists(st.integers(0, 99), unique=True, max_size=8))
    objects = [data.draw(street_objects(town, f"{code} {key}")) for key in keys]
    names = data.draw(st.lists(words, unique=True, max_size=3))
    junctions = [
        replace(town.junction(east_m=50.0 * number), id=f"area:{name}", name=name, kind=name, area=data.draw(convex_areas()))
        for number, name in enumerate(names)
    ]
    ids = st.sampled_from([one.id for one in junctions] or [None])
    homes = {item.id: home for item in objects if (home := data.draw(st.none() | ids)) is not None}
    told = {"intersections": junctions, "assignments": homes, "municipality": place}
    town.believe(store, objects, **told)
    result = town.publish(store, root, SPRING, municipality=place)
    folder = Path(result.url)
    assert validate(folder) == []
    assert result.release.objects == len(homes)
    for name in DATA:
        FeatureCollection.model_validate(json.loads((folder / name).read_bytes()))
    town.believe(store, random.Random(1).sample(objects, len(objects)), **{**told, "intersections": junctions[::-1]})
    assert town.publish(store, root, SPRING, municipality=place).unchanged
    with store.snapshot() as reader:
        assert rebuild(reader, code, root / "again", name=result.name).is_identical
