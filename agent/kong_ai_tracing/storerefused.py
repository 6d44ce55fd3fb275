"""The table of refused bodies: what a destination will never take as it is, bounded in bytes.

Another process may mark rows to be sent again; the daemon moves them to its outbox. All functions work
within the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct, field

from kong_ai_tracing.progress import Refusal
from kong_ai_tracing.statedir import as_store_error
from kong_ai_tracing.storerows import body_digest, body_is_intact
from kong_ai_tracing.storeschema import connect_beside
from kong_ai_tracing.storestatus import FILE_NAME

ROTTEN = "damaged on disk: its checksum does not agree"

_MARK = "UPDATE refused SET retry = 1 WHERE id = ? AND reason != ?"
_INSERT = (
    "INSERT INTO refused (refused_ms, destination, spans, bytes, reason, digest, body)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)


class RefusedBody(Struct, frozen=True):
    """One row, without its body."""

    id: int
    refused_ms: int
    destination: str
    spans: int
    bytes: int
    """As kept: compressed."""
    reason: str
    retry: bool
    """It was asked for again, and waits for the daemon."""


class Taken(Struct):
    """What an operator asked for again and is in the outbox now: the numbers it has there."""

    numbers: list[int] = field(default_factory=list)
    spans: int = 0


def insert(db: sqlite3.Connection, refusals: Iterable[Refusal], now_ms: int) -> None:
    db.executemany(
        _INSERT,
        [
            (
                now_ms,
                each.destination,
                each.spans,
                len(each.packed),
                each.reason,
                body_digest(each.packed, each.destination, each.spans),
                each.packed,
            )
            for each in refusals
        ],
    )


def keep_within(db: sqlite3.Connection, max_bytes: int) -> int:
    """Remove the oldest rows until the others fit; gives the number of spans that went."""
    (excess,) = db.execute("SELECT coalesce(sum(bytes), 0) - ? FROM refused", (max_bytes,)).fetchone()
    dropped = spans = 0
    if excess > 0:
        for last, size, count in db.execute("SELECT id, bytes, spans FROM refused ORDER BY id"):
            dropped, spans, excess = last, spans + count, excess - size
            if excess <= 0:
                break
        db.execute("DELETE FROM refused WHERE id <= ?", (dropped,))
    return spans


def take_marked(db: sqlite3.Connection, now_ms: int) -> Taken:
    """Move what was asked for again to the outbox.

    They are below those of all batches: what was refused is older than whatever is there.
    """
    rows = db.execute(
        "SELECT id, destination, spans, digest, body FROM refused WHERE retry = 1 ORDER BY id"
    ).fetchall()
    taken = Taken()
    for row_id, destination, spans, digest, body in rows:
        if body_is_intact(digest, body, destination, spans):
            db.execute(
                "INSERT INTO outbox (number, created_ms, spans, bytes, follows, body, digest)"
                " VALUES (?, ?, ?, ?, 0, ?, ?)",
                (-row_id, now_ms, spans, len(body), body, body_digest(body, -row_id, spans, 0)),
            )
            db.execute("DELETE FROM refused WHERE id = ?", (row_id,))
            taken.numbers.append(-row_id)
            taken.spans += spans
        else:
            db.execute("UPDATE refused SET retry = 0, reason = ? WHERE id = ?", (ROTTEN, row_id))
    return taken


class RefusedBodies:
    """The table as an operator's command sees it, beside a running daemon or without one."""

    def __init__(self, state_dir: Path) -> None:
        """Raises StoreError when there is no state, or when it cannot be used."""
        self._path = state_dir / FILE_NAME
        with as_store_error(self._path):
            self._db = connect_beside(self._path)

    def close(self) -> None:
        self._db.close()

    def list(self, ids: Sequence[int] | None = None) -> list[RefusedBody]:
        """All rows or those with these ids, oldest first."""
        with as_store_error(self._path):
            rows = self._db.execute(
                "SELECT id, refused_ms, destination, spans, bytes, reason, retry FROM refused ORDER BY id"
            ).fetchall()
        bodies = [
            RefusedBody(row_id, refused_ms, destination, spans, size, reason, bool(retry))
            for row_id, refused_ms, destination, spans, size, reason, retry in rows
        ]
        return bodies if ids is None else [body for body in bodies if body.id in set(ids)]

    def body(self, row_id: int) -> bytes:
        """The compressed body of a row; raises KeyError when it is gone."""
        with as_store_error(self._path):
            row = self._db.execute("SELECT body FROM refused WHERE id = ?", (row_id,)).fetchone()
        if row is None:
            raise KeyError(row_id)
        return bytes(row[0])

    def mark(self, ids: Iterable[int]) -> None:
        """Ask for rows to be sent again: the daemon takes them up within seconds, or when it starts."""
        with as_store_error(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(_MARK, [(each, ROTTEN) for each in ids])
            self._db.execute("COMMIT")
