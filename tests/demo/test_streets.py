"""The simulated streets are as noisy as they say, and no noisier."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kryss.demo.streets import (
    FALSE_BOX,
    GPS,
    ON_A_VEHICLE,
    SFM,
    DepthNoise,
    Grid,
    PoseNoise,
    Streets,
    sightings,
    simulate,
    write_csv,
)
from kryss.demo.streets.bulk import sightings_of, simulate_sightings
from kryss.demo.streets.grid import CLASSES
from kryss.model import Sighting
from kryss.positioning.camera import upright_size, world_pixels
from kryss.positioning.frame import wrap_deg
from kryss.positioning.sizes import object_size


@pytest.fixture(scope="module")
def streets() -> Streets:
    return simulate(Grid("sfm", seed=5))


@pytest.fixture(scope="module")
def placed(streets: Streets) -> list[Sighting]:
    return sightings(streets)


def pose_errors(streets: Streets) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """``(n, 2)`` metres and ``(n,)`` degrees that the photos' poses are off, and their sequences."""
    frame = streets.grid.frame
    poses = [image.sfm or image.gps for image in streets.images]
    lon, lat = [pose.lon for pose in poses if pose], [pose.lat for pose in poses if pose]
    true = np.array([streets.true_poses[image.id] for image in streets.images])
    turned = np.array([pose.heading_deg for pose in poses if pose]) - frame.convergence_deg(lon, lat) - true[:, 3]
    return frame.to_xy(lon, lat) - true[:, :2], wrap_deg(turned), [image.sequence_id for image in streets.images]


def test_the_same_seed_makes_the_same_streets_and_another_does_not(streets: Streets) -> None:
    again = simulate(Grid("sfm", seed=5))
    assert again.detections == streets.detections and again.images == streets.images and again.truth == streets.truth
    assert simulate(Grid("sfm", seed=6)).truth != streets.truth


def test_another_noise_or_more_misses_leave_the_town_and_the_drives_alone(streets: Streets) -> None:
    other = simulate(Grid("gps", seed=5, missed=0.5))
    assert other.true_poses == streets.true_poses
    assert [replace(one, sequences=()) for one in other.truth] == [replace(one, sequences=()) for one in streets.truth]


@pytest.mark.parametrize("noise", [SFM, GPS])
def test_half_the_variance_of_a_pose_is_its_sequences_and_half_its_own(noise) -> None:
    position, heading, sequence_ids = [], [], []
    for seed in range(4):
        metres, degrees, names = pose_errors(simulate(Grid(noise, seed=seed, false=0.0)))
        position.append(metres)
        heading.append(degrees)
        sequence_ids += [f"{seed} {name}" for name in names]
    _, sequence = np.unique(sequence_ids, return_inverse=True)
    counts = np.bincount(sequence)
    metres = np.concatenate(position)
    for errors, sigma in (
        (metres[:, 0], noise.position_m),
        (metres[:, 1], noise.position_m),
        (np.concatenate(heading), noise.heading_deg),
    ):
        mean = np.bincount(sequence, errors) / counts
        own = np.sqrt(np.sum((errors - mean[sequence]) ** 2) / (len(errors) - len(counts)))
        # Some 200 sequences: their spread is known to one part in twenty.
        assert own == pytest.approx(sigma * np.sqrt(0.5), rel=0.05)
        assert np.std(mean) == pytest.approx(sigma * np.sqrt(0.5), rel=0.2)


def test_every_object_is_seen_by_one_to_four_sequences_and_each_number_occurs(streets: Streets) -> None:
    counts = Counter(len(one.sequences) for one in streets.seen)
    assert set(counts) == {1, 2, 3, 4}
    assert min(counts.values()) > 0.1 * len(streets.seen)
    assert len(streets.seen) > 0.95 * len(streets.truth)


