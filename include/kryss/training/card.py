"""A model card: what a model is, what it learnt from, how it was made and how good it is (Mitchell et al. 2019, in short)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kryss.training.recipe import Recipe
from kryss.training.run import Material
from kryss.vision.registry import Weights, model_key


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
        f"{', '.join(recipe.data) or 'given'}; {len(made.judged)} held-out photos judged it. "
        f"SHA-256 of the data: `{made.digest}`.",
        "State their licences before you pass the model on: they are not known here.",
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
        "`./kryss evaluate` judges the whole model.",
        "",
        "## Outputs",
        ", ".join(f"`{name}`" for name in entry.classes),
    ]
    return "\n".join(lines) + "\n"
