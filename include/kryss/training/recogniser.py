"""Training of the second stage: cross-entropy over the classes, smooth L1 and generalised IoU for the box of what is there.

Fast R-CNN's multi-task loss (Girshick 2015, section 2.3) with GIoU (Rezatofighi et al. 2019) added, which is near to what
boxes are judged by. The trunk starts from ImageNet; its first two stages stay as they are. AdamW, one cycle, an exponential mean
of the weights. Every batch follows from the recipe's seed and its number, and a checkpoint holds all that a next step depends
on, so that a run that was killed goes on as if nothing had happened.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator
from scipy.optimize import minimize_scalar
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.ops import generalized_box_iou_loss

from kryss.training.backbone import backbone_weights
from kryss.training.crops import Crops, Mixture, jittered, touched
from kryss.training.data.photos import LabelledPhoto, Ltrb, split
from kryss.training.logs import Table
from kryss.training.prelabel import Find, key_of, read, refined
from kryss.training.recipe import DataSet as Source
from kryss.training.recipe import OtherRun, Recipe, RecipeError, check_places, read_as, recipe_file
from kryss.training.run import data_digest, drawings_digest, sound, start_name
from kryss.training.state import random_states, restore_random_states, save_atomically
from kryss.vision.boxes import iou
from kryss.vision.recognise import (
    BACKGROUND,
    DELTA_MEAN,
    DELTA_STD,
    OTHER_SIGN,
    CropNetwork,
    Reader,
    Settings,
    load_network,
    load_reader,
    save_network,
    torch_run,
)
from kryss.vision.registry import UnknownWeights, metadata, model_key, reader_file, resolve
from kryss.vision.taxonomy import detected, from_gtsdb

log = logging.getLogger(__name__)

FIXED = ("conv_stem", "bn1", "blocks.0", "blocks.1")
"""Parts of the trunk that see edges and colours, which are the same here as in ImageNet, at most of the cost."""
RISE = 0.15
"""Part of the steps in which the learning rate rises."""
LOG_EVERY = 20
STATE = "reader-state.pt"
COLUMNS = ("step", "seconds", "rate", "loss", "cross_entropy", "smooth_l1", "giou", "right")


class ReaderRecipe(BaseModel):
    """What a training of the reader does, as YAML (``recipes/reader.yaml``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    seed: int = 0
    steps: int = Field(gt=0)
    batch: int = Field(default=64, gt=1)
    rate: float = Field(default=1.5e-3, gt=0)
    trunk_rate: float = Field(default=0.5, gt=0)
    """The trunk's learning rate as a multiple of ``rate``."""
    start: str = "imagenet"
    """``imagenet``, ``none``, the file of a reader, or a model of the registry that has one."""
    weight_decay: float = Field(default=0.02, ge=0)
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    ema: float = Field(default=0.998, ge=0, lt=1)
    box: float = Field(default=1.0, ge=0)
    """Weight of the smooth-L1 loss of the normalised deltas."""
    giou: float = Field(default=1.0, ge=0)
    mine: int = Field(default=0, ge=0)
    """The reader that is started from looks at so many random places of every street photo; its false lights are learnt."""
    mixture: dict[str, float] = {}
    data: dict[str, Source] = {}
    """Data sets by name. GTSDB (``format`` or ``ids``) labels its 43 classes wherever they stand: what is found there beside its
    labels is none of them."""
    threads: int = Field(default=1, gt=0)
    workers: int = Field(default=1, ge=0)
    save_every: int = Field(default=200, gt=0)
    """Steps between checkpoints."""

    @field_validator("mixture")
    @classmethod
    def _known(cls, mixture: dict[str, float]) -> dict[str, float]:
        known = [part.name for part in fields(Mixture)]
        if unknown := sorted(set(mixture) - set(known)):
            raise ValueError(f"there is no source {unknown[0]!r}, only {', '.join(known)}")
        if below := [name for name, share in mixture.items() if not 0 <= share < math.inf]:
            raise ValueError(f"the share of {below[0]} is {mixture[below[0]]:g}: it must not be below 0")
        return mixture


def load_reader_recipe(name: str | Path) -> ReaderRecipe:
    """A file, or the name of one that ships."""
    return read_as(ReaderRecipe, recipe_file(name, " of a reader", "reader*"))


def load_recipe_of_either(name: str | Path) -> Recipe | ReaderRecipe:
    """A recipe of a detector, or of a reader: that one has ``steps`` of its own, a detector's has them in its stages."""
    path = recipe_file(name)
    with suppress(yaml.YAMLError, UnicodeDecodeError):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(document, dict) and "steps" in document:
            return read_as(ReaderRecipe, path)
    return read_as(Recipe, path)


@dataclass(frozen=True, slots=True)
class Material:
    """What a recipe learns from, and what it does not: ``held`` single signs and ``held_streets``."""

    crops: Crops
    held: tuple[LabelledPhoto, ...]
    held_streets: tuple[LabelledPhoto, ...]
    photos: int
    """Photos that are learnt from."""
    digest: str
    """Names the data: photos, boxes, finds, drawings."""
    left_out: Mapping[str, int]
    """Kind of problem to how many photos or boxes were left out (``--skip-bad``)."""


def material(
    recipe: ReaderRecipe, places: Mapping[str, Path], sprites: Path, prelabels: Path | None = None, skip_bad: bool = False
) -> Material:
    """Reads the recipe's data sets. ``prelabels``: what teachers saw in them (``./kryss train prelabel``): sure lights become
    labels; finds that touch no label become examples of what is none of the classes that GTSDB labels everywhere.
    """
    check_places(recipe.name, recipe.data, places)
    streets: list[LabelledPhoto] = []
    singles: list[LabelledPhoto] = []
    held: list[LabelledPhoto] = []
    held_streets: list[LabelledPhoto] = []
    start = start_file(recipe.start)
    everywhere: dict[str, Sequence[Find]] = {}
    finds = read(prelabels) if prelabels else {}
    kept, left_out = sound(recipe.data, places, skip_bad)
    if left_out:
        log.warning("left out: %s", ", ".join(f"{number} {kind}" for kind, number in left_out.items()))
    for name, whole in kept.items():
        source = recipe.data[name]
        photos, rest = split(whole)
        if source.format == "gtsrb":
            singles += (_as_gtsdb(photo) for photo in photos)
            held += (_as_gtsdb(photo) for photo in rest)
            continue
        held_streets += rest
        for photo in photos:
            seen = finds.get(key_of(photo), ())
            streets.append(refined(photo, seen))
            if "gtsdb" in (source.ids, source.format):
                everywhere[key_of(photo)] = seen
    exhaustive = from_gtsdb().values()
    crops = Crops(streets, singles, detected(), sprites, everywhere, exhaustive, recipe.mixture, recipe.seed)
    if recipe.mine and start:
        number = crops.mine(streets, everywhere, load_reader(start), recipe.mine)
        log.info("%d places that the reader takes for lights", number)
    for part, what in ((crops, "learn from"), (crops.judging(held), "judge by (street, find and no_light are learnt)")):
        if not any(part.shares):
            raise RecipeError(f"mixture: nothing is left to {what}: give another source a share, one that the data sets have")
    found = [[find.teacher, find.kind, *find.box] for key in sorted(everywhere) for find in everywhere[key]]
    digest = hashlib.sha256(json.dumps([data_digest([*streets, *singles]), found, drawings_digest(sprites)]).encode()).hexdigest()
    return Material(crops, tuple(held), tuple(held_streets), len(streets) + len(singles), digest, left_out)


def start_file(start: str) -> Path | None:
    """The file of a reader, or that of a model of the registry; None: ``imagenet`` or ``none``."""
    if start in ("imagenet", "none"):
        return None
    if Path(start).is_file():
        reader_document(Path(start))
        return Path(start)
    try:
        path = reader_file(entry := resolve(start))
    except UnknownWeights as error:
        raise RecipeError(f"there is no file of a reader {start!r}, and {error}") from error
    if path is None:
        raise RecipeError(f"{model_key(entry)} has no reader")
    return path


def reader_document(reader: Path) -> dict[str, Any]:
    """What a reader's file says beside its weights (``recognise.Settings``)."""
    document: dict[str, Any] = json.loads(metadata(reader).get("reader", "{}"))
    if not document:
        raise RecipeError(f"{reader} is no reader: ./kryss train reader writes OUT/reader.safetensors")
    return document


def _as_gtsdb(single: LabelledPhoto) -> LabelledPhoto:
    """GTSRB's box without its last column and row, which the COCO form of GTSDB leaves out: boxes are judged by that."""
    return replace(
        single, boxes=tuple((left, top, right - 1, bottom - 1, name) for left, top, right, bottom, name in single.boxes)
    )


def train_reader(
    recipe: ReaderRecipe, made: Material, out: Path, *, resume: bool = False, device: str | None = None
) -> dict[str, Any]:
    """Trains by a recipe, judges by the held-out photos; writes ``out/reader.safetensors``, its card ``reader.md`` and what the
    card is made of, which the file holds too; returns that.
    """
    from kryss.training.card import reader_card

    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, width=120))
    crops = made.crops
    boxes, singles = sum(map(len, crops.street.values())), sum(map(len, crops.single.values()))
    finds = len(crops.finds) + len(crops.no_lights)
    log.info("%d boxes, %d single signs, %d finds, %d pieces of streets", boxes, singles, finds, len(crops.pieces))
    network = train(crops, recipe, out, resume, made.digest, device).cpu()
    settings = Settings(crops.classes, temperature=fit_temperature(*answers(network, crops.judging(made.held), recipe.batch)))
    log.info("temperature %.2f", settings.temperature)
    start = start_file(recipe.start)
    trained: dict[str, Any] = {
        "recipe": recipe.model_dump(mode="json"),
        "data": made.digest,
        "photos": made.photos,
        "boxes": boxes,
        "left_out": dict(made.left_out),
        "start": start_name(str(start)) if start else recipe.start,
        "steps": recipe.steps,
        "held_out": _held_out(Reader(torch_run(network), settings), made.held_streets),
    }
    save_network(network.state_dict(), replace(settings, trained=trained), out / "reader.safetensors")
    (out / "reader.md").write_text(reader_card(crops.classes, settings.temperature, trained), encoding="utf-8")
    return trained


