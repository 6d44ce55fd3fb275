"""What lists need to know of a trace: its sums, its labels, and how often each label occurs.

A label is one value of one kind: a model, a user, a status … A trace has as many of a kind as its
observations name. `trace_labels` holds the traces of each label by their start, so that a list with a filter
reads what it shows and no more.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

KINDS = ("model", "provider", "user", "session", "status", "service", "route", "environment")
STATUSES = {"DEFAULT": "ok", "DEBUG": "ok", "WARNING": "warning", "ERROR": "error"}
_WORST_LAST = ("ok", "warning", "error")
_MAX_CACHED = 20_000


class Labels:
    """The numbers of labels, and the counts that one transaction changes.

    `forget` must be called when a transaction is rolled back.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._numbers: dict[tuple[str, str], int] = {}
        self._changed: Counter[int] = Counter()

    def number_of(self, kind: str, value: str) -> int:
        known = self._numbers.get((kind, value))
        if known is not None:
            return known
        if len(self._numbers) >= _MAX_CACHED:
            self._numbers.clear()
        row = self._db.execute(_KNOWN_LABEL, (kind, value)).fetchone()
        row = row or self._db.execute(_NEW_LABEL, (kind, value)).fetchone()
        number = self._numbers[kind, value] = int(row[0])
        return number

    def count(self, labels: Iterable[int], difference: int) -> None:
        for label in labels:
            self._changed[label] += difference

    def save(self) -> None:
        """Write the counts; labels that no trace has any more go."""
        changes = [(change, label) for label, change in self._changed.items() if change]
        self._changed.clear()
        self._db.executemany("UPDATE labels SET traces = traces + ? WHERE label = ?", changes)
        gone = [(label,) for change, label in changes if change < 0]
        for label in gone:
            row = self._db.execute(_DELETE_UNUSED_LABEL, label).fetchone()
            if row:
                self._numbers.pop((row[0], row[1]), None)

    def forget(self) -> None:
        self._numbers.clear()
        self._changed.clear()


def sum_up(
    db: sqlite3.Connection, labels: Labels, trace: int, said: Mapping[str, Any], changed: int, written_ms: int
) -> None:
    """Bring what lists know of a trace up to date after some of its observations were written."""
    rows = db.execute(_OBSERVATIONS, (trace,)).fetchall()
    started_ms, ended_ms = min(row[1] for row in rows), max(row[2] for row in rows)
    statuses = {STATUSES.get(row[3], "ok") for row in rows}
    values = {
        "model": {row[4] for row in rows},
        "provider": {row[5] for row in rows},
        "service": {row[6] for row in rows},
        "route": {row[7] for row in rows},
        "status": {max(statuses, key=_WORST_LAST.index)},
        "user": {said.get("userId")},
        "session": {said.get("sessionId")},
        "environment": {said.get("environment")},
    }
    now = sorted(labels.number_of(kind, value) for kind in KINDS for value in values[kind] if value)
    _relabel(db, labels, trace, started_ms, now)
    sums = (
        changed,
        written_ms,
        started_ms,
        ended_ms,
        ended_ms - started_ms,
        len(rows),
        sum(row[3] == "ERROR" for row in rows),
        sum(row[8] for row in rows),
        sum(row[9] for row in rows),
        min(rows, key=lambda row: (row[10] is not None, row[1], row[0]))[0],
        orjson.dumps(now).decode(),
    )
    db.execute(_UPDATE_TRACE, (*sums, trace))


def forget_traces(db: sqlite3.Connection, labels: Labels, traces: Iterable[tuple[int]]) -> None:
    """Take traces that leave out of all lists."""
    for trace in traces:
        had, started_ms = db.execute(_LABELS_OF_TRACE, trace).fetchone()
        numbers = orjson.loads(had)
        db.executemany(_DELETE_TRACE_LABEL, [(number, started_ms, *trace) for number in numbers])
        labels.count(numbers, -1)


def _relabel(db: sqlite3.Connection, labels: Labels, trace: int, started_ms: int, now: list[int]) -> None:
    had_text, had_start = db.execute(_LABELS_OF_TRACE, (trace,)).fetchone()
    had = orjson.loads(had_text)
    if had == now and had_start == started_ms:
        return
    db.executemany(_DELETE_TRACE_LABEL, [(number, had_start, trace) for number in had])
    labels.count(had, -1)
    db.executemany("INSERT INTO trace_labels VALUES (?, ?, ?)", [(each, started_ms, trace) for each in now])
    labels.count(now, 1)


_KNOWN_LABEL = "SELECT label FROM labels WHERE kind = ? AND value = ?"
_NEW_LABEL = "INSERT INTO labels (kind, value) VALUES (?, ?) RETURNING label"
_DELETE_UNUSED_LABEL = "DELETE FROM labels WHERE label = ? AND traces <= 0 RETURNING kind, value"
_LABELS_OF_TRACE = "SELECT labels, started_ms FROM traces WHERE trace = ?"
_DELETE_TRACE_LABEL = "DELETE FROM trace_labels WHERE label = ? AND started_ms = ? AND trace = ?"
_OBSERVATIONS = """
    SELECT observation, started_ms, ended_ms, level, model, provider, service, route, total_tokens, cost,
           parent_id
    FROM observations WHERE trace = ?
"""
_UPDATE_TRACE = """
    UPDATE traces SET changed = ?, written_ms = ?, started_ms = ?, ended_ms = ?, latency_ms = ?,
        observations = ?, errors = ?, tokens = ?, cost = ?, lead = ?, labels = ?
    WHERE trace = ?
"""
