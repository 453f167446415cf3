"""From the bytes of a photo to upright pixels, or to the reason why not."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

MAX_PIXELS = 89_000_000
"""Just below the size from which Pillow suspects a decompression bomb."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation to what makes it upright. Pillow's ``exif_transpose`` also writes EXIF anew, which fails where it is odd."""


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
                image.draft("RGB", (max(1, round(stored[0] * factor)), max(1, round(stored[1] * factor))))
            image.load()
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            # Only what must be: each copy of a photo costs a fifth of its decoding.
            upright = image.transpose(TURNS[orientation]) if orientation in TURNS else image
            pixels = _rgb(upright)
    except UnidentifiedImageError:
        raise UnreadablePhoto("not an image") from None
    except Image.DecompressionBombError:
        raise UnreadablePhoto(f"more than {MAX_PIXELS} pixels") from None
    except (UnreadablePhoto, MemoryError):
        raise
    except Exception as error:  # of broken bytes Pillow's decoders raise whatever they stumble over, even RuntimeError
        raise UnreadablePhoto("truncated" if "truncated" in str(error) else "cannot be decoded") from None
    return Photo(pixels, original_size or (stored[::-1] if orientation in (5, 6, 7, 8) else stored))


def _rgb(image: Image.Image) -> np.ndarray:
    """(height, width, 3) uint8 of an image of any mode."""
    if image.mode.startswith("I;16"):
        # Pillow would cut off what is above 255.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise UnreadablePhoto(f"of mode {image.mode}, whose values have no known range")
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
