"""``python -m kryss.training.places``: learns where signs and lights are in photos, for a model's plausibility filter.

From the labelled boxes of the photos that training may see (never the held-out ones), into the JSON file that an entry of the
registry names as ``inference.plausibility``. See ``kryss.vision.plausible``.

    python -m kryss.training.places --data gtsdb=GTSDB --data lights=LIGHTS --out places.json
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from kryss.model import Box
from kryss.training.data import OTHER_SIGN, LabelledPhoto, split
from kryss.vision.plausible import Plausibility, learn, save

log = logging.getLogger("kryss.training.places")
SURE = 0.7


def labelled(photos: Iterable[LabelledPhoto]) -> Iterator[tuple[str, Box, tuple[float, float]]]:
    """Class, box and size of the photo of every label that says what it is. Sides that were drawn apart are drawn together."""
    for photo in photos:
        for left, top, right, bottom, name in photo.boxes:
            if name != OTHER_SIGN:
                yield (
                    name,
                    (left * photo.stretch, top, right * photo.stretch, bottom),
                    (photo.width * photo.stretch, photo.height),
                )


def places_of(photos: Iterable[LabelledPhoto], sure: float = SURE) -> Plausibility:
    """What the photos that may be trained on show. ``sure``: score from which no find is hidden."""
    return learn(labelled(split(list(photos))[0]), sure)


def main(arguments: list[str] | None = None) -> int:
    from kryss.training.recipe import RecipeError, load_recipe
    from kryss.training.run import sound

    parser = argparse.ArgumentParser(prog="python -m kryss.training.places", description=(__doc__ or "").split("\n\n")[1])
    add = parser.add_argument
    add("recipe", nargs="?", default="street-lite0", help="whose data sets they are (default: street-lite0)")
    add("--data", action="append", required=True, metavar="NAME=PATH", help="where a set of the recipe is; again for each")
    add("--skip-bad", action="store_true", help="go on without what is wrong in a data set, and count it")
    add("--sure", type=float, default=SURE, metavar="SCORE", help=f"no find of at least this score is hidden (default {SURE})")
    add("--out", type=Path, required=True, metavar="FILE")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        recipe = load_recipe(options.recipe)
        given = dict(pair.partition("=")[::2] for pair in options.data)
        if odd := sorted(set(given) - set(recipe.data)):
            raise RecipeError(f"--data {odd[0]}: the recipe {recipe.name} takes {', '.join(recipe.data)}")
        kept, _ = sound(recipe.data, {name: Path(path) for name, path in given.items()}, options.skip_bad)
        known = places_of((photo for photos in kept.values() for photo in photos), options.sure)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    save(known, options.out)
    for name, kind in known.kinds.items():
        log.info("%s: %d boxes, mean %s, limit %.1f", name, kind.boxes, kind.mean, kind.limit)
    return 0


if __name__ == "__main__":
    sys.exit(main())
