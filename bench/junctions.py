"""How many junctions a road network has, by Kryss and by osmnx: the counts, every place where they differ and why, and the time.

    ./kryss bench junctions [--pbf FILE] [--repeat 9] [--json FILE]

Both get the same ways of the extract (those of `kryss.roads.overpass.HIGHWAYS` that cars may use), cut where the extract cuts
them, and the same tolerance: nodes at most 20 m apart are one junction (osmnx: a radius of 10 m, its default). Dead ends count
in neither. osmnx stays off the network: its graph is made of an XML file of these ways. The comparison is with
`consolidate_intersections(rebuild_graph=True)` on the graph read as two-way: that one, as Kryss, joins only nodes that are
connected, and counts the streets that meet whatever directions they may be driven. The other variants are printed too. Needs
the packages of the dev extra.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import networkx as nx
import shapely
from shapely.geometry import mapping

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "include"))

from kryss.roads.consolidate import clusters_of, islands, near_pairs, node_order  # noqa: E402
from kryss.roads.network import RoadNetwork, intersections_of  # noqa: E402
from kryss.roads.osm_network import is_drivable, known_runs, network_from_overpass  # noqa: E402
from kryss.roads.overpass import Element  # noqa: E402
from kryss.roads.pbf import read_pbf  # noqa: E402
from kryss.roads.streets import Metres, streets_of  # noqa: E402

HELSINKI = ROOT.parent / "shared" / "data" / "osm-helsinki" / "Helsinki.osm.pbf"
EVERYWHERE = mapping(shapely.box(-179.9, -84.0, 179.9, 84.0))
OSMNX_TOLERANCE_M = 10.0
FAIR = "two-way, rebuilt"

Group = tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """A place where one joins nodes and the other does not."""

    reason: str
    lat: float
    lon: float
    names: tuple[str, ...]
    ours: tuple[Group, ...]
    theirs: tuple[Group, ...]


@dataclass(frozen=True)
class Comparison:
    ways: int
    links: int
    candidates: int
    ours: int
    theirs: dict[str, int]
    differences: list[Difference]
    seconds: dict[str, tuple[float, float]]
    """What is timed -> the median processor seconds of ours and of osmnx."""

    @property
    def off(self) -> float:
        """How far our count is from the fair one of osmnx, as a part of it."""
        return self.ours / self.theirs[FAIR] - 1


def compare(path: Path, repeat: int) -> Comparison:
    """Everything that is printed, from one extract. Nothing is timed with ``repeat`` 0."""
    elements = read_pbf(path, EVERYWHERE)
    ways = [way for way in elements if way["type"] == "way" and is_drivable(way)]
    network = network_from_overpass(elements)
    region = shapely.MultiPoint(list(network.nodes.values())).envelope.buffer(0.01)
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder) / "ways.osm"
        write_xml(xml, ways)
        ours, theirs = our_groups(network, region), dict(osmnx_groups(xml))
        seconds = timed(elements, region, xml, repeat) if repeat else {}
    return Comparison(
        ways=len(ways),
        links=len(network.links),
        candidates=sum(len(group) for group in ours),
        ours=len(ours),
        theirs={name: len(groups) for name, groups in theirs.items()},
        differences=list(differences(network, region, ours, theirs[FAIR])),
        seconds=seconds,
    )


def our_groups(network: RoadNetwork, region: shapely.Geometry) -> list[Group]:
    return sorted(junction.members for junction in intersections_of(network, mapping(region)))


def osmnx_groups(xml: Path) -> Iterator[tuple[str, list[Group]]]:
    """Each way of counting with osmnx, with the nodes of each of its junctions (none, where osmnx does not say)."""
    import osmnx

    for two_way in (True, False):
        graph = osmnx_graph(xml, two_way)
        direction = "two-way" if two_way else "as driven"
        rebuilt = osmnx.consolidate_intersections(graph, tolerance=OSMNX_TOLERANCE_M, rebuild_graph=True, dead_ends=False)
        told = nx.get_node_attributes(rebuilt, "osmid_original").values()
        members = [tuple(sorted(map(str, ids if isinstance(ids, list) else [ids]), key=node_order)) for ids in told]
        yield f"{direction}, rebuilt", sorted(members)
        points = osmnx.consolidate_intersections(graph, tolerance=OSMNX_TOLERANCE_M, rebuild_graph=False, dead_ends=False)
        yield f"{direction}, points only", [() for _ in points]


def osmnx_graph(xml: Path, two_way: bool) -> nx.MultiDiGraph:
    """Simplified, in metres, with the number of streets at each node: without it osmnx 2.1 counts dead ends as junctions."""
    import osmnx

    graph = osmnx.graph_from_xml(xml, bidirectional=two_way, simplify=True, retain_all=True)
    nx.set_node_attributes(graph, osmnx.stats.count_streets_per_node(graph), "street_count")
    return osmnx.project_graph(graph)


def write_xml(path: Path, ways: Iterable[Element]) -> None:
    """The stretches of the ways that the extract holds, in OpenStreetMap's XML."""
    nodes: dict[int, dict[str, float]] = {}
    lines = []
    for way in ways:
        tags = "".join(f"<tag k={quoteattr(key)} v={quoteattr(value)}/>" for key, value in way["tags"].items())
        for number, run in enumerate(known_runs(way)):
            ids = [way["nodes"][place] for place in run]
            nodes.update(zip(ids, (way["geometry"][place] for place in run), strict=True))
            refs = "".join(f'<nd ref="{node}"/>' for node in ids)
            lines.append(f'<way id="{way["id"] * 100 + number}">{refs}{tags}</way>')
    places = [f'<node id="{node}" lat="{at["lat"]}" lon="{at["lon"]}"/>' for node, at in sorted(nodes.items())]
    path.write_text("\n".join(['<osm version="0.6">', *places, *lines, "</osm>"]), encoding="utf-8")


