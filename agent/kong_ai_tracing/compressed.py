"""Lines of rotated files that were compressed before they were read to their end.

A stream that goes on in a compressed file keeps its number and its offset, which counts bytes of content.
What stands before the offset is decompressed and passed over, and the bytes just before it must be those
that were read. All work is done in threads, in steps that are short enough to stop between them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import BinaryIO, Literal, cast

import orjson

from kong_ai_tracing.archivefiles import Content, Descriptor
from kong_ai_tracing.identity import TELLING_BYTES
from kong_ai_tracing.lines import (
    MARKER_BYTES,
    Line,
    LineCutter,
    Marker,
    Origin,
    OversizedLine,
    marker_of,
)
from kong_ai_tracing.notices import Notices
from kong_ai_tracing.streams import Stream
from kong_ai_tracing.threads import to_its_end

MAX_READERS = 4
"""So many compressed files are read at once: each needs a decompressor and a buffer."""
MAX_RATIO = 500
"""A log that is so many times its compressed size is none: lines of Kong's shrink to a twentieth."""
HARMLESS_BYTES = 64 << 20
"""Content of this size may have any ratio."""

_STEP_BYTES = 8 << 20
_PIECE_BYTES = 256 << 10

Found = Literal["ended", "cut", "damaged", "other", "too_large"]
"""How reading came to an end. `cut`: the file ends too early. `other`: not the content that was read."""


class CompressedReader:
    """Reads one compressed file from one offset of its content on. Owns the descriptor it is given."""

    def __init__(
        self,
        fd: int,
        path: str,
        file_id: int,
        offset: int,
        marker: Marker,
        *,
        head_tells: bool,
        max_line_bytes: int,
    ) -> None:
        self.found: Found | None = None
        self.damage = ""
        self._size = os.fstat(fd).st_size
        self._content = _content_of(fd, path)
        self._offset = offset
        self._marker = marker
        self._head_tells = head_tells
        self._tail = b""
        self._seeking = True
        self.cutter = LineCutter(chunk_bytes=_PIECE_BYTES, max_line_bytes=max_line_bytes)
        self.cutter.start(path, file_id, offset)

    @property
    def position(self) -> int:
        """Up to where the content was read."""
        return self._content.position

    @property
    def unread_bytes(self) -> int:
        """How much of the file itself was not read."""
        return max(0, self._size - self._content.read_bytes)

    def step(self) -> list[Line | OversizedLine]:
        """The next lines; none while the offset is looked for, and at the end, which `found` tells."""
        if self._seeking:
            self._seek()
            return []
        items: list[Line | OversizedLine] = []
        while not items and self.found is None:
            if count := self._content.read_into(self.cutter.room()):
                items = self.cutter.cut(count)
                self._judge_ratio()
            else:
                self._end()
                if self.found == "ended" or (self.found == "damaged" and self._rest_is_whole()):
                    # What was compressed is final: its last line needs no newline.
                    items = self.cutter.finish()
        return items

    def close(self) -> None:
        self._content.close()

    def _seek(self) -> None:
        """Pass over a part of what stands before the offset.

        When it ends before that, it was copied before the last of what was read had been written: nothing in
        it is unread. Its beginning must have told that it is the same content.
        """
        goal = min(self._offset, self._content.position + _STEP_BYTES)
        while self._content.position < goal and self.found is None:
            piece = self._content.read(min(goal - self._content.position, _PIECE_BYTES))
            self._tail = (self._tail + piece)[-MARKER_BYTES:]
            self._judge_ratio()
            if not piece:
                self._end()
                if self.found == "ended" and not (self._head_tells or self._is_last_line_without_end()):
                    self.found = "other"
        if self._content.position >= self._offset and self.found is None:
            self._seeking = False
            if not self._holds(self._tail):
                self.found = "other"

    def _holds(self, tail: bytes) -> bool:
        length = self._marker.length
        return marker_of(tail[-length:] if length else b"") == self._marker

    def _is_last_line_without_end(self) -> bool:
        """Was the last line given out as if a newline followed?"""
        return self._content.position == self._offset - 1 and self._holds(self._tail + b"\n")

    def _rest_is_whole(self) -> bool:
        try:
            orjson.loads(self.cutter.unfinished())
        except orjson.JSONDecodeError:
            return False
        return True

    def _judge_ratio(self) -> None:
        position = self._content.position
        if position > HARMLESS_BYTES and position > MAX_RATIO * self._content.read_bytes:
            self.found = "too_large"

    def _end(self) -> None:
        self.damage = self._content.damage or ""
        if not self.damage:
            self.found = "ended"
        else:
            self.found = "cut" if self._content.cut else "damaged"


