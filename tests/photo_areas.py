"""A small recorded area of photos, made in a test: a street with every kind of image that Mapillary has.

The boundary is a square of about 1.1 km around (10.0, 60.0) that lies on four z14 tiles. Its sequences:

* ``eastbound``: 8 photos of epoch 1 along the street, computed positions;
* ``westbound``: 6 photos of epoch 2, back again, uploaded weeks after they were taken;
* ``frozen``: 3 photos whose original position is 14 km away and whose computed one is on the street;
* ``unmerged``: 2 photos without computed positions;
* ``passing``: 6 photos on a road that leaves the municipality, the first 3 of them inside;
* ``elsewhere``: 3 photos of the next village, outside.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image

from kryss.config import PLAYBACK_TOKEN
from kryss.demo.area import load_area
from kryss.demo.playback.mapillary import Quirks
from kryss.demo.playback.play import Playback
from kryss.imagery.client import MapillaryClient

TOKEN = PLAYBACK_TOKEN
CODE = "9901"
CENTRE = (10.0, 60.0)
BOUNDARY = {
    "type": "Polygon",
    "coordinates": [[[9.99, 59.995], [10.01, 59.995], [10.01, 60.005], [9.99, 60.005], [9.99, 59.995]]],
}
EPOCH_1 = datetime(2026, 3, 1, 12, tzinfo=UTC)
EPOCH_2 = datetime(2026, 4, 1, 12, tzinfo=UTC)
EPOCH_2_UPLOAD = EPOCH_2 + timedelta(weeks=3)
BETWEEN = EPOCH_1 + timedelta(days=1)
BEFORE_UPLOAD = EPOCH_2 + timedelta(days=1)
AFTER_UPLOAD = EPOCH_2_UPLOAD + timedelta(days=1)
SIZE = (96, 72)


def _ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def _image(
    number: int, sequence: str, captured_at: datetime, computed: tuple[float, float] | None, **more: Any
) -> dict[str, Any]:
    """An entity as the service gives it; the original position is 3 m off the computed one."""
    entity: dict[str, Any] = {"id": str(1000 + number), "sequence": sequence, "captured_at": _ms(captured_at)}
    if computed:
        lon, lat = computed
        entity["geometry"] = {"type": "Point", "coordinates": [lon + 0.00003, lat + 0.00002]}
        entity["computed_geometry"] = {"type": "Point", "coordinates": [lon, lat]}
        entity["computed_compass_angle"] = 90.5
        entity["computed_altitude"] = 101.25
        entity["computed_rotation"] = [1.2, -1.1, 1.3]
    entity |= {
        "compass_angle": 92.25,
        "altitude": 57.5,
        "camera_type": "perspective",
        "camera_parameters": [0.85, 0.001, -0.0002],
        "exif_orientation": 1,
        "width": 1280,
        "height": 960,
        "is_pano": False,
        "make": "Maker",
        "model": "M1",
        "creator": {"username": "driver", "id": "77"},
        "merge_cc": 4.546427159383e18,
        "quality_score": 0.75,
    }
    return entity | more


def _point(lon: float, lat: float) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [lon, lat]}


def _images() -> Iterator[dict[str, Any]]:
    second = timedelta(seconds=1)
    for i in range(8):
        yield _image(i, "eastbound", EPOCH_1 + i * second, (9.995 + i * 0.001, 60.0001))
    for i in range(6):
        captured_at = EPOCH_2 + i * second
        yield _image(20 + i, "westbound", captured_at, (10.004 - i * 0.001, 60.0002), uploaded_at=_ms(EPOCH_2_UPLOAD))
    for i in range(3):
        far = _point(10.18, 60.093)
        yield _image(40 + i, "frozen", EPOCH_1 + (60 + i) * second, (9.999, 60.0003 + i * 0.0002), geometry=far)
    for i in range(2):
        raw = _point(10.002 + i * 0.0005, 59.999)
        yield _image(
            *(50 + i, "unmerged", EPOCH_1 + (120 + i) * second, None),
            geometry=raw,
            camera_parameters=[0.85, 0, 0],
            atomic_scale=1,
        )
    for i in range(6):
        yield _image(60 + i, "passing", EPOCH_1 + (180 + i) * second, (10.0085 + i * 0.0006, 59.998))
    for i in range(3):
        yield _image(80 + i, "elsewhere", EPOCH_1 + (240 + i) * second, (10.05 + i * 0.0005, 60.0))


IMAGES = tuple(_images())
"""All entities, ``uploaded_at`` included."""
INSIDE = tuple(
    image["id"]
    for image in sorted(IMAGES, key=lambda image: (image["captured_at"], int(image["id"])))
    if image["sequence"] != "elsewhere" and image["id"] not in ("1063", "1064", "1065")
)
"""Ids of the images inside the boundary, in the order of a listing."""
INSIDE_FIRST_EPOCH = tuple(one for one in INSIDE if not 1020 <= int(one) < 1030)


def jpeg(seed: int, size: tuple[int, int] = SIZE) -> bytes:
    """A JPEG that no other seed makes."""
    image = Image.new("RGB", size, (seed * 37 % 256, seed * 91 % 256, seed * 53 % 256))
    image.paste(((seed * 7) % 256, 200, 40), (seed % 40, 10, seed % 40 + 20, 50))
    made = io.BytesIO()
    image.save(made, "JPEG", quality=85)
    return made.getvalue()


def write_area(folder: Path) -> Path:
    """The area as a folder (recorded-area.md), its roads a single junction point."""
    (folder / "photos").mkdir(parents=True)
    (folder / "roads").mkdir()
    area = {"code": CODE, "name": "Prøve", "country": "NO", "boundary": BOUNDARY, "roads": "junctions", "attribution": "made"}
    (folder / "area.json").write_text(json.dumps(area, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    lines = [json.dumps(image, ensure_ascii=False) + "\n" for image in IMAGES]
    (folder / "images.jsonl").write_text("".join(lines), encoding="utf-8")
    for image in IMAGES:
        (folder / "photos" / f"{image['id']}.jpg").write_bytes(jpeg(int(image["id"])))
    junction = {"type": "Feature", "id": "j1", "geometry": _point(*CENTRE), "properties": {"speed_limit_kmh": 50}}
    collection = {"type": "FeatureCollection", "features": [junction]}
    (folder / "roads" / "junctions.geojson").write_text(json.dumps(collection), encoding="utf-8")
    return folder


def playback(folder: Path, **quirks: Any) -> Playback:
    """The area at ``folder`` played back with everything uploaded; not yet started."""
    return Playback(load_area(folder), AFTER_UPLOAD, Quirks(**quirks))


def client_of(played: Playback, token: str = TOKEN, **options: Any) -> MapillaryClient:
    """A client of a playback that waits a thousandth of what the retry table says."""
    settings = {"time_scale": 0.001, "read_timeout_s": 5.0, "workers": 4, **options}
    return MapillaryClient(token, played.urls["mapillary_graph"], played.urls["mapillary_tiles"], **settings)
