"""The retry table says what the contracts say, every row can be reached, and every row names its source."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import get_args

import pytest

from kryss.http import RETRY_AFTER_CAP_S, Action, Answer, Rule, load_limits, load_policy, read_answer

RULES = load_policy().rules


def _service(rule: Rule) -> str:
    """A service that the row is for, and that no earlier row names more closely."""
    return {"*": "kommuneinfo", "mapillary-*": "mapillary-search", "nvdb*": "nvdb"}.get(rule.service, rule.service)


def _answer(rule: Rule) -> Answer:
    """An answer that the row was written for."""
    status = {"*": 418, "none": None, "2xx": 200, "5xx": 502}.get(rule.http_status, 0)
    return Answer(
        status=int(rule.http_status.split("|")[-1]) if status == 0 else status,
        content="other" if rule.content == "*" else rule.content,
        code=None if rule.code == "*" else int(rule.code),
        subcode=None if rule.subcode == "*" else int(rule.subcode),
        message="" if rule.message_contains == "*" else f"please {rule.message_contains} now",
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.service} {rule.reason}")
def test_every_row_can_be_reached(rule: Rule) -> None:
    assert load_policy().rule(_service(rule), _answer(rule)) == rule


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.service} {rule.reason}")
def test_every_row_names_its_source_and_can_end(rule: Rule) -> None:
    assert rule.source and rule.reason
    assert rule.action in get_args(Action)
    assert 1 <= rule.tries <= 7
    assert 0 <= rule.first_wait_s <= max(rule.max_wait_s, rule.first_wait_s) <= 300


def test_every_action_is_used_and_the_last_row_fits_everything() -> None:
    assert {rule.action for rule in RULES} == set(get_args(Action))
    assert RULES[-1].fits("anything", Answer(None, "other"))


GRAPH_ERROR = b'{"error":{"message":"%s","type":"MLYApiException","code":%d,"error_subcode":%d,"fbtrace_id":"A"}}'

CONTRACT = [
    (500, GRAPH_ERROR % (b"Invalid OAuth 2.0 Access Token", 190, 0), "stop_run"),
    (401, GRAPH_ERROR % (b"Failed to decode", 190, 0), "stop_run"),
    (400, GRAPH_ERROR % (b"Error validating application", 190, 0), "stop_run"),
    (200, GRAPH_ERROR % (b"Invalid OAuth 2.0 Access Token", 190, 0), "stop_run"),
    (401, b"<html>no</html>", "stop_run"),
    (400, GRAPH_ERROR % (b"Unsupported get request. Object with ID '1' does not exist", 100, 33), "gone"),
    (500, GRAPH_ERROR % (b"Please reduce the amount of data you're asking for, then retry", 1, 0), "split"),
    (500, GRAPH_ERROR % (b"An unknown error occurred", 1, 99), "retry"),
    (500, GRAPH_ERROR % (b"Service temporarily unavailable", 2, 0), "retry"),
    (403, GRAPH_ERROR % (b"Application request limit reached", 4, 0), "retry"),
    (429, b"slow down", "retry"),
    (503, b"<html>maintenance</html>", "retry"),
    (200, b"<html>maintenance</html>", "retry"),
    (200, b'{"data": [', "retry"),
    (404, b"nothing", "fail"),
]


@pytest.mark.parametrize(("status", "body", "action"), CONTRACT)
def test_mapillary_errors_mean_what_the_contract_says(status: int, body: bytes, action: str) -> None:
    answer = read_answer(status, body, {}, "json")
    assert load_policy().rule("mapillary-search", answer).action == action


OTHERS = [
    ("overpass", 200, b'{"elements":[],"remark":"runtime error: Query timed out in \\"query\\""}', "split", 0),
    ("overpass", 429, b"<html>", "retry", 55),
    ("overpass", 504, b"<html>", "retry", 55),
    ("overpass", 400, b"<html>parse error</html>", "fail", 0),
    ("nvdb", 429, b"", "retry", 5),
    ("nvdb", 503, b"", "retry", 2),
    ("nvdb", 400, '{"title":"Ugyldig","status":400,"detail":"X-Client må være satt"}'.encode(), "fail", 0),
]


@pytest.mark.parametrize(("service", "status", "body", "action", "wait_s"), OTHERS)
def test_road_services_mean_what_their_contracts_say(service: str, status: int, body: bytes, action: str, wait_s: float) -> None:
    rule = load_policy().rule(service, read_answer(status, body, {}, "json"))
    assert (rule.action, rule.wait_s(1)) == (action, wait_s)


def test_a_benign_overpass_remark_is_a_success() -> None:
    assert read_answer(200, b'{"elements":[],"remark":"runtime remark: hello"}', {}, "json").good


def test_mapillary_backs_off_from_5_s_to_at_most_300_s_in_7_tries() -> None:
    rule = load_policy().rule("mapillary-entity", Answer(503, "other"))
    waits = [rule.wait_s(failures) for failures in range(1, rule.tries)]
    assert waits == [5, 10, 20, 40, 80, 160]
    assert rule.wait_s(20) == 300


@pytest.mark.parametrize(("header", "wait_s"), [("20", 20), ("1", 5), ("soon", 5), ("999999", RETRY_AFTER_CAP_S)])
def test_retry_after_is_honoured_where_it_is_longer_than_the_backoff(header: str, wait_s: float) -> None:
    answer = Answer(429, "other", headers={"Retry-After": header})
    assert load_policy().rule("mapillary-search", answer).wait_s(1, answer.retry_after_s) == wait_s


def test_retry_after_may_be_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 55 < (Answer(429, "other", headers={"Retry-After": date}).retry_after_s or 0) <= 60


def test_every_limit_names_its_source_and_stays_below_what_is_published() -> None:
    limits = {limit.service: limit for limit in load_limits()}
    assert all(limit.source for limit in limits.values())
    assert limits["mapillary-entity"].per_minute + limits["mapillary-entity"].burst < 60_000
    assert limits["mapillary-search"].per_minute + limits["mapillary-search"].burst < 10_000
    assert limits["mapillary-tiles"].per_minute * 60 * 24 + limits["mapillary-tiles"].burst < 50_000
    assert limits["overpass"].concurrent == 2
