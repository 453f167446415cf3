"""The training of a detector: stage after stage, with mean weights, validations and checkpoints.

With a schedule in steps everything follows from recipe, data and start: a run that is killed at any moment and resumed ends with
the same weights as one left alone (to the bit on a CPU with ``deterministic``). With ``minutes`` the schedule follows the clock
instead, so that a run on a busy machine ends in time with its learning rate down; that is not repeatable.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from kryss.training.detector import Batch, Learner, fill
from kryss.training.logs import Journal, predictions
from kryss.training.recipe import Interrupted, OtherRun, Recipe, Stage
from kryss.training.schedule import Convergence, rate_factor
from kryss.training.state import random_states, restore_random_states, save_atomically
from kryss.training.validation import Found, Judged, Looker, judge

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
LOG_EVERY = 20
EMA_WARM_UP = 9.0
"""The mean weights forget the start over so many steps at first: decay = step / (step + 9) until it reaches the recipe's."""
NUMBERS = range(2**40)
OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


class Samples(Protocol):
    """Crops by number: a pure function of it, whatever process asks."""

    def sample(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(S, S, 3) uint8, (n, 4) float32 ltrb, (n,) output numbers, (m, 4) places to ignore."""
        ...


class Trainer:
    """One run in one folder."""

    def __init__(
        self,
        recipe: Recipe,
        names: Sequence[str],
        samples: Samples,
        judged: Sequence[Judged],
        output_of: dict[str, int | None],
        out: Path,
        *,
        start: dict[str, Tensor] | None = None,
        start_name: str = "none",
        class_weights: Tensor | None = None,
        data_digest: str = "",
        minutes: float | None = None,
        device: str | None = None,
        resume: bool = False,
        new_data: bool = False,
    ) -> None:
        """``names``: what the outputs are called. ``output_of``: class to output. ``start``: weights to fill in where they fit.
        ``start_name``: what those are called; a run that goes on keeps in ``place`` what it started from.
        ``resume``: goes on from the checkpoint in ``out`` if there is one; ``new_data``: although photos or labels are others.
        """
        self.recipe, self.names, self.samples, self.out = recipe, tuple(names), samples, out
        self.judged, self.output_of, self.minutes = list(judged), output_of, minutes
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if recipe.precision == "fp16" and self.device.type != "cuda":
            raise ValueError("precision fp16 needs a GPU: take bf16 or fp32")
        out.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(recipe.threads)
        if recipe.deterministic:
            torch.use_deterministic_algorithms(True)
        torch.manual_seed(recipe.seed)
        self.learner = Learner(recipe, len(names), class_weights)
        if start is not None:
            new = fill(self.learner.model, start)
            log.info("start: %d of %d tensors are new", len(new), len(self.learner.model.state_dict()))
        self.learner.to(self.device).to(memory_format=torch.channels_last)
        self.model = self.learner.model
        self.looker = Looker(recipe, len(names), self.device)
        self.fingerprint, self.data_digest, self.new_data = self._fingerprint(), data_digest, new_data
        self.place: dict[str, Any] = {"stage": 0, "stage_step": 0, "step": 0, "seconds": 0.0, "best": None, "validated_at": 0.0}
        self.place |= {"best_figures": {}, "last_figures": {}, "start": start_name}
        self.convergence = Convergence()
        self.saved_at = time.monotonic()
        self.stopping = threading.Event()
        checkpoint = out / CHECKPOINT
        if resume and checkpoint.is_file():
            # On the CPU: states of random generators stay there, everything else goes where its owner is.
            self._restore(torch.load(checkpoint, map_location="cpu", weights_only=True))
        elif checkpoint.is_file():
            raise OtherRun(f"{checkpoint} is there: give --resume to go on from it, or another --out")
        else:
            self.ema = self._mean_weights()
            self._enter(0)

    def _fingerprint(self) -> str:
        """Names what the weights follow from beside the data. Threads, workers and how often it saves may change in between."""
        settings = self.recipe.model_dump(mode="json", exclude={"workers", "save_every_s", "threads"})
        text = json.dumps([settings, list(self.names), self.minutes is not None], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _mean_weights(self) -> Any:
        from timm.utils import ModelEmaV3

        return ModelEmaV3(self.model, decay=self.recipe.ema, use_warmup=True, warmup_gamma=EMA_WARM_UP, warmup_power=1.0)

    @property
    def stage(self) -> Stage:
        return self.recipe.stages[self.place["stage"]]

    def _enter(self, number: int) -> None:
        """Makes ready what learns in a stage and how."""
        self.place |= {"stage": number, "stage_step": 0, "validated_at": 0.0}
        stage, recipe = self.stage, self.recipe
        for name, parameter in self.model.backbone.named_parameters():
            parameter.requires_grad_(stage.train == "all" and not name.startswith(stage.fixed or (" ",)))
        backbone = {id(p) for p in self.model.backbone.parameters()}
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.model.parameters() if id(p) not in backbone], "share": 1.0},
            {"params": [p for p in self.model.backbone.parameters() if p.requires_grad], "share": stage.backbone_rate},
        ]
        used = [{**group, "lr": stage.rate * group["share"]} for group in groups if group["params"]]
        self.optimiser = OPTIMISERS[stage.optimiser](used, lr=stage.rate, weight_decay=recipe.weight_decay)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.precision == "fp16")
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimiser, mode="max", factor=stage.plateau_factor, patience=stage.plateau_patience
        )
        # What a stage starts from is what it has to better.
        self.convergence = Convergence(best=self.convergence.best)

    # The loop

    def run(self) -> dict[str, Tensor]:
        """Trains to the end (or to where it is asked to stop: Interrupted); returns the mean weights that are the result."""
        self.learner.train()
        figures = [f"{name} {figure}" for name in self.names for figure in ("ap", "ap50")]
        with Journal(self.out, self.place["step"], ["ap", "ap50", *figures]) as self.journal, _stop_signals(self.stopping):
            batches = iter(self._batches())
            while self.place["stage"] < len(self.recipe.stages):
                self._run_stage(batches)
        return self._result()

    def _run_stage(self, batches: Iterator[Batch]) -> None:
        stage, window, began = self.stage, [], time.monotonic()
        log.info("stage %s: %s, %s %g, %s", stage.name, stage.train, stage.optimiser, stage.rate, stage.schedule)
        with tqdm(
            total=None if self.minutes else stage.steps, initial=self.place["stage_step"], desc=stage.name, mininterval=5
        ) as bar:
            while not self._over():
                self._set_rates()
                window.append(self._step(batches))
                now = time.monotonic()
                self.place["seconds"] += now - began
                took, began = now - began, now
                self.place["step"] += 1
                self.place["stage_step"] += 1
                bar.update()
                if self.place["step"] % LOG_EVERY == 0:
                    self._note(window, took, bar)
                    window.clear()
                if self._validation_due():
                    self.validate()
                    self.save()
                elif self.stopping.is_set() or now - self.saved_at >= self.recipe.save_every_s:
                    self.save()
                if self.stopping.is_set():
                    raise Interrupted(f"stopped after step {self.place['step']}: --resume goes on from {self.out / CHECKPOINT}")
        if self.place["validated_at"] != self._now():
            self.validate()
        self._leave()
        self.save()

    def _over(self) -> bool:
        if self.convergence.over(self.stage.patience):
            log.info("stage %s has converged: %d validations without a better one", self.stage.name, self.convergence.since)
            return True
        return self._done() >= 1

    def _done(self) -> float:
        """Share of the stage that is over. By the clock all stages share the minutes as they share the steps."""
        if self.minutes is None:
            return self.place["stage_step"] / self.stage.steps
        steps = [s.steps for s in self.recipe.stages]
        before, total = sum(steps[: self.place["stage"]]) / sum(steps), self.place["seconds"] / (self.minutes * 60)
        return min(1.0, (total - before) * sum(steps) / self.stage.steps)

    def _set_rates(self) -> None:
        if self.stage.schedule == "plateau" and self.place["stage_step"] >= self.stage.warm_up:
            return  # torch's scheduler has them
        factor = rate_factor(self.stage, self.place["stage_step"], self._done())
        for group in self.optimiser.param_groups:
            group["lr"] = self.stage.rate * group["share"] * factor

    def _step(self, batches: Iterator[Batch]) -> dict[str, float]:
        kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        kind = kinds[self.recipe.precision]
        self.optimiser.zero_grad()
        totals: dict[str, float] = {}
        for _ in range(self.recipe.accumulate):
            batch = next(batches)
            batch = Batch(batch.images.to(self.device, non_blocking=True), batch.boxes, batch.labels, batch.ignore)
            with torch.autocast(self.device.type, kind, enabled=kind != torch.float32):
                losses = self.learner(batch)
            self.scaler.scale(losses["loss"] / self.recipe.accumulate).backward()
            for key, value in losses.items():
                totals[key] = totals.get(key, 0.0) + value.item() / self.recipe.accumulate
        if not math.isfinite(totals["loss"]) and not self.scaler.is_enabled():
            raise FloatingPointError(
                f"the loss of step {self.place['step']} is {totals['loss']}: resume from the checkpoint with a lower rate or fp32"
            )
        self.scaler.unscale_(self.optimiser)
        torch.nn.utils.clip_grad_norm_(self.learner.parameters(), self.recipe.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.ema.update(self.model, self.place["step"] + 1)
        return totals

    def _batches(self) -> DataLoader[Any]:
        first = self.place["step"] * self.recipe.batch * self.recipe.accumulate
        return DataLoader(
            _Numbered(self.samples),
            batch_size=self.recipe.batch,
            sampler=NUMBERS[first:],
            num_workers=self.recipe.workers,
            collate_fn=_batch,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=_start_worker,
            prefetch_factor=4 if self.recipe.workers else None,
            generator=torch.Generator(),  # the loader's own: it must not draw from the training's
        )

    def _note(self, window: Sequence[dict[str, float]], took: float, bar: Any) -> None:
        values = {key: float(np.mean([row[key] for row in window])) for key in window[0]}
        bar.set_postfix({key: f"{value:.4f}" for key, value in values.items()}, refresh=False)
        rate = self.optimiser.param_groups[0]["lr"]
        minutes = self.place["seconds"] / 60
        self.journal.step(
            self.place["step"], self.stage.name, {"minutes": minutes, "rate": rate, **values, "seconds_a_step": took}
        )

    # Validation

    def _now(self) -> float:
        """What validations are counted by."""
        return self.place["seconds"] if self.recipe.validate_.every_minutes else float(self.place["stage_step"])

    def _validation_due(self) -> bool:
        settings = self.recipe.validate_
        every = settings.every_minutes * 60 if settings.every_minutes else float(settings.every_steps or 1)
        return self._now() - self.place["validated_at"] >= every

    def validate(self) -> dict[str, float]:
        """Judges the mean weights; notes the figure for the plateau, early stopping and the best weights."""
        self.place["validated_at"] = self._now()
        if not self.judged:
            return {}
        state = self.ema.module.state_dict()
        found = [self.looker.look(state, j.photo.pixels(), j.scale) for j in tqdm(self.judged, desc="validation", mininterval=5)]
        figures = judge(found, self.judged, self.output_of, self.names)
        step = self.place["step"]
        log.info("step %d: %s", step, ", ".join(f"{key} {value:.4f}" for key, value in figures.items()))
        self.journal.validation(step, self.stage.name, figures)
        self._draw(found)
        figure = figures.get(self.recipe.validate_.watch, 0.0)
        if self.stage.schedule == "plateau":
            self.plateau.step(figure)
        if self.convergence.better(figure):
            name = f"best-{step}.pt"
            save_atomically({key: value.cpu() for key, value in state.items()}, self.out / name)
            self.place |= {"best": name, "best_figures": figures}
        self.place["last_figures"] = figures
        return figures

    def _draw(self, found: Sequence[Found]) -> None:
        number = self.recipe.validate_.pictures
        if not number:
            return
        chosen = np.linspace(0, len(self.judged) - 1, min(number, len(self.judged))).round().astype(int)
        picture = predictions([self.judged[k] for k in chosen], [found[k] for k in chosen], self.names)
        folder = self.out / "predictions"
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"step-{self.place['step']:06d}.jpg"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        self.journal.picture(self.place["step"], picture)

    # Stages, checkpoints, result

    def _leave(self) -> None:
        """Goes on to the next stage, from the weights that the recipe keeps."""
        number = self.place["stage"] + 1
        if number < len(self.recipe.stages):
            self.model.load_state_dict(self._result())
            self.ema = self._mean_weights()
            self._enter(number)
        else:
            self.place["stage"] = number

    def figures(self) -> dict[str, float]:
        """Of the weights that are the result."""
        kept: dict[str, float] = self.place[
            "best_figures" if self.recipe.keep == "best" and self.place["best"] else "last_figures"
        ]
        return kept

    def _result(self) -> dict[str, Tensor]:
        if self.recipe.keep == "best" and self.place["best"]:
            kept: dict[str, Tensor] = torch.load(self.out / self.place["best"], map_location=self.device, weights_only=True)
            return kept
        return {key: value.detach().clone() for key, value in self.ema.module.state_dict().items()}

    def save(self) -> None:
        """Everything that the next step follows from. The best weights lie beside it; older ones go when it is written."""
        ended = self.place["stage"] >= len(self.recipe.stages)
        value = {
            "fingerprint": self.fingerprint,
            "data": self.data_digest,
            "place": self.place,
            "convergence": {"best": self.convergence.best, "since": self.convergence.since},
            "model": self.model.state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimiser": None if ended else self.optimiser.state_dict(),
            "plateau": self.plateau.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": random_states(),
        }
        save_atomically(value, self.out / CHECKPOINT)
        self.saved_at = time.monotonic()
        for path in self.out.glob("best-*.pt"):
            if path.name != self.place["best"]:
                path.unlink()

    def _restore(self, saved: dict[str, Any]) -> None:
        where = self.out / CHECKPOINT
        if saved["fingerprint"] != self.fingerprint:
            raise OtherRun(
                f"{where} was made by another recipe or with another use of --minutes: give those again, or another --out"
            )
        if saved["data"] != self.data_digest and not self.new_data:
            raise OtherRun(
                f"{where} was made with other data ({saved['data'][:12]}, now {self.data_digest[:12]}): give the same photos, "
                "labels and drawings, or --new-data to go on with these (the result is then that of no undisturbed run)"
            )
        self.ema = self._mean_weights()
        number = saved["place"]["stage"]
        self._enter(min(number, len(self.recipe.stages) - 1))
        self.place |= saved["place"]
        self.convergence = Convergence(**saved["convergence"])
        self.model.load_state_dict(saved["model"])
        self.ema.module.load_state_dict(saved["ema"])
        if saved["optimiser"] is not None:
            self.optimiser.load_state_dict(saved["optimiser"])
        self.plateau.load_state_dict(saved["plateau"])
        self.scaler.load_state_dict(saved["scaler"])
        restore_random_states(saved["random"])
        log.info("resumed after step %d, stage %d", self.place["step"], number + 1)


class _Numbered(Dataset[Any]):
    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __getitem__(self, number: int) -> Any:
        return self.samples.sample(number)


def _batch(rows: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]) -> Batch:
    def tensors(column: int, kind: torch.dtype, *shape: int) -> tuple[Tensor, ...]:
        return tuple(torch.as_tensor(np.asarray(row[column]), dtype=kind).reshape(*shape) for row in rows)

    images = torch.from_numpy(np.stack([row[0] for row in rows]))
    return Batch(images, tensors(1, torch.float32, -1, 4), tensors(2, torch.long, -1), tensors(3, torch.float32, -1, 4))


def _start_worker(_: int) -> None:
    """One thread each. What stops the run from a terminal or scheduler reaches the whole group: the trainer ends its workers."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


@contextmanager
def _stop_signals(stopping: threading.Event) -> Iterator[None]:
    """SIGTERM and Ctrl-C end the run after the step that goes on, with a checkpoint. Only a program's first thread may listen."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
