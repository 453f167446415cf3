"""Recording a playback of an area gives the same area."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kryss.demo.area import RecordedArea, load_area
from kryss.demo.playback.play import Playback
from kryss.demo.record import RecordError, record_area
from kryss.demo.record_roads import RoadClients
from kryss.http import StopRun


@pytest.fixture
def played(photo_area: Path, photo_areas: ModuleType) -> Iterator[Playback]:
    with photo_areas.playback(photo_area) as playback:
        yield playback


def _record(photo_areas: ModuleType, played: Playback, out: Path, **options: Any) -> Any:
    roads = RoadClients(junctions=played.urls["junctions"])
    return record_area(out, photo_areas.client_of(played), played.area.municipality, "junctions", roads, **options)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _lines(area: RecordedArea) -> list[dict[str, Any]]:
    """Entities in the order of capture; the moment of upload is not part of what the service tells."""
    lines = [{name: value for name, value in image.items() if name != "uploaded_at"} for image in area.images]
    return sorted(lines, key=lambda line: (line["captured_at"], int(line["id"])))


def test_a_recording_of_a_playback_is_the_area(photo_areas: ModuleType, played: Playback, tmp_path: Path) -> None:
    recording = _record(photo_areas, played, tmp_path / "again")
    before, after = played.area, load_area(recording.path)
    assert (recording.images, recording.left_out) == (22, ())
    assert (after.code, after.name, after.country, after.boundary) == (before.code, before.name, before.country, before.boundary)
    assert _lines(after) == [line for line in _lines(before) if line["id"] in photo_areas.INSIDE]
    assert all(after.photo_path(one).read_bytes() == before.photo_path(one).read_bytes() for one in photo_areas.INSIDE)
    assert json.loads(after.junctions_path.read_text()) == json.loads(before.junctions_path.read_text())


def test_a_recording_of_a_recording_is_the_same_to_the_byte(photo_areas: ModuleType, played: Playback, tmp_path: Path) -> None:
    first = _record(photo_areas, played, tmp_path / "first").path
    with photo_areas.playback(first) as again:
        second = _record(photo_areas, again, tmp_path / "second").path
    assert _files(first) == _files(second)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


def test_what_cannot_be_had_is_left_out_with_its_reason(photo_areas: ModuleType, played: Playback, tmp_path: Path) -> None:
    played.faults.order("cut-at-the-source", server="mapillary-photos", path="^/cdn/1001/", count=-1)
    played.faults.order("not-found", server="mapillary-graph", path="^/1002", count=-1)
    recording = _record(photo_areas, played, tmp_path / "area")
    assert [image_id for image_id, _ in recording.left_out] == ["1001", "1002"]
    assert "not a readable photo" in recording.left_out[0][1]
    assert {image["id"] for image in load_area(recording.path).images} == set(photo_areas.INSIDE) - {"1001", "1002"}


def test_a_stopped_recording_leaves_no_area_and_goes_on_where_it_was(
    photo_areas: ModuleType, played: Playback, tmp_path: Path
) -> None:
    played.faults.order("revoked-token", server="mapillary-graph", path=r"^/\d+", after=10)
    with pytest.raises(StopRun):
        _record(photo_areas, played, tmp_path / "area")
    assert not (tmp_path / "area").exists()
    played.faults.clear()
    before = played.stats()["requests"]["mapillary-photos /cdn/{id}/original"]
    assert _record(photo_areas, played, tmp_path / "area").images == 22
    assert played.stats()["requests"]["mapillary-photos /cdn/{id}/original"] == 22
    assert before >= 10


def test_a_recording_never_overwrites(photo_areas: ModuleType, played: Playback, tmp_path: Path) -> None:
    (tmp_path / "area").mkdir()
    with pytest.raises(RecordError, match="exists"):
        _record(photo_areas, played, tmp_path / "area")


def test_a_recording_can_be_limited(photo_areas: ModuleType, played: Playback, tmp_path: Path) -> None:
    recording = _record(photo_areas, played, tmp_path / "area", limit=5)
    assert tuple(image["id"] for image in load_area(recording.path).images) == photo_areas.INSIDE[:5]


def test_an_area_without_images_is_an_error(photo_areas: ModuleType, played: Playback, tmp_path: Path) -> None:
    played.set_now(photo_areas.EPOCH_1.replace(year=2020))
    with pytest.raises(RecordError, match="no usable image inside the boundary of Prøve"):
        _record(photo_areas, played, tmp_path / "area")


REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "area-damasen"


@pytest.mark.real
@pytest.mark.skipif(not REAL.exists(), reason="no ../shared")
def test_a_real_area_comes_back_the_same(photo_areas: ModuleType, tmp_path: Path) -> None:
    with Playback(load_area(REAL)) as played:
        after = load_area(_record(photo_areas, played, tmp_path / "area").path)
    assert list(after.images) == list(played.area.images)
    assert all(after.photo_path(i["id"]).read_bytes() == played.area.photo_path(i["id"]).read_bytes() for i in after.images)
