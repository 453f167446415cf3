"""What surfaces look like: drawn by numbers, and cut out of real street photos so that real ones are not foreign to the
network.

Every texture is 256 x 256 RGBA. A photo gives, by place in the picture and nothing else: the road ahead, looked at from
above; walls, gardens and whatever else lines a street, from its sides; leaves, where the sides are of a leaf's colour;
the sky, from its top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 256
KINDS = (
    "asphalt", "paving", "grass", "wall", "facade", "roof", "leaves", "foliage", "trunk", "sky", "person", "plate", "ridge",
    "car_side", "car_back", "plain", "disc", "stripe", "soft", "fence", "bare",
)  # fmt: skip


@dataclass
class Library:
    """Textures by kind: ``numbers[kind]`` are rows of ``pictures``."""

    pictures: list[np.ndarray] = field(default_factory=list)
    numbers: dict[str, list[int]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    def add(self, kind: str, picture: np.ndarray) -> None:
        """``picture``: (SIDE, SIDE, 3 or 4), 0..255."""
        if picture.shape[2] == 3:
            picture = np.dstack([picture, np.full((SIDE, SIDE), 255.0)])
        self.numbers[kind].append(len(self.pictures))
        self.pictures.append(picture.clip(0, 255).astype(np.uint8))


def noise(rng: np.random.Generator, octaves: Sequence[int], fall: float = 0.55) -> np.ndarray:
    """(SIDE, SIDE) sum of smoothed random grids that wrap around, zero mean, unit deviation."""
    out = np.zeros((SIDE, SIDE), np.float32)
    for k, cells in enumerate(octaves):
        wrapped = Image.fromarray(np.pad(rng.standard_normal((cells, cells)).astype(np.float32), 2, mode="wrap"))
        out += fall**k * np.asarray(wrapped.resize((SIDE, SIDE), Image.Resampling.BICUBIC, (2, 2, cells + 2, cells + 2)))
    return (out - out.mean()) / (out.std() + 1e-6)


def tinted(value: np.ndarray, colour: Sequence[float] | np.ndarray, spread: float) -> np.ndarray:
    """Grey noise as shades of a colour (0..255)."""
    return np.asarray(colour, np.float32) * (1 + spread * value[..., None])


def drawn(rng: np.random.Generator) -> Library:
    """Everything that needs no photo."""
    library = Library()
    for _ in range(6):
        grey = rng.uniform(60, 150)
        value = 0.7 * noise(rng, (64, 128, 256), 0.9) + 0.8 * noise(rng, (2, 4, 8))
        library.add("asphalt", tinted(value, np.array([1, 1, rng.uniform(0.94, 1.05)]) * grey, rng.uniform(0.06, 0.16)))
    for _ in range(6):
        grey, joint = rng.uniform(90, 180), int(rng.choice([16, 32, 64]))
        picture = tinted(noise(rng, (4, 16, 128)), (grey, grey * 0.98, grey * rng.uniform(0.85, 1)), 0.09)
        blocks = rng.uniform(0.85, 1.1, (SIDE // joint, SIDE // joint)).repeat(joint, 0).repeat(joint, 1)
        picture *= blocks[..., None]
        picture[::joint] *= 0.65
        picture[:, ::joint] *= 0.65
        library.add("paving", picture)
    for colour in ((85, 105, 45), (70, 95, 40), (120, 115, 60), (110, 95, 70), (95, 120, 60), (150, 135, 95)):
        library.add("grass", tinted(0.6 * noise(rng, (64, 128, 256), 0.9) + 0.8 * noise(rng, (3, 9, 27)), colour, 0.22))
    walls = (
        (200, 195, 185),
        (150, 80, 62),
        (225, 215, 180),
        (120, 120, 122),
        (175, 150, 120),
        (95, 75, 62),
        (190, 60, 45),
        (210, 170, 90),
    )
    for colour in walls:
        library.add("wall", _wall(rng, colour))
        for _ in range(3):
            library.add("facade", _facade(rng, _wall(rng, np.array(colour) * rng.uniform(0.7, 1.15, 3))))
    for colour in ((130, 60, 45), (60, 60, 65), (90, 85, 80), (150, 85, 60)):
        picture = tinted(noise(rng, (8, 64, 128)), colour, 0.12)
        picture[::12] *= 0.6
        library.add("roof", picture)
    for colour in (
        (55, 80, 28),
        (75, 100, 35),
        (35, 55, 30),
        (95, 105, 40),
        (150, 120, 45),
        (120, 70, 35),
        (45, 60, 25),
        (100, 120, 60),
    ):
        value = 0.8 * noise(rng, (16, 48, 128), 0.8) + 0.5 * noise(rng, (4, 8))
        leaves = tinted(value, colour, 0.42)
        library.add("foliage", leaves)
        library.add("leaves", np.dstack([leaves, _crown(rng)]))
    for _ in range(4):
        library.add("bare", _branches(rng))
    for colour in ((85, 72, 60), (60, 52, 45), (150, 145, 140)):
        value = noise(rng, (2, 64, 256), 0.9)
        library.add("trunk", tinted(0.6 * value + 0.5 * noise(rng, (64, 128)), colour, 0.22))
    for _ in range(8):
        library.add("sky", _sky(rng))
    for _ in range(10):
        library.add("person", _person(rng))
    for _ in range(24):
        library.add("plate", _plate(rng))
    for _ in range(8):
        library.add("ridge", _ridge(rng))
    for _ in range(6):
        library.add("car_side", _car(rng, side=True))
        library.add("car_back", _car(rng, side=False))
    library.add("plain", tinted(noise(rng, (2, 4, 8)), (230, 230, 230), 0.03))
    y, x = (np.mgrid[0:SIDE, 0:SIDE] + 0.5) / SIDE * 2 - 1
    radius = np.hypot(x, y)
    wheel = np.where(radius < 0.62, 150.0, 38.0)[..., None].repeat(3, 2)
    library.add("disc", np.dstack([wheel, 255.0 * (radius < 0.97)]))
    for _ in range(3):
        worn = 255.0 * (noise(rng, (8, 32, 128), 0.8) > rng.uniform(-2.2, -0.8))
        library.add("stripe", np.dstack([tinted(noise(rng, (4, 64)), (235, 233, 225), 0.05), worn]))
    fade = np.clip(1.25 - np.maximum(np.abs(x), np.abs(y)) ** 2 * 1.25, 0, 1)
    library.add("soft", np.dstack([np.zeros((SIDE, SIDE, 3)), 255 * fade]))
    for posts, rails in ((16, 4), (8, 2), (24, 0), (4, 3)):
        mask = np.zeros((SIDE, SIDE))
        step = SIDE // posts
        mask[:, : max(2, step // (2 if posts > 10 else 5))] = 1
        for k in range(posts):
            mask[:, k * step : k * step + max(3, step // 3)] = 1
        for k in range(rails):
            mask[int((k + 0.3) * SIDE / rails) : int((k + 0.3) * SIDE / rails) + 18] = 1
        library.add("fence", np.dstack([tinted(noise(rng, (8, 64)), np.full(3, rng.uniform(60, 230)), 0.1), 255 * mask]))
    return library


def _wall(rng: np.random.Generator, colour: Sequence[float] | np.ndarray) -> np.ndarray:
    picture = tinted(0.6 * noise(rng, (2, 4, 8)) + 0.5 * noise(rng, (64, 128)), colour, 0.07)
    if rng.random() < 0.5:  # bricks or boards
        row = int(rng.choice([8, 16]))
        picture[::row] *= rng.uniform(0.7, 0.95)
        if rng.random() < 0.5:
            picture *= rng.uniform(0.9, 1.08, SIDE // row).repeat(row)[:, None, None]
    return picture


def _facade(rng: np.random.Generator, wall: np.ndarray) -> np.ndarray:
    """Two storeys of windows, to be tiled."""
    picture = wall.copy()
    columns, rows = int(rng.integers(2, 5)), 2
    w, h = SIDE // columns, SIDE // rows
    ww, wh = int(w * rng.uniform(0.35, 0.75)), int(h * rng.uniform(0.4, 0.7))
    frame = rng.uniform(90, 245)
    for row in range(rows):
        for column in range(columns):
            x, y = column * w + (w - ww) // 2, row * h + int(h * 0.18)
            pane = np.array([rng.uniform(20, 110)] * 3) * (1, 1.03, 1.08)
            picture[y - 5 : y + wh + 5, max(0, x - 5) : x + ww + 5] = frame
            shine = np.linspace(rng.uniform(0.6, 1.6), rng.uniform(0.6, 1.3), wh)[:, None, None]
            picture[y : y + wh, x : x + ww] = pane * shine
            if ww > 30:
                picture[y : y + wh, x + ww // 2 - 2 : x + ww // 2 + 2] = frame
            if rng.random() < 0.3:
                picture[y : y + wh // 2, x : x + ww] = rng.uniform(120, 235)
    if rng.random() < 0.4:
        picture[SIDE // 2 - 8 : SIDE // 2] *= 0.8
    return picture


def _crown(rng: np.random.Generator) -> np.ndarray:
    """Alpha of a clump of leaves: a ragged disc with holes."""
    y, x = (np.mgrid[0:SIDE, 0:SIDE] + 0.5) / SIDE * 2 - 1
    edge = 0.30 * noise(rng, (4, 8, 16)) * 0.45 + 0.16 * noise(rng, (32, 64))
    return 255.0 * ((np.hypot(x, y) + edge < 0.78) & (noise(rng, (24, 64)) > -1.55))


def _branches(rng: np.random.Generator) -> np.ndarray:
    """A tree without leaves."""
    mask = Image.new("L", (SIDE, SIDE))
    pen = ImageDraw.Draw(mask)

    def grow(x: float, y: float, angle: float, length: float, width: float) -> None:
        x2, y2 = x + length * np.sin(angle), y - length * np.cos(angle)
        pen.line((x, y, x2, y2), 255, max(1, round(width)))
        if length > 7:
            for _ in range(int(rng.integers(2, 4))):
                grow(x2, y2, angle + rng.normal(0, 0.5), length * rng.uniform(0.6, 0.85), width * 0.68)

    grow(SIDE / 2, SIDE - 1, rng.normal(0, 0.05), SIDE * 0.2, 9)
    return np.dstack([tinted(noise(rng, (8, 64)), np.full(3, rng.uniform(40, 90)), 0.15), np.asarray(mask, np.float32)])


def _sky(rng: np.random.Generator) -> np.ndarray:
    """From zenith (row 0) to horizon."""
    down = np.linspace(0, 1, SIDE)[:, None, None]
    zenith = np.array((70, 120, 195)) * rng.uniform(0.7, 1.15)
    horizon = np.array((190, 208, 228)) * rng.uniform(0.8, 1.1)
    cloud = np.full(3, rng.uniform(150, 255))
    share = np.clip((noise(rng, (3, 6, 12, 24, 48)) + rng.uniform(-1.5, 2.5)) * 0.6, 0, 1)[..., None]
    clear = zenith * (1 - down) + horizon * down
    shade = 1 + 0.06 * noise(rng, (4, 8, 16))[..., None]
    return clear * (1 - share) + cloud * shade * share


def _person(rng: np.random.Generator) -> np.ndarray:
    """Somebody who stands or walks, seen from anywhere."""
    picture = Image.new("RGBA", (SIDE, SIDE))
    pen = ImageDraw.Draw(picture)
    coat, legs, skin = (tuple(int(c) for c in rng.uniform(15, 210, 3)) for _ in range(3))
    skin = (190, 150, 125) if rng.random() < 0.7 else (60, 45, 35)
    stride = rng.uniform(0, 45)
    pen.polygon(
        [(95, 130), (160, 130), (150 + stride, 255), (125 + stride, 255), (128, 150), (125 - stride, 255), (98 - stride, 255)],
        (*legs, 255),
    )
    pen.rounded_rectangle((78, 40, 178, 145), 28, (*coat, 255))
    pen.ellipse((106, 2, 150, 46), (*skin, 255))
    return np.asarray(picture, np.float32)


def _plate(rng: np.random.Generator) -> np.ndarray:
    """A traffic sign, a board or a signal head."""
    picture = Image.new("RGBA", (SIDE, SIDE))
    pen = ImageDraw.Draw(picture)
    red, blue, white, black = (190, 25, 30, 255), (20, 70, 160, 255), (240, 240, 238, 255), (25, 25, 28, 255)
    kind = rng.integers(6)
    whole = (2, 2, SIDE - 3, SIDE - 3)
    if kind == 0:
        pen.ellipse(whole, red)
        pen.ellipse((34, 34, SIDE - 35, SIDE - 35), white)
    elif kind == 1:
        pen.polygon([(128, 6), (252, 224), (4, 224)], red)
        pen.polygon([(128, 62), (206, 198), (50, 198)], white)
    elif kind == 2:
        pen.ellipse(whole, blue)
    elif kind == 3:
        pen.rectangle(whole, blue if rng.random() < 0.5 else tuple(int(c) for c in (*rng.uniform(20, 250, 3), 255)))
        for _ in range(3):
            y = rng.uniform(30, 200)
            pen.rectangle((30, y, rng.uniform(100, 225), y + 25), white)
    elif kind == 4:
        pen.rectangle((78, 2, 178, 253), black)
        pen.ellipse((96, 14, 160, 78), (230, 40, 30, 255) if rng.random() < 0.5 else (60, 20, 20, 255))
        pen.ellipse((96, 178, 160, 242), (30, 220, 120, 255) if rng.random() < 0.5 else (15, 50, 35, 255))
    else:
        pen.polygon([(128, 3), (253, 128), (128, 253), (3, 128)], white)
        pen.polygon([(128, 40), (216, 128), (128, 216), (40, 128)], (250, 190, 20, 255))
    if kind in (0, 2):
        pen.text((90, 90), str(rng.integers(10, 99)), black, font_size=80)
    return np.asarray(picture, np.float32)


def _ridge(rng: np.random.Generator) -> np.ndarray:
    """What stands far off: woods, hills, roofs; see-through above."""
    top = 90 + 35 * noise(rng, (3, 6, 12))[0]
    if rng.random() < 0.6:
        top = top + 8 * noise(rng, (24, 48, 96))[0]
    else:
        top = top.reshape(-1, 16).mean(1).repeat(16)
    mask = np.arange(SIDE)[:, None] > top
    colour = np.array(((70, 85, 60), (95, 110, 115), (120, 115, 110), (60, 70, 75))[rng.integers(4)]) * rng.uniform(0.7, 1.4)
    return np.dstack([tinted(noise(rng, (8, 32, 64, 128), 0.8), colour, 0.2), 255.0 * mask])


def _car(rng: np.random.Generator, side: bool) -> np.ndarray:
    """Painted white, to be tinted: the lower body from the side or from behind."""
    picture = tinted(noise(rng, (2, 4)), (235, 235, 235), 0.03)
    picture *= np.linspace(1.05, 0.6, SIDE)[:, None, None]
    picture[-40:] *= 0.25
    if side:
        for x in (80, 165):
            picture[:, x : x + 3] *= 0.5
        picture[100:108] *= 0.8
    else:
        for x in (4, 204):
            picture[30 : 30 + int(rng.uniform(50, 90)), x : x + 48] = (180, 20, 15) if rng.random() < 0.6 else (230, 230, 220)
        picture[110:140, 88:168] = 240
        picture[150:158] *= 0.5
    return picture


def cut(photos: Sequence[Image.Image], rng: np.random.Generator, library: Library) -> None:
    """Adds pieces of real street photos, taken with a camera that looks along the road."""
    for photo in photos:
        w, h = photo.size
        small = np.asarray(photo.resize((64, 64), Image.Resampling.BOX), np.float32)
        horizon = 0.65
        if rng.random() < 0.5:  # a trapezoid of the road, seen from above
            top, low = horizon + rng.uniform(0.1, 0.16), 0.99
            near, far = 0.30, 0.30 * (top - horizon) / (low - horizon)
            middle = rng.uniform(0.42, 0.58)
            corners = ((middle - far, top), (middle - near, low), (middle + near, low), (middle + far, top))
            quad = tuple(c for x, y in corners for c in (x * w, y * h))
            road = photo.transform((SIDE, SIDE), Image.Transform.QUAD, quad, Image.Resampling.BILINEAR)
            library.add("asphalt", _lit(np.asarray(road, np.float32), rng, 60, 150))
        for _ in range(2):  # sides of the street
            size = int(rng.uniform(0.16, 0.3) * w)
            x = int(rng.uniform(0, 0.3) * w) if rng.random() < 0.5 else int(rng.uniform(0.7, 1.0) * w) - size
            y = int(rng.uniform(0.25, 0.62) * h)
            x, y = min(max(x, 0), w - size), min(y, h - size)
            piece = np.asarray(photo.crop((x, y, x + size, y + size)).resize((SIDE, SIDE), Image.Resampling.LANCZOS), np.float32)
            if (piece.min(2) > 215).mean() > 0.3:
                continue  # mostly sky
            lit = _lit(piece, rng, 70, 170)
            red, green, blue = piece.reshape(-1, 3).mean(0)
            if green > 1.06 * blue and piece.std() > 22 and abs(green - red) < 0.25 * green:
                library.add("foliage", lit)
                library.add("leaves", np.dstack([lit, _crown(rng)]))
            elif y > 0.55 * h:
                library.add("grass" if green > blue else "paving", lit)
            else:
                library.add("facade", lit)
        if small[:10].mean() > 110 and small[:10].std() < 60 and rng.random() < 0.6:
            above = photo.crop((0, 0, w, int(h * 0.3))).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            if np.asarray(above.convert("L").filter(ImageFilter.FIND_EDGES)).mean() < 12:
                library.add("sky", np.asarray(above, np.float32))


def _lit(piece: np.ndarray, rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    """To a random mean brightness: shadows of the photo are not those of the scene."""
    return piece * (rng.uniform(low, high) / (piece.mean() + 1))
