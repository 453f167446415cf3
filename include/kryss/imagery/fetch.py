"""Photos into the store: concurrent with a bound, a fresh link for each download, nothing stored that was not fully
decoded.

What a failure means is in retry_policy.csv. A photo ends as ``ok``, ``gone`` (two looks agreed) or ``failed`` with a
reason (the next run tries it again); a refused token stops everything and marks nothing.
"""

from __future__ import annotations

import io
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from PIL import ExifTags, UnidentifiedImageError
from PIL import Image as Pillow

from kryss.http import Check, Gone, LinkExpired, RequestFailed, SplitRequest
from kryss.imagery.client import MapillaryClient, PhotoSize
from kryss.imagery.store import PhotoStore
from kryss.model import PhotoResult

log = logging.getLogger(__name__)

MAX_PIXELS = 89_000_000
"""Just below the size from which Pillow suspects a decompression bomb; the largest street cameras make 72 000 000."""
SIDE_RATIO_TOLERANCE = 0.03
DECODERS = threading.BoundedSemaphore(4)
"""Decoded photos are much larger than their bytes: no more than this many at a time, whatever the number of
downloads."""

UNAVAILABLE = "failed (service unavailable)"
OUTAGE_PHOTOS = 24
"""So many photos in a row that the service could not give, one way or another, are an outage: the run fails and is tried again
as a whole, instead of waiting out every single photo and counting it as failed."""

Progress = Callable[[int, int], None]
"""Called with (photos done, photos in all)."""


def photo_fault(body: bytes, upright_size: tuple[int, int] | None = None) -> str | None:
    """Why bytes are no usable photo, as ``bad-photo: reason``, or None. The whole photo is decoded.

    ``upright_size``: width and height that the entity states; a photo of another shape belongs to something else.
    """
    if not body:
        return "bad-photo: no bytes"
    with DECODERS:
        try:
            with Pillow.open(io.BytesIO(body), formats=("JPEG",)) as photo:
                if photo.width * photo.height > MAX_PIXELS:
                    return f"bad-photo: {photo.width} x {photo.height} is more than {MAX_PIXELS} pixels"
                photo.load()
                lies = photo.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
                sizes = (photo.size, photo.size[::-1] if lies else photo.size)
        except UnidentifiedImageError:
            return f"bad-photo: not a JPEG but {_kind(body)}, {len(body)} bytes"
        except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning):
            return f"bad-photo: more than {MAX_PIXELS} pixels"
        except (OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, ArithmeticError) as error:
            return f"bad-photo: {str(error)[:80] or type(error).__name__}"
    if upright_size and not any(_same_shape(size, upright_size) for size in sizes):
        return "bad-photo: {} x {} has another shape than {} x {}".format(*sizes[0], *upright_size)
    return None


def fetch_photos(
    client: MapillaryClient,
    store: PhotoStore,
    image_ids: Iterable[str],
    workers: int = 8,
    on_progress: Progress | None = None,
    *,
    size: PhotoSize = "original",
    upright_sizes: Mapping[str, tuple[int, int]] | None = None,
) -> list[PhotoResult]:
    """Have every photo in the store; one result for each id, sorted by id.

    A stored photo that decodes is kept as it is; a broken one is fetched again. At most ``workers`` photos are in
    memory. StopRun (refused token) is raised after the photos in flight; what they stored stays.
    """
    ids = sorted(set(image_ids))
    stop = threading.Event()
    lock = threading.Lock()
    happened: Counter[str] = Counter()
    in_a_row = 0

    def one(image_id: str) -> PhotoResult | None:
        nonlocal in_a_row
        if stop.is_set():
            return None
        try:
            result, how = _have_photo(client, store, image_id, size, (upright_sizes or {}).get(image_id))
            with lock:
                happened[how] += 1
                done = happened.total()
                in_a_row = in_a_row + 1 if how == UNAVAILABLE else 0
                if in_a_row == OUTAGE_PHOTOS:
                    what = f"{in_a_row} photos in a row could not be had; the last: {result.reason}"
                    raise RequestFailed(client.photos.name, "photos", what)
        except BaseException:
            stop.set()
            raise
        if result.outcome != "ok":
            log.warning("photo %s %s: %s", image_id, result.outcome, result.reason)
        if done % 100 == 0 or done == len(ids):
            log.info("photos: %d of %d; %s", done, len(ids), ", ".join(f"{n} {k}" for k, n in sorted(happened.items())))
        if on_progress:
            on_progress(done, len(ids))
        return result

    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="photos") as pool:
        futures: list[Future[PhotoResult | None]] = [pool.submit(one, image_id) for image_id in ids]
    error = next((future.exception() for future in futures if future.exception()), None)
    if error:
        raise error
    return [result for future in futures if (result := future.result())]


def _have_photo(
    client: MapillaryClient, store: PhotoStore, image_id: str, size: PhotoSize, upright_size: tuple[int, int] | None
) -> tuple[PhotoResult, str]:
    """The result for one photo, and what was done for it."""

    def check(body: bytes) -> str | None:
        return photo_fault(body, upright_size)

    if store.has(image_id):
        fault = check(store.read(image_id))
        if fault is None:
            return PhotoResult(image_id, "ok"), "already stored"
        log.warning("photo %s is stored but broken (%s); it is fetched again", image_id, fault)
    try:
        store.put(image_id, _download(client, image_id, size, check))
    except Gone as gone:
        return PhotoResult(image_id, "gone", str(gone)), "gone"
    except (RequestFailed, SplitRequest, LinkExpired) as error:
        outlasted = error.rule is not None and error.rule.action == "retry"
        return PhotoResult(image_id, "failed", str(error)), UNAVAILABLE if outlasted else "failed"
    return PhotoResult(image_id, "ok"), "downloaded"


def _download(client: MapillaryClient, image_id: str, size: PhotoSize, check: Check) -> bytes:
    """The bytes of a photo that passed its check, with as many fresh links as the retry table allows."""
    links = 0
    while True:
        link = client.thumb_url(image_id, size)
        links += 1
        try:
            return client.photos.get_bytes(link, check=check, label=f"photo {image_id}")
        except LinkExpired as refusal:
            rule = refusal.rule
            if rule is None or links >= rule.tries:
                raise LinkExpired(
                    refusal.service, refusal.endpoint, f"{refusal.reason}, {links} links", refusal.status, rule
                ) from None
            wait_s = rule.wait_s(links)
            log.warning("%s; a fresh link, try %d of %d", refusal, links + 1, rule.tries)
        client.photos.counts.add(retries=1)
        client.photos.wait(wait_s)


def _same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Equal side ratio, thumbnails being rounded to whole pixels."""
    slack = SIDE_RATIO_TOLERANCE + 1 / min(size)
    return abs(size[0] * other[1] / (size[1] * other[0]) - 1) <= slack


def _kind(body: bytes) -> str:
    start = body[:64].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<")):
        return "a page"
    return "JSON" if start.startswith((b"{", b"[")) else "something else"
