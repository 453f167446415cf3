"""Whether a release is plausible against its trailing history: counts and displacements, with the numbers in every message.

``kryss.config.Plausible`` holds the limits and their reasons. What a person approved is history from then on, and what
came before it is none: the next night is not held back for the same numbers. Pure functions: what the database believes comes as
`Figures`, past releases by `figures_of` from their manifests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from kryss.config import Plausible

if TYPE_CHECKING:
    from kryss.pipeline.run import Run

CHANCE_SIGMAS = 3.0
"""A count of n may be off by so many times its own square root by chance: small numbers are not judged by shares."""
FEW = 20
"""So many objects of a class are no flood, and fewer than so many in common say nothing of displacements."""
MOST_TOLD = 25
"""So many reasons a question lists."""
EXPLAINED = 0.5
"""A class may be so much of what photos of new places add: streets differ."""


class HeldBack(Exception):  # noqa: N818 - it is a verdict, not a fault
    """The release is implausible; the message has the numbers and the way to publish all the same."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a release is judged by. None: not known (a manifest does not say; there was nothing to compare)."""

    by_class: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Objects by class, then by status."""
    photos: int = 0
    intersections: int = 0
    occupied: int | None = None
    """Intersections at which something stands."""
    area_km2: float | None = None
    compared: int = 0
    """Objects that it has in common with the release before it."""
    median_m: float | None = None
    p95_m: float | None = None
    """Displacements of these."""

    def count(self, *statuses: str, of: str | None = None) -> int:
        classes = self.by_class.values() if of is None else [self.by_class.get(of, {})]
        return sum(by_status.get(status, 0) for by_status in classes for status in statuses)

    @property
    def standing(self) -> int:
        return self.count("standing")

    @property
    def believed(self) -> int:
        """False boxes are seldom seen thrice, so a flood is looked for among all that has not ended."""
        return self.count("standing", "unconfirmed")


def figures_of(manifest: Mapping[str, Any], approved: bool = False) -> Figures:
    """A release by its manifest. ``approved``: how far it moved things is no measure for the next."""
    counts = manifest["counts"]
    shift = {} if approved else manifest.get("shift") or {}
    photos = manifest.get("photos")
    return Figures(
        by_class=counts["by_class"],
        photos=manifest["parameters"].get("photos", 0) if photos is None else photos,
        intersections=counts["intersections"],
        compared=shift.get("compared", 0),
        median_m=shift.get("median_m"),
        p95_m=shift.get("p95_m"),
    )


def implausible(now: Figures, trailing: Sequence[Figures], limits: Plausible) -> list[str]:
    """Reasons to hold a release back, each with its number, what is usual, and the limit. Empty: publish.

    ``trailing``: the releases before it, oldest first; with none there is nothing to hold it against.
    """
    if not trailing:
        return []
    history = list(trailing)[-limits.releases :]
    return [
        *_lost("photos believed", now.photos, [one.photos for one in history], limits.photos_lost),
        *_lost(
            "intersections", now.intersections, [one.intersections for one in history], limits.coverage_lost, none_is_odd=True
        ),
        *_since_last("intersections with something standing", now, history, limits, lambda one: one.occupied),
        *_area_lost(now, history[-1], limits),
        *_lost("standing objects", now.standing, [one.standing for one in history], limits.lost),
        *_classes_lost(now, history, limits),
        *_flood(now, history, limits),
        *_classes_flood(now, history, limits),
        *_shifted(now, history, limits),
    ]


def _lost(what: str, number: int, before: Sequence[int], share: float, none_is_odd: bool = False) -> list[str]:
    """A fall below the largest number of the history, in one night or little by little, by more than a share and chance."""
    most = max(before)
    floor = min((1 - share) * most, most - CHANCE_SIGMAS * math.sqrt(most))
    if number >= floor and not (none_is_odd and number == 0 < most):
        return []
    past = f"most of {len(before)} releases {most}, last {before[-1]}" if len(before) > 1 else f"last {most}"
    return [f"{what}: {number}, {past}, limit {max(math.ceil(floor), 1)} or more"]


def _since_last(
    what: str, now: Figures, history: Sequence[Figures], limits: Plausible, of: Callable[[Figures], int | None]
) -> list[str]:
    was, is_ = of(history[-1]), of(now)
    return [] if was is None or is_ is None else _lost(what, is_, [was], limits.coverage_lost)


def _area_lost(now: Figures, last: Figures, limits: Plausible) -> list[str]:
    """The areas as a whole; that intersections are fewer is told already."""
    if now.area_km2 is None or not last.area_km2 or not now.intersections:
        return []
    floor = (1 - limits.coverage_lost) * last.area_km2 * min(1.0, now.intersections / max(last.intersections, 1))
    if now.area_km2 >= floor:
        return []
    return [f"areas of intersections: {now.area_km2:.3g} km2, last {last.area_km2:.3g} km2, limit {floor:.3g} km2 or more"]


def _classes_lost(now: Figures, history: Sequence[Figures], limits: Plausible) -> list[str]:
    names = sorted({name for one in history for name in one.by_class})
    return [
        line
        for name in names
        for line in _lost(
            f"standing {name}", now.count("standing", of=name), [one.count("standing", of=name) for one in history], limits.lost
        )
    ]


def _flood(now: Figures, history: Sequence[Figures], limits: Plausible) -> list[str]:
    """More objects than more photos explain."""
    most = max(one.believed for one in history)
    if most < FEW:
        return []
    last = history[-1]
    expected = max(most, last.believed * now.photos / max(last.photos, 1))
    limit = limits.growth * expected + CHANCE_SIGMAS * math.sqrt(expected)
    if now.believed <= limit:
        return []
    return [
        f"objects: {now.believed} with {now.photos} photos, most so far {most}, last {last.believed} with {last.photos} photos, "
        f"limit {math.floor(limit)}"
    ]


def _classes_flood(now: Figures, history: Sequence[Figures], limits: Plausible) -> list[str]:
    """A class that grows as nothing else does. The whole layer may grow for good reasons: new streets, years of photos."""
    most = max(one.believed for one in history)
    if most < FEW:
        return []
    found = []
    for name in sorted(now.by_class):
        number = now.count("standing", "unconfirmed", of=name)
        others = now.believed - number
        usual = max(_share(one, name) for one in history)
        counted = [one.count("standing", "unconfirmed", of=name) for one in history]
        if usual == 1.0:  # the only class there is: what can be told is told of all objects
            continue
        # The share is taken of what else is there, so that the flood does not raise its own limit.
        expected = max(max(counted), usual / (1 - usual) * others)
        limit = limits.class_growth * expected + EXPLAINED * _explained(name, now, history) + FEW
        if number > limit + CHANCE_SIGMAS * math.sqrt(expected):
            share = number / now.believed
            found.append(
                f"{name}: {number} ({share:.0%} of all), most so far {max(counted)} ({usual:.0%}), "
                f"limit {math.floor(limit + CHANCE_SIGMAS * math.sqrt(expected))}; all other classes {others}, "
                f"last {history[-1].believed - counted[-1]}"
            )
    return found


def _share(one: Figures, name: str) -> float:
    return one.count("standing", "unconfirmed", of=name) / one.believed if one.believed else 0.0


def _explained(name: str, now: Figures, history: Sequence[Figures]) -> float:
    """Objects that photos of new places may have added: as many as the photos say, at most what the other classes gained."""
    last = history[-1]
    by_photos = last.believed * max(0.0, now.photos / max(last.photos, 1) - 1.0)
    gained = (now.believed - now.count("standing", "unconfirmed", of=name)) - (
        last.believed - last.count("standing", "unconfirmed", of=name)
    )
    return max(0.0, min(by_photos, float(gained)))


def _shifted(now: Figures, history: Sequence[Figures], limits: Plausible) -> list[str]:
    """Objects that both have are elsewhere."""
    if now.compared < FEW:
        return []
    told = [one for one in history if one.compared >= FEW]
    found = []
    for what, number, least, before in (
        ("median", now.median_m, limits.median_m, [one.median_m or 0.0 for one in told]),
        ("95 %", now.p95_m, limits.p95_m, [one.p95_m or 0.0 for one in told]),
    ):
        most = max(before, default=0.0)
        limit = max(least, limits.shift_growth * most)
        if number is not None and number > limit:
            found.append(
                f"displacement of {now.compared} objects, {what}: {number:.1f} m, most so far {most:.1f} m, limit {limit:.1f} m"
            )
    return found


def question(run: Run, checked: Mapping[str, Any], until: datetime, base_url: str) -> tuple[str, str]:
    """What a person is asked about a release that was held back: a line, and the numbers with what follows from each answer
    (Markdown). ``base_url``: of Airflow, for links to the report of the run and to the last release; empty: none."""
    reasons, against = list(checked["reasons"]), list(checked["against"])
    others = f" and {len(reasons) - 1} more" if len(reasons) > 1 else ""
    past = against[0] if len(against) == 1 else f"{against[0]} to {against[-1]}"
    lines = [
        f"The next release of {run.config.name} ({run.code}) is implausible against "
        f"{'release' if len(against) == 1 else f'the {len(against)} releases'} {past}:",
        "",
        *(f"- `{_plain(reason)}`" for reason in reasons[:MOST_TOLD]),
        *([f"- and {len(reasons) - MOST_TOLD} more, in the report"] if len(reasons) > MOST_TOLD else []),
        "",
        "**Approve** publishes it; later releases are held against it. **Reject** publishes nothing: what the database believes "
        f"stays, and the next run asks again. Without an answer by {until:%Y-%m-%d %H:%M} UTC nothing is published, and the run "
        "fails.",
    ]
    if base_url:
        site, run_folder = f"{base_url.rstrip('/')}/kryss", run.folder.rpartition("/")[2]
        links = f"[the report of this run]({site}/report/{run.code}/{run_folder})"
        lines += ["", f"See {links} and [the last release]({site}/layer/{run.code}/{against[-1]}/)."]
    return f"{run.config.name} ({run.code}): publish? {_plain(reasons[0])}{others}", "\n".join(lines)


def _plain(reason: str) -> str:
    """One line of readable length: class names come from elsewhere."""
    return shorten(reason.replace("`", "'"), 300, placeholder=" ...")
