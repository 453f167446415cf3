"""Sightings to objects: which sightings show the same sign or light, where it stands, and how sure that is.

The world is cut into cells of a fixed raster. Each cell is worked out with everything that was seen from within it and from
a margin around it, and keeps the sightings whose camera stood inside it: the answer is a pure function of the set of
sightings, does not depend on their order, and new sightings can only change the cells that they reach. A cell is done in
six steps: boxes of one photo that show one thing are joined; sightings of one drive are (:mod:`associate`); drives are laid
on each other (:mod:`align`); objects of several drives are joined; objects and poses are adjusted together (:mod:`adjust`),
sightings are given anew to the likeliest object, and so on; what does not stand in the street is left out (:mod:`doubt`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kryss.model import Covariance, FusedObject, Sighting
from kryss.positioning.adjust import Corrections, adjust, sums
from kryss.positioning.align import align
from kryss.positioning.associate import Clusters, agglomerate, describe, reassign, same_boxes
from kryss.positioning.doubt import REASONS, look, never_repeat, on_vehicles, too_far
from kryss.positioning.frame import Frame, wrap_deg
from kryss.positioning.table import Array, Codes, Scene, Table, scene_of, sighting_key, table_of

CELL_DEG = 0.012
"""Height of a cell, some 1,300 m; its width is about the same."""
MARGIN_M = 250.0
"""Seen around a cell: farther than any object is from its camera, and enough of each drive to know how it lies."""
METRES_PER_DEG = 111_320.0
HIGHEST_LATITUDE_DEG = 89.9
"""Beyond it, east and north mean nothing."""
TRACK_ROUNDS = 2
WEAK = 1.3
"""A cluster so many standard deviations less often seen than looked at is tried anew."""
ROUNDS = 3
DATUM_SHARE = 0.05
"""Of a camera's stated sigma: what no number of photos averages away (the datum of a reconstruction, GPS in one street)."""
SURE, DOUBTFUL, DOUBT = 0.07, 0.20, 1.3
"""By how much the variance grows where ties between drives are doubtful, which the adjustment takes for certain: not at all up
to a share of ``SURE``, which certain ties show too, and by ``DOUBT`` from ``DOUBTFUL`` on. Found on simulated streets, where it
brings the stated regions to what they hold (docs/positions.md)."""
CONFIRMED_PHOTOS, CONFIRMED_RADIUS_M = 3, 10.0
CONCENTRATED = 0.5
"""Views whose mean direction is shorter contradict each other: no front."""

_RADIUS_95 = np.array([1.9600, 1.9625, 1.9704, 1.9842, 2.0051, 2.0359, 2.0813, 2.1460, 2.2303, 2.3318, 2.4477])
"""Radius in units of the larger standard deviation that holds 95 %, by ratio of the smaller to the larger (0, 0.1, ... 1)."""


@dataclass(frozen=True)
class Fusion:
    """What became of sightings."""

    objects: list[FusedObject]
    dropped: Counter[str] = field(default_factory=Counter)
    """Sightings that are in no object, by reason."""


@dataclass
class Groups:
    """``k`` objects in columns, ordered by their first sighting, and to which of them each row of the table belongs."""

    label: Codes
    """(n,) 0 ... k - 1, or -1 - r with r the place of the reason in :data:`doubt.REASONS`"""
    lon: Array
    lat: Array
    covariance: Array
    """(k, 2, 2) m2, east and north"""
    kind: Codes
    """index into the table's classes"""
    facing_deg: Array
    """NaN where it has no front or views contradict each other"""
    height_m: Array
    """NaN where unknown"""
    height_sigma_m: Array


class Memo(Protocol):
    """What is remembered of cells between runs: only those that new sightings reach are worked out again."""

    def get(self, key: str) -> dict[str, NDArray[Any]] | None:
        """What was put under the key; None where nothing was, or it was lost."""

    def put(self, key: str, arrays: dict[str, NDArray[Any]]) -> None:
        """Remembers arrays by name."""


def fuse(sightings: Iterable[Sighting]) -> list[FusedObject]:
    """The objects of :func:`fusion`."""
    return fusion(sightings).objects


def fusion(sightings: Iterable[Sighting], memo: Memo | None = None) -> Fusion:
    """The objects that the sightings show, sorted by class and earliest sighting, and what is in none of them.

    With a ``memo`` the answer is the same, sooner where most cells are as they were.
    """
    rows = sorted(sightings, key=sighting_key)
    if not rows:
        return Fusion([])
    table = table_of(rows)
    groups = fuse_table(table, memo)
    members: list[list[Sighting]] = [[] for _ in groups.lon]
    dropped: Counter[str] = Counter()
    for row, label in zip(rows, groups.label.tolist(), strict=True):
        if label < 0:
            dropped[REASONS[-1 - label]] += 1
        else:
            members[label].append(row)
    objects = [_object(groups, k, table.classes[groups.kind[k]], seen) for k, seen in enumerate(members)]
    return Fusion(sorted(objects, key=lambda one: (one.class_name, sighting_key(one.sightings[0]))), dropped)


