"""From an Airflow task to a ``Run``: params, connections, the dated name of the release.

Connections, all optional, win over the environment: ``kryss_postgis`` (the database), ``kryss_mapillary`` (password = token;
host = base URL of the Graph API), ``kryss_nvdb``, ``kryss_overpass``, ``kryss_kommuneinfo`` (host = base URL).
Nothing here is called while a DAG file is parsed.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException, AirflowRuntimeError

from kryss.config import MunicipalityConfig, Settings, load_municipalities

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kryss.pipeline.run import Run


def _connection(name: str) -> Any | None:
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return Connection.get(name)
    except (AirflowNotFoundException, AirflowRuntimeError):
        return None


def settings() -> Settings:
    database, mapillary = _connection("kryss_postgis"), _connection("kryss_mapillary")
    url = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", database.get_uri()) if database else None
    return Settings.from_env(database_url=url, mapillary_token=mapillary.password if mapillary else None)


BASE_URLS = {
    "mapillary_graph": "kryss_mapillary",
    "nvdb": "kryss_nvdb",
    "overpass": "kryss_overpass",
    "kommuneinfo": "kryss_kommuneinfo",
}


def with_base_urls(config: MunicipalityConfig) -> MunicipalityConfig:
    """The municipality with the base URLs that connections name, where its own entry names none."""
    given = config.services.model_dump()
    named = {key: connection.host for key, name in BASE_URLS.items() if not given[key] and (connection := _connection(name))}
    hosts = {key: host if "://" in host else f"https://{host}" for key, host in named.items() if host}
    return config.model_copy(update={"services": config.services.model_copy(update=hosts)}) if hosts else config


def current_run(code: str | None = None) -> Run:
    """The run of this task: the same for all its tasks, whichever worker they land on. ``code``: else the param of that name."""
    from kryss.pipeline.run import KINDS, Run

    context = get_current_context()
    params = context["params"]
    config = with_base_urls(load_municipalities()[code or params["code"]])
    dag_run = context["dag_run"]
    instant: datetime = dag_run.logical_date or dag_run.run_after

    def day(name: str) -> date | None:
        return date.fromisoformat(params[name]) if params.get(name) else None

    return Run(
        config=config,
        settings=settings(),
        run_id=f"{dag_run.dag_id}/{dag_run.run_id}",
        release_date=day("release_date") or instant.astimezone(UTC).date(),
        kind=next((kind for kind in KINDS if kind == dag_run.dag_id), "refresh"),
        model=params.get("model") or None,
        force=bool(params.get("force")),
        limit=params.get("limit"),
        since=day("since"),
        until=day("until"),
        approve=bool(params.get("approve")),
    )


@contextmanager
def final_failures() -> Iterator[None]:
    """Failures that another try cannot mend fail the task at once: a refused token, a release held back, a bad setting."""
    from kryss.config import ConfigError
    from kryss.http import StopRun
    from kryss.pipeline.checks import HeldBack
    from kryss.training.data.check import BrokenDataError
    from kryss.training.recipe import OtherRun, RecipeError
    from kryss.vision.registry import NotRegistered, UnknownWeights

    try:
        yield
    except (StopRun, HeldBack, ConfigError, UnknownWeights, NotRegistered, BrokenDataError, OtherRun, RecipeError) as error:
        raise AirflowFailException(f"{type(error).__name__}: {error}") from None
