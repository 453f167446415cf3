"""PostGIS: the server ``KRYSS_DATABASE_URL`` names, or one of this checkout's own under ``.kryss/postgres``.

The local server is made with the system's PostgreSQL binaries. It listens on 127.0.0.1 only (no Unix socket), asks for a random
password (SCRAM), and never runs as root: root makes a system user for it. Writes are safe (fsync stays on) and a server that was
killed, or a machine that was restarted, is recovered by the next start.

SQL goes through psycopg2, imported where it is used: the doctor imports this module before ``.venv`` exists.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from kryss.services import ServiceError, ports, processes
from kryss.services.secret_store import random_password, secret

log = logging.getLogger(__name__)
Say = Callable[[str], None]

SERVER_USER = "kryss-postgres"
ROLE = "kryss"
PREFERRED_PORT = 25432
START_PATIENCE_S = 60.0
INSTALL_LINE = "sudo apt-get update && sudo apt-get install -y postgresql-postgis"

SERVER_SETTINGS = """
# Written by Kryss when it made this cluster.
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
max_connections = 200
shared_buffers = 128MB
work_mem = 16MB
maintenance_work_mem = 64MB
max_wal_size = 512MB
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_min_messages = warning
log_line_prefix = '%m [%p] '
"""


@dataclass(frozen=True)
class Binaries:
    """One installed PostgreSQL that has PostGIS."""

    bin: Path
    version: int

    def __getitem__(self, name: str) -> str:
        return str(self.bin / name)


@dataclass(frozen=True)
class Database:
    """A PostGIS that answers. The URLs hold a password: they are never logged (``repr`` leaves them out)."""

    url: str = field(repr=False)
    airflow_url: str = field(repr=False)
    """Database of Airflow's metadata, on the same server."""
    where: str
    """For a person: host, port and database, without a password."""
    started_by_us: bool


@dataclass(frozen=True)
class Cluster:
    """A server of our own: ``folder`` holds ``data/``, ``port`` and the record of its process."""

    folder: Path
    password: str = field(repr=False)
    binaries: Binaries

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def port(self) -> int:
        port = ports.read_port(self.folder / "port")
        if port is None:
            raise ServiceError(f"{self.folder} has never been started: no port in {self.folder / 'port'}")
        return port

    def url(self, database: str = "kryss") -> str:
        return f"postgresql://{ROLE}:{quote(self.password, safe='')}@127.0.0.1:{self.port}/{database}"


# -- binaries ---------------------------------------------------------------------------------------------------------------


def find_binaries() -> Binaries | None:
    """The newest installed PostgreSQL server that has PostGIS, or None."""
    found = [binaries for folder in _bin_folders() if (binaries := _inspect(folder))]
    return max(found, key=lambda binaries: binaries.version, default=None)


def _bin_folders() -> list[Path]:
    folders = list(Path("/usr/lib/postgresql").glob("*/bin")) + list(Path("/usr").glob("pgsql-*/bin"))
    if listed := _output(["pg_config", "--bindir"]):
        folders.append(Path(listed))
    if server := shutil.which("postgres"):
        folders.append(Path(server).resolve().parent)
    return sorted({folder for folder in folders if (folder / "postgres").exists() and (folder / "initdb").exists()})


