"""Which processes make up the local Airflow, and how everything is stopped. Standard library only, as ``down`` may run without
``.venv``."""

from __future__ import annotations

import logging
from pathlib import Path

from kryss.services import processes
from kryss.services.postgres import Say, stop_postgis

log = logging.getLogger(__name__)

COMPONENTS: dict[str, list[str]] = {
    "airflow-api-server": ["api-server"],
    # The api-server reads the logs of tasks from the same disk: no log servers, no ports of their own.
    "airflow-scheduler": ["scheduler", "--skip-serve-logs"],
    "airflow-dag-processor": ["dag-processor"],
    "airflow-triggerer": ["triggerer", "--skip-serve-logs"],
}


def stop_components(home: Path) -> list[str]:
    """Stops Airflow: its api-server last, which the others talk to."""
    others = [name for name in COMPONENTS if name != "airflow-api-server"]
    return processes.stop_all(home, others) + processes.stop_all(home, ["airflow-api-server"])


def down(home: Path, say: Say = log.info) -> list[str]:
    """Stops everything that was started under this home, by its recorded process: PostGIS last. Returns what was stopped."""
    stopped = stop_components(home)
    stopped += processes.stop_all(home, processes.recorded(home))
    if stop_postgis(home):
        stopped.append("postgres")
    for name in stopped:
        say(f"stopped {name}")
    return stopped
