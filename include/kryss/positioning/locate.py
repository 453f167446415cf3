"""Anybody's detections to objects: a table of camera positions and bearings in, one GeoJSON Point an object out.

The engine is the one that places Mapillary's detections (:mod:`kryss.positioning.fuse`); what the table does not say is
assumed, with an honest error. The columns are told in docs/locate.md; `lat`, `lon` and `bearing_deg` are those of Krylov's
published detections (Krylov, Kenny and Dahyot, "Automatic discovery and geotagging of objects from street view imagery",
Remote Sensing 10(5), 2018).
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from kryss.model import Covariance, FusedObject, Sighting
from kryss.positioning.depth_scale import DepthScale, Rays, depth_scale
from kryss.positioning.frame import GEOD, frame_for, wrap_deg
from kryss.positioning.fuse import cells, fuse, fusion, is_confirmed
from kryss.positioning.table import SHARED_POSE_VARIANCE

Array = NDArray[np.float64]
Json = dict[str, Any]

REQUIRED = ("lat", "lon", "bearing_deg")
NUMBERS = (*REQUIRED, "depth", "range_m", "score", "bearing_sigma_deg", "position_sigma_m", "range_sigma_m")
TEXTS = ("class", "image_id", "sequence_id", "captured_at")
COLUMNS = (*NUMBERS, *TEXTS)

DEPTH_SIGMA = 0.4
"""Relative error of one depth of a monocular net at an object, beside its scale: 25 % in its papers' outdoor tables, and more
for what stands before and behind the object in its box."""
RANGE_SIGMA = 0.15
"""Relative error of a ``range_m`` that does not say its own."""
PRIOR_RANGE_M, PRIOR_LOG_SIGMA = 15.0, 0.6
"""Of an object in a street photo, where nothing is known of its distance: two in three are seen from 8 to 27 m."""
NEAREST_M, FARTHEST_M = 0.5, 250.0
"""No street photo shows a sign or light from nearer or farther; such a range is in another unit, or wrong."""
LARGEST_POSITION_SIGMA_M, LARGEST_BEARING_SIGMA_DEG = 100.0, 90.0
"""What errs by more is no position and no bearing."""
LEAST_POSITION_SIGMA_M, LEAST_BEARING_SIGMA_DEG, LEAST_RANGE_SIGMA = 0.02, 0.05, 0.01
"""The best that a survey can do: a smaller error is taken for this one. The range's is relative."""
LARGEST_RANGE_SIGMA = 2.0
"""Relative: such a range says nothing."""
ODD_DEPTH = 100.0
"""A depth that differs from the file's median by more than this factor is none."""
LARGEST_LATITUDE_DEG = 89.9
BETTER_THAN_GPS_M = 2.5
"""A position better than this does not come from a phone's or dash camera's GPS alone."""
ROWS_FOR_A_SCALE = 30
"""A sequence with so many depths may have a scale of its own."""
MOST_SCALES = 30
"""The largest sequences: each costs a fifth of a second."""
PAIRS_OF_A_SEQUENCE = 2_000
OTHER_SCALE_SIGMAS = 2.0
"""A sequence keeps the scale of the file, which more pairs have told, unless its own differs by so much."""
SEQUENCE_SCALE_SIGMA = 0.10
"""How the scales of one net differ between cameras and drives; fusion settles it from the views."""
CELL_DEG = 1.0
"""Areas that no cell of this raster connects have a metric frame each: a file may hold cities of two continents."""
AREAS_APART_M = 1e7
HALF = 0.5
SHARE_ROUNDS, SHARE_BETWEEN = 2, (0.05, 0.95)
LEAST_IN_SCATTER, SCATTERED = 3, 60
MEDIAN_TO_SIGMA = 1.4826
"""Of the absolute deviation of a normal distribution."""
CROSSED = 10
"""Depths whose rays are crossed by others, to tell the scale from."""
MOST_CROSSED = 3_000
SCALE_ROUNDS, SCALE_STEADY = 8, 0.01
CHUNK_ROWS = 50_000
COORDINATE_DECIMALS = 7
LINES_TOLD = 20
UNDATED = datetime(1970, 1, 1, tzinfo=UTC)

