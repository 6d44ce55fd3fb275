"""The tables of media that are to be uploaded: each place at which one stood, and its bytes once.

They are written with the position that covers their lines, and removed when Langfuse has them. All functions
that write work within the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence

import orjson

from kong_ai_tracing.media import Attachment, Medium


def insert(db: sqlite3.Connection, media: Iterable[Attachment], now_ms: int) -> None:
    for each in media:
        medium = each.medium
        db.execute(
            "INSERT OR IGNORE INTO media_bytes VALUES (?, ?, ?)",
            (medium.digest, len(medium.data), medium.data),
        )
        db.execute(
            "INSERT INTO media (created_ms, trace_id, observation_id, field, content_type, source, digest)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                now_ms,
                each.trace_id,
                each.observation_id,
                each.field,
                medium.content_type,
                medium.source,
                medium.digest,
            ),
        )


def remove(db: sqlite3.Connection, ids: Sequence[int]) -> None:
    """Forget places; the bytes go with the last one."""
    for each in ids:
        for (digest,) in db.execute("DELETE FROM media WHERE id = ? RETURNING digest", (each,)).fetchall():
            db.execute(
                "DELETE FROM media_bytes WHERE digest = ?1"
                " AND NOT EXISTS (SELECT 1 FROM media WHERE digest = ?1)",
                (digest,),
            )


def oldest(db: sqlite3.Connection, besides: Collection[int]) -> tuple[int, Attachment] | None:
    """The place that has waited longest, with its number; None when there are no others."""
    row = db.execute(
        "SELECT id, trace_id, observation_id, field, content_type, data, digest, source"
        " FROM media JOIN media_bytes USING (digest)"
        " WHERE id NOT IN (SELECT value FROM json_each(?)) ORDER BY id LIMIT 1",
        (orjson.dumps(list(besides)).decode(),),
    ).fetchone()
    if row is None:
        return None
    number, trace_id, observation_id, field, *medium = row
    return number, Attachment(trace_id, observation_id, field, Medium(*medium))


def size(db: sqlite3.Connection) -> int:
    (total,) = db.execute("SELECT coalesce(sum(bytes), 0) FROM media_bytes").fetchone()
    return int(total)


def waiting(db: sqlite3.Connection) -> int:
    """How many places there are."""
    (count,) = db.execute("SELECT count(*) FROM media").fetchone()
    return int(count)
