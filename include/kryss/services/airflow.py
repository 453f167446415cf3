"""Airflow of this checkout: its settings, its four processes, and its REST API v2 as far as Kryss needs it.

Metadata lie in a database of their own beside Kryss's. All settings come from the environment (``airflow_environment``), none
from an ``airflow.cfg``; an ``AIRFLOW__*`` variable that is already set wins. API: "Airflow public API reference" of Airflow 3.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from kryss.services import ROOT, ServiceError, ports, processes
from kryss.services.control import COMPONENTS, stop_components
from kryss.services.postgres import Database, Say, ensure_postgis
from kryss.services.secret_store import fernet_key, secret

log = logging.getLogger(__name__)

USER = "admin"
PREFERRED_PORT = 28080
HEALTH = {
    "airflow-scheduler": "scheduler",
    "airflow-dag-processor": "dag_processor",
    "airflow-triggerer": "triggerer",
}
START_PATIENCE_S = 300.0
GPU_POOL = "gpu"


@dataclass(frozen=True)
class Airflow:
    """A running Airflow."""

    url: str
    user: str
    password: str = field(repr=False)
    database: Database
    started: tuple[str, ...]
    """Processes that had to be started; none when everything ran already."""


# -- settings ---------------------------------------------------------------------------------------------------------------


def airflow_home(home: Path) -> Path:
    return home / "airflow"


def airflow_environment(home: Path, database: Database, env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The whole environment of Airflow's processes and of every task."""
    port = ports.read_port(airflow_home(home) / "port") or PREFERRED_PORT
    url = f"http://127.0.0.1:{port}"
    cores = len(os.sched_getaffinity(0))
    tail = database.airflow_url.removeprefix("postgresql://")
    settings = {
        "AIRFLOW_HOME": str(airflow_home(home)),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(max(4, cores)),
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        "AIRFLOW__CORE__FERNET_KEY": secret(home, "airflow_fernet", fernet_key),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(_passwords_file(home)),
        "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "1",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__API__HOST": ports.LOOPBACK,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": secret(home, "airflow_api"),
        "AIRFLOW__API_AUTH__JWT_SECRET": secret(home, "airflow_jwt"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{tail}",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+asyncpg://{tail}",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "15",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        # A busy machine must not cost a task its life; a killed one must be noticed while somebody still waits for it.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "SCARF_ANALYTICS": "false",
        "DO_NOT_TRACK": "1",
        "KRYSS_MUNICIPALITIES": os.pathsep.join([str(ROOT / "include" / "municipalities.yaml"), str(home / "municipalities")]),
    }
    given = {name: value for name, value in env.items() if name != "AIRFLOW_HOME"}
    fixed = {
        "KRYSS_HOME": str(home),
        "KRYSS_DATABASE_URL": database.url,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", "/usr/bin:/bin")]),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "include"), str(ROOT / "plugins")]),
        "PYTHONUNBUFFERED": "1",
        # Tasks talk to the api-server on loopback, whatever proxy the user has for the rest of the world.
        "NO_PROXY": _with_loopback(env.get("NO_PROXY") or env.get("no_proxy", "")),
        "no_proxy": _with_loopback(env.get("NO_PROXY") or env.get("no_proxy", "")),
    }
    return {**settings, **given, **fixed}


def _with_loopback(no_proxy: str) -> str:
    return ",".join(dict.fromkeys([*filter(None, no_proxy.split(",")), ports.LOOPBACK, "localhost"]))


def _passwords_file(home: Path) -> Path:
    return airflow_home(home) / "passwords.json"


def _write_passwords(home: Path) -> str:
    password = secret(home, "airflow_admin")
    file = _passwords_file(home)
    if not file.exists() or json.loads(file.read_text() or "{}").get(USER) != password:
        temporary = file.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
            json.dump({USER: password}, output)
        temporary.replace(file)
    return password


# -- up and down ------------------------------------------------------------------------------------------------------------


def up(home: Path, say: Say = log.info, env: Mapping[str, str] = os.environ) -> Airflow:
    """PostGIS and Airflow, running and healthy. What runs already is left alone; what has died is started again."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "municipalities").mkdir(exist_ok=True)
    airflow_home(home).mkdir(mode=0o700, exist_ok=True)
    with (home / "airflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        began = time.monotonic()
        database = ensure_postgis(home, env, say)
        _tell(say, f"PostGIS at {database.where}", began)
        return _up(home, database, say, env)


def _tell(say: Say, what: str, began: float) -> None:
    say(f"{what} ({time.monotonic() - began:.1f} s)")


def _up(home: Path, database: Database, say: Say, env: Mapping[str, str]) -> Airflow:
    password = _write_passwords(home)
    if any(processes.running(home, name) for name in COMPONENTS) and (changed := _changed_settings(home, env, database)):
        say(f"{', '.join(changed)} changed: Airflow is started again")
        stop_components(home)
    alive = {name for name in COMPONENTS if processes.running(home, name)}
    if "airflow-api-server" not in alive:
        port = ports.claim_port(airflow_home(home) / "port", PREFERRED_PORT)
        if alive and _kept(home).get("port") not in (None, str(port)):
            # The others know the api-server by its port.
            stop_components(home)
            alive = set()
    environment = airflow_environment(home, database, env)
    if not alive:
        _migrate(home, database, environment, say)
    missing = [name for name in COMPONENTS if name not in alive]
    began = time.monotonic()
    if missing:
        _keep_settings(home, env, database)
    for name in missing:
        processes.start(home, name, [sys.executable, "-m", "airflow", *COMPONENTS[name]], env=environment, cwd=airflow_home(home))
    client = AirflowClient(environment["AIRFLOW__API__BASE_URL"], password)
    _wait_for_health(home, client, say, missing)
    if missing:
        _ensure_gpu_pool(client, env)
        _tell(say, f"Airflow at {client.url}", began)
    return Airflow(client.url, USER, password, database, tuple(missing))


def _migrate(home: Path, database: Database, environment: Mapping[str, str], say: Say) -> None:
    """Brings Airflow's metadata to this version of Airflow; skipped when they are."""
    from importlib.metadata import version

    file = airflow_home(home) / "migrated.json"
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        known = {}
    now = {"airflow": version("apache-airflow"), "head": _metadata_version(database)}
    if now["head"] and known == now:
        return
    began = time.monotonic()
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    done = subprocess.run(command, env=dict(environment), cwd=airflow_home(home), capture_output=True, text=True, check=False)
    if done.returncode:
        logged = processes.log_file(home, "airflow-migrate")
        logged.parent.mkdir(parents=True, exist_ok=True)
        logged.write_text(done.stdout + done.stderr)
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise ServiceError(f"Airflow's metadata could not be migrated. All of it is in {logged}; it ends with\n{last}")
    file.write_text(json.dumps({**now, "head": _metadata_version(database)}))
    _tell(say, "Airflow's metadata", began)


def _metadata_version(database: Database) -> str | None:
    import psycopg2

    try:
        connection = psycopg2.connect(database.airflow_url, connect_timeout=10)
    except psycopg2.Error:
        return None
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('alembic_version') IS NOT NULL")
            if not (cursor.fetchone() or (False,))[0]:
                return None
            cursor.execute("SELECT version_num FROM alembic_version")
            row = cursor.fetchone()
            return str(row[0]) if row else None
    finally:
        connection.close()


def _settings_file(home: Path) -> Path:
    return home / "run" / "airflow.settings"


def _kept(home: Path) -> dict[str, str]:
    try:
        kept = json.loads(_settings_file(home).read_text())
        return kept if isinstance(kept, dict) else {}
    except (OSError, ValueError):
        return {}


def _relevant(env: Mapping[str, str], database: Database) -> dict[str, str]:
    """Settings that running processes would have to be started again for, as hashes: some are secrets."""
    given = {name: value for name, value in env.items() if name.startswith(("KRYSS_", "AIRFLOW__")) and value}
    given["KRYSS_DATABASE_URL"] = database.url
    return {name: hashlib.sha256(value.encode()).hexdigest()[:16] for name, value in given.items()}


def _keep_settings(home: Path, env: Mapping[str, str], database: Database) -> None:
    file = _settings_file(home)
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = {**_relevant(env, database), "port": str(ports.read_port(airflow_home(home) / "port"))}
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        json.dump(kept, output)


def _changed_settings(home: Path, env: Mapping[str, str], database: Database) -> list[str]:
    """Variables set now that were not, or differently, when Airflow was started. One that is no longer set changes nothing."""
    kept = _kept(home)
    return sorted(name for name, digest in _relevant(env, database).items() if kept.get(name) != digest)


def _wait_for_health(home: Path, client: AirflowClient, say: Say, started: list[str]) -> None:
    deadline = time.monotonic() + START_PATIENCE_S
    waiting = ["airflow-api-server", *HEALTH]
    told: list[str] = []
    while True:
        for name in COMPONENTS:
            if not processes.running(home, name):
                file = processes.log_file(home, name)
                raise ServiceError(f"{name} ended. Its log is {file}; it ends with\n{processes.tail(file)}")
        health = client.health()
        if health is not None:
            waiting = [name for name, key in HEALTH.items() if (health.get(key) or {}).get("status") != "healthy"]
            if (health.get("metadatabase") or {}).get("status") != "healthy":
                waiting.append("metadata database")
            if not waiting:
                return
        if time.monotonic() > deadline:
            raise ServiceError(
                f"after {START_PATIENCE_S:.0f} s still not healthy: {', '.join(waiting)}. The logs are in {home / 'logs'}; "
                "try ./kryss down, then ./kryss up"
            )
        if started and waiting != told:
            say(f"waiting for {', '.join(waiting)}")
            told = waiting
        time.sleep(0.2)


def _ensure_gpu_pool(client: AirflowClient, env: Mapping[str, str]) -> None:
    """One slot per accelerator, and one without any: a detector fills all cores. A pool that is there is the operator's."""
    if client.request("GET", f"/pools/{GPU_POOL}", accept=(404,)).status_code == 404:
        slots = int(env.get("KRYSS_GPU_SLOTS") or max(1, len(list(Path("/dev").glob("nvidia[0-9]*")))))
        body = {
            "name": GPU_POOL,
            "slots": slots,
            "description": "Detection and depth: one slot per accelerator",
            "include_deferred": False,
        }
        client.request("POST", "/pools", json=body, accept=(409,))


# -- REST API ---------------------------------------------------------------------------------------------------------------


class AirflowClient:
    """Airflow's REST API v2 on loopback, as the admin that Kryss made."""

    def __init__(self, url: str, password: str) -> None:
        self.url = url
        self._password = password
        self._token: str | None = None
        self._session = requests.Session()
        self._session.trust_env = False

    def health(self) -> dict[str, Any] | None:
        """What the api-server says of all components, or None while it does not answer."""
        try:
            response = self._session.get(f"{self.url}/api/v2/monitor/health", timeout=10)
            return response.json() if response.ok else None
        except (requests.RequestException, ValueError):
            return None

    def _login(self) -> str:
        body = {"username": USER, "password": self._password}
        response = self._session.post(f"{self.url}/auth/token", json=body, timeout=30)
        if not response.ok:
            raise ServiceError(
                f"Airflow at {self.url} refused the login of {USER!r} ({response.status_code}); try ./kryss down, then up"
            )
        return str(response.json()["access_token"])

    def request(self, method: str, path: str, accept: tuple[int, ...] = (), **options: Any) -> requests.Response:
        """One call; a connection that breaks is tried again for a while (the api-server may be starting again)."""
        for attempt in range(6):
            try:
                self._token = self._token or self._login()
                headers = {"Authorization": f"Bearer {self._token}"}
                response = self._session.request(method, f"{self.url}/api/v2{path}", headers=headers, timeout=60, **options)
            except requests.RequestException as error:
                if attempt == 5 or method == "POST":
                    raise ServiceError(
                        f"Airflow at {self.url} does not answer ({type(error).__name__}); try ./kryss up"
                    ) from None
                time.sleep(1 + attempt)
                continue
            if response.status_code == 401 and attempt == 0:
                self._token = None
                continue
            if response.ok or response.status_code in accept:
                return response
            raise ServiceError(f"Airflow: {method} {path}: {response.status_code} {_detail(response)}")
        raise ServiceError(f"Airflow: {method} {path}: not authorized")

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        return self.request("GET", path, params=params).json()

    def pages(self, path: str, key: str, **params: Any) -> list[dict[str, Any]]:
        """All entries of a listing."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.get(path, limit=100, offset=len(found), **params)
            found += page[key]
            if len(found) >= page["total_entries"] or not page[key]:
                return found


def _detail(response: requests.Response) -> str:
    try:
        return str(response.json().get("detail"))[:500]
    except (ValueError, AttributeError):
        return response.text[:500]


def connect(home: Path) -> AirflowClient:
    """The API of the Airflow of this home."""
    port = ports.read_port(airflow_home(home) / "port")
    if port is None or not processes.running(home, "airflow-api-server"):
        raise ServiceError("Airflow is not running: ./kryss up")
    return AirflowClient(f"http://127.0.0.1:{port}", secret(home, "airflow_admin"))


def import_errors(client: AirflowClient) -> dict[str, str]:
    """What is wrong with DAG files: file -> last lines of the trace."""
    return {entry["filename"]: entry["stack_trace"].strip() for entry in client.pages("/importErrors", "import_errors")}


def wait_for_dag(client: AirflowClient, dag_id: str, timeout_s: float = 90, file_name: str | None = None) -> dict[str, Any]:
    """The DAG once the dag-processor has read it. ``file_name``: the file that makes it, which is then read again at once."""
    deadline = time.monotonic() + timeout_s
    asked = 0.0
    while True:
        response = client.request("GET", f"/dags/{dag_id}", accept=(404,))
        if response.ok and not response.json().get("is_stale"):
            return response.json()
        errors = import_errors(client)
        for file, trace in errors.items():
            if file_name is None or Path(file).name == file_name:
                raise ServiceError(f"the DAG {dag_id!r} cannot be read: {file}\n{trace}")
        if time.monotonic() > deadline:
            known = ", ".join(sorted(dag["dag_id"] for dag in client.pages("/dags", "dags", exclude_stale=True))) or "none"
            raise ServiceError(
                f"no DAG {dag_id!r} after {timeout_s:.0f} s. DAGs that Airflow knows: {known}. Is it in a municipalities file?"
            )
        if file_name and time.monotonic() - asked > 10:
            asked = time.monotonic()
            _read_again(client, file_name)
        time.sleep(0.5)


def _read_again(client: AirflowClient, file_name: str) -> None:
    for dag in client.pages("/dags", "dags", exclude_stale=False):
        if Path(dag["fileloc"]).name == file_name:
            client.request("PUT", f"/parseDagFile/{dag['file_token']}", accept=(404, 409))
            return


@dataclass(frozen=True)
class RunOutcome:
    """How a DAG run ended."""

    dag_id: str
    run_id: str
    state: str
    tasks: dict[str, dict[str, int]]
    """Per task, how many of its instances ended in which state."""
    seconds: float

    @property
    def ok(self) -> bool:
        return self.state == "success"


def task_states(client: AirflowClient, dag_id: str, run_id: str) -> dict[str, dict[str, int]]:
    """Per task, the number of its (mapped) instances in each state; in the order in which Airflow lists them."""
    found: dict[str, Counter[str]] = {}
    for instance in client.pages(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", "task_instances"):
        found.setdefault(instance["task_id"], Counter())[instance["state"] or "waiting"] += 1
    return {task: dict(states) for task, states in found.items()}


def waiting_runs(client: AirflowClient, dag_id: str, task_id: str) -> list[str]:
    """Ids of the runs of a DAG in which this task waits for a person's answer, in the order in which they asked."""
    path = f"/dags/{dag_id}/dagRuns/~/hitlDetails"
    response = client.request("GET", path, accept=(404,), params={"response_received": False, "order_by": "created_at"})
    found = response.json().get("hitl_details", []) if response.ok else []
    asked = (detail["task_instance"] for detail in found)
    return [one["dag_run_id"] for one in asked if one["task_id"] == task_id and one["state"] == "awaiting_input"]


def answer(client: AirflowClient, dag_id: str, run_id: str, task_id: str, option: str) -> None:
    """Answers the question of a task."""
    path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"
    client.request("PATCH", path, json={"chosen_options": [option], "params_input": {}})


def xcom_value(
    client: AirflowClient, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1
) -> Any:
    """What a task returned."""
    path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
    return client.get(path, map_index=map_index)["value"]


def task_log(client: AirflowClient, dag_id: str, run_id: str, task_id: str, map_index: int = -1, try_number: int = 1) -> str:
    """The log of one try of a task, as text."""
    path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
    content = client.get(path, map_index=map_index, full_content=True)["content"]
    return "\n".join(_log_line(line) for line in content)


def _log_line(line: Any) -> str:
    if not isinstance(line, dict):
        return str(line)
    causes = [f"{cause.get('exc_type')}: {cause.get('exc_value')}" for cause in line.get("error_detail") or []]
    return " | ".join([str(line.get("event", "")), *causes])


def failures(client: AirflowClient, dag_id: str, run_id: str) -> dict[str, str]:
    """What the failed tasks of a run failed with: task (and shard) -> the last exception in its log."""
    found: dict[str, str] = {}
    for instance in client.pages(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", "task_instances"):
        if instance["state"] == "failed":
            index = instance["map_index"]
            text = task_log(client, dag_id, run_id, instance["task_id"], index, max(1, instance["try_number"]))
            errors = [line for line in text.splitlines() if line.startswith("Task failed with exception | ")]
            name = instance["task_id"] + (f"[{instance.get('rendered_map_index') or index}]" if index >= 0 else "")
            found[name] = errors[-1].partition(" | ")[2] if errors else f"no exception in its log; see {client.url}"
    return found


def delete_runs(client: AirflowClient, dag_id: str) -> int:
    """Forgets all runs of a DAG (those that still run are failed first), so that their ids and dates can be used again."""
    if client.request("GET", f"/dags/{dag_id}", accept=(404,)).status_code == 404:
        return 0
    runs = client.pages(f"/dags/{dag_id}/dagRuns", "dag_runs")
    for run in runs:
        path = f"/dags/{dag_id}/dagRuns/{run['dag_run_id']}"
        if run["state"] in {"running", "queued"}:
            client.request("PATCH", path, json={"state": "failed"}, accept=(404,))
        client.request("DELETE", path, accept=(404,))
    return len(runs)


def set_paused(client: AirflowClient, dag_id: str, paused: bool) -> None:
    client.request("PATCH", f"/dags/{dag_id}", params={"update_mask": "is_paused"}, json={"is_paused": paused})


def trigger(
    client: AirflowClient,
    dag_id: str,
    params: Mapping[str, Any] | None = None,
    run_id: str | None = None,
    logical_date: datetime | None = None,
) -> str:
    """Starts a run of a DAG (taking it out of its pause) and returns the run's id."""
    set_paused(client, dag_id, False)
    body: dict[str, Any] = {
        "conf": dict(params or {}),
        "logical_date": logical_date.astimezone(UTC).isoformat() if logical_date else None,
    }
    if run_id:
        body["dag_run_id"] = run_id
    return str(client.request("POST", f"/dags/{dag_id}/dagRuns", json=body).json()["dag_run_id"])


def wait_for_run(
    home: Path,
    client: AirflowClient,
    dag_id: str,
    run_id: str,
    on_progress: Callable[[dict[str, dict[str, int]]], None] | None = None,
    timeout_s: float = 6 * 3600,
) -> RunOutcome:
    """Waits until a run has ended. ``on_progress`` is given the states of all tasks whenever they changed."""
    began = time.monotonic()
    told: dict[str, dict[str, int]] = {}
    while True:
        state = client.get(f"/dags/{dag_id}/dagRuns/{run_id}")["state"]
        tasks = task_states(client, dag_id, run_id)
        if tasks != told and on_progress:
            on_progress(tasks)
        told = tasks
        if state in {"success", "failed"}:
            return RunOutcome(dag_id, run_id, state, tasks, time.monotonic() - began)
        for name in COMPONENTS:
            if not processes.running(home, name):
                raise ServiceError(
                    f"{name} ended while {dag_id} ran; its log is {processes.log_file(home, name)}. ./kryss up starts it again, "
                    "and the run goes on"
                )
        if time.monotonic() - began > timeout_s:
            raise ServiceError(
                f"{dag_id} {run_id} has not ended after {timeout_s:.0f} s; see {client.url}/dags/{dag_id}/runs/{run_id}"
            )
        time.sleep(0.5)


def trigger_and_wait(
    home: Path,
    dag_id: str,
    params: Mapping[str, Any] | None = None,
    run_id: str | None = None,
    logical_date: datetime | None = None,
    on_progress: Callable[[dict[str, dict[str, int]]], None] | None = None,
    file_name: str | None = None,
    timeout_s: float = 6 * 3600,
) -> RunOutcome:
    """Runs a DAG to its end: waits until Airflow knows it, starts it, tells of its progress.

    A DAG that was paused is paused again once the run has ended: one run by hand does not turn its schedule on.
    """
    client = connect(home)
    was_paused = wait_for_dag(client, dag_id, file_name=file_name)["is_paused"]
    run_id = trigger(client, dag_id, params, run_id, logical_date)
    outcome = wait_for_run(home, client, dag_id, run_id, on_progress, timeout_s)
    if was_paused:
        set_paused(client, dag_id, True)
    return outcome
