"""Bedrock's Converse and invoke, judged by botocore: its service model, serialiser, parser and frames."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_wire import chunk, event, events_of, exception, parsed, request_of
from kong_ai_tracing.bodies import Body, inflated
from kong_ai_tracing.payloads import Dialect, Sketch, dialect_of_path, read_answer, read_request
from kong_ai_tracing.payloads.dialect import Answered, Asked
from kong_ai_tracing.usage import usage_buckets
from kong_entries import CHAT_ANSWER, call, capture, request, sse
from test_payload_anthropic import OPENAI_CALL, PICTURE, json_values, stream_of
from test_payload_anthropic import message as claudes_message

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"


def dialect_at(path: str) -> Dialect:
    found = dialect_of_path(path)
    assert found is not None
    return found


CONVERSE = dialect_at("/model/m/converse")
INVOKE = dialect_at("/model/m/invoke")


def ask(path: str, body: Any) -> Asked:
    dialect, found = read_request(Sketch(Body(json.dumps(body))), dialect_at(path))
    assert dialect is dialect_at(path)
    return found


def converse(**parameters: Any) -> Asked:
    """Read a request as botocore writes it."""
    return ask(*request_of("Converse", modelId=CLAUDE, **parameters))


def answer(body: Any, dialect: Dialect = CONVERSE) -> Answered:
    text = body if isinstance(body, str) else json.dumps(body)
    return read_answer(Sketch(Body(text)), dialect)


def streamed(data: bytes, dialect: Dialect = CONVERSE, tail: bytes | None = None) -> Answered:
    end = None if tail is None else inflated(tail, None).text
    return read_answer(Sketch(Body(inflated(data, None).text, end)), dialect)


def loaded(text: bytes | None) -> Any:
    return None if text is None else json.loads(text)


USE = {"toolUseId": "toolu_1", "name": "weather", "input": {"city": "Köln", "days": 2}}
THOUGHT = {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}
SAID = [{"reasoningContent": THOUGHT}, {"text": "Hello"}, {"toolUse": USE}]
ASSISTANT = {
    "role": "assistant",
    "content": "Hello",
    "thinking": [{"type": "thinking", "content": "Hm.", "signature": "c2ln"}],
    "tool_calls": [OPENAI_CALL],
}
USAGE = {
    "inputTokens": 12,
    "outputTokens": 40,
    "totalTokens": 52,
    "cacheReadInputTokens": 2000,
    "cacheWriteInputTokens": 300,
    "cacheDetails": [{"ttl": "1h", "inputTokens": 200}],
}


# -- requests


def test_a_converse_request_is_a_chat() -> None:
    """The system prompt first, settings under the names that others have for them, tools in OpenAI's form."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    asked = converse(
        system=[{"text": "Be brief."}],
        messages=[{"role": "user", "content": [{"text": "hi"}]}],
        inferenceConfig={"maxTokens": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]},
        additionalModelRequestFields={"top_k": 5, "thinking": {"type": "enabled", "budget_tokens": 1024}},
        toolConfig={
            "tools": [
                {"toolSpec": {"name": "weather", "description": "d", "inputSchema": {"json": schema}}},
                {"cachePoint": {"type": "default"}},
            ],
            "toolChoice": {"any": {}},
        },
        performanceConfig={"latency": "optimized"},
        serviceTier={"type": "flex"},
        requestMetadata={"team": "a"},
    )
    assert loaded(asked.input) == {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
        "tools": [
            {"type": "function", "function": {"name": "weather", "description": "d", "parameters": schema}},
            {"type": "cachePoint", "cachePoint": {"type": "default"}},
        ],
    }
    assert asked.parameters == {
        "latency": "optimized",
        "max_tokens": 9,
        "service_tier": "flex",
        "stop_sequences": ["END"],
        "temperature": 0.5,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tool_choice": {"any": {}},
        "top_k": 5,
        "top_p": 0.9,
    }
    assert (asked.message_count, asked.prompt_length, asked.streamed) == (2, 11, False)
    path, body = request_of("ConverseStream", modelId=CLAUDE, messages=[])
    assert ask(path, body).streamed


