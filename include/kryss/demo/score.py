"""How good estimated positions are: one-to-one matches with the truth, errors, and whether the stated regions hold it.

Precision, recall and F1 are those of ``score_positions.py``, which judges Kryss: as many matches within the tolerance as
possible and, among those, the smallest sum of distances, whatever the classes. The errors are asked more strictly: matches
are of one class, and up to :data:`ERROR_GATE_M`, so that what is badly placed counts as badly placed and not as missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from kryss.demo.streets import Streets
from kryss.model import Covariance, FusedObject
from kryss.positioning.frame import GEOD, frame_for
from kryss.positioning.fuse import CONFIRMED_PHOTOS, CONFIRMED_RADIUS_M, agreeing_photos, error_radius_m

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

TOLERANCES_M = (2.0, 4.0, 6.0)
ERROR_GATE_M = 15.0
CHI2_68, CHI2_95 = 2.279, 5.991
"""68 % and 95 % points of chi-square with two degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One estimated object, as far as it can be scored."""

    lon: float
    lat: float
    class_name: str | None = None
    covariance: Covariance | None = None
    photos: int = 1
    """How many photos show it as what it is."""
    of: int | None = None
    """Index of the true object that most of its sightings show; negative: of none; None: not known."""


@dataclass(frozen=True, slots=True)
class Truth:
    """One surveyed object."""

    lon: float
    lat: float
    class_name: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Matches within one tolerance."""

    within_m: float
    estimates: int
    truth: int
    matched: int

    @property
    def precision(self) -> float:
        return self.matched / self.estimates if self.estimates else 0.0

    @property
    def recall(self) -> float:
        return self.matched / self.truth if self.truth else 0.0

    @property
    def f1(self) -> float:
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


@dataclass(frozen=True, slots=True)
class Score:
    """All figures of one method on one set of data. NaN: nothing to tell it from."""

    found: tuple[Found, ...]
    """By :data:`TOLERANCES_M`."""
    confirmed: tuple[Found, ...]
    """The same of the estimates seen in two or more photos."""
    errors_m: Array
    """Of the estimates matched within :data:`ERROR_GATE_M`, class by class."""
    confirmed_errors_m: Array
    """Those of the confirmed estimates among them."""
    worst_confirmed_m: float
    """Largest distance of a confirmed estimate from the nearest true object of its class, or the one that it was made from."""
    chi2: Array
    """Of those errors, where the estimate states a covariance."""

    @property
    def mean_m(self) -> float:
        return float(self.errors_m.mean()) if len(self.errors_m) else float("nan")

    def percentile_m(self, percent: float, confirmed: bool = False) -> float:
        errors = self.confirmed_errors_m if confirmed else self.errors_m
        return float(np.percentile(errors, percent)) if len(errors) else float("nan")

    @property
    def coverage(self) -> tuple[float, float]:
        """Shares of true positions inside the stated 68 % and 95 % regions."""
        if not len(self.chi2):
            return float("nan"), float("nan")
        return float((self.chi2 <= CHI2_68).mean()), float((self.chi2 <= CHI2_95).mean())


def score(estimates: Sequence[Estimate], truth: Sequence[Truth], origins: Sequence[Truth] | None = None) -> Score:
    """Every figure of the estimates against the truth; ``origins``: what ``Estimate.of`` counts in, if not ``truth``."""
    confirmed = [one for one in estimates if _is_confirmed(one)]
    pairs = one_to_one(estimates, truth, ERROR_GATE_M, by_class=True)
    errors = np.array([metres for _, _, metres in pairs], dtype=float)
    chi2 = [_chi2(estimates[i], truth[j]) for i, j, _ in pairs if estimates[i].covariance is not None]
    return Score(
        tuple(_found(estimates, truth, within) for within in TOLERANCES_M),
        tuple(_found(confirmed, truth, within) for within in TOLERANCES_M),
        errors,
        errors[np.array([_is_confirmed(estimates[i]) for i, _, _ in pairs], dtype=bool)],
        _worst_m(confirmed, truth, truth if origins is None else origins),
        np.array(chi2),
    )


def pooled(scores: Sequence[Score]) -> Score:
    """The score of several sets of data as if they were one."""

    def together(rows: Sequence[tuple[Found, ...]]) -> tuple[Found, ...]:
        return tuple(
            Found(column[0].within_m, *(sum(getattr(one, key) for one in column) for key in ("estimates", "truth", "matched")))
            for column in zip(*rows, strict=True)
        )

    return Score(
        together([one.found for one in scores]),
        together([one.confirmed for one in scores]),
        np.concatenate([one.errors_m for one in scores]),
        np.concatenate([one.confirmed_errors_m for one in scores]),
        float(np.fmax.reduce([one.worst_confirmed_m for one in scores])),
        np.concatenate([one.chi2 for one in scores]),
    )


def _found(estimates: Sequence[Estimate], truth: Sequence[Truth], within_m: float) -> Found:
    return Found(within_m, len(estimates), len(truth), len(one_to_one(estimates, truth, within_m)))


Placed = Estimate | Truth


