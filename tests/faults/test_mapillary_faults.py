"""Faults of Mapillary, ordered at the playback: each does what the retry table says, and nothing else is lost.

Every test runs discovery and download over real HTTP. What is compared is the whole: the listing, the outcome of every photo,
the bytes in the store.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

from kryss.demo.playback.play import Playback
from kryss.http import RequestFailed, StopRun
from kryss.imagery.client import MapillaryClient, list_images
from kryss.imagery.fetch import fetch_photos
from kryss.imagery.store import PhotoStore

GRAPH, TILES, PHOTOS = "mapillary-graph", "mapillary-tiles", "mapillary-photos"


@pytest.fixture
def played(photo_area: Path, photo_areas: ModuleType) -> Iterator[Playback]:
    with photo_areas.playback(photo_area) as playback:
        yield playback


@pytest.fixture
def client(photo_areas: ModuleType, played: Playback) -> MapillaryClient:
    made: MapillaryClient = photo_areas.client_of(played, read_timeout_s=1.5)
    return made


@pytest.fixture
def store() -> PhotoStore:
    return PhotoStore(f"memory://{uuid4()}")


class Refresh:
    """Discovery and download of the whole area, and what came of them."""

    def __init__(self, photo_areas: ModuleType, photo_area: Path, client: MapillaryClient, store: PhotoStore):
        self.areas, self.folder, self.client, self.store = photo_areas, photo_area, client, store

    def run(self) -> dict[str, str]:
        listing = list_images(self.client, self.areas.BOUNDARY)
        assert tuple(image.id for image in listing.images) == self.areas.INSIDE
        assert listing.rejected == []
        results = fetch_photos(self.client, self.store, [image.id for image in listing.images])
        assert [result.image_id for result in results] == sorted(self.areas.INSIDE)
        return {result.image_id: result.outcome for result in results}

    def bytes_are_right(self, but: frozenset[str] = frozenset()) -> bool:
        """The store holds the recorded bytes of every photo but those, and of those none."""
        expected = {one: (self.folder / "photos" / f"{one}.jpg").read_bytes() for one in self.areas.INSIDE if one not in but}
        return {one: self.store.read(one) for one in self.store.ids()} == expected


@pytest.fixture
def refresh(photo_areas: ModuleType, photo_area: Path, client: MapillaryClient, store: PhotoStore) -> Refresh:
    return Refresh(photo_areas, photo_area, client, store)


PASSING: list[tuple[str, dict[str, Any], str]] = [
    ("too-many-requests", {"server": GRAPH, "path": "sequence_ids"}, "too many requests"),
    ("too-many-requests", {"server": GRAPH, "path": r"^/\d+", "count": 5}, "too many requests"),
    ("too-many-requests", {"server": TILES, "count": 3}, "too many requests"),
    ("too-many-requests", {"server": PHOTOS, "count": 3}, "too many requests"),
    ("application-limit", {"server": GRAPH, "count": 3}, "application request limit reached"),
    ("server-error", {"server": GRAPH, "count": 6}, "server error"),
    ("server-error", {"server": TILES, "count": 6}, "server error"),
    ("server-error", {"server": PHOTOS, "count": 6}, "server error"),
    ("unavailable", {"server": PHOTOS, "count": 4}, "server error"),
    ("temporarily-unavailable", {"server": GRAPH, "count": 2}, "temporarily unavailable"),
    ("unknown-error", {"server": GRAPH, "count": 2}, "unknown error of the service"),
    ("error-under-200", {"server": GRAPH, "count": 2}, "temporarily unavailable"),
    ("error-under-200", {"server": TILES, "count": 2}, "temporarily unavailable"),
    ("error-under-200", {"server": PHOTOS, "count": 2}, "temporarily unavailable"),
    ("html-under-200", {"server": GRAPH, "path": "sequence_ids"}, "not the JSON that was asked for"),
    ("html-under-200", {"server": TILES, "count": 3}, "not a readable tile"),
    ("html-under-200", {"server": PHOTOS, "count": 3}, "not a readable photo"),
    ("empty-under-200", {"server": PHOTOS, "count": 2}, "not a readable photo"),
    ("truncated", {"server": GRAPH, "path": "sequence_ids"}, "answer cut short"),
    ("truncated", {"server": TILES, "path": "mly1_computed", "count": 2}, "answer cut short"),
    ("truncated", {"server": PHOTOS, "count": 3}, "photo cut short"),
    ("cut-at-the-source", {"server": PHOTOS, "count": 3}, "not a readable photo"),
    ("cut-at-the-source", {"server": TILES, "path": "mly1_computed", "count": 2}, "not a readable tile"),
    ("expired-link", {"server": PHOTOS, "count": 2}, "photo link expired"),
    ("dropped", {"server": GRAPH, "count": 2}, "connection failed"),
    ("dropped", {"server": PHOTOS, "count": 3}, "connection failed"),
    ("slow", {"server": GRAPH, "path": "sequence_ids"}, "no answer in time"),
    ("slow", {"server": PHOTOS, "count": 2}, "no answer in time"),
]


@pytest.mark.parametrize(("kind", "order", "reason"), PASSING, ids=[f"{k} at {o['server']}" for k, o, _ in PASSING])
def test_a_fault_that_passes_costs_nothing_but_time(
    refresh: Refresh, played: Playback, kind: str, order: dict[str, Any], reason: str
) -> None:
    played.faults.order(kind, **order)
    assert set(refresh.run().values()) == {"ok"}
    assert refresh.bytes_are_right()
    happened = sum(fault["happened"] for fault in played.faults.listing())
    assert happened == order.get("count", 1) or order["server"] == TILES
    reasons = [name for counts in refresh.client.counts().values() for name in counts["reasons"]]
    assert reasons == [reason]


LASTING = [
    ("truncated", "photo cut short"),
    ("cut-at-the-source", "not a readable photo"),
    ("html-under-200", "not a readable photo"),
    ("empty-under-200", "not a readable photo"),
    ("expired-link", "photo link expired"),
    ("server-error", "server error"),
    ("too-many-requests", "too many requests"),
]


@pytest.mark.parametrize(("kind", "reason"), LASTING)
def test_a_photo_that_stays_broken_fails_alone_and_is_had_the_next_time(
    refresh: Refresh, played: Playback, kind: str, reason: str
) -> None:
    played.faults.order(kind, server=PHOTOS, path="^/cdn/1003/", count=-1)
    outcomes = refresh.run()
    assert [one for one, outcome in outcomes.items() if outcome != "ok"] == ["1003"]
    assert refresh.bytes_are_right(but=frozenset({"1003"}))
    (result,) = fetch_photos(refresh.client, refresh.store, ["1003"])
    assert result.outcome == "failed" and reason in (result.reason or "")
    played.faults.clear()
    assert set(refresh.run().values()) == {"ok"}
    assert refresh.bytes_are_right()


def test_a_link_that_expired_on_the_way_is_replaced_by_a_fresh_one(
    photo_areas: ModuleType, photo_area: Path, store: PhotoStore
) -> None:
    with photo_areas.playback(photo_area, link_ttl_s=0) as played:
        client = photo_areas.client_of(played)
        (result,) = fetch_photos(client, store, ["1000"])
        assert result.outcome == "failed" and "photo link expired, 3 links (HTTP 403)" in (result.reason or "")
        assert played.stats()["requests"]["mapillary-graph /{id}"] == 3
        assert store.ids() == []


@pytest.mark.parametrize("at", [0, 1, 9])
def test_a_token_revoked_during_the_download_stops_it_and_marks_nothing(refresh: Refresh, played: Playback, at: int) -> None:
    played.faults.order("revoked-token", server=GRAPH, path=r"^/\d+", after=at)
    with pytest.raises(StopRun, match="token refused"):
        refresh.run()
    stored = refresh.store.ids()
    assert at <= len(stored) < len(refresh.areas.INSIDE)
    requests = played.stats()["requests"]["mapillary-graph /{id}"]
    assert requests <= at + 8
    played.faults.clear()
    assert set(refresh.run().values()) == {"ok"}
    assert refresh.bytes_are_right()


@pytest.mark.parametrize(
    ("status", "server"), [(500, GRAPH), (401, GRAPH), (400, GRAPH), (200, GRAPH), (400, TILES), (401, TILES)]
)
def test_a_revoked_token_is_known_under_every_status(refresh: Refresh, played: Playback, status: int, server: str) -> None:
    played.faults.order("revoked-token", server=server, status=status)
    with pytest.raises(StopRun):
        refresh.run()
    assert sum(fault["happened"] for fault in played.faults.listing()) <= 8


@pytest.mark.parametrize("kind", ["unavailable", "dropped", "too-many-requests"])
def test_an_outage_fails_the_run_as_a_whole_and_marks_nothing(refresh: Refresh, played: Playback, kind: str) -> None:
    """The run must not wait out every photo of a municipality, nor count each of them as failed."""
    ids = [image["id"] for image in refresh.areas.IMAGES]
    played.faults.order(kind, server=PHOTOS, after=3, count=-1)
    with pytest.raises(RequestFailed, match="24 photos in a row could not be had"):
        fetch_photos(refresh.client, refresh.store, ids)
    assert len(refresh.store.ids()) == 3
    played.faults.clear()
    assert {result.outcome for result in fetch_photos(refresh.client, refresh.store, ids)} == {"ok"}


def test_a_deleted_image_is_gone_after_a_second_look(refresh: Refresh, played: Playback) -> None:
    played.faults.order("not-found", server=GRAPH, path="^/1003", count=-1)
    outcomes = refresh.run()
    assert {one: outcome for one, outcome in outcomes.items() if outcome != "ok"} == {"1003": "gone"}
    assert refresh.bytes_are_right(but=frozenset({"1003"}))
    assert sum(fault["happened"] for fault in played.faults.listing()) == 2


def test_one_look_that_does_not_find_an_image_is_not_believed(refresh: Refresh, played: Playback) -> None:
    played.faults.order("not-found", server=GRAPH, path="^/1003", count=1)
    assert set(refresh.run().values()) == {"ok"}
    assert refresh.bytes_are_right()


def test_a_dense_search_is_split_and_nothing_is_lost(refresh: Refresh, played: Playback) -> None:
    played.faults.order("too-much-data", server=GRAPH, path="sequence_ids=[^&]*,", count=-1)
    assert set(refresh.run().values()) == {"ok"}
    assert refresh.client.counts()["mapillary-search"]["reasons"] == {"too much data asked for": 4}


def test_a_listing_that_cannot_be_had_is_an_error_and_never_a_shorter_listing(refresh: Refresh, played: Playback) -> None:
    for server, path in ((TILES, ""), (GRAPH, "sequence_ids")):
        played.faults.clear()
        played.faults.order("server-error", server=server, path=path, count=-1)
        with pytest.raises(RequestFailed, match="7 tries"):
            refresh.run()


def test_a_forbidden_tile_is_an_error_and_never_an_empty_tile(refresh: Refresh, played: Playback) -> None:
    played.faults.order("expired-link", server=TILES, count=-1)
    with pytest.raises(RequestFailed, match="tile refused"):
        refresh.run()


def test_the_application_limit_is_waited_out(photo_areas: ModuleType, photo_area: Path, store: PhotoStore) -> None:
    with photo_areas.playback(photo_area, per_minute=10) as played:
        results = fetch_photos(photo_areas.client_of(played), store, photo_areas.INSIDE, workers=2)
    outcomes = {result.outcome for result in results}
    assert outcomes == {"ok", "failed"}
    assert sum(result.outcome == "ok" for result in results) == 10
    assert all("application request limit" in (result.reason or "") for result in results if result.outcome == "failed")


def test_on_a_bad_day_nothing_is_lost_and_no_secret_is_told(
    refresh: Refresh, played: Playback, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for kind in (
        "too-many-requests",
        "server-error",
        "dropped",
        "html-under-200",
        "truncated",
        "expired-link",
        "error-under-200",
    ):
        played.faults.order(kind, server=PHOTOS, count=2, after=2)
    for kind in ("unknown-error", "application-limit", "dropped", "temporarily-unavailable", "html-under-200"):
        played.faults.order(kind, server=GRAPH, after=1)
        played.faults.order(kind, server=TILES, after=1)
    assert set(refresh.run().values()) == {"ok"}
    assert refresh.bytes_are_right()
    links = [refresh.client.thumb_url(one) for one in ("1000", "1001")]
    secrets = [
        refresh.areas.TOKEN.split("|")[2],
        "MLY%7C",
        "MLY|",
        *(part for link in links for part in link.split("?")[1].split("&")),
    ]
    assert len(caplog.text) > 1000
    assert [secret for secret in secrets if secret in caplog.text and not secret.startswith("ccb")] == []
    for oh in ("oh=", "oe=", "access_token="):
        assert all(chunk.startswith("***") for chunk in caplog.text.split(oh)[1:])
