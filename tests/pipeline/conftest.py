"""A municipality whose photos and boxes are simulated: real PostGIS, real state files, no photos."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from kryss.config import MunicipalityConfig, Settings
from kryss.demo.streets import DepthNoise, Grid, Streets, simulate
from kryss.model import Detection, Image, PhotoResult, Sighting, StreetObject
from kryss.pipeline import stages
from kryss.pipeline.removal import REMOVALS
from kryss.pipeline.run import Run
from kryss.store import Store, open_store
from kryss.vision import registry

TOWN = [[10.3, 63.3], [10.5, 63.3], [10.5, 63.5], [10.3, 63.5], [10.3, 63.3]]


@dataclass
class Installation:
    """A municipality whose photos and boxes are simulated: nights begin after detection."""

    run: Run
    streets: Streets
    store: Store

    def night(self, name: str, images: Sequence[Image], **how: Any) -> dict[str, Any]:
        """Places and merges these photos; the outcomes of both stages. ``how``: see ``looked_at``."""
        run, key = self.looked_at(name, images, **how)
        placed = stages.place(run, key)
        return {**placed, **stages.merge(run, key)}

    def looked_at(
        self,
        name: str,
        images: Sequence[Image],
        *,
        failed: Sequence[Image] = (),
        model: str | None = None,
        removals: Mapping[str, str] | None = None,
    ) -> tuple[Run, str]:
        """A run whose photos have been looked at, and its key: ready to be placed."""
        run = replace(self.run, run_id=name, model=model)
        folder = f"work/{run.code}/{name}"
        run.state.write_rows(f"{folder}/images.jsonl.gz", Image, images)
        run.state.write_json(f"{folder}/attempts.json", {image.id: 1 for image in images})
        run.state.write_json(f"{folder}/malformed.json", {})
        run.state.write_json(f"{folder}/{REMOVALS}", dict(removals or {}))
        for part in stages.plan(run, name)["shards"]:
            self._detect(run, f"{folder}/{part['shard']}", {image.id for image in failed})
        return run, name

    def _detect(self, run: Run, folder: str, lost: set[str]) -> None:
        shown = [image.id for image in run.state.read_rows(f"{folder}/images.jsonl.gz", Image)]
        found = [replace(one, model_key=run.model_key) for one in self.streets.detections if one.image_id in set(shown) - lost]
        results = [PhotoResult(image_id, "failed" if image_id in lost else "ok") for image_id in shown]
        run.state.write_rows(f"{folder}/results.jsonl.gz", PhotoResult, results)
        run.state.write_rows(f"{folder}/detections.jsonl.gz", Detection, [replace(one, depth=None) for one in found])
        run.state.write_rows(f"{folder}/depth.jsonl.gz", Detection, found)

    def sightings(self) -> list[Sighting]:
        with self.store.snapshot() as known:
            return known.effective_sightings(self.run.code, None)

    def objects(self) -> list[StreetObject]:
        with self.store.snapshot() as known:
            return known.objects(self.run.code)

    def believed(self) -> list[StreetObject]:
        """Without ids: they are given by who comes first, and never change."""
        objects = [replace(one, id="", replaced_by=None) for one in self.objects()]
        return sorted(objects, key=lambda one: (one.class_name, one.evidence))


@pytest.fixture(scope="session")
def streets() -> Streets:
    """Drives around a block. The last goes on as a drive of its own, with the same camera, which nobody has calibrated there."""
    found = simulate(Grid(blocks=1, sequences=3, depth=DepthNoise(), seed=1))
    last = [image.id for image in found.images if image.sequence_id == "drive-0002"]
    later = set(last[len(last) // 2 :])
    number = {image.id: str(100_000 + index) for index, image in enumerate(found.images)}
    images = [
        replace(
            image,
            id=number[image.id],
            sequence_id="drive-0003" if image.id in later else image.sequence_id,
            camera_parameters=None if image.id in later else image.camera_parameters,
            make="Kryss",
            model=image.sequence_id,
        )
        for image in found.images
    ]
    detections = [replace(one, image_id=number[one.image_id]) for one in found.detections]
    return replace(found, images=images, detections=detections)


def installation(streets: Streets, home: Path, url: str) -> Installation:
    """In a folder of its own."""
    home.mkdir(parents=True, exist_ok=True)
    boundary = home / "boundary.geojson"
    boundary.write_text(json.dumps({"type": "Polygon", "coordinates": [TOWN]}))
    config = MunicipalityConfig(code="town", name="Town", boundary=str(boundary), shard_size=60)
    settings = Settings.from_env({"KRYSS_HOME": str(home), "KRYSS_DATABASE_URL": url})
    return Installation(Run(config, settings, home.name, date(2026, 5, 4)), streets, open_store(url))


@pytest.fixture
def install(
    streets: Streets, postgis_server: Any, migrated_template: str, tmp_path: Path
) -> Iterator[Callable[[str], Installation]]:
    """Makes installations that know nothing yet."""
    urls: list[str] = []

    def make(name: str) -> Installation:
        urls.append(url := postgis_server.create_database(migrated_template))
        return installation(streets, tmp_path / name, url)

    yield make
    for url in urls:
        postgis_server.drop_database(url)


@pytest.fixture(scope="session")
def loaded_at_once(
    streets: Streets, postgis_server: Any, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, str]]:
    """Home and database of an installation that got all photos in one night: to be copied."""
    url, home = postgis_server.create_database(migrated_template), tmp_path_factory.mktemp("once") / "at-once"
    place = installation(streets, home, url)
    place.night("night", streets.images)
    yield home, url
    postgis_server.drop_database(url)


@pytest.fixture
def at_once(loaded_at_once: tuple[Path, str], streets: Streets, postgis_server: Any, tmp_path: Path) -> Iterator[Installation]:
    """An installation that got all photos in one night."""
    home, template = loaded_at_once
    url = postgis_server.create_database(template)
    shutil.copytree(home, tmp_path / home.name)
    yield installation(streets, tmp_path / home.name, url)
    postgis_server.drop_database(url)


@pytest.fixture
def second_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A later model of the same weights, registered for this test alone."""
    monkeypatch.setenv("KRYSS_WEIGHTS_DIR", str(tmp_path / "weights"))
    shipped = registry.resolve("kryss-street-lite0")
    again = replace(shipped, name="kryss-street-again", version="v2")
    return registry.model_key(registry.register(again, registry.weights_file(shipped), registry.reader_file(shipped)))
