"""A recorded area: the folder that plays a municipality back, read and validated (format: recorded-area.md).

Every error names the file and, for ``images.jsonl`` and JSON syntax, the line; for JSON that parses but is wrong, the JSON
path (``$.boundary.coordinates[0][3]``). One optional key is added to the format: ``epochs`` in ``area.json``, a list of
ISO 8601 instants. Without it the epochs are found in the capture (or ``uploaded_at``) days.
"""

from __future__ import annotations

import difflib
import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, cast

import shapely
from shapely.geometry import shape

from kryss.model import Municipality

log = logging.getLogger(__name__)

RoadsKind = Literal["nvdb", "overpass", "junctions"]
ROADS_KINDS: tuple[RoadsKind, ...] = ("nvdb", "overpass", "junctions")
NVDB_FILES = ("segments.json", "nodes.json", "objects-37.json", "objects-89.json", "objects-105.json")
EPOCH_GAP = timedelta(days=7)
"""Photo days further apart than this belong to different epochs."""

EARLIEST_CAPTURE = datetime(1990, 1, 1, tzinfo=UTC)
LATEST_CAPTURE = datetime(2100, 1, 1, tzinfo=UTC)


class AreaError(ValueError):
    """A recorded area that cannot be used; the message says which file, where in it, what is wrong and what to do."""


@dataclass(frozen=True)
class RecordedArea:
    """A validated recorded area."""

    path: Path
    code: str
    name: str
    country: str
    boundary: dict[str, Any]
    roads: RoadsKind
    attribution: str
    images: tuple[dict[str, Any], ...]
    """The lines of images.jsonl as written, in file order."""
    epochs: tuple[datetime, ...]
    """Instants to give playback as "now", in order; each serves everything of its epoch and of the earlier ones."""
    truth: dict[str, Any] | None = field(default=None, repr=False)
    licence: str | None = None
    """SPDX id of the licence of the photos, where the area says."""

    @property
    def municipality(self) -> Municipality:
        return Municipality(code=self.code, name=self.name, country=self.country, boundary=self.boundary)

    @property
    def junctions_path(self) -> Path:
        return self.path / "roads" / "junctions.geojson"

    @property
    def overpass_path(self) -> Path:
        return self.path / "roads" / "overpass.json"

    @property
    def nvdb_path(self) -> Path:
        return self.path / "roads" / "nvdb"

    def photo_path(self, image_id: str) -> Path:
        return self.path / "photos" / f"{image_id}.jpg"


def load_area(path: str | Path) -> RecordedArea:
    """The recorded area in the folder ``path``; AreaError where anything in it is missing or wrong."""
    folder = Path(path)
    if not folder.is_dir():
        raise AreaError(f"{folder}: no such folder; give the folder that holds area.json")
    area_file = folder / "area.json"
    area = _expect(read_json(area_file), dict, area_file, "$")
    text = {key: _text(area, key, area_file) for key in ("code", "name", "country", "attribution", "roads")}
    if not (len(text["country"]) == 2 and text["country"].isalpha() and text["country"].isupper()):
        raise _at(area_file, "$.country", f"{text['country']!r} is not an ISO 3166-1 alpha-2 code such as 'NO'")
    if text["roads"] not in ROADS_KINDS:
        raise _at(area_file, "$.roads", f"{text['roads']!r} is not one of {', '.join(ROADS_KINDS)}")
    roads = cast(RoadsKind, str(text["roads"]))
    boundary = _boundary(area, area_file)
    for key in sorted(set(area) - {"code", "name", "country", "boundary", "roads", "attribution", "licence", "epochs"}):
        log.info("%s: key %r is not part of the format and is ignored", area_file, key)

    images = tuple(_images(folder))
    epochs = _stated_epochs(area, area_file) if "epochs" in area else found_epochs(images)
    _check_roads(folder, roads)
    truth_file = folder / "truth.geojson"
    truth = _points(truth_file) if truth_file.exists() else None
    return RecordedArea(
        path=folder,
        code=text["code"],
        name=text["name"],
        country=text["country"],
        boundary=boundary,
        roads=roads,
        attribution=text["attribution"],
        images=images,
        epochs=epochs,
        truth=truth,
        licence=_text(area, "licence", area_file) if area.get("licence") is not None else None,
    )


