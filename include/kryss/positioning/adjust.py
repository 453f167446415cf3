"""Least squares: where objects stand, and by how much poses are off, from all bearings and ranges at once.

Unknowns are, per object, east, north and log scale (how much too far its ranges are: its true size); per sequence, what its
poses have in common: a shift (2), a turn, and a log scale (camera height, depth); per photo, its own shift and turn.
Observations are the bearing and the log range of each sighting; poses and scales have the priors that the sightings state.
Photos are eliminated by blocks (Schur complement, Triggs et al. 2000, "Bundle adjustment: a modern synthesis", section 6.1),
the rest is solved for, and every object gets its full marginal covariance. Outliers lose weight as under Student's t
(iteratively reweighted least squares, Lange, Little and Taylor 1989).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import SuperLU, splu

from kryss.positioning.table import Array, Codes, Scene

FREEDOM = 5.0
"""Of Student's t: errors of detectors and poses have heavier tails than a normal distribution."""
NEAREST_M = 1.0
"""No direction is taken from a camera closer than this to the object."""
LONGEST_STEP_M = 15.0


@dataclass
class Corrections:
    """What is known of the errors that the photos of a sequence share."""

    value: Array
    """(q, 4): east and north metres, turn (radians), log scale"""
    covariance: Array
    """(q, 4, 4)"""
    photo: Array
    """(p, 3): east and north metres and turn of each photo beyond its sequence's"""
    photo_covariance: Array
    """(p, 3, 3) if the objects were known"""
    doubt: Array
    """(q,) share of the ties of each sequence to others of which it is not sure that they hold"""

    def of(self, scene: Scene, rows: NDArray[np.intp]) -> Array:
        """``(m, 4)`` the whole correction of each of the sightings ``rows``."""
        whole = self.value[scene.sequence[rows]]
        whole[:, :3] += self.photo[scene.image[rows]]
        return whole

    @staticmethod
    def prior(scene: Scene) -> Corrections:
        """Nothing is known but the stated sigmas."""
        sigma = pose_sigma(scene)
        covariance = np.zeros((len(sigma), 4, 4))
        covariance[:, range(4), range(4)] = sigma**2
        own = _by_photo(scene)
        photo = np.zeros((len(own), 3, 3))
        photo[:, range(3), range(3)] = own**2
        return Corrections(np.zeros((len(sigma), 4)), covariance, np.zeros((len(own), 3)), photo, np.zeros(len(sigma)))


@dataclass
class Objects:
    """The estimate of each cluster."""

    state: Array
    """(k, 3): east, north, log scale"""
    own: Array
    """(k, 3, 3) covariance if the poses' shared errors were known"""
    covariance: Array
    """(k, 3, 3) with them"""
    weight: Array
    """(n,) robust weight of each sighting, 1 for a perfect one or a lone one"""


def pose_sigma(scene: Scene) -> Array:
    """``(q, 4)`` prior sigma of what the photos of each sequence share."""
    count = np.bincount(scene.sequence, minlength=scene.sequences)

    def rms(variance: Array) -> Array:
        return np.asarray(
            np.sqrt(np.bincount(scene.sequence, variance, scene.sequences) / np.maximum(count, 1)), dtype=np.float64
        )

    shift = rms(scene.shared * scene.camera_sigma**2)
    turn = rms(scene.shared * np.maximum(scene.bearing_sigma**2 - scene.pixel_sigma**2, 0.0))
    scale = rms(scene.sequence_sigma**2)
    return np.maximum(np.column_stack([shift, shift, turn, scale]), [1e-3, 1e-3, 1e-5, 1e-5])


def _by_photo(scene: Scene) -> Array:
    """``(p, 3)`` prior sigma of what is a photo's own."""
    sigma = np.full((scene.images, 3), 1e-3)
    own = np.sqrt(1.0 - scene.shared)
    shift, turn = own * scene.camera_sigma, own * np.sqrt(np.maximum(scene.bearing_sigma**2 - scene.pixel_sigma**2, 0.0))
    for column, values in enumerate((shift, shift, turn)):
        np.maximum.at(sigma[:, column], scene.image, values)
    return np.maximum(sigma, [1e-3, 1e-3, 1e-5])


@dataclass
class Linear:
    """Residuals and derivatives of some sightings at an estimate."""

    residual: Array
    """(m, 2) log range, bearing"""
    pixel: Array
    """(m, 2) variance of the sighting alone"""
    variance: Array
    """(m, 2) with its photo's own part"""
    by_object: Array
    """(m, 2, 3)"""
    by_sequence: Array
    """(m, 2, 4)"""


