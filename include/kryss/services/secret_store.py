"""Passwords and keys that Kryss makes for itself: random, in one file that only its owner can read, never anywhere else."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from kryss.services import ServiceError


def random_password() -> str:
    return secrets.token_urlsafe(24)


def fernet_key() -> str:
    """32 random bytes in URL-safe base64: what ``cryptography.fernet.Fernet`` takes."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def secret(home: Path, name: str, make: Callable[[], str] = random_password) -> str:
    """The secret of this name, made and kept if there is none yet."""
    home.mkdir(parents=True, exist_ok=True)
    file = home / "secrets.json"
    with (home / "secrets.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = _read(file)
        if name not in known:
            known[name] = make()
            temporary = file.with_suffix(".tmp")
            temporary.unlink(missing_ok=True)
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
                json.dump(known, output, indent=1)
            temporary.replace(file)
        return known[name]


def _read(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    try:
        known = json.loads(file.read_text())
    except (ValueError, OSError) as error:
        problem = type(error).__name__
        raise ServiceError(f"{file} cannot be read ({problem}); it holds the passwords of the local services") from None
    if not isinstance(known, dict):
        raise ServiceError(f"{file}: expected an object of secrets, got {type(known).__name__}")
    return known