def test_calls_results_and_thoughts_are_told_apart() -> None:
    """A result that is JSON is its text; one that failed says so."""
    history = [
        {"role": "assistant", "content": SAID},
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "toolu_1", "content": [{"json": {"sky": "blue"}}]}},
                {"toolResult": {"toolUseId": "toolu_2", "content": [{"text": "no"}], "status": "error"}},
                {"text": "And tomorrow?"},
            ],
        },
    ]
    assert loaded(converse(messages=history).input) == [
        ASSISTANT,
        {"role": "tool", "tool_call_id": "toolu_1", "content": '{"sky":"blue"}'},
        {"role": "tool", "tool_call_id": "toolu_2", "content": "no", "status": "error"},
        {"role": "user", "content": "And tomorrow?"},
    ]


def test_pictures_and_documents_are_parts_that_langfuse_shows() -> None:
    """Bytes as data addresses; what lies elsewhere keeps its place; other kinds their name."""
    picture = {"format": "png", "source": {"bytes": b"\x89PNG\r\n\x1a\n"}}
    elsewhere = {"format": "png", "source": {"s3Location": {"uri": "s3://bucket/a.png"}}}
    document = {"format": "pdf", "name": "a", "source": {"bytes": b"%PDF-"}}
    guarded = {"text": {"text": "query", "qualifiers": ["query"]}}
    content = [
        {"text": "See:"},
        {"image": picture},
        {"image": elsewhere},
        {"document": document},
        {"guardContent": guarded},
        {"cachePoint": {"type": "default"}},
    ]
    asked = converse(messages=[{"role": "user", "content": content}])
    assert loaded(asked.input)[0]["content"] == [
        {"type": "text", "text": "See:"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE['data']}"}},
        {"type": "image", "image": elsewhere},
        {"type": "file", "file": {"filename": "a", "file_data": "data:application/pdf;base64,JVBERi0="}},
        {"type": "text", "text": "query", "qualifiers": ["query"]},
        {"type": "cachePoint", "cachePoint": {"type": "default"}},
    ]
    assert asked.prompt_length == len("See:query")


def test_a_request_in_openais_form_is_not_changed() -> None:
    """Up to 3.8 Kong logs what the client sent."""
    messages = [{"role": "system", "content": "s"}, {"role": "tool", "tool_call_id": "t", "content": "x"}]
    tools = [{"type": "function", "function": {"name": "f"}}]
    asked = ask("/model/m/converse", {"messages": messages, "tools": tools, "max_tokens": 5})
    assert loaded(asked.input) == {"messages": messages, "tools": tools}
    assert asked.parameters == {"max_tokens": 5}


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": [{"text": "x"}]}]},
        {"messages": [], "inferenceConfig": {"maxTokens": 5}},
        {"system": [{"text": "s"}], "messages": [{"role": "user", "content": [{"text": "x"}]}]},
    ],
)
def test_a_request_is_known_by_its_shape_alone(body: dict[str, Any]) -> None:
    """ai-proxy's routes may have any path."""
    assert read_request(Sketch(Body(json.dumps(body))), None)[0].name == "bedrock"


# -- answers


def test_a_converse_answer_is_one_assistant_message() -> None:
    """The body is one that botocore reads without loss."""
    body = {
        "output": {"message": {"role": "assistant", "content": SAID}},
        "stopReason": "tool_use",
        "usage": USAGE,
        "metrics": {"latencyMs": 500},
    }
    assert parsed("Converse", body) == body
    found = answer(body)
    assert loaded(found.output) == ASSISTANT
    assert (found.finish_reason, found.response_length, found.partial) == ("tool_use", 5, False)
    assert usage_buckets(found.usage) == {
        "input": 12,
        "input_cached_tokens": 2000,
        "input_cache_creation": 100,
        "input_cache_creation_1h": 200,
        "output": 40,
        "total": 2352,
    }


