"""The metric frame agrees with geodesics on the ellipsoid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kryss.positioning.frame import Frame, destination, frame_for, is_position, wrap_deg


@given(st.floats(-179, 179), st.floats(-70, 70), st.floats(-0.4, 0.4), st.floats(-0.4, 0.4), st.floats(0, 360))
def test_a_true_bearing_becomes_a_grid_bearing_by_the_convergence(
    lon: float, lat: float, dx: float, dy: float, bearing: float
) -> None:
    frame = Frame(lon, lat)
    camera = lon + dx, lat + dy
    end = destination(*camera, bearing, 100.0)
    (x0, y0), (x1, y1) = frame.to_xy([camera[0], end[0]], [camera[1], end[1]])
    grid = bearing - frame.convergence_deg(*camera)[0]
    assert abs(float(wrap_deg(np.degrees(np.arctan2(x1 - x0, y1 - y0)) - grid))) < 1e-4
    assert np.hypot(x1 - x0, y1 - y0) == pytest.approx(100.0, rel=5e-5)


@given(st.floats(-179.9, 179.9), st.floats(-80, 80), st.floats(-5000, 5000), st.floats(-5000, 5000))
def test_metres_come_back_as_they_went(lon: float, lat: float, x: float, y: float) -> None:
    frame = frame_for([lon], [lat])
    there = frame.to_lonlat((x, y))[0]
    assert frame.to_xy(*there)[0] == pytest.approx([x, y], abs=1e-6)


def test_the_antimeridian_runs_through_a_frame_without_harm() -> None:
    frame = frame_for([179.9999, -179.9999], [-17.0, -17.0])
    west, east = frame.to_xy([179.9999, -179.9999], [-17.0, -17.0])
    assert np.hypot(*(east - west)) == pytest.approx(21.3, abs=0.1)


def test_the_order_of_points_does_not_move_the_frame() -> None:
    assert frame_for([10.0, 10.3, 10.1], [60.0, 60.2, 60.1]) == frame_for([10.3, 10.1, 10.0], [60.2, 60.1, 60.0])


@pytest.mark.parametrize("spot", [(0.0, 0.0), (float("nan"), 60.0), (10.0, 91.0), (181.0, 60.0), (10.0, float("inf"))])
def test_a_point_that_no_camera_has_is_no_position(spot: tuple[float, float]) -> None:
    assert not is_position(*spot)
