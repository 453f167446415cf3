"""Views of photos, and how the finds of several views are joined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kryss.vision.boxes import Candidates, iou
from kryss.vision.registry import Inference, Preprocessing, Tiling
from kryss.vision.tiles import joined, views

NATIVE = Preprocessing(size="native", max_side=512, multiple=128, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def photo(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(width * 1000 + height).integers(0, 255, (height, width, 3), dtype=np.uint8)


def found(*rows: tuple[float, float, float, float, float]) -> Candidates:
    values = np.array(rows, float).reshape(-1, 5)
    return Candidates(values[:, :4], values[:, 4], np.zeros(len(values), np.int64))


@given(st.integers(8, 900), st.integers(8, 900), st.sampled_from(["native", "fit", "stretch"]))
def test_a_corner_of_a_view_goes_back_to_the_corner_of_the_photo(width: int, height: int, size: str) -> None:
    how = Preprocessing(size=size, max_side=256, multiple=128)  # type: ignore[arg-type]
    [view] = views(np.full((height, width, 3), 200, np.uint8), how, Inference())
    assert np.isclose(view.content[0] * view.to_photo[0], width)
    assert np.isclose(view.content[1] * view.to_photo[1], height)
    assert (view.pixels[: view.content[1], : view.content[0]] == 200).all()
    assert (view.pixels[view.content[1] :] == 0).all() and (view.pixels[:, view.content[0] :] == 0).all()
    if size == "native":
        assert view.pixels.shape[0] % 128 == 0 == view.pixels.shape[1] % 128
        assert max(view.content) <= 256


def test_a_photo_within_the_limit_keeps_its_pixels_and_is_padded_with_the_mean() -> None:
    pixels = photo(200, 100)
    [view] = views(pixels, NATIVE, Inference())
    assert view.pixels.shape == (128, 256, 3)
    assert np.array_equal(view.pixels[:100, :200], pixels)
    assert set(np.unique(view.pixels[100:])) == {128}


def test_a_small_photo_is_scaled_up_and_a_large_one_is_not() -> None:
    [small] = views(photo(104, 80), NATIVE, Inference(min_side=260))
    assert small.content == (260, 200)
    assert np.allclose(small.to_photo, 0.4)
    [large] = views(photo(300, 80), NATIVE, Inference(min_side=260))
    assert large.content == (300, 80)


def test_each_test_time_scale_is_a_view() -> None:
    both = views(photo(200, 100), NATIVE, Inference(scales=(1.0, 1.5)))
    assert [view.content for view in both] == [(200, 100), (300, 150)]
    at = joined([found((20, 20, 40, 40, 0.9)), found((30, 30, 60, 60, 0.8))], both)
    assert np.allclose(at.boxes, [[20, 20, 40, 40], [20, 20, 40, 40]])


@given(st.integers(20, 1500), st.integers(20, 900), st.integers(130, 400), st.data())
def test_what_is_smaller_than_the_overlap_is_whole_in_a_slice(width: int, height: int, side: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(20, side // 2))
    slices = views(photo(width, height), NATIVE, Inference(tile=Tiling(side, overlap)))
    w, h = data.draw(st.integers(1, min(overlap, width))), data.draw(st.integers(1, min(overlap, height)))
    x, y = data.draw(st.integers(0, width - w)), data.draw(st.integers(0, height - h))
    inside = [
        view.origin[0] <= x
        and view.origin[1] <= y
        and x + w <= view.origin[0] + view.content[0]
        and y + h <= view.origin[1] + view.content[1]
        for view in slices
    ]
    assert any(inside)


def test_slices_are_the_photos_own_pixels() -> None:
    pixels = photo(700, 300)
    for view in views(pixels, NATIVE, Inference(tile=Tiling(256, 64))):
        left, top = (round(value) for value in view.origin)
        width, height = view.content
        assert np.array_equal(view.pixels[:height, :width], pixels[top : top + height, left : left + width])
        assert view.seams == (left > 0, top > 0, left + width < 700, top + height < 300)


@given(st.integers(0, 440), st.integers(0, 140), st.integers(8, 60), st.integers(8, 60))
def test_a_thing_at_a_seam_is_found_once_and_whole(x: int, y: int, w: int, h: int) -> None:
    """A perfect finder that sees in each slice what is inside of it."""
    slices = views(photo(500, 200), NATIVE, Inference(tile=Tiling(160, 64)))
    thing = np.array([x, y, x + w, y + h], float)
    seen = []
    for view in slices:
        origin = np.tile(np.array(view.origin), 2)
        part = np.clip(thing - origin, 0, np.tile(np.array(view.content), 2))
        visible = part[2] - part[0] >= 1 and part[3] - part[1] >= 1
        # The finder is surer of a part than of the whole.
        whole = np.array_equal(part + origin, thing)
        seen.append(found((*part, 0.6 if whole else 0.9)) if visible else found())
    at = joined(seen, slices)
    assert np.allclose(iou(thing, at.boxes), 1.0)
    assert set(at.scores) == {0.6}


def test_a_thing_larger_than_the_overlap_is_put_together() -> None:
    slices = views(photo(280, 100), NATIVE, Inference(tile=Tiling(160, 40)))
    assert [view.origin[0] for view in slices] == [0, 120]
    # 100 to 200 is 100 px wide: each slice sees a part of it.
    at = joined([found((100, 20, 160, 80, 0.7)), found((0, 20, 80, 80, 0.8))], slices)
    assert np.allclose(at.boxes, [[100, 20, 200, 80]])
    assert at.scores.tolist() == [0.8]


def test_two_things_cut_by_one_seam_stay_two() -> None:
    slices = views(photo(280, 100), NATIVE, Inference(tile=Tiling(160, 40)))
    at = joined([found((150, 10, 160, 30, 0.7)), found((0, 60, 10, 80, 0.8))], slices)
    assert len(at) == 2


def test_an_impossible_overlap_is_refused() -> None:
    with pytest.raises(ValueError, match="an overlap of 200 px of slices of 160 px"):
        Tiling(160, 200)
