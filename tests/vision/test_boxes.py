"""Preparing photos, reading outputs, suppressing doubles."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kryss.vision.boxes import Candidates, iou, picodet, prepare, suppress, yolox
from kryss.vision.registry import Preprocessing

WANTED = np.array([9, 11])


@given(st.integers(8, 700), st.integers(8, 700), st.sampled_from(["native", "fit", "stretch"]))
def test_a_corner_of_the_input_goes_back_to_the_corner_of_the_photo(width: int, height: int, size: str) -> None:
    how = Preprocessing(size=size, max_side=256, multiple=128)  # type: ignore[arg-type]
    made = prepare(np.full((height, width, 3), 200, np.uint8), how)
    filled = np.abs(made.tensor[0, 0]) > 1e-6
    right, bottom = filled.any(0).sum(), filled.any(1).sum()
    assert abs(right * made.to_photo_x - width) < 1e-6
    assert abs(bottom * made.to_photo_y - height) < 1e-6
    if size == "native":
        assert made.tensor.shape[2] % 128 == 0 == made.tensor.shape[3] % 128


def test_a_photo_within_the_limit_keeps_its_pixels() -> None:
    photo = np.random.default_rng(1).integers(0, 255, (100, 200, 3), dtype=np.uint8)
    made = prepare(photo, Preprocessing(size="native", max_side=1024, multiple=128))
    assert made.tensor.shape == (1, 3, 128, 256)
    assert np.allclose(made.tensor[0, :, :100, :200].transpose(1, 2, 0) * 255, photo, atol=1e-3)


def test_yolox_reads_centre_and_logarithmic_size() -> None:
    raw = np.zeros((1, 3549, 85), np.float32)
    # Cell (column 3, row 2) of the stride-8 grid of 52.
    raw[0, 2 * 52 + 3] = 0
    raw[0, 2 * 52 + 3, :5] = [0.5, 0.5, np.log(2), np.log(4), 0.9]
    raw[0, 2 * 52 + 3, 5 + 9] = 0.8
    found = yolox([raw], 416, WANTED, 0.5)
    assert np.allclose(found.boxes, [[28 - 8, 20 - 16, 28 + 8, 20 + 16]])
    assert np.allclose(found.scores, [0.72])
    assert found.classes.tolist() == [9]


def test_picodet_reads_distances_as_expectations() -> None:
    outputs = []
    for stride in (8, 16, 32, 64):
        cells = (-(-320 // stride)) ** 2
        outputs.append(np.zeros((1, cells, 80), np.float32))
    for stride in (8, 16, 32, 64):
        cells = (-(-320 // stride)) ** 2
        outputs.append(np.full((1, cells, 32), -50, np.float32))
    outputs[1][0, 21, 11] = 0.7  # stride 16, grid 20: column 1, row 1
    for side, step in enumerate((1, 2, 3, 4)):
        outputs[5][0, 21, side * 8 + step] = 50
    found = picodet(outputs, 320, WANTED, 0.5)
    assert np.allclose(found.boxes, [[24 - 16, 24 - 32, 24 + 48, 24 + 64]])
    assert found.classes.tolist() == [11]


@given(st.lists(st.tuples(st.floats(0, 90), st.floats(0, 90), st.floats(1, 40), st.floats(1, 40), st.floats(0, 1)), max_size=25))
def test_what_is_kept_does_not_overlap_and_what_goes_overlaps_a_better_one(rows: list[tuple[float, ...]]) -> None:
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h, _ in rows]).reshape(-1, 4)
    scores = np.array([row[4] for row in rows])
    kept = suppress(Candidates(boxes, scores, np.arange(len(rows))), 0.5)
    for k, box in enumerate(kept.boxes):
        assert (np.delete(iou(box, kept.boxes), k) <= 0.5).all()
    for k in set(range(len(rows))) - set(kept.classes.tolist()):
        better = kept.scores >= scores[k]
        assert (iou(boxes[k], kept.boxes[better]) > 0.5).any()
