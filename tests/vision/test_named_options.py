"""An option that an entry names does something, or is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kryss.vision import registry
from kryss.vision.detect import detector_of
from kryss.vision.networks import effdet_config
from kryss.vision.registry import Inference, Preprocessing, Suppression, Tiling, Weights, resolve
from kryss.vision.tiles import views

HOW = Preprocessing("native", 200, 128)


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ({"scales": (1.0, 1.5)}, "scales"),
        ({"tile": Tiling(640)}, "tile"),
        ({"recogniser": False}, "recogniser"),
        ({"precision": "bf16", "backend": "openvino"}, "precision, backend"),
        ({"nms": Suppression("soft")}, "nms.method"),
        ({"nms": Suppression(measure="coverage", sigma=0.3)}, "nms.measure, nms.sigma"),
    ],
)
def test_what_only_members_of_an_ensemble_do_is_refused(
    option: dict[str, Any], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KRYSS_WEIGHTS_DIR", str(tmp_path))
    registry.write_entry(replace(resolve("kryss-street-lite0"), name="second", version="1"))
    both = Weights(
        "both", "1", "detect", "ensemble", "wbf", "none", "test",
        options={"members": ["kryss-street-lite0@2.1", "second@1"]}, inference=Inference(**option),
    )  # fmt: skip
    with pytest.raises(ValueError, match=f"both@1: {named} of an ensemble would do nothing"):
        detector_of(both, "cpu")


def test_a_setting_that_the_network_has_not_is_refused() -> None:
    assert effdet_config("tf_efficientdet_lite0", 2, {"anchor_scale": 2.5, "image_size": (256, 256)}).anchor_scale == 2.5
    with pytest.raises(ValueError, match=r"no option 'anchor_scal'; known: .*anchor_scale"):
        effdet_config("tf_efficientdet_lite0", 2, {"anchor_scal": 2.5})


def test_scales_that_the_largest_side_makes_one_are_looked_at_once() -> None:
    photo = np.zeros((150, 400, 3), np.uint8)
    sizes = [view.content for view in views(photo, HOW, Inference(scales=(1.0, 1.5, 0.25)))]
    assert sizes == [(200, 75), (100, 38)]
    small = [view.content for view in views(photo[:60, :100], HOW, Inference(scales=(1.0, 1.5)))]
    assert small == [(100, 60), (150, 90)], "where there is room both are"


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ({"task": "detection"}, "task 'detection': only detect, depth"),
        ({"vocabulary": "COCO"}, "vocabulary 'COCO': only mapillary, coco, finder"),
        ({"preprocessing": {"size": "native", "max_side": 512, "channels": "BGR"}}, "channels 'BGR': only rgb, bgr"),
        ({"inference": {"backend": "onnx"}}, "backend 'onnx': only torch, openvino"),
        ({"inference": {"nms": {"measure": "giou"}}}, "measure 'giou': only iou, coverage"),
        ({"inference": {"nms": {"method": "linear"}}}, "method 'linear': only hard, soft, wbf"),
        ({"inference": {"scales": []}}, "scales .*at least one, above 0"),
    ],
    ids=str,
)
def test_a_word_that_an_entry_cannot_say_is_refused(part: dict[str, Any], named: str) -> None:
    document = registry.entry_document(resolve("kryss-street-lite0")) | part
    with pytest.raises(ValueError, match=named):
        registry.entry_of(document, "mine.yaml")
