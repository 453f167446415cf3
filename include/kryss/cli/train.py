"""``./kryss train``: trains what finds, what reads and what measures depth, and makes what they learn from."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path

FORMATS = "GTSDB, traffic lights and other COCO sets: the folder with annotations.json and images/, or the annotation file"


def train_arguments(parser: argparse.ArgumentParser) -> None:
    parts = parser.add_subparsers(dest="part", required=True, metavar="WHAT")
    detector = parts.add_parser(
        "detector",
        help="a detector, by a recipe",
        description="Trains any detector of effdet's family by a recipe, judges it, and puts it into the registry of weights. "
        "A run that was killed goes on with --resume and ends with the same weights.",
        epilog="OUT holds recipe.yaml, checkpoint.pt, log.csv, validation.csv, tensorboard/, predictions/, model.safetensors and "
        "its card model.md. Recipes and options: docs/training.md.",
    )
    detector.add_argument("recipe", nargs="?", help="name of a shipped recipe (default: transfer, the thesis's three stages)")
    detector.add_argument("--config", type=Path, metavar="FILE", help="a recipe of your own (YAML) instead")
    _data(detector)
    detector.add_argument(
        "--sprites", type=Path, required=True, metavar="DIR", help="package_signs of npm's mapillary_sprite_source"
    )
    detector.add_argument("--out", type=Path, required=True, metavar="DIR", help="everything is written here")
    detector.add_argument("--resume", action="store_true", help="go on from the checkpoint in OUT, if there is one")
    detector.add_argument("--new-data", action="store_true", help="with --resume: go on although photos or labels are others now")
    detector.add_argument(
        "--start", metavar="MODEL", help="file of weights, or a model of the registry, instead of the recipe's start; also: none"
    )
    detector.add_argument("--prelabels", type=Path, metavar="FILE", help="places without labels, from `./kryss train prelabel`")
    detector.add_argument(
        "--minutes", type=float, help="follow the clock instead of the recipe's steps (then it is not repeatable)"
    )
    detector.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    detector.add_argument("--threads", type=int, help="of the network on a CPU (default: the recipe's)")
    detector.add_argument("--workers", type=int, help="processes that compose (default: the recipe's)")
    detector.add_argument("--cache", type=Path, metavar="DIR", help="decoded photos are kept here (default: OUT/decoded)")
    detector.add_argument(
        "--name", metavar="NAME[@VERSION]", help="of the model (default: the recipe's name and the weights' hash)"
    )
    detector.add_argument("--no-register", action="store_true", help="leave the model in OUT only")

    check = parts.add_parser(
        "check", help="only look at the data sets of a recipe", description="Lists everything that is wrong in the data sets."
    )
    check.add_argument("recipe", nargs="?", help="name of a shipped recipe (default: transfer)")
    check.add_argument("--config", type=Path, metavar="FILE", help="a recipe of your own (YAML) instead")
    _data(check)


def _data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        type=_place,
        metavar="NAME=PATH",
        help=f"where a data set of the recipe is; again for each. {FORMATS}",
    )
    parser.add_argument("--skip-bad", action="store_true", help="go on without what is wrong in a data set, and count it")


def _place(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH, e.g. gtsdb=/data/gtsdb-train600")
    return name, Path(path)


def run(options: argparse.Namespace) -> int:
    logging.basicConfig(level="INFO", format="%(asctime)s %(message)s", stream=sys.stderr, force=True)
    return {"detector": _detector, "check": _check}[options.part](options)


def _recipe(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    from kryss.training.recipe import RecipeError, load_recipe

    if options.config and options.recipe:
        raise RecipeError("give the name of a recipe or --config FILE, not both")
    return load_recipe(options.config or options.recipe or "transfer")


def _check(options: argparse.Namespace) -> int:
    from kryss.training.run import material

    made = material(_recipe(options), dict(options.data), skip_bad=options.skip_bad)
    print(f"{len(made.train)} photos to learn from, {len(made.judged)} to judge by; data {made.digest[:16]}")
    return 0


def _detector(options: argparse.Namespace) -> int:
    # Threads that wait for each other must not burn the cores that others need; read when torch is first loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from kryss.training.run import train_detector

    recipe = _recipe(options)
    own = {key: getattr(options, key) for key in ("threads", "workers") if getattr(options, key) is not None}
    outcome = train_detector(
        recipe.model_copy(update=own),
        dict(options.data),
        options.sprites,
        options.out,
        start=options.start,
        prelabels=options.prelabels,
        cache=options.cache,
        minutes=options.minutes,
        device=options.device,
        resume=options.resume,
        new_data=options.new_data,
        skip_bad=options.skip_bad,
        name=options.name,
        is_registered=not options.no_register,
    )
    print(json.dumps({"model": outcome.model, "file": str(outcome.file), "sha256": outcome.sha256, "steps": outcome.steps}))
    return 0
