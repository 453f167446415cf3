"""The table of classes: names are unique, shapes and sizes are those that positions are made with."""

from __future__ import annotations

import csv
from fnmatch import fnmatchcase
from pathlib import Path

import kryss.positioning
from kryss.positioning.sizes import object_size, shape_of
from kryss.vision import taxonomy

DUAL = ("regulatory--dual-path-bicycles-and-pedestrians--g1", "regulatory--dual-path-pedestrians-and-bicycles--g1")
DRAWN_BY_US = "information--general-directions--g1"
"""Route markers and direction boards: Mapillary has the class, but no drawing."""


def test_a_name_means_one_class() -> None:
    rows = taxonomy.classes()
    for column in ("name", "gtsdb_id", "gtsdb_name", "coco_name", "mtsd_label"):
        names = [name for row in rows if (name := getattr(row, column)) is not None]
        assert len(names) == len(set(names)), column
    assert sorted(taxonomy.from_gtsdb()) == list(range(43))
    assert set(taxonomy.from_gtsdb_name().values()) == set(taxonomy.from_gtsdb().values())


def test_every_class_that_is_detected_can_be_drawn() -> None:
    for name in taxonomy.detected():
        assert shape_of(name) or taxonomy.is_light(name) or name == DRAWN_BY_US, name


def test_all_of_gtsdb_the_thesis_and_the_lights_are_detected() -> None:
    wanted = {*taxonomy.from_gtsdb().values(), *taxonomy.from_coco().values(), DRAWN_BY_US}
    wanted |= {f"regulatory--{name}--g1" for name in ("yield", "turn-left", "turn-right", "no-left-turn", "no-right-turn")}
    wanted |= {f"{taxonomy.LIGHT_PREFIX}--{kind}" for kind in ("general-upright", "general-horizontal", "pedestrians")}
    assert wanted <= set(taxonomy.detected())


def test_shapes_are_those_of_the_drawings() -> None:
    for row in taxonomy.classes():
        shape = shape_of(row.name)
        if shape:
            assert row.shape == shape.name, row.name
        else:
            assert row.shape == ("light" if row.is_light else "rect_h"), row.name


def test_sizes_are_those_that_ranges_are_made_with() -> None:
    path = Path(kryss.positioning.__file__).with_name("sign_sizes.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = {
            f"{row['shape']} {row['class']}": row
            for row in csv.DictReader(line for line in file if not line.startswith("#"))
            if row["region"] == "*"
        }
    for item in taxonomy.classes():
        row = rows[item.size]
        assert row["shape"] in ("*", item.shape), item.name
        assert fnmatchcase(item.name, row["class"]), item.name
        size = object_size(item.name, "eu")
        if size:
            assert (size.width_m, size.sigma_fraction) == (float(row["width_m"]), float(row["sigma"])), item.name
        else:
            assert not row["width_m"], item.name


def test_the_mirror_of_a_mirror_is_the_class() -> None:
    mirrors = taxonomy.mirrors()
    assert mirrors
    for name, mirrored in mirrors.items():
        assert mirrors[mirrored] == name
        left, right = name.replace("left", "right"), name.replace("right", "left")
        assert mirrored in (name, left, right, *DUAL), name
        if "-left" in name and "left-or" not in name:
            assert mirrored == left
