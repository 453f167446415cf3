"""The square around a junction, and which objects fall into it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod
from shapely.geometry import Point, Polygon

from kryss.model import Intersection
from kryss.roads.areas import assign, ground_distance_m, square_area

WGS84 = Geod(ellps="WGS84")
lons, lats = st.floats(-179, 179), st.floats(-75, 75)
speeds = st.floats(20, 130)


def junction(name: str, lon: float, lat: float, speed_kmh: float = 50) -> Intersection:
    area = square_area(lon, lat, speed_kmh)
    return Intersection(id=name, source="area", lon=lon, lat=lat, speed_limit_kmh=speed_kmh, area=area)


@given(lons, lats, speeds)
def test_area_is_a_valid_closed_counter_clockwise_square(lon: float, lat: float, speed_kmh: float) -> None:
    ring = square_area(lon, lat, speed_kmh)
    square = Polygon(ring)
    assert ring[0] == ring[-1] and len(ring) == 5
    assert square.is_valid and square.exterior.is_ccw
    assert all(round(value, 7) == value for position in ring for value in position)


@given(lons, lats, speeds)
def test_side_is_twice_the_way_of_seven_seconds_on_the_ellipsoid(lon: float, lat: float, speed_kmh: float) -> None:
    expected_m = 2 * speed_kmh / 3.6 * 7
    ring = square_area(lon, lat, speed_kmh)
    for (a_lon, a_lat), (b_lon, b_lat) in pairwise(ring):
        assert WGS84.inv(a_lon, a_lat, b_lon, b_lat)[2] == pytest.approx(expected_m, rel=1e-3)


@given(lons, lats, speeds)
def test_centre_of_the_area_is_the_junction(lon: float, lat: float, speed_kmh: float) -> None:
    middle = Polygon(square_area(lon, lat, speed_kmh)).centroid
    assert WGS84.inv(lon, lat, middle.x, middle.y)[2] < 0.05


def test_other_reach_than_seven_seconds_can_be_asked_for() -> None:
    west, east = (square_area(10, 60, 36, seconds=10)[corner][0] for corner in (0, 1))
    assert WGS84.inv(west, 60, east, 60)[2] == pytest.approx(200, rel=1e-3)


def test_area_without_a_speed_is_refused_with_its_place() -> None:
    with pytest.raises(ValueError, match=r"speed limit 0 km/h at 60, 10"):
        square_area(10, 60, 0)


@given(lons, lats, st.floats(-2000, 2000), st.floats(-2000, 2000))
def test_ground_distance_agrees_with_the_geodesic(lon: float, lat: float, east_m: float, north_m: float) -> None:
    other_lon, other_lat = lon + east_m / 111_000, lat + north_m / 111_000
    geodesic_m = WGS84.inv(lon, lat, other_lon, other_lat)[2]
    assert ground_distance_m(lon, lat, other_lon, other_lat) == pytest.approx(geodesic_m, rel=2e-4, abs=0.01)


def test_object_belongs_to_the_nearest_junction_whose_area_holds_it() -> None:
    near, far = junction("near", 10.0, 60.0), junction("far", 10.002, 60.0)
    assert assign({"sign": (10.0008, 60.0)}, [near, far]) == {"sign": "near"}
    assert assign({"sign": (10.0012, 60.0)}, [near, far]) == {"sign": "far"}


def test_nearer_junction_with_a_small_area_does_not_take_what_it_does_not_hold() -> None:
    lane, road = junction("lane", 10.0, 60.0, 10), junction("road", 10.002, 60.0, 90)
    assert assign({"sign": (10.0005, 60.0)}, [lane, road]) == {"sign": "road"}


def test_object_in_no_area_is_left_out() -> None:
    assert assign({"sign": (10.01, 60.0)}, [junction("a", 10.0, 60.0)]) == {}
    assert assign({"sign": (10.0, 60.0)}, []) == {}
    assert assign({}, [junction("a", 10.0, 60.0)]) == {}


def test_of_equally_near_junctions_the_smaller_id_wins() -> None:
    pair = [junction("b", 10.001, 60.0), junction("a", 9.999, 60.0)]
    assert assign({"sign": (10.0, 60.0)}, pair) == assign({"sign": (10.0, 60.0)}, pair[::-1]) == {"sign": "a"}


def test_edge_of_an_area_belongs_to_it() -> None:
    corner = square_area(10.0, 60.0, 50)[2]
    assert assign({"sign": corner}, [junction("a", 10.0, 60.0)]) == {"sign": "a"}


places = st.tuples(st.floats(10, 10.01), st.floats(60, 60.005))


@settings(max_examples=50, deadline=None)
@given(st.lists(places, max_size=8), st.lists(st.tuples(places, speeds), max_size=8), st.randoms(use_true_random=False))
def test_assign_is_the_definition_and_knows_no_order(objects: list, spots: list, shuffle: object) -> None:
    junctions = [junction(f"j{index}", *place, speed) for index, (place, speed) in enumerate(spots)]
    positions = {f"o{index}": place for index, place in enumerate(objects)}
    expected = {}
    for name, (lon, lat) in positions.items():
        holding = [j for j in junctions if Polygon(j.area).covers(Point(lon, lat))]
        if holding:
            expected[name] = min(holding, key=lambda j: (round(ground_distance_m(j.lon, j.lat, lon, lat), 3), j.id)).id
    shuffle.shuffle(junctions)  # type: ignore[attr-defined]
    assert assign(dict(reversed(positions.items())), junctions) == expected
