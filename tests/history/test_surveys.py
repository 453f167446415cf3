"""Surveys of lights and signs: rows are read, two surveys are laid on each other, and what came and went is told."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kryss.history.surveyed import believe_surveys, common_shift
from kryss.history.surveys import SurveyError, boundary_around, read_survey
from kryss.model import StreetObject, Survey, SurveyedThing

DUBLIN = Path(__file__).parents[3] / "shared" / "data" / "dublin-lights-2015" / "lights.csv"
LIGHT = "object--traffic-light--general-upright"
METRE = np.array([1 / 66_600, 1 / 111_300])
HERE = np.array([-6.25, 53.34])


def day(year: int) -> datetime:
    return datetime(year, 6, 1, tzinfo=UTC)


def survey(year: int, places: Iterable[tuple[float, float]], complete: bool = True, class_name: str = LIGHT) -> Survey:
    """Things at metres east and north."""
    things = [SurveyedThing(row, class_name, *(HERE + np.array(place) * METRE).tolist()) for row, place in enumerate(places, 2)]
    return Survey(f"survey:{day(year).date()}:{year}", str(year), day(year), 1.0, complete, tuple(things))


def lives(objects: Iterable[StreetObject]) -> list[tuple]:
    """What is believed but for the ids."""
    return sorted(
        (
            one.evidence,
            one.lon,
            one.lat,
            one.status,
            one.first_seen_at,
            one.last_seen_at,
            str(one.ended_at),
            str(one.began_after),
            one.absences,
        )
        for one in objects
    )


STREET = [
    (0.0, 0.0),
    (1.5, 0.0),
    (40.0, 3.0),
    (80.0, -3.0),
    (80.0, 12.0),
    (130.0, 0.0),
    (170.0, 9.0),
    (230.0, -4.0),
    (300.0, 20.0),
]


def test_one_survey_says_that_its_things_stand_and_no_more() -> None:
    told = believe_surveys([survey(2015, STREET)])
    assert len(told.objects) == len(STREET) and set(told.reasons.values()) == {"evidence"}
    for one in told.objects:
        assert (one.status, one.method, one.began_after, one.ended_at) == ("standing", "survey", None, None)
        assert one.error_radius_m == pytest.approx(2.448, abs=1e-3)


def test_thing_that_only_the_later_survey_lists_came_between_them() -> None:
    told = believe_surveys([survey(2015, STREET), survey(2017, [*STREET, (60.0, 0.0)])])
    (new,) = [one for one in told.objects if one.first_seen_at == day(2017)]
    assert (new.began_after, new.status) == (day(2015), "standing") and len(told.objects) == len(STREET) + 1


def test_thing_beyond_the_earlier_survey_is_not_said_to_have_come() -> None:
    told = believe_surveys([survey(2015, STREET), survey(2017, [*STREET, (900.0, 0.0)])])
    (new,) = [one for one in told.objects if one.first_seen_at == day(2017)]
    assert (new.began_after, told.reasons[new.id]) == (None, "evidence")


def test_thing_that_was_badly_measured_or_moved_a_little_is_the_same() -> None:
    many = [(20.0 * n, 0.0) for n in range(30)]
    told = believe_surveys([survey(2015, many), survey(2017, [*many[:-1], (20.0 * 29, 4.5)])])
    assert len(told.objects) == len(many) and {one.status for one in told.objects} == {"standing"}


def test_thing_that_the_later_survey_lacks_went_between_them() -> None:
    told = believe_surveys([survey(2015, STREET), survey(2017, STREET[:-1])])
    (gone,) = [one for one in told.objects if one.status == "ended"]
    assert (gone.last_seen_at, gone.ended_at, gone.misses) == (day(2015), day(2017), ("survey:2017-06-01:2017",))
    assert gone.standing_probability < 0.05


def test_of_a_partial_survey_no_absence_follows() -> None:
    told = believe_surveys(
        [survey(2015, STREET[:4], complete=False), survey(2017, STREET), survey(2018, STREET[:2], complete=False)]
    )
    assert {(one.began_after, one.ended_at) for one in told.objects} == {(None, None)}


def test_survey_of_one_class_says_nothing_of_another() -> None:
    told = believe_surveys([survey(2015, STREET), survey(2017, STREET, class_name="regulatory--stop--g1")])
    assert len(told.objects) == 2 * len(STREET) and all(one.status == "standing" for one in told.objects)


def test_thing_that_one_survey_overlooked_was_away_between() -> None:
    told = believe_surveys([survey(2015, STREET), survey(2016, STREET[1:]), survey(2017, STREET)])
    (back,) = [one for one in told.objects if one.absences]
    (absence,) = back.absences
    assert [absence.gone_after, absence.gone_by, absence.back_after, absence.back_by] == [
        day(2015),
        day(2016),
        day(2016),
        day(2017),
    ]
    assert back.status == "standing" and len(told.objects) == len(STREET)


def test_lights_a_metre_apart_are_not_mistaken_for_each_other() -> None:
    before = [(20.0 * n, side) for n in range(15) for side in (0.0, 1.0)]
    after = [(x + 3.0, y - 2.0) for x, y in before]
    told = believe_surveys([survey(2015, before), survey(2017, after)])
    rows = [dict(one.evidence) for one in told.objects]
    assert len(rows) == 30
    assert all(row["survey:2015-06-01:2015"] == row["survey:2017-06-01:2017"] for row in rows)


def test_what_all_things_moved_by_is_told() -> None:
    rng = np.random.default_rng(2)
    before = rng.uniform(0, 500, (60, 2))
    after = before[10:] + np.array([4.0, -5.0]) + rng.normal(0, 0.5, (50, 2))
    kinds = np.full(60, LIGHT, dtype=object)
    assert common_shift(before, kinds, after, kinds[10:], 1.4) == pytest.approx((4.0, -5.0), abs=0.4)


def test_few_things_tell_no_shift() -> None:
    few = np.array([(0.0, 0.0), (50.0, 0.0)])
    kinds = np.full(2, LIGHT, dtype=object)
    assert common_shift(few, kinds, few + 2.0, kinds, 1.4).tolist() == [0.0, 0.0]


spots = st.lists(st.tuples(st.floats(0, 200), st.floats(0, 60)), min_size=1, max_size=14)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(2010, 2020), spots, st.booleans()), min_size=1, max_size=4, unique_by=lambda one: one[0]),
    st.data(),
)
def test_order_of_loading_gives_ids_and_nothing_else(given_: list, data: st.DataObject) -> None:
    surveys = [survey(year, places, complete) for year, places, complete in given_]
    at_once = believe_surveys(surveys)
    order = data.draw(st.permutations(surveys))
    known: list[StreetObject] = []
    withdrawn: dict[str, StreetObject] = {}
    ever: set[str] = set()
    for count in range(1, len(order) + 1):
        told = believe_surveys(order[:count], known, list(withdrawn.values()), ever)
        ids = [one.id for one in told.objects]
        assert len(set(ids)) == len(ids)
        withdrawn = {one.id: one for one in [*withdrawn.values(), *known] if one.id not in ids}
        gone = {event.object_id for event in told.lineage if event.relation != "split_from"}
        assert gone == {one.id for one in known} - set(ids)
        ever |= set(ids)
        known = told.objects
    assert lives(known) == lives(at_once.objects)
    again = believe_surveys(surveys, known, list(withdrawn.values()), ever)
    assert again.objects == known and not again.reasons and not again.lineage


def test_rows_that_are_numbered_anew_keep_their_ids_by_place() -> None:
    first = survey(2015, STREET)
    known = believe_surveys([first]).objects
    corrected = survey(2015, [(20.0, 5.0), *STREET])
    told = believe_surveys([corrected], known, replaced=[first.id])
    at = {(one.lon, one.lat): one.id for one in known}
    assert sum(at.get((one.lon, one.lat)) == one.id for one in told.objects) == len(STREET) == len(told.objects) - 1


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_bad_rows_are_rejected_with_their_reason(tmp_path: Path) -> None:
    rows = ["53.34,-6.25", "nan,-6.25", "53.341,", "-6.251,53.341", "63.4,10.4", "53.34,-6.25", "91,200", "53.342,-6.252"]
    found = read_survey(write(tmp_path / "lights.csv", "lat,lon", *rows), date(2015, 6, 1))
    assert [thing.line for thing in found.things] == [2, 9]
    assert dict(found.rejected) == {
        3: "lat or lon is no number",
        4: "lat or lon is no number",
        5: "lat and lon are swapped",
        6: "lies far from all others",
        7: "is there twice",
        8: "lat and lon are no place",
    }


def test_rows_outside_a_known_municipality_are_rejected(tmp_path: Path) -> None:
    ring = [[-6.3, 53.3], [-6.2, 53.3], [-6.2, 53.4], [-6.3, 53.4], [-6.3, 53.3]]
    rows = ["53.34,-6.25,,370,a", "53.5,-6.25,,,b", "53.35,-6.25,,,a"]
    table = write(tmp_path / "lights.csv", "LAT , Longitude,class,facing,id", *rows)
    found = read_survey(table, date(2015, 6, 1), boundary={"type": "Polygon", "coordinates": [ring]})
    assert [(thing.class_name, thing.facing_deg, thing.name) for thing in found.things] == [(LIGHT, 10.0, "a")]
    assert dict(found.rejected) == {3: "lies outside the municipality", 4: "is there twice"}


@pytest.mark.parametrize(
    "lines, told", [(["x,y", "1,2"], "no column lat and lon"), (["lat,lon", "a,b"], "no row can be used"), ([], "no column")]
)
def test_file_that_is_no_survey_says_why(tmp_path: Path, lines: list[str], told: str) -> None:
    with pytest.raises(SurveyError, match=told):
        read_survey(write(tmp_path / "lights.csv", *lines), date(2015, 6, 1))
    with pytest.raises(SurveyError, match="cannot be read"):
        read_survey(tmp_path / "none.csv", date(2015, 6, 1))


def test_municipality_of_surveys_holds_all_things_whatever_their_order() -> None:
    a, b = survey(2015, STREET), survey(2017, [(500.0, 300.0)])
    assert boundary_around([a, b]) == boundary_around([b, a])


def second_survey(first: Survey, rng: np.random.Generator) -> tuple[Survey, set[int], set[int]]:
    """Made up: all moved by 1 m together and 0.5 m each, two gone, 20 new near known ones. Rows of both in the new one."""
    xy = np.array([(one.lon, one.lat) for one in first.things])
    gone = set(rng.choice(len(xy), 2, replace=False).tolist())
    kept = np.array([row for row in range(len(xy)) if row not in gone])
    angle = rng.uniform(0, 2 * np.pi)
    moved = xy[kept] + (np.array([np.sin(angle), np.cos(angle)]) + rng.normal(0, 0.5, (len(kept), 2))) * METRE
    new: list[np.ndarray] = []
    while len(new) < 20:
        place = xy[rng.integers(len(xy))] + rng.uniform(-15, 15, 2) * METRE
        if np.hypot(*((np.vstack([xy, *new]) - place) / METRE).T).min() > 5.0:
            new.append(place)
    rows = rng.permutation(len(moved) + 20)
    places = np.vstack([moved, new])[rows]
    things = tuple(SurveyedThing(line, LIGHT, *place) for line, place in enumerate(places.tolist(), 2))
    lines_of_new = {int(line) + 2 for line in np.flatnonzero(rows >= len(moved))}
    return (
        Survey("survey:2017-06-01:2017", "2017", day(2017), 1.0, True, things),
        lines_of_new,
        {first.things[row].line for row in gone},
    )


@pytest.mark.real
@pytest.mark.skipif(not DUBLIN.exists(), reason="the survey is not here")
@pytest.mark.parametrize("seed", range(5))
def test_dublin_again_two_years_later(seed: int) -> None:
    first = read_survey(DUBLIN, date(2015, 6, 1))
    second, new, gone = second_survey(first, np.random.default_rng(seed))
    assert len(first.things) == 192 and len(second.things) == 210
    in_turn = believe_surveys([second, first], believe_surveys([first]).objects)
    assert len(in_turn.objects) == 212
    told_new = {one.evidence[0][1] for one in in_turn.objects if one.began_after == day(2015)}
    told_gone = {one.evidence[0][1] for one in in_turn.objects if one.ended_at == day(2017)}
    assert (told_new, told_gone) == (new, gone)
    ids = {one.id for one in believe_surveys([first]).objects}
    assert ids < {one.id for one in in_turn.objects}
    assert sorted(in_turn.reasons.values()).count("street") == 22
    turned_round = believe_surveys([first, second], believe_surveys([second]).objects)
    assert lives(turned_round.objects) == lives(in_turn.objects)
