"""Releases for the tests of the page: folders as a publish leaves them, of objects as the caller wants them, hostile ones too.

Only what the page reads is written: manifest, areas, roads, objects, intersections, changes (plain and ``.gz``), ``latest.json``,
and the page itself. The numbers are made up; a seed gives the same bytes.
"""

from __future__ import annotations

import gzip
import json
import math
import random
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kryss.layer.page import page

Json = dict[str, Any]
METRES = 111_195.0
CLASSES = (
    "regulatory--stop--g1",
    "regulatory--yield--g1",
    "regulatory--priority-road--g1",
    "regulatory--maximum-speed-limit-50--g1",
    "regulatory--maximum-speed-limit-30--g1",
    "regulatory--no-left-turn--g1",
    "regulatory--turn-right--g1",
    "warning--children--g1",
    "warning--curve-left--g1",
    "information--pedestrians-crossing--g1",
    "object--traffic-light--general-upright",
    "object--traffic-light--pedestrians",
)
P = [
    "id",
    "class",
    "object_type",
    "intersection_id",
    "status",
    "standing_probability",
    "first_seen_at",
    "last_seen_at",
    "ended_at",
    "began_after",
    "valid_time",
    "replaced_by",
    "error_radius_m",
    "error_major_m",
    "error_minor_m",
    "error_azimuth_deg",
    "facing_deg",
    "height_m",
    "assumed_size_m",
    "image_key",
    "image_url",
    "image_count",
    "miss_count",
    "absence_count",
    "method",
    "model",
]
DEEP = {"absences": [], "evidence": [], "missed_in": [], "history": []}
BRIEF = [
    "id",
    "class",
    "object_type",
    "intersection_id",
    "lon",
    "lat",
    "status",
    "standing_probability",
    "error_radius_m",
    "facing_deg",
    "height_m",
    "first_seen_at",
    "last_seen_at",
    "ended_at",
    "image_key",
    "image_url",
    "model",
]


def sign(place: tuple[float, float], **given: Any) -> Json:
    """One object with its deep members (absences, evidence, missed_in, history) and ``place``; the caller overrides any."""
    first, last = given.get("first_seen_at", "2025-06-10T13:04:13Z"), given.get("last_seen_at", "2026-05-20T09:41:45Z")
    ended = given.get("ended_at")
    radius = given.get("error_radius_m", 2.4)
    made: Json = {
        "id": str(uuid.UUID(int=random.Random(repr((place, sorted(map(str, given.items()))))).getrandbits(128))),
        "class": "regulatory--stop--g1",
        "object_type": "traffic light" if "traffic-light" in str(given.get("class")) else "traffic sign",
        "intersection_id": "nvdb:1",
        "status": "ended" if ended else "standing",
        "standing_probability": 0.2 if ended else 0.997,
        "first_seen_at": first,
        "last_seen_at": last,
        "ended_at": ended,
        "began_after": None,
        "valid_time": f"{{[{first},{ended or ''})}}",
        "replaced_by": None,
        "error_radius_m": radius,
        "error_major_m": round(radius * 0.98, 2),
        "error_minor_m": round(radius * 0.6, 2),
        "error_azimuth_deg": 35.0,
        "facing_deg": 180.0,
        "height_m": 2.2,
        "assumed_size_m": 0.9,
        "image_key": "1466511630964147",
        "image_url": "https://www.mapillary.com/app/?pKey=1466511630964147",
        "method": "known-size/sfm",
        "model": "kryss-street-lite0@2.1",
        "evidence": ["1466125064391393", "1466164585078357", "1466511630964147"],
        "missed_in": [],
        "absences": [],
        "place": place,
    }
    made["history"] = [
        {"class": given.get("class", made["class"]), "status": "standing", "first_seen_at": first, "last_seen_at": last}
        | {"ended_at": None, "reason": "street"}
    ]
    made |= given
    made.setdefault("image_count", len(made["evidence"]))
    made.setdefault("miss_count", len(made["missed_in"]))
    made.setdefault("absence_count", len(made["absences"]))
    return made


def junction(centre: tuple[float, float], **given: Any) -> Json:
    """One intersection: a square area of 160 m and four roads."""
    lon, lat = centre
    east, north = 80 / METRES / math.cos(math.radians(lat)), 80 / METRES
    ring = [[lon - east, lat - north], [lon + east, lat - north], [lon + east, lat + north], [lon - east, lat + north]]
    roads = [[[lon, lat], [lon + dx * east, lat + dy * north]] for dx, dy in ((0, 1), (1, 0), (0, -1), (-1, 0))]
    return {
        "id": "nvdb:1",
        "name": "Kvernbakkekrysset",
        "kind": "signals",
        "arms": 4,
        "source": "nvdb",
        "speed_limit_kmh": 50.0,
        "centre": [lon, lat],
        "ring": [*ring, ring[0]],
        "roads": roads,
        **given,
    }


