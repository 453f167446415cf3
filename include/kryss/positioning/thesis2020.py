"""The method of the thesis of 2020, exactly as published: the baseline that every benchmark shows beside Kryss's own.

From the number D of a monocular depth network it makes a length in pixels, l = image width / D, as if the image were a
sphere of that radius; the object's size over the box's gives metres per pixel; the rest is Pythagoras. It knows neither
focal length nor tilt, and takes the depth's unit for granted: its two published examples were 4 cm and 321 m off. Nothing
of it is used elsewhere.

- mpp_x = object width / box width, mpp_y = object height / box height;
- x, y: from the image's centre to the bottom middle of the box, pixels; d = sqrt(l^2 - (x^2 + y^2));
- X = mpp_x x, Y = mpp_y y, D' = (X / x) d, L = sqrt(D'^2 + X^2 + Y^2), a = arctan(x / d);
- the object stands at the distance L in the direction heading + a.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kryss.model import Box, Detection, Image
from kryss.positioning.camera import heading_deg, upright_size
from kryss.positioning.frame import destination, is_position
from kryss.positioning.poses import TrustedPose

SIGN_M = (0.600, 0.600)
LIGHT_M = (0.230, 0.690)
"""Width and height; the thesis has one size for all signs and one for all lights."""

HALF_ROUND_THE_EARTH_M = 2.0e7


@dataclass(frozen=True, slots=True)
class Located:
    """Where the thesis puts the object of one box."""

    bearing_deg: float
    distance_m: float
    lon: float
    lat: float


@dataclass(frozen=True, slots=True)
class LocatedDetection:
    """Where the thesis puts one detection: each stands for itself, nothing is merged."""

    image_id: str
    ordinal: int
    class_name: str
    distance_m: float
    lon: float
    lat: float


def place(
    images: Mapping[str, Image], detections: Iterable[Detection], poses: Mapping[str, TrustedPose]
) -> list[LocatedDetection]:
    """The detections that the formula can place, in their order; :func:`locate` says why it cannot place another."""
    found = []
    for one in detections:
        if one.image_id not in poses:
            continue
        image, pose = images[one.image_id], poses[one.image_id].pose
        camera, heading = (pose.lon, pose.lat), heading_deg(image, pose)
        placed = locate(one.class_name, one.box, upright_size(image), one.depth, heading, camera)
        if isinstance(placed, Located):
            found.append(LocatedDetection(one.image_id, one.ordinal, one.class_name, placed.distance_m, placed.lon, placed.lat))
    return found


def locate(
    class_name: str,
    box: Box,
    image_size: tuple[int, int],
    depth: float | None,
    heading: float,
    camera: tuple[float, float],
) -> Located | str:
    """The place of a box (ltrb pixels), or why the formula has none.

    ``image_size``: width and height in pixels. ``depth``: what the network says of the box, in its unit. ``heading``:
    of the camera, degrees clockwise from true north. ``camera``: longitude and latitude.
    """
    found = direction_and_distance(class_name, box, image_size, depth)
    if isinstance(found, str):
        return found
    if not math.isfinite(heading):
        return f"heading is {heading}"
    if not is_position(*camera):
        return f"camera stands nowhere: lon {camera[0]}, lat {camera[1]}"
    bearing_deg = (heading + found[0]) % 360.0
    return Located(bearing_deg, found[1], *destination(*camera, bearing_deg, found[1]))


def direction_and_distance(
    class_name: str, box: Box, image_size: tuple[int, int], depth: float | None
) -> tuple[float, float] | str:
    """Degrees right of the heading (a) and metres (L), or why there are none."""
    left, top, right, bottom = box
    width, height = image_size
    if not all(math.isfinite(value) for value in (*box, width, height)) or right <= left or bottom <= top:
        return "box is empty"
    if depth is None or not math.isfinite(depth) or depth <= 0:
        return "no depth"
    object_width, object_height = LIGHT_M if class_name.startswith("object--traffic-light") else SIGN_M
    mpp_x, mpp_y = object_width / (right - left), object_height / (bottom - top)
    x, y = (left + right) / 2 - width / 2, bottom - height / 2
    length, off = width / depth, math.hypot(x, y)
    if not length > off:
        return "box lies outside the sphere of its depth"
    d = math.sqrt(length - off) * math.sqrt(length + off)
    # X / x is mpp_x, which also holds for a box in the middle, where the published fraction is 0 / 0.
    distance = math.hypot(mpp_x * d, mpp_x * x, mpp_y * y)
    if not distance < HALF_ROUND_THE_EARTH_M:
        return "distance is beyond the Earth"
    return math.degrees(math.atan(x / d)), distance
