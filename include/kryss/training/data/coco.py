"""COCO json (``images``, ``annotations`` with ``bbox`` [left, top, width, height], ``categories``).

A category's name is a Mapillary class, a COCO name of the taxonomy, or is mapped by the caller. ``iscrowd`` boxes, and boxes of
classes that nobody knows (with ``--skip-bad``), are ignore regions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from kryss.training.data.photos import HORIZONTAL, OTHER_SIGN, UPRIGHT, DataSet, Labelled, LabelledPhoto, Ltrb, Problem
from kryss.vision.taxonomy import classes, from_coco

LYING = 1.3
"""A traffic light this many times as wide as high hangs sideways: COCO's "traffic light" does not say."""


def load(
    annotations: Path,
    images: Path,
    names: Mapping[int, str] | None = None,
    known: Collection[str] | None = None,
    stretch: float = 1.0,
) -> DataSet:
    """``names``: category id to class, where the file's own names are not Mapillary's or COCO's. ``known``: the classes that may
    occur (default: the taxonomy).
    """
    if not annotations.is_file():
        raise FileNotFoundError(f"no {annotations}: a COCO data set is an annotations file and a folder of images")
    try:
        document = json.loads(annotations.read_text(encoding="utf-8"))
        rows = {key: document[key] for key in ("images", "annotations", "categories") if key in document or key != "categories"}
        if odd := [key for key, value in rows.items() if not isinstance(value, list)]:
            raise TypeError(f"{odd[0]} is no list")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{annotations} is no COCO file (a JSON object with images, annotations, categories): {error}") from None
    allowed = set(known) if known is not None else {row.name for row in classes()} | {OTHER_SIGN}
    # Ids are compared as text, as `truth` does: some files write them as numbers here and as text there.
    given = {str(key): name for key, name in (names if names is not None else _names(rows.get("categories", []))).items()}
    problems: list[Problem] = []
    photos: dict[str, dict[str, Any]] = {}
    boxes: dict[str, list[Labelled]] = {}
    ignore: dict[str, list[Ltrb]] = {}
    for row in rows["images"]:
        try:
            key, file = str(row["id"]), images / str(row["file_name"])
            size = (int(row["width"]), int(row["height"])) if {"width", "height"} & row.keys() else size_of(file)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problems.append(Problem(str(row)[:60], "bad-annotation", f"image without id, file_name, width or height ({error})"))
            continue
        if key in photos:
            problems.append(Problem(key, "bad-annotation", f"image id {key} occurs twice"))
            continue
        photos[key] = {"id": row["id"], "file": file, "size": size}
        boxes[key], ignore[key] = [], []
    for row in rows["annotations"]:
        key = str(row.get("image_id") if isinstance(row, dict) else None)
        if key not in photos:
            problems.append(Problem(key, "bad-annotation", f"annotation of an image that is not listed: {str(row)[:80]}"))
            continue
        try:
            left, top, width, height = (float(side) for side in row["bbox"])
            category = str(row["category_id"])
        except (KeyError, TypeError, ValueError):
            problems.append(Problem(key, "bad-annotation", f"annotation without category_id or bbox of 4: {str(row)[:80]}"))
            continue
        if not all(math.isfinite(side) for side in (left, top, width, height)):
            problems.append(Problem(key, "box-not-finite", f"bbox {row['bbox']}"))
            continue
        box = (left, top, left + width, top + height)
        name = given.get(category)
        if name == UPRIGHT and width > LYING * height:
            name = HORIZONTAL
        if row.get("iscrowd"):
            ignore[key].append(box)
        elif name not in allowed:
            problems.append(Problem(key, "unknown-class", f"category {category} ({name or 'no name'}) is not in the taxonomy"))
            ignore[key].append(box)
        else:
            boxes[key].append((*box, name))
    made = (
        LabelledPhoto(row["id"], row["file"], row["size"][0], row["size"][1], tuple(boxes[key]), tuple(ignore[key]), stretch)
        for key, row in photos.items()
    )
    return DataSet(annotations.parent.name, tuple(made), tuple(problems))


def _names(categories: list[Any]) -> dict[str, str]:
    rows = [row for row in categories if isinstance(row, dict) and "id" in row]
    return {str(row["id"]): from_coco().get(str(row.get("name")), str(row.get("name"))) for row in rows}


def size_of(photo: Path) -> tuple[int, int]:
    """Width and height as stored; 0, 0 where there is no photo (the check says why)."""
    try:
        with Image.open(photo) as image:
            return image.size
    except OSError:
        return 0, 0


def write(photos: Collection[LabelledPhoto], folder: Path) -> Path:
    """``annotations.json`` of photos whose files lie in ``folder/images``; ignore regions are crowds. The same photos give the
    same bytes.
    """
    names = sorted(
        {box[4] for photo in photos for box in photo.boxes} | ({OTHER_SIGN} if any(p.ignore for p in photos) else set())
    )
    index = {name: number for number, name in enumerate(names, 1)}
    images: list[dict[str, object]] = []
    rows: list[dict[str, object]] = []
    for number, photo in enumerate(photos):
        if not isinstance(photo.source, Path):
            raise ValueError(f"photo {photo.id} has no file to name")
        images.append({"id": number, "file_name": photo.source.name, "width": photo.width, "height": photo.height})
        marked = [(box[:4], index[box[4]], 0) for box in photo.boxes] + [(box, index[OTHER_SIGN], 1) for box in photo.ignore]
        for (left, top, right, bottom), category, crowd in marked:
            bbox = [round(left, 2), round(top, 2), round(right - left, 2), round(bottom - top, 2)]
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": number,
                    "category_id": category,
                    "bbox": bbox,
                    "area": round(bbox[2] * bbox[3], 2),
                    "iscrowd": crowd,
                }
            )
    document = {"images": images, "annotations": rows, "categories": [{"id": k, "name": name} for name, k in index.items()]}
    path = folder / "annotations.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path
