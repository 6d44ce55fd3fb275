"""When a call began, when its first token came, and when it ended."""

from __future__ import annotations

from typing import Any

import pytest

from kong_ai_tracing.timing import EARLIEST_MS, LATEST_MS, LONGEST_MS, duration, started_at_of
from kong_entries import (
    CHAT_ANSWER,
    CHAT_REQUEST,
    STARTED_AT,
    call,
    calls,
    capture,
    chunk,
    entry,
    record,
    sse,
)

STREAM = sse(chunk({"content": "x"}), chunk(finish_reason="stop"), "[DONE]")


@pytest.mark.parametrize(
    ("logged", "started_at"),
    [
        (STARTED_AT, STARTED_AT),
        (float(STARTED_AT), STARTED_AT),
        (str(STARTED_AT), STARTED_AT),
        (STARTED_AT // 1000, STARTED_AT // 1000 * 1000),
        (STARTED_AT * 1000, STARTED_AT),
        (1.7954202488e18, 1_795_420_248_800),
        (-5, EARLIEST_MS),
        (0, EARLIEST_MS),
        (1e300, LATEST_MS),
    ],
)
def test_the_start_is_the_lines_own_in_milliseconds(logged: Any, started_at: int) -> None:
    """Seconds and nanoseconds are recognised, absurd values clamped."""
    assert EARLIEST_MS <= started_at_of(entry(started_at=logged)) <= LATEST_MS
    if logged != 1e300:
        assert started_at_of(entry(started_at=logged)) == started_at


def test_without_a_start_the_nearest_time_on_the_line_is_taken() -> None:
    """The balancer's, then the date of the answer; never the clock."""
    assert started_at_of(entry(started_at=None)) == STARTED_AT + 5
    dated = {"headers": {"date": "Mon, 23 Nov 2026 07:50:48 GMT"}}
    assert started_at_of(entry(started_at=None, tries=[], response=dated)) == 1_795_420_248_000
    broken = {"headers": {"date": "yesterday"}}
    assert started_at_of(entry(started_at=None, tries=[], response=broken)) == EARLIEST_MS


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [(5, 5), (-1, None), (None, None), ("7", 7), (1e300, LONGEST_MS), (0, 0), ("x", None)],
)
def test_durations_are_from_zero_on_and_not_for_ever(value: Any, milliseconds: int | None) -> None:
    """Kong's -1 means that there was nothing to measure."""
    assert duration(value) == milliseconds


def test_the_end_is_the_start_and_the_wall_time() -> None:
    """Also when the wall time is missing or absurd."""
    assert call().observation.ended_at_ms == STARTED_AT + 1000
    assert call(latencies=None).observation.ended_at_ms == STARTED_AT
    assert call(latencies={"request": -3}).observation.ended_at_ms == STARTED_AT


def streamed(**changes: Any) -> tuple[int | None, int | None]:
    """Time of the first token in the observation and in its metadata, from the start."""
    body = capture(CHAT_REQUEST | {"stream": True}, stream=STREAM)
    found = call(**({"capture": body} | changes)).observation
    at = found.completion_started_at_ms
    return (None if at is None else at - STARTED_AT), found.metadata.get("time_to_first_token_ms")


def test_the_first_token_of_a_stream_is_where_it_was_measured() -> None:
    """By the capture, by the older fields, by Enterprise's usage."""
    with_time = capture(CHAT_REQUEST | {"stream": True}, stream=STREAM, ttft_ms=205)
    assert streamed(capture=with_time) == (205, 205)
    loose = {"status": 200, "body": STREAM, "first_chunk_at": STARTED_AT + 52}
    assert streamed(capture=None, response=loose) == (52, 52)
    ai = {"proxy": {"meta": {"request_mode": "stream"}, "usage": {"time_to_first_token": 212}}}
    assert streamed(capture=None, ai=ai) == (212, 212)


def test_without_a_measurement_the_headers_are_the_best_guess_and_no_measurement() -> None:
    """The guess is not put into the metadata."""
    assert streamed() == (305, None)
    assert streamed(latencies={"request": 1000, "kong": 5, "proxy": -1}) == (None, None)


def test_the_first_token_never_comes_after_the_end() -> None:
    """Documented samples do say so."""
    late = capture(CHAT_REQUEST | {"stream": True}, stream=STREAM, ttft_ms=5000)
    assert streamed(capture=late) == (1000, 5000)


def test_what_was_not_streamed_has_no_first_token() -> None:
    """The capture measures one all the same."""
    found = call(capture=capture(CHAT_REQUEST, CHAT_ANSWER, ttft_ms=8)).observation
    assert found.completion_started_at_ms is None
    assert "time_to_first_token_ms" not in found.metadata


def test_transformers_stand_before_and_after_the_proxied_call() -> None:
    """With their own latency, within the request."""
    own = {"meta": {"llm_latency": 100}, "usage": {"prompt_tokens": 1}}
    ai = {"ai-request-transformer": own, "proxy": own, "ai-response-transformer": own}
    times = [(each.observation.started_at_ms, each.observation.ended_at_ms) for each in calls(ai=ai)]
    start, end = STARTED_AT, STARTED_AT + 1000
    assert times == [(start, start + 100), (start, end), (end - 100, end)]


def test_3_7_logs_no_latency_of_a_transformer() -> None:
    """Kong's own time is the wait for it."""
    ai = {"ai-request-transformer": {"usage": {"prompt_token": 1}}}
    latencies = record()["latencies"] | {"kong": 157}
    assert call(ai=ai, latencies=latencies).observation.ended_at_ms == STARTED_AT + 157
