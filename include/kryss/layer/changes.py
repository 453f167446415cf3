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

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from itertools import islice
from operator import itemgetter
from pathlib import Path
from types import NoneType
from typing import Any

from kryss.layer.lines import FeatureLines
from kryss.layer.since import ROADS, Since, Why
from kryss.layer.telling import ChangeSummary, Telling, distance_m, is_ended, without_photo
from kryss.model import StreetObject

Json = dict[str, Any]

MOVED_M = 0.5
TURNED_DEG = 10.0
FACTS = ("class", "object_type", "assumed_size_m", "status", "facing_deg", "intersection_id")
"""What counts as ``changed``. ``facing_deg`` only beyond `TURNED_DEG`: it is an estimate."""

_BATCH = 2_000
_STANDING, _HEIR = b'"status":"standing"', b'"replaced_by":"'
_facts_of = itemgetter(*FACTS)


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
        told = Telling(Path(folder))
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

    def __init__(self, old: FeatureLines, new: FeatureLines, spool: sqlite3.Connection, why: Why, told: Telling) -> None:
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
                    successors.append((key, self._heir(now[0]), False))
            else:
                old = (None, None) if was is None else (was[1], len(was[0]))
                new = (None, None) if now is None else (now[1], len(now[0]))
                items.append((key, *old, *new))
                if now is not None and _HEIR in now[0]:
                    item = self._parse(self._new, now[0])
                    went = was is not None and is_ended(item) and not is_ended(self._parse(self._old, was[0]))
                    successors.append((key, self._heir(now[0]), went))
            if len(items) + len(successors) >= _BATCH:
                self._keep(items, successors)
        self._keep(items, successors)
        self._told.shifts.add(0.0, unmoved)

    def _heir(self, body: bytes) -> bytes:
        return str(self._parse(self._new, body)["replaced_by"]).encode()

    def _keep(self, items: list[Any], successors: list[Any]) -> None:
        self._spool.executemany("INSERT INTO item VALUES (?, ?, ?, ?, ?)", items)
        self._spool.executemany("INSERT INTO successor VALUES (?, ?, ?)", successors)
        items.clear()
        successors.clear()

    def _pair(self) -> None:
        """Who was replaced by whom: in order of id, each object in one pair."""
        found = self._spool.execute(
            """
            SELECT successor.*, item.id IS NOT NULL AND item.old_at IS NULL AS appeared
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
                away_m = 0.0 if was is None or now is None else distance_m(was, now)
                if was is not None and now is not None and was["status"] == now["status"] == "standing":
                    self._told.shifts.add(away_m)
                if paired is None and was != now:
                    found.append((key.decode(), was, now, _compare(was, now, away_m)))
            since = self._why.since(
                [key for key, _, _, (kind, _) in found if kind != "refined"],
                [key for key, was, now, _ in found if was is None or now is None],
            )
            for key, was, now, (kind, facts) in found:
                self._tell(key, was, now, kind, facts, since)

    def _tell(self, key: str, was: Json | None, now: Json | None, kind: str, facts: list[str], since: Since) -> None:
        if kind == "refined":
            self._told.add_id("refined", key)
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
        return None if body is None else without_photo(self._parse(self._old, body))

    def _now(self, key: bytes) -> Json:
        return self._parse(self._new, self._new.find(key) or b"")

    def _parse(self, file: FeatureLines, body: bytes) -> Json:
        record: Json = file.parse(body, _record)
        return record


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


def _compare_areas(old: Path, new: Path, told: Telling) -> None:
    """What each intersection is, without its objects."""
    with FeatureLines(old) as olds, FeatureLines(new) as news:
        for key, was, now in _side_by_side(olds, news):
            if was is None:
                told.add_id("intersections_added", key.decode())
            elif now is None:
                told.add_id("intersections_removed", key.decode())
            elif was[0] != now[0] and olds.parse(was[0], _area) != news.parse(now[0], _area):
                told.add_id("intersections_changed", key.decode())


def _area(feature: Json) -> Json:
    about = {key: value for key, value in feature["properties"].items() if key != "object_count"}
    return {**about, "": feature["geometry"]}


def _record(feature: Json) -> Json:
    """One object: its properties with ``lon`` and ``lat``; refused where what is told of it is missing or of another type."""
    record: Json = feature["properties"]
    record["id"] = feature["id"]
    lon, lat = record["lon"], record["lat"] = feature["geometry"]["coordinates"]
    found = tuple(map(type, _typed_of(record)))
    if found not in _known_types:
        for (name, types), given in zip(_TYPES.items(), found, strict=True):
            if given not in types:
                wanted = " or ".join(_JSON_NAMES[kind] for kind in types)
                raise TypeError(f"{name} is {str(record[name])[:60]!r}, not {wanted}")
        _known_types.add(found)
    if not (-180.0 <= lon <= 180.0 and -90.0 <= lat <= 90.0):
        raise ValueError(f"lon {lon}, lat {lat} is outside WGS84")
    return record


_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("id", "class", "object_type", "status", "first_seen_at", "last_seen_at"), (str,)),
    **dict.fromkeys(("intersection_id", "ended_at", "replaced_by", "image_key", "image_url", "model"), (str, NoneType)),
    **dict.fromkeys(("lon", "lat", "standing_probability", "error_radius_m"), (float, int)),
    **dict.fromkeys(("facing_deg", "height_m", "assumed_size_m"), (float, int, NoneType)),
}
"""Of all that is told or compared by name."""
_JSON_NAMES: dict[type, str] = {str: "a text", float: "a number", int: "an integer", NoneType: "null"}
_typed_of = itemgetter(*_TYPES)
_known_types: set[tuple[type, ...]] = set()
"""Types that have been found good: there are few, and they are looked up faster than checked."""


def _compare(was: Json | None, now: Json | None, away_m: float) -> tuple[str, list[str]]:
    """The kind, as far as the two records tell it, and which of `FACTS` differ."""
    if was is None:
        return "added", []
    if now is None:
        return "removed", []
    if is_ended(was) != is_ended(now):
        return "ended" if is_ended(now) else "returned", []
    if _facts_of(was) != _facts_of(now) and (facts := [name for name in FACTS if not _same(name, was[name], now[name])]):
        return "changed", facts
    if away_m > max(MOVED_M, was["error_radius_m"]):
        return "moved", []
    return "reworked" if was["model"] != now["model"] else "refined", []


def _same(name: str, before: Any, after: Any) -> bool:
    if name == "facing_deg" and before is not None and after is not None:
        return abs((before - after + 180.0) % 360.0 - 180.0) <= TURNED_DEG
    return bool(before == after)


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
