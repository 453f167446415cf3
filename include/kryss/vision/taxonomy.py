"""What a class of object is called in Mapillary, GTSDB, COCO, NVDB and MTSD, and which ones are detected: ``taxonomy.csv``."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LIGHT_PREFIX = "object--traffic-light"


@dataclass(frozen=True, slots=True)
class ObjectClass:
    """One row. Names that a source lacks are None."""

    name: str
    gtsdb_id: int | None
    gtsdb_name: str | None
    coco_name: str | None
    nvdb_sign_number: str | None
    mtsd_label: str | None
    shape: str
    size: str
    """Shape and class pattern of the row of ``positioning/sign_sizes.csv`` that gives its size."""
    is_detected: bool
    """The detector learns it."""
    mirror: str | None
    """The class that its mirror image is (itself where symmetric); None where the mirror image is no sign."""
    source: str

    @property
    def is_light(self) -> bool:
        return is_light(self.name)


@cache
def classes() -> tuple[ObjectClass, ...]:
    """All rows, in the order of the file."""
    with (Path(__file__).parent / "taxonomy.csv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return tuple(
            ObjectClass(
                name=row["class"],
                gtsdb_id=int(row["gtsdb_id"]) if row["gtsdb_id"] else None,
                gtsdb_name=row["gtsdb_name"] or None,
                coco_name=row["coco_name"] or None,
                nvdb_sign_number=row["nvdb_sign_number"] or None,
                mtsd_label=row["mtsd_label"] or None,
                shape=row["shape"],
                size=row["size"],
                is_detected=row["detect"] == "yes",
                mirror=row["mirror"] or None,
                source=row["source"],
            )
            for row in rows
        )


def is_light(class_name: str) -> bool:
    """Whether a class is a traffic light of any kind."""
    return class_name.startswith(LIGHT_PREFIX)


@cache
def detected() -> tuple[str, ...]:
    """The classes that the detector learns, in the order of the file."""
    return tuple(row.name for row in classes() if row.is_detected)


@cache
def mirrors() -> dict[str, str]:
    """Class to the class of its mirror image, for the classes whose mirror image is a sign."""
    return {row.name: row.mirror for row in classes() if row.mirror}


@cache
def from_coco() -> dict[str, str]:
    """COCO name to Mapillary class, for the COCO classes that belong in the layer."""
    return {row.coco_name: row.name for row in classes() if row.coco_name}


@cache
def from_gtsdb() -> dict[int, str]:
    """GTSDB class number to Mapillary class."""
    return {row.gtsdb_id: row.name for row in classes() if row.gtsdb_id is not None}


@cache
def from_gtsdb_name() -> dict[str, str]:
    """GTSDB class name to Mapillary class."""
    return {row.gtsdb_name: row.name for row in classes() if row.gtsdb_name}


@cache
def from_mtsd() -> dict[str, str]:
    """MTSD label to Mapillary class."""
    return {row.mtsd_label: row.name for row in classes() if row.mtsd_label}
