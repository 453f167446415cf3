"""Which thing keeps which id, and what becomes of the ids that no thing keeps.

An id goes with the evidence: to the cluster that holds most of it, box by box; where another model has looked at a photo, by
the box of the new model that overlaps the old one most. One id, one cluster, the largest overlap first. What has no common
evidence with anything known is known by its place, or is new. No id is ever given to another thing.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from kryss.history.evidence import Before, EvidenceKey, Load
from kryss.model import Box, FusedObject, Lineage, Reason, StreetObject
from kryss.positioning.frame import frame_for

OBJECT_NAMESPACE = uuid.UUID("6f0d3f0e-6c4e-5d0c-9a5e-3f6b2b8a7c11")
"""Of Kryss's object ids; must never change."""
SAME_BOX_IOU = 1 / 3
"""Boxes of two models that overlap more, intersection over union, show one thing."""
SAME_PLACE_CHI2 = 9.2
"""99 % of positions of one thing are closer (two degrees of freedom)."""
SAME_PLACE_M = 10.0
"""A cluster without any known sighting takes the id of an object without a cluster only this close by."""

Overlaps = dict[int, Counter[int]]
"""By known object, how many of its boxes are in which cluster."""


@dataclass(frozen=True)
class Identities:
    """Ids of clusters, in their order, and the events in the lives of ids."""

    ids: list[str]
    lineage: list[Lineage]


def identify(clusters: Sequence[FusedObject], models: Mapping[str, str], before: Before, load: Load) -> Identities:
    """``clusters`` in the order of :func:`believe`; ``models``: the effective model of each photo."""
    holders = {key: index for index, cluster in enumerate(clusters) for key in keys_of(cluster)}
    heirs = _heirs(holders, models, load)
    known = sorted(before.objects, key=lambda one: one.id)
    overlaps = _overlaps(known, holders, heirs, models, load)
    ids = _by_evidence(clusters, known, overlaps, {})
    renamed = [one for one in sorted(before.withdrawn, key=lambda one: one.id) if one.id not in {each.id for each in known}]
    ids |= _by_evidence(clusters, renamed, _overlaps(renamed, holders, heirs, models, load), ids)
    lost = [one for number, one in enumerate(known) if not overlaps[number]]
    parts = {index for count in overlaps for index in count}
    ids |= _by_place(clusters, [index for index in range(len(clusters)) if index not in parts], [*lost, *renamed], ids)
    used = {one.id for one in known} | {one.id for one in renamed} | set(ids.values()) | set(before.ever)
    for index, cluster in enumerate(clusters):
        if index not in ids:
            ids[index] = _new_id(cluster, used)
            used.add(ids[index])
    in_order = [ids[index] for index in range(len(clusters))]
    return Identities(in_order, _lineage(in_order, known, overlaps, load))


def keys_of(cluster: FusedObject) -> set[EvidenceKey]:
    """Its evidence with the model of each box."""
    return {(one.model_key, one.image_id, one.ordinal) for one in cluster.sightings}


def _known_keys(one: StreetObject, models: Mapping[str, str], load: Load) -> Iterator[EvidenceKey]:
    """Objects do not say which of their models made which box: it was the photo's effective one of that time."""
    own = one.model_key.split(",")
    for image_id, ordinal in one.evidence:
        then = load.again.get(image_id) or models.get(image_id)
        yield from ((key, image_id, ordinal) for key in ([then] if then in own else own) if key is not None)


def _heirs(holders: Mapping[EvidenceKey, int], models: Mapping[str, str], load: Load) -> dict[EvidenceKey, int]:
    """By box of the model that looked before: the cluster that has the box of the present model there."""
    by_photo: dict[str, list[tuple[EvidenceKey, Box]]] = {}
    for one in sorted(load.boxes, key=lambda box: (box.image_id, box.model_key, box.ordinal)):
        by_photo.setdefault(one.image_id, []).append(((one.model_key, one.image_id, one.ordinal), one.box))
    found: dict[EvidenceKey, int] = {}
    for image_id, boxes in by_photo.items():
        now = [(key, box) for key, box in boxes if key[0] == models.get(image_id) and key in holders]
        pairs = sorted(
            (-overlap, old, key)
            for old, old_box in boxes
            if old[0] != models.get(image_id)
            for key, box in now
            if (overlap := _iou(old_box, box)) > SAME_BOX_IOU
        )
        taken: set[tuple[str, EvidenceKey]] = set()
        for _, old, key in pairs:
            if old not in found and (old[0], key) not in taken:
                found[old] = holders[key]
                taken.add((old[0], key))
    return found


