"""Two releases differ in what is told, each object once, under what matters most; reasons come from the database."""

from __future__ import annotations

import json
import random
import resource
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kryss.layer.changes import write_changes
from kryss.layer.geojson import LayerError
from kryss.layer.since import Why
from kryss.layer.telling import CHANGE_OF, KINDS, ChangeSummary
from kryss.layer.validate import validate
from kryss.model import Lineage, ObjectVersion

from .objects_file import properties, write_features, write_objects

HEAD = {"schema_version": "2.0.0", "code": "9999", "release": "2026-05-21.1", "previous": "2025-06-11.1"}


@dataclass(frozen=True)
class Beliefs:
    """What a database would answer, and how much it was asked at once."""

    history: Mapping[str, Sequence[ObjectVersion]]
    events: Sequence[Lineage] = ()

    def versions(self, ids: Sequence[str]) -> dict[str, Sequence[ObjectVersion]]:
        return {key: self.history[key] for key in ids if key in self.history}

    def lineage(self, ids: Sequence[str]) -> list[Lineage]:
        return [event for event in self.events if event.object_id in ids]


@dataclass(frozen=True)
class Told:
    """A ``changes.geojson``, read again."""

    document: dict[str, Any]
    summary: ChangeSummary

    @property
    def counts(self) -> dict[str, int]:
        return {kind: count for kind, count in self.document["counts"].items() if count}

    @property
    def lines(self) -> list[str]:
        return list(self.document["summary"])

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [item["properties"] for item in self.document["features"] if item["properties"]["kind"] == kind]

    def only(self) -> dict[str, Any]:
        (feature,) = self.document["features"]
        entry: dict[str, Any] = feature["properties"]
        return entry


@pytest.fixture
def compare(tmp_path):
    """Compares two lists of objects (nouns or properties), with the homes of either."""

    def run(before, after, why: Why | None = None, homes=("nvdb:1", "nvdb:1"), areas=((), ())) -> Told:
        def plain(items: Iterable[Any], home: str) -> list[dict[str, Any]]:
            return [item if isinstance(item, dict) else properties(item, home) for item in items]

        old = None if before is None else write_objects(tmp_path / "before", plain(before, homes[0]))
        new = write_objects(tmp_path / "after", plain(after, homes[1]))
        lands = [write_features(tmp_path / f"areas{i}", one) for i, one in enumerate(areas)]
        target = tmp_path / "changes.geojson"
        summary = write_changes(target, old, new, lands[0], lands[1], HEAD, why)
        assert not list(tmp_path.glob(".changes-*"))
        return Told(json.loads(target.read_bytes()), summary)

    return run


@pytest.fixture
def stop(town):
    return town.sign("s", "regulatory--stop--g1", 10, 10)


def ended(town, item):
    return replace(item, status="ended", ended_at=town.second, standing_probability=0.02)


def come(town, key, class_name, east_m, north_m, **changes):
    return town.sign(key, class_name, east_m, north_m, first_seen_at=town.second, last_seen_at=town.second, **changes)


def test_the_towns_three_changes_are_told_once_each(town, published):
    """Of the release that PostGIS and the writer made."""
    told = json.loads((published.second / "changes.geojson").read_bytes())
    assert told["summary"] == [
        "regulatory--turn-left--g1 at 63.43049, 10.38988 was replaced by regulatory--no-left-turn--g1 "
        "between 2025-06-10 and 2026-05-20",
        "regulatory--maximum-speed-limit-30--g1 at 63.43018, 10.38986 is new: first seen 2026-05-20",
        "regulatory--stop--g1 at 63.42995, 10.38956 went between 2025-06-10 and 2026-05-20",
    ]
    kinds = {feature["properties"]["kind"]: feature["properties"] for feature in told["features"]}
    assert {kind: entry["change"] for kind, entry in kinds.items()} == {
        "replaced": "changed",
        "added": "added",
        "ended": "removed",
    }
    assert told["counts"]["refined"] == len(told["refined"]) == 7
    pair = kinds["replaced"]
    assert (pair["before"]["id"], pair["after"]["id"]) == (town.id("h1"), town.id("r1"))
    assert pair["distance_m"] == pytest.approx(0.94, abs=0.02)
    assert {entry["reason"] for entry in kinds.values()} == {"street"}
    assert told["reasons"] == {"street": 3}
    assert (told["release"], told["previous"]) == ("2026-05-21.1", "2025-06-11.1")


