"""Takes the pictures of docs/page.md from a published town, in headless Chromium.

    ./kryss demo && .venv/bin/python tests/page/screenshots.py .kryss/releases/demo-9901

SHELF is the folder with ``latest.json``; its newest release is shown by the page as it is built now. The picture of 100 thousand
objects is of made-up ones (`releases.many`).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT / "include"))

from kryss.layer.page import page  # noqa: E402

DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 780}
GONE, LIGHT = "regulatory--no-right-turn--g1", "object--traffic-light--general-upright"


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"kryss_page_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def object_of(folder: Path, class_name: str) -> str:
    """The id of the first object of a class."""
    features = json.loads((folder / "objects.geojson").read_text(encoding="utf-8"))["features"]
    return next(item["id"] for item in features if item["properties"]["class"] == class_name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shelf", type=Path)
    parser.add_argument("--only", help="the picture of this name alone, e.g. page-dark")
    options = parser.parse_args()
    browsing, made = _beside("browsing"), _beside("releases")
    with tempfile.TemporaryDirectory() as kept:
        shelf = shutil.copytree(options.shelf, Path(kept) / "town")
        for path in sorted(shelf.glob("*/manifest.json")):
            head = json.loads(path.read_text(encoding="utf-8"))
            (path.parent / "index.html").write_bytes(page(head, head["counts"]["by_class"]))
        latest = json.loads((shelf / "latest.json").read_text(encoding="utf-8"))["release"]
        gone = object_of(shelf / latest, GONE)
        wanted: dict[str, tuple[str, str, dict[str, Any]]] = {
            "page": ("town", "", {}),
            "page-dark": ("town", "#tab=intersections&intersection=nvdb:9901001", {"color_scheme": "dark"}),
            "page-time": ("town", "#time=2025-12-01", {}),
            "page-changes": ("town", "#tab=changes", {}),
            "page-object": ("town", f"#object={gone}", {}),
            "page-phone": ("town", "", {"viewport": PHONE, "has_touch": True, "device_scale_factor": 2}),
            "page-phone-object": ("town", f"#object={gone}", {"viewport": PHONE, "has_touch": True, "device_scale_factor": 2}),
            "page-many": ("many", "#map=13.2/63.43/10.4", {}),
        }
        wanted = {name: value for name, value in wanted.items() if options.only in (None, name)}
        if "page-many" in wanted:
            made.write(Path(kept) / "many", latest, *made.many(100_000), town="Storby", plain=False, changes=made.changes_of([]))
        with browsing.chromium() as chromium, browsing.serving(Path(kept)) as site, browsing.visiting(site, chromium) as visit:
            for name, (folder, fragment, settings) in wanted.items():
                shown = visit(f"{folder}/{latest}", fragment, **{"viewport": DESK, **settings})
                shown.wait_for_timeout(2_500)
                shown.screenshot(path=IMAGES / f"{name}.png")
                shown.context.close()


if __name__ == "__main__":
    main()
