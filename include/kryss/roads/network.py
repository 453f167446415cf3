"""From a road network to intersections: count the road ends at every node, consolidate, describe.

Follows contracts/nvdb-api.md section 5 and contracts/osm-overpass.md section 6 (after Boeing 2025, Transactions in GIS
29(3) e70037): a node where at least three ends of road links meet is a junction candidate; candidates are one junction
where they are near each other on the ground *and* along the roads (a bridge does not merge with the road below it), or lie on
one roundabout.
"""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pyproj
import shapely
from shapely.geometry import shape

from kryss.model import Intersection
from kryss.roads.areas import DECIMALS, square_area

MERGE_TOLERANCE_M = 20.0
"""Candidates at most this far apart are one junction (contract: 15 to 25 m)."""
DETOUR = 2.0
"""... if the way between them along the roads is at most this many times the tolerance."""
TOUCH_M = 30.0
"""Controls, names and speed limits within this distance of a junction's nodes are its own (stop lines stand back)."""
ARM_PROBE_M = 60.0
ARM_SEPARATION_DEG = 25.0
"""Ends that leave a consolidated junction in nearly one direction are one arm: the two carriageways of a divided road."""
DEFAULT_LIMIT_KMH = 50.0
KIND_ORDER = (
    "roundabout", "signals", "grade_separated", "x_junction", "t_junction", "at_grade", "stop", "give_way",
)  # fmt: skip
"""What a junction is called when several things are known of it: the first that fits."""

Position = tuple[float, float]


@dataclass(frozen=True, slots=True)
class RoadLink:
    """A stretch of road between two nodes."""

    id: str
    start: str
    end: str
    line: tuple[Position, ...]
    """``(lon, lat)`` from start to end."""
    road: str
    """The link sequence (NVDB) or way (OSM) it belongs to."""
    ring: bool = False
    """Part of a roundabout's ring."""
    name: str | None = None
    limit_kmh: float | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """Something known of a junction: signals, a give-way line, a registered type or name."""

    kind: str | None
    shape: shapely.Geometry
    """WGS84."""
    name: str | None = None


@dataclass(frozen=True, slots=True)
class SpeedLimit:
    km_h: float
    shape: shapely.Geometry
    """WGS84."""
    roads: frozenset[str] = frozenset()
    """Link sequences it is registered on; empty where that is not known."""


@dataclass(frozen=True, slots=True)
class RoadNetwork:
    source: str
    """``nvdb`` or ``osm``; the ids of the intersections begin with it."""
    links: tuple[RoadLink, ...]
    nodes: dict[str, Position] = field(hash=False)
    controls: tuple[Control, ...] = ()
    limits: tuple[SpeedLimit, ...] = ()


def intersections_of(
    network: RoadNetwork,
    boundary: dict[str, Any],
    default_limit_kmh: float = DEFAULT_LIMIT_KMH,
    tolerance_m: float = MERGE_TOLERANCE_M,
) -> list[Intersection]:
    """The junctions whose centre lies inside the boundary, by id."""
    region = shape(boundary)
    to_metres = _local_metres(region)
    place = {node: tuple(xy) for node, xy in zip(network.nodes, to_metres.forward(list(network.nodes.values())), strict=True)}
    clusters = _clusters(network, place, to_metres, tolerance_m)
    if not clusters:
        return []
    touching: dict[str, list[RoadLink]] = defaultdict(list)
    for link in sorted(network.links, key=lambda link: link.id):
        touching[link.start].append(link)
        if link.end != link.start:
            touching[link.end].append(link)
    controls = _controls_of(network.controls, clusters, place, to_metres)
    limits = _Limits(network.limits, to_metres)

    shapely.prepare(region)
    found = []
    for index, members in enumerate(clusters):
        links = _unique(link for node in members for link in touching[node])
        rings = [link for link in links if link.ring]
        centre = _ring_centre(rings, to_metres) or tuple(np.mean([place[node] for node in members], axis=0))
        lon, lat = (round(float(value), DECIMALS) for value in to_metres.inverse([centre])[0])
        if not region.covers(shapely.Point(lon, lat)):
            continue
        own = controls[index]
        inside = set(members)
        roads = frozenset(link.road for link in links)
        limit = max((link.limit_kmh for link in links if link.limit_kmh), default=None)
        limit = limit or limits.largest([place[node] for node in members], roads) or default_limit_kmh
        kinds = {control.kind for control in own} | ({"roundabout"} if rings else set())
        found.append(
            Intersection(
                id=f"{network.source}:{members[0]}",
                source=network.source,
                lon=lon,
                lat=lat,
                speed_limit_kmh=limit,
                area=square_area(lon, lat, limit),
                name=next((control.name for control in own if control.name), None) or _crossing_name(links, inside),
                kind=next((kind for kind in KIND_ORDER if kind in kinds), None),
                arms=_arms(links, inside, centre, to_metres),
                members=tuple(members),
            )
        )
    return sorted(found, key=lambda junction: node_order(junction.members[0]))


