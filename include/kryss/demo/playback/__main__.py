"""``python -m kryss.demo.playback --area DIR --ports-file FILE``: play an area back until SIGTERM or SIGINT.

The ports file is a JSON object of URLs and appears, whole, when every server listens. Set "now" and order faults afterwards by
the ``/_playback/`` paths of any of the servers (see server.py).
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import threading
from pathlib import Path

from kryss.demo.area import AreaError, load_area
from kryss.demo.playback.mapillary import Quirks
from kryss.demo.playback.play import Playback
from kryss.demo.playback.server import parse_instant
from kryss.imagery.store import write_atomically


def main(arguments: list[str] | None = None) -> int:
    usual = Quirks()
    parser = argparse.ArgumentParser(prog="python -m kryss.demo.playback", description=__doc__.split(":", 1)[1])
    parser.add_argument("--area", type=Path, required=True, metavar="DIR", help="folder of a recorded area")
    parser.add_argument("--ports-file", type=Path, required=True, metavar="FILE", help="where to write the URLs as JSON")
    parser.add_argument("--now", metavar="ISO", help="serve only what had been uploaded by this instant (default: everything)")
    parser.add_argument("--port", type=int, default=0, help="port of the Graph API; tiles and photos take the next two")
    parser.add_argument("--token", default=usual.token, help="the token that is accepted (default: the playback token)")
    parser.add_argument("--link-ttl-s", type=float, default=usual.link_ttl_s, help="how long a photo link works")
    parser.add_argument("--per-minute", type=int, default=None, help="application limit of the Graph API")
    parser.add_argument("--seed", type=int, default=0, help="of the partial bbox answers")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        now = parse_instant(options.now)
        area = load_area(options.area)
        quirks = Quirks(token=options.token, link_ttl_s=options.link_ttl_s, per_minute=options.per_minute, seed=options.seed)
        ports = (options.port, options.port + 1, options.port + 2) if options.port else (0, 0, 0)
        playback = Playback(area, now, quirks, ports=ports)
    except (AreaError, ValueError, OSError) as error:
        sys.stderr.write(f"playback: {error}\n")
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with playback:
        write_atomically(options.ports_file, json.dumps(dict(playback.urls), indent=1).encode())
        stop.wait()
    options.ports_file.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
