"""Reading releases and reports for the web, from a folder and from an object store, whole and broken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from kryss.pipeline import runs
from kryss.pipeline.published import NotPublished, Published, Unreadable, chunks


@pytest.fixture(params=["folder", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "folder":
        yield tmp_path.as_uri()
        return
    yield "memory://published"
    memory = fsspec.filesystem("memory")
    if memory.exists("/published"):
        memory.rm("/published", recursive=True)


def write(root: str, path: str, value: Any) -> None:
    filesystem, base = fsspec.core.url_to_fs(root)
    filesystem.makedirs(f"{base}/{path}".rsplit("/", 1)[0], exist_ok=True)
    filesystem.pipe_file(f"{base}/{path}", value if isinstance(value, bytes) else json.dumps(value).encode())


def release(root: str, name: str = "2026-05-21.1", body: bytes = b"{}") -> None:
    files = [{"name": "objects.geojson", "bytes": len(body), "sha256": "0" * 64}]
    write(root, f"alfa/{name}/objects.geojson", body)
    write(root, f"alfa/{name}/other.json", b"not in the manifest")
    write(root, f"alfa/{name}/manifest.json", {"schema_version": "2.0.0", "files": files})
    write(root, "alfa/latest.json", {"release": name})


def test_only_files_that_the_manifest_names_are_read(root: str) -> None:
    release(root, body=b"x" * 700_000)
    shelf = Published(root, "alfa")
    body, entry = shelf.open("2026-05-21.1", "objects.geojson")
    parts = list(chunks(body))
    assert b"".join(parts) == b"x" * 700_000 and len(parts) == 3
    assert entry is not None and entry.bytes == 700_000
    assert shelf.open("2026-05-21.1", "manifest.json")[1] is None
    for name in ("other.json", "../latest.json", "..", "", "objects.geojson\n", "objects.geojson/", "/etc/passwd", "x" * 10_000):
        with pytest.raises(NotPublished):
            shelf.open("2026-05-21.1", name)
    for name in ("2026-05-21", "2026-05-21.0", "2026-05-21.1\n", "..", "٢٠٢٦-05-21.1", "2026-05-21.2", ""):
        with pytest.raises(NotPublished):
            shelf.open(name, "objects.geojson")


def test_a_release_in_the_place_of_another_is_read_anew(root: str) -> None:
    """A demo begins from nothing, and publishes under the same names."""
    shelf = Published(root, "alfa")
    release(root, body=b"{}")
    assert shelf.manifest("2026-05-21.1").files["objects.geojson"].bytes == 2
    release(root, body=b"{   }")
    files = [
        {"name": "objects.geojson", "bytes": 5, "sha256": "1" * 64},
        {"name": "areas.geojson", "bytes": 5, "sha256": "1" * 64},
    ]
    write(root, "alfa/2026-05-21.1/manifest.json", {"schema_version": "2.0.0", "files": files})
    assert shelf.manifest("2026-05-21.1").files["objects.geojson"].bytes == 5


def test_before_the_first_release_there_is_none(root: str) -> None:
    with pytest.raises(NotPublished):
        Published(root, "alfa").latest()


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b"null", b'{"release": "../../etc"}', b'{"release": 5}', b"\xff\xfe"])
def test_a_pointer_that_is_broken_is_told(root: str, broken: bytes) -> None:
    write(root, "alfa/latest.json", broken)
    with pytest.raises(Unreadable):
        Published(root, "alfa").latest()


@pytest.mark.parametrize(
    "broken", [b"", b"{", b"[]", b"null", b"{}", b'{"files": [5]}', b'{"files": [{"name": "a"}]}', b'{"files": {}}']
)
def test_a_manifest_that_is_broken_is_told(root: str, broken: bytes) -> None:
    write(root, "alfa/2026-05-21.1/manifest.json", broken)
    with pytest.raises(Unreadable):
        Published(root, "alfa").manifest("2026-05-21.1")


def test_storage_that_cannot_be_reached_is_told_without_its_address() -> None:
    with pytest.raises(Unreadable) as told:
        Published("http://user:secret@127.0.0.1:1/releases", "alfa").latest()
    assert "secret" not in str(told.value) and "127.0.0.1" not in str(told.value)


def test_reports_are_listed_by_when_their_runs_ended(root: str) -> None:
    assert runs.reports(root, "alfa") == []
    for number in range(5):
        write(
            root,
            f"runs/alfa/{number:016x}/report.json",
            {"ended_at": f"2026-05-2{9 - number}T02:00:00Z", "photos": {"new": number}},
        )
    write(root, f"runs/alfa/{'e' * 16}/report.json", b"{")
    write(root, f"runs/alfa/{'d' * 16}/report.json", b"[1]")
    write(root, f"runs/alfa/{'c' * 16}/report.json", {"photos": "many", "missing": 4})
    write(root, f"runs/alfa/{'b' * 16}/discover.json", {})
    write(root, "runs/alfa/not-a-run/report.json", {})
    listed = runs.reports(root, "alfa")
    told = [(line["run"], line["new"]) for line in listed if "problem" not in line]
    assert told == [(f"{number:016x}", number) for number in range(5)], "newest first"
    assert {line["run"][0] for line in listed if "problem" in line} == {"c", "d", "e"}
    assert len(runs.reports(root, "alfa", 2)) == 2


def test_a_report_is_read_anew_once_its_run_has_written_another(root: str) -> None:
    write(root, "runs/alfa/0123456789abcdef/report.json", {"detections": 1})
    assert runs.report(root, "alfa", "0123456789abcdef")["detections"] == 1
    write(root, "runs/alfa/0123456789abcdef/report.json", {"detections": 12345})
    assert runs.report(root, "alfa", "0123456789abcdef")["detections"] == 12345
    for name in ("", "..", "0123456789ABCDEF", "0123456789abcdef\n", "a" * 16):
        with pytest.raises(NotPublished):
            runs.report(root, "alfa", name)
