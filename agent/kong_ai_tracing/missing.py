"""Known files that a scan did not find: when may that be said, and what follows?

A file that is not seen may be there all the same: a listing that is made while files are renamed misses some,
a name may lead to another file when it is opened, and what is being compressed cannot be recognised before
it is whole. So only a scan that is sure to have seen everything counts. When there is never one, for instance
because other files come and go all the time, patience ends as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Container

from kong_ai_tracing.identity import FileRecord
from kong_ai_tracing.streams import Stream
from kong_ai_tracing.streamtable import Key, StreamTable

MISSES_BEFORE_GONE = 2
"""So many scans must be sure not to have found a file."""
SCANS_BEFORE_FORGETTING = 1000
"""A file of an earlier run that did not turn up for so long will not turn up any more."""


class Sight(Container[str]):
    """What one scan could see: names by file, and the directories that could be listed."""

    def __init__(self) -> None:
        self.names: dict[Key, list[str]] = {}
        self.directories: set[str] = set()
        self.still: set[str] = set()
        """Those in which no name came, went or changed since the scan before: a listing that is made while
        files are renamed may miss one that is there under both its names."""
        self.complete = True
        """False when a name could not be opened, or when it could not be said yet what it leads to: then
        nothing may be concluded from not seeing a file."""

    def __contains__(self, path: object) -> bool:
        """Would a file with this path have been seen?"""
        return self.complete and os.path.split(str(path))[0] in self.directories

    def is_sure_of(self, path: str) -> bool:
        """Would it have been seen under any name in its directory, compressed or not?"""
        return self.complete and os.path.split(path)[0] in self.still


def settle_missing(
    table: StreamTable, sight: Sight, covers: Callable[[str], bool], unwritten: Collection[int]
) -> None:
    """What is to become of the files that were not found.

    `covers`: does a pattern ask for this path? `unwritten`: those that cannot be done yet.
    """
    for record in list(table.missing.values()):
        if record.file_id in unwritten:
            continue
        holder = table.by_key.get((record.device, record.inode))
        if covers(record.path):
            if record.path in sight and table.lost_at_scan.get(record.file_id) != table.scan_number:
                _settle_missing(table, record, holder, sight)
        elif holder is not None:
            table.retire_record(record)  # Nobody asks for it, and its inode is another file's.


def _settle_missing(table: StreamTable, record: FileRecord, holder: Stream | None, sight: Sight) -> None:
    """The operator hears of it, and later it is forgotten.

    That its inode is another file's says nothing: it may have been compressed.
    """
    file_id = record.file_id
    if sight.is_sure_of(record.path):
        table.misses[file_id] = table.misses.get(file_id, 0) + 1
    is_gone = table.misses.get(file_id, 0) >= MISSES_BEFORE_GONE
    lost_at_scan = table.lost_at_scan.get(file_id)
    is_forgotten = table.scan_number > (lost_at_scan or 0) + SCANS_BEFORE_FORGETTING
    is_settled = record.is_history or _was_cut(record, holder)
    is_read = lost_at_scan is not None and file_id not in table.lost_unread
    if (is_gone or is_forgotten) and not (is_settled or is_read):
        _tell_gone(table, record)
        table.gone.add(file_id)
    if is_forgotten or (is_gone and (is_settled or lost_at_scan is not None)):
        table.retire_record(record)


def _was_cut(record: FileRecord, holder: Stream | None) -> bool:
    """Is its very file another stream's by now? That it was cut was told when it was seen."""
    return holder is not None and holder.generation is not None and holder.generation == record.generation


def _tell_gone(table: StreamTable, record: FileRecord) -> None:
    table.notices.tell_once(
        "gone",
        record.path,
        f"the file that was read up to byte {record.offset} cannot be found any more; anything written "
        "behind that is lost. Keep rotated files for longer than the daemon may be stopped",
    )
