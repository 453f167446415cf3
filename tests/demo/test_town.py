"""The shipped area ``town`` is what it says it is: checked from its files alone, without Blender."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kryss.demo.area import load_area
from kryss.demo.town import layout, records

TOWN = Path(records.__file__).parents[1] / "areas" / "town"
BLENDER_FREE = ("area.json", "images.jsonl", "truth.geojson", "truth_poses.jsonl", "NOTICE", "roads/overpass.json")


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (TOWN / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def images() -> dict[str, dict[str, Any]]:
    return {image["id"]: image for image in lines("images.jsonl")}


@pytest.fixture(scope="module")
def poses() -> dict[str, dict[str, Any]]:
    return {pose["id"]: pose for pose in lines("truth_poses.jsonl")}


@pytest.fixture(scope="module")
def objects() -> dict[str, dict[str, Any]]:
    features = json.loads((TOWN / "truth.geojson").read_text(encoding="utf-8"))["features"]
    return {f["id"]: {**f["properties"], "lonlat": f["geometry"]["coordinates"]} for f in features}


@pytest.fixture(scope="module")
def boxes() -> list[dict[str, Any]]:
    return json.loads((TOWN / "truth_boxes.json").read_text(encoding="utf-8"))["boxes"]


def pixel(pose: dict[str, Any], lonlat: list[float], height_m: float) -> tuple[float, float]:
    """Where a point shows in the photo of an exact pose, by the contract's projection."""
    east, north = np.array(layout.lonlat_to_enu(*lonlat)) - layout.lonlat_to_enu(pose["lon"], pose["lat"])
    rotation = layout.rodrigues(np.array(pose["rotation"]))
    x, y, z = rotation @ np.array([east, north, height_m - pose["height_above_road_m"]])
    focal_px = layout.FOCAL * layout.WIDTH_PX
    return layout.WIDTH_PX / 2 + focal_px * x / z, layout.HEIGHT_PX / 2 + focal_px * y / z


def test_the_area_loads_with_two_epochs_and_stays_under_ten_megabytes() -> None:
    town = load_area(TOWN)
    assert (town.code, town.country, town.roads, len(town.epochs)) == ("9901", "NO", "nvdb", 2)
    assert sum(path.stat().st_size for path in TOWN.rglob("*") if path.is_file()) < 10_000_000


def test_each_epoch_has_two_drives_of_at_least_eight_photos(images: dict[str, dict[str, Any]]) -> None:
    per_sequence = Counter((image["captured_at"] > 1_770_000_000_000, image["sequence"]) for image in images.values())
    assert Counter(epoch for epoch, _ in per_sequence) == {False: 2, True: 2}
    assert min(per_sequence.values()) >= 8
    assert len(images) >= 40
    assert len({image["captured_at"] for image in images.values()}) == len(images)


def test_every_photo_decodes_at_1280_by_960(images: dict[str, dict[str, Any]]) -> None:
    assert {path.stem for path in (TOWN / "photos").iterdir()} == set(images)
    for image_id in images:
        with Image.open(TOWN / "photos" / f"{image_id}.jpg") as photo:
            photo.load()
            assert (photo.format, photo.size) == ("JPEG", (1280, 960))


def test_the_recorded_heading_is_that_of_the_recorded_rotation(images: dict[str, dict[str, Any]]) -> None:
    for image in images.values():
        heading = layout.heading_of(layout.rodrigues(np.array(image["computed_rotation"])))
        assert heading == pytest.approx(image["computed_compass_angle"], abs=1e-6)


def test_published_poses_are_near_the_true_ones_and_raw_gps_is_worse(
    images: dict[str, dict[str, Any]], poses: dict[str, dict[str, Any]]
) -> None:
    sfm, gps, turn = [], [], []
    for image_id, image in images.items():
        pose = poses[image_id]
        true = np.array(layout.lonlat_to_enu(pose["lon"], pose["lat"]))
        for found, key in ((sfm, "computed_geometry"), (gps, "geometry")):
            found.append(float(np.linalg.norm(layout.lonlat_to_enu(*image[key]["coordinates"]) - true)))
        relative = layout.rodrigues(np.array(image["computed_rotation"])) @ layout.rodrigues(np.array(pose["rotation"])).T
        turn.append(math.degrees(float(np.linalg.norm(layout.angle_axis(relative)))))
    assert 0.2 < np.mean(sfm) < 0.6 and max(sfm) < 1.5
    assert 1.0 < np.mean(gps) < 5.0
    assert 0.1 < np.mean(turn) < 0.5 and max(turn) < 1.0


def test_true_objects_project_into_their_true_boxes(
    poses: dict[str, dict[str, Any]], objects: dict[str, dict[str, Any]], boxes: list[dict[str, Any]]
) -> None:
    assert len(boxes) > 150
    for found in boxes:
        thing = objects[found["object_id"]]
        x, y = pixel(poses[found["image_id"]], thing["lonlat"], thing["height_m"])
        left, top, right, bottom = found["box_ltrb"]
        assert found["class"] == thing["class"]
        assert 0 <= left < right <= layout.WIDTH_PX and 0 <= top < bottom <= layout.HEIGHT_PX
        if found["inside"] == 1:
            assert left - 0.01 <= x <= right + 0.01 and top - 0.01 <= y <= bottom + 0.01


