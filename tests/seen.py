"""A street to test positions and history on: metres about an origin, cameras that drive, and what they see.

Helper of tests/positioning and tests/history: the fixture `street`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from scipy.spatial.transform import Rotation

from kryss.model import Detection, Image, Pose, Sighting
from kryss.positioning.camera import world_pixels, world_to_camera
from kryss.positioning.frame import Frame
from kryss.positioning.place import place_one
from kryss.positioning.poses import TrustedPose
from kryss.positioning.sizes import object_size

ORIGIN = Frame(10.4, 63.4)
START = datetime(2025, 6, 1, 12, tzinfo=UTC)
EYE_M = 1.6
SIGN = "regulatory--maximum-speed-limit-50--g1"


@dataclass(frozen=True)
class Thing:
    """A sign or light at metres east and north, its middle this high, facing this way."""

    class_name: str
    x: float
    y: float
    up_m: float = 2.4
    facing_deg: float = 180.0


def photo(
    name: str,
    x: float,
    y: float,
    heading_deg: float = 0.0,
    *,
    sequence: str = "drive",
    at: datetime = START,
    pitch_deg: float = 0.0,
) -> Image:
    """A calibrated photo with an SfM pose."""
    lon, lat = (float(v) for v in ORIGIN.to_lonlat((x, y))[0])
    image = Image(name, sequence, at, 1280, 960, None, None, camera_parameters=(0.85, 0.01, -0.002))
    level = world_to_camera(image, Pose("sfm", lon, lat, heading_deg=heading_deg))
    tilt = Rotation.from_euler("x", -pitch_deg, degrees=True).as_matrix()
    rotation = Rotation.from_matrix(tilt @ level).as_rotvec()
    return replace(image, sfm=Pose("sfm", lon, lat, rotation=(float(rotation[0]), float(rotation[1]), float(rotation[2]))))


def drive(
    name: str, *, at: datetime = START, first_m: float = -60.0, photos: int = 10, spacing_m: float = 6.0, x: float = 0.0
) -> list[Image]:
    """Photos northwards along x, looking ahead, a second apart."""
    return [photo(f"{name}-{i}", x, first_m + i * spacing_m, sequence=name, at=at + timedelta(seconds=i)) for i in range(photos)]


def box_of(image: Image, thing: Thing) -> tuple[float, float, float, float] | None:
    """The exact box of a thing in a photo, by the camera model; None where it is outside, behind, or seen from the back."""
    assert image.sfm is not None
    camera = ORIGIN.to_xy(image.sfm.lon, image.sfm.lat)[0]
    east, north = thing.x - camera[0], thing.y - camera[1]
    away = (np.degrees(np.arctan2(east, north)) - thing.facing_deg) % 360.0
    size = object_size(thing.class_name)
    assert size is not None
    if not 100.0 < away < 260.0:
        return None
    distance = float(np.hypot(east, north))
    side = np.array([north, -east]) / distance * size.width_m / 2
    middle = thing.up_m - EYE_M
    corners = [(east + s * side[0], north + s * side[1], middle + v * size.height_m / 2) for s in (-1, 1) for v in (-1, 1)]
    pixels = world_pixels(image, image.sfm, corners)
    if np.isnan(pixels).any():
        return None
    left, top = pixels.min(axis=0)
    right, bottom = pixels.max(axis=0)
    if left < 3 or top < 3 or right > image.width - 3 or bottom > image.height - 3 or bottom - top < 12:
        return None
    return float(left), float(top), float(right), float(bottom)


def trusted(images: Sequence[Image], sigma_m: float = 0.5, heading_sigma_deg: float = 1.0) -> dict[str, TrustedPose]:
    """The photos' own poses, believed."""
    return {one.id: TrustedPose(one.id, one.sfm, sigma_m, heading_sigma_deg) for one in images if one.sfm}


def sightings(
    images: Sequence[Image], things: Sequence[Thing], *, noise: float = 0.0, missed: float = 0.0, seed: int = 1
) -> list[Sighting]:
    """What a detector that is off by ``noise`` pixels an edge and misses some makes of the things in the photos."""
    rng = np.random.default_rng(seed)
    poses = trusted(images)
    found = []
    for image in images:
        ordinal = 0
        for thing in things:
            box = box_of(image, thing)
            if box is None or rng.random() < missed:
                continue
            left, top, right, bottom = np.array(box) + rng.normal(0, noise, 4)
            detection = Detection(image.id, "test@1", ordinal, thing.class_name, 0.9, (left, top, right, bottom))
            placed = place_one(image, poses[image.id], detection)
            if isinstance(placed, Sighting):
                found.append(placed)
                ordinal += 1
    return found


def metres(lon: float, lat: float) -> tuple[float, float]:
    """East and north of the origin."""
    x, y = ORIGIN.to_xy(lon, lat)[0]
    return float(x), float(y)
