"""Files are streamed with flat memory; a shelf is the same in a folder and on an object store, whatever fails on the way."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kryss.layer import storage as storage_module
from kryss.layer.files import CHUNK_BYTES, Draft, sink, write_collection, write_file
from kryss.layer.geojson import LayerError
from kryss.layer.release import OLD_CHANGES
from kryss.layer.storage import FEW, Shelf, name_key
from kryss.layer.validate import validate

SPRING, NEXT_SPRING = date(2025, 6, 11), date(2026, 5, 21)
INCLUDE = Path(__file__).parents[2] / "include"


# -- files


@settings(max_examples=50, deadline=None)
@given(parts=st.lists(st.binary(max_size=4_000), max_size=20), copies=st.sampled_from([1, 70, 300]))
def test_what_goes_in_comes_out_plain_and_packed_however_it_was_cut(tmp_path_factory, parts, copies):
    folder = tmp_path_factory.mktemp("any")
    whole = b"".join(parts * copies)
    entries = write_file(folder / "a.json", parts * copies)
    again = write_file(folder / "b.json", [whole])
    assert (folder / "a.json").read_bytes() == whole
    assert gzip.decompress((folder / "a.json.gz").read_bytes()) == whole
    assert [entry.sha256 for entry in entries] == [entry.sha256 for entry in again]
    for entry in entries:
        data = (folder / entry.name).read_bytes()
        assert (entry.bytes, entry.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_a_collection_has_one_feature_a_line_and_a_bbox_only_with_features(tmp_path):
    def fill(write: Any) -> int:
        for number in range(30_000):
            write(b'{"type":"Feature","id":"%05d"}' % number)
        return 30_000

    count, entries = write_collection(tmp_path / "many.geojson", (9.5, 60.0, 10.25, 61.1234567), fill)
    lines = (tmp_path / "many.geojson").read_bytes().split(b"\n")
    assert lines[:4] == [
        *(b'{"type":"FeatureCollection",', b'"bbox":[9.5,60.0,10.25,61.1234567],', b'"features":['),
        b'{"type":"Feature","id":"00000"}',
    ]
    assert lines[4] == b',{"type":"Feature","id":"00001"}'
    assert lines[-2:] == [b"]}", b""]
    assert count == 30_000 == len(json.loads((tmp_path / "many.geojson").read_bytes())["features"])
    assert [entry.name for entry in entries] == ["many.geojson", "many.geojson.gz"]
    write_collection(tmp_path / "none.geojson", None, lambda write: 0)
    assert (tmp_path / "none.geojson").read_bytes() == b'{"type":"FeatureCollection",\n"features":[\n]}\n'


def test_a_file_is_never_written_over(tmp_path):
    write_file(tmp_path / "a", [b"1"])
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "a", [b"2"])
    assert (tmp_path / "a").read_bytes() == b"1"


@pytest.mark.parametrize("fails", ["plain", "packed"])
def test_a_disk_that_is_full_stops_the_writer_and_no_thread_stays(tmp_path, fails):
    """On a real file system of 1 MiB."""
    import threading

    full = tmp_path / "full"
    full.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(full)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    try:
        noise = os.urandom if fails == "packed" else bytes
        with pytest.raises(OSError, match="No space left on device"), sink(full / "a.geojson") as (target, _):
            for _ in range(100):
                target.write(noise(CHUNK_BYTES))
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("gzip")]
    finally:
        subprocess.run(["umount", str(full)], check=True)


def test_a_draft_knows_every_file_in_it(tmp_path):
    draft = Draft(tmp_path)
    draft.add("a.json", b"{}")
    (tmp_path / "changes.geojson").write_bytes(b"x" * 1_000_000)
    (tmp_path / "objects.fgb").write_bytes(b"fgb")
    draft.adopt("changes.geojson", gzip=True)
    draft.adopt_rest()
    names = ["a.json", "changes.geojson", "changes.geojson.gz", "objects.fgb"]
    assert [entry.name for entry in draft.listed()] == names
    for entry in draft.listed():
        data = (tmp_path / entry.name).read_bytes()
        assert (entry.bytes, entry.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    write_file(tmp_path / "same", [b"x" * 1_000_000])
    assert (tmp_path / "same.gz").read_bytes() == (tmp_path / "changes.geojson.gz").read_bytes()


MEASURED = """
import resource, sys
from pathlib import Path
from kryss.layer.files import write_collection
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
def fill(write, number=int(sys.argv[2])):
    line = b'{"type":"Feature","id":"%07d","properties":{"text":"' + b"sign " * 100 + b'"}}'
    for one in range(number):
        write(line % one)
    return number
