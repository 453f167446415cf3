"""The street that history is tested on (tests/seen.py)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _load() -> ModuleType:
    if "kryss_tests_seen" in sys.modules:
        return sys.modules["kryss_tests_seen"]
    spec = importlib.util.spec_from_file_location("kryss_tests_seen", Path(__file__).parents[1] / "seen.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def street() -> ModuleType:
    return _load()
