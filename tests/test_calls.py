"""One log entry in, the AI calls it tells of out."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden_calls import composed_files, fixture_files, lines_of
from kong_ai_tracing.calls import CallSettings, calls_of, calls_of_each
from kong_ai_tracing.entries import LogEntry, read_entries
from kong_ai_tracing.ids import observation_id_from_seed, trace_id_from_seed
from kong_ai_tracing.lines import Line
from kong_entries import (
    CHAT_ANSWER,
    CHAT_REQUEST,
    REQUEST_ID,
    STARTED_AT,
    call,
    calls,
    capture,
    chunk,
    line,
    record,
    request,
    sse,
)

KONG_USAGE = {"prompt_tokens": 7, "completion_tokens": 6, "total_tokens": 13, "cost": 0.5}
STREAM = sse(
    chunk({"content": "hi"}),
    chunk(finish_reason="stop", usage={"prompt_tokens": 24, "completion_tokens": 8}),
    "[DONE]",
)


def proxy(name: str = "proxy", **members: Any) -> dict[str, Any]:
    """An `ai` object of one call through ai-proxy."""
    meta = {"provider_name": "openai", "request_model": "gpt-4o", "response_model": "gpt-4o-2024-08-06"}
    payload = {"request": json.dumps(CHAT_REQUEST), "response": json.dumps(CHAT_ANSWER)}
    return {name: {"meta": meta, "usage": KONG_USAGE, "payload": payload} | members}


def test_entries_that_are_read_together_do_not_mix() -> None:
    """Of each the calls are those that it has alone, beside other traffic and lines with several."""
    entries = [
        entry
        for path in (*fixture_files(), *composed_files())
        for given in lines_of(path)
        for entry in read_entries(given)
        if isinstance(entry, LogEntry)
    ]
    together = calls_of_each(entries, CallSettings(), explain=True)
    assert together == [calls_of(entry, CallSettings(), explain=True) for entry in entries]
    assert {0, 1, 2} <= {len(calls) for calls in together}


def test_a_captured_call_is_read_whole() -> None:
    """Every field of the observation."""
    found = call(capture=capture(CHAT_REQUEST | {"temperature": 0.5}, CHAT_ANSWER)).observation
    assert (found.type, found.name, found.level) == ("generation", "chat gpt-4o", "DEFAULT")
    assert (found.provider, found.model) == ("openai_compatible", "gpt-4o-2024-08-06")
    assert found.model_parameters == {"temperature": 0.5}
    assert orjson.loads(found.input or b"") == CHAT_REQUEST["messages"]
    assert orjson.loads(found.output or b"") == {"role": "assistant", "content": "hello"}
    assert found.usage_details == {"input": 10, "output": 5, "total": 15}
    assert (found.started_at_ms, found.ended_at_ms) == (STARTED_AT, STARTED_AT + 1000)
    assert found.origin is not None
    assert (found.origin.file, found.origin.file_id, found.origin.offset) == ("kong.log", 1, 0)


def test_the_metadata_keeps_the_plugins_names() -> None:
    """Saved filters keep working."""
    found = call(capture=capture(CHAT_REQUEST, CHAT_ANSWER)).observation.metadata
    assert found == {
        "provider": "openai_compatible",
        "model": "gpt-4o-2024-08-06",
        "request_model": "gpt-4o",
        "environment": "production",
        "status_code": 200,
        "http_method": "POST",
        "path": "/llm/v1/chat/completions",
        "kong_request_id": REQUEST_ID,
        "kong_service": "models",
        "kong_route": "models-route",
        "kong_latency_ms": 5,
        "proxy_latency_ms": 300,
        "receive_latency_ms": 695,
        "upstream_status": "200",
        "finish_reason": "stop",
        "response_id": "chatcmpl-1",
        "message_count": 1,
        "prompt_length": 2,
        "response_length": 5,
        "total_duration_ms": 1000,
        "time_per_token_ms": 200.0,
        "throughput_tokens_per_second": 5.0,
        "completion_tokens_per_prompt_token": 0.5,
        "streaming": False,
        "usage_source": "provider",
    }


def test_a_call_without_bodies_says_so_and_invents_nothing() -> None:
    """Everything else is there; no tokens are made up."""
    found = call().observation
    assert (found.input, found.output, found.model, found.usage_details) == (None, None, None, {})
    assert (found.metadata["request_body"], found.metadata["response_body"]) == ("not logged", "not logged")
    assert "usage_source" not in found.metadata


def test_ids_come_from_kongs_request_id() -> None:
    """An application that knows it can compute them."""
    found = call()
    assert found.id == observation_id_from_seed(REQUEST_ID)
    assert found.context.trace_id == trace_id_from_seed(REQUEST_ID)


def test_ids_of_old_kongs_come_from_the_line() -> None:
    """On any host, at any place in any file."""
    old = record()
    del old["request"]["id"]
    data = json.dumps(old).encode()
    ids = set()
    for place in (line(data), Line("other.log", 5, 12345, data)):
        [entry] = read_entries(place)
        assert isinstance(entry, LogEntry)
        ids.add(calls_of(entry, CallSettings())[0].id)
    assert ids == {observation_id_from_seed(hashlib.sha256(data).hexdigest())}


def test_several_calls_of_one_line_share_its_trace() -> None:
    """The proxied call has the line's id, the others one of their own."""
    transformer, proxied = calls(ai=proxy("ai-request-transformer") | proxy())
    assert proxied.id == observation_id_from_seed(REQUEST_ID)
    assert transformer.id == observation_id_from_seed(f"{REQUEST_ID}/ai-request-transformer")
    assert transformer.context == proxied.context
    assert transformer.observation.name == "ai-request-transformer gpt-4o"
    assert transformer.observation.metadata["kong_ai_plugin"] == "ai-request-transformer"


