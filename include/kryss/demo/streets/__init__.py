"""A simulated town of straight streets: signs and lights, cameras that drive past, and what a detector makes of them.

No pictures are drawn. Objects stand at junctions and between them, singly, several on a pole, in rows, on both sides of the
road and over it; sequences drive along the streets with perspective, fisheye or spherical cameras; the outline of each
object that a camera can see is projected by :mod:`kryss.positioning.camera` and boxed with noise, misses, false boxes and
wrong classes. Everything follows from the seed. Whoever asks for another noise gets the same town and the same drives.

Noise of a pose: half the variance is the whole sequence's (the datum of a reconstruction, the bias of GPS in one street, a
compass beside an engine), half the photo's own. Sizes of objects are drawn from the spread that ``sign_sizes.csv`` states.

:func:`simulate` makes boxes. :func:`simulate_sightings` makes bearings and ranges without boxes, a million in seconds, to
measure how fusion scales.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kryss.demo.streets.driving import Photos, drive
from kryss.demo.streets.grid import (
    CLASSES,
    FALSE_BOX,
    GPS,
    NO_RANGE,
    ON_A_VEHICLE,
    SFM,
    USUAL_RANGE_M,
    USUAL_RANGE_SIGMA,
    Array,
    DepthNoise,
    Grid,
    Indices,
    PoseNoise,
    stream,
)
from kryss.demo.streets.recording import record_detections, record_images
from kryss.demo.streets.seeing import Appearances, boxes_of, driving_along, lines_of_sight, nothing, open_to_view
from kryss.demo.streets.standing import Objects, stand
from kryss.model import Detection, Image, Sighting
from kryss.positioning.frame import destination
from kryss.positioning.place import ground_covariance, place
from kryss.positioning.poses import TrustedPose

__all__ = [
    "FALSE_BOX",
    "GPS",
    "ON_A_VEHICLE",
    "SFM",
    "DepthNoise",
    "Grid",
    "PoseNoise",
    "Streets",
    "TrueObject",
    "sightings",
    "simulate",
    "stated_poses",
    "write_csv",
]


@dataclass(frozen=True, slots=True)
class TrueObject:
    """One sign or light as it really stands."""

    class_name: str
    lon: float
    lat: float
    x: float
    """Metres east in ``Grid.frame``."""
    y: float
    """Metres north."""
    height_m: float
    """Middle above the road."""
    facing_deg: float
    """Bearing from grid north that its front looks to."""
    box_height_m: float
    box_width_m: float
    sequences: tuple[str, ...] = ()
    """Ids of the sequences with a box of it, sorted; empty: never seen, not to be scored."""


@dataclass(frozen=True)
class Streets:
    """What was simulated. Detection i shows ``truth[origin_of[i]]``; a negative origin shows none of them."""

    grid: Grid
    images: list[Image]
    detections: list[Detection]
    truth: list[TrueObject]
    origin_of: Indices
    position_sigma_m: float
    heading_sigma_deg: float
    true_poses: dict[str, tuple[float, float, float, float]]
    """Metres east and north, height above the road and heading (degrees from grid north) of each camera, by image id."""

    @property
    def seen(self) -> list[TrueObject]:
        """The objects with at least one box: what an estimate is scored against."""
        return [one for one in self.truth if one.sequences]

    def origin_by_key(self) -> dict[tuple[str, int], int]:
        """``origin_of`` by image id and ordinal, as sightings have them."""
        return {(one.image_id, one.ordinal): int(k) for one, k in zip(self.detections, self.origin_of, strict=True)}


def simulate(grid: Grid) -> Streets:
    """The town, the drives through it and the boxes of the photos."""
    objects, photos = stand(grid), drive(grid)
    parts = [_true_boxes(grid, objects, photos)]
    parts.append(_false_boxes(grid, photos, len(parts[0][1])))
    parts.append(_vehicle_boxes(grid, photos))
    shown, boxes = Appearances.together([part for part, _ in parts]), np.concatenate([part for _, part in parts])
    images = record_images(grid, photos)
    detections, origins = record_detections(grid, images, photos, shown, boxes)
    seen_by = _seen_by(images, detections, origins)
    lonlat = grid.frame.to_lonlat(np.column_stack([objects.x, objects.y])).tolist()
    truth = [
        TrueObject(CLASSES[kind], lon, lat, x, y, up, facing, high, wide, tuple(sorted(seen_by[index])))
        for index, ((lon, lat), kind, x, y, up, facing, high, wide) in enumerate(
            zip(lonlat, *(column.tolist() for column in objects.columns()), strict=True)
        )
    ]
    columns = (photos.x, photos.y, photos.up, np.degrees(photos.heading) % 360.0)
    true_poses = {
        image.id: (x, y, up, heading)
        for image, x, y, up, heading in zip(images, *(column.tolist() for column in columns), strict=True)
    }
    noise = grid.pose_noise
    return Streets(grid, images, detections, truth, origins, noise.position_m, noise.heading_deg, true_poses)


def _true_boxes(grid: Grid, objects: Objects, photos: Photos) -> tuple[Appearances, Array]:
    rng = stream(grid, "views")
    shown = Appearances.of_objects(objects, *lines_of_sight(grid, objects, photos, rng))
    kept, boxes = boxes_of(grid, photos, shown, stream(grid, "boxes"))
    shown = shown.take(kept)
    reported = open_to_view(shown.origin, photos.sequence[shown.photo], grid.most_sequences, rng)
    reported &= stream(grid, "missed").random(len(kept)) >= grid.missed
    return shown.take(np.flatnonzero(reported)), boxes[reported]


def _false_boxes(grid: Grid, photos: Photos, true: int) -> tuple[Appearances, Array]:
    rng = stream(grid, "false")
    wanted = round(grid.false / (1.0 - grid.false) * true)
    # Some would be too small or outside the photo.
    shown = nothing(grid, photos, 2 * wanted + 20, rng)
    kept, boxes = boxes_of(grid, photos, shown, rng)
    return shown.take(kept[:wanted]), boxes[:wanted]


def _vehicle_boxes(grid: Grid, photos: Photos) -> tuple[Appearances, Array]:
    rng = stream(grid, "vehicles")
    shown = driving_along(grid, photos, rng)
    kept, boxes = boxes_of(grid, photos, shown, rng)
    reported = rng.random(len(kept)) >= grid.missed
    return shown.take(kept[reported]), boxes[reported]


def _seen_by(images: Iterable[Image], detections: Sequence[Detection], origins: Indices) -> dict[int, set[str]]:
    """Sequence ids by index of the true object."""
    sequence_of = {image.id: image.sequence_id for image in images}
    seen: dict[int, set[str]] = defaultdict(set)
    for detection, origin in zip(detections, origins.tolist(), strict=True):
        seen[origin].add(sequence_of[detection.image_id])
    return seen


def stated_poses(streets: Streets) -> dict[str, TrustedPose]:
    """The photos' poses with the errors that they really have."""
    poses = {}
    for image in streets.images:
        pose = image.sfm or image.gps
        if pose is not None:
            poses[image.id] = TrustedPose(image.id, pose, streets.position_sigma_m, streets.heading_sigma_deg)
    return poses


