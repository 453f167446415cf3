"""Photos under a URL (``file://``, ``s3://``, ``gs://``, ``memory://``; fsspec), one object ``<prefix>/<id>.jpg``
each, written whole or not at all.

An object store makes an object visible when it is complete. A file system does not: there the bytes go to a temporary
name in the same folder, to the disk, and are then renamed.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem


class PhotoStore:
    """Photos keyed by image id. Safe to use from several threads and processes: the last writer of an id wins,
    whole."""

    def __init__(self, url: str, **storage_options: Any):
        self.url = url.rstrip("/")
        self._fs, root = fsspec.core.url_to_fs(self.url, **storage_options)
        self._root = root.rstrip("/")

    def __repr__(self) -> str:
        return f"PhotoStore({self.url!r})"

    def url_of(self, image_id: str) -> str:
        return f"{self.url}/{_name(image_id)}"

    def has(self, image_id: str) -> bool:
        """Whether a photo that is not empty is stored."""
        try:
            return bool(self._fs.info(self._path(image_id), refresh=True)["size"])
        except FileNotFoundError:
            return False

    def read(self, image_id: str) -> bytes:
        return cast(bytes, self._fs.cat_file(self._path(image_id)))

    def open(self, image_id: str) -> BinaryIO:
        return cast(BinaryIO, self._fs.open(self._path(image_id), "rb"))

    def put(self, image_id: str, photo: bytes) -> None:
        path = self._path(image_id)
        if isinstance(self._fs, LocalFileSystem):
            write_atomically(Path(path), photo)
        else:
            self._fs.pipe_file(path, photo)

    def delete(self, image_id: str) -> None:
        """Remove a photo; nothing happens where there is none."""
        try:
            self._fs.rm_file(self._path(image_id))
        except FileNotFoundError:
            return

    def ids(self) -> list[str]:
        """Ids of all stored photos, sorted."""
        try:
            names = [entry.rsplit("/", 1)[-1] for entry in self._fs.ls(self._root, detail=False, refresh=True)]
        except FileNotFoundError:
            return []
        return sorted(name[:-4] for name in names if name.endswith(".jpg") and name[:-4].isdigit())

    def _path(self, image_id: str) -> str:
        return f"{self._root}/{_name(image_id)}"


def write_atomically(path: Path, content: bytes) -> None:
    """A file with all of its content or, whatever happens, no such file: temporary name, flush to the disk, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _name(image_id: str) -> str:
    if not image_id.isdigit():
        raise ValueError(f"image id {image_id!r} is not a string of digits and cannot name a photo")
    return f"{image_id}.jpg"
