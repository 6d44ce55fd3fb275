"""Log archives, plain or gzip-compressed, as a source of lines: read once, each to its end, oldest first.

Positions count decompressed bytes, so that a run that was cut off goes on where it was, and a file that
was compressed meanwhile is recognised by its content.
"""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, cast

import orjson
from isal import igzip, igzip_lib
from msgspec import Struct
from msgspec.structs import replace

from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.files import Chunk, ScanResult
from kong_ai_tracing.identity import FileRecord
from kong_ai_tracing.lines import (
    EMPTY_MARKER,
    MARKER_BYTES,
    Line,
    LineCutter,
    Origin,
    OversizedLine,
    marker_of,
)
from kong_ai_tracing.notices import Notice

_HEAD_BYTES = 64 * 1024
# Lines of one route can agree in far more than their first kilobyte: the head must hold a whole line.
_GZIP_MAGIC = b"\x1f\x8b"
_ISAL_ERROR = cast(type[Exception], igzip_lib.IsalError)  # its type stub calls it an instance
DAMAGE = (OSError, EOFError, zlib.error, _ISAL_ERROR)
"""What reading a broken file raises."""


class ArchiveError(OperatorError):
    """A path that cannot be read as an archive; the text says why and what to do."""


class _Archive(Struct, frozen=True):
    record: FileRecord
    compressed: bool
    size_bytes: int
    first_started_at_ms: float


class Archives:
    """The files of one backfill.

    `records` are what an earlier run left: files known from it are taken up where it was.
    Raises ArchiveError for a path that is not a readable file.
    """

    def __init__(self, paths: Sequence[Path], records: Iterable[FileRecord], *, max_line_bytes: int) -> None:
        known = {record.head_digest: record for record in records}
        next_id = max((record.file_id for record in known.values()), default=0) + 1
        archives: dict[int, _Archive] = {}
        for path in paths:
            archive, head = _look_at(path, next_id)
            if earlier := _recognised(head, known):
                record = replace(
                    archive.record, file_id=earlier.file_id, offset=earlier.offset, marker=earlier.marker
                )
                archive = replace(archive, record=record)
            else:
                next_id += 1
                known[archive.record.head_digest] = archive.record
            archives.setdefault(archive.record.file_id, archive)
        self._archives = sorted(archives.values(), key=lambda archive: archive.first_started_at_ms)
        self._waiting = list(self._archives)
        self._cutter = LineCutter(max_line_bytes=max_line_bytes)
        self._current: _Archive | None = None
        self._file: BinaryIO | None = None
        self._raw: BinaryIO | None = None
        self._announced = False
        self._notices: list[Notice] = []
        self._finished_bytes = 0
        self.total_bytes = sum(archive.size_bytes for archive in self._archives)
        """Bytes on disk, compressed where the files are."""

    @property
    def wants_scan(self) -> bool:
        return False

    @property
    def read_bytes(self) -> int:
        """How much of `total_bytes` has been read."""
        raw = self._raw
        return self._finished_bytes + (raw.tell() if raw is not None and not raw.closed else 0)

    @property
    def current_path(self) -> str:
        return self._current.record.path if self._current else ""

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
            items = await asyncio.to_thread(self._read_some, archive)
            if self._file is None:
                self._current = None
            if items:
                return Chunk(archive.record.file_id, items)

    async def reread(self, origin: Origin) -> Line | None:
        """One earlier line again; None when it is no longer there."""
        for archive in self._archives:
            if archive.record.file_id == origin.file_id:
                return await asyncio.to_thread(_read_line, archive, origin)
        return None

    async def close(self) -> None:
        self._close()

    def _open(self, archive: _Archive) -> None:
        record = archive.record
        self._raw, self._file = open_content(record.path, compressed=archive.compressed)
        offset = record.offset
        if not _skip_to(self._file, record):
            message = "not the content that was read before: it is read from its beginning"
            self._notices.append(Notice("changed", record.path, message))
            self._close()
            self._raw, self._file = open_content(record.path, compressed=archive.compressed)
            offset = 0
        self._cutter.start(record.path, record.file_id, offset)

    def _read_some(self, archive: _Archive) -> list[Line | OversizedLine]:
        assert self._file is not None, "only called while a file is open"
        try:
            count = cast(int, self._file.readinto(self._cutter.room()))  # type: ignore[attr-defined]
        except DAMAGE as error:
            message = f"damaged at byte {self._cutter.position} of its content: {error}"
            self._notices.append(Notice("damaged", archive.record.path, message))
            count = 0
        if count:
            return self._cutter.cut(count)
        items = self._last_line(archive)
        self._finished_bytes += archive.size_bytes
        self._close()
        return items

    def _last_line(self, archive: _Archive) -> list[Line | OversizedLine]:
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
        for file in (self._file, self._raw):
            if file is not None:
                file.close()
        self._file = self._raw = None


