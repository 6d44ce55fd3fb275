"""Files that nothing is known of: which of them is older, and which is a copy of another one?"""

from __future__ import annotations

import os

from kong_ai_tracing.identity import TELLING_BYTES, open_to_read, see
from kong_ai_tracing.patterns import Candidate, family_of


def copies_last(unknown: list[Candidate]) -> list[Candidate]:
    """The rotated files that begin like a live one go behind it: they are its copies, not older generations.

    So does what has no beginning yet: it may be a copy that is being made.
    """
    live: dict[str, list[bytes]] = {}
    for candidate in unknown:
        if candidate.kind == "live":
            live.setdefault(family_of(candidate.path), []).append(_head_of(candidate))

    def is_copy(candidate: Candidate) -> bool:
        originals = live.get(family_of(candidate.path))
        if candidate.kind == "live" or not originals:
            return False
        head = _head_of(candidate)
        return len(head) < TELLING_BYTES or any(_begin_alike(head, original) for original in originals)

    return sorted(unknown, key=is_copy)


def _begin_alike(one: bytes, other: bytes) -> bool:
    length = min(len(one), len(other))
    return length >= TELLING_BYTES and one[:length] == other[:length]


def _head_of(candidate: Candidate) -> bytes:
    """How a file begins; nothing when that cannot be said now."""
    try:
        fd = open_to_read(candidate.path)
    except OSError:
        return b""
    try:
        return see(fd, None, os.fstat(fd), compressed=candidate.compressed).head
    except OSError:
        return b""
    finally:
        os.close(fd)
