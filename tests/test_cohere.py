"""Cohere's chat in both versions, its older generations, embeddings and reranking."""

from __future__ import annotations

from typing import Any

import pytest

from kong_ai_tracing.usage import usage_buckets
from kong_entries import CHAT_ANSWER, sse
from reading import answer, ask, call, json_lines, said, thought

OLD = "/v1/chat"
NEW = "/v2/chat"
META = {"api_version": {"version": "1"}, "billed_units": {"input_tokens": 5, "output_tokens": 4}}
META["tokens"] = {"input_tokens": 71, "output_tokens": 4}
OLD_ANSWER = {
    "response_id": "r1",
    "generation_id": "g1",
    "text": "Hello there",
    "chat_history": [{"role": "USER", "message": "hi"}],
    "finish_reason": "COMPLETE",
    "meta": META,
}

# -- the version of 2023


def test_preamble_history_and_message_are_one_conversation() -> None:
    """Kong writes it like this, with a system turn in the role of the user."""
    history = [{"role": "USER", "message": "hi"}, {"role": "CHATBOT", "message": "Hello."}]
    body = {"message": "And now?", "chat_history": history, "preamble": "Be brief.", "model": "command-r"}
    found = ask(OLD, body | {"temperature": 0.3, "p": 0.9, "stream": True})
    assert said(found) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "And now?"},
    ]
    assert (found.model, found.message_count, found.streamed) == ("command-r", 4, True)
    assert found.parameters == {"p": 0.9, "stream": True, "temperature": 0.3}


def test_tools_documents_and_connectors_stand_beside_the_messages() -> None:
    """The definition of a tool as the schema that all others write."""
    definitions = {"city": {"type": "str", "description": "Where.", "required": True}, "day": {"type": "str"}}
    result = {"call": {"name": "weather", "parameters": {"city": "L"}}, "outputs": [{"sky": "blue"}]}
    body = {
        "message": "",
        "chat_history": [
            {
                "role": "CHATBOT",
                "message": "",
                "tool_calls": [{"name": "weather", "parameters": {"city": "L"}}],
            }
        ],
        "tool_results": [result],
        "tools": [{"name": "weather", "description": "The weather.", "parameter_definitions": definitions}],
        "connectors": [{"id": "web-search"}],
        "documents": [{"title": "T", "snippet": "S"}],
    }
    found = said(ask(OLD, body))
    assert found["messages"] == [
        {"role": "assistant", "content": "", "tool_calls": [call("weather", '{"city":"L"}')]},
        {"role": "tool", "name": "weather", "content": '[{"sky":"blue"}]'},
    ]
    [tool] = found["tools"]
    assert tool["function"]["parameters"] == {
        "type": "object",
        "properties": {"city": {"type": "str", "description": "Where."}, "day": {"type": "str"}},
        "required": ["city"],
    }
    assert (found["connectors"], found["documents"]) == (body["connectors"], body["documents"])


def test_an_answer_of_2023_is_a_message() -> None:
    """With what Cohere bills as its counts."""
    found = answer(
        OLD, OLD_ANSWER | {"citations": [{"start": 0}], "tool_calls": [{"name": "f", "parameters": {}}]}
    )
    assert said(found) == {
        "role": "assistant",
        "content": "Hello there",
        "tool_calls": [call("f", "{}")],
        "citations": [{"start": 0}],
    }
    assert (found.response_id, found.finish_reason, found.partial) == ("r1", "COMPLETE", False)
    assert usage_buckets(found.usage) == {"input": 5, "output": 4, "total": 9}


def test_tokens_count_where_nothing_is_billed() -> None:
    """A trial key has no bill."""
    found = answer(
        OLD, OLD_ANSWER | {"meta": {"tokens": {"input_tokens": 71, "output_tokens": 4}, "cached_tokens": 60}}
    )
    assert usage_buckets(found.usage) == {"input": 11, "input_cached_tokens": 60, "output": 4, "total": 75}


OLD_EVENTS = [
    {"is_finished": False, "event_type": "stream-start", "generation_id": "g1"},
    {"is_finished": False, "event_type": "text-generation", "text": "Hello "},
    {"is_finished": False, "event_type": "text-generation", "text": "there"},
    {"is_finished": True, "event_type": "stream-end", "finish_reason": "COMPLETE", "response": OLD_ANSWER},
]


