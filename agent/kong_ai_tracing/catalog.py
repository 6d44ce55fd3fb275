"""Which files there are, and which of them is which: from listings and descriptors to streams.

Nothing is concluded from what could not be seen: an unreadable directory or a lack of descriptors deletes
nothing and forgets nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable

from msgspec import Struct, field

from kong_ai_tracing.commands import command
from kong_ai_tracing.copies import Copy, Heads, begins_with, common_length
from kong_ai_tracing.identity import (
    ENDLESS,
    TELLING_BYTES,
    FileRecord,
    Seen,
    generation_of,
    line_start,
    open_to_read,
    recognise,
    see,
    stamp_of,
)
from kong_ai_tracing.missing import Sight
from kong_ai_tracing.newcomers import copies_last
from kong_ai_tracing.notices import Notice
from kong_ai_tracing.patterns import Candidate, Look, Patterns, family_of
from kong_ai_tracing.rotationrisk import Rotations
from kong_ai_tracing.settling import begin_anew, settle
from kong_ai_tracing.streams import Stream, known_stream
from kong_ai_tracing.streamtable import Key, StreamTable

_EMPTY_FILES_WATCHED = 16
"""So many new empty files are asked for their size between two scans, to be quick after a rotation."""


class ScanResult(Struct):
    """What one look at the directories changed."""

    notices: list[Notice]
    records: list[FileRecord]
    """Files that are new or have another identity or name, to be stored with the next commit."""
    retired: list[int]
    """Streams that will give no more lines: their records may go when their lines have ended."""
    vanishing: list[int]
    """Streams whose lines another run may not find: deleted, cut, or out of sight."""
    rotations: list[Rotations] = field(default_factory=list)
    """What was learned of the rhythm in which logs rotate."""
    looks: list[Look] = field(default_factory=list)
    """Where patterns were looked for the first time, to be stored in the same commit as the records."""


class Catalog:
    """Finds the files and keeps the table of streams up to date. One scan at a time."""

    def __init__(
        self,
        table: StreamTable,
        patterns: Patterns,
        *,
        start_at_end: bool,
        open_before: Iterable[Stream] = (),
    ) -> None:
        self._table = table
        self._patterns = patterns
        self._start_at_end = start_at_end
        self._open_before = list(open_before)
        self._sight = Sight()
        self._stamps: dict[str, int] = {}
        """When names in a directory changed last, as of the last scan."""
        self._heads: Heads[Stream] = Heads(())
        self._lost_heads: Heads[FileRecord] = Heads(())
        self._names: dict[str, tuple[int, Key]] = {}
        """Path → the inode number in its directory entry, and the file it led to when it was opened."""
        self._empty: dict[str, int] = {}
        """New files without a byte, with that number: who they are cannot be said yet."""
        self._lost_before: set[int] = set()
        self._passed_over: dict[str, tuple[int, int, int, int]] = {}
        """Compressed files that are nobody's, or nobody's yet, with the stamp that they had."""
        self._from_the_end: set[str] = set()
        """Files that were there before us and of which only new lines are wanted."""

    def _take_over_all(self) -> None:
        """Go on with the descriptors of an earlier reader: some of their files may have no name any more."""
        while self._open_before:
            earlier = self._open_before.pop(0)  # the older ones first: they are read first
            if not self._patterns.covers(earlier.path) or not self._take_over(earlier):
                earlier.close()

    def _take_over(self, earlier: Stream) -> bool:
        """From where the record says: what was read behind that may not have been settled.

        A file without one was new, and nothing of it is settled.
        """
        fd, record = earlier.fd, self._table.missing.get(earlier.file_id)
        try:
            seen = see(fd, generation_of(fd), os.fstat(fd))
            if record is not None and recognise(record, seen, fd) != "same":
                return False
        except OSError:
            return False
        if record is None:
            stream = self._table.start(fd, seen, earlier.path, earlier.family, earlier.started_offset)
        else:
            stream = known_stream(record, family_of(record.path))
            stream.attach(fd, seen, earlier.path)
            # What was there before is no sign that somebody still writes to a deleted file.
            stream.size = earlier.size
            self._table.enter(stream)
        stream.outlived = earlier.outlived
        return True

    def close(self) -> None:
        """Before the first scan: nobody goes on with what an earlier reader left open."""
        while self._open_before:
            self._open_before.pop().close()

    def scan(self, unwritten: Collection[int] = ()) -> ScanResult:
        """Look at the directories and at every open file. No stream of `unwritten` is done."""
        table = self._table
        table.scan_number += 1
        for stream in list(table.streams.values()):
            table.look(stream)
        candidates = self._look()
        self._take_over_all()
        unseen = [candidate for candidate in candidates if not self._is_seen(candidate)]
        # Older generations first, so that they get the smaller numbers and are read first.
        # A compressed file has the time of the plain one, which goes before it as long as it is there.
        unseen.sort(key=lambda one: (one.kind == "live", _stamp(one.path)[1], one.compressed, one.path))
        # All known files before all others: only what none of them is can be a copy of one.
        unknown = [candidate for candidate in unseen if not self._handle(candidate, adopt=False)]
        begin_anew(table)
        if unknown:
            self._lost_heads, self._heads = Heads(table.missing.values()), Heads(table.streams.values())
            unknown = copies_last(unknown)
        for candidate in unknown:
            self._handle(candidate, adopt=True)
        self._note_stillness()
        settle(table, self._sight, self._patterns.covers, unwritten)
        return ScanResult(
            notices=table.notices.take(),
            records=table.take_records(),
            retired=table.take_retired(),
            vanishing=table.vanishing(),
            looks=self._patterns.take_looks(),
        )

    @property
    def wants_scan(self) -> bool:
        """Was a file cut, or did a new one get its first bytes?"""
        streams = self._table.streams.values()
        if any(one.is_open and (one.broken or (one.behind and not one.recorded)) for one in streams):
            return True
        return any(_stamp(path)[0] > 0 for path in self.empty_files)

    @property
    def empty_files(self) -> list[str]:
        """New files without a byte that are looked at between two scans."""
        return list(self._empty)[:_EMPTY_FILES_WATCHED]

    def _look(self) -> list[Candidate]:
        """The names that are worth a look now."""
        self._sight = Sight()
        lost = self._lost()
        if lost != self._lost_before:
            self._passed_over.clear()
            self._lost_before = lost
        listing = self._patterns.look(self._numbers_wanted(), compressed=bool(lost))
        self._sight.directories = listing.directories
        candidates = listing.candidates
        for path, candidate in candidates.items():
            if candidate.first_look and (candidate.kind == "sibling" or self._start_at_end):
                self._from_the_end.add(path)
        self._names = {path: name for path, name in self._names.items() if path in candidates}
        self._empty = {path: number for path, number in self._empty.items() if path in candidates}
        self._passed_over = {path: stamp for path, stamp in self._passed_over.items() if path in candidates}
        return list(candidates.values())

    def _note_stillness(self) -> None:
        stamps = {directory: _stamp(directory)[1] for directory in self._sight.directories}
        self._sight.still = {each for each, stamp in stamps.items() if self._stamps.get(each) == stamp}
        self._stamps = stamps

    def _lost(self) -> set[int]:
        """The streams whose content may be in a compressed file by now, whatever its name."""
        table = self._table
        records = [record for record in table.missing.values() if not record.is_history]
        lost = {record.file_id for record in records if self._patterns.covers(record.path)}
        lost.update(stream.file_id for stream in table.streams.values() if stream.broken is not None)
        return lost

    def _numbers_wanted(self) -> set[int]:
        """Inode numbers that are worth opening under whatever name they appear."""
        records = self._table.missing.values()
        numbers = {record.inode for record in records if self._patterns.covers(record.path)}
        numbers.update(stream.inode for stream in self._table.streams.values() if not stream.is_open)
        return numbers

    def _is_seen(self, candidate: Candidate) -> bool:
        """Can the directory entry alone say that there is nothing new under this name?

        An open descriptor keeps its inode number from being given away, so the same number under the same
        name is the same file. A closed one is opened as soon as anything about it has changed.
        """
        path = candidate.path
        if path in self._passed_over:
            return self._passed_over[path] == _stamp(path)
        number, key = self._names.get(path, (-1, (0, 0)))
        if number != candidate.number:
            return self._empty.get(path) == candidate.number and _stamp(path)[0] == 0
        stream = self._table.by_key.get(key)
        if stream is not None:
            seen = stream.is_open or _stamp(path) == stream.stamp
        else:
            seen = key in self._table.copies
        if seen and key[1] != number:
            # It led to another file when it was opened than when it was listed.
            seen = _inode(path) == key[1]
        if seen:
            self._note_name(candidate, key)
        return seen

    def _handle(self, candidate: Candidate, *, adopt: bool) -> bool:
        """Open a name and do what is to be done; False when the file is unknown and not to be adopted."""
        fd = self._open(candidate.path)
        if fd is None:
            return True
        kept = False
        try:
            seen = see(fd, generation_of(fd), os.fstat(fd), compressed=candidate.compressed)
            if candidate.compressed and not seen.head:
                # It may be still being written, with the content of a file that is looked for.
                self._passed_over[candidate.path] = seen.stamp
                self._sight.complete = False
                return True
            known, kept = self._find(candidate, fd, seen)
            if not known and adopt:
                kept = self._adopt(candidate, fd, seen)
            if known or kept:
                self._note_name(candidate, seen.key)
            return known or adopt
        except OSError as error:
            self._tell_unreadable(candidate.path, error)
            return True
        finally:
            if not kept:
                os.close(fd)

    def _find(self, candidate: Candidate, fd: int, seen: Seen) -> tuple[bool, bool]:
        """Is the file known by its inode? And is the descriptor needed?"""
        table = self._table
        stream = table.by_key.get(seen.key)
        if seen.key in table.copies or (stream is not None and stream.is_open):
            return True, False
        if stream is None:
            record = self._record_of(fd, seen)
            if record is None:
                return False, False
            stream = known_stream(record, family_of(record.path))
        outcome = recognise(stream, seen, fd, stream.read_to)
        holds = outcome in ("same", "moved")
        if outcome == "other" or (seen.compressed and not holds):
            # The number of a deleted file was given to a new one. It had been read to its end when it was
            # closed; what was written to it later may be in a copy.
            table.lose(stream)
            return False, False
        stream.attach(fd, seen, candidate.path)
        if not holds:
            stream.broken = outcome
        table.enter(stream)
        return True, True

    def _record_of(self, fd: int, seen: Seen) -> FileRecord | None:
        """The newest record of this inode that holds, else the newest of which the file may be a rest."""
        best = None
        for record in sorted(self._table.missing.values(), key=lambda record: -record.file_id):
            if (record.device, record.inode) == seen.key and not self._table.is_refused(record.file_id, seen):
                outcome = recognise(record, seen, fd)
                if outcome in ("same", "moved"):
                    return record
                if seen.compressed:
                    continue
                if outcome != "other" and best is None:
                    best = record
        return best

    def _adopt(self, candidate: Candidate, fd: int, seen: Seen) -> bool:
        """A file that no inode is known of: moved here, a copy of a stream, or new. True if it is kept."""
        table, path = self._table, candidate.path
        if not seen.size:
            self._empty[path] = candidate.number
            self._from_the_end.discard(path)
            return False
        self._empty.pop(path, None)
        if (record := self._moved_record(fd, seen)) is not None:
            stream = known_stream(record, family_of(record.path))
            stream.attach(fd, seen, path)
            table.enter(stream)
            self._heads.add(stream)
        elif (found := self._original_of(path, fd, seen)) is not None:
            original, common = found
            table.copies[seen.key] = Copy(fd, path, seen, original, common)
        elif candidate.kind == "known":
            if candidate.compressed:
                self._passed_over[path] = seen.stamp
            return False
        else:
            start = self._end_of(fd, seen) if path in self._from_the_end or self._was_read(seen) else 0
            self._heads.add(table.start(fd, seen, path, family_of(path), start))
        self._from_the_end.discard(path)
        return True

    def _was_read(self, seen: Seen) -> bool:
        """Is it an early copy of a file that was read further, and that cannot be opened now?"""
        records = self._lost_heads.find(seen.head)
        return any(one.head_length >= TELLING_BYTES and seen.size <= one.offset for one in records)

    def _end_of(self, fd: int, seen: Seen) -> int:
        return ENDLESS if seen.compressed else line_start(fd, seen.size)

    def _moved_record(self, fd: int, seen: Seen) -> FileRecord | None:
        """The record of a file that was last seen under another inode."""
        for record in self._lost_heads.find(seen.head):
            if record.file_id not in self._table.missing or self._table.is_refused(record.file_id, seen):
                continue
            if recognise(record, seen, fd) == "moved":
                return record
        return None

    def _original_of(self, path: str, fd: int, seen: Seen) -> tuple[Stream, int] | None:
        """The stream whose content a file holds, and how much of it."""
        family = family_of(path)
        grown = [
            stream
            for stream in self._table.streams.values()
            if stream.family == family and begins_with(stream, seen.head)
        ]
        for stream in self._heads.find(seen.head) + grown:
            if self._table.is_refused(stream.file_id, seen):
                continue
            common = common_length(stream, fd, seen)
            if common is not None:
                return stream, common
        for copy in self._table.copies.values() if seen.compressed else ():
            # A short copy may have been compressed when its original had grown and been cut.
            if copy.seen.head == seen.head and len(seen.head) >= TELLING_BYTES:
                return copy.original, seen.size
        return None

    def _note_name(self, candidate: Candidate, key: Key) -> None:
        self._names[candidate.path] = candidate.number, key
        self._sight.names.setdefault(key, []).append(candidate.path)

    def _open(self, path: str) -> int | None:
        """A descriptor, or None and a word to the operator where he can help."""
        if not self._table.take_room():
            self._tell_no_descriptors(path)
            return None
        try:
            fd = open_to_read(path)
        except FileNotFoundError:
            self._sight.complete = False
            return None
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._tell_no_descriptors(path)
            else:
                self._tell_unreadable(path, error)
            return None
        self._table.notices.over("unreadable", path)
        return fd

    def _tell_unreadable(self, path: str, error: OSError) -> None:
        self._sight.complete = False
        self._table.notices.tell_once(
            "unreadable",
            path,
            f"cannot be opened ({error.strerror}); it is tried again with every scan. Give the daemon's"
            f" user read permission on it: {command('check')} says how",
        )

    def _tell_no_descriptors(self, path: str) -> None:
        self._sight.complete = False
        self._table.notices.tell_once(
            "descriptors",
            os.path.split(path)[0],
            "too many files are open to open all that match; they are opened one after the other. Raise "
            "LimitNOFILE, or narrow log_paths",
        )


def _stamp(path: str) -> tuple[int, int, int, int]:
    try:
        # Not Path.stat: this is done for every closed file in every scan, and costs a third.
        return stamp_of(os.stat(path))  # noqa: PTH116
    except OSError:
        return -1, 0, 0, 0


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino  # noqa: PTH116
    except OSError:
        return -1
