"""A camera without a focal length gets one from its name, its likes, or what it saw; and an error that is true."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from kryss.model import Box, Detection, Image, Pose
from kryss.positioning.focal import _table, calibrated, touched_sequences, usual_focal
from kryss.positioning.poses import trusted_poses


def bare(image: Image) -> Image:
    return replace(image, camera_parameters=None)


def seen(
    street: ModuleType, images: Sequence[Image], things: Sequence[object], focal: float, noise: float = 0.0
) -> dict[str, list[Detection]]:
    """Boxes of things in photos of a camera of this focal length."""
    rng = np.random.default_rng(2)
    found: dict[str, list[Detection]] = defaultdict(list)
    for image in images:
        true = replace(image, camera_parameters=(focal, 0.0, 0.0))
        for k, thing in enumerate(things):
            if (box := street.box_of(true, thing)) is not None:
                left, top, right, bottom = np.array(box) + rng.normal(0, noise, 4)
                found[image.id].append(Detection(image.id, "m@1", k, thing.class_name, 0.9, (left, top, right, bottom)))  # type: ignore[attr-defined]
    return found


SIGNS = (
    "regulatory--maximum-speed-limit-50--g1",
    "warning--traffic-signals--g1",
    "regulatory--stop--g1",
    "regulatory--yield--g1",
)


def along_the_road(street: ModuleType) -> list[object]:
    return [street.Thing(name, 4.0 if k % 2 else -4.0, 25.0 * k - 30.0) for k, name in enumerate(SIGNS)]


@pytest.mark.parametrize("focal", [0.6, 0.85, 1.1])
def test_signs_that_grow_as_the_camera_comes_closer_tell_the_focal_length(street: ModuleType, focal: float) -> None:
    images = [bare(one) for one in street.drive("d", photos=22)]
    lenses = calibrated(
        {one.id: one for one in images}, seen(street, images, along_the_road(street), focal, 1.0), street.trusted(images)
    )
    assert len(lenses) == 22 and len({one.sigma for one in lenses.values()}) == 1
    lens = lenses["d-0"]
    assert lens.image.camera_parameters is not None
    assert lens.source.startswith("views of 4 signs")
    assert lens.sigma < 0.15
    assert abs(math.log(lens.image.camera_parameters[0] / focal)) < 2 * lens.sigma


def grown(box: Box, share: float) -> Box:
    """The box larger by a share of its height on each side."""
    edge = share * (box[3] - box[1])
    return box[0] - edge, box[1] - edge, box[2] + edge, box[3] + edge


def test_a_turning_camera_needs_no_known_size(street: ModuleType) -> None:
    images = [street.photo(f"p{i}", 0.0, -40.0 + 2.0 * i, 12.0 * math.sin(i * 1.3)) for i in range(12)]
    boxes = seen(street, [bare(one) for one in images], [street.Thing(SIGNS[0], 2.0, 10.0)], 0.6)
    larger = {key: [replace(one, box=grown(one.box, 0.1)) for one in row] for key, row in boxes.items()}
    images = [bare(one) for one in images]
    lens = calibrated({one.id: one for one in images}, larger, street.trusted(images))["p0"]
    assert lens.image.camera_parameters is not None
    assert abs(math.log(lens.image.camera_parameters[0] / 0.6)) < 0.1


def test_photos_of_the_same_camera_that_are_calibrated_lend_their_focal_length(street: ModuleType) -> None:
    known = [
        replace(one, make="Maker", model="Dash 3", camera_parameters=(0.61 + 0.001 * i, 0.0, 0.0))
        for i, one in enumerate(street.drive("k", photos=5))
    ]
    unknown = [replace(bare(one), make="MAKER ", model="dash 3") for one in street.drive("u", photos=3)]
    other = [replace(bare(one), make="Maker", model="Dash 4") for one in street.drive("o", photos=3)]
    images = {one.id: one for one in known + unknown + other}
    lenses = calibrated(images, {}, street.trusted(list(images.values())))
    assert set(lenses) == {one.id for one in unknown + other}
    assert lenses["u-0"].image.camera_parameters == pytest.approx((0.612, 0.0, 0.0))
    assert 0.02 < lenses["u-0"].sigma < 0.05
    assert (lenses["o-0"].image.camera_parameters, lenses["o-0"].sigma) == ((0.85, 0.0, 0.0), 0.20)


def test_a_make_has_a_usual_focal_length_and_an_unknown_camera_the_default(street: ModuleType) -> None:
    image = bare(street.photo("p", 0.0, 0.0))
    assert usual_focal(image)[:2] == (0.85, 0.20)
    focal, sigma, source = usual_focal(replace(image, make="GoPro", model="HERO8 Black", camera_type="fisheye"))
    assert (focal, sigma) == (0.48, 0.15) and source.startswith("M: ")
    assert usual_focal(replace(image, make="Apple", model="iPhone 13"))[0] == 0.75


def test_every_row_of_the_table_says_where_it_is_from() -> None:
    assert all(row["source"] and 0.2 < float(row["focal"]) < 1.5 and float(row["sigma"]) >= 0.1 for row in _table())


def test_calibrated_photos_and_panoramas_are_left_alone(street: ModuleType) -> None:
    images = {"p": street.photo("p", 0.0, 0.0), "s": replace(bare(street.photo("s", 0.0, 0.0)), camera_type="spherical")}
    assert calibrated(images, {}, street.trusted(list(images.values()))) == {}


def test_the_order_of_photos_does_not_matter(street: ModuleType) -> None:
    images = [bare(one) for one in street.drive("d", photos=22)]
    boxes, poses = seen(street, images, along_the_road(street), 0.7, 1.0), street.trusted(images)
    assert calibrated({one.id: one for one in images}, boxes, poses) == calibrated(
        {one.id: one for one in images[::-1]}, {key: boxes[key][::-1] for key in reversed(list(boxes))}, poses
    )


def test_a_thing_that_does_not_stand_still_is_left_out_of_the_fit(street: ModuleType) -> None:
    images = [bare(one) for one in street.drive("d", photos=22)]
    boxes = seen(street, images, along_the_road(street), 0.6, 1.0)
    fast = defaultdict(list, {key: list(row) for key, row in boxes.items()})
    for i, image in enumerate(images[:8]):
        left, size = 300.0 + 70.0 * i, 20.0 * 1.5**i
        fast[image.id].append(
            Detection(image.id, "m@1", 9, "regulatory--no-entry--g1", 0.9, (left, 400, left + size, 400 + size))
        )
    poses = street.trusted(images)
    with_it, without = (calibrated({one.id: one for one in images}, rows, poses)["d-0"] for rows in (fast, boxes))
    assert with_it.image.camera_parameters == pytest.approx(without.image.camera_parameters, rel=0.01)


def test_signs_that_stay_as_large_tell_nothing(street: ModuleType) -> None:
    images = [bare(one) for one in street.drive("d", photos=6)]
    boxes = {one.id: [Detection(one.id, "m@1", 0, SIGNS[0], 0.9, (600, 400, 640, 440))] for one in images}
    lens = calibrated({one.id: one for one in images}, boxes, street.trusted(images))["d-0"]
    assert (lens.image.camera_parameters, lens.sigma) == ((0.85, 0.0, 0.0), 0.20)


@pytest.mark.real
def test_two_signs_of_damasen_leave_the_focal_length_of_its_road_camera_open(shared_data: Path) -> None:
    folder = shared_data / "area-damasen"
    images = {}
    for line in (folder / "images.jsonl").read_text().splitlines():
        row = json.loads(line)
        sfm = Pose("sfm", *row["computed_geometry"]["coordinates"], heading_deg=row["computed_compass_angle"])
        at = datetime.fromtimestamp(row["captured_at"] / 1000, UTC)
        images[row["id"]] = Image(row["id"], "q", at, row["width"], row["height"], None, sfm)
    names = {"speed limit 50": SIGNS[0], "priority road": "regulatory--priority-road--g1"}
    boxes: dict[str, list[Detection]] = defaultdict(list)
    for k, one in enumerate(json.loads((folder / "boxes_by_eye.json").read_text())):
        if one["label"] in names:
            boxes[one["image_id"]].append(
                Detection(one["image_id"], "eye@1", k, names[one["label"]], 1.0, tuple(one["box_ltrb"]))
            )
    lenses = calibrated(images, boxes, trusted_poses(images.values())[0])
    (focal,) = {one.image.camera_parameters[0] for one in lenses.values() if one.image.camera_parameters}
    assert 0.7 < focal < 1.0
    assert min(one.sigma for one in lenses.values()) >= 0.15


def test_photos_touch_their_own_sequence_and_those_whose_cameras_they_calibrate(street: ModuleType) -> None:
    dash, phone = {"make": "Kryss", "model": "Dash"}, {"make": "Kryss", "model": "Phone"}
    arrived = [replace(one, **dash) for one in street.drive("new", photos=2)]
    known = [
        replace(bare(street.photo("1", 0, 0, sequence="same camera, uncalibrated")), **dash),
        replace(street.photo("2", 0, 0, sequence="same camera, calibrated"), **dash),
        replace(bare(street.photo("3", 0, 0, sequence="another camera, uncalibrated")), **phone),
    ]
    assert touched_sequences(arrived, [*arrived, *known]) == {"new", "same camera, uncalibrated"}
    assert touched_sequences([bare(one) for one in arrived], known) == {"new"}
    assert touched_sequences([], known) == set()
