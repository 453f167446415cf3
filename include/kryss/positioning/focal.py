"""The focal length of cameras that have none: by make and model, by photos of the same camera, by views of the same sign.

Sources, combined by information in log focal length:

- ``focal_lengths.csv``: a prior by make and model;
- photos at hand of the same make, model, size and type that structure from motion has calibrated: their median;
- consistency over views. A camera that comes closer to a sign by a known way sees it grow: that gives the focal length
  times the sign's size, and its usual size the focal length. A camera that turns by a known angle sees the sign move across
  the photo: that gives the focal length alone. Both are one least squares fit over the tracks of a sequence, whose unknowns
  are focal length, yaw of the camera, and place and size of each sign (self-calibration: Hartley and Zisserman 2004,
  chapter 19, with known motion).
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from kryss.model import Detection, Image
from kryss.positioning.boxes import View, views
from kryss.positioning.camera import ASSUMED_FOCAL, ASSUMED_FOCAL_SIGMA, intrinsics, is_spherical
from kryss.positioning.frame import frame_for, wrap_deg
from kryss.positioning.poses import TrustedPose
from kryss.positioning.ranges import Range, known_size_range

Array = NDArray[np.float64]
Camera = tuple[str, str, str, int, int]

SAME_MODEL_SIGMA = 0.02
"""Relative: units of one model, and how well SfM knows each."""
ONE_PHOTO_SIGMA = 0.05
LEAST_SIGMA = 0.03
"""Of a focal length from views: no lens is without distortion."""
GRID = np.linspace(-0.9, 0.9, 13)
"""Log of focal length over the prior's, at which bearings and ranges are worked out; between them they are smooth."""
TRACK_GAP_M = (1.0, 45.0)
"""Way between two photos of a track."""
SHRINK = 0.8
"""A box that becomes so much smaller shows the next sign, not this one from afar."""
GROWTH = 1.15
"""A box that grows less than this along its track tells no distance."""
MOST_TRACKS = 12
COMMON_SIZE_SIGMA = 0.10
"""Sizes of signs err together: a town of small signs."""
OWN_YAW_SIGMA = math.radians(2.0)
"""Of one heading against the others of its sequence, at most: most of a compass's error is common."""
OWN_POSITION_SHARE = 0.3
"""Of a position's error: what neighbours in a sequence do not share."""


@dataclass(frozen=True, slots=True)
class Lens:
    """A photo with a focal length, and how well that is known."""

    image: Image
    sigma: float
    """Relative, one sigma."""
    source: str


def calibrated(
    images: Mapping[str, Image],
    detections: Mapping[str, Sequence[Detection]],
    poses: Mapping[str, TrustedPose],
    region: str = "eu",
) -> dict[str, Lens]:
    """A lens for each photo that has no calibration of its own, by image id. ``detections`` by image id."""
    missing = [image for _, image in sorted(images.items()) if intrinsics(image).assumed and not is_spherical(image)]
    if not missing:
        return {}
    same_camera = _calibrated_cameras(images.values())
    groups: dict[tuple[str, Camera], list[Image]] = defaultdict(list)
    for image in missing:
        groups[image.sequence_id, _camera(image)].append(image)
    found: dict[str, Lens] = {}
    for (_, camera), members in sorted(groups.items()):
        prior = same_camera.get(camera)
        if prior is None:
            prior = from_views(members, detections, poses, region, usual_focal(members[0]))
        focal, sigma, source = prior
        found |= {one.id: Lens(replace(one, camera_parameters=(focal, 0.0, 0.0)), sigma, source) for one in members}
    return found


def usual_focal(image: Image) -> tuple[float, float, str]:
    """Focal length over the longer side, its relative error and its source, by make and model."""
    make, model, kind, *_ = _camera(image)
    for row in _table():
        if fnmatchcase(make, row["make"]) and fnmatchcase(model, row["model"]) and row["camera_type"] == kind:
            return float(row["focal"]), float(row["sigma"]), row["source"]
    return ASSUMED_FOCAL, ASSUMED_FOCAL_SIGMA, "assumed"


