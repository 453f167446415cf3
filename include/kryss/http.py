"""One way to ask a service over HTTP: rate limit, time-outs, one retry policy, counters, and no secret in any message.

What an answer means is not decided in code but by two tables beside this file, each row with its source:

* ``retry_policy.csv``: the first row that fits ``(service, http_status, code, subcode, message, content)`` gives the
  action: ``stop_run`` raises StopRun, ``split`` raises SplitRequest, ``retry`` waits and asks again (``first_wait_s *
  factor ** n``, at most ``max_wait_s``, ``tries`` requests in all, Retry-After honoured; ``scope`` service makes
  every thread of the service wait), ``relink`` raises LinkExpired (the caller must ask for a fresh link), ``gone``
  raises Gone once ``tries`` looks agree, ``empty`` takes the answer for an empty one, ``fail`` raises RequestFailed.
* ``rate_limits.csv``: requests a minute, burst and concurrent requests of each service.

``content`` says what came back: ``ok``, ``error-body`` (an ``error`` object as Graph APIs write it, or an Overpass
``remark`` that is a runtime error), ``not-json``, ``truncated``, ``timeout``, ``connection``, ``too-large``,
``bad-photo`` or another fault that the caller's ``check`` names; anything else that is not a success is ``other``.

Limits hold for one process. Processes do not know of each other: give each of n processes ``share=1/n``.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, Literal, cast, get_args
from urllib.parse import quote, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

log = logging.getLogger(__name__)

USER_AGENT = "kryss/0.1 (road intersection layer; https://www.mapillary.com/developer)"
TIME_SCALE_VARIABLE = "KRYSS_RETRY_TIME_SCALE"
POLICY_TABLE = Path(__file__).with_name("retry_policy.csv")
LIMITS_TABLE = Path(__file__).with_name("rate_limits.csv")
RETRY_AFTER_CAP_S = 3600.0
"""A service that asks for a longer pause than this is asked again after this."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")
NO_PROXY = {"http": "", "https": ""}
"""A playback on this machine is never asked through the proxy of the environment."""

Action = Literal["stop_run", "split", "retry", "relink", "gone", "empty", "fail"]
Expect = Literal["json", "bytes"]
Check = Callable[[bytes], "str | None"]
"""Looks at a complete body and returns None, or what is wrong with it (``bad-photo: ...``)."""

_SECRET_PARAMETERS = re.compile(
    r"(?i)\b(access_token|client_secret|refresh_token|_nc_[a-z_]+|oh|oe|X-Amz-[A-Za-z-]+|sig|signature)=[^&\s\"'<>)\]]+"
)
_SECRET_FORMS = re.compile(r"MLY(?:\||%7C)\d+(?:\||%7C)[0-9A-Za-z]+|\b(?:OAuth|Bearer)\s+[^\s\"',]{8,}", re.IGNORECASE)


def redact(text: str, secrets: tuple[str, ...] = ()) -> str:
    """Text without tokens, signed query strings and the given secrets (also in their URL-encoded form)."""
    for secret in secrets:
        for form in (secret, quote(secret, safe=""), quote(secret)):
            if form:
                text = text.replace(form, "***")
    text = _SECRET_FORMS.sub("***", text)
    return _SECRET_PARAMETERS.sub(lambda match: f"{match.group(1)}=***", text)


