"""A broken data set is told as a whole before anything is trained, or learned from without what is broken."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from PIL import Image

from kryss.training.data import DataSet, Labelled, LabelledPhoto, Problem
from kryss.training.data.check import BrokenDataError, checked, counted

STOP = "regulatory--stop--g1"
GOOD: Labelled = (10.0, 10.0, 30.0, 30.0, STOP)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.effect_noise((80, 60), 60).convert("RGB").save(path)
    return path


def one(source: Path | bytes, *boxes: Labelled, size: tuple[int, int] = (80, 60), name: str = "p") -> LabelledPhoto:
    return LabelledPhoto(name, source, *size, tuple(boxes))


def problems_of(*photos: LabelledPhoto, decode: bool = True) -> list[str]:
    with pytest.raises(BrokenDataError) as raised:
        checked(DataSet("set", photos), decode=decode)
    return [problem.kind for problem in raised.value.problems]


def test_a_sound_data_set_passes_as_it_is(photo: Path) -> None:
    whole = one(photo, GOOD, (60.0, 40.0, 80.0, 60.0, "other-sign"))
    result = checked(DataSet("set", (whole,)))
    assert result.photos == (whole,)
    assert result.problems == ()


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ((70.0, 10.0, 90.0, 30.0, STOP), "box-outside"),
        ((-40.0, 10.0, -10.0, 30.0, STOP), "box-outside"),
        ((10.0, 10.0, 10.0, 30.0, STOP), "box-empty"),
        ((30.0, 10.0, 10.0, 30.0, STOP), "box-empty"),
        ((math.nan, 10.0, 20.0, 30.0, STOP), "box-not-finite"),
        ((0.0, 10.0, math.inf, 30.0, STOP), "box-not-finite"),
        ((10.0, 10.0, 30.0, 30.0, "regulatory--no-such-sign--g1"), "unknown-class"),
    ],
)
def test_every_kind_of_bad_box_is_told(photo: Path, box: Labelled, kind: str) -> None:
    assert problems_of(one(photo, GOOD, box)) == [kind]


def test_a_rounded_box_at_the_edge_is_cut_to_the_photo(photo: Path) -> None:
    result = checked(DataSet("set", (one(photo, (60.0, 40.0, 80.7, 61.0, STOP)),)))
    assert result.photos[0].boxes == ((60.0, 40.0, 80.0, 60.0, STOP),)


def test_photos_that_are_missing_truncated_or_of_another_size(photo: Path, tmp_path: Path) -> None:
    body = photo.read_bytes()
    truncated = tmp_path / "truncated.jpg"
    truncated.write_bytes(body[: len(body) // 2])
    assert problems_of(one(tmp_path / "gone.jpg", GOOD)) == ["photo-missing"]
    assert problems_of(one(truncated, GOOD)) == ["photo-unreadable"]
    assert problems_of(one(body[: len(body) // 2], GOOD)) == ["photo-unreadable"]
    assert problems_of(one(b"no photo at all", GOOD)) == ["photo-unreadable"]
    assert problems_of(one(photo, GOOD, size=(160, 120))) == ["photo-size"]
    assert checked(DataSet("set", (one(truncated, GOOD),)), decode=False).photos, "only the header was asked for"


def test_the_error_lists_everything_at_once(photo: Path, tmp_path: Path) -> None:
    photos = (
        one(tmp_path / "gone.jpg", GOOD, name="first"),
        one(photo, (10.0, 10.0, 10.0, 30.0, STOP), (70.0, 10.0, 90.0, 30.0, STOP), name="second"),
    )
    known_before = Problem("third", "bad-annotation", "annotation of an image that is not listed")
    with pytest.raises(BrokenDataError) as raised:
        checked(DataSet("set", photos, (known_before,)))
    told = str(raised.value)
    assert "4 problems" in told and "--skip-bad" in told
    for part in ("first: photo-missing: no file gone.jpg", "second: box-empty", "second: box-outside", "third: bad-annotation"):
        assert part in told


def test_with_skip_bad_the_rest_is_learned_from_and_what_is_left_out_is_counted(photo: Path, tmp_path: Path) -> None:
    photos = (
        one(tmp_path / "gone.jpg", GOOD),
        one(photo, GOOD, (70.0, 10.0, 90.0, 30.0, STOP), (5.0, 5.0, 9.0, 9.0, "banana"), (3.0, 3.0, 3.0, 9.0, STOP)),
    )
    result = checked(DataSet("set", photos), skip_bad=True)
    assert [p.boxes for p in result.photos] == [(GOOD,)]
    assert result.photos[0].ignore == ((70.0, 10.0, 80.0, 30.0), (5.0, 5.0, 9.0, 9.0)), "something stands there"
    assert counted(result.problems) == {"box-empty": 1, "box-outside": 1, "photo-missing": 1, "unknown-class": 1}


def test_nothing_left_is_an_error_even_with_skip_bad(tmp_path: Path) -> None:
    with pytest.raises(BrokenDataError, match="nothing is left to learn from"):
        checked(DataSet("set", (one(tmp_path / "gone.jpg", GOOD),)), skip_bad=True)


def test_a_long_list_is_cut_short_but_counted(photo: Path) -> None:
    boxes = [(float(k), 5.0, float(k), 9.0, STOP) for k in range(70)]
    with pytest.raises(BrokenDataError, match="has 70 problems") as raised:
        checked(DataSet("set", (one(photo, *boxes),)))
    assert "and 20 more" in str(raised.value)
    assert len(raised.value.problems) == 70
