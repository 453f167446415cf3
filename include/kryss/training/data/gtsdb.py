"""German Traffic Sign Detection Benchmark (Houben et al., IJCNN 2013): as published (``gt.txt``, ``00000.ppm``), or as COCO json.

A row of ``gt.txt`` is ``file;left;top;right;bottom;class``. Its class numbers are GTSRB's. The coordinates are of pixels that
belong to the box, so that its right and lower edges lie one further.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from kryss.training.data import coco
from kryss.training.data.photos import DataSet, Labelled, LabelledPhoto, Problem
from kryss.vision.taxonomy import from_gtsdb

SIZE = (1360, 800)


def load(folder: Path) -> DataSet:
    """Every photo of the folder (or of an annotation file in COCO's form), those without a labelled sign too."""
    annotations = folder if folder.suffix == ".json" else folder / "annotations.json"
    if annotations.is_file() or annotations == folder:
        return coco.load(annotations, annotations.parent / "images", from_gtsdb())
    if not (folder / "gt.txt").is_file():
        raise FileNotFoundError(f"neither annotations.json nor gt.txt in {folder}: is it GTSDB?")
    problems: list[Problem] = []
    boxes: dict[str, list[Labelled]] = {path.name: [] for path in sorted(folder.glob("*.ppm"))}
    for number, line in enumerate((folder / "gt.txt").read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            name, left, top, right, bottom, category = line.strip().split(";")
            sides = [int(value) for value in (left, top, right, bottom, category)]
        except ValueError:
            problems.append(
                Problem(f"gt.txt:{number}", "bad-annotation", f"{line[:60]!r} is not file;left;top;right;bottom;class")
            )
            continue
        sign = from_gtsdb().get(sides[4])
        if sign is None:
            problems.append(Problem(name, "unknown-class", f"class {sides[4]} is none of GTSDB's 0 to 42"))
        else:
            boxes.setdefault(name, []).append((sides[0], sides[1], sides[2] + 1, sides[3] + 1, sign))
    photos = []
    for name, rows in sorted(boxes.items()):
        path = folder / name
        try:
            with Image.open(path) as image:
                size = image.size
        except OSError:
            size = SIZE  # check tells why
        identity: int | str = int(path.stem) if path.stem.isdecimal() else path.stem
        photos.append(LabelledPhoto(identity, path, *size, tuple(rows)))
    return DataSet("gtsdb", tuple(photos), tuple(problems))
