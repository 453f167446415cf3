"""A model card: what a model is, what it learnt from, how it was made and how good it is (Mitchell et al. 2019, in short)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kryss.training.recipe import Recipe
from kryss.training.run import Material
from kryss.vision.registry import Weights, entry_document, model_key

USE = "## How it is used"
LICENCES = "State the licences of the data before you pass the model on: they are not known here."


def model_card(entry: Weights, recipe: Recipe, made: Material, figures: Mapping[str, float], trained: Mapping[str, Any]) -> str:
    """Markdown. ``figures``: of the last validation; ``trained``: as kept in the entry."""
    boxes = sum(len(photo.boxes) for photo in made.train)
    ignored = sum(len(photo.ignore) for photo in made.train)
    stages = [
        f"{k}. {s.name}: {'the backbone is frozen' if s.train == 'heads' else 'all weights'}, {s.optimiser} {s.rate:g}, "
        f"{s.schedule}, at most {s.steps} steps"
        + (f", ends after {s.patience} validations without a better one" if s.patience else "")
        for k, s in enumerate(recipe.stages, 1)
    ]
    judged = [f"| {key} | {value:.4f} |" for key, value in figures.items()]
    lines = [
        f"# {entry.name}, version {entry.version}",
        "",
        f"`{model_key(entry)}`: {entry.architecture} with {len(entry.classes)} outputs, input at native resolution up to "
        f"{entry.preprocessing.max_side if entry.preprocessing else '?'} px.",
        "",
        "## Data",
        f"{len(made.train)} photos with {boxes} boxes and {ignored} places to ignore, of the data sets "
        f"{', '.join(made.held) or 'given'}; {len(made.judged)} held-out photos judged it. "
        f"SHA-256 of the data: `{made.digest}`.",
        LICENCES,
        "",
        "## Training",
        f"Recipe `{recipe.name}` (kept as recipe.yaml): crops of {recipe.side_px} px, {recipe.batch} x {recipe.accumulate} a "
        f"step, {recipe.precision}, mean weights {recipe.ema:g}. {trained.get('steps', '?')} steps from "
        f"{trained.get('start', '?')}.",
        *stages,
        "",
        "## Validation",
        "Held-out photos at native resolution, the network alone:",
        "",
        "| | |",
        "|---|---|",
        *judged,
        "",
        "## Outputs",
        ", ".join(f"`{name}`" for name in entry.classes),
    ]
    return "\n".join(lines) + "\n"


def reader_card(classes: Sequence[str], temperature: float, trained: Mapping[str, Any]) -> str:
    """Markdown, of a second stage. ``trained``: as kept in its file."""
    recipe, held = trained["recipe"], trained["held_out"]
    left_out = ", ".join(f"{number} {kind}" for kind, number in trained["left_out"].items())
    lines = [
        f"# Reader `{recipe['name']}`",
        "",
        "Second stage of a detector: looks at each box that a finder has found again, names it, rejects it or tightens it. "
        f"{len(classes)} classes, and other-sign and background. `./kryss train join` makes it and a finder one model.",
        "",
        "## Data",
        f"{trained['photos']} photos with {trained['boxes']} boxes, of the data sets {', '.join(recipe['data']) or 'given'}, and "
        f"drawn signs; left out: {left_out or 'nothing'}. SHA-256 of the data: `{trained['data']}`.",
        LICENCES,
        "",
        "## Training",
        f"Recipe `{recipe['name']}` (kept as recipe.yaml): {trained['steps']} steps of {recipe['batch']} crops from "
        f"{trained['start']}. Logits are divided by a temperature of {temperature:.3f}, fitted on what was not learnt from.",
        "",
        "## Held-out photos",
    ]
    if held:
        lines += [
            f"{held['photos']} photos, {held['boxes']} shaken boxes, {held['background']} empty places:",
            "",
            "| | |",
            "|---|---|",
            f"| right class | {held['accuracy']:.4f} |",
            f"| mean IoU: shaken, after each pass | {', '.join(f'{value:.4f}' for value in held['iou'])} |",
            f"| IoU of at least 0.75: shaken, after each pass | {', '.join(f'{value:.4f}' for value in held['tight'])} |",
            f"| empty places read as a class | {held['false_positives']:.4f} |",
        ]
    else:
        lines.append("None shows a class that it reads.")
    return "\n".join([*lines, "", "## Classes", ", ".join(f"`{name}`" for name in classes)]) + "\n"


def depth_card(entry: Weights) -> str:
    """Markdown, of a depth network."""
    trained = entry.trained
    left_out = ", ".join(f"{number} {kind}" for kind, number in trained["left_out"].items())
    start = trained["recipe"]["start"]
    lines = [
        f"# {entry.name}, version {entry.version}",
        "",
        f"`{model_key(entry)}`: monocular depth for street photos of any camera ({entry.architecture}, about "
        f"{entry.options['pixels']} pixels of input).",
        "",
        "## Data",
        f"Streets rendered by `kryss.training.rendered` (seed {trained['recipe']['seed']}) with their true depth, and "
        f"{trained['photos']} photos of which the sizes of signs, the plane of the road and the sky are known. "
        f"Left out: {left_out or 'nothing'}. SHA-256 of these: `{trained['data']}`.",
        LICENCES,
        "",
        "## Training",
        f"{trained['steps']} steps of {trained['recipe']['rendered']} rendered pictures and {trained['recipe']['real']} photos "
        f"(recipe.yaml), from {'an ImageNet backbone' if start == 'imagenet' else Path(start).name}.",
        "",
        "`python -m kryss.training.depth_judge --model FILE --area DIR` judges it by true depth.",
    ]
    return "\n".join(lines) + "\n"


def joined_card(entry: Weights) -> str:
    """Markdown, of a finder and a reader."""
    lines = [
        f"# {entry.name}, version {entry.version}",
        "",
        f"`{model_key(entry)}`: a finder ({entry.architecture}) says where signs and lights are, a reader which they are.",
        "",
        f"- finder: {entry.trained['finder']['model']}, SHA-256 `{entry.trained['finder']['sha256']}`",
        f"- reader: SHA-256 `{entry.reader_sha256}`",
        "",
        "What both learnt from, and how, is kept in the model (`trained`). " + LICENCES,
    ]
    return "\n".join(lines) + "\n"


def with_use(card: str, entry: Weights, results: Mapping[str, Mapping[str, Any]]) -> str:
    """A card with what was chosen on held-out photos, and how good the model then is on them. ``results``: name of a set of
    photos to what `evaluate.score` says of it.
    """
    inference = ", ".join(f"{key} {value}" for key, value in entry_document(entry).get("inference", {}).items())
    own = ", ".join(f"`{name}` {value:g}" for name, value in sorted(entry.thresholds.items()))
    rows = [
        f"| {name} | {one['photos']} | {one['boxes']} | {_figure(one['map50'])} | {_figure(one['map50_95'])} "
        f"| {_figure(one['operating']['precision'])} | {_figure(one['operating']['recall'])} |"
        for name, one in results.items()
    ]
    lines = [
        USE,
        f"Inference: {inference or 'nothing beside running the network'}.",
        "",
        f"Threshold {entry.score_threshold:g}; {own or 'the same for all classes'}. "
        f"{'Scores are calibrated' if entry.calibration else 'Too few finds to calibrate scores'}. Chosen on these photos, which "
        "flatters precision and recall:",
        "",
        "| held-out photos of | photos | boxes | mAP@0.5 | mAP@0.5:0.95 | precision | recall |",
        "|---|--:|--:|--:|--:|--:|--:|",
        *rows,
    ]
    return card.split(USE)[0].rstrip() + "\n\n" + "\n".join(lines) + "\n"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
