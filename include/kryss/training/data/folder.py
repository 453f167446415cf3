"""Plain photos without labels, as places to compose scenes in."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from kryss.training.data.photos import DataSet, LabelledPhoto, Problem

SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm"}


def load(folder: Path) -> DataSet:
    """Every photo under a folder, in the order of the names. What they show has no labels: see `kryss.training.prelabel`."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    photos, problems = [], []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
        name = str(path.relative_to(folder))
        try:
            with Image.open(path) as image:
                photos.append(LabelledPhoto(name, path, *image.size, ()))
        except OSError as error:
            problems.append(Problem(name, "photo-unreadable", str(error)[:120]))
    return DataSet(folder.name, tuple(photos), tuple(problems))
