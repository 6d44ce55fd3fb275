"""The tables of the local trace store, and how an older file becomes a newer one."""

from __future__ import annotations

import sqlite3

import orjson

from kong_ai_tracing.localrecords import unpacked
from kong_ai_tracing.localsearch import Words, found_by
from kong_ai_tracing.localsummary import Labels, sum_up

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
    # What the lists of `view` need: labels to filter by, an index for each order, indexes of words that
    # localsearch.py makes as it needs them. What was there already is put into them.
    """
    ALTER TABLE traces ADD COLUMN latency_ms INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE traces ADD COLUMN lead INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE traces ADD COLUMN labels TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE observations ADD COLUMN excerpt TEXT;
    ALTER TABLE observations ADD COLUMN is_call INTEGER NOT NULL DEFAULT 1;
    UPDATE observations SET is_call = 0 WHERE observation IN (
        SELECT observation FROM contents
        WHERE json_extract(details, '$.origin') IS NULL
           OR json_extract(details, '$.metadata.kong_object') IS NOT NULL
    );
    DROP INDEX observations_by_start;
    CREATE INDEX calls_by_start ON observations (started_ms, ended_ms, level, input_tokens, output_tokens,
        cost, model, user_id, service) WHERE is_call;
    DROP INDEX traces_by_start;
    CREATE INDEX traces_by_start ON traces (started_ms);
    CREATE INDEX traces_by_latency ON traces (latency_ms);
    CREATE INDEX traces_by_tokens ON traces (tokens);
    CREATE INDEX traces_by_cost ON traces (cost);
    CREATE TABLE labels (
        label INTEGER PRIMARY KEY, kind TEXT NOT NULL, value TEXT NOT NULL, traces INTEGER NOT NULL DEFAULT 0,
        UNIQUE (kind, value)
    );
    CREATE TABLE trace_labels (
        label INTEGER NOT NULL, started_ms INTEGER NOT NULL, trace INTEGER NOT NULL,
        PRIMARY KEY (label, started_ms, trace)
    ) WITHOUT ROWID;
    CREATE TABLE words (
        number INTEGER PRIMARY KEY AUTOINCREMENT, last INTEGER NOT NULL DEFAULT 0,
        observations INTEGER NOT NULL DEFAULT 0, characters INTEGER NOT NULL DEFAULT 0
    );
    """,
)

VERSION = len(_MIGRATIONS)


def migrate(db: sqlite3.Connection, characters_per_table: int) -> None:
    """Bring an empty or older file to the present form; a file of a later version is refused."""
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only an empty file can still choose this
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(f"PRAGMA journal_size_limit = {8 << 20}")
    [version] = db.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise sqlite3.NotSupportedError(
            f"made by a later version (schema {version}, this one knows {VERSION}): "
            "upgrade kong-ai-tracing or move the file away"
        )
    for number, script in enumerate(_MIGRATIONS[version:], version + 1):
        db.executescript(f"BEGIN IMMEDIATE; {script}")
        if number == _FIRST_WITH_LISTS:
            _fill_lists(db, characters_per_table)
        db.execute(f"PRAGMA user_version = {number}")
        db.commit()


def _fill_lists(db: sqlite3.Connection, characters_per_table: int) -> None:
    labels, words = Labels(db), Words(db, characters_per_table)
    for trace, said, changed, written_ms in db.execute(_TRACES).fetchall():
        for observation, details, asked, answered in db.execute(_CONTENTS, (trace,)).fetchall():
            found = found_by(details, unpacked(asked), unpacked(answered))
            words.add(observation, found.text)
            db.execute(_SET_EXCERPT, (found.excerpt, observation))
        sum_up(db, labels, trace, orjson.loads(said), changed, written_ms)
        words.save()
    labels.save()


_FIRST_WITH_LISTS = 2
_SET_EXCERPT = "UPDATE observations SET excerpt = ? WHERE observation = ?"
_TRACES = "SELECT trace, said, changed, written_ms FROM traces"
_CONTENTS = """
    SELECT observation, details, input, output FROM observations JOIN contents USING (observation)
    WHERE trace = ?
"""
