"""What a box says by itself: the bearing of its middle, its rise above the horizon, and how large it looks.

A box is projected onto the upright plane that stands across the line of sight, one metre away: its height and width there
are those of the object over its range, whatever the camera's lens, tilt and roll (contract sign-sizes 1.6, in its exact
form for an upright object). All boxes of a photo go through the camera model together.

A box that the border of the photo cuts on one side still has its other extent. The side that is cut is put where the
object's usual proportions say, and the bearing gets the error of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kryss.model import Box, Detection, Image
from kryss.positioning.camera import camera_directions, is_spherical, upright_size, world_to_camera
from kryss.positioning.poses import TrustedPose
from kryss.positioning.sizes import Size, object_size

Cut = Literal["", "side", "end"]

SMALLEST_BOX_PX = 12.0
"""Contract sign-sizes 1.6. Pixels here are those of a 2048 pixel wide photo: a larger original is not sharper."""
EDGE_SIGMA_PX = 1.5
BORDER_PX = 2.0
REFERENCE_WIDTH_PX = 2048.0
LEAST_VISIBLE = 0.3
"""Of a cut object; with less nothing tells where its middle is."""
PROPORTION_SIGMA = 0.2
"""Of the extent that was not seen: plates turned about their pole, other proportions than usual."""
LEAST_AHEAD = 0.05
"""Cosine to the line of sight, below which an edge of the box is straight above or below the camera."""
SLOPE = 0.02
"""One-sigma rise of the road between the camera and the object over their distance, against the plane the camera takes it for."""
PITCH_SIGMA = np.radians(0.5)
"""Of one photo whose rotation SfM found."""
LEVEL_PITCH_SIGMA = np.radians(2.0)
"""Of one photo that is taken to be level."""


@dataclass(frozen=True, slots=True)
class View:
    """One box as its camera saw it."""

    image: Image
    trusted: TrustedPose
    detection: Detection
    size: Size | None
    cut: Cut
    visible: float
    """Of the extent that the border cut, where the size is known; 1 where nothing was."""
    bearing_deg: float
    edge_sigma_deg: float
    """Error of the bearing that the edges of the box make."""
    focal_sigma: float
    """Relative, of the camera."""
    off_axis: float
    """Radians right of the optical axis."""
    rise: float
    """Tangent of the elevation of its middle."""
    rise_sigma: float
    """Of this photo alone: pitch, edges, the slope of the road."""
    tall: float
    """Metres of height over metres of range."""
    wide: float
    roll: float
    """Radians by which the upright direction of the photo leans there."""
    tall_sigma: float
    """Relative error of ``tall`` by the edges."""
    wide_sigma: float
    aspect: float
    """Width over height of the box as it was given, pixels."""
    per_depth: float
    """Metres of horizontal range over one metre of depth; NaN beside a camera that has none there."""


def views(
    image: Image, trusted: TrustedPose, detections: Sequence[Detection], region: str, focal_sigma: float
) -> list[View | str]:
    """Of each detection of one photo its view, or the reason why it has none."""
    found: list[View | str] = []
    usable: list[tuple[int, Detection, Size | None, Box, Cut, float, float]] = []
    width, height = upright_size(image)
    pixel = max(1.0, max(width, height) / REFERENCE_WIDTH_PX)
    for detection in detections:
        size = object_size(detection.class_name, region)
        whole = "photo has no size" if min(width, height) <= 0 else completed(detection.box, size, image, pixel)
        if not isinstance(whole, str):
            usable.append((len(found), detection, size, *whole))
        found.append(whole if isinstance(whole, str) else "")
    if not usable:
        return found

    boxes = np.array([box for _, _, _, box, *_ in usable])
    left, top, right, bottom = boxes.T
    x, y = (left + right) / 2, (top + bottom) / 2
    spots = np.stack([(x, y), (x, top), (x, bottom), (left, y), (right, y), (x + pixel, y), (x, y + pixel)]).transpose(0, 2, 1)
    middle_of_photo = np.array([[width / 2, height / 2]])
    rays = camera_directions(image, np.vstack([spots.reshape(-1, 2), middle_of_photo]))
    rotation = world_to_camera(image, trusted.pose)
    world = (rays @ rotation)[:-1].reshape(7, len(usable), 3)
    ahead = (rays @ rotation)[-1]
    level = np.hypot(world[0, :, 0], world[0, :, 1])
    across = np.column_stack([world[0, :, 1], -world[0, :, 0]]) / np.maximum(level, 1e-12)[:, None]
    toward = np.column_stack([world[0, :, 0], world[0, :, 1]]) / np.maximum(level, 1e-12)[:, None]
    distance = np.einsum("snk,nk->sn", world[:, :, :2], toward)
    plane = np.stack([np.einsum("snk,nk->sn", world[:, :, :2], across), world[:, :, 2]], axis=-1)
    plane = plane / np.where(np.abs(distance) < 1e-12, 1e-12, distance)[:, :, None]
    upright, sideways = plane[1] - plane[2], plane[4] - plane[3]
    pixel_side, pixel_up = np.abs(plane[5, :, 0] - plane[0, :, 0]), np.abs(plane[6, :, 1] - plane[0, :, 1])
    bearing = np.degrees(np.arctan2(world[0, :, 0], world[0, :, 1])) % 360.0
    axis = rays[:-1].reshape(7, len(usable), 3)[0, :, 2]
    spherical = is_spherical(image)
    pitch_sigma = PITCH_SIGMA if trusted.pose.rotation is not None else LEVEL_PITCH_SIGMA
    middle_sigma_px = EDGE_SIGMA_PX / np.sqrt(2)
    edge = EDGE_SIGMA_PX * np.sqrt(2) * pixel

    for k, (place, detection, size, box, cut, visible, middle_px) in enumerate(usable):
        if np.any(distance[:5, k] < LEAST_AHEAD) or not np.all(np.isfinite(plane[:, k])):
            found[place] = "straight above or below"
            continue
        if upright[k, 1] <= 1e-6 or sideways[k, 0] <= 1e-9:
            found[place] = "box is upside down in the world"
            continue
        given = detection.box
        rise = float(plane[0, k, 1])
        end_sigma_px = middle_px if cut == "end" else 0.0
        side_sigma_px = middle_px if cut == "side" else 0.0
        found[place] = View(
            image=image,
            trusted=trusted,
            detection=detection,
            size=size,
            cut=cut,
            visible=visible,
            bearing_deg=float(bearing[k]) if bearing[k] < 360.0 else 0.0,
            edge_sigma_deg=float(np.degrees(pixel_side[k] * np.hypot(middle_sigma_px, side_sigma_px / pixel))),
            focal_sigma=focal_sigma,
            off_axis=_turn(ahead, world[0, k]),
            rise=rise,
            rise_sigma=float(
                np.hypot(
                    np.hypot(pitch_sigma * (1 + rise**2), SLOPE), pixel_up[k] * np.hypot(middle_sigma_px, end_sigma_px / pixel)
                )
            ),
            tall=float(np.hypot(*upright[k])),
            wide=float(np.hypot(*sideways[k])),
            roll=float(np.arctan2(upright[k, 0], upright[k, 1])),
            tall_sigma=edge / (box[3] - box[1]),
            wide_sigma=edge / (box[2] - box[0]),
            aspect=(given[2] - given[0]) / (given[3] - given[1]),
            per_depth=float(distance[0, k] if spherical else distance[0, k] / axis[k] if axis[k] > LEAST_AHEAD else np.nan),
        )
    return found


def completed(box: Box, size: Size | None, image: Image, pixel: float) -> tuple[Box, Cut, float, float] | str:
    """The box with the side put back that the photo's border cut, which side that was, the share of the extent that is seen,
    and the error of its middle in pixels; or why the box is of no use. ``pixel``: pixels of the original to one that counts.
    """
    left, top, right, bottom = box
    if not all(np.isfinite(box)) or right <= left or bottom <= top:
        return "box is empty"
    width, height = upright_size(image)
    # The left and right border of a panorama are one.
    side = () if is_spherical(image) else tuple(s for s, out in ((-1, left < BORDER_PX), (1, right > width - BORDER_PX)) if out)
    end = tuple(s for s, out in ((-1, top < BORDER_PX), (1, bottom > height - BORDER_PX)) if out)
    if max(right - left if end else 0.0, bottom - top if not end else 0.0) < SMALLEST_BOX_PX * pixel:
        return "box too small"
    if not side and not end:
        return box, "", 1.0, 0.0
    if len(side) + len(end) > 1:
        return "box cut off by the border"
    cut: Cut = "side" if side else "end"
    seen = right - left if side else bottom - top
    if size is None:
        return box, cut, 1.0, seen / 2
    aspect = size.width_m / size.height_m
    whole = (bottom - top) * aspect if side else (right - left) / aspect
    visible = min(seen / whole, 1.0)
    if visible < LEAST_VISIBLE:
        return "box cut off by the border"
    missing = max(whole - seen, 0.0)
    middle_px = PROPORTION_SIGMA * whole / 2
    if side:
        box = (left - missing, top, right, bottom) if side[0] < 0 else (left, top, right + missing, bottom)
    else:
        box = (left, top - missing, right, bottom) if end[0] < 0 else (left, top, right, bottom + missing)
    return box, cut, visible, middle_px


def _turn(a: np.ndarray, b: np.ndarray) -> float:
    """Radians clockwise from the azimuth of one (3,) east-north-up vector to another's, in (-pi, pi]."""
    return float(np.arctan2(a[1] * b[0] - a[0] * b[1], a[0] * b[0] + a[1] * b[1]))
