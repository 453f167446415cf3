"""The plugin costs nothing where no page is served, and its links lead where they should."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from kryss.pipeline.run import short_hash
from kryss.pipeline.state import State
from kryss.services import ROOT

HEAVY = (
    "torch",
    "geopandas",
    "shapely",
    "numpy",
    "pandas",
    "scipy",
    "PIL",
    "fsspec",
    "fastapi",
    "kryss",
    "kryss_routes",
    "kryss_tasks",
)


def test_what_airflow_loads_of_the_plugin_imports_nothing_heavy() -> None:
    """Airflow loads it in the scheduler, in every DAG parse and in every task too. What Airflow imports itself does not count."""
    code = f"""
import sys, time
import airflow.plugins_manager
before, began = set(sys.modules), time.perf_counter()
import kryss_web
print(time.perf_counter() - began, sorted(set({HEAVY!r}) & (set(sys.modules) - before)))
"""
    env = {**os.environ, "PYTHONPATH": f"{ROOT}/include:{ROOT}/plugins"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    seconds, found = done.stdout.strip().splitlines()[-1].split(" ", 1)
    assert found == "[]"
    assert float(seconds) < 0.5


def test_airflow_finds_one_plugin_in_the_folder_and_takes_no_helper_for_one(tmp_path: Path) -> None:
    code = """
import json, sys
from airflow import plugins_manager
plugins, errors = plugins_manager._get_plugins()
apps, views = plugins_manager.get_fastapi_plugins()[0], plugins_manager._get_ui_plugins()[0]
prefixes = [app["url_prefix"] for app in apps]
print(json.dumps([[p.name for p in plugins if p.name == "kryss"], errors, prefixes, views, "kryss_tasks" in sys.modules]))
"""
    env = {**os.environ, "PYTHONPATH": f"{ROOT}/include:{ROOT}/plugins", "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins")}
    env |= {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    names, errors, prefixes, views, helpers = json.loads(done.stdout.strip().splitlines()[-1])
    assert (names, errors, prefixes, helpers) == (["kryss"], {}, ["/kryss"], False)
    assert [(view["name"], view["href"], view["destination"], view["url_route"]) for view in views] == [
        ("Kryss", "/kryss/", "nav", "kryss")
    ]
    assert all(views[0][icon].startswith("data:image/svg+xml,%3Csvg") for icon in ("icon", "icon_dark_mode"))


def test_an_airflow_that_is_served_below_a_path_has_its_pages_below_it_too() -> None:
    code = """
from fastapi import FastAPI
from starlette.testclient import TestClient
import kryss_web
app = FastAPI(root_path="/airflow")
app.mount("/kryss", kryss_web.LazyApp())
client = TestClient(app, base_url="https://example.org", follow_redirects=False)
page, data = client.get("/airflow/kryss/qa/5001?a=1&b=2"), client.get("/airflow/kryss/api/municipalities")
print(kryss_web.KryssPlugin.external_views[0]["href"], page.status_code, page.headers["location"], data.status_code, data.json())
"""
    env = {**os.environ, "PYTHONPATH": f"{ROOT}/include:{ROOT}/plugins", "AIRFLOW__API__BASE_URL": "https://example.org/airflow/"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    login = "/airflow/api/v2/auth/login?next=%2Fairflow%2Fkryss%2Fqa%2F5001%3Fa%3D1%26b%3D2"
    assert done.stdout.strip().splitlines()[-1] == f"/airflow/kryss/ 302 {login} 401 {{'detail': 'Not authenticated'}}"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run of a task, and the folder where its measurements lie."""
    monkeypatch.setenv("KRYSS_HOME", str(tmp_path))
    monkeypatch.setenv("KRYSS_DATABASE_URL", "postgresql://nobody@localhost:1/none")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example/town/")
    for name in ("KRYSS_STATE_URL", "KRYSS_RELEASE_URL"):
        monkeypatch.delenv(name, raising=False)
    context = {"params": {"code": "demo-1"}}
    key = SimpleNamespace(
        dag_id="refresh_5001", run_id="scheduled__2026-05-21T02:00:00+00:00", get_template_context=lambda: context
    )
    name = short_hash([f"{key.dag_id}/{key.run_id}"])
    return SimpleNamespace(key=key, name=name, state=State((tmp_path / "state").as_uri()))


def test_the_export_links_to_the_page_of_the_release_that_it_left(run: Any) -> None:
    from kryss_links import PageLink

    assert PageLink("5001").get_link(None, ti_key=run.key) == "", "an export that wrote nothing has nothing to show"
    for code, given in (("5001", "5001"), ("demo-1", None)):
        run.state.write_json(
            f"runs/{code}/{run.name}/export.json", {"stage": "export", "release": "2026-05-21.1", "unchanged": True}
        )
        link = PageLink(given).get_link(None, ti_key=run.key)
        assert link == f"https://airflow.example/town/kryss/layer/{code}/2026-05-21.1/index.html"
    run.state.write_json(f"runs/5001/{run.name}/export.json", {"stage": "export", "release": None, "unchanged": True})
    assert PageLink("5001").get_link(None, ti_key=run.key) == ""


