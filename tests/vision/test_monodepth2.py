"""Monodepth2 reads the published files: the same names, the same shapes, the paper's range of depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kryss.vision.depth import DepthUnavailable, load_depth
from kryss.vision.depth.monodepth2 import Monodepth2, depth_of

RESNET_STAGES = ((64, 64), (64, 128), (128, 256), (256, 512))


def official_encoder() -> dict[str, object]:
    """Names and shapes of ``encoder.pth``: torchvision's ResNet-18 under ``encoder.``, and three settings."""
    state: dict[str, object] = {"height": 192, "width": 640, "use_stereo": True}

    def put(name: str, *shape: int) -> None:
        state[f"encoder.{name}"] = torch.randn(shape) * 0.05

    def norm(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean"):
            put(f"{name}.{part}", channels)
        state[f"encoder.{name}.running_var"] = torch.rand(channels) + 0.5
        state[f"encoder.{name}.num_batches_tracked"] = torch.tensor(7)

    put("conv1.weight", 64, 3, 7, 7)
    norm("bn1", 64)
    for stage, (given, out) in enumerate(RESNET_STAGES, 1):
        for block in (0, 1):
            put(f"layer{stage}.{block}.conv1.weight", out, given if block == 0 else out, 3, 3)
            put(f"layer{stage}.{block}.conv2.weight", out, out, 3, 3)
            norm(f"layer{stage}.{block}.bn1", out)
            norm(f"layer{stage}.{block}.bn2", out)
            if block == 0 and given != out:
                put(f"layer{stage}.0.downsample.0.weight", out, given, 1, 1)
                norm(f"layer{stage}.0.downsample.1", out)
    put("fc.weight", 1000, 512)
    put("fc.bias", 1000)
    return state


def official_decoder() -> dict[str, torch.Tensor]:
    """Names and shapes of ``depth.pth``: table 6 of the supplement, upconvolutions from coarse to fine, then four outputs."""
    shapes = [(512, 256), (512, 256), (256, 128), (256, 128), (128, 64), (128, 64), (64, 32), (96, 32), (32, 16), (16, 16)]
    state = {}
    for k, (given, out) in enumerate(shapes):
        state[f"decoder.{k}.conv.conv.weight"] = torch.randn(out, given, 3, 3) * 0.05
        state[f"decoder.{k}.conv.conv.bias"] = torch.randn(out)
    for k, given in enumerate((16, 32, 64, 128)):
        state[f"decoder.{10 + k}.conv.weight"] = torch.randn(1, given, 3, 3) * 0.05
        state[f"decoder.{10 + k}.conv.bias"] = torch.randn(1)
    return state


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.manual_seed(0)
    folder = tmp_path / "mono+stereo_640x192"
    folder.mkdir()
    torch.save(official_encoder(), folder / "encoder.pth")
    torch.save(official_decoder(), folder / "depth.pth")
    monkeypatch.setenv("KRYSS_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("KRYSS_ACCEPT_LICENCE", "monodepth2")
    return folder


def test_its_parameters_have_the_published_names_and_shapes() -> None:
    model = Monodepth2()
    encoder = {key: value for key, value in official_encoder().items() if isinstance(value, torch.Tensor)}
    for own, official in ((model.encoder.state_dict(), encoder), (model.depth.state_dict(), official_decoder())):
        assert {key: tuple(value.shape) for key, value in own.items()} == {k: tuple(v.shape) for k, v in official.items()}


def test_the_files_are_read_and_used(files: Path) -> None:
    model = load_depth("monodepth2")
    assert model is not None and model.model_key == "monodepth2@1"
    pixels = np.random.default_rng(0).integers(0, 255, (375, 1242, 3), dtype=np.uint8)
    found = model._estimate(pixels, None)
    assert found.metres.shape == (192, 640) and found.limit_m == 100.0
    assert 0.1 <= found.metres.min() < found.metres.max() <= 100.0
    state = torch.load(files / "depth.pth", weights_only=True)
    state["decoder.10.conv.bias"] += 1.0  # sigma grows: everything comes nearer
    torch.save(state, files / "depth.pth")
    nearer = load_depth("monodepth2")
    assert nearer is not None and (nearer._estimate(pixels, None).metres < found.metres).mean() > 0.99


def test_depth_runs_from_10_cm_to_100_m() -> None:
    sigma = torch.tensor([0.0, 0.5, 1.0])
    assert depth_of(sigma).tolist() == pytest.approx([100.0, 1 / (0.5 * 9.99 + 0.01), 0.1], rel=1e-5)


def test_without_the_licence_it_is_not_read(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRYSS_ACCEPT_LICENCE", "something-else")
    with pytest.raises(DepthUnavailable, match="KRYSS_ACCEPT_LICENCE=monodepth2"):
        load_depth("monodepth2")


def test_missing_and_foreign_files_are_told(files: Path) -> None:
    (files / "depth.pth").rename(files / "other.pth")
    with pytest.raises(DepthUnavailable, match=r"depth\.pth is not beside"):
        load_depth("monodepth2")
    torch.save({"decoder.0.conv.conv.weight": torch.zeros(3)}, files / "depth.pth")
    with pytest.raises(DepthUnavailable, match="not Monodepth2's"):
        load_depth("monodepth2")
    for junk in (b"<!DOCTYPE html>", b""):
        (files / "depth.pth").write_bytes(junk)
        with pytest.raises(DepthUnavailable, match="not Monodepth2's"):
            load_depth("monodepth2")
    (files / "encoder.pth").unlink()
    with pytest.raises(DepthUnavailable, match=r"encoder\.pth is not here"):
        load_depth("monodepth2")
