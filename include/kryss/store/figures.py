"""Figures of what is believed, summed up by the database: whatever a municipality holds, a few rows come back.

``known``: an instant of system time whose beliefs to count; None for today's. An object counts where an intersection holds it,
as in a release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text

from kryss.store.read import IMAGE, Reader
from kryss.store.rows import instant


@dataclass(frozen=True, slots=True)
class PhotosOfModel:
    """The photos that a model is believed of."""

    photos: int
    until: datetime
    """Capture time of the newest."""


@dataclass(frozen=True, slots=True)
class LayerFigures:
    """What a release of these beliefs would hold."""

    by_class: Mapping[str, Mapping[str, int]]
    """Objects by class, then by status; classes and statuses without any are not there."""
    intersections: int
    occupied: int
    """Intersections at which something stands (``standing``)."""
    area_km2: float
    """Of the areas of all intersections together."""


@dataclass(frozen=True, slots=True)
class Shift:
    """How far the objects moved that stand in the layer now and stood in it at an instant; those that stayed count as 0 m."""

    compared: int
    median_m: float | None
    p95_m: float | None
    """Null where nothing can be compared."""


def photos_believed(reader: Reader, code: str) -> dict[str, PhotosOfModel]:
    """Every photo that was looked at, once, under the model that is believed of it. By model key."""
    effective = reader._effective(code, None)
    query = (
        select(effective.c.model_key, func.count().label("photos"), func.max(IMAGE.c.captured_at).label("until"))
        .join(IMAGE, IMAGE.c.id == effective.c.image_id)
        .where(IMAGE.c.code == code)
        .group_by(effective.c.model_key)
    )
    found = {row.model_key: PhotosOfModel(row.photos, row.until) for row in reader._connection.execute(query)}
    return dict(sorted(found.items()))


def layer_figures(reader: Reader, code: str, known: datetime | None = None) -> LayerFigures:
    """One pass over the objects and one over the intersections that were believed."""
    counted = _all(reader, _OBJECTS, code, known)
    by_class: dict[str, dict[str, int]] = {}
    for class_name, status, number, _ in counted:
        if class_name is not None:
            by_class.setdefault(class_name, {})[status] = number
    occupied = next((places for class_name, _, _, places in counted if class_name is None), 0)
    ((intersections, area_m2),) = _all(reader, _INTERSECTIONS, code, known)
    ordered = {name: dict(sorted(by_class[name].items())) for name in sorted(by_class)}
    return LayerFigures(ordered, intersections, occupied, round(area_m2 / 1e6, 6))


def shift_since(reader: Reader, code: str, then: datetime) -> Shift:
    """Between the beliefs of ``then`` and today's. Metres on the sphere."""
    ((compared, percentiles),) = _all(reader, _SHIFT, code, then)
    median, p95 = percentiles if percentiles else (None, None)
    return Shift(compared, *(None if value is None else round(value, 2) for value in (median, p95)))


def _all(reader: Reader, query: str, code: str, known: datetime | None) -> list[Any]:
    for name, (today, then) in _BELIEVED.items():
        query = query.replace(f"<{name}>", today if known is None else then)
    values = {"code": code} if known is None else {"code": code, "known": instant(known)}
    return list(reader._connection.execute(text(query), values))


_BELIEVED = {
    "objects": ("v.known_to IS NULL", "v.system @> CAST(:known AS timestamptz)"),
    "assignments": ("upper_inf(a.system)", "a.system @> CAST(:known AS timestamptz)"),
    "intersections": ("upper_inf(i.system)", "i.system @> CAST(:known AS timestamptz)"),
}
"""By table, its rows that are believed today, or were at an instant."""

_OBJECTS = """
SELECT v.class_name, v.status, count(*), count(DISTINCT a.intersection_id) FILTER (WHERE v.status = 'standing')
FROM kryss.object_version v
JOIN kryss.assignment a ON a.code = v.code AND a.object_id = v.object_id AND <assignments>
JOIN kryss.intersection_version i ON i.code = a.code AND i.intersection_id = a.intersection_id AND <intersections>
WHERE v.code = :code AND <objects>
GROUP BY GROUPING SETS ((v.class_name, v.status), ())
"""

_INTERSECTIONS = """
SELECT count(*), coalesce(sum(ST_Area(i.area::geography, false)), 0) FROM kryss.intersection_version i
WHERE i.code = :code AND <intersections>
"""

_SHIFT = """
SELECT count(*), percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY metres) FROM (
    SELECT CASE WHEN now.version = v.version THEN 0 ELSE ST_DistanceSphere(now.geom, v.geom) END AS metres
    FROM kryss.object_version v
    JOIN kryss.assignment a ON a.code = v.code AND a.object_id = v.object_id AND <assignments>
    JOIN kryss.object_version now ON now.code = v.code AND now.object_id = v.object_id AND now.known_to IS NULL
    WHERE v.code = :code AND <objects> AND v.status = 'standing' AND now.status = 'standing'
    AND EXISTS (
        SELECT FROM kryss.assignment b WHERE b.code = v.code AND b.object_id = v.object_id AND upper_inf(b.system)
    )
) moved
"""
