"""``python -m kryss.layer diff A B`` and ``python -m kryss.layer validate DIR``: for consumers, without a database or Airflow.

A and B are release folders or ``intersections.geojson`` files, as paths or fsspec URLs. Exit status: 0 valid or told, 1 problems,
2 wrong use.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

import fsspec

from kryss.layer.changes import diff
from kryss.layer.geojson import Json, dump
from kryss.layer.validate import validate


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="kryss.layer", description="Tools for those who consume a Kryss layer.")
    commands = parser.add_subparsers(dest="command", required=True)
    telling = commands.add_parser("diff", help="say what changed from release A to release B")
    telling.add_argument("a", help="release folder or intersections.geojson, a path or URL")
    telling.add_argument("b")
    telling.add_argument("--json", action="store_true", help="the whole list as JSON instead of lines")
    checking = commands.add_parser("validate", help="check a release folder; prints its problems")
    checking.add_argument("folder")
    chosen = parser.parse_args(arguments)
    if chosen.command == "validate":
        problems = validate(chosen.folder)
        verdict = f"{chosen.folder}: {f'{len(problems)} problems' if problems else 'valid'}"
        sys.stdout.write("\n".join([*problems, verdict]) + "\n")
        return 1 if problems else 0
    try:
        changes = diff(_layer(chosen.a), _layer(chosen.b))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"kryss.layer diff: {error}\n")
        return 2
    if chosen.json:
        sys.stdout.write(dump(changes.document()).decode())
    else:
        sys.stdout.write(("\n".join(changes.lines()) or "nothing changed in the street or in what is known of it") + "\n")
    return 0


def _layer(where: str) -> Json:
    url = where if where.endswith("json") else f"{where.rstrip('/')}/intersections.geojson"
    with fsspec.open(url, "rb") as file:
        layer: Json = json.load(file)
    if layer.get("type") != "FeatureCollection":
        raise ValueError(f"{url} is no FeatureCollection; name a release folder or its intersections.geojson")
    return layer


if __name__ == "__main__":
    sys.exit(main())