def _recognised(head: bytes, known: Mapping[bytes, FileRecord]) -> FileRecord | None:
    """The record of a file that began in the same way; a file may have grown since."""
    for length in {record.head_length for record in known.values()} - {0}:
        if length <= len(head) and (record := known.get(_digest(head[:length]))):
            return record
    return None


def _digest(head: bytes) -> bytes:
    return blake2b(head, digest_size=16).digest()


def _look_at(path: Path, file_id: int) -> tuple[_Archive, bytes]:
    """What a file is, and its beginning; nothing more is read."""
    try:
        if path.is_dir():
            raise ArchiveError(f"{path} is a directory; name its files, for example {path}/*.log*")
        with path.open("rb") as raw:
            status = os.fstat(raw.fileno())
            compressed = raw.read(2) == _GZIP_MAGIC
        raw_file, file = open_content(str(path), compressed=compressed)
        with raw_file, file:
            head = _read_up_to(file, _HEAD_BYTES)
            started_at = _started_at_ms(head)
    except DAMAGE as error:
        raise ArchiveError(f"{path} cannot be read: {error}") from error
    record = FileRecord(
        file_id=file_id,
        path=str(path.absolute()),
        device=status.st_dev,
        inode=status.st_ino,
        generation=None,
        head_length=len(head),
        head_digest=_digest(head),
        offset=0,
        marker=EMPTY_MARKER,
    )
    return _Archive(record, compressed, status.st_size, started_at or status.st_mtime * 1000), head


def open_content(path: str, *, compressed: bool | None = None) -> tuple[BinaryIO, BinaryIO]:
    """The file itself and what gives its content. Without `compressed` its first bytes decide."""
    raw = open(path, "rb", buffering=0)  # noqa: SIM115
    if compressed is None:
        compressed = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
    if not compressed:
        return cast(BinaryIO, raw), cast(BinaryIO, raw)
    return cast(BinaryIO, raw), cast(BinaryIO, igzip.IGzipFile(fileobj=raw, mode="rb"))  # type: ignore[no-untyped-call]


def _skip_to(file: BinaryIO, record: FileRecord) -> bool:
    """Go to the offset of the record; False when the bytes before it are not the ones that were read."""
    tail = b""
    left = record.offset
    while left:
        piece = file.read(min(left, 1 << 20))
        if not piece:
            # The last line of an earlier run had no newline and was taken as if it had one.
            if left != 1:
                return False
            piece = b"\n"
        left -= len(piece)
        tail = (tail + piece)[-MARKER_BYTES:]
    return marker_of(tail[-record.marker.length :] if record.marker.length else b"") == record.marker


def _read_line(archive: _Archive, origin: Origin) -> Line | None:
    raw, file = open_content(archive.record.path, compressed=archive.compressed)
    with raw, file:
        left = origin.offset
        while left:
            piece = file.read(min(left, 1 << 20))
            if not piece:
                return None
            left -= len(piece)
        data = _read_up_to(file, origin.length)
    if len(data) < origin.length - 1:
        return None
    return Line(origin.file, origin.file_id, origin.offset, data[: origin.length - 1])


def _read_up_to(file: BinaryIO, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := file.read(count - len(data))):
        data += piece
    return data


def _started_at_ms(text: bytes) -> float | None:
    """When the first request of a file began; None when its first line does not say."""
    try:
        value = orjson.loads(text.partition(b"\n")[0])["started_at"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return float(value) if isinstance(value, int | float) else None
