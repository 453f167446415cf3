"""Validation names the file, the Feature and the value of everything that is wrong with a release."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import json
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import orjson
import pytest

from kryss.layer.validate import problems_of, validate

Json = dict[str, Any]
DAMAGED = "objects.geojson"


@pytest.fixture
def shelf(published, tmp_path) -> Path:
    """A copy of the town's folder: latest.json and two releases."""
    return Path(shutil.copytree(published.root / "9999", tmp_path / "9999"))


@pytest.fixture
def folder(published, shelf) -> Path:
    return shelf / published.second.name


def test_the_releases_of_the_town_have_no_problem(published):
    assert validate(published.first) == []
    assert validate(published.second) == []
    assert validate(published.root / "9999") == []
    assert validate(published.root / "9999" / "latest.json") == []
    assert validate(str(published.second) + "/") == []


def test_every_property_of_the_schema_is_described_with_its_unit():
    defs = json.loads(Path("include/kryss/layer/schema.json").read_text(encoding="utf-8"))["$defs"]
    units = {"m": "metres", "deg": "degrees", "kmh": "km/h", "at": "UTC"}
    geojson = {"type", "features", "coordinates", "geometry", "geometries", "properties"}
    for name, definition in defs.items():
        for key, one in definition.get("properties", {}).items():
            if key in geojson or "const" in one:
                continue
            resolved = {**defs.get(one.get("$ref", "").rpartition("/")[2], {}), **one}
            assert resolved.get("description"), f"{name}.{key}"
            unit = units.get(key.rpartition("_")[2])
            if unit and "_" in key and name not in ("state",):
                assert unit in resolved["description"] or "as of" in resolved["description"], f"{name}.{key}"


# -- damage -------------------------------------------------------------------------------------------------------------------


