"""Checks a release as a consumer should: checksums, the schema it ships, RFC 7946, and what the files say of each other.

Every problem is one line that names the file and, within it, the feature and object. Nothing of the writer's code is used to
judge what it wrote, except the names of the files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import shapely
from shapely.geometry import shape

Json = dict[str, Any]
MOST_PROBLEMS = 100
_ABSENCE = ("gone_after", "gone_by", "back_after", "back_by")
_DOCUMENTS = {"intersections.geojson": "intersections", "changes.json": "changes", "manifest.json": "manifest"}


def validate(folder: str | Path) -> list[str]:
    """The problems of the release in ``folder``, at most 100; none means that it can be trusted."""
    problems: list[str] = []
    for problem in _problems(Path(folder)):
        problems.append(problem)
        if len(problems) == MOST_PROBLEMS:
            problems.append(f"stopped after {MOST_PROBLEMS} problems")
            break
    return problems


def _problems(folder: Path) -> Iterator[str]:
    documents: dict[str, Json] = {}
    for name in (*_DOCUMENTS, "schema.json"):
        try:
            document = json.loads((folder / name).read_text(encoding="utf-8"))
            if not isinstance(document, dict):
                raise ValueError(f"the top is a {type(document).__name__}, not an object")
            documents[name] = document
        except FileNotFoundError:
            yield f"{name}: is missing from {folder}"
        except ValueError as error:
            yield f"{name}: is not a JSON document: {error}"
    manifest, layer, schema = (documents.get(name) for name in ("manifest.json", "intersections.geojson", "schema.json"))
    if schema is not None:
        for name, definition in _DOCUMENTS.items():
            if name in documents:
                yield from schema_problems(name, documents[name], schema, definition)
    if manifest is not None:
        yield from _checksum_problems(folder, manifest)
        if manifest.get("release") != folder.resolve().name:
            yield f"manifest.json: release is {manifest.get('release')!r}, the folder is called {folder.resolve().name!r}"
    if layer is not None:
        yield from layer_problems(layer)
        if manifest is not None:
            yield from _count_problems(manifest, layer)


def schema_problems(name: str, document: Json, schema: Json, definition: str) -> Iterator[str]:
    """Where ``document`` departs from ``$defs/<definition>`` of the schema."""
    root = {"$schema": schema["$schema"], "$defs": schema["$defs"], "$ref": f"#/$defs/{definition}"}
    jsonschema.Draft202012Validator.check_schema(schema)
    for error in jsonschema.Draft202012Validator(root).iter_errors(document):
        where = "/".join(str(part) for part in error.absolute_path) or "top"
        feature = _feature_of(document, list(error.absolute_path))
        yield f"{name}: {feature}{where}: {error.message[:300]}"


def _feature_of(document: Json, path: list[Any]) -> str:
    if len(path) < 2 or path[0] != "features":
        return ""
    feature = document["features"][path[1]]
    return f"feature {feature.get('id')!r}: " if isinstance(feature, dict) else ""


def _checksum_problems(folder: Path, manifest: Json) -> Iterator[str]:
    listed = {item["name"]: item for item in manifest.get("files", [])}
    present = {path.name for path in folder.iterdir()} - {"manifest.json"}
    for name in sorted(present - listed.keys()):
        yield f"{name}: is not listed in manifest.json"
    for name, item in sorted(listed.items()):
        if name not in present:
            yield f"{name}: is listed in manifest.json but missing"
            continue
        data = (folder / name).read_bytes()
        if len(data) != item["bytes"]:
            yield f"{name}: has {len(data)} bytes, manifest.json says {item['bytes']}"
        elif hashlib.sha256(data).hexdigest() != item["sha256"]:
            yield f"{name}: its sha256 is not the one in manifest.json"


def layer_problems(layer: Json, name: str = "intersections.geojson") -> Iterator[str]:
    """What RFC 7946 and the layer's own rules forbid and a schema cannot say."""
    if "crs" in layer:
        yield f"{name}: has a crs member, which RFC 7946 section 4 removed"
    ids: set[str] = set()
    object_ids: set[str] = set()
    boxes: list[shapely.Polygon] = []
    for index, item in enumerate(layer.get("features", [])):
        where = f"{name}: feature {item.get('id', index)!r}"
        try:
            yield from (f"{where}: {problem}" for problem in _feature_problems(item, object_ids))
            boxes.append(shapely.box(*item["bbox"]))
        except (KeyError, TypeError, IndexError, ValueError, AttributeError, shapely.errors.ShapelyError) as error:
            yield f"{where}: cannot be read: {type(error).__name__} {error}"
        if item.get("id") in ids:
            yield f"{where}: the id is used twice"
        ids.add(str(item.get("id")))
    if boxes and layer.get("bbox") != list(shapely.MultiPolygon(boxes).bounds):
        yield f"{name}: bbox {layer.get('bbox')} is not that of the features"


