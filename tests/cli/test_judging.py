"""./kryss evaluate: what it says of labels and models that cannot be used, and the held-out part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

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
