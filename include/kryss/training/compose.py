"""Composed scenes: pieces of street photos with further signs and lights painted in, and boxes of all that is to be found.

A sample is a function of the seed and its number alone: the same on every machine with the same library versions, whatever
was drawn before it. Real signs keep their boxes; what has no label but may be something (see `prelabel`), and what
a crop cuts to less than half, is an ignore region. Nothing is painted over a label or an ignore region.
"""

from __future__ import annotations

import logging
import math
import os
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import cv2
import numpy as np

from kryss.training import painting
from kryss.training.data import coco
from kryss.training.data.photos import LIGHTS, OTHER_SIGN, LabelledPhoto, Ltrb
from kryss.training.painting import Picture, Pose
from kryss.training.scenery import Scene, distract, hang, occluder, pole, touch

log = logging.getLogger(__name__)

Sample = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""image (S, S, 3) uint8 RGB, boxes (n, 4) float32 ltrb, labels (n,) int64, ignore regions (m, 4) float32."""
SMALLEST_PX = 5.0
"""What a crop makes smaller than this is an ignore region: nobody could tell what it is."""
SEEN_SHARE = 0.5
SHEET, SHEET_COLUMNS = 40, 8
"""Scenes on the sheet that is written beside a composed data set."""
LOG_EVERY = 500


@dataclass(frozen=True, slots=True)
class Mix:
    """How scenes are composed. Shares are probabilities."""

    around_sign: float = 0.5
    """The crop lies around a labelled sign (rare classes as often as frequent ones, nearly)."""
    around_light: float = 0.32
    """... around a labelled light; the rest of the crops lies anywhere."""
    paste: float = 0.75
    """Further signs and lights are painted into a scene."""
    groups: tuple[int, int] = (1, 4)
    """How many poles, at least and at most."""
    lights: float = 0.4
    """Share of pasted groups that are lights."""
    others: float = 0.12
    """Share of pasted signs that have no name here (class other-sign). Plates below signs are ignore regions."""
    photographed: float = 0.4
    """Share of pasted things that were cut from photos, where there are any."""
    distractors: float = 0.35
    """Scenes with things that are no signs."""
    mosaic: float = 0.15
    """Scenes put together from four."""
    scale: tuple[float, float] = (0.5, 1.9)
    """Pixels of a sample for one of the photo, log-uniform."""
    height_px: tuple[float, float] = (10.0, 150.0)
    """Heights of pasted signs, log-uniform; lights are up to 1.4 times as high."""
    never_painted: tuple[str, ...] = ()
    """Classes that are learned from photos only."""
    mirror: bool = False
    """Mirrors half of the scenes. Only where left and right mean the same, as to a detector that tells signs from lights."""


class Pictures:
    """What can be painted: drawn signs, lights, and what was cut from photos."""

    def __init__(
        self,
        sprites: Path,
        names: Sequence[str],
        photos: Sequence[LabelledPhoto] = (),
        shapes: Mapping[str, str] | None = None,
        others: int = 150,
        lights: int = 240,
        seed: int = 0,
    ) -> None:
        """``photos``: to cut signs and lights from, along the outlines of ``shapes`` (default: the taxonomy's). ``others``: how
        many drawings of signs outside ``names`` are taken for class other-sign.
        """
        if not sprites.is_dir():
            raise FileNotFoundError(f"no folder {sprites}: --sprites is package_signs of npm's mapillary_sprite_source")
        self.drawn = painting.sign_pictures(sprites, [name for name in names if name not in LIGHTS])
        if painting.ROUTE in names:
            self.drawn[painting.ROUTE] = painting.route_markers(60, seed)
        rest = sorted(path.stem for path in sprites.glob("*.svg") if path.stem not in self.drawn)
        random.Random(f"others:{seed}").shuffle(rest)
        rest = _spread(rest, others)
        found = painting.sign_pictures(sprites, rest, painting.SPRITE_PX * 2 // 3)
        others_found = [(name, Picture(OTHER_SIGN, each[0].levels)) for name, each in sorted(found.items())]
        self.others = [each for name, each in others_found if not name.startswith("complementary")]
        self.plates = [Picture(None, each.levels) for name, each in others_found if name.startswith("complementary")]
        self.lights = painting.drawn_lights(lights, seed)
        cut = painting.cut_pictures(photos, dict(shapes if shapes is not None else _shapes()))
        self.cut = {name: each for name, each in cut.items() if name not in LIGHTS}
        self.cut_lights = [each for name in LIGHTS for each in cut.get(name, [])]


def _spread(names: Sequence[str], count: int) -> list[str]:
    """Most drawings are American plates: kinds take turns, so that triangles and discs have their share."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(name.split("--")[0], []).append(name)
    turns = [each for row in zip_longest(*(kinds[kind] for kind in sorted(kinds))) for each in row if each]
    return turns[:count]


def _shapes() -> dict[str, str]:
    from kryss.vision.taxonomy import classes

    return {row.name: row.shape for row in classes()}


class PhotoCache:
    """Decoded photos. With a folder they are kept there as raw pixels and mapped into memory, shared by all processes."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._mapped: dict[Path | bytes, np.ndarray] = {}
        if folder:
            folder.mkdir(parents=True, exist_ok=True)

    def pixels(self, photo: LabelledPhoto) -> np.ndarray:
        """(height, width, 3) uint8 RGB; not to be written to."""
        if self.folder is None:
            return photo.pixels()
        if photo.source not in self._mapped:
            path = self.folder / f"{photo.digest()}.npy"
            if not path.is_file():
                part = path.with_suffix(f".{os.getpid()}.part")
                with part.open("wb") as file:
                    np.save(file, photo.pixels())
                part.replace(path)
            self._mapped[photo.source] = np.load(path, mmap_mode="r")
        return self._mapped[photo.source]


class Sampler:
    """An endless stream of labelled crops."""

    def __init__(
        self,
        photos: Sequence[LabelledPhoto],
        classes: Sequence[str] | Mapping[str, int],
        sprites: Path | Pictures,
        side_px: int = 384,
        seed: int = 0,
        mix: Mix | None = None,
        cache: Path | None = None,
    ) -> None:
        """``classes``: the names to be found, in the order of their labels, or name to label (a detector that tells only
        signs from lights gives all signs and other-sign 0 and all lights 1, see `finder_labels`). What is painted or labelled
        but not among them is an ignore region. ``cache``: a scratch folder for decoded photos.
        """
        if not photos:
            raise ValueError("no photos to compose scenes from")
        self.mix, self.side_px, self.seed = mix or Mix(), side_px, seed
        self.labels = dict(classes) if isinstance(classes, Mapping) else {name: k for k, name in enumerate(classes)}
        self.photos = list(photos)
        self.cache = PhotoCache(cache)
        self.pictures = sprites if isinstance(sprites, Pictures) else Pictures(sprites, sorted(self.labels), self.photos)
        count = Counter(box[4] for photo in self.photos for box in photo.boxes)
        targets = [(photo, box) for photo in self.photos for box in photo.boxes if box[4] in self.labels]
        self._signs = [target for target in targets if target[1][4] not in LIGHTS]
        self._lights = [target for target in targets if target[1][4] in LIGHTS]
        self._wide = [photo for photo in self.photos if min(photo.width, photo.height) > 1.5 * side_px]
        self._sign_weights = _cumulated([1 / math.sqrt(count[box[4]]) for _, box in self._signs])
        # A stretched photo was made for its lights; a street photo shows a teacher's far ones.
        self._light_weights = _cumulated([1.0 if photo.stretch > 1 else 0.4 for photo, _ in self._lights])
        paintable = (self.pictures.drawn.keys() | self.pictures.cut.keys()) & self.labels.keys()
        self._names = sorted(paintable - set(self.mix.never_painted))
        # What no photo shows is painted most, what many show least.
        self._name_weights = _cumulated([1 / (0.15 + math.sqrt(count[name]) / 10) for name in self._names])

    def sample(self, number: int) -> Sample:
        """The sample of a number."""
        rng = random.Random(f"{self.seed}:{number}")
        side = self.side_px
        if rng.random() < self.mix.mosaic:
            scene = self._mosaic(rng)
        else:
            scene = self._crop(rng, side, side)
        if rng.random() < self.mix.distractors:
            for _ in range(rng.randrange(1, 4)):
                distract(rng, scene)
        if rng.random() < self.mix.paste:
            self._paste(rng, scene)
        mirrored = self.mix.mirror and rng.random() < 0.5
        image = developed(rng, scene.image)
        boxes = np.array([box[:4] for box in scene.boxes if box[4] in self.labels], np.float32).reshape(-1, 4)
        labels = np.array([self.labels[box[4]] for box in scene.boxes if box[4] in self.labels], np.int64)
        unnamed = [box[:4] for box in scene.boxes if box[4] not in self.labels]
        ignore = np.array([*scene.ignore, *unnamed], np.float32).reshape(-1, 4)
        if mirrored:
            image = np.ascontiguousarray(image[:, ::-1])
            boxes, ignore = (np.stack([side - b[:, 2], b[:, 1], side - b[:, 0], b[:, 3]], 1) for b in (boxes, ignore))
        return image, boxes, labels, ignore

    def _mosaic(self, rng: random.Random) -> Scene:
        side = self.side_px
        x, y = int(side * rng.uniform(0.3, 0.7)), int(side * rng.uniform(0.3, 0.7))
        whole = Scene(np.empty((side, side, 3), np.uint8))
        for left, top, right, bottom in ((0, 0, x, y), (x, 0, side, y), (0, y, x, side), (x, y, side, side)):
            part = self._crop(rng, right - left, bottom - top)
            whole.image[top:bottom, left:right] = part.image
            for b in part.boxes:
                whole.boxes.append((b[0] + left, b[1] + top, b[2] + left, b[3] + top, b[4]))
            whole.ignore += [(b[0] + left, b[1] + top, b[2] + left, b[3] + top) for b in part.ignore]
        return whole

    def _crop(self, rng: random.Random, width: int, height: int, inset: bool = True) -> Scene:
        """A piece of a photo around something labelled, or of anywhere. ``inset``: a small photo may lie in another's piece."""
        kind, target = (rng.random() if inset else 1.0), None
        if kind < self.mix.around_sign and self._signs:
            photo, target = rng.choices(self._signs, cum_weights=self._sign_weights)[0]
        elif kind < self.mix.around_sign + self.mix.around_light and self._lights:
            photo, target = rng.choices(self._lights, cum_weights=self._light_weights)[0]
        else:
            photo = rng.choice(self.photos if inset else self._wide)
        low, high = self.mix.scale
        if target is not None:
            # A target fits into the crop and stays large enough to be told.
            size = target[3] - target[1]
            high = max(min(high, 0.75 * min(height, width * size / max(target[2] - target[0], 1.0)) / size), 0.2)
            low = min(max(low, 9.0 / size), high)
        scale_y = math.exp(rng.uniform(math.log(low), math.log(high)))
        scale_x = scale_y * math.exp(rng.uniform(-0.08, 0.08))
        if photo.stretch > 1 and rng.random() < 0.3:
            scale_x *= math.exp(rng.uniform(-0.3, 0.7) * math.log(photo.stretch))
        # A small photo fills the crop as far as the scale allows, or lies in another: photos of lights show large ones.
        fill = max(width / (photo.width * scale_x), height / (photo.height * scale_y))
        if fill > 1 and self._wide and inset and rng.random() < 0.5:
            return self._inset(rng, photo, scale_x, scale_y, width, height)
        if fill > 1:
            scale_x, scale_y = (s * min(fill, max(high / scale_y, 1.0)) for s in (scale_x, scale_y))
        cut_w, cut_h = width / scale_x, height / scale_y
        if target is not None:
            x = (target[0] + target[2]) / 2 + rng.uniform(-0.42, 0.42) * cut_w
            y = (target[1] + target[3]) / 2 + rng.uniform(-0.42, 0.42) * cut_h
        else:
            x, y = rng.uniform(0, photo.width), rng.uniform(0.15, 0.75) * photo.height
        left, top = _within(rng, x - cut_w / 2, cut_w, photo.width), _within(rng, y - cut_h / 2, cut_h, photo.height)
        return cut(rng, self.cache.pixels(photo), photo, (left, top, left + cut_w, top + cut_h), width, height)

    def _inset(self, rng: random.Random, photo: LabelledPhoto, scale_x: float, scale_y: float, width: int, height: int) -> Scene:
        """A small photo as it is, somewhere in a crop of a larger one."""
        outer = self._crop(rng, width, height, inset=False)
        w, h = min(width, round(photo.width * scale_x)), min(height, round(photo.height * scale_y))
        left, top = rng.randint(0, width - w), rng.randint(0, height - h)
        x, y = (photo.width - w / scale_x) * rng.random(), (photo.height - h / scale_y) * rng.random()
        inner = cut(rng, self.cache.pixels(photo), photo, (x, y, x + w / scale_x, y + h / scale_y), w, h)
        place = (left, top, left + w, top + h)
        scene = Scene(outer.image)
        scene.image[top : top + h, left : left + w] = inner.image
        for box in outer.boxes:
            if not touch(box[:4], place):
                scene.boxes.append(box)
            elif (rest := _beside(box[:4], place)) is not None:
                scene.ignore.append(rest)
        scene.ignore += [box for box in outer.ignore if _beside(box, place) is not None]
        scene.boxes += [(b[0] + left, b[1] + top, b[2] + left, b[3] + top, b[4]) for b in inner.boxes]
        scene.ignore += [(b[0] + left, b[1] + top, b[2] + left, b[3] + top) for b in inner.ignore]
        return scene

    # --- what is painted in ---

    def _paste(self, rng: random.Random, scene: Scene) -> None:
        # Brightness of the scene decides what white is in it.
        mean = float(scene.image[::8, ::8].mean()) / 255
        for _ in range(rng.randint(*self.mix.groups)):
            white = min(1.05, max(0.22, mean * rng.uniform(1.15, 2.3) + rng.uniform(0, 0.12)))
            if rng.random() < 0.12:
                white *= rng.uniform(0.3, 0.6)
            if rng.random() < self.mix.lights:
                self._paste_lights(rng, scene, white)
            else:
                self._paste_signs(rng, scene, white)

    def _height(self, rng: random.Random, largest: float = 1.0) -> float:
        low, high = self.mix.height_px
        return math.exp(rng.uniform(math.log(low), math.log(min(high * largest, self.side_px * 0.6))))

    def _sign(self, rng: random.Random) -> Picture:
        if not self._names or (self.pictures.others and rng.random() < self.mix.others):
            return rng.choice(self.pictures.others)
        name = rng.choices(self._names, cum_weights=self._name_weights)[0]
        photographed, drawn = self.pictures.cut.get(name), self.pictures.drawn.get(name)
        if photographed and (not drawn or rng.random() < self.mix.photographed):
            return rng.choice(photographed)
        return rng.choice(drawn or self.pictures.others)

    def _paste_signs(self, rng: random.Random, scene: Scene, white: float) -> None:
        """One to four signs, one above the other, seen from one side, on a pole or not."""
        height = self._height(rng)
        count = rng.choices([1, 2, 3, 4], [58, 26, 12, 4])[0]
        pose = painting.random_pose(rng, yaw_sigma_deg=rng.choice([8, 22, 35]))
        rows: list[tuple[Picture, float, float]] = []
        down = 0.0
        for k in range(count):
            drawn = self._sign(rng)
            # Signs of a class have one width, more or less; wide boards are lower.
            own = height * rng.uniform(0.85, 1.1) / max(1.0, drawn.aspect / 1.3)
            if drawn.photographed and own > 1.6 * drawn.levels[0].shape[0]:
                own = drawn.levels[0].shape[0] * rng.uniform(0.6, 1.5)
            rows.append((drawn, own, down + own / 2))
            down += own + height * (rng.uniform(0.02, 0.12) if rng.random() < 0.8 else rng.uniform(0.12, 0.4))
            if k == count - 1 and rng.random() < 0.25 and self.pictures.plates:
                plate = rng.choice(self.pictures.plates)
                own = height * rng.uniform(0.6, 1.0) / plate.aspect
                rows.append((plate, own, down + own / 2))
                down += own
        width = max(own * drawn.aspect for drawn, own, _ in rows)
        place = self._free_place(rng, scene, width * 1.1 + 2, down * 1.08 + 2, lowest=0.95)
        if place is None:
            return
        x, y = place
        if rng.random() < 0.75:
            pole(rng, scene.image, x, y + down * 0.04, height, down, white)
        for drawn, own, centre in rows:
            self._put(rng, scene, drawn, own, (x + rng.gauss(0, 0.01) * own, y + centre), pose, white)

    def _light(self, rng: random.Random, height: float) -> Picture:
        cut = [each for each in self.pictures.cut_lights if each.levels[0].shape[0] * 1.5 >= height]
        return rng.choice(cut) if cut and rng.random() < self.mix.photographed else rng.choice(self.pictures.lights)

    def _paste_lights(self, rng: random.Random, scene: Scene, white: float) -> None:
        """A head or several, on a pole, an arm, a gantry or wires."""
        height = self._height(rng, 1.4)
        first = self._light(rng, height)
        lying = first.name == painting.HORIZONTAL
        if lying:
            height = max(6.0, height / 2.2)
        pose = painting.random_pose(rng, yaw_sigma_deg=14, roll_sigma_deg=2)
        squeeze = math.exp(rng.gauss(0, 0.1))
        heads = [(first, height, 0.0, 0.0)]
        extra = rng.random()
        if not lying and extra < 0.3:
            side = rng.choice([-1, 1]) * rng.uniform(1.15, 2.2) * height * max(first.aspect, 0.4)
            heads.append((self._light(rng, height), height * rng.uniform(0.75, 1.0), side, rng.uniform(-0.1, 0.35) * height))
        elif lying and extra < 0.4:
            heads.append((first, height, rng.choice([-1, 1]) * height * first.aspect * rng.uniform(1.2, 3), 0.0))
        wide = max(abs(dx) + own * drawn.aspect * squeeze for drawn, own, dx, _ in heads)
        tall = max(abs(dy) + own for _, own, _, dy in heads)
        place = self._free_place(rng, scene, wide * 1.15 + 2, tall * 1.1 + 2, lowest=0.75)
        if place is None:
            return
        x, y = place[0], place[1] + tall / 2
        left = min(dx - own * drawn.aspect / 2 for drawn, own, dx, _ in heads)
        right = max(dx + own * drawn.aspect / 2 for drawn, own, dx, _ in heads)
        x -= (left + right) / 2
        hang(rng, scene.image, x, y, height if not lying else height * 2.2, lying, white)
        for drawn, own, dx, dy in heads:
            self._put(rng, scene, drawn, own, (x + dx, y + dy), pose, min(1.0, white * 1.2), squeeze)

    def _free_place(
        self, rng: random.Random, scene: Scene, width: float, height: float, lowest: float
    ) -> tuple[float, float] | None:
        """Where a group goes: the middle of its upper edge."""
        side = self.side_px
        if width >= side - 4 or height >= side - 4:
            return None
        for _ in range(4):
            x = rng.uniform(width / 2 + 1, side - width / 2 - 1)
            y = rng.uniform(1, max(1.5, lowest * (side - height - 1)))
            if scene.is_free((x - width / 2, y, x + width / 2, y + height)):
                return x, y
        return None

    def _put(
        self,
        rng: random.Random,
        scene: Scene,
        drawn: Picture,
        height: float,
        centre: tuple[float, float],
        pose: Pose,
        white: float,
        squeeze: float = 1.0,
    ) -> None:
        if height < 3:
            return
        if drawn.photographed:
            pose = Pose(pose.yaw * 0.4, 0.0, pose.roll * 0.5, pose.distance)
        corners = painting.corners_of(drawn.aspect * squeeze, height, pose) + centre
        patch, left, top = painting.warped(drawn, corners)
        alpha = patch[..., 3] / 255
        box = painting.seen_box(alpha)
        if box is None:
            return
        patch = painting.worn(rng, patch, white, drawn.photographed)
        if height > 14 and rng.random() < 0.07:
            under = scene.image[max(0, top) : top + patch.shape[0], max(0, left) : left + patch.shape[1]].copy()
        else:
            under = None
        painting.blend(scene.image, patch, left, top)
        if drawn.lamps:
            matrix = cv2.getPerspectiveTransform(
                np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32), corners.astype(np.float32)
            )
            strength, spread = rng.uniform(0.1, 0.8), rng.choice([0.5, 0.8, 1.2])
            for lamp in drawn.lamps:
                u, v, w = matrix @ (lamp.x, lamp.y, 1.0)
                radius = lamp.radius * drawn.aspect * squeeze * height * spread
                painting.glow(scene.image, u / w, v / w, max(0.7, radius), lamp.colour, strength)
        share = 1.0
        if under is not None and top >= 0 and left >= 0:
            cover = occluder(rng, under.shape[1], under.shape[0])
            part = scene.image[top : top + under.shape[0], left : left + under.shape[1]]
            shade = np.array([rng.uniform(20, 90) + rng.uniform(-12, 12) for _ in range(3)], np.float32)
            hidden = (cover * alpha[: under.shape[0], : under.shape[1]])[..., None]
            part[:] = (part * (1 - hidden) + shade * hidden).astype(np.uint8)
            seen = alpha[: under.shape[0], : under.shape[1]] * (1 - cover)
            share = float(seen.sum() / max(1e-6, alpha.sum()))
            box = painting.seen_box(seen) or box
        labelled = painting.body_box(drawn, corners) or (box[0] + left, box[1] + top, box[2] + left, box[3] + top)
        place = _clipped(labelled, self.side_px, self.side_px)
        if place is None:
            return
        if share < SEEN_SHARE or min(place[2] - place[0], place[3] - place[1]) < SMALLEST_PX or drawn.name is None:
            scene.ignore.append(place)
        else:
            scene.boxes.append((*place, drawn.name))


