"""The layer's features as JSON text, built by the database and streamed by COPY: flat memory, whatever the number of objects.

One call of ``write`` is one GeoJSON Feature (RFC 7946) as UTF-8, in order of id by bytes. Numbers are rounded here and nowhere
else, half to even: coordinates to 7 decimals (1 cm), metres to 2, assumed sizes to 3, probabilities to 4, degrees to 1.
Instants are UTC, truncated to the second. A number that JSON cannot hold (NaN, infinite) or that means nothing (a metre beyond
1e9) is null; what has no place in WGS84 is left out and told (`LayerSummary.left_out`). The bytes depend on what is believed and
on nothing else: not on the time zone, locale, collation, encoding or number format of server or session.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Connection, Select, Uuid, any_, func, literal, select

from kryss.model import Lineage, ObjectVersion
from kryss.store import rows, tables

Write = Callable[[bytes], object]
SizeOf = Callable[[str], float | None]
Box = tuple[float, float, float, float]
"""West, south, east, north, rounded as in the files."""

SETTINGS = (
    "timezone = 'UTC'",
    "datestyle = 'ISO, YMD'",
    "intervalstyle = 'postgres'",
    "extra_float_digits = 1",
    "jit = off",
    "work_mem = '64MB'",
    "standard_conforming_strings = on",
)
"""What the text of values depends on, and what makes long queries fast; for the rest of the transaction."""
COPY = "COPY ({query}) TO STDOUT WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02', ENCODING 'UTF8')"
"""Raw bytes: JSON text holds no control characters, so nothing is ever quoted."""
STATUSES = ("standing", "unconfirmed", "ended")
PART = 100_000
"""Objects of one COPY: so many are sorted in memory, by parallel workers that build their text."""
TRAFFIC_LIGHT = "object--traffic-light"
SURVEY = "survey:"
"""Evidence that starts so is no photo (`kryss.model.Survey`)."""
RADIUS_95 = math.sqrt(-2.0 * math.log(0.05))
"""Semi-axis, in standard deviations, of the ellipse that holds 95 %: chi-square, 2 degrees of freedom."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LayerSummary:
    """What the files of a layer hold, without reading them."""

    intersections: int
    objects: int
    """At an intersection, the ended ones too: as many as ``objects.geojson`` has features."""
    unassigned: int
    """Objects that no intersection holds."""
    by_class: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Objects by class (sorted) and status; all three statuses are there."""
    bboxes: Mapping[str, Box | None] = field(default_factory=dict)
    """By file: ``objects``, ``areas``, ``roads``, ``intersections`` (areas and objects). None: no features."""
    left_out: tuple[str, ...] = ()
    """What could not be written, a line each."""

    @property
    def bbox(self) -> Box | None:
        """Of areas and objects."""
        return self.bboxes["intersections"]


# -- SQL --------------------------------------------------------------------------------------------------------------------


Pieces = tuple[str, ...]
"""SQL expressions whose texts, one after the other, are a piece of JSON. Nulls are skipped, as concat does."""


def _quoted(text: str) -> Pieces:
    return "'\"'", text, "'\"'"


def _number(value: str, decimals: int) -> str:
    """In the fewest digits; + 0 turns -0 into 0."""
    return f"(round(({value}) * 1e{decimals}) / 1e{decimals} + '0'::float8)"


def _number_or_null(value: str, decimals: int) -> Pieces:
    """NaN is above all numbers."""
    written = f"{value} BETWEEN -1e9 AND 1e9"
    return (f"CASE WHEN {written} THEN {_number(value, decimals)}::text ELSE 'null' END",)


def _degrees(value: str, turn: int) -> str:
    """In [0, turn) after rounding."""
    tenths = f"mod(mod(round({value} * 10)::bigint, {turn}0) + {turn}0, {turn}0)"
    return f"CASE WHEN {value} BETWEEN -1e9 AND 1e9 THEN ({tenths} / '10'::float8)::text ELSE 'null' END"


def _text_or_null(column: str) -> Pieces:
    return (f"CASE WHEN {column} <> '' THEN to_json({column})::text ELSE 'null' END",)


def _stamp(value: str) -> str:
    """``2026-05-04T12:00:00Z``, without quotes, of what is an instant. XSD dates, whatever the date style."""
    return f"(substr(to_json({value})::text, 2, 19) || 'Z')"


def _instant(value: str) -> Pieces:
    return f"left(to_json({value})::text, 20)", "'Z\"'"


def _instant_or_null(value: str) -> Pieces:
    return (f"CASE WHEN {_is_instant(value)} THEN left(to_json({value})::text, 20) || 'Z\"' ELSE 'null' END",)


def _is_instant(value: str) -> str:
    return f"{value} BETWEEN '0001-01-01Z' AND '9999-12-31 23:59:59.999999Z'"


def _object(names: Sequence[str], values: Mapping[str, Pieces]) -> Pieces:
    """Members of a JSON object."""
    found: list[str] = []
    for position, name in enumerate(names):
        found += [f"'{',' if position else ''}\"{name}\":'", *values[name]]
    return tuple(found)


def _concat(*pieces: str) -> str:
    """One call appends all pieces to one buffer; a function has 100 arguments at most, and neighbouring literals are one."""
    merged: list[str] = []
    for piece in pieces:
        if merged and re.fullmatch("'[^']*'", merged[-1]) and re.fullmatch("'[^']*'", piece):
            merged[-1] = merged[-1][:-1] + piece[1:]
        else:
            merged.append(piece)
    parts = [f"concat({', '.join(merged[at : at + 96])})" for at in range(0, len(merged), 96)]
    return parts[0] if len(parts) == 1 else f"concat({', '.join(parts)})"


IMAGES = "v.evidence_image_ids"
LAST_IMAGE = f"{IMAGES}[cardinality({IMAGES})]"
IMAGE_KEY = f"coalesce(v.image_id, CASE WHEN NOT starts_with({LAST_IMAGE}, '{SURVEY}') THEN {LAST_IMAGE} END)"
AS_LEXEMES = (
    f"'' <> ALL ({IMAGES}) AND (pg_column_size({IMAGES}) < 2000 AND pg_column_compression({IMAGES}) IS NULL "
    f"OR length(array_to_string({IMAGES}, ',')) < 200000 AND array_to_string({IMAGES}, ',') !~ '([^,]{{250}}){{2}}')"
)
"""A text search vector sorts by bytes and drops repetitions, at a tenth of the cost of a subquery, and in parallel workers too.
It holds no empty texts, none of 2 kB and not more than 1 MB; only what was compressed is longer than its size."""
LEXEMES = f"array_to_tsvector({IMAGES})"
HALF_SUM = "((v.covariance_ee_m2 + v.covariance_nn_m2) / 2)"
HALF_DIFFERENCE = "((v.covariance_ee_m2 - v.covariance_nn_m2) / 2)"
SPREAD = f"sqrt({HALF_DIFFERENCE} * {HALF_DIFFERENCE} + v.covariance_en_m2 * v.covariance_en_m2)"
IS_COVARIANCE = " AND ".join(
    f"v.covariance_{axis}_m2 BETWEEN {low} AND 1e15" for axis, low in (("ee", "0"), ("nn", "0"), ("en", "-1e15"))
)
IS_CIRCLE = "v.covariance_ee_m2 = v.covariance_nn_m2 AND v.covariance_en_m2 = 0"
AZIMUTH = "(90 - degrees(atan2(2 * v.covariance_en_m2, v.covariance_ee_m2 - v.covariance_nn_m2)) / 2)"
IS_PLACED = "ST_X(v.geom) BETWEEN -180 AND 180 AND ST_Y(v.geom) BETWEEN -90 AND 90"
IS_WRITABLE = (
    f"{IS_PLACED} AND v.error_radius_m BETWEEN 0 AND 1e9 AND {_is_instant('v.first_seen_at')} "
    f"AND {_is_instant('v.last_seen_at')} AND (v.ended_at IS NULL OR {_is_instant('v.ended_at')})"
)
"""What every consumer counts on; of all else, what cannot be written is null."""


def _semi_axis(variance: str) -> Pieces:
    return (f"CASE WHEN {IS_COVARIANCE} THEN {_number(f'{RADIUS_95} * sqrt({variance})', 2)}::text ELSE 'null' END",)


LON, LAT = _number("ST_X(v.geom)", 7), _number("ST_Y(v.geom)", 7)
VALID_TIME = (
    "'\"'",
    f"CASE WHEN v.gone_by IS NULL THEN concat('{{[', {_stamp('v.first_seen_at')}, ',', {_stamp('v.ended_at')}, ')}}') ELSE "
    "regexp_replace(v.valid::text, '\"([0-9-]+) ([0-9:]{8})([.][0-9]+)?[+]00\"', '\\1T\\2Z', 'g') END",
    "'\"'",
)
"""A multirange as PostgreSQL writes them: ``{[2025-06-10T13:04:13Z,2026-05-20T10:08:02Z),[2026-06-01T00:00:00Z,)}``."""
ABSENCE = ("gone_after", "gone_by", "back_after", "back_by")
AWAY = _concat("'{'", *_object(ABSENCE, {name: _instant_or_null(f"away.{name}") for name in ABSENCE}), "'}'")
OBJECT_VALUES: dict[str, Pieces] = {
    "id": _quoted("v.object_id"),
    "class": ("c.json",),
    "object_type": ("c.object_type",),
    "intersection_id": ("to_json(a.intersection_id)",),
    "status": _quoted("v.status"),
    "standing_probability": (_number("v.standing_probability", 4),),
    "first_seen_at": _instant("v.first_seen_at"),
    "last_seen_at": _instant("v.last_seen_at"),
    "ended_at": (f"CASE WHEN v.ended_at IS NULL THEN 'null' ELSE concat({', '.join(_instant('v.ended_at'))}) END",),
    "began_after": _instant_or_null("v.began_after"),
    "valid_time": VALID_TIME,
    "replaced_by": ("CASE WHEN v.replaced_by IS NULL THEN 'null' ELSE concat('\"', v.replaced_by, '\"') END",),
    "error_radius_m": (_number("v.error_radius_m", 2),),
    "error_major_m": _semi_axis(f"{HALF_SUM} + {SPREAD}"),
    "error_minor_m": _semi_axis(f"greatest({HALF_SUM} - {SPREAD}, 0)"),
    "error_azimuth_deg": (f"CASE WHEN {IS_CIRCLE} OR NOT ({IS_COVARIANCE}) THEN 'null' ELSE {_degrees(AZIMUTH, 180)} END",),
    "facing_deg": (_degrees("v.facing_deg", 360),),
    "height_m": _number_or_null("v.height_m", 2),
    "assumed_size_m": ("c.size",),
    "image_key": (f"coalesce(to_json({IMAGE_KEY})::text, 'null')",),
    "image_count": (f"length({LEXEMES})",),
    "miss_count": ("cardinality(v.misses)",),
    "absence_count": ("coalesce(cardinality(v.gone_by), 0)",),
    "method": _text_or_null("v.method"),
    "model": _text_or_null("v.model_key"),
    "absences": (
        f"CASE WHEN v.gone_by IS NULL THEN '[]' ELSE (SELECT concat('[', string_agg({AWAY}, ',' ORDER BY away.n), ']') "
        "FROM unnest(v.gone_after, v.gone_by, v.back_after, v.back_by) "
        "WITH ORDINALITY AS away (gone_after, gone_by, back_after, back_by, n)) END",
    ),
    "evidence": (f"array_to_json(tsvector_to_array({LEXEMES}))",),
    "missed_in": ("array_to_json(v.misses)",),
}
LONG_EVIDENCE: dict[str, Pieces] = {
    "image_count": (
        f"CASE WHEN {AS_LEXEMES} THEN length({LEXEMES}) "
        f'ELSE (SELECT count(DISTINCT image COLLATE "C") FROM unnest({IMAGES}) AS image) END',
    ),
    "evidence": (
        f"CASE WHEN {AS_LEXEMES} THEN array_to_json(tsvector_to_array({LEXEMES}))::text "
        "ELSE (SELECT concat('[', string_agg(to_json(image)::text, ',' ORDER BY image COLLATE \"C\"), ']') "
        f'FROM (SELECT DISTINCT image COLLATE "C" AS image FROM unnest({IMAGES}) AS image) AS images) END',
    ),
}
"""The same where an object has evidence that is no lexeme."""
_STATE = ("class", "status", "first_seen_at", "last_seen_at", "ended_at", "reason")


def _state(alias: str, reason: str) -> str:
    values = {name: _instant_or_null(f"{alias}.{name}") for name in _STATE if name.endswith("_at")}
    values |= {"class": (f"to_json({alias}.class_name)",), "status": _quoted(f"{alias}.status"), "reason": _quoted(reason)}
    return _concat("'{'", *_object(_STATE, values), "'}'")


HISTORY = (
    f"CASE WHEN v.follows IS NULL THEN concat('[', {_state('v', 'v.reason')}, ']') ELSE ("
    # The last version of each run of one class and status, with the reason of the first.
    f"SELECT concat('[', string_agg({_state('run', 'run.why')}, ',' ORDER BY run.known_from), ']') FROM ("
    "SELECT edge.*, CASE WHEN edge.begins THEN edge.reason ELSE lag(edge.reason) OVER (ORDER BY edge.known_from) END AS why "
    "FROM ("
    "SELECT p.class_name, p.status, p.first_seen_at, p.last_seen_at, p.ended_at, p.reason, lower(p.system) AS known_from, "
    "(lag(p.class_name) OVER w, lag(p.status) OVER w) IS DISTINCT FROM (p.class_name, p.status) AS begins, "
    "(lead(p.class_name) OVER w, lead(p.status) OVER w) IS DISTINCT FROM (p.class_name, p.status) AS ends "
    "FROM kryss.object_version p WHERE p.object_id = v.object_id AND p.code = v.code AND {past} "
    "WINDOW w AS (ORDER BY lower(p.system))"
    ") AS edge WHERE edge.begins OR edge.ends) AS run WHERE run.ends) END"
)
FLAT = [
    "id", "class", "object_type", "intersection_id", "status", "standing_probability", "first_seen_at", "last_seen_at",
    "ended_at", "began_after", "valid_time", "replaced_by", "error_radius_m", "error_major_m", "error_minor_m",
    "error_azimuth_deg", "facing_deg", "height_m", "assumed_size_m", "image_key", "image_url", "image_count", "miss_count",
    "absence_count", "method", "model",
]  # fmt: skip
"""Properties of a feature of ``objects.geojson``, in order."""
NESTED = [name for name in FLAT if name not in ("intersection_id", "miss_count", "absence_count")] + [
    "absences", "evidence", "missed_in", "history",
]  # fmt: skip
"""Properties of an object inside a feature of ``intersections.geojson``."""
JUNCTION = ("id", "name", "kind", "arms", "source", "speed_limit_kmh")
JUNCTION_VALUES: dict[str, Pieces] = {
    "id": ("to_json(i.intersection_id)",),
    "name": _text_or_null("i.name"),
    "kind": _text_or_null("i.kind"),
    "arms": ("coalesce(i.arms::text, 'null')",),
    "source": ("to_json(i.source)",),
    "speed_limit_kmh": (_number("i.speed_limit_kmh", 1),),
}
STANDING = "count(*) FILTER (WHERE v.status = 'standing') AS standing"
GRID = "1e-7"
AREA = (
    f"CASE WHEN ST_IsValid(snapped.area) AND NOT ST_IsEmpty(snapped.area) THEN snapped.area ELSE coalesce("
    f"(SELECT part.geom FROM ST_Dump(ST_ReducePrecision(i.area, {GRID})) AS part "
    "WHERE ST_GeometryType(part.geom) = 'ST_Polygon' AND NOT ST_IsEmpty(part.geom) "
    "ORDER BY ST_Area(part.geom) DESC, part.path LIMIT 1), "
    f"ST_Expand(ST_SnapToGrid(i.center, {GRID}), {GRID})) END"
)
"""Rounded vertices where they make a valid polygon; else what is left on the grid, its largest part; of an area of less than a
centimetre, the square of the grid around the centre."""
AREA_RING = f"ST_ForcePolygonCCW(ST_MakePolygon(ST_ExteriorRing({AREA})))"
SNAPPED = f"CROSS JOIN LATERAL (SELECT ST_SnapToGrid(i.area, {GRID}) AS area) AS snapped"
APPROACHES = f"ST_SnapToGrid(i.approaches, {GRID})"
IS_AREA = (
    "i.speed_limit_kmh BETWEEN 0 AND 1e9 AND ST_XMin(i.area) >= -180 AND ST_XMax(i.area) <= 180 AND ST_YMin(i.area) >= -90 "
    "AND ST_YMax(i.area) <= 90 AND ST_X(i.center) BETWEEN -180 AND 180 AND ST_Y(i.center) BETWEEN -90 AND 90"
)
ARE_LINES = (
    "i.approaches IS NOT NULL AND NOT ST_IsEmpty(i.approaches) AND ST_XMin(i.approaches) >= -180 "
    "AND ST_XMax(i.approaches) <= 180 AND ST_YMin(i.approaches) >= -90 AND ST_YMax(i.approaches) <= 90"
)


CORNERS = ("XMin", "YMin", "XMax", "YMax")
TOLD = 20
"""Of what is left out, this many lines go to the log."""


def _box(west: str, south: str, east: str, north: str) -> Pieces:
    corners = [_number(value, 7) for value in (west, south, east, north)]
    return "'['", corners[0], "','", corners[1], "','", corners[2], "','", corners[3], "']'"


class LayerRows:
    """The layer of one municipality, as it is believed in one transaction. Made by `Reader.layer`.

    ``known``: the instant of system time whose beliefs are read, which is ``newest`` where none was asked for; None where
    nothing was ever believed. The same instant gives the same bytes for ever, but for photos that were removed since.
    ``sizes``: height in metres that a class is assumed to have. ``image_url``: template of a photo's page, with ``{key}``; None
    where the photos have none.
    """

    def __init__(
        self,
        connection: Connection,
        code: str,
        known: datetime | None,
        newest: datetime | None,
        *,
        sizes: SizeOf,
        image_url: str | None,
    ) -> None:
        self.code = code
        self.known = newest if known is None else rows.instant(known)
        self._past = known is not None and newest is not None and known < newest
        self._connection = connection
        self._sizes = sizes
        self._image_url = image_url
        self._summary: LayerSummary | None = None
        self._unwritable: list[str] = []
        self._nowhere: list[str] = []
        self._long_evidence = False

    # -- what is written ----------------------------------------------------------------------------------------------------

    def objects(self, write: Write) -> int:
        """A Point Feature with flat properties for every object at an intersection; returns how many."""
        self.summary()
        feature = _concat(
            "'{\"type\":\"Feature\",\"id\":\"'", "v.object_id", "'\",\"geometry\":{\"type\":\"Point\",\"coordinates\":['",
            LON, "','", LAT, "']},\"properties\":{'", *_object(FLAT, self._values()), "'}}'",
        )  # fmt: skip
        part = "AND v.object_id BETWEEN %(low)s AND %(high)s AND a.object_id BETWEEN %(low)s AND %(high)s"
        query = f"SELECT {feature} {self._assigned()} {part} ORDER BY v.object_id"
        parts = -(-self.summary().objects // PART)
        ends = [(n << 128) // max(1, parts) for n in range(parts + 1)]
        # Of rows that lie anywhere, a look-up each costs more than reading all that are near and throwing some away.
        self._connection.exec_driver_sql("SET LOCAL enable_nestloop = off")
        count = sum(
            self._copy(query, write, low=str(UUID(int=low)), high=str(UUID(int=high - 1))) for low, high in pairwise(ends)
        )
        self._connection.exec_driver_sql("SET LOCAL enable_nestloop TO DEFAULT")
        return count

    def intersections(self, write: Write) -> int:
        """A Feature with a GeometryCollection for every intersection, with its objects and their history; returns how many."""
        self.summary()
        entry = _concat("'{'", *_object(NESTED, self._values()), "'}'")
        point = _concat('\'{"type":"Point","coordinates":[\'', LON, "','", LAT, "']}'")
        members = (
            f"SELECT a.intersection_id, string_agg({entry}, ',' ORDER BY v.object_id) AS entries, "
            f"string_agg({point}, ',' ORDER BY v.object_id) AS points, {STANDING}, "
            "min(ST_X(v.geom)) AS west, min(ST_Y(v.geom)) AS south, max(ST_X(v.geom)) AS east, max(ST_Y(v.geom)) AS north "
            f"{self._assigned()} GROUP BY a.intersection_id"
        )
        extent = _box(
            "least(ST_XMin(i.ring), m.west)",
            "least(ST_YMin(i.ring), m.south)",
            "greatest(ST_XMax(i.ring), m.east)",
            "greatest(ST_YMax(i.ring), m.north)",
        )
        properties = {
            **JUNCTION_VALUES,
            "centre": ("'['", _number("ST_X(i.center)", 7), "','", _number("ST_Y(i.center)", 7), "']'"),
            "object_count": ("coalesce(m.standing, 0)",),
            "objects": ("'['", "m.entries", "']'"),
        }
        feature = _concat(
            "'{\"type\":\"Feature\",\"id\":'", "to_json(i.intersection_id)", "',\"bbox\":'", *extent,
            "',\"geometry\":{\"type\":\"GeometryCollection\",\"geometries\":['", "ST_AsGeoJSON(i.ring, 7, 0)",
            "CASE WHEN m.points IS NOT NULL THEN ',' END", "m.points", "']},\"properties\":{'",
            *_object((*JUNCTION, "centre", "object_count", "objects"), properties), "'}}'",
        )  # fmt: skip
        return self._copy(
            f"SELECT {feature} FROM ({self._junctions()}) AS i LEFT JOIN ({members}) AS m USING (intersection_id) "
            'ORDER BY i.intersection_id COLLATE "C"',
            write,
        )

    def areas(self, write: Write) -> int:
        """A Polygon Feature for every intersection; returns how many."""
        self.summary()
        standing = f"SELECT a.intersection_id, {STANDING} {self._assigned()} GROUP BY a.intersection_id"
        properties = {
            **JUNCTION_VALUES,
            "centre_lon": (_number("ST_X(i.center)", 7),),
            "centre_lat": (_number("ST_Y(i.center)", 7),),
            "object_count": ("coalesce(m.standing, 0)",),
            "area_method": ("to_json(i.area_method)",),
        }
        feature = _concat(
            "'{\"type\":\"Feature\",\"id\":'", "to_json(i.intersection_id)", "',\"geometry\":'", "ST_AsGeoJSON(i.ring, 7, 0)",
            "',\"properties\":{'",
            *_object((*JUNCTION, "centre_lon", "centre_lat", "object_count", "area_method"), properties), "'}}'",
        )  # fmt: skip
        return self._copy(
            f"SELECT {feature} FROM ({self._junctions()}) AS i LEFT JOIN ({standing}) AS m USING (intersection_id) "
            'ORDER BY i.intersection_id COLLATE "C"',
            write,
        )

    def roads(self, write: Write) -> int:
        """A MultiLineString Feature for every intersection with approaches; returns how many."""
        self.summary()
        feature = _concat(
            "'{\"type\":\"Feature\",\"id\":'", "to_json(i.intersection_id)", "',\"geometry\":'", "ST_AsGeoJSON(i.lines, 7, 0)",
            "',\"properties\":{'", *_object(("id", "name", "speed_limit_kmh"), JUNCTION_VALUES), "'}}'",
        )  # fmt: skip
        return self._copy(f'SELECT {feature} FROM ({self._lines()}) AS i ORDER BY i.intersection_id COLLATE "C"', write)

    def summary(self) -> LayerSummary:
        """Counts and extents, asked once. The features are asked for after it: it knows what is left out of them."""
        if self._summary is None:
            self._summary = self._summarise()
        return self._summary

    def versions(self, ids: Collection[str]) -> dict[str, list[ObjectVersion]]:
        """Every belief about these objects up to ``known``, by id, then by system time. An end beyond ``known`` is None."""
        source = tables.table(tables.ObjectVersion)
        began, ended = func.lower(source.c.system).label("known_from"), func.upper(source.c.system).label("known_to")
        kept_out = ("geom", "valid", "system", "follows", "known_to")
        columns = [column for column in source.columns if column.name not in kept_out]
        place = func.ST_X(source.c.geom).label("lon"), func.ST_Y(source.c.geom).label("lat")
        query: Select[Any] = select(*columns, *place, began, ended)
        query = query.where(source.c.code == self.code, _among(source.c.object_id, ids))
        if self._past:
            query = query.where(func.lower(source.c.system) <= self.known)
        found: dict[str, list[ObjectVersion]] = {}
        for row in sorted(self._connection.execute(query), key=lambda row: (row.object_id, row.known_from)):
            beyond = self._past and row.known_to is not None and row.known_to > self.known
            version = ObjectVersion(rows.to_object(row), row.known_from, None if beyond else row.known_to, row.reason)
            found.setdefault(row.object_id, []).append(version)
        return found

    def lineage(self, ids: Collection[str]) -> list[Lineage]:
        """What became of these ids up to ``known``. By system time, then id, relation and other id."""
        source = tables.table(tables.Lineage)
        query = select(source).where(source.c.code == self.code, _among(source.c.object_id, ids))
        if self._past:
            query = query.where(source.c.system_at <= self.known)
        found = [rows.to_lineage(row) for row in self._connection.execute(query)]
        return sorted(found, key=lambda event: (event.known_at, event.object_id, event.relation, event.other_id or ""))

    # -- how ----------------------------------------------------------------------------------------------------------------

    def _believed(self, alias: str) -> str:
        """The condition of what is believed, for today in the words of the indexes that find it."""
        if self._past:
            return f"{alias}.system @> %(known)s::timestamptz"
        return f"{alias}.known_to IS NULL" if alias == "v" else f"upper_inf({alias}.system)"

    def _assigned(self) -> str:
        """Objects (v) with their intersections (a) and what is said of their class (c)."""
        return (
            "FROM kryss.object_version AS v JOIN kryss.assignment AS a ON a.code = v.code AND a.object_id = v.object_id "
            "JOIN unnest(%(classes)s::text[], %(class_json)s::text[], %(types)s::text[], %(class_sizes)s::text[]) "
            "AS c (class_name, json, object_type, size) ON c.class_name = v.class_name "
            f"WHERE v.code = %(code)s AND a.code = %(code)s AND {self._believed('v')} AND {self._believed('a')}"
            + (" AND a.intersection_id <> ALL(%(unwritable)s::text[])" if self._unwritable else "")
            + (" AND v.object_id <> ALL(%(nowhere)s::uuid[])" if self._nowhere else "")
        )

    def _junctions(self) -> str:
        """Intersections with their areas as they are written (ring)."""
        return (
            f"SELECT i.*, {AREA_RING} AS ring FROM kryss.intersection_version AS i {SNAPPED} "
            f"WHERE i.code = %(code)s AND {self._believed('i')}"
            + (" AND i.intersection_id <> ALL(%(unwritable)s::text[])" if self._unwritable else "")
            + " OFFSET 0"  # else the area is worked out wherever it is named
        )

    def _lines(self) -> str:
        """Intersections with their approaches as they are written (lines)."""
        return (
            f"SELECT * FROM (SELECT i.*, {APPROACHES} AS lines FROM kryss.intersection_version AS i "
            f"WHERE i.code = %(code)s AND {self._believed('i')} AND {ARE_LINES}"
            + (" AND i.intersection_id <> ALL(%(unwritable)s::text[])" if self._unwritable else "")
            + " OFFSET 0) AS l WHERE NOT ST_IsEmpty(l.lines)"
        )

    def _values(self) -> dict[str, Pieces]:
        """SQL of the properties of an object."""
        past = "lower(p.system) <= %(known)s::timestamptz" if self._past else "true"
        page = "'null'"
        if self._image_url is not None:
            joined = f" || {IMAGE_KEY} || ".join(f"%(url_{n})s::text" for n in range(len(self._image_url.split("{key}"))))
            page = f"CASE WHEN {IMAGE_KEY} IS NULL THEN 'null' ELSE to_json({joined})::text END"
        own = {"image_url": (page,), "history": (HISTORY.replace("{past}", past),)}
        return {**OBJECT_VALUES, **(LONG_EVIDENCE if self._long_evidence else {}), **own}

    def _parameters(self) -> dict[str, Any]:
        classes = list(self.summary().by_class)
        sizes = [self._sizes(name) for name in classes]
        parts = [] if self._image_url is None else self._image_url.split("{key}")
        return {
            "code": self.code,
            "known": self.known,
            "unwritable": self._unwritable,
            "nowhere": self._nowhere,
            "classes": classes,
            "class_json": [json.dumps(name, ensure_ascii=False) for name in classes],
            "types": ['"traffic light"' if name.startswith(TRAFFIC_LIGHT) else '"traffic sign"' for name in classes],
            "class_sizes": [json.dumps(None if size is None else round(size, 3)) for size in sizes],
            **{f"url_{n}": part for n, part in enumerate(parts)},
        }

    def _copy(self, query: str, write: Write, **more: Any) -> int:
        parameters = {**self._parameters(), **more}
        with self._cursor() as cursor:
            sink = _Sink(write)
            cursor.copy_expert(cursor.mogrify(COPY.replace("{query}", query), parameters).decode(), sink)
        return sink.features

    def _asked(self, query: str, **parameters: Any) -> list[Any]:
        with self._cursor() as cursor:
            cursor.execute(
                query,
                {"code": self.code, "known": self.known, "unwritable": self._unwritable, "nowhere": self._nowhere, **parameters},
            )
            return list(cursor.fetchall())

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        for setting in SETTINGS:
            self._connection.exec_driver_sql(f"SET LOCAL {setting}")
        cursor = self._connection.connection.cursor()
        try:
            yield cursor
        finally:
            cursor.close()

    def _summarise(self) -> LayerSummary:
        left_out = self._find_unwritable()
        ends = (("min", "ST_X"), ("min", "ST_Y"), ("max", "ST_X"), ("max", "ST_Y"))
        extent = ", ".join(f"{end}({axis}(v.geom)) FILTER (WHERE a.object_id IS NOT NULL)" for end, axis in ends)
        counted = self._asked(
            f"SELECT v.class_name, v.status, count(*), count(a.object_id), {extent} "
            "FROM kryss.object_version v LEFT JOIN kryss.assignment a ON a.code = v.code AND a.object_id = v.object_id "
            f"AND {self._believed('a')} AND a.intersection_id <> ALL(%(unwritable)s::text[]) "
            + ("AND v.object_id <> ALL(%(nowhere)s::uuid[]) " if self._nowhere else "")
            + f"WHERE v.code = %(code)s AND {self._believed('v')} GROUP BY v.class_name, v.status"
        )
        by_class: dict[str, dict[str, int]] = {}
        for name, status, _, held, *_ in sorted(counted, key=lambda row: row[0]):
            if held:
                by_class.setdefault(name, dict.fromkeys(STATUSES, 0))[status] += held
        objects, known = sum(row[3] for row in counted), sum(row[2] for row in counted)
        areas, roads = self._junction_extents()
        boxes: dict[str, Box | None] = {
            "objects": _joined([row[4:] for row in counted if row[3]]),
            "areas": areas[1],
            "roads": roads[1],
        }
        boxes["intersections"] = _joined([box for box in (boxes["areas"], boxes["objects"]) if box])
        return LayerSummary(
            intersections=areas[0],
            objects=objects,
            unassigned=known - objects,
            by_class=MappingProxyType(by_class),
            bboxes=MappingProxyType(boxes),
            left_out=tuple(left_out),
        )

    def _junction_extents(self) -> tuple[tuple[int, Box | None], tuple[int, Box | None]]:
        """Number and extent of areas and of roads, as they are written."""
        found = []
        for source, shape in ((self._junctions(), "ring"), (self._lines(), "lines")):
            corners = ", ".join(
                f"{of}(ST_{end}(i.{shape}))" for of, end in zip(("min", "min", "max", "max"), CORNERS, strict=True)
            )
            ((count, *box),) = self._asked(f"SELECT count(*), {corners} FROM ({source}) AS i")
            found.append((count, _joined([box] if count else [])))
        return found[0], found[1]

    def _find_unwritable(self) -> list[str]:
        """Remembers what has no place in WGS84 and intersections that are not believed; says so."""
        outside = self._asked(
            f"SELECT i.intersection_id FROM kryss.intersection_version i WHERE i.code = %(code)s AND {self._believed('i')} "
            f"AND NOT coalesce({IS_AREA}, false)"
        )
        missing = self._asked(
            f"SELECT DISTINCT a.intersection_id FROM kryss.assignment a WHERE a.code = %(code)s AND {self._believed('a')} "
            "AND NOT EXISTS (SELECT FROM kryss.intersection_version i WHERE i.code = a.code "
            f"AND i.intersection_id = a.intersection_id AND {self._believed('i')})"
        )
        believed = f"FROM kryss.object_version v WHERE v.code = %(code)s AND {self._believed('v')}"
        odd = f"NOT coalesce({IS_WRITABLE}, false)"
        ((bad, self._long_evidence),) = self._asked(
            f"SELECT coalesce(bool_or({odd}), false), coalesce(bool_or(({AS_LEXEMES}) IS NOT TRUE), false) {believed}"
        )
        nowhere = self._asked(f"SELECT v.object_id::text {believed} AND {odd}") if bad else []
        self._unwritable = sorted(row[0] for row in (*outside, *missing))
        self._nowhere = sorted(row[0] for row in nowhere)
        told = [
            *(
                f"intersection {row[0]}: its area or centre lies outside WGS84, or its speed limit is no number"
                for row in sorted(outside)
            ),
            *(f"intersection {row[0]}: objects are assigned to it, but it is not believed" for row in sorted(missing)),
            *(
                f"object {object_id}: it lies outside WGS84, or its error or a time of it is no number"
                for object_id in self._nowhere
            ),
        ]
        for line in told[:TOLD]:
            log.warning("layer of %s: %s; left out", self.code, line)
        return told


class _Sink:
    """What COPY writes to: a row a call, which ends in a line feed."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self.features = 0

    def write(self, row: bytes) -> None:
        self._write(row[:-1])
        self.features += 1


def _among(column: Any, ids: Collection[str]) -> Any:
    return column == any_(literal(sorted(ids), ARRAY(Uuid(as_uuid=False))))


def _joined(boxes: Sequence[Sequence[float]]) -> Box | None:
    """The rounded extent of extents, as the files' coordinates are rounded."""
    if not boxes:
        return None
    west, south, east, north = (list(side) for side in zip(*boxes, strict=True))
    corners = (min(west), min(south), max(east), max(north))
    return (_grid(corners[0]), _grid(corners[1]), _grid(corners[2]), _grid(corners[3]))


def _grid(degrees: float) -> float:
    return round(degrees * 1e7) / 1e7 + 0.0
