"""The files of the area that need no picture: image entities with noise like a real one, truth, and recorded road answers.

Formats: ``shared/design/recorded-area.md``; contracts ``mapillary-api-v4`` 4, ``nvdb-api`` 3.1, 3.3 and 5, ``osm-overpass`` 4.
Nothing here depends on a clock or on chance that is not seeded.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import Transformer

from kryss.demo.town.layout import (
    EPOCHS,
    FOCAL,
    GROUND_ALTITUDE_M,
    HEIGHT_PX,
    HERE,
    WIDTH_PX,
    Array,
    Shot,
    angle_axis,
    enu_to_lonlat,
    fixtures,
    heading_of,
    road_to_enu,
    rodrigues,
    seeded,
    shots,
)

CODE, NAME = "9901", "Kryssby"
ATTRIBUTION = (
    "Kryssby is fictional: rendered with Blender for Kryss, at a place where no such town stands. "
    "Sign faces: mapillary_sprite_source, Copyright (c) 2015 mapillary, MIT licence (see NOTICE)"
)
ARM_M = 230.0
"""Length of the recorded arms of the junction."""
MARGIN_M, CHAMFER_M = 305.0, 120.0

SFM_SIGMA_M, SFM_ROTATION_SIGMA_DEG = 0.28, 0.17
"""One axis; 0.4 m and 0.3 degrees in all."""
GPS_SIGMA_M, GPS_STEP_CORRELATION, COMPASS_SIGMA_DEG = 2.1, 0.93, 4.0
SFM_ALTITUDE_OFFSET_M = {1: -3.1, 2: 5.6}
"""The datum of ``computed_altitude`` differs between reconstructions (contract, quirk 6)."""


def write_records(out: Path) -> None:
    """Everything but photos/ and truth_boxes.json."""
    _write(out / "area.json", _dump(area()))
    _write(out / "images.jsonl", "".join(json.dumps(entity, ensure_ascii=False) + "\n" for entity in entities()))
    _write(out / "truth.geojson", _dump(truth()))
    _write(out / "truth_poses.jsonl", "".join(json.dumps(pose) + "\n" for pose in true_poses()))
    for name, rows in nvdb().items():
        _write(out / "roads" / "nvdb" / f"{name}.json", _dump(rows))
    _write(out / "roads" / "overpass.json", _dump(overpass()))
    _write(out / "NOTICE", notice())


def write_depths(folder: Path, depths: dict[str, Array]) -> None:
    """``truth_depth.npz``: ids of the photos, and (photos, h, w) uint16 centimetres along the optical axis, 0 where there is
    nothing within 655 m."""
    metres = np.stack([depths[photo] for photo in sorted(depths)])
    told = np.where(metres < 655, np.round(metres * 100), 0).astype(np.uint16)
    np.savez_compressed(folder / "truth_depth.npz", photos=np.array(sorted(depths)), centimetres=told)


def write_boxes(out: Path, boxes: Iterable[dict[str, Any]]) -> None:
    """truth_boxes.json: boxes in pixels of the photo, left, top, right, bottom."""
    order = {shot.id: i for i, shot in enumerate(shots())}
    rows = sorted(boxes, key=lambda b: (order[b["image_id"]], b["object_id"]))
    body = ",\n".join("  " + json.dumps(row) for row in rows)
    _write(out / "truth_boxes.json", f'{{"width": {WIDTH_PX}, "height": {HEIGHT_PX}, "boxes": [\n{body}\n]}}\n')


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.rename(path)


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def notice() -> str:
    licence = (HERE / "signs" / "LICENSE").read_text(encoding="utf-8").strip()
    return (
        "The photos show a town that does not exist. They were rendered for Kryss with Blender.\n"
        "The sign faces in them are from the npm package mapillary_sprite_source 1.8.0 (package_signs), under this licence:\n\n"
        f"{licence}\n"
    )


# --- the area ------------------------------------------------------------------------------------------------------------


def _lonlat(u: float, v: float, decimals: int = 7) -> list[float]:
    east, north = road_to_enu(np.array([u, v]))
    return [round(x, decimals) for x in enu_to_lonlat(float(east), float(north))]


def boundary_road() -> list[tuple[float, float]]:
    """Corners of the municipality in the road frame, counter-clockwise, open: the photos' square, widened, corners cut."""
    places = np.array([shot.centre[:2] for shot in shots()])
    (u0, v0), (u1, v1) = places.min(0) - MARGIN_M, places.max(0) + MARGIN_M
    c = CHAMFER_M
    return [
        (u0 + c, v0), (u1 - c, v0), (u1, v0 + c), (u1, v1 - c), (u1 - c, v1), (u0 + c, v1), (u0, v1 - c), (u0, v0 + c),
    ]  # fmt: skip


