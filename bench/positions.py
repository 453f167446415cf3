"""How well objects are placed: every method on every set of data, in one table.

    ./kryss bench positions [--quick] [--only DATA ...] [--leave-one-out] [--depths [NETWORK ...]] [--json FILE] [--report FILE]

Precision, recall and F1 are one to one whatever the classes (score_positions.py); errors are one to one within 15 m, class
by class. `confirmed` are objects that three or more photos show as their class and whose stated radius is at most 10 m;
`worst` is the largest error of one of them. `in 68 %` and `in 95 %` say how often the truth lies inside the stated region.
Data beside the checkout (../shared/data) are left out where they are absent.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import logging
import math
import multiprocessing
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "include"))

from kryss.config import MunicipalityConfig  # noqa: E402
from kryss.demo.score import Estimate, Score, Truth, estimates_of, majority, origins_of, pooled, score, truth_of  # noqa: E402
from kryss.demo.streets import DepthNoise, Grid, simulate, stated_poses  # noqa: E402
from kryss.demo.streets.bulk import frame_of, sightings_of, simulate_sightings  # noqa: E402
from kryss.demo.streets.grid import CLASSES  # noqa: E402
from kryss.imagery.entity import parse_image  # noqa: E402
from kryss.model import Detection, Image, Sighting  # noqa: E402
from kryss.positioning import thesis2020 as thesis  # noqa: E402
from kryss.positioning.camera import camera_directions, is_spherical  # noqa: E402
from kryss.positioning.frame import frame_for  # noqa: E402
from kryss.positioning.fuse import fuse  # noqa: E402
from kryss.positioning.place import FARTHEST_M, place  # noqa: E402
from kryss.positioning.poses import TrustedPose, trusted_poses  # noqa: E402
from kryss.positioning.ranges import ALL_SOURCES  # noqa: E402
from kryss.positioning.sizes import object_size  # noqa: E402

SHARED = ROOT.parent / "shared" / "data"
TOWN = ROOT / "include" / "kryss" / "demo" / "areas" / "town"
SEEDS = (0, 1, 2)
DUPLICATE_M = 4.0
CLUSTER_M = 6.0
AVENUE_SIGHTINGS = 8_000
SCALES = (10_000, 100_000, 1_000_000)
DEPTHS = {
    "no depth": None,
    "a good network (8 % an object, 8 % a box)": DepthNoise(own_sigma=0.08, object_sigma=0.08),
    "15 % a box": DepthNoise(),
    "bad: 35 % an object, 12 % a box, slope 0.75": DepthNoise(own_sigma=0.12, object_sigma=0.35, slope=0.75),
    "bad: blended with the background": DepthNoise(own_sigma=0.12, object_sigma=0.1, slope=0.9, blended=0.35),
}
"""Networks that there could be; the scale of each drive is off by 30 % with all of them."""
SIZELESS = {
    "information--parking--g1": "information--general-directions--g1",
    "regulatory--no-parking--g1": "information--highway--g1",
    "information--pedestrians-crossing--g1": "information--street-name--g1",
}
"""Simulated classes, and those without a usual size as which they pass to see what depth does for these."""
LEAST_VISIBLE = 0.5
"""Of an object in a photo of the town, for its box to count as one that a detector would draw."""


class NotApplicableError(Exception):
    """The method cannot be used on these data; the message says why."""


@dataclass(frozen=True)
class Data:
    """One set of data: boxes with poses, or a table of detections, and the truth."""

    name: str
    truth: Sequence[Truth]
    images: Mapping[str, Image]
    detections: Sequence[Detection]
    poses: Mapping[str, TrustedPose]
    table: Path | None = None
    """Detections for `./kryss locate`, instead of boxes."""
    placed: Sequence[Sighting] | None = None
    """Sightings, instead of boxes."""
    depths: Sequence[Detection] | None = None
    """The detections with a monocular depth, for methods that cannot do without."""
    origins: Sequence[Truth] | None = None
    origin_of: Mapping[tuple[str, int], int] | None = None

    @cached_property
    def sightings(self) -> list[Sighting]:
        """Each detection alone on the ground."""
        if self.table is not None:
            from kryss.positioning.locate import Defaults, read_detections
            from kryss.positioning.locate import sightings_of as sightings_of_table

            return sightings_of_table(read_detections(self.table), Defaults())[0]
        return list(self.placed) if self.placed is not None else place(self.images, self.detections, self.poses)[0]

    def origin(self, sightings: Iterable[Sighting | Detection]) -> int | None:
        """The true object that most of these show; None where it is not known."""
        if self.origin_of is None:
            return None
        return majority(self.origin_of[one.image_id, one.ordinal] for one in sightings)


# Data


def simulated(noise: str, seed: int) -> Data:
    streets = simulate(Grid(noise=noise, seed=seed))  # type: ignore[arg-type]
    with_depth = simulate(replace(streets.grid, depth=DepthNoise()))
    return Data(
        noise,
        truth_of(streets),
        {image.id: image for image in streets.images},
        streets.detections,
        stated_poses(streets),
        depths=with_depth.detections,
        origins=origins_of(streets),
        origin_of=streets.origin_by_key(),
    )


def avenues(noise: str, seed: int) -> Data:
    """Streets of :mod:`kryss.demo.streets.bulk`: an object in 17 m, 1 to 4 of four drives, six looks a drive."""
    columns = simulate_sightings(AVENUE_SIGHTINGS, seed, noise)
    placed = [one for one in sightings_of(columns, noise) if one.range_m <= FARTHEST_M]
    shown, first, index = np.unique(columns["object"], return_index=True, return_inverse=True)
    lonlat = frame_of().to_lonlat(np.column_stack([columns["true_x"][first], columns["true_y"][first]]))
    none = int(np.sum(shown < 0))
    truth = [Truth(*lonlat[k].tolist(), CLASSES[columns["kind"][first[k]]]) for k in range(none, len(shown))]
    near = columns["range_m"] <= FARTHEST_M
    origin_of = {(one.image_id, one.ordinal): int(k) - none for one, k in zip(placed, index[near], strict=True)}
    return Data(f"avenue-{noise}", truth, {}, [], {}, placed=placed, origins=truth, origin_of=origin_of)


def london() -> Data:
    folder = SHARED / "krylov-london-south"
    lines = (folder / "truth.csv").read_text(encoding="utf-8").split()[1:]
    truth = [Truth(float(lon), float(lat)) for lat, lon in (line.split(",") for line in lines)]
    return Data("london", truth, {}, [], {}, table=folder / "detections.csv")


def read_images(folder: Path) -> dict[str, Image]:
    """The photos of a recorded area by id."""
    lines = (folder / "images.jsonl").read_text(encoding="utf-8").splitlines()
    return {image.id: image for image in (parse_image(json.loads(line)) for line in lines)}


def town() -> Data:
    images = read_images(TOWN)
    features = json.loads((TOWN / "truth.geojson").read_text(encoding="utf-8"))["features"]
    boxes = json.loads((TOWN / "truth_boxes.json").read_text(encoding="utf-8"))["boxes"]
    boxes = [one for one in boxes if one["visible"] >= LEAST_VISIBLE]
    detections = numbered((one["image_id"], one["class"], one["box_ltrb"]) for one in boxes)
    index = {feature["properties"]["id"]: k for k, feature in enumerate(features)}
    origin_of = {(one.image_id, one.ordinal): index[box["object_id"]] for one, box in zip(detections, boxes, strict=True)}
    everything = [Truth(*one["geometry"]["coordinates"][:2], one["properties"]["class"]) for one in features]
    shown = sorted(set(origin_of.values()))
    poses, _ = trusted_poses(images.values())
    depths = [
        replace(one, depth=true_depth(images[one.image_id], one, box["range_m"]))
        for one, box in zip(detections, boxes, strict=True)
    ]
    return Data(
        *("town", [everything[k] for k in shown], images, detections, poses),
        depths=depths,
        origins=everything,
        origin_of=origin_of,
    )


def true_depth(image: Image, box: Detection, range_m: float) -> float:
    """The town's own, which no network comes near: along the optical axis, of a panorama along the ray."""
    left, top, right, bottom = box.box
    ray = camera_directions(image, [[(left + right) / 2, (top + bottom) / 2]])[0]
    return range_m if is_spherical(image) else range_m * float(ray[2] / np.linalg.norm(ray))


