"""Files that hold the same content as a known one: copies, and what was moved to another disk.

copytruncate makes a copy and then cuts the original. The copy must not be read as a new file while the
original still holds the same lines, and must be read when it holds the only ones.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import Generic, TypeVar

from msgspec import Struct

from kong_ai_tracing.identity import (
    TELLING_BYTES,
    Known,
    Seen,
    digest_of,
    equal_before,
    head_is,
    is_telling,
    marker_holds,
)
from kong_ai_tracing.streams import Stream

K = TypeVar("K", bound=Known)


class Heads(Generic[K]):
    """Finds, among many known files, those that begin like an open one."""

    def __init__(self, known: Iterable[K]) -> None:
        self._by_head: dict[int, dict[bytes, list[K]]] = {}
        self._headless: list[K] = []
        for one in known:
            self.add(one)

    def add(self, known: K) -> None:
        if known.head_length >= TELLING_BYTES:
            same_length = self._by_head.setdefault(known.head_length, {})
            same_length.setdefault(known.head_digest, []).append(known)
        elif is_telling(known):
            self._headless.append(known)

    def find(self, head: bytes) -> list[K]:
        found = list(self._headless)
        for length, by_digest in self._by_head.items():
            if length <= len(head):
                found += by_digest.get(digest_of(head[:length]), ())
        return found


class Copy(Struct, eq=False):
    """A file that holds the content of a stream, and waits: the original is read as long as it lasts."""

    fd: int
    path: str
    seen: Seen
    original: Stream
    common: int
    """Up to here both were seen to be the same."""

    @property
    def size(self) -> int:
        return self.seen.size

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.fd)


def begins_with(stream: Stream, head: bytes) -> bool:
    """Does a stream that has grown since begin with all there was when a short copy of it was made?"""
    if not (TELLING_BYTES <= len(head) < stream.head_length and stream.is_open) or stream.compressed:
        return False
    return stream.broken is None and os.pread(stream.fd, len(head), 0) == head


def common_length(stream: Stream, fd: int, seen: Seen) -> int | None:
    """Up to where a file is seen to hold the same bytes as a stream; None when it is another content."""
    if not (head_is(seen.head, stream.head_length, stream.head_digest) or begins_with(stream, seen.head)):
        return None
    if seen.compressed or stream.is_history:
        # Nothing can be in it that was not in the original.
        return seen.size if stream.head_length >= TELLING_BYTES else None
    was_cut = stream.broken is not None
    if stream.is_open and not was_cut and not stream.compressed:
        both = min(os.fstat(stream.fd).st_size, seen.size)
        is_same = equal_before(stream.fd, fd, both)
        # It may have been cut since this scan looked at it, or while the two were compared.
        was_cut = not stream.examine(os.fstat(stream.fd), stream.read_to)
        if not was_cut:
            return both if is_same else None
    if seen.size >= stream.offset:
        return stream.offset if marker_holds(fd, stream.offset, stream.marker) else None
    # The original was cut when less had been copied than read: what there is has been read.
    return seen.size if was_cut and stream.head_length >= TELLING_BYTES else None
