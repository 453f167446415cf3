"""The Overpass API, played back from a recorded area (contracts/osm-overpass.md, fake-server checklist in section 9).

A small evaluator understands the queries that Kryss sends (boundary relation, ways and nodes by tag inside a polygon, an area
or a box) and refuses all others as a syntax error. Quirks that are always on: two slots, elements in no order and some twice,
generic user agents refused. ``heavy_deg2`` makes queries over larger polygons run out of time, inside a 200.
"""

from __future__ import annotations

import hashlib
import html
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import shapely
from shapely.geometry import shape

from kryss.demo.area import RecordedArea, read_json
from kryss.demo.playback.server import PlaybackServer, Reply, Request, Stage
from kryss.roads.boundary import BoundaryError, boundary_of_relation

SLOTS = 2
COPYRIGHT = "The data included in this document is from www.openstreetmap.org. The data is made available under ODbL."
GENERIC_AGENTS = re.compile(r"^(|python-requests/.*|python-urllib/.*|curl/.*|wget/.*|java/.*|go-http-client/.*)$", re.IGNORECASE)
DUPLICATED_ONE_IN = 5

Json = dict[str, Any]


class QuerySyntaxError(ValueError):
    """A query that the evaluator does not know."""


@dataclass(frozen=True, slots=True)
class Query:
    """``[out:json]...; area[...]->.a; kind[filters](region); out words;``"""

    kind: str
    tags: tuple[tuple[str, str, str], ...]
    """``(key, operator, value)`` with operator ``=``, ``~`` or empty (the key is there)."""
    region: shapely.Geometry | None
    area_tags: tuple[tuple[str, str, str], ...]
    """Tags of the relation whose area bounds the query; empty without one."""
    out: frozenset[str]


_TAG = re.compile(r'\["([^"]+)"(?:(=|~)"([^"]*)")?\]')
_STATEMENT = re.compile(
    r'(?P<kind>node|way|relation)(?P<tags>(?:\["[^"]+"(?:[=~]"[^"]*")?\])+)'
    r'(?:\((?:poly:"(?P<poly>[^"]+)"|(?P<area>area\.a)|(?P<box>-?[\d.]+(?:,-?[\d.]+){3}))\))?'
)
_AREA = re.compile(r'area(?P<tags>(?:\["[^"]+"(?:[=~]"[^"]*")?\])+)->\.a')
_SETTINGS = re.compile(r"(\[out:json\]|\[timeout:\d+\]|\[maxsize:\d+\])+")
_OUT = re.compile(r"out(?P<words>(?: (?:body|geom|skel))*)")


def parse(text: str) -> Query:
    """The query, or QuerySyntaxError naming the part that is not understood."""
    statements = [part.strip() for part in text.split(";")]
    if statements[-1]:
        raise QuerySyntaxError(f"parse error: ';' expected - '{statements[-1][:40]}' found.")
    statements = [part for part in statements if part]
    settings = statements.pop(0) if statements else ""
    if not _SETTINGS.fullmatch(settings) or "[out:json]" not in settings:
        raise QuerySyntaxError(f"parse error: settings expected - '{settings[:40]}' found.")
    area = _AREA.fullmatch(statements[0]) if statements else None
    if area:
        statements.pop(0)
    statement = _STATEMENT.fullmatch(statements[0]) if statements else None
    out = _OUT.fullmatch(statements[1]) if len(statements) == 2 else None
    if not statement or not out or bool(statement["area"]) != bool(area):
        raise QuerySyntaxError(f"parse error: Unknown query clause in '{' '.join(statements)[:60]}'.")
    return Query(
        kind=statement["kind"],
        tags=_tags(statement["tags"]),
        region=_region(statement),
        area_tags=_tags(area["tags"]) if area else (),
        out=frozenset(out["words"].split()),
    )


def _tags(text: str) -> tuple[tuple[str, str, str], ...]:
    return tuple((match[1], match[2] or "", match[3] or "") for match in _TAG.finditer(text))


def _region(statement: re.Match[str]) -> shapely.Geometry | None:
    if statement["poly"]:
        try:
            numbers = [float(number) for number in statement["poly"].split()]
        except ValueError:
            numbers = []
        if len(numbers) < 6 or len(numbers) % 2:
            raise QuerySyntaxError("static error: poly needs an even number of coordinates, at least six.")
        return shapely.Polygon(list(zip(numbers[1::2], numbers[::2], strict=True)))
    if statement["box"]:
        south, west, north, east = (float(number) for number in statement["box"].split(","))
        return shapely.box(west, south, east, north)
    return None


