"""Make the recorded area of Kryssby: ``python -m kryss.demo.town --out DIR``."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from kryss.demo.town import layout, records

log = logging.getLogger("kryss.demo.town")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m kryss.demo.town", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the recorded area")
    parser.add_argument("--samples", type=int, default=8, metavar="N", help="rays a pixel (default 8)")
    parser.add_argument("--only", action="append", metavar="IMAGE_ID", help="render this photo only; may be repeated")
    parser.add_argument("--preview", action="store_true", help="half size and 8 rays a pixel; not for publishing")
    parser.add_argument("--records", action="store_true", help="write everything but photos and boxes; needs no Blender")
    parser.add_argument("--depth", action="store_true", help="write truth_depth.npz only: the true depth of every photo")
    parser.add_argument("--quality", type=int, default=84, help="of the JPEG files (default 84)")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    wanted = [shot for shot in layout.shots() if not given.only or shot.id in given.only]
    unknown = sorted(set(given.only or ()) - {shot.id for shot in wanted})
    if unknown:
        parser.error(f"no photo {', '.join(unknown)} in the town; the ids are in images.jsonl")
    if not given.depth:
        records.write_records(given.out)
    if given.records:
        return 0
    try:
        from kryss.demo.town import studio
    except ImportError as error:
        parser.error(f"{error.name} is missing; install the extra: pip install 'bpy==4.5.*' cairosvg shapely pillow")
    boxes, depths = [], {}
    for epoch in layout.EPOCHS:
        mine = [shot for shot in wanted if shot.epoch == epoch.number]
        if not mine:
            continue
        with TemporaryDirectory() as folder:
            lamps = studio.build(epoch, Path(folder))
            if given.depth:
                studio.set_up_depth(epoch, Path(folder))
                for shot in mine:
                    depths[shot.id] = studio.true_depth(shot, Path(folder))
                    log.info("depth of photo %s", shot.id)
                continue
            studio.set_up(epoch, 8 if given.preview else given.samples, 50 if given.preview else 100)
            for shot in mine:
                began = time.monotonic()
                studio.expose(shot, lamps, given.out / "photos" / f"{shot.id}.jpg", given.quality)
                boxes += studio.visible_boxes(shot)
                log.info("epoch %d, %s, photo %s: %.0f s", epoch.number, shot.approach, shot.id, time.monotonic() - began)
    if depths:
        records.write_depths(given.out, depths)
    elif not given.only:
        records.write_boxes(given.out, boxes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
