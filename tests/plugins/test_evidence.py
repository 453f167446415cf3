"""Crops: whatever box and photo come, there is a picture of the box or a reason."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture

from kryss.pipeline import evidence
from kryss.pipeline.evidence import NoCrop, crop, parse_box, window

edges = st.floats(-5000, 5000, allow_nan=False)


@given(st.tuples(edges, edges, edges, edges), st.integers(1, 8000), st.integers(1, 8000))
def test_what_is_shown_lies_in_the_photo_and_holds_what_of_the_box_does(box: Any, width: int, height: int) -> None:
    try:
        left, top, right, bottom = window(box, (width, height))
    except NoCrop:
        assert min(box[2], width) <= max(box[0], 0) or min(box[3], height) <= max(box[1], 0)
        return
    slack = 1e-6 * max(width, height)
    assert -slack <= left < right <= width + slack and -slack <= top < bottom <= height + slack
    assert left <= max(box[0], 0) + slack and right >= min(box[2], width) - slack
    assert top <= max(box[1], 0) + slack and bottom >= min(box[3], height) - slack


@given(st.text(max_size=60))
def test_any_text_is_a_box_or_no_box(text: str) -> None:
    try:
        left, top, right, bottom = parse_box(text)
    except NoCrop:
        return
    assert left < right and top < bottom


@pytest.mark.parametrize("size", [(1280, 960), (320, 240), (20, 4000)])
@pytest.mark.parametrize(
    "box", [(600, 300, 680, 380), (0, 0, 1280, 960), (0, 0, 0.4, 0.4), (1279, 959, 1280, 960), (-50, -50, 5, 5)]
)
def test_a_box_of_any_size_in_a_photo_or_its_thumbnail_gives_a_small_jpeg(made: Any, size: tuple[int, int], box: Any) -> None:
    body = io.BytesIO()
    Picture.new("RGB", size, (90, 90, 90)).save(body, "JPEG")
    cut = Picture.open(io.BytesIO(crop(body.getvalue(), box, (1280, 960))))
    assert cut.format == "JPEG" and min(cut.size) >= 1 and max(cut.size) <= evidence.CROP_SIDE


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n" + b"0" * 50])
def test_bytes_that_are_no_photo_have_a_reason(body: bytes) -> None:
    with pytest.raises(NoCrop, match="cannot be read"):
        crop(body, (1, 1, 5, 5), (10, 10))


@pytest.mark.filterwarnings("ignore:Image size")
def test_a_photo_that_is_a_bomb_is_not_decoded() -> None:
    body = io.BytesIO()
    Picture.new("1", (12_000, 12_000)).save(body, "PNG")
    with pytest.raises(NoCrop, match="pixels"):
        crop(body.getvalue(), (1, 1, 5, 5), (12_000, 12_000))


def test_evidence_of_an_object_that_was_never_known_is_none(store: Any, alfa: Any, made: Any) -> None:
    alfa(made.objects())
    with store._engine.begin() as connection:
        assert evidence.evidence(connection, "alfa", made.object_id("never was"), None) is None
        assert evidence.evidence(connection, "beta", made.object_id("stop 0"), None) is None
        told = evidence.evidence(connection, "alfa", made.object_id("stop 0"), None)
        assert told is not None and {one["link"] for one in told["sightings"]} == {None}
        template = "https://x.test/{z}/{key}?again={key}"  # as the release writes it: nothing but {key} is filled in
        told = evidence.evidence(connection, "alfa", made.object_id("stop 0"), template)
        assert told is not None and told["sightings"][0]["link"] == "https://x.test/{z}/101?again=101"
        assert evidence.photo_size(connection, "alfa", "104") == (960, 1280)
        assert evidence.photo_size(connection, "beta", "101") is None
