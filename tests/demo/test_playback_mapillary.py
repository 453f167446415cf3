"""The played back Mapillary behaves as contracts/mapillary-api-v4.md says, section by section. Asked with plain requests."""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import mapbox_vector_tile
import pytest
import requests

from kryss.demo.playback.mapillary import Quirks, mapillary_servers
from kryss.demo.playback.play import Playback
from kryss.demo.playback.server import Clock, Stage
from kryss.imagery.tiles import lon_lat_at, tile_at

STREET = "9.994,59.9995,10.004,60.0010"


class Mapillary:
    """A playback, asked as a stranger would."""

    def __init__(self, playback: Playback, token: str):
        self.playback, self.token = playback, token

    def get(self, path: str, **params: Any) -> requests.Response:
        url = f"{self.playback.urls['mapillary_graph']}{path}"
        return requests.get(url, params=params, headers={"Authorization": f"OAuth {self.token}"}, timeout=5)

    def ids(self, path: str, **params: Any) -> list[str]:
        answer = self.get(path, **params)
        assert answer.status_code == 200, answer.text
        return [row["id"] for row in answer.json()["data"]]

    def tile(self, lon: float, lat: float, tile_set: str = "mly1_public", zoom: int = 14) -> dict[str, Any]:
        x, y = (int(value) for value in tile_at(lon, lat, zoom))
        url = f"{self.playback.urls['mapillary_tiles']}/maps/vtp/{tile_set}/2/{zoom}/{x}/{y}"
        answer = requests.get(url, params={"access_token": self.token}, timeout=5)
        assert answer.status_code == 200
        decoded: dict[str, Any] = mapbox_vector_tile.decode(answer.content, default_options={"y_coord_down": True})
        return decoded


@pytest.fixture
def played(photo_area: Path, photo_areas: ModuleType) -> Iterator[Playback]:
    with photo_areas.playback(photo_area, expired_tokens=frozenset({"MLY|2|" + "e" * 32})) as playback:
        yield playback


@pytest.fixture
def mapillary(played: Playback, photo_areas: ModuleType) -> Mapillary:
    return Mapillary(played, photo_areas.TOKEN)


def _error(answer: requests.Response) -> tuple[int, int, int | None]:
    error = answer.json()["error"]
    assert error["message"] and error["type"] and error["fbtrace_id"]
    return answer.status_code, error["code"], error.get("error_subcode")


NEVER_ISSUED = "MLY|3|" + "a" * 32
TOKENS = [
    ({}, {}, 500, "Invalid OAuth 2.0 Access Token"),
    ({"Authorization": "OAuth nonsense"}, {}, 401, "Failed to decode"),
    ({"Authorization": f"OAuth {NEVER_ISSUED}"}, {}, 401, "Error validating application"),
    ({}, {"access_token": NEVER_ISSUED}, 400, "Error validating application"),
    ({"Authorization": "OAuth MLY|2|" + "e" * 32}, {}, 400, "expired"),
]


@pytest.mark.parametrize("surface", ["mapillary_graph", "mapillary_tiles"])
@pytest.mark.parametrize(("headers", "params", "status", "message"), TOKENS)
def test_tokens_are_refused_with_their_own_status(
    played: Playback, surface: str, headers: dict[str, str], params: dict[str, str], status: int, message: str
) -> None:
    answer = requests.get(f"{played.urls[surface]}/images", params=params, headers=headers, timeout=5)
    assert _error(answer)[:2] == (status, 190)
    assert message in answer.json()["error"]["message"]


def test_an_unknown_id_is_a_400_and_not_a_404(mapillary: Mapillary) -> None:
    assert _error(mapillary.get("/1")) == (400, 100, 33)
    assert _error(mapillary.get("/1/detections")) == (400, 100, 33)


