"""What surveys alone tell of the street: lists of signs and lights with their places, each of one day.

The history is a pure function of all surveys, sorted by day: the order in which they are loaded gives nothing but ids. Two
surveys are first laid on each other: what all their points have in common (another datum, another receiver) says nothing of the
street. Then each thing of the later one is matched with one known before, one to one, the nearest together, within a gate that
the surveys themselves set: they agree on most things, and how well is what the gate is made of. A complete survey that does
not list a thing of a class it covers has missed it: it came after, or went before.
"""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from shapely import Point
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from kryss.history.evidence import Beliefs
from kryss.history.identity import OBJECT_NAMESPACE
from kryss.history.surveys import boundary_around
from kryss.model import Absence, Lineage, Reason, StreetObject, Survey, SurveyedThing
from kryss.positioning.frame import Frame, frame_for, wrap_deg

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
Alike = Callable[[Indices, Indices], NDArray[np.bool_]]
"""Whether pairs (arrays of indices) may be one thing."""

METHOD = "survey"
MISSED = 0.02
"""Probability that a complete survey does not list a thing that stands."""
LARGEST_SHIFT_M = 10.0
FEWEST_TO_SHIFT = 8
SHARE_TO_SHIFT = 0.3
"""A shift is believed if so many things, and such a share of the shorter list, agree on it."""
FEWEST_TO_JUDGE = 20
GATE_SIGMAS = 4.0
AGREEING_SIGMAS = 6.0
"""Few things go and others come within metres of them; a badly measured one is more likely."""
SMALLEST_GATE_M = 1.0
RAYLEIGH_MEDIAN = 1.1774
"""Median distance of two-dimensional errors of one standard deviation: sqrt(2 ln 2)."""
RADIUS_95 = 2.4477
"""Radius that holds 95 % of them: sqrt(-2 ln 0.05)."""
SAME_FRONT_DEG = 60.0


Listing = tuple[int, int]
"""Index of a survey, index of a thing in it."""


def believe_surveys(
    surveys: Iterable[Survey],
    known: Sequence[StreetObject] = (),
    withdrawn: Sequence[StreetObject] = (),
    ever: Collection[str] = (),
    replaced: Collection[str] = (),
) -> Beliefs:
    """What is believed of the street, from all surveys.

    ``known``, ``withdrawn`` and ``ever`` give things their names, as in :class:`kryss.history.evidence.Before`. ``replaced``:
    ids of surveys whose rows are others than when that was believed; their rows name nothing, places do.
    """
    ordered = sorted(surveys, key=lambda survey: (survey.surveyed_at, survey.source))
    listed = _listed(ordered)
    lists = [_lists(survey) for survey in ordered]
    things = [_thing(ordered, lists, listings) for listings in listed]
    ids, lineage = _named(ordered, things, known, withdrawn, ever, replaced)
    objects = [replace(thing, id=object_id) for object_id, thing in zip(ids, things, strict=True)]
    objects.sort(key=lambda one: one.id)
    before = {one.id: one for one in known}
    reasons: dict[str, Reason] = {
        one.id: _reason(one, before.get(one.id), bool(known)) for one in objects if one != before.get(one.id)
    }
    return Beliefs(objects, lineage, reasons)


def _reason(now: StreetObject, before: StreetObject | None, loaded_before: bool) -> Reason:
    """The street changed where a thing is told to have come, gone or come back; else the evidence did."""
    if before is None:
        return "street" if loaded_before and now.began_after is not None else "evidence"
    changed = (before.ended_at is None) != (now.ended_at is None) or len(before.absences) != len(now.absences)
    return "street" if changed else "evidence"