def test_misses_false_boxes_and_wrong_classes_have_their_shares(streets: Streets) -> None:
    everything = simulate(replace(streets.grid, missed=0.0, false=0.0, wrong_class=0.0))
    assert all(origin >= 0 for origin in everything.origin_of)
    true = np.flatnonzero(streets.origin_of >= 0)
    assert len(true) / len(everything.detections) == pytest.approx(0.85, abs=0.02)
    assert np.mean(streets.origin_of == FALSE_BOX) == pytest.approx(0.05, abs=0.002)
    wrong = [streets.detections[k].class_name != streets.truth[streets.origin_of[k]].class_name for k in true]
    # Some classes have no other of their outline.
    assert 0.01 < np.mean(wrong) < 0.04
    right = [
        one.class_name == everything.truth[k].class_name
        for one, k in zip(everything.detections, everything.origin_of, strict=True)
    ]
    assert all(right)


def test_the_middle_of_each_box_is_its_object_within_the_edge_noise(streets: Streets) -> None:
    exact = simulate(replace(streets.grid, edge_sigma_px=1e-9, false=0.0, wrong_class=0.0))
    images = {image.id: image for image in exact.images}
    perfect = simulate(
        replace(streets.grid, edge_sigma_px=1e-9, noise=replace(SFM, position_m=1e-9, heading_deg=1e-9), false=0.0)
    )
    poses = {image.id: image.sfm for image in perfect.images}
    off = []
    for detection, origin in zip(exact.detections, exact.origin_of.tolist(), strict=True):
        image, thing, pose = images[detection.image_id], exact.truth[origin], poses[detection.image_id]
        assert pose is not None
        x, y, up, _ = exact.true_poses[image.id]
        turn = np.radians(exact.grid.frame.convergence_deg(pose.lon, pose.lat)[0])
        east, north = thing.x - x, thing.y - y
        to = (east * np.cos(turn) + north * np.sin(turn), north * np.cos(turn) - east * np.sin(turn), thing.height_m - up)
        (u, v) = world_pixels(image, pose, [to])[0]
        left, top, right, bottom = detection.box
        width, height = upright_size(image)
        if left > 0 and top > 0 and right < width and bottom < height:
            assert left <= u <= right and top <= v <= bottom
            off.append(abs((top + bottom) / 2 - v) / (bottom - top))
    assert len(off) > 0.9 * len(exact.detections)
    assert np.median(off) < 0.03


def test_edges_are_off_by_the_stated_pixels(streets: Streets) -> None:
    exact = simulate(replace(streets.grid, edge_sigma_px=1e-9, missed=0.0, false=0.0))
    noisy = simulate(replace(streets.grid, missed=0.0, false=0.0))
    widths = {image.id: image.width for image in streets.images}

    def boxes(of: Streets) -> dict[tuple[str, int], np.ndarray]:
        return {(one.image_id, int(k)): np.array(one.box) for one, k in zip(of.detections, of.origin_of, strict=True)}

    truth = boxes(exact)
    errors = [
        (box - truth[key]) / max(1.0, widths[key[0]] / 2048)
        for key, box in boxes(noisy).items()
        if key in truth and min(truth[key][:2]) > 10
    ]
    assert np.std(np.array(errors)[:, :2]) == pytest.approx(1.5, rel=0.05)


def test_bearings_and_ranges_are_as_certain_as_place_says(streets: Streets, placed: list[Sighting]) -> None:
    origin_of = streets.origin_by_key()
    frame = streets.grid.frame
    bearing_off, range_off = [], []
    for one in placed:
        origin = origin_of[one.image_id, one.ordinal]
        if origin < 0 or one.class_name != streets.truth[origin].class_name:
            continue
        thing, (x, y, *_) = streets.truth[origin], streets.true_poses[one.image_id]
        grid_bearing = one.bearing_deg - frame.convergence_deg(one.camera_lon, one.camera_lat)[0]
        true_bearing = np.degrees(np.arctan2(thing.x - x, thing.y - y))
        bearing_off.append(float(wrap_deg(grid_bearing - true_bearing)) / one.bearing_sigma_deg)
        range_off.append((np.log(one.range_m / np.hypot(thing.x - x, thing.y - y))) / (one.range_sigma_m / one.range_m))
    assert np.std(bearing_off) == pytest.approx(1.0, abs=0.2)
    assert np.std(range_off) == pytest.approx(1.0, abs=0.25)
    assert abs(np.mean(range_off)) < 0.5