def test_a_transformer_alone_has_the_lines_id() -> None:
    """The request it belongs to went to a service that is no model."""
    found = call(ai=proxy("ai-response-transformer"), upstream_uri="/v2", service={"name": "orders"})
    assert found.id == observation_id_from_seed(REQUEST_ID)


@pytest.mark.parametrize("name", ["proxy", "ai-proxy", "ai-proxy-advanced"])
def test_ai_proxys_account_is_read_in_every_generation(name: str) -> None:
    """Provider, models, cost from Kong, counts from the answer."""
    found = call(ai=proxy(name)).observation
    assert (found.provider, found.model) == ("openai", "gpt-4o-2024-08-06")
    assert found.usage_details == {"input": 10, "output": 5, "total": 15}
    assert (found.cost_details, found.metadata["usage_source"]) == ({"total": 0.5}, "provider")


def test_kongs_counts_serve_where_the_answer_has_none() -> None:
    """Statistics without payloads; 3.7's singular names."""
    found = call(ai=proxy(payload={})).observation
    assert (found.usage_details["input"], found.metadata["usage_source"]) == (7, "kong")
    old = proxy("ai-proxy", payload={}, usage={"prompt_token": 3, "completion_token": 4, "total_tokens": 7})
    assert call(ai=old).observation.usage_details == {"input": 3, "output": 4, "total": 7}


def test_kongs_counts_of_a_stream_are_estimates() -> None:
    """Also where they stand in its account of the answer."""
    payload = {"request": json.dumps(CHAT_REQUEST | {"stream": True}), "response": json.dumps(CHAT_ANSWER)}
    found = call(ai=proxy(payload=payload)).observation
    assert (found.metadata["streaming"], found.metadata["usage_source"]) == (True, "kong_estimate")


def test_a_captured_answer_is_nearer_to_the_truth_than_kongs_account() -> None:
    """Real counts, and no cost that was computed from estimates."""
    body = capture(CHAT_REQUEST | {"stream": True}, stream=STREAM)
    found = call(ai=proxy(), capture=body).observation
    assert found.usage_details == {"input": 24, "output": 8, "total": 32}
    assert (found.metadata["usage_source"], found.cost_details) == ("provider", {})
    assert orjson.loads(found.output or b"")["content"] == "hi"


def test_words_that_kong_writes_for_unknown_are_unknown() -> None:
    """A refused request names neither provider nor model."""
    meta = dict.fromkeys(("provider_name", "request_model", "response_model"), "UNSPECIFIED")
    found = call(
        ai=proxy(meta=meta, payload={"request": "not json"}, usage={"prompt_tokens": 0, "total_tokens": 0}),
        response={"status": 400},
        source="kong",
        upstream_uri="/",
        request=record()["request"] | {"uri": "/ai"},
    ).observation
    assert (found.provider, found.model, found.name) == (None, None, "call")
    assert found.input == b'"not json"'


