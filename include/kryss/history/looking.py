"""Negative evidence: photos that should have shown an object and did not.

A photo should have shown an object if it looks at it as photos did that showed it: from about the same side, from a like
distance, with the object well inside its field of view. How often such photos do show it (the detector misses some, and a
parked van hides more) is counted over the object's own life. From that, Bayes' rule gives the probability that it still
stands after the misses since it was last seen. Photos of a drive that did show it say nothing of its end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from kryss.model import FusedObject, Image
from kryss.positioning.camera import azimuth_deg, intrinsics, is_spherical, upright_size, world_directions
from kryss.positioning.focal import Lens, calibrated
from kryss.positioning.frame import Frame, frame_for, wrap_deg
from kryss.positioning.poses import TrustedPose

ENDED_BELOW = 0.05
PRIOR_STANDING = 0.95
"""Before any look: most signs that were seen twice are still there."""
PRIOR_UNCONFIRMED = 0.80
"""Of an object that one photo alone showed: it may never have been."""
SAME_SIDE_DEG = 25.0
NEARER, FARTHER = 0.6, 1.1
"""Beyond these multiples of the nearest and the farthest distance it was seen from, nothing is expected of a photo."""
EDGE_DEG = 3.0
PRIOR_SEEN, PRIOR_LOOKS = 1.5, 2.0
"""What is known of the detection rate before counting: as if 1.5 of 2 such photos had shown it."""
LEAST_DETECTED, MOST_DETECTED = 0.30, 0.95
OCCUPIED_DETECTED = 0.90
"""A photo that shows another sign where this one stood was neither too far nor hidden: only the detector can have erred."""
MISSES_A_DRIVE = 5
"""Photos of one drive share the van that hides the sign: more of them than this add nothing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an object still stands, and the looks that speak against it."""

    standing_probability: float
    ended_at: datetime | None
    misses: tuple[str, ...]


@dataclass(frozen=True)
class Looks:
    """Photos that were searched, as arrays in a metric frame, sorted by capture time."""

    frame: Frame
    images: list[Image]
    camera: NDArray[np.float64]
    """(n, 2) metres"""
    tree: cKDTree | None
    span_deg: NDArray[np.float64]
    """(n, 2) azimuths of the left and right border, less a margin for the edge and the heading; a panorama spans 360."""

    @staticmethod
    def of(images: Iterable[Image], poses: Mapping[str, TrustedPose]) -> Looks:
        posed = sorted((one for one in images if one.id in poses), key=lambda one: (one.captured_at, one.id))
        lon, lat = [poses[one.id].pose.lon for one in posed], [poses[one.id].pose.lat for one in posed]
        frame = frame_for(lon, lat)
        camera = frame.to_xy(lon, lat) if posed else np.zeros((0, 2))
        # Lenses by make and model alone: fitting them to views, as placing does, would be done for every photo every night.
        lenses = calibrated({one.id: one for one in posed}, {}, poses)
        spans = [_span_deg(_narrowest(lenses[one.id]) if one.id in lenses else one, poses[one.id]) for one in posed]
        return Looks(frame, posed, camera, cKDTree(camera) if posed else None, np.array(spans).reshape(len(posed), 2))


def judge(cluster: FusedObject, looks: Looks, shows_another: Collection[str] = (), ended_below: float = ENDED_BELOW) -> Verdict:
    """What the looks since it was last seen say of an object.

    ``shows_another``: photos in which something else of its kind stands in its very place.
    """
    sightings = cluster.sightings
    shown = {one.image_id for one in sightings}
    drives = {one.sequence_id for one in sightings}
    first, last = min(one.captured_at for one in sightings), max(one.captured_at for one in sightings)
    similar = _similar(cluster, looks)

    in_life = [one for one in similar if first <= one.captured_at <= last]
    seen = sum(one.id in shown for one in in_life)
    detected = float(np.clip((seen + PRIOR_SEEN) / (len(in_life) + PRIOR_LOOKS), LEAST_DETECTED, MOST_DETECTED))
    later = [one for one in similar if one.captured_at > last and one.id not in shown and one.sequence_id not in drives]
    misses = {one.id: one for one in later}
    misses |= {one.id: one for one in looks.images if one.id in shows_another and one.captured_at > last and one.id not in shown}
    in_order = sorted(misses.values(), key=lambda one: (one.captured_at, one.id))

    prior = PRIOR_STANDING if len(shown) > 1 else PRIOR_UNCONFIRMED
    missed_standing = prior
    for drive in sorted({one.sequence_id for one in in_order}):
        odds = sorted(
            1.0 - (OCCUPIED_DETECTED if one.id in shows_another else detected) for one in in_order if one.sequence_id == drive
        )
        missed_standing *= float(np.prod(odds[:MISSES_A_DRIVE]))
    probability = round(missed_standing / (missed_standing + 1.0 - prior), 6)
    ended = probability < ended_below and bool(in_order)
    return Verdict(probability, in_order[0].captured_at if ended else None, tuple(one.id for one in in_order))


def _similar(cluster: FusedObject, looks: Looks) -> list[Image]:
    """Looks that resemble those that showed the object, in time order."""
    if looks.tree is None:
        return []
    place = looks.frame.to_xy(cluster.lon, cluster.lat)[0]
    cameras = looks.frame.to_xy([one.camera_lon for one in cluster.sightings], [one.camera_lat for one in cluster.sightings])
    range_m, bearing_deg = _polar(place - cameras)
    near = np.array(sorted(looks.tree.query_ball_point(place, FARTHER * range_m.max())), dtype=int)
    if not len(near):
        return []
    look_range_m, look_bearing_deg = _polar(place - looks.camera[near])
    turned = np.abs(wrap_deg(look_bearing_deg[:, None] - bearing_deg[None, :])).min(axis=1)
    convergence = looks.frame.convergence_deg(cluster.lon, cluster.lat)[0]
    blur_deg = np.degrees(np.arctan2(cluster.error_radius_m / 2.0, look_range_m))
    left, right = looks.span_deg[near, 0] + blur_deg, looks.span_deg[near, 1] - blur_deg
    whole = looks.span_deg[near, 1] - looks.span_deg[near, 0] >= 360.0
    middle = (left + right) / 2
    off = np.abs(wrap_deg(look_bearing_deg + convergence - middle))
    in_view = whole | ((right > left) & (off < (right - left) / 2))
    fits = (turned <= SAME_SIDE_DEG) & (look_range_m >= NEARER * range_m.min()) & in_view
    return [looks.images[i] for i in near[fits]]


def _polar(offset: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.hypot(offset[:, 0], offset[:, 1]), np.degrees(np.arctan2(offset[:, 0], offset[:, 1]))


def _narrowest(lens: Lens) -> Image:
    """The photo with the longest focal length, within one error, that its camera may have: what it shows for sure."""
    return replace(lens.image, camera_parameters=(intrinsics(lens.image).focal * (1.0 + lens.sigma), 0.0, 0.0))


def _span_deg(image: Image, trusted: TrustedPose) -> tuple[float, float]:
    """Azimuths between which a photo surely looks; right < left where the heading is too uncertain for any."""
    if is_spherical(image):
        return 0.0, 360.0
    width, height = upright_size(image)
    edges = azimuth_deg(world_directions(image, trusted.pose, [(0, height / 2), (width / 2, height / 2), (width, height / 2)]))
    left, right = wrap_deg(edges[[0, 2]] - edges[1])
    if image.camera_type == "fisheye":
        # Beyond 180 degrees the borders' azimuths wrap; what lies at the very border is not readable anyway.
        left, right = (left if left < 0 else -90.0), (right if right > 0 else 90.0)
    margin = EDGE_DEG + trusted.heading_sigma_deg
    return float(edges[1] + left + margin), float(edges[1] + right - margin)
