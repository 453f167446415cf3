"""Which photos Mapillary has deleted: only its own word counts, some are asked for every night, and an outage is no deletion."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kryss.cli.demo import municipality_of
from kryss.config import MunicipalityConfig, Settings
from kryss.demo.area import load_area
from kryss.demo.playback.play import Playback
from kryss.imagery import parse_image
from kryss.model import PhotoResult
from kryss.pipeline import stages
from kryss.pipeline.removal import REMOVALS
from kryss.pipeline.run import Run
from kryss.store import open_store

DELETED = ("1003", "1041", "1051")
DELETED_AT = datetime(2026, 6, 1, tzinfo=UTC)
AFTER = DELETED_AT + timedelta(days=1)
MODEL = "kryss-street-lite0@2.1"


class Place:
    """An installation that knows every photo of the area, and can be asked to discover."""

    def __init__(self, playback: Playback, run: Run) -> None:
        self.playback, self.run = playback, run

    def discover(self, now: datetime = AFTER) -> tuple[dict[str, Any], dict[str, str]]:
        """Its outcome, and which photos must go and why."""
        self.playback.set_now(now)
        outcome = stages.discover(self.run)
        return outcome, self.run.state.read_json(f"work/{self.run.code}/{outcome['key']}/{REMOVALS}")

    def asked(self) -> list[str]:
        """Photos that were there when they were asked for, by when that was."""
        at = self.run.state.read_json(f"missing/{self.run.code}.json")
        return sorted(at, key=lambda image_id: (at[image_id], image_id))


@pytest.fixture
def install(photo_areas: ModuleType, database_url: str, tmp_path: Path) -> Iterator[Callable[..., Place]]:
    folder = photo_areas.write_area(tmp_path / "area")
    lines = []
    for image in photo_areas.IMAGES:
        at = {"deleted_at": int(DELETED_AT.timestamp() * 1000)} if image["id"] in DELETED else {}
        lines.append(json.dumps(image | at))
    (folder / "images.jsonl").write_text("\n".join(lines) + "\n")
    area = load_area(folder)
    with Playback(area, AFTER) as playback:

        def make(**changes: Any) -> Place:
            entry = municipality_of(area, dict(playback.urls), None) | changes
            config = MunicipalityConfig.model_validate(entry)
            env = {"KRYSS_HOME": str(tmp_path / "home"), "KRYSS_DATABASE_URL": database_url, "KRYSS_RETRY_TIME_SCALE": "0.001"}
            place = Place(playback, Run(config, Settings.from_env(env), "night", AFTER.date()))
            images = [parse_image(image) for image in photo_areas.IMAGES]
            with open_store(database_url).transaction(config.code) as tx:
                tx.upsert_municipality(stages.municipality(place.run))
                tx.load(model_key=place.run.model_key, images=images, results=[PhotoResult(i.id, "ok") for i in images])
            return place

        yield make


def test_a_photo_that_is_no_longer_listed_and_no_longer_there_must_go(install: Callable[..., Place]) -> None:
    place = install()
    before, none = place.discover(DELETED_AT - timedelta(days=1))
    assert none == {}
    # Three of the known photos are of the next village, and have never been listed.
    assert before["not_listed"] == {"missing": 3, "asked": 3, "gone": 0, "unanswered": 0}
    outcome, removals = place.discover()
    assert removals == dict.fromkeys(DELETED, "deleted")
    assert outcome["not_listed"] == {"missing": 6, "asked": 6, "gone": 3, "unanswered": 0}
    assert outcome["new"] == 0
    assert outcome["key"] != before["key"]


def test_a_photo_that_is_not_listed_but_there_stays(install: Callable[..., Place]) -> None:
    place = install()
    place.discover()
    assert place.asked() == ["1080", "1081", "1082"]


def test_a_few_are_asked_for_a_night_those_not_asked_for_the_longest_first(install: Callable[..., Place]) -> None:
    place = install(deletion_checks=2)
    found = []
    for _ in range(3):
        outcome, removals = place.discover(DELETED_AT - timedelta(days=1))
        assert outcome["not_listed"]["asked"] == 2
        found.append(removals)
    assert found == [{}, {}, {}]
    assert set(place.asked()) == {"1080", "1081", "1082"}
    nights = [place.discover()[1] for _ in range(2)]
    assert nights[0] == dict.fromkeys(DELETED[:2], "deleted")
    assert nights[1] == nights[0], "until they are removed, a night that is run again finds the same"


def test_none_are_asked_for_where_the_municipality_wants_none(install: Callable[..., Place]) -> None:
    outcome, removals = install(deletion_checks=0).discover()
    assert removals == {}
    assert outcome["not_listed"]["asked"] == 0


@pytest.mark.parametrize("fault", ["unavailable", "temporarily-unavailable", "unknown-error", "html-under-200", "dropped"])
def test_an_outage_is_no_deletion(install: Callable[..., Place], fault: str) -> None:
    place = install()
    place.playback.faults.order(fault, server="mapillary-graph", path=r"^/\d+\?fields=id$", count=-1)
    outcome, removals = place.discover()
    assert removals == {}
    assert outcome["not_listed"]["unanswered"] > 0
    place.playback.faults.clear()
    assert place.discover()[1] == dict.fromkeys(DELETED, "deleted"), "the next night asks again"


def test_a_service_that_knows_none_of_its_photos_is_not_believed(install: Callable[..., Place]) -> None:
    """As a token does that lost its rights: the words are those of a deleted photo."""
    place = install()
    place.playback.faults.order("not-found", server="mapillary-graph", path=r"^/\d+\?fields=id$", count=-1)
    outcome, removals = place.discover()
    assert removals == {}
    assert outcome["not_listed"] == {"missing": 6, "asked": 6, "gone": 0, "unanswered": 6}


def test_a_photo_that_was_taken_down_is_not_taken_again_while_it_is_listed(install: Callable[..., Place]) -> None:
    place = install()
    with open_store(place.run.settings.database_url.get_secret_value()).transaction(place.run.code) as tx:
        tx.remove_images(["1000", "1001", DELETED[0]], "takedown")
    outcome, removals = place.discover()
    assert (outcome["new"], outcome["barred"]) == (0, 2)
    assert removals == dict.fromkeys(DELETED[1:], "deleted")