def test_an_entity_has_the_fields_that_were_asked_for_and_its_id(mapillary: Mapillary) -> None:
    assert mapillary.get("/1000").json() == {"id": "1000"}
    asked = mapillary.get("/1000", fields="captured_at,creator{username},computed_geometry,nonsense").json()
    assert asked == {
        "id": "1000",
        "captured_at": 1772366400000,
        "creator": {"id": "77", "username": "driver"},
        "computed_geometry": {"type": "Point", "coordinates": [9.995, 60.0001]},
    }
    assert mapillary.get("/1050", fields="computed_geometry").json() == {"id": "1050"}
    assert "uploaded_at" not in mapillary.get("/1020", fields="uploaded_at,sequence").json()


def test_a_search_needs_exactly_one_filter(mapillary: Mapillary) -> None:
    assert _error(mapillary.get("/images"))[:2] == (400, 100)
    assert _error(mapillary.get("/images", bbox=STREET, sequence_ids="eastbound"))[:2] == (400, 100)
    assert _error(mapillary.get("/images", start_captured_at="2026-01-01T00:00:00Z"))[:2] == (400, 100)


def test_singular_and_plural_are_told_apart(mapillary: Mapillary) -> None:
    assert mapillary.get("/images", sequence_id="eastbound").status_code == 500
    assert len(mapillary.ids("/images", sequence_ids="eastbound")) == 8
    assert mapillary.ids("/image_ids", sequence_id="eastbound") == [str(1000 + i) for i in range(8)]
    assert mapillary.get("/image_ids", sequence_ids="eastbound").status_code == 400


def test_a_bbox_must_be_small(mapillary: Mapillary) -> None:
    assert _error(mapillary.get("/images", bbox="9.9,59.9,10.0,60.0"))[:2] == (400, 100)
    assert mapillary.get("/images", bbox="9.95,59.95,10.04,60.04").status_code == 200
    for bad in ("1,2,3", "a,b,c,d", "10,60,9,59"):
        assert _error(mapillary.get("/images", bbox=bad))[:2] == (400, 100)


def test_a_bbox_answer_is_partial_and_another_each_time(mapillary: Mapillary) -> None:
    answers = [frozenset(mapillary.ids("/images", bbox=STREET)) for _ in range(6)]
    whole = set(mapillary.ids("/images", sequence_ids="eastbound,westbound"))
    assert len(set(answers)) > 1
    assert all(answer <= whole for answer in answers)
    assert any(len(answer) < len(whole) for answer in answers)
    assert "paging" not in mapillary.get("/images", bbox=STREET).json()


def test_the_partial_answers_follow_from_the_seed(photo_areas: ModuleType, photo_area: Path) -> None:
    seen = []
    for seed in (1, 1, 2):
        with photo_areas.playback(photo_area, seed=seed) as played:
            mapillary = Mapillary(played, photo_areas.TOKEN)
            seen.append([mapillary.ids("/images", bbox=STREET) for _ in range(4)])
    assert seen[0] == seen[1] != seen[2]


def test_a_dense_zone_refuses_wide_boxes_until_they_are_split(photo_areas: ModuleType, photo_area: Path) -> None:
    with photo_areas.playback(photo_area, dense=(((9.99, 59.99, 10.01, 60.01), 0.0025),)) as played:
        mapillary = Mapillary(played, photo_areas.TOKEN)
        refused = mapillary.get("/images", bbox=STREET)
        assert _error(refused)[:2] == (500, 1)
        assert "reduce the amount of data" in refused.json()["error"]["message"]
        assert mapillary.get("/images", bbox="9.994,59.9995,9.996,60.0010").status_code == 200
        assert mapillary.get("/images", bbox="10.049,59.99,10.059,60.01").status_code == 200


def test_a_limit_cuts_a_bbox_answer_but_never_a_sequence(mapillary: Mapillary) -> None:
    assert len(mapillary.ids("/images", bbox=STREET, limit=2)) == 2
    assert len(mapillary.ids("/images", sequence_ids="eastbound", limit=2)) == 8
    assert _error(mapillary.get("/images", bbox=STREET, limit=2001))[:2] == (400, 100)


