"""NVDB's WKT as WGS84 geometries (contracts/nvdb-api.md section 3.3).

UTM coordinates (srid 5972, 5973, 5975: ETRS89 / UTM 32, 33, 35 with a height) are easting, northing; degrees (srid 4326) are
written latitude first. Heights can be -999999 and are dropped. ETRS89 is taken for WGS84 (they differ by less than a metre).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pyproj
import shapely

UTM_ZONE_OF_SRID = {5972: 32, 5973: 33, 5975: 35, 25832: 32, 25833: 33, 25835: 35}


@cache
def utm(zone: int) -> pyproj.Proj:
    return pyproj.Proj(proj="utm", zone=zone, ellps="GRS80")


def wgs84_from_wkt(wkt: str, srid: int) -> shapely.Geometry:
    """The geometry with ``(lon, lat)``; ValueError where the text or the srid is not understood."""
    try:
        flat = shapely.force_2d(shapely.from_wkt(wkt))
    except (shapely.errors.ShapelyError, TypeError) as error:
        raise ValueError(f"not WKT: {str(wkt)[:80]!r} ({error})") from None
    if srid == 4326:
        return shapely.transform(flat, lambda lat_lon: lat_lon[:, ::-1])
    if srid not in UTM_ZONE_OF_SRID:
        raise ValueError(f"srid {srid!r} is not one that NVDB answers in; ask with srid=5973")
    projection = utm(UTM_ZONE_OF_SRID[srid])
    return shapely.transform(flat, lambda xy: np.column_stack(projection(xy[:, 0], xy[:, 1], inverse=True)))


def utm33(geometry: shapely.Geometry) -> shapely.Geometry:
    """WGS84 ``(lon, lat)`` -> easting, northing of UTM 33, as NVDB's spatial filters want them."""
    return shapely.transform(geometry, lambda xy: np.column_stack(utm(33)(xy[:, 0], xy[:, 1])))
