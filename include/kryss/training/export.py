"""A trained network as a file that ships: half-precision safetensors. The same weights give the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save

from kryss.vision.registry import Weights, entry_document


def export(state: Mapping[str, torch.Tensor], path: Path, classes: Sequence[str]) -> str:
    """Writes the weights and the class names; returns the SHA-256 that belongs into ``weights.yaml``."""
    return _write(state, path, {"classes": "\n".join(classes)})


def export_entry(state: Mapping[str, torch.Tensor], path: Path, entry: Weights) -> Weights:
    """Writes the weights with their entry in the metadata, so that ``load_detector(path)`` knows how they are used; returns the
    entry of the file. ``kryss.vision.registry.register`` puts it under a name.
    """
    said = entry_document(replace(entry, file=None, local=None, url=None, sha256=None))
    digest = _write(state, path, {"entry": json.dumps(said, sort_keys=True)})
    return replace(entry, file=path.name, local=None, url=None, sha256=digest, folder=path.parent)


def rewrite_entry(path: Path, entry: Weights) -> None:
    """Puts another entry into the metadata of a safetensors file (8 bytes little-endian length, a JSON object, the tensors).
    The tensors stay as they are, bit by bit.
    """
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        tensors = file.read()
    said = entry_document(replace(entry, file=None, local=None, url=None, sha256=None))
    header["__metadata__"] = {**header.get("__metadata__", {}), "entry": json.dumps(said, sort_keys=True)}
    text = json.dumps(header, separators=(",", ":")).encode()
    # The tensors begin at a multiple of 8.
    text += b" " * (-len(text) % 8)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(len(text).to_bytes(8, "little") + text + tensors)
    part.replace(path)


def _write(state: Mapping[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> str:
    tensors = {key: (value.half() if value.is_floating_point() else value).contiguous() for key, value in sorted(state.items())}
    body = save(tensors, metadata=metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(body)
    part.replace(path)
    return hashlib.sha256(body).hexdigest()
