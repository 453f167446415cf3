"""What turns a trained network into a detector that can be used: scores that mean a share, and a threshold for every class.

Both are chosen on photos that were not trained on, and stored with the model (``calibration`` and ``thresholds`` of its entry).
A validation set has few labels of most classes, often none. A threshold chosen on three labels is noise, so every class is given
``PRIOR_LABELS`` labels' worth of what all classes together show: its counts of right and wrong detections above a score are added
to the overall ones scaled to that many labels, and the threshold is where F1 of the sum is largest. A class with hundreds of
labels thus gets its own threshold, one with none the overall one, moved up where it was found wrongly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from kryss.model import Detection
from kryss.training.categories import GROUPS, group_of
from kryss.training.evaluate import Judged
from kryss.training.truth import Truth
from kryss.vision.registry import Calibration, Weights
from kryss.vision.taxonomy import detected

PRIOR_LABELS = 60.0
CANDIDATES = np.round(np.arange(0.10, 0.951, 0.01), 2)
"""Thresholds that are tried."""
KNOTS = 8
SMOOTHING = 2.0
"""Detections at the middle of a knot's score that are added to it, right as often as their score says: a bin of ten detections
that are all right does not mean certainty.
"""


def calibrate(matched: Sequence[Judged]) -> Calibration | None:
    """Score to share of right ones: bins of equally many detections, smoothed, made monotone (isotonic regression, Zadrozny and
    Elkan 2002), straight lines between their means. None where there is too little to say.
    """
    counted = sorted((one.score, float(one.right)) for one in matched if not one.is_ignored)
    if len(counted) < 10 * KNOTS or len({right for _, right in counted}) < 2:
        return None
    scores, right = np.array(counted).T
    # Right ones are spread over few scores and wrong ones over others: bins of equal parts of both resolve both.
    weight = np.where(right > 0, 0.5 / right.sum(), 0.5 / (1 - right).sum())
    bins = np.minimum((np.cumsum(weight) * KNOTS).astype(int), KNOTS - 1)
    kept = [bins == index for index in range(KNOTS) if (bins == index).any()]
    middles = np.array([scores[inside].mean() for inside in kept])
    sums = np.array([right[inside].sum() + SMOOTHING * middle for inside, middle in zip(kept, middles, strict=True)])
    numbers = np.array([inside.sum() + SMOOTHING for inside in kept])
    shares = isotonic_regression(sums / numbers, weights=numbers).x
    knots = [(0.0, 0.0)]
    for middle, share in zip(middles, shares, strict=True):
        knot = (round(float(middle), 4), round(float(np.clip(share, knots[-1][1], 1.0)), 4))
        if knots[-1][0] < knot[0] < 1.0:
            knots.append(knot)
    knots.append((1.0, max(knots[-1][1], min(1.0, round(0.5 + knots[-1][1] / 2, 4)))))
    return Calibration(tuple(knots))


def calibrated(matched: Sequence[Judged], curve: Calibration) -> list[Judged]:
    """The same detections with the scores that the curve gives them."""
    at, shares = np.array(curve.knots).T
    return [replace(one, score=float(np.interp(one.score, at, shares))) for one in matched]


def thresholds(matched: Sequence[Judged], labels: Counter[str]) -> tuple[float, dict[str, float]]:
    """The threshold of all classes, and those of classes that differ from it by 0.02 or more. ``labels``: class to labels."""
    counted = [one for one in matched if not one.is_ignored]
    total = sum(labels.values())
    if not total:
        raise ValueError("no labels to choose thresholds on")
    right, wrong = _above([o.score for o in counted if o.right]), _above([o.score for o in counted if not o.right])
    overall = _best(right, wrong, total)
    scale = PRIOR_LABELS / total
    own: dict[str, float] = {}
    for name in sorted({one.name for one in counted} | set(labels)):
        mine = [one for one in counted if one.name == name]
        own_right = _above([one.score for one in mine if one.right]) + scale * right
        own_wrong = _above([one.score for one in mine if not one.right]) + scale * wrong
        value = _best(own_right, own_wrong, labels[name] + PRIOR_LABELS)
        own |= dict.fromkeys([one for one in detected() if group_of(one) == name] if name in GROUPS else [name], value)
    return overall, {name: value for name, value in own.items() if abs(value - overall) >= 0.02}


def labels_of(truths: Iterable[Truth]) -> Counter[str]:
    """Class or group to the number of its labels."""
    return Counter(box.class_name for truth in truths for photo in truth.photos for box in photo.boxes if not box.ignored)


def choose(entry: Weights, matched: Sequence[Judged], labels: Counter[str]) -> Weights:
    """The entry with calibration and thresholds. ``matched``: detections of the entry without calibration, from a low score."""
    if entry.calibration is not None:
        raise ValueError(f"{entry.name}: its scores are calibrated already; look with calibration=None first")
    curve = calibrate(matched)
    overall, own = thresholds(calibrated(matched, curve) if curve else matched, labels)
    return replace(entry, calibration=curve, score_threshold=overall, thresholds=own)


def calibrated_finds(found: Mapping[str, Sequence[Detection]], curve: Calibration | None) -> dict[str, Sequence[Detection]]:
    """Detections of photos with the scores that a calibration gives them."""
    if curve is None:
        return dict(found)
    at, shares = zip(*curve.knots, strict=True)
    return {
        key: [replace(one, score=round(float(np.interp(one.score, at, shares)), 4)) for one in detections]
        for key, detections in found.items()
    }


def as_document(entry: Weights) -> dict[str, Any]:
    """What was chosen, as it stands in an entry."""
    document: dict[str, Any] = {"score_threshold": entry.score_threshold, "thresholds": dict(sorted(entry.thresholds.items()))}
    if entry.calibration:
        document["calibration"] = {"knots": [list(knot) for knot in entry.calibration.knots]}
    return document


def _above(scores: Sequence[float]) -> np.ndarray:
    """(candidates,): how many scores each candidate keeps."""
    ordered = np.sort(np.asarray(scores, float))
    kept: np.ndarray = len(ordered) - np.searchsorted(ordered, CANDIDATES, side="left")
    return kept.astype(float)


def _best(right: np.ndarray, wrong: np.ndarray, labelled: float) -> float:
    """Where F1 is largest; of equals the middle one, which is furthest from both sides."""
    f1 = 2 * right / (right + wrong + labelled)
    best = np.flatnonzero(f1 >= f1.max() - 1e-9)
    return float(CANDIDATES[best[len(best) // 2]])
