"""The parts of a training as tasks of a run: each can be done again at any time. ``dags/train_detector.py`` calls them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kryss.config import home_folder

Params = Mapping[str, Any]


def folder_of(params: Params, run_id: str) -> Path:
    """Of a run: the same for all its tasks and tries."""
    return Path(params["out"]) if params.get("out") else home_folder() / "training" / re.sub(r"[^A-Za-z0-9.-]+", "_", run_id)


def run(part: str, params: Params, run_id: str) -> dict[str, Any]:
    """``part``: check, train, evaluate or register. What it says is kept with the task."""
    parts: dict[str, Callable[[Params, Path], dict[str, Any]]] = {
        "check": _check,
        "train": _train,
        "evaluate": _evaluate,
        "register": _register,
    }
    return parts[part](params, folder_of(params, run_id))


def _material(params: Params) -> tuple[Any, Any]:
    from kryss.training.beforehand import reading
    from kryss.training.recipe import load_recipe
    from kryss.training.run import material

    recipe = load_recipe(params["recipe"])
    places = {name: Path(path) for name, path in params["data"].items()}
    prelabels = Path(params["prelabels"]) if params.get("prelabels") else None
    with reading():
        return recipe, material(recipe, places, prelabels, bool(params.get("skip_bad")))


def _check(params: Params, out: Path) -> dict[str, Any]:
    from kryss.training.beforehand import check_device, check_folder, check_held_out, check_names, check_sprites, check_start
    from kryss.training.recipe import load_recipe

    _name_is_free(params, out)
    check_folder(out)
    check_sprites(Path(params["sprites"]))
    recipe = load_recipe(params["recipe"])
    check_names(recipe)
    check_device(None, recipe.precision)
    check_start(params.get("start") or recipe.start, recipe)
    recipe, made = _material(params)
    check_held_out(recipe, made)
    return {"out": str(out), "photos": len(made.train), "held_out": sum(map(len, made.held.values())), "left_out": made.left_out}


def _name_is_free(params: Params, out: Path) -> None:
    """NotRegistered where no model can have the name, or another one has it. A run that has begun may have it itself."""
    from kryss.training.train import CHECKPOINT
    from kryss.vision.registry import NotRegistered, check_key, entries, model_key

    if name := params.get("name"):
        plain, _, version = name.partition("@")
        check_key(plain, version or "0")
        if name in map(model_key, entries()) and not (out / CHECKPOINT).is_file():
            raise NotRegistered(f"{name} is registered already: give the model another version")


def _train(params: Params, out: Path) -> dict[str, Any]:
    from kryss.training.run import train_detector

    recipe, made = _material(params)
    ended = train_detector(
        recipe, made, Path(params["sprites"]), out, start=params.get("start"), resume=True, name=params.get("name")
    )
    return {"model": ended.model, "sha256": ended.sha256, "steps": ended.steps, "validation": ended.figures}


def _evaluate(params: Params, out: Path) -> dict[str, Any]:
    from kryss.training.run import judge_model

    recipe, made = _material(params)
    return {"map50": judge_model(out / "model.safetensors", recipe, made)}


def _register(params: Params, out: Path) -> dict[str, Any]:
    from kryss.training.registering import register_run
    from kryss.vision.registry import model_key

    return {"model": model_key(register_run(out))}
