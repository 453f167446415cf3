"""The finder that ships as a teacher: what it sees alone is written down with its own score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kryss.training import prelabel
from kryss.training.data import LabelledPhoto
from kryss.vision.detect import detector_of
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
