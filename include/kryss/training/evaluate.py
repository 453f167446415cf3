"""How good a detector is: COCO's average precision, precision and recall where it is used, tightness, calibration.

Average precision and the matching of detections with labels are those of ``faster-coco-eval`` (COCO's rules: the best score
first, each label once, IoU 0.5 to 0.95, precision read at 101 recalls, at most 100 detections of a class in a photo). Of the two
libraries that give COCO's numbers it is the one under active development, and it tells which detection was matched with which
label, so that all other numbers here follow from the same matching, at IoU 0.5.

A mean over classes is one over the classes that occur in the labels. Detections of classes that the labels do not hold are left
out: finding them is not wrong. Photos that cannot be read are left out with their labels, counted and named: they say nothing
about the detector; ``recall_with_left_out`` counts their labels as missed.
"""

from __future__ import annotations

import io
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from kryss.model import Box, Detection
from kryss.training.truth import Truth
from kryss.vision.boxes import iou
from kryss.vision.detect import Detector, PhotoFailure

log = logging.getLogger(__name__)

LOWEST_SCORE = 0.001
"""Detections from this score on are judged: average precision needs more than those that are used, and a calibrated score is
small where few are right.
"""
LOWEST_CALIBRATED = 0.05
"""Scores from which it is asked whether they mean what they say."""
MATCH_IOU = 0.5
THRESHOLDS = np.linspace(0.5, 0.95, 10)
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""COCO's areas in square pixels of the photo. The area is the box's."""
HEIGHTS_PX = (0, 12, 16, 24, 32, 48, 96, 100_000)
"""Edges of the bins of box heights."""
SCORE_BINS = 10
PROGRESS_S = 10.0
ORIENTATION = 0x0112
"""EXIF tag."""
MOST_DETECTIONS = 100
"""Of a class in a photo, COCO's rule."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a detector found in the photos of a truth."""

    found: Mapping[str, Sequence[Detection]]
    """Photo id to its detections; photos that could not be read are absent."""
    failed: Mapping[str, str]
    """Photo id to why it could not be read."""
    seconds: float
    """Wall clock for all photos, decoding included, loading the model not."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One detection after matching."""

    photo: str
    class_name: str
    """What the detector called it."""
    name: str
    """Class or group it counts as."""
    score: float
    right: bool
    is_ignored: bool
    """In a place that is neither right nor wrong."""
    overlap: float
    """IoU with its label, 0 without."""
    box: tuple[float, float, float, float]
    true_box: tuple[float, float, float, float] | None


def look(detector: Detector, truth: Truth, say: Callable[[str], None] | None = None) -> Looked:
    """Runs a detector over the photos. ``say``: gets a line of progress every ten seconds (default: the log)."""
    tell = say or log.info
    failed: dict[str, str] = {}

    def photos() -> Iterator[tuple[str, bytes]]:
        for photo in truth.photos:
            try:
                body = photo.path if isinstance(photo.path, bytes) else photo.path.read_bytes()
            except OSError as error:
                failed[photo.id] = f"bad-photo: cannot be read: {error.strerror or error}"
                continue
            if photo.size and (turn := turn_of_labels(body, photo.size)):
                # The detector asks for the size when it takes the photo, after this.
                turned[photo.id], sizes[photo.id] = turn, (photo.size[1], photo.size[0])
            yield photo.id, body

    sizes = {photo.id: photo.size for photo in truth.photos if photo.size}
    turned: dict[str, int] = {}
    found: dict[str, Sequence[Detection]] = {}
    began = said = time.monotonic()
    for image_id, outcome in detector.detect(photos(), sizes):
        if isinstance(outcome, PhotoFailure):
            failed[image_id] = outcome.reason
        else:
            width, height = sizes.get(image_id, (0, 0))
            turn = turned.get(image_id)
            found[image_id] = [replace(one, box=stored(one.box, turn, height, width)) for one in outcome] if turn else outcome
        now = time.monotonic()
        if now - said >= PROGRESS_S:
            said, done, total = now, len(found) + len(failed), len(truth.photos)
            each = (now - began) / done
            tell(f"{done} of {total} photos, {each:.2f} s each, {len(failed)} unreadable, {each * (total - done):.0f} s to go")
    return Looked(found, failed, time.monotonic() - began)


