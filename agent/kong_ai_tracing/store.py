"""The one place on the way where data may rest: positions, waiting calls and undelivered batches.

One SQLite file, one writer (held by a lock), one transaction for each step forward, so that positions,
groups and bodies are always of the same moment: after a crash or a power loss they roll back together.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import msgspec
import orjson
from msgspec import msgpack

from kong_ai_tracing import storefiles, storemedia, storerefused
from kong_ai_tracing.batches import Body
from kong_ai_tracing.media import Attachment
from kong_ai_tracing.patterns import Look
from kong_ai_tracing.progress import Progress, Refusal
from kong_ai_tracing.statedir import as_store_error
from kong_ai_tracing.storerows import FILE_COLUMNS, body_digest, body_is_intact, file_row, held_call, held_row
from kong_ai_tracing.storeschema import connect, create, migrate
from kong_ai_tracing.storestatus import (
    FILE_NAME,
    StoreStatus,
    read_files,
    read_health,
    read_rotations,
    status_of,
)
from kong_ai_tracing.storesteps import Commit, Restored
from kong_ai_tracing.storetrouble import TroubleNote
from kong_ai_tracing.tracememory import RememberedTrace
from kong_ai_tracing.walcheck import WalFrames, wal_was_damaged

__all__ = ["Commit", "Restored", "Store"]

log = logging.getLogger(__name__)

MAX_SET_ASIDE_ROWS = 100_000
REFUSED_MAX_BYTES = 128 << 20
_LITTLE_ROOM_BYTES = 64 << 20
_NOT_DELIVERED = frozenset({"calls_dropped", "calls_rotten", "calls_lost"})
"""Counts calls that were read and never arrived, though a backfill may find their lines again."""
_SETTLED_NS = 1_000_000_000
"""After that long another write has another time, however coarse the clock of the file system is."""


class Store:
    """The state database. Not safe for several threads at once; call it from one at a time."""

    def __init__(self, state_dir: Path, *, refused_max_bytes: int = REFUSED_MAX_BYTES) -> None:
        """Raises StoreError when the database cannot be used, DamagedStoreError when it is not whole."""
        self.path = state_dir / FILE_NAME
        self._refused_max_bytes = refused_max_bytes
        with as_store_error(self.path):
            if not self.path.exists():
                create(self.path)
            elif not self.path.stat().st_size:
                raise sqlite3.DatabaseError("the file is empty")
            self._db = connect(self.path)
            try:
                migrate(self._db, self.path)
            except BaseException:
                self._db.close()
                raise
        self._positions_lost = False
        self._outbox_size: tuple[int, int] | None = None
        self.trouble = TroubleNote(state_dir)

    @classmethod
    def copy_in_memory(cls, state_dir: Path) -> Store:
        """A throw-away copy, for a run that must not move anything."""
        store = cls.__new__(cls)
        store.path = Path(":memory:")
        store._refused_max_bytes = REFUSED_MAX_BYTES
        store._positions_lost = False
        store._outbox_size = None
        store.trouble = TroubleNote(None)
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
        self.trouble.close()

    def restore(self) -> Restored:
        """What an earlier run left behind. Raises StoreError when the database is damaged."""
        with as_store_error(self.path):
            return self._restore()

    def _restore(self) -> Restored:
        db = self._db
        self._positions_lost = db.execute("SELECT count(*) FROM positions_lost").fetchone() != (0,)
        return Restored(
            files=read_files(db),
            held=[
                held_call(row)
                for row in db.execute(
                    "SELECT call_id, file_id, file, offset, length, call FROM held ORDER BY file_id, offset"
                )
            ],
            remembered=[
                RememberedTrace.read(blob)
                for (blob,) in db.execute("SELECT trace FROM remembered ORDER BY last_seen_ms")
            ],
            roots=dict(db.execute("SELECT trace_id, started_ms FROM roots")),
            outbox=[number for (number,) in db.execute("SELECT number FROM outbox ORDER BY number")],
            follows=dict(db.execute("SELECT number, follows FROM outbox WHERE follows > 0")),
            looks=[Look(*row) for row in db.execute("SELECT pattern, directory FROM looks")],
            rotations=list(read_rotations(db).values()),
            health=read_health(db),
            positions_lost=self._positions_lost,
        )

    def find_damage(self, frames: WalFrames | None = None) -> None:
        """Look at every page, and compare the write-ahead log with what it claimed to hold before.

        Raises DamagedStoreError when the database is not whole.
        """
        with as_store_error(self.path):
            if wal_was_damaged(self._db, frames):
                raise sqlite3.DatabaseError("the newest steps in the write-ahead log cannot be read")
            [(answer,), *_] = self._db.execute("PRAGMA quick_check(1)").fetchall()
            if answer != "ok":
                raise sqlite3.DatabaseError(answer)

    def body(self, number: int) -> Body | None:
        """One batch of the outbox; None when it rotted on the disk: then it was set aside."""
        spans, packed, follows, digest, calls = self._db.execute(
            "SELECT spans, body, follows, digest, calls FROM outbox WHERE number = ?", (number,)
        ).fetchone()
        if not body_is_intact(digest, packed, number, spans, follows):
            self._set_rotten_aside(number, spans, packed, sum(calls))
            return None
        return Body(spans, packed, packed=True, follows=follows, calls=calls)

    def _set_rotten_aside(self, number: int, spans: int, packed: bytes, calls: int) -> None:
        log.error("outbox.rotten batch=%d spans=%d reason=%r", number, spans, storerefused.ROTTEN)
        refusal = Refusal(spans, storerefused.ROTTEN, packed)
        counts = Counter(spans_rotten=spans, calls_rotten=calls)
        self.commit(Commit(Progress(refused=[refusal], counts=counts), delivered=[number]))

    def take_marked(self) -> list[int]:
        """Move refused bodies that an operator wants to be sent again to the outbox; gives their numbers."""
        if self._db.execute("SELECT count(*) FROM refused WHERE retry = 1").fetchone() == (0,):
            return []
        with self._transaction("FULL"):
            taken = storerefused.take_marked(self._db, _now_ms())
            self._outbox_size = None
            self._count(Counter(spans_retried=taken.spans))
            return taken.numbers

    def stamp(self) -> tuple[int, int] | None:
        """Changes whenever somebody writes to the database; None where that cannot be told, or just now."""
        try:
            status = self.path.with_name(f"{self.path.name}-wal").stat()
        except OSError:
            return None
        age_ns = time.time_ns() - status.st_mtime_ns
        return (status.st_mtime_ns, status.st_size) if age_ns > _SETTLED_NS else None

    def outbox_size(self) -> tuple[int, int]:
        """The bytes that the outbox takes, and the spans in it. Counted once, and kept up with each step."""
        if self._outbox_size is None:
            self._outbox_size = self._db.execute(
                "SELECT coalesce(sum(bytes), 0), coalesce(sum(spans), 0) FROM outbox"
            ).fetchone()
        assert self._outbox_size is not None
        return self._outbox_size

    def media_bytes(self) -> int:
        """What the media take that are to be uploaded."""
        return storemedia.size(self._db)

    def media_waiting(self) -> int:
        return storemedia.waiting(self._db)

    def oldest_medium(self, besides: Collection[int]) -> tuple[int, Attachment] | None:
        """The medium that has waited longest, with its number."""
        return storemedia.oldest(self._db, besides)

    def free_bytes(self) -> int:
        """Room on the disk that holds the state."""
        if self.path.name == ":memory:":
            return 1 << 62
        return shutil.disk_usage(self.path.parent).free

    def status(self) -> StoreStatus:
        return status_of(self._db)

    def begin_new_account(self) -> None:
        """Count from zero again: what was counted so far was accounted for."""
        with self._transaction("NORMAL"):
            self._db.execute("DELETE FROM counters")
            storefiles.begin_new_account(self._db)

    def enter_account(self, file_ids: Collection[int]) -> None:
        """Count what earlier accounts found in these files as already there, once for each account."""
        with as_store_error(self.path), self._transaction("NORMAL"):
            if there := storefiles.enter_account(self._db, file_ids):
                self._count(Counter(calls_found=there, calls_already_there=there))

    def choose_by(self, digest: bytes, *, reads_once: bool = False) -> None:
        """What was read when calls were chosen by other settings, or went elsewhere, is not delivered.

        `reads_once`: files are read from their beginning then, as nobody else will.
        """
        with as_store_error(self.path), self._transaction("NORMAL"):
            known = storefiles.chosen_by(self._db)
            if known == digest:
                return
            if known is not None:
                forget = storefiles.read_again if reads_once else storefiles.forget_delivered
                forget(self._db)
            self._db.execute("INSERT OR REPLACE INTO chosen_by VALUES (1, ?)", (digest,))

    def take_leave(self) -> None:
        """What was read here counts as delivered, and is read again when it is asked for again."""
        with as_store_error(self.path), self._transaction("NORMAL"):
            storefiles.retire(self._db, [record.file_id for record in read_files(self._db)])

    def commit(self, commit: Commit) -> None:
        """Write one step, whole or not at all. Raises sqlite3.OperationalError, then nothing has changed."""
        now_ms = _now_ms()
        # What was spilled may be all there is, its log gone: it must survive a power loss, too. A position
        # that is lost only means a repeat.
        is_only_copy = commit.spilled or commit.held_by_value or commit.progress.media
        with self._transaction("FULL" if is_only_copy else "NORMAL"):
            self._write_files(commit.progress)
            self._write_held(commit)
            self._write_roots(commit)
            self._write_remembered(commit.progress)
            outbox_size = self._write_outbox(commit, now_ms)
            storemedia.insert(self._db, commit.progress.media, now_ms)
            storemedia.remove(self._db, commit.uploaded)
            self._write_refused(commit.progress, now_ms)
            self._write_set_aside(commit.progress, now_ms)
            self._count(commit.progress.counts)
            if not _NOT_DELIVERED.isdisjoint(commit.progress.counts):
                storefiles.forget_delivered(self._db)
            self._db.executemany(
                "INSERT OR REPLACE INTO health VALUES (?, ?)",
                [(name, orjson.dumps(value).decode()) for name, value in commit.health.items()],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO rotations VALUES (?, ?)",
                [(log, msgspec.json.encode(one).decode()) for log, one in commit.rotations.items()],
            )
            self._db.execute("INSERT OR REPLACE INTO clock VALUES (1, ?)", (now_ms,))
        self._outbox_size = outbox_size
        self._keep_log_small()

    def _keep_log_small(self) -> None:
        """A write-ahead log that has taken the last room on a disk could never leave it.

        What it holds moves into the database, which grows by it.
        """
        if self.free_bytes() < _LITTLE_ROOM_BYTES:
            with contextlib.suppress(sqlite3.OperationalError):
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _count(self, counts: Counter[str]) -> None:
        self._db.executemany(
            "INSERT INTO counters VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
            list(counts.items()),
        )

    @contextlib.contextmanager
    def _transaction(self, synchronous: Literal["FULL", "NORMAL"]) -> Iterator[None]:
        """One step, whole or not at all."""
        db = self._db
        db.execute(f"PRAGMA synchronous = {synchronous}")
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _write_files(self, progress: Progress) -> None:
        self._db.executemany(
            f"""INSERT INTO files ({FILE_COLUMNS})
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
               path = excluded.path, device = excluded.device, inode = excluded.inode,
               generation = excluded.generation, head_length = excluded.head_length,
               head_digest = excluded.head_digest""",  # noqa: S608 - names of ours
            [file_row(record) for record in progress.records.values()],
        )
        if progress.records and self._positions_lost:
            # The files that there are have been found: what turns up from now on is new.
            self._db.execute("DELETE FROM positions_lost")
            self._positions_lost = False
        self._db.executemany(
            "UPDATE files SET offset = ?, marker_length = ?, marker_digest = ? WHERE file_id = ?",
            [(p.offset, p.marker.length, p.marker.digest, p.file_id) for p in progress.positions.values()],
        )
        storefiles.found(self._db, progress.calls)
        storefiles.rewind(self._db, progress.rewound)
        storefiles.retire(self._db, progress.retired)
        self._db.executemany("DELETE FROM files WHERE file_id = ?", [(n,) for n in progress.unlearned])
        self._db.executemany(
            "INSERT OR IGNORE INTO looks VALUES (?, ?)",
            [(look.pattern, look.directory) for look in progress.looks],
        )

    def _write_held(self, commit: Commit) -> None:
        progress = commit.progress
        self._db.executemany("DELETE FROM held WHERE call_id = ?", [(c,) for c in progress.released])
        self._db.executemany(
            "INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?, ?, ?)",
            [
                held_row(call, whole=False)
                for call_id, call in progress.held.items()
                if call_id not in commit.held_by_value
            ]
            + [held_row(call, whole=True) for call in commit.held_by_value.values()],
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
        # In this order: what was forgotten may have been seen again since.
        self._db.executemany(
            "DELETE FROM remembered WHERE trace_id = ?", [(trace_id,) for trace_id in progress.forgotten]
        )
        self._db.executemany(
            "INSERT OR REPLACE INTO remembered VALUES (?, ?, ?)",
            [(t.trace_id, t.last_seen_ms, msgpack.encode(t)) for t in progress.remembered.values()],
        )

    def _write_outbox(self, commit: Commit, now_ms: int) -> tuple[int, int]:
        """Gives the size of the outbox after it."""
        size, spans = self.outbox_size()
        self._db.executemany(
            "INSERT OR REPLACE INTO outbox (number, created_ms, spans, bytes, follows, body, digest, calls)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    number,
                    now_ms,
                    body.spans,
                    len(body.data),
                    body.follows,
                    body.data,
                    body_digest(body.data, number, body.spans, body.follows),
                    body.calls,
                )
                for number, body in commit.spilled.items()
            ],
        )
        size += sum(len(body.data) for body in commit.spilled.values())
        spans += sum(body.spans for body in commit.spilled.values())
        for number in commit.delivered:
            row = self._db.execute("SELECT bytes, spans FROM outbox WHERE number = ?", (number,)).fetchone()
            if row is not None:
                size, spans = size - row[0], spans - row[1]
                self._db.execute("DELETE FROM outbox WHERE number = ?", (number,))
        return size, spans

    def _write_refused(self, progress: Progress, now_ms: int) -> None:
        if not progress.refused:
            return
        storerefused.insert(self._db, progress.refused, now_ms)
        limit = self._refused_max_bytes
        if dropped := storerefused.keep_within(self._db, limit):
            log.error("refused.dropped spans=%d reason='more than %d bytes'", dropped, limit)
            self._count(Counter(spans_refused_dropped=dropped))

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


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
