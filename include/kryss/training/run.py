"""A whole training from recipe and folders: read and check the data, compose, learn, write down what came out."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import yaml
from pydantic import TypeAdapter
from torch import Tensor

from kryss.training.backbone import backbone_weights
from kryss.training.categories import group_of
from kryss.training.data import OTHER_SIGN, DataSet, LabelledPhoto, Problem, coco, gtsdb, gtsrb, mtsd, split
from kryss.training.data.check import BrokenDataError, checked, counted
from kryss.training.detector import read_state
from kryss.training.recipe import DataSet as Source
from kryss.training.recipe import OtherRun, Recipe, RecipeError, check_places, matches
from kryss.training.truth import Truth, truth_of_photos
from kryss.training.validation import Judged
from kryss.vision.registry import model_key, resolve, weights_file
from kryss.vision.taxonomy import detected, from_gtsdb

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Material:
    """What a recipe learns from and is judged by."""

    train: tuple[LabelledPhoto, ...]
    judged: tuple[Judged, ...]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    """What the outputs are called."""
    output_of: dict[str, int | None]
    held: dict[str, tuple[LabelledPhoto, ...]]
    """Name of a data set to its photos that are never trained on."""
    labelled: dict[str, frozenset[str]]
    """Name of a data set to the classes that its photos show."""
    digest: str
    """Names the data: photos, boxes and regions."""
    left_out: dict[str, int]
    """Kind of problem to how many photos or boxes were left out (``--skip-bad``)."""


def load_set(source: Source, path: Path) -> DataSet:
    """``path``: the folder of a data set, or its annotation file."""
    if source.format != "coco":
        return {"gtsdb": gtsdb.load, "gtsrb": gtsrb.load, "mtsd": mtsd.load}[source.format](path)
    annotations = path if path.suffix == ".json" else path / "annotations.json"
    names = from_gtsdb() if source.ids == "gtsdb" else None
    return coco.load(annotations, annotations.parent / "images", names, stretch=source.stretch)


def material(recipe: Recipe, places: Mapping[str, Path], prelabels: Path | None = None, skip_bad: bool = False) -> Material:
    """Reads the recipe's data sets. ``prelabels``: a teacher's file, for the photos that are trained on."""
    check_places(recipe.name, recipe.data, places)
    classes = recipe.classes or (*detected(), OTHER_SIGN)
    names = recipe.output_names(classes)
    output_of = dict(zip(classes, recipe.output_of(classes), strict=True))
    train: list[LabelledPhoto] = []
    judged: list[Judged] = []
    kept, left_out = sound(recipe.data, places, skip_bad)
    every_held: dict[str, tuple[LabelledPhoto, ...]] = {}
    labelled: dict[str, frozenset[str]] = {}
    for name, photos in kept.items():
        source = recipe.data[name]
        learn, held = split(photos)
        every_held[name] = tuple(held)
        labelled[name] = frozenset(box[4] for photo in photos for box in photo.boxes)
        outputs = frozenset(k for c, k in output_of.items() if k is not None and matches(c, source.labelled))
        judged += [Judged(photo, outputs, source.scale) for photo in _spread(held, recipe.validate_.photos)]
        train += learn
        log.info("%s: %d photos to learn from, %d held out", name, len(learn), len(held))
    if prelabels:
        from kryss.training.prelabel import apply

        train = list(apply(train, prelabels))
    digest = data_digest(train)
    return Material(tuple(train), tuple(judged), classes, names, output_of, every_held, labelled, digest, left_out)


def sound(
    sources: Mapping[str, Source], places: Mapping[str, Path], skip_bad: bool
) -> tuple[dict[str, tuple[LabelledPhoto, ...]], dict[str, int]]:
    """Name of a data set to its photos, and what was left out by kind. Stops with all that is wrong in all of them."""
    found: dict[str, tuple[LabelledPhoto, ...]] = {}
    problems: list[Problem] = []
    left_out: list[Problem] = []
    for name, path in places.items():
        try:
            whole = checked(load_set(sources[name], path), skip_bad)
        except BrokenDataError as error:
            problems += [replace(problem, photo=f"{name} {problem.photo}") for problem in error.problems]
        else:
            found[name] = whole.photos
            left_out += whole.problems
    if problems:
        raise BrokenDataError(problems)
    return found, counted(left_out)


def _spread(photos: Sequence[LabelledPhoto], number: int) -> list[LabelledPhoto]:
    """So many of them, evenly."""
    return [photos[k * len(photos) // number] for k in range(number)] if len(photos) > number else list(photos)


def data_digest(photos: Sequence[LabelledPhoto]) -> str:
    """SHA-256 over every photo's bytes, boxes and regions."""
    total = hashlib.sha256()
    for photo in photos:
        total.update(hashlib.sha256(photo.body()).digest())
        total.update(json.dumps([str(photo.id), photo.boxes, photo.ignore, photo.stretch]).encode())
    return total.hexdigest()


