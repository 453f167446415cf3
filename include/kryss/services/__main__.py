"""``python -m kryss.services up | down | doctor``: the commands of ``./kryss`` that need nothing but local services."""

from __future__ import annotations

import argparse
import sys
import time

from kryss.services import ServiceError, default_home


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="kryss", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="start PostGIS and Airflow, and say where they are")
    commands.add_parser("down", help="stop everything that this checkout started")
    doctor = commands.add_parser("doctor", help="say what is installed, running and missing, and how to get it")
    doctor.add_argument("--json", action="store_true", help="machine-readable")
    options = parser.parse_args(arguments)
    try:
        if options.command == "up":
            return _up()
        if options.command == "down":
            return _down()
        from kryss.services.doctor import run

        return run(as_json=options.json)
    except ServiceError as error:
        print(f"kryss {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _say(line: str) -> None:
    print(f"    {line}", flush=True)


def _up() -> int:
    from kryss.services import airflow

    began = time.monotonic()
    running = airflow.up(default_home(), _say)
    print(f"PostGIS   {running.database.where}")
    print(f"Airflow   {running.url}   user {running.user}, password {running.password}")
    print(f"up in {time.monotonic() - began:.1f} s; ./kryss down stops it")
    return 0


def _down() -> int:
    from kryss.services import control

    stopped = control.down(default_home(), _say)
    if not stopped:
        print("nothing was running")
    return 0


if __name__ == "__main__":
    sys.exit(main())