def node_order(node: str) -> tuple[int, int, str]:
    """Sorts node ids as the numbers they are."""
    return (0, int(node), "") if node.isdigit() else (1, 0, node)


def end_counts(links: Iterable[RoadLink]) -> Counter[str]:
    """How many ends of links lie at each node (a loop has two at its node)."""
    return Counter(node for link in links for node in (link.start, link.end))


@cache
def kind_table() -> dict[tuple[str, str, str], str]:
    """``junction_kinds.csv`` as ``(source, key, value) -> kind``."""
    with Path(__file__).with_name("junction_kinds.csv").open(newline="", encoding="utf-8") as table:
        return {(row["source"], row["key"], row["value"]): row["kind"] for row in csv.DictReader(table)}


@dataclass(frozen=True)
class _Metres:
    """A local metric frame: the UTM zone of the region, in either hemisphere."""

    transformer: pyproj.Transformer

    def forward(self, positions: Sequence[Position]) -> np.ndarray:
        """positions: n x (lon, lat) -> (n, 2) metres."""
        return self._apply(positions, "FORWARD")

    def inverse(self, metres: Sequence[Any]) -> np.ndarray:
        """(n, 2) metres -> (n, 2) lon, lat."""
        return self._apply(metres, "INVERSE")

    def shape(self, geometry: Any) -> Any:
        """A WGS84 geometry, or an array of them, in metres."""
        return shapely.transform(shapely.force_2d(geometry), lambda xy: self.forward(xy))

    def _apply(self, pairs: Any, direction: str) -> np.ndarray:
        array = np.asarray(pairs, dtype=float).reshape(-1, 2)
        x, y = self.transformer.transform(array[:, 0], array[:, 1], direction=direction)
        return np.column_stack([x, y])