def test_a_router_says_which_model_answered() -> None:
    """Where it says so; an ARN is known by the model it names."""
    arn = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{CLAUDE}"
    body = {
        "output": {"message": {"role": "assistant", "content": [{"text": "x"}]}},
        "stopReason": "end_turn",
    }
    assert answer(body | {"trace": {"promptRouter": {"invokedModelId": arn}}}).model == CLAUDE
    assert answer(body).model is None


def test_cited_text_is_text_with_its_sources() -> None:
    """It stays a part, so that the sources are not lost."""
    cited = {"content": [{"text": "It is "}, {"text": "so."}], "citations": [{"title": "a"}]}
    body = {"output": {"message": {"role": "assistant", "content": [{"citationsContent": cited}]}}}
    [part] = loaded(answer(body).output)["content"]
    assert part == {"type": "text", "text": "It is so.", "citations": [{"title": "a"}]}


@pytest.mark.parametrize("content", [[], {}])
def test_an_answer_without_content_has_no_output(content: Any) -> None:
    """A guardrail may leave nothing."""
    body = {"output": {"message": {"role": "assistant", "content": content}}}
    found = answer(body | {"stopReason": "guardrail_intervened"})
    assert (found.output, found.finish_reason) == (None, "guardrail_intervened")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"message": "Too many tokens"}, None),
        ({"Message": "Too many tokens"}, None),
        (
            {"__type": "com.amazon.coral#ThrottlingException", "message": "Too many tokens"},
            "ThrottlingException",
        ),
    ],
)
@pytest.mark.parametrize("dialect", [CONVERSE, INVOKE])
def test_amazons_errors_are_failures(body: dict[str, Any], kind: str | None, dialect: Dialect) -> None:
    """Whatever part of Amazon wrote them."""
    found = answer(body, dialect)
    assert found.failure is not None
    assert (found.failure.message, found.output) == ("Too many tokens", None)
    assert found.failure.type == kind


def test_an_answer_that_kong_translated_is_read_as_openais() -> None:
    """ai-proxy logs the provider's request and its own answer."""
    for dialect in (CONVERSE, INVOKE):
        assert loaded(answer(CHAT_ANSWER, dialect).output) == {"role": "assistant", "content": "hello"}


# -- streams


def frames_for(said: list[dict[str, Any]], pieces: int = 3) -> list[bytes]:
    """The frames in which an answer comes when it is streamed."""
    frames = [event("messageStart", {"role": "assistant"})]
    for index, block in enumerate(said):
        place = {"contentBlockIndex": index}
        if use := block.get("toolUse"):
            start = {"toolUse": {"toolUseId": use["toolUseId"], "name": use["name"]}}
            frames.append(event("contentBlockStart", place | {"start": start}))
        frames += [event("contentBlockDelta", place | {"delta": delta}) for delta in _deltas(block, pieces)]
        frames.append(event("contentBlockStop", place))
    frames.append(event("messageStop", {"stopReason": "end_turn"}))
    return [*frames, event("metadata", {"usage": USAGE, "metrics": {"latencyMs": 5}})]


def _deltas(block: dict[str, Any], pieces: int) -> list[dict[str, Any]]:
    if use := block.get("toolUse"):
        return [{"toolUse": {"input": each}} for each in _cut(json.dumps(use["input"]), pieces)]
    if thought := block.get("reasoningContent"):
        told = thought["reasoningText"]
        texts = [{"reasoningContent": {"text": each}} for each in _cut(told["text"], pieces)]
        return [*texts, {"reasoningContent": {"signature": told["signature"]}}]
    return [{"text": each} for each in _cut(block["text"], pieces)]


