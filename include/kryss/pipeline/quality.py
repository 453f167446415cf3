"""How much of a release is right, from the verdicts of people: precision by class and over all, with 95 % confidence intervals.

By class: the interval of Wilson (1927), as ``scipy.stats.binomtest`` computes it. Over all: classes are strata of known size
(the counts of the release), of which some objects were drawn at random, so precision is the sum of (share of the class) x
(precision of the class), and its interval is Wilson's for the effective number of verdicts: that of a simple sample which
would be as sure (Korn and Graubard 1998; Franco, Little, Louis and Slud, "Comparative study of confidence intervals for
proportions in complex sample surveys", Journal of Survey Statistics and Methodology 7, 2019).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from kryss.store.verdicts import Judgement

CONFIDENCE = 0.95
PRIOR = 2.0
"""Chosen by simulation: with it the interval over all holds the truth in 92 to 97 % of samples, also of many small classes."""


def wilson(right: int, judged: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's interval of a proportion; ``judged`` > 0."""
    from scipy.stats import binomtest

    interval = binomtest(right, judged).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def stratified_wilson(strata: Sequence[tuple[int, int, float]], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval of a weighted sum of proportions. ``strata``: (right, judged > 0, weight); the weights sum to 1.

    Of one stratum it is Wilson's. For the variances alone, each stratum is taken as if it had `PRIOR` more verdicts like those
    of all: three right of three do not mean that nothing is wrong in a class.
    """
    from scipy.stats import norm

    z = float(norm.ppf(1 - (1 - confidence) / 2))
    value = min(sum(weight * right / judged for right, judged, weight in strata), 1.0)
    rights, total = sum(right for right, _, _ in strata), sum(judged for _, judged, _ in strata)
    of_all = (rights + z * z / 2) / (total + z * z)
    smooth = [((right + PRIOR * of_all) / (judged + PRIOR), judged, weight) for right, judged, weight in strata]
    middle = sum(weight * p for p, _, weight in smooth)
    effective = middle * (1 - middle) / sum(weight**2 * p * (1 - p) / judged for p, judged, weight in smooth)
    centre = (value + z * z / (2 * effective)) / (1 + z * z / effective)
    half = z * math.sqrt(value * (1 - value) / effective + (z / (2 * effective)) ** 2) / (1 + z * z / effective)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def precision(
    judgements: Iterable[Judgement], population: Mapping[str, int], waiting: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """The state of the quality check of a release.

    An object that several people judged counts once, by what most of them said of right and wrong; where they are even it is
    ``disputed`` and, like ``unsure``, in no precision. ``population``: objects of the release by class.
    ``covered``: share of the objects whose class has a verdict, to which the precision over all refers. ``waiting``: objects of
    the sample, by class, that changed or came since it was judged: an interval reaches from where all of them are wrong to where
    all are right, as those that did not change say nothing of them.
    """
    by_object: dict[tuple[str, str], list[Judgement]] = defaultdict(list)
    for one in judgements:
        by_object[one.class_name, one.object_id].append(one)
    outcomes = {key: _outcome(found) for key, found in by_object.items()}
    counted: dict[str, Counter[str]] = {name: Counter() for name in population}
    for (class_name, _), outcome in outcomes.items():
        counted.setdefault(class_name, Counter())[outcome] += 1
    classes = []
    for name in sorted(counted):
        counts = counted[name]
        decided = counts["right"] + counts["wrong"]
        line: dict[str, Any] = {"class": name, "objects": population.get(name, 0), "judged": sum(counts.values())}
        line |= {outcome: counts[outcome] for outcome in ("right", "wrong", "unsure", "disputed")}
        line["waiting"] = (waiting or {}).get(name, 0)
        line |= _estimate(counts["right"] / decided, _class_interval(line)) if decided else _estimate(None, None)
        classes.append(line)
    return {
        "confidence": CONFIDENCE,
        "classes": classes,
        "overall": _overall(classes, sum(population.values())),
        "judges": _judges(by_object),
        "agreement": _agreement(by_object),
    }


def _estimate(value: float | None, interval: tuple[float, float] | None) -> dict[str, float | None]:
    low, high = interval or (None, None)
    rounded = {"precision": value, "low": low, "high": high}
    return {name: None if number is None else round(number, 4) for name, number in rounded.items()}


def _class_interval(line: Mapping[str, Any]) -> tuple[float, float]:
    judged = line["right"] + line["wrong"] + line["waiting"]
    return wilson(line["right"], judged)[0], wilson(line["right"] + line["waiting"], judged)[1]


def _outcome(found: Sequence[Judgement]) -> str:
    said = Counter(one.verdict for one in found)
    if said["right"] == said["wrong"]:
        return "disputed" if said["right"] else "unsure"
    return "right" if said["right"] > said["wrong"] else "wrong"


def _overall(classes: Sequence[Mapping[str, Any]], objects: int) -> dict[str, Any]:
    known = [line for line in classes if line["right"] + line["wrong"] and line["objects"]]
    covered = sum(line["objects"] for line in known)
    total = {name: sum(line[name] for line in classes) for name in ("judged", "right", "wrong", "unsure", "disputed", "waiting")}
    if not covered:
        return {"objects": objects, **total, "covered": 0.0, **_estimate(None, None)}
    weights = [line["objects"] / covered for line in known]
    value = min(
        sum(weight * line["right"] / (line["right"] + line["wrong"]) for line, weight in zip(known, weights, strict=True)), 1.0
    )
    low, high = (
        stratified_wilson(
            [
                (line["right"] + good * line["waiting"], line["right"] + line["wrong"] + line["waiting"], weight)
                for line, weight in zip(known, weights, strict=True)
            ]
        )[good]
        for good in (0, 1)
    )
    return {"objects": objects, **total, "covered": round(covered / objects, 4), **_estimate(value, (low, high))}


def _judges(by_object: Mapping[tuple[str, str], Sequence[Judgement]]) -> dict[str, int]:
    counts = Counter(one.judged_by for found in by_object.values() for one in found)
    return dict(sorted(counts.items()))


def _agreement(by_object: Mapping[tuple[str, str], Sequence[Judgement]]) -> dict[str, Any]:
    """How judges who said right or wrong of the same objects agree, pair by pair; ``kappa`` is Scott's pi (1955): 1 where they
    always agree, 0 where they agree as often as chance would; null where there is no pair, or nothing but one verdict."""
    pairs = agreeing = 0
    said: Counter[str] = Counter()
    differing = []
    for (_, object_id), found in sorted(by_object.items(), key=lambda item: item[0][1]):
        sure = [one.verdict for one in found if one.verdict != "unsure"]
        for first, second in combinations(sure, 2):
            pairs += 1
            agreeing += first == second
            said.update((first, second))
        if len(set(sure)) > 1:
            differing.append(object_id)
    share = agreeing / pairs if pairs else None
    chance = sum((number / said.total()) ** 2 for number in said.values()) if pairs else 1.0
    kappa = (share - chance) / (1 - chance) if share is not None and chance < 1 else None
    return {
        "pairs": pairs,
        "agreeing": agreeing,
        "share": None if share is None else round(share, 4),
        "kappa": None if kappa is None else round(kappa, 4),
        "differing": differing,
    }
