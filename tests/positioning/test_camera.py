"""The camera model against the contract's vectors, recorded photos, and itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kryss.model import Image, Pose
from kryss.positioning.camera import (
    azimuth_deg,
    camera_directions,
    camera_pixels,
    elevation_deg,
    from_thumbnail,
    heading_deg,
    intrinsics,
    upright_size,
    world_directions,
    world_pixels,
)
from kryss.positioning.frame import wrap_deg

AT = datetime(2019, 7, 21, tzinfo=UTC)
UNMERGED = (1.5608887723115, 0.20627902216826, -0.20625267065192)


def image(
    camera_type: str = "perspective",
    parameters: tuple[float, float, float] | None = (0.85136388143343, -6.6499673206348e-05, -3.8067681992196e-05),
    orientation: int = 1,
    size: tuple[int, int] = (4160, 3120),
    sfm: Pose | None = None,
) -> Image:
    return Image("1", "s", AT, *size, None, sfm, camera_type, parameters, orientation)


@pytest.mark.parametrize(
    ("parameters", "rotation", "spot", "azimuth", "elevation"),
    [
        (
            (0.85136388143343, -6.6499673206348e-05, -3.8067681992196e-05),
            (1.3642214091955, -0.0019509766093401, 0.035317244081076),
            (0.701538, 0.723877),
            14.5783,
            0.9168,
        ),
        (
            (0.85136388143343, -6.6499673206348e-05, -3.8067681992196e-05),
            (1.3642214091955, -0.0019509766093401, 0.035317244081076),
            (0.645996, 0.232666),
            11.4601,
            24.9239,
        ),
        ((0.85, 0.0, 0.0), UNMERGED, (0.847900, 0.575195), 7.2038, -3.5109),
    ],
    ids=["135511895288847 junction box", "135511895288847 directions", "311681117131457"],
)
def test_directions_are_those_of_the_contract(
    parameters: tuple[float, float, float],
    rotation: tuple[float, float, float],
    spot: tuple[float, float],
    azimuth: float,
    elevation: float,
) -> None:
    photo = image(parameters=parameters)
    pixel = np.array(spot) * upright_size(photo)
    direction = world_directions(photo, Pose("sfm", 0.1, 0.1, rotation=rotation), pixel)
    assert azimuth_deg(direction)[0] == pytest.approx(azimuth, abs=2e-4)
    assert elevation_deg(direction)[0] == pytest.approx(elevation, abs=2e-4)


def _recorded(shared_data: Path) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in sorted((shared_data / "mapillary-responses" / "graph").glob("*.json"))]
    return [one for one in found if "computed_rotation" in one]


@pytest.mark.real
def test_recorded_photos_reproduce_their_own_compass_angle(shared_data: Path) -> None:
    recorded = _recorded(shared_data)
    assert len(recorded) >= 8
    for one in recorded:
        pose = Pose("sfm", *one["computed_geometry"]["coordinates"], rotation=tuple(one["computed_rotation"]))
        difference = heading_deg(image(parameters=tuple(one["camera_parameters"])), pose) - one["computed_compass_angle"]
        assert abs((difference + 180) % 360 - 180) < 1e-6, one["id"]


@pytest.mark.real
def test_recorded_no_left_turn_sign_is_where_the_contract_says(shared_data: Path) -> None:
    one = next(one for one in _recorded(shared_data) if one["id"] == "311799370533334")
    photo = image(parameters=tuple(one["camera_parameters"]))
    pose = Pose("sfm", 0.1, 0.1, rotation=tuple(one["computed_rotation"]))
    direction = world_directions(photo, pose, np.array([0.115234, 0.693970]) * upright_size(photo))
    assert azimuth_deg(direction)[0] == pytest.approx(336.0366, abs=2e-4)
    assert elevation_deg(direction)[0] == pytest.approx(2.3596, abs=2e-4)


fractions = st.floats(0.02, 0.98)
cameras = st.one_of(
    st.tuples(st.just("spherical"), st.none()),
    st.tuples(st.just("perspective"), st.tuples(st.floats(0.5, 1.3), st.floats(-0.1, 0.2), st.floats(-0.02, 0.05))),
    st.tuples(st.just("fisheye"), st.tuples(st.floats(0.3, 0.8), st.floats(-0.03, 0.1), st.floats(-0.005, 0.02))),
)


@given(cameras, st.sampled_from(range(1, 9)), fractions, fractions)
def test_a_pixel_comes_back_from_its_direction(
    camera: tuple[str, tuple[float, float, float] | None], orientation: int, x: float, y: float
) -> None:
    photo = image(camera[0], camera[1], orientation, (4000, 2000) if camera[0] == "spherical" else (4160, 3120))
    pixel = np.array([x, y]) * upright_size(photo)
    direction = camera_directions(photo, pixel)
    assert np.linalg.norm(direction) == pytest.approx(1.0, abs=1e-12)
    # Beyond the radius where the distortion folds back, a pixel has no direction of its own.
    if not _past_the_fold(photo, pixel):
        assert camera_pixels(photo, direction)[0] == pytest.approx(pixel, abs=1e-2)


def _past_the_fold(photo: Image, pixel: np.ndarray) -> bool:
    optics = intrinsics(photo)
    if optics.projection == "spherical":
        return False
    width, height = upright_size(photo)
    radius = np.hypot(*(pixel - np.array([width, height]) / 2)) / max(width, height) / optics.focal
    r = np.linspace(0, 4, 40001)
    slope = 1 + 3 * optics.k1 * r**2 + 5 * optics.k2 * r**4
    folds = np.flatnonzero(slope <= 0)
    peak = r[folds[0]] if len(folds) else r[-1]
    return bool(radius >= 0.9999 * peak * (1 + optics.k1 * peak**2 + optics.k2 * peak**4))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("heading", [0.0, 90.0, 200.0])
def test_a_level_camera_looks_along_its_heading_with_the_sky_up_whatever_the_orientation(
    orientation: int, heading: float
) -> None:
    photo = image(orientation=orientation)
    pose = Pose("gps", 0.1, 0.1, heading_deg=heading)
    width, height = upright_size(photo)
    middle, above, right = world_directions(
        photo, pose, [(width / 2, height / 2), (width / 2, height / 4), (0.6 * width, height / 2)]
    )
    assert wrap_deg(azimuth_deg(middle)[0] - heading) == pytest.approx(0.0, abs=1e-9)
    assert elevation_deg(middle)[0] == pytest.approx(0.0, abs=1e-9)
    assert elevation_deg(above)[0] > 10
    assert 0 < (azimuth_deg(right)[0] - heading) % 360 < 20


@given(st.tuples(*[st.floats(-1.7, 1.7)] * 3), st.floats(0.1, 0.9), st.floats(0.1, 0.9))
def test_a_pixel_comes_back_from_the_world(rotation: tuple[float, float, float], x: float, y: float) -> None:
    photo = image()
    pose = Pose("sfm", 0.1, 0.1, rotation=rotation)
    pixel = np.array([x, y]) * upright_size(photo)
    assert world_pixels(photo, pose, world_directions(photo, pose, pixel))[0] == pytest.approx(pixel, abs=1e-3)


def test_a_perspective_camera_does_not_see_behind_itself() -> None:
    assert np.isnan(camera_pixels(image(), [(0.1, 0.1, -1.0)])).all()


def test_a_panorama_sees_behind_itself() -> None:
    pano = image("spherical", None, size=(4000, 2000))
    assert camera_pixels(pano, [(1e-9, 0.0, -1.0)])[0] == pytest.approx([4000, 1000], abs=1e-3)


def test_a_missing_focal_length_is_assumed_with_a_wide_error() -> None:
    assert intrinsics(image(parameters=None)).focal == 0.85
    assert intrinsics(image(parameters=None)).focal_sigma == 0.20
    assert intrinsics(image()).focal_sigma == 0.01


def test_the_default_camera_of_an_unmerged_photo_is_no_calibration() -> None:
    level = image(parameters=(0.85, 0.0, 0.0), sfm=Pose("sfm", 0.1, 0.1, rotation=UNMERGED))
    assert intrinsics(level).assumed
    reconstructed = image(parameters=(0.85, 0.0, 0.0), sfm=Pose("sfm", 0.1, 0.1, rotation=(1.3642214, -0.00195, 0.0353172)))
    assert not intrinsics(reconstructed).assumed


def exif_stored(x: float, y: float, orientation: int) -> tuple[float, float]:
    """Where a spot of the upright photo lies in the stored one, as fractions: TIFF 6.0, tag 274, row by row."""
    return {
        1: (x, y),
        2: (1 - x, y),
        3: (1 - x, 1 - y),
        4: (x, 1 - y),
        5: (y, x),
        6: (y, 1 - x),
        7: (1 - y, 1 - x),
        8: (1 - y, x),
    }[orientation]


@given(st.sampled_from([2, 4, 5, 7]), fractions, fractions)
def test_a_mirrored_photo_is_the_stored_one_with_left_and_right_swapped(orientation: int, x: float, y: float) -> None:
    photo = image(orientation=orientation, parameters=(0.85, 0.0, 0.0))
    stored_x, stored_y = exif_stored(x, y, orientation)
    sensor = np.array([(1 - stored_x) * photo.width, stored_y * photo.height])
    expected = camera_directions(image(parameters=(0.85, 0.0, 0.0)), sensor)
    assert camera_directions(photo, np.array([x, y]) * upright_size(photo)) == pytest.approx(expected, abs=1e-12)


@given(cameras, st.sampled_from(range(1, 9)), fractions, fractions, st.sampled_from([256, 1024, 2048]))
def test_a_spot_on_a_thumbnail_has_the_direction_of_the_same_spot_on_the_original(
    camera: tuple[str, tuple[float, float, float] | None], orientation: int, x: float, y: float, width: int
) -> None:
    photo = image(camera[0], camera[1], orientation)
    full = upright_size(photo)
    thumbnail = (width, round(width * full[1] / full[0]))
    pixel = from_thumbnail(photo, np.array([x, y]) * thumbnail, thumbnail)
    assert camera_directions(photo, pixel) == pytest.approx(camera_directions(photo, np.array([x, y]) * full), abs=1e-9)


@pytest.mark.parametrize("kind", ["perspective", "fisheye", "spherical"])
def test_what_is_no_pixel_has_no_direction_and_spoils_no_other(kind: str) -> None:
    directions = camera_directions(image(kind), [(float("nan"), 10.0), (2000.0, 1500.0)])
    assert np.isnan(directions[0]).any()
    assert np.linalg.norm(directions[1]) == pytest.approx(1.0)


@given(st.sampled_from(["perspective", "fisheye", "spherical"]), st.tuples(*[st.sampled_from([-1.0, 0.0, 1.0])] * 3))
def test_the_poles_and_the_axes_have_a_pixel_or_none(kind: str, direction: tuple[float, float, float]) -> None:
    with np.errstate(all="raise", under="ignore"):
        pixel = camera_pixels(image(kind), direction)[0]
    assert np.isfinite(pixel).all() or (np.isnan(pixel).all() and kind != "spherical")
    assert 0.0 <= azimuth_deg(direction)[0] < 360.0
    assert -90.0 <= elevation_deg(direction)[0] <= 90.0
