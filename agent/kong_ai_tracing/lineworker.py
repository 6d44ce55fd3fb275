"""A process that reads lines for another one: it is given some, and gives back what they hold."""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import queue
import signal
import threading
from multiprocessing import context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from msgspec import Struct, msgpack

from kong_ai_tracing import assembly
from kong_ai_tracing.alone import Alone
from kong_ai_tracing.config import Config
from kong_ai_tracing.linereader import LineReader
from kong_ai_tracing.lines import Line
from kong_ai_tracing.logs import set_up_logging
from kong_ai_tracing.matching import Match
from kong_ai_tracing.memory import give_back_large_blocks
from kong_ai_tracing.selection import Selection

PIPE_BYTES = 1 << 20
"""As much as Linux lets anybody have."""
_FIRST_OWN_DESCRIPTOR = 3


class Blueprint(Struct, frozen=True):
    """What a process must know to read lines as this one would."""

    config: Config
    match: Match | None
    selection: Selection | None
    max_span_bytes: int | None = None
    """What input and output of a span may take."""

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


class _Lines(Struct, array_like=True):
    """Lines of one file on their way to a process."""

    file: str
    file_id: int
    offsets: list[int]
    data: list[bytes]


class Worker:
    """Such a process, seen from the one that it reads for."""

    def __init__(self, blueprint: Blueprint) -> None:
        theirs, self._lines = _pipe()
        self._readings, back = _pipe()
        self._process: BaseProcess = _context().Process(
            target=serve, args=(theirs, back, blueprint), daemon=True
        )
        # Ctrl-C goes to all processes of a terminal; this one decides what becomes of the others, which are
        # born with it blocked.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        back.close()

    def give(self, lines: list[Line]) -> None:
        """Never waits for what the process does with lines that it has. When it is gone, `take` tells."""
        first = lines[0]
        offsets, data = [line.offset for line in lines], [line.data for line in lines]
        message = msgpack.encode(_Lines(first.file, first.file_id, offsets, data))
        with contextlib.suppress(OSError):
            self._lines.send_bytes(message)

    def take(self) -> bytes:
        """The readings of the lines that were given first, packed. Raises EOFError or OSError without it."""
        return self._readings.recv_bytes()

    def kill(self) -> None:
        self._process.kill()

    def end(self, timeout_seconds: float) -> int | None:
        """Its exit code, when it was told to end or did so by itself."""
        self._lines.close()
        self._readings.close()
        self._process.join(timeout_seconds)
        return self._process.exitcode


def _context() -> context.ForkContext | context.SpawnContext:
    """Forked where that is safe: to load everything again takes as long as to read some megabytes."""
    if threading.active_count() == 1:
        return multiprocessing.get_context("fork")
    # Python's helper is started before Ctrl-C is blocked, because its start would end the blocking.
    resource_tracker.ensure_running()
    return multiprocessing.get_context("spawn")


def _pipe() -> tuple[Connection, Connection]:
    """For one direction, with room for a whole message: who writes need not wait for who reads."""
    reading, writing = multiprocessing.Pipe(duplex=False)
    with contextlib.suppress(OSError):  # an administrator allows less: it goes on in smaller steps
        fcntl.fcntl(writing.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return reading, writing


# -- the life of the process


def serve(lines_in: Connection, readings_out: Connection, blueprint: Blueprint) -> None:
    """Read what is given until nobody gives any more."""
    _let_go_of_all_but(lines_in, readings_out)
    give_back_large_blocks()
    config = blueprint.config
    set_up_logging(config.log_level, config.secrets, os.environ)
    reader = blueprint.reader()
    alone = Alone(assembly.wire_form_of(config), blueprint.max_span_bytes)
    given: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    threading.Thread(target=_accept, args=(lines_in, given), daemon=True).start()
    while (message := given.get()) is not None:
        readings = reader.read_all(_lines_of(message))
        del message
        if blueprint.protects:
            alone.encode(readings)
        try:
            readings_out.send_bytes(msgpack.encode(readings))
        except OSError:
            return


def _let_go_of_all_but(*kept: Connection) -> None:
    """A fork has the locks of its parent, and pipes of which others wait for the end."""
    first = _FIRST_OWN_DESCRIPTOR
    for descriptor in sorted(each.fileno() for each in kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def _accept(lines_in: Connection, given: queue.SimpleQueue[bytes | None]) -> None:
    """Take what comes while other lines are read, so that the next ones are there when these are done."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            given.put(lines_in.recv_bytes())
    given.put(None)


def _lines_of(message: bytes) -> list[Line]:
    lines = msgpack.decode(message, type=_Lines)
    return [
        Line(lines.file, lines.file_id, offset, data)
        for offset, data in zip(lines.offsets, lines.data, strict=True)
    ]
