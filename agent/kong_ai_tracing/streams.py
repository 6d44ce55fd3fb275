"""One stream is one file's bytes from one truncation to the next, under whatever name.

A stream owns its descriptor. It notices from that descriptor alone whether the file has grown, was cut or
was written anew; what follows from that for the other files is decided in `settling`.
"""

from __future__ import annotations

import contextlib
import os

from msgspec import Struct

from kong_ai_tracing.identity import (
    ENDLESS,
    HEAD_BYTES,
    FileRecord,
    Outcome,
    Seen,
    digest_of,
    is_binary,
    marker_at,
    recognise,
    see,
    stamp_of,
)
from kong_ai_tracing.lines import EMPTY_MARKER, Line, LineCutter, Marker, OversizedLine, marker_of

CLOSED = -1
NO_STAMP = (-1, 0, 0, 0)


class Stream(Struct, eq=False, kw_only=True):
    """What is known of one stream; everything but the first five fields changes as the file is read."""

    file_id: int
    family: str
    started_offset: int
    started_marker: Marker
    begun: int | None
    """From where on the content was read by whatever run; None when that is not known."""
    path: str
    device: int
    inode: int
    generation: int | None
    head_length: int
    head_digest: bytes
    offset: int
    """Where the next line begins."""
    marker: Marker
    read_to: int
    """Up to where bytes were read: behind `offset` when a line is unfinished."""
    skipped: int = 0
    """Bytes of an unfinished line that is too long to be kept."""
    fd: int = CLOSED
    size: int = 0
    """As far as the file is known to be this stream's content."""
    links: int = 1
    stamp: tuple[int, int, int, int] = NO_STAMP
    broken: Outcome | None = None
    """Why the descriptor no longer shows this stream's content."""
    compressed: bool = False
    """All offsets are those of its content."""
    ended: bool = False
    """A compressed file was read to its end."""
    cut: bool = False
    """A compressed file ends too early: it may still be being written."""
    stamp_at_cut: tuple[int, int, int, int] = NO_STAMP
    stamp_at_scan: tuple[int, int, int, int] = NO_STAMP
    binary: bool = False
    final: bool = False
    """Nobody will write to it any more: the last line is given out without its newline."""
    changed: bool = True
    """Its record differs from the one that was last given out."""
    recorded: bool = False
    """A record was given out by which the content can be recognised."""
    size_before_cut: int = 0
    """How much there was when the file was cut: what a compressed copy should hold."""
    outlived: bool = False
    """Somebody was seen writing to it when it was deleted already."""
    quiet_scans: int = 0
    """So many scans in a row brought nothing new, or did not find the file at all."""
    grown_at_scan: int = 0

    @property
    def key(self) -> tuple[int, int]:
        return self.device, self.inode

    @property
    def is_open(self) -> bool:
        return self.fd != CLOSED

    @property
    def is_history(self) -> bool:
        """A compressed file of which nothing is wanted."""
        return self.offset >= ENDLESS

    @property
    def behind(self) -> bool:
        """Are there bytes that were not read yet?"""
        return self.size > self.read_to and self.broken is None and not self.binary and self.is_open

    @property
    def unread(self) -> bool:
        """May they be read now? Not before a record with a head was given out: a crash must find the file."""
        return self.recorded and self.behind

    @property
    def idle(self) -> bool:
        """May the descriptor be closed without losing anything?"""
        at_end = self.size == self.read_to or self.binary
        return self.is_open and at_end and self.links > 0 and self.broken is None

    def record(self) -> FileRecord:
        """For the store, which has newer offsets than that of the beginning."""
        return self._record(self.started_offset, self.started_marker)

    def record_now(self) -> FileRecord:
        """To find the content again in this run."""
        return self._record(self.offset, self.marker)

    def _record(self, offset: int, marker: Marker) -> FileRecord:
        return FileRecord(
            self.file_id,
            self.path,
            self.device,
            self.inode,
            self.generation,
            self.head_length,
            self.head_digest,
            offset,
            marker,
            self.begun,
        )

    def look(self) -> bool:
        """One fstat, and a closer look only when it differs. True when there is something to read.

        Raises OSError when the descriptor is of no use any more.
        """
        if self.fd == CLOSED or self.broken is not None:
            return False
        if stamp_of(status := os.fstat(self.fd)) != self.stamp:
            self.examine(status, self.read_to)
        return self.unread

    def examine(self, status: os.stat_result, read_to: int) -> bool:
        """Is this still the content of which the bytes up to `read_to` are known?"""
        seen = see(self.fd, self.generation, status, compressed=self.compressed)
        outcome = recognise(self, seen, self.fd, read_to)
        if outcome != "same":
            self.broken = outcome
            return False
        if self.links == 0 and seen.size > self.size:
            self.outlived = True
        self.stamp, self.links = seen.stamp, seen.links
        if not self.compressed:
            self.size = seen.size
        if self.head_length < HEAD_BYTES and len(seen.head) > self.head_length:
            self.head_length, self.head_digest = len(seen.head), digest_of(seen.head)
            self.binary = is_binary(seen.head)
            self.changed = True
        return True

    def attach(self, fd: int, seen: Seen, path: str) -> None:
        """Go on in the file that `fd` shows; a look must follow before anything is read."""
        if self.is_open and self.fd != fd:
            os.close(self.fd)
        self.fd, self.path, self.generation = fd, path, seen.generation
        self.device, self.inode = seen.key
        self.links, self.stamp = seen.links, NO_STAMP
        self.compressed, self.ended, self.cut = seen.compressed, False, False
        if seen.compressed:
            self.size, self.read_to, self.skipped = ENDLESS, self.offset, 0
        self.broken, self.final, self.quiet_scans = None, False, 0
        self.changed = True

    def note(self, cutter: LineCutter, items: list[Line | OversizedLine]) -> None:
        """Move on to where the lines that were cut end."""
        if cutter.offset != self.offset:
            last = items[-1] if items else None
            ends_here = last is not None and last.origin.offset + last.origin.length == cutter.offset
            # Skipped NUL bytes end no line: such an offset is as good as a beginning.
            self.marker = marker_of(last.tail) if last is not None and ends_here else EMPTY_MARKER
        self.offset, self.read_to, self.skipped = cutter.offset, cutter.position, cutter.skipped

    def rewind(self, offset: int) -> None:
        """Let the next line begin at `offset`, and forget what was read behind it."""
        if offset != self.offset:
            self.offset, self.marker = offset, marker_at(self.fd, offset)
        self.read_to, self.skipped = offset, 0

    def close(self) -> None:
        if self.is_open:
            with contextlib.suppress(OSError):
                os.close(self.fd)
            self.fd = CLOSED


