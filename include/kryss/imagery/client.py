"""Mapillary, asked as contracts/mapillary-api-v4.md says: sequences from coverage tiles, whole sequences, fresh photo
links.

A bbox search is never used: it is partial and not deterministic (section 3.1). Sequences come from two sets of tiles: the z14
tiles of the original positions, which show every image, and the tracks of the computed positions, which alone show a camera
with a frozen GPS. For tracks z12 is enough (one pixel is about 1 m) and takes a sixteenth of the tiles: 50 municipalities of
usual size stay below the 50 000 tiles a day.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import shapely

from kryss.config import MunicipalityConfig, Settings
from kryss.http import Gone, RequestFailed, Service, SplitRequest
from kryss.imagery.entity import IMAGE_FIELDS, MalformedImageError, parse_image
from kryss.imagery.tiles import MARGIN_DEG, ZOOM, Shown, area_of, sequences_in, shown_on, tile_fault, tiles_of
from kryss.model import Image

log = logging.getLogger(__name__)

GRAPH_URL = "https://graph.mapillary.com"
TILES_URL = "https://tiles.mapillary.com"
TILE_SETS: Mapping[str, int] = {"mly1_public": ZOOM, "mly1_computed_public": 12}
"""Zoom at which each set of tiles is read."""
SEQUENCES_A_CALL = 20
IMAGES_A_CALL = 1500
"""Bounds of one ``/images?sequence_ids=`` call that harvesters found to work (section 3.1)."""
IDS_A_CALL = 100

PhotoSize = Literal["original", "2048", "1024", "256"]
_LINK_FIELDS: dict[PhotoSize, tuple[str, ...]] = {
    "original": ("thumb_original_url", "thumb_2048_url"),
    "2048": ("thumb_2048_url", "thumb_original_url"),
    "1024": ("thumb_1024_url",),
    "256": ("thumb_256_url",),
}


@dataclass(frozen=True)
class Listing:
    """The images of an area, sorted by capture time and id, with what was left out and why."""

    images: list[Image]
    rejected: list[tuple[str, str]]
    """``(image id or "?", reason)`` of entities that are no use, sorted."""
    counts: dict[str, int]
    """``sequences``, ``listed``, ``outside``, ``rejected``, ``images``."""
    ids: frozenset[str] = frozenset()
    """Of every entity that was listed, those that are left out too."""


class MapillaryClient:
    """The four surfaces of Mapillary, each with its own limit: entities, searches, tiles and photos.

    The token goes into the Authorization header of the Graph API, as the query parameter that tiles ask for, and
    nowhere else. ``share`` is this process's part of the limits; ``options`` go to every Service (time-outs,
    ``time_scale``).
    """

    def __init__(
        self,
        token: str,
        graph_url: str = GRAPH_URL,
        tiles_url: str = TILES_URL,
        *,
        share: float = 1.0,
        workers: int = 8,
        tile_sets: Mapping[str, int] = TILE_SETS,
        **options: Any,
    ):
        if not token:
            raise ValueError("Mapillary needs a token: set KRYSS_MAPILLARY_TOKEN, or the password of the Airflow connection")
        graph = {"headers": {"Authorization": f"OAuth {token}"}, "secrets": (token,), "share": share, **options}
        self.entities = Service("mapillary-entity", graph_url, **graph)
        self.searches = Service("mapillary-search", graph_url, **graph)
        self.tiles = Service(
            "mapillary-tiles", tiles_url, params={"access_token": token}, secrets=(token,), share=share, **options
        )
        self.photos = Service("mapillary-photos", "", secrets=(token,), share=share, max_bytes=64 * 2**20, **options)
        self.workers = workers
        self.tile_sets = dict(tile_sets)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, **options: Any) -> Self:
        """From KRYSS_MAPILLARY_TOKEN and, for another place than the public one, KRYSS_MAPILLARY_GRAPH_URL and
        _TILES_URL."""
        return cls.from_settings(
            graph_url=environ.get("KRYSS_MAPILLARY_GRAPH_URL"),
            tiles_url=environ.get("KRYSS_MAPILLARY_TILES_URL"),
            token=environ.get("KRYSS_MAPILLARY_TOKEN"),
            **options,
        )

    @classmethod
    def from_settings(
        cls, *, token: str | None, graph_url: str | None = None, tiles_url: str | None = None, **options: Any
    ) -> Self:
        """From settings that may be absent: the public addresses, and a clear error where there is no token."""
        return cls(token or "", graph_url or GRAPH_URL, tiles_url or TILES_URL, **options)

    def __repr__(self) -> str:
        return f"MapillaryClient({self.entities.base_url!r}, {self.tiles.base_url!r})"

    def counts(self) -> dict[str, dict[str, Any]]:
        """Requests, retries, bytes and waits of each surface."""
        return {service.name: service.counts.snapshot() for service in self._services()}

    def close(self) -> None:
        for service in self._services():
            service.close()

    def _services(self) -> tuple[Service, ...]:
        return self.entities, self.searches, self.tiles, self.photos

    def coverage(self, boundary: dict[str, Any]) -> Counter[str]:
        """Sequences with images or track inside a boundary, each with the number of its images that the tiles show
        there."""
        area = area_of(boundary)
        calls = [(tile_set, zoom, x, y) for tile_set, zoom in self.tile_sets.items() for x, y in tiles_of(area, zoom)]
        by_set: dict[str, Counter[str]] = {tile_set: Counter() for tile_set in self.tile_sets}

        wide = area.buffer(MARGIN_DEG)
        # Prepared once and used by this thread alone: GEOS does not promise more.
        shapely.prepare(wide)

        def read(call: tuple[str, int, int, int]) -> tuple[str, Shown]:
            tile_set, zoom, x, y = call
            body = self.tiles.get_bytes(f"/maps/vtp/{tile_set}/2/{zoom}/{x}/{y}", check=tile_fault)
            return tile_set, shown_on(body, x, y, zoom)

        with ThreadPoolExecutor(self.workers, thread_name_prefix="tiles") as pool:
            for done, (tile_set, shown) in enumerate(_each(pool, read, calls), 1):
                by_set[tile_set].update(sequences_in(shown, wide))
                if done % 200 == 0 or done == len(calls):
                    log.info("coverage: %d of %d tiles read", done, len(calls))
        coverage: Counter[str] = Counter()
        for found in by_set.values():
            coverage |= Counter({sequence_id: max(1, count) for sequence_id, count in found.items()})
        return coverage

    def sequence_ids(self, boundary: dict[str, Any]) -> set[str]:
        """Ids of the sequences that have something inside a GeoJSON boundary."""
        return set(self.coverage(boundary))

    def entities_of(self, sequence_ids: Iterable[str] | Mapping[str, int], fields: Sequence[str] = IMAGE_FIELDS) -> list[Any]:
        """The image entities of whole sequences as the service gave them, each id once, sorted by (captured_at, id).

        A mapping gives the expected number of images of each sequence, which bounds the batches.
        """
        expected = dict(sequence_ids) if isinstance(sequence_ids, Mapping) else dict.fromkeys(sequence_ids, 1)
        batches = list(_batches(sorted(expected.items()), SEQUENCES_A_CALL, IMAGES_A_CALL))
        by_id: dict[str, Any] = {}
        without_id: list[Any] = []
        with ThreadPoolExecutor(self.workers, thread_name_prefix="images") as pool:
            answers = _each(pool, lambda batch: self._whole_sequences(batch, fields), batches)
            for done, rows in enumerate(answers, 1):
                for row in rows:
                    if isinstance(row, dict) and isinstance(row.get("id"), str):
                        by_id[row["id"]] = row
                    else:
                        without_id.append(row)
                if done % 20 == 0 or done == len(batches):
                    log.info("images: %d of %d calls made, %d images", done, len(batches), len(by_id))
        return sorted(by_id.values(), key=_capture_order) + without_id

    def images(self, sequence_ids: Iterable[str] | Mapping[str, int]) -> Iterator[Image]:
        """The usable images of whole sequences, sorted by (captured_at, id); see ``list_images`` for the others."""
        for entity in self.entities_of(sequence_ids):
            try:
                yield parse_image(entity)
            except MalformedImageError as fault:
                log.warning("image %s is left out: %s", _id_of(entity), fault)

    def thumb_url(self, image_id: str, size: PhotoSize = "original") -> str:
        """A fresh signed link to a photo. It expires: use it at once and never store it. Gone where the image is
        gone."""
        fields = _LINK_FIELDS[size]
        entity = self.entities.get_json(f"/{image_id}", {"fields": ",".join(("id", *fields))}, label=f"/{image_id}")
        link = next((entity[name] for name in fields if isinstance(entity, dict) and entity.get(name)), None)
        if not isinstance(link, str):
            raise RequestFailed(self.entities.name, f"/{image_id}", f"the image has no {' and no '.join(fields)}")
        return link

    def existing(self, image_ids: Iterable[str]) -> dict[str, bool | None]:
        """Whether each image is still there. False: the service said twice that it does not exist, which it also says of what a
        token may not see. None: it could not be asked; after a first failure nothing more is.
        """
        failed = threading.Event()

        def ask(image_id: str) -> bool | None:
            if failed.is_set():
                return None
            try:
                self.entities.get_json(f"/{image_id}", {"fields": "id"}, label=f"/{image_id}")
            except Gone:
                return False
            except (RequestFailed, SplitRequest) as error:
                log.warning("whether image %s is still there could not be asked: %s", image_id, error)
                failed.set()
                return None
            return True

        ids = sorted(set(image_ids))
        with ThreadPoolExecutor(self.workers, thread_name_prefix="existing") as pool:
            return dict(zip(ids, _each(pool, ask, ids), strict=True))

    def _whole_sequences(self, sequence_ids: Sequence[str], fields: Sequence[str]) -> list[Any]:
        """One call for several sequences; halves of it where it asks for too much, and images by id for a single
        one."""
        params = {"sequence_ids": ",".join(sequence_ids), "fields": ",".join(fields)}
        try:
            return _rows(self.searches, "/images", self.searches.get_json("/images", params))
        except SplitRequest as refusal:
            log.info("%s; asking for less than %d sequences at once", refusal, len(sequence_ids))
        if len(sequence_ids) > 1:
            half = len(sequence_ids) // 2
            return self._whole_sequences(sequence_ids[:half], fields) + self._whole_sequences(sequence_ids[half:], fields)
        listed = self.searches.get_json("/image_ids", {"sequence_id": sequence_ids[0]})
        ids = [row["id"] for row in _rows(self.searches, "/image_ids", listed) if isinstance(row, dict) and "id" in row]
        return [
            row for start in range(0, len(ids), IDS_A_CALL) for row in self._images_by_id(ids[start : start + IDS_A_CALL], fields)
        ]

    def _images_by_id(self, image_ids: Sequence[str], fields: Sequence[str]) -> list[Any]:
        params = {"image_ids": ",".join(image_ids), "fields": ",".join(fields)}
        try:
            return _rows(self.searches, "/images", self.searches.get_json("/images", params))
        except SplitRequest:
            if len(image_ids) == 1:
                raise
        half = len(image_ids) // 2
        return self._images_by_id(image_ids[:half], fields) + self._images_by_id(image_ids[half:], fields)


def client_for(config: MunicipalityConfig, settings: Settings) -> MapillaryClient:
    """The client of a configured municipality: its own base URLs, else those of the machine, else the public ones."""
    services = config.services
    return MapillaryClient(
        settings.token_for(services) or "",
        services.mapillary_graph or settings.mapillary_graph_url or GRAPH_URL,
        services.mapillary_tiles or settings.mapillary_tiles_url or TILES_URL,
        share=settings.rate_share,
        workers=settings.download_workers,
        time_scale=settings.retry_time_scale,
    )


def list_images(client: MapillaryClient, boundary: dict[str, Any]) -> Listing:
    """Every usable image inside a boundary: where it is is its computed position, or the original one where there is
    none."""
    area = area_of(boundary)
    coverage = client.coverage(boundary)
    entities = client.entities_of(coverage)
    parsed: list[Image] = []
    rejected: list[tuple[str, str]] = []
    for entity in entities:
        try:
            parsed.append(parse_image(entity))
        except MalformedImageError as fault:
            rejected.append((_id_of(entity), str(fault)))
    images = inside(parsed, area)
    counts = {
        "sequences": len(coverage),
        "listed": len(entities),
        "outside": len(parsed) - len(images),
        "rejected": len(rejected),
        "images": len(images),
    }
    log.info("listed %s", ", ".join(f"{name} {count}" for name, count in counts.items()))
    for image_id, reason in rejected:
        log.warning("image %s is left out: %s", image_id, reason)
    return Listing(images, sorted(rejected), counts, frozenset(_id_of(entity) for entity in entities))


def inside(images: Sequence[Image], area: shapely.Geometry) -> list[Image]:
    """The images whose computed (else original) position is in an area, its edge included, in their order."""
    poses = [image.sfm or image.gps for image in images]
    lon = np.array([pose.lon if pose else np.nan for pose in poses])
    lat = np.array([pose.lat if pose else np.nan for pose in poses])
    shapely.prepare(area)
    return [image for image, is_in in zip(images, shapely.intersects_xy(area, lon, lat), strict=True) if is_in]


def _each(pool: ThreadPoolExecutor, work: Any, calls: Sequence[Any]) -> Iterator[Any]:
    """Results in the order of the calls; the first error cancels what has not begun."""
    try:
        yield from pool.map(work, calls)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _batches(expected: Sequence[tuple[str, int]], most_sequences: int, most_images: int) -> Iterator[list[str]]:
    batch: list[str] = []
    images = 0
    for sequence_id, count in expected:
        if batch and (len(batch) == most_sequences or images + count > most_images):
            yield batch
            batch, images = [], 0
        batch.append(sequence_id)
        images += count
    if batch:
        yield batch


def _rows(service: Service, endpoint: str, answer: Any) -> list[Any]:
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        raise RequestFailed(service.name, endpoint, "the answer has no list under 'data'")
    return data


def _capture_order(entity: Any) -> tuple[float, int, str]:
    captured_at = entity.get("captured_at")
    known = isinstance(captured_at, (int, float)) and math.isfinite(captured_at)
    return captured_at if known else -1, len(entity["id"]), entity["id"]


def _id_of(entity: Any) -> str:
    return str(entity.get("id", "?")) if isinstance(entity, dict) else "?"
