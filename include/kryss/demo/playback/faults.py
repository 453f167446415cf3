"""Faults ordered at a playback server: what a service does on a bad day, by endpoint, a given number of times.

A fault fits requests by server name, method and a regular expression on path and query; the first fault with times
left that fits is used up by one and applied: wait ``delay_s``, then either pass on (only a delay), or answer
otherwise, or answer rightly and break the body. ``KINDS`` names the faults that the contracts list, so that an order
can be one word::

    POST /_playback/faults {"kind": "too-many-requests", "server": "mapillary", "path": "^/images", "count": 2}
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

HTML_PAGE = "<!DOCTYPE html><html><head><title>Sorry</title></head><body>Something went wrong.</body></html>"


@dataclass(frozen=True, slots=True)
class Fault:
    """One order. ``status`` None keeps the true answer and breaks it with ``truncate`` (the part of the body that is
    sent under the full Content-Length) or ``drop`` (the connection is closed without an answer)."""

    server: str = "*"
    path: str = ""
    """Regular expression searched in path and query; empty fits every path."""
    method: str = "*"
    status: int | None = None
    body: str = ""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    delay_s: float = 0.0
    truncate: float | None = None
    drop: bool = False
    cut: float | None = None
    """The part of the true body that is left, under a Content-Length that fits it."""
    after: int = 0
    """So many fitting requests pass before the fault begins."""
    count: int = 1
    """How many times it happens; -1 for ever."""

    def fits(self, server: str, method: str, path_and_query: str) -> bool:
        return (
            self.server in ("*", server)
            and self.method in ("*", method)
            and (not self.path or re.search(self.path, path_and_query) is not None)
        )


def graph_error(code: int, message: str, subcode: int | None = None, **more: Any) -> str:
    """An error body as the Graph API writes it (contracts/mapillary-api-v4.md section 8)."""
    kind = "OAuthException" if code == 190 else "MLYApiException"
    error: dict[str, Any] = {"message": message, "type": kind, "code": code} | more
    if subcode is not None:
        error["error_subcode"] = subcode
    return json.dumps({"error": {**error, "fbtrace_id": "AplaybackTrace"}})


TOO_MUCH = "Please reduce the amount of data you're asking for, then retry your request"

KINDS: dict[str, Fault] = {
    "too-many-requests": Fault(status=429, body="Too many requests", content_type="text/plain"),
    "application-limit": Fault(status=403, body=graph_error(4, "Application request limit reached", is_transient=True)),
    "server-error": Fault(status=500, body=HTML_PAGE, content_type="text/html"),
    "unavailable": Fault(status=503, body=HTML_PAGE, content_type="text/html"),
    "temporarily-unavailable": Fault(status=500, body=graph_error(2, "Service temporarily unavailable")),
    "unknown-error": Fault(status=500, body=graph_error(1, "An unknown error occurred", 99)),
    "too-much-data": Fault(status=500, body=graph_error(1, TOO_MUCH)),
    "revoked-token": Fault(status=401, body=graph_error(190, "Error validating application"), count=-1),
    "not-found": Fault(
        status=400,
        body=graph_error(
            100,
            "Unsupported get request. Object does not exist, cannot be loaded due to missing permissions, or does not "
            "support this operation",
            33,
        ),
    ),
    "error-under-200": Fault(status=200, body=graph_error(2, "Service temporarily unavailable")),
    "html-under-200": Fault(status=200, body=HTML_PAGE, content_type="text/html"),
    "empty-under-200": Fault(status=200, body="", content_type="application/octet-stream"),
    "expired-link": Fault(status=403, body="URL signature expired", content_type="text/plain"),
    "truncated": Fault(truncate=0.5),
    "cut-at-the-source": Fault(cut=0.5),
    "dropped": Fault(drop=True),
    "slow": Fault(delay_s=30.0),
}


def fault_of(order: dict[str, Any]) -> Fault:
    """A Fault from an order as JSON: the fields of Fault, on top of those of its ``kind``, if it names one."""
    order = dict(order)
    kind = order.pop("kind", None)
    if kind is not None and kind not in KINDS:
        raise ValueError(f"no fault is called {kind!r}; there are {', '.join(sorted(KINDS))}")
    known = {item.name for item in fields(Fault)}
    if unknown := sorted(set(order) - known):
        raise ValueError(f"a fault has no {', '.join(unknown)}; it has kind, {', '.join(sorted(known))}")
    if isinstance(order.get("headers"), dict):
        order["headers"] = tuple(order["headers"].items())
    try:
        re.compile(order.get("path", ""))
    except re.error as error:
        raise ValueError(f"path {order['path']!r} is no regular expression: {error}") from None
    return replace(KINDS[kind] if kind else Fault(), **order)


class FaultBook:
    """The faults that were ordered, in their order; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: list[dict[str, Any]] = []

    def order(self, fault: Fault | str, **changes: Any) -> None:
        """Order a Fault, or the one of a kind with changes: ``order("truncated", server="mapillary-photos",
        count=2)``."""
        if isinstance(fault, str):
            fault = fault_of({"kind": fault, **changes})
        with self._lock:
            self._orders.append({"fault": fault, "passed": 0, "happened": 0})

    def clear(self) -> None:
        with self._lock:
            self._orders.clear()

    def take(self, server: str, method: str, path_and_query: str) -> Fault | None:
        """The fault that happens to this request, if any."""
        with self._lock:
            for order in self._orders:
                fault: Fault = order["fault"]
                if not fault.fits(server, method, path_and_query) or order["happened"] == fault.count:
                    continue
                if order["passed"] < fault.after:
                    order["passed"] += 1
                    continue
                order["happened"] += 1
                return fault
        return None

    def listing(self) -> list[dict[str, Any]]:
        """Every order with how often it ``happened``."""
        with self._lock:
            return [{**asdict(order["fault"]), "happened": order["happened"]} for order in self._orders]
