"""What changed between two releases: ``changes.geojson``, streamed over two ``objects.geojson`` files in order of id.

Lines that are equal are never parsed. Of the others only their places in the files are kept, in a temporary sqlite database, so
that memory stays flat whatever changed; then they are read again in order of id and told.

Rules
-----
Every id that differs is told exactly once, as a Feature or in ``refined``. A is the previous release, B the new one; the first
that fits:

===========  =======  ====================================================================================================
kind         change   when
===========  =======  ====================================================================================================
replaced     changed  in B, ``replaced_by`` an object in B; and it ended now, or that object is not in A. Tells two ids: its
                      own (the Feature's; ``before``, as B has it) and the other one's (``after``). An id is in one pair
                      only; pairs are made in order of the id before.
added        added    not in A
ended        removed  ``status`` is ``ended`` in B and not in A (it stays in the layer)
returned     added    ``status`` is ``ended`` in A and not in B
merged       removed  not in B; lineage says which object of B it turned out to be (``after``)
split        added    not in A; lineage says from which object of A or B it was cut (``before``)
removed      removed  not in B
changed      changed  one of `FACTS` differs (``facing_deg``: by over 10 degrees, or from or to null)
moved        changed  more than 0.5 m away, and more than the ``error_radius_m`` that A states
reworked     changed  ``model`` differs
(refined)             anything else differs
===========  =======  ====================================================================================================

``merged`` and ``split`` go before ``removed`` and ``added``; two releases alone hold no lineage, and tell these instead. The
Feature's id is that of the object in A, of ``added`` and ``split`` that in B. Features are ordered by kind as in `KINDS`, then by
id (bytes). The ids of B are those of A, less those of the Features ``removed`` and ``merged``, with those of ``added`` and
``split`` and both ids of ``replaced``.

``before`` names a photo only where B still names it for that object: it may be what had to go. Distances are on the sphere of
mean radius. Reasons: `kryss.layer.since`; without a database only what the files prove: ``model`` for reworked, ``roads`` where
nothing but ``intersection_id`` differs.
"""

from __future__ import annotations

import math
import shutil
import sqlite3
import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from kryss.layer.changes_v1 import PAIRS, Changes, diff, objects_of  # noqa: F401  until the writer of schema 1 is gone
from kryss.layer.lines import FeatureLines
from kryss.layer.since import ROADS, Since, Why
from kryss.model import StreetObject

Json = dict[str, Any]

