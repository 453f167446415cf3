"""How large signs and lights are, and how high they hang: what a box and its elevation are compared with.

Sizes come from ``sign_sizes.csv`` (first row that fits, each with its source), looked up by the full class name, then the
shape that ``sign_shapes.csv`` measured on the drawing of that very appearance group: the same sign can be a circle in one
country and a rectangle in another. The size is that of the *box*: a diamond's diagonal, a triangle's height. Heights come
from ``mounting_heights.csv``.
"""

from __future__ import annotations

import csv
import math
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


@dataclass(frozen=True, slots=True)
class Mounting:
    """A usual height of an object's middle above the road, and its one-sigma spread."""

    height_m: float
    sigma_m: float


@cache
def mountings(class_name: str) -> tuple[Mounting, ...]:
    """The usual ways of mounting a class (a light stands beside the road or hangs over it); none where it hangs anywhere."""
    rows = _rows("mounting_heights.csv")
    pattern = next((row["class"] for row in rows if fnmatchcase(class_name, row["class"])), None)
    return tuple(
        Mounting(float(row["height_m"]), float(row["sigma_m"])) for row in rows if row["class"] == pattern and row["height_m"]
    )


def extents(class_name: str, size: Size, roll: float) -> tuple[float, float]:
    """Height and width in metres of the upright box around an object whose outline is rolled by ``roll`` radians.

    A disc (an octagon nearly) keeps its box; a rolled plate has a larger one, a rolled diamond a smaller.
    """
    shape = shape_of(class_name)
    name = shape.name if shape else "rect_v"
    half_height, half_width = size.height_m / 2, size.width_m / 2
    if name in ("circle", "octagon"):
        return size.height_m, size.width_m
    if name == "diamond":
        corners = ((0.0, half_height), (half_width, 0.0), (0.0, -half_height), (-half_width, 0.0))
    elif name in ("triangle_up", "triangle_down"):
        apex = half_height if name == "triangle_up" else -half_height
        corners = ((0.0, apex), (half_width, -apex), (-half_width, -apex), (0.0, apex))
    else:
        corners = ((half_width, half_height), (half_width, -half_height), (-half_width, -half_height), (-half_width, half_height))
    cos, sin = math.cos(roll), math.sin(roll)
    across = [x * cos + y * sin for x, y in corners]
    up = [y * cos - x * sin for x, y in corners]
    return max(up) - min(up), max(across) - min(across)


@cache
def _shapes() -> dict[str, Shape]:
    return {row["class"]: Shape(row["shape"], float(row["aspect_w_over_h"])) for row in _rows("sign_shapes.csv")}


@cache
def _rows(name: str) -> tuple[dict[str, str], ...]:
    with (_HERE / name).open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(line for line in file if not line.startswith("#")))