def _local_metres(region: shapely.Geometry) -> _Metres:
    middle = region.envelope.centroid
    zone = min(60, int((middle.x + 180) // 6) + 1)
    crs = pyproj.CRS.from_epsg((32600 if middle.y >= 0 else 32700) + zone)
    return _Metres(pyproj.Transformer.from_crs(4326, crs, always_xy=True))


def _clusters(network: RoadNetwork, place: dict[str, Any], to_metres: _Metres, tolerance_m: float) -> list[list[str]]:
    """Sorted lists of node ids, one a junction, sorted."""
    ends = end_counts(network.links)
    candidates = {node for node, count in ends.items() if count >= 3}
    roads = nx.Graph()
    rings = nx.Graph()
    lines = np.array([shapely.LineString(link.line) for link in network.links], dtype=object)
    lengths_m = shapely.length(to_metres.shape(lines))
    for link, line_m in zip(network.links, lengths_m, strict=True):
        length_m = max(float(line_m), math.dist(place[link.start], place[link.end]))
        if not roads.has_edge(link.start, link.end) or roads.edges[link.start, link.end]["length_m"] > length_m:
            roads.add_edge(link.start, link.end, length_m=length_m)
        if link.ring:
            rings.add_edge(link.start, link.end)
    same = nx.Graph()
    same.add_nodes_from(candidates)
    for node in candidates:
        reach = nx.single_source_dijkstra_path_length(roads, node, cutoff=DETOUR * tolerance_m, weight="length_m")
        same.add_edges_from(
            (node, other) for other in reach if other in candidates and math.dist(place[node], place[other]) <= tolerance_m
        )
    for ring in nx.connected_components(rings):
        on_ring = sorted(ring & candidates)
        same.add_edges_from(pairwise(on_ring))
    clusters = [sorted(cluster, key=node_order) for cluster in nx.connected_components(same)]
    return sorted(clusters, key=lambda members: node_order(members[0]))


def _ring_centre(rings: list[RoadLink], to_metres: _Metres) -> tuple[float, ...] | None:
    if not rings:
        return None
    hull = shapely.MultiPoint(to_metres.forward([position for link in rings for position in link.line])).convex_hull
    return hull.centroid.x, hull.centroid.y


def _controls_of(
    controls: Sequence[Control], clusters: list[list[str]], place: dict[str, Any], to_metres: _Metres
) -> dict[int, list[Control]]:
    """Index of the cluster -> its controls: each control belongs to the nearest junction within reach."""
    nodes = [(index, place[node]) for index, members in enumerate(clusters) for node in members]
    tree = shapely.STRtree(shapely.points([xy for _, xy in nodes]))
    found: dict[int, list[Control]] = defaultdict(list)
    for control in controls:
        near = tree.query_nearest(to_metres.shape(control.shape), max_distance=TOUCH_M, all_matches=True)
        if len(near):
            found[nodes[int(min(near))][0]].append(control)
    return found


class _Limits:
    """Speed limits registered apart from the links."""

    def __init__(self, limits: Sequence[SpeedLimit], to_metres: _Metres):
        self.limits = limits
        self.tree = shapely.STRtree([to_metres.shape(limit.shape) for limit in limits])

    def largest(self, places: list[Any], roads: frozenset[str]) -> float | None:
        """Largest limit that touches the places; limits known to lie on the junction's own roads go before all others."""
        hits = {int(i) for i in self.tree.query(shapely.points(places), predicate="dwithin", distance=TOUCH_M)[1]}
        near = [self.limits[index] for index in hits]
        own = [limit for limit in near if limit.roads & roads]
        return max((limit.km_h for limit in own or near), default=None)


def _unique(links: Iterable[RoadLink]) -> list[RoadLink]:
    return list({link.id: link for link in links}.values())


def _leaving(links: Sequence[RoadLink], inside: set[str]) -> list[tuple[RoadLink, tuple[Position, ...]]]:
    """Each end of a link that leaves the junction, with the line going outwards. Ring links stay inside."""
    outwards = []
    for link in links:
        if link.ring or (link.start in inside and link.end in inside and link.start != link.end):
            continue
        if link.start in inside:
            outwards.append((link, link.line))
        if link.end in inside:
            outwards.append((link, link.line[::-1]))
    return outwards


def _arms(links: Sequence[RoadLink], inside: set[str], centre: Any, to_metres: _Metres) -> int:
    outwards = _leaving(links, inside)
    if len(inside) == 1:
        return len(outwards)
    bearings = []
    for _, line in outwards:
        probe = shapely.LineString(to_metres.forward(line)).interpolate(ARM_PROBE_M)
        bearings.append(math.degrees(math.atan2(probe.x - centre[0], probe.y - centre[1])) % 360)
    bearings.sort()
    gaps = [(after - before) % 360 for before, after in zip(bearings, bearings[1:] + bearings[:1], strict=True)]
    return max(1, sum(gap > ARM_SEPARATION_DEG for gap in gaps)) if bearings else 0


def _crossing_name(links: Sequence[RoadLink], inside: set[str]) -> str | None:
    """The streets that meet, most arms first: ``Kongens gate / Prinsens gate``."""
    arms = Counter(link.name for link, _ in _leaving(links, inside) if link.name)
    names = sorted(arms, key=lambda name: (-arms[name], name))
    return " / ".join(names[:3]) or None
