"""A run through Airflow: start the DAG, tell of its progress, print its report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kryss.config import Settings
from kryss.pipeline.report import APPROVAL, table
from kryss.pipeline.run import short_hash
from kryss.pipeline.state import State
from kryss.services import airflow
from kryss.services.airflow import RunOutcome


def progress(told: set[str], where: str = "Airflow") -> Any:
    """Prints each task once it is done, and mapped tasks as they go. ``where``: a question is answered there."""

    def on_progress(tasks: dict[str, dict[str, int]]) -> None:
        for task, states in tasks.items():
            if states.get("awaiting_input"):
                line = (
                    f"    {task}: the release is held back. Approve or reject it in {where} (Required Actions), "
                    "or with ./kryss refresh CODE --approve from another terminal; the numbers are there. Waiting"
                )
                if line not in told:
                    told.add(line)
                    print(line, flush=True)
                continue
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
    """Runs a DAG of ``dags/<file_name>`` over the photos of a municipality to its end and prints its report.

    A run of the DAG that waits for an answer keeps others from starting: with ``approve`` it is that run which goes on.
    """
    client = airflow.connect(home)
    tell = progress(set(), client.url)
    waiting = airflow.waiting_runs(client, dag_id, APPROVAL) if dag_id.startswith("refresh_") else []
    if waiting and params.get("approve"):
        print(f"    {waiting[0]} waits for an answer: approved", flush=True)
        airflow.answer(client, dag_id, waiting[0], APPROVAL, "Approve")
        was_paused = airflow.wait_for_dag(client, dag_id)["is_paused"]
        airflow.set_paused(client, dag_id, False)
        outcome = airflow.wait_for_run(home, client, dag_id, waiting[0], tell)
        airflow.set_paused(client, dag_id, was_paused)
    else:
        if waiting:
            print(
                f"    {waiting[0]} waits for an answer, and this run waits for that one: approve or reject it in {client.url} "
                "(Required Actions)",
                flush=True,
            )
        outcome = airflow.trigger_and_wait(home, dag_id, params, on_progress=tell, file_name=file_name)
    state = State(settings.state_url)
    name = f"runs/{code}/{short_hash([f'{outcome.dag_id}/{outcome.run_id}'])}/report.json"
    summary = json.loads(state.read_bytes(name)) if state.has(name) else None
    if summary:
        print(f"\n{table(summary)}\n", flush=True)
    return outcome, summary
