"""How far a box is: one function per source of range, and their combination by information.

Errors of ranges are relative and roughly log-normal, so ranges are averaged in their logarithm. Each has three parts: what
all sightings of the object share (its size, its mounting height), what all sightings of the sequence share (the camera's
height, the horizon, the depth network's scale, the focal length), and what is this box's own. The focal length scales
every source alike and is added once, at the end.

Sources: ``known-size`` (contract sign-sizes 1.6); ``ground``, an object of known mounting height seen from a camera of
known height at an elevation (contract sign-sizes 1.5); ``depth``, a monocular network's, as the sequence's sizes say that it
is to be read and what it is worth (:mod:`kryss.positioning.depth_error`). Where no size is known, ``prior``: a sign of any size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kryss.positioning.boxes import View
from kryss.positioning.depth_error import Codes, DepthError, depth_error
from kryss.positioning.sizes import extents, mountings

Array = NDArray[np.float64]

KNOWN_SIZE, GROUND, DEPTH, PRIOR = "known-size", "ground", "depth", "prior"
ALL_SOURCES = frozenset({KNOWN_SIZE, GROUND, DEPTH})

LIGHT_SIZE_SIGMA_FACTOR = 0.88
"""Height and width of one light err together (another lens size), not wholly (visors, back plates): what the mean gains."""
ODD_ASPECT = 1.4
"""A box so much wider than its object (or so much narrower, for a light) holds something else, or part of it."""
ODD_ASPECT_SIGMA = 0.3
CUT_SIGMA = 0.1
"""Of the extent along a border: that the photo ends there makes the box's corners uncertain."""
HALF_CUT_SIGMA = 0.35
"""With less than half of it in the photo, a disc is no longer as high as it is wide."""
TURNED_SIGMA = 0.2
"""Of a width: a plate that is turned about its pole looks narrower."""

PRIOR_SIZE_M, PRIOR_SIZE_SIGMA = 0.7, 0.7
"""Height of the box of a plate of any kind: 0.3 m of a text plate to 1.5 m of a direction sign, and twice that on gantries."""
CUT_PRIOR_M, CUT_PRIOR_SIGMA = 9.0, 0.65
"""What the border cuts is near."""
NEAREST_PRIOR_M, FARTHEST_PRIOR_M = 4.0, 60.0
"""Where signs of unknown size can be read."""
LEAST_USEFUL_SIGMA = 0.7
"""A range less certain than this is none, and its error no longer proportional to it."""
LEAST_INFORMATION = 0.5
"""Of a depth, against that of the sizes beside which it is used. With less it can take little off their error, and if sizes are
twice as good as they are said to be, it adds to it."""
MOUNTING_ODDS = 10.0
"""By so much the likeliest way of mounting must be likelier than any other before its height is used."""

CAMERA_HEIGHT_M, CAMERA_HEIGHT_SIGMA_M = 1.6, 0.5
"""Contract sign-sizes 1.5: dash 1.2 to 1.8 m, bicycle 1.3, walker 1.6, survey rig 2.2 to 2.8."""
HORIZON_SIGMA, LEVEL_HORIZON_SIGMA = math.radians(0.5), math.radians(3.0)
"""Of a whole sequence: what its rotations share, or how far from level a camera is mounted that is taken to be."""
OBJECT_CELL_DEG = 0.0003
"""Sightings of one class within some thirty metres show one object, when it is asked how many objects speak."""
FEWEST_OBJECTS = 3
"""With fewer, a low sign cannot be told from a high camera, nor a large one from a far one."""
CONSTANT_DEPTH = 0.02
"""Spread of log depths: with less, they are one number."""
SATURATED_PHOTOS = 3
HUBER_SIGMA = 1.5


@dataclass(frozen=True, slots=True)
class Range:
    """A horizontal distance, the three parts of its relative error (one sigma), and where it is from."""

    metres: float
    shared_sigma: float
    """Of the object: all its sightings have it in common."""
    own_sigma: float
    sequence_sigma: float
    """All sightings of the sequence have it in common."""
    method: str

    @property
    def sigma(self) -> float:
        """Relative error of all parts."""
        return math.sqrt(self.shared_sigma**2 + self.own_sigma**2 + self.sequence_sigma**2)


