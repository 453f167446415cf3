"""Where releases lie: ``<root>/<code>/<YYYY-MM-DD.N>/`` and ``<root>/<code>/latest.json``, in a folder or an object store.

A release is there once its folder holds ``manifest.json``, and current once ``latest.json`` names it. In a folder it is written
under a temporary name, flushed and renamed as a whole; an object store knows no rename, so there ``manifest.json`` is written
last. Either way a writer that dies leaves what was published untouched, and its leftovers are removed by the next one.

In a folder, one writer at a time holds a lock on the municipality's directory, which the kernel drops when the writer dies. On
an object store the scheduler must see to it (one active run per municipality).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from kryss.layer.geojson import Json, LayerError, dump

MANIFEST = "manifest.json"
LATEST = "latest.json"
TEMPORARY = ".writing-"
_NAME = re.compile(r"^(\d{4}-\d{2}-\d{2})\.([1-9]\d*)$")
_WORDS = re.compile(rb'"([\w-]+)"')
_CODE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")


def name_key(name: str) -> tuple[str, int]:
    """Sorts release names: by date, then by number."""
    match = _NAME.match(name)
    if not match:
        raise LayerError(f"{name!r} is no release name; it is YYYY-MM-DD.N")
    return match[1], int(match[2])


class Shelf:
    """The releases of one municipality."""

    def __init__(self, root_url: str, code: str, storage_options: Mapping[str, Any] | None = None) -> None:
        if not _CODE.match(code):
            raise LayerError(f"municipality code {code!r} cannot name a folder; use letters, digits, '-', '_' and '.'")
        self.url = f"{str(root_url).rstrip('/')}/{code}"
        options = dict(storage_options or {})
        if "://" in self.url and not self.url.startswith("file://"):
            options.setdefault("use_listings_cache", False)
        self._fs, self._path = fsspec.core.url_to_fs(self.url, **options)
        self._local = isinstance(self._fs, LocalFileSystem)

    def release_url(self, name: str) -> str:
        return f"{self.url}/{name}"

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds other writers off, and removes what a dead one left."""
        if not self._local:
            yield
            return
        Path(self._path).mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            for leftover in Path(self._path).glob(f"{TEMPORARY}*"):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            yield
        finally:
            os.close(handle)

    def names(self) -> list[str]:
        """The complete releases, oldest first."""
        if not self._fs.isdir(self._path):
            return []
        found = [path.rstrip("/").rsplit("/", 1)[-1] for path in self._fs.ls(self._path, detail=False)]
        whole = [name for name in found if _NAME.match(name) and self._fs.exists(f"{self._path}/{name}/{MANIFEST}")]
        return sorted(whole, key=name_key)

    def read(self, name: str) -> bytes:
        return bytes(self._fs.cat_file(f"{self._path}/{name}"))

    def naming(self, texts: Collection[str]) -> dict[str, list[str]]:
        """The releases that hold one of these JSON strings (ids), oldest first, each with its files that do."""
        found: dict[str, list[str]] = {}
        wanted = {text.encode() for text in texts}
        for name in self.names():
            files = sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in self._fs.ls(f"{self._path}/{name}", detail=False))
            holding = [file for file in files if not wanted.isdisjoint(_WORDS.findall(self.read(f"{name}/{file}")))]
            if holding:
                found[name] = holding
        return found

    def latest(self) -> Json | None:
        if not self._fs.exists(f"{self._path}/{LATEST}"):
            return None
        pointer: Json = json.loads(self.read(LATEST))
        return pointer

    def add(self, name: str, files: Mapping[str, bytes]) -> None:
        """Adds a release as a whole. A complete release of that name is never touched."""
        if name in self.names():
            raise LayerError(f"release {name} exists in {self.url}; releases are immutable")
        ordered = sorted(files, key=lambda file: (file == MANIFEST, file))
        if self._local:
            temporary = Path(self._path) / f"{TEMPORARY}{name}-{uuid.uuid4().hex}"
            temporary.mkdir()
            for file in ordered:
                _write_through(temporary / file, files[file])
            _flush_directory(temporary)
            final = Path(self._path) / name
            if final.exists():  # a folder without a manifest is no release: something else made it
                shutil.rmtree(final)
            temporary.rename(final)
            _flush_directory(Path(self._path))
            return
        if self._fs.exists(f"{self._path}/{name}"):
            self._fs.rm(f"{self._path}/{name}", recursive=True)
        for file in ordered:
            self._fs.pipe_file(f"{self._path}/{name}/{file}", files[file])

    def point(self, pointer: Json) -> None:
        """Replaces ``latest.json``; a reader sees the old one or the new one."""
        if not self._local:
            self._fs.pipe_file(f"{self._path}/{LATEST}", dump(pointer))
            return
        temporary = Path(self._path) / f"{TEMPORARY}{LATEST}-{uuid.uuid4().hex}"
        _write_through(temporary, dump(pointer))
        temporary.replace(Path(self._path) / LATEST)
        _flush_directory(Path(self._path))


def _write_through(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
