"""A survey into the database: what all surveys of a municipality tell, the junctions of what they list, and what changed.

A municipality has surveys or photos. What is told of it comes from one of the two: they are not joined into one history yet,
and neither is taken where the other is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pydantic import ValidationError

from kryss.config import ConfigError, MunicipalityConfig, Settings
from kryss.history.surveyed import believe_surveys
from kryss.history.surveys import DEFAULT_CLASS, SurveyError, boundary_around, read_survey
from kryss.model import Intersection, Municipality, StreetObject, Survey
from kryss.roads.areas import AreaMethod, with_areas
from kryss.roads.assignment import AssignmentRule, assign
from kryss.roads.boundary import load_boundary
from kryss.roads.identity import keep_ids
from kryss.roads.lights import junctions_of_lights
from kryss.store import Store
from kryss.store.merge import Counts
from kryss.store.write import Tx


@dataclass(frozen=True)
class Place:
    """The municipality of a survey."""

    code: str
    name: str
    country: str
    config: MunicipalityConfig | None = None
    """Its entry in the YAML; None: its boundary is what was surveyed, its junctions are where lights stand together."""


@dataclass(frozen=True)
class Taken:
    """What a survey changed."""

    survey: Survey
    outcome: str
    """``new``, ``unchanged`` or ``replaced``."""
    same: int
    """Listed and known before."""
    new: int
    """Never known before ..."""
    came: int
    """... of which came after a survey that does not list them."""
    gone: int
    """Believed to stand before, and now to have gone."""
    withdrawn: int
    """Believed before and no more: the rows that told of them were replaced, or two are one."""
    objects: int
    """Believed to stand now."""
    junctions: int
    new_junctions: int
    lost_junctions: int
    assigned: int
    """Of those that stand, how many belong to a junction."""


def place_of(code: str, config: MunicipalityConfig | None, name: str | None, country: str | None, store: Store) -> Place:
    """The municipality, from the YAML, from what was said of it, or from the database."""
    if config is not None:
        return Place(code, config.name, config.country, config)
    with store.snapshot() as reader:
        known = reader.municipality(code)
    if known is None and (name is None or country is None):
        raise ConfigError(f"municipality {code!r} is neither in the YAML nor in the database: say --name NAME --country CC")
    stated = {"code": code, "name": name or (known and known.name), "country": country or (known and known.country)}
    try:
        entry = MunicipalityConfig.model_validate(stated)
    except ValidationError as error:
        raise ConfigError("; ".join(f"{item['loc'][0]} {item['input']!r}: {item['msg']}" for item in error.errors())) from None
    return Place(entry.code, entry.name, entry.country)


def take_survey(
    store: Store,
    settings: Settings,
    place: Place,
    path: Path,
    surveyed_on: date,
    *,
    source: str | None = None,
    class_name: str = DEFAULT_CLASS,
    accuracy_m: float = 1.0,
    complete: bool = True,
) -> Taken:
    """Reads the file and makes everything that follows from it, in one transaction. A second time it writes nothing."""
    official = None if place.config is None else load_boundary(place.config, settings)
    survey = read_survey(
        path,
        surveyed_on,
        source=source,
        class_name=class_name,
        accuracy_m=accuracy_m,
        complete=complete,
        boundary=official,
    )
    with store.transaction(place.code) as tx:
        if tx.image_ids(place.code):
            raise SurveyError(f"municipality {place.code} has photos; a survey cannot be joined with what they tell yet")
        surveys = {one.id: one for one in tx.surveys(place.code)} | {survey.id: survey}
        boundary = official or boundary_around(surveys.values())
        tx.upsert_municipality(Municipality(place.code, place.name, place.country, boundary))
        outcome = tx.load_survey(survey)
        before = {one.id: one for one in tx.objects(place.code)}
        told = believe_surveys(
            surveys.values(),
            list(before.values()),
            tx.withdrawn_objects(place.code),
            tx.object_ids(place.code),
            [survey.id] if outcome == "replaced" else [],
        )
        tx.write_objects(place.code, told.objects, reasons=told.reasons, lineage=told.lineage)
        objects = tx.objects(place.code)
        known_junctions = {one.id for one in tx.intersections(place.code)}
        junctions = _junctions(tx, place, objects)
        assigned = assign(objects, junctions, _rule(place))
        tx.write_assignments(place.code, assigned)
    standing = sum(one.id in assigned for one in objects if one.ended_at is None)
    return _taken(survey, outcome, before, objects, known_junctions, {one.id for one in junctions}, standing)


def _junctions(tx: Tx, place: Place, objects: list[StreetObject]) -> list[Intersection]:
    """Those of the lights, or where the YAML names another source, those that its roads gave."""
    if place.config is not None and place.config.roads != "objects":
        return tx.intersections(place.code)
    write_junctions_of_lights(tx, place.code, objects, "square" if place.config is None else place.config.area)
    return tx.intersections(place.code)


def write_junctions_of_lights(tx: Tx, code: str, objects: list[StreetObject], area: AreaMethod) -> Counts:
    """The junctions where lights stand together, with the ids that they had."""
    found = keep_ids(junctions_of_lights(objects), tx.intersections_ever(code))
    return tx.write_intersections(code, with_areas(found, area))


def _rule(place: Place) -> AssignmentRule:
    """Without photos there are no views, which the thesis's rule needs."""
    return "facing" if place.config is None or place.config.assignment == "thesis" else place.config.assignment


def _taken(
    survey: Survey,
    outcome: str,
    before: dict[str, StreetObject],
    objects: list[StreetObject],
    known_junctions: set[str],
    junctions: set[str],
    assigned: int,
) -> Taken:
    new = [one for one in objects if one.id not in before]
    listed = [one for one in objects if any(source == survey.id for source, _ in one.evidence)]
    return Taken(
        survey=survey,
        outcome=outcome,
        same=sum(one.id in before for one in listed),
        new=len(new),
        came=sum(one.began_after is not None for one in new),
        gone=sum(one.ended_at is not None and one.id in before and before[one.id].ended_at is None for one in objects),
        withdrawn=len(before.keys() - {one.id for one in objects}),
        objects=sum(one.ended_at is None for one in objects),
        junctions=len(junctions),
        new_junctions=len(junctions - known_junctions),
        lost_junctions=len(known_junctions - junctions),
        assigned=assigned,
    )
