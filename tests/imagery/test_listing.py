"""What a boundary holds, asked of a playback that has Mapillary's quirks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kryss.demo.area import load_area
from kryss.demo.playback.mapillary import Quirks
from kryss.demo.playback.play import Playback
from kryss.http import RequestFailed, StopRun
from kryss.imagery.client import MapillaryClient, list_images


@pytest.fixture
def played(photo_area: Path, photo_areas: ModuleType) -> Iterator[Playback]:
    with photo_areas.playback(photo_area) as playback:
        yield playback


def test_a_listing_holds_every_image_inside_the_boundary_and_no_other(photo_areas: ModuleType, played: Playback) -> None:
    listing = list_images(photo_areas.client_of(played), photo_areas.BOUNDARY)
    assert tuple(image.id for image in listing.images) == photo_areas.INSIDE
    assert listing.rejected == []
    assert listing.counts == {"sequences": 5, "listed": 25, "outside": 3, "rejected": 0, "images": 22}


def test_a_camera_with_a_frozen_gps_is_found_by_its_computed_position(photo_areas: ModuleType, played: Playback) -> None:
    client = photo_areas.client_of(played)
    assert "frozen" in client.sequence_ids(photo_areas.BOUNDARY)
    raw_only = photo_areas.client_of(played, tile_sets={"mly1_public": 14})
    assert "frozen" not in raw_only.sequence_ids(photo_areas.BOUNDARY)


def test_sequences_outside_are_not_even_asked_for(photo_areas: ModuleType, played: Playback) -> None:
    found = photo_areas.client_of(played).sequence_ids(photo_areas.BOUNDARY)
    assert found == {"eastbound", "westbound", "frozen", "unmerged", "passing"}


def test_an_image_without_computed_position_counts_by_its_original_one(photo_areas: ModuleType, photo_area: Path) -> None:
    with photo_areas.playback(photo_area, unmerged_share=1.0) as played:
        listing = list_images(photo_areas.client_of(played), photo_areas.BOUNDARY)
    ids = {image.id for image in listing.images}
    assert all(image.sfm is None for image in listing.images)
    assert {"1050", "1051"} < ids and not {"1040", "1041", "1042"} & ids


def test_photos_uploaded_late_are_found_though_they_are_older_than_the_last_look(
    photo_areas: ModuleType, played: Playback
) -> None:
    client = photo_areas.client_of(played)
    seen = {}
    for now in (photo_areas.BETWEEN, photo_areas.BEFORE_UPLOAD, photo_areas.AFTER_UPLOAD):
        played.set_now(now)
        seen[now] = [image.id for image in list_images(client, photo_areas.BOUNDARY).images]
    assert seen[photo_areas.BETWEEN] == seen[photo_areas.BEFORE_UPLOAD] == list(photo_areas.INSIDE_FIRST_EPOCH)
    assert seen[photo_areas.AFTER_UPLOAD] == list(photo_areas.INSIDE)


def test_before_anything_was_uploaded_there_is_nothing(photo_areas: ModuleType, played: Playback) -> None:
    played.set_now(photo_areas.EPOCH_1.replace(year=2020))
    listing = list_images(photo_areas.client_of(played), photo_areas.BOUNDARY)
    assert (listing.images, listing.counts["sequences"]) == ([], 0)


@pytest.mark.parametrize("status", [200, 204, 404])
def test_an_empty_tile_is_empty_however_it_is_answered(photo_areas: ModuleType, photo_area: Path, status: int) -> None:
    with photo_areas.playback(photo_area, empty_tile_status=status) as played:
        wide = {"type": "Polygon", "coordinates": [[[9.9, 59.98], [10.03, 59.98], [10.03, 60.03], [9.9, 60.03], [9.9, 59.98]]]}
        assert len(photo_areas.client_of(played).sequence_ids(wide)) == 5


@pytest.mark.parametrize("most_images", [12, 7, 2, 1])
def test_a_search_for_too_much_is_split_down_to_single_images(
    photo_areas: ModuleType, photo_area: Path, most_images: int
) -> None:
    with photo_areas.playback(photo_area, most_images=most_images) as played:
        client = photo_areas.client_of(played)
        listing = list_images(client, photo_areas.BOUNDARY)
        assert tuple(image.id for image in listing.images) == photo_areas.INSIDE
        assert client.counts()["mapillary-search"]["retries"] == 0


def test_metadata_take_few_calls(photo_areas: ModuleType, played: Playback) -> None:
    client = photo_areas.client_of(played)
    list_images(client, photo_areas.BOUNDARY)
    assert client.counts()["mapillary-search"]["requests"] == 1
    assert client.counts()["mapillary-entity"]["requests"] == 0


def test_sequences_are_asked_for_in_bounded_batches(photo_areas: ModuleType, played: Playback) -> None:
    client = photo_areas.client_of(played)
    client.entities_of([f"s{n}" for n in range(45)])
    assert client.counts()["mapillary-search"]["requests"] == 3
    client.entities_of({"a": 900, "b": 900, "c": 100})
    assert client.counts()["mapillary-search"]["requests"] == 5


MALFORMED = [
    ("1000", {"captured_at": None}, "captured_at is missing"),
    ("1001", {"width": 0}, "width is 0"),
    ("1002", {"geometry": None, "computed_geometry": {"type": "Point", "coordinates": [10, 95]}}, "outside the globe"),
    ("1003", {"height": "tall"}, "height is 'tall'"),
]


def test_malformed_entities_are_listed_with_their_reason_and_the_rest_goes_on(
    photo_areas: ModuleType, photo_area: Path, played: Playback
) -> None:
    """The faults come from the service: the recorded area itself would not load with them."""
    changes = {image_id: change for image_id, change, _ in MALFORMED}
    rows = [
        {name: value for name, value in {**image, **changes.get(image["id"], {})}.items() if value is not None}
        for image in photo_areas.IMAGES
        if image["sequence"] == "eastbound"
    ]
    rows += ["not an object", {"sequence": "eastbound"}]
    played.faults.order("html-under-200", server="mapillary-graph", path="sequence_ids", body=json.dumps({"data": rows}))
    listing = list_images(photo_areas.client_of(played), photo_areas.BOUNDARY)
    assert [image.id for image in listing.images] == ["1004", "1005", "1006", "1007"]
    reasons = dict(listing.rejected)
    assert set(reasons) == {"?", *changes}
    assert all(reason in reasons[image_id] for image_id, _, reason in MALFORMED)
    assert listing.counts["rejected"] == 6


@pytest.mark.parametrize("body", ['{"rows": []}', "[]", '{"data": null}'])
def test_an_answer_of_another_shape_is_an_error_and_not_an_empty_listing(
    photo_areas: ModuleType, played: Playback, body: str
) -> None:
    played.faults.order("html-under-200", server="mapillary-graph", path="sequence_ids", body=body)
    with pytest.raises(RequestFailed, match="no list under 'data'"):
        list_images(photo_areas.client_of(played), photo_areas.BOUNDARY)


@pytest.mark.parametrize("server", ["mapillary-graph", "mapillary-tiles"])
def test_a_revoked_token_stops_the_listing(photo_areas: ModuleType, played: Playback, server: str) -> None:
    played.faults.order("revoked-token", server=server)
    with pytest.raises(StopRun, match="token refused"):
        list_images(photo_areas.client_of(played), photo_areas.BOUNDARY)


TOKENS = ["MLY|1|" + "f" * 32, "nonsense", "MLY|1|expired"]


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_that_is_not_accepted_stops_the_listing(photo_areas: ModuleType, photo_area: Path, token: str) -> None:
    with photo_areas.playback(photo_area, expired_tokens=frozenset({"MLY|1|expired"})) as played:
        client = photo_areas.client_of(played, token)
        for ask in (lambda: client.entities_of(["eastbound"]), lambda: client.sequence_ids(photo_areas.BOUNDARY)):
            with pytest.raises(StopRun) as caught:
                ask()
            assert token not in str(caught.value)


def test_without_a_token_the_client_says_what_to_set() -> None:
    with pytest.raises(ValueError, match="KRYSS_MAPILLARY_TOKEN"):
        MapillaryClient.from_env({})


def test_the_environment_names_the_places(photo_areas: ModuleType) -> None:
    environ = {"KRYSS_MAPILLARY_TOKEN": photo_areas.TOKEN, "KRYSS_MAPILLARY_GRAPH_URL": "http://127.0.0.1:1"}
    client = MapillaryClient.from_env(environ)
    assert repr(client) == "MapillaryClient('http://127.0.0.1:1', 'https://tiles.mapillary.com')"


REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "area-damasen"


@pytest.mark.real
@pytest.mark.skipif(not REAL.exists(), reason="no ../shared")
def test_the_real_area_with_a_frozen_gps_is_listed_whole(photo_areas: ModuleType) -> None:
    area: Any = load_area(REAL)
    with Playback(area, quirks=Quirks()) as played:
        listing = list_images(photo_areas.client_of(played), area.boundary)
    assert [image.id for image in listing.images] == [image["id"] for image in area.images]
