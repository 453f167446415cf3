"""Composed scenes: the same every time, boxes tight around what was painted, nothing forgotten that may be something."""

from __future__ import annotations

import importlib.util
import math
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kryss.training import compose, painting, prelabel, scenery
from kryss.training.compose import Mix, Pictures, Sampler
from kryss.training.data import LIGHTS, LabelledPhoto, coco, is_held_out
from kryss.training.painting import Pose

SPRITES = Path(__file__).parents[2] / "include" / "kryss" / "demo" / "town" / "signs"
STOP, YIELD, ROUTE = "regulatory--stop--g1", "regulatory--yield--g1", painting.ROUTE
UPRIGHT = LIGHTS[0]
NAMES = [STOP, YIELD, "regulatory--priority-road--g1", ROUTE, *LIGHTS]
SIDE = 192
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("resvg_py") is None or not SPRITES.is_dir(), reason="the extra 'training' is not installed"
)


def street(number: int, size: tuple[int, int] = (400, 300), **fields: object) -> LabelledPhoto:
    """Noise with a red square at 200, 100, which is its label."""
    rng = np.random.default_rng(number)
    pixels = cv2.GaussianBlur(rng.integers(60, 200, (size[1], size[0], 3), dtype=np.uint8), (0, 0), 3)
    pixels[100:140, 200:240] = (30, 30, 220)
    body = cv2.imencode(".png", pixels)[1].tobytes()
    boxes = fields.pop("boxes", ((200.0, 100.0, 240.0, 140.0, STOP),))
    return LabelledPhoto(number, body, *size, boxes, **fields)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return Pictures(SPRITES, NAMES, [street(0)], lights=30)


@pytest.fixture(scope="module")
def streets() -> list[LabelledPhoto]:
    light = street(3, (200, 200), boxes=((200.0 - 60, 100.0, 200 - 44, 140.0, UPRIGHT),), stretch=16 / 9)
    return [street(0), street(1, boxes=()), street(2, ignore=((20.0, 20.0, 60.0, 60.0),)), light]


def test_a_sample_follows_from_seed_and_number_alone(streets: list[LabelledPhoto], pictures: Pictures, tmp_path: Path) -> None:
    first, second = Sampler(streets, NAMES, pictures, SIDE, 1), Sampler(streets, NAMES, pictures, SIDE, 1, cache=tmp_path)
    numbers = list(range(30))
    there = [first.sample(n) for n in numbers]
    random.Random(0).shuffle(numbers)
    for n in numbers:
        for one, other in zip(there[n], second.sample(n), strict=True):
            assert np.array_equal(one, other), f"sample {n}"
    other_seed = Sampler(streets, NAMES, pictures, SIDE, 2)
    assert not np.array_equal(other_seed.sample(0)[0], there[0][0])


def test_another_set_of_pictures_of_the_same_seed_is_the_same(pictures: Pictures) -> None:
    again = Pictures(SPRITES, NAMES, [street(0)], lights=30)
    assert again.drawn.keys() == pictures.drawn.keys()
    for one, other in zip(again.lights, pictures.lights, strict=True):
        assert np.array_equal(one.levels[0], other.levels[0])


def test_samples_have_the_promised_form(streets: list[LabelledPhoto], pictures: Pictures) -> None:
    sampler = Sampler(streets, NAMES, pictures, SIDE, 0, Mix(mosaic=0.4, mirror=True, paste=1.0))
    seen: set[int] = set()
    for number in range(80):
        image, boxes, labels, ignore = sampler.sample(number)
        assert image.shape == (SIDE, SIDE, 3) and image.dtype == np.uint8 and image.flags.c_contiguous
        assert boxes.dtype == np.float32 and labels.dtype == np.int64 and ignore.dtype == np.float32
        assert boxes.shape == (len(labels), 4) and ignore.shape[1:] == (4,)
        for rows in (boxes, ignore):
            assert (rows[:, :2] >= 0).all() and (rows[:, 2:] <= SIDE).all()
            assert (rows[:, 2] > rows[:, 0]).all() and (rows[:, 3] > rows[:, 1]).all()
        seen |= set(labels.tolist())
    assert seen == set(range(len(NAMES))), "every class is shown"


