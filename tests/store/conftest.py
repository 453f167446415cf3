"""A small street to store: four photos, two signs, two junctions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from kryss.model import (
    Absence,
    Detection,
    Image,
    Intersection,
    Municipality,
    PhotoResult,
    Pose,
    RejectedPose,
    Release,
    Sighting,
    StreetObject,
)

MODEL = "signs@1"
NOON = datetime(2026, 5, 4, 12, 0, 0, 123457, tzinfo=UTC)


def _square(lon: float, lat: float, half: float) -> tuple[tuple[float, float], ...]:
    corners = [(-half, -half), (half, -half), (half, half), (-half, half), (-half, -half)]
    return tuple((round(lon + x, 8), round(lat + y, 8)) for x, y in corners)


def municipality(code: str = "town") -> Municipality:
    ring = [list(corner) for corner in _square(10.4, 63.4, 0.1)]
    return Municipality(code, "Trøndheim\t\\N", "NO", {"type": "Polygon", "coordinates": [ring]})


def images() -> list[Image]:
    gps = Pose("gps", 10.400000000000123, 63.4, altitude_m=12.5, heading_deg=359.99999999999994)
    sfm = Pose("sfm", 1 / 3, 63.1 + 2e-14, altitude_m=-0.1, heading_deg=10.0, rotation=(0.1, -1e-300, 3.0))
    return [
        Image(
            "100", "s1", NOON, 4000, 3000, gps, sfm, "perspective", (0.85, -1e-17, 0.1), 6, False, "Go\tPro", 'Hero "7"\\', "ål\n"
        ),
        Image("101", "s1", NOON + timedelta(microseconds=1), 1280, 960, gps, None),
        Image("99", "s2", NOON + timedelta(days=30), 1280, 960, None, sfm, "spherical", None, 1, True),
        Image("102", "s2", NOON + timedelta(days=31), 1280, 960, None, None),
    ]


def detections() -> list[Detection]:
    return [
        Detection("100", MODEL, 0, "regulatory--stop--g1", 0.1 + 0.2, (1.5, 2.25, 1e3 / 3, 400.0)),
        Detection("100", MODEL, 1, "regulatory--yield--g1", 0.25, (0.0, 0.0, 10.0, 10.0), depth=17.300000000000001),
        Detection("99", MODEL, 0, "regulatory--stop--g1", 0.9, (5.0, 5.0, 50.0, 50.0)),
    ]


def sightings() -> list[Sighting]:
    taken = {image.id: image for image in images()}
    return [
        Sighting(
            image_id=found.image_id,
            model_key=MODEL,
            ordinal=found.ordinal,
            sequence_id=taken[found.image_id].sequence_id,
            captured_at=taken[found.image_id].captured_at,
            class_name=found.class_name,
            score=found.score,
            camera_lon=10.4 + 1e-13,
            camera_lat=63.4,
            camera_sigma_m=1.7,
            pose_origin="gps",
            bearing_deg=123.456,
            bearing_sigma_deg=0.5,
            range_m=20.1,
            range_sigma_m=2.0,
            range_shared_sigma_m=1.25,
            range_sequence_sigma_m=0.75,
            height_m=2.41 if found.ordinal == 0 else None,
            height_sigma_m=0.2 if found.ordinal == 0 else None,
            method="known-size",
            lon=10.4003 + found.ordinal / 3,
            lat=63.4001,
            covariance=(4.0, -0.3, 3.9),
        )
        for found in detections()
    ]


def object_id(number: int) -> str:
    return str(uuid5(NAMESPACE_URL, f"object {number}"))


def street_object(number: int = 1, **changes: Any) -> StreetObject:
    standing: dict[str, Any] = {
        "id": object_id(number),
        "class_name": "regulatory--stop--g1",
        "lon": 10.4003,
        "lat": 63.4001,
        "covariance": (4.0, -0.3, 3.9),
        "error_radius_m": 4.871,
        "first_seen_at": NOON,
        "last_seen_at": NOON + timedelta(days=30),
        "status": "standing",
        "standing_probability": 0.97,
        "ended_at": None,
        "evidence": (("100", 0), ("99", 0)),
        "misses": (),
        "facing_deg": 181.5,
        "model_key": MODEL,
        "method": "known-size",
        "height_m": 2.4,
        "height_sigma_m": 0.15,
    }
    return StreetObject(**{**standing, **changes})


def ended(number: int = 1) -> StreetObject:
    return street_object(
        number,
        last_seen_at=NOON,
        status="ended",
        standing_probability=0.01,
        ended_at=NOON + timedelta(days=31),
        evidence=(("100", 0),),
        misses=("102", "99"),
    )


def came_back(number: int = 1) -> StreetObject:
    """Absent from NOON + 8 to 11 days, give or take the brackets."""
    days = [NOON + timedelta(days=day) for day in (5, 8, 9, 11)]
    return street_object(number, began_after=NOON - timedelta(days=2), absences=(Absence(*days),))


def intersections() -> list[Intersection]:
    return [
        Intersection("osm:1", "osm", 10.4, 63.4, 50.0, _square(10.4, 63.4, 0.001), "Torget", "crossing", 4, ("osm:1", "osm:2")),
        Intersection(
            "nvdb:7",
            "nvdb",
            10.41,
            63.4,
            30.0,
            _square(10.41, 63.4, 0.001),
            reach=_square(10.41, 63.4, 0.0015),
            approaches=(((10.41, 63.4), (10.412, 63.4)), ((10.41, 63.4), (10.41, 63.401), (10.411, 63.402))),
            area_method="arms",
        ),
    ]


def release(number: int = 1) -> Release:
    return Release("town", f"2026-05-05.{number}", "file:///layer/town", 2, 1, "ab" * 32)


@dataclass
class Street:
    """Everything a run states about the street."""

    model_key: str = MODEL
    images: list[Image] = field(default_factory=images)
    results: list[PhotoResult] = field(
        default_factory=lambda: [
            PhotoResult("100", "ok", None, 2),
            PhotoResult("101", "failed", "truncated photo"),
            PhotoResult("102", "gone", "404"),
            PhotoResult("99", "ok", None, 1),
        ]
    )
    rejected_poses: list[RejectedPose] = field(default_factory=lambda: [RejectedPose("101", "gps", "frozen for 12 photos")])
    detections: list[Detection] = field(default_factory=detections)
    sightings: list[Sighting] = field(default_factory=sightings)
    rejected_entities: dict[str, str] = field(default_factory=lambda: {"666": "no captured_at"})

    def stated(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@pytest.fixture
def street() -> Street:
    return Street()


@pytest.fixture
def make() -> Any:
    """The makers of nouns above, as one namespace."""
    from types import SimpleNamespace

    return SimpleNamespace(
        MODEL=MODEL,
        NOON=NOON,
        municipality=municipality,
        images=images,
        detections=detections,
        sightings=sightings,
        object=street_object,
        object_id=object_id,
        ended=ended,
        came_back=came_back,
        intersections=intersections,
        release=release,
        Street=Street,
    )


@pytest.fixture
def town(store: Any) -> Any:
    """A store that knows the municipality ``town``."""
    with store.transaction("town") as tx:
        tx.upsert_municipality(municipality())
    return store


@pytest.fixture
def sql(database_url: str) -> Callable[..., list[Any]]:
    """Runs one statement as an analyst would, in a connection of its own."""
    engine = create_engine(database_url.replace("postgresql:", "postgresql+psycopg2:"), poolclass=NullPool)

    def run(statement: str, **parameters: Any) -> list[Any]:
        with engine.begin() as connection:
            result = connection.execute(text(statement), parameters)
            return list(result) if result.returns_rows else []

    return run
