"""The tasks that the DAGs of photos share: what follows once it is known which photos a run is about.

``code``: the municipality of the DAG; None where a param of the run names it. Called inside a ``@dag`` function only.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, AssetAlias, get_current_context, task, task_group

from kryss.config import TIMEOUTS
from kryss_airflow import current_run, final_failures

DEFAULTS = {"owner": "kryss", "retries": 2, "retry_delay": timedelta(seconds=10), "retry_exponential_backoff": 2.0}
ANY_LAYER = AssetAlias(name="kryss_layer")
"""Stands for the layer of the municipality that a param names."""


def layer(code: str) -> Asset:
    return Asset(name=f"kryss_layer_{code}", uri=f"kryss://layer/{code}")


def look_at_photos(found: Any, code: str | None = None) -> Any:
    """plan -> [ per shard: fetch -> detect -> depth ]; ``found``: the result of the first task, with the run's key."""

    @task(execution_timeout=TIMEOUTS["plan"])
    def plan(found: dict[str, Any]) -> list[dict[str, Any]]:
        from kryss.pipeline import stages

        return stages.plan(current_run(code), found["key"])["shards"]

    @task_group
    def shard(part: dict[str, Any]) -> None:
        @task(execution_timeout=TIMEOUTS["fetch"], map_index_template="{{ shard_name }}")
        def fetch(part: dict[str, Any]) -> dict[str, Any]:
            from kryss.pipeline import stages

            get_current_context()["shard_name"] = part["label"]
            with final_failures():
                stages.fetch(current_run(code), part["shard"])
            return part

        @task(execution_timeout=TIMEOUTS["detect"], pool="gpu", queue="gpu", map_index_template="{{ shard_name }}")
        def detect(part: dict[str, Any]) -> dict[str, Any]:
            from kryss.pipeline import stages

            get_current_context()["shard_name"] = part["label"]
            stages.detect(current_run(code), part["shard"])
            return part

        @task(execution_timeout=TIMEOUTS["depth"], pool="gpu", queue="gpu", map_index_template="{{ shard_name }}")
        def depth(part: dict[str, Any]) -> None:
            from kryss.pipeline import stages

            get_current_context()["shard_name"] = part["label"]
            stages.depth(current_run(code), part["shard"])

        depth(detect(fetch(part)))

    return shard.expand(part=plan(found))


def believe_and_publish(found: Any, after: Any, code: str | None = None) -> None:
    """place -> merge -> assign -> check -> export -> report, once ``after`` is done."""

    @task(execution_timeout=TIMEOUTS["place"], trigger_rule="none_failed")
    def place(found: dict[str, Any]) -> None:
        from kryss.pipeline import stages

        stages.place(current_run(code), found["key"])

    @task(execution_timeout=TIMEOUTS["merge"])
    def merge(found: dict[str, Any]) -> None:
        from kryss.pipeline import stages

        stages.merge(current_run(code), found["key"])

    @task(execution_timeout=TIMEOUTS["assign"])
    def assign() -> None:
        from kryss.pipeline import stages

        with final_failures():
            stages.assign(current_run(code))

    @task(execution_timeout=TIMEOUTS["check"])
    def check() -> None:
        from kryss.pipeline import stages

        with final_failures():
            stages.check(current_run(code))

    @task(execution_timeout=TIMEOUTS["export"], outlets=[layer(code) if code else ANY_LAYER])
    def export() -> dict[str, Any]:
        from airflow.sdk.exceptions import AirflowSkipException

        from kryss.pipeline import stages

        run = current_run(code)
        outcome = stages.export(run)
        if outcome["unchanged"]:
            raise AirflowSkipException(f"nothing changed since {outcome['release'] or 'the beginning'}: no release")
        if code is None:
            get_current_context()["outlet_events"][ANY_LAYER].add(layer(run.code))
        return outcome

    @task(trigger_rule="all_done", retries=0)
    def report() -> str:
        from airflow.sdk.exceptions import AirflowFailException

        from kryss.pipeline import report as reports

        summary = reports.collect(current_run(code))
        text = reports.table(summary)
        if summary["missing"]:
            raise AirflowFailException(f"\n{text}\nnot finished: {', '.join(summary['missing'])}")
        return text

    after >> place(found) >> merge(found) >> assign() >> check() >> export() >> report()
