"""Boxes to sightings: the bearing of a box from the camera model, its range from every source there is.

The errors are those of the camera's position and heading, of the edges of the box, and the three parts of a range's
(:mod:`kryss.positioning.ranges`). What is constant over a sequence is estimated from the detections given together:
its focal length where none is known, the camera's height, the horizon and the scale of monocular depth.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from kryss.model import Covariance, Detection, Image, Sighting
from kryss.positioning.boxes import View, views
from kryss.positioning.camera import intrinsics
from kryss.positioning.focal import calibrated
from kryss.positioning.frame import destination
from kryss.positioning.poses import TrustedPose
from kryss.positioning.ranges import (
    ALL_SOURCES,
    DEPTH,
    GROUND,
    KNOWN_SIZE,
    Range,
    Rig,
    combined,
    depth_range,
    ground_range,
    known_size_range,
    prior_range,
    rig_of,
)

FARTHEST_M = 80.0
NEAREST_M = 1.0


def place(
    images: Mapping[str, Image],
    detections: Iterable[Detection],
    poses: Mapping[str, TrustedPose],
    region: str = "eu",
    sources: frozenset[str] = ALL_SOURCES,
) -> tuple[list[Sighting], Counter[str]]:
    """The sightings of all detections that can be placed, sorted, and how many could not be, by reason.

    Give whole sequences: their constants are estimated from what is given. ``sources``: which ranges to use, of
    :data:`kryss.positioning.ranges.ALL_SOURCES`; with none of them left, bearings alone, at a usual range.
    """
    by_image: dict[str, list[Detection]] = defaultdict(list)
    for detection in sorted(detections, key=lambda one: (one.image_id, one.model_key, one.ordinal)):
        if detection.image_id not in images:
            raise KeyError(f"detection {detection.ordinal} is of image {detection.image_id}, whose metadata was not given")
        by_image[detection.image_id].append(detection)
    skipped: Counter[str] = Counter()
    seen: list[View] = []
    lenses = calibrated(images, by_image, poses, region)
    for image_id, boxes in by_image.items():
        if image_id not in poses:
            skipped["no trusted pose"] += len(boxes)
            continue
        lens = lenses.get(image_id)
        image, focal_sigma = (lens.image, lens.sigma) if lens else (images[image_id], intrinsics(images[image_id]).focal_sigma)
        for one in views(image, poses[image_id], boxes, region, focal_sigma):
            if isinstance(one, str):
                skipped[one] += 1
            else:
                seen.append(one)

    by_size = [found if KNOWN_SIZE in sources and isinstance(found := known_size_range(view), Range) else None for view in seen]
    sequences: dict[str, list[tuple[View, Range]]] = defaultdict(list)
    for view, known in zip(seen, by_size, strict=True):
        near = sequences[view.image.sequence_id]
        if known is not None and NEAREST_M <= known.metres <= FARTHEST_M:
            near.append((view, known))
    rigs = {sequence_id: rig_of(rows) for sequence_id, rows in sequences.items()}
    sightings: list[Sighting] = []
    for view, known in zip(seen, by_size, strict=True):
        placed = _sighting(view, rigs[view.image.sequence_id], known, sources)
        if isinstance(placed, str):
            skipped[placed] += 1
        else:
            sightings.append(placed)
    sightings.sort(key=lambda one: (one.captured_at, one.image_id, one.model_key, one.ordinal))
    return sightings, skipped


def place_one(image: Image, trusted: TrustedPose, detection: Detection, region: str = "eu") -> Sighting | str:
    """The sighting of one detection, or the reason why it cannot be placed; nothing is known of its sequence."""
    sightings, skipped = place({image.id: image}, [detection], {image.id: trusted}, region)
    return sightings[0] if sightings else next(iter(skipped))


def _sighting(view: View, rig: Rig, by_size: Range | None, sources: frozenset[str]) -> Sighting | str:
    # Where nothing is known of its size, that it is one that signs have is still worth as much as many a depth.
    ranges: list[Range | str] = [by_size if by_size is not None else prior_range(view)]
    if GROUND in sources:
        ranges.append(ground_range(view, rig, by_size))
    if DEPTH in sources and (by_size is None or rig.depth_beside_size):
        ranges.append(depth_range(view, rig))
    found = combined([one for one in ranges if isinstance(one, Range)], view.focal_sigma)
    if not found.metres <= FARTHEST_M:
        return "too far"
    if found.metres < NEAREST_M:
        return "too near"
    height_m, height_variance = rig.height(found.metres, view.rise)
    height_variance += (found.metres * (view.rise + rig.horizon) * found.sigma) ** 2 + (found.metres * view.rise_sigma) ** 2
    trusted, image, detection = view.trusted, view.image, view.detection
    focal_sigma_deg = math.degrees(abs(0.5 * math.sin(2 * view.off_axis))) * view.focal_sigma
    bearing_sigma_deg = math.sqrt(trusted.heading_sigma_deg**2 + focal_sigma_deg**2 + view.edge_sigma_deg**2)
    range_sigma_m = found.metres * found.sigma
    lon, lat = destination(trusted.pose.lon, trusted.pose.lat, view.bearing_deg, found.metres)
    return Sighting(
        image_id=detection.image_id,
        model_key=detection.model_key,
        ordinal=detection.ordinal,
        sequence_id=image.sequence_id,
        captured_at=image.captured_at,
        class_name=detection.class_name,
        score=detection.score,
        camera_lon=trusted.pose.lon,
        camera_lat=trusted.pose.lat,
        camera_sigma_m=trusted.sigma_m,
        pose_origin=trusted.pose.origin,
        bearing_deg=view.bearing_deg,
        bearing_sigma_deg=bearing_sigma_deg,
        range_m=found.metres,
        range_sigma_m=range_sigma_m,
        method=found.method,
        lon=lon,
        lat=lat,
        covariance=ground_covariance(view.bearing_deg, bearing_sigma_deg, found.metres, range_sigma_m, trusted.sigma_m),
        range_shared_sigma_m=found.metres * found.shared_sigma,
        range_sequence_sigma_m=found.metres * found.sequence_sigma,
        height_m=height_m,
        height_sigma_m=math.sqrt(height_variance),
    )


def ground_covariance(
    bearing_deg: float, bearing_sigma_deg: float, range_m: float, range_sigma_m: float, camera_sigma_m: float
) -> Covariance:
    """East-north covariance of a point at a bearing and range from an uncertain camera."""
    east, north = np.sin(np.radians(bearing_deg)), np.cos(np.radians(bearing_deg))
    along, across = range_sigma_m**2, (range_m * np.radians(min(bearing_sigma_deg, 60.0))) ** 2
    camera = camera_sigma_m**2
    return (
        float(along * east**2 + across * north**2 + camera),
        float((along - across) * east * north),
        float(along * north**2 + across * east**2 + camera),
    )
