"""Streets that do not exist, with the true depth of every pixel, from many cameras: what a depth network can learn metres from.

``Streets(photos, seed).sample(number, size)`` is a pure function of the seed, the number and the size. Depth is z, along
the optical axis, in metres; the sky is infinitely far. A street is a road with bends and slopes, what lines it (houses,
gardens, woods, walls), what stands beside it (trees, poles, signs, lamps, people) and on it (cars, vans, lorries), under
a sun or none.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from kryss.training.rendered.raster import DECAL, TRIANGLE, Atlas, paint
from kryss.training.rendered.textures import KINDS, cut, drawn

SUPERSAMPLING = 2
FARTHEST_M = 1e4
"""Beyond this is sky."""
Point = np.ndarray
Tint = Sequence[float] | np.ndarray


@dataclass(frozen=True, slots=True)
class Rendering:
    """A picture with its truth."""

    pixels: np.ndarray
    """(h, w, 3) uint8"""
    depth: np.ndarray
    """(h, w) float32, metres along the optical axis, infinity where there is sky"""
    plates: np.ndarray
    """(h, w) int32: the number of the traffic sign or signal that is seen, 0 where none is"""
    focal_px: float


def _up(metres: float) -> Point:
    return np.array([0.0, 0.0, metres])


class _Scene:
    """Surfaces in the world: x right, y ahead, z up, metres; origin on the road below the camera."""

    def __init__(self, rng: np.random.Generator, atlas_numbers: dict[str, np.ndarray], sun: np.ndarray, diffuse: float) -> None:
        self.rng, self.numbers, self.sun, self.diffuse = rng, atlas_numbers, sun, diffuse
        self.shapes: list[tuple[float, ...]] = []
        self.uv: list[tuple[float, ...]] = []
        self.tint: list[tuple[float, ...]] = []
        self.flags: list[int] = []
        self.which: list[int] = []
        self.marks: list[int] = []

    def texture(self, kind: str) -> int:
        rows = self.numbers[kind]
        return int(rows[int(self.rng.random() * len(rows))])

    def lit(self, normal: Point) -> float:
        """Lambert's share of the sun and the light of the whole sky."""
        return 0.55 + (1 - self.diffuse) * 0.75 * max(0.0, float(normal @ self.sun)) + self.diffuse * 0.25

    def add(
        self,
        origin: Point,
        a: Point,
        b: Point,
        texture: int,
        tint: Tint = (1, 1, 1),
        uv: Sequence[float] = (0, 0, 1, 0, 0, 1),
        flags: int = 0,
        alpha: float = 1.0,
    ) -> None:
        self.shapes.append((*origin, *a, *b))
        self.uv.append(tuple(uv))
        self.tint.append((*tint, alpha))
        self.flags.append(flags)
        self.which.append(texture)
        self.marks.append(0)

    def plate(self, foot: Point, width: float, height: float, texture: int, tone: float, towards: Point | None = None) -> None:
        """A traffic sign or signal: a picture that is marked with a number of its own."""
        self.upright(foot, width, height, texture, (tone,) * 3, towards)
        self.marks[-1] = len(self.marks)

    def quad(
        self,
        corners: Sequence[Point],
        texture: int,
        tint: Tint,
        size: Sequence[float],
        flags: int = 0,
        alpha: float = 1.0,
    ) -> None:
        """Any four corners in their order as two triangles; ``size``: repeats of the texture along 0-1 and along 0-3."""
        p, q, r, s = corners
        self.add(p, q - p, s - p, texture, tint, (0, 0, size[0], 0, 0, size[1]), flags | TRIANGLE, alpha)
        self.add(r, s - r, q - r, texture, tint, (size[0], size[1], -size[0], 0, 0, -size[1]), flags | TRIANGLE, alpha)

    def upright(
        self,
        foot: Point,
        width: float,
        height: float,
        texture: int,
        tint: Tint = (1, 1, 1),
        towards: Point | None = None,
    ) -> None:
        """A picture on a stick that faces the camera, or has its back to ``towards``."""
        look = np.array([foot[0], foot[1]]) if towards is None else towards
        look = look / (math.hypot(look[0], look[1]) + 1e-9)
        across = np.array([look[1], -look[0], 0.0]) * width
        self.add(foot - across / 2 + _up(height), across, np.array([0, 0, -height]), texture, tint)

    def box(
        self,
        low: Point,
        along: Point,
        across: Point,
        height: float,
        sides: int,
        top: int,
        tint: Tint,
        tile: float,
        ends: int | None = None,
    ) -> None:
        """Walls over a parallelogram at ``low``, and its top; ``tile``: metres of a texture, 0: one a wall."""
        up = np.array([0, 0, height])
        middle = low + (along + across) / 2
        for k, (start, run) in enumerate(
            ((low, along), (low + along, across), (low + along + across, -along), (low + across, -across))
        ):
            length = math.hypot(run[0], run[1])
            normal = np.array([run[1], -run[0], 0.0]) / (length + 1e-9)
            if normal @ (start + run / 2 - middle) < 0:
                normal = -normal
            if normal @ (start + run / 2) > 0 and start[1] > 3:
                continue  # its back
            light = self.lit(normal)
            uv = (0, 0, 1, 0, 0, 1) if not tile else (0, 0, length / tile, 0, 0, height / tile)
            self.add(start + up, run, -up, ends if ends is not None and k % 2 else sides, [light * c for c in tint], uv)
        light = self.lit(np.array([0, 0, 1.0]))
        self.add(low + up, along, across, top, [light * c for c in tint])


