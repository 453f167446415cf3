"""The second stage: what a box shows and where exactly it stands, from the pixels of the original photo.

A finder of lite0's size finds a sign of 16 px but cannot read it, and its boxes are as coarse as its anchors. The reader looks at
each box again: a square around it is cut out of the full-resolution photo and scaled to 96 x 96. A small network says what stands
there (a class, ``other-sign``: a sign that Kryss does not name, or background) and where its outline is, as in Fast R-CNN
(Girshick 2015, section 2.3), but with the square in the place of the proposal, since the square is all that the network sees:

    x = (x_box - x_square) / side    w = log(w_box / side)    (centres; y and h alike)

so a candidate counts only as far as it chooses the square. A second pass cuts the refined box out again and reads it again.

Bits: crops go through the network in batches of fixed sizes, filled up with black ones. Every output row is a sum over its own
crop in an order that depends on the shape of the batch alone, so with one size neither the number nor the order of a photo's
candidates changes the result of one (``tests/vision/test_recognise.py`` holds it to that, bit by bit). Crops of several photos
are never mixed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from timm.models.efficientnet import EfficientNetFeatures
from torch import nn

INPUT_PX = 96
MARGIN = 0.25
"""Part of the longer side of a box that is added on each of its sides."""
SMALLEST_PX = 4.0
"""No box is looked at as if its longer side were shorter."""
BATCH = 16
PASSES = 2
HOPELESS = 0.02
"""A crop in which no class reaches this is not read again."""
OTHER_SIGN, BACKGROUND = "other-sign", "background"
DELTA_MEAN = np.array([0, 0, -np.log(1 + 2 * MARGIN), -np.log(1 + 2 * MARGIN)], np.float32)
DELTA_STD = np.array([0.1, 0.1, 0.2, 0.2], np.float32)
"""The network's four outputs are deltas normalised by these: the usual spread of jittered boxes, as in Fast R-CNN."""
METADATA = "reader"


class CropNetwork(nn.Module):
    """EfficientNet-Lite0 up to stride 16 (timm's names), then two fully connected layers as in Fast R-CNN.

    (n, 3, 96, 96) float RGB in 0..255 to (n, classes + 2) logits and (n, 4) normalised deltas.
    """

    def __init__(self, outputs: int, hidden: int = 256) -> None:
        super().__init__()
        self.trunk = timm.create_model("tf_efficientnet_lite0", pretrained=False, features_only=True, out_indices=(3,))
        assert isinstance(self.trunk, EfficientNetFeatures)
        # timm keeps the stages behind the last one asked for, and computes them.
        del self.trunk.blocks[5:]
        [channels] = self.trunk.feature_info.channels()
        cells = (INPUT_PX // 16) ** 2
        self.narrow = nn.Sequential(nn.Conv2d(channels, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU6())
        self.hidden = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(128 * cells, hidden), nn.ReLU6())
        self.read = nn.Sequential(nn.Dropout(0.2), nn.Linear(hidden, outputs))
        self.refine = nn.Linear(hidden, 4)

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # Each crop with its own mean and spread of light, which vary most outdoors; 0.5: the spread that the trunk knows.
        mean = crops.mean((1, 2, 3), keepdim=True)
        spread = ((crops - mean) ** 2).mean((1, 2, 3), keepdim=True).sqrt().clamp_min(12)
        [features] = self.trunk(0.5 * (crops - mean) / spread)
        hidden = self.hidden(self.narrow(features))
        return self.read(hidden), self.refine(hidden)


def squares(boxes: np.ndarray) -> np.ndarray:
    """The squares (n, 4) to cut out around boxes (n, 4), both ltrb."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(1), SMALLEST_PX) * (1 + 2 * MARGIN)
    return np.concatenate([centres - sides[:, None] / 2, centres + sides[:, None] / 2], 1)


def encode(frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Normalised deltas (n, 4) of boxes (n, 4) in frames (n, 4), both ltrb (see the module's formula)."""
    size = frames[:, 2:] - frames[:, :2]
    shift = ((boxes[:, :2] + boxes[:, 2:]) - (frames[:, :2] + frames[:, 2:])) / 2 / size
    scale = np.log(np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6) / size)
    return (np.concatenate([shift, scale], 1) - DELTA_MEAN) / DELTA_STD


