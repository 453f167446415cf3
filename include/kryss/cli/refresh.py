"""A run through Airflow: start the DAG, tell of its progress, print its report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kryss.config import Settings
from kryss.pipeline.report import table
from kryss.pipeline.run import short_hash
from kryss.pipeline.state import State
from kryss.services import airflow
from kryss.services.airflow import RunOutcome


def progress(told: set[str]) -> Any:
    """Prints each task once it is done, and mapped tasks as they go."""

    def on_progress(tasks: dict[str, dict[str, int]]) -> None:
        for task, states in tasks.items():
            total, done = sum(states.values()), states.get("success", 0)
            line = f"    {task}" + (f" {done}/{total}" if total > 1 else "")
            ended = set(states) <= {"success", "failed", "skipped", "upstream_failed", "removed"}
            if states.get("success") and (ended or total > 1):
                pass
            elif ended and not states.get("success"):
                line += f": {', '.join(sorted(states))}"
            elif states.get("up_for_retry"):
                line += ": failed once, is tried again"
            else:
                continue
            if line not in told:
                told.add(line)
                print(line, flush=True)

    return on_progress


def refresh_through_airflow(
    home: Path, settings: Settings, code: str, params: dict[str, Any], roads: bool = False
) -> tuple[RunOutcome, dict[str, Any] | None]:
    """Runs ``refresh_<code>`` (after ``roads_<code>`` if asked) to its end and prints its report."""
    if roads:
        outcome = airflow.trigger_and_wait(home, f"roads_{code}", {}, on_progress=progress(set()), file_name="roads.py")
        if not outcome.ok:
            return outcome, None
    return run_through_airflow(home, settings, code, f"refresh_{code}", params, "refresh.py")


def run_through_airflow(
    home: Path, settings: Settings, code: str, dag_id: str, params: dict[str, Any], file_name: str
) -> tuple[RunOutcome, dict[str, Any] | None]:
    """Runs a DAG of ``dags/<file_name>`` over the photos of a municipality to its end and prints its report."""
    outcome = airflow.trigger_and_wait(home, dag_id, params, on_progress=progress(set()), file_name=file_name)
    state = State(settings.state_url)
    name = f"runs/{code}/{short_hash([f'{outcome.dag_id}/{outcome.run_id}'])}/report.json"
    summary = json.loads(state.read_bytes(name)) if state.has(name) else None
    if summary:
        print(f"\n{table(summary)}\n", flush=True)
    return outcome, summary
