"""The nouns that rooms hand to each other: frozen dataclasses, no behaviour, no imports from other rooms.

Conventions, everywhere in Kryss: longitudes and latitudes are WGS84 degrees; bearings are degrees clockwise from true
north; covariances are in metres squared in a local east-north frame; instants are timezone-aware UTC datetimes; boxes are
``(left, top, right, bottom)`` in pixels of the *upright* image at its original size (``Image.width`` and ``height`` swapped
where the EXIF orientation is 5 to 8), whatever size of thumbnail was read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

PoseOrigin = Literal["sfm", "gps"]
Box = tuple[float, float, float, float]
Covariance = tuple[float, float, float]
"""``(east_east, east_north, north_north)`` in m^2."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a camera was and how it was turned, with the origin of the claim kept."""

    origin: PoseOrigin
    lon: float
    lat: float
    altitude_m: float | None = None
    heading_deg: float | None = None
    rotation: tuple[float, float, float] | None = None
    """Angle-axis (radians) of the rotation that takes world ENU to camera (x right, y down, z forward)."""


@dataclass(frozen=True, slots=True)
class Image:
    """One Mapillary photo."""

    id: str
    sequence_id: str
    captured_at: datetime
    width: int
    height: int
    gps: Pose | None
    sfm: Pose | None
    camera_type: str = "perspective"
    camera_parameters: tuple[float, float, float] | None = None
    """Focal length over max(width, height), k1, k2; None where the service has none."""
    exif_orientation: int = 1
    is_pano: bool = False
    make: str | None = None
    model: str | None = None
    creator: str | None = None


@dataclass(frozen=True, slots=True)
class Detection:
    """A box of a class with a score in one image, made by one model version."""

    image_id: str
    model_key: str
    """``name@version`` of the weights registry."""
    ordinal: int
    """0, 1, ... by falling score inside (image, model)."""
    class_name: str
    score: float
    box: Box
    depth: float | None = None
    """Median monocular depth inside the box; metres only if the depth model claims them."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A detection placed on the ground."""

    image_id: str
    model_key: str
    ordinal: int
    sequence_id: str
    captured_at: datetime
    class_name: str
    score: float
    camera_lon: float
    camera_lat: float
    camera_sigma_m: float
    """One-axis standard deviation of the camera position."""
    pose_origin: PoseOrigin
    bearing_deg: float
    bearing_sigma_deg: float
    range_m: float
    range_sigma_m: float
    method: str
    """How the range was found, e.g. ``known-size``."""
    lon: float
    lat: float
    covariance: Covariance
    range_shared_sigma_m: float = 0.0
    """The part of ``range_sigma_m`` that all sightings of the object have in common (its size); 0: not said."""
    range_sequence_sigma_m: float = 0.0
    """The part that all sightings of the sequence have in common (camera height, depth scale, focal length); 0: none."""
    height_m: float | None = None
    """Middle of the object above the road, by this sighting alone."""
    height_sigma_m: float | None = None


@dataclass(frozen=True, slots=True)
class RejectedPose:
    """A pose that was not believed, with the reason that the report prints."""

    image_id: str
    origin: PoseOrigin
    reason: str


@dataclass(frozen=True, slots=True)
class FusedObject:
    """One cluster of sightings: what positioning hands to history, before it has an identity."""

    class_name: str
    lon: float
    lat: float
    covariance: Covariance
    error_radius_m: float
    """Radius that holds the true position with 95 % probability."""
    sightings: tuple[Sighting, ...]
    facing_deg: float | None = None
    """Where its front looks; None where it has none or views contradict each other."""
    height_m: float | None = None
    """Middle of the object above the road."""
    height_sigma_m: float | None = None


ObjectStatus = Literal["standing", "unconfirmed", "ended"]
"""``unconfirmed``: fewer than three images show it as its class, or its place is not known to 10 m (at 95 %).
``ended``: negative evidence says it has gone."""


@dataclass(frozen=True, slots=True)
class Absence:
    """A time between two sightings in which looks say that an object did not stand (capture times, UTC)."""

    gone_after: datetime
    """The last image that showed it before."""
    gone_by: datetime
    """The first look at which it is known to have been away."""
    back_after: datetime
    """The last look at which it is known to have been away."""
    back_by: datetime
    """The first image that shows it again."""


