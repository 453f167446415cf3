"""``python -m kryss.layer diff A B`` and ``python -m kryss.layer validate DIR``: for consumers, without a database or Airflow.

A and B are release folders or ``objects.geojson`` files, as paths or fsspec URLs. Exit status: 0 valid or the same, 1 problems or
differences, 2 trouble.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from kryss.layer.consumer import diff
from kryss.layer.validate import validate


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="kryss.layer", description="Tools for those who consume a Kryss layer.")
    commands = parser.add_subparsers(dest="command", required=True)
    telling = commands.add_parser("diff", help="say what changed from release A to release B")
    telling.add_argument("a", help="release folder or objects.geojson, a path or URL")
    telling.add_argument("b")
    telling.add_argument("--json", action="store_true", help="as changes.geojson instead of lines")
    checking = commands.add_parser("validate", help="check a release folder; prints its problems")
    checking.add_argument("folder")
    chosen = parser.parse_args(arguments)
    if chosen.command == "validate":
        problems = validate(chosen.folder)
        verdict = f"{chosen.folder}: {f'{len(problems)} problems' if problems else 'valid'}"
        sys.stdout.write("\n".join([*problems, verdict]) + "\n")
        return 1 if problems else 0
    try:
        return int(diff(chosen.a, chosen.b, as_json=chosen.json))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"kryss.layer diff: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
