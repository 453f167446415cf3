"""./kryss evaluate: what it says of labels and models that cannot be used, and the held-out part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from kryss.cli.__main__ import main


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    document: dict[str, Any] = {
        "images": [{"id": number, "file_name": f"{number}.jpg", "width": 64, "height": 64} for number in range(6)],
        "annotations": [{"id": 0, "image_id": 5, "category_id": 1, "bbox": [1, 1, 9, 9]}],
        "categories": [{"id": 1, "name": "stop sign"}, {"id": 2, "name": "dog"}],
    }
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(document))
    (tmp_path / "images").mkdir()
    return path


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["evaluate", *map(str, arguments)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    return line


def test_what_cannot_be_judged_is_said_in_one_line(labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--model is needed" in said(capsys, "--coco", labels)
    assert "did you mean kryss-street" in said(capsys, "--coco", labels, "--model", "kryss-streat")
    assert "there is no" in said(capsys, "--coco", tmp_path / "none.json", "--images", tmp_path, "--model", "x")
    assert "--images says where" in said(capsys, "--coco", labels, "--images", tmp_path / "none", "--model", "x")
    assert "labels no traffic-light" in said(capsys, "--coco", labels, "--model", "x", "--classes", "traffic-light")
    assert "no class 'wall'" in said(capsys, "--coco", labels, "--model", "x", "--classes", "wall")
    assert "NAME=CLASS" in said(capsys, "--coco", labels, "--model", "x", "--map", "dog")
    assert "more than one --coco" in said(capsys, "--coco", labels, "--coco", labels, "--model", "x")


def test_the_held_out_part_is_written(labels: Path, tmp_path: Path) -> None:
    assert main(["evaluate", "--coco", str(labels), "--write-held-out", str(tmp_path / "part.json")]) == 0
    part = json.loads((tmp_path / "part.json").read_text())
    assert [row["id"] for row in part["images"]] == [5]
    assert len(part["annotations"]) == 1
    assert len(part["categories"]) == 2


def test_nothing_to_judge_by_is_said_before_a_model_is_loaded(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = said(capsys, "--coco", labels, "--model", "kryss-street-lite0")
    assert "none of its 6 photos is there, e.g." in line
    assert "--images says where they are" in line
    for number in range(6):
        (tmp_path / "images" / f"{number}.jpg").write_bytes(b"no picture")
    assert "no label of regulatory--stop--g1 in its 5 photos" in said(
        capsys, "--coco", labels, "--model", "kryss-street-lite0", "--limit", 5
    )
    assert "no photo to judge by" in said(capsys, "--coco", labels, "--model", "kryss-street-lite0", "--limit", 0)
    document = json.loads(labels.read_text())
    document["annotations"][0]["category_id"] = 2
    labels.write_text(json.dumps(document))
    assert "not understood (boxes): dog (1): say it with --map" in said(capsys, "--coco", labels, "--model", "kryss-street-lite0")
    labels.write_text(json.dumps({**document, "images": []}))
    assert "no photo to judge by" in said(capsys, "--coco", labels, "--model", "kryss-street-lite0")


@pytest.mark.parametrize("options", [(), ("--quiet",)])
def test_photos_of_which_none_is_readable_are_an_error(
    options: tuple[str, ...], labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(6):
        (tmp_path / "images" / f"{number}.jpg").write_bytes(b"no picture")
    out = tmp_path / "out.json"
    assert main(["evaluate", "--coco", str(labels), "--model", "kryss-street-lite0", "--json", str(out), *options]) == 2
    assert "none of its 6 photos could be read: bad-photo: not an image" in capsys.readouterr().err
    assert not out.exists()


def test_a_wrong_model_or_device_is_said_in_one_line(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images" / "5.jpg").write_bytes(b"no picture")
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"no weights at all")

    def last(*more: str) -> str:
        assert main(["evaluate", "--coco", str(labels), "--quiet", *more]) == 2
        return capsys.readouterr().err.splitlines()[-1]

    assert "is no detector: its task is depth" in last("--model", "kryss-depth")
    assert "is no safetensors file" in last("--model", str(junk))
    assert "kryss-street-lite0 cannot be used: " in last("--model", "kryss-street-lite0", "--device", "toaster")
    monkeypatch.setenv("KRYSS_DECODERS", "many")
    assert "expected threads:N" in last("--model", "kryss-street-lite0")


@pytest.mark.slow
def test_several_sets_are_all_told_and_that_thresholds_were_chosen_on_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments: list[object] = ["evaluate", "--model", "kryss-street-lite0"]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (320, 240), "gray").save(tmp_path / name / "0.jpg")
        document = {
            "images": [{"id": 0, "file_name": "0.jpg"}],
            "annotations": [{"image_id": 0, "category_id": number, "bbox": [9, 9, 9, 9]} for number in (1, 2, 2)],
            "categories": [{"id": 1, "name": "stop sign"}, {"id": 2, "name": "dog"}],
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
        arguments += ["--coco", tmp_path / f"{name}.json", "--images", tmp_path / name]
    out, page = tmp_path / "out.json", tmp_path / "page.html"
    arguments += ["--json", out, "--html", page, "--choose-thresholds", tmp_path / "chosen.json"]
    assert main([*map(str, arguments)]) == 0
    told = json.loads(out.read_text())
    assert [Path(part["labels"]).name for part in told["sets"]] == ["one.json", "two.json"]
    for part in told["sets"]:
        assert part["chosen_on_these_photos"] is True
        assert part["categories"] == {"stop sign": "regulatory--stop--g1"}
        assert part["unknown_categories"] == {"dog": 2}
        assert (part["map50"], part["operating"]["missed"]) == (0.0, 1)
    assert page.read_text().count("chosen on these very photos") == page.read_text().count("<h1>") == 2
    said = capsys.readouterr()
    assert said.out.count("NOTE: calibration and thresholds were chosen on these very photos") == 2
    assert said.err.count("1 categories with 2 boxes mean none of our classes and are NOT judged: dog (2)") == 2
    single = [str(part) for part in arguments[:7]]
    assert main([*single, "--json", str(out), "--quiet"]) == 0
    assert json.loads(out.read_text())["chosen_on_these_photos"] is False
    said = capsys.readouterr()
    assert said.out == ""
    assert "NOT judged: dog (2)" in said.err
