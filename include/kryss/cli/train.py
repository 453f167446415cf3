"""``./kryss train``: trains what finds, what reads and what measures depth, and makes what they learn from."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from kryss.training.recipe import Recipe

log = logging.getLogger(__name__)

FORMATS = (
    "COCO sets (GTSDB, traffic lights): the folder with annotations.json and images/, or the annotation file; "
    "GTSDB also as published: the folder with gt.txt"
)

SPRITES = "package_signs of npm's mapillary_sprite_source (npm pack mapillary_sprite_source)"


def train_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command, one parser for each thing to train or make."""
    parts = parser.add_subparsers(dest="part", required=True, metavar="WHAT")

    def add(name: str, text: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
        return parts.add_parser(name, help=text, description=description, epilog=epilog)

    detector = add(
        "detector",
        "a detector, by a recipe",
        "Trains any detector of effdet's family by a recipe, judges it, and puts it into the registry of weights. "
        "A run that was killed goes on with --resume and ends with the same weights.",
        "OUT holds recipe.yaml, checkpoint.pt, log.csv, validation.csv, tensorboard/, predictions/, model.safetensors, its card "
        "model.md and report-SET.html. Recipes and options: docs/training.md.",
    )
    _recipe_and_data(detector, "transfer, the three stages of the thesis")
    _learning(detector)
    detector.add_argument(
        "--new-data", action="store_true", help="with --resume: go on although photos, labels or drawings are others now"
    )
    detector.add_argument(
        "--minutes", type=_positive, help="follow the clock instead of the recipe's steps (then it is not repeatable)"
    )
    detector.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    detector.add_argument("--threads", type=_at_least(1), help="of the network on a CPU (default: the recipe's)")
    detector.add_argument("--workers", type=_at_least(0), help="processes that compose (default: the recipe's)")
    detector.add_argument("--cache", type=Path, metavar="DIR", help="decoded photos are kept here (default: OUT/decoded)")
    detector.add_argument("--no-judge", action="store_true", help="no report, calibration and thresholds at the end")
    _naming(detector, None, "the recipe's name and the weights' hash")

    reader = add(
        "reader",
        "the second stage, which names and tightens boxes",
        "Trains the network that reads the boxes of a finder: names what stands in them, rejects, tightens. "
        "A run that was killed goes on with --resume and ends with the same weights.",
        "OUT holds recipe.yaml, reader-state.pt, log.csv, reader.safetensors and its card reader.md. "
        "`./kryss train join` makes it and a finder one model.",
    )
    _recipe_and_data(reader, "reader")
    _learning(reader)
    reader.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")

    join = add(
        "join",
        "a finder and a reader as one model of the registry",
        "Makes a finder (`./kryss train detector` with the outputs sign and light) and a reader one model, chooses calibration "
        "and thresholds on the held-out photos with both at work, and puts it into the registry of weights.",
        "OUT holds model.safetensors, reader.safetensors, the card model.md and report-SET.html, .json.",
    )
    join.add_argument("finder", metavar="FINDER", help="OUT/model.safetensors of `./kryss train detector`, or a model")
    join.add_argument(
        "reader", metavar="READER", help="OUT/reader.safetensors of `./kryss train reader`, or a model that has one"
    )
    join.add_argument("--config", metavar="RECIPE", help="whose data sets are given (default: the recipe of the finder)")
    _data(join)
    join.add_argument(
        "--area", action="append", default=[], type=Path, metavar="DIR", help="a recorded area with true boxes, to choose on too"
    )
    join.add_argument(
        "--option",
        action="append",
        default=[],
        type=_option,
        metavar="NAME=VALUE",
        help="of inference, e.g. finder_weight=0.3 (default: as the model that ships; docs/detection.md)",
    )
    join.add_argument("--out", type=Path, required=True, metavar="DIR", help="everything is written here")
    join.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    _naming(join, ("street", ""), "street, and the hash of both networks and the options")

    depth = add(
        "depth",
        "the depth network",
        "Trains a depth network of our own on streets that are rendered with their true depth, and puts it into the registry of "
        "weights. A run that was killed goes on with --resume; with --steps it ends with the same weights.",
        "OUT holds recipe.yaml, depth-checkpoint.pt, depth-ema.pt, log.csv, model.safetensors and its card model.md.",
    )
    depth.add_argument("--recipe", type=Path, metavar="FILE", help="a recipe of your own (default: depth.yaml, which ships)")
    depth.add_argument(
        "--start", metavar="MODEL", help="a depth network of ours to start from instead of the recipe's: a file or a name"
    )
    depth.add_argument("--gtsdb", type=Path, metavar="DIR", help="GTSDB, as published or as COCO: textures and real photos")
    _bad(depth)
    length = depth.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=_positive, help="the schedule follows the clock (then it is not repeatable)")
    length.add_argument("--steps", type=_at_least(1), help="the schedule follows the steps")
    depth.add_argument("--threads", type=_at_least(1), default=1, help="of the network (default 1)")
    depth.add_argument("--workers", type=_at_least(0), default=1, help="processes that render (default 1)")
    depth.add_argument("--out", type=Path, required=True, metavar="DIR", help="everything is written here")
    depth.add_argument("--resume", action="store_true", help="go on from the checkpoint in OUT, if there is one")
    _naming(depth, ("depth", ""), "depth, and the weights' hash")

    prelabel = add(
        "prelabel",
        "what photos show beside their labels",
        "Lets two teachers look at the photos that will be trained on and writes what they see: lights that nobody labelled, and "
        "places where something may be. --prelabels of the trainings reads it. A file that is there is added to.",
    )
    _recipe_and_data(prelabel, "street-lite0")
    prelabel.add_argument("--lights", default="picodet_s_416", metavar="MODEL", help="teacher of lights (default picodet_s_416)")
    prelabel.add_argument(
        "--finder", default="kryss-street-lite0", metavar="MODEL", help="teacher of signs (default kryss-street-lite0)"
    )
    prelabel.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON")

    compose = add(
        "compose",
        "scenes as a COCO data set, to look at or to use elsewhere",
        "Paints signs and lights into street photos: OUT/images, OUT/annotations.json (places to ignore are crowds) and "
        "OUT/sheet.jpg. The same seed gives the same scenes.",
    )
    compose.add_argument("--photos", type=Path, required=True, metavar="DIR", help="street photos")
    compose.add_argument("--sprites", type=Path, required=True, metavar="DIR", help=SPRITES)
    compose.add_argument("--prelabels", type=Path, metavar="FILE", help="what stands in them, of `./kryss train prelabel`")
    compose.add_argument("--out", type=Path, required=True, metavar="DIR")
    compose.add_argument("--number", type=_at_least(1), default=100, metavar="N", help="scenes (default 100)")
    compose.add_argument("--seed", type=int, default=0)
    compose.add_argument("--side", type=_at_least(1), default=640, metavar="PX", help="of a scene (default 640)")

    _recipe_and_data(
        add("check", "only look at data sets", "Lists everything that is wrong in the data sets of a recipe."), "transfer"
    )


