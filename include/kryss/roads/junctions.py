"""The intersections of a municipality: from NVDB, from OpenStreetMap, or from a file of junction points."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import shapely
from shapely.geometry import shape

from kryss.config import MunicipalityConfig, RoadSource, Settings
from kryss.http import Service
from kryss.model import Intersection
from kryss.roads.areas import DECIMALS, AreaMethod, square_area, with_areas
from kryss.roads.consolidate import node_order
from kryss.roads.network import DEFAULT_LIMIT_KMH, intersections_of
from kryss.roads.nvdb import NvdbClient
from kryss.roads.nvdb_network import network_from_nvdb, nvdb_answers
from kryss.roads.osm_network import network_from_overpass
from kryss.roads.overpass import OverpassClient
from kryss.roads.pbf import read_pbf

log = logging.getLogger(__name__)

Json = dict[str, Any]


class JunctionsError(ValueError):
    """A file of junctions that cannot be used."""


def intersections_for(config: MunicipalityConfig, settings: Settings, boundary: Json) -> list[Intersection]:
    """The intersections of a configured municipality, from its source of roads."""
    services = config.services
    waits: dict[str, Any] = {"time_scale": settings.retry_time_scale, "share": settings.rate_share}
    if config.roads == "junctions":
        points = services.junctions or os.environ.get("KRYSS_JUNCTIONS_URL")
        if not points:
            raise JunctionsError(
                f"municipality {config.code}: roads is junctions, but neither services.junctions nor KRYSS_JUNCTIONS_URL names "
                "a file or URL"
            )
        return load_junctions("junctions", boundary, points, area=config.area)
    if config.roads == "pbf":
        if not services.osm_pbf:
            raise JunctionsError(f"municipality {config.code}: roads is pbf, but services.osm_pbf names no .osm.pbf file")
        return load_junctions("pbf", boundary, services.osm_pbf, area=config.area)
    client: NvdbClient | OverpassClient
    if config.roads == "nvdb":
        client = NvdbClient.from_env(base_url=services.nvdb, x_client=settings.nvdb_client, **waits)
    else:
        client = OverpassClient.from_env(url=services.overpass, user_agent=settings.user_agent, **waits)
    try:
        return load_junctions(config.roads, boundary, client, area=config.area)
    finally:
        client.close()


def load_junctions(
    kind: RoadSource,
    boundary: Json,
    source: NvdbClient | OverpassClient | str | Path,
    default_limit_kmh: float = DEFAULT_LIMIT_KMH,
    area: AreaMethod = "square",
) -> list[Intersection]:
    """Intersections inside the boundary, by id, with areas that do not overlap.

    ``source`` is a client, for ``pbf`` the path of an extract, for ``junctions`` a path or http URL.
    """
    if isinstance(source, NvdbClient):
        network = network_from_nvdb(nvdb_answers(source, boundary))
    elif isinstance(source, OverpassClient):
        network = network_from_overpass([*source.roads(boundary), *source.controls(boundary)])
    elif kind == "pbf":
        network = network_from_overpass(read_pbf(source, boundary))
    elif kind == "junctions":
        return with_areas(intersections_from_points(read_points(source), boundary, str(source)), area)
    else:
        raise TypeError(f"roads {kind!r} need their client, not {source!r}")
    if network.left_out:
        log.warning("%s: left out %s", kind, ", ".join(f"{count} ({reason})" for reason, count in network.left_out.items()))
    found = intersections_of(network, boundary, default_limit_kmh)
    log.info("%s: %d links, %d nodes, %d intersections", kind, len(network.links), len(network.nodes), len(found))
    return with_areas(found, area)


def read_points(source: str | Path) -> Json:
    """The GeoJSON of a path, ``file://`` URL or http URL."""
    text = str(source)
    parts = urlsplit(text)
    if parts.scheme in ("http", "https"):
        service = Service("junctions", f"{parts.scheme}://{parts.netloc}")
        try:
            return service.get_json(parts.path + (f"?{parts.query}" if parts.query else ""))
        finally:
            service.close()
    path = Path(text.removeprefix("file://"))
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise JunctionsError(f"{path}: no such file of junctions") from None
    except ValueError as error:
        raise JunctionsError(f"{path}: not JSON: {error}") from None


def intersections_from_points(collection: Json, boundary: Json, what: str) -> list[Intersection]:
    """Junction points with ``speed_limit_kmh``; each is named by its Feature id."""
    region = shape(boundary)
    shapely.prepare(region)
    found: dict[str, Intersection] = {}
    for number, feature in enumerate(collection.get("features", ())):
        where = f"{what}: features[{number}]"
        tags, identity = feature.get("properties") or {}, feature.get("id")
        limit, place = tags.get("speed_limit_kmh"), (feature.get("geometry") or {}).get("coordinates") or ()
        if identity in (None, "") or f"area:{identity}" in found:
            raise JunctionsError(f"{where}: every junction needs a Feature id of its own, found {identity!r}")
        if not isinstance(limit, (int, float)) or not limit > 0 or len(place) < 2:
            raise JunctionsError(f"{where}: needs a Point and speed_limit_kmh above zero, found {place!r} and {limit!r}")
        lon, lat = (round(float(value), DECIMALS) for value in place[:2])
        if region.covers(shapely.Point(lon, lat)):
            key = f"area:{identity}"
            found[key] = Intersection(
                id=key,
                source="area",
                lon=lon,
                lat=lat,
                speed_limit_kmh=float(limit),
                area=square_area(lon, lat, float(limit)),
                name=tags.get("name"),
                kind=tags.get("kind"),
                arms=tags.get("arms"),
                members=(str(identity),),
            )
    return sorted(found.values(), key=lambda junction: node_order(junction.members[0]))
