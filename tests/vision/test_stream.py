"""Items through workers and batches: the results are those of one after the other."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kryss.vision.stream import DecoderDied, Work, Workers, run


@dataclass(frozen=True)
class Decoded:
    number: int
    values: np.ndarray


def decode(number: int) -> Decoded:
    """0 modulo 7 is broken, 99 kills its process."""
    if number == 99:
        os.kill(os.getpid(), signal.SIGKILL)
    if number % 7 == 0:
        raise ValueError(f"{number} is broken")
    return Decoded(number, np.full((100 + number % 3, 50), number, np.int64))


def work(batch: int, streams: int, batches: list[list[int]] | None = None) -> Work[int, Decoded, int]:
    def look(several: list[Decoded]) -> list[int]:
        assert len({one.values.shape for one in several}) == 1
        time.sleep(0.001 * (several[0].number % 3))
        if batches is not None:
            batches.append([one.number for one in several])
        return [int(one.values.sum()) for one in several]

    return Work(decode, lambda one: one.values.shape, look, batch, streams)


def expected(number: int) -> int | str:
    return f"{number} is broken" if number % 7 == 0 else number * (100 + number % 3) * 50


def outcomes(numbers: list[int], job: Work[int, Decoded, int], workers: Workers) -> list[tuple[str, int | str]]:
    found = run([(str(number), number) for number in numbers], job, workers)
    return [(name, str(outcome) if isinstance(outcome, ValueError) else outcome) for name, outcome in found]


@settings(max_examples=40)
@given(st.lists(st.integers(1, 98), max_size=30), st.integers(1, 5), st.integers(1, 3), st.integers(1, 3))
def test_order_and_results_depend_on_neither_batches_nor_workers(
    numbers: list[int], batch: int, streams: int, threads: int
) -> None:
    found = outcomes(numbers, work(batch, streams), Workers("threads", threads))
    assert found == [(str(number), expected(number)) for number in numbers]


def test_batches_are_of_one_size_and_full_where_there_is_enough() -> None:
    batches: list[list[int]] = []
    numbers = [number for number in range(1, 60) if number % 7]
    outcomes(numbers, work(4, 1, batches), Workers("threads", 2))
    assert sorted(number for batch in batches for number in batch) == numbers
    assert sum(len(batch) == 4 for batch in batches) >= 10


def test_processes_give_the_same_as_threads_and_one_that_dies_costs_only_its_own_photo() -> None:
    numbers = [1, 2, 7, 3, 99, 4, 5, 6, 8, 14, 9]
    found = dict(run([(str(n), n) for n in numbers], work(2, 1), Workers("processes", 2)))
    assert isinstance(found["99"], DecoderDied)
    others = {name: str(value) if isinstance(value, ValueError) else value for name, value in found.items() if name != "99"}
    assert others == {str(number): expected(number) for number in numbers if number != 99}
    if Path("/dev/shm").is_dir():
        mine = [path for path in Path("/dev/shm").glob("psm_*") if path.stat().st_uid == os.getuid()]
        assert not [path for path in mine if time.time() - path.stat().st_mtime < 5]


def test_reading_stays_only_a_little_ahead() -> None:
    read: list[int] = []

    def source():  # type: ignore[no-untyped-def]
        for number in range(1, 500):
            read.append(number)
            yield str(number), number

    results = run(source(), work(2, 2), Workers("threads", 2))
    for _ in range(10):
        next(results)
    assert len(read) <= 30
    results.close()


def test_what_nobody_asks_for_any_more_leaves_nothing_behind() -> None:
    before = set(Path("/dev/shm").glob("psm_*")) if Path("/dev/shm").is_dir() else set()
    results = run([(str(n), n) for n in range(1, 40)], work(3, 1), Workers("processes", 1))
    assert next(results) == ("1", expected(1))
    results.close()
    assert not Path("/dev/shm").is_dir() or set(Path("/dev/shm").glob("psm_*")) <= before


@pytest.mark.skipif(not Path("/proc/self/cmdline").is_file(), reason="asks /proc who lives")
def test_decoders_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    """What a kill, a time limit or a full memory leaves behind."""
    code = (
        "import operator\nfrom kryss.vision.stream import Work, Workers, run\n"
        "import multiprocessing, os, time\n"
        "def look(several):\n"
        "    print(*(one.pid for one in multiprocessing.active_children()), flush=True)\n"
        "    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    list(run([('1', 1)], Work(operator.neg, lambda one: 0, look), Workers('processes', 1)))\n"
    )
    path = tmp_path / "looks.py"
    path.write_text(code)
    include = str(Path(__file__).parents[2] / "include")
    parent = subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": include})
    assert parent.stdout is not None
    decoders = [int(pid) for pid in parent.stdout.readline().split()]
    parent.kill()
    parent.wait()
    assert len(decoders) == 1
    until = time.monotonic() + 30

    def lives() -> bool:
        """One that has ended has no command line, whether or not somebody has asked for its end."""
        try:
            return bool(Path(f"/proc/{decoders[0]}/cmdline").read_bytes())
        except OSError:
            return False

    try:
        while lives() and time.monotonic() < until:
            time.sleep(0.1)
        assert not lives()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(decoders[0], signal.SIGKILL)


def test_streams_work_from_the_start_and_do_not_wait_for_the_first_result() -> None:
    both = threading.Barrier(2)

    def look(several: list[Decoded]) -> list[int]:
        both.wait(30)
        return [one.number for one in several]

    def slow(number: int) -> Decoded:
        time.sleep(0.02)
        return decode(number)

    found = dict(run([(str(n), n) for n in (1, 2)], Work(slow, lambda one: 0, look, 1, 2), Workers("threads", 1)))
    assert found == {"1": 1, "2": 2}


def test_an_item_that_cannot_be_looked_at_costs_its_batch_nothing() -> None:
    def look(several: list[Decoded]) -> list[int]:
        if any(one.number == 5 for one in several):
            raise ValueError("no number")
        return [one.number for one in several]

    found = dict(run([(str(n), n) for n in (1, 2, 3, 4, 5, 6, 8)], Work(decode, lambda one: 0, look, 4), Workers("threads", 1)))
    assert str(found.pop("5")) == "no number"
    assert found == {str(n): n for n in (1, 2, 3, 4, 6, 8)}


def test_an_error_of_the_network_is_not_the_photos_fault() -> None:
    def broken(several: list[Decoded]) -> list[int]:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        list(run([("1", 1)], Work(decode, lambda one: 0, broken), Workers("threads", 1)))


def test_a_jpeg_is_decoded_at_the_scale_that_is_enough() -> None:
    from kryss.vision.photo import read_photo

    ramp = np.tile(np.linspace(0, 255, 1600).astype(np.uint8)[None, :, None], (800, 1, 3))
    for orientation, size in ((1, (1600, 800)), (6, (800, 1600))):
        image = Image.fromarray(ramp)
        exif = image.getexif()
        exif[0x0112] = orientation
        file = io.BytesIO()
        image.save(file, "JPEG", quality=95, exif=exif)
        whole, half, eighth = (read_photo(file.getvalue(), None, side) for side in (1600, 800, 150))
        assert whole.original_size == half.original_size == eighth.original_size == size
        assert max(whole.pixels.shape) == 1600 and max(half.pixels.shape) == 800 and max(eighth.pixels.shape) == 200
        shrunk = np.asarray(
            Image.fromarray(whole.pixels).resize((half.pixels.shape[1], half.pixels.shape[0]), Image.Resampling.BOX)
        )
        assert np.abs(shrunk.astype(int) - half.pixels).max() <= 8
