"""What the detector learns from: square crops of street photos, near signs, with further signs and lights pasted in.

Every sample follows from its seed alone. Boxes that a crop cuts in half are left out, and nothing is pasted over a label.
"""

from __future__ import annotations

import io
import math
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from kryss.training.sprites import LIGHT, distractor, sign_sprites, traffic_light, visible_box, worn
from kryss.training.streets import Labelled, Street

SIDE_PX = 384
SMALLEST_PX, LARGEST_PX = 12, 150
"""Heights of pasted signs."""
Blocked = tuple[float, float, float, float]


class Scenes:
    """An endless stream of labelled crops that depends on nothing but the seed."""

    def __init__(
        self, signs: Sequence[Street], lights: Sequence[Street], classes: Sequence[str], sprites: Path, agnostic: bool = False
    ) -> None:
        self.signs, self.lights = list(signs), list(lights)
        self.index = {name: int(name == LIGHT) if agnostic else k for k, name in enumerate(classes)}
        self.sprites = sign_sprites(sprites, classes)
        count = Counter(box[4] for street in signs for box in street.boxes)
        self.targets = [(street, box) for street in signs for box in street.boxes]
        self.target_weights = [1 / math.sqrt(count[box[4]]) for _, box in self.targets]
        self.names = list(self.sprites)
        # What no photo shows is pasted most, what many show least.
        self.paste_weights = [1 / (0.15 + math.sqrt(count[name]) / 10) for name in self.names]

    def sample(self, seed: int) -> tuple[np.ndarray, list[tuple[Blocked, int]]]:
        """(384, 384, 3) uint8 and its boxes (ltrb) with class numbers."""
        rng = random.Random(seed)
        kind, target = rng.random(), None
        if kind < 0.62:
            street, target = rng.choices(self.targets, self.target_weights)[0]
        elif kind < 0.76 or not self.lights:
            street = rng.choice(self.signs)
        else:
            street = rng.choice(self.lights)
            target = rng.choice(street.boxes) if street.boxes else None
        crop, boxes, blocked = _cut(rng, street, target, is_light=kind >= 0.76 and bool(self.lights))
        if rng.random() < 0.62:
            self._paste(rng, crop, boxes, blocked)
        return _lit(rng, crop), [(box[:4], self.index[box[4]]) for box in boxes]

    def batch(self, number: int, size: int) -> list[tuple[np.ndarray, list[tuple[Blocked, int]]]]:
        return [self.sample(number * size + k) for k in range(size)]

    def _paste(self, rng: random.Random, crop: Image.Image, boxes: list[Labelled], blocked: list[Blocked]) -> None:
        for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 4])):
            height = int(math.exp(rng.uniform(math.log(SMALLEST_PX), math.log(LARGEST_PX))))
            kind, name = rng.random(), None
            if kind < 0.22:
                height, name = int(height * 1.4), LIGHT
                picture = worn(rng, traffic_light(rng, height), height)
            elif kind < 0.3:
                picture = distractor(rng, height)
            else:
                name = rng.choices(self.names, self.paste_weights)[0]
                picture = worn(rng, rng.choice(self.sprites[name]), height)
            if picture.width >= SIDE_PX - 4 or picture.height >= SIDE_PX - 4:
                continue
            x, y = rng.randrange(SIDE_PX - picture.width), rng.randrange(SIDE_PX - picture.height)
            place = (x, y, x + picture.width, y + picture.height)
            if any(_touch(place, other) for other in [*blocked, *(box[:4] for box in boxes)]):
                continue
            if rng.random() < 0.7:
                pole, centre, grey = max(1, int(height * 0.09)), x + picture.width // 2, rng.randrange(60, 170)
                foot = min(SIDE_PX, y + picture.height + int(height * rng.uniform(0.5, 4)))
                left = centre - pole // 2
                ImageDraw.Draw(crop).rectangle([left, y + picture.height // 2, left + pole, foot], fill=(grey, grey, grey + 3))
            if rng.random() < 0.6:
                picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.9)))
            crop.paste(picture, (x, y), picture)
            seen = visible_box(picture)
            if name and seen:
                boxes.append((x + seen[0], y + seen[1], x + seen[2], y + seen[3], name))
            else:
                blocked.append(place)


def _touch(a: Blocked, b: Blocked, margin: float = 4) -> bool:
    return a[0] - margin < b[2] and a[2] + margin > b[0] and a[1] - margin < b[3] and a[3] + margin > b[1]


def _cut(
    rng: random.Random, street: Street, target: Labelled | None, is_light: bool
) -> tuple[Image.Image, list[Labelled], list[Blocked]]:
    """A crop around the target (or anywhere), at a random scale; its whole boxes, and the places of those cut in half."""
    image = street.image()
    # Photos of lights were stretched to squares: their sides are drawn apart again, at random.
    scale_y = rng.uniform(0.35, 1.1) if is_light else math.exp(rng.uniform(math.log(0.6), math.log(1.9)))
    if target is not None:
        scale_y = min(scale_y, (150 if is_light else 110) / (target[3] - target[1]))
    scale_x = scale_y * (rng.uniform(0.9, 1.6) if is_light else rng.uniform(0.9, 1.1))
    width, height = SIDE_PX / scale_x, SIDE_PX / scale_y
    if target is not None:
        x = (target[0] + target[2]) / 2 + rng.uniform(-0.42, 0.42) * width
        y = (target[1] + target[3]) / 2 + rng.uniform(-0.42, 0.42) * height
    else:
        x, y = rng.uniform(0, image.width), rng.uniform(image.height * 0.15, image.height * 0.75)
    left, top = x - width / 2, y - height / 2
    if width <= image.width:
        left = min(max(left, 0), image.width - width)
    if height <= image.height:
        top = min(max(top, 0), image.height - height)
    left, top = int(left), int(top)
    piece = image.crop((left, top, left + int(width), top + int(height)))
    shrink = Image.Resampling.BOX if scale_y <= 0.95 else Image.Resampling.BILINEAR
    boxes: list[Labelled] = []
    blocked: list[Blocked] = []
    for b in street.boxes:
        whole = ((b[0] - left) * scale_x, (b[1] - top) * scale_y, (b[2] - left) * scale_x, (b[3] - top) * scale_y)
        part = (max(whole[0], 0.0), max(whole[1], 0.0), min(whole[2], SIDE_PX), min(whole[3], SIDE_PX))
        if part[2] - part[0] <= 2 or part[3] - part[1] <= 2:
            continue
        share = (part[2] - part[0]) * (part[3] - part[1]) / ((whole[2] - whole[0]) * (whole[3] - whole[1]))
        if share < 0.5:
            blocked.append(part)
        else:
            boxes.append((*part, b[4]))
    return piece.resize((SIDE_PX, SIDE_PX), shrink), boxes, blocked


def _lit(rng: random.Random, image: Image.Image) -> np.ndarray:
    """Other light, other camera."""
    if rng.random() < 0.8:
        image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.55, 1.5))
    if rng.random() < 0.6:
        image = ImageEnhance.Contrast(image).enhance(rng.uniform(0.7, 1.35))
    if rng.random() < 0.6:
        image = ImageEnhance.Color(image).enhance(rng.uniform(0.5, 1.5))
    if rng.random() < 0.12:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.1)))
    if rng.random() < 0.3:
        body = io.BytesIO()
        image.save(body, "JPEG", quality=rng.randrange(35, 90))
        image = Image.open(body)
    pixels = np.asarray(image)
    if rng.random() < 0.3:
        noise = np.random.default_rng(rng.randrange(2**32)).normal(0, rng.uniform(1, 8), pixels.shape)
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    return pixels
