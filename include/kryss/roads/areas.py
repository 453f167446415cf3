"""The area of an intersection: how far it reaches, and which part of that is its own.

*Reach* is a square of side 2 x speed limit x 7 s around the junction (the thesis's: what a driver at the limit reaches within
7 s on either side), or the arms: its approaches as far as the limit x 7 s along the road, as broad as a road with the verge
where signs stand, with the junction's middle. Where reaches overlap, each point is the *area* of the nearest junction of
those that reach it; so areas do not overlap, and together they are what the reaches are together. Nearest is meant from the
junctions' centres for squares, and along the roads for arms: a point belongs to the nearest stretch of road, a stretch of
road to the junction that is nearest along it.

Reaches are laid out by the radii of curvature of the WGS84 ellipsoid (meridian M, prime vertical N; Snyder 1987, Map
Projections: A Working Manual, eqs. 4-18 and 4-20), exact to about 1e-4 over the few hundred metres here. They are cut in the
ellipsoidal Mercator projection: conformal, so that nearest is nearest, and one for the whole world, so that a junction added
far away moves no corner.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pyproj
import shapely
import shapely.ops
from numpy.typing import NDArray

from kryss.model import Intersection

AreaMethod = Literal["square", "arms"]

REACH_S = 7.0
ARM_HALF_WIDTH_M = 15.0
"""From the centre line to the back of the verge: half of a four-lane road, and signs stand up to 6 m beyond its edge."""
MIDDLE_M = 25.0
"""Around the nodes and stop lines of a junction; signals stand at most this far out."""
SEMI_MAJOR_M = 6_378_137.0
ECCENTRICITY_SQUARED = 0.006_694_379_990_141
DECIMALS = 7
"""1e-7 degrees are 11 mm at most."""
SLIT_DEG = 3e-7
"""Half the width of the slit (7 cm) that leads into an area surrounded by another: an area is one ring."""
SITE_SPACING_M = 10.0
SAME_ROAD_M = 5.0
"""A road is the same to two junctions where their lines of it are this near."""
GRID_M = 1e-3
NEAR_M = 20.0
"""Farther from an approach than any point of its corridor."""

Ring = tuple[tuple[float, float], ...]
Array = NDArray[np.float64]


def metres_per_degree(lat: float) -> tuple[float, float]:
    """``(east, north)``: metres of one degree of longitude and of latitude at a latitude."""
    phi = math.radians(lat)
    root = math.sqrt(1 - ECCENTRICITY_SQUARED * math.sin(phi) ** 2)
    prime_vertical_m = SEMI_MAJOR_M / root
    meridian_m = SEMI_MAJOR_M * (1 - ECCENTRICITY_SQUARED) / root**3
    return math.radians(prime_vertical_m * math.cos(phi)), math.radians(meridian_m)


def ground_distance_m(lon: float, lat: float, other_lon: float, other_lat: float) -> float:
    """Distance of two positions that are at most some kilometres apart."""
    east_m, north_m = metres_per_degree((lat + other_lat) / 2)
    return math.hypot((other_lon - lon) * east_m, (other_lat - lat) * north_m)


def square_area(lon: float, lat: float, speed_limit_kmh: float, seconds: float = REACH_S) -> Ring:
    """Closed counter-clockwise ring of the square with half side ``speed * seconds``, sides along east and north."""
    if not speed_limit_kmh > 0:
        raise ValueError(f"speed limit {speed_limit_kmh} km/h at {lat}, {lon}: it must be above zero to make an area")
    half_side_m = reach_m(speed_limit_kmh, seconds)
    east_m, north_m = metres_per_degree(lat)
    west, east = (round(lon + sign * half_side_m / east_m, DECIMALS) for sign in (-1, 1))
    south, north = (round(lat + sign * half_side_m / north_m, DECIMALS) for sign in (-1, 1))
    return ((west, south), (east, south), (east, north), (west, north), (west, south))


def reach_m(speed_limit_kmh: float, seconds: float = REACH_S) -> float:
    """How far a driver at the limit gets."""
    return speed_limit_kmh / 3.6 * seconds


def arms_area(junction: Intersection, seconds: float = REACH_S) -> Ring:
    """Closed counter-clockwise ring around the junction's middle and its approaches."""
    scale, centre = plane_scale(junction.lat), _centre(junction)
    lines = _arms(junction, seconds)
    middle = shapely.MultiPoint([centre, *(line.coords[0] for line in lines)]).convex_hull
    corridors = shapely.buffer(shapely.simplify(lines, scale), scale * ARM_HALF_WIDTH_M, cap_style="flat", quad_segs=2)
    shape = shapely.union_all([middle.buffer(scale * MIDDLE_M, quad_segs=4), *corridors])
    return _ring(shapely.Polygon(_holding(shape, centre).exterior), centre)


