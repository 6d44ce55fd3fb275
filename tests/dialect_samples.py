"""What each provider is asked and answers, whole and streamed, as its own documents and SDKs have it.

One `Sample` is one API of one provider. `whole` is the answer at once, `events` the same answer streamed;
both must give the same message. `error` is what the stream has in place of its end when it fails.
"""

from __future__ import annotations

import json
from typing import Any

from msgspec import Struct, field

from bedrock_wire import chunk as bedrock_chunk
from bedrock_wire import exception
from kong_ai_tracing.bodies import inflated
from reading import call, json_lines, thought

USER = [{"role": "user", "content": "hi"}]
HI = {"role": "assistant", "content": "Hi there"}


class Sample(Struct, frozen=True, kw_only=True):
    """One API of one provider, and what its bodies say."""

    name: str
    provider: str
    host: str
    path: str
    request: dict[str, Any]
    whole: Any
    events: list[dict[str, Any]]
    style: str = "sse"
    """How the events are written: sse, sse+done, lines, list, frames."""
    error: dict[str, Any] = field(default_factory=lambda: {"error": {"message": "overloaded", "code": 529}})
    message: str = "overloaded"
    input: Any = field(default_factory=lambda: USER)
    output: Any = field(default_factory=lambda: HI)
    model: str = "m"
    usage: dict[str, int] = field(default_factory=lambda: {"input": 3, "output": 2, "total": 5})
    finish_reason: str = "stop"
    parameters: dict[str, Any] = {}
    endless: bool = False
    """Whether the stream has no mark for its end, so that nobody can tell that it was cut."""

    def stream(self, events: list[dict[str, Any]] | None = None, *, ended: bool = True) -> str:
        """The body of the streamed answer."""
        events = self.events if events is None else events
        if self.style == "lines":
            return json_lines(*events)
        if self.style == "list":
            return "[" + "\n,\r\n".join(map(json.dumps, events)) + ("]" if ended else "")
        if self.style == "frames":
            frames = [
                exception("modelStreamErrorException", e["message"])
                if "message" in e and len(e) == 1
                else bedrock_chunk(e)
                for e in events
            ]
            return inflated(b"".join(frames), None).text or ""
        named = "".join(
            (f"event: {e['type']}\n" if "type" in e else "") + f"data: {json.dumps(e)}\n\n" for e in events
        )
        return named + ("data: [DONE]\n\n" if ended and self.style == "sse+done" else "")


def chat(message: dict[str, Any], usage: Any, reason: str = "stop", **more: Any) -> dict[str, Any]:
    """An answer in OpenAI's form."""
    choice = {"index": 0, "message": {"role": "assistant"} | message, "finish_reason": reason}
    return {"id": "c1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage} | more


def piece(delta: dict[str, Any], reason: str | None = None, **more: Any) -> dict[str, Any]:
    """One event of a streamed chat."""
    choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]} | more


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
TEXTS = [piece({"role": "assistant", "content": ""}), piece({"content": "Hi"}), piece({"content": " there"})]
END = piece({}, "stop")
COUNTED = {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [], "usage": USAGE}
ASKED = {"model": "m", "messages": USER, "stream": True}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": {"type": "object"}}}
THOUGHT = {"thinking": thought("Hmm.")}
CITED = {"citations": ["https://a"], "search_results": [{"title": "A", "url": "https://a"}]}
XAI_USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 2,
    "total_tokens": 105,
    "completion_tokens_details": {"reasoning_tokens": 100},
}
DEEPSEEK_USAGE = {
    "prompt_tokens": 30,
    "completion_tokens": 12,
    "total_tokens": 42,
    "prompt_cache_hit_tokens": 20,
    "prompt_cache_miss_tokens": 10,
    "completion_tokens_details": {"reasoning_tokens": 10},
}


