"""Which camera poses are believed, and how far.

Every photo has up to two poses: the camera's own (``gps``) and the one from structure from motion (``sfm``, Mapillary's
``computed_*``). The SfM pose is taken where it is plausible, the raw one otherwise. Each pose that is not believed is
reported with a reason, also when the other pose of the same photo is good.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from kryss.model import Image, Pose, PoseOrigin, RejectedPose
from kryss.positioning.camera import intrinsics, is_spherical, is_unmerged
from kryss.positioning.frame import GEOD, distance_m, is_position, wrap_deg

GPS_SIGMA_M = 6.0
"""One axis of a phone's or dash camera's GPS between buildings; Mapillary does not publish its own."""
SFM_SIGMA_M = 1.5
"""One axis of an SfM position: tight between photos of a reconstruction, which hangs on the GPS of all of them."""
ROTATION_SIGMA_DEG = 1.5
CALIBRATED_HEADING_SIGMA_DEG = 6.0
COMPASS_SIGMA_DEG = 12.0
UNCALIBRATED_HEADING_SIGMA_DEG = 20.0
"""A heading without a rotation and without camera parameters comes from the track: the camera may be yawed against it."""

FROZEN_PHOTOS = 3
FROZEN_SECONDS = 3.0
STOOD_STILL_M = 5.0
DISAGREEMENT_M = 50.0
"""SfM starts from the GPS: farther apart than a bad GPS fix and its reconstruction can be, one of the two is wrong."""
FASTEST_M_PER_S = 70.0


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

    A photo without a believable pose is in neither: its rejections say why. Give whole sequences: a frozen GPS can only be
    told from its neighbours.
    """
    sequences: dict[str, list[Image]] = defaultdict(list)
    for image in images:
        sequences[image.sequence_id].append(image)
    trusted: dict[str, TrustedPose] = {}
    rejected: list[RejectedPose] = []
    for sequence_id in sorted(sequences):
        sequence = sorted(sequences[sequence_id], key=lambda image: (image.captured_at, image.id))
        reasons = _reasons(sequence)
        rejected += [RejectedPose(image_id, origin, reason) for (image_id, origin), reason in reasons.items()]
        for image in sequence:
            pose = _chosen(image, reasons)
            if pose is None:
                continue
            if pose.rotation is None and pose.heading_deg is None:
                course = _course_deg(image, sequence, reasons)
                if course is None:
                    rejected.append(RejectedPose(image.id, pose.origin, "no rotation, no heading, and no track to take one from"))
                    continue
                trusted[image.id] = TrustedPose(
                    image.id, replace(pose, heading_deg=course), _position_sigma_m(image, pose), UNCALIBRATED_HEADING_SIGMA_DEG
                )
                continue
            trusted[image.id] = TrustedPose(image.id, pose, _position_sigma_m(image, pose), _heading_sigma_deg(image, pose))
    return trusted, sorted(rejected, key=lambda one: (one.image_id, one.origin, one.reason))


Reasons = dict[tuple[str, PoseOrigin], str]


def _reasons(sequence: Sequence[Image]) -> Reasons:
    """Why poses of one sequence (in time order) are not believed."""
    reasons: Reasons = {}
    for image in sequence:
        for pose in (image.gps, image.sfm):
            if pose is not None and not is_position(pose.lon, pose.lat):
                reasons[image.id, pose.origin] = f"no position on the globe: lon {pose.lon}, lat {pose.lat}"
    reasons |= _frozen(sequence, reasons)
    jumps = {origin: _jumps(sequence, origin, reasons) for origin in ("gps", "sfm")}
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
        for origin in ("gps", "sfm"):
            if (image.id, origin) in jumps[origin]:
                reasons.setdefault((image.id, origin), jumps[origin][image.id, origin])
    return reasons


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
            name = "raw GPS" if origin == "gps" else "SfM position"
            found[here[0].id, origin] = f"{name} jumps {metres:.0f} m away and back, faster than a car"
    return found


def _believed(image: Image, origin: PoseOrigin, reasons: Reasons) -> Pose | None:
    return (image.gps if origin == "gps" else image.sfm) if (image.id, origin) not in reasons else None


def _chosen(image: Image, reasons: Reasons) -> Pose | None:
    gps, sfm = _believed(image, "gps", reasons), _believed(image, "sfm", reasons)
    gps, sfm = _with_finite_direction(gps), _with_finite_direction(sfm)
    if sfm is None:
        return gps
    if sfm.rotation is None and sfm.heading_deg is None and gps is not None:
        return replace(sfm, heading_deg=gps.heading_deg)
    return sfm


def _with_finite_direction(pose: Pose | None) -> Pose | None:
    if pose is None:
        return None
    heading = pose.heading_deg if pose.heading_deg is not None and np.isfinite(pose.heading_deg) else None
    rotation = pose.rotation if pose.rotation is not None and np.all(np.isfinite(pose.rotation)) else None
    return replace(pose, heading_deg=heading, rotation=rotation)


def _position_sigma_m(image: Image, pose: Pose) -> float:
    return SFM_SIGMA_M if pose.origin == "sfm" and not is_unmerged(image) else GPS_SIGMA_M


def _heading_sigma_deg(image: Image, pose: Pose) -> float:
    compass = pose.origin == "gps" or (image.gps is not None and pose.heading_deg == image.gps.heading_deg)
    if pose.rotation is not None:
        return COMPASS_SIGMA_DEG if intrinsics(image).assumed else ROTATION_SIGMA_DEG
    if compass:
        return COMPASS_SIGMA_DEG
    if image.camera_parameters is None and not is_spherical(image):
        return UNCALIBRATED_HEADING_SIGMA_DEG
    return CALIBRATED_HEADING_SIGMA_DEG


def _course_deg(image: Image, sequence: Sequence[Image], reasons: Reasons) -> float | None:
    """Bearing of travel past this photo, from the nearest photos of its sequence at least 2 m away; None where it stands."""
    track = [(one, pose) for one in sequence if (pose := _chosen(one, reasons)) is not None]
    legs = []
    for (one, a), (other, b) in pairwise(track):
        bearing, _, metres = GEOD.inv(a.lon, a.lat, b.lon, b.lat)
        if metres >= 2.0 and image.id in (one.id, other.id):
            legs.append(bearing)
    if not legs:
        return None
    return float((legs[0] + wrap_deg(legs[-1] - legs[0]) / 2) % 360.0)
