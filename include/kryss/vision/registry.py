"""Which weights Kryss knows, where they come from, and how a photo is prepared for them: the rows of ``weights.yaml``.

A model is named ``name`` or ``name@version``; ``name@version`` (``model_key``) goes into every detection. Weights ship with
Kryss (``file`` under this folder), are downloaded on first use (``url``, relative to ``download_base``), or are put into a
folder by the user (``local``). Every file is checked by its SHA-256: the whole digest where it is known, else the first eight
digits that PyTorch releases carry in their file names (torch.hub's convention).

A model of one's own stands in the registry after ``register``: ``registered/<name>@<version>.yaml`` under the weights folder,
with its files beside it. A file whose safetensors metadata hold its entry (``entry``, JSON) can be named by its path.

``KRYSS_WEIGHTS_DIR``: where local and registered weights are looked for and downloads are kept (default: the folder
``~/.cache/kryss/weights``).
``KRYSS_WEIGHTS_URL``: a mirror in place of ``download_base``.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args, get_origin, get_type_hints

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


class NotRegistered(ValueError):  # noqa: N818
    """A model cannot be registered under its name; the message says why."""


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
class Tiling:
    """Overlapping square slices of a photo, each looked at by itself."""

    side: int
    """Pixels of the (scaled) photo."""
    overlap: int = 128
    """Shared pixels of neighbours: what is smaller than this is whole in one of them."""

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.side:
            raise ValueError(f"tile: an overlap of {self.overlap} px of slices of {self.side} px: 0 <= overlap < side")


@dataclass(frozen=True, slots=True)
class Suppression:
    """How several boxes of one thing become one."""

    method: Literal["hard", "soft", "wbf"] = "hard"
    """hard: the best stays; soft: the others lose score (Bodla et al. 2017, Gaussian); wbf: their mean (Solovyev et al. 2021)."""
    iou: float = 0.5
    """Boxes that overlap by more are one thing."""
    measure: Literal["iou", "coverage"] = "iou"
    """Of two boxes: intersection over union, or over the smaller of them (a part of a thing is the thing)."""
    class_agnostic: bool = True
    """One thing in the street has one class."""
    sigma: float = 0.5
    """Of soft suppression."""


@dataclass(frozen=True, slots=True)
class Inference:
    """What is done with a photo beside running the network: part of the entry, so that a model's key says what a run did."""

    scales: tuple[float, ...] = (1.0,)
    """Test-time scales of the photo; the finds of all are merged."""
    min_side: int = 0
    """A photo whose longer side is smaller is scaled up to it (0: never)."""
    tile: Tiling | None = None
    nms: Suppression = Suppression()
    plausibility: str | None = None
    """File of where and how large objects are in photos, beside the weights (``kryss.vision.plausible``)."""
    max_detections: int = 100
    max_candidates: int = 40
    """What the first stage hands to the second at most."""
    first_threshold: float | None = None
    """Score from which the first stage hands a find to the second (None: what can still reach the lowest threshold)."""
    recogniser: bool = True
    """Whether the second stage is asked."""
    finder_weight: float = 0.5
    """The score is finder ** weight * reader ** (1 - weight): 0.5 is the geometric mean."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the arithmetic, where the hardware has it: bf16 on CPUs and GPUs, fp16 on GPUs."""
    backend: Literal["torch", "openvino"] = "torch"
    """What runs the network on a CPU; on a GPU it is torch. Family onnx: ONNX Runtime."""

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"scales {list(self.scales)}: at least one, above 0")


@dataclass(frozen=True, slots=True)
class Calibration:
    """Score of the networks to the share of finds of that score that are right: straight lines between knots (score, share)."""

    knots: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        scores, shares = [k[0] for k in self.knots], [k[1] for k in self.knots]
        if len(self.knots) < 2 or sorted(set(scores)) != scores or sorted(shares) != shares:
            raise ValueError(f"calibration: knots {self.knots} are no rising curve of at least two points")

    def score_of(self, share: float) -> float:
        """The least score that the curve takes to a share; 1 where it takes none so far."""
        after = bisect_left(self.knots, share, key=lambda knot: knot[1])
        if after in (0, len(self.knots)):
            return float(after > 0)
        low, high = self.knots[after - 1], self.knots[after]
        return low[0] + (share - low[1]) / (high[1] - low[1]) * (high[0] - low[0])


