"""What stands in the streets: signs and lights at junctions and between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kryss.demo.streets.grid import (
    CLASSES,
    CROSSING,
    CYCLISTS,
    HEADINGS,
    KEEP_RIGHT,
    LIGHT,
    LIMITS,
    NO_ENTRY,
    NO_PARKING,
    ODD_SIZE,
    PARKING,
    PRIORITY,
    STOP,
    TURNS,
    WALKERS,
    WARNINGS,
    YIELD,
    Array,
    Grid,
    Indices,
    stream,
)
from kryss.positioning.sizes import object_size


class _Plan(NamedTuple):
    """A plate or head as an approach to a junction has it: metres back from the junction and right of the centre line."""

    class_name: str
    back_m: float
    right_m: float
    up_m: float
    turned_deg: float = 0.0
    """Against facing the traffic of the approach."""


@dataclass(frozen=True)
class Objects:
    """n true objects as columns, metres and degrees from grid north."""

    kind: Indices
    """Index into CLASSES."""
    x: Array
    y: Array
    up: Array
    facing: Array
    high: Array
    wide: Array

    def columns(self) -> tuple[NDArray[Any], ...]:
        return self.kind, self.x, self.y, self.up, self.facing, self.high, self.wide


Row = tuple[int, float, float, float, float]
"""Index into CLASSES, metres east and north, height, facing."""


def stand(grid: Grid) -> Objects:
    rows = [row for _, row in _planned(grid)]
    kind_of = np.array([row[0] for row in rows], dtype=np.intp)
    x, y, up, facing = np.array([row[1:] for row in rows]).T
    high, wide = true_sizes(kind_of, grid.size_spread, stream(grid, "sizes"))
    rng = stream(grid, "odd sizes")
    odd = np.where(rng.random(len(rows)) < grid.odd_size, ODD_SIZE ** rng.choice([-1.0, 1.0], len(rows)), 1.0)
    high, wide = high * odd, wide * odd
    return Objects(kind_of, x, y, up, facing, high, wide)


def intended_for(grid: Grid) -> list[tuple[int, int]]:
    """By object, in the order of :func:`stand`: blocks east and north of the junction that it is put up for."""
    return [junction for junction, _ in _planned(grid)]


def _planned(grid: Grid) -> list[tuple[tuple[int, int], Row]]:
    rng = stream(grid, "objects")
    rows: list[tuple[tuple[int, int], Row]] = []

    def put(plans: Iterable[_Plan], junction: tuple[int, int], heading: tuple[int, int]) -> None:
        (i, j), (east, north) = junction, heading
        for plan in plans:
            x = i * grid.block_m - east * plan.back_m + north * plan.right_m
            y = j * grid.block_m - north * plan.back_m - east * plan.right_m
            facing = np.degrees(np.arctan2(-east, -north)) + plan.turned_deg + rng.normal(0.0, 6.0)
            rows.append((junction, (CLASSES.index(plan.class_name), x, y, plan.up_m, float(facing % 360.0))))

    for i in range(grid.blocks + 1):
        for j in range(grid.blocks + 1):
            kind = str(rng.choice(["signals", "yield", "stop", "plain"], p=[0.4, 0.3, 0.15, 0.15]))
            main = int(rng.integers(2))
            for axis, (east, north) in enumerate(HEADINGS):
                if 0 <= i - east <= grid.blocks and 0 <= j - north <= grid.blocks:
                    plans = list(at_junction(kind, axis % 2 == main, rng)) + list(along_block(grid.block_m, rng))
                    put(plans, (i, j), (east, north))
    return rows


def at_junction(kind: str, is_main: bool, rng: Generator) -> Iterator[_Plan]:
    """What one approach to a junction has."""
    back, right, left = rng.uniform(8, 11), rng.uniform(4.2, 5.5), -rng.uniform(4.2, 5.5)
    if kind == "signals":
        up = rng.uniform(2.6, 3.2)
        yield _Plan(LIGHT, back, right, up)
        if rng.random() < 0.7:
            yield _Plan(LIGHT, back, left, up)
        if rng.random() < 0.5:
            beyond, high = (-rng.uniform(8, 11) if rng.random() < 0.4 else back), rng.uniform(5.4, 6.2)
            for k in range(int(rng.integers(1, 4))):
                yield _Plan(LIGHT, beyond, 3.0 - 3.0 * k + rng.normal(0, 0.2), high)
        if rng.random() < 0.5:
            yield _Plan(WALKERS, back - 2.5, right + 0.3, rng.uniform(2.3, 2.7), 90.0)
            yield _Plan(WALKERS, back - 2.5, left - 0.3, rng.uniform(2.3, 2.7), -90.0)
        if rng.random() < 0.2:
            yield _Plan(CYCLISTS, back + 0.1, right + 0.1, 1.6)
        if rng.random() < 0.4:
            yield _Plan(str(rng.choice(TURNS)), back, right, up + 0.85)
    elif kind in ("yield", "stop") and is_main:
        away = rng.uniform(12, 28)
        yield _Plan(PRIORITY, away, right, 2.7)
        if rng.random() < 0.5:
            yield _Plan(str(rng.choice(LIMITS)), away, right, 2.7 - rng.uniform(0.75, 0.85))
    elif kind in ("yield", "stop"):
        name, up = (YIELD if kind == "yield" else STOP), rng.uniform(2.2, 2.7)
        yield _Plan(name, back, right, up)
        if rng.random() < 0.5:
            yield _Plan(name, back + rng.normal(0, 0.5), left, up)
        if rng.random() < 0.4:
            yield _Plan(str(rng.choice(TURNS)), back, right, up + 0.8)
    if rng.random() < 0.15:
        yield _Plan(NO_ENTRY, -rng.uniform(8, 11), right, 2.3)
        yield _Plan(NO_ENTRY, -rng.uniform(8, 11), left, 2.3)
    if rng.random() < 0.2:
        yield _Plan(KEEP_RIGHT, rng.uniform(7, 12), rng.uniform(-0.3, 0.3), rng.uniform(0.8, 1.2))
    if rng.random() < 0.25:
        at = rng.uniform(12, 16)
        for side in (right, left):
            yield _Plan(CROSSING, at, side, 2.4)
            yield _Plan(CROSSING, at, side, 2.4, 180.0)


def along_block(block_m: float, rng: Generator) -> Iterator[_Plan]:
    """What stands between junctions for one direction of travel."""
    for _ in range(int(rng.poisson(2.0))):
        back, right = rng.uniform(30, block_m - 25), rng.uniform(4.0, 7.5)
        what = str(rng.choice(["limit", "no parking", "warning", "parking"], p=[0.35, 0.25, 0.25, 0.15]))
        if what == "no parking":
            for k in range(int(rng.integers(1, 4))):
                yield _Plan(NO_PARKING, back + k * rng.uniform(18, 30), right + rng.normal(0, 0.3), rng.uniform(1.9, 2.4))
            continue
        sides = (right, -rng.uniform(4.0, 7.5)) if rng.random() < 0.35 else (right,)
        name = {"limit": str(rng.choice(LIMITS)), "warning": str(rng.choice(WARNINGS)), "parking": PARKING}[what]
        up = rng.uniform(2.2, 2.8)
        below = what == "warning" and rng.random() < 0.4
        limit = str(rng.choice(LIMITS))
        for side in sides:
            yield _Plan(name, back, side, up)
            if below:
                yield _Plan(limit, back, side, up - 0.8)


def true_sizes(kind: Indices, spread: float, rng: Generator) -> tuple[Array, Array]:
    """Box heights and widths in metres, log-normal about the prior; a light's housing also varies in proportion."""
    sizes = [_size(name) for name in CLASSES]
    scale = np.exp(np.clip(rng.normal(size=len(kind)), -2.5, 2.5) * np.array([one[2] for one in sizes])[kind] * spread)
    is_light = np.array([name.startswith("object--") for name in CLASSES])[kind]
    slim = np.exp(rng.normal(0.0, 0.08, len(kind)) * is_light * spread)
    high, wide = np.array([one[0] for one in sizes])[kind], np.array([one[1] for one in sizes])[kind]
    return high * scale, wide * scale * slim


@cache
def _size(class_name: str) -> tuple[float, float, float]:
    size = object_size(class_name)
    if size is None:
        raise ValueError(f"{class_name} has no size in sign_sizes.csv: it cannot be simulated")
    return size.height_m, size.width_m, size.sigma_fraction
