"""Sightings by the million, made without boxes or cameras, to measure how fusion scales.

Streets of :data:`STREET_M` run east and lie in a square raster; along each, objects stand on both sides at a constant
density, and each is passed by 1 to 4 of the four sequences of its street. The density, the number of sightings an object
and the noise do not depend on how many sightings are asked for: only the area does. The noise is that of
:class:`PoseNoise`: half the variance of a pose belongs to the sequence. Ranges err by the size of the object, which all its
sightings share, and by the edges of the box.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kryss.demo.streets.grid import CLASSES, EDGE_SIGMA_PX, FALSE_BOX, MODEL_KEY, NOISES, START, Array, Indices, PoseNoise
from kryss.model import Sighting
from kryss.positioning.frame import Frame
from kryss.positioning.place import ground_covariance
from kryss.positioning.sizes import object_size

STREET_M = 1000.0
APART_M = 80.0
OBJECTS_A_STREET = 60
"""One in 17 m."""
SEQUENCES = 4
PHOTO_M = 7.0
PHOTOS = int(STREET_M / PHOTO_M) + 1
"""Of one sequence."""
LOOKS = 6
"""Photos before an object that can show it, from NEAREST_M on."""
NEAREST_M = 6.0
MISSED, FALSE = 0.15, 0.05
"""Shares of looks that the detector does not report, and that it takes for something else, somewhere else."""
FOCAL_PX = 1740.0
ORIGIN = (10.4, 59.9)

Columns = dict[str, NDArray]
"""Arrays of one length: ``object`` (true object, or FALSE_BOX), ``kind`` (index into CLASSES), ``sequence``, ``photo``
(unique), ``seconds`` since START, ``score``; ``camera_x``, ``camera_y``, ``range_m``, ``range_sigma_m``,
``range_shared_sigma_m`` in metres of :func:`frame_of`; ``bearing_deg`` (from grid north), ``bearing_sigma_deg``,
``camera_sigma_m``; ``true_x``, ``true_y``, NaN where there is no object."""


def simulate_sightings(n: int, seed: int = 0, noise: PoseNoise | str = "sfm") -> Columns:
    """n sightings, shuffled, in the frame :func:`frame_of`."""
    noise = NOISES[noise] if isinstance(noise, str) else noise
    rng = np.random.default_rng([seed, n])
    an_object = (1 + SEQUENCES) / 2 * LOOKS * (1 - MISSED)
    streets = int(np.ceil(1.05 * n / (an_object * OBJECTS_A_STREET))) + 2
    objects = _objects(streets, rng)
    looks = _looks(objects, rng)
    false = rng.random(len(looks["object"])) < FALSE
    for name, column in objects.items():
        looks[name] = column[looks["object"]]
    rows = _measured(looks, false, streets, noise, rng)
    # Whole streets are left out, not a share of every street: the density stays.
    taken = rng.permutation(n)
    return {name: column[taken] for name, column in rows.items()}


def frame_of() -> Frame:
    """The frame of all simulated sightings."""
    return Frame(*ORIGIN)


def _objects(streets: int, rng: Generator) -> Columns:
    """``along`` and ``beside`` metres of a street, ``street``, ``kind`` and ``size`` (log of how much too large)."""
    n = streets * OBJECTS_A_STREET
    kind = rng.integers(len(CLASSES), size=n)
    spread = np.array([_size(name)[1] for name in CLASSES])
    return {
        "street": np.repeat(np.arange(streets), OBJECTS_A_STREET),
        "along": rng.uniform(LOOKS * PHOTO_M + NEAREST_M, STREET_M, n),
        "beside": rng.choice([-1.0, 1.0, 1.0], n) * rng.uniform(4.0, 7.0, n),
        "kind": kind,
        "size": np.clip(rng.normal(size=n), -2.5, 2.5) * spread[kind],
    }


def _looks(objects: Columns, rng: Generator) -> Columns:
    """Which photo of which sequence shows which object."""
    n = len(objects["kind"])
    allowed = rng.integers(1, SEQUENCES + 1, n)
    rank = np.argsort(rng.random((n, SEQUENCES)), axis=1)
    seen = (rank < allowed[:, None])[:, :, None] & (rng.random((n, SEQUENCES, LOOKS)) >= MISSED)
    thing, sequence, look = np.nonzero(seen)
    last = np.floor((objects["along"] - NEAREST_M) / PHOTO_M).astype(np.intp)
    step = last[thing] - look
    return {"object": thing, "sequence": objects["street"][thing] * SEQUENCES + sequence, "step": step}


def _measured(looks: Columns, false: NDArray[np.bool_], streets: int, noise: PoseNoise, rng: Generator) -> Columns:
    n, sequences = len(false), streets * SEQUENCES
    photo = looks["sequence"] * PHOTOS + looks["step"]

    def pose_error(sigma: float) -> Array:
        half = sigma * np.sqrt(0.5)
        return rng.normal(0, half, sequences)[looks["sequence"]] + rng.normal(0, half, sequences * PHOTOS)[photo]

    side = int(np.ceil(np.sqrt(streets * APART_M / STREET_M)))
    corner_x, corner_y = looks["street"] % side * STREET_M, looks["street"] // side * APART_M
    along, beside = looks["along"], looks["beside"]
    at, lane = looks["step"] * PHOTO_M, np.full(n, 1.75)
    ahead, right = along - at, beside - lane
    distance = np.hypot(ahead, right)
    bearing = np.pi / 2 + np.arctan2(right, ahead)
    ranged = distance * np.exp(-looks["size"])
    box_px = np.array([_size(name)[0] for name in CLASSES])[looks["kind"]] * FOCAL_PX / ranged
    own = EDGE_SIGMA_PX * np.sqrt(2) / box_px
    bearing = np.where(false, np.pi / 2 + rng.uniform(-0.5, 0.5, n), bearing)
    ranged = np.where(false, rng.uniform(8, 45, n), ranged) * np.exp(rng.normal(0, 1, n) * own)
    shared = ranged * np.array([_size(name)[1] for name in CLASSES])[looks["kind"]]
    return {
        "object": np.where(false, FALSE_BOX, looks["object"]),
        "kind": np.where(false, rng.integers(len(CLASSES), size=n), looks["kind"]),
        "sequence": looks["sequence"],
        "photo": photo,
        "seconds": looks["sequence"] % 1000 * 40000.0 + looks["step"],
        "score": np.where(false, rng.beta(4, 3, n), rng.beta(6, 2, n)),
        "camera_x": corner_x + at + pose_error(noise.position_m),
        "camera_y": corner_y - lane + pose_error(noise.position_m),
        "camera_sigma_m": np.full(n, noise.position_m),
        "bearing_deg": (np.degrees(bearing) + pose_error(noise.heading_deg)) % 360.0,
        "bearing_sigma_deg": np.full(n, noise.heading_deg),
        "range_m": ranged,
        "range_sigma_m": np.hypot(shared, ranged * own),
        "range_shared_sigma_m": shared,
        "true_x": np.where(false, np.nan, corner_x + along),
        "true_y": np.where(false, np.nan, corner_y - beside),
    }


@cache
def _size(class_name: str) -> tuple[float, float]:
    """Height in metres and relative spread."""
    size = object_size(class_name)
    if size is None:
        raise ValueError(f"{class_name} has no size in sign_sizes.csv: it cannot be simulated")
    return size.height_m, size.sigma_fraction


def sightings_of(columns: Columns, noise: PoseNoise | str = "sfm") -> list[Sighting]:
    """Simulated columns as sightings, in their order."""
    origin = (NOISES[noise] if isinstance(noise, str) else noise).origin
    frame = frame_of()
    camera = np.column_stack([columns["camera_x"], columns["camera_y"]])
    turned = np.radians(columns["bearing_deg"])
    point = camera + columns["range_m"][:, None] * np.column_stack([np.sin(turned), np.cos(turned)])
    camera_lonlat = frame.to_lonlat(camera)
    true_bearing = (columns["bearing_deg"] + frame.convergence_deg(*camera_lonlat.T)) % 360.0
    camera_lonlat, point_lonlat = camera_lonlat.tolist(), frame.to_lonlat(point).tolist()
    ordinal, bearing = _ordinals(columns["photo"]).tolist(), true_bearing.tolist()
    kind, sequence, photo, seconds, score = (columns[k].tolist() for k in ("kind", "sequence", "photo", "seconds", "score"))
    camera_sigma, bearing_sigma = columns["camera_sigma_m"].tolist(), columns["bearing_sigma_deg"].tolist()
    metres, sigma, shared = (columns[k].tolist() for k in ("range_m", "range_sigma_m", "range_shared_sigma_m"))
    return [
        Sighting(
            image_id=f"p{photo[i]:09d}",
            model_key=MODEL_KEY,
            ordinal=ordinal[i],
            sequence_id=f"s{sequence[i]:06d}",
            captured_at=START + timedelta(seconds=seconds[i]),
            class_name=CLASSES[kind[i]],
            score=score[i],
            camera_lon=camera_lonlat[i][0],
            camera_lat=camera_lonlat[i][1],
            camera_sigma_m=camera_sigma[i],
            pose_origin=origin,
            bearing_deg=bearing[i],
            bearing_sigma_deg=bearing_sigma[i],
            range_m=metres[i],
            range_sigma_m=sigma[i],
            method="known-size",
            lon=point_lonlat[i][0],
            lat=point_lonlat[i][1],
            covariance=ground_covariance(bearing[i], bearing_sigma[i], metres[i], sigma[i], camera_sigma[i]),
            range_shared_sigma_m=shared[i],
        )
        for i in range(len(kind))
    ]


def _ordinals(photo: Indices) -> Indices:
    """0, 1, ... within each photo."""
    order = np.argsort(photo, kind="stable")
    ranked = photo[order]
    ordinal = np.empty(len(photo), dtype=np.intp)
    ordinal[order] = np.arange(len(photo)) - np.searchsorted(ranked, ranked)
    return ordinal
