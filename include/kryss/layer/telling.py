"""Changes on their way to ``changes.geojson``: one Feature each, its line in words, and the counts of all.

Which changes there are is decided in `kryss.layer.changes`. Memory stays flat: each kind has a temporary file, and these are
joined at the end, after a head that counts them.
"""

from __future__ import annotations

import math
import shutil
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from kryss.layer.since import ROADS

Json = dict[str, Any]

CHANGE_OF = {
    "replaced": "changed",
    "added": "added",
    "ended": "removed",
    "returned": "added",
    "merged": "removed",
    "split": "added",
    "removed": "removed",
    "changed": "changed",
    "moved": "changed",
    "reworked": "changed",
}
KINDS = tuple(CHANGE_OF)
"""In the order in which they are told."""
LISTS = ("refined", "intersections_added", "intersections_removed", "intersections_changed")
BRIEF = (
    *("id", "class", "object_type", "intersection_id", "lon", "lat", "status", "standing_probability", "error_radius_m"),
    *("facing_deg", "height_m", "first_seen_at", "last_seen_at", "ended_at", "image_key", "image_url", "model"),
)
"""What ``before`` and ``after`` say of an object."""
MAX_LINES = 1_000
GONE = {
    "lost_evidence": "its photos were removed",
    "unsupported": "weighed anew, its photos show nothing that stands",
    ROADS: "no intersection holds it now",
}
EARTH_RADIUS_M = 6_371_008.8

_AS_NOW = ("replaced", "split")
"""Kinds whose ``before`` is told as the new release has it, if it has."""
_brief = itemgetter(*BRIEF)


@dataclass(frozen=True, slots=True)
class Shift:
    """How far the positions of the objects that stand in both releases lie apart."""

    compared: int
    median_m: float
    p95_m: float
    """Nearest rank; of distances rounded to 1 cm, 1 km at most."""


@dataclass(frozen=True, slots=True)
class ChangeSummary:
    """What ``changes.geojson`` holds, in numbers and in words."""

    counts: Mapping[str, int]
    """By kind, and the lengths of `LISTS`."""
    by_change: Mapping[str, int]
    reasons: Mapping[str, int]
    """Features by reason; ``unknown``: those without one."""
    lines: tuple[str, ...]
    """What happened in the street first; at most 1000, and one that counts the rest."""
    shift: Shift | None
    """None where no object stands in both releases."""

    @property
    def differs(self) -> bool:
        return any(self.counts.values())


