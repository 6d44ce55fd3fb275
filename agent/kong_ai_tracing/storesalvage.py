"""From a damaged state database to a new one: every row that can be read and makes sense.

A position only counts together with what was read before it. When waiting calls or undelivered batches are
missing, all files are read again from their beginning: what is sent twice has the same ids.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct, field

from kong_ai_tracing.lines import EMPTY_MARKER
from kong_ai_tracing.storerows import is_intact

_NOTHING_WANTED = 1 << 62
"""The offset of a file that is history."""
_NEEDED = frozenset({"held", "outbox", "media", "media_bytes"})
"""What was read and has not arrived: without it a position would be a gap."""
_TYPES: dict[str, type] = {"INTEGER": int, "TEXT": str, "BLOB": bytes}


class Salvaged(Struct):
    """What came out of a damaged database."""

    rows: dict[str, int] = field(default_factory=dict)
    """Rows taken over, by table."""
    incomplete: list[str] = field(default_factory=list)
    """Tables of which at least a part is gone."""
    rewound: bool = False
    """All files are read again from their beginning."""


class _Column(Struct, frozen=True):
    name: str
    kind: type
    required: bool
    key: bool


def salvage(source: sqlite3.Connection | None, target: sqlite3.Connection, now_ms: int) -> Salvaged:
    """Fill a new database with what an old one still holds. None: nothing of the old one can be read."""
    found = Salvaged()
    target.execute("BEGIN IMMEDIATE")
    for (table,) in target.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    ).fetchall():
        kept, whole = (0, False) if source is None else _take_over(source, target, table)
        found.rows[table] = kept
        if not whole:
            found.incomplete.append(table)
    if not {"files", "looks"}.isdisjoint(found.incomplete):
        target.execute("INSERT OR REPLACE INTO positions_lost VALUES (1, ?)", (now_ms,))
        # Their files are read again; a number may soon be that of another file.
        target.execute("DELETE FROM held WHERE call IS NULL AND file_id NOT IN (SELECT file_id FROM files)")
    if _NEEDED.intersection(found.incomplete):
        found.rewound = True
        target.execute(
            "UPDATE files SET offset = 0, marker_length = ?, marker_digest = ?, begun = 0, calls = NULL"
            " WHERE offset < ?",
            (EMPTY_MARKER.length, EMPTY_MARKER.digest, _NOTHING_WANTED),
        )
        target.execute("DELETE FROM held WHERE call IS NULL")
        target.execute("DELETE FROM past_files")  # they may have been among what is missing
    target.execute("COMMIT")
    return found


def _take_over(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> tuple[int, bool]:
    """Copy the rows of one table; gives their number, and whether that is all there were."""
    try:
        there = {row[1] for row in source.execute(f"PRAGMA table_info({table})")}
    except sqlite3.Error:
        there = set()
    columns = [column for column in _columns(target, table) if column.name in there]
    if not columns:
        return 0, False
    names = ", ".join(column.name for column in columns)
    keys = [column.name for column in columns if column.key]
    values = ", ".join("?" for _ in columns)
    found, whole = _keys(source, table, keys)
    kept = 0
    for key in found:
        row = _row(source, f"SELECT {names} FROM {table} WHERE {_equals(keys)}", key)  # noqa: S608
        if row is None or not _fits(table, columns, row):
            whole = False
            continue
        target.execute(f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({values})", row)  # noqa: S608
        kept += 1
    return kept, whole


def _columns(db: sqlite3.Connection, table: str) -> list[_Column]:
    return [
        _Column(name, _TYPES[kind], bool(required or key), bool(key))
        for _, name, kind, required, _, key in db.execute(f"PRAGMA table_info({table})")
    ]


def _keys(db: sqlite3.Connection, table: str, keys: Sequence[str]) -> tuple[list[Any], bool]:
    """The keys of a table, from both ends up to where it cannot be read; and whether these are all."""
    found: dict[Any, None] = {}
    wholes = []
    for direction in ("ASC", "DESC"):
        order = ", ".join(f"{key} {direction}" for key in keys)
        query = f"SELECT {', '.join(keys)} FROM {table} ORDER BY {order}"  # noqa: S608
        try:
            for row in db.execute(query):
                found[row] = None
        except sqlite3.Error:
            wholes.append(False)
        else:
            wholes.append(True)
    return list(found), all(wholes)


def _row(db: sqlite3.Connection, query: str, key: Iterable[Any]) -> tuple[Any, ...] | None:
    with contextlib.suppress(sqlite3.Error):
        row: tuple[Any, ...] | None = db.execute(query, tuple(key)).fetchone()
        return row
    return None


def _fits(table: str, columns: Sequence[_Column], row: Sequence[Any]) -> bool:
    """Has each value its type, and does the row as a whole make sense?"""
    for column, value in zip(columns, row, strict=True):
        if not isinstance(value, column.kind) and (column.required or value is not None):
            return False
    return is_intact(table, {column.name: value for column, value in zip(columns, row, strict=True)})


def _equals(keys: Sequence[str]) -> str:
    return " AND ".join(f"{key} = ?" for key in keys)
