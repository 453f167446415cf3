"""The detector as something that learns: effdet's networks with their targets and losses.

Matching and box coding are effdet's (IoU of at least ``match_iou``, and for every box its best anchor), so are focal and Huber
loss. Kryss adds regions that teach nothing, a complete-IoU term (as Google's automl does), and weights of classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kryss.training.recipe import Loss, Recipe

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
"""What effdet's networks expect unless their configuration says otherwise."""
UNMATCHED, IGNORED = -1, -2
LARGEST_LOG_SIZE = 4.2
"""A box is at most e^4.2 = 64 times its anchor: an exponent that runs away must not make the IoU loss infinite."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Crops and their truth. ``boxes`` and ``ignore``: one (n, 4) ltrb tensor each crop, in its pixels."""

    images: Tensor
    """(b, S, S, 3) uint8."""
    boxes: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    ignore: tuple[Tensor, ...]


def build(architecture: str, outputs: int, size: tuple[int, int], options: dict[str, Any]) -> Any:
    """effdet's bare network for photos of ``size`` (height, width), its weights drawn at random."""
    from effdet import EfficientDet, get_efficientdet_config
    from effdet.config.model_config import efficientdet_model_param_dict as known

    if architecture not in known:
        raise ValueError(f"effdet has no {architecture!r}; it has {', '.join(sorted(known))}")
    config = get_efficientdet_config(architecture)
    config.num_classes = outputs
    for key, value in {**options, "image_size": size}.items():
        config[key] = value
    return EfficientDet(config, pretrained_backbone=False)


def configuration(recipe: Recipe) -> dict[str, Any]:
    """effdet's of the recipe's architecture, with what the recipe changes; ``mean``, ``std``: of pixels from 0 to 1."""
    from effdet import get_efficientdet_config

    return {**IMAGENET, **get_efficientdet_config(recipe.architecture), **recipe.model}


def fill(model: Any, state: dict[str, Tensor]) -> list[str]:
    """Loads what fits by name and shape; returns the names of the weights that stay as they are."""
    own = model.state_dict()
    fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    if not fitting:
        raise ValueError(f"none of {len(state)} tensors fits this network: these are weights of another architecture")
    model.load_state_dict(fitting, strict=False)
    return [key for key in own if key not in fitting]


