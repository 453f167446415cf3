"""Figures that the database sums up are those of its rows, today and as they were believed at an instant."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kryss.positioning.frame import distance_m
from kryss.store.figures import LayerFigures, PhotosOfModel, Shift, layer_figures, photos_believed, shift_since

STOP, YIELD = "regulatory--stop--g1", "regulatory--yield--g1"


def believe(town: Any, make: Any, objects: list[Any], homes: dict[str, str] | None = None) -> datetime:
    """Writes what is believed and returns its instant."""
    with town.transaction("town") as tx:
        tx.write_intersections("town", make.intersections())
        tx.write_objects("town", objects, reasons={})
        tx.write_assignments("town", {one.id: "osm:1" for one in objects} if homes is None else homes)
        return tx.system_at()


def test_an_empty_municipality_has_no_figures(town: Any) -> None:
    with town.snapshot() as reader:
        assert layer_figures(reader, "town") == LayerFigures({}, 0, 0, 0.0)
        assert shift_since(reader, "town", datetime(2026, 1, 1, tzinfo=UTC)) == Shift(0, None, None)
        assert photos_believed(reader, "town") == {}


def test_objects_count_by_class_and_status_where_an_intersection_holds_them(town: Any, make: Any) -> None:
    things = [
        make.object(1),
        make.object(2),
        make.object(3, class_name=YIELD, status="unconfirmed"),
        make.ended(4),
        make.object(5),
    ]
    homes = {make.object_id(1): "osm:1", make.object_id(2): "osm:1", make.object_id(3): "nvdb:7", make.object_id(4): "osm:1"}
    believe(town, make, things, homes)
    with town.snapshot() as reader:
        figures = layer_figures(reader, "town")
    assert figures.by_class == {STOP: {"ended": 1, "standing": 2}, YIELD: {"unconfirmed": 1}}
    assert (figures.intersections, figures.occupied) == (2, 1), "at the other nothing is sure to stand"
    side_m = distance_m(10.399, 63.4, 10.401, 63.4), distance_m(10.4, 63.399, 10.4, 63.401)
    assert figures.area_km2 == pytest.approx(2 * side_m[0] * side_m[1] / 1e6, rel=0.01)


def test_the_figures_of_an_instant_are_those_of_its_beliefs(town: Any, make: Any) -> None:
    first = believe(town, make, [make.object(1), make.object(2)])
    with town.snapshot() as reader:
        then = layer_figures(reader, "town")
    believe(town, make, [make.ended(1), make.object(2), make.object(3, class_name=YIELD)])
    with town.snapshot() as reader:
        assert layer_figures(reader, "town", first) == then
        assert layer_figures(reader, "town") != then
        assert layer_figures(reader, "town").by_class[STOP] == {"ended": 1, "standing": 1}


def test_displacements_are_those_of_what_stands_in_both(town: Any, make: Any) -> None:
    things = [make.object(number) for number in range(1, 12)]
    first = believe(town, make, things)
    with town.snapshot() as reader:
        assert shift_since(reader, "town", first) == Shift(11, 0.0, 0.0)
    moved = [replace(one, lat=one.lat + 0.0001 * (index >= 5)) for index, one in enumerate(things[:-1])]
    believe(town, make, [*moved, make.ended(11), make.object(12)])
    away_m = distance_m(things[0].lon, things[0].lat, things[0].lon, things[0].lat + 0.0001)
    with town.snapshot() as reader:
        shift = shift_since(reader, "town", first)
    assert shift.compared == 10
    assert shift.median_m == pytest.approx(away_m / 2, abs=0.1), "half stayed, half moved"
    assert shift.p95_m == pytest.approx(away_m, abs=0.1)


def test_what_is_withdrawn_or_without_an_intersection_is_not_compared(town: Any, make: Any) -> None:
    things = [make.object(1), make.object(2), make.object(3)]
    first = believe(town, make, things)
    believe(town, make, things[:2], {make.object_id(1): "osm:1"})
    with town.snapshot() as reader:
        assert shift_since(reader, "town", first).compared == 1


def test_photos_are_counted_under_the_model_that_is_believed_of_them(town: Any, make: Any, street: Any) -> None:
    with town.transaction("town") as tx:
        tx.load(**street.stated())
    with town.snapshot() as reader:
        looks = reader.effective_looks("town", None)
        found = photos_believed(reader, "town")
    assert found == {key: PhotosOfModel(len(seen), max(image.captured_at for image in seen)) for key, seen in looks.items()}
    assert found[make.MODEL] == PhotosOfModel(2, make.NOON + timedelta(days=30))