write_collection(Path(sys.argv[1]) / "warm.geojson", None, lambda write: 0)
before = peak()
write_collection(Path(sys.argv[1]) / "large.geojson", None, fill)
print(peak() - before)
"""


def test_memory_does_not_grow_with_the_file(tmp_path):
    """120 MB through plain, gzip and sha256."""
    out = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path), "220000"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(INCLUDE)},
    )
    assert (tmp_path / "large.geojson").stat().st_size > 110_000_000
    assert int(out.stdout) < 20, "MiB"


# -- a folder


def test_an_unwritable_folder_leaves_everything_as_it_was(town, store, tmp_path, read_tree):
    town.believe(store, town.in_2025())
    town.publish(store, tmp_path, SPRING)
    before = read_tree(tmp_path)
    town.believe(store, town.in_2026())
    shelf = tmp_path / "9999"
    shelf.chmod(0o555)
    try:
        if os.geteuid() == 0 and subprocess.run(["chattr", "+i", str(shelf)], capture_output=True).returncode:
            pytest.skip("root may write anywhere, and this file system knows no immutable folders")
        with pytest.raises(OSError):
            town.publish(store, tmp_path, NEXT_SPRING)
    finally:
        subprocess.run(["chattr", "-i", str(shelf)], capture_output=True)
        shelf.chmod(0o755)
    assert read_tree(tmp_path) == before
    assert town.publish(store, tmp_path, NEXT_SPRING).name == "2026-05-21.1"


def test_a_full_disk_leaves_the_old_release_current_and_no_half_one(town, store, tmp_path, read_tree):
    """The first release fits on a real file system of 3 MiB, the second does not."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        town.believe(store, town.in_2025())
        town.publish(store, disk, SPRING)
        before = read_tree(disk)
        town.believe(store, town.in_2026())
        with pytest.raises(OSError, match="No space left on device"):
            town.publish(store, disk, NEXT_SPRING)
        assert read_tree(disk) == before
        with store.snapshot() as reader:
            assert [release.name for release in reader.releases("9999")] == ["2025-06-11.1"]
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        assert town.publish(store, disk, NEXT_SPRING).name == "2026-05-21.1"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_the_lock_is_held_within_itself(tmp_path):
    shelf = Shelf(str(tmp_path), "9999")
    with shelf.writing():
        with shelf.writing(), shelf.draft() as folder:
            (folder / "x").write_bytes(b"")
        assert not folder.exists()
        with shelf.draft() as folder:
            assert folder.parent == tmp_path / "9999"
    assert list((tmp_path / "9999").iterdir()) == []


def test_files_that_name_a_photo_are_found_and_those_packed_with_them(published, tmp_path):
    shutil.copytree(published.root / "9999", tmp_path / "9999")
    for name in ("objects.fgb", "areas.fgb"):
        (tmp_path / "9999/2026-05-21.1" / name).write_bytes(b"packed")
    shelf = Shelf(str(tmp_path), "9999")
    found = shelf.naming(["102"])
    assert list(found) == ["2025-06-11.1", "2026-05-21.1"]
    assert found["2025-06-11.1"] == [
        *("intersections.geojson", "intersections.geojson.gz", "objects.geojson", "objects.geojson.gz"),
    ]
    assert found["2026-05-21.1"] == [
        *("changes.geojson", "changes.geojson.gz", "intersections.geojson", "intersections.geojson.gz"),
        *("objects.fgb", "objects.geojson", "objects.geojson.gz"),
    ]
    assert shelf.naming(["101"])["2025-06-11.1"] == ["intersections.geojson", "intersections.geojson.gz"]
    assert shelf.naming(["1010"]) == {}
    assert shelf.naming([]) == {}
    others = [str(10**9 + number) for number in range(FEW)]  # many are looked for in another way
    assert shelf.naming(["102", *others]) == found
    assert shelf.naming(["1010", *others]) == {}


@pytest.mark.parametrize("at", [CHUNK_BYTES - 5, CHUNK_BYTES - 2, CHUNK_BYTES - 1, CHUNK_BYTES, 2 * CHUNK_BYTES - 3])
def test_an_id_across_the_border_of_two_pieces_is_found(tmp_path, at):
    folder = tmp_path / "9999/2025-06-11.1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    (folder / "objects.geojson").write_bytes(b" " * at + b'"123456",' + b" " * CHUNK_BYTES)
    for ids in (["123456"], ["123456", *(str(10**5 + number) for number in range(FEW))]):
        assert Shelf(str(tmp_path), "9999").naming(ids) == {"2025-06-11.1": ["objects.geojson"]}


