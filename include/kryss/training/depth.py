"""Training of Kryss's own depth network (``./kryss train depth``).

Loss: scale-invariant log error (Eigen et al. 2014), the gradients of the log error at four scales (as MegaDepth, Li and
Snavely 2018), Huber's of the log error of signs and signals, each sign counting alike however few pixels it has,
cross-entropy of sky or too far; of real photos what ``depth_data`` knows, and that the mean weights see
the same depth in the mirrored photo as the network sees in the photo under other light (mean teacher, Tarvainen and
Valpola 2017).
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from kryss.training.backbone import backbone_weights
from kryss.training.data import LabelledPhoto, split
from kryss.training.depth_data import Batch, Batches
from kryss.training.logs import Table
from kryss.training.recipe import DataSet, OtherRun, RecipeError
from kryss.training.rendered import Streets
from kryss.training.run import data_digest, sound
from kryss.training.state import save_atomically
from kryss.vision.depth.families import kryss_network
from kryss.vision.depth.network import DepthNetwork
from kryss.vision.registry import UnknownWeights, Weights, file_digest, resolve, weights_file

log = logging.getLogger(__name__)

RECIPE = Path(__file__).parent / "recipes" / "depth.yaml"
CHECKPOINT = "depth-checkpoint.pt"
COLUMNS = ("step", "minutes", "rate", "loss", "depth", "gradient", "far", "sign", "road", "mirror")
LOG_EVERY = 25
SHARED = 0.85
Item = TypeVar("Item")


class DepthRecipe(BaseModel):
    """How the network is trained; ``recipes/depth.yaml`` holds the one that ships."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    start: str = "imagenet"
    """imagenet (the backbone alone), or a model of the family kryss-depth: a name of the registry, or the file of a run."""
    sizes: tuple[tuple[int, int], ...] = Field(min_length=1)
    """Widths and heights of the input, multiples of 32."""
    rendered: int = Field(gt=0)
    """Rendered pictures a batch."""
    real: int = Field(ge=0)
    """Photos a batch, where there are any."""
    texture_photos: int = Field(ge=0)
    """So many photos give textures to the rendered streets."""
    rate: float = Field(gt=0)
    backbone_rate: float = Field(ge=0)
    """As a multiple of ``rate``."""
    fixed: tuple[str, ...] = ()
    """Beginnings of the names of backbone weights that stay as ImageNet left them."""
    backbone_from: float = Field(0.0, ge=0, le=1)
    """Share of the schedule in which the whole backbone stays: a step costs a third, and the decoder comes first anyway."""
    warm_up: float = Field(gt=0, lt=1)
    """Share of the schedule in which the rate rises."""
    weight_decay: float = 0.01
    ema: float = Field(gt=0, lt=1)
    gradient: float
    far: float
    sign: float
    road: float
    mirror: float
    """Weights of the parts of the loss beside the scale-invariant one."""
    mirror_from: float
    """Share of the schedule before the mean weights teach."""
    precision: str = Field("fp32", pattern="^(fp32|bf16)$")
    save_every_s: float = 120.0


class _Numbered(Dataset[Batch]):
    def __init__(self, batches: Batches, first: int) -> None:
        self.batches, self.first = batches, first

    def __len__(self) -> int:
        return 2**31

    def __getitem__(self, number: int) -> Batch:
        return self.batches[self.first + number]


def loader(batches: Batches, first: int, workers: int) -> Iterator[Batch]:
    """Batches from a number on, made in other processes."""
    torch.multiprocessing.set_sharing_strategy("file_system")
    return iter(
        DataLoader(
            _Numbered(batches, first),
            batch_size=None,
            sampler=range(2**31 - 1),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            collate_fn=_same,
        )
    )


def _same(batch: Item) -> Item:
    return batch


