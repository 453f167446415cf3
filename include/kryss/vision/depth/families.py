"""The families of depth networks, each as a function from a photo's pixels to a depth map.

- ``kryss-depth``: our own, small, for any camera (``network.py``).
- ``transformers``: Depth Anything V2 Small, metric, outdoor (80 m), through Hugging Face's ``depth-estimation`` models.
- ``monodepth2``: the network of the thesis, with files that the user supplies (``monodepth2.py``).
- ``onnx``: RT-MonoDepth-S (KITTI, 640 x 192, LANCZOS resize, RGB 0..1, metres out). A stand-in for trying the path out.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from kryss.vision.compiled import SHAPES, Compiled, compiled, graph
from kryss.vision.depth.maps import DepthMap
from kryss.vision.networks import onnx_session, threads
from kryss.vision.registry import Weights, WeightsDamaged, WeightsUnavailable, file_digest, model_key, weights_file

log = logging.getLogger(__name__)

ACCEPT = "KRYSS_ACCEPT_LICENCE"
"""Names of models, with commas between, whose restrictive licence the user accepts."""
USUAL_FOCAL = 0.85
"""Focal length over the longer side, where a photo's is not known: OpenSfM's prior (``default_focal_prior``)."""
DEPTH_ANYTHING_LIMIT_M = 80.0
KITTI_LIMIT_M = 100.0

Estimate = Callable[[np.ndarray, float | None], DepthMap]
"""(h, w, 3) uint8 RGB of any size and the focal length over its longer side (None: not known) to metres over the same view."""


class Family(NamedTuple):
    """A depth network, ready."""

    estimate: Estimate
    needed_side: int
    """Pixels of a photo's longer side that it has use for."""
    streams: int = 1
    """Calls of ``estimate`` that may run at a time."""


class DepthUnavailable(RuntimeError):  # noqa: N818
    """Depth cannot be used here; says why and what to do."""


def family(entry: Weights) -> Family:
    """The network of an entry."""
    makers: dict[str, Callable[[Weights], Family]] = {
        "kryss-depth": _kryss,
        "transformers": _depth_anything,
        "monodepth2": _monodepth2,
        "onnx": _rtmonodepth,
    }
    if entry.family not in makers:
        raise DepthUnavailable(f"{model_key(entry)}: no depth network of the family {entry.family!r}, only {', '.join(makers)}")
    if entry.options.get("accept_licence"):
        accepted = {name.strip() for name in os.environ.get(ACCEPT, "").split(",")}
        if not accepted & {entry.name, model_key(entry)}:
            raise DepthUnavailable(
                f"{model_key(entry)}: its licence ({entry.licence}) forbids commercial use. "
                f"If you may use it, set {ACCEPT}={entry.name}"
            )
    try:
        return makers[entry.family](entry)
    except (WeightsUnavailable, WeightsDamaged) as error:
        raise DepthUnavailable(str(error)) from error


def _device() -> Any:
    """The accelerator where there is one. Sums must be added in the same order every time."""
    import torch

    torch.set_num_threads(threads())
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _kryss(entry: Weights) -> Family:
    from kryss.vision.depth.network import CANONICAL_FOCAL_PX, FARTHEST_M, input_size

    run, pixels_wanted = kryss_run(entry), int(entry.options["pixels"])

    def estimate(pixels: np.ndarray, focal: float | None) -> DepthMap:
        height, width = pixels.shape[:2]
        size = input_size(width, height, pixels_wanted)
        small = np.asarray(
            Image.fromarray(pixels).resize(size, Image.Resampling.BOX if size[0] < width else Image.Resampling.BICUBIC)
        )
        log_depth, logit = run(small)
        # The input's aspect is rounded to whole strides: its focal length is the mean of both directions'.
        stretch = np.sqrt(size[0] / width * size[1] / height)
        focal_px = (focal or USUAL_FOCAL) * max(width, height) * stretch
        return DepthMap(np.exp(log_depth) * np.float32(focal_px / CANONICAL_FOCAL_PX), FARTHEST_M, logit > 0)

    return Family(estimate, int(np.sqrt(pixels_wanted) * 2), 1 if _device().type == "cuda" else threads())


def kryss_run(entry: Weights) -> Callable[[np.ndarray], np.ndarray]:
    """The bare network: (h, w, 3) uint8 of a size of ``input_size`` to (2, h/2, w/2) float32 (``network.DepthNetwork``)."""
    device = _device()
    return _kryss_on_torch(entry, device) if device.type == "cuda" else _kryss_on_openvino(entry)


