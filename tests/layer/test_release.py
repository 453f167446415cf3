"""A release is immutable, dated, complete or absent, and follows from what the database believes and its inputs alone."""

from __future__ import annotations

import getpass
import gzip
import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from kryss.layer.geojson import LayerError
from kryss.layer.provenance import Source, known_source
from kryss.layer.rebuild import rebuild
from kryss.layer.release import DATA, Edition
from kryss.layer.storage import Shelf
from kryss.layer.validate import validate
from kryss.model import Municipality
from kryss.store import open_store

SPRING, NEXT_SPRING = date(2025, 6, 11), date(2026, 5, 21)
PACKED = {f"{name}.gz" for name in (*DATA, "changes.geojson")}
FILES = {
    *DATA,
    *PACKED,
    "changes.geojson",
    "manifest.json",
    "schema.json",
    "ATTRIBUTION.md",
    "LICENSE.md",
    "index.html",
    "objects.qml",
    "areas.qml",
    "roads.qml",
}


def load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def features(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = load(path)["features"]
    return found


def test_two_releases_and_what_changed_between_them(published):
    first, second = load(published.first / "manifest.json"), load(published.second / "manifest.json")
    assert (first["release"], second["release"]) == ("2025-06-11.1", "2026-05-21.1")
    assert (first["previous"], second["previous"]) == (None, "2025-06-11.1")
    assert not any(first["changes"].values())
    told = {kind: count for kind, count in second["changes"].items() if count}
    assert told == {"replaced": 1, "added": 1, "ended": 1, "refined": 7}
    assert second["reasons"] == {"street": 3}
    assert second["counts"]["by_status"] == {"standing": 8, "unconfirmed": 1, "ended": 2}
    assert second["counts"]["by_class"]["regulatory--stop--g1"] == {"standing": 0, "unconfirmed": 0, "ended": 1}
    for folder in (published.first, published.second):
        assert {path.name for path in folder.iterdir()} == FILES
        assert validate(folder) == []
    with published.store.snapshot() as reader:
        recorded = {release.name: release for release in reader.releases("9999")}
    assert recorded["2026-05-21.1"].sha256 == hashlib.sha256((published.second / "manifest.json").read_bytes()).hexdigest()
    assert (recorded["2026-05-21.1"].intersections, recorded["2026-05-21.1"].objects) == (1, 11)


def test_every_data_file_lies_beside_its_gzip_which_names_no_file_and_no_time(published):
    for name in PACKED:
        packed = (published.second / name).read_bytes()
        assert packed[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
        assert gzip.decompress(packed) == (published.second / name.removesuffix(".gz")).read_bytes()
        subprocess.run(["gzip", "--test", str(published.second / name)], check=True)


def test_the_pointer_leads_to_every_file_of_the_newest_release_and_lists_all_releases(published):
    shelf = published.root / "9999"
    pointer = load(shelf / "latest.json")
    assert pointer["release"] == "2026-05-21.1"
    assert pointer["releases"] == ["2025-06-11.1", "2026-05-21.1"]
    for member in ("layer", "objects", "areas", "roads", "changes", "page", "manifest"):
        assert (shelf / pointer[member]).is_file()
    assert pointer["manifest_sha256"] == hashlib.sha256((shelf / pointer["manifest"]).read_bytes()).hexdigest()


def test_an_unchanged_night_writes_nothing_and_records_nothing(town, store, tmp_path, read_tree):
    town.believe(store, town.in_2025())
    first = town.publish(store, tmp_path, SPRING)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in read_tree(tmp_path)}
    newer = replace(town.inputs, photos=9, photos_until=town.second, code_version="0.2.0")

    def record(*_: Any) -> None:
        raise AssertionError("nothing is recorded")

    again = town.publish(store, tmp_path, NEXT_SPRING, inputs=newer, record=record)
    assert again.unchanged
    assert again.release == first.release
    assert not any(again.changes.values())
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in read_tree(tmp_path)} == before


