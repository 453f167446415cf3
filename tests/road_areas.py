"""A small recorded area drawn in metres and written as NVDB, as Overpass and as junction points: one truth, three sources.

The map (east, north, in metres from the middle; every arm is 300 m long)::

    north roundabout (0, 600), radius 15, three arms      bridge: T (600, 600) and T (600, 612), not connected
    crossing (0, 0): X with signals                       divided road: T's at (600, 0) and (600, 14), 14 m apart
    outside the boundary: T at (0, 2500)
"""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyproj
from PIL import Image as PilImage

ORIGIN = (500_000.0, 6_650_000.0)
"""Easting and northing in UTM 33: on its central meridian, where grid north is north and a metre is 0.9996 metres."""
_TO_DEGREES = pyproj.Proj(proj="utm", zone=33, ellps="GRS80")

Point = tuple[float, float]


@dataclass(frozen=True)
class Road:
    id: int
    start: int
    end: int
    name: str
    limit: int | None = 50
    ring: bool = False
    kind: str = "car"
    """``car``, ``cycle`` (not for cars) or ``lane`` (NVDB only: the same road once more, lane by lane)."""


def _ring_node(angle_deg: float, centre: Point = (0, 600), radius: float = 15) -> Point:
    return centre[0] + radius * math.sin(math.radians(angle_deg)), centre[1] + radius * math.cos(math.radians(angle_deg))


NODES: dict[int, Point] = {
    100: (0, 0), 101: (300, 0), 102: (-300, 0), 103: (0, 300), 104: (0, -300), 105: (-150, 0),
    110: (600, 0), 111: (600, 14), 112: (900, 0), 113: (900, 14), 114: (600, -300), 115: (600, 300), 116: (450, 14),
    120: _ring_node(0), 121: _ring_node(90), 122: _ring_node(180), 123: (0, 900), 124: (300, 600),
    130: (600, 600), 131: (600, 612), 132: (300, 620), 133: (900, 600), 134: (900, 612), 135: (600, 900), 136: (300, 640),
    137: (600, 420),
    140: (0, 2500), 141: (300, 2500), 142: (-300, 2500), 143: (0, 2800),
    150: (300, 300),
}  # fmt: skip
"""Node id -> (east, north)."""

ROADS = (
    Road(1, 100, 101, "Kongens gate"),
    Road(2, 105, 100, "Kongens gate"),
    Road(3, 102, 105, "Kongens gate"),
    Road(4, 100, 103, "Prinsens gate", limit=60),
    Road(5, 104, 100, "Prinsens gate", limit=60),
    Road(6, 100, 150, "Sykkelstien", kind="cycle"),
    Road(7, 100, 101, "Kongens gate", kind="lane"),
    Road(10, 101, 110, "Kongens gate"),
    Road(11, 110, 112, "Kongens gate", limit=70),
    Road(12, 113, 111, "Kongens gate", limit=70),
    Road(13, 111, 116, "Kongens gate"),
    Road(14, 110, 111, "Tverrgata", limit=None),
    Road(15, 114, 110, "Tverrgata", limit=None),
    Road(16, 111, 115, "Tverrgata", limit=None),
    Road(20, 120, 121, "Rundkjøringen", limit=40, ring=True),
    Road(21, 121, 122, "Rundkjøringen", limit=40, ring=True),
    Road(22, 122, 120, "Rundkjøringen", limit=40, ring=True),
    Road(23, 120, 123, "Nordveien", limit=None),
    Road(24, 121, 124, "Østveien", limit=None),
    Road(25, 122, 103, "Prinsens gate", limit=40),
    Road(30, 132, 130, "Undergata", limit=30),
    Road(31, 130, 133, "Undergata", limit=30),
    Road(32, 137, 130, "Undergata sør", limit=30),
    Road(33, 136, 131, "Overgata", limit=80),
    Road(34, 131, 134, "Overgata", limit=80),
    Road(35, 131, 135, "Overgata nord", limit=80),
    Road(40, 140, 141, "Utenfor"),
    Road(41, 140, 142, "Utenfor"),
    Road(42, 140, 143, "Utenfor"),
)
SIGNALS = ((12, 3), (-14, -3))
"""Signal heads at the stop lines of the crossing."""
INSIDE = {"100", "110", "120", "130", "131"}
"""Smallest member of each junction inside the boundary."""


def utm(point: Point) -> tuple[float, float]:
    return round(ORIGIN[0] + point[0], 3), round(ORIGIN[1] + point[1], 3)


def lon_lat(point: Point) -> tuple[float, float]:
    lon, lat = _TO_DEGREES(*utm(point), inverse=True)
    return round(lon, 7), round(lat, 7)


