"""Engines. One connection per transaction and none kept: Airflow tasks fork, and a refresh opens a handful in a night."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from kryss.store.errors import StoreError

CONNECT_TIMEOUT_S = 10


def parse_url(url: str) -> URL:
    """The SQLAlchemy URL of a PostgreSQL database. What cannot be parsed is not repeated: it may hold a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.get_backend_name() not in ("postgresql", "postgres") or not parsed.database:
        kind = f"{parsed.get_backend_name()} with database {parsed.database!r}" if parsed else "not a URL"
        raise StoreError(
            f"the database URL is {kind}; Kryss needs postgresql://user:password@host:port/database (KRYSS_DATABASE_URL)"
        )
    return parsed.set(drivername="postgresql+psycopg2")


def make_engine(url: URL) -> Engine:
    """An engine whose sessions speak UTC and UTF-8 and whose errors do not repeat the values of statements."""
    options = url.query.get("options", ())
    given = " ".join([options] if isinstance(options, str) else options)
    arguments: dict[str, Any] = {
        "options": f"{given} -c timezone=UTC".strip(),
        "application_name": "kryss",
        "client_encoding": "UTF8",
        "connect_timeout": CONNECT_TIMEOUT_S,
    }
    return create_engine(url, poolclass=NullPool, connect_args=arguments, hide_parameters=True)
