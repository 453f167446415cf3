"""A trained network as a file that ships: half-precision safetensors. The same weights give the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save


def export(state: Mapping[str, torch.Tensor], path: Path, classes: Sequence[str]) -> str:
    """Writes the weights and the class names; returns the SHA-256 that belongs into ``weights.yaml``."""
    tensors = {key: (value.half() if value.is_floating_point() else value).contiguous() for key, value in sorted(state.items())}
    body = save(tensors, metadata={"classes": "\n".join(classes)})
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(body)
    part.replace(path)
    return hashlib.sha256(body).hexdigest()
