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
from kryss.demo.streets.grid import (
    BEHIND_LOG,
    CLASSES,
    DEPTH_PIVOT_M,
    GPS,
    GROUND_M,
    MODEL_KEY,
    STANDS_OUT,
    START,
    Array,
    DepthNoise,
    Grid,
    Indices,
    stream,
)
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
    depth = _depths(grid.depth, photos, shown, stream(grid, "depths")) if grid.depth else np.full(n, np.nan)
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
            None if np.isnan(depth[row]) else float(depth[row]),
        )
        for row, ordinal in zip(order.tolist(), ordinals.tolist(), strict=True)
    ], shown.origin[order]


def _depths(noise: DepthNoise, photos: Photos, shown: Appearances, rng: Generator) -> Array:
    """(n,) monocular depth, along the optical axis, of a panorama along the ray; NaN where the network does not tell the object
    from its background."""
    offset = np.column_stack([getattr(shown, axis) - getattr(photos, axis)[shown.photo] for axis in ("x", "y", "up")])
    distance = np.hypot(offset[:, 0], offset[:, 1])
    rotations = photos.rotations(photos.heading, photos.pitch, photos.roll)[shown.photo]
    panorama = np.array([camera.projection == "spherical" for camera in photos.cameras])[photos.sequence[shown.photo]]
    ahead = np.where(panorama, np.linalg.norm(offset, axis=1), np.einsum("nj,nj->n", rotations[:, 2], offset))
    scale = rng.normal(0, noise.scale_sigma, int(photos.sequence.max()) + 1)[photos.sequence[shown.photo]]
    # Boxes of nothing and of vehicles are each for themselves.
    false = shown.origin < 0
    thing = np.where(false, int(shown.origin.max(initial=-1)) + 1 + np.cumsum(false), shown.origin)
    of_thing = rng.normal(0, noise.object_sigma, int(thing.max(initial=-1)) + 1)[thing]
    behind = rng.exponential(BEHIND_LOG, int(thing.max(initial=-1)) + 1)[thing]
    share = np.minimum(noise.blended * distance / DEPTH_PIVOT_M, 1.0)
    off = (noise.slope - 1.0) * np.log(distance / DEPTH_PIVOT_M) + share * behind
    off += scale + of_thing + rng.normal(0, noise.own_sigma, len(distance))
    lost = (ahead <= 0) | ((noise.blended > 0) & (share * behind > behind + np.log(STANDS_OUT)))
    return np.where(lost, np.nan, ahead * np.exp(off))


@cache
def _mistakable() -> list[list[int]]:
    """For each class the others of its outline, which a detector may take it for."""

    def looks(name: str) -> str:
        shape = shape_of(name)
        return shape.name if shape else name.rsplit("--", 1)[0]

    return [[k for k, other in enumerate(CLASSES) if other != name and looks(other) == looks(name)] for name in CLASSES]
