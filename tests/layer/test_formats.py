"""FlatGeobuf, GeoParquet and PMTiles hold what the GeoJSON of the release holds, in the same bytes every time."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import geopandas
import numpy
import orjson
import pyarrow
import pyogrio
import pytest
import shapely
from pyarrow import parquet

from kryss.layer import formats
from kryss.layer.formats import INSTANT, UnknownFormatError, schema_of, write
from kryss.layer.validate import validate

ALL = ["pmtiles", "flatgeobuf", "geoparquet"]
Json = dict[str, Any]


@pytest.fixture
def draft(published, tmp_path) -> Path:
    """The draft of a release: its GeoJSON and nothing else."""
    folder = tmp_path / "draft"
    folder.mkdir()
    for name in ("objects", "areas"):
        shutil.copy(published.second / f"{name}.geojson", folder)
    return folder


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".geojson"}


def features(path: Path) -> dict[str, Json]:
    return {one["id"]: one for one in orjson.loads(path.read_bytes())["features"]}


def town_of(folder: Path, number: int) -> None:
    """A file of objects with hostile and with missing values."""
    folder.mkdir(parents=True, exist_ok=True)
    item = {name: None for name in schema_of("objects").names if name != "geometry"}
    lines = []
    for index in range(number):
        lon, lat = round(10 + (index % 100) / 1000, 7), round(63 + (index // 100) / 1000, 7)
        values = {
            **item,
            "id": f"{index:08d}",
            "class": ["æøå 標識", "x" * 10_000, '"<script>\\\n\u2028', "a", ""][index % 5],
            "image_count": index,
            "standing_probability": index / max(number, 1),
            "first_seen_at": "0001-01-01T00:00:00Z" if index % 2 else "9999-12-31T23:59:59Z",
        }
        point = {"type": "Point", "coordinates": [lon, lat]}
        lines.append(orjson.dumps({"type": "Feature", "id": values["id"], "geometry": point, "properties": values}))
    box = b'"bbox":[10,63,11,64],\n' if number else b""
    head = b'{"type":"FeatureCollection",\n' + box + b'"features":[\n'
    body = b"\n,".join(lines) + (b"\n" if number else b"")
    (folder / "objects.geojson").write_bytes(head + body + b"]}\n")
    (folder / "areas.geojson").write_bytes(b'{"type":"FeatureCollection",\n"features":[\n]}\n')


def test_each_format_names_the_files_it_wrote(draft):
    assert write(draft, ["flatgeobuf"]) == ["areas.fgb", "objects.fgb"]
    assert write(draft, ["geoparquet"]) == ["areas.parquet", "objects.parquet"]
    assert write(draft, ["pmtiles"]) == ["objects.pmtiles"]
    assert write(draft, []) == []
    names = write(draft, [*ALL, "pmtiles"])
    assert names == sorted(written(draft)) == ["areas.fgb", "areas.parquet", "objects.fgb", "objects.parquet", "objects.pmtiles"]


def test_a_format_that_nobody_knows_is_named_with_the_choices(draft):
    with pytest.raises(UnknownFormatError, match="no format 'shapefile'; choose among flatgeobuf, geoparquet, pmtiles"):
        write(draft, ["pmtiles", "shapefile"])
    assert written(draft) == {}


def test_the_same_geojson_gives_the_same_bytes_elsewhere_and_later(draft, tmp_path):
    write(draft, ALL)
    other = tmp_path / "else where" / "ø"
    other.mkdir(parents=True)
    for name in ("objects", "areas"):
        shutil.copy(draft / f"{name}.geojson", other)
    time.sleep(1.1)  # a clock of seconds would show
    write(other, ALL)
    assert written(other) == written(draft)
    for name, raw in written(draft).items():
        assert str(draft).encode() not in raw, name


def test_many_tiles_come_in_the_same_bytes_too(tmp_path):
    for name in ("a", "b"):
        town_of(tmp_path / name, 3000)
        write(tmp_path / name, ALL)
    assert written(tmp_path / "a") == written(tmp_path / "b")


@pytest.mark.parametrize("name", ["objects", "areas"])
@pytest.mark.parametrize("suffix", ["fgb", "parquet"])
def test_what_is_read_back_is_the_geojson(draft, name, suffix, recwarn):
    write(draft, ALL)
    path = draft / f"{name}.{suffix}"
    table = geopandas.read_parquet(path) if suffix == "parquet" else geopandas.read_file(path, use_arrow=True)
    expected = features(draft / f"{name}.geojson")
    assert [str(one.message) for one in recwarn] == []
    assert sorted(table["id"]) == list(expected)
    assert table.crs.to_epsg() == 4326 or table.crs.to_string() == "OGC:CRS84"
    for row in table.to_dict("records"):
        feature = expected[row["id"]]
        assert row.pop("geometry").equals_exact(shapely.from_geojson(json.dumps(feature["geometry"])), 0)
        row.pop("bbox", None)
        assert list(row) == list(feature["properties"])
        for key, value in feature["properties"].items():
            read = row[key]
            if value is None:
                assert read is None or read != read or str(read) == "NaT", (key, read)
            elif schema_of(name).field(key).type == INSTANT:
                assert read.to_pydatetime() == datetime.fromisoformat(value)
            else:
                assert read == value, key


def test_tiles_hold_every_object_at_their_highest_zoom(draft):
    write(draft, ["pmtiles"])
    info = pyogrio.read_info(draft / "objects.pmtiles")
    assert (info["dataset_metadata"]["minzoom"], info["dataset_metadata"]["maxzoom"]) == tuple(map(str, formats.ZOOMS))
    table = geopandas.read_file(draft / "objects.pmtiles").to_crs(4326)
    expected = features(draft / "objects.geojson")
    assert sorted(table["id"]) == list(expected)
    for row in table.itertuples():
        lon, lat = expected[row.id]["geometry"]["coordinates"]
        point = shapely.get_coordinates(row.geometry)[0]
        assert numpy.hypot((point[0] - lon) * 49_800, (point[1] - lat) * 111_200) < 0.15
        assert row.status == expected[row.id]["properties"]["status"]


def test_geoparquet_says_what_version_1_1_asks_for(draft):
    write(draft, ["geoparquet"])
    for name, kind in (("objects", "Point"), ("areas", "Polygon")):
        file = parquet.ParquetFile(draft / f"{name}.parquet")
        geo = json.loads(file.metadata.metadata[b"geo"])
        column = geo["columns"][geo["primary_column"]]
        assert (geo["version"], column["encoding"], column["geometry_types"]) == ("1.1.0", "WKB", [kind])
        assert column["bbox"] == json.loads((draft / f"{name}.geojson").read_bytes())["bbox"]
        assert "crs" not in column  # then it is OGC:CRS84
        table = file.read()
        boxes = numpy.array([list(one.values()) for one in table["bbox"].to_pylist()])
        assert numpy.array_equal(boxes, shapely.bounds(shapely.from_wkb(table["geometry"].to_numpy())))
    west, south, east, north = (10.3895, 63.4295, 10.3905, 63.4305)
    near = geopandas.read_parquet(draft / "objects.parquet", bbox=(west, south, east, north))
    assert 0 < len(near) < 11


def test_columns_are_of_the_same_type_also_where_all_of_them_are_null(tmp_path):
    town_of(tmp_path / "full", 5)
    town_of(tmp_path / "empty", 0)
    for name in ("full", "empty"):
        write(tmp_path / name, ALL)
    for suffix in ("parquet", "fgb"):
        full, empty = (tmp_path / name / f"objects.{suffix}" for name in ("full", "empty"))
        if suffix == "parquet":
            assert parquet.read_schema(full).remove_metadata() == parquet.read_schema(empty).remove_metadata()
        else:
            assert list(pyogrio.read_info(full)["dtypes"]) == list(pyogrio.read_info(empty)["dtypes"])
    assert len(geopandas.read_parquet(tmp_path / "empty" / "objects.parquet")) == 0
    assert len(geopandas.read_file(tmp_path / "empty" / "objects.fgb")) == 0
    assert not (tmp_path / "empty" / "objects.pmtiles").exists()  # an archive of tiles has bounds, and nothing has none


@pytest.mark.parametrize("number", [1, 2])
def test_one_object_is_enough_for_tiles(tmp_path, number):
    town_of(tmp_path, number)
    write(tmp_path, ["pmtiles"])
    assert sorted(geopandas.read_file(tmp_path / "objects.pmtiles")["id"]) == [f"{index:08d}" for index in range(number)]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".geojson", ".geojson", ".pmtiles"]  # nothing left behind


def test_hostile_text_and_far_years_come_through(tmp_path):
    town_of(tmp_path, 5)
    write(tmp_path, ALL)
    expected = [one["properties"]["class"] for one in features(tmp_path / "objects.geojson").values()]
    assert list(geopandas.read_parquet(tmp_path / "objects.parquet")["class"]) == expected
    read = geopandas.read_file(tmp_path / "objects.fgb", use_arrow=True).sort_values("id")
    assert list(read["class"]) == expected
    years = parquet.read_table(tmp_path / "objects.parquet")["first_seen_at"].cast(pyarrow.int64()).to_pylist()
    assert years[:2] == [253402300799000, -62135596800000]


def test_a_release_with_all_formats_is_valid(town, published, tmp_path):
    formats = ("flatgeobuf", "geoparquet", "pmtiles")
    unrecorded = {"record": lambda release, inputs: None}  # the release of that name is another's
    result = town.publish(published.store, tmp_path, town.next_spring, formats=formats, **unrecorded)
    folder = Path(result.url)
    assert validate(folder) == []
    assert (folder / "objects.pmtiles").exists()
    (folder / "objects.fgb").write_bytes(b"\0" + (folder / "objects.fgb").read_bytes()[1:])
    assert {line.split(":")[0] for line in validate(folder)} == {"objects.fgb"}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_layer(tmp_path):
    """Four times the objects (240 MB) take hardly more."""
    program = (
        "import re, sys; from pathlib import Path; from kryss.layer import formats\n"
        "formats.write(Path(sys.argv[1]), ['flatgeobuf', 'geoparquet'])\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    peaks = []
    for number in (25_000, 100_000):
        town_of(tmp_path / str(number), number)
        run = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / str(number))], capture_output=True, text=True, check=True,
            env={"PYTHONPATH": "include", "PATH": "/usr/bin"},
        )  # fmt: skip
        peaks.append(int(run.stdout) // 1024)
        shutil.rmtree(tmp_path / str(number))
    assert peaks[1] < peaks[0] * 1.5, peaks