def compatible(name: str, host: str, path: str, **changes: Any) -> Sample:
    """One of the many that speak like OpenAI."""
    given: dict[str, Any] = {
        "name": name,
        "provider": name,
        "host": host,
        "path": path,
        "request": ASKED,
        "whole": chat({"content": "Hi there"}, USAGE),
        "events": [*TEXTS, END, COUNTED],
        "style": "sse+done",
    }
    return Sample(**(given | changes))


_DETAIL = {"type": "reasoning.text", "index": 0, "format": "anthropic-claude-v1"}
_BLOCK = {"type": "thinking", "signature": ""}
_GEMINI_USAGE = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}


def _candidate(text: str, **more: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": text}]}
    return {"candidates": [{"index": 0, "content": content} | more], "modelVersion": "m"}


_CLAUDE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
_CLAUDE_USAGE = {"input_tokens": 3, "output_tokens": 2}
_CLAUDE_EVENTS = [
    {
        "type": "message_start",
        "message": _CLAUDE | {"content": [], "stop_reason": None, "usage": {"input_tokens": 3}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " there"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
_RESPONSE = {"id": "r", "object": "response", "model": "m", "status": "completed", "error": None}
_ITEM = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi there"}]}
_RESPONSES_WHOLE = _RESPONSE | {"output": [_ITEM], "usage": _CLAUDE_USAGE}
_METRICS = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3, "outputTokenCount": 2}}
_BEDROCK = "bedrock-runtime.eu-west-1.amazonaws.com"


def _delta(text: str) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": text}


def bedrock(name: str, model_id: str, **given: Any) -> Sample:
    """A family of models on Bedrock's invoke."""
    path = f"/model/{model_id}/invoke-with-response-stream"
    settings: dict[str, Any] = {"message": "overloaded", "error": {"message": "overloaded"}}
    given = settings | {"style": "frames", "model": model_id} | given
    return Sample(name=name, provider="bedrock", host=_BEDROCK, path=path, **given)


SAMPLES = [
    compatible(
        "openai",
        "api.openai.com",
        "/v1/chat/completions",
        request=ASKED | {"response_format": SCHEMA},
        parameters={"response_format": SCHEMA},
    ),
    compatible(
        "azure",
        "x.openai.azure.com",
        "/openai/deployments/prod-gpt/chat/completions",
        request={"messages": USER, "stream": True},
        events=[{"choices": [], "prompt_filter_results": [{"prompt_index": 0}]}, *TEXTS, END, COUNTED],
    ),
    compatible(
        "groq",
        "api.groq.com",
        "/openai/v1/chat/completions",
        whole=chat({"content": "Hi there", "reasoning": "Hmm."}, USAGE, x_groq={"id": "r"}),
        events=[
            piece({"reasoning": "Hm", "content": ""}),
            piece({"reasoning": "m."}),
            *TEXTS,
            piece({}, "stop", x_groq={"id": "r", "usage": USAGE}),
        ],
        output=HI | THOUGHT,
    ),
    compatible(
        "deepseek",
        "api.deepseek.com",
        "/chat/completions",
        whole=chat({"content": "Hi there", "reasoning_content": "Hmm."}, DEEPSEEK_USAGE),
        events=[
            piece({"role": "assistant", "content": None, "reasoning_content": "Hm"}),
            piece({"content": None, "reasoning_content": "m."}),
            piece({"content": "Hi", "reasoning_content": None}),
            piece({"content": " there"}),
            piece({"content": "", "reasoning_content": None}, "stop", usage=DEEPSEEK_USAGE),
        ],
        output=HI | THOUGHT,
        usage={
            "input": 10,
            "input_cached_tokens": 20,
            "output": 2,
            "output_reasoning_tokens": 10,
            "total": 42,
        },
    ),
    compatible(
        "xai",
        "api.x.ai",
        "/v1/chat/completions",
        whole=chat({"content": "Hi there", "reasoning_content": "Hmm."}, XAI_USAGE, citations=["u"]),
        events=[
            piece({"reasoning_content": "Hmm.", "role": "assistant"}),
            *TEXTS,
            END,
            COUNTED | {"usage": XAI_USAGE, "citations": ["u"]},
        ],
        output=HI | THOUGHT | {"citations": ["u"]},
        usage={"input": 3, "output": 2, "output_reasoning_tokens": 100, "total": 105},
    ),
    compatible(
        "together",
        "api.together.xyz",
        "/v1/chat/completions",
        whole=chat({"content": "Hi there", "tool_calls": []}, USAGE, prompt=[]),
        events=[
            {
                "id": "c1",
                "model": "m",
                "choices": [
                    {
                        "index": 0,
                        "text": t,
                        "logprobs": None,
                        "finish_reason": None,
                        "delta": {"token_id": 1, "role": "assistant", "content": t},
                    }
                ],
            }
            for t in ("Hi", " there")
        ]
        + [piece({"content": ""}, "stop", usage=USAGE)],
    ),
    compatible(
        "fireworks",
        "api.fireworks.ai",
        "/inference/v1/chat/completions",
        request=ASKED | {"response_format": SCHEMA, "reasoning_effort": "low"},
        parameters={"response_format": SCHEMA, "reasoning_effort": "low"},
        events=[*TEXTS, piece({}, "stop", usage=USAGE)],
    ),
    compatible(
        "perplexity",
        "api.perplexity.ai",
        "/chat/completions",
        whole=chat({"content": "Hi there"}, USAGE, **CITED),
        events=[each | CITED for each in TEXTS] + [piece({}, "stop", usage=USAGE, **CITED)],
        style="sse",
        output=HI | CITED,
    ),
    compatible(
        "openrouter",
        "openrouter.ai",
        "/api/v1/chat/completions",
        whole=chat(
            {
                "content": "Hi there",
                "reasoning": "Hmm.",
                "reasoning_details": [_DETAIL | {"text": "Hmm.", "signature": "s"}],
            },
            USAGE,
        ),
        events=[
            piece({"content": "", "reasoning": "Hm", "reasoning_details": [_DETAIL | {"text": "Hm"}]}),
            piece(
                {
                    "content": "",
                    "reasoning": "m.",
                    "reasoning_details": [_DETAIL | {"text": "m.", "signature": "s"}],
                }
            ),
            *TEXTS,
            END,
            COUNTED,
        ],
        error={
            "id": "c1",
            "model": "m",
            "error": {"code": 502, "message": "overloaded"},
            "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
        },
        output=HI | {"thinking": [{"type": "thinking", "content": "Hmm.", "signature": "s"}]},
    ),
    compatible(
        "mistral",
        "api.mistral.ai",
        "/v1/chat/completions",
        whole=chat(
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Hmm."}]},
                    {"type": "text", "text": "Hi there"},
                ]
            },
            USAGE,
        ),
        events=[
            piece(
                {
                    "role": "assistant",
                    "content": [{"type": "thinking", "thinking": [{"type": "text", "text": t}]}],
                }
            )
            for t in ("Hm", "m.")
        ]
        + [
            piece({"content": "Hi"}),
            piece({"content": " there"}),
            piece({"content": ""}, "stop", usage=USAGE),
        ],
        error={"object": "error", "message": "overloaded", "type": "x", "code": "3505"},
        output=HI | THOUGHT,
    ),
    compatible(
        "litellm",
        "litellm",
        "/v1/chat/completions",
        whole=chat(
            {
                "content": "Hi there",
                "reasoning_content": "Hmm.",
                "tool_calls": None,
                "thinking_blocks": [{"type": "thinking", "thinking": "Hmm.", "signature": "s"}],
            },
            USAGE,
        ),
        events=[
            piece({"reasoning_content": "Hm", "thinking_blocks": [_BLOCK | {"thinking": "Hm"}]}),
            piece({"reasoning_content": "m.", "thinking_blocks": [_BLOCK | {"thinking": "m."}]}),
            piece(
                {"reasoning_content": "", "thinking_blocks": [_BLOCK | {"thinking": "", "signature": "s"}]}
            ),
            *TEXTS,
            END,
            COUNTED,
        ],
        output=HI | {"thinking": [{"type": "thinking", "content": "Hmm.", "signature": "s"}]},
    ),
    compatible(
        "vllm",
        "vllm",
        "/v1/chat/completions",
        whole=chat(
            {"content": "Hi there", "reasoning_content": None, "tool_calls": []}, USAGE, prompt_logprobs=None
        ),
        error={"object": "error", "message": "overloaded", "type": "InternalServerError", "code": 500},
    ),
    Sample(
        name="vllm generate",
        provider="vllm",
        host="vllm",
        path="/generate",
        request={"prompt": "Once", "max_tokens": 9, "stream": True},
        input="Once",
        output="Once upon a time",
        whole={"text": ["Once upon a time"]},
        style="lines",
        finish_reason="",
        model="",
        usage={},
        endless=True,
        events=[{"text": ["Once upon"]}, {"text": ["Once upon a time"]}],
    ),
    Sample(
        name="responses",
        provider="openai",
        host="api.openai.com",
        path="/v1/responses",
        request={"model": "m", "input": "hi", "stream": True, "text": {"format": {"type": "json_object"}}},
        parameters={"response_format": {"type": "json_object"}},
        whole=_RESPONSES_WHOLE,
        finish_reason="completed",
        events=[
            {"type": "response.created", "response": _RESPONSE | {"status": "in_progress", "output": []}},
            {"type": "response.output_item.added", "output_index": 0, "item": _ITEM | {"content": []}},
            _delta("Hi"),
            _delta(" there"),
            {"type": "response.completed", "response": _RESPONSES_WHOLE},
        ],
        error={"type": "error", "code": "server_error", "message": "overloaded", "param": None},
    ),
    Sample(
        name="anthropic",
        provider="anthropic",
        host="api.anthropic.com",
        path="/v1/messages",
        request={"model": "m", "max_tokens": 9, "messages": USER, "stream": True},
        whole=_CLAUDE
        | {
            "content": [{"type": "text", "text": "Hi there"}],
            "stop_reason": "end_turn",
            "usage": _CLAUDE_USAGE,
        },
        events=_CLAUDE_EVENTS,
        finish_reason="end_turn",
        error={"type": "error", "error": {"type": "overloaded_error", "message": "overloaded"}},
    ),
    *(
        Sample(
            name=f"gemini {style}",
            provider="gemini",
            host="generativelanguage.googleapis.com",
            path="/v1beta/models/m:streamGenerateContent",
            style=style,
            finish_reason="STOP",
            request={
                "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
                "generationConfig": {"responseSchema": {"type": "OBJECT"}},
            },
            parameters={"response_schema": {"type": "OBJECT"}},
            whole=_candidate("Hi there", finishReason="STOP") | {"usageMetadata": _GEMINI_USAGE},
            events=[
                _candidate("Hi"),
                _candidate(" there", finishReason="STOP") | {"usageMetadata": _GEMINI_USAGE},
            ],
            error={"error": {"code": 503, "status": "UNAVAILABLE", "message": "overloaded"}},
        )
        for style in ("sse", "list")
    ),
    Sample(
        name="cohere 2023",
        provider="cohere",
        host="api.cohere.com",
        path="/v1/chat",
        style="lines",
        request={"model": "m", "message": "hi", "stream": True},
        model="m",
        finish_reason="COMPLETE",
        whole={
            "text": "Hi there",
            "generation_id": "g",
            "finish_reason": "COMPLETE",
            "meta": {"billed_units": {"input_tokens": 3, "output_tokens": 2}},
        },
        events=[
            {"is_finished": False, "event_type": "stream-start", "generation_id": "g"},
            {"is_finished": False, "event_type": "text-generation", "text": "Hi"},
            {"is_finished": False, "event_type": "text-generation", "text": " there"},
            {
                "is_finished": True,
                "event_type": "stream-end",
                "finish_reason": "COMPLETE",
                "response": {
                    "text": "Hi there",
                    "finish_reason": "COMPLETE",
                    "meta": {"billed_units": {"input_tokens": 3, "output_tokens": 2}},
                },
            },
        ],
        error={
            "is_finished": True,
            "event_type": "stream-end",
            "finish_reason": "ERROR",
            "error": "overloaded",
        },
    ),
    Sample(
        name="cohere 2024",
        provider="cohere",
        host="api.cohere.com",
        path="/v2/chat",
        request={"model": "m", "messages": USER, "stream": True},
        finish_reason="COMPLETE",
        whole={
            "id": "c",
            "finish_reason": "COMPLETE",
            "usage": {"tokens": _CLAUDE_USAGE},
            "message": {"role": "assistant", "content": [{"type": "text", "text": "Hi there"}]},
        },
        events=[
            {"type": "message-start", "id": "c", "delta": {"message": {"role": "assistant"}}},
            {
                "type": "content-start",
                "index": 0,
                "delta": {"message": {"content": {"type": "text", "text": ""}}},
            },
            *(
                {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": t}}}}
                for t in ("Hi", " there")
            ),
            {"type": "content-end", "index": 0},
            {
                "type": "message-end",
                "delta": {"finish_reason": "COMPLETE", "usage": {"tokens": _CLAUDE_USAGE}},
            },
        ],
        error={"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "overloaded"}},
    ),
    Sample(
        name="ollama",
        provider="ollama",
        host="ollama",
        path="/api/chat",
        style="lines",
        request={"model": "m", "messages": USER, "format": {"type": "object"}, "options": {"seed": 1}},
        parameters={"format": {"type": "object"}, "seed": 1},
        whole={
            "model": "m",
            "message": HI,
            "done": True,
            "done_reason": "stop",
            "prompt_eval_count": 3,
            "eval_count": 2,
        },
        events=[
            *(
                {"model": "m", "message": {"role": "assistant", "content": t}, "done": False}
                for t in ("Hi", " there")
            ),
            {
                "model": "m",
                "message": {"role": "assistant", "content": ""},
                "done": True,
                "done_reason": "stop",
                "prompt_eval_count": 3,
                "eval_count": 2,
            },
        ],
        error={"error": "overloaded"},
    ),
    Sample(
        name="tgi",
        provider="tgi",
        host="tgi",
        path="/generate_stream",
        model="",
        request={"inputs": "hi", "parameters": {"grammar": {"type": "json", "value": {"type": "object"}}}},
        parameters={"grammar": {"type": "json", "value": {"type": "object"}}},
        input="hi",
        output="Hi there",
        finish_reason="eos_token",
        whole={
            "generated_text": "Hi there",
            "details": {"finish_reason": "eos_token", "input_length": 3, "generated_tokens": 2},
        },
        events=[
            {"token": {"text": "Hi", "special": False}, "generated_text": None},
            {
                "token": {"text": " there", "special": False},
                "generated_text": "Hi there",
                "details": {"finish_reason": "eos_token", "input_length": 3, "generated_tokens": 2},
            },
        ],
        error={"error": "overloaded", "error_type": "overloaded"},
    ),
    Sample(
        name="llama.cpp",
        provider="llama.cpp",
        host="llama-cpp",
        path="/completion",
        model="",
        request={"prompt": "hi", "json_schema": {"type": "object"}, "stream": True},
        input="hi",
        parameters={"json_schema": {"type": "object"}},
        output="Hi there",
        finish_reason="eos",
        whole={
            "content": "Hi there",
            "stop": True,
            "stop_type": "eos",
            "tokens_evaluated": 3,
            "tokens_predicted": 2,
        },
        events=[
            {"content": "Hi", "stop": False},
            {"content": " there", "stop": False},
            {"content": "", "stop": True, "stop_type": "eos", "tokens_evaluated": 3, "tokens_predicted": 2},
        ],
    ),
    bedrock(
        "bedrock claude",
        "anthropic.claude-3-haiku-20240307-v1:0",
        request={"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": USER},
        whole=_CLAUDE
        | {
            "content": [{"type": "text", "text": "Hi there"}],
            "stop_reason": "end_turn",
            "usage": _CLAUDE_USAGE,
        },
        events=[*_CLAUDE_EVENTS[:-1], _CLAUDE_EVENTS[-1] | _METRICS],
        finish_reason="end_turn",
        model="m",
    ),
    bedrock(
        "bedrock command r",
        "cohere.command-r-v1:0",
        request={"message": "hi", "chat_history": [], "preamble": "", "p": 0.5, "max_tokens": 9},
        parameters={"top_p": 0.5, "max_tokens": 9},
        whole={
            "text": "Hi there",
            "generation_id": "g",
            "response_id": "r",
            "finish_reason": "COMPLETE",
            "chat_history": [{"role": "USER", "message": "hi"}],
        },
        events=[
            {"event_type": "stream-start", "is_finished": False, "generation_id": "g"},
            {"event_type": "text-generation", "is_finished": False, "text": "Hi"},
            {"event_type": "text-generation", "is_finished": False, "text": " there"},
            {
                "event_type": "stream-end",
                "is_finished": True,
                "finish_reason": "COMPLETE",
                "response": {"text": "Hi there", "generation_id": "g", "finish_reason": "COMPLETE"},
            }
            | _METRICS,
        ],
        finish_reason="COMPLETE",
    ),
    bedrock(
        "bedrock llama",
        "meta.llama3-8b-instruct-v1:0",
        request={"prompt": "hi", "max_gen_len": 9},
        parameters={"max_tokens": 9},
        input="hi",
        output="Hi there",
        whole={
            "generation": "Hi there",
            "prompt_token_count": 3,
            "generation_token_count": 2,
            "stop_reason": "stop",
        },
        events=[
            {"generation": "Hi", "prompt_token_count": 3, "generation_token_count": 1, "stop_reason": None},
            {"generation": " there", "generation_token_count": 2, "stop_reason": "stop"} | _METRICS,
        ],
    ),
    bedrock(
        "bedrock mistral",
        "mistral.mistral-7b-instruct-v0:2",
        request={"prompt": "hi", "max_tokens": 9},
        input="hi",
        output="Hi there",
        whole={"outputs": [{"text": "Hi there", "stop_reason": "stop"}]},
        events=[
            {"outputs": [{"text": "Hi", "stop_reason": None}]},
            {"outputs": [{"text": " there", "stop_reason": "stop"}]} | _METRICS,
        ],
    ),
    bedrock(
        "bedrock titan",
        "amazon.titan-text-express-v1",
        input="hi",
        output="Hi there",
        request={"inputText": "hi", "textGenerationConfig": {"maxTokenCount": 9}},
        parameters={"max_tokens": 9},
        finish_reason="FINISH",
        whole={
            "inputTextTokenCount": 3,
            "results": [{"outputText": "Hi there", "tokenCount": 2, "completionReason": "FINISH"}],
        },
        events=[
            {"outputText": "Hi", "index": 0, "completionReason": None, "inputTextTokenCount": 3},
            {
                "outputText": " there",
                "index": 0,
                "completionReason": "FINISH",
                "totalOutputTextTokenCount": 2,
            },
        ],
    ),
    bedrock(
        "bedrock jamba",
        "ai21.jamba-1-5-mini-v1:0",
        request={"messages": USER, "max_tokens": 9},
        whole=chat({"content": "Hi there"}, USAGE),
        events=[*TEXTS, END | _METRICS],
        model="m",
    ),
    bedrock(
        "bedrock jurassic",
        "ai21.j2-mid-v1",
        request={"prompt": "hi", "maxTokens": 9, "topP": 0.5},
        parameters={"max_tokens": 9, "top_p": 0.5},
        input="hi",
        output="Hi there",
        finish_reason="endoftext",
        whole={
            "id": 1,
            "completions": [{"data": {"text": "Hi there"}, "finishReason": {"reason": "endoftext"}}],
        },
        events=[],
    ),
]

CALLS = [call("a", '{"x": 1}', id="1"), call("b", '{"y": 2}', id="2")]
