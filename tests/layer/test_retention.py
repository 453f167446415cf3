"""Old releases go, but never one that latest.json names or a kept release tells its changes against."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kryss.layer.geojson import LayerError
from kryss.layer.retention import prune
from kryss.layer.storage import Shelf, name_key

NAMES = ("2026-01-01.1", "2026-02-01.1", "2026-02-20.1", "2026-03-01.1", "2026-03-01.2")


def put(fs: Any, root: str, names: tuple[str, ...] | list[str] = NAMES, current: str | None = None) -> None:
    """A shelf of releases, each naming the one before it."""
    for number, name in enumerate(names):
        manifest = {
            "release": name,
            "schema_version": "2.0.0",
            "previous": names[number - 1] if number else None,
            "files": [{"name": "objects.geojson", "bytes": 2, "sha256": ""}],
        }
        fs.makedirs(f"{root}/9999/{name}", exist_ok=True)
        fs.pipe_file(f"{root}/9999/{name}/objects.geojson", b"{}")
        fs.pipe_file(f"{root}/9999/{name}/manifest.json", json.dumps(manifest).encode())
    pointer = {"schema_version": "2.0.0", "code": "9999", "release": current or names[-1], "releases": list(names)}
    fs.pipe_file(f"{root}/9999/latest.json", json.dumps(pointer).encode())


@pytest.fixture(params=["folder", "s3"])
def shelf(request: Any, tmp_path: Path) -> tuple[Any, str, Shelf]:
    """A file system, the root on it, and the shelf."""
    if request.param == "folder":
        return fsspec.filesystem("file"), str(tmp_path), Shelf(str(tmp_path), "9999")
    options = request.getfixturevalue("s3")
    fs = fsspec.filesystem("s3", **options, use_listings_cache=False)
    root = f"layers/{tmp_path.name}"
    return fs, root, Shelf(f"s3://{root}", "9999", options)


@pytest.mark.parametrize(
    ("keep", "days", "gone"),
    [
        (None, None, 0),
        (1, None, 3),
        (2, None, 2),
        (4, None, 0),
        (9, None, 0),
        (None, 0, 3),
        (None, 10, 1),
        (None, 29, 0),
        (None, 400, 0),
        (1, 10, 1),
        (3, 1, 1),
    ],
)
def test_the_newest_by_number_or_by_age_are_kept_and_what_they_are_told_against(shelf, keep, days, gone):
    fs, root, releases = shelf
    put(fs, root)
    assert prune(releases, keep, days) == NAMES[:gone]
    assert releases.names() == list(NAMES[gone:])
    assert (releases.latest() or {})["releases"] == list(NAMES[gone:])
    assert (releases.latest() or {})["release"] == NAMES[-1]
    left = [path for path in fs.find(f"{root}/9999") if any(name in path for name in NAMES[:gone]) or "/." in path]
    assert left == []


def test_what_latest_json_names_is_kept_even_if_newer_ones_are_there(shelf):
    fs, root, releases = shelf
    put(fs, root, current="2026-02-01.1")
    assert prune(releases, 1, None) == ("2026-02-20.1",)
    assert releases.names() == ["2026-01-01.1", "2026-02-01.1", "2026-03-01.1", "2026-03-01.2"]


def test_foreign_files_are_left_alone(shelf):
    fs, root, releases = shelf
    put(fs, root)
    fs.pipe_file(f"{root}/9999/notes.txt", b"mine")
    fs.makedirs(f"{root}/9999/2020", exist_ok=True)
    fs.pipe_file(f"{root}/9999/2020/map.pdf", b"mine")
    fs.pipe_file(f"{root}/9999/2026-01-01.1/signed.pdf", b"mine")
    assert prune(releases, 1, None) == ("2026-02-01.1", "2026-02-20.1")
    for kept in ("notes.txt", "2020/map.pdf", "2026-01-01.1/signed.pdf", "2026-01-01.1/objects.geojson"):
        assert fs.exists(f"{root}/9999/{kept}")
    assert (releases.latest() or {})["releases"] == ["2026-01-01.1", "2026-03-01.1", "2026-03-01.2"]


def test_nothing_goes_where_nothing_is_current(shelf):
    fs, root, releases = shelf
    assert prune(releases, 1, None) == ()
    put(fs, root)
    fs.rm(f"{root}/9999/latest.json")
    assert prune(releases, 1, None) == ()
    assert releases.names() == list(NAMES)


def test_nothing_goes_where_a_manifest_cannot_be_read(shelf):
    fs, root, releases = shelf
    put(fs, root)
    fs.pipe_file(f"{root}/9999/2026-03-01.2/manifest.json", b"{")
    with pytest.raises(LayerError, match=r"2026-03-01\.2/manifest\.json is not JSON"):
        prune(releases, 1, None)
    assert releases.names() == list(NAMES)


@pytest.mark.parametrize(
    ("keep", "days", "words"), [(0, None, "cannot keep 0 releases"), (1, -1, "cannot keep the releases of -1")]
)
def test_a_retention_of_nothing_is_refused(tmp_path, keep, days, words):
    with pytest.raises(LayerError, match=words):
        prune(Shelf(str(tmp_path), "9999"), keep, days)


def test_publishing_prunes_and_says_so(town, store, tmp_path):
    pruned = []
    for day in range(1, 7):
        town.believe(store, town.in_2025()[:day])
        pruned.append(town.publish(store, tmp_path, date(2026, 1, day), keep=2).pruned)
    assert pruned == [(), (), (), ("2026-01-01.1",), ("2026-01-02.1",), ("2026-01-03.1",)]
    assert json.loads((tmp_path / "9999/latest.json").read_text())["releases"] == [f"2026-01-0{day}.1" for day in (4, 5, 6)]
    again = town.publish(store, tmp_path, date(2026, 1, 7), keep=1)
    assert again.unchanged
    assert again.pruned == ("2026-01-04.1",)
    with store.snapshot() as reader:
        assert len(reader.releases("9999")) == 6, "the database forgets none"


def test_a_release_is_published_even_where_old_ones_cannot_go(town, store, tmp_path):
    town.believe(store, town.in_2025())
    first = town.publish(store, tmp_path, date(2026, 1, 1))
    town.believe(store, town.in_2026())
    refused = town.publish(store, tmp_path, date(2026, 1, 2), keep=0)
    assert (refused.name, refused.pruned) == ("2026-01-02.1", ())
    assert refused.not_pruned == "LayerError: cannot keep 0 releases; keep 1 at least"
    assert first.not_pruned is None


days = st.dates(date(2026, 1, 1), date(2026, 3, 1))


@settings(max_examples=60, deadline=None)
@given(
    chosen=st.lists(st.tuples(days, st.integers(1, 12)), min_size=1, max_size=12, unique=True),
    keep=st.none() | st.integers(1, 5),
    age=st.none() | st.integers(0, 70),
    data=st.data(),
)
def test_of_any_shelf_the_current_the_newest_and_their_previous_are_left(tmp_path_factory, chosen, keep, age, data):
    root = tmp_path_factory.mktemp("any")
    names = sorted((f"{day}.{number}" for day, number in chosen), key=name_key)
    current = data.draw(st.sampled_from(names))
    put(fsspec.filesystem("file"), str(root), names, current)
    shelf = Shelf(str(root), "9999")
    gone = prune(shelf, keep, age)
    left = shelf.names()
    assert sorted((*left, *gone), key=name_key) == names
    asked = {current, *(names[-keep:] if keep else ())}
    asked |= {name for name in names if age is not None and (chosen_day(names[-1]) - chosen_day(name)).days < age}
    assert asked <= set(left)
    for name in asked:
        previous = names[names.index(name) - 1] if names.index(name) else name
        assert previous in left
    if keep is None and age is None:
        assert gone == ()
    assert prune(shelf, keep, age) == (), "a second time nothing goes"


def chosen_day(name: str) -> date:
    return date.fromisoformat(name.split(".")[0])
