"""Depth inside boxes, and what is said where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kryss.model import Box
from kryss.vision.depth import (
    BoxDepth,
    DepthMap,
    DepthModel,
    DepthUnavailable,
    PhotoBoxes,
    box_depth,
    families,
    load_depth,
    map_fault,
)
from kryss.vision.depth.maps import BACKGROUND, FAR_LIMIT, FLAT_MAP, NO_PIXEL, SATURATED_MAP, SKY, WIDE, inner_cells
from kryss.vision.photo import read_photo
from kryss.vision.registry import resolve

SHARED = Path(__file__).parents[3] / "shared"
TOWN = Path(__file__).parents[2] / "include" / "kryss" / "demo" / "areas" / "town"


def street(height: int = 96, width: int = 160, limit: float = 100.0) -> DepthMap:
    """Road below, sky above: depth falls from the horizon to the wheels."""
    rows = np.arange(height, dtype=np.float32) + 0.5 - height / 2
    metres = np.where(rows > 0, 1.6 * width / np.maximum(rows, 0.5), limit)
    return DepthMap(np.minimum(metres, limit)[:, None].repeat(width, 1), limit)


def test_the_median_is_of_the_middle_of_the_box() -> None:
    seen = street()
    seen.metres[30:40, 60:70] = 12.0
    assert box_depth(seen, (600, 300, 700, 400), (1600, 960)).metres == 12.0
    # A circle's box: its corners show what is behind it.
    y, x = np.mgrid[0:40, 0:40] - 19.5
    disc = DepthMap(np.where(np.hypot(x, y) < 20, 9.0, 70.0), 100.0)
    assert box_depth(disc, (0, 0, 40, 40), (40, 40)).metres == 9.0


def test_an_object_that_does_not_stand_out_has_no_depth() -> None:
    """A network that has not seen a thin sign gives what is behind it."""
    metres = np.full((60, 200), 40.0)
    box = (90.0, 20.0, 110.0, 40.0)
    assert box_depth(DepthMap(metres, 100.0), box, (200, 60)).reason == BACKGROUND
    metres[20:40, 90:110] = 37.0
    assert box_depth(DepthMap(metres, 100.0), box, (200, 60)).reason == BACKGROUND
    metres[20:40, 90:110] = 20.0
    assert box_depth(DepthMap(metres, 100.0), box, (200, 60)).metres == 20.0
    sky = np.zeros((60, 200), bool)
    sky[:, :80] = sky[:, 120:] = True  # before the sky everything stands out
    assert box_depth(DepthMap(np.full((60, 200), 40.0), 100.0, sky), box, (200, 60)).metres == 40.0
    # At the border only one side shows what is behind.
    metres[20:40, :20] = 15.0
    assert box_depth(DepthMap(metres, 100.0), (0.0, 20.0, 20.0, 40.0), (200, 60)).metres == 15.0


@given(
    st.integers(2, 60), st.integers(2, 60), st.floats(0, 1), st.floats(0, 1), st.floats(0.001, 1), st.floats(0.001, 1)
)  # fmt: skip
def test_every_box_has_cells_and_they_lie_in_the_map(h: int, w: int, x: float, y: float, dx: float, dy: float) -> None:
    box = (x * 1000, y * 500, (x + dx) * 1000, (y + dy) * 500)
    rows, columns = inner_cells((h, w), box, (1000, 500))
    assert 0 <= rows.start < rows.stop <= h and 0 <= columns.start < columns.stop <= w


def test_a_box_smaller_than_a_cell_takes_the_cell_under_its_centre() -> None:
    seen = DepthMap(np.arange(200.0).reshape(10, 20) / 10 + 1, 100.0)
    for box, row, column in (((1051, 451, 1052, 452), 4, 10), ((1999, 999, 2000, 1000), 9, 19)):
        rows, columns = inner_cells(seen.metres.shape, box, (2000, 1000))
        assert seen.metres[rows, columns].tolist() == [[seen.metres[row, column]]]


def test_a_flat_map_says_nothing() -> None:
    rng = np.random.default_rng(1)
    assert map_fault(DepthMap(20.0 + rng.normal(0, 0.2, (96, 160)), 100.0)) == FLAT_MAP
    assert map_fault(street()) is None


@pytest.mark.parametrize("value", [100.0, np.inf, np.nan, 0.0, -1.0])
def test_a_map_at_its_limit_or_without_numbers_says_nothing(value: float) -> None:
    seen = street()
    seen.metres[:90] = value
    assert map_fault(seen) == SATURATED_MAP
    assert map_fault(DepthMap(np.full((96, 160), value), 100.0)) == SATURATED_MAP
    assert map_fault(DepthMap(street().metres, 100.0, np.ones((96, 160), bool))) == SATURATED_MAP


def test_a_box_in_the_sky_has_no_depth() -> None:
    seen = street(limit=80.0)
    assert box_depth(seen, (300, 50, 360, 110), (1600, 960)).reason == FAR_LIMIT
    told = DepthMap(np.full((96, 160), 30.0), 100.0, np.arange(96)[:, None].repeat(160, 1) < 48)
    told.metres[65:71, 30:36] = 12.0
    assert box_depth(told, (300, 50, 360, 110), (1600, 960)).reason == SKY
    assert box_depth(told, (300, 650, 360, 710), (1600, 960)).metres == 12.0


def test_a_box_with_two_things_in_it_has_no_depth() -> None:
    metres = np.full((60, 60), 10.0)
    metres[:, 30:] = 60.0
    assert box_depth(DepthMap(metres, 100.0), (0, 0, 60, 60), (60, 60)).reason == WIDE
    metres[:, 30:] = 11.5  # the box is the whole map: nothing lies beside it
    assert box_depth(DepthMap(metres, 100.0), (0, 0, 60, 60), (60, 60)).metres == pytest.approx(10.75, abs=0.76)


def test_what_is_no_number_is_no_depth() -> None:
    assert box_depth(DepthMap(np.full((4, 4), np.nan), 100.0), (0, 0, 4, 4), (4, 4)).reason == NO_PIXEL


def test_photos_are_told_one_by_one_in_order_and_bad_ones_with_their_reason() -> None:
    asked: list[str] = []
    body = (TOWN / "photos" / sorted(p.name for p in (TOWN / "photos").iterdir())[0]).read_bytes()

    def photo(name: str, content: bytes, boxes: list[tuple[float, float, float, float]]) -> PhotoBoxes:
        def read() -> bytes:
            asked.append(name)
            if name == "gone":
                raise FileNotFoundError(name)
            return content

        return PhotoBoxes(name, read, boxes, (1280, 960), 0.85)

    looks = []

    def estimate(pixels: np.ndarray, focal: float | None) -> DepthMap:
        looks.append((pixels.shape, focal))
        seen = street()
        seen.metres[68:76, 74:82] = 4.0
        return seen

    model = DepthModel(resolve("kryss-depth"), estimate, 300)
    box = (600.0, 700.0, 640.0, 740.0)
    photos = [
        photo("a", body, [box, box]),
        photo("empty", body, []),
        photo("cut", body[:3000], [box]),
        photo("gone", b"", [box]),
        photo("b", body, [box]),
    ]
    found = dict(model.measure(photos))
    assert list(found) == ["a", "cut", "gone", "b"]
    assert found["a"][0].metres == found["a"][1].metres == found["b"][0].metres is not None
    assert found["cut"][0].metres is None and str(found["cut"][0].reason).startswith("bad-photo: ")
    assert found["gone"][0].reason == "bad-photo: cannot be read"
    assert "empty" not in asked
    assert looks == [((240, 320, 3), 0.85)] * 2  # decoded at a quarter, once a photo


def test_no_name_is_no_model() -> None:
    assert load_depth(None) is None


def test_a_detector_is_no_depth_model() -> None:
    with pytest.raises(DepthUnavailable, match="its task is detect"):
        load_depth("picodet_s_416")


def test_without_its_file_the_stand_in_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if (SHARED / "weights").is_dir():
        pytest.skip("the file is here")
    monkeypatch.setenv("KRYSS_WEIGHTS_DIR", str(tmp_path))
    with pytest.raises(DepthUnavailable, match=r"depth_metres.onnx is not here"):
        load_depth("rtmonodepth-s-640x192")


@pytest.mark.real
@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared")
def test_the_stand_in_sees_the_near_sign_nearer_than_the_far_one() -> None:
    _near_and_far("rtmonodepth-s-640x192")


@pytest.mark.real
@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared")
def test_ours_sees_the_near_sign_nearer_than_the_far_one() -> None:
    _near_and_far("kryss-depth")


def _near_and_far(name: str) -> None:
    model = load_depth(name)
    assert model is not None
    photos = SHARED / "data" / "area-damasen" / "photos"
    size = (2692, 1032)
    [far] = model.median_depth((photos / "180621110003192.jpg").read_bytes(), [(569, 334, 594, 360)], size)
    [near] = model.median_depth((photos / "180621110003232.jpg").read_bytes(), [(1735, 109, 1912, 301)], size)
    assert near is not None
    assert far is None or 1 < near < far < 120
    assert model.median_depth(b"", [(0, 0, 1, 1)], size) == [None]


@pytest.mark.real
@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared")
def test_real_skies_have_no_depth() -> None:
    model = load_depth("kryss-depth")
    assert model is not None
    folder = SHARED / "data" / "gtsdb-train600" / "images"
    found = []
    for number in range(5, 120, 12):
        found += model.median_depth((folder / f"{number:05d}.jpg").read_bytes(), [(640, 5, 700, 65)])
    assert sum(depth is None for depth in found) >= len(found) * 0.6


# --- our own network -------------------------------------------------------------------------------------------------------


def test_ours_knows_the_towns_depth() -> None:
    """The town's layout and pictures are trained on nowhere."""
    from kryss.training.depth_judge import area_truth, judge

    model = load_depth("kryss-depth")
    assert model is not None
    found = judge(model, area_truth(TOWN))
    assert found["median-scaled"].abs_rel <= LEAST["median-scaled"] and found["metric"].abs_rel <= LEAST["metric"]


