"""From clusters of sightings to objects with an identity and a life (valid time; see architecture.md, "Two clocks").

A pure function of everything that was seen, every photo that looked, and the ids that are already taken: believing again
with the result as what is known changes nothing.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from kryss.history.looking import ENDED_BELOW, Looks, Verdict, judge
from kryss.model import FusedObject, Image, ObjectStatus, StreetObject
from kryss.positioning.frame import frame_for, wrap_deg
from kryss.positioning.fuse import is_confirmed
from kryss.positioning.poses import TrustedPose
from kryss.positioning.table import family, sighting_key

SAME_FRONT_DEG = 60.0
OBJECT_NAMESPACE = uuid.UUID("6f0d3f0e-6c4e-5d0c-9a5e-3f6b2b8a7c11")
"""Of Kryss's object ids; must never change."""
FACING_DECIMALS = 1
HEIGHT_DECIMALS = 2
"""What is believed must not flicker with the last bits of an estimate."""
TWIN_M = 4.0
"""Another class of one family this close by, seen only later, is the sign that came in its place."""
MOVED_CHI2 = 9.2
MOVED_M = 10.0
"""A cluster without any known sighting takes the id of an object without a cluster only this close by."""


def believe(
    fused: Sequence[FusedObject],
    looks: Iterable[Image],
    poses: Mapping[str, TrustedPose],
    known: Sequence[StreetObject],
    *,
    model_key: str | None = None,
    ended_below: float = ENDED_BELOW,
) -> list[StreetObject]:
    """The objects that are believed now, sorted by id.

    ``fused``: clusters of *all* sightings. ``looks``: every photo that was searched with success, whether it showed
    anything or not; those without an entry in ``poses`` count for nothing. ``known``: what was believed before.
    A known object that no cluster continues is kept as it was: losing the evidence is not an end. Left out (the store withdraws
    it) is one whose evidence other clusters have taken over, as two objects turned out to be one; and one that ``model_key``,
    the model of all these looks, made of them: weighed with all that is known now, its sightings show nothing that stands.
    ``ended_below``: an object is over when the probability that it still stands falls below this.
    """
    clusters = sorted(fused, key=lambda one: (sighting_key(one.sightings[0]), one.class_name))
    ids = _identities(clusters, known)
    looks = list(looks)
    seen_by = Looks.of(looks, poses)
    successors = _successors(clusters)
    objects = [
        _object(cluster, object_id, judge(cluster, seen_by, successors.get(index, ()), ended_below))
        for index, (cluster, object_id) in enumerate(zip(clusters, ids, strict=True))
    ]
    continued, taken = set(ids), {key for cluster in clusters for key in _keys(cluster)}
    searched = {image.id for image in looks}
    objects += [
        one
        for one in known
        if one.id not in continued
        and not taken.intersection(_known_keys(one))
        and not (one.model_key == model_key and searched.issuperset(image_id for image_id, _ in one.evidence))
    ]
    return sorted(objects, key=lambda one: one.id)


def evidence_of(cluster: FusedObject) -> tuple[tuple[str, int], ...]:
    """``(image_id, ordinal)`` of its sightings, sorted."""
    return tuple(sorted({(one.image_id, one.ordinal) for one in cluster.sightings}))


def _keys(cluster: FusedObject) -> set[tuple[str, str, int]]:
    """Evidence with its model: ordinal 0 of another model's detections in the same photo is another box."""
    return {(one.model_key, one.image_id, one.ordinal) for one in cluster.sightings}


def _known_keys(one: StreetObject) -> set[tuple[str, str, int]]:
    return {(model_key, image_id, ordinal) for model_key in one.model_key.split(",") for image_id, ordinal in one.evidence}


def _object(cluster: FusedObject, object_id: str, verdict: Verdict) -> StreetObject:
    status: ObjectStatus = "ended" if verdict.ended_at else "standing" if is_confirmed(cluster) else "unconfirmed"
    model_keys = sorted({one.model_key for one in cluster.sightings})
    methods = sorted({f"{one.method}/{one.pose_origin}" for one in cluster.sightings})
    return StreetObject(
        id=object_id,
        class_name=cluster.class_name,
        lon=cluster.lon,
        lat=cluster.lat,
        covariance=cluster.covariance,
        error_radius_m=cluster.error_radius_m,
        first_seen_at=min(one.captured_at for one in cluster.sightings),
        last_seen_at=max(one.captured_at for one in cluster.sightings),
        status=status,
        standing_probability=verdict.standing_probability,
        ended_at=verdict.ended_at,
        evidence=evidence_of(cluster),
        misses=verdict.misses,
        facing_deg=_facing_deg(cluster),
        model_key=",".join(model_keys),
        method=",".join(methods),
        height_m=_rounded(cluster.height_m, HEIGHT_DECIMALS),
        height_sigma_m=_rounded(cluster.height_sigma_m, HEIGHT_DECIMALS),
    )


def _rounded(value: float | None, decimals: int) -> float | None:
    return None if value is None else round(float(value), decimals)