def available_at(image: dict[str, Any]) -> datetime:
    """When the photo could first be had from the service: ``uploaded_at`` where recorded, else ``captured_at``."""
    return datetime.fromtimestamp(image.get("uploaded_at", image["captured_at"]) / 1000, UTC)


def found_epochs(images: Sequence[dict[str, Any]]) -> tuple[datetime, ...]:
    """The midnight after each cluster of photo days; days more than a week apart are different clusters."""
    days = sorted({available_at(image).date() for image in images})
    last_days = [day for day, following in pairwise(days) if following - day > EPOCH_GAP] + days[-1:]
    return tuple(datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1) for day in last_days)


def read_json(path: Path) -> Any:
    """The parsed file; AreaError with line and column for bad JSON, with the JSON path for NaN and infinities."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise AreaError(f"{path}: missing; the format of a recorded area asks for it") from None
    except UnicodeDecodeError as error:
        raise AreaError(f"{path}: not UTF-8 at byte {error.start}; write it as UTF-8") from None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise AreaError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from None
    where = _non_finite(value)
    if where is not None:
        raise _at(path, where, "NaN and infinite numbers are not JSON; give a number")
    return value


def _images(folder: Path) -> Iterator[dict[str, Any]]:
    path = folder / "images.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise AreaError(f"{path}: missing; one Mapillary image entity a line") from None
    line_of_id: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            image = json.loads(line)
        except json.JSONDecodeError as error:
            raise AreaError(f"{where}:{error.colno}: not JSON: {error.msg}") from None
        problem = image_problem(image)
        if problem:
            raise AreaError(f"{where}: {problem}")
        image_id = image["id"]
        if image_id in line_of_id:
            raise AreaError(f"{where}: image {image_id} is already on line {line_of_id[image_id]}; keep one of them")
        line_of_id[image_id] = number
        photo = folder / "photos" / f"{image_id}.jpg"
        if not photo.is_file() or photo.stat().st_size == 0:
            raise AreaError(f"{where}: photo photos/{image_id}.jpg is missing or empty; add it or take the line out")
        yield image
    if not line_of_id:
        raise AreaError(f"{path}: no image in it; a recorded area needs at least one")


def image_problem(image: Any) -> str | None:
    """What is wrong with a recorded image entity, or None."""
    if not isinstance(image, dict):
        return f"expected a JSON object, found {type(image).__name__}"
    where = _non_finite(image)
    if where is not None:
        return f"{where} is NaN or infinite; give a number or leave the field out"
    for key in ("id", "sequence", "captured_at", "width", "height"):
        if key not in image:
            near = difflib.get_close_matches(key, [str(other) for other in image], n=1)
            return f"{key!r} is missing" + (f"; did you mean it by {near[0]!r}?" if near else "")
    for key, value in image.items():
        if key.startswith("thumb_"):
            return f"{key!r} must not be recorded: the links expire, the playback server makes its own"
        rule = IMAGE_FIELDS.get(key)
        if rule is not None and not rule[0](value):
            return f"{key!r} is {_shown(value)}, expected {rule[1]}"
    if "geometry" not in image and "computed_geometry" not in image:
        return "neither 'geometry' nor 'computed_geometry' is there; a photo needs a position"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_positive_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_instant_ms(value: Any) -> bool:
    in_range = EARLIEST_CAPTURE.timestamp() * 1000, LATEST_CAPTURE.timestamp() * 1000
    return isinstance(value, int) and not isinstance(value, bool) and in_range[0] <= value < in_range[1]


def _is_point(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "Point" and _is_position(value.get("coordinates"))


def _is_position(value: Any) -> bool:
    numbers = isinstance(value, list) and len(value) in (2, 3) and all(map(_is_number, value))
    return numbers and -180 <= value[0] <= 180 and -90 <= value[1] <= 90


def _are_numbers(*lengths: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) in lengths and all(map(_is_number, value))


_INSTANT = "milliseconds since 1970 as an integer (a value of 10 digits is seconds: multiply by 1000)"
_POINT = "a GeoJSON Point with [lon, lat]"
IMAGE_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "id": (lambda v: isinstance(v, str) and v.isdigit(), "a string of digits"),
    "sequence": (lambda v: isinstance(v, str) and v != "", "a non-empty string"),
    "captured_at": (_is_instant_ms, _INSTANT),
    "uploaded_at": (_is_instant_ms, _INSTANT),
    "width": (_is_positive_int, "a positive integer"),
    "height": (_is_positive_int, "a positive integer"),
    "geometry": (_is_point, _POINT),
    "computed_geometry": (_is_point, _POINT),
    "compass_angle": (_is_number, "degrees"),
    "computed_compass_angle": (_is_number, "degrees"),
    "altitude": (_is_number, "metres"),
    "computed_altitude": (_is_number, "metres"),
    "computed_rotation": (_are_numbers(3), "three radians"),
    "camera_parameters": (_are_numbers(0, 1, 2, 3), "[focal, k1, k2]"),
    "camera_type": (lambda v: isinstance(v, str), "a string"),
    "exif_orientation": (lambda v: v in range(1, 9) and not isinstance(v, bool), "an integer from 1 to 8"),
    "is_pano": (lambda v: isinstance(v, bool), "true or false"),
    "make": (lambda v: isinstance(v, str), "a string"),
    "model": (lambda v: isinstance(v, str), "a string"),
    "creator": (lambda v: isinstance(v, dict), "an object with username and id"),
}
"""Checks of the fields that Kryss reads (types: Mapillary contract, section 4); other fields pass unchecked."""


def _boundary(area: dict[str, Any], path: Path) -> dict[str, Any]:
    boundary = _expect(area.get("boundary"), dict, path, "$.boundary")
    if boundary.get("type") not in ("Polygon", "MultiPolygon"):
        raise _at(path, "$.boundary.type", f"{boundary.get('type')!r}, expected Polygon or MultiPolygon")
    coordinates = _expect(boundary.get("coordinates"), list, path, "$.boundary.coordinates")
    polygons = [("", coordinates)]
    if boundary["type"] == "MultiPolygon":
        polygons = [(f"[{index}]", rings) for index, rings in enumerate(coordinates)]
    for prefix, rings in polygons:
        for r, ring in enumerate(_expect(rings, list, path, f"$.boundary.coordinates{prefix}")):
            where = f"$.boundary.coordinates{prefix}[{r}]"
            for p, position in enumerate(_expect(ring, list, path, where)):
                if not _is_position(position):
                    raise _at(path, f"{where}[{p}]", f"{_shown(position)} is not [longitude, latitude] in degrees")
            if len(ring) < 4:
                raise _at(path, where, f"a ring needs at least 4 positions, found {len(ring)}")
            if ring[0] != ring[-1]:
                raise _at(path, where, "the ring is not closed; repeat its first position at the end")
    geometry = shape(boundary)
    if geometry.is_empty or not geometry.is_valid:
        raise _at(path, "$.boundary", f"not a valid polygon: {shapely.is_valid_reason(geometry)}")
    return boundary


def _stated_epochs(area: dict[str, Any], path: Path) -> tuple[datetime, ...]:
    stated = _expect(area["epochs"], list, path, "$.epochs")
    instants = []
    for index, text in enumerate(stated):
        try:
            instant = datetime.fromisoformat(text)
        except (TypeError, ValueError):
            raise _at(path, f"$.epochs[{index}]", f"{_shown(text)} is not an ISO 8601 instant") from None
        if instant.tzinfo is None:
            raise _at(path, f"$.epochs[{index}]", f"{text!r} has no time zone; end it with Z")
        instants.append(instant.astimezone(UTC))
    if not instants or instants != sorted(set(instants)):
        raise _at(path, "$.epochs", "the instants must be there and rise")
    return tuple(instants)


def _check_roads(folder: Path, roads: RoadsKind) -> None:
    """The source that the area names must be there; others that are there too must be right."""
    checks = {
        folder / "roads" / "junctions.geojson": ("junctions", _check_junctions),
        folder / "roads" / "overpass.json": ("overpass", _check_overpass),
        **{folder / "roads" / "nvdb" / name: ("nvdb", _check_nvdb) for name in NVDB_FILES},
    }
    for path, (kind, check) in checks.items():
        if kind == roads or path.exists():
            check(path)


def _points(path: Path) -> dict[str, Any]:
    collection = _expect(read_json(path), dict, path, "$")
    for index, feature in enumerate(_expect(collection.get("features"), list, path, "$.features")):
        where = f"$.features[{index}]"
        _expect(feature, dict, path, where)
        if not _is_point(feature.get("geometry")):
            raise _at(path, f"{where}.geometry", f"{_shown(feature.get('geometry'))}, expected {_POINT}")
        _expect(feature.get("properties"), dict, path, f"{where}.properties")
    return collection


def _check_junctions(path: Path) -> None:
    seen: set[str] = set()
    for index, feature in enumerate(_points(path)["features"]):
        where = f"$.features[{index}]"
        identity = feature.get("id")
        if not isinstance(identity, (str, int)) or isinstance(identity, bool) or str(identity) == "":
            raise _at(path, f"{where}.id", "every junction needs a Feature id: the intersection is named by it")
        if str(identity) in seen:
            raise _at(path, f"{where}.id", f"{identity!r} is there twice")
        seen.add(str(identity))
        limit = feature["properties"].get("speed_limit_kmh")
        if not _is_number(limit) or limit <= 0:
            raise _at(path, f"{where}.properties.speed_limit_kmh", f"{_shown(limit)}, expected km/h above zero")


def _check_overpass(path: Path) -> None:
    answer = _expect(read_json(path), dict, path, "$")
    for index, element in enumerate(_expect(answer.get("elements"), list, path, "$.elements")):
        where = f"$.elements[{index}]"
        _expect(element, dict, path, where)
        if element.get("type") not in ("node", "way", "relation"):
            raise _at(path, f"{where}.type", f"{_shown(element.get('type'))}, expected node, way or relation")
        if not isinstance(element.get("id"), int):
            raise _at(path, f"{where}.id", f"{_shown(element.get('id'))}, expected an integer")
        if element["type"] == "node" and not _is_position([element.get("lon"), element.get("lat")]):
            raise _at(path, where, "a node needs lat and lon in degrees")
        if element["type"] == "way" and len(element.get("geometry") or ()) != len(element.get("nodes") or ()):
            raise _at(path, where, "a way needs as many positions in 'geometry' as ids in 'nodes' (record with out geom)")


def _check_nvdb(path: Path) -> None:
    needed = {"segments.json": ("veglenkesekvensid", "startnode", "sluttnode")}.get(path.name, ("id",))
    for index, item in enumerate(_expect(read_json(path), list, path, "$")):
        where = f"$[{index}]"
        _expect(item, dict, path, where)
        for key in needed:
            if key not in item:
                raise _at(path, where, f"{key!r} is missing")
        if "geometri" not in item and path.name.startswith("objects-"):
            continue
        geometry = _expect(item.get("geometri"), dict, path, f"{where}.geometri")
        if geometry.get("srid") not in (5972, 5973, 5975):
            raise _at(path, f"{where}.geometri.srid", f"{_shown(geometry.get('srid'))}; record with srid=5973")
        try:
            shapely.from_wkt(geometry.get("wkt"))
        except (shapely.errors.ShapelyError, TypeError) as error:
            raise _at(path, f"{where}.geometri.wkt", f"not WKT: {error}") from None


def _text(area: dict[str, Any], key: str, path: Path) -> str:
    if key not in area:
        near = difflib.get_close_matches(key, list(area), n=1)
        raise _at(path, "$", f"{key!r} is missing" + (f"; did you mean it by {near[0]!r}?" if near else ""))
    value = area[key]
    if not isinstance(value, str) or not value.strip():
        raise _at(path, f"$.{key}", f"{_shown(value)}, expected a non-empty string")
    return value


def _expect(value: Any, kind: type[dict] | type[list], path: Path, where: str) -> Any:
    if not isinstance(value, kind):
        raise _at(path, where, f"{_shown(value)}, expected a JSON {'object' if kind is dict else 'array'}")
    return value


def _at(path: Path, where: str, what: str) -> AreaError:
    return AreaError(f"{path}: at {where}: {what}")


def _shown(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _non_finite(value: Any, where: str = "$") -> str | None:
    """JSON path of the first NaN or infinity."""
    if isinstance(value, float):
        return None if math.isfinite(value) else where
    children: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        children = [(f"{where}.{key}", child) for key, child in value.items()]
    elif isinstance(value, list):
        children = [(f"{where}[{index}]", child) for index, child in enumerate(value)]
    return next((found for path, child in children if (found := _non_finite(child, path)) is not None), None)
