"""What the writers of GeoJSON (RFC 7946) and JSON have in common: canonical bytes, instants, and how they fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

MAPILLARY_IMAGE_URL = "https://www.mapillary.com/app/?pKey={key}"

Json = dict[str, Any]
SizeOf = Callable[[str], float | None]


class LayerError(ValueError):
    """A release cannot be written or read; the message names the file or value, and what to do."""


def instant(moment: datetime) -> str:
    """ISO 8601, UTC, whole seconds: of one width, so that text order is time order."""
    if moment.tzinfo is None:
        raise LayerError(f"instant {moment.isoformat()} has no time zone; instants are timezone-aware UTC")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def dump_layer(collection: Json) -> bytes:
    """Canonical bytes of a small FeatureCollection, one Feature a line."""
    head = {key: value for key, value in collection.items() if key not in ("type", "features")}
    lines = ",\n".join(_compact(item) for item in collection["features"])
    members = "".join(f'"{key}":{_compact(value)},\n' for key, value in sorted(head.items()))
    return ('{"type":"FeatureCollection",\n' + members + '"features":[\n' + lines + "\n]}\n").encode()


def dump(document: Json) -> bytes:
    """Canonical bytes of a small document, for people to read too."""
    return (json.dumps(document, ensure_ascii=False, allow_nan=False, sort_keys=True, indent=1) + "\n").encode()


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
