"""The two ways rows reach a table: COPY into a staging table, then one guarded merge.

*Set tables* (metadata, detections, sightings) hold the latest statement: `merge_set` inserts what is new, updates what
differs and deletes what a statement about an image no longer has. *Version tables* hold beliefs in system time:
`merge_versions` closes the beliefs that changed and opens new ones. Both compare with ``IS DISTINCT FROM`` before they touch a
row: an equal row is not even locked. The caller holds the lock of the municipality, so nobody else writes its rows meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, text

from kryss.store.copying import copy_lines, lines_of
from kryss.store.errors import StoreError

ANALYZE_FROM_ROWS = 1_000
"""From here on the planner is told how large a temporary table is."""
WORK_MEM = "64MB"
"""Memory of each sort and half that of each hash of a merge; the server's default makes a million rows go through files."""
MANAGED = ("valid", "system", "system_at", "follows")
"""Columns that the store fills, never a noun."""
UNCOMPARED = ("reason",)
"""Columns of beliefs that say why a version was written, not what is believed."""
KEYS = ("code", "id", "image_id", "model_key", "object_id", "intersection_id")
"""Columns whose statistics the planner needs for the joins of a merge. Statistics of geometries take seconds."""


def written_columns(target: Table) -> list[str]:
    """The columns that come from nouns."""
    return [
        column.name
        for column in target.columns
        if column.computed is None and column.identity is None and column.name not in MANAGED
    ]


@contextmanager
def staged(connection: Connection, target: Table, columns: Sequence[str], lines: Iterable[str]) -> Iterator[tuple[str, int]]:
    """A temporary table with some columns of ``target``, filled by COPY and dropped afterwards: its name and number of rows."""
    name = f"staging_{target.name}"
    listed = ", ".join(columns)
    connection.exec_driver_sql(f"SET LOCAL work_mem = '{WORK_MEM}'")
    connection.exec_driver_sql(f"CREATE TEMP TABLE {name} ON COMMIT DROP AS SELECT {listed} FROM {target.fullname} WITH NO DATA")
    cursor = connection.connection.cursor()
    try:
        count = copy_lines(cursor, name, columns, lines)
    finally:
        cursor.close()
    if count >= ANALYZE_FROM_ROWS:
        keys = [column for column in columns if column in KEYS]
        connection.exec_driver_sql(f"ANALYZE {name} ({', '.join(keys)})")
    yield name, count
    connection.exec_driver_sql(f"DROP TABLE {name}")


def _match(left: str, right: str, columns: Iterable[str]) -> str:
    return " AND ".join(f"{left}.{column} = {right}.{column}" for column in columns)


def _values(alias: str, columns: Iterable[str]) -> str:
    return f"ROW({', '.join(f'{alias}.{column}' for column in columns)})"


def _run(connection: Connection, sql: str, **parameters: Any) -> int:
    return connection.execute(text(sql), parameters).rowcount


def _count(connection: Connection, sql: str, **parameters: Any) -> int:
    return connection.scalar(text(sql), parameters) or 0


def merge_set(
    connection: Connection, target: Table, source: Iterable[Mapping[str, Any]], *, stated: Mapping[str, Any] | None = None
) -> int:
    """Makes a set table agree with the rows; returns how many rows were inserted, updated or deleted.

    ``stated``: values of ``code`` and perhaps ``model_key``, and ``image_ids``, the images about which the rows say everything:
    their other rows go.
    """
    columns = written_columns(target)
    key = [column.name for column in target.primary_key]
    values = [column for column in columns if column not in key]
    with staged(connection, target, columns, lines_of(columns, source)) as (staging, _):
        written = 0
        if stated is not None:
            written += _delete_unstated(connection, target, staging, key, stated)
        updates = ", ".join(f"{column} = excluded.{column}" for column in values)
        written += _run(
            connection,
            f"INSERT INTO {target.fullname} AS t ({', '.join(columns)}) "
            f"SELECT {', '.join(f's.{column}' for column in columns)} FROM {staging} s "
            f"LEFT JOIN {target.fullname} c ON {_match('c', 's', key)} "
            f"WHERE c.{key[0]} IS NULL OR {_values('c', values)} IS DISTINCT FROM {_values('s', values)} "
            f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {updates}",
        )
    return written