def test_whole_sequences_come_in_no_guaranteed_order(mapillary: Mapillary) -> None:
    ids = mapillary.ids("/images", sequence_ids="eastbound,passing,unknown")
    assert len(ids) == 14
    assert ids != sorted(ids)


def test_images_can_be_asked_for_by_id_and_unknown_ones_are_left_out(mapillary: Mapillary) -> None:
    assert set(mapillary.ids("/images", image_ids="1000,1001,1")) == {"1000", "1001"}


def test_several_entities_at_once(mapillary: Mapillary) -> None:
    answer = mapillary.get("/", ids="1000,1001", fields="sequence").json()
    assert answer == {one: {"id": one, "sequence": "eastbound"} for one in ("1000", "1001")}
    assert _error(mapillary.get("/", ids="1000,1")) == (400, 100, 33)
    assert _error(mapillary.get("/", ids=",".join(map(str, range(1000, 1051)))))[:2] == (400, 100)


def test_both_ends_of_a_time_span_are_included(mapillary: Mapillary) -> None:
    span = {"start_captured_at": "2026-03-01T12:00:02Z", "end_captured_at": "2026-03-01T12:00:04Z"}
    assert set(mapillary.ids("/images", sequence_ids="eastbound", **span)) == {"1002", "1003", "1004"}


def test_creators_are_paged_newest_first_and_the_next_link_holds_no_token(mapillary: Mapillary) -> None:
    answer = mapillary.get("/images", creator_username="driver", limit=10, fields="captured_at").json()
    rows, pages = list(answer["data"]), 1
    while "paging" in answer:
        assert mapillary.token.split("|")[2] not in answer["paging"]["next"]
        headers = {"Authorization": f"OAuth {mapillary.token}"}
        answer = requests.get(answer["paging"]["next"], headers=headers, timeout=5).json()
        rows, pages = rows + answer["data"], pages + 1
    times = [row["captured_at"] for row in rows]
    assert (pages, len({row["id"] for row in rows}), len(rows)) == (3, 28, 28)
    assert times == sorted(times, reverse=True)


def test_make_and_pano_narrow_a_search(mapillary: Mapillary) -> None:
    assert mapillary.ids("/images", sequence_ids="eastbound", is_pano="true") == []
    assert _error(mapillary.get("/images", sequence_ids="eastbound", make="Maker"))[:2] == (400, 100)
    assert mapillary.ids("/images", bbox=STREET, make="Other") == []


def test_a_point_search_reaches_50_m(mapillary: Mapillary) -> None:
    assert mapillary.ids("/images", lat=60.0001, lng=9.995, radius=10) == ["1000"]
    assert _error(mapillary.get("/images", lat=60.0001, lng=9.995, radius=51))[:2] == (400, 100)


def test_the_world_grows_with_now_by_upload_and_not_by_capture(mapillary: Mapillary, photo_areas: ModuleType) -> None:
    def known() -> int:
        return len(mapillary.ids("/images", sequence_ids="eastbound,westbound"))

    for now, count in ((photo_areas.BETWEEN, 8), (photo_areas.BEFORE_UPLOAD, 8), (photo_areas.AFTER_UPLOAD, 14)):
        mapillary.playback.set_now(now)
        assert known() == count
    mapillary.playback.set_now(photo_areas.BEFORE_UPLOAD)
    assert _error(mapillary.get("/1020")) == (400, 100, 33)


def _link(mapillary: Mapillary, size: str = "original") -> str:
    link: str = mapillary.get("/1000", fields=f"thumb_{size}_url").json()[f"thumb_{size}_url"]
    return link


def test_photo_links_are_signed_and_on_another_port(mapillary: Mapillary, photo_area: Path) -> None:
    link = _link(mapillary)
    assert link.startswith(mapillary.playback.urls["mapillary_photos"])
    assert link.split("/")[2] != mapillary.playback.urls["mapillary_graph"].split("/")[2]
    answer = requests.get(link, timeout=5)
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.content == (photo_area / "photos" / "1000.jpg").read_bytes()


