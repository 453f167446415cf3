"""Run as a program by ``test_kill``: publishes what a database believes, and kills itself before the step that it is told.

It forks for every order (a line of JSON on stdin), so that nothing is imported twice, and answers with the signal that ended the
child and the number of steps it came to. A step is an operation on files (as Python's audit events tell), a flush to the disk, a
request to the object store, or the record in the database: before it begins, and after it was committed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from datetime import date
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from s3fs import S3FileSystem

from kryss.store import Store, open_store

OPERATIONS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}


def town_of_conftest() -> Any:
    spec = spec_from_file_location("town_nouns", Path(__file__).with_name("conftest.py"))
    assert spec and spec.loader
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Steps:
    """Counts, and dies at the one that was ordered."""

    def __init__(self, deadly: int | None, count: int) -> None:
        self.deadly, self.count, self._told = deadly, 0, count

    def __call__(self, *_: object) -> None:
        self.count += 1
        os.pwrite(self._told, self.count.to_bytes(4, "little"), 0)
        if self.count == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)


def watch_files(step: Callable[..., None], root: str) -> None:
    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event not in OPERATIONS:
            return
        path, by_handle = str(args[0]), event in ("os.remove", "os.rmdir") and args[1] != -1
        if path.startswith(root) or by_handle:
            step()

    sys.addaudithook(hook)
    fsync = os.fsync

    def flush(handle: int) -> None:
        step()
        fsync(handle)

    os.fsync = flush


def watch_requests(step: Callable[..., None]) -> None:
    call = S3FileSystem._call_s3

    async def counted(self: Any, *args: Any, **options: Any) -> Any:
        step()
        return await call(self, *args, **options)

    S3FileSystem._call_s3 = counted


def publish(town: Any, record: Any, store: Store, order: dict[str, Any], count: int) -> None:
    step = Steps(order["deadly"], count)
    if order["options"] is None:
        watch_files(step, order["root"])
    else:
        watch_requests(step)

    def recorded(release: Any, inputs: dict[str, Any]) -> None:
        step()
        record(store, order["known"])(release, inputs)
        step()

    with store.snapshot() as reader:
        known = reader.newest(town.municipality.code)
    order["known"] = known
    day = date.fromisoformat(order["day"])
    town.publish(store, order["root"], day, record=recorded, keep=order["keep"], storage_options=order["options"])


def main(url: str, count_file: str) -> None:
    conftest = town_of_conftest()
    town = conftest.Town()
    count = os.open(count_file, os.O_RDWR | os.O_CREAT)
    for line in sys.stdin:
        order = json.loads(line)
        os.pwrite(count, bytes(4), 0)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                publish(town, conftest.recorder, open_store(url), order, count)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        steps = int.from_bytes(os.pread(count, 4, 0), "little")
        answer = {"signal": os.WTERMSIG(status), "failed": os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0, "steps": steps}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