def test_of_a_first_release_nothing_is_told(published):
    told = json.loads((published.first / "changes.geojson").read_bytes())
    assert (told["features"], told["refined"], told["summary"], told["previous"]) == ([], [], [], None)
    assert set(told["counts"].values()) | set(told["by_change"].values()) == {0}
    assert told["intersections_added"] == []
    assert "bbox" not in told


def test_nothing_changes_between_a_layer_and_itself(town, compare):
    told = compare(town.in_2026(), town.in_2026())
    assert told.counts == {}
    assert not told.summary.differs
    assert told.lines == []


def test_the_same_in_another_spelling_is_no_change(town, compare, tmp_path):
    """Keys in another order, numbers written otherwise: other bytes, the same object."""
    now = [{**dict(reversed(properties(item).items())), "standing_probability": 0.970} for item in town.in_2025()]
    assert compare(town.in_2025(), now).counts == {}


def test_an_object_that_is_absent_altogether_was_removed(compare, stop):
    told = compare([stop], [])
    assert told.counts == {"removed": 1}
    assert told.lines == ["regulatory--stop--g1 at 63.43009, 10.39020 is no longer in the layer"]
    assert told.only()["after"] is None
    assert told.document["bbox"] == [told.document["features"][0]["geometry"]["coordinates"][i] for i in (0, 1, 0, 1)]


def test_an_object_that_ended_is_told_with_before_and_after_in_full(town, compare, stop):
    told = compare([stop], [ended(town, stop)]).only()
    assert (told["kind"], told["change"], told["status"]) == ("ended", "removed", "ended")
    assert (told["before"]["status"], told["after"]["status"]) == ("standing", "ended")
    assert told["after"]["ended_at"] == "2026-05-20T09:30:00Z"
    assert told["before"]["model"] == told["after"]["model"] == stop.model_key


def test_an_ended_object_that_is_seen_again_has_returned(town, compare, stop):
    back = replace(stop, last_seen_at=town.second + timedelta(days=1))
    assert compare([ended(town, stop)], [back]).counts == {"returned": 1}


@pytest.mark.parametrize(
    ("metres", "radius_m", "told"),
    [(0.4, 0.1, "refined"), (0.6, 0.1, "moved"), (2.0, 2.3, "refined"), (2.5, 2.3, "moved")],
)
def test_moving_begins_beyond_half_a_metre_and_beyond_the_stated_radius(town, compare, stop, metres, radius_m, told):
    lon, lat = town.at(10 + metres, 10)
    before = replace(stop, error_radius_m=radius_m)
    changes = compare([before], [replace(before, lon=lon, lat=lat, error_radius_m=0.01)])
    assert changes.counts == {told: 1}


def test_a_new_class_and_a_confirmation_are_changes(compare, stop):
    once = replace(stop, status="unconfirmed", class_name="regulatory--yield--g1")
    told = compare([once], [stop])
    assert told.counts == {"changed": 1}
    assert "class regulatory--yield--g1 -> regulatory--stop--g1, status unconfirmed -> standing" in told.lines[0]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [(355.0, 3.0, "refined"), (355.0, 6.0, "changed"), (None, 3.0, "changed"), (0.0, 180.0, "changed")],
)
def test_a_facing_that_is_merely_refined_is_no_change(compare, stop, before, after, told):
    assert compare([replace(stop, facing_deg=before)], [replace(stop, facing_deg=after)]).counts == {told: 1}


def test_an_object_given_to_another_intersection_is_changed(compare, stop):
    told = compare([stop], [stop], homes=("nvdb:1", "nvdb:2")).only()
    assert (told["kind"], told["intersection_id"], told["before"]["intersection_id"]) == ("changed", "nvdb:2", "nvdb:1")


def test_another_class_in_its_place_is_a_replacement_only_where_history_says_so(town, compare, stop):
    new = come(town, "y", "regulatory--yield--g1", 10.5, 10)
    assert compare([stop], [ended(town, stop), new]).counts == {"added": 1, "ended": 1}
    assert compare([stop], [replace(ended(town, stop), replaced_by=new.id), new]).counts == {"replaced": 1}


