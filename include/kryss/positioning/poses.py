"""Which camera poses are believed, and how far.

Every photo has up to two poses: the camera's own (``gps``) and the one from structure from motion (``sfm``, Mapillary's
``computed_*``). The SfM pose is taken where it is plausible, the raw one otherwise. Each pose that is not believed is
reported with a reason, also when the other pose of the same photo is good. The errors are those of the sequence where it
is long enough to show them: :mod:`kryss.positioning.track` for positions, :mod:`kryss.positioning.headings` for headings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kryss.model import Image, Pose, PoseOrigin, RejectedPose
from kryss.positioning.camera import heading_deg, intrinsics, is_spherical, is_unmerged
from kryss.positioning.frame import distance_m, is_position
from kryss.positioning.headings import COMPASS_SIGMA_DEG, Headings, along_the_track, judge
from kryss.positioning.track import FASTEST_M_PER_S, MOST_OUTLIERS, Track, courses, off_track, roughness_m

ORIGINS: tuple[PoseOrigin, ...] = ("gps", "sfm")
SIGMA_M: dict[PoseOrigin, tuple[float, float, float]] = {"gps": (6.0, 3.0, 15.0), "sfm": (1.5, 1.5, 5.0)}
"""One axis of a position: usual, least, most. A phone's or dash camera's GPS between buildings; Mapillary does not publish
its own. SfM is tight between the photos of a reconstruction, which hangs on the GPS of all of them: a smooth track does
not make it better than usual."""
ROUGHNESS_PRIOR_PHOTOS = 10
OFF_TRACK_M: dict[PoseOrigin, float] = {"gps": 25.0, "sfm": 12.0}
"""Four usual errors, or eight of SfM's."""
ROTATION_SIGMA_DEG = 1.5
CALIBRATED_HEADING_SIGMA_DEG = 6.0
UNCALIBRATED_HEADING_SIGMA_DEG = 20.0
"""A heading without a rotation and without camera parameters comes from the track: the camera may be yawed against it."""

FROZEN_PHOTOS = 3
FROZEN_SECONDS = 3.0
STOOD_STILL_M = 5.0
DISAGREEMENT_M = 50.0
"""SfM starts from the GPS: farther apart than a bad GPS fix and its reconstruction can be, one of the two is wrong."""

_POSITION_OF: dict[PoseOrigin, str] = {"gps": "raw GPS", "sfm": "SfM position"}
_HEADING_OF: dict[PoseOrigin, str] = {"gps": "raw heading", "sfm": "SfM heading"}


@dataclass(frozen=True, slots=True)
class TrustedPose:
    """The pose that positions are made from, with its one-axis errors."""

    image_id: str
    pose: Pose
    """Has a rotation or a heading, always."""
    sigma_m: float
    heading_sigma_deg: float


def trusted_poses(images: Iterable[Image]) -> tuple[dict[str, TrustedPose], list[RejectedPose]]:
    """The believed pose of each photo by image id, and the poses that were not believed, sorted by image id.

    A photo without a believable pose is in the second only: its rejections say why. A photo whose heading alone is not
    believed is in both, with the heading of the track. Give whole sequences: a frozen GPS can only be told from its
    neighbours, and the noise of a sequence is measured on its own track.
    """
    sequences: dict[str, list[Image]] = defaultdict(list)
    for image in images:
        sequences[image.sequence_id].append(image)
    trusted: dict[str, TrustedPose] = {}
    rejected: list[RejectedPose] = []
    for sequence_id in sorted(sequences):
        sequence = sorted(sequences[sequence_id], key=lambda image: (image.captured_at, image.id))
        believed, refused = _trusted_sequence(sequence)
        trusted |= believed
        rejected += refused
    return trusted, sorted(rejected, key=lambda one: (one.image_id, one.origin, one.reason))


