"""Which junction an object belongs to: of those whose reach holds it, one.

- ``facing``: the one that the object faces and the road that carries it leads to. The object stands beside an approach or in
  the junction's middle, and drivers who travel along that approach toward the junction see its front. Of several, the nearest
  along its road; where the front is not known, or no road of a candidate carries it, the nearest junction.
- ``nearest``: the junction with the nearest centre.
- ``thesis``: the thesis's rule of 2020: of the junctions inside a 45 degree view of the camera, the nearest to the camera;
  where photos differ, what most of them say. An object with no junction in view belongs to none.

Equal ones (to the millimetre) go to the smaller id, so that the answer does not depend on any order. The edge of a reach
belongs to it. An object of no junction is left out: it stays in the database and is not in the layer.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from kryss.model import Intersection, StreetObject
from kryss.roads.areas import ARM_HALF_WIDTH_M, MIDDLE_M, approach_lines, ground_distance_m, plane_scale, to_plane

AssignmentRule = Literal["facing", "nearest", "thesis"]

FRONT_DEG = 60.0
"""A sign is read up to this far from its front."""
VIEW_DEG = 45.0
TANGENT_M = 2.0
"""Half the stretch of road that its direction is taken over."""


@dataclass(frozen=True, slots=True)
class View:
    """A camera that saw an object."""

    lon: float
    lat: float
    heading_deg: float
    """Azimuth of the optical axis."""


def assign(
    objects: Iterable[StreetObject],
    junctions: Iterable[Intersection],
    rule: AssignmentRule = "facing",
    views: Mapping[str, Sequence[View]] | None = None,
) -> dict[str, str]:
    """Object id -> id of its junction. ``views``: by object id, the cameras that saw it; needed by the thesis's rule."""
    things = sorted(objects, key=lambda one: one.id)
    places = sorted(junctions, key=lambda one: one.id)
    candidates = _reached_by(things, places)
    if rule == "thesis":
        chosen = {
            i: _most_in_view([places[j] for j in near], (views or {}).get(things[i].id, ())) for i, near in candidates.items()
        }
        return {things[i].id: junction for i, junction in chosen.items() if junction is not None}
    facing = _facing(things, places, candidates) if rule == "facing" else {}
    return {things[i].id: facing.get(i) or _nearest(things[i], [places[j] for j in near]) for i, near in candidates.items()}


def _reached_by(things: Sequence[StreetObject], places: Sequence[Intersection]) -> dict[int, list[int]]:
    """By index of the object, ascending, the indices of the junctions whose reach holds it, ascending; none: no entry."""
    if not things or not places:
        return {}
    tree = shapely.STRtree([shapely.Polygon(one.reach or one.area) for one in places])
    points = shapely.points(np.array([(one.lon, one.lat) for one in things], dtype=float))
    found: dict[int, list[int]] = defaultdict(list)
    for thing, place in sorted(tree.query(points, predicate="covered_by").T.tolist()):
        found[thing].append(place)
    return found


def _nearest(thing: StreetObject, near: Sequence[Intersection]) -> str:
    return min((round(ground_distance_m(one.lon, one.lat, thing.lon, thing.lat), 3), one.id) for one in near)[1]


def _facing(
    things: Sequence[StreetObject], places: Sequence[Intersection], candidates: Mapping[int, Sequence[int]]
) -> dict[int, str]:
    """By index of the object: the junction it faces. No entry where there is no choice or nothing that says."""
    asked = {i: near for i, near in candidates.items() if len(near) > 1 and things[i].facing_deg is not None}
    lines = {j: approach_lines(places[j]) for j in sorted({j for near in asked.values() for j in near})}
    rows = [(i, j, line) for i, near in asked.items() for j in near for line in lines[j]]
    if not rows:
        return {}
    of_thing, of_place = (np.array([row[k] for row in rows]) for k in (0, 1))
    road = np.array([row[2] for row in rows], dtype=object)
    lonlat = np.array([(one.lon, one.lat) for one in things], dtype=float)
    scale = plane_scale(lonlat[of_thing, 1])
    points = shapely.points(to_plane(lonlat))[of_thing]
    along = shapely.line_locate_point(road, points)
    width_m = np.where(along > 0.0, ARM_HALF_WIDTH_M, MIDDLE_M) + np.array([one.error_radius_m for one in things])[of_thing]
    front = np.array([one.facing_deg if one.facing_deg is not None else np.nan for one in things])[of_thing]
    carried = shapely.distance(road, points) <= width_m * scale
    turned = np.abs((front - _outward_deg(road, along, scale) + 180.0) % 360.0 - 180.0)
    best: dict[int, tuple[float, str]] = {}
    for row in np.flatnonzero(carried & (turned <= FRONT_DEG)).tolist():
        choice = (round(float(along[row] / scale[row]), 3), places[of_place[row]].id)
        thing = int(of_thing[row])
        best[thing] = min(choice, best.get(thing, choice))
    return {thing: junction for thing, (_, junction) in best.items()}


def _outward_deg(road: NDArray[Any], along: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bearing of each line, away from its junction, at a distance along it."""
    half = TANGENT_M * scale
    middle = np.clip(along, half, np.maximum(shapely.length(road) - half, half))
    ahead = shapely.get_coordinates(shapely.line_interpolate_point(road, middle + half))
    behind = shapely.get_coordinates(shapely.line_interpolate_point(road, middle - half))
    east, north = (ahead - behind).T
    return np.degrees(np.arctan2(east, north)) % 360.0


def _most_in_view(near: Sequence[Intersection], views: Sequence[View]) -> str | None:
    votes = Counter(found for view in views if (found := _nearest_in_view(near, view)) is not None)
    return min(votes, key=lambda junction: (-votes[junction], junction), default=None)


def _nearest_in_view(near: Sequence[Intersection], view: View) -> str | None:
    seen = []
    for one in near:
        (x, y), (camera_x, camera_y) = to_plane(np.array([(one.lon, one.lat), (view.lon, view.lat)]))
        bearing = np.degrees(np.arctan2(x - camera_x, y - camera_y))
        if abs((bearing - view.heading_deg + 180.0) % 360.0 - 180.0) <= VIEW_DEG / 2:
            seen.append((round(ground_distance_m(one.lon, one.lat, view.lon, view.lat), 3), one.id))
    return min(seen)[1] if seen else None
