"""Sightings as columns: what association and adjustment work on, a row a sighting, up to millions of rows.

Metres are those of one local frame (:mod:`kryss.positioning.frame`); angles are radians clockwise from its grid north.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryss.model import Sighting
from kryss.positioning.frame import Frame
from kryss.positioning.sizes import shape_of

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

LEAST_SIGMA = 0.01
"""Relative: no range is better than a hundredth."""


def sighting_key(sighting: Sighting) -> tuple[object, ...]:
    """The order in which sightings are always taken."""
    return (sighting.captured_at, sighting.image_id, sighting.ordinal, sighting.model_key)


@cache
def family(class_name: str) -> tuple[str, str] | None:
    """Classes that a detector may take for each other: same category and outline."""
    shape = shape_of(class_name)
    return (class_name.split("--")[0], shape.name) if shape else None


def has_front(class_name: str) -> bool:
    """A sign is read from its front only; lights and other objects are seen from all sides."""
    return not class_name.startswith("object")


@dataclass(frozen=True)
class Table:
    """``n`` sightings in the order of :func:`sighting_key`."""

    camera_lon: Array
    camera_lat: Array
    camera_sigma: Array
    """metres, one axis"""
    bearing: Array
    """radians from true north"""
    bearing_sigma: Array
    """radians"""
    range: Array
    """metres"""
    range_sigma: Array
    """relative, all of it"""
    object_sigma: Array
    """relative: the part that all sightings of the object share"""
    sequence_sigma: Array
    """relative: the part that all sightings of the sequence share"""
    height: Array
    """metres above the road; NaN where unknown"""
    height_sigma: Array
    score: Array
    time: Array
    """seconds since 1970"""
    image: Codes
    sequence: Codes
    kind: Codes
    """index into ``classes``"""
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.bearing)

    def take(self, rows: NDArray[Any]) -> Table:
        """The table of these rows."""
        columns = {one.name: getattr(self, one.name)[rows] for one in fields(self) if one.name != "classes"}
        return replace(self, **columns)

    def compact(self) -> Table:
        """The same table with images, sequences and classes counted from 0 without gaps, in the same order."""
        kinds, kind = np.unique(self.kind, return_inverse=True)
        return replace(
            self,
            image=np.unique(self.image, return_inverse=True)[1].astype(np.int64),
            sequence=np.unique(self.sequence, return_inverse=True)[1].astype(np.int64),
            kind=kind.astype(np.int64),
            classes=tuple(self.classes[one] for one in kinds.tolist()),
        )


def table_of(sightings: Sequence[Sighting]) -> Table:
    """Columns of sightings that are already in the order of :func:`sighting_key`."""

    def column(values: Iterable[float | None]) -> Array:
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    range_m = column(one.range_m for one in sightings)
    image, _ = codes(one.image_id for one in sightings)
    sequence, _ = codes(one.sequence_id for one in sightings)
    kind, classes = codes(one.class_name for one in sightings)
    return Table(
        camera_lon=column(one.camera_lon for one in sightings),
        camera_lat=column(one.camera_lat for one in sightings),
        camera_sigma=column(one.camera_sigma_m for one in sightings),
        bearing=np.radians(column(one.bearing_deg for one in sightings)),
        bearing_sigma=np.radians(column(one.bearing_sigma_deg for one in sightings)),
        range=range_m,
        range_sigma=column(one.range_sigma_m for one in sightings) / range_m,
        object_sigma=column(one.range_shared_sigma_m for one in sightings) / range_m,
        sequence_sigma=column(one.range_sequence_sigma_m for one in sightings) / range_m,
        height=column(one.height_m for one in sightings),
        height_sigma=column(one.height_sigma_m for one in sightings),
        score=column(one.score for one in sightings),
        time=np.array([one.captured_at.timestamp() for one in sightings], dtype=np.float64),
        image=image,
        sequence=sequence,
        kind=kind,
        classes=classes,
    )


def codes(values: Iterable[str]) -> tuple[Codes, tuple[str, ...]]:
    """Each value's place among the sorted distinct ones, and these."""
    listed = list(values)
    names = sorted(set(listed))
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[name] for name in listed], dtype=np.int64), tuple(names)


