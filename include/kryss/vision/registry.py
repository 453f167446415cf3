"""Which weights Kryss knows, where they come from, and how a photo is prepared for them: the rows of ``weights.yaml``.

A model is named ``name`` or ``name@version``; ``name@version`` (``model_key``) goes into every detection. Weights ship with
Kryss (``file`` under this folder), are downloaded on first use (``url``, relative to ``download_base``), or are put into a
folder by the user (``local``). Every file is checked by its SHA-256: the whole digest where it is known, else the first eight
digits that PyTorch releases carry in their file names (torch.hub's convention).

``KRYSS_WEIGHTS_DIR``: where local weights are looked for and downloads are kept (default ``~/.cache/kryss/weights``).
``KRYSS_WEIGHTS_URL``: a mirror in place of ``download_base``.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import os
import tempfile
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import requests
import yaml

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
SHARED = HERE.parents[3] / "shared" / "weights"
"""Weights beside a development checkout; absent elsewhere."""
TRIES = 3


class UnknownWeights(ValueError):  # noqa: N818
    """No entry of that name and version."""


class WeightsUnavailable(RuntimeError):  # noqa: N818
    """The file of an entry is not here and could not be had."""


class WeightsDamaged(RuntimeError):  # noqa: N818
    """A file has another hash than its entry says."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How an upright photo becomes the input of a network. Field by field as ``weights.yaml`` explains them."""

    size: Literal["native", "fit", "stretch"]
    max_side: int
    multiple: int = 1
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channels: Literal["rgb", "bgr"] = "rgb"
    scale: float = 255.0
    fill: float | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """One entry of the registry."""

    name: str
    version: str
    task: Literal["detect", "depth"]
    family: Literal["effdet", "onnx", "transformers"]
    architecture: str
    licence: str
    source: str
    classes: tuple[str, ...] = ()
    """Name of output i, in the model's own vocabulary: ``vocabulary`` says which."""
    vocabulary: Literal["mapillary", "coco"] = "mapillary"
    file: str | None = None
    local: str | None = None
    url: str | None = None
    sha256: str | None = None
    """64 hex digits, or the first 8 of them."""
    preprocessing: Preprocessing | None = None
    score_threshold: float = 0.3
    nms_iou: float = 0.5
    options: dict[str, Any] = field(default_factory=dict, hash=False)


def model_key(entry: Weights) -> str:
    """``name@version``: what detections are attributed to."""
    return f"{entry.name}@{entry.version}"


@cache
def entries() -> tuple[Weights, ...]:
    """All entries, validated."""
    document = yaml.safe_load((HERE / "weights.yaml").read_text(encoding="utf-8"))
    sets: dict[str, list[str]] = document["class_sets"]
    preparations: dict[str, dict[str, Any]] = document["preprocessing"]
    found: dict[str, Weights] = {}
    for row in document["weights"]:
        row = dict(row)
        try:
            if "classes" in row:
                row["classes"] = tuple(sets[row["classes"]])
            if "preprocessing" in row:
                own = dict(row["preprocessing"])
                values = {**preparations[own.pop("like")], **own}
                for key in ("mean", "std"):
                    if key in values:
                        values[key] = tuple(values[key])
                row["preprocessing"] = Preprocessing(**values)
            entry = Weights(**row)
        except (KeyError, TypeError) as error:
            raise ValueError(f"weights.yaml: entry {row.get('name')!r}: {error}") from error
        if model_key(entry) in found:
            raise ValueError(f"weights.yaml: {model_key(entry)} stands there twice")
        found[model_key(entry)] = entry
    return tuple(found.values())


def resolve(name: str) -> Weights:
    """The entry of ``name@version``, or the newest (last) of ``name``."""
    known = {model_key(entry): entry for entry in entries()}
    if name in known:
        return known[name]
    newest = {entry.name: entry for entry in entries()}
    if name in newest:
        return newest[name]
    plain = name.split("@", 1)[0]
    if plain in newest:
        versions = ", ".join(entry.version for entry in entries() if entry.name == plain)
        raise UnknownWeights(f"no weights {name!r}: {plain} has version {versions}")
    close = difflib.get_close_matches(plain, newest, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(sorted(newest))}"
    raise UnknownWeights(f"no weights {name!r}; {hint}")


