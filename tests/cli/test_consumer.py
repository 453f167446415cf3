"""diff, validate and rebuild as people type them, on releases of a real database."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest

from kryss.cli.__main__ import main
from kryss.layer.release import Inputs, publish, sizes_of
from kryss.layer.storage import Shelf
from kryss.model import Intersection, Municipality, StreetObject

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
RING = ((10.399, 63.399), (10.401, 63.399), (10.401, 63.401), (10.399, 63.401), (10.399, 63.399))
CODE = "gronn"
TOWN = Municipality(CODE, "Grønn <b>by</b>", "NO", {"type": "Polygon", "coordinates": [[list(corner) for corner in RING]]})


def sign(number: int, **changes: Any) -> StreetObject:
    standing = StreetObject(
        id=str(uuid5(NAMESPACE_URL, f"sign {number}")),
        class_name="regulatory--stop--g1",
        lon=10.4 + number * 1e-5,
        lat=63.4,
        covariance=(1.0, 0.2, 2.0),
        error_radius_m=3.0,
        first_seen_at=NOON,
        last_seen_at=NOON + timedelta(hours=1),
        status="standing",
        standing_probability=0.9,
        ended_at=None,
        evidence=(("100", number),),
        model_key="signs@1",
        method="known-size/sfm",
    )
    return replace(standing, **changes)


@dataclass
class Published:
    url: str
    folder: Path
    first: str
    second: str

    @property
    def names(self) -> list[str]:
        return [Path(self.first).name, Path(self.second).name]


@pytest.fixture(scope="module")
def published(postgis_server: Any, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """Two releases: in the second a sign has fallen and another has come."""
    from kryss.store import open_store

    url = postgis_server.create_database(migrated_template)
    store, root = open_store(url), tmp_path_factory.mktemp("releases")
    fallen = sign(1, status="ended", ended_at=NOON + timedelta(days=9), standing_probability=0.01)
    for day, objects in ((2, [sign(1), sign(2)]), (9, [fallen, sign(2), sign(3)])):
        with store.transaction(CODE) as tx:
            tx.upsert_municipality(TOWN)
            tx.write_intersections(CODE, [Intersection("nvdb:1", "nvdb", 10.4, 63.4, 50.0, RING)])
            tx.write_objects(CODE, objects, reasons={one.id: "street" for one in objects})
            tx.write_assignments(CODE, {one.id: "nvdb:1" for one in objects})
        shelf = Shelf(root.as_uri(), CODE)
        with shelf.writing(), store.snapshot() as reader:
            rows = reader.layer(CODE, sizes=sizes_of("eu"), image_url=None)

            def record(release: Any, inputs: dict[str, Any], known: Any = rows.known) -> None:
                with store.transaction(CODE) as tx:
                    tx.record_release(release, inputs, known)

            inputs = Inputs("signs@1", "0.1.0", 1, NOON, {"signs@1": 1}, image_url=None)
            since = reader.release_instants(CODE)
            publish(rows, shelf, TOWN, date(2026, 5, day), inputs, record=record, since=since)
    folder = root / CODE
    first, second = (str(folder / f"2026-05-0{day}.1") for day in (2, 9))
    yield Published(url, folder, first, second)
    postgis_server.drop_database(url)


@pytest.fixture(scope="module")
def website(published: Published) -> Iterator[str]:
    """The same releases from a plain file server."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(published.folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_diff_tells_what_changed_and_exits_like_diff(published: Published, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", published.first, published.second]) == 1
    told = capsys.readouterr().out
    assert "stop" in told
    assert "went" in told
    assert main(["diff", published.second, published.second]) == 0


def test_diff_writes_json_that_says_what_the_text_says(
    published: Published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "changes.geojson"
    assert main(["diff", "--json", "--out", str(out), published.first, published.second]) == 1
    told = json.loads(out.read_text())
    assert (told["by_change"]["added"], told["by_change"]["removed"]) == (1, 1)
    assert capsys.readouterr().out == ""


def test_diff_and_validate_read_a_plain_file_server(
    published: Published, website: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (f"{website}/{name}" for name in published.names)
    assert main(["diff", first, second]) == 1
    assert main(["validate", second]) == 0
    assert capsys.readouterr().out.endswith(f"{second}: valid\n")


@pytest.mark.parametrize("where", ["/nowhere/at/all", "http://127.0.0.1:9/none"])
def test_what_cannot_be_read_is_trouble_and_no_difference(
    published: Published, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", where, published.first]) == 2
    error = capsys.readouterr().err
    assert error.startswith("kryss diff: ")
    assert "Traceback" not in error
    assert main(["validate", where]) == 1
    said = capsys.readouterr()
    assert "Traceback" not in said.err + said.out


def test_validate_names_the_file_that_was_changed(
    published: Published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    copy = tmp_path / Path(published.second).name
    shutil.copytree(published.second, copy)
    assert main(["validate", str(copy)]) == 0
    capsys.readouterr()
    file = copy / "objects.geojson"
    file.write_bytes(file.read_bytes().replace(b'"standing_probability":0.9', b'"standing_probability":9.9', 1))
    assert main(["validate", str(copy)]) == 1
    assert "objects.geojson" in capsys.readouterr().out


def test_rebuild_makes_every_byte_again(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KRYSS_DATABASE_URL", published.url)
    for given, name in ((["--as-of", "2026-05-08"], "2026-05-02.1"), (["--release", "2026-05-09.1"], "2026-05-09.1")):
        assert main(["rebuild", CODE, *given, "--out", str(tmp_path)]) == 0
        assert "every byte is as it was published" in capsys.readouterr().out
        again = {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        assert again == {path.name: path.read_bytes() for path in (published.folder / name).iterdir()}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([CODE, "--release", "2026-01-01.1"], "2026-01-01.1"),
        ([CODE, "--as-of", "2020-01-01"], "2020-01-01"),
        (["nobody", "--as-of", "2026-06-01"], "nobody"),
    ],
)
def test_rebuild_says_what_it_does_not_know(
    published: Published,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.setenv("KRYSS_DATABASE_URL", published.url)
    assert main(["rebuild", *arguments, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_rebuild_says_when_the_database_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KRYSS_DATABASE_URL", "postgresql://me:secret@127.0.0.1:9/none")
    assert main(["rebuild", CODE, "--as-of", "2026-05-08", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "no connection" in error
    assert "secret" not in error
    with pytest.raises(SystemExit):
        main(["rebuild", CODE, "--as-of", "yesterday", "--out", str(tmp_path)])
    assert "'yesterday' is no day" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["diff", "validate", "rebuild"])
def test_help_shows_examples_and_exit_statuses(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    told = capsys.readouterr().out
    assert f"  ./kryss {command} " in told
    assert "exit status: 0 " in told
