"""Photos that have to go: their traces vanish everywhere, and nothing is said to have gone from the street."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from kryss.config import ConfigError
from kryss.demo.streets import Streets
from kryss.imagery import PhotoStore
from kryss.model import Image, Intersection
from kryss.pipeline import report, stages
from kryss.pipeline.removal import REMOVALS

SQUARE = ((10.3, 63.3), (10.5, 63.3), (10.5, 63.5), (10.3, 63.5), (10.3, 63.3))


def of_drive(streets: Streets, drive: str) -> list[Image]:
    return [image for image in streets.images if image.sequence_id == drive]


def take_down(place: Any, images: list[Image], name: str = "takedown") -> dict[str, Any]:
    """The outcomes of takedown, place and merge."""
    run = replace(place.run, run_id=name, kind="takedown")
    outcome = stages.takedown(run, [image.id for image in images], [], "the owner asked")
    return {**outcome, **stages.place(run, outcome["key"]), **stages.merge(run, outcome["key"])}


def naming_files(place: Any, ids: set[str]) -> list[str]:
    """Stage files that hold one of these ids, but for the list of removals."""
    state, found = place.run.state, []
    for name in state.below("work"):
        data = state.read_bytes(name)
        text = (gzip.decompress(data) if name.endswith(".gz") else data).decode()
        if not name.endswith(REMOVALS) and any(f'"{one}"' in text for one in ids):
            found.append(name)
    return found


def naming_rows(place: Any, ids: set[str]) -> dict[str, int]:
    """By table, how many rows hold one of these ids, but for the list of removed photos."""
    connection = psycopg2.connect(place.run.settings.database_url.get_secret_value())
    found = {}
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'kryss' AND table_type = 'BASE TABLE'"
        )
        for (table,) in sorted(cursor.fetchall()):
            cursor.execute(f"SELECT count(*) FROM kryss.{table} t WHERE t::text ~ %s", (rf"\y({'|'.join(sorted(ids))})\y",))
            if (number := cursor.fetchone()[0]) and table != "removed_photo":
                found[table] = number
    connection.close()
    return found


@pytest.fixture
def without_a_drive(install: Callable[[str], Any], streets: Streets) -> Any:
    """An installation that never had the photos of one drive."""
    place = install("without")
    place.night("night", [image for image in streets.images if image.sequence_id != "drive-0001"])
    return place


def test_what_is_believed_after_a_removal_is_what_is_believed_without_the_photos(
    at_once: Any, without_a_drive: Any, streets: Streets
) -> None:
    going = of_drive(streets, "drive-0001")
    before = {one.id: one for one in at_once.objects()}
    outcome = take_down(at_once, going)
    assert at_once.sightings() == without_a_drive.sightings()
    assert at_once.believed() == without_a_drive.believed()
    assert outcome["removed"] == {"takedown": len(going)}
    assert set(outcome["reasons"]) == {"evidence"}
    assert outcome["objects"]["ended"] == 0
    kept = {one.id for one in at_once.objects()}
    only_there = {one.id for one in before.values() if {image_id for image_id, _ in one.evidence} <= {i.id for i in going}}
    assert only_there
    with at_once.store.snapshot() as known:
        lost = {event.object_id for event in known.lineage(at_once.run.code) if event.relation == "lost_evidence"}
    assert only_there - kept == lost == {one for one in lost if one not in kept}


def test_no_row_no_stage_file_and_no_stored_photo_names_a_removed_one(at_once: Any, streets: Streets) -> None:
    going = of_drive(streets, "drive-0001")
    ids = {image.id for image in going}
    photos = PhotoStore(at_once.run.settings.photos_url)
    for image in streets.images:
        photos.put(image.id, b"photo")
    assert naming_files(at_once, ids)
    assert naming_rows(at_once, ids).keys() >= {"image", "detection", "sighting", "photo_result", "object_version"}
    take_down(at_once, going)
    assert naming_files(at_once, ids) == []
    assert naming_rows(at_once, ids) == {}
    assert photos.ids() == sorted(image.id for image in streets.images if image.id not in ids)


def test_a_removal_that_is_done_again_writes_no_row(at_once: Any, streets: Streets) -> None:
    going = of_drive(streets, "drive-0001")
    first = take_down(at_once, going)
    believed = at_once.objects()
    again = take_down(at_once, going, "again")
    assert again["key"] == first["key"]
    assert set(again["rows"].values()) == {0}
    assert at_once.objects() == believed


def test_a_removed_photo_is_never_loaded_again(at_once: Any, without_a_drive: Any, streets: Streets) -> None:
    going = of_drive(streets, "drive-0001")
    take_down(at_once, going)
    at_once.night("again", streets.images)
    assert at_once.believed() == without_a_drive.believed()
    ids = {image.id for image in going}
    assert naming_rows(at_once, ids) == {}
    assert naming_files(at_once, ids) == [], "the run that carried them has left nothing either"


def test_a_run_that_was_under_way_does_not_bring_a_removed_photo_back(
    install: Callable[[str], Any], without_a_drive: Any, streets: Streets
) -> None:
    place = install("under-way")
    place.night("first", [image for image in streets.images if image.sequence_id != "drive-0003"])
    going = of_drive(streets, "drive-0001")
    run, key = place.looked_at("second", of_drive(streets, "drive-0003"))
    stages.place(run, key)
    take_down(place, going)
    stages.merge(run, key)
    assert place.sightings() == without_a_drive.sightings()
    assert place.believed() == without_a_drive.believed()


def test_two_runs_at_once_are_placed_as_one_after_the_other(
    install: Callable[[str], Any], at_once: Any, streets: Streets
) -> None:
    """The second merges between place and merge of the first, with photos of the same drives."""
    place = install("two-runs")
    run, key = place.looked_at("first", streets.images[::2])
    stages.place(run, key)
    place.night("second", streets.images[1::2])
    stages.merge(run, key)
    assert place.sightings() == at_once.sightings()
    assert place.believed() == at_once.believed()


def test_deleted_photos_and_new_ones_come_in_one_night(
    install: Callable[[str], Any], without_a_drive: Any, streets: Streets
) -> None:
    place = install("one-night")
    place.night("first", [image for image in streets.images if image.sequence_id != "drive-0003"])
    deleted = {image.id: "deleted" for image in of_drive(streets, "drive-0001")}
    outcome = place.night("second", of_drive(streets, "drive-0003"), removals=deleted)
    assert outcome["removed"] == {"deleted": len(deleted)}
    assert place.believed() == without_a_drive.believed()


def test_a_sequence_is_taken_down_by_its_known_photos_and_again_by_the_same_key(at_once: Any, streets: Streets) -> None:
    run = replace(at_once.run, kind="takedown")
    going = {image.id for image in of_drive(streets, "drive-0001")}
    outcome = stages.takedown(run, [], ["drive-0001", "elsewhere"], "asked")
    assert (outcome["asked"], outcome["unknown_sequences"]) == (len(going), ["elsewhere"])
    stages.place(run, outcome["key"])
    stages.merge(run, outcome["key"])
    again = stages.takedown(run, [], ["drive-0001", "elsewhere"], "asked")
    assert again["key"] == outcome["key"]
    assert again["asked"] == len(going), "the photos are unknown by now, the request is not forgotten"
    with at_once.store.snapshot() as known:
        assert known.removed_images(run.code).keys() == going


def test_what_cannot_be_taken_down_is_said(at_once: Any) -> None:
    run = replace(at_once.run, kind="takedown")
    with pytest.raises(ConfigError, match="no known photo is of sequence elsewhere"):
        stages.takedown(run, [], ["elsewhere"], "asked")
    with pytest.raises(ConfigError, match=r"'photo\.jpg' is no id"):
        stages.takedown(run, ["photo.jpg"], [], "asked")


def test_an_operator_is_told_which_releases_name_the_photos(at_once: Any, streets: Streets) -> None:
    """Two releases of one object: its evidence is two photos, then a third one, too, of which it shows the last."""
    run = replace(at_once.run, kind="takedown")
    with at_once.store.transaction(run.code) as tx:
        tx.write_intersections(run.code, [Intersection("nvdb:1", "nvdb", 10.4, 63.4, 50.0, SQUARE)])
    first, second, third = sorted(image.id for image in streets.images[:3])
    thing, others = at_once.objects()[0], at_once.objects()[1:]
    for day, named in ((1, [first, second]), (2, [first, third])):
        thing = replace(thing, evidence=tuple((one, 0) for one in named), misses=())
        with at_once.store.transaction(run.code) as tx:
            tx.write_objects(run.code, [thing, *others], reasons={})
            tx.write_assignments(run.code, {thing.id: "nvdb:1"})
        stages.export(replace(run, release_date=date(2026, 5, day)))

    def named_in(*ids: str) -> dict[str, list[str]]:
        told = stages.takedown(run, ids, [], "the owner asked")["named_in"]
        return {release: [file for file in files if not file.endswith(".gz")] for release, files in told.items()}

    assert named_in(first) == {f"2026-05-0{day}.1": ["intersections.geojson"] for day in (1, 2)}
    assert named_in(second)["2026-05-01.1"][0] == named_in(third)["2026-05-02.1"][0] == "intersections.geojson"
    assert (named_in(second).keys(), named_in(third).keys()) == ({"2026-05-01.1"}, {"2026-05-02.1"})
    assert named_in("999999999999") == {}
    named_in(first)
    summary = report.collect(run)
    assert summary["missing"] == ["place", "merge", "assign", "check"]
    assert "release 2026-05-01.1 names them in intersections.geojson" in report.table(summary)
    assert "the owner asked" in report.table(summary)


def test_stage_files_without_the_photos_stay_as_they_are(at_once: Any, streets: Streets) -> None:
    folder = Path(at_once.run.settings.state_url.removeprefix("file://")) / "work"
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    take_down(at_once, [replace(streets.images[0], id="999")])
    assert {path: path.read_bytes() for path in before} == before
    assert json.loads((folder / "town/night/shards.json").read_text())["shards"]