def town_detected() -> Data:
    """The town as the shipped detector sees it: some 90 seconds on a small machine."""
    # Torch takes a quarter of a minute to load, which no other set needs.
    from kryss.vision.detect import PhotoFailure, load_detector

    exact = town()
    detector = load_detector(MunicipalityConfig.model_fields["model"].default)
    looks = [detector.look(name, (TOWN / "photos" / f"{name}.jpg").read_bytes()) for name in sorted(exact.images)]
    detections = [one for look in looks if not isinstance(look, PhotoFailure) for one in look]
    return replace(exact, name="town-detector", detections=detections, depths=None, origins=None, origin_of=None)


def damasen() -> Data:
    """Two of the three signs of one pole; the third is a route marker, which has no usual size."""
    folder = SHARED / "area-damasen"
    names = {"speed limit 50": "regulatory--maximum-speed-limit-50--g1", "priority road": "regulatory--priority-road--g1"}
    images = read_images(folder)
    boxes = json.loads((folder / "boxes_by_eye.json").read_text(encoding="utf-8"))
    detections = numbered((one["image_id"], names[one["label"]], one["box_ltrb"]) for one in boxes if one["label"] in names)
    pole = json.loads((folder / "truth.geojson").read_text(encoding="utf-8"))["features"][0]["geometry"]["coordinates"]
    poses, _ = trusted_poses(images.values())
    return Data("damasen", [Truth(*pole[:2], name) for name in names.values()], images, detections, poses)


