"""``./kryss COMMAND``: what a person types. Set-up of the environment itself is the launcher's (``kryss``, bash)."""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from kryss.cli import consumer
from kryss.cli.evaluate import evaluate_arguments
from kryss.cli.locate import locate_arguments
from kryss.cli.survey import survey_arguments
from kryss.cli.train import train_arguments
from kryss.config import ROOT, ConfigError, MunicipalityConfig, Settings, load_municipalities
from kryss.services import ServiceError, default_home

if TYPE_CHECKING:
    from kryss.services.airflow import RunOutcome

EPILOG = "Settings come from KRYSS_* variables; see README.md and docs/operations.md."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kryss", description="A dated map layer of road intersections.", epilog=EPILOG)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    demo = add("demo", "Play a recorded area through Airflow to dated releases, and show what changed.", _demo)
    demo.add_argument("--area", type=Path, metavar="DIR", help="recorded area (default: the shipped town)")
    demo.add_argument("--release", type=Path, metavar="DIR", help="publish into this folder (default: .kryss/releases)")
    demo.add_argument("--keep", action="store_true", help="go on from the last demo instead of starting anew")
    demo.add_argument("--down", action="store_true", help="stop everything at the end")

    test = add("test", "Run the tests (real PostGIS, real HTTP on loopback, real Airflow). Arguments go to pytest.", _test)
    test.add_argument("others", nargs="*", metavar="...", help="e.g. tests/store -k merge, or -m slow")

    add("up", "Start PostGIS and Airflow, or find them running.", _up)
    add("down", "Stop what up, demo and refresh started, by recorded process id.", _down)

    refresh = add("refresh", "Refresh one municipality through Airflow and print the report.", _refresh)
    refresh.add_argument("code", help="code of the municipality in include/municipalities.yaml")
    refresh.add_argument("--force", action="store_true", help="process every photo again")
    refresh.add_argument("--limit", type=int, metavar="N", help="at most N new photos")
    refresh.add_argument("--model", metavar="NAME", help="a model of the registry instead of the configured one")
    refresh.add_argument("--approve", action="store_true", help="publish although the check would hold the release back")
    refresh.add_argument("--date", type=date.fromisoformat, metavar="YYYY-MM-DD", help="date of the release (default: today)")
    refresh.add_argument("--roads", action="store_true", help="load boundary and junctions anew first")

    reprocess = add("reprocess", "Send known photos through another model, through Airflow, and print the report.", _reprocess)
    reprocess.add_argument("code", help="code of the municipality in include/municipalities.yaml")
    reprocess.add_argument("--model", required=True, metavar="NAME", help="a model of the registry: name or name@version")
    reprocess.add_argument("--since", type=date.fromisoformat, metavar="YYYY-MM-DD", help="only photos captured then or later")
    reprocess.add_argument("--until", type=date.fromisoformat, metavar="YYYY-MM-DD", help="only photos captured then or earlier")
    reprocess.add_argument("--limit", type=int, metavar="N", help="at most N photos, the oldest first; run again to go on")
    reprocess.add_argument("--force", action="store_true", help="photos that this model has seen, too")
    reprocess.add_argument("--approve", action="store_true", help="publish although the check would hold the release back")
    reprocess.add_argument("--date", type=date.fromisoformat, metavar="YYYY-MM-DD", help="date of the release (default: today)")

    takedown = add(
        "takedown", "Remove photos and their evidence everywhere, through Airflow, and never load them again.", _takedown
    )
    takedown.add_argument("code", help="code of the municipality in include/municipalities.yaml")
    which = takedown.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--image", action="extend", nargs="+", type=_photo_id, default=[], metavar="ID", help="Mapillary image ids"
    )
    which.add_argument("--sequence", action="extend", nargs="+", default=[], metavar="ID", help="all known photos of sequences")
    takedown.add_argument("--reason", required=True, metavar="TEXT", help="who asked, and why; kept in the report")
    takedown.add_argument("--date", type=date.fromisoformat, metavar="YYYY-MM-DD", help="date of the release (default: today)")

    record = add("record", "Record a municipality from the live services as an area that can be played back.", _record)
    record.add_argument("code", help="code of the municipality in include/municipalities.yaml")
    record.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make; must not exist yet")
    record.add_argument("--bbox", metavar="W,S,E,N", help="record only this part of the municipality (degrees)")

    record.add_argument("--limit", type=int, metavar="N", help="at most N photos, the earliest")

    locate = add("locate", "Place the objects of a table of detections (camera positions and bearings) on a map.", _locate)
    locate_arguments(locate)

    survey = add("survey", "Load a survey: a table of lights or signs with their places, of one day.", _survey)
    survey_arguments(survey)

    diff = add("diff", "Say what changed from release A to release B.", _diff)
    consumer.diff_arguments(diff)

    validate = add("validate", "Check a release: a folder or a URL.", _validate)
    consumer.validate_arguments(validate)

    rebuild = add("rebuild", "Make a past release again from the database, byte for byte.", _rebuild)
    consumer.rebuild_arguments(rebuild)

    train = add("train", "Train a detector, its reader or a depth net; make what they learn from.", _train)
    train_arguments(train)

    evaluate = add("evaluate", "Judge a detector by labelled photos: precision, recall, average precision.", _evaluate)
    evaluate_arguments(evaluate)

    add("url", "Print the URL of the database, for psql (it holds the password).", _url)

    doctor = add("doctor", "Say what is installed, running and missing, and how to get it.", _doctor)
    doctor.add_argument("--json", action="store_true", help="as JSON")

    bench = add("bench", "Run a benchmark of bench/ (none: list them).", _bench)
    bench.add_argument("name", nargs="?", help="name of the benchmark")
    bench.add_argument("others", nargs="*", metavar="...", help="its own arguments")
    return parser


