"""A recorded area played back as Mapillary: Graph API, z14 coverage tiles, and signed expiring photo links on a third
port.

Behaviour and quirks follow contracts/mapillary-api-v4.md: tokens and their errors (section 8), the search with
exactly one filter, its area rule, its partial and changing bbox answers and its dense zones (3.1), the plural and
singular parameter names (11), fields that were not asked for left out (2), tile layers ``sequence`` and ``image``
(6), the application limit (7).
"""

from __future__ import annotations

import hashlib
import hmac
import io
import math
import random
import re
import threading
import time
from base64 import b64encode
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import mapbox_vector_tile
import numpy as np
import shapely
from shapely.geometry import LineString, Point

from kryss.config import PLAYBACK_TOKEN
from kryss.demo.playback.faults import TOO_MUCH, graph_error
from kryss.demo.playback.server import PlaybackServer, Reply, Request, Stage, parse_instant
from kryss.imagery.tiles import tile_at

MAX_BBOX_DEG2 = 0.01
MAX_ROWS = 2000
MAX_IDS = 50
MAX_RADIUS_M = 50
EXTENT = 4096
SIZES = ("256", "1024", "2048", "original")
RECORDED_ONLY = ("uploaded_at", "deleted_at")
"""Of a recorded image: when it could be had, and no longer (ms). Never served."""
FILTERS = ("bbox", "sequence_ids", "image_ids", "creator_username", "lat")
_LINK = re.compile(r"thumb_(256|1024|2048|original)_url")
_FIELD = re.compile(r"([a-z_0-9]+)(?:\{([^}]*)\}|\.([a-z_0-9.]+))?(?:,|$)")
_UNSUPPORTED = (
    "Unsupported get request. Object with ID '{}' does not exist, cannot be loaded due to missing permissions, or does "
    "not support this operation"
)

Bbox = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Quirks:
    """How trying this Mapillary is. The defaults are what the contract measured, without what would only cost time."""

    token: str = PLAYBACK_TOKEN
    expired_tokens: frozenset[str] = frozenset()
    link_ttl_s: float = 3600.0
    """How long a photo link works; 0 makes links that have expired when they are handed out."""
    sample_share: float = 0.8
    """The part of the true rows that a bbox answer holds; another part at each call, from ``seed``."""
    seed: int = 0
    dense: tuple[tuple[Bbox, float], ...] = ()
    """``(zone, width in degrees)``: a bbox that touches the zone and is wider than this is refused."""
    most_images: int = 20_000
    """A search by sequences or ids that would give more images is refused."""
    unmerged_share: float = 0.0
    """The part of the images that is served as not yet reconstructed: without ``computed_*``."""
    without_original_share: float = 0.0
    """The part of the images without ``thumb_original_url``."""
    per_minute: int | None = None
    """The application limit."""
    empty_tile_status: int = 200
    """How a tile with nothing is answered: 200 or 204 with no body, or 404."""


