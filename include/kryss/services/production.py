"""``python -m kryss.services.production``: what docker-compose.yml's ``airflow-init`` does before anything else starts.

Makes what is not there yet, and changes nothing twice: the databases with their extensions, the migrations of Airflow and of
Kryss, the first user of Airflow's page (``admin``, password from KRYSS_ADMIN_PASSWORD), the pool ``gpu`` (KRYSS_GPU_SLOTS).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from kryss.services import ServiceError, default_home
from kryss.services.postgres import ensure_postgis
from kryss.store import open_store

AIRFLOW = (sys.executable, "-m", "airflow")


def _airflow(*arguments: str, must: bool = True) -> bool:
    done = subprocess.run([*AIRFLOW, *arguments], capture_output=True, text=True, check=False)
    if must and done.returncode:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        # The arguments are not repeated: one of them may be a password.
        raise ServiceError(f"airflow {' '.join(arguments[:2])} failed:\n{last}")
    return done.returncode == 0


def prepare() -> None:
    if not os.environ.get("KRYSS_DATABASE_URL"):
        raise ServiceError("KRYSS_DATABASE_URL is not set: in production the database is given (see docker-compose.yml)")
    database = ensure_postgis(default_home())
    _tell(f"databases at {database.where}")
    applied = open_store(database.url).migrate()
    _tell(f"migrations of Kryss: {', '.join(applied) or 'nothing to do'}")
    _airflow("db", "migrate")
    _tell("migrations of Airflow")
    if password := os.environ.get("KRYSS_ADMIN_PASSWORD"):
        name = ("--username", "admin", "--firstname", "Kryss", "--lastname", "Admin", "--email", "admin@localhost")
        _airflow("users", "create", "--role", "Admin", *name, "--password", password)
        _tell("user admin")
    if not _airflow("pools", "get", "gpu", must=False):
        _airflow("pools", "set", "gpu", os.environ.get("KRYSS_GPU_SLOTS") or "1", "Detection and depth: one slot per accelerator")
    _tell("pool gpu")


BEGAN = time.monotonic()


def _tell(what: str) -> None:
    print(f"{time.monotonic() - BEGAN:6.1f} s  {what}", flush=True)


if __name__ == "__main__":
    try:
        prepare()
    except ServiceError as error:
        sys.exit(f"airflow-init: {error}")