def _listed(surveys: Sequence[Survey]) -> list[list[Listing]]:
    """By thing in the street, where it is listed, by day."""
    everything = [thing for survey in surveys for thing in survey.things]
    frame = frame_for([thing.lon for thing in everything], [thing.lat for thing in everything])
    listed: list[list[Listing]] = []
    place = np.zeros((0, 2))
    sigma = np.zeros(0)
    for number, survey in enumerate(surveys):
        xy = _xy(frame, survey.things)
        kinds, fronts = _traits(survey.things)
        known_kinds, known_fronts = _traits([surveys[s].things[t] for s, t in (listings[-1] for listings in listed)])
        own = np.full(len(xy), survey.accuracy_m)
        xy = xy - common_shift(place, known_kinds, xy, kinds, float(np.hypot(survey.accuracy_m, _typical(sigma))))
        allowed = _alike(known_kinds, known_fronts, kinds, fronts)
        pairs = matched(place, sigma, xy, own, allowed)
        for old, new in pairs.items():
            weight = sigma[old] ** 2 / (sigma[old] ** 2 + survey.accuracy_m**2)
            place[old] += weight * (xy[new] - place[old])
            listed[old].append((number, new))
        fresh = sorted(set(range(len(xy))) - set(pairs.values()))
        listed += [[(number, new)] for new in fresh]
        place, sigma = np.vstack([place, xy[fresh]]), np.concatenate([sigma, own[fresh]])
    return listed


Things = Sequence[SurveyedThing] | Sequence[StreetObject]


def _xy(frame: Frame, things: Things) -> Array:
    return frame.to_xy([thing.lon for thing in things], [thing.lat for thing in things]) if things else np.zeros((0, 2))


def _traits(things: Things) -> tuple[NDArray[np.object_], Array]:
    """Classes and fronts, NaN where unknown."""
    kinds = np.array([thing.class_name for thing in things], dtype=object)
    return kinds, np.array([np.nan if thing.facing_deg is None else thing.facing_deg for thing in things], dtype=float)


def _sigma(things: Sequence[StreetObject]) -> Array:
    return np.sqrt([thing.covariance[0] for thing in things])


def _typical(sigma: Array) -> float:
    return float(np.median(sigma)) if len(sigma) else 0.0


def _alike(kinds_a: NDArray[np.object_], fronts_a: Array, kinds_b: NDArray[np.object_], fronts_b: Array) -> Alike:
    """Of one class, and not known to face different ways."""

    def alike(a: Indices, b: Indices) -> NDArray[np.bool_]:
        turned = np.abs(wrap_deg(fronts_a[a] - fronts_b[b]))
        return np.asarray((kinds_a[a] == kinds_b[b]) & ~(turned > SAME_FRONT_DEG), dtype=bool)

    return alike


def common_shift(
    before: Array, kinds_before: NDArray[np.object_], after: Array, kinds_after: NDArray[np.object_], sigma_m: float
) -> Array:
    """``(2,)`` metres by which the later places ``(m, 2)`` lie off the earlier ones ``(n, 2)``, all together.

    The densest place among the differences of all pairs that could be one thing: wrong pairs differ in all directions, right
    ones by the shift. Zero where too few agree. ``sigma_m``: of one difference.
    """
    nothing = np.zeros(2)
    if not len(before) or not len(after):
        return nothing
    near = cKDTree(before).query_ball_tree(cKDTree(after), LARGEST_SHIFT_M)
    pairs = np.array([(a, b) for a, those in enumerate(near) for b in those if kinds_before[a] == kinds_after[b]])
    if len(pairs) < FEWEST_TO_SHIFT:
        return nothing
    apart = after[pairs[:, 1]] - before[pairs[:, 0]]
    tree = cKDTree(apart)
    agreeing = np.array(tree.query_ball_point(apart, sigma_m, return_length=True))
    best = np.lexsort((apart[:, 1], apart[:, 0], np.hypot(*apart.T), -agreeing))[0]
    shift = apart[best]
    for _ in range(5):
        close = np.hypot(*(apart - shift).T) <= 2.0 * sigma_m
        shift = apart[close].mean(axis=0)
    agreed = len(np.unique(pairs[np.hypot(*(apart - shift).T) <= 2.0 * sigma_m, 1]))
    return shift if agreed >= max(FEWEST_TO_SHIFT, SHARE_TO_SHIFT * min(len(before), len(after))) else nothing


