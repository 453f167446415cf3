"""Monodepth2 (Godard, Mac Aodha, Firman, Brostow: "Digging into self-supervised monocular depth estimation", ICCV 2019).

Written from the paper and the tables of its supplement: a ResNet-18 encoder; a decoder that halves channels 256 ... 16
while it doubles the size by nearest neighbour, two 3 x 3 convolutions with reflection padding and ELU a level, the
encoder's features joined between them; sigmoids at the last four levels, of which the finest is used. Parameters carry
the names of the published files, so that ``encoder.pth`` and ``depth.pth`` load as they are. The files' licence forbids
commercial use.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

NEAREST_M, FARTHEST_M = 0.1, 100.0
ENCODER_CHANNELS = (64, 64, 128, 256, 512)
DECODER_CHANNELS = (16, 32, 64, 128, 256)
SCALES = 4
MEAN, STD = 0.45, 0.225
"""Of the input, one number for all channels."""


class Encoder(nn.Module):
    """ResNet-18: features at 1/2 (64 channels), 1/4 (64), 1/8 (128), 1/16 (256) and 1/32 (512)."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import resnet18

        self.encoder: Any = resnet18(weights=None)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        net = self.encoder
        features = [net.relu(net.bn1(net.conv1((pixels - MEAN) / STD)))]
        features.append(net.layer1(net.maxpool(features[0])))
        for layer in (net.layer2, net.layer3, net.layer4):
            features.append(layer(features[-1]))
        return features


class _Conv3x3(nn.Module):
    def __init__(self, given: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(given, out, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.pad(x, (1, 1, 1, 1), mode="reflect"))


class _ConvBlock(nn.Module):
    def __init__(self, given: int, out: int) -> None:
        super().__init__()
        self.conv = _Conv3x3(given, out)

    def forward(self, x: Tensor) -> Tensor:
        return functional.elu(self.conv(x))


class Decoder(nn.Module):
    """Five levels of two convolutions (``decoder.0`` to ``.9``, coarse to fine), then the output of each scale (``.10`` to
    ``.13``)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for level in (4, 3, 2, 1, 0):
            out = DECODER_CHANNELS[level]
            given = ENCODER_CHANNELS[-1] if level == 4 else DECODER_CHANNELS[level + 1]
            layers.append(_ConvBlock(given, out))
            layers.append(_ConvBlock(out + (ENCODER_CHANNELS[level - 1] if level else 0), out))
        layers += [_Conv3x3(DECODER_CHANNELS[scale], 1) for scale in range(SCALES)]
        self.decoder = nn.ModuleList(layers)

    def forward(self, features: list[Tensor]) -> Tensor:
        """(n, 1, h, w): sigma at the size of the input."""
        x = features[-1]
        for k, level in enumerate((4, 3, 2, 1, 0)):
            x = functional.interpolate(self.decoder[2 * k](x), scale_factor=2.0, mode="nearest")
            if level:
                x = torch.cat([x, features[level - 1]], 1)
            x = self.decoder[2 * k + 1](x)
        return torch.sigmoid(self.decoder[10](x))


def depth_of(sigma: Tensor) -> Tensor:
    """1 / (a sigma + b), from 0.1 m (sigma 1) to 100 m (sigma 0): the paper's section 4.1."""
    b = 1 / FARTHEST_M
    a = 1 / NEAREST_M - b
    return 1 / (a * sigma + b)


class Monodepth2(nn.Module):
    """(n, 3, h, w) RGB 0..1 to (n, h, w) metres."""

    def __init__(self, size: tuple[int, int] = (640, 192)) -> None:
        super().__init__()
        self.size = size
        """Width and height of the input that the files were trained on."""
        self.encoder, self.depth = Encoder(), Decoder()

    def forward(self, pixels: Tensor) -> Tensor:
        return depth_of(self.depth(self.encoder(pixels)))[:, 0]


def load_monodepth2(encoder: Path, depth: Path) -> Monodepth2:
    """From the official pair of files. ValueError where they are of another network, or no networks."""
    try:
        state = torch.load(encoder, map_location="cpu", weights_only=True)
        size = int(state.pop("width", 640)), int(state.pop("height", 192))
        state.pop("use_stereo", None)
        model = Monodepth2(size)
        model.encoder.load_state_dict(state)
        model.depth.load_state_dict(torch.load(depth, map_location="cpu", weights_only=True))
    except (RuntimeError, pickle.UnpicklingError, EOFError, AttributeError) as error:
        raise ValueError(f"{encoder.name} and {depth.name} are not Monodepth2's ResNet-18 files: {str(error)[:300]}") from error
    return model.eval().requires_grad_(False)
