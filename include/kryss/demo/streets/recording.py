"""What is recorded of a drive: the photos' metadata with noisy poses, and the detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache

import numpy as np
from numpy.random import Generator
from scipy.spatial.transform import Rotation

from kryss.demo.streets.driving import Photos
from kryss.demo.streets.grid import CLASSES, GPS, GROUND_M, MODEL_KEY, START, Array, Grid, Indices, stream
from kryss.demo.streets.seeing import Appearances
from kryss.model import Detection, Image, Pose
from kryss.positioning.sizes import shape_of


def _image_id(sequence: int, ordinal: int) -> str:
    return f"{_sequence_id(sequence)}-{ordinal:04d}"


def _sequence_id(sequence: int) -> str:
    return f"drive-{sequence:04d}"


def shared_and_own(rng: Generator, sequence: Indices, sigma: float, axes: int) -> Array:
    """``(n, axes)`` errors, half the variance drawn once a sequence and half once a photo."""
    half = sigma * np.sqrt(0.5)
    return rng.normal(0, half, (int(sequence.max(initial=-1)) + 1, axes))[sequence] + rng.normal(0, half, (len(sequence), axes))


def record_images(grid: Grid, photos: Photos) -> list[Image]:
    """The photos with the poses that the service tells: raw in any case, and from structure from motion if it has that."""
    rng = stream(grid, "poses")
    wanted = grid.pose_noise
    raw_noise = wanted if wanted.origin == "gps" else GPS
    position = np.column_stack([photos.x, photos.y])
    turn = np.radians(grid.frame.convergence_deg(*grid.frame.to_lonlat(position).T))
    raw = shared_and_own(rng, photos.sequence, raw_noise.position_m, 2)
    compass = shared_and_own(rng, photos.sequence, np.radians(raw_noise.heading_deg), 1)[:, 0]
    raw_lonlat = grid.frame.to_lonlat(position + raw)
    raw_heading = np.degrees(photos.heading + turn + compass) % 360.0
    sfm: list[Pose | None] = [None] * len(photos.x)
    if wanted.origin == "sfm":
        offset = shared_and_own(rng, photos.sequence, wanted.position_m, 2)
        twist = shared_and_own(rng, photos.sequence, np.radians(wanted.heading_deg), 3)
        lonlat = grid.frame.to_lonlat(position + offset)
        altitude = GROUND_M + photos.up + shared_and_own(rng, photos.sequence, wanted.position_m, 1)[:, 0]
        heading = photos.heading + turn + twist[:, 0]
        matrices = photos.rotations(heading, photos.pitch + twist[:, 1], photos.roll + twist[:, 2])
        vectors = Rotation.from_matrix(matrices).as_rotvec().tolist()
        sfm = [
            Pose("sfm", lon, lat, high, turned, (vector[0], vector[1], vector[2]))
            for lon, lat, high, turned, vector in zip(
                *(column.tolist() for column in (*lonlat.T, altitude, np.degrees(heading) % 360.0)), vectors, strict=True
            )
        ]
    prototypes = [camera.prototype() for camera in photos.cameras]
    return [
        replace(
            prototypes[sequence],
            id=_image_id(sequence, ordinal),
            sequence_id=_sequence_id(sequence),
            captured_at=START + timedelta(milliseconds=round(seconds * 1000)),
            gps=Pose("gps", lon, lat, heading_deg=heading),
            sfm=pose,
        )
        for sequence, ordinal, seconds, lon, lat, heading, pose in zip(
            *(column.tolist() for column in (photos.sequence, photos.ordinal, photos.seconds, *raw_lonlat.T, raw_heading)),
            sfm,
            strict=True,
        )
    ]


def record_detections(
    grid: Grid, images: Sequence[Image], photos: Photos, shown: Appearances, boxes: Array
) -> tuple[list[Detection], Indices]:
    """Detections sorted by photo and falling score, and what each shows."""
    rng = stream(grid, "detector")
    n = len(boxes)
    true = shown.origin >= 0
    score = np.where(true, rng.beta(6, 2, n), rng.beta(4, 3, n)).round(3)
    kind = shown.kind.copy()
    for row in np.flatnonzero(true & (rng.random(n) < grid.wrong_class)):
        others = _mistakable()[kind[row]]
        if others:
            kind[row] = others[int(rng.integers(len(others)))]
    depth = _depths(photos, shown, rng) if grid.depth else None
    order = np.lexsort((boxes[:, 0], -score, shown.photo))
    photo = shown.photo[order]
    ordinals = np.arange(n) - np.searchsorted(photo, photo)
    return [
        Detection(
            images[shown.photo[row]].id,
            MODEL_KEY,
            ordinal,
            CLASSES[kind[row]],
            float(score[row]),
            (float(boxes[row, 0]), float(boxes[row, 1]), float(boxes[row, 2]), float(boxes[row, 3])),
            None if depth is None else float(depth[row]),
        )
        for row, ordinal in zip(order.tolist(), ordinals.tolist(), strict=True)
    ], shown.origin[order]


def _depths(photos: Photos, shown: Appearances, rng: Generator) -> Array:
    """Monocular depth: the distance times a scale of the sequence, with its own error."""
    distance = np.hypot(shown.x - photos.x[shown.photo], shown.y - photos.y[shown.photo])
    scale = np.exp(rng.normal(0, 0.3, int(photos.sequence.max()) + 1))[photos.sequence[shown.photo]]
    return distance * scale * np.exp(rng.normal(0, 0.15, len(distance)))


@cache
def _mistakable() -> list[list[int]]:
    """For each class the others of its outline, which a detector may take it for."""

    def looks(name: str) -> str:
        shape = shape_of(name)
        return shape.name if shape else name.rsplit("--", 1)[0]

    return [[k for k, other in enumerate(CLASSES) if other != name and looks(other) == looks(name)] for name in CLASSES]
