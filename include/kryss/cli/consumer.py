"""``./kryss diff``, ``validate`` and ``rebuild``: releases compared, checked and made again.

The first two need nothing but the files of a release.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

QUIET_S = 10.0
"""Work that takes longer says so, and again after as long."""

DIFF = """\
A and B: release folders, or files objects.geojson or objects.geojson.gz, as paths or URLs (https://, s3://, ...). They need
not be neighbours. What happened in the street comes first.

examples:
  ./kryss diff .kryss/releases/5001/2026-05-14.1 .kryss/releases/5001/2026-05-21.1
  ./kryss diff --json https://layers.example.org/5001/2026-05-14.1 https://layers.example.org/5001/2026-05-21.1 | jq .counts
  ./kryss diff --json --out changes.geojson A B

exit status: 0 nothing differs, 1 something does, 2 they could not be compared
"""
VALIDATE = """\
Checks sizes, checksums, schema and geometry of a release, and that its files agree with each other.

examples:
  ./kryss validate .kryss/releases/5001/2026-05-21.1
  ./kryss validate https://layers.example.org/5001/2026-05-21.1

exit status: 0 valid, 1 there are problems, one line each (that it cannot be read is one), 2 wrong use
"""
REBUILD = """\
Makes a past release again from what the database believed then, into DIR/<its name>/, and compares every file with what was
recorded when it was published. Where one differs it says why: another version of the code, or photos that were removed since.

examples:
  ./kryss rebuild 5001 --as-of 2026-05-20 --out /tmp/again      the newest release of that day or before
  ./kryss rebuild 5001 --release 2026-05-14.1 --out /tmp/again

exit status: 0 every byte is the same, 1 some file differs, 2 it could not be made
"""


def diff_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``diff``."""
    _explained(parser, DIFF)
    parser.add_argument("a", metavar="A", help="the older release")
    parser.add_argument("b", metavar="B", help="the newer one")
    parser.add_argument("--json", action="store_true", help="all of it as GeoJSON, like changes.geojson of a release")
    parser.add_argument("--out", type=Path, metavar="FILE", help="into this file, which is replaced")


def validate_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``validate``."""
    _explained(parser, VALIDATE)
    parser.add_argument("release", metavar="DIR|URL", help="the folder of a release")


def rebuild_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``rebuild``."""
    _explained(parser, REBUILD)
    parser.add_argument("code", metavar="CODE", help="code of the municipality")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--as-of", type=_day, metavar="YYYY-MM-DD", help="the newest release of this day or before")
    which.add_argument("--release", metavar="YYYY-MM-DD.N", help="this release")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to put it into")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; give it as YYYY-MM-DD") from None


def _explained(parser: argparse.ArgumentParser, text: str) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = text


def run_diff(options: argparse.Namespace) -> int:
    """Tells what changed between two releases."""
    from kryss.layer.consumer import diff
    from kryss.layer.geojson import LayerError

    try:
        with _saying("comparing"):
            differs = diff(options.a, options.b, as_json=options.json, out=options.out)
            sys.stdout.flush()
    except BrokenPipeError:  # a reader like head that had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (LayerError, OSError) as error:
        return _trouble("diff", error)
    return 1 if differs else 0


def run_validate(options: argparse.Namespace) -> int:
    """Checks a release and prints its problems."""
    from kryss.layer.geojson import LayerError
    from kryss.layer.validate import validate

    try:
        with _saying("checking"):
            problems = validate(options.release)
    except (LayerError, OSError) as error:
        return _trouble("validate", error)
    for problem in problems:
        print(problem)
    verdict = f"{len(problems)} problem{'s' * (len(problems) != 1)}" if problems else "valid"
    print(f"{options.release}: {verdict}")
    return 1 if problems else 0


def run_rebuild(options: argparse.Namespace, database_url: str) -> int:
    """Makes a release again and says whether it is the same."""
    from kryss.layer.geojson import LayerError
    from kryss.layer.rebuild import rebuild
    from kryss.store import StoreError, open_store

    try:
        with _saying("rebuilding"), open_store(database_url).snapshot() as reader:
            again = rebuild(reader, options.code, options.out, name=options.release, as_of=options.as_of)
    except (LayerError, StoreError, OSError) as error:
        return _trouble("rebuild", error)
    print(f"{again.folder}: release {again.name} of {options.code}, as believed at {again.system_at.isoformat()}")
    for file, why in sorted(again.differences.items()):
        print(f"  {file} differs: {why}")
    print("every byte is as it was published" if again.is_identical else f"{len(again.differences)} files differ")
    return 0 if again.is_identical else 1


def _trouble(command: str, error: Exception) -> int:
    sys.stdout.flush()
    print(f"kryss {command}: {error}", file=sys.stderr)
    return 2


@contextmanager
def _saying(what: str) -> Iterator[None]:
    """Says on standard error, now and then, that work is still under way."""
    began, done = time.monotonic(), threading.Event()

    def tell() -> None:
        while not done.wait(QUIET_S):
            print(f"{what}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()
