"""Reading a data file of a release without parsing it: one Feature a line, in the order of the bytes of the ids.

`FeatureLines` goes through such a file once and checks its frame and its order on the way; afterwards single Features are
found by bisection on the file itself, so that no index is held in memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from kryss.layer.geojson import LayerError

FIRST = b'{"type":"FeatureCollection",'
FEATURES = b'"features":['
FEATURE = b'{"type":"Feature","id":"'
_ID = len(FEATURE)
_HEAD_LINES, _HEAD_BYTES = 1_000, 16 << 20
_BUFFER, _PROBE = 1 << 20, 4_096

Line = tuple[bytes, bytes, int]
"""Id (UTF-8), the Feature (its JSON without comma and newline), and where that begins in the file (bytes)."""


class FeatureLines:
    """``objects.geojson``, ``areas.geojson`` or ``roads.geojson`` at ``path``; ``name`` is what messages call it."""

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.name = name or str(path)
        self._file = path.open("rb", buffering=_BUFFER)
        self._size = os.fstat(self._file.fileno()).st_size
        self.head: dict[str, Any] = {}
        self._lines = 0
        try:
            self._read_head()
        except BaseException:
            self._file.close()
            raise
        self._start = self._file.tell()

    def __enter__(self) -> FeatureLines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Line]:
        """Every Feature, once. Raises `LayerError` at the first line that a release would not hold, or out of order."""
        number, at, last, first = self._lines, self._start, b"", True
        for raw in self._file:
            number += 1
            begin = 0 if first else 1
            if not raw.startswith(FEATURE, begin) or raw[:begin] not in (b"", b",") or raw[-2:] != b"}\n":
                if raw.rstrip() == b"]}":
                    self._expect_end(number)
                    return
                raise self._no_feature(number, raw)
            body = raw[begin:-1]
            key = body[_ID : body.find(b'"', _ID)]
            if b"\\" in key:
                key = self._escaped(number, body)
            if key <= last and not first:
                order = "repeats an id" if key == last else "is out of order"
                raise self.error(number, f"{order}: {_told(key)} after {_told(last)}; a release has its Features in order of id")
            last, first = key, False
            yield key, body, at + begin
            at += len(raw)
        raise self.error(number + 1, "the file ends before its last line ]}: it was cut off")

    def find(self, key: bytes) -> bytes | None:
        """The Feature of this id. The file must have been gone through: its order is relied on."""
        low, high = self._start, self._size
        while low < high:
            middle = (low + high) // 2
            begin = low if middle == low else self._next_line(middle - 1)
            found, body, end = self._line_at(begin) if begin < high else (None, b"", high)
            if found is None or found > key:
                high = middle
            elif found < key:
                low = end
            else:
                return body
        return None

    def at(self, begin: int, length: int) -> bytes:
        """What lies there in the file (bytes)."""
        return os.pread(self._file.fileno(), length, begin)

    def parse(self, body: bytes, read: Callable[[Any], Any]) -> Any:
        """What ``read`` makes of the parsed line; `LayerError` with the number of the line where it cannot."""
        try:
            return read(orjson.loads(body))
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise self.error(self._number_of(body), _words(error)) from None

    def error(self, number: int, what: str) -> LayerError:
        return LayerError(f"{self.name}, line {number}: {what}")

    def _read_head(self) -> None:
        raw = self._head_line()
        if raw.rstrip() != FIRST:
            what = "it is empty" if not raw else f"it begins with {_told(raw[:60])}"
            raise self.error(1, f"no file of a release, whose first line is {FIRST.decode()} ({what})")
        members = []
        while (raw := self._head_line().rstrip()) != FEATURES:
            if not raw.endswith(b",") or self._lines > _HEAD_LINES:
                raise self.error(self._lines, f"no member of a release's head: {_told(raw[:60])}")
            members.append(raw[:-1])
        try:
            self.head = orjson.loads(b"{" + b",".join(members) + b"}")
        except orjson.JSONDecodeError as error:
            raise self.error(self._lines, f"the head is no JSON: {error}") from None

    def _head_line(self) -> bytes:
        self._lines += 1
        return self._file.readline(_HEAD_BYTES)

    def _expect_end(self, number: int) -> None:
        if self._file.read(64).strip():
            raise self.error(number + 1, "something follows the end of the collection")

    def _no_feature(self, number: int, raw: bytes) -> LayerError:
        if not raw.endswith(b"\n"):
            return self.error(number, "the file ends inside this line: it was cut off")
        return self.error(
            number, f"no Feature as a release writes it, which begins with {FEATURE.decode()} (found {_told(raw[:60])})"
        )

    def _escaped(self, number: int, body: bytes) -> bytes:
        try:
            return str(orjson.loads(body)["id"]).encode()
        except orjson.JSONDecodeError as error:
            raise self.error(number, f"no JSON: {error}") from None

    def _next_line(self, at: int) -> int:
        """Where the line after the one that holds ``at`` begins."""
        while probe := self.at(at, _PROBE):
            if (newline := probe.find(b"\n")) >= 0:
                return at + newline + 1
            at += len(probe)
        return self._size

    def _line_at(self, begin: int) -> tuple[bytes | None, bytes, int]:
        """Id (None: the end of the collection) and Feature of the line that begins there, and where the next begins."""
        raw = b""
        while b"\n" not in raw and (more := self.at(begin + len(raw), max(_PROBE, len(raw)))):
            raw += more
        raw = raw.partition(b"\n")[0]
        end = begin + len(raw) + 1
        body = raw.removeprefix(b",")
        if not body.startswith(FEATURE):
            return None, b"", end
        key = body[_ID : body.find(b'"', _ID)]
        return (str(orjson.loads(body)["id"]).encode() if b"\\" in key else key), body, end

    def _number_of(self, body: bytes) -> int:
        """Number of the line that holds it; only for messages."""
        self._file.seek(0)
        return next((number for number, raw in enumerate(self._file, 1) if raw.rstrip(b"\n").removeprefix(b",") == body), 0)


def _told(data: bytes) -> str:
    return ascii(data.decode(errors="replace")[:80].rstrip("\n"))


def _words(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)
