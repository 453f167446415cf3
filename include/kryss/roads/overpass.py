"""OpenStreetMap through the Overpass API: roads, control nodes and municipality boundaries (contracts/osm-overpass.md).

Answers are kept as elements; ``osm_network.py`` and ``boundary.py`` read them, ``record`` writes them down.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit

import shapely
from shapely.geometry import shape

from kryss.http import RateLimiter, RequestFailed, Service, ServiceError, SplitRequest
from kryss.roads.areas import metres_per_degree
from kryss.roads.nvdb import covering_ring

log = logging.getLogger(__name__)

URL = "https://overpass-api.de/api/interpreter"
USER_AGENT = "kryss/0.1 (dated map layer of road intersections)"
SERVER_TIMEOUT_S = 180
SETTINGS = f"[out:json][timeout:{SERVER_TIMEOUT_S}];"
HIGHWAYS = (
    "motorway", "trunk", "primary", "secondary", "tertiary", "unclassified", "residential", "living_street",
    "motorway_link", "trunk_link", "primary_link", "secondary_link", "tertiary_link", "road",
)  # fmt: skip
"""Query 2 of section 5 without ``service``, which would make every drive a junction."""
CONTROLS = ("traffic_signals", "stop", "give_way", "crossing", "mini_roundabout", "motorway_junction", "turning_circle")
MAX_RING_VERTICES = 200
MARGIN_M = 100.0
MAX_SPLITS = 4
"""A query that fails on a part of the area is cut in four at most this often."""

Element = dict[str, Any]


def roads_query(where: str) -> str:
    return f'{SETTINGS}way["highway"~"^({"|".join(HIGHWAYS)})$"]{where};out body geom;'


def controls_query(where: str) -> str:
    return f'{SETTINGS}node["highway"~"^({"|".join(CONTROLS)})$"]{where};out body;'


def boundary_query(ref: str, admin_level: str, key: str = "ref") -> str:
    """``key`` is ``ref`` (the official number) or ``wikidata``."""
    for text in (ref, admin_level, key):
        if not re.fullmatch(r"[\w:.-]+", text):
            raise ValueError(f"{text!r} cannot be part of an Overpass query; give a municipality number such as 5001")
    tags = f'["boundary"="administrative"]["admin_level"="{admin_level}"]["{key}"="{ref}"]'
    return f"{SETTINGS}relation{tags};out geom;"


def covering_region(region: shapely.Geometry) -> shapely.Polygon:
    """A polygon of few corners around a WGS84 region and its margin."""
    east_m, _ = metres_per_degree(region.centroid.y)
    return shapely.Polygon(covering_ring(region, MARGIN_M / east_m, MAX_RING_VERTICES))


def poly_filter(region: shapely.Geometry) -> str:
    """The filter for a ring around a WGS84 region, latitude first."""
    ring = covering_region(region).exterior.coords
    return '(poly:"' + " ".join(f"{lat:.6f} {lon:.6f}" for lon, lat in ring[:-1]) + '")'


class OverpassClient:
    """Asks one Overpass instance, with the patience that its usage policy wants."""

    def __init__(
        self,
        url: str = URL,
        user_agent: str = USER_AGENT,
        *,
        time_scale: float | None = None,
        share: float = 1.0,
        limiter: RateLimiter | None = None,
    ):
        parts = urlsplit(url)
        path = parts.path.rstrip("/").removesuffix("/interpreter") or "/api"
        self.service = Service(
            "overpass",
            f"{parts.scheme}://{parts.netloc}{path}",
            headers={"User-Agent": user_agent, "Accept-Language": "en"},
            read_timeout_s=SERVER_TIMEOUT_S + 20,
            time_scale=time_scale,
            share=share,
            limiter=limiter,
        )
        self.osm3s: dict[str, str] = {}
        """Copyright and data timestamp of the latest answer."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ, url: str | None = None, **options: Any) -> Self:
        """``KRYSS_OVERPASS_URL`` and ``KRYSS_USER_AGENT``, each with a default."""
        options.setdefault("user_agent", env.get("KRYSS_USER_AGENT") or USER_AGENT)
        return cls(url or env.get("KRYSS_OVERPASS_URL") or URL, **options)

    def close(self) -> None:
        self.service.close()

    def roads(self, boundary: dict[str, Any]) -> list[Element]:
        """Ways that cars may use, with geometry, in and just around the boundary."""
        return self._over(shape(boundary), roads_query)

    def controls(self, boundary: dict[str, Any]) -> list[Element]:
        """Traffic signals, stop and give-way lines, mini roundabouts and the like as nodes."""
        return self._over(shape(boundary), controls_query)

    def boundary_relations(self, ref: str, admin_level: str, key: str = "ref") -> list[Element]:
        return unique(self.ask(boundary_query(ref, admin_level, key)))

    def ask(self, query: str) -> list[Element]:
        """The elements of the answer; SplitRequest where the server ran out of time or memory."""
        self._wait_for_slot()
        answer = self.service.post("interpreter", {"data": query}, label="interpreter")
        elements = answer.get("elements") if isinstance(answer, dict) else None
        if not isinstance(elements, list):
            raise RequestFailed("overpass", "interpreter", "the answer holds no list 'elements'")
        self.osm3s = answer.get("osm3s", {})
        if answer.get("remark"):
            log.info("overpass remarks: %s", answer["remark"])
        return elements

    def _over(self, region: shapely.Geometry, query: Any, splits: int = 0) -> list[Element]:
        try:
            return unique(self.ask(query(poly_filter(region))))
        except SplitRequest as error:
            if splits == MAX_SPLITS:
                raise RequestFailed(
                    "overpass", "interpreter", f"{error.reason}, even for a part of 1/{4**MAX_SPLITS} of the area"
                ) from error
            log.warning("overpass: %s; asking for the four quarters of the area", error.reason)
            parts = [part for part in _quarters(region) if not part.is_empty]
            return unique([element for part in parts for element in self._over(part, query, splits + 1)])

    def _wait_for_slot(self) -> None:
        """Read /api/status and wait until a slot is free, as the manual asks; a status that cannot be read costs nothing."""
        try:
            text = self.service.get_bytes("status").decode("utf-8", "replace")
        except ServiceError as error:
            log.info("overpass status: %s", error.reason)
            return
        wait_s = slot_wait_s(text)
        if wait_s > 0:
            log.info("overpass: all slots taken, waiting %.0f s", wait_s)
            self.service.wait(wait_s)


def slot_wait_s(status: str) -> float:
    """Seconds until a slot is free, from the text of /api/status; 0 where one is free or the text says nothing."""
    if re.search(r"^[1-9]\d* slots? available now", status, re.MULTILINE):
        return 0.0
    waits = [int(seconds) for seconds in re.findall(r"^Slot available after: .*in (-?\d+) seconds", status, re.MULTILINE)]
    return float(max(0, min(waits))) if waits else 0.0


def unique(elements: list[Element]) -> list[Element]:
    """Each element once, by type and id; the answer of several tiles repeats them, in any order."""
    found = {(element["type"], element["id"]): element for element in elements}
    return [found[key] for key in sorted(found)]


def _quarters(region: shapely.Geometry) -> list[shapely.Geometry]:
    west, south, east, north = region.bounds
    lon, lat = (west + east) / 2, (south + north) / 2
    boxes = [(west, south, lon, lat), (lon, south, east, lat), (west, lat, lon, north), (lon, lat, east, north)]
    return [shapely.intersection(region, shapely.box(*box)) for box in boxes]
