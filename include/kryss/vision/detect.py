"""Detections of signs and lights in photos. A photo's result depends on nothing but its bytes, its size and the model, so that
runs, shards, batches and restarts agree to the byte.

A photo becomes views (scales, slices: ``tiles``), a network finds boxes in them (``networks``), a second stage reads what each
box shows and where exactly it stands (``recognise``), the score is made of both and calibrated, several boxes of one thing become
one (``fusing``), and what is below its class's threshold or lies where no such thing can be (``plausible``) goes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Literal, cast

import numpy as np

from kryss.model import Detection
from kryss.vision import stream
from kryss.vision.boxes import Candidates
from kryss.vision.fusing import fuse, merge, suppress
from kryss.vision.networks import Network, Second, class_names, load_network
from kryss.vision.photo import Photo, UnreadablePhoto, read_photo
from kryss.vision.plausible import Plausibility
from kryss.vision.plausible import load as load_plausibility
from kryss.vision.registry import Calibration, Inference, Preprocessing, Weights, model_key, resolve
from kryss.vision.tiles import View, joined, views

log = logging.getLogger(__name__)

LOG_EVERY = 50
"""Photos between two lines of progress."""
FIRST_IOU = 0.6
"""Finds of the first stage that overlap by more are read once."""
FUSED_FROM = 0.05
"""Score, before calibration, from which finds are fused. A weak one moves the mean of a strong one, so this depends on no one's
asking for more: an evaluation sees what a run sees."""


@dataclass(frozen=True, slots=True)
class PhotoFailure:
    """Why a photo could not be looked at. The same fault gives the same words, so that the report can count them."""

    reason: str


Plan = tuple[Preprocessing, Inference]
"""What is done with a photo before a network sees it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A decoded photo and what each model's network looks at."""

    image_id: str
    photo: Photo
    views: tuple[tuple[View, ...], ...]


@dataclass(frozen=True, slots=True)
class Model:
    """One or several networks that say what is in photos."""

    names: tuple[str, ...]
    """Mapillary classes; candidates number them."""
    plans: tuple[Plan, ...]
    judge: Callable[[Sequence[Photo], Sequence[tuple[tuple[View, ...], ...]]], list[Candidates]]
    """Decoded photos and their views to boxes in pixels of the decoded photos, before thresholds."""
    batch: int
    streams: int


class Detector:
    """One model, ready. Make it with ``load_detector``."""

    def __init__(self, entry: Weights, model: Model, score_threshold: float | None = None) -> None:
        self.entry = entry
        self.model_key = model_key(entry)
        self.classes = tuple(sorted(set(model.names)))
        self.score_threshold = entry.score_threshold if score_threshold is None else score_threshold
        self.model = model
        own = entry.thresholds if score_threshold is None else {}
        self._thresholds = np.array([own.get(name, self.score_threshold) for name in model.names])
        self._plausibility: Plausibility | None = None
        if entry.inference.plausibility:
            self._plausibility = load_plausibility(entry.folder / entry.inference.plausibility)

    def detect(
        self,
        photos: Iterable[tuple[str, bytes]],
        sizes: Mapping[str, tuple[int, int]] | None = None,
        workers: stream.Workers | None = None,
    ) -> Iterator[tuple[str, list[Detection] | PhotoFailure]]:
        """Looks at photos as they come, reading and decoding ahead; results come in the order of the photos.

        ``sizes``: image id to width and height of the upright original, where it may differ from the photo's own; boxes are in
        its pixels. ``workers``: who decodes (default: ``KRYSS_DECODERS``, else ``default_workers``).
        """
        failed = found = 0
        work = stream.Work(
            partial(prepare, self.model.plans),
            lambda one: tuple(view.pixels.shape for part in one.views for view in part),
            self.look_at,
            self.model.batch,
            self.model.streams,
        )
        items = ((image_id, (image_id, body, (sizes or {}).get(image_id))) for image_id, body in photos)
        looked_at = stream.run(items, work, workers or default_workers(self.model.batch))
        for seen, (image_id, outcome) in enumerate(looked_at, 1):
            if isinstance(outcome, ValueError):
                failed += 1
                log.warning("photo %s: bad-photo: %s", image_id, outcome)
                yield image_id, PhotoFailure(f"bad-photo: {outcome}")
            else:
                found += len(outcome)
                yield image_id, outcome
            if seen % LOG_EVERY == 0:
                log.info("%s: %d photos, %d unreadable, %d detections", self.model_key, seen, failed, found)

    def look(self, image_id: str, body: bytes, original_size: tuple[int, int] | None = None) -> list[Detection] | PhotoFailure:
        """One photo."""
        try:
            prepared = prepare(self.model.plans, (image_id, body, original_size))
        except UnreadablePhoto as error:
            return PhotoFailure(f"bad-photo: {error}")
        return self.look_at([prepared])[0]

    def look_at(self, photos: Sequence[Prepared]) -> list[list[Detection]]:
        """At most ``model.batch`` decoded photos whose views have the same sizes."""
        judged = self.model.judge([one.photo for one in photos], [one.views for one in photos])
        return [self._detections(one, found) for one, found in zip(photos, judged, strict=True)]

    def _detections(self, prepared: Prepared, found: Candidates) -> list[Detection]:
        photo = prepared.photo
        width, height = photo.original_size
        boxes = found.boxes * np.array([photo.scale_x, photo.scale_y, photo.scale_x, photo.scale_y])
        found = Candidates(np.clip(boxes, 0, np.array([width, height, width, height])), found.scores, found.classes)
        found = found.take(found.scores >= self._thresholds[found.classes])
        if self._plausibility:
            found = found.take(self._plausibility.keep(found, self.model.names, photo.original_size))
        rows = sorted(
            (-round(float(score), 4), tuple(round(float(side), 2) for side in box), self.model.names[int(index)])
            for box, score, index in zip(found.boxes, found.scores, found.classes, strict=True)
            if box[2] - box[0] >= 1 and box[3] - box[1] >= 1
        )
        return [
            Detection(prepared.image_id, self.model_key, ordinal, name, -score, (box[0], box[1], box[2], box[3]))
            for ordinal, (score, box, name) in enumerate(rows[: self.entry.inference.max_detections])
        ]