def _trusted_sequence(sequence: Sequence[Image]) -> tuple[dict[str, TrustedPose], list[RejectedPose]]:
    """:func:`trusted_poses` of one sequence in time order."""
    reasons = _reasons(sequence)
    headings, judged, heading_reasons = _judged_headings(sequence, reasons)
    sigma_m = {origin: _track_sigma_m(origin, sequence, reasons) for origin in ORIGINS}
    on_track = [(image, pose) for image in sequence if (pose := _position(image, reasons)) is not None]
    track = Track.of(on_track)
    course = dict(zip(track.ids, courses(track)[0], strict=True))
    trusted: dict[str, TrustedPose] = {}
    refused = {key: [reason] for key, reason in reasons.items()}
    for key, reason in heading_reasons.items():
        refused[key] = [f"{_HEADING_OF[key[1]]} {reason}"]
    for image, pose in on_track:
        position_sigma_m = sigma_m["gps" if is_unmerged(image) else pose.origin]
        directed = _directed(image, pose, reasons, headings)
        if directed is not None:
            pose, sigma_deg = _compass_corrected(image, directed, judged["gps"])
            trusted[image.id] = TrustedPose(image.id, pose, position_sigma_m, sigma_deg)
            continue
        if np.isnan(course[image.id]):
            refused.setdefault((image.id, pose.origin), []).append("no rotation, no heading, and no track to take one from")
            continue
        heading_deg, sigma_deg = _heading_of_track(float(course[image.id]), judged)
        level = replace(pose, heading_deg=heading_deg, rotation=None)
        trusted[image.id] = TrustedPose(image.id, level, position_sigma_m, sigma_deg)
    return trusted, [RejectedPose(image_id, origin, "; ".join(why)) for (image_id, origin), why in refused.items()]


Reasons = dict[tuple[str, PoseOrigin], str]


def _reasons(sequence: Sequence[Image]) -> Reasons:
    """Why poses of one sequence (in time order) are not believed."""
    reasons: Reasons = {}
    for image in sequence:
        for pose in (image.gps, image.sfm):
            if pose is not None and not is_position(pose.lon, pose.lat):
                reasons[image.id, pose.origin] = f"no position on the globe: lon {pose.lon}, lat {pose.lat}"
    reasons |= _duplicates(sequence, reasons)
    reasons |= _frozen(sequence, reasons)
    jumps = {origin: _jumps(sequence, origin, reasons) for origin in ORIGINS}
    for image in sequence:
        gps, sfm = _believed(image, "gps", reasons), _believed(image, "sfm", reasons)
        if gps is None or sfm is None:
            continue
        apart_m = distance_m(gps.lon, gps.lat, sfm.lon, sfm.lat)
        if apart_m <= DISAGREEMENT_M:
            continue
        if (image.id, "gps") in jumps["gps"] and (image.id, "sfm") not in jumps["sfm"]:
            reasons[image.id, "gps"] = jumps["gps"][image.id, "gps"]
        else:
            reasons[image.id, "sfm"] = f"SfM position is {apart_m:.0f} m from the raw GPS"
    for image in sequence:
        for origin in ORIGINS:
            if (image.id, origin) in jumps[origin]:
                reasons.setdefault((image.id, origin), jumps[origin][image.id, origin])
    for origin in ORIGINS:
        found = off_track(_track(origin, sequence, reasons), OFF_TRACK_M[origin])
        reasons |= {
            (image_id, origin): f"{_POSITION_OF[origin]} is {metres:.0f} m off the track of its own sequence"
            for image_id, metres in found.items()
        }
    return reasons


def _track(origin: PoseOrigin, sequence: Sequence[Image], reasons: Reasons) -> Track:
    return Track.of([(image, pose) for image in sequence if (pose := _believed(image, origin, reasons)) is not None])


