"""A gateway host in small: writers and rotations on real files, the real pipeline and store, a moody sink.

Everything that waits goes by a virtual clock, so that a test decides what happens between two steps. A
crash drops the process's memory and its open transaction, as SIGKILL would.
"""

from __future__ import annotations

import asyncio
import errno
import gzip
import json
import os
import random
import shutil
from collections import defaultdict, deque
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from kong_ai_tracing import catalog, identity, otlp
from kong_ai_tracing.batches import Batcher, Body
from kong_ai_tracing.context import CallSettings
from kong_ai_tracing.delivery import Delivery, DeliveryLimits
from kong_ai_tracing.files import LogFiles
from kong_ai_tracing.linereader import LineReader
from kong_ai_tracing.outcomes import Accepted, Hold, Outcome, Refused, TryLater
from kong_ai_tracing.pipeline import Pipeline, Rhythm
from kong_ai_tracing.privacy import Privacy, PrivacySettings
from kong_ai_tracing.protection import Protection
from kong_ai_tracing.redact import RedactionSettings, Redactor
from kong_ai_tracing.spans import Span
from kong_ai_tracing.statedir import prepare_state_dir
from kong_ai_tracing.store import Store
from kong_ai_tracing.traces import Grouping, GroupingLimits
from kong_writer import kong_line, observation_id
from virtual_time import VirtualTimeLoop

OnFull = Literal["pause", "drop_oldest"]
SCAN_SECONDS = 2.0
MOODS = ("accept", "slow", "503", "429", "cut", "cut after", "hang", "401")


def other_line(number: int) -> bytes:
    """Traffic that is no AI call. No two lines of a log are the same: each has an id and a time."""
    return (
        f'{{"request":{{"id":"{number:032x}","uri":"/status"}},"response":{{"status":200}},'
        f'"started_at":{1_795_000_000_000 + number}}}\n'
    ).encode()


def garbage_line(number: int) -> bytes:
    """What a full disk leaves of a line."""
    return f'{{"request":{{"id":"{number:032x}","uri":"/ai/chat"}},"tries":[{{"ip": torn\n'.encode()


class Entry(NamedTuple):
    """One line of a log, as the model remembers it."""

    size: int
    call: str | None
    """The observation id, of a call."""
    garbage: bool


