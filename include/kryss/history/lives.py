"""When an object came, stood, was away and went, by Bayes' rule over its visits.

An object that was seen stands until it goes, and goes with a small chance a year; every visit that should have shown it and did
not makes it likelier that it has gone. How surely a visit shows what stands is known by :mod:`rates`; the object's own rates
are learnt from its other looks. It went between its last sighting and the first look by which it is known to have gone: the
earliest after which the probability that it still stands is below ``ended_below``. Its coming is told by the same rule backwards
in time. That something goes and comes back is rare: a time of absence takes more.

A sighting can be a stray: a box of the thing beside it. So the first question is which visits show it for sure; it is answered
by a hidden Markov model (Rabiner 1989) of two states, standing and not, over all visits of the object.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kryss.history.looking import APPROACHES, Looks, Photos
from kryss.history.rates import LOOKS_A_VISIT, Rates, Visits, prior_shifts, shifted_looks, some, visits_of, weights
from kryss.positioning.table import Array

ENDED_BELOW = 0.05
GOING_A_YEAR = 0.045
"""The chance that a sign or light is taken down in a year, a little high: rather doubted than believed."""
GONE_AT_ONCE = 0.003
"""What it is at least: of what was seen but was never fixed to the ground."""
GONE_AT_ONCE_ONCE_SEEN = 0.20
"""Of an object that one photo alone showed: it may never have been."""
COMES_BACK = 0.15
"""Of the things that go, those that stand in their place again later."""
STRAY, STRAY_AGAIN = 0.04, 0.2
"""How often a visit shows what does not stand there, in one photo; and in one more."""
GLIMPSE = 0.15
"""How often a photo shows what is almost hidden."""
SCREENED_A_YEAR, SCREEN_YEARS, SCREENED_RATE = 0.01, 0.4, 0.25
"""How often leaves or a scaffold come before what stands, how long they stay, and how much of its rate is left then."""
YEAR_S = 365.25 * 86400.0
PROBABILITY_DECIMALS = 4


@dataclass(frozen=True, slots=True)
class Life:
    """What the looks say of an object; positions are those of photos."""

    standing_probability: float
    first_seen_at: int
    last_seen_at: int
    ended_at: int | None
    misses: tuple[int, ...]
    began_after: int | None
    absences: tuple[tuple[int, int, int, int], ...]
    """Photos ``gone_after``, ``gone_by``, ``back_after``, ``back_by``."""


def lives_of(looks: Looks, rates: Rates, photos: Photos, k: int, ended_below: float = ENDED_BELOW) -> list[Life]:
    """By object."""
    if not k:
        return []
    visits = visits_of(looks, rates.chance)
    evidence = _evidence(looks, rates, visits)
    shown = visits.seen & (_standing(visits, evidence, photos.time[looks.photo[visits.begin]], k) >= 0.5)
    # What no visit shows for sure was there when it was seen, if ever.
    unsure = ~some(visits.thing[shown], k)
    shown |= visits.seen & unsure[visits.thing]
    own = (rates.own + _missed_between(visits, evidence, shown, k)).reshape(k, APPROACHES, -1)
    bounds = np.searchsorted(visits.thing, np.arange(k + 1))
    return [
        _Object(looks, visits, shown, evidence, photos, rates.chance, np.arange(bounds[i], bounds[i + 1]), own[i].copy()).life(
            ended_below
        )
        for i in range(k)
    ]


@dataclass(frozen=True)
class _Evidence:
    """``v`` visits: log probabilities of what they show."""

    standing: Array
    """(v, z) if the object stands, by shift of its rates"""
    screened: Array
    """(v, z) if it stands behind leaves or a scaffold"""
    absent: Array
    """(v,) if it does not stand"""


def _evidence(looks: Looks, rates: Rates, visits: Visits) -> _Evidence:
    v = len(visits.thing)
    looked = np.flatnonzero(rates.chance > 0)
    where, seen, given = looks.visit[looked], looks.seen[looked], np.isfinite(looks.given[looked])
    number = np.bincount(where, minlength=v)
    weight = np.minimum(1.0, LOOKS_A_VISIT / np.maximum(number, 1))[where][:, None]
    chance = shifted_looks(looks, rates.chance, looked)

    def told(chance: Array) -> Array:
        total = np.zeros((v, chance.shape[1]))
        np.add.at(total, where, weight * np.where(seen[:, None], np.log(np.maximum(chance, 1e-9)), np.log1p(-chance)))
        return total

    # What hides an object hides it from no survey, and not that another one stands in its place.
    missed = given & ~seen
    not_hidden = np.bincount(where[missed], np.log1p(-rates.chance[looked[missed]]), v)[:, None]
    plain = np.where(visits.seen[:, None], told(chance), visits.log_missed)
    glimpse = np.where(visits.seen[:, None], told(np.full((len(where), 1), GLIMPSE)), 0.0) + not_hidden
    screened = np.where(given[:, None], chance, SCREENED_RATE * chance)
    times = np.bincount(looks.visit[looks.seen], minlength=v)
    stray = np.log(STRAY) + np.log(STRAY_AGAIN) * (times - 1) - np.log(np.maximum(number, 1))
    says = visits.seen | visits.looked
    return _Evidence(
        np.where(says[:, None], np.logaddexp(np.log1p(-rates.hidden) + plain, np.log(rates.hidden) + glimpse), 0.0),
        np.where(says[:, None], told(screened), 0.0),
        np.where(visits.seen, stray, np.where(visits.looked, np.log1p(-STRAY), 0.0)),
    )


def _standing(visits: Visits, evidence: _Evidence, time: Array, k: int) -> Array:
    """``(v,)`` the probability that the object stood at each visit, by all visits (forward-backward algorithm).

    The states: it stands, it stands behind a screen, it does not stand.
    """
    begin = np.searchsorted(visits.thing, np.arange(k))
    number = np.bincount(visits.thing, minlength=k)
    longest_first = np.argsort(-number, kind="stable")
    begin, number = begin[longest_first], number[longest_first]
    absent = np.broadcast_to(evidence.absent[:, None], evidence.standing.shape)
    logs = np.stack([evidence.standing, evidence.screened, absent], axis=2)
    emits = np.exp(logs - logs.max(axis=(1, 2), keepdims=True))
    steps = _steps(np.diff(time, prepend=time[:1]) / YEAR_S)
    forward, backward = np.empty_like(emits), np.empty_like(emits)
    at_first = prior_shifts()[:, None] * np.array([0.5, 0.5 * SCREENED_A_YEAR, 0.5])
    now = np.broadcast_to(at_first, (k, *emits.shape[1:])).copy()
    for step in range(int(number.max())):
        going = number > step
        rows = begin[going] + step
        ahead = (now[going] @ steps[rows] if step else now[going]) * emits[rows]
        now[going] = ahead / ahead.sum(axis=(1, 2), keepdims=True)
        forward[rows] = now[going]
    now = np.ones((k, *emits.shape[1:]))
    for step in range(int(number.max()) - 1, -1, -1):
        going = number > step
        rows = begin[going] + step
        backward[rows] = now[going]
        behind = (now[going] * emits[rows]) @ steps[rows].transpose(0, 2, 1)
        now[going] = behind / behind.sum(axis=(1, 2), keepdims=True)
    both = forward * backward
    return np.asarray(1.0 - both[:, :, 2].sum(axis=1) / np.maximum(both.sum(axis=(1, 2)), 1e-300))


def _steps(years: Array) -> Array:
    """``(v, 3, 3)`` how likely each state is followed by each one so many years later."""
    goes = -np.expm1(-GOING_A_YEAR * np.maximum(years, 0.0))
    behind, open_again = -np.expm1(-SCREENED_A_YEAR * np.maximum(years, 0.0)), -np.expm1(-np.maximum(years, 0.0) / SCREEN_YEARS)
    comes = COMES_BACK * goes
    zero = np.zeros_like(years)
    return np.stack(
        [
            np.stack([(1 - goes) * (1 - behind), (1 - goes) * behind, goes], axis=1),
            np.stack([(1 - goes) * open_again, (1 - goes) * (1 - open_again), goes], axis=1),
            np.stack([comes, zero, 1 - comes], axis=1),
        ],
        axis=1,
    )


def _missed_between(visits: Visits, evidence: _Evidence, shown: NDArray[np.bool_], k: int) -> Array:
    """``(k * APPROACHES, z)`` what visits between two that showed the object say of the shifts of its sides."""
    weight = np.zeros((k * APPROACHES, evidence.standing.shape[1]))
    visit = np.arange(len(visits.thing))
    first, last = np.full(k, len(visit)), np.full(k, -1)
    np.minimum.at(first, visits.thing[shown], visit[shown])
    np.maximum.at(last, visits.thing[shown], visit[shown])
    inside = (visit > first[visits.thing]) & (visit < last[visits.thing]) & ~visits.seen & visits.looked
    np.add.at(weight, visits.side[inside], evidence.standing[inside])
    return weight


@dataclass
class _Object:
    """The visits of one object."""

    looks: Looks
    visits: Visits
    shown: NDArray[np.bool_]
    """(v,) the visits that show it for sure"""
    evidence: _Evidence
    photos: Photos
    chance: Array
    mine: NDArray[np.intp]
    own: Array
    """(APPROACHES, z) log weights of the shifts of its sides"""

    def life(self, ended_below: float) -> Life:
        shown = self.mine[self.shown[self.mine]]
        missed = self.mine[~self.shown[self.mine] & self.visits.looked[self.mine]]
        sightings = [self._sightings(visit) for visit in shown]
        first, last = sightings[0][0], sightings[-1][1]
        absences: list[tuple[int, int, int, int]] = []
        for number in np.unique(np.searchsorted(shown, missed)).tolist() if len(missed) else ():
            if 0 < number < len(shown):
                gap = missed[(missed > shown[number - 1]) & (missed < shown[number])]
                absence = self._absence(gap, sightings[number - 1][1], sightings[number][0], ended_below)
                if absence is not None:
                    absences.append(absence)
        before, after = missed[missed < shown[0]][::-1], missed[missed > shown[-1]]
        stood = self._stands(before, first, GONE_AT_ONCE)
        came = np.flatnonzero(stood < ended_below)
        at_once = GONE_AT_ONCE_ONCE_SEEN if first == last else GONE_AT_ONCE
        stands = self._stands(after, last, at_once)
        gone = np.flatnonzero(stands < ended_below)
        credible = [
            part[self.visits.seen[part]] for part, by in ((before, stood), (after, stands)) if len(by) and by.min() >= 0.5
        ]
        if any(len(part) for part in credible):
            # What is believed to stand after all, or to have stood before all, was seen by whoever saw it.
            self.shown[np.concatenate(credible)] = True
            return self.life(ended_below)
        # What looks after it is known to have gone say is no news.
        decided = after[: gone[0] + 1] if len(gone) else after
        probability = stands[len(decided) - 1] if len(decided) else 1.0 - at_once
        return Life(
            standing_probability=round(float(probability), PROBABILITY_DECIMALS),
            first_seen_at=first,
            last_seen_at=last,
            ended_at=self._looked(decided[-1])[0] if len(gone) else None,
            misses=tuple(photo for visit in decided for photo in self._misses(visit)),
            began_after=self._looked(before[came[0]])[-1] if len(came) else None,
            absences=tuple(absences),
        )

    def _sightings(self, visit: int) -> tuple[int, int]:
        """The first and the last photo of a visit that show it."""
        rows = slice(self.visits.begin[visit], self.visits.end[visit])
        photos = self.looks.photo[rows][self.looks.seen[rows]]
        return int(photos[0]), int(photos[-1])

    def _misses(self, visit: int) -> list[int]:
        """The photos of a visit that should have shown it and did not."""
        rows = slice(self.visits.begin[visit], self.visits.end[visit])
        found: list[int] = self.looks.photo[rows][(self.chance[rows] > 0) & ~self.looks.seen[rows]].tolist()
        return found

    def _looked(self, visit: int) -> tuple[int, int]:
        """The first and the last photo of a visit that missed it, or if none did, that should have shown it."""
        rows = slice(self.visits.begin[visit], self.visits.end[visit])
        looked = self._misses(visit) or self.looks.photo[rows][self.chance[rows] > 0].tolist()
        return looked[0], looked[-1]

    def _shows(self, missed: NDArray[np.intp], given: Array) -> Array:
        """``(m, APPROACHES, z)`` log of how likely each visit is ``given`` (v, z) over if the object does not stand, by side."""
        shows = np.zeros((len(missed), *self.own.shape))
        against = given[missed] - self.evidence.absent[missed, None]
        shows[np.arange(len(missed)), self.visits.side[missed] % APPROACHES] = against
        return shows

    def _mixed(self, log_shows: Array) -> Array:
        """``(...)`` the product over sides of the mean over shifts of ``(..., APPROACHES, z)``."""
        return np.asarray((np.exp(log_shows) * weights(self.own)).sum(axis=-1).prod(axis=-1))

    def _forget(self, visits: NDArray[np.intp]) -> None:
        """What visits at which it may not have stood said of the shifts."""
        plain = visits[~self.visits.seen[visits]]
        np.subtract.at(self.own, self.visits.side[plain] % APPROACHES, self.evidence.standing[plain])

    def _stands(self, missed: NDArray[np.intp], since: int, at_once: float) -> Array:
        """``(m,)`` the probability that what was seen in the photo ``since`` stood at each visit, by the visits up to it."""
        if not len(missed):
            return np.zeros(0)
        at = self.photos.time[[self._looked(visit)[0] for visit in missed]]
        years = np.abs(at - self.photos.time[since]) / YEAR_S
        # Of one that stands throughout: what the first none, the first one, the first two ... of the visits show.
        open_to_view = _sums(self._shows(missed, self.evidence.standing))
        screened = _sums(self._shows(missed, self.evidence.screened))
        shows = self._mixed(open_to_view)
        alive = np.append(1.0, (1.0 - at_once) * np.exp(-GOING_A_YEAR * years))
        gone = np.cumsum((alive[:-1] - alive[1:]) * shows[:-1])
        # Screened from one of the visits on: open to view before it.
        in_view = np.append(1.0, np.exp(-SCREENED_A_YEAR * years))
        n = len(missed)
        both = self._mixed(open_to_view[:-1, None] + screened[None, 1:] - screened[:-1, None])
        both *= np.arange(n)[:, None] <= np.arange(n)[None, :]
        hidden = ((in_view[:-1] - in_view[1:])[:, None] * both).sum(axis=0)
        standing = alive[1:] * (in_view[1:] * shows[1:] + hidden)
        return np.asarray(standing / (standing + gone))

    def _absence(self, gap: NDArray[np.intp], left: int, back: int, ended_below: float) -> tuple[int, int, int, int] | None:
        """Whether it was away in some of the visits of a gap between two that showed it, and between which photos."""
        n = len(gap)
        own = self.own.copy()
        self._forget(gap)
        begin, end = self.photos.time[left], self.photos.time[back]
        first = self.photos.time[[self._looked(visit)[0] for visit in gap]]
        last = self.photos.time[[self._looked(visit)[1] for visit in gap]]
        years = (first - begin) / YEAR_S
        # From visit i to visit j, and over between j and the next: anywhere in the rest of the gap alike.
        over = (np.append(first[1:], end) - last)[None, :] / np.maximum(end - first, 1.0)[:, None]
        over *= np.arange(n)[:, None] <= np.arange(n)[None, :]
        alive = np.append(1.0, (1.0 - GONE_AT_ONCE) * np.exp(-GOING_A_YEAR * years))
        in_view = np.append(1.0, np.exp(-SCREENED_A_YEAR * years))
        goes, hides = COMES_BACK * (alive[:-1] - alive[1:]), in_view[:-1] - in_view[1:]
        open_to_view = _sums(self._shows(gap, self.evidence.standing))
        screened = _sums(self._shows(gap, self.evidence.screened))
        outside = open_to_view[:-1, None] + open_to_view[-1] - open_to_view[None, 1:]
        away = goes[:, None] * over * self._mixed(outside)
        behind = hides[:, None] * over * self._mixed(outside + screened[None, 1:] - screened[:-1, None])
        stayed = (1.0 - goes.sum()) * ((1.0 - hides.sum()) * float(self._mixed(open_to_view[-1])) + behind.sum())
        total = away.sum() + stayed
        # At visit k it was away if it went at or before it and came back after.
        at = np.array([away[: k + 1, k:].sum() for k in range(n)]) / total
        sure = np.flatnonzero(at > 1.0 - ended_below)
        if not len(sure):
            self.own = own
            return None
        return left, self._looked(gap[sure[0]])[0], self._looked(gap[sure[-1]])[1], back


def _sums(shows: Array) -> Array:
    """``(m + 1, ...)`` of the first none, the first one, the first two ... of ``(m, ...)``."""
    return np.concatenate([np.zeros((1, *shows.shape[1:])), np.cumsum(shows, axis=0)])
