"""Where a municipality ends: from Kartverket's kommuneinfo, from an OpenStreetMap relation, or from a GeoJSON file.

Formats: contracts/nvdb-api.md section 7, contracts/osm-overpass.md section 5 query 1. Every boundary is made valid
(shapely ``make_valid``; parts that are no areas are dropped) and is GeoJSON, WGS84, outer rings counter-clockwise (RFC 7946).
"""

from __future__ import annotations

import difflib
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import shapely
from shapely.geometry import mapping, shape

from kryss.config import MunicipalityConfig, Settings
from kryss.http import Gone, RequestFailed, Service, ServiceError
from kryss.roads.overpass import OverpassClient

log = logging.getLogger(__name__)

KOMMUNEINFO_URL = "https://api.kartverket.no/kommuneinfo/v1"
CODE_KEYS = ("kommunenummer", "code", "ref", "id")
ADMIN_LEVELS = {"NO": "7", "SE": "7", "DK": "7", "FI": "8", "DE": "8"}
"""admin_level of municipalities (contracts/osm-overpass.md section 5: differs by country). Others: ``overpass:<level>``."""


class MunicipalityNotFound(LookupError):  # noqa: N818 (the name of design/style.md)
    """No municipality of that code; the message suggests codes that exist."""


class BoundaryError(ValueError):
    """A boundary that is there but cannot be used."""


class KommuneinfoClient:
    """Kartverket's register of municipalities."""

    def __init__(self, base_url: str = KOMMUNEINFO_URL, *, time_scale: float | None = None):
        self.service = Service("kommuneinfo", base_url, time_scale=time_scale)

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ, base_url: str | None = None, **options: Any) -> Self:
        """``KRYSS_KOMMUNEINFO_URL`` or the public address."""
        return cls(base_url or env.get("KRYSS_KOMMUNEINFO_URL") or KOMMUNEINFO_URL, **options)

    def close(self) -> None:
        self.service.close()

    def numbers(self) -> list[str]:
        return [entry["kommunenummer"] for entry in self.service.get_json("/kommuner")]

    def boundary(self, number: str) -> dict[str, Any]:
        """GeoJSON of the municipality; MunicipalityNotFound for a number that the register does not know."""
        number = number.zfill(4) if number.isdigit() else number
        try:
            answer = self.service.get_json(f"/kommuner/{number}/omrade", {"utkoordsys": "4258"})
        except (RequestFailed, Gone) as error:
            if error.status != 404:
                raise
            raise not_found(number, "kommuneinfo", self._known_numbers()) from None
        return cleaned(answer.get("omrade", answer), f"kommuneinfo, municipality {number}")

    def _known_numbers(self) -> list[str]:
        try:
            return self.numbers()
        except ServiceError as error:
            log.info("no suggestions from kommuneinfo: %s", error)
            return []


def load_boundary(config: MunicipalityConfig, settings: Settings) -> dict[str, Any]:
    """The boundary of a configured municipality: ``kommuneinfo``, ``overpass``, ``overpass:<admin_level>`` or a file."""
    if config.boundary == "kommuneinfo":
        register = KommuneinfoClient.from_env(base_url=config.services.kommuneinfo, time_scale=settings.retry_time_scale)
        try:
            return register.boundary(config.official_code)
        finally:
            register.close()
    source, _, level = config.boundary.partition(":")
    if source == "overpass":
        overpass = OverpassClient.from_env(
            url=config.services.overpass,
            user_agent=settings.user_agent,
            time_scale=settings.retry_time_scale,
            share=settings.rate_share,
        )
        try:
            return boundary_from_overpass(overpass, config.official_code, level or ADMIN_LEVELS.get(config.country, "8"))
        finally:
            overpass.close()
    return boundary_from_file(config.boundary, config.official_code)


def boundary_from_overpass(client: OverpassClient, ref: str, admin_level: str, key: str = "ref") -> dict[str, Any]:
    """The boundary relation with the given number, stitched."""
    relations = client.boundary_relations(ref, admin_level, key)
    if not relations:
        raise MunicipalityNotFound(
            f"no municipality with {key}={ref!r} at admin_level {admin_level} in OpenStreetMap; check the number, or "
            "give boundary: overpass:<admin_level>"
        )
    if len(relations) > 1:
        ids = ", ".join(str(relation["id"]) for relation in relations)
        raise BoundaryError(f"{key}={ref!r} at admin_level {admin_level} fits several relations ({ids}); use a file")
    return boundary_of_relation(relations[0])


