"""The stages of a run one after the other in this process: what the DAGs do, without Airflow. For debugging and tests.

Nobody is asked here: an implausible release ends the run with `HeldBack`, unless the run says ``approve``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kryss.pipeline import stages
from kryss.pipeline.checks import HeldBack
from kryss.pipeline.report import collect
from kryss.pipeline.run import Run


def refresh(run: Run) -> dict[str, Any]:
    """Runs all stages and returns the report."""
    return _look(run, stages.discover(run)["key"])


def reprocess(run: Run) -> dict[str, Any]:
    """Known photos by the run's model; the report."""
    return _look(run, stages.known(run)["key"])


def takedown(run: Run, image_ids: Sequence[str] = (), sequence_ids: Sequence[str] = (), note: str = "") -> dict[str, Any]:
    """Photos out of everything; the report."""
    return _publish(run, stages.takedown(run, image_ids, sequence_ids, note)["key"])


def _look(run: Run, key: str) -> dict[str, Any]:
    for part in stages.plan(run, key)["shards"]:
        stages.fetch(run, part["shard"])
        stages.detect(run, part["shard"])
        stages.depth(run, part["shard"])
    return _publish(run, key)


def _publish(run: Run, key: str) -> dict[str, Any]:
    stages.place(run, key)
    stages.merge(run, key)
    stages.assign(run)
    stages.check(run)
    if reasons := stages.held_back(run):
        collect(run)
        raise HeldBack(f"release of {run.code} held back: {'; '.join(reasons)}. If this is right, run again with approve")
    stages.export(run)
    return collect(run)