MOVED_M = 0.5
TURNED_DEG = 10.0
FACTS = ("class", "object_type", "assumed_size_m", "status", "facing_deg", "intersection_id")
"""What counts as ``changed``. ``facing_deg`` only beyond `TURNED_DEG`: it is an estimate."""
SUPER_KINDS = {
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
KINDS = tuple(SUPER_KINDS)
"""In the order in which they are told."""
LISTS = ("refined", "intersections_added", "intersections_removed", "intersections_changed")
BRIEF = (
    *("id", "class", "object_type", "intersection_id", "lon", "lat", "status", "standing_probability", "error_radius_m"),
    *("facing_deg", "height_m", "first_seen_at", "last_seen_at", "ended_at", "image_key", "image_url", "model"),
)
MAX_LINES = 1_000
GONE = {
    "lost_evidence": "its photos were removed",
    "unsupported": "weighed anew, its photos show nothing that stands",
    ROADS: "no intersection holds it now",
}

_BATCH = 2_000
_STANDING, _HEIR = b'"status":"standing"', b'"replaced_by":"'
EARTH_RADIUS_M = 6_371_008.8


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


def write_changes(
    target: Path,
    before: Path | None,
    after: Path,
    areas_before: Path | None,
    areas_after: Path | None,
    head: Mapping[str, Any],
    why: Why | None = None,
    names: tuple[str, str] | None = None,
) -> ChangeSummary:
    """Writes ``changes.geojson`` to ``target``, of the ``objects.geojson`` and ``areas.geojson`` of two releases.

    ``before`` None: a first release, of which nothing is told. ``head`` holds the first members of the collection. ``names`` is
    what messages call the files of objects. Raises `LayerError` with file and line where one is cut off, out of order or no
    file of a release. Temporary files lie beside ``target`` while it runs.
    """
    with tempfile.TemporaryDirectory(prefix=".changes-", dir=target.parent) as folder, ExitStack() as stack:
        told = _Told(Path(folder))
        stack.callback(told.close)
        if before is not None:
            called = names or (str(before), str(after))
            old = stack.enter_context(FeatureLines(before, called[0]))
            new = stack.enter_context(FeatureLines(after, called[1]))
            with closing(sqlite3.connect(Path(folder) / "spool.sqlite", isolation_level=None)) as spool:
                _Comparison(old, new, spool, why or Why(), told).run()
            if areas_before is not None and areas_after is not None:
                _compare_areas(areas_before, areas_after, told)
        summary = told.summary()
        with target.open("wb", buffering=1 << 20) as file:
            told.write(file, head, summary)
    return summary


class _Comparison:
    """The two passes over two releases."""

    def __init__(self, old: FeatureLines, new: FeatureLines, spool: sqlite3.Connection, why: Why, told: _Told) -> None:
        self._old, self._new, self._spool, self._why, self._told = old, new, spool, why, told
        for setting in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "cache_size = -16384"):
            spool.execute(f"PRAGMA {setting}")
        spool.executescript(
            """
            BEGIN;
            -- What differs: where its lines lie in the two files (bytes); null where it has none.
            CREATE TABLE item (id BLOB PRIMARY KEY, old_at INT, old_bytes INT, new_at INT, new_bytes INT) WITHOUT ROWID;
            -- Objects of the new release that name one in their place.
            CREATE TABLE successor (id BLOB PRIMARY KEY, come BLOB, went INT) WITHOUT ROWID;
            CREATE TABLE pair (id BLOB PRIMARY KEY, come BLOB, went INT) WITHOUT ROWID;
            CREATE TABLE paired (id BLOB PRIMARY KEY) WITHOUT ROWID;
            """
        )

    def run(self) -> None:
        self._find_differences()
        self._pair()
        self._tell_pairs()
        self._tell_items()

    def _find_differences(self) -> None:
        items: list[tuple[bytes, int | None, int | None, int | None, int | None]] = []
        successors: list[tuple[bytes, bytes, bool]] = []
        unmoved = 0
        for key, was, now in _side_by_side(self._old, self._new):
            if was is not None and now is not None and was[0] == now[0]:
                unmoved += _STANDING in now[0]
                if _HEIR in now[0]:
                    successors.append((key, self._parse(self._new, now[0])["replaced_by"].encode(), False))
            else:
                old = (None, None) if was is None else (was[1], len(was[0]))
                new = (None, None) if now is None else (now[1], len(now[0]))
                items.append((key, *old, *new))
                if now is not None and _HEIR in now[0]:
                    item = self._parse(self._new, now[0])
                    went = was is not None and _is_ended(item) and not _is_ended(self._parse(self._old, was[0]))
                    successors.append((key, item["replaced_by"].encode(), went))
            if len(items) + len(successors) >= _BATCH:
                self._keep(items, successors)
        self._keep(items, successors)
        self._told.shifts.add(0.0, unmoved)

    def _keep(self, items: list[Any], successors: list[Any]) -> None:
        self._spool.executemany("INSERT INTO item VALUES (?, ?, ?, ?, ?)", items)
        self._spool.executemany("INSERT INTO successor VALUES (?, ?, ?)", successors)
        items.clear()
        successors.clear()

    def _pair(self) -> None:
        """Who was replaced by whom: in order of id, each object in one pair."""
        found = self._spool.execute(
            """
            SELECT successor.*, item.id IS NOT NULL AND item.old_at IS NULL AND item.new_at IS NOT NULL AS appeared
            FROM successor LEFT JOIN item ON item.id = come
            WHERE went OR (item.id IS NOT NULL AND item.old_at IS NULL) ORDER BY successor.id
            """
        )
        for key, come, went, appeared in found:
            if key == come or self._is_paired(key) or self._is_paired(come):
                continue
            if appeared or self._new.find(come) is not None:
                self._spool.execute("INSERT INTO pair VALUES (?, ?, ?)", (key, come, went))
                self._spool.executemany("INSERT INTO paired VALUES (?)", ((key,), (come,)))

    def _is_paired(self, key: bytes) -> bool:
        return self._spool.execute("SELECT 1 FROM paired WHERE id = ?", (key,)).fetchone() is not None

    def _tell_pairs(self) -> None:
        for batch in _batches(self._spool.execute("SELECT id, come, went FROM pair ORDER BY id")):
            since = self._why.since([(key if went else come).decode() for key, come, went in batch])
            for key, come, went in batch:
                gone, item = self._now(key), self._now(come)
                reason = since.reason(gone["id"], _ended) if went else since.reason(item["id"], _there)
                self._told.add("replaced", gone["id"], gone, item, reason)

    def _tell_items(self) -> None:
        """All that differs, by id. Those in pairs have been told; only their shift counts."""
        rows = self._spool.execute("SELECT item.*, paired.id FROM item LEFT JOIN paired USING (id) ORDER BY item.id")
        for batch in _batches(rows):
            found = []
            for key, old_at, old_bytes, new_at, new_bytes, paired in batch:
                was = None if old_at is None else self._parse(self._old, self._old.at(old_at, old_bytes))
                now = None if new_at is None else self._parse(self._new, self._new.at(new_at, new_bytes))
                if was is not None and now is not None and was["status"] == now["status"] == "standing":
                    self._told.shifts.add(distance_m(was, now))
                if paired is None and was != now:
                    found.append((key.decode(), was, now, _compare(was, now)))
            since = self._why.since(
                [key for key, _, _, (kind, _) in found if kind != "refined"],
                [key for key, was, now, _ in found if was is None or now is None],
            )
            for key, was, now, (kind, facts) in found:
                self._tell(key, was, now, kind, facts, since)

    def _tell(self, key: str, was: Json | None, now: Json | None, kind: str, facts: list[str], since: Since) -> None:
        if kind == "refined":
            self._told.list("refined", key)
        elif now is None and was is not None:
            self._tell_missing(key, was, since)
        elif was is None and now is not None:
            self._tell_new(key, now, since)
        elif was is not None and now is not None:
            self._told.add(kind, key, was, now, self._reason(key, was, now, kind, facts, since), facts=facts)

    def _reason(self, key: str, was: Json, now: Json, kind: str, facts: list[str], since: Since) -> str | None:
        if not self._why.knows:
            if kind == "reworked":
                return "model"
            only_home = facts == ["intersection_id"] and {**was, "intersection_id": now["intersection_id"]} == now
            return ROADS if only_home else None
        if kind == "changed":
            return since.reason(key, _place if facts == ["intersection_id"] else _facts)
        return since.reason(key, {"moved": _place, "reworked": _model}.get(kind, _ended))

    def _tell_missing(self, key: str, was: Json, since: Since) -> None:
        """An object that the previous release had and this one has not."""
        if found := since.heir(key, self):
            heir, event = found
            self._told.add("merged", key, was, self._now(heir.encode()), event.reason, relation="merged_into")
        elif lost := since.event(key, "merged_into", "lost_evidence", "unsupported"):
            self._told.add("removed", key, was, None, lost.reason, relation=lost.relation)
        else:
            why = since.reason(key, _place) if since.is_believed(key) else since.reason(key, _there) and "evidence"
            self._told.add("removed", key, was, None, why)

    def _tell_new(self, key: str, now: Json, since: Since) -> None:
        """An object that the previous release had not."""
        event = since.event(key, "split_from")
        if event and event.other_id and (origin := self._known(event.other_id)):
            self._told.add("split", key, origin, now, event.reason, relation="split_from")
            return
        why = since.reason(key, _there)
        self._told.add("added", key, None, now, since.reason(key, _place) if why == ROADS else why)

    def __contains__(self, key: object) -> bool:
        """Whether the new release has it."""
        return self._new.find(str(key).encode()) is not None

    def _known(self, key: str) -> Json | None:
        """As the new release has it, else the previous one, then without its photo."""
        if body := self._new.find(key.encode()):
            return self._parse(self._new, body)
        body = self._old.find(key.encode())
        return None if body is None else _without_photo(self._parse(self._old, body))

    def _now(self, key: bytes) -> Json:
        return self._parse(self._new, self._new.find(key) or b"")

    def _parse(self, file: FeatureLines, body: bytes) -> Json:
        record: Json = file.parse(body, _record)
        return record


