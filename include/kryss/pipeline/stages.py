"""discover -> plan -> [ per shard: fetch -> detect -> depth ] -> place -> merge -> assign -> check -> export."""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any, TypeVar

from kryss import __version__
from kryss.config import DATABASE_TIMEOUT
from kryss.imagery import MapillaryClient, PhotoStore, client_for, fetch_photos, list_images
from kryss.layer.provenance import Provenance, Source, known_source
from kryss.layer.release import publish
from kryss.layer.storage import MANIFEST, Shelf
from kryss.model import Detection, Image, Municipality, PhotoResult, RejectedPose, Sighting
from kryss.pipeline.checks import HeldBack, plausible
from kryss.pipeline.run import Run, short_hash, stage
from kryss.pipeline.state import CellMemo
from kryss.positioning.camera import upright_size
from kryss.positioning.poses import trusted_poses
from kryss.store import Store, open_store

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_SHARDS = 1000
"""Airflow maps at most ``max_map_length`` (1024) tasks: more photos make larger shards, none is left out."""
MAX_ATTEMPTS = 3
"""A photo that failed in this many runs is left alone until someone forces it."""


def _store(run: Run) -> Store:
    return open_store(run.settings.database_url.get_secret_value())


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
    """Lists everything Mapillary has of the municipality and keeps what this model has not processed.

    New is never decided by a date: photos arrive weeks late (contract, quirk 10).
    """
    model_key = run.model_key
    town = municipality(run)
    with _client(run) as client:
        listing = list_images(client, town.boundary)
        requests = client.counts()
    states = _store(run).image_states(run.code, model_key)
    new, attempts = [], {}
    for image in listing.images:
        outcome, tries = states.get(image.id, (None, 0))
        if run.force or outcome is None or (outcome == "failed" and tries < MAX_ATTEMPTS):
            new.append(image)
            attempts[image.id] = tries
    new.sort(key=lambda image: (image.captured_at, image.id))
    new = new[: run.limit]
    forced = [run.run_id] if run.force else []
    key = short_hash([run.code, model_key, *forced, *(f"{image.id}:{attempts[image.id]}" for image in new)])
    run.state.write_rows(f"work/{run.code}/{key}/images.jsonl.gz", Image, new)
    run.state.write_json(f"work/{run.code}/{key}/attempts.json", {image.id: attempts[image.id] + 1 for image in new})
    run.state.write_json(f"work/{run.code}/{key}/malformed.json", dict(listing.rejected))
    return {
        "key": key,
        "model_key": model_key,
        "seen": len(listing.images),
        "new": len(new),
        "malformed": dict(Counter(reason for _, reason in listing.rejected)),
        "listed": listing.counts,
        "requests": requests,
    }


def _new_images(run: Run, key: str) -> Sequence[Image]:
    return run.state.read_rows(f"work/{run.code}/{key}/images.jsonl.gz", Image)


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
    return {"shard": shard, "detections": len(kept), "classes": dict(Counter(d.class_name for d in kept))}


@stage("depth")
def depth(run: Run, shard: str) -> dict[str, Any]:
    """Monocular depth inside each box, only for photos with detections. Without a depth model the refresh goes on and says so."""
    from kryss.vision.depth import DepthUnavailable, load_depth

    done = _shard_file(run, shard, "depth")
    note = "not used (no depth model is set)"
    try:
        model = load_depth(run.config.depth)
    except DepthUnavailable as error:
        return {"shard": shard, "depth": f"not used: {error}"}
    if model is None:
        return {"shard": shard, "depth": note}
    if not run.state.has(done):
        detections = run.state.read_rows(_shard_file(run, shard, "detections"), Detection)
        images = {image.id: image for image in run.state.read_rows(_shard_file(run, shard, "images"), Image)}
        photos = PhotoStore(run.settings.photos_url)
        by_image: dict[str, list[Detection]] = {}
        for detection in detections:
            by_image.setdefault(detection.image_id, []).append(detection)
        measured: list[Detection] = []
        for image_id, boxes in by_image.items():
            depths = model.median_depth(photos.read(image_id), [box.box for box in boxes], upright_size(images[image_id]))
            measured += [replace(box, depth=value) for box, value in zip(boxes, depths, strict=True)]
        run.state.write_rows(done, Detection, measured)
    return {"shard": shard, "depth": run.config.depth}


def _shards(run: Run, key: str) -> list[str]:
    size = max(run.config.shard_size, math.ceil(len(_new_images(run, key)) / MAX_SHARDS))
    return [f"{key}-{number:04d}" for number in range(math.ceil(len(_new_images(run, key)) / size))]


