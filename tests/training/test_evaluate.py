"""Scores of a detector, checked on cases small enough to do by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kryss.model import Detection
from kryss.training.evaluate import average_precision, best_threshold, judge, mean_ap, precision_recall

YIELD, STOP = "regulatory--yield--g1", "regulatory--stop--g1"


def detection(name: str, score: float, box: tuple[float, float, float, float]) -> Detection:
    return Detection("a", "test@1", 0, name, score, box)


def test_average_precision_is_the_area_under_the_envelope() -> None:
    assert average_precision([True, True], 2) == 1.0
    assert average_precision([True, False, True], 2) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert average_precision([False, True], 4) == pytest.approx(0.25 * 0.5)
    assert average_precision([], 3) == 0.0


@given(st.lists(st.booleans(), max_size=30))
def test_average_precision_is_a_share_and_never_falls_when_a_wrong_one_goes(right: list[bool]) -> None:
    labelled = sum(right) + 1
    whole = average_precision(right, labelled)
    assert 0 <= whole <= 1
    if False in right:
        better = list(right)
        better.remove(False)
        assert average_precision(better, labelled) >= whole


def test_a_box_counts_once_and_only_for_its_class() -> None:
    truth = {"a": [(0.0, 0.0, 10.0, 10.0, YIELD), (50.0, 0.0, 60.0, 10.0, STOP)]}
    found = {
        "a": [
            detection(YIELD, 0.9, (0, 0, 10, 10)),
            detection(YIELD, 0.8, (1, 0, 11, 10)),
            detection(YIELD, 0.7, (50, 0, 60, 10)),
        ]
    }
    results = judge(found, truth)
    assert [j.right for j in results[YIELD].judged] == [True, False, False]
    assert results[YIELD].average_precision == 1.0
    assert results[STOP].average_precision == 0.0
    assert mean_ap(results) == 0.5
    assert precision_recall(results, 0.85) == (1.0, 0.5)
    assert best_threshold(results, [0.5, 0.85]) == 0.85


def test_a_class_that_a_data_set_does_not_label_is_not_held_against_the_detector() -> None:
    results = judge({"a": [detection(STOP, 0.9, (5, 5, 9, 9))]}, {"a": [(0.0, 0.0, 10.0, 10.0, YIELD)]})
    assert list(results) == [YIELD]
    assert results[YIELD].judged == ()