def _cut(text: str, pieces: int) -> list[str]:
    size = max(1, -(-len(text) // pieces))
    return [text[start : start + size] for start in range(0, len(text), size)]


blocks = st.one_of(
    st.builds(lambda text: {"text": text}, st.text(min_size=1, max_size=20)),
    st.builds(
        lambda text: {"reasoningContent": {"reasoningText": {"text": text, "signature": "c2ln"}}},
        st.text(min_size=1, max_size=20),
    ),
    st.builds(
        lambda given: {"toolUse": USE | {"input": given}},
        st.dictionaries(st.text(max_size=5), st.integers(-9, 9) | st.text(max_size=9), max_size=3),
    ),
)
answers = st.lists(blocks, min_size=1, max_size=5)


@given(answers, st.integers(1, 9))
def test_a_stream_of_frames_is_the_answer_it_would_have_been(said: list[Any], pieces: int) -> None:
    """Also as botocore hands the events on, each under its name."""
    data = b"".join(frames_for(said, pieces))
    body = {"output": {"message": {"role": "assistant", "content": said}}, "stopReason": "end_turn"}
    judge, found = answer(body | {"usage": USAGE}), streamed(data)
    assert loaded(found.output) == loaded(judge.output)
    assert (found.usage, found.finish_reason, found.partial) == (USAGE, "end_turn", False)
    events = events_of("ConverseStream", data)
    assert len(events) == data.count(b":event-type")
    assert loaded(answer("\n".join(map(json.dumps, events))).output) == loaded(judge.output)


PRELUDE = 12
"""Fewer bytes do not tell that they begin a frame."""


@given(answers, st.integers(min_value=0))
def test_a_stream_that_was_cut_anywhere_is_a_part_of_the_whole(said: list[Any], cut: int) -> None:
    """Never an error; without the event that ends the message it is partial."""
    frames = frames_for([*said, {"text": "end"}])
    data = b"".join(frames)
    found = streamed(data[: PRELUDE + cut % (len(data) - PRELUDE)])
    if found.output is not None:
        whole, beginning = loaded(streamed(data).output), loaded(found.output)
        assert (whole["content"] or "").startswith(beginning["content"] or "")
        assert found.partial == (found.finish_reason is None)


@pytest.mark.parametrize("name", ["throttlingException", "modelStreamErrorException"])
def test_an_exception_in_mid_stream_is_a_failure_with_the_text_so_far(name: str) -> None:
    """The status had been 200 already."""
    found = streamed(b"".join(frames_for([{"text": "Hello"}])[:2]) + exception(name, "Sorry"))
    assert found.failure is not None
    assert (found.failure.message, found.failure.type, found.partial) == ("Sorry", name, False)
    assert loaded(found.output)["content"] == "He"


def test_a_missing_middle_is_marked_in_the_text() -> None:
    """The end still gives counts and reason."""
    frames = frames_for([{"text": "beginning"}, {"text": "the end"}])
    found = streamed(b"".join(frames[:3]), tail=b"".join(frames[-4:]))
    assert loaded(found.output)["content"] == "beginn […] d"
    assert (found.usage, found.partial) == (USAGE, False)


# -- invoke: families of models


@pytest.mark.parametrize(
    ("model", "distinctive"),
    [
        ("anthropic.claude-v2%3A1", True),
        ("us.meta.llama3-1-8b-instruct-v1%3A0", True),
        ("arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aprovisioned-model%2Fabc", True),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-lite-v1:0", True),
        ("house-prices", False),
    ],
)
def test_models_of_known_makers_are_bedrocks(model: str, distinctive: bool) -> None:
    """An `invoke` of anything else needs a second sign."""
    for action in ("invoke", "invoke-with-response-stream"):
        found = dialect_at(f"/model/{model}/{action}")
        assert (found.name, found.distinctive) == ("bedrock", distinctive)
        assert dialect_at(f"/model/{model}/converse").distinctive


def test_claude_is_read_as_claude() -> None:
    """Body, answer and stream are those of the Messages API."""
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "system": "s", "messages": []}
    path, sent = request_of("InvokeModelWithResponseStream", modelId=CLAUDE, body=json.dumps(body).encode())
    asked = ask(path, sent)
    assert (loaded(asked.input), asked.streamed) == ([{"role": "system", "content": "s"}], True)
    whole = claudes_message({"type": "text", "text": "Hello"})
    assert loaded(answer(whole, INVOKE).output) == {"role": "assistant", "content": "Hello"}
    counts = {"inputTokenCount": 12, "outputTokenCount": 4, "invocationLatency": 5, "firstByteLatency": 1}
    events = stream_of(whole)
    events[-1]["amazon-bedrock-invocationMetrics"] = counts
    data = b"".join(map(chunk, events))
    assert len(events_of("InvokeModelWithResponseStream", data)) == len(events)
    found = streamed(data, INVOKE)
    assert loaded(found.output) == {"role": "assistant", "content": "Hello"}
    assert (found.usage, found.partial) == ({"input_tokens": 12, "output_tokens": 4}, False)
    assert streamed(data[:-40], INVOKE).partial is False
    assert streamed(b"".join(map(chunk, events[:4])), INVOKE).partial


METRICS = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3, "outputTokenCount": 2}}
FAMILIES: list[tuple[str, dict[str, Any], dict[str, Any], list[dict[str, Any]], str]] = [
    (
        "amazon.titan-text-express-v1",
        {
            "inputText": "Once",
            "textGenerationConfig": {"maxTokenCount": 9, "topP": 0.5},
        },
        {
            "inputTextTokenCount": 3,
            "results": [{"tokenCount": 2, "outputText": " upon", "completionReason": "FINISH"}],
        },
        [
            {"outputText": " up", "index": 0, "completionReason": None, "inputTextTokenCount": 3},
            {"outputText": "on", "index": 0, "totalOutputTextTokenCount": 2, "completionReason": "FINISH"},
        ],
        "FINISH",
    ),
    (
        "meta.llama3-8b-instruct-v1%3A0",
        {"prompt": "Once", "max_gen_len": 9, "top_p": 0.5},
        {
            "generation": " upon",
            "prompt_token_count": 3,
            "generation_token_count": 2,
            "stop_reason": "stop",
        },
        [
            {"generation": " up", "prompt_token_count": 3, "generation_token_count": 1, "stop_reason": None},
            {"generation": "on", "generation_token_count": 2, "stop_reason": "stop"},
        ],
        "stop",
    ),
    (
        "mistral.mistral-7b-instruct-v0%3A2",
        {"prompt": "Once", "max_tokens": 9, "top_p": 0.5},
        {"outputs": [{"text": " upon", "stop_reason": "stop"}]},
        [
            {"outputs": [{"text": " up", "stop_reason": None}]},
            {"outputs": [{"text": "on", "stop_reason": "stop"}]} | METRICS,
        ],
        "stop",
    ),
    (
        "cohere.command-text-v14",
        {"prompt": "Once", "max_tokens": 9, "p": 0.5},
        {
            "generations": [{"id": "g", "text": " upon", "finish_reason": "COMPLETE"}],
            "id": "c",
            "prompt": "Once",
        },
        [
            {"text": " up", "is_finished": False},
            {"text": "on", "is_finished": False},
            {"is_finished": True, "finish_reason": "COMPLETE"} | METRICS,
        ],
        "COMPLETE",
    ),
]


