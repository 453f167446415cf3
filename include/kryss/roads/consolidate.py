"""Which junction candidates are one junction.

Candidates (nodes where at least three ends of streets meet) are one junction where

1. they lie on one roundabout: the ring of links that the source calls one;
2. they lie around one island: an area that streets enclose, of at most ``ISLAND`` tolerances around. That is what is left
   between the carriageways of divided roads that cross, beside a slip road, or where a road divides before a roundabout;
3. they are at most the tolerance apart, on the ground and, with a detour, along the streets.

Smaller islands and nearer pairs go first, and none is joined that would make a junction larger than ``LARGEST_ISLANDS`` or
``LARGEST_PAIRS``: a row of side roads 18 m apart is a row of junctions, not one of any length. Nodes of different layers are
never joined: a bridge has nothing to do with the road below it.

After Boeing 2025, Transactions in GIS 29(3) e70037, and ``osmnx.consolidate_intersections``, which knows the third rule only
and joins chains of any length; docs/intersections.md compares the two.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

import networkx as nx
import numpy as np
import shapely

from kryss.roads.streets import Street

MERGE_TOLERANCE_M = 20.0
"""Candidates at most this far apart are joined (contract: 15 to 25 m; osmnx's default tolerance is half of it, a radius)."""
DETOUR = 2.0
"""... if the way between them along the streets is at most this many times the tolerance."""
ISLAND = 4.0
"""An island is at most this many tolerances around: the square between two divided roads a tolerance wide."""
LARGEST_PAIRS = 1.5
"""Joining pairs makes no junction larger than this many tolerances from node to node, about the diagonal of that square."""
LARGEST_ISLANDS = 2.0
"""Joining islands makes no junction larger than this many: no island is."""


def node_order(node: str) -> tuple[int, int, str]:
    """Sorts node ids as the numbers they are."""
    return (0, int(node), "") if node.isdigit() else (1, 0, node)


def clusters_of(
    streets: Sequence[Street], place: Mapping[str, np.ndarray], tolerance_m: float = MERGE_TOLERANCE_M
) -> list[tuple[str, ...]]:
    """Sorted node ids of each junction, sorted. ``place`` is in metres."""
    ends = Counter(node for street in streets for node in (street.start, street.end))
    candidates = sorted((node for node, count in ends.items() if count >= 3), key=node_order)
    clusters = _Clusters(streets, place, candidates)
    for island in islands(streets, place, candidates, ISLAND * tolerance_m):
        for node in island[1:]:
            clusters.join(island[0], node, LARGEST_ISLANDS * tolerance_m, LARGEST_ISLANDS * tolerance_m)
    for node, other in near_pairs(streets, place, candidates, tolerance_m):
        clusters.join(node, other, LARGEST_PAIRS * tolerance_m, tolerance_m)
    return sorted({tuple(members) for members in clusters.of.values()}, key=lambda members: node_order(members[0]))


class _Clusters:
    """Candidates by cluster; those of one ring are one from the beginning."""

    def __init__(self, streets: Sequence[Street], place: Mapping[str, np.ndarray], candidates: Sequence[str]):
        self.place = place
        self.of: dict[str, list[str]] = {node: [node] for node in candidates}
        """Node -> the sorted members of its cluster, one list a cluster."""
        self.ring: dict[str, shapely.Geometry] = {}
        """Node on a ring -> the area of the ring."""
        self.layers: dict[str, set[int]] = defaultdict(set)
        rings = nx.Graph()
        for street in streets:
            self.layers[street.start].add(street.links[0].layer)
            self.layers[street.end].add(street.links[-1].layer)
            if street.ring:
                rings.add_edge(street.start, street.end)
        lines: dict[str, list[np.ndarray]] = defaultdict(list)
        for street in streets:
            if street.ring:
                lines[street.start].append(street.line)
        for ring in nx.connected_components(rings):
            area = shapely.MultiPoint(np.concatenate([line for node in ring for line in lines[node]])).convex_hull
            members = sorted(ring & self.of.keys(), key=node_order)
            for node in members:
                self.of[node], self.ring[node] = members, area

    def join(self, node: str, other: str, largest_m: float, beside_ring_m: float) -> None:
        """Make one of their clusters if that is allowed: no nodes of different layers, at most one ring, none farther than
        ``beside_ring_m`` from it; without a ring none farther apart than ``largest_m``."""
        ours, theirs = self.of[node], self.of[other]
        if ours is theirs or any(self.layers[a].isdisjoint(self.layers[b]) for a in ours for b in theirs):
            return
        members = sorted(ours + theirs, key=node_order)
        rings = [each for each in (ours, theirs) if any(member in self.ring for member in each)]
        if len(rings) == 2:
            return
        if rings:
            area = next(self.ring[member] for member in members if member in self.ring)
            if any(area.distance(shapely.Point(self.place[member])) > beside_ring_m for member in members):
                return
        elif any(math.dist(self.place[a], self.place[b]) > largest_m for a in ours for b in theirs):
            return
        for member in members:
            self.of[member] = members


def islands(
    streets: Sequence[Street],
    place: Mapping[str, np.ndarray],
    candidates: Collection[str],
    around_m: float = ISLAND * MERGE_TOLERANCE_M,
) -> Iterator[list[str]]:
    """Candidates around each area that streets enclose and that is at most so many metres around, the smallest area first."""
    candidates = set(candidates)
    short = [street for street in streets if street.start != street.end and street.length_m <= around_m]
    lines = [
        shapely.LineString([place[street.start], *street.line[1:-1], place[street.end]])
        for street in short
        if street.start in candidates and street.end in candidates
    ]
    at: dict[tuple[float, ...], set[str]] = defaultdict(set)
    for street in short:
        for node in (street.start, street.end):
            at[tuple(place[node].tolist())].add(node)
    areas = [area for area in shapely.get_parts(shapely.polygonize(lines)) if area.length <= around_m]
    for _, members in sorted((round(area.length, 3), _corners(area, at, candidates)) for area in areas):
        if len(members) >= 2:
            yield members


def _corners(area: shapely.Polygon, at: Mapping[tuple[float, ...], set[str]], candidates: set[str]) -> list[str]:
    """The candidates on the outline of an area. None where two nodes share one place, as those of a bridge might."""
    there = [at[position] for position in area.exterior.coords[:-1] if position in at]
    return [] if any(len(nodes) > 1 for nodes in there) else sorted({*set().union(*there)} & candidates, key=node_order)


def near_pairs(
    streets: Sequence[Street],
    place: Mapping[str, np.ndarray],
    candidates: Sequence[str],
    tolerance_m: float = MERGE_TOLERANCE_M,
) -> list[tuple[str, str]]:
    """Pairs of candidates that are near on the ground and along the streets, nearest first (to the millimetre)."""
    roads = nx.Graph()
    for street in streets:
        length_m = max(street.length_m, math.dist(place[street.start], place[street.end]))
        if length_m <= DETOUR * tolerance_m:
            known = roads.get_edge_data(street.start, street.end)
            if known is None or known["length_m"] > length_m:
                roads.add_edge(street.start, street.end, length_m=length_m)
    rank = {node: number for number, node in enumerate(candidates)}
    pairs = []
    for node in candidates:
        if node not in roads:
            continue
        reached = nx.single_source_dijkstra_path_length(roads, node, cutoff=DETOUR * tolerance_m, weight="length_m")
        for other in reached:
            if rank.get(other, -1) > rank[node] and (apart_m := math.dist(place[node], place[other])) <= tolerance_m:
                pairs.append((round(apart_m, 3), rank[node], rank[other]))
    return [(candidates[first], candidates[second]) for _, first, second in sorted(pairs)]
