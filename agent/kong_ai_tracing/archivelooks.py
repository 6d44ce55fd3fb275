"""Places of archives in, what lies there out: which file is which, in the order in which they are read.

A file is known by the beginning of its content, whatever its name and form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

import orjson
from msgspec import Struct
from msgspec.structs import replace

from kong_ai_tracing.archivefiles import Content
from kong_ai_tracing.copies import Heads
from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.identity import HEAD_BYTES, TELLING_BYTES, FileRecord
from kong_ai_tracing.lines import EMPTY_MARKER, Marker
from kong_ai_tracing.remotefiles import RemoteReader
from kong_ai_tracing.remotestores import RemoteFile

Place: TypeAlias = Path | RemoteFile
"""Where an archive lies."""

_HEAD_BYTES = 64 * 1024
"""The least that two files must have in common to hold the same content. The first line is part of it as a
whole: one long system prompt can begin the lines of a route, but each line has a request id of its own."""
_LOOKS_AT_ONCE = 16
"""At so many objects of a store: each look waits for its answers."""


class ArchiveError(OperatorError):
    """A path that cannot be read as an archive; the text says why and what to do."""


class DeliveredPart(Struct, frozen=True):
    """A part of a file that somebody delivered: to where it reaches, and what stands before that place."""

    begin: int
    end: int
    marker: Marker
    calls: int | None


class Archive(Struct, frozen=True):
    """One file, as it was looked at, and from where on it is to be read."""

    place: Place
    record: FileRecord
    compressed: bool
    size_bytes: int
    first_started_at_ms: float
    head: bytes = b""
    parts: tuple[DeliveredPart, ...] = ()
    """What others seem to have delivered of it, first parts first, longer ones before shorter ones."""


def telling(delivered: Iterable[FileRecord]) -> Heads[FileRecord]:
    """Those parts that can be told from others: by their end where little of their beginning is known."""
    return Heads(
        one
        for one in delivered
        if one.head_length > HEAD_BYTES or min(one.head_length, one.marker.length) >= TELLING_BYTES
    )


def _parts(head: bytes, delivered: Heads[FileRecord]) -> tuple[DeliveredPart, ...]:
    parts = [
        DeliveredPart(one.begun, one.offset, one.marker, one.calls)
        for one in delivered.find(head)
        if one.begun is not None
    ]
    return tuple(sorted(parts, key=lambda part: (part.begin, -part.end)))


def identified(
    archives: list[Archive], records: list[FileRecord], delivered: Heads[FileRecord]
) -> list[Archive]:
    """Oldest first, each with the number and the position of its content; two may hold the same content."""
    known = {record.head_digest: record for record in records}
    lengths = {record.head_length for record in records} - {0}
    next_id = max((record.file_id for record in records), default=0) + 1
    found: list[Archive] = []
    alike: dict[bytes, list[Archive]] = {}
    # The longest first: what is only the beginning of another file is known by that file.
    for archive in sorted(archives, key=lambda archive: -len(archive.head)):
        beginning = archive.head[:HEAD_BYTES]
        longer = alike.setdefault(beginning, []) if len(beginning) == HEAD_BYTES else found
        earlier = _recognised(archive.head, known, lengths) or _longer(archive.head, longer)
        if earlier is not None:
            number, offset, marker = earlier.file_id, earlier.offset, earlier.marker
        else:
            number, offset, marker = next_id, 0, EMPTY_MARKER
            next_id += 1
        record = replace(archive.record, file_id=number, offset=offset, marker=marker)
        found.append(replace(archive, record=record))
        alike.setdefault(beginning, []).append(found[-1])
    # Of the same content the longest comes last, so that its head is the one that is stored.
    found.reverse()
    return sorted(
        (replace(one, head=b"", parts=_parts(one.head, delivered)) for one in found),
        key=lambda one: (one.first_started_at_ms, one.record.file_id),
    )


def _recognised(head: bytes, known: Mapping[bytes, FileRecord], lengths: Iterable[int]) -> FileRecord | None:
    """The record of a file that began in the same way; a file may have grown since."""
    for length in lengths:
        if length <= len(head) and (record := known.get(_digest(head[:length]))):
            return record
    return None


def _longer(head: bytes, found: list[Archive]) -> FileRecord | None:
    """The record of a file that begins with all of this one."""
    return next((one.record for one in found if head and one.head.startswith(head)), None)


def _digest(head: bytes) -> bytes:
    return blake2b(head, digest_size=16).digest()


def content_of(place: Place) -> Content:
    """Raises OSError or RemoteError."""
    if isinstance(place, Path):
        return Content(str(place))
    return Content(place.name, cast(BinaryIO, RemoteReader(place)))


def looks_at(places: Sequence[Place], max_head_bytes: int) -> list[Archive]:
    local = [_look_at(place, max_head_bytes) for place in places if isinstance(place, Path)]
    remote = [place for place in places if not isinstance(place, Path)]
    if not remote:
        return local
    with ThreadPoolExecutor(_LOOKS_AT_ONCE) as threads:
        return local + list(threads.map(lambda file: _look_at_remote(file, max_head_bytes), remote))


def _look_at(path: Path, max_head_bytes: int) -> Archive:
    """What a file is, and its beginning; nothing more is read."""
    try:
        if path.is_dir():
            raise ArchiveError(f"{path} is a directory; name its files, for example {path}/*.log*")
        status = path.stat()
        with closing(Content(str(path))) as content:
            seen = _Seen(path, str(path.absolute()), status.st_size, status.st_mtime * 1000)
            return _archive_of(seen, content, max_head_bytes, device=status.st_dev, inode=status.st_ino)
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: {error}") from error


def _look_at_remote(file: RemoteFile, max_head_bytes: int) -> Archive:
    """The same of an object: it is known by its beginning alone, wherever it is moved."""
    reader = RemoteReader(file)
    with closing(Content(file.name, cast(BinaryIO, reader))) as content:
        seen = _Seen(file, file.name, reader.size, reader.modified_ms)
        return _archive_of(seen, content, max_head_bytes)


class _Seen(Struct, frozen=True):
    """What a file's surroundings say of it."""

    place: Place
    name: str
    size_bytes: int
    modified_ms: float


