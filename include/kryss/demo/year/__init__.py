"""A simulated year of a town: signs come, go, are replaced, move and return while drives pass and photos arrive night by night.

The town, its cameras, the noise of poses and boxes and the false boxes are those of :mod:`kryss.demo.streets`. What is added
is time (:mod:`lives`), misses by range and class, and what hides things: vans parked for one drive, leaves for a summer,
scaffolds for months. In two districts nobody drives for a third of the year, and some drives arrive months late.

:mod:`judge` compares what is believed after each night with the truth. Everything follows from the seed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kryss.demo.streets import Grid
from kryss.demo.streets.driving import Photos, drive
from kryss.demo.streets.grid import CLASSES, CYCLISTS, KEEP_RIGHT, LIGHT, WALKERS, Array, Indices
from kryss.demo.streets.recording import record_detections, record_images
from kryss.demo.streets.seeing import Appearances, boxes_of, lines_of_sight, nothing
from kryss.demo.streets.standing import stand
from kryss.demo.year.lives import Truth, day, live
from kryss.model import Detection, Image

DAYS = 365
NEAR_M, NEAR_RATE, FAR_M, FAR_RATE = 15.0, 0.95, 45.0, 0.60
"""How often the detector reports what is this far away and open to view; in between, in proportion."""
CLASS_RATE = {LIGHT: 0.92, WALKERS: 0.85, CYCLISTS: 0.75, KEEP_RIGHT: 0.85}
"""Times that, by class; others 1."""
OVERHEAD_M = 4.5
"""What hangs higher is hidden by no van."""
LEAVES_RATE = 0.35
LEAVES_DAYS = (60, 210)
"""From May to September, counted from March."""
DAYLIGHT_S = 36_000.0
QUIET_DAYS = ((70.0, 190.0), (180.0, 300.0))
"""When nobody drives in the south-west and in the north-east quarter of the town."""
LATE_DAYS = (20.0, 120.0)


@dataclass(frozen=True)
class Plan:
    """What to simulate."""

    seed: int = 0
    nights: int = 50
    blocks: int = 2
    """Blocks along each side of the town."""
    drives: int = 100
    events: int = 6
    """Of each kind."""
    scaffolds: int = 3
    parked: float = 0.04
    """Share of passes in which a van hides a thing for the whole drive."""
    leafy: float = 0.08
    """Share of the things that leaves cover in summer."""
    gps_only: float = 0.10
    """Share of the drives without poses from structure from motion."""
    late: float = 0.10
    """Share of the drives that are uploaded weeks or months later."""
    false: float = 0.04
    """Share of the boxes that show nothing."""

    @property
    def grid(self) -> Grid:
        return Grid("sfm", self.seed, self.blocks, sequences=self.drives, false=self.false)


@dataclass(frozen=True, slots=True)
class Pass:
    """A drive that had a thing's place in view, whether the thing stood or not."""

    sequence_id: str
    at: datetime
    """The capture time of its first photo that had."""
    night: int | None
    """The night that loads it; None: after the year."""
    chance: float
    """That a thing which stands there is in one of its boxes."""


@dataclass(frozen=True)
class Year:
    """What was simulated."""

    plan: Plan
    truth: Truth
    images: list[Image]
    detections: list[Detection]
    thing_of: Mapping[tuple[str, int], int]
    """The thing that a box shows, by image id and ordinal; negative: none."""
    night_of: Mapping[str, int | None]
    """By sequence id, the night that loads it."""
    passes: Mapping[int, list[Pass]]
    """By thing, in time order."""

    def night_date(self, night: int) -> date:
        """Nights are spread evenly; what was uploaded until then is loaded."""
        return day((night + 1) * DAYS / self.plan.nights).date()

    def arriving(self, night: int) -> list[Image]:
        """The photos that a night loads."""
        return [image for image in self.images if self.night_of[image.sequence_id] == night]


def simulate(plan: Plan) -> Year:
    """The year of a plan."""
    grid, rng = plan.grid, np.random.default_rng([plan.seed, 365])
    truth = live(stand(grid), plan.events, plan.scaffolds, rng)
    photos, night_by_drive = _drives(plan, rng)
    images = record_images(grid, photos)
    without_sfm = rng.random(len(photos.cameras)) < plan.gps_only
    images = [replace(one, sfm=None) if without_sfm[k] else one for one, k in zip(images, photos.sequence, strict=True)]
    shown = Appearances.of_objects(truth.objects, *lines_of_sight(grid, truth.objects, photos, rng))
    kept, boxes = boxes_of(grid, photos, shown, rng)
    shown = shown.take(kept)
    chance = _chances(plan, truth, photos, shown, rng)
    captured = np.array([image.captured_at.timestamp() for image in images])
    reported = _stands(truth, shown.origin, captured[shown.photo]) & (rng.random(len(chance)) < chance)
    false, false_boxes = _false(plan, photos, int(reported.sum()), rng)
    seen = Appearances.together([shown.take(np.flatnonzero(reported)), false])
    detections, origin = record_detections(grid, images, photos, seen, np.concatenate([boxes[reported], false_boxes]))
    thing_of_row = [life.thing for life in truth.lives]
    things = {
        (one.image_id, one.ordinal): thing_of_row[row] if row >= 0 else row
        for one, row in zip(detections, origin.tolist(), strict=True)
    }
    nights = {image.sequence_id: night_by_drive[k] for image, k in zip(images, photos.sequence.tolist(), strict=True)}
    passes = _passes(truth, images, nights, shown, chance)
    return Year(plan, truth, images, detections, things, nights, passes)