@dataclass(frozen=True)
class Rig:
    """What is constant over a sequence: how high the camera is, where its horizon lies, and what its depths are worth."""

    camera_height_m: float
    horizon: float
    """To add to every rise."""
    covariance: Array
    """(2, 2) of the two."""
    depth: DepthError | None = None
    """None where depth says nothing."""
    depth_beside_size: bool = False
    """Whether a depth adds enough to a range by known size; of the whole sequence, so that the sightings of an object have
    their errors from the same sources."""
    saturated_depth: float = math.inf

    def height(self, metres: float, rise: float) -> tuple[float, float]:
        """Metres above the road of what is seen at a range and a rise, and the variance that the rig gives it."""
        by = np.array([1.0, metres])
        return self.camera_height_m + metres * (rise + self.horizon), float(by @ self.covariance @ by)


def known_size_range(view: View) -> Range | str:
    """From the height of the box, which no turn about the pole changes; for a traffic light from its width too."""
    if view.size is None:
        return "no known size"
    height_m, width_m = extents(view.detection.class_name, view.size, view.roll)
    shared, light = view.size.sigma_fraction, view.detection.class_name.startswith("object--traffic-light")
    if view.cut == "end":
        own = math.hypot(view.wide_sigma, CUT_SIGMA if light else math.hypot(CUT_SIGMA, TURNED_SIGMA))
        own = math.hypot(own, HALF_CUT_SIGMA if view.visible < 0.5 else 0.0)
        return Range(width_m / view.wide, shared, own, 0.0, f"{KNOWN_SIZE}-cut")
    if view.cut == "side":
        own = math.hypot(view.tall_sigma, HALF_CUT_SIGMA if view.visible < 0.5 else CUT_SIGMA)
        return Range(height_m / view.tall, shared, own, 0.0, f"{KNOWN_SIZE}-cut")
    metres, own = height_m / view.tall, view.tall_sigma
    aspect = view.aspect / (width_m / height_m)
    if light and 1 / ODD_ASPECT < aspect < ODD_ASPECT:
        weight = own**-2 / (own**-2 + view.wide_sigma**-2) * 0.5 + 0.25
        metres = metres**weight * (width_m / view.wide) ** (1 - weight)
        own = math.hypot(weight * own, (1 - weight) * view.wide_sigma)
        shared *= LIGHT_SIZE_SIGMA_FACTOR
    elif aspect > ODD_ASPECT or (light and aspect < 1 / ODD_ASPECT):
        own = math.hypot(own, ODD_ASPECT_SIGMA)
    return Range(metres, shared, own, 0.0, KNOWN_SIZE)


def ground_range(view: View, rig: Rig, by_size: Range | None) -> Range | str:
    """From the height at which such objects hang, over the camera's: far enough above or below it to tell.

    ``by_size`` tells between several ways of mounting, a light beside the road and one over it.
    """
    ways = mountings(view.detection.class_name)
    if not ways:
        return "no usual height"
    if len(ways) > 1:
        if by_size is None:
            return "several usual heights"
        height_m, variance = rig.height(by_size.metres, view.rise)
        variance += (by_size.metres * (view.rise + rig.horizon) * by_size.sigma) ** 2 + (by_size.metres * view.rise_sigma) ** 2
        spread = [variance + way.sigma_m**2 for way in ways]
        likelihood = [-((height_m - w.height_m) ** 2) / (2 * s) - math.log(s) / 2 for w, s in zip(ways, spread, strict=True)]
        ranked = sorted(range(len(ways)), key=lambda k: -likelihood[k])
        if likelihood[ranked[0]] - likelihood[ranked[1]] < math.log(MOUNTING_ODDS):
            return "several usual heights"
        ways = (ways[ranked[0]],)
    above, rise = ways[0].height_m - rig.camera_height_m, view.rise + rig.horizon
    if above * rise <= 0:
        return "on the wrong side of the horizon"
    by = np.array([-1 / above, -1 / rise])
    found = Range(
        above / rise,
        abs(ways[0].sigma_m / above),
        abs(view.rise_sigma / rise),
        math.sqrt(max(float(by @ rig.covariance @ by), 0.0)),
        GROUND,
    )
    return found if found.sigma <= LEAST_USEFUL_SIGMA else "about as high as the camera"