def linearise(scene: Scene, rows: NDArray[np.intp], state: Array, correction: Array, beyond: Array | float = 0.0) -> Linear:
    """Of the sightings ``rows`` against ``state`` (m, 3) under ``correction`` (m, 4). ``beyond`` (m,): further variance of
    their log ranges.
    """
    offset = state[:, :2] - scene.camera[rows] - correction[:, :2]
    distance = np.maximum(np.hypot(offset[:, 0], offset[:, 1]), NEAREST_M)
    bearing = np.arctan2(offset[:, 0], offset[:, 1]) + correction[:, 2]
    turned = scene.bearing[rows] - bearing
    residual = np.column_stack(
        [
            scene.log_range[rows] - np.log(distance) - state[:, 2] - correction[:, 3],
            np.arctan2(np.sin(turned), np.cos(turned)),
        ]
    )
    own = 1.0 - scene.shared[rows]
    camera = own * (scene.camera_sigma[rows] / distance) ** 2
    pixel = np.column_stack([scene.own_sigma[rows] ** 2 + beyond, scene.pixel_sigma[rows] ** 2])
    turn = np.maximum(scene.bearing_sigma[rows] ** 2 - pixel[:, 1], 0.0)
    variance = pixel + np.column_stack([camera, own * turn + camera])
    by_object = np.zeros((len(rows), 2, 3))
    toward = offset / distance[:, None] ** 2
    by_object[:, 0, :2] = toward
    by_object[:, 0, 2] = 1.0
    by_object[:, 1, 0] = toward[:, 1]
    by_object[:, 1, 1] = -toward[:, 0]
    by_sequence = np.zeros((len(rows), 2, 4))
    by_sequence[:, :, :2] = -by_object[:, :, :2]
    by_sequence[:, 1, 2] = 1.0
    by_sequence[:, 0, 3] = 1.0
    return Linear(residual, pixel, variance, by_object, by_sequence)


def sums(values: Array, groups: Codes, count: int) -> Array:
    """``(count, ...)`` sums of ``(m, ...)`` by group."""
    flat = values.reshape(len(values), math.prod(values.shape[1:]))
    summed = np.column_stack([np.bincount(groups, column, count) for column in flat.T])
    return np.asarray(summed, dtype=np.float64).reshape(count, *values.shape[1:])


def _inverse(matrices: Array) -> Array:
    return np.asarray(np.linalg.inv(matrices), dtype=np.float64)


def _solved(matrices: Array, right: Array) -> Array:
    """``(m, i)`` of ``(m, i, i)`` and ``(m, i)``."""
    return np.asarray(np.linalg.solve(matrices, right[:, :, None])[:, :, 0], dtype=np.float64)


def first_guess(scene: Scene, rows: NDArray[np.intp], labels: Codes, count: int, corrections: Corrections) -> Array:
    """``(count, 3)`` the mean of where the sightings put their object, weighted by their information."""
    correction = corrections.of(scene, rows)
    turn = scene.bearing[rows] - correction[:, 2]
    along = np.column_stack([np.sin(turn), np.cos(turn)])
    reach = np.exp(scene.log_range[rows] - correction[:, 3])
    point = scene.camera[rows] + correction[:, :2] + reach[:, None] * along
    spread = reach**2 * (scene.own_sigma[rows] ** 2 + scene.object_sigma[rows] ** 2) + scene.camera_sigma[rows] ** 2
    across = (reach * scene.bearing_sigma[rows]) ** 2 + scene.camera_sigma[rows] ** 2
    information = along[:, :, None] * along[:, None, :] * (1 / spread - 1 / across)[:, None, None]
    information[:, range(2), range(2)] += (1 / across)[:, None]
    normal = sums(information, labels, count)
    moment = sums(np.einsum("mij,mj->mi", information, point), labels, count)
    state = np.zeros((count, 3))
    state[:, :2] = _solved(normal, moment)
    return state


def scale_prior(scene: Scene, rows: NDArray[np.intp], labels: Codes, count: int) -> Array:
    """``(count,)`` sigma of each object's log scale: the smallest that its sightings state."""
    sigma = np.full(count, np.inf)
    np.minimum.at(sigma, labels, scene.object_sigma[rows])
    return np.where(np.isfinite(sigma), sigma, 1.0)


def beyond_prior(scene: Scene, rows: NDArray[np.intp], labels: Codes, scale_sigma: Array) -> Array:
    """``(m,)`` variance of a sighting's log range that the object's scale (:func:`scale_prior`) does not hold.

    Sightings of one object may have their ranges from different sources, one with a depth and one without, whose shared
    errors are not the same: what exceeds that of the surest is theirs.
    """
    return np.asarray(np.maximum(scene.object_sigma[rows] ** 2 - scale_sigma[labels] ** 2, 0.0))


