"""Check and export on a real database: what is implausible waits for a person, what is published can be made again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from kryss.layer.storage import Shelf
from kryss.layer.validate import validate
from kryss.model import Intersection, StreetObject
from kryss.pipeline import local, report, stages
from kryss.pipeline.checks import HeldBack, question
from kryss.pipeline.run import Run

SQUARE = ((10.3, 63.3), (10.5, 63.3), (10.5, 63.5), (10.3, 63.5), (10.3, 63.3))
ROADS = [Intersection("nvdb:1", "nvdb", 10.4, 63.4, 50.0, SQUARE)]


@pytest.fixture
def place(at_once: Any) -> Any:
    """Photos and objects of one night, all of them at one intersection."""
    believe(at_once, at_once.objects())
    return at_once


def believe(place: Any, objects: Sequence[StreetObject], roads: Sequence[Intersection] = ROADS) -> None:
    with place.store.transaction(place.run.code) as tx:
        tx.write_intersections(place.run.code, roads)
        tx.write_objects(place.run.code, objects, reasons={})
        homes = {one.id: roads[0].id for one in objects} if roads else {}
        tx.write_assignments(place.run.code, homes)


def night(place: Any, number: int, **changes: Any) -> Run:
    return replace(place.run, run_id=f"night-{number}", release_date=date(2026, 5, number), **changes)


def gone(one: StreetObject) -> StreetObject:
    day = one.last_seen_at + timedelta(days=1)
    return replace(one, status="ended", ended_at=day, standing_probability=0.01, absences=())


def half_gone(place: Any) -> list[StreetObject]:
    objects = place.objects()
    return [gone(one) if index % 2 else one for index, one in enumerate(objects)]


def latest(place: Any) -> str:
    root = Path(place.run.release_url.removeprefix("file://")) / place.run.code
    return json.loads((root / "latest.json").read_text())["release"]


def release(place: Any, name: str) -> Path:
    return Path(place.run.release_url.removeprefix("file://")) / place.run.code / name


def test_a_release_is_published_with_its_inputs_and_the_same_again_is_not(place: Any) -> None:
    run = night(place, 1)
    assert stages.check(run)["reasons"] == []
    first = stages.export(run)
    assert (first["release"], first["unchanged"]) == ("2026-05-01.1", False)
    assert validate(str(release(place, "2026-05-01.1"))) == []
    manifest = json.loads((release(place, "2026-05-01.1") / "manifest.json").read_text())
    with place.store.snapshot() as known:
        looks = known.effective_looks(run.code, None)
    assert manifest["photos"] == sum(map(len, looks.values()))
    assert manifest["photos_by_model"] == {name: len(seen) for name, seen in looks.items()}
    newest = max(image.captured_at for seen in looks.values() for image in seen)
    assert manifest["photos_until"] == newest.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert manifest["parameters"]["ended_below"] == run.config.ended_below
    second = stages.export(night(place, 2))
    assert (second["release"], second["unchanged"]) == ("2026-05-01.1", True)


def test_the_database_records_the_instant_that_a_release_holds(place: Any) -> None:
    stages.export(night(place, 1))
    objects = place.objects()
    believe(place, [replace(one, lat=one.lat + 0.0001) for one in objects])
    stages.export(night(place, 2))
    with place.store.snapshot() as known:
        instants = known.release_instants(place.run.code)
        assert known.objects(place.run.code, instants["2026-05-01.1"]) == objects
        assert known.objects(place.run.code, instants["2026-05-02.1"]) == place.objects() != objects


def test_an_implausible_night_is_held_back_with_its_numbers_and_published_when_approved(place: Any) -> None:
    stages.export(night(place, 1))
    standing = sum(one.status == "standing" for one in place.objects())
    believe(place, half_gone(place))
    left = sum(one.status == "standing" for one in place.objects())
    run = night(place, 2)
    outcome = stages.check(run)
    assert f"standing objects: {left}, last {standing}, limit " in outcome["reasons"][0]
    assert outcome["against"] == ["2026-05-01.1"]
    assert stages.held_back(run) == outcome["reasons"]
    assert stages.held_back(replace(run, approve=True)) == []
    with pytest.raises(HeldBack, match="standing objects"):
        local._publish(replace(run, kind="takedown"), "none")
    assert latest(place) == "2026-05-01.1"
    stages.check(run)
    assert stages.export(run)["release"] == "2026-05-02.1", "who was asked has approved"
    assert latest(place) == "2026-05-02.1"


def test_what_was_approved_is_history_and_does_not_ring_again(place: Any) -> None:
    stages.export(night(place, 1))
    believe(place, half_gone(place))
    run = night(place, 2, approve=True)
    assert stages.check(run)["reasons"]
    stages.export(run)
    believe(place, [replace(one, lat=one.lat + 0.00001) for one in place.objects()])
    outcome = stages.check(night(place, 3))
    assert outcome["reasons"] == []
    assert outcome["against"] == ["2026-05-02.1"]


@pytest.mark.parametrize("how", ["published", "before the pointer"])
def test_an_approved_export_that_died_is_finished_by_the_next_try_and_does_not_ring_again(
    place: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    stages.export(night(place, 1))
    believe(place, half_gone(place))
    run = night(place, 2)
    reasons = stages.check(run)["reasons"]
    assert reasons
    publish, point = stages.publish, Shelf.point

    def publish_and_die(*given: Any, **options: Any) -> None:
        publish(*given, **options)
        raise ConnectionResetError

    def die(*_: Any) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patch:
        patch.setattr(stages, "publish", publish_and_die) if how == "published" else patch.setattr(Shelf, "point", die)
        with pytest.raises(ConnectionResetError):
            stages.export(run)
    assert Shelf.point is point
    assert latest(place) == ("2026-05-02.1" if how == "published" else "2026-05-01.1")
    assert stages.export(run)["release"] == latest(place) == "2026-05-02.1"
    assert stages.check(night(place, 3))["reasons"] == []


def test_what_another_run_did_after_the_check_is_not_published_unseen(place: Any) -> None:
    """A reprocess that ends between the check and the export of a refresh."""
    stages.export(night(place, 1))
    run = night(place, 2)
    assert stages.check(run)["reasons"] == []
    believe(place, half_gone(place))
    with pytest.raises(HeldBack, match=r"changed it after the check: .*standing objects: "):
        stages.export(run)
    assert latest(place) == "2026-05-01.1"


def test_what_another_run_has_published_meanwhile_is_the_measure(place: Any) -> None:
    """A takedown publishes while a person thinks; the answer comes later, and finds nothing left that is implausible."""
    stages.export(night(place, 1))
    believe(place, half_gone(place))
    run = night(place, 2)
    assert stages.check(run)["reasons"]
    believe(place, half_gone(place)[1:])
    other = night(place, 3, approve=True)
    stages.check(other)
    assert stages.export(other)["release"] == "2026-05-03.1"
    assert stages.export(run)["unchanged"]
    assert stages.check(night(place, 4))["reasons"] == []


def test_an_approval_is_of_the_numbers_that_were_shown(place: Any) -> None:
    """Another run takes the roads away while a person thinks about the objects."""
    stages.export(night(place, 1))
    believe(place, half_gone(place))
    run = night(place, 2)
    stages.check(run)
    believe(place, half_gone(place), [])
    with pytest.raises(HeldBack, match=r"changed it after the question: .*intersections: 0, last 1"):
        stages.export(run)
    assert latest(place) == "2026-05-01.1"


def test_positions_that_all_shifted_are_held_back(place: Any) -> None:
    stages.export(night(place, 1))
    objects = place.objects()
    assert sum(one.status == "standing" for one in objects) >= 20
    believe(place, [replace(one, lat=one.lat + 0.00005) for one in objects])
    (median, *_) = stages.check(night(place, 2))["reasons"]
    assert median.endswith("median: 5.6 m, most so far 0.0 m, limit 1.5 m")


def test_a_lost_release_row_leaves_what_needs_it_unjudged(place: Any) -> None:
    """A shelf that was copied beside another database."""
    stages.export(night(place, 1))
    with place.store.transaction(place.run.code) as tx:
        tx._connection.exec_driver_sql("DELETE FROM kryss.release")
    believe(place, [replace(one, lat=one.lat + 0.00005) for one in place.objects()])
    outcome = stages.check(night(place, 2))
    assert (outcome["reasons"], outcome["shift"]) == ([], None)


def test_retention_and_formats_are_those_of_the_municipality(place: Any) -> None:
    config = place.run.config.model_copy(update={"keep_releases": 2, "formats": ("geoparquet",)})
    for number in (1, 2, 3, 4):
        believe(place, [replace(one, lat=one.lat + 0.00001) for one in place.objects()])
        outcome = stages.export(night(place, number, config=config))
    assert outcome["pruned"] == ["2026-05-01.1"]
    assert "old releases removed: 2026-05-01.1" in report.table(report.collect(night(place, 4, config=config)))
    root = release(place, ".")
    assert sorted(path.name for path in root.iterdir() if path.is_dir()) == [f"2026-05-0{n}.1" for n in (2, 3, 4)], (
        "the third tells its changes against the second"
    )
    assert (root / "2026-05-04.1" / "objects.parquet").exists()
    assert validate(str(root / "2026-05-04.1")) == []


def test_the_credits_are_those_of_what_was_used(place: Any) -> None:
    def sources(**changes: Any) -> list[tuple[str, str]]:
        found = stages._sources(place.run.config.model_copy(update=changes))
        return [(one.title.split(" (")[-1].rstrip(")"), one.gives) for one in found]

    photos = ("Mapillary street-level imagery", "photos")
    assert sources(boundary="kommuneinfo") == [photos, ("NVDB", "roads"), ("Kartverket", "boundary")]
    assert sources(roads="overpass", boundary="overpass:8") == [photos, ("OpenStreetMap", "roads")]
    assert sources(roads="junctions", boundary="overpass") == [photos, ("Junctions", "roads"), ("OpenStreetMap", "boundary")]
    assert sources(roads="objects", boundary="area.geojson") == [photos]
    own = stages._sources(place.run.config.model_copy(update={"attribution": "me", "photos_licence": "MIT"}))[0]
    assert (own.attribution, own.spdx) == ("me", "MIT")


def test_the_question_shows_all_numbers_and_where_to_look(place: Any) -> None:
    stages.export(night(place, 1))
    believe(place, half_gone(place))
    run = night(place, 2)
    outcome = stages.check(run)
    until = place.objects()[0].last_seen_at
    subject, body = question(run, outcome, until, "http://127.0.0.1:8080/")
    assert subject.startswith("Town (town): publish? standing objects: ")
    assert all(reason in body for reason in outcome["reasons"])
    assert f"(http://127.0.0.1:8080/kryss/report/town/{run.folder.rsplit('/', 1)[1]})" in body
    assert "(http://127.0.0.1:8080/kryss/layer/town/2026-05-01.1/" in body
    assert "](" not in question(run, outcome, until, "")[1]


def test_a_question_stays_readable_whatever_a_class_is_called(place: Any) -> None:
    until = place.objects()[0].last_seen_at
    hostile = [f"standing `<script>alert(1)</script>\n# {'x ' * 5000}", *(f"standing class-{n}: 0, last 50" for n in range(60))]
    subject, body = question(place.run, {"reasons": hostile, "against": ["2026-05-01.1"]}, until, "")
    assert len(subject) < 400
    assert "\n" not in subject
    assert len(body) < 5000
    assert "\n# " not in body
    assert "- `standing '<script>" in body, "in a code span it is text"
    assert "and 36 more, in the report" in body


@pytest.mark.parametrize(
    ("answer", "by", "told", "missing"),
    [
        ("approved", "ada", "approved by ada at ", ["export"]),
        ("rejected", "ada", "rejected by ada at ", []),
        ("unanswered", None, "nobody answered by ", ["export"]),
    ],
)
def test_the_report_says_what_became_of_the_question(
    place: Any, answer: Any, by: str | None, told: str, missing: list[str]
) -> None:
    stages.export(night(place, 1))
    believe(place, half_gone(place))
    run = night(place, 2)
    stages.check(run)
    before = report.collect(run)
    assert before["held_back"]
    assert "it waits for approval" in report.table(before)
    report.keep_answer(run, answer, by)
    summary = report.collect(run)
    assert [name for name in summary["missing"] if name == "export"] == missing
    assert summary["approval"]["answer"] == answer
    text = report.table(summary)
    assert told in text
    assert "implausible against release 2026-05-01.1" in text
    assert summary["check"]["reasons"][0] in text


def test_an_answer_is_none_to_what_is_found_or_asked_later(place: Any) -> None:
    """Somebody rejects, mends the roads, and clears the run's check: now the export has to be there."""
    stages.export(night(place, 1))
    objects = place.objects()
    believe(place, half_gone(place))
    run = night(place, 2)
    stages.check(run)
    report.keep_answer(run, "rejected", "ada")
    report.forget_answer(run)
    assert report.collect(run)["approval"] is None, "it is asked again"
    report.keep_answer(run, "rejected", "ada")
    assert "export" not in report.collect(run)["missing"]
    time.sleep(0.01)
    believe(place, objects)
    assert stages.check(run)["reasons"] == []
    summary = report.collect(run)
    assert summary["approval"] is None
    assert "export" in summary["missing"]