def _successors(clusters: Sequence[FusedObject]) -> dict[int, set[str]]:
    """By cluster: the photos that show another class of its family in its place, if that came only after it was last seen."""
    if len(clusters) < 2:
        return {}
    lons, lats = [one.lon for one in clusters], [one.lat for one in clusters]
    xy = frame_for(lons, lats).to_xy(lons, lats)
    found: dict[int, set[str]] = {}
    for a, b in sorted(cKDTree(xy).query_pairs(TWIN_M)):
        # Clusters are in the order of their first sighting.
        old, new = clusters[a], clusters[b]
        apart = xy[a] - xy[b]
        same_place = float(apart @ np.linalg.solve(_matrix(old.covariance) + _matrix(new.covariance), apart)) < MOVED_CHI2
        kin = (
            old.class_name != new.class_name
            and family(old.class_name) is not None
            and family(old.class_name) == family(new.class_name)
        )
        facing, faced = _facing_deg(old), _facing_deg(new)
        same_side = facing is not None and faced is not None and abs(float(wrap_deg(facing - faced))) <= SAME_FRONT_DEG
        after = min(one.captured_at for one in new.sightings) > max(one.captured_at for one in old.sightings)
        if same_place and kin and same_side and after:
            found.setdefault(a, set()).update(one.image_id for one in new.sightings)
    return found


def _facing_deg(cluster: FusedObject) -> float | None:
    """Where its front looks: as positioning says, else the direction from which it was seen (a sign is read from its front).

    None where views contradict each other.
    """
    if cluster.facing_deg is not None:
        return round(float(cluster.facing_deg), FACING_DECIMALS) % 360.0
    toward = np.radians([one.bearing_deg + 180.0 for one in cluster.sightings])
    east, north = float(np.sin(toward).mean()), float(np.cos(toward).mean())
    return (
        None
        if np.hypot(east, north) < 0.5
        else round(float(np.degrees(np.arctan2(east, north)) % 360.0), FACING_DECIMALS) % 360.0
    )


def _identities(clusters: Sequence[FusedObject], known: Sequence[StreetObject]) -> list[str]:
    """An id for each cluster: by common evidence first, then by place, then a new one from its earliest sighting."""
    ids = _by_evidence(clusters, known)
    ids |= _by_place(clusters, known, ids)
    used = {one.id for one in known} | set(ids.values())
    for index, cluster in enumerate(clusters):
        if index not in ids:
            ids[index] = _new_id(cluster, used)
            used.add(ids[index])
    return [ids[index] for index in range(len(clusters))]


def _by_evidence(clusters: Sequence[FusedObject], known: Sequence[StreetObject]) -> dict[int, str]:
    """One to one, the largest overlap first; where two are equal the same class, then the older id holder, wins."""
    holders: dict[tuple[str, str, int], list[int]] = {}
    for index, one in enumerate(known):
        for key in _known_keys(one):
            holders.setdefault(key, []).append(index)
    overlaps = [
        (-common, known[holder].class_name != cluster.class_name, known[holder].first_seen_at, known[holder].id, index)
        for index, cluster in enumerate(clusters)
        for holder, common in Counter(h for key in _keys(cluster) for h in holders.get(key, ())).items()
    ]
    return _one_to_one((object_id, index) for *_, object_id, index in sorted(overlaps))


def _by_place(clusters: Sequence[FusedObject], known: Sequence[StreetObject], ids: Mapping[int, str]) -> dict[int, str]:
    """Clusters of new evidence at the place of an object of their class that has lost all of its own."""
    taken = set(ids.values())
    free = [one for one in known if one.id not in taken]
    waiting = [index for index in range(len(clusters)) if index not in ids]
    if not free or not waiting:
        return {}
    places = [(clusters[index].lon, clusters[index].lat) for index in waiting] + [(one.lon, one.lat) for one in free]
    xy = frame_for([lon for lon, _ in places], [lat for _, lat in places]).to_xy(*zip(*places, strict=True))
    tree = cKDTree(xy[len(waiting) :])
    pairs = []
    for row, index in enumerate(waiting):
        for other in tree.query_ball_point(xy[row], MOVED_M):
            apart = xy[row] - xy[len(waiting) + other]
            spread = _matrix(clusters[index].covariance) + _matrix(free[other].covariance)
            chi2 = float(apart @ np.linalg.solve(spread, apart))
            if free[other].class_name == clusters[index].class_name and chi2 < MOVED_CHI2:
                pairs.append((float(np.hypot(*apart)), free[other].id, index))
    return _one_to_one((object_id, index) for _, object_id, index in sorted(pairs))


def _one_to_one(pairs: Iterable[tuple[str, int]]) -> dict[int, str]:
    """The first claim on each id and by each cluster."""
    matched: dict[int, str] = {}
    claimed: set[str] = set()
    for object_id, index in pairs:
        if index not in matched and object_id not in claimed:
            matched[index] = object_id
            claimed.add(object_id)
    return matched


def _matrix(covariance: tuple[float, float, float]) -> NDArray[np.float64]:
    east, cross, north = covariance
    return np.array([[east, cross], [cross, north]])


def _new_id(cluster: FusedObject, used: set[str]) -> str:
    """From the class and the earliest sighting, and never one that was given to another object."""
    first = cluster.sightings[0]
    name = f"{cluster.class_name}|{first.captured_at.isoformat()}|{first.image_id}|{first.ordinal}"
    object_id, again = str(uuid.uuid5(OBJECT_NAMESPACE, name)), 1
    while object_id in used:
        again += 1
        object_id = str(uuid.uuid5(OBJECT_NAMESPACE, f"{name}|{again}"))
    return object_id
