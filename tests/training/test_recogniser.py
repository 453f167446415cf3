"""What the reader learns from, and how: on streets made up here, small enough for seconds."""

from __future__ import annotations

import importlib.util
import json
import random
import shutil
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kryss.training.crops import NEGATIVE_IOU, NO_LIGHT, POSITIVE_IOU, UNKNOWN, Crops, Mixture, jittered
from kryss.training.data.photos import LabelledPhoto, is_held_out
from kryss.training.prelabel import Find, key_of, write
from kryss.training.recipe import RecipeError
from kryss.training.recogniser import (
    ReaderRecipe,
    fit_temperature,
    judge,
    load_reader_recipe,
    material,
    partial_cross_entropy,
    rate_factor,
    train,
)
from kryss.vision.boxes import iou
from kryss.vision.recognise import INPUT_PX, Reader, Settings, decode, load_reader

SPRITES = Path(__file__).parents[2] / "include" / "kryss" / "demo" / "town" / "signs"
CHECKPOINT = Path(__file__).parents[2] / "include" / "kryss" / "vision" / "checkpoints" / "kryss-reader-v2.safetensors"
DATA = Path(__file__).parents[3] / "shared" / "data"
LEFT, RIGHT, STOP = "regulatory--turn-left--g1", "regulatory--turn-right--g1", "regulatory--stop--g1"
LIGHT = "object--traffic-light--general-upright"
CLASSES = (LEFT, RIGHT, STOP, LIGHT)
RED = (220, 20, 20)
needs_sprites = pytest.mark.skipif(
    importlib.util.find_spec("resvg_py") is None or not SPRITES.is_dir(), reason="the extra 'training' is not installed"
)


def street(number: int, name: str, box: tuple[int, int, int, int]) -> LabelledPhoto:
    """A grey street with a red square for a sign."""
    pixels = np.random.default_rng(number).integers(90, 130, (240, 360, 3), dtype=np.uint8)
    left, top, right, bottom = box
    pixels[top:bottom, left:right] = RED
    body = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    return LabelledPhoto(number, body, 360, 240, ((*box, name),))


@pytest.fixture(scope="module")
def streets() -> list[LabelledPhoto]:
    return [street(1, LEFT, (200, 60, 240, 100)), street(2, STOP, (100, 80, 130, 120)), street(3, LIGHT, (50, 40, 70, 100))]


@pytest.fixture(scope="module")
def single() -> LabelledPhoto:
    pixels = np.full((50, 50, 3), 120, np.uint8)
    pixels[5:45, 5:45] = RED
    return LabelledPhoto("00001.png", cv2.imencode(".png", pixels[..., ::-1])[1].tobytes(), 50, 50, ((5, 5, 45, 45, STOP),))


@pytest.fixture(scope="module")
def crops(streets: list[LabelledPhoto], single: LabelledPhoto) -> Crops:
    finds = {
        key_of(streets[0]): [
            Find((20, 150, 50, 180), 0.4, "sign", "finder"),
            Find((300, 150, 320, 200), 0.3, "light", "finder"),
            Find((202, 61, 241, 99), 0.9, "sign", "finder"),
        ]
    }
    return Crops(streets, [single], CLASSES, SPRITES, finds, [LEFT, RIGHT, STOP], seed=4)


@needs_sprites
def test_a_crop_follows_from_seed_and_number(crops: Crops) -> None:
    labels = set()
    for number in range(150):
        first, again = crops.sample(number), crops.sample(number)
        assert np.array_equal(first.pixels, again.pixels) and first.label == again.label
        assert first.pixels.shape == (INPUT_PX, INPUT_PX, 3) and first.pixels.dtype == np.uint8
        assert (first.deltas is None) == (again.deltas is None)
        assert first.deltas is None or np.array_equal(first.deltas, again.deltas)
        labels.add(first.label)
    assert {0, 1, 2, 3, crops.background} <= labels
    assert labels & {UNKNOWN, NO_LIGHT}


