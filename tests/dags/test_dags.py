"""Every DAG file parses in a real Airflow, makes the DAGs it should, and imports nothing heavy while it does."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from kryss.config import TIMEOUTS

ROOT = Path(__file__).resolve().parents[2]

PROBE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
before = set(sys.modules)
bag = DagBag({dags!r}, safe_mode=False)
heavy = [n for n in ("torch", "effdet", "timm", "onnxruntime", "geopandas", "psycopg2", "cv2") if n in set(sys.modules) - before]
print("PROBE" + json.dumps({{
    "errors": bag.import_errors,
    "heavy": heavy,
    "dags": {{dag.dag_id: {{"doc": bool(dag.doc_md), "tags": sorted(dag.tags),
        "tasks": {{t.task_id: [t.pool, t.queue, str(t.trigger_rule), sorted(t.upstream_task_ids)] for t in dag.tasks}},
        "params": sorted(dag.params), "schema": {{name: dag.params.get_param(name).schema for name in dag.params}},
        "timeouts": {{t.task_id: t.execution_timeout and t.execution_timeout.total_seconds() for t in dag.tasks}},
        "outlets": [getattr(a, "uri", a.name) for t in dag.tasks for a in t.outlets]}} for dag in bag.dags.values()}},
}}))
"""


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What a fresh Airflow makes of dags/ with 50 municipalities."""
    home = tmp_path_factory.mktemp("airflow")
    towns = home / "towns.yaml"
    towns.write_text(yaml.safe_dump({"municipalities": [{"code": f"{n:04d}", "name": f"Town {n}"} for n in range(50)]}))
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "PYTHONPATH": f"{ROOT / 'include'}",
        "KRYSS_MUNICIPALITIES": str(towns),
    }
    probe = PROBE.format(dags=str(ROOT / "dags"))
    done = subprocess.run([sys.executable, "-c", probe], env=env, capture_output=True, text=True, timeout=120)
    lines = [line for line in done.stdout.splitlines() if line.startswith("PROBE")]
    assert lines, done.stderr[-3000:]
    return json.loads(lines[0][5:])


def test_every_municipality_has_its_two_dags_all_share_three_and_there_are_no_others(parsed: dict) -> None:
    assert parsed["errors"] == {}
    own = {f"{kind}_{n:04d}" for kind in ("refresh", "roads") for n in range(50)}
    assert set(parsed["dags"]) == own | {"reprocess", "takedown", "train_detector"}


def test_parsing_imports_nothing_heavy(parsed: dict) -> None:
    assert parsed["heavy"] == []


def test_every_dag_explains_itself_and_is_tagged(parsed: dict) -> None:
    for dag_id, dag in parsed["dags"].items():
        assert dag["doc"], dag_id
        assert {"kryss", dag_id.split("_")[0]} <= set(dag["tags"]), dag_id


@pytest.mark.parametrize("dag_id", ["refresh_0001", "reprocess"])
def test_detect_and_depth_run_in_the_gpu_pool_and_queue(parsed: dict, dag_id: str) -> None:
    tasks = parsed["dags"][dag_id]["tasks"]
    for name, (pool, queue, _, _) in tasks.items():
        on_gpu = name in {"shard.detect", "shard.depth"}
        assert (pool == "gpu", queue == "gpu") == (on_gpu, on_gpu), name


LOOK = ["plan", "shard.fetch", "shard.detect", "shard.depth"]
PUBLISH = ["place", "merge", "assign", "check", "approval", "export", "report"]


@pytest.mark.parametrize(
    ("dag_id", "order"),
    [
        ("refresh_0001", ["discover", *LOOK, *PUBLISH]),
        ("reprocess", ["known", *LOOK, *PUBLISH]),
        ("takedown", ["takedown", *PUBLISH]),
    ],
)
def test_the_stages_run_in_the_order_of_the_architecture(parsed: dict, dag_id: str, order: list[str]) -> None:
    tasks = parsed["dags"][dag_id]["tasks"]
    assert set(tasks) == set(order)
    for earlier, later in pairwise(order):
        assert earlier in tasks[later][3], f"{later} must wait for {earlier}"
    assert "check" in tasks["export"][3], "what is plausible goes on without a person"
    assert tasks["export"][2].lower().endswith("none_failed")
    assert tasks["report"][2].lower().endswith("all_done"), "the report comes whatever happened"


def test_every_task_has_the_timeout_that_its_statements_have(parsed: dict) -> None:
    own = {"load": "roads", "report": None, "approval": None}
    for dag_id in ("refresh_0001", "roads_0001", "reprocess", "takedown"):
        for task_id, seconds in parsed["dags"][dag_id]["timeouts"].items():
            stage = own.get(task_id, task_id.removeprefix("shard."))
            assert seconds == (TIMEOUTS[stage].total_seconds() if stage else None), (dag_id, task_id)


def test_a_reprocess_and_a_takedown_name_the_municipality(parsed: dict) -> None:
    for dag_id, params in {
        "reprocess": {"code", "model", "since", "until", "limit", "force", "approve", "release_date"},
        "takedown": {"code", "image_ids", "sequence_ids", "reason", "approve", "release_date"},
    }.items():
        dag = parsed["dags"][dag_id]
        assert set(dag["params"]) == params
        assert dag["schema"]["code"]["enum"] == [f"{n:04d}" for n in range(50)]
        assert dag["outlets"] == ["kryss_layer"], "an alias: the layer is that of the municipality"


def test_a_training_is_checked_trained_on_the_gpu_judged_and_registered_in_this_order(parsed: dict) -> None:
    dag = parsed["dags"]["train_detector"]
    order = ["check", "train", "evaluate", "register"]
    assert set(dag["tasks"]) == set(order)
    for earlier, later in pairwise(order):
        assert dag["tasks"][later][3] == [earlier]
    assert {name for name, (pool, _, _, _) in dag["tasks"].items() if pool == "gpu"} == {"train", "evaluate"}
    assert {queue for _, queue, _, _ in dag["tasks"].values()} == {"gpu"}, "all see the same folders"
    assert {"recipe", "data", "sprites", "start", "skip_bad", "out"} <= set(dag["params"])
    assert dag["timeouts"]["train"] == TIMEOUTS["train"].total_seconds()


def test_a_refresh_takes_params_and_announces_the_layer(parsed: dict) -> None:
    dag = parsed["dags"]["refresh_0001"]
    assert {"force", "limit", "model", "approve", "release_date"} <= set(dag["params"])
    assert dag["outlets"] == ["kryss://layer/0001"]
