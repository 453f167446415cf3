"""The clients against servers that answer as NVDB and Overpass do, quirks and faults included."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon, mapping, shape

from kryss.demo.area import RecordedArea, load_area
from kryss.demo.playback.faults import Fault
from kryss.demo.playback.nvdb import NvdbServer
from kryss.demo.playback.overpass import OverpassServer
from kryss.demo.playback.roads import JunctionsServer
from kryss.http import RateLimiter, RequestFailed, ServiceError
from kryss.roads.junctions import JunctionsError, intersections_from_points, load_junctions, read_points
from kryss.roads.network import intersections_of
from kryss.roads.nvdb import NvdbClient, covering_ring, kommune_filter, polygon_filter
from kryss.roads.nvdb_network import network_from_nvdb
from kryss.roads.overpass import OverpassClient, boundary_query, poly_filter, slot_wait_s
from kryss.roads.wkt import utm33, wgs84_from_wkt

NVDB_ANSWERS = Path(__file__).parents[2] / ".." / "shared" / "data" / "nvdb-responses"
TNITS = NVDB_ANSWERS / "tnits-2026"
FAST = 0.001
"""Waits of the retry policy are this part of what they are in earnest."""


@pytest.fixture(scope="module")
def areas(road_map: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RecordedArea]:
    root = tmp_path_factory.mktemp("areas")
    made = {kind: load_area(road_map.write_area(root / kind, kind)) for kind in ("nvdb", "overpass", "junctions")}
    return made.__getitem__


@pytest.fixture
def nvdb(areas: Callable[[str], RecordedArea]) -> Iterator[NvdbServer]:
    with NvdbServer(areas("nvdb"), page_cap=10) as server:
        yield server


@pytest.fixture
def overpass(areas: Callable[[str], RecordedArea]) -> Iterator[OverpassServer]:
    with OverpassServer(areas("overpass")) as server:
        yield server


def nvdb_client(server: NvdbServer, **options: Any) -> NvdbClient:
    return NvdbClient(server.url, **{"time_scale": FAST, **options})


def overpass_client(server: OverpassServer, **options: Any) -> OverpassClient:
    options = {"time_scale": FAST, "limiter": RateLimiter(60_000, burst=100, concurrent=2), **options}
    return OverpassClient(server.interpreter_url, **options)


class TestNvdb:
    def test_paging_ends_although_the_service_never_says_so(self, nvdb: NvdbServer, road_map: ModuleType) -> None:
        nodes = list(nvdb_client(nvdb).nodes(kommune_filter("5001")))
        assert sorted(node["id"] for node in nodes) == sorted(road_map.NODES)
        pages = -(-len(road_map.NODES) // 10)
        assert nvdb.stage.requests["nvdb /noder"] == pages + 1

    def test_nothing_found_is_one_empty_page(self, nvdb: NvdbServer) -> None:
        assert list(nvdb_client(nvdb).nodes(kommune_filter("0301"))) == []
        assert nvdb.stage.requests["nvdb /noder"] == 1

    def test_junctions_are_the_same_for_every_page_size(self, nvdb: NvdbServer, road_map: ModuleType) -> None:
        told = [load_junctions("nvdb", road_map.boundary(), nvdb_client(nvdb, page_size=size)) for size in (3, 1000)]
        assert told[0] == told[1] and {j.members[0] for j in told[0]} == road_map.INSIDE

    @pytest.mark.parametrize("style", ["json", "text"])
    def test_missing_x_client_is_an_error_that_says_so(self, areas: Any, style: Any) -> None:
        with NvdbServer(areas("nvdb"), missing_client_body=style) as server:
            client = nvdb_client(server, x_client="")
            with pytest.raises(RequestFailed, match=r"nvdb /vegnett.*\(HTTP 400\)"):
                list(client.nodes(kommune_filter("5001")))

    @pytest.mark.parametrize("fault", ["too-many-requests", "unavailable", "truncated", "dropped", "html-under-200"])
    def test_bad_moment_of_the_service_costs_nothing(self, nvdb: NvdbServer, road_map: ModuleType, fault: str) -> None:
        nvdb.stage.faults.order(fault, server="nvdb", count=2)
        found = load_junctions("nvdb", road_map.boundary(), nvdb_client(nvdb))
        assert {junction.members[0] for junction in found} == road_map.INSIDE
        assert sum(nvdb.stage.happened.values()) == 2

    def test_service_that_stays_down_is_an_error(self, nvdb: NvdbServer) -> None:
        nvdb.stage.faults.order("unavailable", server="nvdb", count=-1)
        with pytest.raises(ServiceError, match=r"nvdb /vegnett/api/v4/noder: server error.*5 tries"):
            list(nvdb_client(nvdb).nodes(kommune_filter("5001")))

    def test_client_pauses_before_the_budget_is_used_up(self, areas: Any, road_map: ModuleType) -> None:
        with NvdbServer(areas("nvdb"), page_cap=1, budget=40, refill_per_s=0.1) as server:
            client = nvdb_client(server, time_scale=0.02)
            assert len(list(client.nodes(kommune_filter("5001")))) == len(road_map.NODES)
            assert set(client.service.counts.snapshot()["reasons"]) == {"paused, budget nearly used"}

    def test_wrong_service_is_an_error_that_names_what_is_missing(self, areas: Any) -> None:
        with JunctionsServer(areas("junctions")) as server:
            client = NvdbClient(server.url, time_scale=FAST)
            client.service.base_url = server.url
            with pytest.raises(RequestFailed, match="no list 'objekter'"):
                list(client._pages("/roads/junctions.geojson", {}))

    def test_roads_outside_the_boundary_are_not_asked_for(self, nvdb: NvdbServer, road_map: ModuleType) -> None:
        ids = {node["id"] for node in nvdb_client(nvdb).nodes(polygon_filter(road_map.boundary()))}
        assert 140 not in ids and 100 in ids


class TestCoveringRing:
    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.tuples(st.floats(0, 5e4), st.floats(0, 5e4)), min_size=3, max_size=40), st.integers(4, 40))
    def test_ring_of_few_corners_covers_the_region(self, points: list, most: int) -> None:
        region = shapely.union_all([shapely.Point(point).buffer(300) for point in points])
        ring = covering_ring(region, 100, most)
        assert ring[0] == ring[-1] and len(ring) - 1 <= most
        assert Polygon(ring).is_valid and Polygon(ring).covers(region)

    def test_filters_write_their_own_axis_order(self, road_map: ModuleType) -> None:
        first_east, first_north = map(float, polygon_filter(road_map.boundary())["polygon"].split(",")[0].split())
        assert 499_000 < first_east < 502_000 and 6_649_000 < first_north < 6_652_000
        first_lat, first_lon = map(float, poly_filter(shape(road_map.boundary())).split('"')[1].split()[:2])
        assert 59 < first_lat < 61 and 14 < first_lon < 16


class TestOverpass:
    def test_each_element_comes_once_in_order_of_its_id(self, overpass: OverpassServer, road_map: ModuleType) -> None:
        ids = [element["id"] for element in overpass_client(overpass).roads(road_map.boundary())]
        assert ids == sorted(set(ids)) and set(ids) >= {1, 2, 20} and not {6, 40} & set(ids)

    @pytest.mark.parametrize("status", [429, 504])
    def test_busy_server_is_asked_again(self, overpass: OverpassServer, road_map: ModuleType, status: int) -> None:
        overpass.stage.faults.order(Fault(status=status, body="<html>", content_type="text/html", path="interpreter", count=2))
        found = load_junctions("overpass", road_map.boundary(), overpass_client(overpass))
        assert {junction.members[0] for junction in found} == road_map.INSIDE

    def test_query_that_runs_out_of_time_is_split_until_it_fits(self, areas: Any, road_map: ModuleType) -> None:
        whole = shape(road_map.boundary())
        with OverpassServer(areas("overpass"), heavy_deg2=whole.area / 2) as server:
            client = overpass_client(server)
            found = load_junctions("overpass", road_map.boundary(), client)
            assert {junction.members[0] for junction in found} == road_map.INSIDE
            assert client.service.counts.snapshot()["reasons"] == {"query ran out of time or memory": 2}

    def test_query_that_never_fits_is_an_error(self, areas: Any, road_map: ModuleType) -> None:
        never = pytest.raises(RequestFailed, match=r"out of time .* even for a part of 1/256 of the area")
        with OverpassServer(areas("overpass"), heavy_deg2=0.0) as server, never:
            overpass_client(server).roads(road_map.boundary())

    def test_generic_user_agent_is_refused(self, overpass: OverpassServer, road_map: ModuleType) -> None:
        with pytest.raises(RequestFailed, match="HTTP 403"):
            overpass_client(overpass, user_agent="python-requests/2.32").roads(road_map.boundary())

    def test_query_that_the_service_does_not_know_is_not_repeated(self, overpass: OverpassServer) -> None:
        client = overpass_client(overpass)
        with pytest.raises(RequestFailed, match=r"query not accepted \(HTTP 400\)"):
            client.ask("[out:json];nonsense;")
        assert overpass.stage.requests["overpass /api/interpreter"] == 1

    def test_three_at_once_on_two_slots_all_get_their_answer(self, areas: Any, road_map: ModuleType) -> None:
        with OverpassServer(areas("overpass"), work_s=0.3) as server:
            clients = [overpass_client(server, time_scale=0.01) for _ in range(3)]
            found: list[int] = []
            threads = [
                threading.Thread(target=lambda c=client: found.append(len(c.roads(road_map.boundary())))) for client in clients
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
            assert len(found) == 3 and len(set(found)) == 1

    def test_status_text_tells_how_long_to_wait(self) -> None:
        free = "Rate limit: 2\n1 slots available now.\nSlot available after: 2026-01-01T00:00:09Z, in 9 seconds.\n"
        full = (
            "Rate limit: 2\nSlot available after: 2026-01-01T00:00:09Z, in 9 seconds.\n"
            "Slot available after: 2026-01-01T00:00:04Z, in 4 seconds.\nCurrently running queries"
        )
        assert (slot_wait_s(free), slot_wait_s(full), slot_wait_s("<html>")) == (0, 4, 0)

    def test_nothing_foreign_gets_into_a_query(self) -> None:
        with pytest.raises(ValueError, match="cannot be part of an Overpass query"):
            boundary_query('5001"];out;', "7")


class TestJunctionPoints:
    def test_path_and_url_tell_the_same(self, areas: Any, road_map: ModuleType) -> None:
        area = areas("junctions")
        with JunctionsServer(area) as server:
            sources = [area.junctions_path, area.junctions_path.absolute().as_uri(), server.file_url]
            told = [load_junctions("junctions", area.boundary, source) for source in sources]
        assert told[0] == told[1] == told[2]
        assert [junction.id for junction in told[0]] == ["area:crossing", "area:north"]
        assert [junction.speed_limit_kmh for junction in told[0]] == [60, 40]

    def test_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(JunctionsError, match=r"none\.geojson: no such file of junctions"):
            read_points(tmp_path / "none.geojson")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"id": None}, "Feature id of its own"),
            ({"properties": {}}, "speed_limit_kmh above zero"),
            ({"properties": {"speed_limit_kmh": -5}}, "speed_limit_kmh above zero"),
            ({"geometry": None}, "needs a Point"),
        ],
    )
    def test_point_that_cannot_be_used_is_named(self, areas: Any, change: dict, message: str) -> None:
        area = areas("junctions")
        collection = json.loads(area.junctions_path.read_text())
        collection["features"][1].update(change)
        with pytest.raises(JunctionsError, match=rf"features\[1\].*{message}"):
            intersections_from_points(collection, area.boundary, "this file")


def test_clients_are_configured_by_the_environment() -> None:
    env = {
        "KRYSS_NVDB_URL": "http://127.0.0.1:1",
        "KRYSS_NVDB_CLIENT": "ops",
        "KRYSS_NVDB_CONTACT": "ops@example.org",
        "KRYSS_OVERPASS_URL": "http://127.0.0.1:2/api/interpreter",
        "KRYSS_USER_AGENT": "ops/1",
    }
    nvdb, overpass = NvdbClient.from_env(env), OverpassClient.from_env(env)
    assert nvdb.service.base_url == "http://127.0.0.1:1"
    assert nvdb.service.headers["X-Client"] == "ops" and nvdb.service.headers["X-Kontaktperson"] == "ops@example.org"
    assert overpass.service.base_url == "http://127.0.0.1:2/api" and overpass.service.headers["User-Agent"] == "ops/1"
    assert OverpassClient.from_env({}).service.base_url == "https://overpass-api.de/api"


def test_progress_is_logged_with_counts(nvdb: NvdbServer, road_map: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="kryss.roads"):
        load_junctions("nvdb", road_map.boundary(), nvdb_client(nvdb))
    assert any("5 intersections" in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("wkt", "srid"),
    [
        ("POINT Z (266523.087714751 6644303.56396992 114.926)", 5973),
        ("POINT Z(266523.087714751 6644303.56396992 -999999)", 5973),
        ("POINT(266523.087714751 6644303.56396992)", 25833),
        ("POINT Z (59.87012973 10.82865387 114.926)", 4326),
    ],
)
def test_wkt_of_one_sign_is_one_place_in_every_form(wkt: str, srid: int) -> None:
    point = wgs84_from_wkt(wkt, srid)
    assert not point.has_z
    assert (point.x, point.y) == pytest.approx((10.82865387, 59.87012973), abs=1e-7)
    back = utm33(point)
    assert (back.x, back.y) == pytest.approx((266523.088, 6644303.564), abs=0.01)


@pytest.mark.parametrize(("wkt", "srid", "message"), [("POINT 1", 5973, "not WKT"), ("POINT (1 2)", 32633, "srid 32633")])
def test_wkt_that_is_not_understood_is_an_error(wkt: str, srid: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wgs84_from_wkt(wkt, srid)


def recorded_sequences() -> list[dict[str, Any]]:
    answers = [json.loads(path.read_text()) for path in sorted(TNITS.glob("veglenkesekvens*.json"))]
    return [sequence for answer in answers for sequence in answer.get("veglenkesekvenser", [answer])]


def segments_of(sequence: dict[str, Any]) -> list[dict[str, Any]]:
    ports = {port["nummer"]: port for port in sequence["porter"]}
    kinds = {"ENKEL_BILVEG": "enkelBilveg", "KANALISERT_VEG": "kanalisertVeg", "RUNDKJORING": "rundkjøring"}
    return [
        {
            "veglenkesekvensid": sequence["id"],
            "veglenkenummer": link["nummer"],
            "kortform": f"{start['posisjon']}-{end['posisjon']}@{sequence['id']}",
            "startposisjon": start["posisjon"],
            "sluttposisjon": end["posisjon"],
            "startnode": str(start["nodeId"]),
            "sluttnode": str(end["nodeId"]),
            "type": "KONNEKTERING" if link["konnektering"] else "HOVED",
            "detaljnivå": {"VEGTRASE": "Vegtrase"}.get(link["detaljniva"], "Vegtrase og kjørebane"),
            "typeVeg_sosi": kinds.get(link["typeVeg"], "gangOgSykkelveg"),
            "geometri": link["geometri"],
            "metadata": link["gyldighetsperiode"],
        }
        for link in sequence["veglenker"]
        for start, end in [(ports[link["startport"]], ports[link["sluttport"]])]
    ]


def limit_of(item: dict[str, Any]) -> dict[str, Any]:
    km_h = {2726: 30, 2730: 50}[item["egenskaper"]["2021"]["verdi"]]
    places = [{**place, "veglenkesekvensid": place["id"]} for place in item["stedfesting"]["linjer"]]
    return {
        "id": item["id"],
        "egenskaper": [{"id": 2021, "verdi": km_h}],
        "lokasjon": {"stedfestinger": places},
        "geometri": {"wkt": "LINESTRING (0 0, 1 1)", "srid": 5973},
    }


@pytest.mark.real
@pytest.mark.skipif(not NVDB_ANSWERS.exists(), reason="no ../shared/data")
class TestRecordedAnswers:
    def test_recorded_network_of_v3_is_read(self) -> None:
        folder = NVDB_ANSWERS / "v3-utv-api-client"
        read = {name: json.loads((folder / path).read_text())["objekter"] for name, path in {
            "segments": "vegnett/veglenkesekvenser_segmentert.json",
            "nodes": "vegnett/noder.json",
            "objects-105": "vegobjekter/105.json",
        }.items()}  # fmt: skip
        network = network_from_nvdb({**read, "objects-37": [], "objects-89": []})
        assert [link.id for link in network.links] == ["1-1-341-5423", "2-1-341-5423"]
        assert {(link.start, link.end) for link in network.links} == {("341", "5423")}
        assert network.links[1].name == "Holkestadvegen"
        assert [link.limits for link in network.links] == [(), ()]

    def test_recorded_sequences_of_trondheim_make_junctions(self) -> None:
        """The compact API tells sequences: their links are written here as the segments that the ordinary API makes of them."""
        segments = [segment for sequence in recorded_sequences() for segment in segments_of(sequence)]
        limits = [limit_of(json.loads(path.read_text())) for path in sorted(TNITS.glob("vegobjekt-105-*.json"))]
        network = network_from_nvdb(
            {"segments": segments, "nodes": [], "objects-37": [], "objects-89": [], "objects-105": limits}
        )
        assert len(network.links) == 252  # 18 links have ended, one is for bicycles
        by_name = {tuple(link.id.split("-")[:2]): link for link in network.links}
        holding = {
            (segment["startposisjon"], segment["sluttposisjon"]): by_name[("41423", str(segment["veglenkenummer"]))].limits
            for segment in segments
            if segment["veglenkesekvensid"] == 41423 and "sluttdato" not in segment["metadata"]
        }
        assert {km_h for (_, end), limits in holding.items() if end <= 0.4010989 for _, _, km_h in limits} == {50}
        between = [limits for (begin, end), limits in holding.items() if begin >= 0.4010989 and end <= 0.59010989]
        assert len(between) > 3 and not any(between), "registered on the carriageways, which were not recorded"
        trondheim = shape(
            {"type": "Polygon", "coordinates": [[[10.2, 63.3], [10.7, 63.3], [10.7, 63.5], [10.2, 63.5], [10.2, 63.3]]]}
        )
        found = intersections_of(network, mapping(trondheim))
        assert [junction.id for junction in found] == [
            "nvdb:95257",
            "nvdb:95685",
            "nvdb:95701",
            "nvdb:96663",
            "nvdb:96686",
            "nvdb:96689",
        ]
        assert {junction.arms for junction in found} == {3}
        assert {junction.id: junction.speed_limit_kmh for junction in found}["nvdb:96663"] == 30

    def test_recorded_signs_of_v4_stand_in_oslo_in_both_of_their_geometries(self) -> None:
        signs = json.loads((NVDB_ANSWERS / "v4-type96-oslo-excerpt" / "signs-0301-excerpt.json").read_text())["objekter"]
        for sign in signs:
            shown = wgs84_from_wkt(sign["geometri"]["wkt"], sign["geometri"]["srid"])
            assert 10.4 < shown.x < 11 and 59.8 < shown.y < 60.2
            for own in (entry for entry in sign["egenskaper"] if entry["id"] == 4795):
                surveyed = wgs84_from_wkt(own["verdi"], 5973)
                assert (surveyed.x, surveyed.y) == pytest.approx((shown.x, shown.y), abs=1e-6)

    def test_recorded_last_page_ends_the_paging(self, areas: Any) -> None:
        """The recorded end: no objects, and a cursor all the same."""
        page = json.loads((NVDB_ANSWERS / "v4-type96-oslo-excerpt" / "signs-1151-page2-end.json").read_text())
        with NvdbServer(areas("nvdb")) as server:
            server.stage.faults.order(Fault(status=200, body=json.dumps(page), count=-1, server="nvdb"))
            began = time.monotonic()
            assert list(nvdb_client(server).objects(96, kommune_filter("1151"))) == []
            assert time.monotonic() - began < 5 and sum(server.stage.requests.values()) == 1
