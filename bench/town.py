"""Plays a recorded area through the whole pipeline (without Airflow) and scores every object against its truth.

    ./kryss bench town [--area DIR]

The area needs a ``truth.geojson`` whose features have ``class``, ``from_epoch`` and ``to_epoch``, as the shipped town has.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "include"))

from kryss.cli.demo import TOWN, municipality_of  # noqa: E402
from kryss.config import MunicipalityConfig, Settings  # noqa: E402
from kryss.demo.area import load_area  # noqa: E402
from kryss.demo.playback.play import Playback  # noqa: E402
from kryss.pipeline.local import refresh  # noqa: E402
from kryss.pipeline.run import Run  # noqa: E402
from kryss.positioning.frame import distance_m  # noqa: E402
from kryss.services.postgres import create_database, temporary_cluster  # noqa: E402
from kryss.store import open_store  # noqa: E402

MATCH_M = 10.0
"""An object farther from the truth than this is another one."""


def score(objects: list[dict[str, Any]], truth: list[dict[str, Any]], epoch: int) -> None:
    """Prints, for each true object, the nearest object of its class; then what has no true object."""
    found = [(one["properties"], one["geometry"]["coordinates"]) for one in objects]
    pairs = sorted(
        (float(distance_m(*feature["geometry"]["coordinates"][:2], *position[:2])), t, f)
        for t, feature in enumerate(truth)
        for f, (item, position) in enumerate(found)
        if item["class"] == feature["properties"]["class"]
    )
    taken: dict[int, tuple[float, int]] = {}
    used: set[int] = set()
    for away, t, f in pairs:
        if away <= MATCH_M and t not in taken and f not in used:
            taken[t] = (away, f)
            used.add(f)
    print(f"\n{'truth':10}{'class':46}{'stands':>8}{'error m':>9}{'radius m':>10}  status")
    for t, feature in enumerate(truth):
        known = feature["properties"]
        stands = known["from_epoch"] <= epoch and (known["to_epoch"] is None or known["to_epoch"] >= epoch)
        away, f = taken.get(t, (None, None))
        item = found[f][0] if f is not None else {"error_radius_m": None, "status": "not found"}
        numbers = f"{away:>9.1f}{item['error_radius_m']:>10.1f}" if away is not None else f"{'':>19}"
        print(f"{known['id']:10}{known['class']:46}{'yes' if stands else 'no':>8}{numbers}  {item['status']}")
    for f, (item, _) in enumerate(found):
        if f not in used:
            print(f"{'(none)':10}{item['class']:46}{'':>27}  {item['status']}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="kryss bench town", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--area", type=Path, default=TOWN, metavar="DIR")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    area = load_area(options.area)
    truth = (area.truth or {}).get("features", [])
    with tempfile.TemporaryDirectory() as folder, temporary_cluster() as cluster, Playback(area, area.epochs[0]) as playback:
        url = create_database(cluster, "bench")
        open_store(url).migrate()
        config = MunicipalityConfig.model_validate(municipality_of(area, dict(playback.urls), None))
        settings = Settings.from_env({"KRYSS_HOME": folder, "KRYSS_DATABASE_URL": url})
        for number, epoch in enumerate(area.epochs, 1):
            playback.set_now(epoch)
            began = time.perf_counter()
            report = refresh(Run(config, settings, f"epoch-{number}", epoch.date()))
            seconds = time.perf_counter() - began
            photos = report["photos"]["new"]
            print(f"\nepoch {number}: {photos} photos in {seconds:.1f} s, {seconds / max(photos, 1):.2f} s a photo")
            release = Path(folder) / "releases" / config.code / report["release"]
            score(json.loads((release / "objects.geojson").read_text())["features"], truth, number)
    return 0


if __name__ == "__main__":
    sys.exit(main())
