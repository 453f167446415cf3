"""Two releases differ in what is told, each object once, under what matters most."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from kryss.layer.__main__ import main
from kryss.layer.changes import diff
from kryss.layer.geojson import build, dump_layer
from kryss.layer.since import Since
from kryss.model import Lineage


def layer(town, objects, homes=None, junctions=None):
    return build(junctions or [town.junction()], objects, homes or {item.id: "nvdb:1" for item in objects})


def counted(changes) -> dict[str, int]:
    return {kind: count for kind, count in changes.counts().items() if count}


@pytest.fixture
def stop(town):
    return town.sign("s", "regulatory--stop--g1", 10, 10)


def ended(town, item):
    return replace(item, status="ended", ended_at=town.second, standing_probability=0.02)


def come(town, key, class_name, east_m, north_m, **changes):
    return town.sign(key, class_name, east_m, north_m, first_seen_at=town.second, last_seen_at=town.second, **changes)


def test_the_towns_three_changes_are_told_once_each(town):
    changes = diff(layer(town, town.in_2025()), layer(town, town.in_2026()))
    assert counted(changes) == {"replaced": 1, "added": 1, "ended": 1, "refined": 7}
    assert changes.lines() == [
        "regulatory--turn-left--g1 at 63.43049, 10.38988 was replaced by regulatory--no-left-turn--g1 "
        "between 2025-06-10 and 2026-05-20",
        "regulatory--maximum-speed-limit-30--g1 at 63.43018, 10.38986 is new: first seen 2026-05-20",
        "regulatory--stop--g1 at 63.42995, 10.38956 went between 2025-06-10 and 2026-05-20",
    ]
    pair = changes.replaced[0]
    assert (pair["before"]["id"], pair["after"]["id"]) == ("h1", "r1")
    assert pair["distance_m"] == pytest.approx(0.94, abs=0.02)


def test_nothing_changes_between_a_layer_and_itself(town):
    assert counted(diff(layer(town, town.in_2026()), layer(town, town.in_2026()))) == {}


def test_without_a_previous_release_everything_is_added(town):
    assert counted(diff(None, layer(town, town.in_2026()))) == {"added": 11, "intersections_added": 1}


def test_an_object_that_is_absent_altogether_was_removed(town, stop):
    changes = diff(layer(town, [stop]), layer(town, []))
    assert counted(changes) == {"removed": 1}
    assert changes.lines() == ["regulatory--stop--g1 at 63.43009, 10.39020 is no longer in the layer"]


def test_an_ended_object_that_is_seen_again_has_returned(town, stop):
    back = replace(stop, last_seen_at=town.second + timedelta(days=1))
    assert counted(diff(layer(town, [ended(town, stop)]), layer(town, [back]))) == {"returned": 1}


@pytest.mark.parametrize(("metres", "told"), [(0.4, "refined"), (0.6, "moved")])
def test_moving_begins_at_half_a_metre(town, stop, metres, told):
    lon, lat = town.at(10 + metres, 10)
    changes = diff(layer(town, [stop]), layer(town, [replace(stop, lon=lon, lat=lat)]))
    assert counted(changes) == {told: 1}


def test_a_new_class_and_a_confirmation_are_changes_with_before_and_after(town, stop):
    once = replace(stop, status="unconfirmed", class_name="regulatory--yield--g1")
    changes = diff(layer(town, [once]), layer(town, [stop]))
    assert counted(changes) == {"changed": 1}
    assert changes.changed[0]["before"] == {"class": "regulatory--yield--g1", "status": "unconfirmed"}
    assert changes.changed[0]["after"] == {"class": "regulatory--stop--g1", "status": "standing"}
    assert "class regulatory--yield--g1 -> regulatory--stop--g1" in changes.lines()[0]


def test_a_facing_that_is_merely_refined_is_no_change(town, stop):
    before, after = (layer(town, [replace(stop, facing_deg=facing)]) for facing in (355.0, 3.0))
    assert counted(diff(before, after)) == {"refined": 1}


def test_an_object_given_to_another_intersection_is_changed(town, stop):
    junctions = [town.junction(), town.junction("nvdb:2", east_m=50)]
    changes = diff(layer(town, [stop], junctions=junctions), layer(town, [stop], {"s": "nvdb:2"}, junctions))
    assert changes.changed[0]["after"] == {"intersection_id": "nvdb:2"}


def test_another_class_in_its_place_is_a_replacement_only_where_history_says_so(town, stop):
    new = come(town, "y", "regulatory--yield--g1", 10.5, 10)
    assert counted(diff(layer(town, [stop]), layer(town, [ended(town, stop), new]))) == {"added": 1, "ended": 1}
    replaced = replace(ended(town, stop), replaced_by="y")
    assert counted(diff(layer(town, [stop]), layer(town, [replaced, new]))) == {"replaced": 1}


def test_a_replacement_is_told_when_the_old_sign_ends_a_release_later(town, stop):
    new = come(town, "y", "regulatory--yield--g1", 10.5, 10)
    both = layer(town, [stop, new])
    assert counted(diff(layer(town, [stop]), both)) == {"added": 1}
    assert counted(diff(both, layer(town, [replace(ended(town, stop), replaced_by="y"), new]))) == {"replaced": 1}


def test_an_old_replacement_is_not_told_again(town, stop):
    new = come(town, "y", "regulatory--yield--g1", 10.5, 10)
    both = layer(town, [replace(ended(town, stop), replaced_by="y"), new])
    assert counted(diff(both, both)) == {}


def test_each_object_takes_part_in_one_replacement(town, stop):
    once = replace(ended(town, town.sign("r", "regulatory--no-entry--g1", 10, 10)), replaced_by="s")
    then = replace(ended(town, stop), first_seen_at=town.second, replaced_by="y")
    new = come(town, "y", "regulatory--yield--g1", 10.5, 10)
    changes = diff(layer(town, [town.sign("r", "regulatory--no-entry--g1", 10, 10)]), layer(town, [once, then, new]))
    assert counted(changes) == {"replaced": 1, "added": 1}
    assert changes.replaced[0]["after"]["id"] == "s"


def test_a_larger_area_is_told_of_the_intersection(town):
    changes = diff(layer(town, []), layer(town, [], junctions=[town.junction(half_m=120)]))
    assert changes.intersections_changed == ["nvdb:1"]


def since(town, history, *lineage):
    """What came to be believed after the first day of ``Town.versions``."""
    return Since(history, lineage, town.first + timedelta(hours=1))


def told(town, before, after, reason, *lineage):
    """Of one object that was believed when the previous release was made and is another now, for this reason."""
    versions = town.versions(before, after, reasons=("street", reason))
    return diff(layer(town, [before]), layer(town, [after]), since(town, {before.id: versions}, *lineage))


@pytest.mark.parametrize("reason", ["street", "evidence", "model"])
def test_every_entry_says_why(town, stop, reason):
    changes = told(town, stop, ended(town, stop), reason)
    assert [entry["reason"] for entry in changes.ended] == [reason]
    assert changes.reasons() == {reason: 1}
    assert (", by a new model" in changes.lines()[0]) == (reason == "model")


def test_a_reason_is_that_of_the_fact_and_not_of_what_else_was_believed_since(town, stop):
    moved = replace(stop, lon=town.at(12, 10)[0])
    refined = replace(moved, last_seen_at=town.second)
    history = {"s": town.versions(stop, moved, refined, reasons=("street", "model", "evidence"))}
    changes = diff(layer(town, [stop]), layer(town, [refined]), since(town, history))
    assert changes.moved[0]["reason"] == "model"
    assert changes.lines() == ["regulatory--stop--g1 at 63.43009, 10.39024 moved 2.0 m by a new model"]


def test_what_was_believed_before_the_previous_release_is_no_reason(town, stop):
    history = {"s": town.versions(stop, reasons=("model",))}
    junctions = [town.junction(), town.junction("nvdb:2", east_m=50)]
    changes = diff(
        layer(town, [stop], junctions=junctions), layer(town, [stop], {"s": "nvdb:2"}, junctions), since(town, history)
    )
    assert changes.changed[0]["reason"] == "roads"


def test_a_class_that_another_model_reads_is_not_told_as_if_the_street_changed(town, stop):
    changes = told(town, stop, replace(stop, class_name="regulatory--yield--g1", model_key="new@2"), "model")
    assert changes.lines() == [
        "regulatory--yield--g1 at 63.43009, 10.39020 changed by a new model: class regulatory--stop--g1 -> regulatory--yield--g1"
    ]


def test_an_object_that_only_a_new_model_finds_is_told_so(town, stop):
    new = come(town, "y", "regulatory--yield--g1", 20, 10)
    history = {"s": town.versions(stop), "y": town.versions(new, loaded=town.second, reasons=("model",))}
    changes = diff(layer(town, [stop]), layer(town, [stop, new]), since(town, history))
    assert changes.lines() == ["regulatory--yield--g1 at 63.43009, 10.39040 was found by a new model: first seen 2026-05-20"]


def test_objects_that_a_new_model_merely_saw_too_are_one_line(town):
    old = town.in_2025()
    new = [replace(item, model_key="kryss-signs@2", method="known-size,depth") for item in old]
    history = {a.id: town.versions(a, b, reasons=("street", "model")) for a, b in zip(old, new, strict=True)}
    changes = diff(layer(town, old), layer(town, new), since(town, history))
    assert counted(changes) == {"reworked": 9}
    assert changes.reasons() == {"model": 9}
    assert changes.lines() == ["9 objects were worked out anew by model kryss-signs@2; the street did not change"]


def test_a_way_of_measuring_is_no_change(town, stop):
    assert counted(told(town, stop, replace(stop, method="depth"), "evidence")) == {"refined": 1}


def test_two_objects_that_turn_out_to_be_one_are_told_so(town, stop):
    other = town.sign("t", "regulatory--stop--g1", 10.4, 10)
    event = Lineage("t", "merged_into", "s", "evidence", town.second)
    changes = diff(layer(town, [stop, other]), layer(town, [stop]), since(town, {"s": town.versions(stop)}, event))
    assert counted(changes) == {"merged": 1}
    assert (changes.merged[0]["before"]["id"], changes.merged[0]["after"]["id"]) == ("t", "s")
    assert changes.lines() == [
        "regulatory--stop--g1 at 63.43009, 10.39021 and regulatory--stop--g1 at 63.43009, 10.39020 turned out to be one"
    ]


def test_mergers_are_followed_to_the_object_that_is_left(town, stop):
    others = [town.sign(key, "regulatory--stop--g1", 10.4, 10) for key in ("t", "u")]
    events = [Lineage("t", "merged_into", "u", "model", town.second), Lineage("u", "merged_into", "s", "model", town.second)]
    changes = diff(layer(town, [stop, *others]), layer(town, [stop]), since(town, {"s": town.versions(stop)}, *events))
    assert [(pair["before"]["id"], pair["after"]["id"]) for pair in changes.merged] == [("t", "s"), ("u", "s")]
    assert all(line.endswith("turned out to be one, by a new model") for line in changes.lines())


def test_mergers_in_a_circle_end(town, stop):
    events = [Lineage("s", "merged_into", "t", "model", town.second), Lineage("t", "merged_into", "s", "model", town.second)]
    assert counted(diff(layer(town, [stop]), layer(town, []), since(town, {}, *events))) == {"removed": 1}


def test_one_object_that_turns_out_to_be_two_is_told_so(town, stop):
    part = town.sign("t", "regulatory--stop--g1", 13, 10)
    history = {"s": town.versions(stop), "t": town.versions(part, loaded=town.second)}
    event = Lineage("t", "split_from", "s", "evidence", town.second)
    changes = diff(layer(town, [stop]), layer(town, [stop, part]), since(town, history, event))
    assert counted(changes) == {"split": 1}
    assert "turned out to be two: the other is regulatory--stop--g1 at 63.43009, 10.39026" in changes.lines()[0]


@pytest.mark.parametrize(
    ("relation", "words"), [("lost_evidence", "its photos were removed"), ("unsupported", "its photos show nothing that stands")]
)
def test_an_object_that_lost_its_evidence_did_not_go(town, stop, relation, words):
    event = Lineage("s", relation, None, "evidence", town.second)
    changes = diff(layer(town, [stop]), layer(town, []), since(town, {"s": town.versions(stop)}, event))
    assert counted(changes) == {"removed": 1}
    assert changes.removed[0]["relation"] == relation
    assert words in changes.lines()[0]
    assert " went " not in changes.lines()[0]


def test_the_photo_of_an_object_that_is_no_longer_in_the_layer_is_not_named_again(town, stop):
    """It may be what had to go."""
    part = town.sign("t", "regulatory--stop--g1", 10.4, 10, evidence=(("103", 0),))
    events = [Lineage("s", "merged_into", "t", "evidence", town.second), Lineage("t", "split_from", "u", "evidence", town.second)]
    gone = town.sign("u", "regulatory--stop--g1", 10.2, 10)
    changes = diff(layer(town, [stop, gone]), layer(town, [part]), since(town, {}, *events))
    assert counted(changes) == {"merged": 1, "removed": 1, "split": 1}
    told = json.dumps(changes.document())
    assert '"103"' in told
    assert "101" not in told and "102" not in told


def test_an_old_merger_says_nothing_of_what_is_removed_now(town, stop):
    event = Lineage("s", "lost_evidence", None, "evidence", town.first)
    changes = diff(layer(town, [stop]), layer(town, []), since(town, {"s": town.versions(stop)}, event))
    assert (changes.removed[0]["relation"], changes.removed[0]["reason"]) == (None, "roads")
    assert changes.lines() == [
        "regulatory--stop--g1 at 63.43009, 10.39020 is no longer in the layer: no intersection holds it now"
    ]


def test_the_command_tells_the_changes(town, tmp_path, capsys):
    for name, objects in (("a", town.in_2025()), ("b", town.in_2026())):
        (tmp_path / name).mkdir()
        (tmp_path / name / "intersections.geojson").write_bytes(dump_layer(layer(town, objects)))
    assert main(["diff", str(tmp_path / "a"), str(tmp_path / "b" / "intersections.geojson")]) == 0
    assert "regulatory--stop--g1 at 63.42995, 10.38956 went between 2025-06-10 and 2026-05-20\n" in capsys.readouterr().out
    assert main(["diff", "--json", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["replaced"] == 1
    assert main(["diff", str(tmp_path / "a"), str(tmp_path / "missing")]) == 2
