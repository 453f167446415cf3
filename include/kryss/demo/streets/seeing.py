"""What the cameras see, and the boxes that a detector draws of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from kryss.demo.streets.driving import Photos
from kryss.demo.streets.grid import (
    BUILDING_LINE_M,
    CLASSES,
    FALSE_BOX,
    FRONT_DEG,
    INSIDE,
    LIMITS,
    ON_A_VEHICLE,
    SMALLEST_BOX_PX,
    Array,
    Grid,
    Indices,
)
from kryss.demo.streets.standing import Objects, true_sizes
from kryss.positioning.camera import camera_pixels
from kryss.positioning.sizes import shape_of


def lines_of_sight(grid: Grid, objects: Objects, photos: Photos, rng: Generator) -> tuple[Indices, Indices]:
    """Pairs of photo and object with the object's front towards the camera, in range, and no house between."""
    cameras, things = np.column_stack([photos.x, photos.y]), np.column_stack([objects.x, objects.y])
    near = cKDTree(cameras).sparse_distance_matrix(cKDTree(things), 1.1 * grid.range_gate_m, output_type="ndarray")
    order = np.lexsort((near["j"], near["i"]))
    photo, thing, distance = near["i"][order].astype(np.intp), near["j"][order].astype(np.intp), near["v"][order]
    toward = cameras[photo] - things[thing]
    facing = np.radians(objects.facing[thing])
    front = toward[:, 0] * np.sin(facing) + toward[:, 1] * np.cos(facing) > np.cos(np.radians(FRONT_DEG)) * distance
    kept = front & (distance > 2.0) & (distance < grid.range_gate_m * rng.uniform(0.85, 1.1, len(distance)))
    kept[kept] = ~_behind_a_house(cameras[photo[kept]], things[thing[kept]], grid.block_m)
    return photo[kept], thing[kept]


def open_to_view(thing: Indices, sequence: Indices, most: int, rng: Generator) -> NDArray[np.bool_]:
    """Which of n looks are not hidden: each object is open to 1 to ``most`` of the sequences that could box it.

    What hides it from the others (parked lorries, leaves, that it was not there yet) is not modelled.
    """
    pairs, pair_of = np.unique(np.column_stack([thing, sequence]), axis=0, return_inverse=True)
    order = np.lexsort((rng.random(len(pairs)), pairs[:, 0]))
    rank = np.empty(len(pairs), dtype=np.intp)
    rank[order] = np.arange(len(pairs)) - np.searchsorted(pairs[:, 0], pairs[order, 0])
    allowed = rng.integers(1, most + 1, int(thing.max(initial=-1)) + 1)
    return np.asarray(rank < allowed[pairs[:, 0]])[pair_of.reshape(-1)]


def _behind_a_house(cameras: Array, things: Array, block_m: float) -> NDArray[np.bool_]:
    """Whether the line between two ``(n, 2)`` points crosses a block's houses."""
    hidden = np.zeros(len(cameras), dtype=np.bool_)
    for share in np.linspace(0.05, 0.95, 19):
        point = cameras + share * (things - cameras)
        from_street = np.abs(point - block_m * np.round(point / block_m))
        hidden |= np.all(from_street > BUILDING_LINE_M, axis=1)
    return hidden


@dataclass(frozen=True)
class Appearances:
    """n looks at something: which photo, and what stands where at that moment."""

    photo: Indices
    kind: Indices
    x: Array
    y: Array
    up: Array
    facing: Array
    high: Array
    wide: Array
    origin: Indices

    @staticmethod
    def of_objects(objects: Objects, photo: Indices, thing: Indices) -> Appearances:
        return Appearances(*(photo, *(column[thing] for column in objects.columns()), thing))

    @staticmethod
    def none() -> Appearances:
        indices = np.zeros(0, dtype=np.intp)
        return Appearances(*(indices, indices, *np.zeros((6, 0)), indices))

    @staticmethod
    def together(parts: Sequence[Appearances]) -> Appearances:
        return Appearances(*(np.concatenate(columns) for columns in zip(*(part.columns() for part in parts), strict=True)))

    def take(self, rows: Indices) -> Appearances:
        return Appearances(*(column[rows] for column in self.columns()))

    def columns(self) -> tuple[NDArray[Any], ...]:
        return self.photo, self.kind, self.x, self.y, self.up, self.facing, self.high, self.wide, self.origin


def nothing(grid: Grid, photos: Photos, n: int, rng: Generator) -> Appearances:
    """Things that are not there, each in one photo, where and as large as a sign could be."""
    photo = rng.integers(len(photos.x), size=n)
    kind = rng.integers(len(CLASSES), size=n)
    half_view = np.radians([0.95 * camera.half_view_deg for camera in photos.cameras])[photos.sequence[photo]]
    bearing = photos.heading[photo] + rng.uniform(-1, 1, n) * np.minimum(half_view, np.pi)
    distance = rng.uniform(8.0, 0.9 * grid.range_gate_m, n)
    x, y = photos.x[photo] + distance * np.sin(bearing), photos.y[photo] + distance * np.cos(bearing)
    high, wide = true_sizes(kind, 1.0, rng)
    facing = np.degrees(bearing) + 180.0
    return Appearances(photo, kind, x, y, rng.uniform(1.0, 5.0, n), facing, high, wide, np.full(n, FALSE_BOX))


