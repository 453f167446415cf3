"""Who may see what: Airflow's login and rights stand before every route, and no path leads out of what was published."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STOP_0 = "stop 0"


def filled(made: Any, site: Any, path: str, code: str = "alfa") -> str:
    """A route's path with values that lead to something."""
    name = "verdicts" if "verdicts" in path else "objects.geojson"
    values = {
        "code": code,
        "release": site.release,
        "name": name,
        "run": made.RUN,
        "object_id": made.object_id(STOP_0),
        "image_id": "101",
    }
    told = re.sub(r"\{(\w+)\}", lambda match: values[match[1]], path)
    return f"/kryss{told}" + ("?box=600,300,680,380" if told.endswith("/crop") else "")


def routes() -> list[tuple[str, str]]:
    """Every method and path of the application that Airflow mounts."""
    from kryss_routes import make_app

    return [(method, route.path) for route in make_app().routes for method in route.methods]  # type: ignore[attr-defined]


JSON = {"Content-Type": "application/json"}


def test_the_application_has_the_routes_that_are_listed_and_no_other() -> None:
    from kryss_routes import ROUTES

    assert sorted(routes()) == sorted((method, path) for method, path, _ in ROUTES)
    assert len(routes()) == 15


def test_every_route_refuses_who_is_not_logged_in(site: Any, made: Any) -> None:
    for method, path in routes():
        asked = filled(made, site, path)
        for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Cookie": "_token=nonsense"}):
            answer = site.ask(
                None, asked, method, headers={**JSON, **headers}, data='{"verdict": "right"}' if method == "PUT" else None
            )
            if answer.status_code == 302:
                assert (
                    method == "GET"
                    and "/api/" not in asked
                    and answer.headers["location"].startswith("/api/v2/auth/login?next=%2Fkryss%2F")
                )
            else:
                assert answer.status_code == 401, (method, asked, headers, answer.status_code)
            assert site.release not in answer.text and made.object_id(STOP_0) not in answer.text


def test_data_that_a_script_asks_for_is_refused_and_not_redirected(site: Any) -> None:
    for path in (
        "/kryss/api/municipalities",
        f"/kryss/layer/alfa/{site.release}/objects.geojson",
        "/kryss/layer/alfa/latest.json",
    ):
        assert site.ask(None, path).status_code == 401
    page = f"/kryss/layer/alfa/{site.release}/index.html"
    assert site.ask(None, page).status_code == 302
    assert site.ask(None, page, headers={"Sec-Fetch-Mode": "cors"}).status_code == 401


def test_every_route_hides_a_municipality_from_who_may_not_read_its_dag(site: Any, made: Any) -> None:
    """An unknown municipality and one that is out of bounds answer alike."""
    told: dict[str, set[str]] = {}
    for method, path in routes():
        if "{code}" not in path:
            continue
        for user, code in (("reader", "beta"), ("stranger", "alfa"), ("reader", "nosuch"), ("admin", "nosuch")):
            body = '{"verdict": "right"}' if method == "PUT" else None
            answer = site.ask(user, filled(made, site, path, code), method, headers=JSON, data=body)
            assert answer.status_code == 404, (method, path, user, code, answer.text)
            told.setdefault(path, set()).add(re.sub(r"alfa|beta|nosuch", "CODE", answer.text))
    assert all(len(texts) == 1 for texts in told.values()), told


def test_the_list_holds_what_the_user_may_see(site: Any) -> None:
    def listed(user: str) -> list[str]:
        return [town["code"] for town in site.ask(user, "/kryss/api/municipalities").json()["municipalities"]]

    assert listed("admin") == ["alfa", "beta", "broken", "gamma"]
    assert listed("reader") == ["alfa"]
    assert listed("stranger") == []
    assert site.ask("stranger", "/kryss/").status_code == 200


def test_every_route_answers_who_may(site: Any, made: Any) -> None:
    for method, path in routes():
        body = '{"verdict": "right"}' if method == "PUT" else None
        answer = site.ask("admin", filled(made, site, path), method, headers=JSON, data=body)
        assert answer.status_code in (200, 302), (method, path, answer.status_code, answer.text[:300])
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]


def test_a_reader_may_look_but_not_judge(site: Any, made: Any) -> None:
    path = f"/kryss/api/alfa/qa/latest/verdicts/{made.object_id(STOP_0)}"
    assert site.ask("reader", "/kryss/api/alfa/qa/latest/objects").json()["may_judge"] is False
    for method in ("PUT", "DELETE"):
        refused = site.ask("reader", path, method, headers=JSON, data='{"verdict": "right"}')
        assert refused.status_code == 403 and "refresh_alfa" in refused.text
    assert site.ask("judge", "/kryss/api/alfa/qa/latest/objects").json()["may_judge"] is True


