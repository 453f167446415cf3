"""German Traffic Sign Recognition Benchmark (Stallkamp et al., Neural Networks 2012): crops of one sign each, with its box.

As published (a folder per class with ``GT-00000.csv``: Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId, or one such
file beside the crops of the test set), or as ``crops.zip`` with ``labels.csv`` (file,class_id,x1,y1,x2,y2). The box's right and
lower sides are pixels that belong to it.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from kryss.training.data.photos import DataSet, LabelledPhoto, Problem
from kryss.vision.taxonomy import from_gtsdb


def load(folder: Path) -> DataSet:
    """Crops as photos with one box that nearly fills them."""
    photos: list[LabelledPhoto] = []
    problems: list[Problem] = []
    for name, source, values in _rows(folder):
        if source is None:
            problems.append(Problem(name, "photo-missing", "the crop is listed but not there"))
            continue
        try:
            left, top, right, bottom, category = (int(value) for value in values)
        except ValueError:
            problems.append(Problem(name, "bad-annotation", f"{values} is not x1, y1, x2, y2, class"))
            continue
        sign = from_gtsdb().get(category)
        if sign is None:
            problems.append(Problem(name, "unknown-class", f"class {category} is none of GTSRB's 0 to 42"))
            continue
        try:
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                width, height = image.size
        except OSError as error:
            problems.append(Problem(name, "photo-unreadable", str(error)))
            continue
        photos.append(LabelledPhoto(name, source, width, height, ((left, top, right + 1, bottom + 1, sign),)))
    return DataSet("gtsrb", tuple(photos), tuple(problems))


def _rows(folder: Path) -> Iterator[tuple[str, Path | bytes | None, list[str]]]:
    """Name, crop (None: not there) and the columns x1, y1, x2, y2, class."""
    if (folder / "labels.csv").is_file():
        columns = ("x1", "y1", "x2", "y2", "class_id")
        try:
            with (
                zipfile.ZipFile(folder / "crops.zip") as crops,
                (folder / "labels.csv").open(encoding="utf-8", newline="") as file,
            ):
                inside = {Path(name).name: name for name in crops.namelist()}
                for row in csv.DictReader(file):
                    body = crops.read(inside[row["file"]]) if row["file"] in inside else None
                    yield row["file"], body, [row[key] or "" for key in columns]
        except zipfile.BadZipFile as error:
            raise ValueError(f"{folder / 'crops.zip'}: {error}") from error
        except KeyError as error:
            raise ValueError(f"{folder / 'labels.csv'} has no column {error}; it needs file, {', '.join(columns)}") from error
        return
    # GT-final_test.test.csv comes with the test photos and tells no classes.
    tables = [path for path in sorted(folder.rglob("GT-*.csv")) if not path.name.endswith(".test.csv")]
    if not tables:
        raise FileNotFoundError(f"neither labels.csv nor GT-*.csv in {folder}: is it GTSRB?")
    for table in tables:
        with table.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter=";"):
                path = table.parent / (row.get("Filename") or "")
                values = [row.get(key) or "" for key in ("Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId")]
                yield f"{table.parent.name}/{path.name}", path if path.is_file() else None, values