def test_zero_counts_of_a_successful_call_mean_that_nobody_counted() -> None:
    """Kong writes them where a provider reports none."""
    body = CHAT_ANSWER | {"usage": {}}
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    found = call(ai=proxy(usage=zeros, payload={"response": json.dumps(body)})).observation
    assert found.usage_details == {}


def test_a_failed_call_cost_nothing() -> None:
    """Zeros are said, or Langfuse would count the prompt itself; Kong's estimate is not believed."""
    error = {"request": json.dumps(CHAT_REQUEST), "response": '{"error":{"message":"no"}}'}
    found = call(ai=proxy(payload=error), response={"status": 500}).observation
    assert found.usage_details == {"input": 0, "output": 0, "total": 0}
    assert (found.cost_details, found.output) == ({}, None)


ERROR_ANSWER = {"error": {"message": "no", "type": "server_error"}}


@pytest.mark.parametrize(
    "changes",
    [
        {"response": {"status": 400}, "source": "kong"},
        {"response": {"status": 401}, "source": "kong", "upstream_status": "", "tries": []},
        {"response": {"status": 429}},
        {"response": {"status": 499}, "upstream_status": "-"},
        {"response": {"status": 502}, "upstream_status": "502, 502"},
        {"response": {"status": 504}, "source": "kong"},
        {"capture": capture(CHAT_REQUEST, ERROR_ANSWER)},
        {"capture": capture(CHAT_REQUEST, stream=sse(chunk({"content": "a"}), ERROR_ANSWER))},
    ],
)
@pytest.mark.parametrize("through_kong", [False, True])
def test_every_way_to_fail_says_zero(changes: dict[str, Any], through_kong: bool) -> None:
    """Kong's estimates of a failed call are none that was billed, and Langfuse would make up its own."""
    ai = proxy(payload={"request": json.dumps(CHAT_REQUEST)}) if through_kong else None
    found = call(**{"capture": capture(CHAT_REQUEST)} | changes, ai=ai)
    assert found.observation.level != "DEFAULT"
    assert found.observation.usage_details == {"input": 0, "output": 0, "total": 0}
    assert found.observation.cost_details == {}


def test_kongs_time_and_the_providers_are_told_apart() -> None:
    """What Kong measured of each."""
    meta = {"provider_name": "openai", "request_model": "gpt-4o", "llm_latency": 290}
    found = call(ai=proxy(meta=meta)).observation.metadata
    names = ("kong_latency_ms", "proxy_latency_ms", "receive_latency_ms", "llm_latency_ms")
    assert [found[name] for name in names] == [5, 300, 695, 290]


@pytest.mark.parametrize("name", ["ai-proxy", "proxy", "ai-proxy-advanced"])
def test_the_cost_that_kong_computed_is_the_cost(name: str) -> None:
    """Where the operator configured prices."""
    found = call(ai=proxy(name, usage=KONG_USAGE | {"cost": 0.00021})).observation
    assert found.cost_details == {"total": 0.00021}


@pytest.mark.parametrize(
    ("path", "asked", "answered", "kind"),
    [
        (
            "/v1/moderations",
            {"model": "omni-moderation-latest", "input": "x"},
            {"model": "omni-moderation-latest", "results": [{"flagged": False, "categories": {}}]},
            "guardrail",
        ),
        (
            "/v2/rerank",
            {"model": "rerank-v3.5", "query": "x", "documents": ["y"]},
            {"results": [{"index": 0, "relevance_score": 0.9}], "meta": {}},
            "retriever",
        ),
    ],
)
def test_judging_and_ordering_are_no_generations(
    path: str, asked: dict[str, Any], answered: dict[str, Any], kind: str
) -> None:
    """But they keep their model."""
    changes = {"request": request(path), "upstream_uri": path, "service": {"host": "api.cohere.com"}}
    found = call(capture=capture(asked, answered), **changes).observation
    assert (found.type, found.model) == (kind, asked["model"])


def test_a_cache_hit_is_no_generation() -> None:
    """No model was called: no tokens, no cost, and the metadata say why."""
    found = call(
        ai=proxy(cache={"cache_status": "Hit", "fetch_latency": 21, "embeddings_model": "e"})
    ).observation
    assert (found.type, found.cost_details) == ("span", {})
    assert found.usage_details == {"input": 0, "output": 0, "total": 0}
    assert found.metadata["cache_status"] == "Hit"
    assert found.metadata["cache_fetch_latency_ms"] == 21
    assert found.output is not None


