"""What an object was made from, for people who look: its sightings with their boxes, and crops of the photos.

Boxes are ``left, top, right, bottom`` in pixels of the upright original (:mod:`kryss.model`), whatever size of photo is stored.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from threading import BoundedSemaphore
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

MAX_SIGHTINGS = 200
"""So many sightings, the nearest first, and so many misses, the latest first, are told of one object."""
MAX_PHOTO_BYTES = 64 * 2**20
CROP_SIDE = 480
"""Pixels of the longer side of a crop, at most."""
SURROUNDINGS = 1.5
"""What is shown on each side of a box, in lengths of its longer side."""
_DECODING = BoundedSemaphore(3)
"""A photo of 40 megapixels takes 120 MB while it is decoded."""


class NoCrop(ValueError):  # noqa: N818 - it says what is the case
    """There is nothing to show; the text is the reason, for the reader."""


_SIGHTINGS = text("""
SELECT e.image_id, e.ordinal, e.captured_at, e.model_key, e.read_as, e.score, e.range_m, e.bearing_deg, e.method,
       e.box_left, e.box_top, e.box_right, e.box_bottom, ST_X(e.geom) AS lon, ST_Y(e.geom) AS lat,
       CASE WHEN i.exif_orientation IN (5, 6, 7, 8) THEN i.height ELSE i.width END AS width,
       CASE WHEN i.exif_orientation IN (5, 6, 7, 8) THEN i.width ELSE i.height END AS height,
       i.id IS NOT NULL AS is_photo, count(*) OVER () AS total
FROM kryss.object_evidence e
LEFT JOIN kryss.image i ON i.code = e.code AND i.id = e.image_id
WHERE e.code = :code AND e.object_id = :object_id
ORDER BY e.range_m NULLS LAST, e.captured_at DESC, e.image_id, e.ordinal
LIMIT :most
""")
_MISSES = text("""
SELECT m.image_id, m.captured_at, m.distance_m, i.id IS NOT NULL AS is_photo, count(*) OVER () AS total
FROM kryss.object_miss m
LEFT JOIN kryss.image i ON i.code = m.code AND i.id = m.image_id
WHERE m.code = :code AND m.object_id = :object_id
ORDER BY m.captured_at DESC, m.image_id
LIMIT :most
""")
_KNOWN = text("SELECT EXISTS (SELECT FROM kryss.object_version WHERE code = :code AND object_id = :object_id)")
_PHOTO = text("""
SELECT CASE WHEN exif_orientation IN (5, 6, 7, 8) THEN height ELSE width END AS width,
       CASE WHEN exif_orientation IN (5, 6, 7, 8) THEN width ELSE height END AS height
