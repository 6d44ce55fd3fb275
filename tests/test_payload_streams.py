"""Whatever arrives of a body, readers take what is there: arbitrary JSON, and streams cut anywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import test_cohere
import test_gemini
import test_generate_servers
import test_ollama
from kong_ai_tracing.bodies import Body
from kong_ai_tracing.payloads import DIALECTS, Sketch, dialect_of_path, read_answer, read_request
from kong_ai_tracing.payloads.dialect import Answered
from kong_entries import sse
from reading import as_text, json_lines

MEMBERS = st.sampled_from(
    [
        "contents",
        "parts",
        "text",
        "inlineData",
        "inline_data",
        "mimeType",
        "data",
        "fileData",
        "fileUri",
        "functionCall",
        "name",
        "args",
        "id",
        "functionResponse",
        "response",
        "thought",
        "executableCode",
        "systemInstruction",
        "role",
        "tools",
        "functionDeclarations",
        "generationConfig",
        "candidates",
        "content",
        "finishReason",
        "promptFeedback",
        "blockReason",
        "usageMetadata",
        "promptTokenCount",
        "candidatesTokenCount",
        "index",
        "requests",
        "embedding",
        "embeddings",
        "values",
        "instances",
        "predictions",
        "statistics",
        "message",
        "chat_history",
        "preamble",
        "tool_results",
        "call",
        "outputs",
        "parameters",
        "parameter_definitions",
        "documents",
        "messages",
        "model",
        "stream",
        "event_type",
        "is_finished",
        "finish_reason",
        "generation_id",
        "meta",
        "billed_units",
        "input_tokens",
        "tool_calls",
        "tool_plan",
        "citations",
        "delta",
        "type",
        "usage",
        "generations",
        "prompt",
        "texts",
        "query",
        "results",
        "images",
        "options",
        "system",
        "thinking",
        "done",
        "done_reason",
        "prompt_eval_count",
        "eval_count",
        "function",
        "arguments",
        "error",
        "inputs",
        "token",
        "generated_text",
        "details",
        "best_of_sequences",
        "meta_info",
        "stop",
        "tokens_predicted",
        "input_prefix",
        "b64_json",
        "url",
        "revised_prompt",
        "file",
        "input",
        "search_results",
        "reasoning_details",
        "choices",
        "x_groq",
    ]
)
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["", "stop", "message-end"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(MEMBERS, inner, max_size=6),
    max_leaves=25,
)
OBJECTS = st.dictionaries(MEMBERS, ANYTHING, max_size=8)


@given(OBJECTS, st.lists(OBJECTS, max_size=3), st.sampled_from(DIALECTS))
def test_no_json_makes_a_reader_raise(body: dict[str, Any], more: list[dict[str, Any]], dialect: Any) -> None:
    """Whatever stands where, there is an input and an answer to work with, and their texts are JSON."""
    texts = [as_text(body), as_text([body, *more]), sse(body, *more), json_lines(body, *more)]
    for text in texts:
        _, question = read_request(Sketch(Body(text)), dialect)
        found = [question.input]
        for hint, tail in ((dialect, None), (dialect, sse(*more)), (dialect, json_lines(*more))):
            found.append(read_answer(Sketch(Body(text, tail)), hint).output)
        for each in (dialect.read_request, dialect.read_response):
            fields = Sketch(Body(texts[0])).fields or {}
            told = each(fields)
            found.append(getattr(told, "input", None) or getattr(told, "output", None))
        for output in found:
            assert output is None or json.loads(output) is not ...


@given(st.sampled_from(DIALECTS), st.sampled_from("[{"), st.integers(50, 1500))
def test_no_depth_makes_a_reader_raise(dialect: Any, bracket: str, depth: int) -> None:
    """A hostile body is nested as deep as a parser can go."""
    opened, closed = ("[" * depth, "]" * depth) if bracket == "[" else ('{"text":' * depth + "1", "}" * depth)
    for name in (
        "contents",
        "messages",
        "message",
        "input",
        "choices",
        "candidates",
        "parts",
        "results",
        "text",
    ):
        sketch = Sketch(Body(f'{{"{name}":{opened}{closed}}}'))
        read_request(sketch, dialect)
        read_answer(sketch, dialect)


STREAMS = {
    "gemini events": (test_gemini.STREAM, sse(*test_gemini.PARTS)),
    "gemini list": (test_gemini.STREAM, test_gemini.pretty(test_gemini.PARTS)),
    "cohere 2023": (test_cohere.OLD, json_lines(*test_cohere.OLD_EVENTS)),
    "cohere 2024": (test_cohere.NEW, sse(*test_cohere.NEW_EVENTS)),
    "ollama": (
        test_ollama.CHAT,
        json_lines(
            *(test_ollama.line(text) for text in ("Hel", "lo", " there")), test_ollama.line(done=True)
        ),
    ),
    "tgi": (
        test_generate_servers.STREAM,
        sse(
            *(test_generate_servers.token(text) for text in ("Hel", "lo")),
            test_generate_servers.token(
                " there", generated_text="Hello there", details=test_generate_servers.DETAILS
            ),
        ),
    ),
    "llama.cpp": (
        test_generate_servers.LLAMA,
        sse(
            *({"content": text, "stop": False} for text in ("Hel", "lo", " there")), test_generate_servers.END
        ),
    ),
}


def read(path: str, text: str, tail: str | None = None) -> Answered:
    hint = dialect_of_path(path)
    assert hint is not None
    return read_answer(Sketch(Body(text, tail)), hint)


def text_of(found: Answered) -> str:
    told = json.loads(found.output) if found.output else None
    return (told.get("content") if isinstance(told, dict) else told) or ""


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_was_cut_gives_the_beginning_of_its_text(name: str) -> None:
    """At every place. It is partial, unless only what does not matter is missing."""
    path, whole = STREAMS[name]
    complete = read(path, whole)
    assert (text_of(complete), complete.partial) == ("Hello there", False)
    begins = whole.index("}") + 1
    for end in range(begins, len(whole)):
        found = read(path, whole[:end])
        if text_of(found).startswith(('{"', "[{")):
            continue  # not one whole event yet: the text is passed on as it is
        assert text_of(complete).startswith(text_of(found)), end
        assert found.partial or found.output == complete.output, end


@pytest.mark.parametrize("name", [name for name in STREAMS if name != "gemini list"])
def test_a_stream_without_its_middle_is_the_beginning_and_the_end_of_its_text(name: str) -> None:
    """Wherever the middle was."""
    path, whole = STREAMS[name]
    for start in range(whole.index("\n") + 1, len(whole), 7):
        for end in range(start, len(whole), 11):
            found = read(path, whole[:start], whole[end:])
            first, _, last = text_of(found).partition(" […] ")
            assert "Hello there".startswith(first.rstrip()) or text_of(found) == "Hello there", (start, end)
            assert "Hello there".endswith(last), (start, end)


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("ending", ["\r\n", "\r"])
def test_line_ends_make_no_difference(name: str, ending: str) -> None:
    """Events may end in any of three ways, lines of JSON in two."""
    path, whole = STREAMS[name]
    if ending == "\r" and not whole.startswith("data:"):
        return
    assert read(path, whole.replace("\n", ending)) == read(path, whole)


WORDS = st.text(st.sampled_from('a "\\\n\x00é漢😀'), max_size=3)
DELTAS = st.one_of(
    *(
        st.lists(WORDS.map(lambda word, more=more, name=name: more | {name: word}), min_size=1, max_size=5)
        for name in ("content", "reasoning_content", "text")
        for more in ({}, {"role": "assistant"}, {"refusal": None}, {"function_call": {"arguments": "x"}})
    ),
    st.lists(st.fixed_dictionaries({"role": st.just("assistant"), "content": WORDS, "reasoning": WORDS})),
    st.lists(st.fixed_dictionaries({"content": WORDS, "refusal": st.sampled_from([None, "", "no"])})),
)
CHOICES = st.lists(DELTAS, max_size=4).map(
    lambda runs: [[{"index": 0, "delta": delta}] for run in runs for delta in run]
)
BOTH_CHOICES = st.lists(st.tuples(WORDS, WORDS)).map(
    lambda pairs: [
        [{"index": index, "delta": {"content": word}} for index, word in enumerate(pair)] for pair in pairs
    ]
)


@given(CHOICES | BOTH_CHOICES, st.booleans(), st.integers(0, 15))
def test_words_are_read_alike_together_and_one_by_one(
    choices: list[list[dict[str, Any]]], is_ascii: bool, cut: int
) -> None:
    """Events that differ in a word alone, or in what hides how long it is, are read as one."""
    alike = [json.dumps({"id": "1", "choices": each}, ensure_ascii=is_ascii) for each in choices]
    different = [f'{{"n": {number}, {event[1:]}' for number, event in enumerate(alike)]
    padded = [f'{event[:-1]}, "obfuscation": "{"x" * number}"}}' for number, event in enumerate(alike)]
    spaced = [f"{event[:-1]}{' ' * number}}}" for number, event in enumerate(alike)]
    at_once, one_by_one = (_read_cut(events, cut) for events in (alike, different))
    assert at_once == one_by_one
    assert _read_cut(padded, 0) == _read_cut(spaced, 0) == _read_cut(different, 0)


def _read_cut(events: list[str], cut: int) -> Answered:
    text = "".join(f"data: {event}\n\n" for event in events)
    chat = dialect_of_path("/v1/chat/completions")
    assert chat is not None
    return read_answer(Sketch(Body(text[: len(text) - cut])), chat)