def boundary_of_relation(relation: Mapping[str, Any]) -> dict[str, Any]:
    """Outer rings less inner rings of a relation from ``out geom``; its ways come in any order and direction."""
    what = f"OpenStreetMap relation {relation.get('id')}"
    outer = _areas(_member_lines(relation, ("outer", "")), what)
    inner = _areas(_member_lines(relation, ("inner",)), what)
    return cleaned(mapping(outer.difference(inner)), what)


def boundary_from_file(path: str | Path, code: str) -> dict[str, Any]:
    """From a GeoJSON geometry, Feature or FeatureCollection, or the ``area.json`` of a recorded area.

    In a collection of several features the one is taken whose ``kommunenummer`` (or ``code``, ``ref``, ``id``) is the code.
    """
    file = Path(str(path).removeprefix("file://"))
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BoundaryError(f"{file}: no such file; boundary is kommuneinfo, overpass or the path of a GeoJSON file") from None
    except ValueError as error:
        raise BoundaryError(f"{file}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BoundaryError(f"{file}: holds {type(document).__name__}, expected GeoJSON")
    if "features" in document:
        return cleaned(_feature_of(document["features"], code, file)["geometry"], f"{file}, municipality {code}")
    geometry = document.get("geometry") or document.get("boundary") or document
    return cleaned(geometry, str(file))


def cleaned(geometry: Any, what: str) -> dict[str, Any]:
    """A valid GeoJSON Polygon or MultiPolygon without ``crs``; ``what`` names it in errors."""
    try:
        region = shape(geometry)
    except Exception as error:  # shapely raises many kinds for malformed GeoJSON
        raise BoundaryError(f"{what}: not a GeoJSON geometry ({type(error).__name__}: {error})") from None
    if not region.is_valid:
        log.info("%s: repaired, it was invalid: %s", what, shapely.is_valid_reason(region))
    region = _polygons(shapely.force_2d(region if region.is_valid else shapely.make_valid(region)))
    if region.is_empty:
        raise BoundaryError(f"{what}: {geometry.get('type')} without an area; a boundary is a Polygon or MultiPolygon")
    west, south, east, north = region.bounds
    if west < -180 or east > 180 or south < -90 or north > 90:
        raise BoundaryError(f"{what}: reaches to {west:g}..{east:g}, {south:g}..{north:g}; expected degrees, [lon, lat]")
    return json.loads(json.dumps(mapping(shapely.orient_polygons(region))))


def not_found(code: str, where: str, known: Iterable[str]) -> MunicipalityNotFound:
    near = difflib.get_close_matches(code, sorted(set(known)), n=3, cutoff=0.7)
    hint = f"did you mean {' or '.join(near)}?" if near else "check the code in the municipalities file"
    return MunicipalityNotFound(f"no municipality {code!r} in {where}; {hint}")


def _feature_of(features: Sequence[Mapping[str, Any]], code: str, file: Path) -> Mapping[str, Any]:
    by_code: dict[str, Mapping[str, Any]] = {}
    for feature in features:
        tags = feature.get("properties") or {}
        found = next((tags[key] for key in CODE_KEYS if tags.get(key) is not None), feature.get("id"))
        if found is not None:
            by_code[str(found)] = feature
    wanted = [code, code.zfill(4), code.lstrip("0")] if code.isdigit() else [code]
    match = next((by_code[key] for key in wanted if key in by_code), None)
    if match is not None:
        return match
    if len(features) == 1 and not by_code:
        return features[0]
    raise not_found(code, str(file), by_code)


def _member_lines(relation: Mapping[str, Any], roles: tuple[str, ...]) -> list[shapely.LineString]:
    lines = []
    for member in relation.get("members", ()):
        if member.get("type") == "way" and member.get("role", "") in roles:
            positions = [(node["lon"], node["lat"]) for node in member.get("geometry") or () if node]
            if len(positions) >= 2:
                lines.append(shapely.LineString(positions))
    return lines


def _areas(lines: list[shapely.LineString], what: str) -> shapely.Geometry:
    """The areas that the lines enclose."""
    faces, cuts, dangles, _ = shapely.polygonize_full(shapely.get_parts(shapely.union_all(lines)))
    loose = len(shapely.get_parts(cuts)) + len(shapely.get_parts(dangles))
    if loose:
        raise BoundaryError(f"{what}: its ways do not close ({loose} loose pieces); it came in part or is broken: use a file")
    return shapely.union_all(shapely.get_parts(faces))


def _polygons(geometry: shapely.Geometry) -> shapely.Geometry:
    """The areas of a geometry; points and lines, which repairs leave behind, are dropped."""
    parts = shapely.get_parts(shapely.get_parts(geometry))
    areas = [part for part in parts if part.geom_type == "Polygon" and not part.is_empty]
    return areas[0] if len(areas) == 1 else shapely.MultiPolygon(areas)
