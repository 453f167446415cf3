"""Each source of range tells how far and how sure; together they are surer, and none is preferred."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from kryss.model import Detection, Image, Sighting
from kryss.positioning.boxes import View, views
from kryss.positioning.camera import world_to_camera
from kryss.positioning.place import place
from kryss.positioning.ranges import (
    ALL_SOURCES,
    Range,
    Rig,
    combined,
    depth_range,
    ground_range,
    known_size_range,
    prior_range,
    rig_of,
)
from kryss.positioning.sizes import extents, mountings, object_size

LIGHT = "object--traffic-light--general-upright"
UNKNOWN = "information--general-directions--g1"
KNOWN_RIG = Rig(1.6, 0.0, np.diag([0.1**2, 0.005**2]))


def view_of(street: ModuleType, thing: object, image: Image | None = None, depth: float | None = None) -> View:
    photo = image or street.photo("p", 0.0, 0.0)
    detection = Detection(photo.id, "m@1", 0, thing.class_name, 0.9, street.box_of(photo, thing), depth)  # type: ignore[attr-defined]
    (view,) = views(photo, street.trusted([photo])[photo.id], [detection], "eu", 0.0)
    assert isinstance(view, View), view
    return view


parts = st.floats(0.01, 0.5)
a_range = st.builds(Range, st.floats(2, 70), parts, parts, parts, st.just("some"))


@given(st.lists(a_range, min_size=2, max_size=4), st.floats(0, 0.2))
def test_what_is_combined_lies_between_its_sources_in_any_order(ranges: list[Range], focal: float) -> None:
    one, other = combined(ranges, focal), combined(ranges[::-1], focal)
    assert min(r.metres for r in ranges) * 0.999 <= one.metres <= max(r.metres for r in ranges) * 1.001
    assert (one.metres, one.sigma) == pytest.approx((other.metres, other.sigma))
    assert one.sequence_sigma >= focal


@given(a_range, parts, parts, parts)
def test_a_source_that_agrees_never_widens_the_range(one: Range, shared: float, own: float, sequence: float) -> None:
    agreeing = Range(one.metres, shared, own, sequence, "other")
    assert combined([one, agreeing], 0.05).sigma <= combined([one], 0.05).sigma + 1e-12


def test_the_surer_source_counts_by_its_variance() -> None:
    found = combined([Range(20.0, 0.0, 0.1, 0.0, "a"), Range(20.0 * math.exp(0.15), 0.0, 0.2, 0.0, "b")], 0.0)
    assert math.log(found.metres / 20.0) == pytest.approx(0.15 / 5)
    assert found.own_sigma == pytest.approx(0.1 * 0.2 / math.hypot(0.1, 0.2))
    assert found.method == "a+b"


def test_sources_that_contradict_each_other_widen_the_range() -> None:
    agreeing = combined([Range(20.0, 0.0, 0.1, 0.0, "a"), Range(20.0, 0.0, 0.1, 0.0, "b")], 0.0)
    contrary = combined([Range(15.0, 0.0, 0.1, 0.0, "a"), Range(30.0, 0.0, 0.1, 0.0, "b")], 0.0)
    assert contrary.sigma > 3 * agreeing.sigma


@pytest.mark.parametrize("roll_deg", [-40.0, -15.0, 0.0, 15.0, 40.0])
@pytest.mark.parametrize(
    "class_name", ["regulatory--stop--g1", "information--pedestrians-crossing--g1", "regulatory--priority-road--g1"]
)
def test_a_camera_that_leans_measures_the_same_range(street: ModuleType, class_name: str, roll_deg: float) -> None:
    size = object_size(class_name)
    assert size is not None
    height_m, width_m = extents(class_name, size, math.radians(roll_deg))
    f, metres = 0.85 * 1280, 20.0
    middle_x, middle_y = 640.0, 480.0
    box = (
        middle_x - width_m / 2 * f / metres,
        middle_y - height_m / 2 * f / metres,
        middle_x + width_m / 2 * f / metres,
        middle_y + height_m / 2 * f / metres,
    )
    level = street.photo("p", 0.0, 0.0)
    leaning = Rotation.from_euler("z", roll_deg, degrees=True).as_matrix() @ world_to_camera(level, level.sfm)
    rotation = tuple(float(v) for v in Rotation.from_matrix(leaning).as_rotvec())
    photo = replace(level, camera_parameters=(0.85, 0.0, 0.0), sfm=replace(level.sfm, rotation=rotation))
    (view,) = views(photo, street.trusted([photo])["p"], [Detection("p", "m@1", 0, class_name, 0.9, box)], "eu", 0.0)
    assert isinstance(view, View)
    found = known_size_range(view)
    assert isinstance(found, Range)
    assert found.metres == pytest.approx(metres, rel=0.002)


def test_a_light_over_the_road_is_ranged_by_its_height(street: ModuleType) -> None:
    view = view_of(street, street.Thing(LIGHT, 2.0, 14.0, up_m=5.7))
    by_size = known_size_range(view)
    assert isinstance(by_size, Range)
    found = ground_range(view, KNOWN_RIG, by_size)
    assert isinstance(found, Range)
    assert found.metres == pytest.approx(math.hypot(2, 14), rel=0.05)
    assert found.shared_sigma == pytest.approx(0.8 / 4.1, rel=0.01)
    assert combined([by_size, found], 0.0).sigma < by_size.sigma


@pytest.mark.parametrize(
    ("thing", "sized", "reason"),
    [
        (("regulatory--maximum-speed-limit-50--g1", 2.2), True, "about as high as the camera"),
        (("regulatory--maximum-speed-limit-50--g1", 1.4), True, "on the wrong side of the horizon"),
        ((LIGHT, 5.7), False, "several usual heights"),
        ((LIGHT, 4.2), True, "several usual heights"),
    ],
)
def test_a_height_that_tells_no_range_is_refused(street: ModuleType, thing: tuple[str, float], sized: bool, reason: str) -> None:
    view = view_of(street, street.Thing(thing[0], 2.0, 25.0, up_m=thing[1]))
    by_size = known_size_range(view)
    assert isinstance(by_size, Range)
    assert ground_range(view, KNOWN_RIG, by_size if sized else None) == reason


def test_every_mounting_says_where_it_is_from() -> None:
    assert [one.height_m for one in mountings(LIGHT)] == [2.9, 5.7]
    assert mountings(UNKNOWN) == () and mountings("object--bench") == ()


def test_an_object_of_no_known_size_has_a_range_that_shrinks_as_the_camera_comes_closer(street: ModuleType) -> None:
    far, near = (
        views(photo, street.trusted([photo])["p"], [Detection("p", "m@1", 0, UNKNOWN, 0.9, box)], "eu", 0.0)[0]
        for photo, box in ((street.photo("p", 0, 0), (600, 400, 640, 440)), (street.photo("p", 0, 0), (600, 400, 680, 480)))
    )
    assert isinstance(far, View) and isinstance(near, View)
    a, b = prior_range(far), prior_range(near)
    assert a.metres / b.metres == pytest.approx(2.0, rel=0.01)
    assert a.shared_sigma == b.shared_sigma >= 0.6


def drive_with_depth(street: ModuleType, scale: float, noise: float, seed: int = 3) -> tuple[list[Image], list[Detection]]:
    """A drive past seven signs with depths along the optical axis in a unit of its own."""
    rng = np.random.default_rng(seed)
    images = street.drive("d", photos=30)
    detections = []
    for image in images:
        for k, y in enumerate(range(-30, 150, 30)):
            thing = street.Thing(street.SIGN, 4.0 if k % 2 else -4.0, float(y))
            if (box := street.box_of(image, thing)) is not None:
                ahead = y - street.metres(image.sfm.lon, image.sfm.lat)[1]
                depth = ahead / scale * math.exp(rng.normal(0, noise))
                detections.append(Detection(image.id, "m@1", k, thing.class_name, 0.9, box, depth))
    return images, detections


def sized(street: ModuleType, images: list[Image], detections: list[Detection]) -> list[tuple[View, Range]]:
    poses = street.trusted(images)
    found = []
    for image in images:
        here = [one for one in detections if one.image_id == image.id]
        for view in views(image, poses[image.id], here, "eu", 0.0):
            assert isinstance(view, View)
            by_size = known_size_range(view)
            assert isinstance(by_size, Range)
            found.append((view, by_size))
    return found


@pytest.mark.parametrize("scale", [0.3, 1.0, 40.0])
def test_depth_of_unknown_scale_takes_the_scale_of_its_sequence(street: ModuleType, scale: float) -> None:
    rows = sized(street, *drive_with_depth(street, scale, 0.1))
    rig = rig_of(rows)
    assert rig.depth is not None and rig.depth_beside_size
    for view, by_size in rows:
        found = depth_range(view, rig)
        assert isinstance(found, Range)
        assert abs(math.log(found.metres / by_size.metres)) < 4 * 0.15
        assert found.metres == pytest.approx(by_size.metres, rel=0.5)
        assert found.shared_sigma >= 0.1 and 0.1 < found.sequence_sigma < 0.25
    assert rig_of(rows[::-1]).depth == rig.depth


@pytest.mark.parametrize("fault", ["constant", "random", "few", "not finite"])
def test_a_depth_that_says_nothing_gives_no_range(street: ModuleType, fault: str) -> None:
    images, detections = drive_with_depth(street, 1.0, 2.0 if fault == "random" else 0.0)
    if fault == "constant":
        detections = [replace(one, depth=9.0) for one in detections]
    if fault == "not finite":
        values = (float("nan"), 0.0, -3.0, float("inf"), None)
        detections = [replace(one, depth=values[i % 5]) for i, one in enumerate(detections)]
    if fault == "few":
        detections = [one for one in detections if one.ordinal == 0]
    placed, _ = place({one.id: one for one in images}, detections, street.trusted(images))
    assert placed and not [one for one in placed if "depth" in one.method]


def blended(detections: list[Detection]) -> list[Detection]:
    """As of a network that puts every other sign too far by 50 %, and the others too near, the same in all photos of it."""
    return [replace(one, depth=(one.depth or 0.0) * (1.5 if one.ordinal % 2 else 1 / 1.5)) for one in detections]


def test_a_depth_that_errs_alike_in_all_photos_of_an_object_is_no_match_for_its_size(street: ModuleType) -> None:
    images, detections = drive_with_depth(street, 1.0, 0.05)
    rig = rig_of(sized(street, images, blended(detections)))
    assert rig.depth is not None and not rig.depth_beside_size
    assert rig.depth.object_sigma > 0.3 > 3 * rig.depth.own_sigma
    with_depth, _ = place({one.id: one for one in images}, blended(detections), street.trusted(images))
    without, _ = place({one.id: one for one in images}, detections, street.trusted(images), sources=ALL_SOURCES - {"depth"})
    assert with_depth == without


def test_a_depth_tells_the_range_of_what_has_no_usual_size(street: ModuleType) -> None:
    images, detections = drive_with_depth(street, 1.0, 0.05)
    ranges = {}
    for kind, boxes in (("good", detections), ("blended", blended(detections)), ("none", detections)):
        boxes = [replace(one, class_name=UNKNOWN) if one.ordinal == 3 else one for one in boxes]
        sources = ALL_SOURCES - {"depth"} if kind == "none" else ALL_SOURCES
        placed, _ = place({one.id: one for one in images}, boxes, street.trusted(images), sources=sources)
        ranges[kind] = [one for one in placed if one.class_name == UNKNOWN]
    true = {(one.image_id, one.ordinal): one.range_m for one in place_of_sizes(street, images, detections)}
    off = {k: [abs(math.log(one.range_m / true[one.image_id, one.ordinal])) for one in seen] for k, seen in ranges.items()}
    assert {one.method for one in ranges["good"]} == {"prior+depth"} and {one.method for one in ranges["none"]} == {"prior"}
    assert np.mean(off["good"]) < np.mean(off["none"])
    shared = {k: np.mean([one.range_shared_sigma_m / one.range_m for one in seen]) for k, seen in ranges.items()}
    assert shared["good"] < shared["blended"] < shared["none"]


def place_of_sizes(street: ModuleType, images: list[Image], detections: list[Detection]) -> list[Sighting]:
    """Ranges by known size alone, which are exact in these streets."""
    return place({one.id: one for one in images}, detections, street.trusted(images), sources=frozenset({"known-size"}))[0]


def test_a_depth_at_the_end_of_its_scale_gives_no_range(street: ModuleType) -> None:
    images, detections = drive_with_depth(street, 1.0, 0.02)
    capped = [replace(one, depth=min(one.depth or 0.0, 20.0)) for one in detections]
    placed, _ = place({one.id: one for one in images}, capped, street.trusted(images))
    by_key = {(one.image_id, one.ordinal): one.depth for one in capped}
    assert {one.method for one in placed if by_key[one.image_id, one.ordinal] == 20.0} == {"known-size"}
    assert any("depth" in one.method for one in placed)


def test_sequences_have_constants_of_their_own(street: ModuleType) -> None:
    images, detections = drive_with_depth(street, 1.0, 0.05)
    other = [replace(one, id=f"x{one.id}", sequence_id="x", captured_at=one.captured_at + timedelta(hours=1)) for one in images]
    half = [replace(one, image_id=f"x{one.image_id}", depth=(one.depth or 0.0) * 2) for one in detections]
    together, _ = place({one.id: one for one in images + other}, detections + half, street.trusted(images + other))
    ranges: dict[str, list[Sighting]] = {"d": [], "x": []}
    for one in together:
        ranges[one.sequence_id].append(one)
    assert [one.range_m for one in ranges["d"]] == pytest.approx([one.range_m for one in ranges["x"]], rel=1e-6)
