"""A finished training as a model of the registry: its file, its entry with data, configuration and hash, its card."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from kryss.training.detector import configuration
from kryss.training.export import export_entry
from kryss.training.recipe import Recipe
from kryss.training.run import Material
from kryss.vision.registry import Inference, Preprocessing, Weights, entry_in, register

FINDER = ("sign", "light")
FIRST_THRESHOLD = 0.1


def entry_of_run(recipe: Recipe, made: Material, name: str, version: str, trained: Mapping[str, Any]) -> Weights:
    """How a network of this recipe is used. ``trained``: what is kept of its training."""
    config = configuration(recipe)
    finder = made.names == FINDER
    return Weights(
        name=name,
        version=version,
        task="detect",
        family="effdet",
        architecture=recipe.architecture,
        licence="of who trained it",
        source="trained with ./kryss train",
        classes=made.names,
        vocabulary="finder" if finder else "mapillary",
        preprocessing=Preprocessing(
            size="native", max_side=2048, multiple=128, mean=tuple(config["mean"]), std=tuple(config["std"])
        ),
        score_threshold=0.5 if finder else 0.3,
        inference=Inference(first_threshold=FIRST_THRESHOLD) if finder else Inference(),
        options=dict(recipe.model),
        trained=dict(trained),
    )


def write_model(state: Mapping[str, Tensor], folder: Path, entry: Weights) -> Weights:
    """``folder/model.safetensors`` with the entry inside; the entry's version is the weights' hash where it has none."""
    if not entry.version:
        digest = hashlib.sha256()
        for key, value in sorted(state.items()):
            digest.update(key.encode() + value.cpu().contiguous().numpy().tobytes())
        entry = replace(entry, version=digest.hexdigest()[:8])
    return export_entry(state, folder / "model.safetensors", entry)


def register_run(folder: Path) -> Weights:
    """Puts a run's model into the registry, with the thresholds that were chosen for it."""
    file = folder / "model.safetensors"
    return register(entry_in(file), file)
