"""A real api-server with the plugin, logins of four people, and a little town that was published, on a real PostGIS."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest
import requests
import yaml
from PIL import Image as Picture
from PIL import ImageDraw

from kryss.imagery import PhotoStore
from kryss.layer.release import Inputs, publish, sizes_of
from kryss.layer.storage import Shelf
from kryss.model import Detection, Image, Intersection, Municipality, PhotoResult, Pose, Sighting, StreetObject
from kryss.pipeline.state import State
from kryss.services import ROOT, airflow, ports, processes
from kryss.services.postgres import Database
from kryss.store import Store, open_store

MODEL = "signs@1"
NOON = datetime(2026, 5, 20, 12, 0, tzinfo=UTC)
STOP, LIGHT = "regulatory--stop--g1", "object--traffic-light--general-upright"
HOSTILE = 'regulatory--"><img src=x onerror="window.hurt=1"><script>window.hurt=1</script>--g1'
NAME = "Ålfa <script>window.hurt=1</script>"
BOX = (600.0, 300.0, 680.0, 380.0)
LON, LAT = 10.39, 63.43
SIGN_RED = (200, 16, 32)


def object_id(key: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"plugins {key}"))


def photo(size: tuple[int, int] = (1280, 960), box: tuple[float, float, float, float] = BOX, orientation: int = 1) -> bytes:
    """A grey street with a red sign in the box; turned as a camera that lay on its side would have stored it."""
    picture = Picture.new("RGB", size, (120, 124, 130))
    ImageDraw.Draw(picture).rectangle(box, fill=SIGN_RED)
    if orientation == 6:
        picture = picture.transpose(Picture.Transpose.ROTATE_90)
    exif = Picture.Exif()
    exif[0x0112] = orientation
    body = io.BytesIO()
    picture.save(body, "JPEG", quality=92, exif=exif)
    return body.getvalue()


def _images() -> list[Image]:
    pose = Pose("sfm", LON, LAT - 0.0002, heading_deg=0.0)
    plain = {"gps": None, "sfm": pose}
    return [
        Image("101", "s1", NOON, 1280, 960, **plain),
        Image("102", "s1", NOON + timedelta(seconds=1), 1280, 960, **plain),
        Image("103", "s1", NOON + timedelta(seconds=2), 1280, 960, **plain),
        Image("104", "s2", NOON + timedelta(seconds=3), 1280, 960, exif_orientation=6, **plain),
    ]


def _sightings(images: list[Image]) -> tuple[list[Detection], list[Sighting]]:
    detections, sightings = [], []
    for number, image in enumerate(images):
        found = Detection(image.id, MODEL, 0, STOP, 0.9 - number / 100, BOX)
        detections.append(found)
        sightings.append(
            Sighting(
                image_id=image.id,
                model_key=MODEL,
                ordinal=0,
                sequence_id=image.sequence_id,
                captured_at=image.captured_at,
                class_name=STOP,
                score=found.score,
                camera_lon=LON,
                camera_lat=LAT - 0.0002,
                camera_sigma_m=1.0,
                pose_origin="sfm",
                bearing_deg=0.0,
                bearing_sigma_deg=1.0,
                range_m=12.0 + number,
                range_sigma_m=1.0,
                method="known-size",
                lon=LON,
                lat=LAT,
                covariance=(1.0, 0.0, 1.0),
            )
        )
    return detections, sightings


def sign(key: str, class_name: str = STOP, **changes: Any) -> StreetObject:
    """An object at the junction that the four photos show."""
    told: dict[str, Any] = {
        "id": object_id(key),
        "class_name": class_name,
        "lon": LON + (int(object_id(key)[:4], 16) - 32768) / 1e9,
        "lat": LAT,
        "covariance": (1.0, 0.0, 1.0),
        "error_radius_m": 2.45,
        "first_seen_at": NOON,
        "last_seen_at": NOON + timedelta(seconds=3),
        "status": "standing",
        "standing_probability": 0.97,
        "ended_at": None,
        "evidence": (("101", 0), ("102", 0), ("103", 0), ("104", 0)),
        "model_key": MODEL,
        "method": "known-size",
    }
    return StreetObject(**{**told, **changes})


def objects() -> list[StreetObject]:
    """Eight lights, three stop signs, one of a class that wants to be markup, one unconfirmed, one that has gone."""
    gone = {"status": "ended", "ended_at": NOON + timedelta(days=9), "standing_probability": 0.01}
    return [
        *(sign(f"light {n}", LIGHT) for n in range(8)),
        *(sign(f"stop {n}") for n in range(3)),
        sign("hostile", HOSTILE),
        sign("maybe", STOP, status="unconfirmed"),
        sign("gone", STOP, **gone),
    ]


def junction() -> Intersection:
    h = 0.001
    area = tuple((LON + x * h, LAT + y * h) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)))
    return Intersection("nvdb:1", "nvdb", LON, LAT, 50.0, area, name="Storgata × <b>Kirkegata</b>", kind="crossroads", arms=4)


def _town(code: str, name: str) -> Municipality:
    ring = [[10.3, 63.4], [10.5, 63.4], [10.5, 63.5], [10.3, 63.5], [10.3, 63.4]]
    return Municipality(code, name, "NO", {"type": "Polygon", "coordinates": [ring]})


def believe(store: Store, code: str, name: str, believed: list[StreetObject]) -> None:
    images = _images()
    detections, sightings = _sightings(images)
    with store.transaction(code) as tx:
        tx.upsert_municipality(_town(code, name))
        tx.load(
            model_key=MODEL,
            images=images,
            results=[PhotoResult(image.id, "ok", None, 1) for image in images],
            detections=detections,
            sightings=sightings,
        )
        tx.write_intersections(code, [junction()])
        tx.write_objects(code, believed, reasons={one.id: "street" for one in believed})
        tx.write_assignments(code, {one.id: "nvdb:1" for one in believed})


def publish_town(store: Store, root: str, code: str, name: str, day: date) -> str:
    """Publishes what is believed, as the export does; returns the release's name."""
    inputs = Inputs(model=MODEL, code_version="0.1.0", photos=4, photos_until=NOON, photos_by_model={MODEL: 4})
    shelf = Shelf(root, code)
    with shelf.writing(), store.snapshot() as reader:
        rows = reader.layer(code, sizes=sizes_of(inputs.region), image_url=inputs.image_url)

        def record(release: Any, told: dict[str, Any]) -> None:
            with store.transaction(code) as tx:
                tx.record_release(release, told, rows.known)

        return str(
            publish(rows, shelf, _town(code, name), day, inputs, record=record, since=reader.release_instants(code)).release.name
        )


