"""Which old releases are taken away, and how.

A municipality's newest releases are kept, by number and by age against the newest one (never the clock's), and with them whatever
``latest.json`` names and each release that a kept one tells its changes against. That goes one step: a release that is kept only
as the previous of another may name one that is gone, and there the chain of ``previous`` ends. The database can make them again
(`kryss.layer.rebuild`), all but those of schema 1.
"""

from __future__ import annotations

import logging
from datetime import date, timedelta

from kryss.layer.geojson import LayerError
from kryss.layer.storage import MANIFEST, Shelf, name_key

log = logging.getLogger(__name__)


def prune(shelf: Shelf, keep: int | None, days: int | None) -> tuple[str, ...]:
    """Takes old releases away and returns their names, oldest first; with neither ``keep`` nor ``days``, none.

    A release stays if it is among the newest ``keep``, or less than ``days`` older than the newest. First ``latest.json`` stops
    listing what goes, then each release stops being one (its manifest goes first, or its folder is renamed), then its files go:
    whoever dies in between leaves a shelf that holds. A folder with files that no manifest lists is left alone, and so is
    everything else on the shelf.
    """
    if keep is None and days is None:
        return ()
    if keep is not None and keep < 1:
        raise LayerError(f"cannot keep {keep} releases; keep 1 at least")
    if days is not None and days < 0:
        raise LayerError(f"cannot keep the releases of {days} days")
    with shelf.writing():
        names, pointer = shelf.names(), shelf.latest()
        if pointer is None:
            return ()
        kept = _kept(shelf, names, str(pointer["release"]), keep, days)
        going = [name for name in names if name not in kept and _is_plain(shelf, name)]
        if going:
            shelf.point({**pointer, "releases": [name for name in names if name not in going]})
        for name in going:
            shelf.remove(name)
            log.info("release %s of %s: taken away, it is old", name, shelf.code)
    return tuple(going)


def _kept(shelf: Shelf, names: list[str], current: str, keep: int | None, days: int | None) -> set[str]:
    chosen = {current, *(names[-keep:] if keep is not None else ())}
    if days is not None:
        oldest = _day(names[-1]) - timedelta(days=days)
        chosen |= {name for name in names if _day(name) > oldest}
    previous = ((shelf.manifest(name) or {}).get("previous") for name in sorted(chosen))
    return chosen | {str(name) for name in previous if name is not None}


def _day(name: str) -> date:
    return date.fromisoformat(name_key(name)[0])


def _is_plain(shelf: Shelf, name: str) -> bool:
    """Whether a release holds nothing but what its manifest lists."""
    listed = {entry["name"] for entry in (shelf.manifest(name) or {})["files"]} | {MANIFEST}
    foreign = [file for file in shelf.files(name) if file not in listed]
    if foreign:
        log.warning("release %s of %s is old but stays: %s in it is not the release's", name, shelf.code, foreign[0])
    return not foreign
