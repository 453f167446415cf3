"""Many cameras at once show what the camera model says that each of them shows, but for their borders."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import ModuleType

import numpy as np
import pytest

from kryss.history.views import EDGE_DEG, Cameras
from kryss.model import Image, Pose
from kryss.positioning.camera import ASSUMED_FOCAL, upright_size, world_pixels
from kryss.positioning.poses import TrustedPose

DIRECTIONS = 200


def camera(number: int, rng: np.random.Generator) -> tuple[Image, TrustedPose]:
    kind = ("perspective", "fisheye", "spherical")[number % 3]
    optics = None if kind == "spherical" else (rng.uniform(0.4, 1.1), rng.uniform(-0.1, 0.1), rng.uniform(-0.02, 0.02))
    image = Image(
        str(number), "s", datetime(2025, 1, 1, tzinfo=UTC), 1920, 1080, None, None, kind, optics, exif_orientation=1 + number % 8
    )
    turned = tuple(rng.normal(0, 1, 3)) if number % 2 else None
    pose = Pose("sfm", 10.0, 63.0, heading_deg=None if turned else rng.uniform(0, 360), rotation=turned)  # type: ignore[arg-type]
    return image, TrustedPose(image.id, pose, 1.0, 0.0)


def test_they_show_what_the_camera_model_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kryss.history.views.EDGE_DEG", 0.0)
    rng = np.random.default_rng(1)
    shots = [camera(number, rng) for number in range(48)]
    cameras = Cameras.of([image for image, _ in shots], {image.id: pose for image, pose in shots})
    for number, (image, trusted) in enumerate(shots):
        azimuth, elevation = rng.uniform(0, 360, DIRECTIONS), rng.uniform(-85, 85, DIRECTIONS)
        turn, rise = np.radians(azimuth), np.radians(elevation)
        vectors = np.column_stack([np.sin(turn) * np.cos(rise), np.cos(turn) * np.cos(rise), np.sin(rise)])
        pixels = world_pixels(image, trusted.pose, vectors)
        expected = np.isfinite(pixels).all(axis=1) & ((pixels >= 0) & (pixels <= upright_size(image))).all(axis=1)
        none = np.zeros(DIRECTIONS)
        shown = cameras.shows(np.full(DIRECTIONS, number), azimuth, elevation, none, none)
        assert (shown == expected).all()
        assert (image.camera_type == "spherical") == bool(shown.all())


def test_what_is_near_may_hang_above_the_photo(street: ModuleType) -> None:
    image = street.photo("a", 0.0, 0.0)
    cameras = Cameras.of([image], street.trusted([image]))
    far, near = np.degrees(np.arctan2(4.5, [40.0, 5.0]))
    first, none = np.zeros(2, dtype=np.intp), np.zeros(2)
    assert cameras.shows(first, none, np.array([far, near]), none, none).tolist() == [True, False]
    # Nothing is known of its height: it may be anywhere in the column.
    assert cameras.shows(first, none, np.full(2, np.nan), none, none).all()


def test_a_photo_of_unknown_focal_length_shows_no_more_for_sure_than_any_such_camera_does(street: ModuleType) -> None:
    calibrated = replace(street.photo("a", 0.0, 0.0), camera_parameters=(ASSUMED_FOCAL, 0.001, 0.0))
    unknown = replace(calibrated, camera_parameters=None)
    azimuth = np.linspace(-60.0, 60.0, 241)
    none = np.zeros(len(azimuth))

    def width_deg(image: Image) -> float:
        cameras = Cameras.of([image], street.trusted([image]))
        return float(cameras.shows(np.zeros(len(azimuth), dtype=np.intp), azimuth, none, none, none).sum()) / 2

    half_deg = np.degrees(np.arctan(0.5 / ASSUMED_FOCAL))
    assert width_deg(calibrated) == pytest.approx(2 * (half_deg - EDGE_DEG - 1.0), abs=1.5)
    assert width_deg(unknown) < width_deg(calibrated) - 4.0