def test_a_replacement_is_told_when_the_old_sign_ends_a_release_later(town, compare, stop):
    new = come(town, "y", "regulatory--yield--g1", 10.5, 10)
    assert compare([stop], [stop, new]).counts == {"added": 1}
    assert compare([stop, new], [replace(ended(town, stop), replaced_by=new.id), new]).counts == {"replaced": 1}


def test_a_replacement_is_told_when_the_new_sign_is_found_a_release_later(town, compare, stop):
    """The line of the old one is the same in both: it has named its heir before."""
    new = come(town, "y", "regulatory--yield--g1", 10.5, 10)
    gone = replace(ended(town, stop), replaced_by=new.id)
    assert compare([gone], [gone, new]).counts == {"replaced": 1}


def test_an_old_replacement_is_not_told_again(town, compare, stop):
    both = [replace(ended(town, stop), replaced_by=town.id("y")), come(town, "y", "regulatory--yield--g1", 10.5, 10)]
    assert compare(both, both).counts == {}
    later = [both[0], replace(both[1], last_seen_at=town.second + timedelta(days=1))]
    assert compare(both, later).counts == {"refined": 1}


def test_each_object_takes_part_in_one_replacement(town, compare):
    """Three in a row, named so that their ids are in order."""
    first, second, third = (
        replace(town.sign(key, name, 10, 10), id=key)
        for key, name in (("1", "regulatory--no-entry--g1"), ("2", "regulatory--stop--g1"), ("3", "regulatory--yield--g1"))
    )
    once = replace(ended(town, first), replaced_by="2")
    then = replace(ended(town, second), first_seen_at=town.second, replaced_by="3")
    told = compare([first], [once, then, replace(third, first_seen_at=town.second)])
    assert told.counts == {"replaced": 1, "added": 1}
    assert told.of("replaced")[0]["after"]["id"] == "2"


def test_an_object_that_claims_to_replace_itself_or_one_that_is_not_there_just_ended(town, compare, stop):
    for heir in (stop.id, "nobody"):
        assert compare([stop], [replace(ended(town, stop), replaced_by=heir)]).counts == {"ended": 1}


def area(key, side=1.0, **about):
    ring = [[0, 0], [side, 0], [side, side], [0, 0]]
    return {
        "type": "Feature",
        "id": key,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"id": key, "object_count": 3, "name": "Ø", **about},
    }


def test_intersections_are_compared_without_their_objects(compare):
    before = [area("a"), area("b"), area("c"), area("d")]
    after = [area("a", object_count=9), area("b", side=2.0), area("d", name="Å"), area("e")]
    told = compare([], [], areas=(before, after)).document
    assert told["intersections_changed"] == ["b", "d"]
    assert (told["intersections_added"], told["intersections_removed"]) == (["e"], ["c"])


def why(town, history, *events):
    """What came to be believed after the first day of ``Town.versions``."""
    return Why(Beliefs(history, events), town.first + timedelta(hours=1))


@pytest.fixture
def tell(town, compare):
    """Of one object that was believed when the previous release was made and is another now, for this reason."""

    def run(before, after, reason):
        versions = town.versions(before, after, reasons=("street", reason))
        return compare([before], [after], why(town, {before.id: versions}))

    return run


@pytest.mark.parametrize("reason", ["street", "evidence", "model"])
def test_every_change_says_why(town, stop, tell, reason):
    told = tell(stop, ended(town, stop), reason)
    assert told.only()["reason"] == reason
    assert told.document["reasons"] == {reason: 1}
    assert (", by a new model" in told.lines[0]) == (reason == "model")


def test_a_reason_is_that_of_the_fact_and_not_of_what_else_was_believed_since(town, stop, compare):
    moved = replace(stop, lon=town.at(13, 10)[0])
    refined = replace(moved, last_seen_at=town.second)
    history = {stop.id: town.versions(stop, moved, refined, reasons=("street", "model", "evidence"))}
    told = compare([stop], [refined], why(town, history))
    assert told.only()["reason"] == "model"
    assert told.lines == ["regulatory--stop--g1 at 63.43009, 10.39026 moved 3.0 m by a new model"]