def numbered(rows: Iterable[tuple[str, str, Sequence[float]]]) -> list[Detection]:
    """Boxes (image, class, ltrb) as detections with an ordinal within their image."""
    counts: dict[str, int] = defaultdict(int)
    found = []
    for image_id, class_name, (left, top, right, bottom) in rows:
        found.append(Detection(image_id, "eye@1", counts[image_id], class_name, 1.0, (left, top, right, bottom)))
        counts[image_id] += 1
    return found


DATA: dict[str, tuple[str, Callable[[Sequence[int]], Iterator[Data]], Path]] = {
    "london": ("London south, 19 lights", lambda seeds: iter([london()]), SHARED / "krylov-london-south"),
    "sfm": ("simulated town, SfM poses (0.5 m, 0.5°)", lambda seeds: (simulated("sfm", seed) for seed in seeds), ROOT),
    "gps": ("simulated town, GPS and compass (3 m, 6°)", lambda seeds: (simulated("gps", seed) for seed in seeds), ROOT),
    "avenue-sfm": ("simulated avenues, SfM poses", lambda seeds: (avenues("sfm", seed) for seed in seeds), ROOT),
    "avenue-gps": ("simulated avenues, GPS and compass", lambda seeds: (avenues("gps", seed) for seed in seeds), ROOT),
    "town": ("the town, true boxes", lambda seeds: iter([town()]), TOWN),
    "town-detector": ("the town, our detector's boxes", lambda seeds: iter([town_detected()]), TOWN),
    "damasen": ("Damåsen, boxes by eye", lambda seeds: iter([damasen()]), SHARED / "area-damasen"),
}


# Methods


def thesis2020(data: Data) -> list[Estimate]:
    """The thesis's own: each box alone, by depth and one size for all signs; nothing is merged."""
    if data.depths is None:
        raise NotApplicableError("no boxes with depth")
    placed = thesis.place(data.images, data.depths, data.poses)
    return [Estimate(one.lon, one.lat, one.class_name, None, 1, data.origin([one])) for one in placed]