def turn_of_labels(body: bytes, size: tuple[int, int]) -> int | None:
    """The EXIF orientation of a photo whose labels were made on its pixels as stored: ``size``, which the labels say, is that of
    the stored pixels and not that of the upright photo. (Where both are the same, labels are taken to be upright.)
    """
    try:
        with Image.open(io.BytesIO(body)) as image:
            orientation = image.getexif().get(ORIENTATION, 1)
            lies = orientation in (5, 6, 7, 8) and image.size == size and size[0] != size[1]
    except Exception:  # the detector says what is wrong with it
        return None
    return orientation if lies else None


def stored(box: Box, orientation: int, width: int, height: int) -> Box:
    """A box of an upright photo in its stored pixels. ``orientation``: EXIF, 1 to 8; ``width``, ``height``: of the stored."""
    left, top, right, bottom = box
    if orientation < 5:
        across = (width - right, width - left) if orientation in (2, 3) else (left, right)
        down = (height - bottom, height - top) if orientation in (3, 4) else (top, bottom)
    else:
        across = (width - bottom, width - top) if orientation in (7, 8) else (top, bottom)
        down = (height - right, height - left) if orientation in (6, 7) else (left, right)
    return across[0], down[0], across[1], down[1]


def judged(truth: Truth, looked: Looked) -> list[Judged]:
    """Every detection of what is labelled, matched."""
    return _Judging(truth, looked).matches()


