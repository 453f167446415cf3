"""Networks behind one call: pixels in, candidate boxes out. effdet on torch or OpenVINO, the rest on ONNX Runtime.

Which library runs a network is an option of its entry; ``docs/detection.md`` has the figures that decided. On a GPU it is torch.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kryss.vision.boxes import CANDIDATES, Candidates, efficientdet, picodet, planes, yolox
from kryss.vision.compiled import compiled, graph
from kryss.vision.registry import Weights, file_digest, reader_file, weights_file
from kryss.vision.taxonomy import from_coco

if TYPE_CHECKING:
    from kryss.vision.recognise import Reader

UNREAD = {"sign": "object--traffic-sign--front", "light": "object--traffic-light--general-upright"}
"""What a find of a first stage is called where no second one has read it (Mapillary Vistas' name for any sign)."""
BATCH = {"cpu": 1, "cuda": 8}
"""Of torch, by kind of device: a CPU gains nothing from more."""
READER_BATCHES = (8, 4, 1)
"""Crops that OpenVINO reads at a time: what is fetched once for eight costs a third less. As many sizes as ``compiled`` keeps."""
GPU_STREAMS = 2
"""While one batch is on the GPU, the boxes of another are read out."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network that finds."""

    ready: Callable[[Sequence[np.ndarray]], Any]
    """At most ``batch`` pictures (height, width, 3) uint8 of one size to the input of the network, where it runs."""
    forward: Callable[[Any], Any]
    """The bare network."""
    read_out: Callable[[Any, Sequence[np.ndarray]], list[Candidates]]
    """Its outputs, and the pictures, to their boxes in pixels of the pictures."""
    batch: int = 1
    streams: int = 1
    """Calls that may run at a time."""

    def find(self, pictures: Sequence[np.ndarray]) -> list[Candidates]:
        """The boxes in each picture."""
        return self.read_out(self.forward(self.ready(pictures)), pictures)


@dataclass(frozen=True, slots=True)
class Second:
    """A network that reads what another has found."""

    read: Reader
    classes: tuple[str, ...]


def threads() -> int:
    """Threads of a network on a CPU: fixed, so that sums are added in the same order on every machine (``KRYSS_THREADS``)."""
    return int(os.environ.get("KRYSS_THREADS") or 2)


def class_names(entry: Weights) -> dict[int, str]:
    """Index of a network's output to Mapillary class, for the outputs that Kryss wants."""
    if entry.vocabulary == "coco":
        return {i: from_coco()[name] for i, name in enumerate(entry.classes) if name in from_coco()}
    if entry.vocabulary == "finder":
        return {i: UNREAD[name] for i, name in enumerate(entry.classes)}
    return dict(enumerate(entry.classes))


def load_network(entry: Weights, device: str | None, threshold: float) -> tuple[Network, Second | None]:
    """Reads the checked weights of an entry and makes them callable: the finder, and its second stage if it has one.

    ``device``: as torch names it (default: a GPU if there is one); ``threshold``: score, before calibration, below which nothing
    is wanted.
    """
    if entry.task != "detect":
        raise ValueError(f"{entry.name} is no detector: its task is {entry.task}")
    wanted = np.array(sorted(class_names(entry)))
    if entry.family == "onnx":
        return _onnx(entry, weights_file(entry), wanted, threshold), None
    if entry.family != "effdet":
        raise ValueError(f"{entry.name}: no detector of the family {entry.family!r}")
    # Threads that wait for each other must not burn the cores that other processes need; read when torch is first loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    torch.set_num_threads(threads())
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    state = read_state(weights_file(entry))
    path = reader_file(entry) if entry.inference.recogniser else None
    second = _reader(path, entry, target) if path else None
    if second:
        weight, least = entry.inference.finder_weight, entry.inference.first_threshold
        # The score is finder ** weight * reader ** (1 - weight), and no reader says more than 1.
        threshold = least if least is not None else threshold ** (1 / weight) if weight else 0.0
    made = _on_openvino if entry.inference.backend == "openvino" and target.type == "cpu" else _on_torch
    return made(entry, state, target, wanted, bool(second), threshold), second


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
    decode, how = decoders[entry.architecture], entry.preprocessing
    assert how is not None
    session = onnx_session(path)
    name = session.get_inputs()[0].name

    return Network(
        ready=lambda pictures: [planes(picture, how) for picture in pictures],
        forward=lambda inputs: [session.run(None, {name: one}) for one in inputs],
        read_out=lambda outputs, pictures: [
            decode(one, picture.shape[0], wanted, threshold) for one, picture in zip(outputs, pictures, strict=True)
        ],
    )


def effdet_config(architecture: str, classes: int, options: dict[str, Any]) -> Any:
    """effdet's configuration of an architecture with Kryss's classes; ``options``: what differs, e.g. ``anchor_scale``."""
    from effdet import get_efficientdet_config

    config = get_efficientdet_config(architecture)
    config.num_classes = classes
    # effdet takes any key and does nothing with it.
    if odd := sorted(set(options) - set(config) - {"mean", "std"}):
        raise ValueError(f"{architecture} has no option {odd[0]!r}; known: {', '.join(sorted(config))}")
    for key, value in options.items():
        config[key] = value
    return config


def effdet_model(config: Any) -> Any:
    """The bare network: nothing is fetched, weights come from the registry."""
    from effdet import EfficientDet

    return EfficientDet(config, pretrained_backbone=False)


def effdet_anchors(config: Any) -> np.ndarray:
    """(n, 4) yxyx anchors for the configured input size, in the order in which ``flat`` puts the outputs."""
    from effdet.anchors import Anchors

    return np.asarray(Anchors.from_config(config).boxes.numpy())


def flat(levels: Sequence[Any], width: int) -> Any:
    """Maps (b, anchors x width, h, w) of all levels as one (b, n, width)."""
    import torch

    return torch.cat([level.permute(0, 2, 3, 1).reshape(level.shape[0], -1, width) for level in levels], 1)


def _config(entry: Weights, size: tuple[int, int]) -> Any:
    return effdet_config(entry.architecture, len(entry.classes), {**entry.options, "image_size": size})


def _on_torch(
    entry: Weights, state: dict[str, Any], target: Any, wanted: np.ndarray, together: bool, threshold: float
) -> Network:
    import torch

    gpu = target.type == "cuda"
    batch = BATCH.get(target.type, 1)
    kinds = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16 if gpu else None}
    precision = kinds[entry.inference.precision]
    how = entry.preprocessing
    assert how is not None
    on_target = {key: value.to(target) for key, value in state.items()}
    mean = torch.tensor(how.mean, device=target).view(1, 3, 1, 1)
    std = torch.tensor(how.std, device=target).view(1, 3, 1, 1)

    @lru_cache(maxsize=8)
    def sized(height: int, width: int) -> tuple[Any, np.ndarray]:
        """effdet builds its feature pyramid and its anchors for one size of input; the weights are the same and shared."""
        config = _config(entry, (height, width))
        with torch.device("meta"):
            model = effdet_model(config)
        model.load_state_dict(on_target, assign=True)
        return model.eval().requires_grad_(False).to(memory_format=torch.channels_last), effdet_anchors(config)

    @torch.inference_mode()
    def ready(pictures: Sequence[np.ndarray]) -> Any:
        # Always a whole batch: libraries add in another order for another number, and bits must not depend on the neighbours.
        raw = torch.zeros((batch, *pictures[0].shape), dtype=torch.uint8, pin_memory=gpu)
        for k, picture in enumerate(pictures):
            raw[k] = torch.from_numpy(np.ascontiguousarray(picture))
        # Channels last as they come.
        values = raw.to(target, non_blocking=True).permute(0, 3, 1, 2).float()
        if how.channels == "bgr":
            values = values.flip(1)
        return ((values / how.scale - mean) / std).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward(values: Any) -> Any:
        with torch.autocast(target.type, precision, enabled=precision is not None):
            return sized(*values.shape[2:])[0](values)

    @torch.inference_mode()
    def read_out(outputs: Any, pictures: Sequence[np.ndarray]) -> list[Candidates]:
        anchors = sized(*pictures[0].shape[:2])[1]
        logits, codes = flat(outputs[0], len(entry.classes)).float()[:, :, wanted], flat(outputs[1], 4).float()
        # Most of a street shows nothing: only the anchors with the largest class leave the GPU.
        rows = logits.amax(2).topk(min(CANDIDATES, logits.shape[1]), 1).indices.sort(1).values
        logits, codes = (values.gather(1, rows[:, :, None].expand(-1, -1, values.shape[2])) for values in (logits, codes))
        found = []
        for row, scores, code in list(zip(rows.cpu().numpy(), logits.cpu().numpy(), codes.cpu().numpy(), strict=True))[
            : len(pictures)
        ]:
            one = efficientdet(scores, code, anchors[row], together, threshold)
            found.append(Candidates(one.boxes, one.scores, wanted[one.classes]))
        return found

    return Network(ready, forward, read_out, batch, GPU_STREAMS if gpu else 1)


