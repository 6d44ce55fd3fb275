"""What the state database tells, to its own process and to others beside it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import orjson
from msgspec import Struct

from kong_ai_tracing.identity import FileRecord
from kong_ai_tracing.lines import Marker
from kong_ai_tracing.statedir import StoreError

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
            return status_of(db)
        finally:
            db.close()
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{path} cannot be read: {error}; run as the daemon's user or as root") from error


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
        health={name: orjson.loads(value) for name, value in db.execute("SELECT * FROM health")},
        updated_at_ms=one("SELECT coalesce(max(committed_ms), 0) FROM clock")[0],
    )


def read_files(db: sqlite3.Connection) -> list[FileRecord]:
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


def _unsigned(number: int) -> int:
    return number + (1 << 64) if number < 0 else number
