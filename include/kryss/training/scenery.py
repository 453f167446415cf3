"""What stands in a composed scene beside signs and lights: poles, arms, wires, branches before a sign, and what is neither."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from kryss.training import painting
from kryss.training.data.photos import Labelled, Ltrb

GAP_PX = 3
"""Between two things that are painted."""
Paint = tuple[float, float, float]


@dataclass(slots=True)
class Scene:
    """One sample while it is being made."""

    image: np.ndarray
    boxes: list[Labelled] = field(default_factory=list)
    ignore: list[Ltrb] = field(default_factory=list)
    taken: list[Ltrb] = field(default_factory=list)
    """Where something was painted that is not to be found."""

    def is_free(self, place: Ltrb) -> bool:
        others = (*self.ignore, *self.taken, *(box[:4] for box in self.boxes))
        return not any(touch(place, other) for other in others)


def touch(a: Ltrb, b: Ltrb) -> bool:
    return a[0] - GAP_PX < b[2] and a[2] + GAP_PX > b[0] and a[1] - GAP_PX < b[3] and a[3] + GAP_PX > b[1]


def beam(image: np.ndarray, start: np.ndarray, end: np.ndarray, thick: float, grey: float, lit: float) -> None:
    """A straight round pole between two points (x, y): darker at one edge, lighter along its middle."""
    across = np.array([end[1] - start[1], start[0] - end[0]], np.float64)
    across /= max(1e-6, float(np.hypot(*across)))
    for offset, share, gain in ((0.0, 1.0, 0.75), (0.12 * lit, 0.62, 1.0), (0.2 * lit, 0.25, 1.2)):
        width = thick * share
        middle = across * thick * offset
        corners = np.array([start + middle - across * width / 2, start + middle + across * width / 2])
        corners = np.vstack([corners, end + middle + across * width / 2, end + middle - across * width / 2])
        shade = min(255.0, grey * gain)
        cv2.fillPoly(
            image, [np.round((corners - 0.5) * 16).astype(np.int32)], (shade, shade, min(255.0, shade + 3)), cv2.LINE_AA, 4
        )
        if thick < 2.5:
            return


def _grey(rng: random.Random, white: float) -> float:
    return min(235.0, max(12.0, 255 * white * rng.uniform(0.15, 0.75)))


def pole(rng: random.Random, image: np.ndarray, x: float, top: float, height: float, down: float, white: float) -> None:
    """Behind signs: from a little above them down to a foot."""
    foot = top + down + height * rng.uniform(0.3, 5)
    tilt = rng.gauss(0, 0.015) * (foot - top)
    thick = max(0.9, height * rng.uniform(0.06, 0.12))
    start = np.array([x, top + rng.uniform(-0.08, 0.05) * height])
    beam(image, start, np.array([x + tilt, foot]), thick, _grey(rng, white), rng.choice([-1, 1]))


def hang(rng: random.Random, image: np.ndarray, x: float, y: float, height: float, lying: bool, white: float) -> None:
    """What a light hangs on: a pole below or beside it, an arm, a gantry above, a wire."""
    kind = rng.choices(["pole", "arm", "gantry", "wire", "none"], [10, 40, 25, 15, 10] if lying else [50, 22, 8, 12, 8])[0]
    grey, side, lit = _grey(rng, white), rng.choice([-1, 1]), rng.choice([-1, 1])
    thick = max(0.9, height * rng.uniform(0.05, 0.11))
    if kind == "pole":
        beside = rng.choice([0.0, 0.0, side * height * rng.uniform(0.2, 0.35)])
        top = y - height * (rng.uniform(0.3, 0.7) if beside or rng.random() < 0.4 else 0.2)
        foot = y + height * rng.uniform(1.2, 8)
        beam(image, np.array([x + beside, top]), np.array([x + beside, foot]), thick, grey, lit)
        if beside:
            for level in (-0.3, 0.3):
                at = y + level * height
                beam(image, np.array([x, at]), np.array([x + beside, at]), thick * 0.6, grey, lit)
    elif kind in ("arm", "gantry"):
        at = y if lying or rng.random() < 0.5 else y - height * rng.uniform(0.5, 0.6)
        slope = rng.gauss(0, 0.06)
        reach = height * rng.uniform(1.5, 12)
        ends = (x - reach, x + reach) if kind == "gantry" else (x, x + side * reach)
        start, end = (np.array([end, at + slope * (end - x)]) for end in ends)
        beam(image, start, end, thick, grey, lit)
        if kind == "arm" and rng.random() < 0.7:
            ground = np.array([end[0], end[1] + height * rng.uniform(2, 8)])
            beam(image, np.array([end[0], end[1] - height * 0.3]), ground, thick * 1.2, grey, lit)
    elif kind == "wire":
        at, slope = y - height * rng.uniform(0.5, 0.75), rng.gauss(0, 0.08)
        dark = min(grey, 60.0)
        beam(image, np.array([-5.0, at - slope * (x + 5)]), np.array([2000.0, at + slope * (2000 - x)]), 1.0, dark, lit)
        beam(image, np.array([x, at]), np.array([x, y]), max(0.8, thick * 0.4), dark, lit)


def occluder(rng: random.Random, width: int, height: int) -> np.ndarray:
    """(height, width) coverage 0 to 1 of a pole or of branches before a sign."""
    cover = np.zeros((height, width), np.uint8)
    if rng.random() < 0.4:
        x, thick = rng.uniform(0.1, 0.9) * width, max(1.0, width * rng.uniform(0.08, 0.25))
        lean = rng.gauss(0, 0.06) * height
        corners = np.array([[x, -1], [x + thick, -1], [x + thick + lean, height + 1], [x + lean, height + 1]])
        cv2.fillPoly(cover, [np.round(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        return cover.astype(np.float32) / 255
    for _ in range(rng.randrange(2, 5)):
        x, y, turn = rng.uniform(0, width), rng.choice([-1.0, height + 1.0]), rng.uniform(0, 2 * math.pi)
        for _ in range(rng.randrange(4, 10)):
            turn += rng.gauss(0, 0.5)
            ahead = (x + math.cos(turn) * width * 0.14, y + math.sin(turn) * height * 0.14)
            cv2.line(cover, (int(x), int(y)), (int(ahead[0]), int(ahead[1])), 255, 1, cv2.LINE_AA)
            if rng.random() < 0.7:
                axes = (max(1, int(width * rng.uniform(0.02, 0.07))), max(1, int(width * rng.uniform(0.01, 0.04))))
                cv2.ellipse(cover, (int(ahead[0]), int(ahead[1])), axes, rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA)
            x, y = ahead
    return cover.astype(np.float32) / 255


def distract(rng: random.Random, scene: Scene) -> None:
    """Something that is neither sign nor light: boards, lamps of cars, wheels, reflectors, clocks of lights, backs of signs."""
    side = scene.image.shape[0]
    size = math.exp(rng.uniform(math.log(8), math.log(side / 4)))
    kind = rng.choices(["board", "lamps", "wheel", "reflector", "clock", "back"], [30, 20, 12, 12, 8, 18])[0]
    aspect = {"board": rng.uniform(0.5, 3), "lamps": rng.uniform(2, 4), "reflector": 0.6, "clock": rng.uniform(0.9, 1.8)}.get(
        kind, 1
    )
    if kind in ("lamps", "reflector", "clock"):
        size = min(size, 28.0)
    width, height = size * aspect, size
    if width >= side - 6:
        return
    x, y = rng.uniform(1, side - width - 1), rng.uniform(1, side - height - 1)
    place = (x, y, x + width, y + height)
    if not scene.is_free(place):
        return
    # Some label the clock of a light with the light.
    (scene.ignore if kind == "clock" else scene.taken).append(place)
    tall, wide = max(4, int(size * 2)), max(4, int(width * 2))
    rgba = np.zeros((tall, wide, 4), np.uint8)
    light = float(scene.image[int(y) : int(y + height) + 1, int(x) : int(x + width) + 1].mean()) / 255
    bright = min(1.0, light * rng.uniform(0.7, 1.6) + 0.1)

    def paint() -> Paint:
        return rng.random() * 255 * bright, rng.random() * 255 * bright, rng.random() * 255 * bright

    if kind == "board":
        _board(rng, rgba, paint)
    elif kind == "lamps":
        colour = rng.choice([(230, 30, 30), (255, 236, 200), (240, 120, 20)])
        radius = tall * rng.uniform(0.18, 0.4)
        for at in (radius + 1, wide - radius - 1):
            painting.disc(rgba, at, tall / 2, radius, colour)
    elif kind == "wheel":
        radius = min(wide, tall) / 2 - 1
        for share, grey in ((1.0, 25), (0.62, rng.uniform(60, 190)), (0.5, rng.uniform(30, 160)), (0.15, 40)):
            painting.disc(rgba, wide / 2, tall / 2, radius * share, (grey, grey, grey))
    elif kind == "reflector":
        rgba[:] = (*(int(v) for v in paint()), 255)
        painting.disc(
            rgba, wide / 2, tall / 2, min(wide, tall) * 0.3, rng.choice([(230, 60, 30), (250, 170, 30), (240, 240, 240)])
        )
    elif kind == "clock":
        rgba[:] = (18, 18, 19, 255)
        cv2.putText(
            rgba,
            str(rng.randrange(1, 99)),
            (int(wide * 0.1), int(tall * 0.85)),
            cv2.FONT_HERSHEY_SIMPLEX,
            tall / 34,
            (*rng.choice(painting.LAMPS), 255),
            max(1, tall // 12),
            cv2.LINE_AA,
        )
    else:
        grey = 255 * bright * rng.uniform(0.3, 0.7)
        shape = rng.choice(["circle", "triangle_up", "triangle_down", "square", "octagon"])
        rgba[..., :3] = int(grey)
        rgba[..., 3] = painting.outline(shape, wide, tall)
        pole(rng, scene.image, x + width / 2, y + height / 2, height, height / 2, bright)
    patch = cv2.resize(
        cv2.multiply(rgba, cv2.merge([rgba[..., 3]] * 3 + [np.full((tall, wide), 255, np.uint8)]), scale=1 / 255),
        (max(2, round(width)), max(2, round(height))),
        interpolation=cv2.INTER_AREA,
    )
    painting.blend(scene.image, patch.astype(np.float32), int(x), int(y))
    if kind == "back":
        grey = 255 * bright * rng.uniform(0.2, 0.6)
        beam(
            scene.image,
            np.array([x + width / 2, y + height * 0.1]),
            np.array([x + width / 2, y + height * 1.1]),
            max(0.9, height * 0.09),
            grey,
            1,
        )


def _board(rng: random.Random, rgba: np.ndarray, paint: Callable[[], Paint]) -> None:
    """An advertisement: letters and blobs; ``paint`` gives another colour every time."""
    tall, wide = rgba.shape[:2]
    rgba[:] = (*(int(v) for v in paint()), 255)
    for _ in range(rng.randrange(1, 5)):
        x, y = rng.randrange(wide), rng.randrange(tall)
        shade = (*paint(), 255)
        if rng.random() < 0.5:
            word = "".join(rng.choice("ABEFGHKLMNOPRSTUVXYZ0123456789") for _ in range(rng.randrange(2, 9)))
            cv2.putText(
                rgba, word, (int(x * 0.4), y), cv2.FONT_HERSHEY_DUPLEX, tall / rng.uniform(40, 120), shade, 1, cv2.LINE_AA
            )
        else:
            cv2.ellipse(rgba, (x, y), (max(1, wide // 5), max(1, tall // 4)), rng.uniform(0, 180), 0, 360, shade, -1, cv2.LINE_AA)
