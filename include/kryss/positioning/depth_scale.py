"""The unknown scale of depths: which factor makes the depths of different photos point at the same places.

A depth net without metric training, or one on a camera that it was not trained on, gives depths up to a factor. Where two
photos see one thing, their rays cross at a place whose distances are in metres, so the right factor brings the points at
camera + factor x depth x direction together. :func:`depth_scale` tries all factors and takes the one with the most agreement
beyond chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

DEPTH_SIGMA = 0.25
"""Relative error of one depth of a monocular net, beside its scale (20 to 30 % in its papers' outdoor tables)."""
UNKNOWN_LOG_SIGMA = 0.5
"""Of a scale that nothing could be found out about: nets that claim metres are off by this on another camera."""
NEAREST_M, FARTHEST_M = 2.0, 60.0
"""The middle depth of a file of street photos lies between these, so the factor does."""
STEPS = 48
APART_M = 80.0
"""Photos farther apart see nothing in common."""
MOST_PAIRS = 30_000
TURNS = 16
CLEAR = 2.0
"""The agreement must exceed chance by so many of its own standard errors: 1 in 40 files of unrelated rays gets there."""
LEAST_PHOTOS = 6
METHOD_LOG_SIGMA = 0.12
"""What the jackknife does not see. In simulated streets the peak is within 7 % of the truth where cameras look all round,
and 10 to 20 % below it where they only look ahead, along nearly parallel rays."""


@dataclass(frozen=True, slots=True)
class DepthScale:
    """Metres per unit of depth."""

    factor: float
    log_sigma: float
    """One-sigma error of its logarithm."""
    estimated: bool
    """False: nothing to estimate it from, ``factor`` is 1."""


@dataclass(frozen=True, slots=True)
class Rays:
    """Detections with a depth, in a metric frame."""

    camera: Array
    """(n, 2) metres east and north"""
    bearing: Array
    """(n,) radians from grid north"""
    depth: Array
    """(n,) > 0, in units of its own"""
    camera_sigma: Array
    """(n,) metres, one axis"""
    bearing_sigma: Array
    """(n,) radians"""
    photo: NDArray[np.int64]
    """(n,) number of the photo, 0 ... photos - 1"""
    kind: NDArray[np.int64]
    """(n,) number of the class: only detections of one class can be of one thing"""


def depth_scale(rays: Rays, most_pairs: int = MOST_PAIRS) -> DepthScale:
    """The scale of all these depths, and how sure it is.

    The agreement of a factor is the sum over pairs of detections of different photos of the normal density of the distance
    between their points, less what the same pairs have on average when their rays are turned at random. The error is a
    jackknife over photos. Of more than ``most_pairs`` pairs an even sample is taken. The result does not depend on how the
    world is turned.
    """
    unknown = DepthScale(1.0, UNKNOWN_LOG_SIGMA, False)
    first, second = _pairs(rays, most_pairs)
    photos = int(rays.photo.max(initial=-1)) + 1
    if len(first) == 0 or photos < LEAST_PHOTOS:
        return unknown
    log_factors = np.log(np.geomspace(NEAREST_M, FARTHEST_M, STEPS) / np.median(rays.depth))
    agreement = np.array([_agreement(rays, first, second, float(np.exp(one))) for one in log_factors])
    by_photo = np.array([_sum_by_photo(rays, first, second, one, photos) for one in agreement])
    total = agreement.sum(axis=1)
    peak = int(np.argmax(total))
    if not 0 < peak < STEPS - 1:
        return unknown
    without = total[:, None] - by_photo
    if total[peak] < CLEAR * _jackknife(without[peak]):
        return unknown
    at_peaks = np.array([_peak(log_factors, curve) for curve in (total, *without.T)])
    log_sigma = float(np.hypot(_jackknife(at_peaks[1:]), METHOD_LOG_SIGMA))
    if log_sigma >= UNKNOWN_LOG_SIGMA:
        return unknown
    return DepthScale(float(np.exp(at_peaks[0])), log_sigma, True)


def _pairs(rays: Rays, most_pairs: int) -> tuple[Rows, Rows]:
    """Indices of detections of one class in different photos near each other, both ways round; of many, an even sample."""
    tree = cKDTree(rays.camera)
    number = int(tree.query_ball_point(rays.camera, APART_M, return_length=True).sum())
    every = max(1, -(-number // most_pairs))
    sample = np.arange(0, len(rays.depth), every)
    near = tree.query_ball_point(rays.camera[sample], APART_M, return_sorted=True)
    first = np.repeat(sample, [len(one) for one in near])
    second = np.concatenate([np.asarray(one, dtype=np.intp) for one in near]) if len(near) else np.zeros(0, dtype=np.intp)
    may_be_one = (rays.photo[first] != rays.photo[second]) & (rays.kind[first] == rays.kind[second])
    return first[may_be_one], second[may_be_one]


def _agreement(rays: Rays, first: Rows, second: Rows, factor: float) -> Array:
    """``(m,)`` of each pair, less chance.

    A density in square metres favours factors that shrink everything, one in metres across by log range those that blow it
    up; the square root of the range lies between the two.
    """
    # The turn by nothing is the pair itself; the others are a lattice that is alike for mirrored worlds.
    turns = 2 * np.pi * np.arange(TURNS) / TURNS
    density = _density(rays, first, second, factor, turns, 7 * turns)
    reach = np.sqrt((factor * rays.depth[first]) * (factor * rays.depth[second]))
    return np.asarray((density[0] - density[1:].mean(axis=0)) * np.sqrt(reach), dtype=np.float64)


def _density(rays: Rays, first: Rows, second: Rows, factor: float, turns_first: Array, turns_second: Array) -> Array:
    """``(t, m)`` normal density, 1/m2, of the distance between the two points of each pair, under each pair of turns."""
    (a, a_spread), (b, b_spread) = _points(rays, first, factor, turns_first), _points(rays, second, factor, turns_second)
    apart = a - b
    ee, en, nn = a_spread + b_spread
    determinant = ee * nn - en**2
    chi2 = (nn * apart[0] ** 2 - 2 * en * apart[0] * apart[1] + ee * apart[1] ** 2) / determinant
    return np.asarray(np.exp(-chi2 / 2) / (2 * np.pi * np.sqrt(determinant)), dtype=np.float64)


def _points(rays: Rays, rows: Rows, factor: float, turns: Array) -> tuple[Array, Array]:
    """``(2, t, m)`` where the rays end under the factor, and ``(3, t, m)`` their covariance: east, cross, north."""
    bearing = rays.bearing[rows] + turns[:, None]
    east, north = np.sin(bearing), np.cos(bearing)
    reach = factor * rays.depth[rows]
    along, across, camera = (reach * DEPTH_SIGMA) ** 2, (reach * rays.bearing_sigma[rows]) ** 2, rays.camera_sigma[rows] ** 2
    point = rays.camera[rows].T[:, None, :] + reach * np.array([east, north])
    spread = (
        along * east**2 + across * north**2 + camera,
        (along - across) * east * north,
        along * north**2 + across * east**2 + camera,
    )
    return point, np.array(spread)


def _sum_by_photo(rays: Rays, first: Rows, second: Rows, agreement: Array, photos: int) -> Array:
    """``(photos,)`` of all pairs that a photo is part of; 0 for photos without any."""
    return np.asarray(
        np.bincount(rays.photo[first], agreement, photos) + np.bincount(rays.photo[second], agreement, photos), dtype=np.float64
    )


def _peak(log_factors: Array, curve: Array) -> float:
    """Where a smooth curve is highest: the vertex of the parabola through its highest point and the two beside it."""
    at = int(np.clip(np.argmax(curve), 1, len(curve) - 2))
    before, here, after = curve[at - 1 : at + 2]
    bend = before - 2 * here + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(log_factors[at] + np.clip(shift, -1.0, 1.0) * (log_factors[1] - log_factors[0]))


def _jackknife(left_out: Array) -> float:
    """Standard error of an estimate from its values with one photo left out each (Efron and Stein 1981)."""
    count = len(left_out)
    return float(np.sqrt((count - 1) / count * np.sum((left_out - left_out.mean()) ** 2)))
