"""``refresh_<code>``: the nightly refresh of each municipality in the YAML.

discover -> plan -> [ per shard: fetch -> detect -> depth ] -> place -> merge -> assign -> check -> export -> report
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, Param, dag, get_current_context, task, task_group

from kryss.config import DATABASE_TIMEOUT, DETECT_TIMEOUT, FETCH_TIMEOUT, MunicipalityConfig, load_municipalities
from kryss_airflow import current_run, final_failures

DOC = """
### Refresh of {name} ({code})

Reads what Mapillary has of the municipality, processes the photos that `{model}` has not seen, and publishes a new dated
release of the layer if it differs from the last one.

| task | does | safe to clear |
|---|---|---|
| discover | lists all sequences by coverage tiles, then every photo of them; keeps those that are new | yes |
| plan | cuts the new photos into shards of about {shard_size} | yes |
| shard.fetch, .detect, .depth | download and verify, find signs and lights, monocular depth where something was found | yes |
| place, merge | boxes to sightings to objects; versions in one transaction | yes |
| assign | objects to intersections (loads the junctions first if there are none) | yes |
| check | holds the release back when the numbers are implausible; run again with `approve` to publish all the same | yes |
| export | writes the release and then the pointer to it; skipped when nothing changed | yes |
| report | one table of the run; fails when a task before it failed | yes |

Every output is named by its input: a task that is run again gives the same result. Runbook: docs/operations.md.
"""


def refresh_dag(config: MunicipalityConfig) -> Any:
    code = config.code
    layer = Asset(name=f"kryss_layer_{code}", uri=f"kryss://layer/{code}")

    @dag(
        dag_id=f"refresh_{code}",
        dag_display_name=f"Refresh {config.name}",
        doc_md=DOC.format(**config.model_dump()),
        schedule=config.schedule,
        catchup=False,
        max_active_runs=1,
        tags=["kryss", "refresh", config.country],
        default_args={"owner": "kryss", "retries": 2, "retry_delay": timedelta(seconds=10), "retry_exponential_backoff": 2.0},
        params={
            "force": Param(False, type="boolean", description="Process every photo again"),
            "limit": Param(None, type=["null", "integer"], minimum=1, description="At most this many new photos"),
            "model": Param(None, type=["null", "string"], description="A model of the registry instead of the configured one"),
            "approve": Param(False, type="boolean", description="Publish although the check would hold the release back"),
            "release_date": Param(
                None, type=["null", "string"], pattern=r"^\d{4}-\d\d-\d\d$", description="Date of the release instead of today's"
            ),
        },
    )
    def refresh() -> None:
        @task(execution_timeout=FETCH_TIMEOUT)
        def discover() -> dict[str, Any]:
            from kryss.pipeline import stages

            with final_failures():
                return stages.discover(current_run(code))

        @task(execution_timeout=DATABASE_TIMEOUT)
        def plan(found: dict[str, Any]) -> list[dict[str, Any]]:
            from kryss.pipeline import stages

            return stages.plan(current_run(code), found["key"])["shards"]

        @task_group
        def shard(part: dict[str, Any]) -> None:
            @task(execution_timeout=FETCH_TIMEOUT, map_index_template="{{ shard_name }}")
            def fetch(part: dict[str, Any]) -> dict[str, Any]:
                from kryss.pipeline import stages

                get_current_context()["shard_name"] = part["label"]
                with final_failures():
                    stages.fetch(current_run(code), part["shard"])
                return part

            @task(execution_timeout=DETECT_TIMEOUT, pool="gpu", queue="gpu", map_index_template="{{ shard_name }}")
            def detect(part: dict[str, Any]) -> dict[str, Any]:
                from kryss.pipeline import stages

                get_current_context()["shard_name"] = part["label"]
                stages.detect(current_run(code), part["shard"])
                return part

            @task(execution_timeout=DETECT_TIMEOUT, pool="gpu", queue="gpu", map_index_template="{{ shard_name }}")
            def depth(part: dict[str, Any]) -> None:
                from kryss.pipeline import stages

                get_current_context()["shard_name"] = part["label"]
                stages.depth(current_run(code), part["shard"])

            depth(detect(fetch(part)))

        @task(execution_timeout=DATABASE_TIMEOUT, trigger_rule="none_failed")
        def place(found: dict[str, Any]) -> None:
            from kryss.pipeline import stages

            stages.place(current_run(code), found["key"])

        @task(execution_timeout=DATABASE_TIMEOUT)
        def merge(found: dict[str, Any]) -> None:
            from kryss.pipeline import stages

            stages.merge(current_run(code), found["key"])

        @task(execution_timeout=DATABASE_TIMEOUT)
        def assign() -> None:
            from kryss.pipeline import stages

            with final_failures():
                stages.assign(current_run(code))

        @task(execution_timeout=DATABASE_TIMEOUT)
        def check() -> None:
            from kryss.pipeline import stages

            with final_failures():
                stages.check(current_run(code))

        @task(execution_timeout=DATABASE_TIMEOUT, outlets=[layer])
        def export() -> dict[str, Any]:
            from airflow.sdk.exceptions import AirflowSkipException

            from kryss.pipeline import stages

            outcome = stages.export(current_run(code))
            if outcome["unchanged"]:
                raise AirflowSkipException(f"nothing changed since {outcome['release'] or 'the beginning'}: no release")
            return outcome

        @task(trigger_rule="all_done", retries=0)
        def report() -> str:
            from airflow.sdk.exceptions import AirflowFailException

            from kryss.pipeline import report as reports

            run = current_run(code)
            summary = reports.collect(run)
            text = reports.table(summary)
            if summary["missing"]:
                raise AirflowFailException(f"\n{text}\nnot finished: {', '.join(summary['missing'])}")
            return text

        found = discover()
        shards = shard.expand(part=plan(found))
        placed = place(found)
        merged = merge(found)
        exported = export()
        shards >> placed >> merged >> assign() >> check() >> exported >> report()

    return refresh()


for _config in load_municipalities().values():
    globals()[f"refresh_{_config.code}"] = refresh_dag(_config)
