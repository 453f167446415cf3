"""What a training needs, looked at before anything is read: what would end it hours later is said at once, in one line."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from kryss.training.recipe import Recipe, RecipeError, matches

if TYPE_CHECKING:
    from kryss.training.run import Material


@contextmanager
def reading() -> Iterator[None]:
    """What is not there or cannot be read (another format) is the user's to mend: RecipeError says what, in one line."""
    from kryss.training.data.check import BrokenDataError

    try:
        yield
    except (RecipeError, BrokenDataError):
        raise
    except FileNotFoundError as error:
        raise RecipeError(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from error
    except ValueError as error:
        raise RecipeError(str(error)) from error


def check_folder(out: Path) -> None:
    """RecipeError where no folder ``out`` can be made or written to."""
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise RecipeError(f"--out {out}: {there} is a file, no folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RecipeError(f"--out {out}: {there} must not be written to")


def check_names(recipe: Recipe) -> None:
    """RecipeError where a recipe names classes that there are not: nothing would be learnt of them, and nobody told."""
    from kryss.training.data import OTHER_SIGN
    from kryss.training.registering import FINDER
    from kryss.vision.taxonomy import classes, detected

    known = {row.name for row in classes()} | {OTHER_SIGN}
    learnt = recipe.classes or (*detected(), OTHER_SIGN)
    for key, names, allowed in (
        ("classes", recipe.classes, known),
        ("sampler.never_painted", recipe.sampler.get("never_painted", ()), known),
        ("outputs", recipe.outputs, known | set(FINDER)),
    ):
        if odd := sorted(set(names) - allowed):
            close = difflib.get_close_matches(odd[0], allowed, n=1)
            hint = f"did you mean {close[0]}?" if close else "classes are those of include/kryss/vision/taxonomy.csv"
            raise RecipeError(f"{key}: no class {odd[0]!r}{', and neither sign nor light' * (key == 'outputs')}: {hint}")
    patterns = {f"outputs.{name}": one for name, one in recipe.outputs.items()}
    patterns |= {f"data.{name}.labelled": source.labelled for name, source in recipe.data.items()}
    for key, given in patterns.items():
        if not any(matches(name, given) for name in learnt):
            raise RecipeError(f"{key}: no class that is learnt is meant by {', '.join(given) or 'nothing'}")


def check_sprites(folder: Path) -> None:
    """RecipeError where there are no drawings of signs: nothing, or other things, would be painted, and nobody told."""
    from kryss.vision.taxonomy import detected

    if not any((folder / f"{name}.svg").is_file() for name in detected()):
        raise RecipeError(
            f"--sprites {folder}: no drawings (*.svg) there of a sign that is detected; it is the folder package_signs of npm's "
            "mapillary_sprite_source (npm pack mapillary_sprite_source)"
        )


def check_device(device: str | None, precision: str = "fp32") -> None:
    """RecipeError where there is no such device (None: a GPU if there is one), or none for this precision."""
    import torch

    try:
        target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(1, device=target)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise RecipeError(f"--device {device}: {str(error).splitlines()[0]}") from error
    if precision == "fp16" and target.type != "cuda":
        raise RecipeError(f"precision fp16 needs a GPU, here it would be {target}: take bf16 or fp32")


def check_start(start: str, recipe: Recipe) -> None:
    """RecipeError where a detector cannot start from these weights."""
    import torch
    from safetensors import SafetensorError

    from kryss.training.detector import build
    from kryss.training.run import start_weights

    try:
        state = start_weights(start, recipe)
    except (OSError, RuntimeError, UnpicklingError, SafetensorError, AttributeError, EOFError) as error:
        if not Path(start).is_file():
            raise
        raise RecipeError(f"--start {start}: no file of weights (safetensors, or tensors saved by torch)") from error
    with torch.device("meta"):
        own = build(recipe.architecture, 1, (recipe.side_px, recipe.side_px), recipe.model).state_dict()
    if state is not None and not any(key in own and own[key].shape == value.shape for key, value in state.items()):
        raise RecipeError(f"--start {start}: no tensor fits {recipe.architecture}: these are weights of another architecture")


def check_held_out(recipe: Recipe, made: Material, is_judged: bool = True) -> None:
    """RecipeError where no held-out photo shows anything to find: every figure would be 0, so that the first weights would be
    kept as the best ones and stages end at once, and no thresholds could be chosen. ``is_judged``: a report is wanted.
    """
    from kryss.training.run import truth_of

    shown = [{made.output_of.get(box[4]) for box in one.photo.boxes} & one.outputs for one in made.judged]
    follows = recipe.keep == "best" or any(stage.patience or stage.schedule == "plateau" for stage in recipe.stages)
    if (follows and not any(shown)) or (is_judged and not any(truth_of(name, recipe, made).boxes for name in made.held)):
        raise RecipeError(
            f"of {sum(map(len, made.held.values()))} held-out photos (id % 6 = 5, or a sixth by a hash of their keys) none shows "
            "what is to be learnt: nothing to judge by. Label some, or give photos other ids"
            + ("; --no-judge does without a report" if is_judged and not follows else "")
        )