@pytest.mark.parametrize("body", [json_lines(*OLD_EVENTS), sse(*OLD_EVENTS)])
def test_a_stream_of_2023_becomes_the_answer_it_would_have_been(body: str) -> None:
    """Its last line holds the whole of it."""
    assert answer(OLD, body) == answer(OLD, OLD_ANSWER)


def test_a_stream_of_2023_without_its_end_is_partial() -> None:
    """One line of it is an object, and no answer either."""
    found = answer(OLD, json_lines(*OLD_EVENTS[:3]))
    assert (said(found)["content"], found.partial, found.response_id) == ("Hello there", True, "g1")
    assert answer(OLD, json_lines(OLD_EVENTS[0])).partial


def test_an_end_in_error_is_a_failure() -> None:
    """The status had been 200 already."""
    end = {
        "is_finished": True,
        "event_type": "stream-end",
        "finish_reason": "ERROR",
        "response": {"text": "Hel"},
    }
    found = answer(OLD, json_lines(*OLD_EVENTS[:2], end))
    assert found.failure is not None
    assert (said(found)["content"], found.partial) == ("Hel", False)


def test_kong_logs_the_request_as_cohere_gets_it_and_the_answer_as_openai_would_give_it() -> None:
    """From 3.9 on."""
    assert said(ask(OLD, {"message": "hi", "model": "command-r"})) == [{"role": "user", "content": "hi"}]
    assert said(answer(OLD, CHAT_ANSWER)) == {"role": "assistant", "content": "hello"}


# -- the version of 2024


def test_messages_of_2024_have_openais_form_already() -> None:
    """Documents stand beside them."""
    messages = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
    ]
    found = ask(NEW, {"model": "command-a", "messages": messages, "documents": ["d"], "k": 3})
    assert said(found) == {"messages": messages, "documents": ["d"]}
    assert (found.message_count, found.prompt_length, found.parameters) == (2, 3, {"k": 3})


NEW_ANSWER = {
    "id": "c1",
    "finish_reason": "TOOL_CALL",
    "message": {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Hello there"}],
        "tool_plan": "I will call f.",
        "tool_calls": [call("f", '{"x":1}', id="t1"), call("g", "{}", id="t2")],
        "citations": [{"start": 0, "end": 5}],
    },
    "usage": META,
}


def test_an_answer_of_2024_is_a_message() -> None:
    """Thoughts, plan and citations stand beside the text."""
    found = answer(NEW, NEW_ANSWER)
    assert said(found) == {
        "role": "assistant",
        "content": "Hello there",
        "thinking": thought("Hm."),
        "tool_calls": NEW_ANSWER["message"]["tool_calls"],
        "tool_plan": "I will call f.",
        "citations": [{"start": 0, "end": 5}],
    }
    assert (found.response_id, found.finish_reason) == ("c1", "TOOL_CALL")
    assert found.usage == {"input_tokens": 5, "output_tokens": 4}


def event(kind: str, index: int = 0, **message: Any) -> dict[str, Any]:
    return {"type": kind, "index": index, "delta": {"message": message}}


