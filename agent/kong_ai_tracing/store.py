"""The one place on the way where data may rest: positions, waiting calls and undelivered batches.

One SQLite file, one writer (held by a lock), one transaction for each step forward, so that positions,
groups and bodies are always of the same moment: after a crash or a power loss they roll back together.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
from msgspec import Struct, field, msgpack

from kong_ai_tracing.batches import Body
from kong_ai_tracing.calls import AICall
from kong_ai_tracing.identity import FileRecord
from kong_ai_tracing.lines import Origin
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.statedir import as_store_error
from kong_ai_tracing.storeschema import connect, migrate
from kong_ai_tracing.storestatus import FILE_NAME, StoreStatus, read_files, status_of
from kong_ai_tracing.traces import RememberedTrace

MAX_SET_ASIDE_ROWS = 100_000


class HeldCall(Struct, frozen=True):
    """A call that waited for company at the last commit; `call` is None when only its place is known."""

    call_id: str
    origin: Origin
    call: AICall | None


class Restored(Struct, frozen=True):
    """What an earlier run left behind."""

    files: list[FileRecord]
    held: list[HeldCall]
    remembered: list[RememberedTrace]
    roots: dict[str, int]
    """Start by trace id of roots that may have been sent, but of which nothing is remembered yet."""
    outbox: list[int]
    """Numbers of the undelivered batches, oldest first."""
    follows: dict[int, int]
    """Which of them must arrive after all up to another number."""


class Commit(Struct):
    """One transaction: a step of progress, the bodies that rest from now on, those that were delivered."""

    progress: Progress = field(default_factory=Progress)
    spilled: dict[int, Body] = field(default_factory=dict)
    """Packed bodies by batch number."""
    delivered: list[int] = field(default_factory=list)
    held_by_value: dict[str, AICall] = field(default_factory=dict)
    """Waiting calls whose line may soon be gone: written whole."""
    health: dict[str, dict[str, Any]] = field(default_factory=dict)
    new_roots: dict[int, dict[str, int]] = field(default_factory=dict)
    """By batch number: the roots that it will send for the first time."""

    def __bool__(self) -> bool:
        return bool(
            self.progress
            or self.progress.counts
            or self.spilled
            or self.delivered
            or self.held_by_value
            or self.health
            or self.new_roots
        )

    def merge(self, later: Commit) -> None:
        """Add the step that follows this one, when this one could not be written yet."""
        for call_id in later.progress.released:
            self.held_by_value.pop(call_id, None)
        self.progress.merge(later.progress)
        self.spilled.update(later.spilled)
        self.delivered.extend(later.delivered)
        self.held_by_value.update(later.held_by_value)
        self.health.update(later.health)
        self.new_roots.update(later.new_roots)


class Store:
    """The state database. Not safe for several threads at once; call it from one at a time."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / FILE_NAME
        with as_store_error(self.path):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._db = connect(self.path)
            migrate(self._db, self.path)

    @classmethod
    def copy_in_memory(cls, state_dir: Path) -> Store:
        """A throw-away copy, for a run that must not move anything."""
        store = cls.__new__(cls)
        store.path = Path(":memory:")
        store._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        original = state_dir / FILE_NAME
        if original.exists():
            with (
                as_store_error(original),
                closing(sqlite3.connect(f"file:{original}?mode=ro", uri=True)) as source,
            ):
                source.backup(store._db)
        migrate(store._db, original)
        return store

    def close(self) -> None:
        self._db.close()

    def restore(self) -> Restored:
        """What an earlier run left behind. Raises StoreError when the database is damaged."""
        with as_store_error(self.path):
            return self._restore()

    def _restore(self) -> Restored:
        return Restored(
            files=read_files(self._db),
            held=[
                HeldCall(
                    call_id,
                    Origin(file, file_id, offset, length),
                    None if blob is None else msgpack.decode(blob, type=AICall),
                )
                for call_id, file_id, file, offset, length, blob in self._db.execute(
                    "SELECT call_id, file_id, file, offset, length, call FROM held ORDER BY file_id, offset"
                )
            ],
            remembered=[
                msgpack.decode(blob, type=RememberedTrace)
                for (blob,) in self._db.execute("SELECT trace FROM remembered ORDER BY last_seen_ms")
            ],
            roots=dict(self._db.execute("SELECT trace_id, started_ms FROM roots")),
            outbox=[number for (number,) in self._db.execute("SELECT number FROM outbox ORDER BY number")],
            follows=dict(self._db.execute("SELECT number, follows FROM outbox WHERE follows > 0")),
        )

    def body(self, number: int) -> Body:
        """One batch of the outbox."""
        spans, packed, follows = self._db.execute(
            "SELECT spans, body, follows FROM outbox WHERE number = ?", (number,)
        ).fetchone()
        return Body(spans, packed, packed=True, follows=follows)

    def outbox_bytes(self) -> int:
        (size,) = self._db.execute("SELECT coalesce(sum(bytes), 0) FROM outbox").fetchone()
        return int(size)

    def free_bytes(self) -> int:
        """Room on the disk that holds the state."""
        if self.path.name == ":memory:":
            return 1 << 62
        return shutil.disk_usage(self.path.parent).free

    def status(self) -> StoreStatus:
        return status_of(self._db)

    def begin_new_account(self) -> None:
        """Count from zero again: what was counted so far was accounted for."""
        self._db.execute("DELETE FROM counters")

    def commit(self, commit: Commit) -> None:
        """Write one step, whole or not at all. Raises sqlite3.OperationalError, then nothing has changed."""
        now_ms = time.time_ns() // 1_000_000
        db = self._db
        # What was spilled may be all there is, its log gone: it must survive a power loss, too. A position
        # that is lost only means a repeat.
        needs_sync = commit.spilled or commit.held_by_value
        db.execute(f"PRAGMA synchronous = {'FULL' if needs_sync else 'NORMAL'}")
        db.execute("BEGIN IMMEDIATE")
        try:
            self._write_files(commit.progress)
            self._write_held(commit)
            self._write_roots(commit)
            self._write_remembered(commit.progress)
            db.executemany(
                "INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (number, now_ms, body.spans, len(body.data), body.follows, body.data)
                    for number, body in commit.spilled.items()
                ],
            )
            db.executemany("DELETE FROM outbox WHERE number = ?", [(n,) for n in commit.delivered])
            db.executemany(
                "INSERT INTO refused (refused_ms, spans, reason, body) VALUES (?, ?, ?, ?)",
                [(now_ms, r.spans, r.reason, r.packed) for r in commit.progress.refused],
            )
            self._write_set_aside(commit.progress, now_ms)
            db.executemany(
                "INSERT INTO counters VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
                list(commit.progress.counts.items()),
            )
            db.executemany(
                "INSERT OR REPLACE INTO health VALUES (?, ?)",
                [(name, orjson.dumps(value).decode()) for name, value in commit.health.items()],
            )
            db.execute("INSERT OR REPLACE INTO clock VALUES (1, ?)", (now_ms,))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _write_files(self, progress: Progress) -> None:
        self._db.executemany(
            """INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
               path = excluded.path, device = excluded.device, inode = excluded.inode,
               generation = excluded.generation, head_length = excluded.head_length,
               head_digest = excluded.head_digest""",
            [_file_row(record) for record in progress.records.values()],
        )
        self._db.executemany(
            "UPDATE files SET offset = ?, marker_length = ?, marker_digest = ? WHERE file_id = ?",
            [(p.offset, p.marker.length, p.marker.digest, p.file_id) for p in progress.positions.values()],
        )
        self._db.executemany("DELETE FROM files WHERE file_id = ?", [(n,) for n in progress.retired])

    def _write_held(self, commit: Commit) -> None:
        progress = commit.progress
        self._db.executemany("DELETE FROM held WHERE call_id = ?", [(c,) for c in progress.released])
        self._db.executemany(
            "INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?, ?, ?)",
            [_held_row(call, whole=False) for call in progress.held.values()]
            + [_held_row(call, whole=True) for call in commit.held_by_value.values()],
        )

    def _write_roots(self, commit: Commit) -> None:
        """A root needs a row of its own only until its trace is remembered."""
        self._db.executemany(
            "INSERT OR REPLACE INTO roots VALUES (?, ?)",
            [root for roots in commit.new_roots.values() for root in roots.items()],
        )
        self._db.executemany(
            "DELETE FROM roots WHERE trace_id = ?", [(each,) for each in commit.progress.remembered]
        )

    def _write_remembered(self, progress: Progress) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO remembered VALUES (?, ?, ?)",
            [(t.trace_id, t.last_seen_ms, msgpack.encode(t)) for t in progress.remembered.values()],
        )
        self._db.executemany(
            "DELETE FROM remembered WHERE trace_id = ?", [(trace_id,) for trace_id in progress.forgotten]
        )

    def _write_set_aside(self, progress: Progress, now_ms: int) -> None:
        if not progress.set_aside:
            return
        self._db.executemany(
            "INSERT INTO set_aside (noticed_ms, file, offset, length, reason) VALUES (?, ?, ?, ?, ?)",
            [
                (now_ms, item.origin.file, item.origin.offset, item.origin.length, item.reason)
                for item in progress.set_aside
            ],
        )
        self._db.execute(
            "DELETE FROM set_aside WHERE id <= (SELECT max(id) FROM set_aside) - ?", (MAX_SET_ASIDE_ROWS,)
        )


def _file_row(record: FileRecord) -> tuple[Any, ...]:
    return (
        record.file_id,
        record.path,
        _signed(record.device),
        _signed(record.inode),
        record.generation,
        record.head_length,
        record.head_digest,
        record.offset,
        record.marker.length,
        record.marker.digest,
    )


def _signed(number: int) -> int:
    """SQLite's integers are signed; some filesystems use all 64 bits of an inode number."""
    return number - (1 << 64) if number >= 1 << 63 else number


def _held_row(call: AICall, *, whole: bool) -> tuple[Any, ...]:
    origin = call.observation.origin
    assert origin is not None, "every call that was read from a line knows its place"
    return (
        call.id,
        origin.file_id,
        origin.file,
        origin.offset,
        origin.length,
        msgpack.encode(call) if whole else None,
    )
