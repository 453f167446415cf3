"""``python -m kryss.services.health COMPONENT``: is this part of Airflow healthy? Exit 0 or 1: the health check of a container.

Asks the api-server, which knows the heartbeats of all (``GET /api/v2/monitor/health``): some milliseconds, where Airflow's own
``airflow jobs check`` spends seconds of a core. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request

KEYS = {"api-server": "metadatabase", "scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}
LOCAL = {"api-server": "http://127.0.0.1:8080/api/v2/monitor/health", "scheduler": "http://127.0.0.1:8974/health"}
"""The scheduler answers for itself ([scheduler] enable_health_check)."""


def check(component: str, url: str | None) -> str | None:
    """What is wrong, or None."""
    address = f"{url}/api/v2/monitor/health" if url else LOCAL.get(component, LOCAL["api-server"])
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=10) as response:
            state = json.load(response)
    except (OSError, ValueError) as error:
        return f"{address}: {error}"
    status = (state.get(KEYS[component]) or {}).get("status")
    return None if status == "healthy" else f"{component}: {status or 'no heartbeat'}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m kryss.services.health", description="Health check of a part of Airflow.")
    parser.add_argument("component", choices=sorted(KEYS))
    parser.add_argument("--url", help="the api-server, if it is not on this host")
    options = parser.parse_args(arguments)
    problem = check(options.component, options.url)
    print(problem or f"{options.component}: healthy")
    return int(problem is not None)


if __name__ == "__main__":
    sys.exit(main())