def families(classes: Sequence[str]) -> tuple[Codes, NDArray[np.bool_]]:
    """Of each class, the number of its family (its own where nothing is known of it), and whether it has a front."""
    keys = [("/".join(kin) if (kin := family(name)) else f"={name}") for name in classes]
    return codes(keys)[0], np.array([has_front(name) for name in classes], dtype=bool)


@dataclass(frozen=True)
class Scene:
    """A table in one metric frame: the input of association and adjustment. Angles are from grid north."""

    camera: Array
    """(n, 2) metres east and north"""
    bearing: Array
    log_range: Array
    camera_sigma: Array
    bearing_sigma: Array
    """(n,) all of it"""
    pixel_sigma: Array
    """(n,) the part of the bearing's that is the sighting's own, not its pose's"""
    own_sigma: Array
    """(n,) of the log range, the sighting's own part"""
    object_sigma: Array
    """(n,) of the log range, shared by the sightings of an object; never zero"""
    sequence_sigma: Array
    shared: Array
    """(n,) share of the pose's variance that its sequence has in common"""
    height: Array
    """(n,) metres above the road; NaN where unknown"""
    height_sigma: Array
    score: Array
    time: Array
    image: Codes
    sequence: Codes
    """0 ... sequences - 1"""
    kind: Codes
    family: Codes
    front: NDArray[np.bool_]

    @property
    def sequences(self) -> int:
        return int(self.sequence.max(initial=-1)) + 1

    @property
    def images(self) -> int:
        return int(self.image.max(initial=-1)) + 1

    def __len__(self) -> int:
        return len(self.bearing)


SHARED_POSE_VARIANCE = 0.5
"""The share of a pose's variance that the photos of one drive have in common."""
PIXEL_SIGMA = float(np.radians(0.3))
PIXEL_SHARE = 0.1
"""Of a drive's bearing's sigma; the rest is the pose's and common to the photo."""


def scene_of(table: Table, frame: Frame) -> Scene:
    """The table in a metric frame."""
    number, front = families(table.classes)
    total = np.maximum(table.range_sigma, LEAST_SIGMA)
    by_object = np.clip(table.object_sigma, LEAST_SIGMA, total)
    by_sequence = np.minimum(table.sequence_sigma, np.sqrt(np.maximum(total**2 - by_object**2, 0.0)))
    own = np.sqrt(np.maximum(total**2 - by_object**2 - by_sequence**2, LEAST_SIGMA**2))
    _, sequence = np.unique(table.sequence, return_inverse=True)
    _, image = np.unique(table.image, return_inverse=True)
    # Only a drive of several photos tells the two halves of a pose's variance apart. A lone photo's position is one for all
    # its sightings; its bearings, of which nothing says how their errors hang together, err each on their own.
    photos = np.zeros(int(sequence.max(initial=-1)) + 1)
    np.add.at(photos, np.unique(np.column_stack([sequence, image]), axis=0)[:, 0], 1)
    lone = photos[sequence] < 2
    return Scene(
        camera=frame.to_xy(table.camera_lon, table.camera_lat),
        bearing=table.bearing - np.radians(frame.convergence_deg(table.camera_lon, table.camera_lat)),
        log_range=np.log(table.range),
        camera_sigma=table.camera_sigma,
        bearing_sigma=table.bearing_sigma,
        pixel_sigma=np.where(
            lone, table.bearing_sigma, np.minimum(table.bearing_sigma, np.maximum(PIXEL_SIGMA, PIXEL_SHARE * table.bearing_sigma))
        ),
        own_sigma=own,
        object_sigma=by_object,
        sequence_sigma=by_sequence,
        shared=np.where(lone, 1.0, SHARED_POSE_VARIANCE),
        height=np.where(np.isfinite(table.height_sigma), table.height, np.nan),
        height_sigma=np.where(np.isfinite(table.height), table.height_sigma, np.nan),
        score=np.clip(table.score, 0.0, 1.0),
        time=table.time,
        image=image.astype(np.int64),
        sequence=sequence.astype(np.int64),
        kind=table.kind,
        family=number[table.kind],
        front=front[table.kind],
    )