def test_sizes_of_objects_spread_as_the_table_says() -> None:
    spread = []
    for one in simulate(Grid(seed=1, blocks=5)).truth:
        size = object_size(one.class_name)
        assert size is not None
        spread.append(np.log(one.box_height_m / size.height_m) / size.sigma_fraction)
    assert np.std(spread) == pytest.approx(1.0, abs=0.08) and abs(np.mean(spread)) < 0.12


def test_the_streets_are_hard(streets: Streets) -> None:
    kinds = Counter(image.camera_type for image in streets.images)
    assert set(kinds) == {"perspective", "fisheye", "spherical"} and min(kinds.values()) > 100
    poles = Counter((round(one.x, 3), round(one.y, 3)) for one in streets.truth)
    assert sum(count >= 2 for count in poles.values()) > 20
    assert any(one.height_m > 5 for one in streets.truth)
    photos_of = defaultdict(set)
    for detection, origin in zip(streets.detections, streets.origin_of.tolist(), strict=True):
        photos_of[origin].add(detection.image_id)
    assert sum(len(photos_of[k]) <= 3 for k in photos_of if k >= 0) > 0.1 * len(streets.seen)


def test_a_sign_on_a_vehicle_keeps_its_distance_to_the_camera() -> None:
    streets = simulate(Grid(seed=2, vehicles=3))
    rows = [k for k, origin in enumerate(streets.origin_of.tolist()) if origin == ON_A_VEHICLE]
    names = {streets.detections[k].image_id.rsplit("-", 1)[0] for k in rows}
    assert 1 <= len(names) <= 3 and len(rows) >= 6
    still = simulate(Grid(seed=2))
    assert len(still.detections) == len(streets.detections) - len(rows)


def depth_errors(noise: DepthNoise) -> list[tuple[str, int, float]]:
    """Sequence, object and log error of each depth; along the optical axis, of panoramas along the ray."""
    streets = simulate(Grid(seed=3, depth=noise, false=0.0))
    images = {image.id: image for image in streets.images}
    found = []
    for detection, origin in zip(streets.detections, streets.origin_of.tolist(), strict=True):
        x, y, up, heading_deg = streets.true_poses[detection.image_id]
        image, thing = images[detection.image_id], streets.truth[origin]
        if detection.depth is not None:
            away, heading = (thing.x - x, thing.y - y, thing.height_m - up), np.radians(heading_deg)
            ahead = np.linalg.norm(away) if image.is_pano else away[0] * np.sin(heading) + away[1] * np.cos(heading)
            # The camera's tilt, which is left out here, matters for what is beside it.
            if ahead > 0.5 * np.linalg.norm(away):
                found.append((image.sequence_id, origin, float(np.log(detection.depth / ahead))))
    assert len(found) > 0.7 * len(streets.detections)
    return found


def test_depths_have_a_scale_of_their_sequence() -> None:
    ratios = defaultdict(list)
    for sequence, _, error in depth_errors(DepthNoise()):
        ratios[sequence].append(error)
    many = [np.array(values) for values in ratios.values() if len(values) > 20]
    assert np.median([values.std() for values in many]) == pytest.approx(0.15, abs=0.03)
    assert np.std([values.mean() for values in many]) == pytest.approx(0.3, abs=0.12)


