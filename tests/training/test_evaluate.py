"""Scores of a detector, checked on cases small enough to do by hand; labels with everything wrong that files have."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from kryss.model import Detection
from kryss.training.categories import read_categories, read_classes
from kryss.training.choose import calibrate, calibrated, choose, thresholds
from kryss.training.data import LabelledPhoto
from kryss.training.evaluate import Judged, Looked, calibration, judged, look, score
from kryss.training.report import page
from kryss.training.truth import Truth, TruthError, held_out, read_truth, truth_of_photos
from kryss.vision.photo import read_photo
from kryss.vision.registry import resolve
from kryss.vision.taxonomy import from_gtsdb, from_gtsdb_name

YIELD, STOP, PARKING = "regulatory--yield--g1", "regulatory--stop--g1", "information--parking--g1"
UPRIGHT, LYING = "object--traffic-light--general-upright", "object--traffic-light--general-horizontal"
Box = tuple[float, float, float, float]
Row = tuple[int, str, Box]


def detection(name: str, score: float, box: Box, image: str = "0") -> Detection:
    return Detection(image, "test@1", 0, name, score, box)


def coco(rows: Sequence[Row], photos: int = 1, **more: Any) -> dict[str, Any]:
    """Labels (photo, category name, ltrb) as a COCO document."""
    names = sorted({name for _, name, _ in rows})
    return {
        "images": [{"id": index, "file_name": f"{index}.jpg", "width": 200, "height": 200} for index in range(photos)],
        "categories": [{"id": index, "name": name} for index, name in enumerate(names)],
        "annotations": [
            {
                "id": index,
                "image_id": image,
                "category_id": names.index(name),
                "bbox": [x, y, right - x, bottom - y],
                "iscrowd": 0,
            }
            for index, (image, name, (x, y, right, bottom)) in enumerate(rows)
        ],
        **more,
    }


def truth_of(document: Mapping[str, Any], folder: Path, **how: Any) -> Truth:
    path = folder / "annotations.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return read_truth(path, folder, **how)


def looked(truth: Truth, *detections: Detection) -> Looked:
    found = {photo.id: [d for d in detections if d.image_id == photo.id] for photo in truth.photos}
    return Looked(found, {}, 1.0)


def matched(name: str, score: float, right: bool) -> Judged:
    return Judged("0", name, name, score, right, False, 0.9 if right else 0.0, (0, 0, 9, 9), (0, 0, 9, 9) if right else None)


def test_average_precision_by_hand(tmp_path: Path) -> None:
    """Two labels; found right (0.9), wrong (0.8), right (0.7): precision 1 up to recall 0.5, then 2/3. COCO reads it at recalls
    0, 0.01, ..., 1: 51 times 1 and 50 times 2/3.
    """
    truth = truth_of(coco([(0, STOP, (0, 0, 40, 40)), (1, STOP, (0, 0, 40, 40))], photos=3), tmp_path)
    found = looked(
        truth,
        detection(STOP, 0.9, (0, 0, 40, 40), "0"),
        detection(STOP, 0.8, (0, 0, 40, 40), "2"),
        detection(STOP, 0.7, (0, 0, 40, 40), "1"),
    )
    result = score(truth, found, 0.75)
    assert result["map50"] == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-4)
    assert result["map50_95"] == result["map50"]
    assert (result["operating"]["precision"], result["operating"]["recall"]) == (0.5, 0.5)
    assert (result["operating"]["right"], result["operating"]["wrong"], result["operating"]["missed"]) == (1, 1, 1)
    assert result["best"] == {"score_threshold": 0.7, "precision": 0.6667, "recall": 1.0, "f1": 0.8}


def test_the_best_threshold_keeps_all_finds_of_its_score(tmp_path: Path) -> None:
    truth = truth_of(coco([(0, STOP, (0, 0, 40, 40))], photos=2), tmp_path)
    found = looked(truth, detection(STOP, 0.9, (0, 0, 40, 40), "0"), detection(STOP, 0.9, (0, 0, 40, 40), "1"))
    assert score(truth, found)["best"] == {"score_threshold": 0.9, "precision": 0.5, "recall": 1.0, "f1": 0.6667}


def test_average_precision_over_overlaps_counts_the_overlaps_that_hold(tmp_path: Path) -> None:
    """40 of 50 pixels: IoU 0.8. Right at 0.5, 0.55, ..., 0.8: seven of ten."""
    truth = truth_of(coco([(0, STOP, (0, 0, 50, 50))]), tmp_path)
    result = score(truth, looked(truth, detection(STOP, 0.9, (0, 0, 40, 50))))
    assert (result["map50"], result["map75"], result["map50_95"]) == (1.0, 1.0, 0.7)
    assert result["tightness"]["mean_iou"] == 0.8
    assert (result["tightness"]["width_ratio"]["median"], result["tightness"]["height_ratio"]["median"]) == (0.8, 1.0)


def test_a_label_counts_once_and_only_for_its_class(tmp_path: Path) -> None:
    truth = truth_of(coco([(0, YIELD, (0, 0, 10, 10)), (0, STOP, (50, 0, 60, 10))]), tmp_path)
    found = looked(
        truth,
        detection(YIELD, 0.9, (0, 0, 10, 10)),
        detection(YIELD, 0.8, (1, 0, 11, 10)),
        detection(YIELD, 0.7, (50, 0, 60, 10)),
    )
    result = score(truth, found, 0.85)
    assert result["classes"][YIELD]["ap50"] == 1.0
    assert result["classes"][STOP]["ap50"] == 0.0
    assert result["map50"] == 0.5
    assert (result["operating"]["precision"], result["operating"]["recall"]) == (1.0, 0.5)
    assert score(truth, found, 0.85, {STOP: 0.1, YIELD: 0.75})["operating"]["wrong"] == 1
    confusion = {(row["true"], row["found"]): row["count"] for row in score(truth, found, 0.5)["confusion"]}
    assert confusion == {(YIELD, YIELD): 1, (STOP, YIELD): 1, (None, YIELD): 1}


def test_what_the_labels_do_not_hold_is_not_held_against_the_detector(tmp_path: Path) -> None:
    truth = truth_of(coco([(0, YIELD, (0, 0, 10, 10))]), tmp_path)
    result = score(truth, looked(truth, detection(STOP, 0.9, (5, 5, 9, 9)), detection(YIELD, 0.8, (0, 0, 10, 10))))
    assert (result["map50"], result["operating"]["precision"]) == (1.0, 1.0)
    assert result["not_labelled"] == {STOP: 1}


def test_crowds_and_ignored_labels_count_neither_way(tmp_path: Path) -> None:
    document = coco([(0, STOP, (0, 0, 10, 10)), (0, STOP, (50, 50, 90, 90)), (0, STOP, (100, 0, 110, 10))])
    document["annotations"][1]["iscrowd"] = 1
    document["annotations"][2]["ignore"] = 1
    truth = truth_of(document, tmp_path)
    found = looked(
        truth,
        detection(STOP, 0.9, (52, 52, 60, 60)),
        detection(STOP, 0.8, (70, 70, 80, 80)),
        detection(STOP, 0.7, (100, 0, 110, 10)),
        detection(STOP, 0.6, (0, 0, 10, 10)),
    )
    result = score(truth, found, 0.1)
    assert result["boxes"] == 1
    assert (result["map50"], result["operating"]["wrong"], result["operating"]["right"]) == (1.0, 0, 1)
    assert result["confusion"] == [{"true": STOP, "found": STOP, "count": 1}]


def test_the_mean_is_over_the_classes_that_occur(tmp_path: Path) -> None:
    document = coco([(0, STOP, (0, 0, 10, 10))])
    document["categories"].append({"id": 7, "name": YIELD})
    truth = truth_of(document, tmp_path)
    found = looked(truth, detection(STOP, 0.9, (0, 0, 10, 10)), detection(YIELD, 0.8, (50, 50, 60, 60)))
    result = score(truth, found)
    assert (result["map50"], result["classes_that_occur"]) == (1.0, 1)
    assert result["operating"]["precision"] == 0.5, "a class that is labelled nowhere was invented"


def test_sizes_and_heights(tmp_path: Path) -> None:
    """A box as high as an edge between two bins is in the upper one."""
    sides = (10.0, 16.0, 50.0, 100.0)
    rows = [(0, STOP, (0.0, 110.0 * i, side, 110.0 * i + side)) for i, side in enumerate(sides)]
    truth = truth_of(coco(rows), tmp_path)
    result = score(truth, looked(truth, *(detection(STOP, 0.9, box) for _, _, box in rows[1:3])))
    assert {name: (row["boxes"], row["ap50"]) for name, row in result["sizes"].items()} == {
        "small": (2, pytest.approx(51 / 101, abs=1e-4)),
        "medium": (1, 1.0),
        "large": (1, 0.0),
    }
    heights = {name: (row["boxes"], row["ap50"], row["recall"]) for name, row in result["heights_px"].items() if row["boxes"]}
    assert heights == {"0-12": (1, 0.0, 0.0), "16-24": (1, 1.0, 1.0), "48-96": (1, 1.0, 1.0), "96-": (1, 0.0, 0.0)}


def test_all_kinds_and_states_of_lights_are_one_class_where_the_labels_say_no_more(tmp_path: Path) -> None:
    rows = [(0, "Traffic_Light-Red", (0.0, 0.0, 10.0, 30.0)), (0, "traffic_light_green", (50.0, 0.0, 80.0, 10.0))]
    truth = truth_of(coco(rows), tmp_path)
    assert truth.labelled == {"traffic-light"}
    result = score(
        truth, looked(truth, detection(UPRIGHT, 0.9, rows[0][2]), detection(LYING, 0.8, rows[1][2])), 0.5, {LYING: 0.85}
    )
    assert result["map50"] == 1.0
    assert result["operating"]["right"] == 1, "a detection is held to the threshold of its own class"


def test_a_restriction_to_lights_groups_them_and_drops_the_rest(tmp_path: Path) -> None:
    document = coco([(0, UPRIGHT, (0, 0, 10, 30)), (0, LYING, (50, 0, 80, 10)), (0, STOP, (100, 100, 120, 120))])
    assert truth_of(document, tmp_path).labelled == {UPRIGHT, LYING, STOP}
    truth = truth_of(document, tmp_path, wanted=read_classes(["traffic-light"]))
    assert truth.labelled == {"traffic-light"}
    assert truth.boxes == 2
    result = score(truth, looked(truth, detection(LYING, 0.9, (0, 0, 10, 30)), detection(STOP, 0.9, (0, 0, 90, 90))))
    assert (result["operating"]["right"], result["operating"]["wrong"]) == (1, 0)
    with pytest.raises(TruthError, match="labels no"):
        truth_of(coco([(0, STOP, (0, 0, 10, 10))]), tmp_path, wanted=read_classes(["traffic-light"]))


@pytest.mark.parametrize("shift", [0, 1])
def test_names_of_gtsdb_are_understood_whatever_their_ids(shift: int) -> None:
    names = {value: key for key, value in from_gtsdb_name().items()}
    rows = [{"id": number + shift, "name": names[name]} for number, name in from_gtsdb().items()]
    read = read_categories(rows)
    assert read.class_of == {str(number + shift): name for number, name in from_gtsdb().items()}
    assert read.unknown == ()
    for row in rows[::4]:
        row["name"] = f"another word {row['id']}"
    assert read_categories(rows).class_of == read.class_of
    suffixed = [{"id": 5, "name": "speed limit 20 (prohibitory)"}, {"id": 9, "name": "restriction ends (overtaking) (other)"}]
    assert list(read_categories(suffixed).class_of.values()) == [from_gtsdb()[0], from_gtsdb()[41]]


def test_words_of_other_data_sets() -> None:
    def meaning(*names: str) -> list[str | None]:
        read = read_categories([{"id": index, "name": name} for index, name in enumerate(names)])
        return [read.class_of.get(str(index)) for index in range(len(names))]

    light = "traffic-light"
    assert meaning("traffic light") == [light]
    assert meaning("person", "stop sign", "traffic light", "orange") == [None, STOP, light, None]
    assert meaning("red", "green", "off", "stop") == [light] * 4
    assert meaning("go", "stop", "warning", "goLeft") == [light] * 4
    assert meaning("regulatory--priority-road--g4", "other-sign") == ["regulatory--priority-road--g1", None]
    assert meaning("gtsrb 17", "class_13") == ["regulatory--no-entry--g1", YIELD]
    assert meaning("traffic sign") == ["traffic-sign"]
    assert meaning("traffic signal") == [light]
    assert meaning(UPRIGHT, "car") == [UPRIGHT, None]
    with pytest.raises(ValueError, match="no class 'lollipop'"):
        read_classes(["lollipop"])


GTSRB = """Speed limit (20km/h);Speed limit (30km/h);Speed limit (50km/h);Speed limit (60km/h);Speed limit (70km/h)
Speed limit (80km/h);End of speed limit (80km/h);Speed limit (100km/h);Speed limit (120km/h);No passing
No passing for vehicles over 3.5 metric tons;Right-of-way at the next intersection;Priority road;Yield;Stop;No vehicles
Vehicles over 3.5 metric tons prohibited;No entry;General caution;Dangerous curve to the left;Dangerous curve to the right
Double curve;Bumpy road;Slippery road;Road narrows on the right;Road work;Traffic signals;Pedestrians;Children crossing
Bicycles crossing;Beware of ice/snow;Wild animals crossing;End of all speed and passing limits;Turn right ahead
Turn left ahead;Ahead only;Go straight or right;Go straight or left;Keep right;Keep left;Roundabout mandatory
End of no passing;End of no passing by vehicles over 3.5 metric tons""".replace("\n", ";").split(";")


@pytest.mark.parametrize("spell", [str, str.lower, str.upper, lambda name: name.replace(" ", "_").replace(".", "-")])
def test_english_names_of_the_recognition_benchmark(spell: Any) -> None:
    """By the names alone: the ids say nothing."""
    read = read_categories([{"id": f"x{index}", "name": spell(name)} for index, name in enumerate(GTSRB)])
    assert read.class_of == {f"x{number}": name for number, name in from_gtsdb().items()}
    assert read.unknown == ()


@pytest.mark.parametrize("first_id", [0, 1])
@pytest.mark.parametrize("spell", ["{}", "{:02d}", "{:05d}", "class_{}", "GTSDB {}"])
@pytest.mark.parametrize("first", [0, 1])
def test_numbers_count_from_nought_unless_there_is_43_and_no_nought(first: int, spell: str, first_id: int) -> None:
    rows = [{"id": number + first_id, "name": spell.format(number + first)} for number in range(43)]
    assert read_categories(rows).class_of == {str(number + first_id): name for number, name in from_gtsdb().items()}


def test_numbers_that_are_not_those_of_gtsdb_mean_nothing() -> None:
    def understood(numbers: Sequence[int], **more: str) -> int:
        return len(read_categories([{"id": number, "name": str(number), **more} for number in numbers]).class_of)

    assert understood(range(3)) == 0, "any detector's classes may be called 0, 1, 2"
    assert understood(range(44)) == 0, "from 0 or from 1?"
    assert understood(range(80)) == 0
    assert understood(range(3), supercategory="prohibitory") == 3
    assert understood(range(1, 43)) == 42
    nameless = read_categories([{"id": number} for number in range(43)])
    assert nameless.class_of == {str(number): name for number, name in from_gtsdb().items()}


def test_words_of_lights_are_whole_names() -> None:
    def meaning(*names: str) -> set[str | None]:
        read = read_categories([{"id": index, "name": name} for index, name in enumerate(names)])
        return {read.class_of.get(str(index)) for index in range(len(names))}

    for of_lights in (
        ["GreenLeft", "RedStraightLeft", "Yellow", "off", "RedRight", "GreenStraightRight"],
        ["tl_green", "tl_red"],
        ["stoplight"],
        ["Red-Straight", "greenleft", "redlight"],
        ["traffic_light", "trafficlight", "Traffic Lights", "vehicle_traffic_light", "red_light"],
        ["go", "stop", "warning", "goLeft", "goForward", "stopLeft", "warningLeft", "goRight"],
        ["red", "yellow", "green", "wait_on", "off"],
    ):
        assert meaning(*of_lights) == {"traffic-light"}, of_lights
    assert meaning("Stop", "Go straight or left", "Yield") == {STOP, YIELD, "regulatory--go-straight-or-turn-left--g1"}
    assert "traffic-light" not in meaning("go left", "go right", "go straight", "stop")
    assert meaning("street light", "headlight", "traffic light pole", "pedestrian", "animals", "danger", "mandatory") == {None}


def test_labels_with_everything_wrong(tmp_path: Path) -> None:
    document = coco([(0, STOP, (0, 0, 10, 10)), (0, "parasol", (5, 5, 9, 9))], photos=2)
    document["annotations"] += [
        {"image_id": 0, "category_id": 0 if document["categories"][0]["name"] == STOP else 1, "bbox": bbox}
        for bbox in ([0, 0, 0, 5], [0, 0, float("nan"), 5], [1, 2, 3], "wide", [0, 0, -5, 5], None)
    ]
    document["annotations"] += [{"image_id": 0, "category_id": 99, "bbox": [0, 0, 5, 5]}, "nothing", {"id": 5}]
    document["annotations"].append({**document["annotations"][0], "image_id": 77})
    document["images"] += [{"id": 0, "file_name": "again.jpg"}, {"id": 9}, "photo", {"id": "x", "file_name": "a/b/x.ppm"}]
    truth = truth_of(document, tmp_path)
    assert truth.boxes == 1
    assert truth.unknown == {"parasol": 1}
    assert truth.faults == {
        "bbox that is no four numbers with a positive width and height": 6,
        "annotation without a known category_id": 2,
        "annotation that is no object": 1,
        "annotation of a photo that is not listed": 1,
        "image id that occurs twice": 1,
        "image without id or file_name": 2,
    }
    assert [photo.id for photo in truth.photos] == ["0", "1", "x"]
    assert truth.photos[2].size is None
    for broken in ("[]", "{", '{"images": []}'):
        (tmp_path / "broken.json").write_text(broken)
        with pytest.raises(TruthError, match=r"broken\.json is no"):
            read_truth(tmp_path / "broken.json", tmp_path)
    with pytest.raises(TruthError, match="means a class of ours"):
        truth_of(coco([(0, "parasol", (0, 0, 9, 9))]), tmp_path)
    assert truth_of(coco([(0, "parasol", (0, 0, 9, 9))]), tmp_path, given={"parasol": STOP}).labelled == {STOP}


def test_photos_are_found_by_their_base_name_where_it_is_unique(tmp_path: Path) -> None:
    places = ("as/named/a.jpg", "deep/er/b.jpg", "c.jpg", "x/d.jpg", "y/d.jpg", "x/left/e.jpg", "y/right/e.jpg", "w/f.jpg")
    for place in places:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"")
    names = (
        "as/named/a.jpg",
        "b.jpg",
        "no/such/folder/c.jpg",
        "d.jpg",
        "data/right/e.jpg",
        "gone\\w\\f.jpg",
        "/abs/c.jpg",
        "g.jpg",
    )
    document = coco([(0, STOP, (0, 0, 9, 9))], photos=len(names))
    for row, name in zip(document["images"], names, strict=True):
        row["file_name"] = name
    found = [photo.path.relative_to(tmp_path).as_posix() for photo in truth_of(document, tmp_path).photos if photo.path.is_file()]
    assert found == ["as/named/a.jpg", "deep/er/b.jpg", "c.jpg", "y/right/e.jpg", "w/f.jpg", "c.jpg"]


def test_photos_that_cannot_be_read_are_left_out_with_their_labels_and_told(tmp_path: Path) -> None:
    truth = truth_of(coco([(0, STOP, (0, 0, 10, 10)), (1, STOP, (0, 0, 10, 10))], photos=2), tmp_path)
    found = Looked({"0": [detection(STOP, 0.9, (0, 0, 10, 10))]}, {"1": "bad-photo: truncated"}, 1.0)
    result = score(truth, found)
    assert (result["map50"], result["operating"]["recall"], result["operating"]["recall_with_left_out"]) == (1.0, 1.0, 0.5)
    assert result["left_out"]["photos"] == [{"file": "1.jpg", "reason": "bad-photo: truncated", "boxes": 1}]
    nothing = score(truth, Looked({}, {"0": "gone", "1": "gone"}, 1.0))
    assert (nothing["map50"], nothing["photos"], nothing["operating"]["precision"]) == (None, 0, None)
    assert score(truth, looked(truth))["map50"] == 0.0


class FindsRed:
    """Takes a photo as the detector does (upright, in pixels of the given size) and finds what is red in it."""

    def detect(self, photos: Iterable[tuple[str, bytes]], sizes: Mapping[str, tuple[int, int]]) -> Iterator[tuple[str, Any]]:
        for key, body in photos:
            photo = read_photo(body, sizes.get(key))
            rows, columns = np.nonzero((photo.pixels[..., 0] > 128) & (photo.pixels[..., 1] < 128))
            corners = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)
            box = corners * [photo.scale_x, photo.scale_y, photo.scale_x, photo.scale_y]
            yield key, [detection(STOP, 0.9, tuple(box.tolist()), key)]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("labelled_as", ["stored", "upright"])
def test_labels_of_turned_photos_refer_to_the_pixels_whose_size_they_say(
    orientation: int, labelled_as: str, tmp_path: Path
) -> None:
    if labelled_as == "stored" and orientation in (2, 3, 4):
        pytest.skip("both sizes are the same: labels are taken to be upright")
    image = Image.new("RGB", (120, 80), "white")
    image.paste("red", (8, 16, 40, 24))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "0.jpg", exif=exif, quality=95, subsampling=0)
    turned = ImageOps.exif_transpose(Image.open(tmp_path / "0.jpg")) if labelled_as == "upright" else image
    rows, columns = np.nonzero(np.asarray(turned)[..., 1] < 128)
    box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
    document = coco([(0, STOP, box)])
    document["images"][0].update(width=turned.width, height=turned.height)
    truth = truth_of(document, tmp_path)
    seen = look(FindsRed(), truth)  # type: ignore[arg-type]
    assert seen.failed == {}
    assert seen.found["0"][0].box == pytest.approx(box, abs=1)
    assert score(truth, seen)["map50"] == 1.0


def test_photos_of_an_archive_are_judged_too() -> None:
    """GTSRB's crops lie in a zip."""
    image, body = Image.new("RGB", (60, 60), "white"), io.BytesIO()
    image.paste("red", (10, 10, 50, 50))
    image.save(body, "PNG")
    truth = truth_of_photos([LabelledPhoto("a.png", body.getvalue(), 60, 60, ((10, 10, 50, 50, STOP),))], {STOP: STOP})
    seen = look(FindsRed(), truth)  # type: ignore[arg-type]
    assert seen.failed == {} and score(truth, seen)["map50"] == 1.0


