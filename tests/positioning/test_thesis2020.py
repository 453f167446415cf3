"""The baseline is the published formula, worked out by hand, and says what it cannot do."""

from __future__ import annotations

import math
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kryss.model import Detection
from kryss.positioning.frame import GEOD
from kryss.positioning.thesis2020 import Located, direction_and_distance, locate, place

SIGN, LIGHT = "regulatory--stop--g1", "object--traffic-light--general-upright"


def test_a_sign_right_of_the_middle_worked_out_by_hand() -> None:
    # l = 1000 / 2 = 500; x = 300, y = 0: d = 400. mpp = 0.6 / 60 = 0.01: X = 3, D' = 4, L = 5; a = atan(3 / 4).
    found = direction_and_distance(SIGN, (770, 440, 830, 500), (1000, 1000), 2.0)
    assert found == pytest.approx((36.8698976, 5.0))


def test_a_light_below_the_middle_worked_out_by_hand() -> None:
    # l = 2600 / 2 = 1300; x = 0, y = 500: d = 1200. mpp_x = 0.23 / 46 = 0.005, mpp_y = 0.69 / 69 = 0.01.
    # D' = 6, X = 0, Y = 5: L = sqrt(61).
    found = direction_and_distance(LIGHT, (1277, 1181, 1323, 1250), (2600, 1500), 2.0)
    assert found == pytest.approx((0.0, math.sqrt(61.0)))


def test_the_distance_is_laid_off_from_the_camera_in_the_direction_of_heading_and_angle() -> None:
    placed = locate(SIGN, (770, 440, 830, 500), (1000, 1000), 2.0, 350.0, (10.4, 63.4))
    assert isinstance(placed, Located)
    assert (placed.bearing_deg, placed.distance_m) == pytest.approx((26.8698976, 5.0))
    bearing, _, metres = GEOD.inv(10.4, 63.4, placed.lon, placed.lat)
    assert (bearing, metres) == pytest.approx((26.8698976, 5.0), abs=1e-6)


def test_each_detection_is_placed_by_itself_and_those_without_depth_are_left_out(street: ModuleType) -> None:
    image = street.photo("p", 0.0, 0.0, heading_deg=350.0)
    boxes = [Detection("p", "m@1", k, SIGN, 0.9, (500, 400, 560, 460), depth) for k, depth in enumerate((2.0, None))]
    (placed,) = place({"p": image}, boxes, street.trusted([image]))
    expected = locate(SIGN, boxes[0].box, (1280, 960), 2.0, 350.0, (image.sfm.lon, image.sfm.lat))
    assert isinstance(expected, Located)
    assert (placed.image_id, placed.ordinal, placed.class_name) == ("p", 0, SIGN)
    assert (placed.lon, placed.lat) == pytest.approx((expected.lon, expected.lat), abs=1e-9)


@pytest.mark.parametrize(
    ("box", "depth", "heading", "camera", "reason"),
    [
        ((970, 440, 1000, 500), 4.0, 0.0, (10.4, 63.4), "box lies outside the sphere of its depth"),
        ((770, 440, 830, 500), None, 0.0, (10.4, 63.4), "no depth"),
        ((770, 440, 830, 500), float("nan"), 0.0, (10.4, 63.4), "no depth"),
        ((770, 440, 830, 500), -1.0, 0.0, (10.4, 63.4), "no depth"),
        ((770, 440, 770, 500), 2.0, 0.0, (10.4, 63.4), "box is empty"),
        ((770, 440, 830, 500), 2.0, float("nan"), (10.4, 63.4), "heading is nan"),
        ((770, 440, 830, 500), 2.0, 0.0, (0.0, 0.0), "camera stands nowhere: lon 0.0, lat 0.0"),
    ],
)
def test_what_the_formula_cannot_do_is_said(
    box: tuple[float, float, float, float], depth: float | None, heading: float, camera: tuple[float, float], reason: str
) -> None:
    assert locate(SIGN, box, (1000, 1000), depth, heading, camera) == reason


@given(st.tuples(*[st.floats()] * 4), st.one_of(st.none(), st.floats()), st.floats())
def test_any_numbers_give_a_finite_place_or_a_reason(
    box: tuple[float, float, float, float], depth: float | None, heading: float
) -> None:
    placed = locate(LIGHT, box, (1280, 960), depth, heading, (10.4, 63.4))
    if isinstance(placed, Located):
        assert all(math.isfinite(value) for value in (placed.bearing_deg, placed.distance_m, placed.lon, placed.lat))
