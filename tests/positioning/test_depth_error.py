"""What depths are worth is told from sightings of known size: shared errors are not taken for each box's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kryss.positioning.depth_error import OBJECT_SIGMAS, OWN_SIGMAS, SLOPES, DepthError, depth_error

Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def street(
    seed: int, objects: int = 12, looks: int = 3, slope: float = 1.0, shared: float = 0.2, own: float = 0.1, size: float = 0.2
) -> tuple[Columns, np.ndarray]:
    """What ``depth_error`` takes, and the (n,) true log ranges: objects at 7 to 35 m whose sizes are not quite the usual."""
    rng = np.random.default_rng(seed)
    number = np.repeat(np.arange(objects), looks)
    true = np.log(rng.uniform(7.0, 35.0, objects * looks))
    log_depth = 0.4 + slope * true + rng.normal(0, shared, objects)[number] + rng.normal(0, own, len(true))
    edges = rng.normal(0, 0.03, len(true))
    log_range = true + rng.normal(0, size, objects)[number] + edges
    return (number, log_depth, log_range, np.full(len(true), size), np.full(len(true), 0.03)), true


def numbers(found: DepthError) -> list[float]:
    return [found.reference, found.offset, found.gain, *found.covariance, found.object_sigma, found.own_sigma]


seeds = st.integers(0, 10_000)
sizes = {"objects": st.integers(3, 15), "looks": st.integers(1, 5)}
spreads = st.floats(0.0, 0.7)


@settings(max_examples=25, deadline=None)
@given(seeds, st.builds(dict, **sizes, shared=spreads, own=spreads))
def test_the_order_of_sightings_and_the_numbers_of_objects_do_not_matter(seed: int, kind: dict[str, float]) -> None:
    columns, _ = street(seed, **kind)  # type: ignore[arg-type]
    rng = np.random.default_rng(seed)
    order, renamed = rng.permutation(len(columns[0])), rng.permutation(int(columns[0].max()) + 1)
    other = (renamed[columns[0]], *columns[1:])
    assert numbers(depth_error(*(column[order] for column in other))) == pytest.approx(
        numbers(depth_error(*columns)), rel=1e-6, abs=1e-9
    )


@settings(max_examples=25, deadline=None)
@given(seeds, st.builds(dict, **sizes, shared=spreads, own=spreads), st.floats(0.001, 1000.0))
def test_depths_in_another_unit_give_the_same_ranges(seed: int, kind: dict[str, float], unit: float) -> None:
    (number, log_depth, *rest), _ = street(seed, **kind)  # type: ignore[arg-type]
    one, other = depth_error(number, log_depth, *rest), depth_error(number, log_depth + math.log(unit), *rest)
    for value in (log_depth.min() - 0.5, float(log_depth.mean()), log_depth.max() + 0.5):
        assert one.log_range(value) == pytest.approx(other.log_range(value + math.log(unit)), rel=1e-6, abs=1e-9)
    assert (one.object_sigma, one.own_sigma) == pytest.approx((other.object_sigma, other.own_sigma))


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(3, 15), st.integers(1, 5), st.floats(0.05, 0.3))
def test_no_sequence_makes_depth_better_than_networks_are(seed: int, objects: int, looks: int, size: float) -> None:
    columns, _ = street(seed, objects, looks, shared=0.0, own=0.0, size=size)
    found = depth_error(*columns)
    assert found.object_sigma >= OBJECT_SIGMAS[0] * found.gain * 0.999
    assert found.own_sigma >= OWN_SIGMAS[0] * found.gain * 0.999
    assert found.gain >= 1 / SLOPES[-1]
    assert found.log_range(found.reference)[1] >= 0.1


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(4, 15), st.integers(2, 5), st.floats(0.05, 0.3), st.floats(2.0, 4.0))
def test_depths_that_scatter_more_are_never_surer(seed: int, objects: int, looks: int, own: float, more: float) -> None:
    (number, log_depth, log_range, *rest), _ = street(seed, objects, looks, shared=0.0, own=0.0)
    noise = np.random.default_rng(seed + 1).normal(0, own, len(number))
    line = np.stack([np.ones_like(log_range), log_range], axis=1)
    noise -= line @ np.linalg.lstsq(line, noise, rcond=None)[0]  # what follows the range is another slope, not scatter
    little, much = (depth_error(number, log_depth + by * noise, log_range, *rest) for by in (1.0, more))
    assert much.sigma >= little.sigma * 0.95  # odd values are drawn in to different limits


@pytest.mark.parametrize(("slope", "shared", "own"), [(1.0, 0.3, 0.15), (0.7, 0.3, 0.15), (1.0, 0.12, 0.3), (0.6, 0.15, 0.1)])
def test_the_parts_of_the_error_are_told_apart(slope: float, shared: float, own: float) -> None:
    found = [depth_error(*street(seed, 40, 4, slope, shared, own)[0]) for seed in range(4)]
    assert np.mean([one.gain for one in found]) == pytest.approx(1 / slope, rel=0.12)
    assert np.mean([one.object_sigma for one in found]) == pytest.approx(shared / slope, abs=0.05)
    assert np.mean([one.own_sigma for one in found]) == pytest.approx(own / slope, rel=0.2)


def test_many_looks_at_few_objects_do_not_make_the_scale_sure() -> None:
    few, many = (depth_error(*street(3, objects, looks, shared=0.4)[0]) for objects, looks in ((4, 30), (40, 3)))
    assert few.log_range(few.reference)[1] > 1.4 * many.log_range(many.reference)[1]


@pytest.mark.parametrize(("objects", "slope", "shared"), [(4, 1.0, 0.1), (4, 0.7, 0.35), (12, 0.8, 0.3), (12, 1.0, 0.1)])
def test_stated_errors_hold(objects: int, slope: float, shared: float) -> None:
    off = []
    for seed in range(40):
        columns, true = street(seed, objects + 1, 2, slope, shared, 0.1)
        known = columns[0] < objects
        found = depth_error(*(column[known] for column in columns))
        log_range, scale_sigma = found.log_range(float(columns[1][-1]))
        off.append((log_range - true[-1]) / math.sqrt(scale_sigma**2 + found.object_sigma**2 + found.own_sigma**2))
    assert np.mean(np.abs(off) < 2) >= 0.9
    assert abs(np.mean(off)) < 0.5


def test_depths_that_have_nothing_to_do_with_ranges_are_worth_nothing() -> None:
    (number, log_depth, *rest), _ = street(1, 20, 3)
    shuffled = np.random.default_rng(0).permutation(log_depth)
    assert depth_error(number, shuffled, *rest).sigma > 0.7


def test_a_false_box_does_not_speak_for_the_sequence() -> None:
    (number, log_depth, *rest), _ = street(2, 15, 3)
    wrong = log_depth.copy()
    wrong[4] += 3.0
    assert depth_error(number, wrong, *rest).sigma < 1.3 * depth_error(number, log_depth, *rest).sigma
