"""Where objects stand does not depend on where the world lies, how it is turned, or in which order it was seen; more agreement is
never less certainty; and there is no input without a finite answer or a refusal that says why."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kryss.model import FusedObject, Sighting
from kryss.positioning.frame import Frame, wrap_deg
from kryss.positioning.fuse import fuse, fusion
from kryss.positioning.locate import Defaults, DetectionsError, locate, read_detections
from kryss.positioning.place import ground_covariance

SIGN, STOP = "regulatory--maximum-speed-limit-50--g1", "regulatory--stop--g1"
LIGHT = "object--traffic-light--general-upright"
START = datetime(2025, 6, 1, 12, tzinfo=UTC)
HOME = Frame(10.4, 63.4)
ROUNDING_M = 0.02
"""Positions are told in steps of 1e-7 degrees: a centimetre, twice."""


@dataclass(frozen=True)
class Look:
    """One detection in plain metres and degrees from grid north: a world that can be turned without a projection."""

    photo: str
    sequence: str
    at: datetime
    class_name: str
    camera: tuple[float, float]
    """As the photo claims it."""
    bearing_deg: float
    range_m: float
    shared_sigma: float = 0.0
    own_sigma: float = 0.12
    camera_sigma_m: float = 0.5
    bearing_sigma_deg: float = 1.0
    ordinal: int = 0


@dataclass(frozen=True)
class Move:
    """Mirrors east and west, then turns clockwise, then shifts."""

    turn_deg: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    mirrored: bool = False

    @property
    def matrix(self) -> np.ndarray:
        turn = math.radians(self.turn_deg)
        turned = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
        return turned @ np.diag([-1.0 if self.mirrored else 1.0, 1.0])

    def point(self, xy: Sequence[float]) -> np.ndarray:
        return self.matrix @ np.asarray(xy) + self.shift

    def bearing(self, bearing_deg: float) -> float:
        return (-bearing_deg if self.mirrored else bearing_deg) + self.turn_deg

    def spread(self, covariance: Sequence[float]) -> np.ndarray:
        east, cross, north = covariance
        return self.matrix @ np.array([[east, cross], [cross, north]]) @ self.matrix.T


STAY = Move()


def sighting(look: Look, frame: Frame = HOME, move: Move = STAY) -> Sighting:
    """The look as positioning would hand it to fusion, in a world that was moved."""
    camera, grid = move.point(look.camera), math.radians(move.bearing(look.bearing_deg))
    point = camera + look.range_m * np.array([math.sin(grid), math.cos(grid)])
    (lon, lat), (to_lon, to_lat) = frame.to_lonlat([camera, point])
    bearing = (math.degrees(grid) + float(frame.convergence_deg(lon, lat)[0])) % 360.0
    range_sigma = look.range_m * math.hypot(look.shared_sigma, look.own_sigma)
    return Sighting(
        image_id=look.photo,
        model_key="test@1",
        ordinal=look.ordinal,
        sequence_id=look.sequence,
        captured_at=look.at,
        class_name=look.class_name,
        score=0.9,
        camera_lon=float(lon),
        camera_lat=float(lat),
        camera_sigma_m=look.camera_sigma_m,
        pose_origin="sfm",
        bearing_deg=bearing,
        bearing_sigma_deg=look.bearing_sigma_deg,
        range_m=look.range_m,
        range_sigma_m=range_sigma,
        method="known-size" if look.shared_sigma else "range",
        lon=float(to_lon),
        lat=float(to_lat),
        covariance=ground_covariance(bearing, look.bearing_sigma_deg, look.range_m, range_sigma, look.camera_sigma_m),
        range_shared_sigma_m=look.shared_sigma * look.range_m,
    )


def looks(
    things: Sequence[tuple[str, float, float]],
    seed: int,
    *,
    drives: int = 2,
    noise: float = 1.0,
    shared_sigma: float = 0.0,
    missed: float = 0.15,
) -> list[Look]:
    """Drives northwards past things at metres east and north; ``noise`` scales the stated errors, 0 for a perfect world."""
    rng = np.random.default_rng(seed)
    found = []
    for drive in range(drives):
        shift, turn = noise * rng.normal(0, 0.35, 2), noise * rng.normal(0, 0.7)
        for number in range(8):
            standing = np.array([1.5 * drive, -40.0 + 6.0 * number])
            claimed = standing + shift + noise * rng.normal(0, 0.35, 2)
            photo = f"{drive}-{number}"
            for ordinal, (class_name, x, y) in enumerate(things):
                east, north = x - standing[0], y - standing[1]
                distance = math.hypot(east, north)
                if not 5 < distance < 45 or north < 3 or rng.random() < missed:
                    continue
                found.append(
                    Look(
                        photo=photo,
                        sequence=f"drive {drive}",
                        at=START + timedelta(days=30 * drive, seconds=number),
                        class_name=class_name,
                        camera=(float(claimed[0]), float(claimed[1])),
                        bearing_deg=math.degrees(math.atan2(east, north)) + turn + noise * rng.normal(0, 0.7),
                        range_m=distance * math.exp(noise * rng.normal(0, 0.12)),
                        shared_sigma=shared_sigma,
                        ordinal=ordinal,
                    )
                )
    return found


STREET = ((SIGN, 4.0, 0.0), (STOP, 4.5, 12.0), (LIGHT, -5.0, 9.0), (LIGHT, 5.0, 18.0), (SIGN, 4.0, 30.0))

angles = st.floats(0, 360)
shifts = st.tuples(st.floats(-3000, 3000), st.floats(-3000, 3000))
seeds = st.integers(0, 10_000)
longitudes = st.floats(-180, 180) | st.sampled_from([180.0, -180.0, 179.9999, 0.0])
few = settings(max_examples=15, deadline=None)


def metres(one: FusedObject, frame: Frame) -> np.ndarray:
    return frame.to_xy(one.lon, one.lat)[0]


def evidence(one: FusedObject) -> frozenset[tuple[str, int]]:
    return frozenset((seen.image_id, seen.ordinal) for seen in one.sightings)


def assert_moved_along(before: Sequence[FusedObject], after: Sequence[FusedObject], frame: Frame, move: Move) -> None:
    """The same objects of the same sightings, each at its moved place, with its turned covariance and its own radius."""
    assert {evidence(one): one.class_name for one in before} == {evidence(one): one.class_name for one in after}
    by_evidence = {evidence(one): one for one in after}
    for one in before:
        other = by_evidence[evidence(one)]
        assert metres(other, frame) == pytest.approx(move.point(metres(one, HOME)), abs=ROUNDING_M)
        assert other.error_radius_m == pytest.approx(one.error_radius_m, abs=0.02)
        east, cross, north = other.covariance
        # True east is not quite the grid's: a twentieth of a degree where the frame's origin is on another raster point.
        turned = 0.002 * (east + north) + 2e-3
        assert np.array([[east, cross], [cross, north]]) == pytest.approx(move.spread(one.covariance), abs=turned)
        assert (one.facing_deg is None) == (other.facing_deg is None)
        if one.facing_deg is not None and other.facing_deg is not None:
            # Facing is a true bearing: grid north of the two places differs from it.
            grid = [
                facing - float(at.convergence_deg(seen.lon, seen.lat)[0])
                for facing, at, seen in ((one.facing_deg, HOME, one), (other.facing_deg, frame, other))
            ]
            assert float(wrap_deg(grid[1] - move.bearing(grid[0]))) == pytest.approx(0.0, abs=0.2)
        assert (one.height_m, one.height_sigma_m) == pytest.approx((other.height_m, other.height_sigma_m))


def hangs_on_a_hair(seen: Sequence[Look]) -> bool:
    """Whether a thousandth more or less of the ranges gives other objects: then so may the rounding of a moved world."""
    answers = {
        frozenset(evidence(one) for one in fuse([sighting(replace(look, range_m=look.range_m * factor)) for look in seen]))
        for factor in (0.999, 1.0, 1.001)
    }
    return len(answers) > 1


def check(seed: int, frame: Frame, move: Move) -> None:
    seen = looks(STREET, seed, shared_sigma=0.08)
    assume(not hangs_on_a_hair(seen))
    before = fuse([sighting(look) for look in seen])
    after = fuse([sighting(look, frame, move) for look in seen])
    assert_moved_along(before, after, frame, move)


@few
@given(seeds, angles)
def test_turning_the_world_turns_the_answer(seed: int, turn_deg: float) -> None:
    check(seed, HOME, Move(turn_deg=turn_deg))


@few
@given(seeds, shifts)
def test_shifting_the_world_shifts_the_answer(seed: int, shift: tuple[float, float]) -> None:
    check(seed, HOME, Move(shift=shift))


@few
@given(seeds, angles)
def test_mirroring_the_world_mirrors_the_answer(seed: int, turn_deg: float) -> None:
    check(seed, HOME, Move(turn_deg=turn_deg, mirrored=True))


@few
@given(seeds, longitudes)
def test_the_same_street_on_another_meridian_has_the_same_answer(seed: int, lon: float) -> None:
    check(seed, Frame(lon, HOME.lat0), STAY)


@few
@given(seeds, longitudes, st.floats(-75, 80), angles)
def test_the_same_street_anywhere_on_earth_has_the_same_answer(seed: int, lon: float, lat: float, turn_deg: float) -> None:
    check(seed, Frame(lon, lat), Move(turn_deg=turn_deg))


@few
@given(seeds, st.randoms(use_true_random=False))
def test_the_order_of_photos_does_not_matter(seed: int, random: Any) -> None:
    seen = [sighting(look) for look in looks(STREET, seed, drives=3, shared_sigma=0.08)]
    shuffled = random.sample(seen, len(seen))
    assert fuse(shuffled) == fuse(seen)


def agreeing(one: FusedObject, away_m: float, from_deg: float, **stated: Any) -> Sighting:
    """What a camera would see that stands ``away_m`` from where the object was put: the prediction itself."""
    x, y = metres(one, HOME)
    bearing = math.radians(from_deg)
    camera = (x - away_m * math.sin(bearing), y - away_m * math.cos(bearing))
    look = Look("new", "new", START + timedelta(days=99), one.class_name, camera, from_deg, away_m)
    return sighting(replace(look, **stated))


def holder(objects: Sequence[FusedObject], of: FusedObject) -> FusedObject:
    """The one that has the evidence of an earlier one, all of it."""
    (found,) = [one for one in objects if evidence(of) <= evidence(one)]
    return found


@few
@given(seeds, st.floats(6, 35), st.floats(-50, 50), st.integers(1, 3), st.sampled_from([0.0, 1.0]))
def test_a_sighting_that_agrees_never_widens_the_radius(
    seed: int, away_m: float, from_deg: float, drives: int, noise: float
) -> None:
    seen = [sighting(look) for look in looks([(SIGN, 4.0, 0.0)], seed, drives=drives, noise=noise)]
    before = max(fuse(seen), key=lambda one: len(one.sightings))
    after = holder(fuse([*seen, agreeing(before, away_m, from_deg)]), before)
    assert ("new", 0) in evidence(after)
    assert after.error_radius_m <= before.error_radius_m + 0.01
    if evidence(after) == evidence(before) | {("new", 0)}:
        # Positions are told to a centimetre, so the prediction is that far off.
        assert metres(after, HOME) == pytest.approx(metres(before, HOME), abs=0.05)


@few
@given(seeds, st.integers(1, 14))
def test_in_a_perfect_world_every_photo_of_a_drive_makes_it_surer(seed: int, photos: int) -> None:
    seen = [sighting(look) for look in looks([(LIGHT, 4.0, 0.0)], seed, noise=0.0, missed=0.0, shared_sigma=0.08)]
    (fewer,), (more,) = fuse(seen[:photos]), fuse(seen[: photos + 1])
    assert more.error_radius_m <= fewer.error_radius_m + 0.01


def is_finite(one: FusedObject) -> bool:
    numbers = [one.lon, one.lat, *one.covariance, one.error_radius_m]
    numbers += [value for value in (one.facing_deg, one.height_m, one.height_sigma_m) if value is not None]
    east, cross, north = one.covariance
    return bool(np.all(np.isfinite(numbers))) and east > 0 and north > 0 and east * north > cross**2


def assert_answered(seen: Sequence[Sighting]) -> list[FusedObject]:
    """Every object is finite and on the globe, and every sighting is in one or left out with a reason; or all is refused with
    words that name the image."""
    try:
        answer = fusion(seen)
    except ValueError as refusal:
        assert any(one.image_id in str(refusal) for one in seen), f"a refusal without a name: {refusal}"
        return []
    assert sum(len(one.sightings) for one in answer.objects) + sum(answer.dropped.values()) == len(seen)
    for one in answer.objects:
        assert is_finite(one), one
        assert -180 <= one.lon <= 180 and -90 <= one.lat <= 90
    return answer.objects


NUMBERS = [
    one.name
    for one in fields(Sighting)
    if one.name.endswith(("_m", "_deg", "_lon", "_lat", "lon", "lat", "score")) and "height" not in one.name
]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_spoils_nothing_but_its_own_sighting(name: str, value: float) -> None:
    seen = [sighting(look) for look in looks([(SIGN, 4.0, 0.0), (STOP, 4.0, 20.0)], 3)]
    spoilt = [replace(seen[0], **{name: value}), *seen[1:]]
    assert_answered(spoilt)


@few
@given(seeds, st.floats(-180, 180), st.sampled_from([-89.85, -89.5, 89.0, 89.5, 89.85]))
def test_near_the_poles_the_answer_is_that_of_anywhere(seed: int, lon: float, lat: float) -> None:
    frame = Frame(lon, lat)
    seen = looks(STREET, seed)
    polar = {evidence(one): one for one in assert_answered([sighting(look, frame) for look in seen])}
    for one in fuse([sighting(look) for look in seen]):
        assert metres(polar[evidence(one)], frame) == pytest.approx(metres(one, HOME), abs=ROUNDING_M)
        assert polar[evidence(one)].error_radius_m == pytest.approx(one.error_radius_m, abs=0.02)


@few
@given(seeds, st.integers(2, 12), st.booleans())
def test_photos_from_one_place_give_a_finite_answer(seed: int, photos: int, one_sequence: bool) -> None:
    rng = np.random.default_rng(seed)
    base = looks([(SIGN, 4.0, 0.0)], seed, noise=0.0, missed=0.0)[0]
    seen = [
        replace(
            base,
            photo=f"p{number}",
            sequence="s" if one_sequence else f"s{number}",
            range_m=base.range_m * math.exp(rng.normal(0, 0.12)),
        )
        for number in range(photos)
    ]
    objects = assert_answered([sighting(look) for look in seen])
    assert objects
    assert all(0.1 < one.error_radius_m < base.range_m for one in objects)


@few
@given(seeds, st.lists(st.floats(-10, 10), min_size=2, max_size=8), st.floats(0.05, 0.8))
def test_rays_on_one_line_give_a_finite_answer(seed: int, along: list[float], own_sigma: float) -> None:
    """Identical bearings along the ray: nothing crosses, only the ranges say how far."""
    seen = [
        Look(f"p{number}", f"s{number}", START, LIGHT, (0.0, at), 0.0, 20.0 - at, own_sigma=own_sigma)
        for number, at in enumerate(along)
    ]
    for one in assert_answered([sighting(look) for look in seen]):
        assert abs(metres(one, HOME)[0]) < 0.5
        assert 5.0 < metres(one, HOME)[1] < 45.0


@few
@given(st.floats(0.01, 40.0), st.integers(2, 8))
def test_parallel_rays_give_a_finite_answer(apart_m: float, photos: int) -> None:
    seen = [
        Look(f"p{number}", f"s{number}", START, LIGHT, (apart_m * number, 0.0), 10.0, 20.0, own_sigma=0.6)
        for number in range(photos)
    ]
    # Seen alike from everywhere, it may as well ride along: then it is left out, and that is said.
    assert_answered([sighting(look) for look in seen])


@pytest.mark.parametrize("range_m", [1e-3, 0.3, 1.0])
def test_a_camera_that_stands_at_the_object_gives_a_finite_answer(range_m: float) -> None:
    near = Look("near", "near", START, LIGHT, (0.0, 0.0), 40.0, range_m)
    far = [Look(f"p{number}", f"s{number}", START, LIGHT, (0.0, -10.0 - number), 0.0, 10.0 + number) for number in range(3)]
    assert assert_answered([sighting(look) for look in [near, *far]])


def test_the_same_detection_twice_gives_a_finite_answer() -> None:
    seen = [sighting(look) for look in looks([(SIGN, 4.0, 0.0)], 1)]
    twice = [*seen, *(replace(one, ordinal=one.ordinal + 1) for one in seen)]
    assert len(assert_answered(twice)) == 1


def rows_of(seen: Sequence[Look], frame: Frame = HOME, move: Move = STAY) -> list[dict[str, Any]]:
    """The looks as rows of a table for `locate`, without ids: photos are told by their places."""
    rows = []
    for look in seen:
        one = sighting(look, frame, move)
        rows.append(
            {
                "lat": one.camera_lat,
                "lon": one.camera_lon,
                "bearing_deg": one.bearing_deg,
                "depth": one.range_m / 1.3,
                "class": one.class_name,
                "captured_at": one.captured_at.isoformat(),
            }
        )
    return rows


@pytest.fixture
def located(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def run(rows: Sequence[dict[str, Any]] | str) -> dict[str, Any]:
        path = tmp_path / "rows.csv"
        if isinstance(rows, str):
            path.write_text(rows, encoding="utf-8")
        else:
            out = io.StringIO()
            writer = csv.DictWriter(out, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
            path.write_text(out.getvalue(), encoding="utf-8")
        return locate(read_detections(path), Defaults(position_sigma_m=0.5, bearing_sigma_deg=1.0))

    return run


few_files = settings(few, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8)


@few_files
@given(seeds, angles, shifts, st.booleans())
def test_locate_moves_along_with_the_world(
    located: Callable[..., dict[str, Any]], seed: int, turn_deg: float, shift: tuple[float, float], mirrored: bool
) -> None:
    seen, move = looks(STREET, seed, drives=3), Move(turn_deg, shift, mirrored)
    assume(not hangs_on_a_hair(seen))
    before, after = (located(rows_of(seen, HOME, one))["features"] for one in (STAY, move))
    by_rows = {tuple(one["properties"]["rows"]): one for one in after}
    assert set(by_rows) == {tuple(one["properties"]["rows"]) for one in before}
    for one in before:
        other = by_rows[tuple(one["properties"]["rows"])]
        xy, moved = (HOME.to_xy(*feature["geometry"]["coordinates"])[0] for feature in (one, other))
        assert moved == pytest.approx(move.point(xy), abs=ROUNDING_M)
        for name in ("error_radius_m", "error_radius_68_m"):
            assert other["properties"][name] == pytest.approx(one["properties"][name], abs=0.02)


@few_files
@given(seeds, st.randoms(use_true_random=False))
def test_locate_does_not_mind_the_order_of_rows(located: Callable[..., dict[str, Any]], seed: int, random: Any) -> None:
    rows = rows_of(looks(STREET, seed))
    order = random.sample(range(len(rows)), len(rows))

    def told(found: dict[str, Any], numbers: Sequence[int]) -> list[Any]:
        for one in found["features"]:
            one["properties"]["rows"] = sorted(numbers[line - 2] for line in one["properties"]["rows"])
        return sorted(found["features"], key=str)

    assert told(located([rows[i] for i in order]), order) == told(located(rows), range(len(rows)))


cells = st.sampled_from(
    ["", "0", "nan", "inf", "-1e400", "1e300", "1e-300", "90", "-90", "180", "-180", "51.5", "179.99999", "x", "1e-9", "NaN"]
)


@settings(few_files, max_examples=60)
@given(st.lists(st.lists(cells, min_size=6, max_size=6), max_size=12))
def test_no_table_is_without_a_finite_answer_or_a_counted_refusal(
    located: Callable[..., dict[str, Any]], table: list[list[str]]
) -> None:
    lines = ["lat,lon,bearing_deg,range_m,depth,position_sigma_m", *(",".join(row) for row in table)]
    found = located("\n".join(lines) + "\n")
    refused = sum(one["count"] for one in found["kryss"]["refused"].values())
    assert found["kryss"]["rows"] == len(table)
    placed = sum(len(one["properties"]["rows"]) for one in found["features"])
    assert placed + sum(found["kryss"]["left_out"].values()) + refused == len(table)
    for one in found["features"]:
        numbers = [
            *one["geometry"]["coordinates"],
            *one["properties"]["covariance"].values(),
            one["properties"]["error_radius_m"],
        ]
        assert np.all(np.isfinite(numbers)), one


@settings(few_files, max_examples=40)
@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(located: Callable[..., dict[str, Any]], text: str) -> None:
    for content in (text, f"lat,lon,bearing_deg,class\n{text}"):
        try:
            located(content)
        except DetectionsError as refusal:
            assert "rows.csv" in str(refusal)
