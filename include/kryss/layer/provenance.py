"""What a release says of its origin: model, code, parameters, photos and the sources it owes attribution.

``sources.csv`` holds the services Kryss reads, with the licence each of them states; an area of its own adds a `Source`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class Source:
    """One origin of data: what it is called, under which licence, and the words that credit it."""

    title: str
    licence: str
    attribution: str
    url: str | None = None
    licence_url: str | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """Everything here is an input of the release: no clock, host, user or path of the run."""

    model_key: str
    code_version: str
    photos_until: datetime | None
    """Newest ``captured_at`` among the processed photos; None if none was processed."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()


def known_source(key: str) -> Source:
    """The source called ``key`` in ``sources.csv``."""
    table = _table()
    if key not in table:
        raise KeyError(f"no source {key!r} in sources.csv; there are {', '.join(sorted(table))}")
    return table[key]


@cache
def _table() -> dict[str, Source]:
    lines = resources.files("kryss.layer").joinpath("sources.csv").read_text(encoding="utf-8").splitlines()
    return {
        row["key"]: Source(row["title"], row["licence"], row["attribution"], row["url"] or None, row["licence_url"] or None)
        for row in csv.DictReader(lines)
    }


def attribution_text(municipality: str, release: str, sources: Iterable[Source]) -> str:
    """``ATTRIBUTION.md``: who is to be credited, and for what."""
    lines = [f"# Attribution: {municipality}, release {release}", ""]
    lines += ["Show these credits wherever the layer or a map of it is shown.", ""]
    for source in sources:
        licence = f"[{source.licence}]({source.licence_url})" if source.licence_url else source.licence
        link = f" <{source.url}>" if source.url else ""
        lines.append(f"- **{source.title}** ({licence}): {source.attribution}.{link}")
    lines += [
        "",
        "Kryss derived positions and classes from the photos; `image_url` of an object links to a photo that shows it.",
        "A layer made from CC BY-SA or ODbL sources is passed on under the same terms.",
    ]
    return "\n".join(lines) + "\n"