def fuse_table(table: Table, memo: Memo | None = None) -> Groups:
    """:func:`fusion` on columns: the rows of ``table`` stand in the order of :func:`sighting_key`."""
    good = _usable(table)
    if good.all():
        return _fuse_usable(table, memo)
    groups = _fuse_usable(table.take(np.flatnonzero(good)), memo)
    label = np.full(len(table), -1 - REASONS.index("not a number, or nowhere on the globe"))
    label[good] = groups.label
    return replace(groups, label=label)


def _usable(table: Table) -> NDArray[np.bool_]:
    """``(n,)`` rows whose numbers are finite and can be."""
    columns = ("bearing", "score", "time", "object_sigma", "sequence_sigma")
    positive = ("camera_sigma", "bearing_sigma", "range", "range_sigma")
    good = np.isfinite(table.camera_lon) & (np.abs(table.camera_lon) <= 180.0)
    good &= (np.abs(table.camera_lat) <= HIGHEST_LATITUDE_DEG) & ~((table.camera_lon == 0.0) & (table.camera_lat == 0.0))
    for name in (*columns, *positive):
        good &= np.isfinite(getattr(table, name))
    for name in positive:
        good &= getattr(table, name) > 0.0
    return np.asarray(good)


def _fuse_usable(table: Table, memo: Memo | None) -> Groups:
    n = len(table)
    if not n:
        none = np.zeros(0)
        return Groups(np.zeros(0, dtype=np.int64), none, none, np.zeros((0, 2, 2)), np.zeros(0, dtype=np.int64), none, none, none)
    leader, reason = np.arange(n), np.zeros(n, dtype=np.int64)
    parts: list[tuple[Codes, Groups]] = []
    for rows, inside in cells(table.camera_lon, table.camera_lat):
        first, groups = _remembered(table.take(rows).compact(), memo)
        whole = rows[first]
        kept = groups.label >= 0
        leader[rows[inside & kept]] = whole[groups.label[inside & kept]]
        reason[rows[inside & ~kept]] = groups.label[inside & ~kept]
        # Only the cell that holds an object's first sighting tells where it stands.
        mine = np.flatnonzero(inside[first])
        kinds = np.unique(table.kind[rows])
        parts.append((whole[mine], replace(_pick(groups, mine), kind=kinds[groups.kind[mine]])))
    for _ in range(n):
        onward = leader[leader]
        if np.array_equal(onward, leader):
            break
        leader = onward
    lost = reason[leader]
    first = np.concatenate([rows for rows, _ in parts])
    stands = (leader[first] == first) & (reason[first] == 0)
    order = np.flatnonzero(stands)[np.argsort(first[stands], kind="stable")]
    number = np.full(n, -1)
    number[first[order]] = np.arange(len(order))
    return Groups(
        np.where(lost < 0, lost, number[leader]),
        *(np.concatenate([getattr(groups, name) for _, groups in parts])[order] for name in _COLUMNS),
    )


_COLUMNS = ("lon", "lat", "covariance", "kind", "facing_deg", "height_m", "height_sigma_m")


def _pick(groups: Groups, which: NDArray[np.intp]) -> Groups:
    return Groups(groups.label, *(getattr(groups, name)[which] for name in _COLUMNS))


def cells(lon: Array, lat: Array) -> Iterator[tuple[NDArray[np.intp], NDArray[np.bool_]]]:
    """For each cell that holds a camera: the rows seen from it and its margin, and which of them from inside it.

    A cell is a part of a band of latitude; the bands' parts are counted so that they close around the globe.
    """
    band = np.floor(lat / CELL_DEG).astype(np.int64)
    around = np.maximum(1, np.round(360.0 * np.cos(np.radians((band + 0.5) * CELL_DEG)) / CELL_DEG)).astype(np.int64)
    part = np.floor((lon + 180.0) % 360.0 / 360.0 * around).astype(np.int64) % around
    order = np.lexsort((part, band))
    bands = band[order]
    keys = np.column_stack([band, part])[order]
    starts = np.flatnonzero(np.any(np.diff(keys, axis=0, prepend=keys[:1] - 1) != 0, axis=1))
    for begin in starts:
        row = int(bands[begin])
        near = order[np.searchsorted(bands, row - 1) : np.searchsorted(bands, row + 1, side="right")]
        middle = (row + 0.5) * CELL_DEG
        width = 360.0 / around[order[begin]]
        centre = (keys[begin, 1] + 0.5) * width - 180.0
        east = np.abs(wrap_deg(lon[near] - centre)) * METRES_PER_DEG * np.cos(np.radians(middle))
        north = np.abs(lat[near] - middle) * METRES_PER_DEG
        half_width = width / 2 * METRES_PER_DEG * np.cos(np.radians(middle))
        close = (east <= half_width + MARGIN_M) & (north <= CELL_DEG / 2 * METRES_PER_DEG + MARGIN_M)
        rows = np.sort(near[close])
        yield rows, (band[rows] == row) & (part[rows] == keys[begin, 1])


