"""How large signs and lights are: the size that a box is compared with.

Sizes come from ``sign_sizes.csv`` (first row that fits, each with its source), looked up by the full class name, then the
shape that ``sign_shapes.csv`` measured on the drawing of that very appearance group: the same sign can be a circle in one
country and a rectangle in another. The size is that of the *box*: a diamond's diagonal, a triangle's height.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Size:
    """Height and width of an object's box seen from the front, and the one-sigma relative spread of both."""

    height_m: float
    width_m: float
    sigma_fraction: float


@dataclass(frozen=True, slots=True)
class Shape:
    """Outline of a sign's drawing."""

    name: str
    aspect: float
    """Width over height."""


def shape_of(class_name: str) -> Shape | None:
    """The outline of a class, by its full name; None where there is no drawing of it."""
    return _shapes().get(class_name)


@cache
def object_size(class_name: str, region: str = "eu") -> Size | None:
    """The size prior of a class in a region (``eu``, ``us``, ...); None where the class has no usual size."""
    shape = shape_of(class_name)
    for row in _rows("sign_sizes.csv"):
        if (
            row["region"] in ("*", region.lower())
            and row["shape"] in ("*", shape.name if shape else "")
            and fnmatchcase(class_name, row["class"])
        ):
            if not row["width_m"]:
                return None
            width_m = float(row["width_m"])
            height_m = float(row["height_m"]) if row["height_m"] else width_m / (shape.aspect if shape else 1.0)
            return Size(height_m, width_m, float(row["sigma"]))
    return None


@cache
def _shapes() -> dict[str, Shape]:
    return {row["class"]: Shape(row["shape"], float(row["aspect_w_over_h"])) for row in _rows("sign_shapes.csv")}


@cache
def _rows(name: str) -> tuple[dict[str, str], ...]:
    with (_HERE / name).open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(line for line in file if not line.startswith("#")))
