"""Events for the batch endpoint, judged by the models of Langfuse's own SDK, and the answers to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from langfuse.api.resources.ingestion import types
from msgspec.structs import replace

import golden_calls
from kong_ai_tracing import ingestion, otlp
from kong_ai_tracing.ingestion import Events, events_of, outcome_of
from kong_ai_tracing.outcomes import Accepted, Hold, Partly, TryLater
from kong_ai_tracing.spans import Span
from langfuse_rules import read_export
from test_otlp import OBSERVATION, PARENT_ID, SPAN, SPAN_ID, TRACE_ID

MODELS = {
    "trace-create": types.TraceEvent,
    "generation-create": types.CreateGenerationEvent,
    "span-create": types.CreateSpanEvent,
    "event-create": types.CreateEventEvent,
}


def parsed(*spans: Span) -> list[dict[str, Any]]:
    return list(otlp.parsed(otlp.join([otlp.encode(span) for span in spans])))


def sent(*spans: Span) -> list[dict[str, Any]]:
    """The events as the server reads them, after the SDK's models have found nothing wrong."""
    batch = orjson.loads(events_of(parsed(*spans)).data)["batch"]
    for event in batch:
        model = MODELS[event["type"]]
        read = model.parse_obj(event)
        known = {field.alias for field in read.body.__fields__.values()}
        assert event["body"].keys() <= known, "the server would drop the others silently"
    return batch


def spans_of(fixture: Path) -> list[Span]:
    return [
        Span(call.context.trace_id, call.id, None, call.context, call.observation)
        for line in golden_calls.lines_of(fixture)
        for call in golden_calls.calls_in(line)
    ]


@pytest.mark.parametrize("fixture", golden_calls.fixture_files(), ids=lambda path: path.stem)
def test_every_genuine_line_becomes_what_both_ways_take(fixture: Path) -> None:
    """OTLP by its published definition and Langfuse's rules, events by the models of its SDK."""
    spans = spans_of(fixture)
    read, violations = read_export(otlp.join([otlp.encode(span) for span in spans]), "application/json")
    assert violations == []
    assert len(read) == len(spans)
    if spans:
        assert {event["body"]["id"] for event in sent(*spans) if event["type"] != "trace-create"} == {
            span.id for span in spans
        }


def test_a_generation_arrives_with_everything_langfuse_reads() -> None:
    """Labels in the trace, the rest in the generation; values are values, not texts that hold JSON."""
    trace, generation = sent(SPAN)
    assert trace["type"] == "trace-create"
    assert trace["body"] == {
        "id": TRACE_ID,
        "timestamp": "2026-11-23T07:50:48.810Z",
        "name": "chat",
        "userId": "u-1",
        "sessionId": "s-1",
        "environment": "production",
        "release": "r1",
        "version": "v1",
        "tags": ["a", "b"],
        "metadata": {"organization_id": "o-1"},
        "input": [{"role": "user", "content": "Grüße 😀"}],
        "output": {"role": "assistant", "content": "hi"},
    }
    assert generation["type"] == "generation-create"
    assert generation["body"] == {
        "id": SPAN_ID,
        "traceId": TRACE_ID,
        "name": "chat gpt-4o",
        "startTime": "2026-11-23T07:50:48.810Z",
        "endTime": "2026-11-23T07:50:49.222Z",
        "completionStartTime": "2026-11-23T07:50:49.001Z",
        "environment": "production",
        "level": "DEFAULT",
        "version": "v1",
        "model": "gpt-4o",
        "modelParameters": {"temperature": 0.5},
        "usageDetails": {"input": 3, "output": 1, "total": 4},
        "costDetails": {"total": 0.25},
        "promptName": "support/greeting",
        "promptVersion": 3,
        "metadata": {"status_code": 200, "tries": [{"ip": "10.0.0.1"}]},
        "input": [{"role": "user", "content": "Grüße 😀"}],
        "output": {"role": "assistant", "content": "hi"},
    }


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        ("embedding", "generation-create"),
        ("span", "span-create"),
        ("event", "event-create"),
        ("tool", "span-create"),
        ("retriever", "generation-create"),
    ],
)
def test_each_kind_becomes_an_event_that_old_servers_know(kind: str, event: str) -> None:
    """What they have no event for becomes the nearest one that keeps model and usage."""
    _, observation = sent(replace(SPAN, observation=replace(OBSERVATION, type=kind)))
    assert observation["type"] == event


