"""The depth stage: a number or a counted reason for every box, and no photo that stops the others."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from kryss.config import MunicipalityConfig, Settings
from kryss.imagery import PhotoStore
from kryss.imagery.entity import parse_image
from kryss.model import Detection, Image
from kryss.pipeline import stages
from kryss.pipeline.run import Run

TOWN = Path(__file__).parents[2] / "include" / "kryss" / "demo" / "areas" / "town"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """One shard of the town: six photos with their true boxes, one of them cut off, one missing, one without boxes."""
    settings = Settings.from_env({"KRYSS_HOME": str(tmp_path), "KRYSS_DATABASE_URL": "postgresql://nobody@localhost/none"})
    config = MunicipalityConfig(code="town", name="Town", boundary="unused", depth="kryss-depth")
    run = Run(config, settings, "night", date(2026, 5, 4))
    lines = (TOWN / "images.jsonl").read_text(encoding="utf-8").splitlines()
    images = [parse_image(json.loads(line)) for line in lines[6:13]]
    boxes = json.loads((TOWN / "truth_boxes.json").read_text(encoding="utf-8"))["boxes"]
    photos, detections = PhotoStore(settings.photos_url), []
    for k, image in enumerate(images):
        body = (TOWN / "photos" / f"{image.id}.jpg").read_bytes()
        if k != 1:
            photos.put(image.id, body[:20_000] if k == 0 else body)
        mine = [box for box in boxes if box["image_id"] == image.id] if k != 2 else []
        detections += [Detection(image.id, "eye@1", i, box["class"], 1.0, tuple(box["box_ltrb"])) for i, box in enumerate(mine)]
    folder = "work/town/night/night-0000"
    run.state.write_rows(f"{folder}/images.jsonl.gz", Image, images)
    run.state.write_rows(f"{folder}/detections.jsonl.gz", Detection, detections)
    return run


def test_every_box_has_a_depth_or_a_counted_reason(run: Run) -> None:
    outcome = stages.depth(run, "night-0000")
    assert outcome["depth"] == "kryss-depth@1"
    folder = "work/town/night/night-0000"
    before = run.state.read_rows(f"{folder}/detections.jsonl.gz", Detection)
    after = run.state.read_rows(f"{folder}/depth.jsonl.gz", Detection)
    assert sorted((d.image_id, d.ordinal) for d in after) == sorted((d.image_id, d.ordinal) for d in before)
    told = [d.depth for d in after if d.depth is not None]
    assert told and all(0.5 < depth < 100 for depth in told)
    reasons = outcome["without_depth"]
    assert sum(reasons.values()) == len(after) - len(told)
    cut, gone = before[0].image_id, list(dict.fromkeys(d.image_id for d in before))[1]
    assert reasons["bad-photo: truncated"] == sum(d.image_id == cut for d in before)
    assert reasons["bad-photo: cannot be read"] == sum(d.image_id == gone for d in before)


def test_without_a_model_the_refresh_goes_on_and_says_so(run: Run) -> None:
    for depth, said in ((None, "no depth model is set"), ("monodepth2", "KRYSS_ACCEPT_LICENCE=monodepth2")):
        outcome = stages.depth(replace(run, config=run.config.model_copy(update={"depth": depth})), "night-0000")
        assert said in outcome["depth"] and "not used" in outcome["depth"]
        assert not run.state.has("work/town/night/night-0000/depth.jsonl.gz")
