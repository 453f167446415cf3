"""Whose words a COCO file's category names are: Mapillary's, MTSD's, GTSDB's (names, numbers), COCO's, plain ones for lights.

A category may be coarser than our classes: ``traffic-light`` stands for every kind of light in any state, ``traffic-sign`` for
any sign. What a file calls so is compared with all our classes of that group together.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from kryss.vision.taxonomy import LIGHT_PREFIX, classes, from_coco, from_gtsdb, from_gtsdb_name, from_mtsd, is_light

LIGHTS, SIGNS = "traffic-light", "traffic-sign"
GROUPS = (LIGHTS, SIGNS)
COLOURS = frozenset({"red", "amber", "yellow", "green", "redyellow", "redamber"})
LISA = frozenset({"go", "goleft", "goright", "goforward", "stopleft", "warningleft"})
"""States of lights in the data set of that name, beside its "stop" and "warning"."""
STATES = COLOURS | LISA | {"off", "stop", "warning", "stopright", "warningright", "dark", "unlit", "unknown"}
"""What a light may show. One of ``COLOURS`` or ``LISA`` in a file says that its "stop" is a light's and no sign's."""
BESIDE_STATES = frozenset(
    {
        "left",
        "right",
        "straight",
        "forward",
        "up",
        "arrow",
        "circle",
        "main",
        "pedestrian",
        "bicycle",
        "flashing",
        "blinking",
        "on",
    }
)
"""Words that come with a state ("red left")."""
LIGHT_WORDS = frozenset({"light", "lights", "trafficlight", "trafficlights", "semaphore", "ampel"})
SIGN_WORDS = frozenset({"sign", "signs", "traffic sign", "traffic signs", "road sign", "trafficsign"})
SIGNAL_WORDS = frozenset({"traffic signal", "traffic signals"})
"""The warning of lights in GTSDB, lights everywhere else."""
SUFFIX = re.compile(r"\s*\((prohibitory|danger|mandatory|other)\)$")
"""The super-category that GTSDB's ReadMe writes behind a name."""
NUMBER = re.compile(r"(?:class|sign|gtsdb|gtsrb)?\s*0*(\d{1,2})")
VOCABULARY_SHARE = 0.5
"""From this share of names on, a file speaks GTSDB's words, and its numbers name what the words do not."""


@dataclass(frozen=True, slots=True)
class Categories:
    """What a file's categories mean."""

    class_of: Mapping[str, str]
    """Category id (as text) to Mapillary class or group."""
    unknown: tuple[str, ...]
    """Names that mean none of our classes."""


def group_of(class_name: str) -> str:
    """The group that a class belongs to."""
    return LIGHTS if is_light(class_name) or class_name == LIGHTS else SIGNS


def read_categories(categories: Iterable[Mapping[str, Any]], given: Mapping[str, str] | None = None) -> Categories:
    """``given``: category name to class or group, where the user says it."""
    rows = [row for row in categories if isinstance(row, Mapping) and "id" in row]
    names = {row["id"]: str(row.get("name", "")).strip() for row in rows}
    said = {_words(name): meaning for name, meaning in (given or {}).items()}
    gtsdb = [name for name in names.values() if _words(name) in _gtsdb_words()]
    of_gtsdb = len(gtsdb) >= max(3, VOCABULARY_SHARE * len(names))
    of_lights = not of_gtsdb and any(
        {*_words(name).split(), _words(name).replace(" ", "")} & (COLOURS | LISA) for name in names.values()
    )
    found: dict[Any, str | None] = {}
    for row in rows:
        name = names[row["id"]]
        hint = _words(str(row.get("supercategory") or ""))
        found[row["id"]] = said.get(_words(name)) or _meaning(name, hint, of_lights)
        if _words(name) in SIGNAL_WORDS and not of_gtsdb and not said.get(_words(name)):
            found[row["id"]] = LIGHTS
    found = _by_number(found, names)
    if sum(name is not None and group_of(name) == SIGNS for name in found.values()) > 2:
        # Beside classes of signs, "traffic sign" means the others, which nobody names.
        found = {key: None if name == SIGNS else name for key, name in found.items()}
    return Categories(
        {str(key): name for key, name in found.items() if name},
        tuple(sorted(names[key] for key, name in found.items() if not name)),
    )


def read_classes(names: Sequence[str]) -> frozenset[str]:
    """Classes and groups that a user names; ValueError for one that means nothing."""
    meant = {name: _meaning(name, "", False) for name in names if name.strip()}
    if unknown := [name for name, meaning in meant.items() if meaning is None]:
        raise ValueError(
            f"no class {unknown[0]!r}: name Mapillary classes (regulatory--yield--g1), names of GTSDB or COCO, or the groups "
            f"{' and '.join(GROUPS)}"
        )
    return frozenset(name for name in meant.values() if name)


def _meaning(name: str, hint: str, of_lights: bool) -> str | None:
    ours = {row.name for row in classes()}
    if name in ours:
        return name
    if name in from_mtsd():
        return from_mtsd()[name]
    if name.startswith(LIGHT_PREFIX):
        return LIGHTS
    if "--" in name:
        return None
    words = _words(name)
    if words in (_words(group) for group in GROUPS) or words in SIGN_WORDS:
        return LIGHTS if words == _words(LIGHTS) else SIGNS
    if (of_lights or _is_of_lights(hint)) and (set(words.split()) & STATES) and set(words.split()) <= STATES | BESIDE_STATES:
        return LIGHTS
    if number := NUMBER.fullmatch(words):
        return from_gtsdb().get(int(number[1]))
    for spelled in (words, _words(SUFFIX.sub("", name.lower()))):
        if spelled in _gtsdb_words():
            return _gtsdb_words()[spelled]
    coco = {_words(key): value for key, value in from_coco().items()}
    if words in coco:
        return LIGHTS if is_light(coco[words]) else coco[words]
    return LIGHTS if _is_of_lights(words) or _is_of_lights(hint) else None


@cache
def _gtsdb_words() -> dict[str, str]:
    return {_words(key): value for key, value in from_gtsdb_name().items()}


def _is_of_lights(words: str) -> bool:
    parts = words.split()
    return bool(set(parts) & LIGHT_WORDS or words.startswith(("trafficlight", "trafficsignal", "traffic signal")))


def _by_number(found: dict[Any, str | None], names: Mapping[Any, str]) -> dict[Any, str | None]:
    """A file whose names are mostly GTSDB's, numbered as GTSDB numbers them (or from 1): the number says what a name does not."""
    number_of = {name: number for number, name in from_gtsdb().items()}
    offsets = Counter(key - number_of[name] for key, name in found.items() if isinstance(key, int) and name in number_of)
    if not offsets:
        return found
    [(offset, times)] = offsets.most_common(1)
    if times < VOCABULARY_SHARE * len(found) or times < 10:
        return found
    return {key: name or (from_gtsdb().get(key - offset) if isinstance(key, int) else None) for key, name in found.items()}


def _words(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()
