"""What history is made from, and what comes of it: the arguments and the result of :func:`kryss.history.believe`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from kryss.history.surveys import SurveyLook
from kryss.model import Detection, FusedObject, Image, Lineage, Reason, StreetObject
from kryss.positioning.poses import TrustedPose

EvidenceKey = tuple[str, str, int]
"""``(model_key, image_id, ordinal)``: ordinal 0 of another model in the same photo is another box."""


@dataclass(frozen=True)
class Evidence:
    """All that is known of the street: what is believed of it, but for the ids, is a function of this alone."""

    objects: Sequence[FusedObject]
    """Clusters of *all* sightings, each photo's by its effective model."""
    looks: Mapping[str, Sequence[Image]]
    """By model key, every photo that was searched with success, once, under its effective model, whether it showed anything."""
    poses: Mapping[str, TrustedPose]
    """By image id. A photo without one counts for nothing."""
    surveys: Sequence[SurveyLook] = ()


@dataclass(frozen=True)
class Before:
    """What was known before this load: gives things their names and changes their reasons, and decides nothing else."""

    objects: Sequence[StreetObject] = ()
    """What was believed."""
    withdrawn: Sequence[StreetObject] = ()
    """The last belief of each object that is believed no more: the same thing gets its id again."""
    ever: Collection[str] = ()
    """Every id ever given: none of them is given to another thing."""


@dataclass(frozen=True)
class Load:
    """What this load brought, for the reasons of what changes. Nothing at all: an old belief is weighed anew."""

    new: Collection[str] = ()
    """Ids of photos that no model had looked at before."""
    again: Mapping[str, str] = field(default_factory=dict)
    """Ids of the photos whose effective model is another one than before the load, with the model it was."""
    removed: Collection[str] = ()
    """Ids of photos that were deleted or taken down. ``Before`` is best read before the store forgets them."""
    boxes: Sequence[Detection] = ()
    """What both models found in the photos of ``again``: a thing keeps its id where their boxes overlap."""


@dataclass(frozen=True)
class Beliefs:
    """What is believed now."""

    objects: list[StreetObject]
    """By id."""
    lineage: list[Lineage]
    """What became of ids in this load, by id."""
    reasons: dict[str, Reason]
    """Why, by the id of each object that is new or believed otherwise than before."""
