"""A junction keeps its id while the network changes under it, and no id ever names another one."""

from __future__ import annotations

import random
from dataclasses import replace
from types import ModuleType
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kryss.model import Intersection, Municipality
from kryss.roads.areas import square_area
from kryss.roads.identity import keep_ids

METRE = 1 / 111_400


def junction(*members: int, east_m: float = 0.0, source: str = "osm", name: str | None = None) -> Intersection:
    """A junction as the network gives it: named after its smallest node."""
    lat, lon = 0.001, round(10 + east_m * METRE, 7)
    given = tuple(str(member) for member in sorted(members))
    return Intersection(f"{source}:{given[0]}", source, lon, lat, 50.0, square_area(lon, lat, 50.0), name=name, members=given)


def ids(found: list[Intersection]) -> dict[tuple[str, ...], str]:
    return {item.members: item.id for item in found}


def test_new_junction_is_called_after_its_smallest_node() -> None:
    assert keep_ids([junction(3, 5)], []) == [junction(3, 5)]


def test_id_survives_the_smallest_node_that_goes_and_nodes_that_come() -> None:
    known = keep_ids([junction(3, 5, 8)], [])
    known = keep_ids([junction(5, 8)], known)
    known = keep_ids([junction(2, 8, 9)], known)
    assert [(item.id, item.members) for item in known] == [("osm:3", ("2", "8", "9"))]


def test_largest_share_keeps_the_id_when_a_junction_is_divided() -> None:
    found = keep_ids([junction(3), junction(5, 8)], [junction(3, 5, 8)])
    assert ids(found) == {("5", "8"): "osm:3", ("3",): "osm:3.2"}


def test_second_junction_on_a_node_whose_id_is_taken_keeps_its_own_too() -> None:
    known = keep_ids([junction(3), junction(5, 8)], [junction(3, 5, 8)])
    assert keep_ids([junction(3), junction(5, 8)], known) == known


def test_larger_share_keeps_the_id_when_two_become_one_and_both_return_when_it_is_undone() -> None:
    apart = [junction(1), junction(3, 5)]
    (joined,) = keep_ids([junction(1, 3, 5)], apart)
    assert joined.id == "osm:3"
    ever = [apart[0], joined]
    assert keep_ids(apart, ever) == apart


def test_junction_that_comes_back_has_its_id_again() -> None:
    assert keep_ids([junction(3)], [replace(junction(3), id="osm:1"), junction(7)])[0].id == "osm:1"


def test_crossing_rebuilt_with_other_nodes_is_the_same_where_it_stood() -> None:
    known = [junction(1, 2), junction(9, east_m=500)]
    found = keep_ids([junction(51, 52, 53, east_m=12), junction(9, east_m=500)], known)
    assert ids(found) == {("51", "52", "53"): "osm:1", ("9",): "osm:9"}


def test_new_crossing_beside_one_that_stays_is_another() -> None:
    assert keep_ids([junction(1), junction(51, east_m=12)], [junction(1)])[1].id == "osm:51"


def test_new_crossing_farther_off_is_another() -> None:
    assert keep_ids([junction(51, east_m=31)], [junction(1)])[0].id == "osm:51"


def test_the_same_number_of_another_source_is_another_junction() -> None:
    found = keep_ids([junction(1, source="nvdb")], [junction(1)])
    assert found[0].id == "nvdb:1"


def test_points_of_a_file_are_named_by_the_file_only() -> None:
    assert keep_ids([junction(2, source="area")], [junction(1, source="area")])[0].id == "area:2"


clusterings = st.lists(st.integers(0, 5), min_size=1, max_size=14).map(
    lambda colours: [
        junction(*(node for node, colour in enumerate(colours, start=1) if colour == each), east_m=100.0 * each)
        for each in sorted(set(colours))
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(clusterings, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_ids_are_unique_settle_and_depend_on_no_order(networks: list[list[Intersection]], order: random.Random) -> None:
    ever: dict[str, Intersection] = {}
    for network in networks:
        found = keep_ids(network, ever.values())
        assert len({item.id for item in found}) == len(network)
        mixed = keep_ids(order.sample(network, len(network)), order.sample(list(ever.values()), len(ever)))
        assert ids(mixed) == ids(found)
        for item in found:
            before = ever.get(item.id, item)
            assert set(item.members) & set(before.members) or before.lon == item.lon
        ever.update((item.id, item) for item in found)
        assert keep_ids(network, ever.values()) == found


def test_store_keeps_the_id_with_new_versions(store: Any, road_map: ModuleType) -> None:
    town = Municipality("prove", "Prøveby", "NO", road_map.boundary())

    def load(*found: Intersection) -> int:
        with store.transaction("prove") as tx:
            tx.upsert_municipality(town)
            counts = tx.write_intersections("prove", keep_ids(found, tx.intersections_ever("prove")))
        return counts.written

    load(junction(3, 5), junction(40, east_m=900))
    load(junction(5, 8))
    load(junction(5, 8), junction(40, east_m=900), junction(3, east_m=300))
    with store.snapshot() as now:
        assert ids(now.intersections("prove")) == {("5", "8"): "osm:3", ("40",): "osm:40", ("3",): "osm:3.2"}
        assert ids(now.intersections_ever("prove")) == ids(now.intersections("prove"))
    assert load(junction(5, 8), junction(40, east_m=900), junction(3, east_m=300)) == 0
