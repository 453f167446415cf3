"""Learning rates over a stage, and when a stage has converged."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kryss.training.recipe import Stage

LAST = 0.01
"""Share of the rate that cosine and one-cycle end with."""
RISE = 0.25
"""One-cycle: share of the stage in which the rate rises (Smith and Topin 2018)."""
FIRST = 0.04


def rate_factor(stage: Stage, step: int, done: float) -> float:
    """Multiple of ``stage.rate``. ``step``: of this stage, from 0; ``done``: share of the stage that is over, 0 to 1."""
    warm = min(1.0, (step + 1) / stage.warm_up) if stage.warm_up else 1.0
    if stage.schedule == "cosine":
        return warm * _cosine(1.0, LAST, done)
    if stage.schedule == "one-cycle":
        rising = done < RISE
        return warm * (_cosine(FIRST, 1.0, done / RISE) if rising else _cosine(1.0, LAST, (done - RISE) / (1 - RISE)))
    return warm


def _cosine(a: float, b: float, share: float) -> float:
    return b + (a - b) * (1 + math.cos(math.pi * min(1.0, share))) / 2


@dataclass(slots=True)
class Convergence:
    """Early stopping: the best figure so far and for how many validations nothing was better."""

    best: float = -math.inf
    since: int = 0

    def better(self, figure: float) -> bool:
        """Notes a figure; whether it is the best of the stage."""
        if figure > self.best:
            self.best, self.since = figure, 0
            return True
        self.since += 1
        return False

    def over(self, patience: int | None) -> bool:
        return patience is not None and self.since >= patience