def prepare(plans: Sequence[Plan], item: tuple[str, bytes, tuple[int, int] | None]) -> Prepared:
    """Decodes a photo (id, bytes, size of the upright original) and makes the views of each plan."""
    image_id, body, original_size = item
    sides = [needed_side(*plan) for plan in plans]
    photo = read_photo(body, original_size, None if None in sides else max(side for side in sides if side is not None))
    return Prepared(image_id, photo, tuple(tuple(views(photo.pixels, how, inference)) for how, inference in plans))


def needed_side(how: Preprocessing, inference: Inference) -> int | None:
    """Pixels of a photo's longer side that are all that a model sees; None: all that there are."""
    if inference.tile is not None:
        return None
    if how.size == "native":
        return how.max_side
    return round(how.max_side * max(1.0, *inference.scales))


def default_workers(batch: int) -> stream.Workers:
    """``KRYSS_DECODERS``, e.g. ``threads:2`` or ``processes:8``. Else threads beside a CPU's network, processes beside a GPU's,
    which takes batches.
    """
    asked = os.environ.get("KRYSS_DECODERS")
    if asked:
        kind, _, number = asked.partition(":")
        if kind not in ("threads", "processes") or not number.isdigit() or int(number) < 1:
            raise ValueError(f"KRYSS_DECODERS={asked!r}: expected threads:N or processes:N, e.g. processes:4")
        return stream.Workers(cast(Literal["threads", "processes"], kind), int(number))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return stream.Workers("processes", max(2, min(cores - 2, 12))) if batch > 1 else stream.Workers("threads", min(cores, 2))


def _single(entry: Weights, device: str | None, threshold: float) -> Model:
    """A model of one entry with weights. ``threshold``: no score below it, before calibration, will be wanted."""
    how, inference = entry.preprocessing, entry.inference
    if how is None:
        raise ValueError(f"{model_key(entry)} says not how a photo is prepared for it")
    if how.size != "native" and (inference.min_side or (inference.scales != (1.0,) and inference.tile is None)):
        raise ValueError(f"{model_key(entry)}: scales and min_side are for photos of size native, not {how.size}")
    network, second = load_network(entry, device, threshold)
    names = second.classes if second else tuple(class_names(entry).get(i, "") for i in range(len(entry.classes)))

    def judge(photos: Sequence[Photo], of: Sequence[tuple[tuple[View, ...], ...]]) -> list[Candidates]:
        found = _found(network, [parts[0] for parts in of])
        return [_judged(photo, one, second, entry, threshold) for photo, one in zip(photos, found, strict=True)]

    return Model(names, ((how, inference),), judge, network.batch, network.streams)


def _found(network: Network, of: Sequence[tuple[View, ...]]) -> list[Candidates]:
    """Finds of the first stage in each photo, joined over its views; the photos' views have the same sizes."""
    by_view = [[_finite(one) for one in network.find([parts[k].pixels for parts in of])] for k in range(len(of[0]))]
    return [
        joined([suppress(found[number], FIRST_IOU) for found in by_view] if len(parts) > 1 else [by_view[0][number]], parts)
        for number, parts in enumerate(of)
    ]


def _finite(found: Candidates) -> Candidates:
    """A network may say of a strange photo what is no number."""
    sound = np.isfinite(found.boxes).all(1) & np.isfinite(found.scores)
    return found if sound.all() else found.take(sound)