def _on_openvino(
    entry: Weights, state: dict[str, Any], target: Any, wanted: np.ndarray, together: bool, threshold: float
) -> Network:
    how = entry.preprocessing
    assert how is not None
    step = 2 ** _config(entry, (512, 512)).max_level
    if how.size != "native" or how.multiple % step:
        raise ValueError(f"{entry.name}: backend openvino wants photos of size native and multiple {step}")
    identity = f"{file_digest(weights_file(entry))} {entry.architecture} {len(entry.classes)} {entry.options} {how}"
    model = graph(lambda: free_size(entry, state), (1, 2 * step, 3 * step, 3), (1, -1, -1, 3), identity)
    run = compiled(model, entry.inference.precision, threads())

    @lru_cache(maxsize=8)
    def anchors(height: int, width: int) -> np.ndarray:
        return effdet_anchors(_config(entry, (height, width)))

    def read_out(outputs: Any, pictures: Sequence[np.ndarray]) -> list[Candidates]:
        found = []
        for (logits, codes), picture in zip(outputs, pictures, strict=True):
            columns = logits[0] if len(wanted) == logits.shape[2] else logits[0][:, wanted]
            one = efficientdet(columns, codes[0], anchors(*picture.shape[:2]), together, threshold)
            found.append(Candidates(one.boxes, one.scores, wanted[one.classes]))
        return found

    return Network(
        ready=lambda pictures: [np.ascontiguousarray(picture)[None] for picture in pictures],
        forward=lambda inputs: [run(one) for one in inputs],
        read_out=read_out,
        streams=threads(),
    )