def test_a_change_of_the_roads_alone_is_a_release_too(town, store, tmp_path):
    town.believe(store, town.in_2025())
    town.publish(store, tmp_path, SPRING)
    straight = replace(town.junction(), approaches=())
    town.believe(store, town.in_2025(), intersections=[straight])
    result = town.publish(store, tmp_path, NEXT_SPRING)
    assert not result.unchanged
    assert features(Path(result.url) / "roads.geojson") == []
    assert (Path(result.url) / "roads.geojson").read_text() == '{"type":"FeatureCollection",\n"features":[\n]}\n'


def test_an_empty_municipality_has_a_release(town, store, tmp_path):
    town.believe(store, [], intersections=[], assignments={})
    result = town.publish(store, tmp_path, SPRING)
    folder = Path(result.url)
    assert {path.name for path in folder.iterdir()} == FILES
    assert validate(folder) == []
    assert load(folder / "manifest.json")["bbox"] is None
    town.believe(store, town.in_2025())
    assert town.publish(store, tmp_path, SPRING).changes["added"] == 9
    town.believe(store, [], intersections=[], assignments={})
    emptied = town.publish(store, tmp_path, SPRING)
    assert emptied.changes["removed"] == 9
    assert validate(Path(emptied.url)) == []


def test_releases_of_one_day_are_numbered(town, store, tmp_path):
    names = []
    for count in range(1, 12):
        town.believe(store, [town.sign(f"s{i}", "regulatory--stop--g1", i, 0) for i in range(count)])
        names.append(town.publish(store, tmp_path, SPRING).name)
    assert names == [f"2025-06-11.{number}" for number in range(1, 12)]
    pointer = load(tmp_path / "9999/latest.json")
    assert (pointer["release"], pointer["releases"]) == ("2025-06-11.11", names)


def test_a_release_before_the_newest_is_refused(town, store, tmp_path):
    town.believe(store, town.in_2025())
    town.publish(store, tmp_path, NEXT_SPRING)
    town.believe(store, town.in_2026())
    with pytest.raises(LayerError, match=r"2025-06-11 lies before the newest release 2026-05-21\.1"):
        town.publish(store, tmp_path, SPRING)
    assert [path.name for path in sorted((tmp_path / "9999").iterdir())] == ["2026-05-21.1", "latest.json"]


def test_the_reasons_are_those_of_beliefs_after_the_instant_that_the_previous_release_holds(town, store, tmp_path):
    old = town.sign("s", "regulatory--stop--g1", 0, 0)
    town.believe(store, [old])
    town.publish(store, tmp_path, SPRING)
    town.believe(store, [replace(old, model_key="signs@2")], reasons={old.id: "model"})
    result = town.publish(store, tmp_path, NEXT_SPRING)
    told = features(Path(result.url) / "changes.geojson")
    assert [(one["properties"]["kind"], one["properties"]["reason"]) for one in told] == [("reworked", "model")]


def test_the_bytes_do_not_tell_where_when_or_by_whom_they_were_made(town, postgis_server, migrated_template, tmp_path, read_tree):
    """Two databases filled alike, in another order and at another time, with other instants of system time."""
    trees = []
    for number, root in enumerate(("a", "b/deeper")):
        url = postgis_server.create_database(migrated_template)
        store = open_store(url)
        if number:
            town.believe(store, [], municipality=Municipality("1111", "Other", "NO", town.municipality.boundary))
        for day, objects in ((SPRING, town.in_2025()), (NEXT_SPRING, town.in_2026())):
            random.Random(number).shuffle(objects)
            places = [town.junction(), town.junction("nvdb:0", 20.0, 500.0)]
            town.believe(
                store,
                objects,
                intersections=places[::-1] if number else places,
                assignments={item.id: "nvdb:1" for item in objects},
            )
            town.publish(store, tmp_path / root, day)
            time.sleep(1.1 * number)
        trees.append(read_tree(tmp_path / root))
        postgis_server.drop_database(url)
    assert trees[0] == trees[1]
    assert len(trees[0]) == 2 * len(FILES) + 1
    everything = b"".join(data for name, data in trees[0].items() if not name.endswith((".gz", "index.html"))).decode()
    for word in (str(tmp_path), socket.gethostname(), f'"{getpass.getuser()}"', date.today().isoformat()):
        assert word not in everything


