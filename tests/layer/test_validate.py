"""Validation names the file, the feature and the object of everything that is wrong with a release."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import date
from pathlib import Path

import pytest

from kryss.layer.__main__ import main
from kryss.layer.validate import validate


@pytest.fixture(scope="module")
def good(town, tmp_path_factory) -> Path:
    return Path(town.publish(tmp_path_factory.mktemp("good"), date(2026, 5, 21), town.in_2026()).url)


@pytest.fixture
def folder(good, tmp_path) -> Path:
    return Path(shutil.copytree(good, tmp_path / good.name))


def spoil(folder: Path, name: str, change) -> list[str]:
    """Changes one document, keeps the manifest true to its bytes, and validates."""
    path = folder / name
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for item in manifest["files"]:
        if item["name"] == name:
            item.update(bytes=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return validate(folder)


def entry(layer: dict) -> dict:
    return layer["features"][0]["properties"]["objects"][0]


def test_a_good_release_has_no_problem(good, capsys):
    assert validate(good) == []
    assert main(["validate", str(good)]) == 0
    assert capsys.readouterr().out.endswith("valid\n")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda d: d["features"][0]["geometry"]["geometries"][0]["coordinates"][0].reverse(),
            "feature 'nvdb:1': ring 0 of the area turns the wrong way",
        ),
        (
            lambda d: d["features"][0]["geometry"]["geometries"][0]["coordinates"][0].pop(),
            "feature 'nvdb:1': ring 0 of the area is not closed",
        ),
        (lambda d: d["features"][0]["geometry"]["geometries"].pop(), "feature 'nvdb:1': has 10 points but 11 objects"),
        (lambda d: d.update(crs={"type": "name"}), "has a crs member"),
        (lambda d: d.update(bbox=[0, 0, 1, 1]), "bbox [0, 0, 1, 1] is not that of the features"),
        (lambda d: d["features"].append(d["features"][0]), "feature 'nvdb:1': the id is used twice"),
        (lambda d: d["features"][0].pop("id"), "'id' is a required property"),
        (lambda d: entry(d).pop("status"), "feature 'nvdb:1': features/0/properties/objects/0: 'status' is a required property"),
        (
            lambda d: entry(d).update(error_radius_m=None),
            "features/0/properties/objects/0/error_radius_m: None is not of type 'number'",
        ),
        (
            lambda d: entry(d).update(last_seen_at="2024-01-01T00:00:00Z"),
            "object 'a1': first seen 2025-06-10T09:30:00Z, after it was last seen",
        ),
        (lambda d: entry(d).update(last_seen_at="2024-01-01 00:00"), "'2024-01-01 00:00' does not match"),
        (lambda d: entry(d).update(ended_at="2026-06-01T00:00:00Z"), "object 'a1': status is 'standing', but ended_at is"),
        (lambda d: entry(d).update(began_after="2025-06-11T00:00:00Z"), "object 'a1': began after 2025-06-11T00:00:00Z, but was"),
        (
            lambda d: entry(d).update(
                absences=[dict.fromkeys(("gone_after", "gone_by", "back_after", "back_by"), "2027-01-01T00:00:00Z")]
            ),
            "are not in time order between its first and its last sighting",
        ),
        (lambda d: entry(d)["history"][0].update(reason="whim"), "'whim' is not one of"),
        (lambda d: entry(d).update(image_count=7), "object 'a1': image_count is 7, but evidence names 2 images"),
        (
            lambda d: entry(d).update({"class": "regulatory--yield--g1"}),
            "object 'a1': the last state of its history is not its present state",
        ),
        (
            lambda d: d["features"][0]["properties"].update(object_count=1),
            "feature 'nvdb:1': object_count is 1, but 8 objects stand",
        ),
        (
            lambda d: d["features"][0]["geometry"]["geometries"][1].update(coordinates=[10.123456789, 60.0]),
            "object 'a1': has coordinates of more than 7",
        ),
        (lambda d: d["features"][0].update(geometry=None), "feature 'nvdb:1': cannot be read"),
    ],
)
def test_what_is_wrong_with_the_layer_is_named(folder, change, problem):
    problems = spoil(folder, "intersections.geojson", change)
    assert any(problem in line and line.startswith("intersections.geojson: ") for line in problems), problems


def test_a_changed_byte_is_found(folder, capsys):
    path = folder / "changes.json"
    path.write_bytes(path.read_bytes().replace(b"stop", b"yeld"))
    assert validate(folder) == ["changes.json: its sha256 is not the one in manifest.json"]
    assert main(["validate", str(folder)]) == 1
    assert "1 problems" in capsys.readouterr().out


def test_missing_cut_and_foreign_files_are_found(folder):
    (folder / "ATTRIBUTION.md").unlink()
    (folder / "notes.txt").write_text("mine")
    (folder / "changes.json").write_bytes((folder / "changes.json").read_bytes()[:-20])
    problems = "\n".join(validate(folder))
    assert "ATTRIBUTION.md: is listed in manifest.json but missing" in problems
    assert "notes.txt: is not listed in manifest.json" in problems
    assert "changes.json: is not a JSON document" in problems


def test_a_document_that_is_no_object_is_found(folder):
    (folder / "manifest.json").write_text("[]")
    assert validate(folder) == ["manifest.json: is not a JSON document: the top is a list, not an object"]


def test_a_renamed_release_is_found(folder):
    moved = folder.rename(folder.with_name("2026-05-22.1"))
    assert validate(moved) == ["manifest.json: release is '2026-05-21.1', the folder is called '2026-05-22.1'"]


def test_an_empty_folder_is_no_release(tmp_path):
    assert [line.split(":")[0] for line in validate(tmp_path)] == [
        "intersections.geojson",
        "changes.json",
        "manifest.json",
        "schema.json",
    ]


def test_a_flood_of_problems_is_cut_short(folder):
    def change(layer):
        area, point, *_ = layer["features"][0]["geometry"]["geometries"]
        layer["features"][0]["properties"]["objects"] = [{}] * 200
        layer["features"][0]["geometry"]["geometries"] = [area] + [point] * 200

    assert spoil(folder, "intersections.geojson", change)[-1] == "stopped after 100 problems"
