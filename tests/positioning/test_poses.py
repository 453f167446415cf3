"""Poses that cannot be are rejected with their reason; the rest carry honest errors."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kryss.model import Image, Pose, RejectedPose
from kryss.positioning.frame import destination, wrap_deg
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


def reasons(rejected: list[RejectedPose]) -> dict[str, str]:
    return {one.image_id: one.reason for one in rejected}


def drive(n: int = 12, *, metres: float = 10.0, noise_m: float = 0.0, heading: float | None = 45.0, seed: int = 1) -> list[Image]:
    """Photos north-east with raw poses, a second apart; sideways and forward noise."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        pose = along(i, metres=metres, heading_deg=heading)
        lon, lat = destination(pose.lon, pose.lat, rng.uniform(0, 360), abs(rng.normal(0, 1)) * noise_m) if noise_m else (0, 0)
        found.append(photo(i, gps=replace(pose, lon=lon, lat=lat) if noise_m else pose))
    return found


def test_the_same_look_uploaded_twice_counts_once() -> None:
    images = drive(5)
    again = replace(images[2], id="p9")
    trusted, rejected = trusted_poses([*images, again])
    assert reasons(rejected) == {"p9": "duplicate of photo p2: same instant, place and direction"}
    assert "p2" in trusted and "p9" not in trusted


def test_cameras_of_one_rig_share_instant_and_place_and_are_no_duplicates() -> None:
    images = drive(5)
    right = [replace(one, id=f"r{one.id}", gps=replace(one.gps, heading_deg=135.0)) for one in images if one.gps]
    trusted, rejected = trusted_poses([*images, *right])
    assert len(trusted) == 10 and not rejected


@pytest.mark.parametrize(("origin", "aside_m"), [("gps", 60.0), ("sfm", 30.0)])
def test_a_photo_beside_its_own_track_is_rejected(origin: str, aside_m: float) -> None:
    images = [photo(i, **{origin: along(i, origin, heading_deg=45.0)}) for i in range(9)]
    pose = along(4, origin, heading_deg=45.0)
    lon, lat = destination(pose.lon, pose.lat, 135.0, aside_m)
    images[4] = replace(images[4], **{origin: replace(pose, lon=lon, lat=lat)})
    trusted, rejected = trusted_poses(images)
    assert list(reasons(rejected)) == ["p4"]
    assert f"{aside_m:.0f} m off the track of its own sequence" in reasons(rejected)["p4"]
    assert "p4" not in trusted


def test_a_bend_is_no_reason_to_reject() -> None:
    east, north = destination(10.0, 60.0, 90.0, 100.0), destination(10.0, 60.0, 0.0, 100.0)
    corner = [destination(10.0, 60.0, 0.0, 100.0 - 20 * i) for i in range(6)]
    corner += [destination(10.0, 60.0, 90.0, 20.0 * i) for i in range(1, 6)]
    assert (corner[0], corner[-1]) == (north, east)
    trusted, rejected = trusted_poses([photo(i, gps=Pose("gps", *at, heading_deg=1.0 + i)) for i, at in enumerate(corner)])
    assert len(trusted) == 11 and not rejected


def test_turning_round_is_no_reason_to_reject() -> None:
    ahead = [0, 20, 40, 60, 80, 60, 40, 20, 0]
    spots = [destination(10.0, 60.0, 45.0, metres) for metres in ahead]
    trusted, rejected = trusted_poses([photo(i, sfm=Pose("sfm", *at, heading_deg=1.0 * i)) for i, at in enumerate(spots)])
    assert len(trusted) == 9 and not rejected


def test_two_clocks_in_one_sequence_condemn_no_position() -> None:
    far = destination(10.0, 60.0, 0.0, 4000.0)
    images = []
    for i in range(12):
        origin = (10.0, 60.0) if i % 2 else far
        images.append(photo(i, gps=Pose("gps", *destination(*origin, 45.0, 5.0 * i), heading_deg=45.0)))
    trusted, rejected = trusted_poses(images)
    assert len(trusted) == 12 and not rejected


