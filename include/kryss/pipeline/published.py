"""Reading what was published, file by file, for a web server: nothing is read that a release's own manifest does not name.

A release never changes, so its manifest is read once in a process and kept, until the file is another: a demo begins anew and
publishes other releases under the names of before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, BinaryIO, cast

import fsspec

RELEASE = re.compile(r"\d{4}-\d{2}-\d{2}\.[1-9]\d{0,5}")
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}(\.[a-z0-9]{1,12}){1,2}")
MANIFEST, LATEST = "manifest.json", "latest.json"
CHUNK = 256 * 1024


class NotPublished(LookupError):  # noqa: N818 - it says what is the case
    """There is no such release or file; the text says which."""


class Unreadable(RuntimeError):  # noqa: N818 - it says what is the case
    """What should be there cannot be read: storage is away, or a file is broken. The text holds no address and no secret."""


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turns whatever storage raises into `NotPublished` or `Unreadable`, in words without its address."""
    try:
        yield
    except (NotPublished, Unreadable):
        raise
    except FileNotFoundError:
        raise NotPublished(f"{what} is not there") from None
    except ValueError:
        raise Unreadable(f"{what} cannot be understood: it is not the JSON that Kryss writes") from None
    except Exception as error:  # every kind of storage has its own errors
        raise Unreadable(f"{what} cannot be read: {type(error).__name__}") from error


@dataclass(frozen=True)
class Entry:
    """One file of a release."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a release says of itself: ``document`` is its manifest, ``files`` the files that may be read."""

    document: Mapping[str, Any]
    files: Mapping[str, Entry] = field(repr=False)


class Published:
    """The releases of one municipality under a release URL (fsspec)."""

    def __init__(self, root_url: str, code: str) -> None:
        self._url = f"{root_url.rstrip('/')}/{code}"
        self._code = code

    def latest(self) -> dict[str, Any]:
        """``latest.json``. Raises NotPublished before the first release."""
        with reading(f"{LATEST} of {self._code}"):
            pointer = json.loads(self.latest_bytes())
            if not isinstance(pointer, dict) or not RELEASE.fullmatch(str(pointer.get("release"))):
                raise Unreadable(f"{LATEST} of {self._code} names no release")
            return pointer

    def latest_bytes(self) -> bytes:
        with reading(f"{LATEST} of {self._code}"):
            return self._read(LATEST)

    def manifest(self, release: str) -> Manifest:
        if not RELEASE.fullmatch(release):
            raise NotPublished(f"{release[:40]!r} is no release; those are called YYYY-MM-DD.N")
        with reading(f"release {release} of {self._code}"):
            filesystem, path = _filesystem(self._url)
            found = filesystem.info(f"{path}/{release}/{MANIFEST}")
            stamp = [
                str(found.get(name)) for name in ("size", "ino", "mtime", "created", "LastModified", "updated", "ETag", "etag")
            ]
            return _manifest(self._url, release, " ".join(stamp))

    def open(self, release: str, name: str) -> tuple[BinaryIO, Entry | None]:
        """A file of a release, with what the manifest says of it (of itself it says nothing). The caller closes it."""
        manifest = self.manifest(release)
        if name != MANIFEST and (not FILE.fullmatch(name) or name not in manifest.files):
            raise NotPublished(f"release {release} has no file {name[:80]!r}")
        with reading(f"{name} of release {release}"):
            filesystem, path = _filesystem(self._url)
            return cast(BinaryIO, filesystem.open(f"{path}/{release}/{name}", "rb")), manifest.files.get(name)

    def _read(self, name: str) -> bytes:
        filesystem, path = _filesystem(self._url)
        return bytes(filesystem.cat_file(f"{path}/{name}"))


def chunks(file: BinaryIO) -> Iterator[bytes]:
    """The bytes of a file a quarter of a megabyte at a time; closes it."""
    with file:
        while chunk := file.read(CHUNK):
            yield chunk


def _filesystem(url: str) -> tuple[Any, str]:
    options = {"use_listings_cache": False} if "://" in url and not url.startswith("file://") else {}
    return cast(tuple[Any, str], fsspec.core.url_to_fs(url, **options))


@lru_cache(maxsize=64)
def _manifest(url: str, release: str, stamp: str) -> Manifest:
    """``stamp``: what tells this file from another in its place."""
    filesystem, path = _filesystem(url)
    document = json.loads(filesystem.cat_file(f"{path}/{release}/{MANIFEST}"))
    if not isinstance(document, dict) or not isinstance(document.get("files"), list):
        raise Unreadable(f"the manifest of release {release} lists no files")
    try:
        files = {str(one["name"]): Entry(str(one["name"]), int(one["bytes"]), str(one["sha256"])) for one in document["files"]}
    except (KeyError, TypeError):
        raise Unreadable(f"the manifest of release {release} lists its files wrongly") from None
    return Manifest(document, files)
