"""What can go wrong between Kryss and its database, in words for the person who must act. No message holds a password."""

from __future__ import annotations

import psycopg2
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

LOST = ("08", "57P", "53")
"""SQLSTATE classes of a connection that failed, a server that stops, and one that is out of resources."""
NO_SCHEMA = ("3F000", "42P01", "42883")
"""SQLSTATEs of a missing schema, table and function."""


class StoreError(RuntimeError):
    """The database refused or could not do what was asked."""


class StoreUnavailable(StoreError):  # noqa: N818 - it says what is the case
    """The database cannot be reached, or went away. Nothing of the open transaction was kept; the task may run again."""


class SchemaMissing(StoreError):  # noqa: N818 - it says what is the case
    """The database has no Kryss schema, or an older one."""


class MigrationError(StoreError):
    """The migrations of this checkout and of the database disagree, or one failed."""


class UnknownMunicipality(StoreError):  # noqa: N818 - it says what is the case
    """The municipality has no row yet."""


def translated(error: DBAPIError | psycopg2.Error, url: URL) -> Exception:
    """The Kryss error for a driver error, or the error itself where its own message says enough."""
    original = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(original, "pgcode", None) or ""
    reason = _without_password(str(original).strip().splitlines()[0] if str(original).strip() else "no reason given", url)
    where = url.render_as_string(hide_password=True).split("?")[0]
    if (state in NO_SCHEMA and "kryss." in reason) or state == "3F000":
        return SchemaMissing(f"{reason}. The schema of {where} is missing or old: bring it up to date with Store.migrate()")
    if state == "57014":
        return StoreError(f"{reason}. A statement took longer than its timeout on {where}; nothing was kept")
    if state.startswith(LOST) or (not state and isinstance(original, psycopg2.OperationalError | psycopg2.InterfaceError)):
        return StoreUnavailable(
            f"no connection to {where}: {reason}. Nothing was kept. Is the server up, and KRYSS_DATABASE_URL right? "
            f"`./kryss doctor` tells"
        )
    return error


def _without_password(text: str, url: URL) -> str:
    secrets = [url.password, *(value for key, value in url.query.items() if key == "password")]
    for secret in secrets:
        if secret:
            text = text.replace(str(secret), "***")
    return text
