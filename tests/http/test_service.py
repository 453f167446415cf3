"""The HTTP helper against a real server on loopback: what it retries, what it counts, and what it never tells."""

from __future__ import annotations

import logging
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kryss.demo.playback.faults import KINDS
from kryss.demo.playback.server import PlaybackServer, Reply, Request
from kryss.http import (
    Gone,
    RateLimiter,
    RequestFailed,
    Service,
    ServiceError,
    SplitRequest,
    StopRun,
    redact,
)

TOKEN = "MLY|4711|" + "ab12" * 8
SIGNATURE = "00_AfBcDeFsecret"


class Echo(PlaybackServer):
    """Says what it was asked and how many asked at once."""

    name = "echo"

    def __init__(self) -> None:
        super().__init__()
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()

    def handle(self, request: Request) -> Reply:
        with self.lock:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        time.sleep(0.02 if request.path == "/slow" else 0)
        with self.lock:
            self.in_flight -= 1
        if request.path == "/budget":
            return Reply.json({}, headers={"x-ratelimit-remaining": "3"})
        if request.path == "/large":
            return Reply(200, b"x" * 200_000)
        seen = {"authorization": request.headers.get("Authorization"), "query": {k: v[0] for k, v in request.query.items()}}
        return Reply.json({**seen, "method": request.method, "form": request.form()})


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as server:
        yield server


def _service(server: PlaybackServer, name: str = "mapillary-search", **options: Any) -> Service:
    settings: dict[str, Any] = {
        "headers": {"Authorization": f"OAuth {TOKEN}"},
        "params": {"access_token": TOKEN},
        "secrets": (TOKEN,),
        "time_scale": 0.001,
        **options,
    }
    return Service(name, server.url, **settings)


RECOVERS = sorted(
    {"too-many-requests", "application-limit", "server-error", "unavailable", "temporarily-unavailable", "unknown-error"}
    | {"error-under-200", "html-under-200", "empty-under-200", "truncated", "dropped", "not-found"}
)


@pytest.mark.parametrize("kind", RECOVERS)
def test_one_fault_costs_one_retry_and_nothing_else(echo: Echo, kind: str) -> None:
    echo.stage.faults.order(kind, path="^/a")
    service = _service(echo)
    assert service.get_json("/a", {"b": "c"})["query"]["b"] == "c"
    counts = service.counts.snapshot()
    assert (counts["requests"], counts["retries"]) == (2, 1)
    assert list(counts["reasons"].values()) == [1]


ENDS = [
    ("revoked-token", StopRun, 1),
    ("too-much-data", SplitRequest, 1),
    ("not-found", Gone, 2),
    ("too-many-requests", RequestFailed, 7),
    ("server-error", RequestFailed, 7),
    ("truncated", RequestFailed, 5),
    ("html-under-200", RequestFailed, 4),
    ("dropped", RequestFailed, 7),
]


@pytest.mark.parametrize(("kind", "error", "requests"), ENDS)
def test_a_lasting_fault_ends_as_the_table_says(echo: Echo, kind: str, error: type[ServiceError], requests: int) -> None:
    echo.stage.faults.order(kind, count=-1)
    with pytest.raises(error) as caught:
        _service(echo).get_json("/a")
    assert caught.value.service == "mapillary-search"
    assert caught.value.endpoint == "/a"
    assert caught.value.reason
    assert echo.stage.stats()["requests"] == {"echo /a": requests}


def test_a_slow_service_is_a_time_out_and_asked_again(echo: Echo) -> None:
    echo.stage.faults.order("slow")
    service = _service(echo, read_timeout_s=1.0)
    began = time.monotonic()
    assert service.get_json("/a")
    assert time.monotonic() - began < 10
    assert service.counts.snapshot()["reasons"] == {"no answer in time": 1}


def test_a_service_that_is_not_there_is_a_failed_connection() -> None:
    with Echo() as server:
        service = _service(server)
    with pytest.raises(RequestFailed, match="connection failed"):
        service.get_json("/a")


def test_an_answer_may_not_fill_the_memory(echo: Echo) -> None:
    with pytest.raises(RequestFailed, match="larger than the limit"):
        _service(echo, max_bytes=100_000).get_bytes("/large")


def test_retry_after_is_waited_for(echo: Echo) -> None:
    echo.stage.faults.order("too-many-requests", headers=(("Retry-After", "100"),))
    service = _service(echo)
    service.get_json("/a")
    assert service.counts.snapshot()["waited_s"] == pytest.approx(0.1, abs=0.05)


