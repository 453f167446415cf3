"""Where everything stands in Kryssby and where its cameras are: pure geometry, the same on every machine.

Three frames are used:

* *road frame* (u, v, z) in metres: origin at the junction's node on the carriageway, u along the main road towards its
  eastern arm, v along the side road towards its northern arm, z up. The scene is built in it.
* *ENU* (east, north, up) in metres at the same origin: the road frame turned ``ROAD_TURN_DEG`` counter-clockwise.
* WGS84: ENU read as an azimuthal equidistant projection about the origin; with no point farther than 500 m away its
  difference from a true tangent plane is below a tenth of a millimetre.

Camera frame and angle-axis are those of Mapillary (contract ``mapillary-api-v4``, 5.1 to 5.3): x right, y down, z forward,
``X_cam = R X_enu``. Object sizes come from ``objects.csv`` (contract ``sign-sizes``).
"""

from __future__ import annotations

import csv
import hashlib
import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

Array = NDArray[np.float64]

HERE = Path(__file__).parent
ORIGIN_LON, ORIGIN_LAT = 10.40, 63.43
GROUND_ALTITUDE_M = 42.0
"""NN2000 height of the carriageway; the town is flat."""
ROAD_TURN_DEG = 14.0
WIDTH_PX, HEIGHT_PX = 1280, 960
FOCAL = 0.85
"""Focal length over max(width, height): ``camera_parameters[0]``."""
LIGHT_CLASS = "object--traffic-light--general-upright"
SEED = "kryssby-1"

_TO_WGS84 = Transformer.from_crs(
    f"+proj=aeqd +lat_0={ORIGIN_LAT} +lon_0={ORIGIN_LON} +datum=WGS84 +units=m", "EPSG:4326", always_xy=True
)


