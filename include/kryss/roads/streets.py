"""Streets: a road from one node where more or fewer than two ends of links meet to the next.

Sources cut a road into links wherever a property changes, and cut it anew with every edit. Nothing that is said of junctions
may depend on that, so links are joined to streets first (osmnx calls it simplification).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyproj
import shapely

Position = tuple[float, float]
LimitStretch = tuple[float, float, float]
"""``(from, to, km/h)``: the part of a link it holds on, as fractions of the link's length."""


@dataclass(frozen=True, slots=True)
class RoadLink:
    """A stretch of road between two nodes."""

    id: str
    start: str
    end: str
    line: tuple[Position, ...]
    """``(lon, lat)`` from start to end."""
    road: str
    """The link sequence (NVDB) or way (OSM) it belongs to."""
    ring: bool = False
    """Part of a roundabout's ring."""
    name: str | None = None
    limits: tuple[LimitStretch, ...] = ()
    layer: int = 0
    """Height above (bridge) or below (tunnel) the ground, as OpenStreetMap counts layers."""


@dataclass(frozen=True, slots=True)
class Street:
    """Links in a row, from a node to a node; nothing branches off between them."""

    start: str
    end: str
    links: tuple[RoadLink, ...]
    """In order from start to end."""
    line: np.ndarray
    """(n, 2) metres, from start to end."""
    limits: tuple[tuple[float, float, float], ...]
    """``(from_m, to_m, km/h)`` along the line."""

    @property
    def ring(self) -> bool:
        return all(link.ring for link in self.links)

    @property
    def length_m(self) -> float:
        return float(np.hypot(*np.diff(self.line, axis=0).T).sum())

    def at(self, along_m: float) -> np.ndarray:
        """(2,) metres: the point so far along it, or its end."""
        return self.until(along_m).line[-1]

    def until(self, length_m: float) -> Street:
        """The street as far as that along it, or all of it; it keeps its links."""
        steps_m = np.hypot(*np.diff(self.line, axis=0).T)
        gone_m = np.concatenate([[0.0], np.cumsum(steps_m)])
        if gone_m[-1] <= length_m:
            return self
        whole = int(np.searchsorted(gone_m, length_m, side="right"))
        part = (length_m - gone_m[whole - 1]) / steps_m[whole - 1]
        last = self.line[whole - 1] + part * (self.line[whole] - self.line[whole - 1])
        limits = tuple((from_m, min(to_m, length_m), km_h) for from_m, to_m, km_h in self.limits if from_m <= length_m)
        return Street(self.start, self.end, self.links, np.vstack([self.line[:whole], last]), limits)

    def reversed(self) -> Street:
        length_m = self.length_m
        limits = tuple((length_m - to_m, length_m - from_m, km_h) for from_m, to_m, km_h in self.limits)
        return Street(self.end, self.start, self.links[::-1], self.line[::-1], limits)


@dataclass(frozen=True)
class Metres:
    """A local metric frame: the UTM zone of the region, in either hemisphere."""

    transformer: pyproj.Transformer

    @classmethod
    def around(cls, region: shapely.Geometry) -> Metres:
        """The frame of a WGS84 region."""
        middle = region.envelope.centroid
        zone = min(60, int((middle.x + 180) // 6) + 1)
        crs = pyproj.CRS.from_epsg((32600 if middle.y >= 0 else 32700) + zone)
        return cls(pyproj.Transformer.from_crs(4326, crs, always_xy=True))

    def forward(self, positions: Sequence[Position] | np.ndarray) -> np.ndarray:
        """positions: n x (lon, lat) -> (n, 2) metres."""
        return self._apply(positions, "FORWARD")

    def inverse(self, metres: Sequence[Position] | np.ndarray) -> np.ndarray:
        """(n, 2) metres -> (n, 2) lon, lat."""
        return self._apply(metres, "INVERSE")

    def shape(self, geometry: shapely.Geometry) -> shapely.Geometry:
        """A WGS84 geometry in metres."""
        return shapely.transform(shapely.force_2d(geometry), self.forward)

    def _apply(self, pairs: Sequence[Position] | np.ndarray, direction: str) -> np.ndarray:
        array = np.asarray(pairs, dtype=float).reshape(-1, 2)
        x, y = self.transformer.transform(array[:, 0], array[:, 1], direction=direction)
        return np.column_stack([x, y])


def end_counts(links: Iterable[RoadLink]) -> Counter[str]:
    """How many ends of links lie at each node (a loop has two at its node)."""
    return Counter(node for link in links for node in (link.start, link.end))


def streets_of(links: Sequence[RoadLink], to_metres: Metres) -> list[Street]:
    """The links joined where exactly two ends meet, in an order and direction that only their lines decide.

    A circle that nothing branches off from is left out.
    """
    ends = end_counts(links)
    meeting: dict[str, list[int]] = defaultdict(list)
    for index, link in enumerate(links):
        for node in (link.start, link.end):
            meeting[node].append(index)
    cuts = np.cumsum([len(link.line) for link in links])[:-1]
    lines = np.split(to_metres.forward([position for link in links for position in link.line]), cuts)
    streets = []
    used: set[int] = set()
    for index, link in enumerate(links):
        for node in (link.start, link.end):
            if index not in used and ends[node] != 2:
                row = list(_follow(node, index, links, meeting, ends))
                used.update(each for each, _ in row)
                street = _joined(row, links, lines)
                there, back = street.line.tolist(), street.line[::-1].tolist()
                streets.append(street if there <= back else street.reversed())
    return sorted(streets, key=lambda street: street.line.tolist())


def _follow(
    node: str, index: int, links: Sequence[RoadLink], meeting: dict[str, list[int]], ends: Counter[str]
) -> Iterator[tuple[int, bool]]:
    """Indices of the links from a node on, each with whether it is walked against its own direction."""
    while True:
        link = links[index]
        backwards = link.start != node
        yield index, backwards
        node = link.start if backwards else link.end
        if ends[node] != 2:
            return
        first, second = meeting[node]
        index = second if first == index else first


def _joined(row: list[tuple[int, bool]], links: Sequence[RoadLink], lines: Sequence[np.ndarray]) -> Street:
    pieces: list[np.ndarray] = []
    limits: list[tuple[float, float, float]] = []
    gone_m = 0.0
    for index, backwards in row:
        line = lines[index][::-1] if backwards else lines[index]
        length_m = float(np.hypot(*np.diff(line, axis=0).T).sum())
        for begin, end, km_h in links[index].limits:
            low, high = (1 - end, 1 - begin) if backwards else (begin, end)
            limits.append((gone_m + low * length_m, gone_m + high * length_m, km_h))
        gone_m += length_m
        pieces.append(line[1:] if pieces else line)
    first, first_backwards = row[0]
    last, last_backwards = row[-1]
    return Street(
        start=links[first].end if first_backwards else links[first].start,
        end=links[last].start if last_backwards else links[last].end,
        links=tuple(links[index] for index, _ in row),
        line=np.concatenate(pieces),
        limits=tuple(limits),
    )