def test_the_held_out_part_has_the_photos_that_training_never_sees(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(coco([(index, STOP, (0.0, 0.0, 10.0, 10.0)) for index in range(12)], photos=12)))
    part = held_out(path)
    assert [row["id"] for row in part["images"]] == [5, 11]
    assert [row["image_id"] for row in part["annotations"]] == [5, 11]
    assert [photo.id for photo in read_truth(path, tmp_path).held_out().photos] == ["5", "11"]


def test_calibration_by_hand() -> None:
    table = calibration([matched(STOP, 0.95, True), matched(STOP, 0.95, False), matched(STOP, 0.25, False)])
    assert table["ece"] == pytest.approx((2 * abs(0.95 - 0.5) + 1 * 0.25) / 3, abs=1e-4)
    assert table["brier"] == pytest.approx((0.05**2 + 0.95**2 + 0.25**2) / 3, abs=1e-4)
    assert table["bins"][9] == {"from": 0.9, "to": 1.0, "detections": 2, "mean_score": 0.95, "right": 0.5}
    assert calibration([])["ece"] is None


def test_calibration_makes_scores_mean_their_share() -> None:
    """A detector whose score is the square root of the share that is right."""
    draw = np.random.default_rng(3)
    scores = draw.uniform(0.05, 1, 4000)
    finds = [matched(STOP, float(s), bool(draw.random() < s**2)) for s in scores]
    curve = calibrate(finds)
    assert curve is not None
    assert calibration(calibrated(finds, curve))["ece"] < 0.04 < calibration(finds)["ece"]