_RADIUS_68 = np.array([0.9945, 0.9995, 1.0152, 1.0438, 1.0889, 1.1481, 1.2152, 1.2865, 1.3599, 1.4344, 1.5096])
"""Radius in units of the larger standard deviation that holds 68 %, by ratio of the smaller to the larger (0, 0.1, ... 1)."""


class DetectionsError(ValueError):
    """The table cannot be read at all; the message says which file and what it needs."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What is assumed of a row that does not say it."""

    class_name: str = "object"
    position_sigma_m: float = 0.5
    """One axis; panoramas of mapping companies and photos positioned by structure from motion."""
    bearing_sigma_deg: float = 4.5
    """Of one detection: its box's middle is not the object's, and headings are rounded or bent."""


@dataclass(frozen=True)
class Detections:
    """The ``n`` rows that could be read, as columns. A missing number is NaN, a missing text empty."""

    line: NDArray[np.int64]
    """(n,) line in the file, the header being line 1; of a row of several lines the last."""
    numbers: dict[str, Array]
    """``(n,)`` by column of ``NUMBERS``"""
    texts: dict[str, list[str]]
    """``n`` by column of ``TEXTS`` but the time"""
    captured_at: list[datetime | None]
    refused: dict[str, list[int]] = field(default_factory=dict)
    """Line numbers of rows that are left out, by reason."""

    def __len__(self) -> int:
        return len(self.line)

    @property
    def rows_read(self) -> int:
        """All rows of the file, the refused ones too."""
        return len(self) + sum(map(len, self.refused.values()))


def read_detections(path: Path) -> Detections:
    """The rows of a CSV file with a header (UTF-8, comma); a bad row is left out, counted, and stops nothing.

    Raises DetectionsError where a required column is missing or the file is not there. A file without a byte has no rows.
    """
    refused: dict[str, list[int]] = defaultdict(list)
    parts: list[Detections] = []
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            reader = csv.reader(file)
            header = [name.strip().lower() for name in next(reader, [])]
            if header:
                _check_header(header, path)
                rows = _rows(reader, len(header), refused)
                while chunk := list(islice(rows, CHUNK_ROWS)):
                    parts.append(_parsed(chunk, header, refused))
    except OSError as error:
        raise DetectionsError(f"{path}: cannot be read: {error.strerror or error}") from error
    return _joined(parts, {reason: sorted(refused[reason]) for reason in sorted(refused)})


def _check_header(header: Sequence[str], path: Path) -> None:
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise DetectionsError(
            f"{path}: no column {', '.join(missing)}; the header has {', '.join(header)}, and lat, lon and bearing_deg are needed"
        )
    repeated = sorted({name for name in header if name in COLUMNS and header.count(name) > 1})
    if repeated:
        raise DetectionsError(f"{path}: column {', '.join(repeated)} appears twice in the header")


def _rows(reader: Any, width: int, refused: dict[str, list[int]]) -> Iterator[tuple[int, list[str]]]:
    """``(line, cells)`` of every row that has a cell for each column. Empty lines are no rows."""
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            refused["not CSV"].append(reader.line_num)
            continue
        if len(cells) == width:
            yield reader.line_num, cells
        elif cells:
            refused["more or fewer cells than the header"].append(reader.line_num)


def _parsed(chunk: Sequence[tuple[int, list[str]]], header: Sequence[str], refused: dict[str, list[int]]) -> Detections:
    """The good rows of some; the others go to ``refused``, each under its first reason."""
    line = np.array([number for number, _ in chunk], dtype=np.int64)
    cells = dict(zip(header, zip(*(row for _, row in chunk), strict=True), strict=True))
    empty = ("",) * len(chunk)
    numbers = {name: _numbers(cells[name]) if name in cells else np.full(len(chunk), np.nan) for name in NUMBERS}
    texts = {name: [cell.strip() for cell in cells.get(name, empty)] for name in TEXTS}
    times, undated = _instants(texts.pop("captured_at"))
    good = np.ones(len(chunk), dtype=bool)
    for reason, bad in [*_problems(numbers), ("captured_at is no instant", undated)]:
        refused[reason] += line[good & bad].tolist()
        good &= ~bad
        if not refused[reason]:
            del refused[reason]
    kept = np.flatnonzero(good).tolist()
    return Detections(
        line=line[good],
        numbers={name: values[good] for name, values in numbers.items()},
        texts={name: [values[i] for i in kept] for name, values in texts.items()},
        captured_at=[times[i] for i in kept],
    )


