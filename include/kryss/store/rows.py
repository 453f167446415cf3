"""Nouns of `kryss.model` to rows of `kryss.store.tables` and back. What goes in comes out, to the bit and the microsecond.

The one exception is what Kryss computes itself: objects and junctions are rounded before they are stored and compared, so that
the last bits of an estimate are never a change (`stored_object`, `stored_intersection`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import shapely
from shapely.geometry import mapping, shape
from sqlalchemy import Row

from kryss.model import (
    Absence,
    Detection,
    Image,
    Intersection,
    Lineage,
    Municipality,
    PhotoResult,
    Pose,
    Reason,
    RejectedPose,
    Release,
    Sighting,
    StreetObject,
    Survey,
    SurveyedThing,
)
from kryss.store.copying import NULL, encode_value
from kryss.store.tables import SRID

DEGREE_DECIMALS = 8
"""About a millimetre."""
METRE_DECIMALS = 3
COVARIANCE_DECIMALS = 6
"""Square millimetres."""
PROBABILITY_DECIMALS = 6
BEARING_DECIMALS = 3

_EWKB_POINT = struct.Struct("<BIIdd")
_POINT_WITH_SRID = 0x20000001


def point(lon: float, lat: float) -> str:
    """Hexadecimal EWKB of a point."""
    return _EWKB_POINT.pack(1, _POINT_WITH_SRID, SRID, lon, lat).hex()


def _geometry(geometry: shapely.Geometry) -> str:
    return shapely.to_wkb(shapely.set_srid(geometry, SRID), hex=True, include_srid=True)


def _floats(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(value) for value in values)


def municipality_row(noun: Municipality) -> dict[str, Any]:
    boundary = shape(noun.boundary)
    if boundary.geom_type == "Polygon":
        boundary = shapely.MultiPolygon([boundary])
    if boundary.geom_type != "MultiPolygon":
        raise ValueError(f"boundary of {noun.code} is a {boundary.geom_type}, not a Polygon or MultiPolygon")
    return {
        "code": noun.code,
        "name": noun.name,
        "country": noun.country,
        "boundary": _geometry(shapely.force_2d(boundary)),
    }


def to_municipality(row: Row[Any]) -> Municipality:
    """The boundary comes back as a MultiPolygon, whatever went in."""
    return Municipality(row.code, row.name, row.country, mapping(shapely.from_wkb(bytes(row.boundary_wkb))))


def image_row(code: str, noun: Image) -> dict[str, Any]:
    best = noun.sfm or noun.gps
    return {
        "code": code,
        "id": noun.id,
        "sequence_id": noun.sequence_id,
        "captured_at": noun.captured_at,
        "width": noun.width,
        "height": noun.height,
        "camera_type": noun.camera_type,
        "camera_parameters": noun.camera_parameters,
        "exif_orientation": noun.exif_orientation,
        "is_pano": noun.is_pano,
        "make": noun.make,
        "model": noun.model,
        "creator": noun.creator,
        "gps": _pose(noun.gps),
        "sfm": _pose(noun.sfm),
        "geom": point(best.lon, best.lat) if best else None,
    }


def to_image(row: Row[Any]) -> Image:
    parameters = row.camera_parameters
    return Image(
        id=row.id,
        sequence_id=row.sequence_id,
        captured_at=row.captured_at,
        width=row.width,
        height=row.height,
        gps=_to_pose("gps", row.gps),
        sfm=_to_pose("sfm", row.sfm),
        camera_type=row.camera_type,
        camera_parameters=None if parameters is None else tuple(parameters),
        exif_orientation=row.exif_orientation,
        is_pano=row.is_pano,
        make=row.make,
        model=row.model,
        creator=row.creator,
    )


def _pose(pose: Pose | None) -> dict[str, Any] | None:
    if pose is None:
        return None
    known = {
        "lon": float(pose.lon),
        "lat": float(pose.lat),
        "altitude_m": None if pose.altitude_m is None else float(pose.altitude_m),
        "heading_deg": None if pose.heading_deg is None else float(pose.heading_deg),
        "rotation": None if pose.rotation is None else [float(angle) for angle in pose.rotation],
    }
    return {key: value for key, value in known.items() if value is not None}


def _to_pose(origin: Any, stored: Mapping[str, Any] | None) -> Pose | None:
    if stored is None:
        return None
    altitude, heading, rotation = (stored.get(key) for key in ("altitude_m", "heading_deg", "rotation"))
    return Pose(
        origin=origin,
        lon=float(stored["lon"]),
        lat=float(stored["lat"]),
        altitude_m=None if altitude is None else float(altitude),
        heading_deg=None if heading is None else float(heading),
        rotation=None if rotation is None else (float(rotation[0]), float(rotation[1]), float(rotation[2])),
    )


def photo_result_row(code: str, model_key: str, noun: PhotoResult, attempts: int | None) -> dict[str, Any]:
    return {
        "code": code,
        "image_id": noun.image_id,
        "model_key": model_key,
        "outcome": noun.outcome,
        "reason": noun.reason,
        "attempts": attempts,
        "detections": noun.detections,
    }


def to_photo_result(row: Row[Any]) -> PhotoResult:
    return PhotoResult(row.image_id, row.outcome, row.reason, row.detections)


def rejected_pose_row(code: str, noun: RejectedPose) -> dict[str, Any]:
    return {"code": code, "image_id": noun.image_id, "origin": noun.origin, "reason": noun.reason}


def to_rejected_pose(row: Row[Any]) -> RejectedPose:
    return RejectedPose(row.image_id, row.origin, row.reason)


def detection_row(code: str, noun: Detection) -> dict[str, Any]:
    return {
        "code": code,
        "image_id": noun.image_id,
        "model_key": noun.model_key,
        "ordinal": noun.ordinal,
        "class_name": noun.class_name,
        "score": noun.score,
        "box": _floats(noun.box),
        "depth": noun.depth,
    }


def to_detection(row: Row[Any]) -> Detection:
    return Detection(
        row.image_id,
        row.model_key,
        row.ordinal,
        row.class_name,
        row.score,
        tuple(row.box),
        row.depth,  # type: ignore[arg-type]
    )


def sighting_row(code: str, noun: Sighting) -> dict[str, Any]:
    east_east, east_north, north_north = noun.covariance
    return {
        "code": code,
        "image_id": noun.image_id,
        "model_key": noun.model_key,
        "ordinal": noun.ordinal,
        "sequence_id": noun.sequence_id,
        "captured_at": noun.captured_at,
        "class_name": noun.class_name,
        "score": noun.score,
        "camera_lon": noun.camera_lon,
        "camera_lat": noun.camera_lat,
        "camera_sigma_m": noun.camera_sigma_m,
        "pose_origin": noun.pose_origin,
        "bearing_deg": noun.bearing_deg,
        "bearing_sigma_deg": noun.bearing_sigma_deg,
        "range_m": noun.range_m,
        "range_sigma_m": noun.range_sigma_m,
        "range_shared_sigma_m": noun.range_shared_sigma_m,
        "range_sequence_sigma_m": noun.range_sequence_sigma_m,
        "height_m": noun.height_m,
        "height_sigma_m": noun.height_sigma_m,
        "method": noun.method,
        "geom": point(noun.lon, noun.lat),
        "covariance_ee_m2": east_east,
        "covariance_en_m2": east_north,
        "covariance_nn_m2": north_north,
    }


def to_sighting(row: Row[Any]) -> Sighting:
    return Sighting(
        image_id=row.image_id,
        model_key=row.model_key,
        ordinal=row.ordinal,
        sequence_id=row.sequence_id,
        captured_at=row.captured_at,
        class_name=row.class_name,
        score=row.score,
        camera_lon=row.camera_lon,
        camera_lat=row.camera_lat,
        camera_sigma_m=row.camera_sigma_m,
        pose_origin=row.pose_origin,
        bearing_deg=row.bearing_deg,
        bearing_sigma_deg=row.bearing_sigma_deg,
        range_m=row.range_m,
        range_sigma_m=row.range_sigma_m,
        range_shared_sigma_m=row.range_shared_sigma_m,
        range_sequence_sigma_m=row.range_sequence_sigma_m,
        height_m=row.height_m,
        height_sigma_m=row.height_sigma_m,
        method=row.method,
        lon=row.lon,
        lat=row.lat,
        covariance=(row.covariance_ee_m2, row.covariance_en_m2, row.covariance_nn_m2),
    )


def stored_object(noun: StreetObject) -> StreetObject:
    """The object as the store keeps and compares it: rounded to what its errors can bear."""
    east_east, east_north, north_north = (round(float(value), COVARIANCE_DECIMALS) for value in noun.covariance)
    return replace(
        noun,
        lon=round(float(noun.lon), DEGREE_DECIMALS),
        lat=round(float(noun.lat), DEGREE_DECIMALS),
        covariance=(east_east, east_north, north_north),
        error_radius_m=round(float(noun.error_radius_m), METRE_DECIMALS),
        standing_probability=round(float(noun.standing_probability), PROBABILITY_DECIMALS),
        facing_deg=_rounded(noun.facing_deg, BEARING_DECIMALS),
        height_m=_rounded(noun.height_m, METRE_DECIMALS),
        height_sigma_m=_rounded(noun.height_sigma_m, METRE_DECIMALS),
    )


def _rounded(value: float | None, decimals: int) -> float | None:
    return None if value is None else round(float(value), decimals)


_OBJECT_LINE = "\t".join(
    [
        *["%s"] * 4,
        *[f"%.{COVARIANCE_DECIMALS}f"] * 3,
        f"%.{METRE_DECIMALS}f",
        *["%s"] * 4,
        f"%.{PROBABILITY_DECIMALS}f",
        *["%s"] * 13,
    ]
)
_OBJECT_LINE += "\n"
_NEVER_ABSENT = "\t".join([NULL] * 4)


def object_lines(code: str, nouns: Iterable[StreetObject], reasons: Mapping[str, Reason]) -> Iterator[str]:
    """COPY text of the columns of ``object_version``, rounded as `stored_object` rounds: printing with decimals rounds the same.

    A line an object, formatted at once: a dict and an encoder for each value would take three times as long.
    """
    plain = lru_cache(maxsize=256)(encode_value)
    for noun in nouns:
        image_ids, ordinals = zip(*noun.evidence, strict=True) if noun.evidence else ((), ())
        yield _OBJECT_LINE % (
            plain(code),
            encode_value(noun.id),
            plain(noun.class_name),
            point(round(float(noun.lon), DEGREE_DECIMALS), round(float(noun.lat), DEGREE_DECIMALS)),
            *noun.covariance,
            noun.error_radius_m,
            encode_value(noun.first_seen_at),
            encode_value(noun.last_seen_at),
            encode_value(noun.ended_at),
            plain(noun.status),
            noun.standing_probability,
            _ids(image_ids),
            f"{{{','.join(map(str, ordinals))}}}",
            _ids(noun.misses) if noun.misses else "{}",
            _decimals(noun.facing_deg, BEARING_DECIMALS),
            _decimals(noun.height_m, METRE_DECIMALS),
            _decimals(noun.height_sigma_m, METRE_DECIMALS),
            plain(noun.model_key),
            plain(noun.method),
            encode_value(noun.began_after),
            _absences(noun.absences) if noun.absences else _NEVER_ABSENT,
            encode_value(noun.replaced_by),
            encode_value(noun.image_id),
            reasons.get(noun.id, "evidence"),
        )


def _absences(absences: Sequence[Absence]) -> str:
    """Four columns."""
    names = ("gone_after", "gone_by", "back_after", "back_by")
    return "\t".join([encode_value([getattr(absence, name) for absence in absences]) for name in names])


def _decimals(value: float | None, decimals: int) -> str:
    return NULL if value is None else f"{value:.{decimals}f}"


def _ids(values: Sequence[str]) -> str:
    """An array of ids. Mapillary's are digits, which need no quotes."""
    plain = "".join(values).isdecimal() and "" not in values
    return f"{{{','.join(values)}}}" if plain else encode_value(values)


