"""Is a request to a plain service a call to a model, and who answers it?"""

from __future__ import annotations

import gzip
from base64 import b64encode
from typing import Any

import pytest

from kong_entries import CHAT_ANSWER, CHAT_REQUEST, calls, capture, request, sse

COMPLETION = {"model": "m", "prompt": "x"}


def is_call(**changes: Any) -> bool:
    return bool(calls(**changes))


def at(path: str, **changes: Any) -> dict[str, Any]:
    """Changes for a request to a path that nothing else speaks for."""
    head = request(path)
    return {"request": head, "upstream_uri": path, "service": {"name": "a", "host": "a.internal"}} | changes


def test_a_json_post_to_chat_completions_is_enough() -> None:
    """No other API has that path."""
    assert is_call()
    assert is_call(upstream_uri="", source="kong", response={"status": 404})


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "DELETE", "HEAD", ""])
def test_only_a_post_calls_a_model(method: str) -> None:
    """Lists of models, stored answers and CORS go the other way."""
    assert not is_call(request=request() | {"method": method})


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/files", "/chat/completions-report", "/orders", "", "/v1/messages/batches"]
)
def test_other_paths_are_other_traffic(path: str) -> None:
    """Whoever the client is."""
    assert not is_call(request=request(path, user_agent="OpenAI/Python 1.68.2"), upstream_uri=path)


AMBIGUOUS = ["/v1/completions", "/v1/embeddings", "/v1/responses", "/generate", "/api/chat", "/v1/messages"]


@pytest.mark.parametrize("path", AMBIGUOUS)
def test_a_path_that_others_use_too_needs_a_second_sign(path: str) -> None:
    """An internal search may own `/v1/completions`."""
    assert not is_call(**at(path))


@pytest.mark.parametrize("path", AMBIGUOUS)
@pytest.mark.parametrize(
    "sign",
    [
        {"service": {"host": "api.openai.com"}},
        {"service": {"host": "eu.openai.azure.com"}},
        {"service": {"host": "bedrock-runtime.us-east-1.amazonaws.com"}},
        {"service": {"host": "vpce-1-a.bedrock-runtime.us-east-1.vpce.amazonaws.com"}},
        {"service": {"host": "bedrock-mantle.us-east-1.api.aws"}},
        {"service": {"name": "vllm", "host": "10.0.0.1"}},
        {"service": {"name": "a", "host": "ollama.internal"}},
        {"service": {"host": "10.0.0.1", "port": 11434}},
        {"route": {"name": "team-llm"}},
        {"tries": [{"ip": "10.0.0.1", "port": 11434}]},
        {"response": {"status": 200, "headers": {"openai-organization": "o"}}},
        {"response": {"status": 200, "headers": {"anthropic-ratelimit-requests-limit": "1"}}},
        {"response": {"status": 200, "headers": {"llm_provider-x": "1"}}},
        {"response": {"status": 200, "headers": {"x-request-id": "req_1"}}},
        {"response": {"status": 200, "headers": {"x-kong-llm-model": "openai/gpt-4o"}}},
        {"response": {"status": 200, "headers": {"content-type": "text/event-stream; charset=utf-8"}}},
    ],
)
def test_each_second_sign_will_do(path: str, sign: dict[str, Any]) -> None:
    """Host, port, names, headers of the answer, a stream."""
    assert is_call(**(at(path) | sign))


@pytest.mark.parametrize(
    "headers",
    [
        {"user_agent": "OpenAI/Python 1.68.2"},
        {"user_agent": "AsyncAnthropic/JS 0.3"},
        {"x_stainless_lang": "python"},
        {"anthropic_version": "2023-06-01"},
    ],
)
def test_a_client_made_for_models_is_a_sign_too(headers: dict[str, str]) -> None:
    """The SDKs name themselves."""
    assert is_call(**at("/v1/completions", request=request("/v1/completions", **headers)))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", COMPLETION),
        ("/v1/completions", {"prompt": "x", "max_tokens": 5}),
        ("/v1/embeddings", {"model": "m", "input": "x"}),
        ("/v1/responses", {"model": "m", "input": "x"}),
        ("/generate", {"inputs": "x"}),
        ("/api/chat", CHAT_REQUEST),
    ],
)
def test_a_body_of_the_right_shape_is_a_second_sign(path: str, body: Any) -> None:
    """Captured, whatever else the line says."""
    assert is_call(**at(path, capture=capture(body)))