def test_what_was_believed_before_the_previous_release_is_no_reason(town, stop, compare):
    history = {stop.id: town.versions(stop, reasons=("model",))}
    told = compare([stop], [stop], why(town, history), homes=("nvdb:1", "nvdb:2"))
    assert told.only()["reason"] == "roads"


def test_two_files_alone_prove_a_reason_or_give_none(town, stop, compare):
    assert compare([stop], [replace(stop, model_key="new@2")]).only()["reason"] == "model"
    assert compare([stop], [stop], homes=("nvdb:1", "nvdb:2")).only()["reason"] == "roads"
    refined = replace(stop, last_seen_at=town.second)
    assert compare([stop], [refined], homes=("nvdb:1", "nvdb:2")).only()["reason"] is None
    told = compare([stop], [ended(town, stop)])
    assert told.only()["reason"] is None
    assert told.document["reasons"] == {"unknown": 1}


def test_a_class_that_another_model_reads_is_not_told_as_if_the_street_changed(stop, tell):
    told = tell(stop, replace(stop, class_name="regulatory--yield--g1", model_key="new@2"), "model")
    assert told.lines == [
        "regulatory--yield--g1 at 63.43009, 10.39020 changed by a new model: class regulatory--stop--g1 -> regulatory--yield--g1"
    ]


def test_an_object_that_only_a_new_model_finds_is_told_so(town, stop, compare):
    new = come(town, "y", "regulatory--yield--g1", 20, 10)
    history = {stop.id: town.versions(stop), new.id: town.versions(new, loaded=town.second, reasons=("model",))}
    told = compare([stop], [stop, new], why(town, history))
    assert told.lines == ["regulatory--yield--g1 at 63.43009, 10.39040 was found by a new model: first seen 2026-05-20"]


def test_objects_that_a_new_model_merely_saw_too_are_one_line(town, compare):
    old = town.in_2025()
    new = [replace(item, model_key="kryss-signs@2", method="known-size,depth") for item in old]
    history = {a.id: town.versions(a, b, reasons=("street", "model")) for a, b in zip(old, new, strict=True)}
    told = compare(old, new, why(town, history))
    assert told.counts == {"reworked": 9}
    assert told.document["reasons"] == {"model": 9}
    assert told.lines == ["9 objects were worked out anew by model kryss-signs@2; the street did not change"]


def test_a_way_of_measuring_is_no_change(stop, tell):
    told = tell(stop, replace(stop, method="depth"), "evidence")
    assert told.counts == {"refined": 1}
    assert told.document["refined"] == [stop.id]


def test_two_objects_that_turn_out_to_be_one_are_told_so(town, stop, compare):
    other = town.sign("t", "regulatory--stop--g1", 10.4, 10)
    event = Lineage(other.id, "merged_into", stop.id, "evidence", town.second)
    told = compare([stop, other], [stop], why(town, {stop.id: town.versions(stop)}, event))
    entry = told.only()
    assert (entry["kind"], entry["change"], entry["relation"]) == ("merged", "removed", "merged_into")
    assert (entry["id"], entry["before"]["id"], entry["after"]["id"]) == (other.id, other.id, stop.id)
    assert told.lines == [
        "regulatory--stop--g1 at 63.43009, 10.39021 and regulatory--stop--g1 at 63.43009, 10.39020 turned out to be one"
    ]


def test_mergers_are_followed_to_the_object_that_is_left(town, stop, compare):
    t, u = (town.sign(key, "regulatory--stop--g1", 10.4, 10) for key in ("t", "u"))
    events = [
        Lineage(t.id, "merged_into", u.id, "model", town.second),
        Lineage(u.id, "merged_into", stop.id, "model", town.second),
    ]
    told = compare([stop, t, u], [stop], why(town, {stop.id: town.versions(stop)}, *events))
    assert {(entry["before"]["id"], entry["after"]["id"]) for entry in told.of("merged")} == {(t.id, stop.id), (u.id, stop.id)}
    assert all(line.endswith("turned out to be one, by a new model") for line in told.lines)


def test_mergers_in_a_circle_end(town, stop, compare):
    events = [
        Lineage(stop.id, "merged_into", "t", "model", town.second),
        Lineage("t", "merged_into", stop.id, "model", town.second),
    ]
    told = compare([stop], [], why(town, {}, *events)).only()
    assert (told["kind"], told["relation"]) == ("removed", "merged_into")