def decode(frames: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    """The inverse of ``encode``. No box becomes larger than twice its frame."""
    deltas = np.asarray(deltas, np.float64) * DELTA_STD + DELTA_MEAN
    size = frames[:, 2:] - frames[:, :2]
    centres = (frames[:, :2] + frames[:, 2:]) / 2 + deltas[:, :2] * size
    halves = size * np.exp(np.minimum(deltas[:, 2:], np.log(2.0))) / 2
    return np.concatenate([centres - halves, centres + halves], 1)


def cut_out(pixels: np.ndarray, frame: np.ndarray, side_px: int = INPUT_PX) -> np.ndarray:
    """(side_px, side_px, 3) uint8 of an ltrb frame of a photo (h, w, 3) uint8; outside the photo its edge goes on."""
    height, width = pixels.shape[:2]
    left, top = (int(np.floor(value)) for value in frame[:2])
    right, bottom = (int(np.ceil(value)) for value in frame[2:])
    x0, x1 = min(max(left, 0), width - 1), min(max(right, 1), width)
    y0, y1 = min(max(top, 0), height - 1), min(max(bottom, 1), height)
    cut = pixels[y0:y1, x0:x1]
    if left < 0 or top < 0 or right > width or bottom > height:
        above, before = min(max(y0 - top, 0), bottom - top - 1), min(max(x0 - left, 0), right - left - 1)
        below, behind = bottom - top - above - (y1 - y0), right - left - before - (x1 - x0)
        cut = np.pad(cut, ((above, below), (before, behind), (0, 0)), "edge")
    inner = (frame[0] - left, frame[1] - top, frame[2] - left, frame[3] - top)
    return np.asarray(Image.fromarray(np.ascontiguousarray(cut)).resize((side_px, side_px), Image.Resampling.BILINEAR, box=inner))


@dataclass(frozen=True, slots=True)
class Settings:
    """What a reader's file says beside its weights (safetensors metadata ``reader``, JSON)."""

    classes: tuple[str, ...]
    temperature: float = 1.0
    """Logits are divided by it (Guo et al. 2017): fitted so that a probability is a share of right answers."""
    passes: int = PASSES
    trained: dict[str, Any] = field(default_factory=dict, hash=False)
    """How it came to be: recipe, data, what held-out photos say."""


Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(batch, 96, 96, 3) uint8 crops to (batch, classes + 2) logits and (batch, 4) normalised deltas."""
Matters = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Numbers of candidates (n,) and the most that the mean probability of any class can still become (n,): (n,) bool, which of them
are worth another pass."""


class Reader:
    """A network behind one call; ``run`` may be torch, OpenVINO or ONNX Runtime."""

    def __init__(self, run: Run, settings: Settings, batches: Sequence[int] = (BATCH,)) -> None:
        """``batches``: numbers of crops that ``run`` takes at a time, falling."""
        self.run, self.settings, self.batches = run, settings, tuple(batches)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the first outputs; behind them come ``other-sign`` and ``background``."""
        return self.settings.classes

    def __call__(
        self, pixels: np.ndarray, boxes: np.ndarray, passes: int | None = None, matters: Matters | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Photo (h, w, 3) uint8 and ltrb boxes (n, 4) to probabilities (n, classes + 2) and refined boxes (n, 4), float32.

        Refined boxes lie in the photo. ``passes``: how often each box is cut out and read at most; probabilities and boxes are
        the means of the passes. What is clearly none of the classes is not read again, nor what does not matter any more.
        """
        height, width = pixels.shape[:2]
        passes = self.settings.passes if passes is None else passes
        last = np.array(boxes, np.float64).reshape(-1, 4)
        probabilities = np.zeros((len(last), len(self.classes) + 2))
        refined, times = np.zeros_like(last), np.zeros((len(last), 1))
        again = np.arange(len(last))
        for number in range(1, passes + 1):
            frames = squares(last[again])
            logits, deltas = self._read(pixels, frames)
            logits = logits.astype(np.float64) / self.settings.temperature
            shares = np.exp(logits - logits.max(1, keepdims=True)) if len(logits) else logits
            shares /= shares.sum(1, keepdims=True)
            last[again] = np.clip(decode(frames, deltas), 0, [width, height, width, height])
            probabilities[again] += shares
            refined[again] += last[again]
            times[again] += 1
            again = again[shares[:, : len(self.classes)].max(1, initial=0.0) >= HOPELESS]
            if matters and number < passes:
                most = probabilities[again, : len(self.classes)].max(1, initial=0.0)
                again = again[matters(again, (most + passes - number) / passes)]
        return (probabilities / times).astype(np.float32), (refined / times).astype(np.float32)

    def parts(self, number: int) -> list[int]:
        """The batches in which so many crops are read: one black row costs less than another batch."""
        made = []
        while number > 0:
            made.append(next((size for size in self.batches if size <= number + 1), self.batches[-1]))
            number -= made[-1]
        return made

    def _read(self, pixels: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, deltas = np.zeros((len(frames), len(self.classes) + 2), np.float32), np.zeros((len(frames), 4), np.float32)
        first = 0
        for size in self.parts(len(frames)):
            part = frames[first : first + size]
            crops = np.zeros((size, INPUT_PX, INPUT_PX, 3), np.uint8)
            for k, frame in enumerate(part):
                crops[k] = cut_out(pixels, frame)
            found = self.run(crops)
            logits[first : first + size], deltas[first : first + size] = (values[: len(part)] for values in found)
            first += size
        return logits, deltas


def load_network(path: Path) -> tuple[CropNetwork, Settings]:
    """The network of a reader's file in float32, ready for inference or export, and the file's settings."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get(METADATA)
        if text is None:
            raise ValueError(f"{path} is no reader: its metadata have no {METADATA!r}")
        document = json.loads(text)
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    settings = Settings(**{**document, "classes": tuple(document["classes"])})
    network = CropNetwork(len(settings.classes) + 2)
    network.load_state_dict({key: value.float() if value.is_floating_point() else value for key, value in state.items()})
    return network.eval().requires_grad_(False), settings


def save_network(state: Mapping[str, torch.Tensor], settings: Settings, path: Path) -> None:
    """Writes a reader's file: half precision, since a weight's last bits say nothing."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    half = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    # One key: safetensors writes several in any order, and the same reader is to give the same bytes.
    told = {METADATA: json.dumps(asdict(settings), sort_keys=True)}
    save_file({key: value.contiguous() for key, value in half.items()}, path, told)


def torch_run(network: CropNetwork, device: str | torch.device = "cpu") -> Run:
    """A network on torch as ``Reader`` calls it."""
    network = network.to(device)

    @torch.inference_mode()
    def run(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values = torch.from_numpy(crops).to(device).permute(0, 3, 1, 2).float().contiguous()
        logits, deltas = network(values)
        return logits.cpu().numpy(), deltas.cpu().numpy()

    return run


def load_reader(path: Path | str, device: str | None = None) -> Reader:
    """The reader of a file, on torch. ``device``: as torch names it (default: a GPU if there is one)."""
    network, settings = load_network(Path(path))
    return Reader(torch_run(network, device or ("cuda" if torch.cuda.is_available() else "cpu")), settings)
