"""Where signs and lights are, learned from labelled photos for the plausibility filter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kryss.training.data import OTHER_SIGN, LabelledPhoto
from kryss.training.places import main, places_of
from kryss.vision.boxes import Candidates
from kryss.vision.plausible import load

STOP, LIGHT = "regulatory--stop--g1", "object--traffic-light--general-upright"


def photo(number: int, name: str, aspect: float, stretch: float = 1.0) -> LabelledPhoto:
    """A thing of an aspect in a photo of 1600 x 900 whose width may have been drawn together by ``stretch``."""
    rng = np.random.default_rng(number)
    height = float(np.exp(rng.normal(np.log(60), 0.4)))
    width = height * aspect * float(np.exp(rng.normal(0, 0.05))) / stretch
    left, top = rng.uniform(0, 1000) / stretch, rng.normal(300, 30)
    box = (left, top, left + width, top + height, name)
    return LabelledPhoto(number, Path(f"{number}.jpg"), round(1600 / stretch), 900, (box,), stretch=stretch)


def believed(known: object, name: str, box: tuple[float, float, float, float]) -> bool:
    found = Candidates(np.array([box], float), np.array([0.3]), np.array([0]))
    return bool(known.keep(found, [name], (1600, 900))[0])  # type: ignore[attr-defined]


def test_a_photo_that_was_drawn_together_teaches_what_the_street_shows() -> None:
    """As the photos of lights are: 16:9, stored as squares."""
    known = places_of([photo(number, LIGHT, 0.45, 16 / 9) for number in range(120)])
    assert believed(known, LIGHT, (700, 270, 727, 330))
    assert not believed(known, LIGHT, (700, 270, 715, 330)), "as narrow as it is stored"


def test_held_out_photos_and_signs_without_a_name_teach_nothing() -> None:
    photos = [photo(number, STOP if number % 6 < 4 else OTHER_SIGN, 1.0) for number in range(120)]
    known = places_of(photos)
    assert {kind: row.boxes for kind, row in known.kinds.items()} == {"sign": 80}
    held = [photo(number, LIGHT, 0.45) for number in range(5, 600, 6)]
    assert "light" not in places_of([*photos, *held]).kinds


def test_from_a_folder_to_the_file_of_an_entry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").mkdir()
    rows: list[dict[str, object]] = []
    for number in range(40):
        Image.new("RGB", (90, 90), (number, 90, 90)).save(tmp_path / "images" / f"{number}.jpg")
        rows.append(
            {"id": number, "image_id": number, "category_id": 1, "bbox": [9 + number, 20 + number % 7, 8, 20 + number % 5]}
        )
    document = {
        "images": [{"id": number, "file_name": f"{number}.jpg", "width": 90, "height": 90} for number in range(40)],
        "annotations": rows,
        "categories": [{"id": 1, "name": LIGHT}],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    out = tmp_path / "places.json"
    assert main(["--data", f"lights={tmp_path}", "--out", str(out), "--sure", "0.6"]) == 0
    known = load(out)
    assert known.sure == 0.6 and known.kinds["light"].boxes == 34, "every sixth photo is held out"
    # The recipe says that the width of these photos was drawn together by 16/9.
    assert np.exp(known.kinds["light"].mean[2]) == pytest.approx(8 / 22 * 16 / 9, rel=0.1)
    for given, told in ((f"tents={tmp_path}", "street-lite0 takes gtsdb, lights"), (f"lights={tmp_path / 'none'}", "none")):
        with pytest.raises(SystemExit):
            main(["--data", given, "--out", str(out)])
        assert told in capsys.readouterr().err
