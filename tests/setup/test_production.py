"""The production shape: valid, pinned, watched, and without a password in any file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kryss.services import ROOT, health

COMPOSE = ROOT / "docker-compose.yml"
SECRETS = re.compile(r"PASSWORD|SECRET|TOKEN|FERNET_KEY|REDISCLI_AUTH|CONN|BROKER_URL|RESULT_BACKEND|DATABASE_URL")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())["services"]


def _tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([Path(sys.executable).parent / name, *arguments], capture_output=True, text=True, cwd=ROOT, check=False)


def test_compose_file_follows_the_compose_specification() -> None:
    done = _tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE))
    assert done.returncode == 0, done.stdout + done.stderr


def test_yamllint_has_nothing_to_say() -> None:
    files = ["docker-compose.yml", *(str(path) for path in sorted((ROOT / "include").glob("*.yaml")))]
    done = _tool("yamllint", "--strict", *files)
    assert done.stdout == ""


def test_hadolint_has_nothing_to_say() -> None:
    done = _tool("hadolint", "--no-color", "Dockerfile")
    assert done.stdout == ""
    assert done.returncode == 0


def test_the_parts_of_the_production_shape_are_there(services: dict[str, Any]) -> None:
    airflow = {"airflow-init", "api-server", "scheduler", "dag-processor", "triggerer"}
    assert set(services) == {"postgis", "redis", "worker-cpu", "worker-gpu"} | airflow


def test_images_are_pinned(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if "build" not in service:
            assert re.search(r":[\w.-]+@sha256:[0-9a-f]{64}$", service["image"]), name
    base = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.M)
    assert base
    assert all(re.search(r":[\w.-]+@sha256:[0-9a-f]{64}$", image) for image in base)


def test_every_lasting_service_has_a_health_check(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if name != "airflow-init":
            assert service["healthcheck"]["test"], name
            assert service["restart"] == "unless-stopped", name


def test_no_secret_has_a_value_in_the_file(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for key, value in service["environment"].items():
            if SECRETS.search(key):
                assert re.search(r"\$\{KRYSS_\w+:\?[^}]+\}|\$\{KRYSS_MAPILLARY_TOKEN:-\}", str(value)), f"{name}: {key}"


def test_only_the_page_is_reached_from_outside(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"api-server": ["${KRYSS_BIND:-127.0.0.1}:${KRYSS_PORT:-8080}:8080"]}


def test_example_of_settings_names_every_one_and_fills_in_none() -> None:
    wanted = set(re.findall(r"\$\{(KRYSS_\w+):\?", COMPOSE.read_text()))
    optional = set(re.findall(r"\$\{(KRYSS_\w+):-", COMPOSE.read_text()))
    example = (ROOT / ".env.example").read_text()
    empty = set(re.findall(r"^(KRYSS_\w+)=$", example, re.M))
    assert wanted <= empty
    assert optional <= empty | set(re.findall(r"^#(KRYSS_\w+)=", example, re.M))


def test_gpu_worker_takes_the_gpu_queue_one_task_at_a_time(services: dict[str, Any]) -> None:
    command = services["worker-gpu"]["command"]
    assert command[command.index("--queues") + 1] == "gpu"
    assert command[command.index("--concurrency") + 1] == "1"
    device = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"][0]
    assert device["driver"] == "nvidia"


def test_image_runs_as_an_ordinary_user_and_copies_what_exists() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^USER (\S+)", text, re.M)[-1] == "50000:0"
    assert "HEALTHCHECK" in text
    copied = [name for line in re.findall(r"^COPY (.+)", text, re.M) for name in line.split()[:-1] if not name.startswith("--")]
    allowed = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.M)
    assert sorted(copied) == sorted(allowed)
    assert all((ROOT / name).exists() for name in copied)


def _pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", (ROOT / name).read_text(), re.M))


def test_production_has_the_versions_that_the_tests_ran_with() -> None:
    tested, shipped = _pins("requirements.txt"), _pins("requirements-celery.txt")
    assert {name for name in tested.keys() & shipped.keys() if tested[name] != shipped[name]} == set()
    assert {"celery", "apache-airflow-providers-celery", "gcsfs", "s3fs"} <= shipped.keys()


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-celery.txt", "requirements-uv.txt"])
def test_every_pin_has_hashes_and_no_file_names_an_index(name: str) -> None:
    text = (ROOT / name).read_text()
    blocks = re.split(r"\n(?=[a-z0-9])", re.sub(r"^#.*\n", "", text, flags=re.M))
    assert all("--hash=sha256:" in block for block in blocks if block.strip())
    assert "index-url" not in re.sub(r"^#.*$", "", text, flags=re.M)
    assert "://" not in text


def test_health_check_fails_where_nobody_answers() -> None:
    assert "127.0.0.1" in (health.check("scheduler", "http://127.0.0.1:1") or "")
