"""Publishing: the nouns become an immutable, dated folder, and ``latest.json`` comes to name it.

The commit is the release's folder (see `storage`). A run that died between folder and pointer is finished by the next run,
whose release has the same name and bytes; a run whose layer equals the newest release writes nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from importlib import resources
from typing import Any

from kryss.layer.changes import Changes, diff, objects_of
from kryss.layer.geojson import (
    MAPILLARY_IMAGE_URL,
    Json,
    LayerError,
    SizeOf,
    build,
    distance_m,
    dump,
    dump_layer,
    instant,
    position,
)
from kryss.layer.page import page
from kryss.layer.provenance import Provenance, attribution_text
from kryss.layer.since import Since
from kryss.layer.storage import MANIFEST, Shelf, name_key
from kryss.model import Intersection, Lineage, Municipality, ObjectVersion, Release, StreetObject
from kryss.positioning.sizes import object_size

SCHEMA_VERSION = "1.2.0"
"""Semantic version of the files' structure: a new optional property raises the second number, anything else the first."""

LAYER, CHANGES, SCHEMA, ATTRIBUTION, PAGE = "intersections.geojson", "changes.json", "schema.json", "ATTRIBUTION.md", "index.html"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PublishResult:
    """``release`` is the current one afterwards: the one just written or, if ``unchanged``, the one that stood before."""

    release: Release
    unchanged: bool
    changes: Mapping[str, int]
    """Counts by kind of change against the previous release; all zero if unchanged."""
    summary: tuple[str, ...] = ()
    """The changes in words, one line each."""

    @property
    def name(self) -> str:
        return self.release.name

    @property
    def url(self) -> str:
        return self.release.url


def publish(
    root_url: str,
    municipality: Municipality,
    release_date: date,
    intersections: Iterable[Intersection],
    objects: Iterable[StreetObject],
    assignments: Mapping[str, str],
    history: Mapping[str, Sequence[ObjectVersion]] | None,
    provenance: Provenance,
    *,
    lineage: Iterable[Lineage] = (),
    instants: Mapping[str, datetime] | None = None,
    region: str = "eu",
    assumed_size_m: SizeOf | None = None,
    best_images: Mapping[str, str] | None = None,
    cameras: Mapping[str, tuple[float, float]] | None = None,
    image_url: str | None = MAPILLARY_IMAGE_URL,
    storage_options: Mapping[str, Any] | None = None,
) -> PublishResult:
    """Publishes the layer of one municipality under ``<root_url>/<code>/``.

    ``objects`` include the ended ones. ``assignments`` maps object id to intersection id; an object without one is left out and
    counted. The reasons of changes are those of ``history`` and ``lineage`` after the instant of system time that the previous
    release holds (``instants``, by release name; all of them where there is none). ``region`` chooses among the sizes that
    positions were made with, ``assumed_size_m`` replaces them. ``cameras`` maps image id to ``(lon, lat)``: it is drawn on the
    page, and chooses an object's photo where ``best_images`` does not.
    """
    known = list(objects)
    layer = build(
        intersections,
        known,
        assignments,
        history,
        assumed_size_m=assumed_size_m or (lambda class_name: _height_m(class_name, region)),
        best_images={**nearest_images(known, cameras or {}), **(best_images or {})},
        image_url=image_url,
    )
    body = dump_layer(layer)
    shelf = Shelf(root_url, municipality.code, storage_options)
    with shelf.writing():
        newest, finished = _settle(shelf, municipality.code)
        if newest is not None:
            manifest = json.loads(shelf.read(f"{newest}/{MANIFEST}"))
            if _entry(manifest, LAYER)["sha256"] == _sha256(body):
                current = _release(shelf, municipality.code, newest)
                if not finished:
                    log.info("release %s of %s still holds: nothing changed", newest, municipality.code)
                    return PublishResult(current, True, Changes().counts())
                log.info("release %s of %s: a run died before latest.json named it; finished", newest, municipality.code)
                told = json.loads(shelf.read(f"{newest}/{CHANGES}"))
                return PublishResult(current, False, told["counts"], tuple(told["summary"]))
        name = _next_name(newest, release_date)
        previous = None if newest is None else json.loads(shelf.read(f"{newest}/{LAYER}"))
        changes = diff(previous, layer, Since(history, lineage, _held_at(newest, instants or {})))
        files = _files(name, newest, municipality, layer, body, changes, provenance, cameras or {}, len(known))
        shelf.add(name, files)
        shelf.point(_pointer(municipality.code, name, files[MANIFEST]))
    log.info("release %s of %s: %s", name, municipality.code, {key: count for key, count in changes.counts().items() if count})
    return PublishResult(_release(shelf, municipality.code, name), False, changes.counts(), tuple(changes.lines()))


