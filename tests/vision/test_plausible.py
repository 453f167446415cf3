"""Where objects are in photos: what is doubted, and what never is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kryss.vision.boxes import Candidates
from kryss.vision.plausible import Plausibility, learn, load, save

SIGN, LIGHT = "regulatory--stop--g1", "object--traffic-light--general-upright"
PHOTO = (1360.0, 800.0)


def street(seed: int = 1) -> list[tuple[str, tuple[float, float, float, float], tuple[float, float]]]:
    """Signs around a third of the height of a photo, lights higher and narrow."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, y, aspect in ((SIGN, 0.4, 1.0), (LIGHT, 0.25, 0.4)):
        for _ in range(200):
            height = float(np.exp(rng.normal(np.log(40), 0.4)))
            width = height * aspect * float(np.exp(rng.normal(0, 0.08)))
            x, top = rng.uniform(0, 1300), PHOTO[1] * float(rng.normal(y, 0.05))
            rows.append((name, (x, top, x + width, top + height), PHOTO))
    return rows


@pytest.fixture(scope="module")
def known() -> Plausibility:
    return learn(street(), sure=0.8)


def kept(known: Plausibility, box: tuple[float, float, float, float], score: float, name: str = SIGN) -> bool:
    return bool(known.keep(Candidates(np.array([box], float), np.array([score]), np.array([0])), [name], PHOTO)[0])


def test_what_it_learned_from_is_plausible(known: Plausibility) -> None:
    assert all(kept(known, box, 0.1, name) for name, box, _ in street())


def test_a_sign_on_the_bonnet_is_doubted_and_so_is_one_as_large_as_the_photo(known: Plausibility) -> None:
    assert kept(known, (600, 300, 640, 340), 0.5)
    assert not kept(known, (600, 760, 640, 800), 0.5)
    assert not kept(known, (0, 0, 800, 800), 0.5)
    assert not kept(known, (600, 300, 900, 320), 0.5)


@given(
    st.tuples(st.floats(0, 1300), st.floats(0, 750), st.floats(1, 1300), st.floats(1, 800)),
    st.floats(0.8, 1.0),
    st.sampled_from([SIGN, LIGHT]),
)
def test_a_confident_find_is_never_hidden(box: tuple[float, ...], score: float, name: str) -> None:
    x, y, w, h = box
    assert kept(learn(street(), sure=0.8), (x, y, x + w, y + h), score, name)


def test_a_kind_that_it_has_not_seen_is_not_doubted() -> None:
    signs_only = learn([row for row in street() if row[0] == SIGN], sure=0.8)
    assert kept(signs_only, (600, 790, 640, 800), 0.1, LIGHT)


def test_a_thumbnail_is_judged_as_its_original_is(known: Plausibility) -> None:
    found = Candidates(np.array([[300, 150, 320, 170], [300, 380, 320, 400]], float), np.full(2, 0.3), np.zeros(2, int))
    assert known.keep(found, [SIGN], (680, 400)).tolist() == [True, False]


def test_what_is_saved_is_what_is_loaded(known: Plausibility, tmp_path: Path) -> None:
    save(known, tmp_path / "plausible.json")
    assert load(tmp_path / "plausible.json") == known
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match=r"other.json does not say where objects are"):
        load(tmp_path / "other.json")


def test_too_few_boxes_teach_nothing() -> None:
    with pytest.raises(ValueError, match="3 labelled boxes of kind sign"):
        learn(street()[:3], sure=0.8)
