"""Anthropic's Messages API and older completions, judged by the types and the accumulation of its SDK."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from kong_ai_tracing.bodies import Body
from kong_ai_tracing.payloads import Dialect, Sketch, dialect_of_path, read_answer, read_request
from kong_ai_tracing.payloads.dialect import Answered, Asked
from kong_ai_tracing.usage import usage_buckets
from kong_entries import CHAT_ANSWER, call, capture, request, sse

MESSAGES = dialect_of_path("/v1/messages")
COMPLETE = dialect_of_path("/v1/complete")
assert MESSAGES is not None
assert COMPLETE is not None

REQUESTS = TypeAdapter(MessageCreateParamsNonStreaming)
EVENTS: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
MODEL = "claude-sonnet-4-5-20250929"
USAGE = {
    "input_tokens": 12,
    "cache_creation_input_tokens": 300,
    "cache_read_input_tokens": 2000,
    "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
    "output_tokens": 40,
    "output_tokens_details": {"thinking_tokens": 15},
    "service_tier": "standard",
}
PICTURE = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}


def ask(body: dict[str, Any], dialect: Dialect = MESSAGES) -> Asked:
    """Read a request that the SDK would send."""
    if dialect is MESSAGES:
        REQUESTS.validate_python(body, experimental_allow_partial=False)
    found, asked = read_request(Sketch(Body(json.dumps(body))), dialect)
    assert found is dialect
    return asked


def answer(body: Any, dialect: Dialect = MESSAGES, tail: str | None = None) -> Answered:
    text = body if isinstance(body, str) else json.dumps(body)
    return read_answer(Sketch(Body(text, tail)), dialect)


def loaded(text: bytes | None) -> Any:
    return None if text is None else json.loads(text)


def message(*content: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An answer, as the SDK's own type has it."""
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 12, "output_tokens": 4},
    } | more
    return Message.model_validate(body).model_dump(mode="json", exclude_unset=True)


TEXT = {"type": "text", "text": "Hello"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Köln", "days": 2}}
OPENAI_CALL = {
    "id": "toolu_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Köln","days":2}'},
}


# -- requests


def test_the_system_prompt_leads_the_messages() -> None:
    """As a text or as blocks; messages without blocks of Anthropic's own stay as they are, to the byte."""
    asked = ask(
        {
            "model": MODEL,
            "max_tokens": 9,
            "system": "Be brief.",
            "messages": [{"role": "user", "content": "hi"}],
        }
    )
    assert loaded(asked.input) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
    ]
    assert (asked.model, asked.message_count, asked.prompt_length) == (MODEL, 2, 11)
    blocks = [{"type": "text", "text": "Long.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    asked = ask({"model": MODEL, "max_tokens": 9, "system": blocks, "messages": []})
    assert loaded(asked.input) == [{"role": "system", "content": blocks}]
    raw = '{"messages": [ {"role":"user", "content":"caf\\u00e9"} ], "max_tokens": 1}'
    assert read_request(Sketch(Body(raw)), MESSAGES)[1].input == b'[{"role":"user", "content":"caf\\u00e9"}]'


def test_settings_become_model_parameters() -> None:
    """Those of Anthropic's own, too; not who asked."""
    thinking = {"type": "enabled", "budget_tokens": 1024}
    body = {"model": MODEL, "max_tokens": 9, "messages": [], "temperature": 0.5, "top_k": 5}
    body |= {"stop_sequences": ["END"], "thinking": thinking, "tool_choice": {"type": "any"}}
    asked = ask(body | {"metadata": {"user_id": "u"}, "stream": False, "service_tier": "auto"})
    assert asked.parameters == {
        "max_tokens": 9,
        "service_tier": "auto",
        "stop_sequences": ["END"],
        "stream": False,
        "temperature": 0.5,
        "thinking": thinking,
        "tool_choice": {"type": "any"},
        "top_k": 5,
    }


def test_tools_are_defined_in_openais_form() -> None:
    """Those of the caller; those that the provider runs itself stay as they are."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    own = {"name": "weather", "description": "d", "input_schema": schema, "strict": True}
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    cached = own | {"type": "custom", "cache_control": {"type": "ephemeral"}}
    asked = ask({"model": MODEL, "max_tokens": 9, "messages": [], "tools": [own, search, cached]})
    function = {"name": "weather", "description": "d", "parameters": schema, "strict": True}
    assert loaded(asked.input) == {
        "messages": [],
        "tools": [
            {"type": "function", "function": function},
            search,
            {"type": "function", "function": function, "cache_control": {"type": "ephemeral"}},
        ],
    }
    assert loaded(read_request(Sketch(Body('{"messages":[],"tools":{}}')), MESSAGES)[1].input) == []


def test_tool_calls_and_results_become_messages_of_their_own() -> None:
    """In the order in which they were said; what was said beside them stays."""
    history = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": [TEXT, CALL]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_2",
                    "is_error": True,
                    "content": [{"type": "text", "text": "no such tool"}],
                },
                {"type": "text", "text": "And tomorrow?"},
            ],
        },
    ]
    asked = ask({"model": MODEL, "max_tokens": 9, "messages": history})
    assert loaded(asked.input) == [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "Hello", "tool_calls": [OPENAI_CALL]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "toolu_2", "content": "no such tool", "is_error": True},
        {"role": "user", "content": "And tomorrow?"},
    ]
    assert (asked.message_count, asked.prompt_length) == (
        5,
        len("Weather?Hellosunnyno such toolAnd tomorrow?"),
    )


def test_pictures_and_documents_are_parts_that_langfuse_shows() -> None:
    """In base64 as data addresses; by address as they are; others stay Anthropic's blocks."""
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    plain = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "abc"}}
    content = [
        {"type": "image", "source": PICTURE, "cache_control": {"type": "ephemeral"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "source": pdf, "title": "a.pdf", "citations": {"enabled": True}},
        plain,
    ]
    asked = ask({"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": content}]})
    [found] = loaded(asked.input)
    assert found["content"] == [
        {
            "type": "image_url",
            "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="},
            "cache_control": {"type": "ephemeral"},
        },
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {
            "type": "file",
            "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
            "citations": {"enabled": True},
        },
        plain,
    ]


