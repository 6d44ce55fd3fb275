"""A time range and a kind of label in, what happened in it over time out.

Latencies are counted in steps of two digits, so that percentiles of a million calls need no sorting.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import orjson
from msgspec import Struct, field

GROUPS = {"model": "model", "user": "user_id", "service": "service"}
RANGES = {"1h": 3600, "24h": 86_400, "7d": 7 * 86_400, "30d": 30 * 86_400}
"""Seconds, by the name of the range. Anything else is all there is."""
_BARS = 48
_STEPS = [60, 300, 600, 1800, 3600, 2 * 3600, 4 * 3600, 12 * 3600, 86_400, 7 * 86_400]
_SHOWN_GROUPS = 6
OTHERS = "others"
NOBODY = "(none)"


class Sums(Struct):
    """What some calls come to."""

    calls: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    latencies: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def add(self, row: tuple[Any, ...]) -> None:
        latency, calls, errors, asked, answered, cost = row
        self.calls += calls
        self.errors += errors
        self.input_tokens += asked
        self.output_tokens += answered
        self.cost += cost
        self.latencies[latency] += calls

    def percentile(self, share: float) -> int | None:
        """The latency in milliseconds that so large a part of the calls stays within."""
        wanted, seen = self.calls * share, 0
        for latency, calls in sorted(self.latencies.items()):
            seen += calls
            if seen >= wanted:
                return latency
        return None


class Overview(Struct):
    """Sums by time, by group, and by both."""

    since_ms: int
    step_ms: int
    bars: int
    groups: list[str]
    """The largest first, then OTHERS."""
    total: Sums = field(default_factory=Sums)
    by_group: dict[str, Sums] = field(default_factory=dict)
    by_bar: dict[int, Sums] = field(default_factory=dict)
    by_both: dict[tuple[str, int], Sums] = field(default_factory=dict)


def look(db: sqlite3.Connection, range_: str, group: str, now_ms: int) -> Overview:
    """The calls of a range, up to now."""
    since_ms = now_ms - RANGES[range_] * 1000 if range_ in RANGES else _first_ms(db, now_ms)
    until_ms = now_ms if range_ in RANGES else _last_ms(db, now_ms)
    seconds = max(60, (until_ms - since_ms) // 1000)
    step_ms = next((each for each in _STEPS if seconds / each <= _BARS), -(-seconds // _BARS)) * 1000
    since_ms -= since_ms % step_ms
    bars = (until_ms - since_ms) // step_ms + 1
    column = GROUPS[group]
    largest = db.execute(_LARGEST.format(column=column), (since_ms, until_ms, _SHOWN_GROUPS)).fetchall()
    names = [name for (name,) in largest]
    wanted = orjson.dumps([name for name in names if name is not None]).decode()
    others = None if None in names else OTHERS
    values = (since_ms, step_ms, wanted, OTHERS, others, since_ms, until_ms)
    rows = db.execute(_CALLS.format(column=column), values)
    return _summed(rows, Overview(since_ms, step_ms, bars, [name or NOBODY for name in names]))


def _summed(rows: Iterable[tuple[Any, ...]], overview: Overview) -> Overview:
    for bar, name, *sums in rows:
        group, row = name or NOBODY, tuple(sums)
        overview.total.add(row)
        overview.by_group.setdefault(group, Sums()).add(row)
        overview.by_bar.setdefault(bar, Sums()).add(row)
        overview.by_both.setdefault((group, bar), Sums()).add(row)
    if OTHERS in overview.by_group and OTHERS not in overview.groups:
        overview.groups.append(OTHERS)
    return overview


def _first_ms(db: sqlite3.Connection, now_ms: int) -> int:
    return db.execute("SELECT min(started_ms) FROM traces").fetchone()[0] or now_ms


def _last_ms(db: sqlite3.Connection, now_ms: int) -> int:
    return db.execute("SELECT max(started_ms) FROM traces").fetchone()[0] or now_ms


# A call is what came from a line of the log; roots of groups and steps within a call are none.
_RANGE = "FROM observations INDEXED BY calls_by_start WHERE is_call AND started_ms BETWEEN ? AND ?"
_LARGEST = f"SELECT {{column}} {_RANGE} GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT ?"
_CALLS = f"""
    SELECT (started_ms - ?) / ? AS bar,
        CASE WHEN {{column}} IN (SELECT value FROM json_each(?)) THEN {{column}}
             WHEN {{column}} IS NOT NULL THEN ? ELSE ? END AS shown,
        CASE WHEN ended_ms - started_ms < 100 THEN ended_ms - started_ms
             WHEN ended_ms - started_ms < 1000 THEN (ended_ms - started_ms) / 10 * 10
             WHEN ended_ms - started_ms < 10000 THEN (ended_ms - started_ms) / 100 * 100
             WHEN ended_ms - started_ms < 100000 THEN (ended_ms - started_ms) / 1000 * 1000
             ELSE (ended_ms - started_ms) / 10000 * 10000 END AS latency,
        count(*), sum(level = 'ERROR'), sum(input_tokens), sum(output_tokens), sum(cost)
    {_RANGE} GROUP BY bar, shown, latency
"""  # noqa: S608