def as_input(pixels: np.ndarray) -> Tensor:
    """(n, h, w, 3) uint8 to (n, 3, h, w) in -1..1, as the backbone's ImageNet weights want it."""
    return (torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(
        memory_format=torch.channels_last
    )


def scale_invariant(error: Tensor, known: Tensor) -> Tensor:
    """Eigen's loss of each picture's log errors (n, h, w) where known, as a root; mean over pictures.

    What is wrong everywhere alike counts little, as a single picture does not tell how high its camera is: lambda as in "From
    big to small" (Lee et al. 2019).
    """
    count = known.sum((1, 2)).clamp(min=1)
    error = torch.where(known, error, 0.0)
    square, mean = error.square().sum((1, 2)) / count, error.sum((1, 2)) / count
    return (square - SHARED * mean.square() + 1e-6).sqrt().mean()


def gradients(error: Tensor, known: Tensor, scales: int = 4) -> Tensor:
    """Mean absolute difference between neighbouring log errors, at 1, 1/2, 1/4, 1/8."""
    total = error.new_zeros(())
    for k in range(scales):
        e, m = error[:, :: 2**k, :: 2**k], known[:, :: 2**k, :: 2**k]
        for axis in (1, 2):
            n = e.shape[axis]
            both = m.narrow(axis, 1, n - 1) & m.narrow(axis, 0, n - 1)
            step = (e.narrow(axis, 1, n - 1) - e.narrow(axis, 0, n - 1)).abs().clamp(max=2.0)
            total = total + (step * both).sum() / both.sum().clamp(min=1)
    return total / scales


def loss_parts(output: Tensor, batch: Batch, teacher: Tensor | None) -> dict[str, Tensor]:
    """Of (n, 2, h/2, w/2) outputs."""
    log_depth, logit = output[:, 0], output[:, 1]
    known, target = ~torch.from_numpy(np.isnan(batch.log_depth)), torch.from_numpy(np.nan_to_num(batch.log_depth))
    error, k = log_depth - target, batch.rendered
    parts = {"depth": scale_invariant(error[:k], known[:k]), "gradient": gradients(error[:k], known[:k])}
    far = torch.from_numpy(batch.far)
    told = far >= 0
    parts["far"] = functional.binary_cross_entropy_with_logits(logit[told], far[told].float())
    zero = output.sum() * 0
    parts["sign"] = _robust(error, torch.from_numpy(batch.sign) * known) if batch.sign.any() else zero
    road = torch.from_numpy(np.nan_to_num(batch.road))
    is_road = torch.from_numpy(~np.isnan(batch.road))
    parts["road"] = _robust(log_depth - road, is_road.float()) if is_road.any() else zero
    parts["mirror"] = zero
    if teacher is not None and len(teacher):
        near = teacher[:, 1] < 0
        if near.any():
            parts["mirror"] = (log_depth[k:] - teacher[:, 0])[near].abs().clamp(max=1.0).mean()
    return parts


def _robust(error: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of Huber's loss."""
    loss = functional.smooth_l1_loss(error, torch.zeros_like(error), beta=0.15, reduction="none")
    return (loss * weight).sum() / weight.sum().clamp(min=1e-6)


def start_entry(start: str) -> Weights:
    """RecipeError where a depth network cannot start from this model."""
    try:
        entry = resolve(start)
    except (UnknownWeights, OSError, ValueError) as error:
        raise RecipeError(f"start {start}: {error}") from error
    if entry.family != "kryss-depth":
        raise RecipeError(f"start {start}: a model of the family {entry.family}, not kryss-depth")
    return entry


def run_digest(recipe: DepthRecipe, photos: Sequence[LabelledPhoto], steps: int | None) -> str:
    """Names what the weights follow from: recipe, photos, weights at the start, and the number of steps (None: the clock)."""
    settings = recipe.model_dump(mode="json", exclude={"save_every_s", "start"})
    start = recipe.start if recipe.start == "imagenet" else file_digest(weights_file(start_entry(recipe.start)))
    return hashlib.sha256(json.dumps([settings, data_digest(photos), start, steps], sort_keys=True).encode()).hexdigest()


def train(
    recipe: DepthRecipe,
    batches: Batches,
    out: Path,
    *,
    minutes: float | None,
    steps: int | None,
    threads: int,
    workers: int,
    resume: bool,
) -> dict[str, Tensor]:
    """Trains for so many minutes or steps; returns the mean weights, which are also in ``out/depth-ema.pt``. Writes
    ``out/log.csv`` and checkpoints.
    """
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    model = DepthNetwork()
    if recipe.start == "imagenet":
        given = backbone_weights()
        model.backbone.load_state_dict({key: given[key] for key in model.backbone.state_dict()})
    else:
        model.load_state_dict(kryss_network(start_entry(recipe.start)).state_dict())
    mean = DepthNetwork().eval().requires_grad_(False)
    mean.load_state_dict(model.state_dict())
    slow = [p for name, p in model.backbone.named_parameters() if not name.startswith(recipe.fixed or (" ",))]
    model.backbone.requires_grad_(False)
    ours = {id(p) for p in model.backbone.parameters()}
    groups = [{"params": [p for p in model.parameters() if id(p) not in ours]}, {"params": slow}]
    optimiser = torch.optim.AdamW(groups, lr=recipe.rate, weight_decay=recipe.weight_decay)
    for one in (model, mean):
        one.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    step, spent = 0, 0.0
    checkpoint, of_run = out / CHECKPOINT, run_digest(recipe, batches.photos, steps)
    if resume and checkpoint.is_file():
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        if state.get("of_run") != of_run:
            raise OtherRun(f"{checkpoint} is of another recipe, other data, another start or other --steps: give another --out")
        model.load_state_dict(state["model"])
        mean.load_state_dict(state["mean"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = state["step"], state["spent"]
        log.info("goes on from step %d", step)
    elif checkpoint.is_file():
        raise OtherRun(f"{checkpoint} is there: give --resume to go on from it, or another --out")

    def save() -> None:
        state = {"model": model.state_dict(), "mean": mean.state_dict(), "optimiser": optimiser.state_dict(), "step": step}
        save_atomically({**state, "of_run": of_run, "spent": spent + time.monotonic() - started}, checkpoint)
        save_atomically(mean.state_dict(), out / "depth-ema.pt")

    started = saved = time.monotonic()
    window: list[dict[str, float]] = []
    source = loader(batches, step, workers)
    table = Table(out / "log.csv", COLUMNS, step)

    def tell() -> None:
        if window:
            means = {key: float(np.mean([row[key] for row in window])) for key in window[0]}
            log.info("%.1f min, step %d: %s", clock, step, ", ".join(f"{key} {value:.4f}" for key, value in means.items()))
            table.add({"step": step, "minutes": clock, "rate": optimiser.param_groups[0]["lr"], **means})
            window.clear()

    while True:
        clock = (spent + time.monotonic() - started) / 60
        done = step / steps if steps else clock / (minutes or 1)
        if done >= 1:
            break
        batch = next(source)
        for parameter in slow:
            parameter.requires_grad_(done >= recipe.backbone_from)
        _set_rates(optimiser, recipe, done)
        window.append(_step(model, mean, optimiser, recipe, batch, done))
        step += 1
        _fold_in(mean, model, min(recipe.ema, step / (step + 9)))
        if step % LOG_EVERY == 0:
            tell()
        if time.monotonic() - saved > recipe.save_every_s:
            save()
            saved = time.monotonic()
    tell()
    table.close()
    save()
    return mean.state_dict()


def _set_rates(optimiser: torch.optim.Optimizer, recipe: DepthRecipe, done: float) -> None:
    """One cycle: a cosine up, a cosine down."""
    if done < recipe.warm_up:
        factor = 0.5 - 0.49 * math.cos(math.pi * done / recipe.warm_up)
    else:
        factor = 0.5 + 0.499 * math.cos(math.pi * (done - recipe.warm_up) / (1 - recipe.warm_up))
    for group, share in zip(optimiser.param_groups, (1.0, recipe.backbone_rate), strict=True):
        group["lr"] = recipe.rate * share * factor


def _step(
    model: DepthNetwork, mean: DepthNetwork, optimiser: torch.optim.Optimizer, recipe: DepthRecipe, batch: Batch, done: float
) -> dict[str, float]:
    model.train()
    model.backbone.eval()  # its batch norms stay as ImageNet left them
    teacher = None
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
        if recipe.mirror and done >= recipe.mirror_from and len(batch.plain):
            with torch.no_grad():
                teacher = mean(as_input(batch.plain[:, :, ::-1])).flip(3)
        output = model(as_input(batch.pixels))
    parts = loss_parts(output, batch, teacher)
    weights = {"depth": 1.0, **{key: getattr(recipe, key) for key in parts if key != "depth"}}
    total = sum((weights[key] * value for key, value in parts.items()), output.new_zeros(()))
    optimiser.zero_grad(set_to_none=True)
    total.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
    optimiser.step()
    return {"loss": total.item(), **{key: value.item() for key, value in parts.items()}}


@torch.no_grad()
def _fold_in(mean: DepthNetwork, model: DepthNetwork, keep: float) -> None:
    state = model.state_dict()
    for key, value in mean.state_dict().items():
        if value.is_floating_point():
            value.lerp_(state[key], 1 - keep)
        else:
            value.copy_(state[key])


def batches_of(recipe: DepthRecipe, gtsdb: Path | None, skip_bad: bool = False) -> tuple[Batches, dict[str, int]]:
    """The recipe's data, and what was left out by kind. Of GTSDB only what is not held out; without it: rendered streets with
    drawn textures alone.
    """
    photos: list[LabelledPhoto] = []
    left_out: dict[str, int] = {}
    if gtsdb:
        kept, left_out = sound({"gtsdb": DataSet(format="gtsdb")}, {"gtsdb": gtsdb}, skip_bad)
        photos = split(kept["gtsdb"])[0]
    every = max(1, len(photos) // max(1, recipe.texture_photos))
    textures = [Image.fromarray(photo.pixels()) for photo in photos[::every][: recipe.texture_photos]]
    return Batches(Streets(textures, recipe.seed), photos, recipe.sizes, recipe.rendered, recipe.real, recipe.seed), left_out
