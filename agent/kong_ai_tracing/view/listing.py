"""Wishes for a list in, one page of traces out, by way of an index whatever the wishes are.

Of all conditions that have an index the rarest leads; the others are looked up for each trace it gives.
Where even the rarest is frequent and the order is not by time, the index of the order leads instead.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Any, TypeAlias

import orjson
from msgspec import Struct

from kong_ai_tracing.view.filters import Filters

PAGE_SIZE = 50
MAX_SORTED = 20_000
"""So many traces are sorted at most to make a page."""
MAX_HITS = 10_000
"""So many of the newest observations with the wanted words are looked at."""

_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_WORD = re.compile(r"[^\W_]+")
_LABEL = "SELECT label FROM labels WHERE kind = ? AND value = ?"
_HAS_LABEL = (
    "EXISTS (SELECT 1 FROM trace_labels"
    " WHERE label = ? AND started_ms = lead.started_ms AND trace = lead.trace)"
)
_SHOWN = (
    "t.trace, t.id, coalesce(t.name, ''), t.started_ms, t.latency_ms, t.observations, t.errors, t.tokens,"
    " t.cost, t.labels, (SELECT excerpt FROM observations WHERE observation = t.lead)"
)

_IS_HIT = (
    "lead.trace IN (SELECT o.trace FROM json_each(?) CROSS JOIN observations AS o ON o.observation = value)"
)

Values: TypeAlias = list[int | float | str]


class Row(Struct, frozen=True):
    """One trace as a list shows it."""

    number: int
    id: str
    name: str
    started_ms: int
    latency_ms: int
    observations: int
    errors: int
    tokens: int
    cost: float
    labels: dict[str, list[str]]
    """By kind."""
    excerpt: str

    def all(self, kind: str) -> str:
        return ", ".join(self.labels.get(kind, ()))

    def first(self, kind: str) -> str:
        return next(iter(self.labels.get(kind, ())), "")


class Page(Struct, frozen=True):
    """Some traces, and from where on the next page goes."""

    rows: list[Row]
    next: str | None
    capped: bool = False
    """More observations have the wanted words than are looked at."""


class Query(Struct, frozen=True):
    sql: str
    values: Values


def page(db: sqlite3.Connection, filters: Filters, now_ms: int) -> Page:
    hits = _hits(db, filters.text)
    query = list_query(db, filters, now_ms, hits)
    if query is None:
        return Page([], None)
    rows = db.execute(query.sql, query.values).fetchall()
    shown = rows[:PAGE_SIZE]
    following = None
    if len(rows) > PAGE_SIZE:
        column = {"started_ms": 3, "latency_ms": 4, "tokens": 7, "cost": 8}[filters.column]
        following = f"{shown[-1][column]!r}~{shown[-1][0]}"
    return Page(_rows(db, shown), following, capped=hits is not None and len(hits) >= MAX_HITS)


def list_query(
    db: sqlite3.Connection, filters: Filters, now_ms: int, hits: list[int] | None = None
) -> Query | None:
    """The statement that gives a page and one trace more, or None when nothing can be found."""
    labels = []
    for kind, value in filters.labels.items():
        row = db.execute(_LABEL, (kind, value)).fetchone()
        if row is None:
            return None
        labels.append(int(row[0]))
    bounds = filters.bounds_ms(now_ms)
    if hits is not None:
        return _among_hits(filters, labels, bounds, hits)
    counted = sorted((_count(db, label, bounds), label) for label in labels)
    by_time = filters.column == "started_ms"
    if counted and (by_time or counted[0][0] < MAX_SORTED):
        rarest, others = counted[0][1], [label for _, label in counted[1:]]
        return _by_label(filters, rarest, others, bounds)
    if not by_time and bounds and _count(db, None, bounds) < MAX_SORTED:
        return _of_traces(filters, labels, bounds, "traces_by_start")
    return _of_traces(filters, labels, bounds, f"traces_by_{filters.sort if not by_time else 'start'}")


def _by_label(filters: Filters, rarest: int, others: list[int], bounds: tuple[int, int] | None) -> Query:
    conditions: list[str] = ["lead.label = ?"]
    values: Values = [rarest]
    _add_bounds(conditions, values, bounds)
    for label in others:
        conditions.append(_HAS_LABEL)
        values.append(label)
    source = "trace_labels AS lead CROSS JOIN traces AS t ON t.trace = lead.trace"
    return _query(filters, source, conditions, values)


def _of_traces(filters: Filters, labels: list[int], bounds: tuple[int, int] | None, index: str) -> Query:
    conditions, values = ["1"], Values()
    _add_bounds(conditions, values, bounds)
    for label in labels:
        conditions.append(_HAS_LABEL)
        values.append(label)
    source = f"traces AS lead INDEXED BY {index} CROSS JOIN traces AS t ON t.trace = lead.trace"
    return _query(filters, source, conditions, values)


def _among_hits(
    filters: Filters, labels: list[int], bounds: tuple[int, int] | None, hits: list[int]
) -> Query:
    conditions = [_IS_HIT]
    values: Values = [orjson.dumps(hits).decode()]
    _add_bounds(conditions, values, bounds)
    for label in labels:
        conditions.append(_HAS_LABEL)
        values.append(label)
    source = "traces AS lead CROSS JOIN traces AS t ON t.trace = lead.trace"
    return _query(filters, source, conditions, values)


def _query(filters: Filters, source: str, conditions: list[str], values: Values) -> Query:
    owner = "lead" if filters.column == "started_ms" or source.startswith("traces") else "t"
    if filters.after is not None:
        sign = ">" if filters.ascending else "<"
        conditions.append(f"({owner}.{filters.column}, lead.trace) {sign} (?, ?)")
        values += filters.after
    direction = "ASC" if filters.ascending else "DESC"
    return Query(
        f"SELECT {_SHOWN} FROM {source} WHERE {' AND '.join(conditions)}"  # noqa: S608  parts of our own
        f" ORDER BY {owner}.{filters.column} {direction}, lead.trace {direction} LIMIT {PAGE_SIZE + 1}",
        values,
    )


def _add_bounds(conditions: list[str], values: Values, bounds: tuple[int, int] | None) -> None:
    if bounds:
        conditions.append("lead.started_ms BETWEEN ? AND ?")
        values += bounds


def _count(db: sqlite3.Connection, label: int | None, bounds: tuple[int, int] | None) -> int:
    """How many traces have that label, as far as it matters."""
    since, until = bounds or (0, 1 << 62)
    if label is None:
        query, values = _COUNT_TRACES, (since, until, MAX_SORTED)
        return int(db.execute(query, values).fetchone()[0])
    if bounds is None:
        return int(db.execute("SELECT traces FROM labels WHERE label = ?", (label,)).fetchone()[0])
    return int(db.execute(_COUNT_LABELLED, (label, since, until, MAX_SORTED)).fetchone()[0])


def _hits(db: sqlite3.Connection, text: str) -> list[int] | None:
    """The newest observations with all these words, or None when no words are wanted."""
    if not text:
        return None
    if _TRACE_ID.fullmatch(text.lower()):
        known = db.execute("SELECT lead FROM traces WHERE id = ?", (text.lower(),)).fetchone()
        if known:
            return [int(known[0])]
    wanted = match_expression(text)
    hits: list[int] = []
    for (number,) in db.execute("SELECT number FROM words ORDER BY number DESC").fetchall():
        if not wanted or len(hits) >= MAX_HITS:
            break
        query = f"SELECT rowid FROM words_{number} WHERE words_{number} MATCH ? ORDER BY rowid DESC LIMIT ?"  # noqa: S608
        try:
            hits += [hit for (hit,) in db.execute(query, (wanted, MAX_HITS - len(hits)))]
        except sqlite3.OperationalError as error:
            if "phrase queries" not in str(error):
                raise
            return []  # what Python takes for one word is several to SQLite
    return hits


def match_expression(text: str) -> str:
    """All words of a text; one that ends in `*` may go on."""
    return " AND ".join(
        f'"{word[0]}"' + ("*" if text[word.end() : word.end() + 1] == "*" else "")
        for word in _WORD.finditer(text)
    )


def _rows(db: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> list[Row]:
    numbers = {label for row in rows for label in orjson.loads(row[9])}
    known = {
        label: (kind, value)
        for label, kind, value in db.execute(_LABELS, (orjson.dumps(list(numbers)).decode(),))
    }
    listed = []
    for row in rows:
        number, trace_id, name, started, latency, observations, errors, tokens, cost, had, excerpt = row
        labels: dict[str, list[str]] = {}
        for label in orjson.loads(had):
            if label in known:  # it may have left since
                labels.setdefault(known[label][0], []).append(known[label][1])
        sums = (started, latency, observations, errors, tokens, cost)
        listed.append(Row(number, trace_id, name, *sums, labels, excerpt or ""))
    return listed


_COUNT_TRACES = """
    SELECT count(*) FROM (SELECT 1 FROM traces WHERE started_ms BETWEEN ? AND ? LIMIT ?)
"""
_COUNT_LABELLED = """
    SELECT count(*) FROM (SELECT 1 FROM trace_labels WHERE label = ? AND started_ms BETWEEN ? AND ? LIMIT ?)
"""
_LABELS = "SELECT label, kind, value FROM labels WHERE label IN (SELECT value FROM json_each(?))"
