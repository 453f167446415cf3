"""What others make of a release: independent validators of RFC 7946, and the readers that people use, without a complaint."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geojson_validator
import geopandas
import pyogrio
import pytest
from geojson_pydantic import FeatureCollection

from kryss.layer.provenance import known_source
from kryss.layer.validate import validate
from kryss.model import Municipality

Json = dict[str, Any]
NAMES = ("intersections", "objects", "areas", "roads", "changes")
OPINIONS = {"excessive_coordinate_precision"}
"""That tool wants 6 decimals (section 11.2 speaks of them as an example); this layer has 7, and no more."""


@dataclass(frozen=True)
class Releases:
    """Real releases of all shapes."""

    folders: dict[str, Path]

    def files(self) -> list[tuple[str, Path]]:
        return [(f"{shape} {name}", folder / f"{name}.geojson") for shape, folder in self.folders.items() for name in NAMES]


@pytest.fixture(scope="module")
def releases(published, town, tmp_path_factory) -> Releases:
    """Of the town twice, of one object, without objects, without roads, and of a municipality that is empty."""
    root = tmp_path_factory.mktemp("shapes")
    folders = {"first": published.first, "second": published.second}
    signs = town.in_2025()
    plain = replace(town.junction("osm:1"), approaches=())
    hostile = replace(town.junction('area:<script>"\\\n'), name="x" * 10_000 + "æøå 標識 \u2028", kind='"', approaches=())
    renamed = [replace(one, id=town.id(f"other {number}")) for number, one in enumerate(signs)]
    shapes: dict[str, tuple[str, dict[str, Any]]] = {
        "one object": ("8001", {"objects": renamed[:1]}),
        "no objects": ("8002", {"objects": []}),
        "no roads": ("8003", {"objects": renamed[1:3], "intersections": [plain]}),
        "empty": ("8004", {"objects": [], "intersections": [], "assignments": {}}),
        "hostile": ("8005", {"objects": renamed[3:5], "intersections": [hostile]}),
    }
    for shape, (code, believed) in shapes.items():
        municipality = Municipality(code, "Ø <b>&amp;</b>", "NO", town.municipality.boundary)
        objects = believed.pop("objects")
        if believed.get("intersections"):
            believed["assignments"] = {one.id: believed["intersections"][0].id for one in objects}
        elif "assignments" not in believed:
            believed["intersections"] = [town.junction(f"nvdb:{code}")]
        town.believe(published.store, objects, municipality=municipality, **believed)
        inputs = replace(town.inputs, sources=(known_source("mapillary"), known_source("osm")))
        folders[shape] = Path(town.publish(published.store, root, town.next_spring, municipality=municipality, inputs=inputs).url)
    return Releases(folders)


def collection(path: Path) -> Json:
    return json.loads(path.read_bytes())


def test_every_shape_of_release_is_valid(releases):
    for shape, folder in releases.folders.items():
        assert validate(folder) == [], shape


def test_geojson_validator_finds_nothing(releases):
    for what, path in releases.files():
        document = collection(path)
        if not document["features"]:
            continue  # that tool takes no empty collection
        assert geojson_validator.validate_structure(document, check_crs=True) == {}, what
        found = geojson_validator.validate_geometries(document)
        assert found["invalid"] == {}, what
        assert set(found["problematic"]) <= OPINIONS, (what, found["problematic"])


def test_geojson_validator_would_find_something(releases):
    """The check above can fail: what RFC 7946 forbids is found in the same files, once it is there."""
    document = collection(releases.folders["second"] / "areas.geojson")
    ring = document["features"][0]["geometry"]["coordinates"][0]
    ring.reverse()
    assert set(geojson_validator.validate_geometries(document)["invalid"]) == {"exterior_not_ccw"}
    ring.reverse()
    ring.pop()
    assert set(geojson_validator.validate_geometries(document)["invalid"]) == {"unclosed"}
    document["features"][0]["geometry"] = {"type": "Point", "coordinates": [10.0, 63.0, 12.0]}
    assert set(geojson_validator.validate_geometries(document)["problematic"]) == {"3d_coordinates"}


def test_geojson_pydantic_reads_every_feature(releases):
    for what, path in releases.files():
        document = collection(path)
        read = FeatureCollection(**document)
        assert len(read.features) == len(document["features"]), what
        for feature, one in zip(read.features, document["features"], strict=True):
            assert (feature.id, feature.properties) == (one["id"], one["properties"])
            assert json.loads(feature.geometry.model_dump_json(exclude_none=True)) == one["geometry"]


def test_the_letter_of_the_rfc(releases):
    for what, path in releases.files():
        document = collection(path)
        assert "crs" not in document, what  # section 4
        assert document["type"] == "FeatureCollection" and "geometry" not in document and "properties" not in document  # 7.1
        places = [place for one in document["features"] for place in positions(one["geometry"])]
        if places:
            west, south = (min(place[axis] for place in places) for axis in (0, 1))
            east, north = (max(place[axis] for place in places) for axis in (0, 1))
            assert document["bbox"] == [west, south, east, north], what  # section 5
        else:
            assert "bbox" not in document
        ids = [one["id"] for one in document["features"]]
        assert len(ids) == len(set(ids)), what  # section 3.2
        assert all(len(place) == 2 for place in places), what  # 2D
        text = path.read_text(encoding="utf-8")
        assert not text.startswith("\ufeff"), what
        numbers = re.findall(r"\d\.(\d+)", json.dumps([one["geometry"] for one in document["features"]]))
        assert max((len(digits) for digits in numbers), default=0) <= 7, what


def positions(geometry: Json) -> list[list[float]]:
    if geometry["type"] == "GeometryCollection":
        return [place for one in geometry["geometries"] for place in positions(one)]
    depth = {"Point": 0, "LineString": 1, "Polygon": 2, "MultiLineString": 2}[geometry["type"]]
    places = [geometry["coordinates"]]
    for _ in range(depth):
        places = [one for level in places for one in level]
    return places


def test_pyogrio_and_geopandas_read_every_file_without_a_warning(releases, capfd):
    for what, path in releases.files():
        for file in (path, path.with_name(f"{path.name}.gz")):
            source = f"/vsigzip/{file}" if file.suffix == ".gz" else file
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                info = pyogrio.read_info(source, force_feature_count=True)
                table = geopandas.read_file(source)
            features = collection(path)["features"]
            assert info["features"] == len(table) == len(features), what
            assert info["crs"] == "EPSG:4326" or not features, what
            if features:
                assert list(table["id"].astype(str)) == [one["id"] for one in features], what
                assert set(table.columns) - {"geometry"} == set(features[0]["properties"]), what
    assert capfd.readouterr() == ("", "")  # GDAL writes to stderr


def test_columns_keep_their_meaning_in_gdal(published):
    """A text that GDAL takes for a date would lose what follows the date."""
    objects = geopandas.read_file(published.second / "objects.geojson")
    read = {one["id"]: one["properties"] for one in collection(published.second / "objects.geojson")["features"]}
    for row in objects.itertuples():
        assert row.valid_time == read[row.id]["valid_time"]
        assert row.first_seen_at.strftime("%Y-%m-%dT%H:%M:%SZ") == read[row.id]["first_seen_at"]
    layer = geopandas.read_file(published.second / "intersections.geojson")
    assert layer.geometry[0].geom_type == "GeometryCollection"
    assert [one["id"] for one in layer["objects"][0]] == sorted(read)


@pytest.mark.skipif(shutil.which("ogrinfo") is None, reason="ogrinfo (gdal-bin) is not installed")
def test_ogrinfo_reads_every_file_without_a_word_on_stderr(releases):
    for what, path in releases.files():
        run = subprocess.run(["ogrinfo", "-ro", "-al", "-so", str(path)], capture_output=True, text=True, check=True)
        assert run.stderr == "", what
        assert "using driver `GeoJSON' successful" in run.stdout
        assert f"Feature Count: {len(collection(path)['features'])}" in run.stdout, what


@pytest.mark.skipif(shutil.which("ogr2ogr") is None, reason="ogr2ogr (gdal-bin) is not installed")
def test_ogr2ogr_rewrites_a_release_as_rfc_7946_without_changing_a_geometry(releases, tmp_path):
    """GDAL's own writer of RFC 7946 finds nothing to turn round, round off or drop."""
    for name in ("areas", "objects", "roads"):
        path = releases.folders["second"] / f"{name}.geojson"
        target = tmp_path / f"{name}.geojson"
        run = subprocess.run(
            ["ogr2ogr", "-f", "GeoJSON", "-lco", "RFC7946=YES", str(target), str(path)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stderr == ""
        ours, theirs = collection(path)["features"], collection(target)["features"]
        assert [one["geometry"] for one in theirs] == [one["geometry"] for one in ours]


def test_a_reader_of_lines_needs_no_other_library(published):
    """Whoever has neither a JSON nor a GIS library takes lines: each Feature is a document of its own."""
    program = (
        "import json, sys\n"
        "rows = [json.loads(line.lstrip(',')) for line in open(sys.argv[1], encoding='utf-8') "
        "if line.lstrip(',').startswith('{\"type\":\"Feature\",')]\n"
        "print(len(rows), rows[0]['id'])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, published.second / "objects.geojson"], capture_output=True, text=True, check=True
    )
    features = collection(published.second / "objects.geojson")["features"]
    assert run.stdout.split() == [str(len(features)), features[0]["id"]]
