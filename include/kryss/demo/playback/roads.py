"""The road services of a recorded area: which servers it needs, and under which names a refresh knows their URLs."""

from __future__ import annotations

from kryss.demo.area import RecordedArea
from kryss.demo.playback.kommuneinfo import KommuneinfoServer
from kryss.demo.playback.nvdb import NvdbServer
from kryss.demo.playback.overpass import OverpassServer
from kryss.demo.playback.server import PlaybackServer, Reply, Request, Stage


class JunctionsServer(PlaybackServer):
    """Serves ``roads/junctions.geojson`` of an area for which no road service was recorded."""

    name = "junctions"

    def __init__(self, area: RecordedArea, stage: Stage | None = None, port: int = 0):
        super().__init__(stage, port)
        self.area = area
        self.file_url = f"{self.url}/roads/junctions.geojson"

    def handle(self, request: Request) -> Reply:
        if request.path != "/roads/junctions.geojson" or not self.area.junctions_path.exists():
            return Reply.json({"message": f"{request.path} is not played back"}, 404)
        return Reply(200, self.area.junctions_path.read_bytes(), "application/geo+json")


def road_servers(area: RecordedArea, stage: Stage | None = None) -> dict[str, PlaybackServer]:
    """Servers, not yet started, by the names of ``config.Services``; a source that was not recorded is empty."""
    stage = stage or Stage()
    return {
        "kommuneinfo": KommuneinfoServer(area, stage),
        "nvdb": NvdbServer(area, stage),
        "overpass": OverpassServer(area, stage),
        "junctions": JunctionsServer(area, stage),
    }


def road_urls(servers: dict[str, PlaybackServer]) -> dict[str, str]:
    """The values for ``config.Services``, by its keys."""
    urls = {}
    for name, server in servers.items():
        if isinstance(server, KommuneinfoServer):
            urls[name] = server.base_url
        elif isinstance(server, OverpassServer):
            urls[name] = server.interpreter_url
        elif isinstance(server, JunctionsServer):
            urls[name] = server.file_url
        else:
            urls[name] = server.url
    return urls
