"""The balancer's tries in, those that failed before the last one out, as observations of their own.

The last try is the call itself. Kong does not log how long a try took, but the next one begins when it has
failed: that is the time it cost.
"""

from __future__ import annotations

from kong_ai_tracing.entries import LogEntry, integer, text
from kong_ai_tracing.facts import facts_of_try, known
from kong_ai_tracing.levels import failed
from kong_ai_tracing.observations import Level, Observation
from kong_ai_tracing.timing import duration

_MAX_TRIES = 50


def failed_tries(entry: LogEntry, call: Observation) -> list[Observation]:
    """One span for each try that was followed by another."""
    tries = entry.tries
    if len(tries) < 2:
        return []
    tries = tries[: _MAX_TRIES + 1]
    starts = [_started_at(attempt.get("balancer_start"), call) for attempt in tries]
    # A call that worked in the end lost time, one that did not lost everything.
    level: Level = "ERROR" if failed(entry.status) else "WARNING"
    found = []
    for index, attempt in enumerate(tries[:-1]):
        host = text(attempt.get("hostname")) or text(attempt.get("ip")) or "?"
        address = f"{host}:{integer(attempt.get('port')) or '?'}"
        code = integer(attempt.get("code"))
        found.append(
            Observation(
                type="span",
                name=f"try {index + 1}",
                started_at_ms=starts[index],
                ended_at_ms=max(starts[index], starts[index + 1]),
                level=level,
                status_message=f"{address[:200]} failed" + (f" with {code}" if code is not None else ""),
                metadata=known(
                    {"kong_object": "tries"},
                    facts_of_try(attempt),
                    {"balancer_latency_ms": duration(attempt.get("balancer_latency"))},
                ),
                origin=entry.origin,
            )
        )
    return found


def _started_at(value: object, call: Observation) -> int:
    started_at = integer(value)
    if started_at is None:
        return call.started_at_ms
    return min(max(started_at, call.started_at_ms), call.ended_at_ms)
