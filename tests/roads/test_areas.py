"""The reach of a junction and the part of it that is its own."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod
from shapely.geometry import LineString, Point, Polygon

from kryss.model import Intersection
from kryss.roads.areas import AreaMethod, arms_area, ground_distance_m, metres_per_degree, square_area, with_areas

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


METRES = metres_per_degree(60.0)
"""Of a degree east and north, where these junctions are."""


def at(east_m: float, north_m: float) -> tuple[float, float]:
    return round(10.0 + east_m / METRES[0], 7), round(60.0 + north_m / METRES[1], 7)


def town(places: list[tuple[float, float]], limits: list[float], roads: list[tuple[int, int]] = []) -> list[Intersection]:  # noqa: B006
    """Junctions at metres east and north, with straight roads between some of them."""
    spots = [at(*place) for place in places]
    ways: dict[int, list[tuple[tuple[float, float], ...]]] = {index: [] for index in range(len(spots))}
    for a, b in roads:
        if spots[a] != spots[b]:
            ways[a].append((spots[a], spots[b]))
            ways[b].append((spots[b], spots[a]))
    return [
        replace(junction(f"j{index:03d}", *spot, limits[index]), approaches=tuple(ways[index]))
        for index, spot in enumerate(spots)
    ]


def square_metres(shape: shapely.Geometry) -> float:
    return shape.area * METRES[0] * METRES[1]


def checked(junctions: list[Intersection]) -> list[Polygon]:
    """Areas that are valid, counter-clockwise, rounded, disjoint to the rounding, and parts of their reaches."""
    areas = [Polygon(one.area) for one in junctions]
    here = Counter((one.lon, one.lat) for one in junctions)
    for one, area in zip(junctions, areas, strict=True):
        assert area.is_valid and area.exterior.is_ccw and not area.is_empty
        assert all(round(value, 7) == value for position in one.area for value in position)
        assert area.distance(Point(one.lon, one.lat)) * METRES[0] < (
            0.05 if here[one.lon, one.lat] == 1 else here[one.lon, one.lat]
        )
        reach = Polygon(one.reach or one.area)
        assert reach.is_valid and square_metres(area - reach) < 0.02 * reach.length * METRES[1]
    for index, area in enumerate(areas):
        for other in areas[:index]:
            assert square_metres(area & other) < 0.02 * area.length * METRES[1]
    return areas


spots_m = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=9)
limits_kmh = st.lists(st.sampled_from([10.0, 30.0, 50.0, 60.0, 80.0]), min_size=9, max_size=9)
some_roads = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=14)


@settings(max_examples=25, deadline=None)
@given(spots_m, limits_kmh, some_roads, st.sampled_from(["square", "arms"]), st.randoms(use_true_random=False))
def test_areas_of_any_junctions_are_disjoint_valid_and_know_no_order(
    spots: list, limits: list, roads: list, method: AreaMethod, shuffle: random.Random
) -> None:
    places = town(spots, limits, [(a, b) for a, b in roads if a < len(spots) and b < len(spots)])
    found = with_areas(places, method)
    checked(found)
    mixed = list(places)
    shuffle.shuffle(mixed)
    assert {one.id: one for one in with_areas(mixed, method)} == {one.id: one for one in found}
    assert with_areas(found, method) == found


@settings(max_examples=25, deadline=None)
@given(spots_m, limits_kmh, st.sampled_from(["square", "arms"]), some_roads, st.data())
def test_a_point_is_in_the_area_of_the_nearest_junction_that_reaches_it(
    spots: list, limits: list, method: AreaMethod, roads: list, data: st.DataObject
) -> None:
    """For squares exactly; for arms somebody who reaches it has it. Lost is only what is cut off from its own centre."""
    places = with_areas(town(spots, limits, [(a, b) for a, b in roads if a < len(spots) and b < len(spots)]), method)
    areas, reaches = [Polygon(one.area) for one in places], [Polygon(one.reach or one.area) for one in places]
    for _ in range(10):
        point = Point(at(data.draw(st.floats(-150, 650)), data.draw(st.floats(-150, 650))))
        reached = [index for index, reach in enumerate(reaches) if reach.covers(point)]
        holders = [index for index, area in enumerate(areas) if area.covers(point)]
        assert set(holders) <= set(reached) or not reached
        if len(reached) == 1 and not holders:
            assert _is_cut_off(areas[reached[0]], reaches[reached[0]], point)
        if method == "square" and len(holders) == 1:
            distances = {i: ground_distance_m(places[i].lon, places[i].lat, point.x, point.y) for i in reached}
            assert distances[holders[0]] <= min(distances.values()) + 0.1 or len({(p.lon, p.lat) for p in places}) < len(places)


def _is_cut_off(area: Polygon, reach: Polygon, point: Point) -> bool:
    """Whether something else lies between the point and the area, or it is in a slit."""
    way = LineString([point, shapely.shortest_line(point, area).coords[1]])
    return area.distance(point) * METRES[1] < 0.2 or not reach.covers(way) or way.length > 0.0


def test_what_reaches_hold_together_the_areas_hold_together() -> None:
    places = with_areas(town([(0, 0), (120, 0), (60, 110), (260, 40)], [50.0] * 4))
    areas = checked(places)
    together = shapely.union_all([Polygon(one.reach or one.area) for one in places])
    assert square_metres(together - shapely.union_all(areas)) < 0.02 * together.length * METRES[1]
    assert square_metres(together) == pytest.approx(sum(square_metres(area) for area in areas), rel=1e-5)


def test_neighbours_meet_in_the_middle() -> None:
    west, east = with_areas(town([(0, 0), (100, 0)], [50.0, 50.0]))
    border_m = (max(lon for lon, _ in west.area) - 10.0) * METRES[0]
    assert border_m == pytest.approx(50.0, abs=0.02)
    assert max(lon for lon, _ in west.area) == min(lon for lon, _ in east.area)
    assert max(lon for lon, _ in west.reach) > max(lon for lon, _ in west.area)


def test_junction_on_its_own_keeps_its_reach() -> None:
    alone, far = with_areas(town([(0, 0), (1000, 0)], [50.0, 30.0]))
    assert alone.area == square_area(alone.lon, alone.lat, 50.0) and alone.reach == () and far.reach == ()


def test_lane_inside_the_reach_of_a_road_has_an_area_of_its_own_and_the_road_the_rest() -> None:
    road, lane = with_areas(town([(0, 0), (80, 60)], [80.0, 10.0]))
    areas = checked([road, lane])
    assert lane.area == square_area(lane.lon, lane.lat, 10.0)
    assert square_metres(areas[0]) == pytest.approx(square_metres(Polygon(road.reach)) - square_metres(areas[1]), rel=1e-3)


def test_junctions_at_one_place_share_it() -> None:
    checked(with_areas(town([(0, 0), (0, 0), (0, 0)], [50.0, 50.0, 30.0])))


def test_junction_far_away_changes_nothing_here() -> None:
    here = town([(0, 0), (100, 30), (20, 140)], [50.0, 30.0, 60.0], [(0, 1), (1, 2)])
    there = replace(junction("far", 12.0, 61.0, 50.0), approaches=(((12.0, 61.0), (12.001, 61.0)),))
    for method in ("square", "arms"):
        assert with_areas([*here, there], method)[:3] == with_areas(here, method)  # type: ignore[arg-type]


def test_arms_follow_the_roads_as_far_as_the_limit_reaches() -> None:
    cross = replace(junction("x", *at(0, 0), 36.0), approaches=((at(0, 0), at(60, 0), at(60, 200)), (at(0, 0), at(-300, 0))))
    area = Polygon(arms_area(cross))
    on_road, off_road = [(55, 0), (60, 9), (-69, 14), (0, 20), (66, 5)], [(60, 30), (-72, 0), (40, 20), (-40, 20), (0, 30)]
    assert all(area.covers(Point(at(*place))) for place in on_road)
    assert not any(area.covers(Point(at(*place))) for place in off_road)
    assert arms_area(replace(cross, approaches=cross.approaches[::-1])) == arms_area(cross)


def test_a_bent_road_is_divided_in_its_middle_along_the_road() -> None:
    """100 m east, then 60 m north: the border is 80 m along it, though the second junction is nearer as the crow flies."""
    a, corner, b = at(0, 0), at(100, 0), at(100, 60)
    places = [
        replace(junction("a", *a), approaches=((a, corner, b),)),
        replace(junction("b", *b), approaches=((b, corner, a),)),
    ]
    west, east = (Polygon(one.area) for one in with_areas(places, "arms"))
    assert west.covers(Point(at(77, 0))) and not west.covers(Point(at(83, 0)))
    assert east.covers(Point(at(83, 0))) and not east.covers(Point(at(77, 0)))
    assert {one.area_method for one in with_areas(places, "arms")} == {"arms"}


def test_junction_without_roads_has_a_square() -> None:
    lone, other = with_areas(
        [junction("a", *at(0, 0)), replace(junction("b", *at(90, 0)), approaches=((at(90, 0), at(190, 0)),))], "arms"
    )
    assert (lone.area_method, other.area_method) == ("square", "arms")
    checked([lone, other])


def test_many_areas_take_little_time() -> None:
    rng = np.random.default_rng(4)
    spots = [tuple(place) for place in rng.uniform(0, 2500, (500, 2)).tolist()]
    places = town(spots, rng.choice([30.0, 50.0, 80.0], 500).tolist())
    began = time.process_time()
    with_areas(places)
    assert time.process_time() - began < 5.0


@pytest.mark.slow
@pytest.mark.parametrize("seed, block_m", [(2, 180), (21, 70), (4, 110), (11, 45)])
def test_areas_along_the_bent_roads_of_a_town_are_disjoint(seed: int, block_m: int) -> None:
    """625 junctions each: enough for lines that nearly touch."""
    rng = np.random.default_rng(seed)
    grid = [(i, j) for i in range(25) for j in range(25)]
    place = {spot: at(*((np.array(spot) + rng.uniform(-0.4, 0.4, 2)) * block_m).tolist()) for spot in grid}
    roads: dict[tuple[int, int], list[tuple[tuple[float, float], ...]]] = {spot: [] for spot in grid}
    for i, j in grid:
        for to in ((i + 1, j), (i, j + 1), (i + 1, j + 1))[: 3 if rng.random() < 0.2 else 2]:
            if to in place:
                start, end = np.array(place[i, j]), np.array(place[to])
                bends = [start + (end - start) * t + rng.normal(0, 1e-4, 2) for t in np.sort(rng.uniform(0, 1, rng.integers(3)))]
                road = (place[i, j], *(tuple(bend.round(7).tolist()) for bend in bends), place[to])
                roads[i, j].append(road)
                roads[to].append(road[::-1])
    limits = rng.choice([30.0, 50.0, 80.0], len(grid)).tolist()
    found = with_areas(
        [replace(junction(f"{i},{j}", *place[i, j], limits[n]), approaches=tuple(roads[i, j])) for n, (i, j) in enumerate(grid)],
        "arms",
    )
    areas = np.array([Polygon(one.area) for one in found])
    assert shapely.is_valid(areas).all()
    pairs = shapely.STRtree(areas).query(areas, predicate="intersects")
    one, other = pairs[:, pairs[0] < pairs[1]]
    overlap = shapely.area(shapely.intersection(areas[one], areas[other])) * METRES[0] * METRES[1]
    assert (overlap < 0.02 * shapely.length(areas[one]) * METRES[1]).all()
