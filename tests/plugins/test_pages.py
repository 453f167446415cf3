"""What people do on the pages in Airflow, in a real Chromium: log in and come back, look at evidence, judge, read a report."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
]
READY = "main:not([aria-busy])"
OTHER = "(id) => document.querySelector('[data-object]')?.dataset.object !== id"
"""Whether another object than this is asked about, or none any more."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any, site: Any) -> Iterator[Any]:
    """Opens a page as somebody; afterwards nothing went wrong in it, and it asked no other host for anything."""
    contexts, faults = [], []

    def elsewhere(asked: Any) -> bool:
        """Whether a page of ours asks another host; the login page is Airflow's."""
        own = asked.frame.url.startswith(f"{site.url}/kryss") and not asked.is_navigation_request()
        return own and not asked.url.startswith((site.url, "data:", "blob:"))

    def open_page(user: str | None, path: str, **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        if user:
            context.add_cookies([{"name": "_token", "value": site.token(user), "url": site.url}])
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: faults.append(str(error)) if page.url.startswith(f"{site.url}/kryss") else None)
        page.on(
            "request", lambda asked: faults.append(asked.url) if not asked.url.startswith((site.url, "data:", "blob:")) else None
        )
        page.goto(f"{site.url}{path}")
        return page

    yield open_page
    for context in contexts:
        for page in context.pages:
            assert page.evaluate("window.hurt") is None, "a property of the data became a script"
        context.close()
    assert faults == []


def test_who_is_not_logged_in_logs_in_and_comes_back(visit: Any, site: Any) -> None:
    page = visit(None, "/kryss/qa/alfa")
    page.wait_for_url("**/auth/login/**")
    page.fill("input[name=username]", "judge")
    page.fill("input[name=password]", site.passwords["judge"])
    page.press("input[name=password]", "Enter")
    page.wait_for_url("**/kryss/qa/alfa")
    page.wait_for_selector(READY)
    assert page.locator(".question h2").inner_text().endswith("?")


def test_the_home_page_lists_what_was_published(visit: Any, site: Any, made: Any) -> None:
    page = visit("admin", "/kryss/")
    page.wait_for_selector(READY)
    card = page.locator("[data-code=alfa]")
    assert card.locator("h2").inner_text() == made.NAME, "a name that wants to be a script is a name"
    assert site.release in card.inner_text() and "12" in card.locator(".figures").inner_text()
    assert page.locator("[data-code=gamma]").inner_text().startswith("Gamma")
    card.locator("a.main").click()
    page.wait_for_url(f"**/kryss/layer/alfa/{site.release}/index.html*")


def test_the_navigation_of_airflow_opens_it(visit: Any) -> None:
    page = visit("admin", "/")
    page.get_by_role("link", name="Kryss").or_(page.get_by_role("button", name="Kryss")).first.click()
    frame = page.frame_locator("iframe[title=Kryss]")
    frame.locator("[data-code=alfa]").wait_for()
    page.wait_for_url("**/plugin/kryss/**")
    frame.locator("[data-code=alfa] .ways a", has_text="Quality").click()
    frame.locator(".crop img").first.wait_for()


def test_links_out_of_the_frame_open_although_its_sandbox_allows_no_tab(visit: Any) -> None:
    page = visit("admin", "/plugin/kryss/kryss/qa/beta")
    frame = page.frame_locator("iframe[title=Kryss]")
    frame.locator(".crop img").first.wait_for()
    page.context.route("https://www.mapillary.com/**", lambda route: route.fulfill(body="a photo"))
    with page.context.expect_page() as opened:
        frame.locator("figcaption a").first.click()
    assert opened.value.url.startswith("https://www.mapillary.com/app/?pKey=")
    opened.value.close()


def test_the_map_of_a_release_shows_crops_of_an_object(visit: Any, site: Any, made: Any) -> None:
    page = visit("reader", f"/kryss/layer/alfa/{site.release}/index.html#object={made.object_id('stop 0')}")
    crop = page.locator('img[src*="/photos/101/crop?box="]').first
    crop.wait_for()
    assert crop.evaluate("(one) => one.decode().then(() => one.naturalWidth)") > 100


def test_verdicts_by_key_land_in_the_database_and_can_be_taken_back(visit: Any, site: Any, made: Any) -> None:
    def kept() -> dict[str, tuple[str, str | None]]:
        from kryss.store import verdicts

        with site.store._engine.begin() as connection:
            found = verdicts.judgements(connection, "beta", site.release)
        return {one.object_id: (one.verdict, one.note) for one in found if one.judged_by == "admin"}

    page = visit("admin", "/kryss/qa/beta")
    page.wait_for_selector(READY)
    current = lambda: page.locator("[data-object]").get_attribute("data-object")  # noqa: E731 - it is asked again and again
    first = current()
    page.locator(".crop img").first.wait_for()
    assert page.locator(".map circle.camera").count() == 4
    page.keyboard.press("n")
    page.keyboard.type("rwu z <b>")
    page.keyboard.press("Enter")
    assert kept() == {}, "keys in the note are text"
    page.keyboard.press("r")
    page.wait_for_function(OTHER, arg=first)
    second = current()
    assert kept() == {first: ("right", "rwu z <b>")}
    page.keyboard.press("w")
    page.wait_for_function(OTHER, arg=second)
    third = current()
    page.get_by_role("button", name="Unsure").click()
    page.wait_for_function(OTHER, arg=third)
    assert {key: verdict for key, (verdict, _) in kept().items()} == {first: "right", second: "wrong", third: "unsure"}
    page.locator("#precision", has_text="3 judged objects").wait_for()
    page.keyboard.press("z")
    page.wait_for_function("(id) => document.querySelector('[data-object]').dataset.object === id", arg=third)
    assert set(kept()) == {first, second}
    while page.locator("[data-object]").count():
        before = current()
        page.keyboard.press("r")
        page.wait_for_function(OTHER, arg=before)
    assert "Nothing is left to judge" in page.locator("#task").inner_text()
    assert len(kept()) == 12
    page.locator("#precision", has_text="12 judged objects").wait_for()