def with_areas(junctions: Sequence[Intersection], method: AreaMethod = "square") -> list[Intersection]:
    """The junctions, in their order, with reach, area and how both were made; ids must differ.

    A junction without approaches has a square, whatever the method.
    """
    if not junctions:
        return []
    reaching = [_with_reach(junction, method) for junction in junctions]
    order = sorted(range(len(reaching)), key=lambda index: reaching[index].id)
    areas = _own_parts([reaching[index] for index in order])
    for index, area in zip(order, areas, strict=True):
        reach = reaching[index].reach
        reaching[index] = replace(reaching[index], area=area, reach=() if area == reach else reach)
    return reaching


def _with_reach(junction: Intersection, method: AreaMethod) -> Intersection:
    if method == "arms" and junction.approaches:
        return replace(junction, reach=arms_area(junction), area_method="arms")
    return replace(junction, reach=square_area(junction.lon, junction.lat, junction.speed_limit_kmh), area_method="square")


_MERCATOR = pyproj.Proj("+proj=merc +ellps=WGS84 +over")


def plane_scale(lat: Any) -> Any:
    """Mercator metres that one metre on the ground is, at a latitude or at each of an array of them."""
    phi = np.radians(lat)
    return np.sqrt(1 - ECCENTRICITY_SQUARED * np.sin(phi) ** 2) / np.cos(phi)


def to_plane(lonlat: Array) -> Array:
    """``(n, 2)`` degrees -> ``(n, 2)`` Mercator metres."""
    return np.column_stack(_MERCATOR(lonlat[:, 0], lonlat[:, 1]))


def _to_degrees(xy: Array) -> Array:
    return np.column_stack(_MERCATOR(xy[:, 0], xy[:, 1], inverse=True))


def approach_lines(junction: Intersection) -> list[shapely.LineString]:
    """The approaches in the plane, outwards."""
    return [shapely.LineString(to_plane(np.asarray(line, dtype=float))) for line in junction.approaches]


def _arms(junction: Intersection, seconds: float = REACH_S) -> list[shapely.LineString]:
    """The approaches as far as a driver at the limit comes."""
    length = plane_scale(junction.lat) * reach_m(junction.speed_limit_kmh, seconds)
    return [shapely.ops.substring(line, 0.0, length) for line in approach_lines(junction)]


def _centre(junction: Intersection) -> tuple[float, float]:
    x, y = _MERCATOR(junction.lon, junction.lat)
    return float(x), float(y)


def _own_parts(junctions: Sequence[Intersection]) -> list[Ring]:
    """The areas of junctions with reaches, sorted by id."""
    reaches = shapely.transform(np.array([shapely.Polygon(one.reach) for one in junctions], dtype=object), to_plane)
    a, b = shapely.STRtree(reaches).query(reaches, predicate="intersects")
    pairs = np.column_stack([a, b])[a < b]
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    shared = shapely.intersection(reaches[pairs[:, 0]], reaches[pairs[:, 1]])
    overlapping = shapely.area(shared) > 0.0
    pairs, shared = pairs[overlapping], shared[overlapping]
    taken: dict[int, list[Any]] = defaultdict(list)
    for (first, second), (nearer_first, nearer_second) in zip(pairs.tolist(), _divided(junctions, pairs, shared), strict=True):
        taken[first].append(nearer_second)
        taken[second].append(nearer_first)
    areas = []
    for index, junction in enumerate(junctions):
        if index not in taken:
            areas.append(junction.reach)
            continue
        own = shapely.difference(reaches[index], shapely.union_all(taken[index]))
        areas.append(_ring(own, _centre(junction)) or junction.reach)
    return areas


