"""Kryss in Airflow's own web server: the page of each release, the report of each run, the quality check.

Airflow loads this file in each of its processes, most of which never serve a page: what serves them (`kryss_routes`) is
imported with the first request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from threading import Lock
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

PREFIX = "/kryss"
BELOW = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
"""Path under which this Airflow is served, ``/airflow`` of ``https://example.org/airflow``; empty at the root of its host."""


class LazyApp:
    """An ASGI application that is imported when it is first asked for something."""

    def __init__(self) -> None:
        self._app: Callable[..., Awaitable[None]] | None = None
        self._lock = Lock()

    def _load(self) -> Callable[..., Awaitable[None]]:
        with self._lock:
            if self._app is None:
                from kryss_routes import make_app

                self._app = make_app()
            return self._app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        app = self._app
        if app is None:
            from asyncio import to_thread

            app = await to_thread(self._load)
        await app(scope, receive, send)


def _icon(ground: str) -> str:
    """Two roads that cross, and the sign at the crossing, on a ground of its own: Airflow's navigation is light, dark or blue."""
    roads = "M4 9.5h3.5a2 2 0 0 0 2-2V4M4 14.5h3.5a2 2 0 0 1 2 2V20M20 14.5h-3.5a2 2 0 0 0-2 2V20"
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24">'
        f'<rect x="1" y="1" width="22" height="22" rx="5" fill="{ground}"/>'
        f'<path d="{roads}" fill="none" stroke="#fff" stroke-width="2" stroke-linecap="round"/>'
        '<path d="m16.5 3.8 3.7 3.7-3.7 3.7-3.7-3.7z" fill="#ffd23f"/></svg>'
    )
    return f"data:image/svg+xml,{quote(svg)}"


class KryssPlugin(AirflowPlugin):
    """The pages of Kryss under ``/kryss``, and an entry for them in the navigation."""

    name = "kryss"
    fastapi_apps: ClassVar[list[Any]] = [{"name": "Kryss", "app": LazyApp(), "url_prefix": PREFIX}]
    external_views: ClassVar[list[Any]] = [
        {
            "name": "Kryss",
            "href": f"{BELOW}{PREFIX}/",
            "url_route": "kryss",
            "destination": "nav",
            "nav_top_level": True,
            "icon": _icon("#0a666c"),
            "icon_dark_mode": _icon("#12848b"),
        }
    ]