class _RedactRecords(logging.Filter):
    """urllib3 writes every request line, query string included, to its debug log."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        return True


for _name in ("urllib3.connectionpool", "urllib3.connection", "urllib3.response", "urllib3.util.retry"):
    logging.getLogger(_name).addFilter(_RedactRecords())


class ServiceError(Exception):
    """What a service did not give, without any secret: ``service``, ``endpoint`` (a path), ``reason``, ``status``."""

    def __init__(self, service: str, endpoint: str, reason: str, status: int | None = None, rule: Rule | None = None):
        super().__init__(service, endpoint, reason, status, rule)
        self.service, self.endpoint, self.reason, self.status, self.rule = service, endpoint, reason, status, rule

    def __str__(self) -> str:
        status = f" (HTTP {self.status})" if self.status is not None else ""
        return f"{self.service} {self.endpoint}: {self.reason}{status}"


class StopRun(ServiceError):  # noqa: N818
    """Nothing that follows can succeed (a refused token): stop, and mark nothing as failed."""


class SplitRequest(ServiceError):  # noqa: N818
    """The request asks for too much: ask for parts of it."""


class LinkExpired(ServiceError):  # noqa: N818
    """The link cannot be used (again): ask for a fresh one. ``rule`` says how often and after which wait."""


class Gone(ServiceError):  # noqa: N818
    """The thing does not exist, and a second look agreed."""


class RequestFailed(ServiceError):  # noqa: N818
    """Refused, or still failing after the last try."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of ``retry_policy.csv``."""

    service: str
    http_status: str
    code: str
    subcode: str
    message_contains: str
    content: str
    action: Action
    scope: str
    first_wait_s: float
    factor: float
    max_wait_s: float
    tries: int
    reason: str
    source: str

    def fits(self, service: str, answer: Answer) -> bool:
        return (
            fnmatchcase(service, self.service)
            and _status_fits(self.http_status, answer.status)
            and self.code in ("*", str(answer.code))
            and self.subcode in ("*", str(answer.subcode))
            and (self.message_contains == "*" or self.message_contains.lower() in answer.message.lower())
            and self.content in ("*", answer.content)
        )

    def wait_s(self, failures: int, retry_after_s: float | None = None) -> float:
        """How long to wait after the given number (1, 2, ...) of failed requests."""
        backoff_s = min(self.first_wait_s * self.factor ** (failures - 1), self.max_wait_s)
        return max(backoff_s, min(retry_after_s or 0.0, RETRY_AFTER_CAP_S))


def _status_fits(pattern: str, status: int | None) -> bool:
    if pattern == "*":
        return True
    text = "none" if status is None else str(status)
    return any(text == part or (part.endswith("xx") and text[:1] == part[0]) for part in pattern.split("|"))


@dataclass(frozen=True, slots=True)
class Policy:
    """The rows of a retry table in their order; the first that fits decides."""

    rules: tuple[Rule, ...]

    def rule(self, service: str, answer: Answer) -> Rule:
        return next(rule for rule in self.rules if rule.fits(service, answer))


