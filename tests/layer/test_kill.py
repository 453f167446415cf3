"""A writer killed with -9 at any moment leaves what was published whole, and the next run ends with the same bytes."""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from kryss.layer.validate import validate

PROGRAM = Path(__file__).with_name("publish_many.py")
INCLUDE = Path(__file__).parents[2] / "include"


def start(root: Path, night: int = 0) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(INCLUDE)}
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(root), str(night)], stdout=subprocess.PIPE, text=True, env=environment
    )


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


def test_a_release_and_the_pointer_appear_by_one_rename_each_in_this_order(town, tmp_path):
    town.publish(tmp_path, date(2025, 6, 11), town.in_2025())
    seen = appearances(tmp_path / "9999", lambda: town.publish(tmp_path, date(2026, 5, 21), town.in_2026()))
    assert [item for item in seen if not item[0].startswith(".writing-")] == [("2026-05-21.1", True), ("latest.json", True)]


def wait_for(writer: subprocess.Popen[str], words: str) -> None:
    assert writer.stdout is not None
    for line in writer.stdout:
        if line.strip() == words:
            return
    raise AssertionError(f"the writer ended before it said {words!r}")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, read_tree):
    """The bytes of a run nobody disturbed, and how long its second night took."""
    root = tmp_path_factory.mktemp("undisturbed")
    writer = start(root)
    wait_for(writer, "night 1")
    begun = time.monotonic()
    wait_for(writer, "done")
    took = time.monotonic() - begun
    assert writer.wait() == 0
    return read_tree(root), took


def published_is_whole(root: Path) -> None:
    """What a consumer can see: everything that carries a release's name is complete, and the pointer holds."""
    base = root / "7777"
    pointer = base / "latest.json"
    if pointer.exists():
        assert (base / json.loads(pointer.read_text())["manifest"]).is_file()
    for folder in base.glob("20*") if base.exists() else ():
        assert validate(folder) == []


@pytest.mark.parametrize("seed", range(2))
def test_killed_and_run_again_gives_identical_bytes(undisturbed, tmp_path, read_tree, seed):
    whole, took = undisturbed
    chance = random.Random(seed)
    night = 0
    for _ in range(2):
        writer = start(tmp_path, night)
        wait_for(writer, f"night {night}")
        if night == 0 and chance.random() < 0.5:
            wait_for(writer, "night 1")
            night = 1
        time.sleep(chance.uniform(0, took))
        os.kill(writer.pid, signal.SIGKILL)
        assert writer.stdout is not None
        night = 1 if "night 1" in writer.stdout.read() else night
        writer.wait()
        published_is_whole(tmp_path)
    again = start(tmp_path, night)
    out, _ = again.communicate(timeout=120)
    assert again.returncode == 0, out
    assert read_tree(tmp_path) == whole


@pytest.mark.parametrize("sign", [".writing-2025-*", "2025-*", ".writing-latest*", "latest.json"])
def test_killed_as_soon_as_a_file_or_folder_appears(undisturbed, tmp_path, read_tree, sign):
    """Not by chance: the writer dies at each step that can be seen from outside (a short-lived one may be over by then)."""
    whole, _ = undisturbed
    writer = start(tmp_path)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(f"7777/{sign}")) and writer.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.0002)
    writer.kill()
    assert writer.stdout is not None
    night = 1 if "night 1" in writer.stdout.read() else 0
    writer.wait()
    published_is_whole(tmp_path)
    again = start(tmp_path, night)
    again.communicate(timeout=120)
    assert again.returncode == 0
    assert read_tree(tmp_path) == whole
