"""The intersections of a configured municipality, from each kind of source."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from kryss.config import MunicipalityConfig, Settings
from kryss.demo.area import load_area
from kryss.demo.playback.roads import road_servers, road_urls
from kryss.roads.boundary import load_boundary
from kryss.roads.junctions import JunctionsError, intersections_for

SETTINGS = Settings.from_env({"KRYSS_DATABASE_URL": "postgresql://nowhere/none", "KRYSS_RETRY_TIME_SCALE": "0.01"})


@pytest.fixture(scope="module")
def urls(road_map: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An area with all three sources recorded."""
    folder = road_map.write_area(tmp_path_factory.mktemp("configured") / "area", "nvdb")
    road_map.write_overpass(folder)
    road_map.write_junctions(folder)
    servers = road_servers(load_area(folder))
    for server in servers.values():
        server.start()
    yield road_urls(servers)
    for server in servers.values():
        server.stop()


def configured(services: dict[str, str], **changes: Any) -> MunicipalityConfig:
    entry = {"code": "demo-5001", "source_code": "5001", "name": "Prøveby", "services": services}
    return MunicipalityConfig.model_validate({**entry, **changes})


@pytest.mark.parametrize(("roads", "prefix"), [("nvdb", "nvdb:"), ("overpass", "osm:"), ("junctions", "area:")])
def test_every_source_of_roads_gives_intersections(roads: str, prefix: str, urls: dict[str, str]) -> None:
    config = configured(urls, roads=roads)
    found = intersections_for(config, SETTINGS, load_boundary(config, SETTINGS))
    assert found and all(junction.id.startswith(prefix) for junction in found)
    assert all(junction.area[0] == junction.area[-1] for junction in found)


def test_points_may_be_named_by_the_environment(urls: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRYSS_JUNCTIONS_URL", urls["junctions"])
    config = configured({"kommuneinfo": urls["kommuneinfo"]}, roads="junctions")
    assert len(intersections_for(config, SETTINGS, load_boundary(config, SETTINGS))) == 2


def test_points_that_nobody_named_are_asked_for(urls: dict[str, str]) -> None:
    config = configured({"kommuneinfo": urls["kommuneinfo"]}, roads="junctions")
    with pytest.raises(JunctionsError, match=r"municipality demo-5001: .* neither services.junctions nor KRYSS_JUNCTIONS_URL"):
        intersections_for(config, SETTINGS, load_boundary(config, SETTINGS))


def test_two_weekly_runs_tell_the_same(urls: dict[str, str]) -> None:
    config = configured(urls, roads="overpass")
    boundary = load_boundary(config, SETTINGS)
    assert intersections_for(config, SETTINGS, boundary) == intersections_for(config, SETTINGS, boundary)