def _gather(run: Run, key: str, name: str, kind: type[T]) -> list[T]:
    return [row for shard in _shards(run, key) for row in run.state.read_rows(_shard_file(run, shard, name), kind)]


def _detections(run: Run, key: str) -> list[Detection]:
    """What was found in the new photos, with its depth where a depth model has looked."""
    found = _gather(run, key, "detections", Detection)
    deep = [shard for shard in _shards(run, key) if run.state.has(_shard_file(run, shard, "depth"))]
    measured = {(d.image_id, d.ordinal): d for s in deep for d in run.state.read_rows(_shard_file(run, s, "depth"), Detection)}
    return [measured.get((d.image_id, d.ordinal), d) for d in found]


@stage("place")
def place(run: Run, key: str) -> dict[str, Any]:
    """Boxes to sightings: trusted poses, bearings, ranges. Poses that cannot be are rejected with their reason.

    Sequences with new photos are placed as a whole, so that it does not matter in how many nights their photos came: trust
    in a pose, camera height, horizon, depth scale and focal length are those of the sequence.
    """
    from kryss.positioning.focal import touched_sequences
    from kryss.positioning.place import place as place_detections

    new = {image.id: image for image in _new_images(run, key)}
    detections = _detections(run, key)
    looked = {result.image_id for result in _gather(run, key, "results", PhotoResult) if result.outcome == "ok"}
    with _store(run).snapshot() as known_now:
        images = {image.id: image for image in known_now.images(run.code)} | new
        sequences = touched_sequences(new.values(), images.values())
        together = {image_id: image for image_id, image in images.items() if image.sequence_id in sequences}
        detections += known_now.detections(run.code, run.model_key, together.keys() - looked)
    poses, rejected = trusted_poses(together.values())
    sightings, skipped = place_detections(images, detections, poses, run.config.region)
    run.state.write_rows(f"work/{run.code}/{key}/sightings.jsonl.gz", Sighting, sightings)
    run.state.write_rows(f"work/{run.code}/{key}/rejected_poses.jsonl.gz", RejectedPose, rejected)
    run.state.write_json(f"work/{run.code}/{key}/placed.json", sorted(together))
    return {
        "photos": len(together),
        "placed_again": len(together.keys() - new.keys()),
        "sightings": len(sightings),
        "not_placed": dict(skipped),
        "poses_rejected": dict(Counter(f"{pose.origin}: {pose.reason}" for pose in rejected)),
    }


@stage("merge")
def merge(run: Run, key: str) -> dict[str, Any]:
    """Sightings to objects, matched with the known ones: everything that is believed changes in one transaction."""
    from kryss.history import Before, Evidence, Load, believe
    from kryss.positioning.fuse import fusion

    images = _new_images(run, key)
    results = _gather(run, key, "results", PhotoResult)
    failed = Counter(f"{result.reason}" for result in results if result.outcome != "ok")
    if not images:
        with _store(run).snapshot() as known_now:
            total = len(known_now.objects(run.code))
        return {"objects": {"unchanged": total}, "total": total, "dropped": {}, "failed": {}, "rows": {}}
    model_key = run.model_key
    town = municipality(run)
    with _store(run).transaction(run.code, statement_timeout_s=DATABASE_TIMEOUT.total_seconds()) as tx:
        tx.upsert_municipality(town)
        rows = tx.load(
            model_key=model_key,
            images=images,
            results=results,
            attempts=run.state.read_json(f"work/{run.code}/{key}/attempts.json"),
            rejected_entities=run.state.read_json(f"work/{run.code}/{key}/malformed.json"),
            rejected_poses=run.state.read_rows(f"work/{run.code}/{key}/rejected_poses.jsonl.gz", RejectedPose),
            detections=_detections(run, key),
            sightings=run.state.read_rows(f"work/{run.code}/{key}/sightings.jsonl.gz", Sighting),
            placed=run.state.read_json(f"work/{run.code}/{key}/placed.json"),
        )
        cells = CellMemo(run.state, f"cells/{run.code}")
        fused = fusion(tx.sightings(run.code, model_key), cells)
        poses, _ = trusted_poses(tx.images(run.code))
        looked = {result.image_id for result in results if result.outcome == "ok"}
        beliefs = believe(
            Evidence(fused.objects, {model_key: tx.looks(run.code, model_key)}, poses),
            Before(tx.objects(run.code)),
            Load(new=looked),
        )
        counts = tx.write_objects(run.code, beliefs.objects)
    cells.forget_others()
    return {
        "objects": asdict(counts),
        "total": len(beliefs.objects),
        "dropped": dict(fused.dropped),
        "failed": dict(failed),
        "rows": rows,
    }


