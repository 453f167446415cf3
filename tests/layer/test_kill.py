"""A writer killed with -9 at any moment leaves what was published whole, and the next run ends with the same bytes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
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


@pytest.mark.parametrize("seed", range(6))
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


def test_killed_while_it_writes_its_files(undisturbed, tmp_path, read_tree):
    """Not by chance: the writer dies as soon as its temporary folder is there."""
    whole, _ = undisturbed
    writer = start(tmp_path)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("7777/.writing-*")):
        assert time.monotonic() < deadline
        assert writer.poll() is None
        time.sleep(0.0005)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    published_is_whole(tmp_path)
    again = start(tmp_path)
    again.communicate(timeout=120)
    assert again.returncode == 0
    assert read_tree(tmp_path) == whole
