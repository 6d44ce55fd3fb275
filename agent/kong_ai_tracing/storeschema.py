"""The tables of the state database, and the way from one format to the next."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from kong_ai_tracing.statedir import StoreError

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
)


def connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    # Spilled bodies are a few hundred KB each: large pages write them at a third of the cost.
    db.execute("PRAGMA page_size = 16384")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA journal_size_limit = 16777216")
    return db


def migrate(db: sqlite3.Connection, path: Path) -> None:
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
