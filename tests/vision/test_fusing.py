"""Several boxes of one thing become one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kryss.vision.boxes import Candidates, coverage, iou
from kryss.vision.fusing import fuse, merge, soften, suppress
from kryss.vision.registry import Suppression

SIZE = (200, 200)
ROWS = st.lists(
    st.tuples(st.floats(0, 90), st.floats(0, 90), st.floats(1, 40), st.floats(1, 40), st.floats(0.01, 1), st.integers(0, 2)),
    max_size=25,
)


def candidates(rows: list[tuple[float, ...]]) -> Candidates:
    values = np.array(rows, float).reshape(-1, 6)
    boxes = np.concatenate([values[:, :2], values[:, :2] + values[:, 2:4]], 1)
    return Candidates(boxes, values[:, 4], values[:, 5].astype(np.int64))


@given(ROWS)
def test_what_is_kept_does_not_overlap_and_what_goes_overlaps_a_better_one(rows: list[tuple[float, ...]]) -> None:
    given_ = replace(candidates(rows), classes=np.arange(len(rows)))
    kept = suppress(given_, 0.5)
    for k, box in enumerate(kept.boxes):
        assert (np.delete(iou(box, kept.boxes), k) <= 0.5).all()
    for k in set(range(len(rows))) - set(kept.classes.tolist()):
        better = kept.scores >= given_.scores[k]
        assert (iou(given_.boxes[k], kept.boxes[better]) > 0.5).any()


@given(ROWS)
def test_soft_suppression_hides_nothing_that_stands_alone_and_raises_no_score(rows: list[tuple[float, ...]]) -> None:
    found = replace(candidates(rows), classes=np.arange(len(rows)))
    softened = soften(found, 0.5)
    assert (softened.scores <= found.scores[softened.classes] + 1e-12).all()
    for k, box in enumerate(found.boxes):
        if (np.delete(iou(box, found.boxes), k) == 0).all():
            assert softened.scores[softened.classes.tolist().index(k)] == found.scores[k]


def test_soft_suppression_is_bodlas_gaussian() -> None:
    found = Candidates(np.array([[0, 0, 10, 10], [0, 0, 10, 8]], float), np.array([0.9, 0.8]), np.array([0, 0]))
    assert np.allclose(soften(found, 0.5).scores, [0.9, 0.8 * np.exp(-(0.8**2) / 0.5)])


@given(ROWS)
def test_one_thing_has_one_class_unless_that_is_asked_for(rows: list[tuple[float, ...]]) -> None:
    found = candidates(rows)
    one = merge(found, Suppression(iou=0.4), SIZE)
    assert all((np.delete(iou(box, one.boxes), k) <= 0.4).all() for k, box in enumerate(one.boxes))
    each = merge(found, Suppression(iou=0.4, class_agnostic=False), SIZE)
    assert sorted(each.scores, reverse=True) == each.scores.tolist()
    expected = sum(len(suppress(found.take(found.classes == index), 0.4)) for index in range(3))
    assert len(each) == expected


@given(ROWS)
def test_by_coverage_a_part_of_a_thing_is_the_thing(rows: list[tuple[float, ...]]) -> None:
    kept = merge(candidates(rows), Suppression(iou=0.5, measure="coverage"), SIZE)
    assert all((np.delete(coverage(box, kept.boxes), k) <= 0.5).all() for k, box in enumerate(kept.boxes))


@settings(deadline=None)
@given(ROWS)
def test_fusion_of_one_model_keeps_the_best_score_of_each_cluster(rows: list[tuple[float, ...]]) -> None:
    found = candidates(rows)
    fused = merge(found, Suppression(method="wbf", iou=0.5), SIZE)
    assert len(fused) <= len(found)
    if len(found):
        assert np.isclose(fused.scores.max(), found.scores.max(), atol=1e-6)
        assert set(fused.classes) <= set(found.classes)


def test_what_two_models_agree_on_outweighs_what_one_has_seen() -> None:
    first = Candidates(np.array([[10, 10, 30, 30], [100, 100, 120, 120]], float), np.array([0.8, 0.8]), np.array([1, 1]))
    second = Candidates(np.array([[12, 10, 32, 30]], float), np.array([0.8]), np.array([1]))
    fused = fuse([first, second], [1.0, 1.0], 0.5, SIZE, True)
    order = np.argsort(-fused.scores)
    assert np.allclose(fused.boxes[order[0]], [11, 10, 31, 30], atol=1e-3)
    assert np.allclose(fused.scores[order], [0.8, 0.4], atol=1e-6)
    assert fused.classes.tolist() == [1, 1]


def test_the_class_of_a_fused_box_is_that_of_the_surest() -> None:
    first = Candidates(np.array([[10, 10, 30, 30]], float), np.array([0.6]), np.array([1]))
    second = Candidates(np.array([[10, 10, 30, 30]], float), np.array([0.9]), np.array([2]))
    assert fuse([first, second], [1.0, 1.0], 0.5, SIZE, True).classes.tolist() == [2]
    assert sorted(fuse([first, second], [1.0, 1.0], 0.5, SIZE, False).classes.tolist()) == [1, 2]


@pytest.mark.parametrize("method", ["hard", "soft", "wbf"])
def test_nothing_becomes_nothing_and_the_best_come_first(method: str) -> None:
    how = Suppression(method=method)  # type: ignore[arg-type]
    assert len(merge(candidates([]), how, SIZE)) == 0
    rows = [(12.0 * k, 0.0, 10.0, 10.0, 0.1 + k / 100, 0) for k in range(3)]
    assert np.allclose(merge(candidates(rows), how, SIZE).scores, [0.12, 0.11, 0.1])
