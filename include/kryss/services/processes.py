"""Background processes that outlive the command that started them, and are stopped by what was recorded of them.

A process is known by its id, the clock tick it was started at (field 22 of ``/proc/PID/stat``, see proc(5)) and the boot of the
machine: a process id that was given to somebody else meanwhile never matches, so a stranger is never signalled.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

_STARTED: dict[int, subprocess.Popen[bytes]] = {}
"""Processes of this very process: they have to be waited for, or they stay as zombies."""


@dataclass(frozen=True)
class Record:
    """What identifies one process."""

    name: str
    pid: int
    start_ticks: int
    boot_id: str
    command: str
    """The program only: arguments may be long, and are none of the reader's business."""


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class _Stat(NamedTuple):
    state: str
    parent: int
    session: int
    start_ticks: int

    @property
    def ended(self) -> bool:
        return self.state in "ZX"


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return _Stat(fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def identify(name: str, pid: int) -> Record | None:
    stat = _stat(pid)
    if stat is None or stat.ended:
        return None
    return Record(name, pid, stat.start_ticks, boot_id(), next(iter(command_line(pid)), ""))


def command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def is_alive(record: Record | None) -> bool:
    """Whether the very process that was recorded still runs (a zombie does not)."""
    if record is None or record.boot_id != boot_id():
        return False
    if child := _STARTED.get(record.pid):
        child.poll()
    stat = _stat(record.pid)
    return stat is not None and not stat.ended and stat.start_ticks == record.start_ticks


def record_file(home: Path, name: str) -> Path:
    return home / "run" / f"{name}.json"


def write_record(home: Path, record: Record) -> None:
    file = record_file(home, record.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(record)) + "\n")
    temporary.replace(file)


def read_record(home: Path, name: str) -> Record | None:
    try:
        return Record(**json.loads(record_file(home, name).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def running(home: Path, name: str) -> bool:
    return is_alive(read_record(home, name))


def recorded(home: Path) -> list[str]:
    """Names of all processes that were started under this home, running or not."""
    found = (path.stem for path in (home / "run").glob("*.json"))
    return sorted(name for name in found if read_record(home, name))


def log_file(home: Path, name: str) -> Path:
    return home / "logs" / f"{name}.log"


def start(
    home: Path,
    name: str,
    command: Sequence[str],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Starts a process in a session of its own, with its own log file (started anew), and records it."""
    log = log_file(home, name)
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            start_new_session=True,
            **options,
        )
    _STARTED[process.pid] = process
    record = identify(name, process.pid)
    if record:
        write_record(home, record)
    return process


def stop(home: Path, name: str, patience_s: float = 10, first: signal.Signals = signal.SIGTERM, family: bool = True) -> bool:
    """Stops a recorded process and all that came of it; forgets it. Says whether there was anything to stop."""
    record = read_record(home, name)
    alive = is_alive(record)
    if record and alive:
        stop_process(record, patience_s, first, family)
    record_file(home, name).unlink(missing_ok=True)
    return alive


def stop_all(home: Path, names: Sequence[str], patience_s: float = 10) -> list[str]:
    """Stops several at once, which takes as long as the slowest; returns those that ran."""
    with ThreadPoolExecutor(max_workers=len(names) or 1) as pool:
        ran = pool.map(lambda name: stop(home, name, patience_s), names)
    return [name for name, alive in zip(names, ran, strict=True) if alive]


def stop_process(record: Record, patience_s: float = 10, first: signal.Signals = signal.SIGTERM, family: bool = True) -> None:
    """Asks it to end, ends it when it does not, then whatever is left of its family."""
    if not is_alive(record):
        return
    relatives = _family(record.pid) if family else []
    os.kill(record.pid, first)
    if not _gone([record], patience_s):
        relatives = _family(record.pid) if family else []
        os.kill(record.pid, signal.SIGKILL)
    for signal_ in (signal.SIGTERM, signal.SIGKILL):
        if _gone([record, *relatives], 0.2):
            return
        for relative in filter(is_alive, relatives):
            with contextlib.suppress(ProcessLookupError):
                os.kill(relative.pid, signal_)
        _gone([record, *relatives], 5)


def _family(pid: int) -> list[Record]:
    """The processes of its session, and its descendants, even those that began a session of their own."""
    stats = {
        int(entry.name): stat for entry in Path("/proc").iterdir() if entry.name.isdigit() and (stat := _stat(int(entry.name)))
    }
    found = {other for other, stat in stats.items() if stat.session == pid}
    found.add(pid)
    while more := {other for other, stat in stats.items() if stat.parent in found} - found:
        found |= more
    records = (identify("", other) for other in sorted(found - {pid}))
    return [record for record in records if record]


def _gone(records: Sequence[Record], patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while any(map(is_alive, records)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.03)
    return True


def tail(file: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message."""
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return f"(no log at {file})"
    return "\n".join(text.splitlines()[-lines:])
