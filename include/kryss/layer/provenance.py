"""The sources of a release: the credits they ask for, and the licences that follow for each file.

``sources.csv`` holds the services Kryss reads, with the licence each of them states; an area with photos of its own adds a
`Source`. What is said here is the cautious reading of those licences: where it is not settled whether a derived layer has to
carry the licence of a source, it carries it. SPDX ids of licences that all hold are joined by ``AND`` (SPDX 2.3, annex D).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Literal

Gives = Literal["photos", "roads", "boundary"]
SHARE_ALIKE = ("CC-BY-SA-4.0", "ODbL-1.0")
"""What is made from these is passed on under the same terms, and the two do not allow each other's instead."""

IN_PAGE = "`BSD-3-Clause`, `BSD-2-Clause`, `ISC`, `MIT`"
"""Licences of the libraries and pictures that are built into the page."""


@dataclass(frozen=True, slots=True)
class Source:
    """One origin of data: what it is called, under which licence, and the words that credit it."""

    title: str
    licence: str
    """Its name as people write it."""
    attribution: str
    url: str | None = None
    licence_url: str | None = None
    spdx: str | None = None
    """SPDX id of the licence; None where it has none or the source does not say."""
    gives: Gives = "photos"
    """What of the layer is made from it; a boundary only chooses what belongs to the municipality."""


def known_source(key: str, gives: Gives | None = None) -> Source:
    """The source called ``key`` in ``sources.csv``; ``gives`` where it is used for something else than usual."""
    table = _table()
    if key not in table:
        raise KeyError(f"no source {key!r} in sources.csv; there are {', '.join(sorted(table))}")
    return table[key] if gives is None else replace(table[key], gives=gives)


def own_photos(attribution: str, licence: str | None = None) -> Source:
    """Photos of a recorded area: with the words of its ``attribution`` and, where it says one, the SPDX id of their licence."""
    return Source("Photos", licence or "see the credit", attribution, spdx=licence)


def own_junctions() -> Source:
    """Junctions from a file of the publisher, who alone knows whose they are: no licence is claimed for what is made of them."""
    return Source("Junctions", "see the publisher", "Junctions from a file of the publisher of this layer", gives="roads")


@cache
def _table() -> dict[str, Source]:
    lines = resources.files("kryss.layer").joinpath("sources.csv").read_text(encoding="utf-8").splitlines()
    names = ("title", "licence", "attribution", "url", "licence_url", "spdx", "gives")
    return {row["key"]: Source(**{name: row[name] or None for name in names}) for row in csv.DictReader(lines)}  # type: ignore[arg-type]


def attribution_text(municipality: str, release: str, sources: Iterable[Source]) -> str:
    """``ATTRIBUTION.md``: who is to be credited, and for what."""
    credits = [
        f"- **{_one_line(source.title)}** ({_link(source)}): {_one_line(source.attribution).rstrip('.')}."
        + (f" <{source.url}>" if source.url else "")
        for source in sources
    ]
    return f"""# Attribution: {_one_line(municipality)}, release {release}

Show these credits wherever the layer or a map of it is shown.

{_lines(credits)}

Kryss derived classes, positions and dates from the photos, and areas from the roads: the sources do not vouch for them.
`image_url` of an object links to the page of a photo that shows it, which names who took it. `LICENSE.md` says under which
terms each file is passed on.
"""


def licence_of(sources: Iterable[Source]) -> str:
    """SPDX expression of the release as a whole: the licences of its photos and of its roads, which hold together.

    A licence that is not known is ``LicenseRef-photos`` or ``LicenseRef-roads`` (`ATTRIBUTION.md` has its words), never a guess.
    """
    return " AND ".join(_ids(_made(sources))) or "NOASSERTION"


def licence_text(sources: Iterable[Source]) -> str:
    """``LICENSE.md``: under which terms each file is passed on, why, and how sure that is."""
    used = list(sources)
    part = {what: _ids(one for one in used if one.gives == what) for what in ("photos", "roads")}
    shared = {*SHARE_ALIKE} & {*part["photos"], *part["roads"]}
    text = f"""# Licences of this release

As a whole: `{licence_of(used)}` (SPDX). By file, the `.gz` as the plain one:

| file | made from | licence |
|---|---|---|
| `objects.*`, `changes.geojson` | what the photos show | {_named(part["photos"])} |
| `areas.*`, `roads.geojson` | the roads | {_named(part["roads"])} |
| `intersections.geojson` | both, side by side: objects as `objects.*`, areas as `areas.*` | {_named(_ids(_made(used)))} |
| `schema.json`, `*.qml` | Kryss itself | `Apache-2.0` |
| `index.html` | Kryss, MapLibre GL JS, sign pictures of Mapillary | `Apache-2.0`; what is in it: {IN_PAGE} |

What the sources ask for:

{_lines([f"- {_one_line(one.title)} ({_link(one)}): {_asks(one)}" for one in used])}
"""
    if shared:
        text += """
How sure this is: no court has decided whether facts read from photos (a sign stands here) are adapted from those photos, or
whether objects counted into areas of a road network form one database with it; this is the cautious reading, not legal advice.
"""
    if len(shared) > 1:
        text += """
CC BY-SA 4.0 and ODbL 1.0 both ask that what is derived stays under the same terms, and neither takes the other as equal. So
the two parts are kept in files of their own, each of which can be passed on under one licence; of an object, only
`intersection_id` refers to the roads.
"""
    return text


def _asks(source: Source) -> str:
    if source.gives == "boundary":
        return "credit. It chose what belongs to the municipality; no part of it is in these files."
    if source.spdx is None:
        return "what its credit in `ATTRIBUTION.md` says; ask its owner before you rely on more."
    asked = {
        "CC-BY-SA-4.0": "credit, a link to the licence, a note of changes (analysed by Kryss); what is adapted stays under it.",
        "ODbL-1.0": "credit; a database derived from it stays under it. A map drawn from it needs only the notice.",
        "Apache-2.0": "the licence and its notices go with it.",
    }
    return asked.get(source.spdx, "credit, a link to the licence, a note of changes (analysed by Kryss).")


def _made(sources: Iterable[Source]) -> Iterable[Source]:
    """Those of which something is in the files."""
    return (source for source in sources if source.gives != "boundary")


def _ids(sources: Iterable[Source]) -> list[str]:
    return list(dict.fromkeys(map(_spdx, sources)))


def _named(ids: Iterable[str]) -> str:
    return " and ".join(f"`{one}`" for one in ids) or "not known: no source was named"


def _lines(items: list[str]) -> str:
    return "\n".join(items) or "- No source was named."


def _spdx(source: Source) -> str:
    return source.spdx or f"LicenseRef-{source.gives}"


def _link(source: Source) -> str:
    return f"[{_one_line(source.licence)}]({source.licence_url})" if source.licence_url else _one_line(source.licence)


def _one_line(text: str) -> str:
    """Text of others on one line, and no markup: a name that holds `[` or `<` stays text."""
    flat = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>" else letter for letter in flat)