def matched(before: Array, sigma_before: Array, after: Array, sigma_after: Array, alike: Alike) -> dict[int, int]:
    """Index of the earlier place ``(n, 2)`` -> index of the later one ``(m, 2)``: one to one, the smallest sum of squares.

    The gate is how well the places agree, as far as the stated errors allow. Then what is left of both is matched within the
    stated errors alone: that one thing was badly measured, or moved a little, is likelier than that it went and another came.
    """
    if not len(before) or not len(after):
        return {}
    stated = GATE_SIGMAS * np.hypot(sigma_before.max(), sigma_after.max())
    found = cKDTree(before).sparse_distance_matrix(cKDTree(after), stated, output_type="ndarray")
    a, b, apart = found["i"].astype(np.intp), found["j"].astype(np.intp), found["v"]
    gate = GATE_SIGMAS * np.hypot(sigma_before[a], sigma_after[b])
    fits = alike(a, b) & (apart <= gate)
    a, b, apart, gate = a[fits], b[fits], apart[fits], gate[fits]
    pairs: dict[int, int] = {}
    for within in (np.minimum(gate, _agreement_m(a, b, apart)), gate):
        left = (apart <= within) & ~np.isin(a, list(pairs)) & ~np.isin(b, list(pairs.values()))
        pairs |= _one_to_one(a[left], b[left], apart[left] / within[left])
    return dict(sorted(pairs.items()))


def _one_to_one(a: Indices, b: Indices, apart: Array) -> dict[int, int]:
    """The pairs with the smallest sum of squares of ``apart``; whoever stays alone costs as much as a pair that is 1 apart."""
    count_a, count_b = (int(of.max(initial=-1)) + 1 for of in (a, b))
    nodes = count_a + count_b
    _, part = connected_components(coo_array((np.ones(len(a)), (a, count_a + b)), shape=(nodes, nodes)), directed=False)
    pairs: dict[int, int] = {}
    of_part: dict[int, list[int]] = defaultdict(list)
    for row, number in enumerate(part[a].tolist()):
        of_part[number].append(row)
    for rows in of_part.values():
        olds, news = np.unique(a[rows]), np.unique(b[rows])
        cost = np.zeros((len(olds), len(news) + len(olds)))
        cost[:, : len(news)] = 1.0
        cost[np.searchsorted(olds, a[rows]), np.searchsorted(news, b[rows])] = apart[rows] ** 2 - 1.0
        for i, j in zip(*linear_sum_assignment(cost), strict=True):
            if j < len(news) and cost[i, j] <= 0.0:
                pairs[int(olds[i])] = int(news[j])
    return pairs


def _agreement_m(a: Indices, b: Indices, apart: Array) -> float:
    """How far apart one thing may be in both, by the things that are each other's nearest; infinite where they are too few."""
    order = np.lexsort((b, a, apart))
    first_of_a = {int(x): row for row, x in reversed([(row, a[row]) for row in order])}
    first_of_b = {int(x): row for row, x in reversed([(row, b[row]) for row in order])}
    mutual = [row for row in first_of_a.values() if first_of_b[int(b[row])] == row]
    if len(mutual) < FEWEST_TO_JUDGE:
        return float("inf")
    return max(SMALLEST_GATE_M, AGREEING_SIGMAS * float(np.median(apart[mutual])) / RAYLEIGH_MEDIAN)


def _lists(survey: Survey) -> dict[str, BaseGeometry]:
    """Where it lists everything, by class: around all that it lists; nowhere if it is partial."""
    if not survey.complete or not survey.things:
        return {}
    area = shape(boundary_around([survey]))
    return dict.fromkeys({thing.class_name for thing in survey.things}, area)


def _thing(surveys: Sequence[Survey], lists: Sequence[Mapping[str, BaseGeometry]], listings: Sequence[Listing]) -> StreetObject:
    """What is believed of a thing; its id is empty."""
    rows = [surveys[s].things[t] for s, t in listings]
    weights = np.array([surveys[s].accuracy_m ** -2 for s, _ in listings])
    lon, lat = (float(np.average([getattr(row, axis) for row in rows], weights=weights)) for axis in ("lon", "lat"))
    variance = round(1.0 / float(weights.sum()), 6)
    seen = {surveys[s].surveyed_at for s, _ in listings}
    place, kind = Point(lon, lat), rows[0].class_name
    covering = [survey for survey, listed in zip(surveys, lists, strict=True) if kind in listed and listed[kind].covers(place)]
    missed = sorted({survey.surveyed_at for survey in covering} - seen)
    first, last = min(seen), max(seen)
    later = [day for day in missed if day > last]
    alive = MISSED ** len(later) / (1.0 + MISSED ** len(later)) if later else 1.0 - MISSED
    return StreetObject(
        id="",
        class_name=rows[0].class_name,
        lon=round(lon, 8),
        lat=round(lat, 8),
        covariance=(variance, 0.0, variance),
        error_radius_m=round(RADIUS_95 * variance**0.5, 3),
        first_seen_at=first,
        last_seen_at=last,
        status="ended" if later else "standing",
        standing_probability=round(alive, 6),
        ended_at=later[0] if later else None,
        evidence=tuple(sorted((surveys[s].id, surveys[s].things[t].line) for s, t in listings)),
        misses=tuple(survey.id for survey in covering if survey.surveyed_at in later),
        facing_deg=next((row.facing_deg for row in reversed(rows) if row.facing_deg is not None), None),
        method=METHOD,
        began_after=max((day for day in missed if day < first), default=None),
        absences=_absences(sorted(seen), missed),
    )