LEAST = {"median-scaled": 0.12, "metric": 0.16}


def test_ours_scales_with_the_focal_length() -> None:
    model = load_depth("kryss-depth")
    assert model is not None
    photo = read_photo(next((TOWN / "photos").iterdir()).read_bytes())
    one, two, unknown, usual = (model.depth_map(photo, focal).metres for focal in (0.6, 1.2, None, 0.85))
    assert np.allclose(two, 2 * one, rtol=1e-5)
    assert np.array_equal(unknown, usual)
    assert one.shape[1] / one.shape[0] == pytest.approx(4 / 3, rel=0.05)


@pytest.mark.parametrize("size", [(64, 96), (96, 64)])
def test_openvino_computes_the_depth_that_torch_computes(size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    entry = resolve("kryss-depth")
    photo = np.kron(
        np.random.default_rng(2).integers(0, 255, (size[0] // 8, size[1] // 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8)
    )
    mine, expected = families._kryss_on_openvino(entry)(photo), families._kryss_on_torch(entry, torch.device("cpu"))(photo)
    assert mine.shape == expected.shape == (2, size[0] // 2, size[1] // 2)
    assert np.allclose(mine, expected, atol=2e-3) and expected[0].std() > 0.1


def test_the_same_photo_has_the_same_depth_whatever_comes_with_it() -> None:
    model = load_depth("kryss-depth")
    assert model is not None
    boxes: dict[str, list[Box]] = {}
    for row in json.loads((TOWN / "truth_boxes.json").read_text(encoding="utf-8"))["boxes"]:
        boxes.setdefault(row["image_id"], []).append(tuple(row["box_ltrb"]))
    names = sorted(boxes)[8:12]

    def ask(some: list[str]) -> dict[str, list[BoxDepth]]:
        photos = [PhotoBoxes(name, (TOWN / "photos" / f"{name}.jpg").read_bytes, boxes[name], (1280, 960), 0.85) for name in some]
        return dict(model.measure(photos))

    together = ask(names)
    assert any(depth.metres for found in together.values() for depth in found)
    assert all(ask([name])[name] == together[name] for name in names)