def test_a_stage_that_fails_the_second_time_is_not_told_by_what_the_first_did(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task of a run that ended well is cleared: unless the report noticed, the run would end well again."""
    run = night(place, 1)
    stages.check(run)
    stages.export(run)
    assert not {"check", "export"} & set(report.collect(run)["missing"])

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stages, "publish", full)
    with pytest.raises(OSError, match="No space left"):
        stages.export(run)
    summary = report.collect(run)
    assert "export" in summary["missing"] and "check" not in summary["missing"]
    assert summary["release"] is None


@pytest.mark.parametrize("given", ["by position", "by name"])
def test_of_a_shard_only_its_own_measurement_goes(place: Any, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    run, key = place.looked_at("shards", place.streets.images[:120])
    shards = [part["shard"] for part in stages.plan(run, key)["shards"]]
    for shard in shards:
        run.state.write_json(f"{run.folder}/fetch-{shard}.json", {"stage": "fetch", "shard": shard})

    def unreachable(*_: Any) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(stages, "client_for", unreachable)
    with pytest.raises(ConnectionRefusedError):
        stages.fetch(run, shards[0]) if given == "by position" else stages.fetch(run, shard=shards[0])
    kept = [name.rsplit("/", 1)[1] for name in run.state.names(run.folder) if "/fetch-" in name]
    assert len(shards) > 1 and kept == [f"fetch-{shard}.json" for shard in shards[1:]]


def test_shards_of_an_earlier_plan_of_the_run_count_for_nothing(place: Any) -> None:
    """A run is cleared from its first task on, and finds other photos than the first time."""
    run, key = place.looked_at("cleared", place.streets.images[:120])
    now = [part["shard"] for part in stages.plan(run, key)["shards"]]
    told = {"seconds": 1.0, "began_at": "2026-05-04T02:00:00.000Z", "ended_at": "2026-05-04T02:00:01.000Z"}
    for shard in ["earlier-0000", "earlier-0001", *now[1:]]:
        run.state.write_json(f"{run.folder}/detect-{shard}.json", {"stage": "detect", "shard": shard, "detections": 7, **told})
    summary = report.collect(run)
    assert summary["detections"] == 7 * len(now[1:]) > 0
    assert "detect" in summary["missing"]


def test_a_report_knows_when_its_run_was(place: Any) -> None:
    run = night(place, 1)
    stages.check(run)
    stages.export(run)
    summary = report.collect(run)
    assert summary["release_date"] == "2026-05-01"
    assert summary["began_at"] <= summary["ended_at"]
    assert len(summary["ended_at"]) == len("2026-05-01T02:03:04Z")
    assert summary["wall_seconds"]["export"] >= summary["seconds"]["export"] - 0.2


def test_an_empty_municipality_publishes_an_empty_layer(install: Callable[[str], Any]) -> None:
    place = install("empty")
    with place.store.transaction(place.run.code) as tx:
        tx.upsert_municipality(stages.municipality(place.run))
    run = night(place, 1)
    assert stages.check(run)["reasons"] == []
    assert stages.export(run)["release"] == "2026-05-01.1"
    assert validate(str(release(place, "2026-05-01.1"))) == []
    assert stages.check(night(place, 2))["reasons"] == []
