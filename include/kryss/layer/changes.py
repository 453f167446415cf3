"""What changed between two releases of the layer, by object id.

Every object is told once, under the strongest of: ``replaced``, ``added``, ``removed``, ``ended``, ``returned``, ``changed``,
``moved``, ``refined``. The first five are about the street; ``changed`` and ``moved`` are about what is known (new photos
refine a position, a new model corrects a class); ``refined`` means that only evidence, dates and certainty differ.

A replacement is an ended object and another of a different class but the same type, first seen after the ended one's last
sighting, where the two stood within their combined error radius (at least 3 m, at most 10 m) and did not face apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import shapely

from kryss.layer.geojson import Json, distance_m

MOVED_M = 0.5
REPLACED_WITHIN_M = (3.0, 10.0)
REPLACED_FACING_DEG = 60.0
METRES_PER_DEGREE = 111_195.0
FACTS = ("class", "object_type", "assumed_size_m", "status", "facing_deg", "model", "method", "intersection_id")
"""What counts as ``changed``. ``facing_deg`` only beyond 10 degrees: it is an estimate."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Lists of plain JSON entries, each sorted by object id; ``replaced`` holds ``{before, after, distance_m}``."""

    replaced: list[Json] = field(default_factory=list)
    added: list[Json] = field(default_factory=list)
    removed: list[Json] = field(default_factory=list)
    ended: list[Json] = field(default_factory=list)
    returned: list[Json] = field(default_factory=list)
    changed: list[Json] = field(default_factory=list)
    moved: list[Json] = field(default_factory=list)
    refined: list[str] = field(default_factory=list)
    intersections_added: list[str] = field(default_factory=list)
    intersections_removed: list[str] = field(default_factory=list)
    intersections_changed: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        return {item.name: len(getattr(self, item.name)) for item in fields(self)}

    def lines(self) -> list[str]:
        """The same for people, the street first, one line each; merely refined objects are not told."""
        return [
            *(_replaced_line(item) for item in self.replaced),
            *(_added_line(item) for item in sorted(self.added, key=lambda item: item["status"] == "unconfirmed")),
            *(_ended_line(item) for item in self.ended),
            *(f"{_at(item)} is back: seen {_day(item['last_seen_at'])}" for item in self.returned),
            *(f"{_at(item)} is no longer in the layer" for item in self.removed),
            *(_changed_line(item) for item in self.changed),
            *(f"{_at(item)} moved {item['distance_m']:.1f} m as photos were added" for item in self.moved),
        ]

    def document(self) -> Json:
        lists = {item.name: getattr(self, item.name) for item in fields(self)}
        return {**lists, "counts": self.counts(), "summary": self.lines()}


def objects_of(collection: Json | None) -> Iterator[Json]:
    """Every object of the layer with ``lon``, ``lat`` and ``intersection_id`` beside its properties."""
    for item in (collection or {}).get("features", ()):
        points = item["geometry"]["geometries"][1:]
        for entry, point in zip(item["properties"]["objects"], points, strict=True):
            lon, lat = point["coordinates"]
            yield {**entry, "lon": lon, "lat": lat, "intersection_id": item["id"]}


def diff(previous: Json | None, new: Json) -> Changes:
    """What ``new`` says that ``previous`` did not. Without a previous release every object is ``added``."""
    before = {item["id"]: item for item in objects_of(previous)}
    after = {item["id"]: item for item in objects_of(new)}
    changes = Changes(removed=[_brief(before[key]) for key in sorted(before.keys() - after.keys())])
    _compare_intersections(changes, previous, new)
    appeared = after.keys() - before.keys()
    went = {key for key in after.keys() & before.keys() if _is_ended(after[key]) and not _is_ended(before[key])}
    told = set()
    if previous is not None:
        for gone, come, distance in _replacements(after, appeared, went):
            told |= {gone, come}
            pair = {"before": _brief(after[gone]), "after": _brief(after[come]), "distance_m": round(distance, 2)}
            changes.replaced.append(pair)
    for key in sorted(after.keys() - told):
        if key in appeared:
            changes.added.append(_brief(after[key]))
        elif key in went:
            changes.ended.append(_brief(after[key]))
        elif _is_ended(before[key]) and not _is_ended(after[key]):
            changes.returned.append(_brief(after[key]))
        else:
            _compare(changes, before[key], after[key])
    return changes


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


