"""Photos through decoding and a network at the same time: what comes out, and in which order, is as if one came after the other.

Photos are read ahead, decoded by workers, put together in batches of one size of input, and looked at by as many threads as the
network has streams, while earlier results go out in the order of the photos. A photo that cannot be decoded, or that kills its
worker, costs its own result and nothing else.

Workers are threads (Pillow decodes without the interpreter lock, and nothing is copied: the better way while a CPU computes, too)
or processes (their Python code does not wait for each other: the better way for a fast GPU). Pixels come back from processes in
shared memory.
"""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import pickle
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from multiprocessing.shared_memory import SharedMemory
from typing import Any, Generic, Literal, TypeVar

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Decoded = TypeVar("Decoded")
Result = TypeVar("Result")
AHEAD = 2
"""Photos under way for each worker and each place in a batch."""
ALIGNED = 64
"""Arrays begin at multiples of this in shared memory."""


class DecoderDied(ValueError):  # noqa: N818
    """An item that kills the process that decodes it."""


@dataclass(frozen=True, slots=True)
class Workers:
    """Who decodes."""

    kind: Literal["threads", "processes"] = "threads"
    number: int = 2


@dataclass(frozen=True, slots=True)
class Work(Generic[Item, Decoded, Result]):
    """What is done with each item."""

    decode: Callable[[Item], Decoded]
    """Picklable for processes; may raise ValueError: the item's own fault."""
    key: Callable[[Decoded], Hashable]
    """What the items of one batch have in common."""
    look: Callable[[list[Decoded]], list[Result]]
    batch: int = 1
    streams: int = 1
    """Calls of ``look`` at a time."""

    def look_alone(self, one: Decoded) -> Result | ValueError:
        """Its result, or the error that looking at it ended in."""
        try:
            return self.look([one])[0]
        except ValueError as error:
            log.exception("an item could not be looked at")
            return error


@dataclass(slots=True)
class _Slot(Generic[Item, Decoded, Result]):
    name: str
    item: Item
    decoding: Future[Any]
    looking: Future[list[Result | ValueError]] | None = None
    place: int = 0


@dataclass(slots=True)
class _Group(Generic[Item, Decoded, Result]):
    slots: list[_Slot[Item, Decoded, Result]] = field(default_factory=list)
    decoded: list[Decoded] = field(default_factory=list)
    packed: list[_Packed] = field(default_factory=list)

    def drop(self) -> None:
        """Nobody will look at it."""
        self.decoded.clear()
        for one in self.packed:
            one.release()


def run(
    items: Iterable[tuple[str, Item]], work: Work[Item, Decoded, Result], workers: Workers
) -> Iterator[tuple[str, Result | ValueError]]:
    """Each item's result, in the order of the items; or the ValueError that decoding it or looking at it ended in. Other errors
    are nobody's own fault and end the run.
    """
    source = iter(items)
    ahead = max(AHEAD * workers.number, 1) + AHEAD * work.batch * work.streams
    with ExitStack() as stack:
        pool = stack.enter_context(_Pool(work.decode, workers))
        lookers = stack.enter_context(ThreadPoolExecutor(work.streams, "look"))
        stack.callback(lookers.shutdown, cancel_futures=True)
        line: deque[_Slot[Item, Decoded, Result]] = deque()
        undecoded: deque[_Slot[Item, Decoded, Result]] = deque()
        groups: dict[Hashable, _Group[Item, Decoded, Result]] = {}

        @stack.callback
        def drop() -> None:
            for group in groups.values():
                group.drop()

        def send(key: Hashable) -> None:
            group = groups.pop(key)
            future = lookers.submit(_look, work, group)
            for place, slot in enumerate(group.slots):
                slot.looking, slot.place = future, place

        while True:
            for name, item in itertools.islice(source, max(0, ahead - len(line))):
                slot: _Slot[Item, Decoded, Result] = _Slot(name, item, pool.submit(item))
                line.append(slot)
                undecoded.append(slot)
            if not line:
                return
            # In the order of the photos: which of them share a batch depends on nothing else.
            head = line[0]
            while True:
                if not undecoded or not (undecoded[0].decoding.done() or head.looking is None):
                    if head.looking is None:
                        send(next(key for key, group in groups.items() if any(slot is head for slot in group.slots)))
                    assert head.looking is not None
                    if head.looking.done() or not undecoded:
                        break
                    # What is decoded meanwhile need not wait for this result.
                    wait((head.looking, undecoded[0].decoding), return_when=FIRST_COMPLETED)
                    continue
                slot = undecoded.popleft()
                try:
                    packed, decoded = pool.result(slot.decoding, slot.item)
                except ValueError as error:
                    slot.looking = Future()
                    slot.looking.set_result([error])
                    continue
                key = work.key(decoded)
                group = groups.setdefault(key, _Group())
                group.slots.append(slot)
                group.decoded.append(decoded)
                if packed:
                    group.packed.append(packed)
                # Shared memory is given back when nobody holds an array in it any more.
                del decoded, packed
                if len(group.slots) == work.batch:
                    send(key)
            outcome = head.looking.result()[head.place]
            line.popleft()
            yield head.name, outcome