def test_one_object_that_turns_out_to_be_two_is_told_so(town, stop, compare):
    part = town.sign("t", "regulatory--stop--g1", 13, 10)
    history = {stop.id: town.versions(stop), part.id: town.versions(part, loaded=town.second)}
    event = Lineage(part.id, "split_from", stop.id, "evidence", town.second)
    told = compare([stop], [stop, part], why(town, history, event))
    entry = told.only()
    assert (entry["kind"], entry["change"], entry["id"], entry["before"]["id"]) == ("split", "added", part.id, stop.id)
    assert "turned out to be two: the other is regulatory--stop--g1 at 63.43009, 10.39026" in told.lines[0]


@pytest.mark.parametrize(
    ("relation", "words"), [("lost_evidence", "its photos were removed"), ("unsupported", "its photos show nothing that stands")]
)
def test_an_object_that_lost_its_evidence_did_not_go(town, stop, compare, relation, words):
    event = Lineage(stop.id, relation, None, "evidence", town.second)
    told = compare([stop], [], why(town, {stop.id: town.versions(stop)}, event))
    assert (told.only()["kind"], told.only()["relation"]) == ("removed", relation)
    assert words in told.lines[0]
    assert " went " not in told.lines[0]


def test_a_photo_that_the_new_release_does_not_name_is_not_named_again(town, stop, compare):
    """It may be what had to go."""
    part = town.sign("t", "regulatory--stop--g1", 10.4, 10, evidence=(("103", 0),))
    gone = town.sign("u", "regulatory--stop--g1", 10.2, 10)
    stays = town.sign("v", "regulatory--stop--g1", 20, 10)
    reread = replace(stays, class_name="regulatory--yield--g1", evidence=(("103", 2),))
    events = [
        Lineage(stop.id, "merged_into", part.id, "evidence", town.second),
        Lineage(part.id, "split_from", gone.id, "evidence", town.second),
    ]
    told = compare([stop, gone, stays], [part, reread], why(town, {}, *events))
    assert told.counts == {"merged": 1, "removed": 1, "split": 1, "changed": 1}
    text = json.dumps(told.document)
    assert '"103"' in text
    assert '"101"' not in text and '"102"' not in text


def test_an_old_loss_says_nothing_of_what_is_removed_now(town, stop, compare):
    event = Lineage(stop.id, "lost_evidence", None, "evidence", town.first)
    told = compare([stop], [], why(town, {stop.id: town.versions(stop)}, event))
    assert (told.only()["relation"], told.only()["reason"]) == (None, "roads")
    assert told.lines == ["regulatory--stop--g1 at 63.43009, 10.39020 is no longer in the layer: no intersection holds it now"]


def test_reasons_and_fates_come_from_the_database_that_the_release_comes_from(town, store, tmp_path):
    """Each kind of change once, believed by PostGIS and published twice."""
    names = ("reread", "merged", "kept", "origin", "lost", "went", "unheld", "moved", "reworked")
    old = {name: town.sign(name, "regulatory--stop--g1", 10 * i, 0) for i, name in enumerate(names)}
    new = {name: item for name, item in old.items() if name not in ("merged", "lost")}
    new["reread"] = replace(old["reread"], class_name="regulatory--yield--g1", model_key="new@2")
    new["went"] = ended(town, old["went"])
    new["moved"] = replace(old["moved"], lat=old["moved"].lat + 0.0001)
    new["reworked"] = replace(old["reworked"], model_key="new@2")
    new["part"] = town.sign("part", "regulatory--stop--g1", 33, 0)
    new["found"] = town.sign("found", "regulatory--stop--g1", 200, 0, model_key="new@2")
    events = [
        Lineage(town.id("merged"), "merged_into", town.id("kept"), "evidence"),
        Lineage(town.id("part"), "split_from", town.id("origin"), "evidence"),
        Lineage(town.id("lost"), "lost_evidence", None, "evidence"),
    ]
    reasons = {
        "reread": "model",
        "went": "street",
        "moved": "evidence",
        "reworked": "model",
        "found": "model",
        "part": "evidence",
    }
    town.believe(store, list(old.values()))
    town.publish(store, tmp_path, town.spring)
    with store.transaction(town.municipality.code) as tx:
        tx.write_objects(
            town.municipality.code,
            list(new.values()),
            reasons={town.id(name): reason for name, reason in reasons.items()},
            lineage=events,
        )
        tx.write_assignments(town.municipality.code, {item.id: "nvdb:1" for name, item in new.items() if name != "unheld"})
    second = town.publish(store, tmp_path, town.next_spring)
    told = json.loads((Path(second.url) / "changes.geojson").read_bytes())
    found = {
        (entry["kind"], entry["id"]): (entry["reason"], entry["relation"])
        for entry in (feature["properties"] for feature in told["features"])
    }
    assert found == {
        ("added", town.id("found")): ("model", None),
        ("ended", town.id("went")): ("street", None),
        ("merged", town.id("merged")): ("evidence", "merged_into"),
        ("split", town.id("part")): ("evidence", "split_from"),
        ("removed", town.id("lost")): ("evidence", "lost_evidence"),
        ("removed", town.id("unheld")): ("roads", None),
        ("changed", town.id("reread")): ("model", None),
        ("moved", town.id("moved")): ("evidence", None),
        ("reworked", town.id("reworked")): ("model", None),
    }
    assert told["reasons"] == {"evidence": 4, "model": 3, "roads": 1, "street": 1}
    assert validate(second.url) == []