def single_view(data: Data) -> list[Estimate]:
    """Each sighting alone; of those of a class within DUPLICATE_M, the most certain."""
    kept: dict[str, list[tuple[float, float, Sighting, set[str]]]] = defaultdict(list)
    rows = sorted(data.sightings, key=lambda one: (one.covariance[0] + one.covariance[2], one.image_id, one.ordinal))
    if not rows:
        return []
    points = frame_for([one.lon for one in rows], [one.lat for one in rows]).to_xy(
        [one.lon for one in rows], [one.lat for one in rows]
    )
    for one, (x, y) in zip(rows, points.tolist(), strict=True):
        twin = next((k for k in kept[one.class_name] if math.hypot(k[0] - x, k[1] - y) <= DUPLICATE_M), None)
        if twin is None:
            kept[one.class_name].append((x, y, one, {one.image_id}))
        else:
            twin[3].add(one.image_id)
    return [
        Estimate(one.lon, one.lat, one.class_name, one.covariance, len(photos), data.origin([one]))
        for group in kept.values()
        for _, _, one, photos in group
    ]


def projection_and_clustering(data: Data) -> list[Estimate]:
    """The mean point of each single-linkage cluster (CLUSTER_M) of the sightings of one class."""
    by_class: dict[str, list[Sighting]] = defaultdict(list)
    for one in data.sightings:
        by_class[one.class_name].append(one)
    estimates = []
    for class_name, rows in sorted(by_class.items()):
        frame = frame_for([one.lon for one in rows], [one.lat for one in rows])
        points = frame.to_xy([one.lon for one in rows], [one.lat for one in rows])
        pairs = cKDTree(points).query_pairs(CLUSTER_M, output_type="ndarray")
        graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(rows), len(rows)))
        count, label = connected_components(graph, directed=False)
        for cluster in range(count):
            members = [rows[i] for i in np.flatnonzero(label == cluster)]
            lon, lat = frame.to_lonlat(points[label == cluster].mean(axis=0))[0]
            photos = len({one.image_id for one in members})
            estimates.append(Estimate(float(lon), float(lat), class_name, None, photos, data.origin(members)))
    return estimates


def kryss(data: Data) -> list[Estimate]:
    if data.table is None:
        return estimates_of(fuse(data.sightings), data.origin_of)
    from kryss.positioning.locate import locate, read_detections

    return [
        Estimate(
            *one["geometry"]["coordinates"], None, tuple(one["properties"]["covariance"].values()), one["properties"]["views"]
        )
        for one in locate(read_detections(data.table))["features"]
    ]


METHODS: dict[str, Callable[[Data], list[Estimate]]] = {
    "thesis2020": thesis2020,
    "single view": single_view,
    "projection + clustering": projection_and_clustering,
    "kryss": kryss,
}


# Measuring


@dataclass(frozen=True)
class Measured:
    """A score with what it cost."""

    score: Score
    seconds: float
    peak_mb: float


def measured(method: Callable[[Data], list[Estimate]], data: Data) -> Measured:
    """The method in a process of its own, so that its memory is its own."""
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=_measure, args=(method, data, sending))
    child.start()
    sending.close()
    try:
        answer = receiving.recv()
    except EOFError:
        raise SystemExit(f"{method.__name__} on {data.name} died: see above") from None
    finally:
        child.join()
    if isinstance(answer, NotApplicableError):
        raise answer
    estimates, seconds, peak_mb = answer
    return Measured(score(estimates, data.truth, data.origins), seconds, peak_mb)


def _measure(method: Callable[[Data], list[Estimate]], data: Data, answer: Any) -> None:
    before_mb = memory_from_here_mb()
    began = time.perf_counter()
    try:
        estimates = method(data)
    except NotApplicableError as error:
        answer.send(error)
        return
    seconds = time.perf_counter() - began
    answer.send((estimates, seconds, peak_memory_mb() - before_mb))