@given(st.lists(st.tuples(st.floats(0.05, 1), st.booleans()), max_size=200))
@settings(deadline=None)
def test_calibration_is_a_rising_curve_or_none(pairs: list[tuple[float, bool]]) -> None:
    curve = calibrate([matched(STOP, *pair) for pair in pairs])
    if curve is not None:
        again = calibrated([matched(STOP, score, True) for score in np.linspace(0, 1, 50)], curve)
        values = [one.score for one in again]
        assert values == sorted(values)
        assert 0 <= values[0] <= values[-1] <= 1


def test_a_class_with_few_labels_keeps_near_the_threshold_of_all() -> None:
    many = [matched(YIELD, s, s > 0.6) for s in np.linspace(0.06, 0.99, 400)]
    lucky = [matched(STOP, 0.95, True), matched(STOP, 0.93, False)]
    often_wrong = [matched(PARKING, s, s > 0.9) for s in np.linspace(0.06, 0.99, 400)]
    overall, own = thresholds([*many, *lucky, *often_wrong], Counter({YIELD: 160, STOP: 1, PARKING: 40}))
    assert abs(own.get(STOP, overall) - overall) < 0.1
    assert own[PARKING] > overall + 0.1
    assert 0.55 < own.get(YIELD, overall) < 0.7
    raw = replace(resolve("kryss-street-lite0"), calibration=None)
    entry = choose(raw, [*many, *lucky, *often_wrong], Counter({YIELD: 160, STOP: 1, PARKING: 40}))
    assert entry.thresholds
    assert entry.calibration is not None
    grouped = choose(raw, [matched("traffic-light", 0.5, True)] * 3, Counter({"traffic-light": 3}))
    assert set(grouped.thresholds) <= {UPRIGHT, LYING, "object--traffic-light--pedestrians"}


