"""The two ways rows reach a table: COPY into a staging table, then one guarded merge.

*Set tables* (metadata, detections, sightings) hold the latest statement: `merge_set` inserts what is new, updates what
differs and deletes what a statement about an image no longer has. *Version tables* hold beliefs in system time:
`write_versions` closes the beliefs that changed and opens new ones. Both compare with ``IS DISTINCT FROM`` before they touch a
row: an equal row is not even locked. The caller holds the lock of the municipality, so nobody else writes its rows meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, text

from kryss.store.copying import ANALYZE_FROM_ROWS, copy_rows

MANAGED = ("valid", "system", "system_at")
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
def staged(connection: Connection, target: Table, columns: Sequence[str], source: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A temporary table with some columns of ``target``, filled by COPY and dropped afterwards."""
    name = f"staging_{target.name}"
    listed = ", ".join(columns)
    connection.exec_driver_sql(f"CREATE TEMP TABLE {name} ON COMMIT DROP AS SELECT {listed} FROM {target.fullname} WITH NO DATA")
    cursor = connection.connection.cursor()
    try:
        count = copy_rows(cursor, name, columns, source)
    finally:
        cursor.close()
    if count >= ANALYZE_FROM_ROWS:
        keys = [column for column in columns if column in KEYS]
        connection.exec_driver_sql(f"ANALYZE {name} ({', '.join(keys)})")
    yield name
    connection.exec_driver_sql(f"DROP TABLE {name}")


def _match(left: str, right: str, columns: Iterable[str]) -> str:
    return " AND ".join(f"{left}.{column} = {right}.{column}" for column in columns)


def _values(alias: str, columns: Iterable[str]) -> str:
    return f"ROW({', '.join(f'{alias}.{column}' for column in columns)})"


def _run(connection: Connection, sql: str, **parameters: Any) -> int:
    return connection.execute(text(sql), parameters).rowcount


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
    with staged(connection, target, columns, source) as staging:
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


def compare_versions(connection: Connection, versioned: Versioned, staging: str, code: str, at: datetime | None) -> Counts:
    """What a write of staged beliefs would do. ``at``: instant of this transaction's earlier writes, whose ids count as new."""
    target, id_column = versioned.target, versioned.id_column
    values = compared_columns(versioned)
    if versioned.registry is not None:
        join = f"LEFT JOIN {versioned.registry.fullname} r ON r.code = :code AND r.id = s.{id_column}"
        is_new = "(r.id IS NULL OR coalesce(r.first_system = CAST(:at AS timestamptz), false))"
    else:
        join, is_new = "", f"(c.{id_column} IS NULL)"
    ends = "(c.status <> 'ended' AND s.status = 'ended')" if "status" in target.c else "false"
    same = f"(c.{id_column} IS NOT NULL AND {_values('c', values)} IS NOT DISTINCT FROM {_values('s', values)})"
    row = connection.execute(
        text(
            f"SELECT count(*) FILTER (WHERE same) AS unchanged, count(*) FILTER (WHERE NOT same AND is_new) AS new, "
            f"count(*) FILTER (WHERE NOT same AND NOT is_new AND ends) AS ended, "
            f"count(*) FILTER (WHERE NOT same AND NOT is_new AND NOT ends) AS changed "
            f"FROM (SELECT {same} AS same, {is_new} AS is_new, coalesce({ends}, false) AS ends FROM {staging} s "
            f"LEFT JOIN {target.fullname} c ON c.code = :code AND c.{id_column} = s.{id_column} AND upper_inf(c.system) {join}) q"
        ),
        {"code": code} if versioned.registry is None else {"code": code, "at": at},
    ).one()
    withdrawn = connection.scalar(
        text(
            f"SELECT count(*) FROM {target.fullname} c WHERE c.code = :code AND upper_inf(c.system) "
            f"AND NOT EXISTS (SELECT FROM {staging} s WHERE s.{id_column} = c.{id_column})"
        ),
        {"code": code},
    )
    return Counts(row.new, row.changed, row.ended, row.unchanged, withdrawn or 0)


def write_versions(connection: Connection, versioned: Versioned, staging: str, code: str, at: datetime) -> None:
    """Registers new ids, closes the beliefs that differ from the staged ones and opens the staged ones in their place."""
    target, id_column = versioned.target, versioned.id_column
    columns = written_columns(target)
    values = compared_columns(versioned)
    if versioned.registry is not None:
        extra = ", ".join(versioned.registry_columns)
        _run(
            connection,
            f"INSERT INTO {versioned.registry.fullname} (code, id, {extra}, first_system) "
            f"SELECT s.code, s.{id_column}, {', '.join(f's.{column}' for column in versioned.registry_columns)}, :at "
            f"FROM {staging} s WHERE NOT EXISTS "
            f"(SELECT FROM {versioned.registry.fullname} r WHERE r.code = s.code AND r.id = s.{id_column})",
            at=at,
        )
    _run(
        connection,
        f"UPDATE {target.fullname} c SET system = tstzrange(lower(c.system), :at, '[)') "
        f"WHERE c.code = :code AND upper_inf(c.system) AND NOT EXISTS (SELECT FROM {staging} s "
        f"WHERE s.{id_column} = c.{id_column} AND {_values('s', values)} IS NOT DISTINCT FROM {_values('c', values)})",
        code=code,
        at=at,
    )
    _run(
        connection,
        f"INSERT INTO {target.fullname} ({', '.join(columns)}, system) "
        f"SELECT {', '.join(f's.{column}' for column in columns)}, tstzrange(:at, NULL, '[)') FROM {staging} s "
        f"WHERE NOT EXISTS (SELECT FROM {target.fullname} c "
        f"WHERE c.code = :code AND c.{id_column} = s.{id_column} AND upper_inf(c.system))",
        code=code,
        at=at,
    )