class World:
    """The images of a recorded area as they stand at the playback's now."""

    def __init__(
        self,
        images: Iterable[Mapping[str, Any]],
        photos: Path,
        stage: Stage,
        quirks: Quirks,
        boxes: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    ):
        self.stage = stage
        self.quirks = quirks
        self.photos = photos
        self.boxes = boxes or {}
        merged = [self._as_uploaded(dict(image)) for image in images]
        self._images = sorted(merged, key=lambda image: (_available_ms(image), image["captured_at"], image["id"]))
        self._available = [_available_ms(image) for image in self._images]
        self._by_id = {image["id"]: image for image in self._images}
        self._secret = hashlib.sha256(f"kryss playback {quirks.seed}".encode()).digest()
        self._tiles: dict[tuple[str, int, int, int], _TileIndex] = {}
        self._lock = threading.Lock()

    def _as_uploaded(self, image: dict[str, Any]) -> dict[str, Any]:
        if _share_of(image["id"], "unmerged") < self.quirks.unmerged_share:
            for name in [name for name in image if name.startswith("computed_")]:
                del image[name]
            image |= {"camera_parameters": [0.85, 0, 0], "atomic_scale": 1}
        return image

    def visible(self) -> list[dict[str, Any]]:
        """What had been uploaded and not yet deleted by now, in the order of upload."""
        now_ms = self.stage.clock.now_ms()
        return [image for image in self._images[: bisect_right(self._available, now_ms)] if not _is_deleted(image, now_ms)]

    def image(self, image_id: str) -> dict[str, Any] | None:
        image, now_ms = self._by_id.get(image_id), self.stage.clock.now_ms()
        return image if image and _available_ms(image) <= now_ms and not _is_deleted(image, now_ms) else None

    def tile_index(self, tile_set: str, zoom: int) -> _TileIndex:
        images = self.visible()
        uploaded = bisect_right(self._available, self.stage.clock.now_ms())
        with self._lock:
            key = (tile_set, zoom, uploaded, len(images))
            if key not in self._tiles:
                self._tiles[key] = _TileIndex(images, computed=tile_set == "mly1_computed_public", zoom=zoom)
            return self._tiles[key]

    def link(self, photos_url: str, image_id: str, size: str) -> str:
        """A signed link as the CDN's: ``oe`` is the expiry as a hexadecimal Unix time, ``oh`` the signature."""
        ttl_s = self.quirks.link_ttl_s
        expiry = f"{math.ceil(time.time() + ttl_s) if ttl_s > 0 else int(time.time()) - 1:X}"
        query = urlencode({"ccb": "10-5", "oh": self._signature(image_id, size, expiry), "oe": expiry})
        return f"{photos_url}/cdn/{image_id}/{size}?{query}"

    def link_fault(self, image_id: str, size: str, signature: str, expiry: str) -> str | None:
        if not hmac.compare_digest(signature, self._signature(image_id, size, expiry)):
            return "Bad URL hash"
        return "URL signature expired" if time.time() > int(expiry, 16) else None

    def _signature(self, image_id: str, size: str, expiry: str) -> str:
        return hmac.new(self._secret, f"{image_id}/{size}/{expiry}".encode(), hashlib.sha256).hexdigest()[:40]


class _TileIndex:
    """Images and sequence lines in tile coordinates at one zoom."""

    def __init__(self, images: Sequence[Mapping[str, Any]], computed: bool, zoom: int):
        self.images = sorted(images, key=_capture_order)
        positions = [_position(image, computed) for image in self.images]
        self.xy = np.array([tile_at(lon, lat, zoom) for lon, lat in positions]).reshape(-1, 2)
        of_sequence: dict[str, list[int]] = {}
        for index, image in enumerate(self.images):
            of_sequence.setdefault(image["sequence"], []).append(index)
        self.sequences = [indices for _, indices in sorted(of_sequence.items()) if len(indices) > 1]
        self.lines = [LineString(self.xy[indices]) for indices in self.sequences]
        self.tree = shapely.STRtree(self.lines)

    def layers(self, zoom: int, x: int, y: int) -> list[dict[str, Any]]:
        """The layers of one tile that have something in it."""
        inside = np.flatnonzero((np.floor(self.xy) == (x, y)).all(axis=1))
        layers = []
        if zoom <= 5:
            layers.append({"name": "overview", "features": [self._point(i, x, y, "overview") for i in inside.tolist()]})
        else:
            layers.append({"name": "sequence", "features": list(self._lines(x, y))})
        if zoom == 14:
            layers.append({"name": "image", "features": [self._point(i, x, y, "image") for i in inside.tolist()]})
        return [layer for layer in layers if layer["features"]]

    def _point(self, index: int, x: int, y: int, layer: str) -> dict[str, Any]:
        image = self.images[index]
        properties = {
            "captured_at": image["captured_at"],
            "id": int(image["id"]),
            "sequence_id": image["sequence"],
            "is_pano": bool(image.get("is_pano", False)),
        }
        if layer == "image":
            heading_deg = image.get("computed_compass_angle", image.get("compass_angle", 0))
            properties["compass_angle"] = round(heading_deg) % 360
        return {"geometry": Point((self.xy[index] - (x, y)) * EXTENT), "properties": properties}

    def _lines(self, x: int, y: int) -> Iterable[dict[str, Any]]:
        tile = shapely.box(x, y, x + 1, y + 1)
        for number in sorted(self.tree.query(tile, predicate="intersects")):
            parts = [p for p in shapely.get_parts(self.lines[number].intersection(tile)) if p.length * EXTENT >= 1]
            cut = shapely.line_merge(shapely.MultiLineString([p for p in parts if p.geom_type == "LineString"]))
            if cut.is_empty:
                continue
            best = self.images[self.sequences[number][0]]
            yield {
                "geometry": shapely.transform(cut, lambda xy: (xy - (x, y)) * EXTENT),
                "properties": {
                    "captured_at": best["captured_at"],
                    "id": best["sequence"],
                    "image_id": int(best["id"]),
                    "is_pano": bool(best.get("is_pano", False)),
                },
            }