@dataclass(frozen=True, slots=True)
class StreetObject:
    """One physical sign or light. The id never changes and is never reused."""

    id: str
    class_name: str
    lon: float
    lat: float
    covariance: Covariance
    error_radius_m: float
    first_seen_at: datetime
    last_seen_at: datetime
    status: ObjectStatus
    standing_probability: float
    ended_at: datetime | None
    """Capture time of the first look by which it is known to have gone: it went between ``last_seen_at`` and this. None while
    it stands."""
    evidence: tuple[tuple[str, int], ...]
    """``(image_id, ordinal)`` of the sightings it was made from, sorted."""
    misses: tuple[str, ...] = ()
    """Image ids that should have shown it after ``last_seen_at`` and did not, sorted by capture time; of an object that ended,
    those up to the end."""
    facing_deg: float | None = None
    model_key: str = ""
    method: str = ""
    height_m: float | None = None
    """Middle of the object above the road; None where nothing says."""
    height_sigma_m: float | None = None
    began_after: datetime | None = None
    """Capture time of the last look before ``first_seen_at`` at which, as it and those after it say, it did not stand: it came
    between the two. None: nobody had looked, or not enough."""
    absences: tuple[Absence, ...] = ()
    """When it did not stand between ``first_seen_at`` and ``last_seen_at``, in time order."""
    replaced_by: str | None = None
    """Id of the object that stands where this one ended."""
    image_id: str | None = None
    """The photo of its evidence that shows it best: taken from nearest by, among those read as its class. None: no photo does."""


Reason = Literal["street", "evidence", "model"]
"""Why a belief was written: the street changed; photos came, were placed anew or were removed; or another model looked at
the same photos."""


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """What was believed of a StreetObject over an interval of system time."""

    object: StreetObject
    known_from: datetime
    known_to: datetime | None
    reason: Reason = "evidence"
    """Why it came to be believed."""


Relation = Literal["merged_into", "split_from", "lost_evidence", "unsupported"]
"""What became of an identity: its evidence is another object's now; it was made of a part of another's evidence; its photos
were removed; or its evidence, weighed anew, shows nothing that stands."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """An event in the life of an identity (not of a thing in the street), in system time."""

    object_id: str
    relation: Relation
    other_id: str | None = None
    """The object merged into or split from."""
    reason: Reason = "evidence"
    known_at: datetime | None = None
    """Instant of system time; None until it is stored."""


@dataclass(frozen=True, slots=True)
class Intersection:
    """A junction with a centre, an area polygon and the speed limit that shaped it."""

    id: str
    """From its source, as it was first found: ``nvdb:<smallest node id>``, ``osm:<smallest node id>``, ``area:<feature id>``,
    ``lights:<object id>``."""
    source: str
    lon: float
    lat: float
    speed_limit_kmh: float
    area: tuple[tuple[float, float], ...]
    """Closed exterior ring, counter-clockwise, ``(lon, lat)``."""
    name: str | None = None
    kind: str | None = None
    arms: int | None = None
    members: tuple[str, ...] = ()
    """Source ids of the nodes that were consolidated, sorted."""
    reach: tuple[tuple[float, float], ...] = ()
    """Closed ring like ``area``, before it was clipped against its neighbours; empty: the same as ``area``."""
    approaches: tuple[tuple[tuple[float, float], ...], ...] = ()
    """The roads that lead to it: a line ``(lon, lat)`` an arm, from the junction outwards, as far as its reach or the next
    junction. Empty where the source has no roads."""
    area_method: str = "square"
    """``square`` (the thesis's) or ``arms`` (follows the roads)."""


@dataclass(frozen=True, slots=True)
class Municipality:
    """The unit of a refresh: one boundary, one pair of DAGs."""

    code: str
    name: str
    country: str
    boundary: dict = field(hash=False)
    """GeoJSON Polygon or MultiPolygon geometry, WGS84."""


@dataclass(frozen=True, slots=True)
class SurveyedThing:
    """One sign or light as a survey lists it."""

    line: int
    """In the file of the survey; the header is line 1."""
    class_name: str
    lon: float
    lat: float
    facing_deg: float | None = None
    name: str | None = None
    """What the source calls it."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What one source listed on one day."""

    id: str
    """``survey:<day>:<source>``: in the evidence of objects, in the place of an image id, with the line as ordinal."""
    source: str
    surveyed_at: datetime
    """Midnight (UTC) of the day."""
    accuracy_m: float
    """One-axis standard deviation of a position."""
    complete: bool
    """Whether it lists all things of its classes in the municipality; of a partial one no absence follows."""
    things: tuple[SurveyedThing, ...]
    """By line."""
    rejected: tuple[tuple[int, str], ...] = ()
    """Line and reason of each row that was not used."""


PhotoOutcome = Literal["ok", "failed", "gone"]
"""``failed`` is tried again by the next run; ``gone`` was confirmed by a second look and is not."""


@dataclass(frozen=True, slots=True)
class PhotoResult:
    """What became of one photo in one run with one model."""

    image_id: str
    outcome: PhotoOutcome
    reason: str | None = None
    detections: int = 0


@dataclass(frozen=True, slots=True)
class Release:
    """One published, immutable, dated version of the layer."""

    code: str
    name: str
    """``YYYY-MM-DD.N``"""
    url: str
    intersections: int
    objects: int
    sha256: str
    """Of ``manifest.json``."""
