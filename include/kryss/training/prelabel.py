"""What photos show beside their labels, as teachers see it: a detector of lights over tiles, a finder of any sign over the whole.

No data set labels everything. GTSDB leaves lights and direction signs alone, photos of lights the far ones. Learning from them as
they are teaches a detector to overlook such things. So a sure light becomes a label where a data set has none of lights, and
everything else that may be a light or a sign becomes an ignore region. All finds are kept in the file, so that other rules can be
tried and hard negatives be mined. Held-out photos are never looked at.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from kryss.training.data.coco import LYING
from kryss.training.data.photos import HORIZONTAL, LIGHTS, UPRIGHT, LabelledPhoto, Ltrb, is_held_out
from kryss.training.evaluate import ORIENTATION, stored

if TYPE_CHECKING:
    from kryss.vision.detect import Detector

log = logging.getLogger(__name__)

TILE_PX, OVERLAP = 512, 0.2
LIGHTS_ABOVE = 0.6
"""Share of a photo's height, from above, in which small lights are looked for: below is the road, where lamps of cars are."""
LIGHT_LABEL, LIGHT_LABEL_IF_BOTH = 0.65, 0.4
"""A light that its teacher is this sure of becomes a label; with less where the finder sees one too."""
UPRIGHT_ASPECTS = (0.2, 0.75)
"""Width over height of a head that may become a label unless the finder sees a light there: wider things are mostly boards."""
LIGHT_IGNORE, FINDER_LIGHT_IGNORE, SIGN_IGNORE = 0.3, 0.2, 0.25
"""Score from which something without a label is an ignore region."""
IF_BOTH_IGNORE = 0.12
"""... from which it is where both teachers see a light."""
LARGEST_SHARE = 0.15
"""No light that nobody labelled is higher than this share of a photo."""
KEPT_FROM = 0.1
"""Score from which finds are written down."""
SAME = 0.3
"""Share of the smaller of two boxes that lies in the other: they mean the same thing."""
COLUMNS = ("left", "top", "right", "bottom", "score", "kind", "teacher")


@dataclass(frozen=True, slots=True)
class Find:
    """What a teacher saw. ``teacher``: lights (the detector of lights) or finder; ``kind``: sign or light."""

    box: Ltrb
    score: float
    kind: str
    teacher: str


def run(photos: Sequence[LabelledPhoto], out: Path, finder: str, lights: str = "picodet_s_416") -> int:
    """Looks at the photos with two models of the registry (or files of weights) and writes ``out``, going on where it ended;
    returns how many photos it holds. The finder's second stage is left out: what nobody can name is to be seen too.
    """
    from kryss.vision.detect import detector_of, load_detector
    from kryss.vision.registry import resolve

    entry = resolve(finder)
    # Its calibration is that of both stages' score, in which a sure finder without a reader is worth nothing.
    first_stage = replace(entry, calibration=None, inference=replace(entry.inference, recogniser=False))
    out.parent.mkdir(parents=True, exist_ok=True)
    known = set(read(out)) if out.is_file() else set()
    teachers = (load_detector(lights, score_threshold=KEPT_FROM), detector_of(first_stage, score_threshold=KEPT_FROM))
    return write(look(photos, *teachers, known), out)


def key_of(photo: LabelledPhoto) -> str:
    """Names a photo by its content, wherever it lies."""
    return hashlib.sha256(photo.body()).hexdigest()[:20]


def look(
    photos: Iterable[LabelledPhoto], lights: Detector, finder: Detector, known: Collection[str] = ()
) -> Iterator[tuple[str, list[Find]]]:
    """Key and finds of each photo that is neither held out nor ``known`` by its key. A photo that cannot be decoded is told and
    left out.
    """
    from kryss.vision.detect import PhotoFailure

    for number, photo in enumerate(photos, 1):
        if is_held_out(photo.id) or (key := key_of(photo)) in known:
            continue
        body = photo.body()
        outcome = finder.look(str(photo.id), body)
        if isinstance(outcome, PhotoFailure):
            log.warning("photo %s: %s", photo.id, outcome.reason)
            continue
        # It turns a photo upright, labels are in the pixels as stored.
        turn = _orientation(body)
        finds = [
            Find(stored(d.box, turn, photo.width, photo.height), d.score, "light" if d.class_name in LIGHTS else "sign", "finder")
            for d in outcome
            if d.score >= KEPT_FROM
        ]
        yield key, finds + _lights(photo, lights)
        if number % 20 == 0:
            log.info("%d photos looked at", number)


def _orientation(body: bytes) -> int:
    """EXIF's, 1 (upright) where it says none."""
    with Image.open(io.BytesIO(body)) as image:
        told = image.getexif().get(ORIENTATION, 1)
    return told if told in range(1, 9) else 1


