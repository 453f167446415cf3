"""An OpenStreetMap extract gives what the Overpass API gives."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import osmium
import pytest
from osmium.osm.mutable import Node, Way

from kryss.config import MunicipalityConfig, Settings
from kryss.roads.areas import with_areas
from kryss.roads.junctions import JunctionsError, intersections_for, load_junctions
from kryss.roads.network import intersections_of
from kryss.roads.osm_network import network_from_overpass
from kryss.roads.pbf import PbfError, read_pbf

SETTINGS = Settings.from_env({"KRYSS_DATABASE_URL": "postgresql://nowhere/none"})


def write_pbf(path: Path, elements: list[dict[str, Any]]) -> Path:
    """The nodes and ways of an Overpass answer as an extract, nodes first. A place that is None is left out."""
    nodes = {item["id"]: (item["lon"], item["lat"], item["tags"]) for item in elements if item["type"] == "node"}
    ways = [item for item in elements if item["type"] == "way"]
    for way in ways:
        for number, point in zip(way["nodes"], way["geometry"], strict=True):
            if point is not None:
                nodes.setdefault(number, (point["lon"], point["lat"], {}))
    with osmium.SimpleWriter(str(path)) as writer:
        for number, (lon, lat, tags) in sorted(nodes.items()):
            writer.add_node(Node(id=number, location=(lon, lat), tags=tags))
        for way in sorted(ways, key=lambda way: way["id"]):
            writer.add_way(Way(id=way["id"], nodes=way["nodes"], tags=way["tags"]))
    return path


@pytest.fixture(scope="module")
def elements(road_map: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = road_map.write_area(tmp_path_factory.mktemp("pbf") / "area", "overpass")
    return json.loads((folder / "roads" / "overpass.json").read_text())["elements"]


@pytest.fixture(scope="module")
def extract(elements: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pbf(tmp_path_factory.mktemp("extract") / "small.osm.pbf", elements)


def test_extract_and_service_tell_the_same_junctions(elements: Any, extract: Path, road_map: ModuleType) -> None:
    told = load_junctions("pbf", road_map.boundary(), extract)
    assert told == with_areas(intersections_of(network_from_overpass(elements), road_map.boundary()))
    assert {junction.members[0] for junction in told} == road_map.INSIDE


def test_only_what_lies_in_and_around_the_boundary_is_told(extract: Path, road_map: ModuleType) -> None:
    ids = {(element["type"], element["id"]) for element in read_pbf(extract, road_map.boundary())}
    assert ("way", 1) in ids and ("node", 8900) in ids
    assert not {("way", 6), ("way", 40)} & ids


def test_way_that_the_extract_cuts_keeps_its_arm(elements: Any, road_map: ModuleType, tmp_path: Path) -> None:
    cut = json.loads(json.dumps(elements))
    street = next(way for way in cut if way["type"] == "way" and way["id"] == 4)
    middle = {key: (street["geometry"][0][key] + street["geometry"][-1][key]) / 2 for key in ("lat", "lon")}
    street["nodes"].insert(1, 777)
    street["geometry"] = [street["geometry"][0], middle, None]
    ring_arm = next(way for way in cut if way["type"] == "way" and way["id"] == 25)
    ring_arm["geometry"][-1] = None
    path = write_pbf(tmp_path / "cut.osm.pbf", cut)
    told = read_pbf(path, road_map.boundary())
    assert next(way for way in told if way["id"] == 4)["geometry"][-1] is None
    junctions = {j.members[0]: j for j in intersections_of(network_from_overpass(told), road_map.boundary())}
    assert junctions["100"].arms == 4


def test_missing_file_is_named(road_map: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(PbfError, match=r"none\.osm\.pbf: no such file; services\.osm_pbf"):
        read_pbf(tmp_path / "none.osm.pbf", road_map.boundary())


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", "half"])
def test_broken_file_is_named(content: bytes | str, extract: Path, road_map: ModuleType, tmp_path: Path) -> None:
    whole = extract.read_bytes()
    broken = tmp_path / "broken.osm.pbf"
    broken.write_bytes(content if isinstance(content, bytes) else whole[: len(whole) // 2])
    with pytest.raises(PbfError, match=r"broken\.osm\.pbf: (not a readable OpenStreetMap extract|holds no road)"):
        read_pbf(broken, road_map.boundary())


def test_extract_of_another_place_is_an_error(extract: Path) -> None:
    elsewhere = {"type": "Polygon", "coordinates": [[[5, 60], [5.1, 60], [5.1, 60.1], [5, 60.1], [5, 60]]]}
    with pytest.raises(PbfError, match="holds no road for cars inside the boundary; does the extract cover"):
        read_pbf(extract, elsewhere)


def test_municipality_names_its_extract(extract: Path, road_map: ModuleType) -> None:
    entry = {"code": "prove", "name": "Prøveby", "roads": "pbf", "services": {"osm_pbf": str(extract)}}
    config = MunicipalityConfig.model_validate(entry)
    assert len(intersections_for(config, SETTINGS, road_map.boundary())) == 5
    with pytest.raises(JunctionsError, match=r"roads is pbf, but services\.osm_pbf names no"):
        intersections_for(config.model_copy(update={"services": type(config.services)()}), SETTINGS, road_map.boundary())