def test_a_clock_that_stands_still_condemns_nothing() -> None:
    images = [replace(one, captured_at=AT) for one in drive(8)]
    trusted, rejected = trusted_poses(images[::-1])
    assert len(trusted) == 8 and not rejected
    assert {one.sigma_m for one in trusted.values()} == {6.0}


def test_a_heading_against_the_track_gives_way_to_the_track() -> None:
    images = drive(12)
    images[5] = replace(images[5], gps=along(5, heading_deg=200.0))
    trusted, rejected = trusted_poses(images)
    assert list(reasons(rejected)) == ["p5"]
    assert reasons(rejected)["p5"].startswith("raw heading is 155 degrees off the track")
    assert trusted["p5"].pose.heading_deg == pytest.approx(45.0, abs=0.5)
    assert trusted["p5"].heading_sigma_deg >= 6.0


def test_a_camera_that_looks_to_the_side_all_along_is_believed() -> None:
    trusted, rejected = trusted_poses(drive(12, heading=135.0))
    assert not rejected
    assert {one.pose.heading_deg for one in trusted.values()} == {135.0}


def test_a_camera_that_is_turned_by_hand_is_not_judged_by_its_track() -> None:
    images = [photo(i, gps=along(i, heading_deg=(i * 77.0) % 360)) for i in range(12)]
    trusted, rejected = trusted_poses(images)
    assert not rejected
    assert [trusted[f"p{i}"].pose.heading_deg for i in range(12)] == [(i * 77.0) % 360 for i in range(12)]
    assert {one.heading_sigma_deg for one in trusted.values()} == {12.0}


def test_a_constant_compass_bias_of_a_forward_camera_is_mostly_taken_off() -> None:
    trusted, _ = trusted_poses(drive(30, heading=57.0))
    assert trusted["p9"].pose.heading_deg == pytest.approx(45.0 + 12.0 * 0.2, abs=0.5)
    assert 4.0 < trusted["p9"].heading_sigma_deg < 7.0


def test_headings_frozen_along_a_turning_track_are_rejected() -> None:
    spots = [(destination(10.0, 60.0, 0.0, 100.0 - 10 * i), 180.0) for i in range(10)]
    spots += [(destination(10.0, 60.0, 90.0, 10.0 * i), 90.0) for i in range(1, 11)]
    images = [photo(i, gps=Pose("gps", *at, heading_deg=77.0)) for i, (at, _) in enumerate(spots)]
    trusted, rejected = trusted_poses(images)
    assert len(rejected) == 20 and all("raw heading is frozen: 20 photos" in one.reason for one in rejected)
    for i in (2, 5, 14, 17):
        assert trusted[f"p{i}"].pose.heading_deg == pytest.approx(spots[i][1], abs=1.0)
        assert trusted[f"p{i}"].heading_sigma_deg == 20.0


def test_headings_of_zero_throughout_are_missing_headings() -> None:
    images = [photo(i, gps=Pose("gps", *destination(10.0, 60.0, 80.0, 10.0 * i), heading_deg=0.0)) for i in range(6)]
    trusted, rejected = trusted_poses(images)
    assert {one.reason for one in rejected} == {"raw heading is 0 in every photo of a sequence that does not run north"}
    assert trusted["p3"].pose.heading_deg == pytest.approx(80.0, abs=0.5)


