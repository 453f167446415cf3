"""What to simulate, and the names and numbers that its parts share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kryss.model import PoseOrigin
from kryss.positioning.frame import Frame

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

MODEL_KEY = "simulated@1"
START = datetime(2024, 3, 1, 8, tzinfo=UTC)
FALSE_BOX = -1
"""``origin_of`` a box of nothing."""
ON_A_VEHICLE = -2
"""``origin_of`` a box of a sign that drives along."""

EDGE_SIGMA_PX = 1.5
SMALLEST_BOX_PX = 12.0
REFERENCE_WIDTH_PX = 2048.0
"""A photo wider than this is not sharper: pixels of noise and of the smallest box grow with it."""
FRONT_DEG = 75.0
"""A plate or a lens is recognised up to this far from its front."""
BUILDING_LINE_M = 9.0
"""From the centre line to the house fronts, which hide what is round the corner."""
NO_RANGE = "prior"
"""``Sighting.method`` of one whose range is not known."""
USUAL_RANGE_M, USUAL_RANGE_SIGMA = 15.0, 0.6
"""What stands in for a range that is not known, with its relative error."""
DEPTH_PIVOT_M = 15.0
BEHIND_LOG = 0.7
"""Mean log of how much farther what is behind an object is than the object."""
STANDS_OUT = 0.85
"""As ``kryss.vision.depth.maps`` has it: a depth beyond this share of the background's is the background's."""
ODD_SIZE = 1.8
HEADINGS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Steps east and north from junction to junction."""
GROUND_M = 40.0
"""Altitude of all streets."""
INSIDE = 0.6
"""A box of which less lies inside the photo is not reported."""

LIGHT = "object--traffic-light--general-upright"
WALKERS = "object--traffic-light--pedestrians"
CYCLISTS = "object--traffic-light--cyclists"
YIELD, STOP = "regulatory--yield--g1", "regulatory--stop--g1"
PRIORITY = "regulatory--priority-road--g1"
NO_ENTRY, NO_PARKING = "regulatory--no-entry--g1", "regulatory--no-parking--g1"
CROSSING, PARKING = "information--pedestrians-crossing--g1", "information--parking--g1"
KEEP_RIGHT = "regulatory--keep-right--g1"
LIMITS = tuple(f"regulatory--maximum-speed-limit-{n}--g1" for n in (30, 40, 50, 60))
TURNS = (
    "regulatory--no-left-turn--g1",
    "regulatory--no-right-turn--g1",
    "regulatory--turn-right--g1",
    "regulatory--turn-left--g1",
)
WARNINGS = ("warning--children--g1", "warning--curve-left--g1", "warning--uneven-road--g1", "warning--traffic-signals--g1")
CLASSES = (
    *(LIGHT, WALKERS, CYCLISTS, YIELD, STOP, PRIORITY, NO_ENTRY, NO_PARKING, CROSSING, PARKING, KEEP_RIGHT),
    *(LIMITS + TURNS + WARNINGS),
)


@dataclass(frozen=True, slots=True)
class PoseNoise:
    """What kind of pose the photos have and its one-axis standard deviations, both halves of the variance together."""

    origin: PoseOrigin
    position_m: float
    heading_deg: float


SFM = PoseNoise("sfm", 0.5, 0.5)
GPS = PoseNoise("gps", 3.0, 6.0)
NOISES = {"sfm": SFM, "gps": GPS}


@dataclass(frozen=True, slots=True)
class DepthNoise:
    """How the depths of a monocular network err; all parts are of its logarithm. Which ones there are is a guess at networks:
    errors that a box has by itself, and those that an object has in every photo."""

    scale_sigma: float = 0.3
    """Of the sequence's scale."""
    own_sigma: float = 0.15
    object_sigma: float = 0.0
    """Common to all sightings of an object."""
    slope: float = 1.0
    """Of log depth by log range about DEPTH_PIVOT_M; below 1, depths are pressed together."""
    blended: float = 0.0
    """Share of what is behind the object in the depth of its box, at DEPTH_PIVOT_M; it grows with the range as boxes shrink.
    What is behind is farther by a factor of the object's own. A depth that is nearly that of the background is none."""


@dataclass(frozen=True)
class Grid:
    """What to simulate. The defaults are those of the benchmark."""

    noise: PoseNoise | Literal["sfm", "gps"] = "sfm"
    seed: int = 0
    blocks: int = 3
    """Blocks along each side: ``(blocks + 1) ** 2`` junctions."""
    block_m: float = 120.0
    sequences: int | None = None
    """Drives; None: so many that every street is driven at least four times in each direction."""
    missed: float = 0.15
    """Share of visible boxes that the detector does not report."""
    false: float = 0.05
    """Share of the reported boxes that show nothing."""
    wrong_class: float = 0.03
    """Share of true boxes whose class is another one of the same outline."""
    edge_sigma_px: float = EDGE_SIGMA_PX
    range_gate_m: float = 50.0
    size_spread: float = 1.0
    """Times the spread of real sizes that ``sign_sizes.csv`` states."""
    missing_range: float = 0.0
    """Share of sightings whose range is not known."""
    depth: DepthNoise | None = None
    """How the depths of detections err; None: they have none."""
    odd_size: float = 0.0
    """Share of objects whose size is none that its class is known to have: ODD_SIZE times as large or as small."""
    vehicles: int = 0
    """Sequences that for a while follow a vehicle with a sign on it."""
    most_sequences: int = 4
    """Each object is open to view from 1 to this many of the sequences that pass it."""
    origin: tuple[float, float] = (10.4, 63.4)
    """Longitude and latitude of the south-west junction."""

    @property
    def pose_noise(self) -> PoseNoise:
        return NOISES[self.noise] if isinstance(self.noise, str) else self.noise

    @property
    def frame(self) -> Frame:
        return Frame(*self.origin)


STREAMS = (
    *("objects", "sizes", "routes", "cameras", "photos", "views", "boxes", "missed", "false", "vehicles", "detector"),
    *("poses", "missing range", "depths", "odd sizes"),
)


def stream(grid: Grid, purpose: str) -> Generator:
    """Random numbers of their own for each purpose: another noise does not move the town."""
    return np.random.default_rng([grid.seed, STREAMS.index(purpose)])