def score(
    truth: Truth, looked: Looked, score_threshold: float = 0.3, thresholds: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Everything measured, as JSON can hold it. ``score_threshold``, ``thresholds`` (class to score): the operating point."""
    judging = _Judging(truth, looked)
    own = thresholds or {}
    matched = judging.matches()
    used = [one for one in matched if one.score >= own.get(one.class_name, score_threshold)]
    labels = Counter(box.class_name for photo in judging.photos for box in photo.boxes if not box.ignored)
    left_out = [photo for photo in truth.photos if photo.id not in looked.found]
    lost = sum(not box.ignored for photo in left_out for box in photo.boxes)
    ap, by_size, curves = judging.average_precision(SIZES, lambda width, height: width * height)
    heights = {f"{low}-{high}" if high < 1e4 else f"{low}-": (low**2, high**2 - 1e-6) for low, high in _pairs(HEIGHTS_PX)}
    _, by_height, _ = judging.average_precision(heights, lambda _, height: height * height)
    right = sum(one.right for one in used)
    wrong = sum(not one.right and not one.is_ignored for one in used)
    total = sum(labels.values())
    return {
        "photos": len(judging.photos),
        "boxes": total,
        "map50": ap["ap50"],
        "map50_95": ap["ap"],
        "map75": ap["ap75"],
        "classes_that_occur": len(labels),
        "left_out": {
            "photos": [
                {"file": photo.file_name, "reason": looked.failed.get(photo.id, "not looked at"), "boxes": len(photo.boxes)}
                for photo in left_out
            ],
            "boxes": lost,
        },
        "operating": {
            "score_threshold": score_threshold,
            "precision": _share(right, right + wrong),
            "recall": _share(right, total),
            "recall_with_left_out": _share(right, total + lost),
            "right": right,
            "wrong": wrong,
            "missed": total - right,
            "wrong_a_photo": _share(wrong, len(judging.photos)),
            "thresholds": {name: round(value, 4) for name, value in sorted(own.items())},
        },
        "best": _best(matched, total),
        "sizes": by_size,
        "heights_px": _with_recall(by_height, judging, used),
        "tightness": _tightness(used),
        "calibration": calibration(matched),
        "classes": {
            name: {
                "boxes": labels[name],
                **ap["classes"].get(name, {"ap50": None, "ap": None}),
                **_operating_point([one for one in used if one.name == name], labels[name]),
                "threshold": round(float(own.get(name, score_threshold)), 4),
            }
            for name in sorted(judging.names, key=lambda name: (-labels[name], name))
            if labels[name] or any(one.name == name for one in used)
        },
        "confusion": _confusion(judging, used),
        "curves": curves,
        "not_labelled": judging.not_labelled,
        "seconds_a_photo": round(looked.seconds / max(len(truth.photos), 1), 4),
    }


class _Judging:
    """Labels and detections in COCO's form. Ids are given anew: COCO's evaluation takes 0 for none."""

    def __init__(self, truth: Truth, looked: Looked) -> None:
        self.truth = truth
        self.photos = [photo for photo in truth.photos if photo.id in looked.found]
        self.names = sorted(truth.labelled)
        self.number = {name: index for index, name in enumerate(self.names, 1)}
        self.rows: list[tuple[str, str, Detection]] = []
        """Photo id, what it counts as, detection."""
        not_labelled: Counter[str] = Counter()
        for photo in self.photos:
            for detection in looked.found[photo.id]:
                name = truth.judged_as(detection.class_name)
                if name is None:
                    not_labelled[detection.class_name] += 1
                elif detection.score >= LOWEST_SCORE:
                    self.rows.append((photo.id, name, detection))
        self.not_labelled = dict(not_labelled)

    def _run(self, regions: Sequence[tuple[float, float]], area: Callable[[float, float], float], steps: np.ndarray) -> Any:
        from faster_coco_eval import COCO, COCOeval_faster

        keys = {photo.id: index for index, photo in enumerate(self.photos, 1)}
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        results: list[dict[str, Any]] = []
        for photo in self.photos:
            images.append({"id": keys[photo.id], "file_name": photo.file_name, "width": 1, "height": 1})
            for box in photo.boxes:
                row = _row(keys[photo.id], self.number[box.class_name], box.box, area)
                annotations.append({**row, "id": len(annotations) + 1, "iscrowd": int(box.ignored)})
        for image, name, detection in self.rows:
            row = _row(keys[image], self.number[name], detection.box, area)
            results.append({**row, "id": len(results) + 1, "iscrowd": 0, "score": detection.score})
        categories = [{"id": number, "name": name} for name, number in self.number.items()]
        true, found = (
            COCO({"images": images, "annotations": rows, "categories": categories}, print_function=_silent)
            for rows in (annotations, results)
        )
        run = COCOeval_faster(true, found, iouType="bbox", extra_calc=True, print_function=_silent)
        run.params.iouThrs = steps
        run.params.areaRng = [list(region) for region in regions]
        run.params.areaRngLbl = [str(index) for index in range(len(regions))]
        run.params.maxDets = [MOST_DETECTIONS]
        run.evaluate()
        run.accumulate()
        return run

    def average_precision(
        self, regions: Mapping[str, tuple[float, float]], area: Callable[[float, float], float]
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, list[float]]]:
        """Of all (overall and by class), of each region of areas, and the curves of precision at IoU 0.5 (101 recalls)."""
        whole = (0.0, 1e12)
        if not self.photos or not self.names:
            nothing = {"boxes": 0, "ap": None, "ap50": None}
            return {"ap": None, "ap50": None, "ap75": None, "classes": {}}, {region: dict(nothing) for region in regions}, {}
        run = self._run([whole, *regions.values()], area, THRESHOLDS)
        precision = run.eval["precision"][..., 0]  # (thresholds, recalls, classes, regions), -1: does not occur

        def mean(part: np.ndarray) -> float | None:
            known = part[part > -1]
            return round(float(known.mean()), 4) if known.size else None

        steps = {"ap": slice(None), "ap50": slice(0, 1), "ap75": slice(5, 6)}
        overall: dict[str, Any] = {key: mean(precision[part, :, :, 0]) for key, part in steps.items()}
        overall["classes"] = {
            name: {key: mean(precision[part, :, index, 0]) for key, part in steps.items()}
            for index, name in enumerate(self.names)
            if precision[0, 0, index, 0] > -1
        }
        boxes = [b for photo in self.photos for b in photo.boxes if not b.ignored]
        of_region = {
            region: {
                "boxes": sum(low <= area(b.box[2] - b.box[0], b.box[3] - b.box[1]) <= high for b in boxes),
                **{key: mean(precision[steps[key], :, :, index]) for key in ("ap", "ap50")},
            }
            for index, (region, (low, high)) in enumerate(regions.items(), 1)
        }
        curves = {
            name: [round(float(value), 4) for value in precision[0, :, index, 0]]
            for index, name in enumerate(self.names)
            if precision[0, 0, index, 0] > -1
        }
        return overall, of_region, curves

    def matches(self) -> list[Judged]:
        """Every detection of a labelled class with what it was matched to at IoU 0.5, as COCO matches."""
        if not self.rows:
            return []
        run = self._run([(0.0, 1e12)], lambda width, height: width * height, np.array([MATCH_IOU]))
        labels = [box for photo in self.photos for box in photo.boxes]
        matched = []
        for number, (image, name, detection) in enumerate(self.rows, 1):
            said = run.cocoDt.anns[number]
            label = labels[said["gt_id"] - 1] if said.get("gt_id") else None
            right = label is not None and not label.ignored
            matched.append(
                Judged(
                    image,
                    detection.class_name,
                    name,
                    detection.score,
                    right,
                    label is not None and label.ignored,
                    float(said["iou"]) if right else 0.0,
                    detection.box,
                    label.box if label else None,
                )
            )
        return matched


def calibration(matched: Sequence[Judged]) -> dict[str, Any]:
    """Whether a score means what it says: the share of right ones among those of a score; expected calibration error (Guo et
    al. 2017, ten equal bins) and the Brier score, over every detection from ``LOWEST_CALIBRATED``.
    """
    counted = [one for one in matched if not one.is_ignored and one.score >= LOWEST_CALIBRATED]
    scores, right = np.array([one.score for one in counted]), np.array([one.right for one in counted], float)
    bins: list[dict[str, Any]] = []
    edges = np.linspace(0, 1, SCORE_BINS + 1)
    which = np.clip(np.digitize(scores, edges) - 1, 0, SCORE_BINS - 1) if len(scores) else np.zeros(0, int)
    for index in range(SCORE_BINS):
        inside = which == index
        bins.append(
            {
                "from": round(float(edges[index]), 2),
                "to": round(float(edges[index + 1]), 2),
                "detections": int(inside.sum()),
                "mean_score": round(float(scores[inside].mean()), 4) if inside.any() else None,
                "right": round(float(right[inside].mean()), 4) if inside.any() else None,
            }
        )
    if not len(scores):
        return {"detections": 0, "ece": None, "brier": None, "bins": bins}
    gaps = [row["detections"] * abs(row["mean_score"] - row["right"]) for row in bins if row["detections"]]
    return {
        "detections": len(scores),
        "ece": round(float(sum(gaps) / len(scores)), 4),
        "brier": round(float(((scores - right) ** 2).mean()), 4),
        "bins": bins,
    }


def _row(image: int, category: int, box: Sequence[float], area: Callable[[float, float], float]) -> dict[str, Any]:
    left, top, right, bottom = map(float, box)
    width, height = right - left, bottom - top
    return {"image_id": image, "category_id": category, "bbox": [left, top, width, height], "area": area(width, height)}


def _operating_point(used: Sequence[Judged], labelled: int) -> dict[str, Any]:
    right, wrong = sum(one.right for one in used), sum(not one.right and not one.is_ignored for one in used)
    return {"precision": _share(right, right + wrong), "recall": _share(right, labelled), "right": right, "wrong": wrong}


def _best(matched: Sequence[Judged], labelled: int) -> dict[str, Any]:
    """The one threshold for all classes with the largest F1."""
    counted = sorted((one for one in matched if not one.is_ignored), key=lambda one: -one.score)
    if not counted or not labelled:
        return {"score_threshold": None, "precision": None, "recall": None, "f1": None}
    hits = np.cumsum([one.right for one in counted])
    f1 = 2 * hits / (np.arange(1, len(counted) + 1) + labelled)
    scores = np.array([one.score for one in counted])
    # A threshold keeps all of a score or none.
    f1[:-1][scores[:-1] == scores[1:]] = -1
    at = int(f1.argmax())
    return {
        "score_threshold": round(counted[at].score, 4),
        "precision": _share(int(hits[at]), at + 1),
        "recall": _share(int(hits[at]), labelled),
        "f1": round(float(f1[at]), 4),
    }


def _with_recall(bins: Mapping[str, dict[str, Any]], judging: _Judging, used: Sequence[Judged]) -> dict[str, Any]:
    """Adds the recall at the operating point to bins of heights."""
    found = [one.true_box[3] - one.true_box[1] for one in used if one.right and one.true_box]
    labels = [box.box[3] - box.box[1] for photo in judging.photos for box in photo.boxes if not box.ignored]
    told = {}
    for (low, high), (name, row) in zip(_pairs(HEIGHTS_PX), bins.items(), strict=True):
        inside = sum(low <= height < high for height in labels)
        told[name] = {**row, "boxes": inside, "recall": _share(sum(low <= height < high for height in found), inside)}
    return told


def _tightness(used: Sequence[Judged]) -> dict[str, Any]:
    """How well the boxes of right detections fit: IoU, and found over true width and height (1 is exact)."""
    right = [one for one in used if one.right and one.true_box]
    if not right:
        return {"boxes": 0}
    found, true = (np.array([getattr(one, side) for one in right], float) for side in ("box", "true_box"))
    width, height = (found[:, k + 2] - found[:, k] for k in (0, 1))
    true_width, true_height = (true[:, k + 2] - true[:, k] for k in (0, 1))

    def spread(values: np.ndarray) -> dict[str, float]:
        low, middle, high = (round(float(value), 4) for value in np.quantile(values, (0.1, 0.5, 0.9)))
        return {"p10": low, "median": middle, "p90": high}

    return {
        "boxes": len(right),
        "mean_iou": round(float(np.mean([one.overlap for one in right])), 4),
        "iou": spread(np.array([one.overlap for one in right])),
        "width_ratio": spread(width / true_width),
        "height_ratio": spread(height / true_height),
    }


def _confusion(judging: _Judging, used: Sequence[Judged]) -> list[dict[str, Any]]:
    """What labels were taken for: of every label the detection with the best IoU (at least 0.5) of whatever class, best scores
    first, each detection once; ``found`` None: nothing was found there, ``true`` None: nothing is there.
    """
    counts: Counter[tuple[str | None, str | None]] = Counter()
    of_photo: dict[str, list[Judged]] = {}
    for one in sorted(used, key=lambda one: -one.score):
        of_photo.setdefault(one.photo, []).append(one)
    for photo in judging.photos:
        labels = list(photo.boxes)
        corners = np.array([box.box for box in labels], float).reshape(-1, 4)
        free = np.ones(len(labels), bool)
        for one in of_photo.get(photo.id, []):
            overlaps = iou(np.array(one.box), corners) * free if len(labels) else np.zeros(0)
            if len(overlaps) and overlaps.max() >= MATCH_IOU:
                best = int(overlaps.argmax())
                free[best] = labels[best].ignored
                if not labels[best].ignored:
                    counts[labels[best].class_name, one.name] += 1
            elif not one.is_ignored:
                counts[None, one.name] += 1
        for label, left in zip(labels, free, strict=True):
            if left and not label.ignored:
                counts[label.class_name, None] += 1
    rows = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    return [{"true": true, "found": found, "count": count} for (true, found), count in rows]


def _pairs(edges: Sequence[int]) -> list[tuple[int, int]]:
    return list(itertools.pairwise(edges))


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _silent(*_: object, **__: object) -> None:
    """COCO's evaluation is talkative."""