def to_object(row: Row[Any]) -> StreetObject:
    return StreetObject(
        id=row.object_id,
        class_name=row.class_name,
        lon=row.lon,
        lat=row.lat,
        covariance=(row.covariance_ee_m2, row.covariance_en_m2, row.covariance_nn_m2),
        error_radius_m=row.error_radius_m,
        first_seen_at=row.first_seen_at,
        last_seen_at=row.last_seen_at,
        status=row.status,
        standing_probability=row.standing_probability,
        ended_at=row.ended_at,
        evidence=tuple(zip(row.evidence_image_ids, row.evidence_ordinals, strict=True)),
        misses=tuple(row.misses),
        facing_deg=row.facing_deg,
        model_key=row.model_key,
        method=row.method,
        height_m=row.height_m,
        height_sigma_m=row.height_sigma_m,
        began_after=row.began_after,
        absences=_to_absences(row),
        replaced_by=row.replaced_by,
        image_id=row.image_id,
    )


def _to_absences(row: Row[Any]) -> tuple[Absence, ...]:
    if row.gone_by is None:
        return ()
    return tuple(map(Absence, row.gone_after, row.gone_by, row.back_after, row.back_by))


def lineage_row(code: str, noun: Lineage, at: datetime) -> dict[str, Any]:
    return {
        "code": code,
        "object_id": noun.object_id,
        "relation": noun.relation,
        "other_id": noun.other_id,
        "reason": noun.reason,
        "system_at": at,
    }


