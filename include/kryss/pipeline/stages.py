"""discover -> plan -> [ per shard: fetch -> detect -> depth ] -> place -> merge -> assign -> check -> export.

Between ``check`` and ``export`` a person is asked where the check found the release implausible (`held_back`).
A reprocess begins with ``known`` instead of ``discover``; a takedown begins with ``takedown`` and goes on with ``place``.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC
from functools import partial
from typing import Any, TypeVar

from kryss import __version__
from kryss.config import TIMEOUTS, ConfigError, MunicipalityConfig
from kryss.imagery import MapillaryClient, PhotoStore, client_for, fetch_photos, list_images
from kryss.layer.provenance import Source, known_source, own_junctions, own_photos
from kryss.layer.release import Inputs, publish, sizes_of
from kryss.layer.storage import Shelf
from kryss.model import Detection, Image, Municipality, PhotoResult, RejectedPose, Release, Sighting, StreetObject
from kryss.pipeline.checks import Figures, HeldBack, figures_of, implausible
from kryss.pipeline.removal import REASONS, REMOVALS, Removal, deleted_photos, erase
from kryss.pipeline.run import Run, short_hash, stage
from kryss.pipeline.state import CellMemo
from kryss.positioning.camera import heading_deg, intrinsics, is_spherical, upright_size
from kryss.positioning.poses import trusted_poses
from kryss.roads.assignment import View
from kryss.store import open_store
from kryss.store.figures import layer_figures, photos_believed, shift_since
from kryss.store.read import Reader
from kryss.store.write import Tx
from kryss.vision.registry import Weights, entry_digest, entry_document, resolve

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_SHARDS = 1000
"""Airflow maps at most ``max_map_length`` (1024) tasks: more photos make larger shards, none is left out."""
SHARDS = "shards.json"
MAX_ATTEMPTS = 3
"""A photo that failed in this many runs is left alone until someone forces it."""


def _timeout_s(stage_name: str) -> float:
    return TIMEOUTS[stage_name].total_seconds()


def _snapshot(run: Run, stage_name: str) -> AbstractContextManager[Reader]:
    return open_store(run.settings.database_url.get_secret_value()).snapshot(_timeout_s(stage_name))


def _transaction(run: Run, stage_name: str) -> AbstractContextManager[Tx]:
    return open_store(run.settings.database_url.get_secret_value()).transaction(run.code, _timeout_s(stage_name), run.run_id)


@contextmanager
def _client(run: Run) -> Iterator[MapillaryClient]:
    client = client_for(run.config, run.settings)
    try:
        yield client
    finally:
        client.close()


def municipality(run: Run, refresh: bool = False) -> Municipality:
    """The municipality with its boundary; the boundary is kept in the state folder until the weekly roads DAG asks anew."""
    from kryss.roads.boundary import load_boundary

    config = run.config
    name = f"boundaries/{config.code}-{short_hash([config.boundary, config.services.model_dump_json()])}.json"
    if refresh or not run.state.has(name):
        boundary = load_boundary(config, run.settings)
        run.state.write_json(name, boundary)
    return Municipality(code=config.code, name=config.name, country=config.country, boundary=run.state.read_json(name))


@stage("discover")
def discover(run: Run) -> dict[str, Any]:
    """Lists everything Mapillary has of the municipality and keeps what this model has not processed; finds what was deleted.

    New is never decided by a date: photos arrive weeks late (contract, quirk 10).
    """
    town = municipality(run)
    with _snapshot(run, "discover") as known_now:
        states = known_now.image_states(run.code, run.model_key)
        known, removed = known_now.image_ids(run.code), known_now.removed_images(run.code)
    with _client(run) as client:
        listing = list_images(client, town.boundary)
        gone, asked = deleted_photos(run, client, known - listing.ids, listing)
        requests = client.counts()
    welcome = [image for image in listing.images if image.id not in removed]
    return {
        **_choose(run, welcome, states, dict(listing.rejected), dict.fromkeys(gone, "deleted")),
        "seen": len(listing.images),
        "barred": len(listing.images) - len(welcome),
        "malformed": dict(Counter(reason for _, reason in listing.rejected)),
        "not_listed": asked,
        "listed": listing.counts,
        "requests": requests,
    }


@stage("known")
def known(run: Run) -> dict[str, Any]:
    """Known photos of the run's days that this model has not processed: what a reprocess begins with, and goes on with."""
    with _snapshot(run, "known") as known_now:
        states = known_now.image_states(run.code, run.model_key)
        images = [image for image in known_now.images(run.code) if _on_days(run, image)]
    return {**_choose(run, images, states), "seen": len(images)}


