"""Processes are known by id, start tick and boot: nobody else's is ever signalled."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kryss.services import processes

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(SLEEP)
    yield process
    process.kill()
    process.wait()


def _wait_for(condition, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_started_process_is_known_to_later_commands_by_its_record(tmp_path: Path) -> None:
    process = processes.start(tmp_path, "sleeper", SLEEP)
    assert processes.read_record(tmp_path, "sleeper").pid == process.pid
    assert processes.running(tmp_path, "sleeper")
    assert processes.recorded(tmp_path) == ["sleeper"]
    assert processes.stop(tmp_path, "sleeper")
    assert process.poll() is not None
    assert processes.recorded(tmp_path) == []


def test_process_that_got_a_recorded_id_later_is_left_alone(tmp_path: Path, stranger: subprocess.Popen[bytes]) -> None:
    record = processes.identify("old", stranger.pid)
    processes.write_record(tmp_path, replace(record, start_ticks=record.start_ticks - 100))
    assert not processes.running(tmp_path, "old")
    assert not processes.stop(tmp_path, "old")
    assert stranger.poll() is None


def test_record_of_an_earlier_boot_matches_nobody(tmp_path: Path, stranger: subprocess.Popen[bytes]) -> None:
    record = processes.identify("old", stranger.pid)
    processes.write_record(tmp_path, replace(record, boot_id="00000000-0000-0000-0000-000000000000"))
    assert not processes.stop(tmp_path, "old")
    assert stranger.poll() is None


def test_zombie_does_not_run(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    assert _wait_for(lambda: (Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0]) == "Z")
    assert processes.identify("zombie", child.pid) is None
    child.wait()


def test_process_that_ignores_the_polite_signal_is_killed(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    process = processes.start(tmp_path, "deaf", [sys.executable, "-c", code])
    assert _wait_for(lambda: "deaf" in processes.log_file(tmp_path, "deaf").read_text())
    assert processes.stop(tmp_path, "deaf", patience_s=0.2)
    assert process.poll() == -9


def test_children_are_stopped_too_even_in_sessions_of_their_own(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time;"
        f"own = subprocess.Popen({SLEEP!r}); far = subprocess.Popen({SLEEP!r}, start_new_session=True);"
        "print(own.pid, far.pid, flush=True); time.sleep(60)"
    )
    processes.start(tmp_path, "parent", [sys.executable, "-c", code])
    log = processes.log_file(tmp_path, "parent")
    assert _wait_for(lambda: len(log.read_text().split()) == 2)
    children = [processes.identify("child", int(pid)) for pid in log.read_text().split()]
    assert all(map(processes.is_alive, children))
    processes.stop(tmp_path, "parent")
    assert not any(map(processes.is_alive, children))


def test_log_of_the_last_start_is_kept_beside_the_new_one(tmp_path: Path) -> None:
    for word in ("first", "second"):
        processes.start(tmp_path, "talker", [sys.executable, "-c", f"print('{word}')"]).wait()
    assert processes.tail(tmp_path / "logs" / "talker.log") == "second"
    assert processes.tail(tmp_path / "logs" / "talker.log.1") == "first"


def test_unreadable_record_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "half.json").write_text('{"name": "half", "pi')
    assert not processes.running(tmp_path, "half")
    assert not processes.stop(tmp_path, "half")