def sign(folder: Path) -> None:
    """Makes manifest.json true to the files again, so that only what is in them can be found wrong; packs them anew."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for item in manifest["files"]:
        path = folder / item["name"]
        if path.exists() and item["name"].endswith(".gz"):
            path.write_bytes(gzip.compress((folder / item["name"].removesuffix(".gz")).read_bytes(), mtime=0))
        if path.exists():
            item.update(bytes=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def read(path: Path) -> Json:
    return orjson.loads(path.read_bytes())


def dump(collection: Json) -> bytes:
    """In the form of the release: one Feature a line."""
    head = [member for member in collection if member not in ("type", "features")]
    cut = list(collection).index("features")
    before = [one for one in head if list(collection).index(one) < cut]
    after = [one for one in head if one not in before]
    parts = [b'{"type":"FeatureCollection",\n']
    parts += [b'"%s":%s,\n' % (one.encode(), orjson.dumps(collection[one])) for one in before]
    parts.append(b'"features":[\n')
    parts.append(b"\n,".join(orjson.dumps(one) for one in collection["features"]))
    parts.append(b"\n]" if collection["features"] else b"]")
    parts += [b',\n"%s":%s' % (one.encode(), orjson.dumps(collection[one])) for one in after]
    return b"".join([*parts, b"}\n"])


def spoil(folder: Path, name: str, change: Callable[[Json], object]) -> list[str]:
    path = folder / name
    document = read(path)
    change(document)
    path.write_bytes(dump(document) if name.endswith(".geojson") else orjson.dumps(document))
    sign(folder)
    return validate(folder)


def found(problems: list[str], file: str, words: str) -> bool:
    return any(line.startswith(f"{file}: ") and words in line for line in problems)


def first(document: Json) -> Json:
    return document["features"][0]


def properties(document: Json) -> Json:
    return document["features"][0]["properties"]


def entry(document: Json) -> Json:
    return properties(document)["objects"][0]


def lasting(document: Json) -> Json:
    """An object that both nights saw."""
    return next(one for one in properties(document)["objects"] if one["first_seen_at"] < one["last_seen_at"])


def ring(document: Json) -> list[list[float]]:
    geometry = first(document)["geometry"]
    return geometry["coordinates"][0] if geometry["type"] == "Polygon" else geometry["geometries"][0]["coordinates"][0]


def swap(document: Json) -> None:
    for feature in document["features"]:
        feature["geometry"]["coordinates"].reverse()


def told(kind: str, document: Json) -> Json:
    return next(one for one in document["features"] if one["properties"]["kind"] == kind)


IN_FILES: list[tuple[str, Callable[[Json], object], str]] = [
    # RFC 7946
    ("areas.geojson", lambda d: ring(d).reverse(), "turns the wrong way"),
    ("intersections.geojson", lambda d: ring(d).reverse(), "feature 'nvdb:1': ring 0 of the area turns the wrong way"),
    ("areas.geojson", lambda d: ring(d).pop(), "ring 0 of the area is not closed"),
    ("areas.geojson", lambda d: ring(d).insert(1, [ring(d)[2][0] + 0.001, ring(d)[2][1] + 0.001]), "not a valid polygon"),
    ("objects.geojson", lambda d: d.update(crs={"type": "name"}), "has a crs member, which RFC 7946"),
    ("objects.geojson", lambda d: first(d)["geometry"].update(coordinates=[10.12345678, 63.43]), "more than 7 decimals"),
    ("roads.geojson", lambda d: first(d)["geometry"]["coordinates"][0][0].append(12.0), "has more than 2 items"),
    ("objects.geojson", lambda d: first(d)["geometry"].update(coordinates=[10.39, 163.4]), "163.4 is greater than the maximum"),
    ("objects.geojson", swap, "bbox is"),
    ("objects.geojson", lambda d: (swap(d), d.pop("bbox")), "intersections.geojson says something else of it"),
    ("areas.geojson", lambda d: d.pop("bbox"), "bbox is None"),
    ("objects.geojson", lambda d: d.update(bbox=[0, 0, 1, 1]), "bbox is [0, 0, 1, 1], but"),
    ("intersections.geojson", lambda d: first(d).update(bbox=[0, 0, 1, 1]), "feature 'nvdb:1': bbox is [0, 0, 1, 1], but"),
    ("objects.geojson", lambda d: first(d).pop("id"), "id"),
    ("objects.geojson", lambda d: first(d).update(geometry=None), "geometry"),
    ("objects.geojson", lambda d: first(d).update(type="Fature"), 'type: "Feature" was expected'),
    # ids and order
    ("objects.geojson", lambda d: d["features"].insert(1, first(d)), "the id is used twice"),
    ("objects.geojson", lambda d: d["features"].reverse(), "is out of order after"),
    ("objects.geojson", lambda d: properties(d).update(id=d["features"][1]["id"]), "properties.id is"),
    ("intersections.geojson", lambda d: properties(d)["objects"].reverse(), "not in order of id"),
    ("objects.geojson", lambda d: (first(d).update(id="a1"), properties(d).update(id="a1")), '"a1" does not match'),
    # the schema
    ("objects.geojson", lambda d: properties(d).pop("status"), '"status" is a required property'),
    ("objects.geojson", lambda d: properties(d).update(colour="red"), "colour"),
    ("objects.geojson", lambda d: properties(d).update(error_radius_m=None), "error_radius_m: null is not of type"),
    ("objects.geojson", lambda d: properties(d).update(last_seen_at="2026-01-01 00:00"), "2026-01-01 00:00"),
    ("objects.geojson", lambda d: properties(d).update(first_seen_at="2025-02-30T00:00:00Z"), "is no date of the calendar"),
    ("objects.geojson", lambda d: properties(d).update(valid_time="2025-06-10T09:30:00Z/.."), "valid_time"),
    ("intersections.geojson", lambda d: entry(d)["history"][0].update(reason="whim"), "whim"),
    ("manifest.json", lambda d: d.update(country="Norway"), "Norway"),
    ("manifest.json", lambda d: d["files"][0].update(name="../../etc/passwd"), "../../etc/passwd"),
    ("schema.json", lambda d: d["$defs"]["object"].pop("required"), "is not the schema 2.0.0"),
    # what an object says of itself
    ("objects.geojson", lambda d: properties(d).update(last_seen_at="2024-01-01T00:00:00Z"), "after it was last seen"),
    (
        "objects.geojson",
        lambda d: properties(d).update(status="standing"),
        "status is 'standing', but ended_at is '2026-05-20T09:30:00Z'",
    ),
    ("objects.geojson", lambda d: properties(d).update(began_after="2027-06-11T00:00:00Z"), "began after 2027-06-11T00:00:00Z"),
    ("objects.geojson", lambda d: properties(d).update(error_radius_m=2.301), "error_radius_m 2.301 has more than 2 decimals"),
    ("objects.geojson", lambda d: properties(d).update(object_type="traffic light"), "but its class is"),
    (
        "objects.geojson",
        lambda d: properties(d).update(valid_time="{[2020-01-01T00:00:00Z,)}"),
        "is not from 2025-06-10T09:30:00Z",
    ),
    ("intersections.geojson", lambda d: entry(d).update(image_count=7), "image_count is 7, but evidence names 2 images"),
    ("intersections.geojson", lambda d: entry(d).update({"class": "object--other"}), "the last state of its history has class"),
    (
        "intersections.geojson",
        lambda d: entry(d).update(
            absences=[dict.fromkeys(("gone_after", "gone_by", "back_after", "back_by"), "2027-01-01T00:00:00Z")]
        ),
        "are not in time order between its first and its last sighting",
    ),
    (
        "intersections.geojson",
        lambda d: lasting(d).update(
            absences=[dict.fromkeys(("gone_after", "gone_by", "back_after", "back_by"), "2025-12-24T00:00:00Z")]
        ),
        "does not leave out its absences",
    ),
    # the files among themselves
    ("intersections.geojson", lambda d: first(d)["geometry"]["geometries"].pop(), "has 10 points but 11 objects"),
    ("intersections.geojson", lambda d: properties(d).update(object_count=1), "object_count is 1, but 8 objects stand"),
    ("intersections.geojson", lambda d: entry(d).update(standing_probability=0.5), "has name"),
    (
        "objects.geojson",
        lambda d: properties(d).update(standing_probability=0.5),
        "intersections.geojson says something else of it",
    ),
    ("objects.geojson", lambda d: d["features"].pop(0), "has 10 objects, intersections.geojson 11"),
    ("objects.geojson", lambda d: properties(d).update(intersection_id="nvdb:2"), "'nvdb:2' is no intersection of"),
    ("areas.geojson", lambda d: properties(d).update(name="Torget"), "its properties are not those in intersections.geojson"),
    (
        "areas.geojson",
        lambda d: properties(d).update(object_count=7),
        "object_count is 7, which is not that in intersections.geojson",
    ),
    ("areas.geojson", lambda d: d["features"].clear(), "has 0 areas, intersections.geojson 1"),
    ("roads.geojson", lambda d: properties(d).update(speed_limit_kmh=80), "its name or speed_limit_kmh is not that"),
    ("roads.geojson", lambda d: (first(d).update(id="nvdb:9"), properties(d).update(id="nvdb:9")), "is no intersection of"),
    # changes
    ("changes.geojson", lambda d: d["counts"].update(added=5), "counts.added is 5, but there are 1"),
    ("changes.geojson", lambda d: d["by_change"].update(removed=0), "by_change.removed is 0, but there are 1"),
    ("changes.geojson", lambda d: d["reasons"].clear(), "reasons.street is 0"),
    ("changes.geojson", lambda d: d.update(release="2026-05-21.2"), "release is '2026-05-21.2', manifest.json says"),
    ("changes.geojson", lambda d: d.update(previous=None), "previous is null, but changes are told"),
    ("changes.geojson", lambda d: d["features"].remove(told("added", d)), "is new in the layer, but nothing says so"),
    ("changes.geojson", lambda d: d["features"].remove(told("ended", d)), "is not as it was, but nothing says so"),
    ("changes.geojson", lambda d: d["refined"].pop(), "is not as it was, but nothing says so"),
    ("changes.geojson", lambda d: d["refined"].append("ffffffff-0000-0000-0000-000000000000"), "is not in objects.geojson"),
    ("changes.geojson", lambda d: d["features"].reverse(), "is out of order"),
    ("changes.geojson", lambda d: told("added", d)["properties"].update(kind="ended"), "but the kind 'ended' is 'removed'"),
    ("changes.geojson", lambda d: told("ended", d)["properties"].update(before=None), "is ended, but before is null"),
    ("changes.geojson", lambda d: told("added", d)["properties"].update(status="ended"), "status is 'ended', but that of the"),
    (
        "changes.geojson",
        lambda d: told("added", d)["geometry"].update(coordinates=[10.0, 63.0]),
        "its place is [10.0, 63.0], but",
    ),
    # counts of the manifest
    ("manifest.json", lambda d: d["counts"].update(objects=12), "counts.objects is 12, the layer has 11"),
    ("manifest.json", lambda d: d["counts"]["by_status"].update(ended=0), "counts.by_status is"),
    ("manifest.json", lambda d: d["counts"]["by_class"].popitem(), "counts.by_class of"),
    ("manifest.json", lambda d: d.update(bbox=[0, 0, 1, 1]), "bbox is [0, 0, 1, 1], that of the layer is"),
    (
        "manifest.json",
        lambda d: d.update(release="2026-05-22.1"),
        "release is '2026-05-22.1', the folder is called '2026-05-21.1'",
    ),
    ("manifest.json", lambda d: d.update(previous="2027-01-01.1"), "which is not before 2026-05-21.1"),
    ("manifest.json", lambda d: d["files"].reverse(), "files are not in order of name"),
    ("manifest.json", lambda d: d["changes"].update(added=0), "changes is"),
]


@pytest.mark.parametrize(("name", "change", "words"), IN_FILES, ids=[f"{name} {words}" for name, _, words in IN_FILES])
def test_what_is_wrong_in_a_file_is_named_although_its_checksum_holds(folder, name, change, words):
    problems = spoil(folder, name, change)
    if words == "has name":  # both files differ then, and the one read second is named
        name, words = "objects.geojson", "intersections.geojson says something else of it"
    assert any(words in line for line in problems), problems
    assert found(problems, name, words) or found(problems, DAMAGED, words), problems
    assert not any("sha256" in line for line in problems), problems


IN_BYTES: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("objects.geojson", lambda raw: raw.replace(b"stop", b"yeld"), "its sha256 is"),
    ("objects.geojson", lambda raw: raw[:-40], "has "),
    ("objects.geojson", lambda raw: raw[: len(raw) // 2], "is not JSON"),
    ("objects.geojson", lambda raw: raw[: raw.index(b"\n,")], "ends within its features: it was cut off"),
    ("objects.geojson", lambda raw: raw.replace(b'"error_radius_m":2.3', b'"error_radius_m":NaN'), "is not JSON"),
    ("objects.geojson", lambda raw: raw.replace(b'"error_radius_m":2.3', b'"error_radius_m":1e999'), "is not JSON"),
    ("objects.geojson", lambda raw: raw.replace(b"Kirkegata", b"Kirkeg\xff"), "has "),
    ("objects.geojson", lambda raw: raw.replace(b'"standing"', b'"stand\xffng"'), "is not JSON"),
    ("objects.geojson", lambda raw: raw.replace(b"\n,{", b"\n{", 1), "is not preceded by a comma"),
    ("objects.geojson", lambda raw: json.dumps(json.loads(raw)).encode(), "is not written as this layer is"),
    ("objects.geojson", lambda raw: raw.replace(b'"status":', b'"status":"ended","status":', 1), "has two members 'status'"),
    ("manifest.json", lambda raw: raw.replace(b"{", b'{"code":"1",', 1), "has two members 'code'"),
    ("changes.geojson", lambda raw: raw.replace(b'"code":', b'"code":"1","code":', 1), "has two members 'code'"),
    ("objects.geojson", lambda raw: raw.replace(b'"properties":{', b'"properties":' + b"[" * 5000, 1), "is not JSON"),
    ("objects.geojson", lambda raw: b"", "is not written as this layer is"),
    ("objects.geojson", lambda raw: b"\x00" * 4096, "is not written as this layer is"),
    ("changes.geojson", lambda raw: raw[: raw.rindex(b"intersections_changed")], "is not JSON before or after its features"),
    ("objects.geojson.gz", lambda raw: raw[:-10], "is no whole gzip file: it was cut off"),
    ("objects.geojson.gz", lambda raw: raw[:40] + b"\x00" + raw[41:], "objects.geojson.gz: "),
    ("objects.geojson.gz", lambda raw: raw + gzip.compress(b"more"), "is no whole gzip file: there is more behind its end"),
    ("objects.geojson.gz", lambda raw: gzip.compress(gzip.decompress(raw)[:-1] + b" ", mtime=0), "does not hold the same bytes"),
    ("objects.geojson.gz", lambda raw: gzip.compress(b" " * (50 << 20), mtime=0), "holds more than the plain file"),
    ("objects.geojson.gz", lambda raw: gzip.compress(gzip.decompress(raw), mtime=1), "its gzip header names a time or a file"),
    ("objects.geojson.gz", lambda raw: gzip.decompress(raw), "is no whole gzip file"),
    ("LICENSE.md", lambda raw: raw + b"\n", "bytes, manifest.json says"),
    ("manifest.json", lambda raw: raw[:-20], "is not a JSON document"),
    ("manifest.json", lambda raw: b"[]", "is not a JSON document: the top is a list, not an object"),
    ("schema.json", lambda raw: raw[:-20], "is not a JSON document"),
]


@pytest.mark.parametrize(("name", "change", "words"), IN_BYTES, ids=[f"{name} {words}" for name, _, words in IN_BYTES])
def test_damaged_bytes_are_found(folder, name, change, words):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    problems = validate(folder)
    if name == "objects.geojson" and words == "has ":  # without the name of a street there is nothing to damage
        assert problems or b"Kirkegata" not in path.read_bytes()
        return
    assert any(line.startswith(f"{name}: ") and words in line for line in problems), problems


@pytest.mark.parametrize("position", range(0, 100, 7))
def test_any_flipped_byte_of_any_file_is_found(folder, position):
    for path in sorted(folder.iterdir()):
        raw = bytearray(path.read_bytes())
        at = len(raw) * position // 100
        raw[at] ^= 1
        path.write_bytes(raw)
        problems = validate(folder)
        if path.name != "manifest.json":  # which only latest.json guards
            assert any(line.startswith(f"{path.name}: ") for line in problems), (path.name, at, problems)
        else:
            assert any("manifest" in line for line in validate(folder.parent))
        raw[at] ^= 1
        path.write_bytes(raw)
    assert validate(folder.parent) == []


@pytest.mark.parametrize(
    "name", ["objects.geojson", "objects.geojson.gz", "roads.geojson", "ATTRIBUTION.md", "schema.json", "index.html"]
)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert any(line.startswith(f"{name}: is") and "missing" in line for line in validate(folder))


def test_a_file_that_was_never_listed_is_missed_too(folder):
    manifest = read(folder / "manifest.json")
    manifest["files"] = [item for item in manifest["files"] if item["name"] != "roads.geojson"]
    (folder / "manifest.json").write_bytes(orjson.dumps(manifest))
    assert found(validate(folder), "roads.geojson", "is not listed in manifest.json")


def test_foreign_files_are_named(folder):
    (folder / "objects.qgz").write_text("mine")
    (folder / ".DS_Store").write_text("theirs")
    (folder / "objects.geojson.tmp").mkdir()
    assert [line.split(":")[0] for line in validate(folder)] == [".DS_Store", "objects.geojson.tmp", "objects.qgz"]


def test_what_the_manifest_says_of_a_file_is_held_against_it(folder):
    manifest = read(folder / "manifest.json")
    item = next(one for one in manifest["files"] if one["name"] == "objects.geojson")
    item["sha256"] = "0" * 64
    (folder / "manifest.json").write_bytes(orjson.dumps(manifest))
    (line,) = validate(folder)
    assert line.startswith("objects.geojson: its sha256 is ") and line.endswith(f"manifest.json says {'0' * 64}")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(manifest_sha256="0" * 64), "manifest_sha256 is not the sha256 of"),
        (lambda d: d.update(objects=d["areas"]), "objects is '2026-05-21.1/areas.geojson', not"),
        (lambda d: d["releases"].reverse(), "are not oldest first"),
        (lambda d: d["releases"].pop(), "is not among its releases"),
        (lambda d: d["releases"].insert(0, "2020-01-01.1"), "2020-01-01.1/manifest.json is missing"),
        (lambda d: d.update(code="1"), "code is '1', the folder is called '9999'"),
        (lambda d: d.pop("page"), '"page" is a required property'),
        (lambda d: d.update(schema_version="1.2.0"), "schema_version is 1.2.0: an older Kryss wrote it"),
    ],
)
def test_what_is_wrong_with_latest_is_named(shelf, change, words):
    document = read(shelf / "latest.json")
    change(document)
    (shelf / "latest.json").write_bytes(orjson.dumps(document))
    assert found(validate(shelf), "latest.json", words)


def test_a_shelf_names_the_release_of_a_problem(shelf, published):
    (shelf / published.second.name / "LICENSE.md").unlink()
    assert validate(shelf) == [f"{published.second.name}/LICENSE.md: is listed in manifest.json but missing"]


def test_a_folder_of_something_else_is_no_release(tmp_path):
    (line,) = validate(tmp_path)
    assert "this is no release and no folder of releases" in line
    (line,) = validate(tmp_path / "nowhere")
    assert "nowhere" in line


def test_a_release_of_another_major_version_is_not_judged_but_named(tmp_path):
    for version, words in (("1.2.0", "an older Kryss wrote it"), ("3.0.0", "a newer Kryss wrote it")):
        (tmp_path / "manifest.json").write_text(json.dumps({"schema_version": version, "release": "2025-06-12.1"}))
        (line,) = validate(tmp_path)
        assert words in line and "docs/layer.md" in line


def test_a_later_minor_version_is_judged_by_the_schema_it_brings(folder):
    """A reader ignores what it does not know; the validator lets the release say what is new, but not less."""
    schema = read(folder / "schema.json")
    schema["$id"] = "urn:kryss:layer:2.1.0"
    for name in ("object", "object_with_history"):
        of = schema["$defs"][name]
        (of["properties"]["properties"] if name == "object" else of)["properties"]["colour"] = {"type": "string"}
    (folder / "schema.json").write_bytes(orjson.dumps(schema))
    for name in ("manifest.json", "changes.geojson"):
        document = read(folder / name)
        document["schema_version"] = "2.1.0"
        (folder / name).write_bytes(dump(document) if name.endswith("geojson") else orjson.dumps(document))
    for name, objects in (
        ("objects.geojson", lambda d: [one["properties"] for one in d["features"]]),
        ("intersections.geojson", lambda d: [one for it in d["features"] for one in it["properties"]["objects"]]),
    ):
        document = read(folder / name)
        for one in objects(document):
            one["colour"] = "red"
        (folder / name).write_bytes(dump(document))
    sign(folder)
    assert validate(folder) == []
    assert found(spoil(folder, "objects.geojson", lambda d: properties(d).update(colour=3)), "objects.geojson", "colour")


@pytest.mark.parametrize("reference", ["http://127.0.0.1:9/schema.json", "file:///etc/passwd"])
def test_a_schema_that_leads_elsewhere_is_not_followed(folder, reference):
    schema = read(folder / "schema.json")
    schema["$id"] = "urn:kryss:layer:2.7.0"
    schema["$defs"]["object"]["properties"]["id"] = {"$ref": reference}
    (folder / "schema.json").write_bytes(orjson.dumps(schema))
    problems = spoil(folder, "manifest.json", lambda d: d.update(schema_version="2.7.0"))
    assert found(problems, "schema.json", "outside itself")


def test_a_flood_of_problems_is_cut_short(folder):
    def change(layer: Json) -> None:
        layer["features"] = [{**first(layer), "id": f"{number}"} for number in range(300)]

    problems = spoil(folder, "objects.geojson", change)
    assert len(problems) == 101
    assert problems[-1] == "stopped after 100 problems"


@pytest.mark.parametrize("hostile", ["\x1b[2J\n\r", "A" * 10_000, "‮evil", "<script>alert(1)</script>", "\ud7ff￿"])
def test_hostile_text_stays_one_readable_line(folder, hostile):
    problems = spoil(folder, "objects.geojson", lambda d: first(d).update(id=hostile))
    assert problems
    for line in problems:
        assert line.isprintable() and len(line) <= 400


def test_every_kind_of_nonsense_is_a_problem_and_no_crash(folder):
    """Each member of a Feature replaced by each of these, checksums true."""
    path = folder / "objects.geojson"
    good = path.read_bytes()
    nonsense: list[Any] = [None, True, -1, 1e308, "", "x", [], {}, [[]], {"id": {}}]
    for member in ("type", "id", "geometry", "properties", "bbox"):
        for value in nonsense:
            document = orjson.loads(good)
            first(document)[member] = value
            path.write_bytes(dump(document))
            sign(folder)
            assert any(line.startswith("objects.geojson: ") for line in validate(folder)), (member, value)
    for name, value in ((name, value) for name in properties(orjson.loads(good)) for value in (None, -1, "x", [])):
        document = orjson.loads(good)
        if properties(document)[name] == value:
            continue
        properties(document)[name] = value
        path.write_bytes(dump(document))
        sign(folder)
        assert any("objects.geojson" in line for line in validate(folder)), (name, value)


def spots(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        yield from spots(one, (*path, key))


@pytest.mark.parametrize(
    "name", ["intersections.geojson", "areas.geojson", "roads.geojson", "changes.geojson", "manifest.json", "schema.json"]
)
def test_nonsense_anywhere_in_a_document_crashes_nothing(folder, name):
    """A sample of all places and values, the same every time; what another file or the schema fixes is found too."""
    path, chance = folder / name, random.Random(name)
    good = path.read_bytes()
    nonsense: list[Any] = [None, True, -1, 8.0, 1e308, 2**63, "", "\ud7ff", [], {}, [[]], {"id": {}}]
    places = list(spots(orjson.loads(good)))
    unnoticed = 0
    for place in chance.sample(places, min(len(places), 60)):
        document = orjson.loads(good)
        at = document
        for key in place[:-1]:
            at = at[key]
        before, at[place[-1]] = at[place[-1]], chance.choice(nonsense)
        if before == at[place[-1]]:
            continue
        lines = name.endswith(".geojson") and isinstance(document["features"], list)
        path.write_bytes(dump(document) if lines else orjson.dumps(document))
        if name != "manifest.json":
            sign(folder)
        unnoticed += not validate(folder)
    assert unnoticed <= (12 if name == "manifest.json" else 3)  # words that only people can judge: a name, a title


# -- where it lies ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def web(shelf) -> Iterator[str]:
    """A plain file server of the folder above the shelf."""
    handler = functools.partial(Quiet, directory=str(shelf.parent))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_release_is_validated_over_http(web, folder):
    assert validate(f"{web}/9999") == []
    assert validate(f"{web}/9999/latest.json") == []
    assert validate(f"{web}/9999/{folder.name}/") == []
    (folder / "objects.geojson").write_bytes((folder / "objects.geojson").read_bytes()[:-2])
    (folder / "LICENSE.md").unlink()
    problems = validate(f"{web}/9999")
    assert found(problems, f"{folder.name}/objects.geojson", "is not JSON before or after its features")
    assert found(problems, f"{folder.name}/LICENSE.md", "missing")
    assert "no release" in validate(f"{web}/nothing")[0]


def test_a_server_that_is_not_there_is_a_problem():
    (line,) = validate("http://127.0.0.1:9/5001")
    assert line.startswith("http://127.0.0.1:9/5001/manifest.json: cannot be read: ")


def test_a_release_is_validated_on_an_object_store(shelf, s3):
    store = fsspec.filesystem("s3", **s3)
    store.put(str(shelf), "layers/9999", recursive=True)
    assert validate("s3://layers/9999", s3) == []
    store.pipe("layers/9999/2026-05-21.1/stray.txt", b"mine")
    assert validate("s3://layers/9999/2026-05-21.1", s3) == [
        "stray.txt: is not listed in manifest.json: it is no part of the release"
    ]


def test_a_release_is_validated_from_inside_its_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert validate(".") == []
    monkeypatch.chdir(folder.parent)
    assert validate("latest.json") == []


def test_documents_can_be_held_against_the_schema_alone(published):
    latest = read(published.root / "9999" / "latest.json")
    assert problems_of("latest", latest) == []
    assert problems_of("latest", {**latest, "code": 5})
