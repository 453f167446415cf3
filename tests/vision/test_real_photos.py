"""The detectors on real photos that are not in the repository."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kryss.training.evaluate import judge, mean_ap, precision_recall
from kryss.training.streets import lights, signs, split
from kryss.vision.boxes import iou
from kryss.vision.detect import load_detector
from kryss.vision.registry import resolve

SHARED = Path(__file__).parents[3] / "shared"
DAMASEN = SHARED / "data" / "area-damasen"
LIGHT = "object--traffic-light--general-upright"
pytestmark = [pytest.mark.real, pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared")]


def recall_of_large_lights(model: str, photos: int) -> float:
    """Share of labelled lights at least 40 px high that a model finds (IoU 0.3: the photos are stretched)."""
    detector = load_detector(model)
    streets = lights(SHARED / "data")[:photos]
    found = {street.id: detector.look(str(street.id), street.body) for street in streets}
    large = [(s.id, np.array(b[:4])) for s in streets for b in s.boxes if b[3] - b[1] >= 40]
    hit = 0
    for image, box in large:
        detections = found[image]
        assert isinstance(detections, list)
        boxes = np.array([d.box for d in detections if d.class_name == LIGHT]).reshape(-1, 4)
        hit += bool((iou(box, boxes) > 0.3).any())
    return hit / len(large)


@pytest.mark.parametrize("model", ["picodet_s_416", "picodet_s_320", "yolox_nano"])
def test_onnx_detectors_find_real_traffic_lights(model: str) -> None:
    assert recall_of_large_lights(model, 40) >= 0.6


def test_the_shipped_detector_finds_the_priority_road_sign_of_damasen() -> None:
    detector = load_detector("kryss-signs-lite0")
    by_eye = json.loads((DAMASEN / "boxes_by_eye.json").read_text())
    for image in ("180621110003212", "180621110003232"):
        [truth] = [b["box_ltrb"] for b in by_eye if b["image_id"] == image and b["label"] == "priority road"]
        detections = detector.look(image, (DAMASEN / "photos" / f"{image}.jpg").read_bytes(), (2692, 1032))
        assert isinstance(detections, list)
        right = [d.box for d in detections if d.class_name == "regulatory--priority-road--g1"]
        assert (iou(np.array(truth), np.array(right).reshape(-1, 4)) > 0.5).any(), image


@pytest.mark.slow
def test_the_shipped_detector_is_as_good_on_held_out_photos_as_its_card_says() -> None:
    entry = resolve("kryss-signs-lite0")
    detector = load_detector(entry.name, score_threshold=0.05)
    streets = split(signs(SHARED / "data"))[1]
    found = dict(detector.detect((str(street.id), street.body) for street in streets))
    results = judge(
        {image: outcome for image, outcome in found.items() if isinstance(outcome, list)},
        {str(street.id): street.boxes for street in streets},
    )
    precision, recall = precision_recall(results, entry.score_threshold)
    assert mean_ap(results) >= 0.90
    assert precision >= 0.85
    assert recall >= 0.90