class Telling:
    """What is told, on its way to the file: a temporary file for each kind, so that kinds come one after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, BinaryIO] = {}
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._models: Counter[str] = Counter()
        self._lines: dict[str, list[str]] = {name: [] for name in (*KINDS, "unconfirmed")}
        self._bbox = [math.inf, math.inf, -math.inf, -math.inf]
        self.shifts = Shifts()

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def add(
        self,
        kind: str,
        key: str,
        was: Json | None,
        now: Json | None,
        reason: str | None,
        *,
        relation: str | None = None,
        facts: Sequence[str] = (),
    ) -> None:
        """One Feature, of an object as it was and as it is now; of pairs these are two. Call in order of id within each kind."""
        item = now or was or {}
        if was and kind not in _AS_NOW and (now is None or was["image_key"] != now["image_key"]):
            was = without_photo(was)
        away = round(distance_m(was, now), 2) if was and now else None
        line = _LINES[kind](_Entry(was or item, item, reason, relation, away, facts))
        lon, lat = item["lon"], item["lat"]
        feature = {
            "type": "Feature",
            "id": key,
            "geometry": {"type": "Point", "coordinates": [lon, lat]},
            "properties": {
                "id": key,
                "change": CHANGE_OF[kind],
                "kind": kind,
                "class": item["class"],
                "status": item["status"],
                "object_type": item["object_type"],
                "intersection_id": item["intersection_id"],
                "reason": reason,
                "relation": relation,
                "distance_m": away,
                "text": line,
                "before": was and dict(zip(BRIEF, _brief(was), strict=True)),
                "after": now and dict(zip(BRIEF, _brief(now), strict=True)),
            },
        }
        self._file(kind).write(b"," + orjson.dumps(feature) + b"\n")
        self._counts[kind] += 1
        self._reasons[reason or "unknown"] += 1
        box = self._bbox
        box[:] = min(box[0], lon), min(box[1], lat), max(box[2], lon), max(box[3], lat)
        if kind == "reworked":
            model = _word(item["model"])
            self._models[model if len(self._models) < MAX_LINES or model in self._models else "of other names"] += 1
        else:
            lines = self._lines["unconfirmed" if kind == "added" and item["status"] == "unconfirmed" else kind]
            if len(lines) < MAX_LINES:
                lines.append(line)

    def _file(self, name: str) -> BinaryIO:
        if name not in self._files:
            self._files[name] = (self._folder / name).open("w+b", buffering=1 << 18)
        return self._files[name]

    def add_id(self, name: str, key: str) -> None:
        """One id of `LISTS`. Call in order."""
        self._file(name).write(b"," + orjson.dumps(key) + b"\n")
        self._counts[name] += 1

    def summary(self) -> ChangeSummary:
        counts = {name: self._counts[name] for name in (*KINDS, *LISTS)}
        by_change = dict.fromkeys(("added", "removed", "changed"), 0)
        for kind, change in CHANGE_OF.items():
            by_change[change] += counts[kind]
        return ChangeSummary(counts, by_change, dict(sorted(self._reasons.items())), self._summary_lines(), self.shifts.told())

    def _summary_lines(self) -> tuple[str, ...]:
        """The street first, those unconfirmed after all that are new; reworked objects are counted, refined ones are not told."""
        order = [name for kind in KINDS for name in ((kind, "unconfirmed") if kind == "added" else (kind,))]
        lines = [line for name in order for line in self._lines[name]]
        for model, number in sorted(self._models.items()):
            objects = f"{number} object{'s were' if number > 1 else ' was'}"
            lines.append(f"{objects} worked out anew by model {model}; the street did not change")
        total = sum(self._counts[kind] for kind in KINDS if kind != "reworked") + len(self._models)
        if total <= MAX_LINES:
            return tuple(lines)
        return (*lines[:MAX_LINES], f"and {total - MAX_LINES} more")

    def write(self, target: BinaryIO, head: Mapping[str, Any], summary: ChangeSummary) -> None:
        target.write(b'{"type":"FeatureCollection",\n')
        members: Json = {
            **head,
            "counts": summary.counts,
            "by_change": summary.by_change,
            "reasons": summary.reasons,
            "summary": summary.lines,
        }
        if math.isfinite(self._bbox[0]):
            members["bbox"] = self._bbox
        for name, value in members.items():
            target.write(orjson.dumps(name) + b":" + orjson.dumps(value) + b",\n")
        target.write(b'"features":[\n')
        self._pour(KINDS, target)
        for name in LISTS:
            target.write(b'],\n"' + name.encode() + b'":[\n')
            self._pour((name,), target)
        target.write(b"]}\n")

    def _pour(self, names: Iterable[str], target: BinaryIO) -> None:
        """Their lines, the first one without its comma."""
        written = False
        for name in names:
            if self._counts[name]:
                self._files[name].seek(0 if written else 1)
                shutil.copyfileobj(self._files[name], target, 1 << 20)
                written = True


class Shifts:
    """Distances in bins of 1 cm, those of 1 km and more in the last one."""

    def __init__(self) -> None:
        self._bins = array("Q", [0]) * 100_001

    def add(self, metres: float, number: int = 1) -> None:
        self._bins[min(round(metres * 100), 100_000)] += number

    def told(self) -> Shift | None:
        compared = sum(self._bins)
        return Shift(compared, self._rank(0.5 * compared), self._rank(0.95 * compared)) if compared else None

    def _rank(self, wanted: float) -> float:
        passed = 0
        for bin_cm, number in enumerate(self._bins):
            passed += number
            if passed >= wanted:
                return bin_cm / 100
        return len(self._bins) / 100


def without_photo(item: Json) -> Json:
    return {**item, "image_key": None, "image_url": None}


def is_ended(item: Json) -> bool:
    return bool(item["status"] == "ended")


def distance_m(a: Json, b: Json) -> float:
    """Between two places a few metres apart, on the sphere of mean radius."""
    north = math.radians(b["lat"] - a["lat"])
    east = math.radians(b["lon"] - a["lon"]) * math.cos(math.radians((a["lat"] + b["lat"]) / 2))
    return EARTH_RADIUS_M * math.hypot(north, east)


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a line tells. Of what has only one of ``was`` and ``now``, both are it."""

    was: Json
    now: Json
    reason: str | None
    relation: str | None
    distance_m: float | None
    facts: Sequence[str]

    def by_model(self, words: str = ", by a new model") -> str:
        return words if self.reason == "model" else ""