def seeded(*names: object) -> random.Random:
    """A generator of random numbers that depends on the names alone, so that adding a photo changes no other."""
    digest = hashlib.sha256("/".join([SEED, *map(str, names)]).encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


def road_to_enu(points: Array) -> Array:
    """(..., 2 or 3) road frame to ENU."""
    turn = math.radians(ROAD_TURN_DEG)
    out = np.array(points, dtype=float)
    u, v = out[..., 0].copy(), out[..., 1].copy()
    out[..., 0] = u * math.cos(turn) - v * math.sin(turn)
    out[..., 1] = u * math.sin(turn) + v * math.cos(turn)
    return out


def enu_to_road(points: Array) -> Array:
    """(..., 2 or 3) ENU to road frame."""
    turn = math.radians(ROAD_TURN_DEG)
    out = np.array(points, dtype=float)
    east, north = out[..., 0].copy(), out[..., 1].copy()
    out[..., 0] = east * math.cos(turn) + north * math.sin(turn)
    out[..., 1] = -east * math.sin(turn) + north * math.cos(turn)
    return out


def enu_to_lonlat(east_m: float, north_m: float) -> tuple[float, float]:
    lon, lat = _TO_WGS84.transform(east_m, north_m)
    return float(lon), float(lat)


def lonlat_to_enu(lon: float, lat: float) -> tuple[float, float]:
    east, north = _TO_WGS84.transform(lon, lat, direction="INVERSE")
    return float(east), float(north)


APPROACHES = {"W": ((1.0, 0.0), 90.0 - ROAD_TURN_DEG), "S": ((0.0, 1.0), -ROAD_TURN_DEG % 360.0)}
"""Approach -> (direction of travel in the road frame, its bearing). W arrives from the western arm."""


@dataclass(frozen=True, slots=True)
class Fixture:
    """A sign or a signal head of the town. ``centre`` is the middle of its front, road frame."""

    id: str
    class_name: str
    approach: str
    centre: tuple[float, float, float]
    facing_deg: float
    width_m: float
    height_m: float
    mast: tuple[float, float] | None
    """Foot of the mast whose arm carries it, where it does not stand on its own pole."""
    from_epoch: int
    to_epoch: int | None

    def stands_in(self, epoch: int) -> bool:
        return self.from_epoch <= epoch and (self.to_epoch is None or epoch <= self.to_epoch)


@cache
def fixtures() -> tuple[Fixture, ...]:
    found = []
    with (HERE / "objects.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            travel_deg = APPROACHES[row["approach"]][1]
            found.append(
                Fixture(
                    id=row["id"],
                    class_name=row["class"],
                    approach=row["approach"],
                    centre=(float(row["u_m"]), float(row["v_m"]), float(row["centre_height_m"])),
                    facing_deg=(travel_deg + 180.0 + float(row["turned_deg"])) % 360.0,
                    width_m=float(row["width_m"]),
                    height_m=float(row["height_m"]),
                    mast=(float(row["mast_u_m"]), float(row["mast_v_m"])) if row["mast_u_m"] else None,
                    from_epoch=int(row["from_epoch"]),
                    to_epoch=int(row["to_epoch"]) if row["to_epoch"] else None,
                )
            )
    return tuple(found)


def facing_road(fixture: Fixture) -> tuple[float, float]:
    """Unit vector out of the front of a fixture, road frame."""
    bearing = math.radians(fixture.facing_deg)
    east, north = math.sin(bearing), math.cos(bearing)
    u, v = enu_to_road(np.array([east, north]))
    return float(u), float(v)


@dataclass(frozen=True, slots=True)
class Epoch:
    number: int
    starts: dict[str, datetime]
    """Approach -> when its drive passes the first photo."""


EPOCHS = (
    Epoch(1, {"W": datetime(2025, 6, 10, 13, 4, 11, tzinfo=UTC), "S": datetime(2025, 6, 10, 13, 27, 48, tzinfo=UTC)}),
    Epoch(2, {"W": datetime(2026, 5, 20, 9, 41, 37, tzinfo=UTC), "S": datetime(2026, 5, 20, 10, 8, 2, tzinfo=UTC)}),
)
DRIVES = {
    # (epoch, approach): photos, first photo along the drive, spacing, distance right of the centre line, camera height; metres
    (1, "W"): (12, -62.0, 6.2, 1.75, 1.72),
    (1, "S"): (12, -62.6, 6.2, 1.70, 1.72),
    (2, "W"): (13, -64.8, 6.4, 1.55, 1.84),
    (2, "S"): (13, -65.3, 6.4, 1.86, 1.84),
}


@dataclass(frozen=True, slots=True)
class Shot:
    """One photo of the town with its exact pose."""

    id: str
    sequence_id: str
    epoch: int
    approach: str
    ordinal: int
    captured_at: datetime
    centre: tuple[float, float, float]
    """Road frame, metres."""
    heading_deg: float
    pitch_deg: float
    """Elevation of the optical axis."""
    roll_deg: float
    """Positive: the camera leans right, the picture turns left."""

    @property
    def rotation(self) -> Array:
        """(3, 3) R of ``X_cam = R (X_enu - C_enu)``."""
        return rotation_from(self.heading_deg, self.pitch_deg, self.roll_deg)

    @property
    def centre_enu(self) -> Array:
        return road_to_enu(np.array(self.centre))


def rotation_from(heading_deg: float, pitch_deg: float, roll_deg: float) -> Array:
    """(3, 3) world ENU to camera, from the bearing and elevation of the optical axis and the roll about it."""
    h, p, r = (math.radians(x) for x in (heading_deg, pitch_deg, roll_deg))
    forward = np.array([math.sin(h) * math.cos(p), math.cos(h) * math.cos(p), math.sin(p)])
    right = np.array([math.cos(h), -math.sin(h), 0.0])
    down = np.cross(forward, right)
    return np.stack([math.cos(r) * right + math.sin(r) * down, -math.sin(r) * right + math.cos(r) * down, forward])


@cache
def shots() -> tuple[Shot, ...]:
    """Every photo, in the order of capture."""
    found = []
    for epoch in EPOCHS:
        for approach in ("W", "S"):
            count, first, spacing, right_of, height = DRIVES[epoch.number, approach]
            drive = seeded("drive", epoch.number, approach)
            alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
            sequence_id = "".join(drive.choice(alphabet) for _ in range(22))
            image_id = drive.randrange(10**14, 9 * 10**15)
            sway = drive.uniform(0, 6.28)
            at = epoch.starts[approach]
            for i in range(count):
                rng = seeded("shot", epoch.number, approach, i)
                along = first + spacing * i + rng.uniform(-0.25, 0.25)
                lateral = right_of + 0.10 * math.sin(sway + 0.7 * i) + rng.uniform(-0.03, 0.03)
                (du, dv), travel_deg = APPROACHES[approach]
                u, v = along * du + lateral * dv, along * dv - lateral * du
                found.append(
                    Shot(
                        id=str(image_id),
                        sequence_id=sequence_id,
                        epoch=epoch.number,
                        approach=approach,
                        ordinal=i,
                        captured_at=at,
                        centre=(u, v, height + rng.uniform(-0.03, 0.03)),
                        heading_deg=(travel_deg + 0.8 * math.cos(sway + 0.7 * i) + rng.gauss(0, 0.35)) % 360.0,
                        pitch_deg=2.6 + rng.gauss(0, 0.45),
                        roll_deg=rng.gauss(0, 0.5),
                    )
                )
                image_id += rng.randrange(10**9, 10**11)
                at += timedelta(milliseconds=round(1000 * spacing / 7.6 + rng.uniform(-40, 40)))
    return tuple(sorted(found, key=lambda s: (s.captured_at, s.id)))


def project(shot: Shot, points_road: Array) -> Array:
    """(n, 3) road frame to (n, 2) pixels of the photo (pixel edges at integers); NaN behind the camera."""
    in_camera = (road_to_enu(points_road) - shot.centre_enu) @ shot.rotation.T
    depth = np.where(in_camera[:, 2:] > 0.1, in_camera[:, 2:], np.nan)
    focal_px = FOCAL * max(WIDTH_PX, HEIGHT_PX)
    return in_camera[:, :2] / depth * focal_px + np.array([WIDTH_PX / 2, HEIGHT_PX / 2])


def front_points(fixture: Fixture, across: Array, up: Array) -> Array:
    """(n, 3) road-frame points on the front: ``across`` and ``up`` in metres from its centre, right as its reader sees it."""
    fu, fv = facing_road(fixture)
    cu, cv, cz = fixture.centre
    right_u, right_v = -fv, fu  # the reader looks along (-fu, -fv); right = look x up
    return np.stack([cu + across * right_u, cv + across * right_v, cz + up], axis=-1)


def angle_axis(rotation: Array) -> Array:
    """(3,) angle-axis vector in radians of a (3, 3) rotation that turns by less than 180 degrees."""
    vector = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    sine = float(np.linalg.norm(vector)) / 2
    angle = math.atan2(sine, (float(np.trace(rotation)) - 1) / 2)
    return vector * (angle / (2 * sine)) if sine > 1e-12 else vector / 2


def rodrigues(vector: Array) -> Array:
    """(3, 3) rotation of an angle-axis vector in radians."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-15:
        return np.eye(3)
    x, y, z = vector / angle
    skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + math.sin(angle) * skew + (1 - math.cos(angle)) * skew @ skew


def heading_of(rotation: Array) -> float:
    """Bearing in degrees of the optical axis of a (3, 3) world-to-camera rotation."""
    return math.degrees(math.atan2(rotation[2, 0], rotation[2, 1])) % 360.0


def sun(at: datetime) -> tuple[float, float]:
    """Azimuth and elevation in degrees of the sun over the town.

    Low-precision formulae of the Astronomical Almanac (section C), good to about 0.01 degrees between 1950 and 2050.
    """
    days = (at - datetime(2000, 1, 1, 12, tzinfo=UTC)).total_seconds() / 86400
    mean_anomaly = math.radians((357.528 + 0.9856003 * days) % 360)
    mean_longitude = (280.460 + 0.9856474 * days) % 360
    ecliptic = math.radians(mean_longitude + 1.915 * math.sin(mean_anomaly) + 0.020 * math.sin(2 * mean_anomaly))
    obliquity = math.radians(23.439 - 0.0000004 * days)
    ascension = math.atan2(math.cos(obliquity) * math.sin(ecliptic), math.cos(ecliptic))
    declination = math.asin(math.sin(obliquity) * math.sin(ecliptic))
    sidereal = math.radians((280.46062 + 360.98564737 * days + ORIGIN_LON) % 360)
    hour, lat = sidereal - ascension, math.radians(ORIGIN_LAT)
    elevation = math.asin(math.sin(lat) * math.sin(declination) + math.cos(lat) * math.cos(declination) * math.cos(hour))
    azimuth = math.atan2(-math.sin(hour), math.tan(declination) * math.cos(lat) - math.sin(lat) * math.cos(hour))
    return math.degrees(azimuth) % 360, math.degrees(elevation)
