"""Checks a release as a consumer should: checksums, the schema, RFC 7946, and what the files say of each other.

What is checked in full, of every Feature and every object: the JSON Schema of its version; geometry by RFC 7946 (rings closed,
exterior counter-clockwise, holes clockwise, two coordinates of at most 7 decimals, bbox, no ``crs``); order and uniqueness of
ids; what its properties say of each other (dates, counts, history); the size and sha256 of every file, and that each ``.gz`` is
the plain file; that objects.geojson, areas.geojson, roads.geojson and intersections.geojson say the same; that changes.geojson
fits the release and, where the previous one lies beside it, that it tells every difference; the counts of the manifest. Of
FlatGeobuf, GeoParquet and PMTiles only the checksum and the first bytes.

Every problem is one line that names the file, the Feature and the value. No code of the writer judges what it wrote. Files are
read once, a Feature at a time, so that memory grows with the intersections and the changes but not with the objects.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, lru_cache
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

import fsspec
import jsonschema_rs
import orjson
import shapely

Json = dict[str, Any]
MOST_PROBLEMS = 100
MOST_LETTERS = 400
MOST_LINE_BYTES = 512 << 20
CHUNK = 1 << 20
MAJOR = 2
DATA = ("intersections", "objects", "areas", "roads", "changes")
NAMES = tuple(f"{name}.geojson" for name in DATA)
OTHERS = ("schema.json", "ATTRIBUTION.md", "LICENSE.md", "index.html", "objects.qml", "areas.qml", "roads.qml")
ITEMS = {"intersections": "intersection", "objects": "object", "areas": "area", "roads": "road", "changes": "change"}
MAGIC = {".fgb": b"fgb\x03fgb", ".parquet": b"PAR1", ".pmtiles": b"PMTiles\x03"}
KINDS = ("replaced", "added", "ended", "returned", "merged", "split", "removed", "changed", "moved", "reworked")
CHANGE_OF = {
    **dict.fromkeys(("added", "returned", "split"), "added"),
    **dict.fromkeys(("ended", "removed", "merged"), "removed"),
    **dict.fromkeys(("replaced", "changed", "moved", "reworked"), "changed"),
}
NOT_BEFORE, NOT_AFTER = ("added",), ("removed",)
STATUSES = ("standing", "unconfirmed", "ended")
ABSENCE = ("gone_after", "gone_by", "back_after", "back_by")
STATE = ("class", "status", "first_seen_at", "last_seen_at", "ended_at")
INSTANTS = ("first_seen_at", "last_seen_at", "ended_at", "began_after")
ABOUT = ("id", "name", "kind", "arms", "source", "speed_limit_kmh")
DECIMALS = {
    **dict.fromkeys(("error_radius_m", "error_major_m", "error_minor_m", "height_m", "distance_m"), 2),
    **dict.fromkeys(("error_azimuth_deg", "facing_deg"), 1),
    "assumed_size_m": 3,
    "standing_probability": 4,
}
COLLECTION_FIRST, FEATURES = b'{"type":"FeatureCollection",\n', b'"features":[\n'


def validate(where: str | Path, storage_options: Mapping[str, Any] | None = None) -> list[str]:
    """The problems of a release, at most 100; none means that it can be trusted.

    ``where`` is a release, a municipality's folder with ``latest.json`` (then the release it names is checked too) or a
    ``latest.json``: a path or any URL of fsspec (http, https, s3, …), with ``storage_options`` for the latter.
    """
    place = _Place.of(str(where), storage_options)
    problems: list[str] = []
    for problem in _problems(place):
        problems.append(_one_line(problem))
        if len(problems) == MOST_PROBLEMS:
            problems.append(f"stopped after {MOST_PROBLEMS} problems")
            break
    return problems


def _one_line(text: str) -> str:
    """Values come from the files: no line breaks, no control characters, and of a length that can be read."""
    shown = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return shown if len(shown) <= MOST_LETTERS else f"{shown[: MOST_LETTERS - 1]}…"


# -- where the files are ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """A folder somewhere."""

    fs: Any
    path: str
    shown: str

    @classmethod
    def of(cls, url: str, options: Mapping[str, Any] | None) -> _Place:
        settings = dict(options or {})
        if re.match(r"https?://", url):
            # A server may compress on the way; the bytes that count are those of the file.
            settings.setdefault("client_kwargs", {"headers": {"Accept-Encoding": "identity"}})
        elif "://" in url:
            settings.setdefault("use_listings_cache", False)
        url = url.removesuffix("latest.json") if url.endswith("/latest.json") or url == "latest.json" else url
        fs, path = fsspec.core.url_to_fs(url or ".", **settings)
        return cls(fs, str(path).rstrip("/"), url.rstrip("/"))

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def under(self, name: str) -> _Place:
        return _Place(self.fs, f"{self.path}/{name}", f"{self.shown}/{name}")

    def beside(self, name: str) -> _Place:
        return _Place(self.fs, f"{self.path.rpartition('/')[0]}/{name}", f"{self.shown.rpartition('/')[0]}/{name}")

    def has(self, name: str) -> bool:
        """Asked by reading: a server that is not there is not the same as a file that is not."""
        try:
            next(chunks := self.chunks(name), None)
            chunks.close()
        except FileNotFoundError:
            return False
        return True

    @property
    def is_web(self) -> bool:
        """A web server: it gives files, but no list of them."""
        return not {"http", "https"}.isdisjoint((self.fs.protocol,) if isinstance(self.fs.protocol, str) else self.fs.protocol)

    def names(self) -> set[str] | None:
        """What lies in the folder; None where nobody can say."""
        if self.is_web:
            return None
        try:
            return {str(path).rstrip("/").rpartition("/")[2] for path in self.fs.ls(self.path, detail=False)}
        except Exception as error:
            raise _UnreadableError(f"{self.shown}: cannot be listed: {type(error).__name__} {error}") from None

    def chunks(self, name: str) -> Generator[bytes, None, None]:
        """The bytes of a file; FileNotFoundError, or `_UnreadableError` for whatever else the storage raises."""
        try:
            with self.fs.open(f"{self.path}/{name}", "rb", **({"block_size": 0} if self.is_web else {})) as file:
                while chunk := file.read(CHUNK):
                    yield chunk
        except FileNotFoundError as error:
            cause = error.__cause__
            if self.is_web and cause is not None and getattr(cause, "status", None) not in (404, 410):  # nothing answers
                raise _UnreadableError(f"{name}: cannot be read: {type(cause).__name__} {cause}") from None
            raise
        except Exception as error:
            raise _UnreadableError(f"{name}: cannot be read: {type(error).__name__} {error}") from None


class _UnreadableError(Exception):
    """A document that is not there or is none; the message is the problem."""


def _document(place: _Place, name: str) -> tuple[Json, bytes]:
    try:
        raw = b"".join(place.chunks(name))
    except FileNotFoundError:
        raise _UnreadableError(f"{name}: is missing from {place.shown}") from None
    try:
        document = orjson.loads(raw)
    except ValueError as error:
        raise _UnreadableError(f"{name}: is not a JSON document: {error}") from None
    if not isinstance(document, dict):
        raise _UnreadableError(f"{name}: is not a JSON document: the top is a {type(document).__name__}, not an object")
    if name_twice := _repeated(raw):
        raise _UnreadableError(f"{name}: has two members {name_twice!r}: readers differ in which one counts")
    return document, raw


def _repeated(raw: bytes) -> str | None:
    """A name that occurs twice in one object (RFC 8259 section 4)."""
    found: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> Json:
        members = dict(pairs)
        if len(members) < len(pairs):
            found.extend(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        return members

    json.loads(raw, object_pairs_hook=look)
    return found[0] if found else None


# -- the schema ---------------------------------------------------------------------------------------------------------------


@cache
def _own_schema() -> bytes:
    return resources.files("kryss.layer").joinpath("schema.json").read_bytes()


class _Schema:
    """The definitions of one version, each as a compiled validator."""

    def __init__(self, document: Json) -> None:
        self._defs = document["$defs"]
        strangers = [ref for ref in _references(document) if not ref.startswith("#/$defs/")]
        if strangers:
            raise ValueError(f"refers to {strangers[0]!r}, outside itself")
        self._compiled = {
            name: self._compile(name) for name in (*DATA, *ITEMS.values(), "manifest", "latest") if name in self._defs
        }

    @property
    def brief(self) -> list[str]:
        """What changes.geojson says of an object."""
        return list(self._defs["brief"]["properties"])

    def _compile(self, name: str) -> Any:
        root = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": self._defs, "$ref": f"#/$defs/{name}"}
        return jsonschema_rs.validator_for(root)

    def problems(self, definition: str, value: Any) -> Iterator[str]:
        """Where ``value`` departs from the definition; the first ten places."""
        validator = self._compiled[definition]
        if validator.is_valid(value):
            return
        for error in islice(validator.iter_errors(value), 10):
            where = "/".join(str(part) for part in error.instance_path)
            yield f"{where or 'top'}: {error.message}"


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            if key in ("$ref", "$dynamicRef") and isinstance(one, str):
                yield one
            else:
                yield from _references(one)
    elif isinstance(value, list):
        for one in value:
            yield from _references(one)


# -- from the top -------------------------------------------------------------------------------------------------------------


def _problems(place: _Place) -> Iterator[str]:
    try:
        manifest = place.has("manifest.json")
        shelf = not manifest and place.has("latest.json")
    except _UnreadableError as error:
        yield f"{place.shown}/{error}"
        return
    if shelf:
        yield from _shelf_problems(place)
    elif manifest:
        yield from _Release(place).problems()
    else:
        yield f"manifest.json: is missing from {place.shown}, and so is latest.json: this is no release and no folder of releases"


def _old(name: str, document: Json) -> str | None:
    """What to say of a document of another major version; None of one that can be judged."""
    version = str(document.get("schema_version"))
    major = version.partition(".")[0]
    if not major.isdecimal() or int(major) == MAJOR:
        return None
    what = "an older Kryss wrote it" if int(major) < MAJOR else "a newer Kryss wrote it"
    return (
        f"{name}: schema_version is {version}: {what}, and this validator reads {MAJOR}.x; validate it with that version "
        '(docs/layer.md, "Versions of the schema", says what differs)'
    )


def _shelf_problems(place: _Place) -> Iterator[str]:
    try:
        latest, _ = _document(place, "latest.json")
    except _UnreadableError as error:
        yield str(error)
        return
    if told := _old("latest.json", latest):
        yield told
        return
    found = False
    for problem in _Schema(json.loads(_own_schema())).problems("latest", latest):
        found = True
        yield f"latest.json: {problem}"
    if found:
        return
    if latest["code"] != place.name and not place.is_web:
        yield f"latest.json: code is {latest['code']!r}, the folder is called {place.name!r}"
    release, releases = latest["release"], latest["releases"]
    files = {"manifest": "manifest.json", "page": "index.html", "layer": "intersections.geojson"}
    for key in ("manifest", "layer", "objects", "areas", "roads", "changes", "page"):
        expected = f"{release}/{files.get(key, f'{key}.geojson')}"
        if latest[key] != expected:
            yield f"latest.json: {key} is {latest[key]!r}, not {expected!r}"
    if releases != sorted(releases, key=_release_key):
        yield f"latest.json: releases {releases} are not oldest first"
    if release not in releases:
        yield f"latest.json: release {release} is not among its releases"
    for name in releases:
        if not place.under(name).has("manifest.json"):
            yield f"latest.json: release {name} is named, but {name}/manifest.json is missing"
    current = _Release(place.under(release))
    for problem in current.problems():
        yield f"{release}/{problem}"
    if current.manifest_sha256 not in (None, latest["manifest_sha256"]):
        yield f"latest.json: manifest_sha256 is not the sha256 of {release}/manifest.json"
    if current.manifest and current.manifest.get("code") != latest["code"]:
        yield f"latest.json: code is {latest['code']!r}, but {release}/manifest.json says {current.manifest.get('code')!r}"


def _release_key(name: str) -> tuple[str, int]:
    day, _, number = name.partition(".")
    return day, int(number)


@dataclass
class _Bytes:
    """What was read of a file."""

    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, chunk: bytes) -> bytes:
        self.size += len(chunk)
        self.digest.update(chunk)
        return chunk


class _Release:
    def __init__(self, place: _Place) -> None:
        self.place = place
        self.manifest: Json = {}
        self.manifest_sha256: str | None = None
        self._schema = _Schema(json.loads(_own_schema()))
        self._read: dict[str, _Bytes] = {}
        self._boxes: dict[str, list[float] | None] = {}
        self._junctions: dict[str, bytes] = {}
        """Intersection id -> digest of what intersections.geojson says of it, its area too."""
        self._with_roads: dict[str, bytes] = {}
        self._broken: set[str] = set()
        """Files of which not all could be read; what they do not say is not held against the others."""
        self._counts: Counter[str] = Counter()
        self._by_class: dict[str, Counter[str]] = {}
        self._nested_sum = self._flat_sum = 0
        """Sums of digests: equal if both files say the same of the same objects, in whatever order."""
        self._told = _Told(self._schema)

    def problems(self) -> Iterator[str]:
        try:
            self.manifest, raw = _document(self.place, "manifest.json")
            self.manifest_sha256 = hashlib.sha256(raw).hexdigest()
        except _UnreadableError as error:
            yield str(error)
        if told := _old("manifest.json", self.manifest):
            yield told
            return
        yield from self._choose_schema()
        manifest_problems = [f"manifest.json: {one}" for one in self._schema.problems("manifest", self.manifest)]
        yield from manifest_problems if self.manifest else ()
        try:
            present = self.place.names()
        except _UnreadableError as error:
            yield str(error)
            present = None
        listed = self._listed()
        # Changes first: what they say of objects is looked up while those are read.
        for name in ("changes", "intersections", "objects", "areas", "roads"):
            if present is None or f"{name}.geojson" in present:
                yield from self._data(name)
        yield from self._agreement()
        yield from self._checksums(listed, present)
        if self.manifest and not manifest_problems:
            yield from self._against_manifest()
        yield from self._against_previous()

    def _listed(self) -> dict[str, Json]:
        files = self.manifest.get("files")
        entries = files if isinstance(files, list) else []
        return {item["name"]: item for item in entries if isinstance(item, dict) and isinstance(item.get("name"), str)}

    def _choose_schema(self) -> Iterator[str]:
        """The schema of this version judges; one of a later minor version is judged by the schema that it brings."""
        try:
            document, raw = _document(self.place, "schema.json")
        except _UnreadableError as error:
            yield str(error)
            return
        own = json.loads(_own_schema())
        version = self.manifest.get("schema_version")
        if f"urn:kryss:layer:{version}" == own["$id"] or not isinstance(version, str):
            if raw != _own_schema():
                yield f"schema.json: is not the schema {own['$id'].rpartition(':')[2]} that this validator knows"
            return
        if document.get("$id") != f"urn:kryss:layer:{version}":
            yield f"schema.json: $id is {document.get('$id')!r}, but manifest.json is of schema_version {version}"
            return
        try:
            schema = _Schema(document)
            missing = [name for name in (*DATA, *ITEMS.values(), "manifest") if name not in document["$defs"]]
            if missing:
                raise ValueError(f"$defs has no {missing[0]!r}")
            self._schema = self._told.schema = schema
        except Exception as error:  # the schema is input here
            yield f"schema.json: cannot be used: {type(error).__name__} {error}"

    # -- one file -------------------------------------------------------------------------------------------------------------

    def _data(self, name: str) -> Iterator[str]:
        file = f"{name}.geojson"
        counted = self._read[file] = _Bytes()
        lines = _lines(counted.add(chunk) for chunk in self.place.chunks(file))
        try:
            yield from self._collection(name, file, lines)
            for _ in lines:  # the checksum is of all of it
                pass
        except FileNotFoundError:
            del self._read[file]
            if file not in self._listed():
                yield f"{file}: is missing from {self.place.shown}"
        except _UnreadableError as error:
            del self._read[file]
            yield str(error)

    def _collection(self, name: str, file: str, lines: Iterator[bytes]) -> Iterator[str]:
        head = []
        for line in lines:
            head.append(line)
            if line == FEATURES or line.startswith((b"]", b'{"type":"Feature"', b',{"type":"Feature"')):
                break
        if head[:1] != [COLLECTION_FIRST] or head[-1:] != [FEATURES]:
            yield f'{file}: is not written as this layer is: {{"type":"FeatureCollection", first, then "features":[ on a line'
            self._broken.add(name)
            return
        box = _Box()
        count = 0
        last: Any = None
        tail = [b"]"]
        for line in lines:
            if line.startswith(b"]"):
                tail = [line]
                break
            where = f"{file}: feature number {count + 1}"
            comma = line.startswith(b",")
            if comma != bool(count):
                yield f"{where}: is {'not ' if count else ''}preceded by a comma"
            count += 1
            try:
                feature = orjson.loads(raw := line[1:].rstrip() if comma else line.rstrip())
                if orjson.dumps(feature) != raw and (name_twice := _repeated(raw)):
                    yield f"{where}: has two members {name_twice!r}: readers differ in which one counts"
            except ValueError as error:
                self._broken.add(name)
                yield f"{where}: is not JSON: {error}"
                continue
            wrong = False
            key = feature.get("id") if isinstance(feature, dict) else None
            where = f"{file}: feature {key!r}" if isinstance(key, str) else where
            for problem in self._schema.problems(ITEMS[name], feature):
                wrong = True
                yield f"{where}: {problem}"
            if wrong:
                self._broken.add(name)
                continue
            order = self._order(name, feature)
            if last is not None and order <= last:
                yield (
                    f"{where}: the id is used twice" if order == last else f"{where}: is out of order after {last[-1].decode()!r}"
                )
            last = order
            yield from (f"{where}: {problem}" for problem in self._feature(name, feature, box))
        else:
            self._broken.add(name)
            yield f"{file}: ends within its features: it was cut off"
            return
        tail.extend(lines)
        self._boxes[file] = box.told()
        self._counts[name] = count
        yield from self._skeleton(name, file, b"".join([*head, *tail]), box)

    def _skeleton(self, name: str, file: str, raw: bytes, box: _Box) -> Iterator[str]:
        """The collection without its features."""
        try:
            collection = orjson.loads(raw)
            if name_twice := _repeated(raw):
                yield f"{file}: has two members {name_twice!r}: readers differ in which one counts"
        except ValueError as error:
            self._broken.add(name)
            yield f"{file}: is not JSON before or after its features: {error}"
            return
        if "crs" in collection:
            yield f"{file}: has a crs member, which RFC 7946 section 4 removed"
        wrong = False
        for problem in self._schema.problems(name, collection):
            wrong = True
            yield f"{file}: {problem}"
        if name not in self._broken and collection.get("bbox") != box.told():
            yield f"{file}: bbox is {collection.get('bbox')}, but that of its features is {box.told()}"
        if name == "changes" and not wrong:
            self._told.head = collection
            yield from (f"{file}: {problem}" for problem in self._told.problems())

    @staticmethod
    def _order(name: str, feature: Json) -> tuple[Any, ...]:
        key = feature["id"].encode()
        return (KINDS.index(feature["properties"]["kind"]), key) if name == "changes" else (key,)

    def _feature(self, name: str, feature: Json, box: _Box) -> Iterator[str]:
        properties = feature["properties"]
        if feature["id"] != properties["id"]:
            yield f"properties.id is {properties['id']!r}"
        own = _Box()
        yield from _geometry_problems(feature["geometry"], own)
        box.join(own)
        if name == "intersections":
            yield from self._intersection(feature, own)
        elif name == "objects":
            yield from self._object(feature)
        elif name == "changes":
            yield from self._told.feature(feature)
        elif not self._whole("intersections"):
            return
        elif name == "areas":
            told = _digest([*(properties[key] for key in ABOUT), properties["centre_lon"], properties["centre_lat"]])
            yield from self._junction(feature["id"], told, feature["geometry"], properties["object_count"])
        elif name == "roads":
            known = self._with_roads.get(feature["id"])
            if known is None:
                yield "is no intersection of intersections.geojson"
            elif known != _digest([properties["name"], properties["speed_limit_kmh"]]):
                yield "its name or speed_limit_kmh is not that in intersections.geojson"

    def _junction(self, key: str, told: bytes, area: Json, standing: int) -> Iterator[str]:
        """An area must be what intersections.geojson says of that intersection."""
        known = self._junctions.get(key)
        if known is None:
            yield "is no intersection of intersections.geojson"
        elif known[:8] != told:
            yield "its properties are not those in intersections.geojson"
        elif known[8:16] != _digest(area):
            yield "its polygon is not that in intersections.geojson"
        elif known[16:] != _digest(standing):
            yield f"object_count is {standing}, which is not that in intersections.geojson"

    def _intersection(self, feature: Json, box: _Box) -> Iterator[str]:
        members, properties = feature["geometry"]["geometries"], feature["properties"]
        area, points, entries = members[0], members[1:], properties["objects"]
        if feature["bbox"] != box.told():
            yield f"bbox is {feature['bbox']}, but that of the geometry is {box.told()}"
        if len(points) != len(entries):
            yield f"has {len(points)} points but {len(entries)} objects"
        standing = sum(entry["status"] == "standing" for entry in entries)
        if properties["object_count"] != standing:
            yield f"object_count is {properties['object_count']}, but {standing} objects stand"
        lon, lat = properties["centre"]
        if round(lon, 7) != lon or round(lat, 7) != lat:
            yield f"centre {properties['centre']} has more than 7 decimals"
        ids = [entry["id"] for entry in entries]
        if ids != sorted(set(ids)):
            yield "its objects are not in order of id, each once"
        for entry, point in zip(entries, points, strict=False):
            yield from (f"object {entry['id']!r}: {problem}" for problem in _nested_problems(entry))
            flat = {key: value for key, value in entry.items() if key not in ("absences", "evidence", "missed_in", "history")}
            flat["intersection_id"] = feature["id"]
            flat["miss_count"], flat["absence_count"] = len(entry["missed_in"]), len(entry["absences"])
            self._nested_sum += _number(flat, point)
            self._counts["nested"] += 1
        told = _digest([*(properties[key] for key in ABOUT), *properties["centre"]])
        self._junctions[feature["id"]] = told + _digest(area) + _digest(properties["object_count"])
        self._with_roads[feature["id"]] = _digest([properties["name"], properties["speed_limit_kmh"]])

    def _object(self, feature: Json) -> Iterator[str]:
        properties = feature["properties"]
        yield from _object_problems(properties)
        if self._whole("intersections") and properties["intersection_id"] not in self._junctions:
            yield f"intersection_id {properties['intersection_id']!r} is no intersection of intersections.geojson"
        self._flat_sum += _number(properties, feature["geometry"])
        self._by_class.setdefault(properties["class"], Counter())[properties["status"]] += 1
        if self._whole("changes"):
            yield from self._told.object(feature)

    # -- files against each other ---------------------------------------------------------------------------------------------

    def _agreement(self) -> Iterator[str]:
        if self._whole("intersections", "objects", "changes"):
            yield from (f"changes.geojson: {problem}" for problem in self._told.left())
        if not self._whole("intersections", "objects", "areas"):
            return
        if self._counts["areas"] != self._counts["intersections"]:
            yield f"areas.geojson: has {self._counts['areas']} areas, intersections.geojson {self._counts['intersections']}"
        if self._counts["nested"] != self._counts["objects"]:
            yield f"objects.geojson: has {self._counts['objects']} objects, intersections.geojson {self._counts['nested']}"
        if self._nested_sum != self._flat_sum:
            yield from self._differing()

    def _whole(self, *names: str) -> bool:
        return all(name in self._counts and name not in self._broken for name in names)

    def _differing(self) -> Iterator[str]:
        """Which objects the two files do not agree on: read again, as it happens only to a bad release."""
        nested: dict[str, int] = {}
        for feature in self._features("intersections"):
            for entry, point in zip(feature["properties"]["objects"], feature["geometry"]["geometries"][1:], strict=False):
                flat = {key: value for key, value in entry.items() if key not in ("absences", "evidence", "missed_in", "history")}
                flat["intersection_id"] = feature["id"]
                flat["miss_count"], flat["absence_count"] = len(entry["missed_in"]), len(entry["absences"])
                nested[entry["id"]] = _number(flat, point)
        for feature in self._features("objects"):
            where = f"objects.geojson: feature {feature['id']!r}"
            known = nested.pop(feature["id"], None)
            if known is None:
                yield f"{where}: is not in intersections.geojson"
            elif known != _number(feature["properties"], feature["geometry"]):
                yield f"{where}: intersections.geojson says something else of it"
        for key in sorted(nested):
            yield f"intersections.geojson: object {key!r}: is not in objects.geojson"

    def _features(self, name: str) -> Iterator[Json]:
        """Those that are as the schema wants them."""
        for line in _lines(self.place.chunks(f"{name}.geojson")):
            if line.startswith((b'{"type":"Feature",', b',{"type":"Feature",')):
                try:
                    feature = orjson.loads(line.removeprefix(b","))
                except ValueError:
                    continue
                if next(self._schema.problems(ITEMS[name], feature), None) is None:
                    yield feature

    def _checksums(self, listed: Mapping[str, Json], present: set[str] | None) -> Iterator[str]:
        for name in (*NAMES, *(f"{name}.gz" for name in NAMES), *OTHERS):
            if name not in listed:
                yield f"{name}: is not listed in manifest.json"
        for name in sorted((present or set()) - listed.keys() - {"manifest.json"}):
            if name not in (*NAMES, *(f"{one}.gz" for one in NAMES), *OTHERS):
                yield f"{name}: is not listed in manifest.json: it is no part of the release"
        for name, item in sorted(listed.items()):
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                continue  # the schema has told; and it might lead out of the folder
            if present is not None and name not in present:
                yield f"{name}: is listed in manifest.json but missing"
                continue
            try:
                if name not in self._read:
                    yield from self._other(name)
            except FileNotFoundError:
                yield f"{name}: is listed in manifest.json but missing"
                continue
            except _UnreadableError as error:
                yield str(error)
                continue
            counted = self._read.get(name)
            if counted is None:
                continue
            if counted.size != item.get("bytes"):
                yield f"{name}: has {counted.size} bytes, manifest.json says {item.get('bytes')}"
            elif counted.digest.hexdigest() != item.get("sha256"):
                yield f"{name}: its sha256 is {counted.digest.hexdigest()}, manifest.json says {item.get('sha256')}"

    def _other(self, name: str) -> Iterator[str]:
        """A file that is read for its checksum: packed ones must hold the plain file."""
        counted = self._read[name] = _Bytes()
        chunks = (counted.add(chunk) for chunk in self.place.chunks(name))
        plain = self._read.get(name.removesuffix(".gz")) if name.endswith(".gz") else None
        if name.endswith(".gz"):
            yield from (f"{name}: {problem}" for problem in _gzip_problems(chunks, plain))
        first = True
        for chunk in chunks:
            magic = MAGIC.get(Path(name).suffix)
            if first and magic and not chunk.startswith(magic):
                yield f"{name}: does not begin as such a file does"
            first = False

    def _against_manifest(self) -> Iterator[str]:
        manifest = self.manifest
        if manifest["release"] != self.place.name:
            yield f"manifest.json: release is {manifest['release']!r}, the folder is called {self.place.name!r}"
        names = [item["name"] for item in manifest["files"]]
        if names != sorted(set(names)):
            yield "manifest.json: files are not in order of name, each once"
        if manifest["previous"] is not None and _release_key(manifest["previous"]) >= _release_key(manifest["release"]):
            yield f"manifest.json: previous is {manifest['previous']}, which is not before {manifest['release']}"
        if self._whole("intersections") and manifest["bbox"] != self._boxes["intersections.geojson"]:
            yield f"manifest.json: bbox is {manifest['bbox']}, that of the layer is {self._boxes['intersections.geojson']}"
        counts = manifest["counts"]
        for name in ("intersections", "objects"):
            if self._whole(name) and counts[name] != self._counts[name]:
                yield f"manifest.json: counts.{name} is {counts[name]}, the layer has {self._counts[name]}"
        if self._whole("objects"):
            by_status = {status: sum(one[status] for one in self._by_class.values()) for status in STATUSES}
            if counts["by_status"] != by_status:
                yield f"manifest.json: counts.by_status is {counts['by_status']}, the layer has {by_status}"
            for name in sorted(counts["by_class"].keys() | self._by_class.keys()):
                told, found = counts["by_class"].get(name), self._by_class.get(name, Counter())
                if told != {status: found[status] for status in STATUSES}:
                    yield f"manifest.json: counts.by_class of {name!r} is {told}, the layer has {dict(found)}"
        if head := self._told.head:
            for name in ("schema_version", "code", "release", "previous"):
                if head[name] != manifest[name]:
                    yield f"changes.geojson: {name} is {head[name]!r}, manifest.json says {manifest[name]!r}"
            for ours, theirs in (("changes", "counts"), ("reasons", "reasons")):
                if manifest[ours] != head[theirs]:
                    yield f"manifest.json: {ours} is {manifest[ours]}, but {theirs} of changes.geojson is {head[theirs]}"

    def _against_previous(self) -> Iterator[str]:
        """Every difference from the previous release must be told, and nothing else. Only ids and lines are read."""
        previous = self._told.head.get("previous") if self._told.head else None
        if not isinstance(previous, str) or not self._whole("objects", "changes"):
            return
        place = self.place.beside(previous)
        try:
            if not place.has("objects.geojson") or not place.has("manifest.json"):
                return
            then, _ = _document(place, "manifest.json")
            if then.get("schema_version") != self.manifest.get("schema_version"):
                return
            old, new = (_object_lines(one.chunks("objects.geojson")) for one in (place, self.place))
            for problem in self._told.differences(old, new):
                yield f"changes.geojson: {problem}"
        except (_UnreadableError, OSError) as error:
            yield f"changes.geojson: cannot be held against {previous}: {error}"


# -- changes ------------------------------------------------------------------------------------------------------------------


class _Told:
    """What changes.geojson says, to be held against the objects."""

    def __init__(self, schema: _Schema) -> None:
        self.schema = schema
        self.head: Json = {}
        self._kinds: Counter[str] = Counter()
        self._changes: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._after: dict[str, bytes] = {}
        """Object of this release -> digest of what is said of it."""
        self._before: set[str] = set()
        """Objects of the previous release of which something is said."""
        self._gone: set[str] = set()
        self._refined: list[str] = []
        self._seen = bytearray()

    def feature(self, feature: Json) -> Iterator[str]:
        told = feature["properties"]
        kind, before, after = told["kind"], told["before"], told["after"]
        self._kinds[kind] += 1
        self._changes[told["change"]] += 1
        self._reasons[told["reason"] or "unknown"] += 1
        if told["change"] != CHANGE_OF[kind]:
            yield f"change is {told['change']!r}, but the kind {kind!r} is {CHANGE_OF[kind]!r}"
        if (before is None) != (kind in NOT_BEFORE):
            yield f"is {kind}, but before is {'null' if before is None else 'given'}"
        if (after is None) != (kind in NOT_AFTER):
            yield f"is {kind}, but after is {'null' if after is None else 'given'}"
        now = after or before
        if now is None:
            return
        if feature["geometry"]["coordinates"] != [now["lon"], now["lat"]]:
            yield f"its place is {feature['geometry']['coordinates']}, but the object is at {[now['lon'], now['lat']]}"
        for name in ("class", "status", "object_type", "intersection_id"):
            if told[name] != now[name]:
                yield f"{name} is {told[name]!r}, but that of the object is {now[name]!r}"
        own = after if kind in ("added", "split") else before
        if own is not None and own["id"] != feature["id"]:
            yield f"the id is not that of the object, {own['id']!r}"
        for one in (before, after):
            if one is not None:
                yield from (f"object {one['id']!r}: {problem}" for problem in _number_problems(one))
        if after is not None:
            self._after[after["id"]] = _digest(after)
        if before is not None:
            self._before.add(before["id"])
            if kind in ("removed", "merged"):
                self._gone.add(before["id"])

    def problems(self) -> Iterator[str]:
        head = self.head
        self._refined = head["refined"]
        self._seen = bytearray(len(self._refined))
        lists = {name: len(head[name]) for name in head if name == "refined" or name.startswith("intersections_")}
        for name, told, found in (
            ("counts", head["counts"], {**self._kinds, **lists}),
            ("by_change", head["by_change"], self._changes),
            ("reasons", head["reasons"], self._reasons),
        ):
            for key in sorted(told.keys() | found.keys() - (lists.keys() if name == "counts" else set())):
                if told.get(key, 0) != found.get(key, 0):
                    yield f"{name}.{key} is {told.get(key, 0)}, but there are {found.get(key, 0)}"
        for name in lists:
            if head[name] != sorted(head[name], key=str.encode):
                yield f"{name} is not in order of id"
        if head["previous"] is None and (self._kinds or self._refined):
            yield "previous is null, but changes are told"

    def object(self, feature: Json) -> Iterator[str]:
        """An object of this release; they come in order of id."""
        key = feature["id"]
        if self._refined:
            at = bisect_left(self._refined, key)
            if at < len(self._refined) and self._refined[at] == key:
                self._seen[at] = 1
                if key in self._after:
                    yield "changes.geojson names it in refined and in a feature"
        said = self._after.pop(key, None)
        if said is not None:
            lon, lat = feature["geometry"]["coordinates"]
            properties = {**feature["properties"], "lon": lon, "lat": lat}
            if said != _digest({name: properties[name] for name in self.schema.brief}):
                yield "changes.geojson says something else of it (after)"
            self._before.add(key)
        if key in self._gone:
            yield "is in the layer, but changes.geojson says that it was removed or merged"

    def left(self) -> Iterator[str]:
        for key in sorted(self._after):
            yield f"object {key!r}: is told, but it is not in objects.geojson"
        for key, seen in zip(self._refined, self._seen, strict=False):
            if not seen:
                yield f"refined: object {key!r} is not in objects.geojson"

    def differences(self, old: Iterator[tuple[str, bytes]], new: Iterator[tuple[str, bytes]]) -> Iterator[str]:
        """``_before`` holds by now every id that a feature speaks of."""
        was, now = next(old, None), next(new, None)
        while was or now:
            if now is None or (was is not None and was[0] < now[0]):
                assert was is not None
                if was[0] not in self._gone:
                    yield f"object {was[0]!r} is no longer in the layer, but nothing says so"
                was = next(old, None)
            elif was is None or now[0] < was[0]:
                if now[0] not in self._before:
                    yield f"object {now[0]!r} is new in the layer, but nothing says so"
                now = next(new, None)
            else:
                at = bisect_left(self._refined, now[0])
                refined = at < len(self._refined) and self._refined[at] == now[0]
                if was[1] == now[1] and refined:
                    yield f"refined: object {now[0]!r} is as it was"
                elif was[1] != now[1] and not refined and now[0] not in self._before:
                    yield f"object {now[0]!r} is not as it was, but nothing says so"
                was, now = next(old, None), next(new, None)


# -- one object ---------------------------------------------------------------------------------------------------------------


def _object_problems(entry: Json) -> Iterator[str]:
    """Of an object in objects.geojson; intersections.geojson must say the same of it."""
    first, last, ended = entry["first_seen_at"], entry["last_seen_at"], entry["ended_at"]
    for name in INSTANTS:
        if entry[name] is not None and not _is_instant(entry[name]):
            yield f"{name} {entry[name]!r} is no date of the calendar"
    if first > last:
        yield f"first seen {first}, after it was last seen {last}"
    if (entry["status"] == "ended") != (ended is not None):
        yield f"status is {entry['status']!r}, but ended_at is {ended!r}"
    if ended is not None and ended < last:
        yield f"ended {ended}, before it was last seen {last}"
    if entry["began_after"] is not None and entry["began_after"] > first:
        yield f"began after {entry['began_after']}, but was first seen {first}"
    light = entry["class"].startswith("object--traffic-light")
    if light != (entry["object_type"] == "traffic light"):
        yield f"object_type is {entry['object_type']!r}, but its class is {entry['class']!r}"
    yield from _number_problems(entry)
    edges = _edges(entry)
    if edges[0] != first or edges[-1] != (ended or ""):
        yield f"valid_time {entry['valid_time']} is not from {first} to {ended or 'now'}"
    if edges[:-1] != sorted(edges[:-1]) or (edges[-1] and edges[-1] < edges[-2]) or "" in edges[:-1]:
        yield f"valid_time {entry['valid_time']} is not in time order"
    if len(edges) // 2 > entry["absence_count"] + 1:
        yield f"valid_time {entry['valid_time']} has {len(edges) // 2} ranges, but absence_count is {entry['absence_count']}"


def _edges(entry: Json) -> list[str]:
    """Starts and ends of the ranges of ``valid_time``; an open end is empty."""
    return [edge for one in entry["valid_time"][2:-2].split("),[") for edge in one.split(",")]


def _nested_problems(entry: Json) -> Iterator[str]:
    """Of what only intersections.geojson holds of an object."""
    if entry["image_count"] != len(entry["evidence"]):
        yield f"image_count is {entry['image_count']}, but evidence names {len(entry['evidence'])} images"
    if entry["evidence"] != sorted(entry["evidence"]):
        yield "evidence is not sorted"
    state = entry["history"][-1]
    for name in STATE:
        if state[name] != entry[name]:
            yield f"the last state of its history has {name} {state[name]!r}, but it is {entry[name]!r}"
    absences = entry["absences"]
    if not absences:
        return
    steps = [entry["first_seen_at"], *(one[name] for one in absences for name in ABSENCE), entry["last_seen_at"]]
    if steps != sorted(steps):
        yield f"its absences {absences} are not in time order between its first and its last sighting"
    elif [edge for one in absences for edge in (one["gone_by"], one["back_by"])] != _edges(entry)[1:-1]:
        yield f"valid_time {entry['valid_time']} does not leave out its absences {absences}"


def _number_problems(entry: Json) -> Iterator[str]:
    for name, decimals in DECIMALS.items():
        value = entry.get(name)
        if value is not None and round(value, decimals) != value:
            yield f"{name} {value} has more than {decimals} decimals"


@lru_cache(1 << 16)
def _is_instant(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _digest(value: Any) -> bytes:
    return hashlib.blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), digest_size=8).digest()


def _number(properties: Json, point: Json) -> int:
    raw = orjson.dumps([properties, point["coordinates"]], option=orjson.OPT_SORT_KEYS)
    return int.from_bytes(hashlib.blake2b(raw, digest_size=16).digest(), "big")


# -- geometry -----------------------------------------------------------------------------------------------------------------


class _Box:
    """Grows with the positions it is given."""

    def __init__(self) -> None:
        self._box = [math.inf, math.inf, -math.inf, -math.inf]

    def add(self, lon: float, lat: float) -> None:
        box = self._box
        if lon < box[0]:
            box[0] = lon
        if lat < box[1]:
            box[1] = lat
        if lon > box[2]:
            box[2] = lon
        if lat > box[3]:
            box[3] = lat

    def join(self, other: _Box) -> None:
        if other._box[0] <= other._box[2]:
            self.add(other._box[0], other._box[1])
            self.add(other._box[2], other._box[3])

    def told(self) -> list[float] | None:
        return list(self._box) if self._box[0] <= self._box[2] else None


def _geometry_problems(geometry: Json, box: _Box) -> Iterator[str]:
    kind = geometry["type"]
    if kind == "GeometryCollection":
        for one in geometry["geometries"]:
            yield from _geometry_problems(one, box)
        return
    coordinates = geometry["coordinates"]
    lines = [[coordinates]] if kind == "Point" else coordinates
    for line in lines:
        for lon, lat in line:
            if round(lon, 7) != lon or round(lat, 7) != lat:
                yield f"position {[lon, lat]} has more than 7 decimals"
            box.add(lon, lat)
    if kind == "Polygon":
        yield from _polygon_problems(coordinates)


def _polygon_problems(rings: list[list[list[float]]]) -> Iterator[str]:
    closed = True
    for number, ring in enumerate(rings):
        if ring[0] != ring[-1]:
            closed = False
            yield f"ring {number} of the area is not closed"
        elif shapely.LinearRing(ring).is_ccw != (number == 0):
            yield f"ring {number} of the area turns the wrong way (RFC 7946 section 3.1.6: exterior left, holes right)"
    if closed:
        polygon = shapely.Polygon(rings[0], rings[1:])
        if not polygon.is_valid:
            yield f"the area is not a valid polygon: {shapely.is_valid_reason(polygon)}"


# -- bytes --------------------------------------------------------------------------------------------------------------------


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Lines with their ends; one that is too long to be a Feature is cut (and is no JSON then)."""
    rest: list[bytes] = []
    size = 0
    for chunk in chunks:
        *whole, last = chunk.split(b"\n")
        if whole:
            yield b"".join([*rest, whole[0], b"\n"])
            for line in whole[1:]:
                yield line + b"\n"
            rest, size = [], 0
        rest.append(last)
        size += len(last)
        if size > MOST_LINE_BYTES:
            yield b"".join(rest)
            rest, size = [], 0
    if size:
        yield b"".join(rest)


