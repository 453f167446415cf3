"""What the depth network learns from: rendered streets with true depth, and real photos of which a little is known.

Of a real photo with labelled signs three things are known without any lidar: a sign of usual size that is so many pixels
high is so many canonical metres away, whatever the lens; the road just ahead of a car is a plane below a camera of
known height, whatever the lens; and a white or blue glare at the top of the picture is sky. Nothing else of real photos
is told, and no other network teaches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from kryss.positioning.sizes import object_size
from kryss.training.data import LabelledPhoto
from kryss.training.rendered import Rendering, Streets
from kryss.vision.depth.network import CANONICAL_FOCAL_PX, FARTHEST_M

HORIZON, CAMERA_HEIGHT_M = 0.637, 1.2
"""Of GTSDB's photos, whose camera is fixed in its car: where the horizon lies (share of the height), and how high the camera is.
Least squares over 714 labelled signs of usual size and mounting height give 0.642 and 1.0 m, with a wide error; a dash is 1.2 m
high at least. Without a height the scale of real roads is free, and wanders to three times the truth."""
ROAD_TOP, ROAD_HALF = 0.80, 0.16
"""The road ahead is bare below this share of the height, and so far (share of the width) to both sides of the middle."""
SKY_BRIGHT, SKY_BOTTOM = 222, 0.4
LEAST_SIGN_PX = 5.0
"""Of a sign in the network's input: smaller ones tell little."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Arrays of n pictures: the first ``rendered`` are rendered, the rest are photos."""

    pixels: np.ndarray
    """(n, h, w, 3) uint8, as the network gets them"""
    plain: np.ndarray
    """(photos, h, w, 3) uint8: the photos before their light was changed"""
    log_depth: np.ndarray
    """(n, h/2, w/2) float32: log of the canonical depth, NaN where it is not known"""
    far: np.ndarray
    """(n, h/2, w/2) int8: 1 sky or too far, 0 not, -1 not known"""
    road: np.ndarray
    """(n, h/2, w/2) float32: log of the canonical depth of a photo's road, NaN elsewhere"""
    sign: np.ndarray
    """(n, h/2, w/2) float32: each sign's and signal's share of its own cells, 0 elsewhere; those of one sign sum to 1"""
    rendered: int


@dataclass(frozen=True)
class Batches:
    """Batch ``number`` is a pure function of the seed, the number and the data: what a worker process makes."""

    streets: Streets
    photos: Sequence[LabelledPhoto]
    sizes: Sequence[tuple[int, int]]
    """Widths and heights of the input, by turns at random: one a batch."""
    rendered: int
    real: int
    seed: int

    def __getitem__(self, number: int) -> Batch:
        rng = np.random.default_rng([self.seed, 3, number])
        size = self.sizes[int(rng.integers(len(self.sizes)))]
        rows = []
        for k in range(self.rendered):
            rendering = self.streets.sample(number * self.rendered + k, size)
            rows.append((rendering.pixels, rendering.pixels, *truth(rendering)))
        real = self.real if self.photos else 0
        rows += [real_photo(self.photos[int(rng.integers(len(self.photos)))], size, rng) for _ in range(real)]
        pixels, plain, log_depth, far, road, sign = (np.stack(column) for column in zip(*rows, strict=True))
        flip = rng.random(len(rows)) < 0.5
        for array in (pixels, plain, log_depth, far, road, sign):
            array[flip] = array[flip, :, ::-1]
        return Batch(pixels, plain[self.rendered :], log_depth, far, road, sign, self.rendered)


def truth(rendering: Rendering) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Log canonical depth, far, road and sign of a rendering at half of its size."""
    depth = rendering.depth[::2, ::2]
    near = depth < FARTHEST_M
    log_depth = np.full(depth.shape, np.nan, np.float32)
    log_depth[near] = np.log(depth[near] * (CANONICAL_FOCAL_PX / rendering.focal_px))
    plates = rendering.plates[::2, ::2]
    _, which, cells = np.unique(plates, return_inverse=True, return_counts=True)
    sign = np.where((plates > 0) & near, 1 / cells[which.reshape(plates.shape)], 0).astype(np.float32)
    return log_depth, (~near).astype(np.int8), np.full(depth.shape, np.nan, np.float32), sign


def real_photo(
    photo: LabelledPhoto, size: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A window of a photo as the network sees it: pixels with other light, pixels, and what is known of its depth."""
    width, height = size
    whole = Image.fromarray(photo.pixels())
    share = float(np.exp(rng.uniform(math.log(0.5), 0.0)))
    window_w = min(share * whole.width, whole.height * width / height)
    window_h = window_w * height / width
    left = rng.uniform(0, whole.width - window_w)
    top = (whole.height - window_h) * float(np.clip(rng.normal(0.6, 0.25), 0, 1))
    plain = whole.resize(size, Image.Resampling.BOX, (left, top, left + window_w, top + window_h), reducing_gap=2.0)
    scale = width / window_w

    y, x = np.mgrid[0 : height // 2, 0 : width // 2].astype(np.float32)
    y, x = (2 * y + 0.5) / scale + top, (2 * x + 0.5) / scale + left  # pixels of the photo
    log_depth, road = (np.full(y.shape, np.nan, np.float32) for _ in range(2))
    sign = np.zeros(y.shape, np.float32)
    far = np.full(y.shape, -1, np.int8)
    is_road = (y > ROAD_TOP * whole.height) & (np.abs(x / whole.width - 0.5) < ROAD_HALF)
    below = (y[is_road] - HORIZON * whole.height) * scale
    road[is_road] = np.log(CANONICAL_FOCAL_PX * CAMERA_HEIGHT_M / below)
    far[is_road] = 0
    pixels = np.asarray(plain)
    far[(pixels[::2, ::2].min(2) > SKY_BRIGHT) & (y < SKY_BOTTOM * whole.height)] = 1
    for l, t, r, b, name in photo.boxes:  # noqa: E741
        usual = object_size(name)
        if usual is None or (b - t) * scale < LEAST_SIGN_PX:
            continue
        metres = CANONICAL_FOCAL_PX * usual.height_m / ((b - t) * scale)
        inside = (np.abs(x - (l + r) / 2) < (r - l) * 0.35) & (np.abs(y - (t + b) / 2) < (b - t) * 0.3)
        log_depth[inside] = math.log(metres)
        far[inside] = 0
        sign[inside] = 1 / max(inside.sum(), 1)
    return np.asarray(relit(plain, rng)), pixels, log_depth, far, road, sign


def relit(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Other exposure, contrast, colours, sharpness and noise."""
    for kind, spread in ((ImageEnhance.Brightness, 0.35), (ImageEnhance.Contrast, 0.3), (ImageEnhance.Color, 0.5)):
        image = kind(image).enhance(float(np.exp(rng.normal(0, spread))))
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    value = np.asarray(image, np.float32) * rng.normal(1, 0.05, 3).astype(np.float32)
    value = value + rng.normal(0, rng.uniform(0, 8), value.shape).astype(np.float32)
    return Image.fromarray(value.clip(0, 255).astype(np.uint8))
