"""The tables of the state database, and the way from one format to the next."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from kong_ai_tracing.statedir import NewerStoreError, StoreError

APPLICATION_ID = 0x6B61_6974  # "kait"

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
    CREATE TABLE roots (trace_id TEXT PRIMARY KEY, started_ms INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE outbox (
        number INTEGER PRIMARY KEY, created_ms INTEGER NOT NULL, spans INTEGER NOT NULL,
        bytes INTEGER NOT NULL, follows INTEGER NOT NULL, body BLOB NOT NULL
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
    # 2: checksums; refused bodies know where they were to go and can be asked for again. An empty digest is
    # that of a row of format 1: there is nothing to compare it with.
    """
    ALTER TABLE outbox ADD COLUMN digest BLOB NOT NULL DEFAULT x'';
    CREATE TABLE refused_2 (
        id INTEGER PRIMARY KEY AUTOINCREMENT, refused_ms INTEGER NOT NULL,
        destination TEXT NOT NULL DEFAULT 'langfuse', spans INTEGER NOT NULL, bytes INTEGER NOT NULL,
        reason TEXT NOT NULL, retry INTEGER NOT NULL DEFAULT 0, digest BLOB NOT NULL DEFAULT x'',
        body BLOB NOT NULL
    );
    INSERT INTO refused_2 (id, refused_ms, spans, bytes, reason, body)
        SELECT id, refused_ms, spans, length(body), reason, body FROM refused;
    DROP TABLE refused;
    ALTER TABLE refused_2 RENAME TO refused;
    CREATE TABLE positions_lost (id INTEGER PRIMARY KEY CHECK (id = 1), since_ms INTEGER NOT NULL);
    """,
    # 3: media to upload.
    """
    CREATE TABLE media (
        id INTEGER PRIMARY KEY AUTOINCREMENT, created_ms INTEGER NOT NULL, trace_id TEXT NOT NULL,
        observation_id TEXT NOT NULL, field TEXT NOT NULL, content_type TEXT NOT NULL, source TEXT NOT NULL,
        digest BLOB NOT NULL
    );
    CREATE INDEX media_by_digest ON media (digest);
    CREATE TABLE media_bytes (digest BLOB PRIMARY KEY, bytes INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE INDEX media_by_size ON media_bytes (bytes);
    """,
    # 4: where patterns have been looked for, and how logs rotate.
    """
    CREATE TABLE looks (pattern TEXT NOT NULL, directory TEXT NOT NULL, PRIMARY KEY (pattern, directory))
        WITHOUT ROWID;
    CREATE TABLE rotations (log TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    """,
    # 5: from where on files were read and how many calls were found in them, also when they are gone: a
    # backfill skips that. What is NULL is not known. Which spans of a body are calls: accounts count them.
    """
    ALTER TABLE files ADD COLUMN begun INTEGER;
    ALTER TABLE files ADD COLUMN calls INTEGER;
    ALTER TABLE files ADD COLUMN accounted INTEGER NOT NULL DEFAULT 1;
    CREATE TABLE past_files (
        id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL, head_length INTEGER NOT NULL,
        head_digest BLOB NOT NULL, begun INTEGER NOT NULL, offset INTEGER NOT NULL,
        marker_length INTEGER NOT NULL, marker_digest BLOB NOT NULL, calls INTEGER
    );
    ALTER TABLE outbox ADD COLUMN calls BLOB NOT NULL DEFAULT x'';
    """,
    # 6: by which settings calls were chosen, and where they went, when files were read.
    """
    CREATE TABLE chosen_by (id INTEGER PRIMARY KEY CHECK (id = 1), digest BLOB NOT NULL);
    """,
)
FORMAT = len(_MIGRATIONS)
_BUSY_SECONDS = 5.0
"""How long another program's transaction is waited for before it is a failed write."""


def connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS)
    try:
        # Spilled bodies are a few hundred KB each: large pages write them at a third of the cost.
        db.execute("PRAGMA page_size = 16384")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA journal_size_limit = 16777216")
    except BaseException:
        db.close()
        raise
    return db


def connect_beside(path: Path) -> sqlite3.Connection:
    """For another process than the daemon: to read, and to write a mark. Raises StoreError when the format
    is not this version's, because only the daemon changes it."""
    db = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=_BUSY_SECONDS)
    try:
        version = version_of(db, path)
    except BaseException:
        db.close()
        raise
    if version < FORMAT:
        db.close()
        raise StoreError(f"{path} has an older format; the daemon of this version upgrades it when it starts")
    return db


def version_of(db: sqlite3.Connection, path: Path) -> int:
    """The format of a database. Raises NewerStoreError for one of a newer program."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > FORMAT:
        raise NewerStoreError(
            f"{path} was written by a newer kong-ai-tracing (format {version}, this one knows "
            f"{FORMAT}); nothing was changed. Install the newer version, or set another state_dir"
        )
    return int(version)


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring a database to this version's format, in one transaction: whole or not at all."""
    version = version_of(db, path)
    if version == FORMAT:
        return
    try:
        db.executescript(
            f"BEGIN IMMEDIATE; {' '.join(_MIGRATIONS[version:])} "
            f"PRAGMA user_version = {FORMAT}; PRAGMA application_id = {APPLICATION_ID}; COMMIT;"
        )
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def create(path: Path, fill: Callable[[sqlite3.Connection], None] | None = None) -> None:
    """A new database, filled, under its name only when it is complete.

    So an empty file under that name is never a first start, but damage.
    """
    new = path.with_name(f"{path.name}.new")
    for rest in (new, *side_files(new)):
        rest.unlink(missing_ok=True)
    os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with contextlib.closing(connect(new)) as db:
        migrate(db, new)
        if fill is not None:
            fill(db)
    descriptor = os.open(new, os.O_RDONLY | os.O_CLOEXEC)
    os.fsync(descriptor)
    os.close(descriptor)
    new.rename(path)


def side_files(path: Path) -> tuple[Path, Path]:
    """What SQLite keeps beside a database that is in use."""
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")