def area() -> dict[str, Any]:
    ring = [_lonlat(*corner) for corner in boundary_road()]
    return {
        "code": CODE,
        "name": NAME,
        "country": "NO",
        "boundary": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        "roads": "nvdb",
        "epochs": [_epoch_now(number) for number in (1, 2)],
        "attribution": ATTRIBUTION,
        "licence": "Apache-2.0",
    }


def _epoch_now(number: int) -> str:
    """The midnight after the last upload of an epoch."""
    last = max(shot.captured_at for shot in shots() if shot.epoch == number) + timedelta(days=2)
    return last.strftime("%Y-%m-%dT00:00:00Z")


# --- photos --------------------------------------------------------------------------------------------------------------


def _milliseconds(shot: Shot) -> int:
    return round(shot.captured_at.timestamp() * 1000)


def _drift(rng: random.Random, correlation: float, sigma: float, count: int) -> list[float]:
    """A stationary first-order autoregression with standard deviation ``sigma``."""
    values = [rng.gauss(0, sigma)]
    for _ in range(count - 1):
        values.append(correlation * values[-1] + rng.gauss(0, sigma * math.sqrt(1 - correlation**2)))
    return values


def entities() -> Iterator[dict[str, Any]]:
    """Image entities in the order of capture, as the service would tell them."""
    for epoch in EPOCHS:
        for approach in ("W", "S"):
            drive = [s for s in shots() if (s.epoch, s.approach) == (epoch.number, approach)]
            rng = seeded("entities", epoch.number, approach)
            count = len(drive)
            half = SFM_SIGMA_M / math.sqrt(2)
            sfm_east, sfm_north = _drift(rng, 0.9, half, count), _drift(rng, 0.9, half, count)
            gps_east = _drift(rng, GPS_STEP_CORRELATION, GPS_SIGMA_M, count)
            gps_north = _drift(rng, GPS_STEP_CORRELATION, GPS_SIGMA_M, count)
            compass = _drift(rng, 0.8, COMPASS_SIGMA_DEG, count)
            scale = rng.uniform(0.97, 1.03)
            for i, shot in enumerate(drive):
                east, north, up = shot.centre_enu
                sfm = east + sfm_east[i] + rng.gauss(0, half), north + sfm_north[i] + rng.gauss(0, half)
                gps = sfm[0] + gps_east[i], sfm[1] + gps_north[i]
                yield _entity(shot, rng, sfm, gps, float(up), compass[i], scale)


def _entity(
    shot: Shot,
    rng: random.Random,
    sfm: tuple[float, float],
    gps: tuple[float, float],
    up: float,
    compass_error: float,
    scale: float,
) -> dict[str, Any]:
    error = np.array([math.radians(rng.gauss(0, SFM_ROTATION_SIGMA_DEG)) for _ in range(3)])
    published: Array = np.array([round(float(x), 13) for x in angle_axis(rodrigues(error) @ shot.rotation)])
    altitude = GROUND_ALTITUDE_M + up
    return {
        "id": shot.id,
        "sequence": shot.sequence_id,
        "captured_at": _milliseconds(shot),
        "uploaded_at": _milliseconds(shot) + 86_400_000,
        "geometry": _point(gps, 7),
        "compass_angle": round((shot.heading_deg + compass_error) % 360, 2),
        "altitude": round(altitude + rng.gauss(0, 4.0), 3),
        "computed_geometry": _point(sfm, 13),
        "computed_compass_angle": heading_of(rodrigues(published)),
        "computed_rotation": [float(x) for x in published],
        "computed_altitude": round(altitude + SFM_ALTITUDE_OFFSET_M[shot.epoch] + rng.gauss(0, 0.15), 9),
        "camera_type": "perspective",
        "camera_parameters": [FOCAL, 0.0, 0.0],
        "exif_orientation": 1,
        "width": WIDTH_PX,
        "height": HEIGHT_PX,
        "is_pano": False,
        "make": "Kryss",
        "model": "town-cam",
        "creator": {"username": "kryss", "id": "1"},
        "merge_cc": float(4_546_427_159_383_000_000 + 10**15 * shot.epoch),
        "atomic_scale": round(scale + rng.gauss(0, 0.002), 14),
        "quality_score": round(rng.uniform(0.72, 0.93), 6),
    }


