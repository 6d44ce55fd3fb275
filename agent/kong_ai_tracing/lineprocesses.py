"""Lines read in several processes, while everything that must keep its order is done in this one.

The processes share nothing: each is given lines and gives back what they hold. Where a file is, which trace
a call belongs to, when something is sent and what is written down is decided here, in the order of the files,
as it is without them. So a process may be lost at any time: its lines are given to a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
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
from kong_ai_tracing.memory import give_back_large_blocks
from kong_ai_tracing.selection import Selection

log = logging.getLogger(__name__)

_MAX_TRIES = 3
_CHUNKS_AHEAD = 4
"""For each process: so many wait to be read, are being read, or were read and wait for their turn."""
_AT_ONCE = 2
"""Chunks a process is given: while it reads one, the next one lies in its pipe. There is no room for more."""
_PIPE_BYTES = 1 << 20
"""As much as Linux lets anybody have."""
_PIPE_MARGIN_BYTES = 8 << 10
"""For the length of a message, and for pages that are not filled."""
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
            mine = next((each for each in self._ahead if each.lines and each.claim()), None)
            if mine is None:
                await asyncio.wait([task.answer])
            else:
                mine.answer.set_result(self._reader.read_all(mine.lines))
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
            if task.lines:
                self._tasks.put(task)
            else:
                task.answer.set_result([])

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
        self._given: deque[tuple[_Task, bytes]] = deque()
        """What it is reading, and what lies in the pipe to be read next."""
        self._leaving = False
        self._decoder = msgpack.Decoder(list[Reading])
        self._start()
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

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        theirs, self._lines = _pipe()
        self._room = fcntl.fcntl(self._lines.fileno(), fcntl.F_GETPIPE_SZ) - _PIPE_MARGIN_BYTES
        self._readings, back = _pipe()
        self._process = context.Process(target=serve, args=(theirs, back, self._blueprint), daemon=True)
        # Ctrl-C goes to all processes of a terminal; this one decides what becomes of the others, which are
        # born with it blocked. Python's helper is started before, because its start would end the blocking.
        resource_tracker.ensure_running()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        back.close()

    def _work(self) -> None:
        more = True
        while more or self._given:
            if more:
                more = self._give()
            if self._given:
                self._take_back()

    def _give(self) -> bool:
        """Give it as much as it may have; waits only for the first. False when there will be no more."""
        while len(self._given) < _AT_ONCE:
            try:
                task = self._tasks.get(block=not self._given)
            except queue.Empty:
                break
            if task is None:
                return False
            if not task.claim():
                continue
            task.was_given = True
            message = task.message()
            # What does not fit into the pipe waits until nothing else can be on the way back: else both sides
            # could wait for the other one to read.
            while self._given and len(message) > self._room:
                self._take_back()
            self._given.append((task, message))
            self._send(message)
        return True

    def _send(self, message: bytes) -> None:
        with contextlib.suppress(OSError):  # it is gone: whoever waits for its answer hears of it
            self._lines.send_bytes(message)

    def _take_back(self) -> None:
        """What is in the lines that were given first."""
        task, _ = self._given[0]
        task.settle(self._outcome(task))
        self._given.popleft()

    def _outcome(self, task: _Task) -> list[Reading] | Exception:
        for _ in range(_MAX_TRIES):
            if self._leaving:
                break
            try:
                return self._decoder.decode(self._readings.recv_bytes())
            except (EOFError, OSError):
                self._replace(task)
            except MsgspecError as error:
                return error
        return LostProcessError(
            f"the processes that were to read {task.place} ended {_MAX_TRIES} times: killed for want of"
            " memory, perhaps; run the same command without --jobs"
        )

    def _replace(self, task: _Task) -> None:
        self._lines.close()
        self._readings.close()
        self._process.join(_END_SECONDS)
        if self._leaving:
            return
        code = self._process.exitcode
        log.warning("backfill.process_lost code=%s place=%r lines=given_to_a_new_one", code, task.place)
        self._start()
        for _, message in self._given:
            self._send(message)


def _pipe() -> tuple[Connection, Connection]:
    """For one direction, with room for a whole message: who writes need not wait for who reads."""
    reading, writing = multiprocessing.get_context("spawn").Pipe(duplex=False)
    with contextlib.suppress(OSError):  # an administrator allows less: it goes on in smaller steps
        fcntl.fcntl(writing.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return reading, writing


def serve(lines_in: Connection, readings_out: Connection, blueprint: Blueprint) -> None:
    """Read what is given until nobody gives any more: the life of a process."""
    give_back_large_blocks()
    config = blueprint.config
    set_up_logging(config.log_level, config.secrets, os.environ)
    reader = blueprint.reader()
    decoder = msgpack.Decoder(_Lines)
    while True:
        try:
            lines = decoder.decode(lines_in.recv_bytes())
        except (EOFError, OSError):
            return
        done = reader.read_all(
            [
                Line(lines.file, lines.file_id, offset, data)
                for offset, data in zip(lines.offsets, lines.data, strict=True)
            ]
        )
        try:
            readings_out.send_bytes(msgpack.encode(done))
        except OSError:
            return
