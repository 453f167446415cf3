"""``./kryss locate``: a table of anybody's detections to a GeoJSON of objects. No database, no Airflow, no network."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

COLUMNS = """\
Columns of the CSV (header needed, any order, others are ignored; docs/locate.md tells more):
  lat, lon            position of the camera, WGS84 degrees (needed)
  bearing_deg         from the camera to the object, clockwise from true north (needed)
  range_m             distance to the object; else:
  depth               distance in any unit, one for the file or the sequence: its scale is estimated
  class, score        what was seen, and how sure that is
  image_id            detections of one photo; without it those of one lat, lon (and captured_at) are one photo
  sequence_id         photos of one drive, whose positions err together
  captured_at         ISO 8601, or milliseconds since 1970
  position_sigma_m, bearing_sigma_deg, range_sigma_m     one-sigma errors
"""


def locate_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = COLUMNS
    parser.add_argument("--detections", type=Path, required=True, metavar="CSV", help="the table")
    parser.add_argument("--out", type=Path, required=True, metavar="GEOJSON", help="file to write; replaced when all is done")
    parser.add_argument("--class-default", default="object", metavar="NAME", help="class where the table has none (object)")
    parser.add_argument(
        "--position-sigma", type=_positive, default=0.5, metavar="M", help="error of a camera position, one axis, metres (0.5)"
    )
    parser.add_argument("--bearing-sigma", type=_positive, default=4.5, metavar="DEG", help="error of a bearing, degrees (4.5)")
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors")


def _positive(text: str) -> float:
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def run(options: argparse.Namespace) -> int:
    """0; 2 where the table or the output cannot be used, with one line that says why."""
    from kryss.layer.geojson import dump_layer
    from kryss.positioning.locate import Defaults, DetectionsError, locate, read_detections

    def say(line: str) -> None:
        if not options.quiet:
            print(line, file=sys.stderr, flush=True)

    began = time.monotonic()
    try:
        detections = read_detections(options.detections)
    except DetectionsError as error:
        print(f"kryss locate: {error}", file=sys.stderr)
        return 2
    say(f"{detections.rows_read} rows read from {options.detections}")
    for reason, lines in detections.refused.items():
        at = ", ".join(map(str, lines[:5])) + (", ..." if len(lines) > 5 else "")
        say(f"{len(lines)} refused: {reason} (line {at})")
    found = locate(detections, Defaults(options.class_default, options.position_sigma, options.bearing_sigma))
    try:
        _write(options.out, dump_layer(found))
    except OSError as error:
        print(f"kryss locate: {options.out}: cannot be written: {error.strerror or error}", file=sys.stderr)
        return 2
    told = found["kryss"]
    for scale in told["depth_scales"]:
        whose = f"sequence {scale['sequence_id']}" if scale["sequence_id"] else "all depths"
        how = "estimated" if scale["estimated"] else "assumed: nothing to estimate it from"
        say(f"depth scale of {whose}: {scale['metres_per_unit']} m, error {100 * scale['log_sigma']:.0f} % ({how})")
    for reason, count in told["left_out"].items():
        say(f"{count} left out: {reason}")
    say(f"{told['objects']} objects, {told['confirmed']} of them confirmed, in {options.out}")
    say(f"{time.monotonic() - began:.1f} s")
    return 0


def _write(path: Path, content: bytes) -> None:
    """All of the file or nothing: a reader never sees half of it."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    half = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        umask = os.umask(0)
        os.umask(umask)
        half.chmod(0o666 & ~umask)
        half.replace(path)
    except BaseException:
        half.unlink()
        raise
