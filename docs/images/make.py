"""Makes the README's picture of a photo with what was found in it. Those of the page: tests/page/screenshots.py.

    .venv/bin/python docs/images/make.py [--photo IMAGE_ID]

Needs the shipped detector.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "include"))

from kryss.vision.detect import PhotoFailure, load_detector  # noqa: E402

TOWN = ROOT / "include" / "kryss" / "demo" / "areas" / "town"
COLOURS = {"object": "#ffb000", "regulatory": "#00c2a8", "warning": "#ff5d5d", "information": "#5da9ff"}


def boxes(photo: Path, out: Path) -> int:
    """Draws what the shipped detector finds; returns how much it found."""
    ((_, found),) = load_detector("kryss-street-lite0").detect([(photo.stem, photo.read_bytes())])
    if isinstance(found, PhotoFailure):
        raise SystemExit(f"{photo}: {found.reason}")
    picture = Image.open(photo).convert("RGB")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=17)
    for detection in found:
        kind, name = detection.class_name.split("--")[:2]
        left, top, right, bottom = detection.box
        colour = COLOURS.get(kind, "#ffffff")
        draw.rectangle((left - 2, top - 2, right + 2, bottom + 2), outline=colour, width=3)
        text = f"{name.replace('-', ' ')} {detection.score:.2f}"
        width = draw.textlength(text, font=font) + 10
        x = right + 6 if right + 6 + width < picture.width else left - 6 - width
        y = min(max((top + bottom) / 2 - 12, 0), picture.height - 24)
        draw.rectangle((x, y, x + width, y + 23), fill=colour)
        draw.text((x + 5, y + 1), text, fill="#101418", font=font)
    picture.save(out, quality=88)
    return len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photo", help="image id of the town (default: the one of epoch 1 with the most visible signs)")
    options = parser.parse_args()
    visible: dict[str, int] = {}
    for box in json.loads((TOWN / "truth_boxes.json").read_text())["boxes"]:
        visible[str(box["image_id"])] = visible.get(str(box["image_id"]), 0) + 1
    photo = options.photo or max(sorted(visible), key=lambda image_id: visible[image_id])
    here = Path(__file__).parent
    found = boxes(TOWN / "photos" / f"{photo}.jpg", here / "town-boxes.jpg")
    sys.stdout.write(f"photo {photo}: {found} boxes\n")


if __name__ == "__main__":
    main()
