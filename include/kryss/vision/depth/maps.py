"""From a depth map to the depth of a box, or to the reason why the map does not tell it.

A monocular network always answers, and what it answers of a wall in front of the lens, of the sky or beyond its reach is a number
like any other. A range made of such a number can be hundreds of metres wrong, so it is refused here and counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kryss.model import Box

FLAT = 0.15
"""Log range between the 5th and the 95th percentile of a map below which it does not see a street: from the road before the
wheels to the houses it is above 1."""
SATURATED_SHARE = 0.9
"""Of a map, beyond its limit."""
LIMIT_SHARE = 0.95
"""Of the farthest depth a network can say: there it presses everything beyond together."""
SKY_SHARE = 0.5
"""Of a box's inner part."""
MOST_SPREAD = 0.5
"""Log range between the quartiles inside a box: the half of it at 20 m and the other at 33 m are two things."""
FEWEST_CELLS = 6
"""Fewer say nothing about their spread."""
INNER = 0.6
"""The middle share of width and height that is looked at. A sign's corners show what is behind it (a circle leaves a fifth
of its box, a triangle half), and networks blur edges over a cell or two; the middle 60 % lies on the plate for circle,
diamond, octagon, rectangle and triangle, and on the housing of a light. Its pole lies outside and is too thin for any of
these networks."""

GAP, BESIDE = 0.3, 1.0
"""Strips to the left and right of a box, so many of its widths off and wide, show what is behind it."""
STANDS_OUT = 0.85
"""Signs and lights stand free, before something: where the middle of the box is not nearer than this share of what is beside it,
the network has not seen the object, and its number is the background's."""

FLAT_MAP, SATURATED_MAP = "depth map is flat", "depth map is saturated"
SKY, FAR_LIMIT, WIDE, NO_PIXEL = "sky in the box", "at the far limit", "depth spreads too wide in the box", "no depth in the box"
BACKGROUND = "object is not told from its background"


@dataclass(frozen=True, slots=True)
class DepthMap:
    """What a network says of a photo."""

    metres: np.ndarray
    """(h, w) float32 along the optical axis; not finite or not positive where it says nothing"""
    limit_m: float
    """The farthest that it can say"""
    far: np.ndarray | None = None
    """(h, w) bool: sky or too far, from networks that tell"""


@dataclass(frozen=True, slots=True)
class BoxDepth:
    """Metres, or None and why."""

    metres: float | None
    reason: str | None = None


def map_fault(found: DepthMap) -> str | None:
    """Why a whole map says nothing; None where it does."""
    told = np.isfinite(found.metres) & (found.metres > 0)
    if found.far is not None:
        told &= ~found.far
    near = told & (found.metres < LIMIT_SHARE * found.limit_m)
    if near.sum() < (1 - SATURATED_SHARE) * found.metres.size:
        return SATURATED_MAP
    low, high = np.percentile(np.log(found.metres[told]), (5, 95))
    return FLAT_MAP if high - low < FLAT else None


def box_depth(found: DepthMap, box: Box, view: tuple[float, float]) -> BoxDepth:
    """The median inside the middle of a box of a view of a width and height."""
    rows, columns = inner_cells(found.metres.shape, box, view)
    inside = found.metres[rows, columns]
    told = np.isfinite(inside) & (inside > 0)
    if found.far is not None and np.mean(found.far[rows, columns]) > SKY_SHARE:
        return BoxDepth(None, SKY)
    if not told.any():
        return BoxDepth(None, NO_PIXEL)
    values = inside[told]
    middle = float(np.median(values))
    if middle >= LIMIT_SHARE * found.limit_m:
        return BoxDepth(None, FAR_LIMIT)
    if len(values) >= FEWEST_CELLS:
        low, high = np.percentile(np.log(values), (25, 75))
        if high - low > MOST_SPREAD:
            return BoxDepth(None, WIDE)
    behind = _behind(found, rows, box, view)
    if behind is not None and middle > STANDS_OUT * behind:
        return BoxDepth(None, BACKGROUND)
    return BoxDepth(round(middle, 2))


def _behind(found: DepthMap, rows: slice, box: Box, view: tuple[float, float]) -> float | None:
    """The median beside a box, in the rows of its middle; sky counts as the limit. None where nothing lies beside it."""
    to_column, wide = found.metres.shape[1] / view[0], box[2] - box[0]
    strips = ((box[0] - (GAP + BESIDE) * wide, box[0] - GAP * wide), (box[2] + GAP * wide, box[2] + (GAP + BESIDE) * wide))
    cells = []
    for start, end in strips:
        columns = slice(max(int(start * to_column), 0), max(int(np.ceil(end * to_column)), 0))
        metres = found.metres[rows, columns]
        beyond = ~np.isfinite(metres) | (metres <= 0)
        if found.far is not None:
            beyond |= found.far[rows, columns]
        cells.append(np.where(beyond, found.limit_m, metres).ravel())
    beside = np.concatenate(cells)
    return float(np.median(beside)) if beside.size else None


def inner_cells(shape: tuple[int, ...], box: Box, view: tuple[float, float]) -> tuple[slice, slice]:
    """Rows and columns of a map under the middle of a box; at least the cell under its centre."""
    height, width = shape[:2]
    left, top, right, bottom = box
    to_column, to_row = width / view[0], height / view[1]
    x, y = (left + right) / 2 * to_column, (top + bottom) / 2 * to_row
    half_w, half_h = (right - left) * to_column * INNER / 2, (bottom - top) * to_row * INNER / 2
    column, row = min(max(int(x), 0), width - 1), min(max(int(y), 0), height - 1)
    return (
        slice(min(max(round(y - half_h), 0), row), max(min(round(y + half_h), height), row + 1)),
        slice(min(max(round(x - half_w), 0), column), max(min(round(x + half_w), width), column + 1)),
    )