def _delete_unstated(connection: Connection, target: Table, staging: str, key: list[str], stated: Mapping[str, Any]) -> int:
    fixed = {name: value for name, value in stated.items() if name != "image_ids"}
    conditions = " AND ".join(f"t.{name} = :{name}" for name in fixed)
    return _run(
        connection,
        f"DELETE FROM {target.fullname} t USING unnest(CAST(:image_ids AS text[])) AS i (image_id) "
        f"WHERE {conditions} AND t.image_id = i.image_id "
        f"AND NOT EXISTS (SELECT FROM {staging} s WHERE {_match('s', 't', key)})",
        image_ids=sorted(stated["image_ids"]),
        **fixed,
    )


@dataclass(frozen=True, slots=True)
class Counts:
    """What a write of beliefs did. ``new + changed + ended + unchanged`` is the number of beliefs that were given."""

    new: int = 0
    """Never known before."""
    changed: int = 0
    ended: int = 0
    """Known, and ended by this write."""
    unchanged: int = 0
    withdrawn: int = 0
    """Believed before and not given now: their system time was closed."""

    @property
    def written(self) -> int:
        return self.new + self.changed + self.ended + self.withdrawn


@dataclass(frozen=True, slots=True)
class Versioned:
    """How a table of beliefs is keyed, and where its ids are registered."""

    target: Table
    id_column: str
    registry: Table | None = None
    registry_columns: tuple[str, ...] = ()


def compared_columns(versioned: Versioned) -> list[str]:
    """The columns in which two beliefs about one thing may differ."""
    kept_out = ("code", versioned.id_column, *UNCOMPARED)
    return [column for column in written_columns(versioned.target) if column not in kept_out]


def undo_versions(connection: Connection, versioned: Versioned, code: str, at: datetime) -> None:
    """Takes back the beliefs that this transaction wrote, so that it can write again without empty ranges."""
    name = versioned.target.fullname
    _run(connection, f"DELETE FROM {name} WHERE code = :code AND lower(system) = :at", code=code, at=at)
    _run(
        connection,
        f"UPDATE {name} SET system = tstzrange(lower(system), NULL, '[)') WHERE code = :code AND upper(system) = :at",
        code=code,
        at=at,
    )


def merge_versions(
    connection: Connection,
    versioned: Versioned,
    lines: Iterable[str],
    code: str,
    at: Callable[[], datetime],
    *,
    again: bool = False,
) -> Counts:
    """Makes the beliefs of a municipality those of the lines (COPY text of `written_columns`, a thing at most once).

    ``at`` gives the instant of this transaction's changes; it is asked only if there is a change. ``again``: the transaction has
    written beliefs before and taken them back; ids that it registered then still count as new.
    """
    target, id_column = versioned.target, versioned.id_column
    with staged(connection, target, written_columns(target), lines) as (staging, given):
        changes = f"changes_{target.name}"
        found = _compare(connection, versioned, staging, changes, code)
        if not found["rows"]:
            return Counts(unchanged=given)
        now = at()
        new = _register(connection, versioned, staging, changes, code, now, again) if found["unopened"] else 0
        closed = _run(
            connection,
            f"UPDATE {target.fullname} v SET system = tstzrange(lower(v.system), :at, '[)') FROM {changes} c "
            f"WHERE v.ctid = c.opened AND v.{id_column} = c.id AND v.code = :code AND upper_inf(v.system)",
            code=code,
            at=now,
        )
        if closed != found["opened"]:
            raise StoreError(f"{target.name} of {code!r} was written by somebody who does not hold the lock of the municipality")
        _open(connection, versioned, staging, changes, code, now, any_returned=found["unopened"] > new or again)
        connection.exec_driver_sql(f"DROP TABLE {changes}")
    written = found["rows"] - found["withdrawn"]
    return Counts(new, written - new - found["ended"], found["ended"], given - written, found["withdrawn"])


