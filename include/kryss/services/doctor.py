"""``./kryss doctor``: what is installed, running and missing, and how to get it. It looks, and changes nothing.

Standard library only (psycopg2 and the weights registry where ``.venv`` has them): it has to work when nothing is installed yet.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from kryss.services import ROOT, ServiceError, default_home, ports, postgres, processes
from kryss.services.control import COMPONENTS

State = Literal["ok", "off", "missing", "broken"]
"""``off``: not there or not running, and nothing is wrong with that. ``missing``, ``broken``: Kryss cannot work like this."""

MARKS: dict[State, str] = {"ok": "ok", "off": "--", "missing": "MISSING", "broken": "BROKEN"}
FIRST_SET_UP_GB, EVERYDAY_GB, MEMORY_GB = 10.0, 1.0, 3.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: State
    detail: str
    advice: str = ""

    @property
    def wrong(self) -> bool:
        return self.state in {"missing", "broken"}


def examine(root: Path, home: Path, env: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Everything the doctor looks at, in the order in which it is needed."""
    looks: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _python(),
        lambda: _installer(home, env),
        lambda: _environment(root),
        lambda: _postgis(home, env),
        lambda: _database(root, home, env),
        lambda: _airflow(home),
        lambda: _machine(root),
        lambda: _accelerator(),
        lambda: _settings(env),
        lambda: _weights(),
    )
    for look in looks:
        yield from look()


def _python() -> Iterator[Finding]:
    # Older ones cannot even read this file: the launcher looks for a new enough one, and says what to do without.
    yield Finding("python", "ok", f"{platform.python_version()} ({sys.executable})")


def _installer(home: Path, env: Mapping[str, str]) -> Iterator[Finding]:
    own = home / "uv" / "bin" / "uv"
    found = env.get("KRYSS_UV") or shutil.which("uv") or (str(own) if own.exists() else None)
    if found:
        yield Finding("uv", "ok", found)
    else:
        yield Finding("uv", "off", "not installed yet", "./kryss demo installs it into .kryss/uv")


def _environment(root: Path) -> Iterator[Finding]:
    interpreter, stamp = root / ".venv" / "bin" / "python", root / ".venv" / ".kryss-stamp"
    pins = hashlib.sha256((root / "requirements.txt").read_bytes()).hexdigest()
    if not interpreter.exists():
        yield Finding(".venv", "missing", "not made yet", "./kryss demo (or ./kryss test) makes it")
    elif not stamp.exists():
        yield Finding(".venv", "broken", "its installation did not finish", "./kryss demo (or ./kryss test) finishes it")
    elif pins not in stamp.read_text():
        yield Finding(".venv", "broken", "requirements.txt has changed since", "./kryss demo (or ./kryss test) updates it")
    else:
        yield Finding(".venv", "ok", "has the pins of requirements.txt")


def _postgis(home: Path, env: Mapping[str, str]) -> Iterator[Finding]:
    if env.get("KRYSS_DATABASE_URL"):
        yield Finding("postgis", "ok", f"given: {postgres.without_password(env['KRYSS_DATABASE_URL'])} (KRYSS_DATABASE_URL)")
        return
    binaries = postgres.find_binaries()
    if binaries is None:
        yield Finding("postgis", "missing", "no PostgreSQL server with PostGIS is installed", postgres.INSTALL_LINE)
        return
    yield Finding("postgis", "ok", f"PostgreSQL {binaries.version} in {binaries.bin}")


def _database(root: Path, home: Path, env: Mapping[str, str]) -> Iterator[Finding]:
    url = env.get("KRYSS_DATABASE_URL")
    if not url:
        try:
            cluster = postgres.local_cluster(home)
        except (ServiceError, PermissionError) as error:
            yield Finding("database", "broken", str(error), "run Kryss as the user who set it up")
            return
        if cluster is None:
            yield Finding("database", "off", "no local database yet", "./kryss up makes it")
            return
        if not postgres.cluster_is_running(cluster):
            yield Finding("database", "off", f"not running; data in {cluster.data}", "./kryss up")
            return
        if not ports.answers(cluster.port):
            yield Finding("database", "broken", f"does not answer on port {cluster.port}", "./kryss down, then ./kryss up")
            return
        url = cluster.url()
    try:
        import psycopg2
    except ImportError:
        yield Finding("database", "ok", f"{postgres.without_password(url)} answers (not looked into: .venv is missing)")
        return
    try:
        applied = _applied_migrations(url)
    except (psycopg2.Error, ServiceError) as error:
        yield Finding("database", "broken", postgres.redacted(str(error), url), "check KRYSS_DATABASE_URL, or ./kryss up")
        return
    known = sorted(path.stem for path in (root / "sql" / "migrations").glob("[0-9]*.sql") if not path.stem.endswith(".down"))
    detail = f"{postgres.without_password(url)}, {applied} of {len(known)} migrations"
    if applied > len(known):
        yield Finding("database", "broken", f"{detail}: made by a newer Kryss", "git pull, or another KRYSS_DATABASE_URL")
    else:
        yield Finding("database", "ok", detail + ("" if applied == len(known) else " (the next refresh applies the rest)"))


