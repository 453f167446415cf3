"""Data that nobody should publish, and servers that answer oddly: the page says so in plain words and harms nothing."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

NAME = "2026-05-22.1"
ATTACK = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>\u2028"
HERE = (10.4, 63.43)


def notices(page: Any) -> str:
    return page.locator("#notices").inner_text()


def one(made: Any, **given: Any) -> tuple[list[Any], list[Any]]:
    return [made.sign(HERE, **given)], [made.junction(HERE)]


def test_markup_in_properties_is_only_text(visit, made, root):
    key = ATTACK[:60]
    objects, places = one(made, **{"class": ATTACK}, id=key, image_url="javascript:window.hacked=1", method=ATTACK, model=ATTACK)
    objects[0] |= {"evidence": ["javascript:window.hacked=1", ATTACK], "history": [{"class": ATTACK, "reason": ATTACK}, None, 7]}
    places[0] |= {"name": ATTACK, "kind": ATTACK, "source": ATTACK}
    odd = made.change("added", None, {**objects[0], "class": ATTACK}, ATTACK, ATTACK)
    folder = made.write(root / "attack", NAME, objects, places, previous=ATTACK, changes=made.changes_of([odd]), town=ATTACK)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sources"] = [{"title": ATTACK, "attribution": ATTACK, "licence": ATTACK, "url": "javascript:window.hacked=1"}]
    manifest["image_url"] = "javascript:{key}"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    page = visit(f"attack/{NAME}")
    for tab in ("About", "Changes", "Intersections", "Objects"):
        page.get_by_role("tab", name=tab).click()
    page.locator("#rows .row").click()
    page.wait_for_selector("#detail .photos")
    page.get_by_role("button", name="</script>").first.click()
    assert page.evaluate("window.hacked ?? null") is None
    assert page.locator("script").count() == 3
    assert page.locator("a[href^='javascript:' i]").count() == 0
    assert page.locator("img:not(.sign)").count() == 0


def test_texts_of_10_kb_do_not_break_the_page(visit, made, root):
    objects, places = one(made, **{"class": "x" * 10_000}, id="y" * 10_000, model="m" * 10_000, evidence=["e" * 10_000] * 300)
    places[0]["name"] = "n" * 10_000
    made.write(root / "long", NAME, objects, places, town="t" * 10_000, changes=made.changes_of([]))
    page = visit(f"long/{NAME}")
    page.locator("#rows .row").click()
    page.wait_for_selector("#detail .message, #detail .photos")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert page.locator("#side").bounding_box()["width"] == 392
    assert page.evaluate("document.querySelector('#detail').scrollWidth <= document.querySelector('#detail').clientWidth")
    assert len(page.locator("#detail h2").inner_text()) <= 120


def test_values_that_are_missing_or_of_another_kind_are_left_out(visit, made, root, until):
    bare = {"id": "bare", "place": HERE, "intersection_id": None, "class": None, "status": None}
    odd = made.sign(made.offset(HERE, 20, 0), id="odd")
    odd |= {"error_radius_m": "wide", "facing_deg": [], "valid_time": 5, "first_seen_at": 7}
    odd |= {"height_m": {}, "standing_probability": None, "evidence": None, "missed_in": 3, "history": "no", "absences": {}}
    made.write(
        root / "bare", NAME, [bare, odd], [made.junction(HERE, id="None", roads=[], name=None)], changes=made.changes_of([])
    )
    page = visit(f"bare/{NAME}")
    assert page.locator("#found").inner_text() == "2 objects"
    for key in ("bare", "odd"):
        page.goto(page.url.split("#")[0] + f"#object={key}")
        until(page, f"document.querySelector('#detail').textContent.includes('{key}')")
        text = page.locator("#detail").inner_text()
        assert "NaN" not in text
        assert "undefined" not in text
        assert "null" not in text


def test_an_empty_release_says_that_it_is_empty(visit, made, root):
    made.write(root / "empty", NAME, [], [], changes=made.changes_of([]))
    page = visit(f"empty/{NAME}")
    assert "No signs or lights were found" in page.locator("#rows").inner_text()
    assert page.locator("#clock").is_hidden()
    page.get_by_role("tab", name="Intersections").click()
    assert "holds no intersections" in page.locator("#rows").inner_text()
    page.get_by_role("button", name="Show everything").click()
    assert notices(page) == ""


def test_one_object_is_shown_near(visit, made, root):
    made.write(root / "one", NAME, *one(made), changes=made.changes_of([]))
    page = visit(f"one/{NAME}")
    assert page.locator("#found").inner_text() == "1 object"
    assert page.evaluate("kryss.map.getZoom()") > 15
    assert page.evaluate("kryss.map.getCenter().lng") == pytest.approx(10.4, abs=1e-3)


def test_objects_on_both_sides_of_180_degrees_are_neighbours(visit, made, root):
    places = [made.junction((179.999, -17.0), id="a"), made.junction((-179.999, -17.0), id="b")]
    objects = [
        made.sign((179.999, -17.0), intersection_id="a", id="west"),
        made.sign((-179.999, -17.0), intersection_id="b", id="east"),
    ]
    made.write(root / "180", NAME, objects, places, changes=made.changes_of([]))
    page = visit(f"180/{NAME}")
    assert page.evaluate("kryss.map.getZoom()") > 14
    page.evaluate("kryss.map.jumpTo({center: [180, -17], zoom: 18})")
    page.wait_for_timeout(300)
    for lon in (179.999, 180.001):
        x, y = page.evaluate(f"(() => {{ const p = kryss.map.project([{lon}, -17]); return [p.x, p.y + 53]; }})()")
        page.mouse.move(x, y - 27)
        page.wait_for_timeout(150)
        assert page.evaluate("kryss.map.getCanvas().style.cursor") == "pointer", lon


def test_without_changes_the_rest_works(visit, made, root):
    made.write(root / "alone", NAME, *one(made), previous="2025-01-01.1")
    page = visit(f"alone/{NAME}", "#tab=changes", allowed=("404",))
    page.wait_for_selector("#compared .message")
    assert "changes.geojson is not there (HTTP 404)" in page.locator("#compared").inner_text()
    page.get_by_role("tab", name="Objects").click()
    assert page.locator("#found").inner_text() == "1 object"


def test_a_release_to_compare_with_may_be_gone(visit, made, root):
    made.write(root / "gone", NAME, *one(made), changes=made.changes_of([]))
    page = visit(f"gone/{NAME}", "#tab=changes&against=2020-01-01.1", allowed=("404",))
    page.wait_for_selector("#compared .message")
    assert (
        "The changes since 2020-01-01.1 cannot be shown: objects.geojson is not there" in page.locator("#compared").inner_text()
    )


def test_a_broken_line_is_counted_and_passed_over(visit, made, root):
    objects, places = made.many(30)
    folder = made.write(root / "broken", NAME, objects, places, changes=made.changes_of([]))
    (folder / "objects.geojson.gz").unlink()
    lines = (folder / "objects.geojson").read_text().split("\n")
    lines[5], lines[9] = lines[5][:100], ',{"type":"Feature","id":"q","geometry":null,"properties":{}}'
    (folder / "objects.geojson").write_text("\n".join(lines))
    page = visit(f"broken/{NAME}", allowed=("404",))
    assert "2 lines of objects.geojson could not be read; the others are shown." in notices(page)
    assert page.locator("#found").inner_text() == "28 objects"


def test_a_packed_file_that_breaks_off_gives_way_to_the_plain_one(visit, made, root):
    folder = made.write(root / "torn", NAME, *made.many(300), changes=made.changes_of([]))
    packed = folder / "objects.geojson.gz"
    packed.write_bytes(packed.read_bytes()[:5_000])
    page = visit(f"torn/{NAME}")
    assert page.locator("#found").inner_text() == "300 objects"


def test_a_file_that_is_no_layer_is_refused_in_words(visit, made, root, site):
    folder = made.write(root / "login", NAME, *one(made), plain=False, changes=made.changes_of([]))
    (folder / "objects.geojson.gz").write_bytes(gzip.compress(b"<html>Please log in</html>"))
    page = visit(f"login/{NAME}", ready=False, allowed=("404",))
    page.wait_for_selector("#notice-objects")
    assert "The objects cannot be shown: objects.geojson.gz is no layer of Kryss." in notices(page)


@pytest.mark.parametrize("how", ["packed and said so", "packed and not said so", "plain only"])
def test_servers_may_unpack_on_the_way(visit, made, root, site, how):
    shelf = "served-" + how.replace(" ", "-")
    folder = made.write(root / shelf, NAME, *made.many(50), changes=made.changes_of([]))
    for file in sorted(folder.glob("*.gz")):
        if how == "packed and said so":
            headers = {"Content-Type": "application/geo+json", "Content-Encoding": "gzip"}
            site.answers[f"/{shelf}/{NAME}/{file.name}"] = (200, headers, file.read_bytes())
        elif how == "plain only":
            file.unlink()
    page = visit(f"{shelf}/{NAME}", allowed=("404",))
    assert page.locator("#found").inner_text() == "50 objects"
    page.locator("#rows .row").first.click()
    page.wait_for_selector("#detail .photos")


def test_opened_as_a_file_it_says_what_to_do(visit, root):
    page = visit(Path(root / "9901" / NAME / "index.html").as_uri(), ready=False)
    page.wait_for_selector("#notice-file")
    assert "python3 -m http.server" in notices(page)


def test_a_class_without_a_picture_gets_a_drawn_sign(visit, made, root, until):
    unknown = ("warning--dragons--g9", "__proto__", "object--traffic-light", "information--x")
    objects = [made.sign(made.offset(HERE, 9 * k, 0), id=str(k), **{"class": name}) for k, name in enumerate(unknown)]
    made.write(root / "unknown", NAME, objects, [made.junction(HERE)], changes=made.changes_of([]))
    page = visit(f"unknown/{NAME}")
    until(page, "[...document.querySelectorAll('#rows img.sign')].every(i => i.complete && i.naturalWidth > 0)")
    assert page.locator("#rows img.sign").count() == 4


def test_many_at_one_place_are_counted(visit, made, root):
    objects = [made.sign(HERE, id=f"o{k}") for k in range(500)]
    made.write(root / "pile", NAME, objects, [made.junction(HERE)], changes=made.changes_of([]))
    page = visit(f"pile/{NAME}")
    assert page.locator("#rows .row").count() == 200
    page.get_by_role("button", name="Show 200 more").click()
    assert page.locator("#rows .row").count() == 400


def test_only_a_configured_basemap_is_asked(visit, made, root, site):
    base = site.url.replace("127.0.0.1", "localhost")
    made.write(root / "based", NAME, *one(made), basemap_url=base + "/tiles/{z}/{x}/{y}.png", changes=made.changes_of([]))
    page = visit(f"based/{NAME}", allowed=("localhost", "404", "CORS", "Failed to load", "AJAXError", "Failed to fetch"))
    page.wait_for_timeout(500)
    assert any(path.startswith("/tiles/") for path in site.asked)