def test_ids_of_intersections_are_in_the_order_of_their_bytes(town, store, tmp_path):
    """A database may sort texts otherwise; a file in another order would be refused."""
    keys = ["nvdb:9", "nvdb:10", "osm:Ä", "osm:b", "osm:B", "osm:-1", 'area:"x"', "area:x y"]
    junctions = [town.junction(key, half_m=10, east_m=50 * i) for i, key in enumerate(keys)]
    town.believe(store, [], intersections=junctions[:-1], assignments={})
    town.publish(store, tmp_path, town.spring)
    town.believe(store, [], intersections=junctions[1:], assignments={})
    second = town.publish(store, tmp_path, town.next_spring)
    told = json.loads((Path(second.url) / "changes.geojson").read_bytes())
    assert (told["intersections_added"], told["intersections_removed"]) == (["area:x y"], ["nvdb:9"])
    assert told["intersections_changed"] == []


def test_the_database_is_asked_of_what_changed_only_and_a_few_at_a_time(town, tmp_path, compare):
    asked: list[int] = []

    class Counting(Beliefs):
        def versions(self, ids):
            asked.append(len(ids))
            return super().versions(ids)

    signs = [town.sign(str(i), "regulatory--stop--g1", 10, 10) for i in range(5_000)]
    moved = [replace(item, lon=town.at(20, 10)[0]) if i % 2 else replace(item, method="depth") for i, item in enumerate(signs)]
    told = compare(signs, [*moved[:-100], *signs[-100:]], Why(Counting({})))
    assert told.counts == {"moved": 2_450, "refined": 2_450}
    assert sum(asked) == 2_450
    assert max(asked) <= 2_000


def test_the_summary_has_a_thousand_lines_and_one_that_counts_the_rest(town, compare):
    signs = [town.sign(str(i), "regulatory--stop--g1", 10, 10) for i in range(1_300)]
    new = [replace(item, status="unconfirmed" if i % 2 else "standing") for i, item in enumerate(signs)]
    told = compare([], new)
    assert len(told.lines) == 1_001
    assert told.lines[-1] == "and 300 more"
    assert [line.endswith("(unconfirmed so far)") for line in told.lines[:1_000]] == [False] * 650 + [True] * 350


def test_shifts_are_of_what_stands_in_both(town, stop, compare):
    signs = [town.sign(str(i), "regulatory--stop--g1", 10, 10) for i in range(100)]
    gone = ended(town, town.sign("e", "regulatory--stop--g1", 10, 10))
    after = [replace(item, lon=town.at(10.3 if i < 60 else 14 if i < 90 else 50, 10)[0]) for i, item in enumerate(signs)]
    shift = compare([*signs, gone], [*after, replace(gone, lon=0.0), stop]).summary.shift
    assert shift is not None
    assert (shift.compared, shift.median_m, shift.p95_m) == (100, pytest.approx(0.3, abs=0.011), pytest.approx(40, abs=0.011))
    assert compare([], [stop]).summary.shift is None


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", 'a"b\\c', "x" * 10_000, "line\nbreak\x1b[31m\u2028", "Ærlig Ø \U0001f6d1"]
)
def test_hostile_words_stay_data_and_in_one_line(stop, compare, name):
    told = compare([stop], [replace(stop, class_name=name, model_key=name)])
    entry = told.only()
    assert (entry["class"], entry["after"]["model"]) == (name, name)
    assert entry["text"].isprintable()
    assert len(entry["text"]) < 400
    assert compare([replace(stop, id=name)], []).only()["id"] == name