def _lights(photo: LabelledPhoto, teacher: Detector) -> list[Find]:
    """Over the whole photo and over tiles that overlap, so that a light of a few pixels is seen at a size that it knows."""
    from kryss.vision.boxes import Candidates
    from kryss.vision.detect import PhotoFailure
    from kryss.vision.fusing import suppress

    pixels = photo.pixels()
    windows = [(0, 0, photo.width, photo.height)]
    if max(photo.width, photo.height) > TILE_PX * 1.2:
        rows = _starts(max(TILE_PX, round(photo.height * LIGHTS_ABOVE)), TILE_PX)
        windows += [(x, y, x + TILE_PX, y + TILE_PX) for y in rows for x in _starts(photo.width, TILE_PX)]
    else:
        half = int(min(photo.width, photo.height) * 0.6)
        windows += [(x, y, x + half, y + half) for y in _starts(photo.height, half) for x in _starts(photo.width, half)]
    boxes: list[Ltrb] = []
    scores: list[float] = []
    for x0, y0, x1, y1 in windows:
        piece = np.ascontiguousarray(pixels[y0:y1, x0:x1, ::-1])
        outcome = teacher.look("tile", cv2.imencode(".png", piece, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())
        if isinstance(outcome, PhotoFailure):
            raise ValueError(f"a tile of photo {photo.id} cannot be read: {outcome.reason}")
        for d in outcome:
            left, top, right, bottom = d.box
            # Half a light at the edge of a tile is a whole one in the next.
            at_edge = (left < 2 and x0 > 0) or (top < 2 and y0 > 0)
            at_edge |= (right > x1 - x0 - 2 and x1 < photo.width) or (bottom > y1 - y0 - 2 and y1 < photo.height)
            if d.class_name in LIGHTS and d.score >= KEPT_FROM and not at_edge:
                boxes.append((left + x0, top + y0, right + x0, bottom + y0))
                scores.append(d.score)
    if not boxes:
        return []
    kept = suppress(Candidates(np.array(boxes), np.array(scores), np.zeros(len(boxes), int)), 0.4)
    return [
        Find(tuple(round(float(v), 1) for v in box), round(float(score), 4), "light", "lights")  # type: ignore[arg-type]
        for box, score in zip(kept.boxes, kept.scores, strict=True)
    ]


def _starts(whole: int, side: int) -> list[int]:
    if whole <= side:
        return [0]
    count = int(np.ceil((whole - side) / (side * (1 - OVERLAP)))) + 1
    return [round(at) for at in np.linspace(0, whole - side, count)]


def write(found: Iterable[tuple[str, list[Find]]], path: Path, every: int = 20) -> int:
    """Adds to the JSON file of `read`, every few photos; the number of photos in it."""
    photos: dict[str, list[list[object]]] = json.loads(path.read_text(encoding="utf-8"))["photos"] if path.is_file() else {}
    for key, finds in found:
        photos[key] = [[*find.box, find.score, find.kind, find.teacher] for find in finds]
        if len(photos) % every == 0:
            _save(photos, path)
    _save(photos, path)
    return len(photos)


def _save(photos: dict[str, list[list[object]]], path: Path) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"columns": COLUMNS, "photos": photos}), encoding="utf-8")
    part.replace(path)


def read(path: Path) -> dict[str, list[Find]]:
    """Key of a photo (`key_of`) to all that the teachers saw in it."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {
            key: [Find((row[0], row[1], row[2], row[3]), row[4], row[5], row[6]) for row in rows]
            for key, rows in document["photos"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} is no file of ./kryss train prelabel: {error}") from error


def apply(photos: Sequence[LabelledPhoto], path: Path) -> list[LabelledPhoto]:
    """The photos with ignore regions, and with labels of lights where nobody labelled any."""
    finds = read(path)
    return [refined(photo, finds.get(key_of(photo), ())) for photo in photos]


def refined(photo: LabelledPhoto, finds: Sequence[Find]) -> LabelledPhoto:
    """One photo with what its teachers saw beside its labels. Where a light is labelled, its labellers decided which are."""
    boxes, ignore = list(photo.boxes), list(photo.ignore)
    lights_are_labelled = any(box[4] in LIGHTS for box in boxes)

    def is_new(box: Ltrb) -> bool:
        return not any(_shared(box, other[:4]) > SAME for other in boxes)

    by_finder = [find for find in finds if find.teacher == "finder"]

    def finder_score(find: Find, kind: str) -> float:
        return max((other.score for other in by_finder if other.kind == kind and _shared(find.box, other.box) > 0.5), default=0.0)

    for find in sorted(finds, key=lambda find: -find.score):
        left, top, right, bottom = find.box
        height = bottom - top
        if find.teacher == "lights" and height <= LARGEST_SHARE * photo.height and is_new(find.box):
            seen_too = finder_score(find, "light")
            is_upright = UPRIGHT_ASPECTS[0] <= (right - left) / height <= UPRIGHT_ASPECTS[1]
            is_sure = find.score >= (LIGHT_LABEL_IF_BOTH if seen_too >= KEPT_FROM else LIGHT_LABEL)
            is_board = finder_score(find, "sign") > max(seen_too, SIGN_IGNORE)
            if is_sure and not is_board and (is_upright or seen_too >= FINDER_LIGHT_IGNORE) and not lights_are_labelled:
                boxes.append((left, top, right, bottom, HORIZONTAL if right - left > LYING * height else UPRIGHT))
            elif find.score >= (IF_BOTH_IGNORE if seen_too >= KEPT_FROM else LIGHT_IGNORE) and (is_upright or seen_too):
                ignore.append(find.box)
    for find in by_finder:
        limit = FINDER_LIGHT_IGNORE if find.kind == "light" else SIGN_IGNORE
        if find.score >= limit and is_new(find.box) and not any(_shared(find.box, other) > 0.8 for other in ignore):
            ignore.append(find.box)
    return replace(photo, boxes=tuple(boxes), ignore=tuple(ignore))


def _shared(a: Ltrb, b: Ltrb) -> float:
    """Intersection over the smaller box."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / max(1e-6, min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])))
