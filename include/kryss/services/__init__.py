"""Local services: a PostGIS and an Airflow that belong to this checkout, and the doctor that looks at them.

Everything lies under one folder, ``home`` (``KRYSS_HOME``, default ``.kryss`` beside the code): ``run/`` records of processes,
``logs/``, ``postgres/``, ``airflow/``, ``secrets.json`` (0600). The modules ``processes``, ``ports``, ``secret_store``,
``postgres`` and ``doctor`` import nothing but the standard library, so that the doctor works before ``.venv`` exists.
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


class ServiceError(Exception):
    """A service cannot be had. The message says what was wrong and what to do; it never holds a password."""


def default_home() -> Path:
    return Path(os.environ.get("KRYSS_HOME") or ROOT / ".kryss").absolute()
