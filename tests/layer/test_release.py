"""A release is immutable, dated, complete or absent, and follows from its inputs alone."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import shutil
import socket
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import fsspec
import pytest
import requests

from kryss.layer.geojson import LayerError
from kryss.layer.provenance import Source, known_source
from kryss.layer.validate import validate
from kryss.model import Municipality

SPRING, NEXT_SPRING = date(2025, 6, 11), date(2026, 5, 21)
FILES = {"ATTRIBUTION.md", "changes.json", "index.html", "intersections.geojson", "manifest.json", "schema.json"}


def load(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_two_releases_and_what_changed_between_them(town, tmp_path):
    first = town.publish(tmp_path, SPRING, town.in_2025())
    second = town.publish(tmp_path, NEXT_SPRING, town.in_2026())
    assert (first.name, second.name) == ("2025-06-11.1", "2026-05-21.1")
    assert not first.unchanged and not second.unchanged
    assert {kind: count for kind, count in second.changes.items() if count} == {
        "replaced": 1,
        "added": 1,
        "ended": 1,
        "refined": 7,
    }
    assert second.summary[-1] == "regulatory--stop--g1 at 63.42995, 10.38956 went between 2025-06-10 and 2026-05-20"
    for result in (first, second):
        folder = Path(result.url)
        assert {path.name for path in folder.iterdir()} == FILES
        assert validate(folder) == []
        assert result.release.sha256 == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert (first.release.intersections, first.release.objects, second.release.objects) == (1, 9, 11)
    manifest = load(tmp_path / "9999/2026-05-21.1/manifest.json")
    assert manifest["previous"] == "2025-06-11.1"
    assert manifest["counts"]["by_status"] == {"standing": 8, "unconfirmed": 1, "ended": 2}
    assert manifest["counts"]["by_class"]["regulatory--stop--g1"] == {"standing": 0, "unconfirmed": 0, "ended": 1}


def test_reasons_are_those_of_beliefs_after_the_instant_that_the_previous_release_holds(town, tmp_path):
    old = town.sign("s", "regulatory--stop--g1", 0, 0)
    new, newest = (replace(old, model_key=f"signs@{version}") for version in (2, 3))
    versions = town.versions(old, new, newest, reasons=("street", "model", "evidence"))
    first = town.publish(tmp_path, SPRING, [old], history={"s": versions[:1]})
    assert load(Path(first.url) / "manifest.json")["reasons"] == {"street": 1}
    instants = {first.name: versions[1].known_from}
    second = town.publish(tmp_path, NEXT_SPRING, [newest], history={"s": versions}, instants=instants)
    told = load(Path(second.url) / "changes.json")
    assert told["reworked"] == [{"id": "s", "model": "signs@3", "reason": "evidence"}]
    assert told["summary"] == ["1 object was worked out anew by model signs@3; the street did not change"]
    assert validate(Path(second.url)) == []
    unrecorded = town.publish(tmp_path, NEXT_SPRING, [old], history={"s": versions[:1]}, instants=instants)
    assert load(Path(unrecorded.url) / "changes.json")["reworked"][0]["reason"] == "roads", (
        "its writer died before it was recorded"
    )


def test_the_pointer_leads_to_the_newest_release(town, tmp_path):
    town.publish(tmp_path, SPRING, town.in_2025())
    result = town.publish(tmp_path, NEXT_SPRING, town.in_2026())
    pointer = load(tmp_path / "9999/latest.json")
    assert pointer["release"] == result.name
    assert (tmp_path / "9999" / pointer["layer"]).is_file()
    assert (tmp_path / "9999" / pointer["page"]).is_file()
    assert pointer["manifest_sha256"] == hashlib.sha256((tmp_path / "9999" / pointer["manifest"]).read_bytes()).hexdigest()


def test_an_unchanged_layer_writes_nothing(town, tmp_path, read_tree):
    first = town.publish(tmp_path, SPRING, town.in_2025())
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in read_tree(tmp_path)}
    newer = replace(town.provenance, photos_until=town.second, code_version="0.2.0")
    again = town.publish(tmp_path, NEXT_SPRING, town.in_2025(), provenance=newer)
    assert again.unchanged
    assert again.release == first.release
    assert not any(again.changes.values())
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in read_tree(tmp_path)} == before


def test_releases_of_one_day_are_numbered(town, tmp_path):
    names = []
    for count in range(1, 12):
        names.append(
            town.publish(tmp_path, SPRING, [town.sign(f"s{i}", "regulatory--stop--g1", i, 0) for i in range(count)]).name
        )
    assert names == [f"2025-06-11.{number}" for number in range(1, 12)]
    assert load(tmp_path / "9999/latest.json")["release"] == "2025-06-11.11"


def test_a_release_before_the_newest_is_refused(town, tmp_path):
    town.publish(tmp_path, NEXT_SPRING, town.in_2025())
    with pytest.raises(LayerError, match=r"2025-06-11 lies before the newest release 2026-05-21\.1"):
        town.publish(tmp_path, SPRING, town.in_2026())


def test_the_bytes_follow_from_the_inputs_and_not_from_where_when_or_what_the_database_knew(town, tmp_path, read_tree):
    for root, loaded in (("a", town.first), ("b/deeper", town.second)):
        for day, objects in ((SPRING, town.in_2025()), (NEXT_SPRING, town.in_2026())):
            history = {item.id: town.versions(item, loaded=loaded) for item in objects}
            town.publish(tmp_path / root, day, objects[::-1] if root == "a" else objects, history=history)
        time.sleep(1.1)
    a, b = read_tree(tmp_path / "a"), read_tree(tmp_path / "b/deeper")
    assert a == b
    assert len(a) == 2 * len(FILES) + 1
    everything = b"".join(a.values()).decode()
    for word in (str(tmp_path), socket.gethostname(), f'"{getpass.getuser()}"', date.today().isoformat()):
        assert word not in everything


def test_a_run_that_died_before_the_pointer_is_finished_with_the_same_name(town, tmp_path, read_tree):
    town.publish(tmp_path, SPRING, town.in_2025())
    old_pointer = (tmp_path / "9999/latest.json").read_bytes()
    done = town.publish(tmp_path, NEXT_SPRING, town.in_2026())
    undisturbed = read_tree(tmp_path)
    (tmp_path / "9999/latest.json").write_bytes(old_pointer)
    finished = town.publish(tmp_path, NEXT_SPRING, town.in_2026())
    assert finished == done
    assert not finished.unchanged
    assert read_tree(tmp_path) == undisturbed


def test_a_first_release_without_pointer_is_finished_too(town, tmp_path):
    done = town.publish(tmp_path, SPRING, town.in_2025())
    (tmp_path / "9999/latest.json").unlink()
    assert town.publish(tmp_path, SPRING, town.in_2025()) == done
    assert load(tmp_path / "9999/latest.json")["release"] == done.name


def test_leftovers_of_dead_writers_are_removed_and_never_read(town, tmp_path):
    leftover = tmp_path / "9999/.writing-2025-06-11.1-dead"
    leftover.mkdir(parents=True)
    (leftover / "manifest.json").write_text("{")
    (tmp_path / "9999/.writing-latest.json-dead").write_text("{")
    assert town.publish(tmp_path, SPRING, town.in_2025()).name == "2025-06-11.1"
    assert sorted(path.name for path in (tmp_path / "9999").iterdir()) == ["2025-06-11.1", "latest.json"]


def test_a_pointer_to_a_missing_release_stops_with_what_to_do(town, tmp_path):
    result = town.publish(tmp_path, SPRING, town.in_2025())
    shutil.rmtree(result.url)
    with pytest.raises(LayerError, match=r"names 2025-06-11\.1, which is not there; restore that folder, or remove latest\.json"):
        town.publish(tmp_path, SPRING, town.in_2026())


def test_objects_at_no_intersection_are_counted_and_left_out(town, tmp_path):
    objects = town.in_2025()
    result = town.publish(tmp_path, SPRING, objects, assignments={item.id: "nvdb:1" for item in objects[:4]})
    counts = load(Path(result.url) / "manifest.json")["counts"]
    assert (counts["objects"], counts["objects_at_no_intersection"]) == (4, 5)


def test_assumed_sizes_are_those_positions_were_made_with(town, tmp_path):
    result = town.publish(tmp_path, SPRING, town.in_2025())
    entries = load(Path(result.url) / "intersections.geojson")["features"][0]["properties"]["objects"]
    assert all(0.3 < item["assumed_size_m"] < 2 for item in entries)


def test_the_photo_shown_is_the_one_taken_from_nearest_by(town, tmp_path):
    cameras = {"101": town.at(-22, -20), "102": town.at(0, 90)}
    result = town.publish(tmp_path, SPRING, town.in_2025(), cameras=cameras)
    entries = load(Path(result.url) / "intersections.geojson")["features"][0]["properties"]["objects"]
    assert {item["id"]: item["image_key"] for item in entries if item["id"] in ("g1", "c1")} == {"g1": "101", "c1": "102"}


def test_the_attribution_credits_every_source(town, tmp_path):
    own = Source("Town photos", "CC0", "Rendered by the Kryss project")
    sources = (known_source("mapillary"), known_source("osm"), own)
    result = town.publish(tmp_path, SPRING, town.in_2025(), provenance=replace(town.provenance, sources=sources))
    text = (Path(result.url) / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for words in (
        "[CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/)",
        "© OpenStreetMap contributors",
        "Rendered by the Kryss project",
    ):
        assert words in text
    with pytest.raises(KeyError, match="no source 'bing'"):
        known_source("bing")


def test_a_code_that_could_leave_the_folder_is_refused(town, tmp_path):
    with pytest.raises(LayerError, match="cannot name a folder"):
        town.publish(tmp_path / "inside", SPRING, town.in_2025(), municipality=Municipality("../outside", "x", "NO", {}))


def publish_nights(root: str, code: str) -> list[str]:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("town_nouns", Path(__file__).with_name("conftest.py"))
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    town = module.Town()
    return [
        town.publish(
            root, SPRING + timedelta(days=night), town.in_2025()[: night + 1], municipality=Municipality(code, code, "NO", {})
        ).name
        for night in range(6)
    ]


def test_several_municipalities_publish_at_once(tmp_path):
    codes = ["5001", "0301", "4601"]
    with ProcessPoolExecutor(len(codes)) as pool:
        results = list(pool.map(publish_nights, [str(tmp_path)] * 3, codes))
    assert all(names == [f"2025-06-{11 + night}.1" for night in range(6)] for names in results)
    for code in codes:
        assert sorted(path.name for path in (tmp_path / code).iterdir()) == [*results[0], "latest.json"]
        assert all(validate(tmp_path / code / name) == [] for name in results[0])


def test_a_rival_writer_of_one_municipality_waits_its_turn(town, tmp_path):
    import fcntl
    import threading

    (tmp_path / "9999").mkdir()
    handle = os.open(tmp_path / "9999", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    rival = threading.Thread(target=town.publish, args=(tmp_path, SPRING, town.in_2025()))
    rival.start()
    rival.join(0.5)
    assert rival.is_alive()
    assert not (tmp_path / "9999/latest.json").exists()
    os.close(handle)
    rival.join(20)
    assert (tmp_path / "9999/latest.json").exists()


@pytest.fixture(scope="module")
def s3():
    """A local S3 server on a free port, spoken to over real HTTP."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    requests.put(f"http://{host}:{port}/layers", timeout=10).raise_for_status()
    yield {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": f"http://{host}:{port}"}}
    server.stop()


def test_an_object_store_gets_the_same_bytes_and_the_manifest_last(town, tmp_path, s3, read_tree):
    for root, options in ((str(tmp_path / "folder"), None), ("s3://layers/kryss", s3)):
        for day, objects in ((SPRING, town.in_2025()), (NEXT_SPRING, town.in_2026()), (NEXT_SPRING, town.in_2026())):
            result = town.publish(root, day, objects, storage_options=options)
        assert result.unchanged
    store = fsspec.filesystem("s3", **s3, use_listings_cache=False)
    stored = {key.removeprefix("layers/kryss/"): store.cat_file(key) for key in store.find("layers/kryss")}
    assert stored == read_tree(tmp_path / "folder")


def test_half_a_release_on_an_object_store_is_no_release(town, s3, tmp_path):
    store = fsspec.filesystem("s3", **s3, use_listings_cache=False)
    store.pipe_file("layers/half/9999/2025-06-11.1/intersections.geojson", b"half")
    store.pipe_file("layers/half/9999/2025-06-11.1/older-file.bin", b"left by a dead writer")
    result = town.publish("s3://layers/half", SPRING, town.in_2025(), storage_options=s3)
    assert result.name == "2025-06-11.1"
    (tmp_path / result.name).mkdir()
    store.get(f"layers/half/9999/{result.name}/", str(tmp_path / result.name) + "/", recursive=True)
    assert validate(tmp_path / result.name) == []
