"""Judging a network while it learns: whole photos, native resolution, average precision by COCO's rules.

Plain on purpose (no second stage, no fusion): it is the training's compass. `./kryss evaluate` judges the finished model.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from kryss.training.data import LabelledPhoto
from kryss.training.detector import build, configuration, flat
from kryss.training.recipe import Recipe

logging.getLogger("faster_coco_eval").setLevel(logging.WARNING)
CANDIDATES, KEPT, NMS_IOU = 1000, 100, 0.5
MULTIPLE = 128
FIRST_SCORE = 0.01


@dataclass(frozen=True, slots=True)
class Judged:
    """A photo to judge by, at a scale, and which outputs its data set labels."""

    photo: LabelledPhoto
    outputs: frozenset[int]
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Found:
    """What stands in one photo: ltrb in its pixels, best first."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


class Looker:
    """Runs a state of weights on photos of any size."""

    def __init__(self, recipe: Recipe, outputs: int, device: torch.device) -> None:
        from effdet.anchors import Anchors

        self.outputs, self.device = outputs, device

        @lru_cache(maxsize=8)
        def sized(height: int, width: int) -> tuple[Any, Tensor]:
            # effdet's feature pyramid is made for one size; the weights fit all.
            with torch.device("meta"):
                model = build(recipe.architecture, outputs, (height, width), recipe.model)
            return model, Anchors.from_config(model.config).boxes.to(device)

        self.sized = sized
        config = configuration(recipe)
        self.mean, self.std = (np.array(config[key], np.float32) * 255 for key in ("mean", "std"))

    def look(self, state: dict[str, Tensor], pixels: np.ndarray, scale: float = 1.0) -> Found:
        """``pixels``: (h, w, 3) uint8."""
        from effdet.anchors import decode_box_outputs
        from torchvision.ops import batched_nms

        if scale != 1.0:
            pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        height, width = pixels.shape[:2]
        padded = np.zeros((-(-height // MULTIPLE) * MULTIPLE, -(-width // MULTIPLE) * MULTIPLE, 3), np.float32)
        padded[:height, :width] = (pixels - self.mean) / self.std
        model, anchors = self.sized(*padded.shape[:2])
        model.load_state_dict(state, assign=True)
        tensor = torch.from_numpy(padded).permute(2, 0, 1)[None].to(self.device, memory_format=torch.channels_last)
        with torch.no_grad():
            class_maps, box_maps = model.eval()(tensor)
        logits = flat(class_maps, self.outputs)[0]
        best, labels = logits.max(1)
        scores, rows = best.sigmoid().topk(min(CANDIDATES, len(best)))
        rows, scores = rows[scores >= FIRST_SCORE], scores[scores >= FIRST_SCORE]
        boxes = decode_box_outputs(flat(box_maps, 4)[0][rows], anchors[rows], output_xyxy=True) / scale
        keep = batched_nms(boxes, scores, labels[rows], NMS_IOU)[:KEPT]
        return Found(boxes[keep].cpu().numpy(), scores[keep].cpu().numpy(), labels[rows][keep].cpu().numpy())


def judge(
    found: Sequence[Found], photos: Sequence[Judged], output_of: dict[str, int | None], names: Sequence[str]
) -> dict[str, float]:
    """``ap`` (IoU 0.5 to 0.95) and ``ap50``: means over the outputs that occur; and both of each output (``sign ap50``).

    Ignore regions, and boxes of classes that no output stands for, are crowds: what lies in them counts neither way.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    figures: dict[str, float] = {}
    sums: dict[str, list[float]] = defaultdict(list)
    for output, name in enumerate(names):
        images, annotations, results = [], [], []
        for key, (judged, seen) in enumerate(zip(photos, found, strict=True)):
            if output not in judged.outputs:
                continue
            images.append({"id": key, "width": judged.photo.width, "height": judged.photo.height})
            for *box, label in judged.photo.boxes:
                if output_of.get(label) == output:
                    annotations.append(_row(key, box, 0))
                elif output_of.get(label) is None:
                    annotations.append(_row(key, box, 1))
            annotations += [_row(key, list(box), 1) for box in judged.photo.ignore]
            for box, score, label in zip(seen.boxes, seen.scores, seen.labels, strict=True):
                if label == output:
                    results.append({**_row(key, [float(v) for v in box], 0), "score": float(score)})
        if not any(not row["iscrowd"] for row in annotations):
            continue
        ap, ap50 = 0.0, 0.0
        if results:
            for number, row in enumerate(annotations, 1):
                row["id"] = number
            with contextlib.redirect_stdout(io.StringIO()):
                truth = COCO({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": name}]})
                run = COCOeval_faster(truth, truth.loadRes(results), iouType="bbox")
                run.run()
            ap, ap50 = float(run.stats[0]), float(run.stats[1])
        figures[f"{name} ap"], figures[f"{name} ap50"] = ap, ap50
        sums["ap"].append(ap)
        sums["ap50"].append(ap50)
    return {**{key: float(np.mean(values)) for key, values in sums.items()}, **figures}


def _row(image: int, box: Sequence[float], crowd: int) -> dict[str, Any]:
    left, top, right, bottom = box
    side = [left, top, right - left, bottom - top]
    return {"image_id": image, "category_id": 1, "bbox": side, "area": side[2] * side[3], "iscrowd": crowd}
