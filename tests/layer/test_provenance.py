"""The credits and licences of a release follow from its sources, and claim nothing that they do not say."""

from __future__ import annotations

import json
import re
from dataclasses import asdict

import pytest

from kryss.layer.provenance import Source, attribution_text, known_source, licence_of, licence_text, own_junctions, own_photos
from kryss.layer.validate import problems_of

MAPILLARY, NVDB, OSM, KARTVERKET = (known_source(key) for key in ("mapillary", "nvdb", "osm", "kartverket"))


def row(text: str, file: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"| `{file}`"))


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ([MAPILLARY, NVDB, KARTVERKET], "CC-BY-SA-4.0 AND NLOD-1.0"),
        ([MAPILLARY, OSM], "CC-BY-SA-4.0 AND ODbL-1.0"),
        ([MAPILLARY, NVDB, known_source("osm", gives="boundary")], "CC-BY-SA-4.0 AND NLOD-1.0"),
        ([MAPILLARY], "CC-BY-SA-4.0"),
        ([own_photos("Rendered by Kryss", "Apache-2.0"), NVDB], "Apache-2.0 AND NLOD-1.0"),
        ([own_photos("Photos of the roads department"), NVDB], "LicenseRef-photos AND NLOD-1.0"),
        ([MAPILLARY, own_junctions()], "CC-BY-SA-4.0 AND LicenseRef-roads"),
        ([], "NOASSERTION"),
    ],
)
def test_the_licence_of_a_release_is_that_of_what_is_in_it(sources, expected):
    assert licence_of(sources) == expected
    assert re.fullmatch(r"[A-Za-z0-9.-]+( AND [A-Za-z0-9.-]+)*", expected)  # an SPDX expression
    assert f"As a whole: `{expected}` (SPDX)" in licence_text(sources)


def test_each_file_is_under_the_terms_of_what_it_was_made_from():
    text = licence_text([MAPILLARY, OSM])
    assert "ODbL" not in row(text, "objects.*") and "CC-BY-SA-4.0" in row(text, "objects.*")
    assert "CC-BY-SA" not in row(text, "areas.*") and "ODbL-1.0" in row(text, "areas.*")
    assert "CC-BY-SA-4.0" in row(text, "intersections.geojson") and "ODbL-1.0" in row(text, "intersections.geojson")


def test_what_is_not_settled_is_said_so():
    assert "no court has decided" in licence_text([MAPILLARY, NVDB])
    assert "CC BY-SA 4.0 and ODbL 1.0 both ask" in licence_text([MAPILLARY, OSM])
    assert "both ask" not in licence_text([MAPILLARY, NVDB])
    assert "no court has decided" not in licence_text([own_photos("Rendered by Kryss", "Apache-2.0"), NVDB])


def test_a_licence_that_nobody_stated_is_not_made_up():
    text = licence_text([own_photos("Photos of the roads department")])
    assert "ask its owner before you rely on more" in text
    assert "LicenseRef-photos" in row(text, "objects.*")
    assert "not known: no source was named" in row(text, "areas.*")
    assert "CC" not in row(text, "objects.*")


def test_of_junctions_that_the_publisher_brought_no_licence_is_claimed():
    text = licence_text([MAPILLARY, own_junctions()])
    assert "LicenseRef-roads" in row(text, "areas.*") and "CC-BY-SA" not in row(text, "areas.*")
    assert "- Junctions (see the publisher): what its credit in `ATTRIBUTION.md` says" in text


def test_every_source_is_credited_in_its_own_words():
    text = attribution_text("Trondheim", "2026-05-21.1", [MAPILLARY, NVDB, KARTVERKET, OSM])
    assert text.startswith("# Attribution: Trondheim, release 2026-05-21.1\n")
    for source in (MAPILLARY, NVDB, KARTVERKET, OSM):
        assert source.attribution in text
        assert f"[{source.licence}]({source.licence_url})" in text


def test_names_of_others_stay_text():
    text = attribution_text("Kryss*by\n# [x](http://evil)", "2026-05-21.1", [own_photos("<script>\nalert(1)</script> ![x](y)")])
    assert "<script>" not in text and "\n# [x]" not in text and "![x](y)" not in text
    assert len(text.splitlines()) == len(attribution_text("Kryssby", "2026-05-21.1", [own_photos("plain")]).splitlines())


def test_an_unknown_source_is_named_with_those_that_there_are():
    with pytest.raises(KeyError, match=r"no source 'bing' in sources\.csv; there are kartverket, mapillary, nvdb, osm"):
        known_source("bing")


def test_sources_go_into_the_manifest_and_back():
    for source in (MAPILLARY, NVDB, KARTVERKET, OSM, own_photos("mine")):
        told = json.loads(json.dumps(asdict(source)))
        assert Source(**told) == source


def test_the_sources_of_a_release_are_as_the_schema_wants_them(published):
    manifest = json.loads((published.second / "manifest.json").read_bytes())
    assert problems_of("manifest", manifest) == []
    assert manifest["licence"] == licence_of([Source(**one) for one in manifest["sources"]])
    assert (published.second / "LICENSE.md").read_text("utf-8") == licence_text([Source(**one) for one in manifest["sources"]])
