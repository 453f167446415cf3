"""What a loader, an analyst and an exporter may do, and that a server on which nobody may make roles is still migrated."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psycopg2
import pytest
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import make_url
from sqlalchemy.exc import ProgrammingError

from kryss.services.postgres import temporary_cluster
from kryss.store import open_store

RELATIONS = "SELECT relname FROM pg_class WHERE relnamespace = 'kryss'::regnamespace AND relkind IN ('r', 'v') ORDER BY 1"
CALLS = {
    "changes_between": "kryss.changes_between('2026-01-01Z', now())",
    "coverage": "kryss.coverage('2026-01-01Z')",
    "evidence_of": "kryss.evidence_of(gen_random_uuid())",
    "intersections_as_of": "kryss.intersections_as_of(now())",
    "objects_as_of": "kryss.objects_as_of(now(), now())",
    "photo_url": "kryss.photo_url('1')",
    "street_changes_between": "kryss.street_changes_between('2026-01-01Z', now())",
    "valid_time": "kryss.valid_time(now(), NULL, NULL, NULL)",
}
DDL = (
    "CREATE TABLE kryss.mine (id integer)",
    "CREATE VIEW kryss.mine AS SELECT 1",
    "CREATE FUNCTION kryss.mine() RETURNS integer LANGUAGE sql RETURN 1",
    "ALTER TABLE kryss.object ADD COLUMN mine text",
    "DROP VIEW kryss.object_now CASCADE",
    "DROP TABLE kryss.release",
    "TRUNCATE kryss.release",
    "CREATE SCHEMA mine",
    "INSERT INTO kryss.migration (number, name, sha256) VALUES (99, 'mine', '')",
    "UPDATE kryss.migration SET sha256 = ''",
)


def as_role(url: str, role: str) -> str:
    return make_url(url).update_query_dict({"options": f"-crole={role}"}).render_as_string(hide_password=False)


@pytest.fixture
def acting(town, street, make, database_url):
    """Runs statements as a role, each in a transaction that is taken back, on a town with rows in every table."""
    with town.transaction("town") as tx:
        tx.load(**street.stated())
        tx.write_objects("town", [make.came_back(1), make.ended(2)])
        tx.write_intersections("town", make.intersections())
        tx.write_assignments("town", {make.object_id(1): "osm:1"})
    connections = {}

    def run(role: str, statement: str) -> list[tuple]:
        if role not in connections:
            connections[role] = psycopg2.connect(as_role(database_url, role))
        cursor = connections[role].cursor()
        try:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
        finally:
            connections[role].rollback()

    yield run
    for connection in connections.values():
        connection.close()


@pytest.mark.parametrize("role", ["kryss_analyst", "kryss_exporter", "kryss_loader"])
def test_every_table_view_and_function_can_be_read(acting, role):
    for (name,) in acting(role, RELATIONS):
        acting(role, f"SELECT * FROM kryss.{name}")
    functions = [name for (name,) in acting(role, "SELECT proname FROM pg_proc WHERE pronamespace = 'kryss'::regnamespace")]
    assert sorted(functions) == sorted([*CALLS, "grant_roles"])
    for call in CALLS.values():
        acting(role, f"SELECT * FROM {call}")


@pytest.mark.parametrize("role", ["kryss_analyst", "kryss_exporter"])
def test_who_reads_cannot_write(acting, role):
    allowed = {
        ("kryss_exporter", verb, name) for verb, name in (("INSERT", "release"), ("UPDATE", "release"), ("INSERT", "load"))
    }
    for (name,) in acting(role, RELATIONS):
        column = "name" if name == "migration" else "code"
        writes = {
            "INSERT": f"INSERT INTO kryss.{name} DEFAULT VALUES",
            "UPDATE": f"UPDATE kryss.{name} SET {column} = {column}",
            "DELETE": f"DELETE FROM kryss.{name}",
        }
        for verb, statement in writes.items():
            if (role, verb, name) not in allowed:
                with pytest.raises((InsufficientPrivilege, psycopg2.errors.ObjectNotInPrerequisiteState)):
                    acting(role, statement)


@pytest.mark.parametrize("role", ["kryss_analyst", "kryss_exporter", "kryss_loader"])
def test_nobody_but_the_owner_changes_the_schema(acting, role):
    for statement in DDL:
        with pytest.raises(InsufficientPrivilege):
            acting(role, statement)


def test_an_exporter_records_a_release_and_nothing_else(acting, database_url, make):
    store = open_store(as_role(database_url, "kryss_exporter"))
    with store.transaction("town") as tx:
        assert len(tx.objects("town")) == 2
        assert tx.record_release(make.release())
    with store.transaction("town") as tx:
        assert tx.record_release(make.release(), {"previous": "2026-05-04.1"})
    assert acting("kryss_analyst", "SELECT name, previous FROM kryss.release") == [("2026-05-05.1", "2026-05-04.1")]
    with pytest.raises(ProgrammingError, match="permission denied"), store.transaction("town") as tx:
        tx.write_objects("town", [make.object(1)])


def test_a_loader_does_all_that_a_refresh_does(acting, database_url, street, make):
    store = open_store(as_role(database_url, "kryss_loader"))
    with store.transaction("other") as tx:
        tx.upsert_municipality(make.municipality("other"))
        tx.load(**street.stated())
        tx.write_objects("other", [make.object(1), make.object(2)])
        tx.write_intersections("other", make.intersections())
        tx.write_assignments("other", {make.object_id(1): "osm:1"})
    with store.transaction("other") as tx:
        tx.write_objects("other", [make.ended(1)])
        tx.remove_images(["99"], "takedown")
        tx.forget()
    assert acting("kryss_analyst", "SELECT count(*) FROM kryss.object WHERE code = 'other'") == [(0,)]


def test_a_table_of_a_later_migration_is_readable_and_loadable_too(acting, sql):
    sql("CREATE TABLE kryss.later (id integer)")
    acting("kryss_loader", "INSERT INTO kryss.later VALUES (1)")
    assert acting("kryss_analyst", "SELECT * FROM kryss.later") == []
    with pytest.raises(InsufficientPrivilege):
        acting("kryss_analyst", "INSERT INTO kryss.later VALUES (1)")


def test_going_back_takes_every_right_away(town, sql):
    town.rollback_to(3)
    rights = (
        "SELECT count(*) FROM (SELECT relacl::text AS a FROM pg_class UNION ALL SELECT nspacl::text FROM pg_namespace UNION ALL "
    )
    rights += "SELECT defaclacl::text FROM pg_default_acl) r WHERE a ~ 'kryss_'"
    assert sql(rights)[0][0] == 0


def test_roles_are_made_once_whoever_migrates_first_and_missing_ones_are_named_to_who_may_not_make_them():
    with temporary_cluster() as cluster:
        admin = psycopg2.connect(cluster.url("postgres"))
        admin.autocommit = True
        cursor = admin.cursor()
        cursor.execute("CREATE USER plain PASSWORD 'plain'")
        cursor.execute("CREATE DATABASE of_plain OWNER plain")
        with psycopg2.connect(cluster.url("of_plain")) as owned:
            owned.cursor().execute("CREATE EXTENSION postgis; CREATE EXTENSION btree_gist")
        plain = make_url(cluster.url("of_plain")).set(username="plain", password="plain").render_as_string(hide_password=False)
        assert open_store(plain).migrate()
        with psycopg2.connect(plain) as owner:
            found = owner.cursor()
            found.execute("SELECT kryss.grant_roles()")
            missing = [role for (role,) in found.fetchall()]
            assert missing == ["kryss_loader", "kryss_analyst", "kryss_exporter"]
            assert "CREATE ROLE kryss_analyst NOLOGIN; SELECT kryss.grant_roles()" in "".join(owner.notices)

        databases = ["one", "two", "three"]
        for name in databases:
            cursor.execute(f"CREATE DATABASE {name}")
        with ThreadPoolExecutor(3) as pool:
            assert all(pool.map(lambda name: open_store(cluster.url(name)).migrate(), databases))
        cursor.execute("SELECT rolname FROM pg_roles WHERE rolname ~ '^kryss_' AND NOT rolcanlogin ORDER BY 1")
        assert [role for (role,) in cursor.fetchall()] == sorted(missing)

        with psycopg2.connect(plain) as owner:
            found = owner.cursor()
            found.execute("SELECT kryss.grant_roles()")
            assert found.fetchall() == []
        with psycopg2.connect(as_role(cluster.url("of_plain"), "kryss_analyst")) as analyst:
            analyst.cursor().execute("SELECT * FROM kryss.object_now")
        with suppress(psycopg2.Error):
            admin.close()
