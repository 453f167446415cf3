"""What stages leave for each other: JSON lines under the state URL (fsspec), written under a temporary name and renamed.

A file is named by the input it was made from, so a file that is there is finished and right, and is not made again.
"""

from __future__ import annotations

import gzip
import io
import json
import uuid
import zipfile
from collections.abc import Hashable, Iterable
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar, cast

import fsspec
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

T = TypeVar("T")


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


class State:
    """A folder of finished files behind a URL."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._fs, self._root = fsspec.core.url_to_fs(self.url)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def has(self, name: str) -> bool:
        return bool(self._fs.exists(self._path(name)))

    def names(self, folder: str) -> list[str]:
        """The finished files of a folder, sorted, as names that ``read_*`` takes."""
        path = self._path(folder)
        if not self._fs.exists(path):
            return []
        found = (entry.rsplit("/", 1)[-1] for entry in self._fs.ls(path, detail=False))
        return sorted(f"{folder}/{name}" for name in found if not name.startswith("."))

    def below(self, folder: str) -> list[str]:
        """The finished files of a folder and of all folders in it, sorted, as names that ``read_*`` takes."""
        path = self._path(folder)
        if not self._fs.exists(path):
            return []
        found = (entry.removeprefix(f"{self._root}/") for entry in self._fs.find(path))
        return sorted(name for name in found if not name.rsplit("/", 1)[-1].startswith("."))

    def write_bytes(self, name: str, data: bytes) -> str:
        path = self._path(name)
        folder, leaf = path.rsplit("/", 1)
        self._fs.makedirs(folder, exist_ok=True)
        temporary = f"{folder}/.{leaf}.{uuid.uuid4().hex}"
        with self._fs.open(temporary, "wb") as file:
            file.write(data)
        self._fs.mv(temporary, path)
        return name

    def read_bytes(self, name: str) -> bytes:
        with self._fs.open(self._path(name), "rb") as file:
            return file.read()

    def remove(self, name: str) -> None:
        """Removes a finished file; one that is gone already is no error."""
        with suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def write_json(self, name: str, value: Any) -> str:
        return self.write_bytes(name, json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1).encode() + b"\n")

    def read_json(self, name: str) -> Any:
        return json.loads(self.read_bytes(name))

    def write_rows(self, name: str, kind: type[T], rows: Iterable[T]) -> str:
        """Gzipped JSON lines of nouns; the same rows give the same bytes."""
        adapter = _adapter(cast(Hashable, kind))
        lines = b"\n".join(adapter.dump_json(row) for row in rows)
        return self.write_bytes(name, gzip.compress(lines, compresslevel=5, mtime=0))

    def read_rows(self, name: str, kind: type[T]) -> list[T]:
        adapter = _adapter(cast(Hashable, kind))
        return [adapter.validate_json(line) for line in gzip.decompress(self.read_bytes(name)).split(b"\n") if line]


class CellMemo:
    """What fusion found in each cell (:class:`kryss.positioning.fuse.Memo`), a file a cell under ``folder``.

    A file that cannot be read is as good as none.
    """

    def __init__(self, state: State, folder: str) -> None:
        self._state, self._folder = state, folder
        self._used: set[str] = set()

    def get(self, key: str) -> dict[str, NDArray[Any]] | None:
        name = self._name(key)
        try:
            with np.load(io.BytesIO(self._state.read_bytes(name)), allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def put(self, key: str, arrays: dict[str, NDArray[Any]]) -> None:
        data = io.BytesIO()
        np.savez_compressed(data, **arrays)  # type: ignore[arg-type]
        self._state.write_bytes(self._name(key), data.getvalue())

    def forget_others(self) -> None:
        """Removes the cells that were not asked for: they are no longer as they were."""
        for name in set(self._state.names(self._folder)) - self._used:
            self._state.remove(name)

    def _name(self, key: str) -> str:
        name = f"{self._folder}/{key}.npz"
        self._used.add(name)
        return name
