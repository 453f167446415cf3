"""Every option of a recipe does what it says: what cannot be used is named, the rest reaches the optimiser and the loss."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from kryss.training.recipe import Recipe, RecipeError, load_recipe
from kryss.training.schedule import rate_factor

RATE = 1e-3
QUIET = {"every_steps": 1000, "photos": 1, "pictures": 0}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sampler": {"mosiac": 0.5}}, r"sampler\.mosiac: no such option; known: .*mosaic"),
        ({"sampler": {"mosaic": "often"}}, r"sampler\.mosaic: .*valid number.*'often'"),
        ({"sampler": {"mosaic": 7}}, r"sampler\.mosaic: 7 is no share"),
        ({"sampler": {"scale": [2, 1]}}, r"sampler\.scale: \[2\.0, 1\.0\]"),
        ({"sampler": {"around_sign": 0.7, "around_light": 0.6}}, "more than 1 together"),
        ({"model": {"anchor_scal": 3}}, r"model\.anchor_scal: no such option; known: .*anchor_scale"),
        ({"model": {"num_classes": 3}}, r"model\.num_classes"),
        ({"architecture": "efficientdet_x"}, r"no 'efficientdet_x'; it has .*tf_efficientdet_d7"),
    ],
)
def test_what_would_do_nothing_is_named_before_anything_is_read(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({"name": "mine", "stages": [{"name": "a", "rate": 0.1, "steps": 5}], **change}))
    with pytest.raises(RecipeError, match=f"mine.yaml: .*{told}"):
        load_recipe(path)


LIGHT = ("object--traffic-light--*",)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"classes": ["regulatory--stopp--g1"]}, "classes: no class 'regulatory--stopp--g1': did you mean regulatory--stop--g1"),
        ({"sampler": {"never_painted": ["banana"]}}, "sampler.never_painted: no class 'banana'"),
        ({"outputs": {"ampel": LIGHT}}, "outputs: no class 'ampel', and neither sign nor light"),
        ({"outputs": {"sign": ["regulatry--*"]}}, "outputs.sign: no class that is learnt is meant by regulatry"),
        ({"data": {"mine": {"labelled": ["regulatry--*"]}}}, "data.mine.labelled: no class that is learnt"),
        ({"outputs": {"light": LIGHT}, "classes": ["regulatory--stop--g1"]}, "outputs.light: no class that is learnt"),
    ],
)
def test_names_that_mean_no_class_are_named(change: dict[str, Any], told: str) -> None:
    from kryss.training.beforehand import check_names

    whole = {"name": "mine", "stages": [{"name": "a", "rate": 0.1, "steps": 5}]}
    with pytest.raises(RecipeError, match=re.escape(told)):
        check_names(Recipe.model_validate({**whole, **change}))
    for sound in (load_recipe("transfer"), load_recipe("street-lite0"), Recipe.model_validate(whole)):
        check_names(sound)


@pytest.mark.parametrize("names", [("sign", "light"), ("light", "sign"), ("light",)])
def test_a_finder_is_one_in_whatever_order_its_outputs_stand(names: tuple[str, ...]) -> None:
    """Otherwise its lights would be judged, and kept, as signs of a class "light"."""
    from kryss.training.registering import entry_of_run
    from kryss.training.run import Material
    from kryss.vision.networks import class_names
    from kryss.vision.taxonomy import is_light

    recipe = Recipe.model_validate({"name": "mine", "stages": [{"name": "a", "rate": 0.1, "steps": 5}]})
    made = Material((), (), (), names, {}, {}, {}, "", {})
    found = class_names(entry_of_run(recipe, made, "mine", "1", {}))
    assert {names[number]: is_light(name) for number, name in found.items()} == {name: name == "light" for name in names}


@pytest.mark.parametrize("name", ["transfer", "street-lite0"])
def test_what_a_run_keeps_of_its_recipe_is_a_recipe(tmp_path: Path, name: str) -> None:
    """``OUT/recipe.yaml`` can be given as ``--config``."""
    recipe = load_recipe(name)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json", by_alias=True)))
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


@pytest.fixture
def stalled(tiny: Callable[..., Any]) -> Callable[..., Any]:
    """Makes trainers that are judged after every step by a box that nobody can find: no validation is better than the first."""
    from kryss.training.data import LabelledPhoto
    from kryss.training.validation import Judged

    speck = (3.0, 3.0, 4.0, 4.0, "regulatory--stop--g1")

    def make(out: str, *stages: dict[str, Any]) -> Any:
        rows = [{"optimiser": "sgd", "rate": RATE, "train": "heads", **stage} for stage in stages]
        trainer = tiny(out, stages=rows, validation={**QUIET, "every_steps": 1})
        trainer.judged = [Judged(LabelledPhoto(1, trainer.judged[0].photo.source, 128, 128, (speck,)), frozenset({0, 1}))]
        return trainer

    return make


def test_a_plateau_lowers_the_rate_when_validation_stalls(stalled: Callable[..., Any]) -> None:
    falling = {"name": "a", "schedule": "plateau", "plateau_patience": 1, "plateau_factor": 0.3, "steps": 4}
    trainer = stalled("out", falling)
    trainer.run()
    # The first figure is the best, the second is forgiven, the third is one too many.
    assert trainer.optimiser.param_groups[0]["lr"] == pytest.approx(0.3 * RATE)
    constant = stalled("constant", {"name": "a", "steps": 4})
    constant.run()
    assert constant.optimiser.param_groups[0]["lr"] == RATE


def test_a_stage_ends_when_it_has_converged_and_the_next_one_begins(stalled: Callable[..., Any], tmp_path: Path) -> None:
    stalled("out", {"name": "first", "steps": 20, "patience": 2}, {"name": "second", "steps": 2}).run()
    stages = [line.split(",")[1] for line in (tmp_path / "out" / "validation.csv").read_text().splitlines()[1:]]
    assert stages == ["first"] * 3 + ["second"] * 2, "the best and two that are no better; then its steps"


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle", "constant"])
def test_the_optimiser_gets_the_rates_of_the_schedule(tiny: Callable[..., Any], schedule: str) -> None:
    stage = {"name": "a", "rate": RATE, "backbone_rate": 0.5, "schedule": schedule, "steps": 4, "warm_up": 2}
    trainer = tiny(stages=[stage], validation=QUIET)
    seen: list[list[float]] = []
    step = trainer._step

    def noted(batches: Any) -> Any:
        seen.append([group["lr"] for group in trainer.optimiser.param_groups])
        return step(batches)

    trainer._step = noted
    trainer.run()
    wanted = [rate_factor(trainer.recipe.stages[0], k, k / 4) * RATE for k in range(4)]
    assert np.array(seen) == pytest.approx(np.array([[rate, rate / 2] for rate in wanted]))
    assert len({row[0] for row in seen}) > 1


def test_gradients_of_several_batches_are_averaged(tiny: Callable[..., Any]) -> None:
    """One step of two batches moves the weights to the middle of where either alone would."""

    def after(out: str, first: int, **changes: Any) -> dict[str, torch.Tensor]:
        # Fast, so that what a step moves is far above the weights' rounding.
        stage = {"name": "a", "optimiser": "sgd", "rate": 1.0, "steps": 1}
        trainer = tiny(out, stages=[stage], validation=QUIET, clip=1e9, weight_decay=0, **changes)
        sample = trainer.samples.sample
        trainer.samples.sample = lambda number: sample(number + first)
        before = {key: value.clone() for key, value in trainer.model.named_parameters()}
        trainer.run()
        return {key: (value - before[key]).detach() for key, value in trainer.model.named_parameters()}

    both, one, other = after("both", 0, accumulate=2), after("one", 0), after("other", 2)
    moved = [key for key, value in both.items() if value.abs().max() > 0]
    assert len(moved) > 50
    for key in moved:
        assert torch.allclose(both[key], (one[key] + other[key]) / 2, rtol=1e-3, atol=2e-6), key
    assert any(not torch.allclose(one[key], other[key], rtol=1e-2) for key in moved)


def test_class_weights_weigh_the_losses_of_their_classes() -> None:
    from kryss.training.detector import Learner

    torch.manual_seed(0)
    tiny = {"backbone_name": "mobilenetv3_small_050", "fpn_channels": 16, "fpn_cell_repeats": 1, "box_class_repeats": 1}
    recipe = {"name": "t", "side_px": 128, "model": tiny, "loss": {"cross_entropy": 1.0}, "start": "none"}
    learner = Learner(Recipe.model_validate({**recipe, "stages": [{"name": "a", "rate": 1, "steps": 1}]}), 2).eval()
    anchors = len(learner.anchors.boxes)
    classes = torch.full((1, anchors), -1)
    classes[0, 7], classes[0, 9] = 0, 1
    logits, codes = torch.randn(1, anchors, 2), torch.zeros(1, anchors, 4)

    def losses(*weights: float) -> dict[str, float]:
        learner.class_weights = torch.tensor(weights, dtype=torch.float32)
        return {key: float(value) for key, value in learner.losses(logits, codes, classes, codes).items()}

    first, second, both = losses(1, 0), losses(0, 1), losses(2, 0.5)
    for part in ("focal", "cross_entropy"):
        assert first[part] > 0 and second[part] > 0
        assert both[part] == pytest.approx(2 * first[part] + 0.5 * second[part], rel=1e-4)


def test_inverse_root_weights_follow_the_boxes_of_the_data() -> None:
    from kryss.training.data import LabelledPhoto
    from kryss.training.run import Material, class_weights

    stop, lamp = "regulatory--stop--g1", "object--traffic-light--general-upright"
    photos = [LabelledPhoto(k, b"", 99, 99, ((1, 1, 9, 9, stop if k else lamp),)) for k in range(10)]
    empty = dict.fromkeys((one.name for one in fields(Material)), ())
    told = {"train": tuple(photos), "names": ("sign", "light"), "output_of": {stop: 0, lamp: 1}}
    made = Material(**{**empty, **told})  # type: ignore[arg-type]
    stages = [{"name": "a", "rate": 1, "steps": 1}]
    weighed = Recipe.model_validate({"name": "t", "stages": stages, "loss": {"class_weights": "inverse-sqrt"}})
    assert class_weights(weighed, made).tolist() == pytest.approx([0.5, 1.5]), "9 signs and 1 light: 1/3 to 1, mean 1"
    assert class_weights(Recipe.model_validate({"name": "t", "stages": stages}), made).tolist() == [1, 1]


@pytest.mark.parametrize("architecture", ["tf_efficientdet_lite1", "tf_efficientdet_d0", "efficientdetv2_dt"])
def test_other_members_of_the_family_learn(architecture: str) -> None:
    from kryss.training.detector import Batch, Learner

    torch.set_num_threads(1)
    torch.manual_seed(0)
    stages = [{"name": "a", "rate": 1e-3, "steps": 1}]
    learner = Learner(Recipe.model_validate({"name": "t", "side_px": 128, "architecture": architecture, "stages": stages}), 2)
    images = torch.randint(0, 255, (2, 128, 128, 3), dtype=torch.uint8)
    boxes, labels = (torch.tensor([[20.0, 20, 70, 80]]),) * 2, (torch.tensor([0]), torch.tensor([1]))
    batch = Batch(images, boxes, labels, (torch.zeros(0, 4),) * 2)
    learner(batch)["loss"].backward()
    learned = [p.grad for p in learner.model.parameters() if p.grad is not None]
    assert len(learned) > 100 and all(torch.isfinite(gradient).all() for gradient in learned)


@pytest.mark.slow
def test_every_member_of_the_family_can_be_built_and_its_anchors_fit() -> None:
    from effdet.anchors import Anchors
    from effdet.config.model_config import efficientdet_model_param_dict as known

    from kryss.training.detector import build

    for name in sorted(known):
        # Without memory: the largest have 77 million weights.
        with torch.device("meta"):
            model = build(name, 5, (256, 256), {}).eval()
        found, _ = model(torch.zeros(1, 3, 256, 256, device="meta"))
        places = sum(level.shape[1] // 5 * level.shape[2] * level.shape[3] for level in found)
        assert places == len(Anchors.from_config(model.config).boxes), name
