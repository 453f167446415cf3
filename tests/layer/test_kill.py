"""A writer killed with -9 at any moment leaves what was published whole, and the next run ends with the same bytes."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import fsspec
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from kryss.layer.storage import Shelf
from kryss.store import open_store

PROGRAM = Path(__file__).with_name("publish_many.py")
INCLUDE = Path(__file__).parents[2] / "include"
DAYS = (date(2025, 6, 11), date(2025, 8, 1), date(2026, 5, 21))
KEEP = 1
"""The first of three releases goes: the third is kept, and the second, which it tells its changes against."""


def appearances(folder: Path, act: Callable[[], object]) -> list[tuple[str, bool]]:
    """``(name, by rename)`` of what appears in ``folder`` during ``act``, in order, as the kernel saw it (inotify)."""
    created, moved_to, without_blocking = 0x100, 0x80, 0x800
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(without_blocking)
    assert libc.inotify_add_watch(watch, bytes(folder), created | moved_to) > 0
    act()
    seen, events = [], os.read(watch, 1 << 16)
    os.close(watch)
    while events:
        _, mask, _, length = struct.unpack_from("iIII", events)
        seen.append((events[16 : 16 + length].rstrip(b"\0").decode(), bool(mask & moved_to)))
        events = events[16 + length :]
    return seen


def test_a_release_and_the_pointer_appear_by_one_rename_each_in_this_order(town, store, tmp_path):
    town.believe(store, town.in_2025())
    town.publish(store, tmp_path, DAYS[0])
    town.believe(store, town.in_2026())
    seen = appearances(tmp_path / "9999", lambda: town.publish(store, tmp_path, DAYS[2]))
    assert [item for item in seen if not item[0].startswith(".writing-")] == [("2026-05-21.1", True), ("latest.json", True)]


@dataclass
class Writer:
    """The program, a database that believes the third night, and a shelf of the first two."""

    program: subprocess.Popen[str]
    url: str
    before: Path

    def publish(self, root: str, deadly: int | None = None, options: Any = None) -> dict[str, Any]:
        order = {"root": root, "deadly": deadly, "options": options, "day": DAYS[2].isoformat(), "keep": KEEP}
        assert self.program.stdin is not None and self.program.stdout is not None
        self.program.stdin.write(json.dumps(order) + "\n")
        self.program.stdin.flush()
        answer: dict[str, Any] = json.loads(self.program.stdout.readline())
        return answer

    def forget_the_third(self) -> None:
        engine = create_engine(self.url.replace("postgresql:", "postgresql+psycopg2:"), poolclass=NullPool)
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM kryss.release WHERE name = :name"), {"name": f"{DAYS[2]}.1"})

    def recorded(self) -> str:
        with open_store(self.url).snapshot() as reader:
            return {release.name: release.sha256 for release in reader.releases("9999")}[f"{DAYS[2]}.1"]


@pytest.fixture(scope="module")
def writer(town, postgis_server, migrated_template, tmp_path_factory) -> Iterator[Writer]:
    url = postgis_server.create_database(migrated_template)
    store, before = open_store(url), tmp_path_factory.mktemp("before")
    for day, objects in zip(DAYS, (town.in_2025()[:-1], town.in_2025(), town.in_2026()), strict=True):
        town.believe(store, objects)
        if day != DAYS[2]:
            town.publish(store, before, day)
    environment = {**os.environ, "PYTHONPATH": str(INCLUDE)}
    program = subprocess.Popen(
        [sys.executable, str(PROGRAM), url, str(before / "count")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    yield Writer(program, url, before)
    assert program.stdin is not None
    program.stdin.close()
    program.wait(20)
    postgis_server.drop_database(url)


@pytest.fixture(scope="module")
def undisturbed(writer, tmp_path_factory, read_tree) -> tuple[dict[str, bytes], int]:
    """The bytes of a shelf on which nobody disturbed the third night, and how many steps that took."""
    root = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(writer.before / "9999", root / "9999")
    answer = writer.publish(str(root))
    assert not answer["failed"]
    assert sorted(path.name for path in (root / "9999").iterdir()) == [f"{DAYS[1]}.1", f"{DAYS[2]}.1", "latest.json"]
    return read_tree(root / "9999"), answer["steps"]


def assert_whole(files: dict[str, bytes]) -> str:
    """What any reader sees of a shelf is whole: the release that latest.json names, all that it lists, and every folder that has
    a manifest. Returns the name of the current release."""
    pointer = json.loads(files["latest.json"])
    folders = {name.split("/")[0] for name in files if name.startswith("20") and name.endswith("/manifest.json")}
    assert {pointer["release"], *pointer["releases"]} <= folders
    assert hashlib.sha256(files[pointer["manifest"]]).hexdigest() == pointer["manifest_sha256"]
    for folder in folders:
        manifest = json.loads(files[f"{folder}/manifest.json"])
        for entry in manifest["files"]:
            assert hashlib.sha256(files[f"{folder}/{entry['name']}"]).hexdigest() == entry["sha256"]
    assert pointer["release"] in (f"{DAYS[1]}.1", f"{DAYS[2]}.1")
    return str(pointer["release"])


def differing(files: dict[str, bytes], others: dict[str, bytes]) -> list[str]:
    """The names that are not the same file in both."""
    return sorted(name for name in files.keys() | others.keys() if files.get(name) != others.get(name))


def kill_at(writer: Writer, read: Callable[[], dict[str, bytes]], root: str, deadly: int, options: Any = None) -> str:
    """Kills a writer at a step, looks, and lets the next one finish; what was current after the kill."""
    writer.forget_the_third()
    answer = writer.publish(root, deadly, options)
    assert answer["signal"] == signal.SIGKILL
    current = assert_whole(read())
    answer = writer.publish(root, None, options)
    assert not answer["failed"]
    return current


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_before_any_operation_on_files(writer, undisturbed, tmp_path, read_tree):
    whole, steps = undisturbed
    assert steps > 60
    current = []
    for deadly in range(1, steps + 1):
        root = tmp_path / str(deadly)
        shutil.copytree(writer.before / "9999", root / "9999")
        current.append(kill_at(writer, lambda root=root: read_tree(root / "9999"), str(root), deadly))
        after = read_tree(root / "9999")
        assert differing(after, whole) == [], f"killed at step {deadly} of {steps}"
        assert writer.recorded() == hashlib.sha256(after[f"{DAYS[2]}.1/manifest.json"]).hexdigest()
        shutil.rmtree(root)
    turn = current.index(f"{DAYS[2]}.1")
    assert current == [f"{DAYS[1]}.1"] * turn + [f"{DAYS[2]}.1"] * (steps - turn)
    assert 50 < turn < steps


def test_killed_at_the_moments_that_matter(writer, undisturbed, tmp_path, read_tree):
    """The last steps: record, rename, pointer, retention."""
    whole, steps = undisturbed
    for deadly in (steps // 2, *range(steps - 36, steps, 6)):
        root = tmp_path / str(deadly)
        shutil.copytree(writer.before / "9999", root / "9999")
        kill_at(writer, lambda root=root: read_tree(root / "9999"), str(root), deadly)
        assert differing(read_tree(root / "9999"), whole) == [], f"killed at step {deadly} of {steps}"


class Bucket:
    """A shelf on the object store as any reader sees it. What is known by its MD5 (the ETag) is not downloaded again."""

    def __init__(self, options: dict[str, Any], *known: dict[str, bytes]) -> None:
        self.fs = fsspec.filesystem("s3", **options, use_listings_cache=False, skip_instance_cache=True)
        self._known = {(name, md5(data)): data for files in known for name, data in files.items()}

    def read(self, prefix: str) -> dict[str, bytes]:
        files = {}
        for path, told in self.fs.find(f"{prefix}/9999", detail=True).items():
            name = path.removeprefix(f"{prefix}/9999/")
            data = self._known.get((name, told["ETag"].strip('"')))
            files[name] = self.fs.cat_file(path) if data is None else data
        return files

    def fill(self, prefix: str, files: dict[str, bytes]) -> None:
        self.fs.pipe({f"{prefix}/9999/{name}": data for name, data in files.items()})


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_before_any_request_to_an_object_store(writer, undisturbed, s3, read_tree):
    whole, _ = undisturbed
    before = read_tree(writer.before / "9999")
    bucket = Bucket(s3, whole, before)
    bucket.fill("layers/undisturbed", before)
    writer.forget_the_third()
    steps = writer.publish("s3://layers/undisturbed", None, s3)["steps"]
    assert differing(bucket.read("layers/undisturbed"), whole) == []
    assert steps > 30
    current = []
    for deadly in range(1, steps + 1):
        prefix = f"layers/kill-{deadly}"
        bucket.fill(prefix, before)
        current.append(kill_at(writer, lambda prefix=prefix: bucket.read(prefix), f"s3://{prefix}", deadly, s3))
        assert differing(bucket.read(prefix), whole) == [], f"killed at request {deadly} of {steps}"
    turn = current.index(f"{DAYS[2]}.1")
    assert current == [f"{DAYS[1]}.1"] * turn + [f"{DAYS[2]}.1"] * (steps - turn)


def test_what_a_dead_writer_recorded_is_recorded_again_with_what_is_believed_then(town, store, tmp_path):
    """It died between the record and the rename; before the next run, more became known."""

    class DeathError(Exception):
        pass

    def record_and_die(release: Any, inputs: Any) -> None:
        with store.transaction("9999") as tx:
            tx.record_release(release, inputs, tx.newest("9999"))
        raise DeathError

    town.believe(store, town.in_2025())
    town.publish(store, tmp_path, DAYS[0])
    town.believe(store, town.in_2026()[:-1])
    with pytest.raises(DeathError):
        town.publish(store, tmp_path, DAYS[2], record=record_and_die)
    assert Shelf(str(tmp_path), "9999").names() == [f"{DAYS[0]}.1"]
    with store.snapshot() as reader:
        ghost = reader.release_inputs("9999")[f"{DAYS[2]}.1"]
    town.believe(store, town.in_2026())
    result = town.publish(store, tmp_path, DAYS[2])
    with store.snapshot() as reader:
        at, _ = reader.release_inputs("9999")[result.name]
        assert at > ghost[0]
        recorded = {release.name: release for release in reader.releases("9999")}
    assert recorded[result.name] == result.release
    assert sorted(recorded) == [f"{DAYS[0]}.1", f"{DAYS[2]}.1"]
