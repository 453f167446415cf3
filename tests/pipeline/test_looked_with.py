"""A run says exactly what it did with its photos: which model, with which options."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from kryss.config import MunicipalityConfig, Settings
from kryss.model import Image, PhotoResult
from kryss.pipeline import stages
from kryss.pipeline.run import Run
from kryss.vision import registry
from kryss.vision.registry import Inference, Suppression, Weights, entry_digest, resolve


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KRYSS_WEIGHTS_DIR", str(tmp_path / "weights"))
    return tmp_path / "weights"


def test_the_detect_stage_tells_entry_and_options_of_its_model(tmp_path: Path, weights: Path) -> None:
    """A shard that was done by another try: what is told does not hang on what is found."""
    settings = Settings.from_env({"KRYSS_HOME": str(tmp_path), "KRYSS_DATABASE_URL": "postgresql://nobody@localhost/none"})
    run = Run(MunicipalityConfig(code="9901", name="Town", boundary="unused"), settings, "night", date(2026, 5, 4))
    folder = "work/9901/night/night-0000"
    run.state.write_rows(f"{folder}/images.jsonl.gz", Image, [])
    run.state.write_rows(f"{folder}/fetched.jsonl.gz", PhotoResult, [])
    run.state.write_rows(f"{folder}/results.jsonl.gz", PhotoResult, [])
    run.state.write_rows(f"{folder}/detections.jsonl.gz", stages.Detection, [])
    told = stages.detect(run, "night-0000")["model"]
    entry = resolve("kryss-street-lite0")
    assert told["entry"] == entry_digest(entry)
    assert told["inference"]["backend"] == entry.inference.backend
    assert told["inference"]["first_threshold"] == entry.inference.first_threshold


def test_of_an_ensemble_the_options_of_its_members_are_told_too(weights: Path) -> None:
    shipped = resolve("kryss-street-lite0")
    small = replace(shipped, name="small", version="1", inference=replace(shipped.inference, scales=(1.0, 0.7)))
    registry.write_entry(small)
    both = Weights(
        "both", "1", "detect", "ensemble", "wbf", "none", "test",
        options={"members": ["kryss-street-lite0@2.1", "small@1"]}, inference=Inference(nms=Suppression(iou=0.55)),
    )  # fmt: skip
    told = stages.looked_with(both)
    assert told["inference"] == {"nms": {"iou": 0.55}}
    assert told["members"]["kryss-street-lite0@2.1"] == stages.looked_with(shipped)
    assert told["members"]["small@1"]["inference"]["scales"] == [1.0, 0.7]
    registry.write_entry(replace(small, inference=replace(small.inference, min_side=999)))
    assert stages.looked_with(both)["members"] != told["members"], "the ensemble's own digest does not see this"
    assert stages.looked_with(both)["entry"] == told["entry"]