def _iou(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / both if both > 0 else 0.0


def _overlaps(
    known: Sequence[StreetObject],
    holders: Mapping[EvidenceKey, int],
    heirs: Mapping[EvidenceKey, int],
    models: Mapping[str, str],
    load: Load,
) -> list[Counter[int]]:
    """For each known object, how many of its boxes are in which cluster."""
    overlaps = []
    for one in known:
        count: Counter[int] = Counter()
        for key in _known_keys(one, models, load):
            holder = holders.get(key, heirs.get(key))
            if holder is not None:
                count[holder] += 1
        overlaps.append(count)
    return overlaps


def _by_evidence(
    clusters: Sequence[FusedObject], known: Sequence[StreetObject], overlaps: Sequence[Counter[int]], ids: Mapping[int, str]
) -> dict[int, str]:
    """One to one, the largest overlap first; where two are equal the same class, then the older id holder, wins."""
    claims = sorted(
        (-common, one.class_name != clusters[index].class_name, one.first_seen_at, one.id, index)
        for one, count in zip(known, overlaps, strict=True)
        for index, common in count.items()
        if index not in ids
    )
    return _one_to_one((object_id, index) for *_, object_id, index in claims)


def _by_place(
    clusters: Sequence[FusedObject], new: Sequence[int], lost: Sequence[StreetObject], ids: Mapping[int, str]
) -> dict[int, str]:
    """Clusters of new evidence at the place of an object of their class that has lost all of its own."""
    taken = set(ids.values())
    free = [one for one in lost if one.id not in taken]
    waiting = [index for index in new if index not in ids]
    if not free or not waiting:
        return {}
    places = [(clusters[index].lon, clusters[index].lat) for index in waiting] + [(one.lon, one.lat) for one in free]
    xy = frame_for([lon for lon, _ in places], [lat for _, lat in places]).to_xy(*zip(*places, strict=True))
    tree = cKDTree(xy[len(waiting) :])
    pairs = []
    for row, index in enumerate(waiting):
        for other in tree.query_ball_point(xy[row], SAME_PLACE_M):
            apart = xy[row] - xy[len(waiting) + other]
            if (
                free[other].class_name == clusters[index].class_name
                and chi2(apart, clusters[index], free[other]) < SAME_PLACE_CHI2
            ):
                pairs.append((float(np.hypot(*apart)), free[other].id, index))
    return _one_to_one((object_id, index) for _, object_id, index in sorted(pairs))


def chi2(apart: np.ndarray, a: FusedObject | StreetObject, b: FusedObject | StreetObject) -> float:
    """Squared distance ``apart`` (2,) metres in standard deviations of both positions."""
    east, cross, north = np.add(a.covariance, b.covariance)
    return float(apart @ np.linalg.solve([[east, cross], [cross, north]], apart))


def _one_to_one(pairs: Iterable[tuple[str, int]]) -> dict[int, str]:
    """The first claim on each id and by each cluster."""
    matched: dict[int, str] = {}
    claimed: set[str] = set()
    for object_id, index in pairs:
        if index not in matched and object_id not in claimed:
            matched[index] = object_id
            claimed.add(object_id)
    return matched


def _new_id(cluster: FusedObject, used: Collection[str]) -> str:
    """From the class and the earliest sighting, and never one that was given to another object."""
    first = cluster.sightings[0]
    name = f"{cluster.class_name}|{first.captured_at.isoformat()}|{first.image_id}|{first.ordinal}"
    object_id, again = str(uuid.uuid5(OBJECT_NAMESPACE, name)), 1
    while object_id in used:
        again += 1
        object_id = str(uuid.uuid5(OBJECT_NAMESPACE, f"{name}|{again}"))
    return object_id


def _lineage(ids: Sequence[str], known: Sequence[StreetObject], overlaps: Sequence[Counter[int]], load: Load) -> list[Lineage]:
    """An event for each known id that no cluster has now, and for each cluster that was part of another one's evidence."""
    continued, events = set(ids), []
    parents: dict[int, tuple[int, str]] = {}
    removed, again = set(load.removed), load.again.keys()
    before = {one.id for one in known}
    for one, count in zip(known, overlaps, strict=True):
        photos = {image_id for image_id, _ in one.evidence}
        reason: Reason = "model" if photos & again else "evidence"
        if one.id in continued:
            for index, common in count.items():
                if ids[index] not in before:
                    parents[index] = min(parents.get(index, (0, "~")), (-common, one.id))
        elif count:
            heir = min(count, key=lambda index: (-count[index], index))
            events.append(Lineage(one.id, "merged_into", ids[heir], reason))
        else:
            # The store has forgotten removed photos by now: an object may have lost all of its evidence with them.
            lost = bool(photos & removed) or not photos
            events.append(Lineage(one.id, "lost_evidence" if lost else "unsupported", None, "evidence" if lost else reason))
    by_id = {one.id: one for one in known}
    for index, (_, parent) in parents.items():
        again_looked = any(image_id in again for image_id, _ in by_id[parent].evidence)
        events.append(Lineage(ids[index], "split_from", parent, "model" if again_looked else "evidence"))
    return sorted(events, key=lambda event: (event.object_id, event.relation, event.other_id or ""))