def kryss_network(entry: Weights) -> Any:
    """``network.DepthNetwork`` with an entry's weights, in float32, ready for inference."""
    from safetensors.torch import load_file

    from kryss.vision.depth.network import DepthNetwork

    model = DepthNetwork()
    model.load_state_dict({key: value.float() for key, value in load_file(weights_file(entry)).items()})
    return model.eval().requires_grad_(False)


def _kryss_on_torch(entry: Weights, device: Any) -> Callable[[np.ndarray], np.ndarray]:
    import torch

    model = kryss_network(entry).to(device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run(small: np.ndarray) -> np.ndarray:
        planes = torch.from_numpy(small.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1)
        return np.asarray(model(planes.to(device, memory_format=torch.channels_last))[0].float().cpu().numpy())

    return run


def _kryss_on_openvino(entry: Weights) -> Callable[[np.ndarray], np.ndarray]:
    """In fp32: a quarter of torch's processor time for the same numbers; bf16 would halve it again and move depths by 1 %.

    One graph for each size of input: the network's sense of place is made of numbers that the conversion writes down.
    """
    import torch

    digest, lock = file_digest(weights_file(entry)), threading.Lock()

    class Bytes(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = kryss_network(entry)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.network((pixels.float() / 127.5 - 1).permute(0, 3, 1, 2))
            return found

    @lru_cache(maxsize=SHAPES)
    def sized(shape: tuple[int, ...]) -> Compiled:
        fast = torch.backends.mha.get_fastpath_enabled()
        # Attention in one operation is for torch alone; in its parts OpenVINO knows it.
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            made = graph(Bytes, shape, shape, f"depth {digest}")
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
        return compiled(made, "fp32", threads())

    def run(small: np.ndarray) -> np.ndarray:
        with lock:
            network = sized((1, *small.shape))
        return network(np.ascontiguousarray(small)[None])[0][0]

    return run


def _monodepth2(entry: Weights) -> Family:
    import torch

    from kryss.vision.depth.monodepth2 import FARTHEST_M, load_monodepth2

    device, encoder, scale = _device(), weights_file(entry), float(entry.options.get("scale", 1.0))
    decoder = encoder.with_name("depth.pth")
    if not decoder.is_file():
        raise WeightsUnavailable(f"{model_key(entry)}: depth.pth is not beside {encoder}: it belongs to the same download")
    try:
        model = load_monodepth2(encoder, decoder).to(device)
    except ValueError as error:
        raise DepthUnavailable(f"{model_key(entry)}: {error}") from error

    @torch.inference_mode()
    def estimate(pixels: np.ndarray, focal: float | None) -> DepthMap:
        small = np.asarray(Image.fromarray(pixels).resize(model.size, Image.Resampling.LANCZOS), np.float32) / 255
        planes = torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1)[None]))
        return DepthMap(model(planes.to(device))[0].float().cpu().numpy() * np.float32(scale), FARTHEST_M * scale)

    return Family(estimate, model.size[0])


def _rtmonodepth(entry: Weights) -> Family:
    session = onnx_session(weights_file(entry))
    name = session.get_inputs()[0].name
    log.warning("%s: licence %s: results are for trying out only", model_key(entry), entry.licence)

    def estimate(pixels: np.ndarray, focal: float | None) -> DepthMap:
        small = Image.fromarray(pixels).resize((640, 192), Image.Resampling.LANCZOS)
        planes = np.asarray(small, np.float32).transpose(2, 0, 1)[None] / np.float32(255)
        return DepthMap(session.run(None, {name: np.ascontiguousarray(planes)})[0][0, 0], KITTI_LIMIT_M)

    return Family(estimate, 640)


def _depth_anything(entry: Weights) -> Family:
    import torch
    import transformers

    device, revision = _device(), entry.options.get("revision", "main")
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(entry.architecture, revision=revision)
        loaded = transformers.AutoModelForDepthEstimation.from_pretrained(entry.architecture, revision=revision)
        model = loaded.to(device).eval()
    except (OSError, ValueError) as error:
        raise DepthUnavailable(
            f"{model_key(entry)}: {entry.architecture} is neither in the local Hugging Face cache nor can it be "
            f"downloaded: {error}"
        ) from error

    @torch.inference_mode()
    def estimate(pixels: np.ndarray, focal: float | None) -> DepthMap:
        inputs = processor(images=Image.fromarray(pixels), return_tensors="pt").to(device)
        return DepthMap(model(**inputs).predicted_depth[0].float().cpu().numpy(), DEPTH_ANYTHING_LIMIT_M)

    return Family(estimate, 1036)