class CompressedFiles:
    """The compressed files that are being read, and what reading them does to their streams."""

    def __init__(self, notices: Notices, *, max_line_bytes: int) -> None:
        self._notices = notices
        self._max_line_bytes = max_line_bytes
        self._readers: dict[int, CompressedReader] = {}
        self._again: tuple[int, Content] | None = None

    def has_room_for(self, stream: Stream) -> bool:
        """May it be read now? Others may have to be finished first."""
        return stream.file_id in self._readers or len(self._readers) < MAX_READERS

    async def read(self, stream: Stream) -> list[Line | OversizedLine]:
        """The next lines; none when there was other work to do, or when it came to an end."""
        self._forget_again()
        reader = self._readers.get(stream.file_id)
        if reader is None:
            reader = self._readers[stream.file_id] = self._open(stream)
        items = await to_its_end(asyncio.to_thread(reader.step))
        stream.note(reader.cutter, items)
        if reader.found is not None:
            self._end(stream, reader, reader.found)
        return items

    def line(self, stream: Stream, origin: Origin) -> bytes:
        """The bytes of one earlier line. Asked for in their order, many lines cost one reading."""
        if self._again is None or self._again[0] != stream.file_id or self._again[1].position > origin.offset:
            self._forget_again()
            self._again = stream.file_id, _content_of(os.dup(stream.fd), stream.path)
        content = self._again[1]
        while content.position < origin.offset:
            if not content.read(min(origin.offset - content.position, _PIECE_BYTES)):
                return b""
        data = b""
        while len(data) < origin.length and (piece := content.read(origin.length - len(data))):
            data += piece
        return data

    def sweep(self, streams: Mapping[int, Stream]) -> None:
        """Close the readers of streams that are not read any more."""
        for file_id in list(self._readers):
            stream = streams.get(file_id)
            if stream is None or not (stream.compressed and stream.unread):
                self._readers.pop(file_id).close()

    def close(self) -> None:
        self._forget_again()
        while self._readers:
            self._readers.popitem()[1].close()

    def _open(self, stream: Stream) -> CompressedReader:
        fd, path, number = os.dup(stream.fd), stream.path, stream.file_id
        return CompressedReader(
            fd,
            path,
            number,
            stream.offset,
            stream.marker,
            head_tells=stream.head_length >= TELLING_BYTES,
            max_line_bytes=self._max_line_bytes,
        )

    def _end(self, stream: Stream, reader: CompressedReader, found: Found) -> None:
        del self._readers[stream.file_id]
        reader.close()
        if found == "other":
            stream.broken = "other"
            return
        stream.size = stream.read_to
        if found == "ended":
            stream.ended = True
        elif found == "cut":
            stream.cut, stream.stamp_at_cut = True, stream.stamp
        else:
            why = "is damaged" if found == "damaged" else f"grows to more than {MAX_RATIO} times its size"
            self._notices.tell(
                found,
                stream.path,
                f"{why} at byte {reader.position} of its content ({reader.damage or 'not read on'}); "
                f"{reader.unread_bytes} compressed bytes behind that are not read. If the original exists "
                "elsewhere, or the file is in order, use backfill",
            )

    def _forget_again(self) -> None:
        if self._again is not None:
            self._again[1].close()
            self._again = None


def _content_of(fd: int, path: str) -> Content:
    return Content(path, cast(BinaryIO, Descriptor(fd, own=True)))
