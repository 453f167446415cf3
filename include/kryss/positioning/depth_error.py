"""What the depths of one sequence are worth as ranges: scale, compression, and how their errors hang together.

Of sighting j of object i, with x its log range by known size and y its log depth,

    y_ij = level + slope x_ij + u_i + e_ij,    u_i ~ N(0, object^2),    e_ij ~ N(0, own^2).

A network that blends a sign with the wall behind it, or takes a small one for a far one, does so in every photo: u is common to
the sightings of an object and is not averaged away by many of them. Slopes below 1 are depths pressed together. The level has a
flat prior, so a depth in any unit is as good as one in metres; slope, object and own have those below, because a sequence
may show few objects. Their posterior is summed over a grid, level, u and e integrated out (a variance components model;
Gelman et al., Bayesian Data Analysis, 3rd edition, chapters 5 and 15). A range is then the depth read backwards (calibration).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

SLOPES = np.arange(0.3, 1.55, 0.1)
SLOPE, SLOPE_SIGMA = 1.0, 0.25
"""Of log depth by log range: the networks tried on street photos here have 0.5 to 1.0."""
OBJECT_SIGMAS, OWN_SIGMAS = np.geomspace(0.1, 1.2, 10), np.geomspace(0.05, 0.8, 10)
"""From what no monocular network does better to what says nothing."""
OBJECT_SIGMA, OWN_SIGMA, SIGMA_FACTOR = 0.2, 0.12, 1.7
"""Usual values, and the factor by which networks differ (one sigma)."""
LEVEL_SIGMA = 0.1
"""Sizes of signs err together: a town of small signs."""
OUTLIER = 3.0
"""Sigmas from the median at which a false box or a wrong class is taken in, so that one does not speak for a sequence."""


@dataclass(frozen=True, slots=True)
class DepthError:
    """log range = offset + gain (log depth - reference), with the parts of its error."""

    reference: float
    """A usual log depth."""
    offset: float
    gain: float
    covariance: tuple[float, float, float]
    """Of offset and gain: var, cov, var."""
    object_sigma: float
    """Of log range: all sightings of an object have it in common."""
    own_sigma: float

    @property
    def sigma(self) -> float:
        """Error of a range at the reference, all parts."""
        return math.sqrt(self.covariance[0] + self.object_sigma**2 + self.own_sigma**2)

    def log_range(self, log_depth: float) -> tuple[float, float]:
        """And the error that all of the sequence's depths have in common there."""
        by = log_depth - self.reference
        offset, cross, gain = self.covariance
        return self.offset + self.gain * by, math.sqrt(max(offset + 2 * by * cross + by**2 * gain, 0.0))


def depth_error(objects: Codes, log_depth: Array, log_range: Array, size_sigma: Array, own_sigma: Array) -> DepthError:
    """From sightings of known size. All (n,): the number of the object, 0 ... k - 1; log depth, in any unit; log range by size,
    the error of it that the object's sightings share, and each one's own.
    """
    reference, middle = float(np.median(log_depth)), float(np.median(log_range))
    x, y = log_range - middle, log_depth - reference
    count = np.bincount(objects)
    by_size = np.bincount(objects, size_sigma**2) / count
    slope = SLOPE
    for _ in range(3):
        weight, level, level_variance = _posterior(objects, x, slope * x + _tamed(objects, y - slope * x), by_size, own_sigma)
        slope = float(np.einsum("bto,b->", weight, SLOPES))
    gain = 1.0 / SLOPES[:, None, None]

    def mean(values: Array) -> float:
        return float(np.sum(weight * values))

    offset_mean, gain_mean = mean(-level * gain), mean(gain * np.ones_like(weight))
    return DepthError(
        reference,
        middle + offset_mean,
        gain_mean,
        (
            mean((-level * gain - offset_mean) ** 2 + level_variance * gain**2) + LEVEL_SIGMA**2,
            mean((-level * gain - offset_mean) * (gain - gain_mean)),
            mean((gain - gain_mean) ** 2 * np.ones_like(weight)),
        ),
        math.sqrt(mean((OBJECT_SIGMAS[None, :, None] * gain) ** 2)),
        math.sqrt(mean((OWN_SIGMAS[None, None, :] * gain) ** 2)),
    )


def _tamed(objects: Codes, residual: Array) -> Array:
    """Residuals with those of odd objects, and odd ones of an object, drawn in to OUTLIER robust sigmas."""
    of_object = np.array([np.median(residual[objects == k]) for k in range(int(objects.max()) + 1)])
    middle = float(np.median(of_object))

    def drawn_in(values: Array, least_sigma: float) -> Array:
        most = OUTLIER * max(1.4826 * float(np.median(np.abs(values))), least_sigma)
        return np.clip(values, -most, most)

    between = drawn_in(of_object - middle, OBJECT_SIGMA)
    return middle + between[objects] + drawn_in(residual - of_object[objects], OWN_SIGMA)


def _posterior(objects: Codes, x: Array, y: Array, by_size: Array, own_sigma: Array) -> tuple[Array, Array, Array]:
    """(slopes, objects, owns) of each cell of the grid: its probability, and the level's mean and variance there."""
    shape = (len(SLOPES), len(OBJECT_SIGMAS), len(OWN_SIGMAS))
    log_density, level, level_variance = np.empty(shape), np.empty(shape), np.empty(shape)
    for b, slope in enumerate(SLOPES):
        residual = y - slope * x
        between = OBJECT_SIGMAS[:, None] ** 2 + slope**2 * by_size
        for o, own in enumerate(OWN_SIGMAS):
            variance = own**2 + (slope * own_sigma) ** 2
            precision = np.bincount(objects, 1 / variance)
            mean = np.bincount(objects, residual / variance) / precision
            within = np.sum((residual - mean[objects]) ** 2 / variance) + np.sum(np.log(variance)) + np.sum(np.log(precision))
            spread = between + 1 / precision
            total = np.sum(1 / spread, axis=1)
            level[b, :, o] = np.sum(mean / spread, axis=1) / total
            level_variance[b, :, o] = 1 / total
            apart = np.sum((mean - level[b, :, o][:, None]) ** 2 / spread + np.log(spread), axis=1)
            log_density[b, :, o] = -0.5 * (within + apart + np.log(total))
    log_density -= 0.5 * (((SLOPES - SLOPE) / SLOPE_SIGMA) ** 2)[:, None, None]
    log_density -= 0.5 * ((np.log(OBJECT_SIGMAS / OBJECT_SIGMA) / math.log(SIGMA_FACTOR)) ** 2)[None, :, None]
    log_density -= 0.5 * ((np.log(OWN_SIGMAS / OWN_SIGMA) / math.log(SIGMA_FACTOR)) ** 2)[None, None, :]
    weight = np.exp(log_density - log_density.max())
    return weight / weight.sum(), level, level_variance