def _drives(plan: Plan, rng: Generator) -> tuple[Photos, list[int | None]]:
    """Photos over the year, without those of quiet districts; and the night that loads each drive."""
    photos = drive(plan.grid)
    count = len(photos.cameras)
    captured_day = rng.uniform(0.0, DAYS - 1.0, count)
    delay = np.where(rng.random(count) < plan.late, rng.uniform(*LATE_DAYS, count), rng.uniform(0.0, 3.0, count))
    night = np.floor((np.floor(captured_day) + 1.0 + delay) * plan.nights / DAYS).astype(int).tolist()
    began = np.full(count, np.inf)
    np.minimum.at(began, photos.sequence, photos.seconds)
    start = np.floor(captured_day) * 86400.0 + rng.uniform(0.0, DAYLIGHT_S, count)
    photos = replace(photos, seconds=photos.seconds - began[photos.sequence] + start[photos.sequence])
    middle = plan.grid.block_m * plan.blocks / 2
    at = photos.seconds / 86400.0
    south_west, north_east = (photos.x < middle) & (photos.y < middle), (photos.x > middle) & (photos.y > middle)
    quiet = np.zeros(len(at), dtype=bool)
    for (first, last), district in zip(QUIET_DAYS, (south_west, north_east), strict=True):
        quiet |= district & (at >= first) & (at < last)
    busy = np.flatnonzero(~quiet)
    columns = ("sequence", "ordinal", "seconds", "x", "y", "up", "heading", "pitch", "roll")
    photos = Photos(photos.cameras, *(getattr(photos, name)[busy] for name in columns))
    return photos, [one if one < plan.nights else None for one in night]


def _chances(plan: Plan, truth: Truth, photos: Photos, shown: Appearances, rng: Generator) -> Array:
    """``(n,)`` how likely the detector reports each look, were the thing there; 0 where something hides its place."""
    distance = np.hypot(shown.x - photos.x[shown.photo], shown.y - photos.y[shown.photo])
    chance = np.interp(distance, [NEAR_M, FAR_M], [NEAR_RATE, FAR_RATE])
    chance *= np.array([CLASS_RATE.get(name, 1.0) for name in CLASSES])[shown.kind]
    place = _places(truth)[shown.origin]
    passed, pair = np.unique(np.column_stack([place, photos.sequence[shown.photo]]), axis=0, return_inverse=True)
    chance[(rng.random(len(passed)) < plan.parked)[pair.ravel()] & (shown.up < OVERHEAD_M)] = 0.0
    at = photos.seconds[shown.photo] / 86400.0
    leafy = (rng.random(len(truth.lives)) < plan.leafy)[place]
    chance[leafy & (at >= LEAVES_DAYS[0]) & (at < LEAVES_DAYS[1])] *= LEAVES_RATE
    for one in truth.scaffolds:
        begins, ends = ((instant - day(0.0)) / timedelta(days=1) for instant in (one.begins, one.ends))
        chance[(place == one.thing) & (at >= begins) & (at < ends)] = 0.0
    return chance


def _places(truth: Truth) -> Indices:
    """By life, the thing that stood first where it stands: what hides one hides its successor."""
    before = {event.other: event.thing for event in truth.events if event.kind == "replaced"}
    return np.array([before.get(life.thing, life.thing) for life in truth.lives], dtype=np.intp)


def _stands(truth: Truth, life: Indices, at: Array) -> NDArray[np.bool_]:
    begins = np.array([-np.inf if one.begins is None else one.begins.timestamp() for one in truth.lives])
    ends = np.array([np.inf if one.ends is None else one.ends.timestamp() for one in truth.lives])
    return np.asarray((begins[life] <= at) & (at < ends[life]))


def _false(plan: Plan, photos: Photos, true: int, rng: Generator) -> tuple[Appearances, Array]:
    wanted = round(plan.false / (1.0 - plan.false) * true)
    # Some would be too small or outside the photo.
    shown = nothing(plan.grid, photos, 2 * wanted + 20, rng)
    kept, boxes = boxes_of(plan.grid, photos, shown, rng)
    return shown.take(kept[:wanted]), boxes[:wanted]


def _passes(
    truth: Truth, images: list[Image], nights: Mapping[str, int | None], shown: Appearances, chance: Array
) -> dict[int, list[Pass]]:
    missed: dict[tuple[int, str], float] = defaultdict(lambda: 1.0)
    first: dict[tuple[int, str], datetime] = {}
    done = set()
    for photo, life, likely in zip(shown.photo.tolist(), shown.origin.tolist(), chance.tolist(), strict=True):
        image, thing = images[photo], truth.lives[life].thing
        # Two lives of one thing have one place: it is counted once.
        if (photo, thing) in done:
            continue
        done.add((photo, thing))
        key = thing, image.sequence_id
        missed[key] *= 1.0 - likely
        first[key] = min(first.get(key, image.captured_at), image.captured_at)
    found: dict[int, list[Pass]] = {life.thing: [] for life in truth.lives}
    for (thing, sequence_id), odds in missed.items():
        found[thing].append(Pass(sequence_id, first[thing, sequence_id], nights[sequence_id], 1.0 - odds))
    return {thing: sorted(passes, key=lambda one: (one.at, one.sequence_id)) for thing, passes in found.items()}
