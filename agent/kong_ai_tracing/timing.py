"""When a call began, when its first token came, and when it ended.

Start times are part of what makes a repeat overwrite instead of double, so they come from the line alone.
Absurd values are brought into a range that a trace store can show.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

from msgspec import Struct

from kong_ai_tracing.bodies import Captured
from kong_ai_tracing.entries import LogEntry, first_text, integer, table
from kong_ai_tracing.sections import BEFORE, PROXIED, Section

EARLIEST_MS = 1_420_070_400_000
"""2015-01-01: no Kong is older."""
LATEST_MS = 4_102_444_800_000
"""2100-01-01."""
LONGEST_MS = 7 * 86_400_000
_SECONDS_BELOW = 10_000_000_000
_MICROSECONDS_FROM = 100_000_000_000_000


class Timing(Struct, frozen=True):
    """All in epoch milliseconds, but for the first token, which is counted from the start."""

    started_at_ms: int
    ended_at_ms: int
    completion_started_at_ms: int | None = None
    first_token_ms: int | None = None

    @property
    def duration_ms(self) -> int:
        return self.ended_at_ms - self.started_at_ms


def started_at_of(entry: LogEntry) -> int:
    """The start of the request; where a custom field removed it, the nearest thing to it."""
    started_at = integer(entry.record.get("started_at"))
    if started_at is None:
        tried_at = next((integer(attempt.get("balancer_start")) for attempt in entry.tries), None)
        started_at = tried_at if tried_at is not None else _answered_at(entry)
    return _sane(started_at)


def _sane(started_at: int) -> int:
    if EARLIEST_MS <= started_at <= LATEST_MS:
        return started_at
    if 0 < started_at < _SECONDS_BELOW:
        started_at *= 1000
    while started_at >= _MICROSECONDS_FROM:
        started_at //= 1000
    return min(max(started_at, EARLIEST_MS), LATEST_MS)


def _answered_at(entry: LogEntry) -> int:
    date = first_text(table(entry.response.get("headers")).get("date"))
    try:
        return int(parsedate_to_datetime(date).timestamp() * 1000) if date else 0
    except (ValueError, OverflowError):
        return 0


def duration(value: Any) -> int | None:
    """Milliseconds from zero on; Kong's -1 means that there was nothing to measure."""
    if value is None or (type(value) is int and 0 <= value <= LONGEST_MS):
        return value
    milliseconds = integer(value)
    return None if milliseconds is None or milliseconds < 0 else min(milliseconds, LONGEST_MS)


def timing_of(entry: LogEntry, section: Section, captured: Captured, *, streamed: bool) -> Timing:
    """The times of the proxied call, or of a transformer's own call before or after it."""
    started_at = started_at_of(entry)
    ended_at = started_at + (duration(entry.latencies.get("request")) or 0)
    if section.place is not PROXIED:
        own = duration(section.meta.get("llm_latency"))
        if section.place is BEFORE:
            # 3.7 logs no latency of it; nearly all of Kong's own time is the wait for this call.
            own = own if own is not None else duration(entry.latencies.get("kong"))
            return Timing(started_at, started_at + (own or 0))
        return Timing(max(started_at, ended_at - (own or 0)), ended_at)
    # Where the line really has it.
    first_token = duration(captured.first_token_ms) if streamed else None
    if first_token is None:
        first_token = duration(section.usage.get("time_to_first_token"))
    return Timing(
        started_at,
        ended_at,
        _completion_started_at(entry, started_at, ended_at, first_token) if streamed else None,
        first_token,
    )


def _completion_started_at(
    entry: LogEntry, started_at: int, ended_at: int, first_token: int | None
) -> int | None:
    if first_token is None:
        proxy = duration(entry.latencies.get("proxy"))
        if proxy is None:
            return None
        first_token = (duration(entry.latencies.get("kong")) or 0) + proxy
    return min(started_at + first_token, ended_at)
