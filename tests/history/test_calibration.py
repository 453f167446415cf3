"""What is believed holds as often as it says: simulated streets whose detection rates, lorries and removals are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from kryss.history import Evidence, believe
from kryss.history.looking import Photos, Things, looks_at
from kryss.history.rates import rates_of
from kryss.model import FusedObject, Image, Pose, Sighting, StreetObject
from kryss.positioning.frame import Frame
from kryss.positioning.poses import TrustedPose

FRAME = Frame(10.4, 59.9)
START = datetime(2020, 1, 1, 12, tzinfo=UTC)
YEAR = timedelta(days=365.25)
YEARS = 3.0
STREET_M, PHOTO_M, APART_M, ASIDE_M = 1200.0, 7.0, 30.0, 6.0
SIGNS = ("regulatory--yield--g1", "regulatory--stop--g1", "warning--children--g1")
MODEL = "test@1"


@dataclass(frozen=True)
class Plan:
    """Signs along one street, each seen in passing by some drives a year."""

    seed: int
    drives: int = 12
    """In ``YEARS``."""
    rate: float = 0.8
    """How often a photo shows a sign within 45 m."""
    spread: float = 0.8
    """Standard deviation of the log odds of that, by sign."""
    hidden: float = 0.03
    """Share of passes in which a lorry hides a sign from all photos."""
    going: float = 0.10
    """Share of the signs that are taken down, and of those that are put up, at some time."""


@dataclass(frozen=True)
class Street:
    """What was simulated: evidence, and when each sign stood (years)."""

    evidence: Evidence
    stood: dict[str, tuple[float, float]]
    """By image id of the first sighting."""
    passes: dict[str, list[float]]
    """By the same, when drives passed it, hidden from them or not."""


def street(plan: Plan) -> Street:
    rng = np.random.default_rng([plan.seed, 7])
    times = np.sort(rng.uniform(0.0, YEARS, plan.drives))
    along = np.arange(60.0, STREET_M, APART_M)
    images: list[Image] = []
    poses: dict[str, TrustedPose] = {}
    for drive, at in enumerate(times):
        x = np.arange(rng.uniform(0.0, PHOTO_M), STREET_M, PHOTO_M)
        lonlat = FRAME.to_lonlat(np.column_stack([x, np.zeros(len(x))])).tolist()
        for step, (lon, lat) in enumerate(lonlat):
            pose = Pose("sfm", lon, lat, heading_deg=90.0)
            when = START + at * YEAR + timedelta(seconds=step)
            image = Image(f"d{drive:02d}-{step:03d}", f"d{drive}", when, 2000, 1500, None, pose, "perspective", (0.8, 0.01, 0.0))
            images.append(image)
            poses[image.id] = TrustedPose(image.id, pose, 0.5, 1.0)
    camera = FRAME.to_xy([one.sfm.lon for one in images if one.sfm], [one.sfm.lat for one in images if one.sfm])
    drive_of = np.array([int(one.sequence_id[1:]) for one in images])
    objects, stood, passes = [], {}, {}
    for number, x in enumerate(along):
        begins = rng.uniform(0.0, YEARS) if rng.random() < plan.going else -1.0
        ends = rng.uniform(max(begins, 0.0), YEARS) if rng.random() < plan.going else YEARS + 1.0
        place = np.array([x, -ASIDE_M])
        distance = np.hypot(*(place - camera).T)
        ahead = (camera[:, 0] < x - 10.0) & (distance < 45.0)
        odds = np.log(plan.rate / (1.0 - plan.rate)) + rng.normal(0.0, plan.spread)
        lorry = rng.random(plan.drives) < plan.hidden
        standing = (times >= begins) & (times < ends) & ~lorry
        shown = ahead & standing[drive_of] & (rng.random(len(images)) < 1.0 / (1.0 + np.exp(-odds)))
        seen = [sighting(image, SIGNS[number % 3], place, camera[row]) for row, image in enumerate(images) if shown[row]]
        if len(seen) >= 3:
            lon, lat = FRAME.to_lonlat(place)[0].tolist()
            objects.append(FusedObject(seen[0].class_name, lon, lat, (0.1, 0.0, 0.1), 0.8, tuple(seen), 270.0))
            stood[seen[0].image_id + seen[0].class_name] = begins, ends
            passes[seen[0].image_id + seen[0].class_name] = times.tolist()
    return Street(Evidence(objects, {MODEL: images}, poses), stood, passes)


def sighting(image: Image, class_name: str, place: np.ndarray, camera: np.ndarray) -> Sighting:
    offset = place - camera
    lon, lat = FRAME.to_lonlat(place)[0].tolist()
    assert image.sfm is not None
    return Sighting(
        image_id=image.id,
        model_key=MODEL,
        ordinal=int(place[0]),
        sequence_id=image.sequence_id,
        captured_at=image.captured_at,
        class_name=class_name,
        score=0.9,
        camera_lon=image.sfm.lon,
        camera_lat=image.sfm.lat,
        camera_sigma_m=0.5,
        pose_origin="sfm",
        bearing_deg=float(np.degrees(np.arctan2(offset[0], offset[1])) % 360.0),
        bearing_sigma_deg=1.0,
        range_m=float(np.hypot(*offset)),
        range_sigma_m=2.0,
        method="known-size",
        lon=lon,
        lat=lat,
        covariance=(1.0, 0.0, 1.0),
    )


def years(at: datetime) -> float:
    return (at - START) / YEAR


def told(streets: Sequence[Street]) -> Counter[str]:
    """How often beginnings, ends and absences were told right and wrong, and how long signs were believed to stand."""
    count: Counter[str] = Counter()
    for one in streets:
        by_first = {min(seen.image_id for seen in each.sightings) + each.class_name: each for each in one.evidence.objects}
        places = {(each.lon, each.lat): name for name, each in by_first.items()}
        for belief in believe(one.evidence).objects:
            name = places[belief.lon, belief.lat]
            count.update(judged(belief, *one.stood[name], one.passes[name]))
    return count


def judged(belief: StreetObject, begins: float, ends: float, passes: Sequence[float]) -> Counter[str]:
    count: Counter[str] = Counter()
    count["object years"] += round(years(belief.last_seen_at) - years(belief.first_seen_at))
    count["absences"] += len(belief.absences)
    went = ends <= YEARS
    later = sum(at >= ends for at in passes)
    if belief.ended_at is not None:
        right = years(belief.last_seen_at) < ends <= years(belief.ended_at)
        count["ends right" if right else "ends at another time" if went else "false ends"] += 1
    if went:
        count[f"went, {min(later, 5)} drives later"] += 1
        count[f"found, {min(later, 5)} drives later"] += belief.ended_at is not None
    came = begins >= 0.0
    if belief.began_after is not None:
        right = years(belief.began_after) < begins <= years(belief.first_seen_at)
        count["beginnings right" if right else "beginnings at another time" if came else "false beginnings"] += 1
    return count


@pytest.mark.parametrize("plan", [Plan(1, hidden=0.0, spread=0.0, going=0.0, rate=0.6), Plan(2, hidden=0.15, going=0.0)])
def test_rates_are_found_though_objects_are_only_known_because_they_were_seen(plan: Plan) -> None:
    one = street(plan)
    photos = Photos.of(one.evidence)
    objects = one.evidence.objects
    things = Things.of(objects, [each.facing_deg for each in objects], photos)
    rates = rates_of(looks_at(things, photos, [], []), things, photos)
    assert np.median(rates.chance[rates.chance > 0]) == pytest.approx(plan.rate, abs=0.06)
    assert rates.hidden == pytest.approx(plan.hidden, abs=0.05)


def test_what_is_told_is_true_and_what_five_drives_could_tell_is_told() -> None:
    count = told([street(Plan(seed)) for seed in range(8)])
    # Of more than 600 years of objects; an end or a beginning at another time would be one too many as well.
    assert count["object years"] > 600
    assert count["false ends"] + count["false beginnings"] + count["absences"] == 0
    assert count["ends at another time"] + count["beginnings at another time"] == 0
    assert count["ends right"] > 15 < count["beginnings right"]
    assert count["found, 5 drives later"] == count["went, 5 drives later"] > 10
    assert count["found, 0 drives later"] + count["found, 1 drives later"] == 0


def test_a_sign_that_is_often_missed_takes_more_misses_to_end() -> None:
    def drives_until_ended(rate: float) -> int:
        """Of a sign that goes after half of the drives."""
        one = street(Plan(4, drives=40, rate=rate, spread=0.0, hidden=0.0, going=0.0))
        images, goes = one.evidence.looks[MODEL], START + YEARS / 2 * YEAR
        gone = [
            replace(each, sightings=tuple(seen for seen in each.sightings if seen.captured_at < goes))
            for each in one.evidence.objects
        ]
        ended = [each for each in believe(replace(one.evidence, objects=gone)).objects if each.ended_at is not None]
        assert len(ended) > 0.8 * len(gone)
        drive_of = {image.id: image.sequence_id for image in images}
        return sum(len({drive_of[miss] for miss in each.misses}) for each in ended) // len(ended)

    assert drives_until_ended(0.25) > drives_until_ended(0.8)


def test_the_order_of_the_input_does_not_matter() -> None:
    one = street(Plan(5))
    shuffled = replace(
        one.evidence,
        objects=one.evidence.objects[::-1],
        looks={MODEL: one.evidence.looks[MODEL][::-1]},
        poses=dict(reversed(list(one.evidence.poses.items()))),
    )
    assert believe(shuffled).objects == believe(one.evidence).objects
