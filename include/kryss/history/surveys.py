"""Surveys of objects as evidence: a survey of an area shows what it lists and misses what it does not, like a photo does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class SurveyLook:
    """One survey, complete inside its area for the classes it names.

    It shows the clusters that have a sighting with its id as ``sequence_id`` (``method`` is ``survey``), and should have shown
    every other object of its classes inside the area.
    """

    id: str
    captured_at: datetime
    area: Mapping[str, Any]
    """GeoJSON Polygon or MultiPolygon, WGS84."""
    detected: Mapping[str, float]
    """By class, the probability that it lists one that stands."""