@settings(max_examples=120, deadline=None)
@given(
    kind=st.sampled_from(["drawn", "light", "route"]),
    which=st.integers(0, 20),
    height=st.floats(10, 120),
    yaw=st.floats(-1.0, 1.0),
    pitch=st.floats(-0.3, 0.3),
    roll=st.floats(-0.2, 0.2),
    x=st.floats(150, 151),
    y=st.floats(150, 151),
)
def test_a_box_encloses_exactly_what_painting_changed(
    pictures: Pictures, kind: str, which: int, height: float, yaw: float, pitch: float, roll: float, x: float, y: float
) -> None:
    of_kind = {"drawn": pictures.drawn[STOP] + pictures.drawn[YIELD], "light": pictures.lights, "route": pictures.drawn[ROUTE]}
    drawn = of_kind[kind][which % len(of_kind[kind])]
    corners = painting.corners_of(drawn.aspect, height, Pose(yaw, pitch, roll, 8.0)) + np.array([x, y])
    assume(corners.min() > 2 and corners.max() < 298)
    patch, left, top = painting.warped(drawn, corners)
    canvas = np.full((300, 300, 3), 128, np.uint8)
    # In black, so that every covered pixel is changed, whatever the picture's colour.
    black = np.dstack([np.zeros_like(patch[..., :3]), patch[..., 3:]])
    painting.blend(canvas, black, left, top)
    box = painting.seen_box(patch[..., 3] / 255)
    assert box is not None
    changed = np.abs(canvas[..., 0].astype(int) - 128) > 128 * painting.FAINT + 1
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    around = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)
    assert np.abs(np.array(box) + np.array([left, top, left, top]) - around).max() <= 1.0


@settings(max_examples=80, deadline=None)
@given(
    height=st.floats(8, 100), roll=st.floats(-0.3, 0.3), yaw=st.floats(-0.9, 0.9), x=st.floats(150, 151), y=st.floats(150, 151)
)
def test_the_box_of_a_rectangle_is_that_of_its_corners(height: float, roll: float, yaw: float, x: float, y: float) -> None:
    whole = painting.picture(np.full((60, 90, 4), 255, np.uint8), None)
    corners = painting.corners_of(1.5, height, Pose(yaw, 0.1, roll, 10.0)) + np.array([x, y])
    patch, left, top = painting.warped(whole, corners)
    box = painting.seen_box(patch[..., 3] / 255)
    assert box is not None
    exact = np.array([*corners.min(0), *corners.max(0)])
    assert np.abs(np.array(box) + np.array([left, top, left, top]) - exact).max() < 0.8


MARKED = street(0, ignore=((40.0, 30.0, 120.0, 90.0),))
MARKED_PIXELS = MARKED.pixels()


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(-150, 380), y=st.floats(-100, 280), width=st.floats(60, 500), ratio=st.floats(0.7, 1.4), side=st.integers(60, 250)
)
def test_a_crop_keeps_every_box_and_ignore_region_where_its_pixels_are(
    x: float, y: float, width: float, ratio: float, side: int
) -> None:
    window = (x, y, x + width, y + width * ratio)
    scene = compose.cut(random.Random(0), MARKED_PIXELS, MARKED, window, side, side)
    scale = np.array([side / width, side / (width * ratio)] * 2)
    places = [(200.0, 100.0, 240.0, 140.0), (40.0, 30.0, 120.0, 90.0)]
    moved = [np.clip((np.array(box) - np.array(window[:2] * 2)) * scale, 0, side) for box in places]
    kept = [np.array(box[:4]) for box in scene.boxes] + [np.array(box) for box in scene.ignore]
    for box in moved:
        if min(box[2] - box[0], box[3] - box[1]) > 1.01:
            assert any(np.allclose(box, other, atol=1e-6) for other in kept), "neither a box nor an ignore region"
    for box in scene.boxes:
        red = scene.image[..., 0].astype(int) - scene.image[..., 1] > 95
        if min(scale[:2]) > 0.5 and box[2] - box[0] > 20 and box[3] - box[1] > 20:
            rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
            found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            assert np.abs(found - box[:4]).max() <= 1.5 + 0.6 * max(scale[:2])


@pytest.mark.parametrize("mix", [Mix(mosaic=1.0, paste=1.0), Mix(mosaic=0.0, paste=1.0), Mix(mosaic=0.5, paste=1.0, mirror=True)])
def test_ignore_regions_survive_crops_mosaics_and_mirrors_and_nothing_is_painted_over_them(mix: Mix, pictures: Pictures) -> None:
    """Where a whole photo is an ignore region, so is every pixel of a sample that shows it, and no sign is painted anywhere."""
    whole = street(0, (800, 600), boxes=(), ignore=((0.0, 0.0, 800.0, 600.0),))
    sampler = Sampler([whole], NAMES, pictures, SIDE, 0, mix)
    for number in range(25):
        _, boxes, _, ignore = sampler.sample(number)
        covered = np.zeros((SIDE, SIDE), bool)
        for left, top, right, bottom in ignore:
            covered[math.floor(top) : math.ceil(bottom), math.floor(left) : math.ceil(right)] = True
        assert covered.all()
        assert not len(boxes)


