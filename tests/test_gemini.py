"""Gemini and Vertex AI, with Google's own package as the judge of what is a request and an answer."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.genai import types

import kong_entries
from kong_ai_tracing.usage import usage_buckets
from kong_entries import CHAT_ANSWER, sse
from reading import answer, ask, call, said, thought

PATH = "/v1beta/models/gemini-2.5-flash:generateContent"
STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
VERTEX = "/v1/projects/p/locations/europe-west4/publishers/google/models/gemini-2.5-pro:generateContent"
PNG = b"\x89PNG\r\n"


def wire(value: Any) -> Any:
    """What Google's package sends for a value."""
    return json.loads(value.model_dump_json(by_alias=True, exclude_none=True))


def request(
    contents: list[types.Content], config: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    return {
        "contents": [wire(each) for each in contents],
        **({"generationConfig": config} if config else {}),
    } | more


def candidates(*texts: str, finish: str | None = "STOP", **more: Any) -> dict[str, Any]:
    """An answer of one candidate, its text in as many parts as given."""
    content = {"role": "model", "parts": [{"text": text} for text in texts]}
    candidate = {"index": 0, "content": content} | ({"finishReason": finish} if finish else {})
    return {"candidates": [candidate], "modelVersion": "gemini-2.5-flash", "responseId": "r1"} | more


# -- requests


def test_contents_become_a_conversation() -> None:
    """The system instruction first; the model is the assistant."""
    contents = [
        types.UserContent("Hello"),
        types.ModelContent("Hi."),
        types.Content(role="user", parts=[types.Part(text="One"), types.Part(text="two")]),
    ]
    system = wire(types.Content(parts=[types.Part(text="Be brief.")]))
    found = ask(PATH, request(contents, systemInstruction=system))
    assert said(found) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "two"}]},
    ]
    assert (found.message_count, found.prompt_length) == (4, 23)


def test_members_in_snake_case_are_the_same() -> None:
    """Google takes both spellings, and clients send both."""
    body = {
        "system_instruction": {"parts": {"text": "S"}},
        "contents": {"parts": [{"inline_data": {"mime_type": "image/png", "data": "aWs="}}]},
        "generation_config": {"max_output_tokens": 5},
        "tools": [{"function_declarations": [{"name": "f"}]}],
    }
    found = ask(PATH, body)
    assert said(found) == {
        "messages": [
            {"role": "system", "content": "S"},
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aWs="}}],
            },
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }
    assert found.parameters == {"max_output_tokens": 5}


def test_functions_their_calls_and_results_take_openais_form() -> None:
    """Langfuse shows definitions, calls and results of that form as what they are."""
    schema = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}}
    weather = {"name": "weather", "description": "The weather.", "parameters": schema}
    contents = [
        types.UserContent("Weather in Lisbon?"),
        types.ModelContent(
            types.Part(function_call=types.FunctionCall(id="c1", name="weather", args={"city": "L"}))
        ),
        types.UserContent(
            types.Part(
                function_response=types.FunctionResponse(id="c1", name="weather", response={"sky": "blue"})
            )
        ),
    ]
    body = request(contents, tools=[{"functionDeclarations": [weather]}, {"googleSearch": {}}])
    found = said(ask(PATH, body))
    assert found["messages"][1:] == [
        {"role": "assistant", "content": None, "tool_calls": [call("weather", '{"city":"L"}', id="c1")]},
        {"role": "tool", "name": "weather", "tool_call_id": "c1", "content": '{"sky":"blue"}'},
    ]
    assert found["tools"] == [
        {"type": "function", "function": weather},
        {"type": "google_search", "google_search": {}},
    ]


def test_media_and_code_are_parts_of_the_content() -> None:
    """Pictures as addresses that can be shown, other files as files, code as it is."""
    parts = [
        types.Part.from_bytes(data=PNG, mime_type="image/png"),
        types.Part.from_bytes(data=b"%PDF", mime_type="application/pdf"),
        types.Part.from_uri(file_uri="gs://b/a.png", mime_type="image/png"),
        types.Part.from_uri(file_uri="gs://b/a.mp4", mime_type="video/mp4"),
        types.Part.from_executable_code(code="1+1", language=types.Language.PYTHON),
    ]
    [message] = said(ask(PATH, request([types.UserContent(parts)])))
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert message["content"] == [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERg=="}},
        {"type": "image_url", "image_url": {"url": "gs://b/a.png", "format": "image/png"}},
        {"type": "file", "file": {"file_id": "gs://b/a.mp4", "format": "video/mp4"}},
        {"type": "executable_code", "executableCode": {"code": "1+1", "language": "PYTHON"}},
    ]


