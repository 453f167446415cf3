"""Detections of signs and lights in photos, one photo at a time: a photo's result depends on nothing but its bytes, its
size and the weights, so that runs, shards and restarts agree to the byte.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from kryss.model import Detection
from kryss.vision.boxes import Candidates, prepare, suppress
from kryss.vision.networks import Network, Recognise, class_names, load_network
from kryss.vision.photo import UnreadablePhoto, read_photo
from kryss.vision.registry import Preprocessing, Weights, model_key, resolve

log = logging.getLogger(__name__)

LOG_EVERY = 50
"""Photos between two lines of progress."""


@dataclass(frozen=True, slots=True)
class PhotoFailure:
    """Why a photo could not be looked at. The same fault gives the same words, so that the report can count them."""

    reason: str


class Detector:
    """One model, ready. Make it with ``load_detector``."""

    def __init__(self, entry: Weights, network: Network, recognise: Recognise | None, score_threshold: float) -> None:
        if entry.preprocessing is None:
            raise ValueError(f"{model_key(entry)} says not how a photo is prepared for it")
        self.model_key = model_key(entry)
        self.classes = tuple(sorted(set(class_names(entry).values())))
        self.score_threshold = score_threshold
        self._names = class_names(entry)
        self._preprocessing: Preprocessing = entry.preprocessing
        self._nms_iou = entry.inference.nms.iou
        self._network = network
        self._recognise = recognise

    def detect(
        self, photos: Iterable[tuple[str, bytes]], sizes: Mapping[str, tuple[int, int]] | None = None
    ) -> Iterator[tuple[str, list[Detection] | PhotoFailure]]:
        """Looks at photos as they come. ``sizes``: image id to width and height of the upright original, where it may differ
        from the photo's own; boxes are in its pixels.
        """
        failed = found = 0
        for seen, (image_id, body) in enumerate(photos, 1):
            outcome = self.look(image_id, body, (sizes or {}).get(image_id))
            if isinstance(outcome, PhotoFailure):
                failed += 1
                log.warning("photo %s: %s", image_id, outcome.reason)
            else:
                found += len(outcome)
            if seen % LOG_EVERY == 0:
                log.info("%s: %d photos, %d unreadable, %d detections", self.model_key, seen, failed, found)
            yield image_id, outcome

    def look(self, image_id: str, body: bytes, original_size: tuple[int, int] | None = None) -> list[Detection] | PhotoFailure:
        """One photo."""
        try:
            photo = read_photo(body, original_size)
        except UnreadablePhoto as error:
            return PhotoFailure(f"bad-photo: {error}")
        network_input = prepare(photo.pixels, self._preprocessing)
        found = suppress(self._network(network_input), self._nms_iou)
        in_photo = _scaled(found, network_input.to_photo_x, network_input.to_photo_y)
        if self._recognise:
            in_photo = self._recognise(photo.pixels, in_photo)
        kept = _scaled(in_photo, photo.scale_x, photo.scale_y)
        width, height = photo.original_size
        boxes = np.clip(kept.boxes, 0, np.array([width, height, width, height]))
        rows = [
            (-round(float(score), 4), tuple(round(float(side), 2) for side in box), self._names[int(index)])
            for box, score, index in zip(boxes, kept.scores, kept.classes, strict=True)
            if box[2] - box[0] >= 1 and box[3] - box[1] >= 1
        ]
        return [
            Detection(image_id, self.model_key, ordinal, name, -score, (box[0], box[1], box[2], box[3]))
            for ordinal, (score, box, name) in enumerate(sorted(rows))
        ]


def _scaled(found: Candidates, factor_x: float, factor_y: float) -> Candidates:
    factors = np.array([factor_x, factor_y, factor_x, factor_y], np.float64)
    return Candidates(found.boxes.reshape(-1, 4) * factors, found.scores, found.classes)


def load_detector(name: str, device: str | None = None, score_threshold: float | None = None) -> Detector:
    """The detector of a name or a model key. ``device``: a torch device (default: CUDA where there is one); ``score_threshold``:
    instead of the entry's own.
    """
    entry = resolve(name)
    threshold = entry.score_threshold if score_threshold is None else score_threshold
    return Detector(entry, *load_network(entry, device, threshold), threshold)
