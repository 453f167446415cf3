"""What was seen but does not stand in the street: signs on vehicles, and boxes that the next photo did not confirm.

A sign on a vehicle keeps its direction and distance while the camera moves on. A false box is seen once, though the same drive
looked at the place several times: how surely each camera sees what stands where is learnt from the objects that it did see
more than once. Drives of other days say nothing here: what they miss may have gone since (that is :mod:`kryss.history`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from kryss.positioning.adjust import Corrections, estimate, linearise, sums
from kryss.positioning.associate import Clusters
from kryss.positioning.table import Array, Codes, Scene

REASONS = ("never repeats", "on a vehicle", "not a number, or nowhere on the globe", "farther than can be seen")
"""Why sightings are in no object."""

SAME_WAY_LOG_RANGE, SAME_WAY_RAD, SAME_WAY_PHOTOS = 0.25, np.radians(8.0), 3.0
VEHICLE_PHOTOS = 4
VEHICLE_PATH_M = 20.0
VEHICLE_CHI2 = 16.0
"""How much better than standing still it must be explained by moving along."""

LOOK_M = 60.0
FACE_COSINE = 0.5
SECTORS, RINGS_M = 24, (8.0, 15.0, 25.0, 40.0)
PRIOR_RATE, PRIOR_LOOKS = 0.2, 2.0
SEEN_OFTEN = 3
SEEN_FROM_M, STATED_RANGES = 80.0, 1.5
"""No sign or light is read from farther away, unless its sightings state such ranges: then from so many times the largest."""
FAR_LESS = 3.0
EM_ROUNDS = 100
REAL, FALSE = 3.0, 1.0
"""What is known of boxes that no other confirms before any is looked at: as if three had been real and one false."""


def on_vehicles(scene: Scene) -> NDArray[np.bool_]:
    """``(n,)`` the sightings that move along with their camera."""
    moving = np.zeros(len(scene), dtype=bool)
    if len(scene) < VEHICLE_PHOTOS:
        return moving
    _, group = np.unique(np.column_stack([scene.sequence, scene.kind]), axis=0, return_inverse=True)
    photo = _photo_order(scene)
    placed = np.column_stack(
        [
            group.ravel() * 10.0,
            scene.log_range / SAME_WAY_LOG_RANGE,
            np.sin(scene.bearing) / SAME_WAY_RAD,
            np.cos(scene.bearing) / SAME_WAY_RAD,
            photo / SAME_WAY_PHOTOS,
        ]
    )
    pairs = cKDTree(placed).query_pairs(1.0, output_type="ndarray")
    pairs = pairs[scene.image[pairs[:, 0]] != scene.image[pairs[:, 1]]]
    graph = sparse.coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(scene), len(scene)))
    _, chain = connected_components(graph, directed=False)
    size = np.bincount(chain)
    rows = np.flatnonzero(size[chain] >= VEHICLE_PHOTOS)
    if not len(rows):
        return moving
    _, label = np.unique(chain[rows], return_inverse=True)
    count = int(label.max()) + 1
    size = np.bincount(label)
    far = np.zeros(count)
    for axis in scene.camera[rows].T:
        high, low = np.full(count, -np.inf), np.full(count, np.inf)
        np.maximum.at(high, label, axis)
        np.minimum.at(low, label, axis)
        far = np.hypot(far, high - low)
    prior = Corrections.prior(scene)
    linear = linearise(scene, rows, estimate(scene, rows, label, count, prior).state[label], prior.of(scene, rows))
    standing = sums((linear.residual**2 / linear.variance).sum(axis=1)[:, None], label, count)[:, 0]
    # Following a vehicle, its distance is the driver's to choose: it may breathe by a tenth.
    spread = np.column_stack([scene.own_sigma[rows] ** 2 + 0.1**2, linear.variance[:, 1]])
    values = np.column_stack([scene.log_range[rows], _unrolled(scene.bearing[rows], label, count)])
    mean = sums(values, label, count) / size[:, None]
    along = sums(((values - mean[label]) ** 2 / spread).sum(axis=1)[:, None], label, count)[:, 0]
    # Two boxes of one photo in a chain are things that stand in a row.
    photos = np.bincount(np.unique(np.column_stack([label, scene.image[rows]]), axis=0)[:, 0], minlength=count)
    vehicle = (photos == size) & (far >= VEHICLE_PATH_M) & (standing - along > VEHICLE_CHI2) & (along < 3.0 * (2 * size - 2))
    moving[rows] = vehicle[label]
    return moving


def _photo_order(scene: Scene) -> Array:
    """``(n,)`` the place of each sighting's photo in its sequence, by time."""
    first = np.full(scene.images, np.inf)
    np.minimum.at(first, scene.image, scene.time)
    sequence = np.zeros(scene.images, dtype=np.int64)
    sequence[scene.image] = scene.sequence
    order = np.lexsort((np.arange(scene.images), first, sequence))
    place = np.empty(scene.images)
    place[order] = np.arange(scene.images)
    return place[scene.image]


def _unrolled(angle: Array, label: Codes, count: int) -> Array:
    """Angles near the mean direction of their group, without the jump at north."""
    mean = np.arctan2(*sums(np.column_stack([np.sin(angle), np.cos(angle)]), label, count).T)[label]
    return np.asarray(mean + np.arctan2(np.sin(angle - mean), np.cos(angle - mean)))


