"""A release in the formats of other tools: FlatGeobuf, GeoParquet 1.1 and PMTiles, from its objects and areas as GeoJSON.

Types come from ``schema.json`` and not from the values, so that a column is of one type in every release, also where all of it
is null: instants are timestamps (UTC), integers have 64 bits, numbers are doubles, the rest is text. Read and written in
batches: memory does not grow with the layer. The same GeoJSON gives the same bytes: nothing of the clock, host or path is in
them.

Formats: https://flatgeobuf.org, https://geoparquet.org/releases/v1.1.0, https://docs.protomaps.com/pmtiles.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

import numpy
import orjson
import pyarrow
import pyogrio
import shapely
from pyarrow import parquet

Json = dict[str, Any]
BATCH = 10_000
"""Features that are in memory at once."""
ROW_GROUP = 25_000
"""Rows of a row group of GeoParquet: readers skip whole groups by the bbox column."""
LAYERS = {"objects": "Point", "areas": "Polygon"}
GEOMETRY = "geometry"
INSTANT = pyarrow.timestamp("ms", tz="UTC")
ZOOMS = (11, 16)
"""Zoom levels of the tiles: from a municipality at a glance to a coordinate step of 15 cm. Low levels hold fewer objects where
tiles would get too big; the highest holds all of them."""
TILE_BYTES, TILE_FEATURES = 1_000_000, 200_000


class UnknownFormatError(ValueError):
    """A format that this module does not write."""


def write(folder: Path, wanted: Sequence[str]) -> list[str]:
    """Writes the ``wanted`` formats into the release in ``folder``, and returns the names of their files, sorted."""
    strangers = sorted(set(wanted) - WRITERS.keys())
    if strangers:
        raise UnknownFormatError(f"no format {', '.join(map(repr, strangers))}; choose among {', '.join(sorted(WRITERS))}")
    return sorted(name for one in sorted(set(wanted)) for name in WRITERS[one](Path(folder)))


def _flatgeobuf(folder: Path) -> list[str]:
    for name in LAYERS:
        pyogrio.write_arrow(
            pyarrow.RecordBatchReader.from_batches(schema_of(name), batches(folder, name)),
            folder / f"{name}.fgb",
            driver="FlatGeobuf",
            layer=name,
            geometry_name=GEOMETRY,
            geometry_type=LAYERS[name],
            crs="EPSG:4326",
        )
    return [f"{name}.fgb" for name in LAYERS]


def _geoparquet(folder: Path) -> list[str]:
    for name in LAYERS:
        schema = _with_bbox(schema_of(name))
        about = {"geo": json.dumps(_geo(name, bounds(folder, name)), separators=(",", ":"))}
        with parquet.ParquetWriter(folder / f"{name}.parquet", schema.with_metadata(about), compression="zstd") as file:
            group: list[pyarrow.RecordBatch] = []
            for batch in batches(folder, name):
                group.append(_boxed(batch, schema))
                if sum(map(len, group)) >= ROW_GROUP:
                    file.write_table(pyarrow.Table.from_batches(group), row_group_size=ROW_GROUP)
                    group = []
            if group:
                file.write_table(pyarrow.Table.from_batches(group), row_group_size=ROW_GROUP)
    return [f"{name}.parquet" for name in LAYERS]


def _pmtiles(folder: Path) -> list[str]:
    name = "objects"
    if bounds(folder, name) is None:
        return []  # an archive of tiles has bounds, and nothing has none
    (folder / f"{name}.pmtiles").unlink(missing_ok=True)  # the driver would open it and find that it cannot be changed
    pyogrio.write_arrow(
        pyarrow.RecordBatchReader.from_batches(schema_of(name), batches(folder, name)),
        folder / f"{name}.pmtiles",
        driver="PMTiles",
        layer=name,
        geometry_name=GEOMETRY,
        geometry_type=LAYERS[name],
        crs="EPSG:4326",
        NAME=name,
        MINZOOM=ZOOMS[0],
        MAXZOOM=ZOOMS[1],
        MAX_SIZE=TILE_BYTES,
        MAX_FEATURES=TILE_FEATURES,
    )
    return [f"{name}.pmtiles"]


WRITERS: Mapping[str, Callable[[Path], list[str]]] = {
    "flatgeobuf": _flatgeobuf,
    "geoparquet": _geoparquet,
    "pmtiles": _pmtiles,
}


def features(folder: Path, name: str) -> Iterator[Json]:
    """The features of a file of the release, a line each."""
    with Path(folder, f"{name}.geojson").open("rb") as file:
        for line in file:
            if line.startswith((b'{"type":"Feature",', b',{"type":"Feature",')):
                yield orjson.loads(line.removeprefix(b","))


def bounds(folder: Path, name: str) -> list[float] | None:
    """West, south, east, north as the file's head says it; None of a file without features."""
    with Path(folder, f"{name}.geojson").open("rb") as file:
        for line in islice(file, 2):
            if line.startswith(b'"bbox":'):
                box: list[float] = orjson.loads(line.removeprefix(b'"bbox":').rstrip(b",\n"))
                return box
    return None


