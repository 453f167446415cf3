"""Junctions from the objects themselves, where nobody has a map of the roads: traffic lights that stand together are one.

Lights are joined by average linkage (UPGMA; Sokal and Michener 1958): two groups are one junction while their lights are, on
average over all pairs, less than ``TOGETHER_M`` apart. Lights stand around a junction at the stop lines and the far corners,
up to about 25 m from its middle; points on a circle of radius r are 4 r / pi apart on average: 32 m. The lights of two
junctions are as far apart on average as the junctions are, and signals closer than 60 m are run as one. The cut lies
between, at the geometric mean. Unlike the nearest distance (single linkage), an average is not chained along a street by a
crossing between two junctions; unlike the largest (complete linkage), it is not undone by one light that stands far out.

The scale is fixed, not fitted to the data: a light that comes in one street changes nothing in another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from kryss.model import Intersection, StreetObject
from kryss.roads.areas import DECIMALS, metres_per_degree, plane_scale, square_area, to_plane

TOGETHER_M = 45.0
FEWEST = 2
"""A light on its own is no junction."""
LIGHT = "object--traffic-light"
"""Classes of lights begin with this."""
DEFAULT_LIMIT_KMH = 50.0


def junctions_of_lights(objects: Iterable[StreetObject], limit_kmh: float = DEFAULT_LIMIT_KMH) -> list[Intersection]:
    """The junctions that the standing lights stand around, by id; the objects' own ids are their members.

    A junction is called after its light that was seen first; :func:`kryss.roads.identity.keep_ids` keeps the name when lights
    come and go.
    """
    lights = [one for one in objects if one.class_name.startswith(LIGHT) and one.ended_at is None]
    lights.sort(key=lambda one: one.id)
    group = grouped(np.array([(one.lon, one.lat) for one in lights], dtype=float).reshape(-1, 2))
    members: dict[int, list[StreetObject]] = {}
    for light, number in zip(lights, group.tolist(), strict=True):
        members.setdefault(number, []).append(light)
    found = [_junction(together, limit_kmh) for together in members.values() if len(together) >= FEWEST]
    return sorted(found, key=lambda junction: junction.id)


def grouped(lonlat: NDArray[np.float64], together_m: float = TOGETHER_M) -> NDArray[np.intp]:
    """``(n, 2)`` degrees -> ``(n,)`` the number of the junction that each stands at, whatever their order."""
    group = np.arange(len(lonlat), dtype=np.intp)
    if len(lonlat) < 2:
        return group
    order = np.lexsort((lonlat[:, 1], lonlat[:, 0]))
    xy, scale = to_plane(lonlat[order]), plane_scale(lonlat[order, 1])
    # What is less than that apart on average has a pair that is less than that apart: no group is larger than a chain of pairs.
    a, b = cKDTree(xy).query_pairs(together_m * float(scale.max()), output_type="ndarray").T
    _, chain = connected_components(coo_array((np.ones(len(a)), (a, b)), shape=(len(xy), len(xy))), directed=False)
    for number in range(int(chain.max()) + 1):
        rows = np.flatnonzero(chain == number)
        if len(rows) > 1:
            joined = fcluster(linkage(xy[rows] / scale[rows].mean(), "average"), together_m, "distance")
            for part in np.unique(joined):
                one = order[rows[joined == part]]
                group[one] = one.min()
    return group


def _junction(lights: Sequence[StreetObject], limit_kmh: float) -> Intersection:
    middle = shapely.MultiPoint([(one.lon, one.lat) for one in lights]).centroid
    lon, lat = round(middle.x, DECIMALS), round(middle.y, DECIMALS)
    first = min(lights, key=lambda one: (one.first_seen_at, one.id))
    return Intersection(
        id=f"lights:{first.id}",
        source="lights",
        lon=lon,
        lat=lat,
        speed_limit_kmh=limit_kmh,
        area=square_area(lon, lat, limit_kmh),
        kind="signals",
        members=tuple(sorted(one.id for one in lights)),
    )


def gap_m(lonlat: NDArray[np.float64], together_m: float = TOGETHER_M) -> tuple[float, float]:
    """``(from, to)``: any distance between them joins the same lights as ``together_m``."""
    east_m, north_m = metres_per_degree(float(lonlat[:, 1].mean()))
    heights = linkage(lonlat * (east_m, north_m), "average")[:, 2]
    return float(heights[heights <= together_m].max(initial=0.0)), float(heights[heights > together_m].min(initial=np.inf))
