"""Sightings of one thing become one object, of two things two, in whatever order they come."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kryss.model import FusedObject
from kryss.positioning.frame import GEOD, destination, distance_m
from kryss.positioning.fuse import CELL_DEG, error_radius_m, fuse, fusion

LIGHT = "object--traffic-light--general-upright"
STOP = "regulatory--stop--g1"
FIFTY, EIGHTY = "regulatory--maximum-speed-limit-50--g1", "regulatory--maximum-speed-limit-80--g1"


def errors(street: ModuleType, objects: list[FusedObject], things: list[object]) -> list[float]:
    """Distance of each thing from the nearest object of its class."""
    return [
        min(
            np.hypot(*np.subtract(street.metres(one.lon, one.lat), (thing.x, thing.y)))  # type: ignore[attr-defined]
            for one in objects
            if one.class_name == thing.class_name  # type: ignore[attr-defined]
        )
        for thing in things
    ]


def test_nothing_gives_nothing() -> None:
    assert fuse([]) == []


def test_a_thing_seen_from_a_drive_is_one_object_within_its_radius(street: ModuleType) -> None:
    sign = street.Thing(street.SIGN, 4.0, 0.0)
    (found,) = fuse(street.sightings(street.drive("d"), [sign], noise=1.0))
    assert len(found.sightings) >= 5
    assert errors(street, [found], [sign])[0] < min(1.5, found.error_radius_m)


def test_two_signs_of_one_class_along_the_road_stay_two(street: ModuleType) -> None:
    signs = [street.Thing(street.SIGN, 4.0, 0.0), street.Thing(street.SIGN, 4.2, 12.0)]
    found = fuse(street.sightings(street.drive("d", photos=14), signs, noise=1.0, missed=0.15))
    assert len(found) == 2
    assert max(errors(street, found, signs)) < 2.0


def test_two_lights_six_metres_apart_stay_two(street: ModuleType) -> None:
    lights = [street.Thing(LIGHT, -3.0, 0.0, up_m=3.2), street.Thing(LIGHT, 3.0, 0.0, up_m=3.2)]
    found = fuse(street.sightings(street.drive("d"), lights, noise=1.0, missed=0.15))
    assert len(found) == 2
    assert max(errors(street, found, lights)) < 2.0


def test_two_drives_see_one_sign_once(street: ModuleType) -> None:
    sign = street.Thing(STOP, 4.0, 0.0)
    first = street.sightings(street.drive("a"), [sign], noise=1.0, seed=1)
    second = street.sightings(street.drive("b", at=street.START + timedelta(days=200), x=0.8), [sign], noise=1.0, seed=2)
    (found,) = fuse(first + second)
    assert len(found.sightings) == len(first) + len(second)
    assert found.error_radius_m < fuse(first)[0].error_radius_m


def test_a_sign_of_another_size_is_corrected_by_coming_closer(street: ModuleType) -> None:
    sign = street.Thing(street.SIGN, 4.0, 0.0)
    seen = street.sightings(street.drive("d"), [sign])
    larger = [
        replace(
            one, range_m=0.75 * one.range_m, **dict(zip(("lon", "lat"), at(one, 0.75), strict=True))
        )  # the plate is 0.80 m wide
        for one in seen
    ]
    (found,) = fuse(larger)
    alone = np.median([np.hypot(*np.subtract(street.metres(one.lon, one.lat), (sign.x, sign.y))) for one in larger])
    assert errors(street, [found], [sign])[0] < min(2.0, alone / 3)


def at(sighting: object, factor: float) -> tuple[float, float]:
    return destination(
        sighting.camera_lon,  # type: ignore[attr-defined]
        sighting.camera_lat,  # type: ignore[attr-defined]
        sighting.bearing_deg,  # type: ignore[attr-defined]
        sighting.range_m * factor,  # type: ignore[attr-defined]
    )


def test_plates_back_to_back_on_one_pole_are_two(street: ModuleType) -> None:
    front, back = street.Thing(STOP, 4.0, 0.0), street.Thing(STOP, 4.0, 0.1, facing_deg=0.0)
    north = street.drive("n")
    south = [street.photo(f"s-{i}", 8.0, 60.0 - 6 * i, 180.0, sequence="s", at=street.START) for i in range(10)]
    found = fuse(street.sightings(north, [front]) + street.sightings(south, [back]))
    assert len(found) == 2


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 20))
def test_the_order_of_sightings_does_not_matter(street: ModuleType, random: object, seed: int) -> None:
    things = [street.Thing(street.SIGN, 4.0, 0.0), street.Thing(street.SIGN, 4.0, 14.0), street.Thing(LIGHT, -4.0, 4.0, up_m=3.3)]
    seen = street.sightings(street.drive("d", photos=14), things, noise=2.0, missed=0.2, seed=seed)
    shuffled = list(seen)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fuse(shuffled) == fuse(seen)


@settings(max_examples=15, deadline=None)
@given(st.floats(-3000, 3000), st.floats(-3000, 3000))
def test_moving_the_world_moves_the_answer_along(street: ModuleType, east: float, north: float) -> None:
    seen = street.sightings(street.drive("d"), [street.Thing(street.SIGN, 4.0, 0.0)], noise=1.0)
    bearing, length = np.degrees(np.arctan2(east, north)), np.hypot(east, north)

    def moved(lon: float, lat: float) -> tuple[float, float]:
        x, y = street.metres(lon, lat)
        return tuple(street.ORIGIN.to_lonlat((x + east, y + north))[0])

    turned = []
    for one in seen:
        camera, point = moved(one.camera_lon, one.camera_lat), moved(one.lon, one.lat)
        turned.append(
            replace(
                one,
                camera_lon=camera[0],
                camera_lat=camera[1],
                lon=point[0],
                lat=point[1],
                bearing_deg=GEOD.inv(*camera, *point)[0] % 360,
            )
        )
    (before,), (after,) = fuse(seen), fuse(turned)
    x0, y0 = street.metres(before.lon, before.lat)
    x1, y1 = street.metres(after.lon, after.lat)
    assert (x1 - x0, y1 - y0) == pytest.approx((east, north), abs=0.05), (bearing, length)


def test_one_misread_photo_does_not_make_a_second_sign(street: ModuleType) -> None:
    seen = street.sightings(street.drive("d"), [street.Thing(FIFTY, 4.0, 0.0)], noise=1.0)
    misread = [replace(one, class_name=EIGHTY, score=0.4) if i == 2 else one for i, one in enumerate(seen)]
    (found,) = fuse(misread)
    assert found.class_name == FIFTY
    assert len(found.sightings) == len(seen)


def test_a_sign_that_was_replaced_stays_two(street: ModuleType) -> None:
    before = street.sightings(street.drive("a"), [street.Thing(FIFTY, 4.0, 0.0)], noise=1.0)
    after = street.sightings(
        street.drive("b", at=street.START + timedelta(days=300)), [street.Thing(EIGHTY, 4.0, 0.0)], noise=1.0
    )
    assert {one.class_name for one in fuse(before + after)} == {FIFTY, EIGHTY}


def test_two_signs_of_one_family_on_one_pole_stay_two(street: ModuleType) -> None:
    things = [street.Thing(FIFTY, 4.0, 0.0, up_m=2.8), street.Thing("regulatory--no-overtaking--g1", 4.0, 0.0, up_m=2.1)]
    assert len(fuse(street.sightings(street.drive("d"), things, noise=1.0))) == 2


def test_one_thing_boxed_twice_in_a_photo_is_one_object(street: ModuleType) -> None:
    seen = street.sightings(street.drive("d"), [street.Thing(street.SIGN, 4.0, 0.0)])
    twice = seen + [replace(one, ordinal=one.ordinal + 1, score=0.3) for one in seen[:2]]
    assert len(fuse(twice)) == 1


def test_the_radius_holds_95_percent() -> None:
    rng = np.random.default_rng(4)
    for covariance in ((4.0, 0.0, 4.0), (9.0, 0.0, 0.25), (5.0, 2.0, 3.0)):
        east, cross, north = covariance
        points = rng.multivariate_normal([0, 0], [[east, cross], [cross, north]], 200_000)
        assert np.mean(np.hypot(*points.T) < error_radius_m(covariance)) == pytest.approx(0.95, abs=0.003)


def test_stated_radii_hold_most_of_the_truth_and_errors_stay_small(street: ModuleType) -> None:
    rng = np.random.default_rng(7)
    found_within, off = [], []
    for seed in range(12):
        sign = street.Thing(street.SIGN, 4.0, 0.0)
        images = street.drive("d")
        seen = street.sightings(images, [sign], noise=1.5, seed=seed)
        shift = rng.normal(0, 0.35, 2)
        moved = []
        for one in seen:
            own = shift + rng.normal(0, 0.35, 2)
            xy = np.array(street.metres(one.camera_lon, one.camera_lat)) + own
            point = np.array(street.metres(one.lon, one.lat)) + own
            (lon, lat), (to_lon, to_lat) = street.ORIGIN.to_lonlat(xy)[0], street.ORIGIN.to_lonlat(point)[0]
            moved.append(replace(one, camera_lon=lon, camera_lat=lat, lon=to_lon, lat=to_lat))
        for one in fuse(moved):
            error = errors(street, [one], [sign])[0]
            off.append(error)
            found_within.append(error < one.error_radius_m)
    assert np.mean(found_within) >= 0.9
    assert np.median(off) < 1.0 and max(off) < 2.5


class Remembered(dict[str, dict[str, np.ndarray]]):
    """A memo that counts what was worked out."""

    worked_out = 0

    def put(self, key: str, arrays: dict[str, np.ndarray]) -> None:
        self.worked_out += 1
        self[key] = arrays


def test_a_new_sighting_works_only_the_cells_out_that_it_reaches_and_the_answer_is_the_same(street: ModuleType) -> None:
    here = street.sightings(street.drive("d"), [street.Thing(street.SIGN, 4.0, 0.0)], noise=1.0)
    far = [
        replace(one, image_id=f"far {one.image_id}", sequence_id="far", camera_lat=one.camera_lat + 0.2, lat=one.lat + 0.2)
        for one in here
    ]
    memo = Remembered()
    fusion(here[1:] + far, memo)
    before = memo.worked_out
    assert before >= 2
    fusion(here[1:] + far, memo)
    assert memo.worked_out == before
    assert fusion(here + far, memo) == fusion(here + far)
    assert before < memo.worked_out < 2 * before


def test_an_object_on_the_border_of_cells_is_one(street: ModuleType) -> None:
    things = [street.Thing(street.SIGN, 4.0, 0.0), street.Thing(LIGHT, -4.0, 4.0, up_m=3.3)]
    seen = street.sightings(street.drive("d", photos=14), things, noise=1.0)
    whole = fuse(seen)
    for part in np.linspace(0.1, 0.9, 5):
        cameras = sorted(one.camera_lat for one in seen)
        border = cameras[0] + part * (cameras[-1] - cameras[0])
        shift = np.ceil(border / CELL_DEG) * CELL_DEG - border
        moved = fuse([replace(one, camera_lat=one.camera_lat + shift, lat=one.lat + shift) for one in seen])
        assert [(one.class_name, len(one.sightings)) for one in moved] == [(one.class_name, len(one.sightings)) for one in whole]
        assert [one.lat - shift for one in moved] == pytest.approx([one.lat for one in whole], abs=2e-6)


def test_what_moves_along_with_the_camera_is_no_object(street: ModuleType) -> None:
    images = street.drive("d", photos=12)
    seen = street.sightings(images, [street.Thing(street.SIGN, 4.0, 0.0)], noise=1.0)
    pattern = seen[0]
    bus = [
        replace(
            pattern, image_id=image.id, captured_at=image.captured_at, ordinal=9, class_name=STOP,
            camera_lon=image.sfm.lon, camera_lat=image.sfm.lat, bearing_deg=3.0, range_m=18.0, range_sigma_m=4.0,
            range_shared_sigma_m=3.8, height_m=None, height_sigma_m=None,
        )
        for image in images
    ]  # fmt: skip
    found = fusion(seen + bus)
    assert [one.class_name for one in found.objects] == [street.SIGN]
    assert found.dropped == {"on a vehicle": len(bus)}


def test_boxes_that_no_other_photo_confirms_are_left_out_where_most_are(street: ModuleType) -> None:
    rng = np.random.default_rng(3)
    things = [street.Thing(street.SIGN, 4.0, 60.0 * k) for k in range(8)]
    images = street.drive("d", photos=90, first_m=-60.0)
    seen = street.sightings(images, things, noise=1.0)
    false = [
        replace(one, ordinal=50 + k, class_name=STOP, bearing_deg=float(rng.uniform(-30, 30)), range_m=float(rng.uniform(8, 30)))
        for k, one in enumerate(rng.choice(np.array(seen, dtype=object), 30, replace=False).tolist())
    ]
    found = fusion(seen + false)
    assert sum(one.class_name == street.SIGN for one in found.objects) == len(things)
    assert found.dropped["never repeats"] >= 10


def test_rays_that_cross_beyond_the_range_gate_are_no_object(street: ModuleType) -> None:
    pattern = street.sightings(street.drive("d"), [street.Thing(LIGHT, 4.0, 0.0, up_m=3.3)])[0]
    lon, lat = street.ORIGIN.to_lonlat([[0.0, 0.0], [20.0, 0.0], [40.0, 0.0]]).T
    rays = [
        replace(
            pattern, image_id=f"p{k}", sequence_id=f"s{k}", camera_lon=float(lon[k]), camera_lat=float(lat[k]), range_m=15.0,
            bearing_deg=float(np.degrees(np.arctan2(20.0 - 20.0 * k, 150.0))) % 360.0, range_sigma_m=30.0, bearing_sigma_deg=0.1,
            camera_sigma_m=0.1, range_shared_sigma_m=0.0, height_m=None, height_sigma_m=None,
        )
        for k in range(3)
    ]  # fmt: skip
    assert all(
        distance_m(seen.camera_lon, seen.camera_lat, one.lon, one.lat) < 80 for one in fuse(rays) for seen in one.sightings
    )