class Streets:
    """Renders streets. Photos, if any, give part of the textures."""

    def __init__(self, photos: Sequence[Image.Image] = (), seed: int = 0) -> None:
        self.seed = seed
        rng = np.random.default_rng([seed, 1])
        library = drawn(rng)
        cut(photos, rng, library)
        self.atlas = Atlas(np.stack(library.pictures))
        self.numbers = {kind: np.array(library.numbers[kind]) for kind in KINDS}
        # Photos give more walls and leaves than can be drawn, but not so many that no drawn one is seen.
        self.counts = {kind: len(rows) for kind, rows in self.numbers.items()}

    def sample(self, number: int, size: tuple[int, int] = (384, 192)) -> Rendering:
        """Picture ``number`` of a width and height in pixels."""
        rng = np.random.default_rng([self.seed, 2, number])
        azimuth, elevation = rng.uniform(0, math.tau), math.radians(rng.uniform(8, 65))
        sun = np.array([math.sin(azimuth) * math.cos(elevation), math.cos(azimuth) * math.cos(elevation), math.sin(elevation)])
        diffuse = float(rng.choice([0.0, 0.3, 1.0], p=[0.4, 0.2, 0.4]))
        scene = _Scene(rng, self.numbers, sun, diffuse)
        _street(scene)
        return self._photograph(scene, rng, size)

    def _photograph(self, scene: _Scene, rng: np.random.Generator, size: tuple[int, int]) -> Rendering:
        width, height = size
        focal = width * float(np.exp(rng.uniform(math.log(0.5), math.log(1.4)))) * min(1.0, 2.2 * height / width) ** 0.3
        # A camera at a windscreen or on a roof; seldom one that is lower or higher, which only the size of cars and doors tells.
        tall = float(np.clip(rng.normal(1.6, 0.22), 1.1, 2.2)) if rng.random() < 0.85 else rng.uniform(1.0, 3.0)
        eye = np.array([0.0, 0.0, tall])
        yaw = math.radians(rng.normal(0, 5) if rng.random() < 0.8 else rng.uniform(-50, 50))
        pitch, roll = math.radians(rng.normal(0, 2.5)), math.radians(rng.normal(0, 1.2))
        look = np.array([math.sin(yaw) * math.cos(pitch), math.cos(yaw) * math.cos(pitch), math.sin(pitch)])
        right = np.array([math.cos(yaw), -math.sin(yaw), 0.0])
        down = np.cross(look, right)
        turned = np.stack([math.cos(roll) * right + math.sin(roll) * down, math.cos(roll) * down - math.sin(roll) * right, look])
        shapes = np.array(scene.shapes).reshape(-1, 3, 3)
        shapes[:, 0] -= eye
        shapes = (shapes @ turned.T).reshape(-1, 9)

        n = SUPERSAMPLING
        w, h, f = width * n, height * n, focal * n
        # Pictures are cut off more above than below, or the other way round: the principal point is not their middle.
        cx, cy = w * rng.normal(0.5, 0.015), h * float(np.clip(rng.normal(0.5, 0.07), 0.33, 0.67))
        depth = np.full((h, w), FARTHEST_M, np.float32)
        colour = np.zeros((h, w, 3), np.float32)
        sky = scene.texture("sky")
        light = rng.uniform(0.75, 1.25)
        # The sky fills a wide wall at the end of the world, in the camera's frame.
        reach, rise = 1.6, 0.9
        wall = np.array([[-reach, -rise, 1, 2 * reach, 0, 0, 0, rise + 0.25, 0]]) * FARTHEST_M * 0.999
        u = rng.uniform(0, 1)
        flags = np.array([*scene.flags, 0], np.int64)
        shapes = np.concatenate([shapes, wall])
        # The near first, so that little is painted to be painted over; decals last, in their order.
        z = shapes[:, 2] + np.minimum(shapes[:, 5], 0) + np.minimum(shapes[:, 8], 0)
        order = np.argsort(np.where(flags & DECAL, np.inf, z), kind="stable")
        arrays = (
            shapes[order],
            np.array([*scene.uv, (u, 0, rng.uniform(0.6, 2.0), 0, 0, 1)], np.float64)[order],
            np.array([*scene.tint, (light, light, light, 1)], np.float64)[order],
            flags[order],
            np.array([*scene.which, sky], np.int64)[order],
            np.array([*scene.marks, 0], np.int64)[order],
        )
        mark = np.zeros((h, w), np.int32)
        colour[:] = self.atlas.texels[self.atlas.starts[-1] + sky, :3].astype(np.float32) * light
        paint(*arrays, self.atlas.texels, self.atlas.starts, self.atlas.side, f, cx, cy, colour, depth, mark)
        depth[depth > FARTHEST_M / 2] = np.inf
        if rng.random() < 0.35:
            thick = math.exp(rng.uniform(math.log(60), math.log(900)))
            clear = np.exp(-np.minimum(depth, 2000) / thick)[..., None]
            air = colour[depth == np.inf].mean(0) if (depth == np.inf).any() else np.full(3, 200, np.float32)
            colour = colour * clear + air * (1 - clear)
        picture = sum((colour[i::n, j::n] for i in range(n) for j in range(n)), np.zeros(3, np.float32)) / n**2
        at = slice(n // 2, None, n)
        return Rendering(_developed(picture, rng), depth[at, at].copy(), mark[at, at].copy(), focal)


def _developed(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light to a JPEG's pixels: exposure, white balance, contrast, vignette, blur, noise, compression."""
    height, width = picture.shape[:2]
    aim = rng.uniform(75, 160)
    value = picture * (aim / (picture.mean() + 1) / 255 * rng.normal(1, 0.04, 3)).astype(np.float32)
    value = np.clip(value, 0, 1.2) ** rng.uniform(0.7, 1.25)
    if rng.random() < 0.5:
        value = np.clip(0.5 + (value - 0.5) * rng.uniform(0.85, 1.4), 0, 1.2)
    if rng.random() < 0.5:
        y, x = (np.linspace(-1, 1, n, dtype=np.float32) ** 2 for n in (height, width))
        value *= (1 - np.float32(rng.uniform(0, 0.3)) * (y[:, None] + x) / 2)[..., None]
    grey = value.mean(2, keepdims=True)
    value = grey + (value - grey) * rng.uniform(0.4, 1.3)
    value += rng.uniform(0, 0.025) * rng.standard_normal(value.shape, np.float32)
    image = Image.fromarray((value * 255).clip(0, 255).astype(np.uint8))
    if rng.random() < 0.4:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
    elif rng.random() < 0.3:
        image = image.filter(ImageFilter.UnsharpMask(1, int(rng.uniform(40, 150)), 1))
    if rng.random() < 0.6:
        body = io.BytesIO()
        image.save(body, "JPEG", quality=int(rng.uniform(45, 95)))
        image = Image.open(body)
    return np.asarray(image.convert("RGB"))


# --- the street ------------------------------------------------------------------------------------------------------------


class _Road:
    """A centre line with bends and slopes: ``at(s, d, h)`` is s metres along it, d to its right, h above it."""

    def __init__(self, rng: np.random.Generator, offset: float) -> None:
        self.s = np.concatenate([np.arange(-24, 24, 4.0), np.arange(24, 72, 8.0), np.arange(72, 281, 16.0)])
        fine = np.arange(-24, 281, 1.0)
        bend = np.zeros_like(fine)
        if rng.random() < 0.6:
            start = rng.uniform(0, 60)
            bend = rng.normal(0, 0.008) * ((fine > start) & (fine < start + rng.uniform(20, 120)))
        slope = np.zeros_like(fine)
        if rng.random() < 0.6:
            slope = np.interp(
                fine, [-24, 10, rng.uniform(25, 80), 280], [0, rng.normal(0, 0.01), rng.normal(0, 0.035), rng.normal(0, 0.03)]
            )
        turn = np.cumsum(bend) + rng.normal(0, 0.02)
        zero = 24
        self.fine, self.turn = fine, turn - turn[zero] * (rng.random() < 0.8)
        x, y, z = np.cumsum(np.sin(self.turn)), np.cumsum(np.cos(self.turn)), np.cumsum(slope)
        line = [x - x[zero] - offset, y - y[zero], z - z[zero], np.cos(self.turn), np.sin(self.turn)]
        self.rows = np.stack(line, 1).tolist()
        self.bank = (rng.normal(0, 0.1), rng.normal(0, 0.1)) if rng.random() < 0.4 else (0.0, 0.0)
        self.flat = rng.uniform(5, 12)

    def at(self, s: float, d: float, h: float = 0.0) -> Point:
        k = min(max(s + 24, 0.0), len(self.fine) - 1.001)
        i, f = int(k), k - int(k)
        (x0, y0, z0, cos, sin), (x1, y1, z1, _, _) = self.rows[i], self.rows[i + 1]
        beyond = max(abs(d) - self.flat, 0.0) * self.bank[int(d > 0)]
        return np.array((x0 + f * (x1 - x0) + d * cos, y0 + f * (y1 - y0) - d * sin, z0 + f * (z1 - z0) + h + beyond))

    def ahead(self, s: float) -> Point:
        turn = self.turn[min(max(int(s + 24), 0), len(self.turn) - 1)]
        return np.array([math.sin(turn), math.cos(turn), 0.0])


def _street(scene: _Scene) -> None:
    rng = scene.rng
    kind = str(rng.choice(["town", "suburb", "country", "motorway"], p=[0.36, 0.34, 0.2, 0.1]))
    lanes = {"town": 2, "suburb": 2, "country": 2, "motorway": 3}[kind] + int(rng.random() < 0.25)
    lane = rng.uniform(2.7, 3.7)
    half = lanes * lane / 2
    # Where the camera is, right of the middle: mostly in the right lane, now and then on the other side or the pavement.
    offset = half - lane * rng.uniform(0.35, 0.65) if rng.random() < 0.75 else rng.uniform(-half, half + 1.5)
    road = _Road(rng, offset)
    kerb = rng.uniform(0.05, 0.16) if kind in ("town", "suburb") else 0.0
    walk = rng.uniform(1.2, 4.5) if kind in ("town", "suburb") else rng.uniform(0.3, 2.5)
    edge = half + walk
    _ground(scene, road, kind, lanes, lane, half, walk, kerb)
    for side in (-1, 1):
        _lining(scene, road, kind, side, edge)
        _beside(scene, road, kind, side, half, edge, kerb)
    _traffic(scene, road, kind, lanes, lane, half, offset)
    _horizon(scene, road)


def _ground(scene: _Scene, road: _Road, kind: str, lanes: int, lane: float, half: float, walk: float, kerb: float) -> None:
    rng = scene.rng
    light = scene.lit(np.array([0, 0, 1.0]))
    asphalt, paving = scene.texture("asphalt"), scene.texture("paving" if kind in ("town", "suburb") else "grass")
    field = scene.texture("paving" if kind == "town" and rng.random() < 0.5 else "grass")
    tones = [light * rng.uniform(0.75, 1.25) for _ in range(3)]
    tile = rng.uniform(4, 9)
    edge = half + walk
    strips = [
        (-60.0, -edge - 8, 0.0, 0.0, field, tones[2], 7.0),
        (-edge - 8, -edge, 0.0, kerb, field, tones[2], 7.0),
        (-edge, -half, kerb, kerb, paving, tones[1], 3.0),
        (-half, -half, kerb, 0.0, paving, tones[1] * 0.8, 1.0),
        (-half, half, 0.0, 0.0, asphalt, tones[0], tile),
        (half, half, 0.0, kerb, paving, tones[1] * 0.8, 1.0),
        (half, edge, kerb, kerb, paving, tones[1], 3.0),
        (edge, edge + 8, kerb, 0.0, field, tones[2], 7.0),
        (edge + 8, 60.0, 0.0, 0.0, field, tones[2], 7.0),
    ]
    middle = rng.random() < 0.75
    dash = (rng.uniform(2, 6), rng.uniform(2, 10))
    lines = [(-half + 0.2, False), (half - 0.2, False)] if rng.random() < (0.4 if kind == "town" else 0.8) else []
    lines += [(-half + k * lane, bool(rng.random() < 0.75)) for k in range(1, lanes)] if middle else []
    stripe, paint_tone = scene.texture("stripe"), light * rng.uniform(0.7, 1.1)
    yellow = (1.0, 0.85, 0.35) if rng.random() < 0.12 else (1.0, 1.0, 1.0)
    for s0, s1 in zip(road.s[:-1], road.s[1:], strict=True):
        for d0, d1, h0, h1, texture, tone, size in strips:
            if d0 == d1 and h0 == h1:
                continue
            p, q, r, t = road.at(s0, d0, h0), road.at(s0, d1, h1), road.at(s1, d1, h1), road.at(s1, d0, h0)
            across, along = max(abs(d1 - d0), 0.3) / size, (s1 - s0) / size
            start = s0 / size
            scene.add(p, q - p, t - p, texture, (tone,) * 3, (d0 / size, start, across, 0, 0, along), TRIANGLE)
            scene.add(r, t - r, q - r, texture, (tone,) * 3, (d0 / size + across, start + along, -across, 0, 0, -along), TRIANGLE)
    for d, dashed in lines:
        wide = rng.uniform(0.1, 0.2)
        s = -20.0 + rng.uniform(0, 5)
        while s < 120:
            run = dash[0] if dashed else (4.0 if s < 24 else 12.0)
            corners = [
                road.at(a, b, 0.015)
                for a, b in ((s, d - wide / 2), (s, d + wide / 2), (s + run, d + wide / 2), (s + run, d - wide / 2))
            ]
            scene.quad(corners, stripe, [paint_tone * c for c in yellow], (1, max(1, run / 2)), DECAL, 0.9)
            s += run + (dash[1] if dashed else 0.0)
    if rng.random() < 0.3:  # a crossing for pedestrians
        s = rng.uniform(4, 45)
        for d in np.arange(-half + 0.3, half - 0.4, 1.0):
            corners = [road.at(a, b, 0.016) for a, b in ((s, d), (s, d + 0.5), (s + 3, d + 0.5), (s + 3, d))]
            scene.quad(corners, stripe, (paint_tone,) * 3, (1, 3), DECAL, 0.9)
    if rng.random() < 0.35:  # a side road
        s, wide = rng.uniform(8, 60), rng.uniform(5, 9)
        side = float(rng.choice([-1, 1]))
        for a, b in ((half, edge + 8), (edge + 8, 55)):
            corners = [
                road.at(s, side * a, 0.02 + kerb),
                road.at(s + wide, side * a, 0.02 + kerb),
                road.at(s + wide, side * b, 0.03),
                road.at(s, side * b, 0.03),
            ]
            scene.quad(corners, asphalt, (tones[0],) * 3, (1, (b - a) / wide), DECAL)
    for _ in range(int(rng.integers(0, 7))):  # patches, puddles, dirt
        s, d = rng.uniform(2, 40), rng.uniform(-half, half)
        corners = [
            road.at(a, b, 0.012) for a, b in ((s, d), (s, d + rng.uniform(0.5, 3)), (s + rng.uniform(1, 8), d + 1), (s + 2, d))
        ]
        scene.quad(corners, scene.texture("soft"), (1, 1, 1), (1, 1), DECAL, rng.uniform(0.1, 0.4))


def _shadow(scene: _Scene, base: Sequence[Point], height: float, soft: bool = False) -> None:
    """Of a wall over ``base`` (two points) on flat ground."""
    if scene.diffuse > 0.5 or scene.sun[2] < 0.1:
        return
    p, q = base
    drift = -scene.sun / scene.sun[2] * min(height, 14.0)
    drift = np.array([drift[0], drift[1], 0.0])
    reach = math.hypot(drift[0], drift[1])
    if reach > 25:
        drift *= 25 / reach
    lift = np.array([0, 0, 0.03])
    texture = scene.numbers["soft"][0] if soft else scene.numbers["plain"][0]
    scene.add(p + lift, q - p, drift, int(texture), (0.12, 0.13, 0.16), (0, 0, 1, 0, 0, 1), DECAL, 0.5 * (1 - scene.diffuse))


def _lining(scene: _Scene, road: _Road, kind: str, side: int, edge: float) -> None:
    """Houses, walls, woods and fields along one side."""
    rng = scene.rng
    back = {
        "town": rng.uniform(0, 2.5),
        "suburb": rng.uniform(2, 12),
        "country": rng.uniform(4, 30),
        "motorway": rng.uniform(6, 30),
    }[kind]
    share = {"town": 0.93, "suburb": 0.75, "country": 0.12, "motorway": 0.06}[kind]
    wooded = rng.random() < {"town": 0.15, "suburb": 0.3, "country": 0.6, "motorway": 0.6}[kind]
    s = -18.0 + rng.uniform(0, 8)
    terrace = kind == "town" and rng.random() < 0.6
    while s < 200:
        front = rng.uniform(8, 26) if kind == "town" else rng.uniform(7, 16)
        if rng.random() < share:
            deep = rng.uniform(7, 14)
            storeys = int(rng.integers(2, 6)) if kind == "town" else int(rng.integers(1, 4))
            tall = storeys * rng.uniform(2.7, 3.4) + 0.5
            near = edge + back + (0 if terrace else rng.uniform(0, 3 if kind == "town" else 6))
            _house(scene, road, s, front, side * near, side * deep, tall, kind)
        elif wooded:
            for _ in range(int(rng.integers(1, 4))):
                _tree(scene, road.at(s + rng.uniform(0, front), side * (edge + rng.uniform(1, 14))), rng.uniform(5, 16))
        s += front + (0.0 if terrace else rng.uniform(0, 3) if kind == "town" else rng.uniform(2, 14))
    if wooded and kind != "town":  # a wall of trees
        far, tall = edge + rng.uniform(3, 25), rng.uniform(6, 18)
        texture, ragged = scene.texture("foliage"), scene.texture("ridge")
        tone = [scene.lit(np.array([-side, 0, 0])) * c for c in rng.uniform(0.55, 1.0, 3) ** 0.5]
        for s0, s1 in zip(road.s[6:-1:2], road.s[8::2], strict=False):
            p, q = road.at(s0, side * far, -0.5), road.at(s1, side * (far + rng.normal(0, 0.6)), -0.5)
            high = tall * rng.uniform(0.7, 1.2)
            scene.add(p + _up(high), q - p, np.array([0, 0, -high]), texture, tone, (0, 0, (s1 - s0) / 8, 0, 0, high / 8))
            scene.add(p + _up(high * 1.5), q - p, np.array([0, 0, -high]), ragged, tone, (rng.random(), 0, 1, 0, 0, 1))
    roll = rng.random()
    if roll < 0.35:  # hedge, wall, fence or barrier
        s, tall, d = rng.uniform(-15, 20), rng.uniform(0.6, 2.2), side * (edge + rng.uniform(0, 0.8))
        what = str(rng.choice(["foliage", "wall", "fence", "fence"]))
        texture, length = scene.texture(what), rng.uniform(10, 120)
        light = scene.lit(np.array([-float(side), 0, 0]))
        thick = side * (0.7 if what == "foliage" else 0.2)
        end = s + length
        while s < end:
            run = 4.0 if s < 30 else 12.0
            p, q = road.at(s, d), road.at(s + run, d)
            scene.add(p + _up(tall), q - p, np.array([0, 0, -tall]), texture, (light,) * 3, (s / 4, 0, run / 3, 0, 0, 1))
            if what != "fence":
                top = scene.lit(np.array([0, 0, 1.0]))
                scene.add(p + _up(tall), q - p, road.at(s, d + thick) - p, texture, (top,) * 3, (0, 0, run / 3, 0, 0, 0.3))
            s += run


def _house(scene: _Scene, road: _Road, s: float, front: float, near: float, deep: float, tall: float, kind: str) -> None:
    rng = scene.rng
    low = road.at(s, near, -1.0)
    low[2] = min(low[2], road.at(s + front, near, -1.0)[2])
    along, across = road.at(s + front, near) - road.at(s, near), road.at(s, near + deep) - road.at(s, near)
    along[2] = across[2] = 0.0
    tone = rng.uniform(0.7, 1.15) * rng.uniform(0.9, 1.08, 3)
    facade = scene.texture("facade")
    ends = scene.texture("wall" if rng.random() < 0.6 else "facade")
    scene.box(low, along, across, tall + 1.0, facade, scene.texture("roof"), tone, rng.uniform(4.5, 9), ends)
    up = np.array([0, 0, tall + 1.0])
    if rng.random() < (0.4 if kind == "town" else 0.85):  # a gable roof
        rise = np.array([0, 0, abs(deep) / 2 * rng.uniform(0.4, 1.0)])
        roof = scene.texture("roof")
        light = scene.lit(np.array([0, 0, 1.0]))
        a, b = (along, across) if rng.random() < 0.6 else (across, along)
        ridge = low + up + b / 2 + rise
        tint = [light * c for c in rng.uniform(0.6, 1.2) * rng.uniform(0.9, 1.1, 3)]
        for eave in (low + up, low + up + b):
            scene.add(eave, a, ridge - eave, roof, tint, (0, 0, 2, 0, 0, 1))
        for foot, shift in ((low + up, 0.0), (low + up + a, 1.0)):
            wall = foot + b
            scene.add(foot, wall - foot, ridge + a * shift - foot, ends, [0.8 * c for c in tone], (0, 0, 1, 0, 0, 0.5), TRIANGLE)
    _shadow(scene, (low + _up(1), low + along + _up(1)), tall)
    if rng.random() < 0.5:
        _shadow(scene, (low + _up(1), low + across + _up(1)), tall)
    if kind == "town" and rng.random() < 0.5:  # a shop on the ground floor
        inward = across / (math.hypot(across[0], across[1]) + 1e-9)
        p = low - inward * 0.05 + _up(1.2)
        height = np.array([0, 0, rng.uniform(2.2, 3.0)])
        scene.add(
            p + height, along, -height, scene.texture("facade"), [0.7 * c for c in rng.uniform(0.5, 1.2, 3)], (0, 0, 2, 0, 0, 0.5)
        )


def _tree(scene: _Scene, foot: Point, tall: float) -> None:
    rng = scene.rng
    if foot[1] < 1.5 and abs(foot[0]) < 2.5:
        return
    thick = rng.uniform(0.02, 0.045) * tall
    tone = rng.uniform(0.6, 1.2)
    if rng.random() < 0.15:
        scene.upright(foot, tall * 0.9, tall, scene.texture("bare"), (tone,) * 3)
        return
    leaves = scene.texture("leaves")
    needle = rng.random() < 0.2
    start = tall * (0.05 if needle else rng.uniform(0.15, 0.4))
    scene.upright(foot - _up(0.2), thick, max(start * 1.8, 1.0), scene.texture("trunk"), (tone * 0.9,) * 3)
    wide = tall * (0.3 if needle else rng.uniform(0.4, 0.75))
    count = int(rng.integers(5, 10)) if foot[1] < 60 else 3
    for k in range(count):
        h = (k + 0.5) / count
        spread = wide * ((1 - h) if needle else 0.75)
        size = spread * (1.3 if needle else rng.uniform(0.6, 1.0)) + 0.4
        angle, out = rng.uniform(0, math.tau), 0.0 if needle else wide * 0.33 * math.sqrt(rng.random())
        rise = start + (tall - start) * h - size / 2 * (0.5 if needle else 1)
        at = foot + np.array([out * math.cos(angle), out * math.sin(angle), rise])
        light = tone * (0.55 + 0.5 * h) * scene.lit(scene.sun) * 0.8
        scene.upright(at, size, size, leaves, (light,) * 3)
    across = np.array([wide / 2, 0, 0])
    _shadow(scene, (foot - across, foot + across), tall, soft=True)


def _pole(scene: _Scene, foot: Point, tall: float, thick: float, tone: float) -> None:
    scene.upright(foot, thick, tall, int(scene.numbers["plain"][0]), (tone, tone, tone * 1.02))
    _shadow(scene, (foot - np.array([thick, 0, 0]), foot + np.array([thick, 0, 0])), tall)


def _beside(scene: _Scene, road: _Road, kind: str, side: int, half: float, edge: float, kerb: float) -> None:
    """Poles, lamps, signs, signals, trees in a row, bushes, people, parked cars, things at random."""
    rng = scene.rng
    plain = int(scene.numbers["plain"][0])
    if rng.random() < 0.75:  # lamps
        every, s, tall = rng.uniform(18, 45), rng.uniform(-5, 20), rng.uniform(4, 10)
        tone, d = rng.uniform(0.15, 0.7), side * (half + rng.uniform(0.3, 1.2))
        arm = rng.uniform(0, 2.5)
        while s < 150:
            foot = road.at(s, d, kerb)
            _pole(scene, foot, tall, rng.uniform(0.12, 0.22), tone)
            tip = road.at(s, d - side * arm, tall) - road.at(s, d, tall)
            scene.add(foot + _up(tall), tip, np.array([0, 0, -0.12]), plain, (tone,) * 3)
            s += every
    if rng.random() < 0.2:  # wires over the street
        s = rng.uniform(5, 40)
        p, q = road.at(s, -edge, 7.0), road.at(s + rng.uniform(-3, 3), edge, 7.0)
        scene.add(p, q - p, np.array([0, 0, -0.06]), plain, (0.15,) * 3)
    for _ in range(int(rng.integers(0, 6))):  # signs and signals
        s, d = rng.uniform(5, 70), side * (half + rng.uniform(0.2, 1.5))
        bottom, size = rng.uniform(1.7, 3.0), rng.uniform(0.5, 1.1)
        foot, ahead = road.at(s, d, kerb), road.ahead(s)
        _pole(scene, foot, bottom + size, rng.uniform(0.05, 0.12), rng.uniform(0.3, 0.75))
        light = scene.lit(-ahead) * rng.uniform(0.8, 1.2)
        facing = ahead[:2] if rng.random() < 0.8 else rng.normal(size=2)
        for k in range(int(rng.integers(1, 4))):
            scene.plate(foot - ahead * 0.1 + _up(bottom - k * size * 1.05), size, size, scene.texture("plate"), light, facing)
    if rng.random() < 0.12:  # a board or gantry over the road
        s, tall = rng.uniform(15, 80), rng.uniform(5, 6.5)
        p, q = road.at(s, -edge, tall), road.at(s, edge, tall)
        scene.add(p + _up(0.4), q - p, np.array([0, 0, -0.4]), plain, (0.4,) * 3)
        _pole(scene, road.at(s, side * edge), tall, 0.35, 0.4)
        middle = road.at(s - 0.3, rng.uniform(-half, half), tall - 0.5)
        if rng.random() < 0.5:
            board = [(0.1, 0.25, 0.65), (0.05, 0.4, 0.2), (0.95, 0.95, 0.9)][int(rng.integers(3))]
            scene.upright(middle, rng.uniform(2, 5), rng.uniform(1.5, 3), plain, board)
        else:
            size = rng.uniform(0.8, 1.2)
            scene.plate(middle - _up(size / 2), size, size, scene.texture("plate"), 0.9)
    if rng.random() < 0.4:  # an avenue
        every, s, d, tall = rng.uniform(7, 18), rng.uniform(0, 12), side * (edge + rng.uniform(-1.0, 1.5)), rng.uniform(4, 13)
        while s < 130:
            _tree(scene, road.at(s, d), tall * rng.uniform(0.85, 1.15))
            s += every * rng.uniform(0.8, 1.2)
    for _ in range(int(rng.integers(0, 8)) if kind != "town" else int(rng.integers(0, 3))):  # trees and bushes anywhere
        at = road.at(rng.uniform(0, 120), side * (edge + rng.uniform(0.8, 25)))
        if rng.random() < 0.5:
            _tree(scene, at, rng.uniform(3, 14))
        else:
            size = rng.uniform(0.6, 2.5)
            light = scene.lit(scene.sun) * rng.uniform(0.5, 1)
            scene.upright(at - _up(0.15 * size), size * 1.4, size, scene.texture("leaves"), (light,) * 3)
    for _ in range(int(rng.poisson(2.5 if kind == "town" else 0.8))):  # people
        at = road.at(rng.uniform(3, 60), side * rng.uniform(half * 0.9, edge), kerb)
        tall = rng.uniform(1.5, 1.95)
        light = scene.lit(np.array([0, -1.0, 0])) * rng.uniform(0.7, 1.2)
        scene.upright(at, tall * 0.75, tall, scene.texture("person"), (light,) * 3)
        _shadow(scene, (at - np.array([0.25, 0, 0]), at + np.array([0.25, 0, 0])), tall, soft=True)
    for _ in range(int(rng.poisson(1.0))):  # boxes: bins, cabinets, shelters
        wide, deep, high = rng.uniform(0.4, 1.6, 3) * (1, 1, rng.uniform(0.7, 1.6))
        low = road.at(rng.uniform(2, 50), side * rng.uniform(half + 0.5, edge + 1), kerb)
        texture = scene.texture("wall")
        scene.box(low, road.ahead(low[1]) * deep, np.array([wide, 0, 0]), high, texture, texture, rng.uniform(0.3, 1.2, 3), 2.0)
    if kind in ("motorway", "country") and rng.random() < 0.5:  # a guard rail
        d, tall, tone = (
            side * (half + rng.uniform(0.5, 1.5)),
            rng.uniform(0.65, 0.85),
            scene.lit(np.array([-float(side), 0, 0])) * 0.7,
        )
        for s in np.arange(-16, 140, 4.0):
            p, q = road.at(s, d, tall), road.at(s + 4, d, tall)
            scene.add(p, q - p, np.array([0, 0, -0.32]), plain, (tone,) * 3)
            if s < 60:
                scene.upright(road.at(s, d), 0.12, tall, plain, (0.35,) * 3)
    if kind in ("town", "suburb") and rng.random() < 0.6:  # parked cars
        s, d = rng.uniform(-8, 15), side * (half - rng.uniform(0.9, 1.2))
        while s < 110:
            s += _car(scene, road, s, d, 0.0) + rng.exponential(6) + 0.8


def _car(scene: _Scene, road: _Road, s: float, d: float, turn: float) -> float:
    """A car, van, lorry or bus whose back is at ``s``; returns its length."""
    rng = scene.rng
    kind = str(rng.choice(["car", "estate", "van", "lorry"], p=[0.5, 0.25, 0.17, 0.08]))
    length, width, tall = {
        "car": (rng.uniform(3.7, 4.8), rng.uniform(1.65, 1.85), rng.uniform(1.38, 1.55)),
        "estate": (rng.uniform(4.2, 4.9), rng.uniform(1.75, 1.95), rng.uniform(1.5, 1.85)),
        "van": (rng.uniform(4.6, 6.2), rng.uniform(1.9, 2.1), rng.uniform(1.9, 2.7)),
        "lorry": (rng.uniform(7, 12), rng.uniform(2.35, 2.55), rng.uniform(3.0, 3.8)),
    }[kind]
    clear = 0.2 if kind != "lorry" else 0.7
    foot = road.at(s, d)
    ahead = road.ahead(s)
    if rng.random() < 0.1:
        turn += rng.normal(0, 0.6)
    c, sn = math.cos(turn), math.sin(turn)
    ahead = np.array([ahead[0] * c + ahead[1] * sn, ahead[1] * c - ahead[0] * sn, 0.0])
    right = np.array([ahead[1], -ahead[0], 0.0])
    if foot[1] < 2.0 and abs(foot[0]) < 1.4:  # not where the camera is
        return length
    grey = rng.random() < 0.65
    paint_ = np.full(3, float(rng.choice([0.06, 0.15, 0.4, 0.6, 0.95]))) if grey else rng.uniform(0.05, 0.9, 3)
    side, end, plain, dark = (
        scene.texture("car_side"),
        scene.texture("car_back"),
        int(scene.numbers["plain"][0]),
        (0.07, 0.08, 0.09),
    )
    low = foot - right * width / 2 + _up(clear)
    lift = np.array([0, 0, 0.025])
    shade = int(scene.numbers["soft"][0])
    scene.add(
        foot - right * (width * 0.62) - ahead * 0.3 + lift,
        ahead * (length + 0.6),
        right * width * 1.24,
        shade,
        (0.1,) * 3,
        flags=DECAL,
        alpha=0.8,
    )
    _shadow(scene, (foot, foot + ahead * length), tall)
    body = tall * (0.55 if kind in ("car", "estate") else 1.0) - (0.0 if kind in ("car", "estate") else clear)
    scene.box(
        low, ahead * length, right * width, body, side if kind != "lorry" else scene.texture("wall"), plain, paint_, 0.0, end
    )
    if kind in ("car", "estate"):
        base, roof = low + _up(body), low + _up(tall - clear)
        back = 0.02 if kind == "estate" else rng.uniform(0.05, 0.2)
        f = (back, 0.62 if kind == "estate" else 0.7), (back + 0.06, 0.5 if kind == "car" else 0.53)
        inset = right * width * 0.1
        lower = [base + ahead * length * f[0][0], base + ahead * length * f[0][1]]
        upper = [roof + ahead * length * f[1][0] + inset, roof + ahead * length * f[1][1] + inset]
        over, over2 = right * width, right * width * 0.8
        panes = (
            ([lower[0], lower[0] + over, upper[0] + over2, upper[0]], -ahead),
            ([lower[1], lower[1] + over, upper[1] + over2, upper[1]], ahead),
            ([lower[0], lower[1], upper[1], upper[0]], -right),
            ([lower[0] + over, lower[1] + over, upper[1] + over2, upper[0] + over2], right),
        )
        for corners, normal in panes:
            light = scene.lit(normal)
            scene.quad(corners, plain, [light * c * 0.8 for c in paint_], (1, 1))
            middle = sum(corners) / 4
            glass = [middle + (p - middle) * 0.86 + normal * 0.02 for p in corners]
            scene.quad(glass, plain, np.array(dark) * rng.uniform(0.6, 4.0), (1, 1))
        scene.quad(
            [upper[0], upper[1], upper[1] + over2, upper[0] + over2], plain, scene.lit(np.array([0, 0, 1.0])) * paint_, (1, 1)
        )
    else:
        for at, normal in ((low - ahead * 0.02, -ahead), (low + ahead * (length + 0.02), ahead)):
            if kind == "van" or normal is ahead:
                start = at + right * width * 0.1 + _up(body * 0.92)
                scene.add(
                    start, right * width * 0.8, np.array([0, 0, -body * 0.33]), plain, np.array(dark) * rng.uniform(0.6, 3.5)
                )
    radius = 0.32 if kind != "lorry" else 0.48
    for share in (0.18, 0.8):
        for out in (-width / 2 - 0.02, width / 2 + 0.02):
            hub = foot + ahead * length * share + right * out
            scene.add(
                hub - ahead * radius + _up(2 * radius),
                ahead * 2 * radius,
                np.array([0, 0, -2 * radius]),
                int(scene.numbers["disc"][0]),
                (0.8,) * 3,
            )
    return length


def _traffic(scene: _Scene, road: _Road, kind: str, lanes: int, lane: float, half: float, offset: float) -> None:
    rng = scene.rng
    for k in range(lanes):
        d = -half + (k + 0.5) * lane
        s = rng.uniform(4, 60) if abs(d - offset) > lane * 0.6 else rng.uniform(7, 70)
        if rng.random() < 0.3:
            continue
        while s < 150:
            s += _car(scene, road, s, d + rng.normal(0, 0.2), 0.0)
            s += rng.exponential(25) + 4


def _horizon(scene: _Scene, road: _Road) -> None:
    """Woods, hills and roofs far off, all round."""
    rng = scene.rng
    for distance, tall in ((rng.uniform(110, 200), rng.uniform(3, 16)), (rng.uniform(300, 900), rng.uniform(10, 90))):
        texture = scene.texture("ridge")
        tone = rng.uniform(0.6, 1.2) * rng.uniform(0.9, 1.1, 3)
        base = road.at(min(distance, 250), 0)[2] - 2.0
        for angle in np.arange(-1.8, 1.8, 0.3):
            p, q = (np.array([distance * math.sin(a), distance * math.cos(a), base + tall * 1.5]) for a in (angle, angle + 0.3))
            u = float(angle) * 3
            scene.add(p, q - p, np.array([0, 0, -tall * 1.5 - 6]), texture, tone, (u, 0, 0.9, 0, 0, 1))