def memory_from_here_mb() -> float:
    """What this process holds now; from here on its peak is counted anew, where the system (Linux) can do that."""
    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return float(psutil.Process().memory_info().rss) / 2**20


def peak_memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


Row = dict[str, Any]


def row_of(parts: Sequence[Measured]) -> Row:
    """The figures of one line of the table, over all seeds together."""
    total = pooled([part.score for part in parts])
    inside_68, inside_95 = total.coverage
    return {
        "objects": total.found[0].truth,
        "estimates": total.found[0].estimates,
        "found": [[one.precision, one.recall, one.f1] for one in total.found],
        "found_confirmed": [[one.precision, one.recall, one.f1] for one in total.confirmed],
        "mean_m": total.mean_m,
        "median_m": total.percentile_m(50),
        "p95_m": total.percentile_m(95),
        "median_confirmed_m": total.percentile_m(50, confirmed=True),
        "p95_confirmed_m": total.percentile_m(95, confirmed=True),
        "worst_m": total.worst_confirmed_m,
        "inside_68": inside_68,
        "inside_95": inside_95,
        "seconds": sum(part.seconds for part in parts),
        "peak_mb": max(part.peak_mb for part in parts),
    }


def compare(names: Sequence[str], seeds: Sequence[int]) -> list[Row]:
    """Every method on every set of data."""
    rows = []
    for name in names:
        title, sets, needs = DATA[name]
        if not needs.exists():
            say(f"{title}: left out, {needs.relative_to(ROOT.parent)} is not there")
            continue
        sets_of_data = list(sets(seeds))
        for method, function in METHODS.items():
            say(f"{title}: {method}")
            try:
                figures = row_of([measured(function, data) for data in sets_of_data])
            except NotApplicableError as error:
                figures = {"not_applicable": str(error)}
            rows.append({"data": title, "method": method, **figures})
    return rows


def leave_one_out(names: Sequence[str], seeds: Sequence[int]) -> list[Row]:
    """What each source of range contributes: all, without each, each alone."""
    choices = {"all": ALL_SOURCES}
    choices |= {f"without {one}": ALL_SOURCES - {one} for one in sorted(ALL_SOURCES)}
    choices |= {f"only {one}": frozenset([one]) for one in sorted(ALL_SOURCES)}
    choices |= {"none: bearings alone": frozenset()}
    rows = []
    for name in names:
        title, sets, needs = DATA[name]
        if not needs.exists() or name in ("london", "town-detector", "avenue-sfm", "avenue-gps"):
            continue
        sets_of_data = [replace(data, detections=data.depths or data.detections) for data in sets(seeds)]
        for choice, sources in choices.items():
            say(f"{title}: {choice}")

            def method(data: Data, sources: frozenset[str] = sources) -> list[Estimate]:
                placed = place(data.images, data.detections, data.poses, sources=sources)[0]
                return estimates_of(fuse(placed), data.origin_of)

            rows.append({"data": title, "method": choice, **row_of([measured(method, data) for data in sets_of_data])})
    return rows


def depth_choices(names: Sequence[str], seeds: Sequence[int], networks: Sequence[str]) -> list[Row]:
    """What depths do to objects of known size and to the others: simulated networks in the streets, real ones in the town."""
    rows = []
    for name in names:
        if name in ("sfm", "gps"):
            sets = {kind: [with_sizeless(simulated_depth(name, seed, noise)) for seed in seeds] for kind, noise in DEPTHS.items()}
        elif name == "town":
            exact = town()
            sets = {"no depth": [exact], "true depth": [replace(exact, detections=exact.depths or [])]}
            sets |= {network: [replace(exact, detections=network_depths(exact, network))] for network in networks}
        else:
            continue
        for kind, sets_of_data in sets.items():
            say(f"{DATA[name][0]}: {kind}")
            found = [kryss(data) for data in sets_of_data]
            for title, sized in (("usual size", True), ("no usual size", False)):
                scores = [score_of_classes(*pair, sized) for pair in zip(sets_of_data, found, strict=True)]
                if sum(one.found[0].truth for one in scores):
                    figures = row_of([Measured(one, math.nan, math.nan) for one in scores])
                    rows.append({"data": f"{DATA[name][0]}, {title}", "method": kind, **figures})
    return rows


