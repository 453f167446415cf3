"""The photos to learn from: GTSDB (COCO format, 43 signs) and traffic lights (COCO format), with Mapillary's class names.

The hold-out is by photo and fixed: every sixth image id. Nothing of it is ever trained on, pasted onto or mined.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from kryss.training.sprites import LIGHT
from kryss.vision.taxonomy import from_gtsdb

HOLD_OUT_EVERY = 6
Labelled = tuple[float, float, float, float, str]
"""ltrb in pixels, class."""


@dataclass(frozen=True, slots=True)
class Street:
    """One labelled photo, still encoded."""

    id: int
    body: bytes
    boxes: tuple[Labelled, ...]

    def image(self) -> Image.Image:
        return Image.open(io.BytesIO(self.body)).convert("RGB")


def is_held_out(image_id: int) -> bool:
    return image_id % HOLD_OUT_EVERY == HOLD_OUT_EVERY - 1


def signs(data: Path) -> list[Street]:
    """GTSDB. Its class numbers are GTSRB's."""
    return _coco(data / "gtsdb-train600", from_gtsdb())


def lights(data: Path) -> list[Street]:
    """Traffic lights; whatever their state, one class."""
    return _coco(data / "traffic-lights-100", {})


def split(streets: Sequence[Street]) -> tuple[list[Street], list[Street]]:
    """To train on, to judge by."""
    return [s for s in streets if not is_held_out(s.id)], [s for s in streets if is_held_out(s.id)]


def _coco(folder: Path, names: dict[int, str]) -> list[Street]:
    if not (folder / "annotations.json").is_file():
        raise FileNotFoundError(f"no {folder / 'annotations.json'}: --data must be the folder that holds {folder.name}")
    document = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    boxes: dict[int, list[Labelled]] = {image["id"]: [] for image in document["images"]}
    for row in document["annotations"]:
        left, top, width, height = row["bbox"]
        name = names.get(row["category_id"], LIGHT)
        boxes[row["image_id"]].append((left, top, left + width, top + height, name))
    return [
        Street(image["id"], (folder / "images" / image["file_name"]).read_bytes(), tuple(boxes[image["id"]]))
        for image in sorted(document["images"], key=lambda image: image["id"])
    ]
