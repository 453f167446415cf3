"""A sorted file of Features is an index of itself."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kryss.layer.geojson import LayerError
from kryss.layer.lines import FeatureLines

from .objects_file import write_features

IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


def features(ids, sizes=(0,)):
    ordered = sorted(ids, key=lambda key: key.encode())
    return [{"type": "Feature", "id": key, "properties": {"n": "x" * sizes[i % len(sizes)]}} for i, key in enumerate(ordered)]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(IDS, max_size=40), st.sets(IDS, max_size=10), st.lists(st.integers(0, 9_000), min_size=1, max_size=5))
def test_every_feature_is_found_by_its_id_and_no_other(tmp_path, ids, others, sizes):
    wanted = features(ids, sizes)
    with FeatureLines(write_features(tmp_path / "objects.geojson", wanted, [1, 2, 3, 4])) as lines:
        found = list(lines)
        assert [key.decode() for key, _, _ in found] == [one["id"] for one in wanted]
        assert [json.loads(body) for _, body, _ in found] == wanted
        assert all(lines.at(begin, len(body)) == body for _, body, begin in found)
        for one in wanted:
            body = lines.find(one["id"].encode())
            assert body is not None
            assert json.loads(body) == one
        for key in others - ids:
            assert lines.find(key.encode()) is None
        assert lines.head == {"bbox": [1, 2, 3, 4]}


def test_a_large_file_is_searched_in_a_few_steps(tmp_path, monkeypatch):
    rng = random.Random(7)
    ids = [f"{rng.getrandbits(128):032x}" for _ in range(20_000)]
    with FeatureLines(write_features(tmp_path / "objects.geojson", features(ids, (300, 900)))) as lines:
        looks = []
        at = FeatureLines.at
        monkeypatch.setattr(FeatureLines, "at", lambda self, *where: looks.append(where) or at(self, *where))
        assert all(lines.find(key.encode()) for key in ids[:200])
        assert len(looks) / 200 < 60
        assert all(lines.find(f"{key}x".encode()) is None for key in ids[:200])


@pytest.mark.parametrize(
    "text", ['{"type":"FeatureCollection",\n"features":[\n', '{"type":"FeatureCollection",\n"features":[', ""]
)
def test_a_file_that_ends_in_its_head_is_cut_off(tmp_path, text):
    path = tmp_path / "objects.geojson"
    path.write_text(text)
    with pytest.raises(LayerError, match=r"objects\.geojson, line \d: "), FeatureLines(path) as lines:
        list(lines)


def test_a_head_of_any_length_is_not_read_for_ever(tmp_path):
    path = tmp_path / "objects.geojson"
    path.write_text('{"type":"FeatureCollection",\n' + '"a":1,\n' * 5_000 + '"features":[\n]}\n')
    with pytest.raises(LayerError, match="no member of a release's head"):
        FeatureLines(path)


def test_a_last_line_without_its_newline_is_read(tmp_path):
    path = write_features(tmp_path / "objects.geojson", features(["a", "b"]))
    path.write_bytes(path.read_bytes().rstrip())
    with FeatureLines(path) as lines:
        assert [key for key, _, _ in lines] == [b"a", b"b"]


def test_windows_line_ends_are_refused_with_their_line(tmp_path):
    path = write_features(tmp_path / "objects.geojson", features(["a", "b"]))
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(LayerError, match="line 3: no Feature"), FeatureLines(path) as lines:
        list(lines)
