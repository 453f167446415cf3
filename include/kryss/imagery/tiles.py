"""Mapillary's z14 coverage tiles: which tiles cover a boundary, and which sequences a tile shows inside it.

XYZ web-mercator scheme, Mapbox Vector Tile 2, extent 4096, layers ``sequence`` (LineString, property ``id``) and
``image`` (Point, property ``sequence_id``); contracts/mapillary-api-v4.md section 6. Tile coordinates have y down;
mapbox_vector_tile flips y unless it is told not to (section 11, quirk 8).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mapbox_vector_tile
import numpy as np
import shapely
from google.protobuf.message import DecodeError
from shapely.geometry import MultiPolygon, Polygon, shape
from shapely.geometry.base import BaseGeometry

ZOOM = 14
MARGIN_DEG = 0.002
"""How far outside the boundary a point on a tile still makes its sequence worth asking for: tiles are rounded, and a
tile may have been made before the last reconstruction moved its images."""


def area_of(boundary: dict[str, Any]) -> Polygon | MultiPolygon:
    """A GeoJSON Polygon or MultiPolygon (or a Feature of one) as a valid shapely geometry."""
    geometry = boundary.get("geometry") if boundary.get("type") == "Feature" else boundary
    if not isinstance(geometry, dict) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
        kind = geometry.get("type") if isinstance(geometry, dict) else geometry
        raise ValueError(f"a boundary must be a GeoJSON Polygon or MultiPolygon, not {kind!r}")
    made = shapely.make_valid(shape(geometry))
    parts = [part for part in shapely.get_parts(made) if part.geom_type in ("Polygon", "MultiPolygon")]
    area = shapely.union_all(parts)
    if area.is_empty:
        raise ValueError("the boundary has no area")
    return area


def tile_at(lon: float, lat: float, zoom: int = ZOOM) -> tuple[float, float]:
    """Tile coordinates with fractions, x to the east and y to the south."""
    lat = max(-85.05112878, min(85.05112878, lat))
    x = (lon + 180) / 360 * 2**zoom
    y = (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * 2**zoom
    return x, y


def lon_lat_at(x: Any, y: Any, zoom: int = ZOOM) -> tuple[Any, Any]:
    """The inverse of tile_at, for numbers or arrays."""
    lon = x / 2**zoom * 360 - 180
    lat = np.degrees(np.arctan(np.sinh(math.pi * (1 - 2 * y / 2**zoom))))
    return lon, lat


def tiles_of(area: BaseGeometry, zoom: int = ZOOM) -> Iterator[tuple[int, int]]:
    """``(x, y)`` of the tiles that touch an area, in rows from the north."""
    west, south, east, north = area.bounds
    first_x, first_y = (int(value) for value in tile_at(west, north, zoom))
    last_x, last_y = (min(int(value), 2**zoom - 1) for value in tile_at(east, south, zoom))
    shapely.prepare(area)
    for y in range(first_y, last_y + 1):
        for x in range(first_x, last_x + 1):
            left, top = lon_lat_at(x, y, zoom)
            right, bottom = lon_lat_at(x + 1, y + 1, zoom)
            if area.intersects(shapely.box(left, bottom, right, top)):
                yield x, y


def tile_fault(body: bytes) -> str | None:
    """What is wrong with the body of a tile, in the form that ``Service.request(check=...)`` takes. No body is an
    empty tile."""
    try:
        mapbox_vector_tile.decode(body, default_options={"y_coord_down": True})
    except (DecodeError, ValueError, IndexError, AssertionError) as error:
        return f"bad-tile: {type(error).__name__}"
    return None


@dataclass(frozen=True, slots=True)
class Shown:
    """What a tile shows, in degrees: the tracks of its layer ``sequence`` and the images of its layer ``image`` (z14 only), both
    with the ids of their sequences."""

    track_ids: list[str]
    tracks: np.ndarray
    """(tracks,) LineStrings."""
    image_ids: list[str]
    lon: np.ndarray
    lat: np.ndarray


def shown_on(body: bytes, x: int, y: int, zoom: int = ZOOM) -> Shown:
    """Read a tile; an empty body shows nothing."""
    layers = mapbox_vector_tile.decode(body, default_options={"y_coord_down": True})
    track_ids: list[str] = []
    vertices: list[tuple[float, float]] = []
    track_of_vertex: list[int] = []
    for sequence_id, coordinates, extent in _features(layers, "sequence", "id"):
        for part in coordinates if isinstance(coordinates[0][0], list) else [coordinates]:
            if len(part) > 1:
                track_of_vertex += [len(track_ids)] * len(part)
                track_ids.append(sequence_id)
                vertices += [(x + px / extent, y + py / extent) for px, py in part]
    image_ids: list[str] = []
    points: list[tuple[float, float]] = []
    for sequence_id, coordinates, extent in _features(layers, "image", "sequence_id"):
        for px, py in coordinates if isinstance(coordinates[0], list) else [coordinates]:
            image_ids.append(sequence_id)
            points.append((x + px / extent, y + py / extent))
    tracks = shapely.linestrings(_degrees(vertices, zoom), indices=track_of_vertex) if vertices else np.empty(0, dtype=object)
    return Shown(track_ids, tracks, image_ids, *_degrees(points, zoom).T)


def sequences_in(shown: Shown, area: BaseGeometry) -> Counter[str]:
    """Sequences with a track or an image inside an area, each with its number of images there."""
    found: Counter[str] = Counter()
    for index in np.flatnonzero(shapely.intersects(area, shown.tracks)).tolist():
        found[shown.track_ids[index]] += 0
    for index in np.flatnonzero(shapely.intersects_xy(area, shown.lon, shown.lat)).tolist():
        found[shown.image_ids[index]] += 1
    return found


def _degrees(tile_xy: list[tuple[float, float]], zoom: int) -> np.ndarray:
    """(n, 2) longitudes and latitudes."""
    xy = np.asarray(tile_xy, dtype=float).reshape(-1, 2)
    return np.column_stack(lon_lat_at(xy[:, 0], xy[:, 1], zoom))


def _features(layers: dict[str, Any], layer: str, key: str) -> Iterator[tuple[str, Any, int]]:
    """``(sequence id, coordinates, extent)`` of the features of a layer that name their sequence."""
    content = layers.get(layer, {})
    for feature in content.get("features", ()):
        sequence_id = feature["properties"].get(key)
        if sequence_id and isinstance(sequence_id, str) and feature["geometry"]["coordinates"]:
            yield sequence_id, feature["geometry"]["coordinates"], content["extent"]
