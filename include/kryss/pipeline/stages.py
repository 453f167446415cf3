"""discover -> plan -> [ per shard: fetch -> detect -> depth ] -> place -> merge -> assign -> check -> export."""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import date, datetime
from typing import Any

from kryss import __version__
from kryss.config import DATABASE_TIMEOUT, MunicipalityConfig
from kryss.imagery.client import MapillaryClient, list_images
from kryss.imagery.fetch import fetch_photos
from kryss.imagery.store import PhotoStore
from kryss.model import Detection, Image, Municipality, PhotoResult, RejectedPose, Sighting
from kryss.pipeline.checks import HeldBack, plausible
from kryss.pipeline.run import Run, short_hash, stage
from kryss.store import Store, open_store

log = logging.getLogger(__name__)

MAX_SHARDS = 1000
"""Airflow maps at most ``max_map_length`` (1024) tasks: more photos make larger shards, none is left out."""
MAX_ATTEMPTS = 3
"""A photo that failed in this many runs is left alone until someone forces it."""


def _store(run: Run) -> Store:
    return open_store(run.settings.database_url.get_secret_value())


def _client(run: Run) -> MapillaryClient:
    services = run.config.services
    return MapillaryClient.from_settings(
        graph_url=services.mapillary_graph,
        tiles_url=services.mapillary_tiles,
        token=run.settings.token_for(services),
        time_scale=run.settings.retry_time_scale,
        share=run.settings.rate_share,
    )


def municipality(run: Run, refresh: bool = False) -> Municipality:
    """The municipality with its boundary; the boundary is kept in the state folder until the weekly roads DAG asks anew."""
    from kryss.roads.boundary import load_boundary

    config = run.config
    name = f"boundaries/{config.code}-{short_hash([config.boundary, config.services.model_dump_json()])}.json"
    if refresh or not run.state.has(name):
        boundary = load_boundary(config, run.settings)
        run.state.write_json(name, boundary)
    return Municipality(code=config.code, name=config.name, country=config.country, boundary=run.state.read_json(name))