@pytest.mark.parametrize(("model", "body", "whole", "events", "reason"), FAMILIES)
def test_families_that_take_a_prompt_and_give_a_text(
    model: str, body: dict[str, Any], whole: dict[str, Any], events: list[dict[str, Any]], reason: str
) -> None:
    """Streamed or not, with the same text, reason and counts."""
    asked = ask(f"/model/{model}/invoke", body)
    assert (loaded(asked.input), asked.prompt_length) == ("Once", 4)
    assert (asked.parameters["max_tokens"], asked.parameters["top_p"]) == (9, 0.5)
    found = answer(whole, INVOKE)
    assert (loaded(found.output), found.finish_reason, found.partial) == (" upon", reason, False)
    flowed = streamed(b"".join(map(chunk, events)), INVOKE)
    assert (loaded(flowed.output), flowed.finish_reason, flowed.partial) == (" upon", reason, False)
    assert usage_buckets(flowed.usage) == {"input": 3, "output": 2, "total": 5}
    assert found.usage in ({}, {"input_tokens": 3, "output_tokens": 2})
    assert streamed(chunk(events[0]), INVOKE).partial


def test_models_that_speak_like_openai_are_read_so() -> None:
    """Mistral's have Anthropic's word for why they stopped."""
    asked = ask("/model/openai.gpt-oss-20b-1%3A0/invoke", {"messages": [{"role": "user", "content": "x"}]})
    assert loaded(asked.input) == [{"role": "user", "content": "x"}]
    choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "stop_reason": "stop"}
    found = answer({"choices": [choice], "model": "mistral-large"}, INVOKE)
    assert (loaded(found.output)["content"], found.finish_reason) == ("hi", "stop")
    pieces = [{"choices": [{"index": 0, "message": {"role": "assistant", "content": each}}]} for each in "hi"]
    pieces.append({"choices": [{"index": 0, "message": {"content": ""}, "stop_reason": "stop"}]} | METRICS)
    flowed = streamed(b"".join(map(chunk, pieces)), INVOKE)
    assert (loaded(flowed.output)["content"], flowed.finish_reason, flowed.partial) == ("hi", "stop", False)
    assert usage_buckets(flowed.usage)["input"] == 3


