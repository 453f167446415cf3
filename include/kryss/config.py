"""Settings and municipalities: validated YAML, overridable by the environment.

Municipalities come from the files and folders that ``KRYSS_MUNICIPALITIES`` names (``os.pathsep`` between them, later ones
win); without it from ``include/municipalities.yaml`` and ``KRYSS_HOME/municipalities/`` (where demos put theirs). Everything
that belongs to one machine comes from the environment (``Settings.from_env``). Secrets are only ever in the environment or in
an Airflow connection, never in these files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

ROOT = Path(__file__).resolve().parents[2]
PLAYBACK_TOKEN = "MLY|1|" + "0" * 32
"""The token that the playback servers accept. Not a secret: it opens nothing but a recorded area on loopback."""

Format = Literal["flatgeobuf", "geoparquet", "pmtiles"]
"""What a release may hold besides GeoJSON (``kryss.layer.formats``)."""
RoadSource = Literal["nvdb", "overpass", "pbf", "junctions", "objects"]
"""``objects``: nobody has the roads; where traffic lights stand together is a junction."""


def home_folder(env: Mapping[str, str] = os.environ) -> Path:
    """``KRYSS_HOME``, default ``.kryss`` beside the code: everything that belongs to this machine and this checkout."""
    return Path(env.get("KRYSS_HOME") or ROOT / ".kryss").absolute()


class ConfigError(ValueError):
    """A setting that cannot be used: names the file, the key and the value."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Services(_Strict):
    """Base URLs of the services a municipality is read from. None: the service's public address."""

    mapillary_graph: str | None = None
    mapillary_tiles: str | None = None
    nvdb: str | None = None
    overpass: str | None = None
    osm_pbf: str | None = None
    """Path of an OpenStreetMap extract (``.osm.pbf``), for ``roads: pbf``."""
    kommuneinfo: str | None = None
    junctions: str | None = None
    """File path or URL of a GeoJSON of junction points with ``speed_limit_kmh``."""

    @field_validator("*")
    @classmethod
    def _no_secret(cls, value: str | None) -> str | None:
        if value and (urlsplit(value).password or "access_token" in value):
            raise ValueError("a URL here must not carry a token or password: put it in an Airflow connection")
        return value


class Plausible(_Strict):
    """Limits of what is published without asking a person (``kryss.pipeline.checks``): each a share or metres, each with its
    reason. They are held against the largest number of the last releases."""

    releases: int = Field(default=8, ge=1, le=100)
    """So many releases are the history: a week of nights in which something changed. It begins at the last one that a person
    approved."""
    lost: float = Field(default=0.3, gt=0, lt=1)
    """Share of the standing objects, and of those of one class, that may be gone. Real changes are a few in a hundred; a broken
    detector, pose or assignment takes far more."""
    growth: float = Field(default=1.7, gt=1)
    """Objects may be so many times as many as usual, more only as the photos grow. A night of new photos adds objects
    in proportion; false boxes multiply them."""
    class_growth: float = Field(default=2.0, gt=1)
    """So many times its usual share of all objects may a class have, besides what photos of new places explain."""
    photos_lost: float = Field(default=0.1, gt=0, lt=1)
    """Share of the photos that may no longer be believed. Photos go by deletion only, a few a night."""
    coverage_lost: float = Field(default=0.2, gt=0, lt=1)
    """Share of the intersections, of those at which something stands, and of their areas, that may be gone. Roads change slowly;
    half an answer of a road service does not."""
    median_m: float = Field(default=1.5, gt=0)
    """Median displacement. Half the objects never move in one night, unless a frame, a size or a formula did."""
    p95_m: float = Field(default=6.0, gt=0)
    """95 % of the displacements: what new photos of known objects bring is within the radius of nearly all of them (10 m)."""
    shift_growth: float = Field(default=3.0, ge=1)
    """Where displacements of the last releases were larger than a third of these limits, so many times the largest."""


