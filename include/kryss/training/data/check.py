"""Broken data sets: a list of everything that is wrong before anything is trained, or training without it, counted."""

from __future__ import annotations

import io
import logging
import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from kryss.training.data.photos import OTHER_SIGN, DataSet, Labelled, LabelledPhoto, Problem
from kryss.vision.taxonomy import classes

log = logging.getLogger(__name__)

TOLERANCE_PX = 1.0
"""So much a box may reach over the edge of its photo: labelling tools round."""
SHOWN = 50
THREADS = 4
LOG_EVERY = 2000


class BrokenDataError(ValueError):
    """A data set that must not be trained on as it is. ``problems`` lists all that is wrong."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        lines = [f"  {p.photo}: {p.kind}: {p.text}" for p in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"  and {len(self.problems) - SHOWN} more")
        told = ", ".join(f"{count} {kind}" for kind, count in counted(self.problems).items())
        super().__init__(
            "\n".join(
                [f"the data set has {len(self.problems)} problems ({told}):", *lines, "mend them, or train with --skip-bad"]
            )
        )


@dataclass(frozen=True, slots=True)
class Checked:
    """What is left to learn from, and what was left out."""

    photos: tuple[LabelledPhoto, ...]
    problems: tuple[Problem, ...] = ()


def counted(problems: Iterable[Problem]) -> dict[str, int]:
    """Kind to number, most frequent first."""
    return dict(sorted(Counter(problem.kind for problem in problems).items(), key=lambda row: (-row[1], row[0])))


def checked(
    data: DataSet, skip_bad: bool = False, known: Collection[str] | None = None, decode: bool = True, threads: int = THREADS
) -> Checked:
    """The photos of a sound data set. Raises `BrokenDataError` with all that is wrong; with ``skip_bad`` leaves bad photos out,
    makes bad boxes ignore regions where they mean a place at all, and returns the problems.

    ``known``: classes that may occur (default: the taxonomy and other-sign). ``decode``: reads every photo to its end, which
    tells truncated files; without it only headers are read.
    """
    names = set(known) if known is not None else {row.name for row in classes()} | {OTHER_SIGN}
    problems = list(data.problems)
    photos: list[LabelledPhoto] = []
    with ThreadPoolExecutor(threads) as pool:
        looks = pool.map(lambda photo: _photo_problem(photo, decode), data.photos)
        for number, (photo, problem) in enumerate(zip(data.photos, looks, strict=True), 1):
            if problem:
                problems.append(problem)
            else:
                mended, found = _boxes(photo, names)
                problems += found
                photos.append(mended)
            if number % LOG_EVERY == 0:
                log.info("%s: %d of %d photos checked, %d problems", data.name, number, len(data.photos), len(problems))
    if problems and not skip_bad:
        raise BrokenDataError(problems)
    if not photos:
        raise BrokenDataError([*problems, Problem(data.name, "no-photos", "nothing is left to learn from")])
    for kind, count in counted(problems).items():
        log.warning("%s: left out: %d %s", data.name, count, kind)
    return Checked(tuple(photos), tuple(sorted(problems)))


def _photo_problem(photo: LabelledPhoto, decode: bool) -> Problem | None:
    name = str(photo.id)
    if isinstance(photo.source, Path) and not photo.source.is_file():
        return Problem(name, "photo-missing", f"no file {photo.source.name}")
    try:
        with Image.open(io.BytesIO(photo.body())) as image:
            size = image.size
            if decode:
                # A draft is an eighth of the work, and reads the file to its end all the same.
                image.draft("RGB", (max(1, size[0] // 8), max(1, size[1] // 8)))
                image.load()
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        return Problem(name, "photo-unreadable", str(error)[:120])
    if size != (photo.width, photo.height):
        return Problem(name, "photo-size", f"is {size[0]} x {size[1]}, its labels say {photo.width} x {photo.height}")
    return None


def _boxes(photo: LabelledPhoto, names: Collection[str]) -> tuple[LabelledPhoto, list[Problem]]:
    """The photo with its sound boxes; of the others those that mean a place become ignore regions."""
    sound: list[Labelled] = []
    problems: list[Problem] = []
    ignore = [box for box in photo.ignore if all(math.isfinite(side) for side in box)]
    name = str(photo.id)
    for box in photo.boxes:
        left, top, right, bottom, label = box
        told = f"{label} at {left:g}, {top:g}, {right:g}, {bottom:g}"
        if not all(math.isfinite(side) for side in (left, top, right, bottom)):
            problems.append(Problem(name, "box-not-finite", told))
            continue
        if right <= left or bottom <= top:
            problems.append(Problem(name, "box-empty", told))
            continue
        inside = (max(left, 0.0), max(top, 0.0), min(right, photo.width), min(bottom, photo.height))
        over = max(inside[0] - left, inside[1] - top, right - inside[2], bottom - inside[3])
        is_anywhere = inside[0] < inside[2] and inside[1] < inside[3]
        if over > TOLERANCE_PX or not is_anywhere:
            problems.append(Problem(name, "box-outside", f"{told}, photo {photo.width} x {photo.height}"))
            if is_anywhere:
                ignore.append(inside)
        elif label not in names:
            problems.append(Problem(name, "unknown-class", told))
            ignore.append(inside)
        else:
            sound.append((*inside, label))
    return replace(photo, boxes=tuple(sound), ignore=tuple(ignore)), problems