def free_size(entry: Weights, state: dict[str, Any]) -> Any:
    """A torch module of an effdet entry for all sizes that its feature pyramid halves evenly: (1, height, width, 3) uint8 to
    logits (1, n, classes) and codes (1, n, 4), float32.
    """
    import torch
    from effdet.efficientdet import FpnCombine, Interpolate2d

    how = entry.preprocessing
    assert how is not None
    step = 2 ** _config(entry, (512, 512)).max_level
    model = effdet_model(_config(entry, (2 * step, 3 * step)))
    model.load_state_dict(state)
    for part in model.modules():
        if isinstance(part, Interpolate2d):
            # effdet writes the size down; every level is twice the next one.
            part.size, part.scale_factor = None, 2.0
        if isinstance(part, FpnCombine):
            part.forward = partial(_combined, part)
    classes = len(entry.classes)
    mean, std = (torch.tensor(of) * how.scale for of in (how.mean, how.std))
    is_bgr = how.channels == "bgr"

    class Free(torch.nn.Module):
        mean: torch.Tensor
        std: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.model = model.eval().requires_grad_(False)
            self.register_buffer("mean", mean)
            self.register_buffer("std", std)

        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            # Channels last as they come: that is how OpenVINO computes, so turning them after this costs nothing.
            values = pixels.float()
            if is_bgr:
                values = values.flip(3)
            class_maps, box_maps = self.model(((values - self.mean) / self.std).permute(0, 3, 1, 2))
            return flat(class_maps, classes), flat(box_maps, 4)

    return Free()


def _combined(part: Any, levels: Sequence[Any]) -> Any:
    """effdet's ``FpnCombine.forward`` with additions in the place of its stack and sum, on which OpenVINO spends a third of a
    pass. In bf16 a sum of three may round otherwise.
    """
    import torch

    nodes = [resample(levels[offset]) for offset, resample in zip(part.inputs_offsets, part.resample.values(), strict=True)]
    if part.weight_method == "attn":
        nodes = [node * weight for node, weight in zip(nodes, torch.softmax(part.edge_weights, 0), strict=True)]
    elif part.weight_method == "fastattn":
        weights = part.edge_weights.relu()
        nodes = [node * weight for node, weight in zip(nodes, weights / (weights.sum() + 0.0001), strict=True)]
    return functools.reduce(torch.add, nodes)


def _reader(path: Path, entry: Weights, target: Any) -> Second:
    from kryss.vision.recognise import INPUT_PX, Reader, load_network, load_reader

    if entry.inference.backend != "openvino" or target.type != "cpu":
        reader = load_reader(path, str(target))
        return Second(reader, reader.classes)
    import torch

    network, settings = load_network(path)

    class Bytes(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits, deltas = self.network(crops.permute(0, 3, 1, 2).float())
            return logits, deltas

    shape = (INPUT_PX, INPUT_PX, 3)
    run = compiled(graph(Bytes, (1, *shape), (-1, *shape), f"reader {file_digest(path)}"), entry.inference.precision, threads())

    def read(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, deltas = run(crops)
        return logits, deltas

    reader = Reader(read, settings, READER_BATCHES)
    return Second(reader, reader.classes)


def read_state(path: Path) -> dict[str, Any]:
    """A state dict in float32, from safetensors or from a release of effdet."""
    import torch

    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        loaded = load_file(path)
    else:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    return {key: value.float() if value.is_floating_point() else value for key, value in loaded.items()}