def _inspect(folder: Path) -> Binaries | None:
    version = re.search(r"(\d+)", _output([str(folder / "postgres"), "--version"]) or "")
    share = _output([str(folder / "pg_config"), "--sharedir"]) if (folder / "pg_config").exists() else ""
    candidates = [Path(share)] if share else [Path("/usr/share/postgresql") / folder.parent.name, folder.parent / "share"]
    if version and any((path / "extension" / "postgis.control").exists() for path in candidates):
        return Binaries(folder, int(version[1]))
    return None


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def install_binaries(say: Say = log.info) -> Binaries:
    """Installs PostgreSQL with PostGIS by apt, as root or by a sudo that asks nothing. No server of the system is started."""
    by_hand = f"no PostgreSQL server with PostGIS is installed. Type this, then try again:\n    {INSTALL_LINE}"
    elsewhere = "(or set KRYSS_DATABASE_URL to a PostGIS you have)"
    if not shutil.which("apt-get"):
        raise ServiceError(
            "no PostgreSQL server with PostGIS is installed, and there is no apt-get here: install PostgreSQL 14 or newer and "
            f"PostGIS 3 with this system's package manager {elsewhere}"
        )
    prefix = _root_prefix()
    if prefix is None:
        raise ServiceError(f"{by_hand}\n{elsewhere}")
    say("PostgreSQL with PostGIS is not installed: apt-get installs it (a minute or two)")
    _root_run([*prefix, "apt-get", "update", "-qq"], by_hand)
    package = _package_name() or "postgresql-postgis"
    # Debian's packages make and start a server "main" unless told not to; ours is enough, and the port 5432 is not ours to take.
    setting = "/etc/postgresql-common/createcluster.d/kryss.conf"
    script = f"""
set -e
cleanup() {{ rm -f {setting}; rmdir --ignore-fail-on-non-empty /etc/postgresql-common/createcluster.d 2>/dev/null || true; }}
if [ ! -e /etc/postgresql-common/createcluster.conf ] || grep -q '^include_dir' /etc/postgresql-common/createcluster.conf; then
  mkdir -p /etc/postgresql-common/createcluster.d
  echo 'create_main_cluster = false' > {setting}
  trap cleanup EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq --no-install-recommends {package}
"""
    _root_run([*prefix, "sh", "-c", script], by_hand)
    binaries = find_binaries()
    if binaries is None:
        raise ServiceError(f"apt-get installed {package}, but no PostgreSQL server with PostGIS was found. {by_hand}")
    return binaries


def _root_prefix() -> list[str] | None:
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0:
        return ["sudo", "-n"]
    return None


