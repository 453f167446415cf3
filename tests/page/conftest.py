"""A real Chromium, a plain file server, and the town's two releases. A page that asks another host fails its test."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _beside(name: str) -> ModuleType:
    """A helper module of this folder, which is not a package."""
    spec = importlib.util.spec_from_file_location(f"kryss_page_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


made = _beside("releases")
browsing = _beside("browsing")

CENTRE = (10.4, 63.43)
FIRST, SECOND = "2025-06-12.1", "2026-05-22.1"
NAMES = ("stop", "yield", "light", "fifty", "thirty", "gone", "new", "moved", "away", "blurred")
IDS = {name: f"00000000-0000-4000-8000-0000000000{index:02d}" for index, name in enumerate(NAMES)}


def town(year: int) -> tuple[list[Any], list[Any]]:
    """Ten objects at one junction, as 2025 and as 2026 knew them."""
    early, late = "2025-06-10T13:04:13Z", "2026-05-20T09:41:45Z"
    last = {"last_seen_at": late if year == 2026 else early}
    ended = {"status": "ended", "ended_at": late, "valid_time": f"{{[{early},{late})}}"} if year == 2026 else {}
    new = {"first_seen_at": late, "last_seen_at": late, "began_after": early, "valid_time": f"{{[{late},)}}"}
    away = {"gone_after": "2025-08-01T00:00:00Z", "gone_by": "2025-09-01T00:00:00Z"}
    away |= {"back_after": "2025-11-01T00:00:00Z", "back_by": "2025-12-01T00:00:00Z"}
    stood = f"{{[{early},2025-09-01T00:00:00Z),[2025-12-01T00:00:00Z,)}}"
    ellipse = {"error_major_m": 10.0, "error_minor_m": 4.0, "error_azimuth_deg": 90.0, "error_radius_m": 9.0}

    def sign(name: str, east_m: float, north_m: float, class_name: str, **more: Any) -> Any:
        return made.sign(made.offset(CENTRE, east_m, north_m), id=IDS[name], **{"class": class_name, **last, **more})

    objects = [
        sign("stop", 6, 60, "regulatory--stop--g1", **ellipse),
        sign("yield", 40, -6, "regulatory--yield--g1", facing_deg=90.0),
        sign("light", -8, -9, "object--traffic-light--general-upright", facing_deg=270.0),
        sign("fifty", -60, 6, "regulatory--maximum-speed-limit-50--g1", last_seen_at=early),
        sign("gone", 20, -60, "regulatory--no-right-turn--g1", last_seen_at=early),
        sign("moved", -30, 30 if year == 2025 else 38, "regulatory--turn-left--g1", facing_deg=None),
        sign("away", 60, 60, "warning--children--g1"),
        sign("blurred", -50, -50, "regulatory--turn-left--g1", status="unconfirmed", error_radius_m=14.0),
    ]
    if year == 2026:
        objects[3] |= {**ended, "replaced_by": IDS["thirty"]}
        objects[4] |= {**ended, "missed_in": ["11", "12"], "miss_count": 2}
        objects[6] |= {"absences": [away], "absence_count": 1, "valid_time": stood}
        objects.append(sign("thirty", -61, 5, "regulatory--maximum-speed-limit-30--g1", **new))
        objects.append(sign("new", 50, 10, "regulatory--turn-right--g1", **new))
    return objects, [made.junction(CENTRE)]


def changes(before: list[Any], after: list[Any]) -> Any:
    """changes.geojson of the town."""
    was, now = ({item["id"]: item for item in items} for items in (before, after))
    features = [
        made.change("replaced", now[IDS["fifty"]], now[IDS["thirty"]], "replaced", distance_m=1.4),
        made.change("added", None, now[IDS["new"]], "added"),
        made.change("ended", was[IDS["gone"]], now[IDS["gone"]], "ended"),
        made.change("moved", was[IDS["moved"]], now[IDS["moved"]], "moved", "evidence", distance_m=8.0),
    ]
    return {**made.changes_of(features), "refined": [IDS["stop"], IDS["yield"], IDS["light"], IDS["away"], IDS["blurred"]]}


@pytest.fixture(scope="session", name="made")
def made_fixture() -> ModuleType:
    """The generator of releases."""
    return made


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """``until(page, "expression of JavaScript")`` waits for it."""
    return browsing.until  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def town_of() -> Callable[[int], tuple[list[Any], list[Any]]]:
    return town


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that is served; ``9901`` is the town's shelf."""
    folder = tmp_path_factory.mktemp("served")
    before, after = town(2025), town(2026)
    made.write(folder / "9901", FIRST, *before, changes=made.changes_of([]))
    made.write(folder / "9901", SECOND, *after, previous=FIRST, changes=changes(before[0], after[0]))
    return folder


@pytest.fixture(scope="session")
def site(root: Path) -> Iterator[Any]:
    with browsing.serving(root) as server:
        yield server


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser a module: Playwright has one driver at a time, and other rooms start theirs."""
    with browsing.chromium() as browser:
        yield browser


@pytest.fixture
def visit(site: Any, chromium: Any) -> Iterator[Callable[..., Any]]:
    """``visit("9901/2026-05-22.1", "#tab=changes", **context)`` -> Playwright's page, once the release shows."""
    with browsing.visiting(site, chromium) as go:
        yield go