def boundary() -> dict[str, Any]:
    corners = [(-400, -400), (1000, -400), (1000, 1000), (-400, 1000), (-400, -400)]
    return {"type": "Polygon", "coordinates": [[list(lon_lat(corner)) for corner in corners]]}


def line_of(road: Road) -> list[Point]:
    """Straight; the ring is an arc of a circle in six steps."""
    start, end = NODES[road.start], NODES[road.end]
    if not road.ring:
        return [start, end]
    angles = {120: 0, 121: 90, 122: 180}
    begin, stop = angles[road.start], angles[road.end] if road.end != 120 else 360
    inner = [_ring_node(begin + (stop - begin) * step / 6) for step in range(1, 6)]
    return [start, *inner, end]


def write_area(folder: Path, roads: str, code: str = "5001") -> Path:
    """The whole folder of a recorded area with one small photo."""
    (folder / "photos").mkdir(parents=True)
    area = {
        "code": code,
        "name": "Prøveby",
        "country": "NO",
        "boundary": boundary(),
        "roads": roads,
        "attribution": "made for tests",
    }
    (folder / "area.json").write_text(json.dumps(area, indent=1), encoding="utf-8")
    lon, lat = lon_lat((0, -40))
    image = {
        "id": "1001",
        "sequence": "prove",
        "captured_at": 1_750_000_000_000,
        "geometry": {"type": "Point", "coordinates": [lon, lat]},
        "width": 8,
        "height": 6,
    }
    (folder / "images.jsonl").write_text(json.dumps(image) + "\n", encoding="utf-8")
    photo = io.BytesIO()
    PilImage.new("RGB", (8, 6), "grey").save(photo, "JPEG")
    (folder / "photos" / "1001.jpg").write_bytes(photo.getvalue())
    {"nvdb": write_nvdb, "overpass": write_overpass, "junctions": write_junctions}[roads](folder)
    return folder


def write_nvdb(folder: Path) -> None:
    target = folder / "roads" / "nvdb"
    target.mkdir(parents=True)
    roads = [road for road in ROADS if road.limit is not None and road.kind == "car"]
    files = {
        "segments": [segment for road in ROADS for segment in _segments(road)],
        "nodes": [_node(number) for number in NODES],
        "objects-37": [
            _object(
                37, 3700, f"POINT Z({_coordinates([(1, 1)], 12)})",
                [
                    {"id": 1114, "navn": "Type", "egenskapstype": "Tekstenum", "verdi": "X-kryss", "enum_id": 3135},
                    {"id": 1073, "navn": "Navn", "egenskapstype": "Tekst", "verdi": "Torget"},
                ],
            )
        ],
        "objects-89": [
            _object(
                89, 8900, f"LINESTRING Z({_coordinates(SIGNALS, 12)})",
                [{"id": 4000, "navn": "Bruksområde", "egenskapstype": "Tekstenum", "verdi": "Vegkryss", "enum_id": 2974}],
            )
        ],
        "objects-105": [
            _object(
                105, 10500 + road.id, f"LINESTRING Z({_coordinates(line_of(road), 12)})",
                [{"id": 2021, "navn": "Fartsgrense", "egenskapstype": "Heltallenum", "verdi": road.limit}],
                sequences=[_sequence(road)],
            )
            for road in roads
        ],
    }  # fmt: skip
    for name, items in files.items():
        (target / f"{name}.json").write_text(json.dumps(items, ensure_ascii=False), encoding="utf-8")


def _coordinates(points: Any, height: float | None) -> str:
    tail = f" {height:g}" if height is not None else ""
    return ", ".join("{:.3f} {:.3f}".format(*utm(point)) + tail for point in points)


def _sequence(road: Road) -> int:
    return 9000 + road.id


def _segments(road: Road) -> list[dict[str, Any]]:
    """Road 4 is cut into two segments, as NVDB does where a property changes; both name the nodes of the whole link."""
    line = line_of(road)
    middle = ((line[0][0] + line[-1][0]) / 2, (line[0][1] + line[-1][1]) / 2)
    pieces = [(0.0, 1.0, line)] if road.id != 4 else [(0.0, 0.5, [line[0], middle]), (0.5, 1.0, [middle, line[-1]])]
    return [
        {
            "veglenkesekvensid": _sequence(road),
            "href": f"https://nvdb.example/vegnett/veglenkesekvenser/segmentert/{_sequence(road)}",
            "metadata": {"startdato": "2018-01-01"},
            "startposisjon": begin,
            "sluttposisjon": end,
            "kortform": f"{begin}-{end}@{_sequence(road)}",
            "veglenkenummer": 1,
            "segmentnummer": number,
            "startnode": str(road.start),
            "sluttnode": str(road.end),
            "type": "HOVED",
            "detaljnivå": "Kjørefelt" if road.kind == "lane" else "Vegtrase og kjørebane",
            "typeVeg": "Gang- og sykkelveg" if road.kind == "cycle" else "Rundkjøring" if road.ring else "Enkel bilveg",
            "typeVeg_sosi": ("gangOgSykkelveg" if road.kind == "cycle" else "rundkjøring" if road.ring else "enkelBilveg"),
            "geometri": {"wkt": f"LINESTRING Z({_coordinates(piece, 12)})", "srid": 5973},
            "kommune": 5001,
            "fylke": 50,
            "vegsystemreferanse": {"strekning": {"trafikantgruppe": "G" if road.kind == "cycle" else "K"}},
            "adresse": {"navn": road.name},
        }
        for number, (begin, end, piece) in enumerate(pieces, start=1)
    ]


