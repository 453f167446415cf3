"""A recorded area is checked when it is loaded, and every error says where to look."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kryss.demo.area import AreaError, found_epochs, load_area
from kryss.model import Municipality

ROOT = Path(__file__).parents[2]
TOWN = ROOT / "include" / "kryss" / "demo" / "areas" / "town"
DAMASEN = ROOT / ".." / "shared" / "data" / "area-damasen"
DAY_MS = 86_400_000
JUNE_MS = 1_750_000_000_000

Edit = Callable[[Any], Any]


@pytest.fixture
def folder(road_map: ModuleType, tmp_path: Path) -> Path:
    return road_map.write_area(tmp_path / "area", "junctions")


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Change a JSON file."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def image(folder: Path, **changes: Any) -> dict[str, Any]:
    entity = json.loads((folder / "images.jsonl").read_text().splitlines()[0])
    return {key: value for key, value in {**entity, **changes}.items() if value is not ...}


def write_images(folder: Path, *images: dict[str, Any] | str) -> None:
    lines = [entity if isinstance(entity, str) else json.dumps(entity) for entity in images]
    (folder / "images.jsonl").write_text("\n".join(lines) + "\n")


def error_of(folder: Path) -> str:
    with pytest.raises(AreaError) as caught:
        load_area(folder)
    return str(caught.value)


def test_area_is_loaded_with_everything_a_playback_needs(folder: Path, road_map: ModuleType) -> None:
    area = load_area(folder)
    assert area.municipality == Municipality("5001", "Prøveby", "NO", road_map.boundary())
    assert [entity["id"] for entity in area.images] == ["1001"]
    assert area.photo_path("1001").read_bytes().startswith(b"\xff\xd8")
    assert (area.roads, area.attribution, area.truth) == ("junctions", "made for tests", None)


@pytest.mark.parametrize("kind", ["nvdb", "overpass", "junctions"])
def test_each_kind_of_roads_is_loaded(kind: str, road_map: ModuleType, tmp_path: Path) -> None:
    assert load_area(road_map.write_area(tmp_path / kind, kind)).roads == kind


def test_path_may_be_text(folder: Path) -> None:
    assert load_area(str(folder)).path == folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": ...}, "'id' is missing"),
        ({"id": 1001}, "'id' is 1001, expected a string of digits"),
        ({"captured_at": 1_750_000_000}, "'captured_at' is 1750000000, expected milliseconds since 1970"),
        ({"captured_at": "2025-06-15"}, "'captured_at' is '2025-06-15', expected milliseconds"),
        ({"captured_at": True}, "'captured_at' is True"),
        ({"captured_at": ..., "capture_at": JUNE_MS}, "'captured_at' is missing; did you mean it by 'capture_at'?"),
        ({"uploaded_at": -5}, "'uploaded_at' is -5"),
        ({"width": 0}, "'width' is 0, expected a positive integer"),
        ({"geometry": {"type": "Point", "coordinates": [200, 60]}}, "'geometry' is {'type': 'Point'"),
        ({"geometry": {"type": "Point", "coordinates": [float("nan"), 60]}}, r"$.geometry.coordinates[0] is NaN or infinite"),
        ({"computed_geometry": [10, 60]}, "'computed_geometry' is [10, 60], expected a GeoJSON Point"),
        ({"geometry": ...}, "neither 'geometry' nor 'computed_geometry'"),
        ({"computed_rotation": [1, 2]}, "'computed_rotation' is [1, 2], expected three radians"),
        ({"camera_parameters": "0.85"}, "'camera_parameters' is '0.85'"),
        ({"exif_orientation": 9}, "'exif_orientation' is 9, expected an integer from 1 to 8"),
        ({"is_pano": "no"}, "'is_pano' is 'no', expected true or false"),
        ({"thumb_2048_url": "https://x"}, "'thumb_2048_url' must not be recorded"),
    ],
)
def test_wrong_image_is_named_by_file_and_line(folder: Path, changes: dict, message: str) -> None:
    write_images(folder, image(folder), image(folder, **changes))
    assert error_of(folder).startswith(f"{folder / 'images.jsonl'}:2: ")
    assert message in error_of(folder)


def test_image_may_lack_what_mapillary_may_lack(folder: Path) -> None:
    write_images(folder, image(folder, geometry=..., computed_geometry={"type": "Point", "coordinates": [15, 60]}))
    assert len(load_area(folder).images) == 1


def test_field_that_kryss_does_not_read_is_kept(folder: Path) -> None:
    write_images(folder, image(folder, merge_cc=4.5e18, quality_score=0.7))
    assert load_area(folder).images[0]["merge_cc"] == 4.5e18


def test_line_that_is_no_json_is_named_with_its_column(folder: Path) -> None:
    write_images(folder, image(folder), "", '{"id": "1002",}')
    assert error_of(folder).startswith(f"{folder / 'images.jsonl'}:3:15: not JSON")


def test_line_that_is_no_object_is_named(folder: Path) -> None:
    write_images(folder, "[1]")
    assert "images.jsonl:1: expected a JSON object, found list" in error_of(folder)


def test_image_that_is_there_twice_is_named_with_both_lines(folder: Path) -> None:
    write_images(folder, image(folder), image(folder))
    assert "images.jsonl:2: image 1001 is already on line 1" in error_of(folder)


@pytest.mark.parametrize("empty", [True, False])
def test_missing_photo_is_named_by_the_line_of_its_image(folder: Path, empty: bool) -> None:
    photo = folder / "photos" / "1001.jpg"
    if empty:
        photo.write_bytes(b"")
    else:
        photo.unlink()
    assert "images.jsonl:1: photo photos/1001.jpg is missing or empty" in error_of(folder)


def test_area_without_images_is_refused(folder: Path) -> None:
    (folder / "images.jsonl").write_text("\n")
    assert "images.jsonl: no image in it" in error_of(folder)


@pytest.mark.parametrize("name", ["area.json", "images.jsonl", "roads/junctions.geojson"])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert error_of(folder).startswith(f"{folder / name}: missing")


def test_missing_folder_is_named(tmp_path: Path) -> None:
    assert "nowhere: no such folder" in error_of(tmp_path / "nowhere")


def test_broken_area_json_is_named_with_line_and_column(folder: Path) -> None:
    (folder / "area.json").write_text('{\n "code": "1",\n}')
    assert error_of(folder).startswith(f"{folder / 'area.json'}:3:1: not JSON")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("name"), "at $: 'name' is missing"),
        (lambda a: a.update(bondary=a.pop("boundary")), "at $.boundary: nothing, expected a JSON object"),
        (lambda a: a.update(code=""), "at $.code: '', expected a non-empty string"),
        (lambda a: a.update(code=3314), "at $.code: 3314, expected a non-empty string"),
        (lambda a: a.update(country="Norway"), "at $.country: 'Norway' is not an ISO 3166-1 alpha-2 code"),
        (lambda a: a.update(roads="osm"), "at $.roads: 'osm' is not one of nvdb, overpass, junctions"),
        (lambda a: a["boundary"].update(type="Point"), "at $.boundary.type: 'Point', expected Polygon or MultiPolygon"),
        (lambda a: a["boundary"]["coordinates"][0].pop(), "at $.boundary.coordinates[0]: the ring is not closed"),
        (
            lambda a: a["boundary"].update(coordinates=[[[0, 0], [1, 0], [0, 0]]]),
            "at $.boundary.coordinates[0]: a ring needs at least 4 positions, found 3",
        ),
        (
            lambda a: a["boundary"]["coordinates"][0].insert(1, [10]),
            "at $.boundary.coordinates[0][1]: [10] is not [longitude, latitude]",
        ),
        (
            lambda a: a["boundary"]["coordinates"][0].insert(1, [59.9, 110.7]),
            "at $.boundary.coordinates[0][1]: [59.9, 110.7] is not [longitude, latitude]",
        ),
        (
            lambda a: a["boundary"]["coordinates"][0].insert(1, [float("nan"), 1]),
            "at $.boundary.coordinates[0][1][0]: NaN and infinite numbers are not JSON",
        ),
        (
            lambda a: a["boundary"].update(coordinates=[[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]),
            "at $.boundary: not a valid polygon: Self-intersection",
        ),
        (
            lambda a: a["boundary"].update(type="MultiPolygon", coordinates=[[[[0, 0], [1, 1]]]]),
            "at $.boundary.coordinates[0][0]: a ring needs at least 4",
        ),
        (lambda a: a.update(epochs=["2025-06-15"]), "at $.epochs[0]: '2025-06-15' has no time zone"),
        (lambda a: a.update(epochs=["soon"]), "at $.epochs[0]: 'soon' is not an ISO 8601 instant"),
        (lambda a: a.update(epochs=["2025-06-15T00:00:00Z"] * 2), "at $.epochs: the instants must be there and rise"),
    ],
)
def test_wrong_area_json_is_named_with_its_path(folder: Path, change: Edit, message: str) -> None:
    edit(folder / "area.json", change)
    assert error_of(folder).startswith(f"{folder / 'area.json'}: {message}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("features"), "at $.features: nothing, expected a JSON array"),
        (lambda c: c["features"][1].pop("id"), "at $.features[1].id: every junction needs a Feature id"),
        (lambda c: c["features"][1].update(id="north"), "at $.features[1].id: 'north' is there twice"),
        (
            lambda c: c["features"][0]["properties"].update(speed_limit_kmh="50"),
            "at $.features[0].properties.speed_limit_kmh: '50', expected km/h above zero",
        ),
        (lambda c: c["features"][0].update(geometry=None), "at $.features[0].geometry: nothing, expected a GeoJSON Point"),
    ],
)
def test_wrong_junction_is_named_with_its_path(folder: Path, change: Edit, message: str) -> None:
    edit(folder / "roads" / "junctions.geojson", change)
    assert message in error_of(folder)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("segments", lambda s: s[2].pop("startnode"), "segments.json: at $[2]: 'startnode' is missing"),
        ("segments", lambda s: s[0]["geometri"].update(wkt="LINE"), "segments.json: at $[0].geometri.wkt: not WKT"),
        ("nodes", lambda n: n[1].pop("geometri"), "nodes.json: at $[1].geometri: nothing"),
        ("nodes", lambda n: n[0]["geometri"].update(srid=4326), "nodes.json: at $[0].geometri.srid: 4326; record with srid=5973"),
        ("objects-105", lambda o: o[0].pop("id"), "objects-105.json: at $[0]: 'id' is missing"),
    ],
)
def test_wrong_nvdb_record_is_named(name: str, change: Edit, message: str, road_map: ModuleType, tmp_path: Path) -> None:
    folder = road_map.write_area(tmp_path / "area", "nvdb")
    edit(folder / "roads" / "nvdb" / f"{name}.json", change)
    assert message in error_of(folder)


def test_road_object_without_a_geometry_is_accepted(road_map: ModuleType, tmp_path: Path) -> None:
    folder = road_map.write_area(tmp_path / "area", "nvdb")
    edit(folder / "roads" / "nvdb" / "objects-37.json", lambda objects: objects[0].pop("geometri"))
    assert load_area(folder).roads == "nvdb"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e[0].update(type="area"), "at $.elements[0].type: 'area', expected node, way or relation"),
        (lambda e: e[0].update(id="1"), "at $.elements[0].id: '1', expected an integer"),
        (lambda e: e[0].pop("geometry"), "at $.elements[0]: a way needs as many positions"),
        (lambda e: e[-2].pop("lat"), "a node needs lat and lon"),
    ],
)
def test_wrong_overpass_element_is_named(change: Edit, message: str, road_map: ModuleType, tmp_path: Path) -> None:
    folder = road_map.write_area(tmp_path / "area", "overpass")
    edit(folder / "roads" / "overpass.json", lambda answer: change(answer["elements"]))
    assert message in error_of(folder)


def test_second_source_of_roads_is_checked_too(road_map: ModuleType, tmp_path: Path) -> None:
    folder = road_map.write_area(tmp_path / "area", "nvdb")
    (folder / "roads" / "overpass.json").write_text('{"elements": {}}')
    assert "overpass.json: at $.elements: {}, expected a JSON array" in error_of(folder)


def test_days_more_than_a_week_apart_are_epochs_that_end_at_midnight() -> None:
    days = [0, 1, 5, 20, 21, 400]
    images = [{"captured_at": JUNE_MS + day * DAY_MS} for day in days]
    assert found_epochs(images[::-1]) == (
        datetime(2025, 6, 21, tzinfo=UTC),
        datetime(2025, 7, 7, tzinfo=UTC),
        datetime(2026, 7, 21, tzinfo=UTC),
    )


def test_photo_counts_from_the_day_it_was_uploaded() -> None:
    late = {"captured_at": JUNE_MS, "uploaded_at": JUNE_MS + 30 * DAY_MS}
    assert found_epochs([late]) == (datetime(2025, 7, 16, tzinfo=UTC),)


def test_epochs_that_the_area_states_go_before_those_that_are_found(folder: Path) -> None:
    edit(folder / "area.json", lambda area: area.update(epochs=["2025-07-01T02:00:00+02:00", "2026-01-01T00:00:00Z"]))
    assert load_area(folder).epochs == (datetime(2025, 7, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))


def test_key_that_is_not_of_the_format_is_ignored(folder: Path) -> None:
    edit(folder / "area.json", lambda area: area.update(note="for later"))
    assert load_area(folder).code == "5001"


@pytest.mark.skipif(not (TOWN / "area.json").exists(), reason="the town is not there yet")
def test_shipped_town_loads() -> None:
    town = load_area(TOWN)
    assert town.roads == "nvdb" and town.truth is not None and len(town.epochs) >= 1


@pytest.mark.real
@pytest.mark.skipif(not DAMASEN.exists(), reason="no ../shared/data")
def test_damasen_loads_although_its_gps_is_outside_and_its_camera_unknown() -> None:
    area = load_area(DAMASEN)
    assert len(area.images) == 7 and area.epochs == (datetime(2018, 6, 22, tzinfo=UTC),)
    assert area.truth is not None and area.truth["features"][0]["properties"]["accuracy_m"] == 3
