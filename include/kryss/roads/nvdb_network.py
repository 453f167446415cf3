"""The road network of NVDB: links, controls and speed limits from its answers (contracts/nvdb-api.md sections 4 and 5).

Which values mean what is in ``nvdb_terms.csv`` and ``junction_kinds.csv``.
"""

from __future__ import annotations

import csv
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import shapely

from kryss.roads.network import Control, RoadNetwork, kind_table
from kryss.roads.nvdb import JUNCTION, SIGNALS, SPEED_LIMIT, NvdbClient, polygon_filter
from kryss.roads.streets import LimitStretch, Position, RoadLink
from kryss.roads.wkt import utm33, wgs84_from_wkt

log = logging.getLogger(__name__)

REGISTERED_WITHIN_M = 30.0
"""A junction record of no known type names the junction within this distance."""
LOOSE_LIMIT_M = 10.0
"""Carriageways lie this near the centre line that stands for them."""

Json = dict[str, Any]


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
    left_out: Counter[str] = Counter()
    readable = {name: [item for item in items if _is_readable(name, item, left_out)] for name, items in answers.items()}
    links = _nvdb_links(readable["segments"], _nvdb_limits(readable["objects-105"]))
    nodes: dict[str, Position] = {}
    for link in links:
        nodes.setdefault(link.start, link.line[0])
        nodes.setdefault(link.end, link.line[-1])
    for node in readable["nodes"]:
        point = _geometry(node)
        if str(node["id"]) in nodes and point is not None:
            nodes[str(node["id"])] = (point.x, point.y)
    controls = tuple(_nvdb_controls(readable["objects-37"], readable["objects-89"]))
    return RoadNetwork("nvdb", links, nodes, controls, dict(sorted(left_out.items())))


def _is_readable(name: str, item: Json, left_out: Counter[str]) -> bool:
    """Whether an item has what is needed of its kind; counts why not."""
    needed = ("veglenkesekvensid", "startnode", "sluttnode") if name == "segments" else ("id",)
    reason = next((f"{name}: no {key}" for key in needed if key not in item), None)
    try:
        _geometry(item)
    except ValueError:
        reason = reason or f"{name}: geometry that is no WKT of a known srid"
    if reason:
        left_out[reason] += 1
        log.info("nvdb: left out %s (%s)", item.get("href") or item.get("id"), reason)
    return reason is None


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
