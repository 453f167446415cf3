"""Boundaries from a register, from a relation and from files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from shapely.geometry import Polygon, box, shape

from kryss.config import MunicipalityConfig, Settings
from kryss.demo.area import load_area
from kryss.demo.playback.roads import road_servers, road_urls
from kryss.roads.boundary import (
    BoundaryError,
    KommuneinfoClient,
    MunicipalityNotFound,
    boundary_from_file,
    boundary_of_relation,
    cleaned,
    load_boundary,
)

MUNICIPALITIES = Path(__file__).parents[2] / ".." / "shared" / "data" / "norway-municipalities" / "Kommuner-M.geojson"
real = pytest.mark.real
needs_municipalities = pytest.mark.skipif(not MUNICIPALITIES.exists(), reason="no ../shared/data")


@pytest.fixture(scope="module")
def urls(road_map: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    area = load_area(road_map.write_area(tmp_path_factory.mktemp("boundary") / "area", "overpass"))
    servers = road_servers(area)
    for server in servers.values():
        server.start()
    yield road_urls(servers)
    for server in servers.values():
        server.stop()


def configured(urls: dict[str, str], **changes: Any) -> tuple[MunicipalityConfig, Settings]:
    services = {name: urls[name] for name in ("kommuneinfo", "overpass")}
    config = MunicipalityConfig.model_validate({"code": "5001", "name": "Prøveby", "services": services, **changes})
    env = {"KRYSS_DATABASE_URL": "postgresql://nowhere/none", "KRYSS_RETRY_TIME_SCALE": "0.01"}
    return config, Settings.from_env(env)


def relation(*members: tuple[str, list[tuple[float, float]]]) -> dict[str, Any]:
    return {
        "type": "relation",
        "id": 1,
        "members": [
            {"type": "way", "ref": number, "role": role, "geometry": [{"lon": lon, "lat": lat} for lon, lat in line]}
            for number, (role, line) in enumerate(members)
        ],
    }


@pytest.mark.parametrize("source", ["kommuneinfo", "overpass", "overpass:7"])
def test_configured_source_gives_the_boundary(source: str, urls: dict[str, str], road_map: ModuleType) -> None:
    boundary = load_boundary(*configured(urls, boundary=source))
    assert shape(boundary).equals(shape(road_map.boundary()))
    assert "crs" not in boundary


def test_demo_municipality_is_asked_for_by_its_official_number(urls: dict[str, str]) -> None:
    assert load_boundary(*configured(urls, code="demo-5001", source_code="5001"))["type"] == "Polygon"


def test_unknown_number_is_answered_with_the_numbers_that_are_near(urls: dict[str, str]) -> None:
    register = KommuneinfoClient(urls["kommuneinfo"], time_scale=0.01)
    with pytest.raises(MunicipalityNotFound, match=r"no municipality '50001' in kommuneinfo; did you mean 5001\?"):
        register.boundary("50001")


def test_unknown_number_in_openstreetmap_says_what_to_try(urls: dict[str, str]) -> None:
    with pytest.raises(MunicipalityNotFound, match=r"ref='5002' at admin_level 7 .* overpass:<admin_level>"):
        load_boundary(*configured(urls, code="5002", boundary="overpass"))


def test_relation_with_an_enclave_has_a_hole() -> None:
    outer = [(0, 0), (4, 0), (4, 4), (0, 4), (0, 0)]
    inner = [(1, 1), (2, 1), (2, 2), (1, 2), (1, 1)]
    boundary = boundary_of_relation(relation(("outer", outer), ("inner", inner)))
    assert shape(boundary).equals(box(0, 0, 4, 4) - box(1, 1, 2, 2))
    assert Polygon(boundary["coordinates"][0]).exterior.is_ccw


def test_ways_of_a_relation_come_in_any_order_and_direction() -> None:
    pieces = [[(4, 4), (0, 4)], [(0, 0), (4, 0)], [(4, 4), (4, 0)], [(0, 0), (0, 4)]]
    assert shape(boundary_of_relation(relation(*(("outer", piece) for piece in pieces)))).equals(box(0, 0, 4, 4))


def test_outer_rings_may_touch_in_a_point_and_lie_apart() -> None:
    rings = [list(box(*corners).exterior.coords) for corners in ((0, 0, 1, 1), (1, 1, 2, 2), (5, 5, 6, 6))]
    boundary = boundary_of_relation(relation(*(("outer", ring) for ring in rings)))
    assert boundary["type"] == "MultiPolygon" and shape(boundary).area == pytest.approx(3)


def test_relation_that_does_not_close_is_an_error_that_names_it() -> None:
    with pytest.raises(BoundaryError, match=r"relation 1: its ways do not close \(1 loose"):
        boundary_of_relation(relation(("outer", [(0, 0), (4, 0), (4, 4)])))


def test_invalid_polygon_is_repaired_and_only_areas_stay() -> None:
    bow_tie = {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}
    spike = {"type": "Polygon", "coordinates": [[[0, 0], [2, 0], [5, 0], [2, 0], [2, 2], [0, 2], [0, 0]]]}
    assert shape(cleaned(bow_tie, "bow tie")).area == pytest.approx(2)
    assert shape(cleaned(spike, "spike")).equals(box(0, 0, 2, 2))


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        ({"type": "LineString", "coordinates": [[0, 0], [1, 1]]}, "without an area"),
        ({"type": "Polygon", "coordinates": [[[6e5, 7e6], [7e5, 7e6], [7e5, 8e6], [6e5, 7e6]]]}, "expected degrees"),
        ({"type": "Polygon", "coordinates": "?"}, "not a GeoJSON geometry"),
        ({}, "not a GeoJSON geometry"),
    ],
)
def test_what_is_no_boundary_is_refused(geometry: dict, message: str) -> None:
    with pytest.raises(BoundaryError, match=message):
        cleaned(geometry, "this file")


@pytest.mark.parametrize("key", ["kommunenummer", "code", "ref", "id"])
def test_feature_of_a_collection_is_found_by_its_code(key: str, tmp_path: Path) -> None:
    features = [
        {"type": "Feature", "properties": {key: code}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        for code, ring in (("0301", [[0, 0], [1, 0], [1, 1], [0, 0]]), ("5001", [[5, 5], [6, 5], [6, 6], [5, 5]]))
    ]
    file = tmp_path / "all.geojson"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert shape(boundary_from_file(file, "301")).bounds == (0, 0, 1, 1)
    assert shape(boundary_from_file(file, "5001")).bounds == (5, 5, 6, 6)
    with pytest.raises(MunicipalityNotFound, match=r"no municipality '5010' in .*all.geojson; did you mean 5001\?"):
        boundary_from_file(file, "5010")


def test_file_may_be_an_area_a_feature_or_a_geometry(tmp_path: Path, road_map: ModuleType) -> None:
    geometry = road_map.boundary()
    for number, document in enumerate([{"boundary": geometry, "code": "x"}, {"type": "Feature", "geometry": geometry}, geometry]):
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(document))
        assert shape(boundary_from_file(file, "5001")).equals(shape(geometry))


def test_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BoundaryError, match=r"gone\.json: no such file"):
        boundary_from_file(tmp_path / "gone.json", "5001")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(BoundaryError, match=r"broken\.json: not JSON"):
        boundary_from_file(tmp_path / "broken.json", "5001")


@real
@needs_municipalities
def test_every_norwegian_municipality_has_a_valid_boundary() -> None:
    features = json.loads(MUNICIPALITIES.read_text(encoding="utf-8"))["features"]
    stored_invalid = 0
    for feature in features:
        code = feature["properties"]["kommunenummer"]
        region = shape(cleaned(feature["geometry"], code))
        assert region.is_valid and region.geom_type in ("Polygon", "MultiPolygon"), code
        stored = shape(feature["geometry"])
        stored_invalid += not stored.is_valid
        assert region.area == pytest.approx(stored.buffer(0).area, rel=0.01), code
    assert (len(features), stored_invalid) == (357, 33)


@real
@needs_municipalities
def test_oslo_is_found_with_and_without_its_leading_zero() -> None:
    assert boundary_from_file(MUNICIPALITIES, "0301") == boundary_from_file(MUNICIPALITIES, "301")
    with pytest.raises(MunicipalityNotFound, match="did you mean 5001"):
        boundary_from_file(MUNICIPALITIES, "50001")