def test_a_restored_database_gives_the_same_bytes(town, store, database_url, postgis_server, tmp_path, read_tree):
    town.believe(store, town.in_2025())
    town.publish(store, tmp_path / "a", SPRING)
    town.believe(store, town.in_2026())
    restored = postgis_server.create_database(database_url)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    try:
        for root, where in (("a", store), ("b", open_store(restored))):
            town.publish(where, tmp_path / root, NEXT_SPRING)
    finally:
        postgis_server.drop_database(restored)
    assert read_tree(tmp_path / "a") == read_tree(tmp_path / "b")


def test_what_is_recorded_is_all_that_a_release_follows_from(town, store, tmp_path):
    town.believe(store, town.in_2025())
    kept: list[Any] = []
    result = town.publish(store, tmp_path, SPRING, record=lambda *told: kept.append(told), formats=(), basemap_url=None)
    release, recorded = kept[0]
    assert release == result.release
    edition = Edition.read("9999", release.name, json.loads(json.dumps(recorded)))
    assert edition == Edition("9999", "Kryssby", "NO", "2025-06-11.1", None, False, None, town.inputs)
    listed = {entry["name"]: entry["sha256"] for entry in recorded["files"]}
    assert listed == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(result.url).iterdir()}


def test_nobody_sees_a_release_that_could_not_be_recorded(town, store, tmp_path, read_tree):
    town.believe(store, town.in_2025())
    town.publish(store, tmp_path, SPRING)
    before = read_tree(tmp_path)
    town.believe(store, town.in_2026())

    def record(*_: Any) -> None:
        assert not (tmp_path / "9999/2026-05-21.1").exists()
        raise ConnectionError("the database has gone")

    with pytest.raises(ConnectionError):
        town.publish(store, tmp_path, NEXT_SPRING, record=record)
    assert read_tree(tmp_path) == before


def test_a_run_that_died_before_the_pointer_is_finished_with_the_same_name(town, store, tmp_path, read_tree):
    town.believe(store, town.in_2025())
    town.publish(store, tmp_path, SPRING)
    old_pointer = (tmp_path / "9999/latest.json").read_bytes()
    town.believe(store, town.in_2026())
    done = town.publish(store, tmp_path, NEXT_SPRING)
    undisturbed = read_tree(tmp_path)
    (tmp_path / "9999/latest.json").write_bytes(old_pointer)
    finished = town.publish(store, tmp_path, NEXT_SPRING)
    assert finished == done
    assert not finished.unchanged
    assert read_tree(tmp_path) == undisturbed


def test_a_first_release_without_pointer_is_finished_too(town, store, tmp_path):
    town.believe(store, town.in_2025())
    done = town.publish(store, tmp_path, SPRING)
    (tmp_path / "9999/latest.json").unlink()
    assert town.publish(store, tmp_path, SPRING) == done
    assert load(tmp_path / "9999/latest.json")["release"] == done.name


def test_leftovers_of_dead_writers_are_removed_and_never_read(town, store, tmp_path):
    for name in (".writing-dead/release", ".removing-2025-06-10.1-dead"):
        leftover = tmp_path / "9999" / name
        leftover.mkdir(parents=True)
        (leftover / "manifest.json").write_text("{")
    (tmp_path / "9999/.writing-latest.json-dead").write_text("{")
    town.believe(store, town.in_2025())
    assert town.publish(store, tmp_path, SPRING).name == "2025-06-11.1"
    assert sorted(path.name for path in (tmp_path / "9999").iterdir()) == ["2025-06-11.1", "latest.json"]


def test_a_pointer_to_a_missing_release_stops_with_what_to_do(town, store, tmp_path):
    town.believe(store, town.in_2025())
    result = town.publish(store, tmp_path, SPRING)
    shutil.rmtree(result.url)
    with pytest.raises(LayerError, match=r"names 2025-06-11\.1, which is not there; restore that folder, or remove latest\.json"):
        town.publish(store, tmp_path, SPRING)


