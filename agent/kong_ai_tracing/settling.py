"""What became of the files: cut, copied, deleted, gone. Decided after all of them have been looked at.

The order matters. A file that was cut begins a new stream first; then a copy of what it held may take over
the old one; what is left of the copies then says whether they go on waiting; names and ends come last.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection

from kong_ai_tracing.copies import Copy, common_length
from kong_ai_tracing.identity import ENDLESS, digest_of, generation_of, line_start, see
from kong_ai_tracing.missing import Sight, settle_missing
from kong_ai_tracing.streams import CLOSED, Stream
from kong_ai_tracing.streamtable import StreamTable

QUIET_SCANS_BEFORE_RETIRING = 2
"""A deleted file is let go when so many scans in a row found nothing new in it, a closed one when so many
did not find it."""
QUIET_SCANS_OF_A_WRITER = 1000
"""A deleted file that somebody still wrote to is held for so long: Kong's workers do that until they reload,
and as long as they hold it, its space is not free anyway."""
SCANS_TO_FIND_A_COPY = 10
"""What was cut is lost when no scan was sure to have seen everything, and so many did not find a copy."""


def begin_anew(table: StreamTable) -> None:
    """Let each file that was cut begin a new stream; the old one is left without a file.

    This comes before unknown files are looked at: they may be copies of the old content or of the new.
    """
    for stream in list(table.streams.values()):
        if stream.broken is None or not stream.is_open:
            continue
        if stream.compressed:
            table.refuse(stream) if stream.broken == "other" else table.lose(stream)
            continue
        fd = stream.fd
        try:
            seen = see(fd, generation_of(fd), os.fstat(fd))
        except OSError as error:
            table.lose_descriptor(stream, error)
            continue
        start = min(seen.size, stream.offset) if stream.broken == "shortened" else 0
        stream.fd = CLOSED
        table.leave_inode(stream)
        table.start(fd, seen, stream.path, stream.family, start)


def settle(
    table: StreamTable, sight: Sight, covers: Callable[[str], bool], unwritten: Collection[int] = ()
) -> None:
    """Bring the table up to date with what a scan saw.

    `covers`: does a pattern ask for this path? `unwritten`: the streams of which lines were given out that
    are not on disk. They cannot be done yet.
    """
    for stream in list(table.streams.values()):
        if stream.broken is not None and not stream.is_open:
            _settle_orphan(table, stream, sight, is_written=stream.file_id not in unwritten)
    for copy in list(table.copies.values()):
        if copy.seen.compressed:
            _settle_compressed_copy(table, copy, sight)
        else:
            _settle_copy(table, copy, sight)
    for stream in list(table.streams.values()):
        _settle_name(table, stream, sight)
        if stream.file_id in unwritten:
            continue
        if stream.compressed and stream.is_open and stream.links:
            _settle_compressed(table, stream)
        elif stream.is_open and stream.links == 0:
            _settle_deleted(table, stream, sight)
        elif not stream.is_open and stream.broken is None:
            _settle_closed(table, stream, sight)
    settle_missing(table, sight, covers, unwritten)


def _settle_orphan(table: StreamTable, stream: Stream, sight: Sight, *, is_written: bool) -> None:
    """A stream whose file was cut goes on in a copy of its content, or ends when there is none."""
    copies = [copy for copy in table.copies.values() if copy.original is stream]
    copy = min(copies, key=lambda copy: copy.seen.compressed, default=None)
    if copy is None and not is_written:
        return
    if copy is None and stream.binary:
        table.retire(stream)
        return
    if copy is None:
        stream.quiet_scans += 1
        if sight.is_sure_of(stream.path) or stream.quiet_scans > SCANS_TO_FIND_A_COPY:
            _tell_cut(table, stream, str(stream.broken), stream.size - stream.offset)
            table.retire(stream)
        return
    known_size = stream.size
    if not copy.seen.compressed:
        # It may have been seen when only a part had been copied; it was whole when the original was cut.
        copy.seen = see(copy.fd, copy.seen.generation, os.fstat(copy.fd))
        if copy.size < known_size:
            _tell_cut(table, stream, "copied and cut", known_size - max(stream.offset, copy.size))
    successor = table.by_key.get(stream.key)
    if successor is not None and successor.links and not successor.binary:
        _tell_copytruncate(table, stream, successor)
    _move_into(table, stream, copy)
    stream.size_before_cut = known_size


def _tell_copytruncate(table: StreamTable, stream: Stream, successor: Stream) -> None:
    """Not of a rotated file that is being shredded, and is empty in the end."""
    if stream.path == stream.family or successor.size:
        table.notices.tell_once(
            "copytruncate",
            stream.path,
            "was copied and cut, and the rest is read from the copy; but lines that were written in between "
            "are lost unseen. Rotate by rename (logrotate's create), with reopen=true in Kong's file-log",
        )


def _tell_cut(table: StreamTable, stream: Stream, how: str, lost_bytes: int) -> None:
    lost_bytes = max(0, lost_bytes)
    loss = f"at least {lost_bytes} bytes were never read and are lost" if lost_bytes else "all of it was read"
    table.notices.tell(
        "truncated",
        stream.path,
        f"the file was {how}; {loss}. Rotate by rename (logrotate's create) with reopen=true in Kong's "
        "file-log, not by copytruncate",
        lost_bytes,
    )


def _move_into(table: StreamTable, stream: Stream, copy: Copy) -> None:
    """The stream goes on in a copy of its content, at the same offset as far as that was copied."""
    del table.copies[copy.seen.key]
    table.leave_inode(stream)
    stream.attach(copy.fd, copy.seen, copy.path)
    stream.head_length, stream.head_digest = len(copy.seen.head), digest_of(copy.seen.head)
    stream.rewind(stream.offset if copy.size >= stream.offset else line_start(copy.fd, copy.size))
    stream.size = copy.size
    table.enter(stream)


def _settle_copy(table: StreamTable, copy: Copy, sight: Sight) -> None:
    """A copy waits while its original can be read, follows it when that has ended, or shows to be more."""
    original, known = copy.original, copy.seen
    try:
        copy.seen = see(copy.fd, known.generation, os.fstat(copy.fd))
        there = original.file_id in table.streams
        common = common_length(original, copy.fd, copy.seen) if there else None
    except OSError:
        # It is found again by its name, and compared again.
        del table.copies[copy.seen.key]
        copy.close()
        return
    if common is not None:
        copy.common = common
    copy.path = sight.names.get(copy.seen.key, [copy.path])[0]
    ending = there and original.is_open and original.links == 0
    if copy.seen.links == 0:
        del table.copies[copy.seen.key]
        copy.close()
    elif there and original.compressed and not original.ended and common is not None:
        _move_into(table, original, copy)  # The compressed one was seen first.
    elif there and (original.broken is not None or (ending and original.behind)):
        pass
    elif ending and common is not None:
        _move_into(table, original, copy)
    elif common is None or copy.size > copy.common:
        del table.copies[copy.seen.key]
        is_anew = copy.size < copy.common or not copy.seen.head.startswith(known.head)
        start = 0 if is_anew else line_start(copy.fd, copy.common)
        table.start(copy.fd, copy.seen, copy.path, original.family, start)


def _settle_name(table: StreamTable, stream: Stream, sight: Sight) -> None:
    names = sight.names.get(stream.key)
    if names and stream.path not in names:
        stream.path, stream.changed = names[0], True
    if stream.binary and stream.stamp == stream.stamp_at_scan:
        # Not one that is being shredded: that is gone soon.
        table.notices.tell_once(
            "binary", stream.path, "is compressed or an archive, not a log; it is ignored. Narrow log_paths"
        )
    elif stream.binary:
        stream.stamp_at_scan = stream.stamp


def _settle_deleted(table: StreamTable, stream: Stream, sight: Sight) -> None:
    """Let a deleted file go when it was read to its end and nobody writes to it any more."""
    if stream.behind:
        return
    stream.quiet_scans += 1
    if stream.quiet_scans < (QUIET_SCANS_OF_A_WRITER if stream.outlived else QUIET_SCANS_BEFORE_RETIRING):
        return
    if stream.offset < stream.size and not stream.binary and not stream.compressed:
        # Nobody will end the last line any more: it is read once again, and given out as it is.
        stream.final = True
        stream.rewind(stream.offset)
    elif sight.is_sure_of(stream.path):
        _retire_with_copies(table, stream)
    else:
        # It may be there in a compressed form, to be recognised later.
        table.lose(stream)


def _settle_closed(table: StreamTable, stream: Stream, sight: Sight) -> None:
    """A closed file had been read to its end; when it has no name any more, it was deleted."""
    if stream.key in sight.names or stream.path not in sight:
        stream.quiet_scans = 0
        return
    stream.quiet_scans += 1
    if stream.quiet_scans >= QUIET_SCANS_BEFORE_RETIRING:
        _retire_with_copies(table, stream)


def _retire_with_copies(table: StreamTable, stream: Stream) -> None:
    """What is compressed of it becomes history in the same step: a crash must not come between the two."""
    table.retire(stream)
    for copy in list(table.copies.values()):
        if copy.original is stream and copy.seen.compressed:
            _make_history(table, copy.fd, copy.path, stream)


def _settle_compressed_copy(table: StreamTable, copy: Copy, sight: Sight) -> None:
    """A compressed file waits while its original can be read, then goes on in its place or is history.

    What was read to its end before it was deleted has nothing that is not also in the original.
    """
    original = copy.original
    copy.path = sight.names.get(copy.seen.key, [copy.path])[0]
    there = original.file_id in table.streams
    deleted = there and original.is_open and original.links == 0 and not original.behind
    if os.fstat(copy.fd).st_nlink == 0 or original.file_id in table.missing:
        del table.copies[copy.seen.key]
        copy.close()
    elif not there:
        _make_history(table, copy.fd, copy.path, original)
    elif (deleted and original.compressed) or (
        not original.is_open and original.key not in sight.names and _is_listed(original, sight)
    ):
        _move_into(table, original, copy)


def _is_listed(stream: Stream, sight: Sight) -> bool:
    return os.path.split(stream.path)[0] in sight.directories


def _settle_compressed(table: StreamTable, stream: Stream) -> None:
    """What was read to its end is history from now on; what was cut is read on when it has grown."""
    if stream.is_history:
        stream.close()
    elif stream.ended:
        if stream.offset < stream.size_before_cut:
            _tell_cut(table, stream, "copied and cut", stream.size_before_cut - stream.offset)
        fd, stream.fd = stream.fd, CLOSED
        _retire_with_copies(table, stream)
        _make_history(table, fd, stream.path, stream)
    elif stream.cut and stream.stamp == stream.stamp_at_scan:
        _settle_cut(table, stream)
    stream.stamp_at_scan = stream.stamp


def _settle_cut(table: StreamTable, stream: Stream) -> None:
    if stream.stamp[:2] != stream.stamp_at_cut[:2]:
        stream.cut, stream.size = False, ENDLESS
    else:
        table.notices.tell_once(
            "cut",
            stream.path,
            f"ends in the middle, at byte {stream.read_to} of its content; what followed is lost unless it "
            "is still being written: then it is read on. If the original exists elsewhere, use backfill",
        )


def _make_history(table: StreamTable, fd: int, path: str, original: Stream) -> None:
    """Nothing of a compressed file is wanted any more: it is only known, so that it is never read again."""
    seen = see(fd, generation_of(fd), os.fstat(fd), compressed=True)
    history = table.start(fd, seen, path, original.family, ENDLESS)
    history.close()
    table.copies.pop(seen.key, None)
    for copy in table.copies.values():
        if copy.original is original:
            copy.original = history
