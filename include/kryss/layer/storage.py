"""Where releases lie: ``<root>/<code>/<YYYY-MM-DD.N>/`` and ``<root>/<code>/latest.json``, in a folder or an object store.

A release is complete once its folder holds ``manifest.json``, and current once ``latest.json`` names it. In a folder it is
written under a temporary name, flushed and renamed as a whole; an object store knows no rename: there it is written to a local
folder and uploaded, ``manifest.json`` last. Either way a writer that dies leaves what was published untouched, and the next
writer removes its leftovers. Taking away goes the other way round: a release stops being one before its files go.

One writer at a time holds a lock, which the kernel drops when the writer dies: in a folder on the municipality's directory, for
an object store on a folder of this machine. Writers of one municipality on several machines are kept apart by the scheduler
(one active run); where they are not, an upload that another writer disturbed is found before its manifest is written.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from kryss.layer.files import read_chunks
from kryss.layer.geojson import Json, LayerError, dump

MANIFEST = "manifest.json"
LATEST = "latest.json"
TEMPORARY, REMOVING = ".writing-", ".removing-"
UPLOAD_PART_BYTES, UPLOADS_AT_ONCE = 1 << 24, 4
"""A large file goes up in parts: 64 MiB of memory at most."""
CONTENT_TYPES = {
    ".geojson": "application/geo+json",
    ".json": "application/json",
    ".gz": "application/gzip",
    ".html": "text/html; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".qml": "text/xml; charset=utf-8",
    ".parquet": "application/vnd.apache.parquet",
    ".pmtiles": "application/vnd.pmtiles",
}
PACKED = (".gz", ".fgb", ".parquet", ".pmtiles")
"""Files that repeat what a plain file says, in a form that cannot be searched."""
FEW = 16
"""So many ids are looked for one by one."""
_NAME = re.compile(r"^(\d{4}-\d{2}-\d{2})\.([1-9]\d*)$")
_WORDS = re.compile(rb'"([\w-]+)"')
_CODE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")

log = logging.getLogger(__name__)


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
        self.code = code
        self.url = f"{str(root_url).rstrip('/')}/{code}"
        options = dict(storage_options or {})
        if "://" in self.url and not self.url.startswith("file://"):
            options.setdefault("use_listings_cache", False)
        self._fs, self._path = fsspec.core.url_to_fs(self.url, **options)
        self._path = self._path.rstrip("/")
        self._local = isinstance(self._fs, LocalFileSystem)
        self._work: Path | None = None

    def release_url(self, name: str) -> str:
        return f"{self.url}/{name}"

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds other writers off, and removes what a dead one left. Within itself it does nothing."""
        if self._work is not None:
            yield
            return
        work = Path(self._path) if self._local else _own_folder(self.url)
        work.mkdir(parents=True, exist_ok=True)
        handle = os.open(work, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            for leftover in (*work.glob(f"{TEMPORARY}*"), *work.glob(f"{REMOVING}*")):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            self._work = work
            if not self._local:
                self._clear()
            yield
        finally:
            self._work = None
            os.close(handle)

    def _clear(self) -> None:
        """Removes from an object store the files of releases that have no manifest: half an upload, or half a removal."""
        for name, files in self._stored().items():
            if MANIFEST not in files:
                log.warning("%s/%s has no %s: a writer died; removed", self.url, name, MANIFEST)
                self._fs.rm(f"{self._path}/{name}", recursive=True)
        if _is_s3(self._fs):
            self._abort_uploads()

    def _abort_uploads(self) -> None:
        """Parts of large files that were never put together: nobody sees them, but they are paid for."""
        bucket, _, prefix = self._path.partition("/")
        try:
            pending = self._fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=f"{prefix}/").get("Uploads", ())
            for upload in pending:
                self._fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        except OSError as error:  # a key that may only put and get is enough to publish
            log.info("%s: unfinished uploads could not be looked for: %s", self.url, error)

    def _stored(self) -> dict[str, dict[str, int]]:
        """Of an object store, in one listing: what lies under each release name, with sizes."""
        found: dict[str, dict[str, int]] = {}
        for path, told in self._fs.find(self._path, detail=True).items():
            name, _, file = path.removeprefix(f"{self._path}/").partition("/")
            if file and _NAME.match(name):
                found.setdefault(name, {})[file] = told["size"]
        return found

    def names(self) -> list[str]:
        """The complete releases, oldest first."""
        if self._local:
            root = Path(self._path)
            found = [path.name for path in root.iterdir() if _NAME.match(path.name)] if root.is_dir() else []
            return sorted((name for name in found if (root / name / MANIFEST).is_file()), key=name_key)
        return sorted((name for name, files in self._stored().items() if MANIFEST in files), key=name_key)

    def files(self, name: str) -> list[str]:
        """What lies in the folder of a release, by path within it."""
        if self._local:
            root = Path(self._path) / name
            return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())
        root_path = f"{self._path}/{name}/"
        return sorted(path.removeprefix(root_path) for path in self._fs.find(root_path))

    def read(self, name: str) -> bytes:
        return bytes(self._fs.cat_file(f"{self._path}/{name}"))

    def open(self, name: str) -> Any:
        """A file of the shelf, to be read in pieces."""
        return self._fs.open(f"{self._path}/{name}", "rb")

    def latest(self) -> Json | None:
        """``latest.json``; None where nothing was published."""
        if not self._fs.exists(f"{self._path}/{LATEST}"):
            return None
        return self._document(LATEST)

    def manifest(self, name: str | None = None) -> Json | None:
        """The manifest of a release, or of the one that ``latest.json`` names; None where it names none."""
        if name is None:
            pointer = self.latest()
            if pointer is None:
                return None
            name = str(pointer["release"])
        return self._document(f"{name}/{MANIFEST}")

    def _document(self, name: str) -> Json:
        try:
            document = json.loads(self.read(name))
        except ValueError as error:
            raise LayerError(f"{self.url}/{name} is not JSON ({error}); restore it from a copy") from error
        if not isinstance(document, dict):
            raise LayerError(f"{self.url}/{name} is a {type(document).__name__}, not an object; restore it from a copy")
        return document

    def naming(self, texts: Collection[str]) -> dict[str, list[str]]:
        """The releases that hold one of these JSON strings (ids), oldest first, each with its files that do.

        Packed files are taken to hold what the plain file they were made of holds.
        """
        found: dict[str, list[str]] = {}
        wanted = {text.encode() for text in texts}
        for name in self.names():
            files = self.files(name)
            holding = {file for file in files if not file.endswith(PACKED) and self._holds(f"{name}/{file}", wanted)}
            made = {f"{file}.gz" for file in holding} | {
                file.removesuffix(".geojson") + suffix for file in holding for suffix in PACKED[1:]
            }
            if holding:
                found[name] = sorted(holding | (made & set(files)))
        return found

    def _holds(self, name: str, wanted: set[bytes]) -> bool:
        longest = max(map(len, wanted), default=0) + 2
        quoted = [b'"' + text + b'"' for text in wanted]
        carried = b""
        with self.open(name) as file:
            for chunk in read_chunks(file):
                text = carried + chunk
                # Years of releases are terabytes: a few ids are found twenty times as fast one by one as among all words.
                if any(one in text for one in quoted) if len(quoted) <= FEW else not wanted.isdisjoint(_WORDS.findall(text)):
                    return True
                carried = text[-longest:]
        return False

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """An empty folder for a release (where a rename can take it, if the shelf is a folder), removed if nothing came of it."""
        assert self._work is not None, "drafts are made while the lock is held"
        folder = self._work / f"{TEMPORARY}{uuid.uuid4().hex}"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def fetch(self, name: str, entry: Mapping[str, Any], folder: Path) -> Path:
        """A local path of a file of a release, whose manifest lists it as ``entry``; checked against its sha256."""
        path = Path(self._path) / name / entry["name"] if self._local else folder / f"{name}-{entry['name']}"
        if not self._local:
            self._fs.get_file(f"{self._path}/{name}/{entry['name']}", str(path))
        sha256 = hashlib.sha256()
        with path.open("rb") as file:
            for chunk in read_chunks(file):
                sha256.update(chunk)
        if sha256.hexdigest() != entry["sha256"]:
            raise LayerError(
                f"{self.release_url(name)}/{entry['name']} is damaged: its sha256 is not the one in {MANIFEST}; "
                f"restore it from a copy or from ./kryss rebuild"
            )
        return path

    def add(self, name: str, folder: Path) -> None:
        """Adds a draft as the release of that name. A complete release of that name is never touched."""
        if name in self.names():
            raise LayerError(f"release {name} exists in {self.url}; releases are immutable")
        if self._local:
            _flush_directory(folder)
            final = Path(self._path) / name
            if final.exists():  # a folder without a manifest is no release: something else made it
                shutil.rmtree(final)
            folder.rename(final)
            _flush_directory(Path(self._path))
            return
        sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.name != MANIFEST}
        for file in sizes:
            self._upload(folder / file, f"{self._path}/{name}/{file}")
        if self._stored().get(name) != sizes:
            raise LayerError(f"another writer disturbed the upload of {self.release_url(name)}; run it again, one at a time")
        self._upload(folder / MANIFEST, f"{self._path}/{name}/{MANIFEST}")

    def _upload(self, path: Path, target: str) -> None:
        parts = {"chunksize": UPLOAD_PART_BYTES, "max_concurrency": UPLOADS_AT_ONCE} if _is_s3(self._fs) else {}
        self._fs.put_file(str(path), target, **parts, **self._headers(path.name))

    def _headers(self, file: str) -> dict[str, str]:
        kind = CONTENT_TYPES.get(Path(file).suffix, "application/octet-stream")
        if _is_s3(self._fs):
            return {"ContentType": kind}
        return {"content_type": kind} if "gs" in _protocols(self._fs) else {}

    def point(self, pointer: Json) -> None:
        """Replaces ``latest.json``; a reader sees the old one or the new one."""
        if not self._local:
            self._fs.pipe_file(f"{self._path}/{LATEST}", dump(pointer), **self._headers(LATEST))
            return
        temporary = Path(self._path) / f"{TEMPORARY}{LATEST}-{uuid.uuid4().hex}"
        _write_through(temporary, dump(pointer))
        temporary.replace(Path(self._path) / LATEST)
        _flush_directory(Path(self._path))

    def remove(self, name: str) -> None:
        """Takes a release away: at once it is none, then its files go."""
        name_key(name)
        if self._local:
            going = Path(self._path) / f"{REMOVING}{name}-{uuid.uuid4().hex}"
            (Path(self._path) / name).rename(going)
            _flush_directory(Path(self._path))
            shutil.rmtree(going)
            return
        self._fs.rm_file(f"{self._path}/{name}/{MANIFEST}")
        self._fs.rm(f"{self._path}/{name}", recursive=True)


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _is_s3(fs: Any) -> bool:
    return "s3" in _protocols(fs)


def _own_folder(url: str) -> Path:
    """A folder of this machine for what goes to an object store, of this user alone."""
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"kryss-{os.geteuid()}-{key}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise LayerError(f"{folder} belongs to somebody else; remove it or set TMPDIR")
    return folder


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