def _point(enu: tuple[float, float], decimals: int) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [round(x, decimals) for x in enu_to_lonlat(*map(float, enu))]}


# --- truth ---------------------------------------------------------------------------------------------------------------


def truth() -> dict[str, Any]:
    """Where everything really stands: the middle of each front."""
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "id": f.id,
                "geometry": {"type": "Point", "coordinates": _lonlat(f.centre[0], f.centre[1], 9)},
                "properties": {
                    "id": f.id,
                    "class": f.class_name,
                    "height_m": f.centre[2],
                    "facing_deg": round(f.facing_deg, 3),
                    "size_m": [f.width_m, f.height_m],
                    "from_epoch": f.from_epoch,
                    "to_epoch": f.to_epoch,
                    "accuracy_m": 0,
                },
            }
            for f in fixtures()
        ],
    }


def true_poses() -> Iterator[dict[str, Any]]:
    for shot in shots():
        east, north, up = (float(x) for x in shot.centre_enu)
        lon, lat = enu_to_lonlat(east, north)
        yield {
            "id": shot.id,
            "epoch": shot.epoch,
            "approach": shot.approach,
            "lon": lon,
            "lat": lat,
            "altitude_m": GROUND_ALTITUDE_M + up,
            "height_above_road_m": up,
            "rotation": [float(x) for x in angle_axis(shot.rotation)],
            "heading_deg": shot.heading_deg,
            "pitch_deg": shot.pitch_deg,
            "roll_deg": shot.roll_deg,
        }


# --- NVDB ----------------------------------------------------------------------------------------------------------------

_TO_UTM33 = Transformer.from_crs("EPSG:4326", "EPSG:25833", always_xy=True)
API = "https://nvdbapiles.atlas.vegvesen.no"
JUNCTION_NODE = 9901001
ARMS: dict[str, tuple[int, tuple[float, float]]] = {
    # arm -> (its outer node, direction in the road frame)
    "W": (9901002, (-1.0, 0.0)),
    "E": (9901003, (1.0, 0.0)),
    "S": (9901004, (0.0, -1.0)),
    "N": (9901005, (0.0, 1.0)),
}
ROADS: dict[int, tuple[str, str, str, int, str]] = {
    # veglenkesekvensid -> (first arm, last arm, vegkategori, nummer, street name)
    9901101: ("W", "E", "F", 9901, "Hovedvegen"),
    9901102: ("S", "N", "K", 1010, "Kvernbakken"),
}
KNOWN_SINCE = "2015-06-01"


def _utm(u: float, v: float) -> tuple[float, float]:
    lon, lat = _lonlat(u, v, 12)
    easting, northing = _TO_UTM33.transform(lon, lat)
    return round(easting, 3), round(northing, 3)


def _wkt(points: Iterable[tuple[float, float]]) -> str:
    body = ", ".join("{:.3f} {:.3f} {:.3f}".format(*_utm(u, v), GROUND_ALTITUDE_M) for u, v in points)
    return body


def _line(points: Iterable[tuple[float, float]]) -> dict[str, Any]:
    return {"wkt": f"LINESTRING Z({_wkt(points)})", "srid": 5973}


def _along(arm: str, distance: float) -> tuple[float, float]:
    du, dv = ARMS[arm][1]
    return du * distance, dv * distance