def test_a_request_in_openais_form_is_not_changed() -> None:
    """Up to 3.8 Kong logs what the client sent; LiteLLM takes both."""
    call_back = {"role": "assistant", "content": None, "tool_calls": [OPENAI_CALL]}
    messages = [{"role": "system", "content": "s"}, call_back, {"role": "tool", "tool_call_id": "t"}]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    body = json.dumps({"messages": messages, "tools": tools})
    assert loaded(read_request(Sketch(Body(body)), MESSAGES)[1].input) == {
        "messages": messages,
        "tools": tools,
    }


def test_keys_of_servers_of_tools_stay_behind() -> None:
    """What is not messages or tools is not part of the input."""
    servers = [{"type": "url", "url": "https://example.com", "authorization_token": "secret-token"}]
    body = json.dumps({"messages": [], "mcp_servers": servers, "system": "s"})
    assert b"secret-token" not in (read_request(Sketch(Body(body)), MESSAGES)[1].input or b"")


@pytest.mark.parametrize(
    "body",
    [
        {"anthropic_version": "bedrock-2023-05-31", "messages": [{"role": "user", "content": "x"}]},
        {"system": "s", "messages": [{"role": "user", "content": "x"}]},
        {"messages": [], "tools": [{"name": "f", "input_schema": {}}]},
        {"prompt": "\n\nHuman: x", "max_tokens_to_sample": 5},
    ],
)
def test_a_request_is_known_by_its_shape_alone(body: dict[str, Any]) -> None:
    """ai-proxy's routes and its transformers say nothing by their path."""
    assert read_request(Sketch(Body(json.dumps(body))), None)[0].name == "anthropic"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/messages",
        "/anthropic/v1/messages/",
        "/v1/projects/p/locations/global/publishers/anthropic/models/claude-x@1:rawPredict",
        "/v1/projects/p/locations/global/publishers/anthropic/models/claude-x@1:streamRawPredict",
    ],
)
def test_paths_of_the_messages_api(path: str) -> None:
    """Vertex takes the same body under a path of its own."""
    assert dialect_of_path(path) is MESSAGES


# -- answers


def test_the_answer_is_one_assistant_message() -> None:
    """With tool calls and thoughts beside the text, in the form that Langfuse shows."""
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    redacted = {"type": "redacted_thinking", "data": "ZW5j"}
    found = answer(message(thought, redacted, TEXT, CALL, stop_reason="tool_use"))
    assert loaded(found.output) == {
        "role": "assistant",
        "content": "Hello",
        "thinking": [{"type": "thinking", "content": "Hm.", "signature": "c2ln"}],
        "redacted_thinking": [{"type": "redacted_thinking", "data": "ZW5j"}],
        "tool_calls": [OPENAI_CALL],
    }
    assert (found.model, found.response_id, found.finish_reason) == (MODEL, "msg_1", "tool_use")
    assert (found.response_length, found.partial, found.failure) == (5, False, None)