def from_views(
    members: Sequence[Image],
    detections: Mapping[str, Sequence[Detection]],
    poses: Mapping[str, TrustedPose],
    region: str,
    prior: tuple[float, float, str],
) -> tuple[float, float, str]:
    """The prior, improved by the signs that photos of one sequence and camera saw from several places."""
    tracks = _tracks(members, detections, poses, region, prior[0])
    if not tracks:
        return prior
    spots = [spot for track in tracks for spot in track]
    shares = np.cumsum([0, *(len(track) for track in tracks)])
    which = np.repeat(np.arange(len(tracks)), [len(track) for track in tracks])
    poses_of = [poses[view.image.id] for view, _ in spots]
    frame = frame_for([one.pose.lon for one in poses_of], [one.pose.lat for one in poses_of])
    camera = frame.to_xy([one.pose.lon for one in poses_of], [one.pose.lat for one in poses_of])
    bearing, log_range = _by_focal([view for view, _ in spots], region, prior[0])
    sigma_position = OWN_POSITION_SHARE * np.array([one.sigma_m for one in poses_of])
    sigma_heading = np.radians([one.heading_sigma_deg for one in poses_of])
    sigma_yaw, sigma_turn = float(np.median(sigma_heading)), np.minimum(sigma_heading, OWN_YAW_SIGMA)
    sigma_size = np.array([view.size.sigma_fraction if view.size else 1.0 for view, _ in (track[0] for track in tracks)])
    sigma_edge = np.array([view.tall_sigma for view, _ in spots])
    sigma_side = np.radians([view.edge_sigma_deg for view, _ in spots])

    def at(log_focal: float, table: Array) -> Array:
        place = np.clip((log_focal - GRID[0]) / (GRID[1] - GRID[0]), 0.0, len(GRID) - 1.001)
        low = int(place)
        return np.asarray(table[low] + (place - low) * (table[low + 1] - table[low]), dtype=np.float64)

    def residuals(state: Array) -> Array:
        log_focal, yaw, common = state[:3]
        sign, size = state[3:].reshape(-1, 3)[:, :2], state[5::3]
        offset = sign[which] - camera
        distance = np.maximum(np.hypot(offset[:, 0], offset[:, 1]), 1.0)
        turned = at(log_focal, bearing) - yaw - np.arctan2(offset[:, 0], offset[:, 1])
        turned = np.arctan2(np.sin(turned), np.cos(turned))
        grown = at(log_focal, log_range) + size[which] - np.log(distance)
        seen = np.column_stack(
            [
                turned / np.sqrt(sigma_side**2 + sigma_turn**2 + (sigma_position / distance) ** 2),
                grown / np.sqrt(sigma_edge**2 + (sigma_position / distance) ** 2),
            ]
        ).ravel()
        known = [log_focal / prior[1], yaw / sigma_yaw, common / COMMON_SIZE_SIGMA]
        spread = np.sqrt(np.maximum(sigma_size**2 - COMMON_SIZE_SIGMA**2, COMMON_SIZE_SIGMA**2))
        return np.concatenate([seen, known, (size - common) / spread])

    near = shares[1:] - 1
    start_range, start_bearing = np.exp(at(0.0, log_range)[near]), at(0.0, bearing)[near]
    start = camera[near] + start_range[:, None] * np.column_stack([np.sin(start_bearing), np.cos(start_bearing)])
    first = np.concatenate([np.zeros(3), np.column_stack([start, np.zeros(len(tracks))]).ravel()])
    fit = least_squares(residuals, first, loss="soft_l1", max_nfev=60)
    normal = fit.jac.T @ fit.jac
    freedom = max(len(fit.fun) - len(first), 1)
    worse = float(np.clip(2 * fit.cost / freedom, 1.0, 4.0))
    sigma = math.sqrt(float(np.linalg.pinv(normal)[0, 0]) * worse)
    if not fit.success or not math.isfinite(sigma) or not GRID[0] < fit.x[0] < GRID[-1]:
        return prior
    return prior[0] * math.exp(fit.x[0]), min(max(sigma, LEAST_SIGMA), prior[1]), f"views of {len(tracks)} signs; {prior[2]}"