def test_memory_does_not_grow_with_what_changed(town, compare):
    """20 thousand objects, all of them moved: some 40 MB of changes."""
    item = properties(town.sign("s", "regulatory--stop--g1", 10, 10))
    rng = random.Random(3)
    signs = [{**item, "id": f"{rng.getrandbits(128):032x}", "class": "c" * 500} for _ in range(20_000)]
    moved = [{**one, "lat": one["lat"] + 0.01} for one in signs]
    compare(signs[:100], moved[:100])
    started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert compare(signs, moved).counts == {"moved": 20_000}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - started < 300_000


# A model of the rules, written from their description, in memory: what it tells is what is told.

NAMES = [f"{i:02d}" for i in range(9)] + ["Ø", 'q"', "b\\"]


def made(key: str, draw: dict[str, Any]) -> dict[str, Any]:
    status = draw["status"]
    return {
        "id": key,
        "class": draw["class"],
        "object_type": "traffic sign",
        "intersection_id": draw["home"],
        "status": status,
        "standing_probability": 0.5,
        "first_seen_at": "2025-01-01T00:00:00Z",
        "last_seen_at": draw["seen"],
        "ended_at": "2026-01-01T00:00:00Z" if status == "ended" else None,
        "replaced_by": draw["heir"] if status == "ended" else None,
        "error_radius_m": draw["radius"],
        "facing_deg": draw["facing"],
        "height_m": None,
        "assumed_size_m": 0.6,
        "image_key": draw["photo"],
        "image_url": None,
        "model": draw["model"],
        "lon": 10.0,
        "lat": draw["lat"],
    }


OBJECT = st.fixed_dictionaries(
    {
        "class": st.sampled_from(["stop", "yield"]),
        "home": st.sampled_from(["nvdb:1", "nvdb:2"]),
        "status": st.sampled_from(["standing", "unconfirmed", "ended"]),
        "seen": st.sampled_from(["2025-02-01T00:00:00Z", "2025-03-01T00:00:00Z"]),
        "heir": st.one_of(st.none(), st.sampled_from([*NAMES, "nobody"])),
        "radius": st.sampled_from([0.1, 2.0]),
        "facing": st.sampled_from([None, 0.0, 5.0, 200.0]),
        "photo": st.sampled_from([None, "101", "102"]),
        "model": st.sampled_from(["a@1", "b@1"]),
        "lat": st.sampled_from([63.0, 63.000005, 63.00001, 63.001]),
    }
)
RELEASE = st.dictionaries(st.sampled_from(NAMES), OBJECT, max_size=len(NAMES)).map(
    lambda drawn: {key: made(key, value) for key, value in drawn.items()}
)


@st.composite
def two_releases(draw):
    """The second one shares much with the first."""
    before, other = draw(RELEASE), draw(RELEASE)
    kept = {key: item for key, item in before.items() if draw(st.booleans())}
    return before, {**other, **kept}


