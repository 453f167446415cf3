"""The road services of a recorded area, asked in plain HTTP: their formats and their quirks."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests
import shapely
from shapely.geometry import shape

from kryss.demo.area import RecordedArea, load_area
from kryss.demo.playback.kommuneinfo import KommuneinfoServer
from kryss.demo.playback.nvdb import NvdbServer
from kryss.demo.playback.overpass import OverpassServer, QuerySyntaxError, parse
from kryss.demo.playback.roads import road_servers, road_urls
from kryss.demo.record_roads import RoadClients, record_roads
from kryss.http import RateLimiter
from kryss.roads.junctions import load_junctions
from kryss.roads.nvdb import NvdbClient
from kryss.roads.overpass import OverpassClient, boundary_query, controls_query, poly_filter, roads_query

TOWN = Path(__file__).parents[2] / "include" / "kryss" / "demo" / "areas" / "town"
NODES, SEGMENTS = "/vegnett/api/v4/noder", "/vegnett/api/v4/veglenkesekvenser/segmentert"
LIMITS = "/vegobjekter/api/v4/vegobjekter/105"


@pytest.fixture(scope="module")
def areas(road_map: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RecordedArea]:
    root = tmp_path_factory.mktemp("areas")
    made = {kind: load_area(road_map.write_area(root / kind, kind)) for kind in ("nvdb", "overpass", "junctions")}
    return made.__getitem__


@pytest.fixture
def nvdb(areas: Callable[[str], RecordedArea]) -> Iterator[NvdbServer]:
    with NvdbServer(areas("nvdb")) as server:
        yield server


@pytest.fixture
def overpass(areas: Callable[[str], RecordedArea]) -> Iterator[OverpassServer]:
    with OverpassServer(areas("overpass")) as server:
        yield server


def get(server: Any, path: str, **params: Any) -> requests.Response:
    return requests.get(server.url + path, params=params, headers={"X-Client": "tests"}, timeout=10)


def ids(answer: requests.Response) -> set[int]:
    return {item.get("id", item.get("veglenkesekvensid")) for item in answer.json()["objekter"]}


class TestNvdb:
    def test_without_x_client_it_answers_400_as_a_problem_or_as_text(self, areas: Any) -> None:
        for style, kind in (("json", "application/json"), ("text", "text/plain")):
            with NvdbServer(areas("nvdb"), missing_client_body=style) as server:
                answer = requests.get(server.url + NODES, timeout=10)
                assert answer.status_code == 400 and answer.headers["Content-Type"].startswith(kind)
                assert "X-Client må være satt" in answer.text

    def test_at_the_end_it_gives_empty_pages_with_the_same_cursor_for_ever(self, nvdb: NvdbServer, road_map: ModuleType) -> None:
        first = get(nvdb, NODES).json()
        assert first["metadata"]["returnert"] == len(road_map.NODES)
        cursor = first["metadata"]["neste"]["start"]
        for _ in range(3):
            page = get(nvdb, NODES, start=cursor).json()
            assert page["objekter"] == [] and page["metadata"]["returnert"] == 0
            assert page["metadata"]["neste"]["start"] == cursor

    def test_pages_hold_everything_once(self, nvdb: NvdbServer, road_map: ModuleType) -> None:
        seen: list[int] = []
        answer = get(nvdb, NODES, antall=7)
        while answer.json()["objekter"]:
            seen += [node["id"] for node in answer.json()["objekter"]]
            answer = requests.get(answer.json()["metadata"]["neste"]["href"], headers={"X-Client": "t"}, timeout=10)
        assert seen == list(road_map.NODES)

    def test_page_size_is_capped(self, areas: Any) -> None:
        with NvdbServer(areas("nvdb"), page_cap=5) as server:
            metadata = get(server, NODES, antall=1000).json()["metadata"]
        assert (metadata["returnert"], metadata["sidestørrelse"]) == (5, 5)

    def test_total_is_told_only_when_it_is_asked_for(self, nvdb: NvdbServer, road_map: ModuleType) -> None:
        assert "antall" not in get(nvdb, NODES).json()["metadata"]
        assert get(nvdb, NODES, antall=3, inkluderAntall="true").json()["metadata"]["antall"] == len(road_map.NODES)

    def test_object_is_bare_without_inkluder(self, nvdb: NvdbServer) -> None:
        assert set(get(nvdb, LIMITS).json()["objekter"][0]) == {"id", "href"}
        some = get(nvdb, LIMITS, inkluder="egenskaper,geometri").json()["objekter"][0]
        assert set(some) == {"id", "href", "egenskaper", "geometri"}
        assert set(get(nvdb, LIMITS, inkluder="alle").json()["objekter"][0]) > set(some)
        assert get(nvdb, LIMITS, inkluder="alt").status_code == 400

    @pytest.mark.parametrize("srid", ["25833", "32633", "3857"])
    def test_srid_that_is_not_on_the_list_is_refused(self, nvdb: NvdbServer, srid: str) -> None:
        answer = get(nvdb, NODES, srid=srid)
        assert answer.status_code == 400 and answer.json()["title"] == "Ugyldig forespørsel"

    @pytest.mark.parametrize("srid", ["4326", "WGS84"])
    def test_degrees_are_written_latitude_first(self, nvdb: NvdbServer, road_map: ModuleType, srid: str) -> None:
        node = get(nvdb, NODES, srid=srid, ider=100).json()["objekter"][0]
        lat, lon = map(float, re.findall(r"[\d.]+", node["geometri"]["wkt"])[:2])
        assert (lon, lat) == pytest.approx(road_map.lon_lat((0, 0)), abs=1e-7)
        assert node["geometri"]["srid"] == 4326

    def test_other_utm_zone_is_projected(self, nvdb: NvdbServer) -> None:
        zones = {srid: get(nvdb, NODES, srid=srid, ider=100).json()["objekter"][0]["geometri"]["wkt"] for srid in (5972, 5973)}
        assert zones[5973].startswith("POINT (500000.000 6650000.000")
        assert float(re.findall(r"[\d.]+", zones[5972])[0]) == pytest.approx(834_600, abs=500)

    def test_unknown_heights_can_be_had(self, areas: Any) -> None:
        with NvdbServer(areas("nvdb"), unknown_height_every=2) as server:
            lines = [limit["geometri"]["wkt"] for limit in get(server, LIMITS, inkluder="geometri").json()["objekter"]]
        assert "-999999" in lines[0] and "-999999" not in lines[1]

    def test_filters_choose(self, nvdb: NvdbServer, road_map: ModuleType) -> None:
        east, north = road_map.ORIGIN
        box = f"{east - 5},{north - 5},{east + 5},{north + 5}"
        ring = ", ".join(f"{east + x} {north + y}" for x, y in ((-5, -5), (5, -5), (5, 5), (-5, 5), (-5, -5)))
        assert ids(get(nvdb, NODES, kartutsnitt=box)) == ids(get(nvdb, NODES, polygon=ring)) == {100}
        assert ids(get(nvdb, NODES, ider="100,101")) == {100, 101}
        assert ids(get(nvdb, NODES, kommune="5001")) == set(road_map.NODES) and not ids(get(nvdb, NODES, kommune=301))
        assert 9006 not in ids(get(nvdb, SEGMENTS, trafikantgruppe="K")) and 9006 in ids(get(nvdb, SEGMENTS))
        assert 9007 not in ids(get(nvdb, SEGMENTS, detaljniva="VT,VTKB"))

    def test_box_in_degrees_is_latitude_first(self, nvdb: NvdbServer, road_map: ModuleType) -> None:
        lon, lat = road_map.lon_lat((0, 0))
        box = f"{lat - 1e-4},{lon - 1e-4},{lat + 1e-4},{lon + 1e-4}"
        assert ids(get(nvdb, NODES, srid=4326, kartutsnitt=box)) == {100}

    def test_box_compares_bounding_boxes_and_polygon_compares_shapes(self, nvdb: NvdbServer, road_map: ModuleType) -> None:
        east, north = road_map.ORIGIN
        west_of_arc = (east + 12, north + 612, east + 14, north + 614)
        ring = list(shapely.box(*west_of_arc).exterior.coords)
        box = get(nvdb, SEGMENTS, kartutsnitt=",".join(map(str, west_of_arc)))
        exact = get(nvdb, SEGMENTS, polygon=", ".join(f"{x} {y}" for x, y in ring))
        assert 9020 in ids(box) and 9020 not in ids(exact)

    @pytest.mark.parametrize(
        "params",
        [{"kartutsnitt": "1,2,3"}, {"polygon": "1 2, 3 4"}, {"antall": "0"}, {"antall": "x"}, {"start": "?"}, {"kommune": "x"}],
    )
    def test_parameter_that_cannot_be_read_is_refused(self, nvdb: NvdbServer, params: dict) -> None:
        assert get(nvdb, NODES, **params).status_code == 400

    def test_budget_counts_down_ends_in_429_and_refills(self, areas: Any) -> None:
        with NvdbServer(areas("nvdb"), budget=3, refill_per_s=2.0) as server:
            answers = [get(server, NODES, ider=100) for _ in range(4)]
            assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]
            assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
            threading.Event().wait(0.7)
            assert get(server, NODES, ider=100).status_code == 200

    def test_budget_is_200_as_it_was_seen(self, nvdb: NvdbServer) -> None:
        assert get(nvdb, NODES, ider=100).headers["x-ratelimit-remaining"] == "199"

    @pytest.mark.parametrize("path", ["/vegobjekter/api/v4/vegobjekter/9", f"{LIMITS}/1", "/vegnett/api/v4/rute", "/"])
    def test_what_is_not_there_is_404(self, nvdb: NvdbServer, path: str) -> None:
        answer = get(nvdb, path)
        assert answer.status_code == 404 and answer.json()["status"] == 404

    def test_short_paths_answer_too(self, nvdb: NvdbServer) -> None:
        assert ids(get(nvdb, "/vegobjekter/105")) == ids(get(nvdb, LIMITS))
        assert ids(get(nvdb, "/vegnett/noder")) == ids(get(nvdb, NODES))
        assert get(nvdb, "/vegobjekter/105/10501", inkluder="egenskaper").json()["egenskaper"][0]["verdi"] == 50

    @pytest.mark.parametrize("path", ["/omrader/api/v4/kommuner", "/omrader/kommuner"])
    def test_municipalities_are_a_plain_list_with_whole_numbers(self, nvdb: NvdbServer, path: str) -> None:
        assert get(nvdb, path).json() == [{"nummer": 5001, "navn": "Prøveby", "fylke": 50}]
        assert NvdbClient(nvdb.url).municipalities()[0]["nummer"] == 5001


class TestKommuneinfo:
    def test_boundary_is_given_with_its_crs(self, areas: Any, road_map: ModuleType) -> None:
        with KommuneinfoServer(areas("nvdb")) as server:
            answer = requests.get(f"{server.base_url}/kommuner/5001/omrade?utkoordsys=4258", timeout=10).json()
            facts = requests.get(f"{server.base_url}/kommuner/5001", timeout=10).json()
            listed = requests.get(f"{server.base_url}/kommuner", timeout=10).json()
        assert shape(answer["omrade"]).equals(shape(road_map.boundary()))
        assert answer["omrade"]["crs"]["properties"]["name"] == "EPSG:4258"
        assert facts["kommunenavn"] == "Prøveby" and facts["avgrensningsboks"]["type"] == "Polygon"
        assert [entry["kommunenummer"] for entry in listed] == ["5001"]

    def test_unknown_number_is_404(self, areas: Any) -> None:
        with KommuneinfoServer(areas("nvdb")) as server:
            assert requests.get(f"{server.base_url}/kommuner/9999/omrade", timeout=10).status_code == 404


class TestOverpass:
    def ask(self, server: OverpassServer, query: str, agent: str = "kryss-tests") -> requests.Response:
        headers = {"User-Agent": agent}
        return requests.post(server.interpreter_url, data={"data": query}, headers=headers, timeout=10)

    def test_elements_come_in_no_order_and_some_twice(self, overpass: OverpassServer, road_map: ModuleType) -> None:
        answer = self.ask(overpass, roads_query(poly_filter(shape(road_map.boundary())))).json()
        listed = [element["id"] for element in answer["elements"]]
        assert listed != sorted(listed) and len(set(listed)) < len(listed)
        assert answer["osm3s"]["timestamp_osm_base"] == "2026-01-01T00:00:00Z" and "ODbL" in answer["osm3s"]["copyright"]

    def test_three_ways_to_say_where_give_the_same(self, overpass: OverpassServer, road_map: ModuleType) -> None:
        region = shape(road_map.boundary())
        west, south, east, north = region.bounds
        area = 'area["boundary"="administrative"]["admin_level"="7"]["ref"="5001"]->.a;'
        ring = " ".join(f"{lat} {lon}" for lon, lat in region.exterior.coords)
        by = {
            "poly": controls_query(f'(poly:"{ring}")'),
            "box": controls_query(f"({south},{west},{north},{east})"),
            "area": controls_query("(area.a)").replace(";node", f";{area}node"),
        }
        found = {name: {e["id"] for e in self.ask(overpass, query).json()["elements"]} for name, query in by.items()}
        assert found["poly"] == found["box"] == found["area"] == {8900, 8901}

    def test_geometry_is_given_only_when_it_is_asked_for(self, overpass: OverpassServer) -> None:
        with_geometry = self.ask(overpass, boundary_query("5001", "7")).json()["elements"][0]
        without = self.ask(overpass, boundary_query("5001", "7").replace("out geom", "out body")).json()["elements"][0]
        assert "geometry" in with_geometry["members"][0] and "geometry" not in without["members"][0]

    def test_get_works_for_short_queries(self, overpass: OverpassServer) -> None:
        headers = {"User-Agent": "kryss-tests"}
        answer = requests.get(overpass.interpreter_url, params={"data": boundary_query("5001", "7")}, headers=headers, timeout=10)
        assert answer.json()["elements"][0]["id"] == 7000

    @pytest.mark.parametrize("agent", ["python-requests/2.32.3", "curl/8.0", ""])
    def test_generic_user_agent_is_refused(self, overpass: OverpassServer, agent: str) -> None:
        assert self.ask(overpass, boundary_query("5001", "7"), agent).status_code == 403

    @pytest.mark.parametrize("query", ["way;", "[out:json];way(1);out;", "[out:json];node", '[out:xml];node["a"];out;', ""])
    def test_query_it_does_not_know_is_a_syntax_error_in_html(self, overpass: OverpassServer, query: str) -> None:
        answer = self.ask(overpass, query)
        assert answer.status_code == 400 and "<strong" in answer.text and "Error" in answer.text
        with pytest.raises(QuerySyntaxError):
            parse(query)

    def test_query_over_too_much_is_a_200_with_a_remark(self, areas: Any, road_map: ModuleType) -> None:
        with OverpassServer(areas("overpass"), heavy_deg2=1e-9) as server:
            answer = self.ask(server, roads_query(poly_filter(shape(road_map.boundary()))))
        assert answer.status_code == 200
        assert answer.json()["remark"].startswith("runtime error: Query timed out") and answer.json()["elements"]

    def test_third_query_at_once_is_429_and_the_status_says_when(self, areas: Any) -> None:
        with OverpassServer(areas("overpass"), work_s=1.0) as server:
            headers = {"User-Agent": "kryss-tests"}
            idle = requests.get(f"{server.url}/api/status", headers=headers, timeout=10).text
            first = [threading.Thread(target=self.ask, args=(server, boundary_query("5001", "7"))) for _ in range(2)]
            for thread in first:
                thread.start()
            while "slots available now" in requests.get(f"{server.url}/api/status", headers=headers, timeout=10).text:
                pass
            busy = requests.get(f"{server.url}/api/status", headers=headers, timeout=10).text
            assert self.ask(server, boundary_query("5001", "7")).status_code == 429
            for thread in first:
                thread.join()
        assert idle.splitlines()[2:4] == ["Rate limit: 2", "2 slots available now."]
        assert len(re.findall(r"Slot available after: \S+Z, in 1 seconds\.", busy)) == 2


class TestRecording:
    def record(self, area: RecordedArea, out: Path) -> list[Path]:
        servers = road_servers(area)
        for server in servers.values():
            server.start()
        urls = road_urls(servers)
        fast = RateLimiter(60_000, burst=100)
        clients = RoadClients(
            NvdbClient(urls["nvdb"], time_scale=0.01, page_size=9),
            OverpassClient(urls["overpass"], time_scale=0.01, limiter=fast),
            urls["junctions"],
        )
        try:
            return record_roads(out, area.roads, clients, area.boundary, ("5001", "7") if area.roads == "overpass" else None)
        finally:
            for server in servers.values():
                server.stop()

    @pytest.mark.parametrize("kind", ["nvdb", "overpass", "junctions"])
    def test_playback_of_a_recording_is_recorded_byte_for_byte(
        self, kind: str, areas: Any, road_map: ModuleType, tmp_path: Path
    ) -> None:
        """The first recording keeps what lies inside the boundary; from then on nothing changes."""
        once = road_map.write_area(tmp_path / "once", kind)
        first = self.record(areas(kind), once)
        twice = road_map.write_area(tmp_path / "twice", kind)
        second = self.record(load_area(once), twice)
        assert [path.relative_to(once) for path in first] == [path.relative_to(twice) for path in second] != []
        for before, after in zip(first, second, strict=True):
            assert before.read_bytes() == after.read_bytes()

    def test_recorded_items_are_those_of_the_service(self, areas: Any, tmp_path: Path) -> None:
        area = areas("nvdb")
        for path in self.record(area, tmp_path):
            kept = json.loads(path.read_text())
            served = json.loads((area.nvdb_path / path.name).read_text())
            assert kept and all(item in served for item in kept)

    def test_kind_without_its_source_is_an_error(self, areas: Any, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="cannot record roads of kind 'nvdb'"):
            record_roads(tmp_path, "nvdb", RoadClients(), areas("nvdb").boundary)


@pytest.mark.skipif(not (TOWN / "area.json").exists(), reason="the town is not there yet")
class TestTown:
    @pytest.mark.parametrize("source", ["nvdb", "overpass"])
    def test_its_one_junction_has_four_arms_and_signals(self, source: str) -> None:
        town = load_area(TOWN)
        with NvdbServer(town) as nvdb, OverpassServer(town) as overpass:
            client = NvdbClient(nvdb.url) if source == "nvdb" else OverpassClient(overpass.interpreter_url)
            (junction,) = load_junctions(source, town.boundary, client)  # type: ignore[arg-type]
        assert (junction.arms, junction.kind) == (4, "signals")
        assert (junction.lon, junction.lat) == pytest.approx((10.4, 63.43), abs=1e-6)
        assert junction.speed_limit_kmh == 50
