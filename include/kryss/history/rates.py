"""How often a photo that should show an object does show it.

Counted over looks of visits in which another photo did show the object: it stood then, and nothing hid it; and as no sighting
counts itself, it does not matter that objects are known only because they were seen. The rate of all classes by range, then
that of a class by range, then that of the object itself from that side: each is taken for the next where that has not been
counted often.

A whole visit can show nothing of what stands, however many photos it has: a lorry is parked before it. How often, is
counted over visits between two that did show it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from kryss.history.looking import APPROACHES, Looks, Photos, Things
from kryss.positioning.table import Array, Codes

RINGS_M = (8.0, 15.0, 25.0, 40.0)
"""Borders between ranges, metres."""
PRIOR_RATE, PRIOR_LOOKS = 0.75, 4.0
"""What is known before anything is counted."""
FEW_LOOKS = 20.0
"""A rate that was counted over fewer looks is taken from a wider group rather than from its own."""
LEAST, MOST = 0.10, 0.95
STEPS = 20
"""Rates are rounded to a twentieth: what is believed must not flicker with every photo."""
HIDDEN, HIDDEN_VISITS = 0.02, 50.0
"""The share of visits that show nothing of what stands, before any is counted, as if it had been found over so many visits."""
HIDDEN_STEPS = np.array([0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2])
LOOKS_A_VISIT = 5
"""Photos of one visit look much alike: more of them than this add nothing."""
SHIFTS = np.array([-5.0, -2.4, -1.6, -0.8, 0.0, 0.8, 1.6])
SHIFT_SIGMA, CLOSED = 1.0, 0.03
"""How objects of one class differ, each of their sides for itself: log odds are shifted by about this much (a branch before it, a
plate turned). The first shift is that of a side from which it can hardly be seen, although it was, once."""


@dataclass(frozen=True)
class Rates:
    """What looks and visits at standing objects show."""

    chance: Array
    """(n,) by look, that it shows the object"""
    hidden: float
    """the share of visits that show nothing whatever they look at"""
    own: Array
    """(k * APPROACHES, z) log weights of the shifts of each object's sides, by the visits that showed it"""


def rates_of(looks: Looks, things: Things, photos: Photos) -> Rates:
    """The rates of all looks."""
    shown = np.bincount(looks.visit[looks.seen], minlength=int(looks.visit.max(initial=-1)) + 1)
    known = np.isfinite(looks.given)
    counts = looks.expected & ~known & (shown[looks.visit] > looks.seen)
    model, ring = photos.model[looks.photo], np.searchsorted(RINGS_M, looks.range_m)
    kind = things.kind[looks.thing]
    chance = _chances(model, kind, ring, looks.seen, counts, _knows(things, photos))
    chance = np.where(known, looks.given, np.where(looks.expected, chance, 0.0))
    visits = visits_of(looks, chance)
    own = _own(looks, chance, np.flatnonzero(counts & (chance > 0)), visits, len(things))
    return Rates(chance, _hidden(visits, own), own)


def _own(looks: Looks, chance: Array, rows: NDArray[np.intp], visits: Visits, k: int) -> Array:
    """``(k * APPROACHES, z)`` log weights of shifts, by these looks."""
    weight = np.tile(np.log(prior_shifts()), (k * APPROACHES, 1))
    each = shifted_looks(looks, chance, rows)
    told = np.where(looks.seen[rows][:, None], np.log(each), np.log1p(-each))
    number = np.bincount(looks.visit[rows], minlength=len(visits.thing))
    told *= np.minimum(1.0, LOOKS_A_VISIT / np.maximum(number, 1))[looks.visit[rows]][:, None]
    np.add.at(weight, visits.side[looks.visit[rows]], told)
    return weight


def _knows(things: Things, photos: Photos) -> NDArray[np.bool_]:
    """``(models, classes)`` whether a model has ever seen a class: one that has not may not know it."""
    knows = np.zeros((len(photos.models), len(things.classes)), dtype=bool)
    knows[photos.model[things.sighting_photo], things.kind[things.sighting_thing]] = True
    return knows


def _chances(
    model: Codes, kind: Codes, ring: Codes, seen: NDArray[np.bool_], counts: NDArray[np.bool_], knows: NDArray[np.bool_]
) -> Array:
    models, kinds = knows.shape
    rings = len(RINGS_M) + 1
    table_size = models * kinds * rings
    cell = (model * kinds + kind) * rings + np.minimum(ring, rings - 1)
    looked = np.bincount(cell[counts], minlength=table_size).reshape(models, kinds, rings).astype(np.float64)
    showed = np.bincount(cell[counts & seen], minlength=table_size).reshape(models, kinds, rings).astype(np.float64)

    of_model = (showed.sum(axis=(1, 2)) + PRIOR_RATE * PRIOR_LOOKS) / (looked.sum(axis=(1, 2)) + PRIOR_LOOKS)
    by_range = _shrunk(_spread(showed.sum(axis=1)), _spread(looked.sum(axis=1)), of_model[:, None])
    usual = (looked * by_range[:, None, :]).sum(axis=2)
    of_class = (showed.sum(axis=2) + FEW_LOOKS) / (usual + FEW_LOOKS)
    expected = np.minimum(by_range[:, None, :] * of_class[:, :, None], MOST)
    rate = np.clip(np.round(_shrunk(showed, looked, expected) * STEPS) / STEPS, LEAST, MOST)
    return np.asarray(np.where(knows[:, :, None], rate, 0.0).reshape(-1)[cell])


