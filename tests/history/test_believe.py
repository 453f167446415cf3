"""Objects keep their identity, live on what was seen, and end only by looks that should have shown them."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kryss.history import Before, Beliefs, Evidence, Load, believe
from kryss.history.looking import Looks
from kryss.model import FusedObject, Image, Lineage, Sighting, StreetObject
from kryss.positioning.camera import ASSUMED_FOCAL
from kryss.positioning.fuse import fuse

FIFTY, THIRTY = "regulatory--maximum-speed-limit-50--g1", "regulatory--maximum-speed-limit-30--g1"
YEAR = timedelta(days=365)


class Town:
    """Drives by a few things, with what was believed after each night."""

    def __init__(self, street: ModuleType, missed: float = 0.0) -> None:
        self.street, self.missed = street, missed
        self.images: list[Image] = []
        self.sightings: list[Sighting] = []
        self.believed: list[StreetObject] = []
        self.loaded: set[str] = set()
        self.ever: set[str] = set()

    def drive(self, name: str, things: list[object], after: timedelta = timedelta(), **more: object) -> Town:
        images = self.street.drive(name, at=self.street.START + after, **more)
        self.images += images
        self.sightings += self.street.sightings(images, things, noise=0.5, missed=self.missed, seed=len(self.images))
        return self

    def night(self, **more: object) -> list[StreetObject]:
        return self.load(**more).objects

    def load(self, load: Load | None = None, **more: object) -> Beliefs:
        """Believes anew with all photos there are; those that came since are new, unless ``load`` says otherwise."""
        load = load or Load(new={image.id for image in self.images} - self.loaded)
        known = Before(self.believed, ever=self.ever)
        self.beliefs = believe(self.evidence(), known, load, **more)  # type: ignore[arg-type]
        self.believed = self.beliefs.objects
        self.ever |= {one.id for one in self.believed}
        self.loaded |= {image.id for image in self.images}
        return self.beliefs

    def evidence(self, fused: list[FusedObject] | None = None) -> Evidence:
        objects = fuse(self.sightings) if fused is None else fused
        return Evidence(objects, {"test@1": self.images}, self.street.trusted(self.images))


@pytest.fixture
def town(street: ModuleType) -> Town:
    return Town(street)


@pytest.fixture
def sign(street: ModuleType) -> object:
    return street.Thing(FIFTY, 4.0, 0.0)


def test_a_sign_that_was_seen_stands(town: Town, sign: object) -> None:
    (one,) = town.drive("a", [sign]).night()
    seen = [sighting.captured_at for sighting in town.sightings]
    assert (one.status, one.ended_at, one.misses) == ("standing", None, ())
    assert (one.first_seen_at, one.last_seen_at) == (min(seen), max(seen))
    assert one.facing_deg == pytest.approx(180, abs=15)
    assert one.evidence == tuple(sorted((sighting.image_id, sighting.ordinal) for sighting in town.sightings))


def test_what_positioning_says_of_facing_and_height_is_believed_rounded(town: Town, sign: object) -> None:
    town.drive("a", [sign])
    (fused,) = fuse(town.sightings)
    told = replace(fused, facing_deg=359.97, height_m=2.41449, height_sigma_m=0.1)
    (one,) = believe(town.evidence([told])).objects
    assert (one.facing_deg, one.height_m, one.height_sigma_m) == (0.0, 2.41, 0.1)
    (again,) = believe(town.evidence([replace(told, height_m=2.41451)])).objects
    assert again == one


def test_an_object_survives_a_year_without_images(town: Town, sign: object) -> None:
    (before,) = town.drive("a", [sign]).night()
    far_away = [town.street.photo(f"far-{i}", 900.0, 50.0 * i, at=town.street.START + YEAR, sequence="far") for i in range(5)]
    town.images += far_away
    assert town.night() == [before]


def test_a_sign_that_the_next_drive_should_have_shown_and_did_not_has_ended(town: Town, sign: object) -> None:
    (before,) = town.drive("a", [sign]).night()
    (after,) = town.drive("b", [], YEAR).night()
    assert after.id == before.id
    assert (after.status, after.last_seen_at) == ("ended", before.last_seen_at)
    assert after.standing_probability < 0.05
    captured = {image.id: image.captured_at for image in town.images}
    assert after.ended_at == captured[after.misses[0]] == min(captured[image_id] for image_id in after.misses)
    assert after.ended_at > town.street.START + YEAR


def test_a_new_sighting_brings_it_back_under_its_id(town: Town, sign: object) -> None:
    (before,) = town.drive("a", [sign]).night()
    town.drive("b", [], YEAR).night()
    (again,) = town.drive("c", [sign], 2 * YEAR).night()
    assert (again.id, again.status, again.ended_at, again.misses) == (before.id, "standing", None, ())
    assert again.first_seen_at == before.first_seen_at


def test_one_missed_photo_lowers_the_probability_and_ends_nothing(town: Town, sign: object) -> None:
    town.drive("a", [sign])
    (after,) = town.drive("b", [], YEAR, first_m=-30.0, photos=1).night()
    assert len(after.misses) == 1
    assert after.status == "standing" and 0.05 < after.standing_probability < 0.9


@pytest.mark.parametrize(
    "away",
    [{"x": 40.0}, {"first_m": 5.0}, {"first_m": -400.0, "photos": 3}],
    ids=["from another street", "from beyond it", "from too far"],
)
def test_looks_that_could_not_show_it_count_for_nothing(town: Town, sign: object, away: dict[str, object]) -> None:
    town.drive("a", [sign])
    (after,) = town.drive("b", [], YEAR, **away).night()
    assert (after.status, after.misses) == ("standing", ())


def test_looks_from_behind_count_for_nothing(town: Town, sign: object) -> None:
    town.drive("a", [sign])
    town.images += [
        town.street.photo(f"back-{i}", 8.0, 60.0 - 6 * i, 180.0, sequence="back", at=town.street.START + YEAR) for i in range(10)
    ]
    assert town.night()[0].misses == ()


def test_photos_without_a_trusted_pose_count_for_nothing(town: Town, sign: object) -> None:
    town.drive("a", [sign])
    (before,) = town.night()
    blind = [replace(image, sfm=None) for image in town.street.drive("b", at=town.street.START + YEAR)]
    seen = town.evidence()
    assert believe(replace(seen, looks={"test@1": town.images + blind}), Before([before])).objects == [before]


def test_a_drive_that_saw_it_once_does_not_end_it_with_its_later_photos(town: Town, sign: object) -> None:
    town.drive("a", [sign])
    images = town.street.drive("b", at=town.street.START + YEAR)
    town.images += images
    town.sightings += [one for one in town.street.sightings(images, [sign]) if one.image_id == "b-2"]
    assert town.night()[0].status == "standing"


def test_a_replaced_sign_is_an_end_and_a_beginning(town: Town, sign: object) -> None:
    (fifty,) = town.drive("a", [sign]).night()
    old, new = sorted(town.drive("b", [town.street.Thing(THIRTY, 4.0, 0.0)], YEAR).night(), key=lambda one: one.first_seen_at)
    assert (old.id, old.class_name, old.status) == (fifty.id, FIFTY, "ended")
    assert (new.class_name, new.status) == (THIRTY, "standing")
    assert new.id != old.id
    assert old.last_seen_at < old.ended_at <= new.last_seen_at  # type: ignore[operator]


def test_a_sign_seen_in_one_photo_is_unconfirmed_and_ends_sooner(town: Town, sign: object) -> None:
    town.drive("a", [sign])
    town.sightings = town.sightings[3:4]
    (before,) = town.night()
    assert before.status == "unconfirmed"
    (after,) = town.drive("b", [], YEAR).night()
    assert after.standing_probability < before.standing_probability


def test_the_threshold_is_a_setting(town: Town, sign: object) -> None:
    town.drive("a", [sign]).drive("b", [], YEAR)
    assert town.night(ended_below=0.0)[0].status == "standing"
    assert town.night(ended_below=0.05)[0].status == "ended"


def test_ids_survive_more_sightings_and_better_positions(town: Town, sign: object) -> None:
    other = town.street.Thing("regulatory--stop--g1", 4.0, 20.0)
    first = {one.class_name: one.id for one in town.drive("a", [sign, other]).night()}
    second = {one.class_name: one.id for one in town.drive("b", [sign, other], YEAR, x=0.5).night()}
    assert second == first
    assert len({one.id for one in town.believed}) == 2


def test_an_earlier_drive_that_arrives_late_keeps_the_id(town: Town, sign: object) -> None:
    (before,) = town.drive("a", [sign]).night()
    (after,) = town.drive("late", [sign], -YEAR).night()
    assert after.id == before.id
    assert after.first_seen_at < before.first_seen_at


def test_an_object_whose_photos_were_removed_lost_evidence_and_did_not_go(town: Town, sign: object) -> None:
    (before,) = town.drive("a", [sign]).night()
    removed = {image.id for image in town.images}
    town.images, town.sightings = [], []
    after = town.load(Load(removed=removed))
    assert after.objects == []
    assert after.lineage == [Lineage(before.id, "lost_evidence", None, "evidence")]


def test_an_object_whose_sightings_turn_out_to_show_nothing_is_unsupported(town: Town, sign: object) -> None:
    (before,) = town.drive("a", [sign]).night()
    seen = town.evidence([])
    assert believe(seen, Before([before])).lineage == [Lineage(before.id, "unsupported", None, "evidence")]
    again = Load(again={image.id: "test@1" for image in town.images})
    other = replace(seen, looks={"other@2": town.images})
    assert believe(other, Before([before]), again).lineage == [Lineage(before.id, "unsupported", None, "model")]


def test_an_object_whose_place_is_not_known_to_ten_metres_is_unconfirmed(town: Town, sign: object) -> None:
    town.drive("a", [sign])
    (fused,) = fuse(town.sightings)
    statuses = [believe(town.evidence([replace(fused, error_radius_m=r)])).objects[0].status for r in (10.0, 10.1)]
    assert statuses == ["standing", "unconfirmed"]


def test_a_photo_of_unknown_focal_length_is_expected_to_show_no_more_than_any_such_camera_does(town: Town, sign: object) -> None:
    images = town.street.drive("a")
    poses = town.street.trusted(images)
    unknown = [replace(image, camera_parameters=None) for image in images]
    assumed = [replace(image, camera_parameters=(ASSUMED_FOCAL, 0.001, 0.0)) for image in images]
    narrow, wide = Looks.of(unknown, poses).span_deg, Looks.of(assumed, poses).span_deg
    assert (narrow[:, 0] > wide[:, 0] + 2.0).all()
    assert (narrow[:, 1] < wide[:, 1] - 2.0).all()


def test_new_evidence_in_the_place_of_lost_evidence_takes_its_id(town: Town, sign: object) -> None:
    (before,) = town.drive("a", [sign]).night()
    town.images, town.sightings = [], []
    (after,) = town.drive("b", [sign], YEAR).night()
    assert after.id == before.id


def test_two_objects_that_turn_out_to_be_one_become_the_one_with_more_evidence(town: Town, sign: object) -> None:
    town.drive("a", [sign])
    (cluster,) = fuse(town.sightings)
    halves = [replace(cluster, sightings=cluster.sightings[:2]), replace(cluster, sightings=cluster.sightings[2:])]
    apart = believe(town.evidence(halves)).objects
    assert len(apart) == 2
    smaller, larger = sorted(apart, key=lambda one: len(one.evidence))
    together = believe(town.evidence([cluster]), Before(apart))
    assert [one.id for one in together.objects] == [larger.id]
    assert together.lineage == [Lineage(smaller.id, "merged_into", larger.id, "evidence")]


def test_one_object_that_turns_out_to_be_two_gives_its_id_once(town: Town, sign: object) -> None:
    town.drive("a", [sign])
    (cluster,) = fuse(town.sightings)
    (whole,) = believe(town.evidence([cluster])).objects
    # The earliest sighting, from which the id was made, goes with the smaller half: its id is taken all the same.
    halves = [replace(cluster, sightings=cluster.sightings[:2]), replace(cluster, sightings=cluster.sightings[2:])]
    after = believe(town.evidence(halves), Before([whole]))
    ids = {len(one.evidence): one.id for one in after.objects}
    assert len(set(ids.values())) == 2
    assert ids[len(cluster.sightings) - 2] == whole.id
    assert after.lineage == [Lineage(ids[2], "split_from", whole.id, "evidence")]


def test_another_models_box_of_the_same_number_is_no_common_evidence(town: Town, sign: object) -> None:
    (before,) = town.drive("a", [sign]).night()
    elsewhere = town.street.Thing("regulatory--stop--g1", -4.0, 10.0)
    seen = [replace(one, model_key="other@2") for one in town.street.sightings(town.images, [elsewhere])]
    again = Load(again={image.id: "test@1" for image in town.images})
    after = believe(Evidence(fuse(seen), {"other@2": town.images}, town.street.trusted(town.images)), Before([before]), again)
    (stop,) = after.objects
    assert stop.id != before.id
    assert after.lineage == [Lineage(before.id, "unsupported", None, "model")]


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10_000),
    st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), min_size=1, max_size=5, unique_by=lambda one: one[0]),
)
def test_believing_again_changes_nothing(street: ModuleType, seed: int, drives: list[tuple[int, bool, bool]]) -> None:
    town = Town(street, missed=0.25)
    sign, stop = street.Thing(FIFTY, 4.0, 0.0), street.Thing("regulatory--stop--g1", 4.5, 9.0)
    for number, with_sign, with_stop in drives:
        town.drive(f"d{number}", [sign] * with_sign + [stop] * with_stop, number * YEAR)
        town.night()
    before = town.believed
    shuffle = random.Random(seed)
    shuffle.shuffle(town.images)
    shuffle.shuffle(town.sightings)
    town.believed = shuffle.sample(before, len(before))
    assert town.night() == before


@settings(max_examples=15, deadline=None)
@given(st.permutations([0, 1, 2, 3]))
def test_the_order_in_which_drives_arrive_does_not_change_what_is_believed_of_the_street(
    street: ModuleType, order: list[int]
) -> None:
    fifty, thirty = street.Thing(FIFTY, 4.0, 0.0), street.Thing(THIRTY, 4.0, 0.0)
    nights = {0: [fifty], 1: [fifty], 2: [thirty], 3: [thirty]}
    town = Town(street)
    for number in order:
        town.drive(f"d{number}", nights[number], number * YEAR).night()
    told = [(one.class_name, one.status, one.ended_at is None, one.first_seen_at, one.last_seen_at) for one in town.believed]
    at_once = Town(street)
    for number in range(4):
        at_once.drive(f"d{number}", nights[number], number * YEAR)
    expected = [
        (one.class_name, one.status, one.ended_at is None, one.first_seen_at, one.last_seen_at) for one in at_once.night()
    ]
    assert len(told) == 2
    assert {one[:3] for one in told} == {one[:3] for one in expected} == {(FIFTY, "ended", False), (THIRTY, "standing", True)}
