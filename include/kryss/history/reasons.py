"""Why what is believed of an object changed: the street did, the evidence did, or another model looked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from kryss.history.evidence import Load
from kryss.model import Lineage, Reason, StreetObject


def reasons_of(
    objects: Iterable[StreetObject],
    before: Iterable[StreetObject],
    founders: Mapping[str, Sequence[str]],
    lineage: Iterable[Lineage],
    load: Load,
) -> dict[str, Reason]:
    """By id, for each object that is new or believed otherwise than before.

    ``founders``: by object id, the images of its first visit. The street changed only where photos that nobody had looked at
    before this load say so; what they merely refine is evidence.
    """
    was = {one.id: one for one in before}
    new, again = set(load.new), load.again.keys()
    events = {event.object_id: event.reason for event in lineage}
    reasons: dict[str, Reason] = {}
    replaced: list[StreetObject] = []
    for now in objects:
        then = was.get(now.id)
        if now == then:
            continue
        if then is None:
            reasons[now.id] = events.get(now.id) or _of_new(now, founders[now.id], new, again)
        elif _went(then, now, new) or _came_back(then, now, new):
            reasons[now.id] = "street"
        else:
            reasons[now.id] = "model" if _photos(then, now) & again else "evidence"
            if now.replaced_by is not None and now.replaced_by != then.replaced_by:
                replaced.append(now)
    for now in replaced:
        if now.replaced_by is not None and reasons.get(now.replaced_by) == "street":
            reasons[now.id] = "street"
    return reasons


def _of_new(now: StreetObject, founders: Sequence[str], new: Collection[str], again: Collection[str]) -> Reason:
    if now.began_after is not None and all(image_id in new for image_id in founders):
        return "street"
    return "model" if any(image_id in again for image_id in founders) else "evidence"


def _went(then: StreetObject, now: StreetObject, new: Collection[str]) -> bool:
    return then.ended_at is None and now.ended_at is not None and any(image_id in new for image_id in now.misses)


def _came_back(then: StreetObject, now: StreetObject, new: Collection[str]) -> bool:
    """It was seen again by new photos after it was believed to have gone, or, as is believed only now, had been away."""
    was_gone = then.ended_at is not None and now.ended_at is None
    was_away = any(absence.back_by > then.last_seen_at for absence in now.absences)
    seen_again = now.last_seen_at > then.last_seen_at and any(image_id in new for image_id, _ in now.evidence)
    return (was_gone or was_away) and seen_again


def _photos(*versions: StreetObject) -> set[str]:
    return {image_id for one in versions for image_id in (*(photo for photo, _ in one.evidence), *one.misses)}
