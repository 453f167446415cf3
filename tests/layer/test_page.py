"""The page of a release works from a plain file, asks no other host, and no property of the data can break out of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

NASTY = "</script><script>document.title='broken'</script><img src=x onerror=alert(1)>\u2028"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def pages(town, tmp_path_factory) -> dict[str, Path]:
    """The page of a first release, of a second one, and of one whose every text is an attack."""
    root = tmp_path_factory.mktemp("pages")
    cameras = {"101": town.at(2.5, -70), "102": town.at(2.5, -40)}
    first = town.publish(root, date(2025, 6, 11), town.in_2025(), cameras=cameras)
    second = town.publish(root, date(2026, 5, 21), town.in_2026(), cameras=cameras)
    attack = [
        replace(town.sign(NASTY, NASTY, 0, 0), evidence=((NASTY, 0),), method=NASTY, model_key=NASTY),
        town.sign("long", "x" * 10_000, 9, 9),
    ]
    municipality = replace(town.municipality, code="6666", name=NASTY)
    junction = replace(town.junction(), name=NASTY)
    nasty = town.publish(root, date(2026, 5, 21), attack, municipality=municipality, intersections=[junction])
    return {name: Path(result.url) / "index.html" for name, result in (("first", first), ("second", second), ("nasty", nasty))}


def render(page: Path, fragment: str = "") -> tuple[str, list[str]]:
    """The page's document after its script has run, and what the browser complained of."""
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--enable-logging=stderr",
    ]
    command += ["--window-size=1280,800", "--virtual-time-budget=2000", "--dump-dom", f"file://{page}{fragment}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


class Links(HTMLParser):
    """Everything in a document that a browser would fetch by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.fetched += [given[name] for name in ("src", "srcset", "data", "poster") if given.get(name)]
        if tag == "link":
            self.fetched.append(given.get("href") or "")


def test_the_template_is_small_and_fetches_nothing():
    template = resources.files("kryss.layer").joinpath("page.html").read_text(encoding="utf-8")
    assert len(template.encode()) < 25_000
    links = Links()
    links.feed(template)
    assert links.fetched == []
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|WebSocket|import\(|innerHTML|https?://\w", template)
    assert "default-src 'none'" in template


def test_the_data_cannot_end_the_script(pages):
    text = pages["nasty"].read_text(encoding="utf-8")
    assert text.count("</script>") == 1
    assert text.count("<script>") == 1
    assert "\u2028" not in text


@browser
def test_the_page_lists_the_objects_and_the_three_changes(pages):
    document, complaints = render(pages["second"])
    assert complaints == []
    assert "<title>Kryssby 2026-05-21.1 · Kryss</title>" in document
    assert "8 standing, 1 unconfirmed, 2 ended" in document
    assert "Changes since 2025-06-11.1" in document
    assert document.count('class="change"') == 3
    assert "Stop at 63.42995, 10.38956 went between 2025-06-10 and 2026-05-20" in document
    assert len(re.findall(r'data-id="[a-z]\d"', document)) == 11


@browser
def test_the_first_page_says_that_it_is_the_first(pages):
    document, complaints = render(pages["first"])
    assert complaints == []
    assert "This is the first release of the municipality." in document
    assert 'class="change"' not in document


@browser
def test_an_object_can_be_linked_to(pages):
    document, _ = render(pages["second"], "#g1")
    assert 'aria-pressed="true"' in document
    assert "<dt>Gone by</dt><dd>2026-05-20</dd>" in document
    assert 'href="https://www.mapillary.com/app/?pKey=102"' in document


@browser
def test_hostile_texts_are_only_text(pages):
    document, complaints = render(pages["nasty"], "#long")
    assert complaints == []
    assert "<title>broken</title>" not in document
    assert "<img" not in document
    assert document.count("<script") == 1


def test_the_same_release_gives_the_same_page(pages, town, tmp_path):
    again = town.publish(
        tmp_path, date(2025, 6, 11), town.in_2025(), cameras={"102": town.at(2.5, -40), "101": town.at(2.5, -70)}
    )
    assert (Path(again.url) / "index.html").read_bytes() == pages["first"].read_bytes()
    data = re.search(r"const R=(\{.*\});\n", pages["first"].read_text(encoding="utf-8"))
    assert data and json.loads(data[1])["cameras"].keys() == {"101", "102"}