@dataclass(frozen=True, slots=True)
class Weights:
    """One entry of the registry."""

    name: str
    version: str
    task: Literal["detect", "depth"]
    family: str
    """effdet, onnx, transformers, ensemble, and the families of depth (``kryss.vision.depth``)."""
    architecture: str
    licence: str
    source: str
    classes: tuple[str, ...] = ()
    """Name of output i, in the model's own vocabulary: ``vocabulary`` says which."""
    vocabulary: Literal["mapillary", "coco", "finder"] = "mapillary"
    file: str | None = None
    local: str | None = None
    url: str | None = None
    sha256: str | None = None
    """64 hex digits, or the first 8 of them."""
    reader: str | None = None
    """File of the second stage, beside ``file`` or shipped."""
    reader_sha256: str | None = None
    preprocessing: Preprocessing | None = None
    score_threshold: float = 0.3
    thresholds: dict[str, float] = field(default_factory=dict, hash=False)
    """Mapillary class to its score threshold, where it differs from ``score_threshold``."""
    calibration: Calibration | None = None
    inference: Inference = Inference()
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    """For the family; ensemble: members (model keys), weights."""
    trained: dict[str, Any] = field(default_factory=dict, hash=False)
    """How a model came to be: configuration, data, metrics."""
    folder: Path = field(default=HERE, compare=False)
    """Where its files lie; not part of the entry."""


NESTED = {
    "preprocessing": Preprocessing,
    "inference": Inference,
    "tile": Tiling,
    "nms": Suppression,
    "calibration": Calibration,
}
NAME = re.compile(r"[a-z0-9][a-z0-9._+-]*")


def model_key(entry: Weights) -> str:
    """``name@version``: what detections are attributed to."""
    return f"{entry.name}@{entry.version}"


def entry_document(entry: Weights) -> dict[str, Any]:
    """The entry as JSON can hold it, without what it does not say; ``entry_of`` reads it."""

    def plain(one: Any) -> dict[str, Any]:
        said = {}
        for part in fields(one):
            value = getattr(one, part.name)
            default = part.default_factory() if part.default_factory is not MISSING else part.default
            if part.name != "folder" and value != default:
                said[part.name] = plain(value) if part.name in NESTED else value
        return said

    document: dict[str, Any] = json.loads(json.dumps(plain(entry)))
    return document


