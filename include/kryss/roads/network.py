"""From a road network to intersections: count the street ends at every node, consolidate, describe.

Follows contracts/nvdb-api.md section 5 and contracts/osm-overpass.md section 6 (after Boeing 2025, Transactions in GIS
29(3) e70037): a node where at least three ends of streets meet is a junction candidate; ``consolidate.py`` says which
candidates are one junction.
"""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import shape

from kryss.model import Intersection
from kryss.roads.areas import DECIMALS, reach_m, square_area
from kryss.roads.consolidate import DETOUR, MERGE_TOLERANCE_M, clusters_of, node_order
from kryss.roads.streets import Metres, Position, RoadLink, Street, streets_of

BESIDE_M = 10.0
"""Something this near a street stands on it (a signal's pole beside the carriageway)."""
ARM_PROBE_M = 60.0
ARM_SEPARATION_DEG = 25.0
"""Ends that leave a consolidated junction in nearly one direction are one arm: the two carriageways of a divided road."""
AT_JUNCTION_M = 1.0
"""A speed limit that begins this near holds at the junction itself."""
DEFAULT_LIMIT_KMH = 50.0
KIND_ORDER = (
    "roundabout", "signals", "grade_separated", "x_junction", "t_junction", "at_grade", "stop", "give_way",
)  # fmt: skip
"""What a junction is called when several things are known of it: the first that fits."""


@dataclass(frozen=True, slots=True)
class Control:
    """Something known of a junction: signals, a give-way line, a registered type or name."""

    kind: str | None
    shape: shapely.Geometry
    """WGS84."""
    within_m: float
    """How far from the junction along an arm (or, for what stands on no street, on the ground) it may lie."""
    name: str | None = None
    roads: frozenset[str] = frozenset()
    """The link sequences it is registered on; empty where that is not known."""


@dataclass(frozen=True, slots=True)
class RoadNetwork:
    source: str
    """``nvdb`` or ``osm``; the ids of the intersections begin with it."""
    links: tuple[RoadLink, ...]
    nodes: dict[str, Position] = field(hash=False)
    controls: tuple[Control, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict, hash=False)
    """Reason -> how many items of the source could not be used."""


@dataclass(frozen=True, slots=True)
class _Junction:
    members: tuple[str, ...]
    inner: list[Street]
    """Streets between its own nodes: rings, connections of carriageways."""
    outward: list[Street]
    """Streets that leave it, each from the junction outwards as far as the next junction (or the middle of a loop)."""


def intersections_of(
    network: RoadNetwork,
    boundary: dict[str, Any],
    default_limit_kmh: float = DEFAULT_LIMIT_KMH,
    tolerance_m: float = MERGE_TOLERANCE_M,
) -> list[Intersection]:
    """The junctions whose centre lies inside the boundary, by id."""
    region = shape(boundary)
    if not network.links:
        return []
    to_metres = Metres.around(region)
    streets = streets_of(network.links, to_metres)
    place = dict(zip(network.nodes, to_metres.forward(list(network.nodes.values())), strict=True))
    junctions = _junctions(streets, clusters_of(streets, place, tolerance_m), tolerance_m)
    if not junctions:
        return []
    controls = _controls_of(network.controls, junctions, streets, place, to_metres)

    shapely.prepare(region)
    found = []
    for index, junction in enumerate(junctions):
        rings = [street for street in junction.inner if street.ring]
        centre = _ring_centre(rings) if rings else np.mean([place[node] for node in junction.members], axis=0)
        lon, lat = (round(float(value), DECIMALS) for value in to_metres.inverse(centre)[0])
        if not region.covers(shapely.Point(lon, lat)):
            continue
        limit = speed_limit_of(junction.inner, junction.outward, default_limit_kmh)
        kinds = {control.kind for control in controls[index]} | ({"roundabout"} if rings else set())
        names = sorted(control.name for control in controls[index] if control.name)
        found.append(
            Intersection(
                id=f"{network.source}:{junction.members[0]}",
                source=network.source,
                lon=lon,
                lat=lat,
                speed_limit_kmh=limit,
                area=square_area(lon, lat, limit),
                name=names[0] if names else _crossing_name(junction),
                kind=next((kind for kind in KIND_ORDER if kind in kinds), None),
                arms=_arms(junction, centre),
                members=junction.members,
                approaches=_approaches(junction, centre, reach_m(limit), to_metres),
            )
        )
    return sorted(found, key=lambda junction: node_order(junction.members[0]))


def speed_limit_of(inner: Sequence[Street], outward: Sequence[Street], default_kmh: float) -> float:
    """The largest limit inside the junction's area, which the limit itself makes.

    A limit is inside where it holds on a street between the junction's nodes, or on a street that leaves it, before the next
    junction and no farther along the street than the reach of the junction's limit. That is the smallest limit whose own
    reach holds none that is larger. Limits of roads that only pass by (a bridge) are not inside.
    """
    stretches = [(0.0, km_h) for street in inner for _, _, km_h in street.limits]
    stretches += [(from_m, km_h) for street in outward for from_m, _, km_h in street.limits]
    limit = max((km_h for from_m, km_h in stretches if from_m <= AT_JUNCTION_M), default=None)
    if limit is None:
        limit = max((km_h for from_m, km_h in stretches if from_m <= reach_m(default_kmh)), default=default_kmh)
    while True:
        largest = max((km_h for from_m, km_h in stretches if from_m <= reach_m(limit)), default=limit)
        if largest <= limit:
            return limit
        limit = largest