def _duplicates(sequence: Sequence[Image], reasons: Reasons) -> Reasons:
    """Photos of the same instant, place and direction as one before: the same look twice is no second opinion.

    Cameras of one rig share instant and place, not the direction; a clock of whole seconds gives two photos one instant,
    not one place.
    """
    first: dict[tuple[object, ...], str] = {}
    found: Reasons = {}
    for image in sequence:
        poses = [pose for origin in ORIGINS if (pose := _believed(image, origin, reasons)) is not None]
        if not poses:
            continue
        where = [(p.origin, round(p.lon, 7), round(p.lat, 7), p.heading_deg, p.rotation and tuple(p.rotation)) for p in poses]
        kept = first.setdefault((image.captured_at, *where), image.id)
        if kept != image.id:
            reason = f"duplicate of photo {kept}: same instant, place and direction"
            found |= {(image.id, pose.origin): reason for pose in poses}
    return found


def _frozen(sequence: Sequence[Image], reasons: Reasons) -> Reasons:
    """Raw poses that repeat, position and heading, while the camera moved on or nothing says that it stood."""
    groups: dict[tuple[float, float, float | None], list[Image]] = defaultdict(list)
    for image in sequence:
        gps = _believed(image, "gps", reasons)
        if gps is not None:
            heading = None if gps.heading_deg is None else round(gps.heading_deg, 2)
            groups[round(gps.lon, 7), round(gps.lat, 7), heading].append(image)
    frozen: Reasons = {}
    for images in groups.values():
        seconds = (images[-1].captured_at - images[0].captured_at).total_seconds()
        if len(images) < FROZEN_PHOTOS or seconds < FROZEN_SECONDS or _stood_still(images, reasons):
            continue
        reason = (
            f"raw GPS frozen: {len(images)} photos of sequence {images[0].sequence_id} "
            f"share one position and heading over {seconds:.0f} s"
        )
        frozen |= {(image.id, "gps"): reason for image in images}
    return frozen


def _stood_still(images: Sequence[Image], reasons: Reasons) -> bool:
    """SfM saw all of these photos from one place: an unchanging GPS is then right."""
    poses = [_believed(image, "sfm", reasons) for image in images]
    if not all(poses):
        return False
    return all(distance_m(poses[0].lon, poses[0].lat, one.lon, one.lat) < STOOD_STILL_M for one in poses if one and poses[0])


def _jumps(sequence: Sequence[Image], origin: PoseOrigin, reasons: Reasons) -> Reasons:
    """Positions that no car reaches from the one before and leaves to the one after, while those two agree."""
    track = [(image, pose) for image in sequence if (pose := _believed(image, origin, reasons)) is not None]

    def too_fast(a: tuple[Image, Pose], b: tuple[Image, Pose]) -> bool:
        seconds = max((b[0].captured_at - a[0].captured_at).total_seconds(), 1.0)
        return distance_m(a[1].lon, a[1].lat, b[1].lon, b[1].lat) > FASTEST_M_PER_S * seconds + DISAGREEMENT_M

    found: Reasons = {}
    for before, here, after in zip(track, track[1:], track[2:], strict=False):
        if too_fast(before, here) and too_fast(here, after) and not too_fast(before, after):
            metres = distance_m(before[1].lon, before[1].lat, here[1].lon, here[1].lat)
            found[here[0].id, origin] = f"{_POSITION_OF[origin]} jumps {metres:.0f} m away and back, faster than a car"
    return found if len(found) <= MOST_OUTLIERS * len(track) else {}


def _believed(image: Image, origin: PoseOrigin, reasons: Reasons) -> Pose | None:
    return (image.gps if origin == "gps" else image.sfm) if (image.id, origin) not in reasons else None


def _position(image: Image, reasons: Reasons) -> Pose | None:
    """The pose whose position is taken: SfM's where it is believed."""
    return _believed(image, "sfm", reasons) or _believed(image, "gps", reasons)