def new_stream(file_id: int, fd: int, seen: Seen, path: str, family: str, offset: int) -> Stream:
    """A stream that begins at `offset` of an open file."""
    marker = marker_at(fd, offset) if offset and not seen.compressed else EMPTY_MARKER
    return Stream(
        file_id=file_id,
        family=family,
        started_offset=offset,
        started_marker=marker,
        begun=offset,
        path=path,
        device=seen.device,
        inode=seen.inode,
        generation=seen.generation,
        head_length=len(seen.head),
        head_digest=digest_of(seen.head),
        offset=offset,
        marker=marker,
        read_to=offset,
        fd=fd,
        size=seen.size,
        links=seen.links,
        stamp=seen.stamp,
        compressed=seen.compressed,
        binary=is_binary(seen.head),
    )


def known_stream(record: FileRecord, family: str) -> Stream:
    """The stream of an earlier run, not yet attached to the file it is found in."""
    return Stream(
        file_id=record.file_id,
        family=family,
        started_offset=record.offset,
        started_marker=record.marker,
        begun=record.begun,
        path=record.path,
        device=record.device,
        inode=record.inode,
        generation=record.generation,
        head_length=record.head_length,
        head_digest=record.head_digest,
        offset=record.offset,
        marker=record.marker,
        read_to=record.offset,
        size=record.offset,
    )
