"""The time that groups wait in."""

from __future__ import annotations

import time

from kong_ai_tracing.logtime import LogTime


def test_it_is_as_late_as_the_latest_call_that_was_read() -> None:
    """Calls do not stand in the order of their ends."""
    log_time = LogTime(lambda: 0.0)
    for ended_at_ms in (1_000, 5_000, 3_000):
        log_time.advance(ended_at_ms)
    assert log_time.now_ms == 5_000


def test_a_call_from_the_future_says_nothing() -> None:
    """A gateway whose clock was wrong for a moment must not end all waiting."""
    log_time = LogTime(lambda: 0.0)
    log_time.advance(1_000)
    log_time.advance(int(time.time() * 1000) + 3_600_000)
    assert log_time.now_ms == 1_000


def test_while_all_is_read_time_passes_as_it_does_outside() -> None:
    """No fraction of a millisecond gets lost, however often it is asked."""
    now = 0.0
    log_time = LogTime(lambda: now)
    log_time.advance(1_000)
    for step in range(1001):
        now = step * 0.0015
        log_time.pass_idle()
    assert log_time.now_ms == 2_500
    log_time.end_idle()
    now = 100.0
    log_time.end_idle()
    assert log_time.now_ms == 2_500, "while lines are read, only they tell the time"