def _on_days(run: Run, image: Image) -> bool:
    day = image.captured_at.astimezone(UTC).date()
    return (run.since is None or run.since <= day) and (run.until is None or day <= run.until)


def _choose(
    run: Run,
    images: Iterable[Image],
    states: Mapping[str, tuple[str, int]],
    malformed: Mapping[str, str] | None = None,
    removals: Mapping[str, Removal] | None = None,
) -> dict[str, Any]:
    """Keeps the photos that the model has not processed, the oldest first, and lays the run's input out under its key."""
    new, attempts = [], {}
    for image in images:
        outcome, tries = states.get(image.id, (None, 0))
        if run.force or outcome is None or (outcome == "failed" and tries < MAX_ATTEMPTS):
            new.append(image)
            attempts[image.id] = tries
    new.sort(key=lambda image: (image.captured_at, image.id))
    new = new[: run.limit]
    forced = [run.run_id] if run.force else []
    going = sorted(removals or {})
    parts = [*(f"{image.id}:{attempts[image.id]}" for image in new), *(f"-{image_id}" for image_id in going)]
    key = short_hash([run.code, run.model_key, *forced, *parts])
    run.state.write_rows(f"work/{run.code}/{key}/images.jsonl.gz", Image, new)
    run.state.write_json(f"work/{run.code}/{key}/attempts.json", {image.id: attempts[image.id] + 1 for image in new})
    run.state.write_json(f"work/{run.code}/{key}/malformed.json", dict(malformed or {}))
    run.state.write_json(f"work/{run.code}/{key}/{REMOVALS}", dict(removals or {}))
    return {"key": key, "model_key": run.model_key, "new": len(new)}


@stage("takedown")
def takedown(run: Run, image_ids: Sequence[str], sequence_ids: Sequence[str], note: str) -> dict[str, Any]:
    """Photos that somebody asked to take down, by id or by sequence, whether they are known or not; and which releases name them.

    Removed photos are never loaded again, even while Mapillary lists them. ``note``: why; it is kept in the run's report.
    """
    if odd := sorted(image_id for image_id in image_ids if not image_id.isdigit()):
        raise ConfigError(f"image id {odd[0]!r} is no id of a Mapillary photo: those are digits (--sequence takes sequences)")
    key = short_hash([run.code, "takedown", *sorted(image_ids), *(f"of {one}" for one in sorted(sequence_ids))])
    name = f"work/{run.code}/{key}/{REMOVALS}"
    with _snapshot(run, "takedown") as known_now:
        images = known_now.images(run.code)
    of_sequences = [image for image in images if image.sequence_id in sequence_ids]
    before = run.state.read_json(name) if run.state.has(name) else {}
    going = {*before, *image_ids, *(image.id for image in of_sequences)}
    unknown = sorted(set(sequence_ids) - {image.sequence_id for image in of_sequences})
    if not going:
        raise ConfigError(
            f"nothing to take down in {run.code}: no known photo is of sequence {', '.join(unknown) or '(none given)'}"
        )
    run.state.write_json(name, dict.fromkeys(sorted(going), "takedown"))
    return {
        "key": key,
        "model_key": run.model_key,
        "note": note,
        "seen": len(images),
        "new": 0,
        "asked": len(going),
        "unknown_sequences": unknown,
        "named_in": Shelf(run.release_url, run.code).naming(going),
    }


def _input(run: Run, key: str, name: str) -> Any:
    """A JSON document of the run's input; a takedown has none but its removals."""
    path = f"work/{run.code}/{key}/{name}"
    return run.state.read_json(path) if run.state.has(path) else {}


def _new_images(run: Run, key: str) -> Sequence[Image]:
    name = f"work/{run.code}/{key}/images.jsonl.gz"
    return run.state.read_rows(name, Image) if run.state.has(name) else []


