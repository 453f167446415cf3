"""A night whose photos and boxes are given, not discovered, fetched and detected: for simulated towns and for tests.

What follows (place, merge, ...) are the stages of every refresh.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kryss.model import Detection, Image, PhotoResult
from kryss.pipeline import stages
from kryss.pipeline.run import Run, short_hash


@dataclass(frozen=True)
class GivenRun(Run):
    """A run of a detector that no registry of weights knows."""

    @property
    def model_key(self) -> str:
        """``model`` itself, ``name@version``."""
        if self.model is None:
            raise ValueError("a given night needs the model that made its boxes")
        return self.model


def hand_in(run: GivenRun, images: Sequence[Image], detections: Iterable[Detection]) -> str:
    """Leaves photos, all of them looked at, and the model's boxes in them where ``place`` and ``merge`` read them.

    Returns the key to give to those stages. The same photos have the same key: handing them in again is a rerun.
    """
    new = sorted(images, key=lambda image: (image.captured_at, image.id))
    key = short_hash([run.code, run.model_key, *(image.id for image in new)])
    folder = f"work/{run.code}/{key}"
    run.state.write_rows(f"{folder}/images.jsonl.gz", Image, new)
    run.state.write_json(f"{folder}/attempts.json", {image.id: 1 for image in new})
    run.state.write_json(f"{folder}/malformed.json", {})
    by_image: dict[str, list[Detection]] = {image.id: [] for image in new}
    for one in sorted(detections, key=lambda one: (one.image_id, one.ordinal)):
        if one.image_id in by_image:
            by_image[one.image_id].append(one)
    counts = Counter({image_id: len(found) for image_id, found in by_image.items()})
    for part in stages.plan(run, key)["shards"]:
        shard = f"{folder}/{part['shard']}"
        ids = [image.id for image in run.state.read_rows(f"{shard}/images.jsonl.gz", Image)]
        results = [PhotoResult(image_id, "ok", detections=counts[image_id]) for image_id in ids]
        run.state.write_rows(f"{shard}/results.jsonl.gz", PhotoResult, results)
        run.state.write_rows(f"{shard}/detections.jsonl.gz", Detection, [one for image_id in ids for one in by_image[image_id]])
    return key
