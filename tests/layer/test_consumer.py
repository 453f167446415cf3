"""What docs/layer.md promises to consumers, tried as one of them: every command and program on that page is run as it stands
there, against a release on a plain file server, and has to answer right."""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from kryss.layer.validate import validate
from kryss.model import Municipality

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "layer.md").read_text(encoding="utf-8")
SCHEMA = json.loads((ROOT / "include/kryss/layer/schema.json").read_text(encoding="utf-8"))["$defs"]
CODE = "7777"
Json = dict[str, Any]


@dataclass(frozen=True)
class Served:
    """A municipality's releases on a file server of this machine."""

    url: str
    folder: Path
    first: str
    second: str
    store: Any


@pytest.fixture(scope="module")
def served(published, town, tmp_path_factory) -> Iterator[Served]:
    """Two nights: a stop sign comes, another one is found but not sure, one goes; a yield sign is replaced by a stop sign."""
    root = tmp_path_factory.mktemp("served")
    kryssby = Municipality(CODE, "Kryssby", "NO", town.municipality.boundary)
    stop = "regulatory--stop--g1"
    later: Json = {"first_seen_at": town.second, "last_seen_at": town.second}
    gone: Json = {"status": "ended", "ended_at": town.second, "standing_probability": 0.02}
    old = [
        town.sign("s1", stop, -22, -6),
        town.sign("s2", "regulatory--yield--g1", 20, 5),
        town.sign("s3", "regulatory--priority-road--g4", 6, 40),
        town.sign("s4", stop, 40, 40),
    ]
    new = [
        replace(old[0], **gone),
        replace(old[1], **gone, replaced_by=town.id("s5")),
        replace(old[2], last_seen_at=town.second),
        old[3],
        town.sign("s5", stop, 20.5, 5, **later, standing_probability=0.91),
        town.sign("s6", stop, -30, 20, **later, error_radius_m=1.4, standing_probability=0.99),
        town.sign("s7", stop, 30, -30, error_radius_m=14.2, status="unconfirmed", standing_probability=0.62),
        town.sign("s8", "regulatory--yield--g1", 31, -31, **later),
    ]
    folders = []
    for day, objects in ((town.spring, old), (town.next_spring, new)):
        reasons = {one.id: "evidence" if one.id == town.id("s7") else "street" for one in objects}
        area = town.junction(f"nvdb:{CODE}")
        town.believe(published.store, objects, municipality=kryssby, intersections=[area], reasons=reasons)
        folders.append(Path(town.publish(published.store, root, day, municipality=kryssby).url))
    handler = functools.partial(Quiet, directory=str(root))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Served(f"http://127.0.0.1:{server.server_port}", root / CODE, folders[0].name, folders[1].name, published.store)
    server.shutdown()
    server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def blocks(language: str, containing: str) -> list[str]:
    return [code for code in re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if containing in code]


def block(language: str, containing: str) -> str:
    (code,) = blocks(language, containing)
    return code


def run(served: Served, arguments: list[str], folder: Path, given: str | None = None) -> str:
    settings = {
        "ROOT": served.url,
        "CODE": CODE,
        "FIRST": served.first,
        "SECOND": served.second,
        "PYTHONPATH": str(ROOT / "include"),
        "PYTHONWARNINGS": "error::UserWarning",
    }
    done = subprocess.run(
        arguments,
        input=given,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **settings},
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def shell(served: Served, containing: str, folder: Path) -> str:
    return run(served, ["bash", "-euo", "pipefail", "-c", block("sh", containing)], folder)


