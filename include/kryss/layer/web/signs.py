"""Packs the pictures of signs: `python signs.py FOLDER`, the unpacked npm package mapillary_sprite_source 1.8.0, into signs.zip.

The pictures stay as they are; the zip holds no dates of files, so the same package gives the same bytes. Traffic lights are drawn
by the page itself (src/shared/signs.js), as the package has them in one colour.
"""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

NOTICE = "Pictures of traffic signs: mapillary_sprite_source {version}, https://github.com/mapillary/mapillary_sprite_source\n\n{licence}"


def pack(package: Path, target: Path) -> int:
    """How many pictures of ``package`` went into ``target``."""
    version = json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
    licence = (package / "LICENSE").read_text(encoding="utf-8")
    notice = NOTICE.format(version=version, licence=licence)
    # The page itself shows it too (vite.config.js).
    target.with_name("NOTICE.signs.txt").write_text(notice, encoding="utf-8")
    files = {path.name: path.read_bytes() for path in sorted((package / "package_signs").glob("*.svg"))}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as bundle:
        for name, data in {"NOTICE": notice.encode(), **files}.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            bundle.writestr(entry, data)
    return len(files)


if __name__ == "__main__":
    pack(Path(sys.argv[1]), Path(__file__).with_name("signs.zip"))
