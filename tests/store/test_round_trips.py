"""What goes into the store comes out, to the bit and the microsecond, and an equal load writes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from kryss.model import PhotoResult
from kryss.store import UnknownMunicipality, stored_intersection, stored_object
from kryss.store.copying import BATCH_ROWS

SET_TABLES = ("municipality", "image", "rejected_entity", "photo_result", "rejected_pose", "detection", "sighting")


@pytest.fixture
def row_versions(sql):
    """Of every row, the transactions that wrote and last locked it."""

    def read(*tables: str) -> dict[str, list[tuple[str, str, str]]]:
        found = {name: sql(f"SELECT ctid::text, xmin::text, xmax::text FROM kryss.{name} ORDER BY 1") for name in tables}
        return {name: [tuple(row) for row in rows] for name, rows in found.items()}

    return read


def test_every_noun_of_a_run_comes_back_as_it_went_in(town, street, make):
    with town.transaction("town") as tx:
        tx.load(**street.stated())
    with town.snapshot() as reader:
        assert reader.images("town") == street.images
        assert reader.photo_results("town", make.MODEL) == street.results
        assert reader.rejected_poses("town") == street.rejected_poses
        assert reader.detections("town", make.MODEL) == street.detections
        assert reader.detections("town", make.MODEL, {"99", "101"}) == street.detections[2:]
        assert reader.detections("town", make.MODEL, set()) == []
        assert reader.sightings("town", make.MODEL) == street.sightings
        assert reader.rejected_entities("town") == street.rejected_entities
        assert [image.id for image in reader.looks("town", make.MODEL)] == ["100", "99"]
    assert town.image_states("town", make.MODEL) == {
        "100": ("ok", 1),
        "101": ("failed", 1),
        "102": ("gone", 1),
        "99": ("ok", 1),
    }


def test_a_boundary_comes_back_as_a_multipolygon(town, make):
    with town.snapshot() as reader:
        found = reader.municipality("town")
    ring = tuple(map(tuple, make.municipality().boundary["coordinates"][0]))
    assert found.name == make.municipality().name
    assert found.boundary == {"type": "MultiPolygon", "coordinates": [(ring,)]}


def test_numbers_of_numpy_are_stored_as_numbers(town, make):
    image = replace(make.images()[0], camera_parameters=(np.float64(0.1), np.float32(0.5), 0), width=np.int64(4000))
    with town.transaction("town") as tx:
        tx.load(images=[image])
        assert tx.images("town")[0].camera_parameters == (0.1, 0.5, 0.0)


def test_beliefs_come_back_as_stored(town, make):
    once = make.object(3, status="unconfirmed", facing_deg=None, height_m=None, height_sigma_m=None)
    replaced = replace(make.ended(2), replaced_by=make.object_id(1))
    objects = sorted([make.object(1), replaced, once, make.came_back(4)], key=lambda one: one.id)
    with town.transaction("town") as tx:
        assert tx.write_objects("town", objects).new == 4
        tx.write_intersections("town", make.intersections())
        tx.write_assignments("town", {make.object_id(1): "osm:1"})
        assert tx.record_release(make.release())
        assert tx.objects("town") == objects == [stored_object(noun) for noun in objects]
        assert tx.intersections("town") == sorted(make.intersections(), key=lambda intersection: intersection.id)
        assert [stored_intersection(noun) for noun in make.intersections()] == make.intersections()
        assert tx.assignments("town") == {make.object_id(1): "osm:1"}
        assert tx.releases("town") == [make.release()]


def test_a_reach_that_is_the_area_is_kept_once(town, make):
    same = replace(make.intersections()[0], reach=make.intersections()[0].area)
    with town.transaction("town") as tx:
        assert tx.write_intersections("town", [same]).new == 1
        assert tx.intersections("town") == [stored_intersection(same)] == [make.intersections()[0]]
    with town.transaction("town") as tx:
        assert tx.write_intersections("town", [same]).unchanged == 1


def test_the_same_load_again_writes_no_row(town, street, make, row_versions):
    with town.transaction("town") as tx:
        first = tx.load(**street.stated())
    assert first == {
        "image": 4,
        "rejected_entity": 1,
        "photo_result": 4,
        "detection": 3,
        "sighting": 3,
        "rejected_pose": 1,
    }
    before = row_versions(*SET_TABLES)
    with town.transaction("town") as tx:
        assert tx.upsert_municipality(make.municipality()) == 0
        assert set(tx.load(**street.stated()).values()) == {0}
    assert row_versions(*SET_TABLES) == before


def test_only_what_differs_is_written(town, street, make):
    with town.transaction("town") as tx:
        tx.load(**street.stated())
    street.images[1] = replace(street.images[1], sfm=street.images[0].sfm)
    street.detections[2] = replace(street.detections[2], score=0.8)
    with town.transaction("town") as tx:
        written = tx.load(**street.stated())
        assert tx.images("town") == street.images
        assert tx.detections("town", make.MODEL) == street.detections
    assert written == {"image": 1, "rejected_entity": 0, "photo_result": 0, "detection": 1, "sighting": 0, "rejected_pose": 0}


def test_detections_of_an_image_are_replaced_as_a_set_and_take_their_sightings_along(town, street, make):
    with town.transaction("town") as tx:
        tx.load(**street.stated())
    with town.transaction("town") as tx:
        tx.load(model_key=make.MODEL, results=[PhotoResult("100", "ok", None, 1)], detections=[make.detections()[0]])
        assert [(d.image_id, d.ordinal) for d in tx.detections("town", make.MODEL)] == [("100", 0), ("99", 0)]
        assert [(s.image_id, s.ordinal) for s in tx.sightings("town", make.MODEL)] == [("100", 0), ("99", 0)]


def test_an_image_that_lost_its_place_loses_its_sightings_only(town, street, make):
    with town.transaction("town") as tx:
        tx.load(**street.stated())
        tx.load(model_key=make.MODEL, sightings=make.sightings()[:2], rejected_poses=[], placed=["99", "100", "101", "102"])
        assert tx.sightings("town", make.MODEL) == make.sightings()[:2]
        assert tx.detections("town", make.MODEL) == make.detections()
        assert tx.rejected_poses("town") == []


def test_another_model_has_its_own_results(town, street, make):
    other = [replace(found, model_key="signs@2") for found in make.detections()[:1]]
    with town.transaction("town") as tx:
        tx.load(**street.stated())
        tx.load(model_key="signs@2", results=[PhotoResult("100", "ok", None, 1)], detections=other)
        assert tx.detections("town", make.MODEL) == make.detections()
        assert tx.detections("town", "signs@2") == other
        assert [image.id for image in tx.looks("town", "signs@2")] == ["100"]


def test_attempts_grow_only_when_a_run_says_so(town, street, make):
    with town.transaction("town") as tx:
        tx.load(**street.stated())
        tx.load(model_key=make.MODEL, results=[PhotoResult("101", "failed", "time-out")], attempts={"101": 2})
    again = {"model_key": make.MODEL, "results": [PhotoResult("101", "failed", "time-out")]}
    with town.transaction("town") as tx:
        assert tx.load(**again)["photo_result"] == 0
        assert tx.load(**again, attempts={"101": 2})["photo_result"] == 0
        assert tx.image_states("town", make.MODEL)["101"] == ("failed", 2)


def test_a_failed_look_keeps_what_an_earlier_one_saw(town, street, make):
    with town.transaction("town") as tx:
        tx.load(**street.stated())
        tx.load(model_key=make.MODEL, results=[PhotoResult("99", "failed", "time-out")], detections=[])
        assert tx.detections("town", make.MODEL) == make.detections()


def test_metadata_that_became_readable_is_no_longer_rejected(town, street, make):
    with town.transaction("town") as tx:
        tx.load(rejected_entities={"100": "no width", "666": "no captured_at"})
        tx.load(images=make.images())
        assert tx.rejected_entities("town") == {"666": "no captured_at"}


def test_many_rows_go_in_by_batches(town, make):
    many = [
        replace(make.images()[1], id=str(number), captured_at=make.NOON + timedelta(seconds=number))
        for number in range(BATCH_ROWS + 1)
    ]
    with town.transaction("town") as tx:
        assert tx.load(images=many)["image"] == BATCH_ROWS + 1
    with town.transaction("town") as tx:
        assert tx.load(images=many)["image"] == 0
    assert town.summary("town")["images"] == BATCH_ROWS + 1


def test_a_municipality_nobody_entered_is_named(store, make):
    with (
        pytest.raises(UnknownMunicipality, match="'nowhere' is not in the database"),
        store.transaction("nowhere") as tx,
    ):
        tx.load(images=make.images())
    with pytest.raises(UnknownMunicipality), store.transaction("nowhere") as tx:
        tx.write_objects("nowhere", [make.object()])


def test_a_load_of_mixed_models_is_refused(town, street, make):
    with pytest.raises(ValueError, match="load each model by itself"), town.transaction("town") as tx:
        tx.load(**{**street.stated(), "model_key": "other@1"})


def test_an_instant_without_time_zone_is_refused(town, make):
    naive = replace(make.images()[0], captured_at=make.NOON.replace(tzinfo=None))
    with pytest.raises(ValueError, match="no time zone"), town.transaction("town") as tx:
        tx.load(images=[naive])


def test_the_summary_counts_what_is_there(town, street, make):
    with town.transaction("town") as tx:
        tx.load(**street.stated())
        tx.write_objects("town", [make.object(1), make.ended(2)])
        tx.write_intersections("town", make.intersections())
    summary = town.summary("town")
    assert summary["photos_failed"] == summary["photos_gone"] == summary["objects_standing"] == summary["objects_ended"] == 1
    assert (summary["images"], summary["photos_ok"], summary["detections"], summary["intersections"]) == (4, 2, 3, 2)
    assert set(town.summary("elsewhere").values()) == {0}
