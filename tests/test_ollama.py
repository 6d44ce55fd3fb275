"""Ollama's own API, with its package as the judge of requests and answers."""

from __future__ import annotations

from typing import Any

import ollama
import pytest

from kong_entries import CHAT_ANSWER
from reading import answer, ask, call, json_lines, said, thought

CHAT = "/api/chat"
GENERATE = "/api/generate"
PNG = "iVBORw0KGgo="
COUNTS = {
    "total_duration": 9,
    "prompt_eval_count": 26,
    "prompt_eval_duration": 3,
    "eval_count": 4,
    "eval_duration": 5,
}


def line(content: str = "", *, done: bool = False, **message: Any) -> dict[str, Any]:
    """One line of a streamed chat."""
    head = {"model": "llama3.2", "created_at": "2026-01-01T00:00:00Z"}
    said_now = {"role": "assistant", "content": content} | message
    end = {"done_reason": "stop"} | COUNTS if done else {}
    body = head | {"message": said_now, "done": done} | end
    ollama.ChatResponse.model_validate(body)
    return body


def test_a_chat_is_its_messages_and_its_options_are_parameters() -> None:
    """`stream` and the like stand beside the options."""
    body = {
        "model": "llama3.2",
        "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "hi"}],
        "options": {"temperature": 0.1, "num_ctx": 4096},
        "stream": False,
        "think": True,
    }
    found = ask(CHAT, body)
    assert said(found) == body["messages"]
    assert found.parameters == {"num_ctx": 4096, "stream": False, "temperature": 0.1, "think": True}
    assert (found.model, found.message_count, found.prompt_length) == ("llama3.2", 2, 3)


def test_pictures_calls_and_thoughts_take_openais_form() -> None:
    """Ollama sends pictures without their kind, and arguments as an object."""
    tool_calls = [ollama.Message.ToolCall(function={"name": "f", "arguments": {"a": 1}})]
    given = [
        ollama.Message(role="user", content="What?", images=[ollama.Image(value=PNG)]),
        ollama.Message(role="assistant", thinking="Hm.", tool_calls=tool_calls),
        ollama.Message(role="tool", content="1", tool_name="f"),
    ]
    messages = [message.model_dump(exclude_none=True, mode="json") for message in given]
    tools = [{"type": "function", "function": {"name": "f"}}]
    found = said(ask(CHAT, {"model": "m", "messages": messages, "tools": tools}))
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    assert found == {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "What?"}, picture]},
            {"role": "assistant", "thinking": thought("Hm."), "tool_calls": [call("f", '{"a":1}')]},
            {"role": "tool", "content": "1", "name": "f"},
        ],
        "tools": tools,
    }


def test_an_answer_is_a_message_with_its_counts() -> None:
    """Durations are the server's own affair."""
    found = answer(CHAT, line("Hello", done=True, thinking="Hm."))
    assert said(found) == {"role": "assistant", "content": "Hello", "thinking": thought("Hm.")}
    assert found.usage == {"prompt_tokens": 26, "completion_tokens": 4}
    assert (found.model, found.finish_reason, found.partial) == ("llama3.2", "stop", False)


def test_a_stream_becomes_the_answer_it_would_have_been() -> None:
    """Thoughts first, then text, then calls; each call comes whole."""
    calls = [{"function": {"name": "f", "arguments": {"a": 1}}}]
    whole = answer(CHAT, line("Hello", done=True, thinking="Hmm.", tool_calls=calls))
    pieces = [
        line(thinking="Hm"),
        line(thinking="m."),
        line("Hel"),
        line("lo"),
        line(tool_calls=calls),
        line(done=True),
    ]
    assert answer(CHAT, json_lines(*pieces)) == whole
    assert said(whole)["tool_calls"] == [call("f", '{"a":1}')]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_stream_without_its_last_line_is_partial(count: int) -> None:
    """One line of it looks like an answer."""
    found = answer(CHAT, json_lines(*[line("x")] * count))
    assert (said(found)["content"], found.partial) == ("x" * count, True)


def test_a_missing_middle_is_marked_in_the_text() -> None:
    """The end still has the counts."""
    found = answer(
        CHAT, json_lines(line("a"), line("b")), 'torn"}\n' + json_lines(line("c"), line(done=True))
    )
    assert (said(found)["content"], found.partial) == ("ab […] c", False)


def test_an_error_in_mid_stream_is_a_failure() -> None:
    """As a whole answer, too."""
    for body in ({"error": "model not found"}, json_lines(line("x"), {"error": "model not found"})):
        failure = answer(CHAT, body).failure
        assert failure is not None
        assert failure.message == "model not found"


def test_generate_is_a_chat_of_one_turn() -> None:
    """The numbers of `context` stay behind."""
    body = {"model": "m", "prompt": "Why?", "system": "S", "images": [PNG], "options": {"seed": 1}}
    found = ask(GENERATE, body)
    [system, user] = said(found)
    assert (system, user["content"][0]) == (
        {"role": "system", "content": "S"},
        {"type": "text", "text": "Why?"},
    )
    assert (found.parameters, found.prompt_length) == ({"seed": 1}, 5)
    whole = {
        "model": "m",
        "response": "Because.",
        "done": True,
        "done_reason": "stop",
        "context": [1, 2],
    } | COUNTS
    ollama.GenerateResponse.model_validate(whole)
    told = answer(GENERATE, whole)
    assert said(told) == {"role": "assistant", "content": "Because."}
    pieces = [{"model": "m", "response": text, "done": False} for text in ("Be", "cause.")]
    assert answer(GENERATE, json_lines(*pieces, whole | {"response": ""})) == told


def test_vectors_stay_behind_and_are_counted() -> None:
    """In the form of today and the one before it."""
    assert said(ask("/api/embed", {"model": "m", "input": ["a", "b"]})) == ["a", "b"]
    assert said(ask("/api/embeddings", {"model": "m", "prompt": "a"})) == "a"
    body = {"model": "m", "embeddings": [[0.1, 0.2]] * 2, "prompt_eval_count": 8}
    ollama.EmbedResponse.model_validate(body)
    found = answer("/api/embed", body)
    assert (said(found), found.usage, found.model) == (
        {"count": 2, "dimensions": 2},
        {"prompt_tokens": 8},
        "m",
    )
    assert said(answer("/api/embeddings", {"embedding": [0.1, 0.2, 0.3]})) == {"count": 1, "dimensions": 3}


def test_kong_logs_the_request_as_ollama_gets_it_and_the_answer_as_openai_would_give_it() -> None:
    """With options that may be empty."""
    body = {
        "options": {},
        "messages": [{"role": "user", "content": "hi"}],
        "model": "llama2",
        "stream": False,
    }
    assert said(ask(CHAT, body)) == body["messages"]
    assert said(answer(CHAT, CHAT_ANSWER)) == {"role": "assistant", "content": "hello"}
