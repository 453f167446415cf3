"""A release that is held back waits in a real Airflow for a person: approved, rejected, or left alone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest
import yaml

from kryss.cli.demo import municipality_of
from kryss.cli.refresh import run_through_airflow
from kryss.config import Settings
from kryss.demo.area import load_area
from kryss.demo.playback.play import Playback
from kryss.layer.validate import validate
from kryss.model import StreetObject
from kryss.pipeline.run import short_hash
from kryss.pipeline.state import State
from kryss.services import airflow, control
from kryss.store import Store, open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
MANY = 1000


@dataclass
class Site:
    """A municipality in an Airflow of its own, with a release of more objects than anybody will believe to be gone."""

    home: Path
    entry: dict[str, Any]
    day: str
    client: airflow.AirflowClient
    store: Store
    settings: Settings

    @property
    def code(self) -> str:
        return str(self.entry["code"])

    @property
    def dag_id(self) -> str:
        return f"refresh_{self.code}"

    def configure(self, **changes: Any) -> None:
        self.entry.update(changes)
        (self.home / "municipalities" / "few.yaml").write_text(yaml.safe_dump({"municipalities": [self.entry]}))

    def refresh(self, **params: Any) -> airflow.RunOutcome:
        params = {"release_date": self.day, **params}
        return airflow.trigger_and_wait(self.home, self.dag_id, params, file_name="refresh.py", timeout_s=300)

    def begin(self) -> tuple[str, dict[str, Any]]:
        """A run that comes to a question: its id, and the question."""
        run_id = airflow.trigger(self.client, self.dag_id, {"release_date": self.day})
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            found = self.client.get(f"/dags/{self.dag_id}/dagRuns/{run_id}/hitlDetails")["hitl_details"]
            tasks = airflow.task_states(self.client, self.dag_id, run_id)
            if found and tasks["approval"] == {"awaiting_input": 1}:
                return run_id, found[0]
            assert self.client.get(f"/dags/{self.dag_id}/dagRuns/{run_id}")["state"] in ("queued", "running"), tasks
            time.sleep(0.5)
        raise AssertionError(airflow.task_states(self.client, self.dag_id, run_id))

    def answer(self, run_id: str, option: str) -> airflow.RunOutcome:
        """Answers, and waits for the end of the run.

        The scheduler takes an answer that comes before it has noticed that the task is parked for a failure of the task, which
        then asks again: programs are so fast, people are not.
        """

        def on_progress(tasks: dict[str, dict[str, int]]) -> None:
            if tasks["approval"] == {"awaiting_input": 1}:
                time.sleep(5)
                airflow.answer(self.client, self.dag_id, run_id, "approval", option)

        return airflow.wait_for_run(self.home, self.client, self.dag_id, run_id, on_progress, timeout_s=300)

    def report(self, run_id: str) -> dict[str, Any]:
        return State(self.settings.state_url).read_json(f"runs/{self.code}/{short_hash([f'{self.dag_id}/{run_id}'])}/report.json")

    @property
    def latest(self) -> str:
        return json.loads((self.home / "releases" / self.code / "latest.json").read_text())["release"]

    def objects(self) -> list[StreetObject]:
        with self.store.snapshot() as reader:
            return reader.objects(self.code)

    def believe(self, objects: list[StreetObject]) -> None:
        with self.store.transaction(self.code) as tx:
            tx.write_objects(self.code, objects, reasons={})

    def end_half(self) -> None:
        """Half of what stands falls."""
        standing = [one for one in self.objects() if one.status == "standing"]
        falling = {one.id for one in standing[::2]}
        self.believe([gone(one) if one.id in falling else one for one in self.objects()])


def gone(one: StreetObject) -> StreetObject:
    return replace(one, status="ended", ended_at=one.last_seen_at + timedelta(days=1), standing_probability=0.01, absences=())


def copies(of: StreetObject) -> list[StreetObject]:
    """Signs that nobody photographed, a few decimetres apart."""
    return [
        replace(of, id=str(uuid5(NAMESPACE_URL, f"copy {n}")), lon=of.lon + n * 1e-7, status="standing", replaced_by=None)
        for n in range(MANY)
    ]


@pytest.fixture(scope="module")
def site(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home, area = tmp_path_factory.mktemp("approval") / "home", load_area(few)
    now = area.epochs[-1]
    env = {name: value for name, value in os.environ.items() if not name.startswith("KRYSS_")}
    try:
        with Playback(area, now) as playback:
            running = airflow.up(home, env={**env, "KRYSS_HOME": str(home)})
            store = open_store(running.database.url)
            store.migrate()
            (home / "municipalities").mkdir(exist_ok=True)
            settings = Settings.from_env({"KRYSS_HOME": str(home), "KRYSS_DATABASE_URL": running.database.url})
            entry = municipality_of(area, dict(playback.urls), None)
            place = Site(home, entry, now.date().isoformat(), airflow.connect(home), store, settings)
            place.configure()
            assert place.refresh().ok
            with store.snapshot() as reader:
                assigned = reader.assignments(place.code)
            found = place.objects()
            model = next(one for one in found if one.id in assigned and one.status != "ended")
            place.believe([*found, *copies(model)])
            outcome = place.refresh()
            assert outcome.ok
            assert outcome.tasks["approval"] == {"skipped": 1}, "what is plausible asks nobody"
            assert place.latest == f"{place.day}.2"
            yield place
    finally:
        control.down(home)


def test_an_approved_release_is_published(site: Site) -> None:
    before = site.latest
    site.end_half()
    run_id, question = site.begin()
    assert "standing objects: " in question["subject"]
    assert f"/kryss/report/{site.code}/" in question["body"]
    assert question["options"] == ["Approve", "Reject"]
    assert site.report(run_id)["held_back"], "the page that the question leads to is there"
    assert site.latest == before
    outcome = site.answer(run_id, "Approve")
    assert outcome.ok, outcome.tasks
    assert outcome.tasks["export"] == {"success": 1}
    assert site.latest != before
    assert validate(str(site.home / "releases" / site.code / site.latest)) == []
    report = site.report(run_id)
    assert (report["approval"]["answer"], report["approval"]["by"]) == ("approved", airflow.USER)
    assert report["missing"] == []
    published = b"".join(path.read_bytes() for path in (site.home / "releases" / site.code / site.latest).iterdir())
    assert b'"' + airflow.USER.encode() + b'"' not in published, "who approved is no part of the release"


def test_a_rejected_release_is_not_published_and_the_next_run_asks_again(site: Site) -> None:
    before = site.latest
    site.end_half()
    run_id, _ = site.begin()
    outcome = site.answer(run_id, "Reject")
    assert outcome.ok, "somebody decided: nothing is wrong with the run"
    assert outcome.tasks["export"] == {"skipped": 1}
    assert site.latest == before
    report = site.report(run_id)
    assert (report["approval"]["answer"], report["missing"]) == ("rejected", [])
    again, _ = site.begin()
    site.answer(again, "Reject")
    approved = site.refresh(approve=True)
    assert approved.ok
    assert approved.tasks["approval"] == {"skipped": 1}, "the param needs no person"
    assert site.latest != before


def test_the_command_line_approves_the_run_that_waits(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Another run would only queue behind it."""
    before = site.latest
    site.end_half()
    run_id, _ = site.begin()
    assert airflow.waiting_runs(site.client, site.dag_id, "approval") == [run_id]
    time.sleep(5)
    params = {"approve": True, "release_date": site.day}
    outcome, report = run_through_airflow(site.home, site.settings, site.code, site.dag_id, params, "refresh.py")
    assert (outcome.run_id, outcome.ok) == (run_id, True)
    assert report is not None
    assert report["approval"]["answer"] == "approved"
    assert site.latest == report["release"] != before
    assert airflow.waiting_runs(site.client, site.dag_id, "approval") == []
    told = capsys.readouterr().out
    assert f"{run_id} waits for an answer: approved" in told
    assert f"approved by {airflow.USER} at " in told


def test_a_question_that_nobody_answers_ends_with_a_failed_run_and_nothing_published(site: Site) -> None:
    before = site.latest
    site.end_half()
    site.configure(approval_hours=0.004)
    began = datetime.now(UTC)
    outcome = site.refresh()
    assert outcome.state == "failed"
    assert datetime.now(UTC) - began < timedelta(minutes=4)
    assert outcome.tasks["approval"] == {"failed": 1}
    assert outcome.tasks["export"] == {"upstream_failed": 1}
    assert site.latest == before
    report = site.report(outcome.run_id)
    assert (report["approval"]["answer"], report["missing"]) == ("unanswered", ["export"])
