"""Beliefs in two clocks: what stood when, and what was believed when. Every past belief can be queried, none is rewritten."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from kryss.store import Counts

VERSION_TABLES = ("object", "object_version", "intersection", "intersection_version", "assignment")


@pytest.fixture
def write(town):
    """Writes all beliefs of a night and returns their counts and the instant of system time."""

    def write(objects):
        with town.transaction("town") as tx:
            counts = tx.write_objects("town", objects)
            return counts, tx.system_at()

    return write


def test_a_night_that_changes_nothing_writes_no_row(town, make, sql):
    def night():
        with town.transaction("town") as tx:
            return (
                tx.write_objects("town", [make.object(1), make.ended(2)]),
                tx.write_intersections("town", make.intersections()),
                tx.write_assignments("town", {make.object_id(1): "osm:1"}),
                tx.record_release(make.release()),
            )

    def row_versions():
        tables = (*VERSION_TABLES, "release", "municipality")
        return {name: sql(f"SELECT ctid::text, xmin::text, xmax::text FROM kryss.{name} ORDER BY 1") for name in tables}

    assert night() == (Counts(new=2), Counts(new=2), Counts(new=1), True)
    before = row_versions()
    assert night() == (Counts(unchanged=2), Counts(unchanged=2), Counts(unchanged=1), False)
    assert row_versions() == before


def test_the_last_bits_of_an_estimate_are_no_change(write, make):
    write([make.object(1)])
    jittered = make.object(1, lon=10.4003 + 1e-12, covariance=(4.0 + 1e-9, -0.3, 3.9), standing_probability=0.97 + 1e-12)
    assert write([jittered])[0] == Counts(unchanged=1)


def test_counts_say_what_became_of_each_object(write, make):
    write([make.object(1), make.object(2), make.object(3), make.object(4)])
    counts, _ = write([make.object(1), make.object(2, lon=10.5), make.ended(3), make.object(5)])
    assert counts == Counts(new=1, changed=1, ended=1, unchanged=1, withdrawn=1)


def test_an_object_that_is_seen_again_stands_again(town, write, make):
    write([make.object(1)])
    write([make.ended(1)])
    assert write([make.object(1)])[0] == Counts(changed=1)
    with town.snapshot() as reader:
        history = reader.object_history("town")[make.object_id(1)]
    assert [version.object.status for version in history] == ["standing", "ended", "standing"]


def test_history_holds_every_belief_without_gap_or_overlap(town, write, make):
    objects = [make.object(1), make.object(1, lon=10.5), make.ended(1)]
    instants = [write([noun])[1] for noun in objects]
    with town.snapshot() as reader:
        history = reader.object_history("town")[make.object_id(1)]
    assert [version.object for version in history] == objects
    assert [(version.known_from, version.known_to) for version in history] == list(
        zip(instants, [*instants[1:], None], strict=True)
    )


def test_beliefs_of_any_past_instant_can_be_read_again(town, make):
    instants = []
    with town.transaction("town") as tx:
        tx.write_objects("town", [make.object(1)])
        tx.write_intersections("town", make.intersections())
        tx.write_assignments("town", {make.object_id(1): "osm:1"})
        instants.append(tx.system_at())
    with town.transaction("town") as tx:
        tx.write_objects("town", [make.ended(1), make.object(2)])
        tx.write_intersections("town", make.intersections()[:1])
        tx.write_assignments("town", {make.object_id(2): "osm:1"})
        instants.append(tx.system_at())
    with town.snapshot() as reader:
        assert reader.objects("town", known=instants[0]) == [make.object(1)]
        assert len(reader.intersections("town", known=instants[0])) == 2
        assert reader.assignments("town", known=instants[0]) == {make.object_id(1): "osm:1"}
        assert reader.objects("town", known=instants[0] - timedelta(microseconds=1)) == []
        assert reader.objects("town", known=instants[1]) == reader.objects("town")
        assert [found.id for found in reader.intersections("town")] == ["osm:1"]
        assert reader.assignments("town") == {make.object_id(2): "osm:1"}


def test_a_release_can_be_rebuilt_from_the_instant_it_recorded(town, write, make):
    write([make.object(1)])
    with town.transaction("town") as tx:
        tx.record_release(make.release(1))
    write([make.ended(1)])
    with town.transaction("town") as tx:
        tx.record_release(make.release(2))
        released = tx.release_instants("town")
        assert tx.objects("town", known=released["2026-05-05.1"]) == [make.object(1)]
        assert tx.objects("town", known=released["2026-05-05.2"]) == [make.ended(1)]


def test_a_release_written_in_one_transaction_with_its_beliefs_holds_them(town, make):
    with town.transaction("town") as tx:
        tx.write_objects("town", [make.object(1)])
        tx.record_release(make.release(1))
    with town.snapshot() as reader:
        assert reader.objects("town", known=reader.release_instants("town")["2026-05-05.1"]) == [make.object(1)]


def test_a_release_of_a_dead_writer_is_recorded_again_as_it_came_to_be(town, make):
    """The row comes first, the folder after: a row whose folder never came gives way."""
    with town.transaction("town") as tx:
        assert tx.record_release(make.release(), {"previous": None, "parameters": {"a": 1}})
    again = replace(make.release(), sha256="cd" * 32)
    with town.transaction("town") as tx:
        assert tx.record_release(again, {"previous": "2026-05-04.9", "parameters": {"a": 2}})
        assert not tx.record_release(again, {"previous": "2026-05-04.9", "parameters": {"a": 2}})
        assert tx.releases("town") == [again]
        ((_, inputs),) = tx.release_inputs("town").values()
        assert inputs == {"previous": "2026-05-04.9", "parameters": {"a": 2}}


def test_a_release_holds_the_instant_that_was_exported_not_the_one_at_which_it_was_recorded(town, write, make):
    _, first = write([make.object(1)])
    with town.snapshot() as reader:
        exported = reader.layer("town", sizes=lambda _: None, image_url=None).known
    _, second = write([make.ended(1)])  # while the folder was written
    with town.transaction("town") as tx:
        tx.record_release(make.release(1), {}, exported)
        tx.record_release(make.release(2))
        assert tx.release_instants("town") == {"2026-05-05.1": first, "2026-05-05.2": second} == {
            name: instant for name, (instant, _) in tx.release_inputs("town").items()
        }  # fmt: skip
        assert exported == first
        assert tx.objects("town", known=exported) == [make.object(1)]


def test_releases_of_one_instant_come_in_the_order_of_their_numbers(town, write, make):
    write([make.object(1)])
    with town.transaction("town") as tx:
        for number in (10, 2, 1):
            tx.record_release(make.release(number))
        assert [one.name for one in tx.releases("town")] == [f"2026-05-05.{number}" for number in (1, 2, 10)]


def test_as_of_takes_both_clocks_from_the_analyst(write, make, sql):
    _, first = write([make.object(1)])
    _, second = write([make.ended(1)])
    query = "SELECT status FROM kryss.objects_as_of(:valid, :known)"

    def statuses(valid, known):
        return [row.status for row in sql(query, valid=valid, known=known)]

    before_end, after_end = make.NOON + timedelta(days=1), make.NOON + timedelta(days=31)
    assert statuses(before_end, first) == statuses(after_end, first) == ["standing"]
    assert statuses(before_end, second) == ["ended"]
    assert statuses(after_end, second) == []
    assert statuses(make.NOON - timedelta(microseconds=1), second) == []
    assert statuses(before_end, first - timedelta(microseconds=1)) == []


def test_an_object_did_not_stand_while_it_was_absent(town, write, make, sql):
    """It went between day 5 and day 8, and was back between day 9 and day 11."""
    _, known = write([make.came_back(1)])
    for days, stood in ((-1, 0), (0, 1), (7.9, 1), (8, 0), (10.9, 0), (11, 1), (99, 1)):
        valid = make.NOON + timedelta(days=days)
        assert len(sql("SELECT FROM kryss.objects_as_of(:valid, :known)", valid=valid, known=known)) == stood, days
        with town.snapshot() as reader:
            assert reader.objects_as_of("town", valid, known) == [make.came_back(1)][:stood]
            assert reader.objects_as_of("town", valid) == [make.came_back(1)][:stood]


def test_a_version_says_why_it_was_written(town, make):
    nights = [
        ({}, make.object(1)),
        ({make.object_id(1): "model"}, make.object(1, lon=10.5)),
        ({make.object_id(1): "street"}, None),
    ]
    for reasons, noun in nights:
        with town.transaction("town") as tx:
            tx.write_objects("town", [noun or make.ended(1)], reasons=reasons)
    with town.snapshot() as reader:
        history = reader.object_history("town")[make.object_id(1)]
    assert [version.reason for version in history] == ["evidence", "model", "street"]


def test_another_reason_alone_is_no_change(town, write, make):
    write([make.object(1)])
    with town.transaction("town") as tx:
        assert tx.write_objects("town", [make.object(1)], reasons={make.object_id(1): "model"}) == Counts(unchanged=1)


def test_the_views_show_what_stands_now_and_where(town, make, sql):
    with town.transaction("town") as tx:
        tx.write_objects("town", [make.object(1), make.ended(2)])
        tx.write_intersections("town", make.intersections())
        tx.write_assignments("town", {make.object_id(1): "osm:1", make.object_id(2): "osm:1"})
    now = sql("SELECT object_id::text, intersection_id, sightings, ST_X(geom) AS lon, height_m FROM kryss.object_now")
    assert [tuple(row) for row in now] == [(make.object_id(1), "osm:1", 2, 10.4003, 2.4)]
    junctions = sql("SELECT intersection_id, objects FROM kryss.intersection_now ORDER BY 1")
    assert [tuple(row) for row in junctions] == [("nvdb:7", 0), ("osm:1", 1)]


def test_what_is_believed_no_more_can_still_be_read(town, write, make):
    write([make.object(1), make.object(2)])
    write([make.object(1, lon=11.0), make.object(2, lon=11.0)])
    write([make.object(1, lon=11.0)])
    with town.snapshot() as reader:
        assert reader.withdrawn_objects("town") == [make.object(2, lon=11.0)]


def test_an_id_is_registered_for_ever(town, write, make, sql):
    write([make.object(1)])
    assert write([])[0] == Counts(withdrawn=1)
    assert write([make.object(1)])[0] == Counts(changed=1)
    assert sql("SELECT count(*) FROM kryss.object")[0][0] == 1
    with pytest.raises(IntegrityError):
        sql("DELETE FROM kryss.object")


def test_writing_twice_in_one_transaction_leaves_the_last_word(town, write, make, sql):
    _, first = write([make.object(1), make.object(2)])
    with town.transaction("town") as tx:
        tx.write_objects("town", [make.ended(1), make.object(3)])
        assert tx.write_objects("town", [make.object(1), make.object(2, lon=10.5), make.object(3)]) == Counts(1, 1, 0, 1)
        tx.write_intersections("town", make.intersections())
        tx.write_intersections("town", make.intersections()[:1])
        tx.write_assignments("town", {make.object_id(1): "osm:1"})
        tx.write_assignments("town", {make.object_id(2): "osm:1"})
        assert tx.assignments("town") == {make.object_id(2): "osm:1"}
    with town.snapshot() as reader:
        history = reader.object_history("town")
        assert [found.id for found in reader.intersections("town")] == ["osm:1"]
    assert [len(history[make.object_id(number)]) for number in (1, 2, 3)] == [1, 2, 1]
    assert history[make.object_id(1)][0].known_from == first
    assert sql("SELECT count(*) FROM kryss.object_version WHERE isempty(system)")[0][0] == 0


def test_system_time_moves_on_when_the_clock_of_the_server_does_not(town, write, make, sql):
    write([make.object(1)])
    sql("UPDATE kryss.municipality SET system_at = '2999-01-01T00:00:00Z'")
    _, later = write([make.object(1, lon=10.5)])
    _, latest = write([make.object(1, lon=10.6)])
    assert later.year == 2999
    assert latest - later == timedelta(microseconds=1)


def test_an_object_given_twice_is_refused(write, make):
    with pytest.raises(ValueError, match=f"'{make.object_id(1)}' is given twice"):
        write([make.object(1), make.object(1, lon=10.5)])


def test_the_database_itself_refuses_beliefs_that_overlap(town, make, sql):
    with town.transaction("town") as tx:
        tx.write_objects("town", [make.object(1)])
        tx.write_intersections("town", make.intersections())
        tx.write_assignments("town", {make.object_id(1): "osm:1"})
    for table in ("object_version", "intersection_version", "assignment"):
        given = sql(
            "SELECT string_agg(column_name, ', ') FROM information_schema.columns WHERE table_schema = 'kryss' "
            "AND table_name = :table AND is_identity = 'NO' AND is_generated = 'NEVER' AND column_name <> 'system'",
            table=table,
        )[0][0]
        with pytest.raises(IntegrityError, match=r"violates (exclusion|unique) constraint"):
            sql(f"INSERT INTO kryss.{table} ({given}) SELECT {given} FROM kryss.{table}")


def test_the_database_refuses_objects_that_cannot_be(write, make):
    backwards = replace(make.came_back().absences[0], gone_after=make.NOON - timedelta(days=1))
    late = make.NOON + timedelta(days=1)
    impossible = ({"absences": (backwards,)}, {"began_after": late}, {"replaced_by": make.object_id(2)})
    for nonsense in (
        *impossible,
        {"standing_probability": 1.5},
        {"error_radius_m": -1.0},
        {"status": "ended"},
        {"status": "perhaps"},
    ):
        with pytest.raises(IntegrityError, match="violates check constraint"):
            write([make.object(1, **nonsense)])


def test_an_object_cannot_belong_to_a_junction_nobody_knows(town, make):
    with pytest.raises(IntegrityError), town.transaction("town") as tx:
        tx.write_objects("town", [make.object(1)])
        tx.write_assignments("town", {make.object_id(1): "osm:404"})


def test_an_area_that_crosses_itself_is_refused(town, make):
    bow_tie = ((10.0, 63.0), (10.1, 63.1), (10.1, 63.0), (10.0, 63.1), (10.0, 63.0))
    with pytest.raises(IntegrityError), town.transaction("town") as tx:
        tx.write_intersections("town", [replace(make.intersections()[0], area=bow_tie)])


beliefs_of_a_night = st.dictionaries(st.integers(1, 4), st.sampled_from(["stands", "moved", "ended"]))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(nights=st.lists(beliefs_of_a_night, min_size=1, max_size=6))
def test_any_sequence_of_nights_can_be_read_back_night_by_night(store, make, nights):
    """Each example has a municipality of its own, which also shows that they do not mix."""
    code = str(nights)
    nouns = {
        "stands": make.object,
        "moved": lambda number: make.object(number, lon=10.5),
        "ended": make.ended,
    }
    written = [sorted((nouns[state](number) for number, state in night.items()), key=lambda noun: noun.id) for night in nights]
    instants = []
    for night in written:
        with store.transaction(code) as tx:
            tx.upsert_municipality(make.municipality(code))
            counts = tx.write_objects(code, night)
            assert counts.new + counts.changed + counts.ended + counts.unchanged == len(night)
            instants.append(tx.system_at())
    with store.snapshot() as reader:
        for night, instant in zip(written, instants, strict=True):
            assert reader.objects(code, known=instant) == night
        changes = sum(before != after for before, after in zip([[], *written], written, strict=False))
        assert len({v.known_from for versions in reader.object_history(code).values() for v in versions}) <= changes
