"""A box becomes a bearing, a range and an error that tells the truth."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kryss.model import Detection, Pose, Sighting
from kryss.positioning.place import place, place_one
from kryss.positioning.poses import TrustedPose

LIGHT = "object--traffic-light--general-upright"


def seen(street: ModuleType, thing: object, heading: float = 0.0, pitch: float = 0.0) -> Sighting:
    image = street.photo("p", 0.0, 0.0, heading, pitch_deg=pitch)
    box = street.box_of(image, thing)
    assert box is not None
    placed = place_one(image, street.trusted([image])["p"], Detection("p", "m@1", 0, thing.class_name, 0.9, box))  # type: ignore[attr-defined]
    assert isinstance(placed, Sighting), placed
    return placed


@settings(max_examples=60, deadline=None)
@given(st.floats(12, 45), st.floats(-18, 18), st.floats(-10, 10), st.floats(-6, 6), st.floats(0, 360))
def test_an_exact_box_gives_the_exact_place_however_the_camera_is_turned(
    street: ModuleType, range_m: float, off_deg: float, heading_off_deg: float, pitch_deg: float, world_deg: float
) -> None:
    bearing = np.radians(world_deg + off_deg)
    x, y = range_m * np.sin(bearing), range_m * np.cos(bearing)
    thing = street.Thing(street.SIGN, x, y, facing_deg=world_deg + 180)
    placed = seen(street, thing, world_deg + heading_off_deg, pitch_deg)
    there = street.metres(placed.lon, placed.lat)
    # A box is a little larger than the plate's middle line where perspective tilts it.
    assert np.hypot(there[0] - x, there[1] - y) < 0.03 * range_m


def test_a_light_is_measured_by_height_and_width(street: ModuleType) -> None:
    placed = seen(street, street.Thing(LIGHT, 3.0, 25.0, up_m=3.5))
    assert placed.range_m == pytest.approx(np.hypot(3, 25), rel=0.03)
    assert placed.range_sigma_m / placed.range_m < 0.25


def test_the_error_grows_with_range(street: ModuleType) -> None:
    near, far = (seen(street, street.Thing(street.SIGN, 2.0, y)) for y in (15.0, 40.0))
    assert sum(far.covariance[::2]) > 4 * sum(near.covariance[::2])
    assert far.range_sigma_m > near.range_sigma_m > 0.15 * near.range_m


def test_an_unknown_focal_length_widens_range_and_bearing(street: ModuleType) -> None:
    image = street.photo("p", 0.0, 0.0)
    detection = Detection("p", "m@1", 0, street.SIGN, 0.9, street.box_of(image, street.Thing(street.SIGN, 6.0, 20.0)))
    sigmas = []
    for parameters in ((0.85, 0.01, 0.0), None):
        known = replace(image, camera_parameters=parameters)
        placed = place_one(known, street.trusted([known])["p"], detection)
        assert isinstance(placed, Sighting)
        sigmas.append((placed.range_sigma_m / placed.range_m, placed.bearing_sigma_deg))
    assert sigmas[1][0] > 0.27 > 0.22 > sigmas[0][0]
    assert sigmas[1][1] > sigmas[0][1] + 1


@pytest.mark.parametrize(
    ("box", "class_name", "reason"),
    [
        ((600, 400, 640, 440), "information--general-directions--g1", "no known size"),
        ((600, 400, 610, 410), "regulatory--stop--g1", "box too small"),
        ((0, 400, 60, 460), "regulatory--stop--g1", "box cut off by the border"),
        ((600, 0, 660, 60), "regulatory--stop--g1", "box cut off by the border"),
        ((600, 400, 600, 460), "regulatory--stop--g1", "box is empty"),
        ((600, float("nan"), 660, 460), "regulatory--stop--g1", "box is empty"),
        ((640, 400, 652, 412.5), "warning--accident-area--g8", "too far"),
        ((100, 10, 1200, 950), "regulatory--stop--g1", "too near"),
    ],
)
def test_what_cannot_be_placed_is_counted_with_its_reason(
    street: ModuleType, box: tuple[float, float, float, float], class_name: str, reason: str
) -> None:
    image = street.photo("p", 0.0, 0.0)
    detections = [Detection("p", "m@1", 0, class_name, 0.9, box)]
    assert place({"p": image}, detections, street.trusted([image])) == ([], {reason: 1})


def test_a_photo_without_trusted_pose_places_nothing(street: ModuleType) -> None:
    image = street.photo("p", 0.0, 0.0)
    detections = [Detection("p", "m@1", 0, street.SIGN, 0.9, (600, 400, 640, 440))]
    assert place({"p": image}, detections, {}) == ([], {"no trusted pose": 1})


def test_a_sign_at_the_seam_of_a_panorama_is_placed_behind_the_camera(street: ModuleType) -> None:
    image = replace(street.photo("p", 0.0, 0.0), width=4000, height=2000, camera_type="spherical", camera_parameters=None)
    lon, lat = street.ORIGIN.to_lonlat((0.0, 0.0))[0]
    level = TrustedPose("p", Pose("sfm", lon, lat, heading_deg=0.0), 0.5, 1.0)
    placed = place_one(image, level, Detection("p", "m@1", 0, street.SIGN, 0.9, (3960.0, 960.0, 4000.0, 1000.0)))
    assert isinstance(placed, Sighting)
    assert placed.bearing_deg == pytest.approx(178.2, abs=0.1)
