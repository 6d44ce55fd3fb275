"""Spans in, the body of an OTLP/HTTP request out, in OTLP's JSON form.

Each span becomes one JSON text of its own, so that a batch is put together, split and resent by cutting
and joining, without encoding anything twice. Langfuse reads `langfuse.*` attributes; objects travel as
JSON strings because it would keep OTLP's own maps as raw text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from kong_ai_tracing import __version__
from kong_ai_tracing.repair import is_sound, repaired
from kong_ai_tracing.spans import Span
from kong_ai_tracing.tracejson import rfc3339

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
    """One span as OTLP JSON, without values that would do harm in Langfuse.

    Input and output are most of it. They are JSON texts already, and are put in between what is encoded:
    that takes half the time of decoding them and encoding them again.
    """
    try:
        labels = _labels(span)
    except TypeError:  # a lone surrogate, or a number beyond 64 bits
        labels = None
    if labels is None or not is_sound(span, *labels):
        span = repaired(span)
        labels = _labels(span)
    before, after = labels
    return b"".join(
        (
            before,
            *_content(b"langfuse.observation.input", span.observation.input),
            *_content(b"langfuse.observation.output", span.observation.output),
            after,
        )
    )


def _labels(span: Span) -> tuple[bytes, bytes]:
    """What stands before input and output, and what after."""
    observation, context = span.observation, span.context
    before: list[dict[str, Any]] = []
    _put(before, "langfuse.observation.type", observation.type)
    _put(before, "langfuse.observation.level", observation.level)
    _put(before, "langfuse.observation.status_message", observation.status_message)
    _put(before, "langfuse.observation.model.name", observation.model)
    _put_object(before, "langfuse.observation.model.parameters", observation.model_parameters)
    if observation.prompt_name and observation.prompt_version is not None:
        _put(before, "langfuse.observation.prompt.name", observation.prompt_name)
        version = {"intValue": str(observation.prompt_version)}
        before.append({"key": "langfuse.observation.prompt.version", "value": version})
    _put_object(before, "langfuse.observation.usage_details", observation.usage_details)
    _put_object(before, "langfuse.observation.cost_details", observation.cost_details)
    _put_object(before, "langfuse.observation.metadata", observation.metadata)
    if observation.completion_started_at_ms is not None:
        completion_start = rfc3339(observation.completion_started_at_ms)
        _put(before, "langfuse.observation.completion_start_time", completion_start)
    head = {
        "traceId": span.trace_id,
        "spanId": span.id,
        "name": observation.name,
        "kind": _SPAN_KIND_CLIENT,
        "startTimeUnixNano": f"{observation.started_at_ms}000000",
        "endTimeUnixNano": f"{observation.ended_at_ms}000000",
        "attributes": before,
    }
    after: list[dict[str, Any]] = []
    _put(after, "langfuse.trace.name", context.trace_name)
    _put(after, "langfuse.environment", context.environment)
    _put(after, "langfuse.user.id", context.user_id)
    _put(after, "langfuse.session.id", context.session_id)
    _put(after, "langfuse.release", context.release)
    _put(after, "langfuse.version", context.version)
    _put_object(after, "langfuse.trace.metadata", context.metadata)
    if context.tags:
        values = [{"stringValue": tag} for tag in context.tags]
        after.append({"key": "langfuse.trace.tags", "value": {"arrayValue": {"values": values}}})
    rest: dict[str, Any] = {"attributes": after}
    if span.parent_id is not None:
        rest["parentSpanId"] = span.parent_id
    if observation.level == "ERROR":
        rest["status"] = {"code": _STATUS_ERROR, "message": observation.status_message or ""}
    comma = b"," if after else b""
    return orjson.dumps(head)[: -len(b"]}")], comma + orjson.dumps(rest)[len(b'{"attributes":[') :]


def _put(attributes: list[dict[str, Any]], key: str, value: str | None) -> None:
    if value:
        attributes.append({"key": key, "value": {"stringValue": value}})


def _put_object(attributes: list[dict[str, Any]], key: str, value: dict[str, Any]) -> None:
    if value:
        _put(attributes, key, orjson.dumps(value).decode())


def _content(key: bytes, text: bytes | None) -> tuple[bytes, ...]:
    """The pieces of one more attribute, whose value is a JSON text as a JSON string."""
    if not text:
        return ()
    text = text.replace(b"\\", rb"\\").replace(b'"', rb"\"")
    # In a JSON text no other control character can stand than these, between its values.
    if b"\n" in text or b"\r" in text or b"\t" in text:
        text = text.replace(b"\n", rb"\n").replace(b"\r", rb"\r").replace(b"\t", rb"\t")
    return b',{"key":"', key, b'","value":{"stringValue":"', text, b'"}}'


def join(spans: Iterable[bytes]) -> bytes:
    """The request body that carries these encoded spans."""
    return b"".join((_HEAD, b",".join(spans), _TAIL))


def split(body: bytes) -> list[bytes]:
    """The encoded spans of a request body made by `join`."""
    return [orjson.dumps(span) for span in parsed(body)]


def parsed(body: bytes) -> Sequence[dict[str, Any]]:
    """The spans of such a body as plain objects."""
    spans: Sequence[dict[str, Any]] = orjson.loads(body)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    return spans
