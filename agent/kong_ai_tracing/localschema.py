"""The tables of the local trace store, and how an older file becomes a newer one."""

from __future__ import annotations

import sqlite3

_MIGRATIONS = (
    """
    CREATE TABLE state (last_change INTEGER NOT NULL);
    INSERT INTO state VALUES (0);
    CREATE TABLE traces (
        trace INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        changed INTEGER NOT NULL DEFAULT 0,
        written_ms INTEGER NOT NULL DEFAULT 0,
        started_ms INTEGER NOT NULL DEFAULT 0,
        ended_ms INTEGER NOT NULL DEFAULT 0,
        observations INTEGER NOT NULL DEFAULT 0,
        errors INTEGER NOT NULL DEFAULT 0,
        tokens INTEGER NOT NULL DEFAULT 0,
        cost REAL NOT NULL DEFAULT 0,
        name TEXT, user_id TEXT, session_id TEXT, environment TEXT,
        said TEXT NOT NULL
    );
    CREATE INDEX traces_by_change ON traces (changed);
    CREATE INDEX traces_by_start ON traces (started_ms, id);
    CREATE TABLE observations (
        observation INTEGER PRIMARY KEY,
        trace INTEGER NOT NULL REFERENCES traces,
        id TEXT NOT NULL, parent_id TEXT, type TEXT NOT NULL, name TEXT NOT NULL,
        started_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL, first_token_ms INTEGER,
        level TEXT NOT NULL, provider TEXT, model TEXT,
        input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, total_tokens INTEGER NOT NULL,
        cost REAL NOT NULL,
        trace_name TEXT, user_id TEXT, session_id TEXT, environment TEXT, service TEXT, route TEXT,
        UNIQUE (trace, id)
    );
    CREATE INDEX observations_by_start ON observations (started_ms);
    CREATE TABLE contents (observation INTEGER PRIMARY KEY, details TEXT NOT NULL, input, output);
    """,
)


def migrate(db: sqlite3.Connection) -> None:
    """Bring an empty or older file to the present form; a file of a later version is refused."""
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only an empty file can still choose this
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(f"PRAGMA journal_size_limit = {8 << 20}")
    [version] = db.execute("PRAGMA user_version").fetchone()
    if version > len(_MIGRATIONS):
        raise sqlite3.NotSupportedError(
            f"made by a later version (schema {version}, this one knows {len(_MIGRATIONS)}): "
            "upgrade kong-ai-tracing or move the file away"
        )
    for number, script in enumerate(_MIGRATIONS[version:], version + 1):
        db.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")
