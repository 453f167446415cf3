"""A real PostGIS for tests: the server that the environment names, else a throwaway cluster on loopback.

Every test has a database of its own, copied from a migrated template and dropped afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import psycopg2
from sqlalchemy import make_url
from sqlalchemy.engine import URL

from kryss.services.postgres import temporary_cluster


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
    """The server of KRYSS_TEST_DATABASE_URL or KRYSS_DATABASE_URL, whose user may create databases; else one for this block."""
    given = os.environ.get("KRYSS_TEST_DATABASE_URL") or os.environ.get("KRYSS_DATABASE_URL")
    if given:
        yield Server(given)
        return
    with temporary_cluster() as cluster:
        yield Server(cluster.url("postgres"))