class _Told:
    """What is told, on its way to the file: a temporary file for each kind, so that kinds come one after the other."""

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, BinaryIO] = {name: (folder / name).open("w+b", buffering=1 << 18) for name in (*KINDS, *LISTS)}
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._models: Counter[str] = Counter()
        self._lines: dict[str, list[str]] = {name: [] for name in (*KINDS, "unconfirmed")}
        self._bbox = [math.inf, math.inf, -math.inf, -math.inf]
        self.shifts = _Shifts()

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
        facts: Iterable[str] = (),
    ) -> None:
        """One Feature. Call in order of id within each kind."""
        item = now or was or {}
        if was and now and was["id"] == now["id"]:
            was = was if was.get("image_key") == now.get("image_key") else _without_photo(was)
        elif was and kind in ("merged", "removed"):
            was = _without_photo(was)
        away = round(distance_m(was, now), 2) if was and now else None
        entry = _Entry(kind, was or item, item, reason, relation, away, tuple(facts))
        line = _LINES[kind](entry)
        lon, lat = item["lon"], item["lat"]
        feature = {
            "type": "Feature",
            "id": key,
            "geometry": {"type": "Point", "coordinates": [lon, lat]},
            "properties": {
                "id": key,
                "change": SUPER_KINDS[kind],
                "kind": kind,
                "class": item["class"],
                "status": item["status"],
                "object_type": item.get("object_type"),
                "intersection_id": item.get("intersection_id"),
                "reason": reason,
                "relation": relation,
                "distance_m": away,
                "text": line,
                "before": was and _brief(was),
                "after": now and _brief(now),
            },
        }
        self._files[kind].write(b"," + orjson.dumps(feature) + b"\n")
        self._counts[kind] += 1
        self._reasons[reason or "unknown"] += 1
        box = self._bbox
        box[0], box[1], box[2], box[3] = min(box[0], lon), min(box[1], lat), max(box[2], lon), max(box[3], lat)
        if kind == "reworked":
            model = _word(item.get("model"))
            self._models[model if len(self._models) < MAX_LINES or model in self._models else "of other names"] += 1
        else:
            lines = self._lines["unconfirmed" if kind == "added" and item["status"] == "unconfirmed" else kind]
            if len(lines) < MAX_LINES:
                lines.append(line)

    def list(self, name: str, key: str) -> None:
        """One id of `LISTS`. Call in order."""
        self._files[name].write(b"," + orjson.dumps(key) + b"\n")
        self._counts[name] += 1

    def summary(self) -> ChangeSummary:
        counts = {name: self._counts[name] for name in (*KINDS, *LISTS)}
        by_change = dict.fromkeys(("added", "removed", "changed"), 0)
        for kind, change in SUPER_KINDS.items():
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


