"""Migrations: numbered SQL files, forward and back, run under one advisory lock and recorded with their checksum.

``sql/migrations/NNNN_name.sql`` goes forward, ``NNNN_name.down.sql`` back. All of a call run in one transaction.
"""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from sqlalchemy import Connection, text

from kryss.store.errors import MigrationError

log = logging.getLogger(__name__)

FOLDER = Path(__file__).resolve().parents[3] / "sql" / "migrations"
LOCK = 0x6B72_7973_73
"""Any number that others do not use: ``kryss`` in ASCII."""
NO_EXTENSION = (
    "Install PostGIS 3 for this server (Debian and Ubuntu: apt install postgresql-postgis), or ask its administrator to run "
    "CREATE EXTENSION postgis and CREATE EXTENSION btree_gist in this database"
)
REGISTER = """
CREATE SCHEMA IF NOT EXISTS kryss;
COMMENT ON SCHEMA kryss IS 'Road intersections with their signs and lights, since when, and by what evidence.';
CREATE TABLE IF NOT EXISTS kryss.migration (
    number integer PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE kryss.migration IS 'Migrations of this schema that have run.';
COMMENT ON COLUMN kryss.migration.number IS 'Number of the file.';
COMMENT ON COLUMN kryss.migration.name IS 'Name of the file.';
COMMENT ON COLUMN kryss.migration.sha256 IS 'SHA-256 of the forward file as it ran.';
COMMENT ON COLUMN kryss.migration.applied_at IS 'When it ran, by the server clock.';
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    number: int
    name: str
    forward: str
    back: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.forward.encode()).hexdigest()


def read_migrations(folder: Path = FOLDER) -> list[Migration]:
    """The migrations of a folder, numbered 1, 2, ... without a gap, each with its way back."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        if path.name.endswith(".down.sql"):
            continue
        match = re.fullmatch(r"(\d{4})_\w+", path.stem)
        back = path.with_name(f"{path.stem}.down.sql")
        if not match or not back.exists():
            raise MigrationError(f"{path.name}: needs a name like 0003_name.sql and its {back.name} beside it")
        found.append(Migration(int(match[1]), path.stem, path.read_text("utf-8"), back.read_text("utf-8")))
    numbers = [migration.number for migration in found]
    if not found or numbers != list(range(1, len(found) + 1)):
        raise MigrationError(f"{folder.name}/ must hold migrations 0001, 0002, ... without a gap; it has {numbers}")
    return found


def _exists(connection: Connection) -> bool:
    return bool(connection.scalar(text("SELECT to_regclass('kryss.migration') IS NOT NULL")))


def applied(connection: Connection) -> dict[int, str]:
    """Checksums by number of the migrations that the database has had."""
    if not _exists(connection):
        return {}
    rows = connection.execute(text("SELECT number, sha256 FROM kryss.migration ORDER BY number"))
    return {row.number: row.sha256 for row in rows}


def pending(connection: Connection, migrations: list[Migration]) -> list[Migration]:
    """What is still to run, after checking that what has run is what this checkout has."""
    done = applied(connection)
    known = {migration.number: migration for migration in migrations}
    for number, sha256 in done.items():
        if number not in known:
            raise MigrationError(f"the database has migration {number:04d}, this checkout ends at {max(known):04d}: update Kryss")
        if known[number].sha256 != sha256:
            raise MigrationError(
                f"migration {known[number].name} has changed since it ran on this database: put the file back and add a new one"
            )
    return [migration for migration in migrations if migration.number not in done]


def migrate(connection: Connection, migrations: list[Migration]) -> list[str]:
    """Runs what is pending; the caller's transaction holds it. Returns the names that ran."""
    _lock(connection)
    todo = pending(connection, migrations)
    if todo and not _exists(connection):
        connection.exec_driver_sql(REGISTER)
    for migration in todo:
        _run(connection, migration.forward, migration.name)
        connection.execute(
            text("INSERT INTO kryss.migration (number, name, sha256) VALUES (:number, :name, :sha256)"),
            {"number": migration.number, "name": migration.name, "sha256": migration.sha256},
        )
        log.info("migration %s applied", migration.name)
    return [migration.name for migration in todo]


def roll_back_to(connection: Connection, migrations: list[Migration], number: int) -> list[str]:
    """Undoes every migration above ``number``, newest first; 0 leaves the schema empty. Data of undone tables are lost."""
    _lock(connection)
    if not 0 <= number <= len(migrations):
        raise MigrationError(f"no migration {number:04d} to go back to; this checkout has 0001 to {len(migrations):04d}")
    pending(connection, migrations)
    done = applied(connection)
    undone = [migration for migration in reversed(migrations) if migration.number in done and migration.number > number]
    for migration in undone:
        _run(connection, migration.back, f"{migration.name}.down")
        connection.execute(text("DELETE FROM kryss.migration WHERE number = :number"), {"number": migration.number})
        log.info("migration %s undone", migration.name)
    return [migration.name for migration in undone]


def _lock(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})


def _run(connection: Connection, sql: str, name: str) -> None:
    cursor = connection.connection.cursor()
    try:
        cursor.execute(sql)
    except psycopg2.Error as error:
        reason = str(error).strip().splitlines()[0]
        hint = NO_EXTENSION if "extension" in reason else ""
        raise MigrationError(f"migration {name} failed, nothing of it was kept: {reason}. {hint}".strip()) from error
    finally:
        cursor.close()
