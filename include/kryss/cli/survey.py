"""``./kryss survey``: a list of lights or signs with their places, of one day, into the database."""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from datetime import date
from pathlib import Path

from kryss.config import MunicipalityConfig, Settings
from kryss.history.surveys import DEFAULT_CLASS

COLUMNS = """columns of the table, in any order:
  lat, lon       position (WGS84 degrees, needed)
  class          in Mapillary's names; without it --class
  facing         where the front looks, degrees clockwise from true north
  id             what the source calls it

A survey without --partial says that what it does not list was not there. Surveys may be loaded in any order, and again.
A municipality that is not in include/municipalities.yaml is made with --name and --country; its junctions are the places
where at least two lights stand together.
"""


def survey_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = COLUMNS
    parser.add_argument("file", type=Path, metavar="CSV", help="the table")
    parser.add_argument("--code", required=True, help="code of the municipality")
    parser.add_argument("--date", type=date.fromisoformat, required=True, metavar="YYYY-MM-DD", help="the day of the survey")
    parser.add_argument("--name", help="name of the municipality, where it is new")
    parser.add_argument("--country", metavar="CC", help="its country, ISO 3166-1 alpha-2, where it is new")
    parser.add_argument("--source", help="name of the survey (default: that of the file); same day and source: the same survey")
    parser.add_argument("--class", dest="class_name", default=DEFAULT_CLASS, metavar="NAME", help=f"default {DEFAULT_CLASS}")
    parser.add_argument(
        "--accuracy-m", type=_positive, default=1.0, metavar="M", help="error of a position, one axis, one sigma (1.0)"
    )
    parser.add_argument("--partial", action="store_true", help="it does not list everything: nothing follows from what it lacks")


def _positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0.0):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def run(options: argparse.Namespace, settings: Settings, config: MunicipalityConfig | None) -> int:
    """Loads the survey and prints what changed."""
    from kryss.pipeline.surveys import place_of, take_survey
    from kryss.store import open_store

    store = open_store(settings.database_url.get_secret_value())
    store.migrate()
    place = place_of(options.code, config, options.name, options.country, store)
    taken = take_survey(
        store,
        settings,
        place,
        options.file,
        options.date,
        source=options.source,
        class_name=options.class_name,
        accuracy_m=options.accuracy_m,
        complete=not options.partial,
    )
    lines: dict[str, list[int]] = defaultdict(list)
    for line, reason in taken.survey.rejected:
        lines[reason].append(line)
    used, rejected = len(taken.survey.things), len(taken.survey.rejected)
    print(f"{place.name}, {options.date}: {used} rows of {options.file} used, {rejected} rejected")
    for reason, where in sorted(lines.items()):
        at = ", ".join(map(str, where[:5])) + (", ..." if len(where) > 5 else "")
        print(f"  {len(where)} rejected: {reason} (line {at})")
    if taken.outcome != "new":
        print(
            "  known already: nothing changed" if taken.outcome == "unchanged" else "  in place of the rows known of this survey"
        )
    print(f"  same {taken.same}, new {taken.new} (of which {taken.came} came between two surveys), gone {taken.gone}")
    if taken.withdrawn:
        print(f"  withdrawn {taken.withdrawn}: what told of them is told otherwise now")
    print(f"  standing {taken.objects}, of which {taken.assigned} belong to a junction")
    print(f"  junctions {taken.junctions}: {taken.new_junctions} new, {taken.lost_junctions} gone")
    return 0