@needs_sprites
def test_the_box_of_a_crop_lies_around_what_is_red(crops: Crops, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through jitter, stretching, shrinking and the camera: where the deltas say that the sign is."""
    # Where the photo ends in a sign, its last red pixels are repeated outside.
    monkeypatch.setattr("kryss.training.crops.CUT_SHARE", 0.0)
    rng = random.Random(1)
    overlaps = []
    for patch in crops.street[0] * 60:
        scene = crops._turned(rng, crops_scene(patch))
        sample = crops._object(rng, scene)
        [(left, top, right, bottom)] = decode(np.array([[0, 0, INPUT_PX, INPUT_PX]], float), sample.deltas[None])
        values = sample.pixels.astype(int)
        red = values[..., 0] - values[..., 1:].max(-1)
        if red.max() < 60:
            continue  # faded
        columns, rows = np.flatnonzero((red > red.max() / 2).any(0)), np.flatnonzero((red > red.max() / 2).any(1))
        seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)
        overlaps.append(iou(seen, np.clip([[left, top, right, bottom]], 0, INPUT_PX))[0])
    # Motion blur and occlusion move the half of the redness in some.
    assert len(overlaps) > 30 and np.mean(overlaps) > 0.85 and np.median(overlaps) > 0.9


@needs_sprites
def test_what_an_edge_cuts_keeps_the_box_of_what_is_left(crops: Crops) -> None:
    from kryss.training.crops import _cut_by_edge

    rng = random.Random(3)
    whole = crops_scene(crops.street[2][0])
    area = (whole.box[2] - whole.box[0]) * (whole.box[3] - whole.box[1])
    for _ in range(60):
        scene = _cut_by_edge(rng, whole)
        left, top, right, bottom = scene.box
        height, width = scene.pixels.shape[:2]
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        assert left < 1 or top < 1 or right > width - 1 or bottom > height - 1
        assert 0.4 < (right - left) * (bottom - top) / area < 0.85
        values = scene.pixels.astype(int)
        red = (values[..., 0] - values[..., 1]) > 60
        rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
        seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)
        assert iou(seen, np.array([scene.box]))[0] > 0.9


def crops_scene(patch):  # type: ignore[no-untyped-def]
    from kryss.training.crops import _Scene

    return _Scene(patch.pixels, patch.box, patch.label, list(patch.others), patch.stretch)


@needs_sprites
def test_a_mirrored_arrow_points_the_other_way(crops: Crops) -> None:
    rng = random.Random(2)
    patch = crops.street[0][0]
    seen = {crops._turned(rng, crops_scene(patch)).label for _ in range(40)}
    assert seen == {CLASSES.index(LEFT), CLASSES.index(RIGHT)}
    stop = crops.street[2][0]
    assert {crops._turned(rng, crops_scene(stop)).label for _ in range(40)} == {CLASSES.index(STOP)}


@needs_sprites
def test_a_find_without_a_label_teaches_only_what_it_is_not(crops: Crops) -> None:
    assert [patch.label for patch in crops.finds] == [UNKNOWN]
    assert [patch.label for patch in crops.no_lights] == [NO_LIGHT]
    signs = [CLASSES.index(name) for name in (LEFT, RIGHT, STOP)]
    for label, forbidden in ((UNKNOWN, signs), (NO_LIGHT, [*signs, CLASSES.index(LIGHT)])):
        allowed = crops.partial[label]
        assert not allowed[forbidden].any()
        assert allowed.sum() == len(CLASSES) + 2 - len(forbidden)
    numbers = [n for n in range(400) if crops.sample(n).label in (UNKNOWN, NO_LIGHT)]
    _, allowed, _, has_box = crops.batch(numbers[0], 1)
    assert allowed.sum() > 1 and not has_box.any()


@needs_sprites
def test_places_that_a_reader_takes_for_lights_are_mined_beside_the_labels_only(streets: list[LabelledPhoto]) -> None:
    def sees_lights(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A light wherever there is no red."""
        logits = np.zeros((len(pixels), len(CLASSES) + 2), np.float32)
        red = pixels[..., 0].astype(int) - pixels[..., 1]
        logits[:, CLASSES.index(LIGHT)] = np.where((red > 60).mean((1, 2)) < 0.01, 9, -9)
        return logits, np.zeros((len(pixels), 4), np.float32)

    crops = Crops(streets, [], CLASSES, SPRITES, seed=4)
    finds = {key_of(streets[0]): [Find((0, 0, 60, 60), 0.3, "light", "lights")]}
    kept = crops.mine(streets, finds, Reader(sees_lights, Settings(CLASSES)), 60)
    assert kept == len(crops.no_lights) > 10
    assert all(patch.label == NO_LIGHT for patch in crops.no_lights)
    assert "no_light" in crops.kinds
    again = Crops(streets, [], CLASSES, SPRITES, seed=4)
    assert again.mine(streets, finds, Reader(sees_lights, Settings(CLASSES)), 60) == kept
    for patch in crops.no_lights:
        left, top, right, bottom = (round(v) for v in patch.box)
        inside = patch.pixels[top:bottom, left:right].astype(int)
        assert not ((inside[..., 0] - inside[..., 1]) > 60).any()


@needs_sprites
def test_judging_uses_other_signs_than_learning(crops: Crops, single: LabelledPhoto) -> None:
    other = crops.judging([replace(single, id="other")])
    assert [photo.id for photos in other.single.values() for photo in photos] == ["other"]
    assert "street" not in other.kinds and "find" not in other.kinds
    assert [photo.id for photos in crops.single.values() for photo in photos] == ["00001.png"]
    assert not np.array_equal(other.sample(0).pixels, crops.sample(0).pixels)


@given(st.integers(0, 10**6), st.floats(0, 500), st.floats(0, 500), st.floats(5, 300), st.floats(5, 300))
def test_a_jittered_box_still_means_its_object(seed: int, x: float, y: float, width: float, height: float) -> None:
    box = (x, y, x + width, y + height)
    assert iou(np.array(jittered(random.Random(seed), box)), np.array([box]))[0] >= POSITIVE_IOU > NEGATIVE_IOU


def test_the_loss_of_one_allowed_output_is_the_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 4, 1])
    for smoothing in (0.0, 0.1):
        expected = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
        one_hot = torch.nn.functional.one_hot(labels, 5).bool()
        assert torch.isclose(partial_cross_entropy(logits, one_hot, smoothing), expected)