@pytest.mark.parametrize("change", [("1000/", "1001/"), ("oh=", "oh=0"), ("oe=", "oe=7"), ("oe=", "oe=zz"), ("original", "2048")])
def test_a_link_opens_one_photo_of_one_size_until_one_instant(mapillary: Mapillary, change: tuple[str, str]) -> None:
    assert requests.get(_link(mapillary).replace(*change), timeout=5).status_code == 403


def test_a_link_expires(photo_areas: ModuleType, photo_area: Path) -> None:
    with photo_areas.playback(photo_area, link_ttl_s=1.0) as played:
        link = _link(Mapillary(played, photo_areas.TOKEN))
        assert requests.get(link, timeout=5).status_code == 200
        expiry = int(link.split("oe=")[1], 16)
        time.sleep(max(0.0, expiry + 0.1 - time.time()))
        answer = requests.get(link, timeout=5)
        assert (answer.status_code, answer.text) == (403, "URL signature expired")


def test_photos_are_fetched_without_the_token(mapillary: Mapillary) -> None:
    answer = requests.get(_link(mapillary), headers={"Authorization": f"OAuth {mapillary.token}"}, timeout=5)
    assert answer.status_code == 400


def test_a_thumbnail_has_the_width_of_its_name(mapillary: Mapillary, tmp_path: Path, photo_areas: ModuleType) -> None:
    from PIL import Image

    for image in photo_areas.IMAGES[:1]:
        (tmp_path / f"{image['id']}.jpg").write_bytes(photo_areas.jpeg(1, (1280, 960)))
    graph, tiles, photos = mapillary_servers(photo_areas.IMAGES, tmp_path, Stage(Clock(photo_areas.AFTER_UPLOAD)))
    with graph, tiles, photos:
        headers = {"Authorization": f"OAuth {photo_areas.TOKEN}"}
        for size, width in (("256", 256), ("1024", 1024), ("2048", 1280), ("original", 1280)):
            name = f"thumb_{size}_url"
            link = requests.get(f"{graph.url}/1000", params={"fields": name}, headers=headers, timeout=5).json()[name]
            file = tmp_path / "got.jpg"
            file.write_bytes(requests.get(link, timeout=5).content)
            with Image.open(file) as photo:
                assert photo.size == (width, width * 3 // 4)


def _of(layer: dict[str, Any], key: str) -> list[Any]:
    return [feature["properties"][key] for feature in layer["features"]]


def test_tiles_show_images_and_tracks_where_they_are(mapillary: Mapillary, photo_areas: ModuleType) -> None:
    by_id = {image["id"]: image for image in photo_areas.IMAGES}
    for tile_set, geometry in (("mly1_public", "geometry"), ("mly1_computed_public", "computed_geometry")):
        shown = {}
        for lon, lat in itertools.product((9.99, 10.01), (59.995, 60.005)):
            x, y = (int(value) for value in tile_at(lon, lat))
            for feature in mapillary.tile(lon, lat, tile_set).get("image", {"features": []})["features"]:
                px, py = feature["geometry"]["coordinates"]
                shown[str(feature["properties"]["id"])] = lon_lat_at(x + px / 4096, y + py / 4096)
        assert {"1000", "1007", "1050"} < set(shown)
        assert ("1040" in shown) == (tile_set == "mly1_computed_public")
        for image_id, position in shown.items():
            image = by_id[image_id]
            expected = image.get(geometry, image["geometry"])["coordinates"]
            assert position == pytest.approx(expected, abs=1e-5)


def test_tile_layers_have_the_names_and_types_of_the_contract(mapillary: Mapillary) -> None:
    tile = mapillary.tile(9.995, 60.0001)
    assert {layer["extent"] for layer in tile.values()} == {4096}
    image, sequence = tile["image"]["features"][0]["properties"], tile["sequence"]["features"][0]["properties"]
    assert {name: type(value) for name, value in image.items()} == {
        "captured_at": int,
        "id": int,
        "sequence_id": str,
        "is_pano": bool,
        "compass_angle": int,
    }
    assert {name: type(value) for name, value in sequence.items()} == {
        "captured_at": int,
        "id": str,
        "image_id": int,
        "is_pano": bool,
    }


def test_a_track_is_cut_at_the_edges_of_its_tiles(mapillary: Mapillary) -> None:
    parts = []
    for lon in (9.99, 10.005):
        tile = mapillary.tile(lon, 60.0001)
        lines = [f["geometry"] for f in tile["sequence"]["features"] if f["properties"]["id"] == "eastbound"]
        xs = [x for line in lines for x, _ in line["coordinates"]]
        parts.append((min(xs), max(xs)))
    assert all(0 <= low < high <= 4096 for low, high in parts)
    assert parts[0][1] == 4096 and parts[1][0] == 0


def test_images_are_on_zoom_14_only(mapillary: Mapillary) -> None:
    assert set(mapillary.tile(10.0, 60.0, zoom=10)) == {"sequence"}
    assert set(mapillary.tile(10.0, 60.0, zoom=3)) == {"overview"}


def test_a_tile_with_nothing_is_an_empty_body(mapillary: Mapillary) -> None:
    assert mapillary.tile(11.0, 61.0) == {}


def test_the_application_limit_is_an_error_of_code_4(photo_areas: ModuleType, photo_area: Path) -> None:
    with photo_areas.playback(photo_area, per_minute=3) as played:
        mapillary = Mapillary(played, photo_areas.TOKEN)
        answers = [mapillary.get("/1000") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 403, 403]
    assert _error(answers[-1])[1] == 4 and answers[-1].json()["error"]["is_transient"] is True


def test_unmerged_images_have_no_computed_fields_and_the_usual_camera(photo_areas: ModuleType, photo_area: Path) -> None:
    with photo_areas.playback(photo_area, unmerged_share=0.5) as played:
        mapillary = Mapillary(played, photo_areas.TOKEN)
        fields = "computed_geometry,computed_rotation,camera_parameters,atomic_scale"
        rows = mapillary.get("/images", sequence_ids="eastbound,westbound", fields=fields).json()["data"]
    unmerged = [row for row in rows if "computed_geometry" not in row]
    assert 0 < len(unmerged) < len(rows)
    assert all((row["camera_parameters"], row["atomic_scale"]) == ([0.85, 0, 0], 1) for row in unmerged)
    assert not any("computed_rotation" in row for row in unmerged)


def test_detections_are_boxes_in_a_tile_with_y_down(photo_areas: ModuleType, photo_area: Path) -> None:
    box = {"value": "regulatory--stop--g1", "box": (0.25, 0.125, 0.5, 0.375)}
    graph, tiles, photos = mapillary_servers(
        photo_areas.IMAGES, photo_area / "photos", Stage(Clock(photo_areas.AFTER_UPLOAD)), Quirks(), boxes={"1000": [box]}
    )
    with graph, tiles, photos:
        headers = {"Authorization": f"OAuth {photo_areas.TOKEN}"}
        params = {"fields": "value,geometry,created_at,image"}
        (row,) = requests.get(f"{graph.url}/1000/detections", params=params, headers=headers, timeout=5).json()["data"]
        listed = requests.get(f"{graph.url}/1000", params={"fields": "detections"}, headers=headers, timeout=5).json()
    assert listed["detections"] == {"data": [{"id": row["id"]}]}
    assert row["value"] == box["value"] and row["image"]["id"] == "1000" and row["created_at"].endswith("+0000")
    layer = mapbox_vector_tile.decode(base64.b64decode(row["geometry"]), default_options={"y_coord_down": True})["mpy-or"]
    ring = layer["features"][0]["geometry"]["coordinates"][0]
    assert {tuple(point) for point in ring} == {(1024, 512), (2048, 512), (2048, 1536), (1024, 1536)}
