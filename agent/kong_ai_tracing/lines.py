"""Bytes in, complete lines out.

What comes in are the bytes of one log file, in order, in pieces of any size. What goes out are
complete lines with the place they came from, and for each stretch of bytes that cannot be a line a
note that says where it is and why. An unfinished last line is never given out: it waits for its end.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import ClassVar

from msgspec import Struct

MARKER_BYTES = 256
"""How many bytes before an offset are hashed to recognise that offset again."""


class Origin(Struct, frozen=True):
    """The byte range of one line: `length` counts its newline."""

    file: str
    file_id: int
    offset: int
    length: int


class Line(Struct, gc=False):
    """One complete line, without its newline and otherwise exactly as it stands in the file."""

    file: str
    file_id: int
    offset: int
    data: bytes

    @property
    def origin(self) -> Origin:
        return Origin(self.file, self.file_id, self.offset, len(self.data) + 1)

    @property
    def end(self) -> int:
        """Where the next line begins."""
        return self.offset + len(self.data) + 1

    @property
    def tail(self) -> bytes:
        """The last bytes up to and including the newline, for the marker of the offset behind it."""
        return self.data[-MARKER_BYTES + 1 :] + b"\n"


class OutOfSightError(Exception):
    """A line cannot be read again now; whether it is gone cannot be said yet."""


class OversizedLine(Struct, frozen=True):
    """A line longer than the limit, by reference; `tail` is its end including the newline."""

    origin: Origin
    tail: bytes
    data: ClassVar[bytes] = b""

    @property
    def file_id(self) -> int:
        return self.origin.file_id

    @property
    def end(self) -> int:
        return self.origin.offset + self.origin.length


class SetAside(Struct, frozen=True):
    """Bytes that will not be delivered, by reference, and the reason. Never holds their content."""

    origin: Origin
    reason: str


class Marker(Struct, frozen=True):
    """A digest of the `length` bytes before an offset."""

    length: int
    digest: bytes


def marker_of(tail: bytes) -> Marker:
    """The marker of an offset whose preceding bytes end with `tail` (at most MARKER_BYTES are used)."""
    tail = tail[-MARKER_BYTES:]
    return Marker(len(tail), blake2b(tail, digest_size=16).digest())


EMPTY_MARKER = marker_of(b"")


class LineCutter:
    """Cuts the bytes of one file at a time into lines; all memory it needs is one buffer.

    The reader fills `room()` and says with `cut()` how many bytes it got. Which lines come out does not
    depend on how the bytes were divided. NUL bytes at the start of a line belong to no line: a file that
    was truncated under a writer which does not append begins with a hole of them, of any size.
    """

    def __init__(self, *, chunk_bytes: int = 1 << 20, max_line_bytes: int = 16 << 20) -> None:
        self._chunk_bytes = chunk_bytes
        self._max_line_bytes = max_line_bytes
        self._allocate(chunk_bytes)
        self.start("", 0, 0)

    def start(self, file: str, file_id: int, offset: int, skipped: int = 0) -> None:
        """Turn to the line of `file` that begins at `offset`.

        `skipped` is what `skipped` was when the same line was left: reading goes on at `position`.
        """
        self.file = file
        self.file_id = file_id
        self.skipped = skipped
        """Bytes of the unfinished line that are not kept because it is too long; 0 for most lines."""
        self._base = offset + skipped
        self._filled = 0

    @property
    def offset(self) -> int:
        """Where the unfinished line begins."""
        return self._base - self.skipped

    @property
    def position(self) -> int:
        """Where the next byte has to be read."""
        return self._base + self._filled

    def room(self) -> memoryview:
        """A free part of the buffer, never empty and never more than a chunk."""
        return self._view[self._filled : self._filled + self._chunk_bytes]

    def cut(self, count: int) -> list[Line | OversizedLine]:
        """The lines that `count` more bytes in `room()` completed, in order."""
        file, file_id, base = self.file, self.file_id, self._base
        buffer, view, longest = self._buffer, self._view, self._max_line_bytes
        items: list[Line | OversizedLine] = []
        start, search, end = 0, self._filled, self._filled + count
        while (newline := buffer.find(b"\n", search, end)) >= 0:
            if self.skipped or newline - start > longest or not buffer[start]:
                items.append(self._unusual(start, newline))
            else:
                items.append(Line(file, file_id, base + start, bytes(view[start:newline])))
            start = search = newline + 1
        self._keep(start, end)
        return items

    def unfinished(self) -> bytes:
        """What there is of the line that waits for its end."""
        return bytes(self._view[: self._filled])

    def finish(self) -> list[Line | OversizedLine]:
        """The last line of a file that nobody will end any more, as if a newline followed."""
        if not self._filled:
            return []
        self._buffer[self._filled] = 0x0A
        return self.cut(1)

    def _unusual(self, start: int, newline: int) -> Line | OversizedLine:
        """A line that is too long, or that has NUL bytes before it."""
        if not self.skipped:
            start = self._after_nuls(start, newline)
            if newline - start <= self._max_line_bytes:
                return Line(self.file, self.file_id, self._base + start, bytes(self._view[start:newline]))
        first = self._base + start - self.skipped
        tail = bytes(self._view[max(start, newline + 1 - MARKER_BYTES) : newline + 1])
        length = self._base + newline + 1 - first
        self.skipped = 0
        return OversizedLine(Origin(self.file, self.file_id, first, length), tail)

    def _keep(self, start: int, end: int) -> None:
        """Move the unfinished line to the front; of one that is too long only what the marker needs."""
        if not self.skipped and start < end and not self._view[start]:
            start = self._after_nuls(start, end)
        rest = end - start
        if self.skipped + rest > self._max_line_bytes and rest > MARKER_BYTES:
            self.skipped += rest - MARKER_BYTES
            start, rest = end - MARKER_BYTES, MARKER_BYTES
        if start:
            self._view[:rest] = self._view[start:end]
        self._base += start
        self._filled = rest
        self._fit()

    def _after_nuls(self, start: int, end: int) -> int:
        return end - len(bytes(self._view[start:end]).lstrip(b"\0"))

    def _fit(self) -> None:
        """Make room for more of a long line; give the memory back when the line has gone."""
        wanted = self._chunk_bytes
        while wanted < 2 * self._filled:
            wanted *= 2
        wanted = min(wanted, max(self._max_line_bytes, MARKER_BYTES) + self._chunk_bytes)
        if wanted != len(self._buffer):
            rest = self._view[: self._filled]
            self._allocate(wanted)
            self._view[: len(rest)] = rest

    def _allocate(self, size: int) -> None:
        # A new buffer, not a resized one: a bytearray cannot change its size while a view is on it.
        self._buffer = bytearray(size)
        self._view = memoryview(self._buffer)
