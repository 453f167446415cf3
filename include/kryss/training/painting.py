"""Flat pictures of signs and traffic lights, and how they are painted into a photo: pose, light, dirt, occlusion, outline.

Signs are drawn from the SVGs of npm ``mapillary_sprite_source`` (MIT) or cut from labelled photos; traffic lights are drawn here.
A picture is upright and seen from the front: premultiplied RGBA in halving sizes, so that it can be warped without aliasing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from kryss.training.data.photos import HORIZONTAL, PEDESTRIANS, UPRIGHT, LabelledPhoto, Ltrb

SPRITE_PX = 192
LIGHT_PX = 240
FAINT = 0.12
LAMPS = ((255, 52, 38), (255, 178, 40), (50, 245, 175))
"""Red, amber, green; lit."""
HOUSINGS = (((24, 25, 27), 6), ((42, 43, 45), 3), ((30, 42, 34), 2), ((92, 94, 92), 1), ((198, 160, 34), 2), ((70, 64, 44), 1))
"""Colour, and how often it is taken."""
FACES = {"white": (255, 255, 255), "yellow": (250, 222, 28), "orange": (236, 152, 22)}
ROUTE = "information--general-directions--g1"
"""Mapillary's class of route markers and direction boards; the npm package has no drawing of it."""


@dataclass(frozen=True, slots=True)
class Lamp:
    """A lit lens: centre and radius in shares of the picture's width and height (radius: of the width), and its colour."""

    x: float
    y: float
    radius: float
    colour: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Picture:
    """``levels``: (h, w, 4) uint8 premultiplied RGBA, each half as large as the one before; ``name`` None: not to be found."""

    name: str | None
    levels: tuple[np.ndarray, ...]
    lamps: tuple[Lamp, ...] = ()
    photographed: bool = False
    """Cut from a photo: has its light and blur already."""
    body: Ltrb | None = None
    """What is labelled where that is not the whole picture, in shares of its width and height: a light without its back plate."""

    @property
    def aspect(self) -> float:
        """Width over height."""
        height, width = self.levels[0].shape[:2]
        return width / height


def picture(
    rgba: np.ndarray, name: str | None, lamps: Iterable[Lamp] = (), photographed: bool = False, premultiplied: bool = False
) -> Picture:
    """Of (h, w, 4) uint8 RGBA, cut to its outline."""
    rows, columns = np.flatnonzero((rgba[..., 3] > 100).any(1)), np.flatnonzero((rgba[..., 3] > 100).any(0))
    if not len(rows):
        raise ValueError(f"the picture of {name} is empty")
    level = np.ascontiguousarray(rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    if not premultiplied:
        level[..., :3] = (level[..., :3].astype(np.uint16) * level[..., 3:] + 127) // 255
    levels = [level]
    while min(levels[-1].shape[:2]) >= 12:
        height, width = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA))
    return Picture(name, tuple(levels), tuple(lamps), photographed)


def sign_pictures(folder: Path, names: Iterable[str], height_px: int = SPRITE_PX) -> dict[str, list[Picture]]:
    """Class to its pictures: the drawing, and the faces that countries paint differently (Norway's warnings are yellow or white,
    its priority diamond orange). Classes without a drawing are absent.
    """
    import resvg_py

    found: dict[str, list[Picture]] = {}
    for name in names:
        path = folder / f"{name}.svg"
        if not path.is_file():
            continue
        body = bytes(resvg_py.svg_to_bytes(svg_path=str(path), width=height_px))
        image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
        if image is None or image.ndim != 3 or image.shape[2] != 4 or image[..., 3].max() <= 100:
            continue
        rgba = cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)
        found[name] = [picture(each, name) for each in _faces(name, rgba)]
    return found


def _faces(name: str, rgba: np.ndarray) -> list[np.ndarray]:
    if ("maximum-speed" in name and "end-of" not in name) or name.startswith("warning--"):
        return [rgba, _refaced(rgba, FACES["white"]), _refaced(rgba, FACES["yellow"])]
    if "priority-road" in name:
        return [rgba, _refaced(rgba, FACES["orange"]), _refaced(rgba, FACES["yellow"])]
    return [rgba]


