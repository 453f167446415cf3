"""Photos come in any number of nights and in any order: what is believed of the street is the same. Real PostGIS, no photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from kryss.demo.streets import Streets
from kryss.model import Image
from kryss.pipeline import report


def halves(images: Sequence[Image]) -> tuple[list[Image], list[Image]]:
    """Of each drive every third photo, and the others."""
    late = {image.id for number, image in enumerate(images) if number % 3 == 0}
    return [one for one in images if one.id not in late], [one for one in images if one.id in late]


@pytest.mark.parametrize("reverse", [False, True], ids=["the most first", "the few first"])
def test_a_drive_that_arrives_in_two_nights_is_placed_and_believed_as_in_one(
    install: Callable[[str], Any], at_once: Any, streets: Streets, reverse: bool
) -> None:
    place = install("in-two")
    first, second = halves(streets.images)[:: -1 if reverse else 1]
    place.night("first", first)
    outcome = place.night("second", second)
    assert outcome["placed_again"] == len(first)
    assert outcome["rows"]["sighting"] > len(second) / 2
    assert place.sightings() == at_once.sightings()
    assert len(place.believed()) > 20
    assert place.believed() == at_once.believed()


def test_drives_that_arrive_one_after_the_other_are_placed_and_believed_as_at_once(
    install: Callable[[str], Any], at_once: Any, streets: Streets
) -> None:
    place = install("by-drive")
    for name in sorted({image.sequence_id for image in streets.images}, reverse=True):
        place.night(name, [image for image in streets.images if image.sequence_id == name])
    assert place.sightings() == at_once.sightings()
    assert place.believed() == at_once.believed()


def test_a_night_that_is_done_again_writes_no_row(at_once: Any, streets: Streets) -> None:
    outcome = at_once.night("again", streets.images)
    assert set(outcome["rows"].values()) == {0}
    assert {key: outcome["objects"][key] for key in ("new", "changed", "ended", "withdrawn")} == dict.fromkeys(
        ("new", "changed", "ended", "withdrawn"), 0
    )


def test_a_photo_that_fails_when_it_is_looked_at_again_keeps_its_sightings(at_once: Any, streets: Streets) -> None:
    before = at_once.sightings()
    at_once.night("again", streets.images[:40], failed=streets.images[:40])
    assert at_once.sightings() == before


def test_depth_reaches_the_ranges(at_once: Any) -> None:
    assert any("depth" in one.method for one in at_once.sightings())


def test_what_fusion_leaves_out_is_told_by_its_reason(at_once: Any, streets: Streets) -> None:
    outcome = at_once.night("again", streets.images)
    kept = {(image_id, ordinal) for one in at_once.believed() for image_id, ordinal in one.evidence}
    assert sum(outcome["dropped"].values()) == len(at_once.sightings()) - len(kept) > 0
    summary = report.collect(replace(at_once.run, run_id="again"))
    assert summary["sightings_dropped"] == outcome["dropped"]
    for reason, number in outcome["dropped"].items():
        assert f"{number} {reason}" in report.table(summary)