def simulated_depth(noise: str, seed: int, depth: DepthNoise | None) -> Data:
    streets = simulate(Grid(noise=noise, seed=seed, depth=depth))  # type: ignore[arg-type]
    images = {image.id: image for image in streets.images}
    return Data(
        *(noise, truth_of(streets), images, streets.detections, stated_poses(streets)),
        origins=origins_of(streets),
        origin_of=streets.origin_by_key(),
    )


def with_sizeless(data: Data) -> Data:
    """The same with classes that have no usual size in place of SIZELESS."""

    def renamed(rows: Sequence[Any]) -> list[Any]:
        return [replace(one, class_name=SIZELESS.get(one.class_name, one.class_name)) for one in rows]

    return replace(
        data, truth=renamed(data.truth), detections=renamed(data.detections), origins=renamed(data.origins or data.truth)
    )


def network_depths(data: Data, network: str) -> list[Detection]:
    """The detections of the town with what a network says of its photos."""
    from kryss.vision.depth import PhotoBoxes, load_depth

    model = load_depth(network)
    boxes: dict[str, list[Detection]] = defaultdict(list)
    for one in data.detections:
        boxes[one.image_id].append(one)
    asked = [
        PhotoBoxes(
            image_id,
            (TOWN / "photos" / f"{image_id}.jpg").read_bytes,
            [one.box for one in boxes[image_id]],
            (data.images[image_id].width, data.images[image_id].height),
            (data.images[image_id].camera_parameters or (None,))[0],
        )
        for image_id in sorted(boxes)
    ]
    return [
        replace(one, depth=depth.metres)
        for image_id, depths in model.measure(asked)
        for one, depth in zip(boxes[image_id], depths, strict=True)
    ]


def score_of_classes(data: Data, found: Sequence[Estimate], sized: bool) -> Score:
    """The score of the objects whose class has a usual size, or of the others."""

    def wanted(one: Estimate | Truth) -> bool:
        return (one.class_name is not None and object_size(one.class_name) is not None) == sized

    return score([one for one in found if wanted(one)], [one for one in data.truth if wanted(one)], data.origins)


def scaling() -> list[Row]:
    """Processor seconds and memory of fusion by the number of sightings, each in a fresh process."""
    rows: list[Row] = []
    for n in SCALES:
        say(f"scaling: {n:,} sightings")
        done = subprocess.run([sys.executable, __file__, "--fuse", str(n)], stdout=subprocess.PIPE, text=True, check=True)
        row = json.loads(done.stdout)
        first = rows[0] if rows else row
        rows.append({**row, "ratio": row["seconds"] / n / (first["seconds"] / first["sightings"])})
    return rows


def fuse_many(n: int) -> Row:
    """What it costs to fuse n simulated sightings, in seconds of processor; making them is not counted."""
    sightings = sightings_of(simulate_sightings(n))
    before_mb = memory_from_here_mb()
    began = time.process_time()
    objects = len(fuse(sightings))
    seconds = time.process_time() - began
    peak_mb = peak_memory_mb()
    return {"sightings": n, "objects": objects, "seconds": seconds, "peak_mb": peak_mb, "fuse_mb": peak_mb - before_mb}


