"""All services of one recorded area at once: Mapillary's three servers and the roads', with one clock and one fault book."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from kryss.demo.area import RecordedArea
from kryss.demo.playback.faults import FaultBook
from kryss.demo.playback.mapillary import Quirks, mapillary_servers
from kryss.demo.playback.roads import road_servers, road_urls
from kryss.demo.playback.server import Clock, PlaybackServer, Stage

log = logging.getLogger(__name__)


class Playback:
    """``with Playback(area, now=...) as playback:`` serves an area; ``playback.urls`` has the keys of ``config.Services`` and
    ``mapillary_photos``."""

    def __init__(
        self,
        area: RecordedArea,
        now: datetime | None = None,
        quirks: Quirks | None = None,
        *,
        ports: tuple[int, int, int] = (0, 0, 0),
    ):
        self.area = area
        self.stage = Stage(clock=Clock(now))
        graph, tiles, photos = mapillary_servers(area.images, area.path / "photos", self.stage, quirks, ports=ports)
        roads = road_servers(area, self.stage)
        self._servers: tuple[PlaybackServer, ...] = (graph, tiles, photos, *roads.values())
        self.urls: Mapping[str, str] = {
            "mapillary_graph": graph.url,
            "mapillary_tiles": tiles.url,
            "mapillary_photos": photos.url,
            **road_urls(roads),
        }

    @property
    def faults(self) -> FaultBook:
        return self.stage.faults

    def set_now(self, now: datetime | None) -> None:
        """Serve only what had been uploaded by an instant; None: by the wall clock."""
        self.stage.clock.now = now

    def stats(self) -> dict[str, Any]:
        return self.stage.stats()

    def start(self) -> Self:
        for server in self._servers:
            server.start()
        log.info("playing %s (%s), %d images: %s", self.area.code, self.area.name, len(self.area.images), dict(self.urls))
        return self

    def stop(self) -> None:
        for server in self._servers:
            server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()
