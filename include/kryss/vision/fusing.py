"""Several boxes of one thing become one: greedy, soft (Bodla et al. 2017) or by weighted boxes fusion (Solovyev et al. 2021).

All of them are told apart by one overlap, see ``Suppression``; ties keep their order, so the same boxes give the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kryss.vision.boxes import Candidates, Overlap, coverage, iou, join
from kryss.vision.registry import Suppression

LOWEST_SCORE = 0.001
"""Below it soft suppression takes a box for gone."""


def merge(found: Candidates, how: Suppression, size: tuple[int, int]) -> Candidates:
    """What is left of boxes in a photo of a size (width, height), by falling score."""
    overlap = coverage if how.measure == "coverage" else iou
    methods: dict[str, Callable[[Candidates], Candidates]] = {
        "hard": lambda group: suppress(group, how.iou, len(group), overlap),
        "soft": lambda group: soften(group, how.sigma, overlap),
        "wbf": lambda group: fuse([group], [1.0], how.iou, size, True),
    }
    method = methods[how.method]
    if how.class_agnostic:
        merged = method(found)
    else:
        merged = join([method(found.take(found.classes == index)) for index in np.unique(found.classes)])
    return merged.take(np.argsort(-merged.scores, kind="stable"))


def suppress(found: Candidates, limit: float, most: int = 100, overlap: Overlap = iou) -> Candidates:
    """Greedy non-maximum suppression, whatever the classes: the best stays, what overlaps it by more than the limit goes."""
    order = np.argsort(-found.scores, kind="stable")
    kept: list[int] = []
    while len(order) and len(kept) < most:
        first, order = int(order[0]), order[1:]
        kept.append(first)
        order = order[overlap(found.boxes[first], found.boxes[order]) <= limit]
    return found.take(kept)


def soften(found: Candidates, sigma: float, overlap: Overlap = iou) -> Candidates:
    """Gaussian soft suppression: what overlaps a better box keeps exp(-overlap^2 / sigma) of its score."""
    scores, left, kept = found.scores.astype(np.float64).copy(), np.arange(len(found)), []
    while len(left):
        place = int(np.argmax(scores[left]))
        first = int(left[place])
        if scores[first] < LOWEST_SCORE:
            break
        kept.append(first)
        left = np.delete(left, place)
        scores[left] *= np.exp(-(overlap(found.boxes[first], found.boxes[left]) ** 2) / sigma)
    return Candidates(found.boxes[kept], scores[kept], found.classes[kept])


def fuse(
    groups: Sequence[Candidates], weights: Sequence[float], limit: float, size: tuple[int, int], agnostic: bool
) -> Candidates:
    """Weighted boxes fusion by ``ensemble-boxes``: each cluster's mean box by score. ``groups``: the finds of each model.

    The score is the mean over the models, so that what only one of several has found counts for less; of one model alone it is
    the best of the cluster. ``agnostic``: clusters of any classes; the class of the best of a cluster is its class.
    """
    from ensemble_boxes import weighted_boxes_fusion

    if not any(len(group) for group in groups):
        return join(list(groups))
    scale = np.array([size[0], size[1], size[0], size[1]], np.float64)
    boxes, scores, labels = weighted_boxes_fusion(
        [(np.clip(group.boxes / scale, 0, 1)).tolist() for group in groups],
        [group.scores.tolist() for group in groups],
        [(group.classes * (not agnostic)).tolist() for group in groups],
        weights=list(weights),
        iou_thr=limit,
        skip_box_thr=0.0,
        conf_type="avg" if len(groups) > 1 else "max",
    )
    classes = labels.astype(np.int64)
    if agnostic:
        every = join(list(groups))
        worth = every.scores * np.concatenate(
            [np.full(len(group), weight) for group, weight in zip(groups, weights, strict=True)]
        )
        near = [iou(box, every.boxes / scale) for box in boxes]
        classes = np.array([every.classes[np.argmax(np.where(n >= limit, worth, n * 1e-6))] for n in near], np.int64)
    return Candidates(boxes * scale, scores.astype(np.float64), classes)