def test_text_that_was_cut_to_cite_sources_stays_in_parts() -> None:
    """Texts without sources are one text; blocks of other kinds keep their place among them."""
    assert loaded(answer(message(TEXT, {"type": "text", "text": " you"})).output)["content"] == "Hello you"
    place = {
        "type": "char_location",
        "cited_text": "c",
        "document_index": 0,
        "document_title": None,
        "start_char_index": 0,
        "end_char_index": 1,
    }
    use = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}
    parts = [TEXT, use, {"type": "text", "text": "cited", "citations": [place]}]
    found = answer(message(*parts))
    assert [part["type"] for part in loaded(found.output)["content"]] == ["text", "server_tool_use", "text"]
    assert loaded(found.output)["content"][2]["citations"][0]["cited_text"] == "c"
    assert found.response_length == len("Hellocited")


def test_counts_of_the_cache_stand_beside_those_of_the_input() -> None:
    """By how long they are kept, as they are priced; reasoning is part of the output."""
    found = usage_buckets(answer(message(TEXT, usage=USAGE)).usage)
    assert found == {
        "input": 12,
        "input_cached_tokens": 2000,
        "input_cache_creation_5m": 100,
        "input_cache_creation_1h": 200,
        "output": 25,
        "output_reasoning_tokens": 15,
        "total": 2352,
    }
    short = USAGE | {"cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 0}}
    found = usage_buckets(short)
    assert (found["input_cache_creation"], found["input_cache_creation_5m"]) == (200, 100)
    assert "input_cache_creation_1h" not in found
    assert (
        usage_buckets({name: USAGE[name] for name in USAGE if name != "cache_creation"})[
            "input_cache_creation"
        ]
        == 300
    )


def test_a_refusal_tells_why() -> None:
    """Its message may have no content at all."""
    details = {"type": "refusal", "category": "cyber", "explanation": "Not this."}
    found = answer(message(stop_reason="refusal", stop_details=details))
    assert loaded(found.output) == {"role": "assistant", "content": None, "refusal": "Not this."}


def test_an_error_is_a_failure() -> None:
    """With the provider's type and words."""
    found = answer({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    assert found.failure is not None
    assert (found.failure.message, found.failure.type) == ("Overloaded", "overloaded_error")


def test_an_answer_that_kong_translated_is_read_as_openais() -> None:
    """ai-proxy logs the provider's request and its own answer."""
    found = answer(CHAT_ANSWER)
    assert loaded(found.output) == {"role": "assistant", "content": "hello"}


# -- streams


def stream_of(whole: dict[str, Any], pieces: int = 3) -> list[dict[str, Any]]:
    """The events in which a message comes when it is streamed."""
    usage = whole["usage"]
    start = whole | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}, {"type": "ping"}]
    for index, block in enumerate(whole["content"]):
        begun, deltas = _begun(block, pieces)
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    counts = {"output_tokens": usage["output_tokens"]}
    if details := usage.get("output_tokens_details"):
        counts["output_tokens_details"] = details
    return [*events, {"type": "message_delta", "delta": delta, "usage": counts}, {"type": "message_stop"}]


def _begun(block: dict[str, Any], pieces: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    kind = block["type"]
    if kind == "text":
        cited = [{"type": "citations_delta", "citation": each} for each in block.get("citations") or ()]
        texts = [{"type": "text_delta", "text": piece} for piece in _cut(block["text"], pieces)]
        return {"type": "text", "text": ""}, texts + cited
    if kind == "thinking":
        thoughts = [{"type": "thinking_delta", "thinking": each} for each in _cut(block["thinking"], pieces)]
        signed = [{"type": "signature_delta", "signature": block["signature"]}]
        return {"type": "thinking", "thinking": "", "signature": ""}, thoughts + signed
    if kind in ("tool_use", "server_tool_use"):
        given = [*_cut(json.dumps(block["input"], indent=1), pieces), ""]
        return block | {"input": {}}, [{"type": "input_json_delta", "partial_json": each} for each in given]
    return block, []


def _cut(text: str, pieces: int) -> list[str]:
    size = max(1, -(-len(text) // pieces))
    return [text[start : start + size] for start in range(0, len(text), size)]


def accumulated(events: list[dict[str, Any]]) -> dict[str, Any]:
    """What the SDK makes of the events of a stream."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in events:
        if event["type"] != "ping":
            parsed = EVENTS.validate_python(event)
            snapshot = accumulate_event(event=parsed, current_snapshot=snapshot, json_bufs=buffers)
    return snapshot.to_dict(mode="json")


def named(*events: dict[str, Any]) -> str:
    """Events as Anthropic sends them, with their names."""
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)


names = st.text("abcxyz_", min_size=1, max_size=8)
inputs = st.dictionaries(names, st.integers(-9, 9) | st.text(max_size=9) | st.booleans(), max_size=3)
blocks = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, st.text(max_size=20)),
    st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": "c2ln"}, st.text(max_size=20)),
    st.just({"type": "redacted_thinking", "data": "ZW5j"}),
    st.builds(lambda name, given: CALL | {"name": name, "input": given}, names, inputs),
    st.just({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}}),
)
answers = st.lists(blocks, max_size=5)


@given(answers, st.integers(1, 9))
def test_a_stream_is_the_message_that_the_sdk_makes_of_it(content: list[Any], pieces: int) -> None:
    """Whatever the pieces: text, thoughts, tool calls, counts and reason are those of the SDK."""
    whole = message(*content, usage=USAGE)
    events = stream_of(whole, pieces)
    judge = answer(accumulated(events))
    found = answer(named(*events))
    assert loaded(found.output) == loaded(judge.output) == loaded(answer(whole).output)
    assert usage_buckets(found.usage) == usage_buckets(judge.usage)
    assert (found.model, found.response_id, found.finish_reason) == (MODEL, "msg_1", "end_turn")
    assert (found.response_length, found.partial, found.failure) == (judge.response_length, False, None)


BEGINNING = len("event:")
"""A shorter beginning does not tell that it is one of a stream."""


@given(answers, st.integers(min_value=0), st.booleans())
def test_a_stream_that_was_cut_anywhere_is_a_part_of_the_whole(
    content: list[Any], cut: int, with_names: bool
) -> None:
    """Never an error; the text is a beginning of the whole text, and without its end it is partial."""
    events = stream_of(message(*content, TEXT))
    text = named(*events) if with_names else sse(*events)
    whole, found = answer(text), answer(text[: BEGINNING + cut % (len(text) - BEGINNING)])
    if found.output is not None:
        beginning = _text_of(loaded(found.output))
        assert _text_of(loaded(whole.output)).startswith(beginning)
    assert found.partial == (found.finish_reason is None)


def _text_of(found: dict[str, Any]) -> str:
    content = found["content"]
    parts = content if isinstance(content, list) else [{"text": content or ""}]
    return "".join(part.get("text", "") for part in parts)


def test_a_tool_call_that_was_cut_keeps_what_there_is_of_its_arguments() -> None:
    """They are text that is no JSON yet."""
    events = stream_of(message(CALL))[:5]
    [found] = loaded(answer(named(*events)).output)["tool_calls"]
    assert found["function"]["name"] == "weather"
    assert json.dumps(CALL["input"], indent=1).startswith(found["function"]["arguments"])
    assert answer(named(*events)).partial


def test_an_error_in_mid_stream_is_a_failure_with_the_text_so_far() -> None:
    """The status had been 200 already."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    found = answer(named(*stream_of(message(TEXT))[:4], error))
    assert found.failure is not None
    assert (found.failure.type, found.partial) == ("overloaded_error", False)
    assert loaded(found.output)["content"] == "He"


def test_a_missing_middle_is_marked_in_the_text() -> None:
    """Also where a whole block has no beginning; the end still gives counts and reason."""
    events = stream_of(message({"type": "text", "text": "beginning"}, {"type": "text", "text": "the end"}))
    found = answer(named(*events[:5]), tail='"torn"}}\n\n' + named(*events[-4:]))
    assert loaded(found.output)["content"] == "beginn […] d"
    assert (found.finish_reason, found.partial) == ("end_turn", False)


def test_counts_of_later_events_replace_earlier_ones() -> None:
    """They are sums; what a later event leaves out stays."""
    events = stream_of(message(TEXT))
    events[-2]["usage"] = {"input_tokens": 20, "output_tokens": 9, "cache_read_input_tokens": None}
    assert answer(named(*events)).usage == {"input_tokens": 20, "output_tokens": 9}


# -- the older completions


def test_a_completion_is_a_prompt_and_a_text() -> None:
    """No messages are made of it."""
    prompt = "\n\nHuman: hi\n\nAssistant:"
    body = {"model": "claude-2.1", "prompt": prompt, "max_tokens_to_sample": 7, "stream": True}
    asked = ask(body, COMPLETE)
    assert (loaded(asked.input), asked.prompt_length, asked.streamed) == (prompt, len(prompt), True)
    assert asked.parameters == {"max_tokens_to_sample": 7, "stream": True}
    body = {"type": "completion", "id": "compl_1", "completion": " Hi!", "stop_reason": "stop_sequence"}
    found = answer(body | {"model": "claude-2.1", "stop": "\n\nHuman:"}, COMPLETE)
    assert (loaded(found.output), found.response_length) == (" Hi!", 4)
    assert (found.finish_reason, found.response_id, found.model) == ("stop_sequence", "compl_1", "claude-2.1")


def test_streamed_completions_are_put_together() -> None:
    """Pieces, or the whole text again and again as the first version of the API had it."""

    def event(text: str, reason: str | None = None) -> dict[str, Any]:
        return {"type": "completion", "completion": text, "stop_reason": reason, "model": "claude-2.1"}

    found = answer(named(event(" Hi"), {"type": "ping"}, event("!"), event("", "stop_sequence")), COMPLETE)
    assert (loaded(found.output), found.partial, found.finish_reason) == (" Hi!", False, "stop_sequence")
    assert answer(named(event(" Hi")), COMPLETE).partial
    found = answer(sse(event(" Hi"), event(" Hi!"), event(" Hi!", "stop_sequence"), "[DONE]"), COMPLETE)
    assert loaded(found.output) == " Hi!"


# -- anything


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = """
    type index delta message content_block content usage error text thinking partial_json citation role
    system messages tools input_schema source id name input tool_use_id stop_reason stop_details
    completion prompt model cache_creation media_type data
""".split()  # noqa: SIM905 - a list of words
TYPES = """
    message message_start content_block_start content_block_delta message_delta message_stop error ping
    text tool_use tool_result thinking redacted_thinking image document base64 url input_json_delta
    text_delta signature_delta citations_delta completion
""".split()  # noqa: SIM905 - a list of words
near_values = st.recursive(
    json_values | st.sampled_from(TYPES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=6),
    max_leaves=20,
)
near_objects = st.dictionaries(st.sampled_from(MEMBERS), near_values, max_size=8)


@given(near_objects, st.sampled_from([MESSAGES, COMPLETE]))
def test_no_json_makes_a_reader_raise(body: dict[str, Any], dialect: Dialect) -> None:
    """Members of the right name with values of any kind."""
    for reader in (dialect, None):
        _, asked = read_request(Sketch(Body(json.dumps(body))), reader)
        loaded(asked.input)
    found = answer(body, dialect)
    loaded(found.output)
    usage_buckets(found.usage)
    dialect.read_response(Sketch(Body(json.dumps(body))).fields or {})


@given(st.lists(near_objects, min_size=1, max_size=6), st.sampled_from([MESSAGES, COMPLETE]))
def test_no_event_makes_a_reader_raise(events: list[dict[str, Any]], dialect: Dialect) -> None:
    """Events of the right type with members of any kind."""
    sketch = Sketch(Body(sse(*events)))
    assert sketch.stream is not None
    found = dialect.read_events(sketch.stream)
    loaded(found.output)
    usage_buckets(found.usage)


def test_a_captured_call_has_all_of_it() -> None:
    """From the line to the observation, on a plain service."""
    body = {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    found = call(
        upstream_uri="/v1/messages",
        request=request("/v1/messages", anthropic_version="2023-06-01", x_api_key="secret"),
        response={"status": 200, "headers": {"content-type": "text/event-stream"}},
        capture=capture(body | {"stream": True}, stream=named(*stream_of(message(TEXT, usage=USAGE)))),
    ).observation
    assert (found.provider, found.model, found.name) == ("anthropic", MODEL, "chat claude-sonnet-4-5")
    assert (found.usage_details["input_cached_tokens"], found.metadata["finish_reason"]) == (2000, "end_turn")
    assert loaded(found.output) == {"role": "assistant", "content": "Hello"}


def test_a_call_that_kong_translated_is_read_on_both_sides() -> None:
    """From 3.9 on the request is Anthropic's and the answer OpenAI's, with a sentence for its usage."""
    body = {"model": "claude-x", "system": "s", "messages": [{"role": "user", "content": "hi"}]}
    logged = {"request": json.dumps(body), "response": json.dumps(CHAT_ANSWER | {"usage": "no usage data"})}
    found = call(
        upstream_uri="/v1/messages",
        ai={
            "proxy": {
                "meta": {"provider_name": "anthropic", "request_model": "claude-x"},
                "usage": {"prompt_tokens": 7, "completion_tokens": 3},
                "payload": logged,
            }
        },
    ).observation
    assert loaded(found.input) == [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}]
    assert loaded(found.output) == {"role": "assistant", "content": "hello"}
    assert (found.provider, found.usage_details["input"], found.metadata["usage_source"]) == (
        "anthropic",
        7,
        "kong",
    )
