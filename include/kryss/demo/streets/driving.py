"""Who drives through the streets: routes, cameras and where each photo was taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from kryss.demo.streets.grid import HEADINGS, REFERENCE_WIDTH_PX, START, Array, Grid, Indices, stream
from kryss.model import Image

LANE_M = 1.75
"""From the centre line to the middle of the right lane."""


@dataclass(frozen=True)
class Camera:
    """The camera of one sequence and how it is mounted."""

    projection: str
    width: int
    height: int
    parameters: tuple[float, float, float]
    up_m: float
    yaw_deg: float
    pitch_deg: float
    spacing_m: float

    @property
    def pixel(self) -> float:
        """Photo pixels to one of a photo that is as sharp as photos get."""
        return max(1.0, self.width / REFERENCE_WIDTH_PX)

    @property
    def half_view_deg(self) -> float:
        if self.projection == "spherical":
            return 180.0
        half = 0.5 / self.parameters[0]
        return float(np.degrees(half if self.projection == "fisheye" else np.arctan(half)))

    def prototype(self) -> Image:
        """An image with this camera's optics."""
        pano = self.projection == "spherical"
        return Image(
            *("", "", START, self.width, self.height, None, None, self.projection, None if pano else self.parameters),
            is_pano=pano,
        )


@dataclass(frozen=True)
class Photos:
    """n photos as columns, sorted by sequence and time: true pose in metres and radians from grid north."""

    cameras: Sequence[Camera]
    """By sequence."""
    sequence: Indices
    ordinal: Indices
    seconds: Array
    """Since START."""
    x: Array
    y: Array
    up: Array
    heading: Array
    pitch: Array
    roll: Array

    def rotations(self, heading: Array, pitch: Array, roll: Array) -> Array:
        """``(n, 3, 3)`` from local east-north-up to camera, for level-sensor cameras."""
        level = Rotation.from_euler("XYZ", np.column_stack([np.full_like(heading, np.pi / 2), np.zeros_like(heading), heading]))
        tilt = Rotation.from_euler("ZX", np.column_stack([roll, -pitch]))
        return np.asarray((tilt * level).as_matrix(), dtype=np.float64)


def drive(grid: Grid) -> Photos:
    """The photos of all drives."""
    rng = stream(grid, "photos")
    routes = _routes(grid)
    cameras = list(_cameras(len(routes), stream(grid, "cameras")))
    columns: list[NDArray[Any]] = []
    for sequence, (route, camera) in enumerate(zip(routes, cameras, strict=True)):
        line = _lane(np.array(route, dtype=float) * grid.block_m, LANE_M + rng.normal(0, 0.3))
        lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
        steps = camera.spacing_m * rng.uniform(0.85, 1.15, int(lengths[-1] / camera.spacing_m / 0.85) + 1)
        at = np.cumsum(steps)
        at = at[(at > 2.0) & (at < lengths[-1] - 2.0)]
        here, before, after = (
            np.column_stack([np.interp(at + ahead, lengths, line[:, axis]) for axis in (0, 1)]) for ahead in (0.0, -1.5, 1.5)
        )
        ahead = after - before
        n = len(at)
        began = 86400.0 * rng.uniform(0, 600) + rng.uniform(0, 30000)
        columns.append(
            np.column_stack(
                [
                    np.full(n, sequence),
                    np.arange(n),
                    began + at / rng.uniform(5, 12),
                    here + rng.normal(0, 0.1, (n, 2)),
                    camera.up_m + rng.normal(0, 0.02, n),
                    np.arctan2(ahead[:, 0], ahead[:, 1]) + np.radians(camera.yaw_deg + rng.normal(0, 0.7, n)),
                    np.radians(camera.pitch_deg + rng.normal(0, 0.7, n)),
                    np.radians(rng.normal(0, 0.7, n)),
                ]
            )
        )
    table = np.concatenate(columns)
    return Photos(cameras, table[:, 0].astype(np.intp), table[:, 1].astype(np.intp), *table[:, 2:].T)