def test_a_folder_that_somebody_took_away_is_named_no_longer_from_the_next_night_on(town, store, tmp_path):
    """As docs/operations.md advises after a takedown."""
    town.believe(store, town.in_2025())
    old = town.publish(store, tmp_path, SPRING)
    town.believe(store, town.in_2026())
    town.publish(store, tmp_path, NEXT_SPRING)
    shutil.rmtree(old.url)
    pointer = json.loads((tmp_path / "9999" / "latest.json").read_text())
    assert town.publish(store, tmp_path, NEXT_SPRING).unchanged
    assert json.loads((tmp_path / "9999" / "latest.json").read_text()) == {**pointer, "releases": ["2026-05-21.1"]}
    assert validate(tmp_path / "9999") == []


def test_a_release_of_a_wrong_date_is_taken_back_by_removing_it_and_the_pointer(town, store, tmp_path):
    """As docs/operations.md says: until then every right date lies before it."""
    town.believe(store, town.in_2025())
    town.publish(store, tmp_path, SPRING)
    town.believe(store, town.in_2026())
    wrong = town.publish(store, tmp_path, date(2099, 5, 21))
    town.believe(store, town.in_2026()[1:])
    with pytest.raises(LayerError, match=r"lies before the newest release 2099-05-21\.1"):
        town.publish(store, tmp_path, NEXT_SPRING)
    shutil.rmtree(wrong.url)
    (tmp_path / "9999" / "latest.json").unlink()
    right = town.publish(store, tmp_path, NEXT_SPRING)
    assert (right.name, load(Path(right.url) / "manifest.json")["previous"]) == ("2026-05-21.1", "2025-06-11.1")
    assert load(tmp_path / "9999" / "latest.json")["releases"] == ["2025-06-11.1", "2026-05-21.1"]
    assert validate(tmp_path / "9999") == []
    with store.snapshot() as reader:
        assert rebuild(reader, "9999", tmp_path / "again", as_of=NEXT_SPRING).is_identical


def test_a_damaged_previous_release_stops_with_what_to_do(town, store, tmp_path):
    town.believe(store, town.in_2025())
    first = Path(town.publish(store, tmp_path, SPRING).url)
    with (first / "objects.geojson").open("ab") as file:
        file.write(b"bit rot")
    town.believe(store, town.in_2026())
    with pytest.raises(LayerError, match=r"2025-06-11\.1/objects\.geojson is damaged: its sha256"):
        town.publish(store, tmp_path, NEXT_SPRING)
    (tmp_path / "9999/latest.json").write_text("{")
    with pytest.raises(LayerError, match=r"latest\.json is not JSON"):
        town.publish(store, tmp_path, NEXT_SPRING)


def test_objects_at_no_intersection_are_counted_and_left_out(town, store, tmp_path):
    objects = town.in_2025()
    town.believe(store, objects, assignments={item.id: "nvdb:1" for item in objects[:4]})
    counts = load(Path(town.publish(store, tmp_path, SPRING).url) / "manifest.json")["counts"]
    assert (counts["objects"], counts["objects_at_no_intersection"]) == (4, 5)


def test_what_has_no_place_on_the_map_is_left_out_with_its_reason(town, store, tmp_path):
    lost = town.sign("x", "regulatory--stop--g1", 0, 0, lon=190.0)
    town.believe(store, [*town.in_2025(), lost])
    result = town.publish(store, tmp_path, SPRING)
    assert len(result.left_out) == 1
    assert lost.id in result.left_out[0]
    assert result.release.objects == 9
    assert validate(Path(result.url)) == []
    assert town.publish(store, tmp_path, SPRING).left_out == result.left_out


def test_assumed_sizes_are_those_positions_were_made_with(published):
    assert all(0.3 < item["properties"]["assumed_size_m"] < 2 for item in features(published.second / "objects.geojson"))


