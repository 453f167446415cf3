"""Kills, faults and a revoked token through the whole pipeline: nothing is lost or done twice, the release is the same."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kryss.http import StopRun
from kryss.store import open_store

ROOT = Path(__file__).resolve().parents[2]

NIGHT = """
import json, sys
from datetime import date
from kryss.config import MunicipalityConfig, Settings
from kryss.pipeline.local import refresh
from kryss.pipeline.run import Run
given = json.load(sys.stdin)
config = MunicipalityConfig.model_validate(given["config"])
refresh(Run(config, Settings.from_env(given["env"]), given["run_id"], date.fromisoformat(given["date"])))
"""


def process(place: Any, run_id: str) -> subprocess.Popen[bytes]:
    """The same refresh in a process that can be killed."""
    given = {
        "config": place.config.model_dump(),
        "env": {
            "KRYSS_HOME": str(place.home),
            "KRYSS_DATABASE_URL": place.settings.database_url.get_secret_value(),
        },
        "run_id": run_id,
        "date": place.area.epochs[-1].date().isoformat(),
    }
    started = subprocess.Popen(
        [sys.executable, "-c", NIGHT], stdin=subprocess.PIPE, env={"PYTHONPATH": str(ROOT / "include"), "PATH": "/usr/bin"}
    )
    assert started.stdin is not None
    started.stdin.write(json.dumps(given).encode())
    started.stdin.close()
    return started


def test_after_a_kill_in_the_middle_of_detect_the_release_is_byte_identical(
    few: Path, install: Any, postgis_server: Any, migrated_template: str, tmp_path: Path
) -> None:
    place = install(few)
    now = place.area.epochs[-1]
    place.playback.set_now(now)
    victim = process(place, "killed")
    state = place.home / "state" / "work" / place.config.code
    deadline = time.monotonic() + 120
    while not list(state.glob("*/*/fetched.jsonl.gz")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(2.0)  # the detector is loading or looking at photos
    assert victim.poll() is None, "the refresh ended before it could be killed"
    assert not list(state.glob("*/*/results.jsonl.gz")), "detect had ended before the kill"
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    assert not place.releases.exists()
    place.refresh("again", now)
    disturbed = place.files()

    from contextlib import ExitStack

    from_conftest = sys.modules[type(place).__module__]
    with ExitStack() as stack:
        url = postgis_server.create_database(migrated_template)
        stack.callback(postgis_server.drop_database, url)
        calm = stack.enter_context(from_conftest.installed(few, tmp_path / "calm", url))
        calm.refresh("undisturbed", now)
        assert calm.files() == disturbed


def test_broken_photos_fail_alone_with_their_reason_and_are_had_the_next_night(few: Path, install: Any) -> None:
    place = install(few)
    now = place.area.epochs[-1]
    broken = [image["id"] for image in place.area.images[:2]]
    place.playback.faults.order("truncated", server="mapillary-photos", path=broken[0], count=-1)
    place.playback.faults.order("html-under-200", server="mapillary-photos", path=broken[1], count=-1)
    report = place.refresh("bad-night", now, limit=4)
    assert sum(report["photos"]["failed"].values()) == 2, report["photos"]
    assert report["release"] is not None
    states = open_store(place.settings.database_url.get_secret_value()).image_states(
        place.config.code, place.run("x", now).model_key
    )
    assert {image_id: state for image_id, (state, _) in states.items() if state != "ok"} == dict.fromkeys(broken, "failed")
    place.playback.faults.clear()
    report = place.refresh("good-night", now, limit=2)
    assert report["photos"]["failed"] == {}
    states = open_store(place.settings.database_url.get_secret_value()).image_states(
        place.config.code, place.run("x", now).model_key
    )
    assert all(states[image_id] == ("ok", 2) for image_id in broken)


def test_a_revoked_token_stops_the_run_and_marks_no_photo(few: Path, install: Any) -> None:
    place = install(few)
    now = place.area.epochs[-1]
    place.playback.faults.order("revoked-token", server="mapillary-graph", path=r"thumb_", after=2, count=-1)
    with pytest.raises(StopRun) as stopped:
        place.refresh("revoked", now)
    assert "MLY|" not in str(stopped.value)
    store = open_store(place.settings.database_url.get_secret_value())
    assert store.image_states(place.config.code, place.run("x", now).model_key) == {}
    place.playback.faults.clear()
    report = place.refresh("new-token", now, limit=2)
    assert report["photos"]["failed"] == {}
