"""Seven real photos whose raw GPS is frozen 14 km away, and a pole with signs that were boxed by eye."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kryss.model import Detection, FusedObject, Image, Pose
from kryss.positioning.frame import distance_m
from kryss.positioning.fuse import fuse
from kryss.positioning.place import place
from kryss.positioning.poses import trusted_poses

pytestmark = pytest.mark.real
PRIORITY = "regulatory--priority-road--g1"


def images(folder: Path) -> dict[str, Image]:
    found = {}
    for line in (folder / "images.jsonl").read_text().splitlines():
        row = json.loads(line)
        found[row["id"]] = Image(
            id=row["id"],
            sequence_id=row["sequence"],
            captured_at=datetime.fromtimestamp(row["captured_at"] / 1000, UTC),
            width=row["width"],
            height=row["height"],
            gps=Pose("gps", *row["geometry"]["coordinates"], heading_deg=row["compass_angle"]),
            sfm=Pose("sfm", *row["computed_geometry"]["coordinates"], heading_deg=row["computed_compass_angle"]),
        )
    return found


def priority_signs(folder: Path, leave_out: str = "") -> list[FusedObject]:
    photos = images(folder)
    boxes = [one for one in json.loads((folder / "boxes_by_eye.json").read_text()) if one["label"] == "priority road"]
    detections = [
        Detection(one["image_id"], "eye@1", 0, PRIORITY, 1.0, tuple(one["box_ltrb"]))
        for one in boxes
        if not (leave_out and one["image_id"].endswith(leave_out))
    ]
    poses, _ = trusted_poses(photos.values())
    sightings, skipped = place(photos, detections, poses)
    assert not skipped
    return fuse(sightings)


def metres_from_the_pole(folder: Path, one: FusedObject) -> float:
    truth = json.loads((folder / "truth.geojson").read_text())["features"][0]["geometry"]["coordinates"]
    return distance_m(one.lon, one.lat, *truth)


def test_all_seven_raw_poses_are_rejected_as_frozen_and_sfm_is_used(shared_data: Path) -> None:
    poses, rejected = trusted_poses(images(shared_data / "area-damasen").values())
    assert len(rejected) == 7
    assert {one.reason for one in rejected} == {
        "raw GPS frozen: 7 photos of sequence damasen2018e134hp05f1 share one position and heading over 12 s"
    }
    assert {one.pose.origin for one in poses.values()} == {"sfm"} and len(poses) == 7


def test_the_priority_road_sign_is_one_object_within_six_metres_of_its_pole(shared_data: Path) -> None:
    folder = shared_data / "area-damasen"
    (sign,) = priority_signs(folder)
    assert len(sign.sightings) == 3
    assert metres_from_the_pole(folder, sign) < 6.0
    assert sign.error_radius_m < 10.0


@pytest.mark.parametrize("leave_out", ["192", "212"])
def test_it_does_not_take_all_three_photos(shared_data: Path, leave_out: str) -> None:
    folder = shared_data / "area-damasen"
    assert min(metres_from_the_pole(folder, one) for one in priority_signs(folder, leave_out)) < 6.0