def offset(origin: tuple[float, float], east_m: float, north_m: float) -> tuple[float, float]:
    lon, lat = origin
    return round(lon + east_m / METRES / math.cos(math.radians(lat)), 7), round(lat + north_m / METRES, 7)


def write(
    shelf: Path,
    name: str,
    objects: Sequence[Json],
    junctions: Sequence[Json],
    *,
    previous: str | None = None,
    changes: Json | None = None,
    town: str = "Kryssby",
    code: str = "9901",
    plain: bool = True,
    basemap_url: str | None = None,
    api: str | None = None,
) -> Path:
    """One release of ``shelf`` (``<root>/<code>``), and latest.json that names it after those that are there."""
    folder = shelf / name
    folder.mkdir(parents=True)
    objects = sorted(objects, key=lambda item: str(item["id"]))
    held: dict[str, list[Json]] = {}
    for item in objects:
        held.setdefault(item["intersection_id"], []).append(item)
    junctions = sorted(junctions, key=lambda item: str(item["id"]))
    _collection(
        folder,
        "objects",
        (_feature(item["id"], _point(item), {key: item[key] for key in P if key in item}) for item in objects),
        plain,
    )
    _collection(folder, "areas", (_area(item, held) for item in junctions), plain)
    _collection(folder, "roads", (_roads(item) for item in junctions if item["roads"]), plain)
    _collection(folder, "intersections", (_deep(item, held.get(item["id"], [])) for item in junctions), plain)
    if changes is not None:
        features = changes.pop("features")
        head = {"schema_version": "2.0.0", "code": code, "release": name, "previous": previous, **changes}
        tail = {
            key: head.pop(key, []) for key in ("refined", "intersections_added", "intersections_removed", "intersections_changed")
        }
        _collection(folder, "changes", iter(features), True, head, tail)
    by_class: dict[str, Counter[str]] = {}
    for item in objects:
        by_class.setdefault(str(item["class"]), Counter()).update([str(item["status"])])
    status = Counter(str(item["status"]) for item in objects)
    kinds = ("standing", "unconfirmed", "ended")
    manifest = {
        "schema_version": "2.0.0",
        "code": code,
        "municipality": town,
        "country": "NO",
        "release": name,
        "previous": previous,
        "bbox": _bbox([point for item in junctions for point in item["ring"]] + [item["place"] for item in objects]),
        "counts": {
            "intersections": len(junctions),
            "objects": len(objects),
            "objects_at_no_intersection": 0,
            "by_status": {kind: status[kind] for kind in kinds},
            "by_class": {key: {kind: value[kind] for kind in kinds} for key, value in sorted(by_class.items())},
        },
        "changes": (changes or {}).get("counts", {}),
        "photos": 50,
        "photos_until": "2026-05-20T10:08:12Z",
        "model": "kryss-street-lite0@2.1",
        "code_version": "0.1.0",
        "licence": "CC-BY-SA-4.0",
        "image_url": "https://www.mapillary.com/app/?pKey={key}",
        "sources": [
            {
                "title": "Photos",
                "attribution": "Photos © Mapillary",
                "licence": "CC BY-SA 4.0",
                "url": "https://www.mapillary.com/",
            }
        ],
        "files": [],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False), encoding="utf-8")
    text = page(manifest, by_class, basemap_url)
    (folder / "index.html").write_bytes(text.replace(b'"api":null', b'"api":' + json.dumps(api).encode(), 1) if api else text)
    releases = sorted(path.name for path in shelf.iterdir() if (path / "manifest.json").is_file())
    latest = {"schema_version": "2.0.0", "code": code, "release": name, "page": f"{name}/index.html", "releases": releases}
    (shelf / "latest.json").write_text(json.dumps(latest), encoding="utf-8")
    return folder


def change(kind: str, before: Json | None, after: Json | None, text: str, reason: str | None = "street", **more: Any) -> Json:
    """A Feature of changes.geojson."""
    about = after or before or {}
    how = {"added": "added", "returned": "added", "split": "added", "ended": "removed", "removed": "removed", "merged": "removed"}
    brief = [
        item and {**{key: item.get(key) for key in BRIEF}, "lon": item["place"][0], "lat": item["place"][1]}
        for item in (before, after)
    ]
    told = {"id": (before or about)["id"], "change": how.get(kind, "changed"), "kind": kind}
    told |= {key: about.get(key) for key in ("class", "status", "object_type", "intersection_id")}
    told |= {"reason": reason, "relation": None, "distance_m": None, "text": text, **more, "before": brief[0], "after": brief[1]}
    return _feature(told["id"], _point(about), told)