def _reference(sequence: int, start_m: float, end_m: float | None = None) -> dict[str, Any]:
    _, _, category, number, _ = ROADS[sequence]
    section: dict[str, Any] = {
        "strekning": 1, "delstrekning": 1, "arm": False, "adskilte_løp": "Nei", "trafikantgruppe": "K", "retning": "MED",
    }  # fmt: skip
    if end_m is None:
        section["meter"] = start_m
        metres = f"m{start_m:.0f}"
    else:
        section |= {"fra_meter": start_m, "til_meter": end_m}
        metres = f"m{start_m:.0f}-{end_m:.0f}"
    return {
        "vegsystem": {"vegkategori": category, "fase": "V", "nummer": number},
        "strekning": section,
        "kortform": f"{category}V{number} S1D1 {metres}",
    }


def _halves(sequence: int) -> list[tuple[float, float, int, int, list[tuple[float, float]]]]:
    """(start position, end position, start node, end node, points) of the two segments of a road."""
    first, last, *_ = ROADS[sequence]
    inward = [_along(first, d) for d in (ARM_M, 120.0, 40.0, 0.0)]
    outward = [_along(last, d) for d in (0.0, 40.0, 120.0, ARM_M)]
    return [(0.0, 0.5, ARMS[first][0], JUNCTION_NODE, inward), (0.5, 1.0, JUNCTION_NODE, ARMS[last][0], outward)]


def nvdb() -> dict[str, list[dict[str, Any]]]:
    """File name -> ``objekter`` of the recorded answers."""
    return {
        "segments": [segment for sequence in ROADS for segment in _segments(sequence)],
        "nodes": _nodes(),
        "objects-37": [_junction_object()],
        "objects-89": [_signal_object()],
        "objects-105": [_limit_object(i, sequence) for i, sequence in enumerate(ROADS)],
    }


def _segments(sequence: int) -> Iterator[dict[str, Any]]:
    for i, (start, end, start_node, end_node, points) in enumerate(_halves(sequence)):
        yield {
            "veglenkesekvensid": sequence,
            "href": f"{API}/vegnett/api/v4/veglenkesekvenser/segmentert/{sequence}",
            "metadata": {"startdato": KNOWN_SINCE},
            "startposisjon": start,
            "sluttposisjon": end,
            "kortform": f"{start}-{end}@{sequence}",
            "veglenkenummer": i + 1,
            "segmentnummer": 1,
            "startnode": str(start_node),
            "sluttnode": str(end_node),
            "referanse": f"{sequence}-{i + 1}-1",
            "type": "HOVED",
            "topologinivå": "KJOREBANE",
            "detaljnivå": "Vegtrase og kjørebane",
            "typeVeg": "Enkel bilveg",
            "typeVeg_sosi": "enkelBilveg",
            "feltoversikt": ["1", "2"],
            "geometri": {**_line(points), "lengde": ARM_M},
            "lengde": ARM_M,
            "fylke": int(CODE[:2]),
            "kommune": int(CODE),
            "vegsystemreferanse": _reference(sequence, i * ARM_M, (i + 1) * ARM_M),
            "adresse": {"navn": ROADS[sequence][4]},
            "kontraktsområder": [],
            "riksvegruter": [],
            "vegforvaltere": [],
        }


def _nodes() -> list[dict[str, Any]]:
    def node(number: int, place: tuple[float, float], ports: list[tuple[int, int]]) -> dict[str, Any]:
        return {
            "id": number,
            "href": f"{API}/vegnett/api/v4/noder/{number}",
            "startdato": KNOWN_SINCE,
            "kommuner": [int(CODE)],
            "geometri": {"wkt": f"POINT Z ({_wkt([place])})", "srid": 5973},
            "porter": [
                {
                    "id": i,
                    "tilkobling": {
                        "portnummer": port,
                        "veglenkesekvensid": sequence,
                        "href": f"{API}/vegnett/api/v4/veglenkesekvenser/{sequence}",
                    },
                }
                for i, (sequence, port) in enumerate(ports, start=1)
            ],
        }

    found = [node(JUNCTION_NODE, (0.0, 0.0), [(sequence, 2) for sequence in ROADS])]
    for sequence, (first, last, *_) in ROADS.items():
        found += [node(ARMS[arm][0], _along(arm, ARM_M), [(sequence, port)]) for arm, port in ((first, 1), (last, 3))]
    return found