def _node(number: int) -> dict[str, Any]:
    """Every third node lacks its height."""
    wkt = f"POINT ({_coordinates([NODES[number]], None)})" if number % 3 else f"POINT Z({_coordinates([NODES[number]], 12)})"
    return {"id": number, "startdato": "2000-01-01", "kommuner": [5001], "geometri": {"wkt": wkt, "srid": 5973}}


def _object(
    kind: int, number: int, wkt: str, properties: list[dict[str, Any]], sequences: list[int] | None = None
) -> dict[str, Any]:
    whole = {"type": "Linje", "startposisjon": 0.0, "sluttposisjon": 1.0}
    places = [{**whole, "veglenkesekvensid": number} for number in sequences or []]
    return {
        "id": number,
        "href": f"https://nvdb.example/vegobjekter/{kind}/{number}",
        "metadata": {"type": {"id": kind}, "versjon": 1, "startdato": "2000-01-01"},
        "egenskaper": properties,
        "lokasjon": {"kommuner": [5001], "stedfestinger": places},
        "geometri": {"wkt": wkt, "srid": 5973, "egengeometri": False},
    }


def write_overpass(folder: Path) -> None:
    elements: list[dict[str, Any]] = []
    for road in ROADS:
        if road.kind == "lane":
            continue
        line, inner = line_of(road), iter(range(road.id * 1000 + 1, road.id * 1000 + 900))
        nodes = [road.start, *(next(inner) for _ in line[1:-1]), road.end]
        tags = {"highway": "cycleway" if road.kind == "cycle" else "residential", "name": road.name}
        if road.limit is not None:
            tags["maxspeed"] = {70: "43.496 mph", 50: "NO:urban"}.get(road.limit, str(road.limit))
        if road.ring:
            tags["junction"] = "roundabout"
        geometry = [{"lat": lat, "lon": lon} for lon, lat in map(lon_lat, line)]
        elements.append({"type": "way", "id": road.id, "nodes": nodes, "tags": tags, "geometry": geometry})
    for number, head in enumerate(SIGNALS):
        lon, lat = lon_lat(head)
        tags = {"highway": "traffic_signals"}
        elements.append({"type": "node", "id": 8900 + number, "lat": lat, "lon": lon, "tags": tags})
    elements.append(_relation())
    answer = {"version": 0.6, "generator": "Overpass API", "osm3s": {"timestamp_osm_base": "2026-01-01T00:00:00Z"}}
    (folder / "roads").mkdir(parents=True, exist_ok=True)
    text = json.dumps({**answer, "elements": elements}, ensure_ascii=False)
    (folder / "roads" / "overpass.json").write_text(text, encoding="utf-8")


def _relation() -> dict[str, Any]:
    """The boundary in three ways, unordered and one of them reversed."""
    ring = [{"lat": lat, "lon": lon} for lon, lat in boundary()["coordinates"][0]]
    pieces = [ring[2:4], ring[0:3][::-1], ring[3:5]]
    return {
        "type": "relation",
        "id": 7000,
        "members": [{"type": "way", "ref": 70 + index, "role": "outer", "geometry": piece} for index, piece in enumerate(pieces)],
        "tags": {"boundary": "administrative", "admin_level": "7", "ref": "5001", "name": "Prøveby"},
    }


def write_junctions(folder: Path) -> None:
    points = {"north": ((0, 600), 40), "crossing": ((0, 0), 60), "outside": ((0, 2500), 50)}
    features = [
        {
            "type": "Feature",
            "id": name,
            "geometry": {"type": "Point", "coordinates": list(lon_lat(place))},
            "properties": {"speed_limit_kmh": limit},
        }
        for name, (place, limit) in points.items()
    ]
    (folder / "roads").mkdir(parents=True, exist_ok=True)
    text = json.dumps({"type": "FeatureCollection", "features": features})
    (folder / "roads" / "junctions.geojson").write_text(text, encoding="utf-8")
