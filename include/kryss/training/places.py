"""``python -m kryss.training.places``: learns where signs and lights are in photos, for a model's plausibility filter.

From the labelled boxes of the photos that training may see (never the held-out ones), into the JSON file that an entry of the
registry names as ``inference.plausibility``. See ``kryss.vision.plausible``.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from kryss.model import Box
from kryss.training.data import OTHER_SIGN, LabelledPhoto, coco, gtsdb, split
from kryss.vision.plausible import learn, save

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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m kryss.training.places", description=(__doc__ or "").split("\n\n")[1])
    add = parser.add_argument
    add("--gtsdb", type=Path, action="append", default=[], metavar="DIR", help="GTSDB: its folder, or one with annotations.json")
    add("--coco", type=Path, action="append", default=[], metavar="JSON", help="COCO labels, their photos in images/ beside them")
    add("--sure", type=float, default=SURE, metavar="SCORE", help=f"no find of at least this score is hidden (default {SURE})")
    add("--out", type=Path, required=True, metavar="FILE")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    sets = [gtsdb.load(folder) for folder in options.gtsdb]
    sets += [coco.load(path, path.parent / "images") for path in options.coco]
    if not sets:
        parser.error("give labels: --gtsdb or --coco")
    photos = [photo for one in sets for photo in split(one.photos)[0]]
    known = learn(labelled(photos), options.sure)
    save(known, options.out)
    for name, kind in known.kinds.items():
        log.info("%s: %d boxes, mean %s, limit %.1f", name, kind.boxes, kind.mean, kind.limit)
    return 0


if __name__ == "__main__":
    sys.exit(main())
