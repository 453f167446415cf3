"""What holds a release back, and what does not."""

from __future__ import annotations

from kryss.pipeline.checks import MIN_OBJECTS, plausible

LIGHT, STOP = "object--traffic-light--general-upright", "regulatory--stop--g1"


def test_an_ordinary_night_is_published() -> None:
    assert plausible({LIGHT: 100, STOP: 40}, {LIGHT: 98, STOP: 45}, 5000, 5200) == []


def test_a_night_that_loses_many_objects_is_held_back_with_the_numbers() -> None:
    (reason, of_class) = plausible({LIGHT: 100}, {LIGHT: 60}, 5000, 5100)
    assert "100" in reason
    assert "60" in reason
    assert LIGHT in of_class


def test_one_class_that_vanishes_is_held_back_though_the_total_holds() -> None:
    assert any(STOP in reason for reason in plausible({LIGHT: 400, STOP: 40}, {LIGHT: 420, STOP: 2}, 5000, 5100))


def test_a_flood_is_held_back_unless_as_many_more_photos_were_looked_at() -> None:
    assert plausible({STOP: 50}, {STOP: 400}, 1000, 1100)
    assert plausible({STOP: 50}, {STOP: 400}, 1000, 9000) == []


def test_a_few_objects_say_nothing() -> None:
    assert plausible({STOP: MIN_OBJECTS - 1}, {STOP: 0}, 100, 200) == []
