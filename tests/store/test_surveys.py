"""Surveys are kept as they were read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from kryss.model import Survey, SurveyedThing

THINGS = (
    SurveyedThing(2, "regulatory--stop--g1", 10.4, 63.4 + 1e-13, 12.5, "A\t1"),
    SurveyedThing(10, "object--traffic-light--general-upright", 10.41, 63.4),
)
SURVEY = Survey(
    "survey:2015-06-01:lights", "lights", datetime(2015, 6, 1, tzinfo=UTC), 0.5, True, THINGS, ((3, "is there twice"), (9, "é"))
)


def test_a_survey_comes_back_as_it_went_in(town) -> None:
    later = replace(SURVEY, id="survey:2017-06-01:lights", surveyed_at=datetime(2017, 6, 1, tzinfo=UTC), complete=False)
    with town.transaction("town") as tx:
        assert [tx.load_survey(later), tx.load_survey(SURVEY)] == ["new", "new"]
    with town.snapshot() as reader:
        assert reader.surveys("town") == [SURVEY, later]
        assert reader.surveys("elsewhere") == []


def test_an_equal_survey_writes_nothing_and_another_of_its_day_and_source_replaces_it(town, sql) -> None:
    def versions() -> list:
        return [
            tuple(row)
            for row in sql(
                "SELECT xmin::text, ctid::text FROM kryss.surveyed UNION ALL SELECT xmin::text, ctid::text FROM kryss.survey"
            )
        ]

    with town.transaction("town") as tx:
        tx.load_survey(SURVEY)
    before = versions()
    with town.transaction("town") as tx:
        assert tx.load_survey(SURVEY) == "unchanged"
    assert versions() == before
    shorter = replace(SURVEY, things=THINGS[1:], rejected=())
    with town.transaction("town") as tx:
        assert tx.load_survey(shorter) == "replaced"
        assert tx.surveys("town") == [shorter]
        assert tx.forget()["surveyed"] == 1
