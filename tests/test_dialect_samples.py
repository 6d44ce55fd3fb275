"""Every provider's request, answer and stream, whole, cut and failed, through the whole reading of a line."""

from __future__ import annotations

import json
from typing import Any

import pytest

import kong_entries
from dialect_samples import CALLS, HI, SAMPLES, TEXTS, Sample, chat, piece
from kong_ai_tracing.calls import AICall
from kong_entries import sse
from reading import answer, said

STREAMED = [sample for sample in SAMPLES if sample.events]
by_name = {"ids": lambda sample: sample.name}
TYPES = {"sse": "text/event-stream", "sse+done": "text/event-stream", "lines": "application/x-ndjson"}


def call_of(sample: Sample, answered: str, *, streamed: bool) -> AICall:
    """The call that a line of a plain service with both bodies becomes."""
    kind = TYPES.get(sample.style, "application/json") if streamed else "application/json"
    return kong_entries.call(
        request=kong_entries.request(sample.path),
        upstream_uri=sample.path,
        service={"name": sample.provider, "host": sample.host, "port": 443},
        response={"status": 200, "headers": {"content-type": kind}},
        capture=kong_entries.capture(sample.request, stream=answered),
    )


def without_blanks(message: Any) -> Any:
    """A message without the members that say nothing; one that came at once keeps them."""
    if not isinstance(message, dict):
        return message
    return {name: value for name, value in message.items() if value not in (None, [])}


def check(sample: Sample, call: AICall) -> None:
    found = call.observation
    path_model = {"azure": "prod-gpt"}.get(sample.name)
    assert found.provider == sample.provider
    assert (found.model or "") == sample.model or found.model == path_model
    assert json.loads(found.input or b"null") == sample.input
    assert without_blanks(json.loads(found.output or b"null")) == sample.output
    assert (found.level, found.status_message) == ("DEFAULT", None)
    assert (found.metadata.get("finish_reason") or "") in (sample.finish_reason, "stop")
    assert "partial" not in found.metadata
    assert sample.parameters.items() <= found.model_parameters.items()


@pytest.mark.parametrize("sample", SAMPLES, **by_name)
def test_an_answer_that_came_at_once_is_read(sample: Sample) -> None:
    """Provider, model, messages, settings, reason and counts, for every provider."""
    call = call_of(sample, json.dumps(sample.whole), streamed=False)
    check(sample, call)
    if "bedrock" not in sample.name and call.observation.usage_details:
        assert call.observation.usage_details == sample.usage


@pytest.mark.parametrize("sample", STREAMED, **by_name)
def test_a_stream_is_the_answer_that_would_have_come_at_once(sample: Sample) -> None:
    """The same message, reason and counts."""
    call = call_of(sample, sample.stream(), streamed=True)
    check(sample, call)
    assert call.observation.usage_details == sample.usage


def begins(whole: Any, part: Any) -> bool:
    """Whether a text, or every text of a message, is the beginning of another."""
    if isinstance(whole, str):
        return part is None or (isinstance(part, str) and whole.startswith(part))
    return begins(whole.get("content") or "", (part or {}).get("content"))


@pytest.mark.parametrize("sample", STREAMED, **by_name)
def test_a_stream_without_its_end_is_partial_wherever_it_was_cut(sample: Sample) -> None:
    """By client, provider or the limit of the capture: its text is a beginning, and it is a warning."""
    whole = sample.stream()
    for number in range(1, len(sample.events)):
        found = call_of(sample, sample.stream(sample.events[:number], ended=False), streamed=True).observation
        assert begins(sample.output, json.loads(found.output or b"null"))
        ended = found.metadata.get("finish_reason") is not None
        assert (found.metadata.get("partial") is True) is not (ended or sample.endless)
        assert (found.level == "WARNING") is not (ended or sample.endless)
    for cut in range(len(whole) // 3, len(whole), 37):
        found = call_of(sample, whole[:cut], streamed=True).observation
        assert begins(sample.output, json.loads(found.output or b"null"))


@pytest.mark.parametrize("sample", STREAMED, **by_name)
def test_an_error_in_a_stream_that_began_well_is_a_failure(sample: Sample) -> None:
    """Status 200 or not; the text so far is kept in the answer."""
    events = [*sample.events[:-1][:2], sample.error]
    body = sample.stream(events, ended=False)
    found = call_of(sample, body, streamed=True)
    assert found.observation.level == "ERROR"
    assert sample.message in (found.observation.status_message or "")
    failure = answer(sample.path, body).failure
    assert failure is not None
    assert failure.message == sample.message


CHATS = [sample for sample in SAMPLES if sample.style == "sse+done"]


@pytest.mark.parametrize("sample", CHATS, **by_name)
def test_refusals_calls_and_several_choices_of_everybody_who_speaks_like_openai(sample: Sample) -> None:
    """Whole and streamed alike."""

    def both(whole: dict[str, Any], *events: dict[str, Any]) -> Any:
        once = said(answer(sample.path, whole))
        flowed = said(answer(sample.path, sse(*events, "[DONE]")))
        assert once == flowed
        return once

    refused = chat({"content": None, "refusal": "No."}, {})
    told = both(refused, piece({"refusal": "N"}), piece({"refusal": "o."}), piece({}, "stop"))
    assert told == {"role": "assistant", "content": None, "refusal": "No."}

    def fragment(index: int, text: str, **head: Any) -> dict[str, Any]:
        return piece({"tool_calls": [{"index": index, "function": {"arguments": text}} | head]})

    begun = [
        piece({"tool_calls": [{"index": at, "id": each["id"], "type": "function"} | {
            "function": {"name": each["function"]["name"], "arguments": ""}}]})
        for at, each in enumerate(CALLS)
    ]  # fmt: skip
    parts = [fragment(1, '{"y"'), fragment(0, '{"x": '), fragment(1, ": 2}"), fragment(0, "1}")]
    called = both(
        chat({"content": None, "tool_calls": CALLS}, {}, "tool_calls"),
        *begun,
        *parts,
        piece({}, "tool_calls"),
    )
    assert called == {"role": "assistant", "content": None, "tool_calls": CALLS}
    whole = chat({"content": "Hi there"}, {})
    whole["choices"].append({"index": 1, "message": {"role": "assistant", "content": "Yo"}})
    second = {"choices": [{"index": 1, "delta": {"content": "Yo"}, "finish_reason": None}]}
    assert both(whole, TEXTS[0], second, *TEXTS[1:]) == [HI, HI | {"content": "Yo"}]


def test_openrouters_error_in_place_of_a_choice_is_a_failure() -> None:
    """Its provider failed, and it answered with status 200."""
    choice = {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "error"}
    failed = choice | {"error": {"code": 502, "message": "Upstream error"}}
    for body in ({"choices": [failed]}, sse({"choices": [failed | {"delta": {}}]})):
        failure = answer("/v1/chat/completions", body).failure
        assert failure is not None
        assert (failure.message, failure.code) == ("Upstream error", "502")


def test_an_error_field_of_a_stream_is_a_failure() -> None:
    """Older servers of llama.cpp have it in place of `data`."""
    body = sse({"content": "Hi", "stop": False}) + 'error: {"code": 500, "message": "no"}\n\n'
    failure = answer("/completion", body).failure
    assert failure is not None
    assert failure.message == "no"
