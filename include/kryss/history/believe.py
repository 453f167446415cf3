"""From clusters of sightings to objects with an identity and a life (valid time; see architecture.md, "Two clocks").

Everything but the ids is a pure function of all that was seen and of every photo that looked: nights, their order, reruns and
late uploads cannot matter for it. What was known before only gives the ids, and the reasons of what changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from kryss.history.evidence import Before, Beliefs, Evidence, Load
from kryss.history.identity import identify
from kryss.history.lives import ENDED_BELOW, Life, lives_of
from kryss.history.looking import VISIT_PAUSE_S, Photos, Things, Twins, looks_at, twins
from kryss.history.rates import rates_of
from kryss.history.reasons import reasons_of
from kryss.model import Absence, FusedObject, ObjectStatus, Sighting, StreetObject
from kryss.positioning.fuse import is_confirmed
from kryss.positioning.table import sighting_key

FACING_DECIMALS = 1
HEIGHT_DECIMALS = 2
"""What is believed must not flicker with the last bits of an estimate."""


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
    facing = [_facing_deg(cluster) for cluster in clusters]
    photos = Photos.of(evidence)
    things = Things.of(clusters, facing, photos)
    pairs = list(twins(clusters, things, photos))
    looks = looks_at(things, photos, evidence.surveys, pairs)
    lives = lives_of(looks, rates_of(looks, things, photos), photos, len(clusters), ended_below)
    heirs = _heirs(clusters, pairs, photos, lives)
    objects = [
        _object(cluster, object_id, facing[k], lives[k], photos, named.ids[heirs[k]] if k in heirs else None)
        for k, (cluster, object_id) in enumerate(zip(clusters, named.ids, strict=True))
    ]
    founders = {object_id: _founders(cluster) for object_id, cluster in zip(named.ids, clusters, strict=True)}
    objects.sort(key=lambda one: one.id)
    return Beliefs(objects, named.lineage, reasons_of(objects, before.objects, founders, named.lineage, load))


def _founders(cluster: FusedObject) -> list[str]:
    """The images of its first visit."""
    began = min(one.captured_at for one in cluster.sightings)
    return sorted({s.image_id for s in cluster.sightings if (s.captured_at - began).total_seconds() <= VISIT_PAUSE_S})


def evidence_of(cluster: FusedObject) -> tuple[tuple[str, int], ...]:
    """``(image_id, ordinal)`` of its sightings, sorted."""
    return tuple(sorted({(one.image_id, one.ordinal) for one in cluster.sightings}))


def _heirs(clusters: Sequence[FusedObject], pairs: Sequence[Twins], photos: Photos, lives: Sequence[Life]) -> dict[int, int]:
    """By cluster that ended: the one of another class that was seen in its place next."""
    seen_next: dict[int, tuple[object, int]] = {}
    for a, b, in_turn in pairs:
        for old, new in ((a, b), (b, a)) if in_turn else ():
            last = photos.captured[lives[old].last_seen_at]
            after = [one.captured_at for one in clusters[new].sightings if one.captured_at > last]
            if lives[old].ended_at is not None and after:
                seen_next[old] = min(seen_next.get(old, (min(after), new)), (min(after), new))  # type: ignore[type-var]
    return {old: new for old, (_, new) in seen_next.items()}


def _object(
    cluster: FusedObject, object_id: str, facing_deg: float | None, life: Life, photos: Photos, replaced_by: str | None
) -> StreetObject:
    status: ObjectStatus = "standing" if is_confirmed(cluster) else "unconfirmed"
    if life.ended_at is not None:
        status = "ended"
    model_keys = sorted({one.model_key for one in cluster.sightings})
    methods = sorted({f"{one.method}/{one.pose_origin}" for one in cluster.sightings})
    return StreetObject(
        id=object_id,
        class_name=cluster.class_name,
        lon=cluster.lon,
        lat=cluster.lat,
        covariance=cluster.covariance,
        error_radius_m=cluster.error_radius_m,
        first_seen_at=photos.captured[life.first_seen_at],
        last_seen_at=photos.captured[life.last_seen_at],
        status=status,
        standing_probability=life.standing_probability,
        ended_at=None if life.ended_at is None else photos.captured[life.ended_at],
        evidence=evidence_of(cluster),
        misses=_ids(life.misses, photos),
        facing_deg=facing_deg,
        model_key=",".join(model_keys),
        method=",".join(methods),
        height_m=_rounded(cluster.height_m, HEIGHT_DECIMALS),
        height_sigma_m=_rounded(cluster.height_sigma_m, HEIGHT_DECIMALS),
        began_after=None if life.began_after is None else photos.captured[life.began_after],
        absences=tuple(Absence(*(photos.captured[photo] for photo in one)) for one in life.absences),
        replaced_by=replaced_by,
        image_id=_best_photo(cluster),
    )


def _best_photo(cluster: FusedObject) -> str | None:
    """The photo taken from nearest by, of those in which it was read as its class, if any; the first by id of equals."""
    shrink = np.cos(np.radians(cluster.lat))

    def rank(one: Sighting) -> tuple[bool, float, str]:
        east, north = (one.camera_lon - cluster.lon) * shrink, one.camera_lat - cluster.lat
        return one.class_name != cluster.class_name, float(east * east + north * north), one.image_id

    return min(cluster.sightings, key=rank).image_id if cluster.sightings else None


def _ids(rows: Iterable[int], photos: Photos) -> tuple[str, ...]:
    return tuple(photos.ids[row] for row in rows)


def _rounded(value: float | None, decimals: int) -> float | None:
    return None if value is None else round(float(value), decimals)


def _facing_deg(cluster: FusedObject) -> float | None:
    """Where its front looks: as positioning says, else the direction from which it was seen (a sign is read from its front).

    None where views contradict each other.
    """
    if cluster.facing_deg is not None:
        return round(float(cluster.facing_deg), FACING_DECIMALS) % 360.0
    toward = np.radians([one.bearing_deg + 180.0 for one in cluster.sightings])
    east, north = float(np.sin(toward).mean()), float(np.cos(toward).mean())
    if np.hypot(east, north) < 0.5:
        return None
    return round(float(np.degrees(np.arctan2(east, north)) % 360.0), FACING_DECIMALS) % 360.0
