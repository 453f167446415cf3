"""Objects keep their identity, live on what was seen, and end only by looks that should have shown them."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kryss.history import Before, Beliefs, Evidence, Load, SurveyLook, believe
from kryss.model import FusedObject, Image, Lineage, Sighting, StreetObject
from kryss.positioning.fuse import fuse

FIFTY, THIRTY = "regulatory--maximum-speed-limit-50--g1", "regulatory--maximum-speed-limit-30--g1"
MONTH, YEAR = timedelta(days=30), timedelta(days=365)


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


def test_a_sign_that_two_drives_should_have_shown_and_did_not_has_ended(town: Town, sign: object) -> None:
    (before,) = town.drive("a", [sign]).night()
    (doubted,) = town.drive("b", [], YEAR).night()
    # A lorry may have stood before it all the way.
    assert doubted.status == "standing" and 0.05 < doubted.standing_probability < 0.5
    (after,) = town.drive("c", [], 2 * YEAR).night()
    assert after.id == before.id
    assert (after.status, after.last_seen_at) == ("ended", before.last_seen_at)
    assert after.standing_probability < 0.05
    captured = {image.id: image.captured_at for image in town.images}
    # The first look by which it is known to have gone.
    assert after.ended_at == min(captured[one] for one in after.misses if one.startswith("c"))
    assert {one[0] for one in after.misses} == {"b", "c"}


def test_what_looks_after_its_end_say_is_no_news(town: Town, sign: object) -> None:
    town.drive("a", [sign]).drive("b", [], YEAR).drive("c", [], 2 * YEAR)
    (ended,) = town.night()
    assert town.drive("d", [], 3 * YEAR).load().objects == [ended]


def test_a_new_sighting_brings_it_back_under_its_id(town: Town, sign: object) -> None:
    (before,) = town.drive("a", [sign]).drive("b", [], YEAR).drive("c", [], 2 * YEAR).night()
    assert before.status == "ended"
    (again,) = town.drive("d", [sign], 3 * YEAR).night()
    assert (again.id, again.status, again.ended_at, again.misses) == (before.id, "standing", None, ())
    assert again.first_seen_at == before.first_seen_at
    assert town.beliefs.reasons == {again.id: "street"}


def test_a_sign_that_many_drives_missed_between_two_that_showed_it_was_away(town: Town, sign: object) -> None:
    town.drive("a", [sign]).drive("b", [sign], MONTH)
    for number in range(8):
        town.drive(f"m{number}", [], (number + 2) * MONTH)
    town.drive("y", [sign], 11 * MONTH).drive("z", [sign], 12 * MONTH)
    (one,) = town.night()
    (absence,) = one.absences
    assert one.status == "standing"
    seen = sorted(sighting.captured_at for sighting in town.sightings)
    assert seen.index(absence.back_by) == seen.index(absence.gone_after) + 1
    assert absence.gone_after < absence.gone_by < absence.back_after < absence.back_by
    assert absence.gone_by - absence.gone_after < 3 * MONTH > absence.back_by - absence.back_after


def test_a_few_missed_drives_between_two_that_showed_it_are_no_absence(town: Town, sign: object) -> None:
    town.drive("a", [sign]).drive("m", [], MONTH).drive("n", [], 2 * MONTH).drive("z", [sign], 3 * MONTH)
    assert town.night()[0].absences == ()


def test_a_sign_that_earlier_drives_should_have_shown_came_after_them(town: Town, sign: object) -> None:
    town.drive("a", []).drive("b", [], YEAR).drive("c", [sign], 2 * YEAR)
    (one,) = town.night()
    assert one.began_after is not None
    # What one drive missed may have been hidden from it: it came after the last of those that prove its absence together.
    captured = sorted(image.captured_at for image in town.images if image.id.startswith("a"))
    assert captured[0] < one.began_after <= captured[-1]
    assert town.beliefs.reasons == {one.id: "street"}


def test_a_sign_that_was_not_looked_for_before_may_always_have_stood(town: Town, sign: object) -> None:
    (one,) = town.drive("a", [], x=40.0).drive("c", [sign], YEAR).night()
    assert one.began_after is None
    assert town.beliefs.reasons == {one.id: "evidence"}


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
    assert new.id != old.id == fifty.id
    assert old.replaced_by == new.id
    assert old.last_seen_at < old.ended_at <= new.first_seen_at  # type: ignore[operator]
    assert new.began_after is not None and old.last_seen_at <= new.began_after < new.first_seen_at
    assert town.beliefs.reasons == {old.id: "street", new.id: "street"}


def test_a_sign_replaced_by_one_of_another_outline_is_replaced_too(town: Town) -> None:
    town.drive("a", [town.street.Thing("regulatory--yield--g1", 4.0, 0.0)])
    old, new = sorted(
        town.drive("b", [town.street.Thing("regulatory--stop--g1", 4.0, 0.0)], YEAR).night(), key=lambda one: one.first_seen_at
    )
    assert (old.status, old.replaced_by) == ("ended", new.id)


def test_a_face_that_was_another_for_a_while_was_away(town: Town, sign: object) -> None:
    other = town.street.Thing(THIRTY, 4.0, 0.0)
    town.drive("a", [sign]).drive("b", [sign], MONTH)
    town.drive("c", [other], 2 * MONTH).drive("d", [other], 3 * MONTH)
    town.drive("e", [sign], 4 * MONTH).drive("f", [sign], 5 * MONTH)
    fifty, thirty = sorted(town.night(), key=lambda one: one.first_seen_at)
    assert (fifty.class_name, fifty.status, len(fifty.absences)) == (FIFTY, "standing", 1)
    assert (thirty.class_name, thirty.status, thirty.replaced_by) == (THIRTY, "ended", fifty.id)


def test_a_second_sign_on_the_pole_replaces_nothing(town: Town, sign: object) -> None:
    below = town.street.Thing(THIRTY, 4.0, 0.0, up_m=1.6)
    town.drive("a", [sign]).drive("b", [sign, below], YEAR)
    assert {one.status for one in town.night()} == {"standing"}


def test_a_stray_box_in_the_place_of_a_sign_that_went_keeps_it_not_alive(town: Town, sign: object) -> None:
    for number in range(3):
        town.drive(f"s{number}", [sign], number * MONTH)
    last_seen_at = town.night()[0].last_seen_at
    for number in range(3, 9):
        town.drive(f"m{number}", [], number * MONTH)
    images = [one for one in town.images if one.sequence_id == "m6"]
    town.sightings += [one for one in town.street.sightings(images, [sign]) if one.image_id == "m6-4"]
    (one,) = town.night()
    assert ("m6-4", 0) in one.evidence
    assert (one.status, one.last_seen_at) == ("ended", last_seen_at)


def test_a_photo_that_shows_its_like_in_its_place_says_nothing_of_a_fragment(town: Town, sign: object) -> None:
    for number, name in enumerate("abcdef"):
        town.drive(name, [sign], number * YEAR)
    (whole,) = fuse(town.sightings)
    fragment = replace(whole, sightings=tuple(one for one in whole.sightings if one.sequence_id == "a")[:3])
    rest = replace(whole, sightings=tuple(one for one in whole.sightings if one not in fragment.sightings))
    assert {one.ended_at for one in believe(town.evidence([fragment, rest])).objects} == {None}
    # A like one that stands elsewhere is another one.
    elsewhere = replace(rest, lon=rest.lon + 0.0002)
    assert len({one.ended_at for one in believe(town.evidence([fragment, elsewhere])).objects}) == 2


def test_a_drive_that_comes_by_again_hours_later_is_another_visit(town: Town, sign: object) -> None:
    for number in range(4):
        town.drive(f"a{number}", [sign] * (number < 1), number * timedelta(hours=5))
    long = [replace(one, sequence_id="all day") for one in town.images]
    town.images = long
    town.sightings = [replace(one, sequence_id="all day") for one in town.sightings]
    (one,) = town.night()
    assert {miss[:2] for miss in one.misses} == {"a1", "a2", "a3"}


def test_a_model_that_never_saw_a_class_misses_none_of_it(town: Town, sign: object) -> None:
    town.drive("b", [], YEAR).drive("c", [], 2 * YEAR)
    blind = list(town.images)
    seen = Town(town.street).drive("a", [sign])
    poses = town.street.trusted([*seen.images, *blind])
    two = Evidence(fuse(seen.sightings), {"blind@1": blind, "test@1": seen.images}, poses)
    assert believe(two).objects[0].misses == ()
    one = replace(two, looks={"test@1": [*seen.images, *blind]})
    assert believe(one).objects[0].status == "ended"


def test_a_survey_shows_what_it_lists_and_misses_what_it_does_not(town: Town, sign: object) -> None:
    (whole,) = fuse(town.drive("a", [sign]).sightings)
    at = town.street.START + YEAR
    around = {
        "type": "Polygon",
        "coordinates": [[[10.39, 63.39], [10.41, 63.39], [10.41, 63.41], [10.39, 63.41], [10.39, 63.39]]],
    }
    survey = SurveyLook("survey:2026", at, around, {FIFTY: 0.999})
    evidence = replace(town.evidence([whole]), surveys=[survey])
    (missed,) = believe(evidence).objects
    assert (missed.status, missed.ended_at, missed.misses) == ("ended", at, (survey.id,))
    row = replace(whole.sightings[0], image_id="row 7", sequence_id=survey.id, captured_at=at, method="survey")
    (listed,) = believe(replace(evidence, objects=[replace(whole, sightings=(*whole.sightings, row))])).objects
    assert (listed.status, listed.last_seen_at, listed.misses) == ("standing", at, ())
    for other in (
        replace(survey, detected={THIRTY: 0.999}),
        replace(survey, area={**around, "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}),
    ):
        assert believe(replace(evidence, surveys=[other])).objects[0].misses == ()


def test_a_sign_seen_in_one_photo_is_unconfirmed_and_ends_sooner(town: Town, sign: object) -> None:
    town.drive("a", [sign])
    town.sightings = town.sightings[3:4]
    (before,) = town.night()
    assert before.status == "unconfirmed"
    (after,) = town.drive("b", [], YEAR).night()
    assert after.standing_probability < before.standing_probability - 0.1


def test_the_threshold_is_a_setting(town: Town, sign: object) -> None:
    town.drive("a", [sign]).drive("b", [], YEAR)
    assert town.night(ended_below=0.05)[0].status == "standing"
    assert town.night(ended_below=0.5)[0].status == "ended"


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


@settings(max_examples=10, deadline=None)
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


def without_names(objects: list[StreetObject]) -> set[StreetObject]:
    """The histories up to renaming: an id stands for the evidence of its object."""
    evidence = {one.id: str(one.evidence) for one in objects}
    return {replace(one, id="", replaced_by=evidence.get(one.replaced_by or "")) for one in objects}


@settings(max_examples=8, deadline=None)
@given(st.permutations(range(7)), st.lists(st.booleans(), min_size=7, max_size=7), st.integers(1, 1000))
def test_the_nights_in_which_drives_arrive_give_nothing_but_names(
    street: ModuleType, order: list[int], wait: list[bool], seed: int
) -> None:
    """Fifty stands, is replaced by thirty, and comes back; a stop sign goes. Nights come in any order, some twice."""
    fifty, thirty = street.Thing(FIFTY, 4.0, 0.0), street.Thing(THIRTY, 4.0, 0.0)
    stop = street.Thing("regulatory--stop--g1", 4.5, 9.0)
    nights = {0: [fifty, stop], 1: [fifty, stop], 2: [thirty], 3: [thirty], 4: [thirty], 5: [fifty], 6: [fifty]}

    def arrive(town: Town, number: int) -> None:
        images = town.street.drive(f"d{number}", at=town.street.START + number * MONTH)
        town.images += images
        town.sightings += town.street.sightings(images, nights[number], noise=0.5, missed=0.25, seed=seed + number)

    town, at_once = Town(street), Town(street)
    for number, waits in zip(order, wait, strict=True):
        arrive(town, number)
        if not waits:
            before = {one.id for one in town.believed}
            gone = {event.object_id for event in town.load().lineage if event.relation != "split_from"}
            assert gone == before - {one.id for one in town.believed}
            assert town.load(Load()).reasons == {}
    town.night()
    for number in range(7):
        arrive(at_once, number)
    assert without_names(town.believed) == without_names(at_once.night())
    assert len({one.id for one in town.believed}) == len(town.believed)
