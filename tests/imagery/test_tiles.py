"""Coverage tiles: the tiles of a boundary, and the sequences that a tile shows inside it."""

from __future__ import annotations

import math
from pathlib import Path

import mapbox_vector_tile
import pyproj
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from kryss.imagery.tiles import area_of, lon_lat_at, sequences_in, shown_on, tile_at, tile_fault, tiles_of

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "mapillary-responses" / "coverageTiles" / "mly1_public" / "2" / "14"
real_data = pytest.mark.skipif(not REAL.exists(), reason="no ../shared")

degrees_lon = st.floats(-179.9, 179.9)
degrees_lat = st.floats(-84, 84)
inner = st.floats(0.001, 0.999)


@given(degrees_lon, degrees_lat)
def test_tile_coordinates_and_degrees_are_inverse(lon: float, lat: float) -> None:
    assert lon_lat_at(*tile_at(lon, lat)) == pytest.approx((lon, lat), abs=1e-9)


@given(degrees_lon, degrees_lat)
def test_tile_coordinates_are_web_mercator(lon: float, lat: float) -> None:
    half_m = math.pi * 6378137
    east_m, north_m = pyproj.Transformer.from_crs(4326, 3857, always_xy=True).transform(lon, lat)
    expected = ((east_m / half_m + 1) / 2 * 2**14, (1 - north_m / half_m) / 2 * 2**14)
    assert tile_at(lon, lat) == pytest.approx(expected, abs=1e-6)


@given(st.floats(-170, 170), st.floats(-75, 75), st.floats(0.001, 0.05), inner, inner)
def test_every_point_of_a_boundary_lies_on_one_of_its_tiles(lon: float, lat: float, side: float, u: float, v: float) -> None:
    area = shapely.box(lon, lat, lon + side, lat + side)
    x, y = tile_at(lon + u * side, lat + v * side)
    assert (int(x), int(y)) in set(tiles_of(area))


def test_a_tile_that_the_boundary_does_not_touch_is_left_out() -> None:
    corner_only = shapely.Polygon([(9.9, 59.9), (10.1, 59.9), (9.9, 60.1)])
    tiles = set(tiles_of(corner_only))
    assert tuple(int(v) for v in tile_at(10.09, 60.09)) not in tiles
    assert tuple(int(v) for v in tile_at(9.91, 59.91)) in tiles


@pytest.mark.parametrize(
    ("boundary", "message"),
    [({"type": "Point", "coordinates": [1, 2]}, "'Point'"), ({"type": "Polygon", "coordinates": []}, "no area"), ({}, "None")],
)
def test_a_boundary_must_be_an_area(boundary: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        area_of(boundary)


def test_a_boundary_that_crosses_itself_is_mended() -> None:
    bow_tie = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}
    assert area_of(bow_tie).area == pytest.approx(0.5)


def _tile(y_px: int) -> bytes:
    """A tile with one image, ``y_px`` from its north edge."""
    feature = {"geometry": shapely.Point(2048, y_px), "properties": {"sequence_id": "s"}}
    return mapbox_vector_tile.encode({"name": "image", "features": [feature]}, default_options={"y_coord_down": True})


def test_y_of_a_tile_points_down() -> None:
    x, y = 8681, 4766
    _, top = lon_lat_at(x, y)
    _, bottom = lon_lat_at(x, y + 1)
    height = top - bottom
    assert height > 0.01
    northern = shapely.box(10.7, top - height * 0.2, 10.8, top)
    assert sequences_in(shown_on(_tile(y_px=200), x, y), northern) == {"s": 1}
    assert sequences_in(shown_on(_tile(y_px=3800), x, y), northern) == {}


def test_an_empty_body_is_an_empty_tile() -> None:
    assert tile_fault(b"") is None
    assert sequences_in(shown_on(b"", 1, 1), shapely.box(0, 0, 1, 1)) == {}


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><html>Sorry</html>", b'{"error": {}}', _tile(100)[:-3]])
def test_what_is_no_tile_is_told_from_an_empty_one(body: bytes) -> None:
    assert (tile_fault(body) or "").startswith("bad-tile")


def test_a_straight_track_counts_though_none_of_its_vertices_is_inside() -> None:
    """Tracks on low zooms are simplified: a road through a village may have no vertex in it."""
    track = {"geometry": shapely.LineString([(0, 2048), (4096, 2048)]), "properties": {"id": "through"}}
    body = mapbox_vector_tile.encode({"name": "sequence", "features": [track]}, default_options={"y_coord_down": True})
    (west, north), (east, south) = lon_lat_at(2170, 1191, 12), lon_lat_at(2171, 1192, 12)
    village = shapely.box(west, south, east, north).centroid.buffer((east - west) / 20)
    assert sequences_in(shown_on(body, 2170, 1191, 12), village) == {"through": 0}
    assert sequences_in(shown_on(body, 2170, 1191, 12), shapely.box(west, north - 0.001, east, north)) == {}


@real_data
@pytest.mark.real
@pytest.mark.parametrize(
    ("x", "y", "images", "tracks"),
    [(3251, 6257, 31261, 331), (3251, 6258, 7890, 96), (3252, 6257, 8695, 89), (3252, 6258, 4888, 70)],
)
def test_real_tiles_are_read(x: int, y: int, images: int, tracks: int) -> None:
    body = (REAL / str(x) / f"{y}.mvt").read_bytes()
    west, north = lon_lat_at(x, y)
    east, south = lon_lat_at(x + 1, y + 1)
    found = sequences_in(shown_on(body, x, y), shapely.box(west, south, east, north).buffer(1e-6))
    assert sum(found.values()) == images
    assert len(found) >= tracks


@real_data
@pytest.mark.real
def test_a_real_sequence_continues_over_the_edge_of_two_real_tiles() -> None:
    """Were y read upside down, a track that leaves a tile in the south would not enter the next one in the north."""
    upper, lower = (REAL / "3252" / f"{y}.mvt" for y in (6257, 6258))
    _, edge = lon_lat_at(3252, 6258)
    strip = shapely.box(-109, edge - 0.0001, -108, edge + 0.0001)
    found = [sequences_in(shown_on(path.read_bytes(), 3252, int(path.stem)), strip) for path in (upper, lower)]
    assert len(found[0].keys() & found[1].keys()) >= 10
