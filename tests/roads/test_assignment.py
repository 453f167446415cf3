"""Which junction an object belongs to."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Point, Polygon

from kryss.model import Intersection, StreetObject
from kryss.roads.areas import ground_distance_m, metres_per_degree, square_area, with_areas
from kryss.roads.assignment import View, assign

SEEN = datetime(2024, 5, 1, tzinfo=UTC)
METRES = metres_per_degree(60.0)


def at(east_m: float, north_m: float = 0.0) -> tuple[float, float]:
    return round(10.0 + east_m / METRES[0], 7), round(60.0 + north_m / METRES[1], 7)


def sign(name: str, place: tuple[float, float], facing_deg: float | None = None, **about: Any) -> StreetObject:
    stated: dict[str, Any] = {"class_name": "regulatory--stop--g1", "covariance": (1.0, 0.0, 1.0), "error_radius_m": 2.0, **about}
    return StreetObject(
        id=name,
        lon=place[0],
        lat=place[1],
        first_seen_at=SEEN,
        last_seen_at=SEEN,
        status="standing",
        standing_probability=1.0,
        ended_at=None,
        evidence=(("1", 0),),
        facing_deg=facing_deg,
        **stated,
    )


def junction(name: str, place: tuple[float, float], speed_kmh: float = 50.0, *roads: Any) -> Intersection:
    return Intersection(
        id=name,
        source="area",
        lon=place[0],
        lat=place[1],
        speed_limit_kmh=speed_kmh,
        area=square_area(*place, speed_kmh),
        approaches=roads,
    )


WEST, EAST = at(0), at(120)
STREET = [
    junction("west", WEST, 50.0, (WEST, at(-100)), (WEST, EAST), (WEST, at(0, 90))),
    junction("east", EAST, 50.0, (EAST, WEST), (EAST, at(120, -90))),
]
"""A street of 120 m, going on to the west; another goes north from its west end, one south from its east end."""
TO_WEST, TO_EAST = 270.0, 90.0
"""Bearings of fronts that drivers to the east and to the west see."""


def one(facing_deg: float | None, *place: float, rule: Any = "facing", **about: Any) -> str | None:
    return assign([sign("it", at(*place), facing_deg, **about)], STREET, rule).get("it")


def test_object_belongs_to_the_junction_it_faces_and_the_road_leads_to() -> None:
    assert one(TO_EAST, 50, -5) == "west" and one(TO_WEST, 50, -5) == "east"
    assert one(TO_EAST, 80, 5) == "west" and one(TO_WEST, 80, 5) == "east"


def test_front_turned_a_little_is_still_read() -> None:
    assert one(TO_EAST + 50, 80, 5) == "west" and one(TO_EAST - 50, 80, 5) == "west"


def test_front_across_the_road_says_nothing_and_the_nearest_has_it() -> None:
    assert one(0.0, 50, 5) == "west" and one(180.0, 80, 5) == "east"


def test_unknown_front_goes_to_the_nearest() -> None:
    assert one(None, 50) == "west" and one(None, 80) == "east"


def test_object_beside_no_road_goes_to_the_nearest() -> None:
    assert one(TO_EAST, 85, 30) == "east" and one(TO_WEST, 35, -30) == "west"


def test_poorly_placed_object_may_stand_farther_from_its_road() -> None:
    assert one(TO_EAST, 85, 30, error_radius_m=16.0) == "west"


def test_light_beyond_the_junction_belongs_to_it() -> None:
    """It stands on the way to the east and faces those who cross the west junction."""
    assert one(TO_WEST, 12, 4) == "west" and one(TO_WEST, 20, -6) == "west"


def test_sign_in_a_side_street_faces_its_own_junction() -> None:
    assert one(0.0, 4, 70) == "west" and one(180.0, 124, -60) == "east"


def test_nearest_rule_knows_no_fronts() -> None:
    assert one(TO_EAST, 80, 5, rule="nearest") == "east" and one(TO_WEST, 50, -5, rule="nearest") == "west"


def test_reach_decides_who_may_have_it_not_the_clipped_area() -> None:
    west, east = with_areas(STREET)
    assert Polygon(east.area).covers(Point(at(80, 5))) and not Polygon(west.area).covers(Point(at(80, 5)))
    assert assign([sign("it", at(80, 5), TO_EAST)], [west, east]) == {"it": "west"}


def test_thesis_takes_the_nearest_junction_in_view_of_most_cameras() -> None:
    it = [sign("it", at(80, 5), TO_EAST)]
    toward_west, toward_east = View(*at(100), TO_WEST), View(*at(60), TO_EAST)
    assert assign(it, STREET, "thesis", {"it": [toward_west]}) == {"it": "west"}
    assert assign(it, STREET, "thesis", {"it": [toward_west, toward_east, toward_east]}) == {"it": "east"}
    assert assign(it, STREET, "thesis", {"it": [View(*at(-20), TO_EAST)]}) == {"it": "west"}


@pytest.mark.parametrize("turned, found", [(22, {"it": "west"}), (23, {})])
def test_thesis_looks_22_5_degrees_to_either_side(turned: float, found: dict[str, str]) -> None:
    assert assign([sign("it", at(80, 5))], STREET, "thesis", {"it": [View(*at(100), TO_WEST + turned)]}) == found


def test_thesis_leaves_out_what_no_camera_saw() -> None:
    assert assign([sign("it", at(80, 5))], STREET, "thesis") == {}


@pytest.mark.parametrize("rule", ["facing", "nearest"])
def test_nearer_junction_that_does_not_reach_it_does_not_take_it(rule: Any) -> None:
    lane, road = junction("lane", at(0), 10), junction("road", at(110), 90)
    assert assign([sign("sign", at(28))], [lane, road], rule) == {"sign": "road"}


def test_object_that_nothing_reaches_is_left_out() -> None:
    assert assign([sign("sign", at(900))], STREET) == assign([sign("sign", WEST)], []) == assign([], STREET) == {}


def test_of_equally_near_junctions_the_smaller_id_wins() -> None:
    pair = [junction("b", at(60)), junction("a", at(-60))]
    assert assign([sign("it", at(0))], pair) == assign([sign("it", at(0))], pair[::-1]) == {"it": "a"}


def test_edge_of_a_reach_belongs_to_it() -> None:
    corner = square_area(10.0, 60.0, 50)[2]
    assert assign([sign("it", corner)], [junction("a", (10.0, 60.0))]) == {"it": "a"}


places = st.tuples(st.floats(10, 10.01), st.floats(60, 60.005))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(places, max_size=8),
    st.lists(st.tuples(places, st.floats(20, 130)), max_size=8),
    st.randoms(use_true_random=False),
)
def test_nearest_is_the_definition_and_no_rule_knows_an_order(spots: list, centres: list, shuffle: random.Random) -> None:
    junctions = with_areas([junction(f"j{index}", place, speed) for index, (place, speed) in enumerate(centres)])
    things = [sign(f"o{index}", place, 40.0 * index) for index, place in enumerate(spots)]
    expected = {}
    for thing in things:
        holding = [j for j in junctions if Polygon(j.reach or j.area).covers(Point(thing.lon, thing.lat))]
        if holding:
            near = min(holding, key=lambda j: (round(ground_distance_m(j.lon, j.lat, thing.lon, thing.lat), 3), j.id))
            expected[thing.id] = near.id
    found = assign(things, junctions, "nearest"), assign(things, junctions, "facing")
    assert found[0] == expected and found[1].keys() == expected.keys()
    links = [replace(j, approaches=tuple(((j.lon, j.lat), (k.lon, k.lat)) for k in junctions if k != j)) for j in junctions]
    faced = assign(things, links)
    shuffle.shuffle(links)
    shuffle.shuffle(things)
    assert assign(things, links) == faced