# Telling


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def figure(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def without_nan(value: Any) -> Any:
    """The same with null for what is not known: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: without_nan(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def comparison_table(rows: Sequence[Row], first: str) -> str:
    """Markdown of the rows of :func:`compare` and :func:`leave_one_out`."""
    head = [
        *("data", first, "objects", "estimates", "P / R / F1 at 2 m", "at 4 m", "at 6 m", "F1 at 4 m, confirmed"),
        *("mean m", "median m", "p95 m", "median / p95 m, confirmed", "worst m", "in 68 %", "in 95 %", "s", "MB"),
    ]
    lines = []
    for row in rows:
        if "not_applicable" in row:
            lines.append([row["data"], row["method"], f"n/a: {row['not_applicable']}", *[""] * (len(head) - 3)])
            continue
        lines.append(
            [
                *(row["data"], row["method"], str(row["objects"]), str(row["estimates"])),
                *(" / ".join(figure(value, 2) for value in found) for found in row["found"]),
                figure(row["found_confirmed"][1][2], 2),
                *(figure(row[key], 2) for key in ("mean_m", "median_m", "p95_m")),
                " / ".join(figure(row[key], 2) for key in ("median_confirmed_m", "p95_confirmed_m")),
                figure(row["worst_m"], 1),
                *(figure(100 * row[key], 0) for key in ("inside_68", "inside_95")),
                *(figure(row["seconds"], 1), figure(row["peak_mb"], 0)),
            ]
        )
    return markdown(head, lines)


def scaling_table(rows: Sequence[Row]) -> str:
    head = [
        "sightings",
        "objects",
        "processor s",
        "µs a sighting",
        "of 10 thousand's",
        "peak MB",
        "of it fusion",
        "kB a sighting",
    ]
    return markdown(
        head,
        [
            [
                *(f"{row['sightings']:,}", f"{row['objects']:,}", figure(row["seconds"], 1)),
                *(figure(1e6 * row["seconds"] / row["sightings"], 0), f"{row['ratio']:.2f} x"),
                *(figure(row["peak_mb"], 0), figure(row["fuse_mb"], 0), figure(1024 * row["fuse_mb"] / row["sightings"], 2)),
            ]
            for row in rows
        ],
    )


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    table = [head, ["---", "---", *["--:"] * (len(head) - 2)], *lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in table) + "\n"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="kryss bench positions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one seed, no detector, no scaling")
    parser.add_argument(
        "--only", nargs="+", choices=[*DATA, "scaling"], metavar="DATA", help=f"some of: {', '.join([*DATA, 'scaling'])}"
    )
    parser.add_argument("--leave-one-out", action="store_true", help="also what each source of range contributes")
    parser.add_argument(
        "--depths",
        nargs="*",
        metavar="NETWORK",
        help="only: what depths do, simulated in the streets, of these networks of the registry in the town",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the tables as Markdown")
    parser.add_argument("--fuse", type=int, metavar="N", help="only fuse N simulated sightings and print what it cost")
    return parser.parse_args()


def main() -> int:
    options = parsed()
    logging.basicConfig(level=logging.WARNING)
    if options.fuse is not None:
        print(json.dumps(fuse_many(options.fuse)))
        return 0
    names = options.only or [name for name in DATA if not (options.quick and name == "town-detector")]
    names = [name for name in DATA if name in names]
    seeds = SEEDS[:1] if options.quick else SEEDS
    results = {"methods": compare(names, seeds) if options.depths is None else []}
    if options.depths is not None:
        results["depths"] = depth_choices(names, seeds, options.depths)
    if options.leave_one_out:
        results["sources"] = leave_one_out(names, seeds)
    if "scaling" in options.only if options.only else not options.quick and options.depths is None:
        results["scaling"] = scaling()
    tables = []
    if results["methods"]:
        tables.append(comparison_table(results["methods"], "method"))
    if results.get("sources"):
        tables.append(comparison_table(results["sources"], "sources of range"))
    if results.get("depths"):
        tables.append(comparison_table(results["depths"], "depth"))
    if results.get("scaling"):
        tables.append(scaling_table(results["scaling"]))
    text = "\n".join(tables)
    print(text)
    if options.report:
        options.report.write_text(text, encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps(without_nan(results), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