@stage("plan")
def plan(run: Run, key: str) -> dict[str, Any]:
    """Cuts the new photos into shards along sequences: hands on references, never lists of photos."""
    images = _new_images(run, key)
    size = max(run.config.shard_size, math.ceil(len(images) / MAX_SHARDS))
    ordered = sorted(images, key=lambda image: (image.sequence_id, image.captured_at, image.id))
    shards = []
    for number, start in enumerate(range(0, len(ordered), size)):
        part = ordered[start : start + size]
        shard = f"{key}-{number:04d}"
        run.state.write_rows(f"work/{run.code}/{key}/{shard}/images.jsonl.gz", Image, part)
        sequences = len({image.sequence_id for image in part})
        label = f"{number + 1}: {len(part)} photos of {sequences} sequence{'s' if sequences != 1 else ''}"
        shards.append({"shard": shard, "label": label, "photos": len(part)})
    run.state.write_json(f"work/{run.code}/{key}/{SHARDS}", {"shards": [part["shard"] for part in shards]})
    return {"key": key, "shards": shards}


def _shard_file(run: Run, shard: str, name: str) -> str:
    return f"work/{run.code}/{shard.rsplit('-', 1)[0]}/{shard}/{name}.jsonl.gz"


@stage("fetch")
def fetch(run: Run, shard: str) -> dict[str, Any]:
    """Downloads and verifies the photos of a shard. A refused token stops the run and marks no photo."""
    done = _shard_file(run, shard, "fetched")
    if not run.state.has(done):
        images = run.state.read_rows(_shard_file(run, shard, "images"), Image)
        store = PhotoStore(run.settings.photos_url)
        with _client(run) as client:
            results = fetch_photos(
                client,
                store,
                [image.id for image in images],
                workers=run.settings.download_workers,
                size=run.config.photo_size,
                upright_sizes={image.id: upright_size(image) for image in images},
            )
        run.state.write_rows(done, PhotoResult, results)
    results = run.state.read_rows(done, PhotoResult)
    return {"shard": shard, "photos": len(results), "outcomes": dict(Counter(result.outcome for result in results))}


@stage("detect")
def detect(run: Run, shard: str) -> dict[str, Any]:
    """Finds signs and lights in the photos of a shard. A photo that cannot be read is recorded, the rest goes on."""
    from kryss.vision.detect import PhotoFailure, load_detector

    done, found = _shard_file(run, shard, "results"), _shard_file(run, shard, "detections")
    if not run.state.has(done):
        images = {image.id: image for image in run.state.read_rows(_shard_file(run, shard, "images"), Image)}
        fetched = run.state.read_rows(_shard_file(run, shard, "fetched"), PhotoResult)
        ready = [result.image_id for result in fetched if result.outcome == "ok"]
        photos = PhotoStore(run.settings.photos_url)
        detector = load_detector(run.model or run.config.model)

        def read() -> Iterator[tuple[str, bytes]]:
            for image_id in ready:
                yield image_id, photos.read(image_id)

        sizes = {image_id: upright_size(images[image_id]) for image_id in ready}
        by_image = {result.image_id: result for result in fetched}
        detections: list[Detection] = []
        for image_id, outcome in detector.detect(read(), sizes):
            if isinstance(outcome, PhotoFailure):
                by_image[image_id] = PhotoResult(image_id, "failed", outcome.reason)
            else:
                detections += outcome
                by_image[image_id] = replace(by_image[image_id], detections=len(outcome))
        run.state.write_rows(found, Detection, detections)
        run.state.write_rows(done, PhotoResult, [by_image[result.image_id] for result in fetched])
    kept = run.state.read_rows(found, Detection)
    model = looked_with(resolve(run.model or run.config.model))
    return {"shard": shard, "detections": len(kept), "classes": dict(Counter(d.class_name for d in kept)), "model": model}


def looked_with(entry: Weights) -> dict[str, Any]:
    """What a model does with a photo: the digest of its entry and the options of inference; of an ensemble also its members'."""
    said: dict[str, Any] = {"entry": entry_digest(entry), "inference": entry_document(entry).get("inference", {})}
    if entry.family == "ensemble":
        said["members"] = {name: looked_with(resolve(name)) for name in map(str, entry.options.get("members", ()))}
    return said


