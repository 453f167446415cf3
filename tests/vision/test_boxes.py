"""Pixels into inputs, outputs into boxes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kryss.vision.boxes import efficientdet, picodet, planes, yolox
from kryss.vision.registry import Preprocessing

WANTED = np.array([9, 11])


def test_planes_are_what_the_entry_asks_for() -> None:
    photo = np.random.default_rng(1).integers(0, 255, (10, 20, 3), dtype=np.uint8)
    made = planes(photo, Preprocessing(size="native", max_side=64, mean=(0.5, 0.4, 0.3), std=(0.5, 0.5, 0.25)))
    assert made.shape == (1, 3, 10, 20)
    assert np.allclose(made[0].transpose(1, 2, 0) * [0.5, 0.5, 0.25] + [0.5, 0.4, 0.3], photo / 255, atol=1e-6)
    turned = planes(photo, Preprocessing(size="native", max_side=64, channels="bgr", scale=1.0))
    assert np.array_equal(turned[0].transpose(1, 2, 0)[..., ::-1], photo)


@given(st.integers(0, 2**31), st.booleans(), st.sampled_from([0.05, 0.3, 0.9]))
def test_boxes_of_efficientdet_are_effdets_own(seed: int, together: bool, threshold: float) -> None:
    torch = pytest.importorskip("torch")
    from effdet.anchors import decode_box_outputs

    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 500, (40, 2))
    anchors = np.concatenate([corners, corners + rng.uniform(8, 200, (40, 2))], 1)
    codes, logits = rng.normal(0, 0.7, (40, 4)), rng.normal(-1, 2, (40, 3))
    found = efficientdet(logits, codes, anchors, together, threshold)
    shares = 1 / (1 + np.exp(-logits))
    scores = 1 - (1 - shares).prod(1) if together else shares.max(1)
    rows = np.flatnonzero(scores >= threshold)
    expected = decode_box_outputs(torch.from_numpy(codes), torch.from_numpy(anchors), output_xyxy=True).numpy()[rows]
    assert np.allclose(found.boxes, expected)
    assert np.allclose(found.scores, scores[rows])
    assert found.classes.tolist() == logits[rows].argmax(1).tolist()


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
