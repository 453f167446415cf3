"""The track of one sequence: where it went, which photos do not lie on it, how rough it is, and where it was heading.

A photo is compared with the straight lines between photos before and after it, in the metric frame. The least of these
distances counts, so that one bad neighbour condemns nobody. Where clocks stood still or ran apart, photos cannot be put in
order; a track on which a third of the photos would be wrong is such a one, and says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from kryss.model import Image, Pose
from kryss.positioning.frame import frame_for, wrap_deg

Array = NDArray[np.float64]

MOST_OUTLIERS = 0.34
"""More of a sequence than this is not wrong; its order is."""
NEIGHBOUR_SECONDS = 30.0
"""Across a longer pause a straight line says nothing."""
BEND = 0.5
"""Of the way between two neighbours: so far a bend, or turning round, can take a car off the straight line."""
STANDING_M = 2.0
FASTEST_M_PER_S = 70.0
BEYOND_M = 2e7
"""Where the projection has no place for a point: the other side of the Earth."""
COURSE_M = 20.0
"""The course is taken over this way where there is so much: longer than a GPS errs between two photos."""
COURSE_PHOTOS = 4
STRAIGHT_DEG = 30.0
ROUGHNESS_PHOTOS = 8


@dataclass(frozen=True)
class Track:
    """Positions of one sequence in time order, metres east and north in a local frame."""

    ids: tuple[str, ...]
    seconds: Array
    """(n,) since the first"""
    xy: Array
    """(n, 2)"""
    convergence_deg: Array
    """(n,) to add to a grid bearing"""

    @staticmethod
    def of(posed: Sequence[tuple[Image, Pose]]) -> Track:
        """From photos in time order with their poses, all of them on the globe."""
        if not posed:
            return Track((), np.zeros(0), np.zeros((0, 2)), np.zeros(0))
        lon, lat = [pose.lon for _, pose in posed], [pose.lat for _, pose in posed]
        # About a photo in the middle: one lost fix on another continent must not move the frame away from all others.
        middle = sorted(zip(lat, lon, strict=True))[len(posed) // 2]
        frame = frame_for([middle[1]], [middle[0]])
        return Track(
            ids=tuple(image.id for image, _ in posed),
            seconds=np.array([(image.captured_at - posed[0][0].captured_at).total_seconds() for image, _ in posed]),
            xy=np.nan_to_num(frame.to_xy(lon, lat), nan=BEYOND_M, posinf=BEYOND_M, neginf=-BEYOND_M),
            convergence_deg=np.nan_to_num(frame.convergence_deg(lon, lat), nan=0.0, posinf=0.0, neginf=0.0),
        )

    @property
    def in_order(self) -> bool:
        """Whether the clock tells most photos apart."""
        return len(self.ids) < 2 or float(np.mean(np.diff(self.seconds) > 0)) > 1 - MOST_OUTLIERS


def off_track(track: Track, limit_m: float) -> dict[str, float]:
    """Metres from the track, by image id, of the photos farther from it than ``limit_m`` and than a bend explains."""
    n = len(track.ids)
    if not track.in_order or n < 3:
        return {}
    speed = float(np.median(_length(np.diff(track.xy, axis=0)) / np.maximum(np.diff(track.seconds), 0.1)))
    nearest, judged, beyond = np.full(n, np.inf), np.zeros(n, bool), np.ones(n, bool)
    for back, ahead in product((1, 2), repeat=2):
        here = np.arange(back, n - ahead)
        here = here[track.seconds[here + ahead] - track.seconds[here - back] <= NEIGHBOUR_SECONDS]
        metres = _length(_residual(track, here - back, here, here + ahead))
        usual_way = speed * (track.seconds[here + ahead] - track.seconds[here - back])
        way = np.maximum(_length(track.xy[here + ahead] - track.xy[here - back]), usual_way)
        allowed = np.maximum(limit_m, BEND * way)
        judged[here] = True
        beyond[here] &= metres > allowed
        nearest[here] = np.minimum(nearest[here], metres)
    found = {track.ids[i]: float(nearest[i]) for i in np.flatnonzero(judged & beyond)}
    return found if len(found) <= MOST_OUTLIERS * n else {}


def roughness_m(track: Track) -> float | None:
    """One-axis standard deviation of a position's own error: the median sideways step off the line of its neighbours.

    None with fewer than eight photos to judge by. What the whole sequence shares does not show in it.
    """
    here = np.arange(1, max(len(track.ids) - 1, 1))
    if not track.in_order or not len(here):
        return None
    along = track.xy[here + 1] - track.xy[here - 1]
    near = (_length(along) >= STANDING_M) & (track.seconds[here + 1] - track.seconds[here - 1] <= NEIGHBOUR_SECONDS)
    here, along = here[near], along[near]
    if len(here) < ROUGHNESS_PHOTOS:
        return None
    share = _share(track, here - 1, here, here + 1)
    step = _residual(track, here - 1, here, here + 1)
    sideways = np.abs(along[:, 0] * step[:, 1] - along[:, 1] * step[:, 0]) / _length(along)
    return float(np.median(sideways / np.sqrt(1 + share**2 + (1 - share) ** 2))) * 1.4826


def courses(track: Track) -> tuple[Array, NDArray[np.bool_], Array]:
    """True bearing of travel past each photo (NaN where it stands), whether straight there, metres it is taken over.

    Three arrays ``(n,)``.
    """
    n = len(track.ids)
    if not track.in_order or n < 2:
        return np.full(n, np.nan), np.zeros(n, bool), np.zeros(n)
    before, after = _reach(track, -1), _reach(track, 1)
    along = track.xy[after] - track.xy[before]
    way = _length(along)
    possible = (way >= STANDING_M) & (way <= FASTEST_M_PER_S * np.maximum(track.seconds[after] - track.seconds[before], 1.0))
    course = np.where(possible, (_bearing_deg(along) + track.convergence_deg) % 360.0, np.nan)
    straight = possible.copy()
    for leg in (track.xy - track.xy[before], track.xy[after] - track.xy):
        turn = np.abs(wrap_deg(_bearing_deg(leg) - _bearing_deg(along)))
        straight &= (turn <= STRAIGHT_DEG) | (_length(leg) < STANDING_M)
    return course, straight, way


def _reach(track: Track, step: int) -> NDArray[np.intp]:
    """(n,) For each photo the nearest before or after that is half a course's length away, or the last within reach."""
    n = len(track.ids)
    here = np.arange(n)
    reached, going = here.copy(), np.ones(n, bool)
    for _ in range(COURSE_PHOTOS):
        following = np.clip(reached + step, 0, n - 1)
        going &= (following != reached) & (np.abs(track.seconds[following] - track.seconds) <= NEIGHBOUR_SECONDS)
        reached = np.where(going, following, reached)
        going &= _length(track.xy[reached] - track.xy) < COURSE_M / 2
    return reached


def _share(track: Track, before: NDArray[np.intp], here: NDArray[np.intp], after: NDArray[np.intp]) -> Array:
    """(n,) How much of the time between its neighbours had passed."""
    whole = track.seconds[after] - track.seconds[before]
    passed = track.seconds[here] - track.seconds[before]
    return np.divide(passed, whole, out=np.full(len(here), 0.5), where=whole > 0)


def _residual(track: Track, before: NDArray[np.intp], here: NDArray[np.intp], after: NDArray[np.intp]) -> Array:
    """(n, 2) Metres from where its neighbours and the time put each photo."""
    share = _share(track, before, here, after)[:, None]
    return np.asarray(track.xy[here] - (1 - share) * track.xy[before] - share * track.xy[after], dtype=np.float64)


def _length(vectors: Array) -> Array:
    return np.hypot(vectors[:, 0], vectors[:, 1])


def _bearing_deg(vectors: Array) -> Array:
    return np.degrees(np.arctan2(vectors[:, 0], vectors[:, 1]))
