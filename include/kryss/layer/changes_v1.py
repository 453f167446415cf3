"""What changed between two releases of the layer, by object id.

Every object is told once, under the strongest of: ``replaced``, ``added``, ``removed``, ``ended``, ``returned``, ``merged``,
``split``, ``changed``, ``moved``, ``reworked``, ``refined``. ``merged`` and ``split`` are about identity: two objects turned out
to be one, or one to be two. ``changed`` and ``moved`` are about what is known; ``reworked``: another model has looked, and
nothing else is told of it; ``refined``: only evidence, dates and certainty differ.

Every entry says why (`kryss.layer.since`): ``street``, ``model``, ``evidence`` or ``roads``; None where only the two layers are
known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from kryss.layer.geojson import Json, distance_m
from kryss.layer.since import ROADS, Since
from kryss.model import StreetObject

MOVED_M = 0.5
FACTS = ("class", "object_type", "assumed_size_m", "status", "facing_deg", "intersection_id")
"""What counts as ``changed``. ``facing_deg`` only beyond 10 degrees: it is an estimate."""
PAIRS = ("replaced", "merged", "split")
"""Lists whose entries are two objects, ``before`` and ``after``."""
GONE = {
    "lost_evidence": "its photos were removed",
    "unsupported": "weighed anew, its photos show nothing that stands",
    ROADS: "no intersection holds it now",
}


@dataclass(frozen=True, slots=True)
class Changes:
    """Lists of plain JSON entries, each sorted by object id (`PAIRS`: of the one ``before``)."""

    replaced: list[Json] = field(default_factory=list)
    added: list[Json] = field(default_factory=list)
    removed: list[Json] = field(default_factory=list)
    ended: list[Json] = field(default_factory=list)
    returned: list[Json] = field(default_factory=list)
    merged: list[Json] = field(default_factory=list)
    split: list[Json] = field(default_factory=list)
    changed: list[Json] = field(default_factory=list)
    moved: list[Json] = field(default_factory=list)
    reworked: list[Json] = field(default_factory=list)
    """``id`` and ``model``."""
    refined: list[str] = field(default_factory=list)
    intersections_added: list[str] = field(default_factory=list)
    intersections_removed: list[str] = field(default_factory=list)
    intersections_changed: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        return {item.name: len(getattr(self, item.name)) for item in fields(self)}

    def told(self) -> Iterator[tuple[str, Json, str]]:
        """``(kind, entry, line)`` of what is told one by one, the street first."""
        added = sorted(self.added, key=lambda item: item["status"] == "unconfirmed")
        told = (
            ("replaced", self.replaced, _replaced_line),
            ("added", added, _added_line),
            ("ended", self.ended, _ended_line),
            ("returned", self.returned, _returned_line),
            ("merged", self.merged, _merged_line),
            ("split", self.split, _split_line),
            ("removed", self.removed, _removed_line),
            ("changed", self.changed, _changed_line),
            ("moved", self.moved, _moved_line),
        )
        for kind, entries, line in told:
            for entry in entries:
                yield kind, entry, line(entry)

    def lines(self) -> list[str]:
        """The same for people, one line each; reworked objects are counted, merely refined ones are not told."""
        return [*(line for _, _, line in self.told()), *self.reworked_lines()]

    def reworked_lines(self) -> list[str]:
        """How many objects each model worked out anew."""
        lines = []
        for model, number in sorted(Counter(str(item["model"]) for item in self.reworked).items()):
            objects = f"{number} object{'s were' if number > 1 else ' was'}"
            lines.append(f"{objects} worked out anew by model {model}; the street did not change")
        return lines

    def reasons(self) -> dict[str, int]:
        """How many entries each reason has."""
        entries = [*(entry for _, entry, _ in self.told()), *self.reworked]
        return dict(sorted(Counter(entry["reason"] for entry in entries if entry["reason"]).items()))

    def document(self) -> Json:
        lists = {item.name: getattr(self, item.name) for item in fields(self)}
        return {**lists, "counts": self.counts(), "reasons": self.reasons(), "summary": self.lines()}


def objects_of(collection: Json | None) -> Iterator[Json]:
    """Every object of the layer with ``lon``, ``lat`` and ``intersection_id`` beside its properties."""
    for item in (collection or {}).get("features", ()):
        points = item["geometry"]["geometries"][1:]
        for entry, point in zip(item["properties"]["objects"], points, strict=True):
            lon, lat = point["coordinates"]
            yield {**entry, "lon": lon, "lat": lat, "intersection_id": item["id"]}


def diff(previous: Json | None, new: Json, since: Since | None = None) -> Changes:
    """What ``new`` says that ``previous`` did not. Without a previous release every object is ``added``."""
    since = since or Since()
    before = {item["id"]: item for item in objects_of(previous)}
    after = {item["id"]: item for item in objects_of(new)}
    changes = Changes()
    _compare_intersections(changes, previous, new)
    for key in sorted(before.keys() - after.keys()):
        _tell_missing(changes, before[key], after, since)
    appeared = after.keys() - before.keys()
    went = {key for key in after.keys() & before.keys() if _is_ended(after[key]) and not _is_ended(before[key])}
    told: set[str] = set()
    if previous is not None:
        for gone in sorted(after):
            come = str(after[gone].get("replaced_by"))
            if come in after and (gone in went or come in appeared) and not told & {gone, come}:
                told |= {gone, come}
                why = since.reason(gone, _ended) if gone in went else since.reason(come, _there)
                changes.replaced.append(_pair(after[gone], after[come], why))
    origins = {key: _without_photo(item) for key, item in before.items()} | after
    for key in sorted(after.keys() - told):
        if key in appeared:
            _tell_new(changes, after[key], origins, since)
        elif key in went:
            changes.ended.append(_brief(after[key], since.reason(key, _ended)))
        elif _is_ended(before[key]) and not _is_ended(after[key]):
            changes.returned.append(_brief(after[key], since.reason(key, _ended)))
        else:
            _compare(changes, before[key], after[key], since)
    return changes


def _there(item: StreetObject) -> bool:
    return True


def _ended(item: StreetObject) -> bool:
    return item.status == "ended"


def _place(item: StreetObject) -> tuple[float, float]:
    return item.lon, item.lat


def _facts(item: StreetObject) -> tuple[Any, ...]:
    return item.class_name, item.status, item.facing_deg


def _tell_missing(changes: Changes, was: Json, after: Mapping[str, Json], since: Since) -> None:
    """An object that the previous release had and this one has not. Its photo may be why: it is not named again."""
    key, was = was["id"], _without_photo(was)
    if found := since.heir(key, after):
        heir, event = found
        changes.merged.append(_pair(was, after[heir], event.reason))
        return
    if lost := since.event(key, "merged_into", "lost_evidence", "unsupported"):
        changes.removed.append({**_brief(was, lost.reason), "relation": lost.relation})
        return
    why = since.reason(key, _place) if since.is_believed(key) else since.reason(key, _there) and "evidence"
    changes.removed.append({**_brief(was, why), "relation": None})


def _tell_new(changes: Changes, item: Json, origins: Mapping[str, Json], since: Since) -> None:
    """An object that the previous release had not."""
    event = since.event(item["id"], "split_from")
    if event and event.other_id and event.other_id in origins:
        changes.split.append(_pair(origins[event.other_id], item, event.reason))
        return
    why = since.reason(item["id"], _there)
    changes.added.append(_brief(item, since.reason(item["id"], _place) if why == ROADS else why))


def _compare_intersections(changes: Changes, previous: Json | None, new: Json) -> None:
    before, after = _intersections(previous), _intersections(new)
    changes.intersections_added.extend(sorted(after.keys() - before.keys()))
    changes.intersections_removed.extend(sorted(before.keys() - after.keys()))
    changes.intersections_changed.extend(sorted(key for key in after.keys() & before.keys() if after[key] != before[key]))


def _intersections(collection: Json | None) -> dict[str, Json]:
    """What each intersection is, without its objects."""
    told: dict[str, Json] = {}
    for item in (collection or {}).get("features", ()):
        about = {key: value for key, value in item["properties"].items() if key not in ("objects", "object_count")}
        told[item["id"]] = {**about, "area": item["geometry"]["geometries"][0]}
    return told


def _compare(changes: Changes, before: Json, after: Json, since: Since) -> None:
    """An object that both releases have in much the same state."""
    key = after["id"]
    distance = distance_m((before["lon"], before["lat"]), (after["lon"], after["lat"]))
    facts = [name for name in FACTS if not _same(name, before.get(name), after.get(name))]
    if facts:
        was, now = ({name: item.get(name) for name in facts} for item in (before, after))
        why = since.reason(key, _place if facts == ["intersection_id"] else _facts)
        told = {"before": was, "after": now, "distance_m": round(distance, 2)}
        changes.changed.append({**_brief(after, why), **told})
    elif distance > MOVED_M:
        told = {"from": [before["lon"], before["lat"]], "distance_m": round(distance, 2)}
        changes.moved.append({**_brief(after, since.reason(key, _place)), **told})
    elif before.get("model") != after.get("model"):
        changes.reworked.append(
            {"id": key, "model": after.get("model"), "reason": since.reason(key, lambda item: item.model_key)}
        )
    elif before != after:
        changes.refined.append(key)


def _same(name: str, before: Any, after: Any) -> bool:
    if name == "facing_deg" and before is not None and after is not None:
        return abs((before - after + 180.0) % 360.0 - 180.0) <= 10.0
    return bool(before == after)


def _pair(before: Json, after: Json, reason: str | None) -> Json:
    distance = distance_m((before["lon"], before["lat"]), (after["lon"], after["lat"]))
    return {"before": _brief(before, reason), "after": _brief(after, reason), "distance_m": round(distance, 2), "reason": reason}


def _brief(item: Json, reason: str | None) -> Json:
    names = ("id", "class", "object_type", "intersection_id", "lon", "lat", "error_radius_m", "status", "standing_probability")
    more = ("first_seen_at", "last_seen_at", "ended_at", "image_key", "image_url")
    return {**{name: item[name] for name in (*names, *more)}, "reason": reason}


def _without_photo(item: Json) -> Json:
    return {**item, "image_key": None, "image_url": None}


def _is_ended(item: Json) -> bool:
    return bool(item["status"] == "ended")


def _day(moment: str) -> str:
    return moment[:10]


def _at(item: Json) -> str:
    return f"{item['class']} at {item['lat']:.5f}, {item['lon']:.5f}"


def _by_model(entry: Json, words: str = ", by a new model") -> str:
    return words if entry["reason"] == "model" else ""


def _added_line(item: Json) -> str:
    doubt = " (unconfirmed so far)" if item["status"] == "unconfirmed" else ""
    how = "was found by a new model" if item["reason"] == "model" else "is new"
    return f"{_at(item)} {how}: first seen {_day(item['first_seen_at'])}{doubt}"


def _ended_line(item: Json) -> str:
    last = _day(item["last_seen_at"])
    when = f"between {last} and {_day(item['ended_at'])}" if item["ended_at"] else f"after {last}"
    return f"{_at(item)} went {when}{_by_model(item)}"


def _returned_line(item: Json) -> str:
    """Back in the street, or never gone, as is known now."""
    how = "is back" if item["reason"] in ("street", None) else "had not gone"
    return f"{_at(item)} {how}: seen {_day(item['last_seen_at'])}{_by_model(item)}"


def _replaced_line(pair: Json) -> str:
    gone, come = pair["before"], pair["after"]
    when = f"between {_day(gone['last_seen_at'])} and {_day(come['first_seen_at'])}"
    return f"{_at(gone)} was replaced by {come['class']} {when}{_by_model(pair)}"


def _merged_line(pair: Json) -> str:
    return f"{_at(pair['before'])} and {_at(pair['after'])} turned out to be one{_by_model(pair)}"


def _split_line(pair: Json) -> str:
    return f"{_at(pair['before'])} turned out to be two: the other is {_at(pair['after'])}{_by_model(pair)}"


def _removed_line(item: Json) -> str:
    why = GONE.get(item["relation"] or item["reason"] or "")
    return f"{_at(item)} is no longer in the layer{f': {why}' if why else ''}{_by_model(item)}"


def _changed_line(item: Json) -> str:
    what = ", ".join(f"{name} {_word(item['before'][name])} -> {_word(item['after'][name])}" for name in item["before"])
    return f"{_at(item)} changed{_by_model(item, ' by a new model')}: {what}"


def _moved_line(item: Json) -> str:
    return f"{_at(item)} moved {item['distance_m']:.1f} m {_by_model(item, 'by a new model') or 'as photos were added'}"


def _word(value: Any) -> str:
    return "unknown" if value is None else str(value)
