"""The ids that go out are those that Langfuse's own SDK computes from the same seed."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langfuse import Langfuse

import kong_entries
from kong_ai_tracing.calls import CallSettings, calls_of
from kong_ai_tracing.entries import LogEntry, read_entries
from kong_ai_tracing.ids import observation_id_from_seed, trace_id_from, trace_id_from_seed
from kong_ai_tracing.lines import Line

MAPPING = Path(__file__).parent.parent / "docs" / "mapping.md"
SEEDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(SEEDS)
def test_a_seed_gives_the_ids_that_the_sdk_makes_of_it(seed: str) -> None:
    """Of a trace and of an observation; the second is the beginning of the first."""
    assert trace_id_from_seed(seed) == Langfuse.create_trace_id(seed=seed)
    assert observation_id_from_seed(seed) == Langfuse.create_trace_id(seed=seed)[:16]


def test_an_application_that_knows_the_request_id_knows_the_trace() -> None:
    """Kong's request id, which stands in the answer's header, is the seed of both ids."""
    call = kong_entries.call(
        capture=kong_entries.capture(kong_entries.CHAT_REQUEST, kong_entries.CHAT_ANSWER)
    )
    trace_id = Langfuse.create_trace_id(seed=kong_entries.REQUEST_ID)
    assert (call.context.trace_id, call.id) == (trace_id, trace_id[:16])


SHARED = [
    {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
    {"langfuse_trace_id": "order-77"},
    {"x_message_id": "0b9f6a52-message-of-a-chat"},
]


@pytest.mark.parametrize("headers", SHARED)
def test_a_call_in_a_shared_trace_keeps_the_observation_that_the_request_id_gives(
    headers: dict[str, str],
) -> None:
    """A score for one call of several is found by the same lines of code."""
    call = kong_entries.call(request=kong_entries.request(**headers))
    assert call.context.shared
    assert call.context.trace_id != Langfuse.create_trace_id(seed=kong_entries.REQUEST_ID)
    assert call.id == Langfuse.create_trace_id(seed=kong_entries.REQUEST_ID)[:16]


def test_an_id_of_the_callers_own_is_a_seed_or_the_trace_itself() -> None:
    """What the SDK makes of `order-77` is the trace; what the SDK has made of it already is left alone."""
    trace_id = Langfuse.create_trace_id(seed="order-77")
    for named in ("order-77", trace_id):
        call = kong_entries.call(request=kong_entries.request(langfuse_trace_id=named))
        assert call.context.trace_id == trace_id


def test_a_line_has_the_same_ids_wherever_it_is_read() -> None:
    """Live, from a rotated file, and from an archive years later: the ids come from the line alone."""
    for request_id in (kong_entries.REQUEST_ID, None):
        asked = kong_entries.request() | {"id": request_id}
        data = kong_entries.line(kong_entries.record(request=asked)).data
        ids = set()
        for file, offset in (("ai.log", 0), ("ai.log.1", 917), ("/archive/ai.log-2026.gz", 5)):
            [entry] = read_entries(Line(file, 1, offset, data))
            assert isinstance(entry, LogEntry)
            [call] = calls_of(entry, CallSettings())
            ids.add((call.context.trace_id, call.id))
        assert len(ids) == 1


def test_before_kong_had_request_ids_the_digest_of_the_line_is_the_seed() -> None:
    """Until Kong 3.4 there is no id that an application could know; whoever has the line has the trace."""
    line = kong_entries.line(kong_entries.record(request=kong_entries.request() | {"id": ""}))
    [entry] = read_entries(line)
    assert isinstance(entry, LogEntry)
    [call] = calls_of(entry, CallSettings())
    trace_id = Langfuse.create_trace_id(seed=hashlib.sha256(line.data).hexdigest())
    assert (call.context.trace_id, call.id) == (trace_id, trace_id[:16])


def test_a_message_id_is_a_seed_as_the_sdk_takes_it() -> None:
    """An application that sends one needs no answer to know the trace."""
    message_id = "0b9f6a52-message-of-a-chat"
    call = kong_entries.call(request=kong_entries.request(x_message_id=message_id))
    assert call.context.trace_id == Langfuse.create_trace_id(seed=message_id)
    assert trace_id_from(message_id) == Langfuse.create_trace_id(seed=message_id)


def test_the_lines_in_the_documentation_name_the_call() -> None:
    """They are run here, with the SDK's class and a client that notes what it is given."""
    [code] = re.findall(r"```python\n(.*?create_trace_id.*?)```", MAPPING.read_text(), re.DOTALL)
    scores: list[dict[str, Any]] = []
    names = {
        "Langfuse": Langfuse,
        "langfuse": SimpleNamespace(create_score=lambda **given: scores.append(given)),
        "response": SimpleNamespace(headers={"X-Kong-Request-Id": kong_entries.REQUEST_ID}),
    }
    exec(code, names)
    call = kong_entries.call()
    assert (scores[0]["trace_id"], scores[0]["observation_id"]) == (call.context.trace_id, call.id)
