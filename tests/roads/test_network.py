"""What counts as a junction, told from the same small map in the formats of NVDB and of OpenStreetMap."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from shapely import LineString, Point

from kryss.model import Intersection
from kryss.roads.areas import ground_distance_m
from kryss.roads.network import Control, RoadNetwork, intersections_of, kind_table
from kryss.roads.nvdb_network import network_from_nvdb
from kryss.roads.osm_network import network_from_overpass, speed_kmh
from kryss.roads.streets import RoadLink, end_counts

SOURCES = ("nvdb", "osm")


def read(folder: Path, source: str) -> Any:
    if source == "osm":
        return json.loads((folder / "roads" / "overpass.json").read_text())["elements"]
    return {path.stem: json.loads(path.read_text()) for path in (folder / "roads" / "nvdb").glob("*.json")}


def network_of(answers: Any) -> RoadNetwork:
    return network_from_nvdb(answers) if isinstance(answers, dict) else network_from_overpass(answers)


@pytest.fixture(scope="module", params=SOURCES)
def answers(request: pytest.FixtureRequest, road_map: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    kind = "nvdb" if request.param == "nvdb" else "overpass"
    return read(road_map.write_area(tmp_path_factory.mktemp(kind) / "area", kind), request.param)


@pytest.fixture(scope="module")
def found(answers: Any, road_map: ModuleType) -> dict[str, Intersection]:
    """By the number in the id."""
    return {i.id.partition(":")[2]: i for i in intersections_of(network_of(answers), road_map.boundary())}


def place(road_map: ModuleType, junction: Intersection, east: float, north: float) -> float:
    return ground_distance_m(junction.lon, junction.lat, *road_map.lon_lat((east, north)))


def test_every_junction_inside_the_boundary_is_found_and_no_other(found: dict, road_map: ModuleType) -> None:
    assert set(found) == road_map.INSIDE


def test_id_is_the_source_and_the_smallest_node(found: dict, answers: Any) -> None:
    source = "nvdb" if isinstance(answers, dict) else "osm"
    assert found["110"].id == f"{source}:110" and found["110"].members == ("110", "111")
    assert {junction.source for junction in found.values()} == {source}


def test_simple_crossing_has_its_four_arms_where_its_node_is(found: dict, road_map: ModuleType) -> None:
    assert found["100"].arms == 4
    assert place(road_map, found["100"], 0, 0) < 0.05


def test_node_between_two_stretches_of_one_road_is_no_junction(found: dict) -> None:
    assert not {"105", "103", "101"} & set(found)


def test_link_cut_into_segments_has_two_ends_only(answers: Any) -> None:
    ends = end_counts(network_of(answers).links)
    assert ends["100"] == 4 and ends["103"] == 2


def test_divided_road_makes_one_junction_of_four_arms(found: dict, road_map: ModuleType) -> None:
    assert found["110"].arms == 4
    assert place(road_map, found["110"], 600, 7) < 0.05


def test_roundabout_is_one_junction_at_the_middle_of_its_ring(found: dict, road_map: ModuleType) -> None:
    ring = found["120"]
    assert (ring.kind, ring.arms, ring.members) == ("roundabout", 3, ("120", "121", "122"))
    assert place(road_map, ring, 0, 600) < 1.0


def test_bridge_does_not_merge_with_the_road_below(found: dict, road_map: ModuleType) -> None:
    assert place(road_map, found["130"], 600, 600) < 0.05
    assert place(road_map, found["131"], 600, 612) < 0.05


def test_speed_limit_is_the_largest_that_touches_the_junction(found: dict) -> None:
    limits = {name: junction.speed_limit_kmh for name, junction in found.items()}
    assert limits == {"100": 60, "110": 70, "120": 40, "130": 30, "131": 80}


def test_limit_of_the_bridge_does_not_enlarge_the_junction_below(found: dict) -> None:
    assert found["130"].speed_limit_kmh == 30


def test_junction_that_no_limit_touches_has_the_default(answers: Any, road_map: ModuleType) -> None:
    network = network_of(answers)
    bare = RoadNetwork(network.source, tuple(replace(link, limits=()) for link in network.links), network.nodes)
    assert {i.speed_limit_kmh for i in intersections_of(bare, road_map.boundary(), default_limit_kmh=30)} == {30}


def test_signals_at_the_stop_lines_belong_to_the_junction(found: dict) -> None:
    assert found["100"].kind == "signals"
    assert all(junction.kind != "signals" for name, junction in found.items() if name != "100")


def test_registered_name_goes_before_the_names_of_the_streets(found: dict, answers: Any) -> None:
    assert found["100"].name == ("Torget" if isinstance(answers, dict) else "Kongens gate / Prinsens gate")
    assert found["110"].name == "Kongens gate / Tverrgata"


def test_order_and_repetition_of_the_answers_change_nothing(answers: Any, found: dict, road_map: ModuleType) -> None:
    def shuffled(items: list[Any]) -> list[Any]:
        return random.Random(4).sample(items, len(items))

    mixed = (
        {name: shuffled(items) for name, items in answers.items()}
        if isinstance(answers, dict)
        else shuffled([*answers, *answers[::3]])
    )
    again = intersections_of(network_of(mixed), road_map.boundary())
    assert again == list(found.values())


def test_both_sources_tell_the_same_junctions(road_map: ModuleType, tmp_path: Path) -> None:
    told = [
        intersections_of(network_of(read(road_map.write_area(tmp_path / kind, kind), source)), road_map.boundary())
        for kind, source in (("nvdb", "nvdb"), ("overpass", "osm"))
    ]
    assert [j.members for j in told[0]] == [j.members for j in told[1]]
    for nvdb, osm in zip(*told, strict=True):
        assert ground_distance_m(nvdb.lon, nvdb.lat, osm.lon, osm.lat) < 0.1
        assert (nvdb.speed_limit_kmh, nvdb.arms, nvdb.kind) == (osm.speed_limit_kmh, osm.arms, osm.kind)


@pytest.mark.parametrize("missing", ["geometri", "egenskaper", "lokasjon"])
def test_record_without_a_block_is_passed_over_and_costs_nothing_else(missing: str, road_map: ModuleType, tmp_path: Path) -> None:
    answers = read(road_map.write_area(tmp_path / "area", "nvdb"), "nvdb")
    for kind in ("objects-37", "objects-89", "objects-105"):
        answers[kind][0].pop(missing)
    assert {i.members[0] for i in intersections_of(network_from_nvdb(answers), road_map.boundary())} == road_map.INSIDE


def test_item_that_cannot_be_read_is_counted_and_costs_nothing_else(road_map: ModuleType, tmp_path: Path) -> None:
    answers = read(road_map.write_area(tmp_path / "area", "nvdb"), "nvdb")
    good = intersections_of(network_from_nvdb(answers), road_map.boundary())
    (segment,) = (item for item in answers["segments"] if item["veglenkesekvensid"] == 9040)
    broken = {**segment, "veglenkesekvensid": 1, "geometri": {"wkt": "LINESTRING (1", "srid": 5973}}
    nameless = {key: value for key, value in segment.items() if key != "startnode"}
    answers["segments"] += [broken, nameless]
    answers["objects-105"].append({"id": 7, "geometri": {"wkt": "POINT (1 2)", "srid": 1}})
    network = network_from_nvdb(answers)
    assert network.left_out == {
        "objects-105: geometry that is no WKT of a known srid": 1,
        "segments: geometry that is no WKT of a known srid": 1,
        "segments: no startnode": 1,
    }
    assert intersections_of(network, road_map.boundary()) == good


def test_node_that_was_not_in_the_answer_is_placed_at_the_end_of_its_link(road_map: ModuleType, tmp_path: Path) -> None:
    answers = read(road_map.write_area(tmp_path / "area", "nvdb"), "nvdb")
    answers["nodes"] = []
    crossing = intersections_of(network_from_nvdb(answers), road_map.boundary())[0]
    assert crossing.id == "nvdb:100" and place(road_map, crossing, 0, 0) < 0.05


@pytest.mark.parametrize(
    "tag", [{"access": "private"}, {"motor_vehicle": "no"}, {"motorcar": "no"}, {"area": "yes"}, {"highway": "footway"}]
)
def test_way_that_cars_may_not_use_makes_no_junction(tag: dict, road_map: ModuleType, tmp_path: Path) -> None:
    elements = read(road_map.write_area(tmp_path / "area", "overpass"), "osm")
    next(e for e in elements if e["id"] == 35)["tags"].update(tag)
    assert "131" not in {i.members[0] for i in intersections_of(network_from_overpass(elements), road_map.boundary())}


@pytest.mark.parametrize(
    ("text", "km_h"),
    [
        ("50", 50),
        ("50 mph", 80.5),
        ("50mph", 80.5),
        ("30 km/h", 30),
        ("NO:urban", 50),
        ("NO:rural", 80),
        ("40; 60", 60),
        ("walk", 7),
        ("none", None),
        ("signals", None),
        ("0", None),
        ("fast", None),
        ("", None),
        (None, None),
    ],
)
def test_maxspeed_is_read(text: str | None, km_h: float | None) -> None:
    assert speed_kmh(text) == km_h


class TestApproaches:
    """The lines that lead outwards from a junction."""

    def test_one_for_every_arm_as_far_as_the_reach(self, found: dict, road_map: ModuleType) -> None:
        crossing = found["100"]
        ends = {tuple(round(value) for value in outer_end(road_map, line)) for line in crossing.approaches}
        assert ends == {(0, 117), (117, 0), (0, -117), (-117, 0)}
        assert len(crossing.approaches) == 4
        assert all(place(road_map, crossing, *inner_end(road_map, line)) < 0.1 for line in crossing.approaches)

    def test_it_passes_the_nodes_where_a_road_only_goes_on(self, found: dict, road_map: ModuleType) -> None:
        """Node 116 cuts the carriageway that ends in junction 110 from the west 150 m away, 70 km/h reach 136 m."""
        assert (464.0, 14.0) in [pytest.approx(outer_end(road_map, line), abs=0.3) for line in found["110"].approaches]

    def test_each_carriageway_of_a_divided_road_is_one(self, found: dict) -> None:
        assert (found["110"].arms, len(found["110"].approaches)) == (4, 6)

    def test_streets_inside_the_junction_are_none(self, found: dict, road_map: ModuleType) -> None:
        starts = {tuple(round(value) for value in inner_end(road_map, line)) for line in found["120"].approaches}
        assert starts == {(0, 615), (15, 600), (0, 585)} and len(found["120"].approaches) == 3

    def test_it_ends_at_the_next_junction(self, road_map: ModuleType) -> None:
        at = {"1": (0, 0), "2": (60, 0), "3": (-300, 0), "4": (0, 300), "5": (360, 0), "6": (60, 300)}
        links = [("1", "2"), ("3", "1"), ("1", "4"), ("2", "5"), ("2", "6")]
        first, second = intersections_of(drawn(road_map, at, links), road_map.boundary())
        assert (60.0, 0.0) in [pytest.approx(outer_end(road_map, line), abs=0.1) for line in first.approaches]
        assert (0.0, 0.0) in [pytest.approx(outer_end(road_map, line), abs=0.1) for line in second.approaches]

    def test_loop_that_comes_back_is_two_of_half_its_length(self, road_map: ModuleType) -> None:
        at = {"1": (0, 0), "2": (-300, 0), "3": (60, 30), "4": (60, -30)}
        links = [("2", "1"), ("1", "3"), ("3", "4"), ("4", "1")]
        (junction,) = intersections_of(drawn(road_map, at, links), road_map.boundary(), default_limit_kmh=80)
        ends = [outer_end(road_map, line) for line in junction.approaches]
        assert len(ends) == 3 and ends.count(pytest.approx((60, 0), abs=0.1)) == 2


class TestSpeedLimit:
    """The largest inside the area that it makes: 50 km/h reach 97 m, 80 km/h 156 m."""

    @pytest.mark.parametrize(
        ("begins", "limit"),
        [((90, 80), 80), ((100, 80), 50), ((90, 60, 110, 80), 80), ((90, 60, 120, 80), 60), ((90, 30), 50)],
        ids=["inside", "outside", "inside by way of another", "not even so", "smaller"],
    )
    def test_limit_on_an_arm_counts_from_where_it_begins(self, begins: tuple, limit: float, road_map: ModuleType) -> None:
        at = {"1": (0.0, 0.0), "2": (-300.0, 0.0), "3": (0.0, 300.0), "4": (400.0, 0.0)}
        cuts = [(0, 50), *zip(begins[::2], begins[1::2], strict=True), (400, None)]
        stretches = tuple((low / 400, high / 400, km_h) for (low, km_h), (high, _) in pairwise(cuts))
        network = drawn(road_map, at, [("2", "1"), ("1", "3"), ("4", "1")])
        links = [replace(link, limits=((0.0, 1.0, 50.0),)) for link in network.links[:2]]
        backwards = tuple((1 - high, 1 - low, km_h) for low, high, km_h in stretches)
        links.append(replace(network.links[2], limits=backwards))
        (junction,) = intersections_of(replace(network, links=tuple(links)), road_map.boundary())
        assert junction.speed_limit_kmh == limit

    def test_limit_beyond_the_next_junction_is_that_ones(self, road_map: ModuleType) -> None:
        at = {"1": (0, 0), "2": (60, 0), "3": (-300, 0), "4": (0, 300), "5": (360, 0), "6": (60, 300)}
        network = drawn(road_map, at, [("1", "2"), ("3", "1"), ("1", "4"), ("2", "5"), ("2", "6")])
        links = [replace(link, limits=((0.0, 1.0, 80.0 if link.end in "56" else 50.0),)) for link in network.links]
        found = intersections_of(replace(network, links=tuple(links)), road_map.boundary())
        assert [junction.speed_limit_kmh for junction in found] == [50, 80]

    def test_limit_is_looked_for_as_far_as_the_default_reaches_where_none_holds_at_the_junction(
        self, road_map: ModuleType
    ) -> None:
        at = {"1": (0.0, 0.0), "2": (-300.0, 0.0), "3": (0.0, 300.0), "4": (400.0, 0.0)}
        network = drawn(road_map, at, [("2", "1"), ("1", "3"), ("1", "4")])
        for begins_m, limit in ((90, 40), (100, 50)):
            far = replace(network.links[2], limits=((begins_m / 400, 1.0, 40.0),))
            (junction,) = intersections_of(replace(network, links=(*network.links[:2], far)), road_map.boundary())
            assert junction.speed_limit_kmh == limit

    @pytest.mark.parametrize(("begin", "limit"), [(0.3, 110), (0.5, 60)])
    def test_nvdb_says_by_position_where_on_the_road_a_limit_holds(
        self, begin: float, limit: float, road_map: ModuleType, tmp_path: Path
    ) -> None:
        """Road 4 goes 300 m north from crossing 100, where 60 km/h reach 117 m."""
        answers = read(road_map.write_area(tmp_path / "area", "nvdb"), "nvdb")
        (registered,) = (item for item in answers["objects-105"] if item["id"] == 10504)
        faster = json.loads(json.dumps(registered))
        faster.update(id=1)
        faster["egenskaper"][0]["verdi"] = 110
        faster["lokasjon"]["stedfestinger"][0]["startposisjon"] = begin
        answers["objects-105"].append(faster)
        assert intersections_of(network_from_nvdb(answers), road_map.boundary())[0].speed_limit_kmh == limit

    def test_nvdb_limit_of_the_carriageways_holds_on_the_centre_line_between_them(
        self, road_map: ModuleType, tmp_path: Path
    ) -> None:
        answers = read(road_map.write_area(tmp_path / "area", "nvdb"), "nvdb")
        for limit in answers["objects-105"]:
            if limit["id"] in (10533, 10534, 10535):
                limit["lokasjon"]["stedfestinger"][0]["veglenkesekvensid"] += 500_000
        found = {j.members[0]: j for j in intersections_of(network_from_nvdb(answers), road_map.boundary())}
        assert (found["131"].speed_limit_kmh, found["130"].speed_limit_kmh) == (80, 30)


class TestControls:
    def test_signal_within_30_m_along_an_arm_is_the_junctions(self, road_map: ModuleType) -> None:
        for along_m, kind in ((28, "signals"), (33, None)):
            assert self.kinds(road_map, (along_m, 3)) == [kind]

    def test_signal_of_the_parallel_street_is_not(self, road_map: ModuleType) -> None:
        """It stands 12 m from the crossing's node, on a street that passes over the crossing road."""
        at = {"5": (-200.0, 12.0), "6": (200.0, 12.0)}
        assert self.kinds(road_map, (5, 13), at, [("5", "6")]) == [None]
        assert self.kinds(road_map, (5, 13)) == ["signals"]

    def test_signal_goes_to_the_nearer_end_of_a_short_street(self, road_map: ModuleType) -> None:
        at = {"5": (40.0, 0.0), "6": (40.0, 300.0), "7": (300.0, 0.0)}
        assert self.kinds(road_map, (25, 2), at, [("1", "5"), ("5", "6"), ("5", "7")], own=2) == [None, "signals"]

    def test_mini_roundabout_is_one_where_its_node_is(self, road_map: ModuleType) -> None:
        kind, within_m = kind_table()["osm", "highway", "mini_roundabout"]
        assert self.kinds(road_map, (0, 0), kind=kind, within_m=within_m) == ["roundabout"]
        assert self.kinds(road_map, (20, 0), kind=kind, within_m=within_m) == [None]

    def test_record_in_the_middle_of_a_wide_roundabout_names_it(self, road_map: ModuleType) -> None:
        at = {"1": (0.0, 50.0), "2": (50.0, 0.0), "3": (0.0, -50.0), "4": (0.0, 300.0), "5": (300.0, 0.0), "6": (0.0, -300.0)}
        control = Control(None, Point(road_map.lon_lat((4, 0))), 30.0, name="Torgrundkjøringen")
        ring = [replace(link, ring=True) for link in drawn(road_map, at, [("1", "2"), ("2", "3"), ("3", "1")]).links]
        arms = drawn(road_map, at, [("1", "4"), ("2", "5"), ("3", "6")])
        (found,) = intersections_of(replace(arms, links=(*ring, *arms.links), controls=(control,)), road_map.boundary())
        assert (found.name, found.kind, found.arms) == ("Torgrundkjøringen", "roundabout", 3)

    def test_line_along_the_approaches_is_the_junctions_in_its_middle(self, road_map: ModuleType) -> None:
        """Signals of NVDB reach along the arms, as far as the next junction where that is near."""
        at = {"1": (0.0, 0.0), "2": (-300.0, 0.0), "3": (0.0, 300.0), "5": (40.0, 0.0), "6": (40.0, 300.0), "7": (300.0, 0.0)}
        arms = [road_map.lon_lat(point) for point in ((-60, 0), (40, 0))]
        network = drawn(road_map, at, [("1", "2"), ("1", "3"), ("1", "5"), ("5", "6"), ("5", "7")])
        found = intersections_of(replace(network, controls=(Control("signals", LineString(arms), 30.0),)), road_map.boundary())
        assert [(junction.id, junction.kind) for junction in found] == [("osm:1", "signals"), ("osm:5", None)]

    @staticmethod
    def kinds(
        road_map: ModuleType,
        where: tuple[float, float],
        more: dict | None = None,
        links: list | None = None,
        own: int = 3,
        kind: str = "signals",
        within_m: float = 30.0,
    ) -> list[str | None]:
        at = {"1": (0.0, 0.0), "2": (-300.0, 0.0), "3": (0.0, 300.0), "4": (300.0, 0.0), **(more or {})}
        control = Control(kind, Point(road_map.lon_lat(where)), within_m)
        network = drawn(road_map, at, [("1", "2"), ("1", "3"), ("1", "4")][:own] + (links or []), controls=(control,))
        return [junction.kind for junction in intersections_of(network, road_map.boundary())]


