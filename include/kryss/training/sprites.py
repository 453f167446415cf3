"""Pictures to paste: signs drawn from the SVGs of npm ``mapillary_sprite_source`` (MIT), traffic lights drawn here.

Every picture is RGBA, cut to its visible outline, upright, seen from the front; ``worn`` gives it a pose, a light and dirt.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

LIGHT = "object--traffic-light--general-upright"
SPRITE_PX = 160
HOUSINGS = ((22, 22, 24), (35, 36, 38), (50, 52, 50), (30, 40, 32), (70, 66, 40), (15, 15, 16))
LENSES = (((255, 60, 40), (70, 15, 12)), ((255, 190, 50), (75, 55, 12)), ((60, 255, 170), (10, 60, 40)))
"""Red, amber, green: lit and dark."""


def sign_sprites(folder: Path, classes: Sequence[str]) -> dict[str, list[Image.Image]]:
    """Class to its pictures: the drawing, and for a red-ringed or yellow face the same with white or yellow inside, since
    countries differ in that. Classes without a drawing are absent.
    """
    import resvg_py

    sprites: dict[str, list[Image.Image]] = {}
    for name in classes:
        path = folder / f"{name}.svg"
        if not path.is_file():
            continue
        body = resvg_py.svg_to_bytes(svg_path=str(path), width=SPRITE_PX, height=SPRITE_PX)
        image = Image.open(io.BytesIO(bytes(body))).convert("RGBA")
        image = image.crop(image.getchannel("A").point(lambda v: 255 * (v > 100)).getbbox())
        sprites[name] = [image]
        if ("maximum-speed" in name and "end-of" not in name) or name.startswith("warning--"):
            sprites[name] += [_refaced(image, (255, 255, 255)), _refaced(image, (247, 202, 24))]
        if "priority-road" in name:
            sprites[name].append(_refaced(image, (240, 150, 20)))
    return sprites


def _refaced(image: Image.Image, face: tuple[int, int, int]) -> Image.Image:
    """White or yellow areas in another colour. A priority sign keeps its white border: only its yellow changes."""
    pixels = np.asarray(image).copy()
    red, green, blue = (pixels[..., k].astype(int) for k in range(3))
    yellow = (red > 190) & (green > 150) & (blue < 120)
    white = (red > 200) & (green > 200) & (blue > 200)
    pixels[yellow if yellow.mean() > 0.05 else white, :3] = face
    return Image.fromarray(pixels)


def traffic_light(rng: random.Random, height_px: int) -> Image.Image:
    """A 1:3 head with three lenses and visors, one or two lit or none, sometimes with a back plate."""
    height = height_px * 4
    width = int(height * rng.uniform(0.3, 0.42))
    pad = int(height * 0.12) if rng.random() < 0.3 else 0
    image = Image.new("RGBA", (width + 2 * pad, height + 2 * pad), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    if pad:
        rim = (235, 235, 235, 255) if rng.random() < 0.5 else (25, 25, 25, 255)
        draw.rectangle(
            [0, 0, width + 2 * pad - 1, height + 2 * pad - 1], fill=(20, 20, 20, 255), outline=rim, width=max(1, pad // 4)
        )
    housing = rng.choice(HOUSINGS)
    draw.rounded_rectangle([pad, pad, pad + width - 1, pad + height - 1], radius=width // 6, fill=(*housing, 255))
    lit = rng.choice([(0,), (2,), (2,), (0,), (1,), (0, 1), ()])
    radius = width * rng.uniform(0.33, 0.4)
    for k, (bright, dark) in enumerate(LENSES):
        x, y = pad + width / 2, pad + height * (k + 0.5) / 3
        if k in lit:
            _disc(draw, x, y, radius * 1.12, tuple(v // 2 for v in bright))
        _disc(draw, x, y, radius, bright if k in lit else dark)
        if k in lit:
            _disc(draw, x, y, radius * 0.5, tuple(min(255, v + 70) for v in bright))
        visor = [x - radius * 1.1, y - radius * 1.1, x + radius * 1.1, y + radius * 1.1]
        draw.arc(visor, 180, 360, fill=(*(max(0, v - 14) for v in housing), 255), width=max(1, int(radius * 0.3)))
    return image


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: tuple[int, ...]) -> None:
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=(*colour, 255))


def distractor(rng: random.Random, size_px: int) -> Image.Image:
    """A coloured board with blobs: what a sign is not."""
    board = Image.new("RGBA", (size_px, int(size_px * rng.uniform(0.3, 1.6)) + 3), (*_colour(rng), 255))
    draw = ImageDraw.Draw(board)
    for _ in range(rng.randrange(4)):
        x, y = rng.randrange(board.width), rng.randrange(board.height)
        draw.ellipse([x, y, x + board.width // 2, y + board.height // 2], fill=(*_colour(rng), 255))
    return board


def _colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def worn(rng: random.Random, sprite: Image.Image, height_px: int) -> Image.Image:
    """The picture at a height: turned away (narrower), rolled, sheared a little, lit, faded and tinted."""
    width = max(3, int(height_px * sprite.width / sprite.height * rng.uniform(0.72, 1.03)))
    shrink = Image.Resampling.BOX if sprite.height > height_px else Image.Resampling.BILINEAR
    image = sprite.convert("RGBa").resize((width, height_px), shrink).convert("RGBA")
    if rng.random() < 0.6:
        image = image.rotate(rng.gauss(0, 3.5), expand=True, resample=Image.Resampling.BICUBIC)
    if rng.random() < 0.3 and width > 8:
        slope = math.tan(math.radians(rng.gauss(0, 3)))
        matrix = (1, 0, 0, slope, 1, -slope * image.width / 2)
        image = image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    pixels = np.asarray(image).astype(np.float32)
    across = np.linspace(-1, 1, pixels.shape[1], dtype=np.float32)[None, :, None]
    gain = rng.uniform(0.35, 1.1) * (1 + rng.uniform(-0.25, 0.25) * across)
    tint = np.array([rng.gauss(1, 0.05), 1, rng.gauss(1, 0.06)], np.float32)
    grey = pixels[..., :3].mean(-1, keepdims=True)
    faded = grey + (pixels[..., :3] - grey) * rng.uniform(0.6, 1.05)
    pixels[..., :3] = np.clip(faded * gain * tint + rng.uniform(0, 35), 0, 255)
    return Image.fromarray(pixels.astype(np.uint8))


def visible_box(image: Image.Image) -> tuple[int, int, int, int] | None:
    """Outline (ltrb) of what is more opaque than not."""
    return image.getchannel("A").point(lambda v: 255 * (v > 110)).getbbox()
