"""Spans in, the body of an OTLP/HTTP request out, in OTLP's JSON form.

Each span becomes one JSON text of its own, so that a batch is put together, split and resent by cutting
and joining, without encoding anything twice. Langfuse reads `langfuse.*` attributes; objects travel as
JSON strings because it would keep OTLP's own maps as raw text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from kong_ai_tracing import __version__
from kong_ai_tracing.spans import Span

# A scope whose name begins with "langfuse-sdk" keeps the server from repeating every attribute as metadata.
_HEAD = orjson.dumps(
    {
        "resourceSpans": [
            {
                "resource": {
                    "attributes": [{"key": "service.name", "value": {"stringValue": "kong-ai-tracing"}}]
                },
                "scopeSpans": [
                    {"scope": {"name": "langfuse-sdk-kong-ai-tracing", "version": __version__}, "spans": []}
                ],
            }
        ]
    }
)[: -len(b"]}]}]}")]
_TAIL = b"]}]}]}"

_STATUS_ERROR = 2
_SPAN_KIND_CLIENT = 3


def encode(span: Span) -> bytes:
    """One span as OTLP JSON."""
    observation, context = span.observation, span.context
    attributes: list[dict[str, Any]] = []

    def put(key: str, value: str | None) -> None:
        if value:
            attributes.append({"key": key, "value": {"stringValue": value}})

    def put_object(key: str, value: dict[str, Any]) -> None:
        if value:
            put(key, orjson.dumps(value).decode())

    put("langfuse.observation.type", observation.type)
    put("langfuse.observation.level", observation.level)
    put("langfuse.observation.status_message", observation.status_message)
    put("langfuse.observation.model.name", observation.model)
    put_object("langfuse.observation.model.parameters", observation.model_parameters)
    put_object("langfuse.observation.usage_details", observation.usage_details)
    put_object("langfuse.observation.cost_details", observation.cost_details)
    put_object("langfuse.observation.metadata", observation.metadata)
    if observation.completion_started_at_ms is not None:
        put("langfuse.observation.completion_start_time", iso_time(observation.completion_started_at_ms))
    if observation.input is not None:
        put("langfuse.observation.input", observation.input.decode())
    if observation.output is not None:
        put("langfuse.observation.output", observation.output.decode())
    put("langfuse.trace.name", context.trace_name)
    put("langfuse.environment", context.environment)
    put("langfuse.user.id", context.user_id)
    put("langfuse.session.id", context.session_id)
    put("langfuse.release", context.release)
    put("langfuse.version", context.version)
    put_object("langfuse.trace.metadata", context.metadata)
    if context.tags:
        values = [{"stringValue": tag} for tag in context.tags]
        attributes.append({"key": "langfuse.trace.tags", "value": {"arrayValue": {"values": values}}})
    wire: dict[str, Any] = {
        "traceId": span.trace_id,
        "spanId": span.id,
        "name": observation.name,
        "kind": _SPAN_KIND_CLIENT,
        "startTimeUnixNano": f"{observation.started_at_ms}000000",
        "endTimeUnixNano": f"{observation.ended_at_ms}000000",
        "attributes": attributes,
    }
    if span.parent_id is not None:
        wire["parentSpanId"] = span.parent_id
    if observation.level == "ERROR":
        wire["status"] = {"code": _STATUS_ERROR, "message": observation.status_message or ""}
    return orjson.dumps(wire)


def join(spans: Iterable[bytes]) -> bytes:
    """The request body that carries these encoded spans."""
    return b"".join((_HEAD, b",".join(spans), _TAIL))


def split(body: bytes) -> list[bytes]:
    """The encoded spans of a request body made by `join`."""
    parsed = orjson.loads(body)
    spans: Sequence[Any] = parsed["resourceSpans"][0]["scopeSpans"][0]["spans"]
    return [orjson.dumps(span) for span in spans]


def iso_time(epoch_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds; `epoch_ms` lies between the years 1 and 9999."""
    moment = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{epoch_ms % 1000:03d}Z"