def never_repeat(scene: Scene, clusters: Clusters, corrections: Corrections) -> NDArray[np.bool_]:
    """``(k,)`` the objects that are likelier to be false boxes, by what else their drives' photos should have shown.

    One that was seen once is real with the share of such objects that are (found by expectation and maximisation)
    times the probability that a real one is missed by all other looks at it. One that was seen more often, and yet
    :data:`FAR_LESS` standard deviations less often than a standing object, is rays that cross by chance.
    """
    looks = look(scene, clusters, corrections)
    doubted = (clusters.size > 1) & (looks.seen < looks.expected - FAR_LESS * np.sqrt(looks.variance + 0.25))
    once = np.flatnonzero(clusters.size == 1)
    missed = np.exp(looks.log_missed[once])
    real = REAL / (REAL + FALSE)
    for _ in range(EM_ROUNDS):
        likely = real * missed / (real * missed + 1.0 - real)
        real = (likely.sum() + REAL) / (len(once) + REAL + FALSE)
    doubted[once] = real * missed < 1.0 - real
    return doubted


def too_far(scene: Scene, clusters: Clusters, corrections: Corrections) -> NDArray[np.bool_]:
    """``(k,)`` the objects that stand beyond the range gate of all their cameras: rays that cross in the distance."""
    rows, labels = clusters.rows, clusters.labels
    camera = scene.camera[rows] + corrections.of(scene, rows)[:, :2]
    nearest, stated = np.full(clusters.count, np.inf), np.zeros(clusters.count)
    np.minimum.at(nearest, labels, np.hypot(*(clusters.objects.state[labels, :2] - camera).T))
    np.maximum.at(stated, labels, np.exp(scene.log_range[rows]))
    return nearest > np.maximum(SEEN_FROM_M, STATED_RANGES * stated)


@dataclass(frozen=True)
class Looks:
    """``(k,)`` of each object: how its drives looked at it."""

    seen: Array
    expected: Array
    """How many looks would show a standing object, with its variance."""
    variance: Array
    log_missed: Array
    """Log probability that a standing object is missed by all looks that did not show it."""


def look(scene: Scene, clusters: Clusters, corrections: Corrections) -> Looks:
    """How often each object was seen and should have been, by the rates at which each drive saw what it saw often."""
    photos = _Photos(scene, corrections)
    thing, photo = photos.looks(scene, clusters, np.arange(clusters.count))
    seen = np.isin(thing * scene.images + photo, clusters.labels * scene.images + scene.image[clusters.rows])
    where = photos.where(clusters, thing, photo)
    often = clusters.size[thing] >= SEEN_OFTEN
    looked = np.bincount(where[often], minlength=photos.places)
    rate = (np.bincount(where[often], seen[often], photos.places) + PRIOR_RATE * PRIOR_LOOKS) / (looked + PRIOR_LOOKS)
    rate = np.minimum(rate[where], 0.95)

    def total(values: Array) -> Array:
        return np.asarray(np.bincount(thing, values, clusters.count), dtype=np.float64)

    return Looks(
        total(seen.astype(np.float64)), total(rate), total(rate * (1.0 - rate)), total(np.where(seen, 0.0, np.log1p(-rate)))
    )


class _Photos:
    """The photos of a scene: where each stood and which way it drove."""

    def __init__(self, scene: Scene, corrections: Corrections) -> None:
        _, row = np.unique(scene.image, return_index=True)
        self.sequence = scene.sequence[row]
        self.position = scene.camera[row] + corrections.of(scene, row)[:, :2]
        order = np.lexsort((np.arange(len(row)), scene.time[row], self.sequence))
        self.course = np.full(len(row), np.nan)
        # Over two photos before and after: the noise of one position must not turn the course.
        for back, ahead in ((2, 2), (1, 1), (0, 2), (2, 0), (0, 1), (1, 0)):
            middle = np.arange(back, len(order) - ahead)
            a, b, here = order[middle - back], order[middle + ahead], order[middle]
            leg = self.position[b] - self.position[a]
            good = (self.sequence[a] == self.sequence[b]) & (np.hypot(*leg.T) > 3.0) & np.isnan(self.course[here])
            self.course[here[good]] = np.arctan2(*leg[good].T)
        self.places = (int(self.sequence.max(initial=-1)) + 1) * SECTORS * (len(RINGS_M) + 1)

    def looks(self, scene: Scene, clusters: Clusters, things: Codes) -> tuple[Codes, Codes]:
        """Pairs (object, photo) of a photo that had the object before it, in a drive that saw it."""
        tree = cKDTree(self.position)
        near = tree.query_ball_point(clusters.objects.state[things, :2], LOOK_M)
        thing = np.repeat(things, [len(found) for found in near])
        photo = np.array([one for found in near for one in sorted(found)], dtype=np.int64)
        drove = np.unique(clusters.labels * scene.sequences + scene.sequence[clusters.rows])
        offset = clusters.objects.state[thing, :2] - self.position[photo]
        distance = np.maximum(np.hypot(*offset.T), 1e-6)
        view = clusters.view[thing] / np.maximum(np.hypot(*clusters.view[thing].T), 1e-12)[:, None]
        before = ~scene.front[clusters.first[thing]] | ((view * offset).sum(axis=1) / distance > FACE_COSINE)
        good = before & np.isin(thing * scene.sequences + self.sequence[photo], drove) & np.isfinite(self.course[photo])
        return thing[good], photo[good]

    def where(self, clusters: Clusters, thing: Codes, photo: Codes) -> Codes:
        """The place in the view of its camera (sequence, sector against the course, ring) where a photo had an object."""
        offset = clusters.objects.state[thing, :2] - self.position[photo]
        angle = (np.arctan2(offset[:, 0], offset[:, 1]) - self.course[photo]) % (2 * np.pi)
        sector = np.minimum((angle / (2 * np.pi) * SECTORS).astype(np.int64), SECTORS - 1)
        ring = np.searchsorted(RINGS_M, np.hypot(*offset.T))
        return np.asarray((self.sequence[photo] * SECTORS + sector) * (len(RINGS_M) + 1) + ring, dtype=np.int64)