class OverpassServer(PlaybackServer):
    """``interpreter_url`` is what a client is given. ``work_s``: how long a query holds its slot."""

    name = "overpass"

    def __init__(
        self,
        area: RecordedArea,
        stage: Stage | None = None,
        port: int = 0,
        *,
        slots: int = SLOTS,
        work_s: float = 0.0,
        heavy_deg2: float | None = None,
    ):
        super().__init__(stage, port)
        recorded = read_json(area.overpass_path) if area.overpass_path.exists() else {"elements": []}
        self.elements: list[Json] = recorded["elements"]
        self.header: Json = recorded.get("osm3s", {})
        self.interpreter_url = f"{self.url}/api/interpreter"
        self.slots, self.work_s, self.heavy_deg2 = slots, work_s, heavy_deg2
        self._running: dict[int, float] = {}
        self._lock = threading.Lock()

    def handle(self, request: Request) -> Reply:
        if GENERIC_AGENTS.match(request.headers.get("User-Agent") or ""):
            return page(403, "Forbidden", "Give your application a User-Agent of its own.")
        if request.path == "/api/status":
            return Reply.text(self.status())
        if request.path != "/api/interpreter":
            return page(404, "Not Found", "There is no such page.")
        text = request.form().get("data", [""])[0] if request.method == "POST" else request.param("data") or ""
        with self._slot() as granted:
            if not granted:
                return page(429, "Too Many Requests", "Please check /api/status for the quota of your IP address.")
            self.closing.wait(self.work_s)
            try:
                return Reply.json(self.answer(parse(text)))
            except QuerySyntaxError as error:
                return page(400, "Error", f"line 1: {error}", error=True)

    def answer(self, query: Query) -> Json:
        found = [element for element in self.elements if element["type"] == query.kind and fits(element, query.tags)]
        region = self._area(query.area_tags) if query.area_tags else query.region
        if region is not None:
            shapely.prepare(region)
            found = [element for element in found if touches(element, region)]
        shown = [_shown(element, query.out) for element in scrambled(found)]
        answer = {
            "version": 0.6,
            "generator": "Overpass API",
            "osm3s": {"copyright": COPYRIGHT, **self.header},
            "elements": shown,
        }
        if region is not None and self.heavy_deg2 is not None and region.area > self.heavy_deg2:
            answer["elements"] = shown[: len(shown) // 2]
            answer["remark"] = 'runtime error: Query timed out in "query" at line 1 after 180 seconds.'
        return answer

    def _area(self, tags: tuple[tuple[str, str, str], ...]) -> shapely.Geometry:
        for element in self.elements:
            if element["type"] == "relation" and fits(element, tags):
                try:
                    return shape(boundary_of_relation(element))
                except BoundaryError:
                    continue
        return shapely.Polygon()

    def status(self) -> str:
        """The text of /api/status, as of now."""
        now = datetime.now(UTC).replace(microsecond=0)
        with self._lock:
            left = [max(1, round(end - time.monotonic())) for end in self._running.values()]
        free = self.slots - len(left)
        lines = ["Connected as: 2130706433", f"Current time: {_stamp(now)}", f"Rate limit: {self.slots}"]
        if free > 0:
            lines.append(f"{free} slots available now.")
        for seconds in left if free <= 0 else ():
            lines.append(f"Slot available after: {_stamp(now + timedelta(seconds=seconds))}, in {seconds} seconds.")
        lines.append("Currently running queries (pid, space limit, time limit, start time):")
        return "\n".join(lines) + "\n"

    @contextmanager
    def _slot(self) -> Iterator[bool]:
        key = threading.get_ident()
        with self._lock:
            granted = len(self._running) < self.slots
            if granted:
                self._running[key] = time.monotonic() + self.work_s
        try:
            yield granted
        finally:
            if granted:
                with self._lock:
                    del self._running[key]


def fits(element: Json, tags: tuple[tuple[str, str, str], ...]) -> bool:
    own = element.get("tags", {})
    for key, operator, value in tags:
        if key not in own or (operator == "=" and own[key] != value) or (operator == "~" and not re.search(value, own[key])):
            return False
    return True


def touches(element: Json, region: shapely.Geometry) -> bool:
    """Whether a node lies in the region, or a way or a relation's member has a part in it."""
    if element["type"] == "node":
        return bool(region.intersects(shapely.Point(element["lon"], element["lat"])))
    pieces = [element.get("geometry")] if element["type"] == "way" else [m.get("geometry") for m in element["members"]]
    lines = [[(point["lon"], point["lat"]) for point in piece if point] for piece in pieces if piece]
    return any(region.intersects(shapely.LineString(line)) for line in lines if len(line) > 1)


def scrambled(elements: list[Json]) -> list[Json]:
    """The elements in an order that means nothing, one in five of them twice; the same at every asking."""

    def draw(element: Json) -> str:
        return hashlib.sha256(f"{element['type']}{element['id']}".encode()).hexdigest()

    ordered = sorted(elements, key=draw)
    return ordered + [element for element in ordered if int(draw(element), 16) % DUPLICATED_ONE_IN == 0]


def page(status: int, title: str, text: str, error: bool = False) -> Reply:
    """An HTML page, as the real service answers what it refuses."""
    mark = '<strong style="color:#FF0000">Error</strong>: ' if error else ""
    body = f"<html><head><title>{title}</title></head><body><p>{mark}{html.escape(text)}</p></body></html>"
    return Reply.text(body, status, "text/html; charset=utf-8")


def _shown(element: Json, out: frozenset[str]) -> Json:
    hidden = set() if "geom" in out else {"geometry", "bounds"}
    hidden |= {"tags"} if "skel" in out else set()
    shown = {key: value for key, value in element.items() if key not in hidden}
    if "members" in shown and "geom" not in out:
        shown["members"] = [{key: m[key] for key in ("type", "ref", "role")} for m in shown["members"]]
    return shown


def _stamp(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")
