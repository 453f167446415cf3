"""The second stage: what a box shows, from the pixels of the original photo.

A detector of lite0's size finds a sign of 16 px but cannot read it. A small convolutional network looks at each box again, cut
out of the full-resolution photo with a margin and scaled to 32 x 32, and knows one class more: nothing. Its weights lie in the
detector's file under ``recognise.``; the shape of the network follows from them.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import nn

SIDE_PX = 32
MARGIN = 0.25
"""Part of the longer side of a box that is added around it."""
PREFIX = "recognise."


class Recogniser(nn.Module):
    """(n, 3, 32, 32) in -1..1 to (n, classes + 1) logits; the last is nothing."""

    def __init__(self, outputs: int) -> None:
        super().__init__()

        def block(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
            return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

        self.features = nn.Sequential(
            *block(3, 24),
            *block(24, 32, 2),
            *block(32, 64),
            nn.MaxPool2d(2),
            *block(64, 96),
            nn.MaxPool2d(2),
            *block(96, 128),
        )
        self.head = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(2048, 128), nn.ReLU(inplace=True), nn.Linear(128, outputs)
        )

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(crops))


def crop(pixels: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(32, 32, 3) uint8 around an ltrb box: a square, so that a shape keeps its shape; outside the photo its edge goes on."""
    height, width = pixels.shape[:2]
    centre_x, centre_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    reach = max(box[2] - box[0], box[3] - box[1], 2.0) * (1 + MARGIN) / 2
    left, top, right, bottom = (
        int(np.floor(centre_x - reach)),
        int(np.floor(centre_y - reach)),
        int(np.ceil(centre_x + reach)),
        int(np.ceil(centre_y + reach)),
    )
    cut = pixels[max(top, 0) : max(min(bottom, height), 1), max(left, 0) : max(min(right, width), 1)]
    cut = cut if cut.size else pixels[:1, :1]
    before = (max(-top, 0), max(-left, 0))
    after = (max(bottom - top - cut.shape[0] - before[0], 0), max(right - left - cut.shape[1] - before[1], 0))
    cut = np.pad(cut, ((before[0], after[0]), (before[1], after[1]), (0, 0)), mode="edge")
    inner = (centre_x - reach - left, centre_y - reach - top, centre_x + reach - left, centre_y + reach - top)
    return np.asarray(Image.fromarray(cut).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR, box=inner))


def as_input(crops: np.ndarray) -> torch.Tensor:
    """(n, 32, 32, 3) uint8 to the network's input: each crop with its own mean and spread of light, which vary most outdoors."""
    values = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float()
    mean = values.mean((1, 2, 3), keepdim=True)
    spread = values.std((1, 2, 3), keepdim=True).clamp_min(12)
    return (values - mean) / spread
