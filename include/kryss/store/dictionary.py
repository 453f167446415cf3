"""The data dictionary of ``docs/database.md``, from the comments of a migrated database.

    PYTHONPATH=include .venv/bin/python -m kryss.store.dictionary "$(./kryss url)"

writes everything below the marker anew from a migrated database; what stands above it is written by hand. A test fails when the
file is stale.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from kryss.store.connect import make_engine, parse_url

PAGE = Path(__file__).resolve().parents[3] / "docs" / "database.md"
MARKER = "<!-- Below: the data dictionary, made from the database's comments by kryss.store.dictionary. Not by hand. -->\n"

COLUMNS = """
SELECT c.relname AS name, c.relkind = 'v' AS is_view, obj_description(c.oid, 'pg_class') AS said,
       a.attname AS column_name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null,
       coalesce(a.attnum = ANY (k.indkey), false) AS in_key, col_description(c.oid, a.attnum) AS column_said
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_index k ON k.indrelid = c.oid AND k.indisprimary
WHERE c.relnamespace = 'kryss'::regnamespace AND c.relkind IN ('r', 'v')
ORDER BY is_view, c.relname COLLATE "C", a.attnum
"""
FUNCTIONS = """
SELECT p.proname AS name, pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result,
       obj_description(p.oid, 'pg_proc') AS said
FROM pg_proc p WHERE p.pronamespace = 'kryss'::regnamespace ORDER BY p.proname COLLATE "C"
"""
INDEXES = """
SELECT i.relname AS name, t.relname AS table_name, regexp_replace(pg_get_indexdef(i.oid), '^.* USING ', '') AS definition
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
WHERE t.relnamespace = 'kryss'::regnamespace AND NOT x.indisprimary
ORDER BY t.relname COLLATE "C", i.relname COLLATE "C"
"""
SHORT = {
    "timestamp with time zone": "timestamptz",
    "timestamp with time zone[]": "timestamptz[]",
    "double precision": "float8",
    "double precision[]": "float8[]",
}


def describe(connection: Connection) -> str:
    """Tables, views, functions and indexes of the schema as Markdown."""
    columns = connection.execute(text(COLUMNS)).all()
    functions = connection.execute(text(FUNCTIONS)).all()
    indexes = connection.execute(text(INDEXES)).all()
    parts = []
    for is_view, relations in groupby(columns, key=lambda row: row.is_view):
        parts.append(
            "## Views\n"
            if is_view
            else "## Tables\n\nColumns of the primary key are **bold**; a ? marks a type that may be null.\n"
        )
        parts += [_relation(list(rows), is_view) for _, rows in groupby(relations, key=lambda row: row.name)]
    parts.append("## Functions\n")
    parts += [
        f"### {row.name}\n\n`{row.name}({_short(row.arguments)}) → {_short(row.result)}`\n\n{_cell(row.said)}\n"
        for row in functions
    ]
    parts.append("## Indexes\n\nBesides the primary keys.\n")
    parts.append(_table(("table", "index", "on"), [(row.table_name, row.name, f"`{_cell(row.definition)}`") for row in indexes]))
    return "\n".join(parts)


def _relation(rows: list[Any], is_view: bool) -> str:
    cells = [
        (
            f"**{row.column_name}**" if row.in_key else row.column_name,
            _short(row.type) + ("" if row.not_null or is_view else "?"),
            _cell(row.column_said),
        )
        for row in rows
    ]
    return f"### {rows[0].name}\n\n{_cell(rows[0].said)}\n\n" + _table(("column", "type", "meaning"), cells)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _short(types: str) -> str:
    for long, short in SHORT.items():
        types = types.replace(long, short)
    return types


def _cell(said: str | None) -> str:
    if said is None:
        raise ValueError("a table, view, column or function has no comment: write one in its migration")
    return said.replace("|", "\\|")


def with_dictionary(page: str, dictionary: str) -> str:
    """The page with this dictionary below its marker."""
    above, marker, _ = page.partition(MARKER)
    if not marker:
        raise ValueError(f"{PAGE.name} has lost the line that says where the dictionary begins: {MARKER.strip()}")
    return f"{above}{marker}\n{dictionary}"


def main(url: str) -> None:
    engine = make_engine(parse_url(url))
    with engine.connect() as connection:
        PAGE.write_text(with_dictionary(PAGE.read_text("utf-8"), describe(connection)), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
