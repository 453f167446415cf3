"""Mapillary: coverage tiles, image metadata, photos, and the store that keeps them.

``MapillaryClient`` asks, ``list_images`` lists what a boundary holds, ``fetch_photos`` brings photos into a
``PhotoStore``.
"""

from kryss.imagery.client import Listing, MapillaryClient, client_for, list_images
from kryss.imagery.entity import parse_image
from kryss.imagery.fetch import fetch_photos, photo_fault
from kryss.imagery.store import PhotoStore

__all__ = [
    "Listing",
    "MapillaryClient",
    "PhotoStore",
    "client_for",
    "fetch_photos",
    "list_images",
    "parse_image",
    "photo_fault",
]
