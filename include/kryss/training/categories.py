"""Whose words a COCO file's category names are: Mapillary's, MTSD's, GTSDB's and GTSRB's (names, numbers), COCO's, plain ones
for lights.

A category may be coarser than our classes: ``traffic-light`` stands for every kind of light in any state, ``traffic-sign`` for
any sign. What a file calls so is compared with all our classes of that group together.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kryss.vision.taxonomy import LIGHT_PREFIX, classes, from_coco, from_gtsdb, from_gtsdb_name, from_mtsd, is_light

LIGHTS, SIGNS = "traffic-light", "traffic-sign"
GROUPS = (LIGHTS, SIGNS)
COLOURS = frozenset({"red", "amber", "yellow", "green", "redyellow", "redamber"})
LISA = frozenset({"go", "goleft", "goright", "goforward", "stopleft", "warningleft"})
"""States of lights in the data set of that name, beside its "stop" and "warning"."""
STATES = COLOURS | {"go", "off", "stop", "wait", "warning", "dark", "unlit", "unknown"}
"""What a light may show. A colour or a state of ``LISA`` as a whole name says that a file's "stop" is a light's and no sign's."""
BESIDE_STATES = frozenset(
    {
        "left",
        "right",
        "straight",
        "forward",
        "up",
        "turn",
        "arrow",
        "circle",
        "round",
        "solid",
        "main",
        "pedestrian",
        "ped",
        "bicycle",
        "bike",
        "vehicle",
        "flashing",
        "blinking",
        "on",
        "and",
    }
)
"""Words that come with a state ("red left")."""
LIGHT_WORDS = frozenset({"light", "lights", "signal", "signals", "tl"})
"""Mean lights where nothing but ``STATES`` and ``BESIDE_STATES`` stands beside them: a street light is none."""
LIGHT_PHRASES = re.compile(r"\b(traffic (light|lamp|signal)s?|stop lights?|light signals?|semaphores?|ampeln?|tl[sr])\b")
NOT_LIGHTS = frozenset({"sign", "signs", "ahead", "pole", "poles", "post", "box"})
"""Beside a phrase they make something else of it."""
SIGN_WORDS = frozenset({"sign", "signs", "traffic sign", "traffic signs", "road sign", "trafficsign"})
SIGNAL_WORDS = frozenset({"traffic signal", "traffic signals"})
"""The warning of lights in GTSDB, lights everywhere else."""
SUFFIX = re.compile(r"\s*\((prohibitory|danger|mandatory|other)\)$")
"""The super-category that GTSDB's ReadMe writes behind a name."""
NUMBER = re.compile(r"(class|sign|label|category|gtsdb|gtsrb)? ?0*(\d{1,2})")
LEAST_NUMBERS = 20
"""Names that are but numbers are those of any data set; this many of them, all up to 43, are GTSDB's."""
SUPERCATEGORIES = frozenset({"prohibitory", "danger", "mandatory"})
"""Of GTSDB."""
EVERYDAY = frozenset(
    {"animals", "bend", "bicycles", "construction", "danger", "pedestrian", "pedestrians", "snow", "wild animals"}
)
"""Names of GTSDB and GTSRB that mean something else in other files."""
_COLOUR = "|".join(sorted(COLOURS, key=len, reverse=True))
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
    names = {row["id"]: str(row.get("name") or "").strip() for row in rows}
    if not any(names.values()):
        names = {key: str(key) for key in names}
    hints = {row["id"]: _words(str(row.get("supercategory") or "")) for row in rows}
    said = {_words(name): meaning for name, meaning in (given or {}).items()}
    gtsdb = [name for name in names.values() if _words(name) in _gtsdb_words() and name.lower() not in LISA]
    of_gtsdb = len(gtsdb) >= max(3, VOCABULARY_SHARE * len(names))
    of_lights = not of_gtsdb and any(
        name.lower() in LISA or (_is_state(_words(name)) and set(_words(name).split()) & COLOURS) for name in names.values()
    )
    by_number = _numbers(names, bool(set(hints.values()) & SUPERCATEGORIES))
    found: dict[Any, str | None] = {}
    for key, name in names.items():
        meaning = by_number[key] if key in by_number else _meaning(name, hints[key], of_gtsdb, of_lights)
        found[key] = said.get(_words(name)) or meaning
        if _words(name) in SIGNAL_WORDS and not of_gtsdb and not said.get(_words(name)):
            found[key] = LIGHTS
    found = _by_ids(found, names)
    if sum(name is not None and group_of(name) == SIGNS for name in found.values()) > 2:
        # Beside classes of signs, "traffic sign" means the others, which nobody names.
        found = {key: None if name == SIGNS else name for key, name in found.items()}
    return Categories(
        {str(key): name for key, name in found.items() if name},
        tuple(sorted(names[key] for key, name in found.items() if not name)),
    )