@stage("depth")
def depth(run: Run, shard: str) -> dict[str, Any]:
    """Monocular depth inside each box, only for photos with detections. Without a depth model the refresh goes on and says so."""
    from kryss.vision.depth import DepthUnavailable, PhotoBoxes, load_depth

    done = _shard_file(run, shard, "depth")
    note = "not used (no depth model is set)"
    try:
        model = load_depth(run.config.depth)
    except DepthUnavailable as error:
        return {"shard": shard, "depth": f"not used: {error}"}
    if model is None:
        return {"shard": shard, "depth": note}
    nothing: Counter[str] = Counter()
    if not run.state.has(done):
        detections = run.state.read_rows(_shard_file(run, shard, "detections"), Detection)
        images = {image.id: image for image in run.state.read_rows(_shard_file(run, shard, "images"), Image)}
        photos = PhotoStore(run.settings.photos_url)
        by_image: dict[str, list[Detection]] = {}
        for detection in detections:
            by_image.setdefault(detection.image_id, []).append(detection)
        asked = (
            PhotoBoxes(
                image_id, partial(photos.read, image_id), [box.box for box in boxes], upright_size(images[image_id]),
                None if is_spherical(images[image_id]) else intrinsics(images[image_id]).focal,
            )
            for image_id, boxes in by_image.items()
        )  # fmt: skip
        measured: list[Detection] = []
        for image_id, depths in model.measure(asked):
            for box, found in zip(by_image[image_id], depths, strict=True):
                measured.append(replace(box, depth=found.metres))
                if found.reason:
                    nothing[found.reason] += 1
        run.state.write_rows(done, Detection, measured)
    return {"shard": shard, "depth": model.model_key, "without_depth": dict(nothing)}


def _shards(run: Run, key: str) -> list[str]:
    return list(_input(run, key, SHARDS).get("shards", ()))


def _gather(run: Run, key: str, name: str, kind: type[T]) -> list[T]:
    return [row for shard in _shards(run, key) for row in run.state.read_rows(_shard_file(run, shard, name), kind)]


def _detections(run: Run, key: str) -> list[Detection]:
    """What was found in the new photos, with its depth where a depth model has looked."""
    found = _gather(run, key, "detections", Detection)
    deep = [shard for shard in _shards(run, key) if run.state.has(_shard_file(run, shard, "depth"))]
    measured = {(d.image_id, d.ordinal): d for s in deep for d in run.state.read_rows(_shard_file(run, s, "depth"), Detection)}
    return [measured.get((d.image_id, d.ordinal), d) for d in found]


@dataclass(frozen=True)
class Placed:
    """What placing makes of a run's photos and of the sequences that they touch."""

    sightings: list[Sighting]
    rejected: list[RejectedPose]
    by_model: dict[str, list[str]]
    """Ids of the placed photos by the model whose boxes were placed."""
    photos: list[str]
    """Ids of all photos of these sequences, sorted."""
    known: str
    """What the database knew: see ``_extent``."""


@stage("place")
def place(run: Run, key: str) -> dict[str, Any]:
    """Boxes to sightings: trusted poses, bearings, ranges. Poses that cannot be are rejected with their reason.

    Sequences with new photos are placed as a whole, so that it does not matter in how many nights their photos came: trust
    in a pose, camera height, horizon, depth scale and focal length are those of the sequence. So are sequences that lose photos,
    and those of which another model is believed now.
    """
    new = _new_images(run, key)
    if not new and not _input(run, key, REMOVALS):
        return {"photos": 0, "placed_again": 0, "sightings": 0, "not_placed": {}, "poses_rejected": {}}
    with _snapshot(run, "place") as known_now:
        placed, skipped = _placed(run, key, known_now)
    folder = f"work/{run.code}/{key}"
    run.state.write_rows(f"{folder}/sightings.jsonl.gz", Sighting, placed.sightings)
    run.state.write_rows(f"{folder}/rejected_poses.jsonl.gz", RejectedPose, placed.rejected)
    run.state.write_json(f"{folder}/placed.json", {name: getattr(placed, name) for name in ("by_model", "photos", "known")})
    return {
        "photos": len(placed.photos),
        "placed_again": len(set(placed.photos) - {image.id for image in new}),
        "sightings": len(placed.sightings),
        "not_placed": dict(skipped),
        "poses_rejected": dict(Counter(f"{pose.origin}: {pose.reason}" for pose in placed.rejected)),
    }