def depth_range(view: View, rig: Rig) -> Range | str:
    """From the depth network, as the sequence reads it. Depth is along the optical axis; of a panorama, along the ray."""
    raw = raw_depth_m(view)
    if raw is None:
        return "no depth"
    if rig.depth is None:
        return "depth has no scale"
    if view.detection.depth is not None and view.detection.depth >= rig.saturated_depth:
        return "depth is saturated"
    log_range, sequence_sigma = rig.depth.log_range(math.log(raw))
    found = Range(math.exp(log_range), rig.depth.object_sigma, rig.depth.own_sigma, sequence_sigma, DEPTH)
    return found if found.sigma <= LEAST_USEFUL_SIGMA else "depth says too little"


def prior_range(view: View) -> Range:
    """Of an object of no known size: as if it had any size that signs have, so that its bearings can be crossed.

    The error is nearly all the object's own size, which its sightings share: as the camera comes closer, they agree.
    """
    if view.cut:
        return Range(CUT_PRIOR_M, 0.0, CUT_PRIOR_SIGMA, 0.0, f"{PRIOR}-cut")
    metres = PRIOR_SIZE_M / view.tall
    possible = min(max(metres, NEAREST_PRIOR_M), FARTHEST_PRIOR_M)
    return Range(possible, PRIOR_SIZE_SIGMA, math.hypot(view.tall_sigma, math.log(metres / possible)), 0.0, PRIOR)


def raw_depth_m(view: View) -> float | None:
    """Horizontal range by the depth network in its own unit."""
    depth = view.detection.depth
    if depth is None or not math.isfinite(depth) or depth <= 0 or not view.per_depth > 0:
        return None
    return depth * view.per_depth


def combined(ranges: Sequence[Range], focal_sigma: float) -> Range:
    """One range of several: means of logarithms, weighted by the inverse of their variances; and the focal length's error.

    Ranges that contradict each other more than their errors allow widen the result (Birge ratio).
    """
    if len(ranges) == 1:
        return replace(ranges[0], sequence_sigma=math.hypot(ranges[0].sequence_sigma, focal_sigma))
    weights = np.array([one.sigma**-2 for one in ranges])
    weights /= weights.sum()
    logs = np.log([one.metres for one in ranges])
    mean = float(weights @ logs)
    shared, own, sequence = (
        float(np.sqrt(np.sum((weights * np.array([getattr(one, part) for one in ranges])) ** 2)))
        for part in ("shared_sigma", "own_sigma", "sequence_sigma")
    )
    chi2 = float(np.sum(((logs - mean) / [one.sigma for one in ranges]) ** 2)) / (len(ranges) - 1)
    own = math.sqrt(own**2 + max(chi2 - 1.0, 0.0) * (shared**2 + own**2 + sequence**2))
    method = "+".join(one.method for one in ranges)
    return Range(math.exp(mean), shared, own, math.hypot(sequence, focal_sigma), method)


def rig_of(sized: Iterable[tuple[View, Range]]) -> Rig:
    """The constants of a sequence from its sightings with ranges by known size, in any order."""
    rows = sorted(sized, key=lambda row: (row[0].detection.image_id, row[0].detection.ordinal, row[0].detection.model_key))
    height_m, horizon, covariance = _camera_height(rows)
    return Rig(height_m, horizon, covariance, *_depth_error(rows))


