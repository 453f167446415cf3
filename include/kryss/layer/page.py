"""``index.html``: the release on one page that asks no other host for anything, its data inlined into ``page.html``.

The page is for looking at a release from a plain file; what it shows is a digest of the layer, not the layer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

from kryss.layer.changes import PAIRS, Changes, objects_of

Json = dict[str, Any]
SLOT = "/*RELEASE*/null"
MOST_CHANGES = 300
MOST_CAMERAS = 5_000
"""With more, the page shows only those that saw an object."""


def page(manifest: Json, layer: Json, changes: Changes, cameras: Mapping[str, Sequence[float]]) -> str:
    """The page of one release. ``cameras``: image id -> ``(lon, lat)``."""
    template = resources.files("kryss.layer").joinpath("page.html").read_text(encoding="utf-8")
    if template.count(SLOT) != 1:
        raise ValueError(f"page.html holds {template.count(SLOT)} slots {SLOT!r} for the data; it needs one")
    return template.replace(SLOT, _for_script(digest(manifest, layer, changes, cameras)))


def digest(manifest: Json, layer: Json, changes: Changes, cameras: Mapping[str, Sequence[float]]) -> Json:
    """What the page's script reads."""
    entries = list(objects_of(layer))
    if len(cameras) > MOST_CAMERAS:
        useful = {key for item in entries for key in item["evidence"]}
        cameras = {key: place for key, place in cameras.items() if key in useful}
    kept = ("municipality", "code", "country", "release", "previous", "bbox", "counts", "photos_until", "model")
    return {
        **{name: manifest[name] for name in (*kept, "code_version", "sources")},
        "areas": [
            {
                "id": item["id"],
                "name": item["properties"]["name"],
                "speed": item["properties"]["speed_limit_kmh"],
                "centre": item["properties"]["centre"],
                "ring": item["geometry"]["geometries"][0]["coordinates"][0],
            }
            for item in layer["features"]
        ],
        "objects": [_object(item, cameras) for item in entries],
        "cameras": cameras,
        "changes": list(_changes(changes))[:MOST_CHANGES] if manifest["previous"] else [],
    }


def _object(item: Json, cameras: Mapping[str, Sequence[float]]) -> Json:
    names = ("id", "class", "object_type", "lon", "lat", "status", "error_radius_m", "first_seen_at", "last_seen_at", "ended_at")
    more = (
        "standing_probability",
        "assumed_size_m",
        "facing_deg",
        "height_m",
        "image_key",
        "image_url",
        "image_count",
        "method",
        "model",
    )
    entry = {name: item[name] for name in (*names, *more)}
    return {**entry, "area": item["intersection_id"], "seen_from": [key for key in item["evidence"] if key in cameras]}


def _changes(changes: Changes) -> Iterator[Json]:
    for kind, entry, line in changes.told():
        about = entry["after"] if kind in PAIRS else entry
        yield {"kind": kind, "text": line, "id": about["id"], "gone": entry["before"]["id"] if kind == "replaced" else None}
    for line in changes.reworked_lines():
        yield {"kind": "reworked", "text": line, "id": None, "gone": None}


def _for_script(value: Json) -> str:
    """JSON that no property can break out of: ``<`` and the two line separators of JavaScript are escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
