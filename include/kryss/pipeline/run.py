"""One run over one municipality: its settings, its place in the state folder, its measurements."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import wraps
from inspect import signature
from typing import Any, Concatenate, Literal, ParamSpec, get_args

from kryss.config import MunicipalityConfig, Settings
from kryss.pipeline.state import State

log = logging.getLogger(__name__)
P = ParamSpec("P")


Kind = Literal["refresh", "reprocess", "takedown"]
"""New photos; known photos by another model; photos that must go."""
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Run:
    """What every stage of one run is given."""

    config: MunicipalityConfig
    settings: Settings
    run_id: str
    release_date: date
    kind: Kind = "refresh"
    model: str | None = None
    """Overrides the municipality's model for this run."""
    force: bool = False
    """Process every photo again, also those this model has seen."""
    limit: int | None = None
    """At most this many photos that the model has not seen, the oldest first."""
    since: date | None = None
    until: date | None = None
    """Reprocess only photos captured on these days (UTC, both included)."""
    approve: bool = False
    """Publish although the check would hold the release back."""

    @property
    def code(self) -> str:
        return self.config.code

    @property
    def state(self) -> State:
        return State(self.settings.state_url)

    @property
    def release_url(self) -> str:
        return self.config.release_url or self.settings.release_url

    @property
    def folder(self) -> str:
        """Where this run's measurements lie."""
        return f"runs/{self.code}/{short_hash([self.run_id])}"

    @property
    def model_key(self) -> str:
        from kryss.vision.registry import model_key, resolve

        return model_key(resolve(self.model or self.config.model))


def short_hash(parts: Iterable[str]) -> str:
    """16 hex digits that name an input: the same parts in the same order give the same name."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


def utc_now() -> str:
    """The time, for measurements and logs only: ``2026-05-04T02:13:04.125Z``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stage(name: str) -> Callable[[Callable[Concatenate[Run, P], dict[str, Any]]], Callable[Concatenate[Run, P], dict[str, Any]]]:
    """Makes a function a stage: its counts and seconds are logged, kept for the report, and returned.

    Those of an earlier attempt go first: of a stage that failed the second time, the report must not tell what the first did.
    """

    def decorate(function: Callable[Concatenate[Run, P], dict[str, Any]]) -> Callable[Concatenate[Run, P], dict[str, Any]]:
        about = signature(function)

        @wraps(function)
        def wrapper(run: Run, /, *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
            shard = about.bind(run, *args, **kwargs).arguments.get("shard")
            kept = f"{run.folder}/{name}{f'-{shard}' if shard else ''}.json"
            run.state.remove(kept)
            began_at, started = utc_now(), time.perf_counter()
            outcome = function(run, *args, **kwargs)
            seconds = round(time.perf_counter() - started, 3)
            outcome = {"stage": name, **outcome, "seconds": seconds, "began_at": began_at, "ended_at": utc_now()}
            run.state.write_json(kept, outcome)
            log.info(
                "%s %s: %s", run.code, name, {k: v for k, v in outcome.items() if k not in ("stage", "began_at", "ended_at")}
            )
            return outcome

        return wrapper

    return decorate