@pytest.mark.parametrize("status", ["Miss", "Bypass", "Refresh", None, 3])
def test_everything_but_a_hit_called_the_model(status: Any) -> None:
    """A cache that had no answer costs what a call costs."""
    assert call(ai=proxy(cache={"cache_status": status})).observation.type == "generation"


def test_an_answer_out_of_proxy_cache_is_no_generation_either() -> None:
    """On plain services Kong says it in a header; a header of the service itself means nothing."""
    response = {"status": 200, "headers": {"x-cache-status": "Hit"}}
    found = call(response=response, source="kong").observation
    assert (found.type, found.metadata["cache_status"]) == ("span", "Hit")
    assert found.usage_details == {"input": 0, "output": 0, "total": 0}
    assert call(response=response).observation.type == "generation"


def test_what_the_sanitizer_found_stays_behind() -> None:
    """It is the very thing that was to be hidden."""
    ai = proxy() | {"sanitizer": {"sanitized_items": [{"original": "jane@example.com"}]}}
    assert "jane" not in repr(calls(ai=ai))


def test_counts_and_costs_in_headers_serve_where_there_is_no_body() -> None:
    """Bedrock, TGI and LiteLLM say them."""
    headers = {"x-amzn-bedrock-input-token-count": "12", "x-amzn-bedrock-output-token-count": "3"}
    found = call(response={"status": 200, "headers": headers}).observation
    assert found.usage_details == {"input": 12, "output": 3, "total": 15}
    headers = {"x-litellm-response-cost": "0.00021"}
    assert call(response={"status": 200, "headers": headers}).observation.cost_details == {"total": 0.00021}


@pytest.mark.parametrize("cost", [0, -1, "x", None, float("inf")])
def test_only_a_cost_above_zero_is_one(cost: Any) -> None:
    """Zero means that no prices are configured."""
    assert call(ai=proxy(usage=KONG_USAGE | {"cost": cost})).observation.cost_details == {}


def test_retries_are_visible() -> None:
    """All attempts when there were several, or one that failed."""
    tries = [
        {"ip": "10.0.0.1", "port": 8000, "state": "failed", "code": 502, "balancer_start": STARTED_AT},
        {"ip": "10.0.0.2", "port": 8000},
    ]
    found = call(tries=tries, upstream_status="502, 200").observation.metadata
    assert found["tries"] == [
        {"ip": "10.0.0.1", "port": 8000, "state": "failed", "code": 502, "started_at_ms": STARTED_AT},
        {"ip": "10.0.0.2", "port": 8000},
    ]
    assert found["upstream_status"] == "502, 200"
    assert "tries" not in call().observation.metadata


def test_lone_surrogates_and_nul_never_get_out() -> None:
    """In input, output, model and names; one of them would cost a whole batch of others.

    # covers LIN-11
    """
    bad = '{"model":"gpt\\u0000-4o","messages":[{"role":"user","content":"a\\ud83d \\u0000"}]}'
    answer = '{"id":"\\ude00","choices":[{"message":{"role":"assistant","content":"\\ud800"}}]}'
    found = call(capture={"request": bad, "response": answer}).observation
    assert orjson.loads(found.input or b"") == [{"role": "user", "content": "a� �"}]
    assert orjson.loads(found.output or b"")["content"] == "�"
    assert "\0" not in f"{found.model}{found.name}"


def test_a_damaged_line_is_marked() -> None:
    """Its bytes were no UTF-8.

    # covers LIN-10
    """
    data = json.dumps(record()).encode().replace(b"curl", b"cu\xffrl")
    [entry] = read_entries(line(data))
    assert isinstance(entry, LogEntry)
    [found] = calls_of(entry, CallSettings())
    assert found.observation.metadata["kong_ai_tracing.repaired"] is True


