"""Spans that are encoded where their line was read: the same as if they had been encoded on their way."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec import msgpack
from msgspec.structs import replace

from kong_ai_tracing import localrecords, otlp
from kong_ai_tracing.alone import Alone
from kong_ai_tracing.batches import Batch, Batcher, WireForm
from kong_ai_tracing.calls import AICall, Child
from kong_ai_tracing.gathering import Gathering
from kong_ai_tracing.linereader import Reading
from kong_ai_tracing.traces import Grouping
from test_traces import call

NOW_MS = 1_750_000_000_000
MAX_SPAN_BYTES = 20_000


def gathering(form: WireForm) -> Gathering:
    batcher = Batcher(
        form, first_number=1, max_bytes=1 << 20, max_age_seconds=1.0, max_span_bytes=MAX_SPAN_BYTES
    )
    return Gathering(Grouping(), batcher)


def with_child(one: AICall) -> AICall:
    return replace(one, children=[Child("00000000000000aa", replace(one.observation, type="span"))])


def with_long_question(one: AICall) -> AICall:
    return replace(one, observation=replace(one.observation, input=b'"' + b"long " * MAX_SPAN_BYTES + b'"'))


ALONE = call("a", shared=False)
LINES = {
    "one call": [ALONE],
    "a failed try within it": [with_child(ALONE)],
    "two calls, below a root": [ALONE, call("b", shared=False)],
    "a call that is too large": [with_long_question(ALONE)],
    "a value that does harm": [replace(ALONE, observation=replace(ALONE.observation, name="\0" * 300))],
}


@pytest.mark.parametrize("form", [otlp, localrecords], ids=["langfuse", "local"])
@pytest.mark.parametrize("calls", LINES.values(), ids=LINES.keys())
def test_what_waits_for_nobody_becomes_the_same_batch(calls: list[AICall], form: WireForm) -> None:
    """Body, marks of calls and counts, after the way between two processes."""
    on_its_way = gathering(form)
    on_its_way.add(calls, NOW_MS)
    encoded = gathering(form)
    reading = Reading(groups=[calls])
    Alone(form, MAX_SPAN_BYTES).encode([reading])
    reading = msgpack.decode(msgpack.encode(reading), type=Reading)
    assert not reading.groups
    assert reading.encoded is not None
    assert reading.encoded.ended_at_ms == calls[0].observation.ended_at_ms
    encoded.add_encoded(reading.encoded, NOW_MS)
    assert told(encoded.close()) == told(on_its_way.close())


def told(batch: Batch) -> tuple[object, ...]:
    return batch.body, batch.progress.counts, batch.progress.held, batch.new_roots


@pytest.mark.parametrize(
    "groups",
    [[[call("a")]], [[replace(call("a"), parent_id="00000000000000aa")]], [[ALONE], [ALONE]], []],
    ids=["waits for company", "hangs below the caller's span", "two records in a line", "no call"],
)
def test_what_others_must_be_known_for_is_left_as_it_is(groups: Sequence[list[AICall]]) -> None:
    """Which trace a call belongs to, and the order of what stands in one line, are not decided here."""
    reading = Reading(groups=list(groups))
    Alone(otlp, None).encode([reading])
    assert reading == Reading(groups=list(groups))