def _problems(numbers: dict[str, Array]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Reasons to refuse rows, with the rows they are true of. A cell that is no finite number is infinite here."""
    for name in NUMBERS:
        yield f"{name} is not a finite number", np.isinf(numbers[name])
    for name in REQUIRED:
        yield f"{name} is missing", np.isnan(numbers[name])
    yield f"lat is beyond {LARGEST_LATITUDE_DEG} degrees", np.abs(numbers["lat"]) > LARGEST_LATITUDE_DEG
    yield "lon is beyond 180 degrees", np.abs(numbers["lon"]) > 180.0
    yield "no position: lat 0, lon 0", (numbers["lat"] == 0.0) & (numbers["lon"] == 0.0)
    for name in ("depth", "range_m", "bearing_sigma_deg", "position_sigma_m", "range_sigma_m"):
        yield f"{name} is not positive", numbers[name] <= 0.0
    outside = (numbers["range_m"] < NEAREST_M) | (numbers["range_m"] > FARTHEST_M)
    yield f"range_m is not within {NEAREST_M} and {FARTHEST_M:.0f} m", outside
    yield f"position_sigma_m is beyond {LARGEST_POSITION_SIGMA_M:.0f} m", numbers["position_sigma_m"] > LARGEST_POSITION_SIGMA_M
    too_wide = numbers["bearing_sigma_deg"] > LARGEST_BEARING_SIGMA_DEG
    yield f"bearing_sigma_deg is beyond {LARGEST_BEARING_SIGMA_DEG:.0f} degrees", too_wide


def _numbers(cells: Sequence[str]) -> Array:
    """``(n,)``; NaN where a cell is empty, infinite where it is no finite number."""
    try:
        values = np.array(cells, dtype=np.float64)
    except ValueError:
        return np.array([_number(cell) for cell in cells], dtype=np.float64)
    return np.where(np.isfinite(values), values, np.inf)


def _number(cell: str) -> float:
    if not cell.strip():
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        return math.inf
    return value if math.isfinite(value) else math.inf


def _instants(cells: Sequence[str]) -> tuple[list[datetime | None], NDArray[np.bool_]]:
    """UTC instants (None where a cell is empty), and where a cell is none."""
    known: dict[str, datetime | None] = {"": None}
    bad: set[str] = set()
    for cell in set(cells) - {""}:
        try:
            known[cell] = _instant(cell)
        except (ValueError, OverflowError):
            known[cell] = None
            bad.add(cell)
    return [known[cell] for cell in cells], np.array([cell in bad for cell in cells], dtype=bool)


def _instant(cell: str) -> datetime:
    """Of ISO 8601 (UTC where it names no zone) or milliseconds since 1970, as Mapillary writes them."""
    if cell.isdigit() and len(cell) > 8:
        return UNDATED + timedelta(milliseconds=int(cell))
    moment = datetime.fromisoformat(cell)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _joined(parts: Sequence[Detections], refused: dict[str, list[int]]) -> Detections:
    return Detections(
        line=np.concatenate([part.line for part in parts]) if parts else np.zeros(0, dtype=np.int64),
        numbers={name: np.concatenate([part.numbers[name] for part in parts]) if parts else np.zeros(0) for name in NUMBERS},
        texts={name: [text for part in parts for text in part.texts[name]] for name in TEXTS if name != "captured_at"},
        captured_at=[moment for part in parts for moment in part.captured_at],
        refused=refused,
    )


def locate(detections: Detections, defaults: Defaults | None = None) -> Json:
    """The objects that the detections show: a FeatureCollection (RFC 7946), the same whatever the order of the rows.

    The member ``kryss`` tells what was read, refused and found.
    """
    sightings, lines, scales = sightings_of(detections, defaults or Defaults())
    factor = triangulated_scale(sightings)
    if factor != 1.0:
        sightings = [_scaled(one, factor) for one in sightings]
        scales = [one | {"metres_per_unit": round(one["metres_per_unit"] * factor, 4)} for one in scales]
    if any(one.method == "range" for one in sightings):
        share = shared_range_variance(sightings)
        sightings = [_shared(one, share) for one in sightings]
    fused = fusion(sightings)
    features = [_feature(one, lines) for one in fused.objects]
    features.sort(key=lambda one: (one["properties"]["class"], one["geometry"]["coordinates"], one["properties"]["rows"]))
    collection: Json = {
        "type": "FeatureCollection",
        "features": features,
        "kryss": {
            "rows": detections.rows_read,
            "refused": {
                reason: {"count": len(at), "lines": at[:LINES_TOLD]} for reason, at in sorted(detections.refused.items())
            },
            "left_out": dict(sorted(fused.dropped.items())),
            "objects": len(features),
            "confirmed": sum(one["properties"]["confirmed"] for one in features),
            "depth_scales": scales,
        },
    }
    if features:
        collection["bbox"] = _bbox([one["geometry"]["coordinates"] for one in features])
    return collection


def triangulated_scale(sightings: Sequence[Sighting]) -> float:
    """What the depths are still to be multiplied by, told by the objects that several photos place.

    Where rays of different photos cross, distances are in metres whatever the depths say: the mean log ratio of the two
    corrects the scale, and with the new one objects are found anew, until it stays. Of a large file the crowded middle of its
    fullest cell is looked at. 1.0 where fewer than :data:`CROSSED` depths are crossed.
    """
    sample = _crowd([one for one in sightings if one.method == "depth"])
    if len(sample) < CROSSED:
        return 1.0
    factor = 1.0
    for _ in range(SCALE_ROUNDS):
        logs = [
            math.log(_distance_m(seen, one) / seen.range_m)
            for one in fuse([_scaled(seen, factor) for seen in sample])
            if len({seen.image_id for seen in one.sightings}) > 1
            for seen in one.sightings
        ]
        if len(logs) < CROSSED:
            return 1.0
        step = math.fsum(logs) / len(logs)
        factor *= math.exp(step)
        if abs(step) < SCALE_STEADY:
            break
    return factor


def shared_range_variance(sightings: Sequence[Sighting]) -> float:
    """Which share of the stated variance of ranges all sightings of an object have in common, told by how far they scatter.

    Ranges from a known size are all too long where the object is larger than usual: its sightings agree better than the stated
    error allows. Their scatter within objects, less what the cameras' own errors make of it, is their own error; the rest is
    shared. A half where fewer than :data:`SCATTERED` ranges tell.
    """
    sample = _crowd([one for one in sightings if one.method == "range"])
    share = HALF
    for _ in range(SHARE_ROUNDS):
        off, stated, camera = [], [], []
        for one in fuse([_shared(seen, share) for seen in sample]):
            if len(one.sightings) < LEAST_IN_SCATTER:
                continue
            logs = [math.log(seen.range_m / _distance_m(seen, one)) for seen in one.sightings]
            mean = math.fsum(logs) / len(logs)
            widen = math.sqrt(len(logs) / (len(logs) - 1.0))
            off += [abs(value - mean) * widen for value in logs]
            stated += [(seen.range_sigma_m / seen.range_m) ** 2 for seen in one.sightings]
            camera += [SHARED_POSE_VARIANCE * (seen.camera_sigma_m / _distance_m(seen, one)) ** 2 for seen in one.sightings]
        if len(off) < SCATTERED:
            return HALF
        own = (MEDIAN_TO_SIGMA * float(np.median(off))) ** 2 - float(np.median(camera))
        share = float(np.clip(1.0 - own / float(np.median(stated)), *SHARE_BETWEEN))
    return share


def _shared(one: Sighting, share: float) -> Sighting:
    """The sighting with this share of its range's variance in common with the object's others."""
    return replace(one, range_shared_sigma_m=one.range_sigma_m * math.sqrt(share)) if one.method == "range" else one


def _crowd(sightings: Sequence[Sighting]) -> list[Sighting]:
    """The crowded middle of the fullest cell, at most :data:`MOST_CROSSED`."""
    if not sightings:
        return []
    lon, lat = np.array([one.camera_lon for one in sightings]), np.array([one.camera_lat for one in sightings])
    rows = max((rows for rows, _ in cells(lon, lat)), key=len)
    middle = frame_for(lon[rows].tolist(), lat[rows].tolist()).to_xy(lon[rows], lat[rows])
    off = np.hypot(*(middle - np.median(middle, axis=0)).T)
    return [sightings[i] for i in rows[np.argsort(off, kind="stable")[:MOST_CROSSED]].tolist()]


def _distance_m(seen: Sighting, one: FusedObject) -> float:
    return max(float(GEOD.inv(seen.camera_lon, seen.camera_lat, one.lon, one.lat)[2]), 1.0)


def _scaled(one: Sighting, factor: float) -> Sighting:
    """The sighting with another scale of its depth."""
    if one.method != "depth":
        return one
    lon, lat, _ = GEOD.fwd(one.camera_lon, one.camera_lat, one.bearing_deg, one.range_m * factor)
    return replace(
        one,
        range_m=one.range_m * factor,
        range_sigma_m=one.range_sigma_m * factor,
        range_shared_sigma_m=one.range_shared_sigma_m * factor,
        range_sequence_sigma_m=one.range_sequence_sigma_m * factor,
        lon=float(lon),
        lat=float(lat),
    )


Lines = dict[str, list[int]]
"""Of each photo, the line in the file of its detections by ordinal."""


def sightings_of(detections: Detections, defaults: Defaults) -> tuple[list[Sighting], Lines, list[Json]]:
    """The detections as sightings, their lines in the file, and the depth scales that were used."""
    if not len(detections):
        return [], {}, []
    numbers = detections.numbers
    photos, sequences = _photos(detections)
    classes = [name or defaults.class_name for name in detections.texts["class"]]
    camera_sigma = np.maximum(_or(numbers["position_sigma_m"], defaults.position_sigma_m), LEAST_POSITION_SIGMA_M)
    bearing_sigma = np.maximum(_or(numbers["bearing_sigma_deg"], defaults.bearing_sigma_deg), LEAST_BEARING_SIGMA_DEG)
    bearing = numbers["bearing_deg"] % 360.0
    order, ordinals = _ordinals(photos, classes, bearing, numbers)
    ranges, scales = _ranges(detections, photos, classes, camera_sigma, bearing_sigma, order)
    lon, lat, _ = GEOD.fwd(numbers["lon"], numbers["lat"], bearing, ranges.metres)
    floats = {
        "score": _or(numbers["score"], 1.0),
        "camera_lon": numbers["lon"],
        "camera_lat": numbers["lat"],
        "camera_sigma_m": camera_sigma,
        "bearing_deg": bearing,
        "bearing_sigma_deg": bearing_sigma,
        "range_m": ranges.metres,
        "range_sigma_m": ranges.sigma,
        "range_shared_sigma_m": ranges.shared_sigma,
        "range_sequence_sigma_m": ranges.sequence_sigma,
        "lon": np.asarray(lon),
        "lat": np.asarray(lat),
    }
    listed = order.tolist()
    columns: dict[str, Iterable[Any]] = {name: values[order].tolist() for name, values in floats.items()}
    columns |= {
        "image_id": (photos[i] for i in listed),
        "model_key": repeat(""),
        "ordinal": ordinals[order].tolist(),
        "sequence_id": (sequences[i] for i in listed),
        "captured_at": (detections.captured_at[i] or UNDATED for i in listed),
        "class_name": (classes[i] for i in listed),
        "pose_origin": np.where(camera_sigma[order] < BETTER_THAN_GPS_M, "sfm", "gps").tolist(),
        "method": (ranges.method[i] for i in listed),
        "covariance": zip(
            *_covariances(bearing, bearing_sigma, ranges.metres, ranges.sigma, camera_sigma)[order].T.tolist(), strict=True
        ),
        "height_m": repeat(None),
        "height_sigma_m": repeat(None),
    }
    sightings = [Sighting(*row) for row in zip(*(columns[one.name] for one in fields(Sighting)), strict=False)]
    lines: Lines = defaultdict(list)
    for i in listed:
        lines[photos[i]].append(int(detections.line[i]))
    return sightings, lines, scales


def _or(values: Array, default: float) -> Array:
    return np.where(np.isnan(values), default, values)


def _photos(detections: Detections) -> tuple[list[str], list[str]]:
    """Image and sequence of every row. Without an id, rows of one place and time are one photo, and a photo is a sequence."""
    at = zip(detections.numbers["lat"].tolist(), detections.numbers["lon"].tolist(), detections.captured_at, strict=True)
    photos = [
        given or (f"{lat!r} {lon!r}" if moment is None else f"{lat!r} {lon!r} {moment.isoformat()}")
        for given, (lat, lon, moment) in zip(detections.texts["image_id"], at, strict=True)
    ]
    return photos, [given or photo for given, photo in zip(detections.texts["sequence_id"], photos, strict=True)]


def _ordinals(
    photos: Sequence[str], classes: Sequence[str], bearing: Array, numbers: dict[str, Array]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """``(n,)`` rows in an order that only their content decides, and each row's number within its photo."""
    photo, kind = _codes(photos), _codes(classes)
    others = [_or(numbers[name], -1.0) for name in NUMBERS if name != "bearing_deg"]
    order = np.lexsort((*others, bearing, kind, photo))
    begins = np.flatnonzero(np.diff(photo[order], prepend=-1))
    ordinals = np.empty(len(order), dtype=np.intp)
    ordinals[order] = np.arange(len(order)) - np.repeat(begins, np.diff(begins, append=len(order)))
    return order, ordinals


@dataclass(frozen=True, slots=True)
class _Ranges:
    """``(n,)`` metres, and the errors of the whole and of its shared parts."""

    metres: Array
    sigma: Array
    shared_sigma: Array
    sequence_sigma: Array
    method: list[str]


def _ranges(
    detections: Detections,
    photos: Sequence[str],
    classes: Sequence[str],
    camera_sigma: Array,
    bearing_sigma: Array,
    order: NDArray[np.intp],
) -> tuple[_Ranges, list[Json]]:
    """Each row's distance: as given, else from its depth, else the usual one with a broad error."""
    given, depth = detections.numbers["range_m"], detections.numbers["depth"]
    known, n = ~np.isnan(given), len(given)
    metres = np.where(known, given, PRIOR_RANGE_M)
    stated = _or(detections.numbers["range_sigma_m"] / metres, RANGE_SIGMA)
    own = np.where(known, np.clip(stated, LEAST_RANGE_SIGMA, LARGEST_RANGE_SIGMA), PRIOR_LOG_SIGMA)
    shared, of_sequence = np.zeros(n), np.zeros(n)
    method = np.where(known, "range", "prior").astype(object)
    told: list[Json] = []
    usual = np.median(depth[~np.isnan(depth)]) if not np.isnan(depth).all() else np.nan
    # Nets say next to nothing, or the largest number they have, where they see the sky or the lens.
    sane = (depth > usual / ODD_DEPTH) & (depth < usual * ODD_DEPTH)
    rows = order[(~known & sane)[order]]
    if len(rows):
        rays = _rays(detections, photos, classes, camera_sigma, bearing_sigma, rows)
        scales, told = _scales(rays, detections.texts["sequence_id"], rows)
        reach = scales[:, 0] * depth[rows]
        near = (reach >= NEAREST_M) & (reach <= FARTHEST_M)
        rows, scales = rows[near], scales[near]
        metres[rows], own[rows], method[rows] = reach[near], DEPTH_SIGMA, "depth"
        shared[rows], of_sequence[rows] = scales[:, 1], scales[:, 2]
    sigma = np.sqrt(own**2 + shared**2 + of_sequence**2)
    return _Ranges(metres, metres * sigma, metres * shared, metres * of_sequence, method.tolist()), told


def _scales(rays: Rays, sequences: Sequence[str], rows: NDArray[np.intp]) -> tuple[Array, list[Json]]:
    """``(m, 3)`` of each row with a depth: metres per unit, and its log error that objects share and that sequences share."""
    whole = depth_scale(rays)
    told = [_told(whole, None, len(rows))]
    found = np.tile([whole.factor, whole.log_sigma, 0.0], (len(rows), 1))
    found[[bool(sequences[i]) for i in rows.tolist()], 2] = SEQUENCE_SCALE_SIGMA
    for name, part in _large_sequences(sequences, rows):
        scale = depth_scale(_some(rays, part), PAIRS_OF_A_SEQUENCE)
        apart = abs(math.log(scale.factor / whole.factor)) / math.hypot(scale.log_sigma, whole.log_sigma)
        if scale.estimated and (apart > OTHER_SCALE_SIGMAS or not whole.estimated):
            found[part] = scale.factor, 0.0, scale.log_sigma
            told.append(_told(scale, name, len(part)))
    return found, told


def _rays(
    detections: Detections,
    photos: Sequence[str],
    classes: Sequence[str],
    camera_sigma: Array,
    bearing_sigma: Array,
    rows: NDArray[np.intp],
) -> Rays:
    lon, lat = detections.numbers["lon"][rows], detections.numbers["lat"][rows]
    camera, bearing = np.empty((len(rows), 2)), np.empty(len(rows))
    area = _areas(lon, lat)
    for number in range(int(area.max()) + 1):
        here = np.flatnonzero(area == number)
        frame = frame_for(lon[here].tolist(), lat[here].tolist())
        camera[here] = frame.to_xy(lon[here], lat[here]) + np.array([number * AREAS_APART_M, 0.0])
        bearing[here] = detections.numbers["bearing_deg"][rows[here]] - frame.convergence_deg(lon[here], lat[here])
    listed = rows.tolist()
    return Rays(
        camera=camera,
        bearing=np.radians(bearing),
        depth=detections.numbers["depth"][rows],
        camera_sigma=camera_sigma[rows],
        bearing_sigma=np.radians(bearing_sigma[rows]),
        photo=_codes([photos[i] for i in listed]),
        kind=_codes([classes[i] for i in listed]),
    )


def _codes(names: Sequence[str]) -> NDArray[np.int64]:
    places = {name: place for place, name in enumerate(sorted(set(names)))}
    return np.array([places[name] for name in names], dtype=np.int64)


def _some(rays: Rays, part: NDArray[np.intp]) -> Rays:
    return Rays(
        rays.camera[part],
        rays.bearing[part],
        rays.depth[part],
        rays.camera_sigma[part],
        rays.bearing_sigma[part],
        np.unique(rays.photo[part], return_inverse=True)[1].astype(np.int64),
        rays.kind[part],
    )


def _large_sequences(sequences: Sequence[str], rows: NDArray[np.intp]) -> list[tuple[str, NDArray[np.intp]]]:
    """Ids of the sequences that have enough of the ``rows`` for a scale of their own, with their places in ``rows``."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows.tolist()):
        places[sequences[row]].append(place)
    large = sorted(
        (name for name in places if name and len(places[name]) >= ROWS_FOR_A_SCALE), key=lambda n: (-len(places[n]), n)
    )
    return [(name, np.array(places[name])) for name in large[:MOST_SCALES]]


def _told(scale: DepthScale, sequence_id: str | None, rows: int) -> Json:
    return {
        "sequence_id": sequence_id,
        "metres_per_unit": round(scale.factor, 4),
        "log_sigma": round(scale.log_sigma, 3),
        "estimated": scale.estimated,
        "rows": rows,
    }


def _covariances(
    bearing_deg: Array, bearing_sigma_deg: Array, range_m: Array, range_sigma_m: Array, camera_sigma_m: Array
) -> Array:
    """``(n, 3)`` of points at a bearing and range from uncertain cameras: `place.ground_covariance` of many."""
    east, north = np.sin(np.radians(bearing_deg)), np.cos(np.radians(bearing_deg))
    along, across = range_sigma_m**2, (range_m * np.radians(np.minimum(bearing_sigma_deg, 60.0))) ** 2
    camera = camera_sigma_m**2
    return np.column_stack(
        [
            along * east**2 + across * north**2 + camera,
            (along - across) * east * north,
            along * north**2 + across * east**2 + camera,
        ]
    )


def _areas(lon: Array, lat: Array) -> NDArray[np.intp]:
    """``(n,)`` number of the area of each point: points of neighbouring cells are of one area."""
    columns = int(360.0 / CELL_DEG)
    cell = np.column_stack([np.floor((lon + 180.0) / CELL_DEG).astype(int) % columns, np.floor(lat / CELL_DEG).astype(int)])
    cells, number = np.unique(cell, axis=0, return_inverse=True)
    place = {(x, y): k for k, (x, y) in enumerate(cells.tolist())}
    links = [
        (k, place[near])
        for (x, y), k in place.items()
        for near in (((x + 1) % columns, y), (x, y + 1), ((x + 1) % columns, y + 1), ((x - 1) % columns, y + 1))
        if near in place
    ]
    first, second = zip(*links, strict=True) if links else ((), ())
    graph = sparse.coo_matrix((np.ones(len(links)), (first, second)), shape=(len(cells), len(cells)))
    return np.asarray(connected_components(graph, directed=False)[1][number.ravel()], dtype=np.intp)


def _feature(one: FusedObject, lines: Lines) -> Json:
    views = len({sighting.image_id for sighting in one.sightings})
    lon, lat = float(wrap_deg(one.lon)), one.lat
    return {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [_rounded(lon, COORDINATE_DECIMALS), _rounded(lat, COORDINATE_DECIMALS)]},
        "properties": {
            "class": one.class_name,
            "views": views,
            "confirmed": is_confirmed(one),
            "error_radius_m": _rounded(one.error_radius_m, 2),
            "error_radius_68_m": _rounded(_radius_68_m(one.covariance), 2),
            "covariance": dict(
                zip(("east_east", "east_north", "north_north"), (_rounded(v, 4) for v in one.covariance), strict=True)
            ),
            "facing_deg": None if one.facing_deg is None else _rounded(one.facing_deg, 1) % 360.0,
            "height_m": None if one.height_m is None else _rounded(one.height_m, 2),
            "method": ",".join(sorted({sighting.method for sighting in one.sightings})),
            "rows": sorted(lines[sighting.image_id][sighting.ordinal] for sighting in one.sightings),
        },
    }


def _rounded(value: float, decimals: int) -> float:
    return round(float(value), decimals) + 0.0  # + 0.0 turns -0.0 into 0.0


def _radius_68_m(covariance: Covariance) -> float:
    """Radius of the circle that holds 68 % of a two-dimensional normal distribution."""
    east, cross, north = covariance
    small, large = np.linalg.eigvalsh([[east, cross], [cross, north]])
    ratio = np.sqrt(max(small, 0.0) / large) if large > 0 else 0.0
    return float(np.sqrt(max(large, 0.0)) * np.interp(ratio, np.linspace(0, 1, len(_RADIUS_68)), _RADIUS_68))


def _bbox(points: Sequence[Sequence[float]]) -> list[float]:
    """West, south, east, north; west of points across 180 degrees is larger than east (RFC 7946, section 5.2)."""
    lons = sorted({point[0] for point in points})
    lats = [point[1] for point in points]
    gaps = [(after - before, after, before) for before, after in pairwise(lons)]
    around = (lons[0] + 360.0 - lons[-1], lons[0], lons[-1])
    _, west, east = max([around, *gaps], key=lambda gap: gap[0])
    return [west, min(lats), east, max(lats)]
