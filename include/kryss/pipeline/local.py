"""The stages of a refresh one after the other in this process: what the DAG does, without Airflow. For debugging and tests."""

from __future__ import annotations

from typing import Any

from kryss.pipeline import stages
from kryss.pipeline.report import collect
from kryss.pipeline.run import Run


def refresh(run: Run) -> dict[str, Any]:
    """Runs all stages and returns the report."""
    key = stages.discover(run)["key"]
    for part in stages.plan(run, key)["shards"]:
        stages.fetch(run, part["shard"])
        stages.detect(run, part["shard"])
        stages.depth(run, part["shard"])
    stages.place(run, key)
    stages.merge(run, key)
    stages.assign(run)
    stages.check(run)
    stages.export(run)
    return collect(run)
