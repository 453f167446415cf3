"""The count of junctions against osmnx's, by the benchmark that prints it."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
HELSINKI = ROOT / ".." / "shared" / "data" / "osm-helsinki" / "Helsinki.osm.pbf"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kryss_bench_junctions", ROOT / "bench" / "junctions.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_places_that_differ_are_told_with_their_reason(bench: ModuleType, road_map: ModuleType, tmp_path: Path) -> None:
    """A roundabout of 15 m is three junctions to osmnx; a bridge over a road is not one to either."""
    import osmium
    from osmium.osm.mutable import Node, Way

    folder = road_map.write_area(tmp_path / "area", "overpass")
    elements = json.loads((folder / "roads" / "overpass.json").read_text())["elements"]
    ways = [item for item in elements if item["type"] == "way"]
    places = {number: point for way in ways for number, point in zip(way["nodes"], way["geometry"], strict=True)}
    with osmium.SimpleWriter(str(tmp_path / "small.osm.pbf")) as writer:
        for number, point in sorted(places.items()):
            writer.add_node(Node(id=number, location=(point["lon"], point["lat"])))
        for way in sorted(ways, key=lambda way: way["id"]):
            writer.add_way(Way(id=way["id"], nodes=way["nodes"], tags=way["tags"]))
    found = bench.compare(tmp_path / "small.osm.pbf", repeat=0)
    assert (found.ours, found.theirs[bench.FAIR]) == (6, 8)
    (place,) = found.differences
    assert (place.reason, place.ours) == ("roundabout", (("120", "121", "122"),))
    assert place.theirs == (("120",), ("121",), ("122",))
    assert "roundabout: 59.99" in bench.report(found)


@pytest.mark.real
@pytest.mark.skipif(not HELSINKI.exists(), reason="no ../shared/data")
def test_helsinki_has_within_5_percent_as_many_junctions_as_osmnx_finds_and_is_faster(bench: ModuleType) -> None:
    found = bench.compare(HELSINKI, repeat=1)
    assert (found.ways, found.candidates) == (754, 122)
    assert abs(found.off) <= 0.05
    known = {"island between carriageways", "chain cut", "bridge", "roundabout", "two roundabouts", "not joined along the roads"}
    assert all(set(place.reason.split(" + ")) <= known for place in found.differences)
    ours, theirs = found.seconds["from ways to junctions"]
    assert ours < theirs
