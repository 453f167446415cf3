"""Which junction of the network of today is which known one.

An id names a junction for good; its source changes under it: nodes are added to a crossing, the smallest one goes, links are
split, a crossing becomes a roundabout of new nodes. So a junction keeps its id as long as it shares a node with what was
known of it, and where a source gave all its nodes new numbers, as long as it stands where it stood. New junctions are called
after their smallest node; an id that another junction ever had is never given again: ``osm:17`` is followed by ``osm:17.2``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

import shapely

from kryss.model import Intersection
from kryss.roads.areas import ground_distance_m, metres_per_degree

MOVED_M = 30.0
"""A junction whose nodes all have new numbers is the known one if its centre is at most this far from where it was."""


def keep_ids(found: Iterable[Intersection], known: Iterable[Intersection]) -> list[Intersection]:
    """The junctions found, in their order, with the ids of those that are known.

    ``known``: every junction that ever had an id, as it was last believed; those that are gone keep theirs for the day on which
    they come back. Each found junction takes the known one that it shares the most nodes with, each known one is taken once.
    Of equal shares goes first the one that is the larger part of both, then the smaller id. What then has no id and shares no
    node with any known junction takes the id of the nearest known one of its source that has no node left in the network,
    within ``MOVED_M`` (junctions from a file are named by the file, and only by it).
    """
    found = list(found)
    known = list(known)
    kept: dict[str, str] = {}
    taken: set[str] = set()
    for _, identity, given in sorted([*_by_members(found, known), *_by_place(found, known)]):
        if given not in kept and identity not in taken:
            kept[given] = identity
            taken.add(identity)
    ever = {junction.id for junction in known}
    named = []
    for junction in found:
        identity = kept.get(junction.id) or _new_id(junction.id, ever)
        ever.add(identity)
        named.append(junction if identity == junction.id else replace(junction, id=identity))
    return named


Rank = tuple[int, float, float]
"""What is matched first: the smallest. Matches are ``(rank, known id, id given by the source)``."""


def _by_members(found: list[Intersection], known: list[Intersection]) -> Iterator[tuple[Rank, str, str]]:
    holding: dict[tuple[str, str], list[Intersection]] = defaultdict(list)
    for junction in known:
        for member in junction.members:
            holding[junction.source, member].append(junction)
    for junction in found:
        candidates = {other.id: other for member in junction.members for other in holding[junction.source, member]}
        for identity, other in candidates.items():
            shared = len(set(junction.members) & set(other.members))
            together = len(set(junction.members) | set(other.members))
            yield (0, -shared, -shared / together), identity, junction.id


def _by_place(found: list[Intersection], known: list[Intersection]) -> Iterator[tuple[Rank, str, str]]:
    today = {(junction.source, member) for junction in found for member in junction.members}
    before = {(junction.source, member) for junction in known for member in junction.members}
    gone = [other for other in known if other.source != "area" and not any((other.source, m) in today for m in other.members)]
    new = [junction for junction in found if not any((junction.source, m) in before for m in junction.members)]
    tree = shapely.STRtree([shapely.Point(other.lon, other.lat) for other in gone])
    for junction in new:
        east_m, north_m = metres_per_degree(junction.lat)
        near = shapely.box(
            *(at + sign * MOVED_M / m for sign in (-1, 1) for at, m in ((junction.lon, east_m), (junction.lat, north_m)))
        )
        for other in (gone[index] for index in tree.query(near)):
            distance_m = ground_distance_m(junction.lon, junction.lat, other.lon, other.lat)
            if other.source == junction.source and distance_m <= MOVED_M:
                yield (1, round(distance_m, 2), 0.0), other.id, junction.id


def _new_id(wanted: str, ever: set[str]) -> str:
    number = 1
    identity = wanted
    while identity in ever:
        number += 1
        identity = f"{wanted}.{number}"
    return identity
