"""A little town: one junction and sixteen objects in a real PostGIS, as they were known in 2025 and in 2026, and its releases."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest
import requests

from kryss.layer.provenance import known_source
from kryss.layer.release import Inputs, PublishResult, publish, sizes_of
from kryss.layer.storage import Shelf
from kryss.model import Intersection, Municipality, ObjectVersion, Reason, StreetObject
from kryss.store import Store, open_store

LON, LAT = 10.39, 63.43
STREETS = (
    ("a1", "object--traffic-light--general-upright", 8.0, 9.0),
    ("a2", "object--traffic-light--general-upright", -8.0, -9.0),
    ("b1", "regulatory--priority-road--g4", 6.0, 40.0),
    ("c1", "regulatory--maximum-speed-limit-50--g1", 7.0, 62.0),
    ("c2", "regulatory--maximum-speed-limit-30--g1", 6.2, 40.4),
    ("d1", "regulatory--yield--g1", 30.0, 6.0),
    ("e1", "regulatory--no-left-turn--g1", -9.0, 12.0),
    ("g1", "regulatory--stop--g1", -22.0, -6.0),
    ("h1", "regulatory--turn-left--g1", -6.0, 55.0),
)


class Town:
    """Builders of nouns, and the town as it was seen in 2025 and in 2026."""

    first, second = datetime(2025, 6, 10, 9, 30, tzinfo=UTC), datetime(2026, 5, 20, 9, 30, tzinfo=UTC)
    spring, next_spring = date(2025, 6, 11), date(2026, 5, 21)
    municipality = Municipality(
        "9999",
        "Kryssby",
        "NO",
        {"type": "Polygon", "coordinates": [[[10.3, 63.4], [10.5, 63.4], [10.5, 63.5], [10.3, 63.5], [10.3, 63.4]]]},
    )
    inputs = Inputs(
        model="tf_efficientdet_lite0@1",
        code_version="0.1.0",
        photos=3,
        photos_until=first,
        photos_by_model={"tf_efficientdet_lite0@1": 3},
        parameters={"score": 0.4},
        sources=(known_source("mapillary"), known_source("nvdb")),
    )

    @staticmethod
    def id(key: str) -> str:
        """The id of an object by its short name."""
        return str(uuid5(NAMESPACE_URL, f"kryssby {key}"))

    @staticmethod
    def at(east_m: float, north_m: float) -> tuple[float, float]:
        return LON + east_m / (111_195 * math.cos(math.radians(LAT))), LAT + north_m / 111_195

    def junction(self, key: str = "nvdb:1", half_m: float = 97.0, east_m: float = 0.0) -> Intersection:
        corners = ((-half_m, -half_m), (half_m, -half_m), (half_m, half_m), (-half_m, half_m), (-half_m, -half_m))
        area = tuple(self.at(east_m + x, y) for x, y in corners)
        centre = self.at(east_m, 0)
        arms = tuple((centre, self.at(east_m + x, y)) for x, y in ((half_m, 0), (0, half_m), (-half_m, 0), (0, -half_m)))
        return Intersection(
            key, "nvdb", *centre, 50.0, area, name="Storgata × Kirkegata", kind="crossroads", arms=4, approaches=arms
        )

    def sign(self, key: str, class_name: str, east_m: float, north_m: float, **changes: Any) -> StreetObject:
        lon, lat = self.at(east_m, north_m)
        plain = StreetObject(
            id=self.id(key),
            class_name=class_name,
            lon=lon,
            lat=lat,
            covariance=(1.0, 0.0, 1.0),
            error_radius_m=2.3,
            first_seen_at=self.first,
            last_seen_at=self.first,
            status="standing",
            standing_probability=0.97,
            ended_at=None,
            evidence=(("101", 0), ("102", 1), ("102", 2)),
            model_key="tf_efficientdet_lite0@1",
            method="known-size",
        )
        return replace(plain, **changes)

    def in_2025(self) -> list[StreetObject]:
        return [self.sign(*row) for row in STREETS]

    def in_2026(self) -> list[StreetObject]:
        """g1 has gone, n1 is new, r1 stands where h1 stood."""
        ended: dict[str, Any] = {"status": "ended", "ended_at": self.second, "standing_probability": 0.02}
        later: dict[str, Any] = {"first_seen_at": self.second, "last_seen_at": self.second}
        told = {"g1": ended, "h1": {**ended, "replaced_by": self.id("r1")}}
        return [
            *(self.sign(*row, **told.get(row[0], {"last_seen_at": self.second})) for row in STREETS),
            self.sign("n1", "regulatory--maximum-speed-limit-30--g1", -7, 20, **later),
            self.sign("r1", "regulatory--no-left-turn--g1", -6.5, 55.8, **later, status="unconfirmed"),
        ]

    def versions(
        self, *states: StreetObject, loaded: datetime | None = None, reasons: tuple[Reason, ...] = ()
    ) -> list[ObjectVersion]:
        """Each state believed for a day, the last one still; all of them ``evidence``, or each with its reason."""
        known = [(loaded or self.first) + timedelta(days=day) for day in range(len(states) + 1)]
        until = [*known[1:-1], None]
        why = reasons or ("evidence",) * len(states)
        return [ObjectVersion(*one) for one in zip(states, known, until, why, strict=False)]

    def believe(
        self,
        store: Store,
        objects: Sequence[StreetObject],
        *,
        intersections: Sequence[Intersection] | None = None,
        assignments: Mapping[str, str] | None = None,
        reasons: Mapping[str, Reason] | None = None,
        municipality: Municipality | None = None,
    ) -> None:
        """Makes these the beliefs of the database; without more words all at the one junction, because the street changed."""
        town = municipality or self.municipality
        places = [self.junction()] if intersections is None else list(intersections)
        with store.transaction(town.code) as tx:
            tx.upsert_municipality(town)
            tx.write_intersections(town.code, places)
            tx.write_objects(town.code, objects, reasons=reasons or {item.id: "street" for item in objects})
            homes = {item.id: places[0].id for item in objects} if assignments is None else assignments
            tx.write_assignments(town.code, homes)

    def publish(self, store: Store, root: Path | str, day: date, **changes: Any) -> PublishResult:
        """What the database believes, as the export stage publishes it."""
        inputs, town = changes.pop("inputs", self.inputs), changes.pop("municipality", self.municipality)
        options = changes.pop("storage_options", None)
        shelf = Shelf(str(root), town.code, options)
        with shelf.writing(), store.snapshot() as reader:
            rows = reader.layer(town.code, sizes=sizes_of(inputs.region), image_url=inputs.image_url)
            settings: dict[str, Any] = {
                "record": recorder(store, rows.known),
                "since": reader.release_instants(town.code),
                **changes,
            }
            return publish(rows, shelf, town, day, inputs, **settings)


def recorder(store: Store, known: datetime | None) -> Any:
    """Keeps a release of the beliefs of an instant in the database, in a transaction of its own."""

    def record(release: Any, inputs: dict[str, Any]) -> None:
        with store.transaction(release.code) as tx:
            tx.record_release(release, inputs, known)

    return record


@dataclass(frozen=True)
class Published:
    """The town's two releases on a shelf, to be read only, and the database they come from."""

    root: Path
    first: Path
    second: Path
    store: Store


@pytest.fixture(scope="session")
def town() -> Town:
    return Town()


@pytest.fixture(scope="session")
def published(
    town: Town, postgis_server: Any, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Published]:
    """Both nights published, one after the other."""
    url = postgis_server.create_database(migrated_template)
    root = tmp_path_factory.mktemp("published")
    store = open_store(url)
    folders = []
    for day, objects in ((town.spring, town.in_2025()), (town.next_spring, town.in_2026())):
        town.believe(store, objects)
        folders.append(Path(town.publish(store, root, day).url))
    yield Published(root, folders[0], folders[1], store)
    postgis_server.drop_database(url)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its relative name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="session")
def read_tree() -> Any:
    return tree


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    """Storage options of a local S3 server on a free port, spoken to over real HTTP; it has a bucket ``layers``."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    requests.put(f"http://{host}:{port}/layers", timeout=10).raise_for_status()
    yield {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": f"http://{host}:{port}"}}
    server.stop()
