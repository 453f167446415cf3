"""What changed between any two releases of a municipality, for those who have nothing but the files: no database, no Airflow.

Files are streamed to a temporary folder, unpacked on the way; memory does not grow with them.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from kryss.layer.changes import write_changes
from kryss.layer.geojson import LayerError
from kryss.layer.lines import FeatureLines
from kryss.layer.telling import KINDS, LISTS, ChangeSummary

OBJECTS, AREAS, MANIFEST = "objects.geojson", "areas.geojson", "manifest.json"
SCHEMA_VERSION = "2.0.0"
"""Of what is told about files without a manifest."""
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class _Source:
    """A release on this machine. ``called`` is what messages call its objects."""

    called: str
    objects: Path
    areas: Path | None
    manifest: dict[str, Any]
    release: str


def diff(a: str, b: str, *, as_json: bool = False, out: Path | None = None) -> bool:
    """Tells what changed from release ``a`` to release ``b``, and returns whether anything differs.

    Both are release folders or files ``objects.geojson`` or ``objects.geojson.gz``, as paths or fsspec URLs (``https://…`` too);
    they need not be neighbours. Lines of text, what happened in the street first, then counts; or, ``as_json``, a
    ``changes.geojson``. To standard output, or to the file ``out``, which is replaced once all is told. Raises `LayerError` where
    one cannot be read or they are of two municipalities; the message names the file and, where there is one, the line.
    """
    with tempfile.TemporaryDirectory(prefix="kryss-diff-") as name:
        folder = Path(name)
        old, new = (_fetched(where, folder / side) for where, side in ((a, "a"), (b, "b")))
        _expect_one_municipality(old, new)
        head = {
            "schema_version": new.manifest.get("schema_version", SCHEMA_VERSION),
            "code": new.manifest.get("code", old.manifest.get("code")),
            "release": new.release,
            "previous": old.release,
        }
        told = folder / "changes.geojson"
        summary = write_changes(told, old.objects, new.objects, old.areas, new.areas, head, names=(old.called, new.called))
        if not as_json:
            told.write_text("\n".join([*_text(old.release, new.release, summary), ""]), encoding="utf-8")
        _hand_over(told, out)
        return summary.differs


def _text(old: str, new: str, summary: ChangeSummary) -> list[str]:
    if not summary.differs:
        return [f"{old} and {new}: nothing differs"]
    counts = ", ".join(f"{summary.counts[name]} {name.replace('_', ' ')}" for name in (*KINDS, *LISTS) if summary.counts[name])
    lines = [*summary.lines, f"{old} -> {new}: {counts}"]
    if shift := summary.shift:
        lines.append(
            f"{shift.compared} objects stand in both, half of them within {shift.median_m} m, 95 % within {shift.p95_m} m"
        )
    return lines


def _hand_over(told: Path, out: Path | None) -> None:
    if out is None:
        with told.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer, _CHUNK)
        sys.stdout.buffer.flush()
        return
    draft = out.with_name(f".{out.name}.part")
    try:
        shutil.copyfile(told, draft)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)


def _expect_one_municipality(old: _Source, new: _Source) -> None:
    codes = old.manifest.get("code"), new.manifest.get("code")
    if None not in codes:
        if codes[0] != codes[1]:
            raise LayerError(f"{old.called} is of municipality {codes[0]}, {new.called} of {codes[1]}: name two releases of one")
        return
    (w1, s1, e1, n1), (w2, s2, e2, n2) = _bbox(old), _bbox(new)
    if w1 > e2 or w2 > e1 or s1 > n2 or s2 > n1:
        raise LayerError(f"{old.called} and {new.called} have no place in common: name two releases of one municipality")


def _bbox(source: _Source) -> list[float]:
    """Of a file without one: the world."""
    with FeatureLines(source.objects, source.called) as lines:
        bbox = lines.head.get("bbox", [-180, -90, 180, 90])
    if not (isinstance(bbox, list) and len(bbox) == 4 and all(isinstance(edge, int | float) for edge in bbox)):
        raise LayerError(f"{source.called}: bbox {str(bbox)[:80]} is not [west, south, east, north]")
    return bbox


def _fetched(where: str, folder: Path) -> _Source:
    """A release folder, or one of its files of objects, with what lies beside it."""
    folder.mkdir()
    path, question, _ = where.partition("?") if "://" in where else (where, "", "")
    is_file = path.endswith((".geojson", ".gz", ".json"))
    home = path.rpartition("/")[0] or "." if is_file else path.rstrip("/") or "/"
    if question:
        # A signed URL is good for one file only.
        objects = _fetch(where, folder / OBJECTS, path) if is_file else None
        if objects is None:
            raise LayerError(f"{path}: not found; a URL with a query must name a file {OBJECTS}")
        return _Source(path, objects, None, {}, home.rpartition("/")[2])
    manifest = _manifest(f"{home}/{MANIFEST}", folder)
    names = [path] if is_file else _either(home, OBJECTS)
    for name in names:
        if objects := _fetch(name, folder / OBJECTS, name):
            areas = next((found for near in _either(home, AREAS) if (found := _fetch(near, folder / AREAS, near))), None)
            return _Source(name, objects, areas, manifest, str(manifest.get("release") or home.rpartition("/")[2] or path))
    version = manifest.get("schema_version")
    why = f" (a release of schema {version}; {OBJECTS} came with 2.0.0)" if version else "; name a release folder or that file"
    raise LayerError(f"{path}: no {OBJECTS} there{why}")


def _either(home: str, name: str) -> list[str]:
    """Plain or packed; from afar rather packed."""
    plain, packed = f"{home}/{name}", f"{home}/{name}.gz"
    return [packed, plain] if "://" in home and not home.startswith("file://") else [plain, packed]


def _manifest(url: str, folder: Path) -> dict[str, Any]:
    found = _fetch(url, folder / MANIFEST, url)
    if found is None:
        return {}
    try:
        manifest = json.loads(found.read_bytes())
    except ValueError as error:
        raise LayerError(f"{url}: no JSON: {error}") from None
    if not isinstance(manifest, dict):
        raise LayerError(f"{url}: no manifest of a release")
    return manifest


def _fetch(url: str, target: Path, called: str) -> Path | None:
    """The file, plain and on this machine; None where there is none."""
    try:
        files, path = fsspec.core.url_to_fs(url, **_patience(url))
        if "file" in files.protocol:
            source = Path(path)
        else:
            source = target.with_name(f"{target.name}.fetched")
            files.get_file(path, str(source))
        if not source.is_file():
            return None
    except FileNotFoundError:
        return None
    except Exception as error:  # every file system has errors of its own
        raise LayerError(f"{called} cannot be read: {type(error).__name__}: {error}") from None
    with source.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return source
    _unpack(source, target, called)
    return target


def _patience(url: str) -> dict[str, Any]:
    """A large file may take as long as it takes, a silent server may not."""
    if not url.startswith(("http://", "https://")):
        return {}
    import aiohttp

    return {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)}}


def _unpack(source: Path, target: Path, called: str) -> None:
    with gzip.open(source, "rb") as packed, target.open("wb") as file:
        try:
            shutil.copyfileobj(packed, file, _CHUNK)
        except (EOFError, zlib.error, OSError) as error:
            file.flush()
            raise LayerError(f"{called}, line {_lines(target)}: unpacked as far as here: {error}") from None


def _lines(path: Path) -> int:
    """Number of the line in which the file ends."""
    with path.open("rb") as file:
        return 1 + sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(_CHUNK), b""))
