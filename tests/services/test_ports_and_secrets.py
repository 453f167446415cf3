"""Ports are kept, and replaced when taken; secrets are made once and shown to nobody else."""

from __future__ import annotations

import json
import socket
import stat
from pathlib import Path

import pytest

from kryss.services import ServiceError, ports
from kryss.services.secret_store import fernet_key, secret


def test_port_is_remembered(tmp_path: Path) -> None:
    first = ports.claim_port(tmp_path / "port", 29500)
    assert ports.claim_port(tmp_path / "port", 29900) == first


def test_taken_port_is_replaced_and_the_new_one_remembered(tmp_path: Path) -> None:
    first = ports.claim_port(tmp_path / "port", 29500)
    with socket.create_server((ports.LOOPBACK, first)):
        second = ports.claim_port(tmp_path / "port")
        assert second != first
    assert ports.claim_port(tmp_path / "port") == second


def test_port_taken_on_all_addresses_is_taken() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        assert not ports.is_free(server.getsockname()[1])


@pytest.mark.parametrize("text", ["", "no port", "0", "65536", "-1"])
def test_nonsense_is_no_port(tmp_path: Path, text: str) -> None:
    (tmp_path / "port").write_text(text)
    assert ports.read_port(tmp_path / "port") is None


def test_secret_is_made_once(tmp_path: Path) -> None:
    assert secret(tmp_path, "a") == secret(tmp_path, "a")
    assert secret(tmp_path, "a") != secret(tmp_path, "b")
    assert len(secret(tmp_path, "a")) >= 32


def test_file_of_secrets_is_its_owners_alone(tmp_path: Path) -> None:
    secret(tmp_path, "a")
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600


def test_fernet_takes_the_key_made_for_it() -> None:
    from cryptography.fernet import Fernet

    box = Fernet(fernet_key())
    assert box.decrypt(box.encrypt(b"token")) == b"token"


def test_broken_file_of_secrets_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text(json.dumps(["a"]))
    with pytest.raises(ServiceError, match=r"secrets\.json: expected an object"):
        secret(tmp_path, "a")
