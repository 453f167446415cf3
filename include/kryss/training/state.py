"""Checkpoints from which a killed training goes on as if nothing had happened.

One file holds everything that a next step depends on. It is written beside the old one, flushed to the disk and then renamed
over it, so that a kill at any moment leaves the old or the new one, whole.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch


def save_atomically(value: Any, path: Path) -> None:
    """As ``torch.save``; the file is there whole or not at all, also after a power cut."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        torch.save(value, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def random_states() -> dict[str, Any]:
    """Of every generator that a step may draw from."""
    state: Any = np.random.get_state(legacy=True)
    kind, keys, position, has_gauss, gauss = state
    return {
        "python": random.getstate(),
        "numpy": (kind, keys.tolist(), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_states(states: dict[str, Any]) -> None:
    version, inner, gauss = states["python"]
    random.setstate((version, tuple(inner), gauss))
    kind, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"])
    # The checkpoint's machine may have had more GPUs than this one.
    torch.cuda.set_rng_state_all(states["cuda"][: torch.cuda.device_count()])
