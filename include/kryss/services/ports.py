"""Ports on loopback: a service keeps the port it had, unless somebody else has taken it meanwhile."""

from __future__ import annotations

import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except (OSError, OverflowError):
            return False
    return True


def answers(port: int, timeout_s: float = 0.5) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout_s):
            return True
    except (OSError, OverflowError):
        return False


def free_port(preferred: int | None = None) -> int:
    """The preferred port if it is free, else the next one that is: near it, outside the range the kernel hands to clients."""
    for port in range(preferred, min(preferred + 200, 65536)) if preferred else ():
        if is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def read_port(file: Path) -> int | None:
    try:
        port = int(file.read_text())
    except (OSError, ValueError):
        return None
    return port if 0 < port < 65536 else None


def claim_port(file: Path, preferred: int | None = None) -> int:
    """The port remembered in ``file`` if it is free, else the preferred or any free one, which is remembered from now on."""
    port = free_port(read_port(file) or preferred)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{port}\n")
    return port
