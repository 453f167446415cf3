"""Which junction candidates are one junction.

Candidates are one junction where they are near each other on the ground *and* along the streets (a bridge does not merge with
the road below it), or lie on one roundabout. Near ones are joined nearest first, and never so that a junction grows beyond
``LARGEST_M``: a row of side roads 18 m apart is a row of junctions, not one of any length (osmnx makes one of it).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import networkx as nx
import numpy as np
import shapely

from kryss.roads.streets import Street

MERGE_TOLERANCE_M = 20.0
"""Candidates at most this far apart are joined (contract: 15 to 25 m; osmnx's default tolerance is half of it, a radius)."""
DETOUR = 2.0
"""... if the way between them along the streets is at most this many times the tolerance."""
LARGEST = 1.5
"""A junction reaches no farther than this many times the tolerance from node to node: the diagonal of a square of two
divided roads whose carriageways are a tolerance apart is 1.41 of it."""


def node_order(node: str) -> tuple[int, int, str]:
    """Sorts node ids as the numbers they are."""
    return (0, int(node), "") if node.isdigit() else (1, 0, node)


def clusters_of(
    streets: Sequence[Street], place: Mapping[str, np.ndarray], tolerance_m: float = MERGE_TOLERANCE_M
) -> list[tuple[str, ...]]:
    """Sorted node ids of each junction, sorted. ``place`` is in metres."""
    ends = Counter(node for street in streets for node in (street.start, street.end))
    candidates = sorted((node for node, count in ends.items() if count >= 3), key=node_order)
    layers: dict[str, set[int]] = defaultdict(set)
    rings = nx.Graph()
    for street in streets:
        layers[street.start].add(street.links[0].layer)
        layers[street.end].add(street.links[-1].layer)
        if street.ring:
            rings.add_edge(street.start, street.end)

    group = {node: [node] for node in candidates}
    ring_of: dict[str, shapely.Geometry] = {}
    for ring in nx.connected_components(rings):
        on_ring = sorted(ring & group.keys(), key=node_order)
        lines = [shapely.LineString(street.line) for street in streets if street.ring and street.start in ring]
        hull = shapely.union_all(lines).convex_hull
        for node in on_ring:
            group[node] = on_ring
            ring_of[node] = hull

    def may_join(ours: list[str], theirs: list[str]) -> bool:
        for node in ours:
            for other in theirs:
                if layers[node].isdisjoint(layers[other]) or (node in ring_of and other in ring_of):
                    return False
                if node in ring_of or other in ring_of:
                    ringed, outside = (node, other) if node in ring_of else (other, node)
                    if ring_of[ringed].distance(shapely.Point(place[outside])) > tolerance_m:
                        return False
                elif math.dist(place[node], place[other]) > LARGEST * tolerance_m and not any(
                    n in ring_of for n in ours + theirs
                ):
                    return False
        return True

    for _, node, other in _near_pairs(streets, place, candidates, tolerance_m):
        ours, theirs = group[node], group[other]
        if ours is not theirs and may_join(ours, theirs):
            joined = sorted(ours + theirs, key=node_order)
            for each in joined:
                group[each] = joined
    return sorted({tuple(members) for members in group.values()}, key=lambda members: node_order(members[0]))


def _near_pairs(
    streets: Sequence[Street], place: Mapping[str, np.ndarray], candidates: Sequence[str], tolerance_m: float
) -> list[tuple[float, str, str]]:
    """Pairs of candidates that are near on the ground and along the streets, nearest first (to the millimetre)."""
    roads = nx.Graph()
    for street in streets:
        length_m = max(street.length_m, math.dist(place[street.start], place[street.end]))
        known = roads.get_edge_data(street.start, street.end)
        if known is None or known["length_m"] > length_m:
            roads.add_edge(street.start, street.end, length_m=length_m)
    rank = {node: number for number, node in enumerate(candidates)}
    pairs = []
    for node in candidates:
        reached = nx.single_source_dijkstra_path_length(roads, node, cutoff=DETOUR * tolerance_m, weight="length_m")
        for other in reached:
            if rank.get(other, -1) > rank[node] and (apart_m := math.dist(place[node], place[other])) <= tolerance_m:
                pairs.append((round(apart_m, 3), rank[node], rank[other]))
    return [(apart_m, candidates[first], candidates[second]) for apart_m, first, second in sorted(pairs)]
