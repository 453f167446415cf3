"""The files of a release while they are written: streamed in chunks, each beside its gzip, with size and sha256 on the way.

Memory does not grow with the file. gzip (RFC 1952) is one member without name and time, level 6, made in a thread: zlib and
sha256 release the interpreter's lock. What is written is flushed to the disk before it is told.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

CHUNK_BYTES = 1 << 18
"""Everything is written, hashed and compressed in pieces of this size, wherever the features begin and end."""
WAITING_CHUNKS = 8
"""As many may wait for the compressor."""
GZIP_LEVEL = 6
GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""Deflate, no flags, no time, operating system unknown: of no machine."""

Write = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file as the manifest lists it."""

    name: str
    bytes: int
    sha256: str


class _Hashed:
    """A file that knows the size and sha256 of what went into it."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._file: BinaryIO = path.open("xb")
        self._sha256 = hashlib.sha256()
        self._bytes = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha256.update(data)
        self._bytes += len(data)

    def finish(self) -> FileEntry:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return FileEntry(self.name, self._bytes, self._sha256.hexdigest())

    def close(self) -> None:
        self._file.close()


class _Gzip:
    """Compresses in a thread what it is given."""

    def __init__(self, path: Path) -> None:
        self._target = _Hashed(path)
        self._waiting: queue.Queue[bytes | None] = queue.Queue(WAITING_CHUNKS)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"gzip {path.name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._compress()
        except BaseException as failure:
            self._failure = failure
            while self._waiting.get() is not None:  # the writer must not wait for room that nobody makes
                pass

    def _compress(self) -> None:
        deflate = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        checksum, size = 0, 0
        self._target.write(GZIP_HEADER)
        while (chunk := self._waiting.get()) is not None:
            checksum, size = zlib.crc32(chunk, checksum), size + len(chunk)
            if packed := deflate.compress(chunk):
                self._target.write(packed)
        self._target.write(deflate.flush() + struct.pack("<LL", checksum, size & 0xFFFFFFFF))

    def write(self, chunk: bytes) -> None:
        if self._failure is not None:
            raise self._failure
        self._waiting.put(chunk)

    def finish(self) -> FileEntry:
        self.close_thread()
        if self._failure is not None:
            raise self._failure
        return self._target.finish()

    def close_thread(self) -> None:
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()

    def close(self) -> None:
        self.close_thread()
        self._target.close()


class Sink:
    """Takes bytes of any length for a file and its gzip."""

    def __init__(self, plain: _Hashed | None, packed: _Gzip | None) -> None:
        self._targets = [target for target in (plain, packed) if target is not None]
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size >= CHUNK_BYTES:
            whole = b"".join(self._parts)
            end = len(whole) - len(whole) % CHUNK_BYTES
            for start in range(0, end, CHUNK_BYTES):
                self._emit(whole[start : start + CHUNK_BYTES])
            self._parts, self._size = [whole[end:]], len(whole) - end

    def _emit(self, chunk: bytes) -> None:
        for target in reversed(self._targets):
            target.write(chunk)

    def finish(self) -> list[FileEntry]:
        self._emit(b"".join(self._parts))
        self._parts = []
        return [target.finish() for target in self._targets]


@contextmanager
def sink(path: Path, *, gzip: bool = True) -> Iterator[tuple[Sink, list[FileEntry]]]:
    """Writes ``path`` and, with ``gzip``, ``path.gz``; the list holds their entries once the block is left well."""
    entries: list[FileEntry] = []
    plain = _Hashed(path)
    try:
        packed = _Gzip(gzip_path(path)) if gzip else None
        try:
            target = Sink(plain, packed)
            yield target, entries
            entries += target.finish()
        finally:
            if packed is not None:
                packed.close()
    finally:
        plain.close()


def gzip_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.gz")


def write_file(path: Path, lines: Iterable[bytes], *, gzip: bool = True) -> list[FileEntry]:
    """``lines`` (with their line ends) as one file, and its gzip beside it."""
    with sink(path, gzip=gzip) as (target, entries):
        for line in lines:
            target.write(line)
    return entries


def write_collection(
    path: Path, bbox: Sequence[float] | None, fill: Callable[[Write], int], *, gzip: bool = True
) -> tuple[int, list[FileEntry]]:
    """A FeatureCollection of what ``fill`` hands to its argument, one Feature a call and a line; how many there were."""
    batch: list[bytes] = []
    size, begun = 0, False

    def flush() -> None:
        nonlocal size, begun
        if batch:
            target.write((b"," if begun else b"") + b"\n,".join(batch) + b"\n")
            batch.clear()
            size, begun = 0, True

    def write(feature: bytes) -> None:
        nonlocal size
        batch.append(feature)
        size += len(feature)
        if size >= CHUNK_BYTES:
            flush()

    with sink(path, gzip=gzip) as (target, entries):
        target.write(b'{"type":"FeatureCollection",\n')
        if bbox is not None:
            target.write(b'"bbox":' + json.dumps(list(bbox), allow_nan=False, separators=(",", ":")).encode() + b",\n")
        target.write(b'"features":[\n')
        count = fill(write)
        flush()
        target.write(b"]}\n")
    return count, entries


def read_chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


class Draft:
    """A folder that becomes a release, and the entries of its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: dict[str, FileEntry] = {}

    def _enter(self, entries: Iterable[FileEntry]) -> None:
        self.entries.update((entry.name, entry) for entry in entries)

    def collection(self, name: str, bbox: Sequence[float] | None, fill: Callable[[Write], int]) -> int:
        """Writes a data file and its gzip; how many features it has."""
        count, entries = write_collection(self.folder / name, bbox, fill)
        self._enter(entries)
        return count

    def add(self, name: str, data: bytes) -> FileEntry:
        """Writes a small file."""
        entries = write_file(self.folder / name, [data], gzip=False)
        self._enter(entries)
        return entries[0]

    def adopt(self, name: str, *, gzip: bool = False) -> None:
        """Enters a file that lies in the folder already, and with ``gzip`` makes its gzip."""
        path = self.folder / name
        target: _Gzip | None = None
        sha256, size = hashlib.sha256(), 0
        with path.open("rb") as file:
            try:
                target = _Gzip(gzip_path(path)) if gzip else None
                for chunk in read_chunks(file):
                    sha256.update(chunk)
                    size += len(chunk)
                    if target is not None:
                        target.write(chunk)
                if target is not None:
                    self._enter([target.finish()])
            finally:
                if target is not None:
                    target.close()
            os.fsync(file.fileno())
        self._enter([FileEntry(name, size, sha256.hexdigest())])

    def adopt_rest(self) -> None:
        """Enters every file that nobody has entered."""
        for path in sorted(self.folder.iterdir()):
            if path.name not in self.entries:
                self.adopt(path.name)

    def listed(self) -> list[FileEntry]:
        """By name."""
        return [self.entries[name] for name in sorted(self.entries)]