@pytest.mark.parametrize("path", ["/v1/chat/completions", *AMBIGUOUS])
def test_a_body_of_another_shape_means_no(path: str) -> None:
    """Even with a client made for models."""
    agent = request(path, user_agent="OpenAI/Python 1.68.2")
    assert not is_call(**at(path, request=agent, capture=capture({"rooms": ["a"]}, {"ok": True})))
    assert not is_call(**at(path, request=agent, capture=capture(None, {"ok": True})))


def test_an_answer_of_the_right_shape_outweighs_an_odd_request() -> None:
    """The model server took it."""
    assert is_call(capture=capture({"bad": 1}, CHAT_ANSWER))
    assert is_call(**at("/v1/completions", capture=capture(None, {"model": "m", "choices": [{"text": "x"}]})))
    stream = sse({"choices": [{"index": 0, "text": "x"}]}, "[DONE]")
    assert is_call(**at("/v1/completions", capture=capture(None, stream=stream)))


def test_a_body_that_a_provider_refused_is_a_failed_call() -> None:
    """A known provider said no to a request that made no sense."""
    refused = capture({"x": 1}, {"error": {"message": "missing messages"}})
    assert is_call(capture=refused, service={"host": "api.openai.com"}, response={"status": 400})
    assert not is_call(capture=refused, response={"status": 400})


def test_shapes_are_seen_through_compression() -> None:
    """A gzipped answer confirms like a plain one."""
    body = b64encode(gzip.compress(b'{"model":"m","choices":[{"text":"x"}]}')).decode()
    response = {"status": 200, "headers": {"content-encoding": "gzip"}}
    assert is_call(**at("/v1/completions", response=response, capture={"response_b64": body}))


def test_what_kong_refused_is_a_failed_call() -> None:
    """Nothing was proxied, and still somebody called a model."""
    assert is_call(source="kong", response={"status": 401}, tries=[], upstream_status="")


@pytest.mark.parametrize(
    ("changes", "provider"),
    [
        ({}, "openai_compatible"),
        ({"service": {"host": "api.openai.com"}}, "openai"),
        ({"service": {"host": "my.openai.azure.com"}}, "azure"),
        ({"service": {"host": "api.groq.com"}}, "groq"),
        ({"service": {"host": "europe-west1-aiplatform.googleapis.com"}}, "vertex"),
        ({"service": {"host": "notapi.openai.com.evil.example"}}, "openai_compatible"),
        ({"service": {"name": "vllm", "host": "10.0.0.1"}}, "vllm"),
        ({"service": {"name": "team-llm", "host": "10.0.0.1"}}, "openai_compatible"),
        (
            {"response": {"status": 200, "headers": {"x-litellm-call-id": "1", "openai-version": "1"}}},
            "litellm",
        ),
        ({"response": {"status": 200, "headers": {"x-kong-llm-model": "mistral/tiny"}}}, "mistral"),
        ({"upstream_uri": "/api/chat", "service": {"host": "x", "port": 11434}}, "ollama"),
    ],
)
def test_the_provider_is_named_by_the_surest_sign(changes: dict[str, Any], provider: str) -> None:
    """Host before headers before names; an OpenAI path alone says only what it is compatible with."""
    [call] = calls(**changes)
    assert call.observation.provider == provider


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/openai/deployments/gpt4o-eu/chat/completions", "gpt4o-eu"),
        ("/v1beta/models/gemini-2.0-flash:generateContent", "gemini-2.0-flash"),
        ("/model/anthropic.claude-v2%3A1/converse", "anthropic.claude-v2:1"),
        ("/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A%3Afoundation-model%2Fa.b-v1%3A0/converse", "a.b-v1:0"),
        ("/model/arn:aws:bedrock:eu-west-1:1:inference-profile/eu.a.b-v1:0/invoke", "eu.a.b-v1:0"),
        (
            "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Aprovisioned-model%2Fabc/invoke",
            "arn:aws:bedrock:eu-west-1:1:provisioned-model/abc",
        ),
    ],
)
def test_some_apis_name_the_model_in_the_path(path: str, model: str) -> None:
    """Without a body it is all there is."""
    [call] = calls(**at(path))
    assert call.observation.model == model


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v1beta/models/m:generateContent", {"candidates": [], "usageMetadata": {}}),
        ("/model/m/converse", {"output": {"message": {}}, "stopReason": "x"}),
    ],
)
def test_answers_in_other_dialects_contradict_nothing(path: str, answer: Any) -> None:
    """They need not name a model to be what the path promises."""
    assert is_call(**at(path, capture=capture(None, answer)))
