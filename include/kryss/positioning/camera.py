"""The camera model: pixels of the upright photo to directions in the world, and back.

Frames and formulas are those of OpenSfM and MapillaryJS (contract mapillary-api-v4, section 5): the camera looks along z
with x to the right and y down; the world is local east-north-up; ``computed_rotation`` is the angle-axis of the rotation
from world to camera. Pixels are those of the upright original (EXIF orientation applied); the camera frame is the sensor's.

EXIF orientations 2, 4, 5 and 7 are stored mirrored (TIFF 6.0, tag 274). Applying them takes the mirroring back, so that the
upright photo shows the scene as it is: a sensor cannot see the world mirrored, and its frame is the one of 1, 3, 8 and 6.
What is not finite stays so: a pixel of NaN has a direction of NaN, which :mod:`kryss.positioning.place` refuses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from kryss.model import Image, Pose

Array = NDArray[np.float64]

ASSUMED_FOCAL = 0.85
"""Focal length over the longer side where none is known: Mapillary's own default, a phone or dash camera's 31 mm."""
ASSUMED_FOCAL_SIGMA = 0.20
"""Cameras on the road lie between 0.5 (action camera, linear mode) and 1.2; one in three is off by more than this."""
KNOWN_FOCAL_SIGMA = 0.01

LEVEL_DEG = 0.05

_SPHERICAL = frozenset({"spherical", "equirectangular"})
_LEVEL_CAMERA_DEG = {1: (90.0, 0.0, 0.0), 3: (-90.0, 0.0, 180.0), 6: (0.0, -90.0, -90.0), 8: (0.0, 90.0, 90.0)}
"""Contract 5.4: turns about x, y and z that stand a level sensor upright, by EXIF orientation."""
_UNMIRRORED = {2: 1, 4: 3, 5: 8, 7: 6}
"""The turn that is left of a mirrored EXIF orientation when the mirroring is taken back."""


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """Projection and how well its focal length is known."""

    projection: str
    """``perspective``, ``fisheye`` or ``spherical``."""
    focal: float
    k1: float
    k2: float
    focal_sigma: float
    """One-sigma relative error of the focal length; 0 for spherical."""

    @property
    def assumed(self) -> bool:
        return self.focal_sigma >= ASSUMED_FOCAL_SIGMA


def intrinsics(image: Image) -> Intrinsics:
    """What is known of an image's optics."""
    if is_spherical(image):
        return Intrinsics("spherical", 1.0, 0.0, 0.0, 0.0)
    projection = "fisheye" if image.camera_type == "fisheye" else "perspective"
    parameters = image.camera_parameters
    if parameters is None or not all(np.isfinite(parameters)) or parameters[0] <= 0.0:
        return Intrinsics(projection, ASSUMED_FOCAL, 0.0, 0.0, ASSUMED_FOCAL_SIGMA)
    focal, k1, k2 = parameters
    return Intrinsics(projection, focal, k1, k2, ASSUMED_FOCAL_SIGMA if is_unmerged(image) else KNOWN_FOCAL_SIGMA)


def is_unmerged(image: Image) -> bool:
    """Whether SfM could not connect this photo, so that its ``computed_*`` only repeat the raw pose and a default camera.

    Recorded: such photos have camera parameters of exactly (0.85, 0, 0) and a camera that is level to 0.02 degrees.
    """
    if image.camera_parameters != (ASSUMED_FOCAL, 0.0, 0.0):
        return False
    if image.sfm is None or image.sfm.rotation is None or not np.all(np.isfinite(image.sfm.rotation)):
        return True
    return bool(np.all(np.abs(world_to_camera(image, image.sfm)[[0, 2], 2]) < np.radians(LEVEL_DEG)))


def is_spherical(image: Image) -> bool:
    """A full panorama, whose left and right border are one."""
    return image.camera_type in _SPHERICAL


def upright_size(image: Image) -> tuple[int, int]:
    """Width and height of the upright original in pixels."""
    return (image.height, image.width) if image.exif_orientation in (5, 6, 7, 8) else (image.width, image.height)


