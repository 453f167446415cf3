"""``train_detector``: a detector trained by a recipe, judged, and put into the registry of weights. Started by hand.

check -> train -> evaluate -> register
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task

from kryss.config import TIMEOUTS
from kryss_airflow import final_failures

DOC = """
### Train a detector

What `./kryss train detector` does, as a run: see docs/training.md. Paths are those of the machine that works off the queue `gpu`.

| task | does | safe to clear |
|---|---|---|
| check | looks at all that the training needs, and at every photo and box; stops with the list of what is wrong | yes |
| train | trains by the recipe; a killed or cleared task goes on from its checkpoint and ends with the same weights | yes |
| evaluate | judges the model on the held-out photos, chooses its thresholds, writes the report pages | yes |
| register | puts the model into the registry: any refresh can name it as its `model` | yes |

The folder of the run (`KRYSS_HOME/training/<run>`, or the param `out`) holds recipe, logs, pictures of what is found, checkpoint,
model, card and reports.
"""


@dag(
    dag_id="train_detector",
    dag_display_name="Train a detector",
    doc_md=DOC,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    tags=["kryss", "train"],
    default_args={"owner": "kryss", "retries": 3, "retry_delay": timedelta(minutes=1), "retry_exponential_backoff": 2.0},
    params={
        "recipe": Param("transfer", type="string", minLength=1, description="Name of a shipped recipe, or path of a YAML file"),
        "data": Param(
            type="object", additionalProperties={"type": "string"}, description='Where they are: {"gtsdb": "/data/gtsdb"}'
        ),
        "sprites": Param(type="string", minLength=1, description="Folder package_signs of npm's mapillary_sprite_source"),
        "prelabels": Param(None, type=["null", "string"], description="File of ./kryss train prelabel"),
        "start": Param(None, type=["null", "string"], description="File of weights, or a model, instead of the recipe's start"),
        "name": Param(
            None, type=["null", "string"], pattern=r"^[a-z0-9][a-z0-9._+-]*(@[a-z0-9._+-]+)?$", description="name or name@version"
        ),
        "skip_bad": Param(False, type="boolean", description="Go on without what is wrong in a data set, and count it"),
        "out": Param(None, type=["null", "string"], description="Folder of the run"),
    },
)
def train_detector() -> None:
    def part(name: str) -> dict[str, Any]:
        from kryss.training import tasks

        context = get_current_context()
        with final_failures():
            return tasks.run(name, dict(context["params"]), context["dag_run"].run_id)

    # Not in the pool: it reads files, the accelerator is free for others meanwhile.
    @task(execution_timeout=TIMEOUTS["judge"], queue="gpu")
    def check() -> dict[str, Any]:
        return part("check")

    @task(execution_timeout=TIMEOUTS["train"], pool="gpu", queue="gpu")
    def train() -> dict[str, Any]:
        return part("train")

    @task(execution_timeout=TIMEOUTS["judge"], pool="gpu", queue="gpu")
    def evaluate() -> dict[str, Any]:
        return part("evaluate")

    @task(execution_timeout=TIMEOUTS["judge"], queue="gpu")
    def register() -> dict[str, Any]:
        return part("register")

    check() >> train() >> evaluate() >> register()


train_detector()
