"""Places of archives in, what lies there out: which file is which, in the order in which they are read.

A file is known by the beginning of its content, whatever its name and form.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
from kong_ai_tracing.identity import HEAD_BYTES, TELLING_BYTES, FileRecord, digest_of
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
    parts: tuple[DeliveredPart, ...] = ()
    """What others seem to have delivered of it, first parts first, longer ones before shorter ones."""


class Look(Struct, frozen=True):
    """An archive, and what tells its content from others. Of thousands of files the heads are too much."""

    archive: Archive
    beginning: bytes
    """The first bytes; all of a head that is as short."""
    samples: tuple[bytes, ...]
    """Digests of the head's first 1, 2, 4, … KiB."""
    earlier: FileRecord | None
    """What an earlier run left of the same content."""

    @property
    def length(self) -> int:
        return self.archive.record.head_length

    @property
    def digest(self) -> bytes:
        return self.archive.record.head_digest


class Memory:
    """The contents that are known before anything is looked at: by an earlier run, and by others."""

    def __init__(self, records: Iterable[FileRecord], delivered: Iterable[FileRecord]) -> None:
        """`delivered` are the parts that somebody else delivered."""
        self.records = list(records)
        self._by_digest = {record.head_digest: record for record in self.records}
        self._lengths = {record.head_length for record in self.records} - {0}
        # Only those that can be told from others: by their end where little of their beginning is known.
        self._delivered = Heads(
            one
            for one in delivered
            if one.head_length > HEAD_BYTES or min(one.head_length, one.marker.length) >= TELLING_BYTES
        )

    def earlier(self, head: bytes) -> FileRecord | None:
        """The record of a file that began in the same way; a file may have grown since."""
        for length in self._lengths:
            if length <= len(head) and (record := self._by_digest.get(digest_of(head[:length]))):
                return record
        return None

    def parts(self, head: bytes) -> tuple[DeliveredPart, ...]:
        parts = [
            DeliveredPart(one.begun, one.offset, one.marker, one.calls)
            for one in self._delivered.find(head)
            if one.begun is not None
        ]
        return tuple(sorted(parts, key=lambda part: (part.begin, -part.end)))


def identified(looks: Iterable[Look], memory: Memory) -> list[Archive]:
    """Oldest first, each with the number and the position of its content; two may hold the same content.

    Raises ArchiveError when one can no longer be read.
    """
    next_id = max((record.file_id for record in memory.records), default=0) + 1
    found: list[tuple[Look, FileRecord]] = []
    alike: dict[bytes, list[tuple[Look, FileRecord]]] = {}
    # The longest first: what is only the beginning of another file is known by that file.
    for look in sorted(looks, key=lambda look: -look.length):
        longer = alike.setdefault(look.beginning, []) if len(look.beginning) == HEAD_BYTES else found
        earlier = look.earlier or next((record for one, record in longer if _begins_with(one, look)), None)
        if earlier is not None:
            number, offset, marker = earlier.file_id, earlier.offset, earlier.marker
        else:
            number, offset, marker = next_id, 0, EMPTY_MARKER
            next_id += 1
        one = look, replace(look.archive.record, file_id=number, offset=offset, marker=marker)
        found.append(one)
        alike.setdefault(look.beginning, []).append(one)
    # Of the same content the longest comes last, so that its head is the one that is stored.
    found.reverse()
    return sorted(
        (replace(look.archive, record=record) for look, record in found),
        key=lambda one: (one.first_started_at_ms, one.record.file_id),
    )


def _begins_with(longer: Look, shorter: Look) -> bool:
    """Does a head begin with all of another, which is not longer?"""
    if shorter.length <= len(longer.beginning):
        return shorter.length > 0 and longer.beginning.startswith(shorter.beginning)
    if longer.samples[: len(shorter.samples)] != shorter.samples:
        return False
    if longer.length == shorter.length:
        return longer.digest == shorter.digest
    # Nearly certain by now, and rare: a copy that was made before the file had grown.
    return _digest_again(longer.archive.place, shorter.length) == shorter.digest


def _digest_again(place: Place, length: int) -> bytes:
    try:
        with closing(content_of(place)) as content:
            head = bytearray()
            while len(head) < length and (piece := content.read(min(length - len(head), _HEAD_BYTES))):
                head += piece
    except OSError as error:
        raise ArchiveError(f"{place} cannot be read: {error.strerror or error}") from error
    return digest_of(bytes(head))


def content_of(place: Place) -> Content:
    """Raises OSError or RemoteError."""
    if isinstance(place, Path):
        return Content(str(place))
    return Content(place.name, cast(BinaryIO, RemoteReader(place)))


def looks_at(places: Sequence[Place], memory: Memory, max_head_bytes: int) -> list[Look]:
    """What lies at these places, and which of it is known. Raises ArchiveError or RemoteError."""
    looking = _Looking(memory, max_head_bytes)
    local = [looking.at(place) for place in places if isinstance(place, Path)]
    remote = [place for place in places if not isinstance(place, Path)]
    if not remote:
        return local
    with ThreadPoolExecutor(_LOOKS_AT_ONCE) as threads:
        return local + list(threads.map(looking.at_remote, remote))


class _Looking(Struct, frozen=True):
    """How files are looked at."""

    memory: Memory
    max_head_bytes: int

    def at(self, path: Path) -> Look:
        """What a file is, and its beginning; nothing more is read."""
        try:
            if path.is_dir():
                raise ArchiveError(f"{path} is a directory; name its files, for example {path}/*.log*")
            status = path.stat()
            with closing(Content(str(path))) as content:
                seen = _Seen(path, str(path.absolute()), status.st_size, status.st_mtime * 1000)
                return self._look(seen, content, device=status.st_dev, inode=status.st_ino)
        except OSError as error:
            raise ArchiveError(f"{path} cannot be read: {error.strerror or error}") from error

    def at_remote(self, file: RemoteFile) -> Look:
        """The same of an object: it is known by its beginning alone, wherever it is moved."""
        reader = RemoteReader(file)
        with closing(Content(file.name, cast(BinaryIO, reader))) as content:
            return self._look(_Seen(file, file.name, reader.size, reader.modified_ms), content)

    def _look(self, seen: _Seen, content: Content, *, device: int = 0, inode: int = 0) -> Look:
        head = _read_head(content, self.max_head_bytes)
        if not head and content.damage:
            raise ArchiveError(f"{seen.name} cannot be read: {content.damage}")
        record = FileRecord(
            file_id=0,
            path=seen.name,
            device=device,
            inode=inode,
            generation=None,
            head_length=len(head),
            head_digest=digest_of(head),
            offset=0,
            marker=EMPTY_MARKER,
            begun=0,
        )
        started_at_ms = _started_at_ms(head) or seen.modified_ms
        archive = Archive(
            seen.place,
            record,
            content.compressed,
            seen.size_bytes,
            started_at_ms,
            parts=self.memory.parts(head),
        )
        return Look(archive, head[:HEAD_BYTES], _samples(head), self.memory.earlier(head))


class _Seen(Struct, frozen=True):
    """What a file's surroundings say of it."""

    place: Place
    name: str
    size_bytes: int
    modified_ms: float


def _samples(head: bytes) -> tuple[bytes, ...]:
    digest, samples = blake2b(digest_size=16), []
    begin, end = 0, HEAD_BYTES
    while end <= len(head):
        digest.update(head[begin:end])
        samples.append(digest.digest())
        begin, end = end, 2 * end
    return tuple(samples)


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