def test_the_loss_of_several_allowed_outputs_is_that_of_their_sum() -> None:
    torch.manual_seed(1)
    logits = torch.randn(4, 5)
    allowed = torch.tensor([[True, False, True, False, True]] * 4)
    expected = -(logits.softmax(1) * allowed).sum(1).log().mean()
    assert torch.isclose(partial_cross_entropy(logits, allowed, 0.1), expected)


def test_the_temperature_undoes_what_made_too_sure() -> None:
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(4000, 6, generator=generator) * 2
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    right = torch.nn.functional.one_hot(labels, 6).bool()
    assert abs(fit_temperature(logits, right) - 1) < 0.1
    assert abs(fit_temperature(logits * 2.5, right) - 2.5) < 0.25


def test_the_learning_rate_rises_once_and_ends_at_nothing() -> None:
    rates = [rate_factor(step / 200) for step in range(201)]
    top = int(np.argmax(rates))
    assert rates[top] == pytest.approx(1, abs=0.01) and rates[0] < 0.1 and rates[-1] == pytest.approx(0, abs=1e-9)
    assert all(np.diff(rates[: top + 1]) >= 0) and all(np.diff(rates[top:]) <= 0)


@needs_sprites
def test_a_run_that_was_stopped_ends_with_the_same_weights(crops: Crops, tmp_path: Path) -> None:
    recipe = ReaderRecipe(name="tiny", seed=2, start="none", steps=4, batch=4, save_every=2, workers=0)
    whole = train(crops, recipe, tmp_path / "whole").state_dict()

    class Power(Crops):
        def batch(self, number: int, size: int):  # type: ignore[no-untyped-def]
            if number == 3:
                raise KeyboardInterrupt
            return super().batch(number, size)

    cut = Power.__new__(Power)
    cut.__dict__.update(crops.__dict__)
    with pytest.raises(KeyboardInterrupt):
        train(cut, recipe, tmp_path / "cut")
    again = train(crops, recipe, tmp_path / "cut", resume=True).state_dict()
    assert all(torch.equal(whole[key], again[key]) for key in whole)
    different = train(crops, recipe.model_copy(update={"seed": 3}), tmp_path / "other").state_dict()
    assert not all(torch.equal(whole[key], different[key]) for key in whole)