def _divided(junctions: Sequence[Intersection], pairs: NDArray[np.intp], shared: NDArray[Any]) -> list[tuple[Any, Any]]:
    """Each shared part as the part nearer to the first and the part nearer to the second junction of the pair."""
    sites = _centre_sites(junctions)
    halves = _bisected(sites[pairs[:, 0]], sites[pairs[:, 1]], shared)
    if all(one.area_method == "square" for one in junctions):
        return halves
    xy, owner = _road_sites(junctions, sites)
    scale = plane_scale(np.array([one.lat for one in junctions]))
    near = shapely.STRtree(shared).query(shapely.points(xy), predicate="dwithin", distance=NEAR_M * scale[owner])
    site, pair = near[:, (pairs[near[1]] == owner[near[0]][:, None]).any(axis=1)]
    by_pair: dict[int, list[int]] = defaultdict(list)
    for s, p in sorted(zip(site.tolist(), pair.tolist(), strict=True)):
        by_pair[p].append(s)
    for p, close in sorted(by_pair.items()):
        if junctions[pairs[p, 0]].area_method == junctions[pairs[p, 1]].area_method == "square":
            continue
        is_first = owner[close] == pairs[p, 0]
        halves[p] = _by_nearest_site(xy[close], is_first, shared[p])
    return halves


def _centre_sites(junctions: Sequence[Intersection]) -> Array:
    """``(n, 2)`` centres in the plane; those that coincide stand a metre apart, from west to east in the order of their ids."""
    sites = np.array([_centre(one) for one in junctions])
    here: dict[tuple[float, float], int] = defaultdict(int)
    for index, one in enumerate(junctions):
        place = (round(one.lon, DECIMALS), round(one.lat, DECIMALS))
        sites[index, 0] += here[place] * plane_scale(one.lat)
        here[place] += 1
    return sites


def _bisected(a: Array, b: Array, shared: NDArray[Any]) -> list[tuple[Any, Any]]:
    """a, b: ``(n, 2)`` sites. Cut along the perpendicular bisector."""
    boxes = shapely.bounds(shared)
    middle = (a + b) / 2
    apart = np.hypot(b[:, 0] - a[:, 0], b[:, 1] - a[:, 1])[:, None]
    toward = np.where(apart > 0.0, b - a, (1.0, 0.0)) / np.where(apart > 0.0, apart, 1.0)
    across = np.column_stack([-toward[:, 1], toward[:, 0]])
    far = np.maximum(np.abs(boxes[:, :2] - middle).max(axis=1), np.abs(boxes[:, 2:] - middle).max(axis=1))[:, None] * 2 + 1

    def half(sign: float) -> NDArray[Any]:
        corners = [middle - across * far, middle + across * far]
        corners += [corners[1] + sign * toward * far, corners[0] + sign * toward * far]
        return shapely.intersection(shared, shapely.polygons(np.stack(corners, axis=1)))

    return list(zip(half(-1.0), half(1.0), strict=True))


def _road_sites(junctions: Sequence[Intersection], centres: Array) -> tuple[Array, NDArray[np.intp]]:
    """Points along the stretches of road that are nearest to their junction: ``(n, 2)`` in the plane, ``(n,)`` junctions.

    Nearest along the road; of two equally far the first has it. A centre is always its junction's own.
    """
    lines: list[shapely.LineString] = []
    of_line: list[int] = []
    places: list[Array] = []
    for index, one in enumerate(junctions):
        if one.area_method != "arms":
            continue
        for line in _arms(one):
            lines.append(line)
            of_line.append(index)
            places.append(np.arange(0.0, line.length, SITE_SPACING_M * plane_scale(one.lat)))
    count = np.array([len(along) for along in places], dtype=int)
    owners = np.array(of_line, dtype=np.intp)
    line_array = np.array(lines, dtype=object)
    along = np.concatenate(places)
    owner = np.repeat(owners, count)
    points = shapely.line_interpolate_point(np.repeat(line_array, count), along)
    scale_of = plane_scale(np.array([one.lat for one in junctions]))[owner]
    site, line = shapely.STRtree(line_array).query(points, predicate="dwithin", distance=SAME_ROAD_M * scale_of)
    foreign = owner[site] != owners[line]
    site, line = site[foreign], line[foreign]
    theirs = shapely.line_locate_point(line_array[line], points[site])
    nearer = (theirs < along[site]) | ((theirs == along[site]) & (owners[line] < owner[site]))
    kept = np.ones(len(points), dtype=bool)
    kept[site[nearer]] = False
    xy = np.concatenate([centres, shapely.get_coordinates(points[kept])])
    return xy, np.concatenate([np.arange(len(junctions), dtype=np.intp), owner[kept]])


