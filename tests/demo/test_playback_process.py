"""``python -m kryss.demo.playback``: one process for all services of an area, told by HTTP what to play."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests

from kryss.imagery.client import MapillaryClient, list_images

INCLUDE = Path(__file__).parents[2] / "include"


def _run(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "kryss.demo.playback", *arguments]
    environ = {**os.environ, "PYTHONPATH": str(INCLUDE)}
    return subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def process(photo_area: Path, photo_areas: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    ports = tmp_path_factory.mktemp("playback") / "ports.json"
    now = photo_areas.BETWEEN.isoformat()
    running = _run("--area", str(photo_area), "--ports-file", str(ports), "--now", now)
    deadline = time.monotonic() + 60
    while not ports.exists() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    yield running, json.loads(ports.read_text()), ports
    if running.poll() is None:
        running.terminate()
    running.communicate(timeout=20)


def _client(urls: dict[str, str], token: str) -> MapillaryClient:
    return MapillaryClient(token, urls["mapillary_graph"], urls["mapillary_tiles"], time_scale=0.001)


def test_the_ports_file_names_every_service(process: Any) -> None:
    _, urls, _ = process
    assert set(urls) >= {"mapillary_graph", "mapillary_tiles", "mapillary_photos", "nvdb", "overpass", "kommuneinfo", "junctions"}
    assert all(url.startswith("http://127.0.0.1:") for url in urls.values())


def test_now_is_set_at_any_server_for_all_of_them(process: Any, photo_areas: ModuleType) -> None:
    _, urls, _ = process
    client = _client(urls, photo_areas.TOKEN)
    assert len(list_images(client, photo_areas.BOUNDARY).images) == len(photo_areas.INSIDE_FIRST_EPOCH)
    told = requests.post(f"{urls['nvdb']}/_playback/now", json={"now": photo_areas.AFTER_UPLOAD.isoformat()}, timeout=5)
    assert told.json() == {"now": photo_areas.AFTER_UPLOAD.isoformat()}
    assert len(list_images(client, photo_areas.BOUNDARY).images) == len(photo_areas.INSIDE)


def test_faults_are_ordered_and_counted_over_http(process: Any, photo_areas: ModuleType) -> None:
    _, urls, _ = process
    control = f"{urls['mapillary_photos']}/_playback"
    requests.delete(f"{control}/stats", timeout=5)
    orders = [{"kind": "unavailable", "server": "mapillary-graph", "path": "^/1000"}, {"status": 429, "path": "^/1000"}]
    assert requests.post(f"{control}/faults", json=orders, timeout=5).status_code == 200
    client = _client(urls, photo_areas.TOKEN)
    client.thumb_url("1000")
    assert client.counts()["mapillary-entity"]["reasons"] == {"server error": 1, "too many requests": 1}
    assert [fault["happened"] for fault in requests.get(f"{control}/faults", timeout=5).json()] == [1, 1]
    stats = requests.get(f"{control}/stats", timeout=5).json()
    assert stats == {"requests": {"mapillary-graph /{id}": 3}, "faults": {"mapillary-graph /{id}": 2}}
    requests.delete(f"{control}/faults", timeout=5)
    assert requests.get(f"{control}/faults", timeout=5).json() == []


BAD_ORDERS = [
    ("faults", {"kind": "earthquake"}, "no fault is called 'earthquake'"),
    ("faults", {"when": 5}, "a fault has no when"),
    ("faults", {"path": "("}, "no regular expression"),
    ("now", {"now": "2026-01-01T00:00:00"}, "no time zone"),
    ("now", {}, "KeyError"),
    ("tea", {}, "no order POST"),
]


@pytest.mark.parametrize(("topic", "order", "message"), BAD_ORDERS)
def test_an_order_that_makes_no_sense_is_refused(process: Any, topic: str, order: dict[str, Any], message: str) -> None:
    _, urls, _ = process
    answer = requests.post(f"{urls['overpass'].split('/api')[0]}/_playback/{topic}", json=order, timeout=5)
    assert answer.status_code in (400, 404) and message in answer.json()["error"]


def test_it_ends_on_sigterm_and_takes_its_ports_file_along(process: Any) -> None:
    running, urls, ports = process
    running.send_signal(signal.SIGTERM)
    _, log = running.communicate(timeout=20)
    assert running.returncode == 0 and not ports.exists()
    assert "playing 9901 (Prøve), 28 images" in log
    assert "MLY|" not in log and "oh=" not in log
    with pytest.raises(requests.ConnectionError):
        requests.get(urls["nvdb"], timeout=2)


def test_an_area_that_cannot_be_played_is_one_clear_line(tmp_path: Path) -> None:
    running = _run("--area", str(tmp_path / "none"), "--ports-file", str(tmp_path / "ports.json"))
    _, log = running.communicate(timeout=60)
    assert running.returncode == 2
    assert log.startswith("playback: ") and "no such folder" in log and "Traceback" not in log
    assert not (tmp_path / "ports.json").exists()
