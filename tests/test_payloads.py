"""Which dialect reads a body, and that none is lost when no dialect fits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_tracing.bodies import Body
from kong_ai_tracing.payloads import DIALECTS, Sketch, dialect_of_path, read_answer, read_request
from kong_ai_tracing.payloads.chat import DIALECT as CHAT
from kong_ai_tracing.payloads.coarse import UNKNOWN
from kong_ai_tracing.payloads.dialect import Answered, Asked
from kong_entries import CHAT_ANSWER, CHAT_REQUEST, chunk, sse


def asked(body: Any, path: str = "") -> tuple[str, Asked]:
    text = body if isinstance(body, str) else json.dumps(body)
    dialect, found = read_request(Sketch(Body(text)), dialect_of_path(path))
    return dialect.name, found


def answered(body: Any, path: str = "/chat/completions", *, bare_text: bool = False) -> Answered:
    text = body if isinstance(body, str) else json.dumps(body)
    hint = dialect_of_path(path)
    assert hint is not None
    return read_answer(Sketch(Body(text)), hint, bare_text=bare_text)


def loaded(text: bytes | None) -> Any:
    return None if text is None else json.loads(text)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/chat/completions", "chat"),
        ("/openai/deployments/gpt4o/chat/completions", "chat"),
        ("/models/mistralai/Mistral-7B/v1/chat/completions", "chat"),
        ("/v1/completions", "completions"),
        ("/v1/embeddings", "embeddings"),
        ("/v1/responses", "responses"),
        ("/v1/messages", "anthropic"),
        ("/v1beta/models/gemini-2.0-flash:streamGenerateContent", "gemini"),
        ("/v1beta/models/text-embedding-004:batchEmbedContents", "gemini"),
        ("/model/anthropic.claude-v2%3A1/converse-stream", "bedrock"),
        ("/api/chat", "ollama"),
        ("/api/embeddings", "ollama"),
        ("/generate_stream", "generate"),
        ("/v1/images/generations", "openai-images"),
        ("/v1/audio/transcriptions", "openai-audio"),
        ("/v1/moderations", "openai-moderations"),
        ("/chat/completions-report", None),
        ("/v1/messages/count_tokens", None),
        ("/v1/models", None),
        ("/v1beta/models/gemini-2.0-flash:countTokens", None),
        ("/", None),
    ],
)
def test_paths_speak_for_dialects(path: str, name: str | None) -> None:
    """By their end; what is no call to a model speaks for none."""
    dialect = dialect_of_path(path)
    assert (dialect.name if dialect else None) == name


def test_a_request_is_known_by_its_shape_where_the_path_says_nothing() -> None:
    """ai-proxy's routes may have any path."""
    assert asked(CHAT_REQUEST)[0] == "chat"
    assert asked({"prompt": "x"})[0] == "completions"
    assert asked({"input": "x", "model": "m"})[0] == "embeddings"
    assert asked({"contents": [{"parts": [{"text": "x"}]}]})[0] == "gemini"
    assert asked({"message": "x", "chat_history": []})[0] == "cohere"
    assert asked({"inputs": "x", "parameters": {}})[0] == "generate"
    assert asked({"messages": [{"role": "user", "content": "x"}], "options": {}})[0] == "ollama"
    assert asked({"system": "s", "messages": [{"role": "user", "content": "x"}]})[0] == "anthropic"


def test_a_body_of_an_unknown_kind_is_the_input_as_a_whole() -> None:
    """Nothing is lost, except members that hold keys."""
    name, found = asked({"city": "Lisbon", "api_key": "sk-secret"})
    assert name == "unknown"
    assert loaded(found.input) == {"city": "Lisbon"}


def test_a_body_that_is_no_json_is_its_text() -> None:
    """Also under a path that speaks for a dialect."""
    assert loaded(asked("not json", "/chat/completions")[1].input) == "not json"


def test_a_request_that_was_cut_is_read_as_far_as_it_goes() -> None:
    """The model and the beginning of the messages are there."""
    whole = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 100}]})
    name, found = asked(whole[:-40])
    assert (name, found.model) == ("chat", "m")
    assert loaded(found.input)[0]["content"].startswith("xxx")


def test_an_answer_in_openais_form_is_read_whoever_was_asked() -> None:
    """ai-proxy translates the answers of all providers."""
    for path in ("/v1/messages", "/api/chat", "/v1/chat/completions", "/v1beta/models/m:generateContent"):
        found = answered(CHAT_ANSWER, path)
        assert loaded(found.output) == {"role": "assistant", "content": "hello"}
        assert found.usage["prompt_tokens"] == 10


def test_kong_3_9s_account_of_a_streamed_completion_is_a_text() -> None:
    """It has the form of a chat, and the text twice."""
    body = {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}],
        "response": "hi",
    }
    assert loaded(answered(body, "/v1/completions").output) == "hi"


@pytest.mark.parametrize("text", ["The answer.", '{"a": 1}', "[1, 2]", '{"error": "is what I wrote"}', ""])
def test_a_stream_that_kong_logged_as_bare_text_is_the_answer(text: str) -> None:
    """3.7 and 3.8 log no envelope: JSON in it is what the model wrote."""
    found = answered(text, bare_text=True)
    assert loaded(found.output) == {"role": "assistant", "content": text}
    assert found.failure is None