def _compare(connection: Connection, versioned: Versioned, staging: str, changes: str, code: str) -> dict[str, int]:
    """Makes a temporary table of what differs between staged and open beliefs, in one pass over both; returns what it holds.

    ``id``; ``opened``: address of the open row, null where there is none (nobody moves a row while this transaction has its table
    open); ``staged``: whether the thing is believed still; ``ends``.
    """
    target, key = versioned.target, versioned.id_column
    values = compared_columns(versioned)
    ends = "v.status <> 'ended' AND s.status = 'ended'" if "status" in target.c else "false"
    opened = (
        f"SELECT ctid AS address, {', '.join([key, *values])} FROM {target.fullname} WHERE code = :code AND {_open_now(target)}"
    )
    differ = f"{_values('v', values)} IS DISTINCT FROM {_values('s', values)}"
    connection.execute(
        text(
            f"CREATE TEMP TABLE {changes} ON COMMIT DROP AS "
            f"SELECT coalesce(s.{key}, v.{key}) AS id, v.address AS opened, s.{key} IS NOT NULL AS staged, "
            f"coalesce({ends}, false) AS ends FROM {staging} s FULL JOIN ({opened}) v ON v.{key} = s.{key} "
            f"WHERE s.{key} IS NULL OR v.{key} IS NULL OR {differ}"
        ),
        {"code": code},
    )
    row = connection.exec_driver_sql(
        f"SELECT count(*) AS rows, count(opened) AS opened, count(*) FILTER (WHERE opened IS NULL) AS unopened, "
        f"count(*) FILTER (WHERE NOT staged) AS withdrawn, count(*) FILTER (WHERE ends) AS ended FROM {changes}"
    ).one()
    if row.rows >= ANALYZE_FROM_ROWS:
        connection.exec_driver_sql(f"ANALYZE {changes} (id)")
    return dict(row._mapping)


def _open_now(target: Table) -> str:
    """The condition of rows that are believed now, in the words of the index that finds them."""
    return "known_to IS NULL" if "known_to" in target.c else "upper_inf(system)"


def _register(
    connection: Connection, versioned: Versioned, staging: str, changes: str, code: str, at: datetime, again: bool
) -> int:
    """Registers ids that are given for the first time; returns how many things are new."""
    if versioned.registry is None:
        return _count(connection, f"SELECT count(*) FROM {changes} WHERE opened IS NULL")
    registry, extra = versioned.registry.fullname, versioned.registry_columns
    new = _run(
        connection,
        f"INSERT INTO {registry} (code, id, {', '.join(extra)}, first_system) "
        f"SELECT :code, c.id, {', '.join(f's.{column}' for column in extra)}, :at "
        f"FROM {changes} c JOIN {staging} s ON s.{versioned.id_column} = c.id WHERE c.opened IS NULL "
        f"AND NOT EXISTS (SELECT FROM {registry} r WHERE r.code = :code AND r.id = c.id)",
        code=code,
        at=at,
    )
    if again:
        new = _count(
            connection,
            f"SELECT count(*) FROM {changes} c JOIN {registry} r ON r.code = :code AND r.id = c.id "
            f"WHERE c.opened IS NULL AND r.first_system = :at",
            code=code,
            at=at,
        )
    return new


def _open(
    connection: Connection, versioned: Versioned, staging: str, changes: str, code: str, at: datetime, any_returned: bool
) -> None:
    """Opens the staged beliefs that differ. ``any_returned``: some were believed before, but not of late."""
    target, id_column = versioned.target, versioned.id_column
    columns = written_columns(target)
    given = [*(f"s.{column}" for column in columns), "tstzrange(:at, NULL, '[)')"]
    columns = [*columns, "system"]
    if "follows" in target.c:
        last = f"(SELECT max(v.known_to) FROM {target.fullname} v WHERE v.code = :code AND v.{id_column} = c.id)"
        given.append(f"CASE WHEN c.opened IS NOT NULL THEN CAST(:at AS timestamptz) {f'ELSE {last}' if any_returned else ''} END")
        columns.append("follows")
    _run(
        connection,
        f"INSERT INTO {target.fullname} ({', '.join(columns)}) SELECT {', '.join(given)} "
        f"FROM {staging} s JOIN {changes} c ON c.id = s.{id_column}",
        code=code,
        at=at,
    )
