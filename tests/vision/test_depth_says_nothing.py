"""Depth maps in which no object can be seen give no box a range: whatever the numbers are, they are the background's."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kryss.vision.depth.maps import BACKGROUND, FLAT_MAP, SATURATED_MAP, BoxDepth, DepthMap, box_depth, map_fault

VIEW = (1600.0, 960.0)
SHAPE = (96, 160)
boxes = st.tuples(st.floats(0, 1400), st.floats(0, 850), st.floats(8, 150), st.floats(8, 100)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


def ranged(found: DepthMap, box: tuple[float, float, float, float]) -> BoxDepth:
    """As the model says it: of the whole map first."""
    fault = map_fault(found)
    return BoxDepth(None, fault) if fault else box_depth(found, box, VIEW)


@given(st.floats(0.11, 99), st.sampled_from([80.0, 100.0]), boxes)
def test_one_number_everywhere_is_no_depth(metres: float, limit: float, box: tuple[float, float, float, float]) -> None:
    assert ranged(DepthMap(np.full(SHAPE, metres), limit), box).reason in (FLAT_MAP, SATURATED_MAP)


@given(st.floats(0.8, 4), st.floats(0.2, 0.6), st.floats(1.0, 3.0), boxes)
def test_a_network_that_sees_the_road_but_no_object_gives_none_a_depth(
    camera_m: float, horizon: float, steep: float, box: tuple[float, float, float, float]
) -> None:
    """Depth by row alone: a plane before a far wall, as networks answer where they have learnt no more than the frame."""
    below = np.maximum(np.arange(SHAPE[0]) / SHAPE[0] - horizon, 1e-3)
    road = np.clip((camera_m / below) ** steep, 0.5, 100)
    found = ranged(DepthMap(np.repeat(road[:, None], SHAPE[1], 1), 100.0), box)
    assert found.metres is None, found


@given(st.integers(0, 2**31), st.floats(0.01, 0.15), boxes)
def test_noise_about_the_background_is_no_object(seed: int, noise: float, box: tuple[float, float, float, float]) -> None:
    rows = np.linspace(60, 4, SHAPE[0])[:, None]
    metres = rows * np.exp(np.random.default_rng(seed).normal(0, noise / 3, SHAPE))
    assert ranged(DepthMap(metres, 100.0), box).metres is None


@given(st.floats(1.5, 4), st.floats(0.2, 5), st.floats(300, 1200), st.floats(200, 600), st.floats(60, 150))
def test_an_object_that_stands_out_has_its_depth_in_any_unit(nearer: float, unit: float, x: float, y: float, size: float) -> None:
    """The same street in other units is told alike: nothing is compared with metres but the limit."""
    box = (x, y, x + size, y + size)
    street = np.linspace(95, 6, SHAPE[0])
    metres = float(street[int((y + size / 2) / 10)]) / nearer
    seen = np.repeat(street[:, None], SHAPE[1], 1)
    seen[int(y / 10) : int((y + size) / 10) + 1, int(x / 10) : int((x + size) / 10) + 1] = metres
    one, other = (ranged(DepthMap(seen * k, 100.0 * k), box) for k in (1.0, unit))
    assert one.metres == pytest.approx(metres, abs=0.01)
    assert other.metres == pytest.approx(metres * unit, abs=0.01)


def test_without_its_object_the_same_place_has_none() -> None:
    seen = np.repeat(np.linspace(95, 20, SHAPE[0])[:, None], SHAPE[1], 1)
    assert ranged(DepthMap(seen, 100.0), (700, 500, 800, 600)).reason == BACKGROUND


def test_the_files_of_2019_are_read_in_the_form_of_their_time(tmp_path: Path) -> None:
    """Monodepth2's were saved by PyTorch 1.0: no zip, an ordered dict with versions of its modules, sizes as numbers."""
    torch = pytest.importorskip("torch")
    from kryss.vision.depth.monodepth2 import Monodepth2, load_monodepth2

    torch.manual_seed(0)
    model = Monodepth2()
    encoder = model.encoder.state_dict()
    assert isinstance(encoder, OrderedDict) and hasattr(encoder, "_metadata")
    encoder["height"], encoder["width"], encoder["use_stereo"] = 192, 640, True
    for state, name in ((encoder, "encoder.pth"), (model.depth.state_dict(), "depth.pth")):
        torch.save(state, tmp_path / name, _use_new_zipfile_serialization=False)
        assert (tmp_path / name).read_bytes()[:2] != b"PK"
    loaded = load_monodepth2(tmp_path / "encoder.pth", tmp_path / "depth.pth")
    assert loaded.size == (640, 192)
    own = model.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in loaded.state_dict().items())
