"""Kryss in Airflow's own web server: the page of each release, the report of each run, the quality check.

Airflow loads this file in each of its processes, most of which never serve a page: what serves them (`kryss_routes`) is
imported with the first request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from threading import Lock
from typing import Any, ClassVar
from urllib.parse import quote

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/kryss"


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


def _icon(colour: str) -> str:
    """Two roads that cross, and the sign at the crossing."""
    roads = "M3 9h5a2 2 0 0 0 2-2V3M3 15h5a2 2 0 0 1 2 2v4M21 15h-3a2 2 0 0 0-2 2v4"
    sign = "M18 2.5 21.5 6 18 9.5 14.5 6zM18 9.5V12"
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="{colour}" stroke-width="2" '
        f'stroke-linecap="round" stroke-linejoin="round"><path d="{roads}"/><path d="{sign}"/></svg>'
    )
    return f"data:image/svg+xml,{quote(svg)}"


class KryssPlugin(AirflowPlugin):
    """The pages of Kryss under ``/kryss``, and an entry for them in the navigation."""

    name = "kryss"
    fastapi_apps: ClassVar[list[Any]] = [{"name": "Kryss", "app": LazyApp(), "url_prefix": PREFIX}]
    external_views: ClassVar[list[Any]] = [
        {
            "name": "Kryss",
            "href": f"{PREFIX}/",
            "url_route": "kryss",
            "destination": "nav",
            "nav_top_level": True,
            "icon": _icon("#52525b"),
            "icon_dark_mode": _icon("#a1a1aa"),
        }
    ]