class MunicipalityConfig(_Strict):
    """One municipality: what is refreshed, when, from where, with what."""

    code: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")
    """Kryss's own key: in DAG ids, in PostGIS, in the folder of the releases."""
    source_code: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{1,32}$")
    """The municipality's number in the road and boundary services, where it is not the code."""
    name: str = Field(min_length=1)
    country: str = Field("NO", pattern=r"^[A-Z]{2}$")
    region: str = Field("eu", pattern=r"^[a-z]{2}$")
    """Row of the sign size table."""
    schedule: str | None = "0 2 * * *"
    roads_schedule: str | None = "0 4 * * 1"
    roads: RoadSource = "nvdb"
    area: Literal["square", "arms"] = "square"
    """How far a junction reaches: the thesis's square, or its approaches (``kryss.roads.areas``)."""
    assignment: Literal["facing", "nearest", "thesis"] = "facing"
    """Which of the junctions that reach an object has it (``kryss.roads.assignment``)."""
    boundary: str = "kommuneinfo"
    """``kommuneinfo``, ``overpass``, or the path of a GeoJSON file."""
    model: str = "kryss-street-lite0"
    depth: str | None = None
    shard_size: int = Field(200, ge=1, le=5000)
    ended_below: float = Field(0.05, gt=0, lt=1)
    """An object is over when the probability that it still stands falls below this."""
    deletion_checks: int = Field(200, ge=0)
    """At most so many photos a night that Mapillary lists no more are asked for one by one."""
    photo_size: Literal["original", "2048", "1024"] = "original"
    image_url: str | None = "https://www.mapillary.com/app/?pKey={key}"
    """Where a consumer can look at a photo; null where the photos are published nowhere."""
    attribution: str | None = None
    """Credit for photos that are not from Mapillary's service, e.g. those of a recorded area."""
    photos_licence: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]*$")
    """SPDX id of the licence of those photos."""
    release_url: str | None = None
    """Where this municipality is published, if not where all are."""
    formats: tuple[Format, ...] = ()
    """Written beside the GeoJSON of each release."""
    basemap_url: str | None = None
    """Template of raster tiles that the page of a release draws under the layer; null: it asks no other host for anything."""
    keep_releases: int | None = Field(None, ge=1)
    """The newest so many releases are kept; null: all."""
    keep_days: int | None = Field(None, ge=1)
    """Releases of the last so many days are kept, counted from the newest; null: all."""
    approval_hours: float = Field(168.0, ge=0.001, le=8760.0)
    """A release that was held back waits so long for an answer, and no longer than until shortly before the next run."""
    plausible: Plausible = Plausible()
    services: Services = Services()

    @property
    def official_code(self) -> str:
        return self.source_code or self.code

    @field_validator("schedule", "roads_schedule")
    @classmethod
    def _cron(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("@") and len(value.split()) != 5:
            raise ValueError(f"{value!r} is neither a preset such as @daily nor a cron line of five fields")
        return value

    @field_validator("formats")
    @classmethod
    def _each_once(cls, value: tuple[Format, ...]) -> tuple[Format, ...]:
        return tuple(dict.fromkeys(value))

    @field_validator("basemap_url")
    @classmethod
    def _tiles(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme != "https" or not parts.hostname or any(f"{{{name}}}" not in value for name in "zxy"):
            raise ValueError("expected an https URL with {z}, {x} and {y}, e.g. https://tiles.example.org/{z}/{x}/{y}.png")
        if re.search(r"[\s\"'<>\\^`|]", value) or {*re.findall(r"\{([^}]*)\}", value)} != {"z", "x", "y"}:
            raise ValueError("a tile URL holds {z}, {x} and {y}, no other braces, and no character that a URL may not hold")
        if parts.username or parts.password or "access_token" in value:
            raise ValueError("the page is public, and so is this URL: it must not carry a token or password")
        return value


class Settings(_Strict):
    """What belongs to this machine. URLs are fsspec's: ``file://``, ``s3://``, ``gs://``."""

    database_url: SecretStr
    state_url: str
    photos_url: str
    release_url: str
    mapillary_token: SecretStr | None = None
    mapillary_graph_url: str | None = None
    mapillary_tiles_url: str | None = None
    nvdb_client: str = "kryss"
    user_agent: str = "kryss/0.1 (dated map layer of road intersections)"
    download_workers: int = Field(8, ge=1, le=64)
    retry_time_scale: float = Field(1.0, gt=0)
    rate_share: float = Field(1.0, gt=0, le=1)

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ, **overrides: object) -> Self:
        """Reads ``KRYSS_*``; what is absent lies under ``KRYSS_HOME`` (default ``.kryss`` beside the code)."""
        home = home_folder(env)
        values: dict[str, object] = {
            "state_url": (home / "state").as_uri(),
            "photos_url": (home / "photos").as_uri(),
            "release_url": (home / "releases").as_uri(),
        }
        for key in cls.model_fields:
            if text := env.get(f"KRYSS_{key.upper()}"):
                values[key] = text
        values.update({key: value for key, value in overrides.items() if value is not None})
        if "database_url" not in values:
            raise ConfigError("no database: set KRYSS_DATABASE_URL, or let ./kryss up start a local PostGIS")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(_explain("environment (KRYSS_*)", error)) from None

    def token_for(self, services: Services) -> str | None:
        """The Mapillary token for these services. A playback on loopback gets its own, never the user's."""
        graph = services.mapillary_graph or self.mapillary_graph_url
        if graph and urlsplit(graph).hostname in {"127.0.0.1", "::1", "localhost"}:
            return PLAYBACK_TOKEN
        return self.mapillary_token.get_secret_value() if self.mapillary_token else None


def _explain(source: str, error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_url=False):
        where = ".".join(str(part) for part in item["loc"]) or "(top)"
        secret = any(word in where for word in ("token", "url", "services"))
        value = "" if secret else f" (got {item['input']!r:.80})"
        lines.append(f"{source}: {where}: {item['msg']}{value}")
    return "\n".join(lines)


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(path.glob("*.yaml"))
        elif path.exists():
            yield path
        else:
            raise ConfigError(f"{path}: no such file or folder of municipalities (see KRYSS_MUNICIPALITIES)")


def load_municipalities(paths: Iterable[Path] | None = None) -> dict[str, MunicipalityConfig]:
    """Reads and validates every municipality, by code, in the order of the code.

    Raises ConfigError with the file, the key and the value of everything that is wrong.
    """
    if paths is None:
        if listed := os.environ.get("KRYSS_MUNICIPALITIES"):
            paths = [Path(part) for part in listed.split(os.pathsep) if part]
        else:
            played = home_folder() / "municipalities"
            paths = [ROOT / "include" / "municipalities.yaml", *([played] if played.is_dir() else [])]
    found: dict[str, MunicipalityConfig] = {}
    for path in _files(paths):
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: not YAML: {error}") from None
        if not isinstance(document, dict) or set(document) - {"defaults", "municipalities"}:
            raise ConfigError(f"{path}: expected the keys 'defaults' and 'municipalities', got {document!r:.80}")
        defaults = document.get("defaults") or {}
        here: set[str] = set()
        for number, entry in enumerate(document.get("municipalities") or []):
            if not isinstance(entry, dict):
                raise ConfigError(f"{path}: municipalities.{number}: expected a mapping, got {entry!r:.80}")
            try:
                config = MunicipalityConfig.model_validate({**defaults, **entry})
            except ValidationError as error:
                raise ConfigError(_explain(f"{path}: municipalities.{number}", error)) from None
            if config.code in here:
                raise ConfigError(f"{path}: municipalities.{number}: code {config.code!r} is there twice")
            here.add(config.code)
            found[config.code] = config
    return dict(sorted(found.items()))


TIMEOUTS: Mapping[str, timedelta] = {
    **dict.fromkeys(("discover", "fetch", "roads"), timedelta(hours=2)),
    **dict.fromkeys(("detect", "depth"), timedelta(hours=3)),
    "train": timedelta(days=14),
    "judge": timedelta(hours=12),
    **dict.fromkeys(("known", "takedown", "plan", "place", "merge", "assign", "check", "export"), timedelta(minutes=30)),
}
"""By stage: how long its task may take, and so each statement that it sends to the database."""
