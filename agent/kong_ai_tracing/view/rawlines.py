"""The line of the log that an observation was made from, read where the store says it was."""

from __future__ import annotations

import os
import stat
from typing import Any, BinaryIO, cast

from kong_ai_tracing.archivefiles import DAMAGE, open_content

_MAX_BYTES = 1 << 20
_MAX_SKIPPED_BYTES = 1 << 30
_CHUNK_BYTES = 1 << 20


class NoLineError(Exception):
    """Why the line cannot be shown."""


def raw_line(origin: dict[str, Any], request_id: str | None) -> str:
    """The line, or its beginning when it is long. Raises NoLineError."""
    try:
        raw, content = open_content(origin["file"], _opened(origin["file"]))
    except OSError as error:
        raise NoLineError(f"{origin['file']} cannot be read: {error.strerror}") from None
    with raw, content:
        try:
            if content is raw:
                raw.seek(origin["offset"])
            else:
                _skip(content, origin["offset"])
            line = _read(content, min(origin["length"], _MAX_BYTES))
        except DAMAGE as error:
            raise NoLineError(f"{origin['file']} cannot be read: {error}") from None
    text = line.rstrip(b"\r\n").decode(errors="replace")
    if not text.startswith("{") or (request_id and request_id not in text and origin["length"] <= _MAX_BYTES):
        raise NoLineError("The log was rotated since: the line is no longer at its place.")
    return text


def _opened(path: str) -> BinaryIO:
    # Not to be held up by what became a pipe meanwhile.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NoLineError(f"{path} is not a regular file any more.")
    return cast(BinaryIO, os.fdopen(descriptor, "rb", buffering=0))


def _skip(content: BinaryIO, count: int) -> None:
    """A compressed file can only be read from its beginning."""
    if count > _MAX_SKIPPED_BYTES:
        raise NoLineError("The line stands too far inside of a compressed file.")
    while count:
        read = len(content.read(min(count, _CHUNK_BYTES)))
        if not read:
            raise NoLineError("The file is shorter than it was.")
        count -= read


def _read(content: BinaryIO, length: int) -> bytes:
    parts = []
    while length:
        part = content.read(length)
        if not part:
            break
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