def robust_weight(residual: Array, variance: Array) -> Array:
    """``(m,)`` of two-dimensional residuals."""
    chi2 = (residual**2 / variance).sum(axis=1)
    return np.asarray((FREEDOM + 2.0) / (FREEDOM + chi2), dtype=np.float64)


def estimate(
    scene: Scene, rows: NDArray[np.intp], labels: Codes, count: int, corrections: Corrections, rounds: int = 5
) -> Objects:
    """Each object by itself: ``labels`` (m,) says which of ``count`` objects each of the sightings ``rows`` (m,) shows."""
    prior = np.zeros((count, 3, 3))
    scale_sigma = scale_prior(scene, rows, labels, count)
    beyond = beyond_prior(scene, rows, labels, scale_sigma)
    prior[:, 2, 2] = scale_sigma**-2
    state = first_guess(scene, rows, labels, count, corrections)
    alone = np.bincount(labels, minlength=count)[labels] < 2
    correction = corrections.of(scene, rows)
    weight = np.ones(len(rows))
    normal = prior
    linear = linearise(scene, rows, state[labels], correction, beyond)
    for _ in range(rounds):
        linear = linearise(scene, rows, state[labels], correction, beyond)
        weight = np.where(alone, 1.0, robust_weight(linear.residual, _loose(scene, rows, linear)))
        gain = linear.by_object.transpose(0, 2, 1) * (weight[:, None] / linear.variance)[:, None, :]
        normal = sums(gain @ linear.by_object, labels, count) + prior
        slope = sums(np.einsum("mij,mj->mi", gain, linear.residual), labels, count)
        slope[:, 2] -= prior[:, 2, 2] * state[:, 2]
        state = state + _limited(_solved(normal, slope))
    own = _inverse(normal)
    cross = linear.by_object.transpose(0, 2, 1) @ (linear.by_sequence * (weight[:, None] / linear.variance)[:, :, None])
    pair, inverse = np.unique(labels * scene.sequences + scene.sequence[rows], return_inverse=True)
    effect = own[pair // scene.sequences] @ sums(cross, inverse, len(pair))
    of_pair = effect @ corrections.covariance[pair % scene.sequences] @ effect.transpose(0, 2, 1)
    return Objects(state, own, own + sums(of_pair, pair // scene.sequences, count), weight)


def _loose(scene: Scene, rows: NDArray[np.intp], linear: Linear) -> Array:
    """``(m, 2)`` variances to judge outliers by: what poses share is not known yet, and is no reason to doubt a sighting."""
    extra = np.column_stack([scene.object_sigma[rows] ** 2 + scene.sequence_sigma[rows] ** 2, np.zeros(len(rows))])
    toward = (linear.by_object[:, :, :2] ** 2).sum(axis=2)
    shared = scene.shared[rows]
    extra += (shared * scene.camera_sigma[rows] ** 2)[:, None] * toward
    extra[:, 1] += shared * scene.bearing_sigma[rows] ** 2
    return linear.variance + extra


def _limited(step: Array) -> Array:
    """No step longer than a camera could be wrong, no scale beyond what logs can bear."""
    length = np.hypot(step[:, 0], step[:, 1])
    step = step * np.minimum(1.0, LONGEST_STEP_M / np.maximum(length, 1e-9))[:, None]
    return np.column_stack([step[:, :2], np.clip(step[:, 2], -0.5, 0.5)])


def adjust(
    scene: Scene,
    rows: NDArray[np.intp],
    labels: Codes,
    count: int,
    start: Array,
    corrections: Corrections,
    rounds: int = 4,
    final: bool = True,
) -> tuple[Objects, Corrections]:
    """Objects and poses together. Arguments as for :func:`estimate`; ``start`` and ``corrections``: where it begins.

    Unless ``final``, the covariances are those with everything else known: narrower, and quickly had.
    """
    sequences = scene.sequences
    sequence, image = scene.sequence[rows], scene.image[rows]
    scale_sigma = scale_prior(scene, rows, labels, count)
    beyond, scale = beyond_prior(scene, rows, labels, scale_sigma), scale_sigma**-2
    pose_prior, photo_prior = pose_sigma(scene) ** -2, _by_photo(scene) ** -2
    photo_sequence = np.zeros(scene.images, dtype=np.int64)
    photo_sequence[scene.image] = scene.sequence
    state, value, photo = start.copy(), corrections.value.copy(), corrections.photo.copy()
    alone = np.bincount(labels, minlength=count)[labels] < 2
    first, second = _couples(image)
    for _ in range(rounds):
        current = replace(corrections, value=value, photo=photo)
        linear = linearise(scene, rows, state[labels], current.of(scene, rows), beyond)
        weight = np.where(alone, 1.0, robust_weight(linear.residual, linear.pixel))
        precision = weight[:, None] / linear.pixel
        by_photo = linear.by_sequence[:, :, :3]
        gain = linear.by_object.transpose(0, 2, 1) * precision[:, None, :]
        pose_gain = linear.by_sequence.transpose(0, 2, 1) * precision[:, None, :]
        photo_gain = by_photo.transpose(0, 2, 1) * precision[:, None, :]

        def against(one: Array, residual: Array = linear.residual) -> Array:
            return np.einsum("mij,mj->mi", one, residual)

        # Photos: their normal blocks, and what they have in common with objects and sequences.
        photo_normal = sums(photo_gain @ by_photo, image, scene.images)
        photo_normal[:, range(3), range(3)] += photo_prior
        photo_slope = sums(against(photo_gain), image, scene.images) - photo_prior * photo
        photo_inverse = _inverse(photo_normal)
        with_object = gain @ by_photo
        with_pose = sums(pose_gain @ by_photo, image, scene.images)
        # Objects and sequences, the photos eliminated.
        normal = sums(gain @ linear.by_object, labels, count)
        normal[:, 2, 2] += scale
        pose_normal = sums(pose_gain @ linear.by_sequence, sequence, sequences)
        pose_normal[:, range(4), range(4)] += pose_prior
        pose_normal -= sums(with_pose @ photo_inverse @ with_pose.transpose(0, 2, 1), photo_sequence, sequences)
        carried = with_object @ photo_inverse[image]
        between = carried[first] @ with_object[second].transpose(0, 2, 1)
        cross = gain @ linear.by_sequence - carried @ with_pose[image].transpose(0, 2, 1)
        known = _inverse(normal)
        photo_step = np.einsum("pij,pj->pi", photo_inverse, photo_slope)
        slope = sums(against(gain) - np.einsum("mij,mj->mi", with_object, photo_step[image]), labels, count)
        slope[:, 2] -= scale * state[:, 2]
        pose_slope = sums(against(pose_gain), sequence, sequences) - pose_prior * value
        pose_slope -= sums(np.einsum("pij,pj->pi", with_pose, photo_step), photo_sequence, sequences)
        system = _system(count, sequences, labels, sequence, normal, between, first, second, cross, pose_normal)
        solver = Solver(system)
        step = solver.solve(np.concatenate([slope.ravel(), pose_slope.ravel()]))
        object_step, pose_step = step[: 3 * count].reshape(count, 3), step[3 * count :].reshape(sequences, 4)
        back = sums(np.einsum("mij,mi->mj", with_object, object_step[labels]), image, scene.images)
        back += np.einsum("pij,pi->pj", with_pose, pose_step[photo_sequence])
        photo = photo + photo_step - np.einsum("pij,pj->pi", photo_inverse, back)
        state, value = state + _limited(object_step), value + pose_step
    if not final:
        return Objects(state, known, known, weight), Corrections(
            value, _inverse(pose_normal), photo, photo_inverse, corrections.doubt
        )
    covariance, pose_covariance = solver.blocks((np.arange(count) * 3, 3), (3 * count + np.arange(sequences) * 4, 4))
    return Objects(state, known, covariance, weight), Corrections(value, pose_covariance, photo, photo_inverse, corrections.doubt)


def _couples(group: Codes) -> tuple[Codes, Codes]:
    """All ordered couples (i, j) of entries of one group, i = j too."""
    order = np.argsort(group, kind="stable")
    number = np.bincount(group, minlength=int(group.max(initial=-1)) + 1)
    begin = np.cumsum(number) - number
    repeat = number[group[order]]
    first = np.repeat(order, repeat)
    offset = np.arange(len(first)) - np.repeat(np.cumsum(repeat) - repeat, repeat)
    return first, order[np.repeat(begin[group[order]], repeat) + offset]


def _system(
    count: int,
    sequences: int,
    labels: Codes,
    sequence: Codes,
    normal: Array,
    between: Array,
    first: Codes,
    second: Codes,
    cross: Array,
    pose_normal: Array,
) -> sparse.csc_matrix:
    """The normal matrix of ``count`` objects (3 each), then ``sequences`` (4 each)."""
    size = 3 * count + 4 * sequences
    at_object, at_pose = 3 * labels, 3 * count + 4 * sequence
    parts = [
        (np.arange(count) * 3, np.arange(count) * 3, normal),
        (at_object[first], at_object[second], -between),
        (at_object, at_pose, cross),
        (at_pose, at_object, cross.transpose(0, 2, 1)),
        (3 * count + np.arange(sequences) * 4, 3 * count + np.arange(sequences) * 4, pose_normal),
    ]
    rows, columns, values = [], [], []
    for row, column, block in parts:
        shape = np.broadcast_shapes(block.shape)
        rows.append(np.broadcast_to(row[:, None, None] + np.arange(shape[1])[:, None], shape).ravel())
        columns.append(np.broadcast_to(column[:, None, None] + np.arange(shape[2]), shape).ravel())
        values.append(block.ravel())
    return sparse.csc_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(size, size))


class Solver:
    """A factorised symmetric positive definite system."""

    def __init__(self, system: sparse.csc_matrix) -> None:
        self.size = system.shape[0]
        self.factor = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})

    def solve(self, right: Array) -> Array:
        """The solution for ``(size,)``."""
        return np.asarray(self.factor.solve(right))

    def blocks(self, *wanted: tuple[Codes, int]) -> list[Array]:
        """For each (first rows, width): the ``(m, width, width)`` blocks on the diagonal of the inverse.

        Where the factor has entries, and where they are asked for, the inverse is found from the last column to the first
        without ever being whole: Takahashi, Fagan and Chin 1973, "Formation of a sparse bus impedance matrix". What a column
        needs is in the front of its parent in the elimination tree.
        """
        if not np.array_equal(self.factor.perm_r, self.factor.perm_c):
            raise ArithmeticError("the normal matrix is not positive definite")
        found = [np.zeros((len(begin), width, width)) for begin, width in wanted]
        due: dict[int, list[tuple[Array, Codes]]] = defaultdict(list)
        for blocks, (begin, width) in zip(found, wanted, strict=True):
            places = self.factor.perm_c[begin[:, None] + np.arange(width)]
            for block, place, earliest in zip(blocks, places, places.min(axis=1).tolist(), strict=True):
                due[earliest].append((block, place))
        asked = {column: np.unique(np.concatenate([place for _, place in blocks])) for column, blocks in due.items()}
        for column, members, front in _fronts(self.factor, asked):
            for block, place in due.get(column, ()):
                at = np.searchsorted(members, place)
                block[:] = front[at[:, None], at]
        return found