def write_from_folder(
    photos: Path, sprites: Path, count: int, out: Path, seed: int = 0, side_px: int = 640, prelabels: Path | None = None
) -> Path:
    """Composes a COCO data set onto street photos: a COCO data set (``photos/annotations.json``), GTSDB as published, or any
    folder of photos. What these show without a label is an ignore region where ``prelabels`` (`kryss.training.prelabel`) says
    so. Held-out photos of a labelled set are left out.
    """
    from kryss.training import prelabel
    from kryss.training.data import check, folder, gtsdb, split
    from kryss.vision.taxonomy import detected

    labelled = True
    if (photos / "annotations.json").is_file():
        data = coco.load(photos / "annotations.json", photos / "images")
    elif (photos / "gt.txt").is_file():
        data = gtsdb.load(photos)
    else:
        data, labelled = folder.load(photos), False
    places = list(check.checked(data, skip_bad=True).photos)
    if labelled:
        places = split(places)[0]
    if prelabels:
        places = prelabel.apply(places, prelabels)
    return write_set(Sampler(places, [*detected(), OTHER_SIGN], sprites, side_px, seed, cache=out / "decoded"), count, out)


def write_set(sampler: Sampler, count: int, folder: Path) -> Path:
    """The first samples as a COCO data set: ``folder/images`` and ``folder/annotations.json`` (ignore regions are crowds), and
    ``folder/sheet.jpg`` to look at. Returns the annotations file; `data.coco.load` reads it.
    """
    names = {label: name for name, label in reversed(sampler.labels.items())}
    (folder / "images").mkdir(parents=True, exist_ok=True)
    photos, shown = [], []
    for number in range(count):
        image, boxes, labels, ignore = sampler.sample(number)
        path = folder / "images" / f"{number:06}.jpg"
        if not cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95]):
            raise OSError(f"cannot write {path}")
        found = tuple(
            (float(b[0]), float(b[1]), float(b[2]), float(b[3]), names[int(label)])
            for b, label in zip(boxes, labels, strict=True)
        )
        around = tuple((float(b[0]), float(b[1]), float(b[2]), float(b[3])) for b in ignore)
        photos.append(LabelledPhoto(number, path, sampler.side_px, sampler.side_px, found, around))
        if number < SHEET:
            shown.append(marked(image, boxes, ignore))
        if (number + 1) % LOG_EVERY == 0:
            log.info("%d of %d scenes composed", number + 1, count)
    if shown:
        columns = min(SHEET_COLUMNS, len(shown))
        shown += [np.zeros_like(shown[0])] * (-len(shown) % columns)
        rows = [np.hstack(shown[k : k + columns]) for k in range(0, len(shown), columns)]
        cv2.imwrite(str(folder / "sheet.jpg"), np.vstack(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    return coco.write(photos, folder)


def marked(image: np.ndarray, boxes: np.ndarray, ignore: np.ndarray) -> np.ndarray:
    """A copy with boxes in magenta and ignore regions in yellow."""
    image = image.copy()
    for rows, colour in ((ignore, (255, 255, 0)), (boxes, (255, 0, 255))):
        for left, top, right, bottom in rows:
            cv2.rectangle(image, (round(left) - 1, round(top) - 1), (round(right), round(bottom)), colour, 1)
    return image


def finder_labels(names: Sequence[str]) -> dict[str, int]:
    """Of a detector that tells signs (0) from lights (1)."""
    return {**{name: int(name in LIGHTS) for name in names}, **dict.fromkeys(LIGHTS, 1), OTHER_SIGN: 0}


def _beside(box: Ltrb, place: Ltrb) -> Ltrb | None:
    """What of a box something that was laid over it leaves to be seen: the box where that is more than a little."""
    width, height = min(box[2], place[2]) - max(box[0], place[0]), min(box[3], place[3]) - max(box[1], place[1])
    hidden = max(0.0, width) * max(0.0, height) / max(1e-6, (box[2] - box[0]) * (box[3] - box[1]))
    return box if hidden < 0.9 else None


def _cumulated(weights: Sequence[float]) -> list[float]:
    return [float(value) for value in np.cumsum(weights)]


def _within(rng: random.Random, start: float, length: float, whole: float) -> float:
    """A stretch moved into the photo where it fits, and around it where it does not."""
    if length <= whole:
        return min(max(start, 0.0), whole - length)
    return rng.uniform(whole - length, 0)


def _clipped(box: Ltrb, width: float, height: float) -> Ltrb | None:
    left, top, right, bottom = max(box[0], 0.0), max(box[1], 0.0), min(box[2], width), min(box[3], height)
    return (left, top, right, bottom) if right - left > 1 and bottom - top > 1 else None


def cut(rng: random.Random, pixels: np.ndarray, photo: LabelledPhoto, window: Ltrb, width: int, height: int) -> Scene:
    """The window (ltrb in the photo, may reach over its edge) as a scene of width x height pixels."""
    scale_x, scale_y = width / (window[2] - window[0]), height / (window[3] - window[1])
    x0, y0 = max(0, math.floor(window[0])), max(0, math.floor(window[1]))
    x1, y1 = min(photo.width, math.ceil(window[2]) + 1), min(photo.height, math.ceil(window[3]) + 1)
    grey = rng.randrange(90, 140)
    if x0 >= x1 or y0 >= y1:
        return Scene(np.full((height, width, 3), grey, np.uint8))
    piece = np.ascontiguousarray(pixels[y0:y1, x0:x1])
    # Halved first where much smaller: a warp reads four pixels, the others would be lost.
    halved = 1
    while min(scale_x, scale_y) * halved * 2 <= 0.85 and min(piece.shape[:2]) > 8:
        halved *= 2
        piece = cv2.resize(piece, (piece.shape[1] // 2, piece.shape[0] // 2), interpolation=cv2.INTER_AREA)
    real_x, real_y = (x1 - x0) / piece.shape[1], (y1 - y0) / piece.shape[0]
    if min(scale_x * real_x, scale_y * real_y) < 0.8:
        soft = 0.5 / min(scale_x * real_x, scale_y * real_y)
        piece = cv2.GaussianBlur(piece, (0, 0), soft * 0.7)
    sx, sy = scale_x * real_x, scale_y * real_y
    # Continuous coordinates have pixel centres at halves, cv2's at whole numbers.
    shift_x = (x0 - window[0]) * scale_x + 0.5 * sx - 0.5
    shift_y = (y0 - window[1]) * scale_y + 0.5 * sy - 0.5
    image = cv2.warpAffine(
        piece,
        np.array([[sx, 0, shift_x], [0, sy, shift_y]], np.float64),
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(grey, grey, grey),
    )
    scene = Scene(image)
    for box in photo.boxes:
        whole = _moved(box[:4], window, scale_x, scale_y)
        part = _clipped(whole, width, height)
        if part is None:
            continue
        share = (part[2] - part[0]) * (part[3] - part[1]) / max(1e-6, (whole[2] - whole[0]) * (whole[3] - whole[1]))
        if share < SEEN_SHARE or min(part[2] - part[0], part[3] - part[1]) < SMALLEST_PX:
            scene.ignore.append(part)
        else:
            scene.boxes.append((*part, box[4]))
    moved = (_clipped(_moved(box, window, scale_x, scale_y), width, height) for box in photo.ignore)
    scene.ignore += [box for box in moved if box is not None]
    return scene


def _moved(box: Ltrb, window: Ltrb, scale_x: float, scale_y: float) -> Ltrb:
    return (
        (box[0] - window[0]) * scale_x,
        (box[1] - window[1]) * scale_y,
        (box[2] - window[0]) * scale_x,
        (box[3] - window[1]) * scale_y,
    )


# --- camera -----------------------------------------------------------------------------------------------------------------


def developed(rng: random.Random, image: np.ndarray) -> np.ndarray:
    """Other light, other camera: exposure, colour, lens and motion blur, noise, JPEG."""
    if rng.random() < 0.85:
        saturation = rng.uniform(0.5, 1.4) if rng.random() < 0.92 else 0.0
        gain = math.exp(rng.uniform(math.log(0.6), math.log(1.35)))
        tint = np.array([rng.gauss(1, 0.05), 1, rng.gauss(1, 0.06)])
        mix = (np.full((3, 3), (1 - saturation) / 3) + np.eye(3) * saturation) * (tint * gain)[:, None]
        image = cv2.transform(image, mix)
    if rng.random() < 0.5:
        gamma, lift = math.exp(rng.gauss(0, 0.22)), rng.uniform(0, 0.15) * (rng.random() < 0.4)
        ramp = (np.arange(256) / 255) ** gamma * (1 - lift) + lift
        image = cv2.LUT(image, (ramp * 255 + 0.5).astype(np.uint8))
    kind = rng.random()
    if kind < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.35, 1.2))
    elif kind < 0.3:
        image = cv2.filter2D(image, -1, _streak(rng))
    elif kind < 0.38:
        image = cv2.addWeighted(image, 1.7, cv2.GaussianBlur(image, (0, 0), 1.0), -0.7, 0)
    if rng.random() < 0.3:
        noise = np.empty(image.shape, np.int16)
        cv2.setRNGSeed(rng.getrandbits(31))
        # A number for every channel: OpenCV takes a single one for the first channel's.
        cv2.randn(noise, np.zeros((4, 1)), np.full((4, 1), rng.uniform(1, 9)))
        image = cv2.add(image, noise, dtype=cv2.CV_8U)
    if rng.random() < 0.5:
        quality = rng.randrange(30, 95)
        _, body = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = cv2.imdecode(body, cv2.IMREAD_UNCHANGED)
        assert decoded is not None
        image = decoded
    return image


def _streak(rng: random.Random) -> np.ndarray:
    """Kernel of a camera that moved a little while the shutter was open."""
    length, turn = rng.uniform(1.5, 5), rng.gauss(0, 0.5)
    kernel = np.zeros((9, 9), np.float32)
    for share in np.linspace(-0.5, 0.5, 15):
        x, y = 4 + share * length * math.cos(turn), 4 + share * length * math.sin(turn)
        kernel[round(y), round(x)] += 1
    return kernel / kernel.sum()
