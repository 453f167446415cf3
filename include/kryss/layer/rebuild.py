"""Any past release again, from the database alone.

A release's row holds the instant of system time whose beliefs it shows and everything else that it follows from
(`kryss.layer.release.Edition`), with size and sha256 of each of its files. So the same code writes the same bytes; where a file
comes out differently, it is told why it may.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path, PurePosixPath

from kryss import __version__
from kryss.layer.files import Draft, write_collection
from kryss.layer.geojson import Json, LayerError
from kryss.layer.release import (
    AREAS,
    CHANGES,
    DATA,
    INTERSECTIONS,
    OBJECTS,
    SCHEMA_VERSION,
    Edition,
    sizes_of,
    write_data,
    write_rest,
)
from kryss.layer.storage import MANIFEST, PACKED, name_key
from kryss.model import Release
from kryss.store.features import LayerRows
from kryss.store.read import Reader

TEMPORARY = ".rebuilding-"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A release that was made again."""

    name: str
    folder: Path
    system_at: datetime
    """The instant whose beliefs it holds."""
    differences: Mapping[str, str]
    """File -> why it may differ from the one that was published. None differs: every byte is the same."""

    @property
    def is_identical(self) -> bool:
        return not self.differences


def rebuild(reader: Reader, code: str, target: Path, *, name: str | None = None, as_of: date | None = None) -> Rebuilt:
    """Writes the release called ``name``, or the newest one with a date not after ``as_of``, to ``<target>/<its name>/``.

    Of the release before it, objects and areas are made too, in a temporary folder, to tell the changes against. LayerError where
    the database does not know the release, or holds nothing to make it from (releases of schema 1).
    """
    releases = {release.name: release for release in reader.releases(code)}
    recorded = dict(reader.release_inputs(code))
    chosen = name if name is not None else _as_of(code, releases, recorded, as_of)
    system_at, told = _recorded(code, chosen, recorded)
    edition = _edition(code, chosen, told)
    folder = target / chosen
    if folder.exists():
        raise LayerError(f"{folder} exists already; remove it or choose another folder")
    target.mkdir(parents=True, exist_ok=True)
    work = target / f"{TEMPORARY}{uuid.uuid4().hex}"
    try:
        (work / "release").mkdir(parents=True)
        draft = Draft(work / "release")
        rows = _rows(reader, edition, system_at)
        summary = write_data(rows, draft)
        previous = None
        if edition.compared and edition.previous is not None:
            previous = _objects_and_areas(reader, code, edition.previous, recorded, work)
        write_rest(rows, draft, summary, edition, previous)
        removed = reader.removed_since(code, system_at)
        before = removed if previous is None else reader.removed_since(code, recorded[str(edition.previous)][0])
        differences = _differences(draft, told, releases[chosen], removed, before)
        (work / "release").rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Rebuilt(chosen, folder, system_at, differences)


def _recorded(code: str, name: str, recorded: Mapping[str, tuple[datetime, Json]]) -> tuple[datetime, Json]:
    if name not in recorded:
        known = ", ".join(sorted(recorded, key=name_key)[-5:]) or "none"
        raise LayerError(f"the database knows no release {name!r} of {code}; the newest it knows: {known}")
    system_at, told = recorded[name]
    if not told:
        raise LayerError(f"release {name} of {code} was recorded before schema 2: what it was made from was not kept")
    return system_at, told


def _edition(code: str, name: str, told: Json) -> Edition:
    try:
        return Edition.read(code, name, told)
    except (KeyError, TypeError, ValueError) as error:
        version = told.get("schema_version")
        raise LayerError(
            f"what release {name} of {code} was made from (schema {version}) cannot be read by this version of Kryss, "
            f"which writes schema {SCHEMA_VERSION}: {type(error).__name__} {error}"
        ) from error


def _as_of(code: str, releases: Mapping[str, Release], recorded: Mapping[str, tuple[datetime, Json]], as_of: date | None) -> str:
    if as_of is None:
        raise LayerError("say which release: by its name or by a date")
    day = as_of.isoformat()
    fitting = [name for name in published_names(releases, recorded) if name_key(name)[0] <= day]
    if not fitting:
        raise LayerError(f"the database knows no release of {code} as of {day}")
    return fitting[-1]