def _camera_height(rows: Sequence[tuple[View, Range]]) -> tuple[float, float, Array]:
    """Camera height, horizon and covariance by weighted least squares (Huber) with their priors.

    An object of usual height H at range G and rise e: H - G e = camera height + G horizon.
    """
    rotated = any(view.trusted.pose.rotation is not None for view, _ in rows)
    state = np.array([CAMERA_HEIGHT_M, 0.0])
    prior = np.diag([CAMERA_HEIGHT_SIGMA_M**-2, (HORIZON_SIGMA if rotated else LEVEL_HORIZON_SIGMA) ** -2])
    usable = [(v, r, ways[0]) for v, r in rows if len(ways := mountings(v.detection.class_name)) == 1 and not v.cut]
    objects = len(set(_objects([(v, r) for v, r, _ in usable]).tolist()))
    if objects < FEWEST_OBJECTS:
        return float(state[0]), float(state[1]), np.linalg.inv(prior)
    start = state.copy()
    metres = np.array([r.metres for _, r, _ in usable])
    rise = np.array([v.rise for v, _, _ in usable])
    design = np.column_stack([np.ones(len(usable)), metres])
    seen = np.array([way.height_m for *_, way in usable]) - metres * rise
    sigma = np.sqrt(
        np.array([way.sigma_m for *_, way in usable]) ** 2
        + (metres * rise * [r.sigma for _, r, _ in usable]) ** 2
        + (metres * [v.rise_sigma for v, _, _ in usable]) ** 2
    )
    # Photos of one sign repeat its height and its size: it counts as often as there are objects.
    sigma *= math.sqrt(len(usable) / objects)
    for _ in range(6):
        off = (seen - design @ state) / sigma
        weight = np.minimum(1.0, HUBER_SIGMA / np.maximum(np.abs(off), 1e-9)) / sigma**2
        normal = prior + design.T @ (weight[:, None] * design)
        state = np.linalg.solve(normal, prior @ start + design.T @ (weight * seen))
    return float(state[0]), float(state[1]), np.linalg.inv(normal)


def _depth_error(rows: Sequence[tuple[View, Range]]) -> tuple[DepthError | None, bool, float]:
    """How depths are to be read, whether they join known sizes, and the depth at which they saturate."""
    with_depth = [(v, r, raw) for v, r in rows if (raw := raw_depth_m(v)) is not None and not v.cut]
    values = np.array([v.detection.depth for v, *_ in with_depth])
    saturated = math.inf
    if len(values) >= SATURATED_PHOTOS and np.sum(values == values.max()) >= SATURATED_PHOTOS:
        saturated = float(values.max())
        with_depth = [row for row, value in zip(with_depth, values, strict=True) if value < saturated]
    objects = _objects([(v, r) for v, r, _ in with_depth])
    log_depth = np.log([raw for *_, raw in with_depth])
    if len(set(objects.tolist())) < FEWEST_OBJECTS or np.std(log_depth) < CONSTANT_DEPTH:
        return None, False, saturated
    log_range = np.log([r.metres for _, r, _ in with_depth])
    shared, own = (np.array([getattr(r, part) for _, r, _ in with_depth]) for part in ("shared_sigma", "own_sigma"))
    error = depth_error(objects, log_depth, log_range, shared, own)
    of_size = float(np.mean([r.sigma**2 for _, r, _ in with_depth]))
    return error, error.sigma**2 * LEAST_INFORMATION <= of_size, saturated


def _objects(rows: Sequence[tuple[View, Range]]) -> Codes:
    """(n,) about which object each of the sightings shows."""
    cells = []
    for view, found in rows:
        pose, bearing = view.trusted.pose, math.radians(view.bearing_deg)
        per_degree = 111_000.0
        lat = pose.lat + found.metres * math.cos(bearing) / per_degree
        east_deg = pose.lon * math.cos(math.radians(pose.lat)) + found.metres * math.sin(bearing) / per_degree
        cells.append((view.detection.class_name, round(lat / OBJECT_CELL_DEG), round(east_deg / OBJECT_CELL_DEG)))
    number = {cell: k for k, cell in enumerate(sorted(set(cells)))}
    return np.array([number[cell] for cell in cells], dtype=np.int64)
