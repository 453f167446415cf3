"""``./kryss record``: a municipality, or a part of it, from the live services into a folder that can be played back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shapely.geometry import box, mapping, shape

from kryss.config import ConfigError, MunicipalityConfig, Settings
from kryss.demo.record import record_area
from kryss.demo.record_roads import RoadClients
from kryss.imagery import client_for
from kryss.model import Municipality
from kryss.roads.boundary import load_boundary
from kryss.roads.nvdb import NvdbClient
from kryss.roads.overpass import OverpassClient


def part_of(boundary: dict, bbox: str | None) -> dict:
    """The part of a boundary inside ``west,south,east,north``."""
    if bbox is None:
        return boundary
    try:
        west, south, east, north = (float(part) for part in bbox.split(","))
        window = box(west, south, east, north)
    except ValueError:
        raise ConfigError(f"--bbox {bbox!r}: expected west,south,east,north in degrees") from None
    part = shape(boundary).intersection(window)
    if part.is_empty or part.geom_type not in {"Polygon", "MultiPolygon"}:
        raise ConfigError(f"--bbox {bbox!r}: nothing of the municipality lies in it")
    return mapping(part)


def record(config: MunicipalityConfig, settings: Settings, out: Path, bbox: str | None, limit: int | None) -> int:
    """Records into ``out`` and says what was recorded and what was left out."""
    if not settings.token_for(config.services):
        raise ConfigError("Mapillary needs a token: set KRYSS_MAPILLARY_TOKEN")
    if config.roads == "pbf":
        raise ConfigError(f"municipality {config.code}: roads of an extract are not recorded; set roads: overpass to record")
    if config.roads == "objects":
        raise ConfigError(f"municipality {config.code}: roads is objects: there are none to record")
    services = config.services
    waits: dict[str, Any] = {"time_scale": settings.retry_time_scale, "share": settings.rate_share}
    client = client_for(config, settings)
    boundary = part_of(load_boundary(config, settings), bbox)
    recording = record_area(
        out,
        client,
        Municipality(config.official_code, config.name, config.country, boundary),
        config.roads,
        RoadClients(
            nvdb=NvdbClient.from_env(base_url=services.nvdb, **waits) if config.roads == "nvdb" else None,
            overpass=OverpassClient.from_env(url=services.overpass, **waits) if config.roads == "overpass" else None,
            junctions=services.junctions,
        ),
        size=config.photo_size,
        workers=settings.download_workers,
        limit=limit,
    )
    client.close()
    print(f"recorded {recording.images} photos into {recording.path}; {len(recording.left_out)} left out")
    for image_id, reason in recording.left_out:
        print(f"  {image_id}: {reason}")
    return 0