def published_names(releases: Mapping[str, Release], recorded: Mapping[str, tuple[datetime, Json]]) -> list[str]:
    """Recorded releases less those whose writer died before anybody could see them, oldest first.

    Of those, a later release on the same shelf does not know: it names an older one as its previous. Releases of schema 1 were
    recorded only after they could be seen.
    """
    names = sorted(releases, key=name_key)
    previous = {name: recorded[name][1].get("previous") if name in recorded else None for name in names}
    followed = set(previous.values())
    seen = []
    for position, name in enumerate(names):
        shelf = PurePosixPath(releases[name].url).parent
        later = [other for other in names[position + 1 :] if PurePosixPath(releases[other].url).parent == shelf]
        if name in followed or not later or not recorded.get(name, (None, {}))[1]:
            seen.append(name)
    return seen


def _rows(reader: Reader, edition: Edition, known: datetime) -> LayerRows:
    inputs = edition.inputs
    return reader.layer(edition.code, known, sizes=sizes_of(inputs.region), image_url=inputs.image_url)


def _objects_and_areas(
    reader: Reader, code: str, name: str, recorded: Mapping[str, tuple[datetime, Json]], work: Path
) -> tuple[Path, Path]:
    known, told = _recorded(code, name, recorded)
    rows = _rows(reader, _edition(code, name, told), known)
    boxes = rows.summary().bboxes
    folder = work / "previous"
    folder.mkdir()
    write_collection(folder / OBJECTS, boxes["objects"], rows.objects, gzip=False)
    write_collection(folder / AREAS, boxes["areas"], rows.areas, gzip=False)
    return folder / OBJECTS, folder / AREAS


def _differences(draft: Draft, told: Json, release: Release, removed: int, removed_before: int) -> dict[str, str]:
    """Why each file that is not as it was published may differ. ``removed``: photos that went after the instant of the release;
    ``removed_before``: after that of the one that its changes are told against."""
    before = {entry["name"]: entry["sha256"] for entry in told["files"]} | {MANIFEST: release.sha256}
    after = {name: entry.sha256 for name, entry in draft.entries.items()}
    odd = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    reasons = {name: _why(name, odd, before, after, told, removed, removed_before) for name in odd - {MANIFEST}}
    if MANIFEST in odd:
        reasons[MANIFEST] = f"it lists {', '.join(sorted(reasons))}" if reasons else _by_code(told)
    return dict(sorted(reasons.items()))


def _why(
    name: str, odd: set[str], before: Mapping[str, str], after: Mapping[str, str], told: Json, removed: int, removed_before: int
) -> str:
    if name not in after:
        return f"it was published and is not made now: {_by_code(told)}"
    if name not in before:
        return f"it was not published: {_by_code(told)}"
    plain = name.removesuffix(".gz")
    if plain != name:
        return f"it packs {plain}" if plain in odd else "another version of zlib packs otherwise"
    if name.endswith(PACKED):
        source = f"{name.rsplit('.', 1)[0]}.geojson"
        return f"it is made of {source}" if source in odd else "another version of the library that writes it"
    if name in (*DATA, CHANGES) and removed:
        return f"{_photos(removed)} removed since, from past beliefs too"
    if name == CHANGES and odd & {OBJECTS, AREAS, INTERSECTIONS}:
        return f"it tells of {OBJECTS}"
    if name == CHANGES and removed_before:
        return f"{_photos(removed_before)} removed since the release that it tells the changes against, from past beliefs too"
    return _by_code(told)


def _photos(number: int) -> str:
    return "1 photo was" if number == 1 else f"{number} photos were"


def _by_code(told: Json) -> str:
    then, now = told["inputs"]["code_version"], __version__
    if then != now:
        return f"it was made by Kryss {then}, this is {now}"
    if told["schema_version"] != SCHEMA_VERSION:
        return f"it was made in schema {told['schema_version']}, this is {SCHEMA_VERSION}"
    return f"it was made by another state of the code (both say {now})"
