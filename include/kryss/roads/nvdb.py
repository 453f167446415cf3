"""NVDB API Les v4 of Statens vegvesen: the road network and the road objects that make a junction (contracts/nvdb-api.md).

Answers are kept as the service gives them (``objekter``); ``nvdb_network.py`` reads them, ``record`` writes them down. Always
asked with srid=5973, which avoids the latitude-first order of srid=4326.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any, Self

import shapely
from shapely.geometry import shape

from kryss.http import RequestFailed, Service
from kryss.roads.wkt import utm33

log = logging.getLogger(__name__)

BASE_URL = "https://nvdbapiles.atlas.vegvesen.no"
SRID = 5973
PAGE_SIZE = 1000
MAX_RING_VERTICES = 40
MARGIN_M = 100.0
"""Roads this far outside the boundary are asked for too, so that junctions on it keep their arms."""
JUNCTION, SIGNALS, SPEED_LIMIT = 37, 89, 105

Where = Mapping[str, str]


def kommune_filter(number: str | int) -> Where:
    """Everything of one municipality; NVDB writes its number without a leading zero."""
    return {"kommune": str(int(number))}


def polygon_filter(boundary: dict[str, Any]) -> Where:
    """Everything inside one ring around the boundary, of few corners so that it fits into a URL."""
    ring = covering_ring(utm33(shape(boundary)), MARGIN_M, MAX_RING_VERTICES)
    return {"polygon": ", ".join(f"{x:.0f} {y:.0f}" for x, y in ring)}


def covering_ring(region: shapely.Geometry, margin: float, max_vertices: int) -> list[tuple[float, float]]:
    """Closed ring of at most ``max_vertices`` corners that holds every point within ``margin`` of the region."""
    outline = region.buffer(margin)
    if outline.geom_type != "Polygon":
        outline = outline.convex_hull
    outline = shapely.Polygon(outline.exterior)
    tolerance, ring = margin, outline
    while len(ring.exterior.coords) - 1 > max_vertices:
        # Simplifying moves the line inwards by at most the tolerance, which the buffer gives beforehand.
        ring = shapely.Polygon(outline.buffer(tolerance).exterior).simplify(tolerance)
        tolerance *= 2
    if not ring.covers(region):
        ring = outline.envelope
    return list(ring.exterior.coords)


class NvdbClient:
    """Reads NVDB v4. ``x_client`` names the system that asks (mandatory), ``contact`` is a mail address (optional)."""

    def __init__(
        self,
        base_url: str = BASE_URL,
        x_client: str = "kryss",
        contact: str | None = None,
        *,
        page_size: int = PAGE_SIZE,
        time_scale: float | None = None,
        share: float = 1.0,
    ):
        headers = {"X-Client": x_client, "Accept": "application/json"}
        if contact:
            headers["X-Kontaktperson"] = contact
        self.service = Service("nvdb", base_url, headers=headers, time_scale=time_scale, share=share)
        self.page_size = page_size

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ, base_url: str | None = None, **options: Any) -> Self:
        """``KRYSS_NVDB_URL``, ``KRYSS_NVDB_CLIENT`` and ``KRYSS_NVDB_CONTACT``, each with a default."""
        options.setdefault("x_client", env.get("KRYSS_NVDB_CLIENT") or "kryss")
        options.setdefault("contact", env.get("KRYSS_NVDB_CONTACT"))
        return cls(base_url or env.get("KRYSS_NVDB_URL") or BASE_URL, **options)

    def close(self) -> None:
        self.service.close()

    def segments(self, where: Where) -> Iterator[dict[str, Any]]:
        """Segments of roads for vehicles on the level of centre lines."""
        for_cars = {"trafikantgruppe": "K", "detaljniva": "VT,VTKB"}
        return self._pages("/vegnett/api/v4/veglenkesekvenser/segmentert", {**where, **for_cars})

    def nodes(self, where: Where) -> Iterator[dict[str, Any]]:
        return self._pages("/vegnett/api/v4/noder", where)

    def objects(self, type_id: int, where: Where) -> Iterator[dict[str, Any]]:
        """Road objects of a type with their properties, position on the network and geometry."""
        blocks = {"inkluder": "metadata,egenskaper,lokasjon,geometri"}
        return self._pages(f"/vegobjekter/api/v4/vegobjekter/{type_id}", {**where, **blocks})

    def municipalities(self) -> list[dict[str, Any]]:
        """``nummer`` (int), ``navn``, ``fylke`` of every municipality."""
        return self.service.get_json("/omrader/api/v4/kommuner")

    def _pages(self, path: str, where: Where) -> Iterator[dict[str, Any]]:
        """Every object of every page. The service never says that a page is the last: it goes on with empty pages and the
        same cursor for ever (contract, section 3.2)."""
        params = {**where, "srid": str(SRID), "antall": str(self.page_size)}
        cursor, found = None, 0
        seen: set[str] = set()
        while True:
            page = self.service.get_json(path, {**params, **({"start": cursor} if cursor else {})})
            objects = page.get("objekter") if isinstance(page, dict) else None
            if not isinstance(objects, list):
                raise RequestFailed("nvdb", path, "the answer holds no list 'objekter'; is the base URL that of NVDB v4?")
            yield from objects
            found += len(objects)
            metadata = page.get("metadata", {})
            following = metadata.get("neste", {}).get("start")
            if not objects or metadata.get("returnert") == 0 or not following or following in seen:
                log.info("nvdb %s: %d objects", path, found)
                return
            cursor = following
            seen.add(cursor)