def differences(network: RoadNetwork, region: shapely.Geometry, ours: list[Group], theirs: list[Group]) -> Iterator[Difference]:
    """Every place where the groups are not the same, from north to south."""
    both = nx.Graph()
    for side, groups in (("ours", ours), ("theirs", theirs)):
        for group in groups:
            both.add_edges_from((node, (side, group)) for node in group)
    why = Reasons(network, region)
    found = []
    for part in nx.connected_components(both):
        mine, other = (
            sorted(item[1] for item in part if item[0] == side and not isinstance(item, str)) for side in ("ours", "theirs")
        )
        if mine != other:
            nodes = sorted((item for item in part if isinstance(item, str)), key=node_order)
            lon, lat = (sum(network.nodes[node][axis] for node in nodes) / len(nodes) for axis in (0, 1))
            found.append(Difference(why(mine, other), round(lat, 6), round(lon, 6), why.names(nodes), tuple(mine), tuple(other)))
    yield from sorted(found, key=lambda difference: (-difference.lat, difference.lon))


class Reasons:
    """Why two groupings of the same nodes differ."""

    def __init__(self, network: RoadNetwork, region: shapely.Geometry):
        to_metres = Metres.around(region)
        streets = streets_of(network.links, to_metres)
        place = dict(zip(network.nodes, to_metres.forward(list(network.nodes.values())), strict=True))
        ends = Counter(node for street in streets for node in (street.start, street.end))
        candidates = sorted((node for node, count in ends.items() if count >= 3), key=node_order)
        self.candidates = set(candidates)
        self.links = network.links
        self.ring = {node for link in network.links if link.ring for node in (link.start, link.end)}
        self.islands = nx.Graph(edge for island in islands(streets, place, candidates) for edge in pairwise(island))
        self.near = nx.Graph(near_pairs(streets, place, candidates))
        self.layers: dict[str, set[int]] = defaultdict(set)
        for link in network.links:
            self.layers[link.start].add(link.layer)
            self.layers[link.end].add(link.layer)

    def __call__(self, ours: Sequence[Group], theirs: Sequence[Group]) -> str:
        mine, other = pairs(ours), pairs(theirs)
        reasons = {self._we_joined(a, b) for a, b in mine - other} | {self._they_joined(a, b) for a, b in other - mine}
        loose = {node for group in theirs for node in group} ^ {node for group in ours for node in group}
        reasons |= {"two street ends only" if node not in self.candidates else "not a junction for osmnx" for node in loose}
        return " + ".join(sorted(reasons))

    def _we_joined(self, a: str, b: str) -> str:
        if {a, b} & self.ring:
            return "roundabout"
        if a in self.islands and b in self.islands and nx.has_path(self.islands, a, b):
            return "island between carriageways"
        return "joined through other nodes"

    def _they_joined(self, a: str, b: str) -> str:
        if self.layers[a].isdisjoint(self.layers[b]):
            return "bridge"
        if a in self.ring and b in self.ring:
            return "two roundabouts"
        if a in self.near and b in self.near and nx.has_path(self.near, a, b):
            return "chain cut"
        return "not joined along the roads"

    def names(self, nodes: Sequence[str]) -> tuple[str, ...]:
        return tuple(sorted({link.name for link in self.links if link.name and {link.start, link.end} & set(nodes)}))