def test_the_precision_that_is_shown_is_the_one_of_the_verdicts(visit: Any, site: Any, made: Any) -> None:
    from scipy.stats import binomtest

    for number in range(8):
        path = f"/kryss/api/alfa/qa/latest/verdicts/{made.object_id(f'light {number}')}"
        body = '{"verdict": "%s"}' % ("wrong" if number == 0 else "right")
        assert site.ask("judge", path, "PUT", headers={"Content-Type": "application/json"}, data=body).status_code == 200
    told = site.ask("reader", "/kryss/api/alfa/qa/latest/precision").json()
    lights = next(line for line in told["classes"] if line["class"] == made.LIGHT)
    interval = binomtest(7, 8).proportion_ci(method="wilson")
    assert (lights["precision"], lights["low"], lights["high"]) == (0.875, round(interval.low, 4), round(interval.high, 4))
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.5291, 0.9776), "Wilson, 7 of 8"
    page = visit("reader", "/kryss/qa/alfa")
    page.wait_for_selector(READY)
    assert "right to trigger refresh_alfa" in page.locator("main").inner_text()
    assert page.get_by_role("button", name="Right").is_disabled()
    row = page.locator(f'tr[data-class="{made.LIGHT}"]').inner_text()
    assert "88 %" in row and "53 % to 98 %" in row


def test_what_waits_for_a_verdict_is_told_with_what_it_does_to_the_intervals(visit: Any, site: Any, made: Any) -> None:
    page = visit("reader", "/kryss/qa/alfa")

    def unsettled(route: Any) -> None:
        answer = route.fetch()
        told = answer.json()
        told["overall"] |= {"waiting": 3, "precision": 0.9, "low": 0.5, "high": 1.0}
        route.fulfill(response=answer, json=told)

    page.wait_for_selector(READY)
    assert page.locator("#waiting").count() == 0
    page.route("**/precision?*", unsettled)
    page.reload()
    page.wait_for_selector(READY)
    assert "3 objects of the sample changed or came since it was judged" in page.locator("#waiting").inner_text()


def test_the_report_tells_what_was_lost_and_why(visit: Any, site: Any, made: Any) -> None:
    page = visit("reader", f"/kryss/report/alfa/{made.RUN}")
    page.wait_for_selector(READY)
    text = page.locator("main").inner_text()
    assert "Published" in text and "10 min 30 s from begin to end" in text
    rejected = page.locator("#rejected").inner_text()
    assert "<img src=x onerror='window.hurt=1'>" in rejected and "behind the camera" in rejected and "frozen" in rejected
    assert "5 min 0 s" in page.locator("#times").inner_text()
    page.get_by_role("button", name="Show 19 more").click()
    assert page.locator("#release li").count() == 31
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "10 kB of one word do not widen the page"
    assert page.locator("#runs option").count() == 2
    page.locator("#release a").first.click()
    page.wait_for_url(f"**/kryss/layer/alfa/{site.release}/index.html*")


@pytest.mark.parametrize("path", ["/kryss/", "/kryss/report/alfa/latest", "/kryss/qa/alfa"])
def test_every_page_fits_a_phone_in_the_dark_and_can_be_used_by_keyboard(visit: Any, site: Any, made: Any, path: str) -> None:
    path = path.replace("latest", made.RUN)
    page = visit("admin", path, viewport={"width": 360, "height": 740}, color_scheme="dark")
    page.wait_for_selector(READY)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    axe = made.root / "include/kryss/layer/web/node_modules/axe-core/axe.min.js"
    if axe.exists():
        page.evaluate(axe.read_text())
        found = page.evaluate("axe.run().then((told) => told.violations.map((one) => `${one.id}: ${one.nodes[0].html}`))")
        assert found == []
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.outerHTML"))
    wanted = page.evaluate(
        "[...document.querySelectorAll('a[href], button:not(:disabled), select, input:not(:disabled)')].length"
    )
    assert len(reached - {"<body></body>"}) >= min(wanted, 55)


def test_a_page_whose_login_has_ended_says_so(visit: Any) -> None:
    page = visit("admin", "/kryss/qa/beta")
    page.wait_for_selector(READY)
    page.context.clear_cookies()
    page.reload()
    page.wait_for_url("**/auth/login/**")
