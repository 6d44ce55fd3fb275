"""Streams of OpenAI's, put together as its own SDK puts them together, whatever the order of the pieces."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.chat._completions import ChatCompletionStreamState
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from kong_entries import sse
from reading import answer, said

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=5)
contents = st.builds(lambda text: {"content": text}, texts)
refusals = st.builds(lambda text: {"refusal": text}, texts)


def fragment(index: int, text: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}


def begun_calls(count: int) -> list[dict[str, Any]]:
    """The first fragment of each call, in order, as OpenAI sends them."""
    heads = [{"index": at, "id": f"call_{at}", "type": "function"} for at in range(count)]
    return [
        {"tool_calls": [head | {"function": {"name": f"f{at}", "arguments": ""}}]}
        for at, head in enumerate(heads)
    ]


@st.composite
def deltas(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The deltas of one choice: texts, a refusal, and the fragments of parallel calls in any order."""
    calls = draw(st.integers(0, 3))
    fragments = st.builds(fragment, st.integers(0, calls - 1), texts) if calls else st.nothing()
    said = draw(st.lists(contents | refusals, max_size=5))
    given = draw(st.lists(fragments, max_size=6)) if calls else []
    return [{"role": "assistant", "content": ""}, *said, *begun_calls(calls), *given]


@st.composite
def chats(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The events of a chat of up to three choices, mixed."""
    queues = [
        [(index, delta, None) for delta in draw(deltas())] + [(index, {}, "stop")]
        for index in range(draw(st.integers(1, 3)))
    ]
    # The SDK needs the first event of each choice in order.
    pieces = [queue.pop(0) for queue in queues]
    while any(queues):
        pieces.append(draw(st.sampled_from([each for each in queues if each])).pop(0))
    events = [event([{"index": i, "delta": delta, "finish_reason": why}]) for i, delta, why in pieces]
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return [*events, event([]) | {"usage": usage}]


def event(choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}


def without_nothing(message: Any) -> Any:
    """A message without members that say nothing, and without what the SDK adds of its own."""
    if isinstance(message, list):
        return [without_nothing(each) for each in message]
    if isinstance(message, dict):
        known = {name: without_nothing(value) for name, value in message.items()}
        own = ("parsed", "parsed_arguments", "index")
        return {name: v for name, v in known.items() if v not in (None, [], "") and name not in own}
    return message


@given(chats())
def test_a_chat_is_what_the_sdk_makes_of_its_events(events: list[dict[str, Any]]) -> None:
    """Texts, refusals, parallel calls in fragments and several choices."""
    state = ChatCompletionStreamState()
    for each in events:
        list(state.handle_chunk(ChatCompletionChunk.model_validate(each)))
    judge = state.current_completion_snapshot.model_dump(mode="json", exclude_unset=True)
    found = answer(CHAT, sse(*events, "[DONE]"))
    messages = [choice["message"] for choice in sorted(judge["choices"], key=lambda each: each["index"])]
    expected = messages[0] if len(messages) == 1 else messages
    assert without_nothing(said(found)) == without_nothing(expected)
    assert (found.usage, found.finish_reason, found.partial) == (events[-1]["usage"], "stop", False)
    assert without_nothing(said(answer(CHAT, judge))) == without_nothing(expected)


# -- responses

RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "m",
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "output": [],
}


@st.composite
def items(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The events of some output items: messages of several texts, and calls of functions."""
    events: list[dict[str, Any]] = []
    for index in range(draw(st.integers(0, 4))):
        at = {"output_index": index, "item_id": f"i{index}"}
        if draw(st.booleans()):
            item = {"type": "function_call", "id": f"i{index}", "call_id": f"c{index}", "name": "f"}
            events.append({"type": "response.output_item.added", **at, "item": item | {"arguments": ""}})
            kind = "response.function_call_arguments.delta"
            events += [{"type": kind, **at, "delta": text} for text in draw(st.lists(texts, max_size=4))]
            continue
        item = {"type": "message", "id": f"i{index}", "role": "assistant", "status": "in_progress"}
        events.append({"type": "response.output_item.added", **at, "item": item | {"content": []}})
        for place in range(draw(st.integers(0, 3))):
            here = at | {"content_index": place}
            part = {"type": "output_text", "text": "", "annotations": []}
            events.append({"type": "response.content_part.added", **here, "part": part})
            delta = {"type": "response.output_text.delta", **here, "logprobs": []}
            events += [delta | {"delta": text} for text in draw(st.lists(texts, max_size=3))]
    created = {"type": "response.created", "response": RESPONSE | {"status": "in_progress"}}
    return [each | {"sequence_number": number} for number, each in enumerate([created, *events])]


@given(items())
def test_a_response_without_its_end_is_what_the_sdk_has_of_it(events: list[dict[str, Any]]) -> None:
    """The snapshot after the last event that arrived is read like a whole response."""
    state = ResponseStreamState(input_tools=omit, text_format=omit)
    for each in events:
        state.handle_event(EVENTS.validate_python(each))
    judge = getattr(state, "_ResponseStreamState__current_snapshot")  # noqa: B009 - it has no other name
    judge = judge.model_dump(mode="json", exclude_unset=True, warnings=False) | {"status": "completed"}
    found = answer(RESPONSES, sse(*events))
    assert said(found) == said(answer(RESPONSES, judge))
    assert found.partial
    completed = {"type": "response.completed", "response": judge}
    assert answer(RESPONSES, sse(*events, completed)) == answer(RESPONSES, judge)