def to_lineage(row: Row[Any]) -> Lineage:
    return Lineage(row.object_id, row.relation, row.other_id, row.reason, row.system_at)


Line = tuple[tuple[float, float], ...]


def _rounded_line(line: Line) -> Line:
    return tuple((round(float(x), DEGREE_DECIMALS), round(float(y), DEGREE_DECIMALS)) for x, y in line)


def stored_intersection(noun: Intersection) -> Intersection:
    """The junction as the store keeps and compares it. A reach that is the area is not kept twice."""
    area, reach = _rounded_line(noun.area), _rounded_line(noun.reach)
    return replace(
        noun,
        lon=round(float(noun.lon), DEGREE_DECIMALS),
        lat=round(float(noun.lat), DEGREE_DECIMALS),
        speed_limit_kmh=float(noun.speed_limit_kmh),
        area=area,
        reach=() if reach == area else reach,
        approaches=tuple(_rounded_line(line) for line in noun.approaches),
    )


def intersection_row(code: str, given: Intersection) -> dict[str, Any]:
    noun = stored_intersection(given)
    for name, ring in (("area", noun.area), ("reach", noun.reach)):
        if (ring or name == "area") and (len(ring) < 4 or ring[0] != ring[-1]):
            raise ValueError(f"{name} of junction {noun.id} is not a closed ring: {ring}")
    return {
        "code": code,
        "intersection_id": noun.id,
        "source": noun.source,
        "center": point(noun.lon, noun.lat),
        "area": _geometry(shapely.Polygon(noun.area)),
        "speed_limit_kmh": noun.speed_limit_kmh,
        "name": noun.name,
        "kind": noun.kind,
        "arms": noun.arms,
        "members": list(noun.members),
        "reach": _geometry(shapely.Polygon(noun.reach)) if noun.reach else None,
        "approaches": _geometry(shapely.MultiLineString(noun.approaches)) if noun.approaches else None,
        "area_method": noun.area_method,
    }


