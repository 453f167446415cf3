"""A Mapillary image entity (contracts/mapillary-api-v4.md section 4) becomes an Image, or a reason why it cannot be
used."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard

from kryss.model import Image, Pose

IMAGE_FIELDS = (
    *("id", "sequence", "captured_at", "width", "height", "exif_orientation"),
    *("geometry", "compass_angle", "altitude"),
    *("computed_geometry", "computed_compass_angle", "computed_altitude", "computed_rotation"),
    *("camera_type", "camera_parameters", "is_pano", "make", "model", "creator"),
)
RECORDED_FIELDS = (
    *IMAGE_FIELDS,
    *("atomic_scale", "merge_cc", "quality_score", "mesh", "sfm_cluster", "organization", "on_foot"),
)
"""What a recorded area keeps: everything but detections and the links, which expire."""

EARLIEST_MS = 315_532_800_000
"""1980-01-01, before any digital street photo."""
LATEST_MS = 4_102_444_800_000
"""2100-01-01."""


class MalformedImageError(ValueError):
    """An entity that cannot become an Image; the message is the reason."""


def parse_image(entity: Any) -> Image:
    """The Image of an entity; MalformedImageError with the reason where the entity is no use.

    A malformed position is dropped where the other one is good; both missing or bad is a reason to reject.
    """
    if not isinstance(entity, dict):
        raise MalformedImageError(f"the entity is {type(entity).__name__}, not an object")
    image_id = entity.get("id")
    if not (isinstance(image_id, str) and image_id.isdigit()):
        raise MalformedImageError(f"id is {image_id!r}, not a string of digits")
    sequence_id = entity.get("sequence")
    if not (isinstance(sequence_id, str) and sequence_id):
        raise MalformedImageError(f"sequence is {sequence_id!r}, not a string")
    captured_at = _instant(entity.get("captured_at"))
    width, height = (_size(entity, name) for name in ("width", "height"))
    gps = _pose(entity, "gps", "geometry", "altitude", "compass_angle")
    sfm = _pose(entity, "sfm", "computed_geometry", "computed_altitude", "computed_compass_angle")
    if gps is None and sfm is None:
        raise MalformedImageError("; ".join(_position_fault(entity, name) for name in ("geometry", "computed_geometry")))
    is_pano = entity.get("is_pano") is True
    creator = entity.get("creator")
    orientation: Any = entity.get("exif_orientation")
    return Image(
        id=image_id,
        sequence_id=sequence_id,
        captured_at=captured_at,
        width=width,
        height=height,
        gps=gps,
        sfm=sfm,
        camera_type=_camera_type(entity.get("camera_type"), is_pano),
        camera_parameters=_camera_parameters(entity.get("camera_parameters")),
        exif_orientation=int(orientation) if orientation in range(1, 9) else 1,
        is_pano=is_pano,
        make=_text(entity.get("make")),
        model=_text(entity.get("model")),
        creator=_text(creator.get("username")) if isinstance(creator, dict) else None,
    )


def _instant(value: Any) -> datetime:
    if not _is_number(value):
        raise MalformedImageError("captured_at is missing" if value is None else f"captured_at is {value!r}, not milliseconds")
    if not EARLIEST_MS <= value < LATEST_MS:
        raise MalformedImageError(f"captured_at is {value!r}, outside 1980 to 2100 in milliseconds")
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(value))


def _size(entity: dict[str, Any], name: str) -> int:
    value: Any = entity.get(name)
    if not _is_number(value) or value < 1 or int(value) != value:
        raise MalformedImageError(f"{name} is {value!r}, not a positive whole number")
    return int(value)


def _pose(entity: dict[str, Any], origin: Any, geometry: str, altitude: str, heading: str) -> Pose | None:
    if _position_fault(entity, geometry):
        return None
    lon, lat = entity[geometry]["coordinates"][:2]
    angle, height_m = entity.get(heading), entity.get(altitude)
    rotation = entity.get("computed_rotation") if origin == "sfm" else None
    if not (isinstance(rotation, list) and len(rotation) == 3 and all(map(_is_number, rotation))):
        rotation = None
    return Pose(
        origin=origin,
        lon=float(lon),
        lat=float(lat),
        altitude_m=float(height_m) if _is_number(height_m) else None,
        heading_deg=float(angle) % 360 if _is_number(angle) else None,
        rotation=(float(rotation[0]), float(rotation[1]), float(rotation[2])) if rotation else None,
    )


def _position_fault(entity: dict[str, Any], name: str) -> str:
    """What is wrong with a position; empty where it is good."""
    value = entity.get(name)
    if value is None:
        return f"{name} is missing"
    coordinates = value.get("coordinates") if isinstance(value, dict) and value.get("type") == "Point" else None
    if not (isinstance(coordinates, list) and len(coordinates) in (2, 3) and all(map(_is_number, coordinates[:2]))):
        return f"{name} is no point with two finite numbers"
    lon, lat = coordinates[:2]
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        return f"{name} is at longitude {lon}, latitude {lat}, outside the globe"
    return ""


def _camera_type(value: Any, is_pano: bool) -> str:
    """``perspective``, ``fisheye`` or ``spherical``; MapillaryJS treats what it does not know as perspective."""
    if value in ("spherical", "equirectangular") or (value is None and is_pano):
        return "spherical"
    return "fisheye" if value == "fisheye" else "perspective"


def _camera_parameters(value: Any) -> tuple[float, float, float] | None:
    """Focal length, k1, k2, padded with zeros; None without a positive focal length."""
    if not (isinstance(value, list) and value and all(map(_is_number, value)) and value[0] > 0):
        return None
    focal, k1, k2 = (*map(float, value[:3]), 0.0, 0.0)[:3]
    return focal, k1, k2


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