REPORT = {
    "stage": "report",
    "code": "alfa",
    "name": NAME,
    "kind": "refresh",
    "began_at": "2026-05-21T02:00:00Z",
    "ended_at": "2026-05-21T02:10:30Z",
    "model": MODEL,
    "photos": {
        "seen": 50,
        "new": 26,
        "malformed": {"no captured_at": 1},
        "failed": {"<img src=x onerror='window.hurt=1'>": 2},
        "not_listed": {},
        "removed": {},
        "barred": 0,
    },
    "takedown": {},
    "poses_rejected": {"gps: frozen": 3},
    "photos_placed_again": 4,
    "boxes_not_placed": {"behind the camera": 2},
    "detections": 73,
    "sightings": 71,
    "sightings_dropped": {"never repeats": 5},
    "depth": [],
    "objects": {"new": 3, "changed": 10, "ended": 2, "withdrawn": 0, "unchanged": 7},
    "reasons": {"evidence": 11, "street": 4},
    "lineage": {},
    "objects_total": 22,
    "intersections": 1,
    "objects_assigned": 14,
    "release_unchanged": False,
    "changes": [f"sign {n} is new <script>window.hurt=1</script>" for n in range(30)] + ["x" * 10_000],
    "seconds": {"discover": 1.0, "detect": 600.0, "merge": 3.5, "export": 1.0},
    "wall_seconds": {"discover": 1.0, "detect": 300.0, "merge": 3.5, "export": 1.0},
    "missing": [],
}
RUN = "0123456789abcdef"


@dataclass
class Site:
    """An api-server that serves the plugin, and what it serves."""

    url: str
    store: Store
    home: Path
    release: str
    passwords: dict[str, str] = field(repr=False)
    database_url: str = field(repr=False)
    tokens: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def releases(self) -> Path:
        return self.home / "releases"

    def token(self, user: str) -> str:
        if user not in self.tokens:
            body = {"username": user, "password": self.passwords[user]}
            answer = requests.post(f"{self.url}/auth/token", json=body, timeout=60)
            answer.raise_for_status()
            self.tokens[user] = str(answer.json()["access_token"])
        return self.tokens[user]

    def ask(self, user: str | None, path: str, method: str = "GET", **options: Any) -> requests.Response:
        """One request with a bearer token, or none; the path goes out as it is written."""
        stream = options.pop("stream", False)
        headers = {**({"Authorization": f"Bearer {self.token(user)}"} if user else {}), **options.pop("headers", {})}
        prepared = requests.Request(method, self.url, headers=headers, **options).prepare()
        prepared.url = f"{self.url}{path}"
        with requests.Session() as session:
            session.trust_env = False
            return session.send(prepared, allow_redirects=False, stream=stream, timeout=60)

    def log(self) -> str:
        return processes.log_file(self.home, "airflow-api-server").read_text(errors="replace")


