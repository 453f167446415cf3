"""What a checkpoint is worth on the held-out photos of GTSDB."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kryss.model import Detection
from kryss.training.evaluate import best_threshold, judge, mean_ap, precision_recall
from kryss.training.streets import Street
from kryss.vision.detect import Detector
from kryss.vision.networks import load_network
from kryss.vision.registry import Weights

LOWEST_SCORE = 0.05


def measure(entry: Weights, path: Path, streets: Sequence[Street]) -> dict[str, Any]:
    """AP50 by class, and precision and recall over all classes at the threshold with the best F1."""
    mine = dataclasses.replace(entry, file=str(path.resolve()), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    detector = Detector(mine, *load_network(mine, None, LOWEST_SCORE), LOWEST_SCORE)
    found: dict[str, Sequence[Detection]] = {}
    for image_id, outcome in detector.detect((str(street.id), street.body) for street in streets):
        found[image_id] = outcome if isinstance(outcome, list) else []
    results = judge(found, {str(street.id): street.boxes for street in streets})
    threshold = best_threshold(results)
    precision, recall = precision_recall(results, threshold)
    return {
        "photos": len(streets),
        "map50": round(mean_ap(results), 4),
        "threshold": threshold,
        "precision": round(precision, 4),
        "recall": round(recall, 4),
        "classes": {name: {"labelled": r.labelled, "ap50": round(r.average_precision, 4)} for name, r in results.items()},
    }