def test_a_small_photo_laid_into_another_brings_its_labels(pictures: Pictures) -> None:
    small = street(0, (250, 250))
    large = street(1, (900, 700), boxes=(), ignore=((0.0, 0.0, 900.0, 700.0),))
    sampler = Sampler([small, large], NAMES, pictures, SIDE, 0, Mix(around_sign=1.0, mosaic=0, paste=0, distractors=0))
    found = 0
    for number in range(40):
        rng = random.Random(number)
        scene = sampler._inset(rng, small, 0.4, 0.4, SIDE, SIDE)
        for box in scene.boxes:
            piece = scene.image[round(box[1]) + 2 : round(box[3]) - 2, round(box[0]) + 2 : round(box[2]) - 2].astype(int)
            assert piece[..., 0].mean() - piece[..., 1].mean() > 120, "the red square is where the box is"
            found += 1
        assert scene.ignore, "the rest of the scene has no labels"
    assert found == 40


def test_a_mirrored_sample_shows_its_boxes_at_the_other_side(pictures: Pictures) -> None:
    photo = street(0)
    plain = Mix(mosaic=0, paste=0, distractors=0, around_sign=1.0)
    sampler = Sampler([photo], NAMES, pictures, SIDE, 0, Mix(mosaic=0, paste=0, distractors=0, around_sign=1.0, mirror=True))
    assert plain.mirror is False
    checked = 0
    for number in range(30):
        image, boxes, _, _ = sampler.sample(number)
        for left, top, right, bottom in boxes.round().astype(int):
            inner = image[top + 3 : bottom - 3, left + 3 : right - 3].astype(int)
            if min(inner.shape[:2]) > 2 and np.ptp(inner.reshape(-1, 3).mean(0)) > 25:
                assert inner[..., 0].mean() > inner[..., 1].mean()
                checked += 1
    assert checked > 10


def test_classes_that_are_not_asked_for_are_ignore_regions(pictures: Pictures) -> None:
    sampler = Sampler([street(0)], [YIELD], pictures, SIDE, 0, Mix(mosaic=0, paste=0, distractors=0))
    ignored = 0
    for number in range(20):
        _, boxes, _, ignore = sampler.sample(number)
        assert not len(boxes)
        ignored += len(ignore)
    assert ignored


def test_a_detector_of_signs_and_lights_learns_two_labels(streets: list[LabelledPhoto], pictures: Pictures) -> None:
    labels = compose.finder_labels(NAMES)
    assert labels[STOP] == labels[ROUTE] == labels["other-sign"] == 0
    assert {labels[name] for name in LIGHTS} == {1}
    sampler = Sampler(streets, labels, pictures, SIDE, 0)
    assert {int(label) for number in range(20) for label in sampler.sample(number)[2]} == {0, 1}


def test_rare_classes_are_shown_nearly_as_often_as_frequent_ones(pictures: Pictures) -> None:
    photos = [street(k) for k in range(16)] + [street(16, boxes=((200.0, 100.0, 240.0, 140.0, YIELD),))]
    sampler = Sampler(photos, NAMES, pictures, 96, 0, Mix(around_sign=1.0, around_light=0, mosaic=0, paste=0, distractors=0))
    shown = np.bincount(np.concatenate([sampler.sample(number)[2] for number in range(250)]), minlength=2)
    assert 0.12 < shown[NAMES.index(YIELD)] / shown.sum() < 0.35, "1 of 17 photos; square roots make it 1 of 5"


def test_what_is_never_painted_is_never_painted(streets: list[LabelledPhoto], pictures: Pictures) -> None:
    sampler = Sampler([streets[1]], NAMES, pictures, SIDE, 0, Mix(paste=1.0, lights=0, never_painted=(YIELD, ROUTE)))
    found = {NAMES[int(label)] for number in range(60) for label in sampler.sample(number)[2]}
    assert STOP in found and not found & {YIELD, ROUTE}