def _placed(run: Run, key: str, known_now: Reader) -> tuple[Placed, Mapping[str, int]]:
    """With the reasons of boxes that got no place."""
    from kryss.positioning.focal import touched_sequences
    from kryss.positioning.place import place as place_detections

    stored = {image.id: image for image in known_now.images(run.code)}
    removed = {*_input(run, key, REMOVALS), *known_now.removed_images(run.code)}
    new = {image.id: image for image in _new_images(run, key) if image.id not in removed}
    looked = {result.image_id for result in _gather(run, key, "results", PhotoResult) if result.outcome == "ok"} - removed
    images = {image_id: image for image_id, image in (stored | new).items() if image_id not in removed}
    before = known_now.effective_models(run.code, None)
    after = known_now.effective_models(run.code, run.model_key if looked else None) | dict.fromkeys(looked, run.model_key)
    lost = [stored[image_id] for image_id in sorted(removed & stored.keys())]
    switched = [images[image_id] for image_id in before if image_id in images and before[image_id] != after[image_id]]
    sequences = touched_sequences([*new.values(), *lost, *switched], images.values())
    together = {image_id: image for image_id, image in images.items() if image.sequence_id in sequences}
    by_model: dict[str, list[str]] = {}
    for image_id in sorted(together.keys() & after.keys()):
        by_model.setdefault(after[image_id], []).append(image_id)
    detections = [detection for detection in _detections(run, key) if detection.image_id in looked]
    for model_key, placed in sorted(by_model.items()):
        earlier = set(placed) - looked if model_key == run.model_key else set(placed)
        detections += known_now.detections(run.code, model_key, earlier)
    poses, rejected = trusted_poses(together.values())
    sightings, skipped = place_detections(images, detections, poses, run.config.region)
    return Placed(sightings, rejected, by_model, sorted(together), _extent(known_now, run.code)), skipped


def _extent(known_now: Reader, code: str) -> str:
    """A name for what placing depends on in the database: its photos, whose word is taken of each, and what was removed."""
    looks = (f"{image_id}:{model_key}" for image_id, model_key in known_now.effective_models(code, None).items())
    return short_hash(
        [*sorted(known_now.image_ids(code)), *looks, *(f"-{image_id}" for image_id in known_now.removed_images(code))]
    )


