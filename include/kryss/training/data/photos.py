"""What a labelled photo is, and which photos are held out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

Ltrb = tuple[float, float, float, float]
Labelled = tuple[float, float, float, float, str]
"""ltrb in pixels, class."""
UPRIGHT = "object--traffic-light--general-upright"
HORIZONTAL = "object--traffic-light--general-horizontal"
PEDESTRIANS = "object--traffic-light--pedestrians"
LIGHTS = (UPRIGHT, HORIZONTAL, PEDESTRIANS)
OTHER_SIGN = "other-sign"
"""A traffic sign, but none that has a name here (MTSD's own word for it)."""
HOLD_OUT_EVERY = 6


@dataclass(frozen=True, slots=True)
class LabelledPhoto:
    """A photo, where it lies or its bytes, and what is to be seen in it.

    ``ignore``: places where something may be that has no label: finding it is neither right nor wrong.
    ``stretch``: the photo's sides may have been drawn apart by up to this factor (a 16:9 photo stored as a square: 16/9).
    """

    id: int | str
    source: Path | bytes
    width: int
    height: int
    boxes: tuple[Labelled, ...]
    ignore: tuple[Ltrb, ...] = ()
    stretch: float = 1.0

    def body(self) -> bytes:
        """The photo's file, still encoded."""
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()

    def pixels(self) -> np.ndarray:
        """(height, width, 3) uint8 RGB, as stored (no EXIF rotation: boxes are in stored pixels)."""
        import cv2

        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(self.body(), np.uint8), flags)
        if image is None:
            raise ValueError(f"photo {self.id} cannot be decoded: check the data set first")
        return image

    def digest(self) -> str:
        """Names the photo's content in a cache."""
        if isinstance(self.source, bytes):
            return hashlib.sha256(self.source).hexdigest()[:24]
        status = self.source.stat()
        return hashlib.sha256(f"{self.source.resolve()}:{status.st_size}:{status.st_mtime_ns}".encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something wrong in a data set. ``kind`` is one of a few fixed words, so that problems can be counted."""

    photo: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class DataSet:
    """Photos of one source and what its loader could not use."""

    name: str
    photos: tuple[LabelledPhoto, ...]
    problems: tuple[Problem, ...] = field(default=())


def is_held_out(photo_id: int | str) -> bool:
    """Every sixth photo by its number, or by a hash of its key. Never trained on, pasted onto, mined or taught. A number that a
    file writes as text is that number.
    """
    number = int(photo_id) if str(photo_id).isdecimal() else int(hashlib.sha256(str(photo_id).encode()).hexdigest()[:8], 16)
    return number % HOLD_OUT_EVERY == HOLD_OUT_EVERY - 1


def split(photos: Iterable[LabelledPhoto]) -> tuple[list[LabelledPhoto], list[LabelledPhoto]]:
    """To train on, to judge by."""
    everything: Sequence[LabelledPhoto] = list(photos)
    return [p for p in everything if not is_held_out(p.id)], [p for p in everything if is_held_out(p.id)]