def python(served: Served, containing: str, folder: Path, more: str = "") -> str:
    return run(served, [sys.executable, "-c", block("python", containing) + more], folder)


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [one for one in programs if shutil.which(one) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed")


@needs("curl", "jq")
def test_latest_says_which_release_is_current(served, tmp_path):
    told = shell(served, '"release \\(.release)', tmp_path)
    assert (
        told == f"release 2026-05-21.1, objects at 2026-05-21.1/objects.geojson, all releases: {served.first} {served.second}\n"
    )


@needs("curl", "jq")
def test_which_stop_signs_appeared_and_how_sure_with_curl_and_jq(served, town, tmp_path):
    told = [line.split("\t") for line in shell(served, "stands with", tmp_path).splitlines()]
    assert told == [
        ["replaced", "street", town.id("s5"), "standing", "2026-05-20", "stands with 91 %", "within 2.3 m"],
        *sorted(
            [
                ["added", "street", town.id("s6"), "standing", "2026-05-20", "stands with 99 %", "within 1.4 m"],
                ["added", "evidence", town.id("s7"), "unconfirmed", "2025-06-10", "stands with 62 %", "within 14.2 m"],
            ],
            key=lambda row: row[2],
        ),
    ]


def test_which_stop_signs_appeared_and_how_sure_with_geopandas(served, town, tmp_path):
    told = [line.split() for line in python(served, "regulatory--stop", tmp_path).splitlines()]
    assert told[0] == ["replaced", "street", town.id("s5"), "standing", "0.91", "2.3"]
    assert sorted(row[2] for row in told[1:]) == sorted([town.id("s6"), town.id("s7")])
    assert ["added", "evidence", town.id("s7"), "unconfirmed", "0.62", "14.2"] in told


@needs("curl", "jq", "gunzip")
def test_what_stands_is_counted_from_the_packed_file(served, tmp_path):
    told = [line.split() for line in shell(served, "gunzip", tmp_path).splitlines()]
    assert sorted(told) == [["1", "regulatory--priority-road--g4"], ["1", "regulatory--yield--g1"], ["3", "regulatory--stop--g1"]]


def test_objects_and_areas_are_joined_with_geopandas(served, tmp_path):
    lines = python(served, "sure.merge", tmp_path).splitlines()
    assert len(lines) == 1 + 5  # those that stand, well known: s3, s4, s5, s6, s8
    assert all("Storgata × Kirkegata" in line for line in lines[1:])


@needs("curl", "jq", "ogr2ogr", "ogrinfo")
def test_gdal_reads_from_the_address(served, tmp_path):
    told = shell(served, "ogr2ogr", tmp_path)
    assert re.findall(r"class \(String\) = (\S+)\s+number \(Integer\) = (\d+)", told) == [
        ("regulatory--priority-road--g4", "1"),
        ("regulatory--stop--g1", "4"),
        ("regulatory--yield--g1", "1"),
    ]


@needs("node")
def test_a_browser_needs_no_library(served, town, tmp_path):
    constants = f"const ROOT = {json.dumps(served.url)}, CODE = {json.dumps(CODE)};\n"
    told = run(served, ["node", "--input-type=module", "-"], tmp_path, constants + block("js", "fetch"))
    rows = {line.split()[0]: line.split()[1:] for line in told.splitlines()}
    assert set(rows) == {town.id(key) for key in ("s4", "s5", "s6", "s7")}
    lon, lat, radius = map(float, rows[town.id("s7")])
    assert (round(lon, 3), round(lat, 3), radius) == (10.391, 63.43, 14.2)


@needs("curl", "jq", "sha256sum")
def test_a_copy_is_whole_and_valid(served, tmp_path):
    assert shell(served, "sha256sum", tmp_path) == f"{served.second} is whole\n"
    copy = tmp_path / served.second
    assert {path.name for path in copy.iterdir()} == {path.name for path in (served.folder / served.second).iterdir()}
    assert validate(copy) == []


def test_a_table_follows_the_releases_by_their_changes(served, tmp_path):
    """What is left after the changes are applied is the new release, attribute by attribute."""
    more = "\nassert table == rows(latest['release']), 'the table is not the release'\nprint(sorted(gone), len(touched))"
    told = python(served, "have == changes", tmp_path, more).splitlines()
    assert told == ["8 objects of 2026-05-21.1", "[] 6"]


def test_any_two_releases_are_compared_and_any_is_checked(served, tmp_path):
    diff, check = (line.split("#")[0].strip() for line in block("sh", "./kryss diff").splitlines())
    settings = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "include"),
        "ROOT": served.url,
        "CODE": CODE,
        "FIRST": served.first,
        "SECOND": served.second,
    }

    def kryss(line: str) -> subprocess.CompletedProcess[str]:
        command = line.replace("./kryss", f'"{sys.executable}" -m kryss.cli', 1)  # the launcher would set up an environment first
        return subprocess.run(
            ["bash", "-c", command], cwd=ROOT, env=settings, capture_output=True, text=True, check=False, timeout=120
        )

    told = kryss(diff)
    assert told.returncode == 1, told
    assert "regulatory--stop--g1" in told.stdout and "went between" in told.stdout
    assert kryss(diff.replace("$SECOND", "$FIRST")).returncode == 0
    assert kryss(check).returncode == 0, kryss(check)
    assert kryss(check.replace("$CODE", "nothing")).returncode == 1


