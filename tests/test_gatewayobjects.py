"""What Kong's balancer and its other AI plugins did for a call."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack

import golden_calls
from kong_ai_tracing.calls import AICall, CallSettings, Observation, calls_of
from kong_ai_tracing.entries import LogEntry, read_entries
from kong_ai_tracing.ids import observation_id_from_seed
from kong_ai_tracing.privacy import Privacy, PrivacySettings
from kong_ai_tracing.protection import Protection
from kong_ai_tracing.redact import RedactionSettings, Redactor
from kong_ai_tracing.traces import Grouping
from kong_entries import STARTED_AT, call, calls, line, record

META = {"provider_name": "openai", "request_model": "gpt-4o"}
LAKERA_BLOCK = {
    "input_processing_latency": 78,
    "lakera_service_url": "https://api.lakera.ai/v2/guard",
    "input_block_detail": [{"detector_type": "moderated_content/hate", "detected": True}],
    "input_request_uuid": "77cf5fda",
    "input_block_reason": "moderated_content/hate",
    "lakera_project_id": "default",
}
NEMO_BLOCK = {
    "mode": "BOTH",
    "input_block_reason": "self check input",
    "input_block_source": "ai-nvidia-nemo-guardrail",
    "input_processing_latency": 0,
    "output_processing_latency": 0,
    "output_block_reason": "",
    "input_faulty_prompt": "the key is sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEF",
}


def proxied(**objects: Any) -> AICall:
    """A call through ai-proxy beside which other plugins wrote these objects."""
    ai = {"proxy": {"meta": META} | {name.replace("_", "-"): value for name, value in objects.items()}}
    return call(ai=ai)


def seen(found: AICall) -> list[tuple[str, str, str, str | None]]:
    """Type, name, level and message of the children."""
    return [
        (said.type, said.name, said.level, said.status_message)
        for said in (child.observation for child in found.children)
    ]


def test_an_ordinary_call_stays_one_observation() -> None:
    """Langfuse bills spans."""
    assert call().children == []
    assert proxied(cache={"cache_status": "Miss", "embeddings_latency": 3}).children == []


def test_each_failed_try_before_the_last_is_a_span_for_the_time_it_cost() -> None:
    """The next one begins when it has failed; the last is the call itself."""
    tries = [
        {"ip": "10.0.0.1", "port": 80, "state": "failed", "code": 504, "balancer_start": STARTED_AT + 1},
        {"ip": "10.0.0.2", "port": 80, "state": "next", "balancer_start": STARTED_AT + 701},
        {"ip": "10.0.0.3", "port": 80, "balancer_start": STARTED_AT + 800},
    ]
    found = call(tries=tries)
    assert seen(found) == [
        ("span", "try 1", "WARNING", "10.0.0.1:80 failed with 504"),
        ("span", "try 2", "WARNING", "10.0.0.2:80 failed"),
    ]
    first = found.children[0].observation
    assert (first.started_at_ms, first.ended_at_ms) == (STARTED_AT + 1, STARTED_AT + 701)
    assert first.metadata["code"] == 504
    assert found.observation.level == "DEFAULT"
    assert [child.observation.level for child in call(tries=tries, response={"status": 502}).children] == [
        "ERROR",
        "ERROR",
    ]


def test_ids_of_children_come_from_the_id_of_the_call() -> None:
    """So that a line that is read again gives the same ones."""
    tries = [{"state": "failed"}, {}]
    found = call(tries=tries)
    assert found.children[0].id == observation_id_from_seed(f"{found.id}/try/0")
    assert call(tries=tries).children == found.children


def test_checks_before_and_after_the_model_are_two() -> None:
    """At the beginning of the call and at its end."""
    aws = {
        "guardrails_id": "gr-1",
        "guardrails_version": "DRAFT",
        "aws_region": "us-west-2",
        "inputput_processing_latency": 134,
        "output_processing_latency": 278,
    }
    found = proxied(aws_guardrails=aws)
    assert seen(found) == [
        ("guardrail", "aws-guardrails input", "DEFAULT", None),
        ("guardrail", "aws-guardrails output", "DEFAULT", None),
    ]
    before, after = (child.observation for child in found.children)
    assert (before.started_at_ms, before.ended_at_ms) == (STARTED_AT, STARTED_AT + 134)
    assert (after.started_at_ms, after.ended_at_ms) == (STARTED_AT + 722, STARTED_AT + 1000)
    assert before.metadata["guardrails_id"] == "gr-1"
    assert orjson.loads(before.output or b"") == {"blocked": False}


def test_what_a_guardrail_blocked_is_a_warning_with_its_reason() -> None:
    """A check that was not made is none, though its members are there."""
    found = proxied(lakera_guard=LAKERA_BLOCK, nvidia_nemo_guardrail=NEMO_BLOCK)
    assert seen(found) == [
        ("guardrail", "lakera-guard input", "WARNING", "input blocked: moderated_content/hate"),
        ("guardrail", "nvidia-nemo-guardrail input", "WARNING", "input blocked: self check input"),
    ]
    verdict = orjson.loads(found.children[0].observation.output or b"")
    assert verdict["blocked"] is True
    assert verdict["detail"] == LAKERA_BLOCK["input_block_detail"]


def test_a_guardrail_that_only_names_itself_is_seen() -> None:
    """Of one nobody knows yet nothing but its name is told: the rest might be what was said."""
    found = proxied(ai_semantic_prompt_guard={"text": "secret plan"})
    assert seen(found) == [("guardrail", "ai-semantic-prompt-guard", "DEFAULT", None)]
    assert "secret plan" not in repr(found.children)


def test_the_shared_object_of_guardrails_speaks_only_where_no_other_does() -> None:
    """Each block would be there twice."""
    shared = {"blocked_content": "bad", "block_source": "g", "block_direction": "AI_GUARDRAIL_BLOCK_OUTPUT"}
    ai = {"proxy": {"meta": META, "guardrail_triggered": shared}}
    assert seen(call(ai=ai)) == [("guardrail", "g output", "WARNING", "output blocked")]
    ai["proxy"]["lakera-guard"] = LAKERA_BLOCK
    assert [name for _, name, _, _ in seen(call(ai=ai))] == ["lakera-guard input"]


def test_a_request_that_only_a_guardrail_saw_is_a_call_that_failed() -> None:
    """It was refused before the proxy wrote anything; the path says nothing."""
    changes = {
        "request": record()["request"] | {"uri": "/ai"},
        "upstream_uri": "/ai",
        "response": {"status": 400},
        "source": "kong",
    }
    for ai in (
        {"proxy": {"lakera-guard": LAKERA_BLOCK}},
        {"audit": {"azure_content_safety": {"Hate": "High"}}},
    ):
        found = call(ai=ai, **changes)
        assert found.observation.level == "ERROR"
        assert found.observation.usage_details == {"input": 0, "output": 0, "total": 0}
        assert [child.observation.type for child in found.children] == ["guardrail"]
    assert calls(ai={"sanitizer": {"duration": 3}}, **changes) == []


def test_azures_categories_are_named() -> None:
    """Only breached ones are logged."""
    ai = {"proxy": {"meta": META}, "audit": {"azure_content_safety": {"Hate": "High", "Violence": 4}}}
    assert seen(call(ai=ai)) == [
        ("guardrail", "azure_content_safety", "WARNING", "breached: Hate High, Violence 4")
    ]


def test_a_search_for_context_is_a_retriever_that_costs_its_embedding() -> None:
    """Without a count no model is named, or Langfuse would count for itself."""
    rag = {
        "vector_db": "pgvector",
        "injected": True,
        "fetch_latency": 154,
        "chunk_ids": ["c1"],
        "embeddings_latency": 37,
        "embeddings_tokens": 62,
        "embeddings_provider": "openai",
        "embeddings_model": "text-embedding-3-small",
    }
    [child] = proxied(rag_inject=rag).children
    found = child.observation
    assert (found.type, found.name, found.model) == ("retriever", "rag-inject", "text-embedding-3-small")
    assert found.usage_details == {"input": 62, "total": 62}
    assert found.ended_at_ms - found.started_at_ms == 154
    assert orjson.loads(found.output or b"") == {"injected": True, "chunk_ids": ["c1"]}
    assert found.metadata["embeddings_latency_ms"] == 37
    for nothing in (None, 0, -1, 2**60, "x"):
        [child] = proxied(rag_inject=rag | {"embeddings_tokens": nothing}).children
        assert (child.observation.model, child.observation.usage_details) == (None, {})


@pytest.mark.parametrize("nested", [True, False])
def test_a_judge_is_an_evaluator_and_no_call_of_its_own(nested: bool) -> None:
    """Wherever a version of Kong puts it."""
    judge = {"meta": {"response_model": "gpt-4o", "llm_latency": 300}, "usage": {"llm_accuracy": 85}}
    proxy: dict[str, Any] = {"meta": META}
    ai = {"proxy": proxy | {"ai-llm-as-judge": judge} if nested else proxy}
    found = call(ai=ai if nested else ai | {"ai-llm-as-judge": judge})
    assert seen(found) == [("evaluator", "ai-llm-as-judge", "DEFAULT", None)]
    said = found.children[0].observation
    assert (said.metadata["llm_accuracy"], said.metadata["judge_model"], said.model) == (85, "gpt-4o", None)
    assert said.started_at_ms == STARTED_AT + 700


def test_what_sanitizer_and_compressor_did_is_metadata_without_what_was_found() -> None:
    """The original is the very thing that was to be hidden."""
    ai = {
        "proxy": {"meta": META},
        "sanitizer": {"pii_identified": 2, "duration": 65, "sanitized_items": [{"original": "jane"}]},
        "compressor": {"original_token_count": 845, "save_token_count": 360, "information": "jane"},
    }
    found = call(ai=ai)
    assert found.children == []
    assert found.observation.metadata["pii_identified"] == 2
    assert found.observation.metadata["sanitizer_duration_ms"] == 65
    assert found.observation.metadata["compressor_saved_tokens"] == 360
    assert "jane" not in repr(found)


def test_a_transformer_before_the_call_has_none_of_its_children() -> None:
    """Tries and guardrails are those of the proxied call."""
    ai = {"proxy": {"meta": META}, "ai-request-transformer": {"meta": META}}
    transformer, main = calls(ai=ai, tries=[{"state": "failed"}, {}])
    assert (transformer.children, len(main.children)) == ([], 1)


# -- on their way


def guarded() -> AICall:
    """A call with a failed try and a guardrail that logged what it blocked."""
    ai = {"proxy": {"meta": META, "nvidia-nemo-guardrail": NEMO_BLOCK}}
    headers = record()["request"]["headers"] | {"x-message-id": "m-1-of-this-chat-and-no-other"}
    request = record()["request"] | {"headers": headers}
    return call(ai=ai, tries=[{"ip": "10.0.0.1", "state": "failed"}, {}], request=request)


def test_children_follow_their_call_through_grouping() -> None:
    """Alone it is the root, in company it hangs under one; they hang under it and are counted apart."""
    alone = guarded()
    grouping = Grouping()
    assert grouping.add([alone], 0) == []
    emissions = grouping.take(2_000)
    assert [each.span.parent_id for each in emissions] == [None, alone.id, alone.id]
    assert [each.counts for each in emissions] == [None, "children", "children"]
    assert {each.span.trace_id for each in emissions} == {alone.context.trace_id}
    late = guarded()
    late.id = "f" * 16
    grouping.add([late], 5_000)
    assert [each.span.parent_id for each in grouping.take(9_000)] == [alone.id, late.id, late.id]


def test_children_of_a_group_hang_under_their_calls() -> None:
    """The root of our making has only the calls."""
    first, second = guarded(), guarded()
    second.id = "f" * 16
    grouping = Grouping()
    grouping.add([first, second], 0)
    root, *others = grouping.take(2_000)
    assert root.counts == "roots"
    assert root.span.observation.metadata["calls"] == 2
    parents = [each.span.parent_id for each in others]
    assert parents == [root.span.id, first.id, first.id, root.span.id, second.id, second.id]


def test_a_held_call_keeps_its_children_on_disk() -> None:
    """Held calls rest as msgpack."""
    found = guarded()
    assert msgpack.decode(msgpack.encode(found), type=AICall) == found


def test_children_count_towards_what_may_be_held() -> None:
    """A guardrail may have logged the whole prompt."""
    found = guarded()
    lonely = msgspec.structs.replace(found, children=[])
    grouping, other = Grouping(), Grouping()
    grouping.add([found], 0)
    other.add([lonely], 0)
    assert grouping.held_bytes > other.held_bytes + 2 * 2048


def protected(found: AICall, **settings: Any) -> AICall:
    allowed = Privacy(PrivacySettings(**settings)).apply(found)
    assert allowed is not None
    return Redactor(RedactionSettings()).redact(allowed)[0]


def test_no_secret_leaves_in_a_child() -> None:
    """It is replaced and counted as in the call."""
    kept = protected(guarded())
    assert b"[REDACTED:" in (kept.children[1].observation.input or b"")
    assert "sk-proj" not in repr(kept)
    assert kept.observation.metadata["kong_ai_tracing.redacted"]


def test_media_in_a_child_are_replaced_as_in_the_call() -> None:
    """A guardrail may have logged a prompt with a picture."""
    picture = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(3000)).decode()
    block = NEMO_BLOCK | {"input_faulty_prompt": picture}
    found = call(ai={"proxy": {"meta": META, "nvidia-nemo-guardrail": block}})
    [kept] = Protection(Privacy(PrivacySettings()), Redactor(RedactionSettings())).apply([found]).calls
    guardrail = kept.children[0].observation
    assert len(guardrail.input or b"") < 300
    assert guardrail.metadata["kong_ai_tracing.media"] == {"image/png": 1}


def test_content_that_stays_stays_in_children_too() -> None:
    """As the operator decides for all content."""
    kept = protected(guarded(), content="metadata")
    guardrail = kept.children[1].observation
    assert (guardrail.input, guardrail.output) == (None, None)
    assert guardrail.metadata["kong_ai_tracing.withheld"] == "input,output"


@pytest.mark.parametrize("header", ["langfuse-mask-input", "langfuse-mask-output"])
def test_a_callers_wish_about_either_side_holds_for_all_of_a_child(header: str) -> None:
    """What is the answer of the model is the question to the guardrail behind it."""
    request = record()["request"] | {"headers": {header: "true"}}
    found = call(ai={"proxy": {"meta": META, "nvidia-nemo-guardrail": NEMO_BLOCK}}, request=request)
    guardrail = protected(found).children[0].observation
    assert (guardrail.input, guardrail.output) == (None, None)


# -- whatever stands there

NAMES = [
    "rpc", "audit", "method", "tool_name", "payload", "request", "response", "error", "latency", "id",
    "primitive_name", "action", "consumer", "task_state", "context_id", "mcp_session_id", "streaming",
    "ttfb_latency", "meta", "usage", "cache", "input_processing_latency", "output_block_reason",
    "input_block_detail", "input_faulty_prompt", "embeddings_tokens", "chunk_ids", "fetch_latency",
    "llm_accuracy", "azure_content_safety", "blocked_content", "block_direction", "pii_identified",
]  # fmt: skip
PLACES = [
    "proxy", "ai-proxy", "mcp", "a2a", "audit", "sanitizer", "compressor", "rag-inject", "aws-guardrails",
    "guardrail_triggered", "ai-llm-as-judge", "ai-request-transformer", "rpc",
]  # fmt: skip
JSON_RPC = st.sampled_from(
    ['{"params":{"message":{"parts":[1]}}}', '{"result":null}', '{"error":3}', '{"params":"\\ud800"}', "[1]"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | JSON_RPC,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES + PLACES), inner, max_size=4)
    ),
    max_leaves=12,
)
TRIES = st.lists(
    st.dictionaries(st.sampled_from(["ip", "port", "state", "code", "balancer_start", "x"]), VALUES),
    max_size=4,
)


def sound(said: Observation) -> None:
    """What the next steps rely on."""
    assert 0 < said.started_at_ms <= said.ended_at_ms
    assert said.name
    assert len(said.name) <= 200
    for text in (said.input, said.output):
        assert text is None or orjson.loads(text) is not NotImplemented  # strict: no lone surrogates
    assert all(type(count) is int and 0 <= count < 2**53 for count in said.usage_details.values())
    msgspec.json.encode(said.metadata)


@given(st.dictionaries(st.sampled_from(PLACES), VALUES) | VALUES, TRIES | VALUES)
def test_no_object_makes_reading_raise_or_loses_the_call(ai: Any, tries: Any) -> None:
    """The call is a call by its path, whatever the objects hold; every type may be wrong."""
    data = record() | {"ai": ai, "tries": tries}
    [entry] = read_entries(line(json.dumps(data).encode()))
    assert isinstance(entry, LogEntry)
    found = calls_of(entry, CallSettings())
    assert found
    for each in found:
        sound(each.observation)
        assert len({child.id for child in each.children} | {each.id}) == len(each.children) + 1
        assert len(each.children) <= 100
        for child in each.children:
            sound(child.observation)
            assert child.observation.origin is not None
    assert len({each.id for each in found}) == len(found)


def test_a_hostile_number_of_objects_gives_a_bounded_number_of_children() -> None:
    """The rest is in the metadata, or nowhere."""
    assert len(call(tries=[{"state": "failed"}] * 5000).children) == 50
    assert len(proxied(**{f"guard-{number}": {"mode": "x"} for number in range(500)}).children) == 100
    assert len(calls(ai={"mcp": {"rpc": [{"method": "x"}] * 5000}})) == 1000


def test_genuine_lines_with_retries_show_their_failed_tries() -> None:
    """As many as the balancer logged before the last one."""
    for path in golden_calls.fixture_files():
        for genuine in golden_calls.lines_of(Path(path)):
            tries = json.loads(genuine.data.decode("utf-8", "replace")).get("tries") or []
            for found in golden_calls.calls_in(genuine):
                spans = [child for child in found.children if child.observation.type == "span"]
                assert len(spans) == max(0, len(tries) - 1)
