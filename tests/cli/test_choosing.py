"""./kryss evaluate --choose-thresholds keeps what it chose with the model: in its file, in its entry of the registry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kryss.cli import evaluate
from kryss.cli.__main__ import main
from kryss.training.export import export_entry, rewrite_entry
from kryss.vision import registry
from kryss.vision.registry import Calibration, Preprocessing, Weights, entry_in, resolve, weights_file

CHOSEN = {
    "score_threshold": 0.4,
    "thresholds": {"regulatory--stop--g1": 0.7},
    "calibration": Calibration(((0.0, 0.0), (1.0, 0.9))),
}
ENTRY = Weights(
    "mine", "1", "detect", "effdet", "tf_efficientdet_lite0", "none", "test", ("regulatory--stop--g1",),
    preprocessing=Preprocessing("native", 512, 128), trained={"data": "0123"},
)  # fmt: skip


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trained model in a folder of a run, and an empty registry."""
    monkeypatch.setenv("KRYSS_WEIGHTS_DIR", str(tmp_path / "weights"))
    path = tmp_path / "run" / "model.safetensors"
    export_entry({"layer": torch.arange(5.0), "count": torch.tensor(3)}, path, ENTRY)
    return path


def chosen_for(name: str) -> Weights:
    return replace(resolve(name), **CHOSEN)


def test_a_rewritten_entry_leaves_the_tensors_alone(file: Path) -> None:
    before, digest = load_file(file), registry.content_digest(file)
    rewrite_entry(file, replace(entry_in(file), **CHOSEN))
    after = load_file(file)
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert registry.content_digest(file) == digest
    found = entry_in(file)
    assert {key: getattr(found, key) for key in CHOSEN} == CHOSEN
    assert found.trained == ENTRY.trained and found.preprocessing == ENTRY.preprocessing


def test_what_was_chosen_for_a_file_stands_in_the_file(file: Path) -> None:
    assert evaluate._store(str(file), chosen_for(str(file))) == [file]
    assert resolve(str(file)).thresholds == CHOSEN["thresholds"]


def test_for_a_file_that_is_registered_it_stands_in_both_and_the_registered_model_stays_whole(file: Path) -> None:
    made = registry.register(entry_in(file), file)
    body = weights_file(made).read_bytes()
    stored = evaluate._store(str(file), chosen_for(str(file)))
    assert [path.name for path in stored] == ["model.safetensors", "mine@1.yaml"]
    kept = resolve("mine@1")
    assert (kept.file, kept.sha256, kept.thresholds) == (made.file, made.sha256, CHOSEN["thresholds"])
    assert weights_file(kept).read_bytes() == body
    assert registry.model_key(resolve(str(file))) == "mine@1", "both still say the same"


def test_for_a_name_it_stands_in_the_registry(file: Path) -> None:
    made = registry.register(entry_in(file), file)
    before = file.read_bytes()
    [stored] = evaluate._store("mine", chosen_for("mine"))
    assert stored == made.folder / "mine@1.yaml" and file.read_bytes() == before
    assert resolve("mine").calibration == CHOSEN["calibration"]


def test_files_that_the_registry_knows_by_their_hash_are_not_touched(file: Path) -> None:
    made = registry.register(entry_in(file), file)
    path = weights_file(made)
    evaluate._store(str(path), chosen_for(str(path)))
    assert weights_file(resolve("mine@1")).read_bytes() == file.read_bytes()
    assert evaluate._store("kryss-street-lite0", chosen_for("kryss-street-lite0")) == []


def test_a_model_without_a_second_stage_has_none_to_leave_out(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.json"
    labels.write_text(
        '{"images": [{"id": 1, "file_name": "1.jpg"}], "categories": [{"id": 1, "name": "stop sign"}], '
        '"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}]}'
    )
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.jpg").write_bytes(b"no picture")
    assert main(["evaluate", "--coco", str(labels), "--model", str(file), "--no-second-stage"]) == 2
    assert "mine@1 has no second stage that --no-second-stage could leave out" in capsys.readouterr().err
