"""Airflow of one's own: its settings, and (slow) its processes, killed, started again and used."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kryss.services import ServiceError, airflow, control, processes
from kryss.services.postgres import Database

DATABASE = Database(
    "postgresql://kryss:s3cret@127.0.0.1:25432/kryss", "postgresql://kryss:s3cret@127.0.0.1:25432/airflow", "here", True
)

DAG = """
from datetime import timedelta
from airflow.sdk import Param, dag, task

@dag(schedule=None, params={"answer": Param(1, type="integer")}, default_args={"retries": 0})
def tiny():
    @task
    def give(params):
        if params["answer"] < 0:
            raise ValueError(f"{params['answer']} is negative")
        return {"answer": params["answer"]}

    @task
    def both(given):
        return [given["answer"], 21]

    @task(pool="gpu")
    def double(number):
        return number * 2

    double.expand(number=both(give()))

tiny()
"""


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    return airflow.airflow_environment(tmp_path, DATABASE, {"PATH": "/usr/bin", "NO_PROXY": "intranet"})


def test_tasks_get_the_database_of_kryss_and_airflow_one_of_its_own(settings: dict[str, str]) -> None:
    assert settings["KRYSS_DATABASE_URL"] == DATABASE.url
    assert settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == "postgresql+psycopg2://kryss:s3cret@127.0.0.1:25432/airflow"
    assert settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC"] == "postgresql+asyncpg://kryss:s3cret@127.0.0.1:25432/airflow"


def test_tasks_and_api_server_meet_at_one_port_on_loopback(tmp_path: Path) -> None:
    (tmp_path / "airflow").mkdir()
    (tmp_path / "airflow" / "port").write_text("28123\n")
    settings = airflow.airflow_environment(tmp_path, DATABASE, {})
    assert settings["AIRFLOW__API__PORT"] == "28123"
    assert settings["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert settings["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:28123/execution/"


def test_proxy_of_the_user_is_not_asked_for_loopback(settings: dict[str, str]) -> None:
    assert settings["NO_PROXY"].split(",") == ["intranet", "127.0.0.1", "localhost"]


def test_keys_are_made_once(tmp_path: Path, settings: dict[str, str]) -> None:
    again = airflow.airflow_environment(tmp_path, DATABASE, {})
    for name in ("AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API__SECRET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET"):
        assert again[name] == settings[name] != ""


def test_setting_of_the_user_wins_but_not_over_where_things_are(tmp_path: Path) -> None:
    given = {"AIRFLOW__CORE__PARALLELISM": "17", "AIRFLOW_HOME": "/elsewhere", "PYTHONPATH": "/elsewhere"}
    settings = airflow.airflow_environment(tmp_path, DATABASE, given)
    assert settings["AIRFLOW__CORE__PARALLELISM"] == "17"
    assert settings["AIRFLOW_HOME"] == str(tmp_path / "airflow")
    assert "/elsewhere" not in settings["PYTHONPATH"]


def test_what_was_set_since_the_start_is_noticed_and_what_is_no_longer_set_is_not(tmp_path: Path) -> None:
    airflow._keep_settings(tmp_path, {"KRYSS_PHOTOS_URL": "s3://a/b"}, DATABASE)
    assert airflow._changed_settings(tmp_path, {}, DATABASE) == []
    assert airflow._changed_settings(tmp_path, {"HOME": "/new", "KRYSS_PHOTOS_URL": "s3://a/b"}, DATABASE) == []
    assert airflow._changed_settings(tmp_path, {"KRYSS_MAPILLARY_TOKEN": "MLY|token"}, DATABASE) == ["KRYSS_MAPILLARY_TOKEN"]
    moved = Database("postgresql://kryss:s3cret@127.0.0.1:25433/kryss", DATABASE.airflow_url, "here", True)
    assert airflow._changed_settings(tmp_path, {}, moved) == ["KRYSS_DATABASE_URL"]


def test_settings_of_running_processes_are_kept_as_hashes(tmp_path: Path) -> None:
    airflow._keep_settings(tmp_path, {"KRYSS_MAPILLARY_TOKEN": "MLY|token"}, DATABASE)
    (kept,) = (tmp_path / "run").iterdir()
    assert "token" not in kept.read_text().replace("MAPILLARY_TOKEN", "")
    assert "s3cret" not in kept.read_text()


def test_airflow_that_does_not_run_is_told_how_to_start(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"\./kryss up"):
        airflow.connect(tmp_path)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="kryss-test-"))
    folder.chmod(0o755)
    yield folder / ".kryss"
    control.down(folder / ".kryss")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def env(home: Path) -> dict[str, str]:
    dags = home.parent / "dags"
    dags.mkdir()
    (dags / "tiny.py").write_text(DAG)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KRYSS_", "AIRFLOW"))}
    return {**kept, "AIRFLOW__CORE__DAGS_FOLDER": str(dags)}


@pytest.fixture(scope="module")
def running(home: Path, env: dict[str, str]) -> airflow.Airflow:
    return airflow.up(home, env=env)


@pytest.mark.slow
@pytest.mark.timeout(600)
class TestRunningAirflow:
    def test_up_starts_everything(self, home: Path, running: airflow.Airflow) -> None:
        assert set(running.started) == set(control.COMPONENTS)
        assert all(processes.running(home, name) for name in control.COMPONENTS)

    def test_up_again_starts_nothing(self, home: Path, running: airflow.Airflow, env: dict[str, str]) -> None:
        again = airflow.up(home, env=env)
        assert again.started == ()
        assert again.url == running.url

    def test_passwords_are_in_files_of_the_owner_only(self, home: Path, running: airflow.Airflow) -> None:
        holders = {path for path in home.rglob("*") if path.is_file() and _holds(path, running.password)}
        assert holders == {home / "secrets.json", home / "airflow" / "passwords.json"}
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in holders)

    def test_run_is_followed_to_its_end(self, home: Path, running: airflow.Airflow) -> None:
        told: list[dict[str, dict[str, int]]] = []
        when = datetime(2026, 3, 1, tzinfo=UTC)
        outcome = airflow.trigger_and_wait(home, "tiny", {"answer": 4}, "first", when, told.append, "tiny.py", 300)
        assert outcome.ok
        assert outcome.tasks == {"give": {"success": 1}, "both": {"success": 1}, "double": {"success": 2}}
        assert told[-1] == outcome.tasks
        client = airflow.connect(home)
        assert client.get("/dags/tiny")["is_paused"], "a schedule that was off stays off"
        assert airflow.xcom_value(client, "tiny", "first", "give") == {"answer": 4}
        assert airflow.xcom_value(client, "tiny", "first", "double", map_index=0) == 8

    def test_failed_run_tells_what_failed(self, home: Path, running: airflow.Airflow) -> None:
        outcome = airflow.trigger_and_wait(home, "tiny", {"answer": -1}, "second", timeout_s=300)
        assert not outcome.ok
        assert airflow.failures(airflow.connect(home), "tiny", "second") == {"give": "ValueError: -1 is negative"}

    def test_runs_can_be_forgotten_and_their_dates_used_again(self, home: Path, running: airflow.Airflow) -> None:
        client = airflow.connect(home)
        assert airflow.delete_runs(client, "tiny") == 2
        assert airflow.delete_runs(client, "absent") == 0
        assert airflow.trigger(client, "tiny", {}, "first", datetime(2026, 3, 1, tzinfo=UTC)) == "first"
        airflow.wait_for_run(home, client, "tiny", "first", timeout_s=300)

    def test_dag_that_cannot_be_read_is_told_with_the_reason(
        self, home: Path, env: dict[str, str], running: airflow.Airflow
    ) -> None:
        (Path(env["AIRFLOW__CORE__DAGS_FOLDER"]) / "broken.py").write_text("# airflow dag\nimport no_such_module\n")
        with pytest.raises(ServiceError, match="No module named 'no_such_module'"):
            airflow.wait_for_dag(airflow.connect(home), "broken", timeout_s=120, file_name="broken.py")

    def test_gpu_pool_is_there(self, home: Path, running: airflow.Airflow) -> None:
        assert airflow.connect(home).get("/pools/gpu")["slots"] >= 1

    def test_killed_process_is_started_again_alone(self, home: Path, running: airflow.Airflow, env: dict[str, str]) -> None:
        os.kill(processes.read_record(home, "airflow-triggerer").pid, signal.SIGKILL)
        assert airflow.up(home, env=env).started == ("airflow-triggerer",)

    def test_down_stops_everything(self, home: Path, running: airflow.Airflow) -> None:
        records = [processes.read_record(home, name) for name in control.COMPONENTS]
        assert set(control.down(home)) == {*control.COMPONENTS, "postgres"}
        assert not any(map(processes.is_alive, records))
        assert control.down(home) == []


def _holds(path: Path, text: str) -> bool:
    return text in path.read_bytes().decode(errors="replace")
