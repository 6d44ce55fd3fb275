"""Lines read in several processes, while everything that must keep its order is done in this one.

The processes share nothing: each is given lines and gives back what they hold. Where a file is, which trace
a call belongs to, when something is sent and what is written down is decided here, in the order of the files,
as it is without them. So a process may be lost at any time: its lines are given to a new one.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections import deque
from collections.abc import Collection, Iterable
from typing import Protocol

from msgspec import msgpack

from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.files import Chunk, ScanResult
from kong_ai_tracing.linereader import LineReader, ReadChunk, Reading
from kong_ai_tracing.lines import Line, Origin
from kong_ai_tracing.lineworker import Blueprint, Worker

log = logging.getLogger(__name__)

_MAX_TRIES = 3
_AHEAD_BYTES = 5 << 20
"""For each process: so much waits to be read, is being read, or was read and waits for its turn."""
_GIVEN_BYTES = 4 << 20
"""So much of it a process has: what it reads, and what it reads next. This one gives more when a thread gets
its turn beside the reading, several times for each megabyte: with less, the others would be out of lines.
A line that is larger is all that a process has."""
_END_SECONDS = 5.0


class LostProcessError(OperatorError):
    """No process could read some lines; the text says which."""


class Source(Protocol):
    """Files that are read once, in order."""

    @property
    def wants_scan(self) -> bool: ...

    async def scan(self, unwritten: Collection[int] = ()) -> ScanResult: ...

    async def read(self) -> Chunk | None: ...

    async def reread(self, origin: Origin) -> Line | None: ...

    async def close(self) -> None: ...


class ReadAhead:
    """A source whose lines have been read when they are given out, in the same order.

    This process reads, too, whenever it would have to wait for the others.
    """

    def __init__(self, source: Source, reader: LineReader, blueprint: Blueprint, others: int) -> None:
        self._source = source
        self._reader = reader
        self._protects = blueprint.protects
        self._most_bytes = (others + 1) * _AHEAD_BYTES
        self._ahead: deque[_Task] = deque()
        self._ahead_bytes = 0
        self._ended = False
        self._decoder = msgpack.Decoder(list[Reading])
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        # All of them before the first thread: a process with threads cannot be forked.
        workers = [Worker(blueprint) for _ in range(others)]
        self._givers = [_Giver(worker, blueprint, self._tasks) for worker in workers]

    @property
    def wants_scan(self) -> bool:
        return self._source.wants_scan

    async def scan(self, unwritten: Collection[int] = ()) -> ScanResult:
        return await self._source.scan(unwritten)

    async def reread(self, origin: Origin) -> Line | None:
        return await self._source.reread(origin)

    async def read(self) -> Chunk | None:
        """The oldest lines that were not given out yet. Raises LostProcessError."""
        await self._look_ahead()
        if not self._ahead:
            return None
        task = self._ahead[0]
        while not task.answer.done():
            mine = next((each for each in self._ahead if each.claim()), None)
            if mine is None:
                await asyncio.wait([task.answer])
            else:
                mine.answer.set_result(self._reader.read_all(mine.lines))
                await self._look_ahead()
        self._ahead.popleft()
        self._ahead_bytes -= task.size
        return task.done(self._readings(task.answer.result()))

    def _readings(self, answer: list[Reading] | bytes) -> list[Reading]:
        if not isinstance(answer, bytes):
            return answer
        readings = self._decoder.decode(answer)
        return readings if self._protects else [self._reader.protect(reading) for reading in readings]

    async def _look_ahead(self) -> None:
        while not self._ended and self._ahead_bytes < self._most_bytes:
            chunk = await self._source.read()
            if chunk is None:
                self._ended = True
                return
            task = _Task(chunk, asyncio.get_running_loop())
            self._ahead.append(task)
            self._ahead_bytes += task.size
            if task.lines:
                self._tasks.put(task)
            else:
                task.answer.set_result([])

    async def close(self) -> None:
        for giver in self._givers:
            giver.leave()
        for giver in self._givers:
            self._tasks.put(None)
            await asyncio.to_thread(giver.join)
        await self._source.close()


class _Task:
    """Lines to be read, by whoever claims them first."""

    def __init__(self, chunk: Chunk, loop: asyncio.AbstractEventLoop) -> None:
        self.lines = [item for item in chunk.items if isinstance(item, Line)]
        self.size = sum(len(line.data) for line in self.lines)
        self.answer: asyncio.Future[list[Reading] | bytes] = loop.create_future()
        """Packed when they come from another process: they take less room so while they wait."""
        self._chunk = chunk
        self._loop = loop
        self._unclaimed = threading.Semaphore(1 if self.lines else 0)

    @property
    def place(self) -> str:
        return f"{self.lines[0].file} at byte {self.lines[0].offset}"

    def claim(self) -> bool:
        """For any thread; true for one of them."""
        return self._unclaimed.acquire(blocking=False)

    def done(self, readings: Iterable[Reading]) -> ReadChunk:
        left, chunk = iter(readings), self._chunk
        each = [next(left) if isinstance(item, Line) else None for item in chunk.items]
        return ReadChunk(chunk.file_id, chunk.items, chunk.passed, each)

    def settle(self, outcome: bytes | Exception) -> None:
        """For any thread."""
        self._loop.call_soon_threadsafe(self._tell, outcome)

    def _tell(self, outcome: bytes | Exception) -> None:
        if self.answer.done():
            return
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


class _Giver:
    """The thread that gives lines to a worker. One that was lost is replaced."""

    def __init__(self, worker: Worker, blueprint: Blueprint, tasks: queue.SimpleQueue[_Task | None]) -> None:
        self._worker = worker
        self._blueprint = blueprint
        self._tasks = tasks
        self._given: deque[_Task] = deque()
        self._leaving = False
        self._thread = threading.Thread(target=self._work, name="reading", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """It has nothing that is needed."""
        self._leaving = True
        self._worker.kill()

    def join(self) -> None:
        self._thread.join(_END_SECONDS)
        self._worker.end(_END_SECONDS)

    def _work(self) -> None:
        more = True
        while more or self._given:
            if more:
                more = self._give()
            if self._given:
                self._take_back()

    def _give(self) -> bool:
        """Give it as much as it may have; waits only for the first. False when there will be no more."""
        while self._given_bytes < _GIVEN_BYTES:
            try:
                task = self._tasks.get(block=not self._given)
            except queue.Empty:
                break
            if task is None:
                return False
            if not task.claim():
                continue
            while self._given and self._given_bytes + task.size > _GIVEN_BYTES:
                self._take_back()
            self._given.append(task)
            self._worker.give(task.lines)
        return True

    @property
    def _given_bytes(self) -> int:
        return sum(task.size for task in self._given)

    def _take_back(self) -> None:
        """What is in the lines that were given first."""
        task = self._given[0]
        task.settle(self._outcome(task))
        self._given.popleft()

    def _outcome(self, task: _Task) -> bytes | Exception:
        for _ in range(_MAX_TRIES):
            if self._leaving:
                break
            try:
                return self._worker.take()
            except (EOFError, OSError):
                self._replace(task)
        return LostProcessError(
            f"the processes that were to read {task.place} ended {_MAX_TRIES} times: killed for want of"
            " memory, perhaps; run the same command without --jobs"
        )

    def _replace(self, lost: _Task) -> None:
        code = self._worker.end(_END_SECONDS)
        if self._leaving:
            return
        log.warning("backfill.process_lost code=%s place=%r lines=given_to_a_new_one", code, lost.place)
        self._worker = Worker(self._blueprint)
        for task in self._given:
            self._worker.give(task.lines)