def test_nova_speaks_converse_on_invoke_too() -> None:
    """Its events are wrapped in their names."""
    body = {"schemaVersion": "messages-v1", "messages": [{"role": "user", "content": [{"text": "x"}]}]}
    asked = ask("/model/amazon.nova-lite-v1%3A0/invoke", body | {"inferenceConfig": {"max_new_tokens": 9}})
    assert loaded(asked.input) == [{"role": "user", "content": "x"}]
    assert asked.parameters == {"max_tokens": 9}
    events = [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"delta": {"text": "hi"}, "contentBlockIndex": 0}},
        {"messageStop": {"stopReason": "end_turn"}},
        {"metadata": {"usage": {"inputTokens": 3, "outputTokens": 2, "cacheReadInputTokenCount": 7}}},
    ]
    found = streamed(b"".join(map(chunk, events)), INVOKE)
    assert (loaded(found.output), found.partial) == ({"role": "assistant", "content": "hi"}, False)
    assert usage_buckets(found.usage) == {"input": 3, "input_cached_tokens": 7, "output": 2, "total": 12}


@pytest.mark.parametrize(
    ("body", "whole", "count"),
    [
        ({"inputText": "ab", "dimensions": 3}, {"embedding": [0.1, 0.2, 0.3], "inputTextTokenCount": 4}, 1),
        ({"texts": ["a", "b"]}, {"id": "e", "embeddings": [[1, 2, 3], [1, 2, 3]]}, 2),
        ({"texts": ["a", "b"]}, {"embeddings": {"int8": [[1, 2, 3], [1, 2, 3]]}}, 2),
    ],
)
def test_vectors_stay_behind_and_are_counted(body: dict[str, Any], whole: dict[str, Any], count: int) -> None:
    """Titan's and Cohere's."""
    dialect = dialect_at("/model/amazon.titan-embed-text-v2%3A0/invoke")
    assert (dialect.type, dialect.operation) == ("embedding", "embedding")
    asked = ask("/model/amazon.titan-embed-text-v2%3A0/invoke", body)
    assert (loaded(asked.input), asked.prompt_length) == (body.get("inputText") or body["texts"], 2)
    found = answer(whole, dialect)
    assert loaded(found.output) == {"count": count, "dimensions": 3}
    assert usage_buckets(found.usage).get("input") == whole.get("inputTextTokenCount")


# -- anything


MEMBERS = """
    type role content text image document format source bytes toolUse toolResult toolUseId name input
    json reasoningContent reasoningText redactedContent signature citationsContent citations
    guardContent system messages toolConfig tools toolSpec inputSchema inferenceConfig output message
    stopReason usage trace promptRouter invokedModelId contentBlockIndex start delta contentBlockDelta
    contentBlockStart messageStop metadata error throttlingException cacheDetails ttl inputTokens
    results outputText outputs generations generation completion choices embedding embeddings inputText
    texts prompt textGenerationConfig
""".split()  # noqa: SIM905 - a list of words
near_values = st.recursive(
    json_values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=6),
    max_leaves=20,
)
near_objects = st.dictionaries(st.sampled_from(MEMBERS), near_values, max_size=8)
dialects = st.sampled_from([CONVERSE, INVOKE, dialect_at("/model/amazon.titan-embed-v1/invoke")])