def changes_of(features: Sequence[Json]) -> Json:
    """The head of changes.geojson for these Features, with them."""
    kinds, how = (Counter(item["properties"][key] for item in features) for key in ("kind", "change"))
    return {
        "counts": dict(kinds),
        "by_change": {key: how[key] for key in ("added", "removed", "changed")},
        "reasons": {},
        "summary": [item["properties"]["text"] for item in features],
        "features": list(features),
    }


def many(number: int, seed: int = 1, origin: tuple[float, float] = (10.4, 63.43)) -> tuple[list[Json], list[Json]]:
    """``number`` objects, ten an intersection, over a town of which the size grows with them; every seventh has ended."""
    rng = random.Random(seed)
    count = max(1, number // 10)
    side = math.ceil(math.sqrt(count))
    junctions, objects = [], []
    for index in range(count):
        column, row = index % side, index // side
        centre = offset(origin, (column - side / 2) * 220 + rng.uniform(-60, 60), (row - side / 2) * 220 + rng.uniform(-60, 60))
        key = f"nvdb:{index:06d}"
        junctions.append(junction(centre, id=key, name=f"Crossing {index}", kind=None))
        for _ in range(min(10, number - len(objects))):
            ended = rng.random() < 1 / 7
            begun = f"{rng.randint(2016, 2024)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}T10:00:00Z"
            objects.append(
                sign(
                    offset(centre, rng.gauss(0, 25), rng.gauss(0, 25)),
                    **{"class": rng.choice(CLASSES)},
                    id=str(uuid.UUID(int=rng.getrandbits(128))),
                    intersection_id=key,
                    first_seen_at=begun,
                    last_seen_at="2024-12-30T10:00:00Z" if ended else "2026-05-20T09:41:45Z",
                    ended_at="2025-07-01T10:00:00Z" if ended else None,
                    error_radius_m=round(rng.uniform(0.8, 14), 2),
                    facing_deg=round(rng.uniform(0, 359.9), 1),
                )
            )
    return objects, junctions


def _feature(key: Any, geometry: Json, properties: Mapping[str, Any]) -> Json:
    return {"type": "Feature", "id": key, "geometry": geometry, "properties": dict(properties)}


def _point(item: Mapping[str, Any]) -> Json:
    return {"type": "Point", "coordinates": list(item["place"])}


def _area(item: Json, held: Mapping[str, Sequence[Json]]) -> Json:
    told = {key: item[key] for key in ("id", "name", "kind", "arms", "source", "speed_limit_kmh")}
    told |= {"centre_lon": item["centre"][0], "centre_lat": item["centre"][1], "area_method": "square"}
    told["object_count"] = sum(sign["status"] == "standing" for sign in held.get(item["id"], ()))
    return _feature(item["id"], {"type": "Polygon", "coordinates": [item["ring"]]}, told)


def _roads(item: Json) -> Json:
    told = {key: item[key] for key in ("id", "name", "speed_limit_kmh")}
    return _feature(item["id"], {"type": "MultiLineString", "coordinates": item["roads"]}, told)


def _deep(item: Json, objects: Sequence[Json]) -> Json:
    told = {key: item[key] for key in ("id", "name", "kind", "arms", "source", "speed_limit_kmh", "centre")}
    keys = [key for key in P if key not in ("intersection_id", "miss_count", "absence_count")]
    told["objects"] = [{key: sign[key] for key in [*keys, *DEEP] if key in sign} for sign in objects]
    geometries = [{"type": "Polygon", "coordinates": [item["ring"]]}, *map(_point, objects)]
    return _feature(item["id"], {"type": "GeometryCollection", "geometries": geometries}, told)


def _bbox(points: Sequence[Sequence[float]]) -> list[float] | None:
    if not points:
        return None
    lons, lats = zip(*points, strict=True)
    return [min(lons), min(lats), max(lons), max(lats)]


def _collection(
    folder: Path, name: str, features: Iterator[Json], plain: bool, head: Json | None = None, tail: Json | None = None
) -> None:
    lines = ['{"type":"FeatureCollection",']
    lines += [f"{_dump(key)}:{_dump(value)}," for key, value in (head or {}).items()]
    lines.append('"features":[')
    lines += [("," if index else "") + _dump(item) for index, item in enumerate(features)]
    ending = "".join(f",{_dump(key)}:{_dump(value)}" for key, value in (tail or {}).items())
    data = ("\n".join([*lines, "]" + ending + "}"]) + "\n").encode()
    if plain:
        (folder / f"{name}.geojson").write_bytes(data)
    (folder / f"{name}.geojson.gz").write_bytes(gzip.compress(data, 6, mtime=0))


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