def test_the_attribution_credits_every_source(town, store, tmp_path):
    own = Source("Town photos", "CC0", "Rendered by the Kryss project")
    sources = (known_source("mapillary"), known_source("osm"), own)
    town.believe(store, town.in_2025())
    result = town.publish(store, tmp_path, SPRING, inputs=replace(town.inputs, sources=sources))
    text = (Path(result.url) / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for words in (
        "[CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/)",
        "© OpenStreetMap contributors",
        "Rendered by the Kryss project",
    ):
        assert words in text
    assert len(load(Path(result.url) / "manifest.json")["sources"]) == 3


def test_a_code_that_could_leave_the_folder_is_refused(tmp_path):
    with pytest.raises(LayerError, match="cannot name a folder"):
        Shelf(str(tmp_path / "inside"), "../outside")


def test_a_shelf_of_another_municipality_is_refused(town, store, tmp_path):
    town.believe(store, town.in_2025())
    with pytest.raises(LayerError, match="is not that of municipality 9999"), store.snapshot() as reader:
        from kryss.layer.release import publish

        rows = reader.layer("9999", sizes=lambda _: None, image_url=None)
        publish(rows, Shelf(str(tmp_path), "1111"), town.municipality, SPRING, town.inputs, record=print, since={})


def conftest_module() -> Any:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("town_nouns", Path(__file__).with_name("conftest.py"))
    assert spec and spec.loader
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def publish_nights(url: str, root: str, code: str) -> list[str]:
    town, store = conftest_module().Town(), open_store(url)
    own = replace(town.municipality, code=code)
    names = []
    for night in range(3):
        objects = [replace(item, id=town.id(f"{code} {item.id}")) for item in town.in_2025()[: night + 1]]
        town.believe(store, objects, municipality=own)
        names.append(town.publish(store, root, SPRING + timedelta(days=night), municipality=own).name)
    return names


def test_four_municipalities_publish_at_once(database_url, tmp_path):
    codes = ["5001", "0301", "4601", "1103"]
    with ProcessPoolExecutor(len(codes)) as pool:
        results = list(pool.map(publish_nights, [database_url] * 4, [str(tmp_path)] * 4, codes))
    assert all(names == [f"2025-06-{11 + night}.1" for night in range(3)] for names in results)
    for code in codes:
        assert sorted(path.name for path in (tmp_path / code).iterdir()) == [*results[0], "latest.json"]
        assert all(validate(tmp_path / code / name) == [] for name in results[0])


def publish_once(url: str, root: str) -> tuple[str, bool]:
    result = conftest_module().Town().publish(open_store(url), root, SPRING)
    return result.name, result.unchanged


def test_of_four_writers_of_one_municipality_one_publishes_and_three_find_nothing_to_do(town, store, database_url, tmp_path):
    town.believe(store, town.in_2025())
    with ProcessPoolExecutor(4) as pool:
        results = list(pool.map(publish_once, [database_url] * 4, [str(tmp_path)] * 4))
    assert sorted(results) == [("2025-06-11.1", False), *[("2025-06-11.1", True)] * 3]
    assert sorted(path.name for path in (tmp_path / "9999").iterdir()) == ["2025-06-11.1", "latest.json"]


def test_a_reader_sees_whole_releases_only_while_others_are_written(town, store, tmp_path):
    town.believe(store, town.in_2025())
    town.publish(store, tmp_path, SPRING)
    done, seen = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            pointer = load(tmp_path / "9999/latest.json")
            raw = (tmp_path / "9999" / pointer["manifest"]).read_bytes()
            whole = hashlib.sha256(raw).hexdigest() == pointer["manifest_sha256"] and all(
                hashlib.sha256((tmp_path / "9999" / pointer["release"] / entry["name"]).read_bytes()).hexdigest()
                == entry["sha256"]
                for entry in json.loads(raw)["files"]
            )
            complete = all((tmp_path / "9999" / name / "manifest.json").is_file() for name in pointer["releases"])
            seen.append((pointer["release"], whole and complete))

    reader = threading.Thread(target=read)
    reader.start()
    for night in range(1, 6):
        town.believe(store, town.in_2025()[night:])
        town.publish(store, tmp_path, SPRING + timedelta(days=night))
    done.set()
    reader.join()
    assert all(whole for _, whole in seen)
    assert len({name for name, _ in seen}) > 1


def test_a_rival_writer_of_one_municipality_waits_its_turn(town, store, tmp_path):
    import fcntl

    town.believe(store, town.in_2025())
    (tmp_path / "9999").mkdir()
    handle = os.open(tmp_path / "9999", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    rival = threading.Thread(target=town.publish, args=(store, tmp_path, SPRING))
    rival.start()
    rival.join(0.5)
    assert rival.is_alive()
    assert not (tmp_path / "9999/latest.json").exists()
    os.close(handle)
    rival.join(20)
    assert (tmp_path / "9999/latest.json").exists()
