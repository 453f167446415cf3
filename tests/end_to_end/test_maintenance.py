"""Reprocess and takedown of some photos of the town, with the shipped detector: in this process, and through a real Airflow."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from kryss.cli.demo import municipality_of
from kryss.config import Settings
from kryss.demo.area import load_area
from kryss.demo.playback.play import Playback
from kryss.layer.validate import validate
from kryss.pipeline import local
from kryss.pipeline.run import short_hash
from kryss.pipeline.state import State
from kryss.services import airflow, control
from kryss.store import open_store
from kryss.vision import registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def valid_time(objects: list[Any]) -> dict[str, tuple[Any, ...]]:
    return {one.id: (one.class_name, one.began_after, one.first_seen_at, one.last_seen_at, one.ended_at) for one in objects}


def test_the_same_weights_under_another_version_change_nothing_but_the_model(
    few: Path, install: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KRYSS_WEIGHTS_DIR", str(tmp_path / "weights"))
    place = install(few)
    now = place.area.epochs[-1]
    store = open_store(place.settings.database_url.get_secret_value())
    first = place.refresh("night", now)
    shipped = registry.resolve(place.config.model)
    files = registry.weights_file(shipped), registry.reader_file(shipped)
    again = registry.register(replace(shipped, version="again"), *files)
    with store.snapshot() as reader:
        before = reader.objects(place.config.code)
    reports = [
        local.reprocess(place.run(f"reprocess-{limit}", now, kind="reprocess", model=registry.model_key(again), limit=limit))
        for limit in (3, None)
    ]
    assert [report["photos"]["new"] for report in reports] == [3, 5], "the second run goes on where the first ended"
    with store.snapshot() as reader:
        after = reader.objects(place.config.code)
        assert reader.lineage(place.config.code) == []
    assert len(before) > 2
    assert valid_time(after) == valid_time(before)
    assert {one.model_key for one in after} == {registry.model_key(again)}
    assert reports[1]["reasons"].keys() == {"model"}
    day = now.date()
    assert [first["release"], *(report["release"] for report in reports)] == [f"{day}.{n}" for n in (1, 2, 3)]
    for name in (f"{day}.2", f"{day}.3"):
        told = place.changes(name)
        assert told["reasons"].keys() == {"model"}
        assert {kind for kind, number in told["counts"].items() if number} <= {"reworked", "moved", "refined"}
        assert validate(str(place.releases / name)) == []
    assert "the street did not change" in " ".join(reports[1]["changes"])


def test_a_reprocess_and_a_takedown_through_airflow(few: Path, tmp_path: Path) -> None:
    """The shipped model looks once more (force): beliefs and release stay. Then a drive is taken down."""
    home, area = tmp_path / "home", load_area(few)
    now = area.epochs[-1]
    env = {name: value for name, value in os.environ.items() if not name.startswith("KRYSS_")}
    try:
        with Playback(area, now) as playback:
            running = airflow.up(home, env={**env, "KRYSS_HOME": str(home)})
            store = open_store(running.database.url)
            store.migrate()
            entry = municipality_of(area, dict(playback.urls), None)
            (home / "municipalities").mkdir(exist_ok=True)
            (home / "municipalities" / "few.yaml").write_text(yaml.safe_dump({"municipalities": [entry]}))
            code, day = entry["code"], now.date().isoformat()
            settings = Settings.from_env({"KRYSS_HOME": str(home), "KRYSS_DATABASE_URL": running.database.url})

            def done(dag_id: str, file_name: str, **params: Any) -> tuple[Any, dict[str, Any]]:
                outcome = airflow.trigger_and_wait(
                    home, dag_id, {"release_date": day, **params}, file_name=file_name, timeout_s=600
                )
                assert outcome.ok, outcome.tasks
                report = f"runs/{code}/{short_hash([f'{dag_id}/{outcome.run_id}'])}/report.json"
                return outcome, State(settings.state_url).read_json(report)

            done(f"refresh_{code}", "refresh.py")
            with store.snapshot() as reader:
                before = reader.objects(code)
            outcome, report = done(
                "reprocess", "maintenance.py", code=code, model=entry.get("model", "kryss-street-lite0"), force=True
            )
            with store.snapshot() as reader:
                assert reader.objects(code) == before
            assert report["photos"]["new"] == len(area.images)
            assert outcome.tasks["export"] == {"skipped": 1}
            going = [image["id"] for image in area.images[:4]]
            outcome, report = done("takedown", "maintenance.py", code=code, image_ids=going, reason="the owner asked")
    finally:
        control.down(home)
    assert report["photos"]["removed"] == {"takedown": len(going)}
    assert list(report["takedown"]["named_in"]) == [f"{day}.1"]
    assert report["release"] == f"{day}.2"
    assert report["missing"] == []
    release = sorted((home / "releases" / code / f"{day}.2").iterdir())
    for path in release:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert not any(f'"{image_id}"'.encode() in content for image_id in going), path.name
    stored = {path.stem for path in (home / "photos").glob("*.jpg")}
    assert stored == {image["id"] for image in area.images} - set(going)
