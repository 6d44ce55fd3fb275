"""Log archives, plain or gzip-compressed, as a source of lines: read once, each to its end, oldest first.

Positions count decompressed bytes, so that a run that was cut off goes on where it was, and a file that
was compressed meanwhile is recognised by its content.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal

import orjson
from msgspec.structs import replace

from kong_ai_tracing.archivefiles import Content
from kong_ai_tracing.archivelooks import (
    Archive,
    ArchiveError,
    DeliveredPart,
    Memory,
    Place,
    content_of,
    identified,
    looks_at,
)
from kong_ai_tracing.files import Chunk, Passed, ScanResult
from kong_ai_tracing.identity import FileRecord, Position
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
from kong_ai_tracing.remotestores import RemoteError, RemoteFile, is_url

__all__ = ["Archive", "ArchiveError", "Archives", "Place"]

_PIECE_BYTES = 1 << 20


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
        memory = Memory(records, delivered)
        looks = looks_at(list(dict.fromkeys(places)), memory, max_line_bytes)
        self._begin(identified(looks, memory), max_line_bytes)

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

    async def scan(self, unwritten: Collection[int] = ()) -> ScanResult:
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
        Raises ArchiveError when one that it was asked to read cannot be read just now.
        """
        asked_for = [one.place for one in self._archives if one.record.file_id == origin.file_id]
        elsewhere = RemoteFile.at(origin.file) if is_url(origin.file) else Path(origin.file)
        for place in dict.fromkeys([*asked_for, elsewhere]):
            try:
                line = await asyncio.to_thread(self._read_line, place, origin)
            except (OSError, RemoteError) as error:
                if place in asked_for:
                    message = f"{origin.file} cannot be read again: {error}. Nothing is lost: try again later"
                    raise ArchiveError(message) from error
            else:
                if line is not None:
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
            content = self._rereading = content_of(place)
            self._reread_place = place
        data = b""
        _skip_to(content, origin.offset, EMPTY_MARKER)
        while len(data) < origin.length and (piece := content.read(origin.length - len(data))):
            data += piece
        if len(data) < origin.length - 1:
            if content.damage is not None and isinstance(place, RemoteFile):
                raise RemoteError(content.damage)
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
        self._content = content_of(archive.place)
        if _skip_to(self._content, offset, marker) == "other":
            message = "not the content that was read before: it is read from its beginning"
            self._notices.append(Notice("changed", record.path, message))
            self._content.close()
            self._content = content_of(archive.place)
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
        self._content = content_of(archive.place)
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
