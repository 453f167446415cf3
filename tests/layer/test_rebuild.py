"""Any past release comes again from the database alone, byte for byte; where it does not, it is told why."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from kryss.layer import rebuild as rebuild_module
from kryss.layer.geojson import LayerError
from kryss.layer.rebuild import Rebuilt, rebuild
from kryss.layer.validate import validate

SPRING, SUMMER, NEXT_SPRING = date(2025, 6, 11), date(2025, 8, 1), date(2026, 5, 21)


def again(store: Any, target: Path, **which: Any) -> Rebuilt:
    with store.snapshot() as reader:
        return rebuild(reader, "9999", target, **which)


@pytest.mark.parametrize("name", ["2025-06-11.1", "2026-05-21.1"])
def test_every_byte_of_a_past_release_comes_again(published, tmp_path, read_tree, name):
    made = again(published.store, tmp_path, name=name)
    assert made.is_identical
    assert made.folder == tmp_path / name
    assert read_tree(made.folder) == read_tree(published.root / "9999" / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_release_comes_again_after_many_more_nights(town, store, tmp_path, read_tree):
    """With objects that came, went, were reworked and lost their junction, and photos of another region's sizes."""
    nights = [
        (town.in_2025(), {}),
        ([replace(item, model_key="signs@2", lon=item.lon + 1e-5) for item in town.in_2025()], {}),
        (town.in_2026(), {"intersections": [town.junction(), town.junction("nvdb:2", 40.0, 300.0)]}),
        (town.in_2026()[3:], {"assignments": {item.id: "nvdb:1" for item in town.in_2026()[5:]}}),
        ([], {"intersections": [], "assignments": {}}),
        (town.in_2026(), {"intersections": [town.junction(half_m=80.0)]}),
    ]
    published = []
    for number, (objects, changes) in enumerate(nights):
        town.believe(store, objects, **changes)
        inputs = replace(
            town.inputs,
            photos=number,
            region="us" if number % 2 else "eu",
            image_url=None if number == 3 else "https://x.test/{key}",
        )
        published.append(town.publish(store, tmp_path / "shelf", SPRING + timedelta(days=number), inputs=inputs))
    for result in published:
        made = again(store, tmp_path / "again", name=result.name)
        assert made.differences == {}
        assert read_tree(made.folder) == read_tree(Path(result.url))


def test_the_formats_of_other_tools_and_a_base_map_come_again_too(town, store, tmp_path, read_tree):
    formats = ("flatgeobuf", "geoparquet", "pmtiles")
    asked = {"formats": formats, "basemap_url": "https://tiles.example.org/{z}/{x}/{y}.png"}
    town.believe(store, town.in_2025())
    town.publish(store, tmp_path / "shelf", SPRING, **asked)
    town.believe(store, town.in_2026())
    folder = Path(town.publish(store, tmp_path / "shelf", NEXT_SPRING, **asked).url)
    more = {"objects.fgb", "areas.fgb", "objects.parquet", "areas.parquet", "objects.pmtiles"}
    listed = {entry["name"] for entry in json.loads((folder / "manifest.json").read_text())["files"]}
    assert more <= listed
    assert validate(folder) == []
    made = again(store, tmp_path, name=folder.name)
    assert made.differences == {}
    assert read_tree(made.folder) == read_tree(folder)


def test_a_date_finds_the_newest_release_not_after_it(published, tmp_path):
    for number, (day, name) in enumerate(
        ((SPRING, "2025-06-11.1"), (SUMMER, "2025-06-11.1"), (NEXT_SPRING, "2026-05-21.1"), (date(2030, 1, 1), "2026-05-21.1"))
    ):
        assert again(published.store, tmp_path / str(number), as_of=day).name == name
    with pytest.raises(LayerError, match="knows no release of 9999 as of 2025-06-10"):
        again(published.store, tmp_path, as_of=date(2025, 6, 10))
    with pytest.raises(
        LayerError, match=r"no release '2025-06-12\.1' of 9999; the newest it knows: 2025-06-11\.1, 2026-05-21\.1"
    ):
        again(published.store, tmp_path, name="2025-06-12.1")
    with pytest.raises(LayerError, match="say which release"):
        again(published.store, tmp_path)


def test_a_date_never_finds_a_release_that_nobody_saw(town, store, tmp_path):
    """Its writer died between the record and the rename, and the next one came on a later day."""

    def record_and_die(release: Any, inputs: Any) -> None:
        with store.transaction("9999") as tx:
            tx.record_release(release, inputs, tx.newest("9999"))
        raise ConnectionResetError

    town.believe(store, town.in_2025())
    town.publish(store, tmp_path / "shelf", SPRING)
    town.believe(store, town.in_2026())
    with pytest.raises(ConnectionResetError):
        town.publish(store, tmp_path / "shelf", SUMMER, record=record_and_die)
    assert town.publish(store, tmp_path / "shelf", NEXT_SPRING).name == "2026-05-21.1"
    assert again(store, tmp_path / "summer", as_of=SUMMER).name == "2025-06-11.1"
    assert again(store, tmp_path / "spring", as_of=NEXT_SPRING).name == "2026-05-21.1"