class _Shifts:
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


def distance_m(a: Json, b: Json) -> float:
    """Between two places a few metres apart, on the sphere of mean radius."""
    north = math.radians(b["lat"] - a["lat"])
    east = math.radians(b["lon"] - a["lon"]) * math.cos(math.radians((a["lat"] + b["lat"]) / 2))
    return EARTH_RADIUS_M * math.hypot(north, east)


Found = tuple[bytes, int]
"""A Feature and where it begins."""


def _side_by_side(old: FeatureLines, new: FeatureLines) -> Iterator[tuple[bytes, Found | None, Found | None]]:
    """Every id of two sorted files, with what each of them has of it."""
    olds, news = iter(old), iter(new)
    was, now = next(olds, None), next(news, None)
    while was is not None and now is not None:
        if was[0] == now[0]:
            yield now[0], was[1:], now[1:]
            was, now = next(olds, None), next(news, None)
        elif was[0] < now[0]:
            yield was[0], was[1:], None
            was = next(olds, None)
        else:
            yield now[0], None, now[1:]
            now = next(news, None)
    while was is not None:
        yield was[0], was[1:], None
        was = next(olds, None)
    while now is not None:
        yield now[0], None, now[1:]
        now = next(news, None)


def _compare_areas(old: Path, new: Path, told: _Told) -> None:
    """What each intersection is, without its objects."""
    with FeatureLines(old) as olds, FeatureLines(new) as news:
        for key, was, now in _side_by_side(olds, news):
            if was is None:
                told.list("intersections_added", key.decode())
            elif now is None:
                told.list("intersections_removed", key.decode())
            elif was[0] != now[0] and olds.parse(was[0], _area) != news.parse(now[0], _area):
                told.list("intersections_changed", key.decode())