def _word(value: Any) -> str:
    """One value in one line: without control characters, cut where it is long."""
    if value is None:
        return "unknown"
    text = str(value)
    text = text if len(text) <= 100 else f"{text[:99]}…"
    return text if text.isprintable() else "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _day(moment: str) -> str:
    return _word(moment[:10])


def _at(item: Json) -> str:
    return f"{_word(item['class'])} at {item['lat']:.5f}, {item['lon']:.5f}"


def _went(item: Json) -> str:
    last = _day(item["last_seen_at"])
    return f"between {last} and {_day(item['ended_at'])}" if item["ended_at"] else f"after {last}"


def _added_line(entry: _Entry) -> str:
    item = entry.now
    doubt = {"unconfirmed": " (unconfirmed so far)", "ended": f", gone {_went(item)}"}.get(item["status"], "")
    how = "was found by a new model" if entry.reason == "model" else "is new"
    return f"{_at(item)} {how}: first seen {_day(item['first_seen_at'])}{doubt}"


def _ended_line(entry: _Entry) -> str:
    return f"{_at(entry.now)} went {_went(entry.now)}{entry.by_model()}"


def _returned_line(entry: _Entry) -> str:
    """Back in the street, or never gone, as is known now."""
    how = "is back" if entry.reason in ("street", None) else "had not gone"
    return f"{_at(entry.now)} {how}: seen {_day(entry.now['last_seen_at'])}{entry.by_model()}"


def _replaced_line(entry: _Entry) -> str:
    when = f"between {_day(entry.was['last_seen_at'])} and {_day(entry.now['first_seen_at'])}"
    return f"{_at(entry.was)} was replaced by {_word(entry.now['class'])} {when}{entry.by_model()}"


def _merged_line(entry: _Entry) -> str:
    return f"{_at(entry.was)} and {_at(entry.now)} turned out to be one{entry.by_model()}"


def _split_line(entry: _Entry) -> str:
    return f"{_at(entry.was)} turned out to be two: the other is {_at(entry.now)}{entry.by_model()}"


def _removed_line(entry: _Entry) -> str:
    why = GONE.get(entry.relation or entry.reason or "")
    return f"{_at(entry.was)} is no longer in the layer{f': {why}' if why else ''}{entry.by_model()}"


def _changed_line(entry: _Entry) -> str:
    what = ", ".join(f"{name} {_word(entry.was[name])} -> {_word(entry.now[name])}" for name in entry.facts)
    return f"{_at(entry.now)} changed{entry.by_model(' by a new model')}: {what}"


def _moved_line(entry: _Entry) -> str:
    why = {None: "", "model": " by a new model"}.get(entry.reason, " as photos were added")
    return f"{_at(entry.now)} moved {entry.distance_m:.1f} m{why}"


def _reworked_line(entry: _Entry) -> str:
    return f"{_at(entry.now)} was worked out anew by model {_word(entry.now['model'])}; the street did not change"


_LINES: dict[str, Callable[[_Entry], str]] = {
    "replaced": _replaced_line,
    "added": _added_line,
    "ended": _ended_line,
    "returned": _returned_line,
    "merged": _merged_line,
    "split": _split_line,
    "removed": _removed_line,
    "changed": _changed_line,
    "moved": _moved_line,
    "reworked": _reworked_line,
}
