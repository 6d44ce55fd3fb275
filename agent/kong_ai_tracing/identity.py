"""Which file is this? Answered from an open descriptor, never from a name.

What comes in are a descriptor and what was noted of a file earlier; what goes out is a named outcome.
A name may point to another file a moment later, an inode number may be given to another file, a device
may get another number; the bytes at the head and the bytes before the offset tell such cases apart.
"""

from __future__ import annotations

import fcntl
import os
import struct
from hashlib import blake2b
from typing import Literal, Protocol

from msgspec import Struct

from kong_ai_tracing.archivefiles import content_head
from kong_ai_tracing.lines import MARKER_BYTES, Marker, marker_of

HEAD_BYTES = 1024
"""As much of a file's beginning is hashed, or less as long as the file is shorter."""
TELLING_BYTES = 64
"""Fewer bytes in common say nothing about whether two files hold the same content."""

ENDLESS = 1 << 62
"""The size of a compressed file's content: not known before its end was met. As an offset: nothing of the
file is wanted."""

_FS_IOC_GETVERSION = 0x80087601
_BLOCK_BYTES = 64 << 10
_NO_TEXT = bytes([*range(1, 9), *range(14, 27), *range(28, 32), 127])
_MAGIC = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00", b"BZh", b"PK\x03\x04", b"\x04\x22\x4d\x18")


class Position(Struct, frozen=True):
    """Where a file has been read to: the marker is that of the bytes just before `offset`."""

    file_id: int
    offset: int
    marker: Marker


class FileRecord(Struct, frozen=True):
    """What is kept of a file between two runs.

    In a `ScanResult` the offset is where this run began to read the file: right for a file that is new,
    not newer than what is known of one that was stored before.
    """

    file_id: int
    """One stream of bytes: an inode, and of it the time between two truncations."""
    path: str
    device: int
    inode: int
    generation: int | None
    """What tells two files apart that had the same inode number; None where the filesystem has none."""
    head_length: int
    head_digest: bytes
    offset: int
    marker: Marker
    begun: int | None = None
    """From where on it was read: what stands before it was left to others. None when that is not known."""
    calls: int | None = 0
    """How many calls were found from there to `offset`; None when that is not known."""

    @property
    def is_history(self) -> bool:
        """A compressed file of which nothing is wanted."""
        return self.offset >= ENDLESS


class Known(Protocol):
    """What `judge` wants to know of a file that was met before."""

    @property
    def device(self) -> int: ...
    @property
    def inode(self) -> int: ...
    @property
    def generation(self) -> int | None: ...
    @property
    def head_length(self) -> int: ...
    @property
    def head_digest(self) -> bytes: ...
    @property
    def offset(self) -> int: ...
    @property
    def marker(self) -> Marker: ...


class Seen(Struct, frozen=True):
    """An open file, as its descriptor shows it at one moment."""

    device: int
    inode: int
    generation: int | None
    size: int
    links: int
    stamp: tuple[int, int, int, int]
    head: bytes
    """The beginning of its content."""
    compressed: bool = False

    @property
    def key(self) -> tuple[int, int]:
        return self.device, self.inode


Outcome = Literal["same", "moved", "shortened", "truncated", "rewritten", "other"]
"""`same`: goes on where it was. `moved`: the same content under another inode. `shortened`: cut behind a
head that is still there. `truncated`: cut, and nothing of it left to go on from. `rewritten`: as long as it
was or longer, but with other content. `other`: not this file at all."""


def judge(known: Known, seen: Seen, *, read_to: int, marker_holds: bool) -> Outcome:
    """What an open file is to a known one of which the bytes up to `read_to` have been read."""
    same_inode = (known.device, known.inode) == (seen.device, seen.inode)
    if same_inode and None not in (known.generation, seen.generation):
        # With another generation the number was given to another file.
        same_inode = known.generation == seen.generation
    head_holds = head_is(seen.head, known.head_length, known.head_digest)
    if seen.size >= read_to and head_holds and marker_holds:
        telling = known.head_length >= TELLING_BYTES if seen.compressed else is_telling(known)
        return "same" if same_inode else "moved" if telling else "other"
    if not same_inode:
        return "other"
    if seen.size >= read_to:
        return "rewritten"
    return "shortened" if head_holds and known.head_length >= TELLING_BYTES else "truncated"


def is_telling(known: Known) -> bool:
    """Is enough known of a file's content to find it under another inode?

    The marker counts as well: a crash may come before the head of a young file was stored.
    """
    return max(known.head_length, known.marker.length) >= TELLING_BYTES


def recognise(known: Known, seen: Seen, fd: int, read_to: int | None = None) -> Outcome:
    """`judge` with the marker looked up in the file.

    In a compressed file it is looked up by whoever reads it: all that stands before it must be decompressed.
    """
    read_to = known.offset if read_to is None else read_to
    holds = seen.compressed or marker_holds(fd, known.offset, known.marker)
    return judge(known, seen, read_to=read_to, marker_holds=holds)


def open_to_read(path: str) -> int:
    """A descriptor on `path`. Never waits, not even for the other end of a FIFO."""
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)


def stamp_of(status: os.stat_result) -> tuple[int, int, int, int]:
    """Changes whenever somebody wrote: a reason to look, never a reason to conclude."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_nlink


def see(fd: int, generation: int | None, status: os.stat_result, *, compressed: bool = False) -> Seen:
    return Seen(
        status.st_dev,
        status.st_ino,
        generation,
        ENDLESS if compressed else status.st_size,
        status.st_nlink,
        stamp_of(status),
        content_head(fd, HEAD_BYTES) if compressed else os.pread(fd, HEAD_BYTES, 0),
        compressed,
    )


def generation_of(fd: int) -> int | None:
    """The inode's generation number, None where the filesystem has none."""
    try:
        answer = fcntl.ioctl(fd, _FS_IOC_GETVERSION, bytes(8))
    except OSError:
        return None
    generation: int = struct.unpack_from("=I", answer)[0]
    return generation


def digest_of(head: bytes) -> bytes:
    return blake2b(head, digest_size=16).digest()


def head_is(head: bytes, length: int, digest: bytes) -> bool:
    """Does a file that begins with `head` begin with the bytes of a known head?"""
    return len(head) >= length and digest_of(head[:length]) == digest


def marker_at(fd: int, offset: int) -> Marker:
    length = min(offset, MARKER_BYTES)
    return marker_of(os.pread(fd, length, offset - length))


def marker_holds(fd: int, offset: int, marker: Marker) -> bool:
    start = offset - marker.length
    return start >= 0 and marker_of(os.pread(fd, marker.length, start)) == marker


def equal_before(fd: int, other_fd: int, offset: int) -> bool:
    """Do two files hold the same bytes just before `offset`?"""
    length = min(offset, MARKER_BYTES)
    start = offset - length
    mine = os.pread(fd, length, start)
    return len(mine) == length and mine == os.pread(other_fd, length, start)


def line_start(fd: int, offset: int, *, within_bytes: int = 16 << 20) -> int:
    """Where the line begins that `offset` falls into, so that reading from there never cuts a line.

    `offset` itself when no line begins in the bytes before it.
    """
    end, limit = offset, max(0, offset - within_bytes)
    while end > limit:
        start = max(limit, end - _BLOCK_BYTES)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0 if limit == 0 else offset


def is_binary(head: bytes) -> bool:
    """Compressed files and archives by their first bytes; what was shredded by how many bytes are no text.

    Zeros say nothing: a file that was cut under a writer which does not append begins with them.
    """
    return head.startswith(_MAGIC) or len(head) - len(head.translate(None, _NO_TEXT)) > len(head) // 32