def _remembered(table: Table, memo: Memo | None) -> tuple[Codes, Groups]:
    """:func:`_fuse_cell` by its input: a cell whose sightings are the same has the same objects."""
    if memo is None:
        return _fuse_cell(table)
    digest = hashlib.sha256(f"{_engine()} {table.classes}".encode())
    for one in fields(table):
        if one.name != "classes":
            digest.update(np.ascontiguousarray(getattr(table, one.name)).tobytes())
    known = memo.get(digest.hexdigest())
    if known is None:
        first, groups = _fuse_cell(table)
        known = {"first": first, **{one.name: getattr(groups, one.name) for one in fields(groups)}}
        memo.put(digest.hexdigest(), known)
    return known["first"], Groups(**{name: values for name, values in known.items() if name != "first"})


@cache
def _engine() -> str:
    """Tells one version of the code that works cells out from another."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(one.read_bytes() for one in sources)).hexdigest()


def _fuse_cell(table: Table) -> tuple[Codes, Groups]:
    """The groups of one cell's table, and the row of the first sighting of each."""
    # The origin is that of the data, not of the cell: a world that is moved gives the same numbers.
    frame = Frame(*_middle(table))
    scene = scene_of(table, frame)
    clusters, corrections, leader = _clusters(scene)
    label = np.full(len(table), -1 - REASONS.index("on a vehicle"))
    far = too_far(scene, clusters, corrections)[clusters.labels]
    doubted = never_repeat(scene, clusters, corrections)[clusters.labels]
    label[clusters.rows] = np.where(doubted, -1 - REASONS.index("never repeats"), clusters.labels)
    label[clusters.rows[far]] = -1 - REASONS.index("farther than can be seen")
    label = label[leader]
    doubt = np.clip((corrections.doubt[scene.sequence[clusters.rows]] - SURE) / (DOUBTFUL - SURE), 0.0, 1.0)
    wider = 1.0 + DOUBT * sums(doubt[:, None], clusters.labels, clusters.count) / clusters.size[:, None]
    covariance = clusters.objects.covariance[:, :2, :2] * wider[:, :, None]
    covariance = covariance + _datum(scene, clusters)[:, None, None] * np.eye(2)
    lonlat = frame.to_lonlat(clusters.objects.state[:, :2]) if clusters.count else np.zeros((0, 2))
    # Back to true north: east and north of the place, not of the frame's grid.
    turn = np.radians(frame.convergence_deg(lonlat[:, 0], lonlat[:, 1])) if clusters.count else np.zeros(0)
    rotation = np.stack([np.cos(turn), np.sin(turn), -np.sin(turn), np.cos(turn)], axis=1).reshape(-1, 2, 2)
    groups = Groups(
        label=label,
        lon=lonlat[:, 0],
        lat=lonlat[:, 1],
        covariance=rotation @ covariance @ rotation.transpose(0, 2, 1),
        kind=clusters.kind,
        facing_deg=_facing_deg(scene, clusters, turn),
        height_m=clusters.height,
        height_sigma_m=clusters.height_sigma,
    )
    return clusters.first, groups


def _middle(table: Table) -> tuple[float, float]:
    lon = table.camera_lon[0] + wrap_deg(table.camera_lon - table.camera_lon[0])
    return float(wrap_deg((lon.min() + lon.max()) / 2)), float((table.camera_lat.min() + table.camera_lat.max()) / 2)


