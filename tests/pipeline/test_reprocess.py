"""Another model looks at known photos: what is believed is replaced, and the street has not changed. Real PostGIS, no photos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from kryss.demo.streets import Streets
from kryss.model import StreetObject
from kryss.pipeline import report, stages
from kryss.pipeline.report import FIRST

QUIET = dict.fromkeys(("new", "changed", "ended", "withdrawn"), 0)


def valid_time(objects: list[StreetObject]) -> dict[str, tuple[Any, ...]]:
    """By id, when each thing stood."""
    return {
        one.id: (one.began_after, one.first_seen_at, one.absences, one.last_seen_at, one.ended_at, one.status) for one in objects
    }


def test_a_reprocess_moves_system_time_and_not_valid_time(at_once: Any, streets: Streets, second_model: str) -> None:
    before = at_once.objects()
    outcome = at_once.night("reprocess", streets.images, model=second_model)
    after = at_once.objects()
    assert valid_time(after) == valid_time(before)
    assert {one.model_key for one in after} == {second_model}
    assert outcome["objects"]["changed"] == len(after) > 20
    assert outcome["reasons"] == {"model": len(after)}
    assert outcome["lineage"] == {}
    with at_once.store.snapshot() as known:
        history = known.object_history(at_once.run.code)
    assert all([version.object for version in history[one.id]] == [was, one] for was, one in zip(before, after, strict=True))
    again = at_once.night("again", streets.images, model=second_model)
    assert set(again["rows"].values()) == {0}
    assert {name: again["objects"][name] for name in QUIET} == QUIET


def test_half_a_reprocess_keeps_the_word_of_the_model_before_for_the_other_half(
    at_once: Any, streets: Streets, second_model: str
) -> None:
    before, first_half = at_once.objects(), streets.images[: len(streets.images) // 2]
    half = at_once.night("half", first_half, model=second_model)
    assert valid_time(at_once.objects()) == valid_time(before)
    assert half["lineage"] == {}
    assert set(half["reasons"]) == {"model"}
    by_model = {model: len(looks) for model, looks in looks_of(at_once).items()}
    assert by_model == {second_model: len(first_half), at_once.run.model_key: len(streets.images) - len(first_half)}
    at_once.night("rest", streets.images[len(first_half) :], model=second_model)
    assert valid_time(at_once.objects()) == valid_time(before)
    assert looks_of(at_once).keys() == {second_model}


def test_a_whole_reprocess_is_believed_as_if_no_other_model_had_ever_looked(
    install: Callable[[str], Any], at_once: Any, streets: Streets, second_model: str
) -> None:
    """The second model misses what the first had found in every fifth photo."""
    fifth = {image.id for image in streets.images[::5]}
    worse = replace(streets, detections=[one for one in streets.detections if one.image_id not in fifth])
    at_once.streets = worse
    for name, part in (("some", streets.images[100:]), ("others", streets.images[:100])):
        at_once.night(name, part, model=second_model)
    anew = install("anew")
    anew.streets = worse
    anew.night("night", streets.images, model=second_model)
    assert at_once.sightings() == anew.sightings()
    assert at_once.believed() == anew.believed()


def test_a_night_of_the_first_model_takes_a_reprocess_back(at_once: Any, streets: Streets, second_model: str) -> None:
    """The municipality still names it: a night with a new photo believes it again, of every photo that it has looked at."""
    believed, sightings = at_once.believed(), at_once.sightings()
    fifth = {image.id for image in streets.images[::5]}
    at_once.streets = replace(streets, detections=[one for one in streets.detections if one.image_id not in fifth])
    at_once.night("reprocess", streets.images, model=second_model)
    assert at_once.sightings() != sightings
    at_once.streets = streets
    at_once.night("nightly", streets.images[:1])
    assert at_once.sightings() == sightings
    assert at_once.believed() == believed


def test_known_photos_are_chosen_by_day_and_by_what_the_model_has_not_seen(
    at_once: Any, streets: Streets, second_model: str
) -> None:
    days = sorted({image.captured_at.date() for image in streets.images})

    def chosen(**changes: Any) -> tuple[dict[str, Any], list[str]]:
        run = replace(at_once.run, kind="reprocess", **{"model": second_model, **changes})
        outcome = stages.known(run)
        return outcome, [image.id for image in stages._new_images(run, outcome["key"])]

    everything = [image.id for image in sorted(streets.images, key=lambda image: (image.captured_at, image.id))]
    outcome, ids = chosen()
    assert ids == everything
    assert (outcome["seen"], outcome["new"]) == (len(everything), len(everything))
    assert chosen()[0]["key"] == outcome["key"], "the same photos, the same work"
    assert chosen(model=None)[1] == [], "the first model has seen them all"
    assert len(chosen(model=None, force=True)[1]) == len(everything)
    on_first = [image.id for image in streets.images if image.captured_at.date() == days[0]]
    assert sorted(chosen(until=days[0])[1]) == sorted(on_first)
    assert sorted(chosen(since=days[0] + timedelta(days=1))[1] + on_first) == sorted(everything)
    assert chosen(since=date(2100, 1, 1))[1] == []
    done = chosen(limit=100)[1]
    assert done == everything[:100]
    at_once.night("part", [image for image in streets.images if image.id in done], model=second_model)
    assert chosen(limit=100)[1] == everything[100:200], "a reprocess goes on where it ended"


def test_the_report_of_a_reprocess_says_what_it_was(at_once: Any, streets: Streets, second_model: str) -> None:
    run, key = at_once.looked_at("reprocess", streets.images, model=second_model)
    run = replace(run, kind="reprocess")
    stages.known(run)
    stages.plan(run, key)
    stages.place(run, key)
    stages.merge(run, key)
    summary = report.collect(run)
    assert summary["model"] == second_model
    assert FIRST["refresh"] not in summary["missing"]
    assert f"to model {second_model}" in report.table(summary)
    assert "why, of all that is new:" in report.table(summary)


def looks_of(place: Any) -> dict[str, list[Any]]:
    with place.store.snapshot() as known:
        return known.effective_looks(place.run.code, None)


@pytest.mark.parametrize("name", ["since", "until"])
def test_days_are_days_of_capture_in_utc(at_once: Any, streets: Streets, name: str) -> None:
    image = streets.images[0]
    run = replace(at_once.run, **{name: image.captured_at.date()})
    assert stages._on_days(run, image)
    other = image.captured_at + timedelta(days=-1 if name == "since" else 1)
    assert not stages._on_days(run, replace(image, captured_at=other))
