"""A training small enough for a test: a tiny network, drawn squares, two photos to be judged by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

SIDE = 128


class Squares:
    """Crops with a red or a blue square, by number; now and then a grey one that teaches nothing."""

    def sample(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(number)
        image = rng.integers(60, 120, (SIDE, SIDE, 3), dtype=np.uint8)
        label, size = int(rng.integers(2)), int(rng.integers(24, 60))
        x, y = (int(v) for v in rng.integers(0, SIDE - size, 2))
        image[y : y + size, x : x + size] = [(230, 20, 20), (20, 20, 230)][label]
        ignore = np.zeros((0, 4), np.float32)
        if number % 5 == 0:
            image[:20, :20] = 255
            ignore = np.array([[0, 0, 20, 20]], np.float32)
        return image, np.array([[x, y, x + size, y + size]], np.float32), np.array([label]), ignore


SETTINGS: dict[str, Any] = {
    "name": "tiny",
    "outputs": {"sign": ["regulatory--*"], "light": ["object--traffic-light--*"]},
    "model": {
        "backbone_name": "mobilenetv3_small_050",
        "fpn_channels": 16,
        "fpn_cell_repeats": 1,
        "box_class_repeats": 1,
        "anchor_scale": 3.0,
    },
    "start": "none",
    "side_px": SIDE,
    "batch": 2,
    "threads": 1,
    "workers": 0,
    "ema": 0.9,
    "deterministic": True,
    "save_every_s": 0,
    "loss": {"ciou": 0.5, "cross_entropy": 0.2},
    "validation": {"every_steps": 2, "photos": 2, "pictures": 2},
    "stages": [
        {
            "name": "heads",
            "train": "heads",
            "rate": 1e-3,
            "schedule": "plateau",
            "plateau_patience": 1,
            "steps": 4,
            "patience": 4,
        },
        {"name": "all", "optimiser": "adamw", "rate": 1e-3, "schedule": "one-cycle", "steps": 5, "warm_up": 2},
    ],
}
CLASSES = ("regulatory--stop--g1", "object--traffic-light--general-upright")


@pytest.fixture(scope="session")
def tiny_settings() -> dict[str, Any]:
    """Of a recipe."""
    return dict(SETTINGS)


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Any]:
    """Makes a trainer of the settings above; keywords change the recipe, ``given`` goes to the trainer."""
    from kryss.training.data import LabelledPhoto
    from kryss.training.recipe import Recipe
    from kryss.training.train import Trainer
    from kryss.training.validation import Judged

    judged = []
    for number in (1, 3):
        image, boxes, labels, _ = Squares().sample(number)
        _, body = cv2.imencode(".png", image[..., ::-1])
        row = (*(float(v) for v in boxes[0]), CLASSES[labels[0]])
        judged.append(Judged(LabelledPhoto(number, body.tobytes(), SIDE, SIDE, (row,)), frozenset({0, 1})))

    def make(out: str = "out", given: dict[str, Any] | None = None, **changes: Any) -> Any:
        recipe = Recipe.model_validate({**SETTINGS, **changes})
        output_of = dict(zip(CLASSES, recipe.output_of(CLASSES), strict=True))
        names = recipe.output_names(CLASSES)
        return Trainer(recipe, names, Squares(), judged, output_of, tmp_path / out, device="cpu", **(given or {}))

    return make
