"""What a training does, as YAML: the files of ``recipes/`` and the user's own.

A recipe names the network, the data it expects, the losses and the stages. It never names a place of one machine: photos come
with ``--data NAME=PATH``. The one that is used is kept beside the weights it made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

RECIPES = Path(__file__).parent / "recipes"
Kind = TypeVar("Kind", bound=BaseModel)


OWN_SETTINGS = {"name", "num_classes", "image_size"}
"""Of effdet's, what follows from the rest of a recipe."""


class RecipeError(ValueError):
    """A recipe that cannot be used: names the file, the key and the value."""


class OtherRun(ValueError):  # noqa: N818
    """A checkpoint that belongs to another recipe or other data."""


class Interrupted(RuntimeError):  # noqa: N818
    """A training that was asked to stop: its checkpoint is written, ``--resume`` goes on."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stage(_Strict):
    """One part of the schedule: which weights learn, how fast, until when."""

    name: str
    train: Literal["heads", "all"] = "all"
    """``heads``: the backbone is frozen (feature pyramid and both heads learn)."""
    fixed: tuple[str, ...] = ()
    """Beginnings of the names of backbone weights that stay although all learn, e.g. ``blocks.0``."""
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    rate: float = Field(gt=0)
    backbone_rate: float = Field(default=1.0, gt=0)
    """The backbone's learning rate as a multiple of ``rate``."""
    schedule: Literal["constant", "cosine", "one-cycle", "plateau"] = "constant"
    """``plateau``: torch's ReduceLROnPlateau on the validation's figure. ``one-cycle``: cosine up over a quarter, cosine down."""
    warm_up: int = Field(default=0, ge=0)
    """Steps in which the rate rises linearly from nothing."""
    steps: int = Field(gt=0)
    """At most so many optimiser steps; cosine and one-cycle end there."""
    patience: int | None = Field(default=None, gt=0)
    """The stage has converged after so many validations without a better figure (early stopping)."""
    plateau_patience: int = Field(default=2, gt=0)
    plateau_factor: float = Field(default=0.3, gt=0, lt=1)


