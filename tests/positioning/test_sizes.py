"""Sizes are looked up by full class, then shape, then region, and every row says where it is from."""

from __future__ import annotations

import pytest

from kryss.positioning.sizes import _rows, object_size, shape_of


@pytest.mark.parametrize(
    ("class_name", "region", "height_m", "width_m"),
    [
        ("regulatory--maximum-speed-limit-50--g1", "eu", 0.60, 0.60),
        ("regulatory--maximum-speed-limit-50--g3", "us", 0.75, 0.60),
        ("regulatory--priority-road--g1", "eu", 0.85, 0.85),
        ("regulatory--yield--g1", "eu", 0.78, 0.90),
        ("regulatory--stop--g1", "eu", 0.80, 0.80),
        ("regulatory--stop--g1", "us", 0.75, 0.75),
        ("warning--traffic-signals--g1", "eu", 0.78, 0.90),
        ("regulatory--turn-left--g1", "eu", 0.60, 0.60),
        ("information--pedestrians-crossing--g1", "eu", 0.60, 0.60),
        ("object--traffic-light--general-upright", "eu", 0.90, 0.30),
        ("object--traffic-light--general-upright", "us", 1.07, 0.34),
        ("regulatory--priority-road--g4", "eu", 0.85, 0.85),
    ],
)
def test_usual_sizes(class_name: str, region: str, height_m: float, width_m: float) -> None:
    size = object_size(class_name, region)
    assert size is not None
    assert (size.height_m, size.width_m) == (height_m, width_m)


def test_the_appearance_group_decides_the_shape() -> None:
    first, second = shape_of("regulatory--priority-road--g1"), shape_of("regulatory--priority-road--g2")
    assert first is not None and second is not None
    assert (first.name, second.name) == ("diamond", "square")


@pytest.mark.parametrize("class_name", ["information--general-directions--g1", "other-sign", "object--bench"])
def test_what_has_no_usual_size_has_none(class_name: str) -> None:
    assert object_size(class_name) is None


def test_every_row_says_where_it_is_from() -> None:
    assert all(row["source"] for row in _rows("sign_sizes.csv"))
