"""Write the roads of a recorded area from live services, with the clients of a refresh.

Items come in an order of their own (by id), one a line, so that recording the same answers again gives the same bytes.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import shape

from kryss.demo.area import RoadsKind
from kryss.roads.junctions import read_points
from kryss.roads.nvdb import NvdbClient
from kryss.roads.nvdb_network import nvdb_answers
from kryss.roads.overpass import OverpassClient, unique

log = logging.getLogger(__name__)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RoadClients:
    """The source that the kind of roads needs; the others may be None."""

    nvdb: NvdbClient | None = None
    overpass: OverpassClient | None = None
    junctions: str | None = None
    """Path or URL of a GeoJSON of junction points."""


def record_roads(
    out_dir: Path,
    kind: RoadsKind,
    clients: RoadClients,
    boundary: Json,
    boundary_ref: tuple[str, str] | None = None,
) -> list[Path]:
    """Write ``roads/...`` below ``out_dir`` and return the files. ``boundary_ref``: ``(ref, admin_level)`` of the municipality,
    to record its OpenStreetMap relation too."""
    roads = Path(out_dir) / "roads"
    if kind == "nvdb" and clients.nvdb:
        answers = nvdb_answers(clients.nvdb, boundary)
        return [_write(roads / "nvdb" / f"{name}.json", lines_of(sorted(items, key=_key))) for name, items in answers.items()]
    if kind == "overpass" and clients.overpass:
        client = clients.overpass
        relations = client.boundary_relations(*boundary_ref) if boundary_ref else []
        elements = unique([*relations, *client.roads(boundary), *client.controls(boundary)])
        head = json.dumps({"version": 0.6, "generator": "Overpass API", "osm3s": client.osm3s}, ensure_ascii=False)
        return [_write(roads / "overpass.json", f'{head[:-1]}, "elements": {lines_of(elements)[:-1]}}}\n')]
    if kind == "junctions" and clients.junctions:
        region = shape(boundary)
        features = [
            feature
            for feature in read_points(clients.junctions).get("features", ())
            if region.covers(shapely.Point(feature["geometry"]["coordinates"][:2]))
        ]
        features.sort(key=lambda feature: str(feature.get("id")))
        text = f'{{"type": "FeatureCollection", "features": {lines_of(features)[:-1]}}}\n'
        return [_write(roads / "junctions.geojson", text)]
    raise ValueError(f"cannot record roads of kind {kind!r}: no source for it was given (nvdb, overpass or junctions)")


def lines_of(items: Iterable[Json]) -> str:
    """A JSON array with one item a line."""
    rows = ",\n".join(json.dumps(item, ensure_ascii=False, allow_nan=False) for item in items)
    return f"[\n{rows}\n]\n" if rows else "[]\n"


def _key(item: Json) -> tuple[Any, ...]:
    network = ("veglenkesekvensid", "veglenkenummer", "segmentnummer", "startposisjon")
    return (item["id"],) if "id" in item else tuple(item.get(name, 0) for name in network)


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    log.info("recorded %s, %d bytes", path, len(text))
    return path
