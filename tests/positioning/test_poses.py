"""Poses that cannot be are rejected with their reason; the rest carry honest errors."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kryss.model import Image, Pose
from kryss.positioning.frame import destination
from kryss.positioning.poses import trusted_poses

AT = datetime(2025, 6, 1, tzinfo=UTC)
ROTATION = (1.36, 0.0, 0.03)


def photo(i: int, *, gps: Pose | None = None, sfm: Pose | None = None, calibrated: bool = True, seconds: float = 1.0) -> Image:
    parameters = (0.9, 0.0, 0.0) if calibrated else None
    return Image(f"p{i}", "q", AT + timedelta(seconds=i * seconds), 4000, 3000, gps, sfm, camera_parameters=parameters)


def along(i: int, origin: str = "gps", metres: float = 10.0, **more: object) -> Pose:
    lon, lat = destination(10.0, 60.0, 45.0, 1.0 + i * metres)
    return Pose(origin, lon, lat, **more)  # type: ignore[arg-type]


STUCK = Pose("gps", 9.9, 59.7, heading_deg=281.7)


def test_a_gps_that_is_frozen_along_a_moving_sequence_is_rejected_and_sfm_is_used() -> None:
    images = [photo(i, gps=STUCK, sfm=along(i, "sfm", rotation=ROTATION), seconds=2) for i in range(7)]
    trusted, rejected = trusted_poses(images)
    assert {one.reason for one in rejected} == {"raw GPS frozen: 7 photos of sequence q share one position and heading over 12 s"}
    assert len(rejected) == 7 and {one.origin for one in rejected} == {"gps"}
    assert {one.pose.origin for one in trusted.values()} == {"sfm"}


def test_photos_with_nothing_but_a_frozen_gps_have_no_pose() -> None:
    trusted, rejected = trusted_poses([photo(i, gps=STUCK, seconds=2) for i in range(4)])
    assert not trusted and len(rejected) == 4


def test_a_gps_that_stands_still_with_the_camera_is_believed() -> None:
    sfm = Pose("sfm", STUCK.lon, STUCK.lat, rotation=ROTATION)
    trusted, rejected = trusted_poses([photo(i, gps=STUCK, sfm=sfm, seconds=2) for i in range(4)])
    assert len(trusted) == 4 and not rejected


@pytest.mark.parametrize("lon", [float("nan"), float("inf"), 200.0])
def test_a_position_off_the_globe_is_rejected(lon: float) -> None:
    trusted, rejected = trusted_poses([photo(0, gps=Pose("gps", lon, 60.0, heading_deg=10.0))])
    assert not trusted
    assert "no position on the globe" in rejected[0].reason


def test_sfm_far_from_a_sound_gps_is_rejected() -> None:
    images = [photo(i, gps=along(i, heading_deg=45.0), sfm=along(i, "sfm", rotation=ROTATION)) for i in range(5)]
    lost = Pose("sfm", *destination(10.0, 60.0, 0.0, 900.0), rotation=ROTATION)
    trusted, rejected = trusted_poses([replace(one, sfm=lost) if one.id == "p2" else one for one in images])
    assert [(one.image_id, one.origin) for one in rejected] == [("p2", "sfm")]
    assert trusted["p2"].pose.origin == "gps"


def test_a_gps_that_jumps_away_and_back_faster_than_a_car_is_rejected() -> None:
    images = [photo(i, gps=along(i, heading_deg=45.0), sfm=along(i, "sfm", rotation=ROTATION)) for i in range(5)]
    jumped = Pose("gps", *destination(10.0, 60.0, 0.0, 900.0), heading_deg=45.0)
    trusted, rejected = trusted_poses([replace(one, gps=jumped) if one.id == "p2" else one for one in images])
    assert [(one.image_id, one.origin) for one in rejected] == [("p2", "gps")]
    assert "faster than a car" in rejected[0].reason
    assert trusted["p2"].pose.origin == "sfm"


@pytest.mark.parametrize(
    ("sfm", "calibrated", "heading_sigma_deg", "sigma_m"),
    [
        (along(0, "sfm", rotation=ROTATION), True, 1.5, 1.5),
        (along(0, "sfm", heading_deg=45.0), False, 20.0, 1.5),
        (None, True, 12.0, 6.0),
    ],
    ids=["rotation and calibration", "track heading alone", "raw compass"],
)
def test_errors_grow_with_what_is_not_known(sfm: Pose | None, calibrated: bool, heading_sigma_deg: float, sigma_m: float) -> None:
    trusted, _ = trusted_poses([photo(0, gps=along(0, heading_deg=40.0), sfm=sfm, calibrated=calibrated)])
    assert (trusted["p0"].heading_sigma_deg, trusted["p0"].sigma_m) == (heading_sigma_deg, sigma_m)


def test_without_any_heading_the_track_gives_one() -> None:
    trusted, _ = trusted_poses([photo(i, gps=along(i)) for i in range(3)])
    assert trusted["p1"].pose.heading_deg == pytest.approx(45.0, abs=0.1)
    assert trusted["p1"].heading_sigma_deg == 20.0


def test_a_lone_photo_without_heading_is_rejected() -> None:
    trusted, rejected = trusted_poses([photo(0, gps=along(0))])
    assert not trusted and "no heading" in rejected[0].reason


def test_the_order_of_photos_does_not_matter() -> None:
    images = [photo(i, gps=STUCK if i % 2 else along(i), sfm=along(i, "sfm", heading_deg=1.0)) for i in range(9)]
    assert trusted_poses(images) == trusted_poses(images[::-1])
