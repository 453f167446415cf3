"""The labels that a detector is judged by: any COCO file, with what is wrong in it put aside, counted and named."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from kryss.training.categories import GROUPS, group_of, read_categories
from kryss.training.data import LabelledPhoto, is_held_out

Ltrb = tuple[float, float, float, float]


class TruthError(ValueError):
    """A file that cannot be judged by; the message says why."""


@dataclass(frozen=True, slots=True)
class TrueBox:
    """One label."""

    class_name: str
    """Mapillary class, or a group (``kryss.training.categories``)."""
    box: Ltrb
    ignored: bool = False
    """A crowd, or marked to be ignored: finding it is neither right nor wrong."""


@dataclass(frozen=True, slots=True)
class TruePhoto:
    """One photo and its labels, in pixels of ``size``."""

    id: str
    file_name: str
    path: Path | bytes
    """Where it lies, or the file itself where it lies in an archive."""
    size: tuple[int, int] | None
    """Width and height that the file says, which boxes are in pixels of; None: of the photo as it is."""
    boxes: tuple[TrueBox, ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """What there is to find, and what the labels say nothing about."""

    photos: tuple[TruePhoto, ...]
    labelled: frozenset[str]
    """Classes and groups that are labelled wherever they are seen: only these can be found wrongly."""
    unknown: Mapping[str, int]
    """Category names that mean none of our classes, and how many boxes they have."""
    faults: Mapping[str, int]
    """What is wrong in the file, and how often."""
    meanings: Mapping[str, str] = field(default_factory=dict)
    """Category name to the class or group that it was taken for."""

    def judged_as(self, class_name: str) -> str | None:
        """What a detection of a class counts as here; None: it is not labelled, so that finding it is not wrong."""
        if class_name in self.labelled:
            return class_name
        group = group_of(class_name)
        return group if group in self.labelled else None

    @property
    def boxes(self) -> int:
        """Labels to find."""
        return sum(not box.ignored for photo in self.photos for box in photo.boxes)

    def held_out(self) -> Truth:
        """The photos that training never sees."""
        return replace(self, photos=tuple(photo for photo in self.photos if _is_held_out(photo.id)))

    def first(self, number: int) -> Truth:
        """The first photos only."""
        return replace(self, photos=self.photos[:number])


def truth_of_photos(photos: Iterable[LabelledPhoto], judged_as: Mapping[str, str]) -> Truth:
    """Of loaded photos. ``judged_as``: each class that is labelled wherever it is seen to what it counts as, itself or a group.
    Places to ignore, and boxes of other classes, count neither way.
    """
    labelled = frozenset(judged_as.values())

    def boxes(photo: LabelledPhoto) -> Iterable[TrueBox]:
        unsure = list(photo.ignore)
        for left, top, right, bottom, name in photo.boxes:
            if name in judged_as:
                yield TrueBox(judged_as[name], (left, top, right, bottom))
            else:
                unsure.append((left, top, right, bottom))
        yield from (TrueBox(label, place, ignored=True) for place in unsure for label in sorted(labelled))

    made = (TruePhoto(str(p.id), str(p.id), p.source, (p.width, p.height), tuple(boxes(p))) for p in photos)
    return Truth(tuple(made), labelled, {}, {})


def read_truth(
    annotations: Path, images: Path, wanted: frozenset[str] | None = None, given: Mapping[str, str] | None = None
) -> Truth:
    """``images``: the folder that the file's names lie under. ``wanted``: the classes and groups to judge (default: all that are
    labelled). ``given``: category name to class or group, where the names do not say it.
    """
    document = read_document(annotations)
    categories = read_categories(document["categories"], given)
    if not categories.class_of:
        raise TruthError(
            f"{annotations}: none of its {len(document['categories'])} categories means a class of ours "
            f"({', '.join(categories.unknown[:5])}): say it with --map NAME=CLASS"
        )
    collapsed = {name for name in (*categories.class_of.values(), *(wanted or ())) if name in GROUPS}

    def judged(name: str) -> str:
        return group_of(name) if group_of(name) in collapsed else name

    labelled = frozenset(map(judged, categories.class_of.values()))
    if wanted is not None:
        missing = {judged(name) for name in wanted} - labelled
        labelled &= {judged(name) for name in wanted}
        if not labelled:
            raise TruthError(f"{annotations} labels no {' or '.join(sorted(missing))}")
    faults: Counter[str] = Counter()
    boxes: dict[str, list[TrueBox]] = {}
    names = {str(row["id"]): str(row.get("name")) for row in document["categories"] if isinstance(row, Mapping) and "id" in row}
    unknown: Counter[str] = Counter(dict.fromkeys(categories.unknown, 0))
    for row in document["annotations"]:
        if not isinstance(row, Mapping):
            faults["annotation that is no object"] += 1
            continue
        category = str(row.get("category_id"))
        if category not in names:
            faults["annotation without a known category_id"] += 1
        elif category not in categories.class_of:
            unknown[names[category]] += 1
        elif (name := judged(categories.class_of[category])) in labelled:
            box = _ltrb(row.get("bbox"))
            if box is None:
                faults["bbox that is no four numbers with a positive width and height"] += 1
            else:
                ignored = bool(row.get("iscrowd") or row.get("ignore"))
                boxes.setdefault(str(row.get("image_id")), []).append(TrueBox(name, box, ignored))
    photos = tuple(_photos(document["images"], images, boxes, faults))
    if boxes:
        faults["annotation of a photo that is not listed"] += sum(map(len, boxes.values()))
    meanings = {names[key]: meaning for key, meaning in categories.class_of.items()}
    return Truth(photos, labelled, dict(unknown), {reason: count for reason, count in faults.items() if count}, meanings)


def read_area(area: Path, wanted: frozenset[str] | None = None) -> Truth:
    """The true boxes of a recorded area that was rendered (``truth_boxes.json``, docs of ``kryss.demo.town``)."""
    path = area / "truth_boxes.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        size = int(document["width"]), int(document["height"])
        boxes: dict[str, list[TrueBox]] = {image.stem: [] for image in sorted((area / "photos").glob("*.jpg"))}
        for row in document["boxes"]:
            left, top, right, bottom = map(float, row["box_ltrb"])
            boxes[row["image_id"]].append(TrueBox(row["class"], (left, top, right, bottom)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TruthError(f"{path} tells no true boxes of the photos in {area / 'photos'}: {error}") from None
    grouped = wanted is not None and bool(wanted & set(GROUPS))
    labelled = {box.class_name for of_photo in boxes.values() for box in of_photo}
    if grouped:
        boxes = {key: [replace(box, class_name=group_of(box.class_name)) for box in kept] for key, kept in boxes.items()}
        labelled = {group_of(name) for name in labelled}
    labelled = labelled if wanted is None else labelled & wanted
    photos = (
        TruePhoto(key, f"{key}.jpg", area / "photos" / f"{key}.jpg", size, tuple(b for b in kept if b.class_name in labelled))
        for key, kept in boxes.items()
    )
    return Truth(tuple(photos), frozenset(labelled), {}, {})


def read_document(annotations: Path) -> dict[str, list[Any]]:
    """A COCO file's lists; TruthError where it is none."""
    try:
        document = json.loads(annotations.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TruthError(f"there is no {annotations}") from None
    except (OSError, ValueError) as error:
        raise TruthError(f"{annotations} is no JSON file: {error}") from None
    keys = ("images", "annotations", "categories")
    if not isinstance(document, dict) or any(not isinstance(document.get(key), list) for key in keys):
        raise TruthError(f"{annotations} is no COCO file: an object with the lists {', '.join(keys)}")
    return document


def held_out(annotations: Path) -> dict[str, Any]:
    """The document with the photos only that training never sees (``kryss.training.data.is_held_out``: image id % 6 = 5)."""
    document: dict[str, Any] = read_document(annotations)
    images = [row for row in document["images"] if isinstance(row, Mapping) and _is_held_out(str(row.get("id")))]
    kept = {str(row["id"]) for row in images}
    rows = [row for row in document["annotations"] if isinstance(row, Mapping) and str(row.get("image_id")) in kept]
    return {**document, "images": images, "annotations": rows}


def _is_held_out(key: str) -> bool:
    return is_held_out(int(key) if key.isdecimal() else key)


def _photos(rows: Sequence[Any], images: Path, boxes: dict[str, list[TrueBox]], faults: Counter[str]) -> Iterable[TruePhoto]:
    """Takes the boxes of each photo out of ``boxes``."""
    seen = set()
    places = _Places(images)
    for row in rows:
        if not isinstance(row, Mapping) or "id" not in row or not row.get("file_name"):
            faults["image without id or file_name"] += 1
            continue
        key = str(row["id"])
        if key in seen:
            faults["image id that occurs twice"] += 1
            continue
        seen.add(key)
        name = str(row["file_name"])
        path = places.find(name)
        size: tuple[int, int] | None = None
        if all(isinstance(row.get(side), int | float) and row[side] >= 1 for side in ("width", "height")):
            size = int(row["width"]), int(row["height"])
        yield TruePhoto(key, name, path, size, tuple(boxes.pop(key, ())))


class _Places:
    """Where photos lie under a folder: as named, else under the base name, else in the one place below that has a file of that
    base name. Of several the one that shares most of the named folders.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._below: dict[str, list[Path]] | None = None

    def find(self, name: str) -> Path:
        """The photo's file; the path as named where there is none, or no one."""
        parts = PurePosixPath(name.replace("\\", "/")).parts or (name,)
        for path in (self.folder / name, self.folder.joinpath(*parts), self.folder / parts[-1]):
            if path.is_file():
                return path
        if self._below is None:
            self._below = {}
            for path in sorted(self.folder.rglob("*")):
                if path.is_file():
                    self._below.setdefault(path.name, []).append(path)

        def shared(path: Path) -> int:
            pairs = zip(reversed(path.parts), reversed(parts), strict=False)
            return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))

        alike = self._below.get(parts[-1], [])
        most = max(map(shared, alike), default=0)
        best = [path for path in alike if shared(path) == most]
        return best[0] if len(best) == 1 else self.folder / name


def _ltrb(bbox: Any) -> Ltrb | None:
    """COCO's left, top, width, height as ltrb."""
    try:
        left, top, width, height = (float(side) for side in bbox)
    except (TypeError, ValueError):
        return None
    if not all(map(math.isfinite, (left, top, width, height))) or width <= 0 or height <= 0:
        return None
    return left, top, left + width, top + height