def _held_out(reader: Reader, photos: Sequence[LabelledPhoto]) -> dict[str, Any]:
    """What the card says of held-out photos; nothing where no class of the reader is labelled in any."""
    if not any(box[4] in reader.classes for photo in photos for box in photo.boxes):
        return {}
    found = judge(reader, photos)
    return {
        "photos": len(photos),
        "boxes": found.boxes,
        "accuracy": round(found.accuracy, 4),
        "iou": [round(value, 4) for value in found.iou],
        "tight": [round(value, 4) for value in found.tight],
        "background": found.background,
        "false_positives": round(found.false_positives, 4),
    }


def answers(network: CropNetwork, crops: Crops, size: int, batches: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (n, outputs) for crops of a stream, and the outputs that are right (n, outputs) bool."""
    logits, right = [], []
    with torch.inference_mode():
        for number in range(batches):
            pixels, allowed, *_ = crops.batch(number, size)
            logits.append(network(torch.from_numpy(pixels).permute(0, 3, 1, 2).float())[0])
            right.append(torch.from_numpy(allowed))
    return torch.cat(logits), torch.cat(right)


def fit_temperature(logits: torch.Tensor, allowed: torch.Tensor) -> float:
    """The temperature (Guo et al. 2017) under which the allowed outputs are likeliest."""
    found = minimize_scalar(lambda t: float(partial_cross_entropy(logits / t, allowed)), bounds=(0.2, 5.0), method="bounded")
    return float(found.x)


def train(
    crops: Crops,
    recipe: ReaderRecipe,
    out: Path,
    resume: bool = False,
    data_digest: str = "",
    device: str | None = None,
) -> CropNetwork:
    """Trains for the recipe's steps; the network with the mean weights. Writes ``out/log.csv`` and checkpoints.

    ``resume``: goes on from ``out/reader-state.pt`` if that is there; the result is that of an undisturbed run. ``data_digest``:
    names what the crops are cut from. ``device``: as torch names it (default: a GPU if there is one).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    out.mkdir(parents=True, exist_ok=True)
    network = CropNetwork(len(crops.classes) + 2)
    if start := start_file(recipe.start):
        begun, settings = load_network(start)
        if settings.classes != crops.classes:
            raise RecipeError(f"{recipe.start} reads other classes than the recipe's data have")
        network.load_state_dict(begun.state_dict())
    elif recipe.start == "imagenet":
        given = backbone_weights()
        network.trunk.load_state_dict({key: given[key] for key in network.trunk.state_dict()})
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    network.to(target)
    mean = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.ema), use_buffers=True
    )
    optimiser = _optimiser(network, recipe)
    settings_of_run = recipe.model_dump(mode="json", exclude={"workers", "threads", "save_every"})
    of_run = hashlib.sha256(json.dumps([settings_of_run, data_digest], sort_keys=True).encode()).hexdigest()
    first, spent, state_path = 0, 0.0, out / STATE
    window: list[list[float]] = []
    if state_path.is_file() and not resume:
        raise OtherRun(f"{state_path} is there: give --resume to go on from it, or another --out")
    if state_path.is_file():
        # On the CPU: states of random generators stay there, everything else goes where its owner is.
        state = torch.load(state_path, map_location="cpu", weights_only=True)
        if state["of_run"] != of_run:
            raise OtherRun(f"{state_path} is of another recipe, other data, drawings or prelabels: give another --out")
        first, spent = state["step"], state["seconds"]
        window = state["window"]
        network.load_state_dict(state["network"])
        mean.load_state_dict(state["mean"])
        optimiser.load_state_dict(state["optimiser"])
        restore_random_states(state["random"])
        log.info("goes on from step %d of %d", first, recipe.steps)
    loader = DataLoader(
        _Batches(crops, recipe.batch),
        batch_size=None,
        sampler=range(first, recipe.steps),
        num_workers=recipe.workers,
        prefetch_factor=6 if recipe.workers else None,
        # Otherwise the loader draws from the generator that dropout uses, and a resumed run goes another way.
        generator=torch.Generator(),
    )
    started = time.monotonic()
    with closing(Table(out / "log.csv", COLUMNS, first)) as table:
        for step, batch in enumerate(loader, first):
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * rate_factor(step / recipe.steps)
            window.append(_step(network, optimiser, batch, recipe, target))
            mean.update_parameters(network)
            seconds = time.monotonic() - started
            if step % LOG_EVERY == LOG_EVERY - 1 or step + 1 == recipe.steps:
                figures = dict(zip(COLUMNS[3:], np.mean(window, 0).tolist(), strict=True))
                rate = optimiser.param_groups[0]["lr"]
                table.add({"step": step + 1, "seconds": spent + seconds, "rate": rate, **figures})
                left = seconds / (step + 1 - first) * (recipe.steps - step - 1) / 60
                told = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
                log.info("step %d of %d, %.1f min left: %s", step + 1, recipe.steps, left, told)
                window.clear()
            if (step + 1) % recipe.save_every == 0 or step + 1 == recipe.steps:
                state = {
                    "of_run": of_run,
                    "step": step + 1,
                    "seconds": spent + seconds,
                    "window": window,
                    "network": network.state_dict(),
                    "mean": mean.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "random": random_states(),
                }
                save_atomically(state, state_path)
    network.load_state_dict(mean.module.state_dict())
    return network.eval()