def test_depths_of_an_object_may_err_alike() -> None:
    errors = defaultdict(list)
    for _, origin, error in depth_errors(DepthNoise(scale_sigma=0.0, own_sigma=0.05, object_sigma=0.4)):
        errors[origin].append(error)
    many = [np.array(values) for values in errors.values() if len(values) > 3]
    assert np.std([values.mean() for values in many]) == pytest.approx(0.4, abs=0.06)
    assert np.median([values.std() for values in many]) < 0.1


def test_depths_blended_with_the_background_are_too_far_and_some_are_refused() -> None:
    noise = DepthNoise(scale_sigma=0.0, own_sigma=0.0, blended=0.35)
    detections = simulate(Grid(seed=3, depth=noise)).detections
    assert 0.2 < np.mean([one.depth is None for one in detections]) < 0.8
    exact = {
        (one.image_id, one.ordinal): one.depth for one in simulate(Grid(seed=3, depth=replace(noise, blended=0.0))).detections
    }
    told = [(one.depth, exact[one.image_id, one.ordinal]) for one in detections if one.depth is not None]
    assert all(depth >= true for depth, true in told if true is not None)
    assert np.mean([np.log(depth / true) for depth, true in told if true is not None]) > 0.1


def test_the_table_for_locate_has_the_cameras_and_leaves_unknown_ranges_empty(tmp_path: Path) -> None:
    streets = simulate(Grid(seed=4, blocks=1, missing_range=0.3))
    placed = sightings(streets)
    write_csv(placed, tmp_path / "streets.csv")
    with (tmp_path / "streets.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(placed)
    assert float(rows[0]["lat"]) == pytest.approx(placed[0].camera_lat) and rows[0]["class"] == placed[0].class_name
    assert np.mean([row["range_m"] == "" for row in rows]) == pytest.approx(0.3, abs=0.1)


def test_many_sightings_are_as_dense_and_as_noisy_whatever_their_number() -> None:
    density = []
    for n in (5_000, 50_000):
        columns = simulate_sightings(n, seed=1, noise="gps")
        assert {len(column) for column in columns.values()} == {n}
        density.append(n / len(np.unique(columns["object"])))
        true = columns["object"] >= 0
        east, north = columns["true_x"] - columns["camera_x"], columns["true_y"] - columns["camera_y"]
        off = wrap_deg(columns["bearing_deg"] - np.degrees(np.arctan2(east, north)))[true]
        far = np.hypot(east, north)[true] > 15
        assert np.std(off[far]) == pytest.approx(np.hypot(6.0, np.degrees(3.0 / 27)), rel=0.15)
        assert np.mean(~true) == pytest.approx(0.05, abs=0.01)
    assert density[0] == pytest.approx(density[1], rel=0.03)


def test_many_sightings_become_sightings_where_their_columns_say() -> None:
    columns = simulate_sightings(500, seed=2)
    found = sightings_of(columns)
    assert [one.class_name for one in found] == [CLASSES[k] for k in columns["kind"]]
    assert len({(one.image_id, one.ordinal) for one in found}) == 500
    assert [one.range_m for one in found] == columns["range_m"].tolist()


@pytest.mark.parametrize(
    "grid",
    [
        Grid(blocks=1, sequences=1),
        Grid(blocks=1, missed=1.0),
        Grid(blocks=1, missed=0.9, false=0.5, vehicles=50),
        Grid(blocks=1, block_m=60.0, sequences=3, most_sequences=1, size_spread=0.0),
        Grid(noise=PoseNoise("gps", 8.0, 20.0), blocks=1, wrong_class=1.0, false=0.0),
        Grid(blocks=1, origin=(179.9999, -45.0)),
    ],
)
def test_odd_grids_are_simulated_too(grid: Grid) -> None:
    streets = simulate(grid)
    assert len(streets.detections) == len(streets.origin_of)
    assert all(np.isfinite(one.box).all() for one in streets.detections)
    assert len(sightings(streets)) <= len(streets.detections)