def _refaced(rgba: np.ndarray, face: tuple[int, int, int]) -> np.ndarray:
    """Its yellow area, or where it has none its white one, in another colour."""
    pixels = rgba.copy()
    red, green, blue = (pixels[..., k].astype(int) for k in range(3))
    yellow = (red > 190) & (green > 150) & (blue < 120)
    white = (red > 200) & (green > 200) & (blue > 200)
    pixels[yellow if yellow.mean() > 0.05 else white, :3] = face
    return pixels


def cut_pictures(photos: Iterable[LabelledPhoto], shapes: dict[str, str], smallest_px: int = 14) -> dict[str, list[Picture]]:
    """Signs and lights as photos show them, cut along the outline that their class has (``shapes``: class to outline of the
    taxonomy), the edge a little soft. Classes without a known outline and boxes at the edge of a photo are left out.
    """
    found: dict[str, list[Picture]] = {}
    for photo in photos:
        whole = [box for box in photo.boxes if _inside(box[:4], photo) and box[3] - box[1] >= smallest_px]
        pixels = photo.pixels() if whole else None
        for left, top, right, bottom, name in whole:
            shape = shapes.get(name)
            if pixels is None or shape not in OUTLINES:
                continue
            x0, y0, x1, y1 = round(left), round(top), round(right), round(bottom)
            if x1 - x0 < 6 or y1 - y0 < 6:
                continue
            piece = pixels[y0:y1, x0:x1]
            mask = outline(shape, x1 - x0, y1 - y0)
            found.setdefault(name, []).append(picture(np.dstack([piece, mask]), name, photographed=True))
    return found


def _inside(box: Ltrb, photo: LabelledPhoto) -> bool:
    return box[0] >= 1 and box[1] >= 1 and box[2] <= photo.width - 1 and box[3] <= photo.height - 1


_OCTAGON = 1 / (2 + math.sqrt(2))
OUTLINES: dict[str, tuple[tuple[float, float], ...]] = {
    "circle": tuple((0.5 + 0.5 * math.cos(a / 20 * math.pi), 0.5 + 0.5 * math.sin(a / 20 * math.pi)) for a in range(40)),
    "triangle_up": ((0.44, 0.03), (0.5, 0.0), (0.56, 0.03), (1.0, 0.9), (0.98, 1.0), (0.02, 1.0), (0.0, 0.9)),
    "triangle_down": ((0.44, 0.97), (0.5, 1.0), (0.56, 0.97), (1.0, 0.1), (0.98, 0.0), (0.02, 0.0), (0.0, 0.1)),
    "diamond": ((0.5, 0.0), (1.0, 0.5), (0.5, 1.0), (0.0, 0.5)),
    "octagon": (
        *((_OCTAGON, 0.0), (1 - _OCTAGON, 0.0), (1.0, _OCTAGON), (1.0, 1 - _OCTAGON)),
        *((1 - _OCTAGON, 1.0), (_OCTAGON, 1.0), (0.0, 1 - _OCTAGON), (0.0, _OCTAGON)),
    ),
    "square": ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)),
    "rect_h": ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)),
    "rect_v": ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)),
    "light": ((0.08, 0.0), (0.92, 0.0), (1.0, 0.04), (1.0, 0.96), (0.92, 1.0), (0.08, 1.0), (0.0, 0.96), (0.0, 0.04)),
}
"""Outlines in shares of the box, by the shapes of the taxonomy."""


def outline(shape: str, width: int, height: int) -> np.ndarray:
    """(height, width) uint8 mask of a shape that fills its box."""
    mask = np.zeros((height, width), np.uint8)
    corners = np.array(OUTLINES[shape]) * (width, height) - 0.5
    cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return mask


