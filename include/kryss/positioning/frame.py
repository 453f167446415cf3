"""The local metric frame: WGS84 longitude and latitude at the edges, metres east and north inside.

The frame is a transverse Mercator projection (PROJ ``tmerc``, scale 1) about a local origin. It is conformal, so a compass
bearing becomes a grid bearing by taking off the meridian convergence at the camera, and within 50 km of the origin a
distance is true to 3 parts in 100 000. The origin is snapped to a coarse raster, so that one photo more does not move it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pyproj import Geod, Proj

GEOD = Geod(ellps="WGS84")
_ORIGIN_RASTER_DEG = 0.1

Array = NDArray[np.float64]


def is_position(lon: float, lat: float) -> bool:
    """Whether this can be where a camera stood: finite, on the globe, and not the "no fix" point (0, 0)."""
    return bool(
        np.isfinite(lon) and np.isfinite(lat) and -180.0 <= lon <= 180.0 and -89.9 <= lat <= 89.9 and (lon, lat) != (0.0, 0.0)
    )


def wrap_deg(angle_deg: ArrayLike) -> Array:
    """The same angle in (-180, 180]."""
    return -((180.0 - np.asarray(angle_deg, dtype=np.float64)) % 360.0 - 180.0)


def distance_m(lon_a: float, lat_a: float, lon_b: float, lat_b: float) -> float:
    """Geodesic distance on the WGS84 ellipsoid."""
    return float(GEOD.inv(lon_a, lat_a, lon_b, lat_b)[2])


def destination(lon: float, lat: float, bearing_deg: float, range_m: float) -> tuple[float, float]:
    """``(lon, lat)`` of the point at a true bearing and distance."""
    end_lon, end_lat, _ = GEOD.fwd(lon, lat, bearing_deg, range_m)
    return float(end_lon), float(end_lat)


@dataclass(frozen=True)
class Frame:
    """A transverse Mercator frame about ``(lon0, lat0)``."""

    lon0: float
    lat0: float

    @cached_property
    def _proj(self) -> Proj:
        return Proj(proj="tmerc", lat_0=self.lat0, lon_0=self.lon0, k=1.0, ellps="WGS84")

    def to_xy(self, lon: ArrayLike, lat: ArrayLike) -> Array:
        """``(n, 2)`` metres east and north of the origin."""
        x, y = self._proj(np.atleast_1d(np.asarray(lon, float)), np.atleast_1d(np.asarray(lat, float)))
        return np.column_stack([x, y])

    def to_lonlat(self, xy: ArrayLike) -> Array:
        """``(n, 2)`` longitude and latitude of ``(n, 2)`` metres."""
        points = np.atleast_2d(np.asarray(xy, float))
        lon, lat = self._proj(points[:, 0], points[:, 1], inverse=True)
        return np.column_stack([lon, lat])

    def convergence_deg(self, lon: ArrayLike, lat: ArrayLike) -> Array:
        """``(n,)`` what to take off a true bearing to have a bearing from grid north."""
        factors = self._proj.get_factors(np.atleast_1d(np.asarray(lon, float)), np.atleast_1d(np.asarray(lat, float)))
        return np.asarray(factors.meridian_convergence, dtype=np.float64)


@lru_cache(maxsize=64)
def _frame(lon0: float, lat0: float) -> Frame:
    return Frame(lon0, lat0)


def frame_for(lons: Sequence[float], lats: Sequence[float]) -> Frame:
    """The frame for a set of points, whatever their order; the antimeridian may run through them."""
    lon, lat = np.radians(np.asarray(lons, float)), np.asarray(lats, float)
    first = float(np.degrees(lon[0])) if len(lon) else 0.0
    east = wrap_deg(np.degrees(lon) - first)
    middle_lon = float(wrap_deg(first + (east.min() + east.max()) / 2)) if len(lon) else 0.0
    middle_lat = float((lat.min() + lat.max()) / 2) if len(lat) else 0.0
    snapped = [round(round(value / _ORIGIN_RASTER_DEG) * _ORIGIN_RASTER_DEG, 6) for value in (middle_lon, middle_lat)]
    return _frame(snapped[0], snapped[1])
