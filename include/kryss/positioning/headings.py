"""What the track of a sequence says of its headings.

A camera on a car keeps its angle to the direction of travel. The median of heading minus course is that angle plus the
compass's bias; the spread about it is the noise of a heading. A camera that is turned by hand has a large spread, and its
headings are left alone. A constant angle can be a camera that looks to the side: it is taken for compass bias only where
it is small, and then only as far as a mount is more exact than a compass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kryss.positioning.frame import wrap_deg
from kryss.positioning.track import MOST_OUTLIERS, Track, courses

Array = NDArray[np.float64]

COMPASS_SIGMA_DEG = 12.0
MOUNT_SIGMA_DEG = 6.0
"""A forward-facing camera is screwed on, or held, this far from straight ahead."""
FORWARD_DEG = 30.0
STEADY_DEG = 20.0
CONTRADICTION_DEG = 45.0
CONTRADICTION_SIGMAS = 4.0
JUDGED_PHOTOS = 5
CORRECTED_PHOTOS = 8
FROZEN_PHOTOS = 3
FROZEN_TURN_DEG = 30.0
LEAST_NOISE_DEG = 2.0
COURSE_SIGMA_DEG = 5.0
"""Of a course over some twenty metres of a road with bends."""


@dataclass(frozen=True)
class Headings:
    """The headings of one sequence from one origin, judged."""

    offset_deg: float | None = None
    """Median heading minus course; None where the photos are too few or turn freely."""
    spread_deg: float | None = None
    """Robust standard deviation about it."""
    photos: int = 0
    rejected: dict[str, str] = field(default_factory=dict)
    """Reasons by image id."""

    def compass_bias(self) -> tuple[float, float] | None:
        """What to take off raw compass headings and its one-sigma error, degrees; None where the camera may look aside.

        The offset is mount plus bias, each with its prior: the bias's share is that of its variance.
        """
        if self.offset_deg is None or self.spread_deg is None or self.photos < CORRECTED_PHOTOS:
            return None
        if abs(self.offset_deg) > FORWARD_DEG:
            return None
        mean_error = 1.2533 * self.spread_deg / np.sqrt(self.photos)
        other = MOUNT_SIGMA_DEG**2 + mean_error**2
        share = COMPASS_SIGMA_DEG**2 / (COMPASS_SIGMA_DEG**2 + other)
        return float(self.offset_deg * share), float(np.sqrt(share * other))


def judge(headings_deg: Mapping[str, float], track: Track, roughness_m: float | None = None) -> Headings:
    """Offset, noise and contradictions of the headings (by image id) of photos on a track.

    ``roughness_m``: a position's own error, whose part in the spread is the course's and not the heading's.
    """
    course, straight, way = courses(track)
    heading = np.array([headings_deg.get(image_id, np.nan) for image_id in track.ids])
    rejected = _frozen(heading, np.where(straight, course, np.nan), track)
    usable = straight & np.isfinite(course) & np.isfinite(heading)
    usable &= np.array([image_id not in rejected for image_id in track.ids], bool)
    if int(usable.sum()) < JUDGED_PHOTOS:
        return Headings(rejected=rejected)
    turned = np.asarray(wrap_deg(heading - course), dtype=np.float64)
    offset = _circular_median(turned[usable])
    off = np.abs(wrap_deg(turned - offset))
    spread = float(1.4826 * np.median(off[usable]))
    if spread > STEADY_DEG:
        return Headings(rejected=rejected)
    beyond = usable & (off > max(CONTRADICTION_DEG, CONTRADICTION_SIGMAS * spread))
    if beyond.sum() <= MOST_OUTLIERS * usable.sum():
        rejected |= {
            track.ids[i]: f"is {off[i]:.0f} degrees off the track of a camera that otherwise keeps its angle to it"
            for i in np.flatnonzero(beyond)
        }
    of_course = np.degrees((roughness_m or 0.0) * np.sqrt(2) / float(np.median(way[usable])))
    own = float(np.sqrt(max(spread**2 - of_course**2, LEAST_NOISE_DEG**2)))
    return Headings(offset, own, int(usable.sum()), rejected)


def along_the_track(course_deg: float, judged: Headings) -> tuple[float, float]:
    """Heading and its one-sigma error of a photo whose own is not believed, by the angle its camera keeps to the course.

    Needs an offset: without one, nothing says that the camera looks ahead.
    """
    if judged.offset_deg is None or judged.spread_deg is None:
        raise ValueError("no offset between heading and course is known; the camera may look anywhere")
    return float((course_deg + judged.offset_deg) % 360.0), float(np.hypot(judged.spread_deg, COURSE_SIGMA_DEG))


def _frozen(heading: Array, course: Array, track: Track) -> dict[str, str]:
    """Headings that stay the same while the track turns, or are 0 in every photo of a track that does not run north."""
    known = np.isfinite(heading) & np.isfinite(course)
    if not known.any():
        return {}
    values = np.round(heading, 2)
    if known.sum() >= FROZEN_PHOTOS and np.all(values[np.isfinite(heading)] == 0.0):
        off = abs(_circular_median(np.asarray(wrap_deg(course[known]), dtype=np.float64)))
        if off > CONTRADICTION_DEG:
            return {track.ids[i]: "is 0 in every photo of a sequence that does not run north" for i in range(len(heading))}
    frozen: dict[str, str] = {}
    for value in np.unique(values[known]):
        same = known & (values == value)
        middle = _circular_median(course[same])
        turn = 2 * float(np.max(np.abs(wrap_deg(course[same] - middle))))
        if same.sum() >= FROZEN_PHOTOS and turn > FROZEN_TURN_DEG:
            reason = f"is frozen: {int(same.sum())} photos share it while the track turns by {turn:.0f} degrees"
            frozen |= {track.ids[i]: reason for i in np.flatnonzero(values == value)}
    return frozen


def _circular_median(angles_deg: Array) -> float:
    """The angle whose absolute differences to all are least on average, in (-180, 180]."""
    candidates = angles_deg[np.linspace(0, len(angles_deg) - 1, min(len(angles_deg), 200)).astype(int)]
    cost = np.abs(wrap_deg(angles_deg[None, :] - candidates[:, None])).mean(axis=1)
    start = float(candidates[int(np.argmin(cost))])
    return float(wrap_deg(start + np.median(wrap_deg(angles_deg - start))))
