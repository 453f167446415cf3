"""An entity becomes an Image, or a reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kryss.imagery.entity import MalformedImageError, parse_image
from kryss.model import Image, Pose

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "mapillary-responses" / "graph"
real_data = pytest.mark.skipif(not REAL.exists(), reason="no ../shared")

GOOD: dict[str, Any] = {
    "id": "123",
    "sequence": "abc",
    "captured_at": 1563721072184,
    "width": 4160,
    "height": 3120,
    "geometry": {"type": "Point", "coordinates": [10.5, 59.5]},
    "compass_angle": -10.0,
    "altitude": 12.5,
}
COMPUTED = {
    "computed_geometry": {"type": "Point", "coordinates": [10.51, 59.51]},
    "computed_compass_angle": 370.0,
    "computed_altitude": 50.0,
    "computed_rotation": [1.0, 2.0, 3.0],
}


def test_an_entity_without_the_optional_fields_is_an_image() -> None:
    assert parse_image(GOOD) == Image(
        id="123",
        sequence_id="abc",
        captured_at=datetime(2019, 7, 21, 14, 57, 52, 184000, tzinfo=UTC),
        width=4160,
        height=3120,
        gps=Pose("gps", 10.5, 59.5, 12.5, 350.0),
        sfm=None,
    )


def test_computed_fields_make_the_other_pose() -> None:
    assert parse_image(GOOD | COMPUTED).sfm == Pose("sfm", 10.51, 59.51, 50.0, 10.0, (1.0, 2.0, 3.0))


REASONS: list[tuple[dict[str, Any], str]] = [
    ({"id": 123}, "id is 123"),
    ({"id": "../etc"}, "not a string of digits"),
    ({"sequence": None}, "sequence is None"),
    ({"captured_at": None}, "captured_at is missing"),
    ({"captured_at": "2019-07-21"}, "not milliseconds"),
    ({"captured_at": 1563721072}, "outside 1980 to 2100"),
    ({"captured_at": float("nan")}, "not milliseconds"),
    ({"width": 0}, "width is 0"),
    ({"height": None}, "height is None"),
    ({"height": -5}, "height is -5"),
    ({"width": True}, "width is True"),
    ({"geometry": None}, "geometry is missing"),
    ({"geometry": {"type": "Point", "coordinates": [float("nan"), 1]}}, "two finite numbers"),
    ({"geometry": {"type": "Point", "coordinates": [10, 91]}}, "outside the globe"),
    ({"geometry": {"type": "Point", "coordinates": [181, 1]}}, "outside the globe"),
    ({"geometry": {"type": "Point", "coordinates": [10]}}, "two finite numbers"),
    ({"geometry": [10, 59]}, "two finite numbers"),
]


@pytest.mark.parametrize(("change", "reason"), REASONS)
def test_a_malformed_entity_has_a_reason(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(MalformedImageError, match=reason):
        parse_image(GOOD | change)


@pytest.mark.parametrize("entity", [None, [], "x", 5])
def test_what_is_no_object_has_a_reason(entity: Any) -> None:
    with pytest.raises(MalformedImageError, match="not an object"):
        parse_image(entity)


def test_one_good_position_is_enough() -> None:
    image = parse_image(GOOD | COMPUTED | {"geometry": {"type": "Point", "coordinates": [10, 99]}})
    assert image.gps is None and image.sfm is not None
    image = parse_image(GOOD | COMPUTED | {"computed_geometry": {"type": "Point", "coordinates": [float("inf"), 9]}})
    assert image.sfm is None and image.gps is not None


@pytest.mark.parametrize(
    ("value", "parameters"),
    [
        ([0.85, 0, 0], (0.85, 0.0, 0.0)),
        ([0.85], (0.85, 0.0, 0.0)),
        ([0.85, 0.1], (0.85, 0.1, 0.0)),
        ([0.85, 0.1, 0.2, 0.3], (0.85, 0.1, 0.2)),
        ([], None),
        (None, None),
        ([0, 0, 0], None),
        ([float("nan"), 0, 0], None),
    ],
)
def test_camera_parameters_are_padded_or_absent(value: Any, parameters: Any) -> None:
    assert parse_image(GOOD | {"camera_parameters": value}).camera_parameters == parameters


@pytest.mark.parametrize(
    ("fields", "camera_type"),
    [
        ({"camera_type": "equirectangular", "is_pano": True}, "spherical"),
        ({"camera_type": "spherical"}, "spherical"),
        ({"camera_type": "fisheye"}, "fisheye"),
        ({"camera_type": "brown"}, "perspective"),
        ({"is_pano": True}, "spherical"),
        ({}, "perspective"),
    ],
)
def test_camera_types_are_three(fields: dict[str, Any], camera_type: str) -> None:
    assert parse_image(GOOD | fields).camera_type == camera_type


@pytest.mark.parametrize(("value", "orientation"), [(6, 6), (8, 8), (0, 1), (9, 1), ("6", 1), (None, 1)])
def test_an_orientation_that_exif_does_not_know_is_none(value: Any, orientation: int) -> None:
    assert parse_image(GOOD | {"exif_orientation": value}).exif_orientation == orientation


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted({**GOOD, **COMPUTED, "camera_parameters": 0, "creator": 0})), json_values))
def test_no_entity_whatever_raises_anything_else(changes: dict[str, Any]) -> None:
    try:
        image = parse_image(GOOD | COMPUTED | changes)
    except MalformedImageError:
        return
    assert image.gps or image.sfm


@real_data
@pytest.mark.real
def test_recorded_images_are_read() -> None:
    listed = json.loads((REAL / "image_ids" / "7nfcwfvjdtphz7yj6zat6a.json").read_text())["data"]
    images = [parse_image(json.loads((REAL / f"{row['id']}.json").read_text())) for row in listed]
    assert len(images) == 8
    assert {image.sequence_id for image in images} == {"7nfcwfvjdtphz7yj6zat6a"}
    assert all(image.gps and image.sfm and image.sfm.rotation and image.camera_parameters for image in images)
    assert (images[0].width, images[0].height) == (4160, 3120)
