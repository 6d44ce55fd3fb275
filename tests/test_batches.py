"""Batches: closed on bytes or age, and told apart where a span is sent again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from kong_ai_tracing.batches import Batcher, Body
from kong_ai_tracing.lines import Origin
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.spans import Span
from test_traces import call


class Form:
    def encode(self, span: Span) -> bytes:
        return span.id.encode()

    def join(self, spans: Sequence[bytes]) -> bytes:
        return b",".join(spans)


ROOT = call("root")
ROOT_SPAN = Span(ROOT.context.trace_id, "0123456789abcdef", None, ROOT.context, ROOT.observation)
CALL_SPAN = replace(
    ROOT_SPAN, id="fedcba9876543210", observation=replace(ROOT.observation, origin=Origin("/a", 1, 0, 10))
)


@pytest.fixture
def batcher() -> Batcher:
    return Batcher(Form(), first_number=7, max_bytes=1_000, max_age_seconds=1)


def body_of(batcher: Batcher, *spans: Span) -> Body:
    for span in spans:
        batcher.add(span)
    body = batcher.close(Progress()).body
    assert body is not None
    return body


def test_a_root_that_is_sent_again_follows_the_batch_that_had_it(batcher: Batcher) -> None:
    """Each version follows the one before it; calls are sent once and follow nothing."""
    assert body_of(batcher, ROOT_SPAN, CALL_SPAN).follows == 0
    assert body_of(batcher, CALL_SPAN).follows == 0
    assert body_of(batcher, ROOT_SPAN, CALL_SPAN).follows == 7
    assert body_of(batcher, ROOT_SPAN).follows == 9


def test_a_new_root_is_announced_once(batcher: Batcher) -> None:
    """What is sent again, and what comes from one line alone, has the same start in any case."""
    batcher.add(ROOT_SPAN)
    assert batcher.close(Progress()).new_roots == {ROOT_SPAN.trace_id: ROOT.observation.started_at_ms}
    batcher.add(ROOT_SPAN)
    batcher.add(replace(ROOT_SPAN, id="00000000000000aa", context=replace(ROOT.context, shared=False)))
    assert batcher.close(Progress()).new_roots == {}


def test_two_versions_in_one_batch_follow_nothing(batcher: Batcher) -> None:
    """They stand in it in their order."""
    assert body_of(batcher, ROOT_SPAN, ROOT_SPAN).follows == 0


def test_a_root_of_an_earlier_run_follows_all_that_run_left(batcher: Batcher) -> None:
    """Which batch of the outbox has it is not known."""
    batcher.sent_before(ROOT_SPAN.id)
    assert body_of(batcher, ROOT_SPAN).follows == 6


def test_packing_keeps_what_a_body_follows() -> None:
    """Spilled and taken up again, it is still the same body."""
    body = Body(1, b"data", follows=3)
    assert body.pack().unpack() == body