FROM kryss.image WHERE code = :code AND id = :image_id
""")


def is_object_id(value: str) -> bool:
    """Whether it is written as ids of objects are: a UUID in lower case with hyphens."""
    try:
        return str(UUID(value)) == value
    except ValueError:
        return False


def evidence(connection: Connection, code: str, object_id: str, image_url: str | None) -> dict[str, Any] | None:
    """The sightings of an object, the nearest first, and the photos that missed it, as they are believed now; None: never known.

    ``image_url``: page of a photo, ``{key}`` stands for its id. Survey lines have no box, no size and no link.
    """
    asked = {"code": code, "object_id": object_id}
    if not connection.execute(_KNOWN, asked).scalar():
        return None
    seen = connection.execute(_SIGHTINGS, {**asked, "most": MAX_SIGHTINGS}).all()
    missed = connection.execute(_MISSES, {**asked, "most": MAX_SIGHTINGS}).all()

    def link(row: Any) -> str | None:
        return image_url.replace("{key}", row.image_id) if image_url and row.is_photo else None

    def of_sighting(row: Any) -> dict[str, Any]:
        box = [row.box_left, row.box_top, row.box_right, row.box_bottom]
        return {
            "image_key": row.image_id,
            "ordinal": row.ordinal,
            "captured_at": instant(row.captured_at),
            "box": None if None in box else [round(edge, 1) for edge in box],
            "width": row.width,
            "height": row.height,
            "score": _rounded(row.score, 3),
            "read_as": row.read_as,
            "range_m": _rounded(row.range_m, 1),
            "bearing_deg": _rounded(row.bearing_deg, 1),
            "method": row.method,
            "model": row.model_key,
            "camera": None if row.lon is None else [round(row.lon, 7), round(row.lat, 7)],
            "link": link(row),
        }

    return {
        "sightings": [of_sighting(row) for row in seen],
        "sighting_count": seen[0].total if seen else 0,
        "misses": [
            {
                "image_key": row.image_id,
                "captured_at": instant(row.captured_at),
                "distance_m": _rounded(row.distance_m, 1),
                "link": link(row),
            }
            for row in missed
        ],
        "miss_count": missed[0].total if missed else 0,
    }


def photo_size(connection: Connection, code: str, image_id: str) -> tuple[int, int] | None:
    """Width and height of the upright original of a photo of this municipality; None: it has no such photo (or no longer)."""
    row = connection.execute(_PHOTO, {"code": code, "image_id": image_id}).first()
    return None if row is None else (row.width, row.height)


def parse_box(given: str) -> tuple[float, float, float, float]:
    """``l,t,r,b``. Raises NoCrop for anything else."""
    parts = given.split(",")
    try:
        edges = [float(part) for part in parts] if len(given) <= 100 else []
    except ValueError:
        edges = []
    if len(edges) != 4 or not all(map(math.isfinite, edges)) or edges[0] >= edges[2] or edges[1] >= edges[3]:
        raise NoCrop("box is left,top,right,bottom in pixels, with left < right and top < bottom")
    return edges[0], edges[1], edges[2], edges[3]


def window(box: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The part of a photo that shows a box in its surroundings, as square as the photo allows; same pixels as the box."""
    width, height = size
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    right, bottom = min(box[2], float(width)), min(box[3], float(height))
    if left >= right or top >= bottom:
        raise NoCrop(f"the box lies outside the photo of {width} x {height} pixels")
    side = max(right - left, bottom - top) * (1 + 2 * SURROUNDINGS)
    wide, high = min(side, width), min(side, height)
    x = min(max((left + right - wide) / 2, 0.0), width - wide)
    y = min(max((top + bottom - high) / 2, 0.0), height - high)
    return x, y, x + wide, y + high


def crop(body: bytes, box: Sequence[float], size: tuple[int, int]) -> bytes:
    """A JPEG of the box with its surroundings, the box drawn. ``size``: width and height of the upright original, in whose pixels
    the box is; ``body`` may be a thumbnail of it."""
    from PIL import Image, ImageDraw

    from kryss.vision.photo import UnreadablePhoto, read_photo

    if len(body) > MAX_PHOTO_BYTES:
        raise NoCrop(f"the photo is larger than {MAX_PHOTO_BYTES // 2**20} MB")
    shown = window(box, size)
    with _DECODING:
        try:
            photo = read_photo(body, size)
        except UnreadablePhoto as error:
            raise NoCrop(f"the photo cannot be read: {error}") from None
        x, y = 1 / photo.scale_x, 1 / photo.scale_y
        left, top, right, bottom = shown[0] * x, shown[1] * y, shown[2] * x, shown[3] * y
        pixels = photo.pixels[math.floor(top) : math.ceil(bottom), math.floor(left) : math.ceil(right)]
        cut = Image.fromarray(pixels)
    del photo
    # Small signs are shown larger than they are, or nobody could judge them.
    scale = CROP_SIDE / max(cut.size)
    scale = min(scale, 6.0)
    picture = cut.resize((max(1, round(cut.width * scale)), max(1, round(cut.height * scale))), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(picture)
    edges = [
        (box[0] * x - math.floor(left)),
        (box[1] * y - math.floor(top)),
        (box[2] * x - math.floor(left)),
        (box[3] * y - math.floor(top)),
    ]
    rectangle = [edge * scale for edge in edges]
    # A bright line round the box, never over what is in it, between dark ones: it shows on sky and on asphalt.
    for grow, colour in ((0, "#101418"), (1, "#ffd23f"), (2, "#ffd23f"), (3, "#ffd23f"), (4, "#101418")):
        draw.rectangle([rectangle[0] - grow, rectangle[1] - grow, rectangle[2] + grow, rectangle[3] + grow], outline=colour)
    output = io.BytesIO()
    picture.save(output, "JPEG", quality=85)
    return output.getvalue()


def instant(moment: datetime | None) -> str | None:
    """ISO 8601, UTC, whole seconds."""
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
