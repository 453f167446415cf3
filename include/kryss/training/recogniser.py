"""Training of the second stage: crops of real boxes, of pasted signs and of nothing."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter
from torch import nn

from kryss.training.sprites import LIGHT, distractor, sign_sprites, traffic_light, worn
from kryss.training.streets import Street
from kryss.vision.recognise import MARGIN, SIDE_PX, Recogniser, as_input, crop

log = logging.getLogger(__name__)

NOTHING = -1
BATCH = 128
EMA = 0.995
LEARNING_RATE = 2e-3
CANVAS_PX = 64
"""Signs are pasted at this size and made small afterwards."""


@dataclass(frozen=True, slots=True)
class Patch:
    """A piece of a photo around a labelled box, or of nothing (``label`` -1)."""

    pixels: np.ndarray
    box: tuple[float, float, float, float]
    label: int


def patches(streets: Sequence[Street], classes: Sequence[str], nothing_per_photo: int, seed: int = 0) -> list[Patch]:
    """Cuts every labelled box with surroundings, and random pieces that touch no labelled box. Each photo is decoded once."""
    rng = random.Random(seed)
    index = {name: k for k, name in enumerate(classes)}
    found: list[Patch] = []
    for street in streets:
        pixels = np.asarray(street.image())
        height, width = pixels.shape[:2]
        for left, top, right, bottom, name in street.boxes:
            reach = max(right - left, bottom - top)
            x0, y0 = max(0, int(left - reach)), max(0, int(top - reach))
            cut = pixels[y0 : int(bottom + reach) + 1, x0 : int(right + reach) + 1].copy()
            found.append(Patch(cut, (left - x0, top - y0, right - x0, bottom - y0), index[name]))
        for _ in range(nothing_per_photo):
            side = int(math.exp(rng.uniform(math.log(16), math.log(min(200, height / 2, width / 2)))))
            x, y = rng.randrange(width - side), int(rng.uniform(0.05, 0.85) * (height - side))
            if any(x < b[2] and x + side > b[0] and y < b[3] and y + side > b[1] for b in street.boxes):
                continue
            cut = np.asarray(Image.fromarray(pixels[y : y + side, x : x + side]).resize((CANVAS_PX, CANVAS_PX)))
            found.append(Patch(cut, (8.0, 8.0, CANVAS_PX - 8.0, CANVAS_PX - 8.0), NOTHING))
    return found


class Crops:
    """An endless stream of labelled crops that depends on nothing but the seed."""

    def __init__(self, streets: Sequence[Street], classes: Sequence[str], sprites: Path, hard: Sequence[Patch] = ()) -> None:
        cut = patches(streets, classes, nothing_per_photo=12)
        self.nothing = [patch for patch in cut if patch.label == NOTHING]
        self.hard = list(hard)
        self.real: dict[int, list[Patch]] = {}
        for patch in cut:
            if patch.label != NOTHING:
                self.real.setdefault(patch.label, []).append(patch)
        drawn = sign_sprites(sprites, classes)
        self.drawn = {k: drawn[name] for k, name in enumerate(classes) if name in drawn}
        self.light = list(classes).index(LIGHT)
        self.classes = len(classes)

    def sample(self, seed: int) -> tuple[np.ndarray, int]:
        """(32, 32, 3) uint8 and its label; nothing is the label after the last class."""
        rng = random.Random(seed)
        kind = rng.random()
        if kind < 0.38:
            # Classes alike, but the commonest a little more often: square roots of counts.
            labels = list(self.real)
            label = rng.choices(labels, [len(self.real[k]) ** 0.5 for k in labels])[0]
            patch = rng.choice(self.real[label])
            image = crop(patch.pixels, _shaken(rng, patch.box))
        elif kind < 0.75:
            image, label = self._pasted(rng)
        else:
            image, label = self._nothing(rng), NOTHING
        return _weathered(rng, image), self.classes if label == NOTHING else label

    def _canvas(self, rng: random.Random) -> Image.Image:
        return Image.fromarray(rng.choice(self.nothing).pixels)

    def _pasted(self, rng: random.Random) -> tuple[np.ndarray, int]:
        canvas = self._canvas(rng)
        height = int(CANVAS_PX / (1 + MARGIN) / 1.15)
        if rng.random() < 0.1:
            label, sprite = self.light, traffic_light(rng, height)
        else:
            label = rng.choice(list(self.drawn))
            sprite = rng.choice(self.drawn[label])
        picture = worn(rng, sprite, height)
        x, y = (CANVAS_PX - picture.width) // 2, (CANVAS_PX - picture.height) // 2
        draw = ImageDraw.Draw(canvas)
        if rng.random() < 0.7:
            grey, half = rng.randrange(60, 170), rng.randrange(1, 4)
            draw.rectangle([32 - half, 32, 32 + half, CANVAS_PX], fill=(grey, grey, grey + 3))
        canvas.paste(picture, (x, y), picture)
        for side in (-1, 1):
            if rng.random() < 0.12:  # another sign above or below on the same pole
                other = worn(rng, rng.choice(self.drawn[rng.choice(list(self.drawn))]), height)
                canvas.paste(other, (x + rng.randrange(-3, 4), y + side * (height + rng.randrange(0, 5))), other)
        box = (x, y, x + picture.width, y + picture.height)
        return crop(np.asarray(canvas), _shaken(rng, box)), label

    def _nothing(self, rng: random.Random) -> np.ndarray:
        kind = rng.random()
        if kind < 0.25 and self.hard:
            patch = rng.choice(self.hard)
            return crop(patch.pixels, _shaken(rng, patch.box))
        if kind < 0.45:  # a piece of a sign, or a sign too small in its box
            image, _ = self._pasted(rng) if rng.random() < 0.5 else self._real(rng)
            big = Image.fromarray(image).resize((CANVAS_PX, CANVAS_PX))
            if rng.random() < 0.6:
                shift = rng.uniform(0.55, 0.8) * rng.choice([-1, 1]) * CANVAS_PX / (1 + MARGIN)
                along = rng.random() < 0.5
                matrix = (1, 0, shift if along else rng.uniform(-8, 8), 0, 1, rng.uniform(-8, 8) if along else shift)
                moved = Image.composite(
                    big.transform(big.size, Image.Transform.AFFINE, matrix), self._canvas(rng), _inside(matrix)
                )
                return np.asarray(moved.resize((SIDE_PX, SIDE_PX)))
            canvas = self._canvas(rng)
            small = rng.randrange(10, 24)
            canvas.paste(big.resize((small, small)), (rng.randrange(CANVAS_PX - small), rng.randrange(CANVAS_PX - small)))
            return np.asarray(canvas.resize((SIDE_PX, SIDE_PX)))
        if kind < 0.6:
            canvas = self._canvas(rng)
            board = worn(rng, distractor(rng, rng.randrange(30, 60)), rng.randrange(30, 60))
            canvas.paste(board, ((CANVAS_PX - board.width) // 2, (CANVAS_PX - board.height) // 2), board)
            return np.asarray(canvas.resize((SIDE_PX, SIDE_PX)))
        patch = rng.choice(self.nothing)
        return crop(patch.pixels, _shaken(rng, patch.box))

    def _real(self, rng: random.Random) -> tuple[np.ndarray, int]:
        label = rng.choice(list(self.real))
        patch = rng.choice(self.real[label])
        return crop(patch.pixels, np.array(patch.box)), label

    def batch(self, number: int, size: int = BATCH) -> tuple[np.ndarray, np.ndarray]:
        rows = [self.sample(number * size + k) for k in range(size)]
        return np.stack([row[0] for row in rows]), np.array([row[1] for row in rows])


def _inside(matrix: tuple[float, ...]) -> Image.Image:
    """Where a moved picture is, as a mask."""
    whole = Image.new("L", (CANVAS_PX, CANVAS_PX), 255)
    return whole.transform(whole.size, Image.Transform.AFFINE, matrix)


def _shaken(rng: random.Random, box: Sequence[float]) -> np.ndarray:
    """The box as a detector finds it: a little off."""
    width, height = box[2] - box[0], box[3] - box[1]
    x, y = (box[0] + box[2]) / 2 + rng.gauss(0, 0.05) * width, (box[1] + box[3]) / 2 + rng.gauss(0, 0.05) * height
    half_w, half_h = width / 2 * math.exp(rng.gauss(0, 0.08)), height / 2 * math.exp(rng.gauss(0, 0.08))
    return np.array([x - half_w, y - half_h, x + half_w, y + half_h])


def _weathered(rng: random.Random, crop_: np.ndarray) -> np.ndarray:
    """Smaller, darker, paler, blurred, noisy."""
    image = Image.fromarray(crop_)
    if rng.random() < 0.5:
        small = int(math.exp(rng.uniform(math.log(10), math.log(SIDE_PX))))
        image = image.resize((small, small), Image.Resampling.BOX).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
    if rng.random() < 0.6:
        image = ImageEnhance.Color(image).enhance(rng.uniform(0.4, 1.5))
    if rng.random() < 0.6:
        image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.45, 1.5))
    if rng.random() < 0.12:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    pixels = np.asarray(image)
    if rng.random() < 0.3:
        noise = np.random.default_rng(rng.randrange(2**32)).normal(0, rng.uniform(1, 9), pixels.shape)
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    return pixels


def train(crops: Crops, steps: int, path: Path, threads: int = 1) -> Recogniser:
    """Adam with one cycle and an exponential mean of the weights, which is what is returned and saved."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    model = Recogniser(crops.classes + 1)
    mean = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(EMA), use_buffers=True
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, steps, pct_start=0.1)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    started, right = time.monotonic(), 0.0
    for step in range(steps):
        pixels, labels = crops.batch(step)
        model.train()
        logits = model(as_input(pixels))
        target = torch.from_numpy(labels)
        loss = loss_of(logits, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        mean.update_parameters(model)
        right = 0.95 * right + 0.05 * float((logits.argmax(1) == target).float().mean()) if step else 0.0
        if step % 50 == 49:
            log.info(
                "recogniser step %d of %d, %.0f s: loss %.3f, right %.3f",
                step + 1,
                steps,
                time.monotonic() - started,
                loss.item(),
                right,
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(mean.module.state_dict(), path)
    model.load_state_dict(mean.module.state_dict())
    return model.eval()