def _by_nearest_site(xy: Array, is_first: NDArray[np.bool_], shared: Any) -> tuple[Any, Any]:
    """xy: ``(n, 2)`` sites; is_first: ``(n,)`` whose they are. Of coinciding sites one of the first's counts."""
    # About an origin of its own and to the centimetre: cells of far or nearly equal sites are not exact enough to be joined.
    origin = np.round(xy[0])
    xy = np.round(xy - origin, 2)
    order = np.lexsort((~is_first, xy[:, 1], xy[:, 0]))
    xy, is_first = xy[order], is_first[order]
    distinct = np.append(True, (np.diff(xy, axis=0) != 0.0).any(axis=1))
    xy, is_first = xy[distinct], is_first[distinct]
    if is_first.all() or not is_first.any():
        nobody = shapely.Polygon()
        return (shared, nobody) if is_first.all() else (nobody, shared)
    near = shapely.transform(shapely.envelope(shared), lambda corners: corners - origin)
    cells = shapely.get_parts(shapely.voronoi_polygons(shapely.MultiPoint(xy), extend_to=near, ordered=True))
    first = shapely.union_all(shapely.make_valid(cells[is_first]), grid_size=GRID_M)
    first = shapely.transform(first, lambda corners: corners + origin)
    return shapely.intersection(shared, first), shapely.difference(shared, first)


def _polygons(shape: Any) -> list[shapely.Polygon]:
    parts = shapely.get_parts(shapely.get_parts(shape))
    return [part for part in parts.tolist() if part.geom_type == "Polygon" and not part.is_empty]


def _holding(shape: Any, centre: tuple[float, float]) -> shapely.Polygon:
    """The part that holds the centre, else that is nearest to it; empty where there is none."""
    here = shapely.Point(centre)
    return min(_polygons(shape), key=lambda part: (part.distance(here), -part.area), default=shapely.Polygon())


def _ring(shape: Any, centre: tuple[float, float]) -> Ring:
    """A shape in the plane as one closed counter-clockwise ring of degrees, valid as rounded; empty where nothing is left.

    What is surrounded is left out by a slit to the outside.
    """
    grid = 10.0**-DECIMALS
    here = tuple(_to_degrees(np.array([centre]))[0])
    # What nearly touches in the plane may cross in degrees: rounded before and mended after.
    turned = shapely.make_valid(shapely.transform(shapely.set_precision(shape, GRID_M), _to_degrees))
    part = _holding(shapely.set_precision(shapely.union_all(_polygons(turned)), grid), here)
    half = SLIT_DEG
    while part.interiors:
        holes = len(part.interiors)
        slit = shapely.shortest_line(part.interiors[0], part.exterior)
        cut = part.difference(slit.buffer(half, cap_style="square", quad_segs=1))
        part = _holding(shapely.set_precision(cut, grid), here)
        if len(part.interiors) >= holes:
            half *= 2
    if part.is_empty:
        return ()
    corners = np.round(shapely.get_coordinates(part.exterior)[:-1], DECIMALS).tolist()
    if not part.exterior.is_ccw:
        corners.reverse()
    start = corners.index(min(corners))
    corners = corners[start:] + corners[:start]
    return tuple((lon, lat) for lon, lat in [*corners, corners[0]])