def _feature_problems(item: Json, object_ids: set[str]) -> Iterator[str]:
    members, properties = item["geometry"]["geometries"], item["properties"]
    area, points, entries = members[0], members[1:], properties["objects"]
    if item["id"] != properties["id"]:
        yield f"properties.id is {properties['id']!r}"
    for number, ring in enumerate(area["coordinates"]):
        if len(ring) < 4 or ring[0] != ring[-1]:
            yield f"ring {number} of the area is not closed"
        elif shapely.LinearRing(ring).is_ccw != (number == 0):
            yield f"ring {number} of the area turns the wrong way (RFC 7946 section 3.1.6: exterior left, holes right)"
    polygon = shape(area)
    if not polygon.is_valid:
        yield f"the area is not a valid polygon: {shapely.is_valid_reason(polygon)}"
    if list(shape(item["geometry"]).bounds) != item["bbox"]:
        yield f"bbox {item['bbox']} is not that of the geometry"
    if any(_decimals(value) > 7 for ring in area["coordinates"] for point in ring for value in point):
        yield "the area has coordinates of more than 7 decimals"
    if len(points) != len(entries):
        yield f"has {len(points)} points but {len(entries)} objects"
    standing = sum(entry["status"] == "standing" for entry in entries)
    if properties["object_count"] != standing:
        yield f"object_count is {properties['object_count']}, but {standing} objects stand"
    for entry, point in zip(entries, points, strict=False):
        where = f"object {entry['id']!r}"
        if entry["id"] in object_ids:
            yield f"{where}: the id is used twice"
        object_ids.add(entry["id"])
        if any(_decimals(value) > 7 for value in point["coordinates"]):
            yield f"{where}: has coordinates of more than 7 decimals"
        yield from (f"{where}: {problem}" for problem in _object_problems(entry))


def _object_problems(entry: Json) -> Iterator[str]:
    if entry["first_seen_at"] > entry["last_seen_at"]:
        yield f"first seen {entry['first_seen_at']}, after it was last seen {entry['last_seen_at']}"
    if (entry["status"] == "ended") != (entry["ended_at"] is not None):
        yield f"status is {entry['status']!r}, but ended_at is {entry['ended_at']!r}"
    if entry["ended_at"] is not None and entry["ended_at"] < entry["last_seen_at"]:
        yield f"ended {entry['ended_at']}, before it was last seen {entry['last_seen_at']}"
    if entry["image_count"] != len(entry["evidence"]):
        yield f"image_count is {entry['image_count']}, but evidence names {len(entry['evidence'])} images"
    state = {name: value for name, value in entry["history"][-1].items() if name != "reason"}
    if state != {name: entry[name] for name in state}:
        yield "the last state of its history is not its present state"
    began_after = entry.get("began_after")
    if began_after is not None and began_after > entry["first_seen_at"]:
        yield f"began after {began_after}, but was first seen {entry['first_seen_at']}"
    absences = entry.get("absences", [])
    steps = [entry["first_seen_at"], *(one[name] for one in absences for name in _ABSENCE), entry["last_seen_at"]]
    if absences and steps != sorted(steps):
        yield f"its absences {absences} are not in time order between its first and its last sighting"


def _decimals(value: float) -> int:
    text = repr(value)
    match = re.fullmatch(r"-?\d+\.(\d+)", text)
    if match:
        return len(match[1].rstrip("0"))
    scientific = re.fullmatch(r"-?(\d+)(?:\.(\d+))?e-(\d+)", text)
    return len(scientific[2] or "") + int(scientific[3]) if scientific else 0


def _count_problems(manifest: Json, layer: Json) -> Iterator[str]:
    features = layer.get("features", [])
    counts = manifest.get("counts", {})
    objects = sum(len(item.get("properties", {}).get("objects", ())) for item in features)
    for name, value in (("intersections", len(features)), ("objects", objects)):
        if counts.get(name) != value:
            yield f"manifest.json: counts.{name} is {counts.get(name)}, the layer has {value}"
    if manifest.get("bbox") != layer.get("bbox"):
        yield f"manifest.json: bbox {manifest.get('bbox')} is not the layer's {layer.get('bbox')}"
