"""The intersections of a municipality: from NVDB, from OpenStreetMap, or from a file of junction points.

Rules: contracts/nvdb-api.md section 5 and contracts/osm-overpass.md section 6; the consolidation is in ``network.py``.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
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
from kryss.roads.network import DEFAULT_LIMIT_KMH, Control, RoadNetwork, intersections_of, kind_table
from kryss.roads.nvdb import JUNCTION, SIGNALS, SPEED_LIMIT, NvdbClient, polygon_filter
from kryss.roads.overpass import CONTROLS, HIGHWAYS, OverpassClient, unique
from kryss.roads.pbf import read_pbf
from kryss.roads.streets import LimitStretch, Position, RoadLink
from kryss.roads.wkt import utm33, wgs84_from_wkt

log = logging.getLogger(__name__)

REGISTERED_WITHIN_M = 30.0
"""A junction record of no known type names the junction within this distance."""
LOOSE_LIMIT_M = 10.0
"""Carriageways lie this near the centre line that stands for them."""
KMH_PER_MPH = 1.609344

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
    found = intersections_of(network, boundary, default_limit_kmh)
    log.info("%s: %d links, %d nodes, %d intersections", kind, len(network.links), len(network.nodes), len(found))
    return with_areas(found, area)


def nvdb_answers(client: NvdbClient, boundary: Json) -> dict[str, list[Json]]:
    """Everything that is asked of NVDB for an area, by the name of the file that holds it in a recorded area."""
    where = polygon_filter(boundary)
    return {
        "segments": list(client.segments(where)),
        "nodes": list(client.nodes(where)),
        **{f"objects-{kind}": list(client.objects(kind, where)) for kind in (JUNCTION, SIGNALS, SPEED_LIMIT)},
    }


def network_from_nvdb(answers: Mapping[str, Iterable[Json]]) -> RoadNetwork:
    """The centre lines that cars may use, with junction records (37), signals (89) and speed limits (105)."""
    links = _nvdb_links(answers["segments"], _nvdb_limits(answers["objects-105"]))
    nodes: dict[str, Position] = {}
    for link in links:
        nodes.setdefault(link.start, link.line[0])
        nodes.setdefault(link.end, link.line[-1])
    for node in answers["nodes"]:
        point = _geometry(node)
        if str(node["id"]) in nodes and point is not None:
            nodes[str(node["id"])] = (point.x, point.y)
    controls = tuple(_nvdb_controls(answers["objects-37"], answers["objects-89"]))
    return RoadNetwork(source="nvdb", links=links, nodes=nodes, controls=controls)


def _nvdb_links(segments: Iterable[Json], limits: Sequence[_Limit]) -> tuple[RoadLink, ...]:
    """A link is cut into segments where a property changes; they all name the link's own nodes."""
    pieces: dict[tuple[int, int, str, str], list[tuple[Json, shapely.Geometry]]] = defaultdict(list)
    for segment in segments:
        line = _geometry(segment)
        if _is_car_road(segment) and line is not None and line.geom_type == "LineString":
            key = segment["veglenkesekvensid"], segment.get("veglenkenummer", 1)
            pieces[*key, str(segment["startnode"]), str(segment["sluttnode"])].append((segment, line))
    registered: dict[str, list[LimitStretch]] = defaultdict(list)
    for limit in limits:
        for road, low, high in limit.places:
            registered[road].append((low, high, limit.km_h))
    sequences = {str(sequence) for sequence, *_ in pieces}
    loose = _LooseLimits([limit for limit in limits if not limit.places or {road for road, *_ in limit.places} - sequences])
    links = []
    for (sequence, number, start, end), parts in sorted(pieces.items()):
        parts.sort(key=lambda part: part[0].get("startposisjon", 0))
        first, last = parts[0][0], parts[-1][0]
        names = [street["navn"] for part, _ in parts if (street := part.get("adresse") or part.get("gate") or {}).get("navn")]
        line = tuple(position for _, line in parts for position in line.coords)
        own = _inside(registered[str(sequence)], first.get("startposisjon", 0.0), last.get("sluttposisjon", 1.0))
        links.append(
            RoadLink(
                id=f"{sequence}-{number}-{start}-{end}",
                start=start,
                end=end,
                line=line,
                road=str(sequence),
                ring=str(first.get("typeVeg_sosi", "")).casefold() == "rundkjøring",
                name=names[0] if names else None,
                limits=own or loose.along(line),
                layer=int(_nvdb_terms("medium").get(str(first["geometri"].get("medium", "")).casefold(), 0)),
            )
        )
    return tuple(links)


