"""Which candidates are one junction: what must hold for every network, and the cases that made the rules."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import networkx as nx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kryss.roads.consolidate import ISLAND, LARGEST_ISLANDS, MERGE_TOLERANCE_M, clusters_of
from kryss.roads.streets import Metres, RoadLink, end_counts, streets_of


@dataclass(frozen=True)
class Flat(Metres):
    """A frame whose positions are metres already."""

    transformer: Any = None

    def _apply(self, pairs: Any, direction: str) -> np.ndarray:
        return np.asarray(pairs, dtype=float).reshape(-1, 2)


Point = tuple[float, float]


def road(start: tuple[str, Point], end: tuple[str, Point], *between: Point, **details: Any) -> RoadLink:
    name = f"{start[0]}-{end[0]}"
    return RoadLink(name, start[0], end[0], (start[1], *between, end[1]), road=name, **details)


def clustered(links: Iterable[RoadLink]) -> list[tuple[str, ...]]:
    links = list(links)
    place = {node: np.array(at) for link in links for node, at in ((link.start, link.line[0]), (link.end, link.line[-1]))}
    return clusters_of(streets_of(links, Flat()), place)


def drawn(at: dict[str, Point], pairs: Iterable[tuple[str, str]], **details: Any) -> list[RoadLink]:
    return [road((a, at[a]), (b, at[b]), **details) for a, b in pairs]


@st.composite
def networks(draw: st.DrawFn) -> list[RoadLink]:
    """Up to 12 nodes on a square of 90 m, joined at random with a bend on the way, on two layers; perhaps a roundabout.

    Coordinates are whole metres: sums, differences and lengths are the same wherever the network lies.
    """
    spot = st.tuples(st.integers(0, 90), st.integers(0, 90))
    spots = draw(st.lists(spot, min_size=4, max_size=12, unique=True))
    at = {str(number): (float(x), float(y)) for number, (x, y) in enumerate(spots, start=1)}
    pair = st.tuples(st.sampled_from(sorted(at)), st.sampled_from(sorted(at))).filter(lambda pair: pair[0] != pair[1])
    pairs = draw(st.lists(pair, min_size=4, max_size=22))
    links = []
    for number, (a, b) in enumerate(pairs):
        bend = tuple(float(round(middle + draw(st.integers(-4, 4)))) for middle in np.mean([at[a], at[b]], axis=0))
        layer = draw(st.sampled_from([0, 0, 0, 1]))
        links.append(replace(road((a, at[a]), (b, at[b]), bend, layer=layer), id=f"{number}"))
    if draw(st.booleans()):
        ring = draw(st.lists(st.sampled_from(sorted(at)), min_size=3, max_size=4, unique=True))
        links += [replace(link, ring=True) for link in drawn(at, zip(ring, ring[1:] + ring[:1], strict=True))]
    return links


def split(link: RoadLink, place: int, node: str) -> list[RoadLink]:
    """The link cut at one of its inner vertices, in two links of new names."""
    first = replace(link, id=f"{link.id}a", end=node, line=link.line[: place + 1])
    return [first, replace(link, id=f"{link.id}b", start=node, line=link.line[place:])]


@settings(max_examples=150, deadline=None)
@given(networks(), st.randoms(use_true_random=False))
def test_order_direction_and_cutting_of_links_change_nothing(links: list[RoadLink], order: random.Random) -> None:
    cut: list[RoadLink] = []
    for number, link in enumerate(links):
        if order.random() < 0.3:
            link = replace(link, start=link.end, end=link.start, line=link.line[::-1])
        cut += split(link, 1, f"{1000 + number}") if len(link.line) > 2 and order.random() < 0.5 else [link]
    assert clustered(order.sample(cut, len(cut))) == clustered(links)


@settings(max_examples=100, deadline=None)
@given(networks(), st.tuples(st.integers(-5000, 5000), st.integers(-5000, 5000)))
def test_where_the_network_lies_changes_nothing(links: list[RoadLink], shift: tuple[int, int]) -> None:
    moved = [replace(link, line=tuple((x + shift[0], y + shift[1]) for x, y in link.line)) for link in links]
    assert clustered(moved) == clustered(links)


@settings(max_examples=150, deadline=None)
@given(networks())
def test_each_candidate_is_in_one_junction_that_is_small_connected_and_on_one_layer(links: list[RoadLink]) -> None:
    found = clustered(links)
    assert sorted(node for members in found for node in members) == sorted(n for n, k in end_counts(links).items() if k >= 3)
    at = {node: place for link in links for node, place in ((link.start, link.line[0]), (link.end, link.line[-1]))}
    layers: dict[str, set[int]] = defaultdict(set)
    for link in links:
        layers[link.start].add(link.layer)
        layers[link.end].add(link.layer)
    on_ring = {node for link in links if link.ring for node in (link.start, link.end)}
    short = nx.Graph((s.start, s.end) for s in streets_of(links, Flat()) if s.length_m <= ISLAND * MERGE_TOLERANCE_M or s.ring)
    for members in found:
        assert len(members) == 1 or set(members) <= nx.node_connected_component(short, members[0])
        if on_ring.isdisjoint(members):
            assert all(layers[a] & layers[b] for a in members for b in members)
            assert all(math.dist(at[a], at[b]) <= LARGEST_ISLANDS * MERGE_TOLERANCE_M for a in members for b in members)


def test_row_of_side_roads_is_a_row_of_junctions() -> None:
    at = {str(i): (18.0 * i, 0.0) for i in range(1, 11)}
    sides = {f"{i}s": (18.0 * i, 200.0) for i in range(1, 11)}
    main = drawn({**at, "0": (-300, 0), "11": (500, 0)}, [(str(i), str(i + 1)) for i in range(11)])
    found = clustered([*main, *(road((str(i), at[str(i)]), (f"{i}s", sides[f"{i}s"])) for i in range(1, 11))])
    assert found == [("1", "2"), ("3", "4"), ("5", "6"), ("7", "8"), ("9", "10")]


def test_divided_roads_that_cross_are_one_junction() -> None:
    """Carriageways 18 and 24 m apart: the pairs alone would leave two junctions."""
    corners = {"1": (0.0, 0.0), "2": (18.0, 0.0), "3": (18.0, 21.0), "4": (0.0, 21.0)}
    out = {
        "5": (-300.0, 0.0), "6": (0.0, -300.0), "7": (300.0, 0.0), "8": (18.0, -300.0),
        "9": (300.0, 21.0), "10": (18.0, 300.0), "11": (-300.0, 21.0), "12": (0.0, 300.0),
    }  # fmt: skip
    inner = [("1", "2"), ("2", "3"), ("3", "4"), ("4", "1")]
    outer = [("1", "5"), ("1", "6"), ("2", "7"), ("2", "8"), ("3", "9"), ("3", "10"), ("4", "11"), ("4", "12")]
    assert clustered(drawn({**corners, **out}, inner + outer)) == [("1", "2", "3", "4")]


def test_road_that_divides_before_a_roundabout_belongs_to_it() -> None:
    ring = {"1": (0.0, 15.0), "2": (15.0, 0.0), "3": (-15.0, 0.0)}
    at = {**ring, "4": (0.0, 300.0), "5": (34.0, -4.0), "6": (300.0, -4.0), "7": (-300.0, 0.0), "8": (10.0, -11.0)}
    circle = [replace(link, ring=True) for link in drawn(at, [("1", "3"), ("3", "8"), ("8", "2"), ("2", "1")])]
    arms = drawn(at, [("1", "4"), ("2", "5"), ("8", "5"), ("5", "6"), ("3", "7")])
    assert clustered([*circle, *arms]) == [("1", "2", "3", "5", "8")]


def test_city_block_is_no_island() -> None:
    at = {"1": (0.0, 0.0), "2": (45.0, 0.0), "3": (45.0, 45.0), "4": (0.0, 45.0)}
    out = {f"{i}o": (10 * x - 200, 10 * y - 200) for i, (x, y) in at.items()}
    block = [("1", "2"), ("2", "3"), ("3", "4"), ("4", "1"), *((i, f"{i}o") for i in at)]
    assert clustered(drawn({**at, **out}, block)) == [("1",), ("2",), ("3",), ("4",)]


def test_two_roundabouts_beside_each_other_are_two() -> None:
    at = {"1": (0.0, 0.0), "2": (20.0, 0.0), "3": (10.0, 14.0), "4": (36.0, 0.0), "5": (56.0, 0.0), "6": (46.0, 14.0)}
    rings = drawn(at, [("1", "2"), ("2", "3"), ("3", "1"), ("4", "5"), ("5", "6"), ("6", "4")], ring=True)
    out = {"7": (-300.0, 0.0), "8": (10.0, 300.0), "9": (300.0, 0.0), "10": (46.0, 300.0)}
    arms = drawn({**at, **out}, [("2", "4"), ("1", "7"), ("3", "8"), ("5", "9"), ("6", "10")])
    assert clustered([*rings, *arms]) == [("1", "2", "3"), ("4", "5", "6")]


def bridge(ramp_m: float, layer: int) -> list[RoadLink]:
    """A T on a bridge over another T, 8 m beside it, and a ramp of a length between the two."""
    at = {"1": (0.0, 0.0), "2": (-300.0, 0.0), "3": (300.0, 0.0), "4": (0.0, -300.0)}
    over = {"5": (8.0, 0.0), "6": (8.0, 300.0), "7": (-290.0, 40.0), "8": (300.0, 40.0)}
    below = drawn(at, [("1", "2"), ("1", "3"), ("1", "4")])
    above = drawn(over, [("5", "6"), ("5", "7"), ("5", "8")], layer=layer)
    return [*below, *above, road(("1", at["1"]), ("5", over["5"]), (4.0, -ramp_m / 2), layer=layer)]


def test_bridge_is_told_by_the_way_along_the_roads() -> None:
    assert clustered(bridge(ramp_m=200, layer=0)) == [("1",), ("5",)]
    assert clustered(bridge(ramp_m=10, layer=0)) == [("1", "5")]


def test_bridge_is_told_by_its_layer() -> None:
    flat = [link for link in bridge(ramp_m=10, layer=1) if (link.start, link.end) != ("1", "5")]
    step = road(("1", (0.0, 0.0)), ("9", (4.0, 0.0)))
    stairs = road(("9", (4.0, 0.0)), ("5", (8.0, 0.0)), layer=1)
    off = road(("9", (4.0, 0.0)), ("10", (4.0, -200.0)))
    assert all(not {"1", "5"} <= set(members) for members in clustered([*flat, step, stairs, off]))
