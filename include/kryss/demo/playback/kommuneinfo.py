"""Kartverket's kommuneinfo, played back: it knows one municipality, that of the recorded area (contracts/nvdb-api.md 7)."""

from __future__ import annotations

import re
from typing import Any

import shapely
from shapely.geometry import mapping, shape

from kryss.demo.area import RecordedArea
from kryss.demo.playback.server import PlaybackServer, Reply, Request, Stage

CRS = {"type": "name", "properties": {"name": "EPSG:4258"}}


class KommuneinfoServer(PlaybackServer):
    """Answers below ``/kommuneinfo/v1``, which ``base_url`` ends with."""

    name = "kommuneinfo"

    def __init__(self, area: RecordedArea, stage: Stage | None = None, port: int = 0):
        super().__init__(stage, port)
        self.area = area
        self.base_url = f"{self.url}/kommuneinfo/v1"

    def endpoint(self, request: Request) -> str:
        return re.sub(r"^/kommuner/[^/]+", "/kommuner/{nr}", request.path.removeprefix("/kommuneinfo/v1"))

    def handle(self, request: Request) -> Reply:
        path = request.path.removeprefix("/kommuneinfo/v1").rstrip("/")
        code = self.area.code
        names = {"kommunenummer": code, "kommunenavn": self.area.name, "kommunenavnNorsk": self.area.name}
        if request.param("utkoordsys") not in (None, "4258", "4326"):
            return Reply.json({"message": "Kun utkoordsys 4258 og 4326 spilles av."}, 400)
        if path == "/kommuner":
            return Reply.json([names])
        if path == f"/kommuner/{code}":
            return Reply.json({**names, **self._county(), **self._extent()})
        if path == f"/kommuner/{code}/omrade":
            return Reply.json({**names, "omrade": {**self.area.boundary, "crs": CRS}})
        return Reply.json({"message": "Ingen treff"}, 404)

    def _county(self) -> dict[str, Any]:
        name = [{"navn": self.area.name, "prioritet": 1, "sprak": "Norsk"}]
        return {"fylkesnummer": self.area.code[:2], "samiskForvaltningsomrade": False, "gyldigeNavn": name}

    def _extent(self) -> dict[str, Any]:
        region = shape(self.area.boundary)
        box, point = mapping(shapely.box(*region.bounds)), mapping(region.representative_point())
        return {"avgrensningsboks": {**box, "crs": CRS}, "punktIOmrade": {**point, "crs": CRS}}