def pairs(groups: Iterable[Group]) -> set[tuple[str, str]]:
    return {(a, b) for group in groups for a in group for b in group if a < b}


def timed(elements: list[Element], region: shapely.Geometry, xml: Path, repeat: int) -> dict[str, tuple[float, float]]:
    """Both in turn, so many times; medians of processor time."""
    import osmnx

    boundary, to_metres = mapping(region), Metres.around(region)
    network = network_from_overpass(elements)
    streets = streets_of(network.links, to_metres)
    place = dict(zip(network.nodes, to_metres.forward(list(network.nodes.values())), strict=True))
    graph = osmnx_graph(xml, two_way=True)
    consolidate = osmnx.consolidate_intersections
    races: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "consolidation": (
            lambda: clusters_of(streets, place),
            lambda: consolidate(graph, tolerance=OSMNX_TOLERANCE_M, rebuild_graph=True),
        ),
        "consolidation, osmnx without edges": (
            lambda: clusters_of(streets, place),
            lambda: consolidate(graph, tolerance=OSMNX_TOLERANCE_M, rebuild_graph=True, reconnect_edges=False),
        ),
        "from ways to junctions": (
            lambda: intersections_of(network_from_overpass(elements), boundary),
            lambda: consolidate(osmnx_graph(xml, two_way=True), tolerance=OSMNX_TOLERANCE_M, rebuild_graph=True),
        ),
    }
    spent: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in races}
    for _ in range(repeat):
        for name, runners in races.items():
            for runner, seconds in zip(runners, spent[name], strict=True):
                began = time.process_time()
                runner()
                seconds.append(time.process_time() - began)
    return {name: (statistics.median(mine), statistics.median(other)) for name, (mine, other) in spent.items()}


def report(found: Comparison) -> str:
    lines = [
        f"{found.ways} ways for cars, {found.links} links, {found.candidates} nodes where three or more streets end",
        "",
        "junctions",
        f"  {'Kryss':42} {found.ours:5}",
    ]
    for name, count in found.theirs.items():
        mark = f"   Kryss {found.off:+.1%}: compared below" if name == FAIR else ""
        lines.append(f"  {f'osmnx, {name}':42} {count:5}{mark}")
    lines += ["", f"{len(found.differences)} places differ"]
    for place in found.differences:
        lines.append(f"  {place.reason}: {place.lat:.6f}, {place.lon:.6f}  {' / '.join(place.names) or '(no name)'}")
        for who, groups in (("Kryss", place.ours), ("osmnx", place.theirs)):
            lines.append(f"      {who}: {'  |  '.join(' '.join(group) for group in groups) or 'none'}")
    lines += ["", f"{'processor seconds, medians':42} {'Kryss':>9} {'osmnx':>9} {'ratio':>7}"]
    for name, (mine, other) in found.seconds.items():
        lines.append(f"  {name:40} {mine:9.4f} {other:9.4f} {other / mine:6.1f}x")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./kryss bench junctions", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pbf", type=Path, default=HELSINKI, help="OpenStreetMap extract (default: the one of ../shared/data)")
    parser.add_argument("--repeat", type=int, default=9, help="runs of each that is timed")
    parser.add_argument("--json", type=Path, help="write everything to a file too")
    options = parser.parse_args()
    if not options.pbf.is_file():
        print(f"{options.pbf}: no such file; name an OpenStreetMap extract with --pbf", file=sys.stderr)
        return 2
    found = compare(options.pbf, options.repeat)
    print(report(found))
    if options.json:
        options.json.write_text(json.dumps(asdict(found), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