def _everything_told(error: BaseException) -> str:
    """Text and arguments of an exception and of all that it was caused by or raised under."""
    told, seen = [], set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            told += [str(one), repr(one), repr(one.args)]
            pending += [one.__cause__, one.__context__]
    return "\n".join(told)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_no_secret_is_ever_told(echo: Echo, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    body = f'{{"error":{{"message":"bad {TOKEN} in ?access_token={TOKEN}&oh={SIGNATURE}","code":7}}}}'
    echo.stage.faults.order(kind, count=-1, **({"body": body} if KINDS[kind].status not in (None, 200) else {}))
    service = _service(echo, read_timeout_s=0.05)
    link = f"{echo.url}/cdn/5/original?oh={SIGNATURE}&oe=6ABCDEF0"
    told = [repr(service)]
    for path in ("/a", link):
        try:
            service.get_json(path, label=None)
        except ServiceError as error:
            told.append(_everything_told(error))
    text = "\n".join([*told, caplog.text, str([record.__dict__ for record in caplog.records])])
    assert "MLY|" not in text and "MLY%7C" not in text
    assert TOKEN.split("|")[2] not in text
    assert SIGNATURE not in text and "6ABCDEF0" not in text
    assert len(told) == 3


def test_a_dead_host_tells_no_secret_either(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Echo() as server:
        service = _service(server)
    with pytest.raises(RequestFailed) as caught:
        service.get_json(f"/a?oh={SIGNATURE}")
    text = _everything_told(caught.value) + caplog.text
    assert TOKEN.split("|")[2] not in text and SIGNATURE not in text


REDACTED = [
    f"Authorization: OAuth {TOKEN}",
    f"Bearer {TOKEN}",
    f"https://tiles.example/1/2/3?access_token={TOKEN.replace('|', '%7C')}",
    f"token {TOKEN} was refused",
    f"GET /v/t.jpg?ccb=1&oh={SIGNATURE}{TOKEN}&oe=66AA HTTP/1.1",
]


@pytest.mark.parametrize("text", REDACTED)
def test_redaction_knows_the_forms_of_a_secret(text: str) -> None:
    assert TOKEN.split("|")[2] not in redact(text)


def test_a_secret_of_another_form_is_redacted_by_name() -> None:
    assert redact("key hunter2/& and hunter2%2F%26", ("hunter2/&",)) == "key *** and ***"


def test_headers_and_token_go_to_the_services_own_origin_only(echo: Echo) -> None:
    with Echo() as other:
        service = _service(echo)
        own, foreign = service.get_json("/a"), service.get_json(f"{other.url}/a")
    assert own["authorization"] == f"OAuth {TOKEN}" and own["query"]["access_token"] == TOKEN
    assert foreign["authorization"] is None and foreign["query"] == {}


def test_a_netrc_file_does_not_replace_the_token(echo: Echo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert _service(echo).get_json("/a")["authorization"] == f"OAuth {TOKEN}"


def test_a_playback_is_not_asked_through_a_proxy(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert _service(echo).get_json("/a")["method"] == "GET"


def test_a_form_is_posted(echo: Echo) -> None:
    answer = _service(echo, "overpass").post("/a", {"data": "[out:json];"})
    assert (answer["method"], answer["form"]) == ("POST", {"data": ["[out:json];"]})


def test_an_error_survives_the_way_between_processes() -> None:
    error = StopRun("mapillary-search", "/images", "token refused", 401)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.status) == (str(error), 401)


def test_the_time_scale_can_come_from_the_environment(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRYSS_RETRY_TIME_SCALE", "0.25")
    assert Service("nvdb", echo.url).time_scale == 0.25


def test_no_more_than_the_allowed_requests_run_at_once(echo: Echo) -> None:
    service = _service(echo, "overpass", limiter=RateLimiter(60_000, burst=10, concurrent=2))
    threads = [threading.Thread(target=service.get_bytes, args=("/slow",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert echo.most_in_flight == 2
    assert echo.stage.stats()["requests"] == {"echo /slow": 8}


def _seconds_for(limiter: RateLimiter, requests: int) -> float:
    began = time.monotonic()
    for _ in range(requests):
        with limiter.slot():
            pass
    return time.monotonic() - began


def test_the_bucket_lets_a_burst_pass_and_then_the_rate() -> None:
    assert _seconds_for(RateLimiter(per_minute=60, burst=10), 10) < 0.9
    assert 0.18 < _seconds_for(RateLimiter(per_minute=3000, burst=10), 20) < 3


def test_a_share_of_the_limit_is_as_much_slower() -> None:
    assert 0.18 < _seconds_for(RateLimiter(per_minute=60_000 / 10, burst=2, share=0.5), 11) < 3


@pytest.mark.parametrize("share", [0, -1, 1.5])
def test_a_share_must_be_a_part(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        RateLimiter(60, share=share)


def test_a_service_that_is_asked_too_often_makes_every_thread_wait(echo: Echo) -> None:
    echo.stage.faults.order("application-limit", path="/first")
    service = _service(echo, time_scale=0.4)
    first = threading.Thread(target=service.get_json, args=("/first",))
    first.start()
    while not echo.stage.stats()["faults"]:
        time.sleep(0.005)
    time.sleep(0.2)
    began = time.monotonic()
    service.get_json("/second")
    assert time.monotonic() - began > 0.5
    first.join()


def test_nearly_used_nvdb_budget_pauses_the_client(echo: Echo) -> None:
    service = _service(echo, "nvdb", time_scale=0.2)
    service.get_json("/budget")
    began = time.monotonic()
    service.get_json("/a")
    assert time.monotonic() - began > 0.5
    assert service.counts.snapshot()["reasons"] == {"paused, budget nearly used": 1}
