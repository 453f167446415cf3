"""Anyone can tell what changed between two releases from their files alone: in folders, packed, or on a web server."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kryss.layer.consumer import diff
from kryss.layer.geojson import LayerError

from .objects_file import properties, write_objects

STOP_WENT = "regulatory--stop--g1 at 63.42995, 10.38956 went between 2025-06-10 and 2026-05-20"


@pytest.fixture
def shelf(published, tmp_path) -> Path:
    """A copy of the town's two releases, to be damaged."""
    for name, folder in (("old", published.first), ("new", published.second)):
        shutil.copytree(folder, tmp_path / "9999" / name)
    return tmp_path / "9999"


@pytest.fixture
def server(shelf) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(shelf.parent))) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/9999"
        running.shutdown()
        thread.join()


def told(capsysbinary, a, b, **options) -> str:
    assert diff(str(a), str(b), **options)
    return capsysbinary.readouterr().out.decode()


def test_two_folders_are_told_in_words_the_street_first(shelf, capsysbinary):
    lines = told(capsysbinary, shelf / "old", shelf / "new").splitlines()
    assert lines[0].startswith("regulatory--turn-left--g1 at 63.43049, 10.38988 was replaced by")
    assert lines[2] == STOP_WENT
    assert lines[3] == "2025-06-11.1 -> 2026-05-21.1: 1 replaced, 1 added, 1 ended, 7 refined"
    assert lines[4] == "7 objects stand in both, half of them within 0.0 m, 95 % within 0.0 m"
    assert len(lines) == 5


def test_the_json_is_the_changes_file_of_the_release_but_for_its_reasons(shelf, capsysbinary):
    ours = json.loads(told(capsysbinary, shelf / "old", shelf / "new", as_json=True))
    theirs = json.loads((shelf / "new" / "changes.geojson").read_bytes())
    for document in (ours, theirs):
        document.pop("reasons")
        for feature in document["features"]:
            feature["properties"].pop("reason")
    assert ours == theirs


@pytest.mark.parametrize("form", ["folder/", "file", "packed", "url", "server"])
def test_a_release_may_be_a_folder_a_file_packed_or_far_away(shelf, server, capsysbinary, form):
    new = shelf / "new"
    expected = told(capsysbinary, shelf / "old", new)
    if form == "packed":
        (new / "objects.geojson").unlink()
    where = {
        "folder/": f"{new}/",
        "file": str(new / "objects.geojson"),
        "packed": str(new),
        "url": new.as_uri(),
        "server": f"{server}/new",
    }[form]
    assert told(capsysbinary, shelf / "old", where) == expected


@pytest.mark.parametrize("gone", ["objects.geojson", "objects.geojson.gz"])
def test_a_web_server_may_have_either_form(shelf, server, capsysbinary, gone):
    (shelf / "new" / gone).unlink()
    assert STOP_WENT in told(capsysbinary, f"{server}/old", f"{server}/new")
    kept = "objects.geojson.gz" if gone == "objects.geojson" else "objects.geojson"
    assert STOP_WENT in told(
        capsysbinary, f"{server}/old/{kept if kept.endswith('.gz') else 'objects.geojson'}", f"{server}/new/{kept}"
    )


def test_a_release_and_itself_are_the_same(shelf, capsysbinary):
    assert diff(str(shelf / "old"), str(shelf / "old")) is False
    assert capsysbinary.readouterr().out == b"2025-06-11.1 and 2025-06-11.1: nothing differs\n"


def test_backwards_is_told_too(shelf, capsysbinary):
    text = told(capsysbinary, shelf / "new", shelf / "old")
    assert "2026-05-21.1 -> 2025-06-11.1: 2 returned, 2 removed, 7 refined" in text


def test_the_file_that_is_asked_for_is_replaced_at_once(shelf, tmp_path, capsysbinary):
    out = tmp_path / "what.txt"
    out.write_text("old")
    assert diff(str(shelf / "old"), str(shelf / "new"), out=out)
    assert STOP_WENT in out.read_text()
    assert capsysbinary.readouterr().out == b""
    (shelf / "new" / "objects.geojson").write_bytes(b"nonsense")
    with pytest.raises(LayerError):
        diff(str(shelf / "old"), str(shelf / "new"), out=out)
    assert STOP_WENT in out.read_text()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def damage(folder: Path, change) -> None:
    file = folder / "objects.geojson"
    file.write_bytes(change(file.read_bytes()))


def swapped(data: bytes) -> bytes:
    lines = data.split(b"\n")
    first = next(i for i, line in enumerate(lines) if line.startswith(b"{") and i)
    lines[first + 1], lines[first + 2] = lines[first + 2], lines[first + 1]
    return b"\n".join(lines)


