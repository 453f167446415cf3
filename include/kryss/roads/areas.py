"""The area of an intersection, and which objects belong to it.

The area is a square of side 2 x speed limit x 7 s around the junction: what a driver at the limit reaches within 7 s on
either side. Lengths on the ground come from the radii of curvature of the WGS84 ellipsoid (meridian M, prime vertical N;
Snyder 1987, Map Projections: A Working Manual, eqs. 4-18 and 4-20), exact to about 1e-4 over the few hundred metres here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import shapely

from kryss.model import Intersection

REACH_S = 7.0
SEMI_MAJOR_M = 6_378_137.0
ECCENTRICITY_SQUARED = 0.006_694_379_990_141
DECIMALS = 7
"""1e-7 degrees are 11 mm at most."""

Ring = tuple[tuple[float, float], ...]


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
    half_side_m = speed_limit_kmh / 3.6 * seconds
    east_m, north_m = metres_per_degree(lat)
    west, east = (round(lon + sign * half_side_m / east_m, DECIMALS) for sign in (-1, 1))
    south, north = (round(lat + sign * half_side_m / north_m, DECIMALS) for sign in (-1, 1))
    return ((west, south), (east, south), (east, north), (west, north), (west, south))


def assign(positions: Mapping[str, tuple[float, float]], intersections: Iterable[Intersection]) -> dict[str, str]:
    """Object id -> id of the nearest intersection whose area holds the object; objects in no area are left out.

    ``positions`` are ``(lon, lat)``. The edge of an area belongs to it. Of equally near intersections (to the millimetre) the
    smaller id wins, so the answer does not depend on any order.
    """
    junctions = sorted(intersections, key=lambda junction: junction.id)
    object_ids = sorted(positions)
    if not junctions or not object_ids:
        return {}
    tree = shapely.STRtree([shapely.Polygon(junction.area) for junction in junctions])
    points = shapely.points(np.array([positions[object_id] for object_id in object_ids], dtype=float))
    nearest: dict[str, tuple[float, str]] = {}
    for point_index, junction_index in tree.query(points, predicate="covered_by").T.tolist():
        object_id, junction = object_ids[point_index], junctions[junction_index]
        distance_m = ground_distance_m(junction.lon, junction.lat, *positions[object_id])
        candidate = (round(distance_m, 3), junction.id)
        nearest[object_id] = min(candidate, nearest.get(object_id, candidate))
    return {object_id: nearest[object_id][1] for object_id in object_ids if object_id in nearest}
