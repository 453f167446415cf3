"""Fixtures that every room may use."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no fault of the code. The same examples each time, so that a change is judged by what it changed;
# `./kryss test --hypothesis-profile anew` draws others.
settings.register_profile("anew", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("kryss", settings.get_profile("anew"), derandomize=True)
settings.load_profile("kryss")


def _beside(name: str) -> ModuleType:
    """A helper module of this folder, which is not a package (importlib mode keeps it off the path)."""
    spec = importlib.util.spec_from_file_location(f"kryss_tests_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


postgis = _beside("postgis")
road_areas = _beside("road_areas")
photo_areas = _beside("photo_areas")


@pytest.fixture(scope="session")
def postgis_server() -> Iterator[Any]:
    """A running PostGIS server (`tests/postgis.py`)."""
    with postgis.running_server() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_template(postgis_server: Any) -> Iterator[str]:
    """URL of a migrated database that nobody connects to: the template of each test's own."""
    from kryss.store import open_store

    url = postgis_server.create_database()
    open_store(url).migrate()
    yield url
    postgis_server.drop_database(url)


@pytest.fixture
def empty_database_url(postgis_server: Any) -> Iterator[str]:
    """URL of a database of this test's own, with nothing in it."""
    url = postgis_server.create_database()
    yield url
    postgis_server.drop_database(url)


@pytest.fixture
def database_url(postgis_server: Any, migrated_template: str) -> Iterator[str]:
    """URL of a migrated database of this test's own."""
    url = postgis_server.create_database(migrated_template)
    yield url
    postgis_server.drop_database(url)


@pytest.fixture
def store(database_url: str) -> Any:
    """An open store on a migrated database of this test's own."""
    from kryss.store import open_store

    return open_store(database_url)


@pytest.fixture(scope="session")
def road_map() -> ModuleType:
    """A small road map that can be written as a recorded area of any kind (`tests/road_areas.py`)."""
    return road_areas


@pytest.fixture(name="photo_areas", scope="session")
def photo_areas_module() -> ModuleType:
    """A small recorded area of photos, its playback and a client of it (`tests/photo_areas.py`)."""
    return photo_areas


@pytest.fixture(scope="session")
def photo_area(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that area."""
    return photo_areas.write_area(tmp_path_factory.mktemp("areas") / "street")


@pytest.fixture(name="street", scope="session")
def street_module() -> ModuleType:
    """The street that positions and history are tested on (`tests/seen.py`)."""
    return _beside("seen")