def read_state(path: Path) -> dict[str, Tensor]:
    """Float32 tensors of safetensors, of a torch file, or of a checkpoint of a training (its mean weights)."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        loaded: dict[str, Any] = load_file(path)
    else:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        loaded = loaded.get("ema", loaded)
    return {key: value.float() if value.is_floating_point() else value for key, value in loaded.items()}


class Learner(nn.Module):
    """Crops and their truth in, losses out."""

    mean: Tensor
    std: Tensor
    class_weights: Tensor

    def __init__(self, recipe: Recipe, outputs: int, class_weights: Tensor | None = None) -> None:
        super().__init__()
        from effdet.anchors import AnchorLabeler, Anchors

        self.settings: Loss = recipe.loss
        self.outputs = outputs
        self.backbone_trains = recipe.backbone_norms == "train"
        self.model = build(recipe.architecture, outputs, (recipe.side_px, recipe.side_px), recipe.model)
        config = self.model.config
        self.anchors = Anchors.from_config(config)
        self.labeler = AnchorLabeler(self.anchors, outputs, match_threshold=recipe.loss.match_iou)
        pixels = configuration(recipe)
        mean, std = (torch.tensor(tuple(pixels[key])) for key in IMAGENET)
        self.register_buffer("mean", mean.view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", std.view(1, 3, 1, 1) * 255, persistent=False)
        weights = torch.ones(outputs) if class_weights is None else class_weights
        self.register_buffer("class_weights", weights, persistent=False)

    def train(self, mode: bool = True) -> Learner:
        super().train(mode)
        if not self.backbone_trains:
            self.model.backbone.eval()
        return self

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        pixels = batch.images.permute(0, 3, 1, 2).float()
        images = ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        class_maps, box_maps = self.model(images)
        return self.losses(flat(class_maps, self.outputs), flat(box_maps, 4), *self.targets(batch))

    @torch.no_grad()
    def targets(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(b, n) output that each anchor should say (or UNMATCHED, IGNORED), (b, n, 4) its box code."""
        device = self.anchors.boxes.device
        # effdet counts classes from 1 and writes boxes as yxyx.
        boxes = [b.to(device)[:, [1, 0, 3, 2]] for b in batch.boxes]
        labels, codes, _ = self.labeler.batch_label_anchors(boxes, [(n + 1).float().to(device) for n in batch.labels])
        classes = torch.cat([level.flatten(1) for level in labels], 1)
        for row, regions in zip(classes, batch.ignore, strict=True):
            if len(regions):
                near = near_ignored(self.anchors.boxes, regions.to(device)[:, [1, 0, 3, 2]], self.settings.ignore_overlap)
                row[near & (row == UNMATCHED)] = IGNORED
        return classes, torch.cat([level.reshape(len(level), -1, 4) for level in codes], 1)

    def losses(self, logits: Tensor, codes: Tensor, classes: Tensor, box_targets: Tensor) -> dict[str, Tensor]:
        """``logits``: (b, n, outputs), ``codes``: (b, n, 4). Sums over anchors by the number of matched ones + 1, as effdet's."""
        from effdet.anchors import decode_box_outputs
        from effdet.loss import huber_loss, new_focal_loss, one_hot
        from torchvision.ops import complete_box_iou_loss

        s = self.settings
        matched = classes >= 0
        normaliser = matched.sum() + 1.0
        counted = (classes != IGNORED).unsqueeze(-1) * self.class_weights
        focal = new_focal_loss(logits, one_hot(classes, self.outputs), s.alpha, s.gamma, normaliser, s.label_smoothing)
        parts = {"focal": (focal * counted).sum()}
        theirs, ours = box_targets[matched], codes[matched]
        parts["box"] = huber_loss(ours, theirs, delta=s.delta, size_average=False) / (normaliser * 4)
        loss = parts["focal"] + s.box * parts["box"]
        if s.ciou:
            anchors = self.anchors.boxes.expand(len(logits), -1, -1)[matched]
            limited = torch.cat([ours[:, :2], ours[:, 2:].clamp(max=LARGEST_LOG_SIZE)], 1)
            found, true = (decode_box_outputs(c, anchors, output_xyxy=True) for c in (limited, theirs))
            parts["ciou"] = complete_box_iou_loss(found, true, reduction="sum") / normaliser
            loss = loss + s.ciou * parts["ciou"]
        if s.cross_entropy:
            entropy = nn.functional.cross_entropy(logits[matched], classes[matched], self.class_weights, reduction="sum")
            parts["cross_entropy"] = entropy / normaliser
            loss = loss + s.cross_entropy * parts["cross_entropy"]
        return {"loss": loss, **parts}


def flat(levels: list[Tensor], width: int) -> Tensor:
    """Maps (b, anchors x width, h, w) of all levels as one (b, n, width), float32, in the order of effdet's anchors."""
    return torch.cat([m.permute(0, 2, 3, 1).reshape(len(m), -1, width) for m in levels], 1).float()


def near_ignored(anchors: Tensor, regions: Tensor, overlap: float) -> Tensor:
    """(n,) whether an anchor lies with a share of ``overlap`` in a region, or has that IoU with it; same corner order in both."""
    low, high = (
        torch.maximum(anchors[:, None, :2], regions[None, :, :2]),
        torch.minimum(anchors[:, None, 2:], regions[None, :, 2:]),
    )
    common = (high - low).clamp(min=0).prod(2)
    own, theirs = (anchors[:, 2:] - anchors[:, :2]).prod(1), (regions[:, 2:] - regions[:, :2]).prod(1)
    iou = common / (own[:, None] + theirs[None] - common)
    return (torch.maximum(iou, common / own[:, None]) >= overlap).any(1)