def _judged_headings(
    sequence: Sequence[Image], reasons: Reasons
) -> tuple[dict[tuple[str, PoseOrigin], float], dict[PoseOrigin, Headings], Reasons]:
    """The believed headings by photo and origin, what the track says of each origin's, and why others are not believed."""
    headings: dict[tuple[str, PoseOrigin], float] = {}
    refused: Reasons = {}
    judged: dict[PoseOrigin, Headings] = {}
    for origin in ORIGINS:
        here: dict[str, float] = {}
        for image in sequence:
            pose = _believed(image, origin, reasons)
            if pose is None or (pose.rotation is None and pose.heading_deg is None):
                continue
            numbers = pose.rotation if pose.rotation is not None else (pose.heading_deg,)
            if not all(number is not None and np.isfinite(number) for number in numbers):
                refused[image.id, origin] = f"is not finite: {', '.join(str(number) for number in numbers)}"
            else:
                here[image.id] = heading_deg(image, pose) if pose.rotation is not None else float(numbers[0] or 0.0) % 360.0
        track = _track(origin, sequence, reasons)
        judged[origin] = judge(here, track, roughness_m(track))
        refused |= {(image_id, origin): reason for image_id, reason in judged[origin].rejected.items() if image_id in here}
        headings |= {(image_id, origin): value for image_id, value in here.items() if image_id not in judged[origin].rejected}
    return headings, judged, refused


def _directed(image: Image, pose: Pose, reasons: Reasons, headings: Mapping[tuple[str, PoseOrigin], float]) -> Pose | None:
    """The pose with a direction that is believed: its own, or the raw one; None where there is neither."""
    if (image.id, pose.origin) in headings:
        return pose
    if pose.origin == "sfm" and (image.id, "gps") in headings and _believed(image, "gps", reasons) is not None:
        return replace(pose, heading_deg=headings[image.id, "gps"], rotation=None)
    return None


def _compass_corrected(image: Image, pose: Pose, compass: Headings) -> tuple[Pose, float]:
    """The pose and the error of its heading, without the bias of its compass where the track shows one."""
    if not _is_compass(image, pose):
        return pose, _heading_sigma_deg(image, pose)
    bias = compass.compass_bias()
    if bias is None or compass.spread_deg is None or pose.heading_deg is None or pose.rotation is not None:
        return pose, COMPASS_SIGMA_DEG
    corrected = replace(pose, heading_deg=float((pose.heading_deg - bias[0]) % 360.0))
    return corrected, min(float(np.hypot(bias[1], compass.spread_deg)), COMPASS_SIGMA_DEG)


def _heading_of_track(course_deg: float, judged: Mapping[PoseOrigin, Headings]) -> tuple[float, float]:
    """Heading and its error of a photo that has none of its own: the camera keeps its angle to the track, or looks ahead."""
    for origin in ("sfm", "gps"):
        if judged[origin].offset_deg is not None:
            heading, sigma_deg = along_the_track(course_deg, judged[origin])
            return heading, max(sigma_deg, CALIBRATED_HEADING_SIGMA_DEG if origin == "sfm" else COMPASS_SIGMA_DEG)
    return course_deg, UNCALIBRATED_HEADING_SIGMA_DEG


def _track_sigma_m(origin: PoseOrigin, sequence: Sequence[Image], reasons: Reasons) -> float:
    """One-axis position error of a sequence: the origin's usual one, moved towards what its track's roughness shows.

    A position's own error is half of its variance; the other half, which all photos of the drive share, does not show.
    """
    track = _track(origin, sequence, reasons)
    own = roughness_m(track)
    usual, least, most = SIGMA_M[origin]
    if own is None:
        return usual
    weight = len(track.ids) / (len(track.ids) + ROUGHNESS_PRIOR_PHOTOS)
    return float(np.clip(np.sqrt((1 - weight) * usual**2 + weight * 2 * own**2), least, most))


def _is_compass(image: Image, pose: Pose) -> bool:
    """Whether the heading is the raw one, whatever it is called: SfM repeats it where it could not connect a photo."""
    if pose.rotation is not None:
        return intrinsics(image).assumed
    return pose.origin == "gps" or (image.gps is not None and pose.heading_deg == image.gps.heading_deg)


def _heading_sigma_deg(image: Image, pose: Pose) -> float:
    if pose.rotation is not None:
        return ROTATION_SIGMA_DEG
    if image.camera_parameters is None and not is_spherical(image):
        return UNCALIBRATED_HEADING_SIGMA_DEG
    return CALIBRATED_HEADING_SIGMA_DEG