class Loss(_Strict):
    """Focal loss (Lin et al. 2017) and Huber box loss as EfficientDet weighs them, and what may be added."""

    alpha: float = Field(default=0.25, ge=0, le=1)
    gamma: float = Field(default=1.5, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    delta: float = Field(default=0.1, gt=0)
    box: float = Field(default=50.0, ge=0)
    ciou: float = Field(default=0.0, ge=0)
    """Weight of the complete-IoU loss (Zheng et al. 2020), mean over matched anchors."""
    cross_entropy: float = Field(default=0.0, ge=0)
    """Weight of a cross-entropy between the classes of matched anchors."""
    class_weights: Literal["equal", "inverse-sqrt"] = "equal"
    """``inverse-sqrt``: a class counts by 1 / sqrt(its boxes), mean 1."""
    match_iou: float = Field(default=0.5, gt=0, lt=1)
    ignore_overlap: float = Field(default=0.3, gt=0, le=1)
    """An unmatched anchor of this IoU with an ignore region, or this far inside one, teaches nothing."""


class Validation(_Strict):
    """When and on what the mean weights are judged."""

    every_steps: int | None = Field(default=None, gt=0)
    every_minutes: float | None = Field(default=None, gt=0)
    """By the clock: only for recipes whose schedule does not look at the figure."""
    photos: int = Field(default=50, gt=0)
    """At most so many of each data set."""
    watch: Literal["ap", "ap50"] = "ap"
    pictures: int = Field(default=4, ge=0)
    """So many photos are drawn with what was found, each time the same."""

    @model_validator(mode="after")
    def _one(self) -> Validation:
        if (self.every_steps is None) == (self.every_minutes is None):
            raise ValueError("give every_steps or every_minutes")
        return self


class DataSet(_Strict):
    """A data set that the recipe expects under a name; ``--data NAME=PATH`` says where it is."""

    format: Literal["coco", "gtsdb", "gtsrb", "mtsd"] = "coco"
    ids: Literal["own", "gtsdb"] = "own"
    """COCO: what the category ids mean. ``own``: as the file names them; ``gtsdb``: GTSDB's class numbers."""
    labelled: tuple[str, ...] = ("*",)
    """Patterns of the classes that this set labels: others in its photos are no mistake."""
    stretch: float = Field(default=1.0, ge=1)
    """The photos' sides may have been drawn apart by up to this factor."""
    scale: float = Field(default=1.0, gt=0)
    """Photos of this set are judged at this scale."""
    required: bool = True


class Recipe(_Strict):
    """A whole training of a detector."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    architecture: str = "tf_efficientdet_lite0"
    """Any member of effdet's family (https://github.com/rwightman/efficientdet-pytorch)."""
    classes: tuple[str, ...] = ()
    """Mapillary classes; empty: every one that the taxonomy says is detected."""
    outputs: dict[str, tuple[str, ...]] = {}
    """What the network tells apart, each with the patterns of its classes; empty: every class is one."""
    model: dict[str, Any] = {}
    """effdet's own settings that differ, e.g. ``anchor_scale``."""
    start: str = "imagenet"
    """``imagenet``, ``none``, or a model of the registry."""
    backbone_norms: Literal["eval", "train"] = "eval"
    """``eval``: the batch norms (and drop path) of the backbone stay as they are, as small batches need."""
    data: dict[str, DataSet] = {}
    sampler: dict[str, Any] = {}
    """Options of ``compose.Sampler``."""
    side_px: int = Field(default=512, gt=0)
    batch: int = Field(default=8, gt=0)
    accumulate: int = Field(default=1, gt=0)
    """Batches whose gradients make one step."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    ema: float = Field(default=0.999, ge=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    clip: float = Field(default=10.0, gt=0)
    """Largest norm of the gradients of a step."""
    seed: int = 0
    deterministic: bool = False
    threads: int = Field(default=2, gt=0)
    workers: int = Field(default=1, ge=0)
    save_every_s: float = Field(default=120.0, ge=0)
    keep: Literal["best", "last"] = "best"
    """Which mean weights are the result, and what a next stage starts from."""
    loss: Loss = Loss()
    validate_: Validation = Field(default=Validation(every_steps=250), alias="validation")
    stages: tuple[Stage, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> Recipe:
        if self.side_px % 128:
            raise ValueError(f"side_px {self.side_px} is no multiple of 128, the coarsest stride of the feature pyramid")
        by_figure = [s.name for s in self.stages if s.patience or s.schedule == "plateau"]
        if by_figure and self.validate_.every_steps is None:
            raise ValueError(f"stages {', '.join(by_figure)} follow the validation: give validation.every_steps")
        return self

    @model_validator(mode="after")
    def _understood(self) -> Recipe:
        """What others read is looked at here: mistakes are told before any photo is read, no key is taken that does nothing."""
        from effdet import get_efficientdet_config
        from effdet.config.model_config import efficientdet_model_param_dict as known

        from kryss.training.compose import Mix

        if self.architecture not in known:
            raise ValueError(f"architecture: effdet has no {self.architecture!r}; it has {', '.join(sorted(known))}")
        settings = (set(get_efficientdet_config(self.architecture)) | {"mean", "std"}) - OWN_SETTINGS
        for part, given, allowed in (
            ("model", self.model, settings),
            ("sampler", self.sampler, {one.name for one in fields(Mix)}),
        ):
            if odd := sorted(set(given) - allowed):
                raise ValueError(f"{part}.{odd[0]}: no such option; known: {', '.join(sorted(allowed))}")
        try:
            mix = TypeAdapter(Mix).validate_python(self.sampler)
        except ValidationError as error:
            [first, *_] = error.errors()
            raise ValueError(f"sampler.{'.'.join(map(str, first['loc']))}: {first['msg']} (given: {first['input']!r})") from None
        for one in fields(Mix):
            value = getattr(mix, one.name)
            if isinstance(value, float) and not 0 <= value <= 1:
                raise ValueError(f"sampler.{one.name}: {value:g} is no share: from 0 to 1")
            if one.name in ("scale", "height_px") and not 0 < value[0] <= value[1]:
                raise ValueError(f"sampler.{one.name}: {list(value)} is not a smallest and a largest value, above 0")
        if mix.around_sign + mix.around_light > 1:
            raise ValueError(
                f"sampler: around_sign {mix.around_sign:g} and around_light {mix.around_light:g} are more than 1 together"
            )
        return self

    def output_names(self, classes: tuple[str, ...]) -> tuple[str, ...]:
        """What output i of the network means."""
        return tuple(self.outputs) or classes

    def output_of(self, classes: tuple[str, ...]) -> tuple[int | None, ...]:
        """For every class the output that stands for it; None: it belongs to none."""
        if not self.outputs:
            return tuple(range(len(classes)))
        patterns = list(self.outputs.values())
        return tuple(next((k for k, p in enumerate(patterns) if matches(name, p)), None) for name in classes)


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a class is meant by one of the patterns (``*`` as in file names)."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def load_recipe(name: str | Path) -> Recipe:
    """A file, or the name of one that ships."""
    return read_as(Recipe, recipe_file(name))


def recipe_file(name: str | Path, kind: str = "", shipped: str = "*") -> Path:
    """A file, or that of a recipe that ships; RecipeError names those of the pattern ``shipped`` where there is none."""
    path = Path(name) if Path(name).suffix else RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in RECIPES.glob(f"{shipped}.yaml")))
        raise RecipeError(f"no recipe {str(name)!r}{kind}: give a YAML file or one of {known}")
    return path


def read_as(kind: type[Kind], path: Path) -> Kind:
    """A YAML file as a recipe of a kind; RecipeError names each key that is wrong, and its value."""
    try:
        return kind.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not YAML: {error}") from error
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg']} (given: {e['input']!r:.80})" for e in error.errors()]
        raise RecipeError(f"{path}: " + "; ".join(problems)) from error


def check_places(recipe: str, sources: Mapping[str, DataSet], places: Collection[str], whole: bool = True) -> None:
    """RecipeError where a data set is given that a recipe does not take, none is, or (``whole``) one that it needs is not."""
    unknown = sorted(set(places) - set(sources))
    missing = [name for name, source in sources.items() if whole and source.required and name not in places]
    if unknown or missing or not places:
        takes = ", ".join(f"{name} ({source.format})" for name, source in sources.items())
        what = f"unknown: {', '.join(unknown)}" if unknown else f"missing: {', '.join(missing) or 'any'}"
        raise RecipeError(f"--data NAME=PATH: {what}; the recipe {recipe} takes {takes}")