def batches(folder: Path, name: str) -> Iterator[pyarrow.RecordBatch]:
    """The features in their order as columns, geometry as WKB; at least one batch."""
    schema, rows = schema_of(name), features(folder, name)
    first = True
    while (some := list(islice(rows, BATCH))) or first:
        first = False
        yield pyarrow.record_batch([_column(field, some) for field in schema], schema=schema)


def _column(field: pyarrow.Field, rows: Sequence[Json]) -> pyarrow.Array:
    if field.name == GEOMETRY:
        shapes = shapely.from_geojson([orjson.dumps(row["geometry"]) for row in rows])
        return pyarrow.array(shapely.to_wkb(numpy.asarray(shapes, dtype=object), byte_order=1), field.type)
    values = [row["properties"][field.name] for row in rows]
    if field.type == INSTANT:
        values = [None if value is None else datetime.fromisoformat(value) for value in values]
    return pyarrow.array(values, field.type)


@cache
def schema_of(name: str) -> pyarrow.Schema:
    """Columns of ``objects`` or ``areas``, by their schema."""
    defs = json.loads(resources.files("kryss.layer").joinpath("schema.json").read_text(encoding="utf-8"))["$defs"]
    item = defs[name]["properties"]["features"]["items"]["$ref"].rpartition("/")[2]
    properties = defs[item]["properties"]["properties"]["properties"]
    columns = [pyarrow.field(key, _type(one, defs)) for key, one in properties.items()]
    wkb = pyarrow.field(GEOMETRY, pyarrow.binary(), metadata={"ARROW:extension:name": "geoarrow.wkb"})
    return pyarrow.schema([*columns, wkb])


def _type(one: Json, defs: Json) -> pyarrow.DataType:
    for choice in (one, *one.get("anyOf", ())):
        if choice.get("$ref") == "#/$defs/instant":
            return INSTANT
    kinds = one.get("type", "string")
    if "integer" in kinds:
        return pyarrow.int64()
    return pyarrow.float64() if "number" in kinds else pyarrow.string()


def _with_bbox(schema: pyarrow.Schema) -> pyarrow.Schema:
    corners = pyarrow.struct([pyarrow.field(side, pyarrow.float64()) for side in ("xmin", "ymin", "xmax", "ymax")])
    return schema.append(pyarrow.field("bbox", corners))


def _boxed(batch: pyarrow.RecordBatch, schema: pyarrow.Schema) -> pyarrow.RecordBatch:
    corners = shapely.bounds(shapely.from_wkb(batch.column(GEOMETRY).to_numpy(zero_copy_only=False))).reshape(-1, 4)
    box = pyarrow.StructArray.from_arrays([pyarrow.array(side) for side in corners.T], fields=list(schema.field("bbox").type))
    return pyarrow.record_batch([*batch.columns, box], schema=schema)


def _geo(name: str, box: list[float] | None) -> Json:
    """The ``geo`` metadata of GeoParquet 1.1; without ``crs`` it is OGC:CRS84: longitude, latitude."""
    column: Json = {"encoding": "WKB", "geometry_types": [LAYERS[name]] if box else []}
    if LAYERS[name] == "Polygon":
        column["orientation"] = "counterclockwise"
    if box:
        column["bbox"] = box
    column["covering"] = {"bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}}
    return {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
