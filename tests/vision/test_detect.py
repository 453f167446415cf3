"""The detector that ships: on photos of the demo town, on broken ones, twice."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kryss.model import Detection
from kryss.vision.boxes import iou
from kryss.vision.detect import Detector, PhotoFailure, load_detector

TOWN = Path(__file__).parents[2] / "include" / "kryss" / "demo" / "areas" / "town"
pytestmark = pytest.mark.skipif(not (TOWN / "truth_boxes.json").is_file(), reason="the area town is not here")


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector("kryss-signs-lite0")


@pytest.fixture(scope="module")
def near_sign() -> tuple[str, bytes, dict]:
    """The photo in which a sign is largest, and that sign."""
    boxes = json.loads((TOWN / "truth_boxes.json").read_text())["boxes"]
    whole = [b for b in boxes if b["inside"] == 1 and b["visible"] == 1 and b["class"].startswith("regulatory")]
    box = max(whole, key=lambda b: (b["box_ltrb"][3] - b["box_ltrb"][1], b["image_id"]))
    return box["image_id"], (TOWN / "photos" / f"{box['image_id']}.jpg").read_bytes(), box


def found(detector: Detector, *photos: tuple[str, bytes], sizes: dict[str, tuple[int, int]] | None = None) -> dict:
    return dict(detector.detect(iter(photos), sizes))


def test_the_largest_sign_of_the_town_is_found_where_it_is(detector: Detector, near_sign: tuple[str, bytes, dict]) -> None:
    image_id, body, truth = near_sign
    detections = found(detector, (image_id, body))[image_id]
    assert all(isinstance(d, Detection) and d.model_key == "kryss-signs-lite0@1" for d in detections)
    assert [d.ordinal for d in detections] == list(range(len(detections)))
    assert [d.score for d in detections] == sorted((d.score for d in detections), reverse=True)
    right = [d for d in detections if d.class_name == truth["class"]]
    assert any(iou(np.array(d.box), np.array([truth["box_ltrb"]]))[0] > 0.5 for d in right)


def test_broken_photos_fail_with_a_reason_and_change_nothing_else(detector: Detector, near_sign: tuple[str, bytes, dict]) -> None:
    image_id, body, _ = near_sign
    alone = found(detector, (image_id, body))
    together = found(
        detector,
        ("cut", body[: len(body) // 2]),
        ("html", b"<html>no</html>"),
        ("none", b""),
        (image_id, body),
        ("cut2", body[:3000]),
    )
    assert together["cut"] == together["cut2"] == PhotoFailure("bad-photo: truncated")
    assert together["html"] == PhotoFailure("bad-photo: not an image")
    assert together["none"] == PhotoFailure("bad-photo: no bytes")
    assert together[image_id] == alone[image_id]


def test_boxes_are_in_pixels_of_the_upright_original(detector: Detector, near_sign: tuple[str, bytes, dict]) -> None:
    image_id, body, _ = near_sign
    own = found(detector, (image_id, body))[image_id]
    with Image.open(io.BytesIO(body)) as photo:
        size = photo.size
    doubled = found(detector, (image_id, body), sizes={image_id: (size[0] * 2, size[1] * 2)})[image_id]
    assert np.allclose([d.box for d in doubled], np.array([d.box for d in own]) * 2, atol=0.03)


def test_a_photo_stored_on_its_side_is_turned_upright(detector: Detector, near_sign: tuple[str, bytes, dict]) -> None:
    image_id, body, truth = near_sign
    with Image.open(io.BytesIO(body)) as photo:
        lying = photo.transpose(Image.Transpose.ROTATE_90)
        exif = lying.getexif()
        exif[0x0112] = 6  # turn clockwise to see it
        stored = io.BytesIO()
        lying.save(stored, "JPEG", quality=95, exif=exif)
    detections = found(detector, (image_id, stored.getvalue()), sizes={image_id: photo.size})[image_id]
    right = [d for d in detections if d.class_name == truth["class"]]
    assert any(iou(np.array(d.box), np.array([truth["box_ltrb"]]))[0] > 0.5 for d in right)