class _TokenServer(PlaybackServer):
    """What graph and tiles share: the token, and the limit on requests."""

    def __init__(self, world: World, port: int = 0):
        super().__init__(world.stage, port)
        self.world = world
        self._recent: deque[float] = deque()
        self._recent_lock = threading.Lock()

    def refusal(self, request: Request) -> Reply | None:
        """The error for a missing or bad token or for too many requests, each with its own status (section 8)."""
        kind, _, header_token = (request.headers.get("Authorization") or "").partition(" ")
        token = header_token.strip() if kind in ("OAuth", "Bearer") else request.param("access_token")
        by_header = kind in ("OAuth", "Bearer")
        quirks = self.world.quirks
        if not token:
            return _error(500, 190, "Invalid OAuth 2.0 Access Token", type="MLYApiException", error_data={})
        if token in quirks.expired_tokens:
            return _error(400, 190, "Error validating access token: Session has expired")
        if token != quirks.token:
            well_formed = re.fullmatch(r"MLY\|\d+\|[0-9a-f]{32}", token)
            message = "Error validating application" if well_formed else "Failed to decode"
            return _error(401 if by_header else 400, 190, message)
        if quirks.per_minute is not None:
            with self._recent_lock:
                now = time.monotonic()
                while self._recent and self._recent[0] < now - 60:
                    self._recent.popleft()
                if len(self._recent) >= quirks.per_minute:
                    return _error(403, 4, "Application request limit reached", is_transient=True)
                self._recent.append(now)
        return None