def _held_at(release: str | None, instants: Mapping[str, datetime]) -> datetime | None:
    """The instant that a release holds; of one whose writer died before it was recorded, that of the last that was."""
    return None if release is None else instants.get(release) or max(instants.values(), default=None)


def nearest_images(objects: Iterable[StreetObject], cameras: Mapping[str, tuple[float, float]]) -> dict[str, str]:
    """Object id -> the photo of its evidence taken from nearest by, for objects of which a camera is known."""
    best = {}
    for item in objects:
        away = [(distance_m((item.lon, item.lat), cameras[image]), image) for image, _ in item.evidence if image in cameras]
        if away:
            best[item.id] = min(away)[1]
    return best


def _height_m(class_name: str, region: str) -> float | None:
    size = object_size(class_name, region)
    return None if size is None else size.height_m


def _settle(shelf: Shelf, code: str) -> tuple[str | None, bool]:
    """The newest release, and whether ``latest.json`` had still to be pointed at it."""
    names, pointer = shelf.names(), shelf.latest()
    if pointer is not None and pointer["release"] not in names:
        raise LayerError(
            f"{shelf.url}/latest.json names {pointer['release']}, which is not there; restore that folder, or remove latest.json"
        )
    if not names:
        return None, False
    if pointer is not None and pointer["release"] == names[-1]:
        return names[-1], False
    shelf.point(_pointer(code, names[-1], shelf.read(f"{names[-1]}/{MANIFEST}")))
    return names[-1], True


def _next_name(newest: str | None, release_date: date) -> str:
    day = release_date.strftime("%Y-%m-%d")
    if newest is None:
        return f"{day}.1"
    newest_day, number = name_key(newest)
    if day < newest_day:
        raise LayerError(f"release date {day} lies before the newest release {newest}; give a later date or another root")
    return f"{day}.{number + 1 if day == newest_day else 1}"


def _files(
    name: str,
    previous: str | None,
    municipality: Municipality,
    layer: Json,
    body: bytes,
    changes: Changes,
    provenance: Provenance,
    cameras: Mapping[str, tuple[float, float]],
    known: int,
) -> dict[str, bytes]:
    head = {"schema_version": SCHEMA_VERSION, "code": municipality.code, "release": name, "previous": previous}
    told = {**head, **changes.document()}
    manifest: Json = {
        **head,
        "municipality": municipality.name,
        "country": municipality.country,
        "bbox": layer.get("bbox"),
        "counts": _counts(layer, known),
        "changes": changes.counts(),
        "reasons": changes.reasons(),
        "photos_until": None if provenance.photos_until is None else instant(provenance.photos_until),
        "model": provenance.model_key,
        "code_version": provenance.code_version,
        "parameters": dict(provenance.parameters),
        "sources": [asdict(source) for source in provenance.sources],
    }
    spots = {key: position(lon, lat, f"camera of image {key!r}") for key, (lon, lat) in sorted(cameras.items())}
    files = {
        LAYER: body,
        CHANGES: dump(told),
        SCHEMA: resources.files("kryss.layer").joinpath(SCHEMA).read_bytes(),
        ATTRIBUTION: attribution_text(municipality.name, name, provenance.sources).encode(),
        PAGE: page(manifest, layer, changes, spots).encode(),
    }
    manifest["files"] = [{"name": file, "bytes": len(data), "sha256": _sha256(data)} for file, data in sorted(files.items())]
    return {**files, MANIFEST: dump(manifest)}


def _counts(layer: Json, known: int) -> Json:
    entries = list(objects_of(layer))
    by_class: dict[str, Counter[str]] = {}
    for item in entries:
        by_class.setdefault(item["class"], Counter())[item["status"]] += 1
    statuses = ("standing", "unconfirmed", "ended")
    total = Counter(item["status"] for item in entries)
    return {
        "intersections": len(layer["features"]),
        "objects": len(entries),
        "objects_at_no_intersection": known - len(entries),
        "by_status": {status: total[status] for status in statuses},
        "by_class": {name: {status: counter[status] for status in statuses} for name, counter in sorted(by_class.items())},
    }


def _pointer(code: str, name: str, manifest: bytes) -> Json:
    return {
        "schema_version": SCHEMA_VERSION,
        "code": code,
        "release": name,
        "layer": f"{name}/{LAYER}",
        "changes": f"{name}/{CHANGES}",
        "manifest": f"{name}/{MANIFEST}",
        "manifest_sha256": _sha256(manifest),
        "page": f"{name}/{PAGE}",
    }


def _release(shelf: Shelf, code: str, name: str) -> Release:
    raw = shelf.read(f"{name}/{MANIFEST}")
    counts = json.loads(raw)["counts"]
    return Release(code, name, shelf.release_url(name), counts["intersections"], counts["objects"], _sha256(raw))


def _entry(manifest: Json, file: str) -> Json:
    return next(item for item in manifest["files"] if item["name"] == file)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