def _photo_id(text: str) -> str:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no id of a Mapillary photo: those are digits")
    return text


def _demo(options: argparse.Namespace) -> int:
    from kryss.cli.demo import demo

    return demo(options.area, options.release, keep=options.keep, down=options.down, home=default_home())


def _services(*arguments: str) -> int:
    from kryss.services.__main__ import main as services

    return services(list(arguments))


def _up(options: argparse.Namespace) -> int:
    status = _services("up")
    if status == 0:
        _migrate(_database_url())
    return status


def _down(options: argparse.Namespace) -> int:
    return _services("down")


def _doctor(options: argparse.Namespace) -> int:
    return _services("doctor", *(["--json"] if options.json else []))


def _database_url() -> str:
    from kryss.services.postgres import ensure_postgis

    return ensure_postgis(default_home()).url


def _migrate(database_url: str) -> None:
    from kryss.store import open_store

    open_store(database_url).migrate()


def _url(options: argparse.Namespace) -> int:
    print(_database_url())
    return 0


def _municipality(code: str) -> MunicipalityConfig:
    known = load_municipalities()
    if code not in known:
        near = difflib.get_close_matches(code, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known)}"
        raise ConfigError(f"no municipality {code!r} in include/municipalities.yaml; {hint}")
    return known[code]


def _airflow_run(config: MunicipalityConfig, run: Callable[[Path, Settings], tuple[RunOutcome, object]]) -> int:
    """Starts what is needed, runs, and says how it ended and where to look."""
    from kryss.services import airflow

    home = default_home()
    running = airflow.up(home, lambda line: print(f"    {line}", flush=True))
    settings = Settings.from_env(database_url=running.database.url)
    _migrate(running.database.url)
    if settings.token_for(config.services) is None:
        print("note: KRYSS_MAPILLARY_TOKEN is not set; the run needs the Airflow connection kryss_mapillary", file=sys.stderr)
    outcome, _ = run(home, settings)
    print(f"{outcome.state} in {outcome.seconds:.0f} s: {running.url}/dags/{outcome.dag_id}/runs/{outcome.run_id}")
    return 0 if outcome.ok else 1


def _day(day: date | None) -> str | None:
    return day.isoformat() if day else None


def _refresh(options: argparse.Namespace) -> int:
    from kryss.cli.refresh import refresh_through_airflow

    config = _municipality(options.code)
    params = {
        "force": options.force,
        "limit": options.limit,
        "model": options.model,
        "approve": options.approve,
        "release_date": _day(options.date),
    }
    return _airflow_run(
        config, lambda home, settings: refresh_through_airflow(home, settings, config.code, params, options.roads)
    )


def _reprocess(options: argparse.Namespace) -> int:
    from kryss.cli.refresh import run_through_airflow
    from kryss.vision.registry import resolve

    config = _municipality(options.code)
    resolve(options.model)
    params = {
        "code": config.code,
        "model": options.model,
        "since": _day(options.since),
        "until": _day(options.until),
        "limit": options.limit,
        "force": options.force,
        "approve": options.approve,
        "release_date": _day(options.date),
    }
    return _airflow_run(
        config,
        lambda home, settings: run_through_airflow(home, settings, config.code, "reprocess", params, "maintenance.py"),
    )