def _recipe_and_data(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("recipe", nargs="?", help=f"name of a shipped recipe (default: {default})")
    parser.add_argument("--config", type=Path, metavar="FILE", help="a recipe of your own (YAML) instead")
    _data(parser)


def _naming(parser: argparse.ArgumentParser, default: tuple[str, str] | None, meaning: str) -> None:
    parser.add_argument(
        "--name", type=_name, default=default, metavar="NAME[@VERSION]", help=f"of the model (default: {meaning})"
    )
    parser.add_argument("--no-register", action="store_true", help="leave the model in OUT only")


def _data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        type=_place,
        metavar="NAME=PATH",
        help=f"where a set of the recipe is; again for each. {FORMATS}",
    )
    _bad(parser)


def _bad(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--skip-bad", action="store_true", help="go on without what is wrong in a data set, and count it")


def _learning(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sprites", type=Path, required=True, metavar="DIR", help=SPRITES)
    parser.add_argument("--prelabels", type=Path, metavar="FILE", help="places without labels, from `./kryss train prelabel`")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="everything is written here")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in OUT, if there is one")
    parser.add_argument(
        "--start", metavar="MODEL", help="weights to start from instead of the recipe's: a file, a model, or none"
    )


def _positive(text: str) -> float:
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return value

    return number


def _place(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH, e.g. gtsdb=/data/gtsdb-train600")
    return name, Path(path)


def _name(text: str) -> tuple[str, str]:
    """Name and version (or none) of a model to be; a key that cannot be registered is said before anything is trained."""
    from kryss.vision.registry import NotRegistered, check_key

    name, _, version = text.partition("@")
    try:
        check_key(name, version or "0")
    except NotRegistered as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return name, version


def _not_taken(options: argparse.Namespace) -> None:
    """NotRegistered, before anything is trained, where another model has the name. A run that goes on may have it from before."""
    from kryss.vision.registry import NotRegistered, entries, model_key

    key = "@".join(options.name or ())
    if not options.resume and not options.no_register and key in map(model_key, entries()):
        raise NotRegistered(f"{key} is registered already: give the model another version")


def _option(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, e.g. finder_weight=0.3")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: the value is not YAML") from error


@contextmanager
def _writing() -> Iterator[None]:
    """A full disk, a folder that must not be written to: one line says which."""
    from kryss.training.recipe import RecipeError

    try:
        yield
    except OSError as error:
        raise RecipeError(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from error


def _warn_of_background(options: argparse.Namespace) -> None:
    if options.prelabels is None:
        log.warning(
            "no --prelabels: signs and lights that the photos show without a label are taken for background "
            "(./kryss train prelabel finds them)"
        )


def run(options: argparse.Namespace) -> int:
    logging.basicConfig(level="INFO", format="%(asctime)s %(message)s", stream=sys.stderr, force=True)
    parts = {
        "detector": _detector,
        "reader": _reader,
        "join": _join,
        "depth": _depth,
        "prelabel": _prelabel,
        "compose": _compose,
        "check": _check,
    }
    with _writing():
        return parts[options.part](options)


def _recipe_name(options: argparse.Namespace, default: str) -> str | Path:
    from kryss.training.recipe import RecipeError

    if options.config and options.recipe:
        raise RecipeError("give the name of a recipe or --config FILE, not both")
    name: str | Path = options.config or options.recipe or default
    return name


def _recipe(options: argparse.Namespace, default: str) -> Recipe:
    from kryss.training.recipe import load_recipe

    return load_recipe(_recipe_name(options, default))


def _depth(options: argparse.Namespace) -> int:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from kryss.training.beforehand import check_folder, reading
    from kryss.training.depth import RECIPE, DepthRecipe, batches_of, start_entry, train
    from kryss.training.recipe import read_as
    from kryss.training.registering import register_run, write_depth
    from kryss.vision.registry import model_key

    _not_taken(options)
    check_folder(options.out)
    with reading():
        recipe = read_as(DepthRecipe, options.recipe or RECIPE)
        if options.start:
            recipe = recipe.model_copy(update={"start": options.start})
        if recipe.start != "imagenet":
            start_entry(recipe.start)
        batches, left_out = batches_of(recipe, options.gtsdb, options.skip_bad)
    state = train(
        recipe,
        batches,
        options.out,
        minutes=options.minutes,
        steps=options.steps,
        threads=options.threads,
        workers=options.workers,
        resume=options.resume,
    )
    made = write_depth(state, recipe, batches.photos, left_out, options.out, *options.name)
    told: dict[str, object] = {"model": model_key(made), "file": str(options.out / str(made.file))}
    told |= {key: made.trained[key] for key in ("steps", "left_out")}
    if not options.no_register:
        told["registered"] = model_key(register_run(options.out))
    print(json.dumps(told))
    return 0


def _check(options: argparse.Namespace) -> int:
    from kryss.training.beforehand import reading
    from kryss.training.data import split
    from kryss.training.recipe import check_places
    from kryss.training.recogniser import load_recipe_of_either
    from kryss.training.run import data_digest, sound

    recipe, places = load_recipe_of_either(_recipe_name(options, "transfer")), dict(options.data)
    check_places(recipe.name, recipe.data, places)
    with reading():
        kept, left_out = sound(recipe.data, places, options.skip_bad)
    parts = [split(photos) for photos in kept.values()]
    learnt, held = ([photo for part in parts for photo in part[k]] for k in (0, 1))
    print(
        f"{len(learnt)} photos to learn from, {len(held)} held out; data {data_digest(learnt)[:16]}; "
        f"left out: {left_out or 'nothing'}"
    )
    return 0


def _detector(options: argparse.Namespace) -> int:
    # Threads that wait for each other must not burn the cores that others need; read when torch is first loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from kryss.training.beforehand import (
        check_device,
        check_folder,
        check_held_out,
        check_names,
        check_sprites,
        check_start,
        reading,
    )
    from kryss.training.registering import register_run
    from kryss.training.run import judge_model, material, train_detector
    from kryss.vision.registry import model_key

    recipe = _recipe(options, "transfer")
    _not_taken(options)
    own = {key: getattr(options, key) for key in ("threads", "workers") if getattr(options, key) is not None}
    recipe = recipe.model_copy(update=own)
    check_names(recipe)
    check_folder(options.out)
    check_sprites(options.sprites)
    check_device(options.device, recipe.precision)
    check_start(options.start or recipe.start, recipe)
    _warn_of_background(options)
    with reading():
        made = material(recipe, dict(options.data), options.prelabels, options.skip_bad)
    check_held_out(recipe, made, not options.no_judge)
    outcome = train_detector(
        recipe,
        made,
        options.sprites,
        options.out,
        start=options.start,
        cache=options.cache,
        minutes=options.minutes,
        device=options.device,
        resume=options.resume,
        new_data=options.new_data,
        name="@".join(filter(None, options.name)) if options.name else None,
    )
    told: dict[str, object] = {
        "model": outcome.model,
        "file": str(outcome.file),
        "steps": outcome.steps,
        "left_out": made.left_out,
    }
    if not options.no_judge:
        told["map50"] = judge_model(outcome.file, recipe, made, options.device)
    if not options.no_register:
        told["registered"] = model_key(register_run(options.out))
    print(json.dumps(told))
    return 0


def _reader(options: argparse.Namespace) -> int:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from kryss.training.beforehand import check_device, check_folder, check_sprites, reading
    from kryss.training.recogniser import load_reader_recipe, material, train_reader

    recipe = load_reader_recipe(_recipe_name(options, "reader"))
    if options.start:
        recipe = recipe.model_copy(update={"start": options.start})
    check_folder(options.out)
    check_sprites(options.sprites)
    check_device(options.device)
    _warn_of_background(options)
    with reading():
        made = material(recipe, dict(options.data), options.sprites, options.prelabels, options.skip_bad)
    trained = train_reader(recipe, made, options.out, resume=options.resume, device=options.device)
    file = options.out / "reader.safetensors"
    print(json.dumps({"file": str(file), **{key: trained[key] for key in ("steps", "left_out", "held_out")}}))
    return 0


def _join(options: argparse.Namespace) -> int:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from kryss.training.beforehand import check_device, check_folder, reading
    from kryss.training.recipe import RecipeError, load_recipe
    from kryss.training.recogniser import start_file
    from kryss.training.registering import MODEL, held_out_truths, inference_options, join, recipe_of, register_run
    from kryss.training.truth import read_area
    from kryss.vision.registry import model_key, resolve

    finder, inference = resolve(options.finder), inference_options(dict(options.option))
    reader = start_file(options.reader)
    if reader is None:
        raise RecipeError(f"READER {options.reader!r}: give the file of a reader, or a model that has one")
    check_folder(options.out)
    check_device(options.device)
    with reading():
        recipe = load_recipe(options.config) if options.config else recipe_of(finder)
        truths, left_out = held_out_truths(recipe, dict(options.data), reader, options.skip_bad)
        truths |= {area.name: read_area(area) for area in options.area}
    name, version = options.name
    made = join(finder, reader, truths, options.out, inference, name, version, options.device)
    told: dict[str, object] = {"model": model_key(made), "file": str(options.out / MODEL), "left_out": left_out}
    for labels in truths:
        told[labels] = json.loads((options.out / f"report-{labels}.json").read_text(encoding="utf-8"))["map50"]
    if not options.no_register:
        told["registered"] = model_key(register_run(options.out))
    print(json.dumps(told))
    return 0


def _prelabel(options: argparse.Namespace) -> int:
    from kryss.training.beforehand import check_folder, reading
    from kryss.training.prelabel import read
    from kryss.training.prelabel import run as look
    from kryss.training.recipe import check_places
    from kryss.training.run import sound

    recipe, places = _recipe(options, "street-lite0"), dict(options.data)
    check_places(recipe.name, recipe.data, places, whole=False)
    check_folder(options.out.parent)
    with reading():
        if options.out.exists():
            read(options.out)
        kept, _ = sound(recipe.data, places, options.skip_bad)
    number = look([photo for photos in kept.values() for photo in photos], options.out, options.finder, options.lights)
    print(f"{options.out}: what the teachers saw in {number} photos")
    return 0


def _compose(options: argparse.Namespace) -> int:
    from kryss.training.beforehand import check_folder, check_sprites, reading
    from kryss.training.compose import write_from_folder

    check_folder(options.out)
    check_sprites(options.sprites)
    _warn_of_background(options)
    with reading():
        print(
            write_from_folder(
                options.photos, options.sprites, options.number, options.out, options.seed, options.side, options.prelabels
            )
        )
    return 0
