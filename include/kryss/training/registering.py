"""A finished training as a model of the registry: its file, its entry with data, configuration and hash, its card."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from kryss.training.categories import LIGHTS, group_of
from kryss.training.data.photos import PEDESTRIANS, LabelledPhoto, split
from kryss.training.detector import configuration
from kryss.training.export import export_entry
from kryss.training.recipe import Recipe, RecipeError, check_places, load_recipe, matches
from kryss.training.run import Material, data_digest, sound
from kryss.training.truth import Truth, truth_of_photos
from kryss.vision.registry import (
    Inference,
    Preprocessing,
    Weights,
    check_key,
    content_digest,
    entry_document,
    entry_in,
    entry_of,
    file_digest,
    model_key,
    register,
    resolve,
    weights_file,
)

if TYPE_CHECKING:
    from kryss.training.depth import DepthRecipe

FINDER = ("sign", "light")
FIRST_THRESHOLD = 0.1
SHIPPED = "kryss-street-lite0"
MODEL, CARD = "model.safetensors", "model.md"
LICENCE, SOURCE = "of who trained it", "trained with ./kryss train"


def entry_of_run(recipe: Recipe, made: Material, name: str, version: str, trained: Mapping[str, Any]) -> Weights:
    """How a network of this recipe is used. ``trained``: what is kept of its training."""
    config = configuration(recipe)
    finder = set(made.names) <= set(FINDER)
    return Weights(
        name=name,
        version=version,
        task="detect",
        family="effdet",
        architecture=recipe.architecture,
        licence=LICENCE,
        source=SOURCE,
        classes=made.names,
        vocabulary="finder" if finder else "mapillary",
        preprocessing=Preprocessing(
            size="native",
            max_side=2048,
            multiple=max(128, 2 ** config["max_level"]),
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
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
    return export_entry(state, folder / MODEL, entry)


def write_depth(
    state: Mapping[str, Tensor],
    recipe: DepthRecipe,
    photos: Sequence[LabelledPhoto],
    left_out: Mapping[str, int],
    out: Path,
    name: str,
    version: str = "",
) -> Weights:
    """A depth network in ``out``, used as the one that ships: ``model.safetensors`` with its entry, the card ``model.md``, and
    the recipe. ``left_out``: of the photos and their boxes, by kind (``--skip-bad``).
    """
    from kryss.training.card import depth_card
    from kryss.training.depth import CHECKPOINT

    document = recipe.model_dump(mode="json")
    (out / "recipe.yaml").write_text(yaml.safe_dump(document, sort_keys=False, width=120), encoding="utf-8")
    trained = {
        "recipe": document,
        "data": data_digest(photos),
        "photos": len(photos),
        "left_out": dict(left_out),
        "steps": torch.load(out / CHECKPOINT, map_location="cpu", weights_only=True)["step"],
    }
    made = replace(
        resolve("kryss-depth"), name=name, version=version, licence=LICENCE, source=SOURCE, sha256=None, trained=trained
    )
    entry = write_model(state, out, made)
    (out / CARD).write_text(depth_card(entry), encoding="utf-8")
    return entry


def register_run(folder: Path) -> Weights:
    """Puts a run's model into the registry, with the thresholds that were chosen for it."""
    file = folder / MODEL
    entry = entry_in(file)
    return register(entry, file, folder / entry.reader if entry.reader else None)


def inference_options(given: Mapping[str, Any]) -> Inference:
    """Those of the model that ships, but for what is given: field of ``Inference`` to value."""
    shipped = entry_document(resolve(SHIPPED))
    try:
        # The one knows which fields there are, the other what may stand in them.
        read = entry_of({**shipped, "inference": {**shipped.get("inference", {}), **given}}, "--option").inference
        return TypeAdapter(Inference).validate_python(asdict(read))
    except ValidationError as error:
        [first, *_] = error.errors()
        raise RecipeError(f"option {'.'.join(map(str, first['loc']))}: {first['msg']} (given: {first['input']!r})") from error
    except ValueError as error:
        raise RecipeError(str(error)) from error


def recipe_of(finder: Weights) -> Recipe:
    """The recipe that a finder was trained by; where it does not say, that of the finder that ships."""
    known = finder.trained.get("recipe") or finder.trained.get("finder", {}).get("recipe")
    return Recipe.model_validate(known) if known else load_recipe("street-lite0")


