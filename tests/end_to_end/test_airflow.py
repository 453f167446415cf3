"""A real Airflow: the DAG from discover to report, and a worker killed with -9 in the middle of detect."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from kryss.cli.demo import municipality_of
from kryss.config import Settings
from kryss.demo.area import load_area
from kryss.demo.playback.play import Playback
from kryss.pipeline.run import short_hash
from kryss.pipeline.state import State
from kryss.services import airflow, control, processes
from kryss.store import open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def kill_detect(home: Path, done: threading.Event, killed: list[int]) -> None:
    """Kills the first task of this home's scheduler that has a detector in its memory: only detect grows so large."""
    while not done.is_set():
        scheduler = processes.read_record(home, "airflow-scheduler")
        tasks = psutil.Process(scheduler.pid).children(recursive=True) if scheduler else []
        for task in tasks:
            try:
                if task.memory_info().rss > 450 * 2**20:
                    task.send_signal(signal.SIGKILL)
                    killed.append(task.pid)
                    return
            except psutil.Error:
                continue
        time.sleep(0.05)


def test_after_a_worker_is_killed_in_detect_the_dag_ends_with_the_same_release(few: Path, install: Any, tmp_path: Path) -> None:
    home = tmp_path / "airflow-home"
    area = load_area(few)
    now = area.epochs[-1]
    env = {name: value for name, value in os.environ.items() if not name.startswith("KRYSS_")}
    killed: list[int] = []
    done = threading.Event()
    try:
        with Playback(area, now) as playback:
            # The junctions are asked of the place that an Airflow connection names.
            env["AIRFLOW_CONN_KRYSS_NVDB"] = json.dumps({"conn_type": "http", "host": playback.urls["nvdb"]})
            running = airflow.up(home, env={**env, "KRYSS_HOME": str(home)})
            open_store(running.database.url).migrate()
            entry = municipality_of(area, dict(playback.urls), None)
            entry["services"]["nvdb"] = None
            (home / "municipalities").mkdir(exist_ok=True)
            (home / "municipalities" / "few.yaml").write_text(yaml.safe_dump({"municipalities": [entry]}))
            killer = threading.Thread(target=kill_detect, args=(home, done, killed))
            killer.start()
            dag_id = f"refresh_{entry['code']}"
            params = {"release_date": now.date().isoformat()}
            outcome = airflow.trigger_and_wait(home, dag_id, params, file_name="refresh.py", timeout_s=600)
            done.set()
            killer.join()
            assert outcome.ok, outcome.tasks
            settings = Settings.from_env({"KRYSS_HOME": str(home), "KRYSS_DATABASE_URL": running.database.url})
            report = f"runs/{entry['code']}/{short_hash([f'{dag_id}/{outcome.run_id}'])}/report.json"
            summary = State(settings.state_url).read_json(report)
            assert any("nvdb" in name for name in playback.stats()["requests"]), "the connection's base URL was not used"
            again = airflow.trigger_and_wait(home, dag_id, params, file_name="refresh.py", timeout_s=600)
    finally:
        done.set()
        control.down(home)
    assert killed, "no detect task was seen"
    assert summary["missing"] == []
    assert again.tasks["export"] == {"skipped": 1}, "nothing new: no release"
    disturbed = {path.name: path.read_bytes() for path in sorted((home / "releases").rglob("*")) if path.is_file()}
    calm = install(few)
    calm.refresh("undisturbed", now)
    assert {path.rsplit("/", 1)[-1]: content for path, content in calm.files().items()} == disturbed
    assert json.loads(disturbed["latest.json"])["release"] == f"{now.date()}.1"
