"""Lines read in several processes, while everything that must keep its order is done in this one.

The processes share nothing: each is given lines and gives back what they hold. Where a file is, which trace
a call belongs to, when something is sent and what is written down is decided here, in the order of the files,
as it is without them. So a process may be lost at any time: its lines are given to a new one.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Iterable
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Protocol

from msgspec import MsgspecError, Struct, msgpack

from kong_ai_tracing import assembly
from kong_ai_tracing.config import Config
from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.files import Chunk, ScanResult
from kong_ai_tracing.linereader import LineReader, ReadChunk, Reading
from kong_ai_tracing.lines import Line, Origin
from kong_ai_tracing.logs import set_up_logging
from kong_ai_tracing.matching import Match
from kong_ai_tracing.selection import Selection

log = logging.getLogger(__name__)

_MAX_TRIES = 3
_CHUNKS_AHEAD = 2
"""For each process: one is being read while the next one lies ready."""
_END_SECONDS = 5.0


class LostProcessError(OperatorError):
    """No process could read some lines; the text says which."""


class Blueprint(Struct, frozen=True):
    """What a process must know to read lines as this one would."""

    config: Config
    match: Match | None
    selection: Selection | None

    @property
    def protects(self) -> bool:
        """Whether the process may decide what leaves: for media only who uploads them knows the room."""
        return not assembly.uploads_media(self.config)

    def reader(self) -> LineReader:
        return LineReader(
            assembly.call_settings_of(self.config),
            assembly.protection_of(self.config) if self.protects else None,
            match=self.match,
            is_wanted=self.selection.test() if self.selection is not None else None,
        )


class Source(Protocol):
    """Files that are read once, in order."""

    @property
    def wants_scan(self) -> bool: ...

    async def scan(self) -> ScanResult: ...

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
        self._most = (others + 1) * _CHUNKS_AHEAD
        self._ahead: deque[_Task] = deque()
        self._ended = False
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._processes = [_ReadingProcess(blueprint, self._tasks) for _ in range(others)]

    @property
    def wants_scan(self) -> bool:
        return self._source.wants_scan

    async def scan(self) -> ScanResult:
        return await self._source.scan()

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
                mine.answer.set_result([self._reader.read(line) for line in mine.lines])
                await self._look_ahead()
        readings = task.answer.result()
        self._ahead.popleft()
        if task.was_given and not self._protects:
            readings = [self._reader.protect(reading) for reading in readings]
        return task.done(readings)

    async def _look_ahead(self) -> None:
        while not self._ended and len(self._ahead) < self._most:
            chunk = await self._source.read()
            if chunk is None:
                self._ended = True
                return
            task = _Task(chunk, asyncio.get_running_loop())
            self._ahead.append(task)
            self._tasks.put(task)

    async def close(self) -> None:
        for process in self._processes:
            process.leave()
        for process in self._processes:
            self._tasks.put(None)
            await asyncio.to_thread(process.join)
        await self._source.close()


class _Lines(Struct, array_like=True):
    """Lines of one file on their way to a process."""

    file: str
    file_id: int
    offsets: list[int]
    data: list[bytes]


class _Task:
    """Lines to be read, by whoever claims them first."""

    def __init__(self, chunk: Chunk, loop: asyncio.AbstractEventLoop) -> None:
        self.lines = [item for item in chunk.items if isinstance(item, Line)]
        self.answer: asyncio.Future[list[Reading]] = loop.create_future()
        self.was_given = False
        """To another process."""
        self._chunk = chunk
        self._loop = loop
        self._unclaimed = threading.Semaphore(1)

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

    def message(self) -> bytes:
        first = self.lines[0]
        offsets, data = [line.offset for line in self.lines], [line.data for line in self.lines]
        return msgpack.encode(_Lines(first.file, first.file_id, offsets, data))

    def settle(self, outcome: list[Reading] | Exception) -> None:
        """For any thread."""
        self._loop.call_soon_threadsafe(self._tell, outcome)

    def _tell(self, outcome: list[Reading] | Exception) -> None:
        if self.answer.done():
            return
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


class _ReadingProcess:
    """A process, and the thread that talks to it. One that was lost is replaced."""

    def __init__(self, blueprint: Blueprint, tasks: queue.SimpleQueue[_Task | None]) -> None:
        self._blueprint = blueprint
        self._tasks = tasks
        self._leaving = False
        self._decoder = msgpack.Decoder(list[Reading])
        self._process, self._connection = self._started()
        self._thread = threading.Thread(target=self._work, name="reading", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """It holds nothing that is needed."""
        self._leaving = True
        self._process.kill()

    def join(self) -> None:
        self._thread.join(_END_SECONDS)
        self._process.kill()
        self._process.join(_END_SECONDS)

    def _started(self) -> tuple[SpawnProcess, Connection]:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, self._blueprint), daemon=True)
        # Ctrl-C goes to all processes of a terminal; this one decides what becomes of the others, which are
        # born with it blocked. Python's helper is started before, because its start would end the blocking.
        resource_tracker.ensure_running()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        return process, ours

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            if task.claim():
                task.was_given = True
                task.settle(self._read(task) if task.lines else [])

    def _read(self, task: _Task) -> list[Reading] | Exception:
        message = task.message()
        for _ in range(_MAX_TRIES):
            if self._leaving:
                break
            try:
                self._connection.send_bytes(message)
                return self._decoder.decode(self._connection.recv_bytes())
            except (EOFError, OSError):
                self._replace(task)
            except MsgspecError as error:
                return error
        return LostProcessError(
            f"the processes that were to read {task.place} ended {_MAX_TRIES} times: killed for want of"
            " memory, perhaps; run the same command without --jobs"
        )

    def _replace(self, task: _Task) -> None:
        self._connection.close()
        self._process.join(_END_SECONDS)
        if self._leaving:
            return
        code = self._process.exitcode
        log.warning("backfill.process_lost code=%s place=%r lines=given_to_a_new_one", code, task.place)
        self._process, self._connection = self._started()


def serve(connection: Connection, blueprint: Blueprint) -> None:
    """Read what is given until nobody gives any more: the life of a process."""
    config = blueprint.config
    set_up_logging(config.log_level, config.secrets, os.environ)
    reader = blueprint.reader()
    decoder = msgpack.Decoder(_Lines)
    while True:
        try:
            lines = decoder.decode(connection.recv_bytes())
        except (EOFError, OSError):
            return
        done = [
            reader.read(Line(lines.file, lines.file_id, offset, data))
            for offset, data in zip(lines.offsets, lines.data, strict=True)
        ]
        try:
            connection.send_bytes(msgpack.encode(done))
        except OSError:
            return
