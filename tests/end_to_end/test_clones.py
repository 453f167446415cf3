"""The same refresh on two fresh installations publishes the same bytes; and seven real photos become a valid release."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from kryss.cli.demo import TOWN
from kryss.layer.validate import validate

DAMASEN = Path(__file__).resolve().parents[3] / "shared" / "data" / "area-damasen"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_clones_publish_the_same_sha256_for_every_file(town: Any, install: Any) -> None:
    """Another home, another database, another day: nothing of them is in a release."""
    other = install(TOWN)
    for number, epoch in enumerate(other.area.epochs, 1):
        other.refresh(f"another-{number}", epoch)
    mine, theirs = (
        {name: hashlib.sha256(content).hexdigest() for name, content in place.files().items()} for place in (town, other)
    )
    assert len(mine) > 2 * 15
    assert mine == theirs


@pytest.mark.real
@pytest.mark.skipif(not DAMASEN.exists(), reason="no ../shared/data/area-damasen")
def test_seven_real_photos_become_a_valid_release_with_the_credits_of_their_own(install: Any) -> None:
    place = install(DAMASEN)
    report = place.refresh("night", place.area.epochs[-1])
    assert report["missing"] == []
    assert validate(str(place.releases / report["release"])) == []
    assert place.area.attribution in (place.releases / report["release"] / "ATTRIBUTION.md").read_text()
    assert any("priority-road" in item["class"] for item, _ in place.objects(report["release"]))