def weights_dir() -> Path:
    """Where downloads are kept."""
    return Path(os.environ.get("KRYSS_WEIGHTS_DIR") or Path.home() / ".cache" / "kryss" / "weights")


def download_base() -> str:
    """URL under which releases are fetched."""
    document = yaml.safe_load((HERE / "weights.yaml").read_text(encoding="utf-8"))
    return os.environ.get("KRYSS_WEIGHTS_URL") or document["download_base"]


def weights_file(entry: Weights) -> Path:
    """The checked file of an entry; downloads it where it may be and is not here yet."""
    if entry.file:
        return _checked(HERE / entry.file, entry)
    if entry.local:
        looked = [weights_dir() / entry.local, weights_dir() / Path(entry.local).name, SHARED / entry.local]
        for path in looked:
            if path.is_file():
                return _checked(path, entry)
        raise WeightsUnavailable(
            f"{model_key(entry)}: {Path(entry.local).name} is not here. Get it from {entry.source} and put it into "
            f"{weights_dir()} (or set KRYSS_WEIGHTS_DIR to the folder that holds it)"
        )
    if not entry.url:
        raise WeightsUnavailable(f"{model_key(entry)} has no file of weights: its library fetches them")
    target = weights_dir() / Path(entry.url).name
    return _checked(target, entry) if target.is_file() else _download(entry, target)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checked(path: Path, entry: Weights) -> Path:
    if not path.is_file():
        raise WeightsUnavailable(f"{model_key(entry)}: {path} is missing")
    stat = path.stat()
    _check(str(path), stat.st_size, stat.st_mtime_ns, entry.sha256, model_key(entry))
    return path


@cache
def _check(path: str, size: int, changed_ns: int, sha256: str | None, key: str) -> None:
    """Once per process and state of the file."""
    digest = _digest(Path(path))
    if sha256 and not digest.startswith(sha256):
        raise WeightsDamaged(f"{key}: {path} has SHA-256 {digest}, expected {sha256}...: delete it and try again")


def _download(entry: Weights, target: Path) -> Path:
    """Downloads into a temporary name beside the target, checks, renames. A file with a wrong hash does not stay."""
    url = f"{download_base().rstrip('/')}/{entry.url}"
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    part = Path(name)
    try:
        for attempt in range(1, TRIES + 1):
            try:
                _fetch(url, part)
                break
            except requests.RequestException as error:
                gone = isinstance(error, requests.HTTPError) and 400 <= error.response.status_code < 500
                if gone or attempt == TRIES:
                    raise WeightsUnavailable(
                        f"{model_key(entry)}: {url} could not be downloaded ({error}). "
                        f"Without internet: put the file into {target.parent}"
                    ) from error
                time.sleep(2 ** (attempt - 1))
        digest = _digest(part)
        if entry.sha256 and not digest.startswith(entry.sha256):
            raise WeightsDamaged(f"{model_key(entry)}: {url} has SHA-256 {digest}, expected {entry.sha256}...; nothing was kept")
        part.chmod(0o644)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    log.info("downloaded %s (%d bytes, sha256 %s)", url, target.stat().st_size, digest)
    return target


def _fetch(url: str, path: Path) -> None:
    with requests.get(url, stream=True, timeout=(10, 60)) as answer:
        answer.raise_for_status()
        expected = answer.headers.get("Content-Length")
        with path.open("wb") as file:
            for block in answer.iter_content(1 << 20):
                file.write(block)
    if expected is not None and "Content-Encoding" not in answer.headers and path.stat().st_size != int(expected):
        raise requests.ConnectionError(f"{path.stat().st_size} of {expected} bytes came")