def test_cutting_every_link_in_two_changes_nothing_that_is_told(answers: Any, found: dict, road_map: ModuleType) -> None:
    network = network_of(answers)
    links, nodes = [], dict(network.nodes)
    for number, link in enumerate(network.links):
        first, second = link.line[:2]
        middle = ((first[0] + second[0]) / 2, (first[1] + second[1]) / 2)
        nodes[f"{5000 + number}"] = middle
        part = math.dist(first, middle) / sum(math.dist(a, b) for a, b in pairwise(link.line))
        near = tuple((low / part, min(1.0, high / part), km_h) for low, high, km_h in link.limits if low < part)
        far = tuple(
            (max(0.0, low - part) / (1 - part), (high - part) / (1 - part), k) for low, high, k in link.limits if high > part
        )
        links.append(replace(link, id=f"{link.id}a", end=f"{5000 + number}", line=(first, middle), limits=near))
        links.append(replace(link, id=f"{link.id}b", start=f"{5000 + number}", line=(middle, *link.line[1:]), limits=far))
    again = intersections_of(RoadNetwork(network.source, tuple(links), nodes, network.controls), road_map.boundary())
    for junction in again:
        known = found[junction.members[0]]
        assert replace(junction, approaches=known.approaches) == known
        for line, other in zip(junction.approaches, known.approaches, strict=True):
            assert LineString(line).hausdorff_distance(LineString(other)) < 1e-6


