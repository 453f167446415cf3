"""Labelled photos to learn from, whatever their format: COCO, GTSDB, GTSRB, MTSD, and composed scenes written as COCO.

Every loader returns a `DataSet`: the photos it understood, and what was wrong with the rest. `check.checked` looks at the photos
themselves and either stops with the whole list or goes on without what is bad. Boxes are ltrb in pixels of the photo as stored;
classes have Mapillary's names.
"""

from __future__ import annotations

from kryss.training.data.photos import (
    HOLD_OUT_EVERY,
    LIGHTS,
    OTHER_SIGN,
    DataSet,
    Labelled,
    LabelledPhoto,
    Ltrb,
    Problem,
    is_held_out,
    split,
)

__all__ = [
    "HOLD_OUT_EVERY",
    "LIGHTS",
    "OTHER_SIGN",
    "DataSet",
    "Labelled",
    "LabelledPhoto",
    "Ltrb",
    "Problem",
    "is_held_out",
    "split",
]
