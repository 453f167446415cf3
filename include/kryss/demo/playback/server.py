"""What all playback servers share: a small HTTP/1.1 server on loopback with ordered faults, a settable "now" and
counts.

The standard library's server is used because a playback must be able to break the protocol on order (a body shorter
than its Content-Length, a connection closed without an answer), which ASGI and WSGI servers rightly refuse to do.

To add a service, subclass PlaybackServer, set ``name`` and write ``handle(request) -> Reply``. Servers of one
playback share a Stage. Every server answers, beside its own paths:

* ``POST /_playback/faults`` with an order or a list of orders (see faults.py), ``GET`` and ``DELETE`` of the same path;
* ``POST /_playback/now`` with ``{"now": "2026-05-01T00:00:00Z"}`` (null: the wall clock), ``GET`` of the same path;
* ``GET /_playback/stats``: requests by server and endpoint, faults that happened; ``DELETE`` sets them to zero.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from kryss.demo.playback.faults import Fault, FaultBook, fault_of

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Message
    body: bytes = b""

    def param(self, name: str) -> str | None:
        """The first value of a query parameter; None when it is absent."""
        values = self.query.get(name)
        return values[0] if values else None

    def form(self) -> dict[str, list[str]]:
        """The fields of a form in the body."""
        return parse_qs(self.body.decode("utf-8", "replace"), keep_blank_values=True)


@dataclass(frozen=True, slots=True)
class Reply:
    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
        body = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        return Reply(status, body, "application/json; charset=UTF-8", headers or {})

    @staticmethod
    def text(value: str, status: int = 200, content_type: str = "text/plain; charset=UTF-8") -> Reply:
        return Reply(status, value.encode(), content_type)


class Clock:
    """The instant up to which playback knows the world; None is the wall clock."""

    def __init__(self, now: datetime | None = None):
        self.now = now

    def now_ms(self) -> int:
        return int((self.now or datetime.now(UTC)).timestamp() * 1000)


def parse_instant(text: str | None) -> datetime | None:
    """An ISO 8601 instant with its zone (``Z`` or an offset); None for None."""
    if text is None:
        return None
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; write {text}Z for UTC")
    return instant.astimezone(UTC)


@dataclass(slots=True)
class Stage:
    """What the servers of one playback share."""

    clock: Clock = field(default_factory=Clock)
    faults: FaultBook = field(default_factory=FaultBook)
    requests: Counter[str] = field(default_factory=Counter)
    happened: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def stats(self) -> dict[str, Any]:
        with self.lock:
            return {"requests": dict(sorted(self.requests.items())), "faults": dict(sorted(self.happened.items()))}


class PlaybackServer(ABC):
    """One service on one port of loopback; ``start`` returns at once and ``url`` is where it listens."""

    name = "playback"

    def __init__(self, stage: Stage | None = None, port: int = 0, host: str = "127.0.0.1"):
        self.stage = stage or Stage()
        self._server = _Server((host, port), _Handler)
        self._server.playback = self
        self._thread: threading.Thread | None = None
        self.closing = threading.Event()
        self.port = self._server.server_address[1]
        self.url = f"http://{host}:{self.port}"

    @abstractmethod
    def handle(self, request: Request) -> Reply:
        """The true answer to a request, as the service would give it."""

    def endpoint(self, request: Request) -> str:
        """The name under which a request is counted; override it where paths hold ids."""
        return request.path

    def start(self) -> Self:
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name=f"playback-{self.name}", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        self.closing.set()
        if self._thread:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _control(self, request: Request) -> Reply:
        """The orders of whoever runs the playback."""
        topic = request.path.removeprefix("/_playback/")
        stage = self.stage
        try:
            given = json.loads(request.body) if request.body else None
            match request.method, topic:
                case "POST", "faults":
                    for order in given if isinstance(given, list) else [given or {}]:
                        stage.faults.order(fault_of(order))
                case "DELETE", "faults":
                    stage.faults.clear()
                case "POST", "now":
                    stage.clock.now = parse_instant((given or {})["now"])
                case "DELETE", "stats":
                    with stage.lock:
                        stage.requests.clear()
                        stage.happened.clear()
                case "GET", "faults" | "now" | "stats":
                    pass
                case _:
                    return Reply.json({"error": f"no order {request.method} {request.path}"}, 404)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return Reply.json({"error": f"{type(error).__name__}: {error}"}, 400)
        now = stage.clock.now
        answers = {
            "faults": stage.faults.listing,
            "now": lambda: {"now": now.isoformat() if now else None},
            "stats": stage.stats,
        }
        return Reply.json(answers[topic]())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    playback: PlaybackServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("%s: a client went away", self.playback.name)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 60

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def version_string(self) -> str:
        return "kryss-playback"

    def log_message(self, format: str, *args: Any) -> None:
        """Request lines hold tokens and signatures: paths are counted, never logged."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        playback, stage = self.server.playback, self.server.playback.stage
        if playback.closing.is_set():
            self.close_connection = True
            return None
        target = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= MAX_BODY_BYTES:
            self.close_connection = True
            return self._send(Reply.text("body too large", 413))
        request = Request(
            self.command,
            unquote(target.path),
            parse_qs(target.query, keep_blank_values=True),
            self.headers,
            self.rfile.read(length) if length else b"",
        )
        if request.path.startswith("/_playback/"):
            return self._send(playback._control(request))
        with stage.lock:
            stage.requests[f"{playback.name} {playback.endpoint(request)}"] += 1
        fault = stage.faults.take(playback.name, request.method, unquote(self.path))
        if fault:
            with stage.lock:
                stage.happened[f"{playback.name} {playback.endpoint(request)}"] += 1
            playback.closing.wait(fault.delay_s)
        if fault and fault.drop:
            self.close_connection = True
            return None
        if fault and fault.status is not None:
            return self._send(Reply(fault.status, fault.body.encode(), fault.content_type, dict(fault.headers)), fault)
        try:
            reply = playback.handle(request)
        except Exception:
            log.exception("playback %s could not answer %s", playback.name, playback.endpoint(request))
            reply = Reply.json({"error": "the playback server itself failed; see its log"}, 500)
        if fault and fault.cut is not None:
            reply = replace(reply, body=reply.body[: int(len(reply.body) * fault.cut)])
        return self._send(reply, fault)

    def _send(self, reply: Reply, fault: Fault | None = None) -> None:
        body = reply.body
        if fault and fault.truncate is not None:
            body = body[: int(len(body) * fault.truncate)]
            self.close_connection = True
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.content_type:
            self.send_header("Content-Type", reply.content_type)
        if reply.status != 204:
            self.send_header("Content-Length", str(len(reply.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def wait_until_up(url: str, timeout_s: float = 10.0) -> None:
    """Return when something listens at the URL."""
    parts = urlsplit(url)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection((parts.hostname or "", parts.port or 80), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing listens at {parts.hostname}:{parts.port} after {timeout_s:g} s") from None
            time.sleep(0.05)