def _archive_of(
    seen: _Seen, content: Content, max_head_bytes: int, *, device: int = 0, inode: int = 0
) -> Archive:
    head = _read_head(content, max_head_bytes)
    if not head and content.damage:
        raise ArchiveError(f"{seen.name} cannot be read: {content.damage}")
    record = FileRecord(
        file_id=0,
        path=seen.name,
        device=device,
        inode=inode,
        generation=None,
        head_length=len(head),
        head_digest=_digest(head),
        offset=0,
        marker=EMPTY_MARKER,
        begun=0,
    )
    started_at_ms = _started_at_ms(head) or seen.modified_ms
    return Archive(seen.place, record, content.compressed, seen.size_bytes, started_at_ms, head)


def _read_head(content: Content, max_bytes: int) -> bytes:
    """The beginning of the content, with the whole of its first line."""
    head = bytearray()
    line_ended = False
    while (len(head) < _HEAD_BYTES or not line_ended) and len(head) < max_bytes:
        piece = content.read(_HEAD_BYTES)
        if not piece:
            break
        line_ended = line_ended or b"\n" in piece
        head += piece
    line_end = head.find(b"\n") + 1 or len(head)
    return bytes(head[: min(max(_HEAD_BYTES, line_end), max_bytes)])


def _started_at_ms(text: bytes) -> float | None:
    """When the first request of a file began; None when its first line does not say."""
    try:
        value = orjson.loads(text.partition(b"\n")[0])["started_at"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return float(value) if isinstance(value, int | float) else None