@stage("merge")
def merge(run: Run, key: str) -> dict[str, Any]:
    """Sightings to objects, matched with the known ones: everything that is believed changes in one transaction.

    Photos that must go leave the photo store and the stage files first: a merge that dies is run again, or the photos are found
    missing again by the next night.
    """
    from kryss.history import Before, Evidence, Load, believe
    from kryss.positioning.fuse import fusion

    removals: dict[str, Removal] = _input(run, key, REMOVALS)
    images = _new_images(run, key)
    results = _gather(run, key, "results", PhotoResult)
    failed = Counter(f"{result.reason}" for result in results if result.outcome != "ok")
    if not images and not removals:
        with _snapshot(run, "merge") as known_now:
            total = len(known_now.objects(run.code))
        return {"objects": {"unchanged": total}, "total": total, "dropped": {}, "failed": {}, "rows": {}}
    if removals:
        erase(run, removals)
    town = municipality(run)
    with _transaction(run, "merge") as tx:
        if tx.surveys(run.code):
            raise ConfigError(f"municipality {run.code} has surveys; photos cannot be joined with what they tell yet")
        tx.upsert_municipality(town)
        removed_before = tx.removed_images(run.code)
        placed = _placed_or_anew(run, key, tx)
        before = Before(tx.objects(run.code), tx.withdrawn_objects(run.code), tx.object_ids(run.code))
        looked_before = tx.effective_models(run.code, None)
        for reason in REASONS:
            if going := [image_id for image_id, why in removals.items() if why == reason]:
                tx.remove_images(going, reason)
        rows = _load(run, key, tx, placed, images, results)
        cells = CellMemo(run.state, f"cells/{run.code}")
        fused = fusion(tx.effective_sightings(run.code, None), cells)
        looks = tx.effective_looks(run.code, None)
        poses, _ = trusted_poses(tx.images(run.code))
        looked = {image.id: model_key for model_key, seen in looks.items() for image in seen}
        again = {image_id: then for image_id, then in looked_before.items() if image_id in looked and looked[image_id] != then}
        beliefs = believe(
            Evidence(fused.objects, looks, poses),
            before,
            Load(looked.keys() - looked_before.keys(), again, removals, _boxes(tx, run.code, again, looked)),
            ended_below=run.config.ended_below,
        )
        counts = tx.write_objects(run.code, beliefs.objects, reasons=beliefs.reasons, lineage=beliefs.lineage)
    cells.forget_others()
    # A run that began before a removal carries what the removal could not see.
    if late := {image.id for image in images} & removed_before.keys() | {one.image_id for one in results} & removed_before.keys():
        erase(run, late)
    return {
        "objects": asdict(counts),
        "total": len(beliefs.objects),
        "removed": dict(Counter(removals.values())),
        "reasons": dict(Counter(beliefs.reasons.values())),
        "lineage": dict(Counter(event.relation for event in beliefs.lineage)),
        "dropped": dict(fused.dropped),
        "failed": dict(failed),
        "rows": rows,
    }


def _placed_or_anew(run: Run, key: str, tx: Tx) -> Placed:
    """What ``place`` left; worked out again where another run has loaded or removed photos since."""
    folder = f"work/{run.code}/{key}"
    said = run.state.read_json(f"{folder}/placed.json")
    if said["known"] != _extent(tx, run.code):
        log.info("%s: another run came between place and merge; placed again", run.code)
        return _placed(run, key, tx)[0]
    sightings = run.state.read_rows(f"{folder}/sightings.jsonl.gz", Sighting)
    return Placed(sightings, run.state.read_rows(f"{folder}/rejected_poses.jsonl.gz", RejectedPose), **said)


def _load(run: Run, key: str, tx: Tx, placed: Placed, images: Sequence[Image], results: Sequence[PhotoResult]) -> dict[str, int]:
    """Rows written, by table. Sightings are loaded model by model. A look that failed takes no earlier one back."""
    states = tx.image_states(run.code, run.model_key)
    looked = {image_id for image_id, (outcome, _) in states.items() if outcome == "ok"}
    loaded = Counter(
        tx.load(
            model_key=run.model_key,
            images=images,
            results=[result for result in results if result.outcome == "ok" or result.image_id not in looked],
            attempts=_input(run, key, "attempts.json"),
            rejected_entities=_input(run, key, "malformed.json"),
            rejected_poses=placed.rejected,
            detections=_detections(run, key),
            placed=placed.photos,
        )
    )
    for model_key, photos in sorted(placed.by_model.items()):
        seen = [sighting for sighting in placed.sightings if sighting.model_key == model_key]
        loaded.update(tx.load(model_key=model_key, sightings=seen, placed=photos))
    return dict(loaded)


def _boxes(tx: Tx, code: str, again: Mapping[str, str], looked: Mapping[str, str]) -> list[Detection]:
    """What the model of before and that of now found in photos that both have looked at."""
    wanted: dict[str, set[str]] = {}
    for image_id, then in again.items():
        wanted.setdefault(then, set()).add(image_id)
        wanted.setdefault(looked[image_id], set()).add(image_id)
    return [box for model_key in sorted(wanted) for box in tx.detections(code, model_key, wanted[model_key])]


@stage("roads")
def roads(run: Run) -> dict[str, Any]:
    """The boundary, the junctions and their speed limits, anew; versions of what changed."""
    return _load_roads(run, "roads")


