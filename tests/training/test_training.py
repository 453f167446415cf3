"""Small parts of the training that need no data."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest


def test_backbone_names_are_timms() -> None:
    pytest.importorskip("torch")
    from kryss.training.backbone import timm_name

    assert timm_name("_conv_stem.weight") == "conv_stem.weight"
    assert timm_name("_blocks.0._project_conv.weight") == "blocks.0.0.conv_pw.weight"
    assert timm_name("_blocks.4._bn0.running_mean") == "blocks.2.1.bn1.running_mean"
    assert timm_name("_blocks.15._project_conv.weight") == "blocks.6.0.conv_pwl.weight"


def test_the_same_weights_are_exported_to_the_same_bytes(tmp_path: Path) -> None:
    import torch

    from kryss.training.export import export

    state = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(3)}
    first = export(state, tmp_path / "one.safetensors", ["x", "y"])
    second = export(dict(reversed(state.items())), tmp_path / "two.safetensors", ["x", "y"])
    assert first == second == hashlib.sha256((tmp_path / "one.safetensors").read_bytes()).hexdigest()
