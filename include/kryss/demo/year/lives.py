"""What happens in a year to the signs and lights of a simulated town: the truth that history is judged by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
from numpy.random import Generator

from kryss.demo.streets.grid import CLASSES, LIMITS, START, STOP, TURNS, WARNINGS, YIELD, Array
from kryss.demo.streets.standing import Objects, true_sizes

Kind = Literal["came", "went", "replaced", "moved", "shifted", "returned"]
"""``replaced``: by another class on its pole. ``moved``: 15 m, which ends one thing and begins another. ``shifted``: a metre,
which is neither. ``returned``: taken away for a while and put up again in its place."""
KINDS: tuple[Kind, ...] = ("came", "went", "replaced", "moved", "shifted", "returned")
MOVED_M, SHIFTED_M = 15.0, 1.0
FIRST_DAY, LAST_DAY = 40.0, 320.0
"""Nothing happens before the town has been looked at, or so late that no drive could tell."""
GAP_DAYS = (45.0, 150.0)
SCAFFOLD_DAYS = (60.0, 120.0)
SUCCESSORS: tuple[tuple[str, ...], ...] = (LIMITS, TURNS, WARNINGS, (YIELD, STOP))
"""What signs are replaced by: another of their kind."""


@dataclass(frozen=True, slots=True)
class Life:
    """A time in which a thing stood in one place. A thing that was shifted or came back has several."""

    thing: int
    """The identity that history should give it."""
    begins: datetime | None = None
    """None: it stood before the year began."""
    ends: datetime | None = None
    """None: it stands."""

    def holds(self, at: datetime) -> bool:
        return (self.begins is None or self.begins <= at) and (self.ends is None or at < self.ends)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a thing."""

    kind: Kind
    at: datetime
    thing: int
    other: int | None = None
    """The thing that stands afterwards, where it was replaced or moved."""
    back_at: datetime | None = None
    """When it returned."""


@dataclass(frozen=True, slots=True)
class Scaffold:
    """A time in which a thing stood and nobody could see it."""

    thing: int
    begins: datetime
    ends: datetime


@dataclass(frozen=True)
class Truth:
    """What stood when. Row i of ``objects`` lived ``lives[i]``."""

    objects: Objects
    lives: list[Life]
    events: list[Event]
    scaffolds: list[Scaffold]

    def lives_of(self, thing: int) -> Iterator[Life]:
        """In time order."""
        return (one for one in self.lives if one.thing == thing)

    def stood(self, thing: int, at: datetime) -> bool:
        return any(life.holds(at) for life in self.lives_of(thing))


def day(number: float) -> datetime:
    """An instant of the year, to the second."""
    return START + timedelta(seconds=round(number * 86400))


def live(objects: Objects, per_kind: int, scaffolds: int, rng: Generator) -> Truth:
    """A year with so many events of each kind and so many scaffolds, each of another thing; drawn evenly over the town."""
    n = len(objects.x)
    rows = _Rows(objects, rng)
    lives = [Life(thing) for thing in range(n)]
    events: list[Event] = []
    free = rng.permutation(n).tolist()
    kin = {name: group for group in SUCCESSORS for name in group}

    def take(signs_only: bool = False) -> int | None:
        found = next((one for one in free if not signs_only or CLASSES[objects.kind[one]] in kin), None)
        if found is not None:
            free.remove(found)
        return found

    for kind in KINDS:
        for _ in range(per_kind):
            gap = float(rng.uniform(*GAP_DAYS)) if kind == "returned" else 0.0
            thing, number = take(signs_only=kind == "replaced"), rng.uniform(FIRST_DAY, LAST_DAY - gap)
            at = day(number)
            if thing is None:
                continue
            if kind == "came":
                lives[thing] = Life(thing, begins=at)
                events.append(Event(kind, at, thing))
                continue
            back_at = day(number + gap) if kind == "returned" else None
            lives[thing] = Life(thing, ends=at)
            other = n + len(rows.added) if kind in ("replaced", "moved") else None
            events.append(Event(kind, at, thing, other, back_at))
            if kind == "went":
                continue
            # Things are numbered like their first rows, so that a later life of the same thing takes up a number too.
            lives.append(Life(thing if other is None else other, begins=back_at or at))
            if kind == "replaced":
                own = CLASSES[objects.kind[thing]]
                rows.add(thing, class_name=str(rng.choice([name for name in kin[own] if name != own])))
            else:
                rows.add(thing, along_m={"moved": MOVED_M, "shifted": SHIFTED_M, "returned": 0.0}[kind])
    hidden = []
    for _ in range(scaffolds):
        thing, begins = take(), rng.uniform(FIRST_DAY, LAST_DAY - SCAFFOLD_DAYS[1])
        if thing is not None:
            hidden.append(Scaffold(thing, day(begins), day(begins + rng.uniform(*SCAFFOLD_DAYS))))
    return Truth(rows.all(), lives, sorted(events, key=lambda one: (one.at, one.thing)), hidden)


class _Rows:
    """Objects with rows added to them."""

    def __init__(self, objects: Objects, rng: Generator) -> None:
        self._objects, self._rng = objects, rng
        self.added: list[Objects] = []

    def add(self, thing: int, class_name: str | None = None, along_m: float = 0.0) -> None:
        """The thing again, of another class, or so far back along its street."""
        row = Objects(*(column[[thing]] for column in self._objects.columns()))
        # Fronts look at the traffic that comes along one of the two axes.
        quarter = np.radians(np.round(row.facing / 90.0) * 90.0)
        row = replace(row, x=row.x + along_m * np.sin(quarter), y=row.y + along_m * np.cos(quarter))
        if class_name is not None:
            kind = np.array([CLASSES.index(class_name)])
            high, wide = true_sizes(kind, 1.0, self._rng)
            row = replace(row, kind=kind, high=high, wide=wide)
        self.added.append(row)

    def all(self) -> Objects:
        columns: list[Array] = [
            np.concatenate(parts) for parts in zip(*(one.columns() for one in (self._objects, *self.added)), strict=True)
        ]
        return Objects(*columns)  # type: ignore[arg-type]
