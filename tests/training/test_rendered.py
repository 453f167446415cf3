"""Rendered streets: the truth of their depth, and that the same number is the same picture."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from kryss.training.rendered import Streets
from kryss.training.rendered.raster import DECAL, TRIANGLE, Atlas, paint

FAR = 1e4


@pytest.fixture(scope="module")
def streets() -> Streets:
    return Streets(seed=3)


def white(alpha: int = 255) -> Atlas:
    return Atlas(np.full((1, 4, 4, 4), (255, 255, 255, alpha), np.uint8))


def painted(
    shapes: list[tuple[float, ...]], flags: list[int], tints: list[tuple[float, ...]], focal: float = 50.0
) -> tuple[np.ndarray, np.ndarray]:
    """Surfaces as seen by a camera of 64 x 48 pixels."""
    colour, depth = np.zeros((48, 64, 3), np.float32), np.full((48, 64), FAR, np.float32)
    atlas, count = white(), len(shapes)
    uv = np.tile([0.0, 0, 1, 0, 0, 1], (count, 1))
    paint(
        np.array(shapes, float), uv, np.array(tints, float), np.array(flags), np.zeros(count, np.int64),
        np.arange(count), atlas.texels, atlas.starts, atlas.side, focal, 32.0, 24.0, colour, depth, np.zeros((48, 64), np.int32),
    )  # fmt: skip
    return colour, depth


WALL = (-50.0, -50.0, 10.0, 100.0, 0.0, 0.0, 0.0, 100.0, 0.0)
PLAIN = (1.0, 1.0, 1.0, 1.0)


@settings(deadline=None, max_examples=40)
@given(st.floats(-0.8, 0.8), st.floats(-0.8, 0.8), st.floats(2, 60))
def test_depth_is_that_of_the_plane(tilt_x: float, tilt_y: float, at: float) -> None:
    """z of a plane z = at + tilt_x x + tilt_y y along the ray (x, y, 1) / z."""
    size = 300.0
    origin = np.array([-size, -size, at - size * (tilt_x + tilt_y)])
    a, b = np.array([2 * size, 0, 2 * size * tilt_x]), np.array([0, 2 * size, 2 * size * tilt_y])
    _, depth = painted([(*origin, *a, *b)], [0], [PLAIN])
    ray_x, ray_y = (np.arange(64) + 0.5 - 32) / 50, (np.arange(48)[:, None] + 0.5 - 24) / 50
    true = at / (1 - tilt_x * ray_x - tilt_y * ray_y)
    reached = (np.abs(true * ray_x) < size * 0.99) & (np.abs(true * ray_y) < size * 0.99) & (true > 0.1)
    assert reached.any()
    np.testing.assert_allclose(depth[reached], np.broadcast_to(true, depth.shape)[reached], rtol=1e-4)


def test_ground_that_runs_below_and_behind_the_camera_is_whole() -> None:
    _, depth = painted([(-500.0, 1.6, -500.0, 1000.0, 0.0, 0.0, 0.0, 0.0, 1000.0)], [0], [PLAIN])
    rows = np.arange(48) + 0.5 - 24
    assert np.allclose(depth[rows > 0.5], (50 * 1.6 / rows[rows > 0.5])[:, None], rtol=1e-4)
    assert np.all(depth[rows < 0] == FAR)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_nearer_surface_shows(order: tuple[int, int]) -> None:
    near = (-1.0, -1.0, 5.0, 2.0, 0.0, 0.0, 0.0, 2.0, 0.0)
    surfaces, tints = [WALL, near], [(1.0, 0.0, 0.0, 1.0), (0.0, 1.0, 0.0, 1.0)]
    colour, depth = painted([surfaces[k] for k in order], [0, 0], [tints[k] for k in order])
    assert depth[24, 32] == pytest.approx(5.0) and depth[2, 2] == pytest.approx(10.0)
    assert colour[24, 32].tolist() == [0, 255, 0] and colour[2, 2].tolist() == [255, 0, 0]


def test_a_decal_colours_what_it_lies_on_and_nothing_in_front() -> None:
    near = (-50.0, -50.0, 5.0, 50.0, 0.0, 0.0, 0.0, 100.0, 0.0)  # the left half
    decal = (-50.0, -50.0, 9.99, 100.0, 0.0, 0.0, 0.0, 100.0, 0.0)
    colour, depth = painted([WALL, near, decal], [0, 0, DECAL], [PLAIN, PLAIN, (0.0, 0.0, 0.0, 0.5)])
    assert colour[24, 60].tolist() == [127.5] * 3 and colour[24, 3].tolist() == [255] * 3
    assert depth[24, 60] == pytest.approx(10.0)


def test_a_triangle_is_half_of_its_parallelogram() -> None:
    square = (-3.0, -2.0, 10.0, 6.0, 0.0, 0.0, 0.0, 4.0, 0.0)
    _, whole = painted([square], [0], [PLAIN])
    _, half = painted([square], [TRIANGLE], [PLAIN])
    assert (half < FAR).sum() == pytest.approx((whole < FAR).sum() / 2, rel=0.06)
    assert np.all(whole[half < FAR] < FAR)


def test_halved_textures_keep_their_mean_and_colour_at_holes() -> None:
    texture = np.random.default_rng(0).integers(0, 255, (1, 8, 8, 4), dtype=np.uint8)
    texture[..., 3] = 255
    atlas = Atlas(texture)
    assert len(atlas.starts) == 4
    assert atlas.texels[-1].astype(int) == pytest.approx(texture[0].reshape(-1, 4).mean(0), abs=3)
    texture[0, :, :4] = (9, 9, 9, 0)  # what is see-through has no colour to bleed
    texture[0, :, 4:] = (200, 100, 50, 255)
    assert Atlas(texture).texels[-1].astype(int) == pytest.approx([200, 100, 50, 127], abs=2)


def test_the_same_number_is_the_same_picture(streets: Streets) -> None:
    one, again, other = streets.sample(7), Streets(seed=3).sample(7), streets.sample(8)
    assert np.array_equal(one.pixels, again.pixels) and np.array_equal(one.depth, again.depth) and one.focal_px == again.focal_px
    assert not np.array_equal(one.pixels, other.pixels)


def test_streets_look_like_streets(streets: Streets) -> None:
    """Ground below, sky above, a wide range of depths, lenses and shades."""
    ground, sky, focal, shades = [], [], [], []
    for number in range(24):
        size = ((512, 160), (384, 224), (352, 256))[number % 3]
        rendering = streets.sample(number, size)
        assert rendering.pixels.shape == (size[1], size[0], 3) and rendering.depth.shape == (size[1], size[0])
        assert rendering.pixels.dtype == np.uint8 and rendering.depth.dtype == np.float32
        assert np.all(rendering.depth > 0)
        ground.append(np.median(rendering.depth[-8:]))
        sky.append(np.isinf(rendering.depth[: size[1] // 3]).mean())
        focal.append(rendering.focal_px / size[0])
        shades.append(rendering.pixels.mean())
    assert np.median(ground) < 8 and max(ground) < 60
    assert 0.1 < np.mean(sky) < 0.8
    assert min(focal) < 0.6 and max(focal) > 1.0 and min(focal) > 0.4 and max(focal) < 1.6
    assert 40 < np.mean(shades) < 180


def test_level_road_ahead_is_as_deep_as_the_camera_is_high(streets: Streets) -> None:
    """Bottom rows of a picture: 1 / depth falls in a line towards the horizon, as a plane's does."""
    straight = 0
    for number in range(12):
        rendering = streets.sample(number, (320, 192))
        column = 1 / rendering.depth[-40:, 160]
        line = np.polyfit(np.arange(40), column, 1)
        straight += np.abs(np.polyval(line, np.arange(40)) - column).max() < 0.02 * column.max()
    assert straight >= 5  # the others have a car or a bend there


def test_photos_give_textures() -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(60, 200, (400, 680, 3), dtype=np.uint8))
    with_photo, without = Streets([photo], seed=3), Streets(seed=3)
    assert sum(map(len, with_photo.numbers.values())) > sum(map(len, without.numbers.values()))
    assert math.isfinite(with_photo.sample(0).pixels.mean())