def entry_digest(entry: Weights) -> str:
    """16 hex digits of everything an entry says: weights (by hash), options, thresholds, calibration."""
    text = json.dumps(entry_document(entry), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def entry_of(document: Mapping[str, Any], where: str, folder: Path = HERE) -> Weights:
    """An entry from its document. ``where``: for the error."""

    def built(kind: type, values: Mapping[str, Any]) -> Any:
        known = get_type_hints(kind)
        if odd := sorted(set(values) - known.keys()):
            raise ValueError(f"{odd[0]!r} is no field of {kind.__name__.lower()}; known: {', '.join(sorted(known))}")
        made = {}
        for key, value in values.items():
            if key in NESTED and value is not None:
                value = built(NESTED[key], value)
            elif key == "knots":
                value = tuple((float(score), float(share)) for score, share in value)
            elif isinstance(value, list):
                value = tuple(value)
            # A word that nobody knows would be taken for another one further on.
            if get_origin(known[key]) is Literal and value not in get_args(known[key]):
                raise ValueError(f"{key} {value!r}: only {', '.join(get_args(known[key]))}")
            made[key] = value
        return kind(**made)

    try:
        entry: Weights = replace(built(Weights, document), folder=folder)
        _check_name(entry.name, entry.version)
        return entry
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{where}: entry {document.get('name')!r}: {error}") from error


@cache
def _shipped() -> tuple[Weights, ...]:
    document = yaml.safe_load((HERE / "weights.yaml").read_text(encoding="utf-8"))
    sets: dict[str, list[str]] = document["class_sets"]
    preparations: dict[str, dict[str, Any]] = document["preprocessing"]
    found: dict[str, Weights] = {}
    for row in document["weights"]:
        row = dict(row)
        try:
            if "classes" in row:
                row["classes"] = sets[row["classes"]]
            if "preprocessing" in row:
                own = dict(row["preprocessing"])
                row["preprocessing"] = {**preparations[own.pop("like")], **own}
        except KeyError as error:
            raise ValueError(f"weights.yaml: entry {row.get('name')!r}: no {error}") from error
        entry = entry_of(row, "weights.yaml")
        if model_key(entry) in found:
            raise ValueError(f"weights.yaml: {model_key(entry)} stands there twice")
        found[model_key(entry)] = entry
    return tuple(found.values())


def _registered() -> Iterator[Weights]:
    """Models of one's own, by the time of their registration. One that cannot be read is no reason to have none."""
    folder = weights_dir() / "registered"
    for path in sorted(folder.glob("*.yaml"), key=lambda path: (path.stat().st_mtime_ns, path.name)):
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
            if not isinstance(document, dict):
                raise ValueError(f"{path}: no entry of the registry")
            yield entry_of(document, str(path), folder)
        except (ValueError, yaml.YAMLError) as error:
            log.warning("left out of the registry: %s", error)


def entries() -> tuple[Weights, ...]:
    """All entries, validated: those that ship, then those registered here. A key that ships means what ships: detections of
    all installations are attributed to it.
    """
    shipped = {model_key(entry) for entry in _shipped()}
    own = []
    for entry in _registered():
        if model_key(entry) in shipped:
            log.warning("left out of the registry: %s ships with Kryss: give your model another version", model_key(entry))
        else:
            own.append(entry)
    return (*_shipped(), *own)


def resolve(name: str) -> Weights:
    """The entry of ``name@version``, or the newest (last) of ``name``; or the one in the metadata of a file, by its path.

    A plain name that ships means what ships: what somebody registers under it is had by its version. A file that says otherwise
    than the registry does of its key gets a key of its own, with the beginning of its hash.
    """
    every = entries()
    if name.endswith(".safetensors"):
        entry = entry_in(Path(name))
        # Detections are attributed to the key: a file that says otherwise than the registry has one of its own.
        taken = next((one for one in every if model_key(one) == model_key(entry)), None)
        if taken and differences(taken, entry):
            return replace(entry, version=f"{entry.version}+{(entry.sha256 or '')[:8]}")
        return entry
    known = {model_key(entry): entry for entry in every}
    if name in known:
        return known[name]
    newest = {entry.name: entry for entry in every} | {entry.name: entry for entry in _shipped()}
    if name in newest:
        return newest[name]
    plain = name.split("@", 1)[0]
    if plain in newest:
        versions = ", ".join(entry.version for entry in every if entry.name == plain)
        raise UnknownWeights(f"no weights {name!r}: {plain} has version {versions}")
    close = difflib.get_close_matches(plain, newest, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(sorted(newest))}"
    raise UnknownWeights(f"no weights {name!r}; {hint}")


def entry_in(path: Path) -> Weights:
    """The entry in a file's own metadata."""
    if not path.is_file():
        raise UnknownWeights(f"no file of weights {path}")
    document = json.loads(metadata(path).get("entry", "null"))
    if not isinstance(document, dict):
        raise UnknownWeights(
            f"{path} does not say how it is used: its metadata hold no 'entry' "
            "(kryss.training.export.export_entry writes one; or register it)"
        )
    return replace(entry_of(document, str(path), path.parent), file=path.name, local=None, url=None, sha256=file_digest(path))


def metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, without its tensors."""
    with path.open("rb") as file:
        return dict(_header(file).get("__metadata__", {}))


def content_digest(path: Path) -> str:
    """SHA-256 of the tensors of a safetensors file, whatever its metadata say; of the whole file where it is another one."""
    if path.suffix != ".safetensors":
        return file_digest(path)
    with path.open("rb") as file:
        header = _header(file)
        header.pop("__metadata__", None)
        digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _header(file: BinaryIO) -> dict[str, Any]:
    """Of a safetensors file, read from its beginning (format: 8 bytes little-endian length, a JSON object, the tensors)."""
    length = int.from_bytes(file.read(8), "little")
    try:
        if length > 100_000_000:
            raise ValueError("too long")
        header = json.loads(file.read(length))
        return {**header, "__metadata__": dict(header.get("__metadata__", {}))}
    except (ValueError, AttributeError, TypeError) as error:
        raise WeightsDamaged(f"{file.name} is no safetensors file: its header cannot be read") from error


def _check_name(name: str, version: str) -> None:
    """Names of files are made of them."""
    if not NAME.fullmatch(name) or not NAME.fullmatch(version):
        raise NotRegistered(f"{name}@{version}: name and version are lower-case letters, digits and ._+-")


def check_key(name: str, version: str) -> None:
    """NotRegistered where no model of one's own can have this key."""
    _check_name(name, version)
    if f"{name}@{version}" in map(model_key, _shipped()):
        raise NotRegistered(f"{name}@{version} ships with Kryss: give your model another name or version")


def register(entry: Weights, path: Path, reader: Path | None = None, plausibility: Path | None = None) -> Weights:
    """Puts a model of one's own into the registry: copies its files under the weights folder and writes its entry, atomically.

    The same model again (weights, and all that is done with them) is no change: the entry that is there is returned. Another one
    under a registered key is refused, since detections are attributed to the key.
    """
    key = model_key(entry)
    check_key(entry.name, entry.version)
    folder = weights_dir() / "registered"
    folder.mkdir(parents=True, exist_ok=True)
    mine = replace(
        entry,
        file=f"{key}{path.suffix}",
        local=None,
        url=None,
        sha256=file_digest(path),
        reader=f"{key}.reader{reader.suffix}" if reader else entry.reader,
        reader_sha256=file_digest(reader) if reader else entry.reader_sha256,
        inference=replace(entry.inference, plausibility=f"{key}.plausible.json") if plausibility else entry.inference,
        folder=folder,
    )
    sources = {mine.file: path, mine.reader: reader, mine.inference.plausibility: plausibility}
    before = {model_key(one): one for one in _registered()}.get(key)
    if before and (different := differences(before, mine, sources)):
        raise NotRegistered(
            f"{key} is registered already and differs in {', '.join(different)}: give this model another version "
            f"(or delete {folder / key}.yaml)"
        )
    if before and _is_whole(before):
        return before
    for name, source in sources.items():
        if source is not None and name is not None and source.resolve() != (folder / name).resolve():
            part = folder / f".{name}.part"
            shutil.copyfile(source, part)
            part.replace(folder / name)
    write_entry(mine)
    log.info("registered %s (sha256 %s) in %s", key, mine.sha256, folder)
    return mine


def _is_whole(entry: Weights) -> bool:
    """Whether the files of a registered entry are there and undamaged."""
    try:
        weights_file(entry)
        reader_file(entry)
    except (WeightsUnavailable, WeightsDamaged):
        return False
    return True


TOLD = ("name", "version", "licence", "source", "trained", "folder", "local", "url")
"""Fields that say nothing of what a model finds."""
FILES = ("file", "sha256", "reader", "reader_sha256")


def differences(before: Weights, now: Weights, sources: Mapping[str | None, Path | None] | None = None) -> list[str]:
    """What differs between two models of one key, in words; nothing where they find the same. Weights are the same where their
    tensors are. ``sources``: where files of ``now`` still lie, if not in its folder.
    """

    def same(old: str | None, new: str | None, *hashes: str | None) -> bool:
        if (old is None) != (new is None):
            return False
        if old is None or new is None or (None not in hashes and len(set(hashes)) == 1):
            return True
        first, second = before.folder / old, (sources or {}).get(new) or now.folder / new
        return first.is_file() and second.is_file() and content_digest(first) == content_digest(second)

    found = []
    if not same(before.file, now.file, before.sha256, now.sha256):
        found.append("weights")
    if not same(before.reader, now.reader, before.reader_sha256, now.reader_sha256):
        found.append("weights of the second stage")
    if not same(before.inference.plausibility, now.inference.plausibility, None):
        found.append("inference.plausibility")

    def flat(entry: Weights) -> dict[str, Any]:
        """Field, or field of a part, to its value."""
        rows: dict[str, Any] = {}
        for key, value in entry_document(entry).items():
            if key in NESTED:
                rows |= {f"{key}.{inner}": one for inner, one in value.items()}
            elif key not in (*TOLD, *FILES):
                rows[key] = value
        rows.pop("inference.plausibility", None)
        return rows

    old, new = flat(before), flat(now)
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            told = [json.dumps(rows[key]) if key in rows else "default" for rows in (old, new)]
            found.append(f"{key} ({told[0]:.60}, here {told[1]:.60})")
    return found


def write_entry(entry: Weights) -> Path:
    """Writes the entry of a registered model anew, e.g. with other thresholds."""
    target = weights_dir() / "registered" / f"{model_key(entry)}.yaml"
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    part.write_text(yaml.safe_dump(entry_document(entry), sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")
    part.replace(target)
    return target


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
        return _checked(entry.folder / entry.file, entry)
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


def reader_file(entry: Weights) -> Path | None:
    """The checked file of an entry's second stage: beside its weights, or shipped."""
    if entry.reader is None:
        return None
    looked = [entry.folder / entry.reader, entry.folder / Path(entry.reader).name, HERE / entry.reader]
    return _checked(next((path for path in looked if path.is_file()), looked[0]), replace(entry, sha256=entry.reader_sha256))


def file_digest(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
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
    digest = file_digest(Path(path))
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
        digest = file_digest(part)
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
