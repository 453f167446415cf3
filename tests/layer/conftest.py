"""A little town in nouns: one junction, sixteen objects, and what a second year of photos says of them."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from kryss.layer.provenance import Provenance, known_source
from kryss.layer.release import PublishResult, publish
from kryss.model import Intersection, Municipality, ObjectVersion, Reason, StreetObject

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
    municipality = Municipality("9999", "Kryssby", "NO", {})
    provenance = Provenance(
        "tf_efficientdet_lite0@1", "0.1.0", first, {"score": 0.4}, (known_source("mapillary"), known_source("nvdb"))
    )

    @staticmethod
    def at(east_m: float, north_m: float) -> tuple[float, float]:
        return LON + east_m / (111_195 * math.cos(math.radians(LAT))), LAT + north_m / 111_195

    def junction(self, key: str = "nvdb:1", half_m: float = 97.0, east_m: float = 0.0) -> Intersection:
        corners = ((-half_m, -half_m), (half_m, -half_m), (half_m, half_m), (-half_m, half_m), (-half_m, -half_m))
        area = tuple(self.at(east_m + x, y) for x, y in corners)
        lon, lat = self.at(east_m, 0)
        return Intersection(key, "nvdb", lon, lat, 50.0, area, name="Storgata × Kirkegata", kind="crossroads", arms=4)

    def sign(self, key: str, class_name: str, east_m: float, north_m: float, **changes) -> StreetObject:
        lon, lat = self.at(east_m, north_m)
        plain = StreetObject(
            id=key,
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
        ended = {"status": "ended", "ended_at": self.second, "standing_probability": 0.02}
        later = {"first_seen_at": self.second, "last_seen_at": self.second}
        told = {"g1": ended, "h1": {**ended, "replaced_by": "r1"}}
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

    def publish(self, root: Path | str, day: date, objects: list[StreetObject], **changes) -> PublishResult:
        settings = {
            "intersections": [self.junction()],
            "assignments": {item.id: "nvdb:1" for item in objects},
            "history": {},
            "provenance": self.provenance,
            "municipality": self.municipality,
        }
        return publish(str(root), release_date=day, objects=objects, **{**settings, **changes})


@pytest.fixture(scope="session")
def town() -> Town:
    return Town()


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its relative name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="session")
def read_tree():
    return tree
