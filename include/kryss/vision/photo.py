"""From the bytes of a photo to upright pixels, or to the reason why not."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

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


def read_photo(body: bytes, original_size: tuple[int, int] | None = None, needed_side: int | None = None) -> Photo:
    """Decodes a whole photo and turns it upright.

    ``original_size``: width and height of the upright original, where the bytes may be a thumbnail of it. ``needed_side``: pixels
    of the longer side that are enough: a JPEG of at least twice as many is decoded at a half, a quarter or an eighth (libjpeg's
    scaling in the frequency domain, which skips most of the work), never to fewer.
    """
    if not body:
        raise UnreadablePhoto("no bytes")
    try:
        with Image.open(io.BytesIO(body)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadablePhoto(f"{image.width} x {image.height} is more than {MAX_PIXELS} pixels")
            stored = image.size
            if needed_side and max(stored) >= 2 * needed_side:
                factor = needed_side / max(stored)
                image.draft("RGB", (round(stored[0] * factor), round(stored[1] * factor)))
            image.load()
            lies = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
            # In place, and only what must be: each copy of a photo costs a fifth of its decoding.
            ImageOps.exif_transpose(image, in_place=True)
            pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except UnidentifiedImageError:
        raise UnreadablePhoto("not an image") from None
    except Image.DecompressionBombError:
        raise UnreadablePhoto(f"more than {MAX_PIXELS} pixels") from None
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, UnreadablePhoto):
            raise
        raise UnreadablePhoto("truncated" if "truncated" in str(error) else "cannot be decoded") from None
    return Photo(pixels, original_size or ((stored[1], stored[0]) if lies else stored))