def one_to_one(
    estimates: Sequence[Placed], truth: Sequence[Placed], within_m: float, by_class: bool = False
) -> list[tuple[int, int, float]]:
    """The most matches within the tolerance and, of those, the nearest: estimate, truth, metres on the ellipsoid.

    Only what is connected by pairs within the tolerance can compete, so each connected component is solved by itself.
    """
    if not len(estimates) or not len(truth):
        return []
    lonlat = [np.array([(one.lon, one.lat) for one in side]) for side in (estimates, truth)]
    frame = frame_for(*np.concatenate(lonlat).T)
    trees = [cKDTree(frame.to_xy(*side.T)) for side in lonlat]
    near = trees[0].sparse_distance_matrix(trees[1], 1.01 * within_m + 0.01, output_type="ndarray")
    i, j = near["i"].astype(np.intp), near["j"].astype(np.intp)
    metres = np.asarray(GEOD.inv(*lonlat[0][i].T, *lonlat[1][j].T)[2]) if len(i) else np.zeros(0)
    kept = metres <= within_m
    if by_class:
        kept &= np.array([_one_class(estimates[a], truth[b]) for a, b in zip(i.tolist(), j.tolist(), strict=True)], dtype=bool)
    i, j, metres = i[kept], j[kept], metres[kept]
    n, m = len(estimates), len(truth)
    _, label = connected_components(coo_array((np.ones(len(i)), (i, n + j)), shape=(n + m, n + m)), directed=False)
    order = np.argsort(label[i], kind="stable")
    borders = np.flatnonzero(np.diff(label[i][order])) + 1
    matched = [
        pair for rows in np.split(order, borders) if len(rows) for pair in _assign(i[rows], j[rows], metres[rows], within_m)
    ]
    return sorted(matched)


def _one_class(estimate: Placed, truth: Placed) -> bool:
    return truth.class_name is None or estimate.class_name is None or truth.class_name == estimate.class_name


def _assign(i: Indices, j: Indices, metres: Array, within_m: float) -> list[tuple[int, int, float]]:
    rows, row = np.unique(i, return_inverse=True)
    columns, column = np.unique(j, return_inverse=True)
    # A pair out of tolerance costs more than all pairs within it together, so count comes before distance.
    cost = np.full((len(rows), len(columns)), within_m * (min(len(rows), len(columns)) + 1))
    cost[row, column] = metres
    return [
        (int(rows[a]), int(columns[b]), float(cost[a, b]))
        for a, b in zip(*linear_sum_assignment(cost), strict=True)
        if cost[a, b] <= within_m
    ]


def _chi2(estimate: Estimate, truth: Truth) -> float:
    """Squared error in units of the stated covariance."""
    assert estimate.covariance is not None
    azimuth, _, metres = GEOD.inv(truth.lon, truth.lat, estimate.lon, estimate.lat)
    off = metres * np.array([np.sin(np.radians(azimuth)), np.cos(np.radians(azimuth))])
    east, cross, north = estimate.covariance
    return float(off @ np.linalg.solve([[east, cross], [cross, north]], off))


def _is_confirmed(one: Estimate) -> bool:
    """As :func:`kryss.positioning.fuse.is_confirmed`; methods that state no error are taken at their photos."""
    return one.photos >= CONFIRMED_PHOTOS and (one.covariance is None or error_radius_m(one.covariance) <= CONFIRMED_RADIUS_M)


def _worst_m(confirmed: Sequence[Estimate], truth: Sequence[Truth], origins: Sequence[Truth]) -> float:
    worst = float("nan")
    for one in confirmed:
        # Of two signs of one class whose sightings were mixed, it stands where one of them does; a misread one where it was read.
        against = [other for other in truth if _one_class(one, other)]
        against += [origins[one.of]] if one.of is not None and one.of >= 0 else []
        errors = [GEOD.inv(one.lon, one.lat, other.lon, other.lat)[2] for other in against]
        worst = float(np.fmax(worst, min(errors, default=np.nan)))
    return worst


def estimates_of(objects: Iterable[FusedObject], origin_by_key: Mapping[tuple[str, int], int] | None = None) -> list[Estimate]:
    """Fused objects as estimates; ``origin_by_key``: the true object of a sighting by image id and ordinal."""
    return [
        Estimate(
            one.lon,
            one.lat,
            one.class_name,
            one.covariance,
            len(agreeing_photos(one)),
            None if origin_by_key is None else majority(origin_by_key[s.image_id, s.ordinal] for s in one.sightings),
        )
        for one in objects
    ]


def majority(origins: Iterable[int]) -> int:
    """The origin that occurs most; of equals the largest, so that a true object comes before none."""
    counts = Counter(origins)
    return max(counts, key=lambda origin: (counts[origin], origin))


def truth_of(streets: Streets) -> list[Truth]:
    """The simulated objects that have a box."""
    return [Truth(one.lon, one.lat, one.class_name) for one in streets.seen]


def origins_of(streets: Streets) -> list[Truth]:
    """All simulated objects, in the order that ``Streets.origin_of`` counts in."""
    return [Truth(one.lon, one.lat, one.class_name) for one in streets.truth]
