"""The reports of past runs, as they lie in the state folder: ``runs/<code>/<run>/report.json``, newest first."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import fsspec

from kryss.pipeline.published import NotPublished, Unreadable, reading

RUN = re.compile(r"[0-9a-f]{16}")
"""The name of a run's folder (:attr:`kryss.pipeline.run.Run.folder`)."""
REPORT = "report.json"
MOST = 60
"""So many runs are listed."""


def reports(state_url: str, code: str, most: int = MOST) -> list[dict[str, Any]]:
    """One line a run, newest first: ``run, run_id, kind, at, release, release_unchanged, new, failed, missing``.

    ``at``: when it ended, by its own word, else when its report was written. A report that cannot be read is listed with its
    ``problem``; it hides no other.
    """
    with reading(f"the reports of {code}"):
        filesystem, root = fsspec.core.url_to_fs(state_url.rstrip("/"))
        folder = f"{root}/runs/{code}"
        if not filesystem.exists(folder):
            return []
        found = filesystem.find(folder, maxdepth=2, detail=True)
    written = [(*_stamp(entry), path) for path, entry in found.items() if _is_report(path)]
    newest = sorted(written, reverse=True)[: 2 * most]
    with ThreadPoolExecutor(8) as pool:
        lines = list(pool.map(lambda one: _line(state_url, *one), newest))
    return sorted(lines, key=lambda line: (line["at"], line["run"]), reverse=True)[:most]


def report(state_url: str, code: str, run: str) -> dict[str, Any]:
    """The report of a run, with ``at``."""
    if not RUN.fullmatch(run):
        raise NotPublished(f"{run[:40]!r} is no run; those are 16 hexadecimal digits")
    with reading(f"the report of run {run}"):
        filesystem, root = fsspec.core.url_to_fs(state_url.rstrip("/"))
        path = f"{root}/runs/{code}/{run}/{REPORT}"
        at, size = _stamp(filesystem.info(path))
        found = _read(state_url, at, size, path)
        return {**found, "at": found.get("ended_at") or at}


def _is_report(path: str) -> bool:
    parts: Sequence[str] = path.rsplit("/", 2)
    return len(parts) == 3 and parts[2] == REPORT and RUN.fullmatch(parts[1]) is not None


def _stamp(entry: dict[str, Any]) -> tuple[str, int]:
    """When a file was written (UTC, ISO 8601) and its size in bytes, as the kinds of storage tell them."""
    written = entry.get("mtime") or entry.get("LastModified") or entry.get("updated") or entry.get("created") or 0
    if isinstance(written, str):
        written = datetime.fromisoformat(written)
    if isinstance(written, (int, float)):
        written = datetime.fromtimestamp(written, UTC)
    return written.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), int(entry.get("size") or 0)


def _line(state_url: str, at: str, size: int, path: str) -> dict[str, Any]:
    line: dict[str, Any] = {"run": path.rsplit("/", 2)[1], "at": at}
    try:
        found = _read(state_url, at, size, path)
        photos = found.get("photos") or {}
        failed = [*(photos.get("failed") or {}).values(), *(photos.get("malformed") or {}).values()]
        return {
            **line,
            "at": found.get("ended_at") or at,
            "run_id": found.get("run"),
            "kind": found.get("kind"),
            "release": found.get("release"),
            "release_unchanged": found.get("release_unchanged"),
            "new": photos.get("new"),
            "failed": sum(failed),
            "missing": found.get("missing") or [],
        }
    except (Unreadable, NotPublished, TypeError, AttributeError) as error:
        return {**line, "problem": str(error)}


@lru_cache(maxsize=512)
def _read(state_url: str, at: str, size: int, path: str) -> dict[str, Any]:
    """A report; kept by the time it was written, as a run that is cleared writes another."""
    with reading("the report"):
        filesystem, _ = fsspec.core.url_to_fs(state_url.rstrip("/"))
        found = json.loads(filesystem.cat_file(path))
        if not isinstance(found, dict):
            raise Unreadable("the report is not a JSON object")
        return found
