"""From the bytes of a photo to upright pixels, or to the reason why not."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 89_000_000
"""Just below the size from which Pillow suspects a decompression bomb."""


class UnreadablePhoto(ValueError):  # noqa: N818
    """The bytes are no whole photo; the text is a reason that the report can count."""


@dataclass(frozen=True, slots=True)
class Photo:
    """Upright pixels, and the size of the upright original that boxes refer to."""

    pixels: np.ndarray
    """(height, width, 3) uint8, RGB."""
    original_size: tuple[int, int]
    """Width and height."""

    @property
    def scale_x(self) -> float:
        return self.original_size[0] / self.pixels.shape[1]

    @property
    def scale_y(self) -> float:
        return self.original_size[1] / self.pixels.shape[0]


def read_photo(body: bytes, original_size: tuple[int, int] | None = None) -> Photo:
    """Decodes a whole photo and turns it upright.

    ``original_size``: width and height of the upright original, where the bytes may be a thumbnail of it.
    """
    if not body:
        raise UnreadablePhoto("no bytes")
    try:
        with Image.open(io.BytesIO(body)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadablePhoto(f"{image.width} x {image.height} is more than {MAX_PIXELS} pixels")
            image.load()
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError:
        raise UnreadablePhoto("not an image") from None
    except Image.DecompressionBombError:
        raise UnreadablePhoto(f"more than {MAX_PIXELS} pixels") from None
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, UnreadablePhoto):
            raise
        raise UnreadablePhoto("truncated" if "truncated" in str(error) else "cannot be decoded") from None
    return Photo(np.asarray(upright), original_size or upright.size)