def test_releases_of_schema_1_stay_and_the_first_of_schema_2_names_them(town, store, tmp_path):
    old = tmp_path / "9999/2025-06-11.1"
    old.mkdir(parents=True)
    for name in ("intersections.geojson", OLD_CHANGES, "index.html"):
        (old / name).write_bytes(b"{}")
    manifest = {
        "schema_version": "1.2.0",
        "release": "2025-06-11.1",
        "previous": None,
        "counts": {"intersections": 0, "objects": 0},
        "files": [
            {"name": name, "bytes": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}
            for name in ("index.html", "intersections.geojson", OLD_CHANGES)
        ],
    }
    (old / "manifest.json").write_text(json.dumps(manifest))
    town.believe(store, town.in_2025())

    def record(*_: Any) -> None:
        pointer = json.loads((tmp_path / "9999/latest.json").read_text())
        assert pointer["changes"] == "2025-06-11.1/changes.json", "its writer died before the pointer; it is pointed at as it is"
        assert (pointer["schema_version"], "objects" in pointer) == ("1.2.0", False)

    result = town.publish(store, tmp_path, NEXT_SPRING, record=record)
    told = json.loads((Path(result.url) / "changes.geojson").read_text())
    assert (told["previous"], told["features"]) == ("2025-06-11.1", [])
    assert not any(told["counts"].values())
    assert json.loads((tmp_path / "9999/latest.json").read_text())["releases"] == ["2025-06-11.1", "2026-05-21.1"]
    assert validate(Path(result.url)) == []
    town.believe(store, town.in_2026())
    assert town.publish(store, tmp_path, NEXT_SPRING).changes["added"] == 1


def test_names_sort_by_date_then_number(tmp_path):
    names = ["2025-06-11.10", "2025-06-11.9", "2025-06-02.11"]
    assert sorted(names, key=name_key) == ["2025-06-02.11", "2025-06-11.9", "2025-06-11.10"]
    for odd in ("2025-06-11", "2025-06-11.0", "latest", "2025-06-11.1/"):
        with pytest.raises(LayerError, match="is no release name"):
            name_key(odd)


# -- an object store


@pytest.fixture
def bucket(s3) -> Any:
    return fsspec.filesystem("s3", **s3, use_listings_cache=False)


def test_an_object_store_gets_the_same_bytes_and_the_manifest_last(town, store, tmp_path, s3, bucket, read_tree, monkeypatch):
    order: list[str] = []
    upload = Shelf._upload

    def noting(self: Shelf, path: Path, target: str) -> None:
        order.append(target)
        upload(self, path, target)

    monkeypatch.setattr(Shelf, "_upload", noting)
    for day, objects in ((SPRING, town.in_2025()), (NEXT_SPRING, town.in_2026())):
        town.believe(store, objects)
        for root, options in ((str(tmp_path / "folder"), None), ("s3://layers/same", s3)):
            result = town.publish(store, root, day, storage_options=options)
            assert town.publish(store, root, day, storage_options=options).unchanged
    stored = {key.removeprefix("layers/same/"): bucket.cat_file(key) for key in bucket.find("layers/same")}
    assert stored == read_tree(tmp_path / "folder")
    assert result.url == "s3://layers/same/9999/2026-05-21.1"
    assert order[-1] == "layers/same/9999/2026-05-21.1/manifest.json"
    assert sum(path.endswith("manifest.json") for path in order) == 2


def test_files_have_their_types_and_gzips_are_files_of_their_own(town, store, s3, bucket):
    town.believe(store, town.in_2025())
    town.publish(store, "s3://layers/types", SPRING, storage_options=s3)
    kinds = {}
    for path in bucket.find("layers/types"):
        bucket_name, key = path.split("/", 1)
        told = bucket.call_s3("head_object", Bucket=bucket_name, Key=key)
        assert "ContentEncoding" not in told, "a client would unpack it, and its sha256 would not be the manifest's"
        kinds[path.rsplit("/", 1)[-1]] = told["ContentType"]
    assert kinds["objects.geojson"] == "application/geo+json"
    assert kinds["objects.geojson.gz"] == "application/gzip"
    assert kinds["manifest.json"] == kinds["latest.json"] == kinds["schema.json"] == "application/json"
    assert kinds["index.html"] == "text/html; charset=utf-8"
    assert kinds["LICENSE.md"] == "text/markdown; charset=utf-8"