def drawings_digest(sprites: Path) -> str:
    """SHA-256 over every drawing that signs are painted from."""
    total = hashlib.sha256()
    for path in sorted(sprites.glob("*.svg")):
        total.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def class_weights(recipe: Recipe, made: Material) -> Tensor:
    """(outputs,) for the classification losses, mean 1."""
    if recipe.loss.class_weights == "equal":
        return torch.ones(len(made.names))
    count = Counter(made.output_of.get(box[4]) for photo in made.train for box in photo.boxes)
    weights = torch.tensor([1 / math.sqrt(max(count[k], 1)) for k in range(len(made.names))])
    return weights / weights.mean()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished run left."""

    model: str
    """name@version"""
    file: Path
    sha256: str
    steps: int
    figures: dict[str, float]
    """Of the validation: the network alone."""


def train_detector(
    recipe: Recipe,
    made: Material,
    sprites: Path,
    out: Path,
    *,
    start: str | None = None,
    cache: Path | None = None,
    minutes: float | None = None,
    device: str | None = None,
    resume: bool = False,
    new_data: bool = False,
    name: str | None = None,
) -> Outcome:
    """Trains by a recipe into a folder. ``start``: a file of weights or a model of the registry instead of the recipe's start; a
    run that goes on needs it no more. ``name``: ``name@version`` of the model (default: the recipe's name and the weights' hash).
    """
    from kryss.training.card import model_card
    from kryss.training.compose import Mix, Sampler
    from kryss.training.registering import entry_of_run, write_model
    from kryss.training.train import Trainer

    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json", by_alias=True), sort_keys=False, width=120))
    labels = {name: output for name, output in made.output_of.items() if output is not None}
    mix = TypeAdapter(Mix).validate_python(recipe.sampler)
    samples = Sampler(made.train, labels, sprites, recipe.side_px, recipe.seed, mix, cache or out / "decoded")
    begun = start or recipe.start
    trainer = Trainer(
        recipe,
        made.names,
        samples,
        made.judged,
        made.output_of,
        out,
        start=start_weights(begun, recipe),
        start_name=start_name(begun),
        class_weights=class_weights(recipe, made),
        data_digest=hashlib.sha256(f"{made.digest} {drawings_digest(sprites)}".encode()).hexdigest(),
        minutes=minutes,
        device=device,
        resume=resume,
        new_data=new_data,
    )
    if start and trainer.place["start"] != start_name(start):
        raise OtherRun(f"the run in {out} started from {trainer.place['start']}: leave --start out, or give another --out")
    state = {key: value.cpu() for key, value in trainer.run().items()}
    figures = trainer.figures()
    trained = {
        "recipe": recipe.model_dump(mode="json", by_alias=True),
        "data": made.digest,
        "photos": len(made.train),
        "left_out": made.left_out,
        "start": trainer.place["start"],
        "steps": trainer.place["step"],
        "validation": {key: round(value, 4) for key, value in figures.items()},
    }
    named, _, version = (name or recipe.name).partition("@")
    entry = write_model(state, out, entry_of_run(recipe, made, named, version, trained))
    (out / "model.md").write_text(model_card(entry, recipe, made, figures, trained), encoding="utf-8")
    return Outcome(model_key(entry), out / "model.safetensors", entry.sha256 or "", trainer.place["step"], figures)


def judge_model(file: Path, recipe: Recipe, made: Material, device: str | None = None) -> dict[str, float | None]:
    """Judges a run's model on the held-out photos of its data sets, chooses calibration and thresholds on them, writes those into
    the file's entry and a report page for each data set beside it; returns mAP at 0.5 of each.
    """
    from kryss.training.registering import choose_on

    _, results = choose_on(file, {name: truth_of(name, recipe, made) for name in made.held}, device)
    return {name: result["map50"] for name, result in results.items()}


def truth_of(name: str, recipe: Recipe, made: Material) -> Truth:
    """The held-out photos of a data set as `evaluate` wants them. What a set labels in any of its photos it labels everywhere. A
    network that tells groups apart is judged by those.
    """
    source = recipe.data[name]
    wanted = {c for c, k in made.output_of.items() if k is not None and c != OTHER_SIGN and matches(c, source.labelled)}
    seen = wanted if recipe.outputs else wanted & made.labelled[name]
    return truth_of_photos(made.held[name], {c: group_of(c) if recipe.outputs else c for c in seen})


def start_weights(start: str, recipe: Recipe) -> dict[str, Tensor] | None:
    """``imagenet``, ``none``, a file, or a model of the registry."""
    if start == "none":
        return None
    if start == "imagenet":
        if recipe.architecture != "tf_efficientdet_lite0":
            raise RecipeError(
                f"no ImageNet weights for {recipe.architecture} come with Kryss: give --start {recipe.architecture} "
                "(a detector trained on COCO, fetched on first use), --start FILE or --start none"
            )
        return {f"backbone.{key}": value for key, value in backbone_weights().items()}
    path = Path(start)
    return read_state(path if path.is_file() else weights_file(resolve(start)))


def start_name(start: str) -> str:
    """As it is kept with a model: a file without its folder, but with its hash."""
    return f"{Path(start).name} ({file_digest(Path(start))})" if Path(start).is_file() else start


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
