"""Photos under a URL: the same promises for a folder, for memory and for S3."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from kryss.imagery.store import PhotoStore, write_atomically


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["file", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> PhotoStore:
    if request.param == "file":
        return PhotoStore((tmp_path / "new" / "photos").as_uri())
    if request.param == "memory":
        return PhotoStore(f"memory://{uuid4()}/photos")
    fsspec = pytest.importorskip("s3fs")
    options: dict[str, Any] = {"key": "k", "secret": "s", "endpoint_url": request.getfixturevalue("s3_url")}
    bucket = f"bucket-{uuid4()}"
    fsspec.S3FileSystem(**options).mkdir(bucket)
    return PhotoStore(f"s3://{bucket}/photos", **options)


def test_a_photo_is_kept_by_its_id(store: PhotoStore) -> None:
    assert not store.has("17") and store.ids() == []
    store.put("17", b"photo")
    store.put("4", b"other")
    assert store.has("17") and store.read("17") == b"photo"
    with store.open("4") as file:
        assert file.read() == b"other"
    assert store.ids() == ["17", "4"]
    assert store.url_of("17") == f"{store.url}/17.jpg"


def test_a_photo_can_be_replaced_and_deleted(store: PhotoStore) -> None:
    store.put("17", b"photo")
    store.put("17", b"better")
    assert store.read("17") == b"better"
    store.delete("17")
    store.delete("17")
    assert not store.has("17")


def test_an_empty_object_is_no_photo(store: PhotoStore) -> None:
    store.put("17", b"")
    assert not store.has("17")


@pytest.mark.parametrize("image_id", ["../17", "a", "", "1/2", "17.jpg"])
def test_only_digits_name_a_photo(store: PhotoStore, image_id: str) -> None:
    with pytest.raises(ValueError, match="not a string of digits"):
        store.put(image_id, b"x")


def test_another_process_reads_a_whole_photo_or_none(tmp_path: Path) -> None:
    store, bodies = PhotoStore(tmp_path.as_uri()), (b"a" * 300_000, b"b" * 200_000)
    stop = threading.Event()

    def write() -> None:
        for body in itertools.cycle(bodies):
            store.put("1", body)
            if stop.is_set():
                return

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    while not store.has("1"):
        pass
    seen = {store.read("1") for _ in range(200)}
    stop.set()
    for writer in writers:
        writer.join()
    assert seen <= set(bodies)
    assert [path.name for path in tmp_path.iterdir()] == ["1.jpg"]


def test_a_failed_write_leaves_nothing_and_keeps_what_was(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"old")
    with pytest.raises(TypeError):
        write_atomically(tmp_path / "a", "no bytes")  # type: ignore[arg-type]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}