def from_thumbnail(image: Image, pixels: ArrayLike, thumbnail_size: tuple[int, int]) -> Array:
    """``(n, 2)`` pixels of the upright original of ``(n, 2)`` pixels of a thumbnail, which Mapillary stores upright.

    ``thumbnail_size``: width and height in pixels; their ratio may differ from the original's by rounding.
    """
    return np.atleast_2d(np.asarray(pixels, float)) * np.divide(upright_size(image), thumbnail_size)


def camera_directions(image: Image, pixels: ArrayLike) -> Array:
    """``(n, 3)`` unit vectors in the camera frame of ``(n, 2)`` pixels of the upright original."""
    optics = intrinsics(image)
    u, v = _to_sensor(image, np.atleast_2d(np.asarray(pixels, float)))
    if optics.projection == "spherical":
        lon, lat = 2 * np.pi * u, -2 * np.pi * v
        return np.column_stack([np.cos(lat) * np.sin(lon), -np.sin(lat), np.cos(lat) * np.cos(lon)])
    x, y = u / optics.focal, v / optics.focal
    distorted = np.hypot(x, y)
    radius = _undistort(distorted, optics.k1, optics.k2)
    if optics.projection == "fisheye":
        scale = np.divide(np.sin(radius), distorted, out=np.ones_like(distorted), where=distorted > 0)
        return np.column_stack([scale * x, scale * y, np.cos(radius)])
    scale = np.divide(radius, distorted, out=np.ones_like(distorted), where=distorted > 0)
    vectors = np.column_stack([scale * x, scale * y, np.ones_like(x)])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def camera_pixels(image: Image, directions: ArrayLike) -> Array:
    """``(n, 2)`` pixels of the upright original of ``(n, 3)`` vectors in the camera frame; NaN where they cannot be seen.

    The inverse of :func:`camera_directions`. A direction behind a perspective camera, or beyond the angle where its
    distortion folds back, has no pixel.
    """
    optics = intrinsics(image)
    x, y, z = np.atleast_2d(np.asarray(directions, float)).T
    if optics.projection == "spherical":
        u, v = np.arctan2(x, z) / (2 * np.pi), np.arctan2(y, np.hypot(x, z)) / (2 * np.pi)
        return _from_sensor(image, u, v)
    off_axis = np.hypot(x, y)
    with np.errstate(divide="ignore", invalid="ignore"):
        if optics.projection == "fisheye":
            radius = np.arctan2(off_axis, z)
            scale = np.where(off_axis > 0, radius / off_axis, 1.0)
        else:
            scale = np.where(z > 0, 1.0 / z, np.nan)
            radius = off_axis * scale
        seen = radius <= _radial_peak(optics.k1, optics.k2)
        scale = np.where(seen, scale * optics.focal * _distortion(radius, optics.k1, optics.k2), np.nan)
    return _from_sensor(image, scale * x, scale * y)


def world_to_camera(image: Image, pose: Pose) -> Array:
    """``(3, 3)`` rotation from local east-north-up to the camera.

    From ``pose.rotation`` where there is one; otherwise from the heading and a level camera (contract 5.4).
    """
    if pose.rotation is not None:
        return np.asarray(Rotation.from_rotvec(pose.rotation).as_matrix(), dtype=np.float64)
    if pose.heading_deg is None:
        raise ValueError(f"image {image.id}: a pose with neither rotation nor heading has no direction; leave it out")
    a, b, g = _LEVEL_CAMERA_DEG.get(_turn(image), _LEVEL_CAMERA_DEG[1])
    # Capital letters: intrinsic turns, i.e. the matrix product Rx Ry Rz in this order.
    return np.asarray(Rotation.from_euler("XYZ", [a, b, pose.heading_deg + g], degrees=True).as_matrix(), dtype=np.float64)


def world_directions(image: Image, pose: Pose, pixels: ArrayLike) -> Array:
    """``(n, 3)`` unit vectors east, north, up of ``(n, 2)`` pixels of the upright original."""
    return camera_directions(image, pixels) @ world_to_camera(image, pose)


def world_pixels(image: Image, pose: Pose, directions: ArrayLike) -> Array:
    """``(n, 2)`` pixels of ``(n, 3)`` east-north-up vectors; NaN where the camera cannot see them."""
    return camera_pixels(image, np.atleast_2d(np.asarray(directions, float)) @ world_to_camera(image, pose).T)