def _look(work: Work[Any, Decoded, Result], group: _Group[Any, Decoded, Result]) -> list[Result | ValueError]:
    decoded, packed = group.decoded, group.packed
    group.decoded, group.packed = [], []
    try:
        return [*work.look(decoded)]
    except ValueError:
        # One of them is not what the network can look at: whose fault it is, is found out alone.
        return [work.look_alone(one) for one in decoded]
    finally:
        del decoded
        for one in packed:
            one.release()


class _Pool:
    """Decodes items in threads or processes."""

    def __init__(self, decode: Callable[[Any], Any], workers: Workers) -> None:
        daemon = multiprocessing.current_process().daemon
        if workers.kind == "processes" and daemon:
            log.info("decoding in threads: a daemonic process may have no children")
        self._processes = workers.kind == "processes" and not daemon
        self._decode, self._workers = decode, workers
        self._out: set[Future[Any]] = set()
        self._executor = self._start(workers.number)

    def _start(self, number: int) -> Executor:
        if not self._processes:
            return ThreadPoolExecutor(number, "decode")
        # Not forked: a copy of a process with threads of its own can hang.
        return ProcessPoolExecutor(number, multiprocessing.get_context("spawn"), initializer=_end_with_parent)

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(cancel_futures=True)
        # Nobody asked for these any more: their shared memory would stay as long as this process.
        for future in self._out:
            if not future.cancelled() and future.exception() is None:
                future.result().drop()

    def submit(self, item: Any) -> Future[Any]:
        if not self._processes:
            return self._executor.submit(self._decode, item)
        try:
            future = self._executor.submit(_packed, self._decode, item)
        except BrokenProcessPool:
            self._executor = self._start(self._workers.number)
            future = self._executor.submit(_packed, self._decode, item)
        self._out.add(future)
        return future

    def result(self, future: Future[Any], item: Any) -> tuple[_Packed | None, Any]:
        """The decoded item, and the shared memory that holds it."""
        if not self._processes:
            return None, future.result()
        self._out.discard(future)
        try:
            packed = future.result()
        except BrokenProcessPool:
            # Somebody's photo has killed a process, and with it the pool. Whose it was is found out alone.
            with self._start(1) as alone:
                try:
                    packed = alone.submit(_packed, self._decode, item).result()
                except BrokenProcessPool:
                    raise DecoderDied("kills the process that decodes it") from None
        return packed, packed.open()


def _end_with_parent() -> None:
    """In the worker. One whose parent is killed would wait for work for ever: it holds the other end of its queue itself."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait_and_end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait_and_end, daemon=True).start()


class _Packed:
    """A decoded item on its way between processes: pickled, with its arrays in shared memory where there is room."""

    def __init__(self, body: bytes, memory: SharedMemory | None, places: list[tuple[int, int]]) -> None:
        self._body, self._name, self._places = body, memory.name if memory else None, places
        self._memory: SharedMemory | None = None

    def open(self) -> Any:
        buffers: list[Any] = []
        if self._name is not None:
            self._memory = SharedMemory(self._name)
            assert self._memory.buf is not None
            buffers = [self._memory.buf[start : start + size] for start, size in self._places]
        return pickle.loads(self._body, buffers=buffers)

    def drop(self) -> None:
        """Gives back what was never opened."""
        self.open()
        self.release()

    def release(self) -> None:
        if self._memory is not None:
            self._memory.unlink()
            # An array that somebody still holds unmaps it.
            with suppress(BufferError):
                self._memory.close()
            self._memory = None


def _packed(decode: Callable[[Any], Any], item: Any) -> _Packed:
    """In the worker."""
    decoded = decode(item)
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(decoded, protocol=5, buffer_callback=buffers.append)
    raw = [buffer.raw() for buffer in buffers]
    places, end = [], 0
    for one in raw:
        places.append((end, one.nbytes))
        end += -(-one.nbytes // ALIGNED) * ALIGNED
    try:
        memory = _room(end)
    except OSError:
        return _Packed(pickle.dumps(decoded, protocol=5), None, [])
    assert memory.buf is not None
    for (start, size), one in zip(places, raw, strict=True):
        memory.buf[start : start + size] = one
    packed = _Packed(body, memory, places)
    memory.close()
    return packed


def _room(size: int) -> SharedMemory:
    """Shared memory that is really there: a full /dev/shm would else kill whoever writes to it."""
    memory = SharedMemory(create=True, size=max(size, 1))
    try:
        os.posix_fallocate(memory._fd, 0, max(size, 1))  # type: ignore[attr-defined]
    except OSError:
        memory.close()
        memory.unlink()
        raise
    return memory
