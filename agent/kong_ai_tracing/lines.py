"""Bytes in, complete lines out.

What comes in are the bytes of one log file, in order, in pieces of any size. What goes out are
complete lines with the place they came from, and for each stretch of bytes that cannot be a line a
note that says where it is and why. An unfinished last line is never given out: it waits for its end.
"""

from __future__ import annotations

from hashlib import blake2b

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
    def tail(self) -> bytes:
        """The last bytes up to and including the newline, for the marker of the offset behind it."""
        return self.data[-MARKER_BYTES + 1 :] + b"\n"


class OversizedLine(Struct, frozen=True):
    """A line longer than the limit, by reference; `tail` is its end including the newline."""

    origin: Origin
    tail: bytes


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
