"""A box becomes a bearing, a range and an error that tells the truth."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kryss.model import Detection, Image, Pose, Sighting
from kryss.positioning.frame import destination, distance_m, wrap_deg
from kryss.positioning.place import FARTHEST_M, place, place_one
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
    assert np.hypot(there[0] - x, there[1] - y) < 0.04 * range_m


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
        ((600, 400, 610, 410), "regulatory--stop--g1", "box too small"),
        ((0, 0, 60, 60), "regulatory--stop--g1", "box cut off by the border"),
        ((0, 400, 10, 460), "regulatory--stop--g1", "box cut off by the border"),
        ((600, 0, 660, 15), "regulatory--stop--g1", "box cut off by the border"),
        ((600, 0, 660, 960), "regulatory--stop--g1", "box cut off by the border"),
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


def test_a_sign_of_no_known_size_keeps_its_bearing_at_a_range_that_says_little(street: ModuleType) -> None:
    image = street.photo("p", 0.0, 0.0)
    box = (800, 400, 860, 440)
    poses = street.trusted([image])
    unknown = place_one(image, poses["p"], Detection("p", "m@1", 0, "information--general-directions--g1", 0.9, box))
    known = place_one(image, poses["p"], Detection("p", "m@1", 0, street.SIGN, 0.9, box))
    assert isinstance(unknown, Sighting) and isinstance(known, Sighting)
    assert unknown.method == "prior"
    assert unknown.bearing_deg == pytest.approx(known.bearing_deg)
    assert unknown.range_sigma_m > 0.6 * unknown.range_m
    along = np.linalg.eigvalsh([[unknown.covariance[0], unknown.covariance[1]], [unknown.covariance[1], unknown.covariance[2]]])
    assert along[1] > 100 * along[0]


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
@pytest.mark.parametrize("seen_share", [0.4, 0.6, 0.9])
def test_a_box_that_the_border_cuts_still_says_where_its_sign_is(street: ModuleType, side: str, seen_share: float) -> None:
    image = street.photo("p", 0.0, 0.0)
    size, gone = 80.0, 80.0 * (1.0 - seen_share)
    left, top = {"left": (-gone, 400.0), "right": (1200.0 + gone, 400.0), "top": (700.0, -gone), "bottom": (700.0, 880.0 + gone)}[
        side
    ]
    whole = (left, top, left + size, top + size)
    given = (max(left, 0.0), max(top, 0.0), min(left + size, 1280.0), min(top + size, 960.0))
    wide = replace(image, width=4000, height=4000, camera_parameters=(0.85 * 1280 / 4000, 0.0, 0.0))
    shift_x, shift_y = (4000 - 1280) / 2, (4000 - 960) / 2
    shifted = (whole[0] + shift_x, whole[1] + shift_y, whole[2] + shift_x, whole[3] + shift_y)
    flat = replace(image, camera_parameters=(0.85, 0.0, 0.0))
    poses = street.trusted([image])
    by_size = frozenset({"known-size"})
    ((cut,), _), ((full,), _) = (
        place({"p": photo}, [Detection("p", "m@1", 0, street.SIGN, 0.9, box)], poses, sources=by_size)
        for photo, box in ((flat, given), (wide, shifted))
    )
    assert (cut.method, full.method) == ("known-size-cut", "known-size")
    assert cut.bearing_deg == pytest.approx(full.bearing_deg, abs=0.1)
    assert cut.range_m == pytest.approx(full.range_m, rel=0.1)
    assert cut.range_sigma_m > full.range_sigma_m
    assert cut.height_m is not None and full.height_m is not None and cut.height_sigma_m is not None
    assert abs(cut.height_m - full.height_m) < cut.height_sigma_m
    if side in ("left", "right"):
        assert cut.bearing_sigma_deg > full.bearing_sigma_deg


def test_the_parts_of_the_range_error_make_up_the_whole(street: ModuleType) -> None:
    placed = seen(street, street.Thing(street.SIGN, 3.0, 25.0))
    own = placed.range_sigma_m**2 - placed.range_shared_sigma_m**2 - placed.range_sequence_sigma_m**2
    assert own > 0
    assert placed.range_shared_sigma_m > placed.range_sequence_sigma_m > 0


def test_the_height_above_the_road_is_that_of_the_thing(street: ModuleType) -> None:
    for up in (1.0, 2.4, 3.4):
        placed = seen(street, street.Thing(street.SIGN, 2.0, 15.0, up_m=up))
        assert placed.height_m is not None and placed.height_sigma_m is not None
        assert placed.height_m == pytest.approx(up, abs=0.1)
        assert 0.5 < placed.height_sigma_m < 0.8


def test_heights_of_many_signs_settle_the_height_of_the_camera(street: ModuleType) -> None:
    images = street.drive("d", photos=40)
    things = [street.Thing(street.SIGN, 4.0, y, up_m=up) for y, up in zip(range(-30, 200, 30), (2.2, 1.9, 2.5) * 3, strict=False)]
    low = [place_at(street, images, [replace(thing, up_m=thing.up_m - lift) for thing in things]) for lift in (0.0, 0.9)]
    for lift, heights in zip((0.0, 0.9), low, strict=True):
        # Seen from 0.9 m lower, signs of usual height are 0.9 m lower against the horizon: the camera is that much higher.
        assert np.mean([h for h, _ in heights]) == pytest.approx(2.2, abs=0.25), lift


def place_at(street: ModuleType, images: list[Image], things: list[object]) -> list[tuple[float, float]]:
    """Heights and their errors of all sightings of things along a drive."""
    detections = [
        Detection(image.id, "m@1", k, thing.class_name, 0.9, box)  # type: ignore[attr-defined]
        for image in images
        for k, thing in enumerate(things)
        if (box := street.box_of(image, thing)) is not None
    ]
    placed, _ = place({one.id: one for one in images}, detections, street.trusted(images))
    return [(one.height_m, one.height_sigma_m) for one in placed if one.height_m is not None and one.height_sigma_m is not None]


def test_a_source_that_is_left_out_is_not_used(street: ModuleType) -> None:
    image = street.photo("p", 0.0, 0.0)
    box = street.box_of(image, street.Thing(street.SIGN, 3.0, 15.0))
    detections = [Detection("p", "m@1", 0, street.SIGN, 0.9, box)]
    (bare,), _ = place({"p": image}, detections, street.trusted([image]), sources=frozenset())
    (sized,), _ = place({"p": image}, detections, street.trusted([image]), sources=frozenset({"known-size"}))
    assert (bare.method, sized.method) == ("prior", "known-size")
    assert bare.bearing_deg == sized.bearing_deg


edges = st.one_of(st.floats(), st.floats(-100, 1400))


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(edges, edges, edges, edges),
    st.sampled_from(["regulatory--stop--g1", LIGHT, "information--general-directions--g1"]),
    st.sampled_from(["perspective", "fisheye", "spherical"]),
    st.one_of(st.none(), st.floats()),
    st.sampled_from([(10.4, 63.4), (180.0, -89.0), (-180.0, 0.0), (25.0, 89.0)]),
    st.sampled_from([(0, 0), (1280, 960)]),
)
def test_any_box_is_placed_within_the_gate_or_has_a_reason(
    street: ModuleType,
    box: tuple[float, float, float, float],
    class_name: str,
    kind: str,
    depth: float | None,
    at: tuple[float, float],
    size: tuple[int, int],
) -> None:
    image = replace(street.photo("p", 0.0, 0.0), width=size[0], height=size[1], camera_type=kind)
    trusted = TrustedPose("p", Pose("gps", *at, heading_deg=30.0), 3.0, 6.0)
    placed = place_one(image, trusted, Detection("p", "m@1", 0, class_name, 0.9, box, depth))
    if isinstance(placed, str):
        assert placed
        return
    numbers = (placed.lon, placed.lat, placed.bearing_deg, placed.range_m, placed.range_sigma_m, *placed.covariance)
    assert np.isfinite([*numbers, placed.height_m, placed.height_sigma_m]).all()
    assert placed.range_m <= FARTHEST_M
    assert distance_m(placed.lon, placed.lat, *at) <= FARTHEST_M + 0.01


def turned(image: Image, turn_deg: float, centre: tuple[float, float]) -> tuple[Image, TrustedPose]:
    """The photo in a world that is turned about a centre."""
    assert image.sfm is not None
    lon, lat = destination(*centre, turn_deg, 50.0)
    return image, TrustedPose(image.id, Pose("gps", lon, lat, heading_deg=(20.0 + turn_deg) % 360.0), 1.0, 2.0)


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 360), st.floats(300, 900), st.floats(200, 600), st.floats(20, 120))
def test_turning_the_world_turns_the_answer(street: ModuleType, turn_deg: float, left: float, top: float, size: float) -> None:
    detection = Detection("p", "m@1", 0, street.SIGN, 0.9, (left, top, left + size, top + size))
    image, here = turned(street.photo("p", 0.0, 0.0), 0.0, (10.4, 63.4))
    _, there = turned(image, turn_deg, (10.4, 63.4))
    a, b = place_one(image, here, detection), place_one(image, there, detection)
    assert isinstance(a, Sighting) and isinstance(b, Sighting)
    assert b.range_m == pytest.approx(a.range_m, rel=1e-9)
    assert abs(wrap_deg(b.bearing_deg - a.bearing_deg - turn_deg)) < 1e-6
    assert sum(a.covariance[::2]) == pytest.approx(sum(b.covariance[::2]), rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.floats(100, 1000), st.floats(200, 600), st.floats(20, 120))
def test_mirroring_the_photo_mirrors_the_answer(street: ModuleType, left: float, top: float, size: float) -> None:
    image = street.photo("p", 0.0, 0.0)
    poses = street.trusted([image])
    boxes = ((left, top, left + size, top + size), (1280 - left - size, top, 1280 - left, top + size))
    a, b = (place_one(image, poses["p"], Detection("p", "m@1", 0, street.SIGN, 0.9, box)) for box in boxes)
    assert isinstance(a, Sighting) and isinstance(b, Sighting)
    assert b.range_m == pytest.approx(a.range_m, rel=1e-6)
    assert abs(wrap_deg(a.bearing_deg + b.bearing_deg)) < 1e-4


def test_the_order_of_detections_does_not_matter(street: ModuleType) -> None:
    images = {one.id: one for one in street.drive("d")}
    things = [street.Thing(street.SIGN, 4.0, 0.0), street.Thing(LIGHT, -4.0, 3.0, up_m=5.6)]
    detections = [
        Detection(image.id, "m@1", k, thing.class_name, 0.9, box, 7.0 + k)
        for image in images.values()
        for k, thing in enumerate(things)
        if (box := street.box_of(image, thing)) is not None
    ]
    poses = street.trusted(list(images.values()))
    assert place(images, detections, poses) == place(dict(reversed(images.items())), detections[::-1], poses)