def test_the_report_links_to_its_page(run: Any) -> None:
    from kryss_links import ReportLink

    assert ReportLink("5001").get_link(None, ti_key=run.key) == f"https://airflow.example/town/kryss/report/5001/{run.name}"
    assert ReportLink(None).get_link(None, ti_key=run.key).endswith(f"/kryss/report/demo-1/{run.name}")


def test_the_export_and_the_report_of_every_dag_of_photos_have_their_links(tmp_path: Path) -> None:
    code = """
import json
from airflow.dag_processing.dagbag import DagBag
found = {}
for dag in DagBag("dags", safe_mode=False).dags.values():
    links = {task.task_id: [(link.name, link.code) for link in task.operator_extra_links] for task in dag.tasks}
    found[dag.dag_id] = {task: told for task, told in links.items() if told}
print(json.dumps(found))
"""
    env = {**os.environ, "PYTHONPATH": f"{ROOT}/include:{ROOT}/plugins", "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins")}
    env |= {"AIRFLOW_HOME": str(tmp_path), "KRYSS_MUNICIPALITIES": f"{ROOT}/include/municipalities.yaml"}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    for dag_id, code in (("refresh_5001", "5001"), ("reprocess", None), ("takedown", None)):
        assert found[dag_id] == {"export": [["Page of the release", code]], "report": [["Report of the run", code]]}
    assert found["roads_5001"] == {}


DAG = """
from airflow.sdk import Param, dag, task
from kryss_links import PageLink, ReportLink

@dag(dag_id="refresh_alfa", schedule=None, params={"code": Param("alfa", type="string")})
def refresh():
    @task
    def export():
        from airflow.sdk import get_current_context
        from airflow.sdk.exceptions import AirflowSkipException
        from kryss.pipeline.run import short_hash
        from kryss.pipeline.state import State
        from kryss_airflow import settings

        run = get_current_context()["dag_run"]
        folder = f"runs/alfa/{short_hash([f'{run.dag_id}/{run.run_id}'])}"
        State(settings().state_url).write_json(f"{folder}/export.json", {"stage": "export", "release": "2026-05-21.1"})
        raise AirflowSkipException("nothing changed")

    @task(trigger_rule="all_done")
    def report():
        return "told"

    published, told = export(), report()
    published.operator.operator_extra_links = [PageLink("alfa")]
    told.operator.operator_extra_links = [ReportLink(None)]
    published >> told

refresh()
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_real_run_of_a_dag_shows_the_links_and_they_lead_to_pages(tmp_path: Path, made: Any) -> None:
    from kryss.services import airflow, control, ports
    from kryss.store import open_store

    home = tmp_path / "home"
    (home / "airflow").mkdir(parents=True)
    ports.claim_port(home / "airflow" / "port", 28400)  # not the one that an Airflow of somebody else starts at meanwhile
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "links.py").write_text(DAG)
    env = {name: value for name, value in os.environ.items() if not name.startswith("KRYSS_")}
    env |= {"AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags")}
    try:
        running = airflow.up(home, env=env)
        store = open_store(running.database.url)
        store.migrate()
        made.believe(store, "alfa", "Alfa", made.objects())
        release = made.publish_town(store, f"file://{home}/releases", "alfa", "Alfa", made.date(2026, 5, 21))
        (home / "municipalities" / "alfa.yaml").write_text("municipalities: [{code: alfa, name: Alfa}]")
        outcome = airflow.trigger_and_wait(home, "refresh_alfa", file_name="links.py", timeout_s=300)
        assert outcome.tasks == {"export": {"skipped": 1}, "report": {"success": 1}}
        client = airflow.connect(home)
        state = State(f"file://{home}/state")
        folder = f"runs/alfa/{short_hash([f'refresh_alfa/{outcome.run_id}'])}"
        state.write_json(f"{folder}/report.json", {**made.REPORT, "release": release})
        found = {}
        for task in ("export", "report"):
            path = f"/dags/refresh_alfa/dagRuns/{outcome.run_id}/taskInstances/{task}/links"
            found |= client.get(path)["extra_links"]
        assert found == {
            "Page of the release": f"{running.url}/kryss/layer/alfa/{release}/index.html",
            "Report of the run": f"{running.url}/kryss/report/alfa/{folder.rsplit('/', 1)[1]}",
        }
        body = {"username": running.user, "password": running.password}
        token = requests.post(f"{running.url}/auth/token", json=body, timeout=60).json()["access_token"]
        deadline = time.monotonic() + 60
        for address in found.values():
            while (page := requests.get(address, headers={"Authorization": f"Bearer {token}"}, timeout=60)).status_code == 404:
                assert time.monotonic() < deadline, page.text
                time.sleep(1)
            assert page.status_code == 200 and "text/html" in page.headers["content-type"] and "kryss" in page.text
        assert requests.get(found["Report of the run"], timeout=60).url.startswith(f"{running.url}/auth/login"), (
            "who has no login"
        )
    finally:
        control.down(home)