def _compare(changes: Changes, before: Json, after: Json) -> None:
    """An object that both releases have in much the same state."""
    distance = distance_m((before["lon"], before["lat"]), (after["lon"], after["lat"]))
    facts = [name for name in FACTS if not _same(name, before.get(name), after.get(name))]
    if facts:
        was, now = ({name: item.get(name) for name in facts} for item in (before, after))
        changes.changed.append({**_brief(after), "before": was, "after": now, "distance_m": round(distance, 2)})
    elif distance > MOVED_M:
        from_lon, from_lat = before["lon"], before["lat"]
        changes.moved.append({**_brief(after), "from": [from_lon, from_lat], "distance_m": round(distance, 2)})
    elif before != after:
        changes.refined.append(after["id"])


def _same(name: str, before: Any, after: Any) -> bool:
    if name == "facing_deg" and before is not None and after is not None:
        return _apart_deg(before, after) <= 10.0
    return bool(before == after)


def _replacements(after: Mapping[str, Json], appeared: set[str], went: set[str]) -> list[tuple[str, str, float]]:
    """One-to-one pairs ``(gone, come, distance)``, nearest first; at least one of the two is news of this release."""
    ended = sorted(key for key in after if _is_ended(after[key]))
    stand = sorted(key for key in after if not _is_ended(after[key]))
    if not ended or not stand:
        return []
    tree = shapely.STRtree(shapely.points([(after[key]["lon"], after[key]["lat"]) for key in stand]))
    pairs = []
    for gone in ended:
        lon, lat = after[gone]["lon"], after[gone]["lat"]
        reach_lat = REPLACED_WITHIN_M[1] / METRES_PER_DEGREE
        reach_lon = reach_lat / max(math.cos(math.radians(lat)), 1e-6)
        box = shapely.box(lon - reach_lon, lat - reach_lat, lon + reach_lon, lat + reach_lat)
        for index in tree.query(box):
            come = stand[int(index)]
            distance = distance_m((lon, lat), (after[come]["lon"], after[come]["lat"]))
            if (gone in went or come in appeared) and _replaces(after[gone], after[come], distance):
                pairs.append((distance, gone, come))
    chosen: list[tuple[str, str, float]] = []
    used: set[str] = set()
    for distance, gone, come in sorted(pairs):
        if gone not in used and come not in used:
            used |= {gone, come}
            chosen.append((gone, come, distance))
    return sorted(chosen)


def _replaces(gone: Json, come: Json, distance: float) -> bool:
    nearest, farthest = REPLACED_WITHIN_M
    combined = math.hypot(gone["error_radius_m"], come["error_radius_m"])
    facings = (gone["facing_deg"], come["facing_deg"])
    return (
        gone["class"] != come["class"]
        and gone["object_type"] == come["object_type"]
        and come["first_seen_at"] > gone["last_seen_at"]
        and distance <= min(max(nearest, combined), farthest)
        and (None in facings or _apart_deg(*facings) <= REPLACED_FACING_DEG)
    )


def _brief(item: Json) -> Json:
    names = ("id", "class", "object_type", "intersection_id", "lon", "lat", "error_radius_m", "status", "standing_probability")
    return {name: item[name] for name in (*names, "first_seen_at", "last_seen_at", "ended_at", "image_key", "image_url")}


def _is_ended(item: Json) -> bool:
    return bool(item["status"] == "ended")


def _apart_deg(a: float, b: float) -> float:
    return abs((a - b + 180.0) % 360.0 - 180.0)


def _day(moment: str) -> str:
    return moment[:10]


def _at(item: Json) -> str:
    return f"{item['class']} at {item['lat']:.5f}, {item['lon']:.5f}"


def _added_line(item: Json) -> str:
    doubt = " (unconfirmed so far)" if item["status"] == "unconfirmed" else ""
    return f"{_at(item)} is new: first seen {_day(item['first_seen_at'])}{doubt}"


def _ended_line(item: Json) -> str:
    last = _day(item["last_seen_at"])
    return f"{_at(item)} went " + (f"between {last} and {_day(item['ended_at'])}" if item["ended_at"] else f"after {last}")


def _replaced_line(pair: Json) -> str:
    gone, come = pair["before"], pair["after"]
    return f"{_at(gone)} was replaced by {come['class']} between {_day(gone['last_seen_at'])} and {_day(come['first_seen_at'])}"


def _changed_line(item: Json) -> str:
    what = ", ".join(f"{name} {_word(item['before'][name])} -> {_word(item['after'][name])}" for name in item["before"])
    return f"{_at(item)} changed: {what}"


def _word(value: Any) -> str:
    return "unknown" if value is None else str(value)