def _inside(stretches: Iterable[LimitStretch], begin: float, end: float) -> tuple[LimitStretch, ...]:
    """Stretches of a sequence as fractions of the link that takes from ``begin`` to ``end`` of it."""
    cut = ((max(low, begin), min(high, end), km_h) for low, high, km_h in stretches)
    return tuple(
        sorted(((low - begin) / (end - begin), (high - begin) / (end - begin), km_h) for low, high, km_h in cut if low < high)
    )


def _is_car_road(segment: Json) -> bool:
    """Section 5: for vehicles, of a road type that cars use, on the level of centre lines, in force."""
    group = segment.get("vegsystemreferanse", {}).get("strekning", {}).get("trafikantgruppe", "K")
    terms = {"road type": "typeVeg_sosi", "level of detail": "detaljnivå", "link type": "type"}
    known = all(str(segment.get(key, "")).casefold() in _nvdb_terms(term) for term, key in terms.items())
    return group == "K" and known and "sluttdato" not in segment.get("metadata", {})


@cache
def _nvdb_terms(term: str) -> dict[str, str]:
    """``nvdb_terms.csv``: value (small letters) -> meaning."""
    with Path(__file__).with_name("nvdb_terms.csv").open(newline="", encoding="utf-8") as table:
        return {row["value"].casefold(): row["meaning"] for row in csv.DictReader(table) if row["term"] == term}


def _nvdb_controls(junctions: Iterable[Json], signals: Iterable[Json]) -> Iterator[Control]:
    for junction in _by_id(junctions):
        point, kind, name = _geometry(junction), _property(junction, "junction type"), _property(junction, "junction name")
        if point is not None:
            value, within_m = kind_table().get(
                ("nvdb-37", str(kind.get("id")), str(kind.get("enum_id"))), (None, REGISTERED_WITHIN_M)
            )
            yield Control(value, point, within_m, name.get("verdi"), _sequences(junction))
    for installation in _by_id(signals):
        place, use = _geometry(installation), _property(installation, "signals use")
        known = kind_table().get(("nvdb-89", "bruksområde", str(use.get("enum_id"))))
        if place is not None and known:
            yield Control(known[0], place, known[1], roads=_sequences(installation))


def _sequences(item: Json) -> frozenset[str]:
    places = item.get("lokasjon", {}).get("stedfestinger", ())
    return frozenset(str(place["veglenkesekvensid"]) for place in places if "veglenkesekvensid" in place)


@dataclass(frozen=True, slots=True)
class _Limit:
    km_h: float
    line: shapely.Geometry
    """WGS84."""
    places: tuple[tuple[str, float, float], ...]
    """``(link sequence, from, to)``: relative positions on the network."""


def _nvdb_limits(objects: Iterable[Json]) -> list[_Limit]:
    found = []
    for limit in _by_id(objects):
        line, value = _geometry(limit), _property(limit, "speed limit").get("verdi")
        if line is not None and isinstance(value, (int, float)):
            places = [place for place in limit.get("lokasjon", {}).get("stedfestinger", ()) if "veglenkesekvensid" in place]
            spans = [(str(p["veglenkesekvensid"]), p.get("startposisjon", 0.0), p.get("sluttposisjon", 1.0)) for p in places]
            found.append(_Limit(float(value), line, tuple(spans)))
    return found


class _LooseLimits:
    """Limits on sequences that we do not have: those of the carriageways of a divided road, of which we have the centre line."""

    def __init__(self, limits: Sequence[_Limit]):
        self.limits = limits
        self.strips = [utm33(limit.line).buffer(LOOSE_LIMIT_M, cap_style="flat") for limit in limits]
        self.tree = shapely.STRtree(self.strips)

    def along(self, line: Sequence[Position]) -> tuple[LimitStretch, ...]:
        """The largest limit that runs along at least half of a link's line, where there is one."""
        if not self.limits:
            return ()
        link = utm33(shapely.LineString(line))
        hits = self.tree.query(link, predicate="intersects").tolist()
        beside = [i for i in hits if self.strips[i].intersection(link).length >= link.length / 2]
        return ((0.0, 1.0, max(self.limits[i].km_h for i in beside)),) if beside else ()


def _by_id(objects: Iterable[Json]) -> list[Json]:
    found = {item["id"]: item for item in objects}
    return [found[key] for key in sorted(found)]


def _property(item: Json, meaning: str) -> Json:
    """The entry of ``egenskaper`` whose id or name has that meaning; empty where the object lacks it."""
    entries = item.get("egenskaper", ())
    wanted = {key for key, value in _nvdb_terms("property").items() if value == meaning}
    return next((e for e in entries if {str(e.get("id")), str(e.get("navn")).casefold()} & wanted), {})


