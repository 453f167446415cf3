"""How drives lie on each other: what each sequence's poses are off by, before it is known which of their objects are the same.

Every object of one drive is tied to its possible counterparts in the others with the probability that they are one
(expectation), the drives are moved so that likely counterparts meet (maximisation), and so on: iterative closest points with
soft assignments (Granger and Pennec 2002, "Multi-scale EM-ICP"), whose gates shrink as the drives' errors become known.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from kryss.positioning.adjust import Corrections, Solver, linearise, pose_sigma, sums
from kryss.positioning.associate import MISREAD, Clusters, density_of, faces_alike, log_density
from kryss.positioning.table import Array, Codes, Scene

REACH_M = 20.0
"""Counterparts are not looked for farther away: three times what two raw GPS positions differ by."""
COUNTERPARTS = 40
"""The nearest: a street that hundreds have driven says no more with all of them."""
ROUNDS = 8
FEW_TIES = 30.0
"""A drive with so few ties to others is half as doubtful as all drives are."""


def align(scene: Scene, tracks: Clusters, corrections: Corrections) -> Corrections:
    """The corrections with which objects of different sequences meet. ``tracks``: clusters of one sequence each."""
    sequences = scene.sequences
    sequence = scene.sequence[tracks.first]
    effect = _effect(scene, tracks, corrections)
    own = tracks.objects.own[:, :2, :2]
    a, b = _candidates(scene, tracks, sequence)
    if not len(a):
        return corrections
    chance = density_of(scene, tracks.first[a])
    misread = np.where(tracks.kind[a] == tracks.kind[b], 0.0, np.log(MISREAD))
    prior = pose_sigma(scene) ** -2
    value, covariance = np.zeros((sequences, 4)), Corrections.prior(scene).covariance
    noise = own[a] + own[b]
    information = np.linalg.inv(noise)
    for _ in range(ROUNDS):
        moved = tracks.objects.state[:, :2] + np.einsum("kij,kj->ki", effect, value[sequence])
        apart = moved[a] - moved[b]
        open_ = effect @ covariance[sequence] @ effect.transpose(0, 2, 1)
        gain = log_density(apart, noise + open_[a] + open_[b]) - np.log(chance) + misread
        weight = _probability(gain, a, b, sequence, sequences, tracks.count)
        weight[weight < 1e-3] = 0.0
        mates = 1.0 + np.bincount(a, weight, tracks.count) + np.bincount(b, weight, tracks.count)
        # k drives that see one object make k (k - 1) / 2 pairs of k positions: each pair counts 2 / k.
        held = np.flatnonzero(weight)
        one, other = a[held], b[held]
        precise = information[held] * (weight[held] * 4.0 / (mates[one] + mates[other]))[:, None, None]
        residual = tracks.objects.state[one, :2] - tracks.objects.state[other, :2]
        of_one, of_other = effect[one], -effect[other]
        solver = Solver(_normal(prior, of_one, of_other, precise, sequence[one], sequence[other]))
        slope = -prior * corrections.value
        slope -= sums(np.einsum("pji,pjk,pk->pi", of_one, precise, residual), sequence[one], sequences)
        slope -= sums(np.einsum("pji,pjk,pk->pi", of_other, precise, residual), sequence[other], sequences)
        value = solver.solve(slope.ravel()).reshape(sequences, 4)
        (covariance,) = solver.blocks((np.arange(sequences) * 4, 4))
    unsure = weight * (1.0 - weight)
    tied = np.bincount(sequence[a], weight, sequences) + np.bincount(sequence[b], weight, sequences)
    doubtful = np.bincount(sequence[a], unsure, sequences) + np.bincount(sequence[b], unsure, sequences)
    everywhere = unsure.sum() / (weight.sum() + FEW_TIES)
    doubt = (doubtful + FEW_TIES * everywhere) / (tied + FEW_TIES)
    return replace(corrections, value=corrections.value + value, covariance=covariance, doubt=doubt)


def _effect(scene: Scene, tracks: Clusters, corrections: Corrections) -> Array:
    """``(k, 2, 4)`` how a track moves with the correction of its sequence."""
    rows = tracks.rows
    linear = linearise(scene, rows, tracks.objects.state[tracks.labels], corrections.of(scene, rows))
    weighted = linear.by_sequence * (tracks.objects.weight[:, None] / linear.variance)[:, :, None]
    cross = sums(linear.by_object.transpose(0, 2, 1) @ weighted, tracks.labels, tracks.count)
    return np.asarray(-(tracks.objects.own @ cross)[:, :2])


def _candidates(scene: Scene, tracks: Clusters, sequence: Codes) -> tuple[Codes, Codes]:
    """Pairs of tracks of different sequences that may show one object."""
    placed = np.column_stack([tracks.objects.state[:, :2], tracks.family * (4 * REACH_M)])
    k = min(COUNTERPARTS + 1, len(placed))
    _, near = cKDTree(placed).query(placed, k=np.arange(1, k + 1), distance_upper_bound=REACH_M)
    a, b = np.repeat(np.arange(len(placed)), k), near.ravel()
    real = b < len(placed)
    a, b = a[real], b[real]
    a, b = a[sequence[a] != sequence[b]], b[sequence[a] != sequence[b]]
    pairs = np.unique(np.minimum(a, b) * len(placed) + np.maximum(a, b))
    a, b = pairs // len(placed), pairs % len(placed)
    alike = faces_alike(scene, tracks, a, b)
    return a[alike], b[alike]


def _probability(gain: Array, a: Codes, b: Codes, sequence: Codes, sequences: int, count: int) -> Array:
    """``(p,)`` that each pair is one object, against every other counterpart in the same sequence, and none."""
    odds = np.exp(np.minimum(gain, 50.0))
    both = np.ones(len(gain))
    for one, other in ((a, b), (b, a)):
        key = one * sequences + sequence[other]
        _, group = np.unique(key, return_inverse=True)
        both = both * odds / (1.0 + np.bincount(group, odds)[group])
    return both


def _normal(prior: Array, of_a: Array, of_b: Array, precise: Array, first: Codes, second: Codes) -> sparse.csc_matrix:
    """``(4q, 4q)`` normal matrix of the sequences' corrections."""
    sequences = len(prior)
    blocks = np.zeros((sequences, 4, 4))
    blocks[:, range(4), range(4)] = prior
    rows, columns, values = [np.arange(sequences)], [np.arange(sequences)], [blocks]
    for left, row in ((of_a, first), (of_b, second)):
        weighted = left.transpose(0, 2, 1) @ precise
        for right, column in ((of_a, first), (of_b, second)):
            key, place = np.unique(row * sequences + column, return_inverse=True)
            rows.append(key // sequences)
            columns.append(key % sequences)
            values.append(sums(weighted @ right, place, len(key)))
    at, to = np.meshgrid(np.arange(4), np.arange(4), indexing="ij")
    row, column = np.concatenate(rows), np.concatenate(columns)
    return sparse.csc_matrix(
        (np.concatenate(values).ravel(), ((row[:, None, None] * 4 + at).ravel(), (column[:, None, None] * 4 + to).ravel())),
        shape=(4 * sequences, 4 * sequences),
    )