def _fronts(factor: SuperLU, asked: Mapping[int, Codes]) -> Iterator[tuple[int, Codes, Array]]:
    """For each column of a factor, from the last: the rows of its pattern, and the inverse over these rows and columns.

    ``asked``: rows, from the column on, that a column's pattern shall have.
    """
    lower, pivot = factor.L.tocsc(), factor.U.diagonal()
    lower.sort_indices()
    size = lower.shape[0]
    below: list[Codes] = [lower.indices[begin + 1 : end].astype(np.int64) for begin, end in pairwise(lower.indptr.tolist())]
    for column, places in asked.items():
        if not np.isin(places[1:], below[column], assume_unique=True).all():
            below[column] = np.union1d(below[column], places[1:])
    parent = np.full(size, -1)
    for column in range(size):
        if len(below[column]):
            # Entries that cancelled to zero are left out of the factor; the pattern has to hold them all the same.
            parent[column] = above = int(below[column][0])
            missing = np.setdiff1d(below[column][1:], below[above], assume_unique=True)
            if len(missing):
                below[above] = np.sort(np.concatenate([below[above], missing]))
    children = np.bincount(parent[parent >= 0], minlength=size)
    fronts: dict[int, tuple[Codes, Array]] = {}
    for column in range(size - 1, -1, -1):
        rows, entry = below[column], slice(int(lower.indptr[column]) + 1, int(lower.indptr[column + 1]))
        values = np.zeros(len(rows))
        values[np.searchsorted(rows, lower.indices[entry])] = lower.data[entry]
        front = np.empty((len(rows) + 1, len(rows) + 1))
        if len(rows):
            outer, whole = fronts[parent[column]]
            at = np.searchsorted(outer, rows)
            front[1:, 1:] = whole[at[:, None], at]
            entries = -(front[1:, 1:] @ values)
            front[1:, 0] = front[0, 1:] = entries
            front[0, 0] = 1.0 / pivot[column] - values @ entries
            children[parent[column]] -= 1
            if not children[parent[column]]:
                del fronts[parent[column]]
        else:
            front[0, 0] = 1.0 / pivot[column]
        members = np.concatenate([[column], rows])
        if children[column]:
            fronts[column] = members, front
        yield column, members, front
