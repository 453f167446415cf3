"""Migrations go forward and back, once, under a lock; they and the models describe the same tables; every column is explained."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from kryss.store import MigrationError, open_store
from kryss.store.migrations import FOLDER, read_migrations
from kryss.store.tables import Base

CATALOGUE = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
               pg_get_expr(d.adbin, d.adrelid)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'kryss'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped AND c.relname <> 'migration'
    """,
    "constraints": """
        SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'kryss'::regnamespace AND conrelid <> coalesce(to_regclass('kryss.migration'), 0)
    """,
    "indexes": """
        SELECT tablename, regexp_replace(indexdef, 'INDEX \\w+ ON', 'INDEX ON') FROM pg_indexes
        WHERE schemaname = 'kryss' AND tablename <> 'migration'
    """,
}

COMMENTS = """
    SELECT c.relname, a.attname, coalesce(col_description(c.oid, a.attnum), obj_description(c.oid)) FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = 'kryss'::regnamespace AND c.relkind IN ('r', 'v') ORDER BY 1, 2
"""


def run(url: str, statement: str) -> list[tuple]:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg2:"), poolclass=NullPool)
    with engine.begin() as connection:
        result = connection.execute(text(statement))
        return [tuple(row) for row in result] if result.returns_rows else []


def tables(url: str) -> set[str]:
    return {row[0] for row in run(url, "SELECT relname FROM pg_class WHERE relnamespace = 'kryss'::regnamespace")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the migrations that a test may change."""
    return Path(shutil.copytree(FOLDER, tmp_path / "migrations"))


def test_models_and_migrations_describe_the_same_tables(database_url, empty_database_url):
    run(empty_database_url, "CREATE EXTENSION postgis; CREATE EXTENSION btree_gist; CREATE SCHEMA kryss")
    ((function,),) = run(database_url, "SELECT pg_get_functiondef('kryss.valid_time'::regproc)")
    run(empty_database_url, function)
    engine = create_engine(empty_database_url.replace("postgresql:", "postgresql+psycopg2:"), poolclass=NullPool)
    Base.metadata.create_all(engine)
    for kind, query in CATALOGUE.items():
        migrated, modelled = set(run(database_url, query)), set(run(empty_database_url, query))
        assert migrated and migrated == modelled, kind


def test_every_table_view_column_and_function_is_explained(database_url):
    undocumented = run(
        database_url,
        """
        SELECT c.relname, a.attname FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'kryss'::regnamespace AND c.relkind IN ('r', 'v')
        AND (obj_description(c.oid, 'pg_class') IS NULL OR col_description(c.oid, a.attnum) IS NULL)
        """,
    )
    assert undocumented == []
    functions = (
        "SELECT proname FROM pg_proc p WHERE pronamespace = 'kryss'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL"
    )
    assert run(database_url, functions) == []


def test_migrating_again_does_nothing(empty_database_url):
    store = open_store(empty_database_url)
    names = [migration.name for migration in read_migrations()]
    assert store.pending_migrations() == names
    assert store.migrate() == names
    assert store.migrate() == store.pending_migrations() == []


def test_everybody_may_migrate_at_once(empty_database_url):
    with ThreadPoolExecutor(3) as pool:
        ran = list(pool.map(lambda _: open_store(empty_database_url).migrate(), range(3)))
    assert sorted(ran) == [[], [], [migration.name for migration in read_migrations()]]


def test_the_schema_goes_back_step_by_step_and_forward_again(database_url):
    store = open_store(database_url)
    whole, described = tables(database_url), run(database_url, COMMENTS)
    assert store.rollback_to(4) == ["0005_release"]
    assert whole - tables(database_url) == {"verdict", "verdict_pkey"}
    assert store.rollback_to(3) == ["0004_history"]
    before_history = tables(database_url)
    assert store.rollback_to(2) == ["0003_heights"]
    assert tables(database_url) == before_history
    assert store.rollback_to(1) == ["0002_views"]
    assert before_history - tables(database_url) == {"object_now", "intersection_now"}
    assert store.rollback_to(0) == ["0001_tables"]
    assert tables(database_url) == {"migration", "migration_pkey"}
    assert run(database_url, "SELECT count(*) FROM pg_proc WHERE pronamespace = 'kryss'::regnamespace") == [(0,)]
    assert store.migrate() == ["0001_tables", "0002_views", "0003_heights", "0004_history", "0005_release"]
    assert tables(database_url) == whole
    assert run(database_url, COMMENTS) == described


@pytest.mark.parametrize("number", [2, 3, 4])
def test_going_back_leaves_what_the_migrations_before_made(database_url, empty_database_url, folder, number):
    open_store(database_url).rollback_to(number)
    for path in folder.glob("*.sql"):
        if int(path.name[:4]) > number:
            path.unlink()
    open_store(empty_database_url).migrate(folder)
    views = """
        SELECT c.relname, obj_description(c.oid), pg_get_viewdef(c.oid), a.attname, col_description(c.oid, a.attnum)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        WHERE c.relnamespace = 'kryss'::regnamespace AND c.relkind = 'v'
    """
    for query in (*CATALOGUE.values(), COMMENTS, views):
        assert set(run(database_url, query)) == set(run(empty_database_url, query))


def test_sightings_of_before_heights_share_nothing_in_a_sequence(database_url, town, street):
    with town.transaction("town") as tx:
        tx.load(**street.stated())
    town.rollback_to(2)
    town.migrate()
    stored = "SELECT DISTINCT range_sequence_sigma_m, height_m, height_sigma_m FROM kryss.sighting"
    assert run(database_url, stored) == [(0.0, None, None)]


def test_beliefs_survive_the_way_back_from_history_and_forward_again(database_url, town, make):
    """What version 3 cannot hold is lost: brackets, absences, reasons. What it can hold stays."""
    with town.transaction("town") as tx:
        tx.write_objects("town", [make.object(1), make.object(2)])
        tx.write_intersections("town", make.intersections())
        tx.write_assignments("town", {make.object_id(1): "osm:1"})
    with town.transaction("town") as tx:
        tx.write_objects("town", [make.came_back(1), make.ended(2)], reasons={make.object_id(1): "street"})
        known = tx.object_history("town")
    town.rollback_to(3)
    town.migrate()
    with town.snapshot() as reader:
        history = reader.object_history("town")
        assert [replace(junction, reach=(), approaches=(), area_method="square") for junction in make.intersections()] == sorted(
            reader.intersections("town"), key=lambda junction: junction.id, reverse=True
        )
        assert reader.assignments("town") == {make.object_id(1): "osm:1"}
    assert history == {
        key: [
            replace(version, object=replace(version.object, began_after=None, absences=()), reason="evidence")
            for version in versions
        ]
        for key, versions in known.items()
    }


def test_a_migration_that_fails_leaves_nothing(empty_database_url, folder):
    (folder / "0006_broken.sql").write_text("CREATE TABLE kryss.half (id integer); SELECT 1 / 0;")
    (folder / "0006_broken.down.sql").write_text("DROP TABLE kryss.half;")
    with pytest.raises(MigrationError, match="migration 0006_broken failed, nothing of it was kept: division by zero"):
        open_store(empty_database_url).migrate(folder)
    assert run(empty_database_url, "SELECT to_regnamespace('kryss') IS NULL") == [(True,)]


def test_a_migration_that_changed_after_it_ran_is_noticed(database_url, folder):
    path = folder / "0002_views.sql"
    path.write_text(path.read_text() + "\n-- a late thought\n")
    with pytest.raises(MigrationError, match="0002_views has changed since it ran"):
        open_store(database_url).migrate(folder)


def test_a_database_newer_than_the_checkout_is_left_alone(database_url, folder):
    for path in folder.glob("0005*"):
        path.unlink()
    with pytest.raises(MigrationError, match="has migration 0005, this checkout ends at 0004: update Kryss"):
        open_store(database_url).migrate(folder)


def test_a_migration_without_a_way_back_is_refused(folder):
    (folder / "0002_views.down.sql").unlink()
    with pytest.raises(MigrationError, match=r"0002_views\.sql: needs .* 0002_views\.down\.sql"):
        read_migrations(folder)


def test_a_gap_in_the_numbers_is_refused(folder):
    for path in folder.glob("0001*"):
        path.unlink()
    with pytest.raises(MigrationError, match=r"without a gap; it has \[2, 3, 4, 5\]"):
        read_migrations(folder)


def test_there_is_no_going_back_to_a_migration_that_never_was(database_url):
    with pytest.raises(MigrationError, match="no migration 0042 to go back to"):
        open_store(database_url).rollback_to(42)
