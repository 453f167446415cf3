"""What the second stage learns from: squares around jittered boxes of signs, of lights, and of what is neither.

Five sources, mixed by ``Mixture``: labelled boxes in their street photos; crops of single signs (GTSRB), cut out with the
outline of their class and set onto pieces of other streets, since they bring next to no surroundings of their own; drawn signs
and lights on such pieces; signs that no class stands for; and background: pieces of streets, boxes that hold a part of a sign or
far more than one (near misses, IoU below 0.3), backs of signs, lamps, boards, and a finder's own false finds.

Where it is not known what a find shows, only what it does not show (a find that touches no label, in a photo in which every sign
of some classes is labelled), the target is a set: any output but those (partial labels, Jin and Ghahramani 2002).

Every sample follows from the seed and its number alone.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, fields
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from kryss.training import painting
from kryss.training.compose import developed
from kryss.training.data.photos import HORIZONTAL, LIGHTS, LabelledPhoto, Ltrb
from kryss.training.data.photos import UPRIGHT as LIGHT
from kryss.training.prelabel import Find, key_of
from kryss.vision import taxonomy
from kryss.vision.boxes import iou
from kryss.vision.recognise import INPUT_PX, Reader, cut_out, encode, squares

UNKNOWN, NO_LIGHT = -1, -2
"""Labels of finds of which is only known what they are not: none of the signs that are labelled everywhere; no light either."""
POSITIVE_IOU, NEGATIVE_IOU = 0.4, 0.3
"""A candidate counts as the object from the first on, as background below the second; between them nothing is learnt."""
DRAWN_PX = 64
"""Longer side of a drawn or cut-out sign on its piece of a street."""
PIECE_PX = 128
CUT_SHARE = 0.08
"""So many objects are cut by an edge of their photo."""
FALSE_LIGHT = 0.15
"""Probability from which a reader takes a place for a light."""
STRANGER_PX = 96
DRAWN_LIGHTS = 240
SMALLEST_PX = 12


@dataclass(frozen=True, slots=True)
class Mixture:
    """Shares of the sources; they need not add up to 1."""

    street: float = 0.28
    single: float = 0.22
    drawn: float = 0.24
    other: float = 0.04
    piece: float = 0.06
    near_miss: float = 0.07
    fake: float = 0.05
    find: float = 0.05
    no_light: float = 0.0


@dataclass(frozen=True, slots=True)
class Patch:
    """A part of a photo around a box. ``others``: further labelled boxes in it."""

    pixels: np.ndarray
    box: Ltrb
    label: int
    others: tuple[Ltrb, ...] = ()
    stretch: float = 1.0
    """The photo's width may have been pressed together by up to this factor."""


@dataclass(slots=True)
class Sample:
    """(96, 96, 3) uint8; what it shows: an output's number, ``UNKNOWN`` or ``NO_LIGHT``; normalised deltas (4,), None for no
    object.
    """

    pixels: np.ndarray
    label: int
    deltas: np.ndarray | None = None


@dataclass(slots=True)
class _Scene:
    """Pixels with an object at ``box``; ``others``: places of further objects."""

    pixels: np.ndarray
    box: Ltrb
    label: int
    others: list[Ltrb] = field(default_factory=list)
    stretch: float = 1.0


