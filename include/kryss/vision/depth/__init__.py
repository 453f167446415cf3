"""Monocular depth: the median inside each box, for photos that have boxes. Optional: without a model the refresh goes on.

Whatever the family of the network (``families``), a map or a box of which it says nothing gives no depth but a reason (``maps``).
Photos go through the network one at a time, so that no photo's result depends on its neighbours; reading and decoding run ahead.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from kryss.model import Box
from kryss.vision import stream
from kryss.vision.depth.families import DepthUnavailable, Estimate, family
from kryss.vision.depth.maps import BoxDepth, DepthMap, box_depth, map_fault
from kryss.vision.photo import Photo, UnreadablePhoto, read_photo
from kryss.vision.registry import Weights, model_key, resolve

__all__ = ["BoxDepth", "DepthMap", "DepthModel", "DepthUnavailable", "PhotoBoxes", "box_depth", "load_depth", "map_fault"]

log = logging.getLogger(__name__)

READERS = 2
"""Threads that read and decode."""


@dataclass(frozen=True, slots=True)
class PhotoBoxes:
    """A photo whose boxes want a depth."""

    image_id: str
    read: Callable[[], bytes]
    boxes: Sequence[Box]
    """Pixels of the upright original."""
    original_size: tuple[int, int] | None = None
    """Width and height of the upright original; None: the photo is the original."""
    focal: float | None = None
    """Focal length over the longer side; None where it is not known."""


class DepthModel:
    """One depth model, ready. Make it with ``load_depth``."""

    def __init__(self, entry: Weights, estimate: Estimate, needed_side: int, streams: int = 1) -> None:
        self.model_key = model_key(entry)
        self._estimate, self._needed_side, self._streams = estimate, needed_side, streams

    def depth_map(self, photo: Photo, focal: float | None = None) -> DepthMap:
        """Of a decoded photo; ``focal``: its focal length over its longer side."""
        return self._estimate(photo.pixels, focal)

    def measure(self, photos: Iterable[PhotoBoxes]) -> Iterator[tuple[str, list[BoxDepth]]]:
        """The depth of every box, photo by photo in the given order; photos without boxes are not read. A photo that cannot
        be read has its reason at every box."""
        told: deque[PhotoBoxes] = deque()

        def wanted() -> Iterator[tuple[str, PhotoBoxes]]:
            for photo in photos:
                if photo.boxes:
                    told.append(photo)
                    yield photo.image_id, photo

        work = stream.Work(self._read, lambda one: one[1].pixels.shape, self._look, 1, self._streams)
        for image_id, outcome in stream.run(wanted(), work, stream.Workers("threads", READERS)):
            photo = told.popleft()
            if isinstance(outcome, ValueError):
                log.warning("photo %s: no depth: bad-photo: %s", image_id, outcome)
                yield image_id, [BoxDepth(None, f"bad-photo: {outcome}")] * len(photo.boxes)
            else:
                yield image_id, outcome

    def median_depth(
        self, body: bytes, boxes: Sequence[Box], original_size: tuple[int, int] | None = None, focal: float | None = None
    ) -> list[float | None]:
        """Metres for each box (pixels of the upright original); None where the map does not tell."""
        measured = self.measure([PhotoBoxes("", lambda: body, boxes, original_size, focal)])
        return [found.metres for _, depths in measured for found in depths]

    def _read(self, photo: PhotoBoxes) -> tuple[PhotoBoxes, Photo]:
        try:
            body = photo.read()
        except OSError as error:
            raise UnreadablePhoto("cannot be read") from error
        return photo, read_photo(body, photo.original_size, self._needed_side)

    def _look(self, read: Sequence[tuple[PhotoBoxes, Photo]]) -> list[list[BoxDepth]]:
        return [self._boxes(*one) for one in read]

    def _boxes(self, photo: PhotoBoxes, read: Photo) -> list[BoxDepth]:
        found = self.depth_map(read, photo.focal)
        fault = map_fault(found)
        return [BoxDepth(None, fault) if fault else box_depth(found, box, read.original_size) for box in photo.boxes]


def load_depth(name: str | None) -> DepthModel | None:
    """The depth model of a name or key; None for None. Raises DepthUnavailable where it cannot be had."""
    if name is None:
        return None
    entry = resolve(name)
    if entry.task != "depth":
        raise DepthUnavailable(f"{model_key(entry)} is no depth model: its task is {entry.task}")
    return DepthModel(entry, *family(entry))
