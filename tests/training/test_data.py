"""Loaders of labelled photos, on data sets made up here in their formats."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kryss.training.data import DataSet, LabelledPhoto, coco, folder, gtsdb, gtsrb, is_held_out, mtsd, split
from kryss.training.data.check import BrokenDataError, checked

STOP, YIELD = "regulatory--stop--g1", "regulatory--yield--g1"
UPRIGHT, HORIZONTAL = "object--traffic-light--general-upright", "object--traffic-light--general-horizontal"


def photo(path: Path, size: tuple[int, int] = (80, 60)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 150)).save(path)
    return path


def document(root: Path, annotations: list[dict[str, Any]], categories: list[dict[str, Any]] | None = None) -> Path:
    photo(root / "images" / "0.jpg")
    images = [{"id": 0, "file_name": "0.jpg", "width": 80, "height": 60}]
    text = json.dumps({"images": images, "annotations": annotations, "categories": categories or []})
    (root / "annotations.json").write_text(text, encoding="utf-8")
    return root / "annotations.json"


def test_coco_names_become_classes_and_crowds_are_ignored(tmp_path: Path) -> None:
    rows = [
        {"image_id": 0, "category_id": 1, "bbox": [10, 10, 20, 20]},
        {"image_id": 0, "category_id": 2, "bbox": [40, 10, 8, 20]},
        {"image_id": 0, "category_id": 2, "bbox": [40, 40, 30, 10]},
        {"image_id": 0, "category_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": 1},
    ]
    names = [{"id": 1, "name": "stop sign"}, {"id": 2, "name": "traffic light"}, {"id": 3, "name": YIELD}]
    [found] = coco.load(document(tmp_path, rows, names), tmp_path / "images").photos
    assert found.boxes == ((10, 10, 30, 30, STOP), (40, 10, 48, 30, UPRIGHT), (40, 40, 70, 50, HORIZONTAL))
    assert found.ignore == ((1, 2, 4, 6),)
    assert found.pixels().shape == (60, 80, 3)
    assert abs(int(found.pixels()[30, 40, 2]) - 150) < 4, "RGB, not BGR"


def test_what_a_coco_file_gets_wrong_is_told_and_the_rest_is_kept(tmp_path: Path) -> None:
    rows = [
        {"image_id": 0, "category_id": 1, "bbox": [10, 10, 20, 20]},
        {"image_id": 7, "category_id": 1, "bbox": [10, 10, 20, 20]},
        {"image_id": 0, "category_id": 1, "bbox": [10, 10, 20]},
        {"image_id": 0, "category_id": 1, "bbox": [10, 10, float("nan"), 4]},
        {"image_id": 0, "category_id": 9, "bbox": [50, 10, 20, 20]},
    ]
    data = coco.load(document(tmp_path, rows, [{"id": 1, "name": "stop sign"}]), tmp_path / "images")
    assert [problem.kind for problem in data.problems] == ["bad-annotation", "bad-annotation", "box-not-finite", "unknown-class"]
    assert "9" in data.problems[3].text
    assert data.photos[0].boxes == ((10, 10, 30, 30, STOP),)
    assert data.photos[0].ignore == ((50, 10, 70, 30),), "something stands there, whatever it is"


def test_ids_are_the_same_as_numbers_and_as_text(tmp_path: Path) -> None:
    rows = [{"image_id": "0", "category_id": "1", "bbox": [10, 10, 20, 20]}]
    path = document(tmp_path, rows, [{"id": 1, "name": "stop sign"}])
    data = coco.load(path, tmp_path / "images")
    assert not data.problems and data.photos[0].boxes == ((10, 10, 30, 30, STOP),)
    assert coco.load(path, tmp_path / "images", {1: YIELD}).photos[0].boxes[0][4] == YIELD, "numbers given by a loader too"


def test_a_photo_whose_size_a_coco_file_does_not_say_has_its_own(tmp_path: Path) -> None:
    path = document(tmp_path, [{"image_id": 0, "category_id": 1, "bbox": [10, 10, 20, 20]}], [{"id": 1, "name": "stop sign"}])
    whole = json.loads(path.read_text())
    whole["images"] = [{"id": 0, "file_name": "0.jpg"}, {"id": 1, "file_name": "gone.jpg"}]
    path.write_text(json.dumps(whole))
    data = coco.load(path, tmp_path / "images")
    assert not data.problems and [(p.width, p.height) for p in data.photos] == [(80, 60), (0, 0)]
    with pytest.raises(BrokenDataError) as raised:
        checked(data)
    assert [problem.kind for problem in raised.value.problems] == ["photo-missing"]


@pytest.mark.parametrize(
    "change",
    [{"images": None}, {"images": {"a": 1}}, {"annotations": None}, {"categories": None}, {"categories": {"1": "stop"}}],
)
def test_lists_that_are_none_are_no_coco_file(tmp_path: Path, change: dict[str, Any]) -> None:
    path = document(tmp_path, [])
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=f"is no COCO file .* {next(iter(change))} is no list"):
        coco.load(path, tmp_path / "images")


@pytest.mark.parametrize("odd", [{"id": [1]}, {"image_id": [1]}, {"category_id": [1]}, {"category_id": {}}])
def test_ids_of_no_use_are_problems_of_their_rows(tmp_path: Path, odd: dict[str, Any]) -> None:
    path = document(tmp_path, [{"image_id": 0, "category_id": 1, "bbox": [10, 10, 20, 20]}], [{"id": 1, "name": "stop sign"}, 5])
    whole = json.loads(path.read_text())
    whole["images" if "id" in odd else "annotations"][0].update(odd)
    path.write_text(json.dumps(whole))
    assert len(coco.load(path, tmp_path / "images").problems) == 1


def test_no_coco_file_and_no_coco_content_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="annotations file and a folder"):
        coco.load(tmp_path / "none.json", tmp_path)
    (tmp_path / "list.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match="is no COCO file"):
        coco.load(tmp_path / "list.json", tmp_path)


def test_coco_written_is_coco_read(tmp_path: Path) -> None:
    photos = [
        LabelledPhoto(0, photo(tmp_path / "images" / "a.jpg"), 80, 60, ((1.5, 2, 30, 40, STOP), (3, 3, 9, 9, YIELD))),
        LabelledPhoto(1, photo(tmp_path / "images" / "b.jpg"), 80, 60, (), ((5, 5, 20, 20),)),
    ]
    path = coco.write(photos, tmp_path)
    again = coco.load(path, tmp_path / "images")
    assert not again.problems
    assert [(p.boxes, p.ignore) for p in again.photos] == [(p.boxes, p.ignore) for p in photos]
    first = path.read_bytes()
    assert coco.write(photos, tmp_path).read_bytes() == first


def test_gtsdb_as_published(tmp_path: Path) -> None:
    for name in ("00000.ppm", "00005.ppm"):
        photo(tmp_path / name, (1360, 800))
    (tmp_path / "gt.txt").write_text("00000.ppm;774;411;815;446;14\n00000.ppm;1;2;3;4;77\nnonsense\n", encoding="utf-8")
    data = gtsdb.load(tmp_path)
    assert [p.id for p in data.photos] == [0, 5], "a photo without a sign is a photo too"
    assert data.photos[0].boxes == ((774, 411, 816, 447, STOP),)
    assert [problem.kind for problem in data.problems] == ["unknown-class", "bad-annotation"]
    with pytest.raises(FileNotFoundError, match="is it GTSDB"):
        gtsdb.load(tmp_path / "images")


@pytest.mark.parametrize("name", ["transfer", "street-lite0", "reader", "reader-again", "reader-lights"])
def test_the_shipped_recipes_take_gtsdb_as_published_and_as_coco(name: str, tmp_path: Path) -> None:
    from kryss.training.recipe import load_recipe
    from kryss.training.recogniser import load_reader_recipe
    from kryss.training.run import sound

    published, packed = tmp_path / "published", tmp_path / "packed"
    photo(published / "00000.ppm", (80, 60))
    (published / "gt.txt").write_text("00000.ppm;10;20;29;39;14\n", encoding="utf-8")
    photo(packed / "images" / "0.jpg", (80, 60))
    image = {"id": 0, "file_name": "0.jpg", "width": 80, "height": 60}
    sign = {"image_id": 0, "category_id": 14, "bbox": [10, 20, 20, 20]}
    (packed / "annotations.json").write_text(json.dumps({"images": [image], "annotations": [sign], "categories": []}))
    source = (load_reader_recipe(name) if name.startswith("reader") else load_recipe(name)).data["gtsdb"]
    for path in (published, packed, packed / "annotations.json"):
        kept, left_out = sound({"gtsdb": source}, {"gtsdb": path}, skip_bad=False)
        [one] = kept["gtsdb"]
        assert (one.id, one.boxes, one.stretch, left_out) == (0, ((10, 20, 30, 40, STOP),), 1.0, {})
    with pytest.raises(FileNotFoundError, match=r"no .*nothing\.json"):
        sound({"gtsdb": source}, {"gtsdb": tmp_path / "nothing.json"}, skip_bad=False)


def test_gtsrb_in_both_forms(tmp_path: Path) -> None:
    published, packed = tmp_path / "published", tmp_path / "packed"
    photo(published / "00014" / "00000.ppm", (30, 31))
    header = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n"
    table = header + "00000.ppm;30;31;5;5;24;25;14\n00001.ppm;30;31;5;5;24;25;14\n"
    (published / "00014" / "GT-00014.csv").write_text(table, encoding="utf-8")
    data = gtsrb.load(published)
    assert data.photos[0].boxes == ((5, 5, 25, 26, STOP),) and data.photos[0].width == 30
    assert [problem.kind for problem in data.problems] == ["photo-missing"]
    packed.mkdir()
    with zipfile.ZipFile(packed / "crops.zip", "w") as crops:
        crops.write(photo(tmp_path / "a.png", (30, 31)), "crops/a.png")
    text = "file,class_id,x1,y1,x2,y2\na.png,14,5,5,24,25\na.png,14,5,,24,25\na.png,43,5,5,24,25\n"
    (packed / "labels.csv").write_text(text, encoding="utf-8")
    data = gtsrb.load(packed)
    assert data.photos[0].boxes == ((5, 5, 25, 26, STOP),)
    assert data.photos[0].pixels().shape == (31, 30, 3)
    assert [problem.kind for problem in data.problems] == ["bad-annotation", "unknown-class"]
    (packed / "labels.csv").write_text("name,class_id\na.png,14\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"labels\.csv has no column 'file'; it needs file, x1"):
        gtsrb.load(packed)
    (packed / "crops.zip").write_text("no zip")
    with pytest.raises(ValueError, match=r"crops\.zip: File is not a zip file"):
        gtsrb.load(packed)


def test_the_list_of_gtsrbs_test_photos_without_classes_is_no_table(tmp_path: Path) -> None:
    photo(tmp_path / "Final_Training" / "Images" / "00014" / "00000.ppm", (30, 31))
    photo(tmp_path / "Final_Test" / "Images" / "00000.ppm", (30, 31))
    header, row = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2", "00000.ppm;30;31;5;5;24;25"
    (tmp_path / "Final_Training" / "Images" / "00014" / "GT-00014.csv").write_text(f"{header};ClassId\n{row};14\n")
    (tmp_path / "Final_Test" / "Images" / "GT-final_test.test.csv").write_text(f"{header}\n{row}\n")
    data = gtsrb.load(tmp_path)
    assert not data.problems and [p.id for p in data.photos] == ["00014/00000.ppm"]


def test_mtsd_in_its_own_format(tmp_path: Path) -> None:
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "val.txt").write_text("abc\nmissing\n", encoding="utf-8")
    photo(tmp_path / "images" / "val" / "abc.jpg", (200, 100))

    def row(label: str, sides: tuple[float, ...], **properties: bool) -> dict[str, Any]:
        box = dict(zip(("xmin", "ymin", "xmax", "ymax"), sides, strict=True))
        return {"key": "k", "label": label, "bbox": box, "properties": properties}

    crossing = row(STOP, (190, 10, 5, 30))
    crossing["bbox"]["cross_boundary"] = {
        "left": {"xmin": 190, "ymin": 10, "xmax": 200, "ymax": 30},
        "right": {"xmin": 0, "ymin": 10, "xmax": 5, "ymax": 30},
    }
    rows = [
        row(STOP, (10, 20, 30, 40), occluded=True),
        row("other-sign", (50, 20, 60, 40)),
        row("information--no-such-class-here--g7", (70, 20, 80, 40)),
        row(YIELD, (90, 20, 100, 40), ambiguous=True),
        crossing,
        row("banana", (110, 20, 120, 40)),
        {"key": "k", "label": STOP},
    ]
    (tmp_path / "annotations").mkdir()
    body = json.dumps({"width": 200, "height": 100, "ispano": True, "objects": rows})
    (tmp_path / "annotations" / "abc.json").write_text(body, encoding="utf-8")
    data = mtsd.load(tmp_path, "val")
    [found] = data.photos
    assert found.boxes == ((10, 20, 30, 40, STOP), (50, 20, 60, 40, "other-sign"), (70, 20, 80, 40, "other-sign"))
    assert found.ignore == ((90, 20, 100, 40), (190, 10, 200, 30), (0, 10, 5, 30), (110, 20, 120, 40))
    assert found.pixels().shape == (100, 200, 3)
    assert [problem.kind for problem in data.problems] == ["unknown-class", "bad-annotation", "bad-annotation"]
    with pytest.raises(FileNotFoundError, match=r"splits/train\.txt"):
        mtsd.load(tmp_path, "train")


def test_plain_photos_are_places_without_labels(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "b.jpg")
    photo(tmp_path / "a.png", (10, 20))
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    data = folder.load(tmp_path)
    assert [(p.id, p.width, p.height, p.boxes) for p in data.photos] == [("a.png", 10, 20, ()), ("in/b.jpg", 80, 60, ())]
    assert [(problem.photo, problem.kind) for problem in data.problems] == [("broken.jpg", "photo-unreadable")]


def test_the_hold_out_is_fixed_by_the_photo_alone() -> None:
    photos = [LabelledPhoto(k, b"", 1, 1, ()) for k in range(60)]
    learn, judge = split(photos)
    assert [p.id for p in judge] == list(range(5, 60, 6))
    assert len(learn) + len(judge) == 60
    shares = np.mean([is_held_out(f"key{k}") for k in range(3000)])
    assert 0.13 < shares < 0.2, "keys that are words are held out as often"
    assert is_held_out("key5") == is_held_out("key5")
    assert isinstance(DataSet("x", tuple(photos)).problems, tuple)


def test_a_number_written_as_text_is_held_out_like_the_number() -> None:
    assert [is_held_out(str(number)) for number in range(30)] == [is_held_out(number) for number in range(30)]