@given(near_objects, dialects)
def test_no_json_makes_a_reader_raise(body: dict[str, Any], dialect: Dialect) -> None:
    """Members of the right name with values of any kind."""
    for reader in (dialect, None):
        loaded(read_request(Sketch(Body(json.dumps(body))), reader)[1].input)
    found = answer(body, dialect)
    loaded(found.output)
    usage_buckets(found.usage)
    dialect.read_response(Sketch(Body(json.dumps(body))).fields or {})


@given(st.lists(near_objects, min_size=1, max_size=6), dialects)
def test_no_event_makes_a_reader_raise(events: list[dict[str, Any]], dialect: Dialect) -> None:
    """Events of any members."""
    sketch = Sketch(Body(sse(*events)))
    assert sketch.stream is not None
    found = dialect.read_events(sketch.stream)
    loaded(found.output)
    usage_buckets(found.usage)


# -- from the line to the observation


def test_a_captured_stream_has_all_of_it() -> None:
    """The frames are no text, so the capture writes them in base64."""
    path, body = request_of(
        "ConverseStream", modelId=CLAUDE, messages=[{"role": "user", "content": [{"text": "hi"}]}]
    )
    data = b"".join(frames_for([{"text": "Hello"}]))
    headers = {"content-type": "application/vnd.amazon.eventstream"}
    found = call(
        upstream_uri=path,
        request=request(path),
        response={"status": 200, "headers": headers},
        capture=capture(body, response_b64=b64encode(data).decode()),
    ).observation
    assert (found.provider, found.model, found.name) == ("bedrock", CLAUDE, f"chat {CLAUDE}")
    assert loaded(found.output) == {"role": "assistant", "content": "Hello"}
    assert (found.usage_details["input_cached_tokens"], found.metadata["streaming"]) == (2000, True)


def test_headers_count_where_no_body_does() -> None:
    """Those of the cache, too."""
    counts = {
        "x-amzn-bedrock-input-token-count": "3",
        "x-amzn-bedrock-output-token-count": "2",
        "x-amzn-bedrock-cache-read-input-token-count": "7",
    }
    path = "/model/anthropic.claude-v2%3A1/invoke"
    found = call(
        upstream_uri=path,
        request=request(path),
        response={"status": 200, "headers": counts},
    ).observation
    assert found.usage_details == {"input": 3, "input_cached_tokens": 7, "output": 2, "total": 12}
    assert (found.model, found.metadata["usage_source"]) == ("anthropic.claude-v2:1", "provider")


def test_a_call_that_kong_translated_is_read_on_both_sides() -> None:
    """From 3.9 on the request is Converse's and the answer OpenAI's; the path tells that it was a stream."""
    path, body = request_of(
        "ConverseStream",
        modelId=CLAUDE,
        system=[{"text": "s"}],
        messages=[{"role": "user", "content": [{"text": "hi"}]}],
        inferenceConfig={"maxTokens": 9},
    )
    answered = {"object": "chat.completion", "choices": CHAT_ANSWER["choices"], "response": "hello"}
    found = call(
        upstream_uri=path,
        ai={
            "proxy": {
                "meta": {"provider_name": "bedrock", "request_model": CLAUDE},
                "usage": {"prompt_tokens": 18, "completion_tokens": 6},
                "payload": {"request": json.dumps(body), "response": json.dumps(answered)},
            }
        },
    ).observation
    assert loaded(found.input) == [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}]
    assert loaded(found.output) == {"role": "assistant", "content": "hello"}
    assert found.model_parameters == {"max_tokens": 9}
    assert (found.metadata["streaming"], found.metadata["usage_source"]) == (True, "kong_estimate")