def _judged(photo: Photo, found: Candidates, second: Second | None, entry: Weights, threshold: float) -> Candidates:
    inference, size = entry.inference, (photo.pixels.shape[1], photo.pixels.shape[0])
    if second:
        found = suppress(found, FIRST_IOU, inference.max_candidates)
        if len(found):
            weight = inference.finder_weight

            def scored(finder: np.ndarray, reader: np.ndarray) -> np.ndarray:
                return np.asarray(finder**weight * reader ** (1 - weight))

            def matters(rows: np.ndarray, most: np.ndarray) -> np.ndarray:
                # A little less than the threshold: probabilities are rounded to float32.
                return np.asarray(scored(found.scores[rows], most) >= threshold - 1e-5)

            shares, boxes = second.read(photo.pixels, found.boxes, matters=matters)
            named = shares[:, : len(second.classes)]
            best = named.argmax(1)
            scores = scored(found.scores, named[np.arange(len(best)), best].astype(np.float64))
            found = Candidates(np.asarray(boxes, np.float64), scores, best)
        else:
            found = Candidates(found.boxes, found.scores, np.zeros(0, np.int64))
    found = merge(found.take(found.scores >= threshold), inference.nms, size)
    # A calibration is chosen on the scores of what is left.
    return Candidates(found.boxes, calibrated(found.scores, entry.calibration), found.classes)


def calibrated(scores: np.ndarray, curve: Calibration | None) -> np.ndarray:
    """Scores on the straight lines between a curve's knots."""
    if curve is None:
        return scores
    return np.interp(scores, [knot[0] for knot in curve.knots], [knot[1] for knot in curve.knots])


def _uncalibrated(entry: Weights, score: float) -> float:
    """The score of an entry's networks that becomes a calibrated one."""
    return score if entry.calibration is None else entry.calibration.score_of(score)


def _ensemble(entry: Weights, device: str | None, threshold: float) -> Model:
    """Several models, their boxes fused. A member's thresholds do not count, its calibration does."""
    members = [resolve(str(name)) for name in entry.options.get("members", ())]
    weights = [float(value) for value in entry.options.get("weights", [1.0] * len(members))]
    if len(members) < 2 or len(weights) != len(members):
        raise ValueError(f"{model_key(entry)}: options must name at least two members and as many weights")
    if idle := _of_members(entry.inference):
        raise ValueError(f"{model_key(entry)}: {', '.join(idle)} of an ensemble would do nothing: its members have their own")
    models = [_single(member, device, _uncalibrated(member, threshold)) for member in members]
    names = tuple(sorted({name for model in models for name in model.names}))
    number = {name: index for index, name in enumerate(names)}
    how = entry.inference.nms

    def judge(photos: Sequence[Photo], of: Sequence[tuple[tuple[View, ...], ...]]) -> list[Candidates]:
        groups = []
        for k, model in enumerate(models):
            to = np.array([number[name] for name in model.names], np.int64)
            parts = [model.judge([photo], [(views_of[k],)])[0] for photo, views_of in zip(photos, of, strict=True)]
            groups.append([Candidates(one.boxes, one.scores, to[one.classes]) for one in parts])
        found = []
        for photo, of_models in zip(photos, zip(*groups, strict=True), strict=True):
            size = (photo.pixels.shape[1], photo.pixels.shape[0])
            one = fuse(of_models, weights, how.iou, size, how.class_agnostic)
            found.append(Candidates(one.boxes, calibrated(one.scores, entry.calibration), one.classes))
        return found

    plans = tuple(plan for model in models for plan in model.plans)
    return Model(names, plans, judge, 1, min(model.streams for model in models))


def _of_members(own: Inference) -> list[str]:
    """Options that an ensemble's entry sets although only its members' count."""
    plain = Inference()
    used = {"nms", "plausibility", "max_detections"}
    idle = [one.name for one in fields(own) if one.name not in used and getattr(own, one.name) != getattr(plain, one.name)]
    if own.nms.method not in ("wbf", plain.nms.method):
        idle.append("nms.method")
    return idle + [f"nms.{name}" for name in ("measure", "sigma") if getattr(own.nms, name) != getattr(plain.nms, name)]


def load_detector(name: str, device: str | None = None, score_threshold: float | None = None) -> Detector:
    """The detector of a name, a model key or a file. ``device``: a torch device (default: CUDA where there is one);
    ``score_threshold``: instead of the entry's own, for all classes.
    """
    return detector_of(resolve(name), device, score_threshold)


def detector_of(entry: Weights, device: str | None = None, score_threshold: float | None = None) -> Detector:
    """The detector of an entry, e.g. of a registered one with other options."""
    own = _uncalibrated(entry, min([entry.score_threshold, *entry.thresholds.values()]))
    lowest = own if score_threshold is None else _uncalibrated(entry, score_threshold)
    if entry.family == "ensemble" or entry.inference.nms.method == "wbf":
        lowest = min(own, FUSED_FROM)
    model = (_ensemble if entry.family == "ensemble" else _single)(entry, device, lowest)
    return Detector(entry, model, score_threshold)
