"""Mapillary Traffic Sign Dataset (Ertler et al., ECCV 2020), in its own format; users hold the images.

``splits/{train,val,test}.txt``: a key a line. ``annotations/KEY.json``: width, height, ispano, objects with bbox (xmin, ymin,
xmax, ymax; in a panorama that a sign crosses at its edge xmin > xmax and ``cross_boundary`` holds its left and right part), label
(``regulatory--stop--g1``, or ``other-sign``) and properties (barrier, occluded, out-of-frame, exterior, ambiguous, included,
direction-or-information, highway, dummy). ``images/KEY.jpg``, or ``images/SPLIT/KEY.jpg`` as in the unpacked archives.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from kryss.training.data.photos import OTHER_SIGN, DataSet, Labelled, LabelledPhoto, Ltrb, Problem
from kryss.vision.taxonomy import classes, from_mtsd

UNSURE = ("ambiguous", "dummy", "exterior", "out-of-frame", "included")
"""Properties of what no detector should have to find: nobody can tell, not a sign of this street (on a lorry, an advertisement),
cut off by the frame, part of a larger sign."""


def load(folder: Path, part: str = "train", known: Collection[str] | None = None) -> DataSet:
    """Photos of a split. Signs of classes that the taxonomy lacks are ``other-sign``, unsure ones are ignore regions."""
    listing = folder / "splits" / f"{part}.txt"
    if not listing.is_file():
        raise FileNotFoundError(f"no {listing}: MTSD has splits/train.txt, splits/val.txt and splits/test.txt")
    names = set(known) if known is not None else {row.name for row in classes()}
    photos: list[LabelledPhoto] = []
    problems: list[Problem] = []
    for key in listing.read_text(encoding="utf-8").split():
        path = folder / "annotations" / f"{key}.json"
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            size = (int(document["width"]), int(document["height"]))
            objects = list(document["objects"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            problems.append(Problem(key, "bad-annotation", f"{path.name}: {type(error).__name__} {error}"[:120]))
            continue
        boxes: list[Labelled] = []
        ignore: list[Ltrb] = []
        for row in objects:
            try:
                label, parts = str(row["label"]), _parts(row["bbox"])
            except (KeyError, TypeError, ValueError) as error:
                problems.append(Problem(key, "bad-annotation", f"object {str(row)[:60]}: {type(error).__name__} {error}"))
                continue
            name = from_mtsd().get(label, label)
            if not all(math.isfinite(side) for box in parts for side in box):
                problems.append(Problem(key, "box-not-finite", f"bbox {row['bbox']}"))
            elif len(parts) > 1 or any((row.get("properties") or {}).get(flag) for flag in UNSURE):
                ignore += parts
            elif name in names:
                boxes.append((*parts[0], name))
            elif "--" in name or name == OTHER_SIGN:
                boxes.append((*parts[0], OTHER_SIGN))
            else:
                problems.append(Problem(key, "unknown-class", f"label {label!r} is none of MTSD's"))
                ignore += parts
        found = [p for p in (folder / "images" / f"{key}.jpg", folder / "images" / part / f"{key}.jpg") if p.is_file()]
        source = found[0] if found else folder / "images" / f"{key}.jpg"
        photos.append(LabelledPhoto(key, source, *size, tuple(boxes), tuple(ignore)))
    return DataSet(f"mtsd-{part}", tuple(photos), tuple(problems))


def _parts(bbox: dict[str, Any]) -> list[Ltrb]:
    """The box, or its two parts at the edges of a panorama."""
    crossing = bbox.get("cross_boundary")
    each = [crossing["left"], crossing["right"]] if crossing else [bbox]
    return [(float(box["xmin"]), float(box["ymin"]), float(box["xmax"]), float(box["ymax"])) for box in each]
