"""The ids that go out are those that Langfuse's own SDK computes from the same seed."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from langfuse import Langfuse

import kong_entries
from kong_ai_tracing.ids import observation_id_from_seed, trace_id_from, trace_id_from_seed

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