def azimuth_deg(directions: ArrayLike) -> Array:
    """``(n,)`` degrees clockwise from north, in [0, 360), of ``(n, 3)`` east-north-up vectors."""
    vectors = np.atleast_2d(np.asarray(directions, float))
    azimuth = np.degrees(np.arctan2(vectors[:, 0], vectors[:, 1])) % 360.0
    # The remainder of a tiny negative angle rounds up to 360 itself.
    return np.where(azimuth >= 360.0, 0.0, azimuth)


def elevation_deg(directions: ArrayLike) -> Array:
    """``(n,)`` degrees above the horizon of ``(n, 3)`` east-north-up vectors."""
    vectors = np.atleast_2d(np.asarray(directions, float))
    return np.degrees(np.arctan2(vectors[:, 2], np.hypot(vectors[:, 0], vectors[:, 1])))


def heading_deg(image: Image, pose: Pose) -> float:
    """Azimuth of the optical axis."""
    return float(azimuth_deg(world_to_camera(image, pose)[2])[0])


def _turn(image: Image) -> int:
    """EXIF orientation without its mirroring."""
    return _UNMIRRORED.get(image.exif_orientation, image.exif_orientation)


def _to_sensor(image: Image, pixels: Array) -> tuple[Array, Array]:
    """Upright pixels to sensor coordinates over the longer side, centre at zero (contract 5.2)."""
    width, height = upright_size(image)
    bx, by = pixels[:, 0] / width, pixels[:, 1] / height
    rx, ry = {3: (1 - bx, 1 - by), 6: (by, 1 - bx), 8: (1 - by, bx)}.get(_turn(image), (bx, by))
    longer = max(image.width, image.height)
    return (rx - 0.5) * image.width / longer, (ry - 0.5) * image.height / longer


def _from_sensor(image: Image, u: Array, v: Array) -> Array:
    width, height = upright_size(image)
    longer = max(image.width, image.height)
    rx, ry = u * longer / image.width + 0.5, v * longer / image.height + 0.5
    bx, by = {3: (1 - rx, 1 - ry), 6: (1 - ry, rx), 8: (ry, 1 - rx)}.get(_turn(image), (rx, ry))
    return np.column_stack([bx * width, by * height])


def _distortion(radius: Array, k1: float, k2: float) -> Array:
    squared = radius * radius
    return 1.0 + squared * (k1 + k2 * squared)


def _radial_peak(k1: float, k2: float) -> float:
    """Smallest radius at which the distorted radius stops growing: root of 5 k2 r^4 + 3 k1 r^2 + 1 (contract 5.3)."""
    # The quadratic formula with the root in the denominator: its largest denominator is the smallest positive root.
    discriminant = 9 * k1 * k1 - 20 * k2
    denominator = -3 * k1 + float(np.sqrt(discriminant)) if discriminant >= 0 else 0.0
    return float(np.sqrt(2.0 / denominator)) if denominator > 1e-300 else float("inf")


def _undistort(distorted: Array, k1: float, k2: float) -> Array:
    """Radius whose distorted radius is given, clamped to the peak. Newton's method inside a bracket."""
    if k1 == 0.0 and k2 == 0.0:
        return distorted.copy()
    peak = _radial_peak(k1, k2)
    low = np.zeros_like(distorted)
    high = np.full_like(distorted, peak) if np.isfinite(peak) else np.maximum(distorted, 1.0)
    if not np.isfinite(peak):
        while np.any(short := high * _distortion(high, k1, k2) < distorted):
            high[short] *= 2.0
    radius = np.minimum(distorted, high)
    for _ in range(60):
        error = radius * _distortion(radius, k1, k2) - distorted
        high, low = np.where(error > 0, radius, high), np.where(error < 0, radius, low)
        squared = radius * radius
        slope = 1.0 + squared * (3 * k1 + 5 * k2 * squared)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = radius - error / slope
        inside = np.isfinite(newton) & (newton >= low) & (newton <= high)
        following = np.where(error == 0, radius, np.where(inside, newton, (low + high) / 2))
        if not np.any(np.abs(following - radius) > 1e-15):
            return following
        radius = following
    return radius