def test_the_generation_config_becomes_model_parameters() -> None:
    """In the spelling of all others; of a long schema its form is kept."""
    config = {
        "temperature": 0.2,
        "topP": 0.9,
        "maxOutputTokens": 10,
        "stopSequences": ["x"],
        "candidateCount": 2,
    }
    config |= {"thinkingConfig": {"thinkingBudget": 0}, "responseSchema": {"x": "y" * 3000}}
    found = ask(PATH, request([types.UserContent("x")], config, cachedContent="cachedContents/1"))
    assert found.parameters == {
        "cached_content": "cachedContents/1",
        "candidate_count": 2,
        "max_output_tokens": 10,
        "response_schema": {"x": "[3002 bytes]"},
        "stop_sequences": ["x"],
        "temperature": 0.2,
        "thinking_config": {"thinkingBudget": 0},
        "top_p": 0.9,
    }


# -- answers


def test_the_answer_is_the_text_that_googles_package_gives() -> None:
    """Several parts are one text; thoughts stand beside it."""
    body = candidates("Hel", "lo")
    body["candidates"][0]["content"]["parts"].insert(0, {"text": "Hm.", "thought": True})
    judge = types.GenerateContentResponse.model_validate(body)
    found = answer(PATH, body)
    assert said(found) == {"role": "assistant", "content": judge.text, "thinking": thought("Hm.")}
    assert (found.model, found.response_id, found.finish_reason) == ("gemini-2.5-flash", "r1", "STOP")
    assert (found.response_length, found.partial, found.failure) == (5, False, None)


def test_function_calls_are_those_that_googles_package_gives() -> None:
    """Arguments become JSON text; signatures of thoughts say nothing to anybody."""
    body = candidates()
    part = {"functionCall": {"name": "f", "args": {"a": [1, "é"]}}, "thoughtSignature": "AAAA"}
    body["candidates"][0]["content"]["parts"] = [part, {"functionCall": {"name": "g"}}]
    judge = types.GenerateContentResponse.model_validate(body)
    assert judge.function_calls is not None
    calls = said(answer(PATH, body))["tool_calls"]
    assert calls == [call("f", '{"a":[1,"é"]}'), call("g", "{}")]
    assert [each.name for each in judge.function_calls] == ["f", "g"]


def test_several_candidates_are_a_list_of_messages() -> None:
    """By their index."""
    body = {
        "candidates": [
            {"index": index, "content": {"parts": [{"text": text}]}, "finishReason": "STOP"}
            for index, text in ((1, "b"), (0, "a"))
        ]
    }
    assert [message["content"] for message in said(answer(PATH, body))] == ["a", "b"]


def test_counts_do_not_overlap() -> None:
    """Cached tokens are part of the prompt; thoughts and the results of Google's tools stand beside."""
    usage = {
        "promptTokenCount": 1000,
        "cachedContentTokenCount": 600,
        "toolUsePromptTokenCount": 50,
        "candidatesTokenCount": 200,
        "thoughtsTokenCount": 300,
        "totalTokenCount": 1550,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 880},
            {"modality": "AUDIO", "tokenCount": 120},
        ],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 20}],
    }
    types.GenerateContentResponseUsageMetadata.model_validate(usage)
    buckets = usage_buckets(answer(PATH, candidates("x", usageMetadata=usage)).usage)
    assert buckets == {
        "input": 300,
        "input_cached_tokens": 600,
        "input_audio_tokens": 100,
        "input_tool_use_tokens": 50,
        "output": 200,
        "output_reasoning_tokens": 300,
        "total": 1550,
    }
    assert sum(buckets.values()) == 2 * buckets["total"]


