"""Views of a photo that a network looks at: the whole photo, scales of it, or overlapping slices; and how their finds are joined.

Slices follow SAHI (Akyon et al. 2022): squares of the photo at its own resolution that share a margin with their neighbours. What
is smaller than the margin stands whole in at least one slice, so a box that ends at a seam loses against the whole one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from kryss.vision.boxes import Candidates, coverage, join
from kryss.vision.registry import Inference, Preprocessing

SEAM_PX = 3.0
"""A box that ends this near to a seam (pixels of the view) may go on behind it."""
SAME_THING = 0.6
"""Part of a cut box that a whole one must cover to be the same thing."""


@dataclass(frozen=True, slots=True)
class View:
    """One input of a network."""

    pixels: np.ndarray
    """(height, width, 3) uint8 RGB: the content, then padding to the right and below."""
    content: tuple[int, int]
    """Width and height of what is no padding."""
    to_photo: tuple[float, float]
    """Pixels of the photo in one of the view's, along x and y."""
    origin: tuple[float, float] = (0.0, 0.0)
    """Where the view begins in the photo, in its pixels."""
    seams: tuple[bool, bool, bool, bool] = (False, False, False, False)
    """Left, top, right, bottom: whether the photo goes on there."""


def views(pixels: np.ndarray, how: Preprocessing, inference: Inference) -> list[View]:
    """All views of a photo (height, width, 3) uint8, in a fixed order; each once, where ``max_side`` makes several scales one."""
    height, width = pixels.shape[:2]
    enlarged = max(1.0, inference.min_side / max(width, height))
    found = []
    sizes: set[tuple[int, int]] = set()
    for scale in inference.scales:
        factor = enlarged * scale
        if how.size == "native" and inference.tile is None:
            factor = min(factor, how.max_side / max(width, height))
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        if size in sizes:
            continue
        sizes.add(size)
        scaled = pixels if size == (width, height) else _resized(pixels, size)
        to_photo = (width / size[0], height / size[1])
        slices = list(_slices(size, inference)) if inference.tile else [(0, 0, *size)]
        for left, top, right, bottom in slices:
            content, own = _fitted(scaled[top:bottom, left:right], how)
            found.append(
                View(
                    _padded(content, how),
                    (content.shape[1], content.shape[0]),
                    (own[0] * to_photo[0], own[1] * to_photo[1]),
                    (left * to_photo[0], top * to_photo[1]),
                    (left > 0, top > 0, right < size[0], bottom < size[1]),
                )
            )
    return found


def _slices(size: tuple[int, int], inference: Inference) -> Iterator[tuple[int, int, int, int]]:
    tile = inference.tile
    assert tile is not None
    for top in _starts(size[1], tile.side, tile.overlap):
        for left in _starts(size[0], tile.side, tile.overlap):
            yield left, top, min(left + tile.side, size[0]), min(top + tile.side, size[1])


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """Where slices of a side begin along a length: evenly, with at least the overlap."""
    if length <= side:
        return [0]
    number = -(-(length - overlap) // (side - overlap))
    return [round(k * (length - side) / (number - 1)) for k in range(number)]


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    # Pillow's bilinear filter averages when it shrinks: small signs fade instead of flickering.
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def _fitted(pixels: np.ndarray, how: Preprocessing) -> tuple[np.ndarray, tuple[float, float]]:
    """The pixels in the size that the network wants, and pixels of before in one of them."""
    height, width = pixels.shape[:2]
    if how.size == "native":
        return pixels, (1.0, 1.0)
    size = (how.max_side, how.max_side)
    if how.size == "fit":
        factor = how.max_side / max(width, height)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
    made = pixels if size == (width, height) else _resized(np.ascontiguousarray(pixels), size)
    return made, (width / size[0], height / size[1])


def _padded(content: np.ndarray, how: Preprocessing) -> np.ndarray:
    height, width = content.shape[:2]
    outer = (how.max_side, how.max_side)
    if how.size == "native":
        outer = (-(-width // how.multiple) * how.multiple, -(-height // how.multiple) * how.multiple)
    if outer == (width, height):
        return np.ascontiguousarray(content)
    made = np.empty((outer[1], outer[0], 3), np.uint8)
    fill = np.array(how.mean) * how.scale if how.fill is None else np.full(3, how.fill)
    if how.channels == "bgr":
        fill = fill[::-1]
    made[height:] = made[:height, width:] = np.rint(fill).astype(np.uint8)
    made[:height, :width] = content
    return made


def joined(found: Sequence[Candidates], of: Sequence[View]) -> Candidates:
    """Finds of all views (boxes in their pixels) in the pixels of the photo, without those that a seam has cut and a neighbour
    has whole. What is larger than the margin is cut in both: of such parts the outline of both is taken.
    """
    parts, cut = [], []
    for one, view in zip(found, of, strict=True):
        # A box may reach into the padding, not beyond the photo.
        inside = np.clip(one.boxes.reshape(-1, 4), 0, np.tile(np.array(view.content, np.float64), 2))
        near = np.concatenate([inside[:, :2] <= SEAM_PX, inside[:, 2:] >= np.array(view.content) - SEAM_PX], 1)
        cut.append(near & np.array(view.seams))
        boxes = inside * np.tile(np.array(view.to_photo), 2) + np.tile(np.array(view.origin), 2)
        parts.append(Candidates(boxes, one.scores, one.classes))
    every, ends = join(parts), np.concatenate(cut)
    if not ends.any():
        return every
    is_cut = np.asarray(ends.any(1))
    whole = every.take(~is_cut)
    halves, sides = every.take(is_cut), ends[is_cut]
    lost = np.array([bool((_covered(box, whole.boxes) >= SAME_THING).any()) for box in halves.boxes], bool)
    return join([whole, _sewn(halves.take(~lost), sides[~lost])])


def _covered(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Part of one box that each of (n, 4) boxes covers."""
    width = np.minimum(box[2], boxes[:, 2]) - np.maximum(box[0], boxes[:, 0])
    height = np.minimum(box[3], boxes[:, 3]) - np.maximum(box[1], boxes[:, 1])
    return np.clip(width, 0, None) * np.clip(height, 0, None) / max((box[2] - box[0]) * (box[3] - box[1]), 1e-9)


def _sewn(halves: Candidates, sides: np.ndarray) -> Candidates:
    """Parts of things that are larger than the margin: two that overlap, cut on sides that face each other, become one."""
    boxes, scores, classes = halves.boxes.copy(), halves.scores.copy(), halves.classes.copy()
    left = list(range(len(scores)))
    made: list[int] = []
    while left:
        first = left.pop(0)
        for other in list(left):
            facing = (sides[first] & np.roll(sides[other], 2)).any()
            if facing and coverage(boxes[first], boxes[other : other + 1])[0] > 0:
                axis = 0 if (sides[first] & np.roll(sides[other], 2))[[0, 2]].any() else 1
                a, b = boxes[first, [1 - axis, 3 - axis]], boxes[other, [1 - axis, 3 - axis]]
                shared, spread = min(a[1], b[1]) - max(a[0], b[0]), max(a[1], b[1]) - min(a[0], b[0])
                if shared < SAME_THING * spread:
                    continue
                boxes[first] = [*np.minimum(boxes[first, :2], boxes[other, :2]), *np.maximum(boxes[first, 2:], boxes[other, 2:])]
                if scores[other] > scores[first]:
                    scores[first], classes[first] = scores[other], classes[other]
                sides[first] = sides[first] | sides[other]
                left.remove(other)
        made.append(first)
    return Candidates(boxes[made], scores[made], classes[made])
