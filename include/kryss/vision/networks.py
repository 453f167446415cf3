"""Networks behind one call: an input tensor in, candidate boxes out. effdet runs on torch, the rest on ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from kryss.vision.boxes import Candidates, NetworkInput, coverage, picodet, suppress, yolox
from kryss.vision.registry import Weights, weights_file
from kryss.vision.taxonomy import from_coco

CANDIDATES = 1000
SAME_THING_COVERAGE = 0.5
UNREAD = {"sign": "object--traffic-sign--front", "light": "object--traffic-light--general-upright"}
"""What a find of a first stage is called where no second one has read it (Mapillary Vistas' name for any sign)."""
Network = Callable[[NetworkInput], Candidates]
Recognise = Callable[[np.ndarray, Candidates], Candidates]
"""(height, width, 3) uint8 photo and boxes in its pixels: the same boxes with better classes and scores."""


def threads() -> int:
    """Threads of one network on a CPU: fixed, so that sums are added in the same order on every machine (``KRYSS_THREADS``)."""
    return int(os.environ.get("KRYSS_THREADS") or 2)


def class_names(entry: Weights) -> dict[int, str]:
    """Index of a network's output to Mapillary class, for the outputs that Kryss wants."""
    if entry.vocabulary == "coco":
        return {i: from_coco()[name] for i, name in enumerate(entry.classes) if name in from_coco()}
    if entry.vocabulary == "finder":
        return {i: UNREAD[name] for i, name in enumerate(entry.classes)}
    return dict(enumerate(entry.classes))


def load_network(entry: Weights, device: str | None, threshold: float) -> tuple[Network, Recognise | None]:
    """Reads the checked weights of an entry and makes them callable: the detector, and its second stage if it has one."""
    if entry.task != "detect":
        raise ValueError(f"{entry.name} is no detector: its task is {entry.task}")
    wanted = np.array(sorted(class_names(entry)))
    if entry.family == "effdet":
        return _effdet(entry, weights_file(entry), device, wanted, threshold)
    if entry.family == "onnx":
        return _onnx(entry, weights_file(entry), wanted, threshold), None
    raise ValueError(f"{entry.name}: no detector of the family {entry.family!r}")


def onnx_session(path: Path) -> Any:
    """A CPU session that gives the same bits every time."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _onnx(entry: Weights, path: Path, wanted: np.ndarray, threshold: float) -> Network:
    decoders = {"picodet": picodet, "yolox": yolox}
    if entry.architecture not in decoders:
        raise ValueError(f"{entry.name}: no decoder for {entry.architecture!r}, only for {', '.join(decoders)}")
    decode = decoders[entry.architecture]
    session = onnx_session(path)
    name = session.get_inputs()[0].name

    def run(network_input: NetworkInput) -> Candidates:
        outputs = session.run(None, {name: network_input.tensor})
        return decode(outputs, network_input.tensor.shape[2], wanted, threshold)

    return run


def effdet_config(architecture: str, classes: int, options: dict[str, Any]) -> Any:
    """effdet's configuration of an architecture with Kryss's classes; ``options``: what differs, e.g. ``anchor_scale``."""
    from effdet import get_efficientdet_config

    config = get_efficientdet_config(architecture)
    config.num_classes = classes
    for key, value in options.items():
        config[key] = value
    return config


def effdet_model(config: Any) -> Any:
    """The bare network: nothing is fetched, weights come from the registry."""
    from effdet import EfficientDet

    return EfficientDet(config, pretrained_backbone=False)


def effdet_anchors(config: Any) -> Any:
    """(n, 4) yxyx anchors for the configured input size, in the order in which ``effdet_outputs`` flattens."""
    from effdet.anchors import Anchors

    return Anchors.from_config(config).boxes


def effdet_outputs(levels: list[Any], width: int) -> Any:
    """Maps (1, anchors x width, h, w) of all levels as one (n, width)."""
    import torch

    return torch.cat([level[0].permute(1, 2, 0).reshape(-1, width) for level in levels])


def _effdet(
    entry: Weights, path: Path, device: str | None, wanted: np.ndarray, threshold: float
) -> tuple[Network, Recognise | None]:
    # Threads that wait for each other must not burn the cores that other processes need; read when torch is first loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch
    from effdet.anchors import decode_box_outputs

    from kryss.vision.recognise import PREFIX

    torch.set_num_threads(threads())
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    whole = {key: value.to(target) for key, value in _state(path).items()}
    state = {key: value for key, value in whole.items() if not key.startswith(PREFIX)}
    second = {key.removeprefix(PREFIX): value for key, value in whole.items() if key.startswith(PREFIX)}
    # A second stage judges again: the first only has to find.
    first_threshold = (entry.inference.first_threshold or threshold) if second else threshold

    @lru_cache(maxsize=8)
    def sized(height: int, width: int) -> tuple[Any, Any]:
        """effdet builds its feature pyramid and its anchors for one size of input; the weights are the same and shared."""
        config = effdet_config(entry.architecture, len(entry.classes), {**entry.options, "image_size": (height, width)})
        with torch.device("meta"):
            model = effdet_model(config)
        model.load_state_dict(state, assign=True)
        return model.eval().requires_grad_(False).to(memory_format=torch.channels_last), effdet_anchors(config).to(target)

    columns = torch.from_numpy(wanted).to(target)

    @torch.inference_mode()
    def run(network_input: NetworkInput) -> Candidates:
        height, width = network_input.tensor.shape[2:]
        model, anchors = sized(height, width)
        batch = torch.from_numpy(network_input.tensor).to(target, memory_format=torch.channels_last)
        class_maps, box_maps = model(batch)
        logits = effdet_outputs(class_maps, len(entry.classes)).float()[:, columns]
        # Most of a street shows nothing: look closer only at the anchors with the largest class.
        most, rows = logits.max(1).values.topk(min(CANDIDATES, len(logits)))
        if second:
            # That something stands there, whatever it is: 1 - product of (1 - p).
            scores = -torch.expm1(-torch.nn.functional.softplus(logits[rows]).sum(1))
        else:
            scores = most.sigmoid()
        above = scores >= first_threshold
        keep, scores, classes = rows[above], scores[above], logits[rows[above]].argmax(1)
        codes = effdet_outputs(box_maps, 4).float()[keep]
        boxes = decode_box_outputs(codes, anchors[keep], output_xyxy=True)
        found = columns[classes].cpu().numpy().astype(np.int64)
        return Candidates(boxes.cpu().numpy(), scores.cpu().numpy(), found)

    return run, _recogniser(second, len(entry.classes), target, threshold) if second else None


def _recogniser(state: dict[str, Any], classes: int, target: Any, threshold: float) -> Recognise:
    import torch

    from kryss.vision.recognise import Recogniser, as_input, crop

    model = Recogniser(classes + 1)
    model.load_state_dict(state)
    model.eval().requires_grad_(False).to(target)

    @torch.inference_mode()
    def recognise(pixels: np.ndarray, found: Candidates) -> Candidates:
        if not len(found.scores):
            return found
        crops = np.stack([crop(pixels, box) for box in found.boxes])
        # One crop at a time: a batched product may add in another order, and the bits must not depend on the neighbours.
        shares = torch.cat([model(as_input(one[None]).to(target)).softmax(1) for one in crops]).cpu().numpy()
        best = shares[:, :classes].argmax(1)
        scores = np.sqrt(found.scores * shares[np.arange(len(best)), best])
        keep = scores >= threshold
        # The same thing found twice, a little apart, or a part of it: the box that was read best stays.
        return suppress(Candidates(found.boxes[keep], scores[keep], best[keep]), overlap=coverage, limit=SAME_THING_COVERAGE)

    return recognise


def _state(path: Path) -> dict[str, Any]:
    """A state dict in float32, from safetensors or from a release of effdet."""
    import torch

    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        loaded = load_file(path)
    else:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    return {key: value.float() if value.is_floating_point() else value for key, value in loaded.items()}