def test_half_a_release_on_an_object_store_is_none_and_is_removed(town, store, s3, bucket, tmp_path):
    bucket.pipe_file("layers/half/9999/2025-06-11.1/intersections.geojson", b"half")
    bucket.pipe_file("layers/half/9999/2025-06-11.1/older-file.bin", b"left by a dead writer")
    bucket.pipe_file("layers/half/9999/2025-05-01.1/objects.geojson", b"of another day")
    bucket.pipe_file("layers/half/9999/notes.txt", b"foreign")
    pending = bucket.call_s3("create_multipart_upload", Bucket="layers", Key="half/9999/2025-06-11.1/large")
    other = bucket.call_s3("create_multipart_upload", Bucket="layers", Key="half/8888/2025-06-11.1/large")
    shelf = Shelf("s3://layers/half", "9999", s3)
    assert shelf.names() == []
    town.believe(store, town.in_2025())
    result = town.publish(store, "s3://layers/half", SPRING, storage_options=s3)
    assert result.name == "2025-06-11.1"
    assert "2025-06-11.1/older-file.bin" not in {path.split("9999/")[1] for path in bucket.find("layers/half/9999")}
    assert not bucket.exists("layers/half/9999/2025-05-01.1/objects.geojson")
    assert bucket.exists("layers/half/9999/notes.txt")
    uploads = {one["UploadId"] for one in bucket.call_s3("list_multipart_uploads", Bucket="layers").get("Uploads", ())}
    assert pending["UploadId"] not in uploads
    assert other["UploadId"] in uploads, "another municipality's"
    (tmp_path / result.name).mkdir()
    bucket.get(f"layers/half/9999/{result.name}/", str(tmp_path / result.name) + "/", recursive=True)
    assert validate(tmp_path / result.name) == []


def test_a_large_file_goes_up_in_parts(s3, bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(storage_module, "UPLOAD_PART_BYTES", 5 << 20)
    shelf = Shelf("s3://layers/parts", "9999", s3)
    with shelf.writing(), shelf.draft() as folder:
        data = os.urandom(12 << 20)
        (folder / "objects.geojson").write_bytes(data)
        (folder / "manifest.json").write_text("{}")
        shelf.add("2025-06-11.1", folder)
    assert bucket.cat_file("layers/parts/9999/2025-06-11.1/objects.geojson") == data
    told = bucket.call_s3("head_object", Bucket="layers", Key="parts/9999/2025-06-11.1/objects.geojson")
    assert told["ETag"].strip('"').endswith("-2") or told["ETag"].strip('"').endswith("-3")
    assert told["ContentType"] == "application/geo+json"


def test_a_connection_that_is_lost_leaves_the_old_release_current(town, store, s3, bucket, monkeypatch):
    """The server goes away in the middle of the upload, and is there again for the next run."""
    from moto.server import ThreadedMotoServer

    servers = [ThreadedMotoServer(ip_address="127.0.0.1", port=0)]
    servers[0].start()
    _, port = servers[0].get_host_and_port()
    ends = {"client_kwargs": {"endpoint_url": f"http://127.0.0.1:{port}"}, "config_kwargs": {"retries": {"max_attempts": 1}}}
    options = {**s3, **ends}
    town.believe(store, town.in_2025())
    town.publish(store, "s3://layers/lost", SPRING, storage_options=options)
    before = bucket.cat_file("layers/lost/9999/latest.json")
    town.believe(store, town.in_2026())
    upload, sent = Shelf._upload, []

    def losing(self: Shelf, path: Path, target: str) -> None:
        sent.append(target)
        if len(sent) == 6:
            servers[0].stop()
        upload(self, path, target)

    with monkeypatch.context() as broken:
        broken.setattr(Shelf, "_upload", losing)
        with pytest.raises(Exception, match="Could not connect to the endpoint"):
            town.publish(store, "s3://layers/lost", NEXT_SPRING, storage_options=options)
    assert bucket.cat_file("layers/lost/9999/latest.json") == before
    assert len(bucket.find("layers/lost/9999/2026-05-21.1")) == 5
    assert Shelf("s3://layers/lost", "9999", s3).names() == ["2025-06-11.1"]
    assert town.publish(store, "s3://layers/lost", NEXT_SPRING, storage_options=s3).name == "2026-05-21.1"


def test_an_upload_that_another_writer_disturbs_gets_no_manifest(s3, bucket, monkeypatch):
    shelf = Shelf("s3://layers/rivals", "9999", s3)
    upload = Shelf._upload

    def disturbed(self: Shelf, path: Path, target: str) -> None:
        upload(self, path, target)
        if target.endswith("/b.json"):
            bucket.rm_file("layers/rivals/9999/2025-06-11.1/a.json")

    monkeypatch.setattr(Shelf, "_upload", disturbed)
    with shelf.writing(), shelf.draft() as folder:
        for name in ("a.json", "b.json", "manifest.json"):
            (folder / name).write_text("{}")
        with pytest.raises(LayerError, match="another writer disturbed the upload"):
            shelf.add("2025-06-11.1", folder)
    assert shelf.names() == []


def test_what_a_dead_uploader_left_on_this_machine_is_removed(s3, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shelf = Shelf("s3://layers/dead", "9999", s3)
    with shelf.writing():
        (own,) = tmp_path.iterdir()
        assert own.stat().st_mode & 0o777 == 0o700
        (own / ".writing-dead").mkdir()
    with shelf.writing():
        assert list(own.iterdir()) == []
    shutil.rmtree(own)
    (tmp_path / "elsewhere").mkdir()
    own.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LayerError, match="belongs to somebody else"), shelf.writing():
        pass