@cache
def load_policy(path: Path = POLICY_TABLE) -> Policy:
    rules = []
    with path.open(newline="", encoding="utf-8") as table:
        for row in csv.DictReader(table):
            numbers: dict[str, Any] = {name: float(row.pop(name)) for name in ("first_wait_s", "factor", "max_wait_s")}
            numbers["tries"] = int(row.pop("tries"))
            if row["action"] not in get_args(Action):
                raise ValueError(f"{path.name}: action {row['action']!r} is none of {', '.join(get_args(Action))}")
            rules.append(Rule(**cast(Any, row), **numbers))
    return Policy(tuple(rules))


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request came to: a success, or the facts that the retry table decides by."""

    status: int | None
    content: str
    body: bytes = b""
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    code: int | None = None
    subcode: int | None = None
    message: str = ""

    @property
    def good(self) -> bool:
        return self.content == "ok"

    @property
    def retry_after_s(self) -> float | None:
        """The Retry-After header, as seconds from now (RFC 9110 section 10.2.3)."""
        value = self.headers.get("Retry-After")
        if not value:
            return None
        if value.strip().isdigit():
            return float(value)
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        except ValueError:
            return None


class RateLimiter:
    """Token bucket with a bound on concurrent requests; thread-safe, for one process.

    ``share`` is the part of the published limit that this process may use.
    """

    def __init__(self, per_minute: float, burst: float = 1, concurrent: int | None = None, share: float = 1.0):
        if not 0 < share <= 1:
            raise ValueError(f"share is {share}; it must be in (0, 1], 1/n for each of n processes")
        self.per_s = per_minute * share / 60
        self.burst = max(1.0, burst * share)
        self._tokens = self.burst
        self._filled_at = time.monotonic()
        self._held_until = 0.0
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(max(1, int(concurrent * share))) if concurrent else None

    def hold(self, seconds: float) -> None:
        """Make everybody wait: the service said that it is asked too often."""
        with self._lock:
            self._held_until = max(self._held_until, time.monotonic() + seconds)

    def _reserve(self) -> float:
        """Take a token and return how long to wait for it; the bucket may go below zero, which queues fairly."""
        with self._lock:
            now = time.monotonic()
            self._tokens = min(self.burst, self._tokens + (now - self._filled_at) * self.per_s)
            self._filled_at = now
            self._tokens -= 1
            return max(0.0, -self._tokens / self.per_s, self._held_until - now)

    @contextmanager
    def slot(self) -> Iterator[float]:
        """Hold one of the concurrent requests; gives the seconds that were waited."""
        began = time.monotonic()
        if self._slots:
            self._slots.acquire()
        try:
            wait_s = self._reserve()
            if wait_s > 0:
                time.sleep(wait_s)
            yield time.monotonic() - began
        finally:
            if self._slots:
                self._slots.release()


@dataclass(frozen=True, slots=True)
class Limit:
    """One row of ``rate_limits.csv``."""

    service: str
    per_minute: float
    burst: float
    concurrent: int | None
    remaining_header: str
    hold_below: int
    hold_s: float
    source: str

    def limiter(self, share: float = 1.0) -> RateLimiter:
        return RateLimiter(self.per_minute, self.burst, self.concurrent, share)


@cache
def load_limits(path: Path = LIMITS_TABLE) -> tuple[Limit, ...]:
    with path.open(newline="", encoding="utf-8") as table:
        return tuple(
            Limit(
                service=row["service"],
                per_minute=float(row["per_minute"]),
                burst=float(row["burst"]),
                concurrent=int(row["concurrent"]) if row["concurrent"] else None,
                remaining_header=row["remaining_header"],
                hold_below=int(row["hold_below"] or 0),
                hold_s=float(row["hold_s"] or 0),
                source=row["source"],
            )
            for row in csv.DictReader(table)
        )


def limit_of(service: str) -> Limit:
    return next(limit for limit in load_limits() if fnmatchcase(service, limit.service))


class Counts:
    """What a service was asked and what that cost, for the report."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: Counter[str] = Counter()
        self._waited_s = 0.0
        self._reasons: Counter[str] = Counter()

    def add(self, waited_s: float = 0.0, reason: str | None = None, **numbers: int) -> None:
        with self._lock:
            self._numbers.update(numbers)
            self._waited_s += waited_s
            if reason:
                self._reasons[reason] += 1

    def snapshot(self) -> dict[str, Any]:
        """``requests``, ``retries``, ``bytes``, ``waited_s`` and ``reasons`` (what did not go well, by reason)."""
        with self._lock:
            numbers = {name: self._numbers[name] for name in ("requests", "retries", "bytes")}
            return {**numbers, "waited_s": round(self._waited_s, 3), "reasons": dict(sorted(self._reasons.items()))}


