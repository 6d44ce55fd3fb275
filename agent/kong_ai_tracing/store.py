"""The one place on the way where data may rest: positions, waiting calls and undelivered batches.

One SQLite file, one writer (held by a lock), one transaction for each step forward, so that positions,
groups and bodies are always of the same moment: after a crash or a power loss they roll back together.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import orjson
from msgspec import Struct, field, msgpack

from kong_ai_tracing.batches import Body
from kong_ai_tracing.calls import AICall
from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.identity import FileRecord
from kong_ai_tracing.lines import Marker, Origin
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.traces import RememberedTrace

FILE_NAME = "state.sqlite3"
LOCK_NAME = "lock"
APPLICATION_ID = 0x6B61_6974  # "kait"
MAX_SET_ASIDE_ROWS = 100_000

_MIGRATIONS = (
    """
    CREATE TABLE files (
        file_id INTEGER PRIMARY KEY, path TEXT NOT NULL, device INTEGER NOT NULL, inode INTEGER NOT NULL,
        generation INTEGER, head_length INTEGER NOT NULL, head_digest BLOB NOT NULL,
        offset INTEGER NOT NULL, marker_length INTEGER NOT NULL, marker_digest BLOB NOT NULL
    );
    CREATE TABLE held (
        call_id TEXT PRIMARY KEY, file_id INTEGER NOT NULL, file TEXT NOT NULL, offset INTEGER NOT NULL,
        length INTEGER NOT NULL, call BLOB
    ) WITHOUT ROWID;
    CREATE TABLE remembered (trace_id TEXT PRIMARY KEY, last_seen_ms INTEGER NOT NULL, trace BLOB NOT NULL)
        WITHOUT ROWID;
    CREATE TABLE outbox (
        number INTEGER PRIMARY KEY, created_ms INTEGER NOT NULL, spans INTEGER NOT NULL,
        bytes INTEGER NOT NULL, body BLOB NOT NULL
    );
    CREATE TABLE refused (
        id INTEGER PRIMARY KEY, refused_ms INTEGER NOT NULL, spans INTEGER NOT NULL, reason TEXT NOT NULL,
        body BLOB NOT NULL
    );
    CREATE TABLE set_aside (
        id INTEGER PRIMARY KEY, noticed_ms INTEGER NOT NULL, file TEXT NOT NULL, offset INTEGER NOT NULL,
        length INTEGER NOT NULL, reason TEXT NOT NULL
    );
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE clock (id INTEGER PRIMARY KEY CHECK (id = 1), committed_ms INTEGER NOT NULL);
    CREATE TABLE health (destination TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    """,
)


class StoreError(OperatorError):
    """The state directory cannot be used; the text says why and what to do."""


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
    outbox: list[int]
    """Numbers of the undelivered batches, oldest first."""


class Refusal(Struct, frozen=True):
    """A body the destination will never take, with its reason."""

    spans: int
    reason: str
    packed: bytes


class Commit(Struct):
    """One transaction: a step of progress, the bodies that rest from now on, those that were delivered."""

    progress: Progress = field(default_factory=Progress)
    spilled: dict[int, Body] = field(default_factory=dict)
    """Packed bodies by batch number."""
    delivered: list[int] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    held_by_value: dict[str, AICall] = field(default_factory=dict)
    """Waiting calls whose line may soon be gone: written whole."""
    health: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(
            self.progress
            or self.progress.counts
            or self.spilled
            or self.delivered
            or self.refused
            or self.held_by_value
            or self.health
        )

    def merge(self, later: Commit) -> None:
        """Add the step that follows this one, when this one could not be written yet."""
        for call_id in later.progress.released:
            self.held_by_value.pop(call_id, None)
        self.progress.merge(later.progress)
        self.spilled.update(later.spilled)
        self.delivered.extend(later.delivered)
        self.refused.extend(later.refused)
        self.held_by_value.update(later.held_by_value)
        self.health.update(later.health)


class StoreStatus(Struct, frozen=True):
    """What another process may know of the state."""

    files: list[FileRecord]
    counters: dict[str, int]
    outbox_batches: int
    outbox_bytes: int
    outbox_spans: int
    refused: int
    set_aside: int
    held: int
    health: dict[str, dict[str, Any]]
    updated_at_ms: int


class StateLock:
    """One process for each state directory.

    Raises StoreError when another one holds it.
    """

    def __init__(self, state_dir: Path) -> None:
        self._descriptor = os.open(state_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._descriptor, 32).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise StoreError(
                f"{state_dir} is in use by another kong-ai-tracing (process {owner or 'unknown'}); "
                "stop it first, or give this one a state_dir of its own"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, str(os.getpid()).encode())

    def close(self) -> None:
        os.close(self._descriptor)


def prepare_state_dir(state_dir: Path) -> None:
    """Create the directory (0700) when it is missing. Raises StoreError when that is impossible."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(state_dir, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(13, "no permission to write")
    except OSError as error:
        raise StoreError(
            f"state_dir {state_dir} cannot be used: {error.strerror}; "
            "create it for this user or set state_dir"
        ) from error


class Store:
    """The state database. Not safe for several threads at once; call it from one at a time."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / FILE_NAME
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._db = _connect(self.path)
        _migrate(self._db, self.path)

    @classmethod
    def copy_in_memory(cls, state_dir: Path) -> Store:
        """A throw-away copy, for a run that must not move anything."""
        store = cls.__new__(cls)
        store.path = Path(":memory:")
        store._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        original = state_dir / FILE_NAME
        if original.exists():
            source = sqlite3.connect(f"file:{original}?mode=ro", uri=True)
            try:
                source.backup(store._db)
            finally:
                source.close()
        _migrate(store._db, original)
        return store

    def close(self) -> None:
        self._db.close()

    def restore(self) -> Restored:
        return Restored(
            files=_read_files(self._db),
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
            outbox=[number for (number,) in self._db.execute("SELECT number FROM outbox ORDER BY number")],
        )

    def body(self, number: int) -> Body:
        """One batch of the outbox."""
        spans, packed = self._db.execute(
            "SELECT spans, body FROM outbox WHERE number = ?", (number,)
        ).fetchone()
        return Body(spans, packed, packed=True)

    def outbox_bytes(self) -> int:
        (size,) = self._db.execute("SELECT coalesce(sum(bytes), 0) FROM outbox").fetchone()
        return int(size)

    def free_bytes(self) -> int:
        """Room on the disk that holds the state."""
        if self.path.name == ":memory:":
            return 1 << 62
        return shutil.disk_usage(self.path.parent).free

    def status(self) -> StoreStatus:
        return _status(self._db)

    def begin_new_account(self) -> None:
        """Count from zero again: what was counted so far was accounted for."""
        self._db.execute("DELETE FROM counters")

    def commit(self, commit: Commit) -> None:
        """Write one step, whole or not at all. Raises sqlite3.OperationalError, then nothing has changed."""
        now_ms = time.time_ns() // 1_000_000
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            self._write_files(commit.progress)
            self._write_held(commit)
            self._write_remembered(commit.progress)
            db.executemany(
                "INSERT INTO outbox VALUES (?, ?, ?, ?, ?)",
                [
                    (number, now_ms, body.spans, len(body.data), body.data)
                    for number, body in commit.spilled.items()
                ],
            )
            db.executemany("DELETE FROM outbox WHERE number = ?", [(n,) for n in commit.delivered])
            db.executemany(
                "INSERT INTO refused (refused_ms, spans, reason, body) VALUES (?, ?, ?, ?)",
                [(now_ms, r.spans, r.reason, r.packed) for r in commit.refused],
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


def read_status(state_dir: Path) -> StoreStatus | None:
    """The state as it was last committed; None when there is none yet. Works beside a running daemon.

    Raises StoreError when the database cannot be read.
    """
    path = state_dir / FILE_NAME
    try:
        if not path.exists():
            return None
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
        try:
            return _status(db)
        finally:
            db.close()
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{path} cannot be read: {error}; run as the daemon's user or as root") from error


def _status(db: sqlite3.Connection) -> StoreStatus:
    def one(sql: str) -> Any:
        return db.execute(sql).fetchone()

    batches, size, spans = one(
        "SELECT count(*), coalesce(sum(bytes), 0), coalesce(sum(spans), 0) FROM outbox"
    )
    return StoreStatus(
        files=_read_files(db),
        counters=dict(db.execute("SELECT name, value FROM counters ORDER BY name")),
        outbox_batches=batches,
        outbox_bytes=size,
        outbox_spans=spans,
        refused=one("SELECT coalesce(sum(spans), 0) FROM refused")[0],
        set_aside=one("SELECT count(*) FROM set_aside")[0],
        held=one("SELECT count(*) FROM held")[0],
        health={name: orjson.loads(value) for name, value in db.execute("SELECT * FROM health")},
        updated_at_ms=one("SELECT coalesce(max(committed_ms), 0) FROM clock")[0],
    )


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    # Spilled bodies are a few hundred KB each: large pages write them at a third of the cost.
    db.execute("PRAGMA page_size = 16384")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA journal_size_limit = 16777216")
    return db


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(_MIGRATIONS):
        raise StoreError(
            f"{path} was written by a newer kong-ai-tracing (format {version}, this one knows "
            f"{len(_MIGRATIONS)}); nothing was changed. Install the newer version, or set another state_dir"
        )
    for number in range(version, len(_MIGRATIONS)):
        db.executescript(
            f"BEGIN IMMEDIATE; {_MIGRATIONS[number]} "
            f"PRAGMA user_version = {number + 1}; PRAGMA application_id = {APPLICATION_ID}; COMMIT;"
        )


def _read_files(db: sqlite3.Connection) -> list[FileRecord]:
    return [
        FileRecord(
            file_id,
            path,
            _unsigned(device),
            _unsigned(inode),
            generation,
            head_length,
            head_digest,
            offset,
            Marker(marker_length, marker_digest),
        )
        for (
            file_id,
            path,
            device,
            inode,
            generation,
            head_length,
            head_digest,
            offset,
            marker_length,
            marker_digest,
        ) in db.execute("SELECT * FROM files ORDER BY file_id")
    ]


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


def _unsigned(number: int) -> int:
    return number + (1 << 64) if number < 0 else number


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