def _object(
    type_id: int, type_name: str, number: int, properties: list[dict[str, Any]], geometry: dict[str, Any]
) -> dict[str, Any]:
    return {
        "id": number,
        "href": f"{API}/vegobjekter/api/v4/vegobjekter/{type_id}/{number}/1",
        "metadata": {
            "type": {"id": type_id, "navn": type_name},
            "versjon": 1,
            "startdato": KNOWN_SINCE,
            "sist_modifisert": "2024-03-05T09:12:44Z",
        },
        "egenskaper": properties,
        "geometri": geometry,
        "lokasjon": {
            "kommuner": [int(CODE)],
            "fylker": [int(CODE[:2])],
            "vegsystemreferanser": [],
            "stedfestinger": [],
            "geometri": {"wkt": geometry["wkt"], "srid": geometry["srid"]},
        },
        "relasjoner": {},
        "vegsegmenter": [],
    }


def _spot(sequence: int, position: float) -> dict[str, Any]:
    return {
        "type": "Punkt", "veglenkesekvensid": sequence, "relativPosisjon": position, "retning": "MED", "kjørefelt": [],
        "kortform": f"{position}@{sequence}",
    }  # fmt: skip


def _stretch(sequence: int, start: float, end: float) -> dict[str, Any]:
    return {
        "type": "Linje", "veglenkesekvensid": sequence, "startposisjon": start, "sluttposisjon": end, "retning": "MED",
        "kjørefelt": [], "kortform": f"{start}-{end}@{sequence}",
    }  # fmt: skip


def _enum(number: int, name: str, value: str, enum_id: int) -> dict[str, Any]:
    return {"id": number, "navn": name, "egenskapstype": "Tekstenum", "verdi": value, "enum_id": enum_id}


def _junction_object() -> dict[str, Any]:
    point = {"wkt": f"POINT Z({_wkt([(0.0, 0.0)])})", "srid": 5973, "egengeometri": False}
    name = {"id": 1073, "navn": "Navn", "egenskapstype": "Tekst", "verdi": "Kvernbakkekrysset"}
    found = _object(37, "Vegkryss", 990137001, [_enum(1114, "Type", "X-kryss", 3135), name], point)
    found["lokasjon"]["stedfestinger"] = [_spot(sequence, 0.5) for sequence in ROADS]
    found["lokasjon"]["vegsystemreferanser"] = [_reference(sequence, ARM_M) for sequence in ROADS]
    return found


def _signal_object() -> dict[str, Any]:
    point = {"wkt": f"POINT Z({_wkt([(0.0, 0.0)])})", "srid": 5973, "egengeometri": True}
    use = {"id": 5430, "navn": "Bruksområde", "egenskapstype": "Tekstenum", "verdi": "Vegkryss", "enum_id": 2974}
    found = _object(89, "Signalanlegg", 990189001, [use], point)
    found["lokasjon"]["stedfestinger"] = [_stretch(sequence, 0.46, 0.54) for sequence in ROADS]
    found["lokasjon"]["vegsystemreferanser"] = [_reference(sequence, ARM_M * 0.92, ARM_M * 1.08) for sequence in ROADS]
    return found


def _limit_object(index: int, sequence: int) -> dict[str, Any]:
    halves = _halves(sequence)
    whole = [*halves[0][4], *halves[1][4][1:]]
    properties = [
        {
            "id": 2021, "navn": "Fartsgrense", "egenskapstype": "Heltallenum", "verdi": 50, "enum_id": 2730,
            "enhet": {"id": 7, "navn": "Kilometer/time", "kortnavn": "km/h"},
        },
        {"id": 5127, "navn": "Gyldig fra dato", "egenskapstype": "Dato", "verdi": KNOWN_SINCE},
    ]  # fmt: skip
    geometry = {**_line(whole), "egengeometri": False, "lengde": 2 * ARM_M}
    found = _object(105, "Fartsgrense", 9901105001 + index, properties, geometry)
    found["lokasjon"]["stedfestinger"] = [_stretch(sequence, 0.0, 1.0)]
    found["lokasjon"]["vegsystemreferanser"] = [_reference(sequence, 0.0, 2 * ARM_M)]
    found["lokasjon"]["lengde"] = 2 * ARM_M
    found["vegsegmenter"] = [
        {
            "veglenkesekvensid": sequence,
            "startposisjon": start,
            "sluttposisjon": end,
            "lengde": ARM_M,
            "retning": "MED",
            "kjørefelt": [],
            "feltoversikt": ["1", "2"],
            "veglenkeType": "HOVED",
            "detaljnivå": "Vegtrase og kjørebane",
            "typeVeg": "Enkel bilveg",
            "typeVeg_sosi": "enkelBilveg",
            "startdato": KNOWN_SINCE,
            "geometri": _line(points),
            "kommune": int(CODE),
            "fylke": int(CODE[:2]),
            "vegsystemreferanse": _reference(sequence, start * 2 * ARM_M, end * 2 * ARM_M),
        }
        for start, end, _, _, points in halves
    ]
    return found


