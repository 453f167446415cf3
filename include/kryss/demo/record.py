"""``./kryss record``: write a recorded area (recorded-area.md) from live services, with the clients of a refresh.

The area is made in a temporary folder beside its place and renamed when it is complete and loads. Photos that are fetched already
are kept in that folder, so that a recording that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kryss.demo.area import RoadsKind, image_problem, load_area
from kryss.demo.record_roads import RoadClients, record_roads
from kryss.imagery.client import MapillaryClient, PhotoSize, inside
from kryss.imagery.entity import RECORDED_FIELDS, MalformedImageError, parse_image
from kryss.imagery.fetch import fetch_photos
from kryss.imagery.store import PhotoStore, write_atomically
from kryss.imagery.tiles import area_of
from kryss.model import Municipality
from kryss.positioning.camera import upright_size

log = logging.getLogger(__name__)

ATTRIBUTION = "Photos: Mapillary contributors, CC BY-SA 4.0"


class RecordError(RuntimeError):
    """An area that could not be recorded; says why and what to do."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What was recorded."""

    path: Path
    images: int
    left_out: tuple[tuple[str, str], ...]
    """``(image id, reason)`` of images inside the boundary that are not in the area."""


def record_area(
    out_dir: Path,
    client: MapillaryClient,
    municipality: Municipality,
    roads: RoadsKind,
    road_clients: RoadClients,
    *,
    boundary_ref: tuple[str, str] | None = None,
    attribution: str = ATTRIBUTION,
    size: PhotoSize = "original",
    workers: int = 8,
    limit: int | None = None,
) -> Recording:
    """Record a municipality (or, by its boundary, a part of one) into a folder that does not exist yet.

    ``limit``: at most so many images, the earliest ones.
    """
    out_dir = Path(out_dir)
    if out_dir.exists():
        raise RecordError(f"{out_dir} exists; an area is only recorded into a new folder")
    part = out_dir.with_name(f".{out_dir.name}.part")
    (part / "photos").mkdir(parents=True, exist_ok=True)

    entities, left_out = _entities(client, municipality.boundary, limit)
    upright_sizes = {entity["id"]: upright_size(parse_image(entity)) for entity in entities}
    photos = PhotoStore((part / "photos").absolute().as_uri())
    results = fetch_photos(client, photos, upright_sizes, workers, size=size, upright_sizes=upright_sizes)
    left_out += [(result.image_id, result.reason or result.outcome) for result in results if result.outcome != "ok"]
    stored = {result.image_id for result in results if result.outcome == "ok"}
    kept = [entity for entity in entities if entity["id"] in stored]
    if not kept:
        reasons = ", ".join(f"{count} times {reason}" for reason, count in Counter(r for _, r in left_out).most_common(3))
        raise RecordError(f"no usable image inside the boundary of {municipality.name}" + (f": {reasons}" if reasons else ""))
    for image_id in set(photos.ids()) - stored:
        photos.delete(image_id)

    record_roads(part, roads, road_clients, municipality.boundary, boundary_ref)
    write_atomically(part / "images.jsonl", images_jsonl(kept))
    area = {
        "code": municipality.code,
        "name": municipality.name,
        "country": municipality.country,
        "boundary": municipality.boundary,
        "roads": roads,
        "attribution": attribution,
    }
    write_atomically(part / "area.json", (json.dumps(area, ensure_ascii=False, indent=1) + "\n").encode())
    load_area(part)
    part.rename(out_dir)
    for image_id, reason in left_out:
        log.warning("image %s is not in the recording: %s", image_id, reason)
    log.info("recorded %s: %d images, %d left out, into %s", municipality.code, len(kept), len(left_out), out_dir)
    return Recording(out_dir, len(kept), tuple(sorted(left_out)))


def images_jsonl(entities: Iterable[Mapping[str, Any]]) -> bytes:
    """The lines of an images.jsonl: fields in the order of the contract, links left out; the same images give the same bytes."""
    lines = []
    for entity in entities:
        known = {name: entity[name] for name in RECORDED_FIELDS if name in entity}
        lines.append(json.dumps(known, ensure_ascii=False, allow_nan=False) + "\n")
    return "".join(lines).encode()


def _entities(
    client: MapillaryClient, boundary: dict[str, Any], limit: int | None
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Usable entities inside a boundary, by capture time and id, and what is left out with the reason."""
    area = area_of(boundary)
    kept: list[dict[str, Any]] = []
    left_out: list[tuple[str, str]] = []
    for entity in client.entities_of(client.coverage(boundary), RECORDED_FIELDS):
        try:
            image = parse_image(entity)
        except MalformedImageError as fault:
            left_out.append((str(entity.get("id", "?")) if isinstance(entity, dict) else "?", str(fault)))
            continue
        if not inside([image], area):
            continue
        entity = {name: value for name, value in entity.items() if name in RECORDED_FIELDS and value is not None}
        if problem := image_problem(entity):
            left_out.append((image.id, problem))
        else:
            kept.append(entity)
    return kept[:limit], left_out
