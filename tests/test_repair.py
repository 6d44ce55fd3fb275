"""Values that would do harm in Langfuse do not leave, and what was changed is said."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kong_ai_tracing import otlp
from kong_ai_tracing.context import ADJUSTED
from kong_ai_tracing.repair import MAX_LABEL_BYTES
from kong_ai_tracing.spans import Span
from kong_ai_tracing.timing import EARLIEST_MS, LATEST_MS
from langfuse_rules import read_export
from test_otlp import CONTEXT, OBSERVATION, SPAN


def sent(span: Span) -> dict[str, Any]:
    """The span as the server reads it, which finds no harm in it."""
    [read], violations = read_export(otlp.join([otlp.encode(span)]), "application/json")
    assert violations == []
    return read


def adjusted(read: dict[str, Any]) -> str | None:
    return orjson.loads(read["attributes"]["langfuse.observation.metadata"]).get(ADJUSTED)


def test_a_sound_span_stays_as_it_is() -> None:
    """And says nothing of repairs."""
    assert adjusted(sent(SPAN)) is None


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"model": "gpt\0-4o"}, "model"),
        ({"name": "a\ud83d b"}, "name"),
        ({"name": "n" * 70_000}, "name"),
        ({"status_message": "m" * 70_000}, "status_message"),
        ({"metadata": {"a\0": [{"b": "\udc00"}]}}, "metadata"),
        ({"metadata": {"path": "p" * 70_000, "status_code": 200}}, "metadata"),
        ({"metadata": {f"k{number}": number for number in range(9_000)}}, "metadata"),
        ({"metadata": {"huge": 10**30}}, "metadata"),
        ({"model_parameters": {"stop": "\0"}}, "model_parameters"),
        ({"usage_details": {"input": 1, "total": 2**53}}, "usage_details"),
        ({"usage_details": {"input": -1, "total": 2}}, "usage_details"),
        ({"usage_details": {"input": 10**30}}, "usage_details"),
        ({"cost_details": {"total": float("inf")}}, "cost_details"),
        ({"cost_details": {"total": float("nan")}}, "cost_details"),
        ({"cost_details": {"total": -0.5}}, "cost_details"),
        ({"ended_at_ms": OBSERVATION.started_at_ms - 1}, "completion_started_at_ms,ended_at_ms"),
        ({"started_at_ms": 0}, "started_at_ms"),
        ({"started_at_ms": EARLIEST_MS}, "started_at_ms"),
        (
            {"started_at_ms": 2 * LATEST_MS, "ended_at_ms": 2 * LATEST_MS},
            "completion_started_at_ms,ended_at_ms,started_at_ms",
        ),
    ],
)
def test_what_would_do_harm_is_mended_and_named(changes: dict[str, Any], name: str) -> None:
    """One of these could lose a whole insert of Langfuse, neighbours included."""
    assert adjusted(sent(replace(SPAN, observation=replace(OBSERVATION, **changes)))) == name


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"user_id": "u\0"}, "user_id"),
        ({"session_id": "\ud800"}, "session_id"),
        ({"tags": ["a\0", "b"]}, "tags"),
        ({"tags": ["t" * 300] * 300}, "tags"),
        ({"trace_name": "t\0"}, "trace_name"),
        ({"metadata": {"label": "l" * 70_000}}, "metadata"),
        ({"release": "\udfff", "version": "\0"}, "release,version"),
    ],
)
def test_labels_of_the_trace_are_mended_too(changes: dict[str, Any], name: str) -> None:
    """They stand on every span."""
    assert adjusted(sent(replace(SPAN, context=replace(CONTEXT, **changes)))) == name


def test_the_longest_metadata_gives_way_first() -> None:
    """A huge value does not cost its neighbours."""
    metadata = {"status_code": 200, "path": "/" + "p" * 100_000, "kong_route": "chat"}
    read = sent(replace(SPAN, observation=replace(OBSERVATION, metadata=metadata)))
    said = orjson.loads(read["attributes"]["langfuse.observation.metadata"])
    assert (said["status_code"], said["kong_route"]) == (200, "chat")
    assert said["path"].startswith("/ppp")


def test_what_was_adjusted_before_stays_named() -> None:
    """The readers of the line may have said so already."""
    observation = replace(OBSERVATION, model="m\0", metadata={ADJUSTED: "user_id"})
    assert adjusted(sent(replace(SPAN, observation=observation))) == "model,user_id"


def test_the_escape_of_a_nul_as_a_text_is_no_nul() -> None:
    """A label may speak of one; only a real one does harm."""
    spoken = replace(OBSERVATION, model="\\u0000", metadata={"say": ["\\u0000", "\\\\u0000"]})
    assert adjusted(sent(replace(SPAN, observation=spoken))) is None
    for metadata in ({"deep": [{"\0": 1}]}, {"after": "\\\0"}):
        meant = replace(OBSERVATION, metadata=metadata)
        assert adjusted(sent(replace(SPAN, observation=meant))) == "metadata"


TEXTS = st.text(st.characters(codec=None), max_size=40)


@given(name=TEXTS, value=st.recursive(TEXTS | st.integers(), lambda each: st.lists(each, max_size=3)))
def test_whatever_the_labels_are_the_span_leaves_and_does_no_harm(name: str, value: Any) -> None:
    """Never an error, never a violation."""
    observation = replace(OBSERVATION, model=name, status_message=name, metadata={name: value})
    context = replace(CONTEXT, user_id=name, metadata={"label": value})
    read = sent(replace(SPAN, observation=observation, context=context))
    size = sum(len(each) for each in read["attributes"].values() if isinstance(each, str))
    assert size < MAX_LABEL_BYTES + 10_000
