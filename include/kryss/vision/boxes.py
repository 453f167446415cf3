"""Arrays on both sides of a network: pixels into its input, its raw outputs into boxes, overlaps. NumPy only.

Boxes are (n, 4) ltrb; the formulas of PicoDet and YOLOX are those of their official deployments (PaddleDetection
``deploy/third_engine``, YOLOX ``demo/ONNXRuntime``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kryss.vision.registry import Preprocessing

Overlap = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Of one box with (n, 4) boxes: (n,) shares."""
CANDIDATES = 1000
"""Boxes of one view before suppression, at most."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes before suppression, each with its best class."""

    boxes: np.ndarray
    """(n, 4) ltrb."""
    scores: np.ndarray
    classes: np.ndarray

    def take(self, rows: np.ndarray | list[int]) -> Candidates:
        """Some of them: a mask or row numbers."""
        return Candidates(self.boxes[rows], self.scores[rows], self.classes[rows])

    def __len__(self) -> int:
        return len(self.scores)


def join(parts: Sequence[Candidates]) -> Candidates:
    """All of them, one after the other."""
    return Candidates(
        np.concatenate([np.asarray(p.boxes, np.float64).reshape(-1, 4) for p in parts] or [np.zeros((0, 4))]),
        np.concatenate([np.asarray(p.scores, np.float64) for p in parts] or [np.zeros(0)]),
        np.concatenate([np.asarray(p.classes, np.int64) for p in parts] or [np.zeros(0, np.int64)]),
    )


def planes(pixels: np.ndarray, how: Preprocessing) -> np.ndarray:
    """(height, width, 3) uint8 RGB to the input (1, 3, height, width) float32 that ``how`` describes."""
    if how.channels == "bgr":
        pixels = pixels[..., ::-1]
    mean, std = np.array(how.mean, np.float32), np.array(how.std, np.float32)
    values = (pixels.astype(np.float32) / np.float32(how.scale) - mean) / std
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def efficientdet(logits: np.ndarray, codes: np.ndarray, anchors: np.ndarray, together: bool, threshold: float) -> Candidates:
    """Logits (n, classes), codes (n, 4) ty tx th tw and anchors (n, 4) yxyx of an EfficientDet (as effdet decodes them).

    ``together``: the score is that something stands there, whatever it is: 1 - product of (1 - p).
    """
    # Most of a street shows nothing: no anchor below this can reach the threshold.
    least = np.log(threshold / (1 - threshold)) if 0 < threshold < 1 else -np.inf
    if together:
        least = min(least, np.log(threshold / logits.shape[1])) if threshold > 0 else -np.inf
    rows = np.unique(np.flatnonzero(logits >= least) // logits.shape[1])
    if len(rows) > CANDIDATES:
        rows = np.sort(rows[np.argsort(-logits[rows].max(1), kind="stable")[:CANDIDATES]])
    kept = logits[rows].astype(np.float64)
    if together:
        scores = -np.expm1(-np.logaddexp(0, kept).sum(1))
    else:
        scores = 1 / (1 + np.exp(-kept.max(1))) if len(kept) else np.zeros(0)
    above = scores >= threshold
    rows, kept, scores = rows[above], kept[above], scores[above]
    ty, tx, th, tw = codes[rows].astype(np.float64).T
    top, left, bottom, right = anchors[rows].astype(np.float64).T
    width, height = np.exp(tw) * (right - left), np.exp(th) * (bottom - top)
    x, y = tx * (right - left) + (left + right) / 2, ty * (bottom - top) + (top + bottom) / 2
    boxes = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 1)
    return Candidates(boxes, scores, kept.argmax(1).astype(np.int64) if len(kept) else np.zeros(0, np.int64))


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
    return join(found)


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
