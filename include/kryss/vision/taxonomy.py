"""What a class of object is called in Mapillary, GTSDB, COCO and NVDB: the rows of ``taxonomy.csv``."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ObjectClass:
    """One row. Names that a source lacks are None."""

    name: str
    gtsdb_id: int | None
    coco_name: str | None
    nvdb_sign_number: str | None
    shape: str
    source: str


@cache
def classes() -> tuple[ObjectClass, ...]:
    """All rows, in the order of the file."""
    with (Path(__file__).parent / "taxonomy.csv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return tuple(
            ObjectClass(
                name=row["class"],
                gtsdb_id=int(row["gtsdb_id"]) if row["gtsdb_id"] else None,
                coco_name=row["coco_name"] or None,
                nvdb_sign_number=row["nvdb_sign_number"] or None,
                shape=row["shape"],
                source=row["source"],
            )
            for row in rows
        )


@cache
def from_coco() -> dict[str, str]:
    """COCO name to Mapillary class, for the COCO classes that belong in the layer."""
    return {row.coco_name: row.name for row in classes() if row.coco_name}


@cache
def from_gtsdb() -> dict[int, str]:
    """GTSDB class number to Mapillary class."""
    return {row.gtsdb_id: row.name for row in classes() if row.gtsdb_id is not None}
