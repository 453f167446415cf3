"""The doctor sees what is there, says how to get what is not, and shows no secret."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kryss.services import ROOT, doctor, processes
from kryss.services.postgres import temporary_cluster


@pytest.fixture
def root(tmp_path: Path) -> Path:
    checkout = tmp_path / "checkout"
    (checkout / "sql" / "migrations").mkdir(parents=True)
    (checkout / "requirements.txt").write_text("# pins\n")
    return checkout


def _findings(root: Path, **env: str) -> dict[str, doctor.Finding]:
    found = {finding.name: finding for finding in doctor.examine(root, root / ".kryss", {"PATH": os.environ["PATH"], **env})}
    assert all(finding.advice for finding in found.values() if finding.wrong)
    return found


def test_missing_environment_is_told(root: Path) -> None:
    assert _findings(root)[".venv"].state == "missing"


def test_environment_is_good_until_the_pins_change(root: Path) -> None:
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "python").touch()
    assert _findings(root)[".venv"].state == "broken"
    digest = hashlib.sha256((root / "requirements.txt").read_bytes()).hexdigest()
    (root / ".venv" / ".kryss-stamp").write_text(f"{digest}  - {root}\n")
    assert _findings(root)[".venv"].state == "ok"
    (root / "requirements.txt").write_text("# newer pins\n")
    assert _findings(root)[".venv"].state == "broken"


def test_what_was_never_started_is_not_wrong_but_what_died_is(root: Path) -> None:
    assert _findings(root)["airflow-scheduler"].state == "off"
    child = subprocess.Popen(["sleep", "60"])
    record = processes.identify("airflow-scheduler", child.pid)
    processes.write_record(root / ".kryss", record)
    assert _findings(root)["airflow-scheduler"].state == "ok"
    child.kill()
    child.wait()
    died = _findings(root)["airflow-scheduler"]
    assert died.state == "broken"
    assert "airflow-scheduler.log" in died.detail
    processes.write_record(root / ".kryss", replace(record, boot_id="an earlier one"))
    assert _findings(root)["airflow-scheduler"].state == "off"


def test_token_is_seen_but_not_shown(root: Path) -> None:
    finding = _findings(root, KRYSS_MAPILLARY_TOKEN="MLY|1|abc")["mapillary token"]
    assert finding.state == "ok"
    assert "abc" not in finding.detail + finding.advice
    assert _findings(root)["mapillary token"].state == "off"


def test_database_that_does_not_answer_is_told_without_its_password(root: Path) -> None:
    finding = _findings(root, KRYSS_DATABASE_URL="postgresql://kryss:hunter2@127.0.0.1:1/kryss")["database"]
    assert finding.state == "broken"
    assert "127.0.0.1:1/kryss" in finding.detail
    assert "hunter2" not in finding.detail


def test_migrations_are_counted(root: Path) -> None:
    for name in ("0001_tables", "0001_tables.down", "0002_views"):
        (root / "sql" / "migrations" / f"{name}.sql").touch()
    with temporary_cluster() as cluster:
        finding = _findings(root, KRYSS_DATABASE_URL=cluster.url("postgres"))["database"]
    assert finding.state == "ok"
    assert "0 of 2 migrations" in finding.detail


def test_doctor_needs_no_package_and_changes_nothing(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "include"), "KRYSS_HOME": str(tmp_path / "home")}
    # -S: without site-packages, as with the system's Python on a new machine.
    command = [sys.executable, "-S", "-m", "kryss.services", "doctor", "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    assert done.returncode == int(not told["ok"])
    assert {"python", "uv", ".venv", "postgis", "database", "disk", "memory", "gpu", "weights"} <= {
        f["name"] for f in told["findings"]
    }
    assert not (tmp_path / "home").exists()
