"""Boxes to sightings: the bearing of a box from the camera model, the range from the known size of what is in it.

A sign or light stands upright, H metres high, at the horizontal distance G: its top and bottom are then seen at elevations
whose tangents differ by H / G, whatever the camera's lens and tilt (contract sign-sizes, 1.6, in its exact form for an
upright object). A light is measured by its width too. The errors are: the spread of real sizes and the focal length, which
every sighting of the object shares; the edges of the box; the camera's position and heading.

One source of range is one function that returns a :class:`Range`; other sources (depth, ground contact, triangulation)
belong beside :func:`known_size_range`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from kryss.model import Covariance, Detection, Image, Sighting
from kryss.positioning.camera import azimuth_deg, intrinsics, is_spherical, upright_size, world_directions
from kryss.positioning.frame import destination, wrap_deg
from kryss.positioning.poses import TrustedPose
from kryss.positioning.sizes import Size, object_size

SMALLEST_BOX_PX = 12.0
"""Contract sign-sizes 1.6. Pixels here are those of a 2048 pixel wide photo: a larger original is not sharper."""
EDGE_SIGMA_PX = 1.5
FARTHEST_M = 80.0
NEAREST_M = 1.0
BORDER_PX = 2.0
REFERENCE_WIDTH_PX = 2048.0
LIGHT_SIZE_SIGMA_FACTOR = 0.88
"""Height and width of one light err together (another lens size), not wholly (visors, back plates): what the mean gains."""
ODD_ASPECT = 1.4
"""A box so much wider than its object (or so much narrower, for a light) holds something else, or part of it."""
ODD_ASPECT_SIGMA = 0.3


@dataclass(frozen=True, slots=True)
class Range:
    """A horizontal distance with the part of its relative error that is shared and the part that is this box's own."""

    metres: float
    shared_sigma: float
    own_sigma: float
    method: str


def place(
    images: Mapping[str, Image], detections: Iterable[Detection], poses: Mapping[str, TrustedPose], region: str = "eu"
) -> tuple[list[Sighting], Counter[str]]:
    """The sightings of all detections that can be placed, sorted, and how many could not be, by reason."""
    sightings: list[Sighting] = []
    skipped: Counter[str] = Counter()
    for detection in detections:
        image, pose = images.get(detection.image_id), poses.get(detection.image_id)
        if image is None:
            raise KeyError(f"detection {detection.ordinal} is of image {detection.image_id}, whose metadata was not given")
        placed = "no trusted pose" if pose is None else place_one(image, pose, detection, region)
        if isinstance(placed, str):
            skipped[placed] += 1
        else:
            sightings.append(placed)
    sightings.sort(key=lambda one: (one.captured_at, one.image_id, one.model_key, one.ordinal))
    return sightings, skipped


def place_one(image: Image, trusted: TrustedPose, detection: Detection, region: str = "eu") -> Sighting | str:
    """The sighting of one detection, or the reason why it cannot be placed."""
    left, top, right, bottom = detection.box
    if not all(np.isfinite(detection.box)) or right <= left or bottom <= top:
        return "box is empty"
    size = object_size(detection.class_name, region)
    if size is None:
        return "no known size"
    width, height = upright_size(image)
    pixel = max(1.0, max(width, height) / REFERENCE_WIDTH_PX)
    if bottom - top < SMALLEST_BOX_PX * pixel:
        return "box too small"
    at_side = left < BORDER_PX or right > width - BORDER_PX
    if top < BORDER_PX or bottom > height - BORDER_PX or (at_side and not is_spherical(image)):
        return "box cut off by the border"
    found = known_size_range(image, trusted, detection, size, pixel)
    if isinstance(found, str):
        return found
    if found.metres > FARTHEST_M:
        return "too far"
    if found.metres < NEAREST_M:
        return "too near"

    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    spots = [(middle_x, middle_y), (middle_x + pixel, middle_y), (width / 2, height / 2)]
    bearing, beside, ahead = azimuth_deg(world_directions(image, trusted.pose, spots))
    off_axis = np.radians(float(wrap_deg(bearing - ahead)))
    focal_sigma_deg = abs(np.degrees(0.5 * np.sin(2 * off_axis))) * intrinsics(image).focal_sigma
    edge_sigma_deg = EDGE_SIGMA_PX / np.sqrt(2) * abs(float(wrap_deg(beside - bearing)))
    bearing_sigma_deg = float(np.sqrt(trusted.heading_sigma_deg**2 + focal_sigma_deg**2 + edge_sigma_deg**2))
    range_sigma_m = found.metres * float(np.hypot(found.shared_sigma, found.own_sigma))
    lon, lat = destination(trusted.pose.lon, trusted.pose.lat, float(bearing), found.metres)
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
        bearing_deg=float(bearing),
        bearing_sigma_deg=bearing_sigma_deg,
        range_m=found.metres,
        range_sigma_m=range_sigma_m,
        method=found.method,
        lon=lon,
        lat=lat,
        covariance=ground_covariance(float(bearing), bearing_sigma_deg, found.metres, range_sigma_m, trusted.sigma_m),
        range_shared_sigma_m=found.metres * found.shared_sigma,
    )


def known_size_range(image: Image, trusted: TrustedPose, detection: Detection, size: Size, pixel: float) -> Range | str:
    """Range from the height of the box, and for a traffic light also from its width; ``pixel``: unit of the edge noise."""
    left, top, right, bottom = detection.box
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    edges = world_directions(image, trusted.pose, [(middle_x, top), (middle_x, bottom), (left, middle_y), (right, middle_y)])
    flat = np.hypot(edges[:, 0], edges[:, 1])
    if np.any(flat[:2] < 0.05):
        return "straight above or below"
    upright = edges[0, 2] / flat[0] - edges[1, 2] / flat[1]
    if upright <= 1e-6:
        return "box is upside down in the world"
    edge_px = EDGE_SIGMA_PX * np.sqrt(2) * pixel
    metres, own = size.height_m / upright, edge_px / (bottom - top)
    shared = size.sigma_fraction
    method = "known-size"
    width_px, height_px = right - left, bottom - top
    aspect = (width_px / height_px) / (size.width_m / size.height_m)
    if detection.class_name.startswith("object--traffic-light"):
        across = abs(np.radians(float(wrap_deg(np.subtract(*azimuth_deg(edges[[3, 2]]))))))
        if 1 / ODD_ASPECT < aspect < ODD_ASPECT and across > 0:
            width_range, width_own = size.width_m / (2 * np.tan(across / 2)), edge_px / width_px
            weight = own**-2 / (own**-2 + width_own**-2) * 0.5 + 0.25
            metres = float(metres**weight * width_range ** (1 - weight))
            own = float(np.hypot(weight * own, (1 - weight) * width_own))
            shared *= LIGHT_SIZE_SIGMA_FACTOR
        else:
            own = float(np.hypot(own, ODD_ASPECT_SIGMA))
    elif aspect > ODD_ASPECT:
        own = float(np.hypot(own, ODD_ASPECT_SIGMA))
    return Range(float(metres), float(np.hypot(shared, intrinsics(image).focal_sigma)), float(own), method)


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
