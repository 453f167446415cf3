"""Photos come into the store whole, once, and with a bound; what cannot be had ends with a reason."""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import pytest
from PIL import Image

from kryss.demo.playback.play import Playback
from kryss.imagery.fetch import MAX_PIXELS, fetch_photos, photo_fault
from kryss.imagery.store import PhotoStore
from kryss.model import PhotoResult


@pytest.fixture
def played(photo_area: Path, photo_areas: ModuleType) -> Iterator[Playback]:
    with photo_areas.playback(photo_area) as playback:
        yield playback


@pytest.fixture
def store() -> PhotoStore:
    return PhotoStore(f"memory://{uuid4()}")


def _encoded(kind: str, size: tuple[int, int] = (40, 30), **options: object) -> bytes:
    made = io.BytesIO()
    Image.effect_noise(size, 60).convert("L").save(made, kind, **options)
    return made.getvalue()


NOISE = _encoded("JPEG")
FAULTS = [
    (b"", "no bytes"),
    (b"<!DOCTYPE html><html>Sorry</html>", "a page"),
    (b'{"error": {}}', "JSON"),
    (b"\x00" * 1000, "something else"),
    (_encoded("PNG"), "not a JPEG"),
    (NOISE[: len(NOISE) // 2], "truncated"),
    (NOISE[:-2], "truncated"),
    (NOISE[:30], "bad-photo"),
    (NOISE, None),
    (_encoded("JPEG", progressive=True), None),
]


@pytest.mark.parametrize(("body", "reason"), FAULTS)
def test_only_bytes_that_decode_to_the_end_are_a_photo(body: bytes, reason: str | None) -> None:
    fault = photo_fault(body)
    assert fault is None if reason is None else reason in (fault or "")


def test_a_photo_of_another_shape_is_not_the_photo() -> None:
    assert photo_fault(NOISE, (4000, 3000)) is None
    assert photo_fault(NOISE, (41, 31)) is None
    assert "another shape" in (photo_fault(NOISE, (3000, 4000)) or "")
    assert "another shape" in (photo_fault(NOISE, (1920, 1080)) or "")


def test_a_photo_that_carries_its_turn_in_exif_has_the_shape_it_is_shown_in() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    made = io.BytesIO()
    Image.new("RGB", (40, 30)).save(made, "JPEG", exif=exif)
    assert photo_fault(made.getvalue(), (3000, 4000)) is None
    # A compression that is a text, which Pillow reads and cannot write.
    entries = struct.pack("<HHLHH", 0x0112, 3, 1, 6, 0) + struct.pack("<HHL4s", 0x0103, 2, 4, b"abc\0")
    made = io.BytesIO()
    odd = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + b"\0\0\0\0"
    Image.new("RGB", (40, 30)).save(made, "JPEG", exif=odd)
    assert photo_fault(made.getvalue(), (3000, 4000)) is None


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    side = int(MAX_PIXELS**0.5) + 100
    header = bytearray(_encoded("JPEG"))
    start = header.index(b"\xff\xc0") + 5
    header[start : start + 4] = side.to_bytes(2, "big") * 2
    assert "pixels" in (photo_fault(bytes(header)) or "")


def test_every_photo_is_stored_byte_for_byte(
    photo_areas: ModuleType, photo_area: Path, played: Playback, store: PhotoStore
) -> None:
    ids = list(reversed(photo_areas.INSIDE))
    results = fetch_photos(photo_areas.client_of(played), store, ids)
    assert results == [PhotoResult(image_id, "ok") for image_id in sorted(ids)]
    assert all(store.read(one) == (photo_area / "photos" / f"{one}.jpg").read_bytes() for one in ids)


def test_a_stored_photo_is_not_asked_for_again(photo_areas: ModuleType, played: Playback, store: PhotoStore) -> None:
    client = photo_areas.client_of(played)
    first = fetch_photos(client, store, photo_areas.INSIDE)
    before = played.stats()["requests"]
    assert fetch_photos(client, store, photo_areas.INSIDE) == first
    assert played.stats()["requests"] == before


def test_a_stored_photo_that_is_broken_is_fetched_again(photo_areas: ModuleType, played: Playback, store: PhotoStore) -> None:
    client = photo_areas.client_of(played)
    fetch_photos(client, store, ["1000", "1001"])
    whole = store.read("1000")
    store.put("1000", whole[: len(whole) // 2])
    assert fetch_photos(client, store, ["1000", "1001"]) == [PhotoResult("1000", "ok"), PhotoResult("1001", "ok")]
    assert store.read("1000") == whole
    assert client.counts()["mapillary-photos"]["requests"] == 3


def test_each_download_has_a_fresh_link_and_takes_no_token_along(
    photo_areas: ModuleType, played: Playback, store: PhotoStore
) -> None:
    """The playback's photo server refuses requests that carry a token, as well as links that were not signed for the photo."""
    fetch_photos(photo_areas.client_of(played), store, ["1000", "1001", "1002"])
    requests = played.stats()["requests"]
    assert requests["mapillary-graph /{id}"] == requests["mapillary-photos /cdn/{id}/original"] == 3


def test_where_there_is_no_original_the_2048_photo_is_taken(photo_areas: ModuleType, photo_area: Path, store: PhotoStore) -> None:
    with photo_areas.playback(photo_area, without_original_share=1.0) as played:
        assert fetch_photos(photo_areas.client_of(played), store, ["1000"])[0].outcome == "ok"
        assert "mapillary-photos /cdn/{id}/2048" in played.stats()["requests"]


def test_a_smaller_size_can_be_chosen(photo_areas: ModuleType, played: Playback, store: PhotoStore) -> None:
    fetch_photos(photo_areas.client_of(played), store, ["1000"], size="1024")
    assert "mapillary-photos /cdn/{id}/1024" in played.stats()["requests"]


def test_no_more_downloads_than_workers_run_at_once(
    photo_areas: ModuleType, photo_area: Path, played: Playback, store: PhotoStore
) -> None:
    played.faults.order("slow", server="mapillary-photos", delay_s=0.05, count=-1)
    began, most, peak = threading.Event(), 3, 0

    def watch() -> None:
        nonlocal peak
        while not began.wait(0.005):
            running = sum(thread.name.startswith("photos") and thread.is_alive() for thread in threading.enumerate())
            peak = max(peak, running)

    watcher = threading.Thread(target=watch)
    watcher.start()
    fetch_photos(photo_areas.client_of(played), store, photo_areas.INSIDE, workers=most)
    began.set()
    watcher.join()
    assert peak == most


def test_progress_counts_every_photo_once(photo_areas: ModuleType, played: Playback, store: PhotoStore) -> None:
    told: list[tuple[int, int]] = []
    fetch_photos(photo_areas.client_of(played), store, photo_areas.INSIDE, on_progress=lambda *done: told.append(done))
    assert sorted(told) == [(n, 22) for n in range(1, 23)]


def test_nothing_to_fetch_is_nothing(photo_areas: ModuleType, played: Playback, store: PhotoStore) -> None:
    assert fetch_photos(photo_areas.client_of(played), store, []) == []
