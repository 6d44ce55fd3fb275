"""`checkpoint`: how far each file has been read; and, while the daemon is stopped, from where it goes on."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from kong_ai_tracing.config import Config
from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.excerpts import visible
from kong_ai_tracing.identity import (
    FileRecord,
    Position,
    generation_of,
    is_binary,
    line_start,
    marker_at,
    open_to_read,
    recognise,
    see,
)
from kong_ai_tracing.lines import EMPTY_MARKER
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.statedir import StateLock, as_store_error
from kong_ai_tracing.states import State, states_of
from kong_ai_tracing.store import Commit
from kong_ai_tracing.storerepair import open_store
from kong_ai_tracing.storerows import HeldCall
from kong_ai_tracing.storestatus import read_status

_STARTED_AT = re.compile(rb'"started_at":(\d{1,15})\b')


class CheckpointError(OperatorError):
    """A position that cannot be moved so; the text says why. Nothing was changed."""


class Checkpoint(Struct, frozen=True):
    """One line of `checkpoint show --json`."""

    destination: str
    path: str
    offset: int | None
    """Read up to here, durably; null for a compressed file of which nothing is wanted."""
    size: int | None
    """Of what has this name now; null when there is nothing."""
    device: int
    inode: int
    file_id: int


def show(config: Config, destination: str | None, *, as_json: bool) -> int:
    """Print every position; gives the exit code."""
    found = [
        _checkpoint(state, record)
        for state in states_of(config, destination)
        if (status := read_status(state.directory)) is not None
        for record in status.files
    ]
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
    else:
        if not found:
            sys.stderr.write("kong-ai-tracing: no file has been read with this state_dir yet\n")
        for one in found:
            size = "gone or renamed" if one.size is None else f"of {one.size}"
            read = "history" if one.offset is None else f"{one.offset} {size}"
            sys.stdout.write(f"{one.destination}  {visible(one.path)}  {read}\n")
    return 0


def rewind(config: Config, destination: str | None, path: Path, to: str) -> int:
    """Let a file be read again from the beginning, an offset or a time on; gives the exit code."""

    def step(record: FileRecord, held: list[HeldCall]) -> tuple[Progress, str]:
        position = _position(record, to)
        # Calls that waited when the daemon stopped are read again, too.
        again = {one.call_id for one in held if one.origin.offset >= position.offset}
        return (
            Progress(rewound=[position], released=again),
            f"is read again from byte {position.offset} on",
        )

    return _move(config, destination, path, step)


def forget(config: Config, destination: str | None, path: Path) -> int:
    """Forget a file; gives the exit code."""

    def step(record: FileRecord, held: list[HeldCall]) -> tuple[Progress, str]:
        by_place = {one.call_id for one in held if one.call is None}
        return Progress(unlearned=[record.file_id], released=by_place), "is forgotten"

    return _move(config, destination, path, step)


def _move(
    config: Config,
    destination: str | None,
    path: Path,
    step: Callable[[FileRecord, list[HeldCall]], tuple[Progress, str]],
) -> int:
    """Take a step in every state that knows the file. Raises CheckpointError when none does."""
    found = False
    for state in states_of(config, destination):
        with closing(StateLock(state.lock_directory)):
            store, restored = open_store(state.directory)
            with closing(store):
                record = _record(restored.files, path)
                if record is not None:
                    found = True
                    progress, what = step(
                        record, [one for one in restored.held if one.origin.file_id == record.file_id]
                    )
                    with as_store_error(store.path):
                        store.commit(Commit(progress))
                    sys.stderr.write(f"kong-ai-tracing: {state.name}: {record.path} {what}\n")
    if not found:
        raise CheckpointError(f"no position is known for {path}; see checkpoint show")
    return 0


def _record(files: Sequence[FileRecord], path: Path) -> FileRecord | None:
    """The newest record with this name."""
    name = os.path.normpath(path.absolute())
    return max((one for one in files if one.path == name), key=lambda one: one.file_id, default=None)


def _checkpoint(state: State, record: FileRecord) -> Checkpoint:
    try:
        size = Path(record.path).stat().st_size
    except OSError:
        size = None
    offset = None if record.is_history else record.offset
    return Checkpoint(state.name, record.path, offset, size, record.device, record.inode, record.file_id)


def _position(record: FileRecord, to: str) -> Position:
    """The beginning of the line at or before a place. Raises CheckpointError where it is not."""
    if to == "beginning":
        return Position(record.file_id, 0, EMPTY_MARKER)
    try:
        fd = open_to_read(record.path)
    except OSError as error:
        raise CheckpointError(f"{record.path} cannot be opened: {error.strerror}") from None
    try:
        seen = see(fd, generation_of(fd), os.fstat(fd))
        if is_binary(seen.head):
            raise CheckpointError(f"{record.path} is compressed: it can only be read from its beginning")
        if recognise(record, seen, fd) not in ("same", "moved"):
            raise CheckpointError(f"{record.path} is not the file any more that was read under that name")
        offset = int(to) if to.isascii() and to.isdigit() else _offset_of(fd, _epoch_ms(to), record.offset)
        if offset > record.offset:
            raise CheckpointError(f"{record.path} was read up to byte {record.offset} only")
        offset = line_start(fd, offset)
        return Position(record.file_id, offset, marker_at(fd, offset))
    finally:
        os.close(fd)


def _epoch_ms(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CheckpointError(
            f"{text} is no place: say beginning, a byte offset, or a time like 2026-11-23T08:00Z"
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _offset_of(fd: int, epoch_ms: int, end: int) -> int:
    """Where the first line stands of a request that began at that time or later; the end without one.

    Kong writes a line when a request ends, so the times are not in order: the search is from the beginning.
    """
    with open(os.dup(fd), "rb") as file:
        offset = 0
        for line in file:
            started_at = _STARTED_AT.search(line)
            if offset >= end or (started_at and int(started_at[1]) >= epoch_ms):
                break
            offset += len(line)
    return min(offset, end)