class Losses:
    """What may be missing in the end, because nobody could have prevented it."""

    def __init__(self) -> None:
        self.calls: set[str] = set()
        self.lines = self.garbage = self.bytes = 0
        self.unseen = False
        """Was something destroyed that the daemon never saw, or had not written down when it died?"""

    def add(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.lines += 1
            self.bytes += entry.size
            self.garbage += entry.garbage
            if entry.call is not None:
                self.calls.add(entry.call)


class Sink:
    """A destination that answers in moods, and knows every span it has ever taken."""

    name = "sink"
    patience_seconds = 30.0

    def __init__(self) -> None:
        self.moods: deque[str] = deque()
        self.taken: dict[str, list[str]] = defaultdict(list)
        """Starts by span id, one for each time it was taken."""
        self.poisoned: set[str] = set()
        """Spans that are refused for ever."""
        self.repeats_allowed = False

    def encode(self, span: Span) -> bytes:
        return otlp.encode(span)

    def join(self, spans: list[bytes]) -> bytes:
        return otlp.join(spans)

    def merge(self, bodies: list[bytes]) -> bytes | None:
        return otlp.merge(bodies)

    def split(self, data: bytes) -> list[bytes]:
        return otlp.split(data)

    async def send(self, body: Body) -> Outcome:
        mood = self.moods.popleft() if self.moods else "accept"
        match mood:
            case "slow":
                await asyncio.sleep(3.0)
            case "503":
                return TryLater("503")
            case "429":
                return TryLater("429", after_seconds=4.0)
            case "401":
                return Hold("401", probe_after_seconds=20.0)
            case "cut":
                return TryLater("cut")
            case "hang":
                await asyncio.sleep(30.0)
                return TryLater("no answer in time")
        spans = _spans(body)
        if any(span["spanId"] in self.poisoned for span in spans):
            return Refused("poison")
        for span in spans:
            self.taken[span["spanId"]].append(span["startTimeUnixNano"])
        if mood == "cut after":
            self.repeats_allowed = True
            return TryLater("cut after it was taken")
        return Accepted()

    async def close(self) -> None:
        return


class Machine:
    """The host: `write`, `rotate` and the like for Kong and logrotate; `start`, `crash`, `stop` for us."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "kong" / "ai.log"
        self.log.parent.mkdir()
        self.state = directory / "state"
        prepare_state_dir(self.state)
        self.sink = Sink()
        self.loop = VirtualTimeLoop()
        self.writers: list[BinaryIO] = [self.log.open("ab", buffering=0), self.log.open("ab", buffering=0)]
        self.half: dict[int, bytes] = {}
        """Inode of a file that ends in half a line → the other half."""
        self.content: dict[int, list[Entry]] = {}
        """Inode → the lines of a file that has a name."""
        self.deleted: list[list[Entry]] = []
        """The lines of files without a name that the running daemon holds open."""
        self.losses = Losses()
        self.unreadable: set[int] = set()
        """Inodes that the daemon's user may not open."""
        catalog.open_to_read = self._open_as_the_daemon
        self.calls: dict[str, int] = {}
        """Observation ids of all calls that were written, with the sizes of their lines."""
        self.lines = self.garbage = 0
        self.crashes = 0
        self._store: Store | None = None
        self._tasks: list[asyncio.Task[Any]] = []

    # -- Kong and logrotate

    def write(self, writer: int, kind: str, count: int = 1) -> None:
        file = self.writers[writer]
        self._finish_half(file)
        for _ in range(count):
            file.write(self._next(kind, self._content_of(file)))

    def write_half(self, writer: int) -> None:
        file = self.writers[writer]
        self._finish_half(file)
        line = self._next("call", self._content_of(file))
        file.write(line[:200])
        self.half[os.fstat(file.fileno()).st_ino] = line[200:]

    def reopen(self, writer: int) -> None:
        self._finish_half(self.writers[writer])
        self.writers[writer].close()
        self.writers[writer] = self.log.open("ab", buffering=0)

    def _content_of(self, file: BinaryIO) -> list[Entry]:
        return self.content.setdefault(os.fstat(file.fileno()).st_ino, [])

    def rotate(self) -> None:
        """By rename; writers go on with the old file until they reopen."""
        self._shift()
        if self.log.exists():
            self.log.rename(f"{self.log}.1")

    @property
    def may_truncate(self) -> bool:
        """Not in the middle of a line: its second half would stand alone in the new content."""
        return self.log.exists() and self.log.stat().st_ino not in self.half

    def copy(self) -> None:
        self._shift()
        copied = Path(shutil.copy(self.log, f"{self.log}.1"))
        self.content[copied.stat().st_ino] = list(self.content.get(self.log.stat().st_ino, ()))

    def truncate(self) -> list[Entry]:
        """Gives the lines that were in the file."""
        os.truncate(self.log, 0)
        return self.content.pop(self.log.stat().st_ino, [])

    def replace_log(self, lines: int) -> None:
        """A new file is moved over the log; writers go to the new one at once."""
        for file in self.writers:
            self._finish_half(file)
        new = self.log.with_name("new")
        with new.open("wb", buffering=0) as file:
            content: list[Entry] = []
            for _ in range(lines):
                file.write(self._next("call", content))
        if self.log.exists():
            self._forget(self.log)
        self.content[new.stat().st_ino] = content
        new.rename(self.log)
        for writer in range(len(self.writers)):
            self.reopen(writer)

    def _forget(self, path: Path) -> None:
        """The file has a name no more: its lines live as long as the daemon holds it open.

        A writer that still holds it has none of it: what is written to a nameless file is nobody's promise.
        """
        inode = path.stat().st_ino
        content = self.content.pop(inode, [])
        if self.running and inode not in self.unreadable:
            self.deleted.append(content)
        else:
            self.losses.add(content)
            self.losses.unseen = True
        self.unreadable.discard(inode)

    def close_to_the_daemon(self) -> None:
        if self.log.exists():
            self.unreadable.add(self.log.stat().st_ino)

    @property
    def log_is_closed(self) -> bool:
        return self.log.stat().st_ino in self.unreadable

    def _open_as_the_daemon(self, path: str) -> int:
        """The tests may run as root, who may open everything."""
        if os.stat(path).st_ino in self.unreadable:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return identity.open_to_read(path)

    def compress_oldest(self) -> None:
        """What logrotate does some time after the rotation: nobody writes to the file any more."""
        held = {os.fstat(file.fileno()).st_ino for file in self.writers}
        rotated = [each for each in self._rotated() if not each.name.endswith(".gz")]
        if rotated and rotated[-1].stat().st_ino not in held and rotated[-1].stat().st_ino not in self.half:
            target = Path(f"{rotated[-1]}.gz")
            target.write_bytes(gzip.compress(rotated[-1].read_bytes(), mtime=0))
            inode = rotated[-1].stat().st_ino
            self.content[target.stat().st_ino] = self.content.pop(inode, [])
            self.unreadable.discard(inode)
            rotated[-1].unlink()

    def delete_oldest(self) -> None:
        held = {os.fstat(file.fileno()).st_ino for file in self.writers}
        if (rotated := self._rotated()) and rotated[-1].stat().st_ino not in held:
            self._forget(rotated[-1])
            rotated[-1].unlink()

    def _rotated(self) -> list[Path]:
        names = self.log.parent.glob("ai.log.*")
        return sorted(names, key=lambda path: int(path.name.split(".")[2]))

    def _shift(self) -> None:
        for path in reversed(self._rotated()):
            number = int(path.name.split(".")[2])
            path.rename(path.with_name(path.name.replace(f".log.{number}", f".log.{number + 1}")))

    def _next(self, kind: str, content: list[Entry]) -> bytes:
        self.lines += 1
        call = None
        if kind == "other":
            line = other_line(self.lines)
        elif kind == "garbage":
            self.garbage += 1
            line = garbage_line(self.lines)
        else:
            seq = len(self.calls)
            call, line = observation_id(1, seq), kong_line(1, seq, shared=kind == "shared")
            self.calls[call] = len(line)
        content.append(Entry(len(line), call, kind == "garbage"))
        return line

    def _finish_half(self, file: BinaryIO) -> None:
        if rest := self.half.pop(os.fstat(file.fileno()).st_ino, b""):
            file.write(rest)

    # -- the daemon

    @property
    def running(self) -> bool:
        return self._store is not None

    def start(self, *, outbox_max_bytes: int = 1 << 20, on_full: OnFull = "pause") -> None:
        self._do(self._start(outbox_max_bytes, on_full))

    async def _start(self, outbox_max_bytes: int, on_full: OnFull) -> None:
        clock = self.loop.time
        self._store = Store(self.state)
        restored = self._store.restore()
        self.files = LogFiles(
            [str(self.log)], restored.files, looks=restored.looks, rotations=restored.rotations
        )
        self.delivery = Delivery(
            self.sink,
            self._store,
            restored,
            DeliveryLimits(
                outbox_max_bytes=outbox_max_bytes,
                free_space_floor_bytes=0,
                max_concurrency=3,
                on_full=on_full,
            ),
            clock=clock,
            random=random.Random(1).random,
        )
        batcher = Batcher(
            self.sink,
            first_number=self.delivery.first_number,
            max_bytes=8_000,
            max_age_seconds=0.5,
            clock=clock,
        )
        self.pipeline = Pipeline(
            self.files,
            LineReader(
                CallSettings(),
                Protection(Privacy(PrivacySettings()), Redactor(RedactionSettings(kinds=("none",)))),
            ),
            Grouping(GroupingLimits(idle_ms=2_000, hold_ms=10_000)),
            batcher,
            self.delivery,
            rhythm=Rhythm(scan_interval_seconds=SCAN_SECONDS),
            wake=_NoWake(),
            clock=clock,
        )
        sending = asyncio.create_task(self.delivery.run())
        await self.pipeline.restore(restored, self.files.reread)
        self._tasks = [sending, asyncio.create_task(self.pipeline.run_live())]

    def tick(self, seconds: float) -> None:
        """Let time pass."""
        self._do(asyncio.sleep(seconds))
        for task in self._tasks:
            if task.done():
                task.result()

    def crash(self) -> None:
        """Everything that is not on disk is gone."""
        assert self._store is not None
        self._do(self._drop())
        self._lose_what_was_deleted()
        self._store._db.close()
        self._store = None
        self.crashes += 1

    async def _drop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.files.close()

    def stop(self) -> None:
        """As SIGTERM does."""
        assert self._store is not None
        self._do(self._stop())
        self._lose_what_was_deleted()
        self._store.close()
        self._store = None

    async def _stop(self) -> None:
        sending, reading = self._tasks
        self.pipeline.stop()
        await reading
        await self.delivery.wind_down(1.0)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await self.delivery.finish()
        await self.files.close()

    def _lose_what_was_deleted(self) -> None:
        """Files without a name are gone with the process; what was spilled of them is not."""
        for content in self.deleted:
            left = [entry for entry in content if entry.call is None or entry.call not in self.sink.taken]
            self.losses.unseen = self.losses.unseen or bool(left)
            self.losses.add(left)
        self.deleted.clear()

    @property
    def log_is_settled(self) -> bool:
        """Is everything that is in the log now on disk or at the sink?"""
        assert self._store is not None
        status = self.log.stat()
        return any(
            (record.device, record.inode, record.offset) == (status.st_dev, status.st_ino, status.st_size)
            for record in self._store.status().files
        )

    @property
    def caught_up(self) -> bool:
        """Everything is read, and nothing waits to be delivered."""
        return self.delivery.idle and all(each.offset >= each.size for each in self.files.files())

    def counters(self) -> dict[str, int]:
        assert self._store is not None
        return self._store.status().counters

    def close(self) -> None:
        if self.running:
            self.crash()
        catalog.open_to_read = identity.open_to_read
        for file in self.writers:
            file.close()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work, and let what is in threads come to its end: nothing else happens meanwhile."""
        self._let_the_clock_of_files_move()
        self.loop.run_until_complete(work)
        while self.loop.threads_at_work:
            self.loop.run_until_complete(asyncio.sleep(0))
        self._let_the_clock_of_files_move()

    def _let_the_clock_of_files_move(self) -> None:
        """The kernel stamps files with a clock of some milliseconds, and our time goes in jumps: what happens
        before and after we look must have different stamps, as it has where seconds lie between them."""
        probe = self.state / "probe"
        probe.write_bytes(b"")
        before = probe.stat().st_mtime_ns
        while probe.stat().st_mtime_ns == before:
            probe.write_bytes(b"")


class _NoWake:
    """Polling only."""

    tells_of_writes = False

    def note_lines(self, file_id: int) -> None:
        pass

    async def wait(self, timeout_seconds: float) -> bool:
        await asyncio.sleep(timeout_seconds)
        return False


def _spans(body: Body) -> list[dict[str, Any]]:
    document = json.loads(body.unpack().data)
    return [
        span
        for resource in document["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
