"""Log archives, plain or gzip-compressed, as a source of lines: read once, each to its end, oldest first.

Positions count decompressed bytes, so that a run that was cut off goes on where it was, and a file that
was compressed meanwhile is recognised by its content.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias, cast

import orjson
from msgspec import Struct
from msgspec.structs import replace

from kong_ai_tracing.archivefiles import Content
from kong_ai_tracing.copies import Heads
from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.files import Chunk, Passed, ScanResult
from kong_ai_tracing.identity import HEAD_BYTES, TELLING_BYTES, FileRecord, Position
from kong_ai_tracing.lines import (
    EMPTY_MARKER,
    MARKER_BYTES,
    Line,
    LineCutter,
    Marker,
    Origin,
    OversizedLine,
    marker_of,
)
from kong_ai_tracing.notices import Notice
from kong_ai_tracing.remotefiles import RemoteReader
from kong_ai_tracing.remotestores import RemoteError, RemoteFile, is_url

Place: TypeAlias = Path | RemoteFile
"""Where an archive lies."""

_HEAD_BYTES = 64 * 1024
"""The least that two files must have in common to hold the same content. The first line is part of it as a
whole: one long system prompt can begin the lines of a route, but each line has a request id of its own."""
_PIECE_BYTES = 1 << 20
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


class Archives:
    """The files of one backfill.

    `records` are what an earlier run left: files known from it are taken up where it was. `delivered` is what
    others read and delivered: what of it is found again is passed over.
    Raises ArchiveError or RemoteError for a place where no readable file is.
    """

    def __init__(
        self,
        places: Sequence[Place],
        records: Iterable[FileRecord],
        *,
        delivered: Iterable[FileRecord] = (),
        max_line_bytes: int,
    ) -> None:
        looks = _looks_at(list(dict.fromkeys(places)), max_line_bytes)
        self._begin(_identified(looks, list(records), _telling(delivered)), max_line_bytes)

    @classmethod
    def of(cls, archives: Sequence[Archive], *, max_line_bytes: int) -> Archives:
        """Archives that were looked at elsewhere, in this order."""
        self = cls.__new__(cls)
        self._begin(archives, max_line_bytes)
        return self

    def _begin(self, archives: Sequence[Archive], max_line_bytes: int) -> None:
        self._archives = list(archives)
        self._reached = {
            archive.record.file_id: (archive.record.offset, archive.record.marker)
            for archive in self._archives
        }
        """How far each content was read: a second file with the same content goes on from there."""
        self._waiting = list(self._archives)
        self._cutter = LineCutter(max_line_bytes=max_line_bytes)
        self._current: Archive | None = None
        self._content: Content | None = None
        self._parts: list[DeliveredPart] = []
        """Those of the current file that are ahead."""
        self._rereading: Content | None = None
        self._reread_place: Place | None = None
        self._announced = False
        self._notices: list[Notice] = []
        self._finished_bytes = 0
        self._elsewhere = ""
        self.total_bytes = sum(archive.size_bytes for archive in self._archives)
        """Bytes on disk, compressed where the files are."""

    def by_content(self) -> list[tuple[Archive, ...]]:
        """All of them, those with the same content together: they must be read one after the other."""
        found: dict[int, list[Archive]] = {}
        for archive in self._archives:
            found.setdefault(archive.record.file_id, []).append(archive)
        return [tuple(archives) for archives in found.values()]

    def rest(self) -> tuple[Archive, ...]:
        """What is still to be read, between two calls of `read`."""
        archives = [self._current, *self._waiting] if self._current else self._waiting
        return tuple(self._from_where_it_was(archive) for archive in archives)

    def _from_where_it_was(self, archive: Archive) -> Archive:
        offset, marker = self._reached[archive.record.file_id]
        return replace(archive, record=replace(archive.record, offset=offset, marker=marker))

    @property
    def wants_scan(self) -> bool:
        return False

    @property
    def read_bytes(self) -> int:
        """How much of `total_bytes` has been read."""
        return self._finished_bytes + (self._content.read_bytes if self._content is not None else 0)

    def read_elsewhere(self, path: str, count: int) -> None:
        """Somebody else has read so much more, of this file."""
        self._elsewhere = path
        self._finished_bytes += count

    @property
    def file_ids(self) -> set[int]:
        return {archive.record.file_id for archive in self._archives}

    def file_ids_by_inode(self) -> dict[tuple[int, int], int]:
        """The numbers of files on this host, by device and inode."""
        records = [archive.record for archive in self._archives]
        return {(one.device, one.inode): one.file_id for one in records if one.inode}

    @property
    def current_path(self) -> str:
        return self._current.record.path if self._current else self._elsewhere

    async def scan(self) -> ScanResult:
        """All files are announced at once; later scans only bring what was noticed while reading."""
        records = [] if self._announced else [archive.record for archive in self._archives]
        self._announced = True
        notices, self._notices = self._notices, []
        return ScanResult(notices=notices, records=records, retired=[], vanishing=[])

    async def read(self) -> Chunk | None:
        """The next lines of the oldest unread file; None when every file was read to its end."""
        while True:
            if self._current is None:
                if not self._waiting:
                    return None
                self._current = self._waiting.pop(0)
                await asyncio.to_thread(self._open, self._current)
            archive = self._current
            chunk = await asyncio.to_thread(self._next, archive)
            if self._content is None:
                self._current = None
            if chunk.items:
                last = chunk.items[-1].origin
                self._reached[last.file_id] = last.offset + last.length, marker_of(chunk.items[-1].tail)
            if chunk.items or chunk.passed:
                return chunk

    async def reread(self, origin: Origin) -> Line | None:
        """One earlier line again; None when it is no longer there.

        It may be of a file that this run was not asked to read. Asked for in the order of the files, many
        lines cost one reading: to begin anew for each would take hours in a large compressed file.
        """
        known = [one.place for one in self._archives if one.record.file_id == origin.file_id]
        elsewhere = RemoteFile.at(origin.file) if is_url(origin.file) else Path(origin.file)
        for place in dict.fromkeys([*known, elsewhere]):
            if line := await asyncio.to_thread(self._read_line, place, origin):
                return line
        return None

    async def close(self) -> None:
        self.let_go()

    def let_go(self) -> None:
        """Hold no file open any longer."""
        self._close()
        self._end_rereading()

    def _read_line(self, place: Place, origin: Origin) -> Line | None:
        content = self._rereading
        if content is None or self._reread_place != place or content.position > origin.offset:
            self._end_rereading()
            try:
                content = self._rereading = _content_of(place)
            except (OSError, RemoteError):
                return None
            self._reread_place = place
        if _skip_to(content, origin.offset, EMPTY_MARKER) != "there":
            return None
        data = b""
        while len(data) < origin.length and (piece := content.read(origin.length - len(data))):
            data += piece
        if len(data) < origin.length - 1:
            return None
        return Line(origin.file, origin.file_id, origin.offset, data[: origin.length - 1])

    def _end_rereading(self) -> None:
        if self._rereading is not None:
            self._rereading.close()
            self._rereading = None

    def _open(self, archive: Archive) -> None:
        self._end_rereading()
        record = archive.record
        offset, marker = self._reached[record.file_id]
        self._content = _content_of(archive.place)
        if _skip_to(self._content, offset, marker) == "other":
            message = "not the content that was read before: it is read from its beginning"
            self._notices.append(Notice("changed", record.path, message))
            self._content.close()
            self._content = _content_of(archive.place)
            offset = 0
        self._cutter.start(record.path, record.file_id, offset)
        self._parts = list(archive.parts)

    def _next(self, archive: Archive) -> Chunk:
        passed = self._pass_over(archive)
        return Chunk(archive.record.file_id, [] if passed else self._read_some(archive), passed)

    def _pass_over(self, archive: Archive) -> Passed | None:
        """Go to the end of a part that begins here, or has begun before, when it is what was delivered."""
        offset = self._cutter.offset
        while self._parts and self._parts[0].begin <= self._cutter.position:
            part = self._parts.pop(0)
            if part.end <= offset or offset < self._cutter.position:
                continue
            if self._goes_to(part, archive, offset):
                self._cutter.start(archive.record.path, archive.record.file_id, part.end)
                self._reached[archive.record.file_id] = part.end, part.marker
                position = Position(archive.record.file_id, part.end, part.marker)
                return Passed(position, part.end - offset, part.calls if part.begin == offset else None)
        return None

    def _goes_to(self, part: DeliveredPart, archive: Archive, offset: int) -> bool:
        """Is the end of a part found from here? Else the file is where it was."""
        assert self._content is not None, "only called while a file is open"
        if _skip_to(self._content, part.end, part.marker) == "there":
            return True
        self._content.close()
        self._content = _content_of(archive.place)
        _skip_to(self._content, offset, EMPTY_MARKER)
        return False

    def _read_some(self, archive: Archive) -> list[Line | OversizedLine]:
        content = self._content
        assert content is not None, "only called while a file is open"
        room = self._cutter.room()
        if self._parts:
            room = room[: self._parts[0].begin - content.position]
        if count := content.read_into(room):
            return self._cutter.cut(count)
        if content.damage is not None:
            message = f"damaged at byte {content.position} of its content: {content.damage}"
            self._notices.append(Notice("damaged", archive.record.path, message))
        items = self._last_line(archive)
        self._finished_bytes += archive.size_bytes
        self._close()
        return items

    def _last_line(self, archive: Archive) -> list[Line | OversizedLine]:
        """A last line without newline is whole if it is JSON; else it was cut, or is still being written."""
        rest = self._cutter.unfinished()
        if not rest:
            return []
        try:
            orjson.loads(rest)
        except orjson.JSONDecodeError:
            if not archive.compressed:
                message = f"its last line has no end yet ({len(rest)} bytes): left for later"
                self._notices.append(Notice("unfinished", archive.record.path, message))
                return []
        return self._cutter.finish()

    def _close(self) -> None:
        if self._content is not None:
            self._content.close()
            self._content = None


def _telling(delivered: Iterable[FileRecord]) -> Heads[FileRecord]:
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


def _identified(
    archives: list[Archive], records: list[FileRecord], delivered: Heads[FileRecord]
) -> list[Archive]:
    """Oldest first, each with the number and the position of its content; two may hold the same content."""
    known = {record.head_digest: record for record in records}
    next_id = max((record.file_id for record in records), default=0) + 1
    found: list[Archive] = []
    # The longest first: what is only the beginning of another file is known by that file.
    for archive in sorted(archives, key=lambda archive: -len(archive.head)):
        earlier = _recognised(archive.head, known) or _longer(archive.head, found)
        if earlier is not None:
            number, offset, marker = earlier.file_id, earlier.offset, earlier.marker
        else:
            number, offset, marker = next_id, 0, EMPTY_MARKER
            next_id += 1
        record = replace(archive.record, file_id=number, offset=offset, marker=marker)
        found.append(replace(archive, record=record))
    # Of the same content the longest comes last, so that its head is the one that is stored.
    found.reverse()
    return sorted(
        (replace(one, head=b"", parts=_parts(one.head, delivered)) for one in found),
        key=lambda one: (one.first_started_at_ms, one.record.file_id),
    )


def _recognised(head: bytes, known: Mapping[bytes, FileRecord]) -> FileRecord | None:
    """The record of a file that began in the same way; a file may have grown since."""
    for length in {record.head_length for record in known.values()} - {0}:
        if length <= len(head) and (record := known.get(_digest(head[:length]))):
            return record
    return None


def _longer(head: bytes, found: list[Archive]) -> FileRecord | None:
    """The record of a file that begins with all of this one."""
    return next((one.record for one in found if head and one.head.startswith(head)), None)


def _digest(head: bytes) -> bytes:
    return blake2b(head, digest_size=16).digest()


def _content_of(place: Place) -> Content:
    """Raises OSError or RemoteError."""
    if isinstance(place, Path):
        return Content(str(place))
    return Content(place.name, cast(BinaryIO, RemoteReader(place)))


def _looks_at(places: Sequence[Place], max_head_bytes: int) -> list[Archive]:
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


def _skip_to(content: Content, offset: int, marker: Marker) -> Literal["there", "ended", "other"]:
    """Go to an offset; `ended` when nothing stands behind it, `other` when other bytes stand before it."""
    tail = b""
    if offset - content.position > MARKER_BYTES:
        content.skip_to(offset - MARKER_BYTES)
    while content.position < offset:
        piece = content.read(min(offset - content.position, _PIECE_BYTES))
        if not piece:
            return "ended"
        tail = (tail + piece)[-MARKER_BYTES:]
    before = tail[-marker.length :] if marker.length else b""
    return "there" if marker_of(before) == marker else "other"


def _started_at_ms(text: bytes) -> float | None:
    """When the first request of a file began; None when its first line does not say."""
    try:
        value = orjson.loads(text.partition(b"\n")[0])["started_at"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return float(value) if isinstance(value, int | float) else None