def naive(before: dict[str, Any], after: dict[str, Any]) -> tuple[dict[str, tuple[str, str | None]], set[str]]:
    """Id -> kind and the id of the other in a pair; and the ids that are merely refined."""
    told: dict[str, tuple[str, str | None]] = {}
    refined, taken = set(), set()
    went = {key for key in before.keys() & after.keys() if before[key]["status"] != "ended" == after[key]["status"]}
    for key in sorted(after, key=str.encode):
        heir = after[key]["replaced_by"]
        fits = heir in after and heir != key and (key in went or heir not in before)
        if fits and not {key, heir} & taken:
            taken |= {key, heir}
            told[key] = ("replaced", heir)
    for key in (before.keys() | after.keys()) - taken:
        was, now = before.get(key), after.get(key)
        if was == now:
            continue
        if was is None or now is None:
            told[key] = ("added" if was is None else "removed", None)
        elif (was["status"] == "ended") != (now["status"] == "ended"):
            told[key] = ("ended" if now["status"] == "ended" else "returned", None)
        else:
            turn = {was["facing_deg"], now["facing_deg"]}
            turned = len(turn) == 2 and turn != {0.0, 5.0}
            metres = abs(was["lat"] - now["lat"]) * 111_195
            if turned or any(was[name] != now[name] for name in ("class", "status", "intersection_id")):
                told[key] = ("changed", None)
            elif metres > 0.5 and metres > was["error_radius_m"]:
                told[key] = ("moved", None)
            elif was["model"] != now["model"]:
                told[key] = ("reworked", None)
            else:
                refined.add(key)
    return told, refined


common = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@common
@given(two_releases())
def test_what_is_told_is_what_the_rules_say(compare, releases):
    before, after = releases
    told = compare(before.values(), after.values())
    features = [item["properties"] for item in told.document["features"]]
    found = {entry["id"]: (entry["kind"], entry["after"]["id"] if entry["kind"] == "replaced" else None) for entry in features}
    assert (found, set(told.document["refined"])) == naive(before, after)
    assert [(KINDS.index(entry["kind"]), entry["id"].encode()) for entry in features] == sorted(
        (KINDS.index(entry["kind"]), entry["id"].encode()) for entry in features
    )
    assert told.document["refined"] == sorted(told.document["refined"], key=str.encode)


@common
@given(two_releases())
def test_every_id_that_differs_is_told_once_and_the_changes_lead_from_one_release_to_the_other(compare, releases):
    before, after = releases
    told = compare(before.values(), after.values()).document
    subjects: list[str] = list(told["refined"])
    ids = set(before)
    for entry in (item["properties"] for item in told["features"]):
        subjects.append(entry["id"])
        assert entry["change"] == CHANGE_OF[entry["kind"]]
        if entry["kind"] == "replaced":
            subjects.append(entry["after"]["id"])
            ids |= {entry["id"], entry["after"]["id"]}
        elif entry["kind"] == "removed":
            ids.remove(entry["id"])
        elif entry["kind"] == "added":
            assert entry["id"] not in ids
            ids.add(entry["id"])
        if entry["after"] is not None:
            now = after[entry["after"]["id"]]
            assert all(now[name] == value for name, value in entry["after"].items())
    assert ids == set(after)
    assert len(subjects) == len(set(subjects))
    differing = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert differing <= set(subjects)
    assert sum(told["by_change"].values()) == sum(told["reasons"].values()) == len(told["features"])
    assert told["counts"]["refined"] == len(told["refined"])


@common
@given(two_releases())
def test_the_way_back_removes_what_the_way_there_added(compare, releases):
    before, after = ({key: {**item, "replaced_by": None} for key, item in one.items()} for one in releases)
    there, back = compare(before.values(), after.values()), compare(after.values(), before.values())
    for one, other in (("added", "removed"), ("removed", "added"), ("ended", "returned"), ("changed", "changed")):
        assert [entry["id"] for entry in there.of(one)] == [entry["id"] for entry in back.of(other)]
    assert compare(after.values(), after.values()).counts == {}


@common
@given(two_releases())
def test_no_photo_is_named_that_the_new_release_does_not_name_for_that_object(compare, releases):
    before, after = releases
    for item in compare(before.values(), after.values()).document["features"]:
        was = item["properties"]["before"]
        if was and was["image_key"] is not None:
            assert after[was["id"]]["image_key"] == was["image_key"]


def test_a_file_that_is_cut_off_is_refused_and_nothing_is_left_behind(town, tmp_path):
    objects = write_objects(tmp_path / "objects.geojson", [properties(item) for item in town.in_2025()])
    cut = tmp_path / "cut.geojson"
    cut.write_bytes(objects.read_bytes()[:-60])
    with pytest.raises(LayerError, match=r"cut\.geojson, line \d+: .*cut off"):
        write_changes(tmp_path / "changes.geojson", objects, cut, None, None, HEAD)
    assert not Path(tmp_path / "changes.geojson").exists()
    assert not list(tmp_path.glob(".changes-*"))
