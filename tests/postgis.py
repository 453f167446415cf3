"""A real PostGIS for tests: the server that the environment names, else a throwaway cluster on loopback.

Every test has a database of its own, copied from a migrated template. A cluster made here listens on loopback only, syncs
nothing to disk, runs as an unprivileged user (PostgreSQL refuses root) and is deleted at the end.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg2
from sqlalchemy import make_url
from sqlalchemy.engine import URL

START_LIMIT_S = 60
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "autovacuum": "off",
    "jit": "off",
}


class Server:
    """A PostGIS server on which databases come and go."""

    def __init__(self, url: str) -> None:
        self.url: URL = make_url(url).set(drivername="postgresql")
        self._numbers = count()

    def _run(self, sql: str) -> None:
        connection = psycopg2.connect(self.url.render_as_string(hide_password=False))
        try:
            connection.autocommit = True
            connection.cursor().execute(sql)
        finally:
            connection.close()

    def create_database(self, template: str | None = None) -> str:
        """A new database, empty or copied from another one's URL; returns its URL."""
        name = f"kryss_test_{os.getpid()}_{next(self._numbers)}"
        source = f' TEMPLATE "{make_url(template).database}"' if template else ""
        self._run(f'CREATE DATABASE "{name}"{source}')
        return self.url.set(database=name).render_as_string(hide_password=False)

    def drop_database(self, url: str) -> None:
        self._run(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')


@contextmanager
def running_server() -> Iterator[Server]:
    """The server of KRYSS_TEST_DATABASE_URL or KRYSS_DATABASE_URL, else one that lives as long as the block."""
    given = os.environ.get("KRYSS_TEST_DATABASE_URL") or os.environ.get("KRYSS_DATABASE_URL")
    if given:
        yield Server(given)
        return
    binaries = find_binaries()
    if binaries is None:
        raise RuntimeError(
            "these tests need PostgreSQL with PostGIS: apt install postgresql postgresql-postgis, or set KRYSS_TEST_DATABASE_URL "
            "to a server whose user may create databases and extensions"
        )
    with _cluster(binaries) as url:
        yield Server(url)


def find_binaries() -> Path | None:
    """Folder of the newest PostgreSQL server programs that have PostGIS beside them."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    if on_path := shutil.which("pg_config"):
        folders.append(Path(subprocess.check_output([on_path, "--bindir"], text=True).strip()))
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "pg_config").exists():
            shared = subprocess.check_output([folder / "pg_config", "--sharedir"], text=True).strip()
            if (Path(shared) / "extension" / "postgis.control").exists():
                return folder
    return None


def _unprivileged() -> dict[str, str | int]:
    """Arguments of subprocess that drop root; none where there is nothing to drop."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid}
    raise RuntimeError("PostgreSQL cannot run as root, and there is neither a user postgres nor nobody to run it as")


@contextmanager
def _cluster(binaries: Path) -> Iterator[str]:
    drop = _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="kryss-postgis-"))
    if drop:
        os.chown(folder, int(drop["user"]), int(drop["group"]))
    data, log = folder / "data", folder / "log"
    common = {"cwd": folder, "stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT, **drop}
    initdb = [binaries / "initdb", "-D", data, "-U", "kryss", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    try:
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, **common)
        port = _free_port()
        options = [f"--{name}={value}" for name, value in SETTINGS.items()]
        with log.open("wb") as output:
            server = subprocess.Popen([binaries / "postgres", "-D", data, "-p", str(port), *options], stdout=output, **common)
        try:
            url = f"postgresql://kryss@127.0.0.1:{port}/postgres"
            _wait(url, server, log)
            yield url
        finally:
            server.terminate()
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_LIMIT_S
    while True:
        try:
            psycopg2.connect(url, connect_timeout=5).close()
            return
        except psycopg2.OperationalError as error:
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text(errors='replace')[-2000:]}") from error
            time.sleep(0.05)
