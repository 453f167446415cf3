"""Publishing: what the database believes becomes an immutable, dated folder, and ``latest.json`` comes to name it.

A release follows from the beliefs of one instant and from its `Edition`, and from nothing else. Its steps: the data files are
streamed into a draft; where they equal those of the newest release, nothing is published; else the draft gets its changes and its
manifest, the database records it (``record``, committed by then), the draft becomes the release at once, and ``latest.json`` is
replaced. A writer that dies, at whatever moment, leaves the old release current and whole; what it recorded is recorded again by
the next one, under the same name, with what is believed then. One that died before the pointer is finished by the next.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from kryss.layer.changes import ChangeSummary, write_changes
from kryss.layer.files import Draft
from kryss.layer.geojson import MAPILLARY_IMAGE_URL, Json, LayerError, SizeOf, dump, instant
from kryss.layer.page import page
from kryss.layer.provenance import Source, attribution_text, licence_of, licence_text
from kryss.layer.retention import prune
from kryss.layer.since import Why
from kryss.layer.storage import MANIFEST, Shelf, name_key
from kryss.model import Municipality, Release
from kryss.positioning.sizes import object_size
from kryss.store.features import LayerRows, LayerSummary

SCHEMA_VERSION = "2.0.0"
"""Semantic version of the files' structure; the policy is in ``docs/layer.md``."""

INTERSECTIONS, OBJECTS, AREAS, ROADS = DATA = ("intersections.geojson", "objects.geojson", "areas.geojson", "roads.geojson")
"""The data files: where they are the same, nothing has changed."""
CHANGES, SCHEMA, ATTRIBUTION, LICENCE, PAGE = "changes.geojson", "schema.json", "ATTRIBUTION.md", "LICENSE.md", "index.html"
STYLES = ("objects.qml", "areas.qml", "roads.qml")
STATUSES = ("standing", "unconfirmed", "ended")
POINTED = {"layer": INTERSECTIONS, "objects": OBJECTS, "areas": AREAS, "roads": ROADS, "changes": CHANGES, "page": PAGE}
"""Members of ``latest.json`` that lead to files of the release."""
OLD_CHANGES = "changes.json"
"""Of releases before schema 2."""

Record = Callable[[Release, Json], object]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a release says of its origin. Everything here is an input: no clock, host, user or path of the run."""

    model: str
    """``name@version`` of the detector."""
    code_version: str
    photos: int
    """Photos that were looked at."""
    photos_until: datetime | None
    """Newest capture time among them; None if there are none."""
    photos_by_model: Mapping[str, int] = field(default_factory=dict)
    """By the model that is believed of each."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    region: str = "eu"
    """Chooses among the sizes of signs (`sizes_of`): give the same to the rows."""
    image_url: str | None = MAPILLARY_IMAGE_URL
    """Template with ``{key}``, or None where the photos have no public page: give the same to the rows."""


@dataclass(frozen=True, slots=True)
class Edition:
    """All that a release follows from besides the beliefs of its instant: what the database keeps to make it again."""

    code: str
    municipality: str
    country: str
    release: str
    previous: str | None
    """The release before it, on the shelf where it was published."""
    compared: bool
    """Whether changes are told against ``previous``: not where that is of schema 1."""
    since: datetime | None
    """Instant of system time that ``previous`` holds; None where nobody recorded one."""
    inputs: Inputs
    formats: tuple[str, ...] = ()
    basemap_url: str | None = None

    def recorded(self, draft: Draft) -> Json:
        """As JSON for the release's row, with the files that were made."""
        inputs = asdict(self.inputs)
        until = self.inputs.photos_until
        return {
            **{name: getattr(self, name) for name in ("municipality", "country", "previous", "compared", "basemap_url")},
            "schema_version": SCHEMA_VERSION,
            "formats": list(self.formats),
            "since": None if self.since is None else self.since.isoformat(),
            "inputs": {**inputs, "photos_until": None if until is None else until.isoformat()},
            "files": [asdict(entry) for entry in draft.listed()],
        }

    @staticmethod
    def read(code: str, release: str, recorded: Json) -> Edition:
        """The edition that `recorded` told."""
        told = dict(recorded["inputs"])
        until = told.pop("photos_until")
        sources = tuple(Source(**source) for source in told.pop("sources"))
        return Edition(
            code=code,
            release=release,
            since=None if recorded["since"] is None else datetime.fromisoformat(recorded["since"]),
            formats=tuple(recorded["formats"]),
            inputs=Inputs(**told, sources=sources, photos_until=None if until is None else datetime.fromisoformat(until)),
            **{name: recorded[name] for name in ("municipality", "country", "previous", "compared", "basemap_url")},
        )