def test_shipped_recipes_are_valid_and_bad_ones_are_named(tmp_path: Path) -> None:
    assert load_reader_recipe("reader").steps > 1000
    assert load_reader_recipe("reader-again").data.keys() == {"gtsdb", "lights", "gtsrb"}
    bad = tmp_path / "bad.yaml"
    for text in (
        "name: x\nsteps: 0\n",
        "name: x\nsteps: 5\nstpes: 3\n",
        "name: x\nsteps: 5\nmixture: {strete: 1}\n",
        "name: x\nsteps: 5\nmixture: {street: -1}\n",
    ):
        bad.write_text(text)
        with pytest.raises(RecipeError, match=r"bad\.yaml"):
            load_reader_recipe(bad)
    with pytest.raises(RecipeError, match="missing: gtsdb"):
        material(load_reader_recipe("reader"), {}, SPRITES)


def one_photo(folder: Path) -> None:
    """GTSDB as COCO: a grey photo, 360 x 240, with one sign."""
    (folder / "images").mkdir()
    pixels = np.random.default_rng(0).integers(90, 130, (240, 360, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "images" / "0.png"), pixels)
    image = {"id": 0, "file_name": "0.png", "width": 360, "height": 240}
    sign = {"image_id": 0, "category_id": 14, "bbox": [200, 60, 40, 40]}
    (folder / "annotations.json").write_text(json.dumps({"images": [image], "annotations": [sign]}))


@needs_sprites
@pytest.mark.parametrize("source", [{"format": "gtsdb"}, {"format": "coco", "ids": "gtsdb"}])
def test_gtsdb_in_either_form_labels_its_classes_wherever_they_stand(source: dict[str, str], tmp_path: Path) -> None:
    one_photo(tmp_path)
    key = key_of(LabelledPhoto(0, tmp_path / "images" / "0.png", 360, 240, ()))
    write([(key, [Find((20, 150, 50, 180), 0.4, "sign", "finder")])], tmp_path / "seen.json")
    recipe = ReaderRecipe.model_validate({"name": "x", "steps": 5, "data": {"gtsdb": source}})
    made = material(recipe, {"gtsdb": tmp_path}, SPRITES, tmp_path / "seen.json")
    assert [patch.label for patch in made.crops.finds] == [UNKNOWN]
    # Which drawings are painted decides what is learnt, too: a run does not go on with others.
    drawings = shutil.copytree(SPRITES, tmp_path / "drawings")
    same = material(recipe, {"gtsdb": tmp_path}, drawings, tmp_path / "seen.json").digest
    next(drawings.glob("*.svg")).unlink()
    assert same == made.digest != material(recipe, {"gtsdb": tmp_path}, drawings, tmp_path / "seen.json").digest


@needs_sprites
@pytest.mark.parametrize(("share", "told"), [(1, "nothing is left to judge by"), (0, "nothing is left to learn from")])
def test_a_mixture_that_leaves_nothing_is_refused_before_the_training(share: int, told: str, tmp_path: Path) -> None:
    one_photo(tmp_path)
    mixture = dict.fromkeys((part.name for part in fields(Mixture)), 0) | {"street": share}
    recipe = ReaderRecipe.model_validate({"name": "x", "steps": 5, "mixture": mixture, "data": {"gtsdb": {"format": "gtsdb"}}})
    with pytest.raises(RecipeError, match=told):
        material(recipe, {"gtsdb": tmp_path}, SPRITES)


@pytest.mark.real
@pytest.mark.skipif(not (DATA / "gtsdb-train600").is_dir() or not CHECKPOINT.is_file(), reason="GTSDB is not here")
def test_the_shipped_reader_names_and_tightens_boxes_of_photos_it_never_saw() -> None:
    from kryss.training.data import coco
    from kryss.vision.taxonomy import from_gtsdb

    found = coco.load(DATA / "gtsdb-train600" / "annotations.json", DATA / "gtsdb-train600" / "images", from_gtsdb())
    held = [photo for photo in found.photos if is_held_out(photo.id) and photo.boxes]
    judged = judge(load_reader(CHECKPOINT, "cpu"), held[:25], passes=2, shakes=1)
    assert judged.boxes >= 25
    assert judged.accuracy >= 0.9
    assert judged.iou[2] > judged.iou[0] + 0.1
    assert judged.false_positives <= 0.05
