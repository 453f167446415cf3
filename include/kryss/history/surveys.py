"""Surveys of objects as evidence: a survey of an area shows what it lists and misses what it does not, like a photo does."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import mapping, shape

from kryss.model import Survey, SurveyedThing
from kryss.positioning.frame import distance_m, frame_for, is_position

DEFAULT_CLASS = "object--traffic-light--general-upright"
SAME_TOWN_M = 50_000.0
"""Where the municipality is not known: a row farther than this from the middle of the others is not in it."""
NAMES = {"latitude": "lat", "longitude": "lon", "lng": "lon", "long": "lon", "facing_deg": "facing", "class_name": "class"}
"""What columns are called elsewhere."""
AROUND_M = 100.0
"""The municipality of surveys alone ends so far outside the outermost things."""


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


class SurveyError(ValueError):
    """A survey that cannot be used at all."""


def read_survey(
    path: str | Path,
    surveyed_on: date,
    *,
    source: str | None = None,
    class_name: str = DEFAULT_CLASS,
    accuracy_m: float = 1.0,
    complete: bool = True,
    boundary: Mapping[str, Any] | None = None,
) -> Survey:
    """The survey in a CSV file with the columns ``lat``, ``lon`` and perhaps ``class``, ``facing`` (degrees), ``id``.

    ``source``: its name; without it the file's. ``class_name``: of rows that have none. ``boundary``: GeoJSON of the
    municipality, where that is known; rows outside it are rejected. Bad rows are rejected with their reason.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = {name: NAMES.get(name.strip().casefold(), name.strip().casefold()) for name in reader.fieldnames or ()}
            missing = {"lat", "lon"} - set(columns.values())
            if missing:
                raise SurveyError(f"{path}: no column {' and '.join(sorted(missing))}; it has: {', '.join(columns) or 'nothing'}")
            rows = [
                (reader.line_num, {columns[name]: (value or "").strip() for name, value in row.items() if name in columns})
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SurveyError(f"{path}: cannot be read as CSV: {error}") from None
    rejected: dict[int, str] = {}
    read = list(_things(rows, class_name, rejected))
    kept = list(_once(_inside(read, boundary, rejected), rejected))
    if not kept:
        reasons = "; ".join(sorted(set(rejected.values()))) or "there are none"
        raise SurveyError(f"{path}: no row can be used: {reasons}")
    surveyed_at = datetime(surveyed_on.year, surveyed_on.month, surveyed_on.day, tzinfo=UTC)
    name = source or path.stem
    return Survey(
        id=f"survey:{surveyed_on}:{name}",
        source=name,
        surveyed_at=surveyed_at,
        accuracy_m=accuracy_m,
        complete=complete,
        things=tuple(kept),
        rejected=tuple(sorted(rejected.items())),
    )


def _things(rows: Iterable[tuple[int, Mapping[str, str]]], class_name: str, rejected: dict[int, str]) -> Iterator[SurveyedThing]:
    for line, row in rows:
        lon, lat = _number(row.get("lon", "")), _number(row.get("lat", ""))
        facing = row.get("facing", "")
        turned = _number(facing) if facing else None
        if lon is None or lat is None:
            rejected[line] = "lat or lon is no number"
        elif facing and turned is None:
            rejected[line] = "facing is no number"
        elif not is_position(lon, lat):
            rejected[line] = "lat and lon are swapped" if is_position(lat, lon) else "lat and lon are no place"
        else:
            front = None if turned is None else round(turned % 360.0, 1) % 360.0
            yield SurveyedThing(line, row.get("class") or class_name, lon, lat, front, row.get("id") or None)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _inside(
    things: Iterable[SurveyedThing], boundary: Mapping[str, Any] | None, rejected: dict[int, str]
) -> Iterator[SurveyedThing]:
    things = list(things)
    if boundary is not None:
        region = shape(boundary)
        shapely.prepare(region)
    middle_lon, middle_lat = (float(np.median([getattr(one, axis) for one in things] or [0.0])) for axis in ("lon", "lat"))

    def holds(lon: float, lat: float) -> bool:
        if boundary is not None:
            return bool(region.covers(shapely.Point(lon, lat)))
        return is_position(lon, lat) and distance_m(lon, lat, middle_lon, middle_lat) <= SAME_TOWN_M

    for one in things:
        if holds(one.lon, one.lat):
            yield one
        else:
            where = "lies outside the municipality" if boundary is not None else "lies far from all others"
            rejected[one.line] = "lat and lon are swapped" if holds(one.lat, one.lon) else where


def _once(things: Iterable[SurveyedThing], rejected: dict[int, str]) -> Iterator[SurveyedThing]:
    """Two rows are the same if they say the same, or have one name."""
    said: set[object] = set()
    for one in things:
        facts: list[object] = [(one.class_name, one.lon, one.lat, one.facing_deg)]
        facts += [one.name] if one.name is not None else []
        if said.intersection(facts):
            rejected[one.line] = "is there twice"
        else:
            yield one
        said.update(facts)


def boundary_around(surveys: Iterable[Survey]) -> dict[str, Any]:
    """GeoJSON Polygon around all that was ever surveyed: the municipality, where nobody says where it ends."""
    things = [thing for survey in surveys for thing in survey.things]
    lons, lats = [thing.lon for thing in things], [thing.lat for thing in things]
    frame = frame_for(lons, lats)
    hull = shapely.MultiPoint(frame.to_xy(lons, lats)).convex_hull.buffer(AROUND_M, quad_segs=4)
    return dict(mapping(shapely.orient_polygons(shapely.transform(hull, lambda xy: np.round(frame.to_lonlat(xy), 6)))))