def test_releases_of_a_shelf_that_was_left_are_still_found(town, store, tmp_path):
    town.believe(store, town.in_2025())
    town.publish(store, tmp_path / "old", SPRING)
    town.believe(store, town.in_2026())
    town.publish(store, tmp_path / "old", SUMMER)
    first = town.publish(store, tmp_path / "new", NEXT_SPRING)
    assert json.loads((Path(first.url) / "manifest.json").read_text())["previous"] is None
    assert again(store, tmp_path / "a", as_of=SUMMER).is_identical
    assert again(store, tmp_path / "b", as_of=NEXT_SPRING).is_identical


def test_photos_that_were_removed_since_are_told(town, store, tmp_path):
    shown = [replace(town.in_2025()[0], evidence=(("101", 0), ("103", 0))), *town.in_2025()[1:]]
    town.believe(store, shown)
    result = town.publish(store, tmp_path / "shelf", SPRING)
    with store.transaction("9999") as tx:
        tx.remove_images(["103"], "takedown")
    made = again(store, tmp_path, name=result.name)
    assert set(made.differences) == {
        *("intersections.geojson", "intersections.geojson.gz", "objects.geojson", "objects.geojson.gz", "manifest.json")
    }
    assert made.differences["objects.geojson"] == "1 photo was removed since, from past beliefs too"
    assert made.differences["objects.geojson.gz"] == "it packs objects.geojson"
    assert made.differences["manifest.json"].startswith("it lists intersections.geojson, ")
    assert b'"103"' not in (made.folder / "intersections.geojson").read_bytes()


def test_changes_against_a_release_whose_photos_were_removed_are_told(town, store, tmp_path):
    """The release after a removal is whole, but the one before it, as it is known now, never had the photo."""
    shown = [replace(town.in_2025()[0], evidence=(("101", 0), ("103", 0))), *town.in_2025()[1:]]
    town.believe(store, shown)
    town.publish(store, tmp_path / "shelf", SPRING)
    with store.transaction("9999") as tx:
        tx.remove_images(["103"], "deleted")
    town.believe(store, [replace(shown[0], evidence=(("101", 0),)), *shown[1:]])
    result = town.publish(store, tmp_path / "shelf", SUMMER)
    assert not result.unchanged
    made = again(store, tmp_path, name=result.name)
    assert dict(made.differences) == {
        "changes.geojson": "1 photo was removed since the release that it tells the changes against, from past beliefs too",
        "changes.geojson.gz": "it packs changes.geojson",
        "manifest.json": "it lists changes.geojson, changes.geojson.gz",
    }


def test_another_version_of_the_code_is_told(published, tmp_path, monkeypatch):
    monkeypatch.setattr(rebuild_module, "__version__", "9.9.9")
    monkeypatch.setattr("kryss.layer.release.page", lambda *_: b"another page")
    made = again(published.store, tmp_path, name="2026-05-21.1")
    assert made.differences == {
        "index.html": "it was made by Kryss 0.1.0, this is 9.9.9",
        "manifest.json": "it lists index.html",
    }


def test_a_release_of_schema_1_says_that_it_cannot_come_again(town, store, tmp_path, database_url):
    town.believe(store, town.in_2025())
    town.publish(store, tmp_path / "shelf", SPRING)
    engine = create_engine(database_url.replace("postgresql:", "postgresql+psycopg2:"), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("UPDATE kryss.release SET inputs = '{}'"))
    for which in ({"name": "2025-06-11.1"}, {"as_of": SUMMER}):
        with pytest.raises(LayerError, match=r"release 2025-06-11\.1 of 9999 was recorded before schema 2"):
            again(store, tmp_path, **which)
    town.believe(store, town.in_2026())
    town.publish(store, tmp_path / "shelf", NEXT_SPRING)
    with pytest.raises(LayerError, match=r"release 2025-06-11\.1 of 9999 was recorded before schema 2"):
        again(store, tmp_path, as_of=SUMMER)
    with pytest.raises(LayerError, match=r"release 2025-06-11\.1 of 9999 was recorded before schema 2"):
        again(store, tmp_path, name="2026-05-21.1")  # its changes are told against that one
    with engine.begin() as connection:
        connection.execute(text("UPDATE kryss.release SET inputs = jsonb_set(inputs, '{inputs,mood}', '1') WHERE inputs <> '{}'"))
    with pytest.raises(LayerError, match="cannot be read by this version of Kryss, which writes schema 2"):
        again(store, tmp_path, name="2026-05-21.1")


def test_a_folder_that_is_there_is_not_written_over_and_nothing_is_left_of_a_failure(published, tmp_path, monkeypatch):
    (tmp_path / "2026-05-21.1").mkdir()
    with pytest.raises(LayerError, match="exists already"):
        again(published.store, tmp_path, name="2026-05-21.1")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rebuild_module, "write_rest", full)
    with pytest.raises(OSError, match="No space left"):
        again(published.store, tmp_path / "other", name="2026-05-21.1")
    assert list((tmp_path / "other").iterdir()) == []
