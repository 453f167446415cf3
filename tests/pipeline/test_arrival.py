"""Photos come in any number of nights and in any order: what is believed of the street is the same. Real PostGIS, no photos."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from kryss.config import MunicipalityConfig, Settings
from kryss.demo.streets import Grid, Streets, simulate
from kryss.model import Detection, Image, PhotoResult, Sighting, StreetObject
from kryss.pipeline import report, stages
from kryss.pipeline.run import Run
from kryss.store import Store, open_store

TOWN = [[10.3, 63.3], [10.5, 63.3], [10.5, 63.5], [10.3, 63.5], [10.3, 63.3]]


@dataclass
class Installation:
    """A municipality whose photos and boxes are simulated: nights begin after detection."""

    run: Run
    streets: Streets
    store: Store

    def night(self, name: str, images: Sequence[Image], *, failed: Sequence[Image] = ()) -> dict[str, Any]:
        """Places and merges these photos; the outcomes of both stages."""
        run = replace(self.run, run_id=name)
        folder, lost = f"work/{run.code}/{name}", {image.id for image in failed}
        run.state.write_rows(f"{folder}/images.jsonl.gz", Image, images)
        run.state.write_json(f"{folder}/attempts.json", {image.id: 1 for image in images})
        run.state.write_json(f"{folder}/malformed.json", {})
        for part in stages.plan(run, name)["shards"]:
            self._detect(run, f"{folder}/{part['shard']}", lost)
        placed = stages.place(run, name)
        return {**placed, **stages.merge(run, name)}

    def _detect(self, run: Run, folder: str, lost: set[str]) -> None:
        shown = [image.id for image in run.state.read_rows(f"{folder}/images.jsonl.gz", Image)]
        found = [replace(one, model_key=run.model_key) for one in self.streets.detections if one.image_id in set(shown) - lost]
        results = [PhotoResult(image_id, "failed" if image_id in lost else "ok") for image_id in shown]
        run.state.write_rows(f"{folder}/results.jsonl.gz", PhotoResult, results)
        run.state.write_rows(f"{folder}/detections.jsonl.gz", Detection, [replace(one, depth=None) for one in found])
        run.state.write_rows(f"{folder}/depth.jsonl.gz", Detection, found)

    def sightings(self) -> list[Sighting]:
        with self.store.snapshot() as known:
            return known.sightings(self.run.code, self.run.model_key)

    def believed(self) -> list[StreetObject]:
        """Without ids: they are given by who comes first, and never change."""
        with self.store.snapshot() as known:
            objects = [replace(one, id="") for one in known.objects(self.run.code)]
        return sorted(objects, key=lambda one: (one.class_name, one.evidence))


@pytest.fixture(scope="session")
def streets() -> Streets:
    """Drives around a block. The last goes on as a drive of its own, with the same camera, which nobody has calibrated there."""
    found = simulate(Grid(blocks=1, sequences=3, depth=True, seed=1))
    last = [image.id for image in found.images if image.sequence_id == "drive-0002"]
    later = set(last[len(last) // 2 :])
    images = [
        replace(
            image,
            sequence_id="drive-0003" if image.id in later else image.sequence_id,
            camera_parameters=None if image.id in later else image.camera_parameters,
            make="Kryss",
            model=image.sequence_id,
        )
        for image in found.images
    ]
    return replace(found, images=images)


@pytest.fixture
def install(
    streets: Streets, postgis_server: Any, migrated_template: str, tmp_path: Path
) -> Iterator[Callable[[str], Installation]]:
    """Makes installations that know nothing yet."""
    boundary = tmp_path / "boundary.geojson"
    boundary.write_text(json.dumps({"type": "Polygon", "coordinates": [TOWN]}))
    config = MunicipalityConfig(code="town", name="Town", boundary=str(boundary), shard_size=60)

    urls: list[str] = []

    def make(name: str) -> Installation:
        urls.append(url := postgis_server.create_database(migrated_template))
        settings = Settings.from_env({"KRYSS_HOME": str(tmp_path / name), "KRYSS_DATABASE_URL": url})
        return Installation(Run(config, settings, name, date(2026, 5, 4)), streets, open_store(url))

    yield make
    for url in urls:
        postgis_server.drop_database(url)


@pytest.fixture
def at_once(install: Callable[[str], Installation], streets: Streets) -> Installation:
    place = install("at-once")
    place.night("night", streets.images)
    return place


def halves(images: Sequence[Image]) -> tuple[list[Image], list[Image]]:
    """Of each drive every third photo, and the others."""
    late = {image.id for number, image in enumerate(images) if number % 3 == 0}
    return [one for one in images if one.id not in late], [one for one in images if one.id in late]


@pytest.mark.parametrize("reverse", [False, True], ids=["the most first", "the few first"])
def test_a_drive_that_arrives_in_two_nights_is_placed_and_believed_as_in_one(
    install: Callable[[str], Installation], at_once: Installation, streets: Streets, reverse: bool
) -> None:
    place = install("in-two")
    first, second = halves(streets.images)[:: -1 if reverse else 1]
    place.night("first", first)
    outcome = place.night("second", second)
    assert outcome["placed_again"] == len(first)
    assert outcome["rows"]["sighting"] > len(second) / 2
    assert place.sightings() == at_once.sightings()
    assert len(place.believed()) > 20
    assert place.believed() == at_once.believed()


def test_drives_that_arrive_one_after_the_other_are_placed_and_believed_as_at_once(
    install: Callable[[str], Installation], at_once: Installation, streets: Streets
) -> None:
    place = install("by-drive")
    for name in sorted({image.sequence_id for image in streets.images}, reverse=True):
        place.night(name, [image for image in streets.images if image.sequence_id == name])
    assert place.sightings() == at_once.sightings()
    assert place.believed() == at_once.believed()


def test_a_night_that_is_done_again_writes_no_row(at_once: Installation, streets: Streets) -> None:
    outcome = at_once.night("again", streets.images)
    assert set(outcome["rows"].values()) == {0}
    assert {key: outcome["objects"][key] for key in ("new", "changed", "ended", "withdrawn")} == dict.fromkeys(
        ("new", "changed", "ended", "withdrawn"), 0
    )


def test_a_photo_that_fails_when_it_is_looked_at_again_keeps_its_sightings(at_once: Installation, streets: Streets) -> None:
    before = at_once.sightings()
    at_once.night("again", streets.images[:40], failed=streets.images[:40])
    assert at_once.sightings() == before


def test_depth_reaches_the_ranges(at_once: Installation) -> None:
    assert any("depth" in one.method for one in at_once.sightings())


def test_what_fusion_leaves_out_is_told_by_its_reason(at_once: Installation, streets: Streets) -> None:
    outcome = at_once.night("again", streets.images)
    kept = {(image_id, ordinal) for one in at_once.believed() for image_id, ordinal in one.evidence}
    assert sum(outcome["dropped"].values()) == len(at_once.sightings()) - len(kept) > 0
    summary = report.collect(replace(at_once.run, run_id="again"))
    assert summary["sightings_dropped"] == outcome["dropped"]
    for reason, number in outcome["dropped"].items():
        assert f"{number} {reason}" in report.table(summary)