def _load_roads(run: Run, stage_name: str) -> dict[str, Any]:
    from kryss.pipeline.surveys import write_junctions_of_lights
    from kryss.roads.identity import keep_ids
    from kryss.roads.junctions import intersections_for

    town = municipality(run, refresh=True)
    if run.config.roads == "objects":
        with _transaction(run, stage_name) as tx:
            tx.upsert_municipality(town)
            counts = write_junctions_of_lights(tx, run.code, tx.objects(run.code), run.config.area)
        return {"junctions": asdict(counts)}
    junctions = intersections_for(run.config, run.settings, town.boundary)
    with _transaction(run, stage_name) as tx:
        tx.upsert_municipality(town)
        counts = tx.write_intersections(run.code, keep_ids(junctions, tx.intersections_ever(run.code)))
    return {"junctions": asdict(counts)}


@stage("assign")
def assign(run: Run) -> dict[str, Any]:
    """Objects to intersections, by the municipality's rule."""
    from kryss.roads.assignment import assign as assign_objects

    with _snapshot(run, "assign") as known_now:
        known = bool(known_now.intersections(run.code))
    loaded = {} if known else _load_roads(run, "assign")
    with _transaction(run, "assign") as tx:
        junctions = tx.intersections(run.code)
        objects = tx.objects(run.code)
        views = _views(tx.images(run.code), objects) if run.config.assignment == "thesis" else None
        assigned = assign_objects(objects, junctions, run.config.assignment, views)
        counts = tx.write_assignments(run.code, assigned)
    return {"intersections": len(junctions), "assigned": len(assigned), "assignments": asdict(counts), **loaded}


def _views(images: Iterable[Image], objects: Iterable[StreetObject]) -> dict[str, list[View]]:
    """By object id, the cameras that saw it."""
    by_id = {image.id: image for image in images}
    poses, _ = trusted_poses(by_id.values())
    seen = {item.id: sorted({image_id for image_id, _ in item.evidence} & poses.keys()) for item in objects}
    return {
        object_id: [
            View(pose.lon, pose.lat, heading_deg(by_id[image_id], pose)) for image_id in ids for pose in (poses[image_id].pose,)
        ]
        for object_id, ids in seen.items()
    }


@stage("check")
def check(run: Run) -> dict[str, Any]:
    """Judges what would be published by the last releases. Holds nothing back itself: who goes on asks `held_back` first."""
    with _snapshot(run, "check") as known_now:
        return asdict(_judge(run, known_now))


@dataclass(frozen=True)
class Judgement:
    """What is believed now against the last releases."""

    reasons: list[str]
    """Why it should not be published unseen; none: publish."""
    against: list[str]
    """Names of the releases that are its history, oldest first."""
    standing: dict[str, int]
    """By class."""
    photos: int
    shift: dict[str, Any] | None
    """Displacements since the last release."""


def _judge(run: Run, known_now: Reader, against: Sequence[str] = ()) -> Judgement:
    """``against``: the releases to hold it against; none: the last ones, from the last that was approved on."""
    limits, shelf = run.config.plausible, Shelf(run.release_url, run.code)
    names, approved = list(against) or shelf.names()[-limits.releases :], _approved(run)
    if not against and approved in names:
        names = names[names.index(approved) :]
    trailing = [figures_of(manifest, name == approved) for name in names if (manifest := shelf.manifest(name))]
    layer, shift = layer_figures(known_now, run.code), None
    then = known_now.release_instants(run.code).get(names[-1]) if names else None
    if then is not None:
        last = layer_figures(known_now, run.code, then)
        trailing[-1] = replace(trailing[-1], occupied=last.occupied, area_km2=last.area_km2)
        shift = shift_since(known_now, run.code, then)
    now = Figures(
        by_class=layer.by_class,
        photos=sum(looks.photos for looks in photos_believed(known_now, run.code).values()),
        intersections=layer.intersections,
        occupied=layer.occupied,
        area_km2=layer.area_km2,
        **({} if shift is None else asdict(shift)),
    )
    return Judgement(
        reasons=implausible(now, trailing, limits),
        against=names,
        standing={name: now.count("standing", of=name) for name in layer.by_class},
        photos=now.photos,
        shift=None if shift is None else asdict(shift),
    )


def checked(run: Run) -> dict[str, Any]:
    """What ``check`` found in this run; empty where it has not run."""
    name = f"{run.folder}/check.json"
    return run.state.read_json(name) if run.state.has(name) else {}


