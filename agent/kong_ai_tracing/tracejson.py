"""Spans in, the JSON form of their trace out: what `preview --format json` prints and the local store keeps.

The form is a stable contract: one object per trace, camelCase names as Langfuse has them, times as
RFC 3339 in UTC with milliseconds, absent values left out. Inputs and outputs are spliced in as the JSON
texts they already are, on one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from kong_ai_tracing.calls import Context, Observation
from kong_ai_tracing.spans import Span

_CALL_FACTS = ("status_code", "total_duration_ms", "time_per_token_ms", "throughput_tokens_per_second")


def trace_json(spans: Sequence[Span]) -> dict[str, Any]:
    """The spans of one trace as one object, root first, then by start time."""
    return assemble(
        spans[0].trace_id,
        merge_trace_values(trace_values(span.context) for span in _root_last(spans)),
        [observation_json(span) for span in spans],
    )


def trace_values(context: Context) -> dict[str, Any]:
    """What one span says of its trace."""
    return _present(
        {
            "name": context.trace_name,
            "userId": context.user_id,
            "sessionId": context.session_id,
            "tags": context.tags,
            "environment": context.environment,
            "release": context.release,
            "version": context.version,
            "metadata": context.metadata,
        }
    )


def merge_trace_values(values: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Later values win; metadata is merged key by key."""
    merged: dict[str, Any] = {}
    for value in values:
        metadata = {**merged.get("metadata", {}), **value.get("metadata", {})}
        merged.update(value)
        if metadata:
            merged["metadata"] = metadata
    return merged


def observation_json(span: Span) -> dict[str, Any]:
    """One span as the contract has it; `input` and `output` are fragments that only a JSON writer reads."""
    said: Observation = span.observation
    first_token = said.completion_started_at_ms
    origin = said.origin
    return _present(
        {
            "id": span.id,
            "parentObservationId": span.parent_id,
            "type": said.type,
            "name": said.name,
            "startTime": rfc3339(said.started_at_ms),
            "endTime": rfc3339(said.ended_at_ms),
            "completionStartTime": None if first_token is None else rfc3339(first_token),
            "level": said.level,
            "statusMessage": said.status_message,
            "provider": said.provider,
            "model": said.model,
            "modelParameters": said.model_parameters,
            "promptName": said.prompt_name,
            "promptVersion": said.prompt_version,
            "input": _fragment(said.input),
            "output": _fragment(said.output),
            "usageDetails": said.usage_details,
            "costDetails": said.cost_details,
            "metadata": said.metadata,
            "origin": origin and {"file": origin.file, "offset": origin.offset, "length": origin.length},
        }
    )


def assemble(trace_id: str, values: dict[str, Any], observations: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The trace of these observations.

    A trace of one call also carries that call's seven facts in its own metadata, under the names that
    users of the in-gateway plugin filter by.
    """
    ordered = sorted(observations, key=_root_first_then_start)
    metadata = values.get("metadata", {})
    calls = [each for each in ordered if "kong_object" not in each.get("metadata", {})]
    if len(calls) == 1:
        metadata = {**metadata, **_call_facts(values, calls[0])}
    rest = {name: value for name, value in values.items() if name != "metadata"}
    return _present({"id": trace_id, **rest, "metadata": metadata, "observations": ordered})


def one_line(text: bytes) -> bytes:
    """The same JSON text on one line: raw slices of pretty-printed bodies have line breaks between tokens."""
    return text.replace(b"\n", b" ").replace(b"\r", b" ")


def rfc3339(epoch_ms: int) -> str:
    """`2026-11-23T07:50:48.810Z`."""
    seconds, milliseconds = divmod(epoch_ms, 1000)
    return f"{_to_the_second(seconds)}.{milliseconds:03}Z"


@lru_cache(maxsize=64)  # the calls of a busy log share their seconds
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _call_facts(values: dict[str, Any], call: dict[str, Any]) -> dict[str, Any]:
    said = call.get("metadata", {})
    facts = {
        "provider": call.get("provider"),
        "model": call.get("model"),
        "environment": values.get("environment"),
    }
    return _present(facts | {name: said.get(name) for name in _CALL_FACTS})


def _root_last(spans: Sequence[Span]) -> list[Span]:
    """In the order in which their trace values may be laid over each other: the root has the last word."""
    return sorted(spans, key=lambda span: (span.parent_id is None, span.observation.started_at_ms))


def _root_first_then_start(observation: dict[str, Any]) -> tuple[bool, str, str, str]:
    # Tries within one millisecond have numbers in their names.
    name = observation.get("name", "")
    return "parentObservationId" in observation, observation["startTime"], name, observation["id"]


def _fragment(text: bytes | None) -> orjson.Fragment | None:
    return None if text is None else orjson.Fragment(one_line(text))


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in values.items() if value is not None and value != {} and value != []
    }
