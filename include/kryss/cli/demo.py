"""``./kryss demo``: a recorded area played through Airflow, epoch by epoch, to dated releases.

The recorded area gets its own municipality (``demo-<code>``), so that a demo never touches real data, and starts from nothing
every time: its rows, photos and releases of an earlier demo are removed first.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import requests
import yaml

from kryss.cli.refresh import refresh_through_airflow
from kryss.config import Settings
from kryss.demo.area import RecordedArea, load_area
from kryss.demo.record import ATTRIBUTION as MAPILLARY_ATTRIBUTION
from kryss.imagery import PhotoStore
from kryss.pipeline.run import short_hash
from kryss.pipeline.state import State
from kryss.services import ServiceError, airflow, control, processes
from kryss.services.airflow import Airflow
from kryss.store import open_store

TOWN = Path(__file__).resolve().parents[1] / "demo" / "areas" / "town"


@dataclass
class StopWatch:
    """Says what is under way, and how long each stage took."""

    taken: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        print(f"==> {name}", flush=True)
        begin = time.perf_counter()
        yield
        self.taken.append((name, time.perf_counter() - begin))
        print(f"    {self.taken[-1][1]:.1f} s", flush=True)


def municipality_of(area: RecordedArea, urls: dict[str, str], release: Path | None) -> dict[str, Any]:
    """The entry of the municipalities file that reads this area from its playback servers."""
    entry: dict[str, Any] = {
        "code": f"demo-{area.code}",
        "source_code": area.code,
        "name": f"{area.name} (recorded)",
        "country": area.country,
        "schedule": None,
        "roads_schedule": None,
        "roads": area.roads,
        "boundary": "kommuneinfo",
        "depth": "kryss-depth",
        **credit_of(area),
        # A recorded area is driven through once after its first epoch. One drive can be hidden from a sign all the way, so it
        # never makes an end sure; here an object is told as gone when that is likelier than not.
        "ended_below": 0.5,
        "services": {
            "mapillary_graph": urls["mapillary_graph"],
            "mapillary_tiles": urls["mapillary_tiles"],
            "nvdb": urls["nvdb"],
            "overpass": urls["overpass"],
            "kommuneinfo": urls["kommuneinfo"],
            "junctions": urls["junctions"],
        },
    }
    if release:
        entry["release_url"] = release.absolute().as_uri()
    return entry


def credit_of(area: RecordedArea) -> dict[str, Any]:
    """Whose photos they are: Mapillary's, with their pages, or the area's own, which are published nowhere."""
    if area.attribution == MAPILLARY_ATTRIBUTION:
        return {}
    return {"attribution": area.attribution, "photos_licence": area.licence, "image_url": None}


def start_playback(home: Path, area: RecordedArea, now: datetime) -> dict[str, str]:
    """Starts the playback servers of an area as a process of their own and returns their URLs."""
    name = f"playback-{area.code}"
    processes.stop(home, name)
    ports = home / "run" / f"{name}.urls"
    ports.unlink(missing_ok=True)
    command = [sys.executable, "-m", "kryss.demo.playback", "--area", str(area.path), "--ports-file", str(ports)]
    process = processes.start(home, name, [*command, "--now", now.isoformat()])
    deadline = time.monotonic() + 60
    while not ports.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            log = processes.log_file(home, name)
            raise ServiceError(f"the playback servers did not start; {log} ends with:\n{processes.tail(log)}")
        time.sleep(0.05)
    return json.loads(ports.read_text())


def set_now(urls: dict[str, str], now: datetime) -> None:
    """Tells the playback which instant it is: it serves what had been uploaded by then."""
    requests.post(f"{urls['mapillary_graph']}/_playback/now", json={"now": now.isoformat()}, timeout=10).raise_for_status()


def forget(settings: Settings, entry: dict[str, Any], area: RecordedArea) -> None:
    """Removes everything that an earlier demo of this area left: rows, photos, stage files, releases."""
    code = entry["code"]
    if not code.startswith("demo-"):
        raise ValueError(f"{code!r} is not the municipality of a demo: its data are not removed")
    with open_store(settings.database_url.get_secret_value()).transaction(code) as tx:
        tx.forget()
    photos = PhotoStore(settings.photos_url)
    for image in area.images:
        photos.delete(image["id"])
    for name in (f"approved/{code}.json", f"missing/{code}.json"):
        State(settings.state_url).remove(name)
    for url, folders in (
        (settings.state_url, (f"work/{code}", f"runs/{code}", f"cells/{code}")),
        (entry.get("release_url") or settings.release_url, (code,)),
    ):
        for folder in folders:
            shutil.rmtree(Path(url.removeprefix("file://")) / folder, ignore_errors=True)


def demo(area_dir: Path | None, release: Path | None, *, keep: bool, down: bool, home: Path) -> int:
    """Plays every epoch of a recorded area and shows what changed. Returns the exit status."""
    watch = StopWatch()
    area = load_area(area_dir or TOWN)
    print(f"{area.name}: {len(area.images)} photos in {len(area.epochs)} epoch{'s' * (len(area.epochs) != 1)}", flush=True)
    with watch.stage("PostGIS and Airflow"):
        running = airflow.up(home, lambda line: print(f"    {line}", flush=True))
        settings = Settings.from_env(database_url=running.database.url)
        open_store(running.database.url).migrate()
    with watch.stage("playback servers of the recorded area"):
        urls = start_playback(home, area, area.epochs[0])
        entry = municipality_of(area, urls, release)
        if not keep:
            forget(settings, entry, area)
            airflow.delete_runs(airflow.connect(home), f"refresh_{entry['code']}")
        folder = home / "municipalities"
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{entry['code']}.tmp"
        temporary.write_text(yaml.safe_dump({"municipalities": [entry]}, allow_unicode=True))
        temporary.replace(folder / f"{entry['code']}.yaml")
    summaries = []
    for number, instant in enumerate(area.epochs, 1):
        day = instant.date()
        with watch.stage(f"refresh {number} of {len(area.epochs)}: what had been uploaded by {day}"):
            set_now(urls, instant)
            outcome, summary = refresh_through_airflow(home, settings, entry["code"], {"release_date": day.isoformat()})
        if summary is None or not outcome.ok:
            print(f"\nthe refresh failed ({outcome.state}); see {running.url}/dags/{outcome.dag_id}/runs/{outcome.run_id}")
            return 1
        summaries.append(summary)
    _tell(watch, running, summaries, settings, entry, home)
    if down:
        control.down(home, lambda line: print(f"    {line}", flush=True))
    return 0


def _shell(path: Path) -> str:
    return shlex.quote(str(path))


def _tell(
    watch: StopWatch, running: Airflow, summaries: list[dict[str, Any]], settings: Settings, entry: dict[str, Any], home: Path
) -> None:
    root = Path((entry.get("release_url") or settings.release_url).removeprefix("file://")) / entry["code"]
    names = list(dict.fromkeys(summary["release"] for summary in summaries if summary["release"]))
    print("\nreleases: " + (", ".join(names) or "none"))
    for before, after in pairwise(summaries):
        print(f"what changed from {before['release']} to {after['release']}:")
        for line in after["changes"] or ["nothing"]:
            print(f"  {line}")
    print("\nwhere things are")
    if names:
        site, code = f"{running.url}/kryss", entry["code"]
        print(f"  page      {site}/layer/{code}/{names[-1]}/index.html   (log in to Airflow first)")
        print(f"            or from a plain file server: python3 -m http.server --bind 127.0.0.1 --directory {_shell(root)} 8123")
        print(f"            then http://127.0.0.1:8123/{names[-1]}/")
        print(f"  report    {site}/report/{code}/{short_hash([summaries[-1]['run']])}")
        print(f"  layer     {root / names[-1]}: objects.geojson, intersections.geojson, changes.geojson, ...")
        print(f"  latest    {root / 'latest.json'}")
    print(f"  photos    {settings.photos_url.removeprefix('file://')}")
    print(f'  database  {running.database.where}   psql "$(./kryss url)"')
    print(f"  Airflow   {running.url}   user {running.user}, password {running.password}")
    print("\nseconds")
    for name, seconds in watch.taken:
        print(f"  {seconds:7.1f}  {name}")
    print(f"  {sum(seconds for _, seconds in watch.taken):7.1f}  together")
    print(f"\n./kryss down stops PostGIS, Airflow and the playback servers (files stay in {home})")
