"""``roads_<code>``: boundary, junctions and speed limits of each municipality, weekly."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task

from kryss.config import TIMEOUTS, MunicipalityConfig, load_municipalities
from kryss_airflow import current_run, final_failures

DOC = """
### Roads of {name} ({code})

Reads the boundary ({boundary}) and the junctions with their speed limits ({roads}), and writes new versions of the
intersections that changed. A junction that is no longer there is closed, not deleted. The next refresh uses them.
Safe to run again at any time.
"""


def roads_dag(config: MunicipalityConfig) -> Any:
    code = config.code

    @dag(
        dag_id=f"roads_{code}",
        dag_display_name=f"Roads of {config.name}",
        doc_md=DOC.format(**config.model_dump()),
        schedule=config.roads_schedule,
        catchup=False,
        max_active_runs=1,
        tags=["kryss", "roads", config.country],
        default_args={"owner": "kryss", "retries": 2, "retry_delay": timedelta(minutes=1), "retry_exponential_backoff": 2.0},
    )
    def roads() -> None:
        @task(execution_timeout=TIMEOUTS["roads"])
        def load() -> dict[str, Any]:
            from kryss.pipeline import stages

            with final_failures():
                return stages.roads(current_run(code))

        load()

    return roads()


for _config in load_municipalities().values():
    globals()[f"roads_{_config.code}"] = roads_dag(_config)
