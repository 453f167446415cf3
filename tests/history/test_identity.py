"""Ids go with the evidence, from box to box, from model to model and from place to place, and never to another thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kryss.history import Before, Beliefs, Evidence, Load, believe
from kryss.model import Box, Detection, FusedObject, Image, Lineage, Sighting, StreetObject

SIGN, OTHER = "regulatory--yield--g1", "regulatory--stop--g1"
OLD, NEW = "test@1", "test@2"
START = datetime(2025, 1, 1, tzinfo=UTC)


def photo(number: int) -> Image:
    return Image(f"p{number}", "s", START + timedelta(days=number), 1000, 1000, None, None)


def box(number: int, ordinal: int = 0, class_name: str = SIGN, model_key: str = OLD) -> Sighting:
    """The sighting of one box in a photo."""
    at = photo(number)
    return Sighting(
        *(at.id, model_key, ordinal, "s", at.captured_at, class_name, 0.9, 10.0, 60.0, 1.0, "sfm", 90.0, 1.0, 10.0, 1.0),
        *("known-size", 10.0002, 60.0, (1.0, 0.0, 1.0)),
    )


def cluster(boxes: Sequence[Sighting], lon: float = 10.0002) -> FusedObject:
    ordered = sorted(boxes, key=lambda one: (one.captured_at, one.image_id, one.ordinal))
    return FusedObject(ordered[0].class_name, lon, 60.0, (1.0, 0.0, 1.0), 2.4, tuple(ordered))


def night(
    clusters: Sequence[FusedObject], before: Sequence[StreetObject] = (), load: Load | None = None, **more: Sequence[object]
) -> Beliefs:
    """Believed of these clusters; the photos of the new model are those it has boxes in."""
    seen = {one.image_id: one.model_key for each in clusters for one in each.sightings}
    looks = {key: [photo(int(name[1:])) for name, model in sorted(seen.items()) if model == key] for key in {*seen.values()}}
    return believe(Evidence(clusters, looks, {}), Before(before, **more), load)  # type: ignore[arg-type]


def named(beliefs: Beliefs, *boxes: Sighting) -> str:
    """The id of the object that holds these boxes."""
    (found,) = {one.id for one in beliefs.objects for key in boxes if (key.image_id, key.ordinal) in one.evidence}
    return found


def test_two_objects_that_swap_a_part_keep_their_ids_by_the_larger_part() -> None:
    a, b = [box(n) for n in range(5)], [box(n, 1) for n in range(4)]
    first = night([cluster(a), cluster(b)])
    second = night([cluster(a[:2] + b[2:]), cluster(b[:2] + a[2:])], first.objects)
    assert named(second, *a[2:]) == named(first, *a)
    assert named(second, *b[2:]) == named(first, *b)
    assert second.lineage == []


def test_a_merge_and_a_split_in_one_night_are_both_told() -> None:
    a, b, c = ([box(n, ordinal) for n in range(3 + ordinal)] for ordinal in range(3))
    first = night([cluster(a), cluster(b), cluster(c)])
    second = night([cluster(a + b), cluster(c[:2]), cluster(c[2:])], first.objects)
    ids = {name: named(first, *boxes) for name, boxes in (("a", a), ("b", b), ("c", c))}
    assert named(second, *a, *b) == ids["b"]
    assert named(second, *c[2:]) == ids["c"]
    part = named(second, *c[:2])
    assert part not in ids.values()
    expected = [Lineage(ids["a"], "merged_into", ids["b"]), Lineage(part, "split_from", ids["c"])]
    assert sorted(second.lineage, key=str) == sorted(expected, key=str)


def test_a_chain_of_objects_that_each_lose_a_part_to_the_next_is_no_event() -> None:
    rows = [[box(n, ordinal) for n in range(4)] for ordinal in range(4)]
    first = night([cluster(row) for row in rows])
    moved = [rows[k][1:] + rows[k - 1][:1] for k in range(4)]
    second = night([cluster(row) for row in moved], first.objects)
    assert [named(second, *row[1:]) for row in rows] == [named(first, *row) for row in rows]
    assert second.lineage == []


def test_a_part_that_comes_back_out_of_a_merger_gets_its_id_again() -> None:
    a, b = [box(n) for n in range(3)], [box(n, 1) for n in range(4)]
    first = night([cluster(a), cluster(b)])
    second = night([cluster(a + b)], first.objects)
    gone = [one for one in first.objects if one.id not in {each.id for each in second.objects}]
    ever = {one.id for one in first.objects}
    third = night([cluster(a), cluster(b)], second.objects, withdrawn=gone, ever=ever)
    assert (named(third, *a), named(third, *b)) == (named(first, *a), named(first, *b))
    assert third.lineage == [Lineage(named(first, *a), "split_from", named(first, *b))]


def test_an_id_that_was_given_is_not_given_to_another_thing() -> None:
    a = [box(n) for n in range(3)]
    (once,) = night([cluster(a)]).objects
    # Nothing is known of it any more but that its id was given; another thing has the same earliest box and class.
    (again,) = night([cluster([a[0], *(box(n, 5) for n in range(3, 6))])], ever={once.id}).objects
    assert again.id != once.id


def detection(sighting: Sighting, corners: Box) -> Detection:
    return Detection(sighting.image_id, sighting.model_key, sighting.ordinal, sighting.class_name, 0.9, corners)


def test_another_model_hands_an_id_on_by_overlapping_boxes_and_may_correct_the_class() -> None:
    left, right = (100.0, 100.0, 140.0, 140.0), (300.0, 100.0, 340.0, 140.0)
    old_left, old_right = [box(n) for n in range(3)], [box(n, 1) for n in range(3)]
    first = night([cluster(old_left), cluster(old_right, 10.0003)])
    # The new model is surer of the right one, so that the numbers of their boxes are swapped.
    new_left = [box(n, 1, OTHER, NEW) for n in range(3)]
    new_right = [box(n, 0, SIGN, NEW) for n in range(3)]
    slightly = (3.0, -2.0, 4.0, 1.0)
    boxes = [detection(one, left) for one in old_left] + [detection(one, right) for one in old_right]
    boxes += [detection(one, tuple(a + b for a, b in zip(left, slightly, strict=True))) for one in new_left]  # type: ignore[arg-type]
    boxes += [detection(one, right) for one in new_right]
    again = Load(again={f"p{n}": OLD for n in range(3)}, boxes=boxes)
    second = night([cluster(new_left), cluster(new_right, 10.0003)], first.objects, again)
    ids = {one.class_name: one.id for one in second.objects}
    assert ids == {OTHER: named(first, *old_left), SIGN: named(first, *old_right)}
    assert second.lineage == []
    assert set(second.reasons.values()) == {"model"}


def test_half_a_reprocessing_keeps_every_id() -> None:
    a, b = [box(n) for n in range(4)], [box(n, 1) for n in range(4)]
    first = night([cluster(a), cluster(b, 10.0003)])
    corners = {0: (100.0, 100.0, 140.0, 140.0), 1: (300.0, 100.0, 340.0, 140.0)}
    known = first
    for done in (2, 4):
        # The new model numbers its boxes the other way round.
        one = [box(n, 1, SIGN, NEW) for n in range(done)] + a[done:]
        two = [box(n, 0, SIGN, NEW) for n in range(done)] + b[done:]
        here = range(done - 2, done)
        boxes = [detection(each, corners[0]) for each in (*(one[n] for n in here), *(a[n] for n in here))]
        boxes += [detection(each, corners[1]) for each in (*(two[n] for n in here), *(b[n] for n in here))]
        known = night([cluster(one), cluster(two, 10.0003)], known.objects, Load(again={f"p{n}": OLD for n in here}, boxes=boxes))
        assert {each.id for each in known.objects} == {each.id for each in first.objects}
        assert known.lineage == []
    places = {each.lon: each.id for each in first.objects}
    assert {each.lon: each.id for each in known.objects} == places


def test_an_object_that_loses_some_photos_keeps_its_id_and_one_that_loses_all_is_told() -> None:
    a, b = [box(n) for n in range(3)], [box(n + 3, 1) for n in range(3)]
    first = night([cluster(a), cluster(b)])
    second = night([cluster(a[1:])], first.objects, Load(removed={"p0", "p3", "p4", "p5"}))
    assert [one.id for one in second.objects] == [named(first, *a)]
    assert second.lineage == [Lineage(named(first, *b), "lost_evidence", None, "evidence")]
    assert second.reasons == {named(first, *a): "evidence"}


partitions = st.lists(st.integers(0, 4), min_size=8, max_size=8)


@settings(max_examples=40, deadline=None)
@given(st.lists(partitions, min_size=2, max_size=4))
def test_every_id_is_one_objects_and_every_one_that_disappears_or_is_cut_out_is_told_of(nights: list[list[int]]) -> None:
    """Eight boxes, each night parted among up to five objects; those of 0 are in none."""
    boxes = [box(n, n) for n in range(8)]
    known: list[StreetObject] = []
    withdrawn: dict[str, StreetObject] = {}
    ever: set[str] = set()
    for parts in nights:
        clusters = [cluster([one for one, k in zip(boxes, parts, strict=True) if k == part]) for part in sorted({*parts} - {0})]
        now = night(clusters, known, withdrawn=list(withdrawn.values()), ever=ever)
        again = night(clusters[::-1], known[::-1], withdrawn=list(withdrawn.values())[::-1], ever=ever)
        assert again == now
        ids = [one.id for one in now.objects]
        assert len(set(ids)) == len(clusters) == len(ids)
        lost = {one.id: one for one in known if one.id not in ids}
        told = {event.object_id: event for event in now.lineage if event.relation != "split_from"}
        assert told.keys() == lost.keys()
        for object_id, event in told.items():
            held = {one.id for one in now.objects if set(one.evidence) & set(lost[object_id].evidence)}
            assert (event.other_id in held) if held else (event.relation, event.other_id) == ("unsupported", None)
        before = {one.id: one for one in known}
        for one in now.objects:
            parents = [each for each in known if set(each.evidence) & set(one.evidence)]
            if one.id in before:
                # An id keeps a box that it had, or goes by its place to boxes that were in no object.
                assert set(before[one.id].evidence) & set(one.evidence) or not parents
            elif parents:
                assert any(event.object_id == one.id and event.relation == "split_from" for event in now.lineage)
            assert one.id in before or one.id in withdrawn or one.id not in ever
        withdrawn = {**withdrawn, **lost}
        for object_id in ids:
            withdrawn.pop(object_id, None)
        ever |= set(ids)
        known = now.objects


@pytest.mark.parametrize("metres", [0.0, 1.0])
def test_a_pole_that_was_moved_by_a_metre_is_the_same(metres: float) -> None:
    degrees = metres / 55_800.0
    (before,) = night([cluster([box(n) for n in range(3)])]).objects
    (after,) = night([cluster([box(n) for n in range(10, 13)], 10.0002 + degrees)], [before], Load(removed={"p0"})).objects
    assert after.id == before.id
    far = replace(cluster([box(n) for n in range(10, 13)], 10.0002 + 15 / 55_800.0))
    assert night([far], [before]).objects[0].id != before.id
