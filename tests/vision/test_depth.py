"""Depth inside boxes, and what is said where there is none."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from kryss.vision.depth import DepthUnavailable, load_depth, median_inside

SHARED = Path(__file__).parents[3] / "shared"


def test_the_median_is_taken_inside_the_box() -> None:
    metres = np.full((10, 20), 50.0)
    metres[4:6, 8:12] = 7.0
    assert median_inside(metres, (800, 400, 1200, 600), (2000, 1000)) == 7.0
    assert median_inside(metres, (0, 0, 300, 300), (2000, 1000)) == 50.0


def test_a_box_smaller_than_a_cell_takes_the_cell_under_its_centre() -> None:
    metres = np.arange(200.0).reshape(10, 20) + 1
    assert median_inside(metres, (1051, 451, 1052, 452), (2000, 1000)) == metres[4, 10]
    assert median_inside(metres, (1999, 999, 2000, 1000), (2000, 1000)) == metres[9, 19]


def test_what_is_no_depth_is_none() -> None:
    assert median_inside(np.full((4, 4), np.nan), (0, 0, 4, 4), (4, 4)) is None


def test_no_name_is_no_model() -> None:
    assert load_depth(None) is None


def test_a_detector_is_no_depth_model() -> None:
    with pytest.raises(DepthUnavailable, match="its task is detect"):
        load_depth("kryss-signs-lite0")


@pytest.mark.skipif(importlib.util.find_spec("transformers") is not None, reason="transformers is installed")
def test_without_its_library_depth_anything_says_how_to_get_it() -> None:
    with pytest.raises(DepthUnavailable, match="extra 'depth'"):
        load_depth("depth-anything-v2-small-metric-outdoor")


def test_without_its_file_the_stand_in_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if (SHARED / "weights").is_dir():
        pytest.skip("the file is here")
    monkeypatch.setenv("KRYSS_WEIGHTS_DIR", str(tmp_path))
    with pytest.raises(DepthUnavailable, match=r"depth_metres.onnx is not here"):
        load_depth("rtmonodepth-s-640x192")


@pytest.mark.real
@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared")
def test_the_stand_in_sees_the_near_sign_nearer_than_the_far_one() -> None:
    model = load_depth("rtmonodepth-s-640x192")
    assert model is not None
    photos = SHARED / "data" / "area-damasen" / "photos"
    size = (2692, 1032)
    [far] = model.median_depth((photos / "180621110003192.jpg").read_bytes(), [(569, 334, 594, 360)], size)
    [near] = model.median_depth((photos / "180621110003232.jpg").read_bytes(), [(1735, 109, 1912, 301)], size)
    assert far is not None and near is not None
    assert 1 < near < far < 120
    assert model.median_depth(b"", [(0, 0, 1, 1)], size) == [None]
