"""``refresh_<code>``: the nightly refresh of each municipality in the YAML.

discover -> plan -> [ per shard: fetch -> detect -> depth ] -> place -> merge -> assign -> check -> [approval] -> export -> report
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, task

from kryss.config import TIMEOUTS, MunicipalityConfig, load_municipalities
from kryss_airflow import current_run, final_failures
from kryss_tasks import DEFAULTS, believe_and_publish, look_at_photos

DOC = """
### Refresh of {name} ({code})

Reads what Mapillary has of the municipality, processes the photos that `{model}` has not seen, and publishes a new dated
release of the layer if it differs from the last one.

| task | does | safe to clear |
|---|---|---|
| discover | lists sequences by coverage tiles, then every photo of them; keeps the new ones; finds what was deleted | yes |
| plan | cuts the new photos into shards of about {shard_size} | yes |
| shard.fetch, .detect, .depth | download and verify, find signs and lights, monocular depth where something was found | yes |
| place, merge | boxes to sightings to objects; versions in one transaction; deleted photos are removed | yes |
| assign | objects to intersections (loads the junctions first if there are none) | yes |
| check | judges the numbers by the last releases | yes |
| approval | asks a person to approve or reject what is implausible (Required Actions); else skipped | yes: asks again |
| export | writes the release and then the pointer to it; skipped when nothing changed, or when the release was rejected | yes |
| report | one table of the run; fails when a task before it failed | yes |

Every output is named by its input: a task that is run again gives the same result. Runbook: docs/operations.md.
"""


def refresh_dag(config: MunicipalityConfig) -> Any:
    code = config.code

    @dag(
        dag_id=f"refresh_{code}",
        dag_display_name=f"Refresh {config.name}",
        doc_md=DOC.format(**config.model_dump()),
        schedule=config.schedule,
        catchup=False,
        max_active_runs=1,
        tags=["kryss", "refresh", config.country],
        default_args=DEFAULTS,
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
        @task(execution_timeout=TIMEOUTS["discover"])
        def discover() -> dict[str, Any]:
            from kryss.pipeline import stages

            with final_failures():
                return stages.discover(current_run(code))

        found = discover()
        believe_and_publish(found, look_at_photos(found, code), code)

    return refresh()


for _config in load_municipalities().values():
    globals()[f"refresh_{_config.code}"] = refresh_dag(_config)
