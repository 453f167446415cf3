"""The reader: its formula, its crops, and that a candidate's result is its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kryss.vision.recognise import (
    BATCH,
    INPUT_PX,
    MARGIN,
    CropNetwork,
    Reader,
    Settings,
    cut_out,
    decode,
    encode,
    load_reader,
    save_network,
    squares,
    torch_run,
)

CLASSES = ("a", "b", "c")
BOX = st.tuples(st.floats(-50, 1500), st.floats(-50, 900), st.floats(2, 400), st.floats(2, 400))


@pytest.fixture(scope="module")
def network() -> CropNetwork:
    torch.manual_seed(3)
    made = CropNetwork(len(CLASSES) + 2)
    # Norms as after a training: of a fresh network nothing of the crop is left at the end.
    made.train()
    with torch.no_grad():
        for _ in range(3):
            made(torch.rand(8, 3, INPUT_PX, INPUT_PX) * 255)
    return made.eval()


@pytest.fixture(scope="module")
def reader(network: CropNetwork) -> Reader:
    return Reader(torch_run(network), Settings(CLASSES))


@pytest.fixture(scope="module")
def network_free() -> Reader:
    """To be asked, not to be run."""
    return Reader(lambda crops: (crops, crops), Settings(CLASSES), (8, 4, 1))


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    rng = np.random.default_rng(5)
    blocks = rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((12, 12, 1), np.uint8))


def boxes_in(photo: np.ndarray, number: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    height, width = photo.shape[:2]
    corners = rng.uniform(0, [width - 20, height - 20], (number, 2))
    return np.concatenate([corners, corners + rng.uniform(8, 90, (number, 2))], 1).astype(np.float32)


@given(st.lists(BOX, min_size=1, max_size=5), st.lists(BOX, min_size=5, max_size=5))
def test_deltas_bring_back_the_box_that_they_were_made_of(rows: list[tuple[float, ...]], seen: list[tuple[float, ...]]) -> None:
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in rows])
    frames = squares(np.array([(x, y, x + w, y + h) for x, y, w, h in seen[: len(rows)]]))
    size = frames[:, 2:] - frames[:, :2]
    fits = ((boxes[:, 2:] - boxes[:, :2]) <= 2 * size).all(1)
    again = decode(frames, encode(frames, boxes))
    assert np.allclose(again[fits], boxes[fits], atol=1e-6)


@given(BOX)
def test_a_square_has_the_boxs_centre_and_a_quarter_of_its_longer_side_on_each_side(row: tuple[float, ...]) -> None:
    x, y, w, h = row
    [(left, top, right, bottom)] = squares(np.array([[x, y, x + w, y + h]]))
    assert np.allclose([(left + right) / 2, (top + bottom) / 2], [x + w / 2, y + h / 2])
    assert np.isclose(right - left, bottom - top)
    assert np.isclose(right - left, max(w, h, 4) * (1 + 2 * MARGIN))


def test_no_deltas_mean_the_box_that_chose_the_square() -> None:
    square_box = np.array([[100.0, 50.0, 140.0, 90.0]])
    assert np.allclose(decode(squares(square_box), np.zeros((1, 4))), square_box, atol=1e-5)


@pytest.mark.parametrize(
    "box", [(-30, -30, 10, 10), (70, 40, 160, 130), (-400, -400, -300, -300), (0, 0, 80, 50), (500, 20, 560, 80)]
)
def test_a_crop_outside_the_photo_goes_on_with_its_edge(box: tuple[int, ...]) -> None:
    grey = np.full((50, 80, 3), 90, np.uint8)
    made = cut_out(grey, np.array(box, float))
    assert made.shape == (INPUT_PX, INPUT_PX, 3) and (made == 90).all()


@given(BOX)
def test_outside_the_photo_every_pixel_is_the_nearest_of_its_edge(row: tuple[float, ...]) -> None:
    x, y, w, h = row
    left, top, right, bottom = round(x) // 8, round(y) // 8, round(x) // 8 + round(w) + 1, round(y) // 8 + round(h) + 1
    photo = np.arange(30 * 50 * 3, dtype=np.uint32).reshape(30, 50, 3).astype(np.uint8)
    wanted = photo[np.arange(top, bottom).clip(0, 29)[:, None], np.arange(left, right).clip(0, 49)[None]]
    expected = np.asarray(Image.fromarray(wanted).resize((INPUT_PX, INPUT_PX), Image.Resampling.BILINEAR))
    assert np.array_equal(cut_out(photo, np.array([left, top, right, bottom], float)), expected)


def test_a_crop_is_exact_to_a_part_of_a_pixel() -> None:
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 100, 0).repeat(3, 2)
    first, moved = (cut_out(ramp, np.array([x, 20, x + 48, 68.0])).astype(float) for x in (40.0, 40.5))
    assert np.isclose((moved - first)[:, 10:-10].mean(), 0.5, atol=0.05)


def test_neither_number_nor_order_of_the_candidates_changes_a_bit(reader: Reader, photo: np.ndarray) -> None:
    boxes = boxes_in(photo, 2 * BATCH + 5, 1)
    shares, refined = reader(photo, boxes)
    order = np.random.default_rng(2).permutation(len(boxes))
    shuffled = reader(photo, boxes[order])
    assert np.array_equal(shuffled[0], shares[order]) and np.array_equal(shuffled[1], refined[order])
    for k in (0, 7, BATCH, len(boxes) - 1):
        alone = reader(photo, boxes[k : k + 1])
        assert np.array_equal(alone[0][0], shares[k]) and np.array_equal(alone[1][0], refined[k])
    assert len(np.unique(shares, axis=0)) > len(boxes) // 2


@given(st.integers(0, 50))
def test_batches_hold_all_crops_and_little_else(network_free: Reader, number: int) -> None:
    parts = network_free.parts(number)
    assert set(parts) <= {8, 4, 1} and number <= sum(parts) <= number + 1
    assert sorted(parts, reverse=True) == parts


def test_batches_of_several_sizes_read_what_one_size_reads(network: CropNetwork, reader: Reader, photo: np.ndarray) -> None:
    sizes = []

    def run(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sizes.append(len(crops))
        return torch_run(network)(crops)

    boxes = boxes_in(photo, 14, 4)
    several = Reader(run, Settings(CLASSES), (8, 4, 1))(photo, boxes, passes=1)
    for one, other in zip(several, reader(photo, boxes, passes=1), strict=True):
        assert np.allclose(one, other, atol=1e-4)
    assert sizes == [8, 4, 1, 1]


def test_what_does_not_matter_any_more_is_not_read_again(reader: Reader, photo: np.ndarray) -> None:
    boxes = boxes_in(photo, 9, 6)
    once, twice = reader(photo, boxes, passes=1), reader(photo, boxes, passes=2)
    told: list[tuple[np.ndarray, np.ndarray]] = []

    def matters(rows: np.ndarray, most: np.ndarray) -> np.ndarray:
        told.append((rows, most))
        return rows % 2 == 0

    found = reader(photo, boxes, passes=2, matters=matters)
    odd = np.arange(9) % 2 == 1
    for one, alone, both in zip(found, once, twice, strict=True):
        assert np.array_equal(one[odd], alone[odd]) and np.array_equal(one[~odd], both[~odd])
    assert not np.array_equal(once[0], twice[0])
    [(rows, most)] = told
    assert (twice[0][rows, : len(CLASSES)].max(1) <= most + 1e-6).all()
    assert np.allclose(most, (once[0][rows, : len(CLASSES)].max(1) + 1) / 2)


def test_probabilities_add_up_and_refined_boxes_lie_in_the_photo(reader: Reader, photo: np.ndarray) -> None:
    height, width = photo.shape[:2]
    wild = np.array(
        [[-200, -100, -20, 40], [width - 5, height - 5, width + 90, height + 70], [3, 3, 3, 3], [0, 0, width, height]]
    )
    shares, refined = reader(photo, wild)
    assert shares.shape == (4, len(CLASSES) + 2) and shares.dtype == refined.dtype == np.float32
    assert np.allclose(shares.sum(1), 1, atol=1e-5)
    assert np.isfinite(refined).all() and (refined >= 0).all() and (refined <= [width, height, width, height]).all()


def test_without_candidates_there_is_nothing(reader: Reader, photo: np.ndarray) -> None:
    shares, refined = reader(photo, np.zeros((0, 4), np.float32))
    assert shares.shape == (0, len(CLASSES) + 2) and refined.shape == (0, 4)


def test_a_higher_temperature_makes_less_sure(network: CropNetwork, photo: np.ndarray) -> None:
    boxes = boxes_in(photo, 6, 4)
    sure, _ = Reader(torch_run(network), Settings(CLASSES, temperature=0.5, passes=1))(photo, boxes)
    unsure, _ = Reader(torch_run(network), Settings(CLASSES, temperature=3.0, passes=1))(photo, boxes)
    assert (unsure.max(1) < sure.max(1)).all()
    assert (unsure.argmax(1) == sure.argmax(1)).all()


def test_a_file_gives_back_the_network_and_its_settings(network: CropNetwork, photo: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "reader.safetensors"
    save_network(network.state_dict(), Settings(CLASSES, temperature=1.3, passes=1), path)
    again = load_reader(path, "cpu")
    assert again.classes == CLASSES and again.settings == Settings(CLASSES, temperature=1.3, passes=1)
    boxes = boxes_in(photo, 4, 9)
    whole = Reader(torch_run(network), again.settings)(photo, boxes)
    assert np.allclose(again(photo, boxes)[0], whole[0], atol=0.02)
    first = path.read_bytes()
    save_network(dict(reversed(network.state_dict().items())), again.settings, path)
    assert path.read_bytes() == first


def test_a_file_that_is_no_reader_is_named(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "depth.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"depth\.safetensors is no reader"):
        load_reader(path, "cpu")