def sightings(streets: Streets, region: str = "eu", **options: Any) -> list[Sighting]:
    """The detections through :func:`kryss.positioning.place.place` (``options``: its others), with the poses as stated."""
    images = {image.id: image for image in streets.images}
    placed, _ = place(images, streets.detections, stated_poses(streets), region, **options)
    unknown = stream(streets.grid, "missing range").random(len(placed)) < streets.grid.missing_range
    return [_without_range(one) if lost else one for one, lost in zip(placed, unknown.tolist(), strict=True)]


def _without_range(one: Sighting) -> Sighting:
    range_m, sigma_m = USUAL_RANGE_M, USUAL_RANGE_M * USUAL_RANGE_SIGMA
    lon, lat = destination(one.camera_lon, one.camera_lat, one.bearing_deg, range_m)
    return replace(
        one,
        range_m=range_m,
        range_sigma_m=sigma_m,
        range_shared_sigma_m=0.0,
        range_sequence_sigma_m=0.0,
        height_m=None,
        height_sigma_m=None,
        method=NO_RANGE,
        lon=lon,
        lat=lat,
        covariance=ground_covariance(one.bearing_deg, one.bearing_sigma_deg, range_m, sigma_m, one.camera_sigma_m),
    )


CSV_COLUMNS = (
    *("lat", "lon", "bearing_deg", "range_m", "class", "score", "image_id", "sequence_id", "captured_at"),
    *("bearing_sigma_deg", "position_sigma_m", "range_sigma_m"),
)


def write_csv(placed: Iterable[Sighting], path: str | Path) -> None:
    """The sightings in the format of ``./kryss locate``; a range that is not known is left empty."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        for one in placed:
            unknown = one.method == NO_RANGE
            writer.writerow(
                [
                    f"{one.camera_lat:.8f}",
                    f"{one.camera_lon:.8f}",
                    f"{one.bearing_deg:.4f}",
                    "" if unknown else f"{one.range_m:.3f}",
                    one.class_name,
                    f"{one.score:.3f}",
                    one.image_id,
                    one.sequence_id,
                    one.captured_at.isoformat(),
                    f"{one.bearing_sigma_deg:.4f}",
                    f"{one.camera_sigma_m:.3f}",
                    "" if unknown else f"{one.range_sigma_m:.3f}",
                ]
            )