class Service:
    """One service with one limit: where it is, how it is asked, and what its answers mean.

    ``name`` picks the rows of both tables. ``headers`` and ``params`` go with every request to ``base_url`` and to no
    other origin; ``secrets`` are the strings that no message may contain. ``time_scale`` multiplies every wait of the
    retry policy (1 in earnest; tests and playback use less, or set KRYSS_RETRY_TIME_SCALE).
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        secrets: tuple[str, ...] = (),
        policy: Policy | None = None,
        limiter: RateLimiter | None = None,
        share: float = 1.0,
        connect_timeout_s: float = 10.0,
        read_timeout_s: float = 60.0,
        total_timeout_s: float = 300.0,
        max_bytes: int = 512 * 2**20,
        time_scale: float | None = None,
        connections: int = 16,
    ):
        self.name = name
        self.base_url = base_url.rstrip("/")
        self.headers = dict(headers or {})
        self.params = dict(params or {})
        self.secrets = tuple(secret for secret in secrets if secret)
        self.policy = policy or load_policy()
        self.limit = limit_of(name)
        self.limiter = limiter or self.limit.limiter(share)
        self.connect_timeout_s = connect_timeout_s
        self.read_timeout_s = read_timeout_s
        self.total_timeout_s = total_timeout_s
        self.max_bytes = max_bytes
        self.time_scale = float(os.environ.get(TIME_SCALE_VARIABLE, "1")) if time_scale is None else time_scale
        self.counts = Counts()
        self._session = requests.Session()
        self._session.headers["User-Agent"] = USER_AGENT
        self._session.max_redirects = 5
        # A ~/.netrc entry would otherwise replace the Authorization header.
        self._session.auth = lambda request: request
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = HTTPAdapter(pool_connections=4, pool_maxsize=connections, max_retries=0)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def __repr__(self) -> str:
        return f"Service({self.name!r}, {self.base_url!r})"

    def close(self) -> None:
        self._session.close()

    def get_json(self, path: str, params: Mapping[str, Any] | None = None, **options: Any) -> Any:
        return self.request("GET", path, params=params, expect="json", **options).json

    def get_bytes(self, path: str, params: Mapping[str, Any] | None = None, **options: Any) -> bytes:
        return self.request("GET", path, params=params, expect="bytes", **options).body

    def post(self, path: str, data: Any = None, **options: Any) -> Any:
        """POST of a form (mapping) or a body (bytes, str); the JSON answer."""
        return self.request("POST", path, data=data, expect="json", **options).json

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        expect: Expect = "json",
        check: Check | None = None,
        label: str | None = None,
        read_timeout_s: float | None = None,
    ) -> Answer:
        """Ask until the retry table says that it is over; a good Answer or a ServiceError.

        ``path`` is a path below ``base_url`` or a whole URL (a next page, a signed link). ``label`` replaces the path
        in messages.
        """
        endpoint = redact(label or urlsplit(path).path or "/", self.secrets)
        failures = 0
        while True:
            answer = self._ask(method, path, params, data, headers, expect, check, read_timeout_s)
            if answer.good:
                return answer
            failures += 1
            rule = self.policy.rule(self.name, answer)
            reason = self._reason(rule, answer)
            self.counts.add(reason=rule.reason)
            if rule.action == "empty":
                return Answer(answer.status, "ok", headers=answer.headers)
            if rule.action in ("retry", "gone") and failures < rule.tries:
                wait_s = rule.wait_s(failures, answer.retry_after_s)
                log.log(
                    logging.INFO if rule.action == "gone" else logging.WARNING,
                    "%s %s: %s%s; try %d of %d in %.1f s",
                    *(self.name, endpoint, reason, f" (HTTP {answer.status})" if answer.status else ""),
                    *(failures + 1, rule.tries, wait_s * self.time_scale),
                )
                self.counts.add(retries=1)
                self.wait(wait_s, everybody=rule.scope == "service")
                continue
            if rule.action == "retry":
                reason = f"{reason}, {failures} tries"
            raise _ERRORS[rule.action](self.name, endpoint, reason, answer.status, rule)

    def wait(self, seconds: float, everybody: bool = False) -> None:
        """Wait as the policy says, scaled; ``everybody`` holds all threads that use this service."""
        seconds *= self.time_scale
        self.counts.add(waited_s=seconds)
        if everybody:
            self.limiter.hold(seconds)
        if seconds > 0:
            time.sleep(seconds)

    def _reason(self, rule: Rule, answer: Answer) -> str:
        detail = redact(answer.message, self.secrets).strip()[:200]
        code = f"code {answer.code}" if answer.code is not None else ""
        if answer.subcode is not None:
            code += f"/{answer.subcode}"
        extra = ", ".join(part for part in (code, detail) if part)
        return f"{rule.reason} [{extra}]" if extra else rule.reason

    def _ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None,
        data: Any,
        headers: Mapping[str, str] | None,
        expect: Expect,
        check: Check | None,
        read_timeout_s: float | None,
    ) -> Answer:
        """One request. Never raises for what the network or the service did: no exception of requests, whose messages
        hold URLs, gets into a chain."""
        url = path if "://" in path else f"{self.base_url}/{path.lstrip('/')}"
        ours = _origin(url) == _origin(self.base_url)
        with self.limiter.slot() as waited_s:
            self.counts.add(requests=1, waited_s=waited_s)
            try:
                with self._session.request(
                    method,
                    url,
                    params={**(self.params if ours else {}), **(params or {})} or None,
                    data=data,
                    headers={**(self.headers if ours else {}), **(headers or {})},
                    timeout=(self.connect_timeout_s, read_timeout_s or self.read_timeout_s),
                    proxies=NO_PROXY if urlsplit(url).hostname in LOOPBACK else None,
                    stream=True,
                ) as response:
                    body = self._read(response)
                    status, answer_headers = response.status_code, response.headers
            except _TooLargeError:
                return Answer(None, "too-large", message=f"more than {self.max_bytes} bytes")
            except (requests.Timeout, _TooSlowError):
                return Answer(None, "timeout")
            except requests.exceptions.ChunkedEncodingError:
                return Answer(None, "truncated")
            except requests.exceptions.ContentDecodingError:
                return Answer(None, "truncated", message="the compressed body cannot be read")
            except requests.ConnectionError as error:
                cause = error.args[0] if error.args else None
                slow = isinstance(cause, urllib3.exceptions.ReadTimeoutError)
                return Answer(None, "timeout" if slow else "connection", message=_network_reason(cause))
            except requests.RequestException as error:
                return Answer(None, "other", message=type(error).__name__)
        self.counts.add(bytes=len(body))
        self._respect_remaining(answer_headers)
        return read_answer(status, body, answer_headers, expect, check)

    def _read(self, response: requests.Response) -> bytes:
        deadline = time.monotonic() + self.total_timeout_s
        parts, size = [], 0
        for part in response.iter_content(2**16):
            size += len(part)
            if size > self.max_bytes:
                raise _TooLargeError
            if time.monotonic() > deadline:
                raise _TooSlowError
            parts.append(part)
        return b"".join(parts)

    def _respect_remaining(self, headers: Mapping[str, str]) -> None:
        remaining = headers.get(self.limit.remaining_header, "") if self.limit.remaining_header else ""
        if remaining.isdigit() and int(remaining) < self.limit.hold_below:
            self.limiter.hold(self.limit.hold_s * self.time_scale)
            self.counts.add(reason="paused, budget nearly used")


class _TooLargeError(Exception):
    pass


class _TooSlowError(Exception):
    pass


_ERRORS: dict[str, type[ServiceError]] = {
    "stop_run": StopRun,
    "split": SplitRequest,
    "relink": LinkExpired,
    "gone": Gone,
    "retry": RequestFailed,
    "fail": RequestFailed,
}


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _network_reason(cause: object) -> str:
    """The kind of a network failure in two words; the text of the original holds the URL."""
    reason = getattr(cause, "reason", cause)
    return type(reason).__name__ if isinstance(reason, Exception) else ""


def read_answer(
    status: int, body: bytes, headers: Mapping[str, str], expect: Expect = "json", check: Check | None = None
) -> Answer:
    """Sort a complete answer: success, an error body (whatever its status), not what was asked for, or another
    refusal."""
    success = 200 <= status < 300
    parsed, is_json = None, False
    if expect == "json" or not success or body[:9].lstrip().startswith(b'{"error"'):
        with suppress(ValueError):
            parsed, is_json = json.loads(body), True
    code, subcode, message = _error_of(parsed, success)
    if code is not None or (success and message):
        return Answer(status, "error-body", body, parsed, headers, code, subcode, message)
    if not success:
        return Answer(status, "other", body, parsed, headers, message=message)
    if expect == "json" and not is_json:
        return Answer(status, "not-json", body, None, headers, message=_first_words(body, headers))
    fault = check(body) if check else None
    if fault:
        content, _, detail = fault.partition(": ")
        return Answer(status, content, body, parsed, headers, message=detail)
    return Answer(status, "ok", body, parsed, headers)


def _error_of(parsed: Any, success: bool) -> tuple[int | None, int | None, str]:
    """``(code, subcode, message)`` of a Graph API error or an Overpass remark, whatever the status; without success
    also of an RFC 9457 problem or an NVDB v3 list."""
    if not success and isinstance(parsed, list) and parsed and isinstance(parsed[0], dict):
        return None, None, str(parsed[0].get("message", ""))
    if not isinstance(parsed, dict):
        return None, None, ""
    error = parsed.get("error")
    if isinstance(error, dict):
        return _int(error.get("code"), 0), _int(error.get("error_subcode")), str(error.get("message", ""))
    if isinstance(error, str):
        return None, None, error
    remark = parsed.get("remark")
    if isinstance(remark, str) and remark.startswith("runtime error"):
        return None, None, remark
    if not success:
        return None, None, " ".join(str(parsed[key]) for key in ("title", "detail") if parsed.get(key))
    return None, None, ""


def _int(value: Any, otherwise: int | None = None) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return otherwise


def _first_words(body: bytes, headers: Mapping[str, str]) -> str:
    kind = headers.get("Content-Type", "no content type").split(";")[0]
    words = " ".join(re.sub(r"<[^>]*>", " ", body[:300].decode("utf-8", "replace")).split())[:60]
    return f"{kind}: {words}" if words else f"{kind}, {len(body)} bytes"
