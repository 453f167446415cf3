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

from kryss.model import Detection, Image, PoseOrigin
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
GRID = np.linspace(-0.75, 0.75, 11)
"""Log of focal length over the prior's, at which bearings and ranges are worked out; between them they are smooth."""
TRACK_GAP_M = (1.0, 45.0)
"""Way between two photos of a track."""
SHRINK = 0.8
"""A box that becomes so much smaller shows the next sign, not this one from afar."""
GROWTH = 1.15
"""A box that grows less than this along its track tells no distance."""
MOST_TRACKS = 12
MOST_MISFIT = 3.0
MOST_PRIOR_SIGMAS = 3.0
"""A fit that is farther from all that is known of cameras has seen something else."""
COMMON_SIZE_SIGMA = 0.10
"""Sizes of signs err together: a town of small signs."""
OWN_YAW_SIGMA = math.radians(2.0)
"""Of one heading against the others of its sequence, at most: most of a compass's error is common."""
OWN_POSITION_SHARE: dict[PoseOrigin, float] = {"sfm": 0.3, "gps": 0.7}
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


def touched_sequences(arrived: Iterable[Image], images: Iterable[Image]) -> set[str]:
    """The sequences whose sightings change when photos arrive: their own, and those whose cameras they calibrate.

    ``images``: all that are known, the arrived ones too or not.
    """
    arrived = list(arrived)
    lenders = _calibrated_cameras(arrived).keys()
    borrowers = {
        image.sequence_id
        for image in images
        if _camera(image) in lenders and intrinsics(image).assumed and not is_spherical(image)
    }
    return {image.sequence_id for image in arrived} | borrowers


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
    """The prior, improved by the signs that photos of one sequence and camera saw from several places.

    A track that does not fit the others (two signs taken for one, a false box) is dropped, and the rest fitted anew.
    """
    tracks = _tracks(members, detections, poses, region, prior[0])
    while tracks:
        log_focal, sigma, misfit = _solve(_Scene.of(tracks, region, prior))
        fitting = [track for track, one in zip(tracks, misfit, strict=True) if one <= MOST_MISFIT]
        if len(fitting) == len(tracks):
            if abs(log_focal) > MOST_PRIOR_SIGMAS * prior[1] or not math.isfinite(sigma):
                return prior
            sigma = min(max(sigma, LEAST_SIGMA), prior[1])
            return prior[0] * math.exp(log_focal), sigma, f"views of {len(tracks)} signs; {prior[2]}"
        tracks = fitting
    return prior


@dataclass(frozen=True)
class _Scene:
    """n views of t signs as arrays: metres and radians in a local frame."""

    prior_sigma: float
    track: NDArray[np.intp]
    """(n,) which sign"""
    camera: Array
    """(n, 2)"""
    bearing: Array
    """(grid, n) by focal length"""
    log_range: Array
    """(grid, n) by focal length and usual size"""
    sigma_side: Array
    """(n,) of a bearing: edges of the box and the turn of this photo"""
    sigma_tall: Array
    """(n,) relative, of the height of the box"""
    sigma_position: Array
    sigma_yaw: float
    sigma_size: Array
    """(t,)"""

    @staticmethod
    def of(tracks: Sequence[Sequence[tuple[View, Range]]], region: str, prior: tuple[float, float, str]) -> _Scene:
        seen = [view for track in tracks for view, _ in track]
        poses = [view.trusted for view in seen]
        lon, lat = [one.pose.lon for one in poses], [one.pose.lat for one in poses]
        bearing, log_range = _by_focal(seen, region, prior[0])
        heading_sigma = np.radians([one.heading_sigma_deg for one in poses])
        return _Scene(
            prior_sigma=prior[1],
            track=np.repeat(np.arange(len(tracks)), [len(track) for track in tracks]),
            camera=frame_for(lon, lat).to_xy(lon, lat),
            bearing=bearing,
            log_range=log_range,
            sigma_side=np.hypot(np.radians([view.edge_sigma_deg for view in seen]), np.minimum(heading_sigma, OWN_YAW_SIGMA)),
            sigma_tall=np.array([view.tall_sigma for view in seen]),
            sigma_position=np.array([OWN_POSITION_SHARE[one.pose.origin] * one.sigma_m for one in poses]),
            sigma_yaw=float(np.median(heading_sigma)),
            sigma_size=np.array([track[0][0].size.sigma_fraction if track[0][0].size else 1.0 for track in tracks]),
        )

    def seen(self, state: Array) -> Array:
        """(n, 2) Residuals of bearings and log ranges over their errors.

        ``state``: log focal length over the prior's, yaw, common log size; then east, north, log size of each sign.
        """
        sign, size = state[3:].reshape(-1, 3)[:, :2], state[5::3]
        offset = sign[self.track] - self.camera
        distance = np.maximum(np.hypot(offset[:, 0], offset[:, 1]), 1.0)
        turned = _at(state[0], self.bearing) - state[1] - np.arctan2(offset[:, 0], offset[:, 1])
        grown = _at(state[0], self.log_range) + size[self.track] - np.log(distance)
        moved = self.sigma_position / distance
        return np.column_stack(
            [
                np.arctan2(np.sin(turned), np.cos(turned)) / np.hypot(self.sigma_side, moved),
                grown / np.hypot(self.sigma_tall, moved),
            ]
        )

    def residuals(self, state: Array) -> Array:
        """Residuals of what was seen and of what is known before."""
        own_size = np.sqrt(np.maximum(self.sigma_size**2 - COMMON_SIZE_SIGMA**2, COMMON_SIZE_SIGMA**2))
        known = [state[0] / self.prior_sigma, state[1] / self.sigma_yaw, state[2] / COMMON_SIZE_SIGMA]
        return np.concatenate([self.seen(state).ravel(), known, (state[5::3] - state[2]) / own_size])

    def start(self) -> Array:
        """Each sign where its nearest view puts it with the prior's focal length."""
        last = np.flatnonzero(np.append(np.diff(self.track) > 0, True))
        bearing, metres = _at(0.0, self.bearing)[last], np.exp(_at(0.0, self.log_range)[last])
        signs = self.camera[last] + metres[:, None] * np.column_stack([np.sin(bearing), np.cos(bearing)])
        return np.concatenate([np.zeros(3), np.column_stack([signs, np.zeros(len(last))]).ravel()])


def _solve(scene: _Scene) -> tuple[float, float, Array]:
    """Log focal length over the prior's, its error, and the misfit (chi2 over degrees of freedom) of each sign."""
    fit = least_squares(scene.residuals, scene.start(), loss="soft_l1", max_nfev=60)
    squared = np.sum(scene.seen(fit.x) ** 2, axis=1)
    freedom = np.maximum(2 * np.bincount(scene.track) - 3, 1)
    misfit = np.bincount(scene.track, squared) / freedom
    worse = float(np.clip(2 * fit.cost / max(len(fit.fun) - len(fit.x), 1), 1.0, 4.0))
    sigma = math.sqrt(float(np.linalg.pinv(fit.jac.T @ fit.jac)[0, 0]) * worse) if fit.success else math.inf
    return float(fit.x[0]), sigma, misfit


def _at(log_focal: float, table: Array) -> Array:
    """(n,) Row of a ``(grid, n)`` table at a focal length, between the rows of :data:`GRID`."""
    place = float(np.clip((log_focal - GRID[0]) / (GRID[1] - GRID[0]), 0.0, len(GRID) - 1.001))
    low = int(place)
    return np.asarray(table[low] + (place - low) * (table[low + 1] - table[low]), dtype=np.float64)


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