def _root_run(command: list[str], by_hand: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise ServiceError(f"apt-get failed: {' / '.join(lines[-3:])}\n{by_hand}")


def _package_name() -> str | None:
    """``postgresql-NN-postgis-3`` of the PostgreSQL that is here, else of the newest that apt has."""
    listed = _output(["apt-cache", "search", "--names-only", r"^postgresql-[0-9]+-postgis-3$"])
    versions = sorted((int(number) for number in re.findall(r"^postgresql-(\d+)-postgis-3\b", listed, re.M)), reverse=True)
    here = [int(path.parent.name) for path in _bin_folders() if path.parent.name.isdigit()]
    best = next((number for number in versions if number in here), versions[0] if versions else None)
    return f"postgresql-{best}-postgis-3" if best else None


# -- who runs the server ----------------------------------------------------------------------------------------------------


def _server_user(data: Path) -> tuple[int, int] | None:
    """User and group that run the server of this data folder; None: whoever we are. Never root."""
    if os.geteuid() != 0:
        if data.exists() and data.stat().st_uid != os.geteuid():
            raise ServiceError(
                f"{data} belongs to user {_user_name(data.stat().st_uid)}: run Kryss as the user who made it, or as root"
            )
        return None
    if data.exists() and data.stat().st_uid != 0:
        return data.stat().st_uid, data.stat().st_gid
    try:
        account = pwd.getpwnam(SERVER_USER)
    except KeyError:
        account = _make_user()
    return account.pw_uid, account.pw_gid


def _make_user() -> pwd.struct_passwd:
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    done = subprocess.run([*command, "--shell", "/usr/sbin/nologin", SERVER_USER], capture_output=True, text=True, check=False)
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(SERVER_USER)
    raise ServiceError(
        f"PostgreSQL must not run as root, and the user {SERVER_USER!r} could not be made ({done.stderr.strip()}). "
        f"Type: useradd --system {SERVER_USER}   (or run ./kryss as an ordinary user)"
    )


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _as_user(user: tuple[int, int] | None) -> dict[str, Any]:
    """Options for subprocess that run a program as this user, in a folder that everybody can enter."""
    path = os.environ.get("PATH", "/usr/bin:/bin")
    options: dict[str, Any] = {"cwd": "/", "env": {"PATH": path, "LC_ALL": "C.UTF-8", "TZ": "UTC"}}
    if user:
        options |= {"user": user[0], "group": user[1], "extra_groups": []}
    return options


def _can_enter(folder: Path, user: tuple[int, int] | None) -> bool:
    return subprocess.run(["test", "-x", str(folder)], check=False, **_as_user(user)).returncode == 0


def cluster_folder(home: Path, say: Say = log.info) -> Path:
    """Where the cluster of this home lies: in it, or under /var/lib/kryss when the server's user cannot get there."""
    folder = home / "postgres"
    elsewhere = Path("/var/lib/kryss") / hashlib.sha256(str(home).encode()).hexdigest()[:16]
    if os.geteuid() != 0 or (folder / "data").exists():
        return folder
    if (elsewhere / "data").exists():
        return elsewhere
    home.mkdir(parents=True, exist_ok=True)
    if _can_enter(home, _server_user(folder / "data")):
        return folder
    say(f"the user {SERVER_USER}, who runs PostgreSQL for root, cannot enter {home}: the database lies in {elsewhere}")
    return elsewhere


# -- clusters ---------------------------------------------------------------------------------------------------------------


def create_cluster(
    folder: Path, password: str | None = None, extra_settings: str = "", sync: bool = True, say: Say = log.info
) -> Cluster:
    """Makes a cluster in ``folder`` if there is none yet. A half-made one of an interrupted try is made anew."""
    binaries = find_binaries() or install_binaries(say)
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "data"
    if (data / "PG_VERSION").exists() and not (folder / "making").exists():
        version = int((data / "PG_VERSION").read_text())
        if version != binaries.version:
            binaries = _binaries_of(version, data)
        return Cluster(folder, password or _kept_password(folder), binaries)
    password = password or _kept_password(folder)
    user = _server_user(data)
    (folder / "making").touch()
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    if user:
        os.chown(data, *user)
    with tempfile.NamedTemporaryFile("w", prefix="kryss-initdb-") as given:
        given.write(password + "\n")
        given.flush()
        if user:
            os.chown(given.name, *user)
        command = [binaries["initdb"], "-D", str(data), "-U", ROLE, f"--pwfile={given.name}", "--auth=scram-sha-256"]
        command += ["--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums", "--no-instructions"]
        command += [] if sync else ["--no-sync"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **_as_user(user))
    if done.returncode:
        raise ServiceError(f"initdb could not make {data}: {done.stderr.strip() or done.stdout.strip()}")
    with (data / "postgresql.conf").open("a") as settings:
        settings.write(SERVER_SETTINGS + extra_settings)
    (folder / "making").unlink()
    return Cluster(folder, password, binaries)


def _binaries_of(version: int, data: Path) -> Binaries:
    for folder in _bin_folders():
        if (found := _inspect(folder)) and found.version == version:
            return found
    raise ServiceError(
        f"{data} was made by PostgreSQL {version}, which is no longer installed with PostGIS. "
        f"Type: sudo apt-get install -y postgresql-{version}-postgis-3   (or remove {data.parent} to start with an empty one)"
    )


def _kept_password(folder: Path) -> str:
    return secret(folder, "postgres")


def cluster_is_running(cluster: Cluster) -> bool:
    return processes.running(cluster.folder, "postgres")


def start_cluster(cluster: Cluster, patience_s: float = START_PATIENCE_S) -> str:
    """Starts the server unless it runs, waits until it answers, and returns the URL of the database ``postgres``."""
    _adopt(cluster)
    deadline = time.monotonic() + patience_s
    user = _server_user(cluster.data)
    while True:
        started_here = not processes.running(cluster.folder, "postgres")
        if started_here:
            _forget_recycled_pid(cluster)
            port = ports.claim_port(cluster.folder / "port", PREFERRED_PORT)
            command = [cluster.binaries["postgres"], "-D", str(cluster.data), "-p", str(port)]
            processes.start(cluster.folder, "postgres", command, **_as_user(user))
        try:
            _wait_until_it_answers(cluster, deadline)
            return cluster.url("postgres")
        except ServiceError:
            if processes.running(cluster.folder, "postgres") or time.monotonic() > deadline:
                raise
            # A server that was just being killed; a port taken in this instant; backends of a killed server on their way out.
            text = processes.tail(server_log(cluster), 40)
            passing = ("could not bind", "Address already in use", "pre-existing shared memory")
            if started_here and not any(reason in text for reason in passing):
                raise
            time.sleep(0.3)


def server_log(cluster: Cluster) -> Path:
    return processes.log_file(cluster.folder, "postgres")


def _postmaster_pid(cluster: Cluster) -> int | None:
    try:
        return int((cluster.data / "postmaster.pid").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _is_our_server(cluster: Cluster, pid: int) -> bool:
    command = processes.command_line(pid)
    return bool(command) and Path(command[0]).name in {"postgres", "postmaster"} and str(cluster.data) in command


def _adopt(cluster: Cluster) -> None:
    """Records a server of this cluster whose record was lost."""
    pid = _postmaster_pid(cluster)
    if not processes.running(cluster.folder, "postgres") and pid and _is_our_server(cluster, pid):
        record = processes.identify("postgres", pid)
        if record:
            processes.write_record(cluster.folder, record)


def _forget_recycled_pid(cluster: Cluster) -> None:
    """A killed server leaves its process id behind. PostgreSQL copes, except when a stranger of the same user has that id now."""
    pid = _postmaster_pid(cluster)
    if pid and processes.identify("postmaster", pid) and not _is_our_server(cluster, pid):
        (cluster.data / "postmaster.pid").unlink(missing_ok=True)


def _wait_until_it_answers(cluster: Cluster, deadline: float) -> None:
    import psycopg2

    while True:
        try:
            psycopg2.connect(cluster.url("postgres"), connect_timeout=5).close()
            return
        except psycopg2.OperationalError as error:
            problem = _clean(str(error), cluster.password)
        if not processes.running(cluster.folder, "postgres"):
            log_tail = processes.tail(server_log(cluster))
            raise ServiceError(f"the local PostgreSQL ended while it started. The end of {server_log(cluster)}:\n{log_tail}")
        if time.monotonic() > deadline or "password authentication failed" in problem:
            raise ServiceError(
                f"the local PostgreSQL on port {cluster.port} does not let Kryss in: {problem}. Its log: {server_log(cluster)}"
            )
        time.sleep(0.05)


def stop_cluster(cluster: Cluster) -> bool:
    """Stops the server by its recorded process: sessions are ended, data are written. Says whether it ran."""
    _adopt(cluster)
    return processes.stop(cluster.folder, "postgres", patience_s=30, first=signal.SIGINT, family=False)


@contextlib.contextmanager
def temporary_cluster() -> Iterator[Cluster]:
    """A throw-away server for tests: writes are not synced, and nothing is left of it."""
    folder = Path(tempfile.mkdtemp(prefix="kryss-pg-"))
    folder.chmod(0o755)
    unsafe = "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n"
    cluster = create_cluster(folder, random_password(), unsafe, sync=False)
    try:
        start_cluster(cluster)
        yield cluster
    finally:
        stop_cluster(cluster)
        shutil.rmtree(folder, ignore_errors=True)


# -- databases --------------------------------------------------------------------------------------------------------------


def create_database(cluster: Cluster, name: str, extensions: tuple[str, ...] = ("postgis", "btree_gist")) -> str:
    """Makes the database with its extensions unless it is there, and returns its URL."""
    _create_database(cluster.url("postgres"), name)
    if extensions:
        _create_extensions(cluster.url(name), extensions)
    return cluster.url(name)


def connect(url: str) -> Any:
    """An autocommit connection of psycopg2; its failure is told without the password."""
    import psycopg2

    try:
        connection = psycopg2.connect(_plain(url), connect_timeout=10)
    except psycopg2.Error as error:
        raise ServiceError(
            f"no connection to the database {without_password(url)}: {redacted(str(error), url)}. "
            "Check KRYSS_DATABASE_URL, or unset it to let Kryss run a local PostGIS"
        ) from None
    connection.autocommit = True
    return connection


def _create_database(server_url: str, name: str) -> None:
    import psycopg2
    from psycopg2 import errors, sql

    connection = connect(server_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if cursor.fetchone() is None:
                with contextlib.suppress(errors.DuplicateDatabase, errors.UniqueViolation):
                    cursor.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(sql.Identifier(name)))
    except psycopg2.Error as error:
        raise ServiceError(f"the database {name!r} could not be made: {_clean(str(error), None)}") from None
    finally:
        connection.close()


def _create_extensions(url: str, extensions: tuple[str, ...]) -> None:
    import psycopg2
    from psycopg2 import sql

    connection = connect(url)
    try:
        with connection.cursor() as cursor:
            for name in extensions:
                cursor.execute("SELECT 1 FROM pg_extension WHERE extname = %s", (name,))
                if cursor.fetchone():
                    continue
                cursor.execute("SELECT 1 FROM pg_available_extensions WHERE name = %s", (name,))
                if cursor.fetchone() is None:
                    raise ServiceError(
                        f"the server of {without_password(url)} has no extension {name!r}: install it there (Debian: "
                        "postgresql-postgis and postgresql-contrib), or unset KRYSS_DATABASE_URL to let Kryss run a local PostGIS"
                    )
                try:
                    cursor.execute(sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(name)))
                except psycopg2.errors.InsufficientPrivilege:
                    raise ServiceError(
                        f"this role may not make the extension {name!r} in {without_password(url)}. "
                        f"Let an administrator type there: CREATE EXTENSION {name};"
                    ) from None
    finally:
        connection.close()


def _plain(url: str) -> str:
    """libpq's own scheme: SQLAlchemy's driver suffix is none of its business."""
    return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url)