def _geometry(item: Json) -> shapely.Geometry | None:
    geometry = item.get("geometri")
    return wgs84_from_wkt(geometry["wkt"], geometry.get("srid", 5973)) if geometry and geometry.get("wkt") else None


def network_from_overpass(elements: Iterable[Json]) -> RoadNetwork:
    """Ways split at the nodes they share, and the control nodes. ``elements`` as of Overpass (or ``pbf.read_pbf``)."""
    elements = unique(list(elements))
    runs = [(way, run) for way in elements if way["type"] == "way" and is_drivable(way) for run in known_runs(way)]
    uses: Counter[int] = Counter()
    for way, run in runs:
        uses.update(way["nodes"][place] for place in run)
        uses.update(way["nodes"][place] for place in (run[0], run[-1]))
    nodes: dict[str, Position] = {}
    links: list[RoadLink] = []
    for way, run in runs:
        tags = way["tags"]
        limits = [limit for key in ("maxspeed", "maxspeed:forward", "maxspeed:backward") if (limit := speed_kmh(tags.get(key)))]
        start = run[0]
        for place in run[1:]:
            if uses[way["nodes"][place]] < 2:
                continue
            ends = str(way["nodes"][start]), str(way["nodes"][place])
            line = [(point["lon"], point["lat"]) for point in way["geometry"][start : place + 1]]
            start = place
            nodes[ends[0]], nodes[ends[1]] = line[0], line[-1]
            links.append(
                RoadLink(
                    id=f"{way['id']}-{place}",
                    start=ends[0],
                    end=ends[1],
                    line=tuple(line),
                    road=str(way["id"]),
                    ring=tags.get("junction") in ("roundabout", "circular"),
                    name=tags.get("name") or tags.get("ref"),
                    limits=((0.0, 1.0, max(limits)),) if limits else (),
                    layer=_layer(tags),
                )
            )
    return RoadNetwork(source="osm", links=tuple(links), nodes=nodes, controls=tuple(_osm_controls(elements)))


def known_runs(way: Json) -> Iterator[range]:
    """Places in ``nodes`` of the stretches whose geometry is known: an extract may cut a way at its border."""
    for known, run in groupby(range(len(way["nodes"])), key=lambda place: way["geometry"][place] is not None):
        places = list(run)
        if known and len(places) >= 2:
            yield range(places[0], places[-1] + 1)


def is_drivable(way: Json) -> bool:
    """The kinds of query 2, less what osmnx leaves out of its ``drive`` network."""
    tags = way.get("tags", {})
    return (
        tags.get("highway") in HIGHWAYS
        and tags.get("area") != "yes"
        and tags.get("access") not in ("private", "no")
        and tags.get("motor_vehicle") != "no"
        and len(way.get("nodes", ())) >= 2
        and len(way.get("geometry") or ()) == len(way["nodes"])
    )


def _layer(tags: Mapping[str, str]) -> int:
    """``layer``; without it a bridge is above the ground and a tunnel below (OpenStreetMap wiki Key:layer)."""
    text = tags.get("layer", "")
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    return (tags.get("bridge", "no") != "no") - (tags.get("tunnel", "no") != "no")


def _osm_controls(elements: Iterable[Json]) -> Iterator[Control]:
    for node in elements:
        if node["type"] != "node":
            continue
        tags = node.get("tags", {})
        known = kind_table().get(("osm", "highway", tags.get("highway", "")))
        if tags.get("highway") in CONTROLS and known:
            yield Control(known[0], shapely.Point(node["lon"], node["lat"]), known[1])


@cache
def _implicit_limits() -> dict[str, float]:
    with Path(__file__).with_name("maxspeed.csv").open(newline="", encoding="utf-8") as table:
        return {row["value"]: float(row["km_h"]) for row in csv.DictReader(table)}


def speed_kmh(maxspeed: str | None) -> float | None:
    """The km/h of an OpenStreetMap ``maxspeed``: a number, one with a unit, or a value of ``maxspeed.csv``; else None."""
    if not maxspeed:
        return None
    if maxspeed in _implicit_limits():
        return _implicit_limits()[maxspeed]
    values = []
    for text in maxspeed.split(";"):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(km/h|kmh|mph)?", text.strip())
        if match and float(match[1]) > 0:
            values.append(round(float(match[1]) * (KMH_PER_MPH if match[2] == "mph" else 1), 1))
    return max(values, default=None)


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
