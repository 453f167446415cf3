"""Whose look is believed of a photo, and what becomes of everything that hangs on a photo that had to go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kryss.model import Lineage, PhotoResult

MODELS = ("signs@1", "signs@2", "signs@3")


def look(town: Any, street: Any, model_key: str, *image_ids: str) -> None:
    """A model finds in these photos what the first found."""
    detections = [replace(d, model_key=model_key) for d in street.detections if d.image_id in image_ids]
    sightings = [replace(s, model_key=model_key) for s in street.sightings if s.image_id in image_ids]
    with town.transaction("town") as tx:
        tx.load(
            model_key=model_key,
            images=street.images,
            results=[PhotoResult(image_id, "ok", None, 1) for image_id in image_ids],
            detections=detections,
            sightings=sightings,
        )


def believed(town: Any, prefer: str | None) -> dict[str, list[str]]:
    with town.snapshot() as reader:
        looks = reader.effective_looks("town", prefer)
        seen = reader.effective_sightings("town", prefer)
    by_model = {key: [image.id for image in images] for key, images in looks.items()}
    assert [(s.captured_at, s.image_id, s.ordinal) for s in seen] == sorted((s.captured_at, s.image_id, s.ordinal) for s in seen)
    assert all(s.image_id in by_model[s.model_key] for s in seen)
    return by_model


def test_of_two_looks_at_a_photo_the_model_of_the_run_is_believed_then_the_one_adopted_last(town, street):
    look(town, street, "signs@2", "100", "101", "99")
    look(town, street, "signs@1", "100")
    assert believed(town, None) == {"signs@1": ["100"], "signs@2": ["101", "99"]}
    assert believed(town, "signs@2") == {"signs@2": ["100", "101", "99"]}
    assert believed(town, "signs@3") == believed(town, None)


def test_a_reprocess_that_is_half_done_loses_no_photo(town, street):
    look(town, street, "signs@1", "100", "101", "99", "102")
    look(town, street, "signs@2", "99")
    half = believed(town, "signs@2")
    assert half == {"signs@1": ["100", "101", "102"], "signs@2": ["99"]}
    assert believed(town, "signs@1") == {"signs@1": ["100", "101", "99", "102"]}


def test_a_model_that_is_taken_back_is_the_one_adopted_last(town, street):
    """A third one, half done, must not bring back the second where the first was believed."""
    look(town, street, "signs@1", "100", "101")
    look(town, street, "signs@2", "100", "101", "99")
    look(town, street, "signs@1", "102")
    assert believed(town, None) == {"signs@1": ["100", "101", "102"], "signs@2": ["99"]}
    look(town, street, "signs@3", "101")
    assert believed(town, None) == {"signs@1": ["100", "102"], "signs@2": ["99"], "signs@3": ["101"]}


def test_a_failed_look_is_no_look(town, street):
    look(town, street, "signs@1", "100")
    with town.transaction("town") as tx:
        tx.load(model_key="signs@2", results=[PhotoResult("100", "failed", "time-out")])
    assert believed(town, "signs@2") == {"signs@1": ["100"]}


def test_photos_of_before_models_were_remembered_keep_their_model(town, street, sql):
    look(town, street, "signs@1", "100")
    town.rollback_to(3)
    town.migrate()
    assert believed(town, None) == {"signs@1": ["100"]}


@pytest.fixture
def removed(town, street, make):
    """A town whose photo 99 was taken down after two nights of beliefs about it."""
    with town.transaction("town") as tx:
        tx.load(**street.stated())
        tx.write_objects("town", [make.object(1), make.ended(2)])
    with town.transaction("town") as tx:
        tx.write_objects("town", [make.object(1, lon=10.5), make.ended(2)])
    with town.transaction("town") as tx:
        counts = tx.remove_images(["99", "never seen"], "takedown")
    return town, counts


def test_a_removed_photo_leaves_every_table_and_every_belief(removed, make, sql):
    town, counts = removed
    assert counts == {
        "sighting": 1,
        "detection": 1,
        "rejected_pose": 0,
        "photo_result": 1,
        "rejected_entity": 0,
        "image": 1,
        "object_version": 3,
        "removed_photo": 2,
    }
    with town.snapshot() as reader:
        assert [image.id for image in reader.images("town")] == ["100", "101", "102"]
        versions = [version.object for found in reader.object_history("town").values() for version in found]
        assert {version.evidence for version in versions} == {(("100", 0),)}
        assert {version.misses for version in versions} == {(), ("102",)}
        assert reader.removed_images("town") == {"99": "takedown", "never seen": "takedown"}
    for (table,) in sql("SELECT relname FROM pg_class WHERE relnamespace = 'kryss'::regnamespace AND relkind = 'r'"):
        if table != "removed_photo":
            assert sql(f"SELECT count(*) FROM kryss.{table} t WHERE t::text ~ '\\y99\\y'")[0][0] == 0, table


def test_a_removed_photo_is_not_loaded_again(removed, street, make):
    town, _ = removed
    with town.transaction("town") as tx:
        written = tx.load(**street.stated())
        assert set(written.values()) == {0}
        assert [image.id for image in tx.looks("town", make.MODEL)] == ["100"]


def test_removing_twice_writes_nothing(removed, sql):
    town, _ = removed
    before = sql("SELECT * FROM kryss.removed_photo ORDER BY image_id")
    with town.transaction("town") as tx:
        assert set(tx.remove_images(["99"], "deleted").values()) == {0}
    assert sql("SELECT * FROM kryss.removed_photo ORDER BY image_id") == before


def test_a_removal_is_of_one_municipality(town, street, make):
    with town.transaction("other") as tx:
        tx.upsert_municipality(make.municipality("other"))
        tx.load(**street.stated())
    with town.transaction("town") as tx:
        tx.remove_images(["99"], "deleted")
    with town.snapshot() as reader:
        assert len(reader.images("other")) == 4
        assert reader.removed_images("other") == {}


def test_lineage_is_told_once_and_can_be_read(town, make):
    merged = Lineage(make.object_id(2), "merged_into", make.object_id(1))
    lost = Lineage(make.object_id(3), "lost_evidence", reason="evidence")
    with town.transaction("town") as tx:
        tx.write_objects("town", [make.object(1), make.object(2), make.object(3)])
    for _ in range(2):
        with town.transaction("town") as tx:
            tx.write_objects("town", [make.object(1)], lineage=[lost, merged])
            told = tx.lineage("town")
    assert {replace(event, known_at=None) for event in told} == {merged, lost}
    assert len(told) == 2
    with town.transaction("town") as tx:
        assert tx.object_ids("town") == {make.object_id(number) for number in (1, 2, 3)}
        tx.write_objects("town", [make.object(1), make.object(2)])
    with town.transaction("town") as tx:
        tx.write_objects("town", [make.object(1)], lineage=[merged])
        assert [event.object_id for event in tx.lineage("town")].count(make.object_id(2)) == 2


def test_lineage_of_the_last_word_in_a_transaction_stays(town, make):
    with town.transaction("town") as tx:
        tx.write_objects("town", [make.object(1), make.object(2)])
    with town.transaction("town") as tx:
        tx.write_objects("town", [make.object(1)], lineage=[Lineage(make.object_id(2), "unsupported")])
        tx.write_objects("town", [make.object(1), make.object(2)])
        assert tx.lineage("town") == []