@dataclass(frozen=True, slots=True)
class PublishResult:
    """``release`` is the current one afterwards: the one just written or, if ``unchanged``, the one that stood before."""

    release: Release
    unchanged: bool
    changes: Mapping[str, int]
    """Counts by kind of change against the previous release; empty if unchanged."""
    summary: tuple[str, ...] = ()
    """The changes in words, one line each; the last one counts those that are left out."""
    pruned: tuple[str, ...] = ()
    """Old releases that were taken away afterwards."""
    left_out: tuple[str, ...] = ()
    """What the release could not hold (no place in WGS84, for one), a line each with its reason."""
    not_pruned: str | None = None
    """Why old releases could not be taken away; the release is there all the same, and the next run tries again."""

    @property
    def name(self) -> str:
        return self.release.name

    @property
    def url(self) -> str:
        return self.release.url


def sizes_of(region: str) -> SizeOf:
    """class -> the height (m) that positions of a region were worked out with."""

    def height_m(class_name: str) -> float | None:
        size = object_size(class_name, region)
        return None if size is None else size.height_m

    return height_m


def publish(
    rows: LayerRows,
    root: str | Shelf,
    municipality: Municipality,
    release_date: date,
    inputs: Inputs,
    *,
    record: Record,
    since: Mapping[str, datetime],
    formats: Sequence[str] = (),
    keep: int | None = None,
    keep_days: int | None = None,
    basemap_url: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> PublishResult:
    """Publishes what ``rows`` hold under ``<root>/<code>/``, unless the newest release there says the same.

    ``record`` is called with the release and all that it follows from (JSON) before anybody can see it, and has committed both
    when it returns. ``since``: the instants of system time that recorded releases hold, by name. ``keep`` and ``keep_days``:
    see `kryss.layer.retention`. Give a `Shelf` whose lock is held (``writing``) from before the rows were read, so that of two
    writers the later has the newer beliefs.
    """
    shelf = root if isinstance(root, Shelf) else Shelf(root, municipality.code, storage_options)
    if shelf.code != municipality.code:
        raise LayerError(f"the shelf {shelf.url} is not that of municipality {municipality.code}")
    with shelf.writing():
        result = _publish(rows, shelf, municipality, release_date, inputs, record, since, tuple(formats), basemap_url)
        try:
            return replace(result, pruned=prune(shelf, keep, keep_days))
        except (LayerError, OSError) as error:
            log.error("old releases of %s could not be taken away: %s", shelf.code, error)
            return replace(result, not_pruned=f"{type(error).__name__}: {error}")


def _publish(
    rows: LayerRows,
    shelf: Shelf,
    municipality: Municipality,
    release_date: date,
    inputs: Inputs,
    record: Record,
    since: Mapping[str, datetime],
    formats: tuple[str, ...],
    basemap_url: str | None,
) -> PublishResult:
    newest, finished = _settle(shelf)
    before = None if newest is None else shelf.manifest(newest)
    with shelf.draft() as work:
        folder = work / "release"
        folder.mkdir()
        draft = Draft(folder)
        summary = write_data(rows, draft)
        if newest is not None and before is not None and _is_same(draft, before):
            current = _released(shelf, newest)
            if not finished:
                log.info("release %s of %s still holds: nothing changed", newest, shelf.code)
                return PublishResult(current, True, {}, left_out=summary.left_out)
            log.info("release %s of %s: a run died before latest.json named it; finished", newest, shelf.code)
            told = _head(shelf, f"{newest}/{CHANGES}")
            return PublishResult(current, False, told["counts"], tuple(told["summary"]), left_out=summary.left_out)
        previous = None if newest is None or before is None else _data_of(shelf, newest, before, work)
        edition = Edition(
            code=municipality.code,
            municipality=municipality.name,
            country=municipality.country,
            release=_next_name(newest, release_date),
            previous=newest,
            compared=previous is not None,
            since=None if newest is None else since.get(newest) or max(since.values(), default=None),
            inputs=inputs,
            formats=formats,
            basemap_url=basemap_url,
        )
        changes = write_rest(rows, draft, summary, edition, previous)
        sha256 = draft.entries[MANIFEST].sha256
        url = shelf.release_url(edition.release)
        release = Release(shelf.code, edition.release, url, summary.intersections, summary.objects, sha256)
        record(release, edition.recorded(draft))
        shelf.add(edition.release, folder)
    _point(shelf, edition.release)
    log.info("release %s of %s: %s", release.name, shelf.code, {kind: count for kind, count in changes.counts.items() if count})
    return PublishResult(release, False, dict(changes.counts), tuple(changes.lines), left_out=summary.left_out)


def write_data(rows: LayerRows, draft: Draft) -> LayerSummary:
    """The four data files, each plain and gzipped."""
    summary = rows.summary()
    boxes = summary.bboxes
    draft.collection(INTERSECTIONS, boxes["intersections"], rows.intersections)
    written = draft.collection(OBJECTS, boxes["objects"], rows.objects)
    draft.collection(AREAS, boxes["areas"], rows.areas)
    draft.collection(ROADS, boxes["roads"], rows.roads)
    if written != summary.objects:
        raise LayerError(f"{written} objects were written, {summary.objects} were counted: the rows are not of one instant")
    return summary


def write_rest(
    rows: LayerRows, draft: Draft, summary: LayerSummary, edition: Edition, previous: tuple[Path, Path] | None
) -> ChangeSummary:
    """Everything else, the manifest last. ``previous``: objects and areas to tell the changes against."""
    objects, areas = (None, None) if previous is None else previous
    head = {
        "schema_version": SCHEMA_VERSION,
        "code": edition.code,
        "release": edition.release,
        "previous": edition.previous,
    }
    folder = draft.folder
    changes = write_changes(folder / CHANGES, objects, folder / OBJECTS, areas, folder / AREAS, head, Why(rows, edition.since))
    draft.adopt(CHANGES, gzip=True)
    if edition.formats:
        from kryss.layer import formats

        formats.write(folder, list(edition.formats))
    inputs = edition.inputs
    for file in (SCHEMA, *(f"styles/{style}" for style in STYLES)):
        draft.add(Path(file).name, resources.files("kryss.layer").joinpath(file).read_bytes())
    draft.add(ATTRIBUTION, attribution_text(edition.municipality, edition.release, inputs.sources).encode())
    draft.add(LICENCE, licence_text(inputs.sources).encode())
    manifest: Json = {
        **head,
        "municipality": edition.municipality,
        "country": edition.country,
        "bbox": None if summary.bbox is None else list(summary.bbox),
        "counts": _counts(summary),
        "changes": dict(changes.counts),
        "reasons": dict(changes.reasons),
        "shift": None if changes.shift is None else asdict(changes.shift),
        "photos": inputs.photos,
        "photos_until": None if inputs.photos_until is None else instant(inputs.photos_until),
        "photos_by_model": dict(inputs.photos_by_model),
        "model": inputs.model,
        "code_version": inputs.code_version,
        "parameters": dict(inputs.parameters),
        "licence": licence_of(inputs.sources),
        "sources": [asdict(source) for source in inputs.sources],
        "image_url": inputs.image_url,
    }
    draft.add(PAGE, page(manifest, list(summary.by_class), edition.basemap_url))
    draft.adopt_rest()
    draft.add(MANIFEST, dump({**manifest, "files": [asdict(entry) for entry in draft.listed()]}))
    return changes


def _counts(summary: LayerSummary) -> Json:
    by_class = {name: {status: counts.get(status, 0) for status in STATUSES} for name, counts in summary.by_class.items()}
    return {
        "intersections": summary.intersections,
        "objects": summary.objects,
        "objects_at_no_intersection": summary.unassigned,
        "by_status": {status: sum(counts[status] for counts in by_class.values()) for status in STATUSES},
        "by_class": by_class,
    }


def _settle(shelf: Shelf) -> tuple[str | None, bool]:
    """The newest release, and whether ``latest.json`` had still to be pointed at it."""
    names, pointer = shelf.names(), shelf.latest()
    if pointer is not None and pointer["release"] not in names:
        raise LayerError(
            f"{shelf.url}/latest.json names {pointer['release']}, which is not there; restore that folder, or remove latest.json"
        )
    if not names:
        return None, False
    if pointer is not None and pointer["release"] == names[-1]:
        there = [name for name in pointer.get("releases", ()) if name in names]
        if there != pointer.get("releases", there):  # somebody took folders away, after a takedown for one
            shelf.point({**pointer, "releases": there})
        return names[-1], False
    _point(shelf, names[-1])
    return names[-1], True


def _point(shelf: Shelf, name: str) -> None:
    """Makes a complete release the current one."""
    raw = shelf.read(f"{name}/{MANIFEST}")
    manifest = json.loads(raw)
    files = {entry["name"] for entry in manifest["files"]}
    pointer = {member: f"{name}/{file}" for member, file in POINTED.items() if file in files}
    if OLD_CHANGES in files:
        pointer["changes"] = f"{name}/{OLD_CHANGES}"
    shelf.point(
        {
            "schema_version": manifest["schema_version"],
            "code": shelf.code,
            "release": name,
            "manifest": f"{name}/{MANIFEST}",
            "manifest_sha256": hashlib.sha256(raw).hexdigest(),
            **pointer,
            "releases": shelf.names(),
        }
    )


def _next_name(newest: str | None, release_date: date) -> str:
    day = release_date.strftime("%Y-%m-%d")
    if newest is None:
        return f"{day}.1"
    newest_day, number = name_key(newest)
    if day < newest_day:
        raise LayerError(f"release date {day} lies before the newest release {newest}; give a later date or another root")
    return f"{day}.{number + 1 if day == newest_day else 1}"


def _entries(manifest: Json) -> dict[str, Json]:
    return {entry["name"]: entry for entry in manifest["files"]}


def _is_same(draft: Draft, manifest: Json) -> bool:
    """Whether the draft's data are those of a release."""
    known = _entries(manifest)
    return all(name in known and known[name]["sha256"] == draft.entries[name].sha256 for name in DATA)


def _data_of(shelf: Shelf, name: str, manifest: Json, folder: Path) -> tuple[Path, Path] | None:
    """Objects and areas of a release as local files; None where it has none (schema 1)."""
    known = _entries(manifest)
    if OBJECTS not in known or AREAS not in known:
        return None
    return shelf.fetch(name, known[OBJECTS], folder), shelf.fetch(name, known[AREAS], folder)


def _released(shelf: Shelf, name: str) -> Release:
    raw = shelf.read(f"{name}/{MANIFEST}")
    counts = json.loads(raw)["counts"]
    sha256 = hashlib.sha256(raw).hexdigest()
    return Release(shelf.code, name, shelf.release_url(name), counts["intersections"], counts["objects"], sha256)


def _head(shelf: Shelf, file: str) -> Json:
    """What a collection says before its features."""
    lines = []
    with shelf.open(file) as source:
        for line in source:
            if line.startswith(b'"features":['):
                break
            lines.append(line)
    head: Json = json.loads(b"".join(lines) + b'"features":[]}')
    return head