@pytest.mark.parametrize(("noise_m", "least", "most"), [(0.0, 3.0, 4.0), (4.0, 3.5, 7.0), (20.0, 9.0, 15.0)])
def test_the_error_of_a_position_is_that_of_its_own_track(noise_m: float, least: float, most: float) -> None:
    trusted, _ = trusted_poses(drive(60, noise_m=noise_m))
    assert all(least <= one.sigma_m <= most for one in trusted.values())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_rejected_with_its_reason(value: float) -> None:
    sound = along(0, heading_deg=45.0)
    for broken in (replace(sound, lon=value), replace(sound, lat=value), replace(sound, heading_deg=value)):
        trusted, rejected = trusted_poses([photo(0, gps=broken)])
        assert not trusted and rejected
    turned = along(0, "sfm", rotation=(value, 0.0, 0.0))
    trusted, rejected = trusted_poses([photo(0, gps=sound, sfm=turned)])
    assert "SfM heading is not finite" in reasons(rejected)["p0"]
    assert (trusted["p0"].pose.rotation, trusted["p0"].pose.heading_deg) == (None, 45.0)


wild = st.one_of(st.floats(), st.floats(-180, 180))
wild_poses = st.one_of(
    st.none(),
    st.tuples(wild, wild, st.one_of(st.none(), wild), st.one_of(st.none(), st.tuples(wild, wild, wild))),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(wild_poses, wild_poses, st.integers(0, 20)), max_size=8), st.randoms())
def test_any_pose_is_finite_or_has_a_reason_in_any_order(
    rows: list[tuple[tuple[object, ...] | None, tuple[object, ...] | None, int]], shuffle: random.Random
) -> None:
    images = []
    for i, (gps, sfm, seconds) in enumerate(rows):
        poses = [Pose(origin, *one[:2], None, *one[2:]) if one else None for origin, one in (("gps", gps), ("sfm", sfm))]  # type: ignore[arg-type]
        images.append(replace(photo(i, gps=poses[0], sfm=poses[1]), captured_at=AT + timedelta(seconds=seconds)))
    trusted, rejected = trusted_poses(images)
    mixed = list(images)
    shuffle.shuffle(mixed)
    assert repr(trusted_poses(mixed)) == repr((trusted, rejected))
    assert len({(one.image_id, one.origin) for one in rejected}) == len(rejected)
    for image in images:
        one = trusted.get(image.id)
        if one is None:
            assert image.id in reasons(rejected) or (image.gps is None and image.sfm is None)
        else:
            direction = one.pose.rotation or (one.pose.heading_deg,)
            assert all(v is not None and np.isfinite(v) for v in (*direction, one.pose.lon, one.pose.lat, one.sigma_m))


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 359), st.sampled_from([(10.0, 60.0), (179.9995, -40.0), (-0.0005, 0.0005), (25.0, 80.0)]))
def test_turning_and_moving_the_world_turns_and_moves_the_answer(turn_deg: float, centre: tuple[float, float]) -> None:
    rng = np.random.default_rng(5)
    noise = rng.normal(0, [4.0, 6.0], (20, 2))

    def world(turn: float, at: tuple[float, float]) -> list[Image]:
        images = []
        for i, (across, heading_noise) in enumerate(noise):
            ahead = 10.0 * i - 100.0
            bearing, metres = np.degrees(np.arctan2(across, ahead)) + turn, float(np.hypot(ahead, across))
            lon, lat = destination(*at, bearing, metres)
            heading = 170.0 if i == 7 else 8.0 + heading_noise
            images.append(photo(i, gps=Pose("gps", lon, lat, heading_deg=(heading + turn) % 360.0)))
        return images

    (here, here_rejected), (there, there_rejected) = (
        trusted_poses(world(0.0, (10.0, 60.0))),
        trusted_poses(world(turn_deg, centre)),
    )
    assert [one.image_id for one in here_rejected] == [one.image_id for one in there_rejected] == ["p7"]
    for image_id, one in here.items():
        other = there[image_id]
        assert other.pose.heading_deg is not None and one.pose.heading_deg is not None
        assert abs(wrap_deg(other.pose.heading_deg - one.pose.heading_deg - turn_deg)) < 0.1
        assert other.sigma_m == pytest.approx(one.sigma_m, rel=0.01)
        assert other.heading_sigma_deg == pytest.approx(one.heading_sigma_deg, rel=0.02)
