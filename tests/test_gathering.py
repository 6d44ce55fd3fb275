"""Calls on their way into batches: what is held, and what an earlier step must be told of."""

from __future__ import annotations

from kong_ai_tracing import otlp
from kong_ai_tracing.batches import Batcher
from kong_ai_tracing.gathering import Gathering
from kong_ai_tracing.traces import Grouping
from kong_entries import calls, request

NOW_MS = 1_750_000_000_000


def gathering() -> Gathering:
    return Gathering(Grouping(), Batcher(otlp, first_number=1, max_bytes=1 << 20, max_age_seconds=1.0))


def test_a_call_that_is_read_again_while_it_waits_is_released_for_the_step_that_held_it() -> None:
    """A run that was cut off wrote it down; that it is read again must not hide that it left."""
    shared = calls(request=request(**{"x-message-id": "0123456789abcdef0123"}))
    assert shared[0].context.shared
    for earlier in ("an earlier run", "an earlier batch"):
        steps = gathering()
        if earlier == "an earlier run":
            steps.hold(shared, NOW_MS)
        else:
            steps.add(shared, NOW_MS)
            assert set(steps.close().progress.held) == {shared[0].id}
        steps.add(shared, NOW_MS)
        steps.fill(NOW_MS, at_once=True)
        progress = steps.close().progress
        assert progress.released == {shared[0].id}, earlier
        assert progress.held == {}
        assert progress.counts["calls_repeated"] == 1
