"""Junctions that are known from their lights alone."""

from __future__ import annotations

import csv
import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kryss.model import StreetObject
from kryss.roads.identity import keep_ids
from kryss.roads.lights import TOGETHER_M, gap_m, grouped, junctions_of_lights

DUBLIN = Path(__file__).parents[3] / "shared" / "data" / "dublin-lights-2015" / "lights.csv"
METRE = np.array([1 / 66_600, 1 / 111_300])
"""Degrees of a metre east and north at 53.3 north."""
HERE = np.array([-6.25, 53.34])


def light(number: int, east_m: float, north_m: float, class_name: str = "object--traffic-light--general-upright") -> StreetObject:
    lon, lat = (HERE + (east_m, north_m) * METRE).tolist()
    seen = datetime(2015, 1, 1, tzinfo=UTC)
    return StreetObject(
        f"{number:08d}-0000-0000-0000-000000000000",
        class_name,
        lon,
        lat,
        (1.0, 0.0, 1.0),
        2.4,
        seen,
        seen,
        "standing",
        1.0,
        None,
        (),
    )


def corner_lights(first: int, east_m: float, north_m: float, r: float = 12.0) -> list[StreetObject]:
    return [light(first + n, east_m + r * x, north_m + r * y) for n, (x, y) in enumerate([(1, 1), (1, -1), (-1, -1), (-1, 1)])]


def dublin() -> np.ndarray:
    with DUBLIN.open(newline="", encoding="utf-8") as file:
        return np.array([(float(row["lon"]), float(row["lat"])) for row in csv.DictReader(file)])


def parts(lonlat: np.ndarray, count: int | None = None) -> set[frozenset[int]]:
    group = grouped(lonlat)[:count]
    return {frozenset(np.flatnonzero(group == number).tolist()) for number in np.unique(group)}


def test_lights_that_stand_together_are_a_junction() -> None:
    (west, east) = junctions_of_lights([*corner_lights(1, 0, 0), *corner_lights(5, 90, 0)])
    assert [len(west.members), len(east.members)] == [4, 4]
    assert (west.id, west.source, west.kind) == ("lights:00000001-0000-0000-0000-000000000000", "lights", "signals")
    assert (west.lon, west.lat) == pytest.approx(tuple(HERE), abs=1e-7)


def test_crossing_between_two_junctions_does_not_chain_them() -> None:
    lights = [*corner_lights(1, 0, 0), light(5, 36, 4), light(6, 36, -4), *corner_lights(7, 80, 0)]
    assert [len(one.members) for one in junctions_of_lights(lights)] == [6, 4]


def test_lone_lights_signs_and_lights_that_ended_are_no_junction() -> None:
    gone = replace(light(2, 5, 0), ended_at=datetime(2016, 1, 1, tzinfo=UTC), status="ended")
    assert junctions_of_lights([light(1, 0, 0), gone, light(3, 500, 0), light(4, 0, 8, "regulatory--stop--g1")]) == []
    assert junctions_of_lights([]) == []


def test_two_heads_on_one_pole_are_two_lights() -> None:
    assert len(junctions_of_lights([light(1, 0, 0), light(2, 0, 0)])) == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=25), st.randoms(use_true_random=False))
def test_order_does_not_matter(spots: list[tuple[int, int]], shuffle: random.Random) -> None:
    lights = [light(number, *spot) for number, spot in enumerate(sorted(set(spots)))]
    mixed = list(lights)
    shuffle.shuffle(mixed)
    assert junctions_of_lights(mixed) == junctions_of_lights(lights)


def test_light_far_away_changes_nothing_here() -> None:
    here = [*corner_lights(1, 0, 0), *corner_lights(5, 70, 0)]
    assert junctions_of_lights([*here, *corner_lights(9, 90_000, 200_000)])[:2] == junctions_of_lights(here)


def test_junction_keeps_its_id_when_lights_come_and_go() -> None:
    known = junctions_of_lights(corner_lights(1, 0, 0))
    changed = [*corner_lights(1, 0, 0)[1:], light(9, 3, 14)]
    (kept,) = keep_ids(junctions_of_lights(changed), known)
    assert kept.id == known[0].id and len(kept.members) == 4


@pytest.mark.real
@pytest.mark.skipif(not DUBLIN.exists(), reason="the survey is not here")
def test_dublin_has_26_junctions_of_2_to_16_lights() -> None:
    lonlat = dublin()
    sizes = sorted(len(part) for part in parts(lonlat))
    assert (len(lonlat), len(sizes), sizes[0], sizes[-1]) == (192, 26, 2, 16)
    low, high = gap_m(lonlat)
    assert low < 30 < TOGETHER_M < 67 < high


@pytest.mark.real
@pytest.mark.skipif(not DUBLIN.exists(), reason="the survey is not here")
def test_dublins_junctions_stay_the_same_with_other_lights_and_errors() -> None:
    """30 times each: a tenth of the lights dropped, 1 m of error on each, 17 new ones up to 15 m east and north of known ones."""
    lonlat, rng = dublin(), np.random.default_rng(0)
    all_parts = parts(lonlat)
    for _ in range(30):
        kept = np.sort(rng.choice(192, 173, replace=False))
        left = {frozenset(n for n, light in enumerate(kept.tolist()) if light in part) for part in all_parts} - {frozenset()}
        assert parts(lonlat[kept]) == left
        assert parts(lonlat + rng.normal(0, 1, (192, 2)) * METRE) == all_parts
        new = lonlat[rng.integers(192, size=17)] + rng.uniform(-15, 15, (17, 2)) * METRE
        more = np.vstack([lonlat, new])
        assert parts(more, 192) == all_parts and len(parts(more)) == 26
