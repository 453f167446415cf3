"""From bytes to upright pixels, whatever the bytes are."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kryss.vision.photo import UnreadablePhoto, read_photo

RAMP = np.tile(np.linspace(0, 255, 256).astype(np.uint8), (64, 1))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_a_photo_of_any_mode_has_the_light_it_was_taken_with(mode: str) -> None:
    image = Image.fromarray(RAMP.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(RAMP).convert(mode)
    pixels = read_photo(encoded(image, "TIFF" if mode == "CMYK" else "PNG")).pixels
    assert pixels.shape == (64, 256, 3)
    assert np.abs(pixels.astype(int) - RAMP[..., None]).max() <= 1


def test_values_of_no_known_range_are_no_photo() -> None:
    with pytest.raises(UnreadablePhoto, match="mode F"):
        read_photo(encoded(Image.fromarray(RAMP.astype(np.float32)), "TIFF"))


@pytest.mark.parametrize("size", [(10_000, 1), (1, 10_000), (5_000, 2), (1, 1)])
def test_a_photo_may_be_as_thin_as_it_likes(size: tuple[int, int]) -> None:
    photo = read_photo(encoded(Image.new("RGB", size), "JPEG"), None, 2048)
    assert photo.original_size == size
    assert max(photo.pixels.shape) >= min(2048, max(size))


def test_exif_that_cannot_be_written_anew_turns_the_photo_all_the_same() -> None:
    """Orientation 6, and a compression that is a text."""
    entries = struct.pack("<HHLHH", 0x0112, 3, 1, 6, 0) + struct.pack("<HHL4s", 0x0103, 2, 4, b"abc\0")
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + b"\0\0\0\0"
    photo = read_photo(encoded(Image.new("RGB", (64, 32)), "JPEG", exif=exif))
    assert photo.pixels.shape == (64, 32, 3)
    assert photo.original_size == (32, 64)


def test_whatever_a_decoder_stumbles_over_is_the_photos_own_fault() -> None:
    """Pillow raises NotImplementedError of a pixel format that no DDS file has."""
    body = bytearray(encoded(Image.new("RGB", (8, 8)), "DDS"))
    body[80:84] = b"\0\0\0\0"
    with pytest.raises(UnreadablePhoto, match="cannot be decoded"):
        read_photo(bytes(body))