def _shrunk(showed: Array, looked: Array, usual: Array) -> Array:
    return np.asarray((showed + FEW_LOOKS * usual) / (looked + FEW_LOOKS))


def _spread(count: Array) -> Array:
    """Counts by range, with a part of those of the ranges beside."""
    beside = np.zeros_like(count)
    beside[:, 1:] += count[:, :-1]
    beside[:, :-1] += count[:, 1:]
    return count + beside / 4


def _hidden(visits: Visits, own: Array) -> float:
    """By expectation and maximisation over the visits that have one on each side that did show the object."""
    if len(visits.thing) < 3:
        return HIDDEN
    same = (visits.thing[:-2] == visits.thing[1:-1]) & (visits.thing[2:] == visits.thing[1:-1])
    between = np.flatnonzero(same & visits.seen[:-2] & visits.seen[2:] & visits.looked[1:-1]) + 1
    missed = between[~visits.seen[between]]
    by_chance = (np.exp(visits.log_missed[missed]) * weights(own[visits.side[missed]])).sum(axis=1)
    share = HIDDEN
    for _ in range(20):
        hidden = share / (share + (1.0 - share) * by_chance)
        share = float((hidden.sum() + HIDDEN * HIDDEN_VISITS) / (len(between) + HIDDEN_VISITS))
    return float(HIDDEN_STEPS[np.argmin(np.abs(np.log(HIDDEN_STEPS / share)))])


def weights(log_weight: Array) -> Array:
    """``(n, z)`` that sum to 1 over z."""
    weight = np.exp(log_weight - log_weight.max(axis=-1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=-1, keepdims=True))


def prior_shifts() -> Array:
    """``(z,)`` how likely an object's rates are shifted by each of ``SHIFTS``."""
    weight = np.exp(-0.5 * (SHIFTS[1:] / SHIFT_SIGMA) ** 2)
    return np.append(CLOSED, (1.0 - CLOSED) * weight / weight.sum())


def shifted(chance: Array) -> Array:
    """``(n, z)`` the chances of objects whose log odds are shifted; 0 stays 0."""
    odds = logit(np.clip(chance, 1e-6, 1.0 - 1e-6))[:, None] + SHIFTS
    return np.where(chance[:, None] > 0, np.minimum(expit(odds), 0.99), 0.0)


@dataclass(frozen=True)
class Visits:
    """``v`` visits as columns, by object, then time."""

    thing: Codes
    begin: Codes
    """the first of its looks; they stand together"""
    end: Codes
    seen: NDArray[np.bool_]
    looked: NDArray[np.bool_]
    """Whether it should have shown the object."""
    side: Codes
    """object * APPROACHES + the side from which its farthest look is, where the direction changes least from photo to photo"""
    log_missed: Array
    """(v, z) log probability that a visit that is not hidden shows nothing of what stands, by shift of the object's rates"""


def visits_of(looks: Looks, chance: Array) -> Visits:
    """The visits of all looks."""
    begin = np.flatnonzero(np.diff(looks.visit, prepend=-1))
    v = len(begin)
    log_missed = np.zeros((v, len(SHIFTS)))
    # The likeliest looks of each visit first.
    order = np.lexsort((looks.photo, -chance, looks.visit))
    rank = np.arange(len(order)) - begin[looks.visit[order]]
    best = order[(rank < LOOKS_A_VISIT) & (chance[order] > 0)]
    np.add.at(log_missed, looks.visit[best], np.log1p(-shifted_looks(looks, chance, best)))
    farthest = np.lexsort((looks.photo, -np.nan_to_num(looks.range_m), looks.visit))[begin]
    return Visits(
        looks.thing[begin],
        begin,
        np.append(begin[1:], len(looks.thing)),
        some(looks.visit[looks.seen], v),
        some(looks.visit[chance > 0], v),
        looks.thing[begin] * APPROACHES + looks.approach[farthest],
        log_missed,
    )


def some(numbers: Codes, n: int) -> NDArray[np.bool_]:
    """``(n,)`` which of 0 ... n - 1 are among the numbers."""
    found = np.zeros(n, dtype=bool)
    found[numbers] = True
    return found


def shifted_looks(looks: Looks, chance: Array, rows: NDArray[np.intp]) -> Array:
    """``(m, z)`` chances of some looks: shifted, but for those that are given."""
    return np.where(np.isfinite(looks.given[rows, None]), chance[rows, None], shifted(chance[rows]))