class _Batches(Dataset):  # type: ignore[type-arg]
    """Batch by number, for torch's worker processes."""

    def __init__(self, crops: Crops, size: int) -> None:
        self.crops, self.size = crops, size

    def __getitem__(self, number: int) -> tuple[torch.Tensor, ...]:
        return tuple(torch.from_numpy(values) for values in self.crops.batch(number, self.size))


def rate_factor(done: float) -> float:
    """One cycle (Smith and Topin 2018): cosine up over the first part, cosine down to nothing. ``done``: 0 to 1."""
    if done < RISE:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * done / RISE)) / 2
    return (1 + math.cos(math.pi * (done - RISE) / (1 - RISE))) / 2


def _optimiser(network: CropNetwork, recipe: ReaderRecipe) -> torch.optim.Optimizer:
    for name, parameter in network.trunk.named_parameters():
        parameter.requires_grad_(not name.startswith(FIXED))
    groups = []
    for part, rate in (("trunk.", recipe.rate * recipe.trunk_rate), ("", recipe.rate)):
        own = [p for name, p in network.named_parameters() if p.requires_grad and name.startswith("trunk.") == bool(part)]
        groups.append({"params": own, "lr": rate, "peak": rate})
    return torch.optim.AdamW(groups[::-1], weight_decay=recipe.weight_decay)


