"""The twelve questions of ``sql/examples``, asked of the town as an analyst: each answer is what the town's truth says."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

EXAMPLES = Path(__file__).resolve().parents[2] / "sql" / "examples"


@pytest.fixture(scope="module")
def analyst_url(town: Any) -> URL:
    return make_url(town.settings.database_url.get_secret_value()).update_query_dict({"options": "-crole=kryss_analyst"})


@pytest.fixture(scope="module")
def ask(analyst_url: URL) -> Callable[[str], list[Any]]:
    """The rows that an example gives to an analyst."""
    engine = create_engine(analyst_url.set(drivername="postgresql+psycopg2"), poolclass=NullPool)

    def run(number: str) -> list[Any]:
        (path,) = EXAMPLES.glob(f"{number}_*.sql")
        with engine.connect() as connection:
            return list(connection.execute(text(path.read_text("utf-8").replace(":", "\\:").replace("\\:\\:", "::"))))

    return run


@pytest.fixture(scope="module")
def truth(town: Any) -> list[dict[str, Any]]:
    return [feature["properties"] for feature in town.area.truth["features"]]


def classes(things: list[dict[str, Any]], **wanted: Any) -> set[str]:
    return {thing["class"] for thing in things if all(thing[key] == value for key, value in wanted.items())}


def test_there_are_twelve_and_each_begins_with_its_question() -> None:
    paths = sorted(EXAMPLES.glob("*.sql"))
    assert [path.name[:3] for path in paths] == [f"{number:02d}_" for number in range(1, 13)]
    for path in paths:
        first = path.read_text("utf-8").splitlines()[0]
        assert first.startswith("-- ") and "?" in first, path.name


def test_01_what_stands_in_a_box(ask, truth) -> None:
    found = {row.class_name for row in ask("01")}
    standing = classes(truth, to_epoch=None)
    assert len(found & standing) >= 0.75 * len(standing)


def test_02_what_was_believed_of_a_day_then_and_now(ask, town, truth) -> None:
    rows = ask("02")
    assert {row.release for row in rows} == {town.reports[0]["release"]}
    assert all(row.valid_at < town.area.epochs[0] for row in rows)
    assert {row.class_name for row in rows if row.believed_then} >= classes(truth, to_epoch=1)


def test_03_what_was_learned_and_why(ask, town) -> None:
    rows = ask("03")
    assert {row.release for row in rows} == {town.reports[-1]["release"]}
    learned = {row.change: row for row in rows}
    assert learned["ended"].objects >= 1 and learned["added"].objects >= 1
    assert {row.reason for row in rows} <= {"street", "evidence"}


def test_04_what_came_and_went(ask, town, truth) -> None:
    rows = ask("04")
    went = [row for row in rows if row.event == "went"]
    assert {row.class_name for row in went} >= classes(truth, to_epoch=1)
    for row in went:
        assert row.not_before < town.area.epochs[0] < row.not_after < town.area.epochs[1]


def test_05_the_photos_behind_an_object(ask, town) -> None:
    rows = ask("05")
    assert len(rows) >= 5
    known = {f"https://www.mapillary.com/app/?pKey={image['id']}" for image in town.area.images}
    assert {row.link for row in rows} <= known
    assert all(0 < row.range_m < 100 and row.class_name == row.read_as for row in rows)


def test_06_why_an_object_ended(ask, truth) -> None:
    rows = ask("06")
    assert {row.class_name for row in rows} >= classes(truth, to_epoch=1)
    assert all(row.captured_at >= row.missed_first_at > row.last_seen_at and row.distance_m < 80 for row in rows)


def test_07_where_nobody_looked(ask) -> None:
    rows = ask("07")
    assert sum(row.objects for row in rows) == len(ask("01"))
    assert [row.looks > 0 for row in rows] == sorted(row.looks > 0 for row in rows)
    assert any(row.looks and row.drives and row.days_since_look is not None for row in rows)


def test_08_what_stands_at_each_junction(ask, truth) -> None:
    rows = ask("08")
    assert {row.intersection_id[:5] for row in rows} == {"nvdb:"}
    assert "object--traffic-light--general-upright" in {row.class_name for row in rows}
    assert all(row.looks > 0 and row.last_look_at is not None for row in rows)


def test_09_what_to_distrust(ask) -> None:
    def doubted(row: Any) -> bool:
        return row.status == "unconfirmed" or row.error_radius_m > 5 or row.standing_probability < 0.9

    assert sorted(row.geom for row in ask("09")) == sorted(row.geom for row in ask("01") if doubted(row))


def test_10_the_history_of_an_object(ask) -> None:
    rows = ask("10")
    assert len(rows) >= 2
    assert [row.known_to for row in rows] == [*(row.known_from for row in rows[1:]), None]
    assert all(row.code_version for row in rows)


def test_11_what_replaced_what(ask, truth) -> None:
    assert any(row.is_its_replacement for row in ask("11"))


def test_12_where_numbers_come_from(ask, town) -> None:
    rows = ask("12")
    assert sum(row.sightings for row in rows) >= sum(row.in_objects for row in rows) > 0
    assert all(row.median_range_m > 0 and row.method and row.model_key for row in rows)


@pytest.mark.skipif(not shutil.which("psql"), reason="no psql here")
def test_psql_runs_them_all_as_an_analyst(analyst_url) -> None:
    url = analyst_url.render_as_string(hide_password=False)
    for path in sorted(EXAMPLES.glob("*.sql")):
        command = ["psql", url, "--csv", "-X", "-v", "ON_ERROR_STOP=1", "-f", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        header, *rows = csv.reader(io.StringIO(done.stdout))
        assert len(header) > 4
        assert rows or path.name[:2] == "09", path.name
    refused = subprocess.run(["psql", url, "-X", "-c", "DELETE FROM kryss.release"], capture_output=True, text=True, check=False)
    assert "permission denied for table release" in refused.stderr
    for name in ("object_now", "object_version"):
        command = ["psql", url, "-X", "-P", "pager=off", "-c", f"\\d+ kryss.{name}"]
        described = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "Probability that it still stands, 0 to 1" in described.stdout