def test_what_stood_on_a_day_is_in_valid_time(served, tmp_path):
    told = python(served, "def stood", tmp_path)
    assert told.strip() == str(
        [
            "regulatory--priority-road--g4",
            "regulatory--stop--g1",
            "regulatory--stop--g1",
            "regulatory--stop--g1",
            "regulatory--yield--g1",
        ]
    )


def test_valid_time_is_a_multirange_to_postgresql(served):
    features = json.loads((served.folder / served.second / "objects.geojson").read_bytes())["features"]
    query = re.search(r"`(valid_time::tstzmultirange @> .*?)`", PAGE)
    assert query
    statement = text("SELECT " + query[1].replace("valid_time::tstzmultirange", "CAST(:told AS tstzmultirange)"))
    with served.store._engine.connect() as connection:
        told = {one["id"]: connection.execute(statement, {"told": one["properties"]["valid_time"]}).scalar() for one in features}
    assert sum(told.values()) == 5


def table(definition: str) -> str:
    """The properties of a Feature as the page shows them, from the schema."""
    one = SCHEMA[definition]
    properties = one["properties"]["properties"]["properties"] if "geometry" in one["properties"] else one["properties"]
    if definition == "object_with_history":
        known = SCHEMA["object"]["properties"]["properties"]["properties"]
        properties = {name: value for name, value in properties.items() if name not in known}
    rows = [f"| `{name}` | {kind(value)} | {meaning(value)} |" for name, value in properties.items()]
    return "\n".join(["| property | type | meaning |", "|---|---|---|", *rows])


def meaning(value: Json) -> str:
    target = value.get("$ref", "").rpartition("/")[2]
    return str(value.get("description") or SCHEMA[target]["description"])


def kind(value: Json) -> str:
    if "anyOf" in value:
        return " or ".join(kind(one) for one in value["anyOf"])
    target = value.get("$ref", "").rpartition("/")[2]
    if target in ("instant",):
        return "instant"
    if target:
        return kind(SCHEMA[target])
    if "enum" in value:
        return "text"
    names = {"string": "text", "array": "list"}
    types = [value["type"]] if isinstance(value["type"], str) else value["type"]
    return " or ".join(names.get(one, one) for one in types)


@pytest.mark.parametrize("definition", ["object", "area", "object_with_history"])
def test_the_tables_of_the_page_are_those_of_the_schema(definition):
    assert table(definition) in PAGE


def test_every_file_of_a_release_is_on_the_page(served):
    for path in (served.folder / served.second).iterdir():
        name = path.name.removesuffix(".gz")
        assert name in PAGE, name


def test_nothing_on_the_page_is_left_untried():
    """What is tried above is all that the page shows to be run."""
    shown = {code for language in ("sh", "python", "js") for code in blocks(language, "")}
    here = Path(__file__).read_text(encoding="utf-8")
    tried = re.findall(r'(?:shell|python)\(served, (["\'])(.*?)\1|block\("(?:sh|js)", (["\'])(.*?)\3', here)
    words = [(one[1] or one[3]).encode().decode("unicode_escape") for one in tried]
    assert {code for code in shown if not any(word in code for word in words)} == set()
    assert len(shown) == len(words)
