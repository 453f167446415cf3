"""How much of a release is right, from the verdicts of people: precision by class and over all, with 95 % confidence intervals.

By class: the interval of Wilson (1927), as ``scipy.stats.binomtest`` computes it. Over all: classes are strata of known size
(the counts of the release), of which some objects were drawn at random, so precision is the sum of (share of the class) x
(precision of the class), and its interval the stratified Wilson interval of Yan and Su ("Stratified Wilson and Newcombe
confidence intervals for multiple binomial proportions", Statistics in Biopharmaceutical Research 2, 2010).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from kryss.store.verdicts import Judgement

CONFIDENCE = 0.95


def wilson(right: int, judged: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's interval of a proportion; ``judged`` > 0."""
    from scipy.stats import binomtest

    interval = binomtest(right, judged).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def stratified_wilson(strata: Sequence[tuple[int, int, float]], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Yan and Su's interval of a weighted sum of proportions. ``strata``: (right, judged > 0, weight); the weights sum to 1.

    Each stratum gets a Wilson interval so much narrower that their weighted sum has the confidence asked for. Of one stratum it
    is Wilson's interval.
    """
    from scipy.stats import norm

    z = float(norm.ppf(1 - (1 - confidence) / 2))
    parts = []
    for right, judged, weight in strata:
        p = right / judged
        # Half of Wilson's interval over z: a standard error that is not 0 where all verdicts are the same.
        sigma = math.sqrt(p * (1 - p) / judged + z * z / (4 * judged * judged)) / (1 + z * z / judged)
        parts.append((p, judged, weight, sigma))
    # Strata err independently: their errors add as squares, the ends of their intervals as they are.
    inner = z * math.sqrt(sum((w * s) ** 2 for _, _, w, s in parts)) / sum(w * s for _, _, w, s in parts)
    low = high = 0.0
    for p, judged, weight, _ in parts:
        middle = (p + inner**2 / (2 * judged)) / (1 + inner**2 / judged)
        half = inner * math.sqrt(p * (1 - p) / judged + inner**2 / (4 * judged**2)) / (1 + inner**2 / judged)
        low += weight * (middle - half)
        high += weight * (middle + half)
    return max(low, 0.0), min(high, 1.0)


def precision(judgements: Iterable[Judgement], population: Mapping[str, int]) -> dict[str, Any]:
    """The state of the quality check of a release.

    An object that several people judged counts once, by what most of them said of right and wrong; where they are even it is
    ``disputed`` and, like ``unsure``, in no precision. ``population``: objects of the release by class.
    ``covered``: share of the objects whose class has a verdict, to which the precision over all refers.
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
        line |= _estimate(counts["right"] / decided, wilson(counts["right"], decided)) if decided else _estimate(None, None)
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


def _outcome(found: Sequence[Judgement]) -> str:
    said = Counter(one.verdict for one in found)
    if said["right"] == said["wrong"]:
        return "disputed" if said["right"] else "unsure"
    return "right" if said["right"] > said["wrong"] else "wrong"


def _overall(classes: Sequence[Mapping[str, Any]], objects: int) -> dict[str, Any]:
    known = [line for line in classes if line["right"] + line["wrong"] and line["objects"]]
    covered = sum(line["objects"] for line in known)
    total = {name: sum(line[name] for line in classes) for name in ("judged", "right", "wrong", "unsure", "disputed")}
    if not covered:
        return {"objects": objects, **total, "covered": 0.0, **_estimate(None, None)}
    strata = [(line["right"], line["right"] + line["wrong"], line["objects"] / covered) for line in known]
    value = sum(weight * right / judged for right, judged, weight in strata)
    return {"objects": objects, **total, "covered": round(covered / objects, 4), **_estimate(value, stratified_wilson(strata))}


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
