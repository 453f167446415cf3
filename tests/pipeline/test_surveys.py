"""A survey into the database, through the command that a person types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from kryss.cli.__main__ import main
from kryss.config import ConfigError, MunicipalityConfig, Settings
from kryss.history.surveys import SurveyError
from kryss.model import Image, Municipality
from kryss.pipeline import stages
from kryss.pipeline.surveys import Place, Taken, take_survey

DUBLIN = Path(__file__).parents[3] / "shared" / "data" / "dublin-lights-2015" / "lights.csv"
EAST, NORTH = 1 / 66_600, 1 / 111_300
CROSSINGS = [(0, 0), (150, 0), (150, 140)]
CORNERS = [(x, y) for east, north in CROSSINGS for x, y in [(east - 9, north - 9), (east + 9, north - 9), (east, north + 12)]]


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings.from_env({"KRYSS_DATABASE_URL": database_url})


def table(path: Path, places: list[tuple[float, float]], *others: str) -> Path:
    rows = [f"{53.34 + y * NORTH:.9f},{-6.25 + x * EAST:.9f}" for x, y in places]
    path.write_text("\n".join(["lat,lon", *rows, *others]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def take(store: Any, settings: Settings, tmp_path: Path) -> Callable[..., Taken]:
    def run(year: int, places: list[tuple[float, float]], *others: str, code: str = "d", **options: Any) -> Taken:
        place = Place(code, "Dublin", "IE", options.pop("config", None))
        return take_survey(store, settings, place, table(tmp_path / f"{year}.csv", places, *others), date(year, 6, 1), **options)

    return run


def test_first_survey_makes_objects_and_their_junctions(take: Callable[..., Taken], store: Any) -> None:
    taken = take(2015, [*CORNERS, (800, 800)], "nan,3")
    assert (taken.outcome, taken.new, taken.came, taken.objects) == ("new", 10, 0, 10)
    assert (taken.junctions, taken.assigned, dict(taken.survey.rejected)) == (3, 9, {12: "lat or lon is no number"})
    with store.snapshot() as reader:
        junctions = reader.intersections("d")
        lone = {one.id for one in reader.objects("d")} - reader.assignments("d").keys()
    assert [len(one.members) for one in junctions] == [3, 3, 3] and len(lone) == 1
    assert all(one.area_method == "square" and one.source == "lights" for one in junctions)


def test_second_survey_tells_what_came_and_went_and_the_third_time_nothing(take: Callable[..., Taken], store: Any) -> None:
    take(2015, CORNERS)
    with store.snapshot() as reader:
        known = {one.id for one in reader.intersections("d")}
    moved = [(x + 1.0, y - 0.5) for x, y in CORNERS[1:]]
    taken = take(2017, [*moved, (5, -20)])
    assert (taken.same, taken.new, taken.came, taken.gone, taken.withdrawn) == (8, 1, 1, 1, 0)
    assert (taken.junctions, taken.new_junctions, taken.lost_junctions) == (3, 0, 0)
    with store.snapshot() as reader:
        assert {one.id for one in reader.intersections("d")} == known
        reasons = sorted(history[-1].reason for history in reader.object_history("d").values())
        summary = reader.summary("d")
    assert reasons == ["evidence"] * 8 + ["street"] * 2
    again = take(2017, [*moved, (5, -20)])
    assert (again.outcome, again.same, again.new, again.gone) == ("unchanged", 9, 0, 0)
    with store.snapshot() as reader:
        assert reader.summary("d") == summary


def test_order_of_loading_does_not_matter(take: Callable[..., Taken], store: Any) -> None:
    def told(code: str) -> Any:
        with store.snapshot() as reader:
            objects, junctions = reader.objects(code), reader.intersections(code)
            town = reader.municipality(code)
        lives = sorted((one.evidence, one.lon, one.lat, one.status, str(one.ended_at), str(one.began_after)) for one in objects)
        return lives, sorted((one.lon, one.lat, len(one.members), one.area) for one in junctions), town.boundary

    later = [*CORNERS[:-1], (5, -20), (300, 300), (300, 310)]
    for code, years in (("d", (2015, 2017)), ("e", (2017, 2015))):
        for year in years:
            take(year, CORNERS if year == 2015 else later, code=code)
    assert told("d") == told("e")


def test_municipality_with_photos_takes_no_survey(take: Callable[..., Taken], store: Any) -> None:
    ring = [[-6.3, 53.3], [-6.2, 53.3], [-6.2, 53.4], [-6.3, 53.4], [-6.3, 53.3]]
    with store.transaction("d") as tx:
        tx.upsert_municipality(Municipality("d", "Dublin", "IE", {"type": "Polygon", "coordinates": [ring]}))
        tx.load(images=[Image("1", "s", datetime(2020, 1, 1, tzinfo=UTC), 10, 10, None, None)])
    with pytest.raises(SurveyError, match="has photos"):
        take(2015, CORNERS)


def test_configured_municipality_has_its_boundary_and_its_area(take: Callable[..., Taken], tmp_path: Path, store: Any) -> None:
    west, east = -6.25 - 50 * EAST, -6.25 + 50 * EAST
    ring = [[west, 53.33], [east, 53.33], [east, 53.35], [west, 53.35], [west, 53.33]]
    path = tmp_path / "boundary.geojson"
    path.write_text(f'{{"type": "Polygon", "coordinates": [{ring}]}}')
    config = MunicipalityConfig(code="d", name="Dublin", country="IE", roads="objects", boundary=str(path))
    taken = take(2015, CORNERS, config=config)
    assert (taken.objects, taken.junctions) == (3, 1)
    assert {reason for _, reason in taken.survey.rejected} == {"lies outside the municipality"}


def test_command_asks_for_what_it_cannot_know(tmp_path: Path, database_url: str, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("KRYSS_DATABASE_URL", database_url)
    file = str(table(tmp_path / "lights.csv", CORNERS))
    assert main(["survey", file, "--code", "dublin", "--date", "2015-06-01"]) == 1
    assert "say --name NAME --country CC" in capsys.readouterr().err
    assert main(["survey", file, "--code", "dublin", "--date", "2015-06-01", "--name", "Dublin", "--country", "ie"]) == 1
    assert "country 'ie'" in capsys.readouterr().err
    assert main(["survey", file, "--code", "dublin", "--date", "2015-06-01", "--name", "Dublin", "--country", "IE"]) == 0
    assert "junctions 3: 3 new" in capsys.readouterr().out
    assert main(["survey", file, "--code", "dublin", "--date", "2015-06-01"]) == 0
    assert "nothing changed" in capsys.readouterr().out
    assert main(["survey", str(tmp_path / "none.csv"), "--code", "dublin", "--date", "2015-06-01"]) == 1


def test_photos_of_a_surveyed_municipality_are_refused_and_nothing_is_lost(install: Any, streets: Any, tmp_path: Path) -> None:
    there = install("surveyed")
    file = tmp_path / "lights.csv"
    file.write_text("lat,lon\n63.4,10.4\n63.4001,10.4001\n")
    take_survey(there.store, there.run.settings, Place("town", "Town", "NO", there.run.config), file, date(2015, 6, 1))
    before = there.objects()
    with pytest.raises(ConfigError, match="town has surveys"):
        there.night("first", streets.images)
    assert there.objects() == before and len(before) == 2


def test_roads_of_objects_are_where_lights_stand_together(install: Any, streets: Any) -> None:
    there = install("no-roads")
    there.night("first", streets.images)
    run = replace(there.run, config=there.run.config.model_copy(update={"roads": "objects"}))
    told = stages.roads(run)
    with there.store.snapshot() as reader:
        junctions = reader.intersections("town")
    assert told["junctions"]["new"] == len(junctions) > 0
    lights = {one.id for one in there.objects() if one.class_name.startswith("object--traffic-light")}
    assert all(lights.issuperset(one.members) and len(one.members) > 1 for one in junctions)
    assert stages.roads(run)["junctions"]["unchanged"] == len(junctions)


@pytest.mark.real
@pytest.mark.skipif(not DUBLIN.exists(), reason="the survey is not here")
def test_dublin_has_26_junctions(store: Any, settings: Settings) -> None:
    taken = take_survey(store, settings, Place("dublin", "Dublin", "IE"), DUBLIN, date(2015, 6, 1))
    assert (taken.objects, taken.junctions, taken.assigned) == (192, 26, 192)
    with store.snapshot() as reader:
        junctions = reader.intersections("dublin")
    sizes = sorted(len(one.members) for one in junctions)
    assert (sizes[0], sizes[-1], sum(sizes)) == (2, 16, 192)