def test_sources_are_explained_on_request_only() -> None:
    """They are names, never values."""
    [entry] = read_entries(line(record()))
    assert isinstance(entry, LogEntry)
    assert calls_of(entry, CallSettings())[0].explain == {}
    assert calls_of(entry, CallSettings(), explain=True)[0].explain["trace_id"] == "kong request.id"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats() | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children, max_size=3)
    ),
    max_leaves=6,
)
BODIES = st.one_of(
    st.text(max_size=20),
    VALUES.map(json.dumps),
    st.just(json.dumps(CHAT_REQUEST)),
    st.just(json.dumps(CHAT_ANSWER)),
    st.just(STREAM),
    st.tuples(st.just(json.dumps(CHAT_ANSWER)), st.integers(0, 200)).map(lambda cut: cut[0][: cut[1]]),
)
SECTION = st.fixed_dictionaries(
    {},
    optional={
        "meta": VALUES
        | st.dictionaries(st.sampled_from(["provider_name", "request_model", "llm_latency"]), VALUES),
        "usage": VALUES
        | st.dictionaries(st.sampled_from(["prompt_tokens", "completion_tokens", "cost"]), VALUES),
        "payload": VALUES | st.dictionaries(st.sampled_from(["request", "response"]), BODIES),
        "cache": VALUES,
    },
)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "request": VALUES
        | st.fixed_dictionaries(
            {"method": st.just("POST"), "uri": st.just("/v1/chat/completions") | VALUES},
            optional={
                "id": VALUES,
                "headers": st.dictionaries(st.text(max_size=5), VALUES),
                "body": VALUES | BODIES,
            },
        ),
        "response": VALUES
        | st.fixed_dictionaries({}, optional={"status": VALUES, "headers": VALUES, "body": BODIES}),
        "ai": VALUES
        | st.dictionaries(st.sampled_from(["proxy", "ai-proxy", "ai-request-transformer", "x"]), SECTION),
        "capture": VALUES
        | st.dictionaries(
            st.sampled_from(["request", "response", "response_tail", "request_b64"]), BODIES | VALUES
        ),
        **dict.fromkeys(
            [
                "latencies",
                "service",
                "route",
                "consumer",
                "tries",
                "trace_id",
                "started_at",
                "upstream_uri",
                "source",
                "upstream_status",
                "correlation_id",
                "authenticated_entity",
                "request_body",
                "workspace_name",
            ],
            VALUES,
        ),
    },
)


@given(RECORDS)
def test_no_record_makes_reading_raise(data: dict[str, Any]) -> None:
    """Whatever stands in it, the calls hold what the next steps may rely on."""
    for entry in read_entries(line(json.dumps(data).encode())):
        if not isinstance(entry, LogEntry):
            continue
        for found in calls_of(entry, CallSettings(group_by_correlation_id=True), explain=True):
            observation, context = found.observation, found.context
            assert 0 < observation.started_at_ms <= observation.ended_at_ms
            at = observation.completion_started_at_ms
            assert at is None or observation.started_at_ms <= at <= observation.ended_at_ms
            for text in (observation.input, observation.output):
                assert text is None or json.loads(text) is not NotImplemented
            assert all(type(count) is int and count >= 0 for count in observation.usage_details.values())
            assert len(found.id) == 16
            assert len(context.trace_id) == 32
            assert observation.name
            assert context.environment
            msgspec.json.encode(found.observation.metadata | context.metadata)


@given(st.binary() | VALUES.map(json.dumps).map(str.encode))
def test_no_line_makes_reading_raise(data: bytes) -> None:
    """Any bytes, any JSON."""
    for entry in read_entries(line(data)):
        if isinstance(entry, LogEntry):
            calls_of(entry, CallSettings())


@pytest.mark.parametrize(
    ("asked", "given", "tier"),
    [
        (None, None, None),
        (None, "default", None),
        (None, "priority", "priority"),
        ("auto", "flex", "flex"),
        ("flex", "default", "default"),
        ("flex", None, "flex"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_the_service_tier_is_the_one_that_answered(
    asked: str | None, given: str | None, tier: str | None, streamed: bool
) -> None:
    """Langfuse prices by it, and a project's default or a fallback is in no request."""
    answer = CHAT_ANSWER | ({"service_tier": given} if given else {})
    stream = sse(chunk({"content": "x"}, finish_reason="stop") | ({"service_tier": given} if given else {}))
    body = CHAT_REQUEST | ({"service_tier": asked} if asked else {})
    found = call(capture=capture(body, stream=stream) if streamed else capture(body, answer)).observation
    assert found.model_parameters.get("service_tier") == tier


def test_the_model_asked_for_is_that_of_the_path_where_no_body_has_one() -> None:
    """Azure's deployments and the like: the name stays one and the same while dated models answer."""
    found = call(
        upstream_uri="/openai/deployments/prod-4o/chat/completions",
        capture=capture({"messages": CHAT_REQUEST["messages"]}, CHAT_ANSWER),
    ).observation
    assert (found.name, found.model) == ("chat prod-4o", "gpt-4o-2024-08-06")
    assert found.metadata["request_model"] == "prod-4o"