def _object_lines(chunks: Iterator[bytes]) -> Iterator[tuple[str, bytes]]:
    """Id and line of each feature."""
    start = b'{"type":"Feature","id":"'
    for line in _lines(chunks):
        bare = line.removeprefix(b",")
        if bare.startswith(start):
            yield bare[len(start) : len(start) + 36].decode(errors="replace"), bare


def _gzip_problems(chunks: Iterator[bytes], plain: _Bytes | None) -> Iterator[str]:
    """A packed file must hold the plain one, all of it, and nothing of when and where it was packed."""
    unpacked = _Bytes()
    machine = zlib.decompressobj(wbits=31)
    first = True
    try:
        for chunk in chunks:
            if first:
                if chunk[:3] == b"\x1f\x8b\x08" and (chunk[3] or chunk[4:8] != bytes(4)):
                    yield "its gzip header names a time or a file, so that equal files differ"
                first = False
            if machine.eof:
                raise zlib.error("there is more behind its end")
            while chunk:
                unpacked.add(machine.decompress(chunk, CHUNK))
                chunk = machine.unconsumed_tail
                if plain is not None and unpacked.size > plain.size:
                    yield "holds more than the plain file"
                    return
            if machine.unused_data:
                raise zlib.error("there is more behind its end")
        unpacked.add(machine.flush())
        if not machine.eof:
            raise EOFError("it was cut off")
    except (zlib.error, EOFError, gzip.BadGzipFile) as error:
        yield f"is no whole gzip file: {error}"
        return
    if plain is not None and unpacked.digest.digest() != plain.digest.digest():
        yield "does not hold the same bytes as the plain file"


def problems_of(definition: str, document: Any) -> list[str]:
    """Where a document departs from ``$defs/<definition>`` of the schema of this version."""
    return list(_Schema(json.loads(_own_schema())).problems(definition, document))
