"""Arrays on both sides of a network: a photo into its input, its raw outputs into boxes. NumPy only.

Boxes are (n, 4) ltrb; the formulas of PicoDet and YOLOX are those of their official deployments (PaddleDetection
``deploy/third_engine``, YOLOX ``demo/ONNXRuntime``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from kryss.vision.registry import Preprocessing

Overlap = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Of one box with (n, 4) boxes: (n,) shares."""


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """What a network reads, and the factors that take its pixels back to the photo's."""

    tensor: np.ndarray
    """(1, 3, height, width) float32."""
    to_photo_x: float
    to_photo_y: float


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes in network pixels before suppression, each with its best class."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


def prepare(pixels: np.ndarray, how: Preprocessing) -> NetworkInput:
    """(height, width, 3) uint8 RGB to the input that ``how`` describes."""
    height, width = pixels.shape[:2]
    if how.size == "stretch":
        inner = outer = (how.max_side, how.max_side)
    else:
        factor = how.max_side / max(width, height)
        if how.size == "native":
            factor = min(1.0, factor)
        inner = (max(1, round(width * factor)), max(1, round(height * factor)))
        if how.size == "native":
            outer = (_up(inner[0], how.multiple), _up(inner[1], how.multiple))
        else:
            outer = (how.max_side, how.max_side)
    if inner != (width, height):
        # Pillow's bilinear filter averages when it shrinks: small signs fade instead of flickering.
        image = Image.fromarray(pixels).resize(inner, Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
    if how.channels == "bgr":
        pixels = pixels[..., ::-1]
    mean, std = np.array(how.mean, np.float32), np.array(how.std, np.float32)
    padding = np.float32(0) if how.fill is None else (np.float32(how.fill / how.scale) - mean) / std
    tensor = np.empty((outer[1], outer[0], 3), np.float32)
    tensor[...] = padding
    tensor[: inner[1], : inner[0]] = (pixels.astype(np.float32) / np.float32(how.scale) - mean) / std
    planes = np.ascontiguousarray(tensor.transpose(2, 0, 1)[None])
    return NetworkInput(planes, width / inner[0], height / inner[1])


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def picodet(outputs: list[np.ndarray], side: int, wanted: np.ndarray, threshold: float) -> Candidates:
    """Four class maps (1, n, 80) of probabilities, four box maps (1, n, 32): distances as expectations over 8 bins."""
    scores = [o[0] for o in outputs if o.shape[-1] != 32]
    bins = [o[0] for o in outputs if o.shape[-1] == 32]
    found: list[Candidates] = []
    for stride, score, box in zip((8, 16, 32, 64), scores, bins, strict=True):
        keep, best, classes = _best(score, wanted, threshold)
        grid = -(-side // stride)
        centre_x, centre_y = (keep % grid + 0.5) * stride, (keep // grid + 0.5) * stride
        weights = box[keep].reshape(-1, 4, 8)
        weights = np.exp(weights - weights.max(-1, keepdims=True))
        reach = (weights / weights.sum(-1, keepdims=True) @ np.arange(8, dtype=np.float32)) * stride
        boxes = np.stack([centre_x - reach[:, 0], centre_y - reach[:, 1], centre_x + reach[:, 2], centre_y + reach[:, 3]], 1)
        found.append(Candidates(boxes, best, classes))
    return _joined(found)


def yolox(outputs: list[np.ndarray], side: int, wanted: np.ndarray, threshold: float) -> Candidates:
    """(1, n, 85): cx, cy in cells, log width, log height, objectness, class scores; strides 8, 16, 32 after one another."""
    raw = outputs[0][0]
    columns, rows, strides = [], [], []
    for step in (8, 16, 32):
        grid = side // step
        cells = np.arange(grid * grid)
        columns.append(cells % grid)
        rows.append(cells // grid)
        strides.append(np.full(grid * grid, step))
    column, row, stride = np.concatenate(columns), np.concatenate(rows), np.concatenate(strides)
    keep, best, classes = _best(raw[:, 4:5] * raw[:, 5:], wanted, threshold)
    raw, column, row, stride = raw[keep], column[keep], row[keep], stride[keep]
    centre_x, centre_y = (raw[:, 0] + column) * stride, (raw[:, 1] + row) * stride
    half_w, half_h = np.exp(raw[:, 2]) * stride / 2, np.exp(raw[:, 3]) * stride / 2
    return Candidates(np.stack([centre_x - half_w, centre_y - half_h, centre_x + half_w, centre_y + half_h], 1), best, classes)


def _best(scores: np.ndarray, wanted: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows whose best wanted class reaches the threshold, its score, its index."""
    scores = scores[:, wanted]
    best = scores.argmax(1)
    top = scores[np.arange(len(scores)), best]
    keep = np.flatnonzero(top >= threshold)
    return keep, top[keep], wanted[best[keep]]


def _joined(parts: list[Candidates]) -> Candidates:
    return Candidates(
        np.concatenate([p.boxes for p in parts]),
        np.concatenate([p.scores for p in parts]),
        np.concatenate([p.classes for p in parts]),
    )


def iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with (n, 4) boxes."""
    width = np.minimum(box[2], boxes[:, 2]) - np.maximum(box[0], boxes[:, 0])
    height = np.minimum(box[3], boxes[:, 3]) - np.maximum(box[1], boxes[:, 1])
    shared = np.clip(width, 0, None) * np.clip(height, 0, None)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return shared / np.maximum((box[2] - box[0]) * (box[3] - box[1]) + areas - shared, 1e-9)


def coverage(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection of one box with (n, 4) boxes over the smaller of the two: 1 where one lies inside the other."""
    width = np.minimum(box[2], boxes[:, 2]) - np.maximum(box[0], boxes[:, 0])
    height = np.minimum(box[3], boxes[:, 3]) - np.maximum(box[1], boxes[:, 1])
    shared = np.clip(width, 0, None) * np.clip(height, 0, None)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return shared / np.maximum(np.minimum((box[2] - box[0]) * (box[3] - box[1]), areas), 1e-9)


def suppress(found: Candidates, limit: float, most: int = 100, overlap: Overlap = iou) -> Candidates:
    """Greedy class-agnostic non-maximum suppression: one thing in the street has one class. Ties keep their order."""
    order = np.argsort(-found.scores, kind="stable")
    kept: list[int] = []
    while len(order) and len(kept) < most:
        first, order = int(order[0]), order[1:]
        kept.append(first)
        order = order[overlap(found.boxes[first], found.boxes[order]) <= limit]
    return Candidates(found.boxes[kept], found.scores[kept], found.classes[kept])