PEOPLE = """
import json, sys
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
passwords = json.load(sys.stdin)
rights = {
    "reader": [("can_read", "DAG:refresh_alfa")],
    "judge": [("can_read", "DAG:refresh_alfa"), ("can_edit", "DAG:refresh_alfa"), ("can_create", "DAG Runs")],
    "stranger": [("can_read", "DAG:refresh_other")],
}
with get_application_builder() as builder:
    people = builder.sm
    for name, allowed in rights.items():
        role = people.add_role(name.capitalize() + "s")
        for right in [*allowed, ("can_read", "Website"), ("menu_access", "DAGs"), ("can_read", "Plugins")]:
            people.add_permission_to_role(role, people.create_permission(*right))
        assert people.add_user(name, name, "Test", name + "@localhost", role, password=passwords[name])
    assert people.add_user("admin", "admin", "Test", "admin@localhost", people.find_role("Admin"), password=passwords["admin"])
"""


def _write_town(home: Path, store: Store) -> str:
    release = ""
    for code, name in (("alfa", NAME), ("beta", "Beta")):
        believe(store, code, name, objects())
        release = publish_town(store, f"file://{home}/releases", code, name, date(2026, 5, 21))
    photos = PhotoStore(f"file://{home}/photos")
    photos.put("101", photo())
    photos.put("103", photo()[:5000])
    photos.put("104", photo((960, 1280), orientation=6))
    state = State(f"file://{home}/state")
    for code in ("alfa", "beta"):
        state.write_json(
            f"runs/{code}/{RUN}/report.json", {**REPORT, "code": code, "release": release, "run": f"refresh_{code}/scheduled__1"}
        )
    state.write_bytes(f"runs/alfa/{'f' * 16}/report.json", b"{ this is no JSON")
    return release


@contextmanager
def served(home: Path, postgis_server: Any, template: str) -> Iterator[Site]:
    """The town published under ``home``, and an api-server with the login manager that production has."""
    home.mkdir(parents=True)
    database, metadata = postgis_server.create_database(template), postgis_server.create_database()
    store = open_store(database)
    release = _write_town(home, store)
    entries = [{"code": "alfa", "name": NAME}, {"code": "beta", "name": "Beta"}, {"code": "gamma", "name": "Gamma"}]
    entries.append({"code": "broken", "name": "Broken", "release_url": "file:///dev/null"})
    (home / "municipalities.yaml").write_text(yaml.safe_dump({"municipalities": entries}))
    (home / "airflow").mkdir()
    ports.claim_port(home / "airflow" / "port", 28300)
    passwords = {name: os.urandom(9).hex() for name in ("admin", "reader", "judge", "stranger")}
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("KRYSS_", "AIRFLOW"))}
    manager = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
    env = airflow.airflow_environment(
        home, Database(database, metadata, "test", False), {**clean, "AIRFLOW__CORE__AUTH_MANAGER": manager}
    )
    env |= {"KRYSS_MUNICIPALITIES": str(home / "municipalities.yaml"), "AIRFLOW__API__ENABLE_SWAGGER_UI": "False"}
    try:
        for command, given in ((["-m", "airflow", "db", "migrate"], ""), (["-c", PEOPLE], json.dumps(passwords))):
            done = subprocess.run([sys.executable, *command], env=env, input=given, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-3000:]
        processes.start(
            home, "airflow-api-server", [sys.executable, "-m", "airflow", "api-server"], env=env, cwd=home / "airflow"
        )
        url = env["AIRFLOW__API__BASE_URL"]
        deadline = time.monotonic() + 180
        while airflow.AirflowClient(url, "").health() is None:
            assert time.monotonic() < deadline and processes.running(home, "airflow-api-server"), processes.tail(
                processes.log_file(home, "airflow-api-server"), 40
            )
            time.sleep(0.3)
        yield Site(url, store, home, release, passwords, database)
    finally:
        processes.stop(home, "airflow-api-server")
        for one in (database, metadata):
            postgis_server.drop_database(one)


@pytest.fixture(scope="session")
def site(postgis_server: Any, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One api-server for all tests; they leave what was published as it is."""
    with served(tmp_path_factory.mktemp("site") / "home", postgis_server, migrated_template) as running:
        yield running


@pytest.fixture(scope="session")
def made() -> Any:
    """Builders and constants of the little town."""
    return SimpleNamespace(**{name: value for name, value in globals().items() if not name.startswith("_")}, root=ROOT)


@pytest.fixture
def alfa(store: Store, made: Any, tmp_path: Path) -> Callable[..., str]:
    """Publishes what is given as alfa's next release in this test's own database; returns its name."""

    def next_release(believed: list[StreetObject], day: date = date(2026, 5, 21)) -> str:
        believe(store, "alfa", "Alfa", believed)
        return publish_town(store, f"file://{tmp_path}/releases", "alfa", "Alfa", day)

    return next_release
