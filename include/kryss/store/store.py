"""The store: a PostGIS database by its URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from kryss.store import migrations
from kryss.store.connect import make_engine, parse_url
from kryss.store.errors import translated
from kryss.store.read import Reader
from kryss.store.write import Tx


class Store:
    """A PostGIS database. Opening makes no connection; each transaction has its own."""

    def __init__(self, url: str) -> None:
        self._url = parse_url(url)
        self._engine = make_engine(self._url)

    def __repr__(self) -> str:
        return f"Store({self._url.set(query={}).render_as_string(hide_password=True)})"

    @contextmanager
    def _begin(self, statement_timeout_s: float | None, opening: str | None = None) -> Iterator[Connection]:
        failure: Exception
        try:
            with self._engine.begin() as connection:
                if opening:
                    connection.exec_driver_sql(opening)
                if statement_timeout_s is not None:
                    milliseconds = max(1, round(statement_timeout_s * 1000))
                    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {milliseconds}")
                yield connection
                return
        except (DBAPIError, psycopg2.Error) as error:
            failure = translated(error, self._url)
            if failure is error:
                raise
        raise failure

    @contextmanager
    def transaction(self, code: str, statement_timeout_s: float | None = None, run: str | None = None) -> Iterator[Tx]:
        """A transaction that alone may write the municipality. Waits for another of the same code, never for other codes.

        ``statement_timeout_s`` bounds each statement, the wait for the lock too. Give it the time-out of the task. ``run``: a
        name that is kept with what the transaction changes (``kryss.load``).
        """
        with self._begin(statement_timeout_s) as connection:
            connection.execute(
                text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"kryss municipality {code}"}
            )
            yield Tx(connection, code, run)

    @contextmanager
    def snapshot(self, statement_timeout_s: float | None = None) -> Iterator[Reader]:
        """A read-only view of one instant; waits for nobody."""
        with self._begin(statement_timeout_s, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY") as connection:
            yield Reader(connection)

    def migrate(self, folder: Path = migrations.FOLDER) -> list[str]:
        """Brings the schema up to date; returns the migrations that ran. Safe to call at any time, by anybody at once."""
        with self._begin(None) as connection:
            return migrations.migrate(connection, migrations.read_migrations(folder))

    def rollback_to(self, number: int, folder: Path = migrations.FOLDER) -> list[str]:
        """Undoes the migrations above ``number``, with the data of their tables; returns their names."""
        with self._begin(None) as connection:
            return migrations.roll_back_to(connection, migrations.read_migrations(folder), number)

    def pending_migrations(self, folder: Path = migrations.FOLDER) -> list[str]:
        """Migrations of this checkout that the database has not had."""
        with self._begin(None) as connection:
            return [migration.name for migration in migrations.pending(connection, migrations.read_migrations(folder))]

    def image_states(self, code: str, model_key: str) -> dict[str, tuple[str, int]]:
        """Outcome and number of attempts, by image id."""
        with self.snapshot() as reader:
            return reader.image_states(code, model_key)

    def summary(self, code: str) -> dict[str, int]:
        """Row counts for the report and the doctor."""
        with self.snapshot() as reader:
            return reader.summary(code)


def open_store(url: str) -> Store:
    """The store at a ``postgresql://`` URL."""
    return Store(url)