def test_an_envelope_is_read_also_where_bare_text_was_expected() -> None:
    """Not every version does as the others."""
    assert loaded(answered(CHAT_ANSWER, bare_text=True).output)["content"] == "hello"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ({"error": {"message": "no", "type": "t", "code": 7}}, "no"),
        ({"error": "plain"}, "plain"),
        ({"error": {"code": "c"}}, "c"),
        ({"error": {"x": 1}}, "error without a message"),
        ({"message": "No API key found in request", "request_id": "r"}, "No API key found in request"),
        ({"object": "error", "message": "vLLM says", "code": 400}, "vLLM says"),
    ],
)
def test_errors_are_told_from_answers(error: dict[str, Any], message: str) -> None:
    """OpenAI's object, a bare string, Kong's own message."""
    found = answered(error)
    assert found.failure is not None
    assert found.failure.message == message


def test_a_null_error_is_none() -> None:
    """The Responses API sends `"error": null` with every answer."""
    assert answered(CHAT_ANSWER | {"error": None}).failure is None


@pytest.mark.parametrize(
    ("body", "content"),
    [
        ({"content": [{"type": "text", "text": "Hi"}], "reason": "end"}, "Hi"),
        ({"message": {"role": "assistant", "content": "Hi"}}, "Hi"),
        ({"output": {"message": {"content": [{"text": "Hi"}]}}}, "Hi"),
        ({"generated_text": "Hi"}, "Hi"),
        ([{"generated_text": "Hi"}], None),
        ({"response": "Hi"}, "Hi"),
    ],
)
def test_the_text_of_an_unknown_answer_is_found_by_the_usual_members(body: Any, content: str | None) -> None:
    """No call that Kong tells of is lost because nobody knows its dialect."""
    found = loaded(read_answer(Sketch(Body(json.dumps(body))), UNKNOWN).output)
    assert found == ({"role": "assistant", "content": content} if content else found)


def test_streams_of_an_unknown_kind_are_put_together() -> None:
    """JSON lines and named events alike, with their counts and their end."""
    lines = [{"message": {"content": "Hel"}, "done": False}, {"message": {"content": "lo"}, "done": True}]
    lines[-1] |= {"eval_count": 3, "prompt_eval_count": 30, "done_reason": "stop"}
    found = read_answer(Sketch(Body("\n".join(map(json.dumps, lines)))), UNKNOWN)
    assert loaded(found.output)["content"] == "Hello"
    assert found.usage == {"prompt_tokens": 30, "completion_tokens": 3}
    assert not found.partial


def test_every_dialect_has_a_name_an_operation_and_paths() -> None:
    """They become part of names that people filter by."""
    assert all(dialect.name and dialect.operation and dialect.paths.pattern for dialect in DIALECTS)


MEMBERS = st.sampled_from(
    [
        "model",
        "messages",
        "role",
        "content",
        "prompt",
        "input",
        "instructions",
        "tools",
        "stream",
        "choices",
        "message",
        "delta",
        "text",
        "index",
        "usage",
        "output",
        "type",
        "error",
        "id",
        "data",
        "embedding",
        "tool_calls",
        "function",
        "arguments",
        "finish_reason",
        "item",
        "output_index",
        "response",
        "candidates",
        "parts",
        "done",
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(MEMBERS | st.text(), children, max_size=6)
    ),
    max_leaves=15,
)


@given(st.dictionaries(MEMBERS, ANYTHING), st.sampled_from(DIALECTS))
def test_no_json_makes_a_reader_raise(body: dict[str, Any], dialect: Any) -> None:
    """Whatever stands where, there is an input and an answer to work with, and their texts are JSON."""
    text = json.dumps(body)
    _, question = read_request(Sketch(Body(text)), dialect)
    if question.input is not None:
        json.loads(question.input)
    for answer in (
        read_answer(Sketch(Body(text)), dialect),
        read_answer(Sketch(Body(sse(body, body))), dialect),
        read_answer(Sketch(Body(text + "\n" + text)), dialect),
        read_answer(Sketch(Body("data: x", tail=sse(body))), dialect),
    ):
        if answer.output is not None:
            json.loads(answer.output)


@given(st.lists(st.text(), max_size=8), st.data())
def test_a_cut_chat_stream_gives_the_beginning_of_its_text(pieces: list[str], data: st.DataObject) -> None:
    """Never other text, and never a whole answer from half a stream."""
    events = [chunk({"content": piece}) for piece in pieces] + [chunk(finish_reason="stop")]
    text = sse(*events, "[DONE]")
    cut = text[: data.draw(st.integers(0, len(text)))]
    found = read_answer(Sketch(Body(cut)), CHAT) if cut.startswith("data: {") else Answered(partial=True)
    content = (loaded(found.output) or {}).get("content") or ""
    whole = "".join(pieces).replace("\0", "�")
    assert whole.startswith(content)
    assert found.partial or content == whole or found.output is None or "data: {" not in cut


@pytest.mark.parametrize(
    "events",
    [
        [{"candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}]}],
        [
            {"type": "content-delta", "delta": {"message": {"content": {"text": "Hi"}}}},
            {"type": "message-end"},
        ],
        [{"token": {"text": "Hi"}, "generated_text": None}, {"token": {"text": ""}, "generated_text": "Hi"}],
        [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}],
    ],
)
def test_the_end_of_a_coarse_stream_is_known(events: list[dict[str, Any]]) -> None:
    """A whole answer must not be called incomplete because its dialect has no reader yet."""
    assert not answered(sse(*events), "/v1/messages").partial


def test_usage_of_anthropics_streams_is_found_in_both_its_places() -> None:
    """What went in is said at the start, what came out at the end."""
    start = {
        "type": "message_start",
        "message": {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 5}},
    }
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}
    found = answered(sse(start, end), "/v1/messages")
    assert found.usage == {"input_tokens": 5, "output_tokens": 3}
    assert (found.model, found.response_id) == ("claude", "msg_1")