class GraphServer(_TokenServer):
    """``graph.mapillary.com``."""

    name = "mapillary-graph"

    def __init__(self, world: World, photos_url: str, port: int = 0):
        super().__init__(world, port)
        self.photos_url = photos_url
        self._calls = 0

    def endpoint(self, request: Request) -> str:
        path = re.sub(r"^/\d+", "/{id}", request.path)
        if path == "/images":
            return f"{path}?{next((name for name in FILTERS if request.param(name)), '')}"
        return "/?ids" if path == "/" else path

    def handle(self, request: Request) -> Reply:
        if refusal := self.refusal(request):
            return refusal
        match request.path.strip("/").split("/"):
            case ["images"]:
                return self._images(request)
            case ["image_ids"]:
                return self._image_ids(request)
            case [""]:
                return self._several(request)
            case [image_id] if image := self.world.image(image_id):
                return Reply.json(self._entity(image, request.param("fields")))
            case [image_id, "detections"] if image := self.world.image(image_id):
                return Reply.json({"data": [_only(row, request.param("fields")) for row in self._detections(image)]})
            case [name, *_]:
                return _unsupported(name)
        return _unsupported("")

    def _entity(self, image: Mapping[str, Any], fields: str | None) -> dict[str, Any]:
        """An image with the fields that were asked for; what it does not have is silently absent."""
        found = _only({name: value for name, value in image.items() if name not in RECORDED_ONLY}, fields)
        for name, _ in _asked(fields):
            if link := _LINK.fullmatch(name):
                size = link.group(1)
                if size == "original" and _share_of(image["id"], name) < self.world.quirks.without_original_share:
                    continue
                found[name] = self.world.link(self.photos_url, image["id"], size)
            elif name == "detections" and self.world.boxes.get(image["id"]):
                found[name] = {"data": [{"id": row["id"]} for row in self._detections(image)]}
        return found

    def _images(self, request: Request) -> Reply:
        asked = [name for name in FILTERS if request.param(name) is not None]
        if not asked and request.param("sequence_id") is not None:
            return _error(500, 1, "An unknown error occurred", 99)
        if len(asked) != 1:
            given = " and ".join(asked) or "none"
            return _error(400, 100, f"Invalid parameter: exactly one of {', '.join(FILTERS)} must be given, not {given}")
        try:
            limit = int(request.param("limit") or MAX_ROWS)
            narrowed = self._narrowed(request)
        except ValueError as error:
            return _error(400, 100, f"Invalid parameter: {error}")
        if not 1 <= limit <= MAX_ROWS:
            return _error(400, 100, f"Invalid parameter: limit must be in 1..{MAX_ROWS}")
        if asked == ["bbox"]:
            return self._in_bbox(request, narrowed, limit)
        if asked == ["creator_username"]:
            return self._of_creator(request, narrowed, limit)
        if asked == ["lat"]:
            return self._around(request, narrowed, limit)
        wanted = set((request.param(asked[0]) or "").split(","))
        key = "sequence" if asked == ["sequence_ids"] else "id"
        rows = [image for image in narrowed if image[key] in wanted]
        if len(rows) > self.world.quirks.most_images:
            return _error(500, 1, TOO_MUCH)
        # No order is guaranteed: one that is neither by time nor by id shows who relies on it.
        rows.sort(key=lambda image: _share_of(image["id"], "order"))
        return Reply.json({"data": [self._entity(image, request.param("fields")) for image in rows]})

    def _narrowed(self, request: Request) -> list[dict[str, Any]]:
        """Visible images by the filters that go with any search; both ends of the time span are included."""
        rows = self.world.visible()
        start, end = (parse_instant(request.param(f"{name}_captured_at")) for name in ("start", "end"))
        if start:
            rows = [image for image in rows if image["captured_at"] >= start.timestamp() * 1000]
        if end:
            rows = [image for image in rows if image["captured_at"] <= end.timestamp() * 1000]
        if (pano := request.param("is_pano")) is not None:
            rows = [image for image in rows if bool(image.get("is_pano")) == (pano == "true")]
        for name in ("make", "model"):
            if (value := request.param(name)) is not None:
                if request.param("bbox") is None:
                    raise ValueError(f"{name} works only together with bbox")
                rows = [image for image in rows if image.get(name) == value]
        if (organization := request.param("organization_id")) is not None:
            rows = [image for image in rows if (image.get("organization") or {}).get("id") == organization]
        return rows

    def _in_bbox(self, request: Request, images: list[dict[str, Any]], limit: int) -> Reply:
        """A time-budgeted sample, other at each call, rows near the edge first, cut at the limit without a word."""
        try:
            west, south, east, north = (float(value) for value in (request.param("bbox") or "").split(","))
        except ValueError:
            return _error(400, 100, "Invalid parameter: bbox must be minLon,minLat,maxLon,maxLat")
        if not (west < east and south < north):
            return _error(400, 100, "Invalid parameter: bbox is empty")
        if (east - west) * (north - south) >= MAX_BBOX_DEG2:
            return _error(400, 100, f"Invalid parameter: the area of bbox must be smaller than {MAX_BBOX_DEG2}")
        for (w, s, e, n), width_deg in self.world.quirks.dense:
            if west < e and w < east and south < n and s < north and east - west > width_deg:
                return _error(500, 1, TOO_MUCH)
        with self._recent_lock:
            self._calls += 1
            sample = random.Random(f"{self.world.quirks.seed}/{self._calls}")
        found = []
        for image in images:
            lon, lat = _position(image, computed=False)
            if west <= lon <= east and south <= lat <= north and sample.random() < self.world.quirks.sample_share:
                found.append((min(lon - west, east - lon, lat - south, north - lat), image))
        found.sort(key=lambda pair: (pair[0], pair[1]["id"]))
        return Reply.json({"data": [self._entity(image, request.param("fields")) for _, image in found[:limit]]})

    def _of_creator(self, request: Request, images: list[dict[str, Any]], limit: int) -> Reply:
        """Newest first, in pages: the only search with ``paging``. The next link holds no token that was in the
        header."""
        name = request.param("creator_username")
        rows = sorted(
            (image for image in images if (image.get("creator") or {}).get("username") == name), key=_capture_order, reverse=True
        )
        after = request.param("after")
        begin = next((i + 1 for i, image in enumerate(rows) if image["id"] == after), 0)
        page = rows[begin : begin + limit]
        answer: dict[str, Any] = {"data": [self._entity(image, request.param("fields")) for image in page]}
        if begin + limit < len(rows):
            query = {key: values[0] for key, values in request.query.items() if key != "after"}
            next_url = f"{self.url}/images?{urlencode({**query, 'after': page[-1]['id']})}"
            answer["paging"] = {"cursors": {"after": page[-1]["id"]}, "next": next_url}
        return Reply.json(answer)

    def _around(self, request: Request, images: list[dict[str, Any]], limit: int) -> Reply:
        try:
            lat, lng, radius_m = (float(request.param(key) or "nan") for key in ("lat", "lng", "radius"))
        except ValueError:
            return _error(400, 100, "Invalid parameter: lat, lng and radius must be numbers")
        if not 0 < radius_m <= MAX_RADIUS_M:
            return _error(400, 100, f"Invalid parameter: radius must be at most {MAX_RADIUS_M}")
        rows = [image for image in images if _distance_m(_position(image, computed=False), (lng, lat)) <= radius_m]
        return Reply.json({"data": [self._entity(image, request.param("fields")) for image in rows[:limit]]})

    def _image_ids(self, request: Request) -> Reply:
        """The ids of a sequence in the order of capture; here the parameter is singular."""
        sequence_id = request.param("sequence_id")
        if not sequence_id:
            return _error(400, 100, "Invalid parameter: sequence_id is missing")
        rows = [image for image in self.world.visible() if image["sequence"] == sequence_id]
        return Reply.json({"data": [{"id": image["id"]} for image in sorted(rows, key=_capture_order)]})

    def _several(self, request: Request) -> Reply:
        ids = [one for one in (request.param("ids") or "").split(",") if one]
        if not 1 <= len(ids) <= MAX_IDS:
            return _error(400, 100, f"Invalid parameter: ids must hold 1 to {MAX_IDS} ids")
        found = {one: self.world.image(one) for one in ids}
        for one, image in found.items():
            if image is None:
                return _unsupported(one)
        return Reply.json({one: self._entity(image, request.param("fields")) for one, image in found.items() if image})

    def _detections(self, image: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Boxes as Mapillary's own detections: an MVT of one layer ``mpy-or`` in base64, y down (section 3.4)."""
        point = {"geometry": image.get("geometry") or image.get("computed_geometry"), "id": image["id"]}
        rows = []
        for number, row in enumerate(self.world.boxes.get(image["id"], ())):
            left, top, right, bottom = (round(value * EXTENT) for value in row["box"])
            feature = {"geometry": shapely.box(left, top, right, bottom), "properties": {"type": "polygon"}, "id": 0}
            tile = mapbox_vector_tile.encode(
                {"name": "mpy-or", "features": [feature]}, default_options={"y_coord_down": True, "extents": EXTENT}
            )
            rows.append(
                {
                    "id": str(int(image["id"]) * 100 + number),
                    "value": row["value"],
                    "created_at": row.get("created_at", "2026-01-01T00:00:00+0000"),
                    "geometry": b64encode(tile).decode(),
                    "image": point,
                }
            )
        return rows


class TilesServer(_TokenServer):
    """``tiles.mapillary.com``: ``/maps/vtp/{set}/2/{z}/{x}/{y}?access_token=``, sets of original and of computed
    positions."""

    name = "mapillary-tiles"

    def endpoint(self, request: Request) -> str:
        return re.sub(r"/\d+/\d+$", "/{x}/{y}", request.path)

    def handle(self, request: Request) -> Reply:
        if refusal := self.refusal(request):
            return refusal
        path = re.fullmatch(r"/maps/vtp/(mly1_public|mly1_computed_public)/2/(\d+)/(\d+)/(\d+)", request.path)
        if not path or int(path.group(2)) > 14:
            return Reply.text("Not found", 404)
        tile_set, zoom, x, y = path.group(1), *(int(value) for value in path.groups()[1:])
        layers = self.world.tile_index(tile_set, zoom).layers(zoom, x, y)
        kind = "application/x-protobuf"
        if not layers:
            return Reply(self.world.quirks.empty_tile_status, b"", kind)
        tile = mapbox_vector_tile.encode(layers, default_options={"y_coord_down": True, "extents": EXTENT})
        return Reply(200, tile, kind)


class PhotosServer(PlaybackServer):
    """The CDN: photos by signed links that expire. A request with an Authorization header is refused: the link is the
    key."""

    name = "mapillary-photos"

    def __init__(self, world: World, port: int = 0):
        super().__init__(world.stage, port)
        self.world = world
        self._resized = lru_cache(maxsize=64)(_resized)

    def endpoint(self, request: Request) -> str:
        return re.sub(r"^/cdn/[^/]+", "/cdn/{id}", request.path)

    def handle(self, request: Request) -> Reply:
        path = re.fullmatch(r"/cdn/(\d+)/(256|1024|2048|original)", request.path)
        if not path:
            return Reply.text("Not found", 404)
        if request.headers.get("Authorization") or request.param("access_token"):
            return Reply.text("Only one way to authorize is allowed", 400)
        image_id, size = path.groups()
        expiry = request.param("oe") or ""
        if not re.fullmatch(r"[0-9A-Fa-f]{1,12}", expiry):
            return Reply.text("Bad URL timestamp", 403)
        if fault := self.world.link_fault(image_id, size, request.param("oh") or "", expiry):
            return Reply.text(fault, 403)
        photo = self.world.photos / f"{image_id}.jpg"
        if not photo.is_file():
            return Reply.text("Not found", 404)
        body = photo.read_bytes() if size == "original" else self._resized(photo, int(size))
        return Reply(200, body, "image/jpeg")


def mapillary_servers(
    images: Iterable[Mapping[str, Any]],
    photos: Path,
    stage: Stage | None = None,
    quirks: Quirks | None = None,
    *,
    ports: tuple[int, int, int] = (0, 0, 0),
    boxes: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> tuple[GraphServer, TilesServer, PhotosServer]:
    """The three servers of a Mapillary over the lines of an images.jsonl and a folder of photos; not yet started.

    ``boxes``: for each image id its detections, ``{"value": class, "box": (left, top, right, bottom) in 0..1}``.
    """
    world = World(images, photos, stage or Stage(), quirks or Quirks(), boxes)
    cdn = PhotosServer(world, ports[2])
    return GraphServer(world, cdn.url, ports[0]), TilesServer(world, ports[1]), cdn


def _available_ms(image: Mapping[str, Any]) -> int:
    return int(image.get("uploaded_at", image["captured_at"]))


def _is_deleted(image: Mapping[str, Any], now_ms: int) -> bool:
    return int(image.get("deleted_at", now_ms + 1)) <= now_ms


def _capture_order(image: Mapping[str, Any]) -> tuple[int, int, str]:
    return image["captured_at"], len(image["id"]), image["id"]


def _position(image: Mapping[str, Any], computed: bool) -> tuple[float, float]:
    names = ("computed_geometry", "geometry") if computed else ("geometry", "computed_geometry")
    lon, lat = next(image[name] for name in names if image.get(name))["coordinates"][:2]
    return lon, lat


def _distance_m(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Equirectangular; exact enough below 50 m."""
    east = (a[0] - b[0]) * math.cos(math.radians(b[1]))
    return math.radians(math.hypot(east, a[1] - b[1])) * 6_371_000


def _share_of(image_id: str, what: str) -> float:
    """A number in [0, 1) that is always the same for an image and a purpose."""
    return int.from_bytes(hashlib.sha256(f"{what}/{image_id}".encode()).digest()[:6], "big") / 2**48


def _asked(fields: str | None) -> list[tuple[str, str | None]]:
    """``(field, sub-fields)`` of ``a,b{c,d},e.f``."""
    return [(match[1], match[2] or match[3]) for match in _FIELD.finditer((fields or "").replace(" ", ""))]


def _only(entity: Mapping[str, Any], fields: str | None) -> dict[str, Any]:
    """The id and the fields that were asked for and are there."""
    found = {"id": entity["id"]} if "id" in entity else {}
    for name, inner in _asked(fields):
        if name in entity:
            value = entity[name]
            found[name] = _only(value, inner) if inner and isinstance(value, Mapping) else value
    return found


def _error(status: int, code: int, message: str, subcode: int | None = None, **more: Any) -> Reply:
    return Reply(status, graph_error(code, message, subcode, **more).encode(), "application/json; charset=UTF-8")


def _unsupported(image_id: str) -> Reply:
    return _error(400, 100, _UNSUPPORTED.format(image_id), 33)


def _resized(photo: Path, width: int) -> bytes:
    """A thumbnail of the given width as the CDN makes it; the photo itself where it is not wider."""
    from PIL import Image

    with Image.open(photo) as image:
        if image.width <= width:
            return photo.read_bytes()
        height = max(1, round(image.height * width / image.width))
        made = io.BytesIO()
        image.convert("RGB").resize((width, height)).save(made, "JPEG", quality=90)
        return made.getvalue()
