"""``index.html`` of a release: the built map page (``web/dist/index.html``) with what only this release knows in its slot.

The page is one file that asks no other host for anything. It reads the files beside it; its slot tells it which release it lies
in and holds the pictures of the signs of this release (``web/signs.zip``: mapillary_sprite_source, MIT, see the NOTICE in it).
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

WEB = resources.files("kryss.layer").joinpath("web")
HEAD = ("release", "code", "municipality", "schema_version")
SLOT = re.compile(r'(<script type="application/json" id="kryss">).*?(</script>)', re.DOTALL)


def page(head: Mapping[str, Any], classes: Iterable[str], basemap_url: str | None = None) -> bytes:
    """The page of the release whose manifest begins with ``head``; the same bytes for the same input.

    ``classes``: those of its objects, whose pictures go in. ``basemap_url``: a template of raster tiles, with ``{z}``, ``{x}``
    and ``{y}``, the one other host that the page may then ask; ValueError where it is not such an address.
    """
    told = {name: head[name] for name in HEAD}
    text = built("index")
    if basemap_url is not None:
        text = _allow(text, _origin(basemap_url))
    return slot(text, {**told, "api": None, "basemap": basemap_url, "signs": signs(classes)}).encode()


@cache
def built(name: str) -> str:
    """The text of ``web/dist/<name>.html``, as it was built."""
    return WEB.joinpath("dist", f"{name}.html").read_text(encoding="utf-8")


def signs(classes: Iterable[str]) -> dict[str, str]:
    """class -> SVG, of those that have a picture."""
    with WEB.joinpath("signs.zip").open("rb") as file, zipfile.ZipFile(file) as pictures:
        known = set(pictures.namelist())
        return {name: pictures.read(f"{name}.svg").decode() for name in sorted(set(classes)) if f"{name}.svg" in known}


def slot(template: str, value: Mapping[str, Any]) -> str:
    """The page with ``value`` in its slot, as JSON that no property can break out of: ``<`` and the two line separators of
    JavaScript are escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    filled, found = SLOT.subn(lambda match: match[1] + text + match[2], template)
    if found != 1:
        raise ValueError(f"the page holds {found} slots for its data; it needs one")
    return filled


def _origin(url: str) -> str:
    """``scheme://host:port`` of a tile template, in characters that cannot end a directive of the Content-Security-Policy."""
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:\d+)?", origin) or not all(name in url for name in ("{z}", "{x}", "{y}")):
        raise ValueError(
            f"basemap_url {url!r} is no address of tiles; it looks like https://tiles.example.org/{{z}}/{{x}}/{{y}}.png"
        )
    return origin


def _allow(text: str, origin: str) -> str:
    """The page whose Content-Security-Policy lets it ask ``origin`` too."""
    return text.replace("connect-src 'self'", f"connect-src 'self' {origin}", 1).replace(
        "img-src 'self'", f"img-src 'self' {origin}", 1
    )