def to_intersection(row: Row[Any]) -> Intersection:
    return Intersection(
        id=row.intersection_id,
        source=row.source,
        lon=row.lon,
        lat=row.lat,
        speed_limit_kmh=row.speed_limit_kmh,
        area=_to_ring(row.area_wkb),
        name=row.name,
        kind=row.kind,
        arms=row.arms,
        members=tuple(row.members),
        reach=() if row.reach_wkb is None else _to_ring(row.reach_wkb),
        approaches=() if row.approaches_wkb is None else _to_lines(row.approaches_wkb),
        area_method=row.area_method,
    )


def _to_ring(wkb: Any) -> Line:
    return tuple((x, y) for x, y in shapely.from_wkb(bytes(wkb)).exterior.coords)


def _to_lines(wkb: Any) -> tuple[Line, ...]:
    return tuple(tuple((x, y) for x, y in line.coords) for line in shapely.from_wkb(bytes(wkb)).geoms)


def survey_row(code: str, noun: Survey) -> dict[str, Any]:
    return {
        "code": code,
        "id": noun.id,
        "source": noun.source,
        "surveyed_at": instant(noun.surveyed_at),
        "accuracy_m": float(noun.accuracy_m),
        "complete": noun.complete,
        "rejected": {str(line): reason for line, reason in noun.rejected},
    }


def surveyed_row(code: str, survey_id: str, noun: SurveyedThing) -> dict[str, Any]:
    return {
        "code": code,
        "survey_id": survey_id,
        "line": noun.line,
        "class_name": noun.class_name,
        "facing_deg": noun.facing_deg,
        "name": noun.name,
        "geom": point(noun.lon, noun.lat),
    }


def to_survey(row: Row[Any], things: Iterable[Row[Any]]) -> Survey:
    listed = (SurveyedThing(one.line, one.class_name, one.lon, one.lat, one.facing_deg, one.name) for one in things)
    return Survey(
        id=row.id,
        source=row.source,
        surveyed_at=row.surveyed_at,
        accuracy_m=row.accuracy_m,
        complete=row.complete,
        things=tuple(sorted(listed, key=lambda one: one.line)),
        rejected=tuple(sorted((int(line), reason) for line, reason in row.rejected.items())),
    )


def to_release(row: Row[Any]) -> Release:
    return Release(row.code, row.name, row.url, row.intersections, row.objects, row.sha256)


def instant(value: datetime) -> datetime:
    """The value, if it says its time zone."""
    if value.tzinfo is None:
        raise ValueError(f"instant {value.isoformat()} has no time zone; Kryss keeps UTC instants only")
    return value
