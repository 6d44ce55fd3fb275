"""Spans in, the body of an OTLP/HTTP request out, in OTLP's JSON form.

Each span becomes one JSON text of its own, so that a batch is put together, split and resent by cutting
and joining, without encoding anything twice. Langfuse reads `langfuse.*` attributes; objects travel as
JSON strings because it would keep OTLP's own maps as raw text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson

from kong_ai_tracing import __version__
from kong_ai_tracing.observations import Observation
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
_SPANS = b'"spans":['

_SPAN = (
    b'{"traceId":"%b","spanId":"%b","name":%b,"kind":3,'
    b'"startTimeUnixNano":"%d000000","endTimeUnixNano":"%d000000","attributes":['
)
_TYPE = b'{"key":"langfuse.observation.type","value":{"stringValue":%b}}'
_TEXT = b',{"key":"langfuse.%b","value":{"stringValue":%b}}'
_NUMBER = b',{"key":"langfuse.%b","value":{"intValue":"%d"}}'
_TEXTS = b',{"key":"langfuse.%b","value":{"arrayValue":{"values":[%b]}}}'
_ERROR = b',"status":{"code":2,"message":%b}'

_ESCAPES = ((b"\\", rb"\\"), (b'"', rb"\""), (b"\n", rb"\n"), (b"\r", rb"\r"), (b"\t", rb"\t"))
"""No other control character can stand in a JSON text, and these only between its values."""
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""As an escape, and not as the text of one."""


class _HarmfulError(TypeError):
    """There is a NUL in a label."""


def encode(span: Span) -> bytes:
    """One span as OTLP JSON, without values that would do harm in Langfuse.

    Input and output are most of it. They are JSON texts already, and are put in between what is encoded:
    that takes half the time of decoding them and encoding them again.
    """
    try:
        before, after = _before(span), _after(span)
    except TypeError:  # a NUL, a lone surrogate, or a number beyond 64 bits
        before = after = b""
    if not before or not is_sound(span, len(before) + len(after)):
        span = repaired(span)
        before, after = _before(span), _after(span)
    observation = span.observation
    return b"".join(
        (
            before,
            *_content(b"input", observation.input),
            *_content(b"output", observation.output),
            after,
        )
    )


def _before(span: Span) -> bytes:
    """What stands before input and output: ids, times, and what the observation says beside them."""
    observation = span.observation
    first_token = observation.completion_started_at_ms
    return b"".join(
        (
            _SPAN
            % (
                span.trace_id.encode(),
                span.id.encode(),
                _quoted(observation.name),
                observation.started_at_ms,
                observation.ended_at_ms,
            ),
            _kind(observation.type, observation.level),
            _text(b"observation.status_message", observation.status_message),
            _text(b"observation.model.name", observation.model),
            _object(b"observation.model.parameters", observation.model_parameters),
            _prompt(observation),
            _object(b"observation.usage_details", observation.usage_details),
            _object(b"observation.cost_details", observation.cost_details),
            _object(b"observation.metadata", observation.metadata),
            b"" if first_token is None else _text(b"observation.completion_start_time", rfc3339(first_token)),
        )
    )


def _after(span: Span) -> bytes:
    """What stands after them: the values of the trace, and how the span hangs in it."""
    context, observation = span.context, span.observation
    return b"".join(
        (
            _text(b"trace.name", context.trace_name),
            _text(b"environment", context.environment),
            _text(b"user.id", context.user_id),
            _text(b"session.id", context.session_id),
            _text(b"release", context.release),
            _text(b"version", context.version),
            _object(b"trace.metadata", context.metadata),
            _tags(context.tags),
            b"]",
            b"" if span.parent_id is None else b',"parentSpanId":"%b"' % span.parent_id.encode(),
            _ERROR % orjson.dumps(observation.status_message or "") if observation.level == "ERROR" else b"",
            b"}",
        )
    )


@lru_cache
def _kind(type_: str, level: str) -> bytes:
    """There are few of them."""
    return _TYPE % _quoted(type_) + _text(b"observation.level", level)


def _text(key: bytes, value: str | None) -> bytes:
    return _TEXT % (key, _quoted(value)) if value else b""


def _object(key: bytes, value: dict[str, Any]) -> bytes:
    return _TEXT % (key, orjson.dumps(_harmless(orjson.dumps(value)).decode())) if value else b""


def _quoted(value: str) -> bytes:
    if "\0" in value:
        raise _HarmfulError
    return orjson.dumps(value)


def _harmless(text: bytes) -> bytes:
    """A JSON text without NUL; nearly none has any escape."""
    if b"\\" in text and _NUL.search(text):
        raise _HarmfulError
    return text


def _prompt(observation: Observation) -> bytes:
    name, version = observation.prompt_name, observation.prompt_version
    if not name or version is None:
        return b""
    return _text(b"observation.prompt.name", name) + _NUMBER % (b"observation.prompt.version", version)


def _tags(tags: Sequence[str]) -> bytes:
    if not tags:
        return b""
    return _TEXTS % (b"trace.tags", _harmless(orjson.dumps([{"stringValue": tag} for tag in tags]))[1:-1])


def _content(name: bytes, text: bytes | None) -> tuple[bytes, ...]:
    """The pieces of one more attribute, whose value is a JSON text as a JSON string."""
    if not text:
        return ()
    key = b',{"key":"langfuse.observation.%b","value":{"stringValue":' % name
    if text.isascii():
        return key, orjson.dumps(text.decode()), b"}}"
    # To decode and to encode other characters would take twice as long as this.
    for plain, escaped in _ESCAPES:
        text = text.replace(plain, escaped)
    return key, b'"', text, b'"}}'


def join(spans: Sequence[bytes]) -> bytes:
    """The request body that carries these encoded spans."""
    if not spans:
        return _HEAD + _TAIL
    parts = [*spans]
    parts[0] = _HEAD + parts[0]
    parts[-1] += _TAIL
    return b",".join(parts)  # the only copy


def merge(bodies: Sequence[bytes]) -> bytes | None:
    """One body with all spans of these bodies; None when another version of this program, or another
    destination, made some of them."""
    head = bodies[0][: bodies[0].find(_SPANS) + len(_SPANS)]
    if not head.endswith(_SPANS) or not all(
        body.startswith(head) and body.endswith(_TAIL) for body in bodies
    ):
        return None
    return b"".join((head, b",".join([body[len(head) : -len(_TAIL)] for body in bodies]), _TAIL))


def split(body: bytes) -> list[bytes]:
    """The encoded spans of a request body made by `join`."""
    return [orjson.dumps(span) for span in parsed(body)]


def parsed(body: bytes) -> Sequence[dict[str, Any]]:
    """The spans of such a body as plain objects."""
    spans: Sequence[dict[str, Any]] = orjson.loads(body)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    return spans
