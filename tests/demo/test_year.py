"""The simulated year keeps to its own truth, and the judge believes nobody."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from kryss.demo.streets.grid import CLASSES
from kryss.demo.year import QUIET_DAYS, Plan, Year, simulate
from kryss.demo.year.judge import Judgement, judge, precision_counts, recall_rows
from kryss.demo.year.lives import GAP_DAYS, MOVED_M, SHIFTED_M, day
from kryss.model import Absence, StreetObject

PLAN = Plan(seed=3, nights=10, blocks=1, drives=30, events=2, scaffolds=1)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def year() -> Year:
    return simulate(PLAN)


def boxes(year: Year) -> dict[int, list[tuple[datetime, str, int]]]:
    """By thing: capture time, image id and ordinal of its boxes, in time order."""
    captured = {image.id: image.captured_at for image in year.images}
    found = defaultdict(list)
    for (image_id, ordinal), thing in year.thing_of.items():
        found[thing].append((captured[image_id], image_id, ordinal))
    return {thing: sorted(rows) for thing, rows in found.items()}


def perfect(year: Year) -> dict[int, StreetObject]:
    """What somebody would believe who saw every change a day before and after it, and knew which box shows what."""
    ids = {thing: f"object-{thing}" for thing in boxes(year)}
    successors = {event.thing: event.other for event in year.truth.events if event.kind == "replaced"}
    found = {}
    for thing, rows in boxes(year).items():
        if thing < 0:
            continue
        lives = list(year.truth.lives_of(thing))
        kind = CLASSES[year.truth.objects.kind[thing]]
        begins, ends = lives[0].begins, lives[-1].ends
        gaps = [(a.ends, b.begins) for a, b in pairwise(lives) if a.ends != b.begins]
        found[thing] = StreetObject(
            *(ids[thing], kind, 10.4, 63.4, (1.0, 0.0, 1.0), 2.5),
            first_seen_at=begins + DAY if begins else rows[0][0],
            last_seen_at=ends - DAY if ends else rows[-1][0],
            status="ended" if ends else "standing",
            standing_probability=0.0 if ends else 1.0,
            ended_at=ends + DAY if ends else None,
            evidence=tuple((image_id, ordinal) for _, image_id, ordinal in rows),
            began_after=begins - DAY if begins else None,
            absences=tuple(Absence(gone - DAY, gone + DAY, back - DAY, back + DAY) for gone, back in gaps if gone and back),
            replaced_by=ids.get(successors.get(thing, -9)),
        )
    return found


def judged(year: Year, believed: dict[int, StreetObject], night: int = PLAN.nights - 1) -> Judgement:
    return judge(year, list(believed.values()), night)


def still(year: Year) -> int:
    """A thing that stands all year and has many boxes."""
    busy = {event.thing for event in year.truth.events} | {one.thing for one in year.truth.scaffolds}
    return max((thing for thing in boxes(year) if thing >= 0 and thing not in busy), key=lambda thing: len(boxes(year)[thing]))


def test_the_same_seed_makes_the_same_year_and_another_does_not(year: Year) -> None:
    assert simulate(PLAN).detections == year.detections
    assert simulate(replace(PLAN, seed=4)).truth.events != year.truth.events


def test_things_are_seen_only_while_they_stand_and_no_scaffold_hides_them(year: Year) -> None:
    seen = boxes(year)
    assert all(year.truth.stood(thing, at) for thing, rows in seen.items() if thing >= 0 for at, *_ in rows)
    for one in year.truth.scaffolds:
        assert not any(one.begins <= at < one.ends for at, *_ in seen.get(one.thing, ()))


def test_every_kind_of_event_happens_as_it_says(year: Year) -> None:
    truth = year.truth
    row_of = defaultdict(list)
    for row, life in enumerate(truth.lives):
        row_of[life.thing].append(row)
    assert {event.kind for event in truth.events} == {"came", "went", "replaced", "moved", "shifted", "returned"}
    for event in truth.events:
        instant = timedelta(seconds=1)
        stood = [truth.stood(event.thing, event.at - instant), truth.stood(event.thing, event.at)]
        assert stood == {"came": [False, True], "shifted": [True, True]}.get(event.kind, [True, False])
        before, after = row_of[event.thing][0], row_of[event.thing if event.other is None else event.other][-1]
        apart = abs(truth.objects.x[before] - truth.objects.x[after]) + abs(truth.objects.y[before] - truth.objects.y[after])
        assert apart == pytest.approx({"moved": MOVED_M, "shifted": SHIFTED_M}.get(event.kind, 0.0))
        assert (truth.objects.kind[before] != truth.objects.kind[after]) == (event.kind == "replaced")
        if event.back_at is not None:
            assert event.back_at - event.at >= timedelta(days=GAP_DAYS[0]) - instant
            assert truth.stood(event.thing, event.back_at)


def test_nobody_drives_in_a_quiet_district_and_some_drives_come_late(year: Year) -> None:
    first, last = (day(number) for number in QUIET_DAYS[0])
    middle = PLAN.grid.block_m * PLAN.blocks / 2
    south_west = [
        image
        for image in year.images
        for x, y in year.plan.grid.frame.to_xy(image.gps.lon, image.gps.lat)
        if x < middle - 20.0 and y < middle - 20.0
    ]
    assert south_west and not any(first <= image.captured_at < last for image in south_west)
    waited = [
        (year.night_date(night) - image.captured_at.date()).days
        for image in year.images
        if (night := year.night_of[image.sequence_id]) is not None
    ]
    assert min(waited) >= 0 and max(waited) > 20
    assert sum(len(year.arriving(night)) for night in range(PLAN.nights)) == len(waited)


def test_what_is_true_is_judged_right(year: Year) -> None:
    judgement = judged(year, perfect(year))
    assert judgement.claims and {one.verdict for one in judgement.claims} == {"right"}
    assert {one.kind for one in judgement.claims} == {"came", "went", "replaced", "returned"}
    (everything,) = (row for row in recall_rows(judgement.outcomes) if row.kind == "all")
    assert everything.observable > len(year.truth.events) / 2
    assert everything.found == everything.observable
    assert judgement.twins == 0


def test_an_end_of_something_that_stands_is_false(year: Year) -> None:
    believed, thing = perfect(year), still(year)
    at = boxes(year)[thing][2][0]
    believed[thing] = replace(believed[thing], status="ended", last_seen_at=at, ended_at=at + DAY)
    (wrong,) = judged(year, believed).wrong("false")
    assert (wrong.kind, wrong.thing, wrong.confirmed) == ("went", thing, True)


def test_a_beginning_of_something_that_stood_before_is_false(year: Year) -> None:
    believed, thing = perfect(year), still(year)
    believed[thing] = replace(believed[thing], began_after=believed[thing].first_seen_at - DAY)
    assert [one.kind for one in judged(year, believed).wrong("false")] == ["came"]


def test_an_absence_of_something_that_stood_is_false(year: Year) -> None:
    believed, thing = perfect(year), still(year)
    at = day(100.0)
    believed[thing] = replace(believed[thing], absences=(Absence(at, at + DAY, at + 2 * DAY, at + 3 * DAY),))
    assert [one.kind for one in judged(year, believed).wrong("false")] == ["returned"]


def test_an_end_outside_its_bracket_has_a_wrong_bracket_and_is_not_found(year: Year) -> None:
    (event, *_) = (one for one in year.truth.events if one.kind == "went" and one.thing in boxes(year))
    believed = perfect(year)
    one = believed[event.thing]
    believed[event.thing] = replace(one, last_seen_at=event.at + DAY, ended_at=event.at + 2 * DAY)
    judgement = judged(year, believed)
    assert [claim.thing for claim in judgement.wrong("wrong bracket")] == [event.thing]
    assert not any(outcome.found for outcome in judgement.outcomes if outcome.event == event)


def test_what_a_scaffold_hides_is_told_apart_from_a_false_end(year: Year) -> None:
    believed = perfect(year)
    (hidden,) = year.truth.scaffolds
    believed[hidden.thing] = replace(
        believed[hidden.thing], status="ended", last_seen_at=hidden.begins - DAY, ended_at=hidden.begins + DAY
    )
    judgement = judged(year, believed)
    assert [one.thing for one in judgement.wrong("hidden for months")] == [hidden.thing]
    assert not judgement.wrong("false")


def test_an_end_of_false_boxes_is_of_nothing(year: Year) -> None:
    believed = perfect(year)
    rows = boxes(year)[-1][:3]
    model = believed[still(year)]
    evidence = tuple((image_id, ordinal) for _, image_id, ordinal in rows)
    ghost = replace(model, id="ghost", evidence=evidence, status="ended", ended_at=model.last_seen_at + DAY)
    (claim,) = judge(year, [*believed.values(), ghost], PLAN.nights - 1).wrong("of nothing")
    assert claim.object_id == "ghost"
    assert precision_counts([claim])["went"] == {"of nothing": 1}


def test_a_thing_in_two_objects_has_a_twin(year: Year) -> None:
    believed, thing = perfect(year), still(year)
    one = believed[thing]
    halves = [replace(one, evidence=one.evidence[:-3]), replace(one, id="twin", evidence=one.evidence[-3:])]
    assert judge(year, halves, PLAN.nights - 1).twins == 1


def test_a_shift_of_a_metre_is_found_only_if_nothing_is_claimed_of_it(year: Year) -> None:
    (event, *_) = (one for one in year.truth.events if one.kind == "shifted")
    believed = perfect(year)

    def found() -> bool:
        return next(one.found for one in judged(year, believed).outcomes if one.event == event)

    assert found()
    one = believed[event.thing]
    believed[event.thing] = replace(one, status="ended", ended_at=one.last_seen_at + DAY)
    assert not found()


def test_an_event_is_observable_from_the_night_that_loads_enough_looks(year: Year) -> None:
    by_night = [sum(one.observable for one in judged(year, perfect(year), night).outcomes) for night in range(PLAN.nights)]
    assert by_night == sorted(by_night) and by_night[0] == 0 < by_night[-1]