def test_judged_tells_what_was_matched_with_what(tmp_path: Path) -> None:
    truth = truth_of(coco([(0, STOP, (0, 0, 50, 50))]), tmp_path)
    [right, wrong] = judged(truth, looked(truth, detection(STOP, 0.9, (0, 0, 40, 50)), detection(STOP, 0.8, (90, 90, 99, 99))))
    assert (right.right, right.overlap, right.true_box) == (True, pytest.approx(0.8), (0.0, 0.0, 50.0, 50.0))
    assert (wrong.right, wrong.is_ignored, wrong.true_box) == (False, False, None)


@given(st.lists(st.tuples(st.floats(0.05, 1), st.integers(0, 3), st.integers(0, 60)), max_size=12))
@settings(deadline=None, max_examples=15)
def test_the_original_gives_the_same_average_precision(tmp_path_factory: Any, drawn: list[tuple[float, int, int]]) -> None:
    """pycocotools, where it is installed."""
    cocotools = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    document = coco([(i % 3, STOP if i % 2 else YIELD, (30.0 * i, 0.0, 30.0 * i + 20, 25.0)) for i in range(6)], photos=3)
    truth = truth_of(document, tmp_path_factory.mktemp("coco"))
    found = [
        detection((STOP, YIELD)[where % 2], score, (30.0 * where + off / 10, 0.0, 30.0 * where + 20, 25.0), str(where % 3))
        for score, where, off in drawn
    ]
    if not found:
        return
    ids = {row["name"]: row["id"] for row in document["categories"]}
    for number, row in enumerate(document["annotations"], 1):
        row.update(id=number, area=row["bbox"][2] * row["bbox"][3])
    original = cocotools.COCO()
    original.dataset = document
    original.createIndex()
    results = original.loadRes(
        [
            {
                "image_id": int(d.image_id),
                "category_id": ids[d.class_name],
                "score": d.score,
                "bbox": [d.box[0], d.box[1], d.box[2] - d.box[0], d.box[3] - d.box[1]],
            }
            for d in found
        ]
    )
    run = evaluation.COCOeval(original, results, "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    mine = score(truth, looked(truth, *found))
    assert [mine["map50_95"], mine["map50"], mine["map75"]] == pytest.approx(run.stats[:3], abs=1e-4)


def test_the_page_tells_everything_and_loads_nothing(tmp_path: Path) -> None:
    truth = truth_of(coco([(0, STOP, (0, 0, 50, 50)), (1, YIELD, (0, 0, 20, 20))], photos=3), tmp_path)
    found = Looked(
        {"0": [detection(YIELD, 0.9, (0, 0, 50, 50), "0")], "1": [detection(YIELD, 0.8, (0, 0, 20, 20), "1")]},
        {"2": "bad-photo: <script>"},
        2.0,
    )
    text = page({**score(truth, found), "model": "a<b@1", "unknown_categories": {"<i>": 3}})
    assert "<script" not in text
    assert "http" not in text
    assert "a&lt;b@1" in text
    assert f"{STOP} taken for {YIELD}: 1" in text
    assert text.count("<svg") >= 6
    assert page(score(truth, Looked({}, {}, 0.0)))