def _step(
    network: CropNetwork, optimiser: torch.optim.Optimizer, batch: Any, recipe: ReaderRecipe, target: torch.device
) -> list[float]:
    """The figures of ``COLUMNS`` from the loss on."""
    crops, allowed, deltas, has_box = (values.to(target) for values in batch)
    network.train()
    for name, module in network.trunk.named_modules():
        if name.startswith(FIXED):
            module.eval()
    logits, found = network(crops.permute(0, 3, 1, 2).float())
    entropy = partial_cross_entropy(logits, allowed, recipe.label_smoothing)
    smooth = giou = logits.sum() * 0
    if has_box.any():
        smooth = nn.functional.smooth_l1_loss(found[has_box], deltas[has_box])
        giou = generalized_box_iou_loss(_corners(found[has_box]), _corners(deltas[has_box]), reduction="mean")
    loss = entropy + recipe.box * smooth + recipe.giou * giou
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 10.0)
    optimiser.step()
    right = allowed[torch.arange(len(logits), device=target), logits.argmax(1)].float().mean()
    return [value.item() for value in (loss, entropy, smooth, giou, right)]


def partial_cross_entropy(logits: torch.Tensor, allowed: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Mean of -log of the probability of the allowed outputs (n, outputs) bool: the usual cross-entropy where it is one.

    ``smoothing`` (Szegedy et al. 2016) counts for rows of one allowed output.
    """
    whole = logits.logsumexp(1)
    losses = whole - logits.masked_fill(~allowed, -torch.inf).logsumexp(1)
    share = smoothing * (allowed.sum(1) == 1)
    return ((1 - share) * losses + share * (whole - logits.mean(1))).mean()


def _corners(deltas: torch.Tensor) -> torch.Tensor:
    """Normalised deltas (n, 4) to ltrb in units of the square, whose centre is 0."""
    values = deltas * deltas.new_tensor(DELTA_STD) + deltas.new_tensor(DELTA_MEAN)
    halves = values[:, 2:].clamp(max=math.log(2.0)).exp() / 2
    return torch.cat([values[:, :2] - halves, values[:, :2] + halves], 1)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a reader makes of labelled boxes that were shaken, and of places without a label."""

    boxes: int
    accuracy: float
    """Share of boxes whose likeliest class is the label's, background and other signs counting as wrong."""
    iou: tuple[float, ...]
    """Mean IoU with the label: of the shaken boxes, after one pass, after two, ..."""
    tight: tuple[float, ...]
    """Share of them with an IoU of at least 0.75."""
    background: int
    false_positives: float
    """Share of background places that are taken for one of the classes with a probability of at least 0.5."""
    confusions: tuple[tuple[str, str, int], ...]
    """Label, what was read, how often."""
    probabilities: np.ndarray
    """(boxes + background, classes + 2)."""
    labels: np.ndarray
    """(boxes + background,) number of the right output."""


def judge(reader: Reader, photos: Sequence[LabelledPhoto], passes: int = 2, shakes: int = 3, seed: int = 1) -> Judgement:
    """Reads every labelled box ``shakes`` times, each time shaken anew, and three empty places of every photo."""
    index = {name: k for k, name in enumerate(reader.classes)}
    names = [*reader.classes, OTHER_SIGN, BACKGROUND]
    rng = random.Random(seed)
    overlaps: list[list[float]] = []
    wrong: Counter[tuple[str, str]] = Counter()
    shares: list[np.ndarray] = []
    labels: list[int] = []
    for photo in photos:
        pixels = photo.pixels()
        height, width = pixels.shape[:2]
        truths = [box for box in photo.boxes if box[4] in index for _ in range(shakes)]
        empty: list[Ltrb] = []
        for _ in range(20):
            side = math.exp(rng.uniform(math.log(16), math.log(120)))
            x, y = rng.uniform(0, width - side), rng.uniform(0, height - side)
            place = (x, y, x + side, y + side)
            if not touched(place, [*(box[:4] for box in photo.boxes), *photo.ignore], 0.02) and len(empty) < 3:
                empty.append(place)
        candidates = np.array([*(jittered(rng, box[:4]) for box in truths), *empty]).reshape(-1, 4)
        if not len(candidates):
            continue
        found = [reader(pixels, candidates, passes=k + 1) for k in range(passes)]
        for k, truth in enumerate(truths):
            steps = [candidates, *(refined for _, refined in found)]
            overlaps.append([float(iou(np.array(truth[:4]), boxes[k : k + 1])[0]) for boxes in steps])
            read = int(found[-1][0][k].argmax())
            if names[read] != truth[4]:
                wrong[truth[4], names[read]] += 1
        shares.append(found[-1][0])
        labels += [index[truth[4]] for truth in truths] + [len(names) - 1] * len(empty)
    answers, right = np.concatenate(shares), np.array(labels)
    is_box = right < len(index)
    table = np.array(overlaps)
    nothing = answers[~is_box][:, : len(index)]
    return Judgement(
        boxes=int(is_box.sum()),
        accuracy=1 - sum(wrong.values()) / max(1, int(is_box.sum())),
        iou=tuple(table.mean(0)),
        tight=tuple((table >= 0.75).mean(0)),
        background=len(nothing),
        false_positives=float((nothing.max(1) >= 0.5).mean()) if len(nothing) else 0.0,
        confusions=tuple((a, b, count) for (a, b), count in wrong.most_common()),
        probabilities=answers,
        labels=right,
    )