def test_network_without_a_junction_has_none(road_map: ModuleType) -> None:
    lone = drawn(road_map, {"1": (0.0, 0.0), "2": (100.0, 0.0)}, [("1", "2")])
    assert intersections_of(lone, road_map.boundary()) == []
    assert intersections_of(RoadNetwork("osm", (), {}), road_map.boundary()) == []


def metres(road_map: ModuleType, position: tuple[float, float]) -> tuple[float, float]:
    east, north = road_map._TO_DEGREES(*position)
    return east - road_map.ORIGIN[0], north - road_map.ORIGIN[1]


def outer_end(road_map: ModuleType, line: tuple) -> tuple[float, float]:
    return metres(road_map, line[-1])


def inner_end(road_map: ModuleType, line: tuple) -> tuple[float, float]:
    return metres(road_map, line[0])


def drawn(road_map: ModuleType, at: dict[str, tuple[float, float]], links: list[tuple[str, str]], **details: Any) -> RoadNetwork:
    """A network of straight links between nodes given in metres east and north."""
    nodes = {name: road_map.lon_lat(point) for name, point in at.items()}
    made = [RoadLink(f"{a}-{b}", a, b, (nodes[a], nodes[b]), f"{a}-{b}") for a, b in links]
    return RoadNetwork("osm", tuple(made), nodes, **details)
