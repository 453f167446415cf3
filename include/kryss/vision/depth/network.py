"""Kryss's own depth network: EfficientNet-Lite0 (as the detector), a little attention over the whole picture, a light U-Net
decoder.

It predicts log depth for a camera of one focal length, the canonical one (Yin et al., "Metric3D", 2023): an object looks
the same from 10 m through a lens of 400 px as from 20 m through one of 800 px, so what can be seen in pixels alone is
depth x 400 / focal. The second output is the logit of there being nothing within reach: sky, or farther than
``FARTHEST_M``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CANONICAL_FOCAL_PX = 400.0
"""Of the picture as the network gets it."""
FARTHEST_M = 100.0
STRIDE = 32
"""Width and height of the input are multiples of it."""
ARCHITECTURE = "tf_efficientnet_lite0"
CHANNELS = (16, 24, 40, 112, 320)
"""Of the backbone's features at 1/2, 1/4, ... 1/32."""
DECODER = (16, 32, 56, 96)
"""Of the decoder at 1/2, 1/4, 1/8, 1/16."""
TOKENS, HEADS, LAYERS = 160, 5, 2
MIDDLE_LOG = 2.8
"""Log of the depth that the network starts from."""


class _Block(nn.Module):
    """Doubles the size, joins the backbone's features of that size, and mixes."""

    def __init__(self, given: int, beside: int, out: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(given, out, 1, bias=False)
        self.mix = nn.Conv2d(out + beside, out, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out)

    def forward(self, given: Tensor, beside: Tensor) -> Tensor:
        up = functional.interpolate(self.reduce(given), scale_factor=2.0, mode="nearest")
        return functional.silu(self.norm(self.mix(torch.cat([up, beside], 1))))


class DepthNetwork(nn.Module):
    """(n, 3, h, w) pixels in -1..1 to (n, 2, h/2, w/2): log canonical depth, and the logit of sky or too far."""

    def __init__(self) -> None:
        super().__init__()
        import timm

        self.backbone: Any = timm.create_model(ARCHITECTURE, features_only=True, out_indices=(0, 1, 2, 3, 4), pretrained=False)
        self.enter = nn.Conv2d(CHANNELS[4], TOKENS, 1)
        self.place = nn.Linear(4, TOKENS)
        self.whole = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(TOKENS, HEADS, 2 * TOKENS, 0.0, "gelu", batch_first=True, norm_first=True),
            LAYERS,
            enable_nested_tensor=False,
        )
        given = (DECODER[1], DECODER[2], DECODER[3], TOKENS)
        self.blocks = nn.ModuleList(_Block(given[k], CHANNELS[k], DECODER[k]) for k in range(4))
        self.head = nn.Conv2d(DECODER[0], 2, 3, padding=1)
        nn.init.normal_(self.head.weight, std=0.01)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias[0], MIDDLE_LOG)
        nn.init.constant_(self.head.bias[1], -1.0)

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.backbone(pixels)
        deepest = self.enter(features[4])
        height, width = deepest.shape[2:]
        tokens = deepest.flatten(2).transpose(1, 2) + self.place(_places(height, width, deepest))
        found = self.whole(tokens).transpose(1, 2).unflatten(2, (height, width))
        for k in (3, 2, 1, 0):
            found = self.blocks[k](found, features[k])
        return self.head(found).float()


def _places(height: int, width: int, like: Tensor) -> Tensor:
    """(h w, 4): where each cell is from the middle, in units of 256 pixels, and how large the picture is."""
    y, x = torch.meshgrid(
        (torch.arange(height, dtype=like.dtype, device=like.device) + 0.5 - height / 2) * STRIDE / 256,
        (torch.arange(width, dtype=like.dtype, device=like.device) + 0.5 - width / 2) * STRIDE / 256,
        indexing="ij",
    )
    shape = torch.tensor([height * STRIDE / 256, width * STRIDE / 256], dtype=like.dtype, device=like.device)
    return torch.cat([torch.stack([x.flatten(), y.flatten()], 1), shape.expand(height * width, 2)], 1)


def input_size(width: int, height: int, pixels: int) -> tuple[int, int]:
    """Width and height of the network's input for a photo: about so many pixels, its aspect, multiples of ``STRIDE``."""
    scale = (pixels / (width * height)) ** 0.5
    return max(STRIDE, round(width * scale / STRIDE) * STRIDE), max(STRIDE, round(height * scale / STRIDE) * STRIDE)
