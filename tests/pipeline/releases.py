"""Simulated series of releases, as figures: municipalities that grow, seasons, road works, campaigns, deleted photos, and faults.

Rates are those of no real municipality. They are set so that everything ordinary happens often: a series is a few years of
nights in which something changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kryss.pipeline.checks import Figures

CLASSES = 12
STATUSES = ("standing", "unconfirmed", "ended")
Fault = Callable[[Figures, np.random.Generator], Figures]


@dataclass
class Town:
    """A municipality with about ``size`` objects, drawn night by night."""

    rng: np.random.Generator
    size: int

    def __post_init__(self) -> None:
        mix = self.rng.dirichlet(np.full(CLASSES, 0.7))
        self.objects: NDArray[np.int64] = self.rng.multinomial(self.size, mix)
        self.ended: NDArray[np.int64] = np.zeros(CLASSES, np.int64)
        self.photos = int(self.size * self.rng.uniform(5, 40)) + 10
        self.intersections = max(1, int(self.size * self.rng.uniform(0.1, 0.6)))
        self.area_km2 = 0.01 * self.intersections
        self.leafy = self.rng.uniform(0.0, 0.12, CLASSES)
        self.sharp_m = self.rng.uniform(0.3, 1.0)
        self.night = 0

    def release(self) -> Figures:
        """What the next night publishes."""
        rng, known = self.rng, self.objects.sum()
        self.night += 1
        campaign = rng.random() < 0.04
        share = rng.uniform(0.1, 0.8) if campaign else min(0.1, rng.lognormal(-5.5, 1.0))
        elsewhere = rng.beta(1, 3)
        came = rng.poisson(share * elsewhere * known * rng.dirichlet(np.full(CLASSES, 1.0)))
        self.objects = self.objects + came + rng.poisson(0.002 * self.objects)
        self.photos += rng.poisson(share * self.photos)
        works = 0.04 if rng.random() < 0.02 else 0.003
        went = rng.binomial(self.objects, works * rng.uniform(0, 2, CLASSES).clip(0, 1))
        self.objects, self.ended = self.objects - went, self.ended + went
        deleted = rng.uniform(0.01, 0.05) if rng.random() < 0.02 else 0.0005
        self.photos -= rng.binomial(self.photos, deleted)
        if self.night % 7 == 0:
            self.intersections = max(1, self.intersections + int(rng.normal(0, 0.005 * self.intersections)))
        if rng.random() < 0.01:  # another model, which reads some signs as others and is surer, or less sure, of all
            self.objects = self._read_anew()
            self.leafy = (self.leafy + rng.normal(0, 0.02, CLASSES)).clip(0, 0.2)
        summer = 0.5 + 0.5 * np.sin(2 * np.pi * self.night / 180)
        doubtful = rng.binomial(self.objects, (0.08 + self.leafy * summer).clip(0, 1))
        by_class = {
            f"class-{index:02d}": dict(zip(STATUSES, map(int, counts), strict=True))
            for index, counts in enumerate(zip(self.objects - doubtful, doubtful, self.ended, strict=True))
            if sum(counts)
        }
        standing = int((self.objects - doubtful).sum())
        occupied = int(self.intersections * (1 - np.exp(-standing / self.intersections / 2)))
        area = self.area_km2 * self.intersections / max(1, int(self.area_km2 / 0.01)) * rng.uniform(0.99, 1.01)
        return Figures(by_class, self.photos, self.intersections, occupied, area, *self._shift(int(known), share))

    def _read_anew(self) -> NDArray[np.int64]:
        moved = self.rng.binomial(self.objects, 0.06)
        return self.objects - moved + self.rng.multinomial(int(moved.sum()), self.rng.dirichlet(np.full(CLASSES, 1.0)))

    def _shift(self, known: int, share: float) -> tuple[int, float, float]:
        """Objects seen again are placed anew."""
        sample = min(known, 2000)
        again = self.rng.random(sample) < min(0.9, 1.5 * share)
        metres = np.where(again, np.hypot(*self.rng.normal(0, self.sharp_m, (2, sample))), 0.0)
        if not sample:
            return 0, 0.0, 0.0
        return known, round(float(np.median(metres)), 2), round(float(np.percentile(metres, 95)), 2)


def series(seed: int, size: int, releases: int) -> list[Figures]:
    """Releases of one municipality, the first one first."""
    town = Town(np.random.default_rng([seed, size]), size)
    return [town.release() for _ in range(releases)]


def largest(one: Figures) -> str:
    return max(one.by_class, key=lambda name: (one.count("standing", of=name), name))


def with_class(one: Figures, name: str, **counts: int) -> Figures:
    return replace(one, by_class={**one.by_class, name: {**one.by_class.get(name, {}), **counts}})


def lose(share: float, *names: str) -> Fault:
    """So much of the classes (none named: of all) falls from standing to ended."""

    def fault(one: Figures, rng: np.random.Generator) -> Figures:
        for name in names or one.by_class:
            gone = round(share * one.count("standing", of=name))
            standing, ended = one.count("standing", of=name) - gone, one.count("ended", of=name) + gone
            one = with_class(one, name, standing=standing, ended=ended)
        return one

    return fault


def lose_the_largest_class(one: Figures, rng: np.random.Generator) -> Figures:
    return lose(0.6, largest(one))(one, rng)


def flood_a_class(one: Figures, rng: np.random.Generator) -> Figures:
    """False boxes of one class, a third of all that was known, most of them seen once."""
    name = sorted(one.by_class)[int(rng.integers(len(one.by_class)))]
    more = max(one.believed // 3, 2 * one.count("standing", "unconfirmed", of=name))
    return with_class(one, name, unconfirmed=one.count("unconfirmed", of=name) + more)


def flood_everything(one: Figures, rng: np.random.Generator) -> Figures:
    for name in one.by_class:
        one = with_class(one, name, unconfirmed=int(one.count("unconfirmed", of=name) + 1.6 * one.count("standing", of=name)))
    return one


def forget_photos(one: Figures, rng: np.random.Generator) -> Figures:
    return replace(one, photos=int(0.8 * one.photos))


def half_the_roads(one: Figures, rng: np.random.Generator) -> Figures:
    kept = int(0.55 * one.intersections)
    return lose(0.2)(replace(one, intersections=kept, occupied=min(kept, one.occupied or 0)), rng)


def objects_at_few_places(one: Figures, rng: np.random.Generator) -> Figures:
    return replace(one, occupied=int(0.6 * (one.occupied or 0)))


def small_areas(one: Figures, rng: np.random.Generator) -> Figures:
    return replace(one, area_km2=0.5 * (one.area_km2 or 0.0))


def all_shifted(one: Figures, rng: np.random.Generator) -> Figures:
    """A frame that is 4 m off."""
    return replace(one, median_m=4.0 + (one.median_m or 0.0) / 10, p95_m=4.0 + (one.p95_m or 0.0) / 2)


def some_far_away(one: Figures, rng: np.random.Generator) -> Figures:
    """The objects of a tenth of the sequences are 15 m off."""
    return replace(one, p95_m=15.0)


FAULTS: dict[str, Fault] = {
    "40 % of all objects end": lose(0.4),
    "60 % of the largest class end": lose_the_largest_class,
    "false boxes of one class": flood_a_class,
    "2.6 times as many objects": flood_everything,
    "20 % of the photos forgotten": forget_photos,
    "45 % of the intersections gone": half_the_roads,
    "objects at 60 % of the places": objects_at_few_places,
    "areas half as large": small_areas,
    "all positions 4 m off": all_shifted,
    "a tenth of the positions 15 m off": some_far_away,
}
