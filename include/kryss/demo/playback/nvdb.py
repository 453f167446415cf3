"""NVDB API Les v4, played back from a recorded area (contracts/nvdb-api.md, fake-server checklist in section 9).

Quirks that are always on: 400 without X-Client, pages that go on for ever with the same cursor, a cap on the page size, the
srid whitelist, latitude first for srid 4326, bounding-box matches of ``kartutsnitt``, objects of only ``id`` and ``href``
without ``inkluder``, a request budget that counts down in ``x-ratelimit-remaining`` and ends in 429.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode

import numpy as np
import shapely

from kryss.demo.area import NVDB_FILES, RecordedArea, read_json
from kryss.demo.playback.server import PlaybackServer, Reply, Request, Stage
from kryss.roads.wkt import UTM_ZONE_OF_SRID, utm, utm33, wgs84_from_wkt

SRIDS = {
    "5972": 5972, "5973": 5973, "5975": 5975, "4326": 4326, "UTM32": 5972, "UTM33": 5973, "UTM35": 5975, "WGS84": 4326,
}  # fmt: skip
UNKNOWN_HEIGHT = -999999
PAGE_CAP = 800
BUDGET = 200
BLOCKS = ("metadata", "egenskaper", "relasjoner", "lokasjon", "vegsegmenter", "geometri")
DETAIL_LEVELS = {
    "VT": "vegtrase",
    "KB": "kjørebane",
    "KF": "kjørefelt",
    "VTKB": "vegtrase og kjørebane",
}

Json = dict[str, Any]


class BadRequestError(ValueError):
    """A parameter that the service refuses with 400."""


@dataclass(frozen=True, slots=True)
class _Collection:
    """The recorded items of one kind, with their geometry in UTM 33 (empty where an item has none)."""

    items: list[Json]
    shapes: np.ndarray

    @staticmethod
    def of(items: list[Json]) -> _Collection:
        shapes = np.empty(len(items), dtype=object)
        for index, item in enumerate(items):
            geometry = item.get("geometri")
            shapes[index] = utm33(wgs84_from_wkt(geometry["wkt"], geometry["srid"])) if geometry else shapely.GeometryCollection()
        return _Collection(items, shapes)


class NvdbServer(PlaybackServer):
    """``missing_client_body``: the two styles of the 400 that have been seen. ``unknown_height_every``: every n-th geometry
    that has heights says -999999 (0: heights as recorded, so that a recording of the playback is the same)."""

    name = "nvdb"

    def __init__(
        self,
        area: RecordedArea,
        stage: Stage | None = None,
        port: int = 0,
        *,
        page_cap: int = PAGE_CAP,
        budget: int = BUDGET,
        refill_per_s: float = 50.0,
        missing_client_body: Literal["json", "text"] = "json",
        unknown_height_every: int = 0,
    ):
        super().__init__(stage, port)
        self.area = area
        self.page_cap = page_cap
        self.missing_client_body = missing_client_body
        self.unknown_height_every = unknown_height_every
        self._budget = _Budget(budget, refill_per_s)
        recorded = {name: area.nvdb_path / name for name in NVDB_FILES if (area.nvdb_path / name).exists()}
        kept = {name: _Collection.of(read_json(path)) for name, path in recorded.items()}
        self.segments = kept.get("segments.json", _Collection.of([]))
        self.nodes = kept.get("nodes.json", _Collection.of([]))
        self.objects = {
            int(match[1]): collection for name, collection in kept.items() if (match := re.match(r"objects-(\d+)", name))
        }

    def endpoint(self, request: Request) -> str:
        return re.sub(r"^/(vegobjekter|vegnett|omrader)/api/v4", "", request.path)

    def handle(self, request: Request) -> Reply:
        if not request.headers.get("X-Client"):
            detail = "X-Client må være satt når du kaller API Les V4."
            return problem(400, "Ugyldig forespørsel", detail) if self.missing_client_body == "json" else Reply.text(detail, 400)
        remaining = self._budget.take()
        if remaining is None:
            reply = problem(429, "For mange forespørsler", "Kvoten er brukt opp; vent litt.")
            return Reply(reply.status, reply.body, reply.content_type, {"x-ratelimit-remaining": "0"})
        try:
            reply = self._answer(request)
        except BadRequestError as error:
            reply = problem(400, "Ugyldig forespørsel", str(error))
        return Reply(reply.status, reply.body, reply.content_type, {"x-ratelimit-remaining": str(remaining)})

    def _answer(self, request: Request) -> Reply:
        path = self.endpoint(request).removeprefix("/vegnett").rstrip("/")
        if match := re.fullmatch(r"(?:/vegobjekter)+/(\d+)(?:/(\d+))?", path):
            collection = self.objects.get(int(match[1]))
            if collection is None:
                return problem(404, "Ikke funnet", f"Vegobjekttype {match[1]} finnes ikke.")
            if match[2] is None:
                return self._page(request, collection, self._object)
            found = next((item for item in collection.items if item["id"] == int(match[2])), None)
            if found is None:
                return problem(404, "Ikke funnet", f"Vegobjekt {match[2]} finnes ikke.")
            return Reply.json(self._object(found, request, 0))
        if path == "/veglenkesekvenser/segmentert":
            return self._page(request, self.segments, self._network_item)
        if path == "/noder":
            return self._page(request, self.nodes, self._network_item)
        if path in ("/kommuner", "/omrader/kommuner"):
            return Reply.json(self._municipalities())
        return problem(404, "Ikke funnet", f"{request.path} finnes ikke.")

    def _municipalities(self) -> list[Json]:
        """The area's own number, and those that its road network names."""
        numbers = {number for item in self.segments.items if (number := item.get("kommune"))}
        own = int(self.area.code) if self.area.code.isdigit() else None
        names = {own: self.area.name} if own is not None else {}
        listed = sorted(numbers | set(names))
        return [{"nummer": n, "navn": names.get(n, f"Kommune {n}"), "fylke": int(n) // 100} for n in listed]

    def _page(self, request: Request, collection: _Collection, show: Callable[[Json, Request, int], Json]) -> Reply:
        """One page. There is always a next one: at the end it is empty and has the cursor it was asked with."""
        size = min(_integer(request, "antall", self.page_cap), self.page_cap)
        if size < 1:
            raise BadRequestError("antall må være større enn 0.")
        chosen = self._chosen(request, collection)
        cursor = request.param("start") or "0:0"
        begin = _offset(cursor)
        places = chosen[begin : begin + size]
        if places:
            last = collection.items[places[-1]]
            cursor = f"{last.get('id', last.get('veglenkesekvensid'))}:{begin + len(places)}"
        query = {name: values[0] for name, values in request.query.items()}
        following = {"start": cursor, "href": f"{self.url}{request.path}?{urlencode({**query, 'start': cursor})}"}
        metadata: Json = {"returnert": len(places), "sidestørrelse": size, "neste": following}
        if request.param("inkluderAntall") == "true":
            metadata["antall"] = len(chosen)
        objects = [show(collection.items[place], request, place) for place in places]
        return Reply.json({"objekter": objects, "metadata": metadata})

    def _chosen(self, request: Request, collection: _Collection) -> list[int]:
        """Places of the items that fit every filter, in the recorded order."""
        srid = _srid(request)
        fits = np.ones(len(collection.items), dtype=bool)
        if request.param("egenskap") or request.param("overlapp"):
            raise BadRequestError("Ugyldig avansert filter: egenskap og overlapp spilles ikke av.")
        if box := request.param("kartutsnitt"):
            west, south, east, north = _numbers(box.split(","), 4, "kartutsnitt")
            if srid == 4326:
                corner_points = shapely.MultiPoint([(south, west), (north, east)])
                west, south, east, north = utm33(corner_points).bounds
            bounds = shapely.bounds(collection.shapes)
            with np.errstate(invalid="ignore"):
                fits &= (bounds[:, 0] <= east) & (bounds[:, 2] >= west) & (bounds[:, 1] <= north) & (bounds[:, 3] >= south)
        if ring := request.param("polygon"):
            pairs = [_numbers(pair.split(), 2, "polygon") for pair in ring.split(",")]
            if len(pairs) < 4 or pairs[0] != pairs[-1]:
                raise BadRequestError("polygon må være en lukket ring.")
            region = shapely.Polygon([(y, x) for x, y in pairs] if srid == 4326 else pairs)
            fits &= shapely.intersects(collection.shapes, utm33(region) if srid == 4326 else region)
        for name, of_item in FILTERS.items():
            if wanted := request.param(name):
                values = {value.strip().casefold() for value in wanted.split(",")}
                if name in ("kommune", "ider", "fylke"):
                    values = {str(int(number)) for number in _numbers(list(values), len(values), name)}
                fits &= np.array([bool(of_item(item) & values) for item in collection.items], dtype=bool)
        return np.flatnonzero(fits).tolist()

    def _object(self, item: Json, request: Request, place: int) -> Json:
        asked = {name.strip() for name in (request.param("inkluder") or "").split(",") if name.strip()}
        unknown = asked - {*BLOCKS, "alle", "minimum"}
        if unknown:
            raise BadRequestError(f"inkluder: ukjent verdi {', '.join(sorted(unknown))}.")
        blocks = BLOCKS if "alle" in asked else tuple(block for block in BLOCKS if block in asked)
        shown = {key: item[key] for key in ("id", "href", *blocks) if key in item}
        return self._projected(shown, _srid(request), place)

    def _network_item(self, item: Json, request: Request, place: int) -> Json:
        return self._projected(item, _srid(request), place)

    def _projected(self, item: Json, srid: int, place: int) -> Json:
        geometry = item.get("geometri")
        if not geometry:
            return item
        height_unknown = bool(self.unknown_height_every) and place % self.unknown_height_every == 0
        if geometry["srid"] == srid and not height_unknown:
            return item
        return {**item, "geometri": {**geometry, "wkt": written(geometry, srid, height_unknown), "srid": srid}}


class _Budget:
    """Requests that may be made now; refills with time."""

    def __init__(self, size: int, refill_per_s: float):
        self.size, self.refill_per_s = size, refill_per_s
        self._left, self._at, self._lock = float(size), time.monotonic(), threading.Lock()

    def take(self) -> int | None:
        """What remains after this request, or None where nothing was left for it."""
        with self._lock:
            now = time.monotonic()
            self._left = min(float(self.size), self._left + (now - self._at) * self.refill_per_s)
            self._at = now
            if self._left < 1:
                return None
            self._left -= 1
            return int(self._left)


def problem(status: int, title: str, detail: str) -> Reply:
    """An RFC 7807 problem, as v4 answers."""
    return Reply.json({"type": "about:blank", "title": title, "status": status, "detail": detail}, status)


def written(geometry: Json, srid: int, height_unknown: bool = False) -> str:
    """The WKT of a recorded geometry in another srid: UTM with 3 decimals, degrees with 8 and latitude first."""
    recorded = shapely.from_wkt(geometry["wkt"])
    flat = wgs84_from_wkt(geometry["wkt"], geometry["srid"])
    if srid == 4326:
        xy = shapely.get_coordinates(flat)[:, ::-1].round(8)
    else:
        lon_lat = shapely.get_coordinates(flat)
        xy = np.column_stack(utm(UTM_ZONE_OF_SRID[srid])(lon_lat[:, 0], lon_lat[:, 1])).round(3)
    if not recorded.has_z:
        return shapely.to_wkt(shapely.set_coordinates(flat, xy), rounding_precision=8)
    heights = shapely.get_coordinates(recorded, include_z=True)[:, 2]
    xyz = np.column_stack([xy, np.full_like(heights, UNKNOWN_HEIGHT) if height_unknown else heights])
    return shapely.to_wkt(shapely.set_coordinates(shapely.force_3d(flat), xyz), rounding_precision=8)


def _texts(*values: Any) -> set[str]:
    return {str(value).casefold() for value in values if value is not None}


def _municipalities_of(item: Json) -> set[str]:
    listed = item.get("lokasjon", {}).get("kommuner") or item.get("kommuner") or [item.get("kommune")]
    return _texts(*listed)


def _detail_codes(item: Json) -> set[str]:
    level = str(item.get("detaljnivå", "")).casefold()
    return {code.casefold() for code, text in DETAIL_LEVELS.items() if level in (text, code.casefold())}


FILTERS: dict[str, Callable[[Json], set[str]]] = {
    "kommune": _municipalities_of,
    "ider": lambda item: _texts(item.get("id", item.get("veglenkesekvensid"))),
    "trafikantgruppe": lambda item: _texts(item.get("vegsystemreferanse", {}).get("strekning", {}).get("trafikantgruppe", "K")),
    "detaljniva": _detail_codes,
}


def _srid(request: Request) -> int:
    text = request.param("srid") or "5973"
    if text not in SRIDS:
        raise BadRequestError(f"srid {text} er ikke støttet; bruk en av {', '.join(SRIDS)}.")
    return SRIDS[text]


def _integer(request: Request, name: str, otherwise: int) -> int:
    text = request.param(name)
    if text is not None and not re.fullmatch(r"-?\d+", text):
        raise BadRequestError(f"{name} må være et heltall, ikke {text}.")
    return otherwise if text is None else int(text)


def _numbers(texts: list[str], count: int, name: str) -> list[float]:
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise BadRequestError(f"{name} kan ikke leses.")
    return numbers


def _offset(cursor: str) -> int:
    match = re.fullmatch(r"\d+:(\d+)", cursor)
    if not match:
        raise BadRequestError(f"start {cursor} er ikke en gyldig markør.")
    return int(match[1])
