"""What holds a release back, and what does not: single numbers, properties, and simulated years with and without faults."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kryss.config import MunicipalityConfig, Plausible
from kryss.pipeline.checks import FEW, Figures, figures_of, implausible

LIGHT, STOP = "object--traffic-light--general-upright", "regulatory--stop--g1"
LIMITS = Plausible()


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"kryss_tests_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


releases = _beside("releases")


def figures(standing: dict[str, int], photos: int = 5000, **others: Any) -> Figures:
    return Figures(by_class={name: {"standing": number} for name, number in standing.items()}, photos=photos, **others)


def test_the_first_release_is_held_against_nothing() -> None:
    assert implausible(figures({STOP: 1}), [], LIMITS) == []


def test_an_ordinary_night_is_published() -> None:
    assert implausible(figures({LIGHT: 98, STOP: 45}, 5200), [figures({LIGHT: 100, STOP: 40})], LIMITS) == []


def test_lost_objects_are_told_with_the_number_what_was_and_the_limit() -> None:
    (total, of_class) = implausible(figures({LIGHT: 60}), [figures({LIGHT: 100})], LIMITS)
    assert total == "standing objects: 60, last 100, limit 70 or more"
    assert of_class == f"standing {LIGHT}: 60, last 100, limit 70 or more"


def test_one_class_that_vanishes_is_held_back_though_the_total_holds() -> None:
    (reason,) = implausible(figures({LIGHT: 420, STOP: 2}), [figures({LIGHT: 400, STOP: 40})], LIMITS)
    assert reason.startswith(f"standing {STOP}: 2")


def test_a_loss_little_by_little_is_found_too() -> None:
    past = [figures({STOP: round(400 * 0.94**n)}) for n in range(9)]
    nights = [implausible(past[n], past[max(0, n - 8) : n], LIMITS) for n in range(1, 9)]
    assert [bool(reasons) for reasons in nights] == [False] * 5 + [True] * 3
    assert "most of 6 releases 400, last 294" in nights[5][0]


def test_a_flood_is_held_back_unless_as_many_more_photos_were_looked_at() -> None:
    last = [figures({STOP: 50}, 1000)]
    (reason,) = implausible(figures({STOP: 400}, 1100), last, LIMITS)
    assert reason == "objects: 400 with 1100 photos, most so far 50, last 50 with 1000 photos, limit 115"
    assert implausible(figures({STOP: 400}, 9000), last, LIMITS) == []


def test_a_class_that_floods_is_held_back_though_photos_grew_as_much() -> None:
    """The others stayed as they were: the photos are of the same streets."""
    last = [figures({LIGHT: 400, STOP: 50}, 1000)]
    (reason,) = implausible(figures({LIGHT: 400, STOP: 450}, 9000), last, LIMITS)
    assert reason.startswith(f"{STOP}: 450 (53% of all), most so far 50 (11%), limit ")
    assert implausible(figures({LIGHT: 3500, STOP: 450}, 9000), last, LIMITS) == []


def test_a_new_district_may_bring_a_new_class() -> None:
    last = [figures({LIGHT: 400, STOP: 100}, 5000)]
    assert implausible(figures({LIGHT: 560, STOP: 130, "information--tram-bus-stop--g2": 60}, 7000), last, LIMITS) == []
    assert implausible(figures({LIGHT: 400, STOP: 100, "information--tram-bus-stop--g2": 60}, 7000), last, LIMITS)


def test_false_boxes_are_found_among_the_unconfirmed() -> None:
    doubted = Figures({STOP: {"standing": 100, "unconfirmed": 400}}, 5000)
    assert implausible(doubted, [figures({STOP: 100})], LIMITS)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"photos": 4400}, "photos believed: 4400, last 5000, limit 4500 or more"),
        ({"intersections": 200}, "intersections: 200, last 400, limit 320 or more"),
        ({"intersections": 0}, "intersections: 0, last 400"),
        ({"occupied": 150}, "intersections with something standing: 150, last 300, limit 240 or more"),
        ({"area_km2": 2.5}, "areas of intersections: 2.5 km2, last 4 km2, limit 3.2 km2 or more"),
        ({"median_m": 2.25}, "displacement of 300 objects, median: 2.2 m, most so far 0.4 m, limit 1.5 m"),
        ({"p95_m": 9.0}, "displacement of 300 objects, 95 %: 9.0 m, most so far 2.0 m, limit 6.0 m"),
    ],
)
def test_coverage_and_positions_are_told_with_their_numbers(change: dict[str, Any], told: str) -> None:
    last = figures({STOP: 300}, intersections=400, occupied=300, area_km2=4.0, compared=300, median_m=0.4, p95_m=2.0)
    assert implausible(last, [last], LIMITS) == []
    assert implausible(replace(last, **change), [last], LIMITS)[0].startswith(told)


def test_what_the_manifests_do_not_say_is_not_judged() -> None:
    old = figures({STOP: 300}, intersections=400)
    now = replace(old, occupied=3, area_km2=0.1, compared=300, median_m=0.1, p95_m=0.1)
    assert implausible(now, [old], LIMITS) == []


def test_a_town_whose_positions_always_move_is_judged_by_its_own_past() -> None:
    past = [figures({STOP: 300}, compared=300, median_m=1.2, p95_m=4.0)]
    assert implausible(replace(past[0], median_m=3.0, p95_m=11.0), past, LIMITS) == []
    assert len(implausible(replace(past[0], median_m=3.7, p95_m=12.1), past, LIMITS)) == 2


def test_a_few_objects_say_nothing_until_all_are_gone() -> None:
    town = figures({STOP: 7, LIGHT: 7}, 47, intersections=1, compared=14, median_m=0.0)
    assert implausible(replace(town, by_class={STOP: {"standing": 4}}, median_m=9.0), [town], LIMITS) == []
    assert implausible(figures({}, 47, intersections=1), [town], LIMITS)[0] == "standing objects: 0, last 14, limit 3 or more"
    assert implausible(replace(town, intersections=0), [town], LIMITS) == ["intersections: 0, last 1, limit 1 or more"]


def test_only_the_last_releases_are_history() -> None:
    past = [figures({STOP: 1000}), *[figures({STOP: 100})] * 8]
    assert implausible(figures({STOP: 100}), past, LIMITS) == []
    assert implausible(figures({STOP: 100}), past, Plausible(releases=9))


def test_limits_are_the_municipalitys_own() -> None:
    own = MunicipalityConfig.model_validate({"code": "1", "name": "A", "plausible": {"lost": 0.9, "photos_lost": 0.5}}).plausible
    assert implausible(figures({LIGHT: 60}, 3000), [figures({LIGHT: 100})], own) == []
    with pytest.raises(ValueError, match="lost"):
        MunicipalityConfig.model_validate({"code": "1", "name": "A", "plausible": {"lost": 1.5}})


def test_manifests_of_this_schema_and_of_the_one_before_are_read() -> None:
    counts = {"by_class": {STOP: {"standing": 3, "unconfirmed": 1, "ended": 0}}, "intersections": 2}
    shift = {"compared": 3, "median_m": 0.5, "p95_m": 1.5}
    new = {"counts": counts, "photos": 7, "shift": shift, "parameters": {}}
    assert figures_of(new) == Figures(counts["by_class"], 7, 2, compared=3, median_m=0.5, p95_m=1.5)
    assert figures_of(new, approved=True) == Figures(counts["by_class"], 7, 2)
    assert figures_of({"counts": counts, "parameters": {"photos": 7}}) == Figures(counts["by_class"], 7, 2)
    assert figures_of({**new, "shift": None}) == Figures(counts["by_class"], 7, 2)


COUNTS = st.dictionaries(st.sampled_from([f"class-{n}" for n in range(6)]), st.integers(0, 5000), min_size=1)


@given(COUNTS, st.integers(0, 100_000), st.integers(1, 12))
def test_the_same_again_is_never_held_back(standing: dict[str, int], photos: int, past: int) -> None:
    one = figures(standing, photos, intersections=5, occupied=3, area_km2=0.1, compared=50, median_m=0.1, p95_m=1.0)
    assert implausible(one, [one] * past, LIMITS) == []


@given(COUNTS, st.data())
def test_small_changes_are_never_held_back(standing: dict[str, int], data: st.DataObject) -> None:
    """Each class by up to a tenth or as much as chance does."""
    now = {}
    for name, number in standing.items():
        most = max(number // 10, int(number**0.5))
        now[name] = max(0, number + data.draw(st.integers(-most, most)))
    assert implausible(figures(now), [figures(standing)], LIMITS) == []


@given(COUNTS, st.floats(0, 1), st.floats(0, 1))
def test_who_loses_more_is_not_judged_more_kindly(standing: dict[str, int], one: float, two: float) -> None:
    less, more = sorted((one, two))

    def lost(share: float) -> list[str]:
        left = figures({name: int((1 - share) * number) for name, number in standing.items()})
        return [line.split(":")[0] for line in implausible(left, [figures(standing)], LIMITS)]

    assert set(lost(less)) <= set(lost(more))


@given(st.integers(10, 100_000))
def test_a_layer_without_anything_standing_is_always_held_back(number: int) -> None:
    assert implausible(figures({}), [figures({STOP: number})], LIMITS)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([100, 2000]))
def test_any_series_of_a_few_nights_is_judged_without_an_error(seed: int, size: int) -> None:
    past = releases.series(seed, size, 5)
    for number in range(len(past)):
        for line in implausible(replace(past[number], photos=0, by_class={}), past[:number], LIMITS):
            assert "nan" not in line


def judged(past: list[Figures], number: int, now: Figures | None = None) -> list[str]:
    return implausible(now or past[number], past[max(0, number - LIMITS.releases) : number], LIMITS)


@pytest.mark.parametrize(("size", "allowed"), [(15, 0), (60, 0), (300, 0), (3000, 1), (30000, 6)])
def test_quiet_years_do_not_ring(size: int, allowed: int) -> None:
    """15 series of 100 releases each, with seasons, road works, campaigns, deleted photos and other models.

    Counted over 40 series of each size: 0 of 15840 releases up to 3000 objects, 8 of 3960 with 30000. Those are nights of
    another model that reads 6 % of the signs as something else, and doubles a class.
    """
    rung = []
    for seed in range(15):
        past = releases.series(seed, size, 100)
        rung += [reasons for number in range(1, 100) if (reasons := judged(past, number))]
    assert len(rung) <= allowed, rung


def test_the_first_nights_of_a_municipality_do_not_ring() -> None:
    """Loaded by and by: photos, objects and classes grow from nothing."""
    rng = np.random.default_rng(5)
    mix = rng.dirichlet(np.full(12, 0.5))
    past: list[Figures] = []
    counts = np.zeros(12, int)
    for night in range(40):
        photos = 200 * (night + 1)
        counts = counts + rng.poisson(25 * (0.7 * mix + 0.3 * rng.dirichlet(np.full(12, 0.5))))
        by_class = {f"class-{n:02d}": {"standing": int(count)} for n, count in enumerate(counts) if count}
        now = Figures(by_class, photos, 500)
        assert implausible(now, past[-8:], LIMITS) == []
        past.append(now)


def test_injected_faults_are_found() -> None:
    """Of 15 series each, by fault. Counted over 40 series: 388 of 400 in towns of 300 objects, 397 of 400 in those of 3000 and of
    30000; a town of 60 has too few objects for most of them."""
    found: dict[int, Counter[str]] = {}
    for size in (60, 300, 3000):
        found[size] = Counter()
        for seed in range(15):
            rng = np.random.default_rng(seed)
            past = releases.series(seed, size, 60)
            for name, fault in releases.FAULTS.items():
                number = int(rng.integers(3, 60))
                found[size][name] += bool(judged(past, number, fault(past[number], rng)))
    assert set(found[3000]) == set(releases.FAULTS)
    for name, number in found[3000].items():
        assert number >= 13, (name, number)
    for name, number in found[300].items():
        assert number >= 10, (name, number)
    assert found[60]["40 % of all objects end"] >= 12
    assert found[60]["all positions 4 m off"] >= 14


def test_few_is_what_the_messages_promise() -> None:
    now = figures({STOP: 300}, compared=FEW - 1, median_m=50.0, p95_m=50.0)
    assert implausible(now, [figures({STOP: 300})], LIMITS) == []