@cache
def kind_table() -> dict[tuple[str, str, str], tuple[str, float]]:
    """``junction_kinds.csv`` as ``(source, key, value) -> (kind, within_m)``."""
    with Path(__file__).with_name("junction_kinds.csv").open(newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    return {(row["source"], row["key"], row["value"]): (row["kind"], float(row["within_m"])) for row in rows}


def _junctions(streets: Sequence[Street], clusters: Sequence[tuple[str, ...]], tolerance_m: float) -> list[_Junction]:
    junctions = [_Junction(members, [], []) for members in clusters]
    owner = {node: junction for junction in junctions for node in junction.members}
    for street in streets:
        start, end = owner.get(street.start), owner.get(street.end)
        if start is None and end is None:
            continue
        if start is end and start is not None:
            apart_m = math.dist(street.line[0], street.line[-1])
            if street.ring or (street.start != street.end and street.length_m <= DETOUR * max(apart_m, tolerance_m)):
                start.inner.append(street)
                continue
            half_m = street.length_m / 2
            start.outward.extend([street.until(half_m), street.reversed().until(half_m)])
            continue
        if start is not None:
            start.outward.append(street)
        if end is not None:
            end.outward.append(street.reversed())
    return junctions


def _ring_centre(rings: Sequence[Street]) -> np.ndarray:
    hull = shapely.MultiPoint(np.concatenate([street.line for street in rings])).convex_hull
    return np.array([hull.centroid.x, hull.centroid.y])


def _controls_of(
    controls: Sequence[Control],
    junctions: Sequence[_Junction],
    streets: Sequence[Street],
    place: Mapping[str, np.ndarray],
    to_metres: Metres,
) -> dict[int, list[Control]]:
    """Index of the junction -> its controls, each at one junction at most.

    What stands on a street belongs to the nearer end of that street, if that is a junction and near enough along the street:
    a signal of a parallel street is not one's own. On streets of a road that it is registered on, if there are any. What
    stands on no street belongs to the nearest junction on the ground, a line to the one nearest to its middle.
    """
    owner = {node: index for index, junction in enumerate(junctions) for node in junction.members}
    inside = {id(street): index for index, junction in enumerate(junctions) for street in junction.inner}
    lines = [shapely.LineString(street.line) for street in streets]
    street_tree = shapely.STRtree(lines)
    grounds = [_ground(junction, place) for junction in junctions]
    ground_tree = shapely.STRtree(grounds)
    found: dict[int, list[Control]] = defaultdict(list)
    for control in controls:
        what = to_metres.shape(control.shape)
        on = street_tree.query(what, predicate="dwithin", distance=BESIDE_M).tolist() if what.geom_type == "Point" else []
        registered = [i for i in on if control.roads & {link.road for link in streets[i].links}]
        near: list[tuple[float, int]]
        if on:
            i = min(registered or on, key=lambda i: (round(lines[i].distance(what), 3), i))
            along_m = lines[i].project(what)
            ends = [(along_m, streets[i].start), (lines[i].length - along_m, streets[i].end)]
            near = [(distance_m, owner[node]) for distance_m, node in ends if node in owner]
            near = [(0.0, inside[id(streets[i])])] if id(streets[i]) in inside else near
            near = [(distance_m, index) for distance_m, index in near if distance_m <= control.within_m]
        else:
            hits = ground_tree.query(what, predicate="dwithin", distance=control.within_m).tolist()
            near = [(round(grounds[index].distance(what.centroid), 3), index) for index in hits]
        if near:
            found[min(near)[1]].append(control)
    return found


def _ground(junction: _Junction, place: Mapping[str, np.ndarray]) -> shapely.Geometry:
    """Where it lies: the area inside its ring, or its nodes."""
    rings = [street.line for street in junction.inner if street.ring]
    nodes = shapely.MultiPoint([place[node] for node in junction.members])
    return shapely.union(nodes, shapely.MultiPoint(np.concatenate(rings)).convex_hull) if rings else nodes


def _bearing_deg(street: Street, centre: np.ndarray) -> float:
    """Where a street that leaves a junction leads to, seen from its centre."""
    east, north = street.at(ARM_PROBE_M) - centre
    return math.degrees(math.atan2(east, north)) % 360


def _arms(junction: _Junction, centre: np.ndarray) -> int:
    if len(junction.members) == 1:
        return len(junction.outward)
    bearings = sorted(_bearing_deg(street, centre) for street in junction.outward)
    gaps = [(after - before) % 360 for before, after in zip(bearings, bearings[1:] + bearings[:1], strict=True)]
    return max(1, sum(gap > ARM_SEPARATION_DEG for gap in gaps)) if bearings else 0


def _approaches(junction: _Junction, centre: np.ndarray, length_m: float, to_metres: Metres) -> tuple[tuple[Position, ...], ...]:
    """The streets that leave it, at most so far, clockwise from north; each begins at one of the junction's nodes."""
    lines = []
    for street in sorted(junction.outward, key=lambda street: (_bearing_deg(street, centre), street.line.tolist())):
        degrees = np.round(to_metres.inverse(street.until(length_m).line), DECIMALS)
        kept = [tuple(degrees[0].tolist())]
        for lon, lat in degrees[1:].tolist():
            if (lon, lat) != kept[-1]:
                kept.append((lon, lat))
        if len(kept) > 1:
            lines.append(tuple(kept))
    return tuple(lines)


def _crossing_name(junction: _Junction) -> str | None:
    """The streets that meet, most arms first: ``Kongens gate / Prinsens gate``."""
    names = [next((link.name for link in street.links if link.name), None) for street in junction.outward]
    arms = Counter(name for name in names if name)
    return " / ".join(sorted(arms, key=lambda name: (-arms[name], name))[:3]) or None
