"""From clusters of sightings to objects with an identity and a life (valid time; see architecture.md, "Two clocks").

Everything but the ids is a pure function of all that was seen and of every photo that looked: nights, their order, reruns and
late uploads cannot matter for it. What was known before only gives the ids, and the reasons of what changed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from kryss.history.evidence import Before, Beliefs, Evidence, Load
from kryss.history.identity import identify
from kryss.history.looking import ENDED_BELOW, Looks, Verdict, judge
from kryss.history.reasons import reasons_of
from kryss.model import FusedObject, ObjectStatus, StreetObject
from kryss.positioning.frame import frame_for, wrap_deg
from kryss.positioning.fuse import is_confirmed
from kryss.positioning.table import family, sighting_key

SAME_FRONT_DEG = 60.0
FACING_DECIMALS = 1
HEIGHT_DECIMALS = 2
"""What is believed must not flicker with the last bits of an estimate."""
TWIN_M = 4.0
"""Another class of one family this close by, seen only later, is the sign that came in its place."""
MOVED_CHI2 = 9.2


def believe(
    evidence: Evidence, before: Before | None = None, load: Load | None = None, *, ended_below: float = ENDED_BELOW
) -> Beliefs:
    """What is believed now.

    ``ended_below``: an object is over when the probability that it still stands falls below this. Believing again with the
    result as what was known, and a ``load`` that brings nothing, changes nothing.
    """
    before, load = before or Before(), load or Load()
    clusters = sorted(evidence.objects, key=lambda one: (sighting_key(one.sightings[0]), one.class_name))
    models = {image.id: key for key in sorted(evidence.looks) for image in evidence.looks[key]}
    named = identify(clusters, models, before, load)
    seen_by = Looks.of((image for key in sorted(evidence.looks) for image in evidence.looks[key]), evidence.poses)
    successors = _successors(clusters)
    objects = [
        _object(cluster, object_id, judge(cluster, seen_by, successors.get(index, ()), ended_below))
        for index, (cluster, object_id) in enumerate(zip(clusters, named.ids, strict=True))
    ]
    founders = {object_id: [cluster.sightings[0].image_id] for object_id, cluster in zip(named.ids, clusters, strict=True)}
    objects.sort(key=lambda one: one.id)
    return Beliefs(objects, named.lineage, reasons_of(objects, before.objects, founders, named.lineage, load))


def evidence_of(cluster: FusedObject) -> tuple[tuple[str, int], ...]:
    """``(image_id, ordinal)`` of its sightings, sorted."""
    return tuple(sorted({(one.image_id, one.ordinal) for one in cluster.sightings}))


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


def _matrix(covariance: tuple[float, float, float]) -> NDArray[np.float64]:
    east, cross, north = covariance
    return np.array([[east, cross], [cross, north]])
