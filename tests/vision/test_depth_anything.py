"""Depth Anything V2 through transformers: the library's own network with random weights, from a folder, not from Hugging Face."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kryss.config import load_municipalities
from kryss.vision import registry
from kryss.vision.depth import DepthUnavailable, load_depth
from kryss.vision.registry import resolve, weights_dir

NAME = "depth-anything-v2-small-metric-outdoor"


def test_the_shipped_configuration_takes_it() -> None:
    for config in load_municipalities([Path(__file__).parents[2] / "include" / "municipalities.yaml"]).values():
        assert config.depth == NAME
    entry = resolve(NAME)
    assert (entry.licence, entry.family) == ("Apache-2.0", "transformers")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A tiny network of the published kind: DINOv2 and a DPT head for metres up to 80, and the processor of the release."""
    import torch
    import transformers

    torch.manual_seed(0)
    backbone = transformers.Dinov2Config(
        hidden_size=24, num_hidden_layers=4, num_attention_heads=3, image_size=56, patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, patch_size=14, reassemble_hidden_size=24, neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=8, head_hidden_size=8, depth_estimation_type="metric", max_depth=80,
    )  # fmt: skip
    folder = tmp_path / "published"
    model = transformers.DepthAnythingForDepthEstimation(config)
    torch.nn.init.normal_(model.head.conv3.weight, std=3.0)
    model.save_pretrained(folder)
    transformers.DPTImageProcessor(
        do_resize=True, size={"height": 140, "width": 140}, keep_aspect_ratio=True, ensure_multiple_of=14, resample=3,
        image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225],
    ).save_pretrained(folder)  # fmt: skip
    return folder


def test_it_says_metres_of_every_view_and_is_the_same_twice(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRYSS_WEIGHTS_DIR", str(published.parent / "weights"))
    registry.write_entry(replace(resolve(NAME), name="mine", architecture=str(published), options={"revision": "0123abc"}))
    assert (weights_dir() / "registered" / "mine@1.yaml").is_file()
    model = load_depth("mine")
    assert model is not None
    for width, height in ((320, 240), (200, 300)):
        pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
        found = model._estimate(pixels, None)
        assert found.limit_m == 80 and found.metres.dtype == np.float32
        assert 0 <= found.metres.min() < found.metres.max() <= 80
        assert found.metres.shape[1] / found.metres.shape[0] == pytest.approx(width / height, rel=0.1)
        assert np.array_equal(model._estimate(pixels, 0.9).metres, found.metres), "it is used without a focal length"


OFFLINE = f"""
from kryss.vision.depth import DepthUnavailable, load_depth
try:
    load_depth({NAME!r})
except DepthUnavailable as error:
    print(error)
"""


@pytest.mark.slow
def test_without_internet_it_says_so(tmp_path: Path) -> None:
    """A process of its own: the library reads where it fetches from when it is first loaded."""
    env = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", OFFLINE], env=env, capture_output=True, text=True, timeout=200)
    assert "is neither in the local Hugging Face cache nor can it be downloaded" in done.stdout, done.stderr[-2000:]


def test_a_folder_that_is_no_model_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRYSS_WEIGHTS_DIR", str(tmp_path / "weights"))
    (tmp_path / "empty").mkdir()
    registry.write_entry(replace(resolve(NAME), name="mine", architecture=str(tmp_path / "empty")))
    with pytest.raises(DepthUnavailable, match="neither in the local Hugging Face cache"):
        load_depth("mine")
