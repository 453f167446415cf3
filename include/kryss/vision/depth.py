"""Monocular depth: the median inside each box, for photos that have boxes. Optional: without a model the refresh goes on.

- ``onnx``: RT-MonoDepth-S (KITTI, 640 x 192, LANCZOS resize, RGB 0..1, metres out). A stand-in for trying the path out.
- ``transformers``: Depth Anything V2 Small, metric, outdoor (80 m), through Hugging Face's ``depth-estimation`` models.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from kryss.model import Box
from kryss.vision.networks import onnx_session, threads
from kryss.vision.photo import UnreadablePhoto, read_photo
from kryss.vision.registry import Weights, WeightsUnavailable, model_key, resolve, weights_file

log = logging.getLogger(__name__)

Estimate = Callable[[np.ndarray], np.ndarray]
"""(height, width, 3) uint8 RGB to (h, w) float32 metres, of any h and w over the same view."""


class DepthUnavailable(RuntimeError):  # noqa: N818
    """Depth cannot be used here; says why and what to do."""


class DepthModel:
    """One depth model, ready. Make it with ``load_depth``."""

    def __init__(self, entry: Weights, estimate: Estimate) -> None:
        self.model_key = model_key(entry)
        self._estimate = estimate

    def median_depth(self, body: bytes, boxes: Sequence[Box], original_size: tuple[int, int] | None = None) -> list[float | None]:
        """Metres for each box (pixels of the upright original); None where the box holds no pixel or the photo is unreadable."""
        if not boxes:
            return []
        try:
            photo = read_photo(body, original_size)
        except UnreadablePhoto as error:
            log.warning("no depth: bad-photo: %s", error)
            return [None] * len(boxes)
        metres = self._estimate(photo.pixels)
        return [median_inside(metres, box, photo.original_size) for box in boxes]


def median_inside(metres: np.ndarray, box: Box, view: tuple[float, float]) -> float | None:
    """Median of the depth map inside a box of a view of a width and height; at least the cell under the box's centre."""
    rows, columns = metres.shape
    left, top, right, bottom = box
    to_column, to_row = columns / view[0], rows / view[1]
    x = min(max(int((left + right) / 2 * to_column), 0), columns - 1)
    y = min(max(int((top + bottom) / 2 * to_row), 0), rows - 1)
    inside = metres[
        min(round(top * to_row), y) : max(round(bottom * to_row), y + 1),
        min(round(left * to_column), x) : max(round(right * to_column), x + 1),
    ]
    inside = inside[np.isfinite(inside) & (inside > 0)]
    return round(float(np.median(inside)), 2) if inside.size else None


def load_depth(name: str | None) -> DepthModel | None:
    """The depth model of a name or key; None for None. Raises DepthUnavailable where it cannot be had."""
    if name is None:
        return None
    entry = resolve(name)
    if entry.task != "depth":
        raise DepthUnavailable(f"{model_key(entry)} is no depth model: its task is {entry.task}")
    return DepthModel(entry, _rtmonodepth(entry) if entry.family == "onnx" else _depth_anything(entry))


def _rtmonodepth(entry: Weights) -> Estimate:
    try:
        session = onnx_session(weights_file(entry))
    except WeightsUnavailable as error:
        raise DepthUnavailable(str(error)) from error
    name = session.get_inputs()[0].name
    log.warning("%s: licence %s: results are for trying out only", model_key(entry), entry.licence)

    def estimate(pixels: np.ndarray) -> np.ndarray:
        small = Image.fromarray(pixels).resize((640, 192), Image.Resampling.LANCZOS)
        planes = np.asarray(small, np.float32).transpose(2, 0, 1)[None] / np.float32(255)
        return session.run(None, {name: np.ascontiguousarray(planes)})[0][0, 0]

    return estimate


def _depth_anything(entry: Weights) -> Estimate:
    try:
        import transformers
    except ImportError as error:
        raise DepthUnavailable(
            f"{model_key(entry)} needs the package transformers: install Kryss with its extra 'depth', or set depth to null"
        ) from error
    import torch

    torch.set_num_threads(threads())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(entry.architecture)
        model = transformers.AutoModelForDepthEstimation.from_pretrained(entry.architecture).to(device).eval()
    except (OSError, ValueError) as error:
        raise DepthUnavailable(
            f"{model_key(entry)}: {entry.architecture} is neither in the local Hugging Face cache nor can it be "
            f"downloaded: {error}"
        ) from error

    @torch.inference_mode()
    def estimate(pixels: np.ndarray) -> np.ndarray:
        inputs = processor(images=Image.fromarray(pixels), return_tensors="pt").to(device)
        return model(**inputs).predicted_depth[0].float().cpu().numpy()

    return estimate
