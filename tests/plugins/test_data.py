"""What the api-server hands out: files of releases as they were published, evidence with crops, reports; and what it says when
something is away or broken."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_files_come_as_they_were_published_and_may_be_kept_for_ever(site: Any) -> None:
    folder = site.releases / "alfa" / site.release
    manifest = json.loads((folder / "manifest.json").read_text())
    kinds = {
        "objects.geojson": "application/geo+json",
        "objects.geojson.gz": "application/gzip",
        "schema.json": "application/json",
    }
    for entry in manifest["files"]:
        if entry["name"] == "index.html":
            continue
        answer = site.ask("reader", f"/kryss/layer/alfa/{site.release}/{entry['name']}", headers={"Accept-Encoding": "identity"})
        assert hashlib.sha256(answer.content).hexdigest() == entry["sha256"], entry["name"]
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; sandbox")
        assert entry["name"] not in kinds or answer.headers["content-type"] == kinds[entry["name"]]
        again = site.ask(
            "reader",
            f"/kryss/layer/alfa/{site.release}/{entry['name']}",
            headers={"Accept-Encoding": "identity", "If-None-Match": answer.headers["etag"]},
        )
        assert again.status_code == 304 and not again.content
    latest = site.ask("reader", "/kryss/layer/alfa/latest.json")
    assert latest.headers["cache-control"] == "private, no-cache"
    assert latest.content == (site.releases / "alfa" / "latest.json").read_bytes()


def test_what_was_packed_already_is_sent_packed_and_unpacks_to_the_same(site: Any) -> None:
    path = f"/kryss/layer/alfa/{site.release}/objects.geojson"
    folder = site.releases / "alfa" / site.release
    packed = site.ask("reader", path, headers={"Accept-Encoding": "gzip"}, stream=True)
    assert packed.headers["content-encoding"] == "gzip" and "Accept-Encoding" in packed.headers["vary"]
    raw = packed.raw.read(decode_content=False)
    assert raw == (folder / "objects.geojson.gz").read_bytes()
    assert gzip.decompress(raw) == (folder / "objects.geojson").read_bytes()
    refused = site.ask("reader", path, headers={"Accept-Encoding": "gzip;q=0"})
    assert refused.headers["content-encoding"] == "identity"
    as_file = site.ask("reader", f"{path}.gz", headers={"Accept-Encoding": "gzip"}, stream=True)
    assert as_file.raw.read(decode_content=False) == (folder / "objects.geojson.gz").read_bytes()


def test_the_page_of_a_release_is_told_the_way_to_the_evidence(site: Any, made: Any) -> None:
    from kryss.layer import page

    stored = site.releases / "alfa" / site.release / "index.html"
    text = site.ask("reader", f"/kryss/layer/alfa/{site.release}/index.html").text
    found = page.SLOT.search(text)
    assert found is not None
    slot = json.loads(text[found.end(1) : found.start(2)])
    assert (slot["api"], slot["code"], slot["release"]) == ("/kryss/api", "alfa", site.release)
    assert "<" not in text[found.end(1) : found.start(2)], "the name of the municipality wants to be a script"
    published = json.loads(page.SLOT.search(stored.read_text()).group(0).split(">", 1)[1].rsplit("<", 1)[0])  # type: ignore[union-attr]
    assert published == {**slot, "api": None}
    assert site.ask("reader", "/kryss/layer/alfa/").headers["location"] == f"{site.release}/index.html"


def test_a_page_that_somebody_put_into_the_storage_is_not_run(site: Any) -> None:
    """Who can write to the bucket of releases is not thereby who may act as the reader in Airflow."""
    stored = site.releases / "beta" / site.release / "index.html"
    before = stored.read_bytes()
    try:
        stored.write_bytes(before.replace(b"</body>", b"<script>steal()</script></body>"))
        assert "steal()" not in site.ask("admin", f"/kryss/layer/beta/{site.release}/index.html").text
    finally:
        stored.write_bytes(before)


def test_a_page_that_somebody_added_to_a_release_does_not_run(site: Any) -> None:
    folder = site.releases / "beta" / "2020-01-02.1"
    folder.mkdir()
    files = []
    for name, body in (
        ("other.html", b"<script>steal()</script>"),
        ("more.html.gz", gzip.compress(b"<script>steal()</script>")),
        ("more.html", b""),
    ):
        (folder / name).write_bytes(body)
        files.append({"name": name, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()})
    (folder / "manifest.json").write_text(json.dumps({"schema_version": "2.0.0", "files": files}))
    for name in ("other.html", "more.html"):
        answer = site.ask("admin", f"/kryss/layer/beta/2020-01-02.1/{name}", headers={"Accept-Encoding": "gzip"})
        assert answer.status_code == 200 and "steal()" in answer.text
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox; frame-ancestors 'self'"


def test_a_page_of_schema_1_runs_in_a_box(site: Any) -> None:
    old = site.releases / "beta" / "2020-01-01.1"
    old.mkdir()
    (old / "index.html").write_text("<html>old</html>")
    manifest = {"schema_version": "1.2.0", "files": [{"name": "index.html", "bytes": 16, "sha256": "0" * 64}]}
    (old / "manifest.json").write_text(json.dumps(manifest))
    answer = site.ask("admin", "/kryss/layer/beta/2020-01-01.1/index.html")
    assert answer.text == "<html>old</html>"
    assert answer.headers["content-security-policy"].startswith("sandbox allow-scripts allow-popups;")


def test_the_evidence_of_an_object_is_its_sightings_with_crops_where_photos_are_kept(site: Any, made: Any) -> None:
    told = site.ask("reader", f"/kryss/api/alfa/objects/{made.object_id('stop 0')}/evidence").json()
    assert [one["image_key"] for one in told["sightings"]] == ["101", "102", "103", "104"], "the nearest first"
    first = told["sightings"][0]
    assert first["box"] == [600, 300, 680, 380] and (first["width"], first["height"]) == (1280, 960)
    assert first["captured_at"] == "2026-05-20T12:00:00Z" and first["range_m"] == 12.0 and first["read_as"] == made.STOP
    assert first["link"] == "https://www.mapillary.com/app/?pKey=101" and first["camera"] == [10.39, 63.4298]
    assert first["crop"] == "/kryss/api/alfa/photos/101/crop?box=600,300,680,380"
    assert told["sightings"][1]["crop"] is None, "photo 102 is not kept"
    assert (told["sightings"][3]["width"], told["sightings"][3]["height"]) == (960, 1280), "upright"
    assert told["misses"] == []


def test_a_crop_shows_the_box_in_its_surroundings(site: Any, made: Any) -> None:
    for image_id in ("101", "104"):
        answer = site.ask("reader", f"/kryss/api/alfa/photos/{image_id}/crop?box=600,300,680,380")
        assert answer.headers["content-type"] == "image/jpeg"
        pixels = np.asarray(Picture.open(io.BytesIO(answer.content)).convert("RGB")).astype(int)
        height, width, _ = pixels.shape
        assert max(height, width) <= 480
        red = (np.abs(pixels - np.array(made.SIGN_RED)).sum(axis=2) < 60).mean()
        assert 0.04 < red < 0.09, f"{image_id}: the sign is a sixteenth of the crop, not {red:.3f} of it"
        assert (np.abs(pixels - np.array([255, 210, 63])).sum(axis=2) < 90).any(), "the box is drawn"


@pytest.mark.parametrize(
    ("image_id", "box", "reason"),
    [
        ("102", "600,300,680,380", "is not there"),
        ("103", "600,300,680,380", "truncated"),
        ("999", "600,300,680,380", "has no photo 999"),
        ("101", "2000,300,2080,380", "outside the photo"),
        ("101", "680,300,600,380", "left < right"),
        ("101", "1,2,3", "left,top,right,bottom"),
        ("101", "nan,1,2,3", "left,top,right,bottom"),
        ("101", "1e400,1,2,3", "left,top,right,bottom"),
        ("101", "a,b,c,d", "left,top,right,bottom"),
    ],
)
def test_what_cannot_be_shown_says_why(site: Any, image_id: str, box: str, reason: str) -> None:
    answer = site.ask("reader", f"/kryss/api/alfa/photos/{image_id}/crop?box={box}")
    assert answer.status_code == 404 and reason in answer.json()["detail"], answer.text


def test_reports_are_listed_newest_first_and_a_broken_one_hides_no_other(site: Any, made: Any) -> None:
    listed = site.ask("reader", "/kryss/api/alfa/reports").json()["runs"]
    by_run = {run["run"]: run for run in listed}
    assert by_run[made.RUN]["release"] == site.release and by_run[made.RUN]["failed"] == 3
    assert "cannot be understood" in by_run["f" * 16]["problem"]
    report = site.ask("reader", f"/kryss/api/alfa/reports/{made.RUN}").json()
    assert report["detections"] == 73 and report["at"] == "2026-05-21T02:10:30Z"
    assert site.ask("reader", f"/kryss/report/alfa/{'a' * 16}").status_code == 404
    assert site.ask("reader", f"/kryss/api/alfa/reports/{'f' * 16}").status_code == 503


def test_storage_that_is_broken_says_so_in_plain_words(site: Any) -> None:
    towns = {town["code"]: town for town in site.ask("admin", "/kryss/api/municipalities").json()["municipalities"]}
    assert towns["gamma"]["release"] is None and towns["gamma"]["problems"] == []
    assert towns["alfa"]["release"]["release"] == site.release, "one broken municipality hides no other"
    page = site.ask("admin", "/kryss/layer/broken/")
    assert page.status_code in (404, 503) and "Traceback" not in page.text and "/dev/null" not in page.text
    assert site.ask("admin", "/kryss/layer/gamma/").status_code == 404


def test_a_manifest_that_is_no_json_is_503(site: Any) -> None:
    half = site.releases / "beta" / "2020-01-03.1"
    half.mkdir()
    (half / "manifest.json").write_text('{"files": [')
    answer = site.ask("admin", "/kryss/layer/beta/2020-01-03.1/objects.geojson")
    assert (
        answer.status_code == 503
        and answer.headers["content-type"].startswith("text/plain")
        and "cannot be understood" in answer.text
    )


def test_a_database_that_is_away_says_so_and_comes_back(site: Any, made: Any, postgis_server: Any) -> None:
    from sqlalchemy import make_url

    path = f"/kryss/api/alfa/objects/{made.object_id('stop 0')}/evidence"
    assert site.ask("reader", path).status_code == 200
    name = make_url(site.database_url).database
    postgis_server._run(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    try:
        postgis_server._run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        for asked in (path, "/kryss/api/alfa/qa/latest/objects"):
            answer = site.ask("reader", asked)
            assert answer.status_code == 503 and "does not answer" in answer.json()["detail"]
            assert "psycopg2" not in answer.text and str(name) not in answer.text
        assert site.ask("reader", f"/kryss/layer/alfa/{site.release}/objects.geojson").status_code == 200, (
            "files need no database"
        )
    finally:
        postgis_server._run(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert site.ask("reader", path).status_code == 200