class Crops:
    """An endless stream of labelled crops that depends on nothing but the seed.

    streets: photos whose boxes are labelled; singles: photos of one sign each that it nearly fills; finds: what teachers saw
    (``prelabel.read``) in those of the street photos in which the classes ``exhaustive`` are labelled wherever they stand.
    """

    def __init__(
        self,
        streets: Sequence[LabelledPhoto],
        singles: Sequence[LabelledPhoto],
        classes: Sequence[str],
        sprites: Path,
        finds: Mapping[str, Sequence[Find]] | None = None,
        exhaustive: Iterable[str] = (),
        mixture: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        self.classes, self.seed = tuple(classes), seed
        index = {name: k for k, name in enumerate(self.classes)}
        self.other_sign, self.background = len(classes), len(classes) + 1
        allowed = np.ones(len(classes) + 2, bool)
        allowed[[index[name] for name in exhaustive if name in index]] = False
        no_light = allowed.copy()
        no_light[[index[name] for name in LIGHTS if name in index]] = False
        self.partial = {UNKNOWN: allowed, NO_LIGHT: no_light}
        self.mirror = {index[a]: index[b] for a, b in taxonomy.mirrors().items() if a in index and b in index}
        self.shapes = {row.name: row.shape for row in taxonomy.classes()}
        drawn = painting.sign_pictures(sprites, [name for name in self.classes if name not in LIGHTS])
        if painting.ROUTE in index:
            drawn[painting.ROUTE] = painting.route_markers(60, seed)
        self.drawn = {index[name]: pictures for name, pictures in drawn.items()}
        self.lights = [light for light in painting.drawn_lights(DRAWN_LIGHTS, seed) if light.name in index]
        families = {name.rsplit("--", 1)[0] for name in self.classes}
        strangers = sorted(path.stem for path in sprites.glob("*.svg") if path.stem.rsplit("--", 1)[0] not in families)
        self.strangers = [pictures[0] for pictures in painting.sign_pictures(sprites, strangers, STRANGER_PX).values()]
        # Nine in ten drawings are plates of North America: discs and triangles are taken more often than their number.
        self.stranger_weights = [5.0 if _is_disc_or_triangle(picture) else 1.0 for picture in self.strangers]
        self.street: dict[int, list[Patch]] = defaultdict(list)
        self.finds: list[Patch] = []
        self.no_lights: list[Patch] = []
        self.pieces: list[np.ndarray] = []
        self._cut_streets(streets, index, finds or {})
        self.single = _by_label(singles, self.classes)
        self.mixture = Mixture(**(mixture or {}))
        self._mix()
        real = {k: len(self.street.get(k, ())) + len(self.single.get(k, ())) / 10 for k in self.drawn}
        self.drawn_labels = list(self.drawn)
        # What no photo shows is drawn most.
        self.drawn_weights = [1 / (0.12 + math.sqrt(real[k]) / 12) for k in self.drawn_labels]

    def _mix(self) -> None:
        """The kinds of samples for which there is something, and their shares."""
        available = {
            "street": self.street,
            "single": self.single,
            "drawn": self.drawn,
            "other": self.strangers,
            "near_miss": self.drawn,
            "find": self.finds,
            "no_light": self.no_lights,
        }
        self.kinds = [f.name for f in fields(self.mixture) if available.get(f.name, True)]
        self.shares = [getattr(self.mixture, kind) for kind in self.kinds]

    def mine(self, streets: Sequence[LabelledPhoto], finds: Mapping[str, Sequence[Find]], reader: Reader, places: int) -> int:
        """Looks at so many random places of every photo of ``finds`` and keeps those that a reader takes for a light though no
        teacher saw one near; their number.
        """
        lights = [k for k, name in enumerate(self.classes) if name in LIGHTS]
        kept = 0
        for photo in streets:
            key = key_of(photo)
            if key not in finds:
                continue
            rng, pixels = random.Random(f"{self.seed}-{key}"), photo.pixels()
            height, width = pixels.shape[:2]
            blocked = [*(box[:4] for box in photo.boxes), *photo.ignore, *(find.box for find in finds[key])]
            boxes: list[Ltrb] = []
            for _ in range(places):
                side = math.exp(rng.uniform(math.log(10), math.log(120)))
                x, y = rng.uniform(0, width - side), rng.uniform(0, 0.8 * height - side)
                if not touched((x, y, x + side, y + side), blocked, 0.0):
                    boxes.append((x, y, x + side, y + side))
            shares, _ = reader(pixels, np.array(boxes).reshape(-1, 4), passes=1)
            for box, share in zip(boxes, shares[:, lights].sum(1), strict=True):
                if share >= FALSE_LIGHT:
                    self.no_lights.append(_patch(pixels, box, NO_LIGHT, [], photo.stretch))
                    kept += 1
        self._mix()
        return kept

    def judging(self, singles: Sequence[LabelledPhoto]) -> Crops:
        """The same stream from another seed, with other single signs and without the labelled boxes that were learnt."""
        other = copy(self)
        other.seed, other.street, other.finds, other.single = self.seed + 1_000_003, {}, [], _by_label(singles, self.classes)
        other.no_lights = []
        other._mix()
        return other

    def _cut_streets(
        self, streets: Sequence[LabelledPhoto], index: Mapping[str, int], finds: Mapping[str, Sequence[Find]]
    ) -> None:
        """Decodes every street photo once and keeps what is needed of it."""
        rng = random.Random(self.seed)
        for photo in streets:
            pixels = photo.pixels()
            boxes = [(box[:4], index[box[4]]) for box in photo.boxes if box[4] in index]
            places = [place for place, _ in boxes]
            for place, label in boxes:
                self.street[label].append(_patch(pixels, place, label, places, photo.stretch))
            seen = finds.get(key_of(photo), ()) if finds else ()
            lights = [find.box for find in seen if find.teacher == "lights"]
            for find in seen:
                if find.teacher == "finder" and not touched(find.box, places, 0.05):
                    is_light = find.kind == "light" and not touched(find.box, lights, 0.0)
                    patch = _patch(pixels, find.box, NO_LIGHT if is_light else UNKNOWN, places, photo.stretch)
                    (self.no_lights if is_light else self.finds).append(patch)
            blocked = [*(box[:4] for box in photo.boxes), *photo.ignore, *(find.box for find in seen)]
            height, width = pixels.shape[:2]
            for _ in range(14):
                side = int(math.exp(rng.uniform(math.log(24), math.log(min(320, height - 1, width - 1)))))
                x, y = rng.randrange(width - side), int(rng.uniform(0.02, 0.9) * (height - side))
                if touched((x, y, x + side, y + side), blocked, 0.0):
                    continue
                piece = Image.fromarray(pixels[y : y + side, x : x + side])
                self.pieces.append(np.asarray(piece.resize((PIECE_PX, PIECE_PX), Image.Resampling.BILINEAR)))
        if not self.pieces:
            raise ValueError("no street photo has a place free of labels: signs have nothing to stand on")

    def sample(self, number: int) -> Sample:
        rng = random.Random(f"{self.seed}-{number}")
        kind = rng.choices(self.kinds, self.shares)[0]
        if kind in ("street", "single", "drawn", "other"):
            return self._object(rng, self._scene(rng, kind))
        if kind == "near_miss":
            return self._near_miss(rng)
        if kind in ("find", "no_light"):
            patch = rng.choice(self.finds if kind == "find" else self.no_lights)
            scene = _Scene(patch.pixels, patch.box, patch.label, stretch=patch.stretch)
            return Sample(self._picture(rng, scene, jittered(rng, scene.box))[0], patch.label)
        if kind == "fake":
            scene = self._fake(rng)
            return Sample(self._picture(rng, scene, jittered(rng, scene.box))[0], self.background)
        piece = rng.choice(self.pieces)
        side = rng.uniform(0.3, 0.6) * PIECE_PX
        x, y = (rng.uniform(0.25 * side, PIECE_PX - 1.25 * side) for _ in range(2))
        scene = _Scene(piece, (x, y, x + side, y + side), self.background)
        return Sample(self._picture(rng, scene, scene.box)[0], self.background)

    def batch(self, number: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Crops (n, 96, 96, 3) uint8, allowed outputs (n, classes + 2) bool, deltas (n, 4) float32, and which rows have some."""
        rows = [self.sample(number * size + k) for k in range(size)]
        allowed = np.zeros((size, len(self.classes) + 2), bool)
        deltas = np.zeros((size, 4), np.float32)
        for k, row in enumerate(rows):
            if row.label < 0:
                allowed[k] = self.partial[row.label]
            else:
                allowed[k, row.label] = True
            if row.deltas is not None:
                deltas[k] = row.deltas
        return np.stack([row.pixels for row in rows]), allowed, deltas, np.array([row.deltas is not None for row in rows])

    def _scene(self, rng: random.Random, kind: str) -> _Scene:
        if kind == "street":
            # Classes alike, but the commonest a little more often: square roots of counts.
            labels = list(self.street)
            label = rng.choices(labels, [len(self.street[k]) ** 0.5 for k in labels])[0]
            patch = rng.choice(self.street[label])
            return self._turned(rng, _Scene(patch.pixels, patch.box, label, list(patch.others), patch.stretch))
        if kind == "single":
            return self._turned(rng, self._single(rng))
        return self._drawn(rng, other=kind == "other")

    def _turned(self, rng: random.Random, scene: _Scene) -> _Scene:
        """Half of the photos whose mirror image shows a sign are mirrored; some upright lights are laid on their left side."""
        if scene.label in self.mirror and rng.random() < 0.5:
            width = scene.pixels.shape[1]
            flipped = [(width - b[2], b[1], width - b[0], b[3]) for b in (scene.box, *scene.others)]
            label = self.mirror[scene.label]
            scene = _Scene(scene.pixels[:, ::-1], flipped[0], label, flipped[1:], scene.stretch)
        is_upright = 0 <= scene.label < len(self.classes) and self.classes[scene.label] == LIGHT
        if is_upright and HORIZONTAL in self.classes and rng.random() < 0.12:
            width = scene.pixels.shape[1]
            laid = [(b[1], width - b[2], b[3], width - b[0]) for b in (scene.box, *scene.others)]
            scene = _Scene(np.rot90(scene.pixels), laid[0], self.classes.index(HORIZONTAL), laid[1:])
        return scene

    def _canvas(self, rng: random.Random) -> np.ndarray:
        piece = rng.choice(self.pieces)
        if rng.random() < 0.5:
            piece = piece[:, ::-1]
        return cv2.resize(piece, (3 * DRAWN_PX, 3 * DRAWN_PX), interpolation=cv2.INTER_LINEAR)

    def _single(self, rng: random.Random) -> _Scene:
        """A photographed sign cut out and set onto a street."""
        label = rng.choice(list(self.single))
        photo = rng.choice(self.single[label])
        sign = photo.pixels()
        height, width = sign.shape[:2]
        box = np.array(photo.boxes[0][:4])
        scale = min(DRAWN_PX / (box[2:] - box[:2]).max(), 2.0)
        size = (max(8, round(width * scale)), max(8, round(height * scale)))
        sign = cv2.resize(sign, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        box = box * np.tile(np.array(size) / (width, height), 2)
        mask = np.zeros((size[1], size[0]), np.uint8)
        shape = self.shapes[self.classes[label]]
        if shape in painting.OUTLINES and rng.random() < 0.7:
            grown = rng.uniform(0, 2.0)
            x0, y0, x1, y1 = (round(v) for v in box + np.array([-grown, -grown, grown, grown]))
            x0, y0, x1, y1 = max(0, x0), max(0, y0), min(size[0], x1), min(size[1], y1)
            mask[y0:y1, x0:x1] = painting.outline(shape, x1 - x0, y1 - y0)
        else:
            rim = rng.randrange(1, 4)
            mask[rim:-rim, rim:-rim] = 255
        mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.4, 1.2))
        canvas = self._canvas(rng)
        left, top = (canvas.shape[1] - size[0]) // 2, (canvas.shape[0] - size[1]) // 2
        place = (left + box[0], top + box[1], left + box[2], top + box[3])
        others = self._surround(rng, canvas, place)
        painting.blend(canvas, np.dstack([sign * (mask[..., None] / 255), mask]).astype(np.float32), left, top)
        return _Scene(canvas, place, label, others)

    def _picture_of(self, rng: random.Random, other: bool) -> tuple[painting.Picture, int]:
        """A drawn sign or light and its label."""
        if other:
            return rng.choices(self.strangers, self.stranger_weights)[0], self.other_sign
        if self.lights and rng.random() < 0.1:
            light = rng.choice(self.lights)
            return light, self.classes.index(light.name or "")
        label = rng.choices(self.drawn_labels, self.drawn_weights)[0]
        return rng.choice(self.drawn[label]), label

    def _drawn(self, rng: random.Random, other: bool) -> _Scene:
        picture, label = self._picture_of(rng, other)
        canvas = self._canvas(rng)
        middle = canvas.shape[0] / 2
        half_h = min(DRAWN_PX, DRAWN_PX / picture.aspect) / 2
        half_w = half_h * picture.aspect
        others = self._surround(rng, canvas, (middle - half_w, middle - half_h, middle + half_w, middle + half_h))
        box = _painted(rng, canvas, picture, half_h * 2, (middle, middle))
        return _Scene(canvas, box, label, others)

    def _surround(self, rng: random.Random, canvas: np.ndarray, box: Ltrb) -> list[Ltrb]:
        """A pole behind the sign, sometimes a further sign above, below or beside it; the places of those."""
        centre, half = (box[0] + box[2]) / 2 + rng.uniform(-3, 3), rng.uniform(1.0, 4.0)
        if rng.random() < 0.65:
            grey = rng.randrange(50, 190)
            top = max(0, int(rng.choice([0.0, (box[1] + box[3]) / 2, box[1] - 6])))
            canvas[top:, int(centre - half) : int(centre + half) + 1] = (grey, grey, grey + 3)
        others: list[Ltrb] = []
        for shift_x, shift_y in ((0, -1), (0, 1), (1, 0)):
            if rng.random() < 0.13:
                picture, _ = self._picture_of(rng, other=bool(self.strangers) and rng.random() < 0.3)
                height = min(DRAWN_PX, DRAWN_PX / picture.aspect) * rng.uniform(0.6, 1.0)
                gap = rng.uniform(0, 6)
                x = (box[0] + box[2]) / 2 + shift_x * ((box[2] - box[0] + height * picture.aspect) / 2 + gap)
                y = (box[1] + box[3]) / 2 + shift_y * ((box[3] - box[1] + height) / 2 + gap)
                others.append(_painted(rng, canvas, picture, height, (x, y)))
        return others

    def _object(self, rng: random.Random, scene: _Scene) -> Sample:
        if rng.random() < CUT_SHARE:
            scene = _cut_by_edge(rng, scene)
        candidate = jittered(rng, scene.box)
        height, width = scene.pixels.shape[:2]
        inside = (max(candidate[0], 0.0), max(candidate[1], 0.0), min(candidate[2], width), min(candidate[3], height))
        pixels, deltas = self._picture(rng, scene, inside)
        return Sample(pixels, scene.label, deltas)

    def _near_miss(self, rng: random.Random) -> Sample:
        """A box that holds a part of an object, or an object and much else, but overlaps none by 0.3."""
        photographed = [kind for kind in ("street", "single") if kind in self.kinds][:1]
        scene = self._scene(rng, photographed[0] if photographed and rng.random() < 0.6 else "drawn")
        everything = np.array([scene.box, *scene.others])
        width, height = scene.box[2] - scene.box[0], scene.box[3] - scene.box[1]
        for _ in range(20):
            size = math.exp(rng.uniform(math.log(0.3), math.log(2.0)))
            half_w, half_h = width * size / 2, height * size / 2
            x = (scene.box[0] + scene.box[2]) / 2 + rng.uniform(-0.55, 0.55) * width * (1 + size)
            y = (scene.box[1] + scene.box[3]) / 2 + rng.uniform(-0.55, 0.55) * height * (1 + size)
            candidate = (x - half_w, y - half_h, x + half_w, y + half_h)
            if iou(np.array(candidate), everything).max() < NEGATIVE_IOU:
                break
        else:
            return self._object(rng, scene)
        return Sample(self._picture(rng, scene, candidate)[0], self.background)

    def _fake(self, rng: random.Random) -> _Scene:
        """What is taken for a sign or a light: backs of signs, lamps, boards, a piece of street set into another one."""
        canvas = self._canvas(rng)
        width, height = rng.randrange(24, DRAWN_PX), rng.randrange(24, DRAWN_PX)
        kind = rng.choices(["back", "lamp", "board", "piece", "dark"], [25, 15, 15, 15, 30])[0]
        rgba = np.zeros((height, width, 4), np.uint8)
        if kind == "dark":
            _lay_sky(rng, canvas)
            rgba = _dark_thing(rng)
            height, width = rgba.shape[:2]
        elif kind == "piece":
            rgba[..., :3] = cv2.resize(rng.choice(self.pieces), (width, height))
            rgba[..., 3] = 255
        elif kind == "back":
            rgba = np.zeros((max(width, height),) * 2 + (4,), np.uint8)
            rgba[..., :3] = rng.randrange(40, 200)
            shape = rng.choice(["circle", "triangle_up", "triangle_down", "diamond", "square", "octagon"])
            rgba[..., 3] = painting.outline(shape, *rgba.shape[1::-1])
        elif kind == "lamp":
            colour = rng.choice([(250, 40, 30), (255, 150, 30), (255, 250, 235), (200, 20, 20)])
            for share in (1.0, 0.75, 0.5, 0.3):
                shade = [min(255, c + rng.randrange(80) * (share < 0.6)) for c in colour]
                axes = (max(1, int(width * share / 2)), max(1, int(height * share / 2)))
                strength = 255 if share < 1 else rng.randrange(60, 200)
                cv2.ellipse(rgba, (width // 2, height // 2), axes, 0, 0, 360, (*shade, strength), -1, cv2.LINE_AA)
        elif kind == "board":
            rgba[:] = (*(rng.randrange(256) for _ in range(3)), 255)
            for _ in range(rng.randrange(4)):
                axes = (rng.randrange(2, width // 2), rng.randrange(2, height // 2))
                ink = (*(rng.randrange(256) for _ in range(3)), 255)
                cv2.ellipse(rgba, (rng.randrange(width), rng.randrange(height)), axes, 0, 0, 360, ink, -1)
        middle = canvas.shape[0] / 2
        reach = rgba.shape[1] / 2, rgba.shape[0] / 2
        self._surround(rng, canvas, (middle - reach[0], middle - reach[1], middle + reach[0], middle + reach[1]))
        box = _painted(rng, canvas, painting.picture(rgba, None), rgba.shape[0], (middle, middle))
        return _Scene(canvas, box, self.background)

    def _picture(self, rng: random.Random, scene: _Scene, candidate: Ltrb) -> tuple[np.ndarray, np.ndarray]:
        """The square around a candidate as a camera might have seen it, and the deltas of the scene's box in it."""
        # Sides drawn apart: exact for boxes, as a turn of the sign about its pole is.
        apart = math.exp(rng.gauss(0, 0.06))
        if scene.stretch > 1 and rng.random() < 0.25:
            apart *= rng.uniform(1, scene.stretch)
        scale = np.array([apart, 1.0, apart, 1.0])
        [frame] = squares(np.array([candidate]) * scale) / scale
        deltas = encode(frame[None], np.array([scene.box], np.float64))[0]
        side = float(frame[3] - frame[1])
        longer = max(scene.box[2] - scene.box[0], scene.box[3] - scene.box[1])
        seen = longer
        if longer >= DRAWN_PX * 0.75:
            seen = math.exp(rng.uniform(math.log(SMALLEST_PX), math.log(longer)))
        elif rng.random() < 0.4:
            seen = longer * math.exp(rng.uniform(math.log(0.45), 0))
        seen = max(min(seen, longer), min(SMALLEST_PX, longer))
        seen_px = min(INPUT_PX, max(8, round(side * seen / longer)))
        pixels = np.array(cut_out(scene.pixels, frame, seen_px))
        _occlude(rng, pixels, frame, scene.box, self.pieces)
        made = developed(rng, pixels)
        if made.std() >= max(5.0, 0.3 * pixels.std()):
            # Otherwise the camera has lost what was to be seen.
            pixels = made
        if seen_px != INPUT_PX:
            pixels = np.asarray(Image.fromarray(pixels).resize((INPUT_PX, INPUT_PX), Image.Resampling.BILINEAR))
        return pixels, deltas.astype(np.float32)


def _cut_by_edge(rng: random.Random, scene: _Scene) -> _Scene:
    """The scene as if the photo ended in the middle of the object: a fifth to a half of it lies outside."""
    left, top, right, bottom = scene.box
    share = rng.uniform(0.2, 0.55)
    x, y = left + share * (right - left), top + share * (bottom - top)
    side = rng.choices(["top", "left", "right", "bottom"], [45, 22, 22, 11])[0]
    if side == "top":
        row = max(0, int(y))
        return _Scene(scene.pixels[row:], (left, max(0.0, top - row), right, bottom - row), scene.label, [], scene.stretch)
    if side == "left":
        column = max(0, int(x))
        cut = scene.pixels[:, column:]
        return _Scene(cut, (max(0.0, left - column), top, right - column, bottom), scene.label, [], scene.stretch)
    if side == "right":
        column = max(1, int(right - share * (right - left)))
        return _Scene(scene.pixels[:, :column], (left, top, min(right, column), bottom), scene.label, [], scene.stretch)
    row = max(1, int(bottom - share * (bottom - top)))
    return _Scene(scene.pixels[:row], (left, top, right, min(bottom, row)), scene.label, [], scene.stretch)


def _by_label(singles: Sequence[LabelledPhoto], classes: Sequence[str]) -> dict[int, list[LabelledPhoto]]:
    found: dict[int, list[LabelledPhoto]] = {}
    for photo in singles:
        if photo.boxes[0][4] in classes:
            found.setdefault(classes.index(photo.boxes[0][4]), []).append(photo)
    return found


def _is_disc_or_triangle(picture: painting.Picture) -> bool:
    """By the share of its box that a drawing covers: pi / 4 or a little more than a half."""
    share = float((picture.levels[0][..., 3] > 128).mean())
    return 0.85 < picture.aspect < 1.2 and (0.74 < share < 0.82 or 0.45 < share < 0.62)


def _patch(pixels: np.ndarray, box: Ltrb, label: int, places: Sequence[Ltrb], stretch: float) -> Patch:
    left, top, right, bottom = box
    height, width = pixels.shape[:2]
    reach = 1.3 * max(right - left, (bottom - top) * stretch, 12)
    x0, y0 = max(0, int(left - reach)), max(0, int(top - reach))
    cut = pixels[y0 : min(height, int(bottom + reach) + 1), x0 : min(width, int(right + reach) + 1)].copy()

    def moved(place: Ltrb) -> Ltrb:
        return (place[0] - x0, place[1] - y0, place[2] - x0, place[3] - y0)

    return Patch(cut, moved(box), label, tuple(moved(place) for place in places if place != box), stretch)


def touched(box: Ltrb, places: Sequence[Ltrb], limit: float) -> bool:
    return bool(places) and bool((iou(np.array(box, float), np.array(places, float)) > limit).any())


def jittered(rng: random.Random, box: Ltrb) -> Ltrb:
    """The box as a finder gives it: mostly a little off, sometimes far, never below an IoU of 0.4."""
    width, height = box[2] - box[0], box[3] - box[1]
    kind = rng.random()
    shift, scale = (0.03, 0.04) if kind < 0.25 else (0.07, 0.1) if kind < 0.75 else (0.16, 0.25)
    for _ in range(20):
        x = (box[0] + box[2]) / 2 + rng.gauss(0, shift) * width
        y = (box[1] + box[3]) / 2 + rng.gauss(0, shift) * height
        both = rng.gauss(0, scale)
        half_w = width / 2 * math.exp(both + rng.gauss(0, scale / 2))
        half_h = height / 2 * math.exp(both + rng.gauss(0, scale / 2))
        candidate = (x - half_w, y - half_h, x + half_w, y + half_h)
        if iou(np.array(candidate), np.array([box]))[0] >= POSITIVE_IOU:
            return candidate
    return box


def _painted(
    rng: random.Random, canvas: np.ndarray, picture: painting.Picture, height: float, centre: tuple[float, float]
) -> Ltrb:
    """Paints a picture into a canvas as it might hang there; its visible outline."""
    corners = painting.corners_of(picture.aspect, height, painting.random_pose(rng)) + centre
    patch, left, top = painting.warped(picture, corners)
    seen = painting.seen_box(patch[..., 3] / 255)
    # What a clean white surface would have: a street's bright parts, more or less.
    white = min(1.0, max(0.25, float(np.percentile(canvas[::8, ::8], 80)) / 255 * rng.uniform(0.8, 1.5)))
    painting.blend(canvas, painting.worn(rng, patch, white), left, top)
    radius = height * picture.aspect
    matrix = cv2.getPerspectiveTransform(np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32), corners.astype(np.float32))
    for lamp in picture.lamps:
        u, v, w = matrix @ (lamp.x, lamp.y, 1.0)
        painting.glow(canvas, u / w, v / w, max(0.7, lamp.radius * radius), lamp.colour, rng.uniform(0.1, 0.8))
    if seen is None:
        return (*corners.min(0), *corners.max(0))
    return left + seen[0], top + seen[1], left + seen[2], top + seen[3]


def _lay_sky(rng: random.Random, canvas: np.ndarray) -> None:
    """Mostly a bright sky, in place: before it dark things look most like lights."""
    if rng.random() < 0.7:
        bright = rng.randrange(150, 256)
        sky = np.array([bright - rng.randrange(31), bright - rng.randrange(16), bright])
        share = rng.uniform(0.6, 1.0)
        canvas[:] = (canvas * (1 - share) + sky * share).astype(np.uint8)


def _dark_thing(rng: random.Random) -> np.ndarray:
    """(h, w, 4) uint8 of something dark and upright that is no light: tree top, chimney, window, dark spots above each other."""
    width, height = rng.randrange(22, 48), rng.randrange(44, DRAWN_PX + 16)
    rgba = np.zeros((height, width, 4), np.uint8)
    level = rng.randrange(12, 90)
    dark = (level, min(255, level + rng.randrange(0, 25)), level, 255)
    kind = rng.choice(["spruce", "spruce", "chimney", "window", "spots", "spots", "bush"])
    if kind == "spruce":
        layers = rng.randrange(3, 9)
        for k in range(layers):
            top, bottom = height * k / (layers + 1), height * (k + 1.8) / (layers + 1)
            reach = width / 2 * (k + 1) / layers * rng.uniform(0.7, 1.1)
            shade = [max(0, min(255, c + rng.randrange(-10, 12))) for c in dark[:3]]
            points = [(width / 2, top), (width / 2 + reach, bottom), (width / 2 - reach, bottom)]
            cv2.fillPoly(rgba, [np.round(points).astype(np.int32)], (*shade, 255), cv2.LINE_AA)
    elif kind == "bush":
        for _ in range(rng.randrange(8, 25)):
            centre = (rng.randrange(width), rng.randrange(height))
            shade = [max(0, min(255, c + rng.randrange(-15, 20))) for c in dark[:3]]
            cv2.circle(rgba, centre, rng.randrange(3, max(4, width // 3)), (*shade, 255), -1, cv2.LINE_AA)
    elif kind == "spots":
        count = rng.randrange(2, 5)
        # Three on a board would be a light that is off.
        if count != 3 and rng.random() < 0.5:
            rgba[:] = (*(min(255, c + rng.randrange(10, 60)) for c in dark[:3]), 255)
        for k in range(count):
            centre = (int(width * rng.uniform(0.3, 0.7)), int(height * (k + rng.uniform(0.3, 0.7)) / count))
            axes = (int(width * rng.uniform(0.15, 0.45)), max(2, int(height / count * rng.uniform(0.2, 0.5))))
            cv2.ellipse(rgba, centre, axes, rng.uniform(0, 180), 0, 360, dark, -1, cv2.LINE_AA)
    else:
        rgba[:] = dark if kind == "window" else (level + 60, level + rng.randrange(20, 60), level + 20, 255)
        if kind == "window":
            frame = (*(rng.randrange(120, 250) for _ in range(3)), 255)
            cv2.rectangle(rgba, (0, 0), (width - 1, height - 1), frame, rng.randrange(2, 5))
            for k in range(1, rng.randrange(1, 4)):
                cv2.line(rgba, (0, height * k // 3), (width, height * k // 3), frame, rng.randrange(1, 4))
            if rng.random() < 0.5:
                cv2.line(rgba, (width // 2, 0), (width // 2, height), frame, rng.randrange(1, 4))
        else:
            rgba[: height // 7] = dark
            for row in range(height // 7, height, 6):
                cv2.line(rgba, (0, row), (width, row), dark, 1)
    return rgba


def _occlude(rng: random.Random, pixels: np.ndarray, frame: np.ndarray, box: Ltrb, pieces: Sequence[np.ndarray]) -> None:
    """Sometimes a pole, leaves or a piece of another street before a part of the object, in place."""
    if rng.random() > 0.13:
        return
    side = pixels.shape[0]
    scale = side / (frame[2:] - frame[:2])
    left, top = (np.array(box[:2]) - frame[:2]) * scale
    right, bottom = (np.array(box[2:]) - frame[:2]) * scale
    width, height = right - left, bottom - top
    kind = rng.random()
    if kind < 0.35:
        x, slope = rng.uniform(left, right), rng.uniform(-0.2, 0.2) * side
        grey = rng.randrange(20, 150)
        thick = max(1, round(width * rng.uniform(0.04, 0.16)))
        cv2.line(pixels, (round(x), -1), (round(x + slope), side), (grey, grey, grey), thick, cv2.LINE_AA)
    elif kind < 0.65:
        for _ in range(rng.randrange(3, 12)):
            x, y = rng.uniform(left, right), rng.uniform(top, bottom)
            leaf = tuple(max(0, min(255, c + rng.randrange(-25, 25))) for c in (50, 75, 40))
            cv2.circle(pixels, (round(x), round(y)), max(1, round(rng.uniform(0.03, 0.1) * width)), leaf, -1, cv2.LINE_AA)
    else:
        share = rng.uniform(0.1, 0.3)
        cover = cv2.resize(rng.choice(pieces), (side, side))
        edge = round(rng.choice([top + share * height, bottom - share * height]))
        across = round(rng.choice([left + share * width, right - share * width]))
        edge, across = min(max(edge, 0), side), min(max(across, 0), side)
        if rng.random() < 0.5:
            rows = slice(0, edge) if edge < (top + bottom) / 2 else slice(edge, side)
            pixels[rows] = cover[rows]
        else:
            columns = slice(0, across) if across < (left + right) / 2 else slice(across, side)
            pixels[:, columns] = cover[:, columns]
