"""COPY in text format (PostgreSQL manual, "COPY", File Formats) from Python values into a staging table."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from numbers import Integral, Real
from typing import Any

BATCH_ROWS = 10_000
"""Rows encoded at a time: some megabytes of text."""
READ_BYTES = 1 << 16
"""Bytes handed to the server at a time."""
NULL = "\\N"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_ARRAY_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"'})


def _text(value: str) -> str:
    plain = value.isprintable() and "\\" not in value  # a fifth of the time of translate, which few texts need
    return value if plain else value.translate(_ESCAPES)


def _instant(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError(f"instant {value.isoformat()} has no time zone; Kryss keeps UTC instants only")
    return value.isoformat()


def _number(value: Real) -> str:
    return str(int(value)) if isinstance(value, Integral) else repr(float(value))


def _array(values: Sequence[Any]) -> str:
    return _text("{" + ",".join([_element(value) for value in values]) + "}")


def _element(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.translate(_ARRAY_ESCAPES) + '"'
    return f'"{_instant(value)}"' if isinstance(value, datetime) else _number(value)


def _json(value: Mapping[str, Any]) -> str:
    return _text(json.dumps(value, allow_nan=False, ensure_ascii=False))


_ENCODERS: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: NULL,
    bool: lambda value: "t" if value else "f",
    int: str,
    float: repr,
    str: _text,
    datetime: _instant,
    list: _array,
    tuple: _array,
    dict: _json,
}


def encode_value(value: Any) -> str:
    """One value as COPY text. Floats keep every bit, instants every microsecond."""
    return _ENCODERS.get(type(value), _other)(value)


def encode(values: Iterable[Any]) -> str:
    """One line of COPY text."""
    return "\t".join([_ENCODERS.get(type(value), _other)(value) for value in values]) + "\n"


def _other(value: Any) -> str:
    """Numbers of other libraries, NumPy's above all."""
    if isinstance(value, Real):
        return _number(value)
    raise TypeError(f"cannot store {value!r} of type {type(value).__name__}")


def lines_of(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Rows as lines of COPY text."""
    return (encode([row[column] for column in columns]) for row in rows)


def copy_lines(cursor: Any, table: str, columns: Sequence[str], lines: Iterable[str]) -> int:
    """Appends rows to a table; returns how many. Holds `BATCH_ROWS` of them at a time."""
    count = 0
    sql = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
    source = iter(lines)
    while batch := list(islice(source, BATCH_ROWS)):
        cursor.copy_expert(sql, io.BytesIO("".join(batch).encode()), READ_BYTES)
        count += len(batch)
    return count