def test_a_composed_set_is_a_coco_data_set(streets: list[LabelledPhoto], pictures: Pictures, tmp_path: Path) -> None:
    sampler = Sampler(streets, [*NAMES, "other-sign"], pictures, SIDE, 5)
    path = compose.write_set(sampler, 6, tmp_path)
    data = coco.load(path, tmp_path / "images")
    assert not data.problems and len(data.photos) == 6
    for number, photo in enumerate(data.photos):
        _, boxes, labels, ignore = sampler.sample(number)
        assert [box[4] for box in photo.boxes] == [[*NAMES, "other-sign"][k] for k in labels]
        assert np.allclose(np.array([box[:4] for box in photo.boxes]).reshape(-1, 4), boxes, atol=0.02)
        assert len(photo.ignore) == len(ignore)
    sheet = cv2.imread(str(tmp_path / "sheet.jpg"))
    assert sheet is not None and sheet.shape[1] == 6 * SIDE


def test_no_photos_and_no_sprites_are_told(tmp_path: Path, pictures: Pictures) -> None:
    with pytest.raises(ValueError, match="no photos"):
        Sampler([], NAMES, pictures)
    with pytest.raises(FileNotFoundError, match="mapillary_sprite_source"):
        Pictures(tmp_path / "none", NAMES)


def test_an_occluder_hides_a_part() -> None:
    shares = [scenery.occluder(random.Random(k), 40, 40).mean() for k in range(40)]
    assert 0 < np.mean(shares) < 0.5


# --- prelabels ---


def find(box: tuple[float, float, float, float], score: float, kind: str = "light", teacher: str = "lights") -> prelabel.Find:
    return prelabel.Find(box, score, kind, teacher)


HEAD = (300.0, 40.0, 312.0, 70.0)


@pytest.mark.parametrize(
    ("finds", "labels", "ignored"),
    [
        ([find(HEAD, 0.7)], 1, 0),
        ([find(HEAD, 0.45)], 0, 1),
        ([find(HEAD, 0.45), find(HEAD, 0.3, teacher="finder")], 1, 0),
        ([find(HEAD, 0.2)], 0, 0),
        ([find(HEAD, 0.2), find(HEAD, 0.15, teacher="finder")], 0, 1),
        ([find(HEAD, 0.7), find(HEAD, 0.8, "sign", "finder")], 0, 1),
        ([find((300.0, 40.0, 340.0, 70.0), 0.9)], 0, 0),
        ([find((300.0, 40.0, 340.0, 240.0), 0.9)], 0, 0),
        ([find((201.0, 101.0, 238.0, 139.0), 0.9, "sign", "finder")], 0, 0),
        ([find(HEAD, 0.3, "sign", "finder")], 0, 1),
    ],
)
def test_what_becomes_of_a_find(finds: list[prelabel.Find], labels: int, ignored: int) -> None:
    before = street(0)
    after = prelabel.refined(before, finds)
    assert after.boxes[:1] == before.boxes
    assert len(after.boxes) - 1 == labels
    assert all(box[4] == UPRIGHT for box in after.boxes[1:])
    assert len(after.ignore) == ignored


def test_where_lights_are_labelled_a_teacher_adds_none() -> None:
    labelled = street(0, boxes=((200.0, 100.0, 240.0, 140.0, UPRIGHT),))
    after = prelabel.refined(labelled, [find(HEAD, 0.9)])
    assert after.boxes == labelled.boxes
    assert after.ignore == (HEAD,), "but where it sees one is not taught as nothing"


def test_finds_are_kept_by_the_photos_content_and_added_to(tmp_path: Path) -> None:
    path = tmp_path / "prelabel.json"
    first, second = street(0), street(1)
    assert prelabel.write([(prelabel.key_of(first), [find(HEAD, 0.7)])], path) == 1
    assert prelabel.write([(prelabel.key_of(second), [])], path) == 2
    assert prelabel.read(path)[prelabel.key_of(first)] == [find(HEAD, 0.7)]
    renamed = street(0)
    marked = prelabel.apply([renamed, second, street(2)], path)
    assert [len(photo.boxes) for photo in marked] == [2, 1, 1]


def test_held_out_photos_are_not_shown_to_a_teacher() -> None:
    class Teacher:
        looked = 0

        def look(self, image_id: str, body: bytes) -> list[object]:
            self.looked += 1
            return []

    lights, finder = Teacher(), Teacher()
    photos = [street(k) for k in range(7)]
    keys = [key for key, _ in prelabel.look(photos, lights, finder)]  # type: ignore[arg-type]
    assert keys == [prelabel.key_of(photo) for photo in photos if not is_held_out(photo.id)]
    assert finder.looked == 6 and lights.looked >= 6
