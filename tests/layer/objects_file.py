"""Writes data files as releases hold them, from nouns or from properties, so that what reads them can be tried on anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from kryss.model import StreetObject


def instant(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def properties(item: StreetObject, home: str = "nvdb:1") -> dict[str, Any]:
    """What ``objects.geojson`` says of an object at an intersection, with its place."""
    images = sorted({image for image, _ in item.evidence})
    return {
        "id": item.id,
        "class": item.class_name,
        "object_type": "traffic light" if item.class_name.startswith("object--traffic-light") else "traffic sign",
        "intersection_id": home,
        "status": item.status,
        "standing_probability": item.standing_probability,
        "first_seen_at": instant(item.first_seen_at),
        "last_seen_at": instant(item.last_seen_at),
        "ended_at": instant(item.ended_at),
        "began_after": instant(item.began_after),
        "valid_time": f"{instant(item.first_seen_at)}/{instant(item.ended_at) or '..'}",
        "replaced_by": item.replaced_by,
        "error_radius_m": item.error_radius_m,
        "facing_deg": item.facing_deg,
        "height_m": item.height_m,
        "assumed_size_m": 0.6,
        "image_key": images[-1] if images else None,
        "image_url": f"https://photos.example/{images[-1]}" if images else None,
        "image_count": len(images),
        "method": item.method,
        "model": item.model_key,
        "lon": round(item.lon, 7),
        "lat": round(item.lat, 7),
    }


def write_objects(path: Path, objects: Iterable[Mapping[str, Any]], bbox: list[float] | None = None) -> Path:
    """One Point Feature a line, in order of id."""
    features = []
    for item in sorted(objects, key=lambda one: str(one["id"]).encode()):
        about = {key: value for key, value in item.items() if key not in ("lon", "lat")}
        point = {"type": "Point", "coordinates": [item["lon"], item["lat"]]}
        features.append({"type": "Feature", "id": item["id"], "geometry": point, "properties": about})
    return write_features(path, features, bbox)


def write_features(path: Path, features: Iterable[Mapping[str, Any]], bbox: list[float] | None = None) -> Path:
    lines = "\n,".join(json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in features)
    head = "" if bbox is None else f'"bbox":{json.dumps(bbox)},\n'
    end = "\n" if lines else ""
    path.write_text(f'{{"type":"FeatureCollection",\n{head}"features":[\n{lines}{end}]}}\n', encoding="utf-8", newline="")
    return path