def held_back(run: Run) -> list[str]:
    """Why a person has to be asked before this run publishes; empty where ``approve`` was given or all is plausible."""
    return [] if run.approve else list(checked(run).get("reasons", ()))


def _approved(run: Run) -> str | None:
    """The last release that was published although it was implausible."""
    name = f"approved/{run.code}.json"
    return run.state.read_json(name)["release"] if run.state.has(name) else None


SOURCES = {"nvdb": "nvdb", "overpass": "osm", "pbf": "osm", "kommuneinfo": "kartverket"}


def _sources(config: MunicipalityConfig) -> tuple[Source, ...]:
    """Who is to be credited. A service that gave the roads is not named once more for the boundary."""
    own = config.attribution
    photos = own_photos(own, config.photos_licence) if own else known_source("mapillary")
    roads, boundary = SOURCES.get(config.roads), SOURCES.get(config.boundary.partition(":")[0])
    given = [known_source(roads, "roads")] if roads else [own_junctions()] if config.roads == "junctions" else []
    given += [known_source(boundary, "boundary")] if boundary and boundary != roads else []
    return (photos, *given)


def _since_the_check(run: Run, known_now: Reader) -> list[str]:
    """Why what is believed now is implausible, other than what the check has found: another run came between.

    First against the releases of the check: an earlier try of this export may have added what it publishes to the last ones.
    If others were published meanwhile, it counts whether it is plausible now.
    """
    told, there = checked(run), Shelf(run.release_url, run.code).names()
    if not told:
        return []
    if set(told["against"]) <= set(there) and not set(_judge(run, known_now, told["against"]).reasons) - set(told["reasons"]):
        return []
    return sorted(set(_judge(run, known_now).reasons) - set(told["reasons"]))


@stage("export")
def export(run: Run) -> dict[str, Any]:
    """Publishes the layer as a dated release, unless it equals the last one; the database records which instant it holds.

    What was checked, or approved, is published as it was then: where another run has made it implausible, or so in another way,
    since, it is held back.
    """
    config, shelf = run.config, Shelf(run.release_url, run.code)
    town, reasons = municipality(run), checked(run).get("reasons", [])
    with shelf.writing(), _snapshot(run, "export") as known_now:
        if not run.approve and (others := _since_the_check(run, known_now)):
            raise HeldBack(
                f"release of {run.code} held back: another run changed it after the {'question' if reasons else 'check'}: "
                f"{'; '.join(others)}. Run the refresh again"
            )
        looks = photos_believed(known_now, run.code)
        inputs = Inputs(
            model=run.model_key,
            code_version=__version__,
            photos=sum(look.photos for look in looks.values()),
            photos_until=max((look.until for look in looks.values()), default=None),
            photos_by_model={model_key: look.photos for model_key, look in looks.items()},
            parameters={
                "depth": config.depth,
                "region": config.region,
                "roads": config.roads,
                "area": config.area,
                "assignment": config.assignment,
                "ended_below": config.ended_below,
            },
            sources=_sources(config),
            region=config.region,
            image_url=config.image_url,
        )
        rows = known_now.layer(run.code, sizes=sizes_of(config.region), image_url=config.image_url)

        def record(release: Release, follows_from: dict[str, Any]) -> None:
            with _transaction(run, "export") as tx:
                tx.record_release(release, follows_from, rows.known)

        published = publish(
            rows,
            shelf,
            town,
            run.release_date,
            inputs,
            record=record,
            since=known_now.release_instants(run.code),
            formats=config.formats,
            keep=config.keep_releases,
            keep_days=config.keep_days,
            basemap_url=config.basemap_url,
        )
    if reasons:  # also where an earlier try had published it, and died before it could say so here
        run.state.write_json(f"approved/{run.code}.json", {"release": published.name, "reasons": reasons})
    return {
        "release": published.name,
        "url": published.url,
        "unchanged": published.unchanged,
        "changes": list(published.summary),
        "counts": dict(published.changes),
        "pruned": list(published.pruned),
        "not_pruned": published.not_pruned,
        "left_out": list(published.left_out),
    }
