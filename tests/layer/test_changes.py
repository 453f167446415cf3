"""Two releases differ in what is told, each object once, under what matters most."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from kryss.layer.__main__ import main
from kryss.layer.changes import diff
from kryss.layer.geojson import build, dump_layer


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


@pytest.mark.parametrize(
    ("why", "successor"),
    [
        ("the same class", {"class_name": "regulatory--stop--g1"}),
        ("another type", {"class_name": "object--traffic-light--general-upright"}),
        ("too far away", {"east_m": 14.0}),
        ("facing the other way", {"facing_deg": 180.0}),
        ("seen beside the old one", {"first_seen_at": "early"}),
    ],
)
def test_what_is_no_replacement(town, stop, why, successor):
    stop = replace(stop, facing_deg=0.0)
    settings = {"class_name": "regulatory--yield--g1", "east_m": 10.5, "north_m": 10.0, **successor}
    if settings.get("first_seen_at") == "early":
        settings["first_seen_at"] = town.first
    new = replace(come(town, "y", settings.pop("class_name"), settings.pop("east_m"), settings.pop("north_m")), **settings)
    assert counted(diff(layer(town, [stop]), layer(town, [ended(town, stop), new]))) == {"added": 1, "ended": 1}, why


def test_a_replacement_is_recognised_when_the_old_sign_ends_a_release_later(town, stop):
    new = come(town, "y", "regulatory--yield--g1", 10.5, 10)
    both = layer(town, [stop, new])
    assert counted(diff(layer(town, [stop]), both)) == {"added": 1}
    assert counted(diff(both, layer(town, [ended(town, stop), new]))) == {"replaced": 1}


def test_an_old_replacement_is_not_told_again(town, stop):
    new = come(town, "y", "regulatory--yield--g1", 10.5, 10)
    assert counted(diff(layer(town, [ended(town, stop), new]), layer(town, [ended(town, stop), new]))) == {}


def test_each_object_takes_part_in_one_replacement_the_nearest(town, stop):
    near, far = come(town, "y", "regulatory--yield--g1", 10.5, 10), come(town, "z", "regulatory--no-entry--g1", 12, 10)
    changes = diff(layer(town, [stop]), layer(town, [ended(town, stop), near, far]))
    assert counted(changes) == {"replaced": 1, "added": 1}
    assert changes.replaced[0]["after"]["id"] == "y"


def test_a_larger_area_is_told_of_the_intersection(town):
    changes = diff(layer(town, []), layer(town, [], junctions=[town.junction(half_m=120)]))
    assert changes.intersections_changed == ["nvdb:1"]


def test_the_command_tells_the_changes(town, tmp_path, capsys):
    for name, objects in (("a", town.in_2025()), ("b", town.in_2026())):
        (tmp_path / name).mkdir()
        (tmp_path / name / "intersections.geojson").write_bytes(dump_layer(layer(town, objects)))
    assert main(["diff", str(tmp_path / "a"), str(tmp_path / "b" / "intersections.geojson")]) == 0
    assert "regulatory--stop--g1 at 63.42995, 10.38956 went between 2025-06-10 and 2026-05-20\n" in capsys.readouterr().out
    assert main(["diff", "--json", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["replaced"] == 1
    assert main(["diff", str(tmp_path / "a"), str(tmp_path / "missing")]) == 2
