"""The road network of OpenStreetMap: links and controls from the elements of the Overpass API or of an extract.

Rules: contracts/osm-overpass.md sections 6 and 7. Implied speed limits are in ``maxspeed.csv``.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import groupby
from pathlib import Path

import shapely

from kryss.roads.network import Control, RoadNetwork, kind_table
from kryss.roads.overpass import CONTROLS, HIGHWAYS, Element, unique
from kryss.roads.streets import Position, RoadLink

KMH_PER_MPH = 1.609344


def network_from_overpass(elements: Iterable[Element]) -> RoadNetwork:
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


def known_runs(way: Element) -> Iterator[range]:
    """Places in ``nodes`` of the stretches whose geometry is known: an extract may cut a way at its border."""
    for known, run in groupby(range(len(way["nodes"])), key=lambda place: way["geometry"][place] is not None):
        places = list(run)
        if known and len(places) >= 2:
            yield range(places[0], places[-1] + 1)


def is_drivable(way: Element) -> bool:
    """The kinds of query 2, less what osmnx leaves out of its ``drive`` network."""
    tags = way.get("tags", {})
    return (
        tags.get("highway") in HIGHWAYS
        and tags.get("area") != "yes"
        and tags.get("access") not in ("private", "no")
        and tags.get("motor_vehicle") != "no"
        and tags.get("motorcar") != "no"
        and len(way.get("nodes", ())) >= 2
        and len(way.get("geometry") or ()) == len(way["nodes"])
    )


def _layer(tags: Mapping[str, str]) -> int:
    """``layer``; without it a bridge is above the ground and a tunnel below (OpenStreetMap wiki Key:layer)."""
    text = tags.get("layer", "")
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    return (tags.get("bridge", "no") != "no") - (tags.get("tunnel", "no") != "no")


def _osm_controls(elements: Iterable[Element]) -> Iterator[Control]:
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