def _area(feature: Json) -> Json:
    about = {key: value for key, value in feature["properties"].items() if key != "object_count"}
    return {**about, "": feature["geometry"]}


def _record(feature: Json) -> Json:
    """One object: its properties with ``lon`` and ``lat``; refused where what is told of it has another type."""
    lon, lat = feature["geometry"]["coordinates"]
    record: Json = {**feature["properties"], "id": feature["id"], "lon": lon, "lat": lat}
    for name in ("class", "status", "first_seen_at", "last_seen_at"):
        if not isinstance(record[name], str):
            raise TypeError(f"{name} is {record[name]!r}, no text")
    for name in ("ended_at", "replaced_by"):
        if not isinstance(record.get(name, ""), str | None):
            raise TypeError(f"{name} is {record[name]!r}, neither text nor null")
    if not isinstance(lon, float | int) or not isinstance(lat, float | int):
        raise TypeError(f"coordinates {lon!r}, {lat!r} are no numbers")
    for name in ("error_radius_m", "facing_deg"):
        if not isinstance(record.get(name), float | int | None):
            raise TypeError(f"{name} is {record[name]!r}, neither a number nor null")
    return record


def _compare(was: Json | None, now: Json | None) -> tuple[str, list[str]]:
    """The kind, as far as the two records tell it, and which of `FACTS` differ."""
    if was is None:
        return "added", []
    if now is None:
        return "removed", []
    if _is_ended(was) != _is_ended(now):
        return "ended" if _is_ended(now) else "returned", []
    if facts := [name for name in FACTS if not _same(name, was.get(name), now.get(name))]:
        return "changed", facts
    if distance_m(was, now) > max(MOVED_M, was.get("error_radius_m") or 0.0):
        return "moved", []
    return "reworked" if was.get("model") != now.get("model") else "refined", []


def _same(name: str, before: Any, after: Any) -> bool:
    if name == "facing_deg" and before is not None and after is not None:
        return abs((before - after + 180.0) % 360.0 - 180.0) <= TURNED_DEG
    return bool(before == after)


def _is_ended(item: Json) -> bool:
    return bool(item["status"] == "ended")


def _without_photo(item: Json) -> Json:
    return {**item, "image_key": None, "image_url": None}


def _brief(item: Json) -> Json:
    return {name: item.get(name) for name in BRIEF}


def _batches(rows: Iterable[Any]) -> Iterator[list[Any]]:
    rows = iter(rows)
    while batch := list(islice(rows, _BATCH)):
        yield batch


def _there(item: StreetObject) -> bool:
    return True


def _ended(item: StreetObject) -> bool:
    return item.status == "ended"


def _place(item: StreetObject) -> tuple[float, float]:
    return item.lon, item.lat


def _model(item: StreetObject) -> str:
    return item.model_key


def _facts(item: StreetObject) -> tuple[Any, ...]:
    return item.class_name, item.status, item.facing_deg


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a line tells. Of what has only one of ``was`` and ``now``, both are it."""

    kind: str
    was: Json
    now: Json
    reason: str | None
    relation: str | None
    distance_m: float | None
    facts: tuple[str, ...]

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
    return f"between {last} and {_day(item['ended_at'])}" if item.get("ended_at") else f"after {last}"


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
    what = ", ".join(f"{name} {_word(entry.was.get(name))} -> {_word(entry.now.get(name))}" for name in entry.facts)
    return f"{_at(entry.now)} changed{entry.by_model(' by a new model')}: {what}"


def _moved_line(entry: _Entry) -> str:
    why = {None: "", "model": " by a new model"}.get(entry.reason, " as photos were added")
    return f"{_at(entry.now)} moved {entry.distance_m:.1f} m{why}"


def _reworked_line(entry: _Entry) -> str:
    return f"{_at(entry.now)} was worked out anew by model {_word(entry.now.get('model'))}; the street did not change"


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