def test_a_prompt_that_was_blocked_has_its_reason() -> None:
    """There is no candidate, but a call all the same."""
    body = {
        "promptFeedback": {"blockReason": "SAFETY"},
        "usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7},
    }
    assert types.GenerateContentResponse.model_validate(body).text is None
    found = answer(PATH, body)
    assert said(found) == {"role": "assistant", "content": None, "refusal": "SAFETY"}
    assert (found.finish_reason, found.partial) == ("SAFETY", False)
    assert usage_buckets(found.usage) == {"input": 7, "output": 0, "total": 7}
    streamed = answer(STREAM, sse(body))
    assert (streamed.output, streamed.finish_reason, streamed.partial) == (found.output, "SAFETY", False)


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        ({"finishReason": "SAFETY", "safetyRatings": []}, {"refusal": "SAFETY"}),
        ({"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "call:x"}, {"refusal": "call:x"}),
        ({"finishReason": "MAX_TOKENS", "content": {"role": "model"}}, None),
    ],
)
def test_an_empty_candidate_says_why(candidate: dict[str, Any], message: dict[str, Any] | None) -> None:
    """Where there is nothing to say, nothing is made up."""
    found = answer(PATH, {"candidates": [candidate]})
    assert said(found) == ({"role": "assistant", "content": None} | message if message else None)
    assert found.finish_reason == candidate["finishReason"]