def join(
    finder: Weights,
    reader: Path,
    truths: Mapping[str, Truth],
    out: Path,
    inference: Inference,
    name: str,
    version: str = "",
    device: str | None = None,
) -> Weights:
    """A finder and a reader as one model in ``out``: ``model.safetensors`` with the entry, ``reader.safetensors`` beside it, the
    card ``model.md``, and a report for each set of photos. ``truths``: held-out photos, on which calibration and thresholds are
    chosen with both stages at work. ``version`` (default): the hash of both networks and the options.
    """
    from kryss.training.card import joined_card
    from kryss.training.detector import read_state
    from kryss.training.recogniser import reader_document

    if (finder.task, finder.family, finder.vocabulary) != ("detect", "effdet", "finder"):
        raise RecipeError(f"{model_key(finder)} is no finder: a network that tells signs from lights (outputs sign and light)")
    if not sum(truth.boxes for truth in truths.values()):
        raise RecipeError("no held-out photo shows what the reader reads: nothing to choose thresholds on")
    weights = weights_file(finder)
    if (out / MODEL).is_file() and weights.samefile(out / MODEL):
        raise RecipeError(f"{weights} is the finder: give another --out")
    if not version:
        parts = [content_digest(weights), content_digest(reader), *map(str, astuple(inference))]
        version = hashlib.sha256(" ".join(parts).encode()).hexdigest()[:8]
    check_key(name, version)
    out.mkdir(parents=True, exist_ok=True)
    kept = out / "reader.safetensors"
    if not (kept.is_file() and kept.samefile(reader)):
        shutil.copyfile(reader, kept)
    entry = replace(
        finder,
        name=name,
        version=version,
        reader=kept.name,
        reader_sha256=file_digest(kept),
        thresholds={},
        calibration=None,
        inference=inference,
        source=SOURCE,
        trained={
            "finder": {"model": model_key(finder), "sha256": finder.sha256, **finder.trained},
            "reader": reader_document(kept).get("trained", {}),
        },
    )
    made = export_entry(read_state(weights), out / MODEL, entry)
    (out / CARD).write_text(joined_card(made), encoding="utf-8")
    return choose_on(out / MODEL, truths, device)[0]


def held_out_truths(
    recipe: Recipe, places: Mapping[str, Path], reader: Path, skip_bad: bool = False
) -> tuple[dict[str, Truth], dict[str, int]]:
    """The held-out photos of a recipe's data sets, labelled with the classes that a reader reads; and what was left out. What a
    set labels anywhere it labels wherever it is seen. One that has no lights for pedestrians does not tell kinds of lights apart.
    """
    from kryss.training.recogniser import reader_document

    known = set(reader_document(reader)["classes"])
    check_places(recipe.name, recipe.data, places, whole=False)
    kept, left_out = sound(recipe.data, places, skip_bad)
    truths = {}
    for name, photos in kept.items():
        labelled = {box[4] for photo in photos for box in photo.boxes if matches(box[4], recipe.data[name].labelled)} & known
        kinds_apart = PEDESTRIANS in labelled
        judged_as = {one: LIGHTS if group_of(one) == LIGHTS and not kinds_apart else one for one in labelled}
        truths[name] = truth_of_photos(split(photos)[1], judged_as)
    return truths, left_out


def choose_on(file: Path, truths: Mapping[str, Truth], device: str | None = None) -> tuple[Weights, dict[str, dict[str, Any]]]:
    """Judges a model's file on held-out photos, chooses calibration and thresholds on them, and writes those into the file's
    entry, into its card, and a report for each set (``report-SET.html``, ``.json``) beside it; the entry, and what was measured.
    """
    from kryss.training.card import with_use
    from kryss.training.choose import calibrated_finds, choose, labels_of
    from kryss.training.detector import read_state
    from kryss.training.evaluate import LOWEST_SCORE, judged, look, score
    from kryss.training.report import page
    from kryss.vision.detect import detector_of

    entry = replace(entry_in(file), calibration=None)
    detector = detector_of(entry, device, LOWEST_SCORE)
    looked = {name: look(detector, truth) for name, truth in truths.items()}
    matched = [one for name, truth in truths.items() for one in judged(truth, looked[name])]
    chosen = export_entry(read_state(file), file, choose(entry, matched, labels_of(truths.values())))
    results = {}
    for name, truth in truths.items():
        seen = replace(looked[name], found=calibrated_finds(looked[name].found, chosen.calibration))
        measured = score(truth, seen, chosen.score_threshold, chosen.thresholds)
        results[name] = {"model": model_key(chosen), "labels": name, "chosen_on_these_photos": True, **measured}
        (file.parent / f"report-{name}.html").write_text(page(results[name]), encoding="utf-8")
        (file.parent / f"report-{name}.json").write_text(json.dumps(results[name], indent=1) + "\n", encoding="utf-8")
    card = file.with_name(CARD)
    card.write_text(with_use(card.read_text(encoding="utf-8") if card.is_file() else "", chosen, results), encoding="utf-8")
    return chosen, results
