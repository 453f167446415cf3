"""Chromium and a file server for tests: what a page asks for and complains of is kept, and judged at the end."""

from __future__ import annotations

import http.server
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
]
"""No network of its own; WebGL by SwiftShader, in software."""

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Site:
    """A running file server. ``answers``: path -> what is answered instead of the file."""

    url: str
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@contextmanager
def serving(folder: Path) -> Iterator[Site]:
    """``python -m http.server`` of a folder, but for `Site.answers`."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            told = site.answers.get(urlsplit(self.path).path)
            if told is None:
                super().do_GET()
                return
            status, headers, body = told
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    site = Site(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser; the test is skipped where there is none."""
    sync = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def visiting(site: Site, browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens pages of ``site``. At the end: no request went to another host, nothing was thrown, the console told no error but
    those that the caller allowed (``allowed``: words of messages)."""
    contexts, foreign, complaints = [], [], []
    permitted = ["favicon", "readback"]

    def go(path: str, fragment: str = "", *, ready: bool = True, allowed: tuple[str, ...] = (), **settings: Any) -> Any:
        permitted.extend(allowed)
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **settings})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("request", lambda request: foreign.append(request.url) if _elsewhere(request.url, site.url, permitted) else None)
        page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path if "://" in path else f"{site.url}/{path}/index.html{fragment}")
        if ready:
            page.wait_for_selector("html[data-ready]", timeout=60_000)
        return page

    yield go
    for context in contexts:
        context.close()
    told = [text for text in complaints if "GPU stall" not in text and not any(word in text for word in permitted)]
    assert not foreign, f"asked another host: {foreign}"
    assert not told, told


def until(page: Any, expression: str, seconds: float = 20.0) -> None:
    """Waits for an expression of JavaScript. (Playwright's own wait evaluates within the page, which its policy forbids.)"""
    end = time.monotonic() + seconds
    while not page.evaluate(f"Boolean({expression})"):
        assert time.monotonic() < end, f"not within {seconds} s: {expression}"
        page.wait_for_timeout(50)


def _elsewhere(url: str, home: str, permitted: list[str]) -> bool:
    return not url.startswith((home, "data:", "blob:", "file:")) and not any(word in url for word in permitted)
