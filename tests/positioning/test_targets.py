"""What positions are held to: simulated avenues, where half the variance of a pose is its sequence's and half is its own,
objects are seen by one to four drives, 15 % of boxes are missed and 5 % are false (docs/positions.md has the whole table).
"""

from __future__ import annotations

import numpy as np
import pytest

from kryss.demo.score import Score, Truth, estimates_of, pooled, score
from kryss.demo.streets.bulk import frame_of, sightings_of, simulate_sightings
from kryss.demo.streets.grid import CLASSES
from kryss.positioning.fuse import fuse
from kryss.positioning.place import FARTHEST_M

SIGHTINGS, SEEDS = 8_000, (0, 1, 2)
"""Objects share the errors of four drives: one set of avenues is a small sample."""


def avenues(noise: str, seed: int) -> Score:
    columns = simulate_sightings(SIGHTINGS, seed, noise)
    placed = [one for one in sightings_of(columns, noise) if one.range_m <= FARTHEST_M]
    shown, first = np.unique(columns["object"], return_index=True)
    first = first[shown >= 0]
    lonlat = frame_of().to_lonlat(np.column_stack([columns["true_x"][first], columns["true_y"][first]]))
    truth = [Truth(lon, lat, CLASSES[kind]) for (lon, lat), kind in zip(lonlat.tolist(), columns["kind"][first], strict=True)]
    return score(estimates_of(fuse(placed)), truth)


@pytest.mark.parametrize(
    ("noise", "median_m", "p95_m", "f1"), [("sfm", 0.4, 1.3, 0.95), ("gps", 1.8, 5.0, 0.80)], ids=["SfM poses", "raw GPS"]
)
def test_positions_are_as_good_and_as_sure_as_wanted(noise: str, median_m: float, p95_m: float, f1: float) -> None:
    reached = pooled([avenues(noise, seed) for seed in SEEDS])
    assert reached.percentile_m(50) <= median_m
    assert reached.percentile_m(95) <= p95_m
    assert reached.found[1].within_m == 4.0
    assert reached.found[1].f1 >= f1
    inside_68, inside_95 = reached.coverage
    assert 0.62 <= inside_68 <= 0.75
    assert 0.90 <= inside_95 <= 0.98