def _tracks(
    members: Sequence[Image],
    detections: Mapping[str, Sequence[Detection]],
    poses: Mapping[str, TrustedPose],
    region: str,
    focal: float,
) -> list[list[tuple[View, Range]]]:
    """Views of one sign from places of one sequence, in time order; the tracks that grow most come first.

    A sign is followed by its class as long as each photo shows one of it, uncut, and it does not shrink.
    """
    open_tracks: dict[str, list[tuple[View, Range]]] = {}
    closed: list[list[tuple[View, Range]]] = []
    for image in sorted(members, key=lambda one: (one.captured_at, one.id)):
        if image.id not in poses or not detections.get(image.id):
            continue
        photo = replace(image, camera_parameters=(focal, 0.0, 0.0))
        by_class: dict[str, list[View]] = defaultdict(list)
        for one in views(photo, poses[image.id], detections[image.id], region, 0.0):
            if not isinstance(one, str) and one.size is not None and not one.cut:
                by_class[one.detection.class_name].append(one)
        for name, seen in sorted(by_class.items()):
            found = known_size_range(seen[0])
            before = open_tracks.pop(name, [])
            if before and not (len(seen) == 1 and _follows(before[-1][0], seen[0])):
                closed.append(before)
                before = []
            if len(seen) == 1 and isinstance(found, Range):
                open_tracks[name] = [*before, (seen[0], found)]
    closed += [open_tracks[name] for name in sorted(open_tracks)]
    growing = [track for track in closed if len(track) > 1 and _growth(track) >= GROWTH]
    return sorted(growing, key=lambda track: (-_growth(track), track[0][0].image.id))[:MOST_TRACKS]


def _growth(track: Sequence[tuple[View, Range]]) -> float:
    sizes = [view.tall for view, _ in track]
    return max(sizes) / min(sizes)


def _follows(before: View, after: View) -> bool:
    """Whether the same sign can be in both: the camera moved on, and the sign did not shrink or leap across the photo."""
    a, b = before.trusted.pose, after.trusted.pose
    way = float(np.hypot(*np.diff(frame_for([a.lon], [a.lat]).to_xy([a.lon, b.lon], [a.lat, b.lat]), axis=0)[0]))
    aside = abs(float(wrap_deg(after.bearing_deg - before.bearing_deg)))
    return TRACK_GAP_M[0] <= way <= TRACK_GAP_M[1] and after.tall >= SHRINK * before.tall and aside < 60.0


def _by_focal(seen: Sequence[View], region: str, focal: float) -> tuple[Array, Array]:
    """``(grid, n)`` bearings in radians and log ranges by known size of views, for each focal length of the grid."""
    bearing, log_range = np.zeros((len(GRID), len(seen))), np.zeros((len(GRID), len(seen)))
    for row, log_focal in enumerate(GRID):
        for column, view in enumerate(seen):
            photo = replace(view.image, camera_parameters=(focal * math.exp(log_focal), 0.0, 0.0))
            (one,) = views(photo, view.trusted, [view.detection], region, 0.0)
            found = one if isinstance(one, str) else known_size_range(one)
            if isinstance(one, str) or isinstance(found, str):
                bearing[row, column], log_range[row, column] = bearing[row - 1, column], log_range[row - 1, column]
                continue
            bearing[row, column], log_range[row, column] = math.radians(one.bearing_deg), math.log(found.metres)
    return np.unwrap(bearing, axis=0), log_range


def _calibrated_cameras(images: Iterable[Image]) -> dict[Camera, tuple[float, float, str]]:
    """Median focal length of the calibrated photos of each camera that has a name."""
    focals: dict[Camera, list[float]] = defaultdict(list)
    for image in images:
        optics = intrinsics(image)
        if optics.projection != "spherical" and not optics.assumed and (image.make or image.model):
            focals[_camera(image)].append(math.log(optics.focal))
    found = {}
    for camera, logs in focals.items():
        middle = float(np.median(logs))
        spread = 1.4826 * float(np.median(np.abs(np.array(logs) - middle)))
        sigma = math.hypot(SAME_MODEL_SIGMA, ONE_PHOTO_SIGMA / math.sqrt(len(logs)), spread)
        found[camera] = (math.exp(middle), sigma, f"{len(logs)} calibrated photos of the same camera")
    return found


def _camera(image: Image) -> Camera:
    kind = "fisheye" if image.camera_type == "fisheye" else "perspective"
    longer, shorter = max(image.width, image.height), min(image.width, image.height)
    return (image.make or "").strip().lower(), (image.model or "").strip().lower(), kind, longer, shorter


@cache
def _table() -> tuple[dict[str, str], ...]:
    with Path(__file__).with_name("focal_lengths.csv").open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(line for line in file if not line.startswith("#")))