def test_pictures_in_an_answer_can_be_shown() -> None:
    """Between the texts, where the model put them."""
    body = candidates("Here:")
    body["candidates"][0]["content"]["parts"] += [
        {"inlineData": {"mimeType": "image/png", "data": "aWs="}},
        {"text": "!"},
    ]
    assert said(answer(PATH, body))["content"] == [
        {"type": "text", "text": "Here:"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aWs="}},
        {"type": "text", "text": "!"},
    ]


def test_where_an_answer_is_grounded_stands_beside_it() -> None:
    """As Google gives it."""
    body = candidates("x")
    body["candidates"][0]["groundingMetadata"] = {"webSearchQueries": ["q"]}
    assert said(answer(PATH, body))["grounding_metadata"] == {"webSearchQueries": ["q"]}


def test_an_error_has_googles_word_for_its_kind() -> None:
    """As an answer, and within a list that was to be a stream."""
    error = {"error": {"code": 429, "message": "Quota.", "status": "RESOURCE_EXHAUSTED"}}
    for body in (error, [error], sse(error), [candidates("x", finish=None), error]):
        failure = answer(STREAM, body).failure
        assert failure is not None
        assert (failure.message, failure.type, failure.code) == ("Quota.", "RESOURCE_EXHAUSTED", "429")


# -- streams

PARTS = [
    candidates("Hel", finish=None, usageMetadata={"promptTokenCount": 4, "totalTokenCount": 4}),
    candidates("lo ", finish=None),
    candidates(
        "there", usageMetadata={"promptTokenCount": 4, "candidatesTokenCount": 3, "totalTokenCount": 7}
    ),
]


def pretty(values: list[Any]) -> str:
    """A list as Google streams it without `alt=sse`."""
    return "[" + "\n,\r\n".join(json.dumps(value, indent=2) for value in values) + "\n]\n"


@pytest.mark.parametrize("body", [sse(*PARTS, end="\r\n\r\n"), pretty(PARTS), json.dumps(PARTS)])
def test_a_stream_becomes_the_answer_it_would_have_been(body: str) -> None:
    """As events and as a list."""
    found = answer(STREAM, body)
    whole = answer(PATH, candidates("Hello there", usageMetadata=PARTS[-1]["usageMetadata"]))
    assert found == whole
    assert said(found) == {"role": "assistant", "content": "Hello there"}


def test_the_path_says_that_the_answer_is_a_stream() -> None:
    """A list may be a whole answer of other servers; on Google's path it is a stream."""
    body = request([types.UserContent("x")])
    assert (ask(PATH, body).streamed, ask(STREAM, body).streamed) == (False, True)
    found = [
        kong_entries.call(
            upstream_uri=path,
            request=kong_entries.request(path),
            capture=kong_entries.capture(asked, stream=answered),
        ).observation.metadata["streaming"]
        for path, asked, answered in (
            (STREAM, body, pretty(PARTS)),
            (PATH, body, json.dumps(PARTS[-1])),
            ("/generate", {"inputs": "x"}, '[{"generated_text": "y"}]'),
        )
    ]
    assert found == [True, False, False]


def test_a_list_that_was_cut_is_read_as_far_as_it_goes() -> None:
    """Whole items count, and the answer is partial."""
    text = pretty(PARTS)
    found = answer(STREAM, text[: text.index("there") + 2])
    assert (said(found)["content"], found.partial) == ("Hello ", True)


def test_a_list_without_its_middle_still_has_its_end() -> None:
    """With its counts."""
    text = pretty(PARTS)
    middle = text.index("lo ")
    found = answer(STREAM, text[:middle], text[middle + 20 :])
    assert said(found)["content"] == "Hel […] there"
    assert (found.finish_reason, found.partial, found.usage["completion_tokens"]) == ("STOP", False, 3)


def test_a_stream_without_its_end_is_partial() -> None:
    """Google sends no mark but the reason for the end."""
    assert answer(STREAM, sse(*PARTS[:2])).partial
    assert not answer(STREAM, sse(*PARTS)).partial


# -- what Kong and Vertex make of it


def test_kong_logs_the_request_as_google_gets_it_and_the_answer_as_openai_would_give_it() -> None:
    """From 3.9 on, unless `llm_format` is gemini."""
    found = ask(PATH, request([types.UserContent("hi")]))
    assert said(found) == [{"role": "user", "content": "hi"}]
    assert said(answer(PATH, CHAT_ANSWER)) == {"role": "assistant", "content": "hello"}


def test_vertex_speaks_the_same() -> None:
    """The path is longer, and the model may be named as a resource."""
    body = request([types.UserContent("hi")], model="publishers/google/models/gemini-2.5-pro")
    assert ask(VERTEX, body).model == "gemini-2.5-pro"
    assert said(answer(VERTEX, candidates("Hi")))["content"] == "Hi"


def test_other_models_of_vertex_are_read_in_their_makers_dialect() -> None:
    """Its raw methods pass bodies on as they are."""
    base = "/v1/projects/p/locations/l/publishers"
    messages = [{"role": "user", "content": "hi"}]
    claude = ask(
        f"{base}/anthropic/models/claude-sonnet-4:rawPredict",
        {"anthropic_version": "v", "messages": messages},
    )
    assert said(claude) == messages
    mistral = ask(
        f"{base}/mistralai/models/mistral-large:streamRawPredict", {"model": "m", "messages": messages}
    )
    assert (said(mistral), mistral.model) == (messages, "m")


# -- embeddings and predictions

EMBED = "/v1beta/models/gemini-embedding-001:embedContent"
BATCH = "/v1beta/models/gemini-embedding-001:batchEmbedContents"
PREDICT = "/v1/projects/p/locations/l/publishers/google/models/text-embedding-005:predict"
IMAGEN = "/v1/projects/p/locations/l/publishers/google/models/imagen-4.0:predict"


def test_vectors_stay_behind_and_are_counted() -> None:
    """One, or a batch of them."""
    content = wire(types.Content(parts=[types.Part(text="abc")]))
    one = ask(EMBED, {"model": "models/gemini-embedding-001", "content": content, "outputDimensionality": 2})
    assert (said(one), one.model, one.parameters) == (
        "abc",
        "gemini-embedding-001",
        {"output_dimensionality": 2},
    )
    many = ask(BATCH, {"requests": [{"model": "models/e", "content": content, "taskType": "X"}] * 2})
    assert (said(many), many.model, many.prompt_length) == (["abc", "abc"], "e", 6)
    assert said(answer(EMBED, {"embedding": {"values": [0.1, 0.2]}})) == {"count": 1, "dimensions": 2}
    found = answer(BATCH, {"embeddings": [{"values": [0.1]}] * 3, "usageMetadata": {"promptTokenCount": 9}})
    assert (said(found), found.usage["prompt_tokens"]) == ({"count": 3, "dimensions": 1}, 9)


def test_vertex_predicts_embeddings() -> None:
    """Its counts stand beside each vector."""
    found = ask(PREDICT, {"instances": [{"content": "a", "task_type": "T"}, {"content": "b"}]})
    assert said(found) == ["a", "b"]
    vector = {
        "embeddings": {"values": [0.1, 0.2, 0.3], "statistics": {"token_count": 4.0, "truncated": False}}
    }
    told = answer(PREDICT, {"predictions": [vector, vector]})
    assert (said(told), told.usage) == ({"count": 2, "dimensions": 3}, {"prompt_tokens": 8})


def test_vertex_predicts_pictures() -> None:
    """They are the answer to a prompt."""
    found = ask(IMAGEN, {"instances": [{"prompt": "a cat"}], "parameters": {"sampleCount": 1}})
    assert (said(found), found.parameters) == ("a cat", {"sample_count": 1})
    told = answer(IMAGEN, {"predictions": [{"bytesBase64Encoded": "aWs=", "mimeType": "image/jpeg"}]})
    assert said(told)["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,aWs="}}
    ]
