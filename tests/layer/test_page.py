"""The page of a release: built bytes with what only this release knows in its slot, and the published town in a real Chromium."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kryss.layer import page as pages

WEB = Path(pages.__file__).with_name("web")
HEAD = {"release": "2026-05-22.1", "code": "9901", "municipality": "Kryssby", "schema_version": "2.0.0", "previous": None}
STOP = "regulatory--stop--g1"


def slot_of(text: bytes) -> dict:
    found = re.findall(rb'<script type="application/json" id="kryss">(.*?)</script>', text, re.DOTALL)
    assert len(found) == 1
    return json.loads(found[0])


def test_the_slot_holds_the_release_and_its_signs_only():
    told = slot_of(pages.page(HEAD, {STOP, "warning--dragons--g1"}, None))
    assert told["release"] == "2026-05-22.1"
    assert told["api"] is None
    assert list(told["signs"]) == [STOP]
    assert told["signs"][STOP].lstrip().startswith(("<svg", "<?xml"))


def test_the_same_release_gives_the_same_bytes():
    assert pages.page(HEAD, [STOP, "regulatory--yield--g1"]) == pages.page(
        dict(reversed(HEAD.items())), {"regulatory--yield--g1", STOP}
    )


def test_no_property_ends_the_script():
    attack = "</script><script>alert(1)</script>\u2028\u2029<!--"
    text = pages.page({**HEAD, "municipality": attack}, [attack], None)
    assert slot_of(text)["municipality"] == attack
    assert b"<script>alert(1)" not in text
    slot = re.search(rb'id="kryss">(.*?)</script>', text, re.DOTALL)
    assert slot and not re.search("[<\u2028\u2029]".encode(), slot[1])


def test_the_policy_lets_nothing_else_in():
    text = pages.page(HEAD, [STOP]).decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    assert policy
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules["default-src"] == "'none'"
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/=]+'", rules["script-src"])
    assert rules["connect-src"] == "'self'"
    assert not re.search(r'<(?:script|link|img|iframe)\b[^>]*(?:src|href)="(?!data:)', text.split('<script type="module"')[0])


def test_a_base_map_is_the_one_other_host():
    text = pages.page(HEAD, [STOP], "https://tiles.example.org:8443/{z}/{x}/{y}.png").decode()
    assert "connect-src 'self' https://tiles.example.org:8443;" in text
    assert slot_of(text.encode())["basemap"].startswith("https://tiles.example.org")


@pytest.mark.parametrize(
    "address", ["https://a.b/tiles", "javascript:{z}{x}{y}", "https://a.b; script-src *//{z}/{x}/{y}", "//a/{z}/{x}/{y}"]
)
def test_what_is_no_address_of_tiles_is_refused(address):
    with pytest.raises(ValueError, match="is no address of tiles"):
        pages.page(HEAD, [STOP], address)


def test_signs_ship_with_their_licence():
    with zipfile.ZipFile(WEB / "signs.zip") as bundle:
        assert "Copyright (c) 2015 mapillary" in bundle.read("NOTICE").decode()
        names = set(bundle.namelist())
    assert {f"{STOP}.svg", "regulatory--yield--g1.svg", "warning--children--g1.svg", "information--parking--g1.svg"} <= names


def test_the_page_carries_the_licences_of_what_is_in_it():
    text = pages.page(HEAD, [STOP]).decode()
    notices = text[text.rindex('<script type="text/plain" id="licences">') :]
    for told in (
        "maplibre-gl 6.",
        "MapLibre contributors",
        "kdbush 4.",
        "earcut 3.",
        "mapillary_sprite_source 1.8.0",
        "Copyright (c) 2015 mapillary",
    ):
        assert told in notices, told


def test_no_registry_is_named_in_the_lock():
    lock = (WEB / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert "npmjs" not in lock


@pytest.mark.slow
def test_the_built_pages_are_what_the_sources_give(tmp_path):
    if shutil.which("npm") is None:
        pytest.skip("no npm on this machine")
    copy = tmp_path / "web"
    shutil.copytree(WEB, copy, ignore=shutil.ignore_patterns("node_modules", "signs.zip", "dist"))
    fetched = subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=copy, capture_output=True, text=True, timeout=280)
    if fetched.returncode and re.search("ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ECONNREFUSED|E40[134]", fetched.stderr):
        pytest.skip("npm cannot reach a registry")
    assert fetched.returncode == 0, fetched.stderr
    subprocess.run(["npm", "run", "build"], cwd=copy, check=True, capture_output=True, timeout=280)
    built = {path.name: path.read_bytes() for path in sorted((copy / "dist").iterdir())}
    kept = {path.name: path.read_bytes() for path in sorted((WEB / "dist").iterdir())}
    assert built.keys() == kept.keys()
    assert [name for name in built if built[name] != kept[name]] == []


def _browsing():
    path = Path(__file__).parents[1] / "page" / "browsing.py"
    spec = importlib.util.spec_from_file_location("kryss_page_browsing", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_published_town_in_a_browser(published):
    """Two releases from a real PostGIS, as a publish left them, over a plain file server."""
    browsing = _browsing()
    with browsing.chromium() as chromium, browsing.serving(published.root) as site, browsing.visiting(site, chromium) as visit:
        path = published.second.relative_to(published.root).as_posix()
        page = visit(path, "#tab=changes")
        page.wait_for_selector("#rows .row")
        told = sorted(page.locator("#rows .row .name").all_inner_texts())
        assert told == ["Maximum speed limit 30 is new", "Stop went", "Turn left was replaced by No left turn"]
        page.locator("#rows .row", has_text="Stop went").click()
        page.wait_for_selector("#detail .photos a")
        assert "gone by" in page.locator("#detail .history").inner_text()
        assert "half-axes" in page.locator("#detail").inner_text()
        written = visit(path, f"#tab=changes&against={published.first.name}")
        written.wait_for_selector("#rows .row")
        assert sorted(written.locator("#rows .row .name").all_inner_texts()) == told
