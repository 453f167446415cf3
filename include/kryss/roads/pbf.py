"""OpenStreetMap from a local extract (``.osm.pbf``): the same elements as the Overpass API would give for a boundary.

Read with pyosmium. Extracts: https://download.geofabrik.de or `osmium extract`. Node locations are kept in memory (16 bytes a
node of the file), so cut a country's extract to the region first.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import osmium
import shapely
from osmium.osm import Node, Way
from shapely.geometry import shape

from kryss.roads.overpass import CONTROLS, HIGHWAYS, Element, covering_region, unique

log = logging.getLogger(__name__)


class PbfError(ValueError):
    """An extract that cannot be used."""


def read_pbf(source: str | Path, boundary: dict[str, Any]) -> list[Element]:
    """Ways that cars may use, with geometry, and control nodes, in and just around the boundary, as Overpass tells them.

    ``source`` is a path or ``file://`` URL. A place that the extract does not hold is None in ``geometry``, as in an answer of
    Overpass. PbfError for a file that is missing, broken, or holds no such way there.
    """
    path = Path(str(source).removeprefix("file://"))
    if not path.is_file():
        raise PbfError(f"{path}: no such file; services.osm_pbf is the path of an .osm.pbf extract")
    region = covering_region(shape(boundary))
    shapely.prepare(region)
    try:
        elements = unique(list(_elements(path, region)))
    except (RuntimeError, OSError) as error:
        raise PbfError(f"{path}: not a readable OpenStreetMap extract ({error}); download or cut it again") from None
    ways = sum(element["type"] == "way" for element in elements)
    if not ways:
        raise PbfError(f"{path}: holds no road for cars inside the boundary; does the extract cover the municipality?")
    log.info("%s: %d ways, %d control nodes", path, ways, len(elements) - ways)
    return elements


def _elements(path: Path, region: shapely.Geometry) -> Iterator[Element]:
    tagged = osmium.FileProcessor(str(path), osmium.osm.NODE | osmium.osm.WAY)
    for item in tagged.with_locations().with_filter(osmium.filter.KeyFilter("highway")):
        kind = item.tags["highway"]
        if isinstance(item, Node) and kind in CONTROLS and item.location.valid():
            node = {"type": "node", "id": item.id, "lat": item.lat, "lon": item.lon, "tags": dict(item.tags)}
            if region.covers(shapely.Point(node["lon"], node["lat"])):
                yield node
        elif isinstance(item, Way) and kind in HIGHWAYS:
            places = [(n.location.lon, n.location.lat) if n.location.valid() else None for n in item.nodes]
            known = [place for place in places if place]
            if known and region.intersects(shapely.LineString(known) if len(known) > 1 else shapely.Point(known[0])):
                yield {
                    "type": "way",
                    "id": item.id,
                    "nodes": [n.ref for n in item.nodes],
                    "tags": dict(item.tags),
                    "geometry": [{"lat": place[1], "lon": place[0]} if place else None for place in places],
                }
