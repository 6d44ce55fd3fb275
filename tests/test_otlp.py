"""The wire form, judged by the published OTLP definitions and the rules of the real server."""

from __future__ import annotations

import orjson
from msgspec.structs import replace

from kong_ai_tracing import otlp
from kong_ai_tracing.calls import Context, Observation
from kong_ai_tracing.spans import Span
from langfuse_rules import read_export

TRACE_ID, SPAN_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"

OBSERVATION = Observation(
    type="generation",
    name="chat gpt-4o",
    started_at_ms=1_795_420_248_810,
    ended_at_ms=1_795_420_249_222,
    completion_started_at_ms=1_795_420_249_001,
    model="gpt-4o",
    model_parameters={"temperature": 0.5},
    prompt_name="support/greeting",
    prompt_version=3,
    input='[{"role":"user","content":"Grüße \\ud83d\\ude00"}]'.encode(),
    output=b'{"role":"assistant","content":"hi"}',
    usage_details={"input": 3, "output": 1, "total": 4},
    cost_details={"total": 0.25},
    metadata={"status_code": 200, "tries": [{"ip": "10.0.0.1"}]},
)
CONTEXT = Context(
    trace_id=TRACE_ID,
    shared=False,
    trace_name="chat",
    environment="production",
    user_id="u-1",
    session_id="s-1",
    tags=["a", "b"],
    release="r1",
    version="v1",
    metadata={"organization_id": "o-1"},
)
SPAN = Span(TRACE_ID, SPAN_ID, None, CONTEXT, OBSERVATION)


def sent(*spans: Span) -> list[dict]:
    plain, violations = read_export(otlp.join([otlp.encode(span) for span in spans]), "application/json")
    assert violations == []
    return plain


def test_a_span_arrives_with_everything_langfuse_reads() -> None:
    """Ids, times, trace values and observation values are where the server looks for them."""
    [span] = sent(SPAN)
    assert (span["traceId"], span["spanId"], span["parentSpanId"]) == (TRACE_ID, SPAN_ID, None)
    assert span["startTimeUnixNano"] == 1_795_420_248_810_000_000
    assert span["endTimeUnixNano"] == 1_795_420_249_222_000_000
    attributes = span["attributes"]
    assert orjson.loads(attributes["langfuse.observation.input"]) == [{"role": "user", "content": "Grüße 😀"}]
    usage = orjson.loads(attributes["langfuse.observation.usage_details"])
    assert usage == {"input": 3, "output": 1, "total": 4}
    assert orjson.loads(attributes["langfuse.observation.cost_details"]) == {"total": 0.25}
    assert attributes["langfuse.observation.completion_start_time"] == "2026-11-23T07:50:49.001Z"
    assert attributes["langfuse.observation.prompt.name"] == "support/greeting"
    assert attributes["langfuse.observation.prompt.version"] == 3
    assert attributes["langfuse.trace.tags"] == ["a", "b"]
    assert attributes["langfuse.user.id"] == "u-1"
    assert attributes["langfuse.session.id"] == "s-1"
    assert attributes["langfuse.environment"] == "production"
    assert attributes["langfuse.release"] == "r1"
    assert orjson.loads(attributes["langfuse.trace.metadata"]) == {"organization_id": "o-1"}


def test_the_scope_keeps_the_server_from_repeating_attributes() -> None:
    """Only a scope whose name begins with langfuse-sdk is not copied into the metadata."""
    [span] = sent(SPAN)
    assert span["scope"].startswith("langfuse-sdk")


def test_absent_values_leave_no_attribute() -> None:
    """An empty value would be stored; a missing one is missing."""
    bare = Observation(type="span", name="x", started_at_ms=1_795_420_248_810, ended_at_ms=1_795_420_248_810)
    context = Context(trace_id=TRACE_ID, shared=False, trace_name="x", environment="test")
    [span] = sent(Span(TRACE_ID, SPAN_ID, PARENT_ID, context, bare))
    assert span["parentSpanId"] == PARENT_ID
    assert set(span["attributes"]) == {
        "langfuse.observation.type",
        "langfuse.observation.level",
        "langfuse.trace.name",
        "langfuse.environment",
    }


def test_an_error_is_an_error_for_every_backend() -> None:
    """Other OTLP backends read the status, Langfuse the level."""
    failed = replace(OBSERVATION, level="ERROR", status_message="429 slow down")
    [span] = sent(replace(SPAN, observation=failed))
    assert (span["statusCode"], span["statusMessage"]) == (2, "429 slow down")
    assert span["attributes"]["langfuse.observation.level"] == "ERROR"


def test_a_body_can_be_split_and_joined_again() -> None:
    """Bisecting a refused batch sends the same spans."""
    other = replace(SPAN, id=PARENT_ID)
    parts = otlp.split(otlp.join([otlp.encode(SPAN), otlp.encode(other)]))
    assert [otlp.join([part]) for part in parts] == [
        otlp.join([otlp.encode(SPAN)]),
        otlp.join([otlp.encode(other)]),
    ]


def test_bodies_are_merged_as_they_are() -> None:
    """As if all spans had been in one batch; what another version made has another beginning."""
    parts = [otlp.encode(replace(SPAN, id=span_id)) for span_id in (SPAN_ID, PARENT_ID, "00000000000000aa")]
    first, second = otlp.join(parts[:2]), otlp.join(parts[2:])
    assert otlp.merge([first, second]) == otlp.join(parts)
    assert otlp.merge([first]) == first
    assert otlp.merge([first, second.replace(b"resourceSpans", b"resource_spans")]) is None
    assert otlp.merge([b"{}", first]) is None