def _takedown(options: argparse.Namespace) -> int:
    from kryss.cli.refresh import run_through_airflow

    config = _municipality(options.code)
    params = {
        "code": config.code,
        "image_ids": options.image,
        "sequence_ids": options.sequence,
        "reason": options.reason,
        "release_date": _day(options.date),
    }
    return _airflow_run(
        config,
        lambda home, settings: run_through_airflow(home, settings, config.code, "takedown", params, "maintenance.py"),
    )


def _record(options: argparse.Namespace) -> int:
    from kryss.cli.record import record

    config = _municipality(options.code)
    settings = Settings.from_env(database_url=os.environ.get("KRYSS_DATABASE_URL") or "postgresql://unused")
    return record(config, settings, options.out, options.bbox, options.limit)


def _evaluate(options: argparse.Namespace) -> int:
    from kryss.cli.evaluate import run

    return run(options)


def _locate(options: argparse.Namespace) -> int:
    from kryss.cli.locate import run

    return run(options)


def _survey(options: argparse.Namespace) -> int:
    from kryss.cli.survey import run

    settings = Settings.from_env(database_url=os.environ.get("KRYSS_DATABASE_URL") or _database_url())
    return run(options, settings, load_municipalities().get(options.code))


def _train(options: argparse.Namespace) -> int:
    from kryss.cli.train import run

    return run(options)


def _diff(options: argparse.Namespace) -> int:
    return consumer.run_diff(options)


def _validate(options: argparse.Namespace) -> int:
    return consumer.run_validate(options)


def _rebuild(options: argparse.Namespace) -> int:
    return consumer.run_rebuild(options, os.environ.get("KRYSS_DATABASE_URL") or _database_url())


def _test(options: argparse.Namespace) -> int:
    # Each worker has servers, ports and folders of its own; a file stays whole, so that what its tests share is made once.
    spread = [] if options.others else ["-n", str(min(4, os.cpu_count() or 1)), "--dist", "loadfile"]
    return subprocess.call([sys.executable, "-m", "pytest", *spread, *options.others], cwd=ROOT)


def _bench(options: argparse.Namespace) -> int:
    found = {path.stem: path for path in sorted((ROOT / "bench").glob("[a-z]*.py"))}
    if options.name is None:
        print("Benchmarks (./kryss bench NAME):\n" + "\n".join(f"  {name}" for name in found))
        return 0
    if options.name not in found:
        print(f"no benchmark {options.name!r}; there are: {', '.join(found)}", file=sys.stderr)
        return 2
    return subprocess.call([sys.executable, str(found[options.name]), *options.others], cwd=ROOT)


def _expected() -> tuple[type[Exception], ...]:
    """Errors that a person can mend: their message says it all. Their rooms are only imported when something went wrong."""
    from kryss.demo.area import AreaError
    from kryss.demo.record import RecordError
    from kryss.history.surveys import SurveyError
    from kryss.http import ServiceError as RequestError
    from kryss.roads.boundary import BoundaryError, MunicipalityNotFound
    from kryss.store import StoreError
    from kryss.training.data.check import BrokenDataError
    from kryss.training.recipe import Interrupted, OtherRun, RecipeError
    from kryss.vision.registry import NotRegistered, UnknownWeights, WeightsDamaged, WeightsUnavailable

    return (
        UnknownWeights,
        NotRegistered,
        WeightsDamaged,
        WeightsUnavailable,
        BrokenDataError,
        RecipeError,
        OtherRun,
        Interrupted,
        ConfigError,
        ServiceError,
        StoreError,
        AreaError,
        RequestError,
        RecordError,
        MunicipalityNotFound,
        BoundaryError,
        SurveyError,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    passed_on: list[str] = []
    own = {"test": 1, "bench": 2}.get(given[0] if given else "", len(given))
    if not {"-h", "--help"} & set(given[:own]) and given[1:2] not in (["-h"], ["--help"]):
        given, passed_on = given[:own], given[own:]
    options = _parser().parse_args(given)
    if passed_on:
        options.others = passed_on
    logging.basicConfig(level=os.environ.get("KRYSS_LOG_LEVEL", "WARNING"), format="%(levelname)s %(name)s: %(message)s")
    try:
        return options.run(options)
    except Exception as error:
        if not isinstance(error, _expected()):
            raise
        print(f"kryss {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