def without_password(url: str) -> str:
    """``host:port/database`` of a database URL."""
    try:
        parts = urlsplit(_plain(url))
        return f"{parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"
    except ValueError:
        return "KRYSS_DATABASE_URL"


def _clean(message: str, password: str | None) -> str:
    text = " ".join(message.split())
    return text.replace(password, "***") if password else text


def redacted(message: str, url: str) -> str:
    """A message of libpq in one line, without the password of the URL it is about."""
    return _clean(message, urlsplit(_plain(url)).password)


def _sibling(url: str, database: str) -> str:
    return urlunsplit(urlsplit(_plain(url))._replace(path=f"/{database}"))


# -- the one call -----------------------------------------------------------------------------------------------------------


def ensure_postgis(home: Path, env: Mapping[str, str] = os.environ, say: Say = log.info) -> Database:
    """The database of this checkout, ready: PostGIS answers, the databases for Kryss and for Airflow's metadata are there."""
    if url := env.get("KRYSS_DATABASE_URL"):
        return _given_database(url, env.get("KRYSS_AIRFLOW_DATABASE_URL"))
    home.mkdir(parents=True, exist_ok=True)
    with (home / "postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cluster = create_cluster(cluster_folder(home, say), secret(home, "postgres"), say=say)
        was_running = cluster_is_running(cluster)
        start_cluster(cluster)
        url = create_database(cluster, "kryss")
        airflow_url = create_database(cluster, "airflow", ())
    return Database(url, airflow_url, f"127.0.0.1:{cluster.port}/kryss", not was_running)


def _given_database(url: str, airflow_url: str | None) -> Database:
    if not re.match(r"^postgres(ql)?(\+\w+)?://", url):
        raise ServiceError("KRYSS_DATABASE_URL is not a PostgreSQL URL; it looks like postgresql://user:password@host:5432/kryss")
    _create_extensions(url, ("postgis", "btree_gist"))
    if not airflow_url:
        airflow_url = _sibling(url, "airflow")
        try:
            _create_database(url, "airflow")
        except ServiceError as error:
            advice = "Make it, or name another for Airflow's metadata in KRYSS_AIRFLOW_DATABASE_URL"
            raise ServiceError(f"{error}. {advice}") from None
    connect(airflow_url).close()
    return Database(_plain(url), _plain(airflow_url), without_password(url), False)


def local_cluster(home: Path) -> Cluster | None:
    """The cluster of this home as it is, running or not; None if none was made. Starts and installs nothing."""
    folders = (home / "postgres", Path("/var/lib/kryss") / hashlib.sha256(str(home).encode()).hexdigest()[:16])
    folder = next((folder for folder in folders if _is_cluster(folder)), None)
    binaries = find_binaries()
    return Cluster(folder, secret(home, "postgres"), binaries) if folder and binaries else None


def _is_cluster(folder: Path) -> bool:
    try:
        return (folder / "data").exists()
    except PermissionError:
        return False


def stop_postgis(home: Path) -> bool:
    """Stops the local server, if there is one. A server given by KRYSS_DATABASE_URL is not ours to stop."""
    cluster = local_cluster(home)
    return stop_cluster(cluster) if cluster else False