def doubled(data: bytes) -> bytes:
    lines = data.split(b"\n")
    return b"\n".join([*lines[:5], lines[4], *lines[5:]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[: len(data) // 2], r"line \d+: the file ends inside this line: it was cut off"),
        (lambda data: data[: data.rindex(b"]}")], r"line \d+: the file ends before its last line"),
        (lambda data: b"", r"line 1: .*it is empty"),
        (lambda data: b"<!DOCTYPE html>", r"line 1: no file of a release.*DOCTYPE"),
        (lambda data: json.dumps(json.loads(data)).encode(), r"line 1: no file of a release"),
        (lambda data: data.replace(b'"type":"Feature",', b'"type": "Feature",'), r"line 4: no Feature as a release writes it"),
        (swapped, r"line 6: is out of order"),
        (doubled, r"line 6: repeats an id"),
        (lambda data: data + b"{}", r"line \d+: something follows the end"),
        (lambda data: data.replace(b'"status":"standing"', b'"status":17'), r"line \d+: status is '17', not a text"),
        (lambda data: data.replace(b'"class":', b'"klass":'), r"line \d+: no 'class'"),
        (lambda data: data.replace(b'"coordinates":[10.', b'"coordinates":[1e308,10.'), r"line \d+: too many values"),
        (lambda data: data.replace(b'"coordinates":[10.', b'"coordinates":[1000.'), r"line \d+: lon 1000.* is outside WGS84"),
        (lambda data: data.replace(b'"model":"', b'"model":{"a":[]},"m":"'), r"line \d+: model is .* not a text or null"),
        (lambda data: data.replace(b'"error_radius_m":', b'"error_radius_m":true,"r":'), r"line \d+: error_radius_m is 'True'"),
        (lambda data: data.replace(b'"bbox":[', b'"bbox":'), r"line 3: the head is no JSON"),
        (lambda data: data.replace(b',"facing_deg":null', b',"facing_deg":nul'), r"line \d+: "),
        (lambda data: gzip.compress(data)[:-30], r"line \d+: unpacked as far as here"),
        (lambda data: b"\x1f\x8bnonsense", r"line 1: unpacked as far as here"),
        (lambda data: bytes(range(256)) * 100, r"line 1: no file of a release"),
    ],
)
@pytest.mark.parametrize("side", ["old", "new"])
def test_a_damaged_or_foreign_file_is_named_with_its_line(shelf, side, change, message):
    damage(shelf / side, change)
    with pytest.raises(LayerError, match=rf"{side}/objects\.geojson, {message}"):
        diff(str(shelf / "old"), str(shelf / "new"))


def test_releases_of_two_municipalities_are_not_compared(shelf, town):
    manifest = json.loads((shelf / "new" / "manifest.json").read_text())
    (shelf / "new" / "manifest.json").write_text(json.dumps({**manifest, "code": "5001"}))
    with pytest.raises(LayerError, match=r"is of municipality 9999, .* of 5001"):
        diff(str(shelf / "old"), str(shelf / "new"))


def test_files_without_a_manifest_are_not_compared_where_they_lie_apart(town, tmp_path, capsysbinary):
    here, there, near = (tmp_path / f"{name}.geojson" for name in ("here", "there", "near"))
    sign = town.sign("s", "regulatory--stop--g1", 0, 0)
    write_objects(here, [properties(sign)], [10.3, 63.4, 10.5, 63.5])
    write_objects(there, [properties(replace(sign, lon=5.3))], [5.2, 60.3, 5.4, 60.5])
    write_objects(near, [properties(replace(sign, lon=10.4))], [10.4, 63.4, 10.6, 63.5])
    with pytest.raises(LayerError, match="no place in common"):
        diff(str(here), str(there))
    assert "1 moved" in told(capsysbinary, here, near)


def test_what_is_not_there_is_said(shelf, server, tmp_path):
    for where in (str(tmp_path / "nowhere"), f"{server}/nowhere", f"{server}/nowhere/objects.geojson"):
        with pytest.raises(LayerError, match=r"nowhere.*: no objects\.geojson there"):
            diff(str(shelf / "old"), where)
    with pytest.raises(LayerError, match=r"cannot be read: .*Connect"):
        diff(str(shelf / "old"), "http://127.0.0.1:9/new")
    with pytest.raises(LayerError, match="cannot be read"):
        diff(str(shelf / "old"), "gopher://host/new")


def test_a_release_of_schema_1_is_named_as_such(shelf):
    for name in ("objects.geojson", "objects.geojson.gz"):
        (shelf / "old" / name).unlink()
    (shelf / "old" / "manifest.json").write_text('{"schema_version": "1.2.0"}')
    with pytest.raises(LayerError, match=r"a release of schema 1\.2\.0; objects\.geojson came with 2\.0\.0"):
        diff(str(shelf / "old"), str(shelf / "new"))


def test_a_password_in_a_url_is_not_told(shelf, server):
    signed = f"{server.replace('9999', 'none')}/objects.geojson?signature=secret"
    with pytest.raises(LayerError) as caught:
        diff(signed, str(shelf / "new"))
    assert "secret" not in str(caught.value)


def test_a_signed_url_is_read(shelf, server, capsysbinary):
    assert STOP_WENT in told(capsysbinary, f"{server}/old/objects.geojson?signature=secret", shelf / "new" / "objects.geojson")


def test_control_characters_do_not_reach_the_terminal(town, tmp_path, capsysbinary):
    sign = town.sign("s", "\x1b]0;owned\x07\r\nregulatory", 0, 0)
    before, after = write_objects(tmp_path / "a.geojson", []), write_objects(tmp_path / "b.geojson", [properties(sign)])
    text = told(capsysbinary, before, after)
    assert text.count("\n") == 2
    assert all(line.isprintable() for line in text.splitlines())


def test_no_database_and_no_airflow_are_needed(shelf):
    code = (
        "import sys; from kryss.layer.consumer import diff; diff(*sys.argv[1:]); "
        "print([name for name in ('airflow', 'torch', 'psycopg2', 'sqlalchemy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(shelf / "old"), str(shelf / "new")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.splitlines()[-1] == "[]"