def _applied_migrations(url: str) -> int:
    connection = postgres.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('kryss.migration') IS NOT NULL")
            if not cursor.fetchone()[0]:
                return 0
            cursor.execute("SELECT count(*) FROM kryss.migration")
            return int(cursor.fetchone()[0])
    finally:
        connection.close()


def _airflow(home: Path) -> Iterator[Finding]:
    records = {name: processes.read_record(home, name) for name in COMPONENTS}
    for name, record in records.items():
        log = processes.log_file(home, name)
        if record is None:
            yield Finding(name, "off", "not running", "./kryss up")
        elif not processes.is_alive(record):
            rebooted = record.boot_id != processes.boot_id()
            state: State = "off" if rebooted else "broken"
            yield Finding(name, state, "ended with the machine" if rebooted else f"ended by itself; its log: {log}", "./kryss up")
        elif name == "airflow-api-server":
            yield _api_server(home, record)
        else:
            yield Finding(name, "ok", f"process {record.pid}")


def _api_server(home: Path, record: processes.Record) -> Finding:
    port = ports.read_port(home / "airflow" / "port")
    if port and ports.answers(port):
        return Finding(record.name, "ok", f"process {record.pid}, http://127.0.0.1:{port} (./kryss up shows the password)")
    return Finding(record.name, "broken", f"process {record.pid} does not answer on port {port}", "./kryss down, then ./kryss up")


def _machine(root: Path) -> Iterator[Finding]:
    free_gb = shutil.disk_usage(root).free / 1e9
    needed_gb = EVERYDAY_GB if (root / ".venv" / ".kryss-stamp").exists() else FIRST_SET_UP_GB
    if free_gb < needed_gb:
        yield Finding("disk", "missing", f"{free_gb:.1f} GB free, {needed_gb:.0f} GB needed at {root}", "free some")
    else:
        yield Finding("disk", "ok", f"{free_gb:.0f} GB free")
    available_gb = _available_memory_gb()
    if available_gb is not None:
        low = "" if available_gb >= MEMORY_GB else f"detection wants {MEMORY_GB:.0f} GB: close something, or KRYSS_GPU_SLOTS=1"
        yield Finding("memory", "off" if low else "ok", f"{available_gb:.1f} GB available, {os.cpu_count()} cores", low)


def _available_memory_gb() -> float | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) * 1024 / 1e9
    except (OSError, StopIteration, ValueError):
        return None


def _accelerator() -> Iterator[Finding]:
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        names = [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []
    except (OSError, subprocess.TimeoutExpired):
        names = []
    if names:
        yield Finding("gpu", "ok", "; ".join(names))
    else:
        yield Finding("gpu", "off", "none: detection runs on the processor", "optional; needs an NVIDIA driver")


def _settings(env: Mapping[str, str]) -> Iterator[Finding]:
    if env.get("KRYSS_MAPILLARY_TOKEN"):
        yield Finding("mapillary token", "ok", "KRYSS_MAPILLARY_TOKEN is set (not shown)")
    else:
        advice = "for real municipalities: a client token from mapillary.com/dashboard/developers in KRYSS_MAPILLARY_TOKEN"
        yield Finding("mapillary token", "off", "KRYSS_MAPILLARY_TOKEN is not set; demo and test need none", advice)


def _weights() -> Iterator[Finding]:
    folder = ROOT / "include" / "kryss" / "vision"
    files = sorted(path for path in folder.rglob("*") if path.suffix in {".safetensors", ".onnx"})
    if files:
        yield Finding("weights", "ok", ", ".join(f"{path.name} ({path.stat().st_size / 1e6:.1f} MB)" for path in files))
    else:
        yield Finding("weights", "missing", "the checkpoint that ships is not in include/kryss/vision", "git checkout -- include")


def run(as_json: bool = False) -> int:
    """Prints the findings; 0 when all that is needed is there."""
    findings = list(examine(ROOT, default_home()))
    wrong = [finding for finding in findings if finding.wrong]
    if as_json:
        print(json.dumps({"ok": not wrong, "findings": [asdict(finding) for finding in findings]}, indent=1))
        return int(bool(wrong))
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        print(f"{MARKS[finding.state]:>8}  {finding.name:<{width}}  {finding.detail}")
        if finding.advice and finding.state != "ok":
            print(f"{'':>8}  {'':<{width}}  -> {finding.advice}")
    print("\nall that is needed is there" if not wrong else f"\nwrong or missing: {', '.join(finding.name for finding in wrong)}")
    return int(bool(wrong))
