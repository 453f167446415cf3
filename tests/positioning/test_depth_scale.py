"""The scale of depths is found from rays that cross, with an error that holds, and is not made up where nothing says it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kryss.positioning.depth_scale import UNKNOWN_LOG_SIGMA, Rays, depth_scale


def street_of_lamps(seed: int, photos: int = 40, factor: float = 1.3, seen_m: float = 22.0) -> Rays:
    """Lamps on both sides of a street and photos every 9 m of it, with the errors of panoramas and a depth net."""
    rng = np.random.default_rng(seed)
    lamps = np.column_stack([rng.choice([-7.0, 7.0], photos), rng.uniform(0, 9.0 * photos, photos)]) + rng.normal(
        0, 1, (photos, 2)
    )
    rows = []
    for photo in range(photos):
        camera = np.array([0.0, 9.0 * photo]) + rng.normal(0, 1, 2)
        claimed = camera + rng.normal(0, 1.5, 2)
        for east, north in lamps - camera:
            distance = float(np.hypot(east, north))
            if distance < seen_m and rng.random() < 0.7:
                bearing = np.arctan2(east, north) + np.radians(rng.normal(0, 2))
                rows.append((*claimed, bearing, distance / factor * np.exp(rng.normal(0, 0.25)), photo))
        if rng.random() < 0.4:
            rows.append((*claimed, rng.uniform(0, 2 * np.pi), rng.uniform(4, 20) / factor, photo))
    table = np.array(rows)
    n = len(table)
    _, photo = np.unique(table[:, 4], return_inverse=True)
    return Rays(
        camera=table[:, :2],
        bearing=table[:, 2],
        depth=table[:, 3],
        camera_sigma=np.full(n, 1.5),
        bearing_sigma=np.full(n, np.radians(2)),
        photo=photo.astype(np.int64),
        kind=np.zeros(n, dtype=np.int64),
    )


@pytest.mark.parametrize("factor", [0.02, 1.0, 1.3, 40.0])
def test_the_scale_is_found_whatever_the_unit(factor: float) -> None:
    found = depth_scale(street_of_lamps(1, factor=factor))
    assert found.estimated
    assert found.factor == pytest.approx(factor, rel=0.12)


def test_stated_errors_hold() -> None:
    found = [depth_scale(street_of_lamps(seed, photos=24)) for seed in range(10)]
    off = np.array([np.log(one.factor / 1.3) / one.log_sigma for one in found])
    assert all(one.estimated for one in found)
    assert abs(np.mean([np.log(one.factor / 1.3) for one in found])) < 0.06
    assert np.mean(np.abs(off) < 2) >= 0.9
    assert all(0.12 <= one.log_sigma < 0.25 for one in found)


def test_rays_that_have_nothing_in_common_say_nothing() -> None:
    rays = street_of_lamps(1)
    turned = np.random.default_rng(2).uniform(0, 2 * np.pi, rays.photo.max() + 1)[rays.photo]
    for one in (replace(rays, bearing=rays.bearing + turned), replace(rays, kind=np.arange(len(rays.kind)))):
        found = depth_scale(one)
        assert (found.factor, found.log_sigma, found.estimated) == (1.0, UNKNOWN_LOG_SIGMA, False)


def test_photos_that_are_too_few_or_too_far_apart_say_nothing() -> None:
    rays = street_of_lamps(1)
    few = rays.photo < 3
    cut = Rays(*(getattr(rays, name)[few] for name in rays.__dataclass_fields__))
    assert not depth_scale(cut).estimated
    assert not depth_scale(replace(rays, camera=rays.camera * 100)).estimated
    assert not depth_scale(replace(rays, photo=np.zeros_like(rays.photo))).estimated


def test_turning_mirroring_and_numbering_do_not_matter() -> None:
    rays = street_of_lamps(3)
    plain = depth_scale(rays)
    turn = 0.7
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    rng = np.random.default_rng(1)
    shuffled = rng.permutation(len(rays.depth))
    for other in (
        replace(rays, camera=rays.camera @ turned, bearing=rays.bearing + turn),
        replace(rays, camera=rays.camera * [-1, 1], bearing=-rays.bearing),
        replace(rays, photo=rng.permutation(rays.photo.max() + 1)[rays.photo]),
        Rays(*(getattr(rays, name)[shuffled] for name in rays.__dataclass_fields__)),
    ):
        again = depth_scale(other)
        assert (again.factor, again.log_sigma) == pytest.approx((plain.factor, plain.log_sigma), rel=1e-6)


def test_a_sample_of_many_pairs_gives_much_the_same() -> None:
    rays = street_of_lamps(4, photos=120)
    assert depth_scale(rays, 3000).factor == pytest.approx(depth_scale(rays).factor, rel=0.15)
