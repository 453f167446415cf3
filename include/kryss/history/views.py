"""What cameras surely show: the camera model of :mod:`kryss.positioning.camera` for many photos at once.

A sign is expected in a photo only where it lies inside with a margin, in width and in height: what is near may stand above
the upper border.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from kryss.model import Image, Pose
from kryss.positioning.camera import intrinsics, world_to_camera
from kryss.positioning.focal import calibrated
from kryss.positioning.poses import TrustedPose
from kryss.positioning.table import Array

EDGE_DEG = 3.0
"""What is so close to the border may be cut by it."""


@dataclass(frozen=True)
class Cameras:
    """``n`` cameras as columns."""

    rotation: Array
    """(n, 3, 3) from local east-north-up to the camera"""
    spherical: NDArray[np.bool_]
    fisheye: NDArray[np.bool_]
    focal: Array
    """over the longer side; where it is not known, the longest that is likely: what the photo shows for sure"""
    k1: Array
    k2: Array
    half: Array
    """(n, 2) half of the sensor's width and height over the longer side"""
    heading_sigma_deg: Array

    @staticmethod
    def of(images: Sequence[Image], poses: Mapping[str, TrustedPose]) -> Cameras:
        """The cameras of photos that have a pose, in their order."""
        # Lenses by make and model alone: fitting them to views, as placing does, would be done for every photo every night.
        lenses = calibrated({one.id: one for one in images}, {}, poses)
        optics = [intrinsics(one) for one in images]
        focal = [
            intrinsics(lenses[image.id].image).focal * (1.0 + lenses[image.id].sigma) if image.id in lenses else one.focal
            for image, one in zip(images, optics, strict=True)
        ]
        known = [0.0 if image.id in lenses else 1.0 for image in images]
        longer = np.array([max(one.width, one.height) for one in images], dtype=np.float64)
        return Cameras(
            rotation=_rotations(images, [poses[one.id].pose for one in images]),
            spherical=np.array([one.projection == "spherical" for one in optics], dtype=bool),
            fisheye=np.array([one.projection == "fisheye" for one in optics], dtype=bool),
            focal=np.array(focal, dtype=np.float64),
            k1=np.array([one.k1 for one in optics], dtype=np.float64) * known,
            k2=np.array([one.k2 for one in optics], dtype=np.float64) * known,
            half=np.array([(one.width, one.height) for one in images], dtype=np.float64).reshape(-1, 2) / longer[:, None] / 2,
            heading_sigma_deg=np.array([poses[one.id].heading_sigma_deg for one in images], dtype=np.float64),
        )

    def shows(
        self, photo: NDArray[np.intp], azimuth_deg: Array, elevation_deg: Array, aside_deg: Array, above_deg: Array
    ) -> NDArray[np.bool_]:
        """``(m,)`` whether each photo holds a direction (from true north; above the horizon, NaN where unknown) and what lies so
        far beside, above and below it."""
        rotation = self.rotation[photo]
        known = np.isfinite(elevation_deg)
        # Of unknown height: as high as the camera looks.
        level = np.degrees(np.arcsin(np.clip(rotation[:, 2, 2], -1.0, 1.0)))
        elevation, above = np.where(known, elevation_deg, level), np.where(known, above_deg + EDGE_DEG, 0.0)
        aside = aside_deg + EDGE_DEG + self.heading_sigma_deg[photo]
        inside = self.spherical[photo] | ((aside < 90.0) & (above < 90.0))
        rows = np.flatnonzero(inside & ~self.spherical[photo])
        for side, up in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)):
            turn = np.radians(azimuth_deg[rows] + side * aside[rows])
            rise = np.radians(np.clip(elevation[rows] + up * above[rows], -90.0, 90.0))
            direction = np.column_stack([np.sin(turn) * np.cos(rise), np.cos(turn) * np.cos(rise), np.sin(rise)])
            held = self._holds(photo[rows], np.einsum("mij,mj->mi", rotation[rows], direction))
            inside[rows[~held]] = False
            rows = rows[held]
        return np.asarray(inside)

    def _holds(self, photo: NDArray[np.intp], vector: Array) -> NDArray[np.bool_]:
        """``(m,)`` whether the vectors (m, 3) of camera frames, none spherical, have a pixel."""
        x, y, z = vector.T
        off_axis = np.maximum(np.hypot(x, y), 1e-12)
        fisheye = self.fisheye[photo]
        ahead = fisheye | (z > 1e-9)
        radius = np.where(fisheye, np.arctan2(off_axis, z), off_axis / np.where(ahead & ~fisheye, z, 1.0))
        k1, k2 = self.k1[photo], self.k2[photo]
        # Beyond it the distorted radius shrinks again: root of 5 k2 r^4 + 3 k1 r^2 + 1, as in the camera model.
        discriminant = 9 * k1 * k1 - 20 * k2
        denominator = -3 * k1 + np.sqrt(np.maximum(discriminant, 0.0))
        folds = (discriminant >= 0) & (denominator > 1e-300)
        peak = np.where(folds, np.sqrt(2.0 / np.where(folds, denominator, 1.0)), np.inf)
        squared = np.where(ahead, radius, 0.0) ** 2
        scale = self.focal[photo] * radius / off_axis * (1.0 + squared * (k1 + k2 * squared))
        width, height = self.half[photo].T
        return np.asarray(ahead & (radius <= peak) & (np.abs(scale * x) <= width) & (np.abs(scale * y) <= height))


def _rotations(images: Sequence[Image], poses: Sequence[Pose]) -> Array:
    """``(n, 3, 3)`` as :func:`kryss.positioning.camera.world_to_camera`, all at once."""
    rotations = np.empty((len(images), 3, 3))
    turned = [row for row, pose in enumerate(poses) if pose.rotation is not None]
    if turned:
        rotations[turned] = Rotation.from_rotvec([poses[row].rotation for row in turned]).as_matrix()
    level: dict[int, list[int]] = {}
    for row, pose in enumerate(poses):
        if pose.rotation is None:
            level.setdefault(images[row].exif_orientation, []).append(row)
    for rows in level.values():
        north = world_to_camera(images[rows[0]], replace(poses[rows[0]], heading_deg=0.0))
        heading = np.array([[poses[row].heading_deg] for row in rows], dtype=np.float64)
        rotations[rows] = north @ Rotation.from_euler("Z", heading, degrees=True).as_matrix()
    return rotations
