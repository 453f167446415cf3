"""Scores are those of the judge's tool, and the regions are asked for what they promise."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from kryss.demo.score import Estimate, Truth, one_to_one, pooled, score
from kryss.positioning.frame import Frame

FRAME = Frame(10.4, 63.4)
TOOL = Path(__file__).parents[3] / "shared" / "tools" / "score_positions.py"


def points(xy: np.ndarray) -> list[tuple[float, float]]:
    return [(float(lon), float(lat)) for lon, lat in FRAME.to_lonlat(xy)]


def estimates(xy: np.ndarray, **others) -> list[Estimate]:
    return [Estimate(lon, lat, **others) for lon, lat in points(xy)]


def truths(xy: np.ndarray, class_name: str | None = None) -> list[Truth]:
    return [Truth(lon, lat, class_name) for lon, lat in points(xy)]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("score_positions", TOOL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.real
@pytest.mark.skipif(not TOOL.exists(), reason="no ../shared")
@pytest.mark.parametrize("seed", range(5))
def test_counts_and_distances_are_those_of_the_tool(tool: ModuleType, seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = rng.uniform(0, 60, (40, 2))
    found = np.concatenate([true[:30] + rng.normal(0, 2.5, (30, 2)), rng.uniform(0, 60, (15, 2))])
    ours = score(estimates(found), truths(true))
    for figures in ours.found:
        theirs = tool.score(np.array(points(found)), np.array(points(true)), figures.within_m)
        assert (figures.estimates, figures.truth, figures.matched) == (theirs["estimates"], theirs["truth"], theirs["matched"])
        assert round(figures.f1, 3) == theirs["f1"]
        metres = [pair[2] for pair in one_to_one(estimates(found), truths(true), figures.within_m)]
        assert round(float(np.mean(metres)), 2) == theirs["mean_m"]


def test_the_number_of_matches_comes_before_their_distance() -> None:
    # The nearest pair (middle to middle) would leave both others without a partner.
    found, true = np.array([[0.0, 0.0], [3.0, 0.0]]), np.array([[2.9, 0.0], [6.5, 0.0]])
    assert [(i, j) for i, j, _ in one_to_one(estimates(found), truths(true), 4.0)] == [(0, 0), (1, 1)]


def test_nothing_to_match_is_a_score_of_zero() -> None:
    nothing = score([], truths(np.zeros((1, 2))))
    assert [one.f1 for one in nothing.found] == [0.0, 0.0, 0.0]
    assert np.isnan(nothing.mean_m) and np.isnan(nothing.worst_confirmed_m)
    assert score([], []).found[0].precision == 0.0


def test_errors_are_matched_by_class_and_f1_is_not() -> None:
    spot = np.zeros((1, 2))
    mistaken = score(estimates(spot, class_name="a"), truths(spot, "b"))
    assert mistaken.found[0].f1 == 1.0
    assert len(mistaken.errors_m) == 0


def test_honest_regions_hold_what_they_promise() -> None:
    rng = np.random.default_rng(1)
    spread = np.array([[4.0, 1.5], [1.5, 1.0]])
    true = np.column_stack([50.0 * np.arange(4000) % 10_000, 50.0 * (np.arange(4000) // 200)])
    found = true + rng.multivariate_normal([0, 0], spread, len(true))
    inside = score(estimates(found, covariance=(4.0, 1.5, 1.0)), truths(true)).coverage
    assert inside == pytest.approx((0.68, 0.95), abs=0.02)
    boastful = score(estimates(found, covariance=(1.0, 0.375, 0.25)), truths(true)).coverage
    assert boastful[0] < 0.3 and boastful[1] < 0.6


def test_the_worst_is_measured_from_what_stands_nearest_and_one_photo_is_none() -> None:
    true = truths(np.array([[0.0, 0.0], [40.0, 0.0]]))
    astray = estimates(np.array([[28.0, 0.0]]), photos=3, of=0)
    assert score(astray, true).worst_confirmed_m == pytest.approx(12.0, abs=0.01)
    alone = estimates(np.array([[39.0, 0.0]]), photos=1, of=0)
    assert np.isnan(score(alone, true).worst_confirmed_m)


def test_confirmed_objects_have_errors_of_their_own() -> None:
    true = np.array([[0.0, 0.0], [40.0, 0.0]])
    found = estimates(true[:1] + 1.0, photos=3) + estimates(true[1:] + 5.0, photos=1)
    both = score(found, truths(true))
    assert both.percentile_m(100) == pytest.approx(5 * 2**0.5, abs=0.01)
    assert both.percentile_m(100, confirmed=True) == pytest.approx(2**0.5, abs=0.01)
    assert [one.estimates for one in both.confirmed] == [1, 1, 1]


def test_several_sets_are_scored_as_one() -> None:
    true = truths(np.array([[0.0, 0.0], [40.0, 0.0]]))
    both = score(estimates(np.array([[1.0, 0.0], [41.0, 0.0]]), photos=3), true)
    none = score([], true)
    together = pooled([both, none])
    assert (together.found[0].matched, together.found[0].truth) == (2, 4)
    assert together.mean_m == pytest.approx(1.0, abs=0.01) and together.worst_confirmed_m == pytest.approx(1.0, abs=0.01)
