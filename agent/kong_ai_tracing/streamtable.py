"""The streams of one daemon: by number, by inode, open or closed, and the records of those not yet found."""

from __future__ import annotations

from collections.abc import Iterable

from kong_ai_tracing.copies import Copy
from kong_ai_tracing.identity import FileRecord, Seen
from kong_ai_tracing.notices import Notices
from kong_ai_tracing.streams import NO_STAMP, Stream, new_stream

Key = tuple[int, int]
"""Device and inode: of open files no two have the same."""


class StreamTable:
    """Knows every stream; a stream enters once and leaves by being retired."""

    def __init__(self, records: Iterable[FileRecord], notices: Notices, max_open_files: int) -> None:
        self.streams: dict[int, Stream] = {}
        self.by_key: dict[Key, Stream] = {}
        self.copies: dict[Key, Copy] = {}
        self.missing = {record.file_id: record for record in records}
        """What an earlier run knew and this one has not found yet."""
        self.notices = notices
        self.scan_number = 0
        self._max_open_files = max_open_files
        self._next_file_id = max(self.missing, default=0) + 1
        self._room = 0
        """So many more files may be opened before they have to be counted again."""
        self._full_at_scan = -1
        """The scan in which nothing was left to be closed: until the next one nothing will be."""
        self._retired: list[int] = []
        self._refused: set[tuple[int, Key]] = set()
        """Compressed files that begin like a stream but showed to be another content."""
        self.lost_at_scan: dict[int, int] = {}
        """Streams that were lost out of sight in this run."""
        self.lost_unread: set[int] = set()
        """Those of them of which not all had been read."""
        self.gone: set[int] = set()
        """Missing files of which the operator was told that they are gone."""
        self.misses: dict[int, int] = {}
        """How many scans that could have found a missing file did not."""

    def start(self, fd: int, seen: Seen, path: str, family: str, offset: int) -> Stream:
        """A new stream, from `offset` of an open file on."""
        stream = new_stream(self._next_file_id, fd, seen, path, family, offset)
        self._next_file_id += 1
        self.enter(stream)
        return stream

    def enter(self, stream: Stream) -> None:
        self.missing.pop(stream.file_id, None)
        self.misses.pop(stream.file_id, None)
        stream.grown_at_scan = self.scan_number
        self.streams[stream.file_id] = self.by_key[stream.key] = stream
        self.look(stream)

    def retire(self, stream: Stream) -> None:
        """No more lines will come from this stream."""
        stream.close()
        del self.streams[stream.file_id]
        self.leave_inode(stream)
        self._retired.append(stream.file_id)

    def lose(self, stream: Stream) -> None:
        """The stream's file is out of sight, or was none of its content: it is looked for again."""
        stream.close()
        self.streams.pop(stream.file_id, None)
        self.leave_inode(stream)
        self.missing[stream.file_id] = stream.record_now()
        self.lost_at_scan[stream.file_id] = self.scan_number
        if stream.compressed and not stream.ended:
            self.lost_unread.add(stream.file_id)

    def refuse(self, stream: Stream) -> None:
        """The compressed file that was taken for this stream's content is another one's."""
        self._refused.add((stream.file_id, stream.key))
        self.lose(stream)

    def is_refused(self, file_id: int, seen: Seen) -> bool:
        return (file_id, seen.key) in self._refused

    def leave_inode(self, stream: Stream) -> None:
        """The inode is another stream's from now on, or nobody's."""
        if self.by_key.get(stream.key) is stream:
            del self.by_key[stream.key]

    def retire_record(self, record: FileRecord) -> None:
        del self.missing[record.file_id]
        self.misses.pop(record.file_id, None)
        self.lost_at_scan.pop(record.file_id, None)
        self.lost_unread.discard(record.file_id)
        self.gone.discard(record.file_id)
        self._retired.append(record.file_id)

    def may_turn_up(self, file_id: int) -> bool:
        """Is a file looked for, without anybody having been told that it is gone?"""
        return file_id in self.missing and file_id not in self.gone

    def vanishing(self) -> list[int]:
        """Streams whose content has no name any more, or had none that the last scan found."""
        seen = [
            stream.file_id
            for stream in self.streams.values()
            if stream.links == 0 or stream.broken is not None or (stream.quiet_scans and not stream.is_open)
        ]
        return seen + [file_id for file_id, scan in self.lost_at_scan.items() if scan == self.scan_number]

    def take_retired(self) -> list[int]:
        retired, self._retired = self._retired, []
        return retired

    def take_records(self) -> list[FileRecord]:
        """The records that changed since the last call."""
        changed = [stream for stream in self.streams.values() if stream.changed]
        for stream in changed:
            stream.changed, stream.recorded = False, stream.head_length > 0
        return [stream.record() for stream in changed]

    def note_growth(self, stream: Stream) -> None:
        stream.quiet_scans, stream.grown_at_scan = 0, self.scan_number
        self.notices.over("read_error", stream.path)

    def look(self, stream: Stream) -> bool:
        """Has the stream anything to read now?"""
        try:
            return stream.look()
        except OSError as error:
            self.lose_descriptor(stream, error)
            return False

    def lose_descriptor(self, stream: Stream, error: OSError) -> None:
        """After a failed read: the next scan opens the file by its name again, and compares."""
        self.notices.tell_once(
            "read_error",
            stream.path,
            f"cannot be read at the moment ({error.strerror}); it is opened again with the next scans and "
            "read on from where it was",
        )
        stream.close()
        stream.stamp = NO_STAMP

    def take_room(self) -> bool:
        """May another file be opened? Closes idle files when it must: they are opened when they grow."""
        if self._room == 0 and self._full_at_scan != self.scan_number:
            self._make_room()
        if self._room == 0:
            self._full_at_scan = self.scan_number
            return False
        self._room -= 1
        return True

    def _make_room(self) -> None:
        """Count what is open, and close the files that have been idle for the longest time."""
        held = [stream for stream in self.streams.values() if stream.is_open]
        self._room = max(0, self._max_open_files - len(held) - len(self.copies))
        if self._room:
            return
        originals = {id(copy.original) for copy in self.copies.values()}
        idle = [stream for stream in held if stream.idle and id(stream) not in originals]
        idle.sort(key=lambda stream: stream.grown_at_scan)
        for stream in idle[: max(1, self._max_open_files // 4)]:
            stream.close()
            self._room += 1

    def close(self, *, leave_plain: bool = False) -> None:
        for stream in self.streams.values():
            if not leave_plain or stream.compressed:
                stream.close()
        for copy in self.copies.values():
            copy.close()
        self.copies.clear()