def route_markers(count: int, seed: int) -> list[Picture]:
    """Numbers of roads (white on green: Europe; black on white or yellow: national; white on blue: motorway), and boards with
    places and arrows.
    """
    rng = random.Random(f"routes:{seed}")
    return [_marker(rng) if rng.random() < 0.65 else _direction_board(rng) for _ in range(count)]


GREEN, BLUE, YELLOW, WHITE, BLACK = (18, 112, 96), (20, 82, 160), (248, 200, 24), (250, 250, 248), (20, 20, 20)


def _marker(rng: random.Random) -> Picture:
    letters, ground, ink = rng.choices(
        [
            ("E", GREEN, WHITE),
            ("Rv ", WHITE, BLACK),
            ("Fv ", WHITE, BLACK),
            ("", WHITE, BLACK),
            ("B ", YELLOW, BLACK),
            ("A ", BLUE, WHITE),
        ],
        [45, 8, 8, 16, 15, 8],
    )[0]
    if ground == GREEN:
        red, green, blue = (min(255, max(0, c + rng.randrange(-12, 13))) for c in GREEN)
        ground = (red, green, blue)
        letters = rng.choice(["E", "E "])
    text = letters + str(rng.choice([rng.randrange(1, 20), rng.randrange(10, 100), rng.randrange(100, 900)]))
    height, thick = 96, rng.randrange(5, 9)
    (wide, tall), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.9, thick)
    width = int(max(wide + rng.uniform(16, 60), height * rng.uniform(1.2, 2.1)))
    rgba = np.zeros((height, width, 4), np.uint8)
    radius = rng.choice([2.0, 8.0, 14.0])
    rim = ink if rng.random() < 0.7 else (YELLOW if ground == GREEN else ground)
    _rounded(rgba, (0, 0, width, height), radius, ground if rng.random() < 0.3 else rim)
    edge = rng.uniform(3, 7)
    _rounded(rgba, (edge, edge, width - edge, height - edge), radius * 0.7, ground)
    at = ((width - wide) // 2, (height + tall) // 2)
    cv2.putText(rgba, text, at, cv2.FONT_HERSHEY_SIMPLEX, 1.9, _solid(ink), thick, cv2.LINE_AA)
    return picture(rgba, ROUTE)


def _direction_board(rng: random.Random) -> Picture:
    ground, ink = rng.choices([(YELLOW, BLACK), (BLUE, WHITE), (WHITE, BLACK), (GREEN, WHITE)], [40, 25, 25, 10])[0]
    lines = rng.choice([1, 1, 2, 3])
    height, width = 64 * lines + 16, rng.randrange(200, 420)
    rgba = np.zeros((height, width, 4), np.uint8)
    if lines == 1 and rng.random() < 0.6:
        # A board that is an arrow itself.
        tip, flip = height * 0.5, rng.random() < 0.5
        corners = np.array([(0, 0), (width - tip, 0), (width, height / 2), (width - tip, height), (0, height)])
        if flip:
            corners[:, 0] = width - corners[:, 0]
        cv2.fillPoly(rgba, [np.round((corners - 0.5) * 16).astype(np.int32)], _solid(ground), cv2.LINE_AA, 4)
    else:
        _rounded(rgba, (0, 0, width, height), 10, ink)
        _rounded(rgba, (5, 5, width - 5, height - 5), 7, ground)
    for k in range(lines):
        word = "".join(rng.choice("aeioubdfghklmnprstv") for _ in range(rng.randrange(4, 11))).capitalize()
        scale, y = rng.uniform(1.1, 1.5), 64 * k + 56
        cv2.putText(rgba, word, (34, y), cv2.FONT_HERSHEY_DUPLEX, scale, _solid(ink), 3, cv2.LINE_AA)
    rgba[rgba[..., 3] == 0] = 0
    return picture(rgba, ROUTE)


# --- traffic lights ---------------------------------------------------------------------------------------------------------


def drawn_lights(count: int, seed: int) -> list[Picture]:
    """Heads of every kind, made once: upright ones mostly, lying and pedestrian ones."""
    rng = random.Random(f"lights:{seed}")
    return [_head(rng) for _ in range(count)]


def _head(rng: random.Random) -> Picture:
    kind = rng.choices([UPRIGHT, HORIZONTAL, PEDESTRIANS], [72, 14, 14])[0]
    lenses = 2 if kind == PEDESTRIANS else rng.choices([3, 2, 4], [90, 4, 6])[0]
    pitch = LIGHT_PX / (lenses + 0.3)
    across = pitch * rng.uniform(0.94, 1.25)
    plate = pitch * rng.uniform(0.2, 0.5) if kind != PEDESTRIANS and rng.random() < 0.22 else 0.0
    turned = rng.choice([0.0, 0.0, rng.uniform(-0.75, 0.75)])
    visor = pitch * abs(turned) * 0.55
    lying = kind == HORIZONTAL
    along = pitch * (lenses + rng.uniform(0.02, 0.25))
    head_w, head_h = (along, across) if lying else (across, along)
    margin = plate + visor + 4
    width, height = int(head_w + 2 * margin), int(head_h + 2 * margin)
    rgba = np.zeros((height, width, 4), np.uint8)
    if plate:
        box = (margin - plate, margin - plate, margin + head_w + plate, margin + head_h + plate)
        rim = rng.choices([(235, 235, 232), (226, 184, 30), (18, 18, 18), (170, 40, 34)], [4, 2, 4, 1])[0]
        _rounded(rgba, box, pitch * rng.uniform(0.02, 0.2), rim)
        edge = pitch * rng.uniform(0.04, 0.12)
        _rounded(rgba, (box[0] + edge, box[1] + edge, box[2] - edge, box[3] - edge), pitch * 0.1, (20, 20, 21))
    housing = rng.choices([c for c, _ in HOUSINGS], [n for _, n in HOUSINGS])[0]
    body = (margin, margin, margin + head_w, margin + head_h)
    _rounded(rgba, body, pitch * rng.choice([0.06, 0.15, 0.3]), tuple(min(255, int(c * 1.25)) for c in housing))
    inset = pitch * 0.03
    front = housing if rng.random() < 0.8 else (24, 24, 25)
    _rounded(rgba, (body[0] + inset, body[1] + inset, body[2] - inset, body[3] - inset), pitch * 0.1, front)
    for k in range(1, lenses):
        seam = tuple(int(c * 0.6) for c in front)
        at = margin + head_w * k / lenses if lying else margin + head_h * k / lenses
        ends = ((at, body[1]), (at, body[3])) if lying else ((body[0], at), (body[2], at))
        _line(rgba, *ends, max(1, int(pitch * 0.03)), seam)
    colours = [LAMPS[0], LAMPS[2]] if lenses == 2 else [LAMPS[0], LAMPS[1], LAMPS[2], LAMPS[2]][:lenses]
    lit = rng.choices(
        [(0,), (lenses - 1,), (1,) if lenses > 2 else (0,), (0, 1) if lenses > 2 else (1,), ()], [40, 32, 12, 3, 13]
    )[0]
    radius = pitch * rng.uniform(0.36, 0.44)
    style = rng.choices(["plain", "led", "arrow", "man"], [60, 20, 15, 0] if kind != PEDESTRIANS else [10, 10, 0, 80])[0]
    lamps = []
    for k in range(lenses):
        share = (k + 0.5) / lenses
        x, y = (margin + head_w * share, margin + head_h / 2) if lying else (margin + head_w / 2, margin + head_h * share)
        _lens(rng, rgba, x, y, radius, colours[k], k in lit, style)
        _visor(rgba, x, y, radius, turned, housing, rng.random() < 0.85)
        if k in lit:
            lamps.append((x, y, radius, colours[k]))
    rows, columns = np.flatnonzero((rgba[..., 3] > 100).any(1)), np.flatnonzero((rgba[..., 3] > 100).any(0))
    x0, y0, x1, y1 = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    inner = (
        (margin - x0) / (x1 - x0),
        (margin - y0) / (y1 - y0),
        (margin + head_w - x0) / (x1 - x0),
        (margin + head_h - y0) / (y1 - y0),
    )
    placed = [Lamp((x - x0) / (x1 - x0), (y - y0) / (y1 - y0), r / (x1 - x0), c) for x, y, r, c in lamps]
    return replace(picture(rgba, kind, placed), body=inner if plate else None)


def _fixed(*values: float) -> tuple[int, ...]:
    """cv2's fixed point: 4 bits of fraction, pixel centres at whole numbers."""
    return tuple(round((value - 0.5) * 16) for value in values)


def _solid(colour: Sequence[float]) -> tuple[float, ...]:
    return (*(float(min(255, max(0, c))) for c in colour), 255.0)


def _rounded(rgba: np.ndarray, box: Sequence[float], radius: float, colour: Sequence[float]) -> None:
    left, top, right, bottom = box
    radius = min(radius, (right - left) / 2, (bottom - top) / 2)
    arc = [(math.cos(a), math.sin(a)) for a in np.linspace(0, math.pi / 2, 7)]
    corners = [(right - radius + radius * c, bottom - radius + radius * s) for c, s in arc]
    corners += [(left + radius - radius * s, bottom - radius + radius * c) for c, s in arc]
    corners += [(left + radius - radius * c, top + radius - radius * s) for c, s in arc]
    corners += [(right - radius + radius * s, top + radius - radius * c) for c, s in arc]
    points = np.round((np.array(corners) - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(rgba, [points], _solid(colour), cv2.LINE_AA, 4)


def _line(
    rgba: np.ndarray, start: tuple[float, float], end: tuple[float, float], thickness: int, colour: Sequence[float]
) -> None:
    cv2.line(rgba, _fixed(*start), _fixed(*end), _solid(colour), thickness, cv2.LINE_AA, 4)


def disc(rgba: np.ndarray, x: float, y: float, radius: float, colour: Sequence[float]) -> None:
    cv2.circle(rgba, _fixed(x, y), round(radius * 16), _solid(colour), -1, cv2.LINE_AA, 4)


def _lens(
    rng: random.Random, rgba: np.ndarray, x: float, y: float, radius: float, colour: tuple[int, int, int], lit: bool, style: str
) -> None:
    disc(rgba, x, y, radius * 1.08, (16, 16, 17))
    if not lit:
        # An unlit lens mirrors the sky: greyish, with a little of its colour.
        level, tint = rng.uniform(22, 105), rng.uniform(0.1, 0.5)
        dark = [level * (1 - tint) + c / 255 * level * 1.2 * tint for c in colour]
        disc(rgba, x, y, radius, dark)
        if rng.random() < 0.5:
            disc(rgba, x - radius * 0.2, y + radius * 0.3, radius * 0.45, [c * 1.3 + 8 for c in dark])
        return
    if style in ("arrow", "man"):
        disc(rgba, x, y, radius, (20, 18, 18))
        _symbol(rng, rgba, x, y, radius, colour, style)
        return
    white = rng.uniform(0.0, 0.65)
    for ring in (1.0, 0.8, 0.6, 0.4, 0.2):
        towards = white * (1 - ring)
        disc(rgba, x, y, radius * ring, [c * (0.86 + 0.14 * (1 - ring)) * (1 - towards) + 255 * towards for c in colour])
    if style == "led":
        step = max(3.0, radius * 0.22)
        for dy in np.arange(-radius, radius, step):
            _line(rgba, (x - radius, y + dy), (x + radius, y + dy), 1, [c * 0.55 for c in colour])


def _symbol(
    rng: random.Random, rgba: np.ndarray, x: float, y: float, radius: float, colour: tuple[int, int, int], style: str
) -> None:
    thick = max(2, int(radius * 0.24))
    if style == "man":
        disc(rgba, x, y - radius * 0.62, radius * 0.2, colour)
        _line(rgba, (x, y - radius * 0.35), (x, y + radius * 0.2), int(thick * 1.5), colour)
        spread = rng.choice([0.12, 0.4])
        for side in (-1, 1):
            _line(rgba, (x, y + radius * 0.15), (x + side * radius * spread, y + radius * 0.82), thick, colour)
            _line(rgba, (x, y - radius * 0.32), (x + side * radius * (spread + 0.15), y + radius * 0.1), thick, colour)
        return
    turn = rng.choice([-math.pi / 2, 0.0, math.pi])
    tip = (x + 0.7 * radius * math.cos(turn), y + 0.7 * radius * math.sin(turn))
    _line(rgba, (x - 0.65 * radius * math.cos(turn), y - 0.65 * radius * math.sin(turn)), tip, thick, colour)
    for back in (-2.4, 2.4):
        _line(
            rgba,
            tip,
            (tip[0] + 0.6 * radius * math.cos(turn + back), tip[1] + 0.6 * radius * math.sin(turn + back)),
            thick,
            colour,
        )


def _visor(
    rgba: np.ndarray, x: float, y: float, radius: float, turned: float, housing: tuple[int, int, int], has_hood: bool
) -> None:
    """A hood over the lens: an arc from the front; from the side it stands out and hides a part of the lens."""
    if not has_hood:
        return
    shade = tuple(int(c * 0.55) for c in housing)
    centre = (_fixed(x, y)[0], _fixed(x, y)[1])
    cv2.ellipse(
        rgba, centre, (round(radius * 1.1 * 16),) * 2, 0, 190, 350, _solid(shade), max(1, int(radius * 0.16)), cv2.LINE_AA, 4
    )
    if abs(turned) < 0.1:
        return
    reach = turned * radius * 1.1
    sign = 1 if turned > 0 else -1
    arc = [(x + radius * 1.1 * math.cos(a), y + radius * 1.1 * math.sin(a)) for a in np.linspace(-2.9, -0.25, 9)]
    side = [p for p in arc if sign * (p[0] - x) > -radius * 0.3]
    points = [*side, *((px + reach, py + abs(turned) * radius * 0.25) for px, py in reversed(side))]
    cv2.fillPoly(rgba, [np.round((np.array(points) - 0.5) * 16).astype(np.int32)], _solid(shade), cv2.LINE_AA, 4)


# --- poses and painting -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pose:
    """How a flat picture stands to the camera: turns in radians, and the camera's distance in heights of the picture."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    distance: float = 12.0


def random_pose(rng: random.Random, yaw_sigma_deg: float = 20, roll_sigma_deg: float = 3) -> Pose:
    yaw = min(1.05, max(-1.05, math.radians(rng.gauss(0, yaw_sigma_deg))))
    return Pose(yaw, math.radians(rng.gauss(0, 6)), math.radians(rng.gauss(0, roll_sigma_deg)), rng.uniform(4, 25))


def corners_of(aspect: float, height_px: float, pose: Pose) -> np.ndarray:
    """(4, 2) corners (top left, clockwise) of a picture seen in that pose, in pixels, around its centre. ``height_px`` is the
    height that it would have if it faced the camera: a pinhole camera, as in Hartley & Zisserman, 6.1.
    """
    x = np.array([-aspect, aspect, aspect, -aspect]) / 2
    y = np.array([-1.0, -1.0, 1.0, 1.0]) / 2
    cos_y, sin_y, cos_p, sin_p = math.cos(pose.yaw), math.sin(pose.yaw), math.cos(pose.pitch), math.sin(pose.pitch)
    x, z = x * cos_y, x * sin_y
    y, z = y * cos_p - z * sin_p, y * sin_p + z * cos_p
    cos_r, sin_r = math.cos(pose.roll), math.sin(pose.roll)
    x, y = x * cos_r - y * sin_r, x * sin_r + y * cos_r
    return np.stack([x, y], 1) * (height_px * pose.distance / (pose.distance + z))[:, None]


def warped(drawn: Picture, corners: np.ndarray) -> tuple[np.ndarray, int, int]:
    """The picture with its corners at ``corners`` (4, 2; pixels of the photo): a premultiplied float32 RGBA patch (0 to 255) and
    the photo's column and row of its first pixel.
    """
    left, top = (int(v) for v in np.floor(corners.min(0)) - 1)
    right, bottom = (int(v) for v in np.ceil(corners.max(0)) + 1)
    level = drawn.levels[0]
    for smaller in drawn.levels[1:]:
        if smaller.shape[0] < 2 * (bottom - top - 2):
            break
        level = smaller
    height, width = level.shape[:2]
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) - 0.5
    target = ((corners - (left, top)) * 2 - 0.5).astype(np.float32)
    size = (2 * (right - left), 2 * (bottom - top))
    twice = cv2.warpPerspective(level, cv2.getPerspectiveTransform(source, target), size, flags=cv2.INTER_LINEAR)
    return cv2.resize(twice, (right - left, bottom - top), interpolation=cv2.INTER_AREA).astype(np.float32), left, top


def painted(rng: random.Random, drawn: Picture, height_px: float, white: float | None = None) -> np.ndarray:
    """One picture in a random pose, light and state: a premultiplied float32 RGBA patch (0 to 255) for `blend`; its outline is
    ``seen_box(patch[..., 3] / 255)``.
    """
    pose = random_pose(rng, rng.choice([8, 22, 35]))
    if drawn.photographed:
        pose = Pose(pose.yaw * 0.4, 0.0, pose.roll * 0.5, pose.distance)
    patch, _, _ = warped(drawn, corners_of(drawn.aspect, height_px, pose) + np.array([rng.random(), rng.random()]))
    return worn(rng, patch, white if white is not None else rng.uniform(0.3, 1.05), drawn.photographed)


def body_box(drawn: Picture, corners: np.ndarray) -> Ltrb | None:
    """ltrb of a picture's `body` where its corners are at ``corners`` (4, 2); None where the whole picture is labelled."""
    if drawn.body is None:
        return None
    left, top, right, bottom = drawn.body
    unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    inner = np.array([[[left, top], [right, top], [right, bottom], [left, bottom]]], np.float32)
    placed = cv2.perspectiveTransform(inner, cv2.getPerspectiveTransform(unit, corners.astype(np.float32)))[0]
    return float(placed[:, 0].min()), float(placed[:, 1].min()), float(placed[:, 0].max()), float(placed[:, 1].max())


def worn(rng: random.Random, patch: np.ndarray, white: float, photographed: bool = False) -> np.ndarray:
    """Light, fading, shadow, dirt and stickers on a patch. ``white``: what a clean white surface has in this scene (0 to 1)."""
    colour, alpha = patch[..., :3], patch[..., 3:]
    height, width = patch.shape[:2]
    if photographed:
        gain = rng.uniform(0.7, 1.3)
        return np.dstack([np.clip(colour * gain, 0, alpha), alpha]).astype(np.float32)
    saturation = rng.uniform(0.55, 1.05)
    tint = np.array([rng.gauss(1, 0.05), 1, rng.gauss(1, 0.07)], np.float32)
    mix = np.full((3, 3), (1 - saturation) / 3, np.float32) + np.eye(3, dtype=np.float32) * saturation
    colour = cv2.transform(colour, mix * (tint * white)[:, None])
    kind = rng.random()
    if kind < 0.35:
        across = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
        down = np.linspace(-1, 1, height, dtype=np.float32)[:, None, None]
        colour = colour * (1 + rng.uniform(-0.2, 0.2) * across + rng.uniform(-0.2, 0.2) * down)
    elif kind < 0.55:
        colour = colour * _blotches(rng, width, height, 0.45, hard=rng.random() < 0.6)[..., None]
    elif kind < 0.7:
        dirt = 1 - _blotches(rng, width, height, rng.uniform(0.2, 0.7), hard=False)[..., None]
        brown = np.array([86, 74, 58], np.float32) / 255 * white
        colour = colour * (1 - dirt) + brown * alpha * dirt
    elif kind < 0.74 and min(height, width) > 14:
        _sticker(rng, colour, alpha, white)
    haze = rng.uniform(0, 0.16) if rng.random() < 0.85 else rng.uniform(0.1, 0.4)
    colour = colour * (1 - haze) + alpha * (haze * min(1.0, white + 0.1))
    return np.dstack([np.clip(colour, 0, alpha), alpha]).astype(np.float32)


def _blotches(rng: random.Random, width: int, height: int, low: float, hard: bool) -> np.ndarray:
    """(height, width) factors from ``low`` to 1: shadows of leaves, dirt."""
    noise = np.random.default_rng(rng.getrandbits(63)).random((rng.randrange(2, 5), rng.randrange(2, 5)), np.float32)
    field = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    field = np.clip((field - 0.5) * 12 + 0.5, 0, 1) if hard else np.clip(field, 0, 1)
    return low + (1 - low) * field


def _sticker(rng: random.Random, colour: np.ndarray, alpha: np.ndarray, white: float) -> None:
    height, width = colour.shape[:2]
    w, h = max(2, int(width * rng.uniform(0.1, 0.3))), max(2, int(height * rng.uniform(0.1, 0.25)))
    x, y = rng.randrange(width - w), rng.randrange(height - h)
    paint = np.array([rng.random(), rng.random(), rng.random()], np.float32) * white
    colour[y : y + h, x : x + w] = paint * alpha[y : y + h, x : x + w]


def seen_box(alpha: np.ndarray) -> Ltrb | None:
    """ltrb outline of a coverage map (h, w; 0 to 1), to parts of pixels: an edge that half covers a pixel lies in its middle. A
    tip that covers its pixel by less than `FAINT` is not seen.
    """
    sides = []
    for profile in (alpha.max(0), alpha.max(1)):
        over = np.flatnonzero(profile > 0.5)
        if not len(over):
            return None
        first, last = int(over[0]), int(over[-1])
        before = float(profile[first - 1]) if first else 0.0
        after = float(profile[last + 1]) if last + 1 < len(profile) else 0.0
        low = first - before if before > FAINT else first + 1 - float(profile[first])
        high = last + 1 + after if after > FAINT else last + float(profile[last])
        sides.append((low, high))
    (left, right), (top, bottom) = sides
    return left, top, right, bottom


def blend(canvas: np.ndarray, patch: np.ndarray, left: int, top: int) -> None:
    """Lays a premultiplied float patch over a uint8 canvas, in place; what reaches over the canvas's edge is cut."""
    height, width = canvas.shape[:2]
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(width, left + patch.shape[1]), min(height, top + patch.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    part = patch[y0 - top : y1 - top, x0 - left : x1 - left]
    under = canvas[y0:y1, x0:x1]
    canvas[y0:y1, x0:x1] = (part[..., :3] + under * (1 - part[..., 3:] / 255) + 0.5).clip(0, 255).astype(np.uint8)


def glow(canvas: np.ndarray, x: float, y: float, radius: float, colour: Sequence[float], strength: float) -> None:
    """Light that a lit lens spreads in the camera, added in place."""
    reach = math.ceil(radius * 3)
    x0, y0 = max(0, int(x) - reach), max(0, int(y) - reach)
    x1, y1 = min(canvas.shape[1], int(x) + reach + 1), min(canvas.shape[0], int(y) + reach + 1)
    if x0 >= x1 or y0 >= y1:
        return
    columns = np.arange(x0, x1, dtype=np.float32) + 0.5 - x
    rows = np.arange(y0, y1, dtype=np.float32) + 0.5 - y
    halo = np.exp(-(columns[None, :] ** 2 + rows[:, None] ** 2) / (2 * (radius * 1.1) ** 2))[..., None] * strength
    under = canvas[y0:y1, x0:x1]
    canvas[y0:y1, x0:x1] = (under + halo * (np.array(colour, np.float32))).clip(0, 255).astype(np.uint8)