def test_parameters_langfuse_has_no_form_for_become_text() -> None:
    """An object among them would refuse the whole event."""
    odd = {"stop": ["a"], "format": {"type": "json"}, "none": None, "list": [1], "n": 2, "flag": True}
    _, generation = sent(replace(SPAN, observation=replace(OBSERVATION, model_parameters=odd)))
    assert generation["body"]["modelParameters"] == {
        "stop": ["a"],
        "format": '{"type":"json"}',
        "none": None,
        "list": "[1]",
        "n": 2,
        "flag": True,
    }


def test_the_root_speaks_for_its_trace() -> None:
    """One event for the trace, with the input and output of the root; children alone give none."""
    child = replace(SPAN, id=PARENT_ID, parent_id=SPAN_ID)
    for spans in ((SPAN, child), (child, SPAN)):
        traces = [event for event in sent(*spans) if event["type"] == "trace-create"]
        assert len(traces) == 1
        assert "input" in traces[0]["body"]
    [trace, _] = sent(child)
    assert "input" not in trace["body"]
    assert trace["body"]["userId"] == "u-1"


def test_the_same_event_has_the_same_id_and_another_has_not() -> None:
    """A repeat is kept once; a root that has grown is laid over the earlier one, later by its time."""
    assert events_of(parsed(SPAN)).data == events_of(parsed(SPAN)).data
    grown = replace(SPAN, observation=replace(OBSERVATION, ended_at_ms=OBSERVATION.ended_at_ms + 1_000))
    before, after = sent(SPAN), sent(grown)
    assert before[1]["body"]["id"] == after[1]["body"]["id"]
    assert {event["id"] for event in before}.isdisjoint(event["id"] for event in after)
    assert before[1]["timestamp"] < after[1]["timestamp"]


def test_a_span_that_stands_twice_is_one_event() -> None:
    """Ids are unique within a request; the result counts for both."""
    events = events_of(parsed(SPAN, SPAN))
    assert len(orjson.loads(events.data)["batch"]) == 2
    assert set(events.places.values()) == {(0, 1)}


EVENTS = Events(b"", {"t": (0, 1, 2), "a": (0,), "b": (1,), "c": (2,)})


def answer(*errors: tuple[str, int], missing: str = "") -> httpx.Response:
    """A 207 in which these events failed, and the missing one has no result."""
    failed = {event for event, _ in errors} | {missing}
    return httpx.Response(
        207,
        json={
            "successes": [{"id": each, "status": 201} for each in EVENTS.places if each not in failed],
            "errors": [{"id": each, "status": status, "message": "no"} for each, status in errors],
        },
    )


def test_each_event_is_treated_by_its_own_status() -> None:
    """A mixed answer refuses one span, keeps one for later, and takes one."""  # covers SNK-07
    assert outcome_of(answer(), EVENTS, 3) == Accepted()
    outcome = outcome_of(answer(("a", 400), ("b", 500)), EVENTS, 3)
    assert outcome == Partly({0: "400 no"}, (1,), "500 no")


def test_a_trace_speaks_for_its_spans() -> None:
    """When its labels failed, all of it comes again."""  # covers SNK-07
    assert outcome_of(answer(("t", 500)), EVENTS, 3) == TryLater("500 no")
    assert outcome_of(answer(("t", 500), ("a", 400)), EVENTS, 3) == Partly({0: "400 no"}, (1, 2), "500 no")


def test_an_event_without_a_result_comes_again() -> None:
    """What is in neither list is not taken for success."""  # covers SNK-07
    outcome = outcome_of(answer(missing="c"), EVENTS, 3)
    assert isinstance(outcome, Partly)
    assert outcome.later == (2,)
    outcome = outcome_of(httpx.Response(207, json={"successes": [], "errors": []}), EVENTS, 3)
    assert isinstance(outcome, TryLater)


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_may_not_write_events_holds_everything(status: int) -> None:
    """A key for scores only is a matter of configuration."""
    assert isinstance(outcome_of(answer(("a", status)), EVENTS, 3), Hold)


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"{}", b'{"successes":1,"errors":[]}'])
def test_a_207_that_says_nothing_is_no_success(content: bytes) -> None:
    """Nothing may vanish behind a 207."""  # covers SNK-10
    assert isinstance(outcome_of(httpx.Response(207, content=content), EVENTS, 3), Hold)


def test_the_legacy_limit_is_that_of_the_documentation() -> None:
    """Below the 4.5 MB at which the real server answers 413."""
    assert ingestion.MAX_BYTES <= 3.5e6