# --- Overpass ------------------------------------------------------------------------------------------------------------

OSM_JUNCTION, OSM_RELATION = 990100001, 990130001


def overpass() -> dict[str, Any]:
    """The same town as an Overpass answer: four ways that meet, the signals, the municipality."""
    nodes: list[dict[str, Any]] = []
    ways: list[dict[str, Any]] = []

    def node(number: int, place: tuple[float, float], tags: dict[str, str] | None = None) -> dict[str, float]:
        lon, lat = _lonlat(*place)
        nodes.append({"type": "node", "id": number, "lat": lat, "lon": lon, **({"tags": tags} if tags else {})})
        return {"lat": lat, "lon": lon}

    middle = node(OSM_JUNCTION, (0.0, 0.0), {"highway": "traffic_signals", "traffic_signals": "signal"})
    for i, (first, last, category, number, street) in enumerate(ROADS.values()):
        for j, arm in enumerate((first, last)):
            ids = [OSM_JUNCTION + 10 * (2 * i + j + 1) + k for k in range(4)]
            places = [
                node(ids[0], _along(arm, ARM_M)),
                node(ids[1], _along(arm, 120.0)),
                node(ids[2], _along(arm, 40.0)),
                node(ids[3], _along(arm, 10.7), {"highway": "crossing", "crossing": "traffic_signals"}),
            ]
            tags = {"highway": "tertiary" if category == "F" else "residential", "name": street, "maxspeed": "50"}
            tags |= {"ref": str(number)} if category == "F" else {}
            ids, places = [*ids, OSM_JUNCTION], [*places, middle]
            if j == 1:  # drawn outwards, as a way that goes on behind the junction is
                ids, places = ids[::-1], places[::-1]
            ways.append(_way(990120001 + 2 * i + j, ids, places, tags))

    corners = [_lonlat(*corner) for corner in boundary_road()]
    ring = [{"lat": lat, "lon": lon} for lon, lat in [*corners, corners[0]]]
    half = len(corners) // 2
    members = [
        {"type": "way", "ref": 990121001, "role": "outer", "geometry": ring[: half + 1]},
        {"type": "way", "ref": 990121002, "role": "outer", "geometry": ring[half:][::-1]},
    ]
    relation = {
        "type": "relation",
        "id": OSM_RELATION,
        "bounds": _bounds(ring),
        "members": members,
        "tags": {"type": "boundary", "boundary": "administrative", "admin_level": "7", "ref": CODE, "name": NAME},
    }
    return {
        "version": 0.6,
        "generator": "Overpass API",
        "osm3s": {
            "timestamp_osm_base": "2026-05-22T00:00:00Z",
            "copyright": "Fictional data in the form of an Overpass answer, made for Kryss; nothing of OpenStreetMap is in it.",
        },
        "elements": [*nodes, *ways, relation],
    }


def _way(number: int, ids: list[int], places: list[dict[str, float]], tags: dict[str, str]) -> dict[str, Any]:
    return {"type": "way", "id": number, "bounds": _bounds(places), "nodes": ids, "geometry": places, "tags": tags}


def _bounds(places: list[dict[str, float]]) -> dict[str, float]:
    lats, lons = [p["lat"] for p in places], [p["lon"] for p in places]
    return {"minlat": min(lats), "minlon": min(lons), "maxlat": max(lats), "maxlon": max(lons)}
