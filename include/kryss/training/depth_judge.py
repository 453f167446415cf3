"""How right a depth model is, against true depth: ``python -m kryss.training.depth_judge --model NAME --area DIR``.

``DIR`` is a recorded area with ``truth_depth.npz`` (``photos``: ids; ``centimetres``: (photos, h, w) uint16 along the
optical axis, 0 where it is not known), as the town is. Measures are those of Eigen et al. 2014 over all pixels with a
truth up to 80 m: absolute relative error and the share of depths within a factor of 1.25, as the model says them, and
with each photo's median scaled to the truth's, as networks without a scale are judged.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kryss.vision.depth import DepthModel, DepthUnavailable, load_depth, map_fault
from kryss.vision.depth.maps import DepthMap
from kryss.vision.photo import read_photo

FARTHEST_M = 80.0
BANDS = ((0.0, 10.0), (10.0, 20.0), (20.0, 40.0), (40.0, 80.0))


@dataclass(frozen=True, slots=True)
class Measures:
    """Over pixels: mean |d - t| / t, share with max(d / t, t / d) < 1.25, and how many they are."""

    abs_rel: float
    delta: float
    pixels: int


def measures(predicted: np.ndarray, truth: np.ndarray) -> Measures:
    """Of two arrays of metres of the same shape, where the truth is finite and positive."""
    told = np.isfinite(truth) & (truth > 0)
    d, t = np.maximum(predicted[told].astype(float), 1e-3), truth[told].astype(float)
    if not len(t):
        return Measures(float("nan"), float("nan"), 0)
    ratio = np.maximum(d / t, t / d)
    return Measures(float(np.mean(np.abs(d - t) / t)), float(np.mean(ratio < 1.25)), len(t))


def sampled(found: DepthMap, shape: Sequence[int]) -> np.ndarray:
    """A map's metres at the middles of (h, w) cells over the same view."""
    height, width = found.metres.shape
    rows = ((np.arange(shape[0]) + 0.5) / shape[0] * height).astype(int)
    columns = ((np.arange(shape[1]) + 0.5) / shape[1] * width).astype(int)
    return found.metres[np.ix_(rows, columns)]


def judge(model: DepthModel, photos: Iterable[tuple[bytes, float | None, np.ndarray]]) -> dict[str, Measures]:
    """Over photos with their focal length (over the longer side) and truth: ``metric``, ``median-scaled`` and by distance."""
    said, scaled, truths = [], [], []
    for body, focal, truth in photos:
        truth = np.where((truth > 0) & (truth <= FARTHEST_M), truth, np.nan)
        found = sampled(model.depth_map(read_photo(body), focal), truth.shape)
        told = np.isfinite(truth)
        said.append(found.ravel())
        scaled.append((found * (np.median(truth[told]) / np.median(found[told])) if told.any() else found).ravel())
        truths.append(truth.ravel())
    said_, scaled_, truth_ = (np.concatenate(rows) for rows in (said, scaled, truths))
    result = {"metric": measures(said_, truth_), "median-scaled": measures(scaled_, truth_)}
    for low, high in BANDS:
        here = np.where((truth_ > low) & (truth_ <= high), truth_, np.nan)
        result[f"{low:.0f} to {high:.0f} m"] = measures(said_, here)
    return result


def area_truth(area: Path) -> list[tuple[bytes, float | None, np.ndarray]]:
    """Photos of a recorded area with their focal length and true depth."""
    known = np.load(area / "truth_depth.npz")
    rows = (json.loads(line) for line in (area / "images.jsonl").read_text(encoding="utf-8").splitlines())
    focal: Mapping[str, float | None] = {row["id"]: (row.get("camera_parameters") or [None])[0] for row in rows}
    return [
        ((area / "photos" / f"{photo}.jpg").read_bytes(), focal[str(photo)], centimetres / np.float32(100))
        for photo, centimetres in zip(known["photos"], known["centimetres"], strict=True)
    ]


def box_errors(model: DepthModel, area: Path) -> np.ndarray:
    """(n,) relative errors of the depth of true boxes of a recorded area: median inside the box against the object's true
    range."""
    boxes = json.loads((area / "truth_boxes.json").read_text(encoding="utf-8"))["boxes"]
    rows = [json.loads(line) for line in (area / "images.jsonl").read_text(encoding="utf-8").splitlines()]
    errors = []
    for row in rows:
        mine = [box for box in boxes if box["image_id"] == row["id"]]
        body = (area / "photos" / f"{row['id']}.jpg").read_bytes()
        focal = (row.get("camera_parameters") or [0.0])[0] or None
        size = row["width"], row["height"]
        for box, depth in zip(mine, model.median_depth(body, [tuple(b["box_ltrb"]) for b in mine], size, focal), strict=True):
            x, y = (
                (box["box_ltrb"][0] + box["box_ltrb"][2] - size[0]) / 2,
                (box["box_ltrb"][1] + box["box_ltrb"][3] - size[1]) / 2,
            )
            along = box["range_m"] / np.hypot(1.0, np.hypot(x, y) / ((focal or np.nan) * max(size)))
            errors.append(np.nan if depth is None else depth / along - 1)
    return np.array(errors)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m kryss.training.depth_judge", description=__doc__)
    parser.add_argument("--model", default="kryss-depth", help="name in the registry, or a file (default kryss-depth)")
    parser.add_argument("--area", type=Path, required=True, metavar="DIR", help="recorded area with truth_depth.npz")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        model = load_depth(options.model)
        assert model is not None
        photos = area_truth(options.area)
    except (DepthUnavailable, FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    found = judge(model, photos)
    errors = box_errors(model, options.area) if (options.area / "truth_boxes.json").is_file() else np.zeros(0)
    silent = sum(map_fault(model.depth_map(read_photo(body), focal)) is not None for body, focal, _ in photos)
    lines = [f"{model.model_key}, {len(photos)} photos, {silent} of which it says nothing", f"{'':16}abs rel  < 1.25   pixels"]
    lines += [f"{name:16}{one.abs_rel:7.3f} {100 * one.delta:6.1f} % {one.pixels:8d}" for name, one in found.items()]
    if len(errors):
        told = errors[np.isfinite(errors)]
        lines.append(f"boxes: {len(told)} of {len(errors)} with a depth, relative error {np.median(np.abs(told)):.3f} (median)")
    sys.stdout.write("\n".join(lines) + "\n")
    if options.json:
        figures = {name: {"abs_rel": one.abs_rel, "delta": one.delta, "pixels": one.pixels} for name, one in found.items()}
        options.json.write_text(json.dumps({"model": model.model_key, **figures}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
