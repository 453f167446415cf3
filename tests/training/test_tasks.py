"""The tasks of the DAG train_detector do what ./kryss train detector does, each as often as one likes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kryss.cli.__main__ import main
from kryss.training import tasks
from kryss.training.data.check import BrokenDataError
from kryss.training.recipe import RecipeError
from kryss.vision.registry import NotRegistered, content_digest, resolve

SPRITES = Path(__file__).parents[2] / "include" / "kryss" / "demo" / "town" / "signs"


@pytest.fixture
def given(tiny_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Params of a run: a recipe of two steps, twelve photos with a yield sign each (two of them held out), an empty registry."""
    monkeypatch.setenv("KRYSS_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("KRYSS_HOME", str(tmp_path / "home"))
    data, rng = tmp_path / "gtsdb", np.random.default_rng(3)
    (data / "images").mkdir(parents=True)
    images, boxes = [], []
    for number in range(12):
        pixels = rng.integers(60, 200, (160, 256, 3), dtype=np.uint8)
        x = 20 + 10 * number
        pixels[50:90, x : x + 40] = (30, 30, 200)
        cv2.imwrite(str(data / "images" / f"{number}.jpg"), pixels)
        images.append({"id": number, "file_name": f"{number}.jpg", "width": 256, "height": 160})
        boxes.append({"id": number, "image_id": number, "category_id": 13, "bbox": [x, 50, 40, 40]})
    document = {"images": images, "annotations": boxes, "categories": [{"id": 13, "name": "yield"}]}
    (data / "annotations.json").write_text(json.dumps(document))
    sources = {"gtsdb": {"format": "gtsdb", "labelled": ["regulatory--*"]}}
    stages = [{"name": "a", "rate": 1e-3, "steps": 2}]
    (tmp_path / "mine.yaml").write_text(json.dumps({**tiny_settings, "name": "mine", "data": sources, "stages": stages}))
    return {"recipe": str(tmp_path / "mine.yaml"), "data": {"gtsdb": str(data)}, "sprites": str(SPRITES), "name": "mine@1"}


def run(part: str, params: dict[str, Any]) -> dict[str, Any]:
    """As Airflow keeps it: what a task says must be JSON."""
    told: dict[str, Any] = json.loads(json.dumps(tasks.run(part, params, "manual__2026-11-22T03:00:00+00:00")))
    return told


def test_a_run_has_a_folder_of_its_own_under_home(given: dict[str, Any], tmp_path: Path) -> None:
    assert Path(run("check", given)["out"]) == tmp_path / "home" / "training" / "manual_2026-11-22T03_00_00_00_00"
    elsewhere = str(tmp_path / "elsewhere")
    assert run("check", {**given, "out": elsewhere})["out"] == elsewhere


def test_checking_counts_and_stops_at_what_is_broken(given: dict[str, Any]) -> None:
    assert run("check", given) | {"out": ""} == {"out": "", "photos": 10, "held_out": 2, "left_out": {}}
    (Path(given["data"]["gtsdb"]) / "images" / "0.jpg").unlink()
    with pytest.raises(BrokenDataError, match="photo-missing"):
        run("check", given)
    told = run("check", {**given, "skip_bad": True})
    assert (told["photos"], told["left_out"]) == (9, {"photo-missing": 1})


def test_a_name_that_no_model_can_have_is_said_before_anything_is_read(given: dict[str, Any]) -> None:
    with pytest.raises(NotRegistered, match="ships with Kryss"):
        run("check", {**given, "name": "kryss-street-lite0@2.1", "data": {"gtsdb": "/nowhere"}})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sprites": "/nowhere"}, "no drawings"),
        ({"recipe": "nothing"}, "no recipe"),
        ({"out": "mine.yaml"}, "is a file"),
        ({"start": "mine.yaml"}, "no file of weights"),
    ],
)
def test_checking_stops_at_what_would_end_the_training(
    given: dict[str, Any], tmp_path: Path, change: dict[str, str], told: str
) -> None:
    placed = {key: str(tmp_path / value) if value == "mine.yaml" else value for key, value in change.items()}
    with pytest.raises(RecipeError, match=told):
        run("check", {**given, **placed, "data": {"gtsdb": "/nowhere"}})


@pytest.mark.parametrize("change", [{"data": {"gtsdb": "/nowhere"}}, {"prelabels": "/nowhere/seen.json"}])
def test_what_is_not_there_is_no_reason_to_try_again(given: dict[str, Any], change: dict[str, Any]) -> None:
    """RecipeError fails the task at once (`kryss_airflow.final_failures`)."""
    with pytest.raises(RecipeError, match="/nowhere"):
        run("check", {**given, **change})


def test_checking_stops_where_no_held_out_photo_shows_anything(given: dict[str, Any]) -> None:
    path = Path(given["data"]["gtsdb"]) / "annotations.json"
    document = json.loads(path.read_text())
    document["annotations"] = [row for row in document["annotations"] if row["image_id"] % 6 != 5]
    path.write_text(json.dumps(document))
    with pytest.raises(RecipeError, match=r"of 2 held-out photos .* none shows what is to be learnt"):
        run("check", given)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("resvg_py") is None or not SPRITES.is_dir(), reason="the extra 'training' is not installed"
)
def test_the_tasks_end_with_the_model_of_the_command(
    given: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def everything(params: dict[str, Any], *again: str) -> dict[str, Any]:
        return {
            part: run(part, params) for part in ("check", "train", "evaluate", "register") for _ in range(1 + (part in again))
        }

    told = everything({**given, "out": str(tmp_path / "dag")}, "train", "evaluate", "register")
    assert (told["train"]["steps"], told["register"]["model"]) == (2, "mine@1")
    assert 0 <= told["evaluate"]["map50"]["gtsdb"] <= 1
    entry = resolve("mine@1")
    assert entry.folder == tmp_path / "weights" / "registered" and entry.trained["steps"] == 2
    assert (tmp_path / "dag" / "report-gtsdb.html").is_file() and (tmp_path / "dag" / "model.md").is_file()
    arguments = ["--config", given["recipe"], "--data", f"gtsdb={given['data']['gtsdb']}", "--sprites", given["sprites"]]
    assert main(["train", "detector", *arguments, "--out", str(tmp_path / "cli"), "--name", "other@1"]) == 0
    assert content_digest(tmp_path / "cli" / "model.safetensors") == content_digest(tmp_path / "dag" / "model.safetensors")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["registered"] == "other@1"
    other = resolve("other@1")
    assert (other.thresholds, other.calibration, other.trained) == (entry.thresholds, entry.calibration, entry.trained)
    run("check", {**given, "out": str(tmp_path / "dag")})
    with pytest.raises(NotRegistered, match="mine@1 is registered already"):
        run("check", {**given, "out": str(tmp_path / "another")})


@pytest.mark.parametrize("part", ["train", "evaluate", "register"])
def test_a_task_without_what_it_needs_fails_and_leaves_no_model(given: dict[str, Any], part: str, tmp_path: Path) -> None:
    params = {**given, "sprites": str(tmp_path / "no-sprites"), "out": str(tmp_path / "dag")}
    with pytest.raises((OSError, ValueError)):
        run(part, params)
    assert not list((tmp_path / "weights").glob("registered/*.yaml"))