def driving_along(grid: Grid, photos: Photos, rng: Generator) -> Appearances:
    """Speed signs on the backs of vehicles that some sequences follow over 8 to 20 photos."""
    parts = []
    for sequence in rng.permutation(len(photos.cameras))[: grid.vehicles]:
        rows = np.flatnonzero(photos.sequence == sequence)
        first = int(rng.integers(max(1, len(rows) - 20)))
        photo = rows[first : first + int(rng.integers(8, 21))]
        n = len(photo)
        course = photos.heading[photo] - np.radians(photos.cameras[sequence].yaw_deg)
        ahead = rng.uniform(8, 15) + np.cumsum(rng.normal(0, 0.4, n))
        beside = rng.normal(0, 0.5) + rng.normal(0, 0.1, n)
        x = photos.x[photo] + ahead * np.sin(course) + beside * np.cos(course)
        y = photos.y[photo] + ahead * np.cos(course) - beside * np.sin(course)
        kind = np.full(n, CLASSES.index(str(rng.choice(LIMITS))))
        high, wide = (np.full(n, 0.4 * rng.uniform(0.8, 1.2)) for _ in range(2))
        parts.append(
            Appearances(photo, kind, x, y, np.full(n, 1.5), np.degrees(course) + 180, high, wide, np.full(n, ON_A_VEHICLE))
        )
    return Appearances.together([Appearances.none(), *parts])


def boxes_of(grid: Grid, photos: Photos, shown: Appearances, rng: Generator) -> tuple[Indices, Array]:
    """Rows of ``shown`` that the detector could see and ``(m, 4)`` ltrb pixels with noise, cut at the photo's border."""
    exact = project(photos, shown)
    sequence = photos.sequence[shown.photo]
    pixel = np.array([camera.pixel for camera in photos.cameras])[sequence]
    size = np.array([(camera.width, camera.height) for camera in photos.cameras], dtype=float)[sequence]
    noisy = exact + rng.normal(0, grid.edge_sigma_px, exact.shape) * pixel[:, None]
    cut = np.clip(noisy, 0.0, size[:, [0, 1, 0, 1]])
    with np.errstate(invalid="ignore", divide="ignore"):
        area, inside = np.prod(noisy[:, 2:] - noisy[:, :2], axis=1), np.prod(cut[:, 2:] - cut[:, :2], axis=1)
        large = exact[:, 3] - exact[:, 1] >= SMALLEST_BOX_PX * pixel
        whole = np.all(cut[:, 2:] - cut[:, :2] >= 1.0, axis=1) & (inside >= INSIDE * area)
    rows = np.flatnonzero(large & whole)
    return rows, cut[rows]


def project(photos: Photos, shown: Appearances) -> Array:
    """``(n, 4)`` ltrb pixels of the exact boxes, not cut at the border; NaN where a part cannot be seen."""
    outline = _outlines()[shown.kind]
    facing = np.radians(shown.facing)
    across = outline[:, :, 0] * shown.wide[:, None]
    deep = outline[:, :, 2] * shown.wide[:, None]
    east = shown.x - photos.x[shown.photo]
    north = shown.y - photos.y[shown.photo]
    up = shown.up - photos.up[shown.photo]
    points = np.stack(
        [
            east[:, None] + across * np.cos(facing)[:, None] + deep * np.sin(facing)[:, None],
            north[:, None] - across * np.sin(facing)[:, None] + deep * np.cos(facing)[:, None],
            up[:, None] + outline[:, :, 1] * shown.high[:, None],
        ],
        axis=2,
    )
    rotations = photos.rotations(photos.heading, photos.pitch, photos.roll)[shown.photo]
    directions = np.einsum("nij,nkj->nki", rotations, points)
    sequence = photos.sequence[shown.photo]
    boxes = np.full((len(sequence), 4), np.nan)
    order = np.argsort(sequence, kind="stable")
    starts = np.searchsorted(sequence[order], np.arange(len(photos.cameras) + 1))
    for k, camera in enumerate(photos.cameras):
        rows = order[starts[k] : starts[k + 1]]
        if not len(rows):
            continue
        pixels = camera_pixels(camera.prototype(), directions[rows].reshape(-1, 3)).reshape(len(rows), -1, 2)
        if camera.projection == "spherical":
            first = pixels[:, :1, 0]
            pixels[:, :, 0] = first + (pixels[:, :, 0] - first + camera.width / 2) % camera.width - camera.width / 2
        boxes[rows] = np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=1)
    return boxes


@cache
def _outlines() -> Array:
    """``(classes, 12, 3)``: points of each outline, right, up and to the front, in widths, heights and widths."""
    return np.array([_outline(name) for name in CLASSES])


def _outline(class_name: str) -> Array:
    if class_name.startswith("object--"):
        corners = [(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.6, 0.0)]
        return np.array([*corners, *corners[:4]])
    shape = shape_of(class_name)
    name = shape.name if shape else "square"
    plate = {
        "triangle_up": [(-0.5, -0.5), (0.5, -0.5), (0.0, 0.5)],
        "triangle_down": [(-0.5, 0.5), (0.5, 0.5), (0.0, -0.5)],
        "diamond": [(-0.5, 0.0), (0.5, 0.0), (0.0, -0.5), (0.0, 0.5)],
        "circle": [(0.5 * np.sin(a), 0.5 * np.cos(a)) for a in np.arange(12) * np.pi / 6],
    }.get(name, [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    repeated = np.array(plate * (12 // len(plate)))
    return np.column_stack([repeated, np.zeros(12)])
