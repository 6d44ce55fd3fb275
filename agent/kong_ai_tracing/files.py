"""The log files of a host in, their complete lines out, whatever rotation does to the files.

`scan` finds out which files there are; `read` gives the next lines of one of them. What it promises: a
line of a file that can be read is given once, in the order of its file; a renamed or deleted file is read
to its end; nothing of a file that was cut or written anew is taken for a part of what was there before.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal

import aiofiles
from aiofiles.threadpool.binary import AsyncFileIO
from msgspec import Struct

from kong_ai_tracing.catalog import Catalog, ScanResult
from kong_ai_tracing.compressed import CompressedFiles
from kong_ai_tracing.identity import (
    ENDLESS,
    FileRecord,
    Position,
    generation_of,
    open_to_read,
    recognise,
    see,
)
from kong_ai_tracing.lines import Line, LineCutter, Origin, OutOfSightError, OversizedLine
from kong_ai_tracing.notices import Notice, Notices
from kong_ai_tracing.patterns import Look, Patterns
from kong_ai_tracing.rotationrisk import RotationRisk, Rotations, RotationWatch, about
from kong_ai_tracing.streams import Stream
from kong_ai_tracing.streamtable import StreamTable
from kong_ai_tracing.threads import to_its_end
from kong_ai_tracing.writealarm import Listened

__all__ = ["Chunk", "FileRecord", "FileStatus", "LogFiles", "Notice", "Position", "ScanResult"]

_LAST_SCANS = 3
"""So many are sure that a deleted file is in no archive, when nothing happens in its directory."""
_CHUNKS_BETWEEN_POLLS = 16
"""While files are read, the others are asked for new bytes after so many chunks."""


class Passed(Struct, frozen=True):
    """A part of a file that is left out, because it was delivered before."""

    position: Position
    """Its end."""
    bytes: int
    calls: int | None
    """How many calls it holds; None when that is not known."""


class Chunk(Struct):
    """Consecutive complete lines of one file; none when its place in a compressed file is looked for."""

    file_id: int
    items: list[Line | OversizedLine]
    passed: Passed | None = None
    """What stands before them and is left out."""


class FileStatus(Struct, frozen=True):
    """How far one file has been read."""

    path: str
    file_id: int
    offset: int
    size: int

    @property
    def unread_bytes(self) -> int:
        """0 for a compressed file, whose content has no known size."""
        return max(0, self.size - self.offset) if self.size < ENDLESS else 0


class LogFiles:
    """Follows the files that glob patterns match. One task reads; another may ask `files` meanwhile."""

    def __init__(
        self,
        patterns: Sequence[str],
        records: Iterable[FileRecord] = (),
        *,
        looks: Iterable[Look] = (),
        rotations: Iterable[Rotations] = (),
        records_lost: bool = False,
        start_at: Literal["beginning", "end"] = "beginning",
        chunk_bytes: int = 1 << 20,
        max_line_bytes: int = 16 << 20,
        exclude: Iterable[str | os.PathLike[str]] = (),
        max_open_files: int | None = None,
        open_before: Iterable[Stream] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`records` are those that earlier scans gave, with the offsets of the lines that are done, and
        `looks` and `rotations` theirs. When some were lost, unknown files may be unread: none counts as
        history.

        `start_at` applies to files that were there before the first scan that knew nothing of them.
        `open_before`: what `leave_open` gave of an earlier reader; they are owned from now on.
        """
        records = list(records)
        notices = Notices()
        paths = [record.path for record in records]
        self._patterns = Patterns(
            patterns,
            notices,
            exclude=exclude,
            known_paths=paths,
            looks=looks,
            knows_all=not records_lost,
        )
        self._table = StreamTable(records, notices, max_open_files or _open_files_limit())
        self._catalog = Catalog(
            self._table, self._patterns, start_at_end=start_at == "end", open_before=open_before
        )
        self._cutter = LineCutter(chunk_bytes=chunk_bytes, max_line_bytes=max_line_bytes)
        self._notices = notices
        self._rotation = RotationWatch(rotations, clock)
        self._threatened: set[str] = set()
        self._compressed = CompressedFiles(notices, max_line_bytes=max_line_bytes)
        self._handles: dict[int, AsyncFileIO] = {}
        self._turns: deque[_Turn] = deque()
        self._chunks_since_poll = 0
        self._wants_scan = False
        self._lock = asyncio.Lock()
        self._early: ScanResult | None = None
        self._leaves_open = False

    def directories(self) -> set[str]:
        """The directories in which files are looked for."""
        return self._patterns.directories()

    def files(self) -> list[FileStatus]:
        """How far each file has been read."""
        return [
            FileStatus(stream.path, stream.file_id, stream.offset, stream.size)
            for stream in list(self._table.streams.values())
            if not stream.is_history
        ]

    def listened(self) -> list[Listened]:
        """The files that may grow: those that are open, and new ones that are empty."""
        # By their descriptors: they may have other names by now.
        found = [
            Listened(stream.file_id, stream.device, stream.inode, f"/proc/self/fd/{stream.fd}")
            for stream in self._table.streams.values()
            if stream.is_open and not stream.compressed
        ]
        for path in self._catalog.empty_files:
            with contextlib.suppress(OSError):
                status = Path(path).stat()
                found.append(Listened(0, status.st_dev, status.st_ino, path))
        return found

    @property
    def unreadable(self) -> list[str]:
        """Files and folders that could not be read when they were looked at last."""
        return self._notices.lasting("directory", "unreadable", "read_error")

    @property
    def risks(self) -> list[RotationRisk]:
        """Which unread bytes rotation will delete, and when, as of the last scan."""
        return self._rotation.risks

    @property
    def wants_scan(self) -> bool:
        """A read has met something that only a scan can settle: best done now rather than when it is due."""
        return self._wants_scan

    async def scan(self, unwritten: Collection[int] = ()) -> ScanResult:
        """Find new, renamed, cut and deleted files. Its records must be stored before their positions.

        `unwritten`: files of which lines were given out that are not on disk. They stay open, even deleted
        ones: whoever goes on from what is on disk needs them.
        """
        async with self._lock:
            result = await to_its_end(asyncio.to_thread(self._look, unwritten))
            self._wants_scan = False
            early, self._early = self._early, None
            return result if early is None else _joined(early, result)

    async def last_look(self) -> ScanResult:
        """Before a stop: what was deleted and read to its end is done, so that nobody looks for it later.

        Nothing is, when another reader is to go on with the open files.
        """
        result = ScanResult(notices=[], records=[], retired=[], vanishing=[])
        if not self._leaves_open:
            for _ in range(_LAST_SCANS):
                result = _joined(result, await self.scan())
                if not result.vanishing:
                    break
        return result

    async def read(self) -> Chunk | None:
        """The next lines of one file; None when no file has a complete unread line."""
        async with self._lock:
            poll = not self._turns or self._chunks_since_poll >= _CHUNKS_BETWEEN_POLLS
            if poll:
                self._poll()
            chunk = await self._take_turns()
            if chunk is None and not poll:
                self._poll()
                chunk = await self._take_turns()
            return chunk

    async def reread(self, origin: Origin) -> Line | None:
        """One earlier line again, for instance after a restart; None when it is gone or not what it was.

        Raises OutOfSightError while its file may still turn up.
        """
        async with self._lock:
            if not self._table.scan_number:
                # Files may have been renamed since the line was read.
                self._early = await to_its_end(asyncio.to_thread(self._look))
            return await to_its_end(asyncio.to_thread(self._read_line, origin))

    def leave_open(self) -> None:
        """Let `close` close no plain file: another reader is to go on with them."""
        self._leaves_open = True

    def take_open(self) -> list[Stream]:
        """After `close`: what was left open, for the next reader."""
        return [stream for stream in self._table.streams.values() if stream.is_open]

    async def close(self) -> None:
        async with self._lock:
            self._handles.clear()
            self._compressed.close()
            self._catalog.close()
            self._table.close(leave_plain=self._leaves_open)

    def _look(self, unwritten: Collection[int] = ()) -> ScanResult:
        result = self._catalog.scan(unwritten)
        self._rotation.observe(self._table.streams.values())
        result.notices += self._told_risks()
        result.rotations = self._rotation.take_changed()
        return result

    def _told_risks(self) -> list[Notice]:
        """What is new about unread bytes that will be deleted; once for each log, as long as it lasts."""
        urgent = sorted((one for one in self.risks if one.threatens), key=lambda one: one.deleted_in_seconds)
        for log in self._threatened - {risk.log for risk in urgent}:
            self._notices.over("rotation_risk", log)
        self._threatened = {risk.log for risk in urgent}
        for risk in urgent:
            when = about(risk.deleted_in_seconds)
            self._notices.tell_once(
                "rotation_risk",
                risk.log,
                f"{risk.unread_bytes} unread bytes of {risk.path} will be deleted by rotation in {when} at "
                "this pace. See in status why reading waits; keep more generations (logrotate's rotate)",
            )
        return self._notices.take()

    # -- reading

    def _poll(self) -> None:
        """Ask every open file for new bytes; families take turns, in a family the oldest comes first."""
        self._chunks_since_poll = 0
        self._compressed.sweep(self._table.streams)
        grown: dict[str, list[Stream]] = {}
        for stream in self._table.streams.values():
            if self._table.look(stream):
                grown.setdefault(stream.family, []).append(stream)
        self._wants_scan = self._catalog.wants_scan
        waiting = [turn.family for turn in self._turns if turn.family in grown]
        self._turns = deque(_turn_of(family, grown[family]) for family in dict.fromkeys([*waiting, *grown]))

    async def _take_turns(self) -> Chunk | None:
        """The next lines of whose turn it is; None when all turns are over."""
        while self._turns:
            turn = self._turns.popleft()
            stream, goal = turn.streams[0]
            if stream.compressed:
                if not self._compressed.has_room_for(stream):
                    continue  # Nor are the younger ones of its family read before it.
                items = await self._read_compressed(stream)
            else:
                items = await self._read_some(stream, goal)
            if items is None or stream.read_to >= goal:
                turn.streams.popleft()
            if turn.streams:
                self._turns.append(turn)
            if items or (stream.compressed and items is not None):
                self._chunks_since_poll += 1
                return Chunk(stream.file_id, items)
        return None

    async def _read_some(self, stream: Stream, goal: int) -> list[Line | OversizedLine] | None:
        """Read on until there is a line or the goal is reached; None when the stream cannot be read on."""
        cutter = self._cutter
        items: list[Line | OversizedLine] = []
        while not items and stream.read_to < goal and stream.unread:
            try:
                count = await self._fill(stream)
                # Looked at after the read, not before: so nothing that was written anew can slip in.
                intact = stream.examine(os.fstat(stream.fd), cutter.position + count)
            except OSError as error:
                self._table.lose_descriptor(stream, error)
                return None
            if not intact or not count:
                return None
            items = cutter.cut(count)
            if stream.final and cutter.position >= stream.size:
                items += cutter.finish()
            self._note_progress(stream, items)
        return items if items or stream.read_to >= goal else None

    async def _read_compressed(self, stream: Stream) -> list[Line | OversizedLine] | None:
        """One step of reading a compressed file; None when it cannot be read on."""
        if not stream.unread:
            return None
        try:
            items = await self._compressed.read(stream)
        except OSError as error:
            self._table.lose_descriptor(stream, error)
            return None
        self._table.note_growth(stream)
        return items

    async def _fill(self, stream: Stream) -> int:
        """Read the stream's next bytes into the cutter; gives their number."""
        cutter = self._cutter
        held = cutter.file, cutter.file_id, cutter.offset, cutter.position
        if held != (stream.path, stream.file_id, stream.offset, stream.read_to):
            cutter.start(stream.path, stream.file_id, stream.offset, stream.skipped)
        handle = self._handles.get(stream.fd)
        if handle is None:
            # The stream owns the descriptor; the handle is only a way to read from that number.
            handle = await aiofiles.open(stream.fd, "rb", buffering=0, closefd=False)
            self._handles[stream.fd] = handle
        os.lseek(stream.fd, cutter.position, os.SEEK_SET)
        # None would mean that a read had to wait, which no regular file makes it do.
        return await to_its_end(handle.readinto(cutter.room())) or 0

    def _note_progress(self, stream: Stream, items: list[Line | OversizedLine]) -> None:
        stream.note(self._cutter, items)
        if stream.final and stream.offset > stream.size:
            stream.rewind(stream.size)
        self._table.note_growth(stream)

    def _read_line(self, origin: Origin) -> Line | None:
        stream = self._table.streams.get(origin.file_id)
        if stream is None:
            if self._table.may_turn_up(origin.file_id):
                raise OutOfSightError
            return None
        try:
            fd = os.dup(stream.fd) if stream.is_open else open_to_read(stream.path)
        except OSError as error:
            raise OutOfSightError from error
        try:
            seen = see(fd, generation_of(fd), os.fstat(fd), compressed=stream.compressed)
            if recognise(stream, seen, fd) not in ("same", "moved"):
                raise OutOfSightError  # the next scan settles what became of it
            if stream.compressed:
                data = self._compressed.line(stream, origin)
            else:
                data = os.pread(fd, origin.length, origin.offset)
        except OSError as error:
            raise OutOfSightError from error
        finally:
            os.close(fd)
        if len(data) != origin.length or data.find(b"\n") != origin.length - 1:
            return None
        return Line(origin.file, origin.file_id, origin.offset, data[:-1])


class _Turn(Struct):
    """The streams of one family that have unread bytes, oldest first, each with the size it is read to.

    The goal is fixed when the turn begins, so that an old generation that still grows cannot keep a
    younger one waiting for ever.
    """

    family: str
    streams: deque[tuple[Stream, int]]


def _turn_of(family: str, streams: list[Stream]) -> _Turn:
    streams.sort(key=lambda stream: stream.file_id)
    return _Turn(family, deque((stream, stream.size) for stream in streams))


def _open_files_limit() -> int:
    """Half of what the process may open: the other half is for everything else it does."""
    soft_limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(8, soft_limit // 2) if soft_limit != resource.RLIM_INFINITY else 1 << 16


def _joined(first: ScanResult, second: ScanResult) -> ScanResult:
    records = {record.file_id: record for record in first.records + second.records}
    return ScanResult(
        first.notices + second.notices,
        list(records.values()),
        first.retired + second.retired,
        second.vanishing,
        first.rotations + second.rotations,
        first.looks + second.looks,
    )