def test_a_change_that_another_site_asks_for_is_refused(site: Any, made: Any) -> None:
    path = f"/kryss/api/alfa/qa/latest/verdicts/{made.object_id(STOP_0)}"
    cookie = {"Cookie": f"_token={site.token('judge')}"}

    def put(headers: dict[str, str], user: str | None = None) -> int:
        return int(site.ask(user, path, "PUT", headers=headers, data='{"verdict": "right"}').status_code)

    here = {"Origin": site.url, "Sec-Fetch-Site": "same-origin"}
    assert put({**cookie, **JSON, **here}) == 200
    assert put({**cookie, **JSON, "Origin": site.url}) == 200
    assert put({**cookie, **JSON}) == 403, "a cookie alone proves nothing"
    assert put({**cookie, **JSON, "Origin": "https://evil.example"}) == 403
    assert put({**cookie, **JSON, "Origin": "null"}) == 403
    assert put({**cookie, **JSON, "Origin": site.url, "Sec-Fetch-Site": "same-site"}) == 403
    assert put({**cookie, **here, "Content-Type": "text/plain"}) == 415
    assert put({**cookie, **here, "Content-Type": "application/x-www-form-urlencoded"}) == 415
    assert put(JSON, "judge") == 200, "no browser sends a bearer token by itself"
    assert site.ask("judge", path, "DELETE", headers={**JSON}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/kryss/layer/alfa/../../secrets.json",
        "/kryss/layer/alfa/%2e%2e/secrets.json",
        "/kryss/layer/alfa/..%2f..%2fsecrets.json",
        "/kryss/layer/alfa/{release}/..%2f..%2f..%2fsecrets.json",
        "/kryss/layer/alfa/{release}/%2e%2e%2flatest.json",
        "/kryss/layer/alfa/{release}/%5c..%5clatest.json",
        "/kryss/layer/alfa/{release}/.hidden",
        "/kryss/layer/alfa/{release}/secret.txt",
        "/kryss/layer/alfa/{release}/objects.geojson%00.html",
        "/kryss/layer/alfa/{release}//objects.geojson",
        "/kryss/layer/alfa%2f..%2fbeta/latest.json",
        "/kryss/layer/..%2freleases%2falfa/latest.json",
        "/kryss/layer/alfa/2026-05-21.0/manifest.json",
        "/kryss/layer/alfa/2026-05-21.1%0a/manifest.json",
        "/kryss/report/alfa/..%2f..%2fsecrets.json",
        "/kryss/report/alfa/0123456789ABCDEF",
        "/kryss/api/alfa/reports/..%2f0123456789abcdef",
        "/kryss/api/alfa/reports/%2e%2e",
        "/kryss/api/alfa/photos/..%2fsecrets/crop?box=1,1,2,2",
        "/kryss/api/alfa/photos/%D9%A1/crop?box=1,1,2,2",
        "/kryss/api/alfa/objects/..%2f../evidence",
        "/kryss/api/alfa/objects/' OR 1=1 --/evidence",
    ],
)
def test_no_path_leads_out_of_what_was_published(site: Any, path: str) -> None:
    (site.releases / "alfa" / site.release / "secret.txt").write_text("not in the manifest")
    answer = site.ask("admin", path.format(release=site.release))
    assert answer.status_code in (404, 422), answer.text[:300]
    assert "airflow_fernet" not in answer.text and "not in the manifest" not in answer.text


def test_a_body_larger_than_any_verdict_is_not_read(site: Any, made: Any) -> None:
    path = f"/kryss/api/alfa/qa/latest/verdicts/{made.object_id(STOP_0)}"
    assert (
        site.ask("judge", path, "PUT", headers=JSON, data=json.dumps({"verdict": "right", "note": "x" * 70_000})).status_code
        == 413
    )
    for note in ("x" * 1001, 5, {"a": 1}):
        assert (
            site.ask("judge", path, "PUT", headers=JSON, data=json.dumps({"verdict": "right", "note": note})).status_code == 422
        )
    assert site.ask("judge", path, "PUT", headers=JSON, data='{"verdict": "excellent"}').status_code == 422
    assert site.ask("judge", path, "PUT", headers=JSON, data='{"verdict": "right", "judged_by": "admin"}').status_code == 422
    assert site.ask("judge", path, "PUT", headers=JSON, data="{").status_code == 422


def test_no_secret_is_in_the_log(site: Any) -> None:
    log = site.log()
    assert "request finished" in log
    for secret in (*site.passwords.values(), *site.tokens.values(), site.database_url):
        assert secret not in log