def read_classes(names: Sequence[str]) -> frozenset[str]:
    """Classes and groups that a user names; ValueError for one that means nothing."""
    meant = {name: _by_number(name) or _meaning(name, "", True, False) for name in names if name.strip()}
    if unknown := [name for name, meaning in meant.items() if meaning is None]:
        raise ValueError(
            f"no class {unknown[0]!r}: name Mapillary classes (regulatory--yield--g1), names of GTSDB or COCO, or the groups "
            f"{' and '.join(GROUPS)}"
        )
    return frozenset(name for name in meant.values() if name)


def _meaning(name: str, hint: str, of_gtsdb: bool, of_lights: bool) -> str | None:
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
    if (of_lights or _is_of_lights(hint)) and _is_state(words):
        return LIGHTS
    for spelled in (words, _words(SUFFIX.sub("", name.lower()))):
        if spelled in _gtsdb_words() and (of_gtsdb or spelled not in EVERYDAY):
            return _gtsdb_words()[spelled]
    coco = {_words(key): value for key, value in from_coco().items()}
    if words in coco:
        return LIGHTS if is_light(coco[words]) else coco[words]
    return LIGHTS if _is_of_lights(words) or _is_of_lights(hint) else None


@cache
def _gtsdb_words() -> dict[str, str]:
    """What is written for the 43 classes of GTSDB and GTSRB, as words, to Mapillary class."""
    with Path(__file__).with_name("gtsrb_names.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    others = {_words(row["name"]): from_gtsdb()[int(row["gtsdb_id"])] for row in rows}
    return others | {_words(key): value for key, value in from_gtsdb_name().items()}


def _is_state(words: str) -> bool:
    parts = set(words.split())
    return bool(parts & STATES) and parts <= STATES | BESIDE_STATES


def _is_of_lights(words: str) -> bool:
    parts = set(words.split())
    if LIGHT_PHRASES.search(words):
        return not parts & NOT_LIGHTS
    return bool(parts & LIGHT_WORDS) and parts <= LIGHT_WORDS | STATES | BESIDE_STATES


def _by_number(name: str, first: int = 0) -> str | None:
    number = NUMBER.fullmatch(_words(name))
    return from_gtsdb().get(int(number[2]) - first) if number else None


def _numbers(names: Mapping[Any, str], of_gtsdb: bool) -> dict[Any, str | None]:
    """Category ids whose names are numbers, to what they mean. Numbers are GTSDB's, from 0, where there are ``LEAST_NUMBERS`` of
    them, where the file has its super-categories or where they say whose they are ("gtsrb 13"). With 43 and without 0 they are
    counted from 1; with both they are nobody's.
    """
    matches = {key: match for key, name in names.items() if (match := NUMBER.fullmatch(_words(name)))}
    numbers = {int(match[2]) for match in matches.values()}
    known = of_gtsdb or len(numbers) >= LEAST_NUMBERS or any(match[1] in ("gtsdb", "gtsrb") for match in matches.values())
    if not known or max(numbers, default=0) > 43 or numbers >= {0, 43}:
        return dict.fromkeys(matches)
    return {key: _by_number(names[key], int(43 in numbers)) for key in matches}


def _by_ids(found: dict[Any, str | None], names: Mapping[Any, str]) -> dict[Any, str | None]:
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
    """Lower-case words; "GreenLeft", "redleft" and "stoplight" are two, "30 km/h" is 30."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    words = re.sub(r"[^a-z0-9]+", " ", apart.lower()).strip()
    words = re.sub(r"(?<=\d) ?k ?m ?p? ?h\b", "", words)
    words = re.sub(r"\b(traffic|stop)(?=(light|signal|sign)s?\b)", r"\1 ", words)
    return re.sub(rf"\b({_COLOUR})(?=(left|right|straight|forward|up|arrow|circle|lights?)\b)", r"\1 ", words)
