"""A real server, started, killed, robbed of its port and of its memory."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from kryss.services import ROOT, ServiceError, ports, postgres, processes

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user run the server")


@pytest.fixture(scope="module")
def cluster() -> Iterator[postgres.Cluster]:
    with postgres.temporary_cluster() as running:
        postgres.create_database(running, "kryss")
        yield running


def _one(url: str, sql: str) -> object:
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        connection.close()


def _pid(cluster: postgres.Cluster) -> int:
    return processes.read_record(cluster.folder, "postgres").pid


def test_database_has_the_extensions_the_schema_needs(cluster: postgres.Cluster) -> None:
    names = _one(cluster.url(), "SELECT string_agg(extname, ',' ORDER BY extname) FROM pg_extension WHERE extname <> 'plpgsql'")
    assert names == "btree_gist,postgis"


def test_only_loopback_and_only_the_password_get_in(cluster: postgres.Cluster) -> None:
    assert _one(cluster.url(), "SHOW listen_addresses") == "127.0.0.1"
    assert _one(cluster.url(), "SHOW unix_socket_directories") == ""
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(f"postgresql://kryss:wrong@127.0.0.1:{cluster.port}/kryss")


def test_server_does_not_run_as_root(cluster: postgres.Cluster) -> None:
    assert Path(f"/proc/{_pid(cluster)}").stat().st_uid != 0
    assert cluster.data.stat().st_mode & 0o077 == 0


def test_start_finds_the_server_running(cluster: postgres.Cluster) -> None:
    before = _pid(cluster)
    postgres.start_cluster(cluster)
    assert _pid(cluster) == before


def test_killed_server_is_recovered_with_its_data(cluster: postgres.Cluster) -> None:
    # Throw-away clusters do not wait for their log to be written; the ones that people use do.
    _one(cluster.url(), "SET synchronous_commit = on; CREATE TABLE kept AS SELECT 42 AS answer")
    os.kill(_pid(cluster), signal.SIGKILL)
    postgres.start_cluster(cluster)
    assert _one(cluster.url(), "SELECT answer FROM kept") == 42


def test_server_whose_record_was_lost_is_found_again(cluster: postgres.Cluster) -> None:
    before = _pid(cluster)
    processes.record_file(cluster.folder, "postgres").unlink()
    postgres.start_cluster(cluster)
    assert _pid(cluster) == before


def test_port_is_kept_over_a_restart_and_replaced_when_taken(cluster: postgres.Cluster) -> None:
    first = cluster.port
    assert postgres.stop_cluster(cluster)
    assert not postgres.stop_cluster(cluster)
    postgres.start_cluster(cluster)
    assert cluster.port == first
    postgres.stop_cluster(cluster)
    with socket.create_server((ports.LOOPBACK, first)):
        postgres.start_cluster(cluster)
    assert cluster.port != first
    assert _one(cluster.url(), "SELECT 1") == 1


def test_process_that_has_the_id_of_a_dead_server_is_left_alone(cluster: postgres.Cluster) -> None:
    postgres.stop_cluster(cluster)
    owner = cluster.data.stat()
    identity = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    stranger = subprocess.Popen(["sleep", "60"], cwd="/", **identity)
    try:
        (cluster.data / "postmaster.pid").write_text(
            f"{stranger.pid}\n{cluster.data}\n1700000000\n{cluster.port}\n\n127.0.0.1\n\nready\n"
        )
        postgres.start_cluster(cluster)
        assert _one(cluster.url(), "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_half_made_cluster_of_an_interrupted_try_is_made_anew(open_folder: Path) -> None:
    (open_folder / "data").mkdir()
    (open_folder / "data" / "PG_VERSION").write_text("15\n")
    (open_folder / "making").touch()
    made = postgres.create_cluster(open_folder, "secret", sync=False)
    assert (made.data / "global" / "pg_control").exists()
    assert not (open_folder / "making").exists()


def test_cluster_of_another_version_is_refused_not_touched(open_folder: Path) -> None:
    (open_folder / "data").mkdir()
    (open_folder / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(ServiceError, match=r"made by PostgreSQL 9.*apt-get install -y postgresql-9-postgis-3"):
        postgres.create_cluster(open_folder, "secret")
    assert (open_folder / "data" / "PG_VERSION").read_text() == "9\n"


@as_root
def test_data_go_elsewhere_when_the_server_user_cannot_enter_the_checkout(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert postgres.cluster_folder(closed / ".kryss").parent == Path("/var/lib/kryss")


@as_root
def test_data_lie_in_the_checkout_when_the_server_user_can_enter_it(open_folder: Path) -> None:
    assert postgres.cluster_folder(open_folder / ".kryss") == open_folder / ".kryss" / "postgres"


def test_given_database_is_used_and_nothing_is_started(cluster: postgres.Cluster, tmp_path: Path) -> None:
    url = postgres.create_database(cluster, "given", ())
    database = postgres.ensure_postgis(tmp_path, {"KRYSS_DATABASE_URL": url})
    assert database.url == url
    assert database.airflow_url.endswith("/airflow")
    assert _one(database.airflow_url, "SELECT current_database()") == "airflow"
    assert not database.started_by_us
    assert list(tmp_path.iterdir()) == []
    assert not postgres.stop_postgis(tmp_path)


def test_no_error_repeats_a_password(cluster: postgres.Cluster, tmp_path: Path) -> None:
    password = "hunter2hunter2"
    for address in (f"127.0.0.1:{cluster.port}/kryss", "127.0.0.1:1/kryss", f"127.0.0.1:{cluster.port}/absent"):
        with pytest.raises(ServiceError) as caught:
            postgres.ensure_postgis(tmp_path, {"KRYSS_DATABASE_URL": f"postgresql://kryss:{password}@{address}"})
        assert password not in str(caught.value)
        assert address in str(caught.value)
    assert cluster.password not in repr(cluster)


def test_other_databases_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="looks like postgresql://"):
        postgres.ensure_postgis(tmp_path, {"KRYSS_DATABASE_URL": "mysql://u:p@h/d"})


def test_role_that_may_not_make_the_extension_is_told_who_can(cluster: postgres.Cluster, tmp_path: Path) -> None:
    postgres.create_database(cluster, "plain", ())
    _one(cluster.url("plain"), "CREATE ROLE weak LOGIN PASSWORD 'weak'")
    with pytest.raises(ServiceError, match="administrator type there: CREATE EXTENSION postgis"):
        postgres.ensure_postgis(tmp_path, {"KRYSS_DATABASE_URL": f"postgresql://weak:weak@127.0.0.1:{cluster.port}/plain"})


@pytest.mark.slow
def test_two_commands_at_once_make_one_server(open_folder: Path) -> None:
    home = open_folder / ".kryss"
    code = (
        "import sys; from pathlib import Path; from kryss.services.postgres import ensure_postgis;"
        "print(ensure_postgis(Path(sys.argv[1]), {}).where)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "include")}
    command = [sys.executable, "-c", code, str(home)]
    both = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        first, second = (process.communicate(timeout=120)[0] for process in both)
        assert first == second != ""
        assert (home / "postgres" / "data" / "postmaster.pid").exists()
    finally:
        assert postgres.stop_postgis(home)
    assert not postgres.stop_postgis(home)