NEW_EVENTS = [
    {"type": "message-start", "id": "c1", "delta": {"message": {"role": "assistant", "content": []}}},
    event("tool-plan-delta", tool_plan="I will "),
    event("tool-plan-delta", tool_plan="call f."),
    event("content-start", content={"type": "thinking", "thinking": ""}),
    event("content-delta", content={"thinking": "Hm."}),
    event("content-start", 1, content={"type": "text", "text": ""}),
    event("content-delta", 1, content={"text": "Hello "}),
    event("content-delta", 1, content={"text": "there"}),
    {"type": "content-end", "index": 1},
    event("citation-start", citations={"start": 0, "end": 5}),
    event("tool-call-start", tool_calls=call("f", "", id="t1")),
    event("tool-call-delta", tool_calls={"function": {"arguments": '{"x"'}}),
    event("tool-call-delta", tool_calls={"function": {"arguments": ":1}"}}),
    {"type": "tool-call-end", "index": 0},
    event("tool-call-start", 1, tool_calls=call("g", "{}", id="t2")),
    {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": META}},
]


def test_a_stream_of_2024_becomes_the_answer_it_would_have_been() -> None:
    """All its fragments stand deep in a delta."""
    assert answer(NEW, sse(*NEW_EVENTS)) == answer(NEW, NEW_ANSWER)


def test_a_stream_of_2024_without_its_end_is_partial() -> None:
    """Only the last event says that it ended."""
    found = answer(NEW, sse(*NEW_EVENTS[:7]))
    assert (said(found)["content"], found.partial) == ("Hello ", True)


def test_an_error_at_the_end_of_2024_is_a_failure() -> None:
    """It stands in the last event."""
    found = answer(
        NEW,
        sse(*NEW_EVENTS[:7], {"type": "message-end", "delta": {"error": "boom", "finish_reason": "ERROR"}}),
    )
    assert found.failure is not None
    assert (found.failure.message, found.finish_reason) == ("boom", "ERROR")


def test_coheres_errors_are_told_from_answers() -> None:
    """A bare message, with an id beside it or not."""
    for path in (OLD, NEW):
        for body in ({"message": "invalid api token"}, {"id": "x", "message": "invalid api token"}):
            failure = answer(path, body).failure
            assert failure is not None
            assert failure.message == "invalid api token"


# -- the rest


def test_generations_of_2022_are_a_prompt_and_texts() -> None:
    """Streamed or not."""
    found = ask("/v1/generate", {"prompt": "Once", "model": "command", "num_generations": 1})
    assert (said(found), found.model) == ("Once", "command")
    whole = {
        "id": "g",
        "generations": [{"id": "1", "text": " upon", "finish_reason": "COMPLETE"}],
        "meta": META,
    }
    told = answer("/v1/generate", whole)
    assert (said(told), told.finish_reason, told.response_id) == (" upon", "COMPLETE", "g")
    events = [{"text": " up", "is_finished": False}, {"text": "on", "is_finished": False}]
    end = {"is_finished": True, "finish_reason": "COMPLETE", "response": whole}
    assert answer("/v1/generate", json_lines(*events, end)) == told
    cut = answer("/v1/generate", json_lines(*events))
    assert (said(cut), cut.partial) == (" upon", True)


@pytest.mark.parametrize(
    ("embeddings", "counted"),
    [
        ([[0.1, 0.2], [0.3, 0.4]], {"count": 2, "dimensions": 2}),
        ({"float": [[0.1, 0.2, 0.3]], "int8": [[1, 2, 3]]}, {"count": 1, "dimensions": 3}),
        ({"base64": ["AACAPw=="], "int8": [[1]]}, {"count": 1, "dimensions": 1}),
        ({"base64": ["AACAPw=="]}, {"count": 1}),
        ({}, None),
    ],
)
def test_vectors_stay_behind_and_are_counted(embeddings: Any, counted: Any) -> None:
    """By type, since 2024."""
    found = answer(
        "/v2/embed", {"id": "e", "embeddings": embeddings, "meta": {"billed_units": {"input_tokens": 3}}}
    )
    assert (said(found), found.usage["input_tokens"]) == (counted, 3)


def test_the_texts_to_embed_are_the_input() -> None:
    """Or the pictures, or both."""
    found = ask("/v1/embed", {"texts": ["ab", "c"], "model": "embed-v4", "input_type": "search_query"})
    assert (said(found), found.prompt_length, found.parameters) == (
        ["ab", "c"],
        3,
        {"input_type": "search_query"},
    )
    assert said(ask("/v2/embed", {"inputs": [{"content": []}]})) == [{"content": []}]


def test_reranking_is_a_query_and_documents_and_their_order() -> None:
    """Cohere's form; vLLM counts tokens instead of searches; Hugging Face answers with a list."""
    found = ask(
        "/v2/rerank", {"query": "q", "documents": ["ab", {"text": "c"}], "model": "rerank-v3.5", "top_n": 1}
    )
    assert said(found) == {"query": "q", "documents": ["ab", {"text": "c"}]}
    assert (found.prompt_length, found.parameters) == (4, {"top_n": 1})
    results = [{"index": 1, "relevance_score": 0.9}]
    told = answer(
        "/v2/rerank", {"id": "r", "results": results, "meta": {"billed_units": {"search_units": 1}}}
    )
    assert said(told) == {"results": results, "search_units": 1}
    assert answer("/rerank", {"results": results, "usage": {"total_tokens": 7}}).usage == {"total_tokens": 7}
    listed = [{"index": 1, "score": 0.9}, {"index": 0, "score": 0.1}]
    assert said(answer("/rerank", listed)) == {"results": listed}
