"""The finder that ships as a teacher: what it sees alone is written down with its own score."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kryss.model import Detection
from kryss.training import prelabel
from kryss.training.data import LabelledPhoto
from kryss.vision.detect import detector_of
from kryss.vision.photo import read_photo
from kryss.vision.registry import resolve

TOWN = Path(__file__).parents[2] / "include" / "kryss" / "demo" / "areas" / "town" / "photos"


@pytest.mark.skipif(not TOWN.is_dir(), reason="the area town is not here")
def test_the_shipped_finder_teaches_with_its_own_scores(tmp_path: Path) -> None:
    """Not with those of both stages, calibrated: 0.5 of the finder would be 0.16, and nothing an ignore region."""
    path = sorted(TOWN.glob("*.jpg"))[0]
    photo = LabelledPhoto(1, path, 1280, 960, ())
    entry = resolve("kryss-street-lite0")
    assert entry.calibration is not None, "what this test is about"
    assert prelabel.run([photo], tmp_path / "seen.json", entry.name, lights=entry.name) == 1
    [finds] = prelabel.read(tmp_path / "seen.json").values()
    alone = replace(entry, calibration=None, inference=replace(entry.inference, recogniser=False))
    seen = detector_of(alone, "cpu", prelabel.KEPT_FROM).look("1", path.read_bytes())
    assert isinstance(seen, list) and len(seen) > 0
    taught = [find for find in finds if find.teacher == "finder"]
    assert [find.score for find in taught] == pytest.approx([d.score for d in seen], abs=1e-3)


class FindsRed:
    """Looks at a photo as the detector does, upright, and finds what is red in it."""

    def look(self, image_id: str, body: bytes) -> list[Detection]:
        pixels = read_photo(body).pixels
        rows, columns = np.nonzero((pixels[..., 0] > 128) & (pixels[..., 1] < 128))
        box = tuple(map(float, (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)))
        return [Detection(image_id, "red@1", 0, "regulatory--stop--g1", 0.9, box)]  # type: ignore[arg-type]


class FindsNothing:
    def look(self, image_id: str, body: bytes) -> list[Detection]:
        return []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_a_teacher_sees_in_a_photo_that_lies_is_written_in_its_pixels_as_stored(orientation: int) -> None:
    """Where the labels are: a turned box would be an ignore region in the wrong place."""
    image = Image.new("RGB", (120, 80), "white")
    image.paste("red", (8, 16, 40, 24))
    exif, body = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    image.save(body, "JPEG", exif=exif, quality=95, subsampling=0)
    photo = LabelledPhoto(1, body.getvalue(), 120, 80, ())
    [(_, [find])] = prelabel.look([photo], FindsNothing(), FindsRed())  # type: ignore[arg-type]
    assert find.box == pytest.approx((8, 16, 40, 24), abs=1)