@stage("roads")
def roads(run: Run) -> dict[str, Any]:
    """The boundary, the junctions and their speed limits, anew; versions of what changed."""
    return _load_roads(run)


def _load_roads(run: Run) -> dict[str, Any]:
    from kryss.roads.junctions import intersections_for

    town = municipality(run, refresh=True)
    junctions = intersections_for(run.config, run.settings, town.boundary)
    with _store(run).transaction(run.code, statement_timeout_s=DATABASE_TIMEOUT.total_seconds()) as tx:
        tx.upsert_municipality(town)
        counts = tx.write_intersections(run.code, junctions)
    return {"junctions": asdict(counts)}


@stage("assign")
def assign(run: Run) -> dict[str, Any]:
    """Objects to intersections: the nearest junction whose area holds the object."""
    from kryss.roads.areas import assign as assign_objects

    with _store(run).snapshot() as known_now:
        known = bool(known_now.intersections(run.code))
    loaded = {} if known else _load_roads(run)
    with _store(run).transaction(run.code, statement_timeout_s=DATABASE_TIMEOUT.total_seconds()) as tx:
        junctions = tx.intersections(run.code)
        positions = {item.id: (item.lon, item.lat) for item in tx.objects(run.code)}
        assigned = assign_objects(positions, junctions)
        counts = tx.write_assignments(run.code, assigned)
    return {"intersections": len(junctions), "assigned": len(assigned), "assignments": asdict(counts), **loaded}


@stage("check")
def check(run: Run) -> dict[str, Any]:
    """Holds the release back when the numbers are implausible against the release before it."""
    with _store(run).snapshot() as tx:
        assigned = tx.assignments(run.code)
        objects = [item for item in tx.objects(run.code) if item.id in assigned]
        photos = len(tx.looks(run.code, run.model_key))
    standing = Counter(item.class_name for item in objects if item.status == "standing")
    last = _last_manifest(run)
    reasons: list[str] = []
    if last:
        before = {name: by_status["standing"] for name, by_status in last["counts"]["by_class"].items()}
        reasons = plausible(before, standing, last["parameters"]["photos"], photos)
    if reasons and not run.approve:
        raise HeldBack(f"release of {run.code} held back: {'; '.join(reasons)}. If this is right, run again with approve")
    return {"standing": dict(standing), "photos": photos, "reasons": reasons}


def _last_manifest(run: Run) -> dict[str, Any] | None:
    shelf = Shelf(run.release_url, run.code)
    pointer = shelf.latest()
    return json.loads(shelf.read(f"{pointer['release']}/{MANIFEST}")) if pointer else None


SOURCES = {"nvdb": "nvdb", "overpass": "osm", "pbf": "osm", "kommuneinfo": "kartverket"}


@stage("export")
def export(run: Run) -> dict[str, Any]:
    """Publishes the layer as a dated release, unless it equals the last one; the database records which instant it holds."""
    photos = Source("Photos", "see the credit", run.config.attribution) if run.config.attribution else known_source("mapillary")
    used = [*(SOURCES[name] for name in (run.config.roads, run.config.boundary) if name in SOURCES)]
    town = municipality(run)
    with _store(run).transaction(run.code) as tx:
        looks = tx.looks(run.code, run.model_key)
        poses, _ = trusted_poses(tx.images(run.code))
        published = publish(
            run.release_url,
            town,
            run.release_date,
            tx.intersections(run.code),
            tx.objects(run.code),
            tx.assignments(run.code),
            tx.object_history(run.code),
            Provenance(
                model_key=run.model_key,
                code_version=__version__,
                photos_until=max((image.captured_at for image in looks), default=None),
                parameters={
                    "photos": len(looks),
                    "depth": run.config.depth,
                    "region": run.config.region,
                    "roads": run.config.roads,
                },
                sources=(photos, *(known_source(name) for name in dict.fromkeys(used))),
            ),
            region=run.config.region,
            image_url=run.config.image_url,
            cameras={image_id: (trusted.pose.lon, trusted.pose.lat) for image_id, trusted in poses.items()},
        )
        tx.record_release(published.release)
    return {
        "release": published.name,
        "url": published.url,
        "unchanged": published.unchanged,
        "changes": list(published.summary),
        "counts": dict(published.changes),
    }
