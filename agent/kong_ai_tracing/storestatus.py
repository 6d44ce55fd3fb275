"""What the state database tells, to its own process and to others beside it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import msgspec
import orjson
from msgspec import Struct, field

from kong_ai_tracing import storefiles
from kong_ai_tracing.identity import FileRecord
from kong_ai_tracing.rotationrisk import Rotations
from kong_ai_tracing.statedir import as_store_error, is_damage
from kong_ai_tracing.storerows import FILE_COLUMNS, file_record
from kong_ai_tracing.storeschema import side_files, version_of

FILE_NAME = "state.sqlite3"


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
    rotations: dict[str, Rotations] = field(default_factory=dict)
    """The rhythm in which logs rotate, by log."""
    outbox_calls: int = 0
    """How many of the spans in the outbox are calls."""


def read_status(state_dir: Path) -> StoreStatus | None:
    """The state as it was last committed; None when there is none yet. Works beside a running daemon.

    Raises StoreError when the database cannot be read.
    """
    path = state_dir / FILE_NAME
    with as_store_error(path):
        if not path.exists():
            return None
        with closing(_connect(path)) as db:
            version_of(db, path)
            return status_of(db)


def read_parts(state_dir: Path, chosen_by: bytes | None = None) -> list[FileRecord]:
    """What was read of files, those included that are gone since: from `begun` to `offset`.

    With `chosen_by` nothing, when calls were chosen by other settings, or went elsewhere.

    It is delivered, or the state's owner will see to it. Raises StoreError when the database cannot be read.
    """
    path = state_dir / FILE_NAME
    with as_store_error(path):
        if not path.exists():
            return []
        with closing(_connect(path)) as db:
            version_of(db, path)
            if chosen_by is not None and _is_other(db, chosen_by):
                return []
            there = [record for record in read_files(db) if not record.is_history]
            return [
                one for one in there + _past_files(db) if one.begun is not None and one.begun < one.offset
            ]


def read_undelivered(state_dir: Path) -> Iterator[tuple[Literal["held", "outbox", "refused"], str | bytes]]:
    """What was read and is not delivered: ids of calls that wait for company, packed bodies that wait or that
    were refused. One after the other: together they may be large. Raises StoreError.
    """
    path = state_dir / FILE_NAME
    with as_store_error(path):
        if not path.exists():
            return
        with closing(_connect(path)) as db:
            version_of(db, path)
            for (call_id,) in db.execute("SELECT call_id FROM held"):
                yield "held", call_id
            for (body,) in db.execute("SELECT body FROM outbox"):
                yield "outbox", body
            for (body,) in db.execute("SELECT body FROM refused"):
                yield "refused", body


def _is_other(db: sqlite3.Connection, digest: bytes) -> bool:
    """What an older format does not say is taken to be as it is now."""
    known = storefiles.chosen_by(db) if _columns(db, "chosen_by") else None
    return known is not None and known != digest


def _past_files(db: sqlite3.Connection) -> list[FileRecord]:
    if not _columns(db, "past_files"):
        return []
    rows = db.execute(
        """SELECT 0, path, 0, 0, NULL, head_length, head_digest, offset, marker_length, marker_digest, begun,
           calls FROM past_files ORDER BY id"""
    )
    return [file_record(row) for row in rows]


def _connect(path: Path) -> sqlite3.Connection:
    """Read-only; a file that is at rest is read as it is where SQLite cannot make its side files."""
    wal, _ = side_files(path)
    at_rest = not wal.exists() or not wal.stat().st_size
    db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        db.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.Error as error:
        db.close()
        if is_damage(error) or not at_rest:
            raise
        return sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True, isolation_level=None)
    return db


def status_of(db: sqlite3.Connection) -> StoreStatus:
    def one(sql: str) -> Any:
        return db.execute(sql).fetchone()

    batches, size, spans = one(
        "SELECT count(*), coalesce(sum(bytes), 0), coalesce(sum(spans), 0) FROM outbox"
    )
    return StoreStatus(
        files=read_files(db),
        counters=dict(db.execute("SELECT name, value FROM counters ORDER BY name")),
        outbox_batches=batches,
        outbox_bytes=size,
        outbox_spans=spans,
        refused=one("SELECT coalesce(sum(spans), 0) FROM refused")[0],
        set_aside=one("SELECT count(*) FROM set_aside")[0],
        held=one("SELECT count(*) FROM held")[0],
        health=read_health(db),
        updated_at_ms=one("SELECT coalesce(max(committed_ms), 0) FROM clock")[0],
        rotations=read_rotations(db),
        outbox_calls=_calls_waiting(db),
    )


def read_health(db: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    return {name: orjson.loads(value) for name, value in db.execute("SELECT * FROM health")}


def _calls_waiting(db: sqlite3.Connection) -> int:
    """0 of a database of an older format, which `status` reads as well."""
    if "calls" not in _columns(db, "outbox"):
        return 0
    return sum(sum(calls) for (calls,) in db.execute("SELECT calls FROM outbox"))


def _columns(db: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in db.execute(f"PRAGMA table_info({table})")}


def read_rotations(db: sqlite3.Connection) -> dict[str, Rotations]:
    """Nothing of a database of an older format, which `status` reads as well."""
    if db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'rotations'").fetchone() == (0,):
        return {}
    rows = db.execute("SELECT log, value FROM rotations")
    return {log: msgspec.json.decode(value, type=Rotations) for log, value in rows}


def read_files(db: sqlite3.Connection) -> list[FileRecord]:
    """What a database of an older format does not have is not known: `status` reads it as well."""
    there = _columns(db, "files")
    columns = ", ".join(name if name in there else "NULL" for name in FILE_COLUMNS.split(", "))
    rows = db.execute(f"SELECT {columns} FROM files ORDER BY file_id")  # noqa: S608 - names of ours
    return [file_record(row) for row in rows]
