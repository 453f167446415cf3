"""A recorded area played back on loopback, a PostGIS, a home of its own: everything a refresh needs but Airflow."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from kryss.cli.demo import TOWN, municipality_of
from kryss.config import MunicipalityConfig, Settings
from kryss.demo.area import RecordedArea, load_area
from kryss.demo.playback.play import Playback
from kryss.pipeline.local import refresh
from kryss.pipeline.run import Run


@dataclass
class Place:
    """One installation that refreshes one recorded area."""

    area: RecordedArea
    playback: Playback
    config: MunicipalityConfig
    settings: Settings
    home: Path
    reports: list[dict[str, Any]] = field(default_factory=list)

    def run(self, run_id: str, now: datetime, **changes: Any) -> Run:
        self.playback.set_now(now)
        return Run(self.config, self.settings, run_id, now.date(), **changes)

    def refresh(self, run_id: str, now: datetime, **changes: Any) -> dict[str, Any]:
        self.reports.append(refresh(self.run(run_id, now, **changes)))
        return self.reports[-1]

    @property
    def releases(self) -> Path:
        return self.home / "releases" / self.config.code

    def layer(self, name: str) -> dict[str, Any]:
        return json.loads((self.releases / name / "intersections.geojson").read_text())

    def objects(self, name: str) -> list[tuple[dict[str, Any], list[float]]]:
        """Properties and position of every object of a release."""
        features = json.loads((self.releases / name / "objects.geojson").read_text())["features"]
        return [(one["properties"], one["geometry"]["coordinates"]) for one in features]

    def changes(self, name: str) -> dict[str, Any]:
        """What a release says of the one before it."""
        return json.loads((self.releases / name / "changes.geojson").read_text())

    def files(self) -> dict[str, bytes]:
        """Every published file by its path."""
        return {
            str(path.relative_to(self.releases)): path.read_bytes() for path in sorted(self.releases.rglob("*")) if path.is_file()
        }


@contextmanager
def installed(area_path: Path, home: Path, database_url: str) -> Iterator[Place]:
    area = load_area(area_path)
    with Playback(area, area.epochs[0]) as playback:
        config = MunicipalityConfig.model_validate(municipality_of(area, dict(playback.urls), None))
        env = {"KRYSS_HOME": str(home), "KRYSS_DATABASE_URL": database_url, "KRYSS_RETRY_TIME_SCALE": "0.001"}
        yield Place(area, playback, config, Settings.from_env(env), home)


@pytest.fixture
def install(database_url: str, tmp_path: Path) -> Iterator[Callable[[Path], Place]]:
    """Makes an installation for an area, with a database of this test's own."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda area: stack.enter_context(installed(area, tmp_path / "home", database_url))


@pytest.fixture(scope="session")
def town(postgis_server: Any, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The shipped town after both its epochs: made once, read by many tests."""
    url = postgis_server.create_database(migrated_template)
    with installed(TOWN, tmp_path_factory.mktemp("town"), url) as place:
        for number, epoch in enumerate(place.area.epochs, 1):
            place.refresh(f"night-{number}", epoch)
        yield place
    postgis_server.drop_database(url)


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some photos of the town, as an area of its own: enough to be killed in the middle of."""
    folder = tmp_path_factory.mktemp("few") / "area"
    shutil.copytree(TOWN, folder)
    lines = (folder / "images.jsonl").read_text().splitlines()
    first = sorted(lines, key=lambda line: json.loads(line)["captured_at"])[:8]
    (folder / "images.jsonl").write_text("\n".join(first) + "\n")
    area = json.loads((folder / "area.json").read_text())
    area.pop("epochs", None)
    (folder / "area.json").write_text(json.dumps(area))
    return folder