def _routes(grid: Grid) -> list[list[tuple[int, int]]]:
    """Junctions passed by each drive. Three in ten stay on one street; two in ten are driven back as another sequence."""
    rng = stream(grid, "routes")
    driven: dict[tuple[tuple[int, int], tuple[int, int]], int] = {}
    for i in range(grid.blocks + 1):
        for j in range(grid.blocks + 1):
            for east, north in HEADINGS:
                if 0 <= i + east <= grid.blocks and 0 <= j + north <= grid.blocks:
                    driven[(i, j), (i + east, j + north)] = 0
    legs = list(driven)
    routes: list[list[tuple[int, int]]] = []
    while len(routes) < grid.sequences if grid.sequences is not None else min(driven.values()) < 4:
        fewest = min(driven.values())
        starts = [leg for leg in legs if driven[leg] == fewest]
        route = list(starts[int(rng.integers(len(starts)))])
        straight_only = rng.random() < 0.3
        for _ in range(int(rng.integers(1, 8))):
            (i, j), (k, m) = route[-2:]
            onward = [
                (k + east, m + north)
                for east, north in HEADINGS
                if ((k, m), (k + east, m + north)) in driven
                and (k + east, m + north) != (i, j)
                and (not straight_only or (east, north) == (k - i, m - j))
            ]
            if not onward:
                break
            weight = np.array([(3.0 if to == (2 * k - i, 2 * m - j) else 1.0) / (1 + driven[(k, m), to]) for to in onward])
            route.append(onward[int(rng.choice(len(onward), p=weight / weight.sum()))])
        both = [route, route[::-1]] if rng.random() < 0.2 else [route]
        for one in both:
            routes.append(one)
            for leg in pairwise(one):
                driven[leg] += 1
    return routes if grid.sequences is None else routes[: grid.sequences]


def _cameras(n: int, rng: Generator) -> Iterator[Camera]:
    for _ in range(n):
        spacing = rng.uniform(12, 20) if rng.random() < 0.1 else rng.uniform(5, 8)
        draw, yaw, pitch = rng.random(), rng.normal(0, 4.0), rng.normal(-1.0, 2.0)
        if draw < 0.6:
            width, height = ((1920, 1080), (2048, 1536), (4000, 3000), (1280, 720))[int(rng.integers(4))]
            optics = (rng.uniform(0.6, 1.0), rng.uniform(-0.12, 0.05), rng.uniform(0.0, 0.03))
            yield Camera("perspective", width, height, optics, rng.uniform(1.2, 1.8), yaw, pitch, spacing)
        elif draw < 0.78:
            optics = (rng.uniform(0.42, 0.6), rng.uniform(-0.04, 0.02), rng.uniform(-0.005, 0.01))
            yield Camera("fisheye", 2704, 2028, optics, rng.uniform(1.2, 2.0), yaw, pitch, spacing)
        else:
            yaw = rng.uniform(-180, 180) if rng.random() < 0.5 else yaw
            yield Camera("spherical", 5760, 2880, (1.0, 0.0, 0.0), rng.uniform(1.9, 2.6), yaw, pitch, spacing)


def _lane(nodes: Array, right_m: float) -> Array:
    """``(m, 2)`` metres along the right lane of a way through ``(k, 2)`` junctions, corners rounded."""
    legs = np.diff(nodes, axis=0)
    ahead = legs / np.hypot(legs[:, 0], legs[:, 1])[:, None]
    right = right_m * np.column_stack([ahead[:, 1], -ahead[:, 0]])
    line = [nodes[:1] + right[:1]]
    share = np.linspace(0, 1, 13)[:, None]
    for k in range(1, len(nodes) - 1):
        if np.dot(ahead[k - 1], ahead[k]) > 0.5:
            line.append(nodes[k : k + 1] + right[k])
            continue
        start, end = nodes[k] - 10 * ahead[k - 1] + right[k - 1], nodes[k] + 10 * ahead[k] + right[k]
        corner = nodes[k] + right[k - 1] + right[k]
        line.append((1 - share) ** 2 * start + 2 * share * (1 - share) * corner + share**2 * end)
    line.append(nodes[-1:] + right[-1:])
    return np.concatenate(line)