def test_every_object_is_well_seen_in_three_photos_of_each_epoch_it_stands_in(
    poses: dict[str, dict[str, Any]], objects: dict[str, dict[str, Any]], boxes: list[dict[str, Any]]
) -> None:
    views: dict[tuple[str, int], int] = defaultdict(int)
    for found in boxes:
        left, top, right, bottom = found["box_ltrb"]
        if found["visible"] > 0.8 and 8 <= found["range_m"] <= 30 and max(right - left, bottom - top) >= 23.5:
            views[found["object_id"], poses[found["image_id"]]["epoch"]] += 1
    for thing in objects.values():
        for epoch in (1, 2):
            if thing["from_epoch"] <= epoch <= (thing["to_epoch"] or 2):
                assert views[thing["id"], epoch] >= 3, (thing["id"], epoch)


def test_between_the_epochs_one_sign_went_one_came_and_one_was_replaced(objects: dict[str, dict[str, Any]]) -> None:
    went = {o["id"]: o for o in objects.values() if o["to_epoch"] == 1}
    came = {o["id"]: o for o in objects.values() if o["from_epoch"] == 2}
    pairs = [
        (a["id"], b["id"])
        for a in went.values()
        for b in came.values()
        if math.dist(layout.lonlat_to_enu(*a["lonlat"]), layout.lonlat_to_enu(*b["lonlat"])) < 1.0
    ]
    assert len(went) == len(came) == 2
    assert len(pairs) == 1
    assert went[pairs[0][0]]["class"] != came[pairs[0][1]]["class"]


def test_objects_of_one_class_stand_well_apart(objects: dict[str, dict[str, Any]]) -> None:
    standing = [o for o in objects.values() if o["to_epoch"] is None]
    for a in standing:
        for b in standing:
            if a["id"] < b["id"] and a["class"] == b["class"]:
                assert math.dist(layout.lonlat_to_enu(*a["lonlat"]), layout.lonlat_to_enu(*b["lonlat"])) >= 12


def test_nothing_is_recorded_of_an_object_outside_its_epochs(
    poses: dict[str, dict[str, Any]], objects: dict[str, dict[str, Any]], boxes: list[dict[str, Any]]
) -> None:
    for found in boxes:
        thing, epoch = objects[found["object_id"]], poses[found["image_id"]]["epoch"]
        assert thing["from_epoch"] <= epoch <= (thing["to_epoch"] or 2)


def test_the_roads_meet_in_one_node_with_four_arms() -> None:
    segments = json.loads((TOWN / "roads" / "nvdb" / "segments.json").read_text(encoding="utf-8"))
    ends = Counter(node for segment in segments for node in (segment["startnode"], segment["sluttnode"]))
    assert sorted(ends.values()) == [1, 1, 1, 1, 4]
    elements = json.loads((TOWN / "roads" / "overpass.json").read_text(encoding="utf-8"))["elements"]
    touched = Counter(node for way in elements if way["type"] == "way" for node in (way["nodes"][0], way["nodes"][-1]))
    assert sorted(touched.values()) == [1, 1, 1, 1, 4]


def test_the_generator_still_writes_the_committed_records(tmp_path: Path) -> None:
    records.write_records(tmp_path)
    for name in [*BLENDER_FREE, *(f"roads/nvdb/{p.name}" for p in (TOWN / "roads" / "nvdb").iterdir())]:
        assert (tmp_path / name).read_bytes() == (TOWN / name).read_bytes(), name


def test_the_signs_keep_their_licence() -> None:
    assert "Copyright (c) 2015 mapillary" in (TOWN / "NOTICE").read_text(encoding="utf-8")
    assert "MIT" in json.loads((TOWN / "area.json").read_text(encoding="utf-8"))["attribution"]


@pytest.mark.parametrize("angle", [0.0, 1e-9, 0.3, 3.0])
def test_angle_axis_round_trip(angle: float) -> None:
    vector = angle * np.array([0.6, -0.48, 0.64])
    assert np.allclose(layout.angle_axis(layout.rodrigues(vector)), vector, atol=1e-9)


def test_the_sun_stands_where_the_almanac_says() -> None:
    """Solar noon of 20 May 2026 at 10.40 E is 11:14:54 UTC (equation of time +3.5 min); declination 20.0 degrees."""
    noon = layout.EPOCHS[1].starts["W"].replace(hour=11, minute=14, second=54)
    azimuth, elevation = layout.sun(noon)
    assert azimuth == pytest.approx(180.0, abs=0.3)
    assert elevation == pytest.approx(90 - layout.ORIGIN_LAT + 20.0, abs=0.15)