def _clusters(scene: Scene) -> tuple[Clusters, Corrections, NDArray[np.intp]]:
    """The objects of a scene, what poses are off by, and for each sighting the one of its photo that stands for it."""
    corrections = Corrections.prior(scene)
    leader = same_boxes(scene)
    rows = np.unique(leader)
    rows = rows[~on_vehicles(scene)[rows]]
    clusters = describe(scene, rows, np.arange(len(rows)), corrections)
    clusters = agglomerate(scene, clusters, corrections, drives=False)
    for _ in range(TRACK_ROUNDS):
        clusters, corrections = _adjusted(scene, clusters, corrections)
        clusters = reassign(scene, clusters, corrections, drives=False)
        clusters = agglomerate(scene, clusters, corrections, drives=False)
    clusters, corrections = _adjusted(scene, clusters, corrections)
    corrections = align(scene, describe(scene, clusters.rows, clusters.labels, corrections), corrections)
    clusters = describe(scene, clusters.rows, clusters.labels, corrections)
    clusters = agglomerate(scene, clusters, corrections, drives=True)
    for _ in range(ROUNDS):
        clusters, corrections = _adjusted(scene, clusters, corrections)
        clusters = _dissolved(scene, clusters, corrections)
        clusters = reassign(scene, clusters, corrections, drives=True)
        clusters = agglomerate(scene, clusters, corrections, drives=True)
    return *_adjusted(scene, clusters, corrections, final=True), leader


def _dissolved(scene: Scene, clusters: Clusters, corrections: Corrections) -> Clusters:
    """Clusters seen much less often than a standing object would be, taken apart, so that others may take their sightings."""
    looks = look(scene, clusters, corrections)
    weak = (clusters.size > 1) & (looks.seen < looks.expected - WEAK * np.sqrt(looks.variance + 0.25))
    if not weak.any():
        return clusters
    apart = weak[clusters.labels]
    labels = np.where(apart, clusters.count + np.arange(len(clusters.labels)), clusters.labels)
    return describe(scene, clusters.rows, labels, corrections)


def _adjusted(scene: Scene, clusters: Clusters, corrections: Corrections, final: bool = False) -> tuple[Clusters, Corrections]:
    clusters.objects, corrections = adjust(
        scene, clusters.rows, clusters.labels, clusters.count, clusters.objects.state, corrections, final=final
    )
    return clusters, corrections


def _datum(scene: Scene, clusters: Clusters) -> Array:
    """``(k,)`` variance that no number of photos averages away."""
    best = np.full(clusters.count, np.inf)
    np.minimum.at(best, clusters.labels, scene.camera_sigma[clusters.rows])
    return (DATUM_SHARE * best) ** 2


def _facing_deg(scene: Scene, clusters: Clusters, turn: Array) -> Array:
    """``(k,)`` where the fronts look, degrees from true north: back at the cameras."""
    away = clusters.view / np.maximum(clusters.size, 1)[:, None]
    facing = np.degrees(np.arctan2(-away[:, 0], -away[:, 1]) + turn) % 360.0
    known = scene.front[clusters.first] & (np.hypot(away[:, 0], away[:, 1]) > CONCENTRATED)
    return np.where(known, facing, np.nan)


def is_confirmed(one: FusedObject) -> bool:
    """Whether photos agree on it, each by itself, and its place is known well enough.

    Two rays cross wherever they look: it takes a third, and one that was read as something else is none.
    """
    return len(agreeing_photos(one)) >= CONFIRMED_PHOTOS and one.error_radius_m <= CONFIRMED_RADIUS_M


def agreeing_photos(one: FusedObject) -> set[str]:
    """The ids of the images that show it as what it is."""
    return {seen.image_id for seen in one.sightings if seen.class_name == one.class_name}


def error_radius_m(covariance: Covariance) -> float:
    """Radius of the circle that holds 95 % of a two-dimensional normal distribution."""
    east, cross, north = covariance
    small, large = np.linalg.eigvalsh([[east, cross], [cross, north]])
    ratio = np.sqrt(max(small, 0.0) / large) if large > 0 else 0.0
    return float(np.sqrt(large) * np.interp(ratio, np.linspace(0, 1, len(_RADIUS_95)), _RADIUS_95))


def _object(groups: Groups, k: int, class_name: str, members: Sequence[Sighting]) -> FusedObject:
    # A centimetre of position and of its covariance: what is believed must not flicker with rounding.
    matrix = groups.covariance[k]
    covariance = (round(float(matrix[0, 0]), 4), round(float(matrix[0, 1]), 4), round(float(matrix[1, 1]), 4))

    def known(value: float, digits: int) -> float | None:
        return round(float(value), digits) if np.isfinite(value) else None

    facing = known(groups.facing_deg[k], 1)
    return FusedObject(
        class_name=class_name,
        lon=round(float(groups.lon[k]), 7),
        lat=round(float(groups.lat[k]), 7),
        covariance=covariance,
        error_radius_m=round(error_radius_m(covariance), 2),
        sightings=tuple(members),
        facing_deg=None if facing is None else facing % 360.0,
        height_m=known(groups.height_m[k], 2),
        height_sigma_m=known(groups.height_sigma_m[k], 2),
    )
