"""How good a detector is: average precision at IoU 0.5 (all-point, as PASCAL VOC since 2010), precision and recall.

A detection is right if it overlaps a labelled box of its class that no better one has taken. Classes that a data set does not
label are left out: finding them is not wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kryss.model import Detection
from kryss.training.streets import Labelled
from kryss.vision.boxes import iou

MATCH_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Judged:
    """One detection: its score, and whether it was right."""

    image_id: str
    detection: Detection
    right: bool


@dataclass(frozen=True, slots=True)
class ClassResult:
    """One class."""

    labelled: int
    average_precision: float
    judged: tuple[Judged, ...]

    def recall(self, threshold: float) -> float:
        return sum(j.right for j in self.judged if j.detection.score >= threshold) / max(self.labelled, 1)


def judge(found: Mapping[str, Sequence[Detection]], truth: Mapping[str, Sequence[Labelled]]) -> dict[str, ClassResult]:
    """Class to its result, for the classes that occur in ``truth``."""
    classes = sorted({box[4] for boxes in truth.values() for box in boxes})
    return {name: _one_class(name, found, truth) for name in classes}


def _one_class(name: str, found: Mapping[str, Sequence[Detection]], truth: Mapping[str, Sequence[Labelled]]) -> ClassResult:
    labelled = {image: np.array([b[:4] for b in boxes if b[4] == name], float).reshape(-1, 4) for image, boxes in truth.items()}
    free = {image: np.ones(len(boxes), bool) for image, boxes in labelled.items()}
    rows = sorted(
        ((image, d) for image in truth for d in found.get(image, ()) if d.class_name == name), key=lambda row: -row[1].score
    )
    judged = []
    for image, detection in rows:
        overlap = iou(np.array(detection.box), labelled[image]) * free[image]
        right = bool(len(overlap)) and float(overlap.max()) >= MATCH_IOU
        if right:
            free[image][overlap.argmax()] = False
        judged.append(Judged(image, detection, right))
    total = sum(len(boxes) for boxes in labelled.values())
    return ClassResult(total, average_precision([j.right for j in judged], total), tuple(judged))


def average_precision(right: Sequence[bool], labelled: int) -> float:
    """Area under the precision envelope; ``right`` by falling score."""
    if not labelled or not right:
        return 0.0
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[np.array(right, bool)].sum() / labelled)


def mean_ap(results: Mapping[str, ClassResult]) -> float:
    """Mean over the classes."""
    return float(np.mean([r.average_precision for r in results.values()])) if results else 0.0


def precision_recall(results: Mapping[str, ClassResult], threshold: float) -> tuple[float, float]:
    """Over all classes together, at a score."""
    kept = [j for r in results.values() for j in r.judged if j.detection.score >= threshold]
    right = sum(j.right for j in kept)
    return right / max(len(kept), 1), right / max(sum(r.labelled for r in results.values()), 1)


def best_threshold(results: Mapping[str, ClassResult], candidates: Iterable[float] = np.arange(0.1, 0.95, 0.05)) -> float:
    """Where F1 is largest."""

    def f1(threshold: float) -> float:
        precision, recall = precision_recall(results, threshold)
        return 2 * precision * recall / max(precision + recall, 1e-9)

    return round(float(max(candidates, key=f1)), 2)