def _absences(seen: Sequence[datetime], missed: Sequence[datetime]) -> tuple[Absence, ...]:
    found = []
    for before, after in pairwise(seen):
        between = [day for day in missed if before < day < after]
        if between:
            found.append(Absence(before, between[0], between[-1], after))
    return tuple(found)


def _named(
    surveys: Sequence[Survey],
    things: Sequence[StreetObject],
    known: Sequence[StreetObject],
    withdrawn: Sequence[StreetObject],
    ever: Collection[str],
    replaced: Collection[str],
) -> tuple[list[str], list[Lineage]]:
    """Ids of the things, and what became of known ids that no thing keeps: by common rows, then by place, else new."""
    holder = {listing: index for index, thing in enumerate(things) for listing in thing.evidence}
    ids: dict[int, str] = {}
    now = {one.id for one in known}
    candidates = sorted(known, key=lambda one: one.id) + sorted(
        (one for one in withdrawn if one.id not in now), key=lambda one: one.id
    )
    shares = {
        one.id: Counter(holder[key] for key in one.evidence if key in holder and key[0] not in replaced) for one in candidates
    }
    claims = sorted(
        (one.id not in now, -n, one.first_seen_at, one.id, index) for one in candidates for index, n in shares[one.id].items()
    )
    taken: set[str] = set()
    for *_, object_id, index in claims:
        if index not in ids and object_id not in taken:
            ids[index] = object_id
            taken.add(object_id)
    unnamed = [index for index in range(len(things)) if index not in ids]
    free = [one for one in candidates if one.id not in taken and not shares[one.id]]
    for index, object_id in _by_place(things, unnamed, free).items():
        ids[index] = object_id
        taken.add(object_id)
    used = {one.id for one in candidates} | set(ever)
    for index in unnamed:
        if index not in ids:
            ids[index] = _new_id(things[index], used)
            used.add(ids[index])
    lineage = []
    for one in sorted(known, key=lambda one: one.id):
        for index in sorted(shares[one.id]):
            if one.id in taken and ids[index] != one.id and ids[index] not in now:
                lineage.append(Lineage(ids[index], "split_from", one.id))
        if one.id not in taken:
            heir = max(shares[one.id], key=lambda index: (shares[one.id][index], -index), default=None)
            relation = Lineage(one.id, "lost_evidence") if heir is None else Lineage(one.id, "merged_into", ids[heir])
            lineage.append(relation)
    return [ids[index] for index in range(len(things))], lineage


def _by_place(things: Sequence[StreetObject], unnamed: Sequence[int], free: Sequence[StreetObject]) -> dict[int, str]:
    if not unnamed or not free:
        return {}
    here = [things[index] for index in unnamed]
    frame = frame_for([one.lon for one in here], [one.lat for one in here])
    pairs = matched(_xy(frame, free), _sigma(free), _xy(frame, here), _sigma(here), _alike(*_traits(free), *_traits(here)))
    return {unnamed[new]: free[old].id for old, new in pairs.items()}


def _new_id(thing: StreetObject, used: Collection[str]) -> str:
    """From the class and the first row that lists it, and never one that was given to another thing."""
    survey, row = min(thing.evidence)
    name = f"{thing.class_name}|{survey}|{row}"
    object_id, again = str(uuid.uuid5(OBJECT_NAMESPACE, name)), 1
    while object_id in used:
        again += 1
        object_id = str(uuid.uuid5(OBJECT_NAMESPACE, f"{name}|{again}"))
    return object_id
