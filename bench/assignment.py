"""How many objects of a simulated town each rule gives to the junction that they were put up for.

    ./kryss bench assignment [--blocks 6] [--seeds 3] [--error-m 1.0] [--json FILE]

The town is `kryss.demo.streets`: blocks of 120 m, signals, signs at the junctions and along the blocks, some beyond the
junction they belong to. What an approach has belongs to its junction, by construction. Streets go on beyond the town, so that
each junction is one. Objects stand where an estimate with the error (one axis) puts them; the thesis's rule gets the
cameras that saw them, at their true places and headings. The limit is 50 km/h: a square reaches 97 m.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from shapely.geometry import box, mapping

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "include"))

from kryss.demo.streets import Grid, Streets, simulate  # noqa: E402
from kryss.demo.streets.grid import HEADINGS, START  # noqa: E402
from kryss.demo.streets.standing import intended_for  # noqa: E402
from kryss.model import Intersection, StreetObject  # noqa: E402
from kryss.roads.areas import ground_distance_m, with_areas  # noqa: E402
from kryss.roads.assignment import View, assign  # noqa: E402
from kryss.roads.network import RoadNetwork, intersections_of  # noqa: E402
from kryss.roads.streets import RoadLink  # noqa: E402

CLOSE_M = 30.0
RULES: tuple[Any, ...] = ("facing", "nearest", "thesis")
AREAS: tuple[Any, ...] = ("square", "arms")


def junctions_of(grid: Grid) -> dict[str, Intersection]:
    """The junctions of the town from its road network, by ``<blocks east>,<blocks north>``."""
    last = grid.blocks
    inside = {(i, j) for i in range(last + 1) for j in range(last + 1)}
    ends = inside | {(i + east, j + north) for i, j in inside for east, north in HEADINGS}
    lonlat = grid.frame.to_lonlat(np.array(sorted(ends), dtype=float) * grid.block_m).round(7).tolist()
    place = {at: (lon, lat) for at, (lon, lat) in zip(sorted(ends), lonlat, strict=True)}
    links = []
    for a in sorted(ends):
        for b in ((a[0] + 1, a[1]), (a[0], a[1] + 1)):
            if b in ends and (a in inside or b in inside):
                name = f"{a[0]},{a[1]}-{b[0]},{b[1]}"
                links.append(RoadLink(name, f"{a[0]},{a[1]}", f"{b[0]},{b[1]}", (place[a], place[b]), name))
    nodes = {f"{i},{j}": place[i, j] for i, j in ends}
    west, south = (min(column) for column in zip(*place.values(), strict=True))
    east, north = (max(column) for column in zip(*place.values(), strict=True))
    found = intersections_of(RoadNetwork("grid", tuple(links), nodes), mapping(box(west, south, east, north)))
    return {junction.members[0]: junction for junction in found}


def objects_of(streets: Streets, error_m: float) -> list[StreetObject]:
    rng = np.random.default_rng([streets.grid.seed, 99])
    truth = np.array([(one.x, one.y) for one in streets.truth])
    lonlat = streets.grid.frame.to_lonlat(truth + rng.normal(0.0, error_m, truth.shape)).tolist()
    return [
        StreetObject(
            id=f"{index:06d}",
            class_name=one.class_name,
            lon=lon,
            lat=lat,
            covariance=(error_m**2, 0.0, error_m**2),
            error_radius_m=2.45 * error_m,
            first_seen_at=START,
            last_seen_at=START,
            status="standing",
            standing_probability=1.0,
            ended_at=None,
            evidence=(),
            facing_deg=one.facing_deg,
        )
        for index, (one, (lon, lat)) in enumerate(zip(streets.truth, lonlat, strict=True))
    ]


def views_of(streets: Streets) -> dict[str, list[View]]:
    seen: dict[str, set[str]] = defaultdict(set)
    for detection, origin in zip(streets.detections, streets.origin_of.tolist(), strict=True):
        if origin >= 0:
            seen[f"{origin:06d}"].add(detection.image_id)
    pose = {
        image_id: View(*map(float, streets.grid.frame.to_lonlat([(x, y)])[0]), heading)
        for image_id, (x, y, _, heading) in streets.true_poses.items()
    }
    return {name: [pose[image_id] for image_id in sorted(ids)] for name, ids in sorted(seen.items())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--error-m", type=float, default=1.0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    right: Counter[tuple[str, str, str]] = Counter()
    none: Counter[tuple[str, str]] = Counter()
    differ: Counter[tuple[str, str, str]] = Counter()
    total: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for seed in range(options.seeds):
        grid = Grid(seed=seed, blocks=options.blocks)
        streets, known = simulate(grid), junctions_of(grid)
        objects, views = objects_of(streets, options.error_m), views_of(streets)
        # What no camera saw is in no layer.
        objects = [one for one in objects if one.id in views]
        meant = {f"{index:06d}": known[f"{i},{j}"] for index, (i, j) in enumerate(intended_for(grid))}
        far = {one.id: ground_distance_m(one.lon, one.lat, meant[one.id].lon, meant[one.id].lat) > CLOSE_M for one in objects}
        total.update("along the block" if far[one.id] else "at the junction" for one in objects)
        for area in AREAS:
            junctions = with_areas(list(known.values()), area)
            found = {}
            for rule in RULES:
                began = time.process_time()
                found[rule] = assign(objects, junctions, rule, views)
                seconds[rule] += time.process_time() - began
                for one in objects:
                    given = found[rule].get(one.id)
                    none[area, rule] += given is None
                    right[area, rule, "along the block" if far[one.id] else "at the junction"] += given == meant[one.id].id
            for a, b in (("facing", "nearest"), ("facing", "thesis"), ("nearest", "thesis")):
                differ[area, a, b] += sum(found[a].get(one.id) != found[b].get(one.id) for one in objects)
    count = total.total()
    told: dict[str, Any] = {"objects": count, **dict(sorted(total.items())), "areas": {}}
    print(f"{count} objects seen, {total['at the junction']} of them within {CLOSE_M:.0f} m of the junction they were put up for")
    for area in AREAS:
        rows = {}
        for rule in RULES:
            shares = {where: right[area, rule, where] / number for where, number in sorted(total.items())}
            shares["all"] = sum(right[area, rule, where] for where in total) / count
            rows[rule] = {**shares, "none": none[area, rule]}
            said = ", ".join(f"{where} {100 * share:.1f} %" for where, share in shares.items())
            print(f"{area:7} {rule:8} right: {said}; to none: {none[area, rule]}")
        different = {f"{a} and {b}": number for (at, a, b), number in sorted(differ.items()) if at == area}
        print(f"{area:7} differ: " + ", ".join(f"{pair} {number}" for pair, number in different.items()))
        told["areas"][area] = {"right": rows, "differ": different}
    each_us = {rule: 1e6 * seconds[rule] / (len(AREAS) * count) for rule in RULES}
    print("processor time an object: " + ", ".join(f"{rule} {value:.0f} us" for rule, value in each_us.items()))
    if options.json:
        options.json.write_text(json.dumps({**told, "us": each_us}, indent=1) + "\n")


if __name__ == "__main__":
    main()
