"""The detectors on real photos that are not in the repository."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kryss.model import Detection
from kryss.training.categories import read_classes
from kryss.training.evaluate import LOWEST_SCORE, look, score
from kryss.training.truth import read_truth
from kryss.vision.boxes import iou
from kryss.vision.detect import load_detector
from kryss.vision.registry import resolve

SHARED = Path(__file__).parents[3] / "shared"
DAMASEN = SHARED / "data" / "area-damasen"
SHIPPED = "kryss-street-lite0"
CLASS_OF = {
    "speed limit 50": "regulatory--maximum-speed-limit-50--g1",
    "priority road": "regulatory--priority-road--g1",
    "E134 route marker": "information--general-directions--g1",
}
pytestmark = [pytest.mark.real, pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared")]


@pytest.mark.parametrize("model", ["picodet_s_416", "picodet_s_320", "yolox_nano"])
def test_onnx_detectors_find_real_traffic_lights(model: str) -> None:
    """Recall of lights at least 48 px high, where IoU 0.5 is not asked too much of."""
    data = SHARED / "data" / "traffic-lights-100"
    truth = read_truth(data / "annotations.json", data / "images", read_classes(["traffic-light"])).first(40)
    result = score(truth, look(load_detector(model), truth), 0.0)
    bins = [result["heights_px"][name] for name in ("48-96", "96-")]
    assert sum(row["recall"] * row["boxes"] for row in bins) / sum(row["boxes"] for row in bins) >= 0.6


def test_the_shipped_detector_finds_every_sign_of_the_annotated_photos_of_damasen() -> None:
    detector = load_detector(SHIPPED)
    by_eye = json.loads((DAMASEN / "boxes_by_eye.json").read_text())
    for image in sorted({row["image_id"] for row in by_eye}):
        found = detector.look(image, (DAMASEN / "photos" / f"{image}.jpg").read_bytes(), (2692, 1032))
        assert isinstance(found, list)
        for row in by_eye:
            if row["image_id"] == image:
                overlaps = iou(np.array(row["box_ltrb"], float), _boxes(found, CLASS_OF[row["label"]]))
                assert (overlaps > 0.5).any(), (image, row["label"], [(d.class_name, d.score, d.box) for d in found])


@pytest.mark.slow
@pytest.mark.parametrize(("data_set", "map50", "map50_95"), [("gtsdb-train600", 0.95, 0.75), ("traffic-lights-100", 0.80, 0.4)])
def test_the_shipped_detector_is_as_good_on_held_out_photos_as_its_card_says(
    data_set: str, map50: float, map50_95: float
) -> None:
    entry = resolve(SHIPPED)
    data = SHARED / "data" / data_set
    truth = read_truth(data / "annotations.json", data / "images").held_out()
    looked = look(load_detector(SHIPPED, score_threshold=LOWEST_SCORE), truth)
    result = score(truth, looked, entry.score_threshold, entry.thresholds)
    assert result["map50"] >= map50
    assert result["map50_95"] >= map50_95
    assert result["operating"]["precision"] >= 0.85
    assert result["operating"]["recall"] >= 0.75


def _boxes(found: list[Detection], class_name: str) -> np.ndarray:
    return np.array([one.box for one in found if one.class_name == class_name], float).reshape(-1, 4)
